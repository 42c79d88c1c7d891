/* Secure rounds: messages that are lost or repeated, what is refused, clipping, configurations. */
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

/* ---- what the network loses --------------------------------------------------------------- */

static const enum pf_coordinator_phase steps[] = {
    PF_COORDINATOR_ADVERTISING, PF_COORDINATOR_REVEALING,  PF_COORDINATOR_SHARING,
    PF_COORDINATOR_COLLECTING,  PF_COORDINATOR_CONSENTING, PF_COORDINATOR_UNMASKING};

static struct secure_fixture *lose_at(void **state, enum pf_coordinator_phase phase)
{
    struct pf_coordinator_session_config config = sx_ring_config();
    sx_renew((struct secure_fixture **)state, &config, SX_SMALL);
    struct secure_fixture *sx = *state;
    sx_start(sx);
    sx_settle_until(sx, phase);
    sx_lose(sx, DAVE);
    sx_settle(sx);
    assert_int_equal(sx_phase(sx), phase);
    return sx;
}

static void test_lost_messages_are_sent_again(void **state)
{
    for (size_t s = 0; s < PF_ARRAY_LENGTH(steps); s++) {
        struct secure_fixture *sx = lose_at(state, steps[s]);
        assert_true(sx_pass(sx, 100000, sx_all_alive) <= LIVENESS_MS / 4 + 250);
        sx_settle(sx);
        sx_assert_mean(sx, SX_MEAN_OF_ALL, 4);
    }
}

/* The driver is told when: it need not poll. */
static void test_wakes_for_repeats_and_deadlines(void **state)
{
    for (size_t s = 0; s < PF_ARRAY_LENGTH(steps); s++) {
        struct secure_fixture *sx = lose_at(state, steps[s]);
        const struct pf_coordinator_session *session = sx->fx->session;
        assert_int_equal(pf_coordinator_session_wake_ms(session), sx->fx->now + LIVENESS_MS / 4);
        sx->players[DAVE].deaf = true;
        int64_t deadline = steps[s] == PF_COORDINATOR_COLLECTING ? session->round_deadline_ms
                                                                 : session->step_deadline_ms;
        while (session->phase == steps[s] && session->round == 1) {
            int64_t wake = pf_coordinator_session_wake_ms(session);
            assert_true(wake > sx->fx->now && wake <= deadline);
            fx_tick(sx->fx, wake - sx->fx->now);
            for (size_t i = 0; i < N_MEMBERS; i++) fx_alive(sx->fx, i, 1);
        }
        assert_true(sx->fx->now <= deadline);
    }
}

static void test_reconnecting_brings_the_step_again(void **state)
{
    for (size_t s = 0; s < PF_ARRAY_LENGTH(steps); s++) {
        struct secure_fixture *sx = lose_at(state, steps[s]);
        fx_hello_again(sx->fx, DAVE, true);
        sx_settle(sx);
        sx_assert_mean(sx, SX_MEAN_OF_ALL, 4);
    }
}

static void test_a_repeated_answer_brings_the_next_step(void **state)
{
    struct secure_fixture *sx = lose_at(state, PF_COORDINATOR_SHARING);
    size_t sent = sx->fx->asked.sent[DAVE][PF_MESSAGE_KEY_LIST];
    sx_repeat_advertise(sx, DAVE); /* too soon */
    assert_int_equal(sx->fx->asked.sent[DAVE][PF_MESSAGE_KEY_LIST], sent);
    sx->fx->now += LIVENESS_MS / 4;
    for (int i = 0; i < 100; i++) sx_repeat_advertise(sx, DAVE);
    assert_int_equal(sx->fx->asked.sent[DAVE][PF_MESSAGE_KEY_LIST], sent + 1);
    assert_int_equal(sx->fx->session->counters.repeated, 101);
    sx_settle(sx);
    sx_assert_mean(sx, SX_MEAN_OF_ALL, 4);
}

/* Those at work are not pestered: ever longer pauses while updates are awaited. */
static void test_repeats_get_rarer_while_training(void **state)
{
    struct secure_fixture *sx = *state;
    for (size_t i = 0; i < N_MEMBERS; i++) sx->players[i].stops_at = PF_MESSAGE_SHARE_DELIVERY;
    sx_start(sx);
    sx_settle(sx);
    for (int i = 0; i < 16; i++) {
        fx_tick(sx->fx, LIVENESS_MS / 8);
        for (size_t m = 0; m < N_MEMBERS; m++) fx_alive(sx->fx, m, m == ALICE ? 0 : 1);
    }
    assert_int_equal(sx_phase(sx), PF_COORDINATOR_COLLECTING);
    /* At once, and after 1, 1 + 2 and 1 + 2 + 4 intervals. */
    assert_int_equal(sx->fx->asked.sent[BOB][PF_MESSAGE_SHARE_DELIVERY], 4);
    /* One that does not train may lack it: with each of its signs of life. */
    assert_true(sx->fx->asked.sent[ALICE][PF_MESSAGE_SHARE_DELIVERY] >= 16);
}

/* ---- what is refused ---------------------------------------------------------------------- */

static void test_refusals_change_nothing(void **state)
{
    struct secure_fixture *sx = *state;
    sx_start(sx);
    while (sx_step(sx, ALICE)) continue;
    struct pf_message message = {.kind = PF_MESSAGE_ADVERTISE, .run_id = sx->fx->config.run_id};
    pf_secagg_client_advertise(sx->players[ALICE].client, &message.advertise);
    fx_assert_refused(sx->fx, BOB, &message, PF_REASON_ROSTER); /* in the name of another */
    message.advertise.round = 2;
    fx_assert_refused(sx->fx, ALICE, &message, PF_REASON_LATE);
    message.advertise.round = 1;
    message.advertise.advert.mask_key[0] ^= 1;
    fx_assert_refused(sx->fx, ALICE, &message, PF_REASON_STEP); /* a second advert */
    struct pf_message consent = {
        .kind = PF_MESSAGE_CONSENT, .run_id = sx->fx->config.run_id, .consent = {.round = 1}};
    fx_assert_refused(sx->fx, ALICE, &consent, PF_REASON_STEP);
    struct pf_message unmask = {
        .kind = PF_MESSAGE_UNMASK, .run_id = sx->fx->config.run_id, .unmask = {.round = 1}};
    fx_assert_refused(sx->fx, ALICE, &unmask, PF_REASON_STEP);
    struct pf_message chunk = fx_chunk_message(sx->fx, 1, 0, 1);
    fx_assert_refused(sx->fx, ALICE, &chunk, PF_REASON_STEP);
    pf_message_finish(&chunk);
    fx_decline(sx->fx, DAVE, 1, "no");
    message.advertise.advert.member = DAVE;
    fx_assert_refused(sx->fx, DAVE, &message, PF_REASON_LATE); /* out is out */
    sx_lose(sx, DAVE);
    sx_settle_until(sx, PF_COORDINATOR_CONSENTING);
    consent.consent.consent.member = ALICE;
    fx_assert_refused(sx->fx, ALICE, &consent, PF_REASON_SIGNATURE);
    sx_settle(sx);
    sx_assert_mean(sx, SX_MEAN_WITHOUT_DAVE, 3);
}

/* In a run of plain sums the steps do not exist. */
static void test_steps_in_a_plain_round(void **state)
{
    struct secure_fixture *sx = *state;
    struct pf_coordinator_session_config config = fx_config();
    struct fixture *fx = fx_create(&config);
    const enum pf_message_kind kinds[] = {PF_MESSAGE_ADVERTISE, PF_MESSAGE_REVEAL,
                                          PF_MESSAGE_SHARES, PF_MESSAGE_CONSENT, PF_MESSAGE_UNMASK};
    (void)sx;
    fx_start(fx);
    for (size_t i = 0; i < PF_ARRAY_LENGTH(kinds); i++) {
        struct pf_message message = {.kind = kinds[i], .run_id = config.run_id};
        message.advertise.round = 1; /* every one begins with it */
        fx_receive(fx, BOB, &message);
        assert_int_equal(fx->asked.sent[BOB][PF_MESSAGE_REFUSAL], i + 1);
        assert_int_equal(fx->asked.refusal[BOB].reason, PF_REASON_LATE);
    }
    fx_destroy(fx);
}

/* ---- clipping ----------------------------------------------------------------------------- */

static void test_clip_follows_the_mean_norm(void **state)
{
    struct secure_fixture *sx = *state;
    const double trained = sqrt(30) * (1 + 2 + 3 + 4) / 4, statistics = sqrt(10) * 10 / 4;
    sx_start(sx);
    sx_settle(sx);
    sx_apply(sx);
    assert_true(fabs(sx->fx->asked.record.clip[0] - 100) < 1e-9);
    /* Twice the mean norm would be less than half of what was: one step at a time. */
    assert_true(2 * trained < 50);
    assert_true(fabs(sx->fx->asked.offer[BOB].masking.clip[0] - 50) < 1e-9);
    assert_true(fabs(sx->fx->asked.offer[BOB].masking.clip[1] - 50) < 1e-9);
    assert_true(2 * statistics < 25);
    sx_settle(sx);
    sx_apply(sx);
    assert_true(fabs(sx->fx->session->clip[0] - 2 * trained) < 0.2);
    assert_true(fabs(sx->fx->session->clip[1] - 25) < 1e-9);
    /* Combining has cut the model: the next stage begins with room for large updates. */
    fx_job_done(sx->fx, 60);
    assert_true(fabs(sx->fx->asked.offer[BOB].masking.clip[0] - 100) < 1e-9);
    assert_true(fabs(sx->fx->asked.offer[BOB].masking.clip[1] - 100) < 1e-9);
}

/* … as much as any round before has asked for. */
static void test_a_stage_begins_with_the_widest_clip(void **state)
{
    struct pf_coordinator_session_config config = sx_config();
    const double trained = sqrt(30) * (1 + 2 + 3 + 4) / 4;
    config.masking.clip[0] = config.masking.clip[1] = 8;
    sx_renew((struct secure_fixture **)state, &config, SX_SMALL);
    struct secure_fixture *sx = *state;
    sx_start(sx);
    sx_settle(sx);
    sx_apply(sx);
    sx_settle(sx);
    sx_apply(sx);
    fx_job_done(sx->fx, 60);
    assert_true(fabs(sx->fx->asked.offer[BOB].masking.clip[0] - 2 * trained) < 0.2);
}

static void test_clip_at_most_quadruples(void **state)
{
    for (int fixed = 0; fixed < 2; fixed++) {
        struct pf_coordinator_session_config config = sx_config();
        config.masking.clip[0] = config.masking.clip[1] = 2;
        config.fixed_clip = fixed;
        sx_renew((struct secure_fixture **)state, &config, SX_SMALL);
        struct secure_fixture *sx = *state;
        sx_start(sx);
        sx_settle(sx);
        sx_apply(sx);
        assert_int_equal(sx->fx->asked.record.figures[PF_FIGURE_CLIPPED], 4);
        double clip = sx->fx->asked.offer[BOB].masking.clip[0];
        assert_true(fabs(clip - (fixed ? 2 : 8)) < 1e-9);
    }
}

/* ---- configurations ----------------------------------------------------------------------- */

static void test_configurations_that_cannot_work(void **state)
{
    (void)state;
    struct pf_public_identity members[N_MEMBERS] = {0};
    struct pf_coordinator_session_config good = sx_config();
    good.members = members;
    struct pf_coordinator_session_config bad[10];
    const char *const says[10] = {"fewer than 3 hides nothing; --aggregation plain or more",
                                  "a sum of fewer than 3 hides nothing",
                                  "value_bits is 40",
                                  "clip",
                                  "weight_cap is 0",
                                  "1.95",
                                  "dropouts",
                                  "adversary",
                                  "graph",
                                  "among 4 participants (the whole roster)"};
    for (size_t i = 0; i < PF_ARRAY_LENGTH(bad); i++) bad[i] = good;
    bad[0].min_cohort = bad[0].quorum = 2;
    bad[1].quorum = 2;
    bad[2].masking.value_bits = 40;
    bad[3].masking.clip[1] = (double)NAN;
    bad[4].masking.weight_cap = 0;
    bad[5].corrupt = 1.95;
    bad[6].dropouts = 1;
    bad[7].adversary = (enum pf_adversary)9;
    bad[8].graph = (enum pf_graph_kind)9;
    bad[9].graph = PF_GRAPH_HARARY;
    bad[9].corrupt = 0.4;
    bad[9].dropouts = 0.3;
    struct pf_coordinator_session *session = NULL;
    struct pf_error err = {0};
    for (size_t i = 0; i < PF_ARRAY_LENGTH(bad); i++) {
        assert_int_equal(pf_coordinator_session_create(&bad[i], 0, &session, &err), PF_INVALID);
        if (strstr(err.text, says[i]) == NULL) fail_msg("%zu: %s", i, err.text);
        assert_null(session);
    }
    assert_int_equal(pf_coordinator_session_create(&good, 0, &session, &err), PF_OK);
    pf_coordinator_session_destroy(session);
}

/* Small complete graphs bear fewer dropouts than asked for: that many, without a word. */
static void test_dropouts_of_complete_graphs(void **state)
{
    (void)state;
    struct pf_coordinator_session_config config = sx_config();
    config.dropouts = 0.9;
    config.adversary = PF_SEMI_MALICIOUS;
    assert_true(pf_cs_dropouts(&config) < 0.5);
    for (uint32_t n = 3; n <= 4; n++) {
        const struct pf_secagg_goal goal = {.n = n,
                                            .corrupt = pf_secagg_default_corrupt(n),
                                            .dropouts = pf_cs_dropouts(&config),
                                            .adversary = PF_SEMI_MALICIOUS};
        struct pf_secagg_parameters parameters;
        assert_int_equal(pf_secagg_find(&goal, &parameters, NULL), PF_OK);
    }
    config.dropouts = 0.1;
    assert_true(fabs(pf_cs_dropouts(&config) - 0.1) < 1e-12);
}

/* As many as the graph was drawn for, which may be fewer dropouts than were asked for. */
static void test_enough_consents(void **state)
{
    (void)state;
    struct pf_coordinator_session_config config = sx_config();
    const struct pf_secagg_parameters complete = {PF_GRAPH_COMPLETE, 199, 120};
    const struct pf_secagg_parameters regular = {PF_GRAPH_HARARY, 40, 25};
    config.dropouts = 0.25;
    assert_int_equal(pf_cs_enough_consents(&config, &complete, 160), 120);
    assert_int_equal(pf_cs_enough_consents(&config, &regular, 160), 120);
    assert_int_equal(pf_cs_enough_consents(&config, &regular, 27), 25);
    config.dropouts = 0.9;
    config.adversary = PF_SEMI_MALICIOUS;
    config.n_members = 200;
    assert_true(pf_cs_dropouts(&config) < 0.5);
    assert_int_equal(pf_cs_enough_consents(&config, &regular, 160),
                     160 - (uint32_t)(160 * pf_cs_dropouts(&config)));
}

int main(void)
{
#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_lost_messages_are_sent_again),
        TEST(test_wakes_for_repeats_and_deadlines),
        TEST(test_reconnecting_brings_the_step_again),
        TEST(test_a_repeated_answer_brings_the_next_step),
        TEST(test_repeats_get_rarer_while_training),
        TEST(test_refusals_change_nothing),
        TEST(test_steps_in_a_plain_round),
        TEST(test_clip_follows_the_mean_norm),
        TEST(test_a_stage_begins_with_the_widest_clip),
        TEST(test_clip_at_most_quadruples),
        TEST(test_configurations_that_cannot_work),
        TEST(test_dropouts_of_complete_graphs),
        TEST(test_enough_consents),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
