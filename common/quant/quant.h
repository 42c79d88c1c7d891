/* Lowering to 8 bits, and the integer reference inference.
 *
 * Activations are unsigned 8-bit over the ReLU6 range: a = q·6/255.  Input pixels enter as
 * stored; normalisation and batch norm fold into weights and bias.  Weights have one power-of-two
 * scale per layer, sign and magnitude, |w| ≤ 127.  The quantiser shifts right and saturates to
 * 0…255; rounding is in the bias (half of the last kept bit), and so is what rounding the weights
 * changes on average.  The bias is the initial partial sum.
 *
 * For a convolution: acc[r][p] = bias[r] + Σ_k w[r][k]·x[k][p];  out = clamp(acc >> shift, 0, 255).
 * |acc| ≤ |bias| + 255·Σ_k |w| < 2^31 in every row, refused otherwise.
 *
 * The classifier keeps its accumulators as logits; its input is the mean of each channel over all
 * pixels, rounded to 0…255.  Logits are therefore in units of 6/255 · 2^−exponent.
 *
 * How the scale of a layer is chosen stands in common/quant/scale.h. */
#ifndef PF_COMMON_QUANT_QUANT_H
#define PF_COMMON_QUANT_QUANT_H

#include "common/base/pool.h"
#include "common/base/progress.h"
#include "common/data/dataset.h"
#include "common/model/model.h"

struct pf_quant_layer {
    enum pf_layer_kind kind;
    uint32_t in_channels, out_channels, n_columns;
    uint32_t in_height, in_width, out_height, out_width, stride;
    const int8_t *shift_y, *shift_x;  /* [C]; borrowed from the model */
    const struct pf_packing *packing; /* borrowed; NULL: dense */
    int16_t *weight;                  /* [N][K] unpacked, −127…127 */
    int32_t *bias;                    /* [N] */
    uint32_t shift;        /* right shift of the quantiser; 0 and unused for the classifier */
    uint32_t exponent;     /* the weights' scale is 2^exponent; equals shift for a convolution */
    uint32_t n_saturated;  /* weights that the chosen scale cut off at ±127 */
    int64_t max_magnitude; /* no partial sum in any order exceeds it: max_r |bias| + 255·Σ|w| */
};

struct pf_quant_model {
    const struct pf_model *model; /* borrowed: must outlive */
    size_t n_layers;
    struct pf_quant_layer *layers;
};

/* PF_INVALID with a sentence: a model that pf_model_validate refuses, weights too large for 8 bits,
 * a bias or an accumulator that could leave 32 bits. */
PF_NODISCARD enum pf_status pf_quant_lower(const struct pf_model *model,
                                           struct pf_quant_model **lowered, struct pf_error *err);
void pf_quant_destroy(struct pf_quant_model *self);
PF_DEFINE_CLEANUP(struct pf_quant_model, pf_quant_destroy)

/* The global average pool, counted beside the array: the mean of n bytes, rounded half up. */
uint8_t pf_quant_pool(const uint8_t *plane, size_t n);

/* The quantiser: shifts right and saturates to 0…255. */
static inline uint8_t pf_quant_clamp(int32_t accumulator, uint32_t shift)
{
    int32_t value = accumulator >> shift;
    return (uint8_t)(value < 0 ? 0 : value > 255 ? 255 : value);
}

/* The integer reference on the unpacked matrices: logits[n_classes] of one image
 * [channel][y][x].  scratch-free, plain loops: for tests and spot checks. */
PF_NODISCARD enum pf_status pf_quant_infer(const struct pf_quant_model *self, const uint8_t *image,
                                           int32_t *logits, struct pf_error *err);

#endif
