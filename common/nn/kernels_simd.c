/* The kernels in vector form.  Compiled once per instruction set, with PF_KERNELS_TABLE naming
 * the table it defines and PF_KERNELS_NAME its name; see kernels.h for what each function does. */
#include "common/nn/kernels.h"
#include "common/nn/simd.h"

extern const struct pf_kernels PF_KERNELS_TABLE;

#define UNROLL _Pragma("GCC unroll 4")

/* Floats ahead of where a pass reads its long streams; their lines come from main memory, and no
 * hardware looks beyond a page. */
#define PREFETCH 512u

static inline float *advance(float *out, size_t *group, size_t tile_stride)
{
    return ++*group % PF_GROUPS_PER_TILE == 0 ? out + tile_stride - PF_TILE + PF_GROUP
                                              : out + PF_GROUP;
}

static inline void activate_row(float *out, struct pf_tiles to, const float *y,
                                const int32_t *index, const uint16_t *mask, size_t n_groups,
                                struct pf_affine norm)
{
    const vec scale = v_set1(norm.scale), bias = v_set1(norm.bias);
    const vec zero = v_zero(), limit = v_set1(PF_RELU_LIMIT);
    size_t group = to.first;
    for (size_t i = 0; i < n_groups; i++) {
        if (index == NULL) __builtin_prefetch(y + i * PF_GROUP + PREFETCH);
        UNROLL for (unsigned j = 0; j < PF_GROUP; j += LANES)
        {
            size_t p = i * PF_GROUP + j;
            vec a = index != NULL ? v_gather(y, index + p) : v_load(y + p);
            a = v_clamp(v_fma(a, scale, bias), zero, limit);
            v_store(out + j, v_keep(a, (unsigned)mask[i] >> j));
        }
        out = advance(out, &group, to.stride);
    }
}

static void activate(struct pf_tiles to, const struct pf_columns *columns, struct pf_planes y,
                     size_t first, size_t n_groups, const struct pf_affine *norm)
{
    for (size_t k = 0; k < columns->n; k++) {
        const struct pf_tap *tap = &columns->taps[columns->tap[k]];
        size_t c = columns->taps_per_channel == 1 ? k : k / PF_TAPS;
        const float *plane = y.values + c * y.stride;
        float *out = pf_tile_group(to, k, 0);
        if (tap->index != NULL)
            activate_row(out, to, plane, tap->index + first * PF_GROUP, tap->mask + first, n_groups,
                         norm[c]);
        else
            activate_row(out, to, plane + tap->offset + (ptrdiff_t)(first * PF_GROUP), NULL,
                         tap->mask + first, n_groups, norm[c]);
    }
}

static void normalise_back(struct pf_tiles to, size_t n_rows, struct pf_planes g,
                           struct pf_planes y, const uint16_t *mask, size_t n_groups,
                           const struct pf_affine_back *norm)
{
    for (size_t r = 0; r < n_rows; r++) {
        const vec a = v_set1(norm[r].a), b = v_set1(norm[r].b), c = v_set1(norm[r].c);
        const float *g_row = g.values + r * g.stride, *y_row = y.values + r * y.stride;
        float *out = pf_tile_group(to, r, 0);
        size_t group = to.first;
        for (size_t i = 0; i < n_groups; i++) {
            __builtin_prefetch(g_row + i * PF_GROUP + PREFETCH);
            __builtin_prefetch(y_row + i * PF_GROUP + PREFETCH);
            UNROLL for (unsigned j = 0; j < PF_GROUP; j += LANES)
            {
                size_t p = i * PF_GROUP + j;
                vec dy = v_fma(v_load(g_row + p), a, v_fma(v_load(y_row + p), b, c));
                v_store(out + j, v_keep(dy, (unsigned)mask[i] >> j));
            }
            out = advance(out, &group, to.stride);
        }
    }
}

/* Where a column's gradient goes back to, for one channel. */
struct way_back {
    const float *dx;
    const int32_t *index;
    const uint16_t *mask;
};

static inline void activate_back_channel(float *g, const struct way_back *ways, size_t n_ways,
                                         bool strided, const float *y, size_t n_groups,
                                         struct pf_affine norm, float mean, float *sums)
{
    const vec scale = v_set1(norm.scale), bias = v_set1(norm.bias), centre = v_set1(mean);
    const vec zero = v_zero(), limit = v_set1(PF_RELU_LIMIT);
    for (unsigned j = 0; j < PF_GROUP; j += LANES) {
        vec sum = v_load(sums + j), sum_y = v_load(sums + PF_GROUP + j);
        for (size_t i = 0; i < n_groups; i++) {
            size_t p = i * PF_GROUP + j;
            __builtin_prefetch(y + p + PREFETCH);
            vec y_p = v_load(y + p), total = zero;
            for (size_t w = 0; w < n_ways; w++) {
                vec dx = strided ? v_gather(ways[w].dx, ways[w].index + p) : v_load(ways[w].dx + p);
                dx = v_keep(dx, (unsigned)ways[w].mask[i] >> j);
                total = n_ways == 1 ? dx : v_add(total, dx);
            }
            total = v_keep(total, v_inside(v_fma(y_p, scale, bias), zero, limit));
            v_store(g + p, total);
            sum = v_add(sum, total);
            sum_y = v_fma(total, v_sub(y_p, centre), sum_y);
        }
        v_store(sums + j, sum);
        v_store(sums + PF_GROUP + j, sum_y);
    }
}

static void activate_back(float *g, size_t n_channels, const struct pf_columns *columns,
                          size_t first_column, struct pf_planes dx, struct pf_planes y,
                          size_t n_groups, const struct pf_affine *norm, const float *mean,
                          float *sums)
{
    size_t n_ways = columns->taps_per_channel;
    for (size_t c = 0; c < n_channels; c++) {
        struct way_back ways[PF_TAPS];
        bool strided = false;
        for (size_t w = 0; w < n_ways; w++) {
            size_t row = c * n_ways + w;
            const struct pf_tap *tap = &columns->taps[columns->tap[first_column + row]];
            const float *from = dx.values + row * dx.stride;
            strided = tap->index != NULL;
            ways[w] = (struct way_back){strided ? from : from - tap->offset, tap->back_index,
                                        tap->back_mask};
        }
        float *g_c = g + c * y.stride, *sums_c = sums + c * 2 * PF_GROUP;
        const float *y_c = y.values + c * y.stride;
        /* Three calls with constants, so that each is compiled for its case. */
        if (n_ways == 1 && !strided)
            activate_back_channel(g_c, ways, 1, false, y_c, n_groups, norm[c], mean[c], sums_c);
        else if (!strided)
            activate_back_channel(g_c, ways, PF_TAPS, false, y_c, n_groups, norm[c], mean[c],
                                  sums_c);
        else
            activate_back_channel(g_c, ways, n_ways, true, y_c, n_groups, norm[c], mean[c], sums_c);
    }
}

static void pool(float *pooled, size_t n_channels, struct pf_planes y, const uint16_t *mask,
                 size_t n_groups, const struct pf_affine *norm, float factor)
{
    const vec zero = v_zero(), limit = v_set1(PF_RELU_LIMIT);
    for (size_t c = 0; c < n_channels; c++) {
        const vec scale = v_set1(norm[c].scale), bias = v_set1(norm[c].bias);
        const float *y_c = y.values + c * y.stride;
        vec sum = zero;
        for (size_t i = 0; i < n_groups; i++) UNROLL for (unsigned j = 0; j < PF_GROUP; j += LANES)
            {
                vec a = v_clamp(v_fma(v_load(y_c + i * PF_GROUP + j), scale, bias), zero, limit);
                sum = v_add(sum, v_keep(a, (unsigned)mask[i] >> j));
            }
        pooled[c] = factor * v_sum(sum);
    }
}

static void pool_back(float *g, size_t n_channels, const float *value, struct pf_planes y,
                      const uint16_t *mask, size_t n_groups, const struct pf_affine *norm,
                      const float *mean, float *sums)
{
    const vec zero = v_zero(), limit = v_set1(PF_RELU_LIMIT);
    for (size_t c = 0; c < n_channels; c++) {
        const vec scale = v_set1(norm[c].scale), bias = v_set1(norm[c].bias);
        const vec centre = v_set1(mean[c]), value_c = v_set1(value[c]);
        for (unsigned j = 0; j < PF_GROUP; j += LANES) {
            float *lane = sums + c * 2 * PF_GROUP + j;
            vec sum = v_load(lane), sum_y = v_load(lane + PF_GROUP);
            for (size_t i = 0; i < n_groups; i++) {
                size_t p = c * y.stride + i * PF_GROUP + j;
                vec y_p = v_load(y.values + p);
                unsigned inside = v_inside(v_fma(y_p, scale, bias), zero, limit);
                vec g_p = v_keep(value_c, inside & (unsigned)mask[i] >> j);
                v_store(g + p, g_p);
                sum = v_add(sum, g_p);
                sum_y = v_fma(g_p, v_sub(y_p, centre), sum_y);
            }
            v_store(lane, sum);
            v_store(lane + PF_GROUP, sum_y);
        }
    }
}

static inline void emit_row(float *y, const float *tile, size_t n_groups, const uint16_t *mask,
                            float pivot, float *sums, bool stream)
{
    const vec centre = v_set1(pivot);
    for (unsigned j = 0; j < PF_GROUP; j += LANES) {
        vec sum = v_load(sums + j), squares = v_load(sums + PF_GROUP + j);
        for (size_t i = 0; i < n_groups; i++) {
            vec value = v_load(tile + i * PF_GROUP + j);
            if (stream)
                v_stream(y + i * PF_GROUP + j, value);
            else
                v_store(y + i * PF_GROUP + j, value);
            vec d = v_keep(v_sub(value, centre), (unsigned)mask[i] >> j);
            sum = v_add(sum, d);
            squares = v_fma(d, d, squares);
        }
        v_store(sums + j, sum);
        v_store(sums + PF_GROUP + j, squares);
    }
}

static void emit(float *y, size_t y_stride, const float *tile, size_t n_rows, size_t n_groups,
                 const uint16_t *mask, const float *pivot, float *sums, bool stream)
{
    for (size_t r = 0; r < n_rows; r++) {
        float *to = y + r * y_stride;
        float *row_sums = sums == NULL ? NULL : sums + 2 * PF_GROUP * r;
        const float *from = tile + r * PF_TILE;
        if (sums == NULL)
            memcpy(to, from, n_groups * PF_GROUP * sizeof *y);
        else if (stream)
            emit_row(to, from, n_groups, mask, pivot[r], row_sums, true);
        else
            emit_row(to, from, n_groups, mask, pivot[r], row_sums, false);
    }
    if (stream) v_stream_end();
}

/* Asks for up to n lines of what will be read soon. */
static inline void fetch_ahead(struct pf_ahead *ahead, size_t n)
{
    for (size_t r = 0; r < PF_AHEAD_RANGES; r++) {
        size_t n_now = ahead->ranges[r].n_lines < n ? ahead->ranges[r].n_lines : n;
        if (n_now == 0) continue;
        const char *next = ahead->ranges[r].next;
        for (size_t i = 0; i < n_now; i++) __builtin_prefetch(next + i * PF_LINE, 0, 2);
        ahead->ranges[r].next = next + n_now * PF_LINE;
        ahead->ranges[r].n_lines -= n_now;
        n -= n_now;
    }
}

/* A processor can wait for about so many lines at once, and so many columns' products take about
 * as long as they do. */
#define LINES_AT_ONCE 16u
#define COLUMNS_AT_ONCE 32u

/* 4 rows × VECTORS_PER_BLOCK vectors of output stay in registers while k runs. */
static inline void product_block(float *out, size_t out_stride, const float *panel, const float *x,
                                 size_t n_columns, struct pf_ahead *ahead)
{
    vec acc[PF_ROW_BLOCK][VECTORS_PER_BLOCK];
    UNROLL for (size_t i = 0; i < PF_ROW_BLOCK; i++)
        UNROLL for (size_t j = 0; j < VECTORS_PER_BLOCK; j++) acc[i][j] = v_zero();
    for (size_t first = 0; first < n_columns; first += COLUMNS_AT_ONCE) {
        size_t end = first + COLUMNS_AT_ONCE < n_columns ? first + COLUMNS_AT_ONCE : n_columns;
        fetch_ahead(ahead, LINES_AT_ONCE);
        for (size_t k = first; k < end; k++) {
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
        UNROLL for (size_t j = 0; j < VECTORS_PER_BLOCK; j++)
            v_store(out + i * out_stride + j * LANES, acc[i][j]);
}

static void product(float *out, size_t out_stride, const float *panels, const float *x,
                    size_t n_rows, size_t n_columns, struct pf_ahead *ahead)
{
    for (size_t r = 0; r < n_rows; r += PF_ROW_BLOCK)
        for (size_t p = 0; p < PF_TILE; p += VECTORS_PER_BLOCK * LANES)
            product_block(out + r * out_stride + p, out_stride, panels + r * n_columns, x + p,
                          n_columns, ahead);
}

/* Rows × columns of dw whose vector sums stay in registers. */
#define WEIGHT_ROWS 4u
#define WEIGHT_COLUMNS (LANES / WEIGHT_ROWS)

static inline void weights_block(float *sums, const float *dy, size_t dy_stride, const float *x,
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
            fetch_ahead(ahead, LINES_AT_ONCE);
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

static void packed(float *out, size_t out_stride, const uint32_t *start,
                   const struct pf_survivor *survivors, const float *x, size_t n_rows,
                   struct pf_ahead *ahead)
{
    for (size_t r = 0; r < n_rows; r++) {
        if (r % PF_ROW_BLOCK == 0) fetch_ahead(ahead, LINES_AT_ONCE);
        for (size_t p = 0; p < PF_TILE; p += VECTORS_PER_TILE * LANES) {
            vec acc[VECTORS_PER_TILE];
            UNROLL for (size_t j = 0; j < VECTORS_PER_TILE; j++) acc[j] = v_zero();
            for (size_t i = start[r]; i < start[r + 1]; i++) {
                const float *row = x + (size_t)survivors[i].row * PF_TILE + p;
                vec w = v_set1(survivors[i].weight);
                UNROLL for (size_t j = 0; j < VECTORS_PER_TILE; j++) acc[j] =
                    v_fma(w, v_load(row + j * LANES), acc[j]);
            }
            UNROLL for (size_t j = 0; j < VECTORS_PER_TILE; j++)
                v_store(out + r * out_stride + p + j * LANES, acc[j]);
        }
    }
}

/* Tiles whose dy stays in registers while the survivors of a row pass. */
#define TILES_IN_REGISTERS (LANES == 16u ? 2u : 1u)
#define LANE_SETS (PF_GROUP / LANES)

/* dy and x of n_tiles ≤ TILES_IN_REGISTERS tiles, and of them VECTORS_PER_TILE vectors. */
static inline void packed_weights_row(float *partial, const struct pf_survivor *survivors, size_t n,
                                      const float *dy, size_t dy_stride, const float *x,
                                      size_t x_stride, size_t n_tiles)
{
    vec dy_p[TILES_IN_REGISTERS * VECTORS_PER_TILE];
    UNROLL for (size_t t = 0; t < n_tiles; t++) UNROLL for (size_t j = 0; j < VECTORS_PER_TILE; j++)
        dy_p[t * VECTORS_PER_TILE + j] = v_load(dy + t * dy_stride + j * LANES);
    for (size_t i = 0; i < n; i++) {
        const float *row = x + (size_t)survivors[i].row * PF_TILE;
        UNROLL for (size_t set = 0; set < LANE_SETS; set++)
        {
            float *lane = partial + i * PF_GROUP + set * LANES;
            vec sum = v_load(lane);
            UNROLL for (size_t t = 0; t < n_tiles;
                        t++) UNROLL for (size_t j = set; j < VECTORS_PER_TILE; j += LANE_SETS) sum =
                v_fma(dy_p[t * VECTORS_PER_TILE + j], v_load(row + t * x_stride + j * LANES), sum);
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
            if (r % PF_ROW_BLOCK == 0) fetch_ahead(ahead, LINES_AT_ONCE);
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
    .emit = emit,
    .product = product,
    .product_weights = product_weights,
    .packed = packed,
    .packed_weights = packed_weights,
};
