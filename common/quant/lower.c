/* Folding and rounding: from float parameters to the integers that the array computes on.
 *
 * Convolution, with activations in levels q = a·255/6 on both sides:
 *     z·255/6 = Σ_k (γ/σ·w_rk) q_k + (β − γ/σ·μ)·255/6
 * First convolution, on pixels p as stored, a = (p/255 − m_c)/d_c:
 *     z·255/6 = Σ_c (γ/σ·w_rc/(6 d_c)) p_c + (β − γ/σ·(μ + Σ_c w_rc m_c/d_c))·255/6
 * Classifier, logits in units of 6/255:
 *     logit·255/6 = Σ_k w_rk q_k + bias·255/6
 * Both factors are then multiplied by 2^e and rounded; the bias also takes back what rounding the
 * weights changes in the mean (scale.h). */
#include <inttypes.h>
#include <math.h>

#include "common/base/memory.h"
#include "common/quant/quant.h"
#include "common/quant/scale.h"

#define LEVELS_PER_UNIT (255.0 / 6.0)
#define RECONCILING_SWEEPS 8u
#define CORRELATION_SLACK 10.0 /* inputs that cancel each other may move more than their sum */

/* Scratch of one layer: everything in levels, before rounding. */
struct folded {
    float *weights;                         /* [N][K] */
    double *offset;                         /* [N] */
    double *linear;                         /* [N] */
    double *mean;                           /* [K]: E x_k */
    double *variance;                       /* [K]: Var x_k */
    struct pf_quant_statistics *statistics; /* [max(N, C)] */
};

static void folded_finish(struct folded *self)
{
    pf_free(self->weights);
    pf_free(self->offset);
    pf_free(self->linear);
    pf_free(self->mean);
    pf_free(self->variance);
    pf_free(self->statistics);
}

static enum pf_status folded_init(struct folded *self, const struct pf_layer *layer,
                                  struct pf_error *err)
{
    size_t n_rows = layer->out_channels, n_columns = layer->n_columns;
    self->weights = PF_ALLOC(n_rows * n_columns, float);
    self->offset = PF_ALLOC(n_rows, double);
    self->linear = PF_ALLOC(n_rows, double);
    self->mean = PF_ALLOC(n_columns, double);
    self->variance = PF_ALLOC(n_columns, double);
    self->statistics =
        PF_ALLOC(PF_MAX(layer->out_channels, layer->in_channels), struct pf_quant_statistics);
    if (self->weights == NULL || self->offset == NULL || self->linear == NULL ||
        self->mean == NULL || self->variance == NULL || self->statistics == NULL)
        return pf_no_memory(err, "lowering a layer");
    return PF_OK;
}

static double batch_norm_factor(const struct pf_layer *layer, size_t row)
{
    return (double)layer->gamma[row] /
           sqrt((double)layer->variance[row] + (double)PF_BATCH_NORM_EPSILON);
}

/* weights and offset of a convolution. */
static void fold_convolution(struct folded *self, const struct pf_model *model, size_t l)
{
    const struct pf_layer *layer = &model->layers[l];
    for (size_t r = 0; r < layer->out_channels; r++) {
        float *row = self->weights + r * layer->n_columns;
        double factor = batch_norm_factor(layer, r);
        double mean = (double)layer->mean[r];
        for (size_t k = 0; k < layer->n_columns; k++) {
            double column_factor = 1.0;
            if (l == 0) { /* columns are the input's channels */
                double deviation = (double)model->input_std[k];
                mean += (double)row[k] * (double)model->input_mean[k] / deviation;
                column_factor = 1.0 / (6.0 * deviation);
            }
            row[k] = (float)(factor * column_factor * (double)row[k]);
        }
        self->offset[r] = ((double)layer->beta[r] - factor * mean) * LEVELS_PER_UNIT;
    }
}

/* Share of the output positions along one axis whose input, moved by `offset`, lies inside. */
static double share_inside(uint32_t n_out, uint32_t n_in, uint32_t stride, int offset)
{
    uint32_t inside = 0;
    for (uint32_t i = 0; i < n_out; i++) {
        int64_t at = (int64_t)i * stride + offset;
        inside += at >= 0 && at < n_in;
    }
    return (double)inside / n_out;
}

/* Share of the pixels for which column k reads a pixel and not the zeros of the border. */
static double column_inside(const struct pf_layer *layer, size_t k)
{
    int dy = 0, dx = 0;
    if (layer->kind == PF_LAYER_SHIFT) {
        dy = layer->shift_y[k];
        dx = layer->shift_x[k];
    } else if (layer->kind == PF_LAYER_CONV3X3) {
        dy = (int)(k % 9 / 3) - 1;
        dx = (int)(k % 3) - 1;
    }
    return share_inside(layer->out_height, layer->in_height, layer->stride, dy) *
           share_inside(layer->out_width, layer->in_width, layer->stride, dx);
}

/* mean[k] and variance[k] of what each column reads. */
static void estimate_inputs(struct folded *self, const struct pf_model *model, size_t l)
{
    const struct pf_layer *layer = &model->layers[l];
    if (l == 0) {
        for (size_t k = 0; k < layer->n_columns; k++) {
            self->mean[k] = 255.0 * (double)model->input_mean[k];
            self->variance[k] = pow(255.0 * (double)model->input_std[k], 2.0);
        }
        return;
    }
    size_t per_channel = layer->n_columns / layer->in_channels;
    const struct pf_layer *previous = &model->layers[l - 1];
    double n_pooled =
        layer->kind == PF_LAYER_LINEAR ? (double)previous->out_height * previous->out_width : 1.0;
    pf_quant_layer_statistics(previous, self->statistics);
    for (size_t k = 0; k < layer->n_columns; k++) {
        const struct pf_quant_statistics *s = &self->statistics[k / per_channel];
        double inside = column_inside(layer, k);
        self->mean[k] = inside * s->mean;
        self->variance[k] = inside * (s->variance / n_pooled + (1.0 - inside) * s->mean * s->mean);
    }
}

/* What the row's own batch norm has seen corrects what was assumed about its inputs: the mean of
 * the row is Σ_k w_rk E x_k, met row by row (Kaczmarz 1937), and no input moves much more than the
 * row that it drives.  This matters where a channel is all but dead. */
static void reconcile_inputs(struct folded *self, const struct pf_layer *layer)
{
    size_t n_columns = layer->n_columns;
    for (size_t i = 0; i < RECONCILING_SWEEPS * layer->out_channels; i++) {
        size_t r = i % layer->out_channels;
        const float *row = self->weights + r * n_columns;
        double left = batch_norm_factor(layer, r) * (double)layer->mean[r] * LEVELS_PER_UNIT;
        double norm = 0.0;
        for (size_t k = 0; k < n_columns; k++) {
            left -= (double)row[k] * self->mean[k];
            norm += (double)row[k] * (double)row[k];
        }
        for (size_t k = 0; norm > 0.0 && k < n_columns; k++)
            self->mean[k] = fmax(0.0, fmin(255.0, self->mean[k] + (double)row[k] * left / norm));
    }
    for (size_t r = 0; r < layer->out_channels; r++) {
        const float *row = self->weights + r * n_columns;
        double factor = batch_norm_factor(layer, r) * LEVELS_PER_UNIT;
        double variance = factor * factor * (double)layer->variance[r];
        for (size_t k = 0; k < n_columns; k++)
            if (row[k] != 0.0f)
                self->variance[k] = fmin(self->variance[k], CORRELATION_SLACK * variance /
                                                                ((double)row[k] * (double)row[k]));
    }
}

static void fold(struct folded *self, const struct pf_model *model, size_t l)
{
    const struct pf_layer *layer = &model->layers[l];
    pf_layer_dense_weights(layer, self->weights);
    estimate_inputs(self, model, l);
    if (layer->kind == PF_LAYER_LINEAR) {
        for (size_t r = 0; r < layer->out_channels; r++) {
            self->offset[r] = (double)layer->bias[r] * LEVELS_PER_UNIT;
            self->linear[r] = 1.0;
        }
        return;
    }
    fold_convolution(self, model, l);
    if (l > 0) reconcile_inputs(self, layer);
    pf_quant_layer_statistics(layer, self->statistics);
    /* A row that looks stuck keeps a small say: the statistics are estimates. */
    for (size_t r = 0; r < layer->out_channels; r++)
        self->linear[r] = fmax(self->statistics[r].linear, 0.01);
}

/* The finest scale at which every bias stays below 2^30. */
static int finest_exponent(const struct folded *self, size_t n_rows)
{
    double largest = 0.0;
    for (size_t r = 0; r < n_rows; r++) largest = fmax(largest, fabs(self->offset[r]));
    int e = PF_QUANT_MAX_EXPONENT;
    while (e > 0 && ldexp(largest + 0.5, e) >= 0x1p30) e--;
    return e;
}

/* weight, n_saturated, bias, max_magnitude. */
static enum pf_status round_row(struct pf_quant_layer *self, const struct folded *folded, size_t l,
                                size_t r, struct pf_error *err)
{
    const float *from = folded->weights + r * self->n_columns;
    int16_t *to = self->weight + r * self->n_columns;
    int64_t magnitude = 0; /* ≤ 255·127·36864 < 2^31 */
    double bias = ldexp(folded->offset[r], (int)self->exponent);
    for (size_t k = 0; k < self->n_columns; k++) {
        double exact = ldexp((double)from[k], (int)self->exponent);
        to[k] = pf_quant_round_weight(from[k], (int)self->exponent);
        bias += (exact - to[k]) * folded->mean[k];
        magnitude += 255 * (to[k] < 0 ? -to[k] : to[k]);
        self->n_saturated += fabs(exact) >= PF_QUANT_MAX_WEIGHT + 0.5;
    }
    bias = floor(bias + 0.5);
    if (self->shift > 0) bias += ldexp(1.0, (int)self->shift - 1); /* rounds the quantiser */
    if (!(fabs(bias) + (double)magnitude < 0x1p31))
        return pf_fail(err, PF_INVALID,
                       "layer %zu, row %zu: a bias of %.3g beside weights of up to %" PRId64
                       " in sum does not fit 32-bit accumulators; look at its batch norm, or "
                       "retrain with weight decay",
                       l, r, bias, magnitude);
    self->bias[r] = (int32_t)bias;
    magnitude += llabs((long long)bias);
    self->max_magnitude = PF_MAX(self->max_magnitude, magnitude);
    return PF_OK;
}

static enum pf_status lower_layer(struct pf_quant_layer *self, const struct pf_model *model,
                                  size_t l, struct folded *folded, struct pf_error *err)
{
    const struct pf_layer *layer = &model->layers[l];
    PF_TRY(folded_init(folded, layer, err));
    fold(folded, model, l);
    size_t n_rows = layer->out_channels, n_columns = layer->n_columns;
    int exponent = pf_quant_choose_exponent(folded->weights, n_rows, n_columns, folded->linear,
                                            folded->variance, finest_exponent(folded, n_rows));
    if (exponent < 0)
        return pf_fail(err, PF_INVALID,
                       "layer %zu: its weights, with batch norm folded in, would need a scale of "
                       "2^%d to fit 8 bits; look for a channel whose variance is near zero, or "
                       "retrain with weight decay",
                       l, exponent);
    self->exponent = (uint32_t)exponent;
    self->shift = layer->kind == PF_LAYER_LINEAR ? 0 : self->exponent;
    self->weight = PF_ALLOC(n_rows * n_columns, int16_t);
    self->bias = PF_ALLOC(n_rows, int32_t);
    if (self->weight == NULL || self->bias == NULL) return pf_no_memory(err, "a lowered layer");
    for (size_t r = 0; r < n_rows; r++) PF_TRY(round_row(self, folded, l, r, err));
    return PF_OK;
}

static struct pf_quant_layer copy_shape(const struct pf_layer *layer)
{
    return (struct pf_quant_layer){.kind = layer->kind,
                                   .in_channels = layer->in_channels,
                                   .out_channels = layer->out_channels,
                                   .n_columns = layer->n_columns,
                                   .in_height = layer->in_height,
                                   .in_width = layer->in_width,
                                   .out_height = layer->out_height,
                                   .out_width = layer->out_width,
                                   .stride = layer->stride,
                                   .shift_y = layer->shift_y,
                                   .shift_x = layer->shift_x,
                                   .packing = layer->packing};
}

enum pf_status pf_quant_lower(const struct pf_model *model, struct pf_quant_model **lowered,
                              struct pf_error *err)
{
    PF_TRY(pf_model_validate(model, err));
    PF_CLEANUP(pf_quant_destroyp) struct pf_quant_model *self = PF_ALLOC(1, struct pf_quant_model);
    if (self == NULL) return pf_no_memory(err, "a lowered model");
    self->model = model;
    self->layers = PF_ALLOC(model->n_layers, struct pf_quant_layer);
    if (self->layers == NULL) return pf_no_memory(err, "a lowered model");
    self->n_layers = model->n_layers;
    for (size_t l = 0; l < model->n_layers; l++) {
        PF_CLEANUP(folded_finish) struct folded folded = {0};
        self->layers[l] = copy_shape(&model->layers[l]);
        PF_TRY(lower_layer(&self->layers[l], model, l, &folded, err));
    }
    *lowered = self;
    self = NULL;
    return PF_OK;
}

void pf_quant_destroy(struct pf_quant_model *self)
{
    if (self == NULL) return;
    for (size_t l = 0; l < self->n_layers; l++) {
        pf_free(self->layers[l].weight);
        pf_free(self->layers[l].bias);
    }
    pf_free(self->layers);
    pf_free(self);
}
