/* The engines agree value by value and cycle by cycle, and with products done here by hand. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/memory.h"
#include "sim/array/engine.h"
#include "sim/array/one_bit.h"
#include "tests/unit/array/random_layer.h"

/* The sum of row r and pixel p in 64 bits, reduced to `bits` bits with sign. */
static int32_t expected_sum(const struct random_layer *layer, size_t r, size_t p, uint32_t bits)
{
    int64_t sum = layer->partials[r * layer->n_pixels + p];
    for (size_t k = 0; k < layer->n_channels; k++)
        sum +=
            (int64_t)layer->weights[r * layer->n_channels + k] * layer->x[k * layer->n_pixels + p];
    int64_t modulus = (int64_t)1 << bits;
    sum %= modulus;
    if (sum < 0) sum += modulus;
    return (int32_t)(sum >= modulus / 2 ? sum - modulus : sum);
}

static void check_engine(enum pf_array_engine engine, const struct pf_array *array,
                         const struct random_layer *layer)
{
    size_t n = layer->n_rows * layer->n_pixels;
    int32_t *sums = malloc(n * sizeof *sums);
    assert_non_null(sums);
    memcpy(sums, layer->partials, n * sizeof *sums);
    struct pf_array_cycles cycles;
    struct pf_error err;
    assert_int_equal(
        pf_array_run(engine, array, layer->matrix, layer->x, layer->n_pixels, sums, &cycles, &err),
        PF_OK);
    for (size_t r = 0; r < layer->n_rows; r++)
        for (size_t p = 0; p < layer->n_pixels; p++)
            assert_int_equal(sums[r * layer->n_pixels + p],
                             expected_sum(layer, r, p, array->accumulation_bits));
    uint64_t tiles = pf_array_tiles(array, layer->n_rows, layer->matrix->n_groups);
    assert_int_equal(cycles.tiles, tiles);
    assert_int_equal(cycles.compute, tiles * pf_array_compute_cycles(array, layer->n_pixels));
    assert_int_equal(cycles.load, tiles * pf_array_load_cycles(array));
    free(sums);
}

static void check_all(const struct pf_array *array, const struct random_layer *layer)
{
    check_engine(PF_ENGINE_REFERENCE, array, layer);
    check_engine(PF_ENGINE_ONE_BIT, array, layer);
    check_engine(PF_ENGINE_FUNCTIONAL, array, layer);
}

/* H and W each take all of 1…9, alpha 1, 2, 4, 8, P all of 1…10, over the runs of this test. */
static void test_engines_agree_on_random_layers(void **state)
{
    (void)state;
    for (uint32_t run = 0; run < 360; run++) {
        struct pf_random random;
        pf_random_init(&random, 7, "engines", run);
        uint32_t alpha = 1u << run % 4;
        uint32_t rows = 1 + run % 9, columns = 1 + run / 9 % 9;
        struct pf_array array = small_array(rows, columns, alpha, 8, 32);
        struct random_layer layer;
        random_layer_init(&layer, &random, 1 + pf_random_below(&random, 2 * rows + 2),
                          1 + pf_random_below(&random, 3 * columns), alpha, 1 + run % 10, 8,
                          run % 3 == 0 ? 255 : 127);
        check_all(&array, &layer);
        random_layer_finish(&layer);
    }
}

/* The same cell with other parameters: balanced, two lanes, short accumulators, wide inputs. */
static void test_engines_agree_for_other_word_lengths(void **state)
{
    (void)state;
    static const uint32_t words[][2] = {{8, 8},  {8, 16}, {8, 24},  {16, 32}, {32, 32},
                                        {4, 32}, {2, 16}, {1, 8},   {1, 1},   {5, 25},
                                        {3, 27}, {1, 32}, {12, 24}, {7, 7}};
    for (uint32_t run = 0; run < 5 * PF_ARRAY_LENGTH(words); run++) {
        const uint32_t *word = words[run % PF_ARRAY_LENGTH(words)];
        struct pf_random random;
        pf_random_init(&random, 8, "words", run);
        struct pf_array array = small_array(1 + pf_random_below(&random, 4),
                                            1 + pf_random_below(&random, 4), 4, word[0], word[1]);
        struct random_layer layer;
        random_layer_init(&layer, &random, 5, 7, 4, 1 + pf_random_below(&random, 40), word[0], 255);
        check_all(&array, &layer);
        random_layer_finish(&layer);
    }
}

static void test_a_matrix_of_smaller_alpha_runs_on_a_wider_cell(void **state)
{
    (void)state;
    struct pf_random random;
    pf_random_init(&random, 9, "narrow", 0);
    struct pf_array array = small_array(4, 4, 8, 8, 32);
    struct random_layer layer;
    random_layer_init(&layer, &random, 6, 6, 2, 70, 8, 127);
    check_all(&array, &layer);
    random_layer_finish(&layer);
}

/* Counted, not computed: the published array with a whole tile. */
static void test_one_bit_model_counts_the_closed_formula(void **state)
{
    (void)state;
    struct pf_random random;
    pf_random_init(&random, 10, "cycles", 0);
    struct pf_array array;
    pf_array_default(&array);
    struct random_layer layer;
    random_layer_init(&layer, &random, 32, 32, 8, 6, 8, 127);
    int32_t *sums = PF_ALLOC(layer.n_rows * layer.n_pixels, int32_t);
    uint64_t cycles;
    struct pf_error err;
    assert_int_equal(pf_array_one_bit_tile(&array, layer.matrix, 0, 0, layer.x, layer.n_pixels,
                                           sums, &cycles, &err),
                     PF_OK);
    assert_int_equal(cycles, 8 * 5 + 32 + 32 + 32 - 2);
    pf_free(sums);
    random_layer_finish(&layer);
}

static void test_bad_layers_are_refused_by_a_sentence(void **state)
{
    (void)state;
    struct pf_random random;
    pf_random_init(&random, 11, "bad", 0);
    struct random_layer layer;
    random_layer_init(&layer, &random, 3, 3, 4, 2, 8, 127);
    int32_t sums[6] = {0};
    struct pf_array_cycles cycles = {.tiles = 77};
    struct pf_error err;
    struct pf_array array = small_array(2, 2, 2, 8, 32);
    assert_int_equal(
        pf_array_run(PF_ENGINE_ONE_BIT, &array, layer.matrix, layer.x, 2, sums, &cycles, &err),
        PF_INVALID);
    assert_non_null(strstr(err.text, "joins up to 4 columns"));
    array.alpha = 4;
    assert_int_equal(
        pf_array_run(PF_ENGINE_ONE_BIT, &array, layer.matrix, layer.x, 0, sums, &cycles, &err),
        PF_INVALID);
    assert_non_null(strstr(err.text, "without pixels"));
    array = small_array(2, 2, 4, 4, 32);
    layer.x[1] = 16;
    assert_int_equal(
        pf_array_run(PF_ENGINE_FUNCTIONAL, &array, layer.matrix, layer.x, 2, sums, &cycles, &err),
        PF_INVALID);
    assert_non_null(strstr(err.text, "does not fit 4 bits"));
    assert_int_equal(cycles.tiles, 77);
    random_layer_finish(&layer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_engines_agree_on_random_layers),
        cmocka_unit_test(test_engines_agree_for_other_word_lengths),
        cmocka_unit_test(test_a_matrix_of_smaller_alpha_runs_on_a_wider_cell),
        cmocka_unit_test(test_one_bit_model_counts_the_closed_formula),
        cmocka_unit_test(test_bad_layers_are_refused_by_a_sentence),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
