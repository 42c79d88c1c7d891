/* The passes of the backward direction, and the pool at the end of the network.  Private to
 * kernels_simd.c. */
#ifndef PF_COMMON_NN_SIMD_BACK_H
#define PF_COMMON_NN_SIMD_BACK_H

#include "common/nn/simd_activate.h"

/* Rows of n_groups groups, the first at group `first` of g and y; out is where row 0 has them. */
static PF_INLINE void normalise_groups(size_t n_groups, enum pf_precision precision, float *out,
                                       struct pf_blocks g, struct pf_blocks y, size_t first,
                                       size_t n_rows, const uint16_t *mask,
                                       const struct pf_affine_back *norm)
{
    const float *g_first = (const float *)g.values + pf_block_group(g, first);
    const size_t y_first = pf_block_group(y, first);
    lanes real[PF_GROUPS_PER_TILE * VECTORS_PER_GROUP] = {0};
    UNROLL for (size_t i = 0; i < n_groups * VECTORS_PER_GROUP; i++) real[i] =
        v_lanes((unsigned)mask[first + i / VECTORS_PER_GROUP] >> i % VECTORS_PER_GROUP * LANES);
    for (size_t r = 0; r < n_rows; r++) {
        const vec a = v_set1(norm[r].a), b = v_set1(norm[r].b), c = v_set1(norm[r].c);
        const float *g_r = g_first + r * g.run;
        const void *y_r = pf_numbers_from(y.values, precision, y_first + r * y.run);
        UNROLL for (size_t i = 0; i < n_groups * VECTORS_PER_GROUP; i++)
        {
            vec dy = v_fma(load_numbers(precision, y_r, i * LANES), b, c);
            dy = v_fma(v_load(g_r + i * LANES), a, dy);
            v_store(out + r * PF_TILE + i * LANES, v_keep(dy, real[i]));
        }
    }
}

typedef void normalise_tile(float *out, struct pf_blocks g, struct pf_blocks y, size_t first,
                            size_t n_rows, const uint16_t *mask, const struct pf_affine_back *norm);

#define NORMALISE_WHOLE(name, precision)                                                           \
    static PF_NOINLINE void name(float *out, struct pf_blocks g, struct pf_blocks y, size_t first, \
                                 size_t n_rows, const uint16_t *mask,                              \
                                 const struct pf_affine_back *norm)                                \
    {                                                                                              \
        normalise_groups(PF_GROUPS_PER_TILE, precision, out, g, y, first, n_rows, mask, norm);     \
    }

NORMALISE_WHOLE(normalise_whole_single, PF_SINGLE)
NORMALISE_WHOLE(normalise_whole_half, PF_HALF)

static PF_NOINLINE void normalise_part(size_t n_groups, float *out, struct pf_blocks g,
                                       struct pf_blocks y, size_t first, size_t n_rows,
                                       const uint16_t *mask, const struct pf_affine_back *norm)
{
    normalise_groups(n_groups, y.precision, out, g, y, first, n_rows, mask, norm);
}

static void normalise_back(struct pf_tiles to, size_t n_rows, struct pf_blocks g,
                           struct pf_blocks y, const uint16_t *mask, size_t n_groups,
                           const struct pf_affine_back *norm)
{
    normalise_tile *whole = y.precision == PF_HALF ? normalise_whole_half : normalise_whole_single;
    size_t n;
    for (size_t i = 0; i < n_groups; i += n) {
        float *out = pf_tile_group(to, 0, i);
        n = groups_in_tile(to, i, n_groups - i);
        if (n == PF_GROUPS_PER_TILE)
            whole(out, g, y, i, n_rows, mask, norm);
        else
            normalise_part(n, out, g, y, i, n_rows, mask, norm);
    }
}

/* Coefficients of one channel on its way back. */
struct back_norm {
    struct pf_affine affine;
    float mean;
};

/* One vector behind ReLU6: g ← total where y passed it, and the sums of both. */
static PF_INLINE void back_vector(float *g, vec total, lanes chosen, vec y, struct back_norm norm,
                                  vec *sum, vec *sum_y)
{
    const vec scale = v_set1(norm.affine.scale), bias = v_set1(norm.affine.bias);
    total = v_keep(total, v_inside(chosen, v_fma(y, scale, bias), v_set1(PF_RELU_LIMIT)));
    v_store(g, total);
    *sum = v_add(*sum, total);
    *sum_y = v_fma(total, v_sub(y, v_set1(norm.mean)), *sum_y);
}

/* sums[2][16] += the sums of one of the vectors of a group. */
static PF_INLINE void put_sums(float *sums, size_t v, vec sum, vec sum_y)
{
    float *lane = sums + v * LANES;
    v_store(lane, v_add(v_load(lane), sum));
    v_store(lane + PF_GROUP, v_add(v_load(lane + PF_GROUP), sum_y));
}

/* What activate_back works on, at one block of n_groups. */
struct way_back {
    float *g;
    size_t n_channels;
    const struct pf_view *view;
    size_t tile;
    const uint8_t *tap; /* of the first channel's first column */
    size_t taps;        /* columns per channel */
    const float *dx;
    size_t dx_run;
    const void *y;
    size_t run; /* of g and y */
    const struct pf_affine *norm;
    const float *mean;
    float *sums;
};

/* What a channel's t-th column gives back to group i. */
static PF_INLINE vec column_back(enum pf_view_kind kind, const struct way_back *way,
                                 const struct pf_sight *sight, size_t t, size_t i, size_t v)
{
    const int32_t *index = index_of(way->view, kind, way->tap[t], way->tile, i);
    return see(PF_SINGLE, kind, sight, index, way->dx + t * way->dx_run, i, v);
}

/* The sum of what a channel's columns give back to a vector. */
static PF_INLINE vec columns_back(enum pf_view_kind kind, const struct way_back *way,
                                  const struct pf_sight *sights, size_t i, size_t v)
{
    vec total = v_zero();
    for (size_t t = 0; t < way->taps; t++) {
        const struct pf_sight *sight = &sights[way->tap[t]];
        total = v_add(total, v_keep(column_back(kind, way, sight, t, i, v), seen(sight, i, v)));
    }
    return total;
}

static PF_INLINE void back_block(size_t n_groups, enum pf_precision precision,
                                 enum pf_view_kind kind, bool one_tap, struct way_back way)
{
    const struct pf_sight *sights = way.view->sights + way.tile * PF_TAPS;
    for (size_t c = 0; c < way.n_channels; c++) {
        const struct back_norm norm = {way.norm[c], way.mean[c]};
        const struct pf_sight *sight = &sights[*way.tap];
        float *sums = way.sums + c * 2 * PF_GROUP;
        UNROLL for (size_t v = 0; v < VECTORS_PER_GROUP; v++)
        {
            vec sum = v_zero(), sum_y = v_zero();
            UNROLL for (size_t i = 0; i < n_groups; i++)
            {
                size_t p = i * PF_GROUP + v * LANES;
                vec dx = one_tap ? column_back(kind, &way, sight, 0, i, v)
                                 : columns_back(kind, &way, sights, i, v);
                back_vector(way.g + p, dx, one_tap ? seen(sight, i, v) : v_lanes(~0u),
                            load_numbers(precision, way.y, p), norm, &sum, &sum_y);
            }
            put_sums(sums, v, sum, sum_y);
        }
        way.tap += way.taps;
        way.dx += way.taps * way.dx_run;
        way.g += way.run;
        way.y = pf_numbers_from(way.y, precision, way.run);
    }
}

typedef void back_whole(struct way_back way);

/* A block of 64 pixels of a layer of one column per channel, in the usual cases. */
#define BACK_WHOLE(name, precision, kind)                           \
    static PF_NOINLINE void name(struct way_back way)               \
    {                                                               \
        back_block(PF_GROUPS_PER_TILE, precision, kind, true, way); \
    }

BACK_WHOLE(back_rows_single, PF_SINGLE, PF_IN_ROWS)
BACK_WHOLE(back_rows_half, PF_HALF, PF_IN_ROWS)
BACK_WHOLE(back_twice_single, PF_SINGLE, PF_TWICE)
BACK_WHOLE(back_twice_half, PF_HALF, PF_TWICE)

/* NULL: not one of them. */
static back_whole *find_back_whole(enum pf_precision precision, enum pf_view_kind kind)
{
    bool half = precision == PF_HALF;
    switch (kind) {
    case PF_IN_ROWS: return half ? back_rows_half : back_rows_single;
    case PF_TWICE: return half ? back_twice_half : back_twice_single;
    default: return NULL;
    }
}

static PF_NOINLINE void back_any(size_t n_groups, enum pf_precision precision, struct way_back way)
{
    back_block(n_groups, precision, way.view->kind, way.taps == 1, way);
}

static void activate_back(float *g, size_t n_channels, const struct pf_columns *columns,
                          size_t first_column, struct pf_blocks dx, struct pf_blocks y,
                          size_t n_groups, const struct pf_affine *norm, const float *mean,
                          float *sums)
{
    size_t n = y.run / PF_GROUP;
    back_whole *whole = n == PF_GROUPS_PER_TILE && columns->taps_per_channel == 1
                            ? find_back_whole(y.precision, columns->back.kind)
                            : NULL;
    for (size_t first = 0; first < n_groups; first += n) {
        size_t at = pf_block_group(y, first);
        const struct way_back way = {.g = g + at,
                                     .n_channels = n_channels,
                                     .view = &columns->back,
                                     .tile = first / PF_GROUPS_PER_TILE,
                                     .tap = columns->tap + first_column,
                                     .taps = columns->taps_per_channel,
                                     .dx = dx.values,
                                     .dx_run = dx.run,
                                     .y = pf_numbers_from(y.values, y.precision, at),
                                     .run = y.run,
                                     .norm = norm,
                                     .mean = mean,
                                     .sums = sums};
        if (whole != NULL)
            whole(way);
        else
            back_any(n, y.precision, way);
    }
}

/* Calls function(precision, …) with a constant. */
#define BY_PRECISION(precision, function, ...) \
    do {                                       \
        if ((precision) == PF_HALF)            \
            function(PF_HALF, __VA_ARGS__);    \
        else                                   \
            function(PF_SINGLE, __VA_ARGS__);  \
    } while (0)

static PF_INLINE vec pool_groups(enum pf_precision precision, size_t n_groups, const void *y,
                                 const uint16_t *mask, struct pf_affine norm)
{
    const vec scale = v_set1(norm.scale), bias = v_set1(norm.bias);
    const vec limit = v_set1(PF_RELU_LIMIT);
    vec sum = v_zero();
    for (size_t i = 0; i < n_groups; i++) UNROLL for (unsigned j = 0; j < PF_GROUP; j += LANES)
        {
            vec a = v_fma(load_numbers(precision, y, i * PF_GROUP + j), scale, bias);
            sum = v_add(sum, v_keep(v_clamp(a, limit), v_lanes((unsigned)mask[i] >> j)));
        }
    return sum;
}

static PF_INLINE void pool_channels(enum pf_precision precision, float *pooled, size_t n_channels,
                                    struct pf_blocks y, const uint16_t *mask, size_t n_groups,
                                    const struct pf_affine *norm, float factor)
{
    size_t n = y.run / PF_GROUP;
    for (size_t c = 0; c < n_channels; c++) {
        vec sum = v_zero();
        for (size_t first = 0; first < n_groups; first += n) {
            size_t at = pf_block_group(y, first) + c * y.run;
            sum = v_add(sum, pool_groups(precision, n, pf_numbers_from(y.values, precision, at),
                                         mask + first, norm[c]));
        }
        pooled[c] = factor * v_sum(sum);
    }
}

static void pool(float *pooled, size_t n_channels, struct pf_blocks y, const uint16_t *mask,
                 size_t n_groups, const struct pf_affine *norm, float factor)
{
    BY_PRECISION(y.precision, pool_channels, pooled, n_channels, y, mask, n_groups, norm, factor);
}

static PF_INLINE void pool_back_groups(enum pf_precision precision, float *g, const void *y,
                                       size_t n_groups, const uint16_t *mask, float value,
                                       struct back_norm norm, float *sums)
{
    for (unsigned v = 0; v < VECTORS_PER_GROUP; v++) {
        vec sum = v_zero(), sum_y = v_zero();
        for (size_t i = 0; i < n_groups; i++) {
            size_t p = i * PF_GROUP + v * LANES;
            back_vector(g + p, v_set1(value), v_lanes((unsigned)mask[i] >> v * LANES),
                        load_numbers(precision, y, p), norm, &sum, &sum_y);
        }
        put_sums(sums, v, sum, sum_y);
    }
}

static PF_INLINE void pool_back_channels(enum pf_precision precision, float *g, size_t n_channels,
                                         const float *value, struct pf_blocks y,
                                         const uint16_t *mask, size_t n_groups,
                                         const struct pf_affine *norm, const float *mean,
                                         float *sums)
{
    size_t n = y.run / PF_GROUP;
    for (size_t first = 0; first < n_groups; first += n)
        for (size_t c = 0; c < n_channels; c++) {
            size_t at = pf_block_group(y, first) + c * y.run;
            pool_back_groups(precision, g + at, pf_numbers_from(y.values, precision, at), n,
                             mask + first, value[c], (struct back_norm){norm[c], mean[c]},
                             sums + c * 2 * PF_GROUP);
        }
}

static void pool_back(float *g, size_t n_channels, const float *value, struct pf_blocks y,
                      const uint16_t *mask, size_t n_groups, const struct pf_affine *norm,
                      const float *mean, float *sums)
{
    BY_PRECISION(y.precision, pool_back_channels, g, n_channels, value, y, mask, n_groups, norm,
                 mean, sums);
}

#endif
