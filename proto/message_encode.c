#include <assert.h>
#include <string.h>

#include "proto/message_check.h"
#include "proto/message_view.h"
#include "proto/network_codec.h"

static ProtobufCBinaryData borrow_text(const char *text)
{
    return pf_borrow(text, strlen(text));
}

static ProtobufCBinaryData borrow_hash(const struct pf_hash *hash)
{
    return pf_borrow(hash->bytes, sizeof hash->bytes);
}

static void view_hello(struct pf_message_view *self, const struct pf_hello *from)
{
    Packfed__Hello *to = &self->hello;
    packfed__hello__init(to);
    to->version = from->version;
    to->returning = from->returning;
    if (from->returning) to->run_id = pf_borrow(from->run_id.bytes, sizeof from->run_id.bytes);
}

static void view_welcome(struct pf_message_view *self, const struct pf_welcome *from)
{
    Packfed__Welcome *to = &self->welcome;
    packfed__welcome__init(to);
    to->version = from->version;
    to->n_rounds = from->n_rounds;
    to->alive_interval_ms = from->alive_interval_ms;
    to->aggregation = from->aggregation;
    pf_network_to_proto(&from->network, &self->network);
    to->network = &self->network;
}

static void view_refusal(struct pf_message_view *self, const struct pf_refusal *from)
{
    Packfed__Refusal *to = &self->refusal;
    packfed__refusal__init(to);
    to->reason = from->reason;
    to->round = from->round;
    to->text = borrow_text(from->text);
}

static void view_order(struct pf_message_view *self, const struct pf_training_order *from)
{
    Packfed__TrainingOrder *to = &self->order;
    packfed__training_order__init(to);
    to->batch = from->batch;
    to->epochs = from->epochs;
    to->schedule = from->schedule;
    to->learning_rate = from->learning_rate;
    to->schedule_begin = from->schedule_begin;
    to->schedule_end = from->schedule_end;
    to->momentum = from->momentum;
    to->nesterov = from->nesterov;
    to->weight_decay = from->weight_decay;
    to->l1 = from->l1;
    to->label_smoothing = from->label_smoothing;
    to->proximal = from->proximal;
    to->distill_weight = from->distill_weight;
    to->distill_temperature = from->distill_temperature;
}

static void view_masking(struct pf_message_view *self, const struct pf_masking_order *from)
{
    Packfed__MaskingOrder *to = &self->masking;
    packfed__masking_order__init(to);
    to->value_bits = from->value_bits;
    to->weight_cap = from->weight_cap;
    to->clip_trained = from->clip[0];
    to->clip_statistics = from->clip[1];
    to->rotate = from->rotate;
}

static void view_teacher(struct pf_message_view *self, const struct pf_chunked_model *from)
{
    Packfed__Teacher *to = &self->teacher;
    packfed__teacher__init(to);
    to->hash = borrow_hash(&from->hash);
    to->n_bytes = from->n_bytes;
    to->chunk_hashes = pf_borrow(from->chunk_hashes, from->n_chunks * sizeof(struct pf_hash));
}

static void view_offer(struct pf_message_view *self, const struct pf_round_offer *from)
{
    Packfed__RoundOffer *to = &self->offer;
    packfed__round_offer__init(to);
    to->round = from->round;
    to->n_rounds = from->n_rounds;
    to->stage = from->stage;
    to->n_stages = from->n_stages;
    to->cohort = from->cohort;
    to->deadline_ms = from->deadline_ms;
    to->model_hash = borrow_hash(&from->model_hash);
    to->model_bytes = from->model_bytes;
    to->chunk_hashes = pf_borrow(from->chunk_hashes, from->n_chunks * sizeof(struct pf_hash));
    view_order(self, &from->order);
    to->order = &self->order;
    if (from->teacher.n_chunks > 0) {
        view_teacher(self, &from->teacher);
        to->teacher = &self->teacher;
    }
    if (from->masking.value_bits == 0) return; /* plain */
    view_masking(self, &from->masking);
    to->masking = &self->masking;
}

static void view_request(struct pf_message_view *self, const struct pf_model_request *from)
{
    packfed__model_request__init(&self->request);
    self->request.model_hash = borrow_hash(&from->model_hash);
    self->request.chunk = from->chunk;
}

static void view_chunk(struct pf_message_view *self, const struct pf_chunk *from)
{
    Packfed__Chunk *to = &self->chunk;
    packfed__chunk__init(to);
    to->round = from->round;
    to->model_hash = borrow_hash(&from->model_hash);
    to->chunk = from->chunk;
    to->n_chunks = from->n_chunks;
    to->bytes = pf_borrow(from->bytes, from->length);
}

static void view_result(struct pf_message_view *self, const struct pf_round_result *from)
{
    Packfed__RoundResult *to = &self->result;
    packfed__round_result__init(to);
    to->round = from->round;
    to->completed = from->completed;
    to->n_included = from->n_included;
    to->accuracy_known = from->accuracy_known;
    to->accuracy_percent = from->accuracy_known ? from->accuracy_percent : 0.0;
    to->text = borrow_text(from->text);
}

static void view_alive(struct pf_message_view *self, const struct pf_alive *from)
{
    packfed__alive__init(&self->alive);
    self->alive.round = from->round;
    self->alive.training = from->training;
}

static void view_receipt(struct pf_message_view *self, const struct pf_update_receipt *from)
{
    packfed__update_receipt__init(&self->receipt);
    self->receipt.round = from->round;
}

static void view_finished(struct pf_message_view *self, const struct pf_finished *from)
{
    packfed__finished__init(&self->finished);
    self->finished.success = from->success;
    self->finished.text = borrow_text(from->text);
}

/* Fields 2 … 24 of the oneof stand in the order of enum pf_message_kind. */
static_assert((int)PACKFED__ENVELOPE__CONTENT_HELLO == PF_MESSAGE_HELLO + 1, "order of kinds");
static_assert((int)PACKFED__ENVELOPE__CONTENT_FINISHED == PF_MESSAGE_FINISHED + 1,
              "order of kinds");
static_assert((int)PACKFED__ENVELOPE__CONTENT_UNMASK == PF_MESSAGE_UNMASK + 1, "order of kinds");
static_assert(PF_MESSAGE_UNMASK + 1 == PF_MESSAGE_N_KINDS, "order of kinds");

static enum pf_status view_message(struct pf_message_view *self, const struct pf_message *from,
                                   struct pf_error *err)
{
    packfed__envelope__init(&self->envelope);
    static const struct pf_run_id zero;
    if (memcmp(&from->run_id, &zero, sizeof zero) != 0)
        self->envelope.run_id = pf_borrow(from->run_id.bytes, sizeof from->run_id.bytes);
    self->envelope.content_case = (Packfed__Envelope__ContentCase)(from->kind + 1);
    self->envelope.hello = &self->hello; /* any member: all pointers of the oneof share a place */
    switch (from->kind) {
    case PF_MESSAGE_HELLO: view_hello(self, &from->hello); break;
    case PF_MESSAGE_WELCOME: view_welcome(self, &from->welcome); break;
    case PF_MESSAGE_REFUSAL:
    case PF_MESSAGE_DECLINE: view_refusal(self, &from->refusal); break;
    case PF_MESSAGE_ROUND_OFFER: view_offer(self, &from->offer); break;
    case PF_MESSAGE_MODEL_REQUEST: view_request(self, &from->request); break;
    case PF_MESSAGE_MODEL_CHUNK:
    case PF_MESSAGE_UPDATE_CHUNK: view_chunk(self, &from->chunk); break;
    case PF_MESSAGE_UPDATE_RECEIPT: view_receipt(self, &from->receipt); break;
    case PF_MESSAGE_ALIVE: view_alive(self, &from->alive); break;
    case PF_MESSAGE_ROUND_RESULT: view_result(self, &from->result); break;
    case PF_MESSAGE_FINISHED: view_finished(self, &from->finished); break;
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
    case PF_MESSAGE_UNMASK: return pf_message_view_secagg(self, from, err);
    case PF_MESSAGE_N_KINDS: break; /* pf_message_check has refused it */
    }
    return PF_OK;
}

enum pf_status pf_message_encode(const struct pf_message *self, struct pf_buffer *bytes,
                                 struct pf_error *err)
{
    PF_TRY(pf_message_check(self, PF_INVALID, err));
    PF_CLEANUP(pf_message_view_finish) struct pf_message_view view = {.n_lists = 0};
    PF_TRY(view_message(&view, self, err));
    /* Lists of many participants may outgrow the frame; all else is far below it. */
    size_t length = packfed__envelope__get_packed_size(&view.envelope);
    if (length > PF_MAX_MESSAGE_BYTES)
        return pf_fail(err, PF_INVALID, "%s: a frame of %zu bytes, at most %u are allowed",
                       pf_message_kind_name(self->kind), length, PF_MAX_MESSAGE_BYTES);
    PF_TRY(pf_buffer_reserve(bytes, length, err));
    bytes->length += packfed__envelope__pack(&view.envelope, bytes->bytes + bytes->length);
    return PF_OK;
}
