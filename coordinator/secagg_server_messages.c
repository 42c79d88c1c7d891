/* The messages of each phase to one member, made anew whenever they are asked for. */
#include <string.h>

#include "common/base/memory.h"
#include "coordinator/secagg_server_parts.h"

static enum pf_status make_committed(const struct pf_secagg_server *self,
                                     struct pf_committed *committed, struct pf_error *err)
{
    committed->round = self->config.round;
    committed->parameters = self->parameters;
    committed->digest = self->cohort_digest;
    return pf_member_set_copy(&self->awaited[PF_SECAGG_REVEALING], &committed->cohort, err);
}

/* COMPLETE: everybody's adverts; HARARY: the neighbours', and everybody's randomness. */
static enum pf_status make_key_list(const struct pf_secagg_server *self, uint32_t member,
                                    struct pf_key_list *list, struct pf_error *err)
{
    bool complete = pf_ss_complete(self);
    list->round = self->config.round;
    list->parameters = self->parameters;
    PF_TRY(pf_member_set_copy(&self->awaited[PF_SECAGG_SHARING], &list->cohort, err));
    const uint32_t *members =
        complete ? self->members : pf_ss_neighbours(self, self->vertices[member]);
    uint32_t n = complete ? self->n_cohort : self->parameters.degree;
    list->adverts = PF_ALLOC(n, struct pf_advert);
    if (list->adverts == NULL) return pf_no_memory(err, "a key list");
    list->n_adverts = n;
    for (uint32_t i = 0; i < n; i++) list->adverts[i] = self->adverts[members[i]];
    if (complete) return PF_OK;
    list->randomness = pf_alloc(self->n_cohort, sizeof *list->randomness);
    if (list->randomness == NULL) return pf_no_memory(err, "a key list");
    list->n_randomness = self->n_cohort;
    for (uint32_t i = 0; i < self->n_cohort; i++)
        memcpy(list->randomness[i], self->randomness[self->members[i]], PF_RANDOMNESS_BYTES);
    return PF_OK;
}

static enum pf_status make_delivery(const struct pf_secagg_server *self, uint32_t member,
                                    struct pf_shares *delivery, struct pf_error *err)
{
    const struct pf_member_set *sharers = &self->awaited[PF_SECAGG_MASKING];
    const uint32_t *neighbours = pf_ss_neighbours(self, self->vertices[member]);
    delivery->round = self->config.round;
    PF_TRY(pf_member_set_copy(sharers, &delivery->sharers, err));
    delivery->boxes = PF_ALLOC(self->parameters.degree, struct pf_share_box);
    if (delivery->boxes == NULL) return pf_no_memory(err, "share boxes");
    for (uint32_t i = 0; i < self->parameters.degree; i++) {
        uint32_t sender = neighbours[i], vertex = self->vertices[sender];
        if (!pf_member_set_has(sharers, sender)) continue;
        struct pf_share_box *box = &delivery->boxes[delivery->n_boxes++];
        box->peer = sender;
        memcpy(box->box, self->boxes[vertex][pf_ss_find_neighbour(self, vertex, member)],
               PF_SHARE_BOX_BYTES);
    }
    return PF_OK;
}

static enum pf_status make_survivors(const struct pf_secagg_server *self,
                                     struct pf_survivors *survivors, struct pf_error *err)
{
    survivors->round = self->config.round;
    return pf_member_set_copy(&self->awaited[PF_SECAGG_CONSENTING], &survivors->survivors, err);
}

/* Whose shares `member` is asked for, as it may hold them: the sharers (HARARY: among its
 * neighbours), as the survivors or as the dropped. */
static void list_targets(const struct pf_secagg_server *self, uint32_t member,
                         struct pf_unmask_request *request)
{
    const struct pf_member_set *sharers = &self->awaited[PF_SECAGG_MASKING];
    const struct pf_member_set *survivors = &self->awaited[PF_SECAGG_CONSENTING];
    bool complete = pf_ss_complete(self);
    const uint32_t *holds =
        complete ? self->members : pf_ss_neighbours(self, self->vertices[member]);
    uint32_t n = complete ? self->n_cohort : self->parameters.degree;
    for (uint32_t i = 0; i < n; i++) {
        if (pf_member_set_has(survivors, holds[i]))
            request->survivors[request->n_survivors++] = holds[i];
        else if (pf_member_set_has(sharers, holds[i]))
            request->dropped[request->n_dropped++] = holds[i];
    }
}

/* COMPLETE: the first threshold of all; HARARY: all of its neighbours'. */
static void list_consents(const struct pf_secagg_server *self, uint32_t member,
                          struct pf_unmask_request *request)
{
    const struct pf_member_set *consented = &self->delivered[PF_SECAGG_CONSENTING];
    bool complete = pf_ss_complete(self);
    const uint32_t *from =
        complete ? self->members : pf_ss_neighbours(self, self->vertices[member]);
    uint32_t n = complete ? self->n_cohort : self->parameters.degree;
    for (uint32_t i = 0; i < n; i++) {
        if (complete && request->n_consents == self->parameters.threshold) return;
        if (!pf_member_set_has(consented, from[i])) continue;
        struct pf_consent *consent = &request->consents[request->n_consents++];
        consent->member = from[i];
        memcpy(consent->signature, self->consents[from[i]], sizeof consent->signature);
    }
}

static enum pf_status make_unmask_request(const struct pf_secagg_server *self, uint32_t member,
                                          struct pf_unmask_request *request, struct pf_error *err)
{
    size_t n = self->parameters.degree + (size_t)1;
    request->round = self->config.round;
    request->survivors = PF_ALLOC(n, uint32_t);
    request->dropped = PF_ALLOC(n, uint32_t);
    request->consents = PF_ALLOC(n, struct pf_consent);
    if (request->survivors == NULL || request->dropped == NULL || request->consents == NULL)
        return pf_no_memory(err, "a request for shares");
    list_targets(self, member, request);
    list_consents(self, member, request);
    return PF_OK;
}

static enum pf_status make_message(const struct pf_secagg_server *self, uint32_t member,
                                   struct pf_message *made, struct pf_error *err)
{
    switch (self->phase) {
    case PF_SECAGG_REVEALING:
        made->kind = PF_MESSAGE_COMMITTED;
        return make_committed(self, &made->committed, err);
    case PF_SECAGG_SHARING:
        made->kind = PF_MESSAGE_KEY_LIST;
        return make_key_list(self, member, &made->key_list, err);
    case PF_SECAGG_MASKING:
        made->kind = PF_MESSAGE_SHARE_DELIVERY;
        return make_delivery(self, member, &made->shares, err);
    case PF_SECAGG_CONSENTING:
        made->kind = PF_MESSAGE_SURVIVORS;
        return make_survivors(self, &made->survivors, err);
    case PF_SECAGG_UNMASKING:
        made->kind = PF_MESSAGE_UNMASK_REQUEST;
        return make_unmask_request(self, member, &made->unmask_request, err);
    case PF_SECAGG_ADVERTISING: break;
    }
    return pf_fail(err, PF_INVALID, "the round's offer is the message of step '%s'",
                   pf_ss_phase_name(self->phase));
}

enum pf_status pf_secagg_server_message(const struct pf_secagg_server *self, uint32_t member,
                                        struct pf_message *message, struct pf_error *err)
{
    if (!pf_secagg_server_awaits(self, member))
        return pf_fail(err, PF_INVALID, "%s (%u) is not awaited in step '%s'",
                       pf_ss_name(self, member), member, pf_ss_phase_name(self->phase));
    struct pf_message made = {0};
    enum pf_status status = make_message(self, member, &made, err);
    if (status == PF_OK)
        *message = made;
    else
        pf_message_finish(&made);
    return status;
}
