/* One step of pf_train against finite differences of an independent network in double precision,
 * for every kind of layer and parameter. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/nn/train.h"
#include "tests/unit/nn/naive_network.h"

struct setting {
    struct pf_network network;
    uint32_t alpha; /* 0: dense */
    size_t n_images;
    double smoothing;
    size_t every; /* checks every so many-th parameter */
};

/* w_before − w_after of one plain step at rate 1 is the gradient. */
static struct pf_model *step_once(const struct pf_model *model, const struct pf_dataset *dataset,
                                  double smoothing)
{
    struct pf_model *after = NULL;
    struct pf_pool *pool = NULL;
    struct pf_error err = {0};
    struct pf_train_options options = {.batch = (uint32_t)dataset->n_images,
                                       .epochs = 1.0,
                                       .schedule = PF_SCHEDULE_CONSTANT,
                                       .learning_rate = 1.0,
                                       .schedule_end = 1.0,
                                       .label_smoothing = smoothing};
    assert_int_equal(pf_model_clone(model, &after, NULL), PF_OK);
    assert_int_equal(pf_pool_create(2, &pool, NULL), PF_OK);
    if (pf_train(after, dataset, &options, pool, NULL, &err) != PF_OK) fail_msg("%s", err.text);
    pf_pool_destroy(pool);
    return after;
}

static void check_gradients(const struct pf_model *model, const struct pf_model *after,
                            const struct pf_dataset *dataset, const struct setting *s)
{
    const double h = 1e-7; /* small: ReLU6 has corners */
    double *parameters = calloc(model->n_parameters, sizeof *parameters), largest = 0.0;
    for (size_t i = 0; i < model->n_parameters; i++) parameters[i] = (double)model->parameters[i];
    for (size_t i = 0; i < model->n_trained; i += s->every) {
        double w = parameters[i];
        parameters[i] = w + h;
        double above = naive_loss(model, parameters, dataset, s->smoothing, true, NULL, NULL);
        parameters[i] = w - h;
        double below = naive_loss(model, parameters, dataset, s->smoothing, true, NULL, NULL);
        parameters[i] = w;
        double expected = (above - below) / (2.0 * h);
        double got = (double)model->parameters[i] - (double)after->parameters[i];
        if (fabs(got - expected) > 2e-6 + 2e-4 * fabs(expected))
            fail_msg("parameter %zu: gradient %.8f, expected %.8f", i, got, expected);
        largest = fmax(largest, fabs(expected));
    }
    assert_true(largest > 1e-3); /* there was something to get wrong */
    free(parameters);
}

/* Running statistics move a tenth of the way to the batch's. */
static void check_statistics(const struct pf_model *model, const struct pf_model *after,
                             const struct pf_dataset *dataset)
{
    size_t n = model->n_parameters - model->n_trained;
    double *parameters = calloc(model->n_parameters, sizeof *parameters);
    double *batch = calloc(n, sizeof *batch);
    for (size_t i = 0; i < model->n_parameters; i++) parameters[i] = (double)model->parameters[i];
    naive_loss(model, parameters, dataset, 0.0, true, batch, NULL);
    for (size_t i = 0; i < n; i++) {
        double expected = 0.9 * parameters[model->n_trained + i] + 0.1 * batch[i];
        double got = (double)after->parameters[model->n_trained + i];
        if (fabs(got - expected) > 1e-5 * (1.0 + fabs(expected)))
            fail_msg("statistic %zu: %.8f, expected %.8f", i, got, expected);
    }
    free(parameters);
    free(batch);
}

static void check(const struct setting *s)
{
    struct pf_model *model = naive_model(&s->network, s->alpha, 11);
    struct pf_dataset *dataset = naive_dataset(&s->network, s->n_images, 12);
    struct pf_model *after = step_once(model, dataset, s->smoothing);
    check_gradients(model, after, dataset, s);
    check_statistics(model, after, dataset);
    pf_model_destroy(after);
    pf_dataset_destroy(dataset);
    pf_model_destroy(model);
}

static void test_shift_network_with_odd_sizes_and_stride(void **state)
{
    (void)state;
    check(&(struct setting){.network = {PF_LAYER_SHIFT, 2, {9, 10}, {2, 2}, {1, 2}, 3, 7, 9, 4},
                            .n_images = 3,
                            .every = 1});
}

static void test_shift_network_with_stride_in_the_first_block(void **state)
{
    (void)state;
    check(&(struct setting){
        .network = {PF_LAYER_SHIFT, 1, {10}, {2}, {2}, 1, 8, 6, 3}, .n_images = 5, .every = 1});
}

static void test_conv3x3_network(void **state)
{
    (void)state;
    check(&(struct setting){.network = {PF_LAYER_CONV3X3, 2, {3, 5}, {1, 2}, {1, 2}, 2, 7, 5, 3},
                            .n_images = 3,
                            .every = 1});
}

static void test_packed_shift_network(void **state)
{
    (void)state;
    check(&(struct setting){.network = {PF_LAYER_SHIFT, 2, {12, 18}, {1, 2}, {1, 2}, 3, 7, 6, 4},
                            .alpha = 4,
                            .n_images = 3,
                            .every = 1});
}

static void test_packed_conv3x3_network(void **state)
{
    (void)state;
    check(&(struct setting){.network = {PF_LAYER_CONV3X3, 2, {4, 6}, {1, 1}, {1, 2}, 3, 6, 7, 3},
                            .alpha = 3,
                            .n_images = 3,
                            .every = 1});
}

/* So wide that products go through segments (layer_plan.c). */
static void test_wide_packed_shift_network(void **state)
{
    (void)state;
    check(&(struct setting){.network = {PF_LAYER_SHIFT, 1, {262}, {2}, {1}, 3, 4, 5, 3},
                            .alpha = 8,
                            .n_images = 3,
                            .every = 101});
}

static void test_label_smoothing(void **state)
{
    (void)state;
    check(&(struct setting){.network = {PF_LAYER_SHIFT, 1, {6}, {1}, {1}, 3, 6, 6, 5},
                            .n_images = 4,
                            .smoothing = 0.2,
                            .every = 1});
}

/* More pixels than a chunk holds, and several images to a chunk further in. */
static void test_images_larger_than_a_chunk(void **state)
{
    (void)state;
    check(&(struct setting){
        .network = {PF_LAYER_SHIFT, 3, {6, 9, 10}, {1, 1, 1}, {1, 2, 2}, 3, 35, 37, 4},
        .n_images = 18,
        .every = 37});
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shift_network_with_odd_sizes_and_stride),
        cmocka_unit_test(test_shift_network_with_stride_in_the_first_block),
        cmocka_unit_test(test_conv3x3_network),
        cmocka_unit_test(test_packed_shift_network),
        cmocka_unit_test(test_packed_conv3x3_network),
        cmocka_unit_test(test_wide_packed_shift_network),
        cmocka_unit_test(test_label_smoothing),
        cmocka_unit_test(test_images_larger_than_a_chunk),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
