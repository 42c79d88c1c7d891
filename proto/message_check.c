#include "proto/message_check.h"

#include <string.h>

#include "proto/model_file.h"

enum pf_status pf_limit_whole(const struct pf_limit *limit, const char *field, uint64_t value,
                              uint64_t min, uint64_t max)
{
    if (value >= min && value <= max) return PF_OK;
    return pf_fail(limit->err, limit->status, "%s: %s is %llu, allowed are %llu to %llu",
                   limit->kind, field, (unsigned long long)value, (unsigned long long)min,
                   (unsigned long long)max);
}

/* Not-a-number fails every comparison and so is refused too. */
enum pf_status pf_limit_number(const struct pf_limit *limit, const char *field, double value,
                               double min, double max)
{
    if (value >= min && value <= max) return PF_OK;
    return pf_fail(limit->err, limit->status, "%s: %s is %g, allowed are %g to %g", limit->kind,
                   field, value, min, max);
}

/* 0 ≤ value < 1. */
static enum pf_status fraction(const struct pf_limit *limit, const char *field, double value)
{
    if (value >= 0.0 && value < 1.0) return PF_OK;
    return pf_fail(limit->err, limit->status, "%s: %s is %g, must be at least 0 and below 1",
                   limit->kind, field, value);
}

/* A text ends inside its array. */
static enum pf_status text(const struct pf_limit *limit, const char *field, const char *value)
{
    if (memchr(value, '\0', PF_MAX_REASON_BYTES) != NULL) return PF_OK;
    return pf_fail(limit->err, limit->status, "%s: %s is longer than %u bytes", limit->kind, field,
                   PF_MAX_REASON_BYTES - 1);
}

static enum pf_status check_welcome(const struct pf_limit *limit, const struct pf_welcome *self)
{
    PF_TRY(pf_limit_whole(limit, "n_rounds", self->n_rounds, 1, PF_MAX_ROUNDS));
    PF_TRY(pf_limit_whole(limit, "alive_interval_ms", self->alive_interval_ms, PF_MIN_ALIVE_MS,
                          PF_MAX_ALIVE_MS));
    PF_TRY(pf_limit_whole(limit, "aggregation", self->aggregation, PF_AGGREGATION_PLAIN,
                          PF_AGGREGATION_SECURE));
    struct pf_error inner = {0};
    if (pf_network_validate(&self->network, &inner) == PF_OK) return PF_OK;
    return pf_fail(limit->err, limit->status, "%s: %s", limit->kind, inner.text);
}

static enum pf_status check_refusal(const struct pf_limit *limit, const struct pf_refusal *self)
{
    PF_TRY(pf_limit_whole(limit, "reason", self->reason, 1, PF_REASON_N - 1));
    PF_TRY(pf_limit_whole(limit, "round", self->round, 0, PF_MAX_ROUNDS));
    return text(limit, "text", self->text);
}

static enum pf_status check_order(const struct pf_limit *limit,
                                  const struct pf_training_order *self)
{
    PF_TRY(pf_limit_whole(limit, "order.batch", self->batch, 1, PF_MAX_ORDER_BATCH));
    if (!(self->epochs > 0.0 && self->epochs <= PF_MAX_ORDER_EPOCHS))
        return pf_fail(limit->err, limit->status,
                       "%s: order.epochs is %g, must be above 0, up to %g", limit->kind,
                       self->epochs, PF_MAX_ORDER_EPOCHS);
    PF_TRY(pf_limit_whole(limit, "order.schedule", self->schedule, 0, PF_MAX_ORDER_SCHEDULE));
    PF_TRY(
        pf_limit_number(limit, "order.learning_rate", self->learning_rate, 0.0, PF_MAX_ORDER_RATE));
    PF_TRY(pf_limit_number(limit, "order.schedule_begin", self->schedule_begin, 0.0, 1.0));
    PF_TRY(pf_limit_number(limit, "order.schedule_end", self->schedule_end, self->schedule_begin,
                           1.0));
    PF_TRY(fraction(limit, "order.momentum", self->momentum));
    PF_TRY(
        pf_limit_number(limit, "order.weight_decay", self->weight_decay, 0.0, PF_MAX_ORDER_DECAY));
    PF_TRY(pf_limit_number(limit, "order.l1", self->l1, 0.0, PF_MAX_ORDER_DECAY));
    PF_TRY(fraction(limit, "order.label_smoothing", self->label_smoothing));
    PF_TRY(pf_limit_number(limit, "order.distill_weight", self->distill_weight, 0.0, 1.0));
    bool distils = self->distill_weight > 0.0;
    PF_TRY(pf_limit_number(limit, "order.distill_temperature", self->distill_temperature,
                           distils ? PF_MIN_ORDER_TEMPERATURE : 0.0,
                           distils ? PF_MAX_ORDER_TEMPERATURE : 0.0));
    return pf_limit_number(limit, "order.proximal", self->proximal, 0.0, PF_MAX_ORDER_RATE);
}

static enum pf_status check_masking(const struct pf_limit *limit,
                                    const struct pf_masking_order *self)
{
    bool plain = self->value_bits == 0 && self->weight_cap == 0 && self->clip[0] == 0.0 &&
                 self->clip[1] == 0.0 && !self->rotate;
    if (plain) return PF_OK;
    PF_TRY(pf_limit_whole(limit, "masking.value_bits", self->value_bits, PF_CODEC_MIN_VALUE_BITS,
                          PF_CODEC_MAX_VALUE_BITS));
    PF_TRY(pf_limit_whole(limit, "masking.weight_cap", self->weight_cap, 1, PF_MAX_WEIGHT_CAP));
    PF_TRY(pf_limit_number(limit, "masking.clip_trained", self->clip[0], PF_MIN_CLIP, PF_MAX_CLIP));
    return pf_limit_number(limit, "masking.clip_statistics", self->clip[1], PF_MIN_CLIP,
                           PF_MAX_CLIP);
}

/* Bytes of a model, and as many hashes as they make chunks. */
static enum pf_status check_chunked(const struct pf_limit *limit, const char *bytes,
                                    const char *hashes, uint64_t n_bytes, uint32_t n_hashes)
{
    PF_TRY(pf_limit_whole(limit, bytes, n_bytes, 1, PF_MAX_MODEL_BYTES));
    uint64_t n_chunks = (n_bytes + PF_CHUNK_BYTES - 1) / PF_CHUNK_BYTES;
    return pf_limit_whole(limit, hashes, n_hashes, n_chunks, n_chunks);
}

/* There where there is something to distil, and only there. */
static enum pf_status check_teacher(const struct pf_limit *limit, const struct pf_round_offer *self)
{
    static const struct pf_hash zero;
    const struct pf_chunked_model *teacher = &self->teacher;
    if (self->order.distill_weight > 0.0)
        return check_chunked(limit, "teacher.n_bytes", "the number of the teacher's chunk hashes",
                             teacher->n_bytes, teacher->n_chunks);
    if (teacher->n_bytes == 0 && teacher->n_chunks == 0 &&
        memcmp(&teacher->hash, &zero, sizeof zero) == 0)
        return PF_OK;
    return pf_fail(limit->err, limit->status, "%s: a teacher whose word has no weight",
                   limit->kind);
}

static enum pf_status check_offer(const struct pf_limit *limit, const struct pf_round_offer *self)
{
    PF_TRY(pf_limit_whole(limit, "n_rounds", self->n_rounds, 1, PF_MAX_ROUNDS));
    PF_TRY(pf_limit_whole(limit, "round", self->round, 1, self->n_rounds));
    PF_TRY(pf_limit_whole(limit, "n_stages", self->n_stages, 1, PF_MAX_OFFER_STAGES));
    PF_TRY(pf_limit_whole(limit, "stage", self->stage, 1, self->n_stages));
    PF_TRY(pf_limit_whole(limit, "cohort", self->cohort, 1, PF_MAX_COHORT));
    PF_TRY(pf_limit_whole(limit, "deadline_ms", self->deadline_ms, 1, PF_MAX_DEADLINE_MS));
    PF_TRY(check_chunked(limit, "model_bytes", "the number of chunk hashes", self->model_bytes,
                         self->n_chunks));
    PF_TRY(check_masking(limit, &self->masking));
    PF_TRY(check_order(limit, &self->order));
    return check_teacher(limit, self);
}

static enum pf_status check_chunk(const struct pf_limit *limit, const struct pf_chunk *self,
                                  bool update)
{
    PF_TRY(pf_limit_whole(limit, "round", self->round, update ? 1 : 0, update ? PF_MAX_ROUNDS : 0));
    PF_TRY(pf_limit_whole(limit, "n_chunks", self->n_chunks, 1, PF_MAX_CHUNKS));
    PF_TRY(pf_limit_whole(limit, "chunk", self->chunk, 0, self->n_chunks - 1));
    bool last = self->chunk == self->n_chunks - 1;
    return pf_limit_whole(limit, "the chunk's length", self->length, last ? 1 : PF_CHUNK_BYTES,
                          PF_CHUNK_BYTES);
}

static enum pf_status check_result(const struct pf_limit *limit, const struct pf_round_result *self)
{
    PF_TRY(pf_limit_whole(limit, "round", self->round, 1, PF_MAX_ROUNDS));
    PF_TRY(pf_limit_whole(limit, "n_included", self->n_included, 0, PF_MAX_COHORT));
    if (self->accuracy_known)
        PF_TRY(pf_limit_number(limit, "accuracy_percent", self->accuracy_percent, 0.0, 100.0));
    return text(limit, "text", self->text);
}

static enum pf_status check_alive(const struct pf_limit *limit, const struct pf_alive *self)
{
    PF_TRY(pf_limit_whole(limit, "round", self->round, 0, PF_MAX_ROUNDS));
    return pf_limit_whole(limit, "training", self->training, 0, 1);
}

static enum pf_status check_run_id(const struct pf_limit *limit, const struct pf_message *self)
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
    return pf_fail(limit->err, limit->status, "%s: run_id is zero", limit->kind);
}

enum pf_status pf_message_check(const struct pf_message *self, enum pf_status status,
                                struct pf_error *err)
{
    struct pf_limit limit = {pf_message_kind_name(self->kind), status, err};
    PF_TRY(check_run_id(&limit, self));
    switch (self->kind) {
    case PF_MESSAGE_HELLO: return PF_OK; /* another version is for the session to refuse */
    case PF_MESSAGE_WELCOME: return check_welcome(&limit, &self->welcome);
    case PF_MESSAGE_REFUSAL:
    case PF_MESSAGE_DECLINE: return check_refusal(&limit, &self->refusal);
    case PF_MESSAGE_ROUND_OFFER: return check_offer(&limit, &self->offer);
    case PF_MESSAGE_MODEL_REQUEST:
        return pf_limit_whole(&limit, "chunk", self->request.chunk, 0, PF_MAX_CHUNKS - 1);
    case PF_MESSAGE_MODEL_CHUNK: return check_chunk(&limit, &self->chunk, false);
    case PF_MESSAGE_UPDATE_CHUNK: return check_chunk(&limit, &self->chunk, true);
    case PF_MESSAGE_UPDATE_RECEIPT:
        return pf_limit_whole(&limit, "round", self->receipt.round, 1, PF_MAX_ROUNDS);
    case PF_MESSAGE_ALIVE: return check_alive(&limit, &self->alive);
    case PF_MESSAGE_ROUND_RESULT: return check_result(&limit, &self->result);
    case PF_MESSAGE_FINISHED: return text(&limit, "text", self->finished.text);
    case PF_MESSAGE_ADVERTISE:
    case PF_MESSAGE_COMMITTED:
    case PF_MESSAGE_REVEAL:
    case PF_MESSAGE_KEY_LIST:
    case PF_MESSAGE_SHARES:
    case PF_MESSAGE_SHARE_DELIVERY:
    case PF_MESSAGE_UPDATE_GRANT:
    case PF_MESSAGE_SURVIVORS:
    case PF_MESSAGE_CONSENT:
    case PF_MESSAGE_UNMASK_REQUEST:
    case PF_MESSAGE_UNMASK: return pf_message_check_secagg(&limit, self);
    case PF_MESSAGE_N_KINDS: break;
    }
    return pf_fail(err, status, "a message of unknown kind %d", (int)self->kind);
}
