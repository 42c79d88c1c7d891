/* Seeded random streams: the same seed and label give the same numbers on every machine.
 *
 * A stream is ChaCha20 keystream (libsodium) under a key that BLAKE2b derives from (seed, label,
 * index).  Different labels give independent streams, so adding a consumer never changes the
 * numbers another one sees.  For experiments, not for keys: secrets come from randombytes_buf. */
#ifndef PF_COMMON_BASE_RANDOM_H
#define PF_COMMON_BASE_RANDOM_H

#include <stddef.h>
#include <stdint.h>

struct pf_random {
    uint8_t key[32];
    uint64_t block;     /* next keystream block */
    size_t used;        /* bytes consumed of `bytes` */
    uint8_t bytes[512]; /* buffered keystream */
};

/* `label` says what the stream is for ("augmentation"), `index` which of many (epoch, worker). */
void pf_random_init(struct pf_random *self, uint64_t seed, const char *label, uint64_t index);

uint64_t pf_random_u64(struct pf_random *self);
uint32_t pf_random_u32(struct pf_random *self);

/* Uniform in [0, bound), unbiased; bound > 0. */
uint32_t pf_random_below(struct pf_random *self, uint32_t bound);

/* Uniform in [0, 1). */
double pf_random_uniform(struct pf_random *self);

/* Standard normal. */
double pf_random_normal(struct pf_random *self);

/* Gamma with shape a > 0 and scale 1 (Marsaglia and Tsang 2000), for Dirichlet draws. */
double pf_random_gamma(struct pf_random *self, double shape);

/* Fisher–Yates shuffle of items[n]. */
void pf_random_shuffle(struct pf_random *self, uint32_t *items, size_t n);

#endif
