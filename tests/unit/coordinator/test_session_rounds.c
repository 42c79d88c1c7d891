/* The course of a run: phases, cohorts, quorum, deadlines, and that nothing waits for ever. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "session_fixture.h"

static int setup(void **state)
{
    struct pf_coordinator_session_config config = fx_config();
    *state = fx_create(&config);
    return 0;
}

static int teardown(void **state)
{
    fx_destroy(*state);
    return 0;
}

static void test_run_to_the_end(void **state)
{
    struct fixture *fx = *state;
    fx_start(fx);
    for (uint32_t round = 1; round <= 4; round++) {
        assert_int_equal(fx->asked.offer[ALICE].round, round);
        assert_int_equal(fx->asked.offer[ALICE].stage, round <= 2 ? 1 : 2);
        assert_int_equal(fx->asked.offer[ALICE].cohort, 4);
        for (size_t i = 0; i < N_MEMBERS; i++) fx_update(fx, i, round, (float)i);
        assert_int_equal(fx->asked.n_apply, round);
        assert_int_equal(fx->asked.apply_round, round);
        float *mean = calloc(N_PARAMETERS, sizeof *mean);
        assert_int_equal(pf_sum_mean(fx->asked.sum, mean, NULL), PF_OK);
        assert_true(fabsf(mean[0] - 1.5f) < 1e-6f && fabsf(mean[N_PARAMETERS - 1] - 1.5f) < 1e-6f);
        free(mean);
        fx_job_done(fx, 60 + round);
        assert_int_equal(fx->asked.record.round, round);
        assert_int_equal(fx->asked.record.included, 4);
        assert_true(fx->asked.record.completed);
        assert_true(fabs(fx->asked.result[BOB].accuracy_percent - (60 + round)) < 1e-9);
        if (round == 2) fx_job_done(fx, 55); /* the second stage's combining */
    }
    assert_int_equal(fx->asked.n_combine, 2);
    assert_int_equal(fx->asked.n_finish, 1);
    assert_true(fx->asked.success);
    assert_int_equal(fx->session->phase, PF_COORDINATOR_DONE);
    for (size_t i = 0; i < N_MEMBERS; i++) {
        assert_int_equal(fx->asked.sent[i][PF_MESSAGE_FINISHED], 1);
        assert_int_equal(fx->asked.sent[i][PF_MESSAGE_UPDATE_RECEIPT], 4);
    }
    assert_true(pf_coordinator_session_wake_ms(fx->session) == INT64_MAX);
    /* Who asks after the end is told. */
    fx_hello(fx, DAVE);
    assert_int_equal(fx->asked.sent[DAVE][PF_MESSAGE_FINISHED], 2);
}

static void test_schedule_is_cut_by_rounds(void **state)
{
    struct fixture *fx = *state;
    fx_start(fx);
    assert_true(fabs(fx->asked.offer[BOB].order.schedule_begin - 0.0) < 1e-12);
    assert_true(fabs(fx->asked.offer[BOB].order.schedule_end - 0.4) < 1e-12);
    for (size_t i = 0; i < N_MEMBERS; i++) fx_update(fx, i, 1, 1);
    fx_job_done(fx, 60);
    assert_true(fabs(fx->asked.offer[BOB].order.schedule_begin - 0.4) < 1e-12);
    assert_true(fabs(fx->asked.offer[BOB].order.schedule_end - 0.8) < 1e-12);
    assert_int_equal(fx->asked.offer[BOB].order.batch, 8);
}

static void test_table_forbids(void **state)
{
    (void)state;
    const enum pf_coordinator_phase ends[] = {PF_COORDINATOR_DONE, PF_COORDINATOR_FAILED};
    for (size_t e = 0; e < 2; e++)
        for (int to = 0; to < PF_COORDINATOR_N_PHASES; to++)
            assert_false(pf_coordinator_phase_allowed(ends[e], (enum pf_coordinator_phase)to));
    assert_false(pf_coordinator_phase_allowed(PF_COORDINATOR_WAITING, PF_COORDINATOR_APPLYING));
    assert_false(pf_coordinator_phase_allowed(PF_COORDINATOR_COMBINING, PF_COORDINATOR_COLLECTING));
    assert_false(pf_coordinator_phase_allowed(PF_COORDINATOR_COLLECTING, PF_COORDINATOR_DONE));
    assert_false(pf_coordinator_phase_allowed(PF_COORDINATOR_APPLYING, PF_COORDINATOR_COLLECTING));
    assert_true(pf_coordinator_phase_allowed(PF_COORDINATOR_COLLECTING, PF_COORDINATOR_APPLYING));
    for (int from = 0; from < PF_COORDINATOR_DONE; from++)
        assert_true(
            pf_coordinator_phase_allowed((enum pf_coordinator_phase)from, PF_COORDINATOR_FAILED));
}

static void test_gathers_before_the_first_round(void **state)
{
    struct fixture *fx = *state;
    fx_hello(fx, ALICE);
    fx_hello(fx, BOB);
    fx_hello(fx, CAROL);
    assert_int_equal(fx->asked.n_combine, 0);
    fx_tick(fx, GATHER_MS - 1);
    assert_int_equal(fx->asked.n_combine, 0);
    assert_true(pf_coordinator_session_wake_ms(fx->session) == fx->now + 1);
    fx_tick(fx, 1);
    assert_int_equal(fx->asked.n_combine, 1);
    fx_job_done(fx, 50);
    assert_int_equal(fx->asked.offer[ALICE].cohort, 3);
    assert_int_equal(fx->asked.sent[DAVE][PF_MESSAGE_ROUND_OFFER], 0);
}

static void test_all_members_start_at_once(void **state)
{
    struct fixture *fx = *state;
    for (size_t i = 0; i < N_MEMBERS; i++) fx_hello(fx, i);
    assert_int_equal(fx->asked.n_combine, 1);
}

static void test_nobody_comes(void **state)
{
    struct fixture *fx = *state;
    int64_t took = fx_run_silent(fx, 1000000);
    assert_int_equal(took, JOIN_MS);
    assert_int_equal(fx->session->phase, PF_COORDINATOR_FAILED);
    assert_false(fx->asked.success);
    assert_non_null(strstr(fx->asked.sentence, "0 member(s) of the 3 needed came within 10 s"));
    assert_non_null(strstr(fx->asked.sentence, "alice, bob, carol and dave"));
}

static void test_missing_members_are_named(void **state)
{
    struct fixture *fx = *state;
    fx_hello(fx, BOB);
    fx_hello(fx, DAVE);
    for (int i = 0; i < 20; i++) {
        fx_alive(fx, BOB, 0);
        fx_alive(fx, DAVE, 0);
        fx_tick(fx, 500);
    }
    assert_int_equal(fx->asked.n_finish, 1);
    assert_non_null(strstr(fx->asked.sentence, "2 member(s) of the 3 needed"));
    assert_non_null(strstr(fx->asked.sentence, "missing: alice and carol"));
    assert_int_equal(fx->asked.sent[BOB][PF_MESSAGE_FINISHED], 1);
    assert_int_equal(fx->asked.sent[ALICE][PF_MESSAGE_FINISHED], 0);
}

static void test_killed_member_is_dropped_by_liveness(void **state)
{
    struct fixture *fx = *state;
    fx_start(fx);
    fx_alive(fx, CAROL, 1);
    for (int i = 0; i < 5; i++) {
        fx_tick(fx, 500);
        fx_alive(fx, ALICE, 1);
        fx_alive(fx, BOB, 1);
        fx_alive(fx, DAVE, 1);
    }
    assert_non_null(strstr(fx->asked.events, "round 1: carol dropped: silent: nothing heard"));
    assert_null(strstr(fx->asked.events, "alice dropped"));
    fx_update(fx, ALICE, 1, 1);
    fx_update(fx, BOB, 1, 1);
    assert_int_equal(fx->asked.n_apply, 0);
    fx_update(fx, DAVE, 1, 1);
    assert_int_equal(fx->asked.n_apply, 1); /* not waiting for carol */
    fx_job_done(fx, 60);
    assert_int_equal(fx->asked.record.dropped, 1);
    assert_string_equal(fx->asked.record.text, "without carol");
    /* The next round does without her; a word from her brings her back for the one after. */
    assert_int_equal(fx->asked.offer[ALICE].cohort, 3);
    fx_alive(fx, CAROL, 0);
    assert_non_null(strstr(fx->asked.events, "carol is back"));
    for (size_t i = 0; i < N_MEMBERS; i++)
        if (i != CAROL) fx_update(fx, i, 2, 1);
    fx_job_done(fx, 61);
    fx_job_done(fx, 55);
    assert_int_equal(fx->asked.offer[CAROL].round, 3);
    assert_int_equal(fx->asked.offer[CAROL].cohort, 4);
}

static void test_all_fall_silent(void **state)
{
    struct fixture *fx = *state;
    fx_start(fx);
    int64_t took = fx_run_silent(fx, 10000000);
    assert_int_equal(fx->session->phase, PF_COORDINATOR_FAILED);
    assert_true(took <= LIVENESS_MS + JOIN_MS);
    assert_int_equal(fx->asked.n_rounds, 1);
    assert_false(fx->asked.record.completed);
    assert_non_null(strstr(fx->asked.record.text, "0 update(s) of the 2 needed"));
    assert_non_null(strstr(fx->asked.sentence, "missing: alice, bob, carol and dave"));
}

/* Alive for ever, never an update: the worst that peers can do without being dropped. */
static void test_alive_without_updates_ends(void **state)
{
    struct fixture *fx = *state;
    fx_start(fx);
    int64_t begin = fx->now;
    while (!pf_cs_ended(fx->session) && fx->now - begin < 1000000) {
        for (size_t i = 0; i < N_MEMBERS; i++) fx_alive(fx, i, fx->session->round);
        fx_tick(fx, 100);
    }
    assert_int_equal(fx->session->phase, PF_COORDINATOR_FAILED);
    assert_true(fx->now - begin <= 3 * (ROUND_MS + 100));
    assert_int_equal(fx->asked.n_rounds, 3);
    assert_int_equal(fx->session->round, 3); /* each attempt has its own number */
    assert_non_null(strstr(fx->asked.sentence, "3 round(s) in a row were abandoned"));
    assert_non_null(strstr(fx->asked.events, "no whole update by the deadline"));
}

/* One chunk a second keeps nobody waiting past the deadline either. */
static void test_trickling_update_ends(void **state)
{
    struct fixture *fx = *state;
    fx_start(fx);
    for (size_t i = 0; i < 3; i++) fx_update(fx, i, 1, 1);
    for (int i = 0; i < 4; i++) {
        fx_tick(fx, 1000);
        for (size_t m = 0; m < 3; m++) fx_alive(fx, m, 0);
        fx_chunk(fx, DAVE, 1, (uint32_t)i % 2, 1);
    }
    assert_int_equal(fx->session->members[DAVE].n_received, 2);
    assert_int_equal(fx->asked.n_apply, 0);
    assert_true(pf_coordinator_session_wake_ms(fx->session) == fx->now + 1000); /* the deadline */
    fx_tick(fx, 1000);
    assert_int_equal(fx->asked.n_apply, 1);
    assert_int_equal(pf_sum_count(fx->asked.sum), 3);
    assert_null(fx->session->members[DAVE].update);
}

static void test_quorum_edge(void **state)
{
    struct fixture *fx = *state;
    fx_start(fx);
    fx_update(fx, ALICE, 1, 1);
    fx_update(fx, BOB, 1, 3);
    fx_decline(fx, CAROL, 1, "busy");
    assert_int_equal(fx->asked.n_apply, 0);
    fx_decline(fx, DAVE, 1, "busy");
    assert_int_equal(fx->asked.n_apply, 1); /* exactly the quorum of two */
    fx_job_done(fx, 60);
    assert_int_equal(fx->asked.record.included, 2);
    assert_int_equal(fx->asked.record.dropped, 2);
    /* One fewer is no round; it is given up as soon as that is certain. */
    fx_update(fx, ALICE, 2, 1);
    fx_decline(fx, CAROL, 2, "busy");
    fx_decline(fx, DAVE, 2, "busy");
    assert_int_equal(fx->asked.n_rounds, 1);
    fx_decline(fx, BOB, 2, "busy");
    assert_int_equal(fx->asked.n_rounds, 2);
    assert_false(fx->asked.record.completed);
    assert_int_equal(fx->asked.record.included, 0);
    assert_non_null(
        strstr(fx->asked.result[ALICE].text, "1 update(s) of the 2 needed; without bob, carol"));
    assert_int_equal(fx->asked.n_apply, 1);
    assert_int_equal(fx->asked.offer[ALICE].round, 3);
    assert_int_equal(fx->asked.offer[ALICE].n_rounds, 5); /* four planned, one lost */
    /* The schedule does not move on with a lost round. */
    assert_true(fabs(fx->asked.offer[ALICE].order.schedule_begin - 0.4) < 1e-12);
}

static void test_completed_round_forgives(void **state)
{
    struct fixture *fx = *state;
    fx_start(fx);
    for (int lost = 0; lost < 2; lost++)
        for (size_t i = 0; i < 3; i++) fx_decline(fx, i, fx->session->round, "busy");
    assert_int_equal(fx->session->failed_in_row, 2);
    uint32_t round = fx->session->round;
    for (size_t i = 0; i < N_MEMBERS; i++) fx_update(fx, i, round, 1);
    fx_job_done(fx, 60);
    assert_int_equal(fx->session->failed_in_row, 0);
    assert_int_equal(fx->asked.n_finish, 0);
}

static void test_combining_fails(void **state)
{
    struct fixture *fx = *state;
    for (size_t i = 0; i < N_MEMBERS; i++) fx_hello(fx, i);
    fx_job_failed(fx, PF_NO_MEMORY, "no memory for a packing");
    assert_int_equal(fx->session->phase, PF_COORDINATOR_FAILED);
    assert_string_equal(fx->asked.sentence, "no memory for a packing");
    assert_int_equal(fx->asked.sent[CAROL][PF_MESSAGE_FINISHED], 1);
}

static void test_refused_mean_abandons_the_round(void **state)
{
    struct fixture *fx = *state;
    fx_start(fx);
    for (size_t i = 0; i < N_MEMBERS; i++) fx_update(fx, i, 1, 1);
    fx_job_failed(fx, PF_REFUSED, "the step makes parameter 3 infinite");
    assert_false(fx->asked.record.completed);
    assert_int_equal(fx->asked.offer[ALICE].round, 2);
    assert_int_equal(fx->session->completed, 0);
}

static void test_failed_apply_ends_the_run(void **state)
{
    struct fixture *fx = *state;
    fx_start(fx);
    for (size_t i = 0; i < N_MEMBERS; i++) fx_update(fx, i, 1, 1);
    fx_job_failed(fx, PF_NO_MEMORY, "no memory for the mean update");
    assert_int_equal(fx->session->phase, PF_COORDINATOR_FAILED);
    assert_string_equal(fx->asked.sentence, "no memory for the mean update");
}

static void test_stop_in_every_phase(void **state)
{
    (void)state;
    const enum pf_coordinator_phase phases[] = {PF_COORDINATOR_WAITING, PF_COORDINATOR_COMBINING,
                                                PF_COORDINATOR_COLLECTING, PF_COORDINATOR_APPLYING};
    for (size_t p = 0; p < PF_ARRAY_LENGTH(phases); p++) {
        enum pf_coordinator_phase phase = phases[p];
        struct pf_coordinator_session_config config = fx_config();
        struct fixture *fx = fx_create(&config);
        fx_hello(fx, ALICE);
        if (phase >= PF_COORDINATOR_COMBINING)
            for (size_t i = 1; i < N_MEMBERS; i++) fx_hello(fx, i);
        if (phase >= PF_COORDINATOR_COLLECTING) fx_job_done(fx, 50);
        if (phase >= PF_COORDINATOR_APPLYING)
            for (size_t i = 0; i < N_MEMBERS; i++) fx_update(fx, i, 1, 1);
        assert_int_equal(fx->session->phase, phase);
        struct pf_error err;
        assert_int_equal(
            pf_coordinator_session_stop(fx->session, fx->now, "stopped on request", &err), PF_OK);
        fx_tick(fx, 0);
        assert_int_equal(fx->session->phase, PF_COORDINATOR_FAILED);
        assert_string_equal(fx->asked.sentence, "stopped on request");
        assert_int_equal(fx->asked.sent[ALICE][PF_MESSAGE_FINISHED], 1);
        /* A job that ends later changes nothing. */
        fx_job_done(fx, 50);
        assert_int_equal(fx->asked.n_finish, 1);
        fx_destroy(fx);
    }
}

static void test_description(void **state)
{
    struct fixture *fx = *state;
    char text[256];
    fx_hello(fx, ALICE);
    assert_string_equal(pf_coordinator_session_describe(fx->session, fx->now, text, sizeof text),
                        "stage 1/2 · 1 of 4 members · waiting for bob, carol and dave until 10s");
    fx_hello(fx, BOB);
    fx_hello(fx, CAROL);
    fx_hello(fx, DAVE);
    fx_job_done(fx, 71.24);
    for (size_t i = 0; i < 3; i++) fx_update(fx, i, 1, 1);
    assert_string_equal(
        pf_coordinator_session_describe(fx->session, fx->now + 1000, text, sizeof text),
        "stage 1/2 · 3 of 4 updates · waiting for dave until 4s · accuracy 71.2 %");
}

static void test_bad_configurations(void **state)
{
    (void)state;
    struct pf_public_identity members[N_MEMBERS] = {0};
    struct pf_coordinator_session_config good = fx_config();
    good.members = members;
    struct pf_coordinator_session_config bad[8];
    for (size_t i = 0; i < 8; i++) bad[i] = good;
    bad[0].min_cohort = 5;
    bad[1].quorum = 4;
    bad[2].quorum = 0;
    bad[3].n_members = 0;
    bad[4].liveness_ms = 100;
    bad[5].schedule.n_stages = 0;
    bad[6].order.batch = 0;
    bad[7].order.momentum = (double)NAN;
    for (size_t i = 0; i < 8; i++) {
        struct pf_coordinator_session *session = NULL;
        struct pf_error err = {0};
        assert_int_equal(pf_coordinator_session_create(&bad[i], 0, &session, &err), PF_INVALID);
        assert_true(strlen(err.text) > 10);
        assert_null(session);
    }
}

static void test_update_too_large_to_send(void **state)
{
    struct fixture *fx = *state;
    for (size_t i = 0; i < N_MEMBERS; i++) fx_hello(fx, i);
    struct pf_served_model model = {.n_bytes = 10, .n_chunks = 1, .n_parameters = SIZE_MAX / 8};
    struct pf_error err;
    assert_int_equal(pf_coordinator_session_job_done(fx->session, fx->now, &model, 50, 1, &err),
                     PF_OK);
    fx_tick(fx, 0);
    assert_int_equal(fx->session->phase, PF_COORDINATOR_FAILED);
    assert_non_null(strstr(fx->asked.sentence, "cannot be sent"));
}

int main(void)
{
#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_run_to_the_end),
        TEST(test_schedule_is_cut_by_rounds),
        TEST(test_table_forbids),
        TEST(test_gathers_before_the_first_round),
        TEST(test_all_members_start_at_once),
        TEST(test_nobody_comes),
        TEST(test_missing_members_are_named),
        TEST(test_killed_member_is_dropped_by_liveness),
        TEST(test_all_fall_silent),
        TEST(test_alive_without_updates_ends),
        TEST(test_trickling_update_ends),
        TEST(test_quorum_edge),
        TEST(test_completed_round_forgives),
        TEST(test_combining_fails),
        TEST(test_refused_mean_abandons_the_round),
        TEST(test_failed_apply_ends_the_run),
        TEST(test_stop_in_every_phase),
        TEST(test_description),
        TEST(test_bad_configurations),
        TEST(test_update_too_large_to_send),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
