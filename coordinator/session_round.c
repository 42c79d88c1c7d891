/* The course of a run: waiting for members, stages, rounds, deadlines, results of jobs. */
#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "common/base/memory.h"
#include "coordinator/session_state.h"

static const struct pf_stage *current_stage(const struct pf_coordinator_session *self)
{
    return &self->config.schedule.stages[self->stage];
}

static bool welcomed(const struct pf_member *member)
{
    return member->welcomed;
}

static bool in_cohort(const struct pf_member *member)
{
    return member->part != PF_PART_NONE;
}

static bool dropped(const struct pf_member *member)
{
    return member->part == PF_PART_DROPPED;
}

static bool absent(const struct pf_member *member)
{
    return !member->present;
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

/* ---- rounds ------------------------------------------------------------------------------- */

/* The order of the round: the stage's slice of the schedule, cut by its rounds. */
static void fill_order(const struct pf_coordinator_session *self, struct pf_training_order *order)
{
    const struct pf_stage *stage = current_stage(self);
    double span = stage->schedule_end - stage->schedule_begin;
    *order = self->config.order;
    order->schedule_begin = stage->schedule_begin + span * self->stage_rounds / stage->rounds;
    order->schedule_end =
        PF_MIN(stage->schedule_begin + span * (self->stage_rounds + 1) / stage->rounds, 1.0);
}

enum pf_status pf_cs_offer(const struct pf_coordinator_session *self, int64_t now_ms,
                           struct pf_message *message, struct pf_error *err)
{
    struct pf_hash *hashes = PF_ALLOC(self->model.n_chunks, struct pf_hash);
    if (hashes == NULL) return pf_no_memory(err, "an offer");
    memcpy(hashes, self->model.chunk_hashes, self->model.n_chunks * sizeof *hashes);
    int64_t left = PF_MAX(self->round_deadline_ms - now_ms, 1);
    *message = (struct pf_message){
        .kind = PF_MESSAGE_ROUND_OFFER,
        .offer = {.round = self->round,
                  /* Abandoned rounds used up numbers, so the last number moves out by as many. */
                  .n_rounds = pf_schedule_rounds(&self->config.schedule) + self->abandoned,
                  .stage = (uint32_t)self->stage + 1,
                  .n_stages = (uint32_t)self->config.schedule.n_stages,
                  .cohort = self->record.cohort,
                  .deadline_ms = (uint32_t)left,
                  .model_hash = self->model.hash,
                  .model_bytes = self->model.n_bytes,
                  .n_chunks = self->model.n_chunks,
                  .chunk_hashes = hashes},
    };
    fill_order(self, &message->offer.order);
    return PF_OK;
}

/* Members heard of lately make the cohort. */
static void ask_members(struct pf_coordinator_session *self)
{
    for (size_t i = 0; i < self->config.n_members; i++) {
        struct pf_member *member = &self->members[i];
        pf_cs_forget_update(member);
        member->part = member->present ? PF_PART_ASKED : PF_PART_NONE;
        member->dropped_because = NULL;
        member->chunks_sent = 0;
    }
}

static enum pf_status start_round(struct pf_coordinator_session *self, int64_t now_ms,
                                  struct pf_error *err)
{
    if (self->round == PF_MAX_ROUNDS)
        return pf_cs_finish(self, false, "round numbers are used up: too many abandoned rounds",
                            err);
    struct pf_sum *sum = NULL;
    PF_TRY(pf_sum_create(self->config.aggregation, self->model.n_parameters, &sum, err));
    pf_sum_destroy(self->sum);
    self->sum = sum;
    self->round++;
    self->round_deadline_ms = now_ms + self->config.round_timeout_ms;
    ask_members(self);
    self->record = (struct pf_round_record){
        .round = self->round,
        .stage = (uint32_t)self->stage + 1,
        .started_ms = now_ms,
        .cohort = pf_cs_count_part(self, PF_PART_ASKED),
        .accuracy_percent = (double)NAN,
        .loss = (double)NAN,
    };
    pf_cs_set_phase(self, PF_COORDINATOR_COLLECTING);
    struct pf_message message;
    PF_TRY(pf_cs_offer(self, now_ms, &message, err));
    PF_TRY(pf_cs_broadcast(self, in_cohort, &message, err));
    return pf_cs_event(self, PF_LOG_INFO, err, "round %u begins: stage %zu of %zu, %u members",
                       self->round, self->stage + 1, self->config.schedule.n_stages,
                       self->record.cohort);
}

enum pf_status pf_cs_drop(struct pf_coordinator_session *self, size_t index, const char *because,
                          const char *detail, struct pf_error *err)
{
    struct pf_member *member = &self->members[index];
    assert(self->phase == PF_COORDINATOR_COLLECTING && pf_cs_pending(member));
    pf_cs_forget_update(member);
    member->part = PF_PART_DROPPED;
    member->dropped_because = because;
    bool more = detail != NULL && detail[0] != '\0';
    return pf_cs_event(self, PF_LOG_WARNING, err, "round %u: %s dropped: %s%s%s", self->round,
                       member->name, because, more ? ": " : "", more ? detail : "");
}

/* Fills in the rest of the record, stores it and tells the cohort. */
static enum pf_status close_round(struct pf_coordinator_session *self, bool completed,
                                  int64_t now_ms, struct pf_error *err)
{
    struct pf_round_record *record = &self->record;
    record->ended_ms = now_ms;
    record->completed = completed;
    record->included = completed ? pf_cs_count_part(self, PF_PART_COUNTED) : 0;
    record->dropped = pf_cs_count_part(self, PF_PART_DROPPED);
    if (completed && record->dropped > 0) {
        char names[sizeof record->text - 16];
        snprintf(record->text, sizeof record->text, "without %s",
                 pf_cs_names(self, dropped, names, sizeof names));
    }
    struct pf_coordinator_action *action = pf_cs_push(self, PF_ACTION_STORE_ROUND);
    if (action == NULL) return pf_no_memory(err, "the record of a round");
    action->record = *record;
    struct pf_message message = {
        .kind = PF_MESSAGE_ROUND_RESULT,
        .result = {.round = record->round,
                   .completed = completed,
                   .n_included = record->included,
                   .accuracy_known = !isnan(record->accuracy_percent),
                   .accuracy_percent =
                       isnan(record->accuracy_percent) ? 0 : record->accuracy_percent},
    };
    memcpy(message.result.text, record->text, sizeof message.result.text);
    return pf_cs_broadcast(self, in_cohort, &message, err);
}

static void wait_for_members(struct pf_coordinator_session *self, int64_t now_ms)
{
    pf_cs_set_phase(self, PF_COORDINATOR_WAITING);
    self->join_deadline_ms = now_ms + self->config.join_timeout_ms;
}

static enum pf_status abandon_round(struct pf_coordinator_session *self, int64_t now_ms,
                                    const char *why, struct pf_error *err)
{
    for (size_t i = 0; i < self->config.n_members; i++) pf_cs_forget_update(&self->members[i]);
    pf_sum_destroy(self->sum);
    self->sum = NULL;
    self->abandoned++;
    self->failed_in_row++;
    snprintf(self->record.text, sizeof self->record.text, "%s", why);
    pf_cs_trim(self->record.text);
    PF_TRY(close_round(self, false, now_ms, err));
    PF_TRY(pf_cs_event(self, PF_LOG_WARNING, err, "round %u is abandoned: %s", self->round, why));
    wait_for_members(self, now_ms);
    if (self->failed_in_row <= self->config.max_failed_rounds) return PF_OK;
    char sentence[PF_MAX_EVENT_BYTES];
    snprintf(sentence, sizeof sentence,
             "%u round(s) in a row were abandoned (the limit is %u); the last one, round %u: %s",
             self->failed_in_row, self->config.max_failed_rounds, self->round, why);
    return pf_cs_finish(self, false, sentence, err);
}

static enum pf_status start_apply(struct pf_coordinator_session *self, struct pf_error *err)
{
    struct pf_coordinator_action *action = pf_cs_push(self, PF_ACTION_APPLY);
    if (action == NULL) return pf_no_memory(err, "the end of a round");
    action->number = self->round;
    action->sum = self->sum;
    self->sum = NULL;
    pf_cs_set_phase(self, PF_COORDINATOR_APPLYING);
    return PF_OK;
}

static enum pf_status drop_the_late(struct pf_coordinator_session *self, struct pf_error *err)
{
    for (size_t i = 0; i < self->config.n_members; i++)
        if (pf_cs_pending(&self->members[i]))
            PF_TRY(pf_cs_drop(self, i, "no whole update by the deadline", NULL, err));
    return PF_OK;
}

/* COLLECTING: decides once all is in, the time is up, or the quorum is out of reach. */
static enum pf_status decide_round(struct pf_coordinator_session *self, int64_t now_ms,
                                   struct pf_error *err)
{
    if (now_ms >= self->round_deadline_ms) PF_TRY(drop_the_late(self, err));
    uint32_t counted = pf_cs_count_part(self, PF_PART_COUNTED);
    uint32_t pending =
        pf_cs_count_part(self, PF_PART_ASKED) + pf_cs_count_part(self, PF_PART_ACTIVE);
    if (pending == 0 && counted >= self->config.quorum) return start_apply(self, err);
    if (counted + pending >= self->config.quorum) return PF_OK;
    char names[160], why[PF_MAX_REASON_BYTES];
    snprintf(why, sizeof why, "%u update(s) of the %u needed; without %s", counted,
             self->config.quorum, pf_cs_names(self, dropped, names, sizeof names));
    return abandon_round(self, now_ms, why, err);
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
    if (self->gathered || present == self->config.n_members) self->gathered = true;
    if (self->gathered) return false;
    if (self->gather_until_ms == 0) {
        int64_t until = now_ms + self->config.gather_ms;
        self->gather_until_ms = PF_MAX(PF_MIN(until, self->join_deadline_ms), 1);
    }
    if (now_ms >= self->gather_until_ms) self->gathered = true;
    return !self->gathered;
}

/* WAITING: on to the next stage or round, or to the end. */
static enum pf_status leave_waiting(struct pf_coordinator_session *self, int64_t now_ms,
                                    struct pf_error *err)
{
    if (self->stage == self->config.schedule.n_stages)
        return pf_cs_finish(self, true, "all rounds are done", err);
    uint32_t present = pf_cs_count_present(self);
    if (present < self->config.min_cohort) {
        if (now_ms < self->join_deadline_ms) return PF_OK;
        char names[160], sentence[PF_MAX_EVENT_BYTES];
        snprintf(sentence, sizeof sentence,
                 "%u member(s) of the %u needed came within %u s; missing: %s "
                 "(--min-cohort, --join-timeout)",
                 present, self->config.min_cohort, self->config.join_timeout_ms / 1000,
                 pf_cs_names(self, absent, names, sizeof names));
        return pf_cs_finish(self, false, sentence, err);
    }
    if (gathering(self, present, now_ms)) return PF_OK;
    return self->stage_combined ? start_round(self, now_ms, err) : start_combine(self, err);
}

enum pf_status pf_cs_proceed(struct pf_coordinator_session *self, int64_t now_ms,
                             struct pf_error *err)
{
    if (self->phase == PF_COORDINATOR_COLLECTING) PF_TRY(decide_round(self, now_ms, err));
    if (self->phase == PF_COORDINATOR_WAITING) return leave_waiting(self, now_ms, err);
    return PF_OK;
}

/* ---- time --------------------------------------------------------------------------------- */

static bool silent(const struct pf_coordinator_session *self, const struct pf_member *member,
                   int64_t now_ms)
{
    return member->present && now_ms - member->heard_ms >= self->config.liveness_ms;
}

static enum pf_status lose_member(struct pf_coordinator_session *self, size_t index, int64_t now_ms,
                                  struct pf_error *err)
{
    struct pf_member *member = &self->members[index];
    char detail[64];
    snprintf(detail, sizeof detail, "nothing heard for %.1f s",
             (double)(now_ms - member->heard_ms) / 1000.0);
    member->present = false;
    if (self->phase == PF_COORDINATOR_COLLECTING && pf_cs_pending(member))
        return pf_cs_drop(self, index, "silent", detail, err);
    return pf_cs_event(self, PF_LOG_WARNING, err, "%s is silent: %s", member->name, detail);
}

enum pf_status pf_coordinator_session_tick(struct pf_coordinator_session *self, int64_t now_ms,
                                           struct pf_error *err)
{
    if (pf_cs_ended(self)) return PF_OK;
    for (size_t i = 0; i < self->config.n_members; i++)
        if (silent(self, &self->members[i], now_ms)) PF_TRY(lose_member(self, i, now_ms, err));
    return pf_cs_proceed(self, now_ms, err);
}

int64_t pf_coordinator_session_wake_ms(const struct pf_coordinator_session *self)
{
    if (pf_cs_ended(self)) return INT64_MAX;
    int64_t wake = INT64_MAX;
    for (size_t i = 0; i < self->config.n_members; i++)
        if (self->members[i].present)
            wake = PF_MIN(wake, self->members[i].heard_ms + self->config.liveness_ms);
    if (self->phase == PF_COORDINATOR_COLLECTING) wake = PF_MIN(wake, self->round_deadline_ms);
    if (self->phase == PF_COORDINATOR_WAITING) {
        bool held = pf_cs_count_present(self) >= self->config.min_cohort;
        wake = PF_MIN(wake, held ? self->gather_until_ms : self->join_deadline_ms);
    }
    return wake;
}

/* ---- jobs --------------------------------------------------------------------------------- */

/* How long an update of this model is; PF_INVALID when it cannot be carried. */
static enum pf_status measure_update(const struct pf_coordinator_session *self,
                                     const struct pf_served_model *model, size_t *bytes,
                                     struct pf_error *err)
{
    size_t size = pf_update_size(self->config.aggregation, model->n_parameters);
    if (size == 0 || size > (size_t)PF_MAX_CHUNKS * PF_CHUNK_BYTES)
        return pf_fail(err, PF_INVALID,
                       "an update of %zu parameters (%s aggregation) cannot be sent: its %zu bytes "
                       "are outside 1…%zu",
                       model->n_parameters, pf_aggregation_name(self->config.aggregation), size,
                       (size_t)PF_MAX_CHUNKS * PF_CHUNK_BYTES);
    *bytes = size;
    return PF_OK;
}

static enum pf_status finish_apply(struct pf_coordinator_session *self, int64_t now_ms,
                                   double accuracy_percent, double loss, struct pf_error *err)
{
    self->record.accuracy_percent = accuracy_percent;
    self->record.loss = loss;
    self->completed++;
    self->stage_rounds++;
    self->failed_in_row = 0;
    PF_TRY(close_round(self, true, now_ms, err));
    return pf_cs_event(self, PF_LOG_INFO, err, "round %u is done: %u of %u updates%s%s",
                       self->round, self->record.included, self->record.cohort,
                       self->record.text[0] != '\0' ? ", " : "", self->record.text);
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
    size_t bytes = 0;
    struct pf_error unfit;
    if (measure_update(self, model, &bytes, &unfit) != PF_OK) {
        pf_served_model_finish(model);
        return pf_cs_finish(self, false, unfit.text, err);
    }
    pf_served_model_finish(&self->model);
    self->model = *model;
    *model = (struct pf_served_model){0};
    self->update_bytes = bytes;
    self->n_update_chunks = (uint32_t)((bytes + PF_CHUNK_BYTES - 1) / PF_CHUNK_BYTES);
    self->accuracy_percent = accuracy_percent;
    if (applied)
        PF_TRY(finish_apply(self, now_ms, accuracy_percent, loss, err));
    else
        self->stage_combined = true;
    next_stage_if_over(self);
    wait_for_members(self, now_ms);
    return pf_cs_proceed(self, now_ms, err);
}

enum pf_status pf_coordinator_session_job_failed(struct pf_coordinator_session *self,
                                                 int64_t now_ms, enum pf_status status,
                                                 const char *sentence, struct pf_error *err)
{
    if (pf_cs_ended(self)) return PF_OK;
    if (self->phase != PF_COORDINATOR_APPLYING || status != PF_REFUSED)
        return pf_cs_finish(self, false, sentence, err);
    PF_TRY(abandon_round(self, now_ms, sentence, err));
    return pf_cs_proceed(self, now_ms, err);
}
