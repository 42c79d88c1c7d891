/* The crew of threads: every shard once, whatever the number of threads, run after run. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>
#include <time.h>

#include "common/base/pool.h"

#define MAX_SHARDS 5000

struct tally {
    atomic_int count[MAX_SHARDS];
};

static void count_shard(void *context, size_t shard)
{
    struct tally *self = context;
    atomic_fetch_add(&self->count[shard], 1);
}

static struct pf_pool *create(size_t n_threads)
{
    struct pf_pool *pool = NULL;
    struct pf_error err = {0};
    if (pf_pool_create(n_threads, &pool, &err) != PF_OK) fail_msg("%s", err.text);
    return pool;
}

static void every_shard_runs_once(void **state)
{
    (void)state;
    static const size_t threads[] = {1, 2, 3, 8};
    static const size_t shards[] = {0, 1, 2, 7, MAX_SHARDS};
    for (size_t t = 0; t < PF_ARRAY_LENGTH(threads); t++) {
        PF_CLEANUP(pf_pool_destroyp) struct pf_pool *pool = create(threads[t]);
        assert_int_equal(pf_pool_n_threads(pool), threads[t]);
        for (size_t s = 0; s < PF_ARRAY_LENGTH(shards); s++) {
            static struct tally tally;
            memset(&tally, 0, sizeof tally);
            pf_pool_run(pool, shards[s], count_shard, &tally);
            for (size_t i = 0; i < MAX_SHARDS; i++)
                assert_int_equal(atomic_load(&tally.count[i]), i < shards[s]);
        }
    }
}

/* Run returns only when all shards are done, so plain memory written by them may be read. */
static void square_shard(void *context, size_t shard)
{
    ((size_t *)context)[shard] = shard * shard;
}

static void a_pool_is_reused_many_times(void **state)
{
    (void)state;
    PF_CLEANUP(pf_pool_destroyp) struct pf_pool *pool = create(4);
    for (size_t run = 0; run < 2000; run++) {
        size_t results[16];
        size_t n = run % 17;
        memset(results, 0xFF, sizeof results);
        pf_pool_run(pool, n, square_shard, results);
        for (size_t i = 0; i < 16; i++) assert_true(results[i] == (i < n ? i * i : SIZE_MAX));
    }
}

struct meeting {
    size_t n_guests;
    pthread_t host; /* the thread that calls pf_pool_run */
    atomic_size_t present;
    atomic_bool all_met, given_up;
    bool done[3]; /* plain memory: read after the run without any lock */
};

static void pause_ms(long milliseconds)
{
    const struct timespec time = {.tv_nsec = milliseconds * 1000000};
    nanosleep(&time, NULL);
}

/* Each shard waits until all run at one time; threads other than the host's finish late. */
static void meet_shard(void *context, size_t shard)
{
    struct meeting *self = context;
    if (atomic_fetch_add(&self->present, 1) + 1 == self->n_guests)
        atomic_store(&self->all_met, true);
    for (int i = 0; !atomic_load(&self->all_met) && !atomic_load(&self->given_up); i++) {
        pause_ms(1);
        if (i == 10000) atomic_store(&self->given_up, true);
    }
    if (!pthread_equal(pthread_self(), self->host)) pause_ms(20);
    self->done[shard] = true;
}

static void shards_run_at_one_time_and_all_are_waited_for(void **state)
{
    (void)state;
    PF_CLEANUP(pf_pool_destroyp) struct pf_pool *pool = create(3);
    for (size_t run = 0; run < 4; run++) {
        pause_ms(20); /* so that the threads lie asleep and must be woken */
        struct meeting meeting = {.n_guests = 2 + run % 2, .host = pthread_self()};
        pf_pool_run(pool, meeting.n_guests, meet_shard, &meeting);
        for (size_t i = 0; i < meeting.n_guests; i++) assert_true(meeting.done[i]);
        assert_false(atomic_load(&meeting.given_up));
    }
}

static void pools_come_and_go(void **state)
{
    (void)state;
    for (int i = 0; i < 50; i++) pf_pool_destroy(create(3)); /* some before any thread waits */
    pf_pool_destroy(NULL);
    PF_CLEANUP(pf_pool_destroyp) struct pf_pool *pool = create(0);
    assert_true(pf_pool_n_threads(pool) >= 1); /* one per core */
}

static void too_many_threads_are_refused(void **state)
{
    (void)state;
    struct pf_pool *pool = NULL;
    struct pf_error err = {0};
    assert_int_equal(pf_pool_create(257, &pool, &err), PF_INVALID);
    assert_string_equal(err.text, "257 threads are too many: give at most 256");
    assert_int_equal(pf_pool_create(SIZE_MAX, &pool, &err), PF_INVALID);
    assert_null(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_shard_runs_once),
        cmocka_unit_test(a_pool_is_reused_many_times),
        cmocka_unit_test(shards_run_at_one_time_and_all_are_waited_for),
        cmocka_unit_test(pools_come_and_go),
        cmocka_unit_test(too_many_threads_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
