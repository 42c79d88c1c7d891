/* The worker: combining, applying, evaluating; results in order; stopping in mid-work. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/memory.h"
#include "coordinator/jobs.h"
#include "proto/model_file.h"
#include "secure_fixture.h"
#include "tests/unit/coordinator/small_model.h"

struct bench {
    struct pf_model *model;
    struct pf_dataset *test_set;
    struct pf_schedule schedule;
    struct pf_jobs *jobs;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    size_t n_ready, n_taken;
    bool take_at_once; /* from the worker, for a result that its destruction would lose */
    enum pf_status taken;
};

static void ready(void *context)
{
    struct bench *bench = context;
    if (bench->take_at_once) {
        struct pf_job_result *result = pf_jobs_take(bench->jobs);
        bench->taken = result->status;
        pf_job_result_destroy(result);
    }
    pthread_mutex_lock(&bench->mutex);
    bench->n_ready++;
    pthread_cond_signal(&bench->changed);
    pthread_mutex_unlock(&bench->mutex);
}

static struct pf_job_result *wait_result(struct bench *bench)
{
    pthread_mutex_lock(&bench->mutex);
    while (bench->n_ready == bench->n_taken) pthread_cond_wait(&bench->changed, &bench->mutex);
    bench->n_taken++;
    pthread_mutex_unlock(&bench->mutex);
    struct pf_job_result *result = pf_jobs_take(bench->jobs);
    assert_non_null(result);
    return result;
}

static double accuracy(const struct pf_model *model, const struct pf_dataset *set)
{
    struct pf_evaluation evaluation;
    struct pf_pool *pool = NULL;
    assert_int_equal(pf_pool_create(1, &pool, NULL), PF_OK);
    assert_int_equal(pf_evaluate(model, set, pool, NULL, &evaluation, NULL), PF_OK);
    pf_pool_destroy(pool);
    return evaluation.accuracy_percent;
}

static double accuracy_combined(const struct bench *bench, size_t stage)
{
    PF_CLEANUP(pf_model_destroyp) struct pf_model *combined = NULL;
    assert_int_equal(pf_model_combine(bench->model, &bench->schedule.stages[stage].combine,
                                      &combined, NULL, NULL),
                     PF_OK);
    return accuracy(combined, bench->test_set);
}

/* Weights for which the stages can be told apart by their accuracy: an untrained network mostly
 * says the same of every image. */
static bool find_weights(struct bench *bench)
{
    for (uint64_t seed = 1; seed < 100; seed++) {
        pf_model_initialise(bench->model, seed);
        double dense = accuracy(bench->model, bench->test_set);
        double first = accuracy_combined(bench, 0), last = accuracy_combined(bench, 1);
        if (fabs(first - last) > 1 && fabs(dense - last) > 1 && fabs(dense - first) > 1)
            return true;
    }
    return false;
}

static int setup(void **state)
{
    struct bench *bench = calloc(1, sizeof *bench);
    pthread_mutex_init(&bench->mutex, NULL);
    pthread_cond_init(&bench->changed, NULL);
    bench->model = small_model();
    if (pf_dataset_synthetic(1, PF_SPLIT_TEST, 50, &bench->test_set, NULL) != PF_OK) return 1;
    bench->schedule.n_stages = 2;
    for (size_t s = 0; s < 2; s++)
        bench->schedule.stages[s] = (struct pf_stage){
            .combine = {.alpha = {s == 0 ? 2 : 4}, .gamma = 1.75, .density = {s == 0 ? 0.6 : 0.3}},
            .rounds = 1,
            .schedule_end = 1};
    if (!find_weights(bench)) return 1;
    struct pf_jobs_config config = {.model = bench->model,
                                    .test_set = bench->test_set,
                                    .schedule = &bench->schedule,
                                    .n_threads = 1,
                                    .ready = ready,
                                    .context = bench};
    pf_server_optimiser_default(PF_FEDAVGM, &config.optimiser);
    *state = bench;
    return pf_jobs_create(&config, &bench->jobs, NULL) == PF_OK ? 0 : 1;
}

static int teardown(void **state)
{
    struct bench *bench = *state;
    pf_jobs_destroy(bench->jobs);
    pf_dataset_destroy(bench->test_set);
    pf_model_destroy(bench->model);
    pthread_cond_destroy(&bench->changed);
    pthread_mutex_destroy(&bench->mutex);
    free(bench);
    return 0;
}

static struct pf_model *decode(const struct pf_job_result *result)
{
    struct pf_model *model = NULL;
    assert_int_equal(
        pf_model_decode("served", result->bytes.bytes, result->bytes.length, &model, NULL), PF_OK);
    return model;
}

static void test_baseline(void **state)
{
    struct bench *bench = *state;
    assert_int_equal(pf_jobs_baseline(bench->jobs, NULL), PF_OK);
    PF_CLEANUP(pf_job_result_destroyp) struct pf_job_result *result = wait_result(bench);
    assert_int_equal(result->kind, PF_JOB_BASELINE);
    assert_int_equal(result->status, PF_OK);
    assert_int_equal(result->nonzeros, pf_model_nonzeros(bench->model));
    assert_true(fabs(result->accuracy_percent - accuracy(bench->model, bench->test_set)) < 1e-9);
    /* The figure for one step is that of the last stage's options on the model as given. */
    assert_true(fabs(result->accuracy_one_shot - accuracy_combined(bench, 1)) < 1e-9);
}

static void test_combine_and_apply(void **state)
{
    struct bench *bench = *state;
    assert_int_equal(pf_jobs_baseline(bench->jobs, NULL), PF_OK);
    assert_int_equal(pf_jobs_combine(bench->jobs, 0, NULL), PF_OK);
    pf_job_result_destroy(wait_result(bench));
    PF_CLEANUP(pf_job_result_destroyp) struct pf_job_result *combined = wait_result(bench);
    assert_int_equal(combined->kind, PF_JOB_COMBINE); /* in the order asked for */
    assert_int_equal(combined->status, PF_OK);
    assert_true(combined->nonzeros < pf_model_nonzeros(bench->model));
    assert_true(combined->report.n_layers > 0);
    PF_CLEANUP(pf_model_destroyp) struct pf_model *before = decode(combined);
    assert_true(pf_model_is_packed(before));
    assert_int_equal(combined->served.n_parameters, before->n_parameters);
    assert_int_equal(combined->served.n_trained, before->n_trained);
    struct pf_hash hash = pf_hash_bytes(combined->bytes.bytes, combined->bytes.length);
    assert_true(pf_hash_equal(&hash, &combined->served.hash));
    assert_int_equal(combined->served.n_chunks, 1);
    assert_true(pf_hash_equal(&hash, &combined->served.chunk_hashes[0]));

    size_t n = before->n_parameters;
    float *delta = calloc(n, sizeof *delta);
    for (size_t i = 0; i < n; i++) delta[i] = 0.25f;
    PF_CLEANUP(pf_buffer_finish) struct pf_buffer update = {0};
    struct pf_sum *sum = NULL;
    assert_int_equal(pf_update_encode(PF_AGGREGATION_PLAIN, delta, n, 5, &update, NULL), PF_OK);
    assert_int_equal(pf_sum_create(PF_AGGREGATION_PLAIN, n, &sum, NULL), PF_OK);
    assert_int_equal(pf_sum_add(sum, update.bytes, update.length, NULL), PF_OK);
    free(delta);
    assert_int_equal(pf_jobs_apply(bench->jobs, 1, &sum, NULL), PF_OK);
    assert_null(sum);
    PF_CLEANUP(pf_job_result_destroyp) struct pf_job_result *applied = wait_result(bench);
    assert_int_equal(applied->status, PF_OK);
    assert_int_equal(applied->number, 1);
    assert_int_equal(applied->n_included, 1);
    assert_false(applied->figures_known);
    assert_int_equal(applied->optimiser.length, before->n_trained * sizeof(float));
    PF_CLEANUP(pf_model_destroyp) struct pf_model *after = decode(applied);
    for (size_t i = 0; i < n; i++)
        assert_true(fabsf(after->parameters[i] - before->parameters[i] - 0.25f) < 1e-5f);
}

/* A secure round of this model's size, up to the point where the worker takes over. */
static struct secure_fixture *masked_round(const struct pf_model *model)
{
    struct pf_coordinator_session_config config = sx_config();
    config.masking.clip[0] = config.masking.clip[1] = 4 * sqrt((double)model->n_parameters);
    struct secure_fixture *sx = sx_create(&config, model->n_parameters);
    sx->fx->n_statistics = model->n_parameters - model->n_trained;
    sx_start(sx);
    sx_settle(sx);
    assert_int_equal(sx->fx->session->phase, PF_COORDINATOR_APPLYING);
    assert_non_null(sx->fx->asked.unmasking);
    return sx;
}

static void test_apply_takes_the_masks_off(void **state)
{
    struct bench *bench = *state;
    assert_int_equal(pf_jobs_combine(bench->jobs, 0, NULL), PF_OK);
    PF_CLEANUP(pf_job_result_destroyp) struct pf_job_result *combined = wait_result(bench);
    PF_CLEANUP(pf_model_destroyp) struct pf_model *before = decode(combined);
    struct secure_fixture *sx = masked_round(before);
    assert_int_equal(
        pf_jobs_apply_secure(bench->jobs, 1, &sx->fx->asked.unmasking, &sx->fx->asked.codec, NULL),
        PF_OK);
    assert_null(sx->fx->asked.unmasking);
    PF_CLEANUP(pf_job_result_destroyp) struct pf_job_result *applied = wait_result(bench);
    if (applied->status != PF_OK) fail_msg("%s", applied->error.text);
    assert_true(applied->figures_known);
    assert_int_equal(applied->n_included, 4);
    assert_int_equal(applied->figures[PF_FIGURE_EXAMPLES], 10 + 20 + 30 + 40);
    assert_int_equal(applied->figures[PF_FIGURE_CORRECT], 50 + 51 + 52 + 53);
    PF_CLEANUP(pf_model_destroyp) struct pf_model *after = decode(applied);
    for (size_t i = 0; i < before->n_parameters; i++)
        assert_true(fabsf(after->parameters[i] - before->parameters[i] - 3) < 0.1f);
    sx_destroy(sx);
}

/* Every share is wrong: the round leads nowhere, and the model stays as it is. */
static void test_wrong_shares_are_refused(void **state)
{
    struct bench *bench = *state;
    assert_int_equal(pf_jobs_combine(bench->jobs, 0, NULL), PF_OK);
    PF_CLEANUP(pf_job_result_destroyp) struct pf_job_result *combined = wait_result(bench);
    PF_CLEANUP(pf_model_destroyp) struct pf_model *before = decode(combined);
    struct secure_fixture *sx = masked_round(before);
    struct pf_unmask_target *target = &sx->fx->asked.unmasking->targets[BOB];
    /* By ±2^(8·i), which no polynomial of low degree takes on: errors do not cancel. */
    for (uint32_t i = 0; i < target->n_shares; i++) target->shares[i].bytes[i] ^= 1;
    assert_int_equal(
        pf_jobs_apply_secure(bench->jobs, 1, &sx->fx->asked.unmasking, &sx->fx->asked.codec, NULL),
        PF_OK);
    PF_CLEANUP(pf_job_result_destroyp) struct pf_job_result *applied = wait_result(bench);
    assert_int_equal(applied->status, PF_REFUSED);
    assert_true(strlen(applied->error.text) > 0);
    assert_false(applied->figures_known);
    sx_destroy(sx);
    /* The next round begins with the same model. */
    struct secure_fixture *next = masked_round(before);
    assert_int_equal(pf_jobs_apply_secure(bench->jobs, 2, &next->fx->asked.unmasking,
                                          &next->fx->asked.codec, NULL),
                     PF_OK);
    PF_CLEANUP(pf_job_result_destroyp) struct pf_job_result *second = wait_result(bench);
    assert_int_equal(second->status, PF_OK);
    PF_CLEANUP(pf_model_destroyp) struct pf_model *after = decode(second);
    assert_true(fabsf(after->parameters[0] - before->parameters[0] - 3) < 0.1f);
    sx_destroy(next);
}

/* Numbers that no honest sum can hold: as bad as masks that stay on. */
static void test_impossible_sums_are_refused(void **state)
{
    struct bench *bench = *state;
    assert_int_equal(pf_jobs_combine(bench->jobs, 0, NULL), PF_OK);
    PF_CLEANUP(pf_job_result_destroyp) struct pf_job_result *combined = wait_result(bench);
    PF_CLEANUP(pf_model_destroyp) struct pf_model *before = decode(combined);
    struct secure_fixture *sx = masked_round(before);
    struct pf_ring *sum = sx->fx->asked.unmasking->sum;
    pf_ring_set(sum, 0, pf_ring_get_signed(sum, 0) + 100000); /* a limb of the example count */
    assert_int_equal(
        pf_jobs_apply_secure(bench->jobs, 1, &sx->fx->asked.unmasking, &sx->fx->asked.codec, NULL),
        PF_OK);
    PF_CLEANUP(pf_job_result_destroyp) struct pf_job_result *applied = wait_result(bench);
    assert_int_equal(applied->status, PF_REFUSED);
    sx_destroy(sx);
}

static void test_apply_of_nothing_fails_with_a_sentence(void **state)
{
    struct bench *bench = *state;
    assert_int_equal(pf_jobs_combine(bench->jobs, 0, NULL), PF_OK);
    PF_CLEANUP(pf_job_result_destroyp) struct pf_job_result *combined = wait_result(bench);
    struct pf_sum *sum = NULL;
    assert_int_equal(pf_sum_create(PF_AGGREGATION_PLAIN, combined->served.n_parameters, &sum, NULL),
                     PF_OK);
    assert_int_equal(pf_jobs_apply(bench->jobs, 1, &sum, NULL), PF_OK);
    PF_CLEANUP(pf_job_result_destroyp) struct pf_job_result *result = wait_result(bench);
    assert_int_equal(result->status, PF_INVALID);
    assert_true(strlen(result->error.text) > 0);
}

static void test_destroyed_with_work_left(void **state)
{
    struct bench *bench = *state;
    struct pf_sum *sum = NULL;
    assert_int_equal(pf_sum_create(PF_AGGREGATION_PLAIN, 10, &sum, NULL), PF_OK);
    assert_int_equal(pf_jobs_baseline(bench->jobs, NULL), PF_OK);
    assert_int_equal(pf_jobs_combine(bench->jobs, 0, NULL), PF_OK);
    pf_sum_destroy(sum);
    /* The teardown destroys; a leak or a hang fails the test. */
}

/* Seeds that would be searched for some seconds: nothing fits. */
static void deal_nonsense(struct pf_unmasking *unmasking)
{
    enum { N_SHARES = 400 };
    unmasking->threshold = N_SHARES / 2;
    for (uint32_t i = 0; i < unmasking->n_targets; i++) {
        struct pf_unmask_target *target = &unmasking->targets[i];
        target->n_shares = N_SHARES;
        target->x = pf_realloc(target->x, N_SHARES, sizeof *target->x);
        target->shares = pf_realloc(target->shares, N_SHARES, sizeof *target->shares);
        assert_true(target->x != NULL && target->shares != NULL);
        for (uint32_t k = 0; k < N_SHARES; k++) {
            target->x[k] = k + 1;
            pf_scalar_random(&target->shares[k]);
        }
    }
}

static void test_destroyed_while_wrong_shares_are_looked_for(void **state)
{
    struct bench *bench = *state;
    assert_int_equal(pf_jobs_combine(bench->jobs, 0, NULL), PF_OK);
    PF_CLEANUP(pf_job_result_destroyp) struct pf_job_result *combined = wait_result(bench);
    PF_CLEANUP(pf_model_destroyp) struct pf_model *before = decode(combined);
    struct secure_fixture *sx = masked_round(before);
    deal_nonsense(sx->fx->asked.unmasking);
    bench->take_at_once = true;
    assert_int_equal(
        pf_jobs_apply_secure(bench->jobs, 1, &sx->fx->asked.unmasking, &sx->fx->asked.codec, NULL),
        PF_OK);
    usleep(200000); /* it has begun by now */
    pf_jobs_destroy(bench->jobs);
    bench->jobs = NULL;
    assert_int_equal(bench->taken, PF_INTERRUPTED);
    sx_destroy(sx);
}

static void test_chunks_of_a_model(void **state)
{
    (void)state;
    PF_CLEANUP(pf_buffer_finish) struct pf_buffer bytes = {0};
    uint8_t *block = calloc(1, 2 * PF_CHUNK_BYTES + 1);
    block[PF_CHUNK_BYTES] = 1;
    assert_int_equal(pf_buffer_append(&bytes, block, 2 * PF_CHUNK_BYTES + 1, NULL), PF_OK);
    struct pf_served_model model;
    assert_int_equal(pf_served_model_describe(&bytes, 5, 7, &model, NULL), PF_OK);
    assert_int_equal(model.n_chunks, 3);
    assert_int_equal(model.n_trained, 5);
    assert_int_equal(model.n_parameters, 7);
    assert_int_equal(model.n_bytes, 2 * PF_CHUNK_BYTES + 1);
    struct pf_hash last = pf_hash_bytes(block, 1);
    assert_true(pf_hash_equal(&model.chunk_hashes[2], &last));
    assert_false(pf_hash_equal(&model.chunk_hashes[0], &model.chunk_hashes[1]));
    pf_served_model_finish(&model);
    bytes.length = 0;
    assert_int_equal(pf_served_model_describe(&bytes, 5, 7, &model, NULL), PF_INVALID);
    free(block);
}

int main(void)
{
#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_baseline),
        TEST(test_combine_and_apply),
        TEST(test_apply_takes_the_masks_off),
        TEST(test_wrong_shares_are_refused),
        TEST(test_impossible_sums_are_refused),
        TEST(test_apply_of_nothing_fails_with_a_sentence),
        TEST(test_destroyed_with_work_left),
        TEST(test_destroyed_while_wrong_shares_are_looked_for),
        cmocka_unit_test(test_chunks_of_a_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
