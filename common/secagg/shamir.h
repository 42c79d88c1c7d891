/* Shamir's secret sharing over the scalar field of ristretto255 (order ℓ ≈ 2^252), done with
 * libsodium's constant-time scalar arithmetic [1].
 *
 * A secret is a scalar; its shares are the values of a random polynomial of degree threshold − 1,
 * whose value at 0 is the secret, at x = 1, 2, …  Any `threshold` shares give the secret, fewer
 * say nothing.  x = 0 is never a share.  The xs are public; secrets and shares are wiped from
 * temporaries.
 *
 * [1] A. Shamir, How to share a secret, CACM 22 (1979). */
#ifndef PF_COMMON_SECAGG_SHAMIR_H
#define PF_COMMON_SECAGG_SHAMIR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/error.h"

#define PF_SCALAR_BYTES 32u
#define PF_MAX_SHARES 10000u

struct pf_scalar {
    uint8_t bytes[PF_SCALAR_BYTES]; /* little endian, below ℓ */
};

/* Uniform in the field, from the system's randomness. */
void pf_scalar_random(struct pf_scalar *scalar);
void pf_scalar_wipe(struct pf_scalar *scalar);
/* Whether the bytes are below ℓ: what a peer sent need not be.  Not constant time in the verdict.
 */
bool pf_scalar_valid(const struct pf_scalar *scalar);

/* shares[i] = polynomial at x[i], with fresh random coefficients.  x[n]: distinct, not 0;
 * 1 ≤ threshold ≤ n ≤ PF_MAX_SHARES, else PF_INVALID. */
PF_NODISCARD enum pf_status pf_shamir_split(const struct pf_scalar *secret, uint32_t threshold,
                                            const uint32_t *x, size_t n, struct pf_scalar *shares,
                                            struct pf_error *err);

/* The Lagrange coefficients at 0 of one set of xs; made once and used for every secret whose
 * shares lie at the same xs. */
struct pf_lagrange;

PF_NODISCARD enum pf_status pf_lagrange_create(const uint32_t *x, size_t n,
                                               struct pf_lagrange **lagrange, struct pf_error *err);
void pf_lagrange_destroy(struct pf_lagrange *self);
PF_DEFINE_CLEANUP(struct pf_lagrange, pf_lagrange_destroy)
bool pf_lagrange_fits(const struct pf_lagrange *self, const uint32_t *x, size_t n);

/* secret = Σ coefficient[i] · shares[i], shares in the order of the xs. */
void pf_lagrange_combine(const struct pf_lagrange *self, const struct pf_scalar *shares,
                         struct pf_scalar *secret);

/* Whether `share`, at x, lies on the polynomial of these shares.  x not 0; it may be one of the xs.
 */
bool pf_lagrange_agrees(const struct pf_lagrange *self, const struct pf_scalar *shares, uint32_t x,
                        const struct pf_scalar *share);

#endif
