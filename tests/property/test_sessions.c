/* Coordinator and participants together, plain sums, under every weather: a run ends within bounded
 * time, by success or by a sentence; the sum of a completed round is that of its members' updates,
 * each once; a receipt means that the update is in the sum; same seed, same course.
 *
 * PF_SEED=n runs that seed alone, in every weather. */
#include "seeded_random.h"
#include "seeds.h"
#include "testing.h"

static void test_on_a_perfect_line_every_update_of_every_round_counts(void **state)
{
    (void)state;
    const struct weather perfect = {.aggregation = PF_AGGREGATION_PLAIN, .eager = true};
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct pf_in_process_result outcome;
        run_seed("perfect", seed, &perfect, &outcome);
        assert_true(outcome.success);
        assert_int_equal(outcome.rounds_completed, WORLD_ROUNDS);
        assert_int_equal(outcome.rounds_abandoned, 0);
        assert_int_equal(outcome.updates_counted, WORLD_ROUNDS * outcome.n_participants);
        assert_int_equal(outcome.sums_verified, WORLD_ROUNDS);
        assert_int_equal(outcome.participants_done, outcome.n_participants);
        assert_int_equal(count_refused(&outcome), 0);
    }
}

static void test_a_model_of_several_chunks(void **state)
{
    (void)state;
    const struct weather chunky = {.aggregation = PF_AGGREGATION_PLAIN,
                                   .faults = {.lost = 0.05, .repeated = 0.05, .late = 0.1},
                                   .large_model = true};
    struct totals totals = run_seeds("chunky", 4, &chunky);
    assert_true(totals.n_success > 0);
}

static void test_on_a_perfect_line_a_teacher_is_fetched_once_in_a_run(void **state)
{
    (void)state;
    const struct weather perfect = {
        .aggregation = PF_AGGREGATION_PLAIN, .large_model = true, .eager = true, .distils = true};
    for (uint64_t seed = 1; seed <= 5; seed++) {
        struct pf_in_process_result outcome;
        run_seed("perfect, distilling", seed, &perfect, &outcome);
        assert_true(outcome.success);
        assert_int_equal(outcome.rounds_completed, WORLD_ROUNDS);
        assert_int_equal(outcome.sums_verified, WORLD_ROUNDS);
        assert_true(outcome.teacher_chunks > 1);
        assert_int_equal(outcome.teacher_chunks_sent,
                         outcome.n_participants * outcome.teacher_chunks);
        assert_int_equal(count_refused(&outcome), 0);
    }
}

static void test_distillation_in_every_weather(void **state)
{
    (void)state;
    const struct weather windy = {.aggregation = PF_AGGREGATION_PLAIN,
                                  .faults = {.lost = 0.05, .repeated = 0.1, .late = 0.1},
                                  .large_model = true,
                                  .distils = true};
    struct totals totals = run_seeds("windy, distilling", 8, &windy);
    assert_true(one_seed() || totals.n_success > 0);
    struct weather storm = {.aggregation = PF_AGGREGATION_PLAIN,
                            .faults = {.lost = 0.2,
                                       .repeated = 0.2,
                                       .late = 0.3,
                                       .training_fails = 0.1,
                                       .job_fails = 0.1,
                                       .kills_per_minute = 1.0,
                                       .killed_for_good = 0.2,
                                       .ledger = true,
                                       .coordinator_leaves = true},
                            .distils = true};
    totals = run_seeds("storm, distilling", 60, &storm);
    assert_true(one_seed() || totals.n_success > 0);
    storm.faults.damaged = 0.2;
    totals = run_seeds("hostile, distilling", 60, &storm);
    assert_true(totals.refused > 0);
}

static void test_lost_repeated_and_reordered_frames(void **state)
{
    (void)state;
    const struct weather windy = {.aggregation = PF_AGGREGATION_PLAIN,
                                  .faults = {.lost = 0.05, .repeated = 0.1, .late = 0.1}};
    struct totals totals = run_seeds("windy", 60, &windy);
    /* A line like this is bad, not hopeless. */
    assert_true(one_seed() || totals.n_success >= 50);
}

static void test_kills_and_restarts(void **state)
{
    (void)state;
    const struct weather deadly = {
        .aggregation = PF_AGGREGATION_PLAIN,
        .faults = {.kills_per_minute = 1.0, .killed_for_good = 0.1, .coordinator_leaves = true}};
    run_seeds("deadly", 60, &deadly);
    struct weather remembered = deadly;
    remembered.faults.ledger = true;
    run_seeds("deadly with a ledger", 60, &remembered);
}

static void test_everything_at_once(void **state)
{
    (void)state;
    const struct weather storm = {.aggregation = PF_AGGREGATION_PLAIN,
                                  .faults = {.lost = 0.2,
                                             .repeated = 0.2,
                                             .late = 0.3,
                                             .training_fails = 0.1,
                                             .job_fails = 0.1,
                                             .kills_per_minute = 1.0,
                                             .killed_for_good = 0.2,
                                             .ledger = true,
                                             .coordinator_leaves = true}};
    struct totals totals = run_seeds("storm", 100, &storm);
    /* Both ends of a run are seen. */
    assert_true(one_seed() || (totals.n_success > 0 && totals.n_success < totals.n_runs));
}

static void test_a_dead_line_ends_in_sentences(void **state)
{
    (void)state;
    const struct weather dead = {.aggregation = PF_AGGREGATION_PLAIN, .faults = {.lost = 1.0}};
    for (uint64_t seed = 1; seed <= 5; seed++) {
        struct pf_in_process_result outcome;
        run_seed("dead", seed, &dead, &outcome);
        assert_false(outcome.success);
        assert_int_equal(outcome.participants_failed, outcome.n_participants);
        assert_true(outcome.duration_ms <= 121000);
    }
}

static void test_damaged_frames_reach_no_assertion(void **state)
{
    (void)state;
    const struct weather hostile = {.aggregation = PF_AGGREGATION_PLAIN,
                                    .faults = {.lost = 0.05,
                                               .repeated = 0.1,
                                               .late = 0.1,
                                               .damaged = 0.2,
                                               .kills_per_minute = 0.5,
                                               .coordinator_leaves = true}};
    struct totals totals = run_seeds("hostile", 100, &hostile);
    assert_true(totals.refused > 0);
}

static void test_the_same_seed_takes_the_same_course(void **state)
{
    (void)state;
    const struct weather weather = {.aggregation = PF_AGGREGATION_PLAIN,
                                    .faults = {.lost = 0.1, .repeated = 0.1, .late = 0.2}};
    for (uint64_t seed = 1; seed <= 5; seed++) {
        struct pf_in_process_result first, second;
        run_seed("repeated", seed, &weather, &first);
        run_seed("repeated", seed, &weather, &second);
        assert_same_course(&first, &second);
        assert_true(first.fingerprint != 0 || first.rounds_completed == 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_on_a_perfect_line_every_update_of_every_round_counts),
        cmocka_unit_test(test_a_model_of_several_chunks),
        cmocka_unit_test(test_on_a_perfect_line_a_teacher_is_fetched_once_in_a_run),
        cmocka_unit_test(test_distillation_in_every_weather),
        cmocka_unit_test(test_lost_repeated_and_reordered_frames),
        cmocka_unit_test(test_kills_and_restarts),
        cmocka_unit_test(test_everything_at_once),
        cmocka_unit_test(test_a_dead_line_ends_in_sentences),
        cmocka_unit_test(test_damaged_frames_reach_no_assertion),
        cmocka_unit_test(test_the_same_seed_takes_the_same_course),
    };
    seeded_random_install();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
