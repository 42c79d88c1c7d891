/* The one large block of a training run: activations and their gradients.
 *
 * Fresh memory is dear: the kernel clears every page, and a virtual machine's host may have to find
 * it first; for the short runs of a federated round that costs as much as the training.  So the
 * block of the last run is kept for the next one (one block for the whole process, and none above
 * PF_ARENA_KEPT bytes).  Its content is whatever was there. */
#ifndef PF_COMMON_NN_ARENA_H
#define PF_COMMON_NN_ARENA_H

#include <stddef.h>

#define PF_ARENA_KEPT ((size_t)1 << 30)

/* Aligned to 64 bytes, on large pages where the system has them; NULL: no memory.  May be called
 * from any thread. */
void *pf_arena_take(size_t bytes);

/* NULL is fine. */
void pf_arena_give(void *arena);

#endif
