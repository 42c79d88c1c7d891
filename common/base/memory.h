/* Checked sizes and zeroed, 64-byte aligned allocations.
 *
 * Everything from pf_alloc is released with pf_free (free() works too).  NULL means no memory or
 * an overflowing size; the caller answers with pf_no_memory. */
#ifndef PF_COMMON_BASE_MEMORY_H
#define PF_COMMON_BASE_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "common/base/compiler.h"

/* *product = a · b; false when it does not fit. */
PF_NODISCARD static inline bool pf_size_mul(size_t a, size_t b, size_t *product)
{
    return !__builtin_mul_overflow(a, b, product);
}

PF_NODISCARD static inline bool pf_size_add(size_t a, size_t b, size_t *sum)
{
    return !__builtin_add_overflow(a, b, sum);
}

/* n · size bytes, zeroed, aligned to 64.  n = 0 gives a valid, empty block. */
PF_NODISCARD void *pf_alloc(size_t n, size_t size);

/* Resizes with realloc semantics (no alignment promise beyond malloc's, new bytes not zeroed). */
PF_NODISCARD void *pf_realloc(void *block, size_t n, size_t size);

void pf_free(void *block);

/* PF_CLEANUP(pf_freep) for plain blocks of any pointer type. */
static inline PF_UNUSED void pf_freep(void *block_address)
{
    pf_free(*(void **)block_address);
}

#define PF_ALLOC(n, type) ((type *)pf_alloc((n), sizeof(type)))

#endif
