/* The course of rounds, repetition, silence, the end. */
#include <stdarg.h>
#include <stddef.h>

#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "fixture.h"

static struct fixture f;

static int set_up(void **state)
{
    (void)state;
    fixture_init(&f, NULL);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    fixture_finish(&f);
    return 0;
}

static const struct pf_participant_counters *counters(void)
{
    return pf_participant_session_counters(f.session);
}

static const char *sentence(void)
{
    struct pf_participant_view view;
    pf_participant_session_view(f.session, &view);
    return view.sentence;
}

static void test_hello_is_repeated_with_back_off_until_welcome(void **state)
{
    (void)state;
    int64_t sent_at[6];
    for (size_t i = 0; i < 6; i++) {
        assert_true(tick_until_sent(&f, PF_MESSAGE_HELLO, 20000));
        assert_false(f.sent[0].hello.returning);
        assert_int_equal(f.sent[0].hello.version, PF_PROTOCOL_VERSION);
        sent_at[i] = f.now;
    }
    assert_int_equal(sent_at[0], 1000000);
    assert_int_equal(sent_at[1] - sent_at[0], 500);
    assert_int_equal(sent_at[2] - sent_at[1], 1000);
    assert_int_equal(sent_at[5] - sent_at[4], 8000);
    to_idle(&f);
    assert_int_equal(f.n_recalls, 1);
    /* ALIVE is answered, so nothing calls for another HELLO. */
    for (size_t i = 0; i < 10; i++) {
        assert_true(tick_until_sent(&f, PF_MESSAGE_ALIVE, 2000));
        assert_int_equal(n_sent(&f, PF_MESSAGE_HELLO), 0);
        struct pf_message answer = alive(&f);
        assert_true(give(&f, &answer));
    }
}

static void test_a_round_from_offer_to_the_end(void **state)
{
    (void)state;
    to_fetching(&f, 3);
    assert_int_equal(f.model.n_chunks, 5);
    assert_int_equal(n_sent(&f, PF_MESSAGE_MODEL_REQUEST), 4); /* the window */
    assert_int_equal(f.n_records, 1);
    assert_int_equal(f.records[0].outcome, PF_OUTCOME_JOINED);
    assert_int_equal(f.records[0].round, 3);
    for (uint32_t i = 0; i < 5; i++) {
        struct pf_message made = chunk(&f, &f.model, i);
        assert_true(give(&f, &made));
        assert_int_equal(n_sent(&f, PF_MESSAGE_MODEL_REQUEST), i == 0 ? 1 : 0);
        assert_int_equal(f.n_trains, i == 4 ? 1 : 0);
    }
    assert_int_equal(phase(&f), PF_PARTICIPANT_TRAINING);
    assert_int_equal(f.order.batch, 8);

    trained(&f, f.job, f.model.n_parameters);
    assert_int_equal(phase(&f), PF_PARTICIPANT_UPLOADING);
    assert_int_equal(f.n_sent, 1); /* the rest when there is room for it */
    assert_int_equal(f.sent[0].kind, PF_MESSAGE_UPDATE_CHUNK);
    assert_int_equal(f.sent[0].chunk.chunk, 0);
    size_t length = f.sent[0].chunk.length, n_chunks = f.sent[0].chunk.n_chunks;
    assert_int_equal(n_chunks, 5);
    struct pf_message made = grant(&f, 3);
    assert_true(give(&f, &made));
    assert_int_equal(f.n_sent, n_chunks - 1);
    for (size_t i = 0; i < f.n_sent; i++) {
        assert_int_equal(f.sent[i].kind, PF_MESSAGE_UPDATE_CHUNK);
        assert_int_equal(f.sent[i].chunk.chunk, i + 1);
        assert_int_equal(f.sent[i].chunk.n_chunks, n_chunks);
        assert_int_equal(f.sent[i].chunk.round, 3);
        length += f.sent[i].chunk.length;
    }
    assert_int_equal(length, pf_update_size(PF_AGGREGATION_PLAIN, f.model.n_parameters));
    assert_true(give(&f, &made)); /* a second grant brings nothing a second time */
    assert_int_equal(f.n_sent, 0);
    assert_int_equal(counters()->repeated, 1);

    made = receipt(&f, 3);
    assert_true(give(&f, &made));
    assert_int_equal(phase(&f), PF_PARTICIPANT_IDLE);
    assert_int_equal(f.records[0].outcome, PF_OUTCOME_DELIVERED);
    made = result(&f, 3);
    assert_true(give(&f, &made));
    assert_int_equal(f.n_results, 1);
    made = finished(&f, true);
    assert_true(give(&f, &made));
    assert_int_equal(phase(&f), PF_PARTICIPANT_DONE);
    assert_null(strchr(sentence(), 0x1b)); /* nothing that moves a terminal */
    assert_true(pf_participant_session_wake_ms(f.session) == INT64_MAX);
}

static void test_alive_is_sent_at_its_interval_also_while_training(void **state)
{
    (void)state;
    to_training(&f, 2);
    for (size_t i = 0; i < 20; i++) {
        int64_t before = f.now;
        assert_true(tick_until_sent(&f, PF_MESSAGE_ALIVE, 10000));
        assert_int_equal(f.now - before, 2000);
        assert_int_equal(f.sent[0].alive.round, 2);
        assert_int_equal(f.sent[0].alive.training, 1);
        struct pf_message answer = alive(&f);
        assert_true(give(&f, &answer));
    }
}

static void test_requests_are_repeated_with_back_off(void **state)
{
    (void)state;
    to_fetching(&f, 1);
    int64_t last = f.now;
    static const int64_t expected[] = {4000, 8000, 16000};
    for (size_t i = 0; i < 3; i++) {
        assert_true(tick_until_sent(&f, PF_MESSAGE_MODEL_REQUEST, 100000));
        assert_int_equal(f.now - last, expected[i]);
        assert_int_equal(n_sent(&f, PF_MESSAGE_MODEL_REQUEST), 4);
        last = f.now;
    }
}

static void test_a_repeated_offer_changes_nothing_but_the_deadline(void **state)
{
    (void)state;
    to_training(&f, 1);
    struct pf_message made = offer(&f, 1, &f.model);
    keep(&f);
    assert_true(give(&f, &made));
    assert_true(unchanged(&f));
    assert_int_equal(f.n_sent + f.n_trains + f.n_cancels, 0);
    made.offer.deadline_ms = 900000;
    assert_true(give(&f, &made));
    struct pf_message delivered = receipt(&f, 1);
    for (int64_t waited = 0; waited < 400000; waited += 1000) {
        tick(&f, 1000);
        struct pf_message answer = alive(&f);
        assert_true(give(&f, &answer));
    }
    assert_int_equal(phase(&f), PF_PARTICIPANT_TRAINING);
    trained(&f, f.job, f.model.n_parameters);
    assert_true(give(&f, &delivered));
    keep(&f);
    assert_true(give(&f, &made)); /* a late copy: the update is with the coordinator */
    assert_true(unchanged(&f));
    assert_int_equal(f.n_sent, 0);
    assert_int_equal(counters()->repeated, 3);
}

static void test_a_newer_round_takes_the_place_of_the_one_at_hand(void **state)
{
    (void)state;
    to_training(&f, 3);
    uint64_t old_job = f.job;
    struct pf_message made = offer(&f, 4, &f.model);
    assert_true(give(&f, &made));
    assert_int_equal(f.n_cancels, 1);
    /* The model is at hand already. */
    assert_int_equal(f.n_trains, 1);
    assert_int_equal(n_sent(&f, PF_MESSAGE_MODEL_REQUEST), 0);
    assert_int_equal(f.n_records, 2);
    assert_int_equal(f.records[0].round, 3);
    assert_int_equal(f.records[0].outcome, PF_OUTCOME_DROPPED);
    assert_int_equal(f.records[1].round, 4);
    keep(&f);
    trained(&f, old_job, f.model.n_parameters); /* the cancelled job was done after all */
    assert_true(unchanged(&f));
    assert_int_equal(f.n_sent, 0);
    trained(&f, f.job, f.model.n_parameters);
    assert_int_equal(phase(&f), PF_PARTICIPANT_UPLOADING);
    assert_int_equal(f.sent[0].chunk.round, 4);
}

static void test_a_failed_training_is_declined(void **state)
{
    (void)state;
    to_training(&f, 1);
    training_failed(&f, f.job);
    assert_true(declined(&f, PF_REASON_TRAINING_FAILED, 1));
    assert_int_equal(phase(&f), PF_PARTICIPANT_IDLE);
    assert_int_equal(f.records[0].outcome, PF_OUTCOME_DECLINED);
    struct pf_message made = offer(&f, 1, &f.model); /* the DECLINE was lost */
    assert_true(give(&f, &made));
    assert_true(declined(&f, PF_REASON_TRAINING_FAILED, 1));
    assert_int_equal(f.n_trains, 0);
    made = offer(&f, 2, &f.model);
    assert_true(give(&f, &made));
    assert_int_equal(f.n_trains, 1);
}

/* The first chunk asks for room, the others follow the grant. */
static void test_the_upload_is_repeated_whole_until_the_receipt(void **state)
{
    (void)state;
    to_uploading(&f, 1);
    struct pf_message granted = grant(&f, 1);
    assert_int_equal(n_sent(&f, PF_MESSAGE_UPDATE_CHUNK), 1);
    int64_t last = f.now, line_ms = (int64_t)f.session->update.length * 1000 / (256 * 1024);
    static const int64_t expected[] = {5000, 10000, 20000, 40000, 60000};
    for (size_t i = 0; i < 5; i++) {
        assert_true(tick_until_sent(&f, PF_MESSAGE_UPDATE_CHUNK, 200000));
        assert_int_equal(n_sent(&f, PF_MESSAGE_UPDATE_CHUNK), 1);
        assert_int_equal(f.sent[0].chunk.chunk, 0);
        assert_int_equal(f.now - last, expected[i] + line_ms);
        last = f.now;
    }
    assert_true(give(&f, &granted));
    assert_int_equal(n_sent(&f, PF_MESSAGE_UPDATE_CHUNK), 4);
    /* Granted and sent, and yet no receipt: everything from the start. */
    last = f.now;
    assert_true(tick_until_sent(&f, PF_MESSAGE_UPDATE_CHUNK, 200000));
    assert_int_equal(f.now - last, 5000 + line_ms);
    assert_int_equal(n_sent(&f, PF_MESSAGE_UPDATE_CHUNK), 1);
    /* A coordinator that came back gets it at once. */
    struct pf_message made = welcome(&f);
    assert_true(f.session->greeting);
    assert_true(give(&f, &made));
    assert_int_equal(n_sent(&f, PF_MESSAGE_UPDATE_CHUNK), 1);
    assert_int_equal(f.sent[0].chunk.chunk, 0);
    assert_true(give(&f, &granted));
    assert_int_equal(n_sent(&f, PF_MESSAGE_UPDATE_CHUNK), 4);
    made = receipt(&f, 1);
    assert_true(give(&f, &made));
    assert_false(tick_until_sent(&f, PF_MESSAGE_UPDATE_CHUNK, 400000));
}

static void test_a_refused_upload_ends_the_round_not_the_session(void **state)
{
    (void)state;
    to_uploading(&f, 1);
    struct pf_message made = refusal(&f, PF_REASON_BUSY, 1);
    assert_true(give(&f, &made));
    assert_int_equal(phase(&f), PF_PARTICIPANT_UPLOADING);
    made = refusal(&f, PF_REASON_LATE, 1);
    assert_true(give(&f, &made));
    assert_int_equal(phase(&f), PF_PARTICIPANT_IDLE);
    assert_int_equal(f.records[0].outcome, PF_OUTCOME_DROPPED);
    made = receipt(&f, 1); /* … but it had come in time */
    assert_true(give(&f, &made));
    assert_int_equal(f.records[0].outcome, PF_OUTCOME_DELIVERED);
}

static void test_a_round_is_given_up_after_its_deadline(void **state)
{
    (void)state;
    to_fetching(&f, 1);
    for (int64_t waited = 0; waited < 331000; waited += 1000) {
        assert_int_equal(phase(&f),
                         waited < 330000 ? PF_PARTICIPANT_FETCHING : PF_PARTICIPANT_IDLE);
        tick(&f, 1000);
        struct pf_message answer = alive(&f);
        assert_true(give(&f, &answer));
    }
    assert_int_equal(phase(&f), PF_PARTICIPANT_IDLE);
}

static void test_silence_brings_hello_back_and_ends_in_giving_up(void **state)
{
    (void)state;
    to_training(&f, 1);
    int64_t heard = f.now;
    assert_true(tick_until_sent(&f, PF_MESSAGE_HELLO, 20000));
    assert_int_equal(f.now - heard, 6000);
    struct pf_message said = f.sent[0];
    assert_int_equal(said.kind, PF_MESSAGE_HELLO);
    assert_true(said.hello.returning);
    assert_memory_equal(&said.hello.run_id, &f.run_id, sizeof f.run_id);
    assert_int_equal(phase(&f), PF_PARTICIPANT_TRAINING); /* the work goes on meanwhile */
    while (phase(&f) != PF_PARTICIPANT_FAILED) {
        int64_t wake = pf_participant_session_wake_ms(f.session);
        assert_true(wake > f.now); /* no busy waiting */
        tick(&f, wake - f.now);
        assert_true(f.now - heard <= 600000);
    }
    assert_int_equal(f.now - heard, 600000);
    assert_non_null(strstr(sentence(), "600 s"));
    assert_non_null(strstr(sentence(), "--connect"));
}

static void test_a_refused_greeting_ends_it_or_waits(void **state)
{
    (void)state;
    tick(&f, 0);
    struct pf_message made = refusal(&f, PF_REASON_BUSY, 0);
    assert_true(give(&f, &made));
    assert_int_equal(phase(&f), PF_PARTICIPANT_CONNECTING);
    assert_true(tick_until_sent(&f, PF_MESSAGE_HELLO, 1000));
    made = refusal(&f, PF_REASON_VERSION, 0);
    assert_true(give(&f, &made));
    assert_int_equal(phase(&f), PF_PARTICIPANT_FAILED);
    assert_non_null(strstr(sentence(), "version"));
}

static void test_a_restarted_coordinator_is_greeted_again(void **state)
{
    (void)state;
    to_training(&f, 1);
    struct pf_message made = refusal(&f, PF_REASON_WRONG_RUN, 0); /* "say HELLO first" */
    assert_true(give(&f, &made));
    assert_int_equal(phase(&f), PF_PARTICIPANT_TRAINING);
    tick(&f, 0);
    assert_int_equal(n_sent(&f, PF_MESSAGE_HELLO), 1);
    assert_true(f.sent[0].hello.returning);
}

static void test_a_lost_offer_is_asked_for(void **state)
{
    (void)state;
    to_idle(&f);
    struct pf_message made = alive(&f);
    assert_true(give(&f, &made));
    tick(&f, 0);
    assert_int_equal(n_sent(&f, PF_MESSAGE_HELLO), 0);
    made.alive.round = 1; /* it waits for our update of round 1 */
    assert_true(give(&f, &made));
    tick(&f, 0);
    assert_int_equal(n_sent(&f, PF_MESSAGE_HELLO), 1);
    assert_true(f.sent[0].hello.returning);
    made = welcome(&f);
    assert_true(give(&f, &made));
    to_uploading(&f, 1);
    made = receipt(&f, 1);
    assert_true(give(&f, &made));
    made = alive(&f);
    made.alive.round = 1; /* under way when the receipt was sent */
    assert_true(give(&f, &made));
    tick(&f, 0);
    assert_int_equal(n_sent(&f, PF_MESSAGE_HELLO), 0);
}

static void test_a_run_that_is_not_served_any_more_is_left_for_the_new_one(void **state)
{
    (void)state;
    to_training(&f, 7);
    struct pf_message made = refusal(&f, PF_REASON_WRONG_RUN, 0);
    made.run_id.bytes[0] ^= 1;
    assert_true(give(&f, &made));
    assert_int_equal(f.n_cancels, 1);
    assert_int_equal(phase(&f), PF_PARTICIPANT_CONNECTING);
    tick(&f, 0);
    assert_int_equal(n_sent(&f, PF_MESSAGE_HELLO), 1);
    assert_false(f.sent[0].hello.returning);
    f.run_id.bytes[0] ^= 1;
    to_idle(&f);
    made = offer(&f, 1, &f.model); /* its rounds begin anew */
    assert_true(give(&f, &made));
}

static void test_stopping_declines_the_round(void **state)
{
    (void)state;
    to_training(&f, 2);
    pf_participant_session_stop(f.session, "stopped as asked");
    assert_int_equal(phase(&f), PF_PARTICIPANT_FAILED);
    assert_string_equal(sentence(), "stopped as asked");
    struct pf_participant_action action;
    bool told = false, cancelled = false;
    while (pf_participant_session_next_action(f.session, &action)) {
        told |= action.kind == PF_PARTICIPANT_SEND && action.message.kind == PF_MESSAGE_DECLINE;
        cancelled |= action.kind == PF_PARTICIPANT_CANCEL;
    }
    assert_true(told);
    assert_true(cancelled);
    keep(&f);
    struct pf_message made = offer(&f, 3, &f.model);
    assert_false(give(&f, &made));
    tick(&f, 1000000);
    assert_true(unchanged(&f));
}

static void test_a_failed_run_is_told(void **state)
{
    (void)state;
    to_uploading(&f, 2);
    struct pf_message made = finished(&f, false);
    assert_true(give(&f, &made));
    assert_int_equal(phase(&f), PF_PARTICIPANT_FAILED);
    assert_non_null(strstr(sentence(), "the run failed"));
}

static void test_nothing_leaves_the_end(void **state)
{
    (void)state;
    for (unsigned i = 0; i < PF_PARTICIPANT_N_PHASES; i++) {
        enum pf_participant_phase from = (enum pf_participant_phase)i;
        assert_false(pf_participant_phase_allowed(PF_PARTICIPANT_DONE, from));
        assert_false(pf_participant_phase_allowed(PF_PARTICIPANT_FAILED, from));
        assert_false(pf_participant_phase_allowed(from, from));
        /* Only a training's update is sent, masked or not; only what was sent is unmasked. */
        assert_int_equal(pf_participant_phase_allowed(from, PF_PARTICIPANT_UPLOADING),
                         from == PF_PARTICIPANT_TRAINING || from == PF_PARTICIPANT_MASKING);
        assert_int_equal(pf_participant_phase_allowed(from, PF_PARTICIPANT_MASKING),
                         from == PF_PARTICIPANT_TRAINING);
        assert_int_equal(pf_participant_phase_allowed(from, PF_PARTICIPANT_UNMASKING),
                         from == PF_PARTICIPANT_UPLOADING);
    }
    assert_false(pf_participant_phase_allowed(PF_PARTICIPANT_CONNECTING, PF_PARTICIPANT_TRAINING));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_hello_is_repeated_with_back_off_until_welcome),
        TEST(test_a_round_from_offer_to_the_end),
        TEST(test_alive_is_sent_at_its_interval_also_while_training),
        TEST(test_requests_are_repeated_with_back_off),
        TEST(test_a_repeated_offer_changes_nothing_but_the_deadline),
        TEST(test_a_newer_round_takes_the_place_of_the_one_at_hand),
        TEST(test_a_failed_training_is_declined),
        TEST(test_the_upload_is_repeated_whole_until_the_receipt),
        TEST(test_a_refused_upload_ends_the_round_not_the_session),
        TEST(test_a_round_is_given_up_after_its_deadline),
        TEST(test_silence_brings_hello_back_and_ends_in_giving_up),
        TEST(test_a_refused_greeting_ends_it_or_waits),
        TEST(test_a_restarted_coordinator_is_greeted_again),
        TEST(test_a_lost_offer_is_asked_for),
        TEST(test_a_run_that_is_not_served_any_more_is_left_for_the_new_one),
        TEST(test_stopping_declines_the_round),
        TEST(test_a_failed_run_is_told),
        TEST(test_nothing_leaves_the_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
