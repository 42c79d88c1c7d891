/* One round: the offer, who is dropped, when it is decided, what is told of it. */
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

static bool in_cohort(const struct pf_coordinator_session *self, size_t member)
{
    return self->members[member].part != PF_PART_NONE;
}

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

static struct pf_hash *copy_hashes(const struct pf_hash *hashes, size_t n)
{
    struct pf_hash *copy = PF_ALLOC(n, struct pf_hash);
    if (copy != NULL) memcpy(copy, hashes, n * sizeof *copy);
    return copy;
}

/* Into an offer; chunk_hashes becomes the message's. */
static enum pf_status fill_teacher(const struct pf_coordinator_session *self,
                                   struct pf_chunked_model *teacher, struct pf_error *err)
{
    if (self->config.teacher == NULL) return PF_OK;
    *teacher = *self->config.teacher;
    teacher->chunk_hashes = copy_hashes(teacher->chunk_hashes, teacher->n_chunks);
    return teacher->chunk_hashes != NULL ? PF_OK : pf_no_memory(err, "an offer");
}

enum pf_status pf_cs_offer(const struct pf_coordinator_session *self, int64_t now_ms,
                           struct pf_message *message, struct pf_error *err)
{
    struct pf_hash *hashes = copy_hashes(self->model.chunk_hashes, self->model.n_chunks);
    if (hashes == NULL) return pf_no_memory(err, "an offer");
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
    enum pf_status status = fill_teacher(self, &message->offer.teacher, err);
    if (status != PF_OK) {
        pf_message_finish(message);
        return status;
    }
    if (!pf_cs_secure(self)) return PF_OK;
    message->offer.masking = self->config.masking;
    memcpy(message->offer.masking.clip, self->clip, sizeof self->clip);
    return PF_OK;
}

/* Members heard of lately make the cohort. */
static void ask_members(struct pf_coordinator_session *self)
{
    for (size_t i = 0; i < self->config.n_members; i++) {
        struct pf_member *member = &self->members[i];
        pf_cs_forget_update(member);
        member->part = member->present && !member->left ? PF_PART_ASKED : PF_PART_NONE;
        member->dropped_because = NULL;
        member->gone = false;
        member->chunks_sent = 0;
        pf_cs_recount(self, i);
    }
}

static enum pf_status start_collecting(struct pf_coordinator_session *self, struct pf_error *err)
{
    struct pf_sum *sum = NULL;
    PF_TRY(pf_sum_create(self->config.aggregation, self->model.n_parameters, &sum, err));
    pf_sum_destroy(self->sum);
    self->sum = sum;
    pf_cs_set_phase(self, PF_COORDINATOR_COLLECTING);
    return PF_OK;
}

static void init_record(struct pf_coordinator_session *self, int64_t now_ms)
{
    self->record = (struct pf_round_record){
        .round = self->round,
        .stage = (uint32_t)self->stage + 1,
        .started_ms = now_ms,
        .cohort = pf_cs_count(self, PF_CLASS_PENDING),
        .accuracy_percent = (double)NAN,
        .loss = (double)NAN,
    };
    for (size_t s = 0; s < PF_CODEC_SEGMENTS; s++)
        self->record.clip[s] = pf_cs_secure(self) ? self->clip[s] : (double)NAN;
}

enum pf_status pf_cs_start_round(struct pf_coordinator_session *self, int64_t now_ms,
                                 struct pf_error *err)
{
    if (self->round == PF_MAX_ROUNDS)
        return pf_cs_finish(self, false, "round numbers are used up: too many abandoned rounds",
                            err);
    self->round++;
    self->round_deadline_ms = now_ms + self->config.round_timeout_ms;
    ask_members(self);
    init_record(self, now_ms);
    struct pf_message message;
    PF_TRY(pf_cs_offer(self, now_ms, &message, err));
    enum pf_status status = pf_cs_secure(self)
                                ? pf_cs_secure_begin(self, &message.offer, now_ms, err)
                                : start_collecting(self, err);
    if (status != PF_OK) {
        pf_message_finish(&message);
        return status;
    }
    PF_TRY(pf_cs_broadcast(self, in_cohort, &message, err));
    return pf_cs_event(self, PF_LOG_INFO, err, "round %u begins: stage %zu of %zu, %u members",
                       self->round, self->stage + 1, self->config.schedule.n_stages,
                       self->record.cohort);
}

enum pf_status pf_cs_drop(struct pf_coordinator_session *self, size_t index, const char *because,
                          const char *detail, struct pf_error *err)
{
    struct pf_member *member = &self->members[index];
    assert(pf_cs_in_round(self) && pf_cs_pending(self, index));
    pf_cs_forget_update(member);
    member->part = PF_PART_DROPPED;
    member->dropped_because = because;
    if (self->secagg != NULL) pf_secagg_server_withdraw(self->secagg, (uint32_t)index);
    pf_cs_recount(self, index);
    bool more = detail != NULL && detail[0] != '\0';
    bool secure = pf_cs_secure(self);
    return pf_cs_event(self, PF_LOG_WARNING, err, "round %u: %s dropped%s%s: %s%s%s", self->round,
                       member->name, secure ? " while " : "",
                       secure ? pf_coordinator_phase_name(self->phase) : "", because,
                       more ? ": " : "", more ? detail : "");
}

/* Fills in the rest of the record, stores it and tells the cohort. */
static enum pf_status close_round(struct pf_coordinator_session *self, bool completed,
                                  int64_t now_ms, struct pf_error *err)
{
    struct pf_round_record *record = &self->record;
    record->ended_ms = now_ms;
    record->completed = completed;
    record->included = completed ? pf_cs_count(self, PF_CLASS_COUNTED) : 0;
    record->dropped = pf_cs_count(self, PF_CLASS_DROPPED);
    if (completed && record->dropped > 0) {
        char names[sizeof record->text - 16];
        snprintf(record->text, sizeof record->text, "without %s",
                 pf_cs_names(self, pf_cs_dropped, names, sizeof names));
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

enum pf_status pf_cs_abandon_round(struct pf_coordinator_session *self, int64_t now_ms,
                                   const char *why, struct pf_error *err)
{
    for (size_t i = 0; i < self->config.n_members; i++) pf_cs_forget_update(&self->members[i]);
    pf_sum_destroy(self->sum);
    self->sum = NULL;
    pf_secagg_server_destroy(self->secagg);
    self->secagg = NULL;
    self->record.figures_known = false;
    self->abandoned++;
    self->failed_in_row++;
    snprintf(self->record.text, sizeof self->record.text, "%s", why);
    pf_cs_trim(self->record.text);
    PF_TRY(close_round(self, false, now_ms, err));
    PF_TRY(pf_cs_event(self, PF_LOG_WARNING, err, "round %u is abandoned: %s", self->round, why));
    pf_cs_wait_for_members(self, now_ms);
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

enum pf_status pf_cs_drop_late(struct pf_coordinator_session *self, pf_cs_pick *missing,
                               const char *because, struct pf_error *err)
{
    for (size_t i = 0; i < self->config.n_members; i++)
        if (pf_cs_pending(self, i) && missing(self, i))
            PF_TRY(pf_cs_drop(self, i, because, NULL, err));
    return PF_OK;
}

enum pf_status pf_cs_decide_round(struct pf_coordinator_session *self, int64_t now_ms,
                                  struct pf_error *err)
{
    if (pf_cs_secure(self)) return pf_cs_decide_step(self, now_ms, err);
    if (now_ms >= self->round_deadline_ms)
        PF_TRY(pf_cs_drop_late(self, pf_cs_pending, "no whole update by the deadline", err));
    uint32_t counted = pf_cs_count(self, PF_CLASS_COUNTED);
    uint32_t pending = pf_cs_count(self, PF_CLASS_PENDING);
    if (pending == 0 && counted >= self->config.quorum) return start_apply(self, err);
    if (counted + pending >= self->config.quorum) return PF_OK;
    char names[160], why[PF_MAX_REASON_BYTES];
    snprintf(why, sizeof why, "%u update(s) of the %u needed; without %s", counted,
             self->config.quorum, pf_cs_names(self, pf_cs_dropped, names, sizeof names));
    return pf_cs_abandon_round(self, now_ms, why, err);
}

enum pf_status pf_cs_complete_round(struct pf_coordinator_session *self, int64_t now_ms,
                                    double accuracy_percent, double loss, struct pf_error *err)
{
    self->record.accuracy_percent = accuracy_percent;
    self->record.loss = loss;
    self->completed++;
    self->stage_rounds++;
    self->failed_in_row = 0;
    pf_cs_adapt_clip(self);
    PF_TRY(close_round(self, true, now_ms, err));
    return pf_cs_event(self, PF_LOG_INFO, err, "round %u is done: %u of %u updates%s%s",
                       self->round, self->record.included, self->record.cohort,
                       self->record.text[0] != '\0' ? ", " : "", self->record.text);
}
