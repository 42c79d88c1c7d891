#include "sim/array/array.h"

#include "common/model/packing.h"

void pf_array_default(struct pf_array *array)
{
    *array = (struct pf_array){.rows = 32,
                               .columns = 32,
                               .alpha = 8,
                               .input_bits = 8,
                               .accumulation_bits = 32,
                               .lanes = 4,
                               .clock_mhz = 150.0};
}

enum pf_status pf_array_validate(const struct pf_array *self, struct pf_error *err)
{
    if (self->rows == 0 || self->rows > PF_ARRAY_MAX_SIDE || self->columns == 0 ||
        self->columns > PF_ARRAY_MAX_SIDE)
        return pf_fail(err, PF_INVALID, "array: %u × %u cells; give 1 to %u rows and columns",
                       self->rows, self->columns, PF_ARRAY_MAX_SIDE);
    if (self->alpha == 0 || self->alpha > PF_MAX_ALPHA)
        return pf_fail(err, PF_INVALID, "array: alpha = %u inputs a cell; give 1 to %u",
                       self->alpha, PF_MAX_ALPHA);
    if (self->input_bits == 0 || self->input_bits > PF_ARRAY_MAX_INPUT_BITS)
        return pf_fail(err, PF_INVALID, "array: %u input bits; give 1 to %u", self->input_bits,
                       PF_ARRAY_MAX_INPUT_BITS);
    if (self->accumulation_bits == 0 || self->accumulation_bits > PF_ARRAY_MAX_ACCUMULATION_BITS)
        return pf_fail(err, PF_INVALID, "array: %u accumulation bits; give 1 to %u",
                       self->accumulation_bits, PF_ARRAY_MAX_ACCUMULATION_BITS);
    if (self->accumulation_bits % self->input_bits != 0)
        return pf_fail(err, PF_INVALID,
                       "array: %u accumulation bits are not a multiple of %u input bits",
                       self->accumulation_bits, self->input_bits);
    if (self->lanes != self->accumulation_bits / self->input_bits)
        return pf_fail(err, PF_INVALID,
                       "array: %u lanes; %u accumulation bits over %u input bits need %u",
                       self->lanes, self->accumulation_bits, self->input_bits,
                       self->accumulation_bits / self->input_bits);
    if (!(self->clock_mhz > 0.0 && self->clock_mhz <= PF_ARRAY_MAX_CLOCK_MHZ))
        return pf_fail(err, PF_INVALID, "array: a clock of %g MHz; give more than 0, at most %g",
                       self->clock_mhz, PF_ARRAY_MAX_CLOCK_MHZ);
    return PF_OK;
}

uint64_t pf_array_load_cycles(const struct pf_array *self)
{
    uint64_t per_row = (PF_ARRAY_WEIGHT_BITS + self->alpha - 1) / self->alpha;
    return per_row * self->rows;
}

uint64_t pf_array_compute_cycles(const struct pf_array *self, uint64_t n_pixels)
{
    return (uint64_t)self->input_bits * (n_pixels - 1) + self->accumulation_bits + self->columns +
           self->rows - 2;
}

uint64_t pf_array_tiles(const struct pf_array *self, uint32_t n_rows, uint32_t n_columns)
{
    uint64_t down = ((uint64_t)n_rows + self->rows - 1) / self->rows;
    uint64_t across = ((uint64_t)n_columns + self->columns - 1) / self->columns;
    return down * across;
}

void pf_array_schedule_add(struct pf_array_schedule *self, const struct pf_array *array,
                           uint64_t n_tiles, uint64_t n_pixels)
{
    if (n_tiles == 0) return;
    uint64_t load = pf_array_load_cycles(array);
    uint64_t compute = pf_array_compute_cycles(array, n_pixels);
    /* The first tile loads behind what came before, the others behind their own kind. */
    uint64_t hidden_first = 0, hidden = 0;
    if (array->double_buffering) {
        hidden_first = PF_MIN(load, self->previous_compute);
        hidden = PF_MIN(load, compute);
    }
    self->cycles += load - hidden_first + (n_tiles - 1) * (load - hidden) + n_tiles * compute;
    self->previous_compute = compute;
}
