/* ADVERTISE, REVEAL, SHARES, CONSENT and UNMASK: passed on to the machine of the round, which
 * checks them.  A repeat of an earlier step's message says that the answer to it was lost: the
 * current step's message goes out again. */
#include "coordinator/session_state.h"

/* The round a step's message speaks of, and the phase that waits for such. */
static uint32_t step_of(const struct pf_message *message, enum pf_coordinator_phase *phase)
{
    switch (message->kind) {
    case PF_MESSAGE_ADVERTISE: *phase = PF_COORDINATOR_ADVERTISING; return message->advertise.round;
    case PF_MESSAGE_REVEAL: *phase = PF_COORDINATOR_REVEALING; return message->reveal.round;
    case PF_MESSAGE_SHARES: *phase = PF_COORDINATOR_SHARING; return message->shares.round;
    case PF_MESSAGE_CONSENT: *phase = PF_COORDINATOR_CONSENTING; return message->consent.round;
    default: *phase = PF_COORDINATOR_UNMASKING; return message->unmask.round;
    }
}

static enum pf_status pass_on(struct pf_coordinator_session *self, size_t index,
                              const struct pf_message *message, enum pf_reason *reason,
                              struct pf_error *err)
{
    struct pf_secagg_server *server = self->secagg;
    uint32_t member = (uint32_t)index;
    switch (message->kind) {
    case PF_MESSAGE_ADVERTISE:
        return pf_secagg_server_advertise(server, member, &message->advertise, reason, err);
    case PF_MESSAGE_REVEAL:
        return pf_secagg_server_reveal(server, member, &message->reveal, reason, err);
    case PF_MESSAGE_SHARES:
        return pf_secagg_server_shares(server, member, &message->shares, reason, err);
    case PF_MESSAGE_CONSENT:
        return pf_secagg_server_consent(server, member, &message->consent, reason, err);
    default: return pf_secagg_server_unmask(server, member, &message->unmask, reason, err);
    }
}

enum pf_status pf_cs_on_step(struct pf_coordinator_session *self, const struct pf_arrival *arrival,
                             struct pf_error *err)
{
    struct pf_member *member = &self->members[arrival->member];
    enum pf_coordinator_phase phase;
    uint32_t round = step_of(arrival->message, &phase);
    bool part = pf_cs_pending(self, arrival->member) || member->part == PF_PART_COUNTED;
    if (self->secagg == NULL || !pf_cs_in_round(self) || round != self->round || !part)
        return pf_cs_refuse_late(self, arrival, round, err);
    bool repeat =
        phase != self->phase || pf_secagg_server_delivered(self->secagg, (uint32_t)arrival->member);
    enum pf_reason reason = PF_REASON_STEP;
    struct pf_error why;
    enum pf_status status = pass_on(self, arrival->member, arrival->message, &reason, &why);
    if (status == PF_NO_MEMORY) return pf_fail(err, status, "%s", why.text);
    if (status != PF_OK) return pf_cs_refuse(self, arrival, reason, round, err, "%s", why.text);
    if (member->part == PF_PART_ASKED) member->part = PF_PART_ACTIVE;
    PF_TRY(pf_cs_heard(self, arrival, err));
    if (!repeat) return PF_OK;
    self->counters.repeated++;
    return pf_cs_tell_again(self, arrival->member, arrival->now_ms, err);
}
