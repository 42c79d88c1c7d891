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
#include "common/nn/half.h"
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

/* As training keeps them. */
static void *noise_kept(size_t n, enum pf_precision precision)
{
    float *values = noise(n);
    if (precision == PF_SINGLE) return values;
    uint16_t *halves = PF_ALLOC(n, uint16_t);
    assert_non_null(halves);
    for (size_t i = 0; i < n; i++) halves[i] = pf_half_of_float(values[i]);
    pf_free(values);
    return halves;
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

/* Of products that may be of thousands. */
static void assert_sums_close(const float *a, const float *b, size_t n, const char *table)
{
    for (size_t i = 0; i < n; i++)
        if (!(fabsf(a[i] - b[i]) <= 1e-3f * (1.0f + fabsf(b[i]))))
            fail_msg("%s: sum %zu is %g, the plain twin says %g", table, i, (double)a[i],
                     (double)b[i]);
}

/* A layer and how training keeps its input. */
struct layer_case {
    enum pf_layer_kind kind;
    uint32_t stride, height, width;
    enum pf_view_kind forward, back; /* which this comes to */
};

static const struct layer_case cases[] = {
    {PF_LAYER_SHIFT, 1, 9, 11, PF_MIXED, PF_MIXED},
    {PF_LAYER_SHIFT, 2, 9, 11, PF_MIXED, PF_MIXED},
    {PF_LAYER_CONV3X3, 1, 9, 11, PF_MIXED, PF_MIXED},
    {PF_LAYER_CONV3X3, 2, 9, 11, PF_MIXED, PF_MIXED},
    {PF_LAYER_SHIFT, 1, 16, 16, PF_IN_ROWS, PF_IN_ROWS},
    {PF_LAYER_SHIFT, 1, 7, 8, PF_IN_ROWS, PF_IN_ROWS},
    {PF_LAYER_SHIFT, 2, 32, 32, PF_EVERY_SECOND, PF_TWICE},
    {PF_LAYER_SHIFT, 2, 16, 16, PF_EVERY_SECOND, PF_TWICE},
    {PF_LAYER_CONV3X3, 1, 4, 32, PF_IN_ROWS, PF_IN_ROWS},
    {PF_LAYER_CONV3X3, 2, 8, 16, PF_EVERY_SECOND, PF_TWICE},
};

/* A layer with every tap; 10 channels, 7 filters. */
static struct pf_model *every_tap(const struct layer_case *c)
{
    struct pf_network network = {c->kind, 2,         {10, 7},  {1, 1}, {1, c->stride},
                                 3,       c->height, c->width, 4};
    struct pf_model *model = NULL;
    assert_int_equal(pf_model_create(&network, NULL, &model, NULL), PF_OK);
    struct pf_layer *layer = &model->layers[2];
    for (size_t k = 0; layer->shift_y != NULL && k < layer->in_channels; k++) {
        layer->shift_y[k] = (int8_t)((int)(k / 3 % 3) - 1);
        layer->shift_x[k] = (int8_t)((int)(k % 3) - 1);
    }
    return model;
}

static void random_norms(struct pf_affine *norm, size_t n)
{
    for (size_t i = 0; i < n; i++)
        norm[i] = (struct pf_affine){1.0f + (float)pf_random_normal(&source),
                                     2.0f + (float)pf_random_normal(&source)};
}

static void check_activate(const struct layer_case *c, enum pf_precision precision)
{
    struct pf_model *model = every_tap(c);
    struct pf_layer_plan *plan = NULL;
    assert_int_equal(pf_layer_plan_create(&model->layers[2], &plan, NULL), PF_OK);
    assert_int_equal(plan->columns.forward.kind, c->forward);
    size_t groups = plan->out_padded / PF_GROUP, tile_stride = plan->columns_padded * PF_TILE;
    size_t n = (pf_tiles_of(groups) + 2) * tile_stride;
    size_t kept = plan->n_channels * plan->in_padded + 2 * PF_PLANE_GUARD;
    void *planes = noise_kept(kept, precision);
    struct pf_affine norm[10];
    random_norms(norm, 10);
    struct pf_blocks y =
        pf_input_blocks(plan, pf_numbers_from(planes, precision, PF_PLANE_GUARD), precision, 0);
    float *before = noise(n), *expected = copy_of(before, n);
    /* All but the first block, or the first group of the only one; from the second tile on, in the
     * other case from its third group on. */
    size_t skipped = groups > PF_GROUPS_PER_TILE ? PF_GROUPS_PER_TILE : groups > 1;
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
    for (size_t i = 0; i < PF_ARRAY_LENGTH(cases); i++) {
        check_activate(&cases[i], PF_SINGLE);
        check_activate(&cases[i], PF_HALF);
    }
}

static void check_activate_back(const struct layer_case *c, enum pf_precision precision)
{
    enum { FIRST = 4, MOST = 5 };
    struct pf_model *model = every_tap(c);
    struct pf_layer_plan *plan = NULL;
    assert_int_equal(pf_layer_plan_create(&model->layers[2], &plan, NULL), PF_OK);
    assert_int_equal(plan->columns.back.kind, c->back);
    size_t taps = plan->columns.taps_per_channel, blocks = plan->out_padded / plan->out_run;
    size_t n_channels = PF_MIN((size_t)MOST, plan->dx_channels);
    size_t n = plan->n_channels * plan->in_padded, n_sums = n_channels * 2 * PF_GROUP;
    float *dx = noise(blocks * pf_dx_blocks(plan, NULL).stride + 2 * PF_PLANE_GUARD);
    void *y = noise_kept(n, precision);
    float *sums = noise(n_sums), *expected_sums = copy_of(sums, n_sums);
    float *before = noise(n), *expected = copy_of(before, n), *mean = noise(MOST);
    struct pf_affine norm[MOST];
    random_norms(norm, MOST);
    struct pf_blocks dx_blocks = pf_dx_blocks(plan, dx + PF_PLANE_GUARD);
    struct pf_blocks y_blocks = pf_input_blocks(plan, y, precision, FIRST);
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
        assert_sums_close(got_sums, expected_sums, n_sums, tables[t]->name);
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
    for (size_t i = 0; i < PF_ARRAY_LENGTH(cases); i++) {
        check_activate_back(&cases[i], PF_SINGLE);
        check_activate_back(&cases[i], PF_HALF);
    }
}

/* Two blocks. */
enum { ROWS = 7, GROUPS = 8, PLANE = GROUPS * PF_GROUP };
static const uint16_t odd_mask[GROUPS] = {0xffff, 0x8001, 0xffff, 0x7ffe,
                                          0x0fff, 0xffff, 0x0000, 0x1234};
static const struct pf_blocks two_blocks = {NULL, PF_TILE, ROWS *PF_TILE, PF_SINGLE};

static struct pf_blocks blocks_at(struct pf_blocks layout, const void *values,
                                  enum pf_precision precision)
{
    layout.values = values;
    layout.precision = precision;
    return layout;
}

static void check_normalise_back(struct pf_blocks layout, enum pf_precision precision,
                                 size_t n_groups, size_t first)
{
    enum { TO = 3 * 8 * PF_TILE };
    float *g = noise(ROWS * PLANE), *to = noise(TO);
    void *y = noise_kept(ROWS * PLANE, precision);
    struct pf_affine_back norm[ROWS];
    for (size_t r = 0; r < ROWS; r++)
        norm[r] = (struct pf_affine_back){0.5f, (float)r - 3.0f, (float)pf_random_normal(&source)};
    float *expected = copy_of(to, TO);
    struct pf_blocks g_blocks = blocks_at(layout, g, PF_SINGLE);
    struct pf_blocks y_blocks = blocks_at(layout, y, precision);
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
    for (enum pf_precision precision = PF_SINGLE; precision <= PF_HALF; precision++) {
        check_normalise_back(two_blocks, precision, GROUPS, 4);
        /* A small image behind others, over the end of a tile. */
        check_normalise_back((struct pf_blocks){NULL, 48, ROWS * 48, PF_SINGLE}, precision, 3, 3);
    }
}

/* IEEE 754, 3.4: sign, 5 bits of exponent, 10 of significand. */
static double value_of_half(uint16_t half)
{
    int exponent = half >> 10 & 0x1f, significand = half & 0x3ff;
    double size =
        exponent == 0 ? ldexp(significand, -24) : ldexp(1024 + significand, exponent - 25);
    return half & 0x8000 ? -size : size;
}

static void test_halves_are_those_of_the_standard(void **state)
{
    (void)state;
    for (uint32_t half = 0; half < 0x7c00; half++) {
        assert_true((double)pf_float_of_half((uint16_t)half) == value_of_half((uint16_t)half));
        assert_true(pf_float_of_half((uint16_t)(half | 0x8000)) ==
                    -pf_float_of_half((uint16_t)half));
        /* What lies between two halves becomes the nearer one, and in the middle the even one;
         * behind the last comes what would be next, and that is infinite. */
        double low = value_of_half((uint16_t)half);
        double high = half == 0x7bff ? 65536.0 : value_of_half((uint16_t)(half + 1));
        float middle = (float)((low + high) / 2.0);
        assert_int_equal(pf_half_of_float(middle), half + (half & 1));
        assert_int_equal(pf_half_of_float(nextafterf(middle, 0.0f)), half);
        assert_int_equal(pf_half_of_float(nextafterf(middle, INFINITY)), half + 1);
        assert_int_equal(pf_half_of_float(-(float)low), half | 0x8000);
    }
    assert_true(isinf(pf_float_of_half(0x7c00)) && isnan(pf_float_of_half(0x7c01)));
    assert_int_equal(pf_half_of_float(INFINITY), 0x7c00);
    assert_int_equal(pf_half_of_float(1e30f), 0x7c00);
    assert_true(isnan(pf_float_of_half(pf_half_of_float(NAN))));
}

/* dy = 0 · 0 + 1 · y + 0 shows how every half is read. */
static void test_every_half_is_read_alike(void **state)
{
    (void)state;
    enum { N = 1 << 16, BLOCKS = N / PF_TILE };
    uint16_t *y = PF_ALLOC(N, uint16_t), *mask = PF_ALLOC(N / PF_GROUP, uint16_t);
    float *g = PF_ALLOC(N, float), *to = PF_ALLOC(N, float);
    assert_true(y != NULL && mask != NULL && g != NULL && to != NULL);
    for (size_t i = 0; i < N; i++) y[i] = (uint16_t)i;
    memset(mask, 0xff, N / PF_GROUP * sizeof *mask);
    const struct pf_affine_back norm = {0.0f, 1.0f, 0.0f};
    struct pf_blocks g_blocks = {g, PF_TILE, PF_TILE, PF_SINGLE};
    struct pf_blocks y_blocks = {y, PF_TILE, PF_TILE, PF_HALF};
    for (size_t t = 0; t < n_tables; t++) {
        memset(to, 0, N * sizeof *to);
        tables[t]->normalise_back((struct pf_tiles){to, PF_TILE, 0}, 1, g_blocks, y_blocks, mask,
                                  N / PF_GROUP, &norm);
        for (size_t i = 0; i < N; i++) {
            float expected = pf_float_of_half((uint16_t)i);
            if (isnan(expected) ? !isnan(to[i]) : to[i] != expected)
                fail_msg("%s: half %zx is read as %g, not %g", tables[t]->name, i, (double)to[i],
                         (double)expected);
        }
    }
    pf_free(y);
    pf_free(mask);
    pf_free(g);
    pf_free(to);
}

static void check_pool(enum pf_precision precision)
{
    float *value = noise(ROWS), *mean = noise(ROWS);
    void *y = noise_kept(ROWS * PLANE, precision);
    struct pf_affine norm[ROWS];
    random_norms(norm, ROWS);
    struct pf_blocks blocks = blocks_at(two_blocks, y, precision);
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

static void test_pool_equals_its_twin_both_ways(void **state)
{
    (void)state;
    check_pool(PF_SINGLE);
    check_pool(PF_HALF);
}

/* The sinks that occur, and those with groups that are missing, scattered or partly masked. */
enum { SINK_ROW = 4 * PF_GROUP, SINK_NUMBERS = ROWS * SINK_ROW + 2 * PF_GROUP };

static const struct sink_case {
    bool summed, stream, odd;
} sinks[] = {{false, false, false}, {true, true, false}, {true, false, false},
             {true, false, true},   {true, true, true},  {false, false, true}};

static struct pf_sink make_sink(const struct sink_case *c, void *values,
                                enum pf_precision precision, const float *pivot, float *sums)
{
    struct pf_sink sink = {.values = values,
                           .precision = precision,
                           .row_stride = SINK_ROW,
                           .n_groups = PF_GROUPS_PER_TILE,
                           .offset = {0, PF_GROUP, 2 * PF_GROUP, 3 * PF_GROUP},
                           .mask = {0xffff, 0xffff, 0xffff, 0xffff},
                           .pivot = c->summed ? pivot : NULL,
                           .sums = sums,
                           .stream = c->stream};
    if (!c->odd) return sink;
    sink.n_groups = 3; /* in another order, with borders */
    sink.offset[0] = 4 * PF_GROUP;
    sink.offset[2] = 0;
    for (size_t i = 0; i < sink.n_groups; i++) sink.mask[i] = odd_mask[i];
    return sink;
}

/* Halves: the last bit may differ, where sums that differ in theirs round to either side. */
static void assert_numbers_close(const void *a, const void *b, enum pf_precision precision,
                                 size_t n, const char *table)
{
    if (precision == PF_SINGLE) {
        assert_close(a, b, n, table);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        float got = pf_float_of_half(((const uint16_t *)a)[i]);
        float expected = pf_float_of_half(((const uint16_t *)b)[i]);
        if (!(fabsf(got - expected) <= 1e-4f + 1e-3f * fabsf(expected)))
            fail_msg("%s: half %zu is %g, the plain twin says %g", table, i, (double)got,
                     (double)expected);
    }
}

/* What every table but the reference makes of a product, against the reference. */
typedef void run_function(const struct pf_kernels *kernels, const struct pf_sink *to,
                          const void *work);

static void check_sink(run_function *run, const void *work, const struct sink_case *c,
                       enum pf_precision precision)
{
    /* On the heap, which aligns to lines: streams need that. */
    size_t bytes = SINK_NUMBERS * pf_number_bytes(precision);
    void *before = noise_kept(SINK_NUMBERS, precision), *got = noise_kept(SINK_NUMBERS, precision);
    void *expected = noise_kept(SINK_NUMBERS, precision);
    float *pivot = noise(ROWS), sums[ROWS * 2 * PF_GROUP] = {0};
    memcpy(expected, before, bytes);
    struct pf_sink sink = make_sink(c, expected, precision, pivot, sums);
    run(tables[0], &sink, work);
    assert_true(memcmp(expected, before, bytes) != 0);
    for (size_t t = 1; t < n_tables; t++) {
        float got_sums[ROWS * 2 * PF_GROUP] = {0};
        memcpy(got, before, bytes);
        sink = make_sink(c, got, precision, pivot, got_sums);
        run(tables[t], &sink, work);
        tables[t]->stream_end();
        assert_numbers_close(got, expected, precision, SINK_NUMBERS, tables[t]->name);
        assert_sums_close(got_sums, sums, ROWS * 2 * PF_GROUP, tables[t]->name);
    }
    pf_free(before);
    pf_free(pivot);
    pf_free(got);
    pf_free(expected);
}

static void check_product(run_function *run, const void *work)
{
    for (size_t i = 0; i < PF_ARRAY_LENGTH(sinks); i++) {
        check_sink(run, work, &sinks[i], PF_SINGLE);
        check_sink(run, work, &sinks[i], PF_HALF);
    }
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

/* Rows of 0, 1, 2, … survivors in each segment. */
enum { MAX_SEGMENTS = 3, MAX_SURVIVORS = MAX_SEGMENTS * ROWS * ROWS };
struct random_list {
    struct pf_survivor_list list;
    uint32_t start[MAX_SEGMENTS * (ROWS + 1)];
    struct pf_survivor survivors[MAX_SURVIVORS];
    size_t n, n_quads;
};

static void random_survivors(struct random_list *self, size_t n_segments)
{
    *self = (struct random_list){.list = {.n_rows = ROWS, .n_segments = n_segments}};
    self->list.start = self->start;
    self->list.survivors = self->survivors;
    for (size_t s = 0; s < n_segments; s++) {
        uint32_t *start = self->start + s * (ROWS + 1);
        for (uint32_t r = 0; r < ROWS; r++) {
            start[r] = (uint32_t)self->n;
            for (uint32_t i = 0; i < r; i++)
                self->survivors[self->n++] = (struct pf_survivor){
                    (float)pf_random_normal(&source), pf_random_below(&source, COLUMNS)};
            self->n_quads += pf_quads(r);
        }
        start[ROWS] = (uint32_t)self->n;
    }
}

struct packed_work {
    const struct pf_survivor_list *list;
    size_t first;
    const float *x;
};

static void run_packed(const struct pf_kernels *kernels, const struct pf_sink *to, const void *work)
{
    const struct packed_work *packed = work;
    struct pf_ahead none = {.ranges = {{NULL, 0}}};
    float *sums = noise(ROWS * PF_TILE);
    kernels->packed(to, packed->list, packed->first, ROWS - packed->first, packed->x,
                    packed->list->n_segments > 1 ? sums : NULL, &none);
    pf_free(sums);
}

static void test_packed_equals_its_twin(void **state)
{
    (void)state;
    float *x = noise(COLUMNS * PF_TILE);
    for (size_t n_segments = 1; n_segments <= MAX_SEGMENTS; n_segments++) {
        struct random_list random;
        random_survivors(&random, n_segments);
        check_product(run_packed, &(struct packed_work){&random.list, 0, x});
        check_product(run_packed, &(struct packed_work){&random.list, 4, x});
    }
    pf_free(x);
}

/* A product of one weight of 1 shows how every number is rounded. */
static void test_halves_are_rounded_alike(void **state)
{
    (void)state;
    enum { ROUNDS = 4000 };
    uint32_t start[] = {0, 1};
    struct pf_survivor one = {1.0f, 0};
    const struct pf_survivor_list list = {1, 1, start, &one};
    float x[PF_TILE];
    uint16_t *got = PF_ALLOC(PF_TILE, uint16_t);
    assert_non_null(got);
    for (size_t round = 0; round < ROUNDS; round++) {
        for (size_t i = 0; i < PF_TILE; i++) { /* around what is halfway between two halves */
            uint32_t half = pf_random_below(&source, 0x7c01), sign = pf_random_below(&source, 2);
            float middle = pf_float_of_half((uint16_t)half);
            middle += (pf_float_of_half((uint16_t)(half + 1)) - middle) / 2.0f;
            x[i] = pf_float_of_bits((pf_bits_of_float(middle) + pf_random_below(&source, 3) - 1) ^
                                    sign << 31);
        }
        for (size_t t = 0; t < n_tables; t++) {
            struct pf_sink sink = {.values = got,
                                   .precision = PF_HALF,
                                   .n_groups = PF_GROUPS_PER_TILE,
                                   .offset = {0, PF_GROUP, 2 * PF_GROUP, 3 * PF_GROUP}};
            struct pf_ahead none = {.ranges = {{NULL, 0}}};
            tables[t]->packed(&sink, &list, 0, 1, x, NULL, &none);
            for (size_t i = 0; i < PF_TILE; i++)
                if (isnan(x[i]) ? !isnan(pf_float_of_half(got[i]))
                                : got[i] != pf_half_of_float(x[i]))
                    fail_msg("%s: %a becomes %x, not %x", tables[t]->name, (double)x[i], got[i],
                             pf_half_of_float(x[i]));
        }
    }
    pf_free(got);
}

/* The sums of the survivors, from the lanes of their quads. */
static void sums_of_quads(float *sums, const float *partial, const struct pf_survivor_list *list)
{
    for (size_t s = 0; s < list->n_segments; s++)
        for (size_t r = 0; r < list->n_rows; r++) {
            const uint32_t *start = list->start + s * (list->n_rows + 1) + r;
            size_t n = start[1] - start[0];
            for (size_t i = 0; i < n; i++, sums++) {
                *sums = 0.0f;
                for (size_t lane = i % PF_QUAD; lane < PF_GROUP; lane += PF_QUAD)
                    *sums += partial[i / PF_QUAD * PF_GROUP + lane];
            }
            partial += pf_quads(n) * PF_GROUP;
        }
}

static void check_packed_weights(size_t n_segments)
{
    struct random_list random;
    random_survivors(&random, n_segments);
    size_t dy_stride = ROWS_PADDED * PF_TILE, x_stride = COLUMNS_PADDED * PF_TILE;
    size_t n_partial = random.n_quads * PF_GROUP;
    float *dy = noise(TILES * dy_stride), *x = noise(TILES * x_stride);
    float *before = noise(n_partial), *partial = copy_of(before, n_partial);
    float expected[MAX_SURVIVORS], got[MAX_SURVIVORS];
    struct pf_ahead none = {.ranges = {{NULL, 0}}};
    for (size_t t = 0; t < n_tables; t++) {
        memcpy(partial, before, n_partial * sizeof *partial);
        tables[t]->packed_weights(partial, &random.list, dy, dy_stride, x, x_stride, TILES, &none);
        sums_of_quads(t == 0 ? expected : got, partial, &random.list);
        for (size_t i = 0; t > 0 && i < random.n; i++) /* of 704 products of about 9 */
            if (!(fabsf(got[i] - expected[i]) < 5e-3f))
                fail_msg("%s: weight %zu is %g, the plain twin says %g", tables[t]->name, i,
                         (double)got[i], (double)expected[i]);
    }
    pf_free(dy);
    pf_free(x);
    pf_free(before);
    pf_free(partial);
}

static void test_packed_weights_equals_its_twin(void **state)
{
    (void)state;
    for (size_t n_segments = 1; n_segments <= MAX_SEGMENTS; n_segments++)
        check_packed_weights(n_segments);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_activate_equals_its_twin),
        cmocka_unit_test(test_activate_back_equals_its_twin),
        cmocka_unit_test(test_normalise_back_equals_its_twin),
        cmocka_unit_test(test_halves_are_those_of_the_standard),
        cmocka_unit_test(test_every_half_is_read_alike),
        cmocka_unit_test(test_halves_are_rounded_alike),
        cmocka_unit_test(test_pool_equals_its_twin_both_ways),
        cmocka_unit_test(test_product_equals_its_twin),
        cmocka_unit_test(test_product_weights_equals_its_twin),
        cmocka_unit_test(test_packed_equals_its_twin),
        cmocka_unit_test(test_packed_weights_equals_its_twin),
    };
    return cmocka_run_group_tests(tests, list_tables, NULL);
}
