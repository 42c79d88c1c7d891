/* The kernels in vector form.  Compiled once per instruction set, with PF_KERNELS_TABLE naming
 * the table it defines and PF_KERNELS_NAME its name; see kernels.h for what each function does. */
#include "common/nn/kernels.h"

#include "common/base/compiler.h"
#include "common/nn/simd.h"

extern const struct pf_kernels PF_KERNELS_TABLE;

#define UNROLL _Pragma("GCC unroll 4")

/* Groups from `group` on that lie in one tile, at most n. */
static PF_INLINE size_t groups_in_tile(struct pf_tiles to, size_t group, size_t n)
{
    size_t room = PF_GROUPS_PER_TILE - (to.first + group) % PF_GROUPS_PER_TILE;
    return n < room ? n : room;
}

/* Calls function(n, …), with n a constant where it is a whole tile, so that the common case is
 * unrolled. */
#define WHOLE_TILES(n, function, ...)                  \
    do {                                               \
        if ((n) == PF_GROUPS_PER_TILE)                 \
            function(PF_GROUPS_PER_TILE, __VA_ARGS__); \
        else                                           \
            function((n), __VA_ARGS__);                \
    } while (0)

#define VECTORS_PER_GROUP (PF_GROUP / LANES)

/* Vector v of what group `group` sees of a channel; lanes that see nothing are undefined. */
static PF_INLINE vec see(const struct pf_view *view, bool scattered, const float *channel,
                         size_t group, size_t v)
{
    int32_t from = view->from[group];
    if (scattered && from == PF_SCATTERED)
        return v_gather(channel, view->index + group * PF_GROUP + v * LANES);
    return v_load(channel + from + v * LANES);
}

static PF_INLINE lanes seen(const struct pf_view *view, size_t group, size_t v)
{
    return v_lanes((unsigned)view->mask[group] >> v * LANES);
}

static PF_INLINE void activate_column(size_t n_groups, bool scattered, float *out,
                                      const struct pf_view *view, size_t first,
                                      const float *channel, struct pf_affine norm)
{
    const vec scale = v_set1(norm.scale), bias = v_set1(norm.bias), limit = v_set1(PF_RELU_LIMIT);
    UNROLL for (size_t i = 0; i < n_groups; i++)
        UNROLL for (size_t v = 0; v < VECTORS_PER_GROUP; v++)
    {
        vec a = v_fma(see(view, scattered, channel, first + i, v), scale, bias);
        v_store(out + i * PF_GROUP + v * LANES, v_clamp_keep(a, limit, seen(view, first + i, v)));
    }
}

/* Groups [first, first + n_groups) of all columns; `out` is where row 0 has them.  Channel after
 * channel: their memory is read in one stretch. */
static PF_INLINE void activate_groups(size_t n_groups, float *out, const struct pf_columns *columns,
                                      struct pf_blocks y, size_t first,
                                      const struct pf_affine *norm)
{
    size_t taps = columns->taps_per_channel;
    for (size_t c = 0, k = 0; k < columns->n; c++, y.values += y.run)
        for (size_t end = k + taps; k < end; k++, out += PF_TILE) {
            const struct pf_view *view = &columns->taps[columns->tap[k]].forward;
            if (view->index != NULL)
                activate_column(n_groups, true, out, view, first, y.values, norm[c]);
            else
                activate_column(n_groups, false, out, view, first, y.values, norm[c]);
        }
}

static void activate(struct pf_tiles to, const struct pf_columns *columns, struct pf_blocks y,
                     size_t first, size_t n_groups, const struct pf_affine *norm)
{
    size_t n;
    for (size_t i = 0; i < n_groups; i += n) {
        n = groups_in_tile(to, i, n_groups - i);
        WHOLE_TILES(n, activate_groups, pf_tile_group(to, 0, i), columns, y, first + i, norm);
    }
}

/* Rows of n_groups groups; out, g and y are where row 0 has them. */
static PF_INLINE void normalise_groups(size_t n_groups, float *out, struct pf_blocks g,
                                       struct pf_blocks y, size_t n_rows, const uint16_t *mask,
                                       const struct pf_affine_back *norm)
{
    lanes real[PF_GROUPS_PER_TILE * VECTORS_PER_GROUP] = {0};
    UNROLL for (size_t i = 0; i < n_groups * VECTORS_PER_GROUP; i++) real[i] =
        v_lanes((unsigned)mask[i / VECTORS_PER_GROUP] >> i % VECTORS_PER_GROUP * LANES);
    for (size_t r = 0; r < n_rows; r++) {
        const vec a = v_set1(norm[r].a), b = v_set1(norm[r].b), c = v_set1(norm[r].c);
        const float *g_r = g.values + r * g.run, *y_r = y.values + r * y.run;
        UNROLL for (size_t i = 0; i < n_groups * VECTORS_PER_GROUP; i++)
        {
            vec dy = v_fma(v_load(g_r + i * LANES), a, v_fma(v_load(y_r + i * LANES), b, c));
            v_store(out + r * PF_TILE + i * LANES, v_keep(dy, real[i]));
        }
    }
}

static void normalise_back(struct pf_tiles to, size_t n_rows, struct pf_blocks g,
                           struct pf_blocks y, const uint16_t *mask, size_t n_groups,
                           const struct pf_affine_back *norm)
{
    const float *g_first = g.values, *y_first = y.values;
    size_t n;
    for (size_t i = 0; i < n_groups; i += n) {
        n = groups_in_tile(to, i, n_groups - i);
        g.values = g_first + pf_block_group(g, i);
        y.values = y_first + pf_block_group(y, i);
        WHOLE_TILES(n, normalise_groups, pf_tile_group(to, 0, i), g, y, n_rows, mask + i, norm);
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

/* What a channel's columns give back: the first column, how many, their gradients and how far those
 * lie apart. */
struct way_back {
    const struct pf_columns *columns;
    size_t first, n;
    const float *dx;
    size_t run;
};

static PF_INLINE void back_channel(size_t n_groups, bool scattered, float *g,
                                   const struct pf_view *view, size_t first, const float *dx,
                                   const float *y, struct back_norm norm, float *sums)
{
    UNROLL for (size_t v = 0; v < VECTORS_PER_GROUP; v++)
    {
        vec sum = v_zero(), sum_y = v_zero();
        UNROLL for (size_t i = 0; i < n_groups; i++)
        {
            size_t p = i * PF_GROUP + v * LANES;
            back_vector(g + p, see(view, scattered, dx, first + i, v), seen(view, first + i, v),
                        v_load(y + p), norm, &sum, &sum_y);
        }
        put_sums(sums, v, sum, sum_y);
    }
}

/* A channel with several columns. */
static void back_columns(size_t n_groups, float *g, struct way_back way, size_t first,
                         const float *y, struct back_norm norm, float *sums)
{
    for (size_t v = 0; v < VECTORS_PER_GROUP; v++) {
        vec sum = v_zero(), sum_y = v_zero();
        for (size_t i = 0; i < n_groups; i++) {
            size_t p = i * PF_GROUP + v * LANES;
            vec total = v_zero();
            for (size_t w = 0; w < way.n; w++) {
                const struct pf_view *view =
                    &way.columns->taps[way.columns->tap[way.first + w]].back;
                vec dx = see(view, true, way.dx + w * way.run, first + i, v);
                total = v_add(total, v_keep(dx, seen(view, first + i, v)));
            }
            back_vector(g + p, total, v_lanes(~0u), v_load(y + p), norm, &sum, &sum_y);
        }
        put_sums(sums, v, sum, sum_y);
    }
}

static void activate_back(float *g, size_t n_channels, const struct pf_columns *columns,
                          size_t first_column, struct pf_blocks dx, struct pf_blocks y,
                          size_t n_groups, const struct pf_affine *norm, const float *mean,
                          float *sums)
{
    size_t n = y.run / PF_GROUP, taps = columns->taps_per_channel;
    for (size_t first = 0; first < n_groups; first += n) {
        size_t at = pf_block_group(y, first);
        for (size_t c = 0; c < n_channels; c++) {
            struct way_back way = {columns, first_column + c * taps, taps,
                                   dx.values + c * taps * dx.run, dx.run};
            const struct pf_view *view = &columns->taps[columns->tap[way.first]].back;
            struct back_norm back = {norm[c], mean[c]};
            float *g_c = g + at + c * y.run, *sums_c = sums + c * 2 * PF_GROUP;
            const float *y_c = y.values + at + c * y.run;
            if (taps != 1)
                back_columns(n, g_c, way, first, y_c, back, sums_c);
            else if (view->index != NULL)
                WHOLE_TILES(n, back_channel, true, g_c, view, first, way.dx, y_c, back, sums_c);
            else
                WHOLE_TILES(n, back_channel, false, g_c, view, first, way.dx, y_c, back, sums_c);
        }
    }
}

static PF_INLINE vec pool_groups(size_t n_groups, const float *y, const uint16_t *mask,
                                 struct pf_affine norm)
{
    const vec scale = v_set1(norm.scale), bias = v_set1(norm.bias);
    const vec limit = v_set1(PF_RELU_LIMIT);
    vec sum = v_zero();
    for (size_t i = 0; i < n_groups; i++) UNROLL for (unsigned j = 0; j < PF_GROUP; j += LANES)
        {
            vec a = v_clamp(v_fma(v_load(y + i * PF_GROUP + j), scale, bias), limit);
            sum = v_add(sum, v_keep(a, v_lanes((unsigned)mask[i] >> j)));
        }
    return sum;
}

static void pool(float *pooled, size_t n_channels, struct pf_blocks y, const uint16_t *mask,
                 size_t n_groups, const struct pf_affine *norm, float factor)
{
    size_t n = y.run / PF_GROUP;
    for (size_t c = 0; c < n_channels; c++) {
        vec sum = v_zero();
        for (size_t first = 0; first < n_groups; first += n)
            sum = v_add(sum, pool_groups(n, y.values + pf_block_group(y, first) + c * y.run,
                                         mask + first, norm[c]));
        pooled[c] = factor * v_sum(sum);
    }
}

static PF_INLINE void pool_back_groups(float *g, const float *y, size_t n_groups,
                                       const uint16_t *mask, float value, struct back_norm norm,
                                       float *sums)
{
    for (unsigned v = 0; v < VECTORS_PER_GROUP; v++) {
        vec sum = v_zero(), sum_y = v_zero();
        for (size_t i = 0; i < n_groups; i++) {
            size_t p = i * PF_GROUP + v * LANES;
            back_vector(g + p, v_set1(value), v_lanes((unsigned)mask[i] >> v * LANES),
                        v_load(y + p), norm, &sum, &sum_y);
        }
        put_sums(sums, v, sum, sum_y);
    }
}

static void pool_back(float *g, size_t n_channels, const float *value, struct pf_blocks y,
                      const uint16_t *mask, size_t n_groups, const struct pf_affine *norm,
                      const float *mean, float *sums)
{
    size_t n = y.run / PF_GROUP;
    for (size_t first = 0; first < n_groups; first += n) {
        size_t at = pf_block_group(y, first);
        for (size_t c = 0; c < n_channels; c++)
            pool_back_groups(g + at + c * y.run, y.values + at + c * y.run, n, mask + first,
                             value[c], (struct back_norm){norm[c], mean[c]},
                             sums + c * 2 * PF_GROUP);
    }
}

/* What is known of a sink when a product is compiled: the two cases that training lives of, and
 * whatever else there is. */
struct sink_kind {
    bool whole; /* all four groups exist */
    bool summed, stream;
};

static PF_INLINE struct sink_kind kind_of(const struct pf_sink *to)
{
    return (struct sink_kind){to->n_groups == PF_GROUPS_PER_TILE, to->pivot != NULL, to->stream};
}

/* Calls function(kind, …) with a constant kind where it is one of the usual. */
#define BY_KIND(to, function, ...)                                           \
    do {                                                                     \
        struct sink_kind kind = kind_of(to);                                 \
        if (kind.whole && !kind.summed && !kind.stream)                      \
            function(((struct sink_kind){true, false, false}), __VA_ARGS__); \
        else if (kind.whole && kind.summed && kind.stream)                   \
            function(((struct sink_kind){true, true, true}), __VA_ARGS__);   \
        else                                                                 \
            function(kind, __VA_ARGS__);                                     \
    } while (0)

/* Vectors acc[n] of one row of a product, the first at pixel `first` of the tile. */
static PF_INLINE void sink_row(struct sink_kind kind, const struct pf_sink *to, size_t row,
                               size_t first, const vec *acc, size_t n)
{
    float *out = to->values + row * to->row_stride;
    UNROLL for (size_t j = 0; j < n; j++)
    {
        size_t group = (first + j * LANES) / PF_GROUP, lane = (first + j * LANES) % PF_GROUP;
        if (!kind.whole && group >= to->n_groups) break;
        if (kind.stream)
            v_stream(out + to->offset[group] + lane, acc[j]);
        else
            v_store(out + to->offset[group] + lane, acc[j]);
    }
    if (!kind.summed) return;
    const vec centre = v_set1(to->pivot[row]);
    float *sums = to->sums + row * 2 * PF_GROUP;
    UNROLL for (size_t set = 0; set < VECTORS_PER_GROUP && set < n; set++)
    {
        vec sum = v_zero(), squares = v_zero();
        size_t lane = (first + set * LANES) % PF_GROUP;
        UNROLL for (size_t j = set; j < n; j += VECTORS_PER_GROUP)
        {
            size_t group = (first + j * LANES) / PF_GROUP;
            if (!kind.whole && group >= to->n_groups) break;
            vec d = v_keep(v_sub(acc[j], centre), v_lanes((unsigned)to->mask[group] >> lane));
            sum = v_add(sum, d);
            squares = v_fma(d, d, squares);
        }
        v_store(sums + lane, v_add(v_load(sums + lane), sum));
        v_store(sums + PF_GROUP + lane, v_add(v_load(sums + PF_GROUP + lane), squares));
    }
}

static void stream_end(void)
{
    v_stream_end();
}

/* One step's lines. */
static PF_INLINE void fetch_ahead(struct pf_ahead *ahead)
{
    size_t left = ahead->pace;
    for (size_t r = 0; r < PF_AHEAD_RANGES && left > 0; r++) {
        size_t n = ahead->ranges[r].n_lines < left ? ahead->ranges[r].n_lines : left;
        const char *next = ahead->ranges[r].next, *end = next + n * PF_LINE;
        if (n == 0) continue;
        ahead->ranges[r].n_lines -= n;
        ahead->ranges[r].next = end;
        left -= n;
        for (; next < end; next += PF_LINE) __builtin_prefetch(next, 0, 2);
    }
}

/* 4 rows × VECTORS_PER_BLOCK vectors of output stay in registers while k runs. */
static PF_INLINE void product_block(struct sink_kind kind, const struct pf_sink *to, size_t row,
                                    size_t n_rows, size_t first, const float *panel, const float *x,
                                    size_t n_columns, struct pf_ahead *ahead)
{
    vec acc[PF_ROW_BLOCK][VECTORS_PER_BLOCK];
    UNROLL for (size_t i = 0; i < PF_ROW_BLOCK; i++)
        UNROLL for (size_t j = 0; j < VECTORS_PER_BLOCK; j++) acc[i][j] = v_zero();
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

static void product(const struct pf_sink *to, const float *panels, const float *x, size_t n_rows,
                    size_t n_columns, struct pf_ahead *ahead)
{
    const struct pf_sink sink = *to; /* no store can change a copy: it stays in registers */
    BY_KIND(&sink, product_rows, &sink, panels, x, n_rows, n_columns, ahead);
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

#define VECTORS_PER_TILE (PF_TILE / LANES < 4u ? PF_TILE / LANES : 4u)

static PF_INLINE void packed_row(struct sink_kind kind, const struct pf_sink *to, size_t row,
                                 const struct pf_survivor *survivors, size_t n, const float *x)
{
    for (size_t p = 0; p < PF_TILE; p += VECTORS_PER_TILE * LANES) {
        vec acc[VECTORS_PER_TILE];
        UNROLL for (size_t j = 0; j < VECTORS_PER_TILE; j++) acc[j] = v_zero();
        for (size_t i = 0; i < n; i++) {
            const float *x_i = x + (size_t)survivors[i].row * PF_TILE + p;
            vec w = v_set1(survivors[i].weight);
            UNROLL for (size_t j = 0; j < VECTORS_PER_TILE; j++) acc[j] =
                v_fma(w, v_load(x_i + j * LANES), acc[j]);
        }
        sink_row(kind, to, row, p, acc, VECTORS_PER_TILE);
    }
}

static PF_INLINE void packed_rows(struct sink_kind kind, const struct pf_sink *to,
                                  const uint32_t *start, const struct pf_survivor *survivors,
                                  const float *x, size_t n_rows, struct pf_ahead *ahead)
{
    for (size_t r = 0; r < n_rows; r++) {
        fetch_ahead(ahead);
        packed_row(kind, to, r, survivors + start[r], start[r + 1] - start[r], x);
    }
}

static void packed(const struct pf_sink *to, const uint32_t *start,
                   const struct pf_survivor *survivors, const float *x, size_t n_rows,
                   struct pf_ahead *ahead)
{
    const struct pf_sink sink = *to; /* no store can change a copy: it stays in registers */
    BY_KIND(&sink, packed_rows, &sink, start, survivors, x, n_rows, ahead);
}

/* Tiles whose dy stays in registers while the survivors of a row pass. */
#define TILES_IN_REGISTERS (LANES == 16u ? 2u : 1u)

/* dy and x of n_tiles ≤ TILES_IN_REGISTERS tiles, and of them VECTORS_PER_TILE vectors. */
static PF_INLINE void packed_weights_row(float *partial, const struct pf_survivor *survivors,
                                         size_t n, const float *dy, size_t dy_stride,
                                         const float *x, size_t x_stride, size_t n_tiles)
{
    vec dy_p[TILES_IN_REGISTERS * VECTORS_PER_TILE];
    UNROLL for (size_t t = 0; t < n_tiles; t++) UNROLL for (size_t j = 0; j < VECTORS_PER_TILE; j++)
        dy_p[t * VECTORS_PER_TILE + j] = v_load(dy + t * dy_stride + j * LANES);
    for (size_t i = 0; i < n; i++) {
        const float *row = x + (size_t)survivors[i].row * PF_TILE;
        UNROLL for (size_t set = 0; set < VECTORS_PER_GROUP; set++)
        {
            float *lane = partial + i * PF_GROUP + set * LANES;
            vec sum = v_load(lane);
            UNROLL for (size_t t = 0; t < n_tiles; t++)
                UNROLL for (size_t j = set; j < VECTORS_PER_TILE; j += VECTORS_PER_GROUP) sum =
                    v_fma(dy_p[t * VECTORS_PER_TILE + j], v_load(row + t * x_stride + j * LANES),
                          sum);
            v_store(lane, sum);
        }
    }
}

static void packed_weights(float *partial, const uint32_t *start,
                           const struct pf_survivor *survivors, size_t n_rows, const float *dy,
                           size_t dy_stride, const float *x, size_t x_stride, size_t n_tiles,
                           struct pf_ahead *ahead)
{
    for (size_t t = 0; t < n_tiles; t += TILES_IN_REGISTERS) {
        const float *dy_t = dy + t * dy_stride, *x_t = x + t * x_stride;
        for (size_t r = 0; r < n_rows; r++) {
            const struct pf_survivor *s = survivors + start[r];
            float *sums = partial + (size_t)start[r] * PF_GROUP;
            size_t n = start[r + 1] - start[r];
            fetch_ahead(ahead);
            for (size_t p = r * PF_TILE; p < (r + 1) * PF_TILE; p += VECTORS_PER_TILE * LANES)
                if (t + TILES_IN_REGISTERS <= n_tiles)
                    packed_weights_row(sums, s, n, dy_t + p, dy_stride, x_t + p - r * PF_TILE,
                                       x_stride, TILES_IN_REGISTERS);
                else
                    packed_weights_row(sums, s, n, dy_t + p, dy_stride, x_t + p - r * PF_TILE,
                                       x_stride, 1);
        }
    }
}

const struct pf_kernels PF_KERNELS_TABLE = {
    .name = PF_KERNELS_NAME,
    .activate = activate,
    .normalise_back = normalise_back,
    .activate_back = activate_back,
    .pool = pool,
    .pool_back = pool_back,
    .product = product,
    .product_weights = product_weights,
    .packed = packed,
    .packed_weights = packed_weights,
    .stream_end = stream_end,
};
