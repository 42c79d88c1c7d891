#include <string.h>

#include "common/nn/layer_pass.h"

/* What one chunk of images works on. */
struct chunk {
    const struct pf_layer_plan *plan;
    const struct pf_kernels *kernels;
    struct pf_scratch *scratch;
    struct pf_layer_back back; /* its pointers at the first image of the chunk */
    size_t n_images;
    size_t n_groups; /* of output pixels */
    struct pf_ahead ahead;
};

/* Zeros behind the last group to the end of its tile: the sums over pixels of weight_gradient run
 * over whole tiles. */
static void clear_tail(const struct chunk *self)
{
    const struct pf_layer_plan *plan = self->plan;
    size_t used = self->n_groups % PF_GROUPS_PER_TILE * PF_GROUP;
    if (used == 0) return;
    size_t t = self->n_groups / PF_GROUPS_PER_TILE;
    float *tile = self->scratch->dy + t * plan->rows_padded * PF_TILE;
    for (size_t r = 0; r < plan->n_rows; r++)
        memset(tile + r * PF_TILE + used, 0, (PF_TILE - used) * sizeof *tile);
}

/* scratch->dy ← gradient of the convolution's output, in tiles. */
static void output_gradient(const struct chunk *self)
{
    const struct pf_layer_plan *plan = self->plan;
    size_t groups = plan->out_padded / PF_GROUP, image = plan->n_rows * plan->out_padded;
    enum pf_precision precision = self->back.in.precision;
    for (size_t i = 0; i < self->n_images; i++) {
        struct pf_tiles to = {self->scratch->dy, plan->rows_padded * PF_TILE, i * groups};
        const void *y = pf_numbers_from(self->back.y, precision, i * image);
        self->kernels->normalise_back(
            to, plan->n_rows, pf_output_blocks(plan, self->back.g + i * image, PF_SINGLE),
            pf_output_blocks(plan, y, precision), plan->out_mask, groups, self->back.norm);
    }
    clear_tail(self);
}

/* dw (or, for a packed layer, scratch->partial) += the gradient of the weights. */
static void weight_gradient(struct chunk *self)
{
    const struct pf_layer_plan *plan = self->plan;
    struct pf_scratch *scratch = self->scratch;
    size_t dy_stride = plan->rows_padded * PF_TILE, x_stride = plan->columns_padded * PF_TILE;
    size_t step = plan->band_tiles * PF_GROUPS_PER_TILE;
    for (size_t first = 0; first < self->n_groups; first += step) {
        size_t n = PF_MIN(step, self->n_groups - first);
        const float *dy = scratch->dy + first / PF_GROUPS_PER_TILE * dy_stride;
        pf_layer_columns(plan, self->kernels, scratch->x, self->back.in, first, n);
        if (plan->layer->packing != NULL)
            self->kernels->packed_weights(scratch->partial, &plan->forward.list, dy, dy_stride,
                                          scratch->x, x_stride, pf_tiles_of(n), &self->ahead);
        else
            self->kernels->product_weights(self->back.dw, plan->n_rows, plan->n_columns, dy,
                                           dy_stride, scratch->x, x_stride, pf_tiles_of(n),
                                           &self->ahead);
    }
}

/* Where the column gradients of tile `tile` of the chunk go. */
static struct pf_sink dx_sink(const struct chunk *self, size_t tile)
{
    const struct pf_layer_plan *plan = self->plan;
    struct pf_blocks dx = pf_dx_blocks(plan, NULL);
    size_t first = tile * PF_GROUPS_PER_TILE, end = first + PF_GROUPS_PER_TILE;
    struct pf_sink sink = {.values = self->scratch->dx, .row_stride = plan->out_run};
    sink.n_groups = PF_MIN(end, self->n_groups) - first;
    struct pf_stretch at = pf_stretch_at(plan, first, end);
    for (size_t i = 0; i < sink.n_groups; i++, pf_stretch_step(plan, &at)) {
        size_t image = at.image * pf_dx_image_floats(plan);
        sink.offset[i] = (ptrdiff_t)(image + pf_block_group(dx, at.first));
    }
    return sink;
}

/* scratch->dx ← gradient of columns [first, first + n_rows), n_rows in whole row blocks. */
static void column_gradient(struct chunk *self, size_t first, size_t n_rows)
{
    const struct pf_layer_plan *plan = self->plan;
    for (size_t t = 0; t < pf_tiles_of(self->n_groups); t++) {
        const float *dy = self->scratch->dy + t * plan->rows_padded * PF_TILE;
        const struct pf_sink sink = dx_sink(self, t);
        if (plan->layer->packing != NULL)
            self->kernels->packed(&sink, &plan->backward.list, first, n_rows, dy,
                                  self->scratch->row_sums, &self->ahead);
        else
            self->kernels->product(&sink, plan->back_panels + first * plan->n_rows, dy, n_rows,
                                   plan->n_rows, &self->ahead);
    }
}

/* Channels [first, first + n) of every image: scratch->dx back through shift, ReLU6 and batch
 * norm's scale. */
static void channel_gradient(const struct chunk *self, size_t first, size_t n)
{
    const struct pf_layer_plan *plan = self->plan;
    const struct pf_layer_back *back = &self->back;
    size_t dx_image = pf_dx_image_floats(plan);
    for (size_t i = 0; i < self->n_images; i++) {
        size_t image = i * plan->n_channels * plan->in_padded;
        struct pf_layer_input in = pf_layer_input_from(plan, back->in, i);
        self->kernels->activate_back(
            back->g_in + image + first * plan->in_run, n, &plan->columns,
            first * plan->columns.taps_per_channel,
            pf_dx_blocks(plan, self->scratch->dx + i * dx_image),
            pf_input_blocks(plan, in.planes, in.precision, first), plan->in_padded / PF_GROUP,
            in.norm + first, back->mean_in + first, self->scratch->sums + first * 2 * PF_GROUP);
    }
}

/* A block of channels at a time. */
static void input_gradient(struct chunk *self)
{
    const struct pf_layer_plan *plan = self->plan;
    size_t taps = plan->columns.taps_per_channel, block = plan->dx_channels;
    for (size_t first = 0; first < plan->n_channels; first += block) {
        size_t n = PF_MIN(block, plan->n_channels - first);
        column_gradient(self, first * taps, pf_round_up(n * taps, PF_ROW_BLOCK));
        channel_gradient(self, first, n);
    }
}

static void advance(struct pf_layer_back *back, const struct pf_layer_plan *plan, size_t n_images)
{
    size_t out = n_images * plan->n_rows * plan->out_padded;
    back->g += out;
    back->y = pf_numbers_from(back->y, back->in.precision, out);
    back->in = pf_layer_input_from(plan, back->in, n_images);
    if (back->g_in != NULL) back->g_in += n_images * plan->n_channels * plan->in_padded;
}

/* dw ← the lanes of the packed weights' partial sums, in lane order. */
static void fold_partial(float *dw, const float *partial, const struct pf_survivors *survivors)
{
    const struct pf_survivor_list *list = &survivors->list;
    for (size_t s = 0; s < list->n_segments; s++) {
        const uint32_t *start = pf_segment_start(list, s);
        for (size_t r = 0; r < list->n_rows; r++) {
            for (size_t i = start[r]; i < start[r + 1]; i++)
                dw[survivors->weight[i]] = pf_quad_sum(partial, i - start[r]);
            partial += pf_quads(start[r + 1] - start[r]) * PF_GROUP;
        }
    }
}

/* The input's gradient comes first.  While products run, what comes next is fetched: the input,
 * which both halves read, and the next chunk. */
static void backward_chunk(struct chunk *self, size_t n_next)
{
    const struct pf_layer_plan *plan = self->plan;
    const struct pf_layer_back *back = &self->back;
    size_t out = plan->n_rows * plan->out_padded, in = plan->n_channels * plan->in_padded;
    size_t n_steps = pf_product_steps(plan, plan->n_rows, plan->n_columns);
    bool goes_on = back->g_in != NULL;
    if (goes_on) n_steps += pf_product_steps(plan, plan->n_columns, plan->n_rows);
    output_gradient(self);
    pf_ahead_set(&self->ahead, 0, goes_on ? back->in.planes : NULL, back->in.precision,
                 self->n_images * in);
    pf_ahead_set(&self->ahead, 1, back->g + self->n_images * out, PF_SINGLE, n_next * out);
    pf_ahead_set(&self->ahead, 2,
                 pf_numbers_from(back->y, back->in.precision, self->n_images * out),
                 back->in.precision, n_next * out);
    pf_ahead_spread(&self->ahead, pf_tiles_of(self->n_groups) * n_steps * 3 / 4);
    if (goes_on) input_gradient(self);
    weight_gradient(self);
}

void pf_layer_backward(const struct pf_layer_plan *plan, const struct pf_kernels *kernels,
                       struct pf_scratch *scratch, const struct pf_layer_back *back,
                       size_t n_images)
{
    size_t n_chunk = plan->chunk_images, summed = 0;
    bool packed = plan->layer->packing != NULL;
    if (packed)
        memset(scratch->partial, 0, plan->n_quads * PF_GROUP * sizeof *scratch->partial);
    else
        memset(back->dw, 0, plan->layer->n_weights * sizeof *back->dw);
    memset(scratch->sums, 0, plan->n_channels * 2 * PF_GROUP * sizeof *scratch->sums);
    struct pf_layer_back rest = *back;
    for (size_t i = 0; i < n_images; i += n_chunk) {
        size_t n = PF_MIN(n_chunk, n_images - i);
        struct chunk chunk = {
            plan, kernels, scratch, rest, n, n * plan->out_padded / PF_GROUP, {.ranges = {{0}}}};
        backward_chunk(&chunk, PF_MIN(n_chunk, n_images - i - n));
        advance(&rest, plan, n);
        summed += n * plan->in_padded;
        if (back->g_in == NULL || (summed < PF_SUMMED_PIXELS && i + n < n_images)) continue;
        pf_channel_sums_flush(back->totals_in, scratch->sums, plan->n_channels);
        summed = 0;
    }
    if (packed) fold_partial(back->dw, scratch->partial, &plan->forward);
}
