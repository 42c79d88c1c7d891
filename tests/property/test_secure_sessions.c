/* Coordinator and participants together, secure sums, under every weather: each completed round's
 * sum is the survivors' plain sum, bit for bit; a receipt means that the update is in the sum, or
 * that the round is abandoned; all who consent in a round consent to one set, that of the sum;
 * nothing waits for ever; same seed, same course.
 *
 * PF_SEED=n runs that seed alone, in every weather. */
#include "seeded_random.h"
#include "seeds.h"
#include "testing.h"

static void test_on_a_perfect_line_every_update_of_every_round_counts(void **state)
{
    (void)state;
    const struct weather perfect = {.aggregation = PF_AGGREGATION_SECURE, .eager = true};
    for (uint64_t seed = 1; seed <= 10; seed++) {
        struct pf_in_process_result result;
        run_seed("perfect", seed, &perfect, &result);
        assert_true(result.success);
        assert_int_equal(result.rounds_completed, WORLD_ROUNDS);
        assert_int_equal(result.rounds_abandoned, 0);
        assert_int_equal(result.updates_counted, WORLD_ROUNDS * result.n_participants);
        assert_int_equal(result.sums_verified, WORLD_ROUNDS);
        assert_int_equal(result.participants_done, result.n_participants);
        assert_int_equal(count_refused(&result), 0);
        assert_int_equal(result.parameters.graph, PF_GRAPH_COMPLETE);
    }
}

static void test_regular_graphs(void **state)
{
    (void)state;
    const struct weather regular = {.aggregation = PF_AGGREGATION_SECURE,
                                    .faults = {.lost = 0.02, .repeated = 0.05, .late = 0.05},
                                    .graph = PF_GRAPH_HARARY,
                                    .dropouts_borne = 0.15,
                                    .least_players = 7,
                                    .most_players = 14};
    struct totals totals = run_seeds("regular graphs", 10, &regular);
    assert_true(one_seed() || totals.verified >= 20);
}

static void test_a_model_of_several_chunks(void **state)
{
    (void)state;
    const struct weather chunky = {.aggregation = PF_AGGREGATION_SECURE,
                                   .faults = {.lost = 0.05, .repeated = 0.05, .late = 0.1},
                                   .large_model = true};
    struct totals totals = run_seeds("chunky", 4, &chunky);
    assert_true(totals.verified > 0);
}

static void test_distillation(void **state)
{
    (void)state;
    struct weather perfect = {.aggregation = PF_AGGREGATION_SECURE, .eager = true, .distils = true};
    for (uint64_t seed = 1; seed <= 5; seed++) {
        struct pf_in_process_result result;
        run_seed("perfect, distilling", seed, &perfect, &result);
        assert_true(result.success);
        assert_int_equal(result.rounds_abandoned, 0);
        assert_int_equal(result.sums_verified, WORLD_ROUNDS);
        assert_int_equal(result.teacher_chunks_sent, result.n_participants * result.teacher_chunks);
        assert_int_equal(count_refused(&result), 0);
    }
    struct weather rough = {.aggregation = PF_AGGREGATION_SECURE,
                            .faults = {.lost = 0.05,
                                       .repeated = 0.1,
                                       .late = 0.1,
                                       .kills_per_minute = 0.3,
                                       .killed_for_good = 0.1,
                                       .ledger = true},
                            .distils = true};
    struct totals totals = run_seeds("rough, distilling", 20, &rough);
    assert_true(one_seed() || totals.n_success > 0);
    rough.faults.damaged = 0.1;
    run_seeds("hostile, distilling", 20, &rough);
}

static void test_lost_repeated_and_reordered_frames(void **state)
{
    (void)state;
    const struct weather windy = {.aggregation = PF_AGGREGATION_SECURE,
                                  .faults = {.lost = 0.05, .repeated = 0.1, .late = 0.1}};
    struct totals totals = run_seeds("windy", 40, &windy);
    /* A line like this is bad, not hopeless. */
    assert_true(one_seed() || totals.n_success >= 30);
}

static void test_dropouts_at_each_step(void **state)
{
    (void)state;
    static const enum pf_in_process_step steps[] = {PF_IN_PROCESS_ADVERTISE, PF_IN_PROCESS_SHARE,
                                                    PF_IN_PROCESS_MASK, PF_IN_PROCESS_CONSENT,
                                                    PF_IN_PROCESS_UNMASK};
    for (size_t i = 0; i < PF_ARRAY_LENGTH(steps); i++) {
        const struct weather thinning = {.aggregation = PF_AGGREGATION_SECURE,
                                         .faults = {.late = 0.1,
                                                    .repeated = 0.05,
                                                    .dropouts = 0.2,
                                                    .drop_at = steps[i],
                                                    .ledger = i % 2 == 0},
                                         .least_players = 5,
                                         .most_players = 9};
        struct totals totals = run_seeds(pf_in_process_step_name(steps[i]), 12, &thinning);
        if (one_seed()) continue;
        assert_true(totals.dropouts[steps[i]] >= 20);
        assert_true(totals.completed_after[steps[i]] >= 4 && totals.verified >= 12);
    }
}

/* In regular graphs all must reveal: such rounds end by name, and the run with them. */
static void test_dropouts_in_regular_graphs(void **state)
{
    (void)state;
    struct weather thinning = {
        .aggregation = PF_AGGREGATION_SECURE,
        .faults = {.repeated = 0.05, .dropouts = 0.12, .drop_at = PF_IN_PROCESS_ANYWHERE},
        .graph = PF_GRAPH_HARARY,
        .dropouts_borne = 0.25,
        .least_players = 9,
        .most_players = 16};
    struct totals totals = run_seeds("regular graphs, dropouts", 12, &thinning);
    assert_true(one_seed() || totals.verified >= 12);
    thinning.faults.drop_at = PF_IN_PROCESS_REVEAL;
    totals = run_seeds("regular graphs, reveal", 4, &thinning);
    assert_true(one_seed() || (totals.dropouts[PF_IN_PROCESS_REVEAL] > 0 && totals.abandoned > 0));
}

static void test_kills_and_restarts(void **state)
{
    (void)state;
    struct weather deadly = {
        .aggregation = PF_AGGREGATION_SECURE,
        .faults = {.kills_per_minute = 1.0, .killed_for_good = 0.1, .coordinator_leaves = true}};
    run_seeds("deadly", 40, &deadly);
    deadly.faults.ledger = true;
    struct totals totals = run_seeds("deadly with a ledger", 40, &deadly);
    assert_true(one_seed() || (totals.verified > 0 && totals.abandoned > 0));
}

static void test_everything_at_once(void **state)
{
    (void)state;
    const struct weather storm = {.aggregation = PF_AGGREGATION_SECURE,
                                  .faults = {.lost = 0.15,
                                             .repeated = 0.2,
                                             .late = 0.2,
                                             .training_fails = 0.05,
                                             .job_fails = 0.1,
                                             .dropouts = 0.2,
                                             .drop_at = PF_IN_PROCESS_ANYWHERE,
                                             .kills_per_minute = 0.5,
                                             .killed_for_good = 0.2,
                                             .ledger = true,
                                             .coordinator_leaves = true},
                                  .most_players = 9};
    struct totals totals = run_seeds("storm", 60, &storm);
    if (one_seed()) return;
    /* Both ends of a run are seen, sums come of it, and what is turned away has a name. */
    assert_true(totals.n_success > 0 && totals.n_success < totals.n_runs);
    assert_true(totals.verified > 0);
    assert_true(totals.refusals[PF_REASON_LATE] > 0 && totals.refusals[PF_REASON_STEP] > 0);
    assert_true(totals.refusals[PF_REASON_NONE] == 0);
}

static void test_a_dead_line_ends_in_sentences(void **state)
{
    (void)state;
    const struct weather dead = {.aggregation = PF_AGGREGATION_SECURE, .faults = {.lost = 1.0}};
    for (uint64_t seed = 1; seed <= 3; seed++) {
        struct pf_in_process_result result;
        run_seed("dead", seed, &dead, &result);
        assert_false(result.success);
        assert_int_equal(result.participants_failed, result.n_participants);
        assert_true(result.duration_ms <= 121000);
    }
}

static void test_damaged_frames_reach_no_assertion(void **state)
{
    (void)state;
    const struct weather hostile = {.aggregation = PF_AGGREGATION_SECURE,
                                    .faults = {.lost = 0.02,
                                               .repeated = 0.1,
                                               .late = 0.1,
                                               .damaged = 0.1,
                                               .kills_per_minute = 0.3,
                                               .coordinator_leaves = true}};
    struct totals totals = run_seeds("hostile", 60, &hostile);
    assert_true(one_seed() || totals.refused > 0);
    assert_true(one_seed() || totals.refusals[PF_REASON_SIGNATURE] > 0);
}

static void test_the_same_seed_takes_the_same_course(void **state)
{
    (void)state;
    const struct weather weathers[] = {
        {.aggregation = PF_AGGREGATION_SECURE,
         .faults = {.lost = 0.1, .repeated = 0.1, .late = 0.2}},
        {.aggregation = PF_AGGREGATION_SECURE,
         .faults = {.late = 0.1, .dropouts = 0.15, .drop_at = PF_IN_PROCESS_ANYWHERE},
         .graph = PF_GRAPH_HARARY,
         .dropouts_borne = 0.2,
         .least_players = 8,
         .most_players = 12},
    };
    for (uint64_t seed = 1; seed <= 4; seed++) {
        struct pf_in_process_result first, second;
        const struct weather *weather = &weathers[seed % PF_ARRAY_LENGTH(weathers)];
        run_seed("repeated", seed, weather, &first);
        run_seed("repeated", seed, weather, &second);
        assert_same_course(&first, &second);
        assert_true(first.fingerprint != 0 || first.rounds_completed == 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_on_a_perfect_line_every_update_of_every_round_counts),
        cmocka_unit_test(test_regular_graphs),
        cmocka_unit_test(test_a_model_of_several_chunks),
        cmocka_unit_test(test_distillation),
        cmocka_unit_test(test_lost_repeated_and_reordered_frames),
        cmocka_unit_test(test_dropouts_at_each_step),
        cmocka_unit_test(test_dropouts_in_regular_graphs),
        cmocka_unit_test(test_kills_and_restarts),
        cmocka_unit_test(test_everything_at_once),
        cmocka_unit_test(test_a_dead_line_ends_in_sentences),
        cmocka_unit_test(test_damaged_frames_reach_no_assertion),
        cmocka_unit_test(test_the_same_seed_takes_the_same_course),
    };
    seeded_random_install();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
