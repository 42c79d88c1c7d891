/* What pf_train and pf_evaluate promise beyond right gradients. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/nn/train.h"
#include "common/nn/trainer.h"
#include "tests/unit/nn/naive_network.h"

static const struct pf_network small = {PF_LAYER_SHIFT, 2, {8, 12}, {2, 2}, {1, 2}, 3, 10, 9, 4};
static const struct pf_network small_conv = {
    PF_LAYER_CONV3X3, 2, {4, 6}, {1, 1}, {1, 2}, 3, 9, 10, 4};

static struct pf_train_options plain_options(uint32_t batch, double epochs)
{
    return (struct pf_train_options){.batch = batch,
                                     .epochs = epochs,
                                     .schedule = PF_SCHEDULE_COSINE,
                                     .learning_rate = 0.05,
                                     .schedule_end = 1.0,
                                     .momentum = 0.9,
                                     .nesterov = true,
                                     .weight_decay = 1e-3,
                                     .label_smoothing = 0.1,
                                     .augmentation = {.padding = 2, .flip = true},
                                     .seed = 3};
}

static void train(struct pf_model *model, const struct pf_dataset *dataset,
                  const struct pf_train_options *options, size_t n_threads)
{
    struct pf_pool *pool = NULL;
    struct pf_error err = {0};
    assert_int_equal(pf_pool_create(n_threads, &pool, NULL), PF_OK);
    if (pf_train(model, dataset, options, pool, NULL, &err) != PF_OK) fail_msg("%s", err.text);
    pf_pool_destroy(pool);
}

static struct pf_model *clone(const struct pf_model *model)
{
    struct pf_model *copy = NULL;
    assert_int_equal(pf_model_clone(model, &copy, NULL), PF_OK);
    return copy;
}

static void assert_parameters_near(const float *a, const float *b, size_t n, float tolerance)
{
    for (size_t i = 0; i < n; i++)
        if (!(fabsf(a[i] - b[i]) <= tolerance * (1.0f + fabsf(b[i]))))
            fail_msg("parameter %zu: %.7f and %.7f", i, (double)a[i], (double)b[i]);
}

static void check_threads(const struct pf_network *network, uint32_t alpha,
                          enum pf_precision activations)
{
    struct pf_dataset *dataset = naive_dataset(network, 70, 1);
    struct pf_model *model = naive_model(network, alpha, 2);
    struct pf_train_options options = plain_options(23, 2.0);
    options.activations = activations;
    struct pf_model *one = clone(model), *two = clone(model), *five = clone(model);
    train(one, dataset, &options, 1);
    train(two, dataset, &options, 2);
    train(five, dataset, &options, 5);
    size_t bytes = model->n_parameters * sizeof(float);
    assert_memory_equal(one->parameters, two->parameters, bytes);
    assert_memory_equal(one->parameters, five->parameters, bytes);
    assert_memory_not_equal(one->parameters, model->parameters, bytes);
    pf_model_destroy(one);
    pf_model_destroy(two);
    pf_model_destroy(five);
    pf_model_destroy(model);
    pf_dataset_destroy(dataset);
}

static void test_same_bits_with_any_number_of_threads(void **state)
{
    (void)state;
    for (enum pf_precision activations = PF_SINGLE; activations <= PF_HALF; activations++) {
        check_threads(&small, 0, activations);
        check_threads(&small, 4, activations);
        check_threads(&small_conv, 3, activations);
    }
}

static void test_seed_decides_the_result(void **state)
{
    (void)state;
    struct pf_dataset *dataset = naive_dataset(&small, 60, 1);
    struct pf_model *a = naive_model(&small, 0, 2), *b = clone(a), *c = clone(a);
    struct pf_train_options options = plain_options(20, 1.0);
    train(a, dataset, &options, 2);
    train(b, dataset, &options, 2);
    options.seed++;
    train(c, dataset, &options, 2);
    assert_memory_equal(a->parameters, b->parameters, a->n_parameters * sizeof(float));
    assert_memory_not_equal(a->parameters, c->parameters, a->n_parameters * sizeof(float));
    pf_model_destroy(a);
    pf_model_destroy(b);
    pf_model_destroy(c);
    pf_dataset_destroy(dataset);
}

/* Zeros where the packing has no survivor; the same everywhere else. */
static void put_mask_back(struct pf_model *dense, const struct pf_model *packed)
{
    for (size_t l = 0; l < dense->n_layers; l++) {
        const struct pf_layer *layer = &packed->layers[l];
        if (layer->packing == NULL) continue;
        struct pf_layer *to = &dense->layers[l];
        float *kept = PF_ALLOC(to->n_weights, float);
        assert_non_null(kept);
        for (size_t r = 0; r < layer->packing->n_rows; r++)
            for (size_t i = layer->packing->row_start[r]; i < layer->packing->row_start[r + 1];
                 i++) {
                size_t at = r * to->n_columns + layer->packing->column[i];
                kept[at] = to->weight[at];
            }
        memcpy(to->weight, kept, to->n_weights * sizeof *kept);
        pf_free(kept);
    }
}

/* One step at a time without momentum, the dense model's pruned weights zeroed after each. */
static void check_masked(const struct pf_network *network, uint32_t alpha,
                         enum pf_precision activations, float tolerance)
{
    struct pf_dataset *dataset = naive_dataset(network, 24, 1);
    struct pf_model *packed = naive_model(network, alpha, 2), *dense = NULL, *result = NULL;
    assert_int_equal(pf_model_densify(packed, &dense, NULL), PF_OK);
    for (uint64_t step = 0; step < 3; step++) {
        struct pf_train_options options = plain_options(24, 1.0);
        options.momentum = 0.0;
        options.seed = step;
        options.activations = activations;
        train(packed, dataset, &options, 2);
        train(dense, dataset, &options, 2);
        put_mask_back(dense, packed);
    }
    assert_int_equal(pf_model_densify(packed, &result, NULL), PF_OK);
    assert_parameters_near(result->parameters, dense->parameters, dense->n_parameters, tolerance);
    pf_model_destroy(packed);
    pf_model_destroy(dense);
    pf_model_destroy(result);
    pf_dataset_destroy(dataset);
}

static void test_packed_training_equals_masked_dense_training(void **state)
{
    (void)state;
    check_masked(&small, 4, PF_SINGLE, 1e-4f);
    check_masked(&small_conv, 3, PF_SINGLE, 1e-4f);
    /* Sums that differ in their last bit may round to different halves. */
    check_masked(&small, 4, PF_HALF, 2e-3f);
    check_masked(&small_conv, 3, PF_HALF, 2e-3f);
}

/* ‖a − b‖ of the trained parameters. */
static double distance(const struct pf_model *a, const struct pf_model *b)
{
    double sum = 0.0;
    for (size_t i = 0; i < a->n_trained; i++)
        sum += pow((double)a->parameters[i] - (double)b->parameters[i], 2.0);
    return sqrt(sum);
}

/* Single precision is checked against finite differences (test_gradients.c).  Halves have 11 bits,
 * and whatever they push over a corner of ReLU6 counts in so small a batch. */
static void check_half(const struct pf_network *network, uint32_t alpha)
{
    struct pf_dataset *dataset = naive_dataset(network, 24, 1);
    struct pf_model *model = naive_model(network, alpha, 2);
    struct pf_train_options options = plain_options(24, 40.0);
    options.momentum = options.weight_decay = options.learning_rate = 0.0;
    train(model, dataset, &options, 2); /* moves the running means to where training has them */
    struct pf_model *single = clone(model), *half = clone(model);
    options.epochs = 1.0;
    options.learning_rate = 0.05;
    train(single, dataset, &options, 2);
    options.activations = PF_HALF;
    train(half, dataset, &options, 2);
    double error = distance(half, single) / distance(single, model);
    if (!(error > 1e-6 && error < 1e-2)) fail_msg("the step differs by %g of itself", error);
    pf_model_destroy(model);
    pf_model_destroy(single);
    pf_model_destroy(half);
    pf_dataset_destroy(dataset);
}

static void test_half_precision_changes_a_step_by_less_than_a_hundredth(void **state)
{
    (void)state;
    check_half(&small, 0);
    check_half(&small, 4);
    check_half(&small_conv, 0);
    check_half(&small_conv, 3);
}

/* 100,000 fits a float, no half. */
static void test_outputs_beyond_half_precision_are_told(void **state)
{
    (void)state;
    struct pf_dataset *dataset = naive_dataset(&small, 30, 1);
    struct pf_model *model = naive_model(&small, 0, 2);
    struct pf_train_options options = plain_options(30, 1.0);
    struct pf_pool *pool = NULL;
    struct pf_error err = {0};
    for (size_t i = 0; i < model->layers[1].n_weights; i++) model->layers[1].weight[i] = 1e5f;
    assert_int_equal(pf_pool_create(1, &pool, NULL), PF_OK);
    struct pf_model *single = clone(model);
    assert_int_equal(pf_train(single, dataset, &options, pool, NULL, &err), PF_OK);
    options.activations = PF_HALF;
    assert_int_equal(pf_train(model, dataset, &options, pool, NULL, &err), PF_CORRUPT);
    assert_non_null(strstr(err.text, "half"));
    pf_model_destroy(single);
    pf_model_destroy(model);
    pf_pool_destroy(pool);
    pf_dataset_destroy(dataset);
}

static void check_infer(const struct pf_network *network, uint32_t alpha)
{
    enum { N = 37, CLASSES = 4 };
    struct pf_dataset *dataset = naive_dataset(network, N, 1);
    struct pf_model *model = naive_model(network, alpha, 2);
    struct pf_pool *pool = NULL;
    struct pf_evaluation evaluation = {0};
    double *parameters = PF_ALLOC(model->n_parameters, double), expected[N * CLASSES];
    float got[N * CLASSES];
    for (size_t i = 0; i < model->n_parameters; i++) parameters[i] = (double)model->parameters[i];
    double loss = naive_loss(model, parameters, dataset, 0.0, false, NULL, expected);
    assert_int_equal(pf_pool_create(2, &pool, NULL), PF_OK);
    assert_int_equal(pf_infer(model, dataset->pixels, N, pool, got, NULL), PF_OK);
    assert_int_equal(pf_evaluate(model, dataset, pool, NULL, &evaluation, NULL), PF_OK);
    size_t n_correct = 0;
    for (size_t i = 0; i < N; i++) {
        size_t best = 0;
        for (size_t m = 0; m < CLASSES; m++) {
            double e = expected[i * CLASSES + m];
            if (e > expected[i * CLASSES + best]) best = m;
            assert_true(fabs((double)got[i * CLASSES + m] - e) < 1e-4 * (1.0 + fabs(e)));
        }
        n_correct += best == dataset->labels[i];
    }
    assert_int_equal(evaluation.n_images, N);
    assert_int_equal(evaluation.n_correct, n_correct);
    assert_true(fabs(evaluation.loss - loss) < 1e-4);
    assert_true(fabs(evaluation.accuracy_percent - 100.0 * (double)n_correct / N) < 1e-9);
    pf_free(parameters);
    pf_pool_destroy(pool);
    pf_model_destroy(model);
    pf_dataset_destroy(dataset);
}

static void test_inference_equals_the_naive_network(void **state)
{
    (void)state;
    check_infer(&small, 0);
    check_infer(&small, 4);
    check_infer(&small_conv, 0);
    check_infer(&small_conv, 3);
}

/* Classes are brightness: learnt in a moment or never. */
static void test_training_learns(void **state)
{
    (void)state;
    struct pf_dataset *dataset = naive_dataset(&small, 256, 1);
    for (size_t i = 0; i < dataset->n_images * pf_dataset_image_bytes(dataset); i++) {
        size_t image = i / pf_dataset_image_bytes(dataset);
        dataset->pixels[i] = (uint8_t)(dataset->pixels[i] / 4 + 60 * dataset->labels[image]);
    }
    struct pf_model *model = NULL;
    struct pf_pool *pool = NULL;
    struct pf_evaluation evaluation = {0};
    assert_int_equal(pf_model_create(&small, NULL, &model, NULL), PF_OK);
    pf_model_initialise(model, 4);
    struct pf_train_options options = plain_options(32, 12.0);
    train(model, dataset, &options, 2);
    assert_int_equal(pf_pool_create(2, &pool, NULL), PF_OK);
    assert_int_equal(pf_evaluate(model, dataset, pool, NULL, &evaluation, NULL), PF_OK);
    assert_true(evaluation.accuracy_percent > 95.0);
    pf_pool_destroy(pool);
    pf_model_destroy(model);
    pf_dataset_destroy(dataset);
}

struct counter {
    size_t updates, last_total;
    atomic_bool stop;
};

static void count_update(void *context, const char *what, size_t done, size_t total,
                         const char *detail)
{
    struct counter *counter = context;
    (void)done;
    assert_string_equal(what, "training");
    assert_non_null(strstr(detail, "images/s"));
    counter->updates++;
    counter->last_total = total;
}

static void test_steps_follow_epochs_and_batch(void **state)
{
    (void)state;
    const struct {
        uint32_t batch;
        double epochs;
        size_t steps;
    } cases[] = {{10, 1.0, 3}, {10, 0.5, 1},  {10, 0.01, 1},
                 {10, 2.0, 6}, {100, 3.0, 3}, {30, 2.5, 2}};
    struct pf_dataset *dataset = naive_dataset(&small, 30, 1);
    for (size_t i = 0; i < PF_ARRAY_LENGTH(cases); i++) {
        struct pf_model *model = naive_model(&small, 0, 2);
        struct pf_pool *pool = NULL;
        struct counter counter = {0};
        struct pf_progress progress = {.update = count_update, .context = &counter};
        struct pf_train_options options = plain_options(cases[i].batch, cases[i].epochs);
        assert_int_equal(pf_pool_create(2, &pool, NULL), PF_OK);
        assert_int_equal(pf_train(model, dataset, &options, pool, &progress, NULL), PF_OK);
        assert_int_equal(counter.last_total, cases[i].steps);
        assert_true(counter.updates >= 1);
        pf_pool_destroy(pool);
        pf_model_destroy(model);
    }
    pf_dataset_destroy(dataset);
}

/* Image i is all of shade i, so that a gathered image tells where it is from. */
static void test_epochs_see_every_image_once_in_an_order_of_their_own(void **state)
{
    (void)state;
    enum { N = 40, BATCH = 10, STEPS = N / BATCH };
    struct pf_dataset *dataset = naive_dataset(&small, N, 1);
    size_t image_bytes = pf_dataset_image_bytes(dataset);
    for (size_t i = 0; i < N * image_bytes; i++) dataset->pixels[i] = (uint8_t)(i / image_bytes);
    struct pf_model *model = naive_model(&small, 0, 2);
    struct pf_pool *pool = NULL;
    struct pf_trainer *trainer = NULL;
    struct pf_train_options options = plain_options(BATCH, 2.0);
    options.augmentation = (struct pf_augmentation){0};
    assert_int_equal(pf_pool_create(1, &pool, NULL), PF_OK);
    assert_int_equal(pf_trainer_create(model, dataset, &options, pool, &trainer, NULL), PF_OK);
    uint8_t order[2][N];
    for (size_t step = 0; step < 2 * STEPS; step++) {
        pf_trainer_gather(trainer, step);
        const struct pf_batch *batch = &trainer->batches[step % 2];
        for (size_t i = 0; i < BATCH; i++) {
            uint8_t image = batch->images[i * image_bytes];
            order[step / STEPS][step % STEPS * BATCH + i] = image;
            assert_int_equal(batch->labels[i], dataset->labels[image]);
        }
    }
    for (size_t epoch = 0; epoch < 2; epoch++) {
        size_t seen[N] = {0}, in_place = 0;
        for (size_t i = 0; i < N; i++) {
            seen[order[epoch][i]]++;
            in_place += order[epoch][i] == i;
        }
        for (size_t i = 0; i < N; i++) assert_int_equal(seen[i], 1);
        assert_true(in_place < N / 2);
    }
    assert_memory_not_equal(order[0], order[1], N);
    pf_trainer_destroy(trainer);
    pf_pool_destroy(pool);
    pf_model_destroy(model);
    pf_dataset_destroy(dataset);
}

static void test_stop_flag_interrupts(void **state)
{
    (void)state;
    struct pf_dataset *dataset = naive_dataset(&small, 30, 1);
    struct pf_model *model = naive_model(&small, 0, 2);
    struct pf_pool *pool = NULL;
    struct pf_evaluation evaluation;
    struct pf_error err = {0};
    atomic_bool stop = true;
    struct pf_progress progress = {.stop = &stop};
    struct pf_train_options options = plain_options(10, 100.0);
    assert_int_equal(pf_pool_create(2, &pool, NULL), PF_OK);
    assert_int_equal(pf_train(model, dataset, &options, pool, &progress, &err), PF_INTERRUPTED);
    assert_non_null(strstr(err.text, "0 of 300"));
    assert_int_equal(pf_model_validate(model, NULL), PF_OK);
    assert_int_equal(pf_evaluate(model, dataset, pool, &progress, &evaluation, &err),
                     PF_INTERRUPTED);
    pf_pool_destroy(pool);
    pf_model_destroy(model);
    pf_dataset_destroy(dataset);
}

static void test_diverging_training_is_told_with_the_step(void **state)
{
    (void)state;
    struct pf_dataset *dataset = naive_dataset(&small, 30, 1);
    struct pf_model *model = naive_model(&small, 0, 2);
    struct pf_pool *pool = NULL;
    struct pf_error err = {0};
    struct pf_train_options options = plain_options(10, 100.0);
    model->layers[model->n_layers - 1].weight[0] = INFINITY;
    assert_int_equal(pf_pool_create(2, &pool, NULL), PF_OK);
    assert_int_equal(pf_train(model, dataset, &options, pool, NULL, &err), PF_CORRUPT);
    assert_non_null(strstr(err.text, "step 1 of 300"));
    assert_non_null(strstr(err.text, "learning rate"));
    pf_pool_destroy(pool);
    pf_model_destroy(model);
    pf_dataset_destroy(dataset);
}

static void test_wrong_data_is_refused(void **state)
{
    (void)state;
    struct pf_network other = small;
    other.in_width++;
    struct pf_dataset *wide = naive_dataset(&other, 5, 1);
    other = small;
    other.n_classes++;
    struct pf_dataset *classes = naive_dataset(&other, 5, 1);
    struct pf_model *model = naive_model(&small, 0, 2);
    struct pf_pool *pool = NULL;
    struct pf_evaluation evaluation;
    struct pf_error err = {0};
    struct pf_train_options options = plain_options(5, 1.0);
    assert_int_equal(pf_pool_create(1, &pool, NULL), PF_OK);
    assert_int_equal(pf_train(model, wide, &options, pool, NULL, &err), PF_INVALID);
    assert_non_null(strstr(err.text, "10×10×3"));
    assert_int_equal(pf_train(model, classes, &options, pool, NULL, &err), PF_INVALID);
    assert_int_equal(pf_evaluate(model, wide, pool, NULL, &evaluation, &err), PF_INVALID);
    pf_pool_destroy(pool);
    pf_model_destroy(model);
    pf_dataset_destroy(wide);
    pf_dataset_destroy(classes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_bits_with_any_number_of_threads),
        cmocka_unit_test(test_seed_decides_the_result),
        cmocka_unit_test(test_packed_training_equals_masked_dense_training),
        cmocka_unit_test(test_half_precision_changes_a_step_by_less_than_a_hundredth),
        cmocka_unit_test(test_outputs_beyond_half_precision_are_told),
        cmocka_unit_test(test_inference_equals_the_naive_network),
        cmocka_unit_test(test_training_learns),
        cmocka_unit_test(test_steps_follow_epochs_and_batch),
        cmocka_unit_test(test_epochs_see_every_image_once_in_an_order_of_their_own),
        cmocka_unit_test(test_stop_flag_interrupts),
        cmocka_unit_test(test_diverging_training_is_told_with_the_step),
        cmocka_unit_test(test_wrong_data_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
