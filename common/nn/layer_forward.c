#include <string.h>

#include "common/nn/layer_pass.h"

/* Lines that a step fetches at the most: more would wait for each other. */
#define MAX_PACE 16u
#define FORWARD_PIXELS 256u /* of a chunk's output, unless one image has more */

void pf_channel_sums_flush(struct pf_channel_sums *totals, float *sums, size_t n)
{
    for (size_t c = 0; c < n; c++) {
        float *row = sums + c * 2 * PF_GROUP;
        for (size_t i = 0; i < PF_GROUP; i++) {
            totals[c].first += (double)row[i];
            totals[c].second += (double)row[PF_GROUP + i];
            row[i] = row[PF_GROUP + i] = 0.0f;
        }
    }
}

/* The first layer is pointwise: its columns are the image's channels as they are. */
static void bytes_columns(const struct pf_layer_plan *plan, struct pf_tiles to,
                          const uint8_t *bytes, struct pf_stretch part,
                          const struct pf_affine *norm)
{
    for (size_t c = 0; c < plan->n_channels; c++) {
        const uint8_t *plane = bytes + c * plan->in_pixels;
        for (size_t i = 0; i < part.n; i++) {
            float *out = pf_tile_group(to, c, i);
            size_t begin = (part.first + i) * PF_GROUP;
            size_t n = PF_MIN(plan->in_pixels - PF_MIN(begin, plan->in_pixels), PF_GROUP);
            for (size_t p = 0; p < n; p++)
                out[p] = norm[c].scale * (float)plane[begin + p] + norm[c].bias;
            for (size_t p = n; p < PF_GROUP; p++) out[p] = 0.0f;
        }
    }
}

struct pf_layer_input pf_layer_input_from(const struct pf_layer_plan *plan,
                                          struct pf_layer_input in, size_t image)
{
    if (in.planes != NULL)
        in.planes =
            pf_numbers_from(in.planes, in.precision, image * plan->n_channels * plan->in_padded);
    if (in.bytes != NULL) in.bytes += image * plan->n_channels * plan->in_pixels;
    return in;
}

void pf_layer_columns(const struct pf_layer_plan *plan, const struct pf_kernels *kernels, float *x,
                      struct pf_layer_input in, size_t first, size_t n_groups)
{
    size_t tile_stride = plan->columns_padded * PF_TILE, end = first + n_groups;
    struct pf_stretch part;
    for (size_t group = first; group < end; group += part.n) {
        part = pf_stretch_at(plan, group, end);
        struct pf_tiles to = {x, tile_stride, group - first};
        struct pf_layer_input image = pf_layer_input_from(plan, in, part.image);
        if (in.planes == NULL)
            bytes_columns(plan, to, image.bytes, part, in.norm);
        else
            kernels->activate(to, &plan->columns,
                              pf_input_blocks(plan, image.planes, in.precision, 0), part.first,
                              part.n, in.norm);
    }
}

/* One chunk of images on its way forward. */
struct chunk {
    const struct pf_layer_plan *plan;
    const struct pf_kernels *kernels;
    struct pf_scratch *scratch;
    struct pf_layer_output out; /* y at the first image of the chunk */
    struct pf_ahead ahead;      /* the input of the next chunk */
};

/* Where groups [first, end) of a chunk, at most a tile, go in the images they belong to. */
static struct pf_sink sink_of(const struct chunk *self, size_t first, size_t end)
{
    const struct pf_layer_plan *plan = self->plan;
    struct pf_sink sink = {.values = self->out.y,
                           .precision = self->out.precision,
                           .row_stride = plan->out_run,
                           .n_groups = end - first,
                           .pivot = self->out.totals != NULL ? self->out.pivot : NULL,
                           .sums = self->scratch->sums,
                           .stream = self->out.stream};
    struct pf_stretch at = pf_stretch_at(plan, first, end);
    for (size_t i = 0; i < sink.n_groups; i++, pf_stretch_step(plan, &at)) {
        sink.offset[i] =
            (ptrdiff_t)(at.image * plan->n_rows * plan->out_padded +
                        pf_block_group(pf_output_blocks(plan, NULL, PF_SINGLE), at.first));
        sink.mask[i] = plan->out_mask[at.first];
    }
    return sink;
}

static void forward_band(struct chunk *self, size_t first, size_t n_groups)
{
    const struct pf_layer_plan *plan = self->plan;
    size_t end = first + n_groups;
    for (size_t group = first; group < end; group += PF_GROUPS_PER_TILE) {
        size_t t = (group - first) / PF_GROUPS_PER_TILE;
        const float *x = self->scratch->x + t * plan->columns_padded * PF_TILE;
        struct pf_sink sink = sink_of(self, group, PF_MIN(group + PF_GROUPS_PER_TILE, end));
        if (plan->layer->packing != NULL)
            self->kernels->packed(&sink, &plan->forward.list, 0, plan->n_rows, x,
                                  self->scratch->row_sums, &self->ahead);
        else
            self->kernels->product(&sink, plan->panels, x, plan->n_rows, plan->n_columns,
                                   &self->ahead);
    }
}

static void forward_chunk(struct chunk *self, struct pf_layer_input in, size_t n_images)
{
    const struct pf_layer_plan *plan = self->plan;
    size_t n_groups = n_images * plan->out_padded / PF_GROUP;
    size_t band = plan->band_tiles * PF_GROUPS_PER_TILE;
    for (size_t first = 0; first < n_groups; first += band) {
        size_t n = PF_MIN(band, n_groups - first);
        pf_layer_columns(plan, self->kernels, self->scratch->x, in, first, n);
        forward_band(self, first, n);
    }
}

void pf_ahead_set(struct pf_ahead *ahead, size_t range, const void *numbers,
                  enum pf_precision precision, size_t n)
{
    ahead->ranges[range].next = numbers;
    ahead->ranges[range].n_lines = numbers != NULL ? n * pf_number_bytes(precision) / PF_LINE : 0;
}

void pf_ahead_spread(struct pf_ahead *ahead, size_t n_steps)
{
    size_t n_lines = 0;
    for (size_t r = 0; r < PF_AHEAD_RANGES; r++) n_lines += ahead->ranges[r].n_lines;
    n_steps = PF_MAX(n_steps, 1);
    ahead->pace = PF_MIN((n_lines + n_steps - 1) / n_steps, MAX_PACE);
}

void pf_layer_forward(const struct pf_layer_plan *plan, const struct pf_kernels *kernels,
                      struct pf_scratch *scratch, struct pf_layer_input in, size_t n_images,
                      struct pf_layer_output out)
{
    size_t n_chunk = PF_MAX(FORWARD_PIXELS / plan->out_padded, 1), summed = 0;
    memset(scratch->sums, 0, plan->n_rows * 2 * PF_GROUP * sizeof *scratch->sums);
    for (size_t i = 0; i < n_images; i += n_chunk) {
        size_t n = PF_MIN(n_chunk, n_images - i), n_ahead = PF_MIN(n_chunk, n_images - i - n);
        struct chunk chunk = {plan, kernels, scratch, out, {.ranges = {{0}}}};
        chunk.out.y =
            (char *)out.y + i * plan->n_rows * plan->out_padded * pf_number_bytes(out.precision);
        pf_ahead_set(&chunk.ahead, 0, pf_layer_input_from(plan, in, i + n).planes, in.precision,
                     n_ahead * plan->n_channels * plan->in_padded);
        pf_ahead_spread(&chunk.ahead, pf_tiles_of(n * plan->out_padded / PF_GROUP) *
                                          pf_product_steps(plan, plan->n_rows, plan->n_columns));
        forward_chunk(&chunk, pf_layer_input_from(plan, in, i), n);
        summed += n * plan->out_padded;
        if (out.totals == NULL || (summed < PF_SUMMED_PIXELS && i + n < n_images)) continue;
        pf_channel_sums_flush(out.totals, scratch->sums, plan->n_rows);
        summed = 0;
    }
    if (out.stream) kernels->stream_end();
}
