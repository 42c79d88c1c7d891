/* The model: plain data that every other part works on.
 *
 * A network is: a 1×1 convolution; blocks of layers (shift + 1×1 convolution, or a 3×3
 * convolution); a global average pool; a linear classifier.  Every convolution is followed by
 * batch norm and ReLU6.  Layers stand in `layers` in that order, the classifier last; pooling,
 * batch norm and ReLU6 are implied.
 *
 * All parameters lie in one array, `parameters`, and the layers point into it:
 *
 *   [ per layer: weight, bias (linear) or gamma, beta (convolution) | per convolution: mean, var ]
 *   0                                                         n_trained                n_parameters
 *
 * so the trained vector of a federation is parameters[0 … n_parameters): what an optimiser steps
 * through first, the batch-norm statistics last.  Zeros pruned away are not stored anywhere.
 *
 * Activations are float, channel-major: x[image][channel][row · width + column].  A pixel p of
 * channel c enters as (p / 255 − input_mean[c]) / input_std[c].
 *
 * The shape of a created model never changes; combining makes a new model. */
#ifndef PF_COMMON_MODEL_MODEL_H
#define PF_COMMON_MODEL_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/error.h"
#include "common/model/packing.h"

#define PF_MAX_BLOCKS 8u
#define PF_MAX_LAYERS_PER_BLOCK 64u
#define PF_MAX_LAYERS (2u + PF_MAX_BLOCKS * PF_MAX_LAYERS_PER_BLOCK)
#define PF_MAX_INPUT_CHANNELS 4u
#define PF_MAX_IMAGE_SIDE 256u
#define PF_MAX_CLASSES 1000u
#define PF_MAX_PARAMETERS ((size_t)1 << 26)
#define PF_BATCH_NORM_EPSILON 1e-5f

enum pf_layer_kind {
    PF_LAYER_POINTWISE = 1, /* 1×1 convolution */
    PF_LAYER_SHIFT = 2,     /* per-channel shift by one pixel at most, then 1×1 convolution */
    PF_LAYER_CONV3X3 = 3,   /* 3×3 convolution, padding 1 */
    PF_LAYER_LINEAR = 4,    /* after the global average pool */
};

const char *pf_layer_kind_name(enum pf_layer_kind kind); /* "pointwise", "shift", "conv3x3", … */

/* What the flags say: --filters 32,64,128 --layers 6,6,6 --strides 1,2,2 --layer-type shift. */
struct pf_network {
    enum pf_layer_kind block_kind; /* PF_LAYER_SHIFT or PF_LAYER_CONV3X3 */
    uint32_t n_blocks;
    uint32_t filters[PF_MAX_BLOCKS];
    uint32_t layers[PF_MAX_BLOCKS];
    uint32_t strides[PF_MAX_BLOCKS]; /* of the first layer of the block; 1 or 2 */
    uint32_t in_channels;
    uint32_t in_height;
    uint32_t in_width;
    uint32_t n_classes;
};

struct pf_layer {
    enum pf_layer_kind kind;
    uint32_t block;        /* index into network.filters; 0 for the first convolution */
    bool first_of_block;   /* takes the α of the previous block */
    uint32_t in_channels;  /* C */
    uint32_t out_channels; /* N: rows of the filter matrix */
    uint32_t n_columns;    /* K: C, or 9·C for conv3x3 */
    uint32_t in_height, in_width;
    uint32_t out_height, out_width; /* 1 × 1 for linear */
    uint32_t stride;
    int8_t *shift_y; /* [C], −1…1: output row y reads input row y·stride + shift_y; shift only */
    int8_t *shift_x;            /* [C] */
    struct pf_packing *packing; /* NULL: dense.  Owned. */

    /* Into parameters. */
    size_t n_weights; /* packing->n_weights, or N·K */
    float *weight;    /* dense: [N][K] row by row; packed: in the order of packing->column */
    float *bias;      /* [N], linear only */
    float *gamma;     /* [N], batch-norm scale; convolutions only, as the next three */
    float *beta;      /* [N], batch-norm shift */
    float *mean;      /* [N], running statistics */
    float *variance;  /* [N], of the biased kind used by the forward pass */
};

struct pf_model {
    struct pf_network network;
    float input_mean[PF_MAX_INPUT_CHANNELS];
    float input_std[PF_MAX_INPUT_CHANNELS];
    size_t n_layers;
    struct pf_layer *layers; /* [n_layers] */
    size_t n_trained;        /* SGD steps through parameters[0 … n_trained) */
    size_t n_parameters;
    float *parameters; /* [n_parameters] */
};

/* Every limit above, a sentence for each. */
PF_NODISCARD enum pf_status pf_network_validate(const struct pf_network *self,
                                                struct pf_error *err);
bool pf_network_equal(const struct pf_network *a, const struct pf_network *b);

/* "shift 32,64,128 × 6,6,6 strides 1,2,2, 32×32×3 → 10" into out[size]; returns out. */
const char *pf_network_describe(const struct pf_network *self, char *out, size_t size);

/* The shape with zero weights and shifts, gamma 1, beta 0, mean 0, variance 1, input mean 0, std 1.
 * packings: NULL, or one pointer per layer (NULL = dense), cloned into the model. */
PF_NODISCARD enum pf_status pf_model_create(const struct pf_network *network,
                                            const struct pf_packing *const *packings,
                                            struct pf_model **model, struct pf_error *err);
void pf_model_destroy(struct pf_model *self);
PF_DEFINE_CLEANUP(struct pf_model, pf_model_destroy)

PF_NODISCARD enum pf_status pf_model_clone(const struct pf_model *self, struct pf_model **copy,
                                           struct pf_error *err);

/* He-normal weights and shift offsets in {−1, 0, 1}² drawn with p = (.3, .4, .3) per axis. */
void pf_model_initialise(struct pf_model *self, uint64_t seed);

/* Number of layers `network` makes: first convolution + blocks + classifier. */
size_t pf_network_n_layers(const struct pf_network *network);

/* The same function with no packing: pruned weights as zeros. */
PF_NODISCARD enum pf_status pf_model_densify(const struct pf_model *self, struct pf_model **dense,
                                             struct pf_error *err);

/* A dense model's survivors under packings (one per layer, NULL = stays dense); weights outside
 * the packing are dropped. */
PF_NODISCARD enum pf_status pf_model_pack(const struct pf_model *dense,
                                          const struct pf_packing *const *packings,
                                          struct pf_model **packed, struct pf_error *err);

/* out[N][K] ← the layer's weights, zeros where nothing survives. */
void pf_layer_dense_weights(const struct pf_layer *layer, float *out);

/* Same network, packings and shifts: parameters can be exchanged coordinate by coordinate. */
bool pf_model_same_shape(const struct pf_model *a, const struct pf_model *b);

/* Every packing rule, shift range, finite parameters, variance ≥ 0, input_std > 0. */
PF_NODISCARD enum pf_status pf_model_validate(const struct pf_model *self, struct pf_error *err);

bool pf_model_is_packed(const struct pf_model *self);

/* Nonzero weights of the filter matrices and the classifier. */
size_t pf_model_nonzeros(const struct pf_model *self);

/* The α that applies to layer l given one α per block: 1 for the first convolution and the
 * classifier; the previous block's for the first layer of a block. */
uint32_t pf_model_layer_alpha(const struct pf_model *self, size_t layer, const uint32_t *alpha);

#endif
