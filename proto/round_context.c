/* The canonical form: fields one behind the other in the order of the declarations, all of fixed
 * length; integers little endian, numbers as the little-endian bits of their double, flags as one
 * byte.  A model's hash stands for the hashes of its chunks.  The label comes first, so that
 * nothing else that is hashed can look the same. */
#include "proto/round_context.h"

#include <assert.h>
#include <sodium.h>
#include <string.h>

/* Filled up with zeros, as all labels of secure rounds. */
#define LABEL_BYTES 32
static const char context_label[LABEL_BYTES] = "packfed round context 2";
static const char rotation_label[LABEL_BYTES] = "packfed rotation 1";

struct form {
    uint8_t bytes[512];
    size_t length;
};

static void add_bytes(struct form *self, const void *bytes, size_t length)
{
    assert(length <= sizeof self->bytes - self->length);
    memcpy(self->bytes + self->length, bytes, length);
    self->length += length;
}

static void add_whole(struct form *self, uint64_t value, size_t n_bytes)
{
    uint8_t bytes[8];
    for (size_t i = 0; i < n_bytes; i++) bytes[i] = (uint8_t)(value >> (8 * i));
    add_bytes(self, bytes, n_bytes);
}

static void add_u32(struct form *self, uint32_t value)
{
    add_whole(self, value, 4);
}

static void add_flag(struct form *self, bool value)
{
    add_whole(self, value, 1);
}

static void add_number(struct form *self, double value)
{
    /* −0 becomes +0: proto3 leaves out a field that is zero, so the sign would not arrive. */
    double canonical = value == 0.0 ? 0.0 : value;
    uint64_t bits;
    memcpy(&bits, &canonical, sizeof bits);
    add_whole(self, bits, 8);
}

static void add_order(struct form *self, const struct pf_training_order *order)
{
    add_u32(self, order->batch);
    add_number(self, order->epochs);
    add_u32(self, order->schedule);
    add_number(self, order->learning_rate);
    add_number(self, order->schedule_begin);
    add_number(self, order->schedule_end);
    add_number(self, order->momentum);
    add_flag(self, order->nesterov);
    add_number(self, order->weight_decay);
    add_number(self, order->l1);
    add_number(self, order->label_smoothing);
    add_number(self, order->proximal);
    add_number(self, order->distill_weight);
    add_number(self, order->distill_temperature);
}

static void add_masking(struct form *self, const struct pf_masking_order *masking)
{
    add_u32(self, masking->value_bits);
    add_u32(self, masking->weight_cap);
    for (size_t i = 0; i < PF_CODEC_SEGMENTS; i++) add_number(self, masking->clip[i]);
    add_flag(self, masking->rotate);
}

struct pf_digest pf_round_context(const struct pf_run_id *run_id, const uint8_t roster_hash[32],
                                  const struct pf_round_offer *offer)
{
    struct form form = {.length = 0};
    add_bytes(&form, context_label, LABEL_BYTES);
    add_bytes(&form, run_id->bytes, sizeof run_id->bytes);
    add_bytes(&form, roster_hash, 32);
    add_u32(&form, offer->round);
    add_u32(&form, offer->n_rounds);
    add_u32(&form, offer->stage);
    add_u32(&form, offer->n_stages);
    add_u32(&form, offer->cohort);
    add_bytes(&form, offer->model_hash.bytes, sizeof offer->model_hash.bytes);
    add_whole(&form, offer->model_bytes, 8);
    add_u32(&form, offer->n_chunks);
    add_order(&form, &offer->order);
    add_masking(&form, &offer->masking);
    add_bytes(&form, offer->teacher.hash.bytes, sizeof offer->teacher.hash.bytes);
    add_whole(&form, offer->teacher.n_bytes, 8);
    add_u32(&form, offer->teacher.n_chunks);
    struct pf_digest digest;
    crypto_generichash(digest.bytes, sizeof digest.bytes, form.bytes, form.length, NULL, 0);
    return digest;
}

void pf_round_rotation_seed(const struct pf_round_offer *offer, uint8_t seed[32])
{
    struct form form = {.length = 0};
    add_bytes(&form, rotation_label, LABEL_BYTES);
    add_bytes(&form, offer->model_hash.bytes, sizeof offer->model_hash.bytes);
    add_u32(&form, offer->round);
    crypto_generichash(seed, 32, form.bytes, form.length, NULL, 0);
}
