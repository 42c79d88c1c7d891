/* One round of the participant's session: offer, training, upload. */
#include <stdio.h>
#include <string.h>

#include "common/base/log.h"
#include "participant/session_parts.h"
#include "proto/model_file.h"

void pf_ps_set_outcome(struct pf_participant_session *self, enum pf_outcome outcome)
{
    self->last.outcome = outcome;
    pf_ps_push(self, PF_PARTICIPANT_RECORD)->record = self->last;
}

void pf_ps_leave_round(struct pf_participant_session *self, enum pf_outcome outcome)
{
    if (self->phase == PF_PARTICIPANT_TRAINING) pf_ps_push(self, PF_PARTICIPANT_CANCEL);
    pf_ps_finish_fetches(self);
    pf_secagg_client_destroy(self->secagg);
    self->secagg = NULL;
    pf_update_finish(&self->trained);
    pf_buffer_finish(&self->update);
    self->n_update_chunks = self->upload_next = self->upload_limit = 0;
    self->delivered += outcome == PF_OUTCOME_DELIVERED;
    pf_ps_set_outcome(self, outcome);
    pf_ps_set_phase(self, PF_PARTICIPANT_IDLE);
}

void pf_ps_give_round_up(struct pf_participant_session *self, enum pf_reason reason,
                         const char *text)
{
    pf_ps_refuse(self, reason, text);
    pf_ps_decline(self, self->last.round, reason, text);
    self->declined_because = reason;
    snprintf(self->declined_text, sizeof self->declined_text, "%.*s",
             (int)sizeof self->declined_text - 1, text);
    pf_ps_leave_round(self, PF_OUTCOME_DECLINED);
}

static bool decline_offer(struct pf_participant_session *self, uint32_t round,
                          enum pf_reason reason, const char *text)
{
    pf_ps_decline(self, round, reason, text);
    return pf_ps_refuse(self, reason, text);
}

/* An offer of the round that is at hand or was the last. */
static bool repeated_offer(struct pf_participant_session *self, const struct pf_round_offer *offer,
                           int64_t now_ms)
{
    self->counters.repeated++;
    switch (self->last.outcome) {
    case PF_OUTCOME_JOINED:
        if (self->phase != PF_PARTICIPANT_UNMASKING)
            self->deadline_ms = now_ms + (int64_t)offer->deadline_ms;
        pf_ps_advertise(self);
        break;
    case PF_OUTCOME_DECLINED:
        pf_ps_decline(self, offer->round, self->declined_because, self->declined_text);
        break;
    default: break;
    }
    return true;
}

void pf_ps_start_training(struct pf_participant_session *self)
{
    struct pf_participant_action *action = pf_ps_push(self, PF_PARTICIPANT_TRAIN);
    action->train.job = ++self->job;
    action->train.round = self->last.round;
    action->train.aggregation = (enum pf_aggregation)self->welcome.aggregation;
    action->train.model = self->model;
    action->train.teacher = self->offer.order.distill_weight > 0.0 ? self->teacher : NULL;
    action->train.order = self->offer.order;
    self->update_length[0] = self->model->n_trained;
    self->update_length[1] = self->model->n_parameters - self->model->n_trained;
    pf_ps_set_phase(self, PF_PARTICIPANT_TRAINING);
}

static bool begin_round(struct pf_participant_session *self, const struct pf_round_offer *offer,
                        int64_t now_ms)
{
    struct pf_error err = {0};
    struct pf_fetch teacher_fetch = {0}, fetch = {0};
    if (pf_ps_plan_fetches(self, offer, &teacher_fetch, &fetch, &err) != PF_OK)
        return decline_offer(self, offer->round, PF_REASON_TRAINING_FAILED, err.text);

    if (pf_ps_working(self)) pf_ps_leave_round(self, PF_OUTCOME_DROPPED);
    self->offer = *offer;
    self->offer.chunk_hashes = self->offer.teacher.chunk_hashes = NULL;
    self->welcome.n_rounds = offer->n_rounds; /* abandoned rounds use up numbers */
    self->deadline_ms = now_ms + (int64_t)offer->deadline_ms;
    self->teacher_fetch = teacher_fetch;
    self->fetch = fetch;
    self->last = (struct pf_participation){
        .run_id = self->welcome.run_id, .round = offer->round, .model_hash = offer->model_hash};
    pf_ps_set_outcome(self, PF_OUTCOME_JOINED);
    if (pf_ps_secure(self)) {
        /* Leaving a round takes a phase that is in one. */
        pf_ps_set_phase(self, PF_PARTICIPANT_FETCHING);
        if (!pf_ps_join_secure_round(self, &err)) {
            pf_ps_give_round_up(self, PF_REASON_TRAINING_FAILED, err.text);
            return true;
        }
    }
    if (pf_ps_fetching(self) == NULL) {
        pf_ps_start_training(self);
    } else {
        if (!pf_ps_secure(self)) pf_ps_set_phase(self, PF_PARTICIPANT_FETCHING);
        pf_ps_request_chunks(self, now_ms);
    }
    return true;
}

bool pf_ps_offer(struct pf_participant_session *self, const struct pf_message *message,
                 int64_t now_ms)
{
    const struct pf_round_offer *offer = &message->offer;
    struct pf_error err = {0};
    enum pf_reason reason;
    if (offer->round == 0 || offer->round < self->last.round || offer->round <= self->over_round) {
        self->counters.stale++;
        return decline_offer(self, offer->round, PF_REASON_LATE, "that round is over here");
    }
    if (offer->round == self->last.round) {
        if (!pf_hash_equal(&offer->model_hash, &self->last.model_hash))
            return decline_offer(self, offer->round, PF_REASON_POLICY,
                                 "a second, different model for one round");
        if (self->last.outcome != PF_OUTCOME_DROPPED) return repeated_offer(self, offer, now_ms);
        if (pf_ps_secure(self))
            return decline_offer(self, offer->round, PF_REASON_STEP,
                                 "a secure round is joined once; it was interrupted here");
    }
    if (pf_participant_policy_offer(&self->config.policy,
                                    (enum pf_aggregation)self->welcome.aggregation, offer, &reason,
                                    &err) != PF_OK)
        return decline_offer(self, offer->round, reason, err.text);
    if (offer->order.distill_weight > 0.0 && self->teacher != NULL &&
        !pf_hash_equal(&offer->teacher.hash, &self->teacher_hash))
        return decline_offer(self, offer->round, PF_REASON_POLICY,
                             "a second, different teacher in one run");
    return begin_round(self, offer, now_ms);
}

static void upload(struct pf_participant_session *self, int64_t now_ms)
{
    int64_t on_the_line = (int64_t)self->update.length * 1000 / self->config.upload_bytes_per_s;
    self->upload_next = 0;
    self->upload_limit = 1; /* the rest when the coordinator has room for it */
    self->upload_ms = now_ms + self->upload_delay_ms + on_the_line;
    self->upload_delay_ms = PF_MIN(2 * self->upload_delay_ms, self->config.upload_last_ms);
}

bool pf_ps_next_upload(struct pf_participant_session *self, struct pf_participant_action *action)
{
    if (self->upload_next >= PF_MIN(self->n_update_chunks, self->upload_limit)) return false;
    uint32_t chunk = self->upload_next++;
    size_t offset = (size_t)chunk * PF_CHUNK_BYTES;
    memset(action, 0, sizeof *action);
    action->kind = PF_PARTICIPANT_SEND;
    action->message.kind = PF_MESSAGE_UPDATE_CHUNK;
    action->message.run_id = self->welcome.run_id;
    action->message.chunk = (struct pf_chunk){
        .round = self->last.round,
        .model_hash = self->last.model_hash,
        .chunk = chunk,
        .n_chunks = self->n_update_chunks,
        .bytes = self->update.bytes + offset,
        .length = PF_MIN(self->update.length - offset, (size_t)PF_CHUNK_BYTES),
    };
    return true;
}

void pf_ps_start_upload(struct pf_participant_session *self, int64_t now_ms)
{
    self->n_update_chunks = (uint32_t)((self->update.length - 1) / PF_CHUNK_BYTES + 1);
    self->upload_delay_ms = self->config.upload_first_ms;
    pf_ps_set_phase(self, PF_PARTICIPANT_UPLOADING);
    upload(self, now_ms);
}

void pf_participant_session_trained(struct pf_participant_session *self, uint64_t job,
                                    struct pf_update *update, int64_t now_ms)
{
    PF_CLEANUP(pf_update_finish) struct pf_update taken = *update;
    struct pf_error err = {0};
    *update = (struct pf_update){0};
    if (self->phase != PF_PARTICIPANT_TRAINING || job != self->job) return;
    if (taken.n != self->update_length[0] + self->update_length[1]) {
        pf_ps_give_round_up(self, PF_REASON_TRAINING_FAILED, "the update has a wrong length");
    } else if (pf_ps_secure(self)) {
        self->trained = taken;
        taken = (struct pf_update){0};
        pf_ps_mask_update(self, now_ms);
    } else if (pf_update_encode(PF_AGGREGATION_PLAIN, taken.values, taken.n,
                                (double)taken.figures[PF_FIGURE_EXAMPLES], &self->update,
                                &err) == PF_OK) {
        pf_ps_start_upload(self, now_ms);
    } else {
        /* The sentence names a value of the update. */
        pf_ps_give_round_up(self, PF_REASON_TRAINING_FAILED, "the local training diverged");
    }
}

void pf_participant_session_training_failed(struct pf_participant_session *self, uint64_t job,
                                            const char *sentence, int64_t now_ms)
{
    (void)now_ms;
    if (self->phase != PF_PARTICIPANT_TRAINING || job != self->job) return;
    pf_ps_give_round_up(self, PF_REASON_TRAINING_FAILED, sentence);
}

bool pf_ps_grant(struct pf_participant_session *self, const struct pf_message *message,
                 int64_t now_ms)
{
    if (self->phase != PF_PARTICIPANT_UPLOADING || message->grant.round != self->last.round) {
        self->counters.stale++;
        return false;
    }
    if (self->upload_limit > 1) {
        self->counters.repeated++;
        return true;
    }
    int64_t on_the_line = (int64_t)self->update.length * 1000 / self->config.upload_bytes_per_s;
    self->upload_limit = self->n_update_chunks;
    self->upload_ms = now_ms + self->config.upload_first_ms + on_the_line;
    return true;
}

/* The masked update has arrived; what is left is to consent to a sum and to unmask it. */
static bool take_secure_receipt(struct pf_participant_session *self, int64_t now_ms)
{
    if (self->phase != PF_PARTICIPANT_UPLOADING) {
        self->counters.repeated++;
        return self->phase == PF_PARTICIPANT_UNMASKING;
    }
    pf_buffer_finish(&self->update);
    self->n_update_chunks = self->upload_next = self->upload_limit = 0;
    self->deadline_ms = now_ms + self->config.unmask_grace_ms;
    pf_ps_set_phase(self, PF_PARTICIPANT_UNMASKING);
    return true;
}

bool pf_ps_receipt(struct pf_participant_session *self, const struct pf_message *message,
                   int64_t now_ms)
{
    if (message->receipt.round != self->last.round) {
        self->counters.stale++;
        return false;
    }
    if (pf_ps_secure(self)) return take_secure_receipt(self, now_ms);
    if (pf_ps_working(self)) {
        /* Also before the upload: a process before this one may have delivered. */
        pf_ps_leave_round(self, PF_OUTCOME_DELIVERED);
    } else if (self->last.outcome == PF_OUTCOME_DROPPED) {
        self->delivered++;
        pf_ps_set_outcome(self, PF_OUTCOME_DELIVERED); /* it had arrived after all */
    } else {
        self->counters.repeated++;
    }
    return true;
}

bool pf_ps_result(struct pf_participant_session *self, const struct pf_message *message,
                  int64_t now_ms)
{
    (void)now_ms;
    const struct pf_round_result *result = &message->result;
    if (result->round <= self->over_round) {
        self->counters.stale++;
        return false;
    }
    self->over_round = result->round;
    if (pf_ps_working(self) && self->last.round <= result->round) {
        bool there = self->phase == PF_PARTICIPANT_UNMASKING && self->last.round == result->round &&
                     result->completed;
        pf_ps_leave_round(self, there ? PF_OUTCOME_DELIVERED : PF_OUTCOME_DROPPED);
    }
    struct pf_participant_action *action = pf_ps_push(self, PF_PARTICIPANT_RESULT);
    action->result = *result;
    pf_ps_plain_text(action->result.text, sizeof action->result.text, result->text);
    return true;
}

/* REFUSAL of something that was said about a round. */
bool pf_ps_round_refusal(struct pf_participant_session *self, const struct pf_message *message,
                         int64_t now_ms)
{
    (void)now_ms;
    static const struct pf_run_id no_run;
    const struct pf_refusal *refusal = &message->refusal;
    if (memcmp(&message->run_id, &no_run, sizeof no_run) != 0 &&
        memcmp(&message->run_id, &self->welcome.run_id, sizeof no_run) != 0)
        return pf_ps_refuse(self, PF_REASON_WRONG_RUN, "a refusal from another run");
    if (!pf_ps_working(self) || refusal->round != self->last.round) {
        self->counters.stale++;
        return false;
    }
    enum pf_reason reason = (enum pf_reason)refusal->reason;
    if (reason == PF_REASON_BUSY) return true; /* every request is repeated anyway */
    char text[PF_MAX_REASON_BYTES];
    pf_ps_plain_text(text, sizeof text, refusal->text);
    pf_log(PF_LOG_WARNING, "round %u: the coordinator refused, %s: %s", refusal->round,
           pf_reason_name(reason), text);
    if (reason == PF_REASON_UPDATE_INVALID) {
        /* The same training would give the same update. */
        self->declined_because = PF_REASON_TRAINING_FAILED;
        snprintf(self->declined_text, sizeof self->declined_text, "the update was refused before");
        pf_ps_leave_round(self, PF_OUTCOME_DECLINED);
    } else {
        pf_ps_leave_round(self, PF_OUTCOME_DROPPED);
    }
    return true;
}

void pf_ps_round_resume(struct pf_participant_session *self, int64_t now_ms)
{
    if (self->phase == PF_PARTICIPANT_FETCHING) {
        pf_ps_restart_fetches(self);
        pf_ps_request_chunks(self, now_ms);
    } else if (self->phase == PF_PARTICIPANT_UPLOADING) {
        self->upload_delay_ms = self->config.upload_first_ms;
        upload(self, now_ms);
    }
}

static int64_t give_round_up_ms(const struct pf_participant_session *self)
{
    return self->deadline_ms + self->config.deadline_grace_ms;
}

void pf_ps_round_tick(struct pf_participant_session *self, int64_t now_ms)
{
    if (!pf_ps_working(self)) return;
    if (now_ms >= give_round_up_ms(self)) {
        pf_log(PF_LOG_WARNING, "round %u: given up, its deadline has passed", self->last.round);
        pf_ps_leave_round(self, PF_OUTCOME_DROPPED);
    } else if (self->phase == PF_PARTICIPANT_FETCHING) {
        pf_ps_request_chunks(self, now_ms);
    } else if (self->phase == PF_PARTICIPANT_UPLOADING && now_ms >= self->upload_ms) {
        upload(self, now_ms);
    }
}

int64_t pf_ps_round_wake_ms(const struct pf_participant_session *self)
{
    if (!pf_ps_working(self)) return INT64_MAX;
    int64_t wake = give_round_up_ms(self);
    if (self->phase == PF_PARTICIPANT_FETCHING)
        wake = PF_MIN(wake, pf_fetch_wake_at(pf_ps_fetching(self)));
    if (self->phase == PF_PARTICIPANT_UPLOADING) wake = PF_MIN(wake, self->upload_ms);
    return wake;
}
