/* From shares to seeds.  Private to unmask.c. */
#ifndef PF_COMMON_SECAGG_UNMASK_SEEDS_H
#define PF_COMMON_SECAGG_UNMASK_SEEDS_H

#include "common/secagg/unmask.h"

/* seeds[n_targets] ← what each target's owner advertised, from its shares; wiped by the caller, on
 * failure too.  PF_REFUSED, naming members: a seed cannot be had. */
PF_NODISCARD enum pf_status pf_unmasking_find_seeds(struct pf_unmasking *self, struct pf_pool *pool,
                                                    const struct pf_progress *progress,
                                                    struct pf_scalar *seeds, struct pf_error *err);

/* pool NULL: one after the other on this thread. */
static inline void pf_unmasking_shards(struct pf_pool *pool, size_t n_shards,
                                       pf_shard_function *function, void *context)
{
    if (pool != NULL)
        pf_pool_run(pool, n_shards, function, context);
    else
        for (size_t shard = 0; shard < n_shards; shard++) function(context, shard);
}

#endif
