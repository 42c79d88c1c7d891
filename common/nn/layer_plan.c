#include "common/nn/layer_plan.h"

#include <string.h>

#include "common/base/memory.h"

/* ---- how much is worked on at once ------------------------------------------------------ */

/* A chunk of images goes through the backward pass together.  Dense: the weight gradient then
 * gathers many pixels in registers before it touches memory.  Packed: a chunk's gradients should
 * stay in the second-level cache; nothing is gained by more. */
#define CHUNK_PIXELS 1024u /* of output */
#define PACKED_CHUNK_BYTES ((size_t)128 << 10)
#define DX_BYTES ((size_t)256 << 10) /* a part of a second-level cache */
#define BAND_BYTES ((size_t)512 << 10)
#define PACKED_BAND_BYTES ((size_t)64 << 10)
#define MIN_BAND_TILES 4u

static size_t chunk_images(const struct pf_layer_plan *plan)
{
    size_t pixels = CHUNK_PIXELS;
    if (plan->layer->packing != NULL)
        pixels = PACKED_CHUNK_BYTES / sizeof(float) / PF_MAX(plan->n_rows, plan->n_channels);
    return PF_MAX(pixels / plan->out_padded, 1);
}

static size_t band_tiles(const struct pf_layer_plan *plan)
{
    size_t bytes = plan->layer->packing != NULL ? PACKED_BAND_BYTES : BAND_BYTES;
    size_t n = PF_MAX(bytes / (plan->columns_padded * PF_TILE * sizeof(float)), MIN_BAND_TILES);
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

/* ---- taps ------------------------------------------------------------------------------- */

static void set_bit(uint16_t *mask, size_t p)
{
    mask[p / PF_GROUP] = (uint16_t)(mask[p / PF_GROUP] | 1u << (p % PF_GROUP));
}

static void view_finish(struct pf_view *self)
{
    pf_free(self->sights);
    pf_free(self->index);
}

static enum pf_status view_allocate(struct pf_view *self, size_t padded, struct pf_error *err)
{
    self->n_groups = padded / PF_GROUP;
    self->sights = PF_ALLOC(pf_tiles_of(self->n_groups) * PF_TAPS, struct pf_sight);
    self->index = PF_ALLOC(PF_TAPS * padded, int32_t);
    return self->sights != NULL && self->index != NULL
               ? PF_OK
               : pf_no_memory(err, "the borders of a layer");
}

static struct pf_sight *sight_of(const struct pf_view *self, size_t tap, size_t group)
{
    return &self->sights[group / PF_GROUPS_PER_TILE * PF_TAPS + tap];
}

static int32_t *index_of(const struct pf_view *self, size_t tap, size_t group)
{
    return self->index + (tap * self->n_groups + group) * PF_GROUP;
}

/* Through `tap` pixel p sees pixel `seen` of a plane in blocks. */
static void view_set(struct pf_view *self, size_t tap, size_t p, size_t seen,
                     struct pf_blocks blocks)
{
    size_t group = p / PF_GROUP;
    set_bit(sight_of(self, tap, group)->mask, p % PF_TILE);
    /* An image of the input has at most 2^12 channels · 2^16 pixels, one of the gradients DX_BYTES
     * or 4 channels · 9 taps · 2^16 pixels: below 2^31. */
    index_of(self, tap, group)[p % PF_GROUP] =
        (int32_t)(pf_block_group(blocks, seen / PF_GROUP) + seen % PF_GROUP);
}

/* How far behind `from` the i-th pixel looks. */
static int32_t step_of(enum pf_view_kind kind, int32_t i)
{
    return kind == PF_EVERY_SECOND ? 2 * i : kind == PF_TWICE ? i / 2 : i;
}

/* *from ← what explains all n pixels of a group; true if there is such a number. */
static bool explains(enum pf_view_kind kind, const int32_t *index, unsigned mask, int32_t n,
                     int32_t *from)
{
    bool known = false;
    *from = 0;
    for (int32_t i = 0; i < n; i++) {
        if (!(mask >> i & 1)) continue;
        int32_t begin = index[i] - step_of(kind, i);
        if (known && begin != *from) return false;
        *from = begin;
        known = true;
    }
    return true;
}

/* A group's from[2], if there can be. */
static bool explain_group(struct pf_view *self, enum pf_view_kind kind, size_t tap, size_t group)
{
    const int32_t half = PF_GROUP / 2, *index = index_of(self, tap, group);
    struct pf_sight *sight = sight_of(self, tap, group);
    unsigned mask = sight->mask[group % PF_GROUPS_PER_TILE];
    int32_t *from = sight->from + 2 * (group % PF_GROUPS_PER_TILE);
    if (kind == PF_EVERY_SECOND)
        return explains(kind, index, mask, half, &from[0]) &&
               explains(kind, index + half, mask >> half, half, &from[1]);
    if (!explains(kind, index, mask, PF_GROUP, &from[0])) return false;
    from[1] = from[0] + step_of(kind, half);
    return true;
}

static bool explain_all(struct pf_view *self, enum pf_view_kind kind)
{
    for (size_t tap = 0; tap < PF_TAPS; tap++)
        for (size_t g = 0; g < self->n_groups; g++)
            if (!explain_group(self, kind, tap, g)) return false;
    return true;
}

/* Once all pixels are set. */
static void view_settle(struct pf_view *self, enum pf_view_kind strided)
{
    const enum pf_view_kind kinds[] = {PF_IN_ROWS, strided};
    for (size_t i = 0; i < PF_ARRAY_LENGTH(kinds); i++) {
        if (!explain_all(self, kinds[i])) continue;
        self->kind = kinds[i];
        pf_free(self->index);
        self->index = NULL;
        return;
    }
    self->kind = PF_MIXED;
    for (size_t tap = 0; tap < PF_TAPS; tap++)
        for (size_t g = 0; g < self->n_groups; g++)
            if (!explain_group(self, PF_IN_ROWS, tap, g))
                sight_of(self, tap, g)->from[2 * (g % PF_GROUPS_PER_TILE)] = PF_SCATTERED;
}

/* Walks the output; every pixel that reads inside the image marks both ends.  A stride maps no two
 * outputs to one input, so that the way back is well defined. */
static void tap_fill(struct pf_layer_plan *self, size_t tap)
{
    const struct pf_layer *layer = self->layer;
    ptrdiff_t height = layer->in_height, width = layer->in_width, stride = layer->stride;
    ptrdiff_t dy = (ptrdiff_t)tap / 3 - 1, dx = (ptrdiff_t)tap % 3 - 1;
    struct pf_blocks in = pf_input_blocks(self, NULL, PF_SINGLE, 0),
                     back = pf_dx_blocks(self, NULL);
    for (ptrdiff_t y = 0; y < (ptrdiff_t)layer->out_height; y++) {
        for (ptrdiff_t x = 0; x < (ptrdiff_t)layer->out_width; x++) {
            ptrdiff_t from_y = y * stride + dy, from_x = x * stride + dx;
            if (from_y < 0 || from_y >= height || from_x < 0 || from_x >= width) continue;
            size_t to = (size_t)(y * (ptrdiff_t)layer->out_width + x);
            size_t from = (size_t)(from_y * width + from_x);
            view_set(&self->columns.forward, tap, to, from, in);
            view_set(&self->columns.back, tap, from, to, back);
        }
    }
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

static enum pf_status make_columns(struct pf_layer_plan *self, struct pf_error *err)
{
    bool used[PF_TAPS] = {false};
    self->tap_of_column = PF_ALLOC(self->n_columns, uint8_t);
    self->out_mask = PF_ALLOC(self->out_padded / PF_GROUP, uint16_t);
    if (self->tap_of_column == NULL || self->out_mask == NULL)
        return pf_no_memory(err, "the columns of a layer");
    for (size_t p = 0; p < self->out_pixels; p++) set_bit(self->out_mask, p);
    self->columns.n = self->n_columns;
    self->columns.taps_per_channel = self->n_columns / self->n_channels;
    self->columns.tap = self->tap_of_column;
    PF_TRY(view_allocate(&self->columns.forward, self->out_padded, err));
    PF_TRY(view_allocate(&self->columns.back, self->in_padded, err));
    for (size_t k = 0; k < self->n_columns; k++) {
        self->tap_of_column[k] = tap_of(self->layer, k);
        used[self->tap_of_column[k]] = true;
    }
    for (size_t tap = 0; tap < PF_TAPS; tap++)
        if (used[tap]) tap_fill(self, tap);
    view_settle(&self->columns.forward, PF_EVERY_SECOND);
    view_settle(&self->columns.back, PF_TWICE);
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

/* Rows of x beyond which its tiles are worked on in segments, and rows of a segment: 32 KiB. */
#define MAX_UNDIVIDED_ROWS 256u
#define SEGMENT_ROWS 128u

static enum pf_status survivors_allocate(struct pf_survivors *self, size_t n_rows, size_t x_rows,
                                         size_t n_weights, struct pf_error *err)
{
    struct pf_survivor_list *list = &self->list;
    list->n_rows = n_rows;
    list->n_segments = x_rows > MAX_UNDIVIDED_ROWS ? (x_rows + SEGMENT_ROWS - 1) / SEGMENT_ROWS : 1;
    list->start = PF_ALLOC(list->n_segments * (n_rows + 1), uint32_t);
    list->survivors = PF_ALLOC(n_weights, struct pf_survivor);
    self->weight = PF_ALLOC(n_weights, uint32_t);
    return list->start != NULL && list->survivors != NULL && self->weight != NULL
               ? PF_OK
               : pf_no_memory(err, "the survivors of a layer");
}

static void survivors_finish(struct pf_survivors *self)
{
    pf_free(self->list.start);
    pf_free(self->list.survivors);
    pf_free(self->weight);
}

/* Where a row of W has the survivor that multiplies a row of x. */
static uint32_t *start_of(const struct pf_survivor_list *list, size_t row, size_t x_row)
{
    return pf_segment_start(list, list->n_segments > 1 ? x_row / SEGMENT_ROWS : 0) + row;
}

/* Counting sort: by segment, then row; what is left keeps its order. */
static void sort_survivors(struct pf_survivors *self, const struct pf_packing *packing, bool back)
{
    struct pf_survivor_list *list = &self->list;
    uint32_t *start = list->start, total = 0;
    for (size_t r = 0; r < packing->n_rows; r++)
        for (uint32_t i = packing->row_start[r]; i < packing->row_start[r + 1]; i++) {
            size_t k = packing->column[i];
            ++*(back ? start_of(list, k, r) : start_of(list, r, k));
        }
    /* start ← the end of each row: filled from the back, it runs down to the beginning. */
    for (size_t i = 0; i < list->n_segments * (list->n_rows + 1); i++) start[i] = total += start[i];
    for (size_t r = packing->n_rows; r-- > 0;)
        for (uint32_t i = packing->row_start[r + 1]; i-- > packing->row_start[r];) {
            size_t k = packing->column[i];
            uint32_t at = --*(back ? start_of(list, k, r) : start_of(list, r, k));
            list->survivors[at].row = (uint32_t)(back ? r : k);
            self->weight[at] = i;
        }
}

static size_t count_quads(const struct pf_survivor_list *list)
{
    size_t n = 0;
    for (size_t s = 0; s < list->n_segments; s++)
        for (size_t r = 0; r < list->n_rows; r++) {
            const uint32_t *start = pf_segment_start(list, s) + r;
            n += pf_quads(start[1] - start[0]);
        }
    return n;
}

static enum pf_status make_lists(struct pf_layer_plan *self, struct pf_error *err)
{
    const struct pf_packing *packing = self->layer->packing;
    size_t n = packing->n_weights;
    PF_TRY(survivors_allocate(&self->forward, self->rows_padded, self->n_columns, n, err));
    PF_TRY(survivors_allocate(&self->backward, self->columns_padded, self->n_rows, n, err));
    sort_survivors(&self->forward, packing, false);
    sort_survivors(&self->backward, packing, true);
    self->n_quads = count_quads(&self->forward.list);
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
    PF_TRY(make_columns(self, err));
    PF_TRY(layer->packing != NULL ? make_lists(self, err) : make_panels(self, err));
    *plan = self;
    self = NULL;
    return PF_OK;
}

void pf_layer_plan_destroy(struct pf_layer_plan *self)
{
    if (self == NULL) return;
    view_finish(&self->columns.forward);
    view_finish(&self->columns.back);
    pf_free(self->out_mask);
    pf_free(self->tap_of_column);
    pf_free(self->panels);
    pf_free(self->back_panels);
    survivors_finish(&self->forward);
    survivors_finish(&self->backward);
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
        self->forward.list.survivors[i].weight = layer->weight[self->forward.weight[i]];
    for (size_t i = 0; backward && i < layer->n_weights; i++)
        self->backward.list.survivors[i].weight = layer->weight[self->backward.weight[i]];
}
