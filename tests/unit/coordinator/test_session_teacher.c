/* The teacher of a run in the coordinator's session: offered in each round, and its chunks served
 * beside the model's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "proto/model_file.h"
#include "session_fixture.h"

#define N_TEACHER_CHUNKS 3u

static struct pf_hash hashes[N_TEACHER_CHUNKS] = {{{41}}, {{42}}, {{43}}};
static const struct pf_chunked_model teacher = {.hash = {{200}},
                                                .n_bytes = 2 * PF_CHUNK_BYTES + 7,
                                                .n_chunks = N_TEACHER_CHUNKS,
                                                .chunk_hashes = hashes};

static struct pf_coordinator_session_config distilling(void)
{
    struct pf_coordinator_session_config config = fx_config();
    config.order.distill_weight = 0.9;
    config.order.distill_temperature = 4.0;
    config.teacher = &teacher;
    return config;
}

static int setup(void **state)
{
    struct pf_coordinator_session_config config = distilling();
    *state = fx_create(&config);
    return 0;
}

static int teardown(void **state)
{
    fx_destroy(*state);
    return 0;
}

static struct pf_message request_of(const struct fixture *fx, struct pf_hash hash, uint32_t chunk)
{
    return (struct pf_message){.kind = PF_MESSAGE_MODEL_REQUEST,
                               .run_id = fx->config.run_id,
                               .request = {.model_hash = hash, .chunk = chunk}};
}

static void ask_teacher(struct fixture *fx, size_t member, uint32_t chunk)
{
    struct pf_message request = request_of(fx, teacher.hash, chunk);
    fx_receive(fx, member, &request);
}

static void assert_offered(const struct pf_round_offer *offer, uint32_t round)
{
    assert_int_equal(offer->round, round);
    assert_true(offer->order.distill_weight == 0.9 && offer->order.distill_temperature == 4.0);
    assert_true(pf_hash_equal(&offer->teacher.hash, &teacher.hash));
    assert_int_equal(offer->teacher.n_bytes, teacher.n_bytes);
    assert_int_equal(offer->teacher.n_chunks, teacher.n_chunks);
}

static void check_hashes(void *context, size_t member, const struct pf_message *message)
{
    size_t *n = context;
    (void)member;
    if (message->kind != PF_MESSAGE_ROUND_OFFER) return;
    assert_memory_equal(message->offer.teacher.chunk_hashes, hashes, sizeof hashes);
    (*n)++;
}

static void test_every_round_offers_the_teacher(void **state)
{
    struct fixture *fx = *state;
    size_t n_offers = 0;
    fx->deliver = check_hashes;
    fx->deliver_context = &n_offers;
    fx_start(fx);
    for (size_t i = 0; i < N_MEMBERS; i++) assert_offered(&fx->asked.offer[i], 1);
    fx_hello_again(fx, ALICE, false); /* its offer is repeated */
    assert_int_equal(n_offers, N_MEMBERS + 1);
    for (size_t i = 0; i < N_MEMBERS; i++) fx_update(fx, i, 1, 1);
    fx_job_done(fx, 60);
    for (size_t i = 0; i < N_MEMBERS; i++) assert_offered(&fx->asked.offer[i], 2);
    assert_int_equal(n_offers, 2 * N_MEMBERS + 1);
}

static void test_chunks_of_both_are_served(void **state)
{
    struct fixture *fx = *state;
    fx_start(fx);
    for (uint32_t i = 0; i < N_TEACHER_CHUNKS; i++) ask_teacher(fx, BOB, i);
    fx_request(fx, BOB, 0);
    fx_request(fx, BOB, 1);
    assert_int_equal(fx->asked.n_teacher_chunks, N_TEACHER_CHUNKS);
    assert_int_equal(fx->asked.n_chunks, N_MODEL_CHUNKS);
    struct pf_message request = request_of(fx, teacher.hash, N_TEACHER_CHUNKS);
    fx_assert_refused(fx, BOB, &request, PF_REASON_MODEL_HASH);
    request.request.chunk = UINT32_MAX;
    fx_assert_refused(fx, BOB, &request, PF_REASON_MODEL_HASH);
    request = request_of(fx, fx->model_hash, N_MODEL_CHUNKS); /* the teacher has that many */
    fx_assert_refused(fx, BOB, &request, PF_REASON_MODEL_HASH);
    request = request_of(fx, (struct pf_hash){{99}}, 0);
    fx_assert_refused(fx, BOB, &request, PF_REASON_MODEL_HASH);
}

static void test_who_is_in_no_round_gets_no_teacher(void **state)
{
    struct fixture *fx = *state;
    struct pf_message request = request_of(fx, teacher.hash, 0);
    fx_hello(fx, ALICE);
    fx_assert_refused(fx, ALICE, &request, PF_REASON_LATE);
    for (size_t i = BOB; i < N_MEMBERS; i++) fx_hello(fx, i);
    fx_job_done(fx, 50);
    fx_decline(fx, ALICE, 1, "no time");
    fx_assert_refused(fx, ALICE, &request, PF_REASON_LATE);
    assert_int_equal(fx->asked.n_teacher_chunks, 0);
}

static void test_requests_are_limited_for_both_together(void **state)
{
    struct fixture *fx = *state;
    fx_start(fx);
    const size_t limit = 4 * (N_MODEL_CHUNKS + N_TEACHER_CHUNKS) + 64;
    for (size_t i = 0; i < limit; i++) {
        if (i % 2 == 0)
            ask_teacher(fx, BOB, 0);
        else
            fx_request(fx, BOB, 0);
    }
    assert_int_equal(fx->asked.n_chunks + fx->asked.n_teacher_chunks, limit);
    struct pf_message request = request_of(fx, teacher.hash, 0);
    fx_assert_refused(fx, BOB, &request, PF_REASON_BUSY);
    request = request_of(fx, fx->model_hash, 0);
    fx_assert_refused(fx, BOB, &request, PF_REASON_BUSY);
    ask_teacher(fx, CAROL, 0); /* nobody else suffers */
    assert_int_equal(fx->asked.n_chunks + fx->asked.n_teacher_chunks, limit + 1);
}

static void test_without_distillation_nothing_is_said_of_it(void **state)
{
    (void)state;
    struct pf_coordinator_session_config config = fx_config();
    config.order.distill_temperature = 4.0; /* a default that nobody asked for */
    struct fixture *fx = fx_create(&config);
    fx_start(fx);
    const struct pf_round_offer *offer = &fx->asked.offer[ALICE];
    assert_true(offer->order.distill_weight == 0.0 && offer->order.distill_temperature == 0.0);
    assert_int_equal(offer->teacher.n_chunks, 0);
    struct pf_message request = request_of(fx, teacher.hash, 0);
    fx_assert_refused(fx, ALICE, &request, PF_REASON_MODEL_HASH);
    fx_destroy(fx);
}

static void test_configurations_that_cannot_be_meant(void **state)
{
    (void)state;
    struct pf_chunked_model empty = {.hash = {{1}}}, odd = teacher;
    odd.n_chunks = 2;
    struct pf_coordinator_session_config bad[9];
    for (size_t i = 0; i < PF_ARRAY_LENGTH(bad); i++) bad[i] = distilling();
    bad[0].teacher = NULL;
    bad[1].order.distill_weight = 0.0; /* a teacher that has no say */
    bad[2].order.distill_weight = 1.01;
    bad[3].order.distill_weight = (double)NAN;
    bad[4].order.distill_temperature = 0.0;
    bad[5].order.distill_temperature = 1000.0;
    bad[6].order.distill_temperature = (double)NAN;
    bad[7].teacher = &empty;
    bad[8].teacher = &odd;
    for (size_t i = 0; i < PF_ARRAY_LENGTH(bad); i++) {
        struct pf_coordinator_session *session = NULL;
        struct pf_error err = {0};
        assert_int_equal(pf_coordinator_session_create(&bad[i], 0, &session, &err), PF_INVALID);
        assert_true(strlen(err.text) > 0);
    }
}

int main(void)
{
#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_every_round_offers_the_teacher),
        TEST(test_chunks_of_both_are_served),
        TEST(test_who_is_in_no_round_gets_no_teacher),
        TEST(test_requests_are_limited_for_both_together),
        cmocka_unit_test(test_without_distillation_nothing_is_said_of_it),
        cmocka_unit_test(test_configurations_that_cannot_be_meant),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
