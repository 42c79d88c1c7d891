#include "sim/array/network.h"

#include <string.h>

#include "common/base/memory.h"

static enum pf_status lay_out_layer(const struct pf_quant_layer *layer,
                                    struct pf_array_functional **functional, struct pf_error *err)
{
    PF_CLEANUP(pf_array_matrix_destroyp) struct pf_array_matrix *matrix = NULL;
    if (layer->packing != NULL)
        PF_TRY(pf_array_matrix_pack(layer->weight, layer->packing, &matrix, err));
    else
        PF_TRY(pf_array_matrix_dense(layer->weight, layer->out_channels, layer->n_columns, &matrix,
                                     err));
    return pf_array_functional_create(matrix, functional, err);
}

static void measure(struct pf_array_network *self, const struct pf_quant_layer *layer,
                    const struct pf_array_functional *functional)
{
    size_t n_in = (size_t)layer->in_height * layer->in_width;
    size_t n_out = (size_t)layer->out_height * layer->out_width;
    size_t n_padded = pf_array_n_panels(n_out) * PF_ARRAY_PANEL;
    self->n_activations = PF_MAX(self->n_activations, n_in * layer->in_channels);
    self->n_activations = PF_MAX(self->n_activations, n_out * layer->out_channels);
    self->n_plane = PF_MAX(self->n_plane, n_padded);
    self->n_panel_words =
        PF_MAX(self->n_panel_words, n_padded * pf_array_functional_n_pairs(functional));
}

enum pf_status pf_array_network_create(const struct pf_quant_model *lowered,
                                       struct pf_array_network **network, struct pf_error *err)
{
    PF_CLEANUP(pf_array_network_destroyp)
    struct pf_array_network *self = PF_ALLOC(1, struct pf_array_network);
    if (self == NULL) return pf_no_memory(err, "a network on the array");
    self->lowered = lowered;
    self->kernel = pf_array_kernel_select();
    self->layers = PF_ALLOC(lowered->n_layers, struct pf_array_functional *);
    if (self->layers == NULL) return pf_no_memory(err, "a network on the array");
    for (size_t l = 0; l < lowered->n_layers; l++) {
        PF_TRY(lay_out_layer(&lowered->layers[l], &self->layers[l], err));
        measure(self, &lowered->layers[l], self->layers[l]);
    }
    *network = self;
    self = NULL;
    return PF_OK;
}

void pf_array_network_destroy(struct pf_array_network *self)
{
    if (self == NULL) return;
    for (size_t l = 0; self->layers != NULL && l < self->lowered->n_layers; l++)
        pf_array_functional_destroy(self->layers[l]);
    pf_free(self->layers);
    pf_free(self);
}

enum pf_status pf_array_scratch_init(struct pf_array_scratch *self,
                                     const struct pf_array_network *network, struct pf_error *err)
{
    *self = (struct pf_array_scratch){.input = PF_ALLOC(network->n_activations, uint8_t),
                                      .output = PF_ALLOC(network->n_activations, uint8_t),
                                      .planes = PF_ALLOC(2 * network->n_plane, uint8_t),
                                      .panels = PF_ALLOC(network->n_panel_words, uint32_t)};
    if (self->input == NULL || self->output == NULL || self->planes == NULL ||
        self->panels == NULL) {
        pf_array_scratch_finish(self);
        return pf_no_memory(err, "running a network on the array");
    }
    return PF_OK;
}

void pf_array_scratch_finish(struct pf_array_scratch *self)
{
    pf_free(self->input);
    pf_free(self->output);
    pf_free(self->planes);
    pf_free(self->panels);
    *self = (struct pf_array_scratch){0};
}

/* out[h][w] ← plane[h][w] moved by whole rows and columns of at most one, zeros at the border. */
static void shift_plane(uint8_t *out, const uint8_t *plane, size_t height, size_t width, int dy,
                        int dx)
{
    /* One block move; what it wraps around a border is then zeroed. */
    int64_t offset = (int64_t)width * dy + dx, n = (int64_t)(height * width);
    int64_t begin = PF_MIN(PF_MAX(-offset, 0), n), end = PF_MAX(PF_MIN(n - offset, n), begin);
    memset(out, 0, (size_t)begin);
    if (end > begin) memcpy(out + begin, plane + begin + offset, (size_t)(end - begin));
    memset(out + end, 0, (size_t)(n - end));
    if (dy != 0) memset(dy < 0 ? out : out + (height - 1) * width, 0, width);
    if (dx == 0) return;
    for (size_t y = 0; y < height; y++) out[y * width + (dx < 0 ? 0 : width - 1)] = 0;
}

static void shift_plane_strided(uint8_t *out, const uint8_t *plane,
                                const struct pf_quant_layer *layer, int dy, int dx)
{
    for (size_t y = 0; y < layer->out_height; y++) {
        int64_t row = (int64_t)(y * layer->stride) + dy;
        bool inside = row >= 0 && row < layer->in_height;
        for (size_t x = 0; x < layer->out_width; x++) {
            int64_t column = (int64_t)(x * layer->stride) + dx;
            out[y * layer->out_width + x] = inside && column >= 0 && column < layer->in_width
                                                ? plane[row * layer->in_width + column]
                                                : 0;
        }
    }
}

/* What column k of the unpacked matrix reads, for all output pixels. */
static void gather_column(uint8_t *out, const uint8_t *input, const struct pf_quant_layer *layer,
                          size_t k)
{
    size_t channel = k;
    int dy = 0, dx = 0;
    if (layer->kind == PF_LAYER_SHIFT) {
        dy = layer->shift_y[k];
        dx = layer->shift_x[k];
    } else if (layer->kind == PF_LAYER_CONV3X3) {
        channel = k / 9;
        dy = (int)(k % 9 / 3) - 1;
        dx = (int)(k % 3) - 1;
    }
    const uint8_t *plane = input + channel * layer->in_height * layer->in_width;
    if (layer->stride == 1)
        shift_plane(out, plane, layer->in_height, layer->in_width, dy, dx);
    else
        shift_plane_strided(out, plane, layer, dy, dx);
}

/* What a plane ends with beyond its pixels up to the panel's end may hold anything: those sums
 * are never read. */
static void gather(const struct pf_array_network *self, struct pf_array_scratch *scratch, size_t l)
{
    const struct pf_quant_layer *layer = &self->lowered->layers[l];
    const struct pf_array_functional *functional = self->layers[l];
    size_t n_panels = pf_array_n_panels((size_t)layer->out_height * layer->out_width);
    size_t n_pairs = pf_array_functional_n_pairs(functional);
    uint8_t *even = scratch->planes, *odd = scratch->planes + self->n_plane;
    for (size_t pair = 0; pair < n_pairs; pair++) {
        bool has_odd = 2 * pair + 1 < functional->n_slots;
        gather_column(even, scratch->input, layer, functional->channel[2 * pair]);
        if (has_odd) gather_column(odd, scratch->input, layer, functional->channel[2 * pair + 1]);
        pf_array_fill_pair(scratch->panels, n_pairs, pair, even, has_odd ? odd : NULL, n_panels);
    }
}

/* acc[64] ← row r of the layer over the pixels of one panel. */
static void accumulate(const struct pf_array_network *self, const struct pf_array_scratch *scratch,
                       size_t l, size_t r, size_t panel, int32_t *acc)
{
    const struct pf_array_functional *functional = self->layers[l];
    size_t n_pairs = pf_array_functional_n_pairs(functional);
    uint32_t begin = functional->row_start[r], end = functional->row_start[r + 1];
    for (size_t p = 0; p < PF_ARRAY_PANEL; p++) acc[p] = self->lowered->layers[l].bias[r];
    self->kernel(acc, scratch->panels + panel * n_pairs * PF_ARRAY_PANEL, functional->pair + begin,
                 functional->weights + begin, end - begin);
}

static void run_convolution(const struct pf_array_network *self, struct pf_array_scratch *scratch,
                            size_t l)
{
    const struct pf_quant_layer *layer = &self->lowered->layers[l];
    size_t n_pixels = (size_t)layer->out_height * layer->out_width;
    gather(self, scratch, l);
    for (size_t panel = 0; panel < pf_array_n_panels(n_pixels); panel++) {
        size_t first = panel * PF_ARRAY_PANEL, n = PF_MIN(n_pixels - first, PF_ARRAY_PANEL);
        for (size_t r = 0; r < layer->out_channels; r++) {
            int32_t acc[PF_ARRAY_PANEL];
            uint8_t quantised[PF_ARRAY_PANEL];
            accumulate(self, scratch, l, r, panel, acc);
            for (size_t p = 0; p < PF_ARRAY_PANEL; p++)
                quantised[p] = pf_quant_clamp(acc[p], layer->shift);
            memcpy(scratch->output + r * n_pixels + first, quantised, n);
        }
    }
    uint8_t *swap = scratch->input;
    scratch->input = scratch->output;
    scratch->output = swap;
}

void pf_array_network_infer(const struct pf_array_network *self, struct pf_array_scratch *scratch,
                            const uint8_t *image, int32_t *logits)
{
    const struct pf_quant_model *lowered = self->lowered;
    size_t classifier = lowered->n_layers - 1;
    const struct pf_quant_layer *first = &lowered->layers[0];
    const struct pf_quant_layer *last = &lowered->layers[classifier - 1];
    memcpy(scratch->input, image, (size_t)first->in_channels * first->in_height * first->in_width);
    for (size_t l = 0; l < classifier; l++) run_convolution(self, scratch, l);

    size_t n_pixels = (size_t)last->out_height * last->out_width;
    for (size_t c = 0; c < last->out_channels; c++)
        scratch->output[c] = pf_quant_pool(scratch->input + c * n_pixels, n_pixels);
    uint8_t *swap = scratch->input;
    scratch->input = scratch->output;
    scratch->output = swap;
    gather(self, scratch, classifier);
    for (size_t r = 0; r < lowered->layers[classifier].out_channels; r++) {
        int32_t acc[PF_ARRAY_PANEL];
        accumulate(self, scratch, classifier, r, 0, acc);
        logits[r] = acc[0];
    }
}
