/* Secure rounds: each step, who is lost in it, what the sum says, rounds that cannot be. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "secure_fixture.h"

static int setup(void **state)
{
    struct pf_coordinator_session_config config = sx_config();
    *state = sx_create(&config, SX_SMALL);
    return 0;
}

static int teardown(void **state)
{
    sx_destroy(*state);
    return 0;
}

/* ---- the way through ---------------------------------------------------------------------- */

static void test_rounds_to_the_end(void **state)
{
    struct secure_fixture *sx = *state;
    const enum pf_message_kind once[] = {PF_MESSAGE_KEY_LIST, PF_MESSAGE_SHARE_DELIVERY,
                                         PF_MESSAGE_UPDATE_RECEIPT, PF_MESSAGE_SURVIVORS,
                                         PF_MESSAGE_UNMASK_REQUEST};
    sx_start(sx);
    for (uint32_t round = 1; round <= 4; round++) {
        assert_int_equal(sx->fx->asked.offer[BOB].round, round);
        assert_int_equal(sx->fx->asked.offer[BOB].masking.value_bits, 16);
        sx_settle(sx);
        sx_assert_mean(sx, SX_MEAN_OF_ALL, 4);
        for (size_t k = 0; k < PF_ARRAY_LENGTH(once); k++)
            assert_int_equal(sx->fx->asked.sent[CAROL][once[k]], round);
        const struct pf_round_record *record = &sx->fx->asked.record;
        assert_true(record->figures_known);
        assert_int_equal(record->figures[PF_FIGURE_EXAMPLES], 100);
        assert_int_equal(record->figures[PF_FIGURE_EVALUATED], 400);
        assert_int_equal(record->figures[PF_FIGURE_CORRECT], 50 + 51 + 52 + 53);
        if (round == 2) fx_job_done(sx->fx, 55); /* the second stage's combining */
    }
    assert_int_equal(sx_phase(sx), PF_COORDINATOR_DONE);
    assert_true(sx->fx->asked.success);
    assert_null(strstr(sx->fx->asked.events, "dropped"));
}

static void test_says_who_is_awaited(void **state)
{
    struct secure_fixture *sx = *state;
    char text[256];
    const struct {
        enum pf_coordinator_phase phase;
        const char *says;
    } steps[] = {
        {PF_COORDINATOR_ADVERTISING, "advertising: 0 of 4 keys · waiting for alice, bob, carol and "
                                     "dave until 3s"},
        {PF_COORDINATOR_SHARING, "sharing: 0 of 4 key shares · waiting for alice, bob, carol and "
                                 "dave until 3s"},
        {PF_COORDINATOR_COLLECTING, "0 of 4 updates · waiting for alice, bob, carol and dave"},
        {PF_COORDINATOR_CONSENTING, "consenting: 0 of 4 consents · waiting for alice, bob, carol "
                                    "and dave until 6s"},
        {PF_COORDINATOR_UNMASKING, "unmasking: 0 of 4 answers · waiting for alice, bob, carol and "
                                   "dave until 6s"},
    };
    sx_start(sx);
    for (size_t s = 0; s < PF_ARRAY_LENGTH(steps); s++) {
        sx_settle_until(sx, steps[s].phase);
        pf_coordinator_session_describe(sx->fx->session, sx->fx->now, text, sizeof text);
        if (strstr(text, steps[s].says) == NULL) fail_msg("%s", text);
    }
    while (sx_step(sx, BOB)) continue;
    pf_coordinator_session_describe(sx->fx->session, sx->fx->now, text, sizeof text);
    assert_non_null(strstr(text, "1 of 4 answers · waiting for alice, carol and dave"));
}

static void test_table_of_steps(void **state)
{
    (void)state;
    const enum pf_coordinator_phase order[] = {
        PF_COORDINATOR_WAITING,    PF_COORDINATOR_ADVERTISING, PF_COORDINATOR_SHARING,
        PF_COORDINATOR_COLLECTING, PF_COORDINATOR_CONSENTING,  PF_COORDINATOR_UNMASKING,
        PF_COORDINATOR_APPLYING};
    for (size_t i = 1; i < PF_ARRAY_LENGTH(order); i++) {
        assert_true(pf_coordinator_phase_allowed(order[i - 1], order[i]));
        assert_true(pf_coordinator_phase_allowed(order[i], PF_COORDINATOR_WAITING));
        assert_true(pf_coordinator_phase_allowed(order[i], PF_COORDINATOR_FAILED));
        if (i > 1) assert_false(pf_coordinator_phase_allowed(order[i], order[i - 1]));
    }
    /* No way around consent and unmasking but the plain one, from COLLECTING. */
    assert_false(
        pf_coordinator_phase_allowed(PF_COORDINATOR_ADVERTISING, PF_COORDINATOR_COLLECTING));
    assert_false(pf_coordinator_phase_allowed(PF_COORDINATOR_COLLECTING, PF_COORDINATOR_UNMASKING));
    assert_false(pf_coordinator_phase_allowed(PF_COORDINATOR_CONSENTING, PF_COORDINATOR_APPLYING));
}

/* An update of several chunks, and the model asked for beside the steps. */
static void test_long_updates_and_model_requests(void **state)
{
    struct pf_coordinator_session_config config = sx_config();
    config.masking.clip[0] = config.masking.clip[1] = 2000;
    sx_renew((struct secure_fixture **)state, &config, N_PARAMETERS);
    struct secure_fixture *sx = *state;
    sx_start(sx);
    fx_request(sx->fx, ALICE, 0);
    sx_settle_until(sx, PF_COORDINATOR_SHARING);
    fx_request(sx->fx, ALICE, 1);
    sx_settle_until(sx, PF_COORDINATOR_COLLECTING);
    fx_request(sx->fx, ALICE, 1);
    assert_int_equal(sx->fx->asked.n_chunks, 3);
    sx_settle_until(sx, PF_COORDINATOR_CONSENTING);
    fx_request(sx->fx, ALICE, 1);
    assert_int_equal(sx->fx->asked.n_chunks, 3);
    assert_int_equal(sx->fx->asked.refusal[ALICE].reason, PF_REASON_LATE);
    assert_true(sx->fx->session->n_update_chunks > 1);
    assert_int_equal(sx->fx->asked.sent[DAVE][PF_MESSAGE_UPDATE_GRANT], 1);
    for (size_t i = 0; i < N_MEMBERS; i++) assert_null(sx->fx->session->members[i].update);
    sx_settle(sx);
    sx_assert_mean(sx, SX_MEAN_OF_ALL, 4);
}

/* ---- who is lost -------------------------------------------------------------------------- */

/* Dave lives but does not react to one kind of message. */
static void lose_dave_at(struct secure_fixture *sx, enum pf_message_kind kind, const char *event)
{
    sx->players[DAVE].stops_at = kind;
    sx_start(sx);
    sx_settle(sx);
    while (sx_phase(sx) != PF_COORDINATOR_APPLYING && sx->fx->asked.n_rounds == 0)
        sx_pass(sx, 100000, sx_all_alive);
    if (!sx_said(sx, event)) fail_msg("not said: %s\n%s", event, sx->fx->asked.events);
    sx_assert_mean(sx, SX_MEAN_WITHOUT_DAVE, 3);
    assert_string_equal(sx->fx->asked.record.text, "without dave");
    assert_int_equal(sx->fx->asked.record.dropped, 1);
    assert_int_equal(sx->fx->asked.offer[DAVE].round, 2); /* asked again in the next round */
}

static void test_without_keys(void **state)
{
    lose_dave_at(*state, PF_MESSAGE_ROUND_OFFER,
                 "round 1: dave dropped while advertising: no keys by the step's deadline");
}

static void test_without_shares(void **state)
{
    lose_dave_at(*state, PF_MESSAGE_KEY_LIST,
                 "round 1: dave dropped while sharing: no key shares by the step's deadline");
}

static void test_without_update(void **state)
{
    lose_dave_at(*state, PF_MESSAGE_SHARE_DELIVERY,
                 "round 1: dave dropped while collecting: no whole update by the deadline");
}

/* From here on it is a survivor. */
static void lose_survivor_at(struct secure_fixture *sx, enum pf_message_kind kind,
                             const bool alive[N_MEMBERS], int64_t at_most_ms)
{
    sx->players[DAVE].stops_at = kind;
    sx_start(sx);
    sx_settle(sx);
    int64_t begin = sx->fx->now;
    while (sx_phase(sx) != PF_COORDINATOR_APPLYING && sx->fx->asked.n_rounds == 0)
        sx_pass(sx, 100000, alive);
    assert_true(sx->fx->now - begin <= at_most_ms);
    assert_false(sx_said(sx, "dropped"));
    sx_assert_mean(sx, SX_MEAN_OF_ALL, 4);
    assert_string_equal(sx->fx->asked.record.text, "");
    assert_int_equal(sx->fx->asked.record.dropped, 0);
}

static void test_survivor_that_does_not_consent(void **state)
{
    lose_survivor_at(*state, PF_MESSAGE_SURVIVORS, sx_all_alive, PF_CONSENT_LINGER_MS);
}

static void test_survivor_that_does_not_unmask(void **state)
{
    lose_survivor_at(*state, PF_MESSAGE_UNMASK_REQUEST, sx_all_alive, PF_UNMASK_LINGER_MS);
}

/* Once it is known to be silent, nobody waits for it. */
static void test_silent_survivor(void **state)
{
    lose_survivor_at(*state, PF_MESSAGE_SURVIVORS, sx_all_but_dave, LIVENESS_MS);
    assert_true(sx_said(*state, "dave is silent"));
}

/* One that is known to be silent when the last step begins is not lingered for. */
static void test_survivor_that_fell_silent_after_consenting(void **state)
{
    struct secure_fixture *sx = *state;
    sx_start(sx);
    sx_settle_until(sx, PF_COORDINATOR_CONSENTING);
    while (sx_step(sx, DAVE)) continue;
    sx->players[DAVE].deaf = true;
    for (int i = 0; i < 4; i++) {
        fx_tick(sx->fx, LIVENESS_MS / 4);
        for (size_t m = 0; m < N_MEMBERS; m++)
            if (m != DAVE) fx_alive(sx->fx, m, 1);
    }
    assert_true(sx_said(sx, "dave is silent"));
    sx_settle(sx);
    sx_assert_mean(sx, SX_MEAN_OF_ALL, 4);
}

static void test_restarts(void **state)
{
    const struct {
        enum pf_coordinator_phase phase;
        const char *event;
        bool counted;
    } cases[] = {
        {PF_COORDINATOR_SHARING, "round 1: dave dropped while sharing: restarted", false},
        {PF_COORDINATOR_COLLECTING, "round 1: dave dropped while collecting: restarted", false},
        {PF_COORDINATOR_CONSENTING,
         "round 1: dave answers no more while consenting: restarted; its update stays counted",
         true},
        {PF_COORDINATOR_UNMASKING,
         "round 1: dave answers no more while unmasking: restarted; its update stays counted",
         true},
    };
    for (size_t c = 0; c < PF_ARRAY_LENGTH(cases); c++) {
        struct pf_coordinator_session_config config = sx_config();
        sx_renew((struct secure_fixture **)state, &config, SX_SMALL);
        struct secure_fixture *sx = *state;
        sx_start(sx);
        sx_settle_until(sx, cases[c].phase);
        sx_restart(sx, DAVE);
        if (!sx_said(sx, cases[c].event)) fail_msg("%s", sx->fx->asked.events);
        sx_restart(sx, DAVE); /* once more changes nothing */
        sx_settle(sx);        /* and nobody waits for him */
        sx_assert_mean(sx, cases[c].counted ? SX_MEAN_OF_ALL : SX_MEAN_WITHOUT_DAVE,
                       cases[c].counted ? 4 : 3);
        assert_int_equal(sx->fx->asked.offer[DAVE].round, 2);
        /* All is forgotten in the next round: it is waited for in every step. */
        sx->players[DAVE].stops_at = PF_MESSAGE_SURVIVORS;
        sx_settle(sx);
        assert_int_equal(sx_phase(sx), PF_COORDINATOR_CONSENTING);
        assert_true(pf_cs_awaited(sx->fx->session, DAVE));
    }
}

/* Keys are drawn once a round: one that advertised and restarted is out, too. */
static void test_restart_after_advertising(void **state)
{
    struct secure_fixture *sx = *state;
    sx_start(sx);
    while (sx_step(sx, DAVE)) continue;
    assert_int_equal(sx_phase(sx), PF_COORDINATOR_ADVERTISING);
    sx_restart(sx, DAVE);
    assert_true(sx_said(sx, "round 1: dave dropped while advertising: restarted"));
    sx_settle(sx);
    sx_assert_mean(sx, SX_MEAN_WITHOUT_DAVE, 3);
}

static void test_declines(void **state)
{
    struct secure_fixture *sx = *state;
    sx_start(sx);
    sx_settle_until(sx, PF_COORDINATOR_CONSENTING);
    fx_decline(sx->fx, DAVE, 1, "a second set");
    assert_true(sx_said(sx, "round 1: dave answers no more while consenting: declined: policy: a "
                            "second set; its update stays counted"));
    sx_settle(sx);
    sx_assert_mean(sx, SX_MEAN_OF_ALL, 4);
    sx_settle_until(sx, PF_COORDINATOR_SHARING);
    fx_decline(sx->fx, DAVE, 2, "no such list");
    assert_true(sx_said(sx, "round 2: dave dropped while sharing: declined: policy: no such list"));
    sx_settle(sx);
    sx_assert_mean(sx, SX_MEAN_WITHOUT_DAVE, 3);
}

static void test_declining_the_run(void **state)
{
    struct secure_fixture *sx = *state;
    sx_start(sx);
    sx_settle_until(sx, PF_COORDINATOR_SHARING);
    fx_decline(sx->fx, DAVE, 0, "another network");
    assert_true(sx_said(sx, "dave takes no part in this run: declined: policy: another network"));
    assert_true(sx_said(sx, "round 1: dave dropped while sharing: declined the run"));
    size_t n_events = sx->fx->asked.n_events;
    fx_decline(sx->fx, DAVE, 0, "another network");
    assert_int_equal(sx->fx->asked.n_events, n_events);
    sx_settle(sx);
    sx_assert_mean(sx, SX_MEAN_WITHOUT_DAVE, 3);
    assert_int_equal(sx->fx->asked.offer[ALICE].cohort, 3);
    assert_int_equal(sx->fx->asked.offer[DAVE].round, 1);
    fx_hello(sx->fx, DAVE); /* not even so */
    sx_settle(sx);
    sx_apply(sx);
    fx_job_done(sx->fx, 60);
    assert_int_equal(sx->fx->asked.offer[ALICE].round, 3);
    assert_int_equal(sx->fx->asked.offer[DAVE].round, 1);
    /* With one more gone no round is possible: the run ends at once, by name. */
    fx_decline(sx->fx, CAROL, 0, "enough");
    assert_int_equal(sx_phase(sx), PF_COORDINATOR_FAILED);
    assert_non_null(strstr(sx->fx->asked.sentence, "carol and dave declined to take part"));
}

/* The steps before the update leave most of a short round to it. */
static void test_steps_of_a_short_round(void **state)
{
    struct pf_coordinator_session_config config = sx_config();
    config.round_timeout_ms = 2000;
    sx_renew((struct secure_fixture **)state, &config, SX_SMALL);
    struct secure_fixture *sx = *state;
    sx->players[DAVE].stops_at = PF_MESSAGE_ROUND_OFFER;
    sx_start(sx);
    sx_settle(sx);
    assert_int_equal(sx_phase(sx), PF_COORDINATOR_ADVERTISING);
    assert_true(sx_pass(sx, 10000, sx_all_alive) <= 2000 / 4);
    sx_settle(sx);
    sx_assert_mean(sx, SX_MEAN_WITHOUT_DAVE, 3);
}

/* ---- rounds that cannot be ------------------------------------------------------------------ */

/* Two of four stop at a step: too few for anything. */
static void test_too_few_in_each_step(void **state)
{
    const struct {
        enum pf_message_kind kind;
        const char *why;
    } cases[] = {
        {PF_MESSAGE_ROUND_OFFER, "2 member(s) with keys of the 3 needed; without carol and dave"},
        {PF_MESSAGE_KEY_LIST,
         "2 member(s) that shared keys of the 3 needed; without carol and dave"},
        {PF_MESSAGE_SHARE_DELIVERY, "2 update(s) of the 3 needed; without carol and dave"},
        {PF_MESSAGE_SURVIVORS, "of 4 consented to the survivor set"},
        {PF_MESSAGE_UNMASK_REQUEST, "2 of 4 asked have answered"},
    };
    for (size_t c = 0; c < PF_ARRAY_LENGTH(cases); c++) {
        struct pf_coordinator_session_config config = sx_config();
        sx_renew((struct secure_fixture **)state, &config, SX_SMALL);
        struct secure_fixture *sx = *state;
        sx->players[CAROL].stops_at = sx->players[DAVE].stops_at = cases[c].kind;
        sx_start(sx);
        sx_settle(sx);
        for (int i = 0; i < 10 && sx->fx->asked.n_rounds == 0; i++)
            sx_pass(sx, 100000, sx_all_alive);
        assert_int_equal(sx->fx->asked.n_rounds, 1);
        assert_false(sx->fx->asked.record.completed);
        assert_int_equal(sx->fx->asked.n_apply, 0);
        if (strstr(sx->fx->asked.record.text, cases[c].why) == NULL)
            fail_msg("%s", sx->fx->asked.record.text);
        /* The next attempt is a round of its own. */
        sx->players[CAROL].stops_at = sx->players[DAVE].stops_at = (enum pf_message_kind)0;
        for (int i = 0; i < 10 && sx->fx->asked.n_apply == 0; i++) sx_pass(sx, 1000, sx_all_alive);
        assert_int_equal(sx->fx->asked.apply_round, 2);
        sx_assert_mean(sx, SX_MEAN_OF_ALL, 4);
    }
}

static void test_masks_that_do_not_come_off(void **state)
{
    struct secure_fixture *sx = *state;
    sx_start(sx);
    sx_settle(sx);
    fx_job_failed(sx->fx, PF_REFUSED, "the seed of bob cannot be had");
    assert_false(sx->fx->asked.record.completed);
    assert_false(sx->fx->asked.record.figures_known);
    assert_int_equal(sx->fx->asked.offer[ALICE].round, 2);
}

/* ---- regular graphs ----------------------------------------------------------------------- */

static void test_regular_graph(void **state)
{
    struct pf_coordinator_session_config config = sx_ring_config();
    sx_renew((struct secure_fixture **)state, &config, SX_SMALL);
    struct secure_fixture *sx = *state;
    sx_start(sx);
    sx_settle_until(sx, PF_COORDINATOR_REVEALING);
    char text[256];
    pf_coordinator_session_describe(sx->fx->session, sx->fx->now, text, sizeof text);
    assert_non_null(strstr(text, "revealing: 0 of 4 parts of the graph · waiting for alice"));
    sx_settle(sx);
    assert_int_equal(sx->fx->asked.sent[BOB][PF_MESSAGE_COMMITTED], 1);
    sx_assert_mean(sx, SX_MEAN_OF_ALL, 4);
}

static void test_graph_without_a_part(void **state)
{
    for (int restart = 0; restart < 2; restart++) {
        struct pf_coordinator_session_config config = sx_ring_config();
        sx_renew((struct secure_fixture **)state, &config, SX_SMALL);
        struct secure_fixture *sx = *state;
        sx->players[DAVE].stops_at = PF_MESSAGE_COMMITTED;
        sx_start(sx);
        sx_settle(sx);
        assert_int_equal(sx_phase(sx), PF_COORDINATOR_REVEALING);
        if (restart)
            sx_restart(sx, DAVE); /* no need to wait for the deadline */
        else
            sx_pass(sx, 2 * KEY_MS, sx_all_alive);
        assert_int_equal(sx->fx->asked.n_rounds, 1);
        assert_string_equal(sx->fx->asked.record.text,
                            "the graph cannot be drawn without the part of dave");
    }
}

/* One that advertised and was lost before the cohort was fixed: the graph is drawn without it. */
static void test_who_leaves_before_the_cohort_is_fixed_costs_nothing(void **state)
{
    struct pf_coordinator_session_config config = sx_ring_config();
    sx_renew((struct secure_fixture **)state, &config, SX_SMALL);
    struct secure_fixture *sx = *state;
    sx_start(sx);
    while (sx_step(sx, DAVE)) continue;
    assert_int_equal(sx_phase(sx), PF_COORDINATOR_ADVERTISING);
    sx_restart(sx, DAVE);
    sx_settle(sx);
    assert_int_equal(sx->fx->asked.n_rounds, 0);
    sx_assert_mean(sx, SX_MEAN_WITHOUT_DAVE, 3);
}

int main(void)
{
#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_rounds_to_the_end),
        TEST(test_says_who_is_awaited),
        TEST(test_table_of_steps),
        TEST(test_long_updates_and_model_requests),
        TEST(test_without_keys),
        TEST(test_without_shares),
        TEST(test_without_update),
        TEST(test_survivor_that_does_not_consent),
        TEST(test_survivor_that_does_not_unmask),
        TEST(test_silent_survivor),
        TEST(test_survivor_that_fell_silent_after_consenting),
        TEST(test_restarts),
        TEST(test_restart_after_advertising),
        TEST(test_declines),
        TEST(test_declining_the_run),
        TEST(test_steps_of_a_short_round),
        TEST(test_too_few_in_each_step),
        TEST(test_masks_that_do_not_come_off),
        TEST(test_regular_graph),
        TEST(test_graph_without_a_part),
        TEST(test_who_leaves_before_the_cohort_is_fixed_costs_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
