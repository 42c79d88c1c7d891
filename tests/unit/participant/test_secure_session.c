/* Secure rounds in the participant's session: what is recorded before what is sent, which phase
 * waits for what, and that no figure of the update leaves it in clear. */
#include <stdarg.h>
#include <stddef.h>

#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/log.h"
#include "common/base/memory.h"
#include "participant/ledger.h"
#include "secure_session.h"

static struct secure_play p;

static int set_up(void **state)
{
    (void)state;
    play_init(&p, false, NULL);
    return 0;
}

static int set_up_large(void **state)
{
    (void)state;
    play_init(&p, true, NULL);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    play_finish(&p);
    return 0;
}

static const struct pf_participant_counters *counters(void)
{
    return pf_participant_session_counters(p.f.session);
}

/* ---- the course ----------------------------------------------------------------------------- */

static void play_all(void)
{
    play_join(&p);
    play_fetch(&p);
    play_share(&p);
    play_deliver(&p);
    play_train(&p);
    play_upload(&p);
    play_consent(&p);
    play_unmask(&p);
}

static void test_a_secure_round_from_offer_to_result(void **state)
{
    (void)state;
    play_all();
    mini_expect_sum(&p.round);
    struct pf_message made = result(&p.f, SECURE_ROUND);
    assert_true(play_give(&p, &made));
    assert_int_equal(phase(&p.f), PF_PARTICIPANT_IDLE);
    assert_int_equal(p.f.records[0].outcome, PF_OUTCOME_DELIVERED);
    assert_true(p.f.records[0].consented);
    assert_null(p.f.session->secagg); /* the round's secrets go with it */
    for (size_t i = 0; i < PF_REASON_N; i++) assert_int_equal(counters()->refused[i], 0);
}

static void test_a_masked_update_of_several_chunks(void **state)
{
    (void)state;
    play_join(&p);
    play_fetch(&p);
    play_share(&p);
    play_deliver(&p);
    play_train(&p);
    assert_int_equal(n_sent(&p.f, PF_MESSAGE_UPDATE_CHUNK), 1); /* the rest waits for the grant */
    assert_true(p.f.sent[0].chunk.n_chunks > 2);
    play_upload(&p);
    play_consent(&p);
    play_unmask(&p);
    mini_expect_sum(&p.round);
}

static void test_the_round_is_recorded_before_its_keys_are_sent(void **state)
{
    (void)state;
    play_join(&p);
    size_t at = 0;
    while (p.f.sent[at].kind != PF_MESSAGE_ADVERTISE) at++;
    assert_int_equal(n_sent(&p.f, PF_MESSAGE_ADVERTISE), 1);
    assert_int_equal(p.f.n_records, 1);
    assert_int_equal(p.f.records[0].outcome, PF_OUTCOME_JOINED);
    assert_int_equal(p.f.records[0].round, SECURE_ROUND);
    assert_false(p.f.records[0].consented);
    assert_true(p.f.records_at[0] < p.f.sent_at[at]);
    /* A repeated offer gets the same keys: a second set would make a second sum possible. */
    assert_true(play_give(&p, &p.offered));
    const struct pf_message *again = play_said(&p, PF_MESSAGE_ADVERTISE);
    assert_non_null(again);
    assert_memory_equal(&again->advertise.advert, &p.round.members[SECURE_SELF].advert,
                        sizeof again->advertise.advert);
}

static void test_an_update_waits_for_the_share_boxes(void **state)
{
    (void)state;
    play_join(&p);
    play_fetch(&p);
    play_train(&p);
    assert_int_equal(phase(&p.f), PF_PARTICIPANT_MASKING);
    assert_int_equal(p.f.n_sent, 0);
    assert_non_null(p.f.session->trained.values);
    play_share(&p);
    assert_int_equal(phase(&p.f), PF_PARTICIPANT_MASKING);
    assert_int_equal(n_sent(&p.f, PF_MESSAGE_UPDATE_CHUNK), 0);
    play_deliver(&p);
    assert_int_equal(phase(&p.f), PF_PARTICIPANT_UPLOADING);
    assert_int_equal(n_sent(&p.f, PF_MESSAGE_UPDATE_CHUNK), 1);
    assert_null(p.f.session->trained.values); /* the plain one is gone */
    play_keep_chunks(&p);
    play_upload(&p);
    play_consent(&p);
    play_unmask(&p);
    mini_expect_sum(&p.round);
}

static void test_the_keys_may_be_settled_before_the_model_is_there(void **state)
{
    (void)state;
    play_join(&p);
    play_share(&p);
    play_deliver(&p);
    assert_int_equal(phase(&p.f), PF_PARTICIPANT_FETCHING);
    play_fetch(&p);
    play_train(&p);
    assert_int_equal(phase(&p.f), PF_PARTICIPANT_UPLOADING);
    play_upload(&p);
    play_consent(&p);
    play_unmask(&p);
    mini_expect_sum(&p.round);
}

static void test_repeats_are_answered_again(void **state)
{
    (void)state;
    play_all();
    uint64_t before = counters()->repeated;
    struct pf_message list = mini_key_list(&p.round, SECURE_SELF);
    struct pf_message delivery = mini_delivery(&p.round, SECURE_SELF);
    struct pf_message survivors = mini_survivors(&p.round);
    struct pf_message request = mini_request(&p.round, SECURE_SELF);
    assert_true(play_give(&p, &list));
    assert_int_equal(n_sent(&p.f, PF_MESSAGE_SHARES), 1);
    assert_true(play_give(&p, &delivery));
    assert_int_equal(p.f.n_sent, 0);
    assert_true(play_give(&p, &survivors));
    assert_memory_equal(&play_said(&p, PF_MESSAGE_CONSENT)->consent.consent,
                        &p.round.members[SECURE_SELF].consent, sizeof(struct pf_consent));
    assert_int_equal(p.f.n_records, 0); /* noted once */
    assert_true(play_give(&p, &request));
    assert_int_equal(play_said(&p, PF_MESSAGE_UNMASK)->unmask.n_shares, SECURE_COHORT);
    assert_int_equal(counters()->repeated, before + 4);
    struct pf_message *const all[] = {&list, &delivery, &survivors, &request};
    for (size_t i = 0; i < 4; i++) pf_message_finish(all[i]);
}

static void test_survivors_stand_for_a_lost_receipt(void **state)
{
    (void)state;
    play_join(&p);
    play_fetch(&p);
    play_share(&p);
    play_deliver(&p);
    play_train(&p);
    assert_int_equal(phase(&p.f), PF_PARTICIPANT_UPLOADING);
    mini_to(&p.round, MINI_MASKED);
    play_consent(&p);
    assert_int_equal(phase(&p.f), PF_PARTICIPANT_UNMASKING);
    play_unmask(&p);
    mini_expect_sum(&p.round);
}

/* ---- the end of a round --------------------------------------------------------------------- */

static void to_fetched(void)
{
    play_fetch(&p);
}
static void to_masking(void)
{
    play_train(&p);
}
static void to_uploading_masked(void)
{
    play_share(&p);
    play_deliver(&p);
}
static void to_unmasking(void)
{
    play_keep_chunks(&p);
    play_upload(&p);
}

static void test_a_result_ends_the_round_in_every_phase(void **state)
{
    (void)state;
    static void (*const steps[])(void) = {to_fetched, to_masking, to_uploading_masked,
                                          to_unmasking};
    static const enum pf_participant_phase phases[] = {
        PF_PARTICIPANT_FETCHING, PF_PARTICIPANT_TRAINING, PF_PARTICIPANT_MASKING,
        PF_PARTICIPANT_UPLOADING, PF_PARTICIPANT_UNMASKING};
    for (size_t n = 0; n < 2 * PF_ARRAY_LENGTH(phases); n++) {
        bool completed = n % 2 == 0;
        play_finish(&p);
        play_init(&p, false, NULL);
        play_join(&p);
        for (size_t i = 0; i < n / 2; i++) steps[i]();
        assert_int_equal(phase(&p.f), phases[n / 2]);
        struct pf_message over = result(&p.f, SECURE_ROUND);
        over.result.completed = completed;
        assert_true(play_give(&p, &over));
        assert_int_equal(phase(&p.f), PF_PARTICIPANT_IDLE);
        assert_int_equal(p.f.n_results, 1);
        assert_int_equal(p.f.n_cancels, phases[n / 2] == PF_PARTICIPANT_TRAINING);
        assert_int_equal(p.f.records[0].outcome,
                         completed && phases[n / 2] == PF_PARTICIPANT_UNMASKING
                             ? PF_OUTCOME_DELIVERED
                             : PF_OUTCOME_DROPPED);
        assert_null(p.f.session->secagg);
        assert_null(p.f.session->trained.values);
        assert_null(p.f.session->update.bytes);
        /* What comes late finds nobody. */
        struct pf_message list = mini_key_list(&p.round, SECURE_SELF);
        uint64_t stale = counters()->stale;
        assert_false(play_give(&p, &list));
        assert_int_equal(counters()->stale, stale + 1);
        pf_message_finish(&list);
    }
}

static void test_an_unmasking_that_never_ends_is_given_up(void **state)
{
    (void)state;
    play_join(&p);
    play_fetch(&p);
    play_share(&p);
    play_deliver(&p);
    play_train(&p);
    play_upload(&p);
    int64_t begun = p.f.now;
    struct pf_message word = alive(&p.f);
    while (phase(&p.f) == PF_PARTICIPANT_UNMASKING) {
        assert_true(p.f.now - begun < 400000);
        tick(&p.f, 1000);
        assert_true(give(&p.f, &word));
    }
    assert_true(p.f.now - begun >= 330000); /* unmask_grace + deadline_grace */
    assert_null(p.f.session->secagg);
}

/* ---- restarts and the ledger ---------------------------------------------------------------- */

static void test_a_restarted_session_does_not_join_the_same_round_again(void **state)
{
    (void)state;
    play_join(&p);
    struct pf_participation known = p.f.records[0];
    for (int consented = 0; consented < 2; consented++) {
        known.consented = consented != 0;
        play_finish(&p);
        play_init(&p, false, NULL);
        struct pf_message made = play_welcome(&p);
        tick(&p.f, 0);
        assert_true(play_give(&p, &made));
        pf_participant_session_recall(p.f.session, &known);
        made = play_offer(&p, SECURE_ROUND);
        keep(&p.f);
        assert_false(play_give(&p, &made));
        assert_true(declined(&p.f, PF_REASON_STEP, SECURE_ROUND));
        assert_int_equal(n_sent(&p.f, PF_MESSAGE_ADVERTISE), 0);
        assert_true(unchanged(&p.f));
        made = play_offer(&p, SECURE_ROUND + 1);
        assert_true(play_give(&p, &made));
        assert_int_equal(n_sent(&p.f, PF_MESSAGE_ADVERTISE), 1);
    }
}

static void test_the_survivor_set_is_recorded_before_the_consent_is_sent(void **state)
{
    (void)state;
    play_join(&p);
    play_fetch(&p);
    play_share(&p);
    play_deliver(&p);
    play_train(&p);
    play_upload(&p);
    struct pf_message survivors = mini_survivors(&p.round);
    struct pf_digest digest = pf_member_set_digest(&survivors.survivors.survivors);
    assert_true(play_give(&p, &survivors));
    pf_message_finish(&survivors);
    assert_int_equal(p.f.n_sent, 1);
    assert_int_equal(p.f.sent[0].kind, PF_MESSAGE_CONSENT);
    assert_int_equal(p.f.n_records, 1);
    assert_true(p.f.records_at[0] < p.f.sent_at[0]);
    assert_int_equal(p.f.records[0].round, SECURE_ROUND);
    assert_int_equal(p.f.records[0].outcome, PF_OUTCOME_JOINED);
    assert_true(p.f.records[0].consented);
    assert_memory_equal(&p.f.records[0].survivors, &digest, sizeof digest);
}

/* Does what the driver in participant.c does: what the ledger does not take stops the session, and
 * nothing but a DECLINE leaves any more. */
static size_t obey_with_ledger(struct pf_ledger *ledger, bool *stopped)
{
    struct pf_participant_action action;
    struct pf_error err = {0};
    size_t consents = 0;
    while (pf_participant_session_next_action(p.f.session, &action)) {
        if (action.kind == PF_PARTICIPANT_RECORD &&
            pf_ledger_record(ledger, &action.record, &err) != PF_OK && !*stopped) {
            *stopped = true;
            pf_participant_session_stop(p.f.session, err.text);
        }
        consents += action.kind == PF_PARTICIPANT_SEND && !*stopped &&
                    action.message.kind == PF_MESSAGE_CONSENT;
    }
    return consents;
}

static void test_a_ledger_that_knows_another_survivor_set_stops_the_session(void **state)
{
    (void)state;
    char dir[] = "/tmp/packfed-secure-XXXXXX", path[64];
    struct pf_ledger *ledger = NULL;
    bool stopped = false;
    assert_non_null(mkdtemp(dir));
    assert_int_equal(pf_ledger_open(dir, &ledger, NULL), PF_OK);
    play_join(&p);
    struct pf_participation known = p.f.records[0];
    known.consented = true;
    memset(&known.survivors, 0x77, sizeof known.survivors);
    assert_int_equal(pf_ledger_record(ledger, &known, NULL), PF_OK);
    play_fetch(&p);
    play_share(&p);
    play_deliver(&p);
    play_train(&p);
    play_upload(&p);
    struct pf_message survivors = mini_survivors(&p.round);
    assert_true(pf_participant_session_receive(p.f.session, &survivors, p.f.now));
    assert_int_equal(obey_with_ledger(ledger, &stopped), 0);
    assert_true(stopped);
    assert_int_equal(phase(&p.f), PF_PARTICIPANT_FAILED);
    assert_false(pf_participant_session_receive(p.f.session, &survivors, p.f.now));
    pf_message_finish(&survivors);
    pf_ledger_close(ledger);
    snprintf(path, sizeof path, "%s/participant.db", dir);
    unlink(path);
    assert_int_equal(rmdir(dir), 0);
}

/* ---- what must not leave -------------------------------------------------------------------- */

static struct pf_buffer logged;

static void keep_line(void *context, enum pf_log_level level, const char *text)
{
    (void)context, (void)level;
    assert_int_equal(pf_buffer_append(&logged, text, strlen(text), NULL), PF_OK);
}

static bool holds(const struct pf_buffer *where, const void *what, size_t length)
{
    return where->length >= length && memmem(where->bytes, where->length, what, length) != NULL;
}

/* A count as text, as an integer or a double of 8 bytes, or as protobuf would write it. */
static bool holds_count(const struct pf_buffer *where, uint64_t count)
{
    char text[24];
    double number = (double)count;
    uint8_t varint[10];
    size_t n = 0;
    int length = snprintf(text, sizeof text, "%llu", (unsigned long long)count);
    for (uint64_t rest = count; rest > 0; rest >>= 7)
        varint[n++] = (uint8_t)((rest & 0x7f) | (rest > 0x7f ? 0x80 : 0));
    return holds(where, text, (size_t)length) || holds(where, &count, sizeof count) ||
           holds(where, &number, sizeof number) || holds(where, varint, n);
}

static bool holds_values(const struct pf_buffer *where, const float *values, size_t n)
{
    for (size_t i = 0; i + 1 < n; i++) {
        char text[32];
        double wide = (double)values[i];
        int length = snprintf(text, sizeof text, "%g", wide);
        if (holds(where, values + i, 2 * sizeof *values) || holds(where, &wide, sizeof wide) ||
            (length > 5 && holds(where, text, (size_t)length)))
            return true;
    }
    return false;
}

/* Counts that are long enough not to stand in random bytes by chance. */
static const uint64_t telling[] = {4000000007, 3500000017, 3000000019};

static void set_telling_figures(struct mini_member *one)
{
    one->figures[PF_FIGURE_EXAMPLES] = telling[0];
    one->figures[PF_FIGURE_EVALUATED] = telling[1];
    one->figures[PF_FIGURE_CORRECT] = telling[2];
}

static void expect_silence(const struct pf_buffer *where)
{
    const struct mini_member *one = &p.round.members[SECURE_SELF];
    assert_true(where->length > 0);
    assert_false(holds_values(where, one->update, p.f.model.n_parameters));
    for (size_t i = 0; i < PF_ARRAY_LENGTH(telling); i++)
        assert_false(holds_count(where, telling[i]));
}

static void test_no_figure_of_the_update_is_sent_or_logged(void **state)
{
    (void)state;
    struct mini_member *one = &p.round.members[SECURE_SELF];
    PF_CLEANUP(pf_buffer_finish) struct pf_buffer plain = {0};
    pf_log_set_sink(keep_line, NULL, PF_LOG_DEBUG);
    play_join(&p);
    set_telling_figures(one);
    play_fetch(&p);
    play_share(&p);
    play_deliver(&p);
    play_train(&p);
    play_upload(&p);
    play_consent(&p);
    play_unmask(&p);
    struct pf_message over = result(&p.f, SECURE_ROUND);
    assert_true(play_give(&p, &over));
    expect_silence(&p.frames);
    expect_silence(&logged);
    /* The search finds what plain aggregation sends. */
    assert_int_equal(pf_update_encode(PF_AGGREGATION_PLAIN, one->update, p.f.model.n_parameters,
                                      (double)telling[0], &plain, NULL),
                     PF_OK);
    assert_true(holds_values(&plain, one->update, p.f.model.n_parameters));
    assert_true(holds_count(&plain, telling[0]));
    pf_log_set_sink(NULL, NULL, PF_LOG_ERROR);
    pf_buffer_finish(&logged);
}

static void test_an_update_that_cannot_be_encoded_is_declined_without_a_figure(void **state)
{
    (void)state;
    struct mini_member *one = &p.round.members[SECURE_SELF];
    pf_log_set_sink(keep_line, NULL, PF_LOG_DEBUG);
    play_join(&p);
    set_telling_figures(one);
    play_fetch(&p);
    play_share(&p);
    play_deliver(&p);
    one->update[11] = INFINITY;
    play_train(&p);
    assert_true(declined(&p.f, PF_REASON_TRAINING_FAILED, SECURE_ROUND));
    assert_string_equal(p.f.sent[0].refusal.text, "the local training diverged");
    assert_int_equal(phase(&p.f), PF_PARTICIPANT_IDLE);
    expect_silence(&p.frames);
    expect_silence(&logged);
    pf_log_set_sink(NULL, NULL, PF_LOG_ERROR);
    pf_buffer_finish(&logged);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_secure_round_from_offer_to_result),
        cmocka_unit_test_setup_teardown(test_a_masked_update_of_several_chunks, set_up_large,
                                        tear_down),
        TEST(test_the_round_is_recorded_before_its_keys_are_sent),
        TEST(test_an_update_waits_for_the_share_boxes),
        TEST(test_the_keys_may_be_settled_before_the_model_is_there),
        TEST(test_repeats_are_answered_again),
        TEST(test_survivors_stand_for_a_lost_receipt),
        TEST(test_a_result_ends_the_round_in_every_phase),
        TEST(test_an_unmasking_that_never_ends_is_given_up),
        TEST(test_a_restarted_session_does_not_join_the_same_round_again),
        TEST(test_the_survivor_set_is_recorded_before_the_consent_is_sent),
        TEST(test_a_ledger_that_knows_another_survivor_set_stops_the_session),
        TEST(test_no_figure_of_the_update_is_sent_or_logged),
        TEST(test_an_update_that_cannot_be_encoded_is_declined_without_a_figure),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
