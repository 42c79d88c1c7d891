/* The messages of secure rounds: what their frames look like, which limits they keep, and that no
 * share is left behind in memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <malloc.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/memory.h"
#include "message_helpers.h"
#include "sample_messages.h"

/* ---- The layout of records --------------------------------------------------------------------*/

static Packfed__Envelope *unpacked_sample(enum pf_message_kind kind, struct pf_message *sample)
{
    pf_sample_message(kind, sample);
    struct pf_buffer frame = encoded(sample);
    Packfed__Envelope *envelope = packfed__envelope__unpack(NULL, frame.length, frame.bytes);
    assert_non_null(envelope);
    pf_buffer_finish(&frame);
    return envelope;
}

static void records_have_their_documented_layout(void **state)
{
    (void)state;
    struct pf_message key_list, delivery, request, unmask;
    Packfed__Envelope *e = unpacked_sample(PF_MESSAGE_KEY_LIST, &key_list);
    assert_int_equal(e->key_list->adverts.len, 4 * 196);
    const uint8_t *record = e->key_list->adverts.data + 2 * 196;
    const struct pf_advert *advert = &key_list.key_list.adverts[2];
    assert_memory_equal(record, "\x07\0\0\0", 4);
    assert_memory_equal(record + 4, advert->channel_key, 32);
    assert_memory_equal(record + 36, advert->mask_key, 32);
    assert_memory_equal(record + 68, advert->self_commitment.bytes, 32);
    assert_memory_equal(record + 100, advert->randomness_commitment.bytes, 32);
    assert_memory_equal(record + 132, advert->signature, 64);
    assert_int_equal(e->key_list->randomness.len, 5 * 16);
    assert_memory_equal(e->key_list->randomness.data, key_list.key_list.randomness, 5 * 16);
    assert_int_equal(e->key_list->cohort->n_members, 11);
    assert_int_equal(e->key_list->cohort->bits.len, 2);
    assert_memory_equal(e->key_list->cohort->bits.data, "\x8d\x04", 2); /* 0 2 3 7, 10 */
    packfed__envelope__free_unpacked(e, NULL);

    e = unpacked_sample(PF_MESSAGE_SHARE_DELIVERY, &delivery);
    assert_int_equal(e->share_delivery->boxes.len, 3 * 84);
    assert_memory_equal(e->share_delivery->boxes.data + 84, "\x02\0\0\0", 4);
    assert_memory_equal(e->share_delivery->boxes.data + 88, delivery.shares.boxes[1].box, 80);
    packfed__envelope__free_unpacked(e, NULL);

    e = unpacked_sample(PF_MESSAGE_UNMASK_REQUEST, &request);
    assert_int_equal(e->unmask_request->survivors.len, 12);
    assert_memory_equal(e->unmask_request->survivors.data, "\0\0\0\0\x02\0\0\0\x03\0\0\0", 12);
    assert_int_equal(e->unmask_request->dropped.len, 4);
    assert_memory_equal(e->unmask_request->dropped.data, "\x07\0\0\0", 4);
    assert_int_equal(e->unmask_request->consents.len, 3 * 68);
    packfed__envelope__free_unpacked(e, NULL);

    e = unpacked_sample(PF_MESSAGE_UNMASK, &unmask);
    assert_int_equal(e->unmask->shares.len, 4 * 37);
    assert_memory_equal(e->unmask->shares.data + 2 * 37, "\x03\0\0\0\0", 5);
    assert_memory_equal(e->unmask->shares.data + 3 * 37, "\x07\0\0\0\x01", 5);
    assert_memory_equal(e->unmask->shares.data + 3 * 37 + 5, &unmask.unmask.shares[3].share, 32);
    packfed__envelope__free_unpacked(e, NULL);
    struct pf_message *all[] = {&key_list, &delivery, &request, &unmask};
    for (size_t i = 0; i < PF_ARRAY_LENGTH(all); i++) pf_message_finish(all[i]);
}

/* ---- Limits: what another sender made is refused ----------------------------------------------*/

/* The field becomes `length` bytes of zeros. */
static void zeros(ProtobufCBinaryData *field, size_t length)
{
    free(field->data);
    field->data = calloc(1, length);
    field->len = length;
}

static void free_set(Packfed__MemberSet **set)
{
    packfed__member_set__free_unpacked(*set, NULL);
    *set = NULL;
}

EDIT(advertise_round, e->advertise->round = 0)
EDIT(advertise_late_round, e->advertise->round = PF_MAX_ROUNDS + 1)
EDIT(advertise_short, e->advertise->advert.len = 195)
EDIT(advertise_none, e->advertise->advert.len = 0)
EDIT(advertise_two, zeros(&e->advertise->advert, 392))
EDIT(advertise_member, memcpy(e->advertise->advert.data, "\x10\x27\0\0", 4)) /* 10,000 */
EDIT(advertise_far_member, memcpy(e->advertise->advert.data, "\0\0\0\xff", 4))
EDIT(committed_round, e->committed->round = 0)
EDIT(committed_digest, e->committed->digest.len = 31)
EDIT(committed_no_cohort, free_set(&e->committed->cohort))
EDIT(committed_nobody, e->committed->cohort->n_members = 0; e->committed->cohort->bits.len = 0)
EDIT(committed_roster, e->committed->cohort->n_members = PF_MAX_COHORT + 1;
     zeros(&e->committed->cohort->bits, 1251))
EDIT(committed_huge_roster, e->committed->cohort->n_members = UINT32_MAX)
EDIT(committed_few_bits, e->committed->cohort->bits.len = 1)
EDIT(committed_more_bits, e->committed->cohort->n_members = 8)
EDIT(committed_high_bits, e->committed->cohort->n_members = 10)
EDIT(committed_highest_bit, e->committed->cohort->bits.data[1] |= 0x80)
EDIT(committed_no_parameters,
     packfed__graph_parameters__free_unpacked(e->committed->parameters, NULL);
     e->committed->parameters = NULL)
EDIT(committed_no_graph, e->committed->parameters->graph = 0)
EDIT(committed_graph, e->committed->parameters->graph = 3)
EDIT(committed_degree, e->committed->parameters->degree = 0)
EDIT(committed_large_degree, e->committed->parameters->degree = PF_MAX_COHORT + 1)
EDIT(committed_threshold, e->committed->parameters->threshold = 0)
EDIT(committed_large_threshold, e->committed->parameters->threshold = PF_MAX_COHORT + 1)
EDIT(reveal_round, e->reveal->round = 0)
EDIT(reveal_short, e->reveal->randomness.len = 15)
EDIT(list_round, e->key_list->round = PF_MAX_ROUNDS + 1)
EDIT(list_no_cohort, free_set(&e->key_list->cohort))
EDIT(list_high_bits, e->key_list->cohort->bits.data[1] |= 0x08)
EDIT(list_no_parameters, packfed__graph_parameters__free_unpacked(e->key_list->parameters, NULL);
     e->key_list->parameters = NULL)
EDIT(list_threshold, e->key_list->parameters->threshold = 0)
EDIT(list_randomness, e->key_list->randomness.len = 79)
EDIT(list_less_randomness, e->key_list->randomness.len = 64)
EDIT(list_more_randomness, zeros(&e->key_list->randomness, 96))
EDIT(list_complete_randomness, e->key_list->parameters->graph = PF_GRAPH_COMPLETE)
EDIT(list_cohort_randomness, e->key_list->cohort->bits.data[0] |= 0x02)
EDIT(list_adverts, e->key_list->adverts.len = 783)
EDIT(list_descending, e->key_list->adverts.data[196] = 1)
EDIT(list_repeated, e->key_list->adverts.data[196] = 2)
EDIT(list_member, e->key_list->adverts.data[3 * 196 + 2] = 1)
EDIT(shares_round, e->shares->round = 0)
EDIT(shares_sharers, e->shares->sharers = malloc(sizeof *e->shares->sharers);
     packfed__member_set__init(e->shares->sharers))
EDIT(shares_boxes, e->shares->boxes.len = 85)
EDIT(shares_many, zeros(&e->shares->boxes, (size_t)84 * (PF_MAX_PEERS + 1)))
EDIT(shares_descending, e->shares->boxes.data[84] = 4)
EDIT(shares_repeated, e->shares->boxes.data[84] = 0)
EDIT(shares_peer, memcpy(e->shares->boxes.data + 168, "\x10\x27\0\0", 4))
EDIT(delivery_no_sharers, free_set(&e->share_delivery->sharers))
EDIT(delivery_nobody, e->share_delivery->sharers->n_members = 0;
     e->share_delivery->sharers->bits.len = 0)
EDIT(delivery_high_bits, e->share_delivery->sharers->bits.data[1] |= 0x10)
EDIT(delivery_boxes, e->share_delivery->boxes.len = 3)
EDIT(grant_round, e->update_grant->round = 0)
EDIT(survivors_round, e->survivors->round = 0)
EDIT(survivors_none, free_set(&e->survivors->survivors))
EDIT(survivors_high_bits, e->survivors->survivors->bits.data[1] |= 0x40)
EDIT(survivors_bits, e->survivors->survivors->bits.len = 1)
EDIT(consent_round, e->consent->round = 0)
EDIT(consent_short, e->consent->consent.len = 67)
EDIT(consent_member, e->consent->consent.data[3] = 1)
EDIT(request_round, e->unmask_request->round = 0)
EDIT(request_survivors, e->unmask_request->survivors.len = 11)
EDIT(request_survivor, e->unmask_request->survivors.data[3] = 1)
EDIT(request_many, zeros(&e->unmask_request->survivors, (size_t)4 * (PF_MAX_PEERS + 1)))
EDIT(request_dropped, e->unmask_request->dropped.len = 1)
EDIT(request_dropped_member, e->unmask_request->dropped.data[2] = 1)
EDIT(request_many_dropped, zeros(&e->unmask_request->dropped, (size_t)4 * (PF_MAX_PEERS + 1)))
EDIT(request_consents, e->unmask_request->consents.len = 67)
EDIT(request_consent, e->unmask_request->consents.data[68 + 2] = 1)
EDIT(request_many_consents, zeros(&e->unmask_request->consents, (size_t)68 * (PF_MAX_PEERS + 1)))
EDIT(unmask_round, e->unmask->round = 0)
EDIT(unmask_shares, e->unmask->shares.len = 36)
EDIT(unmask_member, e->unmask->shares.data[37 + 2] = 1)
EDIT(unmask_flag, e->unmask->shares.data[37 + 4] = 2)
EDIT(unmask_high_flag, e->unmask->shares.data[3 * 37 + 4] = 0x81)
EDIT(unmask_many, zeros(&e->unmask->shares, (size_t)37 * (PF_MAX_PEERS + 1)))

struct refused_edit {
    enum pf_message_kind kind;
    edit_function *edit;
    const char *words;
};

static const struct refused_edit edits_of_keys[] = {
    {PF_MESSAGE_ADVERTISE, edit_advertise_round, "ADVERTISE: round is 0"},
    {PF_MESSAGE_ADVERTISE, edit_advertise_late_round, "round is 1000001"},
    {PF_MESSAGE_ADVERTISE, edit_advertise_short, "advert has 195 bytes instead of 196"},
    {PF_MESSAGE_ADVERTISE, edit_advertise_none, "advert has 0 bytes"},
    {PF_MESSAGE_ADVERTISE, edit_advertise_two, "advert has 392 bytes"},
    {PF_MESSAGE_ADVERTISE, edit_advertise_member, "member is 10000, allowed are 0 to 9999"},
    {PF_MESSAGE_ADVERTISE, edit_advertise_far_member, "member is 4278190080"},
    {PF_MESSAGE_COMMITTED, edit_committed_round, "COMMITTED: round is 0"},
    {PF_MESSAGE_COMMITTED, edit_committed_digest, "digest has 31 bytes"},
    {PF_MESSAGE_COMMITTED, edit_committed_no_cohort, "cohort is absent"},
    {PF_MESSAGE_COMMITTED, edit_committed_nobody, "cohort is of 0 members"},
    {PF_MESSAGE_COMMITTED, edit_committed_roster, "cohort is of 10001 members"},
    {PF_MESSAGE_COMMITTED, edit_committed_huge_roster, "cohort is of 4294967295 members"},
    {PF_MESSAGE_COMMITTED, edit_committed_few_bits, "cohort has 1 bytes instead of 2"},
    {PF_MESSAGE_COMMITTED, edit_committed_more_bits, "cohort has 2 bytes instead of 1"},
    {PF_MESSAGE_COMMITTED, edit_committed_high_bits, "cohort has bits behind its 10 members"},
    {PF_MESSAGE_COMMITTED, edit_committed_highest_bit, "cohort has bits behind its 11"},
    {PF_MESSAGE_COMMITTED, edit_committed_no_parameters, "parameters is absent"},
    {PF_MESSAGE_COMMITTED, edit_committed_no_graph, "parameters.graph is 0"},
    {PF_MESSAGE_COMMITTED, edit_committed_graph, "parameters.graph is 3"},
    {PF_MESSAGE_COMMITTED, edit_committed_degree, "parameters.degree is 0"},
    {PF_MESSAGE_COMMITTED, edit_committed_large_degree, "parameters.degree is 10001"},
    {PF_MESSAGE_COMMITTED, edit_committed_threshold, "parameters.threshold is 0"},
    {PF_MESSAGE_COMMITTED, edit_committed_large_threshold, "parameters.threshold is 10001"},
    {PF_MESSAGE_REVEAL, edit_reveal_round, "REVEAL: round is 0"},
    {PF_MESSAGE_REVEAL, edit_reveal_short, "randomness has 15 bytes"},
    {PF_MESSAGE_KEY_LIST, edit_list_round, "KEY_LIST: round is 1000001"},
    {PF_MESSAGE_KEY_LIST, edit_list_no_cohort, "cohort is absent"},
    {PF_MESSAGE_KEY_LIST, edit_list_high_bits, "cohort has bits behind"},
    {PF_MESSAGE_KEY_LIST, edit_list_no_parameters, "parameters is absent"},
    {PF_MESSAGE_KEY_LIST, edit_list_threshold, "parameters.threshold is 0"},
    {PF_MESSAGE_KEY_LIST, edit_list_randomness, "randomness has 79 bytes: not records of 16"},
    {PF_MESSAGE_KEY_LIST, edit_list_less_randomness, "n_randomness is 4, allowed are 5 to 5"},
    {PF_MESSAGE_KEY_LIST, edit_list_more_randomness, "n_randomness is 6, allowed are 5 to 5"},
    {PF_MESSAGE_KEY_LIST, edit_list_complete_randomness, "n_randomness is 5, allowed are 0 to 0"},
    {PF_MESSAGE_KEY_LIST, edit_list_cohort_randomness, "n_randomness is 5, allowed are 6 to 6"},
    {PF_MESSAGE_KEY_LIST, edit_list_adverts, "adverts has 783 bytes: not records of 196"},
    {PF_MESSAGE_KEY_LIST, edit_list_descending, "the advert of member 1 does not ascend"},
    {PF_MESSAGE_KEY_LIST, edit_list_repeated, "the advert of member 2 does not ascend"},
    {PF_MESSAGE_KEY_LIST, edit_list_member, "the advert of member is 65546"},
};

static const struct refused_edit edits_of_shares[] = {
    {PF_MESSAGE_SHARES, edit_shares_round, "SHARES: round is 0"},
    {PF_MESSAGE_SHARES, edit_shares_sharers, "sharers in a message that names none"},
    {PF_MESSAGE_SHARES, edit_shares_boxes, "boxes has 85 bytes: not records of 84"},
    {PF_MESSAGE_SHARES, edit_shares_many, "boxes has 10001 records, at most 10000"},
    {PF_MESSAGE_SHARES, edit_shares_descending, "the box of peer 3 does not ascend"},
    {PF_MESSAGE_SHARES, edit_shares_repeated, "the box of peer 0 does not ascend"},
    {PF_MESSAGE_SHARES, edit_shares_peer, "the box of peer is 10000"},
    {PF_MESSAGE_SHARE_DELIVERY, edit_delivery_no_sharers, "SHARE_DELIVERY: sharers is absent"},
    {PF_MESSAGE_SHARE_DELIVERY, edit_delivery_nobody, "sharers is of 0 members"},
    {PF_MESSAGE_SHARE_DELIVERY, edit_delivery_high_bits, "sharers has bits behind"},
    {PF_MESSAGE_SHARE_DELIVERY, edit_delivery_boxes, "boxes has 3 bytes"},
    {PF_MESSAGE_UPDATE_GRANT, edit_grant_round, "UPDATE_GRANT: round is 0"},
    {PF_MESSAGE_SURVIVORS, edit_survivors_round, "SURVIVORS: round is 0"},
    {PF_MESSAGE_SURVIVORS, edit_survivors_none, "survivors is absent"},
    {PF_MESSAGE_SURVIVORS, edit_survivors_high_bits, "survivors has bits behind"},
    {PF_MESSAGE_SURVIVORS, edit_survivors_bits, "survivors has 1 bytes instead of 2"},
    {PF_MESSAGE_CONSENT, edit_consent_round, "CONSENT: round is 0"},
    {PF_MESSAGE_CONSENT, edit_consent_short, "consent has 67 bytes instead of 68"},
    {PF_MESSAGE_CONSENT, edit_consent_member, "the consent's member is 16777223"},
    {PF_MESSAGE_UNMASK_REQUEST, edit_request_round, "UNMASK_REQUEST: round is 0"},
    {PF_MESSAGE_UNMASK_REQUEST, edit_request_survivors, "survivors has 11 bytes"},
    {PF_MESSAGE_UNMASK_REQUEST, edit_request_survivor, "a survivor is 16777216"},
    {PF_MESSAGE_UNMASK_REQUEST, edit_request_many, "survivors has 10001 records"},
    {PF_MESSAGE_UNMASK_REQUEST, edit_request_dropped, "dropped has 1 bytes"},
    {PF_MESSAGE_UNMASK_REQUEST, edit_request_dropped_member, "a dropped member is 65543"},
    {PF_MESSAGE_UNMASK_REQUEST, edit_request_many_dropped, "dropped has 10001 records"},
    {PF_MESSAGE_UNMASK_REQUEST, edit_request_consents, "consents has 67 bytes"},
    {PF_MESSAGE_UNMASK_REQUEST, edit_request_consent, "a consent's member is 65538"},
    {PF_MESSAGE_UNMASK_REQUEST, edit_request_many_consents, "consents has 10001 records"},
    {PF_MESSAGE_UNMASK, edit_unmask_round, "UNMASK: round is 0"},
    {PF_MESSAGE_UNMASK, edit_unmask_shares, "shares has 36 bytes: not records of 37"},
    {PF_MESSAGE_UNMASK, edit_unmask_member, "a share's member is 65538"},
    {PF_MESSAGE_UNMASK, edit_unmask_flag, "shares has a record that is not valid"},
    {PF_MESSAGE_UNMASK, edit_unmask_high_flag, "shares has a record that is not valid"},
    {PF_MESSAGE_UNMASK, edit_unmask_many, "shares has 10001 records"},
};

static void every_broken_limit_of_keys_is_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < PF_ARRAY_LENGTH(edits_of_keys); i++)
        assert_edit_refused(edits_of_keys[i].kind, edits_of_keys[i].edit, edits_of_keys[i].words);
}

static void every_broken_limit_of_shares_is_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < PF_ARRAY_LENGTH(edits_of_shares); i++)
        assert_edit_refused(edits_of_shares[i].kind, edits_of_shares[i].edit,
                            edits_of_shares[i].words);
}

/* ---- Limits: a sender is told -----------------------------------------------------------------*/

#define BREAK(name, change)                        \
    static void break_##name(struct pf_message *m) \
    {                                              \
        change;                                    \
    }

BREAK(advert, m->advertise.advert.member = PF_MAX_COHORT)
BREAK(advert_round, m->advertise.round = 0)
BREAK(cohort, m->committed.cohort.bits[1] |= 0x20)
BREAK(roster, m->committed.cohort.n_members = PF_MAX_COHORT + 1)
BREAK(no_roster, m->committed.cohort.n_members = 0)
BREAK(graph, m->committed.parameters.graph = (enum pf_graph_kind)0)
BREAK(degree, m->committed.parameters.degree = 0)
BREAK(reveal, m->reveal.round = PF_MAX_ROUNDS + 1)
BREAK(randomness, m->key_list.n_randomness = 4)
BREAK(adverts, m->key_list.n_adverts = PF_MAX_PEERS + 1)
BREAK(advert_order, m->key_list.adverts[3].member = 7)
BREAK(boxes, m->shares.n_boxes = PF_MAX_PEERS + 1)
BREAK(box_order, m->shares.boxes[2].peer = 1)
BREAK(sharers, m->shares.sharers.n_members = 11)
BREAK(no_sharers, m->shares.sharers.n_members = 0)
BREAK(grant, m->grant.round = 0)
BREAK(survivors, m->survivors.survivors.bits[1] |= 0x08)
BREAK(consent, m->consent.consent.member = UINT32_MAX)
BREAK(survivor, m->unmask_request.survivors[1] = PF_MAX_COHORT)
BREAK(dropped, m->unmask_request.dropped[0] = PF_MAX_COHORT)
BREAK(consents, m->unmask_request.n_consents = PF_MAX_PEERS + 1)
BREAK(share, m->unmask.shares[0].member = PF_MAX_COHORT)
BREAK(shares, m->unmask.n_shares = PF_MAX_PEERS + 1)

/* The counts that a break changed, so that the message can be released. */
static void assert_break_refused(enum pf_message_kind kind, void (*change)(struct pf_message *),
                                 const char *words)
{
    struct pf_message message, whole;
    pf_sample_message(kind, &message);
    whole = message;
    change(&message);
    struct pf_buffer frame = {0};
    struct pf_error err = {0};
    assert_int_equal(pf_message_encode(&message, &frame, &err), PF_INVALID);
    if (strstr(err.text, words) == NULL) fail_msg("'%s' lacks '%s'", err.text, words);
    assert_int_equal(frame.length, 0);
    pf_buffer_finish(&frame);
    pf_message_finish(&whole);
}

static void a_sender_cannot_break_a_limit(void **state)
{
    (void)state;
    static const struct {
        enum pf_message_kind kind;
        void (*change)(struct pf_message *m);
        const char *words;
    } cases[] = {
        {PF_MESSAGE_ADVERTISE, break_advert, "member is 10000"},
        {PF_MESSAGE_ADVERTISE, break_advert_round, "round is 0"},
        {PF_MESSAGE_COMMITTED, break_cohort, "cohort has bits behind"},
        {PF_MESSAGE_COMMITTED, break_roster, "cohort.n_members is 10001"},
        {PF_MESSAGE_COMMITTED, break_no_roster, "cohort.n_members is 0"},
        {PF_MESSAGE_COMMITTED, break_graph, "parameters.graph is 0"},
        {PF_MESSAGE_COMMITTED, break_degree, "parameters.degree is 0"},
        {PF_MESSAGE_REVEAL, break_reveal, "round is 1000001"},
        {PF_MESSAGE_KEY_LIST, break_randomness, "n_randomness is 4"},
        {PF_MESSAGE_KEY_LIST, break_adverts, "n_adverts is 10001"},
        {PF_MESSAGE_KEY_LIST, break_advert_order, "member 7 does not ascend"},
        {PF_MESSAGE_SHARES, break_boxes, "n_boxes is 10001"},
        {PF_MESSAGE_SHARES, break_box_order, "peer 1 does not ascend"},
        {PF_MESSAGE_SHARES, break_sharers, "sharers.n_members is 11"},
        {PF_MESSAGE_SHARE_DELIVERY, break_no_sharers, "sharers.n_members is 0"},
        {PF_MESSAGE_UPDATE_GRANT, break_grant, "round is 0"},
        {PF_MESSAGE_SURVIVORS, break_survivors, "survivors has bits behind"},
        {PF_MESSAGE_CONSENT, break_consent, "member is 4294967295"},
        {PF_MESSAGE_UNMASK_REQUEST, break_survivor, "a survivor is 10000"},
        {PF_MESSAGE_UNMASK_REQUEST, break_dropped, "a dropped member is 10000"},
        {PF_MESSAGE_UNMASK_REQUEST, break_consents, "n_consents is 10001"},
        {PF_MESSAGE_UNMASK, break_share, "a share's member is 10000"},
        {PF_MESSAGE_UNMASK, break_shares, "n_shares is 10001"},
    };
    for (size_t i = 0; i < PF_ARRAY_LENGTH(cases); i++)
        assert_break_refused(cases[i].kind, cases[i].change, cases[i].words);
}

/* ---- What is allowed --------------------------------------------------------------------------*/

static void assert_round_trips(const struct pf_message *sent)
{
    struct pf_buffer frame = encoded(sent);
    struct pf_message received = decoded(&frame);
    assert_secagg_equal(sent, &received);
    pf_message_finish(&received);
    pf_buffer_finish(&frame);
}

/* Who is named twice, or in both lists, is the receiver's to refuse by name. */
static void unmask_requests_come_as_they_are(void **state)
{
    (void)state;
    struct pf_message message;
    pf_sample_message(PF_MESSAGE_UNMASK_REQUEST, &message);
    message.unmask_request.survivors[0] = 7;
    message.unmask_request.survivors[1] = 7;
    message.unmask_request.survivors[2] = 9999;
    message.unmask_request.consents[2].member = message.unmask_request.consents[0].member;
    assert_round_trips(&message);
    pf_message_finish(&message);
}

static void empty_lists_round_trip(void **state)
{
    (void)state;
    struct pf_message message;
    pf_sample_message(PF_MESSAGE_SURVIVORS, &message);
    memset(message.survivors.survivors.bits, 0, 2);
    assert_round_trips(&message);
    pf_message_finish(&message);
    message = (struct pf_message){
        .kind = PF_MESSAGE_UNMASK, .run_id = {{1}}, .unmask = {.round = PF_MAX_ROUNDS}};
    assert_round_trips(&message);
    message = (struct pf_message){
        .kind = PF_MESSAGE_UNMASK_REQUEST, .run_id = {{1}}, .unmask_request = {.round = 1}};
    assert_round_trips(&message);
    message =
        (struct pf_message){.kind = PF_MESSAGE_SHARES, .run_id = {{1}}, .shares = {.round = 1}};
    assert_round_trips(&message);
}

static void fill(void *out, size_t length)
{
    for (size_t i = 0; i < length; i++) ((uint8_t *)out)[i] = (uint8_t)(i * 31 + i / 256);
}

/* Everybody on a roster of n; adverts of the members 1, 1 + step, … */
static struct pf_message large_key_list(enum pf_graph_kind graph, uint32_t n, uint32_t n_adverts,
                                        uint32_t step)
{
    struct pf_message message = {.kind = PF_MESSAGE_KEY_LIST, .run_id = {{1}}};
    struct pf_key_list *list = &message.key_list;
    bool regular = graph == PF_GRAPH_HARARY;
    *list = (struct pf_key_list){.round = 1,
                                 .parameters = {graph, regular ? n_adverts : n - 1, n / 2 + 1},
                                 .n_randomness = regular ? n : 0,
                                 .randomness = pf_alloc(n, PF_RANDOMNESS_BYTES),
                                 .n_adverts = n_adverts,
                                 .adverts = PF_ALLOC(n_adverts, struct pf_advert)};
    assert_int_equal(pf_member_set_create(n, &list->cohort, NULL), PF_OK);
    for (uint32_t i = 0; i < n; i++) pf_member_set_add(&list->cohort, i);
    fill(list->randomness, (size_t)n * PF_RANDOMNESS_BYTES);
    fill(list->adverts, n_adverts * sizeof list->adverts[0]);
    for (uint32_t i = 0; i < n_adverts; i++) list->adverts[i].member = i * step;
    return message;
}

static void key_lists_fit_a_frame(void **state)
{
    (void)state;
    struct pf_message lists[] = {
        large_key_list(PF_GRAPH_COMPLETE, 500, 500, 1),
        large_key_list(PF_GRAPH_COMPLETE, PF_SECAGG_MAX_COMPLETE, PF_SECAGG_MAX_COMPLETE, 1),
        large_key_list(PF_GRAPH_HARARY, PF_MAX_COHORT, 1000, 10),
    };
    for (size_t i = 0; i < PF_ARRAY_LENGTH(lists); i++) {
        assert_round_trips(&lists[i]);
        pf_message_finish(&lists[i]);
    }
}

static void lists_that_outgrow_a_frame_are_not_sent(void **state)
{
    (void)state;
    struct pf_message list = large_key_list(PF_GRAPH_HARARY, PF_MAX_COHORT, 5000, 2);
    struct pf_buffer frame = {0};
    struct pf_error err = {0};
    assert_int_equal(pf_message_encode(&list, &frame, &err), PF_INVALID);
    assert_non_null(strstr(err.text, "KEY_LIST: a frame of 1141"));
    assert_non_null(strstr(err.text, "at most 1048576"));
    assert_int_equal(frame.length, 0);
    pf_buffer_finish(&frame);
    pf_message_finish(&list);
}

static void longest_lists_round_trip(void **state)
{
    (void)state;
    uint32_t n = PF_MAX_PEERS;
    struct pf_message boxes = {.kind = PF_MESSAGE_SHARES, .run_id = {{1}}};
    boxes.shares =
        (struct pf_shares){.round = 1, .n_boxes = n, .boxes = PF_ALLOC(n, struct pf_share_box)};
    struct pf_message request = {.kind = PF_MESSAGE_UNMASK_REQUEST, .run_id = {{1}}};
    request.unmask_request = (struct pf_unmask_request){
        .round = 1,
        .n_survivors = n,
        .n_dropped = n,
        .n_consents = n,
        .survivors = PF_ALLOC(n, uint32_t),
        .dropped = PF_ALLOC(n, uint32_t),
        .consents = PF_ALLOC(n, struct pf_consent),
    };
    struct pf_message unmask = {.kind = PF_MESSAGE_UNMASK, .run_id = {{1}}};
    unmask.unmask =
        (struct pf_unmask){.round = 1, .n_shares = n, .shares = PF_ALLOC(n, struct pf_given_share)};
    for (uint32_t i = 0; i < n; i++) {
        boxes.shares.boxes[i].peer = i;
        fill(boxes.shares.boxes[i].box, PF_SHARE_BOX_BYTES);
        request.unmask_request.survivors[i] = n - 1 - i;
        request.unmask_request.dropped[i] = i;
        request.unmask_request.consents[i].member = i;
        unmask.unmask.shares[i].member = i;
        unmask.unmask.shares[i].dropped = i % 3 == 0;
        fill(&unmask.unmask.shares[i].share, PF_SCALAR_BYTES);
    }
    struct pf_message *all[] = {&boxes, &request, &unmask};
    for (size_t i = 0; i < PF_ARRAY_LENGTH(all); i++) {
        assert_round_trips(all[i]);
        pf_message_finish(all[i]);
    }
}

/* ---- Damaged frames ---------------------------------------------------------------------------*/

static void cut_frames_are_refused(void **state)
{
    (void)state;
    for (int kind = PF_MESSAGE_HELLO; kind < PF_MESSAGE_N_KINDS; kind++) {
        struct pf_message sample;
        pf_sample_message((enum pf_message_kind)kind, &sample);
        struct pf_buffer frame = encoded(&sample);
        for (size_t length = 0; length < frame.length; length++) {
            uint8_t *exact = malloc(length > 0 ? length : 1); /* so that ASan sees its end */
            memcpy(exact, frame.bytes, length);
            assert_refused(exact, length, "");
            free(exact);
        }
        pf_buffer_finish(&frame);
        pf_message_finish(&sample);
    }
}

/* Every single bit of every kind's sample: refused, or a message within every limit. */
static void flipped_bits_are_refused_or_valid(void **state)
{
    (void)state;
    size_t n_refused = 0, n_accepted = 0;
    for (int kind = PF_MESSAGE_ADVERTISE; kind < PF_MESSAGE_N_KINDS; kind++) {
        struct pf_message sample, message;
        pf_sample_message((enum pf_message_kind)kind, &sample);
        struct pf_buffer frame = encoded(&sample);
        for (size_t bit = 0; bit < 8 * frame.length; bit++) {
            frame.bytes[bit / 8] ^= (uint8_t)(1u << (bit % 8));
            if (pf_message_decode(frame.bytes, frame.length, &message, NULL) == PF_OK) {
                struct pf_buffer again = encoded(&message);
                pf_buffer_finish(&again);
                pf_message_finish(&message);
                n_accepted++;
            } else {
                n_refused++;
            }
            frame.bytes[bit / 8] ^= (uint8_t)(1u << (bit % 8));
        }
        pf_buffer_finish(&frame);
        pf_message_finish(&sample);
    }
    assert_true(n_refused > 1000);
    assert_true(n_accepted > 1000);
}

/* ---- Shares in memory -------------------------------------------------------------------------*/

/* The linker sends pf_free and protobuf-c's release through here (--wrap): while a share is
 * watched, blocks that still hold it are counted. */
static struct pf_scalar watched;
static bool watching;
static size_t n_freed, n_left;

void __real_pf_free(void *block);
void __wrap_pf_free(void *block);
void __real_protobuf_c_message_free_unpacked(ProtobufCMessage *message,
                                             ProtobufCAllocator *allocator);
void __wrap_protobuf_c_message_free_unpacked(ProtobufCMessage *message,
                                             ProtobufCAllocator *allocator);

static void watch(const void *bytes, size_t length)
{
    if (!watching || bytes == NULL) return;
    n_freed++;
    if (memmem(bytes, length, watched.bytes, sizeof watched.bytes) != NULL) n_left++;
}

void __wrap_pf_free(void *block)
{
    watch(block, malloc_usable_size(block));
    __real_pf_free(block);
}

void __wrap_protobuf_c_message_free_unpacked(ProtobufCMessage *message,
                                             ProtobufCAllocator *allocator)
{
    const Packfed__Envelope *envelope = (const Packfed__Envelope *)message;
    bool whole = message->descriptor == &packfed__envelope__descriptor;
    if (whole && envelope->content_case == PACKFED__ENVELOPE__CONTENT_UNMASK)
        watch(envelope->unmask->shares.data, envelope->unmask->shares.len);
    __real_protobuf_c_message_free_unpacked(message, allocator);
}

static void shares_are_wiped_before_they_are_freed(void **state)
{
    (void)state;
    struct pf_message sent, received;
    pf_sample_message(PF_MESSAGE_UNMASK, &sent);
    watched = sent.unmask.shares[1].share;
    n_freed = n_left = 0;
    watching = true;
    struct pf_buffer frame = encoded(&sent); /* frees the list of records */
    received = decoded(&frame);              /* frees protobuf-c's copy */
    assert_int_equal(n_freed, 2);
    frame.bytes[frame.length - 33] = 2;                     /* the flag of the last share */
    assert_refused(frame.bytes, frame.length, "not valid"); /* both copies */
    assert_int_equal(n_freed, 4);
    pf_message_finish(&received);
    pf_message_finish(&sent);
    assert_int_equal(n_freed, 6);
    watching = false;
    assert_int_equal(n_left, 0);
    pf_buffer_finish(&frame); /* the caller's */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(records_have_their_documented_layout),
        cmocka_unit_test(every_broken_limit_of_keys_is_refused),
        cmocka_unit_test(every_broken_limit_of_shares_is_refused),
        cmocka_unit_test(a_sender_cannot_break_a_limit),
        cmocka_unit_test(unmask_requests_come_as_they_are),
        cmocka_unit_test(empty_lists_round_trip),
        cmocka_unit_test(key_lists_fit_a_frame),
        cmocka_unit_test(lists_that_outgrow_a_frame_are_not_sent),
        cmocka_unit_test(longest_lists_round_trip),
        cmocka_unit_test(cut_frames_are_refused),
        cmocka_unit_test(flipped_bits_are_refused_or_valid),
        cmocka_unit_test(shares_are_wiped_before_they_are_freed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
