/* The entrance of the participant's session: every message comes through here; those about a round
 * go on to local_round.c. */
#include <stdio.h>
#include <string.h>

#include "participant/session_parts.h"

/* The entry of a run that was joined before, or NULL. */
static struct pf_participation *find_run(struct pf_participant_session *self,
                                         const struct pf_run_id *run_id)
{
    for (size_t i = 0; i < self->n_runs; i++)
        if (memcmp(&self->runs[i].run_id, run_id, sizeof *run_id) == 0) return &self->runs[i];
    return NULL;
}

/* Back to the start: the coordinator serves another run now. */
static void leave_run(struct pf_participant_session *self, int64_t now_ms)
{
    if (pf_ps_working(self)) pf_ps_leave_round(self, PF_OUTCOME_DROPPED);
    if (self->last.round != 0) *find_run(self, &self->welcome.run_id) = self->last;
    self->joined = false;
    memset(&self->welcome, 0, sizeof self->welcome);
    memset(&self->last, 0, sizeof self->last);
    self->over_round = 0;
    pf_model_destroy(self->teacher);
    self->teacher = NULL;
    pf_ps_set_phase(self, PF_PARTICIPANT_CONNECTING);
    pf_ps_greet(self, now_ms);
}

static bool in_run(const struct pf_participant_session *self, const struct pf_message *message)
{
    return self->joined &&
           memcmp(&message->run_id, &self->welcome.run_id, sizeof message->run_id) == 0;
}

/* A run that this participant can never take part in ends it with the way out. */
static bool check_welcome(struct pf_participant_session *self, const struct pf_message *message)
{
    const struct pf_welcome *welcome = &message->welcome;
    struct pf_error err = {0};
    enum pf_reason reason = PF_REASON_NONE;
    if (welcome->version != PF_PROTOCOL_VERSION) {
        reason = PF_REASON_VERSION;
        pf_fail(&err, PF_REFUSED, "the coordinator speaks protocol version %u, this program %u",
                welcome->version, PF_PROTOCOL_VERSION);
    } else if (welcome->aggregation == PF_AGGREGATION_PLAIN && !self->config.policy.allow_plain) {
        reason = PF_REASON_POLICY;
        pf_fail(&err, PF_REFUSED,
                "the run uses plain aggregation: its coordinator could read the updates of this "
                "participant (--allow-plain to join all the same)");
    } else if (welcome->aggregation == PF_AGGREGATION_SECURE && self->config.roster == NULL) {
        reason = PF_REASON_POLICY;
        pf_fail(&err, PF_REFUSED, "the run uses secure aggregation; there is no roster here");
    } else if (pf_participant_policy_network(&self->config.policy, &welcome->network, &err) !=
               PF_OK) {
        reason = PF_REASON_ARCHITECTURE;
    } else if (self->n_runs == PF_PARTICIPANT_MAX_RUNS &&
               find_run(self, &message->run_id) == NULL) {
        reason = PF_REASON_POLICY;
        pf_fail(&err, PF_REFUSED, "the coordinator served %u different runs; start again for more",
                PF_PARTICIPANT_MAX_RUNS);
    }
    if (reason == PF_REASON_NONE) return true;
    pf_ps_refuse(self, reason, err.text);
    pf_ps_decline(self, 0, reason, err.text)->run_id = message->run_id;
    pf_ps_end(self, PF_PARTICIPANT_FAILED, "%s", err.text);
    return false;
}

static bool on_welcome(struct pf_participant_session *self, const struct pf_message *message,
                       int64_t now_ms)
{
    const struct pf_welcome *welcome = &message->welcome;
    if (self->joined) {
        if (!in_run(self, message))
            return pf_ps_refuse(self, PF_REASON_WRONG_RUN, "a welcome to another run");
        if (!pf_network_equal(&welcome->network, &self->welcome.network) ||
            welcome->aggregation != self->welcome.aggregation)
            return pf_ps_refuse(self, PF_REASON_ARCHITECTURE, "the run has changed its network");
        self->counters.repeated += !self->greeting;
        if (self->greeting) pf_ps_round_resume(self, now_ms);
    } else {
        if (!check_welcome(self, message)) return false;
        self->joined = true;
        self->welcome = *welcome;
        self->welcome.run_id = message->run_id; /* the one that every message carries */
        struct pf_participation *known = find_run(self, &message->run_id);
        if (known != NULL)
            pf_participant_session_recall(self, known);
        else
            self->runs[self->n_runs++].run_id = message->run_id;
        pf_ps_push(self, PF_PARTICIPANT_RECALL)->run_id = message->run_id;
        pf_ps_set_phase(self, PF_PARTICIPANT_IDLE);
    }
    self->welcome.n_rounds = welcome->n_rounds;
    self->welcome.alive_interval_ms = welcome->alive_interval_ms;
    self->alive_ms = now_ms + (int64_t)welcome->alive_interval_ms;
    self->greeting = false;
    self->sentence[0] = '\0';
    return true;
}

/* Another run is served now, or the coordinator has restarted and wants to be greeted first. */
static void on_wrong_run(struct pf_participant_session *self, const struct pf_run_id *served,
                         int64_t now_ms)
{
    if (!self->joined) return;
    if (memcmp(served, &self->welcome.run_id, sizeof *served) != 0)
        leave_run(self, now_ms);
    else if (!self->greeting)
        pf_ps_greet(self, now_ms);
}

/* REFUSAL of something that concerns no round: HELLO as a rule. */
static bool on_refused_entry(struct pf_participant_session *self, const struct pf_message *message,
                             int64_t now_ms)
{
    char text[PF_MAX_REASON_BYTES];
    pf_ps_plain_text(text, sizeof text, message->refusal.text);
    const char *name = pf_reason_name((enum pf_reason)message->refusal.reason);
    switch ((enum pf_reason)message->refusal.reason) {
    case PF_REASON_WRONG_RUN: on_wrong_run(self, &message->run_id, now_ms); break;
    case PF_REASON_VERSION:
    case PF_REASON_ARCHITECTURE:
    case PF_REASON_POLICY:
        if (!self->greeting) break;
        pf_ps_end(self, PF_PARTICIPANT_FAILED, "refused by the coordinator, %s: %s", name, text);
        return true;
    default: break;
    }
    snprintf(self->sentence, sizeof self->sentence, "refused by the coordinator, %s: %s", name,
             text);
    return true;
}

static bool on_refusal(struct pf_participant_session *self, const struct pf_message *message,
                       int64_t now_ms)
{
    if (message->refusal.round != 0) return pf_ps_round_refusal(self, message, now_ms);
    return on_refused_entry(self, message, now_ms);
}

/* The coordinator's ALIVE names the round that waits for us: if that is news, its offer was lost,
 * and HELLO brings it again. */
static bool on_alive(struct pf_participant_session *self, const struct pf_message *message,
                     int64_t now_ms)
{
    uint32_t round = message->alive.round;
    if (self->phase == PF_PARTICIPANT_IDLE && !self->greeting && round > self->last.round &&
        round > self->over_round)
        pf_ps_greet(self, now_ms);
    return true;
}

static bool on_finished(struct pf_participant_session *self, const struct pf_message *message,
                        int64_t now_ms)
{
    if (self->joined && !in_run(self, message)) {
        leave_run(self, now_ms); /* HELLO will tell whether that run concerns us */
        return true;
    }
    char text[PF_MAX_REASON_BYTES];
    pf_ps_plain_text(text, sizeof text, message->finished.text);
    /* An update that waits for its receipt is in the coordinator's hands or of no use any more. */
    if (message->finished.success)
        pf_ps_end(self, PF_PARTICIPANT_DONE, "%s", text[0] != '\0' ? text : "the run is complete");
    else
        pf_ps_end(self, PF_PARTICIPANT_FAILED, "the run failed: %s", text);
    return true;
}

enum when { NEVER = 0, ALWAYS, IN_RUN };

static const struct {
    pf_ps_handler *handle;
    enum when when;
} handlers[PF_MESSAGE_N_KINDS] = {
    [PF_MESSAGE_WELCOME] = {on_welcome, ALWAYS},
    [PF_MESSAGE_REFUSAL] = {on_refusal, ALWAYS},
    [PF_MESSAGE_ROUND_OFFER] = {pf_ps_offer, IN_RUN},
    [PF_MESSAGE_MODEL_CHUNK] = {pf_ps_model_chunk, IN_RUN},
    [PF_MESSAGE_COMMITTED] = {pf_ps_committed, IN_RUN},
    [PF_MESSAGE_KEY_LIST] = {pf_ps_key_list, IN_RUN},
    [PF_MESSAGE_SHARE_DELIVERY] = {pf_ps_delivery, IN_RUN},
    [PF_MESSAGE_UPDATE_GRANT] = {pf_ps_grant, IN_RUN},
    [PF_MESSAGE_UPDATE_RECEIPT] = {pf_ps_receipt, IN_RUN},
    [PF_MESSAGE_SURVIVORS] = {pf_ps_survivors, IN_RUN},
    [PF_MESSAGE_UNMASK_REQUEST] = {pf_ps_unmask_request, IN_RUN},
    [PF_MESSAGE_ALIVE] = {on_alive, IN_RUN},
    [PF_MESSAGE_ROUND_RESULT] = {pf_ps_result, IN_RUN},
    [PF_MESSAGE_FINISHED] = {on_finished, ALWAYS},
};

bool pf_participant_session_receive(struct pf_participant_session *self,
                                    const struct pf_message *message, int64_t now_ms)
{
    if (pf_ps_ended(self)) return false;
    pf_ps_forget_model(self);
    if ((unsigned)message->kind >= PF_MESSAGE_N_KINDS || handlers[message->kind].when == NEVER ||
        (handlers[message->kind].when == IN_RUN && !self->joined)) {
        self->counters.unexpected++;
        return false;
    }
    if (handlers[message->kind].when == IN_RUN && !in_run(self, message))
        return pf_ps_refuse(self, PF_REASON_WRONG_RUN, pf_message_kind_name(message->kind));
    if (!handlers[message->kind].handle(self, message, now_ms)) return false;
    self->heard_ms = now_ms;
    return true;
}
