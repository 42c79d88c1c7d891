#include "common/base/memory.h"

#include <string.h>

#define ALIGNMENT 64u

void *pf_alloc(size_t n, size_t size)
{
    size_t bytes;
    if (!pf_size_mul(n, size, &bytes) || bytes > SIZE_MAX - ALIGNMENT) return NULL;
    bytes = (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    if (bytes == 0) bytes = ALIGNMENT;
    void *block = aligned_alloc(ALIGNMENT, bytes);
    if (block != NULL) memset(block, 0, bytes);
    return block;
}

void *pf_realloc(void *block, size_t n, size_t size)
{
    size_t bytes;
    if (!pf_size_mul(n, size, &bytes)) return NULL;
    return realloc(block, bytes > 0 ? bytes : 1);
}

void pf_free(void *block)
{
    free(block);
}
