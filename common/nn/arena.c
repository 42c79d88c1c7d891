#include "common/nn/arena.h"

#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>

#define HUGE_PAGE ((size_t)2 << 20)

/* In front of what the caller gets. */
struct header {
    _Alignas(64) size_t capacity; /* bytes, this header included */
};

static _Atomic(struct header *) kept;

void *pf_arena_take(size_t bytes)
{
    if (bytes > SIZE_MAX - sizeof(struct header) - HUGE_PAGE) return NULL;
    size_t capacity = (bytes + sizeof(struct header) + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE;
    struct header *header = atomic_exchange(&kept, NULL);
    if (header == NULL || header->capacity < capacity) {
        free(header);
        header = aligned_alloc(HUGE_PAGE, capacity);
        if (header == NULL) return NULL;
        madvise(header, capacity, MADV_HUGEPAGE);
        header->capacity = capacity;
    }
    return header + 1;
}

void pf_arena_give(void *arena)
{
    if (arena == NULL) return;
    struct header *header = (struct header *)arena - 1;
    if (header->capacity <= PF_ARENA_KEPT) header = atomic_exchange(&kept, header);
    free(header); /* too large, or the one that was kept before */
}
