/* The kernels in vector form.  Compiled once per instruction set, with PF_KERNELS_TABLE naming
 * the table it defines and PF_KERNELS_NAME its name; see kernels.h for what each function does. */
#include "common/nn/kernels.h"
#include "common/nn/simd.h"

extern const struct pf_kernels PF_KERNELS_TABLE;

static inline vec view_load(const struct pf_view *view, size_t p)
{
    if (view->index != NULL) return v_gather(view->values, view->index + p);
    return v_load(view->values + p);
}

static void activate(struct pf_tile_row to, struct pf_view from, size_t n_groups,
                     struct pf_affine norm)
{
    const vec scale = v_set1(norm.scale), bias = v_set1(norm.bias);
    const vec zero = v_zero(), limit = v_set1(PF_RELU_LIMIT);
    for (size_t i = 0; i < n_groups; i++) {
        float *out = pf_tile_row_group(to, i);
        for (unsigned j = 0; j < PF_GROUP; j += LANES) {
            vec a = v_fma(view_load(&from, i * PF_GROUP + j), scale, bias);
            v_store(out + j, v_keep(v_clamp(a, zero, limit), (unsigned)from.mask[i] >> j));
        }
    }
}

static void normalise_back(struct pf_tile_row to, const float *g, const float *y,
                           const uint16_t *mask, size_t n_groups, struct pf_affine_back norm)
{
    const vec a = v_set1(norm.a), b = v_set1(norm.b), c = v_set1(norm.c);
    for (size_t i = 0; i < n_groups; i++) {
        float *out = pf_tile_row_group(to, i);
        for (unsigned j = 0; j < PF_GROUP; j += LANES) {
            size_t p = i * PF_GROUP + j;
            vec dy = v_fma(v_load(g + p), a, v_fma(v_load(y + p), b, c));
            v_store(out + j, v_keep(dy, (unsigned)mask[i] >> j));
        }
    }
}

static void activate_back(float *g, const struct pf_view *views, size_t n_views, const float *y,
                          size_t n_groups, struct pf_affine norm, float mean, float *sums)
{
    const vec scale = v_set1(norm.scale), bias = v_set1(norm.bias), centre = v_set1(mean);
    const vec zero = v_zero(), limit = v_set1(PF_RELU_LIMIT);
    for (unsigned j = 0; j < PF_GROUP; j += LANES) {
        vec sum = v_load(sums + j), sum_y = v_load(sums + PF_GROUP + j);
        for (size_t i = 0; i < n_groups; i++) {
            size_t p = i * PF_GROUP + j;
            vec y_p = v_load(y + p), total = zero;
            for (size_t v = 0; v < n_views; v++)
                total =
                    v_add(total, v_keep(view_load(&views[v], p), (unsigned)views[v].mask[i] >> j));
            total = v_keep(total, v_inside(v_fma(y_p, scale, bias), zero, limit));
            v_store(g + p, total);
            sum = v_add(sum, total);
            sum_y = v_fma(total, v_sub(y_p, centre), sum_y);
        }
        v_store(sums + j, sum);
        v_store(sums + PF_GROUP + j, sum_y);
    }
}

static float pool(const float *y, const uint16_t *mask, size_t n_groups, struct pf_affine norm)
{
    const vec scale = v_set1(norm.scale), bias = v_set1(norm.bias);
    const vec zero = v_zero(), limit = v_set1(PF_RELU_LIMIT);
    vec sum = zero;
    for (size_t i = 0; i < n_groups; i++)
        for (unsigned j = 0; j < PF_GROUP; j += LANES) {
            vec a = v_clamp(v_fma(v_load(y + i * PF_GROUP + j), scale, bias), zero, limit);
            sum = v_add(sum, v_keep(a, (unsigned)mask[i] >> j));
        }
    return v_sum(sum);
}

static void emit_row(float *y, const float *tile, size_t n_groups, const uint16_t *mask,
                     float pivot, float *sums)
{
    const vec centre = v_set1(pivot);
    for (unsigned j = 0; j < PF_GROUP; j += LANES) {
        vec sum = v_load(sums + j), squares = v_load(sums + PF_GROUP + j);
        for (size_t i = 0; i < n_groups; i++) {
            vec value = v_load(tile + i * PF_GROUP + j);
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
                 const uint16_t *mask, const float *pivot, float *sums)
{
    for (size_t r = 0; r < n_rows; r++) {
        if (sums == NULL)
            memcpy(y + r * y_stride, tile + r * PF_TILE, n_groups * PF_GROUP * sizeof *y);
        else
            emit_row(y + r * y_stride, tile + r * PF_TILE, n_groups, mask, pivot[r],
                     sums + 2 * PF_GROUP * r);
    }
}

/* 4 rows × VECTORS_PER_BLOCK vectors of output stay in registers while k runs. */
static inline void product_block(float *out, size_t out_stride, const float *panel, const float *x,
                                 size_t n_columns)
{
    vec acc[PF_ROW_BLOCK][VECTORS_PER_BLOCK];
    for (size_t i = 0; i < PF_ROW_BLOCK; i++)
        for (size_t j = 0; j < VECTORS_PER_BLOCK; j++) acc[i][j] = v_zero();
    for (size_t k = 0; k < n_columns; k++) {
        vec x_k[VECTORS_PER_BLOCK];
        for (size_t j = 0; j < VECTORS_PER_BLOCK; j++) x_k[j] = v_load(x + k * PF_TILE + j * LANES);
        for (size_t i = 0; i < PF_ROW_BLOCK; i++) {
            vec w = v_set1(panel[k * PF_ROW_BLOCK + i]);
            for (size_t j = 0; j < VECTORS_PER_BLOCK; j++) acc[i][j] = v_fma(w, x_k[j], acc[i][j]);
        }
    }
    for (size_t i = 0; i < PF_ROW_BLOCK; i++)
        for (size_t j = 0; j < VECTORS_PER_BLOCK; j++)
            v_store(out + i * out_stride + j * LANES, acc[i][j]);
}

static void product(float *out, size_t out_stride, const float *panels, const float *x,
                    size_t n_rows, size_t n_columns)
{
    for (size_t r = 0; r < n_rows; r += PF_ROW_BLOCK)
        for (size_t p = 0; p < PF_TILE; p += VECTORS_PER_BLOCK * LANES)
            product_block(out + r * out_stride + p, out_stride, panels + r * n_columns, x + p,
                          n_columns);
}

/* Rows × columns of dw whose vector sums stay in registers. */
#define WEIGHT_ROWS 4u
#define WEIGHT_COLUMNS (LANES == 16u ? 4u : 2u)

static inline void weights_block(float *sums, const float *dy, size_t dy_stride, const float *x,
                                 size_t x_stride, size_t n_tiles)
{
    vec acc[WEIGHT_ROWS][WEIGHT_COLUMNS];
    for (size_t i = 0; i < WEIGHT_ROWS; i++)
        for (size_t j = 0; j < WEIGHT_COLUMNS; j++) acc[i][j] = v_zero();
    for (size_t t = 0; t < n_tiles; t++) {
        for (size_t p = 0; p < PF_TILE; p += LANES) {
            vec x_p[WEIGHT_COLUMNS];
            for (size_t j = 0; j < WEIGHT_COLUMNS; j++)
                x_p[j] = v_load(x + t * x_stride + j * PF_TILE + p);
            for (size_t i = 0; i < WEIGHT_ROWS; i++) {
                vec dy_p = v_load(dy + t * dy_stride + i * PF_TILE + p);
                for (size_t j = 0; j < WEIGHT_COLUMNS; j++)
                    acc[i][j] = v_fma(dy_p, x_p[j], acc[i][j]);
            }
        }
    }
    for (size_t i = 0; i < WEIGHT_ROWS; i++)
        for (size_t j = 0; j < WEIGHT_COLUMNS; j++) sums[i * WEIGHT_COLUMNS + j] = v_sum(acc[i][j]);
}

/* Columns of x kept in the first cache while all rows of dy pass: 16 · 512 pixels = 32 KiB. */
#define COLUMNS_PER_PASS 16u
#define TILES_PER_PASS 8u

static void weights_pass(float *dw, size_t n_rows, size_t n_columns, size_t first, const float *dy,
                         size_t dy_stride, const float *x, size_t x_stride, size_t n_tiles)
{
    size_t last = first + COLUMNS_PER_PASS < n_columns ? first + COLUMNS_PER_PASS : n_columns;
    for (size_t r = 0; r < n_rows; r += WEIGHT_ROWS) {
        for (size_t k = first; k < last; k += WEIGHT_COLUMNS) {
            float sums[WEIGHT_ROWS * WEIGHT_COLUMNS];
            weights_block(sums, dy + r * PF_TILE, dy_stride, x + k * PF_TILE, x_stride, n_tiles);
            for (size_t i = 0; i < WEIGHT_ROWS && r + i < n_rows; i++)
                for (size_t j = 0; j < WEIGHT_COLUMNS && k + j < n_columns; j++)
                    dw[(r + i) * n_columns + k + j] += sums[i * WEIGHT_COLUMNS + j];
        }
    }
}

static void product_weights(float *dw, size_t n_rows, size_t n_columns, const float *dy,
                            size_t dy_stride, const float *x, size_t x_stride, size_t n_tiles)
{
    for (size_t t = 0; t < n_tiles; t += TILES_PER_PASS) {
        size_t n = n_tiles - t < TILES_PER_PASS ? n_tiles - t : TILES_PER_PASS;
        for (size_t k = 0; k < n_columns; k += COLUMNS_PER_PASS)
            weights_pass(dw, n_rows, n_columns, k, dy + t * dy_stride, dy_stride, x + t * x_stride,
                         x_stride, n);
    }
}

#define VECTORS_PER_TILE (PF_TILE / LANES < 4u ? PF_TILE / LANES : 4u)

static void packed(float *out, size_t out_stride, const uint32_t *start,
                   const struct pf_survivor *survivors, const float *x, size_t n_rows)
{
    for (size_t r = 0; r < n_rows; r++) {
        for (size_t p = 0; p < PF_TILE; p += VECTORS_PER_TILE * LANES) {
            vec acc[VECTORS_PER_TILE];
            for (size_t j = 0; j < VECTORS_PER_TILE; j++) acc[j] = v_zero();
            for (size_t i = start[r]; i < start[r + 1]; i++) {
                const float *row = x + (size_t)survivors[i].row * PF_TILE + p;
                vec w = v_set1(survivors[i].weight);
                for (size_t j = 0; j < VECTORS_PER_TILE; j++)
                    acc[j] = v_fma(w, v_load(row + j * LANES), acc[j]);
            }
            for (size_t j = 0; j < VECTORS_PER_TILE; j++)
                v_store(out + r * out_stride + p + j * LANES, acc[j]);
        }
    }
}

static void packed_weights_tile(float *partial, const uint32_t *start,
                                const struct pf_survivor *survivors, size_t n_rows, const float *dy,
                                const float *x)
{
    for (size_t r = 0; r < n_rows; r++) {
        for (size_t p = 0; p < PF_TILE; p += VECTORS_PER_TILE * LANES) {
            vec dy_p[VECTORS_PER_TILE];
            for (size_t j = 0; j < VECTORS_PER_TILE; j++)
                dy_p[j] = v_load(dy + r * PF_TILE + p + j * LANES);
            for (size_t i = start[r]; i < start[r + 1]; i++) {
                const float *row = x + (size_t)survivors[i].row * PF_TILE + p;
                float *sums = partial + i * PF_GROUP;
                for (size_t j = 0; j < VECTORS_PER_TILE; j++) {
                    float *lane = sums + j * LANES % PF_GROUP;
                    v_store(lane, v_fma(dy_p[j], v_load(row + j * LANES), v_load(lane)));
                }
            }
        }
    }
}

static void packed_weights(float *partial, const uint32_t *start,
                           const struct pf_survivor *survivors, size_t n_rows, const float *dy,
                           size_t dy_stride, const float *x, size_t x_stride, size_t n_tiles)
{
    for (size_t t = 0; t < n_tiles; t++)
        packed_weights_tile(partial, start, survivors, n_rows, dy + t * dy_stride,
                            x + t * x_stride);
}

const struct pf_kernels PF_KERNELS_TABLE = {
    .name = PF_KERNELS_NAME,
    .activate = activate,
    .normalise_back = normalise_back,
    .activate_back = activate_back,
    .pool = pool,
    .emit = emit,
    .product = product,
    .product_weights = product_weights,
    .packed = packed,
    .packed_weights = packed_weights,
};
