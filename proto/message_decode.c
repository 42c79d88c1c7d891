/* Frames into messages: protobuf-c splits the bytes, the functions here copy field by field into
 * our own types and check byte lengths, pf_message_check the numbers. */
#include "proto/message_decode.h"

#include <sodium.h>
#include <string.h>

#include "common/base/memory.h"
#include "proto/message_check.h"
#include "proto/network_codec.h"
#include "proto/printable.h"
#include "proto/unpack.h"

enum pf_status pf_copy_exact(const char *field, const ProtobufCBinaryData *from, uint8_t *out,
                             size_t expected, struct pf_error *err)
{
    if (from->len != expected)
        return pf_fail(err, PF_CORRUPT, "%s has %zu bytes instead of %zu", field, from->len,
                       expected);
    memcpy(out, from->data, expected);
    return PF_OK;
}

static enum pf_status copy_hash(const ProtobufCBinaryData *from, struct pf_hash *hash,
                                struct pf_error *err)
{
    return pf_copy_exact("model_hash", from, hash->bytes, sizeof hash->bytes, err);
}

/* 16 bytes, or none where `optional`. */
static enum pf_status copy_run_id(const ProtobufCBinaryData *from, bool optional,
                                  struct pf_run_id *id, struct pf_error *err)
{
    if (optional && from->len == 0) return PF_OK;
    return pf_copy_exact("run_id", from, id->bytes, sizeof id->bytes, err);
}

static enum pf_status copy_text(const ProtobufCBinaryData *from, char out[PF_MAX_REASON_BYTES],
                                struct pf_error *err)
{
    if (from->len >= PF_MAX_REASON_BYTES)
        return pf_fail(err, PF_CORRUPT, "text has %zu bytes, at most %u are allowed", from->len,
                       PF_MAX_REASON_BYTES - 1);
    pf_printable(out, PF_MAX_REASON_BYTES, from->data, from->len);
    return PF_OK;
}

static enum pf_status read_hello(const Packfed__Hello *from, struct pf_hello *to,
                                 struct pf_error *err)
{
    to->version = from->version;
    to->returning = from->returning != 0;
    if (!to->returning && from->run_id.len != 0)
        return pf_fail(err, PF_CORRUPT, "run_id in a HELLO that does not return");
    return copy_run_id(&from->run_id, !to->returning, &to->run_id, err);
}

static enum pf_status read_welcome(const Packfed__Welcome *from, struct pf_welcome *to,
                                   struct pf_error *err)
{
    to->version = from->version;
    to->n_rounds = from->n_rounds;
    to->alive_interval_ms = from->alive_interval_ms;
    to->aggregation = from->aggregation;
    return pf_network_from_proto(from->network, &to->network, err);
}

static enum pf_status read_refusal(const Packfed__Refusal *from, struct pf_refusal *to,
                                   struct pf_error *err)
{
    to->reason = from->reason;
    to->round = from->round;
    return copy_text(&from->text, to->text, err);
}

static enum pf_status read_order(const Packfed__TrainingOrder *from, struct pf_training_order *to,
                                 struct pf_error *err)
{
    if (from == NULL) return pf_fail(err, PF_CORRUPT, "order is absent");
    to->batch = from->batch;
    to->epochs = from->epochs;
    to->schedule = from->schedule;
    to->learning_rate = from->learning_rate;
    to->schedule_begin = from->schedule_begin;
    to->schedule_end = from->schedule_end;
    to->momentum = from->momentum;
    to->nesterov = from->nesterov != 0;
    to->weight_decay = from->weight_decay;
    to->l1 = from->l1;
    to->label_smoothing = from->label_smoothing;
    to->proximal = from->proximal;
    to->distill_weight = from->distill_weight;
    to->distill_temperature = from->distill_temperature;
    return PF_OK;
}

static void read_masking(const Packfed__MaskingOrder *from, struct pf_masking_order *to)
{
    if (from == NULL) return; /* plain */
    to->value_bits = from->value_bits;
    to->weight_cap = from->weight_cap;
    to->clip[0] = from->clip_trained;
    to->clip[1] = from->clip_statistics;
    to->rotate = from->rotate != 0;
}

static enum pf_status read_hashes(const char *field, const ProtobufCBinaryData *from, uint32_t *n,
                                  struct pf_hash **hashes, struct pf_error *err)
{
    if (from->len == 0 || from->len % sizeof(struct pf_hash) != 0 ||
        from->len / sizeof(struct pf_hash) > PF_MAX_CHUNKS)
        return pf_fail(err, PF_CORRUPT, "%s has %zu bytes: not 1 to %u hashes", field, from->len,
                       PF_MAX_CHUNKS);
    *n = (uint32_t)(from->len / sizeof(struct pf_hash));
    *hashes = PF_ALLOC(*n, struct pf_hash);
    if (*hashes == NULL) return pf_no_memory(err, "the hashes of a model's chunks");
    memcpy(*hashes, from->data, from->len);
    return PF_OK;
}

static enum pf_status read_teacher(const Packfed__Teacher *from, struct pf_chunked_model *to,
                                   struct pf_error *err)
{
    if (from == NULL) return PF_OK; /* no distillation */
    to->n_bytes = from->n_bytes;
    PF_TRY(pf_copy_exact("teacher.hash", &from->hash, to->hash.bytes, sizeof to->hash.bytes, err));
    return read_hashes("teacher.chunk_hashes", &from->chunk_hashes, &to->n_chunks,
                       &to->chunk_hashes, err);
}

static enum pf_status read_offer(const Packfed__RoundOffer *from, struct pf_round_offer *to,
                                 struct pf_error *err)
{
    to->round = from->round;
    to->n_rounds = from->n_rounds;
    to->stage = from->stage;
    to->n_stages = from->n_stages;
    to->cohort = from->cohort;
    to->deadline_ms = from->deadline_ms;
    to->model_bytes = from->model_bytes;
    PF_TRY(copy_hash(&from->model_hash, &to->model_hash, err));
    PF_TRY(read_order(from->order, &to->order, err));
    read_masking(from->masking, &to->masking);
    PF_TRY(read_teacher(from->teacher, &to->teacher, err));
    return read_hashes("chunk_hashes", &from->chunk_hashes, &to->n_chunks, &to->chunk_hashes, err);
}

static enum pf_status read_request(const Packfed__ModelRequest *from, struct pf_model_request *to,
                                   struct pf_error *err)
{
    to->chunk = from->chunk;
    return copy_hash(&from->model_hash, &to->model_hash, err);
}

static enum pf_status read_chunk(const Packfed__Chunk *from, struct pf_chunk *to,
                                 struct pf_error *err)
{
    to->round = from->round;
    to->chunk = from->chunk;
    to->n_chunks = from->n_chunks;
    PF_TRY(copy_hash(&from->model_hash, &to->model_hash, err));
    if (from->bytes.len == 0 || from->bytes.len > PF_CHUNK_BYTES)
        return pf_fail(err, PF_CORRUPT, "the chunk has %zu bytes, allowed are 1 to %u",
                       from->bytes.len, PF_CHUNK_BYTES);
    to->bytes = PF_ALLOC(from->bytes.len, uint8_t);
    if (to->bytes == NULL) return pf_no_memory(err, "a chunk");
    memcpy(to->bytes, from->bytes.data, from->bytes.len);
    to->length = from->bytes.len;
    return PF_OK;
}

static enum pf_status read_result(const Packfed__RoundResult *from, struct pf_round_result *to,
                                  struct pf_error *err)
{
    to->round = from->round;
    to->completed = from->completed != 0;
    to->n_included = from->n_included;
    to->accuracy_known = from->accuracy_known != 0;
    to->accuracy_percent = to->accuracy_known ? from->accuracy_percent : 0.0;
    return copy_text(&from->text, to->text, err);
}

static enum pf_status read_finished(const Packfed__Finished *from, struct pf_finished *to,
                                    struct pf_error *err)
{
    to->success = from->success != 0;
    return copy_text(&from->text, to->text, err);
}

static enum pf_status read_content(const Packfed__Envelope *from, struct pf_message *to,
                                   struct pf_error *err)
{
    switch (to->kind) {
    case PF_MESSAGE_HELLO: return read_hello(from->hello, &to->hello, err);
    case PF_MESSAGE_WELCOME:
        to->welcome.run_id = to->run_id; /* travels once, in the envelope */
        return read_welcome(from->welcome, &to->welcome, err);
    case PF_MESSAGE_REFUSAL: return read_refusal(from->refusal, &to->refusal, err);
    case PF_MESSAGE_DECLINE: return read_refusal(from->decline, &to->refusal, err);
    case PF_MESSAGE_ROUND_OFFER: return read_offer(from->round_offer, &to->offer, err);
    case PF_MESSAGE_MODEL_REQUEST: return read_request(from->model_request, &to->request, err);
    case PF_MESSAGE_MODEL_CHUNK: return read_chunk(from->model_chunk, &to->chunk, err);
    case PF_MESSAGE_UPDATE_CHUNK: return read_chunk(from->update_chunk, &to->chunk, err);
    case PF_MESSAGE_UPDATE_RECEIPT: to->receipt.round = from->update_receipt->round; return PF_OK;
    case PF_MESSAGE_ALIVE:
        to->alive.round = from->alive->round;
        to->alive.training = from->alive->training != 0;
        return PF_OK;
    case PF_MESSAGE_ROUND_RESULT: return read_result(from->round_result, &to->result, err);
    case PF_MESSAGE_FINISHED: return read_finished(from->finished, &to->finished, err);
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
    case PF_MESSAGE_UNMASK: return pf_message_read_secagg(from, to, err);
    case PF_MESSAGE_N_KINDS: break;
    }
    return pf_fail(err, PF_CORRUPT, "not a kind of message known here");
}

/* `to` is all zero; on failure the caller finishes it. */
static enum pf_status read_envelope(const Packfed__Envelope *from, struct pf_message *to,
                                    struct pf_error *err)
{
    /* protobuf-c sets the case only for fields it knows, with their pointer. */
    if (from->content_case == PACKFED__ENVELOPE__CONTENT__NOT_SET || from->hello == NULL)
        return pf_fail(err, PF_CORRUPT, "a message of no kind known here");
    to->kind = (enum pf_message_kind)(from->content_case - 1);
    bool optional = to->kind == PF_MESSAGE_HELLO || to->kind == PF_MESSAGE_REFUSAL;
    struct pf_error inner = {0};
    enum pf_status status = copy_run_id(&from->run_id, optional, &to->run_id, &inner);
    if (status == PF_OK) status = read_content(from, to, &inner);
    if (status != PF_OK)
        return pf_fail(err, status, "%s: %s", pf_message_kind_name(to->kind), inner.text);
    return pf_message_check(to, PF_CORRUPT, err);
}

/* protobuf-c's copy of the shares. */
static void wipe_shares(const Packfed__Envelope *envelope)
{
    if (envelope->content_case != PACKFED__ENVELOPE__CONTENT_UNMASK || envelope->unmask == NULL)
        return;
    const ProtobufCBinaryData *shares = &envelope->unmask->shares;
    if (shares->len > 0) sodium_memzero(shares->data, shares->len);
}

enum pf_status pf_message_decode(const uint8_t *bytes, size_t length, struct pf_message *message,
                                 struct pf_error *err)
{
    if (length > PF_MAX_MESSAGE_BYTES)
        return pf_fail(err, PF_CORRUPT, "a frame of %zu bytes, at most %u are allowed", length,
                       PF_MAX_MESSAGE_BYTES);
    PF_CLEANUP(pf_unpacked_freep)
    ProtobufCMessage *unpacked = pf_unpack(&packfed__envelope__descriptor, bytes, length);
    if (unpacked == NULL)
        return pf_fail(err, PF_CORRUPT, "a frame of %zu bytes that is not a message", length);
    PF_CLEANUP(pf_message_finish) struct pf_message self;
    memset(&self, 0, sizeof self); /* every member of the union */
    enum pf_status status = read_envelope((const Packfed__Envelope *)unpacked, &self, err);
    wipe_shares((const Packfed__Envelope *)unpacked);
    PF_TRY(status);
    *message = self;
    self.kind = 0; /* owns nothing any more */
    return PF_OK;
}
