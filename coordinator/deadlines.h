/* Who is due when: at most one moment per member, the earliest at hand.
 *
 * A binary heap that knows where in it each member stands, so that moving or taking out any of them
 * costs the logarithm of their number, and looking at the first nothing.  Of two who are due at the
 * same moment the lower member comes first. */
#ifndef PF_COORDINATOR_DEADLINES_H
#define PF_COORDINATOR_DEADLINES_H

#include <stddef.h>
#include <stdint.h>

#include "common/base/error.h"

struct pf_deadline {
    int64_t at_ms;
    uint32_t member;
};

struct pf_deadlines {
    size_t n_due;
    struct pf_deadline *heap; /* [n_members], the first n_due in use */
    uint32_t *places;         /* [n_members]: 1 + place in the heap; 0: not due */
};

/* Nobody is due. */
PF_NODISCARD enum pf_status pf_deadlines_create(size_t n_members, struct pf_deadlines *deadlines,
                                                struct pf_error *err);
void pf_deadlines_finish(struct pf_deadlines *self);

/* The member is due at this moment, and at no other. */
void pf_deadlines_set(struct pf_deadlines *self, size_t member, int64_t at_ms);
/* … or not at all. */
void pf_deadlines_clear(struct pf_deadlines *self, size_t member);

int64_t pf_deadlines_next_ms(const struct pf_deadlines *self); /* INT64_MAX: nobody is due */
size_t pf_deadlines_first(const struct pf_deadlines *self);    /* who that is; there must be one */

#endif
