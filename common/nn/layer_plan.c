#include "common/nn/layer_plan.h"

#include <string.h>

#include "common/base/memory.h"

/* ---- how much is worked on at once --------------------------------------------------------------
 */

#define CHUNK_PIXELS                                                                            \
    1024u                              /* of output: a weight gradient then gathers many pixels \
                                        * in registers before it touches memory */
#define DX_BYTES ((size_t)256 << 10)   /* a part of a second-level cache */
#define BAND_BYTES ((size_t)512 << 10) /* likewise */
#define MIN_BAND_TILES 4u

static size_t chunk_images(const struct pf_layer_plan *plan)
{
    return PF_MAX(CHUNK_PIXELS / plan->out_padded, 1);
}

static size_t band_tiles(const struct pf_layer_plan *plan)
{
    size_t n = BAND_BYTES / (plan->columns_padded * PF_TILE * sizeof(float));
    n = PF_MAX(n, MIN_BAND_TILES);
    return PF_MIN(n, pf_tiles_of(plan->chunk_images * plan->out_padded / PF_GROUP));
}

static size_t dx_channels(const struct pf_layer_plan *plan)
{
    size_t taps = plan->n_columns / plan->n_channels;
    size_t bytes = plan->chunk_images * plan->out_padded * taps * sizeof(float);
    size_t n = DX_BYTES / bytes / PF_ROW_BLOCK * PF_ROW_BLOCK;
    return PF_MIN(PF_MAX(n, PF_ROW_BLOCK), plan->n_channels);
}

/* A plane up to a tile is padded to whole groups and lies in one run. */
static void pad(size_t pixels, size_t *padded, size_t *run)
{
    *padded = pf_round_up(pixels, pixels <= PF_TILE ? PF_GROUP : PF_TILE);
    *run = PF_MIN(*padded, PF_TILE);
}

static void choose_sizes(struct pf_layer_plan *self)
{
    const struct pf_layer *layer = self->layer;
    self->n_rows = layer->out_channels;
    self->n_columns = layer->n_columns;
    self->rows_padded = pf_round_up(self->n_rows, PF_ROW_BLOCK);
    self->columns_padded = pf_round_up(self->n_columns, PF_ROW_BLOCK);
    self->n_channels = layer->in_channels;
    self->in_pixels = (size_t)layer->in_height * layer->in_width;
    self->out_pixels = (size_t)layer->out_height * layer->out_width;
    pad(self->in_pixels, &self->in_padded, &self->in_run);
    pad(self->out_pixels, &self->out_padded, &self->out_run);
    self->chunk_images = chunk_images(self);
    self->band_tiles = band_tiles(self);
    self->dx_channels = dx_channels(self);
}

/* ---- taps
 * ----------------------------------------------------------------------------------------
 */

static void view_finish(struct pf_view *self)
{
    pf_free(self->from);
    pf_free(self->index);
    pf_free(self->mask);
}

static enum pf_status view_allocate(struct pf_view *self, size_t padded, struct pf_error *err)
{
    self->from = PF_ALLOC(padded / PF_GROUP, int32_t);
    self->index = PF_ALLOC(padded, int32_t);
    self->mask = PF_ALLOC(padded / PF_GROUP, uint16_t);
    if (self->from == NULL || self->index == NULL || self->mask == NULL)
        return pf_no_memory(err, "the borders of a layer");
    return PF_OK;
}

static void set_bit(uint16_t *mask, size_t p)
{
    mask[p / PF_GROUP] = (uint16_t)(mask[p / PF_GROUP] | 1u << (p % PF_GROUP));
}

/* Pixel p sees pixel `seen` of a plane in blocks. */
static void view_set(struct pf_view *self, size_t p, size_t seen, struct pf_blocks blocks)
{
    set_bit(self->mask, p);
    /* An image of the input has at most 2^12 channels · 2^16 pixels, one of the gradients DX_BYTES
     * or 4 channels · 9 taps · 2^16 pixels: below 2^31. */
    self->index[p] = (int32_t)(pf_block_group(blocks, seen / PF_GROUP) + seen % PF_GROUP);
}

/* from[group], if what the group sees lies in a row. */
static bool lies_in_a_row(const struct pf_view *self, size_t group, int32_t *from)
{
    bool known = false;
    *from = 0;
    for (int32_t i = 0; i < (int32_t)PF_GROUP; i++) {
        if (!(self->mask[group] >> i & 1)) continue;
        int32_t begin = self->index[group * PF_GROUP + (size_t)i] - i;
        if (known && begin != *from) return false;
        *from = begin;
        known = true;
    }
    return true;
}

/* Once all pixels are set. */
static void view_settle(struct pf_view *self, size_t n_groups)
{
    bool scattered = false;
    for (size_t g = 0; g < n_groups; g++) {
        if (lies_in_a_row(self, g, &self->from[g])) continue;
        self->from[g] = PF_SCATTERED;
        scattered = true;
    }
    if (scattered) return;
    pf_free(self->index);
    self->index = NULL;
}

/* Walks the output; every pixel that reads inside the image marks both ends.  A stride maps no two
 * outputs to one input, so that the way back is well defined. */
static void tap_fill(struct pf_tap *self, const struct pf_layer_plan *plan, ptrdiff_t dy,
                     ptrdiff_t dx)
{
    const struct pf_layer *layer = plan->layer;
    ptrdiff_t height = layer->in_height, width = layer->in_width, stride = layer->stride;
    struct pf_blocks in = pf_input_blocks(plan, NULL, 0), back = pf_dx_blocks(plan, NULL);
    for (ptrdiff_t y = 0; y < (ptrdiff_t)layer->out_height; y++) {
        for (ptrdiff_t x = 0; x < (ptrdiff_t)layer->out_width; x++) {
            ptrdiff_t from_y = y * stride + dy, from_x = x * stride + dx;
            if (from_y < 0 || from_y >= height || from_x < 0 || from_x >= width) continue;
            size_t to = (size_t)(y * (ptrdiff_t)layer->out_width + x);
            size_t from = (size_t)(from_y * width + from_x);
            view_set(&self->forward, to, from, in);
            view_set(&self->back, from, to, back);
        }
    }
    view_settle(&self->forward, plan->out_padded / PF_GROUP);
    view_settle(&self->back, plan->in_padded / PF_GROUP);
}

static uint8_t tap_of(const struct pf_layer *layer, size_t column)
{
    switch (layer->kind) {
    case PF_LAYER_SHIFT:
        return (uint8_t)(3 * (layer->shift_y[column] + 1) + layer->shift_x[column] + 1);
    case PF_LAYER_CONV3X3: return (uint8_t)(column % PF_TAPS);
    default: return PF_TAPS / 2;
    }
}

static enum pf_status make_taps(struct pf_layer_plan *self, struct pf_error *err)
{
    self->tap_of_column = PF_ALLOC(self->n_columns, uint8_t);
    self->columns = (struct pf_columns){.n = self->n_columns,
                                        .taps_per_channel = self->n_columns / self->n_channels,
                                        .tap = self->tap_of_column,
                                        .taps = self->taps};
    self->out_mask = PF_ALLOC(self->out_padded / PF_GROUP, uint16_t);
    if (self->tap_of_column == NULL || self->out_mask == NULL)
        return pf_no_memory(err, "the columns of a layer");
    for (size_t p = 0; p < self->out_pixels; p++) set_bit(self->out_mask, p);
    for (size_t k = 0; k < self->n_columns; k++) {
        uint8_t t = tap_of(self->layer, k);
        self->tap_of_column[k] = t;
        if (self->taps[t].forward.mask != NULL) continue;
        PF_TRY(view_allocate(&self->taps[t].forward, self->out_padded, err));
        PF_TRY(view_allocate(&self->taps[t].back, self->in_padded, err));
        tap_fill(&self->taps[t], self, t / 3 - 1, t % 3 - 1);
    }
    return PF_OK;
}

static enum pf_status make_panels(struct pf_layer_plan *self, struct pf_error *err)
{
    self->panels = PF_ALLOC(self->rows_padded * self->n_columns, float);
    self->back_panels = PF_ALLOC(self->columns_padded * self->n_rows, float);
    if (self->panels == NULL || self->back_panels == NULL)
        return pf_no_memory(err, "the weights of a layer");
    return PF_OK;
}

static enum pf_status lists_allocate(struct pf_survivor_lists *self, size_t n_rows,
                                     size_t n_weights, struct pf_error *err)
{
    self->start = PF_ALLOC(n_rows + 1, uint32_t);
    self->survivors = PF_ALLOC(n_weights, struct pf_survivor);
    if (self->start == NULL || self->survivors == NULL)
        return pf_no_memory(err, "the survivors of a layer");
    return PF_OK;
}

static void list_forward(struct pf_layer_plan *self, const struct pf_packing *packing)
{
    for (size_t r = 0; r <= self->rows_padded; r++)
        self->forward.start[r] = packing->row_start[PF_MIN(r, self->n_rows)];
    for (size_t i = 0; i < packing->n_weights; i++)
        self->forward.survivors[i].row = packing->column[i];
}

/* Counting sort of the survivors by column; within a column they stay in row order. */
static void list_backward(struct pf_layer_plan *self, const struct pf_packing *packing)
{
    uint32_t *start = self->backward.start;
    for (size_t i = 0; i < packing->n_weights; i++) start[packing->column[i] + 1]++;
    for (size_t k = 0; k < self->columns_padded; k++) start[k + 1] += start[k];
    for (size_t r = packing->n_rows; r-- > 0;) {
        for (uint32_t i = packing->row_start[r + 1]; i-- > packing->row_start[r];) {
            /* Filled from the back: start[k + 1] runs down to where column k begins. */
            uint32_t place = --start[packing->column[i] + 1];
            self->backward.survivors[place].row = (uint32_t)r;
            self->transposed[place] = i;
        }
    }
    memmove(start, start + 1, self->columns_padded * sizeof *start);
    start[self->columns_padded] = packing->n_weights;
}

static enum pf_status make_lists(struct pf_layer_plan *self, struct pf_error *err)
{
    const struct pf_packing *packing = self->layer->packing;
    PF_TRY(lists_allocate(&self->forward, self->rows_padded, packing->n_weights, err));
    PF_TRY(lists_allocate(&self->backward, self->columns_padded, packing->n_weights, err));
    self->transposed = PF_ALLOC(packing->n_weights, uint32_t);
    if (self->transposed == NULL) return pf_no_memory(err, "the survivors of a layer");
    list_forward(self, packing);
    list_backward(self, packing);
    return PF_OK;
}

enum pf_status pf_layer_plan_create(const struct pf_layer *layer, struct pf_layer_plan **plan,
                                    struct pf_error *err)
{
    PF_CLEANUP(pf_layer_plan_destroyp)
    struct pf_layer_plan *self = PF_ALLOC(1, struct pf_layer_plan);
    if (self == NULL) return pf_no_memory(err, "the plan of a layer");
    self->layer = layer;
    choose_sizes(self);
    PF_TRY(make_taps(self, err));
    PF_TRY(layer->packing != NULL ? make_lists(self, err) : make_panels(self, err));
    *plan = self;
    self = NULL;
    return PF_OK;
}

void pf_layer_plan_destroy(struct pf_layer_plan *self)
{
    if (self == NULL) return;
    for (size_t t = 0; t < PF_TAPS; t++) {
        view_finish(&self->taps[t].forward);
        view_finish(&self->taps[t].back);
    }
    pf_free(self->out_mask);
    pf_free(self->tap_of_column);
    pf_free(self->panels);
    pf_free(self->back_panels);
    pf_free(self->forward.start);
    pf_free(self->forward.survivors);
    pf_free(self->backward.start);
    pf_free(self->backward.survivors);
    pf_free(self->transposed);
    pf_free(self);
}

static void refresh_dense(struct pf_layer_plan *self, bool backward)
{
    const float *w = self->layer->weight;
    size_t n = self->n_rows, k = self->n_columns;
    for (size_t r = 0; r < n; r++) {
        float *panel = self->panels + r / PF_ROW_BLOCK * PF_ROW_BLOCK * k + r % PF_ROW_BLOCK;
        for (size_t c = 0; c < k; c++) panel[c * PF_ROW_BLOCK] = w[r * k + c];
    }
    for (size_t c = 0; backward && c < k; c++) {
        float *panel = self->back_panels + c / PF_ROW_BLOCK * PF_ROW_BLOCK * n + c % PF_ROW_BLOCK;
        for (size_t r = 0; r < n; r++) panel[r * PF_ROW_BLOCK] = w[r * k + c];
    }
}

void pf_layer_plan_refresh(struct pf_layer_plan *self, bool backward)
{
    const struct pf_layer *layer = self->layer;
    if (layer->packing == NULL) {
        refresh_dense(self, backward);
        return;
    }
    for (size_t i = 0; i < layer->n_weights; i++)
        self->forward.survivors[i].weight = layer->weight[i];
    for (size_t i = 0; backward && i < layer->n_weights; i++)
        self->backward.survivors[i].weight = layer->weight[self->transposed[i]];
}
