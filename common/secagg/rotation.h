/* A public random rotation: what a few coordinates hold is spread over all.
 *
 * R = H·D, D random signs and H the orthonormal Hadamard transform (Suresh et al. 2017 [1]).  With
 * m the largest power of two ≤ n, the first m coordinates are rotated so; where n is not a power of
 * two the last m (which overlap them) are then rotated again with signs of their own.  So nothing
 * is padded, R is orthonormal, and for *any* x
 *
 *   Pr over the signs that |(R x)_i| > κ·‖x‖₂/√m  is at most 2·exp(−κ²/2)
 *
 * (Hoeffding: each result is a sum of ±x_j/√m, and the second rotation starts from a vector of the
 * same norm).  Blocks of a fixed size, the usual way to avoid padding, bound it by ‖x‖/√block only.
 *
 * [1] A. T. Suresh et al., Distributed mean estimation with limited communication, ICML 2017. */
#ifndef PF_COMMON_SECAGG_ROTATION_H
#define PF_COMMON_SECAGG_ROTATION_H

#include <stddef.h>
#include <stdint.h>

/* m; 0 for n = 0. */
size_t pf_rotation_block(size_t n);

/* x[n] ← R x, in place.  `segment` makes another rotation of the same seed. */
void pf_rotation_apply(double *x, size_t n, const uint8_t seed[32], uint32_t segment);
/* x[n] ← Rᵀ x. */
void pf_rotation_invert(double *x, size_t n, const uint8_t seed[32], uint32_t segment);

#endif
