/* The integer reference: the definition of what the array must compute, as plain as can be. */
#include <string.h>

#include "common/base/memory.h"
#include "common/quant/quant.h"

uint8_t pf_quant_pool(const uint8_t *plane, size_t n)
{
    uint64_t sum = 0; /* ≤ 255·2^16 */
    for (size_t p = 0; p < n; p++) sum += plane[p];
    return (uint8_t)((sum + n / 2) / n);
}

/* What column k of the unpacked matrix reads for the output pixel (y, x); zero off the border. */
static int32_t read_input(const struct pf_quant_layer *layer, const uint8_t *input, size_t k,
                          size_t y, size_t x)
{
    size_t channel = k;
    int64_t row = (int64_t)(y * layer->stride), column = (int64_t)(x * layer->stride);
    if (layer->kind == PF_LAYER_SHIFT) {
        row += layer->shift_y[k];
        column += layer->shift_x[k];
    } else if (layer->kind == PF_LAYER_CONV3X3) {
        channel = k / 9;
        row += (int64_t)(k % 9 / 3) - 1;
        column += (int64_t)(k % 3) - 1;
    }
    if (row < 0 || row >= layer->in_height || column < 0 || column >= layer->in_width) return 0;
    return input[(channel * layer->in_height + (size_t)row) * layer->in_width + (size_t)column];
}

/* accumulators[out_height][out_width] of one row; no overflow: see max_magnitude. */
static void accumulate_row(const struct pf_quant_layer *layer, const uint8_t *input, size_t r,
                           int32_t *accumulators)
{
    size_t n_pixels = (size_t)layer->out_height * layer->out_width;
    for (size_t p = 0; p < n_pixels; p++) accumulators[p] = layer->bias[r];
    for (size_t k = 0; k < layer->n_columns; k++) {
        int32_t weight = layer->weight[r * layer->n_columns + k];
        if (weight == 0) continue;
        for (size_t y = 0; y < layer->out_height; y++)
            for (size_t x = 0; x < layer->out_width; x++)
                accumulators[y * layer->out_width + x] +=
                    weight * read_input(layer, input, k, y, x);
    }
}

/* Bytes of the largest activation and pixels of the largest plane. */
static void largest_sizes(const struct pf_quant_model *self, size_t *bytes, size_t *pixels)
{
    *bytes = *pixels = 0;
    for (size_t l = 0; l < self->n_layers; l++) {
        const struct pf_quant_layer *layer = &self->layers[l];
        size_t plane = PF_MAX((size_t)layer->in_height * layer->in_width,
                              (size_t)layer->out_height * layer->out_width);
        *pixels = PF_MAX(*pixels, plane);
        *bytes = PF_MAX(*bytes, plane * PF_MAX(layer->in_channels, layer->out_channels));
    }
}

enum pf_status pf_quant_infer(const struct pf_quant_model *self, const uint8_t *image,
                              int32_t *logits, struct pf_error *err)
{
    size_t n_bytes, n_pixels;
    largest_sizes(self, &n_bytes, &n_pixels);
    PF_CLEANUP(pf_freep) uint8_t *input = PF_ALLOC(n_bytes, uint8_t);
    PF_CLEANUP(pf_freep) uint8_t *output = PF_ALLOC(n_bytes, uint8_t);
    PF_CLEANUP(pf_freep) int32_t *accumulators = PF_ALLOC(n_pixels, int32_t);
    if (input == NULL || output == NULL || accumulators == NULL)
        return pf_no_memory(err, "the integer reference");
    const struct pf_quant_layer *layer = &self->layers[0];
    memcpy(input, image, (size_t)layer->in_channels * layer->in_height * layer->in_width);
    for (size_t l = 0; l + 1 < self->n_layers; l++) {
        layer = &self->layers[l];
        size_t n = (size_t)layer->out_height * layer->out_width;
        for (size_t r = 0; r < layer->out_channels; r++) {
            accumulate_row(layer, input, r, accumulators);
            for (size_t p = 0; p < n; p++)
                output[r * n + p] = pf_quant_clamp(accumulators[p], layer->shift);
        }
        uint8_t *swap = input;
        input = output;
        output = swap;
    }
    size_t n = (size_t)layer->out_height * layer->out_width;
    for (size_t c = 0; c < layer->out_channels; c++) output[c] = pf_quant_pool(input + c * n, n);
    layer = &self->layers[self->n_layers - 1];
    for (size_t r = 0; r < layer->out_channels; r++) accumulate_row(layer, output, r, &logits[r]);
    return PF_OK;
}
