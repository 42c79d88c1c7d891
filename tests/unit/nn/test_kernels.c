/* Every kernel table this processor can run against the plain twins, on random content with odd
 * counts, offsets and masks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/base/random.h"
#include "common/nn/kernels.h"
#include "common/nn/layer_plan.h"

#define MAX_TABLES 4

static const struct pf_kernels *tables[MAX_TABLES];
static size_t n_tables;
static struct pf_random source;

static int list_tables(void **state)
{
    (void)state;
    n_tables = pf_kernels_list(tables, MAX_TABLES);
    pf_random_init(&source, 7, "kernels", 0);
    return n_tables >= 2 ? 0 : -1;
}

static float *noise(size_t n)
{
    float *values = PF_ALLOC(n, float);
    assert_non_null(values);
    for (size_t i = 0; i < n; i++) values[i] = 3.0f * (float)pf_random_normal(&source);
    return values;
}

static float *copy_of(const float *values, size_t n)
{
    float *copy = PF_ALLOC(n, float);
    assert_non_null(copy);
    memcpy(copy, values, n * sizeof *copy);
    return copy;
}

static void assert_close(const float *a, const float *b, size_t n, const char *table)
{
    for (size_t i = 0; i < n; i++)
        if (!(fabsf(a[i] - b[i]) <= 1e-4f * (1.0f + fabsf(b[i]))))
            fail_msg("%s: element %zu is %g, the plain twin says %g", table, i, (double)a[i],
                     (double)b[i]);
}

/* A layer with every tap and odd sizes; 10 channels, 7 filters. */
static struct pf_model *odd_model(enum pf_layer_kind kind, uint32_t stride)
{
    struct pf_network network = {kind, 2, {10, 7}, {1, 1}, {1, stride}, 3, 9, 11, 4};
    struct pf_model *model = NULL;
    assert_int_equal(pf_model_create(&network, NULL, &model, NULL), PF_OK);
    struct pf_layer *layer = &model->layers[2];
    for (size_t c = 0; layer->shift_y != NULL && c < layer->in_channels; c++) {
        layer->shift_y[c] = (int8_t)((int)(c / 3 % 3) - 1);
        layer->shift_x[c] = (int8_t)((int)(c % 3) - 1);
    }
    return model;
}

static void random_norms(struct pf_affine *norm, size_t n)
{
    for (size_t i = 0; i < n; i++)
        norm[i] = (struct pf_affine){1.0f + (float)pf_random_normal(&source),
                                     2.0f + (float)pf_random_normal(&source)};
}

static void check_activate(enum pf_layer_kind kind, uint32_t stride)
{
    struct pf_model *model = odd_model(kind, stride);
    struct pf_layer_plan *plan = NULL;
    assert_int_equal(pf_layer_plan_create(&model->layers[2], &plan, NULL), PF_OK);
    size_t groups = plan->out_padded / PF_GROUP, tile_stride = plan->columns_padded * PF_TILE;
    size_t n = 4 * tile_stride;
    float *planes = noise(plan->n_channels * plan->in_padded + 2 * PF_PLANE_GUARD);
    struct pf_affine norm[10];
    random_norms(norm, 10);
    struct pf_planes y = {planes + PF_PLANE_GUARD, plan->in_padded};
    float *before = noise(n), *expected = copy_of(before, n);
    /* From the second group on, to the third group of the first tile. */
    tables[0]->activate((struct pf_tiles){expected, tile_stride, 2}, &plan->columns, y, 1,
                        groups - 1, norm);
    assert_true(memcmp(expected, before, n * sizeof *before) != 0);
    for (size_t t = 1; t < n_tables; t++) {
        float *got = copy_of(before, n);
        tables[t]->activate((struct pf_tiles){got, tile_stride, 2}, &plan->columns, y, 1,
                            groups - 1, norm);
        assert_close(got, expected, n, tables[t]->name);
        pf_free(got);
    }
    pf_free(planes);
    pf_free(before);
    pf_free(expected);
    pf_layer_plan_destroy(plan);
    pf_model_destroy(model);
}

static void test_activate_equals_its_twin(void **state)
{
    (void)state;
    check_activate(PF_LAYER_SHIFT, 1);
    check_activate(PF_LAYER_SHIFT, 2);
    check_activate(PF_LAYER_CONV3X3, 1);
    check_activate(PF_LAYER_CONV3X3, 2);
}

static void check_activate_back(enum pf_layer_kind kind, uint32_t stride)
{
    enum { FIRST = 4, CHANNELS = 5 };
    struct pf_model *model = odd_model(kind, stride);
    struct pf_layer_plan *plan = NULL;
    assert_int_equal(pf_layer_plan_create(&model->layers[2], &plan, NULL), PF_OK);
    size_t taps = plan->columns.taps_per_channel, dx_stride = plan->out_padded + 2 * PF_GROUP;
    size_t n = CHANNELS * plan->in_padded, n_sums = CHANNELS * 2 * PF_GROUP;
    float *dx = noise(CHANNELS * taps * dx_stride + 2 * PF_PLANE_GUARD), *y = noise(n);
    float *sums = noise(n_sums), *expected = noise(n), *expected_sums = copy_of(sums, n_sums);
    float *mean = noise(CHANNELS);
    struct pf_affine norm[CHANNELS];
    random_norms(norm, CHANNELS);
    struct pf_planes dx_planes = {dx + PF_PLANE_GUARD, dx_stride}, planes = {y, plan->in_padded};
    tables[0]->activate_back(expected, CHANNELS, &plan->columns, FIRST * taps, dx_planes, planes,
                             plan->in_padded / PF_GROUP, norm, mean, expected_sums);
    for (size_t t = 1; t < n_tables; t++) {
        float *got = noise(n), *got_sums = copy_of(sums, n_sums);
        tables[t]->activate_back(got, CHANNELS, &plan->columns, FIRST * taps, dx_planes, planes,
                                 plan->in_padded / PF_GROUP, norm, mean, got_sums);
        assert_close(got, expected, n, tables[t]->name);
        assert_close(got_sums, expected_sums, n_sums, tables[t]->name);
        pf_free(got);
        pf_free(got_sums);
    }
    pf_free(dx);
    pf_free(y);
    pf_free(sums);
    pf_free(expected);
    pf_free(expected_sums);
    pf_free(mean);
    pf_layer_plan_destroy(plan);
    pf_model_destroy(model);
}

static void test_activate_back_equals_its_twin(void **state)
{
    (void)state;
    check_activate_back(PF_LAYER_SHIFT, 1);
    check_activate_back(PF_LAYER_SHIFT, 2);
    check_activate_back(PF_LAYER_CONV3X3, 1);
    check_activate_back(PF_LAYER_CONV3X3, 2);
}

enum { ROWS = 7, GROUPS = 5, PLANE = GROUPS * PF_GROUP };
static const uint16_t odd_mask[GROUPS] = {0xffff, 0x8001, 0xffff, 0x7ffe, 0x0fff};

static void test_normalise_back_equals_its_twin(void **state)
{
    (void)state;
    float *g = noise(ROWS * PLANE), *y = noise(ROWS * PLANE), *to = noise(3 * 8 * PF_TILE);
    struct pf_affine_back norm[ROWS];
    for (size_t r = 0; r < ROWS; r++)
        norm[r] = (struct pf_affine_back){0.5f, (float)r - 3.0f, (float)pf_random_normal(&source)};
    float *expected = copy_of(to, 3 * 8 * PF_TILE);
    struct pf_planes g_planes = {g, PLANE}, y_planes = {y, PLANE};
    tables[0]->normalise_back((struct pf_tiles){expected, 8 * PF_TILE, 3}, ROWS, g_planes, y_planes,
                              odd_mask, GROUPS, norm);
    for (size_t t = 1; t < n_tables; t++) {
        float *got = copy_of(to, 3 * 8 * PF_TILE);
        tables[t]->normalise_back((struct pf_tiles){got, 8 * PF_TILE, 3}, ROWS, g_planes, y_planes,
                                  odd_mask, GROUPS, norm);
        assert_close(got, expected, 3 * 8 * PF_TILE, tables[t]->name);
        pf_free(got);
    }
    pf_free(g);
    pf_free(y);
    pf_free(to);
    pf_free(expected);
}

static void test_pool_equals_its_twin_both_ways(void **state)
{
    (void)state;
    float *y = noise(ROWS * PLANE), *value = noise(ROWS), *mean = noise(ROWS);
    struct pf_affine norm[ROWS];
    random_norms(norm, ROWS);
    struct pf_planes planes = {y, PLANE};
    float expected[ROWS], expected_g[ROWS * PLANE], expected_sums[ROWS * 2 * PF_GROUP] = {0};
    tables[0]->pool(expected, ROWS, planes, odd_mask, GROUPS, norm, 0.25f);
    tables[0]->pool_back(expected_g, ROWS, value, planes, odd_mask, GROUPS, norm, mean,
                         expected_sums);
    for (size_t t = 1; t < n_tables; t++) {
        float got[ROWS], got_g[ROWS * PLANE], got_sums[ROWS * 2 * PF_GROUP] = {0};
        tables[t]->pool(got, ROWS, planes, odd_mask, GROUPS, norm, 0.25f);
        tables[t]->pool_back(got_g, ROWS, value, planes, odd_mask, GROUPS, norm, mean, got_sums);
        assert_close(got, expected, ROWS, tables[t]->name);
        assert_close(got_g, expected_g, ROWS * PLANE, tables[t]->name);
        assert_close(got_sums, expected_sums, ROWS * 2 * PF_GROUP, tables[t]->name);
    }
    pf_free(y);
    pf_free(value);
    pf_free(mean);
}

static void check_emit(bool summed, bool stream)
{
    enum { N_GROUPS = 3, STRIDE = 4 * PF_GROUP };
    float *tile = noise(8 * PF_TILE), *pivot = noise(ROWS), *before = noise(ROWS * STRIDE);
    float *expected = copy_of(before, ROWS * STRIDE), expected_sums[ROWS * 2 * PF_GROUP] = {0};
    tables[0]->emit(expected, STRIDE, tile, ROWS, N_GROUPS, odd_mask, pivot,
                    summed ? expected_sums : NULL, summed);
    for (size_t t = 1; t < n_tables; t++) {
        float *got = copy_of(before, ROWS * STRIDE), got_sums[ROWS * 2 * PF_GROUP] = {0};
        tables[t]->emit(got, STRIDE, tile, ROWS, N_GROUPS, odd_mask, pivot,
                        summed ? got_sums : NULL, stream);
        assert_memory_equal(got, expected, ROWS * STRIDE * sizeof *got);
        assert_close(got_sums, expected_sums, ROWS * 2 * PF_GROUP, tables[t]->name);
        pf_free(got);
    }
    pf_free(tile);
    pf_free(pivot);
    pf_free(before);
    pf_free(expected);
}

static void test_emit_equals_its_twin(void **state)
{
    (void)state;
    check_emit(true, true);
    check_emit(true, false);
    check_emit(false, false);
}

/* 70 columns: more than are worked on between two fetches. */
enum { COLUMNS = 70, COLUMNS_PADDED = 72, ROWS_PADDED = 8, TILES = 11 };

static void test_product_equals_its_twin(void **state)
{
    (void)state;
    float *panels = noise(ROWS_PADDED * COLUMNS), *x = noise(COLUMNS_PADDED * PF_TILE);
    float expected[ROWS_PADDED * 2 * PF_TILE] = {0};
    char memory[3 * PF_LINE];
    struct pf_ahead ahead = {.ranges = {{memory, 1}, {memory + PF_LINE, 2}}};
    tables[0]->product(expected, 2 * PF_TILE, panels, x, ROWS_PADDED, COLUMNS, &ahead);
    for (size_t t = 1; t < n_tables; t++) {
        float got[ROWS_PADDED * 2 * PF_TILE] = {0};
        tables[t]->product(got, 2 * PF_TILE, panels, x, ROWS_PADDED, COLUMNS, &ahead);
        assert_close(got, expected, ROWS_PADDED * 2 * PF_TILE, tables[t]->name);
    }
    assert_int_equal(ahead.ranges[0].n_lines + ahead.ranges[1].n_lines, 0);
    pf_free(panels);
    pf_free(x);
}

static void test_product_weights_equals_its_twin(void **state)
{
    (void)state;
    size_t dy_stride = ROWS_PADDED * PF_TILE, x_stride = COLUMNS_PADDED * PF_TILE;
    float *dy = noise(TILES * dy_stride), *x = noise(TILES * x_stride);
    float *before = noise(ROWS * COLUMNS), *expected = copy_of(before, ROWS * COLUMNS);
    struct pf_ahead none = {.ranges = {{NULL, 0}}};
    tables[0]->product_weights(expected, ROWS, COLUMNS, dy, dy_stride, x, x_stride, TILES, &none);
    for (size_t t = 1; t < n_tables; t++) {
        float *got = copy_of(before, ROWS * COLUMNS);
        tables[t]->product_weights(got, ROWS, COLUMNS, dy, dy_stride, x, x_stride, TILES, &none);
        for (size_t i = 0; i < ROWS * COLUMNS; i++) /* sums of 704 products of about 9 */
            if (!(fabsf(got[i] - expected[i]) < 5e-3f))
                fail_msg("%s: weight %zu is %g, the plain twin says %g", tables[t]->name, i,
                         (double)got[i], (double)expected[i]);
        pf_free(got);
    }
    pf_free(dy);
    pf_free(x);
    pf_free(before);
    pf_free(expected);
}

/* Rows of 0, 1, 2, … survivors. */
static size_t random_survivors(uint32_t *start, struct pf_survivor *survivors)
{
    size_t n = 0;
    for (uint32_t r = 0; r < ROWS; r++) {
        start[r] = (uint32_t)n;
        for (uint32_t i = 0; i < r; i++)
            survivors[n++] = (struct pf_survivor){(float)pf_random_normal(&source),
                                                  pf_random_below(&source, COLUMNS)};
    }
    start[ROWS] = (uint32_t)n;
    return n;
}

static void test_packed_equals_its_twin(void **state)
{
    (void)state;
    uint32_t start[ROWS + 1];
    struct pf_survivor survivors[ROWS * ROWS];
    random_survivors(start, survivors);
    float *x = noise(COLUMNS * PF_TILE), *before = noise(ROWS * 2 * PF_TILE);
    float *expected = copy_of(before, ROWS * 2 * PF_TILE);
    struct pf_ahead none = {.ranges = {{NULL, 0}}};
    tables[0]->packed(expected, 2 * PF_TILE, start, survivors, x, ROWS, &none);
    for (size_t t = 1; t < n_tables; t++) {
        float *got = copy_of(before, ROWS * 2 * PF_TILE);
        tables[t]->packed(got, 2 * PF_TILE, start, survivors, x, ROWS, &none);
        assert_close(got, expected, ROWS * 2 * PF_TILE, tables[t]->name);
        pf_free(got);
    }
    pf_free(x);
    pf_free(before);
    pf_free(expected);
}

static void test_packed_weights_equals_its_twin(void **state)
{
    (void)state;
    uint32_t start[ROWS + 1];
    struct pf_survivor survivors[ROWS * ROWS];
    size_t n = random_survivors(start, survivors) * PF_GROUP;
    size_t dy_stride = ROWS_PADDED * PF_TILE, x_stride = COLUMNS_PADDED * PF_TILE;
    float *dy = noise(TILES * dy_stride), *x = noise(TILES * x_stride), *before = noise(n);
    float *expected = copy_of(before, n);
    struct pf_ahead none = {.ranges = {{NULL, 0}}};
    tables[0]->packed_weights(expected, start, survivors, ROWS, dy, dy_stride, x, x_stride, TILES,
                              &none);
    for (size_t t = 1; t < n_tables; t++) {
        float *got = copy_of(before, n);
        tables[t]->packed_weights(got, start, survivors, ROWS, dy, dy_stride, x, x_stride, TILES,
                                  &none);
        for (size_t i = 0; i < n; i++)
            if (!(fabsf(got[i] - expected[i]) < 1e-3f))
                fail_msg("%s: partial sum %zu is %g, the plain twin says %g", tables[t]->name, i,
                         (double)got[i], (double)expected[i]);
        pf_free(got);
    }
    pf_free(dy);
    pf_free(x);
    pf_free(before);
    pf_free(expected);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_activate_equals_its_twin),
        cmocka_unit_test(test_activate_back_equals_its_twin),
        cmocka_unit_test(test_normalise_back_equals_its_twin),
        cmocka_unit_test(test_pool_equals_its_twin_both_ways),
        cmocka_unit_test(test_emit_equals_its_twin),
        cmocka_unit_test(test_product_equals_its_twin),
        cmocka_unit_test(test_product_weights_equals_its_twin),
        cmocka_unit_test(test_packed_equals_its_twin),
        cmocka_unit_test(test_packed_weights_equals_its_twin),
    };
    return cmocka_run_group_tests(tests, list_tables, NULL);
}
