/* Steps 0 and 1 of the participant's side of a secure round: which cohorts, key lists and share
 * boxes it refuses, and by what name. */
#include <stdarg.h>
#include <stddef.h>

#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>
#include <sodium.h>
#include <string.h>

#include "attacks.h"
#include "common/base/memory.h"
#include "proto/round_context.h"

enum { VICTIM = 2, PEER = 5, OTHER = 6, STRANGER = 11 };

static struct mini_round m;
static struct pf_message message;
static struct pf_key_list *list;
static struct pf_shares *delivery;

static const struct mini_config complete = {.n_members = 12, .n_cohort = 10, .played = MINI_NOBODY};
static const struct mini_config regular = {
    .n_members = 101, .n_cohort = 100, .regular = true, .played = MINI_NOBODY};

static int set_up(void **state)
{
    (void)state;
    mini_init(&m, &complete);
    return 0;
}

static int set_up_regular(void **state)
{
    (void)state;
    mini_init(&m, &regular);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    pf_message_finish(&message);
    mini_finish(&m);
    return 0;
}

/* Honest messages to the victim, to be spoilt. */
static void fresh_list(void)
{
    pf_message_finish(&message);
    message = mini_key_list(&m, VICTIM);
    list = &message.key_list;
}

static void fresh_delivery(void)
{
    pf_message_finish(&message);
    message = mini_delivery(&m, VICTIM);
    delivery = &message.shares;
}

static void list_is_refused(enum pf_reason reason)
{
    refuses_list(&m, VICTIM, list, reason);
}

/* ---- cohort and parameters ------------------------------------------------------------------ */

static void test_cohorts_that_are_refused(void **state)
{
    (void)state;
    mini_to(&m, MINI_REVEALED);
    fresh_list();
    for (uint32_t i = 0; i < 10; i++)
        if (i != VICTIM && i != PEER) pf_member_set_remove(&list->cohort, i);
    list_is_refused(PF_REASON_COHORT_TOO_SMALL);
    fresh_list();
    pf_member_set_remove(&list->cohort, VICTIM);
    list_is_refused(PF_REASON_SELF_DROPPED);
    fresh_list();
    list->cohort.n_members = 11; /* a roster of another size */
    list_is_refused(PF_REASON_ROSTER);
    mini_expect_sum(&m);
}

static void at_least_11(struct pf_secagg_client_config *config)
{
    if (config->self == VICTIM) config->min_cohort = 11;
}

static void test_a_cohort_below_the_participants_own_minimum_is_refused(void **state)
{
    (void)state;
    struct mini_config config = complete;
    config.change = at_least_11;
    mini_finish(&m);
    mini_init(&m, &config);
    mini_to(&m, MINI_REVEALED);
    fresh_list();
    list_is_refused(PF_REASON_COHORT_TOO_SMALL);
}

static void test_parameters_that_do_not_protect_are_refused(void **state)
{
    (void)state;
    static const uint32_t thresholds[] = {0, 1, 2, 5, 6, 11, UINT32_MAX};
    mini_to(&m, MINI_REVEALED);
    assert_int_equal(m.parameters.threshold, 7);
    for (size_t i = 0; i < PF_ARRAY_LENGTH(thresholds); i++) {
        fresh_list();
        list->parameters.threshold = thresholds[i];
        list_is_refused(PF_REASON_THRESHOLD);
    }
    for (uint32_t degree = 0; degree < 12; degree++) {
        if (degree == 9) continue;
        fresh_list();
        list->parameters.degree = degree;
        list_is_refused(PF_REASON_THRESHOLD);
    }
    fresh_list();
    list->parameters.graph = (enum pf_graph_kind)7;
    list_is_refused(PF_REASON_THRESHOLD);
    fresh_list();
    list->parameters.graph = PF_GRAPH_HARARY; /* a graph that nobody committed to */
    list_is_refused(PF_REASON_STEP);
    mini_expect_sum(&m);
}

static void test_semi_honest_parameters_do_not_do_for_semi_malicious(void **state)
{
    (void)state;
    const struct pf_secagg_goal trusting = {
        .n = 10, .corrupt = 0.2, .dropouts = 0.2, .adversary = PF_SEMI_HONEST};
    struct pf_error err = {0};
    mini_to(&m, MINI_REVEALED);
    fresh_list();
    assert_int_equal(pf_secagg_find_complete(&trusting, &list->parameters, &err), PF_OK);
    list_is_refused(PF_REASON_THRESHOLD);
    mini_expect_sum(&m);
}

static void huge_values(struct pf_secagg_client_config *config)
{
    config->masking.value_bits = 61;
}

static void test_a_modulus_that_could_wrap_is_refused(void **state)
{
    (void)state;
    struct mini_config config = complete;
    config.change = huge_values;
    mini_finish(&m);
    mini_init(&m, &config);
    mini_to(&m, MINI_REVEALED);
    fresh_list(); /* ten values of 61 bits need 65 */
    list_is_refused(PF_REASON_MODULUS);
}

/* ---- adverts -------------------------------------------------------------------------------- */

static void advert_is_refused(const struct pf_advert *advert, enum pf_reason reason)
{
    fresh_list();
    list->adverts[PEER] = *advert;
    list_is_refused(reason);
}

static void test_forged_adverts_are_refused(void **state)
{
    (void)state;
    mini_to(&m, MINI_REVEALED);
    const struct pf_advert honest = m.members[PEER].advert;
    struct pf_advert bad = honest;
    memset(bad.signature, 0, sizeof bad.signature);
    advert_is_refused(&bad, PF_REASON_SIGNATURE);
    for (size_t i = 0; i < 8; i++) {
        bad = honest;
        bad.signature[9 * i % 64] ^= (uint8_t)(1u << i);
        advert_is_refused(&bad, PF_REASON_SIGNATURE);
    }
    /* Each key and each commitment is signed: one of the coordinator's own in its place. */
    uint8_t *const parts[] = {bad.channel_key, bad.mask_key, bad.self_commitment.bytes,
                              bad.randomness_commitment.bytes};
    for (size_t i = 0; i < PF_ARRAY_LENGTH(parts); i++) {
        bad = honest;
        parts[i][3] ^= 8;
        advert_is_refused(&bad, PF_REASON_SIGNATURE);
    }
    /* Sound, but by another identity: a member's, and one that is on no roster. */
    pf_advert_sign(&bad, &m.context, m.members[OTHER].sign_secret);
    advert_is_refused(&bad, PF_REASON_SIGNATURE);
    uint8_t secret[64], public[32];
    crypto_sign_keypair(public, secret);
    pf_advert_sign(&bad, &m.context, secret);
    advert_is_refused(&bad, PF_REASON_SIGNATURE);
    mini_expect_sum(&m);
}

/* The peer's own signature, given for something else. */
static void test_adverts_for_something_else_are_refused(void **state)
{
    (void)state;
    mini_to(&m, MINI_REVEALED);
    struct pf_round_offer offers[5];
    struct pf_digest contexts[8];
    size_t n = 0;
    for (size_t i = 0; i < 5; i++) offers[i] = m.offer;
    offers[0].round++;
    offers[1].model_hash.bytes[7] ^= 1;
    offers[2].masking.value_bits--;
    offers[3].masking.clip[1] *= 2;
    offers[4].order.epochs = 3;
    for (; n < 5; n++) contexts[n] = pf_round_context(&m.run_id, m.roster->hash, &offers[n]);
    struct pf_run_id other_run = m.run_id;
    other_run.bytes[15] ^= 1;
    contexts[n++] = pf_round_context(&other_run, m.roster->hash, &m.offer);
    uint8_t other_roster[32];
    memcpy(other_roster, m.roster->hash, sizeof other_roster);
    other_roster[0] ^= 1;
    contexts[n++] = pf_round_context(&m.run_id, other_roster, &m.offer);
    for (size_t i = 0; i < n; i++) {
        struct pf_advert replayed = m.members[PEER].advert;
        pf_advert_sign(&replayed, &contexts[i], m.members[PEER].sign_secret);
        advert_is_refused(&replayed, PF_REASON_SIGNATURE);
    }
    struct pf_advert honest = m.members[PEER].advert;
    pf_advert_sign(&honest, &m.context, m.members[PEER].sign_secret); /* it is the context alone */
    assert_memory_equal(&honest, &m.members[PEER].advert, sizeof honest);
    mini_expect_sum(&m);
}

static void test_the_advert_of_another_round_is_refused(void **state)
{
    (void)state;
    static struct mini_round before;
    struct mini_config config = complete;
    config.round = 7;
    mini_init(&before, &config);
    mini_to(&m, MINI_REVEALED);
    advert_is_refused(&before.members[PEER].advert, PF_REASON_SIGNATURE);
    fresh_list();
    list->adverts[VICTIM] = before.members[VICTIM].advert; /* its own, but of then */
    list_is_refused(PF_REASON_SIGNATURE);
    mini_finish(&before);
    mini_expect_sum(&m);
}

static void test_invented_participants_are_refused(void **state)
{
    (void)state;
    mini_to(&m, MINI_REVEALED);
    struct pf_advert invented = m.members[PEER].advert;
    invented.member = STRANGER; /* with a signature of its own, even */
    pf_advert_sign(&invented, &m.context, m.members[STRANGER].sign_secret);
    advert_is_refused(&invented, PF_REASON_ROSTER);
    invented.member = 12;
    advert_is_refused(&invented, PF_REASON_ROSTER);
    invented.member = UINT32_MAX;
    advert_is_refused(&invented, PF_REASON_ROSTER);
    fresh_list();
    pf_member_set_remove(&list->cohort, PEER); /* keys of somebody who is not in the cohort */
    list->parameters.degree = 8;
    list->parameters.threshold = 6;
    list->n_adverts = 9;
    list_is_refused(PF_REASON_ROSTER);
    mini_expect_sum(&m);
}

static void test_lists_that_do_not_fit_the_graph_are_refused(void **state)
{
    (void)state;
    mini_to(&m, MINI_REVEALED);
    fresh_list();
    list->n_adverts = 9;
    list_is_refused(PF_REASON_GRAPH);
    list->n_adverts = 0;
    list_is_refused(PF_REASON_GRAPH);
    fresh_list();
    list->adverts[PEER] = list->adverts[OTHER]; /* one twice, another not at all */
    list_is_refused(PF_REASON_GRAPH);
    fresh_list();
    list->adverts[PEER] = m.members[OTHER].advert;
    list->adverts[OTHER] = m.members[PEER].advert;
    list_is_refused(PF_REASON_GRAPH);
    fresh_list();
    list->adverts[VICTIM] = list->adverts[VICTIM + 1]; /* a list without oneself */
    list_is_refused(PF_REASON_GRAPH);
    mini_expect_sum(&m);
}

static void test_other_keys_in_ones_own_name_are_refused(void **state)
{
    (void)state;
    mini_to(&m, MINI_REVEALED);
    struct pf_advert own = m.members[VICTIM].advert;
    uint8_t *const parts[] = {own.channel_key, own.mask_key, own.self_commitment.bytes,
                              own.randomness_commitment.bytes, own.signature};
    for (size_t i = 0; i < PF_ARRAY_LENGTH(parts); i++) {
        own = m.members[VICTIM].advert;
        parts[i][0] ^= 1;
        if (parts[i] != own.signature)
            pf_advert_sign(&own, &m.context, m.members[VICTIM].sign_secret);
        fresh_list();
        list->adverts[VICTIM] = own;
        list_is_refused(PF_REASON_SIGNATURE);
    }
    mini_expect_sum(&m);
}

/* A member that is the coordinator's friend may sign what it likes: keys that give everybody the
 * same secret are found out before anything is shared or masked with them. */
static void test_keys_that_give_no_secret_are_refused(void **state)
{
    (void)state;
    mini_to(&m, MINI_REVEALED);
    struct pf_advert weak;
    uint8_t *const keys[] = {weak.channel_key, weak.mask_key};
    for (size_t i = 0; i < PF_ARRAY_LENGTH(keys); i++) {
        weak = m.members[PEER].advert;
        memset(keys[i], 0, 32);
        pf_advert_sign(&weak, &m.context, m.members[PEER].sign_secret);
        advert_is_refused(&weak, PF_REASON_SIGNATURE);
    }
    mini_expect_sum(&m);
}

/* Equal keys give equal masks, which cancel each other in the update of who stands between. */
static void test_keys_of_another_member_are_refused(void **state)
{
    (void)state;
    mini_to(&m, MINI_REVEALED);
    const uint32_t owners[] = {0, OTHER, VICTIM};
    for (size_t i = 0; i < PF_ARRAY_LENGTH(owners); i++) {
        struct pf_advert thief = m.members[PEER].advert;
        memcpy(thief.mask_key, m.members[owners[i]].advert.mask_key, sizeof thief.mask_key);
        pf_advert_sign(&thief, &m.context, m.members[PEER].sign_secret);
        advert_is_refused(&thief, PF_REASON_SIGNATURE);
    }
    mini_expect_sum(&m);
}

static void test_keys_of_another_neighbour_are_refused(void **state)
{
    (void)state;
    mini_to(&m, MINI_REVEALED);
    fresh_list();
    struct pf_advert *thief = &list->adverts[3];
    memcpy(thief->mask_key, list->adverts[9].mask_key, sizeof thief->mask_key);
    pf_advert_sign(thief, &m.context, m.members[thief->member].sign_secret);
    list_is_refused(PF_REASON_SIGNATURE);
    mini_expect_sum(&m);
}

static void test_a_second_key_list_is_refused(void **state)
{
    (void)state;
    for (enum mini_stage stage = MINI_SHARED; stage <= MINI_UNMASKED; stage++) {
        mini_to(&m, stage);
        fresh_list();
        list->parameters.threshold = 8;
        list_is_refused(PF_REASON_SECOND_LIST);
        fresh_list();
        list->adverts[PEER].signature[0] ^= 1;
        list_is_refused(PF_REASON_SECOND_LIST);
        fresh_list();
        pf_member_set_remove(&list->cohort, 9);
        list->parameters.degree = 8;
        list->n_adverts = 9;
        list_is_refused(PF_REASON_SECOND_LIST);
    }
    mini_expect_sum(&m);
}

/* ---- the delivery --------------------------------------------------------------------------- */

static uint32_t box_of(uint32_t sender)
{
    for (uint32_t i = 0; i < delivery->n_boxes; i++)
        if (delivery->boxes[i].peer == sender) return i;
    fail_msg("no box of %u", sender);
    return 0;
}

static void box_is_refused(const uint8_t box[PF_SHARE_BOX_BYTES])
{
    fresh_delivery();
    memcpy(delivery->boxes[box_of(PEER)].box, box, PF_SHARE_BOX_BYTES);
    refuses_delivery(&m, VICTIM, delivery, PF_REASON_SHARE_BOX);
}

static const uint8_t *sent_box(const struct mini_round *round, uint32_t from, uint32_t to)
{
    const struct pf_shares *shares = &round->members[from].shares;
    for (uint32_t i = 0; i < shares->n_boxes; i++)
        if (shares->boxes[i].peer == to) return shares->boxes[i].box;
    fail_msg("no box");
    return NULL;
}

static void test_boxes_that_were_not_made_for_this_are_refused(void **state)
{
    (void)state;
    static struct mini_round before;
    struct mini_config config = complete;
    config.round = 7;
    mini_init(&before, &config);
    mini_to(&before, MINI_SHARED);
    mini_to(&m, MINI_SHARED);
    box_is_refused(sent_box(&m, PEER, OTHER));   /* of that sender, for another */
    box_is_refused(sent_box(&m, OTHER, VICTIM)); /* for us, of another sender */
    box_is_refused(sent_box(&m, VICTIM, PEER));  /* ours to it, sent back */
    box_is_refused(sent_box(&before, PEER, VICTIM));
    for (size_t i = 0; i < PF_SHARE_BOX_BYTES; i += 5) {
        uint8_t box[PF_SHARE_BOX_BYTES];
        memcpy(box, sent_box(&m, PEER, VICTIM), sizeof box);
        box[i] ^= (uint8_t)(1u << i % 8);
        box_is_refused(box);
    }
    mini_finish(&before);
    mini_expect_sum(&m);
}

static void test_deliveries_that_contradict_themselves_are_refused(void **state)
{
    (void)state;
    mini_to(&m, MINI_SHARED);
    fresh_delivery();
    pf_member_set_remove(&delivery->sharers, PEER); /* hidden, but its box is here */
    refuses_delivery(&m, VICTIM, delivery, PF_REASON_SHARE_BOX);
    fresh_delivery();
    for (uint32_t i = box_of(PEER); i + 1 < delivery->n_boxes; i++)
        delivery->boxes[i] = delivery->boxes[i + 1];
    delivery->n_boxes--; /* said to have shared, but its box is held back */
    refuses_delivery(&m, VICTIM, delivery, PF_REASON_SHARE_BOX);
    delivery->n_boxes = 0;
    refuses_delivery(&m, VICTIM, delivery, PF_REASON_SHARE_BOX);
    fresh_delivery();
    delivery->boxes[delivery->n_boxes++] = delivery->boxes[box_of(PEER)];
    refuses_delivery(&m, VICTIM, delivery, PF_REASON_UNKNOWN_PEER);
    delivery->boxes[delivery->n_boxes - 1].peer = STRANGER;
    refuses_delivery(&m, VICTIM, delivery, PF_REASON_UNKNOWN_PEER);
    delivery->boxes[delivery->n_boxes - 1].peer = UINT32_MAX;
    refuses_delivery(&m, VICTIM, delivery, PF_REASON_UNKNOWN_PEER);
    fresh_delivery();
    pf_member_set_add(&delivery->sharers, STRANGER);
    refuses_delivery(&m, VICTIM, delivery, PF_REASON_ROSTER);
    fresh_delivery();
    pf_member_set_remove(&delivery->sharers, VICTIM);
    refuses_delivery(&m, VICTIM, delivery, PF_REASON_SELF_DROPPED);
    mini_expect_sum(&m);
}

static void test_too_few_sharers_are_refused(void **state)
{
    (void)state;
    mini_to(&m, MINI_SHARED);
    fresh_delivery();
    for (uint32_t i = 6; i < 10; i++) pf_member_set_remove(&delivery->sharers, i);
    delivery->n_boxes = 5; /* of 0, 1, 3, 4, 5: with oneself six, where t is 7 */
    refuses_delivery(&m, VICTIM, delivery, PF_REASON_TOO_FEW);
    mini_expect_sum(&m);
}

/* ---- regular graphs ------------------------------------------------------------------------- */

static void test_cohorts_that_are_refused_before_anything_is_revealed(void **state)
{
    (void)state;
    struct pf_message made = mini_committed(&m);
    struct pf_committed *bad = &made.committed;
    for (uint32_t i = 0; i < 100; i++)
        if (i != VICTIM && i != PEER) pf_member_set_remove(&bad->cohort, i);
    refuses_committed(&m, VICTIM, bad, PF_REASON_COHORT_TOO_SMALL);
    pf_message_finish(&made);
    made = mini_committed(&m);
    pf_member_set_remove(&bad->cohort, VICTIM);
    refuses_committed(&m, VICTIM, bad, PF_REASON_SELF_DROPPED);
    pf_member_set_add(&bad->cohort, VICTIM);
    bad->parameters.graph = PF_GRAPH_COMPLETE;
    refuses_committed(&m, VICTIM, bad, PF_REASON_GRAPH);
    pf_message_finish(&made);
    fresh_list(); /* neighbours that nobody has committed to */
    list_is_refused(PF_REASON_STEP);

    mini_to(&m, MINI_REVEALED);
    made = mini_committed(&m);
    made.committed.digest.bytes[0] ^= 1; /* what was revealed is known now */
    refuses_committed(&m, VICTIM, bad, PF_REASON_SECOND_LIST);
    made.committed.digest.bytes[0] ^= 1;
    struct pf_reveal again;
    enum pf_reason reason;
    struct pf_error err = {0};
    assert_int_equal(
        pf_secagg_client_committed(m.members[VICTIM].client, bad, &again, &reason, &err), PF_OK);
    assert_memory_equal(again.randomness, m.members[VICTIM].randomness, PF_RANDOMNESS_BYTES);
    mini_to(&m, MINI_SHARED);
    refuses_committed(&m, VICTIM, bad, PF_REASON_STEP);
    pf_message_finish(&made);
    mini_expect_sum(&m);
}

/* The neighbours and keys that go with other randomness: a graph that the coordinator would like.
 */
static void fresh_list_of_another_graph(uint32_t member)
{
    m.members[member].randomness[0] ^= 1;
    mini_close_list(&m);
    fresh_list();
    m.members[member].randomness[0] ^= 1;
    mini_close_list(&m);
}

static void test_a_graph_other_than_the_committed_one_is_refused(void **state)
{
    (void)state;
    mini_to(&m, MINI_REVEALED);
    fresh_list_of_another_graph(PEER);
    list_is_refused(PF_REASON_GRAPH);
    fresh_list_of_another_graph(VICTIM);
    list_is_refused(PF_REASON_GRAPH);
    const struct pf_secagg_parameters committed = m.parameters;
    m.parameters.degree += 2;
    m.parameters.threshold = 14; /* good ones, but not those that were committed to */
    fresh_list();
    m.parameters = committed;
    list_is_refused(PF_REASON_GRAPH);
    fresh_list();
    list->n_randomness--;
    list_is_refused(PF_REASON_GRAPH);
    fresh_list();
    pf_member_set_add(&list->cohort, 100);
    list->randomness = pf_realloc(list->randomness, 101, PF_RANDOMNESS_BYTES);
    assert_non_null(list->randomness);
    memset(list->randomness[100], 1, PF_RANDOMNESS_BYTES);
    list->n_randomness = 101;
    list_is_refused(PF_REASON_GRAPH);
    fresh_list();
    list->parameters = (struct pf_secagg_parameters){PF_GRAPH_COMPLETE, 99, 53};
    list_is_refused(PF_REASON_STEP);
    mini_expect_sum(&m);
}

/* Randomness chosen for us, with a cohort digest and a graph that fit it: only our own commitment
 * tells. */
static void test_a_part_of_the_graph_in_ones_own_name_is_refused(void **state)
{
    (void)state;
    struct mini_member *victim = &m.members[VICTIM];
    const struct pf_digest honest = victim->advert.randomness_commitment;
    uint8_t chosen[PF_RANDOMNESS_BYTES] = {7}, own[PF_RANDOMNESS_BYTES];
    victim->advert.randomness_commitment = pf_commit_randomness(&m.context, VICTIM, chosen);
    mini_to(&m, MINI_REVEALED); /* the digest that is shown has the chosen one in it */
    memcpy(own, victim->randomness, sizeof own);
    memcpy(victim->randomness, chosen, sizeof chosen);
    mini_close_list(&m);
    fresh_list();
    list_is_refused(PF_REASON_GRAPH);
    memcpy(victim->randomness, own, sizeof own); /* ours after all, which does not fit the digest */
    mini_close_list(&m);
    fresh_list();
    list_is_refused(PF_REASON_GRAPH);
    victim->advert.randomness_commitment = honest;
}

static void test_other_neighbours_than_the_graphs_are_refused(void **state)
{
    (void)state;
    mini_to(&m, MINI_REVEALED);
    uint32_t peers[MINI_MAX_MEMBERS], n = mini_neighbours(&m, VICTIM, peers);
    for (uint32_t i = 0; i < n; i += 5) {
        uint32_t other = peers[i] + 1;
        if (other == VICTIM || other == 100 || (i + 1 < n && other == peers[i + 1])) continue;
        fresh_list();
        list->adverts[i] = m.members[other].advert; /* honest keys, of another than the graph's */
        list_is_refused(PF_REASON_GRAPH);
    }
    fresh_list();
    list->n_adverts--;
    list_is_refused(PF_REASON_GRAPH);
    fresh_list();
    list->adverts[0].member = 100;
    list_is_refused(PF_REASON_ROSTER);
    fresh_list();
    list->adverts[3].mask_key[0] ^= 1;
    list_is_refused(PF_REASON_SIGNATURE);
    mini_expect_sum(&m);
}

static void test_regular_parameters_that_do_not_protect_are_refused(void **state)
{
    (void)state;
    const struct pf_secagg_goal trusting = {
        .n = 100, .corrupt = 0.05, .dropouts = 0.05, .adversary = PF_SEMI_HONEST};
    static const uint32_t degrees[] = {0, 2, 4, 10, 15, 100, 102};
    struct pf_error err = {0};
    mini_to(&m, MINI_REVEALED);
    for (size_t i = 0; i < PF_ARRAY_LENGTH(degrees); i++) {
        fresh_list();
        list->parameters.degree = degrees[i];
        list_is_refused(PF_REASON_THRESHOLD);
    }
    for (uint32_t t = 0; t < 11; t++) {
        fresh_list();
        list->parameters.threshold = t;
        list_is_refused(PF_REASON_THRESHOLD);
    }
    fresh_list();
    assert_int_equal(pf_secagg_find_regular(&trusting, &list->parameters, &err), PF_OK);
    assert_int_equal(list->parameters.threshold, 6);
    list_is_refused(PF_REASON_THRESHOLD);
    mini_expect_sum(&m);
}

static void test_boxes_of_a_regular_round(void **state)
{
    (void)state;
    mini_to(&m, MINI_SHARED);
    fresh_delivery();
    uint8_t kept[PF_SHARE_BOX_BYTES];
    memcpy(kept, delivery->boxes[0].box, sizeof kept);
    memcpy(delivery->boxes[0].box, delivery->boxes[1].box, sizeof kept);
    memcpy(delivery->boxes[1].box, kept, sizeof kept);
    refuses_delivery(&m, VICTIM, delivery, PF_REASON_SHARE_BOX);
    fresh_delivery();
    for (uint32_t i = 0; i < 6; i++) /* 10 of 16 neighbours, where t is 11 */
        pf_member_set_remove(&delivery->sharers, delivery->boxes[i].peer);
    memmove(delivery->boxes, delivery->boxes + 6, 10 * sizeof *delivery->boxes);
    delivery->n_boxes = 10;
    refuses_delivery(&m, VICTIM, delivery, PF_REASON_TOO_FEW);
    mini_expect_sum(&m);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
#define REGULAR(name) cmocka_unit_test_setup_teardown(name, set_up_regular, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_cohorts_that_are_refused),
        TEST(test_a_cohort_below_the_participants_own_minimum_is_refused),
        TEST(test_parameters_that_do_not_protect_are_refused),
        TEST(test_semi_honest_parameters_do_not_do_for_semi_malicious),
        TEST(test_a_modulus_that_could_wrap_is_refused),
        TEST(test_forged_adverts_are_refused),
        TEST(test_adverts_for_something_else_are_refused),
        TEST(test_the_advert_of_another_round_is_refused),
        TEST(test_invented_participants_are_refused),
        TEST(test_lists_that_do_not_fit_the_graph_are_refused),
        TEST(test_other_keys_in_ones_own_name_are_refused),
        TEST(test_keys_that_give_no_secret_are_refused),
        TEST(test_keys_of_another_member_are_refused),
        TEST(test_a_second_key_list_is_refused),
        TEST(test_boxes_that_were_not_made_for_this_are_refused),
        TEST(test_deliveries_that_contradict_themselves_are_refused),
        TEST(test_too_few_sharers_are_refused),
        REGULAR(test_cohorts_that_are_refused_before_anything_is_revealed),
        REGULAR(test_a_graph_other_than_the_committed_one_is_refused),
        REGULAR(test_a_part_of_the_graph_in_ones_own_name_is_refused),
        REGULAR(test_other_neighbours_than_the_graphs_are_refused),
        REGULAR(test_regular_parameters_that_do_not_protect_are_refused),
        REGULAR(test_boxes_of_a_regular_round),
        REGULAR(test_keys_of_another_neighbour_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
