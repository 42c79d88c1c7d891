/* Maximum-weight matching in a general graph. */
#ifndef PF_COMMON_COMBINE_MATCHING_H
#define PF_COMMON_COMBINE_MATCHING_H

#include <stddef.h>
#include <stdint.h>

#include "common/base/error.h"

#define PF_MAX_MATCHING_VERTICES 1024u
#define PF_MAX_MATCHING_WEIGHT ((int64_t)1 << 44)
#define PF_UNMATCHED UINT32_MAX

/* partner[i] ← the vertex that i is matched with, or PF_UNMATCHED, so that the sum of the weights
 * of the matched pairs is largest.  weight[n][n] is symmetric, 0 … PF_MAX_MATCHING_WEIGHT; 0 means
 * that there is no edge; the diagonal is not read.  n ≤ PF_MAX_MATCHING_VERTICES.  Exact: Edmonds'
 * blossoms with prices [1], O(n³).  Fails only without memory.
 *
 * [1] Edmonds, Maximum matching and a polyhedron with 0,1-vertices, J. Res. NBS 69B, 1965. */
PF_NODISCARD enum pf_status pf_match_pairs(const int64_t *weight, size_t n, uint32_t *partner,
                                           struct pf_error *err);

#endif
