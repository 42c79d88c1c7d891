/* One scratch per thread of a pool, lent to whichever shard runs.  What a shard computes must not
 * depend on what it finds in its scratch. */
#ifndef PF_COMMON_NN_SCRATCH_SLOTS_H
#define PF_COMMON_NN_SCRATCH_SLOTS_H

#include "common/nn/layer_pass.h"

struct pf_scratch_slots;

PF_NODISCARD enum pf_status pf_scratch_slots_create(const struct pf_layer_plan *const *plans,
                                                    size_t n_plans, bool training, size_t n_slots,
                                                    struct pf_scratch_slots **slots,
                                                    struct pf_error *err);
void pf_scratch_slots_destroy(struct pf_scratch_slots *self);
PF_DEFINE_CLEANUP(struct pf_scratch_slots, pf_scratch_slots_destroy)

/* Never fails while at most n_slots threads hold one. */
struct pf_scratch *pf_scratch_slots_take(struct pf_scratch_slots *self, size_t *slot);
void pf_scratch_slots_give(struct pf_scratch_slots *self, size_t slot);

#endif
