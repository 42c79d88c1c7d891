/* The passes of every kernel table this processor can run against the plain twins, on random
 * content with odd counts, offsets and masks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/nn/half.h"
#include "common/nn/layer_plan.h"
#include "tests/unit/nn/kernel_fixture.h"

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
enum { GROUPS = 8, PLANE = GROUPS * PF_GROUP };
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_activate_equals_its_twin),
        cmocka_unit_test(test_activate_back_equals_its_twin),
        cmocka_unit_test(test_normalise_back_equals_its_twin),
        cmocka_unit_test(test_halves_are_those_of_the_standard),
        cmocka_unit_test(test_every_half_is_read_alike),
        cmocka_unit_test(test_pool_equals_its_twin_both_ways),
    };
    return cmocka_run_group_tests(tests, list_tables, NULL);
}
