/* What the participant's session refuses, and that a refusal changes nothing. */
#include <stdarg.h>
#include <stddef.h>

#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/log.h"
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

static void test_a_forged_chunk_is_refused_and_asked_for_again(void **state)
{
    (void)state;
    to_fetching(&f, 1);
    struct pf_message made = chunk(&f, &f.model, 2);
    uint8_t *forged = malloc(made.chunk.length);
    assert_non_null(forged);
    memcpy(forged, made.chunk.bytes, made.chunk.length);
    forged[100] ^= 1;
    made.chunk.bytes = forged;
    keep(&f);
    assert_false(give(&f, &made));
    assert_true(unchanged(&f));
    assert_int_equal(f.n_sent, 0);
    assert_int_equal(counters()->refused[PF_REASON_MODEL_HASH], 1);
    free(forged);

    assert_true(tick_until_sent(&f, PF_MESSAGE_MODEL_REQUEST, 10000));
    assert_int_equal(n_sent(&f, PF_MESSAGE_MODEL_REQUEST), 4);
    for (uint32_t i = 0; i < 5; i++) {
        made = chunk(&f, &f.model, i);
        assert_true(give(&f, &made));
    }
    assert_int_equal(phase(&f), PF_PARTICIPANT_TRAINING);
}

static void test_a_model_that_has_not_the_offered_hash_is_declined(void **state)
{
    (void)state;
    f.model.hash.bytes[0] ^= 1; /* every chunk is right, the whole is not */
    to_fetching(&f, 4);
    for (uint32_t i = 0; i < 5; i++) {
        struct pf_message made = chunk(&f, &f.model, i);
        assert_true(give(&f, &made));
    }
    assert_true(declined(&f, PF_REASON_MODEL_HASH, 4));
    assert_int_equal(phase(&f), PF_PARTICIPANT_IDLE);
    assert_int_equal(f.n_trains, 0);
    /* The same offer again gets the same answer without another download. */
    struct pf_message again = offer(&f, 4, &f.model);
    assert_true(give(&f, &again));
    assert_true(declined(&f, PF_REASON_MODEL_HASH, 4));
    assert_int_equal(n_sent(&f, PF_MESSAGE_MODEL_REQUEST), 0);
}

static void fetch_all(struct served *model, uint32_t round)
{
    struct pf_message made = offer(&f, round, model);
    assert_true(give(&f, &made));
    for (uint32_t i = 0; i < model->n_chunks; i++) {
        made = chunk(&f, model, i);
        assert_true(give(&f, &made));
    }
}

static void test_a_broken_packing_is_declined(void **state)
{
    (void)state;
    PF_CLEANUP(pf_packing_destroyp) struct pf_packing *packing = NULL;
    PF_CLEANUP(pf_model_destroyp) struct pf_model *model = NULL;
    PF_CLEANUP(pf_buffer_finish) struct pf_buffer bytes = {0};
    struct served served = {0};
    struct pf_error err = {0};
    static float weights[512 * 512];
    static uint32_t groups[512];
    for (uint32_t c = 0; c < 512; c++) groups[c] = c / 2;
    for (size_t r = 0; r < 512; r++) weights[r * 512] = weights[r * 512 + 2] = 1.0f;
    assert_int_equal(pf_packing_from_dense(weights, 512, 512, groups, 256, 2, 1.0f, &packing, &err),
                     PF_OK);
    const struct pf_packing *packings[3] = {NULL, packing, NULL};
    assert_int_equal(pf_model_create(&f.network, packings, &model, &err), PF_OK);
    assert_int_equal(pf_model_encode(model, &bytes, &err), PF_OK);
    /* Behind the encoder's back: a row with two survivors in one column; all hashes are right. */
    static const uint8_t columns[] = {0, 2, 0, 2, 0, 2, 0, 2};
    uint8_t *at = memmem(bytes.bytes, bytes.length, columns, sizeof columns);
    assert_non_null(at);
    at[1] = 0;
    struct pf_hash hash = pf_hash_bytes(bytes.bytes, bytes.length - PF_HASH_BYTES);
    memcpy(bytes.bytes + bytes.length - PF_HASH_BYTES, hash.bytes, PF_HASH_BYTES);
    serve_bytes(&served, bytes.bytes, bytes.length);
    to_idle(&f);
    fetch_all(&served, 1);
    assert_true(declined(&f, PF_REASON_PACKING, 1));
    assert_non_null(strstr(f.sent[0].refusal.text, "group"));
    assert_int_equal(phase(&f), PF_PARTICIPANT_IDLE);
    pf_buffer_finish(&served.bytes);
}

static void test_bytes_that_are_no_model_are_declined(void **state)
{
    (void)state;
    struct served served = {0};
    serve_bytes(&served, "not a model at all", 18);
    to_idle(&f);
    fetch_all(&served, 1);
    assert_true(declined(&f, PF_REASON_PACKING, 1));
    assert_int_equal(phase(&f), PF_PARTICIPANT_IDLE);
    pf_buffer_finish(&served.bytes);
}

static void test_a_model_of_another_network_is_declined(void **state)
{
    (void)state;
    struct served served = {0};
    struct pf_network other = f.network;
    other.filters[0] = 16;
    serve_model(&served, &other, 3);
    to_idle(&f);
    fetch_all(&served, 1);
    assert_true(declined(&f, PF_REASON_ARCHITECTURE, 1));
    assert_int_equal(phase(&f), PF_PARTICIPANT_IDLE);
    pf_buffer_finish(&served.bytes);
}

static void test_a_second_model_for_one_round_is_refused(void **state)
{
    (void)state;
    struct served other = {0};
    serve_model(&other, &f.network, 2);
    struct pf_message second = offer(&f, 5, &other);
    to_fetching(&f, 5);
    keep(&f);
    assert_false(give(&f, &second));
    assert_true(declined(&f, PF_REASON_POLICY, 5));
    assert_true(unchanged(&f));
    for (uint32_t i = 0; i < 5; i++) {
        struct pf_message made = chunk(&f, &f.model, i);
        assert_true(give(&f, &made));
    }
    trained(&f, f.job, f.model.n_parameters);
    struct pf_message made = receipt(&f, 5);
    assert_true(give(&f, &made));
    keep(&f);
    assert_false(give(&f, &second));
    assert_true(declined(&f, PF_REASON_POLICY, 5));
    assert_true(unchanged(&f));
    assert_int_equal(counters()->refused[PF_REASON_POLICY], 2);
    pf_buffer_finish(&other.bytes);
}

static void test_a_ledger_ties_the_round_to_its_model_across_a_restart(void **state)
{
    (void)state;
    struct served other = {0};
    serve_model(&other, &f.network, 2);
    to_idle(&f);
    const struct pf_participation known = {
        .run_id = f.run_id, .round = 5, .model_hash = f.model.hash, .outcome = PF_OUTCOME_JOINED};
    pf_participant_session_recall(f.session, &known);
    struct pf_message second = offer(&f, 5, &other);
    assert_false(give(&f, &second));
    assert_true(declined(&f, PF_REASON_POLICY, 5));
    struct pf_message old = offer(&f, 4, &f.model);
    assert_false(give(&f, &old));
    assert_true(declined(&f, PF_REASON_LATE, 4));
    struct pf_message same = offer(&f, 5, &f.model); /* interrupted: taken up again */
    assert_true(give(&f, &same));
    assert_int_equal(phase(&f), PF_PARTICIPANT_FETCHING);
    pf_buffer_finish(&other.bytes);
}

static void count_line(void *context, enum pf_log_level level, const char *text)
{
    (void)level, (void)text;
    ++*(size_t *)context;
}

static void test_a_flood_of_refusals_does_not_fill_the_log(void **state)
{
    (void)state;
    size_t n_lines = 0;
    to_training(&f, 1);
    struct pf_message second = offer(&f, 1, &f.model);
    second.offer.model_hash.bytes[0] ^= 1;
    pf_log_set_sink(count_line, &n_lines, PF_LOG_WARNING);
    for (size_t i = 0; i < 10000; i++) assert_false(give(&f, &second));
    pf_log_set_sink(NULL, NULL, PF_LOG_ERROR);
    assert_int_equal(n_lines, 14); /* 2^13 < 10000 < 2^14 */
}

static void switch_run(uint8_t id)
{
    struct pf_message over = finished(&f, false);
    memset(&f.run_id, id, sizeof f.run_id);
    over.run_id = f.run_id;
    assert_true(give(&f, &over));
    struct pf_message answer = welcome(&f);
    assert_true(give(&f, &answer));
}

/* Sending a participant to another run and back must not make it forget the round's model. */
static void test_a_round_is_tied_to_its_model_also_by_way_of_another_run(void **state)
{
    (void)state;
    uint8_t first = f.run_id.bytes[0];
    to_training(&f, 3);
    struct pf_message second = offer(&f, 3, &f.model);
    second.offer.model_hash.bytes[0] ^= 1;
    switch_run(0x11);
    switch_run(0x22);
    switch_run(first);
    assert_false(give(&f, &second));
    assert_true(declined(&f, PF_REASON_POLICY, 3));
    struct pf_message older = offer(&f, 2, &f.model);
    assert_false(give(&f, &older));
    assert_true(declined(&f, PF_REASON_LATE, 2));
}

static void test_too_many_runs_in_one_life_end_it(void **state)
{
    (void)state;
    to_idle(&f);
    for (uint8_t id = 1; id < PF_PARTICIPANT_MAX_RUNS; id++) switch_run(id);
    struct pf_message over = finished(&f, false);
    memset(&over.run_id, 0xee, sizeof over.run_id);
    give(&f, &over);
    struct pf_message last = welcome(&f);
    last.run_id = over.run_id;
    assert_false(give(&f, &last));
    assert_int_equal(phase(&f), PF_PARTICIPANT_FAILED);
    assert_non_null(strstr(sentence(), "runs"));
}

static void test_an_old_round_is_refused(void **state)
{
    (void)state;
    to_training(&f, 3);
    struct pf_message made = offer(&f, 2, &f.model);
    keep(&f);
    assert_false(give(&f, &made));
    assert_true(declined(&f, PF_REASON_LATE, 2));
    assert_true(unchanged(&f));
    made = result(&f, 3);
    assert_true(give(&f, &made)); /* it went on without us */
    assert_int_equal(f.n_cancels, 1);
    assert_int_equal(phase(&f), PF_PARTICIPANT_IDLE);
    made = offer(&f, 3, &f.model);
    assert_false(give(&f, &made));
    assert_int_equal(counters()->refused[PF_REASON_LATE], 2);
    assert_int_equal(counters()->stale, 2);
}

static void small_cohorts_refused(struct pf_participant_session_config *config)
{
    config->policy.min_cohort = 6;
}

/* A sum of two tells each what the other sent, whatever is asked for. */
static void test_no_policy_agrees_to_secure_sums_of_two(void **state)
{
    (void)state;
    struct pf_participant_policy policy;
    pf_participant_policy_default(&policy);
    for (uint32_t asked = 0; asked < 6; asked++) {
        policy.min_cohort = asked;
        assert_int_equal(pf_participant_policy_min_cohort(&policy, PF_AGGREGATION_SECURE),
                         PF_MAX(asked, 3));
        assert_int_equal(pf_participant_policy_min_cohort(&policy, PF_AGGREGATION_PLAIN),
                         PF_MAX(asked, 1));
    }
}

static void test_a_cohort_below_the_minimum_is_declined(void **state)
{
    (void)state;
    fixture_finish(&f);
    fixture_init(&f, small_cohorts_refused);
    to_idle(&f);
    struct pf_message made = offer(&f, 1, &f.model);
    keep(&f);
    assert_false(give(&f, &made));
    assert_true(declined(&f, PF_REASON_COHORT_TOO_SMALL, 1));
    assert_true(unchanged(&f));
    assert_int_equal(counters()->refused[PF_REASON_COHORT_TOO_SMALL], 1);
    made.offer.cohort = 6;
    assert_true(give(&f, &made));
}

static void pinned(struct pf_participant_session_config *config)
{
    config->policy.pinned = true;
    config->policy.network = (struct pf_network){.block_kind = PF_LAYER_CONV3X3,
                                                 .n_blocks = 1,
                                                 .filters = {512},
                                                 .layers = {1},
                                                 .strides = {1},
                                                 .in_channels = 1,
                                                 .in_height = 4,
                                                 .in_width = 4,
                                                 .n_classes = 3};
}

static void test_an_architecture_other_than_the_pinned_one_ends_it(void **state)
{
    (void)state;
    fixture_finish(&f);
    fixture_init(&f, pinned);
    tick(&f, 0);
    struct pf_message made = welcome(&f);
    assert_false(give(&f, &made));
    assert_true(declined(&f, PF_REASON_ARCHITECTURE, 0));
    assert_int_equal(phase(&f), PF_PARTICIPANT_FAILED);
    assert_non_null(strstr(sentence(), "--filters"));
    assert_int_equal(counters()->refused[PF_REASON_ARCHITECTURE], 1);
}

static void other_images(struct pf_participant_session_config *config)
{
    config->policy.in_channels = 3;
    config->policy.in_height = config->policy.in_width = 32;
    config->policy.n_classes = 10;
}

static void test_a_network_that_does_not_fit_the_images_ends_it(void **state)
{
    (void)state;
    fixture_finish(&f);
    fixture_init(&f, other_images);
    tick(&f, 0);
    struct pf_message made = welcome(&f);
    assert_false(give(&f, &made));
    assert_int_equal(phase(&f), PF_PARTICIPANT_FAILED);
    assert_non_null(strstr(sentence(), "--data"));
}

static void test_absurd_orders_are_declined(void **state)
{
    (void)state;
    to_idle(&f);
    const struct pf_message sound = offer(&f, 1, &f.model);
    struct pf_message absurd[12];
    for (size_t i = 0; i < 12; i++) absurd[i] = sound;
    absurd[0].offer.order.epochs = 101.0;
    absurd[1].offer.order.epochs = (double)NAN;
    absurd[2].offer.order.epochs = 0.0;
    absurd[3].offer.order.learning_rate = (double)INFINITY;
    absurd[4].offer.order.batch = 0;
    absurd[5].offer.order.schedule = 99;
    absurd[6].offer.order.proximal = (double)NAN;
    absurd[7].offer.order.momentum = -1.0;
    absurd[8].offer.model_bytes = (uint64_t)PF_MAX_MODEL_BYTES + 1;
    absurd[9].offer.model_bytes = 0;
    absurd[10].offer.n_chunks = 4;
    absurd[11].offer.model_bytes = 3 * PF_CHUNK_BYTES;
    keep(&f);
    for (size_t i = 0; i < 12; i++) {
        assert_false(give(&f, &absurd[i]));
        assert_true(declined(&f, PF_REASON_POLICY, 1));
        assert_true(unchanged(&f));
    }
    assert_int_equal(counters()->refused[PF_REASON_POLICY], 12);
    assert_true(give(&f, &sound));
}

static void test_an_update_of_the_wrong_length_is_never_sent(void **state)
{
    (void)state;
    to_training(&f, 1);
    trained(&f, f.job, f.model.n_parameters - 1);
    assert_true(declined(&f, PF_REASON_TRAINING_FAILED, 1));
    assert_int_equal(n_sent(&f, PF_MESSAGE_UPDATE_CHUNK), 0);
}

static void test_another_version_or_aggregation_ends_it(void **state)
{
    (void)state;
    tick(&f, 0);
    struct pf_message made = welcome(&f);
    made.welcome.version = PF_PROTOCOL_VERSION - 1;
    assert_false(give(&f, &made));
    assert_int_equal(phase(&f), PF_PARTICIPANT_FAILED);
    fixture_finish(&f);
    fixture_init(&f, NULL);
    tick(&f, 0);
    made = welcome(&f);
    made.welcome.aggregation = PF_AGGREGATION_SECURE;
    assert_false(give(&f, &made));
    assert_int_equal(phase(&f), PF_PARTICIPANT_FAILED);
    assert_non_null(strstr(sentence(), "secure"));
}

static void test_what_is_refused_changes_nothing_in_any_phase(void **state)
{
    (void)state;
    static void (*const reach[])(struct fixture *, uint32_t) = {to_fetching, to_training,
                                                                to_uploading};
    for (size_t p = 0; p < PF_ARRAY_LENGTH(reach); p++) {
        fixture_finish(&f);
        fixture_init(&f, NULL);
        reach[p](&f, 2);
        struct pf_message bad[16];
        size_t n = 0;
        bad[n++] = welcome(&f); /* to another run */
        bad[0].run_id.bytes[3] ^= 1;
        bad[n] = welcome(&f); /* to this run, with another network */
        bad[n++].welcome.network.n_classes++;
        bad[n] = offer(&f, 3, &f.model); /* of another run */
        bad[n++].run_id.bytes[0] ^= 1;
        bad[n++] = offer(&f, 1, &f.model);
        bad[n] = offer(&f, 2, &f.model); /* another model */
        bad[n++].offer.model_hash.bytes[9] ^= 1;
        bad[n] = chunk(&f, &f.model, 1); /* of another model */
        bad[n++].chunk.model_hash.bytes[9] ^= 1;
        bad[n] = chunk(&f, &f.model, 1);
        bad[n++].chunk.length--;
        bad[n] = chunk(&f, &f.model, 1);
        bad[n++].chunk.chunk = 5;
        bad[n] = chunk(&f, &f.model, 1);
        bad[n++].chunk.n_chunks = 6;
        bad[n] = chunk(&f, &f.model, 1); /* another chunk's bytes */
        bad[n++].chunk.chunk = 2;
        bad[n++] = receipt(&f, 3);
        bad[n++] = receipt(&f, 1);
        bad[n++] = refusal(&f, PF_REASON_LATE, 1);
        bad[n] = alive(&f);
        bad[n++].run_id.bytes[0] ^= 1;
        bad[n] = alive(&f); /* only participants say HELLO */
        bad[n++].kind = PF_MESSAGE_HELLO;
        bad[n] = alive(&f);
        bad[n++].kind = (enum pf_message_kind)77;
        assert_int_equal(n, PF_ARRAY_LENGTH(bad));
        for (size_t i = 0; i < n; i++) {
            f.now += 10;
            keep(&f);
            assert_false(give(&f, &bad[i]));
            assert_true(unchanged(&f));
            assert_int_equal(f.n_sent, n_sent(&f, PF_MESSAGE_DECLINE));
            assert_int_equal(f.n_trains + f.n_cancels + f.n_records, 0);
        }
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_forged_chunk_is_refused_and_asked_for_again),
        TEST(test_a_model_that_has_not_the_offered_hash_is_declined),
        TEST(test_a_broken_packing_is_declined),
        TEST(test_bytes_that_are_no_model_are_declined),
        TEST(test_a_model_of_another_network_is_declined),
        TEST(test_a_second_model_for_one_round_is_refused),
        TEST(test_a_ledger_ties_the_round_to_its_model_across_a_restart),
        TEST(test_a_flood_of_refusals_does_not_fill_the_log),
        TEST(test_a_round_is_tied_to_its_model_also_by_way_of_another_run),
        TEST(test_too_many_runs_in_one_life_end_it),
        TEST(test_an_old_round_is_refused),
        TEST(test_no_policy_agrees_to_secure_sums_of_two),
        TEST(test_a_cohort_below_the_minimum_is_declined),
        TEST(test_an_architecture_other_than_the_pinned_one_ends_it),
        TEST(test_a_network_that_does_not_fit_the_images_ends_it),
        TEST(test_absurd_orders_are_declined),
        TEST(test_an_update_of_the_wrong_length_is_never_sent),
        TEST(test_another_version_or_aggregation_ends_it),
        TEST(test_what_is_refused_changes_nothing_in_any_phase),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
