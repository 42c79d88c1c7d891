/* Setup, the table of transitions and the list of actions.  What a configuration must be like is in
 * session_check.c, what members are counted by in session_members.c, the course of a run in
 * session_run.c, a round in session_round.c, the steps of a secure one in session_secure.c, the
 * messages of members in session_update.c, session_step.c and session_upload.c, words for people in
 * session_text.c. */
#include "coordinator/session.h"

#include <assert.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "common/base/memory.h"
#include "coordinator/session_state.h"

/* Why each transition may happen; what is not here may not. */
static const char *const transitions[PF_COORDINATOR_N_PHASES][PF_COORDINATOR_N_PHASES] = {
    [PF_COORDINATOR_WAITING] =
        {
            [PF_COORDINATOR_COMBINING] = "enough members; a stage begins",
            [PF_COORDINATOR_COLLECTING] = "enough members; a round begins",
            [PF_COORDINATOR_ADVERTISING] = "enough members; a secure round begins",
            [PF_COORDINATOR_DONE] = "no stage is left",
            [PF_COORDINATOR_FAILED] = "too few members in time, or asked to stop",
        },
    [PF_COORDINATOR_COMBINING] =
        {
            [PF_COORDINATOR_WAITING] = "the combined model is there",
            [PF_COORDINATOR_FAILED] = "combining failed, or asked to stop",
        },
    [PF_COORDINATOR_ADVERTISING] =
        {
            [PF_COORDINATOR_REVEALING] = "keys are in; the graph needs randomness",
            [PF_COORDINATOR_SHARING] = "keys are in",
            [PF_COORDINATOR_WAITING] = "round abandoned",
            [PF_COORDINATOR_FAILED] = "too many rounds abandoned, or asked to stop",
        },
    [PF_COORDINATOR_REVEALING] =
        {
            [PF_COORDINATOR_SHARING] = "the graph is drawn",
            [PF_COORDINATOR_WAITING] = "round abandoned",
            [PF_COORDINATOR_FAILED] = "too many rounds abandoned, or asked to stop",
        },
    [PF_COORDINATOR_SHARING] =
        {
            [PF_COORDINATOR_COLLECTING] = "shares are in",
            [PF_COORDINATOR_WAITING] = "round abandoned",
            [PF_COORDINATOR_FAILED] = "too many rounds abandoned, or asked to stop",
        },
    [PF_COORDINATOR_COLLECTING] =
        {
            [PF_COORDINATOR_APPLYING] = "enough updates",
            [PF_COORDINATOR_CONSENTING] = "enough masked updates",
            [PF_COORDINATOR_WAITING] = "round abandoned",
            [PF_COORDINATOR_FAILED] = "too many rounds abandoned, or asked to stop",
        },
    [PF_COORDINATOR_CONSENTING] =
        {
            [PF_COORDINATOR_UNMASKING] = "the survivors agree who they are",
            [PF_COORDINATOR_WAITING] = "round abandoned",
            [PF_COORDINATOR_FAILED] = "too many rounds abandoned, or asked to stop",
        },
    [PF_COORDINATOR_UNMASKING] =
        {
            [PF_COORDINATOR_APPLYING] = "enough shares",
            [PF_COORDINATOR_WAITING] = "round abandoned",
            [PF_COORDINATOR_FAILED] = "too many rounds abandoned, or asked to stop",
        },
    [PF_COORDINATOR_APPLYING] =
        {
            [PF_COORDINATOR_WAITING] = "round completed, or its mean refused",
            [PF_COORDINATOR_FAILED] = "applying failed, or asked to stop",
        },
};

const char *pf_coordinator_phase_name(enum pf_coordinator_phase phase)
{
    static const char *const names[] = {
        [PF_COORDINATOR_WAITING] = "waiting",         [PF_COORDINATOR_COMBINING] = "combining",
        [PF_COORDINATOR_ADVERTISING] = "advertising", [PF_COORDINATOR_REVEALING] = "revealing",
        [PF_COORDINATOR_SHARING] = "sharing",         [PF_COORDINATOR_COLLECTING] = "collecting",
        [PF_COORDINATOR_CONSENTING] = "consenting",   [PF_COORDINATOR_UNMASKING] = "unmasking",
        [PF_COORDINATOR_APPLYING] = "applying",       [PF_COORDINATOR_DONE] = "done",
        [PF_COORDINATOR_FAILED] = "failed",
    };
    return (size_t)phase < PF_ARRAY_LENGTH(names) ? names[phase] : "unknown";
}

bool pf_coordinator_phase_allowed(enum pf_coordinator_phase from, enum pf_coordinator_phase to)
{
    return (size_t)from < PF_COORDINATOR_N_PHASES && (size_t)to < PF_COORDINATOR_N_PHASES &&
           transitions[from][to] != NULL;
}

void pf_cs_set_phase(struct pf_coordinator_session *self, enum pf_coordinator_phase phase)
{
    assert(pf_coordinator_phase_allowed(self->phase, phase));
    pf_log(PF_LOG_DEBUG, "coordinator: %s → %s (%s)", pf_coordinator_phase_name(self->phase),
           pf_coordinator_phase_name(phase), transitions[self->phase][phase]);
    self->phase = phase;
    pf_cs_recount_all(self);
}

bool pf_cs_ended(const struct pf_coordinator_session *self)
{
    return self->phase == PF_COORDINATOR_DONE || self->phase == PF_COORDINATOR_FAILED;
}

enum pf_status pf_coordinator_session_create(const struct pf_coordinator_session_config *config,
                                             int64_t now_ms,
                                             struct pf_coordinator_session **session,
                                             struct pf_error *err)
{
    struct pf_coordinator_session_config filled = *config;
    pf_cs_fill_config(&filled);
    PF_TRY(pf_cs_check_config(&filled, err));
    PF_CLEANUP(pf_coordinator_session_destroyp)
    struct pf_coordinator_session *self = PF_ALLOC(1, struct pf_coordinator_session);
    if (self == NULL) return pf_no_memory(err, "the session");
    self->config = filled;
    memcpy(self->clip, filled.masking.clip, sizeof self->clip);
    self->members = PF_ALLOC(config->n_members, struct pf_member);
    if (self->members == NULL) return pf_no_memory(err, "the members of the session");
    PF_TRY(pf_deadlines_create(config->n_members, &self->silences, err));
    PF_TRY(pf_deadlines_create(config->n_members, &self->stalls, err));
    PF_TRY(pf_deadlines_create(config->n_members, &self->tellings, err));
    for (size_t i = 0; i < config->n_members; i++)
        snprintf(self->members[i].name, sizeof self->members[i].name, "%s",
                 config->members[i].name);
    self->phase = PF_COORDINATOR_WAITING;
    self->join_deadline_ms = now_ms + config->join_timeout_ms;
    self->accuracy_percent = (double)NAN;
    *session = self;
    self = NULL;
    return PF_OK;
}

void pf_served_model_finish(struct pf_served_model *self)
{
    pf_free(self->chunk_hashes);
    *self = (struct pf_served_model){0};
}

void pf_coordinator_action_finish(struct pf_coordinator_action *self)
{
    if (self->kind == PF_ACTION_SEND) pf_message_finish(&self->message);
    pf_free(self->members);
    pf_sum_destroy(self->sum);
    pf_unmasking_destroy(self->unmasking);
    *self = (struct pf_coordinator_action){0};
}

void pf_coordinator_session_destroy(struct pf_coordinator_session *self)
{
    if (self == NULL) return;
    for (size_t i = self->drained; i < self->n_actions; i++)
        pf_coordinator_action_finish(&self->actions[i]);
    pf_free(self->actions);
    for (size_t i = 0; self->members != NULL && i < self->config.n_members; i++)
        pf_cs_forget_update(&self->members[i]);
    pf_free(self->members);
    pf_deadlines_finish(&self->silences);
    pf_deadlines_finish(&self->stalls);
    pf_deadlines_finish(&self->tellings);
    pf_sum_destroy(self->sum);
    pf_secagg_server_destroy(self->secagg);
    pf_served_model_finish(&self->model);
    pf_free(self);
}

struct pf_coordinator_action *pf_cs_push(struct pf_coordinator_session *self,
                                         enum pf_coordinator_action_kind kind)
{
    if (self->n_actions == self->capacity) {
        size_t capacity = self->capacity > 0 ? 2 * self->capacity : 16;
        struct pf_coordinator_action *grown =
            pf_realloc(self->actions, capacity, sizeof *self->actions);
        if (grown == NULL) return NULL;
        self->actions = grown;
        self->capacity = capacity;
    }
    struct pf_coordinator_action *action = &self->actions[self->n_actions++];
    memset(action, 0, sizeof *action);
    action->kind = kind;
    return action;
}

bool pf_coordinator_session_next_action(struct pf_coordinator_session *self,
                                        struct pf_coordinator_action *action)
{
    if (self->drained == self->n_actions) {
        self->drained = self->n_actions = 0;
        return false;
    }
    *action = self->actions[self->drained++];
    return true;
}

/* Takes *members and *message, also on failure. */
static enum pf_status push_send(struct pf_coordinator_session *self, size_t **members,
                                size_t n_members, struct pf_message *message, struct pf_error *err)
{
    struct pf_coordinator_action *action = pf_cs_push(self, PF_ACTION_SEND);
    if (action == NULL) {
        pf_free(*members);
        pf_message_finish(message);
        return pf_no_memory(err, "a message");
    }
    message->run_id = self->config.run_id;
    action->members = *members;
    action->n_members = n_members;
    action->message = *message;
    *members = NULL;
    *message = (struct pf_message){0};
    return PF_OK;
}

enum pf_status pf_cs_send(struct pf_coordinator_session *self, size_t member,
                          struct pf_message *message, struct pf_error *err)
{
    size_t *members = PF_ALLOC(1, size_t);
    if (members == NULL) {
        pf_message_finish(message);
        return pf_no_memory(err, "a message");
    }
    members[0] = member;
    return push_send(self, &members, 1, message, err);
}

enum pf_status pf_cs_broadcast(struct pf_coordinator_session *self, pf_cs_pick *wanted,
                               struct pf_message *message, struct pf_error *err)
{
    size_t *members = PF_ALLOC(self->config.n_members, size_t);
    size_t n = 0;
    for (size_t i = 0; members != NULL && i < self->config.n_members; i++)
        if (wanted(self, i)) members[n++] = i;
    if (n > 0) return push_send(self, &members, n, message, err);
    pf_message_finish(message);
    bool memory = members != NULL;
    pf_free(members);
    return memory ? PF_OK : pf_no_memory(err, "a message");
}

enum pf_status pf_cs_event(struct pf_coordinator_session *self, enum pf_log_level level,
                           struct pf_error *err, const char *format, ...)
{
    struct pf_coordinator_action *action = pf_cs_push(self, PF_ACTION_EVENT);
    if (action == NULL) return pf_no_memory(err, "an event");
    action->level = level;
    action->number = self->round;
    va_list args;
    va_start(args, format);
    vsnprintf(action->text, sizeof action->text, format, args);
    va_end(args);
    return PF_OK;
}

void pf_coordinator_session_malformed(struct pf_coordinator_session *self, size_t member)
{
    assert(member < self->config.n_members);
    uint64_t n = ++self->members[member].n_malformed;
    self->counters.malformed++;
    if (pf_log_worth(n))
        pf_log(PF_LOG_WARNING, "%s sent a frame that cannot be read (%llu so far)",
               self->members[member].name, (unsigned long long)n);
}

const struct pf_coordinator_counters *pf_coordinator_session_counters(
    const struct pf_coordinator_session *self)
{
    return &self->counters;
}
