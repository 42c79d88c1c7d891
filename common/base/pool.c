#include "common/base/pool.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "common/base/clock.h"
#include "common/base/memory.h"

#define MAX_THREADS 256u

/* Waking a thread takes about as long, and the next run of shards often comes at once: who waits
 * looks for it that long before it sleeps. */
#define LOOK_SECONDS 50e-6
#define PAUSES_PER_LOOK 16u

struct pf_pool {
    pthread_mutex_t mutex;
    pthread_cond_t work_ready;
    pthread_cond_t work_done;
    pthread_t threads[MAX_THREADS];
    size_t n_workers; /* threads besides the caller */
    bool stopping;
    bool looks; /* before it sleeps: every thread has a core of its own */

    /* The current run; guarded by mutex except that a claimed shard is the claimer's own. */
    pf_shard_function *function;
    void *context;
    size_t n_shards;
    size_t next_shard;
    size_t n_finished;

    /* For those who look before they sleep. */
    atomic_size_t runs, finished_runs;
};

static void look_for_change(const struct pf_pool *self, const atomic_size_t *counter, size_t known)
{
    if (!self->looks) return;
    double end = pf_clock_seconds() + LOOK_SECONDS;
    do {
        for (unsigned i = 0; i < PAUSES_PER_LOOK; i++) {
            if (atomic_load_explicit(counter, memory_order_relaxed) != known) return;
            PF_PAUSE();
        }
    } while (pf_clock_seconds() < end);
}

/* Runs shards until none is left.  The mutex is held on entry and on return. */
static void run_shards(struct pf_pool *self)
{
    while (self->next_shard < self->n_shards) {
        size_t shard = self->next_shard++;
        pf_shard_function *function = self->function;
        void *context = self->context;
        pthread_mutex_unlock(&self->mutex);
        function(context, shard);
        pthread_mutex_lock(&self->mutex);
        if (++self->n_finished < self->n_shards) continue;
        atomic_fetch_add_explicit(&self->finished_runs, 1, memory_order_relaxed);
        pthread_cond_signal(&self->work_done);
    }
}

static void *worker_main(void *argument)
{
    struct pf_pool *self = argument;
    pthread_mutex_lock(&self->mutex);
    while (!self->stopping) {
        run_shards(self);
        size_t runs = atomic_load_explicit(&self->runs, memory_order_relaxed);
        pthread_mutex_unlock(&self->mutex);
        look_for_change(self, &self->runs, runs);
        pthread_mutex_lock(&self->mutex);
        while (!self->stopping && self->next_shard == self->n_shards)
            pthread_cond_wait(&self->work_ready, &self->mutex);
    }
    pthread_mutex_unlock(&self->mutex);
    return NULL;
}

static size_t available_cores(void)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) != 0) return 1;
    int count = CPU_COUNT(&set);
    return count > 0 ? (size_t)count : 1;
}

enum pf_status pf_pool_create(size_t n_threads, struct pf_pool **pool, struct pf_error *err)
{
    if (n_threads == 0) n_threads = available_cores();
    if (n_threads > MAX_THREADS)
        return pf_fail(err, PF_INVALID, "%zu threads are too many: give at most %u", n_threads,
                       MAX_THREADS);
    struct pf_pool *self = PF_ALLOC(1, struct pf_pool);
    if (self == NULL) return pf_no_memory(err, "a thread pool");
    self->looks = n_threads <= available_cores();
    pthread_mutex_init(&self->mutex, NULL);
    pthread_cond_init(&self->work_ready, NULL);
    pthread_cond_init(&self->work_done, NULL);
    while (self->n_workers + 1 < n_threads) {
        if (pthread_create(&self->threads[self->n_workers], NULL, worker_main, self) != 0) {
            pf_pool_destroy(self);
            return pf_fail(err, PF_IO, "cannot start %zu threads: give fewer (--threads)",
                           n_threads);
        }
        self->n_workers++;
    }
    *pool = self;
    return PF_OK;
}

void pf_pool_destroy(struct pf_pool *self)
{
    if (self == NULL) return;
    pthread_mutex_lock(&self->mutex);
    self->stopping = true;
    pthread_cond_broadcast(&self->work_ready);
    pthread_mutex_unlock(&self->mutex);
    for (size_t i = 0; i < self->n_workers; i++) pthread_join(self->threads[i], NULL);
    pthread_cond_destroy(&self->work_done);
    pthread_cond_destroy(&self->work_ready);
    pthread_mutex_destroy(&self->mutex);
    pf_free(self);
}

size_t pf_pool_n_threads(const struct pf_pool *self)
{
    return self->n_workers + 1;
}

void pf_pool_run(struct pf_pool *self, size_t n_shards, pf_shard_function *function, void *context)
{
    if (self->n_workers == 0) {
        for (size_t shard = 0; shard < n_shards; shard++) function(context, shard);
        return;
    }
    pthread_mutex_lock(&self->mutex);
    self->function = function;
    self->context = context;
    self->n_shards = n_shards;
    self->next_shard = 0;
    self->n_finished = 0;
    size_t finished_runs = atomic_load_explicit(&self->finished_runs, memory_order_relaxed);
    atomic_fetch_add_explicit(&self->runs, 1, memory_order_relaxed);
    pthread_cond_broadcast(&self->work_ready);
    run_shards(self);
    pthread_mutex_unlock(&self->mutex);
    look_for_change(self, &self->finished_runs, finished_runs);
    pthread_mutex_lock(&self->mutex);
    while (self->n_finished < self->n_shards) pthread_cond_wait(&self->work_done, &self->mutex);
    self->n_shards = 0;
    self->next_shard = 0;
    pthread_mutex_unlock(&self->mutex);
}
