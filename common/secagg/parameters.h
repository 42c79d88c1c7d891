/* Which graph and threshold a cohort needs, and how many bits its sums.
 *
 * COMPLETE (small cohorts): each secret is shared among all n, its owner included; against an
 * active coordinator with f = ⌊γn⌋ corrupt participants t > (n + f)/2 (Bonawitz et al. 2017,
 * section 6.2): a share is given once, so that the two secrets of a participant together can have
 * at most n + f shares shown, fewer than 2t.
 *
 * HARARY (large ones): each secret is shared among the k neighbours.  The smallest even k for which
 * (Bell et al. 2020, section 3 and appendix), with B = ⌊γn⌋ + ⌊δn⌋:
 *   connected  n(n−k−1)/2 · Π_{i<k} (B−i)/(n−i) < 2^−(σ+1)
 *   t1 = min t with Pr[Hyp(n, ⌊γn⌋, k) > t] ≤ 2^−(σ+1)/n
 *   t2 = min t with Pr[Hyp(n, ⌈(1−δ)n⌉, k) ≤ t] ≥ 2^−η/n
 *   semi-malicious: t1 ← ⌈(t1 + k − 1.25)/2⌉
 *   t1 < t2; threshold = max(t1 + 1, 2), not above t2 either. */
#ifndef PF_COMMON_SECAGG_PARAMETERS_H
#define PF_COMMON_SECAGG_PARAMETERS_H

#include "common/secagg/graph.h"

/* A sum of two tells each of the two what the other sent. */
#define PF_MIN_SECURE_COHORT 3u

#define PF_SECAGG_SIGMA 40u /* 2^−σ: the chance that a graph protects somebody too little */
#define PF_SECAGG_ETA 20u   /* 2^−η: the chance that dropouts within δ stop a round */
#define PF_SECAGG_COMPLETE_BELOW 100u
#define PF_SECAGG_MAX_COMPLETE 2000u /* participants; above, the lists outgrow a message */

enum pf_adversary {
    PF_SEMI_HONEST = 1,    /* the coordinator follows the protocol and looks */
    PF_SEMI_MALICIOUS = 2, /* it lies once the keys are out; the default */
};

struct pf_secagg_goal {
    uint32_t n;      /* participants */
    double corrupt;  /* γ: fraction that the coordinator may have on its side, 0 ≤ γ < 1 */
    double dropouts; /* δ: fraction that may vanish without stopping the round, 0 ≤ δ < 1 */
    enum pf_adversary adversary;
};

struct pf_secagg_parameters {
    enum pf_graph_kind graph;
    uint32_t degree;    /* k; n − 1 when complete */
    uint32_t threshold; /* t: shares that give a secret */
};

/* The smallest k and the threshold for a k-regular graph.  PF_INVALID, with the numbers, when no
 * k serves. */
PF_NODISCARD enum pf_status pf_secagg_find_regular(const struct pf_secagg_goal *goal,
                                                   struct pf_secagg_parameters *parameters,
                                                   struct pf_error *err);
/* t = ⌊(n + ⌊γn⌋)/2⌋ + 1 (semi-honest: ⌊n/2⌋ + 1, at least ⌊γn⌋ + 1; never below 2).
 * PF_INVALID when ⌊δn⌋ dropouts would leave fewer than t, with the numbers. */
PF_NODISCARD enum pf_status pf_secagg_find_complete(const struct pf_secagg_goal *goal,
                                                    struct pf_secagg_parameters *parameters,
                                                    struct pf_error *err);
/* Complete below PF_SECAGG_COMPLETE_BELOW, else regular; where no regular graph serves, complete
 * if n ≤ PF_SECAGG_MAX_COMPLETE. */
PF_NODISCARD enum pf_status pf_secagg_find(const struct pf_secagg_goal *goal,
                                           struct pf_secagg_parameters *parameters,
                                           struct pf_error *err);

/* The participant's view: PF_REFUSED, with the numbers, unless these parameters protect it against
 * ⌊goal.corrupt·n⌋ corrupt participants (goal.dropouts is the coordinator's affair). */
PF_NODISCARD enum pf_status pf_secagg_check(const struct pf_secagg_goal *goal,
                                            const struct pf_secagg_parameters *parameters,
                                            struct pf_error *err);

/* γ where none is given: 0.2 below PF_SECAGG_COMPLETE_BELOW participants, 0.05 from there on. */
double pf_secagg_default_corrupt(uint32_t n);

/* Bits of the modulus for sums of n values of `value_bits` bits, sign included:
 * value_bits + ⌈log2 n⌉.  |Σ| ≤ n·(2^(value_bits−1) − 1) < 2^(bits−1), so nothing wraps. */
unsigned pf_secagg_modulus_bits(unsigned value_bits, uint32_t n);

#endif
