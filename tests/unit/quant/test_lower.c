/* Lowering: folded values by hand, closeness to the float network, refusals. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/quant/quant.h"
#include "tests/unit/quant/random_model.h"

/* One input channel, one filter, one pixel: every factor can be followed. */
static struct pf_model *tiny_model(void)
{
    struct pf_network net = {.block_kind = PF_LAYER_SHIFT,
                             .n_blocks = 1,
                             .filters = {1},
                             .layers = {1},
                             .strides = {1},
                             .in_channels = 1,
                             .in_height = 1,
                             .in_width = 1,
                             .n_classes = 2};
    struct pf_model *model = NULL;
    struct pf_error err;
    assert_int_equal(pf_model_create(&net, NULL, &model, &err), PF_OK);
    for (size_t l = 0; l < 2; l++) {
        model->layers[l].weight[0] = 0.5f;
        model->layers[l].gamma[0] = 2.0f;
        model->layers[l].beta[0] = 1.0f;
        model->layers[l].mean[0] = 0.25f;
        model->layers[l].variance[0] = 4.0f - PF_BATCH_NORM_EPSILON; /* γ/σ = 1 */
    }
    model->input_mean[0] = 0.5f;
    model->input_std[0] = 0.25f;
    model->layers[2].weight[0] = 1.0f;
    model->layers[2].weight[1] = -0.25f;
    model->layers[2].bias[0] = 0.0f;
    model->layers[2].bias[1] = 3.0f;
    return model;
}

static struct pf_quant_model *lower(const struct pf_model *model)
{
    struct pf_quant_model *lowered = NULL;
    struct pf_error err;
    if (pf_quant_lower(model, &lowered, &err) != PF_OK) fail_msg("%s", err.text);
    return lowered;
}

static void test_folded_values_by_hand(void **state)
{
    (void)state;
    struct pf_model *model = tiny_model();
    struct pf_quant_model *lowered = lower(model);
    /* w/(6·std) = 0.5/1.5 = 1/3; the scale that fits is 2^8: 85.3 (2^9 would be 171). */
    const struct pf_quant_layer *first = &lowered->layers[0];
    assert_int_equal(first->shift, 8);
    assert_int_equal(first->weight[0], 85);
    /* β − (μ + w·mean/std) = 1 − (0.25 + 1) = −0.25 → −10.625 levels · 2^8 = −2720; rounding took
     * 1/3 from the weight, of a mean pixel 127.5 that is 42.5; + 2^7 for the quantiser. */
    assert_int_equal(first->bias[0], -2677 + 128);
    assert_int_equal(first->max_magnitude, 2549 + 85 * 255);
    /* w = 0.5, the offset 1 − 0.25 = 0.75 → 31.875 levels. */
    const struct pf_quant_layer *second = &lowered->layers[1];
    assert_int_equal(second->weight[0], 1 << (second->shift - 1));
    assert_int_equal(second->bias[0],
                     (int)lround(31.875 * (1 << second->shift)) + (1 << (second->shift - 1)));
    /* The classifier: 1 at 2^6, the bias 3 → 127.5 levels. */
    const struct pf_quant_layer *last = &lowered->layers[2];
    assert_int_equal(last->exponent, 6);
    assert_int_equal(last->shift, 0);
    assert_int_equal(last->weight[0], 64);
    assert_int_equal(last->weight[1], -16);
    assert_int_equal(last->bias[0], 0);
    assert_int_equal(last->bias[1], 8160);
    pf_quant_destroy(lowered);
    pf_model_destroy(model);
}

/* The root mean square difference of the logits stays below one level of the activations, 6/255,
 * and well below how far the logits of the images differ. */
static void check_closeness(const struct pf_network *network, uint32_t alpha, uint64_t seed)
{
    enum { N = 40 };
    struct pf_model *model = random_model_create(network, alpha, seed);
    struct pf_dataset *images = random_images(network, N, seed + 100);
    size_t n_classes = network->n_classes, bytes = pf_dataset_image_bytes(images);
    float logits[N * PF_MAX_CLASSES];
    float_infer(model, images->pixels, N, logits, false);
    struct pf_quant_model *lowered = lower(model);
    double unit = 6.0 / 255.0 * ldexp(1.0, -(int)lowered->layers[lowered->n_layers - 1].exponent);
    double difference = 0, signal = 0;
    for (size_t c = 0; c < n_classes; c++) {
        double mean = 0;
        for (size_t i = 0; i < N; i++) mean += (double)logits[i * n_classes + c] / N;
        for (size_t i = 0; i < N; i++) {
            int32_t integers[PF_MAX_CLASSES];
            assert_int_equal(pf_quant_infer(lowered, images->pixels + i * bytes, integers, NULL),
                             PF_OK);
            double v = (double)logits[i * n_classes + c];
            difference += (integers[c] * unit - v) * (integers[c] * unit - v);
            signal += (v - mean) * (v - mean);
        }
    }
    difference = sqrt(difference / (double)(N * n_classes));
    signal = sqrt(signal / (double)(N * n_classes));
    if (!(difference < 6.0 / 255.0 && difference < 0.15 * signal))
        fail_msg("difference %.4f, signal %.4f (seed %d)", difference, signal, (int)seed);
    pf_quant_destroy(lowered);
    pf_dataset_destroy(images);
    pf_model_destroy(model);
}

static void test_logits_stay_close_to_the_float_network(void **state)
{
    (void)state;
    struct pf_network shift = random_model_network(PF_LAYER_SHIFT);
    struct pf_network conv = random_model_network(PF_LAYER_CONV3X3);
    for (uint64_t seed = 0; seed < 3; seed++) {
        check_closeness(&shift, 1, seed);
        check_closeness(&shift, 4, seed);
        check_closeness(&conv, 1, seed);
        check_closeness(&conv, 8, seed);
    }
}

/* Rows whose batch-norm factor is a thousand times another's share a scale with it. */
static void test_rows_of_very_different_scale(void **state)
{
    (void)state;
    struct pf_model *model = tiny_model();
    model->layers[1].variance[0] = 1e-4f; /* γ/σ ≈ 190 */
    struct pf_quant_model *lowered = lower(model);
    assert_in_range(lowered->layers[1].weight[0], 64, 127);
    pf_quant_destroy(lowered);
    pf_model_destroy(model);
}

static size_t best_of(const double *values, size_t n)
{
    size_t best = 0;
    for (size_t i = 1; i < n; i++)
        if (values[i] > values[best]) best = i;
    return best;
}

/* With one weight a row, channels die.  This model has a row of variance 2e-5 whose folded weights
 * need a scale of 1/2: saturating them is right, refusing the model or starving the rest is not. */
static void test_a_nearly_dead_row_does_not_spoil_the_layer(void **state)
{
    (void)state;
    enum { N = 40 };
    struct pf_network net = random_model_network(PF_LAYER_SHIFT);
    struct pf_model *model = random_model_create(&net, 8, 1);
    struct pf_dataset *images = random_images(&net, N, 101);
    float logits[N * 5];
    float_infer(model, images->pixels, N, logits, false);
    struct pf_quant_model *lowered = lower(model);
    assert_true(lowered->layers[4].n_saturated > 0);
    assert_true(lowered->layers[4].exponent >= 2);
    size_t n_agreeing = 0;
    for (size_t i = 0; i < N; i++) {
        int32_t integers[5];
        double a[5], b[5];
        assert_int_equal(pf_quant_infer(lowered,
                                        images->pixels + i * pf_dataset_image_bytes(images),
                                        integers, NULL),
                         PF_OK);
        for (size_t c = 0; c < 5; c++) {
            a[c] = integers[c];
            b[c] = (double)logits[i * 5 + c];
        }
        n_agreeing += best_of(a, 5) == best_of(b, 5);
    }
    assert_true(n_agreeing >= 38);
    pf_quant_destroy(lowered);
    pf_dataset_destroy(images);
    pf_model_destroy(model);
}

static void test_pruned_weights_stay_zero(void **state)
{
    (void)state;
    struct pf_network net = random_model_network(PF_LAYER_SHIFT);
    struct pf_model *model = random_model_create(&net, 4, 5);
    struct pf_quant_model *lowered = lower(model);
    const struct pf_quant_layer *layer = &lowered->layers[2];
    float weights[12 * 8];
    pf_layer_dense_weights(&model->layers[2], weights);
    size_t n_zeros = 0;
    for (size_t i = 0; i < (size_t)layer->out_channels * layer->n_columns; i++) {
        if (weights[i] != 0.0f) continue;
        assert_int_equal(layer->weight[i], 0);
        n_zeros++;
    }
    assert_true(n_zeros > 8);
    pf_quant_destroy(lowered);
    pf_model_destroy(model);
}

static void assert_refused(struct pf_model *model, const char *part)
{
    struct pf_quant_model *lowered = NULL;
    struct pf_error err;
    assert_int_equal(pf_quant_lower(model, &lowered, &err), PF_INVALID);
    assert_null(lowered);
    if (strstr(err.text, part) == NULL) fail_msg("'%s' does not say '%s'", err.text, part);
    pf_model_destroy(model);
}

static void test_models_that_do_not_fit_are_refused_by_a_sentence(void **state)
{
    (void)state;
    struct pf_model *model = tiny_model();
    model->layers[1].weight[0] = 1e6f;
    assert_refused(model, "layer 1: its weights");
    model = tiny_model();
    model->layers[1].beta[0] = 1e9f;
    assert_refused(model, "layer 1, row 0: a bias of");
    model = tiny_model();
    model->layers[2].bias[1] = -1e9f;
    assert_refused(model, "layer 2, row 1: a bias of");
    model = tiny_model();
    model->layers[0].weight[0] = 3e38f;
    model->layers[0].gamma[0] = 3e38f;
    assert_refused(model, "layer 0: its weights");
    model = tiny_model();
    model->layers[1].weight[0] = NAN;
    assert_refused(model, "not finite");
}

/* A large but possible bias makes the scale coarser instead. */
static void test_a_large_bias_limits_the_scale(void **state)
{
    (void)state;
    struct pf_model *model = tiny_model();
    model->layers[1].beta[0] = 1e6f;
    struct pf_quant_model *lowered = lower(model);
    assert_true(lowered->layers[1].shift <= 4);
    assert_true(lowered->layers[1].max_magnitude < INT32_MAX);
    pf_quant_destroy(lowered);
    pf_model_destroy(model);
}

static void test_tiny_weights_become_the_bias_alone(void **state)
{
    (void)state;
    struct pf_model *model = tiny_model();
    model->layers[1].weight[0] = 1e-30f;
    struct pf_quant_model *lowered = lower(model);
    uint8_t image = 200;
    int32_t logits[2];
    assert_int_equal(lowered->layers[1].weight[0], 0);
    assert_int_equal(pf_quant_infer(lowered, &image, logits, NULL), PF_OK);
    assert_int_equal(logits[0], 64 * 32); /* 0.75 → 31.875 levels → 32 */
    pf_quant_destroy(lowered);
    pf_model_destroy(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_folded_values_by_hand),
        cmocka_unit_test(test_logits_stay_close_to_the_float_network),
        cmocka_unit_test(test_rows_of_very_different_scale),
        cmocka_unit_test(test_a_nearly_dead_row_does_not_spoil_the_layer),
        cmocka_unit_test(test_pruned_weights_stay_zero),
        cmocka_unit_test(test_models_that_do_not_fit_are_refused_by_a_sentence),
        cmocka_unit_test(test_a_large_bias_limits_the_scale),
        cmocka_unit_test(test_tiny_weights_become_the_bias_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
