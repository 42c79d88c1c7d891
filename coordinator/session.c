/* Setup, the table of transitions and the list of actions.  The course of a run is in
 * session_run.c, a round in session_round.c, the messages of members in session_update.c, words for
 * people in session_text.c. */
#include "coordinator/session.h"

#include <assert.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "common/base/memory.h"
#include "coordinator/session_state.h"
#include "proto/message_check.h"

/* Why each transition may happen; what is not here may not. */
static const char *const transitions[PF_COORDINATOR_N_PHASES][PF_COORDINATOR_N_PHASES] = {
    [PF_COORDINATOR_WAITING] =
        {
            [PF_COORDINATOR_COMBINING] = "enough members; a stage begins",
            [PF_COORDINATOR_COLLECTING] = "enough members; a round begins",
            [PF_COORDINATOR_DONE] = "no stage is left",
            [PF_COORDINATOR_FAILED] = "too few members in time, or asked to stop",
        },
    [PF_COORDINATOR_COMBINING] =
        {
            [PF_COORDINATOR_WAITING] = "the combined model is there",
            [PF_COORDINATOR_FAILED] = "combining failed, or asked to stop",
        },
    [PF_COORDINATOR_COLLECTING] =
        {
            [PF_COORDINATOR_APPLYING] = "enough updates",
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
        [PF_COORDINATOR_WAITING] = "waiting",
        [PF_COORDINATOR_COMBINING] = "combining",
        [PF_COORDINATOR_COLLECTING] = "collecting",
        [PF_COORDINATOR_APPLYING] = "applying",
        [PF_COORDINATOR_DONE] = "done",
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
}

bool pf_cs_ended(const struct pf_coordinator_session *self)
{
    return self->phase == PF_COORDINATOR_DONE || self->phase == PF_COORDINATOR_FAILED;
}

static enum pf_status check_times(const struct pf_coordinator_session_config *config,
                                  struct pf_error *err)
{
    const struct {
        const char *what;
        uint32_t ms, least;
    } times[] = {
        {"join timeout", config->join_timeout_ms, 1},
        {"round timeout", config->round_timeout_ms, 1},
        {"liveness limit", config->liveness_ms, 400}, /* four ALIVE intervals of 100 ms */
        {"gathering time", config->gather_ms, 0},
    };
    for (size_t i = 0; i < PF_ARRAY_LENGTH(times); i++)
        if (times[i].ms < times[i].least || times[i].ms > PF_MAX_WAIT_MS)
            return pf_fail(err, PF_INVALID, "%s of %u ms is outside %u … %u", times[i].what,
                           times[i].ms, times[i].least, PF_MAX_WAIT_MS);
    return PF_OK;
}

/* An order that no offer may carry would fail at the first round. */
static enum pf_status check_order(const struct pf_coordinator_session_config *config,
                                  struct pf_error *err)
{
    struct pf_hash hash = {0};
    struct pf_message probe = {
        .kind = PF_MESSAGE_ROUND_OFFER,
        .run_id = config->run_id,
        .offer = {.round = 1,
                  .n_rounds = 1,
                  .stage = 1,
                  .n_stages = 1,
                  .cohort = 1,
                  .deadline_ms = 1,
                  .model_bytes = 1,
                  .n_chunks = 1,
                  .chunk_hashes = &hash,
                  .order = config->order},
    };
    return pf_message_check(&probe, PF_INVALID, err);
}

static enum pf_status check_config(const struct pf_coordinator_session_config *config,
                                   struct pf_error *err)
{
    if (config->n_members == 0 || config->n_members > PF_MAX_COHORT)
        return pf_fail(err, PF_INVALID, "%zu members is outside 1…%u", config->n_members,
                       PF_MAX_COHORT);
    if (config->min_cohort == 0 || config->min_cohort > config->n_members)
        return pf_fail(err, PF_INVALID,
                       "a cohort of at least %u is not possible with %zu members on the roster",
                       config->min_cohort, config->n_members);
    if (config->quorum == 0 || config->quorum > config->min_cohort)
        return pf_fail(err, PF_INVALID, "a quorum of %u is outside 1…%u, the smallest cohort",
                       config->quorum, config->min_cohort);
    if (config->max_failed_rounds > PF_MAX_ABANDONED_ROUNDS)
        return pf_fail(err, PF_INVALID, "%u failed rounds in a row is above the limit of %u",
                       config->max_failed_rounds, PF_MAX_ABANDONED_ROUNDS);
    uint32_t rounds = pf_schedule_rounds(&config->schedule);
    if (config->schedule.n_stages == 0 || config->schedule.n_stages > PF_MAX_STAGES ||
        rounds == 0 || rounds > PF_MAX_ROUNDS)
        return pf_fail(err, PF_INVALID, "a schedule of %zu stages and %u rounds cannot be run",
                       config->schedule.n_stages, rounds);
    PF_TRY(check_times(config, err));
    return check_order(config, err);
}

enum pf_status pf_coordinator_session_create(const struct pf_coordinator_session_config *config,
                                             int64_t now_ms,
                                             struct pf_coordinator_session **session,
                                             struct pf_error *err)
{
    PF_TRY(check_config(config, err));
    PF_CLEANUP(pf_coordinator_session_destroyp)
    struct pf_coordinator_session *self = PF_ALLOC(1, struct pf_coordinator_session);
    if (self == NULL) return pf_no_memory(err, "the session");
    self->config = *config;
    self->config.members = NULL;
    self->members = PF_ALLOC(config->n_members, struct pf_member);
    if (self->members == NULL) return pf_no_memory(err, "the members of the session");
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

void pf_cs_forget_update(struct pf_member *member)
{
    pf_free(member->received);
    pf_free(member->update);
    member->received = NULL;
    member->update = NULL;
    member->n_received = 0;
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
    pf_sum_destroy(self->sum);
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
        if (wanted(&self->members[i])) members[n++] = i;
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
