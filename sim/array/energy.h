/* A first estimate of the energy of one image: events × constants.
 *
 * Counted: clock cycles of all cells, leakage of all cells over the time, bits in and out of the
 * on-chip memories.  Not modelled: clock gating of empty cells, data-dependent toggling, the wires
 * and multiplexers of α > 1 beyond the published one-input cell, quantisers, shifters and control,
 * off-chip memory.  The constants come from different nodes (32 and 45 nm) and are not scaled to
 * one another: read the figures as an order of magnitude and their ratios with care. */
#ifndef PF_SIM_ARRAY_ENERGY_H
#define PF_SIM_ARRAY_ENERGY_H

#include "sim/array/array.h"

/* Bit-serial 8-bit processing element, 32 nm, 400 MHz: 106.7 µW dynamic, 25.9 µW leakage
 * (uSystolic, HPCA 2022). */
#define PF_ENERGY_CELL_PJ_PER_CYCLE (106.7 / 400.0) /* µW ÷ MHz = pJ */
#define PF_ENERGY_CELL_LEAKAGE_UW 25.9
/* 8 KB SRAM, 10 pJ for a 64-bit access, 45 nm (Horowitz, ISSCC 2014). */
#define PF_ENERGY_SRAM_PJ_PER_BIT (10.0 / 64.0)

struct pf_array_events {
    uint64_t cell_cycles;  /* clock edges, summed over all cells */
    uint64_t weight_bits;  /* loaded into cells: 8 a cell of each tile */
    uint64_t input_bits;   /* read at the bottom edge, every stream of every tile */
    uint64_t partial_bits; /* biases read, partial sums written and read again between tiles */
    uint64_t output_bits;  /* 8-bit activations written */
};

struct pf_array_energy {
    double cells_uj;   /* dynamic */
    double leakage_uj; /* of the cells */
    double memory_uj;
    double total_uj;
};

/* Adds what one layer causes, its clock cycles apart: n_streams channels feed n_columns columns
 * under n_rows filters. */
void pf_array_events_add(struct pf_array_events *self, const struct pf_array *array,
                         uint32_t n_rows, uint32_t n_columns, uint32_t n_streams,
                         uint64_t n_pixels);

struct pf_array_energy pf_array_energy_of(const struct pf_array_events *events,
                                          const struct pf_array *array);

#endif
