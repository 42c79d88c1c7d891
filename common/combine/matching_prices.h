/* What proves that a matching is heaviest: prices, by linear programming's duality.
 *
 * Of vertices price[n] ≥ 0, doubled to be whole numbers, and of odd sets of vertices, each ≥ 0.
 * Any prices with
 *     price[i] + price[j] + 2 Σ_{sets that hold i and j} price ≥ 2 weight[i][j]   for all i ≠ j
 * bound any matching: a vertex is in one pair at most and a set holds (size − 1)/2 at most, so
 *     2 Σ_{pairs} weight ≤ Σ_i price[i] + Σ_sets (size − 1) price,
 * and a matching that attains this is heaviest.  For tests, and whoever doubts. */
#ifndef PF_COMMON_COMBINE_MATCHING_PRICES_H
#define PF_COMMON_COMBINE_MATCHING_PRICES_H

#include "common/combine/matching.h"

struct pf_odd_set {
    uint32_t begin, end; /* holds order[begin … end − 1] */
    int64_t price;
};

struct pf_matching_prices {
    int64_t *price;  /* [n] */
    uint32_t *order; /* [n]: the vertices, those of each set side by side */
    struct pf_odd_set *sets;
    size_t n_sets;   /* ≤ n/2; any two are nested or disjoint */
    size_t n_closed; /* blossoms formed on the way; all but n_sets were opened again */
};

void pf_matching_prices_finish(struct pf_matching_prices *self);

/* As pf_match_pairs; the caller finishes *prices, which starts zeroed and is to be finished even
 * after a failure. */
PF_NODISCARD enum pf_status pf_match_pairs_with_prices(const int64_t *weight, size_t n,
                                                       uint32_t *partner,
                                                       struct pf_matching_prices *prices,
                                                       struct pf_error *err);

#endif
