#include "message_helpers.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "sample_messages.h"

struct pf_buffer encoded(const struct pf_message *message)
{
    struct pf_buffer frame = {0};
    struct pf_error err = {0};
    if (pf_message_encode(message, &frame, &err) != PF_OK) fail_msg("%s", err.text);
    return frame;
}

struct pf_message decoded(const struct pf_buffer *frame)
{
    struct pf_message message;
    struct pf_error err = {0};
    if (pf_message_decode(frame->bytes, frame->length, &message, &err) != PF_OK)
        fail_msg("%s", err.text);
    return message;
}

void assert_refused(const uint8_t *bytes, size_t length, const char *words)
{
    struct pf_message message, before;
    memset(&message, 0xA5, sizeof message);
    memset(&before, 0xA5, sizeof before);
    struct pf_error err = {0};
    assert_int_equal(pf_message_decode(bytes, length, &message, &err), PF_CORRUPT);
    assert_int_equal(err.status, PF_CORRUPT);
    assert_memory_equal(&message, &before, sizeof message);
    if (strstr(err.text, words) == NULL) fail_msg("'%s' lacks '%s'", err.text, words);
}

void assert_edit_refused(enum pf_message_kind kind, edit_function *edit, const char *words)
{
    struct pf_message sample;
    pf_sample_message(kind, &sample);
    struct pf_buffer good = encoded(&sample);
    Packfed__Envelope *envelope = packfed__envelope__unpack(NULL, good.length, good.bytes);
    assert_non_null(envelope);
    edit(envelope);
    size_t length = packfed__envelope__get_packed_size(envelope);
    uint8_t *frame = malloc(length > 0 ? length : 1);
    packfed__envelope__pack(envelope, frame);
    assert_refused(frame, length, words);
    free(frame);
    packfed__envelope__free_unpacked(envelope, NULL);
    pf_buffer_finish(&good);
    pf_message_finish(&sample);
}

static void assert_sets_equal(const struct pf_member_set *a, const struct pf_member_set *b)
{
    SAME(n_members);
    assert_true(pf_member_set_equal(a, b));
}

static void assert_parameters_equal(const struct pf_secagg_parameters *a,
                                    const struct pf_secagg_parameters *b)
{
    SAME(graph);
    SAME(degree);
    SAME(threshold);
}

static void assert_adverts_equal(const struct pf_advert *a, const struct pf_advert *b)
{
    SAME(member);
    SAME_BYTES(channel_key);
    SAME_BYTES(mask_key);
    SAME_BYTES(self_commitment);
    SAME_BYTES(randomness_commitment);
    SAME_BYTES(signature);
}

static void assert_key_lists_equal(const struct pf_key_list *a, const struct pf_key_list *b)
{
    SAME(round);
    assert_sets_equal(&a->cohort, &b->cohort);
    assert_parameters_equal(&a->parameters, &b->parameters);
    SAME(n_randomness);
    assert_memory_equal(a->randomness, b->randomness, a->n_randomness * PF_RANDOMNESS_BYTES);
    SAME(n_adverts);
    for (uint32_t i = 0; i < a->n_adverts; i++)
        assert_adverts_equal(&a->adverts[i], &b->adverts[i]);
}

static void assert_boxes_equal(const struct pf_shares *a, const struct pf_shares *b)
{
    SAME(round);
    assert_sets_equal(&a->sharers, &b->sharers);
    SAME(n_boxes);
    for (uint32_t i = 0; i < a->n_boxes; i++) {
        SAME(boxes[i].peer);
        SAME_BYTES(boxes[i].box);
    }
}

static void assert_consents_equal(const struct pf_consent *a, const struct pf_consent *b)
{
    SAME(member);
    SAME_BYTES(signature);
}

static void assert_requests_equal(const struct pf_unmask_request *a,
                                  const struct pf_unmask_request *b)
{
    SAME(round);
    SAME(n_survivors);
    SAME(n_dropped);
    SAME(n_consents);
    for (uint32_t i = 0; i < a->n_survivors; i++) SAME(survivors[i]);
    for (uint32_t i = 0; i < a->n_dropped; i++) SAME(dropped[i]);
    for (uint32_t i = 0; i < a->n_consents; i++)
        assert_consents_equal(&a->consents[i], &b->consents[i]);
}

static void assert_unmasks_equal(const struct pf_unmask *a, const struct pf_unmask *b)
{
    SAME(round);
    SAME(n_shares);
    for (uint32_t i = 0; i < a->n_shares; i++) {
        SAME(shares[i].member);
        SAME(shares[i].dropped);
        SAME_BYTES(shares[i].share);
    }
}

void assert_secagg_equal(const struct pf_message *a, const struct pf_message *b)
{
    switch (a->kind) {
    case PF_MESSAGE_ADVERTISE:
        SAME(advertise.round);
        assert_adverts_equal(&a->advertise.advert, &b->advertise.advert);
        break;
    case PF_MESSAGE_COMMITTED:
        SAME(committed.round);
        assert_sets_equal(&a->committed.cohort, &b->committed.cohort);
        assert_parameters_equal(&a->committed.parameters, &b->committed.parameters);
        SAME_BYTES(committed.digest);
        break;
    case PF_MESSAGE_REVEAL:
        SAME(reveal.round);
        SAME_BYTES(reveal.randomness);
        break;
    case PF_MESSAGE_KEY_LIST: assert_key_lists_equal(&a->key_list, &b->key_list); break;
    case PF_MESSAGE_SHARES:
    case PF_MESSAGE_SHARE_DELIVERY: assert_boxes_equal(&a->shares, &b->shares); break;
    case PF_MESSAGE_UPDATE_GRANT: SAME(grant.round); break;
    case PF_MESSAGE_SURVIVORS:
        SAME(survivors.round);
        assert_sets_equal(&a->survivors.survivors, &b->survivors.survivors);
        break;
    case PF_MESSAGE_CONSENT:
        SAME(consent.round);
        assert_consents_equal(&a->consent.consent, &b->consent.consent);
        break;
    case PF_MESSAGE_UNMASK_REQUEST:
        assert_requests_equal(&a->unmask_request, &b->unmask_request);
        break;
    case PF_MESSAGE_UNMASK: assert_unmasks_equal(&a->unmask, &b->unmask); break;
    default: fail_msg("%s is no kind of secure rounds", pf_message_kind_name(a->kind));
    }
}
