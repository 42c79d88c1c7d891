/* Messages: every kind comes out as it went in; every broken limit is refused and changes nothing.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/memory.h"
#include "message_helpers.h"
#include "proto/model_file.h"
#include "proto/printable.h"
#include "sample_messages.h"

static void assert_orders_equal(const struct pf_training_order *a,
                                const struct pf_training_order *b)
{
    SAME(batch);
    SAME(epochs);
    SAME(schedule);
    SAME(learning_rate);
    SAME(schedule_begin);
    SAME(schedule_end);
    SAME(momentum);
    SAME(nesterov);
    SAME(weight_decay);
    SAME(l1);
    SAME(label_smoothing);
    SAME(proximal);
    SAME(distill_weight);
    SAME(distill_temperature);
}

static void assert_teachers_equal(const struct pf_chunked_model *a,
                                  const struct pf_chunked_model *b)
{
    SAME_BYTES(hash);
    SAME(n_bytes);
    SAME(n_chunks);
    if (a->n_chunks == 0) return; /* no distillation */
    assert_memory_equal(a->chunk_hashes, b->chunk_hashes, a->n_chunks * sizeof(struct pf_hash));
}

static void assert_maskings_equal(const struct pf_masking_order *a,
                                  const struct pf_masking_order *b)
{
    SAME(value_bits);
    SAME(weight_cap);
    SAME(clip[0]);
    SAME(clip[1]);
    SAME(rotate);
}

static void assert_offers_equal(const struct pf_round_offer *a, const struct pf_round_offer *b)
{
    SAME(round);
    SAME(n_rounds);
    SAME(stage);
    SAME(n_stages);
    SAME(cohort);
    SAME(deadline_ms);
    SAME_BYTES(model_hash);
    SAME(model_bytes);
    SAME(n_chunks);
    assert_memory_equal(a->chunk_hashes, b->chunk_hashes, a->n_chunks * sizeof(struct pf_hash));
    assert_orders_equal(&a->order, &b->order);
    assert_maskings_equal(&a->masking, &b->masking);
    assert_teachers_equal(&a->teacher, &b->teacher);
}

static void assert_chunks_equal(const struct pf_chunk *a, const struct pf_chunk *b)
{
    SAME(round);
    SAME_BYTES(model_hash);
    SAME(chunk);
    SAME(n_chunks);
    SAME(length);
    assert_memory_equal(a->bytes, b->bytes, a->length);
}

static void assert_refusals_equal(const struct pf_refusal *a, const struct pf_refusal *b)
{
    SAME(reason);
    SAME(round);
    assert_string_equal(a->text, b->text);
}

static void assert_results_equal(const struct pf_round_result *a, const struct pf_round_result *b)
{
    SAME(round);
    SAME(completed);
    SAME(n_included);
    SAME(accuracy_known);
    SAME(accuracy_percent);
    assert_string_equal(a->text, b->text);
}

static void assert_welcomes_equal(const struct pf_welcome *a, const struct pf_welcome *b)
{
    SAME(version);
    SAME(n_rounds);
    SAME(alive_interval_ms);
    SAME(aggregation);
    assert_true(pf_network_equal(&a->network, &b->network));
}

/* The run that a WELCOME names is that of its envelope. */
static void welcome_names_its_run(void **state)
{
    (void)state;
    PF_CLEANUP(pf_message_finish) struct pf_message message = {0}, copy = {0};
    PF_CLEANUP(pf_buffer_finish) struct pf_buffer bytes = {0};
    pf_sample_message(PF_MESSAGE_WELCOME, &message);
    assert_int_equal(pf_message_encode(&message, &bytes, NULL), PF_OK);
    assert_int_equal(pf_message_decode(bytes.bytes, bytes.length, &copy, NULL), PF_OK);
    assert_memory_equal(&copy.welcome.run_id, &message.run_id, sizeof message.run_id);
}

static void assert_content_equal(const struct pf_message *a, const struct pf_message *b)
{
    SAME(kind);
    SAME_BYTES(run_id);
    switch (a->kind) {
    case PF_MESSAGE_HELLO:
        SAME(hello.version);
        SAME(hello.returning);
        SAME_BYTES(hello.run_id);
        break;
    case PF_MESSAGE_WELCOME: assert_welcomes_equal(&a->welcome, &b->welcome); break;
    case PF_MESSAGE_REFUSAL:
    case PF_MESSAGE_DECLINE: assert_refusals_equal(&a->refusal, &b->refusal); break;
    case PF_MESSAGE_ROUND_OFFER: assert_offers_equal(&a->offer, &b->offer); break;
    case PF_MESSAGE_MODEL_REQUEST:
        SAME_BYTES(request.model_hash);
        SAME(request.chunk);
        break;
    case PF_MESSAGE_MODEL_CHUNK:
    case PF_MESSAGE_UPDATE_CHUNK: assert_chunks_equal(&a->chunk, &b->chunk); break;
    case PF_MESSAGE_UPDATE_RECEIPT: SAME(receipt.round); break;
    case PF_MESSAGE_ALIVE:
        SAME(alive.round);
        SAME(alive.training);
        break;
    case PF_MESSAGE_ROUND_RESULT: assert_results_equal(&a->result, &b->result); break;
    case PF_MESSAGE_FINISHED:
        SAME(finished.success);
        assert_string_equal(a->finished.text, b->finished.text);
        break;
    default: assert_secagg_equal(a, b);
    }
}

static void every_kind_round_trips(void **state)
{
    (void)state;
    for (int kind = PF_MESSAGE_HELLO; kind < PF_MESSAGE_N_KINDS; kind++) {
        struct pf_message sent;
        pf_sample_message((enum pf_message_kind)kind, &sent);
        struct pf_buffer frame = encoded(&sent), again;
        struct pf_message received = decoded(&frame);
        assert_content_equal(&sent, &received);
        again = encoded(&received);
        assert_int_equal(frame.length, again.length);
        assert_memory_equal(frame.bytes, again.bytes, frame.length);
        pf_message_finish(&sent);
        pf_message_finish(&received);
        pf_buffer_finish(&frame);
        pf_buffer_finish(&again);
    }
}

static void optional_fields_may_be_absent(void **state)
{
    (void)state;
    struct pf_message hello = {.kind = PF_MESSAGE_HELLO, .hello = {.version = 77}};
    struct pf_buffer frame = encoded(&hello);
    struct pf_message received = decoded(&frame);
    assert_int_equal(received.hello.version, 77); /* another version is the session's matter */
    assert_false(received.hello.returning);
    pf_buffer_finish(&frame);
    struct pf_message refusal;
    pf_sample_message(PF_MESSAGE_REFUSAL, &refusal);
    memset(&refusal.run_id, 0, sizeof refusal.run_id);
    refusal.refusal.round = 0;
    refusal.refusal.text[0] = '\0';
    frame = encoded(&refusal);
    received = decoded(&frame);
    assert_int_equal(received.refusal.reason, PF_REASON_LATE);
    assert_string_equal(received.refusal.text, "");
    pf_buffer_finish(&frame);
    struct pf_message offer;
    pf_sample_message(PF_MESSAGE_ROUND_OFFER, &offer);
    offer.offer.masking = (struct pf_masking_order){.value_bits = 0}; /* plain */
    frame = encoded(&offer);
    received = decoded(&frame);
    assert_content_equal(&offer, &received);
    pf_buffer_finish(&frame);
    pf_message_finish(&offer);
    pf_message_finish(&received);
}

static void an_offer_without_distillation_travels(void **state)
{
    (void)state;
    struct pf_message offer;
    pf_sample_message(PF_MESSAGE_ROUND_OFFER, &offer);
    struct pf_buffer with = encoded(&offer);
    pf_free(offer.offer.teacher.chunk_hashes);
    offer.offer.teacher = (struct pf_chunked_model){0};
    offer.offer.order.distill_weight = offer.offer.order.distill_temperature = 0.0;
    struct pf_buffer frame = encoded(&offer);
    struct pf_message received = decoded(&frame);
    assert_content_equal(&offer, &received);
    assert_null(received.offer.teacher.chunk_hashes);
    assert_true(frame.length < with.length);
    pf_buffer_finish(&with);
    pf_buffer_finish(&frame);
    pf_message_finish(&offer);
    pf_message_finish(&received);
}

static void largest_messages_fit_a_frame(void **state)
{
    (void)state;
    struct pf_message offer, chunk;
    pf_sample_message(PF_MESSAGE_ROUND_OFFER, &offer);
    pf_free(offer.offer.chunk_hashes);
    offer.offer.model_bytes = PF_MAX_MODEL_BYTES;
    offer.offer.n_chunks = PF_MAX_CHUNKS;
    offer.offer.chunk_hashes = PF_ALLOC(PF_MAX_CHUNKS, struct pf_hash);
    pf_free(offer.offer.teacher.chunk_hashes);
    offer.offer.teacher.n_bytes = PF_MAX_MODEL_BYTES;
    offer.offer.teacher.n_chunks = PF_MAX_CHUNKS;
    offer.offer.teacher.chunk_hashes = PF_ALLOC(PF_MAX_CHUNKS, struct pf_hash);
    pf_sample_message(PF_MESSAGE_UPDATE_CHUNK, &chunk);
    pf_free(chunk.chunk.bytes);
    chunk.chunk.chunk = 0;
    chunk.chunk.length = PF_CHUNK_BYTES;
    chunk.chunk.bytes = PF_ALLOC(PF_CHUNK_BYTES, uint8_t);
    struct pf_message *messages[] = {&offer, &chunk};
    for (size_t i = 0; i < 2; i++) {
        struct pf_buffer frame = encoded(messages[i]);
        assert_true(frame.length <= PF_MAX_MESSAGE_BYTES);
        struct pf_message received = decoded(&frame);
        assert_content_equal(messages[i], &received);
        pf_message_finish(&received);
        pf_message_finish(messages[i]);
        pf_buffer_finish(&frame);
    }
}

/* ---- Limits: a sender is told so, a receiver refuses what another sender made ---- */

EDIT(run_id_short, e->run_id.len = 15)
EDIT(run_id_none, e->run_id.len = 0)
EDIT(run_id_zero, memset(e->run_id.data, 0, 16))
EDIT(hello_run_id, e->hello->run_id.len = 3)
EDIT(hello_run_id_zero, memset(e->hello->run_id.data, 0, 16))
EDIT(hello_stray_run_id, e->hello->returning = 0)
EDIT(welcome_rounds, e->welcome->n_rounds = 0)
EDIT(welcome_many_rounds, e->welcome->n_rounds = PF_MAX_ROUNDS + 1)
EDIT(welcome_alive, e->welcome->alive_interval_ms = PF_MIN_ALIVE_MS - 1)
EDIT(welcome_alive_long, e->welcome->alive_interval_ms = PF_MAX_ALIVE_MS + 1)
EDIT(welcome_aggregation, e->welcome->aggregation = 3)
EDIT(welcome_no_aggregation, e->welcome->aggregation = 0)
EDIT(welcome_network, e->welcome->network->n_classes = 1)
EDIT(welcome_blocks, e->welcome->network->n_filters = 2)
EDIT(welcome_no_network, packfed__network__free_unpacked(e->welcome->network, NULL);
     e->welcome->network = NULL)
EDIT(refusal_no_reason, e->refusal->reason = 0)
EDIT(refusal_reason, e->refusal->reason = PF_REASON_N)
EDIT(refusal_round, e->refusal->round = PF_MAX_ROUNDS + 1)
EDIT(decline_reason, e->decline->reason = UINT32_MAX)
EDIT(offer_round, e->round_offer->round = 0)
EDIT(offer_round_behind, e->round_offer->round = 25)
EDIT(offer_rounds, e->round_offer->n_rounds = PF_MAX_ROUNDS + 1)
EDIT(offer_stage, e->round_offer->stage = 0)
EDIT(offer_stage_behind, e->round_offer->stage = 4)
EDIT(offer_stages, e->round_offer->n_stages = PF_MAX_OFFER_STAGES + 1)
EDIT(offer_cohort, e->round_offer->cohort = 0)
EDIT(offer_large_cohort, e->round_offer->cohort = PF_MAX_COHORT + 1)
EDIT(offer_deadline, e->round_offer->deadline_ms = 0)
EDIT(offer_late_deadline, e->round_offer->deadline_ms = PF_MAX_DEADLINE_MS + 1)
EDIT(offer_hash, e->round_offer->model_hash.len = 31)
EDIT(offer_bytes, e->round_offer->model_bytes = 0)
EDIT(offer_huge, e->round_offer->model_bytes = PF_MAX_MODEL_BYTES + 1)
EDIT(offer_wrapping, e->round_offer->model_bytes = UINT64_MAX)
EDIT(offer_smaller, e->round_offer->model_bytes = PF_CHUNK_BYTES)
EDIT(offer_hashes, e->round_offer->chunk_hashes.len = 33)
EDIT(offer_no_hashes, e->round_offer->chunk_hashes.len = 0)
EDIT(offer_one_hash, e->round_offer->chunk_hashes.len = 32)
EDIT(offer_no_order, packfed__training_order__free_unpacked(e->round_offer->order, NULL);
     e->round_offer->order = NULL)
EDIT(order_batch, e->round_offer->order->batch = 0)
EDIT(order_large_batch, e->round_offer->order->batch = PF_MAX_ORDER_BATCH + 1)
EDIT(order_epochs, e->round_offer->order->epochs = 0)
EDIT(order_negative_epochs, e->round_offer->order->epochs = -1)
EDIT(order_many_epochs, e->round_offer->order->epochs = 1000.5)
EDIT(order_nan_epochs, e->round_offer->order->epochs = NAN)
EDIT(order_schedule, e->round_offer->order->schedule = PF_MAX_ORDER_SCHEDULE + 1)
EDIT(order_rate, e->round_offer->order->learning_rate = -0.1)
EDIT(order_nan_rate, e->round_offer->order->learning_rate = NAN)
EDIT(order_infinite_rate, e->round_offer->order->learning_rate = INFINITY)
EDIT(order_begin, e->round_offer->order->schedule_begin = -0.25)
EDIT(order_backwards, e->round_offer->order->schedule_end = 0.125)
EDIT(order_end, e->round_offer->order->schedule_end = 1.25)
EDIT(order_nan_end, e->round_offer->order->schedule_end = NAN)
EDIT(order_momentum, e->round_offer->order->momentum = 1.0)
EDIT(order_decay, e->round_offer->order->weight_decay = -1e-9)
EDIT(order_l1, e->round_offer->order->l1 = INFINITY)
EDIT(order_smoothing, e->round_offer->order->label_smoothing = 1.0)
EDIT(order_proximal, e->round_offer->order->proximal = NAN)
EDIT(order_distill, e->round_offer->order->distill_weight = -0.1)
EDIT(order_much_distill, e->round_offer->order->distill_weight = 1.0001)
EDIT(order_nan_distill, e->round_offer->order->distill_weight = NAN)
EDIT(order_cold, e->round_offer->order->distill_temperature = 0.0)
EDIT(order_cool, e->round_offer->order->distill_temperature = PF_MIN_ORDER_TEMPERATURE * 0.99)
EDIT(order_hot, e->round_offer->order->distill_temperature = PF_MAX_ORDER_TEMPERATURE * 1.01)
EDIT(order_infinite_temperature, e->round_offer->order->distill_temperature = INFINITY)
EDIT(order_nan_temperature, e->round_offer->order->distill_temperature = NAN)
EDIT(order_idle_temperature, e->round_offer->order->distill_weight = 0.0)
EDIT(teacher_idle, e->round_offer->order->distill_weight = 0.0;
     e->round_offer->order->distill_temperature = 0.0)
EDIT(teacher_none, packfed__teacher__free_unpacked(e->round_offer->teacher, NULL);
     e->round_offer->teacher = NULL)
EDIT(teacher_hash, e->round_offer->teacher->hash.len = 31)
EDIT(teacher_empty, e->round_offer->teacher->n_bytes = 0)
EDIT(teacher_huge, e->round_offer->teacher->n_bytes = PF_MAX_MODEL_BYTES + 1)
EDIT(teacher_wrapping, e->round_offer->teacher->n_bytes = UINT64_MAX)
EDIT(teacher_smaller, e->round_offer->teacher->n_bytes = PF_CHUNK_BYTES)
EDIT(teacher_hashes, e->round_offer->teacher->chunk_hashes.len = 33)
EDIT(teacher_no_hashes, e->round_offer->teacher->chunk_hashes.len = 0)
EDIT(masking_bits, e->round_offer->masking->value_bits = PF_CODEC_MIN_VALUE_BITS - 1)
EDIT(masking_no_bits, e->round_offer->masking->value_bits = 0)
EDIT(masking_many_bits, e->round_offer->masking->value_bits = PF_CODEC_MAX_VALUE_BITS + 1)
EDIT(masking_cap, e->round_offer->masking->weight_cap = 0)
EDIT(masking_large_cap, e->round_offer->masking->weight_cap = PF_MAX_WEIGHT_CAP + 1)
EDIT(masking_clip, e->round_offer->masking->clip_trained = 0.0)
EDIT(masking_small_clip, e->round_offer->masking->clip_trained = PF_MIN_CLIP / 2)
EDIT(masking_large_clip, e->round_offer->masking->clip_trained = PF_MAX_CLIP * 2)
EDIT(masking_nan_clip, e->round_offer->masking->clip_trained = NAN)
EDIT(masking_statistics, e->round_offer->masking->clip_statistics = -1.0)
EDIT(masking_infinite_statistics, e->round_offer->masking->clip_statistics = INFINITY)
EDIT(masking_only_rotate, e->round_offer->masking->value_bits = 0;
     e->round_offer->masking->weight_cap = 0; e->round_offer->masking->clip_trained = 0.0;
     e->round_offer->masking->clip_statistics = 0.0)
EDIT(request_chunk, e->model_request->chunk = PF_MAX_CHUNKS)
EDIT(request_hash, e->model_request->model_hash.len = 0)
EDIT(model_round, e->model_chunk->round = 1)
EDIT(update_round, e->update_chunk->round = 0)
EDIT(update_late_round, e->update_chunk->round = PF_MAX_ROUNDS + 1)
EDIT(update_hash, e->update_chunk->model_hash.len = 31)
EDIT(update_chunk, e->update_chunk->chunk = 2)
EDIT(update_no_chunks, e->update_chunk->n_chunks = 0)
EDIT(update_chunks, e->update_chunk->n_chunks = PF_MAX_CHUNKS + 1)
EDIT(update_empty, e->update_chunk->bytes.len = 0)
EDIT(update_short_chunk, e->update_chunk->chunk = 0)
EDIT(update_long_chunk, free(e->update_chunk->bytes.data);
     e->update_chunk->bytes.data = calloc(1, PF_CHUNK_BYTES + 1);
     e->update_chunk->bytes.len = PF_CHUNK_BYTES + 1)
EDIT(receipt_round, e->update_receipt->round = 0)
EDIT(alive_round, e->alive->round = PF_MAX_ROUNDS + 1)
EDIT(result_round, e->round_result->round = 0)
EDIT(result_included, e->round_result->n_included = PF_MAX_COHORT + 1)
EDIT(result_accuracy, e->round_result->accuracy_percent = 100.5)
EDIT(result_nan, e->round_result->accuracy_percent = NAN)
EDIT(finished_text, free(e->finished->text.data);
     e->finished->text.data = calloc(1, PF_MAX_REASON_BYTES);
     e->finished->text.len = PF_MAX_REASON_BYTES)

static void every_broken_limit_is_refused(void **state)
{
    (void)state;
    static const struct {
        enum pf_message_kind kind;
        edit_function *edit;
        const char *words;
    } cases[] = {
        {PF_MESSAGE_ALIVE, edit_run_id_short, "ALIVE: run_id has 15 bytes"},
        {PF_MESSAGE_ALIVE, edit_run_id_none, "run_id has 0 bytes"},
        {PF_MESSAGE_ALIVE, edit_run_id_zero, "run_id is zero"},
        {PF_MESSAGE_HELLO, edit_hello_run_id, "HELLO: run_id has 3 bytes"},
        {PF_MESSAGE_HELLO, edit_hello_run_id_zero, "HELLO: run_id is zero"},
        {PF_MESSAGE_HELLO, edit_hello_stray_run_id, "does not return"},
        {PF_MESSAGE_WELCOME, edit_welcome_rounds, "WELCOME: n_rounds is 0"},
        {PF_MESSAGE_WELCOME, edit_welcome_many_rounds, "n_rounds"},
        {PF_MESSAGE_WELCOME, edit_welcome_alive, "alive_interval_ms is 99"},
        {PF_MESSAGE_WELCOME, edit_welcome_alive_long, "alive_interval_ms"},
        {PF_MESSAGE_WELCOME, edit_welcome_aggregation, "aggregation is 3"},
        {PF_MESSAGE_WELCOME, edit_welcome_no_aggregation, "aggregation is 0"},
        {PF_MESSAGE_WELCOME, edit_welcome_network, "1 classes"},
        {PF_MESSAGE_WELCOME, edit_welcome_blocks, "2 filter counts"},
        {PF_MESSAGE_WELCOME, edit_welcome_no_network, "network: absent"},
        {PF_MESSAGE_REFUSAL, edit_refusal_no_reason, "REFUSAL: reason is 0"},
        {PF_MESSAGE_REFUSAL, edit_refusal_reason, "reason"},
        {PF_MESSAGE_REFUSAL, edit_refusal_round, "round is 1000001"},
        {PF_MESSAGE_DECLINE, edit_decline_reason, "DECLINE: reason"},
        {PF_MESSAGE_ROUND_OFFER, edit_offer_round, "ROUND_OFFER: round is 0"},
        {PF_MESSAGE_ROUND_OFFER, edit_offer_round_behind, "round is 25"},
        {PF_MESSAGE_ROUND_OFFER, edit_offer_rounds, "n_rounds"},
        {PF_MESSAGE_ROUND_OFFER, edit_offer_stage, "stage is 0"},
        {PF_MESSAGE_ROUND_OFFER, edit_offer_stage_behind, "stage is 4"},
        {PF_MESSAGE_ROUND_OFFER, edit_offer_stages, "n_stages is 65"},
        {PF_MESSAGE_ROUND_OFFER, edit_offer_cohort, "cohort is 0"},
        {PF_MESSAGE_ROUND_OFFER, edit_offer_large_cohort, "cohort is 10001"},
        {PF_MESSAGE_ROUND_OFFER, edit_offer_deadline, "deadline_ms is 0"},
        {PF_MESSAGE_ROUND_OFFER, edit_offer_late_deadline, "deadline_ms"},
        {PF_MESSAGE_ROUND_OFFER, edit_offer_hash, "model_hash has 31 bytes"},
        {PF_MESSAGE_ROUND_OFFER, edit_offer_bytes, "model_bytes is 0"},
        {PF_MESSAGE_ROUND_OFFER, edit_offer_huge, "model_bytes"},
        {PF_MESSAGE_ROUND_OFFER, edit_offer_wrapping, "model_bytes"},
        {PF_MESSAGE_ROUND_OFFER, edit_offer_smaller, "the number of chunk hashes is 2"},
        {PF_MESSAGE_ROUND_OFFER, edit_offer_hashes, "chunk_hashes has 33 bytes"},
        {PF_MESSAGE_ROUND_OFFER, edit_offer_no_hashes, "chunk_hashes has 0 bytes"},
        {PF_MESSAGE_ROUND_OFFER, edit_offer_one_hash, "the number of chunk hashes is 1"},
        {PF_MESSAGE_ROUND_OFFER, edit_offer_no_order, "order is absent"},
        {PF_MESSAGE_ROUND_OFFER, edit_order_batch, "order.batch is 0"},
        {PF_MESSAGE_ROUND_OFFER, edit_order_large_batch, "order.batch is 4097"},
        {PF_MESSAGE_ROUND_OFFER, edit_order_epochs, "order.epochs is 0"},
        {PF_MESSAGE_ROUND_OFFER, edit_order_negative_epochs, "order.epochs is -1"},
        {PF_MESSAGE_ROUND_OFFER, edit_order_many_epochs, "order.epochs is 1000.5"},
        {PF_MESSAGE_ROUND_OFFER, edit_order_nan_epochs, "order.epochs is nan"},
        {PF_MESSAGE_ROUND_OFFER, edit_order_schedule, "order.schedule is 3"},
        {PF_MESSAGE_ROUND_OFFER, edit_order_rate, "order.learning_rate is -0.1"},
        {PF_MESSAGE_ROUND_OFFER, edit_order_nan_rate, "order.learning_rate is nan"},
        {PF_MESSAGE_ROUND_OFFER, edit_order_infinite_rate, "order.learning_rate is inf"},
        {PF_MESSAGE_ROUND_OFFER, edit_order_begin, "order.schedule_begin"},
        {PF_MESSAGE_ROUND_OFFER, edit_order_backwards, "order.schedule_end is 0.125"},
        {PF_MESSAGE_ROUND_OFFER, edit_order_end, "order.schedule_end is 1.25"},
        {PF_MESSAGE_ROUND_OFFER, edit_order_nan_end, "order.schedule_end is nan"},
        {PF_MESSAGE_ROUND_OFFER, edit_order_momentum, "order.momentum is 1"},
        {PF_MESSAGE_ROUND_OFFER, edit_order_decay, "order.weight_decay"},
        {PF_MESSAGE_ROUND_OFFER, edit_order_l1, "order.l1 is inf"},
        {PF_MESSAGE_ROUND_OFFER, edit_order_smoothing, "order.label_smoothing is 1"},
        {PF_MESSAGE_ROUND_OFFER, edit_order_proximal, "order.proximal is nan"},
        {PF_MESSAGE_ROUND_OFFER, edit_order_distill, "order.distill_weight is -0.1"},
        {PF_MESSAGE_ROUND_OFFER, edit_order_much_distill, "order.distill_weight is 1.0001"},
        {PF_MESSAGE_ROUND_OFFER, edit_order_nan_distill, "order.distill_weight is nan"},
        {PF_MESSAGE_ROUND_OFFER, edit_order_cold, "order.distill_temperature is 0,"},
        {PF_MESSAGE_ROUND_OFFER, edit_order_cool, "order.distill_temperature is 0.099"},
        {PF_MESSAGE_ROUND_OFFER, edit_order_hot, "order.distill_temperature is 101"},
        {PF_MESSAGE_ROUND_OFFER, edit_order_infinite_temperature,
         "order.distill_temperature is inf"},
        {PF_MESSAGE_ROUND_OFFER, edit_order_nan_temperature, "order.distill_temperature is nan"},
        {PF_MESSAGE_ROUND_OFFER, edit_order_idle_temperature, "order.distill_temperature is 4"},
        {PF_MESSAGE_ROUND_OFFER, edit_teacher_idle, "a teacher whose word has no weight"},
        {PF_MESSAGE_ROUND_OFFER, edit_teacher_none, "teacher.n_bytes is 0"},
        {PF_MESSAGE_ROUND_OFFER, edit_teacher_hash, "teacher.hash has 31 bytes"},
        {PF_MESSAGE_ROUND_OFFER, edit_teacher_empty, "teacher.n_bytes is 0"},
        {PF_MESSAGE_ROUND_OFFER, edit_teacher_huge, "teacher.n_bytes"},
        {PF_MESSAGE_ROUND_OFFER, edit_teacher_wrapping, "teacher.n_bytes"},
        {PF_MESSAGE_ROUND_OFFER, edit_teacher_smaller,
         "the number of the teacher's chunk hashes is 3"},
        {PF_MESSAGE_ROUND_OFFER, edit_teacher_hashes, "teacher.chunk_hashes has 33 bytes"},
        {PF_MESSAGE_ROUND_OFFER, edit_teacher_no_hashes, "teacher.chunk_hashes has 0 bytes"},
        {PF_MESSAGE_ROUND_OFFER, edit_masking_bits, "masking.value_bits is 7"},
        {PF_MESSAGE_ROUND_OFFER, edit_masking_no_bits, "masking.value_bits is 0"},
        {PF_MESSAGE_ROUND_OFFER, edit_masking_many_bits, "masking.value_bits is 33"},
        {PF_MESSAGE_ROUND_OFFER, edit_masking_cap, "masking.weight_cap is 0"},
        {PF_MESSAGE_ROUND_OFFER, edit_masking_large_cap, "masking.weight_cap is 16777217"},
        {PF_MESSAGE_ROUND_OFFER, edit_masking_clip, "masking.clip_trained is 0,"},
        {PF_MESSAGE_ROUND_OFFER, edit_masking_small_clip, "masking.clip_trained is 5e-10"},
        {PF_MESSAGE_ROUND_OFFER, edit_masking_large_clip, "masking.clip_trained is 2e+09"},
        {PF_MESSAGE_ROUND_OFFER, edit_masking_nan_clip, "masking.clip_trained is nan"},
        {PF_MESSAGE_ROUND_OFFER, edit_masking_statistics, "masking.clip_statistics is -1"},
        {PF_MESSAGE_ROUND_OFFER, edit_masking_infinite_statistics,
         "masking.clip_statistics is inf"},
        {PF_MESSAGE_ROUND_OFFER, edit_masking_only_rotate, "masking.value_bits is 0"},
        {PF_MESSAGE_MODEL_REQUEST, edit_request_chunk, "MODEL_REQUEST: chunk is 2048"},
        {PF_MESSAGE_MODEL_REQUEST, edit_request_hash, "model_hash has 0 bytes"},
        {PF_MESSAGE_MODEL_CHUNK, edit_model_round, "MODEL_CHUNK: round is 1"},
        {PF_MESSAGE_UPDATE_CHUNK, edit_update_round, "UPDATE_CHUNK: round is 0"},
        {PF_MESSAGE_UPDATE_CHUNK, edit_update_late_round, "round is 1000001"},
        {PF_MESSAGE_UPDATE_CHUNK, edit_update_hash, "model_hash has 31 bytes"},
        {PF_MESSAGE_UPDATE_CHUNK, edit_update_chunk, "chunk is 2"},
        {PF_MESSAGE_UPDATE_CHUNK, edit_update_no_chunks, "n_chunks is 0"},
        {PF_MESSAGE_UPDATE_CHUNK, edit_update_chunks, "n_chunks is 2049"},
        {PF_MESSAGE_UPDATE_CHUNK, edit_update_empty, "the chunk has 0 bytes"},
        {PF_MESSAGE_UPDATE_CHUNK, edit_update_short_chunk, "the chunk's length is 300"},
        {PF_MESSAGE_UPDATE_CHUNK, edit_update_long_chunk, "the chunk has 262145 bytes"},
        {PF_MESSAGE_UPDATE_RECEIPT, edit_receipt_round, "UPDATE_RECEIPT: round is 0"},
        {PF_MESSAGE_ALIVE, edit_alive_round, "ALIVE: round is 1000001"},
        {PF_MESSAGE_ROUND_RESULT, edit_result_round, "ROUND_RESULT: round is 0"},
        {PF_MESSAGE_ROUND_RESULT, edit_result_included, "n_included is 10001"},
        {PF_MESSAGE_ROUND_RESULT, edit_result_accuracy, "accuracy_percent is 100.5"},
        {PF_MESSAGE_ROUND_RESULT, edit_result_nan, "accuracy_percent is nan"},
        {PF_MESSAGE_FINISHED, edit_finished_text, "FINISHED: text has 256 bytes"},
    };
    for (size_t i = 0; i < PF_ARRAY_LENGTH(cases); i++)
        assert_edit_refused(cases[i].kind, cases[i].edit, cases[i].words);
}

static void a_sender_cannot_break_a_limit(void **state)
{
    (void)state;
    struct pf_message message;
    pf_sample_message(PF_MESSAGE_ALIVE, &message);
    struct pf_buffer frame = {0};
    assert_int_equal(pf_buffer_append(&frame, "abc", 3, NULL), PF_OK);
    message.alive.training = 2;
    struct pf_error err = {0};
    assert_int_equal(pf_message_encode(&message, &frame, &err), PF_INVALID);
    assert_string_equal(err.text, "ALIVE: training is 2, allowed are 0 to 1");
    pf_sample_message(PF_MESSAGE_FINISHED, &message);
    memset(message.finished.text, 'x', sizeof message.finished.text);
    assert_int_equal(pf_message_encode(&message, &frame, &err), PF_INVALID);
    message.kind = PF_MESSAGE_N_KINDS;
    assert_int_equal(pf_message_encode(&message, &frame, &err), PF_INVALID);
    assert_int_equal(frame.length, 3);
    pf_buffer_finish(&frame);
}

static void frames_that_are_no_message_are_refused(void **state)
{
    (void)state;
    assert_refused((const uint8_t *)"", 0, "no kind known");
    assert_refused((const uint8_t *)"\xff\xff\xff\xff", 4, "not a message");
    /* Field 25, a kind this version does not know, holding an empty message. */
    assert_refused((const uint8_t *)"\xca\x01\x00", 3, "no kind known");
    size_t length = PF_MAX_MESSAGE_BYTES + 1;
    uint8_t *large = calloc(1, length);
    assert_refused(large, length, "1048577 bytes, at most 1048576");
    free(large);
}

/* Unknown fields of three bytes cost protobuf-c dozens of bytes each. */
static void frames_that_inflate_are_refused(void **state)
{
    (void)state;
    size_t length = PF_MAX_MESSAGE_BYTES / 3 * 3;
    uint8_t *frame = malloc(length);
    for (size_t i = 0; i < length; i += 3) memcpy(frame + i, "\xc8\x01\x01", 3); /* 25, varint */
    assert_refused(frame, 300, "no kind known"); /* a few do no harm */
    assert_refused(frame, length, "not a message");
    free(frame);
}

static void text_of_a_peer_cannot_reach_the_terminal(void **state)
{
    (void)state;
    static const struct {
        const char *in, *out;
    } cases[] = {
        {"plain – ž 模型 🙂", "plain – ž 模型 🙂"},
        {"\x1b[2J\r\n\t\x7f", "?[2J????"},
        {"a\xc2\x9bm", "a?m"},                  /* C1: CSI in one character */
        {"a\xe2\x80\xae, b", "a?, b"},          /* right-to-left override */
        {"a\xd8\x9c, b", "a?, b"},              /* Arabic letter mark */
        {"\xff\xc0\xaf\xed\xa0\x80", "??????"}, /* no UTF-8, overlong, surrogate */
        {"\xf4\x90\x80\x80", "????"},           /* above U+10FFFF */
        {"end \xe6\xa8", "end ??"},             /* cut */
    };
    char out[64];
    for (size_t i = 0; i < PF_ARRAY_LENGTH(cases); i++) {
        pf_printable(out, sizeof out, (const uint8_t *)cases[i].in, strlen(cases[i].in));
        assert_string_equal(out, cases[i].out);
    }
    pf_printable(out, 4, (const uint8_t *)"a–b", 5); /* the dash needs three bytes: two are left */
    assert_string_equal(out, "a");
    pf_printable(out, sizeof out, (const uint8_t *)"a\0b", 3);
    assert_string_equal(out, "a?b");

    struct pf_message message;
    pf_sample_message(PF_MESSAGE_FINISHED, &message);
    snprintf(message.finished.text, sizeof message.finished.text, "\x1b]0;title\x07");
    struct pf_buffer frame = encoded(&message);
    struct pf_message received = decoded(&frame);
    assert_string_equal(received.finished.text, "?]0;title?");
    pf_buffer_finish(&frame);
}

/* One mutant of the frame: flipped bits, overwritten bytes, cut or spliced. */
static size_t mutate(uint8_t *bytes, size_t length)
{
    for (int n = rand() % 4; n >= 0; n--) {
        size_t at = (size_t)rand() % length;
        switch (rand() % 3) {
        case 0: bytes[at] ^= (uint8_t)(1 << (rand() % 8)); break;
        case 1: bytes[at] = (uint8_t)rand(); break;
        default: memmove(bytes + at, bytes + length / 2, PF_MIN(length - at, length / 2)); break;
        }
    }
    return rand() % 4 == 0 ? (size_t)rand() % length : length;
}

static void mutants_are_refused_or_valid(void **state)
{
    (void)state;
    srand(2);
    size_t n_refused = 0, n_accepted = 0;
    for (int i = 0; i < 24000; i++) {
        struct pf_message sample, message;
        pf_sample_message((enum pf_message_kind)(1 + i % (PF_MESSAGE_N_KINDS - 1)), &sample);
        struct pf_buffer frame = encoded(&sample);
        pf_message_finish(&sample);
        size_t length = mutate(frame.bytes, frame.length);
        uint8_t *exact = malloc(length > 0 ? length : 1); /* so that ASan sees its end */
        memcpy(exact, frame.bytes, length);
        if (pf_message_decode(exact, length, &message, NULL) == PF_OK) {
            struct pf_buffer again = encoded(&message); /* within every limit */
            pf_buffer_finish(&again);
            pf_message_finish(&message);
            n_accepted++;
        } else {
            n_refused++;
        }
        free(exact);
        pf_buffer_finish(&frame);
    }
    assert_true(n_refused > 1000);
    assert_true(n_accepted > 1000);
}

static void names_are_complete(void **state)
{
    (void)state;
    for (int kind = PF_MESSAGE_HELLO; kind < PF_MESSAGE_N_KINDS; kind++)
        assert_string_not_equal(pf_message_kind_name((enum pf_message_kind)kind), "unknown");
    for (int reason = 0; reason < PF_REASON_N; reason++) {
        assert_non_null(pf_reason_name((enum pf_reason)reason));
        assert_string_not_equal(pf_reason_name((enum pf_reason)reason), "unknown");
    }
    assert_string_equal(pf_message_kind_name((enum pf_message_kind)99), "unknown");
    assert_string_equal(pf_message_kind_name((enum pf_message_kind)0), "unknown");
    assert_string_equal(pf_reason_name((enum pf_reason)99), "unknown");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind_round_trips),
        cmocka_unit_test(welcome_names_its_run),
        cmocka_unit_test(optional_fields_may_be_absent),
        cmocka_unit_test(an_offer_without_distillation_travels),
        cmocka_unit_test(largest_messages_fit_a_frame),
        cmocka_unit_test(every_broken_limit_is_refused),
        cmocka_unit_test(a_sender_cannot_break_a_limit),
        cmocka_unit_test(frames_that_are_no_message_are_refused),
        cmocka_unit_test(frames_that_inflate_are_refused),
        cmocka_unit_test(text_of_a_peer_cannot_reach_the_terminal),
        cmocka_unit_test(mutants_are_refused_or_valid),
        cmocka_unit_test(names_are_complete),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
