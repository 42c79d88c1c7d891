#include "tests/unit/array/random_layer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/base/memory.h"

static int16_t draw_weight(struct pf_random *random, int16_t extreme)
{
    uint32_t kind = pf_random_below(random, 8);
    if (kind == 0) return pf_random_below(random, 2) == 0 ? extreme : (int16_t)-extreme;
    int16_t magnitude = (int16_t)(1 + pf_random_below(random, (uint32_t)extreme));
    return kind % 2 == 0 ? magnitude : (int16_t)-magnitude;
}

/* group_of_column of every column; returns the number of columns. */
static uint32_t draw_groups(struct pf_random *random, uint32_t n_groups, uint32_t alpha,
                            uint32_t *group_of_column)
{
    uint32_t n = 0;
    for (uint32_t g = 0; g < n_groups; g++)
        for (uint32_t i = pf_random_below(random, alpha) + 1; i > 0; i--) group_of_column[n++] = g;
    pf_random_shuffle(random, group_of_column, n);
    return n;
}

void random_layer_init(struct random_layer *self, struct pf_random *random, uint32_t n_rows,
                       uint32_t n_groups, uint32_t alpha, size_t n_pixels, uint32_t input_bits,
                       int16_t extreme)
{
    uint32_t *group = PF_ALLOC((size_t)n_groups * alpha, uint32_t);
    assert_non_null(group);
    uint32_t n_channels = draw_groups(random, n_groups, alpha, group);
    *self = (struct random_layer){.n_rows = n_rows, .n_channels = n_channels, .n_pixels = n_pixels};
    self->weights = PF_ALLOC((size_t)n_rows * n_channels, int16_t);
    float *floats = PF_ALLOC((size_t)n_rows * n_channels, float);
    assert_true(self->weights != NULL && floats != NULL);
    for (size_t r = 0; r < n_rows; r++) {
        for (uint32_t g = 0; g < n_groups; g++) {
            if (pf_random_below(random, 4) == 0) continue;
            uint32_t k = pf_random_below(random, n_channels);
            while (group[k] != g) k = (k + 1) % n_channels;
            int16_t weight = draw_weight(random, extreme);
            self->weights[r * n_channels + k] = weight;
            floats[r * n_channels + k] = weight;
        }
    }
    struct pf_packing *packing = NULL;
    struct pf_error err;
    assert_int_equal(pf_packing_from_dense(floats, n_rows, n_channels, group, n_groups, alpha, 0.0f,
                                           &packing, &err),
                     PF_OK);
    assert_int_equal(pf_array_matrix_pack(self->weights, packing, &self->matrix, &err), PF_OK);
    pf_packing_destroy(packing);
    pf_free(floats);
    pf_free(group);

    self->x = PF_ALLOC(n_channels * n_pixels, uint8_t);
    self->partials = PF_ALLOC(n_rows * n_pixels, int32_t);
    assert_true(self->x != NULL && self->partials != NULL);
    uint32_t bound = input_bits >= 8 ? 256 : 1u << input_bits;
    for (size_t i = 0; i < n_channels * n_pixels; i++)
        self->x[i] =
            (uint8_t)(pf_random_below(random, 5) == 0 ? bound - 1 : pf_random_below(random, bound));
    for (size_t i = 0; i < n_rows * n_pixels; i++)
        self->partials[i] = (int32_t)pf_random_u32(random);
}

void random_layer_finish(struct random_layer *self)
{
    pf_array_matrix_destroy(self->matrix);
    pf_free(self->weights);
    pf_free(self->x);
    pf_free(self->partials);
}

struct pf_array small_array(uint32_t rows, uint32_t columns, uint32_t alpha, uint32_t input_bits,
                            uint32_t accumulation_bits)
{
    return (struct pf_array){.rows = rows,
                             .columns = columns,
                             .alpha = alpha,
                             .input_bits = input_bits,
                             .accumulation_bits = accumulation_bits,
                             .lanes = accumulation_bits / input_bits,
                             .clock_mhz = 150.0};
}
