#include "sample_messages.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "common/base/memory.h"

static struct pf_hash sample_hash(uint8_t first)
{
    struct pf_hash hash;
    for (size_t i = 0; i < sizeof hash.bytes; i++) hash.bytes[i] = (uint8_t)(first + i);
    return hash;
}

static const struct pf_network sample_network = {
    .block_kind = PF_LAYER_SHIFT,
    .n_blocks = 3,
    .filters = {32, 64, 128},
    .layers = {6, 6, 6},
    .strides = {1, 2, 2},
    .in_channels = 3,
    .in_height = 32,
    .in_width = 32,
    .n_classes = 10,
};

static void sample_offer(struct pf_round_offer *offer)
{
    *offer = (struct pf_round_offer){
        .round = 3,
        .n_rounds = 24,
        .stage = 2,
        .n_stages = 3,
        .cohort = 16,
        .deadline_ms = 90000,
        .model_hash = sample_hash(1),
        .model_bytes = PF_CHUNK_BYTES + 5,
        .n_chunks = 2,
        .chunk_hashes = PF_ALLOC(2, struct pf_hash),
        .order = {.batch = 64,
                  .epochs = 1.5,
                  .schedule = 2,
                  .learning_rate = 0.1,
                  .schedule_begin = 0.25,
                  .schedule_end = 0.5,
                  .momentum = 0.9,
                  .nesterov = true,
                  .weight_decay = 5e-4,
                  .l1 = 1e-5,
                  .label_smoothing = 0.1,
                  .proximal = 0.01,
                  .distill_weight = 0.9,
                  .distill_temperature = 4.0},
        .masking = {.value_bits = 16, .weight_cap = 5000, .clip = {2.5, 0.75}, .rotate = true},
        .teacher = {.hash = sample_hash(120),
                    .n_bytes = 2 * PF_CHUNK_BYTES + 9,
                    .n_chunks = 3,
                    .chunk_hashes = PF_ALLOC(3, struct pf_hash)},
    };
    assert(offer->chunk_hashes != NULL && offer->teacher.chunk_hashes != NULL);
    for (size_t i = 0; i < 3; i++) offer->teacher.chunk_hashes[i] = sample_hash((uint8_t)(i + 7));
    offer->chunk_hashes[0] = sample_hash(40);
    offer->chunk_hashes[1] = sample_hash(80);
}

static void sample_chunk(struct pf_chunk *chunk, uint32_t round)
{
    *chunk = (struct pf_chunk){.round = round,
                               .model_hash = sample_hash(9),
                               .chunk = 1,
                               .n_chunks = 2,
                               .bytes = PF_ALLOC(300, uint8_t),
                               .length = 300};
    assert(chunk->bytes != NULL);
    for (size_t i = 0; i < chunk->length; i++) chunk->bytes[i] = (uint8_t)(7 * i);
}

void pf_sample_message(enum pf_message_kind kind, struct pf_message *message)
{
    memset(message, 0, sizeof *message);
    message->kind = kind;
    for (size_t i = 0; i < PF_RUN_ID_BYTES; i++) message->run_id.bytes[i] = (uint8_t)(200 + i);
    switch (kind) {
    case PF_MESSAGE_HELLO:
        message->hello = (struct pf_hello){.version = PF_PROTOCOL_VERSION, .returning = true};
        message->hello.run_id.bytes[3] = 5;
        break;
    case PF_MESSAGE_WELCOME:
        message->welcome = (struct pf_welcome){.version = PF_PROTOCOL_VERSION,
                                               .n_rounds = 24,
                                               .alive_interval_ms = 2000,
                                               .aggregation = PF_AGGREGATION_SECURE,
                                               .network = sample_network};
        break;
    case PF_MESSAGE_REFUSAL:
    case PF_MESSAGE_DECLINE:
        message->refusal = (struct pf_refusal){.reason = PF_REASON_LATE, .round = 3};
        snprintf(message->refusal.text, sizeof message->refusal.text, "round 3 is over – späť");
        break;
    case PF_MESSAGE_ROUND_OFFER: sample_offer(&message->offer); break;
    case PF_MESSAGE_MODEL_REQUEST:
        message->request = (struct pf_model_request){.model_hash = sample_hash(1), .chunk = 1};
        break;
    case PF_MESSAGE_MODEL_CHUNK: sample_chunk(&message->chunk, 0); break;
    case PF_MESSAGE_UPDATE_CHUNK: sample_chunk(&message->chunk, 3); break;
    case PF_MESSAGE_UPDATE_RECEIPT: message->receipt.round = 3; break;
    case PF_MESSAGE_ALIVE: message->alive = (struct pf_alive){.round = 3, .training = 1}; break;
    case PF_MESSAGE_ROUND_RESULT:
        message->result = (struct pf_round_result){.round = 3,
                                                   .completed = true,
                                                   .n_included = 14,
                                                   .accuracy_known = true,
                                                   .accuracy_percent = 81.25};
        snprintf(message->result.text, sizeof message->result.text, "2 dropped out");
        break;
    case PF_MESSAGE_FINISHED:
        message->finished.success = true;
        snprintf(message->finished.text, sizeof message->finished.text, "24 rounds");
        break;
    default: pf_sample_secagg_message(message); break;
    }
}
