/* `activate`, forward: batch norm, ReLU6, shift and stride on the way from memory to tiles. Private
 * to kernels_simd.c. */
#ifndef PF_COMMON_NN_SIMD_ACTIVATE_H
#define PF_COMMON_NN_SIMD_ACTIVATE_H

#include "common/nn/simd_tiles.h"

/* Vector v of what group g of a tile sees of a channel; lanes that see nothing are undefined.
 * `index`: of the group, mixed views.  Twice only floats are seen. */
static PF_INLINE vec see(enum pf_precision precision, enum pf_view_kind kind,
                         const struct pf_sight *sight, const int32_t *index, const void *channel,
                         size_t g, size_t v)
{
    const uint16_t *halves = channel;
    const float *floats = channel;
    const size_t lane = v * LANES;
    ptrdiff_t from = sight->from[2 * g];
    if (kind == PF_EVERY_SECOND) {
        const ptrdiff_t next = sight->from[2 * g + 1];
        from = (lane < 8 ? from : next) + (ptrdiff_t)(2 * (lane % 8));
        return precision == PF_HALF ? v_load_second_half(halves + from, halves + next)
                                    : v_load_second(floats + from, floats + next);
    }
    if (kind == PF_TWICE) return v_load_twice(floats + from + lane / 2);
    if (kind == PF_MIXED && from == PF_SCATTERED)
        return precision == PF_HALF ? v_gather_half(halves, index + lane)
                                    : v_gather(floats, index + lane);
    from += (ptrdiff_t)lane;
    return precision == PF_HALF ? v_load_half(halves + from) : v_load(floats + from);
}

static PF_INLINE lanes seen(const struct pf_sight *sight, size_t g, size_t v)
{
    return v_lanes((unsigned)sight->mask[g] >> v * LANES);
}

/* Of group g of a tile through a tap; NULL unless mixed. */
static PF_INLINE const int32_t *index_of(const struct pf_view *view, enum pf_view_kind kind,
                                         size_t tap, size_t tile, size_t g)
{
    if (kind != PF_MIXED) return NULL;
    return view->index + (tap * view->n_groups + tile * PF_GROUPS_PER_TILE + g) * PF_GROUP;
}

/* Groups [g, g + n_groups) of a tile of all columns; `out` is where row 0 has them.  Channel after
 * channel: their memory is read in one stretch. */
static PF_INLINE void activate_groups(size_t n_groups, enum pf_precision precision,
                                      enum pf_view_kind kind, float *out,
                                      const struct pf_columns *columns, struct pf_blocks y,
                                      size_t tile, size_t g, const struct pf_affine *norm)
{
    const struct pf_view view = columns->forward;
    const struct pf_sight *sights = view.sights + tile * PF_TAPS;
    const uint8_t *tap = columns->tap, *end = tap + columns->n;
    const size_t taps = columns->taps_per_channel, step = y.run * pf_number_bytes(precision);
    const vec limit = v_set1(PF_RELU_LIMIT);
    for (const char *channel = y.values; tap < end; channel += step, norm++) {
        const vec scale = v_set1(norm->scale), bias = v_set1(norm->bias);
        for (size_t t = 0; t < taps; t++, tap++, out += PF_TILE) {
            const struct pf_sight *sight = &sights[*tap];
            UNROLL for (size_t i = 0; i < n_groups; i++)
                UNROLL for (size_t v = 0; v < VECTORS_PER_GROUP; v++)
            {
                const int32_t *index = index_of(&view, kind, *tap, tile, g + i);
                vec a = see(precision, kind, sight, index, channel, g + i, v);
                a = v_clamp_keep(v_fma(a, scale, bias), limit, seen(sight, g + i, v));
                v_store(out + i * PF_GROUP + v * LANES, a);
            }
        }
    }
}

typedef void activate_tile(float *out, const struct pf_columns *columns, struct pf_blocks y,
                           size_t tile, const struct pf_affine *norm);

/* A whole tile in the usual cases; each in a function of its own, or gcc runs out of registers. */
#define ACTIVATE_WHOLE(name, precision, kind)                                                      \
    static PF_NOINLINE void name(float *out, const struct pf_columns *columns, struct pf_blocks y, \
                                 size_t tile, const struct pf_affine *norm)                        \
    {                                                                                              \
        activate_groups(PF_GROUPS_PER_TILE, precision, kind, out, columns, y, tile, 0, norm);      \
    }

ACTIVATE_WHOLE(activate_rows_single, PF_SINGLE, PF_IN_ROWS)
ACTIVATE_WHOLE(activate_rows_half, PF_HALF, PF_IN_ROWS)
ACTIVATE_WHOLE(activate_second_single, PF_SINGLE, PF_EVERY_SECOND)
ACTIVATE_WHOLE(activate_second_half, PF_HALF, PF_EVERY_SECOND)
ACTIVATE_WHOLE(activate_mixed_single, PF_SINGLE, PF_MIXED)
ACTIVATE_WHOLE(activate_mixed_half, PF_HALF, PF_MIXED)

static activate_tile *activate_whole(enum pf_precision precision, enum pf_view_kind kind)
{
    bool half = precision == PF_HALF;
    switch (kind) {
    case PF_IN_ROWS: return half ? activate_rows_half : activate_rows_single;
    case PF_EVERY_SECOND: return half ? activate_second_half : activate_second_single;
    default: return half ? activate_mixed_half : activate_mixed_single;
    }
}

static PF_NOINLINE void activate_part(size_t n_groups, float *out, const struct pf_columns *columns,
                                      struct pf_blocks y, size_t tile, size_t g,
                                      const struct pf_affine *norm)
{
    activate_groups(n_groups, y.precision, columns->forward.kind, out, columns, y, tile, g, norm);
}

static void activate(struct pf_tiles to, const struct pf_columns *columns, struct pf_blocks y,
                     size_t first, size_t n_groups, const struct pf_affine *norm)
{
    activate_tile *whole = activate_whole(y.precision, columns->forward.kind);
    size_t n;
    for (size_t i = 0; i < n_groups; i += n) {
        float *out = pf_tile_group(to, 0, i);
        size_t tile = (first + i) / PF_GROUPS_PER_TILE, g = (first + i) % PF_GROUPS_PER_TILE;
        n = groups_in_tile(to, i, n_groups - i);
        if (n == PF_GROUPS_PER_TILE)
            whole(out, columns, y, tile, norm);
        else
            activate_part(n, out, columns, y, tile, g, norm);
    }
}

#endif
