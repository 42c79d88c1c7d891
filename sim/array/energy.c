#include "sim/array/energy.h"

void pf_array_events_add(struct pf_array_events *self, const struct pf_array *array,
                         uint32_t n_rows, uint32_t n_columns, uint32_t n_streams, uint64_t n_pixels)
{
    uint64_t down = pf_array_tiles(array, n_rows, 1), across = pf_array_tiles(array, 1, n_columns);
    uint64_t outputs = (uint64_t)n_rows * n_pixels;
    self->weight_bits += down * across * array->rows * array->columns * PF_ARRAY_WEIGHT_BITS;
    self->input_bits += down * n_streams * n_pixels * array->input_bits;
    /* Every filter's bias once a pixel; every handover between tiles a write and a read. */
    uint64_t handovers = across > 0 ? across - 1 : 0;
    self->partial_bits += outputs * array->accumulation_bits * (1 + 2 * handovers);
    self->output_bits += outputs * 8;
}

struct pf_array_energy pf_array_energy_of(const struct pf_array_events *events,
                                          const struct pf_array *array)
{
    double cell_cycles = (double)events->cell_cycles;
    double bits = (double)events->weight_bits + (double)events->input_bits +
                  (double)events->partial_bits + (double)events->output_bits;
    struct pf_array_energy energy = {.cells_uj = cell_cycles * PF_ENERGY_CELL_PJ_PER_CYCLE * 1e-6,
                                     .leakage_uj = cell_cycles * PF_ENERGY_CELL_LEAKAGE_UW /
                                                   array->clock_mhz * 1e-6,
                                     .memory_uj = bits * PF_ENERGY_SRAM_PJ_PER_BIT * 1e-6};
    energy.total_uj = energy.cells_uj + energy.leakage_uj + energy.memory_uj;
    return energy;
}
