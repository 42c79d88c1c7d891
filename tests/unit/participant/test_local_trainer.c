#include <stdarg.h>
#include <stddef.h>

#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <semaphore.h>
#include <string.h>
#include <time.h>

#include "common/base/memory.h"
#include "participant/local_trainer.h"
#include "participant/order.h"

enum { N_IMAGES = 40 };

static struct pf_dataset *dataset;
static struct pf_model *global;
static sem_t woken;

static const struct pf_training_order order = {.batch = 8,
                                               .epochs = 1.0,
                                               .schedule = PF_SCHEDULE_CONSTANT,
                                               .learning_rate = 0.05,
                                               .schedule_end = 1.0,
                                               .momentum = 0.9,
                                               .nesterov = true,
                                               .weight_decay = 1e-4};

static int set_up(void **state)
{
    (void)state;
    const struct pf_network network = {.block_kind = PF_LAYER_SHIFT,
                                       .n_blocks = 1,
                                       .filters = {6},
                                       .layers = {1},
                                       .strides = {2},
                                       .in_channels = 3,
                                       .in_height = 32,
                                       .in_width = 32,
                                       .n_classes = 10};
    struct pf_error err = {0};
    assert_int_equal(pf_dataset_synthetic(4, PF_SPLIT_TRAIN, N_IMAGES, &dataset, &err), PF_OK);
    assert_int_equal(pf_model_create(&network, NULL, &global, &err), PF_OK);
    pf_model_initialise(global, 9);
    pf_dataset_statistics(dataset, global->input_mean, global->input_std);
    return sem_init(&woken, 0, 0);
}

static int tear_down(void **state)
{
    (void)state;
    pf_dataset_destroy(dataset);
    pf_model_destroy(global);
    return sem_destroy(&woken);
}

static struct pf_local_training training(uint64_t seed)
{
    return (struct pf_local_training){
        .dataset = dataset, .augmentation = {.padding = 4, .flip = true}, .seed = seed};
}

static enum pf_status update(uint64_t seed, uint32_t round, const struct pf_training_order *o,
                             size_t n_threads, struct pf_update *made)
{
    PF_CLEANUP(pf_pool_destroyp) struct pf_pool *pool = NULL;
    const struct pf_local_training local = training(seed);
    struct pf_error err = {0};
    assert_int_equal(pf_pool_create(n_threads, &pool, &err), PF_OK);
    return pf_local_update(&local, global, NULL, round, o, false, pool, NULL, made, &err);
}

static void test_delta_and_global_make_the_locally_trained_model(void **state)
{
    (void)state;
    PF_CLEANUP(pf_update_finish) struct pf_update made = {0};
    PF_CLEANUP(pf_model_destroyp) struct pf_model *local = NULL;
    PF_CLEANUP(pf_pool_destroyp) struct pf_pool *pool = NULL;
    struct pf_train_options options;
    struct pf_error err = {0};
    assert_int_equal(update(3, 5, &order, 1, &made), PF_OK);
    assert_int_equal(made.n, global->n_parameters);
    assert_int_equal(made.figures[PF_FIGURE_EXAMPLES], N_IMAGES);
    assert_int_equal(made.figures[PF_FIGURE_EVALUATED], 0);
    const float *delta = made.values;

    const struct pf_local_training same = training(3);
    assert_int_equal(pf_pool_create(1, &pool, &err), PF_OK);
    assert_int_equal(pf_model_clone(global, &local, &err), PF_OK);
    pf_order_options(&order, same.seed, 5, N_IMAGES, &same.augmentation, &options);
    options.activations = same.activations;
    assert_int_equal(pf_train(local, dataset, &options, pool, NULL, &err), PF_OK);
    size_t moved = 0;
    for (size_t i = 0; i < global->n_parameters; i++) {
        assert_true(delta[i] == local->parameters[i] - global->parameters[i]);
        assert_true(fabsf(global->parameters[i] + delta[i] - local->parameters[i]) <=
                    2e-7f * fabsf(local->parameters[i]) + 1e-9f);
        moved += delta[i] != 0.0f;
    }
    assert_true(moved > global->n_parameters / 2);
    /* Batch-norm statistics are part of the update. */
    assert_true(delta[global->n_parameters - 1] != 0.0f);
}

static void test_seed_and_round_decide_every_bit(void **state)
{
    (void)state;
    struct pf_update a, b, c, d;
    assert_int_equal(update(3, 5, &order, 1, &a), PF_OK);
    assert_int_equal(update(3, 5, &order, 3, &b), PF_OK);
    assert_int_equal(update(3, 6, &order, 1, &c), PF_OK);
    assert_int_equal(update(4, 5, &order, 1, &d), PF_OK);
    assert_int_equal(a.n, b.n);
    size_t length = a.n * sizeof *a.values;
    assert_memory_equal(a.values, b.values, length);
    assert_memory_not_equal(a.values, c.values, length);
    assert_memory_not_equal(a.values, d.values, length);
    pf_update_finish(&a);
    pf_update_finish(&b);
    pf_update_finish(&c);
    pf_update_finish(&d);
}

static void test_a_large_batch_is_cut_to_the_images_there_are(void **state)
{
    (void)state;
    PF_CLEANUP(pf_update_finish) struct pf_update made = {0};
    struct pf_training_order large = order;
    large.batch = 4096;
    large.epochs = 2.0;
    assert_int_equal(update(1, 1, &large, 1, &made), PF_OK);
    assert_true(made.values[0] != 0.0f);
}

static double distance(const float *delta)
{
    double sum = 0;
    for (size_t i = 0; i < global->n_trained; i++) sum += (double)delta[i] * (double)delta[i];
    return sqrt(sum);
}

static void test_the_proximal_term_keeps_the_model_near(void **state)
{
    (void)state;
    struct pf_update free_update, bound_update;
    struct pf_training_order bound = order;
    bound.proximal = 5.0;
    assert_int_equal(update(1, 1, &order, 1, &free_update), PF_OK);
    assert_int_equal(update(1, 1, &bound, 1, &bound_update), PF_OK);
    assert_true(distance(bound_update.values) < 0.8 * distance(free_update.values));
    pf_update_finish(&free_update);
    pf_update_finish(&bound_update);
}

static void wake(void *context)
{
    (void)context;
    sem_post(&woken);
}

static bool wait_for_wake(long ms)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += ms / 1000;
    until.tv_nsec += ms % 1000 * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000;
    }
    return sem_timedwait(&woken, &until) == 0;
}

static struct pf_local_trainer *trainer(uint64_t seed)
{
    const struct pf_local_training local = training(seed);
    struct pf_local_trainer *made = NULL;
    struct pf_error err = {0};
    assert_int_equal(pf_local_trainer_create(&local, 1, wake, NULL, &made, &err), PF_OK);
    return made;
}

static void test_a_teacher_is_listened_to_as_ordered(void **state)
{
    (void)state;
    PF_CLEANUP(pf_pool_destroyp) struct pf_pool *pool = NULL;
    PF_CLEANUP(pf_model_destroyp) struct pf_model *teacher = NULL, *local = NULL;
    PF_CLEANUP(pf_update_finish) struct pf_update made = {0}, without = {0};
    struct pf_training_order distils = order;
    struct pf_train_options options;
    struct pf_error err = {0};
    const struct pf_local_training same = training(3);
    distils.distill_weight = 0.7;
    distils.distill_temperature = 3.0;
    assert_int_equal(pf_pool_create(1, &pool, &err), PF_OK);
    assert_int_equal(pf_model_clone(global, &teacher, &err), PF_OK);
    pf_model_initialise(teacher, 10);
    assert_int_equal(
        pf_local_update(&same, global, teacher, 5, &distils, false, pool, NULL, &made, &err),
        PF_OK);
    assert_int_equal(update(3, 5, &order, 1, &without), PF_OK);
    assert_memory_not_equal(made.values, without.values, made.n * sizeof *made.values);

    assert_int_equal(pf_model_clone(global, &local, &err), PF_OK);
    pf_order_options(&distils, same.seed, 5, N_IMAGES, &same.augmentation, &options);
    options.activations = same.activations;
    options.teacher = teacher;
    options.distill_weight = 0.7;
    options.distill_temperature = 3.0;
    assert_int_equal(pf_train(local, dataset, &options, pool, NULL, &err), PF_OK);
    for (size_t i = 0; i < made.n; i++)
        assert_true(made.values[i] == local->parameters[i] - global->parameters[i]);

    /* On the thread, with copies of the models. */
    PF_CLEANUP(pf_local_trainer_destroyp) struct pf_local_trainer *self = trainer(3);
    struct pf_local_trainer_result result;
    assert_int_equal(pf_local_trainer_start(self, 4, 5, global, teacher, &distils, false, &err),
                     PF_OK);
    memset(teacher->parameters, 0, teacher->n_parameters * sizeof(float));
    assert_true(wait_for_wake(60000));
    assert_true(pf_local_trainer_poll(self, &result));
    assert_int_equal(result.status, PF_OK);
    assert_memory_equal(result.update.values, made.values, made.n * sizeof *made.values);
    pf_update_finish(&result.update);
}

static void test_a_diverging_training_gives_no_update(void **state)
{
    (void)state;
    struct pf_update made = {0};
    float kept = global->parameters[0];
    global->parameters[0] = NAN;
    assert_int_equal(update(1, 1, &order, 1, &made), PF_CORRUPT);
    global->parameters[0] = kept;
    assert_null(made.values);
}

/* The counts are of the model as it came, on at most PF_EVALUATED_IMAGES. */
static void test_the_received_model_is_evaluated_when_wanted(void **state)
{
    (void)state;
    PF_CLEANUP(pf_update_finish) struct pf_update plain = {0};
    struct pf_update judged = {0};
    PF_CLEANUP(pf_pool_destroyp) struct pf_pool *pool = NULL;
    const struct pf_local_training local = training(3);
    struct pf_evaluation evaluation;
    struct pf_error err = {0};
    assert_int_equal(pf_pool_create(1, &pool, &err), PF_OK);
    assert_int_equal(
        pf_local_update(&local, global, NULL, 5, &order, true, pool, NULL, &judged, &err), PF_OK);
    assert_int_equal(update(3, 5, &order, 1, &plain), PF_OK);
    assert_int_equal(pf_evaluate(global, dataset, pool, NULL, &evaluation, &err), PF_OK);
    assert_int_equal(judged.figures[PF_FIGURE_EXAMPLES], N_IMAGES);
    assert_int_equal(judged.figures[PF_FIGURE_EVALUATED], N_IMAGES);
    assert_int_equal(judged.figures[PF_FIGURE_CORRECT], evaluation.n_correct);
    /* … and judging leaves the training as it is. */
    assert_memory_equal(judged.values, plain.values, plain.n * sizeof *plain.values);
    pf_update_finish(&judged);
}

static void start(struct pf_local_trainer *self, uint64_t job, uint32_t round, double epochs)
{
    struct pf_training_order o = order;
    struct pf_error err = {0};
    o.epochs = epochs;
    assert_int_equal(pf_local_trainer_start(self, job, round, global, NULL, &o, false, &err),
                     PF_OK);
}

static void test_the_thread_gives_what_the_function_gives(void **state)
{
    (void)state;
    PF_CLEANUP(pf_local_trainer_destroyp) struct pf_local_trainer *self = trainer(3);
    PF_CLEANUP(pf_update_finish) struct pf_update expected = {0};
    struct pf_local_trainer_result result;
    assert_int_equal(update(3, 5, &order, 1, &expected), PF_OK);
    assert_false(pf_local_trainer_poll(self, &result));
    start(self, 11, 5, 1.0);
    assert_true(wait_for_wake(60000));
    assert_true(pf_local_trainer_poll(self, &result));
    assert_int_equal(result.job, 11);
    assert_int_equal(result.status, PF_OK);
    assert_int_equal(result.update.n, expected.n);
    assert_memory_equal(result.update.values, expected.values,
                        expected.n * sizeof *expected.values);
    assert_memory_equal(result.update.figures, expected.figures, sizeof expected.figures);
    pf_update_finish(&result.update);
    assert_false(pf_local_trainer_poll(self, &result));
}

static void test_a_new_job_takes_the_place_of_the_old(void **state)
{
    (void)state;
    PF_CLEANUP(pf_local_trainer_destroyp) struct pf_local_trainer *self = trainer(3);
    struct pf_local_trainer_result result;
    start(self, 1, 1, 1e5); /* would take hours */
    size_t done = 0, total = 0;
    while (!pf_local_trainer_steps(self, &done, &total) || done == 0)
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    assert_true(total > 1000);
    start(self, 2, 2, 1.0);
    assert_true(wait_for_wake(60000));
    assert_true(pf_local_trainer_poll(self, &result));
    assert_int_equal(result.job, 2);
    assert_int_equal(result.status, PF_OK);
    pf_update_finish(&result.update);
    assert_false(wait_for_wake(50)); /* nothing is heard of the first */
}

static void test_a_cancelled_job_is_never_heard_of(void **state)
{
    (void)state;
    PF_CLEANUP(pf_local_trainer_destroyp) struct pf_local_trainer *self = trainer(3);
    struct pf_local_trainer_result result;
    start(self, 1, 1, 1e5);
    pf_local_trainer_cancel(self);
    assert_false(wait_for_wake(100));
    assert_false(pf_local_trainer_poll(self, &result));
    start(self, 2, 1, 1.0);
    assert_true(wait_for_wake(60000));
    pf_local_trainer_cancel(self); /* done, but not fetched */
    assert_false(pf_local_trainer_poll(self, &result));
}

static void test_destroying_ends_a_long_training_soon(void **state)
{
    (void)state;
    struct pf_local_trainer *self = trainer(3);
    start(self, 1, 1, 1e5);
    size_t done, total;
    while (!pf_local_trainer_steps(self, &done, &total))
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    pf_local_trainer_destroy(self); /* hangs into the time limit otherwise */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_delta_and_global_make_the_locally_trained_model),
        cmocka_unit_test(test_seed_and_round_decide_every_bit),
        cmocka_unit_test(test_a_large_batch_is_cut_to_the_images_there_are),
        cmocka_unit_test(test_the_proximal_term_keeps_the_model_near),
        cmocka_unit_test(test_a_teacher_is_listened_to_as_ordered),
        cmocka_unit_test(test_a_diverging_training_gives_no_update),
        cmocka_unit_test(test_the_received_model_is_evaluated_when_wanted),
        cmocka_unit_test(test_the_thread_gives_what_the_function_gives),
        cmocka_unit_test(test_a_new_job_takes_the_place_of_the_old),
        cmocka_unit_test(test_a_cancelled_job_is_never_heard_of),
        cmocka_unit_test(test_destroying_ends_a_long_training_soon),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
