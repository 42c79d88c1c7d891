/* Dropped, repeated, reordered and forged messages. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/log.h"
#include "proto/model_file.h"
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

static void test_welcome(void **state)
{
    struct fixture *fx = *state;
    fx_hello(fx, BOB);
    const struct pf_welcome *welcome = &fx->asked.welcome[BOB];
    assert_int_equal(welcome->n_rounds, 4);
    assert_int_equal(welcome->alive_interval_ms, LIVENESS_MS / 4);
    assert_int_equal(welcome->aggregation, PF_AGGREGATION_PLAIN);
    assert_true(pf_network_equal(&welcome->network, &fx->config.network));
    assert_memory_equal(&welcome->run_id, &fx->config.run_id, sizeof welcome->run_id);
}

static void test_greetings_refused(void **state)
{
    struct fixture *fx = *state;
    struct pf_message hello = {.kind = PF_MESSAGE_HELLO,
                               .hello = {.version = PF_PROTOCOL_VERSION + 1}};
    fx_assert_refused(fx, ALICE, &hello, PF_REASON_VERSION);
    hello.hello =
        (struct pf_hello){.version = PF_PROTOCOL_VERSION, .returning = true, .run_id = {{8}}};
    fx_assert_refused(fx, ALICE, &hello, PF_REASON_WRONG_RUN);
    struct pf_message alive = {.kind = PF_MESSAGE_ALIVE, .run_id = fx->config.run_id};
    fx_assert_refused(fx, ALICE, &alive, PF_REASON_WRONG_RUN); /* no HELLO yet */
    fx_hello(fx, ALICE);
    alive.run_id.bytes[0] = 9;
    fx_assert_refused(fx, ALICE, &alive, PF_REASON_WRONG_RUN);
}

static void test_kinds_that_only_a_coordinator_sends(void **state)
{
    struct fixture *fx = *state;
    fx_start(fx);
    const enum pf_message_kind kinds[] = {
        PF_MESSAGE_WELCOME,     PF_MESSAGE_REFUSAL,        PF_MESSAGE_ROUND_OFFER,
        PF_MESSAGE_MODEL_CHUNK, PF_MESSAGE_UPDATE_RECEIPT, PF_MESSAGE_ROUND_RESULT,
        PF_MESSAGE_FINISHED,    PF_MESSAGE_N_KINDS,        (enum pf_message_kind)0,
    };
    struct pf_hash before = fx_digest(fx);
    for (size_t i = 0; i < PF_ARRAY_LENGTH(kinds); i++) {
        struct pf_message message = {.kind = kinds[i], .run_id = fx->config.run_id};
        fx_receive(fx, BOB, &message);
        assert_int_equal(pf_coordinator_session_counters(fx->session)->unexpected, i + 1);
    }
    struct pf_hash after = fx_digest(fx);
    assert_memory_equal(&before, &after, sizeof before);
    pf_coordinator_session_malformed(fx->session, BOB);
    assert_int_equal(pf_coordinator_session_counters(fx->session)->malformed, 1);
}

static void count_line(void *context, enum pf_log_level level, const char *text)
{
    (void)level;
    *(size_t *)context += strstr(text, "cannot be read") != NULL;
}

static void test_a_flood_of_garbage_does_not_fill_the_log(void **state)
{
    struct fixture *fx = *state;
    size_t n_lines = 0;
    pf_log_set_sink(count_line, &n_lines, PF_LOG_WARNING);
    for (size_t i = 0; i < 100000; i++) pf_coordinator_session_malformed(fx->session, BOB);
    pf_coordinator_session_malformed(fx->session, ALICE); /* is named all the same */
    pf_log_set_sink(NULL, NULL, PF_LOG_ERROR);
    assert_int_equal(n_lines, 17 + 1); /* 2^16 < 100000 < 2^17 */
    assert_int_equal(pf_coordinator_session_counters(fx->session)->malformed, 100001);
}

static void test_alive_is_answered(void **state)
{
    struct fixture *fx = *state;
    fx_hello(fx, ALICE);
    fx_alive(fx, ALICE, 0);
    assert_int_equal(fx->asked.sent[ALICE][PF_MESSAGE_ALIVE], 1);
}

static void test_model_chunks(void **state)
{
    struct fixture *fx = *state;
    fx_start(fx);
    fx_request(fx, BOB, 0);
    fx_request(fx, BOB, 1);
    assert_int_equal(fx->asked.n_chunks, 2);
    struct pf_message request = {.kind = PF_MESSAGE_MODEL_REQUEST,
                                 .run_id = fx->config.run_id,
                                 .request = {.model_hash = fx->model_hash, .chunk = 2}};
    fx_assert_refused(fx, BOB, &request, PF_REASON_MODEL_HASH);
    request.request.chunk = UINT32_MAX;
    fx_assert_refused(fx, BOB, &request, PF_REASON_MODEL_HASH);
    request.request = (struct pf_model_request){.model_hash = {{99}}};
    fx_assert_refused(fx, BOB, &request, PF_REASON_MODEL_HASH);
}

static void test_model_requests_are_limited(void **state)
{
    struct fixture *fx = *state;
    fx_start(fx);
    const size_t limit = 4 * N_MODEL_CHUNKS + 64;
    for (size_t i = 0; i < limit; i++) fx_request(fx, BOB, 0);
    assert_int_equal(fx->asked.n_chunks, limit);
    struct pf_message request = {.kind = PF_MESSAGE_MODEL_REQUEST,
                                 .run_id = fx->config.run_id,
                                 .request = {.model_hash = fx->model_hash}};
    fx_assert_refused(fx, BOB, &request, PF_REASON_BUSY);
    fx_request(fx, CAROL, 0); /* nobody else suffers */
    assert_int_equal(fx->asked.n_chunks, limit + 1);
}

static void test_chunks_reordered_and_repeated(void **state)
{
    struct fixture *fx = *state;
    fx_start(fx);
    const uint32_t order[] = {0, 2, 0, 2, 2, 1};
    for (size_t i = 0; i < PF_ARRAY_LENGTH(order); i++) {
        assert_int_equal(fx->asked.sent[ALICE][PF_MESSAGE_UPDATE_RECEIPT], 0);
        fx_chunk(fx, ALICE, 1, order[i], 5);
    }
    assert_int_equal(fx->asked.sent[ALICE][PF_MESSAGE_UPDATE_RECEIPT], 1);
    assert_int_equal(fx->asked.sent[ALICE][PF_MESSAGE_UPDATE_GRANT], 2);
    assert_int_equal(pf_coordinator_session_counters(fx->session)->repeated, 3);
    assert_int_equal(pf_sum_count(fx->session->sum), 1);
    float *mean = calloc(N_PARAMETERS, sizeof *mean);
    assert_int_equal(pf_sum_mean(fx->session->sum, mean, NULL), PF_OK);
    for (size_t i = 0; i < N_PARAMETERS; i += 1000) assert_true(fabsf(mean[i] - 5.0f) < 1e-6f);
    free(mean);
}

/* A second version of a chunk that is held already does not replace it. */
static void test_first_chunk_wins(void **state)
{
    struct fixture *fx = *state;
    fx_start(fx);
    fx_chunk(fx, ALICE, 1, 0, 5);
    fx_chunk(fx, ALICE, 1, 0, 7);
    fx_chunk(fx, ALICE, 1, 1, 5);
    fx_chunk(fx, ALICE, 1, 2, 5);
    float *mean = calloc(N_PARAMETERS, sizeof *mean);
    assert_int_equal(pf_sum_mean(fx->session->sum, mean, NULL), PF_OK);
    assert_true(fabsf(mean[0] - 5.0f) < 1e-6f);
    free(mean);
}

static void test_repeated_update_is_counted_once(void **state)
{
    struct fixture *fx = *state;
    fx_start(fx);
    fx_update(fx, ALICE, 1, 1);
    double weight = pf_sum_weight(fx->session->sum);
    fx_update(fx, ALICE, 1, 100);
    assert_int_equal(pf_sum_count(fx->session->sum), 1);
    assert_true(fabs(pf_sum_weight(fx->session->sum) - weight) < 1e-12);
    assert_true(fx->asked.sent[ALICE][PF_MESSAGE_UPDATE_RECEIPT] >= 2); /* answered again */
    assert_null(fx->session->members[ALICE].update);
    /* Also once the round is over: the receipt may have been lost. */
    for (size_t i = 1; i < N_MEMBERS; i++) fx_update(fx, i, 1, 1);
    size_t receipts = fx->asked.sent[ALICE][PF_MESSAGE_UPDATE_RECEIPT];
    fx_chunk(fx, ALICE, 1, 0, 1);
    assert_int_equal(fx->asked.sent[ALICE][PF_MESSAGE_UPDATE_RECEIPT], receipts + 1);
    fx_job_done(fx, 60);
    fx_chunk(fx, ALICE, 1, 2, 1);
    assert_int_equal(fx->asked.sent[ALICE][PF_MESSAGE_UPDATE_RECEIPT], receipts + 2);
    assert_int_equal(pf_sum_count(fx->session->sum), 0);
}

static void test_late_update(void **state)
{
    struct fixture *fx = *state;
    fx_start(fx);
    struct pf_message late = fx_chunk_message(fx, 1, 0, 1);
    for (size_t i = 0; i < 3; i++) fx_update(fx, i, 1, 1);
    for (int i = 0; i < 5; i++) {
        for (size_t m = 0; m < N_MEMBERS; m++) fx_alive(fx, m, 0);
        fx_tick(fx, ROUND_MS / 5);
    }
    assert_int_equal(fx->session->phase, PF_COORDINATOR_APPLYING);
    fx_assert_refused(fx, DAVE, &late, PF_REASON_LATE);
    fx_job_done(fx, 60);
    fx_assert_refused(fx, DAVE, &late, PF_REASON_LATE); /* round 2 is open now */
    late.chunk.round = 2; /* the old model's update under the new number */
    fx_assert_refused(fx, DAVE, &late, PF_REASON_MODEL_HASH);
    late.chunk.round = 3;
    fx_assert_refused(fx, DAVE, &late, PF_REASON_LATE);
    pf_message_finish(&late);
}

static void test_dropped_member_stays_dropped(void **state)
{
    struct fixture *fx = *state;
    fx_start(fx);
    fx_decline(fx, DAVE, 1, "not today");
    struct pf_message chunk = fx_chunk_message(fx, 1, 0, 1);
    fx_assert_refused(fx, DAVE, &chunk, PF_REASON_LATE);
    assert_non_null(strstr(fx->asked.refusal[DAVE].text, "dropped from round 1: declined"));
    struct pf_message request = {.kind = PF_MESSAGE_MODEL_REQUEST,
                                 .run_id = fx->config.run_id,
                                 .request = {.model_hash = fx->model_hash}};
    fx_assert_refused(fx, DAVE, &request, PF_REASON_LATE);
    pf_message_finish(&chunk);
}

static void test_wrong_chunks(void **state)
{
    struct fixture *fx = *state;
    fx_start(fx);
    fx_chunk(fx, ALICE, 1, 0, 1); /* a partial update is not disturbed either */
    struct pf_message good = fx_chunk_message(fx, 1, 0, 1);
    struct pf_message bad = good;
    const uint32_t counts[] = {
        0, 1, N_UPDATE_CHUNKS - 1, N_UPDATE_CHUNKS + 1, PF_MAX_CHUNKS, UINT32_MAX};
    for (size_t i = 0; i < PF_ARRAY_LENGTH(counts); i++) {
        bad.chunk.n_chunks = counts[i];
        fx_assert_refused(fx, ALICE, &bad, PF_REASON_UPDATE_INVALID);
        fx_assert_refused(fx, BOB, &bad, PF_REASON_UPDATE_INVALID);
        assert_null(fx->session->members[BOB].update); /* no memory for what is refused */
    }
    bad = good;
    bad.chunk.chunk = N_UPDATE_CHUNKS;
    fx_assert_refused(fx, ALICE, &bad, PF_REASON_UPDATE_INVALID);
    bad.chunk.chunk = UINT32_MAX;
    fx_assert_refused(fx, ALICE, &bad, PF_REASON_UPDATE_INVALID);
    bad = good;
    bad.chunk.length = PF_CHUNK_BYTES - 1;
    fx_assert_refused(fx, ALICE, &bad, PF_REASON_UPDATE_INVALID);
    bad = good;
    bad.chunk.chunk = N_UPDATE_CHUNKS - 1; /* the last one is shorter than this */
    fx_assert_refused(fx, ALICE, &bad, PF_REASON_UPDATE_INVALID);
    bad = good;
    bad.chunk.model_hash.bytes[31] ^= 1;
    fx_assert_refused(fx, ALICE, &bad, PF_REASON_MODEL_HASH);
    bad = good;
    bad.chunk.round = 0;
    fx_assert_refused(fx, ALICE, &bad, PF_REASON_LATE);
    pf_message_finish(&good);
}

static void test_not_a_number(void **state)
{
    struct fixture *fx = *state;
    fx_start(fx);
    fx_update(fx, ALICE, 1, 1);
    double weight = pf_sum_weight(fx->session->sum);
    fx_chunk(fx, BOB, 1, 0, 1);
    struct pf_message chunk = fx_chunk_message(fx, 1, 1, 1);
    const uint8_t nan[4] = {0, 0, 0xc0, 0x7f};
    memcpy(chunk.chunk.bytes + 400, nan, sizeof nan);
    fx_receive(fx, BOB, &chunk);
    pf_message_finish(&chunk);
    fx_chunk(fx, BOB, 1, 2, 1);
    assert_int_equal(fx->asked.refusal[BOB].reason, PF_REASON_UPDATE_INVALID);
    assert_int_equal(fx_refused(fx, PF_REASON_UPDATE_INVALID), 1);
    assert_int_equal(fx->asked.sent[BOB][PF_MESSAGE_UPDATE_RECEIPT], 0);
    assert_non_null(strstr(fx->asked.events, "round 1: bob dropped: invalid update"));
    assert_int_equal(pf_sum_count(fx->session->sum), 1);
    assert_true(fabs(pf_sum_weight(fx->session->sum) - weight) < 1e-12);
    assert_null(fx->session->members[BOB].update);
    /* The others complete the round without him. */
    fx_update(fx, CAROL, 1, 1);
    fx_update(fx, DAVE, 1, 1);
    assert_int_equal(fx->asked.n_apply, 1);
    assert_int_equal(pf_sum_count(fx->asked.sum), 3);
}

static void test_restarted_member_joins_the_next_round(void **state)
{
    struct fixture *fx = *state;
    fx_start(fx);
    fx_request(fx, DAVE, 0);
    fx_chunk(fx, DAVE, 1, 0, 1);
    fx_hello(fx, DAVE);
    assert_non_null(strstr(fx->asked.events, "round 1: dave dropped: restarted"));
    /* To say that it trains is to have taken up the offer, too. */
    fx_alive(fx, CAROL, 1);
    fx_hello(fx, CAROL);
    assert_non_null(strstr(fx->asked.events, "round 1: carol dropped: restarted"));
    assert_int_equal(fx->asked.sent[DAVE][PF_MESSAGE_WELCOME], 2);
    assert_null(fx->session->members[DAVE].update);
    fx_update(fx, ALICE, 1, 1);
    fx_update(fx, BOB, 1, 1);
    fx_job_done(fx, 60);
    assert_int_equal(fx->asked.offer[DAVE].round, 2);
    assert_int_equal(fx->asked.offer[DAVE].cohort, 4);
}

static void test_who_joins_is_counted_at_once(void **state)
{
    (void)state;
    struct pf_coordinator_session_config config = fx_config();
    struct fixture *fx = fx_create(&config);
    fx_hello(fx, 1);
    assert_non_null(strstr(fx->asked.events, "bob has joined (1 of 4 members)"));
    fx_hello(fx, 0);
    assert_non_null(strstr(fx->asked.events, "alice has joined (2 of 4 members)"));
    fx_destroy(fx);
}

static void test_hello_repeated_before_the_offer_was_taken_up(void **state)
{
    struct fixture *fx = *state;
    fx_start(fx);
    fx_hello(fx, DAVE);
    assert_null(strstr(fx->asked.events, "dropped"));
    assert_int_equal(fx->asked.sent[DAVE][PF_MESSAGE_ROUND_OFFER], 2);
    fx_update(fx, DAVE, 1, 1);
    assert_int_equal(pf_sum_count(fx->session->sum), 1);
}

/* A small message must not be a way to have large ones sent without end. */
static void test_hello_without_end_is_answered_by_welcome_alone(void **state)
{
    struct fixture *fx = *state;
    fx_start(fx);
    for (int i = 0; i < 1000; i++) fx_hello(fx, DAVE);
    assert_true(fx->asked.sent[DAVE][PF_MESSAGE_WELCOME] > 1000);
    size_t offers = fx->asked.sent[DAVE][PF_MESSAGE_ROUND_OFFER];
    assert_in_range(offers, 2, 10);
    fx_tick(fx, LIVENESS_MS / 4);
    fx_hello(fx, DAVE);
    assert_int_equal(fx->asked.sent[DAVE][PF_MESSAGE_ROUND_OFFER], offers + 1);
}

static void test_reconnected_member_goes_on(void **state)
{
    struct fixture *fx = *state;
    fx_start(fx);
    fx_chunk(fx, DAVE, 1, 0, 1);
    fx_hello_again(fx, DAVE, true);
    fx_chunk(fx, DAVE, 1, 1, 1);
    fx_chunk(fx, DAVE, 1, 2, 1);
    assert_int_equal(pf_sum_count(fx->session->sum), 1);
    fx_hello(fx, DAVE); /* a restart after its update counted takes nothing back */
    assert_int_equal(pf_sum_count(fx->session->sum), 1);
    assert_null(strstr(fx->asked.events, "dropped"));
}

static void test_newcomer_waits_for_the_next_round(void **state)
{
    struct fixture *fx = *state;
    for (size_t i = 0; i < 3; i++) fx_hello(fx, i);
    fx_tick(fx, GATHER_MS);
    fx_job_done(fx, 50);
    fx_hello(fx, DAVE);
    assert_int_equal(fx->asked.sent[DAVE][PF_MESSAGE_ROUND_OFFER], 0);
    struct pf_message chunk = fx_chunk_message(fx, 1, 0, 1);
    fx_assert_refused(fx, DAVE, &chunk, PF_REASON_LATE);
    pf_message_finish(&chunk);
    for (size_t i = 0; i < 3; i++) fx_update(fx, i, 1, 1);
    fx_job_done(fx, 60);
    assert_int_equal(fx->asked.offer[DAVE].round, 2);
}

static void test_decline_is_named_and_tamed(void **state)
{
    struct fixture *fx = *state;
    fx_start(fx);
    fx_decline(fx, CAROL, 1, "bad \x1b[31m packing\n");
    assert_non_null(
        strstr(fx->asked.events, "round 1: carol dropped: declined: policy: bad ?[31m packing?"));
    struct pf_message decline = {.kind = PF_MESSAGE_DECLINE,
                                 .run_id = fx->config.run_id,
                                 .refusal = {.reason = PF_REASON_POLICY, .round = 9}};
    fx_assert_refused(fx, ALICE, &decline, PF_REASON_LATE);
    decline.refusal.round = 1;
    fx_assert_refused(fx, CAROL, &decline, PF_REASON_LATE); /* once is enough */
}

/* Forged by index: one member's messages never count for another. */
static void test_members_are_told_apart(void **state)
{
    struct fixture *fx = *state;
    fx_start(fx);
    fx_chunk(fx, ALICE, 1, 0, 1);
    fx_chunk(fx, BOB, 1, 0, 1);
    fx_chunk(fx, BOB, 1, 1, 1);
    struct pf_message last = fx_chunk_message(fx, 1, 2, 1);
    fx_assert_refused(fx, CAROL, &last, PF_REASON_BUSY); /* granted to others, not to her */
    pf_message_finish(&last);
    assert_int_equal(pf_sum_count(fx->session->sum), 0);
    assert_int_equal(fx->session->members[ALICE].n_received, 1);
    assert_int_equal(fx->session->members[BOB].n_received, 2);
    assert_int_equal(fx->session->members[CAROL].n_received, 0);
}

/* Round 0 stands for all of them. */
static void test_declining_the_run(void **state)
{
    struct fixture *fx = *state;
    fx_start(fx);
    fx_decline(fx, DAVE, 0, "another network");
    assert_non_null(
        strstr(fx->asked.events, "dave takes no part in this run: declined: policy: another"));
    assert_non_null(strstr(fx->asked.events, "round 1: dave dropped: declined the run"));
    for (size_t i = 0; i < 3; i++) fx_update(fx, i, 1, 1);
    fx_job_done(fx, 60);
    assert_int_equal(fx->asked.offer[ALICE].round, 2);
    assert_int_equal(fx->asked.offer[ALICE].cohort, 3);
    assert_int_equal(fx->asked.sent[DAVE][PF_MESSAGE_ROUND_OFFER], 1);
    fx_update(fx, ALICE, 2, 1);
    fx_decline(fx, ALICE, 0, "enough"); /* what is counted stays counted */
    assert_int_equal(pf_sum_count(fx->session->sum), 1);
    fx_update(fx, BOB, 2, 1);
    fx_update(fx, CAROL, 2, 1);
    fx_job_done(fx, 61);
    assert_int_equal(fx->asked.record.included, 3);
    assert_int_equal(fx->session->phase, PF_COORDINATOR_FAILED); /* two of four cannot be three */
    assert_non_null(strstr(fx->asked.sentence, "alice and dave declined to take part"));
}

int main(void)
{
#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_welcome),
        TEST(test_greetings_refused),
        TEST(test_kinds_that_only_a_coordinator_sends),
        TEST(test_a_flood_of_garbage_does_not_fill_the_log),
        TEST(test_alive_is_answered),
        TEST(test_model_chunks),
        TEST(test_model_requests_are_limited),
        TEST(test_chunks_reordered_and_repeated),
        TEST(test_first_chunk_wins),
        TEST(test_repeated_update_is_counted_once),
        TEST(test_late_update),
        TEST(test_dropped_member_stays_dropped),
        TEST(test_wrong_chunks),
        TEST(test_not_a_number),
        TEST(test_restarted_member_joins_the_next_round),
        TEST(test_who_joins_is_counted_at_once),
        TEST(test_hello_repeated_before_the_offer_was_taken_up),
        TEST(test_hello_without_end_is_answered_by_welcome_alone),
        TEST(test_reconnected_member_goes_on),
        TEST(test_newcomer_waits_for_the_next_round),
        TEST(test_decline_is_named_and_tamed),
        TEST(test_members_are_told_apart),
        TEST(test_declining_the_run),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
