#include "proto/message_check.h"

#include <string.h>

#include "proto/model_file.h"

/* Where a limit is broken, and what that means to the caller. */
struct check {
    const char *kind;
    enum pf_status status;
    struct pf_error *err;
};

static enum pf_status whole(const struct check *check, const char *field, uint64_t value,
                            uint64_t min, uint64_t max)
{
    if (value >= min && value <= max) return PF_OK;
    return pf_fail(check->err, check->status, "%s: %s is %llu, allowed are %llu to %llu",
                   check->kind, field, (unsigned long long)value, (unsigned long long)min,
                   (unsigned long long)max);
}

/* Not-a-number fails every comparison and so is refused too. */
static enum pf_status number(const struct check *check, const char *field, double value, double min,
                             double max)
{
    if (value >= min && value <= max) return PF_OK;
    return pf_fail(check->err, check->status, "%s: %s is %g, allowed are %g to %g", check->kind,
                   field, value, min, max);
}

/* 0 ≤ value < 1. */
static enum pf_status fraction(const struct check *check, const char *field, double value)
{
    if (value >= 0.0 && value < 1.0) return PF_OK;
    return pf_fail(check->err, check->status, "%s: %s is %g, must be at least 0 and below 1",
                   check->kind, field, value);
}

/* A text ends inside its array. */
static enum pf_status text(const struct check *check, const char *field, const char *value)
{
    if (memchr(value, '\0', PF_MAX_REASON_BYTES) != NULL) return PF_OK;
    return pf_fail(check->err, check->status, "%s: %s is longer than %u bytes", check->kind, field,
                   PF_MAX_REASON_BYTES - 1);
}

static enum pf_status check_welcome(const struct check *check, const struct pf_welcome *self)
{
    PF_TRY(whole(check, "n_rounds", self->n_rounds, 1, PF_MAX_ROUNDS));
    PF_TRY(whole(check, "alive_interval_ms", self->alive_interval_ms, PF_MIN_ALIVE_MS,
                 PF_MAX_ALIVE_MS));
    PF_TRY(whole(check, "aggregation", self->aggregation, PF_AGGREGATION_PLAIN,
                 PF_AGGREGATION_SECURE));
    struct pf_error inner = {0};
    if (pf_network_validate(&self->network, &inner) == PF_OK) return PF_OK;
    return pf_fail(check->err, check->status, "%s: %s", check->kind, inner.text);
}

static enum pf_status check_refusal(const struct check *check, const struct pf_refusal *self)
{
    PF_TRY(whole(check, "reason", self->reason, 1, PF_REASON_N - 1));
    PF_TRY(whole(check, "round", self->round, 0, PF_MAX_ROUNDS));
    return text(check, "text", self->text);
}

static enum pf_status check_order(const struct check *check, const struct pf_training_order *self)
{
    PF_TRY(whole(check, "order.batch", self->batch, 1, PF_MAX_ORDER_BATCH));
    if (!(self->epochs > 0.0 && self->epochs <= PF_MAX_ORDER_EPOCHS))
        return pf_fail(check->err, check->status,
                       "%s: order.epochs is %g, must be above 0, up to %g", check->kind,
                       self->epochs, PF_MAX_ORDER_EPOCHS);
    PF_TRY(whole(check, "order.schedule", self->schedule, 0, PF_MAX_ORDER_SCHEDULE));
    PF_TRY(number(check, "order.learning_rate", self->learning_rate, 0.0, PF_MAX_ORDER_RATE));
    PF_TRY(number(check, "order.schedule_begin", self->schedule_begin, 0.0, 1.0));
    PF_TRY(number(check, "order.schedule_end", self->schedule_end, self->schedule_begin, 1.0));
    PF_TRY(fraction(check, "order.momentum", self->momentum));
    PF_TRY(number(check, "order.weight_decay", self->weight_decay, 0.0, PF_MAX_ORDER_DECAY));
    PF_TRY(number(check, "order.l1", self->l1, 0.0, PF_MAX_ORDER_DECAY));
    PF_TRY(fraction(check, "order.label_smoothing", self->label_smoothing));
    return number(check, "order.proximal", self->proximal, 0.0, PF_MAX_ORDER_RATE);
}

static enum pf_status check_offer(const struct check *check, const struct pf_round_offer *self)
{
    PF_TRY(whole(check, "n_rounds", self->n_rounds, 1, PF_MAX_ROUNDS));
    PF_TRY(whole(check, "round", self->round, 1, self->n_rounds));
    PF_TRY(whole(check, "n_stages", self->n_stages, 1, PF_MAX_OFFER_STAGES));
    PF_TRY(whole(check, "stage", self->stage, 1, self->n_stages));
    PF_TRY(whole(check, "cohort", self->cohort, 1, PF_MAX_COHORT));
    PF_TRY(whole(check, "deadline_ms", self->deadline_ms, 1, PF_MAX_DEADLINE_MS));
    PF_TRY(whole(check, "model_bytes", self->model_bytes, 1, PF_MAX_MODEL_BYTES));
    uint64_t n_chunks = (self->model_bytes + PF_CHUNK_BYTES - 1) / PF_CHUNK_BYTES;
    PF_TRY(whole(check, "the number of chunk hashes", self->n_chunks, n_chunks, n_chunks));
    return check_order(check, &self->order);
}

static enum pf_status check_chunk(const struct check *check, const struct pf_chunk *self,
                                  bool update)
{
    PF_TRY(whole(check, "round", self->round, update ? 1 : 0, update ? PF_MAX_ROUNDS : 0));
    PF_TRY(whole(check, "n_chunks", self->n_chunks, 1, PF_MAX_CHUNKS));
    PF_TRY(whole(check, "chunk", self->chunk, 0, self->n_chunks - 1));
    bool last = self->chunk == self->n_chunks - 1;
    return whole(check, "the chunk's length", self->length, last ? 1 : PF_CHUNK_BYTES,
                 PF_CHUNK_BYTES);
}

static enum pf_status check_result(const struct check *check, const struct pf_round_result *self)
{
    PF_TRY(whole(check, "round", self->round, 1, PF_MAX_ROUNDS));
    PF_TRY(whole(check, "n_included", self->n_included, 0, PF_MAX_COHORT));
    if (self->accuracy_known)
        PF_TRY(number(check, "accuracy_percent", self->accuracy_percent, 0.0, 100.0));
    return text(check, "text", self->text);
}

static enum pf_status check_alive(const struct check *check, const struct pf_alive *self)
{
    PF_TRY(whole(check, "round", self->round, 0, PF_MAX_ROUNDS));
    return whole(check, "training", self->training, 0, 1);
}

static enum pf_status check_run_id(const struct check *check, const struct pf_message *self)
{
    static const struct pf_run_id zero;
    if (self->kind == PF_MESSAGE_REFUSAL) return PF_OK;
    /* A HELLO names a run inside, or none. */
    const struct pf_run_id *id = &self->run_id;
    if (self->kind == PF_MESSAGE_HELLO) {
        if (!self->hello.returning) return PF_OK;
        id = &self->hello.run_id;
    }
    if (memcmp(id, &zero, sizeof zero) != 0) return PF_OK;
    return pf_fail(check->err, check->status, "%s: run_id is zero", check->kind);
}

enum pf_status pf_message_check(const struct pf_message *self, enum pf_status status,
                                struct pf_error *err)
{
    struct check check = {pf_message_kind_name(self->kind), status, err};
    PF_TRY(check_run_id(&check, self));
    switch (self->kind) {
    case PF_MESSAGE_HELLO: return PF_OK; /* another version is for the session to refuse */
    case PF_MESSAGE_WELCOME: return check_welcome(&check, &self->welcome);
    case PF_MESSAGE_REFUSAL:
    case PF_MESSAGE_DECLINE: return check_refusal(&check, &self->refusal);
    case PF_MESSAGE_ROUND_OFFER: return check_offer(&check, &self->offer);
    case PF_MESSAGE_MODEL_REQUEST:
        return whole(&check, "chunk", self->request.chunk, 0, PF_MAX_CHUNKS - 1);
    case PF_MESSAGE_MODEL_CHUNK: return check_chunk(&check, &self->chunk, false);
    case PF_MESSAGE_UPDATE_CHUNK: return check_chunk(&check, &self->chunk, true);
    case PF_MESSAGE_UPDATE_RECEIPT:
        return whole(&check, "round", self->receipt.round, 1, PF_MAX_ROUNDS);
    case PF_MESSAGE_ALIVE: return check_alive(&check, &self->alive);
    case PF_MESSAGE_ROUND_RESULT: return check_result(&check, &self->result);
    case PF_MESSAGE_FINISHED: return text(&check, "text", self->finished.text);
    case PF_MESSAGE_N_KINDS: break;
    }
    return pf_fail(err, status, "a message of unknown kind %d", (int)self->kind);
}
