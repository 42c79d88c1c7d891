/* The limits on the messages of secure rounds, each broken by itself. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "message_helpers.h"
#include "sample_messages.h"

/* ---- What another sender made is refused ----------------------------------------------------- */

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

/* ---- A sender is told ------------------------------------------------------------------------ */

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

/* `whole` keeps the counts that the change may break, so that all is released. */
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_broken_limit_of_keys_is_refused),
        cmocka_unit_test(every_broken_limit_of_shares_is_refused),
        cmocka_unit_test(a_sender_cannot_break_a_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
