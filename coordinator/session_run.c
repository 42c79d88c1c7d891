/* The course of a run: waiting for members, stages, time, results of jobs, the end. */
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "coordinator/session_state.h"

static const struct pf_stage *current_stage(const struct pf_coordinator_session *self)
{
    return &self->config.schedule.stages[self->stage];
}

static bool welcomed(const struct pf_coordinator_session *self, size_t member)
{
    return self->members[member].welcomed;
}

static bool missing(const struct pf_coordinator_session *self, size_t member)
{
    return !self->members[member].present || self->members[member].left;
}

static bool has_left(const struct pf_coordinator_session *self, size_t member)
{
    return self->members[member].left;
}

/* ---- the end ------------------------------------------------------------------------------ */

enum pf_status pf_cs_finish(struct pf_coordinator_session *self, bool success, const char *sentence,
                            struct pf_error *err)
{
    struct pf_message message = {.kind = PF_MESSAGE_FINISHED, .finished = {.success = success}};
    snprintf(message.finished.text, sizeof message.finished.text, "%s", sentence);
    pf_cs_trim(message.finished.text);
    PF_TRY(pf_cs_broadcast(self, welcomed, &message, err));
    struct pf_coordinator_action *action = pf_cs_push(self, PF_ACTION_FINISH);
    if (action == NULL) return pf_no_memory(err, "the end of the run");
    action->success = success;
    snprintf(action->text, sizeof action->text, "%s", sentence);
    for (size_t i = 0; i < self->config.n_members; i++) pf_cs_forget_update(&self->members[i]);
    pf_cs_set_phase(self, success ? PF_COORDINATOR_DONE : PF_COORDINATOR_FAILED);
    return PF_OK;
}

enum pf_status pf_coordinator_session_stop(struct pf_coordinator_session *self, int64_t now_ms,
                                           const char *sentence, struct pf_error *err)
{
    (void)now_ms;
    return pf_cs_ended(self) ? PF_OK : pf_cs_finish(self, false, sentence, err);
}

void pf_cs_wait_for_members(struct pf_coordinator_session *self, int64_t now_ms)
{
    pf_cs_set_phase(self, PF_COORDINATOR_WAITING);
    self->join_deadline_ms = now_ms + self->config.join_timeout_ms;
}

/* ---- waiting and stages ------------------------------------------------------------------- */

static enum pf_status start_combine(struct pf_coordinator_session *self, struct pf_error *err)
{
    struct pf_coordinator_action *action = pf_cs_push(self, PF_ACTION_COMBINE);
    if (action == NULL) return pf_no_memory(err, "a stage");
    action->number = (uint32_t)self->stage;
    pf_cs_set_phase(self, PF_COORDINATOR_COMBINING);
    return pf_cs_event(self, PF_LOG_INFO, err, "stage %zu of %zu begins: combining columns",
                       self->stage + 1, self->config.schedule.n_stages);
}

static void next_stage_if_over(struct pf_coordinator_session *self)
{
    if (!self->stage_combined || self->stage_rounds < current_stage(self)->rounds) return;
    self->stage++;
    self->stage_rounds = 0;
    self->stage_combined = false;
}

/* True while the first round should hold for the members still on their way. */
static bool gathering(struct pf_coordinator_session *self, uint32_t present, int64_t now_ms)
{
    if (present + pf_cs_count(self, PF_CLASS_LEFT) == self->config.n_members) self->gathered = true;
    if (self->gathered) return false;
    if (self->gather_until_ms == 0) {
        int64_t until = now_ms + self->config.gather_ms;
        self->gather_until_ms = PF_MAX(PF_MIN(until, self->join_deadline_ms), 1);
    }
    if (now_ms >= self->gather_until_ms) self->gathered = true;
    return !self->gathered;
}

/* Too few are left that ever could be asked. */
static enum pf_status give_up(struct pf_coordinator_session *self, struct pf_error *err)
{
    char names[160], sentence[PF_MAX_EVENT_BYTES];
    snprintf(sentence, sizeof sentence,
             "%s declined to take part in this run; of the %zu members on the roster too few are "
             "left for rounds of %u (--min-cohort)",
             pf_cs_names(self, has_left, names, sizeof names), self->config.n_members,
             self->config.min_cohort);
    return pf_cs_finish(self, false, sentence, err);
}

/* WAITING: on to the next stage or round, or to the end. */
static enum pf_status leave_waiting(struct pf_coordinator_session *self, int64_t now_ms,
                                    struct pf_error *err)
{
    if (self->stage == self->config.schedule.n_stages)
        return pf_cs_finish(self, true, "all rounds are done", err);
    uint32_t present = pf_cs_count(self, PF_CLASS_PRESENT);
    if (self->config.n_members - pf_cs_count(self, PF_CLASS_LEFT) < self->config.min_cohort)
        return give_up(self, err);
    if (present < self->config.min_cohort) {
        if (now_ms < self->join_deadline_ms) return PF_OK;
        char names[160], sentence[PF_MAX_EVENT_BYTES];
        snprintf(sentence, sizeof sentence,
                 "%u member(s) of the %u needed came within %u s; missing: %s "
                 "(--min-cohort, --join-timeout)",
                 present, self->config.min_cohort, self->config.join_timeout_ms / 1000,
                 pf_cs_names(self, missing, names, sizeof names));
        return pf_cs_finish(self, false, sentence, err);
    }
    if (gathering(self, present, now_ms)) return PF_OK;
    return self->stage_combined ? pf_cs_start_round(self, now_ms, err) : start_combine(self, err);
}

enum pf_status pf_cs_proceed(struct pf_coordinator_session *self, int64_t now_ms,
                             struct pf_error *err)
{
    if (pf_cs_in_round(self)) PF_TRY(pf_cs_decide_round(self, now_ms, err));
    if (self->phase == PF_COORDINATOR_WAITING) return leave_waiting(self, now_ms, err);
    return PF_OK;
}

/* ---- time --------------------------------------------------------------------------------- */

static enum pf_status lose_member(struct pf_coordinator_session *self, size_t index, int64_t now_ms,
                                  struct pf_error *err)
{
    struct pf_member *member = &self->members[index];
    char detail[64];
    snprintf(detail, sizeof detail, "nothing heard for %.1f s",
             (double)(now_ms - member->heard_ms) / 1000.0);
    member->present = false;
    pf_cs_recount(self, index);
    if (pf_cs_in_round(self) && pf_cs_pending(self, index))
        return pf_cs_drop(self, index, "silent", detail, err);
    return pf_cs_event(self, PF_LOG_WARNING, err, "%s is silent: %s", member->name, detail);
}

enum pf_status pf_coordinator_session_tick(struct pf_coordinator_session *self, int64_t now_ms,
                                           struct pf_error *err)
{
    if (pf_cs_ended(self)) return PF_OK;
    while (pf_deadlines_next_ms(&self->silences) <= now_ms)
        PF_TRY(lose_member(self, pf_deadlines_first(&self->silences), now_ms, err));
    pf_cs_reclaim_slots(self, now_ms);
    PF_TRY(pf_cs_proceed(self, now_ms, err));
    return pf_cs_tell_due(self, now_ms, err);
}

int64_t pf_coordinator_session_wake_ms(const struct pf_coordinator_session *self)
{
    if (pf_cs_ended(self)) return INT64_MAX;
    int64_t wake =
        PF_MIN(pf_deadlines_next_ms(&self->silences), pf_deadlines_next_ms(&self->stalls));
    if (self->phase == PF_COORDINATOR_COLLECTING) wake = PF_MIN(wake, self->round_deadline_ms);
    wake = PF_MIN(wake, pf_cs_secure_wake_ms(self));
    if (self->phase == PF_COORDINATOR_WAITING) {
        bool held = pf_cs_count(self, PF_CLASS_PRESENT) >= self->config.min_cohort;
        wake = PF_MIN(wake, held ? self->gather_until_ms : self->join_deadline_ms);
    }
    return wake;
}

/* ---- jobs --------------------------------------------------------------------------------- */

/* How long an update of this model is at most; PF_INVALID when it cannot be carried. */
static enum pf_status measure_update(const struct pf_coordinator_session *self,
                                     const struct pf_served_model *model, size_t *bytes,
                                     struct pf_error *err)
{
    size_t size;
    if (pf_cs_secure(self)) {
        const struct pf_masking_order *masking = &self->config.masking;
        const size_t length[PF_CODEC_SEGMENTS] = {model->n_trained,
                                                  model->n_parameters - model->n_trained};
        size = pf_ring_packed_size(
            pf_codec_ring_length_of(length, masking->rotate),
            pf_secagg_modulus_bits(masking->value_bits, (uint32_t)self->config.n_members));
    } else {
        size = pf_update_size(self->config.aggregation, model->n_parameters);
    }
    if (size == 0 || size > (size_t)PF_MAX_CHUNKS * PF_CHUNK_BYTES)
        return pf_fail(err, PF_INVALID,
                       "an update of %zu parameters (%s aggregation) cannot be sent: its %zu bytes "
                       "are outside 1…%zu",
                       model->n_parameters, pf_aggregation_name(self->config.aggregation), size,
                       (size_t)PF_MAX_CHUNKS * PF_CHUNK_BYTES);
    *bytes = size;
    return PF_OK;
}

void pf_coordinator_session_note_figures(struct pf_coordinator_session *self,
                                         const uint64_t figures[PF_FIGURE_N])
{
    if (self->phase != PF_COORDINATOR_APPLYING) return; /* stopped meanwhile */
    memcpy(self->record.figures, figures, sizeof self->record.figures);
    self->record.figures_known = true;
}

enum pf_status pf_coordinator_session_job_done(struct pf_coordinator_session *self, int64_t now_ms,
                                               struct pf_served_model *model,
                                               double accuracy_percent, double loss,
                                               struct pf_error *err)
{
    if (pf_cs_ended(self)) {
        pf_served_model_finish(model);
        return PF_OK;
    }
    bool applied = self->phase == PF_COORDINATOR_APPLYING;
    assert(applied || self->phase == PF_COORDINATOR_COMBINING);
    assert(model->n_trained <= model->n_parameters);
    size_t bytes = 0;
    struct pf_error unfit;
    if (measure_update(self, model, &bytes, &unfit) != PF_OK) {
        pf_served_model_finish(model);
        return pf_cs_finish(self, false, unfit.text, err);
    }
    pf_served_model_finish(&self->model);
    self->model = *model;
    *model = (struct pf_served_model){0};
    pf_cs_set_update_bytes(self, bytes);
    self->accuracy_percent = accuracy_percent;
    if (applied) {
        PF_TRY(pf_cs_complete_round(self, now_ms, accuracy_percent, loss, err));
    } else {
        self->stage_combined = true;
        pf_cs_widen_clip(self);
    }
    next_stage_if_over(self);
    pf_cs_wait_for_members(self, now_ms);
    return pf_cs_proceed(self, now_ms, err);
}

enum pf_status pf_coordinator_session_job_failed(struct pf_coordinator_session *self,
                                                 int64_t now_ms, enum pf_status status,
                                                 const char *sentence, struct pf_error *err)
{
    if (pf_cs_ended(self)) return PF_OK;
    if (self->phase != PF_COORDINATOR_APPLYING || status != PF_REFUSED)
        return pf_cs_finish(self, false, sentence, err);
    PF_TRY(pf_cs_abandon_round(self, now_ms, sentence, err));
    return pf_cs_proceed(self, now_ms, err);
}
