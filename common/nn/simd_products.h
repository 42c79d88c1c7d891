/* Where products put their rows, what they fetch on the way, and the dense ones.  Private to
 * kernels_simd.c. */
#ifndef PF_COMMON_NN_SIMD_PRODUCTS_H
#define PF_COMMON_NN_SIMD_PRODUCTS_H

#include "common/nn/simd_tiles.h"

/* What is known of a sink when a product is compiled. */
struct sink_kind {
    bool whole; /* all four groups exist, and with sums also all their pixels */
    bool summed, stream;
    enum pf_precision precision;
};

static PF_INLINE struct sink_kind kind_of(const struct pf_sink *to)
{
    bool whole = to->n_groups == PF_GROUPS_PER_TILE;
    for (size_t i = 0; to->pivot != NULL && i < to->n_groups; i++)
        whole = whole && to->mask[i] == 0xffff;
    return (struct sink_kind){whole, to->pivot != NULL, to->stream, to->precision};
}

/* The kinds that training lives of, each compiled by itself; and whatever else there is. */
#define PLAIN ((struct sink_kind){true, false, false, PF_SINGLE})       /* back */
#define STREAM_SINGLE ((struct sink_kind){true, true, true, PF_SINGLE}) /* forward */
#define STREAM_HALF ((struct sink_kind){true, true, true, PF_HALF})
enum sink_case { CASE_PLAIN, CASE_STREAM_SINGLE, CASE_STREAM_HALF, CASE_ANY, N_SINK_CASES };

static PF_INLINE enum sink_case case_of(const struct pf_sink *to)
{
    const struct sink_kind kind = kind_of(to);
    if (kind.whole && kind.summed && kind.stream)
        return kind.precision == PF_HALF ? CASE_STREAM_HALF : CASE_STREAM_SINGLE;
    bool plain = kind.whole && !kind.summed && !kind.stream && kind.precision == PF_SINGLE;
    return plain ? CASE_PLAIN : CASE_ANY;
}

static PF_INLINE void put_numbers(struct sink_kind kind, void *numbers, ptrdiff_t i, vec a)
{
    if (kind.precision == PF_HALF) {
        uint16_t *out = (uint16_t *)numbers + i;
        kind.stream ? v_stream_half(out, a) : v_store_half(out, a);
    } else {
        float *out = (float *)numbers + i;
        kind.stream ? v_stream(out, a) : v_store(out, a);
    }
}

/* What a row's accumulators begin with. */
static PF_INLINE vec row_begin(struct sink_kind kind, const struct pf_sink *to, size_t row)
{
    return kind.summed ? v_set1(-to->pivot[row]) : v_zero();
}

/* Vectors acc[n] of one row of a product, the first at pixel `first` of the tile. */
static PF_INLINE void sink_row(struct sink_kind kind, const struct pf_sink *to, size_t row,
                               size_t first, const vec *acc, size_t n)
{
    UNROLL for (size_t j = 0; j < n; j++)
    {
        size_t group = (first + j * LANES) / PF_GROUP, lane = (first + j * LANES) % PF_GROUP;
        if (!kind.whole && group >= to->n_groups) break;
        put_numbers(kind, to->values, (ptrdiff_t)(row * to->row_stride + lane) + to->offset[group],
                    acc[j]);
    }
    if (!kind.summed) return;
    float *sums = to->sums + row * 2 * PF_GROUP;
    UNROLL for (size_t set = 0; set < VECTORS_PER_GROUP && set < n; set++)
    {
        size_t lane = (first + set * LANES) % PF_GROUP;
        vec sum = v_load(sums + lane), squares = v_load(sums + PF_GROUP + lane);
        UNROLL for (size_t j = set; j < n; j += VECTORS_PER_GROUP)
        {
            size_t group = (first + j * LANES) / PF_GROUP;
            if (!kind.whole && group >= to->n_groups) break;
            vec a =
                kind.whole ? acc[j] : v_keep(acc[j], v_lanes((unsigned)to->mask[group] >> lane));
            sum = v_add(sum, a);
            squares = v_fma(a, a, squares);
        }
        v_store(sums + lane, sum);
        v_store(sums + PF_GROUP + lane, squares);
    }
}

static void stream_end(void)
{
    v_stream_end();
}

static PF_INLINE void fetch_lines(const char *next, size_t n)
{
    for (const char *end = next + n * PF_LINE; next < end; next += PF_LINE)
        __builtin_prefetch(next, 0, 2);
}

/* One step's lines where the first range has fewer: what it has, and the rest of the next. */
static PF_NOINLINE void fetch_across(struct pf_ahead *ahead)
{
    size_t left = ahead->pace;
    while (left > 0) {
        size_t n = ahead->ranges[0].n_lines < left ? ahead->ranges[0].n_lines : left;
        fetch_lines(ahead->ranges[0].next, n);
        ahead->ranges[0].next += n * PF_LINE;
        ahead->ranges[0].n_lines -= n;
        left -= n;
        if (left == 0) return;
        for (size_t r = 0; r + 1 < PF_AHEAD_RANGES; r++) ahead->ranges[r] = ahead->ranges[r + 1];
        ahead->ranges[PF_AHEAD_RANGES - 1].n_lines = 0;
        bool empty = true;
        for (size_t r = 0; r < PF_AHEAD_RANGES; r++) empty &= ahead->ranges[r].n_lines == 0;
        if (empty) left = ahead->pace = 0;
    }
}

/* One step's lines. */
static PF_INLINE void fetch_ahead(struct pf_ahead *ahead)
{
    size_t n = ahead->pace;
    const char *next = ahead->ranges[0].next;
    if (ahead->ranges[0].n_lines < n) {
        fetch_across(ahead);
        return;
    }
    ahead->ranges[0].n_lines -= n;
    ahead->ranges[0].next = next + n * PF_LINE;
    fetch_lines(next, n);
}

/* 4 rows × VECTORS_PER_BLOCK vectors of output stay in registers while k runs. */
static PF_INLINE void product_block(struct sink_kind kind, const struct pf_sink *to, size_t row,
                                    size_t n_rows, size_t first, const float *panel, const float *x,
                                    size_t n_columns, struct pf_ahead *ahead)
{
    vec acc[PF_ROW_BLOCK][VECTORS_PER_BLOCK];
    UNROLL for (size_t i = 0; i < PF_ROW_BLOCK; i++)
    {
        const vec begin = row_begin(kind, to, i < n_rows ? row + i : row);
        UNROLL for (size_t j = 0; j < VECTORS_PER_BLOCK; j++) acc[i][j] = begin;
    }
    for (size_t begin = 0; begin < n_columns; begin += PF_STEP_COLUMNS) {
        size_t end = begin + PF_STEP_COLUMNS < n_columns ? begin + PF_STEP_COLUMNS : n_columns;
        fetch_ahead(ahead);
        for (size_t k = begin; k < end; k++) {
            vec x_k[VECTORS_PER_BLOCK];
            UNROLL for (size_t j = 0; j < VECTORS_PER_BLOCK; j++) x_k[j] =
                v_load(x + k * PF_TILE + j * LANES);
            UNROLL for (size_t i = 0; i < PF_ROW_BLOCK; i++)
            {
                vec w = v_set1(panel[k * PF_ROW_BLOCK + i]);
                UNROLL for (size_t j = 0; j < VECTORS_PER_BLOCK; j++) acc[i][j] =
                    v_fma(w, x_k[j], acc[i][j]);
            }
        }
    }
    UNROLL for (size_t i = 0; i < PF_ROW_BLOCK; i++)
    {
        if (i == n_rows) break;
        sink_row(kind, to, row + i, first, acc[i], VECTORS_PER_BLOCK);
    }
}

static PF_INLINE void product_rows(struct sink_kind kind, const struct pf_sink *to,
                                   const float *panels, const float *x, size_t n_rows,
                                   size_t n_columns, struct pf_ahead *ahead)
{
    for (size_t r = 0; r < n_rows; r += PF_ROW_BLOCK) {
        size_t n = n_rows - r < PF_ROW_BLOCK ? n_rows - r : PF_ROW_BLOCK;
        for (size_t p = 0; p < PF_TILE; p += VECTORS_PER_BLOCK * LANES)
            product_block(kind, to, r, n, p, panels + r * n_columns, x + p, n_columns, ahead);
    }
}

/* A sink is copied: no store can change the copy, so that it stays in registers. */
#define PRODUCT_OF_KIND(name, kind)                                                             \
    static PF_NOINLINE void name(const struct pf_sink *to, const float *panels, const float *x, \
                                 size_t n_rows, size_t n_columns, struct pf_ahead *ahead)       \
    {                                                                                           \
        const struct pf_sink sink = *to;                                                        \
        product_rows(kind, &sink, panels, x, n_rows, n_columns, ahead);                         \
    }

PRODUCT_OF_KIND(product_plain, PLAIN)
PRODUCT_OF_KIND(product_stream_single, STREAM_SINGLE)
PRODUCT_OF_KIND(product_stream_half, STREAM_HALF)
PRODUCT_OF_KIND(product_any, kind_of(to))

typedef void product_function(const struct pf_sink *to, const float *panels, const float *x,
                              size_t n_rows, size_t n_columns, struct pf_ahead *ahead);

static void product(const struct pf_sink *to, const float *panels, const float *x, size_t n_rows,
                    size_t n_columns, struct pf_ahead *ahead)
{
    static product_function *const products[N_SINK_CASES] = {
        [CASE_PLAIN] = product_plain,
        [CASE_STREAM_SINGLE] = product_stream_single,
        [CASE_STREAM_HALF] = product_stream_half,
        [CASE_ANY] = product_any,
    };
    products[case_of(to)](to, panels, x, n_rows, n_columns, ahead);
}

/* Rows × columns of dw whose vector sums stay in registers. */
#define WEIGHT_ROWS 4u
#define WEIGHT_COLUMNS (LANES / WEIGHT_ROWS)

static PF_INLINE void weights_block(float *sums, const float *dy, size_t dy_stride, const float *x,
                                    size_t x_stride, size_t n_tiles)
{
    vec acc[WEIGHT_ROWS * WEIGHT_COLUMNS];
    UNROLL for (size_t i = 0; i < WEIGHT_ROWS; i++)
        UNROLL for (size_t j = 0; j < WEIGHT_COLUMNS; j++) acc[i * WEIGHT_COLUMNS + j] = v_zero();
    for (size_t t = 0; t < n_tiles; t++) {
        UNROLL for (size_t p = 0; p < PF_TILE; p += LANES)
        {
            vec x_p[WEIGHT_COLUMNS];
            UNROLL for (size_t j = 0; j < WEIGHT_COLUMNS; j++) x_p[j] =
                v_load(x + t * x_stride + j * PF_TILE + p);
            UNROLL for (size_t i = 0; i < WEIGHT_ROWS; i++)
            {
                vec dy_p = v_load(dy + t * dy_stride + i * PF_TILE + p);
                UNROLL for (size_t j = 0; j < WEIGHT_COLUMNS; j++) acc[i * WEIGHT_COLUMNS + j] =
                    v_fma(dy_p, x_p[j], acc[i * WEIGHT_COLUMNS + j]);
            }
        }
    }
    v_sums(sums, acc);
}

/* Columns of x kept in the first cache while all rows of dy pass: 16 · 512 pixels = 32 KiB. */
#define COLUMNS_PER_PASS 16u
#define TILES_PER_PASS 8u

static void weights_pass(float *dw, size_t n_rows, size_t n_columns, size_t first, const float *dy,
                         size_t dy_stride, const float *x, size_t x_stride, size_t n_tiles,
                         struct pf_ahead *ahead)
{
    size_t last = first + COLUMNS_PER_PASS < n_columns ? first + COLUMNS_PER_PASS : n_columns;
    for (size_t r = 0; r < n_rows; r += WEIGHT_ROWS) {
        for (size_t k = first; k < last; k += WEIGHT_COLUMNS) {
            float sums[WEIGHT_ROWS * WEIGHT_COLUMNS];
            fetch_ahead(ahead);
            weights_block(sums, dy + r * PF_TILE, dy_stride, x + k * PF_TILE, x_stride, n_tiles);
            for (size_t i = 0; i < WEIGHT_ROWS && r + i < n_rows; i++)
                for (size_t j = 0; j < WEIGHT_COLUMNS && k + j < n_columns; j++)
                    dw[(r + i) * n_columns + k + j] += sums[i * WEIGHT_COLUMNS + j];
        }
    }
}

static void product_weights(float *dw, size_t n_rows, size_t n_columns, const float *dy,
                            size_t dy_stride, const float *x, size_t x_stride, size_t n_tiles,
                            struct pf_ahead *ahead)
{
    for (size_t t = 0; t < n_tiles; t += TILES_PER_PASS) {
        size_t n = n_tiles - t < TILES_PER_PASS ? n_tiles - t : TILES_PER_PASS;
        for (size_t k = 0; k < n_columns; k += COLUMNS_PER_PASS)
            weights_pass(dw, n_rows, n_columns, k, dy + t * dy_stride, dy_stride, x + t * x_stride,
                         x_stride, n, ahead);
    }
}

#endif
