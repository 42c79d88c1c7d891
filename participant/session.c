#include "participant/session.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "common/base/log.h"
#include "common/base/memory.h"
#include "participant/session_parts.h"

/* How often in a row ALIVE may stay without any answer before the silence is questioned. */
#define SILENT_INTERVALS 3

/* [from][to]; zero: forbidden. */
static const bool transitions[PF_PARTICIPANT_N_PHASES][PF_PARTICIPANT_N_PHASES] = {
    [PF_PARTICIPANT_CONNECTING] = {[PF_PARTICIPANT_IDLE] = true,
                                   [PF_PARTICIPANT_DONE] = true,
                                   [PF_PARTICIPANT_FAILED] = true},
    [PF_PARTICIPANT_IDLE] = {[PF_PARTICIPANT_CONNECTING] =
                                 true, /* the run is not served any more */
                             [PF_PARTICIPANT_FETCHING] = true,
                             [PF_PARTICIPANT_TRAINING] = true, /* the model is still at hand */
                             [PF_PARTICIPANT_DONE] = true,
                             [PF_PARTICIPANT_FAILED] = true},
    [PF_PARTICIPANT_FETCHING] = {[PF_PARTICIPANT_TRAINING] = true, [PF_PARTICIPANT_IDLE] = true},
    [PF_PARTICIPANT_TRAINING] = {[PF_PARTICIPANT_UPLOADING] = true,
                                 [PF_PARTICIPANT_MASKING] = true,
                                 [PF_PARTICIPANT_IDLE] = true},
    [PF_PARTICIPANT_MASKING] = {[PF_PARTICIPANT_UPLOADING] = true, [PF_PARTICIPANT_IDLE] = true},
    [PF_PARTICIPANT_UPLOADING] = {[PF_PARTICIPANT_UNMASKING] = true, [PF_PARTICIPANT_IDLE] = true},
    [PF_PARTICIPANT_UNMASKING] = {[PF_PARTICIPANT_IDLE] = true},
};

const char *pf_participant_phase_name(enum pf_participant_phase phase)
{
    static const char *const names[PF_PARTICIPANT_N_PHASES] = {
        [PF_PARTICIPANT_CONNECTING] = "connecting", [PF_PARTICIPANT_IDLE] = "idle",
        [PF_PARTICIPANT_FETCHING] = "fetching",     [PF_PARTICIPANT_TRAINING] = "training",
        [PF_PARTICIPANT_MASKING] = "masking",       [PF_PARTICIPANT_UPLOADING] = "uploading",
        [PF_PARTICIPANT_UNMASKING] = "unmasking",   [PF_PARTICIPANT_DONE] = "done",
        [PF_PARTICIPANT_FAILED] = "failed",
    };
    return (size_t)phase < PF_PARTICIPANT_N_PHASES ? names[phase] : "unknown";
}

const char *pf_outcome_name(enum pf_outcome outcome)
{
    static const char *const names[PF_OUTCOME_N] = {
        [PF_OUTCOME_NONE] = "none",           [PF_OUTCOME_JOINED] = "joined",
        [PF_OUTCOME_DELIVERED] = "delivered", [PF_OUTCOME_DECLINED] = "declined",
        [PF_OUTCOME_DROPPED] = "dropped",
    };
    return (size_t)outcome < PF_OUTCOME_N ? names[outcome] : "unknown";
}

bool pf_participant_phase_allowed(enum pf_participant_phase from, enum pf_participant_phase to)
{
    return (size_t)from < PF_PARTICIPANT_N_PHASES && (size_t)to < PF_PARTICIPANT_N_PHASES &&
           transitions[from][to];
}

void pf_ps_set_phase(struct pf_participant_session *self, enum pf_participant_phase phase)
{
    assert(pf_participant_phase_allowed(self->phase, phase));
    pf_log(PF_LOG_DEBUG, "participant: %s → %s (round %u)", pf_participant_phase_name(self->phase),
           pf_participant_phase_name(phase), self->last.round);
    self->phase = phase;
}

bool pf_ps_ended(const struct pf_participant_session *self)
{
    return self->phase == PF_PARTICIPANT_DONE || self->phase == PF_PARTICIPANT_FAILED;
}

struct pf_participant_action *pf_ps_push(struct pf_participant_session *self,
                                         enum pf_participant_action_kind kind)
{
    /* Only a driver that does not drain can fill the queue. */
    assert(self->n_actions < PF_PARTICIPANT_MAX_ACTIONS);
    size_t slot = (self->first_action + self->n_actions++) % PF_PARTICIPANT_MAX_ACTIONS;
    memset(&self->actions[slot], 0, sizeof(self->actions[slot]));
    self->actions[slot].kind = kind;
    return &self->actions[slot];
}

struct pf_message *pf_ps_send(struct pf_participant_session *self, enum pf_message_kind kind)
{
    struct pf_message *message = &pf_ps_push(self, PF_PARTICIPANT_SEND)->message;
    message->kind = kind;
    if (self->joined) message->run_id = self->welcome.run_id;
    return message;
}

struct pf_message *pf_ps_decline(struct pf_participant_session *self, uint32_t round,
                                 enum pf_reason reason, const char *text)
{
    struct pf_message *message = pf_ps_send(self, PF_MESSAGE_DECLINE);
    message->refusal.reason = (uint32_t)reason;
    message->refusal.round = round;
    snprintf(message->refusal.text, sizeof message->refusal.text, "%s", text);
    return message;
}

bool pf_ps_refuse(struct pf_participant_session *self, enum pf_reason reason, const char *text)
{
    uint64_t n = ++self->counters.refused[reason];
    if (pf_log_worth(n))
        pf_log(PF_LOG_WARNING, "refused, %s (%llu so far): %s", pf_reason_name(reason),
               (unsigned long long)n, text);
    return false;
}

void pf_ps_plain_text(char *out, size_t size, const char *text)
{
    size_t length = strnlen(text, size - 1);
    for (size_t i = 0; i < length; i++)
        out[i] = (unsigned char)text[i] < 0x20 || text[i] == 0x7f ? ' ' : text[i];
    out[length] = '\0';
}

void pf_ps_end(struct pf_participant_session *self, enum pf_participant_phase phase,
               const char *format, ...)
{
    char sentence[PF_PARTICIPANT_MAX_SENTENCE];
    va_list args;
    va_start(args, format);
    vsnprintf(sentence, sizeof sentence, format, args);
    va_end(args);
    if (pf_ps_working(self)) pf_ps_leave_round(self, PF_OUTCOME_DROPPED);
    memcpy(self->sentence, sentence, sizeof sentence);
    pf_ps_set_phase(self, phase);
}

void pf_participant_session_config_default(struct pf_participant_session_config *config)
{
    *config = (struct pf_participant_session_config){
        .fetch = {.window = 4, .timeout_first_ms = 4000, .timeout_last_ms = 60000},
        .hello_first_ms = 500,
        .hello_last_ms = 10000,
        .upload_first_ms = 5000,
        .upload_last_ms = 60000,
        .upload_bytes_per_s = 256 * 1024,
        .deadline_grace_ms = 30000,
        .unmask_grace_ms = 300000,
        .give_up_ms = 600000,
    };
    pf_participant_policy_default(&config->policy);
}

static enum pf_status validate(const struct pf_participant_session_config *config,
                               struct pf_error *err)
{
    if (config->fetch.window == 0 || config->fetch.window > PF_PARTICIPANT_MAX_WINDOW)
        return pf_fail(err, PF_INVALID, "session: a window of %u chunks; give 1 to %u",
                       config->fetch.window, PF_PARTICIPANT_MAX_WINDOW);
    if (config->fetch.timeout_first_ms < 1 || config->hello_first_ms < 1 ||
        config->upload_first_ms < 1 || config->upload_bytes_per_s < 1 ||
        config->deadline_grace_ms < 0 || config->unmask_grace_ms < 0 || config->give_up_ms < 1)
        return pf_fail(err, PF_INVALID, "session: times must be at least a millisecond");
    return PF_OK;
}

enum pf_status pf_participant_session_create(const struct pf_participant_session_config *config,
                                             int64_t now_ms,
                                             struct pf_participant_session **session,
                                             struct pf_error *err)
{
    PF_TRY(validate(config, err));
    struct pf_participant_session *self = PF_ALLOC(1, struct pf_participant_session);
    if (self == NULL) return pf_no_memory(err, "a session");
    self->config = *config;
    self->heard_ms = now_ms;
    self->greeting = true;
    self->hello_ms = now_ms;
    self->hello_delay_ms = config->hello_first_ms;
    *session = self;
    return PF_OK;
}

void pf_participant_session_destroy(struct pf_participant_session *self)
{
    if (self == NULL) return;
    pf_ps_finish_fetches(self);
    pf_model_destroy(self->teacher);
    pf_model_destroy(self->model);
    pf_secagg_client_destroy(self->secagg);
    pf_update_finish(&self->trained);
    pf_message_finish(&self->shares_answer);
    pf_message_finish(&self->unmask_answer);
    pf_buffer_finish(&self->update);
    pf_free(self);
}

void pf_ps_greet(struct pf_participant_session *self, int64_t now_ms)
{
    self->greeting = true;
    self->hello_ms = now_ms;
    self->hello_delay_ms = self->config.hello_first_ms;
}

static void send_hello(struct pf_participant_session *self, int64_t now_ms)
{
    struct pf_message *message = pf_ps_send(self, PF_MESSAGE_HELLO);
    message->hello.version = PF_PROTOCOL_VERSION;
    message->hello.returning = self->joined;
    if (self->joined) message->hello.run_id = self->welcome.run_id;
    self->hello_ms = now_ms + self->hello_delay_ms;
    self->hello_delay_ms = PF_MIN(2 * self->hello_delay_ms, self->config.hello_last_ms);
}

void pf_participant_session_malformed(struct pf_participant_session *self)
{
    self->counters.malformed++;
}

void pf_participant_session_connected(struct pf_participant_session *self, int64_t now_ms)
{
    if (!pf_ps_ended(self)) pf_ps_greet(self, now_ms);
}

void pf_participant_session_recall(struct pf_participant_session *self,
                                   const struct pf_participation *record)
{
    if (!self->joined || record->round <= self->last.round) return;
    self->last = *record;
    self->last.run_id = self->welcome.run_id;
    /* A round that was interrupted may be taken up again, with the same model. */
    if (record->outcome == PF_OUTCOME_JOINED) self->last.outcome = PF_OUTCOME_DROPPED;
    if (record->outcome == PF_OUTCOME_DECLINED) {
        self->declined_because = PF_REASON_POLICY;
        snprintf(self->declined_text, sizeof self->declined_text, "declined before a restart");
    }
}

static int64_t silence_ms(const struct pf_participant_session *self)
{
    return self->heard_ms + SILENT_INTERVALS * (int64_t)self->welcome.alive_interval_ms;
}

void pf_ps_forget_model(struct pf_participant_session *self)
{
    if (!self->config.forget_model || self->phase == PF_PARTICIPANT_FETCHING || self->n_actions > 0)
        return;
    pf_model_destroy(self->model);
    self->model = NULL;
}

void pf_participant_session_tick(struct pf_participant_session *self, int64_t now_ms)
{
    if (pf_ps_ended(self)) return;
    pf_ps_forget_model(self);
    if (now_ms - self->heard_ms >= self->config.give_up_ms) {
        char said[PF_PARTICIPANT_MAX_SENTENCE];
        memcpy(said, self->sentence, sizeof said);
        pf_ps_end(self, PF_PARTICIPANT_FAILED,
                  "no word from the coordinator for %g s: is it running and reachable? "
                  "(--connect, --give-up)%s%.200s",
                  (double)self->config.give_up_ms / 1000.0, said[0] != '\0' ? "; before: " : "",
                  said);
        return;
    }
    if (self->joined && !self->greeting && now_ms >= silence_ms(self)) pf_ps_greet(self, now_ms);
    if (self->greeting && now_ms >= self->hello_ms) send_hello(self, now_ms);
    if (self->joined && now_ms >= self->alive_ms) {
        struct pf_message *message = pf_ps_send(self, PF_MESSAGE_ALIVE);
        message->alive.round = pf_ps_working(self) ? self->last.round : 0;
        message->alive.training = self->phase == PF_PARTICIPANT_TRAINING;
        self->alive_ms = now_ms + (int64_t)self->welcome.alive_interval_ms;
    }
    pf_ps_round_tick(self, now_ms);
}

int64_t pf_participant_session_wake_ms(const struct pf_participant_session *self)
{
    if (pf_ps_ended(self)) return INT64_MAX;
    int64_t wake = self->heard_ms + self->config.give_up_ms;
    if (self->greeting) wake = PF_MIN(wake, self->hello_ms);
    if (self->joined) wake = PF_MIN(wake, self->alive_ms);
    if (self->joined && !self->greeting) wake = PF_MIN(wake, silence_ms(self));
    return PF_MIN(wake, pf_ps_round_wake_ms(self));
}

void pf_participant_session_stop(struct pf_participant_session *self, const char *sentence)
{
    if (pf_ps_ended(self)) return;
    if (pf_ps_working(self))
        pf_ps_decline(self, self->last.round, PF_REASON_POLICY, "the participant was stopped");
    pf_ps_end(self, PF_PARTICIPANT_FAILED, "%s", sentence);
}

bool pf_participant_session_next_action(struct pf_participant_session *self,
                                        struct pf_participant_action *action)
{
    if (self->n_actions == 0) return pf_ps_next_upload(self, action);
    *action = self->actions[self->first_action];
    self->first_action = (self->first_action + 1) % PF_PARTICIPANT_MAX_ACTIONS;
    self->n_actions--;
    return true;
}

void pf_participant_session_view(const struct pf_participant_session *self,
                                 struct pf_participant_view *view)
{
    const struct pf_fetch *fetch = pf_ps_fetching(self);
    *view = (struct pf_participant_view){
        .phase = self->phase,
        .run_id = self->welcome.run_id,
        .round = self->last.round,
        .n_rounds = self->welcome.n_rounds,
        .last = self->last,
        .chunks_held = fetch != NULL ? fetch->n_held : 0,
        .n_chunks = fetch != NULL ? fetch->n_chunks : 0,
        .delivered = self->delivered,
        .heard_ms = self->heard_ms,
        .sentence = self->sentence,
    };
}

const struct pf_participant_counters *pf_participant_session_counters(
    const struct pf_participant_session *self)
{
    return &self->counters;
}
