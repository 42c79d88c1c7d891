/* The plain twins of the kernels: one loop per definition, nothing clever. */
#include "common/nn/kernels.h"

static bool is_set(const uint16_t *mask, size_t p)
{
    return (mask[p / PF_GROUP] >> (p % PF_GROUP) & 1) != 0;
}

static float relu6(float a)
{
    return a < 0.0f ? 0.0f : a > PF_RELU_LIMIT ? PF_RELU_LIMIT : a;
}

static float affine(struct pf_affine norm, float y)
{
    return norm.scale * y + norm.bias;
}

static bool passes(struct pf_affine norm, float y)
{
    return affine(norm, y) > 0.0f && affine(norm, y) < PF_RELU_LIMIT;
}

static float *place(struct pf_tiles to, size_t row, size_t p)
{
    return pf_tile_group(to, row, p / PF_GROUP) + p % PF_GROUP;
}

static void activate_ref(struct pf_tiles to, const struct pf_columns *columns, struct pf_planes y,
                         size_t first, size_t n_groups, const struct pf_affine *norm)
{
    for (size_t k = 0; k < columns->n; k++) {
        const struct pf_tap *tap = &columns->taps[columns->tap[k]];
        size_t c = k / columns->taps_per_channel;
        const float *plane = y.values + c * y.stride;
        for (size_t i = 0; i < n_groups * PF_GROUP; i++) {
            size_t p = first * PF_GROUP + i;
            ptrdiff_t from = tap->index != NULL ? tap->index[p] : (ptrdiff_t)p + tap->offset;
            *place(to, k, i) = is_set(tap->mask, p) ? relu6(affine(norm[c], plane[from])) : 0.0f;
        }
    }
}

static void normalise_back_ref(struct pf_tiles to, size_t n_rows, struct pf_planes g,
                               struct pf_planes y, const uint16_t *mask, size_t n_groups,
                               const struct pf_affine_back *norm)
{
    for (size_t r = 0; r < n_rows; r++)
        for (size_t p = 0; p < n_groups * PF_GROUP; p++)
            *place(to, r, p) = is_set(mask, p)
                                   ? norm[r].a * g.values[r * g.stride + p] +
                                         norm[r].b * y.values[r * y.stride + p] + norm[r].c
                                   : 0.0f;
}

/* What column k gives back to input pixel q; dx is the column's row. */
static float give_back(const struct pf_columns *columns, size_t k, const float *dx, size_t q)
{
    const struct pf_tap *tap = &columns->taps[columns->tap[k]];
    if (!is_set(tap->back_mask, q)) return 0.0f;
    return dx[tap->index != NULL ? tap->back_index[q] : (ptrdiff_t)q - tap->offset];
}

static void add_sums(float *sums, size_t p, float g, float distance)
{
    sums[p % PF_GROUP] += g;
    sums[PF_GROUP + p % PF_GROUP] += g * distance;
}

static void activate_back_ref(float *g, size_t n_channels, const struct pf_columns *columns,
                              size_t first_column, struct pf_planes dx, struct pf_planes y,
                              size_t n_groups, const struct pf_affine *norm, const float *mean,
                              float *sums)
{
    size_t taps = columns->taps_per_channel;
    for (size_t c = 0; c < n_channels; c++) {
        for (size_t q = 0; q < n_groups * PF_GROUP; q++) {
            float sum = 0.0f, value = y.values[c * y.stride + q];
            for (size_t t = c * taps; t < (c + 1) * taps; t++)
                sum += give_back(columns, first_column + t, dx.values + t * dx.stride, q);
            if (!passes(norm[c], value)) sum = 0.0f;
            g[c * y.stride + q] = sum;
            add_sums(sums + c * 2 * PF_GROUP, q, sum, value - mean[c]);
        }
    }
}

static void pool_ref(float *pooled, size_t n_channels, struct pf_planes y, const uint16_t *mask,
                     size_t n_groups, const struct pf_affine *norm, float scale)
{
    for (size_t c = 0; c < n_channels; c++) {
        float sum = 0.0f;
        for (size_t p = 0; p < n_groups * PF_GROUP; p++)
            if (is_set(mask, p)) sum += relu6(affine(norm[c], y.values[c * y.stride + p]));
        pooled[c] = scale * sum;
    }
}

static void pool_back_ref(float *g, size_t n_channels, const float *value, struct pf_planes y,
                          const uint16_t *mask, size_t n_groups, const struct pf_affine *norm,
                          const float *mean, float *sums)
{
    for (size_t c = 0; c < n_channels; c++) {
        for (size_t p = 0; p < n_groups * PF_GROUP; p++) {
            float y_p = y.values[c * y.stride + p];
            float g_p = is_set(mask, p) && passes(norm[c], y_p) ? value[c] : 0.0f;
            g[c * y.stride + p] = g_p;
            add_sums(sums + c * 2 * PF_GROUP, p, g_p, y_p - mean[c]);
        }
    }
}

static void emit_ref(float *y, size_t y_stride, const float *tile, size_t n_rows, size_t n_groups,
                     const uint16_t *mask, const float *pivot, float *sums, bool stream)
{
    (void)stream;
    for (size_t r = 0; r < n_rows; r++) {
        for (size_t p = 0; p < n_groups * PF_GROUP; p++) {
            float value = tile[r * PF_TILE + p];
            y[r * y_stride + p] = value;
            if (sums == NULL || !is_set(mask, p)) continue;
            float d = value - pivot[r], *row = sums + 2 * PF_GROUP * r + p % PF_GROUP;
            row[0] += d;
            row[PF_GROUP] += d * d;
        }
    }
}

static void product_ref(float *out, size_t out_stride, const float *panels, const float *x,
                        size_t n_rows, size_t n_columns, struct pf_ahead *ahead)
{
    (void)ahead;
    for (size_t r = 0; r < n_rows; r++) {
        const float *panel = panels + r / PF_ROW_BLOCK * PF_ROW_BLOCK * n_columns;
        for (size_t p = 0; p < PF_TILE; p++) {
            float sum = 0.0f;
            for (size_t k = 0; k < n_columns; k++)
                sum += panel[k * PF_ROW_BLOCK + r % PF_ROW_BLOCK] * x[k * PF_TILE + p];
            out[r * out_stride + p] = sum;
        }
    }
}

static void product_weights_ref(float *dw, size_t n_rows, size_t n_columns, const float *dy,
                                size_t dy_stride, const float *x, size_t x_stride, size_t n_tiles,
                                struct pf_ahead *ahead)
{
    (void)ahead;
    for (size_t r = 0; r < n_rows; r++)
        for (size_t k = 0; k < n_columns; k++)
            for (size_t t = 0; t < n_tiles; t++)
                for (size_t p = 0; p < PF_TILE; p++)
                    dw[r * n_columns + k] +=
                        dy[t * dy_stride + r * PF_TILE + p] * x[t * x_stride + k * PF_TILE + p];
}

static void packed_ref(float *out, size_t out_stride, const uint32_t *start,
                       const struct pf_survivor *survivors, const float *x, size_t n_rows,
                       struct pf_ahead *ahead)
{
    (void)ahead;
    for (size_t r = 0; r < n_rows; r++) {
        for (size_t p = 0; p < PF_TILE; p++) {
            float sum = 0.0f;
            for (size_t i = start[r]; i < start[r + 1]; i++)
                sum += survivors[i].weight * x[survivors[i].row * PF_TILE + p];
            out[r * out_stride + p] = sum;
        }
    }
}

static void packed_weights_ref(float *partial, const uint32_t *start,
                               const struct pf_survivor *survivors, size_t n_rows, const float *dy,
                               size_t dy_stride, const float *x, size_t x_stride, size_t n_tiles,
                               struct pf_ahead *ahead)
{
    (void)ahead;
    for (size_t r = 0; r < n_rows; r++)
        for (size_t i = start[r]; i < start[r + 1]; i++)
            for (size_t t = 0; t < n_tiles; t++)
                for (size_t p = 0; p < PF_TILE; p++)
                    partial[i * PF_GROUP + p % PF_GROUP] +=
                        dy[t * dy_stride + r * PF_TILE + p] *
                        x[t * x_stride + survivors[i].row * PF_TILE + p];
}

const struct pf_kernels pf_kernels_reference = {
    .name = "reference",
    .activate = activate_ref,
    .normalise_back = normalise_back_ref,
    .activate_back = activate_back_ref,
    .pool = pool_ref,
    .pool_back = pool_back_ref,
    .emit = emit_ref,
    .product = product_ref,
    .product_weights = product_weights_ref,
    .packed = packed_ref,
    .packed_weights = packed_weights_ref,
};
