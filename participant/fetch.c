#include "participant/fetch.h"

#include <string.h>

#include "common/base/memory.h"
#include "proto/model_file.h"

enum pf_status pf_fetch_init(struct pf_fetch *self, const struct pf_chunked_model *model,
                             const struct pf_fetch_options *options, struct pf_error *err)
{
    struct pf_fetch fetch = {
        .options = *options,
        .model_hash = model->hash,
        .length = (size_t)model->n_bytes,
        .n_chunks = model->n_chunks,
        .bytes = PF_ALLOC((size_t)model->n_bytes, uint8_t),
        .chunks = PF_ALLOC(model->n_chunks, struct pf_fetch_chunk),
    };
    if (fetch.bytes == NULL || fetch.chunks == NULL) {
        pf_fetch_finish(&fetch);
        return pf_no_memory(err, "the offered model");
    }
    for (uint32_t i = 0; i < model->n_chunks; i++) fetch.chunks[i].hash = model->chunk_hashes[i];
    *self = fetch;
    return PF_OK;
}

void pf_fetch_finish(struct pf_fetch *self)
{
    pf_free(self->bytes);
    pf_free(self->chunks);
    *self = (struct pf_fetch){0};
}

static int64_t timeout_ms(const struct pf_fetch *self, uint8_t tries)
{
    int64_t timeout = self->options.timeout_first_ms;
    for (uint8_t i = 0; i < tries && timeout < self->options.timeout_last_ms; i++) timeout *= 2;
    return PF_MIN(timeout, self->options.timeout_last_ms);
}

bool pf_fetch_next(struct pf_fetch *self, int64_t now_ms, uint32_t *chunk)
{
    uint32_t in_flight = 0, candidate = self->n_chunks;
    for (uint32_t i = 0; i < self->n_chunks; i++) {
        const struct pf_fetch_chunk *c = &self->chunks[i];
        if (c->held) continue;
        if (c->tries > 0 && now_ms < c->expires_at)
            in_flight++;
        else if (candidate == self->n_chunks)
            candidate = i;
    }
    if (candidate == self->n_chunks || in_flight >= self->options.window) return false;
    struct pf_fetch_chunk *c = &self->chunks[candidate];
    c->expires_at = now_ms + timeout_ms(self, c->tries);
    if (c->tries < UINT8_MAX) c->tries++;
    *chunk = candidate;
    return true;
}

int64_t pf_fetch_wake_at(const struct pf_fetch *self)
{
    int64_t wake = INT64_MAX;
    for (uint32_t i = 0; i < self->n_chunks; i++)
        if (!self->chunks[i].held && self->chunks[i].tries > 0)
            wake = PF_MIN(wake, self->chunks[i].expires_at);
    return wake;
}

void pf_fetch_restart(struct pf_fetch *self)
{
    for (uint32_t i = 0; i < self->n_chunks; i++) self->chunks[i].tries = 0;
}

enum pf_status pf_fetch_take(struct pf_fetch *self, const struct pf_chunk *chunk,
                             struct pf_error *err)
{
    if (!pf_hash_equal(&chunk->model_hash, &self->model_hash))
        return pf_fail(err, PF_REFUSED, "a chunk of another model");
    if (chunk->chunk >= self->n_chunks || chunk->n_chunks != self->n_chunks)
        return pf_fail(err, PF_REFUSED, "chunk %u of %u; the offer has %u", chunk->chunk,
                       chunk->n_chunks, self->n_chunks);
    size_t offset = (size_t)chunk->chunk * PF_CHUNK_BYTES;
    size_t expected = PF_MIN(self->length - offset, (size_t)PF_CHUNK_BYTES);
    if (chunk->length != expected)
        return pf_fail(err, PF_REFUSED, "chunk %u has %zu bytes, not %zu", chunk->chunk,
                       chunk->length, expected);
    struct pf_fetch_chunk *c = &self->chunks[chunk->chunk];
    if (c->held) return PF_OK;
    struct pf_hash hash = pf_hash_bytes(chunk->bytes, chunk->length);
    if (!pf_hash_equal(&hash, &c->hash))
        return pf_fail(err, PF_REFUSED, "chunk %u does not have the offered hash", chunk->chunk);
    memcpy(self->bytes + offset, chunk->bytes, chunk->length);
    c->held = true;
    self->n_held++;
    return PF_OK;
}
