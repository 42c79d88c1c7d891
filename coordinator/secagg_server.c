/* Life of the server and what comes from members, step by step.  The ends of phases are in
 * secagg_server_phases.c, the messages in secagg_server_messages.c, the shares of step 4 in
 * secagg_server_unmask.c. */
#include "coordinator/secagg_server.h"

#include <sodium.h>
#include <string.h>

#include "common/base/memory.h"
#include "coordinator/secagg_server_parts.h"

/* ---- shared with the other files ------------------------------------------------------------- */

const char *pf_ss_name(const struct pf_secagg_server *self, uint32_t member)
{
    return member < self->config.n_members ? self->config.members[member].name
                                           : "nobody on the roster";
}

const char *pf_ss_phase_name(enum pf_secagg_phase phase)
{
    static const char *const names[PF_SS_PHASES] = {
        [PF_SECAGG_ADVERTISING] = "advertising", [PF_SECAGG_REVEALING] = "revealing",
        [PF_SECAGG_SHARING] = "sharing",         [PF_SECAGG_MASKING] = "masking",
        [PF_SECAGG_CONSENTING] = "consenting",   [PF_SECAGG_UNMASKING] = "unmasking",
    };
    return names[phase];
}

uint32_t pf_ss_find_neighbour(const struct pf_secagg_server *self, uint32_t vertex, uint32_t member)
{
    const uint32_t *neighbours = pf_ss_neighbours(self, vertex);
    uint32_t low = 0, high = self->parameters.degree;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (neighbours[middle] < member)
            low = middle + 1;
        else
            high = middle;
    }
    bool found = low < self->parameters.degree && neighbours[low] == member;
    return found ? low : self->parameters.degree;
}

uint32_t pf_ss_count_neighbours(const struct pf_secagg_server *self, uint32_t vertex,
                                const struct pf_member_set *set)
{
    const uint32_t *neighbours = pf_ss_neighbours(self, vertex);
    uint32_t count = 0;
    for (uint32_t i = 0; i < self->parameters.degree; i++)
        count += pf_member_set_has(set, neighbours[i]);
    return count;
}

uint32_t pf_ss_count_holders(const struct pf_secagg_server *self, uint32_t vertex,
                             const struct pf_member_set *set)
{
    bool own = pf_ss_complete(self) && pf_member_set_has(set, self->members[vertex]);
    return pf_ss_count_neighbours(self, vertex, set) + own;
}

bool pf_ss_is_target(const struct pf_secagg_server *self, uint32_t member)
{
    const struct pf_member_set *survivors = &self->awaited[PF_SECAGG_CONSENTING];
    if (!pf_member_set_has(&self->awaited[PF_SECAGG_MASKING], member)) return false;
    return pf_member_set_has(survivors, member) ||
           pf_ss_count_neighbours(self, self->vertices[member], survivors) > 0;
}

/* ---- life ------------------------------------------------------------------------------------ */

static enum pf_status create_sets(struct pf_secagg_server *self, struct pf_error *err)
{
    for (size_t i = 0; i < PF_SS_PHASES; i++) {
        PF_TRY(pf_member_set_create(self->config.n_members, &self->awaited[i], err));
        PF_TRY(pf_member_set_create(self->config.n_members, &self->delivered[i], err));
    }
    for (uint32_t member = 0; member < self->config.n_members; member++)
        pf_member_set_add(&self->awaited[PF_SECAGG_ADVERTISING], member);
    return PF_OK;
}

enum pf_status pf_secagg_server_create(const struct pf_secagg_server_config *config,
                                       struct pf_secagg_server **server, struct pf_error *err)
{
    PF_CLEANUP(pf_secagg_server_destroyp)
    struct pf_secagg_server *self = PF_ALLOC(1, struct pf_secagg_server);
    if (self == NULL) return pf_no_memory(err, "a secure round");
    size_t n = config->n_members;
    self->config = *config;
    PF_TRY(create_sets(self, err));
    self->adverts = PF_ALLOC(n, struct pf_advert);
    self->key_heads = PF_ALLOC(n, uint64_t);
    self->randomness = pf_alloc(n, sizeof *self->randomness);
    self->consents = pf_alloc(n, sizeof *self->consents);
    if (self->adverts == NULL || self->key_heads == NULL || self->randomness == NULL ||
        self->consents == NULL)
        return pf_no_memory(err, "a secure round");
    *server = self;
    self = NULL;
    return PF_OK;
}

void pf_secagg_server_destroy(struct pf_secagg_server *self)
{
    if (self == NULL) return;
    for (uint32_t i = 0; self->boxes != NULL && i < self->n_cohort; i++) pf_free(self->boxes[i]);
    for (uint32_t i = 0; self->given != NULL && i < self->n_cohort; i++)
        if (self->given[i] != NULL) {
            sodium_memzero(self->given[i],
                           ((size_t)self->parameters.degree + 1) * sizeof *self->given[i]);
            pf_free(self->given[i]);
        }
    for (size_t i = 0; i < PF_SS_PHASES; i++) {
        pf_member_set_finish(&self->awaited[i]);
        pf_member_set_finish(&self->delivered[i]);
    }
    pf_free(self->adverts);
    pf_free(self->key_heads);
    pf_free(self->randomness);
    pf_free(self->consents);
    pf_free(self->members);
    pf_free(self->vertices);
    pf_free(self->neighbours);
    pf_free(self->boxes);
    pf_free(self->given);
    pf_free(self->n_given);
    pf_ring_destroy(self->sum);
    pf_free(self);
}

enum pf_secagg_phase pf_secagg_server_phase(const struct pf_secagg_server *self)
{
    return self->phase;
}

bool pf_secagg_server_delivered(const struct pf_secagg_server *self, uint32_t member)
{
    return pf_member_set_has(&self->delivered[self->phase], member);
}

bool pf_secagg_server_awaits(const struct pf_secagg_server *self, uint32_t member)
{
    return pf_member_set_has(&self->awaited[self->phase], member);
}

uint32_t pf_secagg_server_threshold(const struct pf_secagg_server *self)
{
    return self->parameters.threshold;
}

const struct pf_secagg_parameters *pf_secagg_server_parameters(const struct pf_secagg_server *self)
{
    return &self->parameters;
}

size_t pf_secagg_server_packed_bytes(const struct pf_secagg_server *self)
{
    return self->packed_bytes;
}

const struct pf_codec_config *pf_secagg_server_codec(const struct pf_secagg_server *self)
{
    return &self->codec;
}

/* ---- what comes ------------------------------------------------------------------------------ */

enum pf_status pf_ss_admit(const struct pf_secagg_server *self, uint32_t member, uint32_t round,
                           enum pf_secagg_phase phase, bool *repeat, enum pf_reason *reason,
                           struct pf_error *err)
{
    const char *name = pf_ss_name(self, member), *step = pf_ss_phase_name(phase);
    if (member >= self->config.n_members)
        return PF_SS_REFUSE(reason, PF_REASON_ROSTER, err, "member %u is not on the roster of %u",
                            member, self->config.n_members);
    if (round != self->config.round)
        return PF_SS_REFUSE(reason, PF_REASON_LATE, err, "%s speaks of round %u; this is round %u",
                            name, round, self->config.round);
    bool skipped = phase == PF_SECAGG_REVEALING && pf_ss_complete(self);
    if (phase > self->phase || skipped)
        return PF_SS_REFUSE(reason, PF_REASON_STEP, err, "%s is at step '%s'; the round is at '%s'",
                            name, step, pf_ss_phase_name(self->phase));
    if (!pf_member_set_has(&self->awaited[phase], member))
        return PF_SS_REFUSE(reason, PF_REASON_LATE, err,
                            "%s is not awaited in step '%s': it missed one before", name, step);
    *repeat = pf_member_set_has(&self->delivered[phase], member);
    if (phase < self->phase && !*repeat)
        return PF_SS_REFUSE(reason, PF_REASON_LATE, err, "%s comes after the end of step '%s'",
                            name, step);
    return PF_OK;
}

enum pf_status pf_ss_judge_repeat(const struct pf_secagg_server *self, uint32_t member, bool same,
                                  enum pf_reason *reason, struct pf_error *err)
{
    if (same) return PF_OK;
    return PF_SS_REFUSE(reason, PF_REASON_STEP, err,
                        "%s sends a second, different message of one step; a participant that "
                        "restarts is out of its round",
                        pf_ss_name(self, member));
}

static bool same_advert(const struct pf_advert *a, const struct pf_advert *b)
{
    return memcmp(a->channel_key, b->channel_key, sizeof a->channel_key) == 0 &&
           memcmp(a->mask_key, b->mask_key, sizeof a->mask_key) == 0 &&
           pf_digest_equal(&a->self_commitment, &b->self_commitment) &&
           pf_digest_equal(&a->randomness_commitment, &b->randomness_commitment);
}

static uint64_t key_head(const uint8_t public[32])
{
    uint64_t head;
    memcpy(&head, public, sizeof head);
    return head;
}

/* Who advertised this mask key already, or `member` itself.  Everybody refuses a list on which two
 * have the same.  10,000 heads are looked through in a few microseconds, little beside the
 * signature that was verified before; whole keys are compared where a head is the same. */
static uint32_t find_mask_key(const struct pf_secagg_server *self, uint32_t member,
                              const uint8_t public[32])
{
    const uint64_t head = key_head(public);
    for (uint32_t i = 0; i < self->config.n_members; i++)
        if (self->key_heads[i] == head &&
            pf_member_set_has(&self->delivered[PF_SECAGG_ADVERTISING], i) &&
            memcmp(self->adverts[i].mask_key, public, 32) == 0)
            return i;
    return member;
}

enum pf_status pf_secagg_server_advertise(struct pf_secagg_server *self, uint32_t member,
                                          const struct pf_advertise *message,
                                          enum pf_reason *reason, struct pf_error *err)
{
    bool repeat = false;
    const struct pf_advert *advert = &message->advert;
    PF_TRY(pf_ss_admit(self, member, message->round, PF_SECAGG_ADVERTISING, &repeat, reason, err));
    if (advert->member != member)
        return PF_SS_REFUSE(reason, PF_REASON_ROSTER, err, "%s sends keys in the name of %s (%u)",
                            pf_ss_name(self, member), pf_ss_name(self, advert->member),
                            advert->member);
    if (repeat)
        return pf_ss_judge_repeat(self, member, same_advert(advert, &self->adverts[member]), reason,
                                  err);
    if (!pf_advert_verify(advert, &self->config.context, self->config.members[member].sign))
        return PF_SS_REFUSE(reason, PF_REASON_SIGNATURE, err,
                            "the keys of %s are not signed by its identity for this round",
                            pf_ss_name(self, member));
    /* One's neighbours would refuse the whole list. */
    if (!pf_public_key_serves(advert->channel_key) || !pf_public_key_serves(advert->mask_key))
        return PF_SS_REFUSE(reason, PF_REASON_SIGNATURE, err,
                            "%s advertised a key that gives no secret", pf_ss_name(self, member));
    uint32_t owner = find_mask_key(self, member, advert->mask_key);
    if (owner != member)
        return PF_SS_REFUSE(reason, PF_REASON_SIGNATURE, err, "%s advertised the key of %s",
                            pf_ss_name(self, member), pf_ss_name(self, owner));
    self->adverts[member] = *advert;
    self->key_heads[member] = key_head(advert->mask_key);
    pf_member_set_add(&self->delivered[PF_SECAGG_ADVERTISING], member);
    return PF_OK;
}

void pf_secagg_server_withdraw(struct pf_secagg_server *self, uint32_t member)
{
    if (self->phase != PF_SECAGG_ADVERTISING || member >= self->config.n_members) return;
    pf_member_set_remove(&self->delivered[PF_SECAGG_ADVERTISING], member);
    pf_member_set_remove(&self->awaited[PF_SECAGG_ADVERTISING], member);
}

enum pf_status pf_secagg_server_reveal(struct pf_secagg_server *self, uint32_t member,
                                       const struct pf_reveal *message, enum pf_reason *reason,
                                       struct pf_error *err)
{
    bool repeat = false;
    PF_TRY(pf_ss_admit(self, member, message->round, PF_SECAGG_REVEALING, &repeat, reason, err));
    struct pf_digest commitment =
        pf_commit_randomness(&self->config.context, member, message->randomness);
    if (!pf_digest_equal(&commitment, &self->adverts[member].randomness_commitment))
        return PF_SS_REFUSE(reason, PF_REASON_GRAPH, err,
                            "%s reveals other randomness than it committed to",
                            pf_ss_name(self, member));
    if (repeat) return PF_OK;
    memcpy(self->randomness[member], message->randomness, PF_RANDOMNESS_BYTES);
    pf_member_set_add(&self->delivered[PF_SECAGG_REVEALING], member);
    return PF_OK;
}

/* One box for each neighbour, in their order. */
static enum pf_status check_receivers(const struct pf_secagg_server *self, uint32_t member,
                                      const struct pf_shares *message, enum pf_reason *reason,
                                      struct pf_error *err)
{
    const uint32_t *neighbours = pf_ss_neighbours(self, self->vertices[member]);
    if (message->n_boxes != self->parameters.degree)
        return PF_SS_REFUSE(reason, PF_REASON_SHARE_BOX, err,
                            "%s sends %u boxes; it has %u "
                            "neighbours",
                            pf_ss_name(self, member), message->n_boxes, self->parameters.degree);
    for (uint32_t i = 0; i < message->n_boxes; i++)
        if (message->boxes[i].peer != neighbours[i])
            return PF_SS_REFUSE(reason, PF_REASON_UNKNOWN_PEER, err,
                                "%s sends a box for %s (%u) where its next neighbour is %s (%u)",
                                pf_ss_name(self, member), pf_ss_name(self, message->boxes[i].peer),
                                message->boxes[i].peer, pf_ss_name(self, neighbours[i]),
                                neighbours[i]);
    return PF_OK;
}

static bool same_boxes(const uint8_t (*boxes)[PF_SHARE_BOX_BYTES], const struct pf_shares *message)
{
    for (uint32_t i = 0; i < message->n_boxes; i++)
        if (memcmp(boxes[i], message->boxes[i].box, PF_SHARE_BOX_BYTES) != 0) return false;
    return true;
}

enum pf_status pf_secagg_server_shares(struct pf_secagg_server *self, uint32_t member,
                                       const struct pf_shares *message, enum pf_reason *reason,
                                       struct pf_error *err)
{
    bool repeat = false;
    PF_TRY(pf_ss_admit(self, member, message->round, PF_SECAGG_SHARING, &repeat, reason, err));
    PF_TRY(check_receivers(self, member, message, reason, err));
    uint32_t vertex = self->vertices[member];
    if (repeat) {
        const uint8_t(*known)[PF_SHARE_BOX_BYTES] =
            (const uint8_t(*)[PF_SHARE_BOX_BYTES])self->boxes[vertex];
        return pf_ss_judge_repeat(self, member, same_boxes(known, message), reason, err);
    }
    uint8_t(*boxes)[PF_SHARE_BOX_BYTES] = pf_alloc(message->n_boxes, sizeof *boxes);
    if (boxes == NULL) return pf_no_memory(err, "share boxes");
    for (uint32_t i = 0; i < message->n_boxes; i++)
        memcpy(boxes[i], message->boxes[i].box, sizeof boxes[i]);
    self->boxes[vertex] = boxes;
    pf_member_set_add(&self->delivered[PF_SECAGG_SHARING], member);
    return PF_OK;
}

enum pf_status pf_secagg_server_masked(struct pf_secagg_server *self, uint32_t member,
                                       const uint8_t *packed, size_t length, enum pf_reason *reason,
                                       struct pf_error *err)
{
    bool repeat = false;
    PF_TRY(pf_ss_admit(self, member, self->config.round, PF_SECAGG_MASKING, &repeat, reason, err));
    if (length != self->packed_bytes)
        return PF_SS_REFUSE(reason, PF_REASON_UPDATE_INVALID, err,
                            "the masked update of %s has %zu bytes; this round's have %zu",
                            pf_ss_name(self, member), length, self->packed_bytes);
    if (repeat) return PF_OK;
    pf_ring_add_packed(self->sum, packed);
    pf_member_set_add(&self->delivered[PF_SECAGG_MASKING], member);
    return PF_OK;
}

enum pf_status pf_secagg_server_consent(struct pf_secagg_server *self, uint32_t member,
                                        const struct pf_consent_message *message,
                                        enum pf_reason *reason, struct pf_error *err)
{
    bool repeat = false;
    const struct pf_consent *consent = &message->consent;
    PF_TRY(pf_ss_admit(self, member, message->round, PF_SECAGG_CONSENTING, &repeat, reason, err));
    if (consent->member != member)
        return PF_SS_REFUSE(reason, PF_REASON_ROSTER, err, "%s sends the consent of %s (%u)",
                            pf_ss_name(self, member), pf_ss_name(self, consent->member),
                            consent->member);
    if (!pf_consent_verify(&self->config.context, &self->key_list,
                           &self->awaited[PF_SECAGG_CONSENTING], self->config.members[member].sign,
                           consent->signature))
        return PF_SS_REFUSE(reason, PF_REASON_SIGNATURE, err,
                            "the consent of %s is not its signature of this survivor set",
                            pf_ss_name(self, member));
    if (repeat) return PF_OK;
    memcpy(self->consents[member], consent->signature, PF_SIGNATURE_BYTES);
    pf_member_set_add(&self->delivered[PF_SECAGG_CONSENTING], member);
    return PF_OK;
}
