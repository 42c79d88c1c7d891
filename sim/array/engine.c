#include "sim/array/engine.h"

#include <string.h>

#include "common/base/memory.h"
#include "sim/array/functional.h"
#include "sim/array/one_bit.h"

static int32_t sign_extend(uint32_t word, uint32_t bits)
{
    uint32_t sign = 1u << (bits - 1), mask = sign | (sign - 1);
    return (int32_t)(((word & mask) ^ sign) - sign);
}

static enum pf_status run_reference(const struct pf_array_matrix *matrix, const uint8_t *x,
                                    size_t n_pixels, int32_t *accumulators, struct pf_error *err)
{
    size_t n_columns = matrix->n_channels;
    PF_CLEANUP(pf_freep) int16_t *weights = PF_ALLOC(matrix->n_rows * n_columns, int16_t);
    if (weights == NULL) return pf_no_memory(err, "the reference engine");
    pf_array_matrix_unpack(matrix, weights);
    for (size_t r = 0; r < matrix->n_rows; r++) {
        for (size_t p = 0; p < n_pixels; p++) {
            uint32_t sum = (uint32_t)accumulators[r * n_pixels + p]; /* unsigned: may wrap */
            for (size_t k = 0; k < n_columns; k++)
                sum += (uint32_t)(weights[r * n_columns + k] * x[k * n_pixels + p]);
            accumulators[r * n_pixels + p] = (int32_t)sum;
        }
    }
    return PF_OK;
}

static enum pf_status run_one_bit(const struct pf_array *array,
                                  const struct pf_array_matrix *matrix, const uint8_t *x,
                                  size_t n_pixels, int32_t *accumulators,
                                  struct pf_array_cycles *cycles, struct pf_error *err)
{
    cycles->tiles = cycles->compute = 0;
    for (uint32_t r = 0; r < matrix->n_rows; r += array->rows) {
        for (uint32_t g = 0; g < matrix->n_groups; g += array->columns) {
            uint64_t counted;
            PF_TRY(pf_array_one_bit_tile(array, matrix, r, g, x, n_pixels, accumulators, &counted,
                                         err));
            cycles->tiles++;
            cycles->compute += counted;
        }
    }
    return PF_OK;
}

static enum pf_status run_functional(const struct pf_array_matrix *matrix, const uint8_t *x,
                                     size_t n_pixels, int32_t *accumulators, struct pf_error *err)
{
    PF_CLEANUP(pf_array_functional_destroyp) struct pf_array_functional *functional = NULL;
    PF_TRY(pf_array_functional_create(matrix, &functional, err));
    size_t n_panels = pf_array_n_panels(n_pixels), n_padded = n_panels * PF_ARRAY_PANEL;
    size_t n_pairs = pf_array_functional_n_pairs(functional);
    PF_CLEANUP(pf_freep) uint8_t *planes = PF_ALLOC(2 * n_padded, uint8_t);
    PF_CLEANUP(pf_freep) uint32_t *panels = PF_ALLOC(n_pairs * n_padded, uint32_t);
    if (planes == NULL || panels == NULL) return pf_no_memory(err, "the functional engine");
    for (size_t s = 0; s < functional->n_slots; s++) {
        uint8_t *plane = planes + (s % 2) * n_padded;
        memcpy(plane, x + functional->channel[s] * n_pixels, n_pixels);
        bool last = s + 1 == functional->n_slots;
        if (s % 2 == 1 || last)
            pf_array_fill_pair(panels, n_pairs, s / 2, planes, s % 2 == 1 ? plane : NULL, n_panels);
    }
    pf_array_kernel *kernel = pf_array_kernel_select();
    for (size_t r = 0; r < functional->n_rows; r++) {
        uint32_t begin = functional->row_start[r];
        for (size_t t = 0; t < n_panels; t++) {
            int32_t acc[PF_ARRAY_PANEL] = {0};
            int32_t *row = accumulators + r * n_pixels + t * PF_ARRAY_PANEL;
            size_t n = PF_MIN(n_pixels - t * PF_ARRAY_PANEL, (size_t)PF_ARRAY_PANEL);
            memcpy(acc, row, n * sizeof *row);
            kernel(acc, panels + t * n_pairs * PF_ARRAY_PANEL, functional->pair + begin,
                   functional->weights + begin, functional->row_start[r + 1] - begin);
            memcpy(row, acc, n * sizeof *row);
        }
    }
    return PF_OK;
}

static enum pf_status check(const struct pf_array *array, const struct pf_array_matrix *matrix,
                            const uint8_t *x, size_t n_pixels, struct pf_error *err)
{
    PF_TRY(pf_array_validate(array, err));
    if (matrix->alpha > array->alpha)
        return pf_fail(err, PF_INVALID,
                       "array: the matrix joins up to %u columns but a cell chooses among %u",
                       matrix->alpha, array->alpha);
    if (n_pixels == 0) return pf_fail(err, PF_INVALID, "array: a layer without pixels");
    for (size_t i = 0; array->input_bits < 8 && i < matrix->n_channels * n_pixels; i++)
        if (x[i] >> array->input_bits != 0)
            return pf_fail(err, PF_INVALID, "array: the input %u does not fit %u bits", x[i],
                           array->input_bits);
    return PF_OK;
}

enum pf_status pf_array_run(enum pf_array_engine engine, const struct pf_array *array,
                            const struct pf_array_matrix *matrix, const uint8_t *x, size_t n_pixels,
                            int32_t *accumulators, struct pf_array_cycles *cycles,
                            struct pf_error *err)
{
    PF_TRY(check(array, matrix, x, n_pixels, err));
    struct pf_array_cycles result = {.tiles =
                                         pf_array_tiles(array, matrix->n_rows, matrix->n_groups)};
    result.compute = result.tiles * pf_array_compute_cycles(array, n_pixels);
    switch (engine) {
    case PF_ENGINE_REFERENCE: PF_TRY(run_reference(matrix, x, n_pixels, accumulators, err)); break;
    case PF_ENGINE_ONE_BIT:
        PF_TRY(run_one_bit(array, matrix, x, n_pixels, accumulators, &result, err));
        break;
    case PF_ENGINE_FUNCTIONAL:
        PF_TRY(run_functional(matrix, x, n_pixels, accumulators, err));
        break;
    }
    result.load = result.tiles * pf_array_load_cycles(array);
    for (size_t i = 0; i < matrix->n_rows * n_pixels; i++)
        accumulators[i] = sign_extend((uint32_t)accumulators[i], array->accumulation_bits);
    *cycles = result;
    return PF_OK;
}
