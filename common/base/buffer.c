#include "common/base/buffer.h"

#include <string.h>

#include "common/base/memory.h"

void pf_buffer_finish(struct pf_buffer *self)
{
    pf_free(self->bytes);
    *self = (struct pf_buffer){0};
}

void pf_buffer_reset(struct pf_buffer *self)
{
    self->length = 0;
}

enum pf_status pf_buffer_reserve(struct pf_buffer *self, size_t length, struct pf_error *err)
{
    size_t needed;
    if (!pf_size_add(self->length, length, &needed)) return pf_no_memory(err, "a byte buffer");
    if (needed <= self->capacity) return PF_OK;
    size_t capacity = self->capacity < SIZE_MAX / 2 ? self->capacity * 2 : needed;
    if (capacity < needed) capacity = needed;
    uint8_t *bytes = pf_realloc(self->bytes, capacity, 1);
    if (bytes == NULL) return pf_no_memory(err, "a byte buffer");
    self->bytes = bytes;
    self->capacity = capacity;
    return PF_OK;
}

enum pf_status pf_buffer_append(struct pf_buffer *self, const void *bytes, size_t length,
                                struct pf_error *err)
{
    PF_TRY(pf_buffer_reserve(self, length, err));
    if (length > 0) memcpy(self->bytes + self->length, bytes, length);
    self->length += length;
    return PF_OK;
}
