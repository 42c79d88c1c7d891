/* Step 4: the shares that come, and all that the worker needs to take the masks off. */
#include <sodium.h>
#include <string.h>

#include "common/base/memory.h"
#include "coordinator/secagg_server_parts.h"

/* ---- shares that come ------------------------------------------------------------------------ */

static size_t given_length(const struct pf_secagg_server *self)
{
    return (size_t)self->parameters.degree + 1;
}

static void free_given(const struct pf_secagg_server *self, struct pf_scalar *given)
{
    if (given == NULL) return;
    sodium_memzero(given, given_length(self) * sizeof *given);
    pf_free(given);
}

/* Where the giver's share of `owner` stands; false if the giver holds none of its. */
static bool find_place(const struct pf_secagg_server *self, uint32_t giver, uint32_t owner,
                       uint32_t *place)
{
    if (!pf_member_set_has(&self->awaited[PF_SECAGG_MASKING], owner)) return false;
    *place = pf_ss_find_neighbour(self, self->vertices[giver], owner);
    return *place < self->parameters.degree || (pf_ss_complete(self) && giver == owner);
}

/* How many shares the member was asked for. */
static uint32_t count_asked(const struct pf_secagg_server *self, uint32_t member)
{
    return pf_ss_count_holders(self, self->vertices[member], &self->awaited[PF_SECAGG_MASKING]);
}

/* given[degree + 1] ← the shares at their places; seen[degree + 1] is zero. */
static enum pf_status place_shares(const struct pf_secagg_server *self, uint32_t member,
                                   const struct pf_unmask *message, struct pf_scalar *given,
                                   bool *seen, enum pf_reason *reason, struct pf_error *err)
{
    const struct pf_member_set *survivors = &self->awaited[PF_SECAGG_CONSENTING];
    const char *name = pf_ss_name(self, member);
    for (uint32_t i = 0; i < message->n_shares; i++) {
        const struct pf_given_share *share = &message->shares[i];
        const char *owner = pf_ss_name(self, share->member);
        uint32_t place;
        if (!find_place(self, member, share->member, &place))
            return PF_SS_REFUSE(reason, PF_REASON_UNKNOWN_PEER, err,
                                "%s gives a share of %s (%u), of whom it holds none", name, owner,
                                share->member);
        if (seen[place])
            return PF_SS_REFUSE(reason, PF_REASON_REPEATED_PEER, err, "%s gives two shares of %s",
                                name, owner);
        if (share->dropped == pf_member_set_has(survivors, share->member))
            return PF_SS_REFUSE(reason, PF_REASON_SURVIVOR_SET, err,
                                "%s gives the other share of %s than it was asked for", name,
                                owner);
        if (!pf_scalar_valid(&share->share))
            return PF_SS_REFUSE(reason, PF_REASON_SHARE_BOX, err,
                                "%s gives as a share of %s what is no number of the field", name,
                                owner);
        seen[place] = true;
        given[place] = share->share;
    }
    uint32_t asked = count_asked(self, member);
    if (message->n_shares != asked)
        return PF_SS_REFUSE(reason, PF_REASON_SURVIVOR_SET, err, "%s gives %u shares of %u", name,
                            message->n_shares, asked);
    return PF_OK;
}

/* Who is given a share of has a surviving neighbour, the giver: it is a target. */
static void tally(struct pf_secagg_server *self, uint32_t owner)
{
    uint32_t *n_given = &self->n_given[self->vertices[owner]];
    *n_given += 1;
    if (*n_given == self->parameters.threshold) self->n_short--;
}

static enum pf_status note_given(struct pf_secagg_server *self, uint32_t member,
                                 const struct pf_unmask *message, struct pf_scalar **given,
                                 bool repeat, enum pf_reason *reason, struct pf_error *err)
{
    uint32_t vertex = self->vertices[member];
    if (repeat) {
        const struct pf_scalar *known = self->given[vertex];
        bool same = known == NULL || /* taken already */
                    sodium_memcmp(known, *given, given_length(self) * sizeof *known) == 0;
        return pf_ss_judge_repeat(self, member, same, reason, err);
    }
    if (self->taken)
        return PF_SS_REFUSE(reason, PF_REASON_LATE, err,
                            "%s comes after the shares of the others were used",
                            pf_ss_name(self, member));
    self->given[vertex] = *given;
    *given = NULL;
    for (uint32_t i = 0; i < message->n_shares; i++) tally(self, message->shares[i].member);
    pf_member_set_add(&self->delivered[PF_SECAGG_UNMASKING], member);
    return PF_OK;
}

enum pf_status pf_secagg_server_unmask(struct pf_secagg_server *self, uint32_t member,
                                       const struct pf_unmask *message, enum pf_reason *reason,
                                       struct pf_error *err)
{
    bool repeat = false;
    PF_TRY(pf_ss_admit(self, member, message->round, PF_SECAGG_UNMASKING, &repeat, reason, err));
    PF_CLEANUP(pf_freep) bool *seen = PF_ALLOC(given_length(self), bool);
    struct pf_scalar *given = PF_ALLOC(given_length(self), struct pf_scalar);
    enum pf_status status;
    if (seen == NULL || given == NULL)
        status = pf_no_memory(err, "shares");
    else
        status = place_shares(self, member, message, given, seen, reason, err);
    if (status == PF_OK) status = note_given(self, member, message, &given, repeat, reason, err);
    free_given(self, given);
    return status;
}

bool pf_secagg_server_can_unmask(const struct pf_secagg_server *self)
{
    return self->phase == PF_SECAGG_UNMASKING && !self->taken && self->n_short == 0;
}

/* ---- what the worker gets -------------------------------------------------------------------- */

/* The givers of this owner's shares in ascending order; in a complete graph everybody's are the
 * same, so that one set of coefficients serves all. */
static enum pf_status gather_shares(const struct pf_secagg_server *self, uint32_t owner,
                                    struct pf_unmask_target *target, struct pf_error *err)
{
    uint32_t vertex = self->vertices[owner], n = self->n_given[vertex];
    target->x = PF_ALLOC(n, uint32_t);
    target->shares = PF_ALLOC(n, struct pf_scalar);
    if (target->x == NULL || target->shares == NULL) return pf_no_memory(err, "shares");
    bool complete = pf_ss_complete(self);
    const uint32_t *holders = complete ? self->members : pf_ss_neighbours(self, vertex);
    uint32_t n_holders = complete ? self->n_cohort : self->parameters.degree;
    for (uint32_t i = 0; i < n_holders; i++) {
        uint32_t place;
        const struct pf_scalar *given = self->given[self->vertices[holders[i]]];
        if (given == NULL || !find_place(self, holders[i], owner, &place)) continue;
        target->x[target->n_shares] = holders[i] + 1;
        target->shares[target->n_shares++] = given[place];
    }
    return PF_OK;
}

/* index[n_members]: member → place in the targets. */
static enum pf_status list_neighbours(const struct pf_secagg_server *self, uint32_t owner,
                                      const uint32_t *index, struct pf_unmask_target *target,
                                      struct pf_error *err)
{
    const uint32_t *neighbours = pf_ss_neighbours(self, self->vertices[owner]);
    target->neighbours = PF_ALLOC(self->parameters.degree, uint32_t);
    if (target->neighbours == NULL) return pf_no_memory(err, "neighbours");
    for (uint32_t i = 0; i < self->parameters.degree; i++)
        if (pf_member_set_has(&self->awaited[PF_SECAGG_CONSENTING], neighbours[i]))
            target->neighbours[target->n_neighbours++] = index[neighbours[i]];
    return PF_OK;
}

static enum pf_status fill_targets(const struct pf_secagg_server *self,
                                   struct pf_unmasking *unmasking, struct pf_error *err)
{
    PF_CLEANUP(pf_freep) uint32_t *index = PF_ALLOC(self->config.n_members, uint32_t);
    if (index == NULL) return pf_no_memory(err, "unmasking");
    uint32_t n = 0;
    for (uint32_t vertex = 0; vertex < self->n_cohort; vertex++)
        if (pf_ss_is_target(self, self->members[vertex])) index[self->members[vertex]] = n++;
    unmasking->targets = PF_ALLOC(n, struct pf_unmask_target);
    if (unmasking->targets == NULL) return pf_no_memory(err, "unmasking");
    unmasking->n_targets = n;
    for (uint32_t vertex = 0; vertex < self->n_cohort; vertex++) {
        uint32_t owner = self->members[vertex];
        if (!pf_ss_is_target(self, owner)) continue;
        struct pf_unmask_target *target = &unmasking->targets[index[owner]];
        target->advert = self->adverts[owner];
        target->dropped = !pf_member_set_has(&self->awaited[PF_SECAGG_CONSENTING], owner);
        PF_TRY(gather_shares(self, owner, target, err));
        if (target->dropped) PF_TRY(list_neighbours(self, owner, index, target, err));
    }
    return PF_OK;
}

static enum pf_status refuse_take(const struct pf_secagg_server *self, struct pf_error *err)
{
    if (self->phase != PF_SECAGG_UNMASKING || self->taken)
        return pf_fail(err, PF_REFUSED, "there is nothing to unmask in step '%s'%s",
                       pf_ss_phase_name(self->phase), self->taken ? ", it was taken" : "");
    uint32_t vertex = 0;
    while (self->n_given[vertex] >= self->parameters.threshold ||
           !pf_ss_is_target(self, self->members[vertex]))
        vertex++;
    return pf_fail(err, PF_REFUSED,
                   "%u members have fewer than %u shares of the secret that has to come back; the "
                   "first is %s with %u (%u of %u asked have answered)",
                   self->n_short, self->parameters.threshold,
                   pf_ss_name(self, self->members[vertex]), self->n_given[vertex],
                   pf_member_set_count(&self->delivered[PF_SECAGG_UNMASKING]),
                   pf_member_set_count(&self->awaited[PF_SECAGG_UNMASKING]));
}

enum pf_status pf_secagg_server_take(struct pf_secagg_server *self, struct pf_unmasking **unmasking,
                                     struct pf_error *err)
{
    if (!pf_secagg_server_can_unmask(self)) return refuse_take(self, err);
    PF_CLEANUP(pf_unmasking_destroyp) struct pf_unmasking *made = PF_ALLOC(1, struct pf_unmasking);
    if (made == NULL) return pf_no_memory(err, "unmasking");
    made->context = self->config.context;
    made->key_list = self->key_list;
    made->threshold = self->parameters.threshold;
    made->n_survivors = pf_member_set_count(&self->awaited[PF_SECAGG_CONSENTING]);
    PF_TRY(fill_targets(self, made, err));
    made->sum = self->sum;
    self->sum = NULL;
    self->taken = true;
    for (uint32_t vertex = 0; vertex < self->n_cohort; vertex++) {
        free_given(self, self->given[vertex]);
        self->given[vertex] = NULL;
    }
    *unmasking = made;
    made = NULL;
    return PF_OK;
}
