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
    struct pf_blocks y = pf_input_blocks(plan, planes + PF_PLANE_GUARD, 0);
    float *before = noise(n), *expected = copy_of(before, n);
    /* All but the first block, or the first group of the only one; from the second tile on, in the
     * other case from its third group on. */
    size_t skipped = groups > PF_GROUPS_PER_TILE ? PF_GROUPS_PER_TILE : 1;
    size_t at = groups > PF_GROUPS_PER_TILE ? 4 : 6;
    tables[0]->activate((struct pf_tiles){expected, tile_stride, at}, &plan->columns, y, skipped,
                        groups - skipped, norm);
    assert_true(memcmp(expected, before, n * sizeof *before) != 0);
    for (size_t t = 1; t < n_tables; t++) {
        float *got = copy_of(before, n);
        tables[t]->activate((struct pf_tiles){got, tile_stride, at}, &plan->columns, y, skipped,
                            groups - skipped, norm);
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
    enum { FIRST = 4, MOST = 5 };
    struct pf_model *model = odd_model(kind, stride);
    struct pf_layer_plan *plan = NULL;
    assert_int_equal(pf_layer_plan_create(&model->layers[2], &plan, NULL), PF_OK);
    size_t taps = plan->columns.taps_per_channel, blocks = plan->out_padded / plan->out_run;
    size_t n_channels = PF_MIN((size_t)MOST, plan->dx_channels);
    size_t n = plan->n_channels * plan->in_padded, n_sums = n_channels * 2 * PF_GROUP;
    float *dx = noise(blocks * pf_dx_blocks(plan, NULL).stride + 2 * PF_PLANE_GUARD), *y = noise(n);
    float *sums = noise(n_sums), *expected_sums = copy_of(sums, n_sums);
    float *before = noise(n), *expected = copy_of(before, n), *mean = noise(MOST);
    struct pf_affine norm[MOST];
    random_norms(norm, MOST);
    struct pf_blocks dx_blocks = pf_dx_blocks(plan, dx + PF_PLANE_GUARD);
    struct pf_blocks y_blocks = pf_input_blocks(plan, y, FIRST);
    tables[0]->activate_back(expected + FIRST * plan->in_run, n_channels, &plan->columns,
                             FIRST * taps, dx_blocks, y_blocks, plan->in_padded / PF_GROUP, norm,
                             mean, expected_sums);
    assert_true(memcmp(expected, before, n * sizeof *before) != 0);
    for (size_t t = 1; t < n_tables; t++) {
        float *got = copy_of(before, n), *got_sums = copy_of(sums, n_sums);
        tables[t]->activate_back(got + FIRST * plan->in_run, n_channels, &plan->columns,
                                 FIRST * taps, dx_blocks, y_blocks, plan->in_padded / PF_GROUP,
                                 norm, mean, got_sums);
        assert_close(got, expected, n, tables[t]->name);
        assert_close(got_sums, expected_sums, n_sums, tables[t]->name);
        pf_free(got);
        pf_free(got_sums);
    }
    pf_free(before);
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

/* Two blocks. */
enum { ROWS = 7, GROUPS = 8, PLANE = GROUPS * PF_GROUP };
static const uint16_t odd_mask[GROUPS] = {0xffff, 0x8001, 0xffff, 0x7ffe,
                                          0x0fff, 0xffff, 0x0000, 0x1234};
static const struct pf_blocks two_blocks = {NULL, PF_TILE, ROWS *PF_TILE};

static struct pf_blocks blocks_at(struct pf_blocks layout, const float *values)
{
    layout.values = values;
    return layout;
}

static void check_normalise_back(struct pf_blocks layout, size_t n_groups, size_t first)
{
    enum { TO = 3 * 8 * PF_TILE };
    float *g = noise(ROWS * PLANE), *y = noise(ROWS * PLANE), *to = noise(TO);
    struct pf_affine_back norm[ROWS];
    for (size_t r = 0; r < ROWS; r++)
        norm[r] = (struct pf_affine_back){0.5f, (float)r - 3.0f, (float)pf_random_normal(&source)};
    float *expected = copy_of(to, TO);
    struct pf_blocks g_blocks = blocks_at(layout, g), y_blocks = blocks_at(layout, y);
    tables[0]->normalise_back((struct pf_tiles){expected, 8 * PF_TILE, first}, ROWS, g_blocks,
                              y_blocks, odd_mask, n_groups, norm);
    for (size_t t = 1; t < n_tables; t++) {
        float *got = copy_of(to, TO);
        tables[t]->normalise_back((struct pf_tiles){got, 8 * PF_TILE, first}, ROWS, g_blocks,
                                  y_blocks, odd_mask, n_groups, norm);
        assert_close(got, expected, TO, tables[t]->name);
        pf_free(got);
    }
    pf_free(g);
    pf_free(y);
    pf_free(to);
    pf_free(expected);
}

static void test_normalise_back_equals_its_twin(void **state)
{
    (void)state;
    check_normalise_back(two_blocks, GROUPS, 4);
    /* A small image behind others, over the end of a tile. */
    check_normalise_back((struct pf_blocks){NULL, 48, ROWS * 48}, 3, 3);
}

static void test_pool_equals_its_twin_both_ways(void **state)
{
    (void)state;
    float *y = noise(ROWS * PLANE), *value = noise(ROWS), *mean = noise(ROWS);
    struct pf_affine norm[ROWS];
    random_norms(norm, ROWS);
    struct pf_blocks blocks = blocks_at(two_blocks, y);
    float expected[ROWS], expected_g[ROWS * PLANE], expected_sums[ROWS * 2 * PF_GROUP] = {0};
    tables[0]->pool(expected, ROWS, blocks, odd_mask, GROUPS, norm, 0.25f);
    tables[0]->pool_back(expected_g, ROWS, value, blocks, odd_mask, GROUPS, norm, mean,
                         expected_sums);
    for (size_t t = 1; t < n_tables; t++) {
        float got[ROWS], got_g[ROWS * PLANE], got_sums[ROWS * 2 * PF_GROUP] = {0};
        tables[t]->pool(got, ROWS, blocks, odd_mask, GROUPS, norm, 0.25f);
        tables[t]->pool_back(got_g, ROWS, value, blocks, odd_mask, GROUPS, norm, mean, got_sums);
        assert_close(got, expected, ROWS, tables[t]->name);
        assert_close(got_g, expected_g, ROWS * PLANE, tables[t]->name);
        assert_close(got_sums, expected_sums, ROWS * 2 * PF_GROUP, tables[t]->name);
    }
    pf_free(y);
    pf_free(value);
    pf_free(mean);
}

/* The sinks that occur, and those with groups that are missing, scattered or partly masked. */
enum { SINK_ROW = 4 * PF_GROUP, SINK_FLOATS = ROWS * SINK_ROW + 2 * PF_GROUP, N_SINKS = 5 };

static struct pf_sink make_sink(size_t which, float *values, const float *pivot, float *sums)
{
    struct pf_sink sink = {.values = values,
                           .row_stride = SINK_ROW,
                           .n_groups = PF_GROUPS_PER_TILE,
                           .offset = {0, PF_GROUP, 2 * PF_GROUP, 3 * PF_GROUP},
                           .mask = {0xffff, 0xffff, 0xffff, 0xffff},
                           .sums = sums};
    if (which > 0) sink.pivot = pivot;
    if (which == 1 || which == 4) sink.stream = true;
    if (which < 3) return sink;
    sink.n_groups = 3; /* in another order, with borders */
    sink.offset[0] = 4 * PF_GROUP;
    sink.offset[2] = 0;
    for (size_t i = 0; i < sink.n_groups; i++) sink.mask[i] = odd_mask[i];
    return sink;
}

/* What every table but the reference makes of a product, against the reference. */
static void check_product(void (*run)(const struct pf_kernels *kernels, const struct pf_sink *to,
                                      const void *work),
                          const void *work)
{
    /* On the heap, which aligns to lines: streams need that. */
    float *before = noise(SINK_FLOATS), *pivot = noise(ROWS);
    float *got = noise(SINK_FLOATS), *expected = noise(SINK_FLOATS);
    for (size_t which = 0; which < N_SINKS; which++) {
        float sums[ROWS * 2 * PF_GROUP] = {0};
        memcpy(expected, before, SINK_FLOATS * sizeof *before);
        struct pf_sink sink = make_sink(which, expected, pivot, sums);
        run(tables[0], &sink, work);
        assert_true(memcmp(expected, before, SINK_FLOATS * sizeof *before) != 0);
        for (size_t t = 1; t < n_tables; t++) {
            float got_sums[ROWS * 2 * PF_GROUP] = {0};
            memcpy(got, before, SINK_FLOATS * sizeof *before);
            sink = make_sink(which, got, pivot, got_sums);
            run(tables[t], &sink, work);
            tables[t]->stream_end();
            assert_close(got, expected, SINK_FLOATS, tables[t]->name);
            for (size_t i = 0; i < ROWS * 2 * PF_GROUP; i++) /* of squares of up to thousands */
                if (!(fabsf(got_sums[i] - sums[i]) <= 1e-3f * (1.0f + fabsf(sums[i]))))
                    fail_msg("%s: sum %zu is %g, the plain twin says %g", tables[t]->name, i,
                             (double)got_sums[i], (double)sums[i]);
        }
    }
    pf_free(before);
    pf_free(pivot);
    pf_free(got);
    pf_free(expected);
}

/* 70 columns: more than are worked on between two fetches. */
enum { COLUMNS = 70, COLUMNS_PADDED = 72, ROWS_PADDED = 8, TILES = 11 };

struct dense_work {
    const float *panels, *x;
};

static void run_product(const struct pf_kernels *kernels, const struct pf_sink *to,
                        const void *work)
{
    const struct dense_work *dense = work;
    char memory[3 * PF_LINE];
    struct pf_ahead ahead = {.ranges = {{memory, 1}, {memory + PF_LINE, 2}}, .pace = 2};
    kernels->product(to, dense->panels, dense->x, ROWS, COLUMNS, &ahead);
    if (kernels != tables[0]) /* which fetches nothing */
        assert_int_equal(ahead.ranges[0].n_lines + ahead.ranges[1].n_lines, 0);
}

static void test_product_equals_its_twin(void **state)
{
    (void)state;
    float *panels = noise(ROWS_PADDED * COLUMNS), *x = noise(COLUMNS_PADDED * PF_TILE);
    check_product(run_product, &(struct dense_work){panels, x});
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

struct packed_work {
    const uint32_t *start;
    const struct pf_survivor *survivors;
    const float *x;
};

static void run_packed(const struct pf_kernels *kernels, const struct pf_sink *to, const void *work)
{
    const struct packed_work *packed = work;
    struct pf_ahead none = {.ranges = {{NULL, 0}}};
    kernels->packed(to, packed->start, packed->survivors, packed->x, ROWS, &none);
}

static void test_packed_equals_its_twin(void **state)
{
    (void)state;
    uint32_t start[ROWS + 1];
    struct pf_survivor survivors[ROWS * ROWS];
    random_survivors(start, survivors);
    float *x = noise(COLUMNS * PF_TILE);
    check_product(run_packed, &(struct packed_work){start, survivors, x});
    pf_free(x);
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
        cmocka_unit_test(test_product_equals_its_twin),
        cmocka_unit_test(test_product_weights_equals_its_twin),
        cmocka_unit_test(test_packed_equals_its_twin),
        cmocka_unit_test(test_packed_weights_equals_its_twin),
    };
    return cmocka_run_group_tests(tests, list_tables, NULL);
}
