/* A fixed crew of threads that runs shards.
 *
 * Work is cut into a number of shards that does not depend on the number of threads; each shard
 * writes only its own results and the caller reduces them in shard order.  So the same seed gives
 * the same bits with 1 or 8 threads.  pf_pool_run blocks until all shards are done and may be
 * called from one thread at a time; it must not be called from inside a shard. */
#ifndef PF_COMMON_BASE_POOL_H
#define PF_COMMON_BASE_POOL_H

#include <stddef.h>

#include "common/base/error.h"

struct pf_pool;

typedef void pf_shard_function(void *context, size_t shard);

/* n_threads counts the calling thread; 0 means one per core available to the process. */
PF_NODISCARD enum pf_status pf_pool_create(size_t n_threads, struct pf_pool **pool,
                                           struct pf_error *err);
void pf_pool_destroy(struct pf_pool *self);
PF_DEFINE_CLEANUP(struct pf_pool, pf_pool_destroy)

size_t pf_pool_n_threads(const struct pf_pool *self);

/* Calls function(context, 0 … n_shards − 1), each exactly once, in no fixed order. */
void pf_pool_run(struct pf_pool *self, size_t n_shards, pf_shard_function *function, void *context);

#endif
