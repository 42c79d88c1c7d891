/* The participant's side of a secure round, from masking to unmasking: honest rounds, and what a
 * coordinator that cheats is refused.  Steps 0 and 1 are in test_secagg_client_keys.c. */
#include <stdarg.h>
#include <stddef.h>

#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <string.h>

#include "attacks.h"

enum {
    VICTIM = 2,
    DROPPED = 3,   /* shares, and is gone before it has masked */
    SILENT = 9,    /* advertises, and never shares */
    STRANGER = 11, /* on the roster, not in the cohort */
};

static struct mini_round m;

/* Ten of twelve, complete: γ = 0.2, so t = 7. */
static const struct mini_config complete = {.n_members = 12, .n_cohort = 10, .played = MINI_NOBODY};
/* A hundred, regular: γ = 0.05, so k = 16, t = 11. */
static const struct mini_config regular = {
    .n_members = 101, .n_cohort = 100, .regular = true, .played = MINI_NOBODY};

static int set_up(void **state)
{
    (void)state;
    mini_init(&m, &complete);
    m.members[DROPPED].last = MINI_READY;
    m.members[SILENT].last = MINI_REVEALED;
    return 0;
}

static int set_up_regular(void **state)
{
    (void)state;
    mini_init(&m, &regular);
    m.members[DROPPED].last = MINI_READY;
    m.members[SILENT].last = MINI_REVEALED;
    m.members[40].last = MINI_MASKED; /* a survivor that never consents */
    m.members[41].last = MINI_CONSENTED;
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    mini_finish(&m);
    return 0;
}

static struct pf_secagg_client *victim(void)
{
    return m.members[VICTIM].client;
}

/* ---- honest rounds -------------------------------------------------------------------------- */

static void test_an_honest_round_gives_the_sum_of_the_survivors(void **state)
{
    (void)state;
    assert_int_equal(m.parameters.threshold, 7);
    mini_expect_sum(&m);
    for (uint32_t i = 0; i < 10; i++)
        if (mini_takes_part(&m, i, MINI_UNMASKED)) {
            assert_int_equal(pf_secagg_client_step(m.members[i].client), PF_SECAGG_UNMASKED);
            assert_int_equal(m.members[i].unmask.n_shares, 9); /* of all who shared */
        }
}

static void test_an_honest_regular_round_gives_the_sum_of_the_survivors(void **state)
{
    (void)state;
    assert_int_equal(m.parameters.degree, 16);
    assert_int_equal(m.parameters.threshold, 11);
    mini_expect_sum(&m);
}

/* ---- steps out of order --------------------------------------------------------------------- */

static void test_no_step_is_taken_before_the_one_in_front_of_it(void **state)
{
    (void)state;
    struct pf_message delivery = {0}, survivors = mini_survivors(&m), request;
    mini_to(&m, MINI_REVEALED);
    struct pf_message list = mini_key_list(&m, VICTIM);
    delivery = mini_delivery(&m, VICTIM); /* of no boxes */
    request = mini_request(&m, VICTIM);
    refuses_delivery(&m, VICTIM, &delivery.shares, PF_REASON_STEP);
    for (enum mini_stage stage = MINI_REVEALED; stage <= MINI_READY; stage++) {
        mini_to(&m, stage);
        if (stage < MINI_READY) refuses_mask(&m, VICTIM, PF_REASON_STEP);
        refuses_survivors(&m, VICTIM, &survivors.survivors, PF_REASON_STEP);
        refuses_request(&m, VICTIM, &request.unmask_request, PF_REASON_STEP);
    }
    mini_to(&m, MINI_MASKED);
    refuses_request(&m, VICTIM, &request.unmask_request, PF_REASON_STEP);
    /* Nor is one taken twice: a second masked update would uncover the difference of the two. */
    for (enum mini_stage stage = MINI_MASKED; stage <= MINI_UNMASKED; stage++) {
        mini_to(&m, stage);
        refuses_mask(&m, VICTIM, PF_REASON_STEP);
    }
    pf_message_finish(&delivery);
    pf_message_finish(&survivors);
    pf_message_finish(&request);
    pf_message_finish(&list);
    mini_expect_sum(&m);
}

static void test_every_repeat_is_answered_alike(void **state)
{
    (void)state;
    struct pf_message list, delivery, survivors, request;
    struct pf_shares shares = {0};
    struct pf_consent_message consent;
    struct pf_digest digest;
    struct pf_unmask unmask = {0};
    struct mini_state kept;
    enum pf_reason reason = PF_REASON_NONE;
    struct pf_error err = {0};
    const struct mini_member *one = &m.members[VICTIM];
    mini_to(&m, MINI_UNMASKED);
    list = mini_key_list(&m, VICTIM);
    delivery = mini_delivery(&m, VICTIM);
    survivors = mini_survivors(&m);
    request = mini_request(&m, VICTIM);
    request.unmask_request.n_consents = 7; /* other consents are no other request */
    mini_keep(victim(), &kept);

    assert_int_equal(pf_secagg_client_key_list(victim(), &list.key_list, &shares, &reason, &err),
                     PF_OK);
    assert_int_equal(shares.n_boxes, one->shares.n_boxes);
    assert_memory_equal(shares.boxes, one->shares.boxes, shares.n_boxes * sizeof *shares.boxes);
    assert_int_equal(pf_secagg_client_delivery(victim(), &delivery.shares, &reason, &err), PF_OK);
    assert_int_equal(pf_secagg_client_survivors(victim(), &survivors.survivors, &consent, &digest,
                                                &reason, &err),
                     PF_OK);
    assert_memory_equal(&consent.consent, &one->consent, sizeof consent.consent);
    assert_memory_equal(&digest, &one->set_digest, sizeof digest);
    assert_int_equal(
        pf_secagg_client_unmask(victim(), &request.unmask_request, &unmask, &reason, &err), PF_OK);
    assert_int_equal(unmask.n_shares, one->unmask.n_shares);
    for (uint32_t i = 0; i < unmask.n_shares; i++) {
        assert_int_equal(unmask.shares[i].member, one->unmask.shares[i].member);
        assert_int_equal(unmask.shares[i].dropped, one->unmask.shares[i].dropped);
        assert_memory_equal(&unmask.shares[i].share, &one->unmask.shares[i].share, PF_SCALAR_BYTES);
    }
    mini_expect_unchanged(victim(), &kept);

    struct pf_message first = {.kind = PF_MESSAGE_SHARES, .shares = shares};
    struct pf_message last = {.kind = PF_MESSAGE_UNMASK, .unmask = unmask};
    struct pf_message *const all[] = {&list, &delivery, &survivors, &request, &first, &last};
    for (size_t i = 0; i < 6; i++) pf_message_finish(all[i]);
}

/* ---- step 2 --------------------------------------------------------------------------------- */

/* Key lists with such a key are refused, so this is the second line: without all its masks nothing
 * leaves. */
static void test_an_update_that_lacks_a_mask_stays(void **state)
{
    (void)state;
    mini_to(&m, MINI_READY);
    struct pf_sc_neighbour *peer = pf_sc_find(victim(), 5);
    uint8_t kept[32];
    memcpy(kept, peer->advert.mask_key, sizeof kept);
    memset(peer->advert.mask_key, 0, sizeof kept);
    refuses_mask(&m, VICTIM, PF_REASON_SIGNATURE);
    memcpy(peer->advert.mask_key, kept, sizeof kept);
    mini_expect_sum(&m);
}

static void test_an_update_that_cannot_be_encoded_changes_nothing(void **state)
{
    (void)state;
    struct mini_member *one = &m.members[VICTIM];
    struct pf_buffer packed = {0};
    struct mini_state kept;
    enum pf_reason reason = PF_REASON_NONE;
    struct pf_error err = {0};
    mini_to(&m, MINI_READY);
    float good = one->update[5];
    one->update[5] = NAN;
    mini_keep(victim(), &kept);
    assert_int_equal(pf_secagg_client_mask(victim(), m.config.length, one->update, one->figures, 1,
                                           &packed, &reason, &err),
                     PF_INVALID);
    mini_expect_unchanged(victim(), &kept);
    assert_int_equal(packed.length, 0);
    pf_buffer_finish(&packed);
    one->update[5] = good;
    mini_expect_sum(&m);
}

/* ---- step 3 --------------------------------------------------------------------------------- */

static void test_survivor_sets_that_are_refused(void **state)
{
    (void)state;
    mini_to(&m, MINI_MASKED); /* survivors: 0 1 2 4 5 6 7 8 */
    struct pf_message message = mini_survivors(&m);
    struct pf_survivors *bad = &message.survivors;
    struct pf_member_set *set = &bad->survivors;

    pf_member_set_remove(set, 0);
    pf_member_set_remove(set, 1); /* 6 are left */
    refuses_survivors(&m, VICTIM, bad, PF_REASON_TOO_FEW);
    for (uint32_t i = 4; i < 8; i++) pf_member_set_remove(set, i);
    refuses_survivors(&m, VICTIM, bad, PF_REASON_COHORT_TOO_SMALL);
    pf_message_finish(&message);

    message = mini_survivors(&m);
    pf_member_set_remove(set, VICTIM); /* it may not even watch a sum without itself */
    refuses_survivors(&m, VICTIM, bad, PF_REASON_SELF_DROPPED);
    pf_member_set_add(set, VICTIM);
    pf_member_set_add(set, SILENT); /* nobody holds shares of its mask */
    refuses_survivors(&m, VICTIM, bad, PF_REASON_UNKNOWN_PEER);
    pf_member_set_remove(set, SILENT);
    pf_member_set_add(set, STRANGER);
    refuses_survivors(&m, VICTIM, bad, PF_REASON_UNKNOWN_PEER);
    pf_member_set_remove(set, STRANGER);
    set->n_members--;
    refuses_survivors(&m, VICTIM, bad, PF_REASON_ROSTER);
    set->n_members++;
    pf_message_finish(&message);
    mini_expect_sum(&m);
}

static void test_a_second_survivor_set_is_refused(void **state)
{
    (void)state;
    for (enum mini_stage stage = MINI_CONSENTED; stage <= MINI_UNMASKED; stage++) {
        mini_to(&m, stage);
        struct pf_message other = mini_survivors(&m);
        pf_member_set_remove(&other.survivors.survivors, 0); /* by itself, it would do */
        refuses_survivors(&m, VICTIM, &other.survivors, PF_REASON_SURVIVOR_SET);
        pf_member_set_add(&other.survivors.survivors, 0);
        pf_member_set_add(&other.survivors.survivors, DROPPED);
        refuses_survivors(&m, VICTIM, &other.survivors, PF_REASON_SURVIVOR_SET);
        pf_message_finish(&other);
    }
    mini_expect_sum(&m);
}

/* A sharer that was hidden from one participant cannot come back for the sum: that one has no mask
 * with it, and holds no share of it. */
static void test_a_sharer_that_was_hidden_stays_unknown(void **state)
{
    (void)state;
    enum { HIDDEN = 5 };
    enum pf_reason reason = PF_REASON_NONE;
    struct pf_error err = {0};
    mini_to(&m, MINI_SHARED);
    struct pf_message delivery = mini_delivery(&m, VICTIM);
    struct pf_shares *list = &delivery.shares;
    uint32_t kept = 0;
    for (uint32_t i = 0; i < list->n_boxes; i++)
        if (list->boxes[i].peer != HIDDEN) list->boxes[kept++] = list->boxes[i];
    list->n_boxes = kept;
    /* Half hidden: it is said to have shared, but its box is missing. */
    refuses_delivery(&m, VICTIM, list, PF_REASON_SHARE_BOX);
    pf_member_set_remove(&list->sharers, HIDDEN);
    assert_int_equal(pf_secagg_client_delivery(victim(), list, &reason, &err), PF_OK);
    pf_message_finish(&delivery);
    delivery = mini_delivery(&m, VICTIM);
    refuses_delivery(&m, VICTIM, list, PF_REASON_SECOND_LIST);
    pf_message_finish(&delivery);

    struct mini_member *one = &m.members[VICTIM];
    struct pf_secagg_client *own = one->client;
    one->client = NULL; /* the others go on by themselves */
    mini_to(&m, MINI_READY);
    one->client = own;
    assert_int_equal(pf_secagg_client_mask(victim(), m.config.length, one->update, one->figures, 1,
                                           &one->masked, &reason, &err),
                     PF_OK);
    struct pf_message survivors = mini_survivors(&m);
    refuses_survivors(&m, VICTIM, &survivors.survivors, PF_REASON_UNKNOWN_PEER);
    /* Without it the set is one that this participant can agree to; its mask key stays its own. */
    struct pf_consent_message consent;
    struct pf_digest digest;
    pf_member_set_remove(&survivors.survivors.survivors, HIDDEN);
    assert_int_equal(pf_secagg_client_survivors(victim(), &survivors.survivors, &consent, &digest,
                                                &reason, &err),
                     PF_OK);
    pf_message_finish(&survivors);
    struct pf_message message = mini_request(&m, VICTIM);
    struct pf_unmask_request *request = &message.unmask_request;
    for (uint32_t i = 0; i < request->n_survivors; i++)
        if (request->survivors[i] == HIDDEN)
            request->survivors[i] = request->survivors[--request->n_survivors];
    request->dropped[request->n_dropped++] = HIDDEN;
    refuses_request(&m, VICTIM, request, PF_REASON_UNKNOWN_PEER);
    pf_message_finish(&message);
}

/* ---- step 4 --------------------------------------------------------------------------------- */

static struct pf_message message;
static struct pf_unmask_request *request;

/* A fresh honest request to the victim: survivors 0 1 2 4 5 6 7 8, dropped 3, eight consents; the
 * lists have room for more. */
static void fresh_request(void)
{
    pf_message_finish(&message);
    message = mini_request(&m, VICTIM);
    request = &message.unmask_request;
}

static void remove_survivor(uint32_t member)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < request->n_survivors; i++)
        if (request->survivors[i] != member) request->survivors[n++] = request->survivors[i];
    assert_int_equal(n + 1, request->n_survivors);
    request->n_survivors = n;
}

static void test_both_shares_of_one_participant_are_refused(void **state)
{
    (void)state;
    mini_to(&m, MINI_CONSENTED);
    fresh_request();
    request->dropped[request->n_dropped++] = 4; /* a survivor */
    refuses_request(&m, VICTIM, request, PF_REASON_BOTH_SHARES);
    fresh_request();
    request->survivors[request->n_survivors++] = DROPPED;
    refuses_request(&m, VICTIM, request, PF_REASON_BOTH_SHARES);
    mini_expect_sum(&m);
    /* … nor one after the other. */
    fresh_request();
    remove_survivor(4);
    request->dropped[request->n_dropped++] = 4;
    refuses_request(&m, VICTIM, request, PF_REASON_SURVIVOR_SET);
    request->n_survivors = 0;
    refuses_request(&m, VICTIM, request, PF_REASON_TOO_FEW);
}

static void test_a_member_twice_in_one_list_is_refused(void **state)
{
    (void)state;
    mini_to(&m, MINI_CONSENTED);
    fresh_request();
    request->survivors[request->n_survivors++] = 4;
    refuses_request(&m, VICTIM, request, PF_REASON_REPEATED_PEER);
    fresh_request();
    request->dropped[request->n_dropped++] = DROPPED;
    refuses_request(&m, VICTIM, request, PF_REASON_REPEATED_PEER);
    fresh_request();
    request->consents[1] = request->consents[0]; /* one consent counts once */
    refuses_request(&m, VICTIM, request, PF_REASON_REPEATED_PEER);
    mini_expect_sum(&m);
}

static void test_unknown_peers_are_refused(void **state)
{
    (void)state;
    static const uint32_t unknown[] = {SILENT, STRANGER, 12, 4000000000u, UINT32_MAX};
    mini_to(&m, MINI_CONSENTED);
    for (size_t i = 0; i < PF_ARRAY_LENGTH(unknown); i++) {
        fresh_request();
        request->survivors[request->n_survivors++] = unknown[i];
        refuses_request(&m, VICTIM, request, PF_REASON_UNKNOWN_PEER);
        fresh_request();
        request->dropped[request->n_dropped++] = unknown[i];
        refuses_request(&m, VICTIM, request, PF_REASON_UNKNOWN_PEER);
        fresh_request();
        request->consents[0].member = unknown[i];
        refuses_request(&m, VICTIM, request, PF_REASON_UNKNOWN_PEER);
    }
    fresh_request();
    request->consents[0].member = DROPPED; /* who did not survive has no say */
    refuses_request(&m, VICTIM, request, PF_REASON_UNKNOWN_PEER);
    mini_expect_sum(&m);
}

static void test_oneself_among_the_dropped_is_refused(void **state)
{
    (void)state;
    mini_to(&m, MINI_CONSENTED);
    fresh_request();
    request->dropped[request->n_dropped++] = VICTIM;
    refuses_request(&m, VICTIM, request, PF_REASON_SELF_DROPPED);
    remove_survivor(VICTIM);
    refuses_request(&m, VICTIM, request, PF_REASON_SELF_DROPPED);
    mini_expect_sum(&m);
}

static void test_fewer_survivors_than_the_threshold_are_refused(void **state)
{
    (void)state;
    mini_to(&m, MINI_CONSENTED);
    fresh_request();
    remove_survivor(0);
    remove_survivor(1);
    refuses_request(&m, VICTIM, request, PF_REASON_TOO_FEW);
    request->dropped[request->n_dropped++] = 0;
    request->dropped[request->n_dropped++] = 1;
    refuses_request(&m, VICTIM, request, PF_REASON_TOO_FEW);
    request->n_survivors = request->n_dropped = 0;
    refuses_request(&m, VICTIM, request, PF_REASON_TOO_FEW);
    mini_expect_sum(&m);
}

static void test_a_request_that_differs_from_the_signed_set_is_refused(void **state)
{
    (void)state;
    for (enum mini_stage stage = MINI_CONSENTED; stage <= MINI_UNMASKED; stage++) {
        mini_to(&m, stage);
        fresh_request();
        remove_survivor(8);
        refuses_request(&m, VICTIM, request, PF_REASON_SURVIVOR_SET);
        request->dropped[request->n_dropped++] = 8;
        refuses_request(&m, VICTIM, request, PF_REASON_SURVIVOR_SET);
        fresh_request();
        request->n_dropped = 0;
        refuses_request(&m, VICTIM, request, PF_REASON_SURVIVOR_SET);
        request->survivors[request->n_survivors++] = DROPPED;
        refuses_request(&m, VICTIM, request, PF_REASON_SURVIVOR_SET);
        fresh_request();
        remove_survivor(VICTIM);
        refuses_request(&m, VICTIM, request, PF_REASON_SURVIVOR_SET);
    }
    /* Nothing but a repeat is answered twice, not even the same wishes in another order. */
    fresh_request();
    uint32_t first = request->survivors[0];
    request->survivors[0] = request->survivors[1];
    request->survivors[1] = first;
    refuses_request(&m, VICTIM, request, PF_REASON_SURVIVOR_SET);
    mini_expect_sum(&m);
}

/* Everybody's signature is at hand for whatever is to be signed. */
static void sign_all(const struct pf_digest *context, const struct pf_digest *key_list,
                     const struct pf_member_set *set)
{
    for (uint32_t i = 0; i < request->n_consents; i++)
        pf_consent_sign(context, key_list, set, m.members[request->consents[i].member].sign_secret,
                        request->consents[i].signature);
}

static void test_consents_that_are_forged_or_missing_are_refused(void **state)
{
    (void)state;
    mini_to(&m, MINI_CONSENTED);
    fresh_request();
    request->n_consents = 6;
    refuses_request(&m, VICTIM, request, PF_REASON_SIGNATURE);
    request->n_consents = 0;
    refuses_request(&m, VICTIM, request, PF_REASON_SIGNATURE);
    for (uint32_t i = 0; i < 8; i++) {
        fresh_request();
        request->consents[i].signature[(9 * i) % 64] ^= (uint8_t)(1u << i);
        refuses_request(&m, VICTIM, request, PF_REASON_SIGNATURE);
    }
    fresh_request();
    memset(request->consents[0].signature, 0, PF_SIGNATURE_BYTES);
    refuses_request(&m, VICTIM, request, PF_REASON_SIGNATURE);
    fresh_request();
    memcpy(request->consents[0].signature, request->consents[1].signature, PF_SIGNATURE_BYTES);
    refuses_request(&m, VICTIM, request, PF_REASON_SIGNATURE);
    mini_expect_sum(&m);
}

static void test_consents_to_something_else_are_refused(void **state)
{
    (void)state;
    mini_to(&m, MINI_CONSENTED);
    struct pf_message survivors = mini_survivors(&m);
    struct pf_member_set *set = &survivors.survivors.survivors;
    struct pf_digest other_context = m.context, other_list = m.key_list;
    fresh_request();
    sign_all(&m.context, &m.key_list, set); /* this is what honest ones look like */
    assert_memory_equal(request->consents[0].signature, m.members[0].consent.signature, 64);

    pf_member_set_remove(set, 8); /* two groups, to each its own set */
    sign_all(&m.context, &m.key_list, set);
    refuses_request(&m, VICTIM, request, PF_REASON_SIGNATURE);
    pf_member_set_add(set, 8);
    other_context.bytes[0] ^= 1;
    sign_all(&other_context, &m.key_list, set);
    refuses_request(&m, VICTIM, request, PF_REASON_SIGNATURE);
    other_list.bytes[31] ^= 0x80;
    sign_all(&m.context, &other_list, set);
    refuses_request(&m, VICTIM, request, PF_REASON_SIGNATURE);
    pf_message_finish(&survivors);
    mini_expect_sum(&m);
}

/* The same members, one round later: what they signed then is of no use now. */
static void test_the_consents_of_another_round_are_refused(void **state)
{
    (void)state;
    static struct mini_round next;
    struct mini_config config = complete;
    config.round = 2;
    mini_init(&next, &config);
    next.members[DROPPED].last = MINI_READY;
    next.members[SILENT].last = MINI_REVEALED;
    mini_to(&next, MINI_CONSENTED);
    mini_to(&m, MINI_CONSENTED);
    fresh_request();
    for (uint32_t i = 0; i < request->n_consents; i++)
        request->consents[i] = next.members[request->consents[i].member].consent;
    refuses_request(&m, VICTIM, request, PF_REASON_SIGNATURE);
    mini_finish(&next);
    mini_expect_sum(&m);
}

static void test_attacks_on_a_regular_round(void **state)
{
    (void)state;
    uint32_t peers[MINI_MAX_MEMBERS], n, outsider = 0;
    mini_to(&m, MINI_MASKED);
    n = mini_neighbours(&m, VICTIM, peers);
    while (outsider == VICTIM || pf_sc_find(victim(), outsider) != NULL) outsider++;

    /* Many survivors, but of the neighbours fewer than the threshold. */
    struct pf_message survivors = mini_survivors(&m);
    uint32_t gone = 0;
    for (uint32_t i = 0; i < n && gone < 6; i++, gone++)
        pf_member_set_remove(&survivors.survivors.survivors, peers[i]);
    refuses_survivors(&m, VICTIM, &survivors.survivors, PF_REASON_TOO_FEW);
    pf_message_finish(&survivors);

    mini_to(&m, MINI_CONSENTED);
    fresh_request();
    uint32_t first = request->survivors[0];
    request->dropped[request->n_dropped++] = first;
    refuses_request(&m, VICTIM, request, PF_REASON_BOTH_SHARES);
    remove_survivor(first);
    refuses_request(&m, VICTIM, request, PF_REASON_SURVIVOR_SET);
    fresh_request();
    request->survivors[request->n_survivors++] = outsider; /* a survivor, but no neighbour */
    refuses_request(&m, VICTIM, request, PF_REASON_UNKNOWN_PEER);
    fresh_request();
    request->survivors[request->n_survivors++] = VICTIM; /* it holds no share of its own */
    refuses_request(&m, VICTIM, request, PF_REASON_UNKNOWN_PEER);
    fresh_request();
    request->dropped[request->n_dropped++] = VICTIM;
    refuses_request(&m, VICTIM, request, PF_REASON_SELF_DROPPED);
    fresh_request();
    request->consents[0].signature[5] ^= 4;
    refuses_request(&m, VICTIM, request, PF_REASON_SIGNATURE);
    fresh_request();
    request->n_consents = 10;
    refuses_request(&m, VICTIM, request, PF_REASON_SIGNATURE);
    mini_expect_sum(&m);
}

/* Somebody far away in the graph, who did not share: among the sharers the receiver holds no box
 * that would tell, but the set that it was shown. */
static void test_far_survivors_that_never_shared_are_refused(void **state)
{
    (void)state;
    uint32_t outsider = 0;
    mini_to(&m, MINI_REVEALED);
    uint32_t peers[MINI_MAX_MEMBERS], n = mini_neighbours(&m, VICTIM, peers);
    for (uint32_t i = 0; i < n; i++) { /* they ascend */
        outsider += outsider == VICTIM;
        outsider += peers[i] == outsider;
    }
    outsider += outsider == VICTIM;
    m.members[outsider].last = MINI_REVEALED;
    mini_to(&m, MINI_MASKED);
    assert_null(pf_sc_find(victim(), outsider));
    struct pf_message survivors = mini_survivors(&m);
    assert_false(pf_member_set_has(&survivors.survivors.survivors, outsider));
    pf_member_set_add(&survivors.survivors.survivors, outsider);
    refuses_survivors(&m, VICTIM, &survivors.survivors, PF_REASON_UNKNOWN_PEER);
    pf_message_finish(&survivors);
    mini_expect_sum(&m);
}

/* A second delivery with the same boxes, in which somebody far away shared or did not. */
static void test_a_second_set_of_far_sharers_is_refused(void **state)
{
    (void)state;
    uint32_t outsider = 0;
    mini_to(&m, MINI_READY);
    while (outsider == VICTIM || pf_sc_find(victim(), outsider) != NULL) outsider++;
    struct pf_message delivery = mini_delivery(&m, VICTIM);
    pf_member_set_remove(&delivery.shares.sharers, outsider);
    refuses_delivery(&m, VICTIM, &delivery.shares, PF_REASON_SECOND_LIST);
    pf_message_finish(&delivery);
    mini_expect_sum(&m);
}

static int tear_down_request(void **state)
{
    pf_message_finish(&message);
    return tear_down(state);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down_request)
#define REGULAR(name) cmocka_unit_test_setup_teardown(name, set_up_regular, tear_down_request)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_an_honest_round_gives_the_sum_of_the_survivors),
        REGULAR(test_an_honest_regular_round_gives_the_sum_of_the_survivors),
        TEST(test_no_step_is_taken_before_the_one_in_front_of_it),
        TEST(test_every_repeat_is_answered_alike),
        TEST(test_an_update_that_lacks_a_mask_stays),
        TEST(test_an_update_that_cannot_be_encoded_changes_nothing),
        TEST(test_survivor_sets_that_are_refused),
        TEST(test_a_second_survivor_set_is_refused),
        TEST(test_a_sharer_that_was_hidden_stays_unknown),
        TEST(test_both_shares_of_one_participant_are_refused),
        TEST(test_a_member_twice_in_one_list_is_refused),
        TEST(test_unknown_peers_are_refused),
        TEST(test_oneself_among_the_dropped_is_refused),
        TEST(test_fewer_survivors_than_the_threshold_are_refused),
        TEST(test_a_request_that_differs_from_the_signed_set_is_refused),
        TEST(test_consents_that_are_forged_or_missing_are_refused),
        TEST(test_consents_to_something_else_are_refused),
        TEST(test_the_consents_of_another_round_are_refused),
        REGULAR(test_attacks_on_a_regular_round),
        REGULAR(test_far_survivors_that_never_shared_are_refused),
        REGULAR(test_a_second_set_of_far_sharers_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
