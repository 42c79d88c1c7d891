/* What the vector kernels share: tiles, groups and numbers.  Private to kernels_simd.c, which is
 * compiled once per instruction set. */
#ifndef PF_COMMON_NN_SIMD_TILES_H
#define PF_COMMON_NN_SIMD_TILES_H

#include "common/base/compiler.h"
#include "common/nn/kernels.h"
#include "common/nn/simd.h"

#define UNROLL _Pragma("GCC unroll 4")

/* Groups from `group` on that lie in one tile, at most n. */
static PF_INLINE size_t groups_in_tile(struct pf_tiles to, size_t group, size_t n)
{
    size_t room = PF_GROUPS_PER_TILE - (to.first + group) % PF_GROUPS_PER_TILE;
    return n < room ? n : room;
}

#define VECTORS_PER_GROUP (PF_GROUP / LANES)

/* Numbers [i, i + LANES). */
static PF_INLINE vec load_numbers(enum pf_precision precision, const void *numbers, size_t i)
{
    if (precision == PF_HALF) return v_load_half((const uint16_t *)numbers + i);
    return v_load((const float *)numbers + i);
}

#endif
