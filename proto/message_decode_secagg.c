/* Frames into messages: the kinds of secure rounds. */
#include <sodium.h>
#include <string.h>

#include "common/base/memory.h"
#include "proto/message_decode.h"
#include "proto/records.h"

/* One record of the type into *record. */
static enum pf_status read_one(const char *field, const struct pf_record_type *type,
                               const ProtobufCBinaryData *from, void *record, struct pf_error *err)
{
    if (from->len != type->wire_bytes)
        return pf_fail(err, PF_CORRUPT, "%s has %zu bytes instead of %zu", field, from->len,
                       type->wire_bytes);
    if (type->read(from->data, record)) return PF_OK;
    return pf_fail(err, PF_CORRUPT, "%s is not valid", field);
}

/* A list of 0 to PF_MAX_PEERS records; the caller owns *records. */
static enum pf_status read_list(const char *field, const struct pf_record_type *type,
                                const ProtobufCBinaryData *from, uint32_t *n, void **records,
                                struct pf_error *err)
{
    if (from->len % type->wire_bytes != 0)
        return pf_fail(err, PF_CORRUPT, "%s has %zu bytes: not records of %zu", field, from->len,
                       type->wire_bytes);
    size_t count = from->len / type->wire_bytes;
    if (count > PF_MAX_PEERS)
        return pf_fail(err, PF_CORRUPT, "%s has %zu records, at most %u are allowed", field, count,
                       PF_MAX_PEERS);
    void *block = pf_alloc(count, type->memory_bytes);
    if (block == NULL) return pf_no_memory(err, field);
    if (!pf_records_read(type, from->data, count, block)) {
        sodium_memzero(block, count * type->memory_bytes); /* shares, perhaps */
        pf_free(block);
        return pf_fail(err, PF_CORRUPT, "%s has a record that is not valid", field);
    }
    *n = (uint32_t)count;
    *records = block;
    return PF_OK;
}

static enum pf_status read_set(const char *field, const Packfed__MemberSet *from,
                               struct pf_member_set *to, struct pf_error *err)
{
    if (from == NULL) return pf_fail(err, PF_CORRUPT, "%s is absent", field);
    /* Before anything is allocated for so many. */
    if (from->n_members == 0 || from->n_members > PF_MAX_COHORT)
        return pf_fail(err, PF_CORRUPT, "%s is of %u members, allowed are 1 to %u", field,
                       from->n_members, PF_MAX_COHORT);
    size_t bytes = pf_member_set_bytes(from->n_members);
    if (from->bits.len != bytes)
        return pf_fail(err, PF_CORRUPT, "%s has %zu bytes instead of %zu", field, from->bits.len,
                       bytes);
    PF_TRY(pf_member_set_create(from->n_members, to, err));
    memcpy(to->bits, from->bits.data, bytes);
    return PF_OK;
}

static enum pf_status read_parameters(const Packfed__GraphParameters *from,
                                      struct pf_secagg_parameters *to, struct pf_error *err)
{
    if (from == NULL) return pf_fail(err, PF_CORRUPT, "parameters is absent");
    to->graph = (enum pf_graph_kind)from->graph; /* any; see pf_message_check */
    to->degree = from->degree;
    to->threshold = from->threshold;
    return PF_OK;
}

static enum pf_status read_advertise(const Packfed__Advertise *from, struct pf_advertise *to,
                                     struct pf_error *err)
{
    to->round = from->round;
    return read_one("advert", &pf_advert_record, &from->advert, &to->advert, err);
}

static enum pf_status read_committed(const Packfed__Committed *from, struct pf_committed *to,
                                     struct pf_error *err)
{
    to->round = from->round;
    PF_TRY(read_parameters(from->parameters, &to->parameters, err));
    PF_TRY(pf_copy_exact("digest", &from->digest, to->digest.bytes, PF_DIGEST_BYTES, err));
    return read_set("cohort", from->cohort, &to->cohort, err);
}

static enum pf_status read_reveal(const Packfed__Reveal *from, struct pf_reveal *to,
                                  struct pf_error *err)
{
    to->round = from->round;
    return read_one("randomness", &pf_randomness_record, &from->randomness, to->randomness, err);
}

static enum pf_status read_key_list(const Packfed__KeyList *from, struct pf_key_list *to,
                                    struct pf_error *err)
{
    void *records;
    to->round = from->round;
    PF_TRY(read_parameters(from->parameters, &to->parameters, err));
    PF_TRY(read_set("cohort", from->cohort, &to->cohort, err));
    PF_TRY(read_list("randomness", &pf_randomness_record, &from->randomness, &to->n_randomness,
                     &records, err));
    to->randomness = records;
    PF_TRY(read_list("adverts", &pf_advert_record, &from->adverts, &to->n_adverts, &records, err));
    to->adverts = records;
    return PF_OK;
}

static enum pf_status read_shares(const Packfed__Shares *from, bool delivery, struct pf_shares *to,
                                  struct pf_error *err)
{
    void *records;
    to->round = from->round;
    if (delivery) PF_TRY(read_set("sharers", from->sharers, &to->sharers, err));
    if (!delivery && from->sharers != NULL)
        return pf_fail(err, PF_CORRUPT, "sharers in a message that names none");
    PF_TRY(read_list("boxes", &pf_share_box_record, &from->boxes, &to->n_boxes, &records, err));
    to->boxes = records;
    return PF_OK;
}

static enum pf_status read_survivors(const Packfed__Survivors *from, struct pf_survivors *to,
                                     struct pf_error *err)
{
    to->round = from->round;
    return read_set("survivors", from->survivors, &to->survivors, err);
}

static enum pf_status read_consent(const Packfed__Consent *from, struct pf_consent_message *to,
                                   struct pf_error *err)
{
    to->round = from->round;
    return read_one("consent", &pf_consent_record, &from->consent, &to->consent, err);
}

static enum pf_status read_unmask_request(const Packfed__UnmaskRequest *from,
                                          struct pf_unmask_request *to, struct pf_error *err)
{
    void *records;
    to->round = from->round;
    PF_TRY(read_list("survivors", &pf_member_record, &from->survivors, &to->n_survivors, &records,
                     err));
    to->survivors = records;
    PF_TRY(read_list("dropped", &pf_member_record, &from->dropped, &to->n_dropped, &records, err));
    to->dropped = records;
    PF_TRY(
        read_list("consents", &pf_consent_record, &from->consents, &to->n_consents, &records, err));
    to->consents = records;
    return PF_OK;
}

static enum pf_status read_unmask(const Packfed__Unmask *from, struct pf_unmask *to,
                                  struct pf_error *err)
{
    void *records;
    to->round = from->round;
    PF_TRY(
        read_list("shares", &pf_given_share_record, &from->shares, &to->n_shares, &records, err));
    to->shares = records;
    return PF_OK;
}

enum pf_status pf_message_read_secagg(const Packfed__Envelope *from, struct pf_message *to,
                                      struct pf_error *err)
{
    switch (to->kind) {
    case PF_MESSAGE_ADVERTISE: return read_advertise(from->advertise, &to->advertise, err);
    case PF_MESSAGE_COMMITTED: return read_committed(from->committed, &to->committed, err);
    case PF_MESSAGE_REVEAL: return read_reveal(from->reveal, &to->reveal, err);
    case PF_MESSAGE_KEY_LIST: return read_key_list(from->key_list, &to->key_list, err);
    case PF_MESSAGE_SHARES: return read_shares(from->shares, false, &to->shares, err);
    case PF_MESSAGE_SHARE_DELIVERY:
        return read_shares(from->share_delivery, true, &to->shares, err);
    case PF_MESSAGE_UPDATE_GRANT: to->grant.round = from->update_grant->round; return PF_OK;
    case PF_MESSAGE_SURVIVORS: return read_survivors(from->survivors, &to->survivors, err);
    case PF_MESSAGE_CONSENT: return read_consent(from->consent, &to->consent, err);
    case PF_MESSAGE_UNMASK_REQUEST:
        return read_unmask_request(from->unmask_request, &to->unmask_request, err);
    case PF_MESSAGE_UNMASK: return read_unmask(from->unmask, &to->unmask, err);
    default: return pf_fail(err, PF_CORRUPT, "not a kind of secure rounds");
    }
}
