/* Messages into frames: the kinds of secure rounds. */
#include <assert.h>
#include <sodium.h>

#include "proto/message_view.h"
#include "proto/records.h"

/* Packs the records into the view's next list and lends it to the field. */
static enum pf_status view_list(struct pf_message_view *self, const struct pf_record_type *type,
                                const void *records, uint32_t n, ProtobufCBinaryData *field,
                                struct pf_error *err)
{
    assert(self->n_lists < PF_VIEW_MAX_LISTS);
    struct pf_buffer *list = &self->lists[self->n_lists++];
    size_t length = n * type->wire_bytes; /* ≤ PF_MAX_PEERS · 196 */
    PF_TRY(pf_buffer_reserve(list, length, err));
    pf_records_write(type, records, n, list->bytes);
    list->length = length;
    *field = pf_borrow(list->bytes, length);
    return PF_OK;
}

static Packfed__MemberSet *view_set(struct pf_message_view *self, const struct pf_member_set *from)
{
    Packfed__MemberSet *to = &self->set;
    packfed__member_set__init(to);
    to->n_members = from->n_members;
    to->bits = pf_borrow(from->bits, pf_member_set_bytes(from->n_members));
    return to;
}

static Packfed__GraphParameters *view_parameters(struct pf_message_view *self,
                                                 const struct pf_secagg_parameters *from)
{
    Packfed__GraphParameters *to = &self->parameters;
    packfed__graph_parameters__init(to);
    to->graph = (uint32_t)from->graph;
    to->degree = from->degree;
    to->threshold = from->threshold;
    return to;
}

static enum pf_status view_advertise(struct pf_message_view *self, const struct pf_advertise *from,
                                     struct pf_error *err)
{
    Packfed__Advertise *to = &self->advertise;
    packfed__advertise__init(to);
    to->round = from->round;
    return view_list(self, &pf_advert_record, &from->advert, 1, &to->advert, err);
}

static void view_committed(struct pf_message_view *self, const struct pf_committed *from)
{
    Packfed__Committed *to = &self->committed;
    packfed__committed__init(to);
    to->round = from->round;
    to->cohort = view_set(self, &from->cohort);
    to->parameters = view_parameters(self, &from->parameters);
    to->digest = pf_borrow(from->digest.bytes, sizeof from->digest.bytes);
}

static void view_reveal(struct pf_message_view *self, const struct pf_reveal *from)
{
    Packfed__Reveal *to = &self->reveal;
    packfed__reveal__init(to);
    to->round = from->round;
    to->randomness = pf_borrow(from->randomness, sizeof from->randomness);
}

static enum pf_status view_key_list(struct pf_message_view *self, const struct pf_key_list *from,
                                    struct pf_error *err)
{
    Packfed__KeyList *to = &self->key_list;
    packfed__key_list__init(to);
    to->round = from->round;
    to->cohort = view_set(self, &from->cohort);
    to->parameters = view_parameters(self, &from->parameters);
    PF_TRY(view_list(self, &pf_randomness_record, from->randomness, from->n_randomness,
                     &to->randomness, err));
    return view_list(self, &pf_advert_record, from->adverts, from->n_adverts, &to->adverts, err);
}

static enum pf_status view_shares(struct pf_message_view *self, const struct pf_shares *from,
                                  struct pf_error *err)
{
    Packfed__Shares *to = &self->shares;
    packfed__shares__init(to);
    to->round = from->round;
    if (from->sharers.n_members > 0) to->sharers = view_set(self, &from->sharers);
    return view_list(self, &pf_share_box_record, from->boxes, from->n_boxes, &to->boxes, err);
}

static void view_grant(struct pf_message_view *self, const struct pf_update_grant *from)
{
    packfed__update_grant__init(&self->grant);
    self->grant.round = from->round;
}

static void view_survivors(struct pf_message_view *self, const struct pf_survivors *from)
{
    packfed__survivors__init(&self->survivors);
    self->survivors.round = from->round;
    self->survivors.survivors = view_set(self, &from->survivors);
}

static enum pf_status view_consent(struct pf_message_view *self,
                                   const struct pf_consent_message *from, struct pf_error *err)
{
    Packfed__Consent *to = &self->consent;
    packfed__consent__init(to);
    to->round = from->round;
    return view_list(self, &pf_consent_record, &from->consent, 1, &to->consent, err);
}

static enum pf_status view_unmask_request(struct pf_message_view *self,
                                          const struct pf_unmask_request *from,
                                          struct pf_error *err)
{
    Packfed__UnmaskRequest *to = &self->unmask_request;
    packfed__unmask_request__init(to);
    to->round = from->round;
    PF_TRY(view_list(self, &pf_member_record, from->survivors, from->n_survivors, &to->survivors,
                     err));
    PF_TRY(view_list(self, &pf_member_record, from->dropped, from->n_dropped, &to->dropped, err));
    return view_list(self, &pf_consent_record, from->consents, from->n_consents, &to->consents,
                     err);
}

static enum pf_status view_unmask(struct pf_message_view *self, const struct pf_unmask *from,
                                  struct pf_error *err)
{
    Packfed__Unmask *to = &self->unmask;
    packfed__unmask__init(to);
    to->round = from->round;
    return view_list(self, &pf_given_share_record, from->shares, from->n_shares, &to->shares, err);
}

enum pf_status pf_message_view_secagg(struct pf_message_view *self, const struct pf_message *from,
                                      struct pf_error *err)
{
    switch (from->kind) {
    case PF_MESSAGE_ADVERTISE: return view_advertise(self, &from->advertise, err);
    case PF_MESSAGE_COMMITTED: view_committed(self, &from->committed); break;
    case PF_MESSAGE_REVEAL: view_reveal(self, &from->reveal); break;
    case PF_MESSAGE_KEY_LIST: return view_key_list(self, &from->key_list, err);
    case PF_MESSAGE_SHARES:
    case PF_MESSAGE_SHARE_DELIVERY: return view_shares(self, &from->shares, err);
    case PF_MESSAGE_UPDATE_GRANT: view_grant(self, &from->grant); break;
    case PF_MESSAGE_SURVIVORS: view_survivors(self, &from->survivors); break;
    case PF_MESSAGE_CONSENT: return view_consent(self, &from->consent, err);
    case PF_MESSAGE_UNMASK_REQUEST: return view_unmask_request(self, &from->unmask_request, err);
    case PF_MESSAGE_UNMASK: return view_unmask(self, &from->unmask, err);
    default: break; /* the caller sends none other here */
    }
    return PF_OK;
}

void pf_message_view_finish(struct pf_message_view *self)
{
    for (size_t i = 0; i < self->n_lists; i++) {
        if (self->lists[i].length > 0) sodium_memzero(self->lists[i].bytes, self->lists[i].length);
        pf_buffer_finish(&self->lists[i]);
    }
}
