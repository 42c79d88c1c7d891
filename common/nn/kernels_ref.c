/* The plain twins of the kernels: one loop per definition, nothing clever. */
#include <stdbool.h>

#include "common/nn/kernels.h"

static bool is_set(const uint16_t *mask, size_t p)
{
    return (mask[p / PF_GROUP] >> (p % PF_GROUP) & 1) != 0;
}

static float view_at(const struct pf_view *view, size_t p)
{
    if (!is_set(view->mask, p)) return 0.0f;
    return view->values[view->index != NULL ? (size_t)view->index[p] : p];
}

static float relu6(float a)
{
    return a < 0.0f ? 0.0f : a > PF_RELU_LIMIT ? PF_RELU_LIMIT : a;
}

static float *place(struct pf_tile_row to, size_t p)
{
    return pf_tile_row_group(to, p / PF_GROUP) + p % PF_GROUP;
}

static void activate_ref(struct pf_tile_row to, struct pf_view from, size_t n_groups,
                         struct pf_affine norm)
{
    for (size_t p = 0; p < n_groups * PF_GROUP; p++)
        *place(to, p) =
            is_set(from.mask, p) ? relu6(norm.scale * view_at(&from, p) + norm.bias) : 0.0f;
}

static void normalise_back_ref(struct pf_tile_row to, const float *g, const float *y,
                               const uint16_t *mask, size_t n_groups, struct pf_affine_back norm)
{
    for (size_t p = 0; p < n_groups * PF_GROUP; p++)
        *place(to, p) = is_set(mask, p) ? norm.a * g[p] + (norm.b * y[p] + norm.c) : 0.0f;
}

static void activate_back_ref(float *g, const struct pf_view *views, size_t n_views, const float *y,
                              size_t n_groups, struct pf_affine norm, float mean, float *sums)
{
    for (size_t p = 0; p < n_groups * PF_GROUP; p++) {
        float sum = 0.0f, before = norm.scale * y[p] + norm.bias;
        for (size_t i = 0; i < n_views; i++) sum += view_at(&views[i], p);
        g[p] = before > 0.0f && before < PF_RELU_LIMIT ? sum : 0.0f;
        sums[p % PF_GROUP] += g[p];
        sums[PF_GROUP + p % PF_GROUP] += g[p] * (y[p] - mean);
    }
}

static float pool_ref(const float *y, const uint16_t *mask, size_t n_groups, struct pf_affine norm)
{
    float sum = 0.0f;
    for (size_t p = 0; p < n_groups * PF_GROUP; p++)
        if (is_set(mask, p)) sum += relu6(norm.scale * y[p] + norm.bias);
    return sum;
}

static void emit_ref(float *y, size_t y_stride, const float *tile, size_t n_rows, size_t n_groups,
                     const uint16_t *mask, const float *pivot, float *sums)
{
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
                        size_t n_rows, size_t n_columns)
{
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
                                size_t dy_stride, const float *x, size_t x_stride, size_t n_tiles)
{
    for (size_t r = 0; r < n_rows; r++)
        for (size_t k = 0; k < n_columns; k++)
            for (size_t t = 0; t < n_tiles; t++)
                for (size_t p = 0; p < PF_TILE; p++)
                    dw[r * n_columns + k] +=
                        dy[t * dy_stride + r * PF_TILE + p] * x[t * x_stride + k * PF_TILE + p];
}

static void packed_ref(float *out, size_t out_stride, const uint32_t *start,
                       const struct pf_survivor *survivors, const float *x, size_t n_rows)
{
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
                               size_t dy_stride, const float *x, size_t x_stride, size_t n_tiles)
{
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
    .emit = emit_ref,
    .product = product_ref,
    .product_weights = product_weights_ref,
    .packed = packed_ref,
    .packed_weights = packed_weights_ref,
};
