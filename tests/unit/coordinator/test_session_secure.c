/* Secure rounds: each step, who is lost in it, what heals, what the sum says. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "secure_fixture.h"

#define N_SMALL ((size_t)40) /* parameters: an update of one chunk */

static struct pf_coordinator_session_config config_for_means(void)
{
    struct pf_coordinator_session_config config = sx_config();
    config.masking.weight_cap = 40;
    config.masking.clip[0] = config.masking.clip[1] = 100;
    return config;
}

static int setup(void **state)
{
    struct pf_coordinator_session_config config = config_for_means();
    *state = sx_create(&config, N_SMALL);
    return 0;
}

static int teardown(void **state)
{
    sx_destroy(*state);
    return 0;
}

static void renew(struct secure_fixture **sx, const struct pf_coordinator_session_config *config,
                  size_t n_parameters)
{
    sx_destroy(*sx);
    *sx = sx_create(config, n_parameters);
}

static enum pf_coordinator_phase phase_of(const struct secure_fixture *sx)
{
    return sx->fx->session->phase;
}

static bool said(const struct secure_fixture *sx, const char *text)
{
    return strstr(sx->fx->asked.events, text) != NULL;
}

/* Time passes while members say ALIVE, read and answer, until the phase changes or it is over. */
static int64_t pass(struct secure_fixture *sx, int64_t ms, const bool alive[N_MEMBERS])
{
    enum pf_coordinator_phase phase = phase_of(sx);
    size_t n_rounds = sx->fx->asked.n_rounds;
    int64_t begin = sx->fx->now;
    while (sx->fx->now - begin < ms && phase_of(sx) == phase &&
           n_rounds == sx->fx->asked.n_rounds) {
        int64_t left = pf_coordinator_session_wake_ms(sx->fx->session) - sx->fx->now;
        fx_tick(sx->fx, PF_MAX(PF_MIN(left, 250), 1));
        for (size_t i = 0; i < N_MEMBERS; i++)
            if (alive[i]) fx_alive(sx->fx, i, 0);
        sx_settle_until(sx, PF_COORDINATOR_N_PHASES);
    }
    return sx->fx->now - begin;
}

static const bool all_alive[N_MEMBERS] = {true, true, true, true};
static const bool all_but_dave[N_MEMBERS] = {true, true, true, false};

static void assert_mean(struct secure_fixture *sx, double expected, uint32_t included)
{
    sx_apply(sx);
    for (size_t i = 0; i < sx->fx->n_parameters; i++)
        assert_true(fabs(sx->mean[i] - expected) < 0.05);
    assert_true(sx->fx->asked.record.completed);
    assert_int_equal(sx->fx->asked.record.included, included);
}

/* Of weights 10, 20, 30, 40 and coordinates 1, 2, 3, 4. */
#define MEAN_OF_ALL 3.0
#define MEAN_WITHOUT_DAVE (14.0 / 6.0)

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
        assert_mean(sx, MEAN_OF_ALL, 4);
        for (size_t k = 0; k < PF_ARRAY_LENGTH(once); k++)
            assert_int_equal(sx->fx->asked.sent[CAROL][once[k]], round);
        const struct pf_round_record *record = &sx->fx->asked.record;
        assert_true(record->figures_known);
        assert_int_equal(record->figures[PF_FIGURE_EXAMPLES], 100);
        assert_int_equal(record->figures[PF_FIGURE_EVALUATED], 400);
        assert_int_equal(record->figures[PF_FIGURE_CORRECT], 50 + 51 + 52 + 53);
        if (round == 2) fx_job_done(sx->fx, 55); /* the second stage's combining */
    }
    assert_int_equal(phase_of(sx), PF_COORDINATOR_DONE);
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
    struct pf_coordinator_session_config config = config_for_means();
    config.masking.clip[0] = config.masking.clip[1] = 2000;
    renew((struct secure_fixture **)state, &config, N_PARAMETERS);
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
    assert_mean(sx, MEAN_OF_ALL, 4);
}

/* ---- who is lost -------------------------------------------------------------------------- */

/* Dave lives but does not react to one kind of message. */
static void lose_dave_at(struct secure_fixture *sx, enum pf_message_kind kind, const char *event)
{
    sx->players[DAVE].stops_at = kind;
    sx_start(sx);
    sx_settle(sx);
    while (phase_of(sx) != PF_COORDINATOR_APPLYING && sx->fx->asked.n_rounds == 0)
        pass(sx, 100000, all_alive);
    if (!said(sx, event)) fail_msg("not said: %s\n%s", event, sx->fx->asked.events);
    assert_mean(sx, MEAN_WITHOUT_DAVE, 3);
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
    while (phase_of(sx) != PF_COORDINATOR_APPLYING && sx->fx->asked.n_rounds == 0)
        pass(sx, 100000, alive);
    assert_true(sx->fx->now - begin <= at_most_ms);
    assert_false(said(sx, "dropped"));
    assert_mean(sx, MEAN_OF_ALL, 4);
    assert_string_equal(sx->fx->asked.record.text, "");
    assert_int_equal(sx->fx->asked.record.dropped, 0);
}

static void test_survivor_that_does_not_consent(void **state)
{
    lose_survivor_at(*state, PF_MESSAGE_SURVIVORS, all_alive, PF_CONSENT_LINGER_MS);
}

static void test_survivor_that_does_not_unmask(void **state)
{
    lose_survivor_at(*state, PF_MESSAGE_UNMASK_REQUEST, all_alive, PF_UNMASK_LINGER_MS);
}

/* Once it is known to be silent, nobody waits for it. */
static void test_silent_survivor(void **state)
{
    lose_survivor_at(*state, PF_MESSAGE_SURVIVORS, all_but_dave, LIVENESS_MS);
    assert_true(said(*state, "dave is silent"));
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
        struct pf_coordinator_session_config config = config_for_means();
        renew((struct secure_fixture **)state, &config, N_SMALL);
        struct secure_fixture *sx = *state;
        sx_start(sx);
        sx_settle_until(sx, cases[c].phase);
        sx_restart(sx, DAVE);
        if (!said(sx, cases[c].event)) fail_msg("%s", sx->fx->asked.events);
        sx_restart(sx, DAVE); /* once more changes nothing */
        sx_settle(sx);        /* and nobody waits for him */
        assert_mean(sx, cases[c].counted ? MEAN_OF_ALL : MEAN_WITHOUT_DAVE,
                    cases[c].counted ? 4 : 3);
        assert_int_equal(sx->fx->asked.offer[DAVE].round, 2);
    }
}

/* Keys are drawn once a round: one that advertised and restarted is out, too. */
static void test_restart_after_advertising(void **state)
{
    struct secure_fixture *sx = *state;
    sx_start(sx);
    while (sx_step(sx, DAVE)) continue;
    assert_int_equal(phase_of(sx), PF_COORDINATOR_ADVERTISING);
    sx_restart(sx, DAVE);
    assert_true(said(sx, "round 1: dave dropped while advertising: restarted"));
    sx_settle(sx);
    assert_mean(sx, MEAN_WITHOUT_DAVE, 3);
}

static void test_declines(void **state)
{
    struct secure_fixture *sx = *state;
    sx_start(sx);
    sx_settle_until(sx, PF_COORDINATOR_CONSENTING);
    fx_decline(sx->fx, DAVE, 1, "a second set");
    assert_true(said(sx, "round 1: dave answers no more while consenting: declined: policy: a "
                         "second set; its update stays counted"));
    sx_settle(sx);
    assert_mean(sx, MEAN_OF_ALL, 4);
    sx_settle_until(sx, PF_COORDINATOR_SHARING);
    fx_decline(sx->fx, DAVE, 2, "no such list");
    assert_true(said(sx, "round 2: dave dropped while sharing: declined: policy: no such list"));
    sx_settle(sx);
    assert_mean(sx, MEAN_WITHOUT_DAVE, 3);
}

static void test_declining_the_run(void **state)
{
    struct secure_fixture *sx = *state;
    sx_start(sx);
    sx_settle_until(sx, PF_COORDINATOR_SHARING);
    fx_decline(sx->fx, DAVE, 0, "another network");
    assert_true(said(sx, "dave takes no part in this run: declined: policy: another network"));
    assert_true(said(sx, "round 1: dave dropped while sharing: declined the run"));
    size_t n_events = sx->fx->asked.n_events;
    fx_decline(sx->fx, DAVE, 0, "another network");
    assert_int_equal(sx->fx->asked.n_events, n_events);
    sx_settle(sx);
    assert_mean(sx, MEAN_WITHOUT_DAVE, 3);
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
    assert_int_equal(phase_of(sx), PF_COORDINATOR_FAILED);
    assert_non_null(strstr(sx->fx->asked.sentence, "carol and dave declined to take part"));
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
        struct pf_coordinator_session_config config = config_for_means();
        renew((struct secure_fixture **)state, &config, N_SMALL);
        struct secure_fixture *sx = *state;
        sx->players[CAROL].stops_at = sx->players[DAVE].stops_at = cases[c].kind;
        sx_start(sx);
        sx_settle(sx);
        for (int i = 0; i < 10 && sx->fx->asked.n_rounds == 0; i++) pass(sx, 100000, all_alive);
        assert_int_equal(sx->fx->asked.n_rounds, 1);
        assert_false(sx->fx->asked.record.completed);
        assert_int_equal(sx->fx->asked.n_apply, 0);
        if (strstr(sx->fx->asked.record.text, cases[c].why) == NULL)
            fail_msg("%s", sx->fx->asked.record.text);
        /* The next attempt is a round of its own. */
        sx->players[CAROL].stops_at = sx->players[DAVE].stops_at = (enum pf_message_kind)0;
        for (int i = 0; i < 10 && sx->fx->asked.n_apply == 0; i++) pass(sx, 1000, all_alive);
        assert_int_equal(sx->fx->asked.apply_round, 2);
        assert_mean(sx, MEAN_OF_ALL, 4);
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

static struct pf_coordinator_session_config config_for_ring(void)
{
    struct pf_coordinator_session_config config = config_for_means();
    config.graph = PF_GRAPH_HARARY;
    config.corrupt = config.dropouts = 0;
    return config;
}

static void test_regular_graph(void **state)
{
    struct pf_coordinator_session_config config = config_for_ring();
    renew((struct secure_fixture **)state, &config, N_SMALL);
    struct secure_fixture *sx = *state;
    sx_start(sx);
    sx_settle_until(sx, PF_COORDINATOR_REVEALING);
    char text[256];
    pf_coordinator_session_describe(sx->fx->session, sx->fx->now, text, sizeof text);
    assert_non_null(strstr(text, "revealing: 0 of 4 parts of the graph · waiting for alice"));
    sx_settle(sx);
    assert_int_equal(sx->fx->asked.sent[BOB][PF_MESSAGE_COMMITTED], 1);
    assert_mean(sx, MEAN_OF_ALL, 4);
}

static void test_graph_without_a_part(void **state)
{
    for (int restart = 0; restart < 2; restart++) {
        struct pf_coordinator_session_config config = config_for_ring();
        renew((struct secure_fixture **)state, &config, N_SMALL);
        struct secure_fixture *sx = *state;
        sx->players[DAVE].stops_at = PF_MESSAGE_COMMITTED;
        sx_start(sx);
        sx_settle(sx);
        assert_int_equal(phase_of(sx), PF_COORDINATOR_REVEALING);
        if (restart)
            sx_restart(sx, DAVE); /* no need to wait for the deadline */
        else
            pass(sx, 2 * KEY_MS, all_alive);
        assert_int_equal(sx->fx->asked.n_rounds, 1);
        assert_string_equal(sx->fx->asked.record.text,
                            "the graph cannot be drawn without the part of dave");
    }
}

/* ---- what the network loses --------------------------------------------------------------- */

static const enum pf_coordinator_phase steps[] = {
    PF_COORDINATOR_ADVERTISING, PF_COORDINATOR_REVEALING,  PF_COORDINATOR_SHARING,
    PF_COORDINATOR_COLLECTING,  PF_COORDINATOR_CONSENTING, PF_COORDINATOR_UNMASKING};

static struct secure_fixture *lose_at(void **state, enum pf_coordinator_phase phase)
{
    struct pf_coordinator_session_config config = config_for_ring();
    renew((struct secure_fixture **)state, &config, N_SMALL);
    struct secure_fixture *sx = *state;
    sx_start(sx);
    sx_settle_until(sx, phase);
    sx_lose(sx, DAVE);
    sx_settle(sx);
    assert_int_equal(phase_of(sx), phase);
    return sx;
}

static void test_lost_messages_are_sent_again(void **state)
{
    for (size_t s = 0; s < PF_ARRAY_LENGTH(steps); s++) {
        struct secure_fixture *sx = lose_at(state, steps[s]);
        assert_true(pass(sx, 100000, all_alive) <= LIVENESS_MS / 4 + 250);
        sx_settle(sx);
        assert_mean(sx, MEAN_OF_ALL, 4);
    }
}

static void test_reconnecting_brings_the_step_again(void **state)
{
    for (size_t s = 0; s < PF_ARRAY_LENGTH(steps); s++) {
        struct secure_fixture *sx = lose_at(state, steps[s]);
        fx_hello_again(sx->fx, DAVE, true);
        sx_settle(sx);
        assert_mean(sx, MEAN_OF_ALL, 4);
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
    assert_mean(sx, MEAN_OF_ALL, 4);
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
    assert_int_equal(phase_of(sx), PF_COORDINATOR_COLLECTING);
    /* At once, and after 1, 1 + 2 and 1 + 2 + 4 intervals. */
    assert_int_equal(sx->fx->asked.sent[BOB][PF_MESSAGE_SHARE_DELIVERY], 4);
    /* One that does not train may lack it: with each of its signs of life. */
    assert_true(sx->fx->asked.sent[ALICE][PF_MESSAGE_SHARE_DELIVERY] >= 16);
}

/* ---- what is refused ---------------------------------------------------------------------- */

static void assert_refused(struct secure_fixture *sx, size_t member, struct pf_message *message,
                           enum pf_reason reason)
{
    struct pf_hash before = fx_digest(sx->fx);
    size_t sent = sx->fx->asked.sent[member][PF_MESSAGE_REFUSAL];
    message->run_id = sx->fx->config.run_id;
    sx->fx->now += 3;
    fx_receive(sx->fx, member, message);
    assert_int_equal(sx->fx->asked.sent[member][PF_MESSAGE_REFUSAL], sent + 1);
    assert_int_equal(sx->fx->asked.refusal[member].reason, reason);
    struct pf_hash after = fx_digest(sx->fx);
    assert_memory_equal(&before, &after, sizeof before);
}

static void test_refusals_change_nothing(void **state)
{
    struct secure_fixture *sx = *state;
    sx_start(sx);
    while (sx_step(sx, ALICE)) continue;
    struct pf_message message = {.kind = PF_MESSAGE_ADVERTISE};
    pf_secagg_client_advertise(sx->players[ALICE].client, &message.advertise);
    assert_refused(sx, BOB, &message, PF_REASON_ROSTER); /* in the name of another */
    message.advertise.round = 2;
    assert_refused(sx, ALICE, &message, PF_REASON_LATE);
    message.advertise.round = 1;
    message.advertise.advert.mask_key[0] ^= 1;
    assert_refused(sx, ALICE, &message, PF_REASON_STEP); /* a second advert */
    struct pf_message consent = {.kind = PF_MESSAGE_CONSENT, .consent = {.round = 1}};
    assert_refused(sx, ALICE, &consent, PF_REASON_STEP);
    struct pf_message unmask = {.kind = PF_MESSAGE_UNMASK, .unmask = {.round = 1}};
    assert_refused(sx, ALICE, &unmask, PF_REASON_STEP);
    struct pf_message chunk = fx_chunk_message(sx->fx, 1, 0, 1);
    assert_refused(sx, ALICE, &chunk, PF_REASON_STEP);
    pf_message_finish(&chunk);
    fx_decline(sx->fx, DAVE, 1, "no");
    message.advertise.advert.member = DAVE;
    assert_refused(sx, DAVE, &message, PF_REASON_LATE); /* out is out */
    sx_lose(sx, DAVE);
    sx_settle_until(sx, PF_COORDINATOR_CONSENTING);
    consent.consent.consent.member = ALICE;
    assert_refused(sx, ALICE, &consent, PF_REASON_SIGNATURE);
    sx_settle(sx);
    assert_mean(sx, MEAN_WITHOUT_DAVE, 3);
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
    sx_settle(sx);
    sx_apply(sx);
    fx_job_done(sx->fx, 60); /* the second stage goes on with it */
    assert_true(fabs(sx->fx->asked.offer[BOB].masking.clip[0] - 2 * trained) < 0.2);
    assert_true(2 * statistics < 25);
    assert_true(fabs(sx->fx->asked.offer[BOB].masking.clip[1] - 25) < 1e-9);
}

static void test_clip_at_most_doubles(void **state)
{
    for (int fixed = 0; fixed < 2; fixed++) {
        struct pf_coordinator_session_config config = config_for_means();
        config.masking.clip[0] = config.masking.clip[1] = 2;
        config.fixed_clip = fixed;
        renew((struct secure_fixture **)state, &config, N_SMALL);
        struct secure_fixture *sx = *state;
        sx_start(sx);
        sx_settle(sx);
        sx_apply(sx);
        assert_int_equal(sx->fx->asked.record.figures[PF_FIGURE_CLIPPED], 4);
        double clip = sx->fx->asked.offer[BOB].masking.clip[0];
        assert_true(fabs(clip - (fixed ? 2 : 4)) < 1e-9);
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
        TEST(test_restarts),
        TEST(test_restart_after_advertising),
        TEST(test_declines),
        TEST(test_declining_the_run),
        TEST(test_too_few_in_each_step),
        TEST(test_masks_that_do_not_come_off),
        TEST(test_regular_graph),
        TEST(test_graph_without_a_part),
        TEST(test_lost_messages_are_sent_again),
        TEST(test_reconnecting_brings_the_step_again),
        TEST(test_a_repeated_answer_brings_the_next_step),
        TEST(test_repeats_get_rarer_while_training),
        TEST(test_refusals_change_nothing),
        TEST(test_steps_in_a_plain_round),
        TEST(test_clip_follows_the_mean_norm),
        TEST(test_clip_at_most_doubles),
        TEST(test_configurations_that_cannot_work),
        TEST(test_dropouts_of_complete_graphs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
