/* Which of some shares are wrong, where more are there than it takes to have the secret.
 *
 * Shares of one secret are a word of a Reed–Solomon code [1]: n shares of threshold t tell up to
 * ⌊(n − t)/2⌋ wrong ones apart from the others, whoever made them and however they were chosen, in
 * O(n·(n − t)) products.  Nothing has to be guessed.
 *
 * [1] R. J. McEliece, D. V. Sarwate, On sharing secrets and Reed-Solomon codes, CACM 24 (1981). */
#ifndef PF_COMMON_SECAGG_WRONG_SHARES_H
#define PF_COMMON_SECAGG_WRONG_SHARES_H

#include "common/secagg/shamir.h"

/* wrong[n]: whether the share at x[i] does not lie on the one polynomial of degree threshold − 1
 * that misses no more than (n − threshold)/2 of them.  PF_NOT_FOUND, and nothing written: there is
 * none.  1 ≤ threshold ≤ n; xs as in pf_lagrange_create. */
PF_NODISCARD enum pf_status pf_shamir_find_wrong(const uint32_t *x, const struct pf_scalar *shares,
                                                 size_t n, uint32_t threshold, bool *wrong,
                                                 struct pf_error *err);

#endif
