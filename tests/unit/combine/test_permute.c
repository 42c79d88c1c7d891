#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "tests/unit/combine/combine_fixture.h"

/* ---- a plain forward pass, of dense or packed models -------------------------------------- */

#define MAX_VALUES (12u * 6u * 5u) /* channels × height × width of the fixture's largest layer */
#define N_CLASSES 4u

static double padded(const double *plane, const struct pf_layer *layer, int64_t y, int64_t x)
{
    if (y < 0 || x < 0 || y >= layer->in_height || x >= layer->in_width) return 0.0;
    return plane[y * layer->in_width + x];
}

/* What column k of the filter matrix sees at output pixel (y, x). */
static double column_input(const struct pf_layer *layer, const double *in, uint32_t k, uint32_t y,
                           uint32_t x)
{
    size_t pixels = (size_t)layer->in_height * layer->in_width;
    int64_t row = (int64_t)y * layer->stride, column = (int64_t)x * layer->stride;
    if (layer->kind == PF_LAYER_CONV3X3)
        return padded(in + k / 9 * pixels, layer, row + k % 9 / 3 - 1, column + k % 3 - 1);
    if (layer->kind == PF_LAYER_SHIFT)
        return padded(in + k * pixels, layer, row + layer->shift_y[k], column + layer->shift_x[k]);
    return padded(in + k * pixels, layer, row, column);
}

static double filter_output(const struct pf_layer *layer, const float *weights, const double *in,
                            uint32_t r, uint32_t y, uint32_t x)
{
    double sum = 0.0;
    for (uint32_t k = 0; k < layer->n_columns; k++)
        sum += (double)weights[(size_t)r * layer->n_columns + k] * column_input(layer, in, k, y, x);
    if (layer->kind == PF_LAYER_LINEAR) return sum + (double)layer->bias[r];
    double deviation = sqrt((double)layer->variance[r] + (double)PF_BATCH_NORM_EPSILON);
    double normed = (sum - (double)layer->mean[r]) / deviation * (double)layer->gamma[r] +
                    (double)layer->beta[r];
    return fmin(fmax(normed, 0.0), 6.0);
}

static void forward_layer(const struct pf_layer *layer, const double *in, double *out)
{
    PF_CLEANUP(pf_freep)
    float *weights = PF_ALLOC((size_t)layer->out_channels * layer->n_columns, float);
    pf_layer_dense_weights(layer, weights);
    for (uint32_t r = 0; r < layer->out_channels; r++)
        for (uint32_t y = 0; y < layer->out_height; y++)
            for (uint32_t x = 0; x < layer->out_width; x++)
                *out++ = filter_output(layer, weights, in, r, y, x);
}

static void average_pool(double *values, const struct pf_layer *last)
{
    size_t pixels = (size_t)last->out_height * last->out_width;
    for (size_t c = 0; c < last->out_channels; c++) {
        double sum = 0.0;
        for (size_t p = 0; p < pixels; p++) sum += values[c * pixels + p];
        values[c] = sum / (double)pixels;
    }
}

static void forward(const struct pf_model *model, uint64_t seed, double logits[N_CLASSES])
{
    struct pf_random random;
    pf_random_init(&random, seed, "test image", 0);
    double values[MAX_VALUES], next[MAX_VALUES];
    size_t pixels = (size_t)model->network.in_height * model->network.in_width;
    for (size_t i = 0; i < 3 * pixels; i++) {
        size_t c = i / pixels;
        values[i] = (pf_random_uniform(&random) - (double)model->input_mean[c]) /
                    (double)model->input_std[c];
    }
    for (size_t l = 0; l + 1 < model->n_layers; l++) {
        forward_layer(&model->layers[l], values, next);
        memcpy(values, next, sizeof values);
    }
    average_pool(values, &model->layers[model->n_layers - 2]);
    forward_layer(&model->layers[model->n_layers - 1], values, logits);
}

static void expect_same_function(const struct pf_model *a, const struct pf_model *b)
{
    double spread = 0.0;
    for (uint64_t seed = 0; seed < 4; seed++) {
        double x[N_CLASSES], y[N_CLASSES];
        forward(a, seed, x);
        forward(b, seed, y);
        for (size_t i = 0; i < N_CLASSES; i++) {
            assert_true(fabs(x[i] - y[i]) < 1e-9);
            spread = fmax(spread, fabs(x[i] - x[0]));
        }
    }
    assert_true(spread > 0.01); /* a network that says something */
}

/* ---- row permutation ---------------------------------------------------------------------- */

static struct pf_model *combined_model(enum pf_layer_kind kind, uint64_t seed, double gamma)
{
    PF_CLEANUP(pf_model_destroyp) struct pf_model *model = random_model(kind, seed);
    const struct pf_combine_options options = {
        .alpha = {2, 4}, .gamma = gamma, .density = {0.5, 0.3}};
    struct pf_model *combined = NULL;
    assert_int_equal(pf_model_combine(model, &options, &combined, NULL, NULL), PF_OK);
    return combined;
}

static struct pf_model *permute(const struct pf_model *model)
{
    struct pf_model *permuted = NULL;
    assert_int_equal(pf_model_permute_rows(model, &permuted, NULL), PF_OK);
    assert_int_equal(pf_model_validate(permuted, NULL), PF_OK);
    return permuted;
}

static void the_function_of_the_network_stays(void **state)
{
    (void)state;
    static const enum pf_layer_kind kinds[] = {PF_LAYER_SHIFT, PF_LAYER_CONV3X3};
    for (size_t i = 0; i < PF_ARRAY_LENGTH(kinds); i++) {
        for (uint64_t seed = 0; seed < 5; seed++) {
            PF_CLEANUP(pf_model_destroyp)
            struct pf_model *model = combined_model(kinds[i], seed, 0.25 * (double)seed);
            PF_CLEANUP(pf_model_destroyp) struct pf_model *permuted = permute(model);
            assert_false(pf_model_same_shape(model, permuted));
            expect_same_function(model, permuted);
        }
    }
}

static void packed_and_dense_layers_may_follow_each_other(void **state)
{
    (void)state;
    PF_CLEANUP(pf_model_destroyp) struct pf_model *model = random_model(PF_LAYER_SHIFT, 9);
    /* Block 1 and the first layer of block 2 stay dense, the last layer is packed. */
    const struct pf_combine_options options = {
        .alpha = {1, 4}, .gamma = 0.5, .density = {1.0, 0.3}};
    PF_CLEANUP(pf_model_destroyp) struct pf_model *combined = NULL;
    assert_int_equal(pf_model_combine(model, &options, &combined, NULL, NULL), PF_OK);
    PF_CLEANUP(pf_model_destroyp) struct pf_model *permuted = permute(combined);
    assert_false(pf_model_same_shape(combined, permuted));
    expect_same_function(combined, permuted);
}

static void channels_of_a_group_lie_side_by_side(void **state)
{
    (void)state;
    PF_CLEANUP(pf_model_destroyp) struct pf_model *model = combined_model(PF_LAYER_SHIFT, 2, 0.5);
    PF_CLEANUP(pf_model_destroyp) struct pf_model *permuted = permute(model);
    bool was_ordered = true;
    for (size_t l = 1; l < 5; l++) {
        const struct pf_packing *before = model->layers[l].packing;
        const struct pf_packing *after = permuted->layers[l].packing;
        for (uint32_t k = 1; k < after->n_columns; k++) {
            was_ordered &= before->group_of_column[k - 1] <= before->group_of_column[k];
            /* PF_NO_GROUP is the largest number and so comes last. */
            assert_true(after->group_of_column[k - 1] <= after->group_of_column[k]);
        }
        assert_int_equal(after->n_groups, before->n_groups);
        assert_int_equal(after->n_weights, before->n_weights);
    }
    assert_false(was_ordered);
}

static void once_permuted_nothing_is_left_to_switch(void **state)
{
    (void)state;
    PF_CLEANUP(pf_model_destroyp) struct pf_model *model = combined_model(PF_LAYER_SHIFT, 2, 0.5);
    PF_CLEANUP(pf_model_destroyp) struct pf_model *permuted = permute(model);
    struct pf_switching before = {0}, after = {0};
    assert_int_equal(pf_model_switching(model, &before, NULL), PF_OK);
    assert_int_equal(pf_model_switching(permuted, &after, NULL), PF_OK);
    /* Layers 1 to 3 read 8 channels, layer 4 reads 12, for which a network of 16 is needed. */
    assert_int_equal(before.n_channels, 36);
    assert_true(before.n_misplaced > 10);
    assert_int_equal(before.n_switches, 3 * (4 * 5) + 8 * 7);
    assert_int_equal(after.n_channels, 36);
    assert_int_equal(after.n_misplaced, 0);
    assert_int_equal(after.n_switches, 0);
}

static void channels_in_several_groups_need_switches_in_any_order(void **state)
{
    (void)state;
    PF_CLEANUP(pf_model_destroyp) struct pf_model *model = combined_model(PF_LAYER_CONV3X3, 2, 0.5);
    PF_CLEANUP(pf_model_destroyp) struct pf_model *permuted = permute(model);
    struct pf_switching after = {0};
    assert_int_equal(pf_model_switching(permuted, &after, NULL), PF_OK);
    assert_true(after.n_misplaced > 0 && after.n_switches > 0);
}

/* Hand-worked: the columns of layer 1 lie in groups 1 0 – 1 0 0 – 2, so channels are read in the
 * order 1 4 5 | 0 3 | 7 | 2 6, and the rows of the first convolution follow. */
static void rows_follow_the_order_worked_out_by_hand(void **state)
{
    (void)state;
    static const uint32_t order[8] = {1, 4, 5, 0, 3, 7, 2, 6};
    static const uint32_t groups[8] = {1, 0, PF_NO_GROUP, 1, 0, 0, PF_NO_GROUP, 2};
    PF_CLEANUP(pf_model_destroyp) struct pf_model *dense = random_model(PF_LAYER_SHIFT, 3);
    float *weights = dense->layers[1].weight;
    memset(weights, 0, 64 * sizeof *weights);
    for (uint32_t k = 0; k < 8; k++)
        if (groups[k] != PF_NO_GROUP) weights[8 * k + k] = (float)(k + 1);
    PF_CLEANUP(pf_packing_destroyp) struct pf_packing *packing = NULL;
    assert_int_equal(pf_packing_from_dense(weights, 8, 8, groups, 3, 3, 0.0f, &packing, NULL),
                     PF_OK);
    const struct pf_packing *packings[6] = {NULL, packing};
    PF_CLEANUP(pf_model_destroyp) struct pf_model *model = NULL;
    assert_int_equal(pf_model_pack(dense, packings, &model, NULL), PF_OK);
    PF_CLEANUP(pf_model_destroyp) struct pf_model *permuted = permute(model);
    for (size_t i = 0; i < 8; i++) {
        const struct pf_layer *a = model->layers, *b = permuted->layers;
        assert_memory_equal(b[0].weight + 3 * i, a[0].weight + (size_t)3 * order[i], 12);
        assert_true(b[0].gamma[i] == a[0].gamma[order[i]] && b[0].beta[i] == a[0].beta[order[i]]);
        assert_true(b[0].mean[i] == a[0].mean[order[i]]);
        assert_true(b[0].variance[i] == a[0].variance[order[i]]);
        assert_int_equal(b[1].shift_y[i], a[1].shift_y[order[i]]);
        assert_int_equal(b[1].shift_x[i], a[1].shift_x[order[i]]);
        assert_int_equal(b[1].packing->group_of_column[i], groups[order[i]]);
        assert_true(b[1].gamma[i] == a[1].gamma[i]); /* nobody asks for another order there */
    }
    expect_same_function(model, permuted);
}

/* Channels of a 3×3 convolution stand in the order of the first group that names them. */
static void conv3x3_channels_stand_by_their_first_group(void **state)
{
    (void)state;
    PF_CLEANUP(pf_model_destroyp) struct pf_model *model = combined_model(PF_LAYER_CONV3X3, 4, 0.5);
    PF_CLEANUP(pf_model_destroyp) struct pf_model *permuted = permute(model);
    for (size_t l = 1; l < 5; l++) {
        const struct pf_packing *packing = permuted->layers[l].packing;
        uint32_t previous = 0;
        for (uint32_t c = 0; c < permuted->layers[l].in_channels; c++) {
            uint32_t first = PF_NO_GROUP;
            for (uint32_t k = 9 * c; k < 9 * c + 9; k++)
                first = PF_MIN(first, packing->group_of_column[k]);
            assert_true(previous <= first);
            previous = first;
        }
    }
}

static void permuting_twice_changes_nothing_more(void **state)
{
    (void)state;
    PF_CLEANUP(pf_model_destroyp) struct pf_model *model = combined_model(PF_LAYER_SHIFT, 6, 0.5);
    PF_CLEANUP(pf_model_destroyp) struct pf_model *once = permute(model);
    PF_CLEANUP(pf_model_destroyp) struct pf_model *twice = permute(once);
    assert_true(pf_model_same_shape(once, twice));
    assert_memory_equal(once->parameters, twice->parameters, once->n_parameters * sizeof(float));
}

static void a_dense_model_keeps_its_order(void **state)
{
    (void)state;
    PF_CLEANUP(pf_model_destroyp) struct pf_model *model = random_model(PF_LAYER_SHIFT, 7);
    PF_CLEANUP(pf_model_destroyp) struct pf_model *permuted = permute(model);
    assert_true(pf_model_same_shape(model, permuted));
    assert_memory_equal(model->parameters, permuted->parameters,
                        model->n_parameters * sizeof(float));
    assert_memory_equal(model->input_mean, permuted->input_mean, sizeof model->input_mean);
    assert_memory_equal(model->input_std, permuted->input_std, sizeof model->input_std);
}

/* Any order of any convolution, the last one before the classifier included. */
static void any_order_leaves_the_function(void **state)
{
    (void)state;
    static const enum pf_layer_kind kinds[] = {PF_LAYER_SHIFT, PF_LAYER_CONV3X3};
    for (size_t i = 0; i < PF_ARRAY_LENGTH(kinds); i++) {
        for (int packed = 0; packed < 2; packed++) {
            PF_CLEANUP(pf_model_destroyp)
            struct pf_model *model =
                packed ? combined_model(kinds[i], 1, 0.5) : random_model(kinds[i], 1);
            uint32_t storage[6][12];
            const uint32_t *orders[6] = {NULL};
            struct pf_random random;
            pf_random_init(&random, 1, "test orders", 0);
            for (size_t l = 0; l < 5; l++) {
                for (uint32_t r = 0; r < 12; r++) storage[l][r] = r;
                pf_random_shuffle(&random, storage[l], model->layers[l].out_channels);
                orders[l] = storage[l];
            }
            PF_CLEANUP(pf_model_destroyp) struct pf_model *reordered = NULL;
            assert_int_equal(pf_model_reorder_rows(model, orders, &reordered, NULL), PF_OK);
            assert_int_equal(pf_model_validate(reordered, NULL), PF_OK);
            assert_true(reordered->layers[4].gamma[0] == model->layers[4].gamma[orders[4][0]]);
            expect_same_function(model, reordered);
        }
    }
}

static void refuses_what_is_no_order(void **state)
{
    (void)state;
    PF_CLEANUP(pf_model_destroyp) struct pf_model *model = random_model(PF_LAYER_SHIFT, 1);
    static const uint32_t twice[8] = {0, 1, 2, 3, 4, 5, 6, 6}, far[8] = {0, 1, 2, 3, 4, 5, 6, 8};
    static const uint32_t classes[4] = {0, 1, 2, 3};
    const uint32_t *orders[3][6] = {{NULL, twice}, {far}, {NULL, NULL, NULL, NULL, NULL, classes}};
    static const char *const sentences[] = {"place 7 names row 6", "place 7 names row 8",
                                            "are the classes"};
    for (size_t i = 0; i < 3; i++) {
        struct pf_model *reordered = NULL;
        struct pf_error err = {0};
        assert_int_equal(pf_model_reorder_rows(model, orders[i], &reordered, &err), PF_INVALID);
        assert_null(reordered);
        assert_non_null(strstr(err.text, sentences[i]));
    }
}

static void combining_permutes_when_asked(void **state)
{
    (void)state;
    PF_CLEANUP(pf_model_destroyp) struct pf_model *model = random_model(PF_LAYER_SHIFT, 8);
    const struct pf_combine_options options = {
        .alpha = {2, 4}, .gamma = 0.5, .density = {0.5, 0.3}, .permute_rows = true};
    PF_CLEANUP(pf_model_destroyp) struct pf_model *combined = NULL;
    assert_int_equal(pf_model_combine(model, &options, &combined, NULL, NULL), PF_OK);
    PF_CLEANUP(pf_model_destroyp) struct pf_model *plain = combined_model(PF_LAYER_SHIFT, 8, 0.5);
    PF_CLEANUP(pf_model_destroyp) struct pf_model *permuted = permute(plain);
    assert_true(pf_model_same_shape(combined, permuted));
    assert_false(pf_model_same_shape(combined, plain));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_function_of_the_network_stays),
        cmocka_unit_test(packed_and_dense_layers_may_follow_each_other),
        cmocka_unit_test(channels_of_a_group_lie_side_by_side),
        cmocka_unit_test(once_permuted_nothing_is_left_to_switch),
        cmocka_unit_test(channels_in_several_groups_need_switches_in_any_order),
        cmocka_unit_test(rows_follow_the_order_worked_out_by_hand),
        cmocka_unit_test(conv3x3_channels_stand_by_their_first_group),
        cmocka_unit_test(permuting_twice_changes_nothing_more),
        cmocka_unit_test(a_dense_model_keeps_its_order),
        cmocka_unit_test(any_order_leaves_the_function),
        cmocka_unit_test(refuses_what_is_no_order),
        cmocka_unit_test(combining_permutes_when_asked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
