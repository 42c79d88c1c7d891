#include "seeds.h"

#include <stdlib.h>

#include "testing.h"

void run_seed(const char *name, uint64_t seed, const struct weather *weather,
              struct pf_in_process_result *result)
{
    const char *complaint = world_run(seed, weather, result);
    if (complaint == NULL) return;
    print_error("%s weather, PF_SEED=%llu: %s\n", name, (unsigned long long)seed, complaint);
    fail();
}

bool one_seed(void)
{
    return getenv("PF_SEED") != NULL;
}

uint64_t count_refused(const struct pf_in_process_result *result)
{
    uint64_t n = result->coordinator.malformed + result->coordinator.unexpected +
                 result->participants.malformed + result->participants.unexpected;
    for (size_t i = 0; i < PF_REASON_N; i++)
        n += result->coordinator.refused[i] + result->participants.refused[i];
    return n;
}

static void add(struct totals *totals, const struct pf_in_process_result *result)
{
    totals->n_runs++;
    totals->n_success += result->success;
    totals->completed += result->rounds_completed;
    totals->abandoned += result->rounds_abandoned;
    totals->failed_players += result->participants_failed;
    totals->refused += count_refused(result);
    totals->verified += result->sums_verified;
    for (size_t i = 0; i < PF_REASON_N; i++)
        totals->refusals[i] += result->coordinator.refused[i] + result->participants.refused[i];
    for (size_t s = 0; s < PF_IN_PROCESS_N_STEPS; s++) {
        totals->dropouts[s] += result->steps[s].dropouts;
        totals->completed_after[s] += result->steps[s].dropouts > 0 && result->rounds_completed > 0;
    }
}

struct totals run_seeds(const char *name, size_t n_seeds, const struct weather *weather)
{
    struct totals totals = {0};
    const char *wanted = getenv("PF_SEED");
    for (uint64_t seed = 1; seed <= n_seeds; seed++) {
        struct pf_in_process_result result = {0};
        run_seed(name, wanted != NULL ? strtoull(wanted, NULL, 10) : seed, weather, &result);
        add(&totals, &result);
        if (wanted != NULL) break;
    }
    print_message("%s: %zu runs, %zu successes, %llu rounds completed, %llu abandoned, %llu sums "
                  "compared, %llu participants failed, %llu messages refused\n",
                  name, totals.n_runs, totals.n_success, (unsigned long long)totals.completed,
                  (unsigned long long)totals.abandoned, (unsigned long long)totals.verified,
                  (unsigned long long)totals.failed_players, (unsigned long long)totals.refused);
    return totals;
}

void assert_same_course(const struct pf_in_process_result *a, const struct pf_in_process_result *b)
{
    assert_true(a->fingerprint == b->fingerprint && a->frames == b->frames);
    assert_true(a->duration_ms == b->duration_ms && a->success == b->success);
    assert_string_equal(a->sentence, b->sentence);
    assert_int_equal(a->rounds_completed, b->rounds_completed);
    assert_int_equal(a->rounds_abandoned, b->rounds_abandoned);
    assert_int_equal(a->updates_counted, b->updates_counted);
    assert_int_equal(a->participants_failed, b->participants_failed);
    assert_memory_equal(&a->coordinator, &b->coordinator, sizeof a->coordinator);
    assert_memory_equal(&a->participants, &b->participants, sizeof a->participants);
    for (size_t s = 0; s < PF_IN_PROCESS_N_STEPS; s++) {
        assert_int_equal(a->steps[s].up_bytes, b->steps[s].up_bytes);
        assert_int_equal(a->steps[s].down_bytes, b->steps[s].down_bytes);
        assert_int_equal(a->steps[s].dropouts, b->steps[s].dropouts);
    }
}
