#include "participant/local_trainer.h"

#include <assert.h>
#include <math.h>
#include <pthread.h>
#include <string.h>

#include "common/base/memory.h"
#include "participant/order.h"

static enum pf_status evaluate_some(const struct pf_local_training *self,
                                    const struct pf_model *global, struct pf_pool *pool,
                                    const struct pf_progress *progress, struct pf_update *update,
                                    struct pf_error *err)
{
    struct pf_dataset some = *self->dataset; /* borrows the images */
    struct pf_evaluation evaluation;
    some.n_images = PF_MIN(some.n_images, (size_t)PF_EVALUATED_IMAGES);
    PF_TRY(pf_evaluate(global, &some, pool, progress, &evaluation, err));
    update->figures[PF_FIGURE_EVALUATED] = evaluation.n_images;
    update->figures[PF_FIGURE_CORRECT] = evaluation.n_correct;
    return PF_OK;
}

enum pf_status pf_local_update(const struct pf_local_training *self, const struct pf_model *global,
                               const struct pf_model *teacher, uint32_t round,
                               const struct pf_training_order *order, bool evaluate,
                               struct pf_pool *pool, const struct pf_progress *progress,
                               struct pf_update *update, struct pf_error *err)
{
    PF_CLEANUP(pf_model_destroyp) struct pf_model *local = NULL;
    PF_CLEANUP(pf_update_finish) struct pf_update made = {.n = global->n_parameters};
    struct pf_train_options options;
    assert(teacher != NULL || order->distill_weight <= 0.0); /* the session has fetched it */
    made.figures[PF_FIGURE_EXAMPLES] = self->dataset->n_images;
    made.values = PF_ALLOC(made.n, float);
    if (made.values == NULL) return pf_no_memory(err, "an update");
    if (evaluate) PF_TRY(evaluate_some(self, global, pool, progress, &made, err));
    PF_TRY(pf_model_clone(global, &local, err));
    pf_order_options(order, self->seed, round, self->dataset->n_images, &self->augmentation,
                     &options);
    options.activations = self->activations;
    options.proximal = order->proximal;
    options.proximal_anchor = order->proximal > 0.0 ? global->parameters : NULL;
    options.teacher = teacher;
    PF_TRY(pf_train(local, self->dataset, &options, pool, progress, err));
    for (size_t i = 0; i < made.n; i++) {
        made.values[i] = local->parameters[i] - global->parameters[i];
        if (!isfinite(made.values[i]))
            return pf_fail(err, PF_CORRUPT, "the local training diverged: a parameter is %g",
                           (double)made.values[i]);
    }
    *update = made;
    made = (struct pf_update){0};
    return PF_OK;
}

struct job {
    uint64_t number; /* 0: none */
    uint32_t round;
    struct pf_model *global, *teacher; /* owned; teacher NULL: none */
    struct pf_training_order order;
    bool evaluate;
};

struct pf_local_trainer {
    struct pf_local_training training;
    struct pf_pool *pool;
    pf_local_trainer_wake *wake;
    void *context;
    pthread_t thread;
    bool started; /* the thread and what follows exist */

    pthread_mutex_t mutex; /* guards everything below */
    pthread_cond_t work_ready;
    bool quit;
    uint64_t wanted; /* the job whose result somebody waits for; 0: none */
    struct job pending;
    bool running;
    size_t steps_done, steps_total;
    bool has_result;
    struct pf_local_trainer_result result;

    atomic_bool stop; /* of the running job */
};

static void job_finish(struct job *job)
{
    pf_model_destroy(job->global);
    pf_model_destroy(job->teacher);
    *job = (struct job){0};
}

static void on_progress(void *context, const char *what, size_t done, size_t total,
                        const char *detail)
{
    (void)what, (void)detail; /* the detail has private figures */
    struct pf_local_trainer *self = context;
    pthread_mutex_lock(&self->mutex);
    self->steps_done = done;
    self->steps_total = total;
    pthread_mutex_unlock(&self->mutex);
}

static void run_job(struct pf_local_trainer *self, const struct job *job,
                    struct pf_local_trainer_result *result)
{
    const struct pf_progress progress = {
        .update = on_progress, .context = self, .stop = &self->stop};
    *result = (struct pf_local_trainer_result){.job = job->number};
    result->status =
        pf_local_update(&self->training, job->global, job->teacher, job->round, &job->order,
                        job->evaluate, self->pool, &progress, &result->update, &result->err);
}

/* Waits for a job and takes it; false: quit. */
static bool take_job(struct pf_local_trainer *self, struct job *job)
{
    pthread_mutex_lock(&self->mutex);
    while (!self->quit && self->pending.number == 0)
        pthread_cond_wait(&self->work_ready, &self->mutex);
    bool quit = self->quit;
    if (!quit) {
        *job = self->pending;
        self->pending = (struct job){0};
        self->running = true;
        self->steps_done = self->steps_total = 0;
        atomic_store(&self->stop, false);
    }
    pthread_mutex_unlock(&self->mutex);
    return !quit;
}

static void deliver(struct pf_local_trainer *self, struct pf_local_trainer_result *result)
{
    pthread_mutex_lock(&self->mutex);
    bool wanted = result->job == self->wanted;
    self->running = false;
    if (wanted) {
        self->result = *result;
        self->has_result = true;
    }
    pthread_mutex_unlock(&self->mutex);
    if (wanted)
        self->wake(self->context);
    else
        pf_update_finish(&result->update);
}

static void *work(void *context)
{
    struct pf_local_trainer *self = context;
    struct job job;
    while (take_job(self, &job)) {
        struct pf_local_trainer_result result;
        run_job(self, &job, &result);
        job_finish(&job);
        deliver(self, &result);
    }
    return NULL;
}

enum pf_status pf_local_trainer_create(const struct pf_local_training *training, size_t n_threads,
                                       pf_local_trainer_wake *wake, void *context,
                                       struct pf_local_trainer **trainer, struct pf_error *err)
{
    PF_CLEANUP(pf_local_trainer_destroyp)
    struct pf_local_trainer *self = PF_ALLOC(1, struct pf_local_trainer);
    if (self == NULL) return pf_no_memory(err, "the trainer");
    self->training = *training;
    self->wake = wake;
    self->context = context;
    PF_TRY(pf_pool_create(n_threads, &self->pool, err));
    pthread_mutex_init(&self->mutex, NULL);
    pthread_cond_init(&self->work_ready, NULL);
    if (pthread_create(&self->thread, NULL, work, self) != 0) {
        pthread_cond_destroy(&self->work_ready);
        pthread_mutex_destroy(&self->mutex);
        return pf_fail(err, PF_IO, "no thread for training: the system allows no more");
    }
    self->started = true;
    *trainer = self;
    self = NULL;
    return PF_OK;
}

/* With the mutex held. */
static void drop_work(struct pf_local_trainer *self)
{
    job_finish(&self->pending);
    self->wanted = 0;
    if (self->has_result) pf_update_finish(&self->result.update);
    self->has_result = false;
    atomic_store(&self->stop, true);
}

void pf_local_trainer_destroy(struct pf_local_trainer *self)
{
    if (self == NULL) return;
    if (self->started) {
        pthread_mutex_lock(&self->mutex);
        drop_work(self);
        self->quit = true;
        pthread_cond_signal(&self->work_ready);
        pthread_mutex_unlock(&self->mutex);
        pthread_join(self->thread, NULL);
        pthread_cond_destroy(&self->work_ready);
        pthread_mutex_destroy(&self->mutex);
    }
    pf_pool_destroy(self->pool);
    pf_free(self);
}

enum pf_status pf_local_trainer_start(struct pf_local_trainer *self, uint64_t job, uint32_t round,
                                      const struct pf_model *global, const struct pf_model *teacher,
                                      const struct pf_training_order *order, bool evaluate,
                                      struct pf_error *err)
{
    PF_CLEANUP(job_finish)
    struct job made = {.number = job, .round = round, .order = *order, .evaluate = evaluate};
    PF_TRY(pf_model_clone(global, &made.global, err));
    if (teacher != NULL) PF_TRY(pf_model_clone(teacher, &made.teacher, err));
    pthread_mutex_lock(&self->mutex);
    drop_work(self);
    self->wanted = job;
    self->pending = made;
    made = (struct job){0};
    pthread_cond_signal(&self->work_ready);
    pthread_mutex_unlock(&self->mutex);
    return PF_OK;
}

void pf_local_trainer_cancel(struct pf_local_trainer *self)
{
    pthread_mutex_lock(&self->mutex);
    drop_work(self);
    pthread_mutex_unlock(&self->mutex);
}

bool pf_local_trainer_poll(struct pf_local_trainer *self, struct pf_local_trainer_result *result)
{
    pthread_mutex_lock(&self->mutex);
    bool has_result = self->has_result;
    if (has_result) *result = self->result;
    self->has_result = false;
    pthread_mutex_unlock(&self->mutex);
    return has_result;
}

bool pf_local_trainer_steps(struct pf_local_trainer *self, size_t *done, size_t *total)
{
    pthread_mutex_lock(&self->mutex);
    bool known = self->running && self->wanted != 0 && self->steps_total > 0;
    *done = self->steps_done;
    *total = self->steps_total;
    pthread_mutex_unlock(&self->mutex);
    return known;
}

const char *pf_local_trainer_public_sentence(enum pf_status status)
{
    switch (status) {
    case PF_CORRUPT: return "the local training diverged";
    case PF_NO_MEMORY: return "out of memory";
    case PF_INTERRUPTED: return "interrupted";
    default: return "the local training could not be run";
    }
}
