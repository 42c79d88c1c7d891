/* The plain twins of the kernels: one loop per definition, nothing clever. */
#include "common/nn/half.h"
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

static float number_at(const void *numbers, enum pf_precision precision, size_t i)
{
    if (precision == PF_HALF) return pf_float_of_half(((const uint16_t *)numbers)[i]);
    return ((const float *)numbers)[i];
}

static float value_at(struct pf_blocks blocks, size_t channel, size_t p)
{
    return number_at(blocks.values, blocks.precision,
                     pf_block_group(blocks, p / PF_GROUP) + channel * blocks.run + p % PF_GROUP);
}

static float *place_in(float *values, struct pf_blocks layout, size_t channel, size_t p)
{
    return values + pf_block_group(layout, p / PF_GROUP) + channel * layout.run + p % PF_GROUP;
}

static bool sees(const struct pf_view *view, size_t tap, size_t p)
{
    return is_set(view->sights[p / PF_TILE * PF_TAPS + tap].mask, p % PF_TILE);
}

/* What pixel p sees of a channel, the i-th of the blocks. */
static float seen(const struct pf_view *view, size_t tap, struct pf_blocks blocks, size_t i,
                  size_t p)
{
    const int32_t *from = view->sights[p / PF_TILE * PF_TAPS + tap].from;
    int32_t at = from[p % PF_TILE / 8], step = (int32_t)(p % 8);
    if (!sees(view, tap, p)) return 0.0f;
    switch (view->kind) {
    case PF_IN_ROWS: at += step; break;
    case PF_EVERY_SECOND: at += 2 * step; break;
    case PF_TWICE: at += step / 2; break;
    case PF_MIXED:
        at += step;
        if (from[p % PF_TILE / PF_GROUP * 2] == PF_SCATTERED)
            at = view->index[tap * view->n_groups * PF_GROUP + p];
    }
    return number_at(blocks.values, blocks.precision, i * blocks.run + (size_t)(ptrdiff_t)at);
}

static void activate_ref(struct pf_tiles to, const struct pf_columns *columns, struct pf_blocks y,
                         size_t first, size_t n_groups, const struct pf_affine *norm)
{
    for (size_t k = 0; k < columns->n; k++) {
        const struct pf_view *view = &columns->forward;
        size_t c = k / columns->taps_per_channel;
        for (size_t i = 0; i < n_groups * PF_GROUP; i++) {
            size_t p = first * PF_GROUP + i;
            float value = relu6(affine(norm[c], seen(view, columns->tap[k], y, c, p)));
            *place(to, k, i) = sees(view, columns->tap[k], p) ? value : 0.0f;
        }
    }
}

static void normalise_back_ref(struct pf_tiles to, size_t n_rows, struct pf_blocks g,
                               struct pf_blocks y, const uint16_t *mask, size_t n_groups,
                               const struct pf_affine_back *norm)
{
    for (size_t r = 0; r < n_rows; r++)
        for (size_t p = 0; p < n_groups * PF_GROUP; p++) {
            float dy = norm[r].a * value_at(g, r, p) + norm[r].b * value_at(y, r, p) + norm[r].c;
            *place(to, r, p) = is_set(mask, p) ? dy : 0.0f;
        }
}

static void add_sums(float *sums, size_t p, float g, float distance)
{
    sums[p % PF_GROUP] += g;
    sums[PF_GROUP + p % PF_GROUP] += g * distance;
}

static void activate_back_ref(float *g, size_t n_channels, const struct pf_columns *columns,
                              size_t first_column, struct pf_blocks dx, struct pf_blocks y,
                              size_t n_groups, const struct pf_affine *norm, const float *mean,
                              float *sums)
{
    size_t taps = columns->taps_per_channel;
    for (size_t c = 0; c < n_channels; c++) {
        for (size_t q = 0; q < n_groups * PF_GROUP; q++) {
            float sum = 0.0f, value = value_at(y, c, q);
            for (size_t t = c * taps; t < (c + 1) * taps; t++)
                sum += seen(&columns->back, columns->tap[first_column + t], dx, t, q);
            if (!passes(norm[c], value)) sum = 0.0f;
            *place_in(g, y, c, q) = sum;
            add_sums(sums + c * 2 * PF_GROUP, q, sum, value - mean[c]);
        }
    }
}

static void pool_ref(float *pooled, size_t n_channels, struct pf_blocks y, const uint16_t *mask,
                     size_t n_groups, const struct pf_affine *norm, float scale)
{
    for (size_t c = 0; c < n_channels; c++) {
        float sum = 0.0f;
        for (size_t p = 0; p < n_groups * PF_GROUP; p++)
            if (is_set(mask, p)) sum += relu6(affine(norm[c], value_at(y, c, p)));
        pooled[c] = scale * sum;
    }
}

static void pool_back_ref(float *g, size_t n_channels, const float *value, struct pf_blocks y,
                          const uint16_t *mask, size_t n_groups, const struct pf_affine *norm,
                          const float *mean, float *sums)
{
    for (size_t c = 0; c < n_channels; c++) {
        for (size_t p = 0; p < n_groups * PF_GROUP; p++) {
            float y_p = value_at(y, c, p);
            float g_p = is_set(mask, p) && passes(norm[c], y_p) ? value[c] : 0.0f;
            *place_in(g, y, c, p) = g_p;
            add_sums(sums + c * 2 * PF_GROUP, p, g_p, y_p - mean[c]);
        }
    }
}

static void sink_value(const struct pf_sink *to, size_t row, size_t p, float value)
{
    size_t group = p / PF_GROUP, lane = p % PF_GROUP;
    if (group >= to->n_groups) return;
    if (to->pivot != NULL) value -= to->pivot[row];
    ptrdiff_t at = (ptrdiff_t)(row * to->row_stride + lane) + to->offset[group];
    if (to->precision == PF_HALF)
        ((uint16_t *)to->values)[at] = pf_half_of_float(value);
    else
        ((float *)to->values)[at] = value;
    if (to->pivot == NULL || !(to->mask[group] >> lane & 1)) return;
    float *sums = to->sums + 2 * PF_GROUP * row + lane;
    sums[0] += value;
    sums[PF_GROUP] += value * value;
}

static void product_ref(const struct pf_sink *to, const float *panels, const float *x,
                        size_t n_rows, size_t n_columns, struct pf_ahead *ahead)
{
    (void)ahead;
    for (size_t r = 0; r < n_rows; r++) {
        const float *panel = panels + r / PF_ROW_BLOCK * PF_ROW_BLOCK * n_columns;
        for (size_t p = 0; p < PF_TILE; p++) {
            float sum = 0.0f;
            for (size_t k = 0; k < n_columns; k++)
                sum += panel[k * PF_ROW_BLOCK + r % PF_ROW_BLOCK] * x[k * PF_TILE + p];
            sink_value(to, r, p, sum);
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

static void packed_ref(const struct pf_sink *to, const struct pf_survivor_list *list, size_t first,
                       size_t n_rows, const float *x, float *sums, struct pf_ahead *ahead)
{
    (void)ahead;
    (void)sums;
    for (size_t r = 0; r < n_rows; r++) {
        for (size_t p = 0; p < PF_TILE; p++) {
            float sum = 0.0f;
            for (size_t s = 0; s < list->n_segments; s++) {
                const uint32_t *start = pf_segment_start(list, s) + first + r;
                for (size_t i = start[0]; i < start[1]; i++)
                    sum += list->survivors[i].weight * x[list->survivors[i].row * PF_TILE + p];
            }
            sink_value(to, r, p, sum);
        }
    }
}

static void packed_weights_ref(float *partial, const struct pf_survivor_list *list, const float *dy,
                               size_t dy_stride, const float *x, size_t x_stride, size_t n_tiles,
                               struct pf_ahead *ahead)
{
    (void)ahead;
    for (size_t s = 0; s < list->n_segments; s++) {
        const uint32_t *start = pf_segment_start(list, s);
        for (size_t r = 0; r < list->n_rows; r++) {
            for (size_t i = start[r]; i < start[r + 1]; i++) {
                size_t place = i - start[r];
                float *sum = partial + place / PF_QUAD * PF_GROUP + place % PF_QUAD;
                for (size_t t = 0; t < n_tiles; t++)
                    for (size_t p = 0; p < PF_TILE; p++)
                        *sum += dy[t * dy_stride + r * PF_TILE + p] *
                                x[t * x_stride + list->survivors[i].row * PF_TILE + p];
            }
            partial += pf_quads(start[r + 1] - start[r]) * PF_GROUP;
        }
    }
}

static void stream_end_ref(void) {}

const struct pf_kernels pf_kernels_reference = {
    .name = "reference",
    .activate = activate_ref,
    .normalise_back = normalise_back_ref,
    .activate_back = activate_back_ref,
    .pool = pool_ref,
    .pool_back = pool_back_ref,
    .product = product_ref,
    .product_weights = product_weights_ref,
    .packed = packed_ref,
    .packed_weights = packed_weights_ref,
    .stream_end = stream_end_ref,
};
