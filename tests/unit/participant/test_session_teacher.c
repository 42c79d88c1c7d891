/* The teacher of a run in the participant's session: fetched once, kept, and refused by name. */
#include <stdarg.h>
#include <stddef.h>

#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <string.h>

#include "common/base/memory.h"
#include "fixture.h"

static struct fixture f;
static struct served teacher, next_model;

static void set_up_with(void (*change)(struct pf_participant_session_config *))
{
    fixture_init(&f, change);
    serve_model(&teacher, &f.network, 77);
    serve_model(&next_model, &f.network, 2);
}

static int set_up(void **state)
{
    (void)state;
    set_up_with(NULL);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    fixture_finish(&f);
    pf_buffer_finish(&teacher.bytes);
    pf_buffer_finish(&next_model.bytes);
    return 0;
}

static uint64_t refused(enum pf_reason reason)
{
    return pf_participant_session_counters(f.session)->refused[reason];
}

/* Requests of the last event, all for this model. */
static size_t n_asked(const struct served *model)
{
    size_t n = 0;
    for (size_t i = 0; i < f.n_sent; i++)
        n += f.sent[i].kind == PF_MESSAGE_MODEL_REQUEST &&
             pf_hash_equal(&f.sent[i].request.model_hash, &model->hash);
    assert_int_equal(n, n_sent(&f, PF_MESSAGE_MODEL_REQUEST));
    return n;
}

static void give_all(struct served *model)
{
    for (uint32_t i = 0; i < model->n_chunks; i++) {
        struct pf_message made = chunk(&f, model, i);
        assert_true(give(&f, &made));
    }
}

static void offer_round(uint32_t round, struct served *model)
{
    struct pf_message made = teaching_offer(&f, round, model, &teacher);
    assert_true(give(&f, &made));
}

/* Round 1 up to its training. */
static void to_taught_training(void)
{
    to_idle(&f);
    offer_round(1, &f.model);
    give_all(&teacher);
    give_all(&f.model);
    assert_int_equal(phase(&f), PF_PARTICIPANT_TRAINING);
}

static void deliver(uint32_t round)
{
    trained(&f, f.job, f.model.n_parameters);
    struct pf_message made = receipt(&f, round);
    assert_true(give(&f, &made));
    assert_int_equal(phase(&f), PF_PARTICIPANT_IDLE);
}

static void assert_taught(void)
{
    PF_CLEANUP(pf_buffer_finish) struct pf_buffer bytes = {0};
    assert_int_equal(f.n_trains, 1);
    assert_non_null(f.teacher);
    assert_int_equal(pf_model_encode(f.teacher, &bytes, NULL), PF_OK);
    assert_int_equal(bytes.length, teacher.bytes.length);
    assert_memory_equal(bytes.bytes, teacher.bytes.bytes, bytes.length);
    assert_true(f.order.distill_weight == 0.9 && f.order.distill_temperature == 4.0);
}

/* ---- fetched once ---------------------------------------------------------------------------- */

static void test_the_teacher_comes_first_and_is_given_to_the_training(void **state)
{
    (void)state;
    to_idle(&f);
    offer_round(1, &f.model);
    assert_int_equal(phase(&f), PF_PARTICIPANT_FETCHING);
    assert_int_equal(n_asked(&teacher), 4); /* a window */
    for (uint32_t i = 0; i < 4; i++) {
        struct pf_message made = chunk(&f, &teacher, i);
        assert_true(give(&f, &made));
        assert_int_equal(n_asked(&teacher), i == 0);
    }
    struct pf_message last = chunk(&f, &teacher, 4);
    assert_true(give(&f, &last));
    assert_int_equal(n_asked(&f.model), 4);
    assert_int_equal(f.n_trains, 0);
    give_all(&f.model);
    assert_int_equal(phase(&f), PF_PARTICIPANT_TRAINING);
    assert_taught();
}

static void test_later_rounds_fetch_the_model_alone(void **state)
{
    (void)state;
    to_taught_training();
    deliver(1);
    offer_round(2, &next_model);
    assert_int_equal(n_asked(&next_model), 4);
    give_all(&next_model);
    assert_taught();
    deliver(2);
    offer_round(3, &next_model); /* all is at hand */
    assert_int_equal(n_sent(&f, PF_MESSAGE_MODEL_REQUEST), 0);
    assert_taught();
}

static void test_a_round_that_does_not_distil_trains_without(void **state)
{
    (void)state;
    to_taught_training();
    deliver(1);
    struct pf_message plain = offer(&f, 2, &next_model);
    assert_true(give(&f, &plain));
    give_all(&next_model);
    assert_int_equal(f.n_trains, 1);
    assert_null(f.teacher);
    assert_true(f.order.distill_weight == 0.0);
}

static void test_a_round_given_up_keeps_the_teacher(void **state)
{
    (void)state;
    to_idle(&f);
    offer_round(1, &f.model);
    give_all(&teacher);
    struct pf_message over = result(&f, 1);
    assert_true(give(&f, &over));
    assert_int_equal(phase(&f), PF_PARTICIPANT_IDLE);
    offer_round(2, &next_model);
    assert_int_equal(n_asked(&next_model), 4);
}

static void test_a_lost_line_costs_no_second_download(void **state)
{
    (void)state;
    to_idle(&f);
    offer_round(1, &f.model);
    for (uint32_t i = 0; i < 3; i++) {
        struct pf_message made = chunk(&f, &teacher, i);
        assert_true(give(&f, &made));
    }
    pf_participant_session_connected(f.session, f.now);
    tick(&f, 0);
    struct pf_message again = welcome(&f);
    assert_true(give(&f, &again));
    assert_int_equal(n_asked(&teacher), 2); /* what is missing */
    give_all(&teacher);
    assert_int_equal(n_asked(&f.model), 4);
    pf_participant_session_connected(f.session, f.now);
    tick(&f, 0);
    assert_true(give(&f, &again));
    assert_int_equal(n_asked(&f.model), 4);
}

static void test_a_restart_fetches_it_again(void **state)
{
    (void)state;
    to_taught_training();
    fixture_finish(&f);
    fixture_init(&f, NULL);
    to_idle(&f);
    offer_round(2, &f.model);
    assert_int_equal(n_asked(&teacher), 4);
}

static void test_another_run_has_a_teacher_of_its_own(void **state)
{
    (void)state;
    to_taught_training();
    struct pf_message wrong = refusal(&f, PF_REASON_WRONG_RUN, 0);
    memset(&wrong.run_id, 0x33, sizeof wrong.run_id);
    assert_true(give(&f, &wrong));
    assert_int_equal(phase(&f), PF_PARTICIPANT_CONNECTING);
    memset(&f.run_id, 0x33, sizeof f.run_id);
    to_idle(&f);
    serve_model(&teacher, &f.network, 78);
    offer_round(1, &next_model);
    assert_int_equal(n_asked(&teacher), 4);
    give_all(&teacher);
    give_all(&next_model);
    assert_taught();
}

static void test_missing_chunks_are_asked_for_again(void **state)
{
    (void)state;
    to_idle(&f);
    offer_round(1, &f.model);
    assert_true(tick_until_sent(&f, PF_MESSAGE_MODEL_REQUEST, 10000));
    assert_int_equal(n_asked(&teacher), 4);
}

static void test_a_teacher_chunk_that_comes_late_is_stale(void **state)
{
    (void)state;
    to_idle(&f);
    offer_round(1, &f.model);
    give_all(&teacher);
    struct pf_message late = chunk(&f, &teacher, 1);
    keep(&f);
    assert_false(give(&f, &late));
    assert_true(unchanged(&f));
    assert_int_equal(refused(PF_REASON_MODEL_HASH), 0);
    assert_int_equal(pf_participant_session_counters(f.session)->stale, 1);
}

static void test_a_model_that_is_the_teacher_itself(void **state)
{
    (void)state;
    to_idle(&f);
    struct pf_message made = teaching_offer(&f, 1, &teacher, &teacher);
    assert_true(give(&f, &made));
    give_all(&teacher);
    assert_int_equal(n_asked(&teacher), 4);
    give_all(&teacher);
    assert_taught();
}

/* ---- refused by name ------------------------------------------------------------------------- */

/* The run's teacher is declined once it is there, nothing is trained, and a sound one is taken. */
static void assert_declined_once_fetched(struct served *bad, enum pf_reason reason,
                                         const char *words)
{
    to_idle(&f);
    struct pf_message made = teaching_offer(&f, 1, &f.model, bad);
    assert_true(give(&f, &made));
    give_all(bad);
    assert_true(declined(&f, reason, 1));
    for (size_t i = 0; i < f.n_sent; i++)
        if (f.sent[i].kind == PF_MESSAGE_DECLINE && strstr(f.sent[i].refusal.text, words) == NULL)
            fail_msg("'%s' does not say '%s'", f.sent[i].refusal.text, words);
    assert_int_equal(phase(&f), PF_PARTICIPANT_IDLE);
    assert_int_equal(refused(reason), 1);
    assert_int_equal(f.n_trains, 0);
    assert_null(f.session->teacher);
    offer_round(2, &f.model);
    give_all(&teacher);
    give_all(&f.model);
    assert_taught();
}

static void test_a_teacher_without_the_offered_hash_is_declined(void **state)
{
    (void)state;
    struct served bad = teacher; /* shares its bytes */
    bad.hash.bytes[0] ^= 1;
    assert_declined_once_fetched(&bad, PF_REASON_MODEL_HASH, "teacher");
}

static void test_a_packed_teacher_is_declined(void **state)
{
    (void)state;
    PF_CLEANUP(pf_packing_destroyp) struct pf_packing *packing = NULL;
    PF_CLEANUP(pf_model_destroyp) struct pf_model *model = NULL;
    PF_CLEANUP(pf_buffer_finish) struct pf_buffer bytes = {0};
    static float weights[512 * 512];
    static uint32_t groups[512];
    struct served bad = {0};
    for (uint32_t c = 0; c < 512; c++) groups[c] = c / 2;
    for (size_t r = 0; r < 512; r++) weights[r * 512] = 1.0f;
    assert_int_equal(pf_packing_from_dense(weights, 512, 512, groups, 256, 2, 1.0f, &packing, NULL),
                     PF_OK);
    const struct pf_packing *packings[3] = {NULL, packing, NULL};
    assert_int_equal(pf_model_create(&f.network, packings, &model, NULL), PF_OK);
    assert_int_equal(pf_model_encode(model, &bytes, NULL), PF_OK);
    serve_bytes(&bad, bytes.bytes, bytes.length);
    assert_declined_once_fetched(&bad, PF_REASON_PACKING, "dense");
    pf_buffer_finish(&bad.bytes);
}

/* Behind the encoder's back: the parameters stand right before the checksum. */
static void test_a_teacher_that_is_not_finite_is_declined(void **state)
{
    (void)state;
    static const uint8_t nan[4] = {0x00, 0x00, 0xc0, 0x7f};
    PF_CLEANUP(pf_buffer_finish) struct pf_buffer bytes = {0};
    struct served bad = {0};
    assert_int_equal(pf_buffer_append(&bytes, teacher.bytes.bytes, teacher.bytes.length, NULL),
                     PF_OK);
    uint8_t *end = bytes.bytes + bytes.length - PF_HASH_BYTES;
    memcpy(end - teacher.n_parameters * sizeof nan, nan, sizeof nan);
    struct pf_hash hash = pf_hash_bytes(bytes.bytes, bytes.length - PF_HASH_BYTES);
    memcpy(end, hash.bytes, PF_HASH_BYTES);
    serve_bytes(&bad, bytes.bytes, bytes.length);
    assert_declined_once_fetched(&bad, PF_REASON_PACKING, "not finite");
    pf_buffer_finish(&bad.bytes);
}

static void test_a_teacher_of_another_network_is_declined(void **state)
{
    (void)state;
    struct served bad = {0};
    struct pf_network other = f.network;
    other.filters[0] = 500;
    serve_model(&bad, &other, 3);
    assert_declined_once_fetched(&bad, PF_REASON_ARCHITECTURE, "teacher");
    pf_buffer_finish(&bad.bytes);
}

static void test_bytes_that_are_no_model_are_declined(void **state)
{
    (void)state;
    struct served bad = {0};
    serve_bytes(&bad, "not a model at all", 18);
    assert_declined_once_fetched(&bad, PF_REASON_PACKING, "teacher");
    pf_buffer_finish(&bad.bytes);
}

static void test_a_forged_chunk_is_refused_and_changes_nothing(void **state)
{
    (void)state;
    to_idle(&f);
    offer_round(1, &f.model);
    struct pf_message bad[] = {chunk(&f, &teacher, 1), chunk(&f, &teacher, 1),
                               chunk(&f, &teacher, 1), chunk(&f, &teacher, 1),
                               chunk(&f, &f.model, 1)}; /* not its turn */
    bad[0].chunk.chunk = 2;                             /* another chunk's bytes */
    bad[1].chunk.length--;
    bad[2].chunk.n_chunks++;
    bad[3].chunk.model_hash.bytes[5] ^= 1;
    for (size_t i = 0; i < PF_ARRAY_LENGTH(bad); i++) {
        f.now += 10;
        keep(&f);
        assert_false(give(&f, &bad[i]));
        assert_true(unchanged(&f));
        assert_int_equal(f.n_sent, 0);
        assert_int_equal(refused(PF_REASON_MODEL_HASH), i + 1);
    }
    give_all(&teacher);
    give_all(&f.model);
    assert_taught();
}

static void test_absurd_orders_are_declined(void **state)
{
    (void)state;
    to_idle(&f);
    struct pf_message sound = teaching_offer(&f, 1, &f.model, &teacher), absurd[11];
    for (size_t i = 0; i < PF_ARRAY_LENGTH(absurd); i++) absurd[i] = sound;
    absurd[0].offer.order.distill_weight = 1.5;
    absurd[1].offer.order.distill_weight = -0.5;
    absurd[2].offer.order.distill_weight = (double)NAN;
    absurd[3].offer.order.distill_temperature = 0.0;
    absurd[4].offer.order.distill_temperature = 1e6;
    absurd[5].offer.order.distill_temperature = (double)NAN;
    absurd[6].offer.order.distill_temperature = -4.0;
    absurd[7].offer.teacher.n_bytes = 0;
    absurd[8].offer.teacher.n_bytes = (uint64_t)PF_MAX_MODEL_BYTES + 1;
    absurd[9].offer.teacher.n_chunks = 4;
    absurd[10].offer.teacher.n_bytes = UINT64_MAX;
    keep(&f);
    for (size_t i = 0; i < PF_ARRAY_LENGTH(absurd); i++) {
        assert_false(give(&f, &absurd[i]));
        assert_true(declined(&f, PF_REASON_POLICY, 1));
        assert_true(unchanged(&f));
    }
    assert_true(give(&f, &sound));
}

static void small_models_only(struct pf_participant_session_config *config)
{
    config->policy.max_model_bytes = 300 * 1024;
}

static void test_the_policys_size_is_the_teachers_too(void **state)
{
    (void)state;
    fixture_finish(&f);
    fixture_init(&f, small_models_only);
    struct served small = {0};
    serve_bytes(&small, "whatever", 8);
    to_idle(&f);
    struct pf_message made = teaching_offer(&f, 1, &small, &teacher);
    assert_false(give(&f, &made));
    assert_true(declined(&f, PF_REASON_POLICY, 1));
    assert_non_null(strstr(f.sent[0].refusal.text, "a teacher of"));
    pf_buffer_finish(&small.bytes);
}

static void test_a_second_teacher_in_one_run_is_refused(void **state)
{
    (void)state;
    to_taught_training();
    deliver(1);
    struct pf_message second = teaching_offer(&f, 2, &f.model, &next_model);
    keep(&f);
    assert_false(give(&f, &second));
    assert_true(declined(&f, PF_REASON_POLICY, 2));
    assert_non_null(strstr(f.sent[0].refusal.text, "teacher"));
    assert_true(unchanged(&f));
    offer_round(2, &f.model);
    assert_taught();
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_the_teacher_comes_first_and_is_given_to_the_training),
        TEST(test_later_rounds_fetch_the_model_alone),
        TEST(test_a_round_that_does_not_distil_trains_without),
        TEST(test_a_round_given_up_keeps_the_teacher),
        TEST(test_a_lost_line_costs_no_second_download),
        TEST(test_a_restart_fetches_it_again),
        TEST(test_another_run_has_a_teacher_of_its_own),
        TEST(test_missing_chunks_are_asked_for_again),
        TEST(test_a_teacher_chunk_that_comes_late_is_stale),
        TEST(test_a_model_that_is_the_teacher_itself),
        TEST(test_a_teacher_without_the_offered_hash_is_declined),
        TEST(test_a_packed_teacher_is_declined),
        TEST(test_a_teacher_that_is_not_finite_is_declined),
        TEST(test_a_teacher_of_another_network_is_declined),
        TEST(test_bytes_that_are_no_model_are_declined),
        TEST(test_a_forged_chunk_is_refused_and_changes_nothing),
        TEST(test_absurd_orders_are_declined),
        TEST(test_the_policys_size_is_the_teachers_too),
        TEST(test_a_second_teacher_in_one_run_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
