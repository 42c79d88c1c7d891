/* The network shell's loop: drives the session with what the wire, the worker and the clock bring,
 * and does what it asks for.  What is to be stored is on disk before anything is sent. */
#include "coordinator/serve.h"

#include <stdio.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/memory.h"
#include "coordinator/run_folder.h"

#define MAX_WAIT_MS 100 /* how soon a stop flag is seen */
#define BURST 64        /* frames handled before time and jobs are looked at again */
#define PROGRESS_INTERVAL_MS 250

/* ---- sending ------------------------------------------------------------------------------ */

static enum pf_status send_frame(struct pf_coordinator_shell *self, size_t member,
                                 const struct pf_buffer *frame, struct pf_error *err)
{
    struct pf_error reason;
    enum pf_status status =
        pf_wire_server_send(self->server, member, frame->bytes, frame->length, &reason);
    if (status == PF_NOT_FOUND || status == PF_IO) {
        /* It is gone or does not read: its own loss.  Liveness deals with it. */
        pf_log(PF_LOG_DEBUG, "%s: %s", self->config->roster->members[member].name, reason.text);
        return PF_OK;
    }
    if (status != PF_OK) return pf_fail(err, status, "%s", reason.text);
    self->traffic[member].download_bytes += frame->length;
    self->total.download_bytes += frame->length;
    return PF_OK;
}

static enum pf_status send_message(struct pf_coordinator_shell *self,
                                   const struct pf_coordinator_action *action, struct pf_error *err)
{
    pf_buffer_reset(&self->sent);
    PF_TRY(pf_message_encode(&action->message, &self->sent, err));
    for (size_t i = 0; i < action->n_members; i++) {
        if (action->message.kind == PF_MESSAGE_WELCOME)
            self->traffic[action->members[i]].joined = true;
        PF_TRY(send_frame(self, action->members[i], &self->sent, err));
    }
    return PF_OK;
}

/* The frame of a chunk is made once and sent to whoever asks. */
static enum pf_status make_chunk_frame(struct pf_coordinator_shell *self,
                                       struct pf_served_file *file, uint32_t chunk,
                                       struct pf_error *err)
{
    size_t begin = (size_t)chunk * PF_CHUNK_BYTES;
    const struct pf_message message = {
        .kind = PF_MESSAGE_MODEL_CHUNK,
        .run_id = self->run_id,
        .chunk = {.model_hash = file->hash,
                  .chunk = chunk,
                  .n_chunks = file->n_chunks,
                  .bytes = file->bytes.bytes + begin,
                  .length = PF_MIN(file->bytes.length - begin, (size_t)PF_CHUNK_BYTES)},
    };
    return pf_message_encode(&message, &file->frames[chunk], err);
}

static enum pf_status send_chunk(struct pf_coordinator_shell *self,
                                 const struct pf_coordinator_action *action, struct pf_error *err)
{
    struct pf_served_file *file = action->teacher ? &self->teacher : &self->model;
    struct pf_buffer *frame = &file->frames[action->chunk];
    if (frame->length == 0) PF_TRY(make_chunk_frame(self, file, action->chunk, err));
    return send_frame(self, action->members[0], frame, err);
}

/* ---- actions ------------------------------------------------------------------------------ */

static enum pf_status store_action(struct pf_coordinator_shell *self,
                                   const struct pf_coordinator_action *action, struct pf_error *err)
{
    if (action->kind == PF_ACTION_EVENT) {
        pf_log(action->level, "%s", action->text);
        return pf_store_event(self->store, pf_clock_wall_ms(), action->number, action->level,
                              action->text, err);
    }
    if (action->kind != PF_ACTION_STORE_ROUND) return PF_OK;
    uint64_t up = self->total.upload_bytes - self->total_last_round.upload_bytes;
    uint64_t down = self->total.download_bytes - self->total_last_round.download_bytes;
    self->total_last_round = self->total;
    return pf_run_store_round(self->store, &action->record, up, down, err);
}

static enum pf_status start_apply(struct pf_coordinator_shell *self,
                                  struct pf_coordinator_action *action, struct pf_error *err)
{
    if (action->unmasking == NULL)
        return pf_jobs_apply(self->jobs, action->number, &action->sum, err);
    return pf_jobs_apply_secure(self->jobs, action->number, &action->unmasking, &action->codec,
                                err);
}

static enum pf_status do_action(struct pf_coordinator_shell *self,
                                struct pf_coordinator_action *action, struct pf_error *err)
{
    switch (action->kind) {
    case PF_ACTION_SEND: return send_message(self, action, err);
    case PF_ACTION_SEND_CHUNK: return send_chunk(self, action, err);
    case PF_ACTION_COMBINE: return pf_jobs_combine(self->jobs, action->number, err);
    case PF_ACTION_APPLY: return start_apply(self, action, err);
    case PF_ACTION_STORE_ROUND:
    case PF_ACTION_EVENT: return PF_OK;
    case PF_ACTION_FINISH:
        self->finished = true;
        self->result->success = action->success;
        if (!action->success && self->outcome == PF_OK) self->outcome = PF_TIMEOUT;
        snprintf(self->result->sentence, sizeof self->result->sentence, "%s", action->text);
        return PF_OK;
    }
    return PF_OK;
}

static bool is_stored(const struct pf_coordinator_action *action)
{
    return action->kind == PF_ACTION_EVENT || action->kind == PF_ACTION_STORE_ROUND;
}

/* In one transaction, opened when there is anything for it or when `model` is to be stored. */
static enum pf_status store_actions(struct pf_coordinator_shell *self,
                                    const struct pf_coordinator_action *actions, size_t n,
                                    const struct pf_job_result *model, struct pf_error *err)
{
    bool any = model != NULL;
    for (size_t i = 0; i < n; i++) any = any || is_stored(&actions[i]);
    if (!any) return PF_OK;
    PF_TRY(pf_store_begin(self->store, err));
    if (model != NULL && model->kind == PF_JOB_COMBINE)
        PF_TRY(pf_run_store_stage(self->store, model,
                                  self->config->schedule.stages[model->number].rounds, err));
    if (model != NULL)
        PF_TRY(pf_run_store_model(self->store, model->kind == PF_JOB_APPLY ? model->number : 0,
                                  model, err));
    for (size_t i = 0; i < n; i++) PF_TRY(store_action(self, &actions[i], err));
    return pf_store_commit(self->store, err);
}

struct action_list {
    struct pf_coordinator_action *actions;
    size_t n, capacity;
};

static void action_list_finish(struct action_list *self)
{
    for (size_t i = 0; i < self->n; i++) pf_coordinator_action_finish(&self->actions[i]);
    pf_free(self->actions);
}

static enum pf_status take_actions(struct pf_coordinator_shell *self, struct action_list *list,
                                   struct pf_error *err)
{
    struct pf_coordinator_action action;
    while (pf_coordinator_session_next_action(self->session, &action)) {
        if (list->n == list->capacity) {
            size_t capacity = list->capacity > 0 ? 2 * list->capacity : 32;
            void *grown = pf_realloc(list->actions, capacity, sizeof *list->actions);
            if (grown == NULL) {
                pf_coordinator_action_finish(&action);
                return pf_no_memory(err, "actions");
            }
            list->actions = grown;
            list->capacity = capacity;
        }
        list->actions[list->n++] = action;
    }
    return PF_OK;
}

/* Does what the session asks for; `model` is a result to keep with it, or NULL. */
static enum pf_status perform(struct pf_coordinator_shell *self, const struct pf_job_result *model,
                              struct pf_error *err)
{
    PF_CLEANUP(action_list_finish) struct action_list list = {0};
    PF_TRY(take_actions(self, &list, err));
    PF_TRY(store_actions(self, list.actions, list.n, model, err));
    for (size_t i = 0; i < list.n; i++) PF_TRY(do_action(self, &list.actions[i], err));
    return PF_OK;
}

/* ---- results of jobs ---------------------------------------------------------------------- */

static void forget_frames(struct pf_served_file *self)
{
    for (uint32_t i = 0; self->frames != NULL && i < self->n_chunks; i++)
        pf_buffer_finish(&self->frames[i]);
    pf_free(self->frames);
    self->frames = NULL;
}

void pf_served_file_finish(struct pf_served_file *self)
{
    forget_frames(self);
    pf_buffer_finish(&self->bytes);
}

enum pf_status pf_served_file_set(struct pf_served_file *self, const struct pf_buffer *bytes,
                                  struct pf_hash hash, uint32_t n_chunks, struct pf_error *err)
{
    forget_frames(self);
    self->n_chunks = n_chunks;
    self->hash = hash;
    self->frames = PF_ALLOC(n_chunks, struct pf_buffer);
    if (self->frames == NULL) return pf_no_memory(err, "the chunks of a model");
    pf_buffer_reset(&self->bytes);
    return pf_buffer_append(&self->bytes, bytes->bytes, bytes->length, err);
}

static enum pf_status note_stage(struct pf_coordinator_shell *self, const struct pf_job_result *job,
                                 struct pf_error *err)
{
    struct pf_coordinator_result *result = self->result;
    struct pf_coordinator_stage *stage = &result->stages[result->n_stages++];
    stage->rounds = self->config->schedule.stages[job->number].rounds;
    stage->accuracy_percent = job->accuracy_percent;
    stage->nonzeros = job->nonzeros;
    stage->report = job->report;
    result->accuracy.combined = job->accuracy_percent;
    result->nonzeros.packed = job->nonzeros;
    if (job->number + 1 < self->config->schedule.n_stages) return PF_OK;
    return pf_run_folder_write(self->config->run_folder, "combined.pfm", job->bytes.bytes,
                               job->bytes.length, err);
}

static void note_apply(struct pf_coordinator_shell *self, const struct pf_job_result *job)
{
    self->result->accuracy.retrained = job->accuracy_percent;
    self->result->loss_retrained = job->loss;
    self->result->nonzeros.packed = job->nonzeros;
}

static enum pf_status note_baseline(struct pf_coordinator_shell *self,
                                    const struct pf_job_result *job, struct pf_error *err)
{
    if (job->status != PF_OK) return pf_fail(err, job->status, "%s", job->error.text);
    self->result->accuracy.dense = job->accuracy_percent;
    self->result->accuracy.one_shot = job->accuracy_one_shot;
    return PF_OK;
}

static enum pf_status finish_job(struct pf_coordinator_shell *self, struct pf_job_result *job,
                                 struct pf_error *err)
{
    int64_t now = pf_clock_monotonic_ms();
    if (job->kind == PF_JOB_BASELINE) return note_baseline(self, job, err);
    if (job->status != PF_OK) {
        if (job->kind == PF_JOB_COMBINE || job->status != PF_REFUSED) self->outcome = job->status;
        PF_TRY(pf_coordinator_session_job_failed(self->session, now, job->status, job->error.text,
                                                 err));
        return perform(self, NULL, err);
    }
    /* Copies, since the result is still to be stored. */
    PF_TRY(
        pf_served_file_set(&self->model, &job->bytes, job->served.hash, job->served.n_chunks, err));
    if (job->kind == PF_JOB_COMBINE)
        PF_TRY(note_stage(self, job, err));
    else
        note_apply(self, job);
    if (job->figures_known) pf_coordinator_session_note_figures(self->session, job->figures);
    struct pf_hash hash = job->served.hash;
    PF_TRY(pf_coordinator_session_job_done(self->session, now, &job->served, job->accuracy_percent,
                                           job->loss, err));
    job->served.hash = hash;
    return perform(self, job, err);
}

static enum pf_status finish_jobs(struct pf_coordinator_shell *self, struct pf_error *err)
{
    for (;;) {
        PF_CLEANUP(pf_job_result_destroyp)
        struct pf_job_result *job = self->finished ? NULL : pf_jobs_take(self->jobs);
        if (job == NULL) return PF_OK;
        PF_TRY(finish_job(self, job, err));
    }
}

/* ---- the loop ----------------------------------------------------------------------------- */

static enum pf_status receive_frame(struct pf_coordinator_shell *self, int timeout_ms,
                                    struct pf_error *err)
{
    size_t member;
    PF_TRY(pf_wire_server_receive(self->server, timeout_ms, &member, &self->received, err));
    self->traffic[member].upload_bytes += self->received.length;
    self->total.upload_bytes += self->received.length;
    struct pf_message message = {0};
    struct pf_error reason;
    enum pf_status status =
        pf_message_decode(self->received.bytes, self->received.length, &message, &reason);
    if (status == PF_NO_MEMORY) return pf_fail(err, status, "%s", reason.text);
    if (status != PF_OK) {
        pf_log(PF_LOG_DEBUG, "%s", reason.text);
        pf_coordinator_session_malformed(self->session, member);
        return PF_OK;
    }
    status = pf_coordinator_session_receive(self->session, member, &message,
                                            pf_clock_monotonic_ms(), err);
    pf_message_finish(&message);
    return status == PF_OK ? perform(self, NULL, err) : status;
}

static int wait_ms(const struct pf_coordinator_shell *self)
{
    int64_t left = pf_coordinator_session_wake_ms(self->session) - pf_clock_monotonic_ms();
    return (int)PF_MIN(PF_MAX(left, 0), MAX_WAIT_MS);
}

static enum pf_status receive_burst(struct pf_coordinator_shell *self, struct pf_error *err)
{
    enum pf_status status = receive_frame(self, wait_ms(self), err);
    for (size_t i = 1; status == PF_OK && i < BURST; i++) status = receive_frame(self, 0, err);
    return status == PF_TIMEOUT ? PF_OK : status;
}

static void show_progress(struct pf_coordinator_shell *self, bool last)
{
    int64_t now = pf_clock_monotonic_ms();
    if (!last && now < self->progress_ms) return;
    self->progress_ms = now + PROGRESS_INTERVAL_MS;
    char detail[512];
    struct pf_coordinator_view view;
    pf_coordinator_session_view(self->session, &view);
    pf_coordinator_session_describe(self->session, now, detail, sizeof detail);
    pf_progress_update(self->progress, "round", view.completed, view.n_rounds, detail);
}

static enum pf_status stop_if_asked(struct pf_coordinator_shell *self, struct pf_error *err)
{
    if (!pf_progress_stopped(self->progress)) return PF_OK;
    struct pf_coordinator_view view;
    char sentence[128];
    pf_coordinator_session_view(self->session, &view);
    snprintf(sentence, sizeof sentence, "stopped on request after %u of %u rounds", view.completed,
             view.n_rounds);
    self->outcome = PF_INTERRUPTED;
    return pf_coordinator_session_stop(self->session, pf_clock_monotonic_ms(), sentence, err);
}

enum pf_status pf_coordinator_serve(struct pf_coordinator_shell *self, struct pf_error *err)
{
    while (!self->finished) {
        PF_TRY(receive_burst(self, err));
        PF_TRY(finish_jobs(self, err));
        PF_TRY(stop_if_asked(self, err));
        PF_TRY(pf_coordinator_session_tick(self->session, pf_clock_monotonic_ms(), err));
        PF_TRY(perform(self, NULL, err));
        show_progress(self, self->finished);
    }
    return PF_OK;
}

void pf_coordinator_say_goodbye(struct pf_coordinator_shell *self, const char *sentence)
{
    snprintf(self->result->sentence, sizeof self->result->sentence, "%s", sentence);
    if (pf_coordinator_session_stop(self->session, pf_clock_monotonic_ms(), sentence, NULL) !=
        PF_OK)
        return;
    struct pf_coordinator_action action;
    while (pf_coordinator_session_next_action(self->session, &action)) {
        if (action.kind == PF_ACTION_SEND) (void)send_message(self, &action, NULL);
        pf_coordinator_action_finish(&action);
    }
}
