/* Random packed matrices, inputs and partial sums for the tests of the array. */
#ifndef PF_TESTS_UNIT_ARRAY_RANDOM_LAYER_H
#define PF_TESTS_UNIT_ARRAY_RANDOM_LAYER_H

#include "common/base/random.h"
#include "sim/array/array.h"
#include "sim/array/matrix.h"

struct random_layer {
    int16_t *weights; /* [N][K], what the matrix holds, unpacked */
    struct pf_array_matrix *matrix;
    uint32_t n_rows, n_channels;
    size_t n_pixels;
    uint8_t *x;        /* [K][P] */
    int32_t *partials; /* [N][P], any 32 bits */
};

/* Groups of 1 … alpha columns; one cell in four is empty, one in eight holds ±extreme. */
void random_layer_init(struct random_layer *self, struct pf_random *random, uint32_t n_rows,
                       uint32_t n_groups, uint32_t alpha, size_t n_pixels, uint32_t input_bits,
                       int16_t extreme);
void random_layer_finish(struct random_layer *self);

struct pf_array small_array(uint32_t rows, uint32_t columns, uint32_t alpha, uint32_t input_bits,
                            uint32_t accumulation_bits);

#endif
