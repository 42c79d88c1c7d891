#include "common/nn/scratch_slots.h"

#include <stdatomic.h>

#include "common/base/memory.h"

struct slot {
    atomic_bool taken;
    struct pf_scratch *scratch;
};

struct pf_scratch_slots {
    size_t n_slots;
    struct slot *slots;
};

enum pf_status pf_scratch_slots_create(const struct pf_layer_plan *const *plans, size_t n_plans,
                                       bool training, size_t n_slots,
                                       struct pf_scratch_slots **slots, struct pf_error *err)
{
    PF_CLEANUP(pf_scratch_slots_destroyp)
    struct pf_scratch_slots *self = PF_ALLOC(1, struct pf_scratch_slots);
    if (self == NULL) return pf_no_memory(err, "the workspaces of the threads");
    self->slots = PF_ALLOC(n_slots, struct slot);
    if (self->slots == NULL) return pf_no_memory(err, "the workspaces of the threads");
    for (; self->n_slots < n_slots; self->n_slots++)
        PF_TRY(
            pf_scratch_create(plans, n_plans, training, &self->slots[self->n_slots].scratch, err));
    *slots = self;
    self = NULL;
    return PF_OK;
}

void pf_scratch_slots_destroy(struct pf_scratch_slots *self)
{
    if (self == NULL) return;
    for (size_t i = 0; i < self->n_slots; i++) pf_scratch_destroy(self->slots[i].scratch);
    pf_free(self->slots);
    pf_free(self);
}

struct pf_scratch *pf_scratch_slots_take(struct pf_scratch_slots *self, size_t *slot)
{
    /* The one this thread had last, for what is still in its cache. */
    static _Thread_local size_t last;
    for (size_t i = last % self->n_slots;; i = (i + 1) % self->n_slots) {
        if (atomic_exchange_explicit(&self->slots[i].taken, true, memory_order_acquire)) continue;
        *slot = last = i;
        return self->slots[i].scratch;
    }
}

void pf_scratch_slots_give(struct pf_scratch_slots *self, size_t slot)
{
    atomic_store_explicit(&self->slots[slot].taken, false, memory_order_release);
}
