/* Parameters, closed formulas, and the weight-stationary mode of SCALE-Sim. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "sim/array/engine.h"
#include "tests/unit/array/random_layer.h"

static void assert_refused(struct pf_array array, const char *part)
{
    struct pf_error err;
    assert_int_equal(pf_array_validate(&array, &err), PF_INVALID);
    if (strstr(err.text, part) == NULL) fail_msg("'%s' does not say '%s'", err.text, part);
}

static void test_the_default_array_is_the_published_one(void **state)
{
    (void)state;
    struct pf_array array;
    pf_array_default(&array);
    assert_int_equal(pf_array_validate(&array, NULL), PF_OK);
    assert_int_equal(array.rows, 32);
    assert_int_equal(array.columns, 32);
    assert_int_equal(array.alpha, 8);
    assert_int_equal(array.lanes, 4);
    assert_int_equal(pf_array_load_cycles(&array), 32);
    assert_int_equal(pf_array_compute_cycles(&array, 1024), 8 * 1023 + 94);
}

static void test_bad_arrays_are_refused_by_a_sentence(void **state)
{
    (void)state;
    struct pf_array good;
    pf_array_default(&good);
    struct pf_array bad = good;
    bad.columns = 0;
    assert_refused(bad, "32 × 0 cells");
    bad.columns = 1000000;
    assert_refused(bad, "32 × 1000000 cells");
    bad = good;
    bad.rows = 0;
    assert_refused(bad, "0 × 32 cells");
    bad = good;
    bad.alpha = 0;
    assert_refused(bad, "alpha = 0");
    bad.alpha = 65;
    assert_refused(bad, "alpha = 65");
    bad = good;
    bad.input_bits = 0;
    assert_refused(bad, "0 input bits");
    bad = good;
    bad.accumulation_bits = 30;
    assert_refused(bad, "30 accumulation bits are not a multiple of 8");
    bad.accumulation_bits = 0;
    assert_refused(bad, "0 accumulation bits");
    bad.accumulation_bits = 64;
    assert_refused(bad, "64 accumulation bits");
    bad = good;
    bad.lanes = 3;
    assert_refused(bad, "need 4");
    bad = good;
    bad.clock_mhz = 0.0;
    assert_refused(bad, "clock of 0 MHz");
    bad.clock_mhz = (double)NAN;
    assert_refused(bad, "clock of nan MHz");
    bad.clock_mhz = (double)INFINITY;
    assert_refused(bad, "clock of inf MHz");
}

static void test_weights_load_over_the_input_wires(void **state)
{
    (void)state;
    static const uint32_t cycles[][2] = {{1, 256}, {2, 128}, {3, 96}, {4, 64},
                                         {7, 64},  {8, 32},  {9, 32}, {64, 32}};
    struct pf_array array;
    pf_array_default(&array);
    for (size_t i = 0; i < PF_ARRAY_LENGTH(cycles); i++) {
        array.alpha = cycles[i][0];
        assert_int_equal(pf_array_load_cycles(&array), cycles[i][1]);
    }
}

static void test_tiles_cover_the_matrix(void **state)
{
    (void)state;
    struct pf_array array;
    pf_array_default(&array);
    assert_int_equal(pf_array_tiles(&array, 96, 94), 9); /* the published layer, */
    assert_int_equal(pf_array_tiles(&array, 96, 17), 3); /* before and after combining */
    assert_int_equal(pf_array_tiles(&array, 1, 1), 1);
    assert_int_equal(pf_array_tiles(&array, 33, 0), 0);
}

/* Step by step what the closed form adds up. */
static void test_double_buffering_hides_loads_behind_the_previous_tile(void **state)
{
    (void)state;
    static const uint64_t layers[][2] = {{3, 1}, {2, 64}, {1, 1}, {0, 9}, {4, 2}};
    for (uint32_t alpha = 1; alpha <= 8; alpha *= 8) { /* loads of 256: longer than one pixel */
        for (int buffered = 0; buffered < 2; buffered++) {
            struct pf_array array;
            pf_array_default(&array);
            array.alpha = alpha;
            array.double_buffering = buffered == 1;
            struct pf_array_schedule schedule = {0};
            uint64_t expected = 0, previous = 0, load = pf_array_load_cycles(&array);
            for (size_t l = 0; l < PF_ARRAY_LENGTH(layers); l++) {
                pf_array_schedule_add(&schedule, &array, layers[l][0], layers[l][1]);
                for (uint64_t tile = 0; tile < layers[l][0]; tile++) {
                    uint64_t compute = pf_array_compute_cycles(&array, layers[l][1]);
                    if (buffered == 1) /* max(load, previous) ends; previous is already counted */
                        expected += PF_MAX(load, previous) - previous + compute;
                    else
                        expected += load + compute;
                    previous = compute;
                }
            }
            assert_int_equal(schedule.cycles, expected);
        }
    }
}

/* With b = A = 1 and a load of one row a cycle, the layer costs what SCALE-Sim says. */
static void test_scalesim_weight_stationary_folds(void **state)
{
    (void)state;
    struct pf_array array = small_array(32, 32, 8, 1, 1);
    assert_int_equal(pf_array_load_cycles(&array), 32);
    FILE *file = fopen(PF_TEST_VECTORS "/scalesim-ws-32x32.csv", "r");
    assert_non_null(file);
    char line[256];
    size_t n_rows = 0;
    while (fgets(line, sizeof line, file) != NULL) {
        unsigned pixels, filters, columns;
        unsigned long long reported;
        if (line[0] == '#' || line[0] == 'M') continue;
        assert_int_equal(sscanf(line, "%u,%u,%u,%llu", &pixels, &filters, &columns, &reported), 4);
        struct pf_array_schedule schedule = {0};
        pf_array_schedule_add(&schedule, &array, pf_array_tiles(&array, filters, columns), pixels);
        assert_int_equal(schedule.cycles, reported + 1); /* reported is the last cycle's index */
        n_rows++;
    }
    fclose(file);
    assert_int_equal(n_rows, 27);
}

/* The same by counting clock edges, on the one row that is cheap to simulate bit by bit. */
static void test_scalesim_fold_counted_by_the_one_bit_model(void **state)
{
    (void)state;
    struct pf_array array = small_array(32, 32, 8, 1, 1);
    struct pf_random random;
    pf_random_init(&random, 3, "scalesim", 0);
    struct random_layer layer;
    random_layer_init(&layer, &random, 10, 128, 1, 1, 1, 127);
    struct pf_array_cycles cycles;
    struct pf_error err;
    assert_int_equal(pf_array_run(PF_ENGINE_ONE_BIT, &array, layer.matrix, layer.x, 1,
                                  layer.partials, &cycles, &err),
                     PF_OK);
    assert_int_equal(cycles.load + cycles.compute, 379 + 1);
    random_layer_finish(&layer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_default_array_is_the_published_one),
        cmocka_unit_test(test_bad_arrays_are_refused_by_a_sentence),
        cmocka_unit_test(test_weights_load_over_the_input_wires),
        cmocka_unit_test(test_tiles_cover_the_matrix),
        cmocka_unit_test(test_double_buffering_hides_loads_behind_the_previous_tile),
        cmocka_unit_test(test_scalesim_weight_stationary_folds),
        cmocka_unit_test(test_scalesim_fold_counted_by_the_one_bit_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
