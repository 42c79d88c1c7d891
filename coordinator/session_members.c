/* What is known of the members as a whole without looking at each of them: how many are of a class,
 * and who is due when.  It follows from the members, the phase and the machine of the round, and
 * pf_cs_recount is the one place that changes it, so that a message costs the same however many
 * members there are. */
#include "coordinator/session_state.h"

static bool left(const struct pf_coordinator_session *self, size_t member)
{
    return self->members[member].left;
}

static bool present(const struct pf_coordinator_session *self, size_t member)
{
    return self->members[member].present && !self->members[member].left;
}

bool pf_cs_pending(const struct pf_coordinator_session *self, size_t member)
{
    enum pf_part part = self->members[member].part;
    return part == PF_PART_ASKED || part == PF_PART_ACTIVE;
}

static bool counted(const struct pf_coordinator_session *self, size_t member)
{
    return self->members[member].part == PF_PART_COUNTED;
}

bool pf_cs_dropped(const struct pf_coordinator_session *self, size_t member)
{
    return self->members[member].part == PF_PART_DROPPED;
}

static bool uploading(const struct pf_coordinator_session *self, size_t member)
{
    return self->members[member].update != NULL;
}

static bool delivered(const struct pf_coordinator_session *self, size_t member)
{
    return self->secagg != NULL && pf_secagg_server_delivered(self->secagg, (uint32_t)member);
}

static bool ready(const struct pf_coordinator_session *self, size_t member)
{
    return pf_cs_pending(self, member) && delivered(self, member);
}

static bool expected(const struct pf_coordinator_session *self, size_t member)
{
    return self->secagg != NULL && pf_secagg_server_awaits(self->secagg, (uint32_t)member) &&
           !delivered(self, member);
}

bool pf_cs_lost_reveal(const struct pf_coordinator_session *self, size_t member)
{
    return pf_cs_dropped(self, member) && expected(self, member);
}

bool pf_cs_awaited(const struct pf_coordinator_session *self, size_t index)
{
    const struct pf_member *member = &self->members[index];
    bool able = pf_cs_pending(self, index) || (counted(self, index) && !member->gone);
    return able && pf_cs_in_round(self) && expected(self, index);
}

bool pf_cs_awaited_now(const struct pf_coordinator_session *self, size_t member)
{
    return pf_cs_awaited(self, member) && self->members[member].present;
}

static pf_cs_pick *const classes[PF_CLASS_N] = {
    [PF_CLASS_LEFT] = left,
    [PF_CLASS_PRESENT] = present,
    [PF_CLASS_PENDING] = pf_cs_pending,
    [PF_CLASS_COUNTED] = counted,
    [PF_CLASS_DROPPED] = pf_cs_dropped,
    [PF_CLASS_UPLOADING] = uploading,
    [PF_CLASS_DELIVERED] = delivered,
    [PF_CLASS_READY] = ready,
    [PF_CLASS_LOST_REVEAL] = pf_cs_lost_reveal,
    [PF_CLASS_AWAITED] = pf_cs_awaited,
    [PF_CLASS_AWAITED_NOW] = pf_cs_awaited_now,
};

uint32_t pf_cs_count(const struct pf_coordinator_session *self, enum pf_class class)
{
    return self->n_of[class];
}

static void plan(struct pf_deadlines *deadlines, size_t member, bool due, int64_t at_ms)
{
    if (due)
        pf_deadlines_set(deadlines, member, at_ms);
    else
        pf_deadlines_clear(deadlines, member);
}

void pf_cs_recount(struct pf_coordinator_session *self, size_t index)
{
    struct pf_member *member = &self->members[index];
    for (enum pf_class class = 0; class < PF_CLASS_N; class ++) {
        bool is = classes[class](self, index);
        self->n_of[class] = self->n_of[class] - member->is[class] + is;
        member->is[class] = is;
    }
    plan(&self->silences, index, member->present, member->heard_ms + self->config.liveness_ms);
    plan(&self->stalls, index, member->is[PF_CLASS_UPLOADING],
         member->chunk_ms + self->config.upload_idle_ms);
    plan(&self->tellings, index, member->is[PF_CLASS_AWAITED_NOW], member->tell_ms);
}

void pf_cs_recount_all(struct pf_coordinator_session *self)
{
    for (size_t i = 0; i < self->config.n_members; i++) pf_cs_recount(self, i);
}
