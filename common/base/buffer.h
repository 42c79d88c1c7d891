/* A growable byte buffer that owns its bytes.
 *
 * An all-zero struct is a valid empty buffer.  finish releases; reset empties but keeps memory. */
#ifndef PF_COMMON_BASE_BUFFER_H
#define PF_COMMON_BASE_BUFFER_H

#include <stddef.h>
#include <stdint.h>

#include "common/base/error.h"

struct pf_buffer {
    uint8_t *bytes;
    size_t length;
    size_t capacity;
};

void pf_buffer_finish(struct pf_buffer *self);
void pf_buffer_reset(struct pf_buffer *self);

/* Room for `length` further bytes without reallocation. */
PF_NODISCARD enum pf_status pf_buffer_reserve(struct pf_buffer *self, size_t length,
                                              struct pf_error *err);
PF_NODISCARD enum pf_status pf_buffer_append(struct pf_buffer *self, const void *bytes,
                                             size_t length, struct pf_error *err);

/* Use as: PF_CLEANUP(pf_buffer_finish) struct pf_buffer bytes = {0}; */

#endif
