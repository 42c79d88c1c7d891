/* The arithmetic of packed vectors, at the width of whatever instruction set it is compiled for.
 *
 * Private to ring.c.  Values are whole blocks of PF_RING_BLOCK words in the order of coordinates:
 * word 16·i + l of a block is value i of lane l.  Words are 32 bits wide for bits ≤ 32 (narrow),
 * else 64 (wide).  Their bits above `bits` are arbitrary: what is carried out of a value only ever
 * goes up, so sums are right modulo 2^bits and whoever reads a word reduces it. */
#ifndef PF_COMMON_SECAGG_RING_KERNELS_H
#define PF_COMMON_SECAGG_RING_KERNELS_H

#include <stddef.h>
#include <stdint.h>

#define PF_RING_LANES 16u
#define PF_RING_ROWS 32u /* values of a lane in a block */

struct pf_ring_kernels {
    const char *name; /* "generic", "avx2", "avx512" */
    /* values += packed, or −=.  packed: n_blocks · bits · 64 bytes, of any alignment. */
    void (*add_narrow)(uint32_t *values, const uint8_t *packed, size_t n_blocks, unsigned bits);
    void (*subtract_narrow)(uint32_t *values, const uint8_t *packed, size_t n_blocks,
                            unsigned bits);
    void (*add_wide)(uint64_t *values, const uint8_t *packed, size_t n_blocks, unsigned bits);
    void (*subtract_wide)(uint64_t *values, const uint8_t *packed, size_t n_blocks, unsigned bits);
    void (*pack_narrow)(uint8_t *packed, const uint32_t *values, size_t n_blocks, unsigned bits);
    void (*pack_wide)(uint8_t *packed, const uint64_t *values, size_t n_blocks, unsigned bits);
};

/* Those this processor can run, the best one last; returns how many (≤ capacity). */
size_t pf_ring_kernels_list(const struct pf_ring_kernels **tables, size_t capacity);

#endif
