/* What the participant's session refuses in a secure round: a refused setup ends the round with a
 * DECLINE that names the reason; a refused step after it leaves everything as it was. */
#include <stdarg.h>
#include <stddef.h>

#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "common/base/memory.h"
#include "secure_session.h"

static struct secure_play p;

static int set_up(void **state)
{
    (void)state;
    play_init(&p, false, NULL);
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

static const char *sentence(void)
{
    struct pf_participant_view view;
    pf_participant_session_view(p.f.session, &view);
    return view.sentence;
}

/* ---- runs and offers ------------------------------------------------------------------------ */

static void test_a_plain_run_is_refused_unless_allowed(void **state)
{
    (void)state;
    struct pf_message made = welcome(&p.f);
    tick(&p.f, 0);
    assert_int_equal(made.welcome.aggregation, PF_AGGREGATION_PLAIN);
    assert_false(play_give(&p, &made));
    assert_true(declined(&p.f, PF_REASON_POLICY, 0));
    assert_int_equal(phase(&p.f), PF_PARTICIPANT_FAILED);
    assert_non_null(strstr(sentence(), "--allow-plain"));
    assert_int_equal(counters()->refused[PF_REASON_POLICY], 1);
}

static void without_roster(struct pf_participant_session_config *config)
{
    config->roster = NULL;
}

static void test_a_secure_run_needs_a_roster(void **state)
{
    (void)state;
    play_finish(&p);
    play_init(&p, false, without_roster);
    struct pf_message made = play_welcome(&p);
    tick(&p.f, 0);
    assert_false(play_give(&p, &made));
    assert_true(declined(&p.f, PF_REASON_POLICY, 0));
    assert_int_equal(phase(&p.f), PF_PARTICIPANT_FAILED);
}

static void test_a_run_cannot_become_plain(void **state)
{
    (void)state;
    play_join(&p);
    struct pf_message made = welcome(&p.f);
    keep(&p.f);
    assert_false(play_give(&p, &made));
    assert_true(unchanged(&p.f));
}

static void test_offers_that_do_not_fit_a_secure_run_are_declined(void **state)
{
    (void)state;
    struct pf_message made = play_welcome(&p);
    tick(&p.f, 0);
    assert_true(play_give(&p, &made));
    keep(&p.f);
    made = play_offer(&p, 1);
    made.offer.masking = (struct pf_masking_order){0}; /* "send it plain, this once" */
    assert_false(play_give(&p, &made));
    assert_true(declined(&p.f, PF_REASON_POLICY, 1));
    made = play_offer(&p, 1);
    made.offer.cohort = 2;
    assert_false(play_give(&p, &made));
    assert_true(declined(&p.f, PF_REASON_COHORT_TOO_SMALL, 1));
    assert_true(unchanged(&p.f));
    made.offer.cohort = 3;
    assert_true(play_give(&p, &made));
}

static void test_a_second_model_or_other_terms_for_the_round_are_no_second_chance(void **state)
{
    (void)state;
    play_join(&p);
    struct pf_message made = p.offered;
    keep(&p.f);
    made.offer.model_hash.bytes[0] ^= 1;
    assert_false(play_give(&p, &made));
    assert_true(declined(&p.f, PF_REASON_POLICY, SECURE_ROUND));
    assert_true(unchanged(&p.f));
    /* The same model on other terms is a repeat: what was agreed to first stays. */
    made = p.offered;
    made.offer.masking.clip[0] = 1e6;
    made.offer.masking.value_bits = 32;
    assert_true(play_give(&p, &made));
    assert_true(unchanged(&p.f));
    assert_memory_equal(&play_said(&p, PF_MESSAGE_ADVERTISE)->advertise.advert,
                        &p.round.members[SECURE_SELF].advert, sizeof(struct pf_advert));
}

/* ---- setup ---------------------------------------------------------------------------------- */

static struct pf_message message;

static void spoil_threshold(void)
{
    message.key_list.parameters.threshold = 2;
}
static void spoil_signature(void)
{
    message.key_list.adverts[3].signature[0] ^= 1;
}
static void spoil_own(void)
{
    message.key_list.adverts[SECURE_SELF].mask_key[0] ^= 1;
}
static void spoil_roster(void)
{
    message.key_list.adverts[3].member = SECURE_COHORT;
}
static void spoil_cohort(void)
{
    for (uint32_t i = 2; i < SECURE_COHORT; i++) pf_member_set_remove(&message.key_list.cohort, i);
}
static void spoil_self(void)
{
    pf_member_set_remove(&message.key_list.cohort, SECURE_SELF);
}
static void spoil_list(void)
{
    message.key_list.n_adverts--;
}
static void spoil_graph(void)
{
    message.key_list.parameters.graph = PF_GRAPH_HARARY;
}

static const struct {
    void (*spoil)(void);
    enum pf_reason reason;
} bad_lists[] = {
    {spoil_threshold, PF_REASON_THRESHOLD},
    {spoil_signature, PF_REASON_SIGNATURE},
    {spoil_own, PF_REASON_SIGNATURE},
    {spoil_roster, PF_REASON_ROSTER},
    {spoil_cohort, PF_REASON_COHORT_TOO_SMALL},
    {spoil_self, PF_REASON_SELF_DROPPED},
    {spoil_list, PF_REASON_GRAPH},
    {spoil_graph, PF_REASON_STEP},
};

/* The round is over for this participant, by that name, and its secrets are gone. */
static void expect_given_up(enum pf_reason reason)
{
    assert_false(play_give(&p, &message));
    assert_true(declined(&p.f, reason, SECURE_ROUND));
    assert_int_equal(phase(&p.f), PF_PARTICIPANT_IDLE);
    assert_int_equal(p.f.n_records, 1);
    assert_int_equal(p.f.records[0].outcome, PF_OUTCOME_DECLINED);
    assert_null(p.f.session->secagg);
    assert_null(p.f.session->trained.values);
    assert_int_equal(counters()->refused[reason], 1);
    /* The coordinator may ask again: the answer is the same, and no keys. */
    assert_true(play_give(&p, &p.offered));
    assert_true(declined(&p.f, reason, SECURE_ROUND));
    assert_int_equal(n_sent(&p.f, PF_MESSAGE_ADVERTISE), 0);
    pf_message_finish(&message);
}

static void test_a_refused_key_list_ends_the_round_by_name(void **state)
{
    (void)state;
    for (size_t i = 0; i < 2 * PF_ARRAY_LENGTH(bad_lists); i++) {
        play_finish(&p);
        play_init(&p, false, NULL);
        play_join(&p);
        if (i % 2 == 1) play_fetch(&p); /* also while it trains */
        message = mini_key_list(&p.round, SECURE_SELF);
        bad_lists[i / 2].spoil();
        expect_given_up(bad_lists[i / 2].reason);
    }
}

static void test_a_refused_commitment_ends_the_round_by_name(void **state)
{
    (void)state;
    play_join(&p);
    message = mini_committed(&p.round); /* of a complete graph: nothing to commit to */
    expect_given_up(PF_REASON_GRAPH);
}

static void test_a_second_key_list_ends_the_round_by_name(void **state)
{
    (void)state;
    play_join(&p);
    play_share(&p);
    message = mini_key_list(&p.round, SECURE_SELF);
    message.key_list.parameters.threshold++;
    expect_given_up(PF_REASON_SECOND_LIST);
}

static void test_a_refused_delivery_ends_the_round_by_name(void **state)
{
    (void)state;
    for (size_t n = 0; n < 6; n++) {
        enum pf_reason reason = PF_REASON_SHARE_BOX;
        play_finish(&p);
        play_init(&p, false, NULL);
        play_join(&p);
        play_fetch(&p);
        if (n == 5) {
            message = mini_delivery(&p.round, SECURE_SELF); /* before any key list */
            expect_given_up(PF_REASON_STEP);
            continue;
        }
        play_share(&p);
        if (n % 2 == 1) play_train(&p); /* an update is waiting for it */
        message = mini_delivery(&p.round, SECURE_SELF);
        struct pf_shares *delivery = &message.shares;
        switch (n) {
        case 0: delivery->boxes[0].box[9] ^= 1; break;
        case 1: memcpy(delivery->boxes[0].box, delivery->boxes[1].box, PF_SHARE_BOX_BYTES); break;
        case 2: pf_member_set_remove(&delivery->sharers, 0); break;
        case 3: /* three and oneself would do; two do not */
            pf_member_set_remove(&delivery->sharers, 3);
            pf_member_set_remove(&delivery->sharers, 4);
            delivery->n_boxes = 2;
            reason = PF_REASON_TOO_FEW;
            break;
        default: /* another one after the first */
            play_deliver(&p);
            pf_member_set_remove(&delivery->sharers, 4);
            delivery->n_boxes--;
            reason = PF_REASON_SECOND_LIST;
            break;
        }
        expect_given_up(reason);
    }
}

/* ---- after the update is out ---------------------------------------------------------------- */

static void to_unmasking(void)
{
    play_join(&p);
    play_fetch(&p);
    play_share(&p);
    play_deliver(&p);
    play_train(&p);
    play_upload(&p);
}

/* Declined by name, and nothing has changed: neither the session nor the client in it. */
static void expect_refused(enum pf_reason reason)
{
    struct mini_state state;
    uint64_t before = counters()->refused[reason];
    keep(&p.f);
    mini_keep(p.f.session->secagg, &state);
    assert_false(play_give(&p, &message));
    assert_true(declined(&p.f, reason, SECURE_ROUND));
    assert_int_equal(p.f.n_sent, 1);
    assert_int_equal(p.f.n_records, 0);
    assert_true(unchanged(&p.f));
    mini_expect_unchanged(p.f.session->secagg, &state);
    assert_int_equal(counters()->refused[reason], before + 1);
    pf_message_finish(&message);
}

static void test_refused_survivors_change_nothing(void **state)
{
    (void)state;
    to_unmasking();
    message = mini_survivors(&p.round);
    pf_member_set_remove(&message.survivors.survivors, 0);
    pf_member_set_remove(&message.survivors.survivors, 2);
    expect_refused(PF_REASON_TOO_FEW);
    message = mini_survivors(&p.round);
    pf_member_set_remove(&message.survivors.survivors, SECURE_SELF);
    expect_refused(PF_REASON_SELF_DROPPED);
    message = mini_survivors(&p.round);
    pf_member_set_add(&message.survivors.survivors, SECURE_COHORT);
    expect_refused(PF_REASON_UNKNOWN_PEER);
    play_consent(&p);
    message = mini_survivors(&p.round);
    pf_member_set_remove(&message.survivors.survivors, 0);
    expect_refused(PF_REASON_SURVIVOR_SET);
    play_unmask(&p);
    mini_expect_sum(&p.round);
}

static void test_refused_requests_change_nothing(void **state)
{
    (void)state;
    to_unmasking();
    mini_to(&p.round, MINI_CONSENTED);
    message = mini_request(&p.round, SECURE_SELF); /* before its consent */
    expect_refused(PF_REASON_STEP);
    play_consent(&p);
    struct pf_unmask_request *request = &message.unmask_request;
    message = mini_request(&p.round, SECURE_SELF);
    request->dropped[request->n_dropped++] = 0;
    expect_refused(PF_REASON_BOTH_SHARES);
    message = mini_request(&p.round, SECURE_SELF);
    request->n_consents = 3;
    expect_refused(PF_REASON_SIGNATURE);
    message = mini_request(&p.round, SECURE_SELF);
    request->n_survivors--;
    expect_refused(PF_REASON_SURVIVOR_SET);
    message = mini_request(&p.round, SECURE_SELF);
    request->survivors[0] = request->survivors[2];
    expect_refused(PF_REASON_REPEATED_PEER);
    play_unmask(&p);
    message = mini_request(&p.round, SECURE_SELF);
    request->dropped[request->n_dropped++] = 3;
    expect_refused(PF_REASON_BOTH_SHARES);
    mini_expect_sum(&p.round);
}

/* ---- out of place --------------------------------------------------------------------------- */

static void expect_stale(void)
{
    uint64_t before = counters()->stale;
    keep(&p.f);
    assert_false(play_give(&p, &message));
    assert_true(unchanged(&p.f));
    assert_int_equal(p.f.n_sent, 0);
    assert_int_equal(counters()->stale, before + 1);
    pf_message_finish(&message);
}

static void test_messages_of_another_round_are_stale(void **state)
{
    (void)state;
    play_join(&p);
    for (uint32_t other = SECURE_ROUND - 1; other <= SECURE_ROUND + 1; other += 2) {
        message = mini_committed(&p.round);
        message.committed.round = other;
        expect_stale();
        message = mini_key_list(&p.round, SECURE_SELF);
        message.key_list.round = other;
        expect_stale();
        message = mini_delivery(&p.round, SECURE_SELF);
        message.shares.round = other;
        expect_stale();
        message = mini_survivors(&p.round);
        message.survivors.round = other;
        expect_stale();
        message = mini_request(&p.round, SECURE_SELF);
        message.unmask_request.round = other;
        expect_stale();
        message = grant(&p.f, other);
        expect_stale();
        message = receipt(&p.f, other);
        expect_stale();
    }
}

static void test_steps_without_a_round_are_stale(void **state)
{
    (void)state;
    play_join(&p);
    struct pf_message over = result(&p.f, SECURE_ROUND);
    assert_true(play_give(&p, &over));
    message = mini_committed(&p.round);
    expect_stale();
    message = mini_key_list(&p.round, SECURE_SELF);
    expect_stale();
    message = mini_delivery(&p.round, SECURE_SELF);
    expect_stale();
    message = mini_survivors(&p.round);
    expect_stale();
    message = mini_request(&p.round, SECURE_SELF);
    expect_stale();
}

static void test_a_late_commitment_is_stale(void **state)
{
    (void)state;
    play_join(&p);
    play_share(&p);
    message = mini_committed(&p.round);
    message.committed.parameters.graph = PF_GRAPH_HARARY;
    expect_stale();
}

static void allow_plain(struct pf_participant_session_config *config)
{
    config->policy.allow_plain = true;
}

static void test_secure_steps_in_a_plain_run_are_stale(void **state)
{
    (void)state;
    play_join(&p); /* for the messages */
    message = mini_key_list(&p.round, SECURE_SELF);
    struct pf_message kept = message;
    message = (struct pf_message){0};
    play_finish(&p);
    play_init(&p, false, allow_plain);
    to_training(&p.f, SECURE_ROUND);
    message = kept;
    expect_stale();
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_plain_run_is_refused_unless_allowed),
        TEST(test_a_secure_run_needs_a_roster),
        TEST(test_a_run_cannot_become_plain),
        TEST(test_offers_that_do_not_fit_a_secure_run_are_declined),
        TEST(test_a_second_model_or_other_terms_for_the_round_are_no_second_chance),
        TEST(test_a_refused_key_list_ends_the_round_by_name),
        TEST(test_a_refused_commitment_ends_the_round_by_name),
        TEST(test_a_second_key_list_ends_the_round_by_name),
        TEST(test_a_refused_delivery_ends_the_round_by_name),
        TEST(test_refused_survivors_change_nothing),
        TEST(test_refused_requests_change_nothing),
        TEST(test_messages_of_another_round_are_stale),
        TEST(test_steps_without_a_round_are_stale),
        TEST(test_a_late_commitment_is_stale),
        TEST(test_secure_steps_in_a_plain_run_are_stale),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
