#include "coordinator/jobs.h"

#include <assert.h>
#include <math.h>
#include <pthread.h>

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/memory.h"
#include "common/combine/combine.h"
#include "proto/model_file.h"

#define MAX_JOBS 2u /* waiting or running: BASELINE and one that the session asked for */

struct job {
    struct pf_job_result *result;   /* says what to do; made with the job, so that it can be had */
    struct pf_sum *sum;             /* APPLY, plain; owned */
    struct pf_unmasking *unmasking; /* APPLY, secure; owned */
    struct pf_codec_config codec;   /* … */
};

struct pf_jobs {
    const struct pf_schedule *schedule;
    const struct pf_dataset *test_set;
    struct pf_server_optimiser_options options;
    void (*ready)(void *context);
    void *context;

    /* The worker's alone. */
    struct pf_model *model;
    struct pf_server_optimiser *optimiser; /* NULL before the first combining */
    struct pf_pool *pool;

    atomic_bool stop;
    pthread_t thread;
    bool started;
    pthread_mutex_t mutex; /* guards what follows */
    pthread_cond_t asked;
    struct job queue[MAX_JOBS];
    size_t n_queued;
    struct pf_job_result *results[MAX_JOBS];
    size_t n_results;
};

/* What goes in; the result is somebody else's by then. */
static void job_finish(struct job *job)
{
    pf_sum_destroy(job->sum);
    pf_unmasking_destroy(job->unmasking);
}

void pf_job_result_destroy(struct pf_job_result *self)
{
    if (self == NULL) return;
    pf_served_model_finish(&self->served);
    pf_buffer_finish(&self->bytes);
    pf_buffer_finish(&self->optimiser);
    pf_free(self);
}

enum pf_status pf_chunked_model_describe(const struct pf_buffer *bytes,
                                         struct pf_chunked_model *model, struct pf_error *err)
{
    size_t n = (bytes->length + PF_CHUNK_BYTES - 1) / PF_CHUNK_BYTES;
    if (n == 0 || n > PF_MAX_CHUNKS)
        return pf_fail(err, PF_INVALID, "a model of %zu bytes cannot be sent: the limit is %zu",
                       bytes->length, PF_MAX_MODEL_BYTES);
    struct pf_hash *hashes = PF_ALLOC(n, struct pf_hash);
    if (hashes == NULL) return pf_no_memory(err, "the hashes of a model");
    for (size_t i = 0; i < n; i++) {
        size_t begin = i * PF_CHUNK_BYTES;
        size_t length = PF_MIN(bytes->length - begin, (size_t)PF_CHUNK_BYTES);
        hashes[i] = pf_hash_bytes(bytes->bytes + begin, length);
    }
    *model = (struct pf_chunked_model){
        .hash = pf_hash_bytes(bytes->bytes, bytes->length),
        .n_bytes = bytes->length,
        .n_chunks = (uint32_t)n,
        .chunk_hashes = hashes,
    };
    return PF_OK;
}

enum pf_status pf_served_model_describe(const struct pf_buffer *bytes, size_t n_trained,
                                        size_t n_parameters, struct pf_served_model *model,
                                        struct pf_error *err)
{
    struct pf_chunked_model chunked;
    PF_TRY(pf_chunked_model_describe(bytes, &chunked, err));
    *model = (struct pf_served_model){
        .hash = chunked.hash,
        .n_bytes = chunked.n_bytes,
        .n_chunks = chunked.n_chunks,
        .chunk_hashes = chunked.chunk_hashes,
        .n_parameters = n_parameters,
        .n_trained = n_trained,
    };
    return PF_OK;
}

/* ---- the worker --------------------------------------------------------------------------- */

static enum pf_status evaluate(struct pf_jobs *self, const struct pf_model *model,
                               double *accuracy_percent, double *loss, struct pf_error *err)
{
    *accuracy_percent = *loss = (double)NAN;
    if (self->test_set == NULL) return PF_OK;
    const struct pf_progress progress = {.stop = &self->stop};
    struct pf_evaluation evaluation;
    PF_TRY(pf_evaluate(model, self->test_set, self->pool, &progress, &evaluation, err));
    *accuracy_percent = evaluation.accuracy_percent;
    *loss = evaluation.loss;
    return PF_OK;
}

static const struct pf_combine_options *stage_options(const struct pf_jobs *self, size_t stage)
{
    return &self->schedule->stages[stage].combine;
}

static enum pf_status run_baseline(struct pf_jobs *self, struct pf_job_result *result,
                                   struct pf_error *err)
{
    result->nonzeros = pf_model_nonzeros(self->model);
    result->accuracy_one_shot = (double)NAN;
    PF_TRY(evaluate(self, self->model, &result->accuracy_percent, &result->loss, err));
    if (self->test_set == NULL) return PF_OK;
    PF_CLEANUP(pf_model_destroyp) struct pf_model *combined = NULL;
    PF_TRY(pf_model_combine(self->model, stage_options(self, self->schedule->n_stages - 1),
                            &combined, NULL, err));
    double loss;
    return evaluate(self, combined, &result->accuracy_one_shot, &loss, err);
}

/* What the session and the store need of the current model. */
static enum pf_status describe_model(struct pf_jobs *self, struct pf_job_result *result,
                                     struct pf_error *err)
{
    result->nonzeros = pf_model_nonzeros(self->model);
    PF_TRY(evaluate(self, self->model, &result->accuracy_percent, &result->loss, err));
    PF_TRY(pf_model_encode(self->model, &result->bytes, err));
    PF_TRY(pf_server_optimiser_save(self->optimiser, &result->optimiser, err));
    return pf_served_model_describe(&result->bytes, self->model->n_trained,
                                    self->model->n_parameters, &result->served, err);
}

static enum pf_status run_combine(struct pf_jobs *self, struct pf_job_result *result,
                                  struct pf_error *err)
{
    PF_CLEANUP(pf_model_destroyp) struct pf_model *combined = NULL;
    PF_CLEANUP(pf_server_optimiser_destroyp) struct pf_server_optimiser *optimiser = NULL;
    PF_TRY(pf_model_combine(self->model, stage_options(self, result->number), &combined,
                            &result->report, err));
    PF_TRY(pf_server_optimiser_create(&self->options, combined->n_trained, combined->n_parameters,
                                      &optimiser, err));
    pf_model_destroy(self->model);
    pf_server_optimiser_destroy(self->optimiser);
    self->model = combined;
    self->optimiser = optimiser;
    combined = NULL;
    optimiser = NULL;
    return describe_model(self, result, err);
}

/* Shares → masks off → integers → mean.  What peers can cause here is PF_REFUSED. */
static enum pf_status take_masks_off(struct pf_jobs *self, const struct job *job, float *mean,
                                     struct pf_error *err)
{
    struct pf_job_result *result = job->result;
    const struct pf_progress progress = {.stop = &self->stop};
    const struct pf_unmask_effort *effort = &job->unmasking->effort;
    PF_CLEANUP(pf_codec_destroyp) struct pf_codec *codec = NULL;
    PF_TRY(pf_codec_create(&job->codec, &codec, err));
    PF_TRY(pf_unmasking_run(job->unmasking, self->pool, &progress, err));
    if (effort->n_liars > 0)
        pf_log(
            PF_LOG_WARNING,
            "round %u: shares that do not fit came from %u members, or were dealt to them so: %s",
            result->number, effort->n_liars, effort->liars);
    struct pf_error bad;
    enum pf_status status = pf_codec_decode(codec, job->unmasking->sum, job->unmasking->n_survivors,
                                            mean, result->figures, &bad);
    if (status == PF_CORRUPT) return pf_fail(err, PF_REFUSED, "%s", bad.text);
    if (status != PF_OK) return pf_fail(err, status, "%s", bad.text);
    result->figures_known = true;
    result->n_included = job->unmasking->n_survivors;
    return PF_OK;
}

static enum pf_status run_apply(struct pf_jobs *self, const struct job *job, struct pf_error *err)
{
    size_t n = self->model->n_parameters;
    if (job->unmasking != NULL && (job->codec.length[0] != self->model->n_trained ||
                                   job->codec.length[1] != n - self->model->n_trained))
        return pf_fail(err, PF_INVALID,
                       "a sum of %zu and %zu coordinates for a model of %zu and "
                       "%zu parameters",
                       job->codec.length[0], job->codec.length[1], self->model->n_trained,
                       n - self->model->n_trained);
    PF_CLEANUP(pf_freep) float *mean = PF_ALLOC(n, float);
    if (mean == NULL) return pf_no_memory(err, "the mean update");
    if (job->unmasking != NULL) {
        PF_TRY(take_masks_off(self, job, mean, err));
    } else {
        PF_TRY(pf_sum_mean(job->sum, mean, err));
        job->result->n_included = (uint32_t)pf_sum_count(job->sum);
    }
    PF_TRY(pf_server_optimiser_apply(self->optimiser, self->model, mean, err));
    return describe_model(self, job->result, err);
}

static void run_job(struct pf_jobs *self, const struct job *job)
{
    struct pf_job_result *result = job->result;
    double start = pf_clock_seconds();
    switch (result->kind) {
    case PF_JOB_BASELINE: result->status = run_baseline(self, result, &result->error); break;
    case PF_JOB_COMBINE: result->status = run_combine(self, result, &result->error); break;
    case PF_JOB_APPLY: result->status = run_apply(self, job, &result->error); break;
    }
    result->seconds = pf_clock_seconds() - start;
}

/* Waits for the next job; false when asked to stop. */
static bool next_job(struct pf_jobs *self, struct job *job)
{
    pthread_mutex_lock(&self->mutex);
    while (self->n_queued == 0 && !atomic_load(&self->stop))
        pthread_cond_wait(&self->asked, &self->mutex);
    bool go_on = !atomic_load(&self->stop);
    if (go_on) {
        *job = self->queue[0];
        self->queue[0] = self->queue[1];
        self->n_queued--;
    }
    pthread_mutex_unlock(&self->mutex);
    return go_on;
}

static void *work(void *context)
{
    struct pf_jobs *self = context;
    struct job job;
    while (next_job(self, &job)) {
        run_job(self, &job);
        job_finish(&job);
        pthread_mutex_lock(&self->mutex);
        assert(self->n_results < MAX_JOBS);
        self->results[self->n_results++] = job.result;
        pthread_mutex_unlock(&self->mutex);
        self->ready(self->context);
    }
    return NULL;
}

/* ---- the other threads -------------------------------------------------------------------- */

enum pf_status pf_jobs_create(const struct pf_jobs_config *config, struct pf_jobs **jobs,
                              struct pf_error *err)
{
    PF_CLEANUP(pf_jobs_destroyp) struct pf_jobs *self = PF_ALLOC(1, struct pf_jobs);
    if (self == NULL) return pf_no_memory(err, "the coordinator's worker");
    self->schedule = config->schedule;
    self->test_set = config->test_set;
    self->options = config->optimiser;
    self->ready = config->ready;
    self->context = config->context;
    pthread_mutex_init(&self->mutex, NULL);
    pthread_cond_init(&self->asked, NULL);
    PF_TRY(pf_server_optimiser_validate(&config->optimiser, err));
    PF_TRY(pf_model_clone(config->model, &self->model, err));
    PF_TRY(pf_pool_create(config->n_threads, &self->pool, err));
    if (pthread_create(&self->thread, NULL, work, self) != 0)
        return pf_fail(err, PF_IO, "cannot start the coordinator's worker thread");
    self->started = true;
    *jobs = self;
    self = NULL;
    return PF_OK;
}

void pf_jobs_destroy(struct pf_jobs *self)
{
    if (self == NULL) return;
    pthread_mutex_lock(&self->mutex);
    atomic_store(&self->stop, true);
    pthread_cond_signal(&self->asked);
    pthread_mutex_unlock(&self->mutex);
    if (self->started) pthread_join(self->thread, NULL);
    for (size_t i = 0; i < self->n_queued; i++) {
        pf_job_result_destroy(self->queue[i].result);
        job_finish(&self->queue[i]);
    }
    for (size_t i = 0; i < self->n_results; i++) pf_job_result_destroy(self->results[i]);
    pthread_cond_destroy(&self->asked);
    pthread_mutex_destroy(&self->mutex);
    pf_server_optimiser_destroy(self->optimiser);
    pf_model_destroy(self->model);
    pf_pool_destroy(self->pool);
    pf_free(self);
}

/* Takes what the job owns on success. */
static enum pf_status ask(struct pf_jobs *self, enum pf_job_kind kind, uint32_t number,
                          const struct job *inputs, struct pf_error *err)
{
    struct pf_job_result *result = PF_ALLOC(1, struct pf_job_result);
    if (result == NULL) return pf_no_memory(err, "a job");
    result->kind = kind;
    result->number = number;
    pthread_mutex_lock(&self->mutex);
    assert(self->n_queued < MAX_JOBS);
    struct job *job = &self->queue[self->n_queued++];
    *job = *inputs;
    job->result = result;
    pthread_cond_signal(&self->asked);
    pthread_mutex_unlock(&self->mutex);
    return PF_OK;
}

enum pf_status pf_jobs_baseline(struct pf_jobs *self, struct pf_error *err)
{
    return ask(self, PF_JOB_BASELINE, 0, &(const struct job){0}, err);
}

enum pf_status pf_jobs_combine(struct pf_jobs *self, uint32_t stage, struct pf_error *err)
{
    assert(stage < self->schedule->n_stages);
    return ask(self, PF_JOB_COMBINE, stage, &(const struct job){0}, err);
}

enum pf_status pf_jobs_apply(struct pf_jobs *self, uint32_t round, struct pf_sum **sum,
                             struct pf_error *err)
{
    const struct job inputs = {.sum = *sum};
    PF_TRY(ask(self, PF_JOB_APPLY, round, &inputs, err));
    *sum = NULL;
    return PF_OK;
}

enum pf_status pf_jobs_apply_secure(struct pf_jobs *self, uint32_t round,
                                    struct pf_unmasking **unmasking,
                                    const struct pf_codec_config *codec, struct pf_error *err)
{
    const struct job inputs = {.unmasking = *unmasking, .codec = *codec};
    PF_TRY(ask(self, PF_JOB_APPLY, round, &inputs, err));
    *unmasking = NULL;
    return PF_OK;
}

struct pf_job_result *pf_jobs_take(struct pf_jobs *self)
{
    pthread_mutex_lock(&self->mutex);
    struct pf_job_result *result = NULL;
    if (self->n_results > 0) {
        result = self->results[0];
        self->results[0] = self->results[1];
        self->n_results--;
    }
    pthread_mutex_unlock(&self->mutex);
    return result;
}
