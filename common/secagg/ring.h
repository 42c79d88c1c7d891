/* Vectors of integers modulo 2^bits: what is masked, sent and summed.
 *
 * On the wire a vector is packed to `bits` bits per coordinate, in blocks of 512 coordinates.  A
 * block is 16 lanes wide: coordinate 16·i + l of the block (i < 32) is the i-th value of lane l,
 * and a lane is a bit stream of `bits` 32-bit little-endian words; word w of lane l stands at
 * byte 4·(16·w + l) of the block.  So all lanes have the same shifts, plain loops vectorise, and
 * a block is bits·64 bytes: `bits` blocks of ChaCha20.  The last block is filled up with zeros.
 *
 * A mask is the ChaCha20 keystream of a key (nonce 0, counter from 0), read as a packed vector;
 * it is expanded a piece at a time and never stands in memory as a whole. */
#ifndef PF_COMMON_SECAGG_RING_H
#define PF_COMMON_SECAGG_RING_H

#include <stddef.h>
#include <stdint.h>

#include "common/base/error.h"
#include "common/base/pool.h"

#define PF_RING_MIN_BITS 8u
#define PF_RING_MAX_BITS 64u
#define PF_RING_BLOCK 512u
#define PF_MASK_KEY_BYTES 32u

/* Bytes of n packed coordinates; 0 when that overflows or bits is out of range. */
size_t pf_ring_packed_size(size_t n, unsigned bits);

struct pf_ring;

/* All zero.  PF_INVALID for bits outside the limits. */
PF_NODISCARD enum pf_status pf_ring_create(size_t n, unsigned bits, struct pf_ring **ring,
                                           struct pf_error *err);
void pf_ring_destroy(struct pf_ring *self); /* wipes */
PF_DEFINE_CLEANUP(struct pf_ring, pf_ring_destroy)

size_t pf_ring_length(const struct pf_ring *self);
unsigned pf_ring_bits(const struct pf_ring *self);

/* Coordinate i modulo 2^bits; _get_signed lifts to [−2^(bits−1), 2^(bits−1)). */
void pf_ring_set(struct pf_ring *self, size_t i, int64_t value);
int64_t pf_ring_get_signed(const struct pf_ring *self, size_t i);
uint64_t pf_ring_get(const struct pf_ring *self, size_t i);

/* self += packed (pf_ring_packed_size bytes).  The filling of the last block is ignored. */
void pf_ring_add_packed(struct pf_ring *self, const uint8_t *packed);
/* packed ← self; writes pf_ring_packed_size bytes. */
void pf_ring_pack(const struct pf_ring *self, uint8_t *packed);

struct pf_mask_term {
    uint8_t key[PF_MASK_KEY_BYTES];
    int sign; /* +1 or −1 */
};

/* self += Σ sign·PRG(key).  The same result at any number of threads; pool NULL: this thread
 * alone.  One small buffer per shard, wiped. */
void pf_ring_add_masks(struct pf_ring *self, const struct pf_mask_term *terms, size_t n_terms,
                       struct pf_pool *pool);
/* The plain twin: one coordinate at a time; for tests. */
void pf_ring_add_masks_ref(struct pf_ring *self, const struct pf_mask_term *terms, size_t n_terms);

#endif
