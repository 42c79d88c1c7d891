/* The products of packed layers.  Private to kernels_simd.c. */
#ifndef PF_COMMON_NN_SIMD_PACKED_H
#define PF_COMMON_NN_SIMD_PACKED_H

#include "common/nn/simd_products.h"

#define VECTORS_PER_TILE (PF_TILE / LANES < 4u ? PF_TILE / LANES : 4u)

/* A survivor's weight, and the row of x that it multiplies.  One load of a general register for
 * both, since the load units are what packed products wait for. */
static PF_INLINE vec survivor_weight(const struct pf_survivor *survivor, const float *x,
                                     const float **row)
{
    const bool little = __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__;
    uint64_t both;
    memcpy(&both, survivor, sizeof both);
    uint32_t first = (uint32_t)both, second = (uint32_t)(both >> 32);
    *row = x + (size_t)(little ? second : first) * PF_TILE;
    return v_set1_bits(little ? first : second);
}

/* A row's survivors in one segment.  What there is of the sum stands in `sums` before all but the
 * first segment, and after all but the last. */
static PF_INLINE void packed_row(struct sink_kind kind, const struct pf_sink *to, size_t row,
                                 const struct pf_survivor *survivors, size_t n, const float *x,
                                 bool first, bool last, float *sums)
{
    for (size_t p = 0; p < PF_TILE; p += VECTORS_PER_TILE * LANES) {
        const vec begin = row_begin(kind, to, row);
        vec acc[VECTORS_PER_TILE];
        UNROLL for (size_t j = 0; j < VECTORS_PER_TILE; j++) acc[j] =
            first ? begin : v_load(sums + p + j * LANES);
        for (const struct pf_survivor *s = survivors; s < survivors + n; s++) {
            const float *x_s;
            vec w = survivor_weight(s, x + p, &x_s);
            UNROLL for (size_t j = 0; j < VECTORS_PER_TILE; j++) acc[j] =
                v_fma(w, v_load(x_s + j * LANES), acc[j]);
        }
        if (last)
            sink_row(kind, to, row, p, acc, VECTORS_PER_TILE);
        else
            UNROLL for (size_t j = 0; j < VECTORS_PER_TILE; j++)
                v_store(sums + p + j * LANES, acc[j]);
    }
}

static PF_INLINE void packed_segment(struct sink_kind kind, const struct pf_sink *to,
                                     const uint32_t *start, const struct pf_survivor *survivors,
                                     size_t n_rows, const float *x, bool first, bool last,
                                     float *sums, struct pf_ahead *ahead)
{
    for (size_t r = 0; r < n_rows; r++) {
        fetch_ahead(ahead);
        packed_row(kind, to, r, survivors + start[r], start[r + 1] - start[r], x, first, last,
                   last && first ? NULL : sums + r * PF_TILE);
    }
}

/* All segments but the last. */
static PF_NOINLINE void packed_begin(const struct pf_sink *to, const struct pf_survivor_list *list,
                                     size_t first_row, size_t n_rows, const float *x, float *sums,
                                     struct pf_ahead *ahead)
{
    const struct pf_sink sink = *to;
    const struct sink_kind kind = kind_of(to);
    for (size_t s = 0; s + 1 < list->n_segments; s++)
        packed_segment(kind, &sink, pf_segment_start(list, s) + first_row, list->survivors, n_rows,
                       x, s == 0, false, sums, ahead);
}

#define PACKED_OF_KIND(name, kind)                                                              \
    static PF_NOINLINE void name(const struct pf_sink *to, const uint32_t *start,               \
                                 const struct pf_survivor *survivors, size_t n_rows,            \
                                 const float *x, float *sums, struct pf_ahead *ahead)           \
    {                                                                                           \
        const struct pf_sink sink = *to;                                                        \
        if (sums == NULL)                                                                       \
            packed_segment(kind, &sink, start, survivors, n_rows, x, true, true, NULL, ahead);  \
        else                                                                                    \
            packed_segment(kind, &sink, start, survivors, n_rows, x, false, true, sums, ahead); \
    }

PACKED_OF_KIND(packed_plain, PLAIN)
PACKED_OF_KIND(packed_stream_single, STREAM_SINGLE)
PACKED_OF_KIND(packed_stream_half, STREAM_HALF)
PACKED_OF_KIND(packed_any, kind_of(to))

typedef void packed_function(const struct pf_sink *to, const uint32_t *start,
                             const struct pf_survivor *survivors, size_t n_rows, const float *x,
                             float *sums, struct pf_ahead *ahead);

static void packed(const struct pf_sink *to, const struct pf_survivor_list *list, size_t first,
                   size_t n_rows, const float *x, float *sums, struct pf_ahead *ahead)
{
    static packed_function *const products[N_SINK_CASES] = {
        [CASE_PLAIN] = packed_plain,
        [CASE_STREAM_SINGLE] = packed_stream_single,
        [CASE_STREAM_HALF] = packed_stream_half,
        [CASE_ANY] = packed_any,
    };
    const uint32_t *start = pf_segment_start(list, list->n_segments - 1) + first;
    if (list->n_segments > 1)
        packed_begin(to, list, first, n_rows, x, sums, ahead);
    else
        sums = NULL;
    products[case_of(to)](to, start, list->survivors, n_rows, x, sums, ahead);
}

/* n ≤ 4 survivors of a row, VECTORS_PER_TILE vectors of pixels: sums += the lanes of their
 * products, transposed and added up so that one vector holds all four.  Sums of their own would be
 * as much to load and store as the rows. */
static PF_INLINE void packed_weights_quad(float *sums, const struct pf_survivor *survivors,
                                          size_t n, const vec *dy, const float *x)
{
    vec acc[PF_QUAD];
    UNROLL for (size_t i = 0; i < PF_QUAD; i++)
    {
        acc[i] = v_zero();
        if (i >= n) continue;
        const float *row = x + (size_t)survivors[i].row * PF_TILE;
        UNROLL for (size_t j = 0; j < VECTORS_PER_TILE; j++) acc[i] =
            v_fma(dy[j], v_load(row + j * LANES), acc[i]);
    }
    v_store(sums, v_add(v_load(sums), v_sum_quad(acc)));
}

static PF_INLINE void packed_weights_row(float *sums, const struct pf_survivor *survivors, size_t n,
                                         const float *dy, const float *x)
{
    vec dy_p[VECTORS_PER_TILE];
    UNROLL for (size_t j = 0; j < VECTORS_PER_TILE; j++) dy_p[j] = v_load(dy + j * LANES);
    for (; n >= PF_QUAD; n -= PF_QUAD, survivors += PF_QUAD, sums += PF_GROUP)
        packed_weights_quad(sums, survivors, PF_QUAD, dy_p, x);
    if (n > 0) packed_weights_quad(sums, survivors, n, dy_p, x);
}

/* One segment and tile; returns the partial sums behind the segment's. */
static float *packed_weights_segment(float *sums, const uint32_t *start,
                                     const struct pf_survivor *survivors, size_t n_rows,
                                     const float *dy, const float *x, struct pf_ahead *ahead)
{
    for (size_t r = 0; r < n_rows; r++) {
        size_t n = start[r + 1] - start[r];
        fetch_ahead(ahead);
        for (size_t p = 0; p < PF_TILE; p += VECTORS_PER_TILE * LANES)
            packed_weights_row(sums, survivors + start[r], n, dy + r * PF_TILE + p, x + p);
        sums += pf_quads(n) * PF_GROUP;
    }
    return sums;
}

static void packed_weights(float *partial, const struct pf_survivor_list *list, const float *dy,
                           size_t dy_stride, const float *x, size_t x_stride, size_t n_tiles,
                           struct pf_ahead *ahead)
{
    for (; n_tiles > 0; n_tiles--, dy += dy_stride, x += x_stride) {
        float *sums = partial;
        for (size_t s = 0; s < list->n_segments; s++)
            sums = packed_weights_segment(sums, pf_segment_start(list, s), list->survivors,
                                          list->n_rows, dy, x, ahead);
    }
}

#endif
