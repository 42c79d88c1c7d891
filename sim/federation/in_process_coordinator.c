/* The coordinator's side: its session, stand-ins for its jobs, and what it asks for. */
#include <stdio.h>
#include <string.h>

#include "common/base/clock.h"
#include "coordinator/jobs.h"
#include "proto/model_file.h"
#include "sim/federation/in_process_parts.h"

/* Frames that are on their way at a time.  A line that is full holds the coordinator's messages
 * back, as sockets do, so that memory does not grow with the number of participants. */
#define LINE_BYTES ((size_t)64 << 20)
#define BLOCK 64u /* members sent to before the line is looked at again */
#define LEAVES_AFTER_MS 2000
#define TEACHER_SEED UINT64_MAX /* none that a round's model has */

const struct pf_run_id pf_ip_run_id = {{42}};

bool pf_ip_line_full(const struct pf_in_process *self)
{
    return self->events.frame_bytes >= LINE_BYTES;
}

/* ---- jobs ------------------------------------------------------------------------------------ */

/* A made-up model of the run's network, and its file in the place of what `file` holds. */
static enum pf_status make_model(struct pf_in_process *self, uint64_t seed, struct pf_ip_file *file,
                                 struct pf_model **model, struct pf_error *err)
{
    PF_CLEANUP(pf_model_destroyp) struct pf_model *made = NULL;
    pf_ip_file_finish(file);
    PF_TRY(pf_model_create(&self->config->network, NULL, &made, err));
    pf_model_initialise(made, seed);
    PF_TRY(pf_model_encode(made, &file->bytes, err));
    PF_TRY(pf_chunked_model_describe(&file->bytes, &file->named, err));
    *model = made;
    made = NULL;
    return PF_OK;
}

/* What a job would have made. */
static enum pf_status next_model(struct pf_in_process *self, struct pf_served_model *served,
                                 struct pf_error *err)
{
    PF_CLEANUP(pf_model_destroyp) struct pf_model *model = NULL;
    PF_TRY(make_model(self, self->n_models++, &self->model, &model, err));
    self->n_parameters = model->n_parameters;
    self->n_trained = model->n_trained;
    return pf_served_model_describe(&self->model.bytes, model->n_trained, model->n_parameters,
                                    served, err);
}

static void start_job(struct pf_in_process *self, uint32_t round)
{
    pf_ip_push(self,
               (struct pf_event){.at = self->now + pf_ip_between(self, self->config->job_min_ms,
                                                                 self->config->job_max_ms),
                                 .kind = PF_EVENT_JOB_ENDED,
                                 .round = round});
}

static enum pf_status end_job(struct pf_in_process *self, uint32_t round, struct pf_error *err)
{
    struct pf_coordinator_session *session = self->coordinator;
    if (round > 0 && pf_ip_chance(self, self->config->faults.job_fails))
        return pf_coordinator_session_job_failed(session, self->now, PF_REFUSED, "made-up failure",
                                                 err);
    if (round > 0 && self->job_error.status != PF_OK)
        return pf_coordinator_session_job_failed(session, self->now, self->job_error.status,
                                                 self->job_error.text, err);
    struct pf_served_model served = {0};
    enum pf_status status = next_model(self, &served, err);
    if (round > 0 && self->figures_known)
        pf_coordinator_session_note_figures(session, self->figures);
    if (status == PF_OK)
        status = pf_coordinator_session_job_done(session, self->now, &served, 50.0, 1.0, err);
    pf_served_model_finish(&served);
    return status;
}

static void apply(struct pf_in_process *self, struct pf_coordinator_action *action)
{
    uint32_t round = action->number;
    self->job_error = (struct pf_error){0};
    self->figures_known = false;
    if (pf_ip_round_set(self, round) == NULL) return;
    PF_IP_CHECK(self, !self->applied[round], "round %u is applied twice", round);
    self->applied[round] = true;
    if (action->unmasking != NULL)
        pf_ip_apply_secure(self, action);
    else
        pf_ip_apply_plain(self, action);
    start_job(self, round);
}

/* ---- actions --------------------------------------------------------------------------------- */

static void note_round(struct pf_in_process *self, const struct pf_round_record *record)
{
    struct pf_in_process_result *result = self->result;
    const struct pf_member_set *set = pf_ip_round_set(self, record->round);
    if (set == NULL) return;
    if (!record->completed) {
        result->rounds_abandoned++;
        return;
    }
    result->rounds_completed++;
    result->updates_counted += record->included;
    self->completed[record->round] = true;
    if (self->config->faults.damaged > 0) return;
    PF_IP_CHECK(self, self->applied[record->round], "round %u is completed without a sum",
                record->round);
    PF_IP_CHECK(self, record->included == pf_member_set_count(set),
                "round %u is said to include %u updates, the sum has %u", record->round,
                record->included, pf_member_set_count(set));
    for (size_t i = 0; i < self->n_players; i++)
        PF_IP_CHECK(
            self,
            self->players[i].receipt_round != record->round || pf_ip_in_sum(self, record->round, i),
            "player %zu has a receipt for round %u, whose sum is without it", i, record->round);
}

static void note_end(struct pf_in_process *self, const struct pf_coordinator_action *action)
{
    self->ended = true;
    self->ended_at = self->now;
    self->result->success = action->success;
    snprintf(self->result->sentence, sizeof self->result->sentence, "%s", action->text);
    PF_IP_CHECK(self, action->text[0] != '\0', "the run ends without a sentence");
}

static void note_sent(struct pf_in_process *self, const struct pf_coordinator_action *action)
{
    const struct pf_message *message = &action->message;
    if (message->kind == PF_MESSAGE_KEY_LIST)
        self->result->parameters = message->key_list.parameters;
    if (message->kind != PF_MESSAGE_UPDATE_RECEIPT) return;
    struct pf_member_set *set = pf_ip_round_set(self, message->receipt.round);
    if (set == NULL) return;
    for (size_t i = 0; i < action->n_members; i++) {
        uint32_t member = (uint32_t)action->members[i];
        PF_IP_CHECK(self, !self->applied[message->receipt.round] || pf_member_set_has(set, member),
                    "player %u gets its first receipt for round %u when its sum is made", member,
                    message->receipt.round);
        pf_member_set_add(set, member);
    }
}

/* True when nothing is left to do of the action in hand. */
static bool do_action(struct pf_in_process *self)
{
    struct pf_coordinator_action *action = &self->action;
    size_t begin = self->action_sent;
    switch (action->kind) {
    case PF_ACTION_SEND:
        if (begin == 0) note_sent(self, action);
        self->action_sent = PF_MIN(begin + BLOCK, action->n_members);
        pf_ip_send_down(self, action, begin, self->action_sent);
        return self->action_sent == action->n_members;
    case PF_ACTION_SEND_CHUNK: pf_ip_send_chunk(self, action); break;
    case PF_ACTION_COMBINE: start_job(self, 0); break;
    case PF_ACTION_APPLY: apply(self, action); break;
    case PF_ACTION_STORE_ROUND: note_round(self, &action->record); break;
    case PF_ACTION_EVENT: pf_log(action->level, "%s", action->text); break;
    case PF_ACTION_FINISH: note_end(self, action); break;
    }
    return true;
}

static enum pf_in_process_step step_of_action(const struct pf_coordinator_action *action)
{
    switch (action->kind) {
    case PF_ACTION_SEND: return pf_ip_step_of(action->message.kind);
    case PF_ACTION_SEND_CHUNK: return PF_IN_PROCESS_MODEL;
    default: return PF_IN_PROCESS_JOIN;
    }
}

void pf_ip_drain_coordinator(struct pf_in_process *self)
{
    while (pf_ip_well(self) && !pf_ip_line_full(self)) {
        if (!self->action_in_hand) {
            if (!pf_coordinator_session_next_action(self->coordinator, &self->action)) return;
            self->action_in_hand = true;
            self->action_sent = 0;
        }
        double began = pf_clock_seconds();
        double checked = self->result->unmask_seconds + self->result->verify_seconds;
        enum pf_in_process_step step = step_of_action(&self->action);
        bool done = do_action(self);
        checked = self->result->unmask_seconds + self->result->verify_seconds - checked;
        self->result->steps[step].coordinator_seconds += pf_clock_seconds() - began - checked;
        if (!done) continue;
        pf_coordinator_action_finish(&self->action);
        self->action_in_hand = false;
    }
}

/* ---- events ---------------------------------------------------------------------------------- */

static bool has_left(const struct pf_in_process *self)
{
    return self->ended && self->config->faults.coordinator_leaves &&
           self->now > self->ended_at + LEAVES_AFTER_MS;
}

void pf_ip_coordinator_event(struct pf_in_process *self, const struct pf_event *event,
                             const struct pf_message *message)
{
    struct pf_error err = {0};
    enum pf_status status = PF_OK;
    if (event->kind == PF_EVENT_JOB_ENDED)
        status = end_job(self, event->round, &err);
    else if (has_left(self))
        return;
    else if (message == NULL)
        pf_coordinator_session_malformed(self->coordinator, event->player);
    else
        status = pf_coordinator_session_receive(self->coordinator, event->player, message,
                                                self->now, &err);
    if (status != PF_OK) (void)pf_fail(pf_ip_error(self), status, "the coordinator: %s", err.text);
    self->coordinator_wake = pf_coordinator_session_wake_ms(self->coordinator);
}

void pf_ip_tick_coordinator(struct pf_in_process *self)
{
    struct pf_error err = {0};
    /* It may tell participants in several goes, but not for ever at one moment. */
    for (size_t i = 0; self->coordinator_wake <= self->now && pf_ip_well(self); i++) {
        if (pf_ip_line_full(self)) return; /* later */
        double began = pf_clock_seconds();
        enum pf_status status = pf_coordinator_session_tick(self->coordinator, self->now, &err);
        if (status != PF_OK)
            (void)pf_fail(pf_ip_error(self), status, "the coordinator: %s", err.text);
        self->coordinator_wake = pf_coordinator_session_wake_ms(self->coordinator);
        self->result->steps[PF_IN_PROCESS_JOIN].coordinator_seconds += pf_clock_seconds() - began;
        pf_ip_drain_coordinator(self);
        PF_IP_CHECK(self, i <= self->n_players, "the coordinator wants to be woken without end");
    }
}

enum pf_status pf_ip_create_coordinator(struct pf_in_process *self, struct pf_error *err)
{
    struct pf_coordinator_session_config config = self->config->coordinator;
    config.run_id = pf_ip_run_id;
    config.n_members = self->roster->n_members;
    config.members = self->roster->members;
    config.network = self->config->network;
    memcpy(config.roster_hash, self->roster->hash, sizeof config.roster_hash);
    if (config.order.distill_weight > 0.0) {
        PF_TRY(make_model(self, TEACHER_SEED, &self->teacher, &self->teacher_model, err));
        config.teacher = &self->teacher.named;
        self->result->teacher_chunks = self->teacher.named.n_chunks;
    }
    PF_TRY(pf_coordinator_session_create(&config, self->now, &self->coordinator, err));
    self->coordinator_wake = pf_coordinator_session_wake_ms(self->coordinator);
    return PF_OK;
}

void pf_ip_destroy_coordinator(struct pf_in_process *self)
{
    if (self->action_in_hand) pf_coordinator_action_finish(&self->action);
    pf_coordinator_session_destroy(self->coordinator);
    pf_ip_file_finish(&self->model);
    pf_ip_file_finish(&self->teacher);
    pf_model_destroy(self->teacher_model);
}
