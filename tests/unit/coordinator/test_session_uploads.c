/* Room for updates in reassembly: one budget, whatever the number of members. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "session_fixture.h"

static struct fixture *with_slots(size_t n_slots)
{
    struct pf_coordinator_session_config config = fx_config();
    config.upload_budget_bytes = n_slots * pf_update_size(PF_AGGREGATION_PLAIN, N_PARAMETERS);
    if (n_slots == 0) config.upload_budget_bytes = 1; /* one there always is */
    struct fixture *fx = fx_create(&config);
    fx_start(fx);
    return fx;
}

static void test_uploads_share_a_budget(void **state)
{
    (void)state;
    for (size_t n_slots = 0; n_slots < 3; n_slots++) {
        struct fixture *fx = with_slots(n_slots);
        size_t n = n_slots > 0 ? n_slots : 1;
        for (size_t i = 0; i < n; i++) fx_chunk(fx, i, 1, 0, 1);
        struct pf_message first = fx_chunk_message(fx, 1, 0, 1);
        fx_assert_refused(fx, DAVE, &first, PF_REASON_BUSY);
        assert_null(fx->session->members[DAVE].update);
        assert_int_equal(fx->asked.sent[DAVE][PF_MESSAGE_UPDATE_GRANT], 0);
        fx_chunk(fx, ALICE, 1, 1, 1); /* who has a place goes on */
        fx_chunk(fx, ALICE, 1, 2, 1);
        assert_int_equal(fx->asked.sent[ALICE][PF_MESSAGE_UPDATE_RECEIPT], 1);
        fx_receive(fx, DAVE, &first); /* her place is free now */
        assert_int_equal(fx->asked.sent[DAVE][PF_MESSAGE_UPDATE_GRANT], 1);
        pf_message_finish(&first);
        fx_destroy(fx);
    }
}

static void test_idle_upload_makes_room(void **state)
{
    (void)state;
    struct fixture *fx = with_slots(1);
    fx_chunk(fx, ALICE, 1, 0, 1);
    for (int i = 0; i < 2; i++) {
        fx_tick(fx, UPLOAD_IDLE_MS / 2 - 1);
        for (size_t m = 0; m < N_MEMBERS; m++) fx_alive(fx, m, 0);
    }
    struct pf_message first = fx_chunk_message(fx, 1, 0, 1);
    fx_tick(fx, 1);
    fx_assert_refused(fx, BOB, &first, PF_REASON_BUSY);
    assert_true(pf_coordinator_session_wake_ms(fx->session) <= fx->now + 1);
    fx_tick(fx, 1);
    fx_receive(fx, BOB, &first);
    assert_int_equal(fx->asked.sent[BOB][PF_MESSAGE_UPDATE_GRANT], 1);
    /* She is still in the round, and begins again when there is room. */
    struct pf_message second = fx_chunk_message(fx, 1, 1, 1);
    fx_assert_refused(fx, ALICE, &second, PF_REASON_BUSY);
    fx_chunk(fx, BOB, 1, 1, 1);
    fx_chunk(fx, BOB, 1, 2, 1);
    fx_update(fx, ALICE, 1, 1);
    assert_int_equal(pf_sum_count(fx->session->sum), 2);
    pf_message_finish(&first);
    pf_message_finish(&second);
    fx_destroy(fx);
}

static void test_short_updates_need_no_room(void **state)
{
    (void)state;
    struct pf_coordinator_session_config config = fx_config();
    config.upload_budget_bytes = 1;
    struct fixture *fx = fx_create(&config);
    fx->n_parameters = 10;
    fx_start(fx);
    for (size_t i = 0; i < N_MEMBERS; i++) {
        fx_chunk(fx, i, 1, 0, 1);
        assert_null(fx->session->members[i].update);
        assert_int_equal(fx->asked.sent[i][PF_MESSAGE_UPDATE_GRANT], 0);
        assert_int_equal(fx->asked.sent[i][PF_MESSAGE_UPDATE_RECEIPT], 1);
    }
    assert_int_equal(fx->asked.n_apply, 1);
    fx_destroy(fx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_uploads_share_a_budget),
        cmocka_unit_test(test_idle_upload_makes_room),
        cmocka_unit_test(test_short_updates_need_no_room),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
