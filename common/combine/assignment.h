/* The assignment problem: who does what, so that the sum of gains is largest. */
#ifndef PF_COMMON_COMBINE_ASSIGNMENT_H
#define PF_COMMON_COMBINE_ASSIGNMENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/error.h"

/* Gains lie in −PF_MAX_GAIN … PF_MAX_GAIN, so that no sum of two gains and a path overflows. */
#define PF_MAX_GAIN ((int64_t)1 << 40)

struct pf_assignment {
    size_t max;                                /* places for this many rows */
    int64_t *row_price, *column_price, *slack; /* [max + 1] */
    uint32_t *row_of, *came_from;              /* [max + 1] */
    bool *reached;                             /* [max + 1] */
};

PF_NODISCARD enum pf_status pf_assignment_init(struct pf_assignment *self, size_t max,
                                               struct pf_error *err);
void pf_assignment_finish(struct pf_assignment *self);

/* chosen[i] ← the column of row i, each column once, so that Σ gain[i][chosen[i]] is largest;
 * gain[n][n], n ≤ max.  Shortest augmenting paths with prices (Kuhn 1955, Munkres 1957): O(n³). */
void pf_assignment_solve(struct pf_assignment *self, const int64_t *gain, size_t n,
                         uint32_t *chosen);

#endif
