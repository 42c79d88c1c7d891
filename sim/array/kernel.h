/* The inner loop of the functional engine: 64 pixels of one filter at a time.
 *
 * Two input channels share a 32-bit word, the even one in the low half, so that one multiply-add
 * instruction takes two weights.  All kernels give the same bits; sums wrap modulo 2^32. */
#ifndef PF_SIM_ARRAY_KERNEL_H
#define PF_SIM_ARRAY_KERNEL_H

#include <stddef.h>
#include <stdint.h>

#define PF_ARRAY_PANEL 64u /* pixels */

/* acc[64] += Σ_i w_i.low · x[pair_i].low + w_i.high · x[pair_i].high
 * x: [n_pairs][64], halves 0…255, aligned to 64; weights: two int16 in −255…255 each. */
typedef void pf_array_kernel(int32_t *acc, const uint32_t *x, const uint32_t *pair,
                             const uint32_t *weights, size_t n);

void pf_array_kernel_ref(int32_t *acc, const uint32_t *x, const uint32_t *pair,
                         const uint32_t *weights, size_t n);

/* What the processor runs fastest: AVX-512BW, AVX2 or the reference. */
pf_array_kernel *pf_array_kernel_select(void);

/* Every kernel that this processor can run, the reference first; returns how many, at most 3. */
size_t pf_array_kernel_list(pf_array_kernel *kernels[3]);

#endif
