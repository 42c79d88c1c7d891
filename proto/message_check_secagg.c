/* The limits on the messages of secure rounds. */
#include "proto/message_check.h"

#include <stdio.h>

/* Members of the roster, and no bit beside them. */
static enum pf_status check_set(const struct pf_limit *limit, const char *field,
                                const struct pf_member_set *self)
{
    char name[64];
    snprintf(name, sizeof name, "%s.n_members", field);
    PF_TRY(pf_limit_whole(limit, name, self->n_members, 1, PF_MAX_COHORT));
    unsigned used = self->n_members % 8;
    uint8_t last = self->bits[pf_member_set_bytes(self->n_members) - 1];
    if (used == 0 || last >> used == 0) return PF_OK;
    return pf_fail(limit->err, limit->status, "%s: %s has bits behind its %u members", limit->kind,
                   field, self->n_members);
}

static enum pf_status check_parameters(const struct pf_limit *limit,
                                       const struct pf_secagg_parameters *self)
{
    PF_TRY(pf_limit_whole(limit, "parameters.graph", (uint64_t)self->graph, PF_GRAPH_COMPLETE,
                          PF_GRAPH_HARARY));
    PF_TRY(pf_limit_whole(limit, "parameters.degree", self->degree, 1, PF_MAX_COHORT));
    return pf_limit_whole(limit, "parameters.threshold", self->threshold, 1, PF_MAX_COHORT);
}

static enum pf_status check_member(const struct pf_limit *limit, const char *field, uint32_t member)
{
    return pf_limit_whole(limit, field, member, 0, PF_MAX_COHORT - 1);
}

/* `member` comes behind what went before: *least is the least that may follow. */
static enum pf_status check_ascending(const struct pf_limit *limit, const char *field,
                                      uint32_t member, uint32_t *least)
{
    PF_TRY(check_member(limit, field, member));
    if (member < *least)
        return pf_fail(limit->err, limit->status, "%s: %s %u does not ascend", limit->kind, field,
                       member);
    *least = member + 1;
    return PF_OK;
}

static enum pf_status check_members(const struct pf_limit *limit, const char *field,
                                    const uint32_t *members, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) PF_TRY(check_member(limit, field, members[i]));
    return PF_OK;
}

static enum pf_status check_committed(const struct pf_limit *limit, const struct pf_committed *self)
{
    PF_TRY(check_set(limit, "cohort", &self->cohort));
    return check_parameters(limit, &self->parameters);
}

static enum pf_status check_key_list(const struct pf_limit *limit, const struct pf_key_list *self)
{
    PF_TRY(check_set(limit, "cohort", &self->cohort));
    PF_TRY(check_parameters(limit, &self->parameters));
    bool regular = self->parameters.graph == PF_GRAPH_HARARY;
    uint32_t expected = regular ? pf_member_set_count(&self->cohort) : 0;
    PF_TRY(pf_limit_whole(limit, "n_randomness", self->n_randomness, expected, expected));
    PF_TRY(pf_limit_whole(limit, "n_adverts", self->n_adverts, 0, PF_MAX_PEERS));
    uint32_t least = 0;
    for (uint32_t i = 0; i < self->n_adverts; i++)
        PF_TRY(check_ascending(limit, "the advert of member", self->adverts[i].member, &least));
    return PF_OK;
}

static enum pf_status check_shares(const struct pf_limit *limit, const struct pf_shares *self,
                                   bool delivery)
{
    if (delivery) PF_TRY(check_set(limit, "sharers", &self->sharers));
    if (!delivery)
        PF_TRY(pf_limit_whole(limit, "sharers.n_members", self->sharers.n_members, 0, 0));
    PF_TRY(pf_limit_whole(limit, "n_boxes", self->n_boxes, 0, PF_MAX_PEERS));
    uint32_t least = 0;
    for (uint32_t i = 0; i < self->n_boxes; i++)
        PF_TRY(check_ascending(limit, "the box of peer", self->boxes[i].peer, &least));
    return PF_OK;
}

/* Repeats and contradictions are the receiver's to refuse, by name. */
static enum pf_status check_unmask_request(const struct pf_limit *limit,
                                           const struct pf_unmask_request *self)
{
    PF_TRY(pf_limit_whole(limit, "n_survivors", self->n_survivors, 0, PF_MAX_PEERS));
    PF_TRY(pf_limit_whole(limit, "n_dropped", self->n_dropped, 0, PF_MAX_PEERS));
    PF_TRY(pf_limit_whole(limit, "n_consents", self->n_consents, 0, PF_MAX_PEERS));
    PF_TRY(check_members(limit, "a survivor", self->survivors, self->n_survivors));
    PF_TRY(check_members(limit, "a dropped member", self->dropped, self->n_dropped));
    for (uint32_t i = 0; i < self->n_consents; i++)
        PF_TRY(check_member(limit, "a consent's member", self->consents[i].member));
    return PF_OK;
}

static enum pf_status check_unmask(const struct pf_limit *limit, const struct pf_unmask *self)
{
    PF_TRY(pf_limit_whole(limit, "n_shares", self->n_shares, 0, PF_MAX_PEERS));
    for (uint32_t i = 0; i < self->n_shares; i++)
        PF_TRY(check_member(limit, "a share's member", self->shares[i].member));
    return PF_OK;
}

static uint32_t round_of(const struct pf_message *self)
{
    switch (self->kind) {
    case PF_MESSAGE_ADVERTISE: return self->advertise.round;
    case PF_MESSAGE_COMMITTED: return self->committed.round;
    case PF_MESSAGE_REVEAL: return self->reveal.round;
    case PF_MESSAGE_KEY_LIST: return self->key_list.round;
    case PF_MESSAGE_SHARES:
    case PF_MESSAGE_SHARE_DELIVERY: return self->shares.round;
    case PF_MESSAGE_UPDATE_GRANT: return self->grant.round;
    case PF_MESSAGE_SURVIVORS: return self->survivors.round;
    case PF_MESSAGE_CONSENT: return self->consent.round;
    case PF_MESSAGE_UNMASK_REQUEST: return self->unmask_request.round;
    case PF_MESSAGE_UNMASK: return self->unmask.round;
    default: return 0;
    }
}

enum pf_status pf_message_check_secagg(const struct pf_limit *limit, const struct pf_message *self)
{
    PF_TRY(pf_limit_whole(limit, "round", round_of(self), 1, PF_MAX_ROUNDS));
    switch (self->kind) {
    case PF_MESSAGE_ADVERTISE:
        return check_member(limit, "the advert's member", self->advertise.advert.member);
    case PF_MESSAGE_COMMITTED: return check_committed(limit, &self->committed);
    case PF_MESSAGE_KEY_LIST: return check_key_list(limit, &self->key_list);
    case PF_MESSAGE_SHARES: return check_shares(limit, &self->shares, false);
    case PF_MESSAGE_SHARE_DELIVERY: return check_shares(limit, &self->shares, true);
    case PF_MESSAGE_SURVIVORS: return check_set(limit, "survivors", &self->survivors.survivors);
    case PF_MESSAGE_CONSENT:
        return check_member(limit, "the consent's member", self->consent.consent.member);
    case PF_MESSAGE_UNMASK_REQUEST: return check_unmask_request(limit, &self->unmask_request);
    case PF_MESSAGE_UNMASK: return check_unmask(limit, &self->unmask);
    default: return PF_OK; /* REVEAL and UPDATE_GRANT: nothing but the round */
    }
}
