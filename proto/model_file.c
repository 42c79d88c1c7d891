#include "proto/model_file.h"

#include <assert.h>
#include <sodium.h>
#include <string.h>

#include "common/base/file.h"
#include "proto/model_codec.h"

#define MAGIC "PFMODEL1"
#define MAGIC_BYTES 8u
#define HEADER_BYTES (MAGIC_BYTES + 8u)

struct pf_hash pf_hash_bytes(const void *bytes, size_t length)
{
    struct pf_hash hash;
    static_assert(sizeof hash.bytes == crypto_generichash_BYTES, "BLAKE2b-256");
    crypto_generichash(hash.bytes, sizeof hash.bytes, bytes, length, NULL, 0);
    return hash;
}

bool pf_hash_equal(const struct pf_hash *a, const struct pf_hash *b)
{
    return memcmp(a->bytes, b->bytes, sizeof a->bytes) == 0;
}

static void store_u64(uint8_t out[8], uint64_t value)
{
    for (size_t i = 0; i < 8; i++) out[i] = (uint8_t)(value >> (8 * i));
}

static uint64_t load_u64(const uint8_t in[8])
{
    uint64_t value = 0;
    for (size_t i = 0; i < 8; i++) value |= (uint64_t)in[i] << (8 * i);
    return value;
}

/* Appends the frame; on failure the buffer may hold a part of it. */
static enum pf_status append_frame(const struct pf_model *model, struct pf_buffer *bytes,
                                   struct pf_error *err)
{
    size_t start = bytes->length;
    uint8_t header[HEADER_BYTES] = MAGIC;
    PF_TRY(pf_buffer_append(bytes, header, sizeof header, err));
    PF_TRY(pf_model_body_encode(model, bytes, err));
    size_t framed = bytes->length - start;
    if (framed + PF_HASH_BYTES > PF_MAX_MODEL_BYTES)
        return pf_fail(err, PF_INVALID, "the model takes %zu bytes; at most %zu can be stored",
                       framed + PF_HASH_BYTES, PF_MAX_MODEL_BYTES);
    store_u64(bytes->bytes + start + MAGIC_BYTES, framed - HEADER_BYTES);
    struct pf_hash hash = pf_hash_bytes(bytes->bytes + start, framed);
    return pf_buffer_append(bytes, hash.bytes, sizeof hash.bytes, err);
}

enum pf_status pf_model_encode(const struct pf_model *model, struct pf_buffer *bytes,
                               struct pf_error *err)
{
    PF_TRY(pf_model_validate(model, err)); /* what is written can be read */
    size_t start = bytes->length;
    enum pf_status status = append_frame(model, bytes, err);
    if (status != PF_OK) bytes->length = start;
    return status;
}

static enum pf_status check_frame(const char *name, const uint8_t *bytes, size_t length,
                                  struct pf_error *err)
{
    size_t magic = PF_MIN(length, MAGIC_BYTES);
    if (magic == 0 || memcmp(bytes, MAGIC, magic) != 0)
        return pf_fail(err, PF_CORRUPT, "%s: not a packfed model file", name);
    if (length < HEADER_BYTES + PF_HASH_BYTES)
        return pf_fail(err, PF_CORRUPT, "%s: cut short: %zu bytes hold no model", name, length);
    if (length > PF_MAX_MODEL_BYTES)
        return pf_fail(err, PF_CORRUPT, "%s: %zu bytes, more than the limit of %zu for a model",
                       name, length, PF_MAX_MODEL_BYTES);
    uint64_t body = load_u64(bytes + MAGIC_BYTES);
    size_t present = length - HEADER_BYTES - PF_HASH_BYTES;
    if (body > PF_MAX_MODEL_BYTES)
        return pf_fail(err, PF_CORRUPT, "%s: damaged: claims a model of %llu bytes", name,
                       (unsigned long long)body);
    if (body > present)
        return pf_fail(err, PF_CORRUPT, "%s: cut short: %zu of %zu bytes are there", name, length,
                       (size_t)body + HEADER_BYTES + PF_HASH_BYTES);
    if (body < present)
        return pf_fail(err, PF_CORRUPT, "%s: damaged: %zu bytes follow after its end", name,
                       present - (size_t)body);
    struct pf_hash hash = pf_hash_bytes(bytes, length - PF_HASH_BYTES);
    if (memcmp(hash.bytes, bytes + length - PF_HASH_BYTES, PF_HASH_BYTES) != 0)
        return pf_fail(err, PF_CORRUPT, "%s: damaged: checksum does not match", name);
    return PF_OK;
}

enum pf_status pf_model_decode(const char *name, const uint8_t *bytes, size_t length,
                               struct pf_model **model, struct pf_error *err)
{
    PF_TRY(check_frame(name, bytes, length, err));
    struct pf_error inner = {0};
    enum pf_status status = pf_model_body_decode(
        bytes + HEADER_BYTES, length - HEADER_BYTES - PF_HASH_BYTES, model, &inner);
    if (status == PF_CORRUPT)
        return pf_fail(err, status, "%s: not a usable model: %s", name, inner.text);
    if (status != PF_OK) return pf_fail(err, status, "%s: %s", name, inner.text);
    return PF_OK;
}

enum pf_status pf_model_save(const struct pf_model *model, const char *path, struct pf_error *err)
{
    PF_CLEANUP(pf_buffer_finish) struct pf_buffer bytes = {0};
    struct pf_error inner = {0};
    enum pf_status status = pf_model_encode(model, &bytes, &inner);
    if (status != PF_OK) return pf_fail(err, status, "%s: not saved: %s", path, inner.text);
    return pf_file_write(path, bytes.bytes, bytes.length, 0644, err);
}

enum pf_status pf_model_load(const char *path, struct pf_model **model, struct pf_error *err)
{
    PF_CLEANUP(pf_buffer_finish) struct pf_buffer bytes = {0};
    PF_TRY(pf_file_read(path, PF_MAX_MODEL_BYTES, &bytes, err));
    return pf_model_decode(path, bytes.bytes, bytes.length, model, err);
}
