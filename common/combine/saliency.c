/* What a weight is worth. */
#include <float.h>
#include <math.h>

#include "common/combine/combine.h"

const char *pf_saliency_name(enum pf_saliency kind)
{
    switch (kind) {
    case PF_SALIENCY_MAGNITUDE: return "magnitude";
    case PF_SALIENCY_OUTPUT: return "output";
    }
    return "unknown";
}

/* ∫ x² φ(x; mean, deviation) over 0 … 6, and 36 for what lies above. */
double pf_relu6_mean_square(double mean, double deviation)
{
    if (deviation < 1e-12) {
        double x = fmin(fmax(mean, 0.0), 6.0);
        return x * x;
    }
    double low = -mean / deviation, high = (6.0 - mean) / deviation;
    double below = 0.5 * erfc(-low / sqrt(2.0)), above = 0.5 * erfc(high / sqrt(2.0));
    double inside = 1.0 - below - above;
    const double scale = 1.0 / sqrt(2.0 * M_PI);
    double density_low = scale * exp(-0.5 * low * low),
           density_high = scale * exp(-0.5 * high * high);
    /* With x = mean + deviation · z: ∫ z φ = φ(low) − φ(high),
     * ∫ z² φ = ∫ φ + low φ(low) − high φ(high). */
    double first = density_low - density_high;
    double second = inside + low * density_low - high * density_high;
    double square = mean * mean * inside + 2.0 * mean * deviation * first +
                    deviation * deviation * second + 36.0 * above;
    /* Far from 0 … 6 the terms nearly cancel, and rounding may leave what cannot be. */
    return fmin(fmax(square, 0.0), 36.0);
}

/* Mean square of input channel c of layer l ≥ 1: batch norm gives the layer before mean β and
 * deviation |γ|, taken as normal, and ReLU6 follows.  That shifts bring zeros in at borders is left
 * out: it scales all channels of a layer nearly alike. */
static double input_mean_square(const struct pf_model *model, size_t l, size_t c)
{
    const struct pf_layer *before = &model->layers[l - 1];
    return pf_relu6_mean_square((double)before->beta[c], fabs((double)before->gamma[c]));
}

static double filter_scale(const struct pf_layer *layer, size_t r)
{
    if (layer->kind == PF_LAYER_LINEAR) return 1.0;
    double gamma = (double)layer->gamma[r];
    return gamma * gamma / ((double)layer->variance[r] + (double)PF_BATCH_NORM_EPSILON);
}

void pf_layer_worth(const struct pf_model *dense, size_t l, enum pf_saliency kind, float *worth)
{
    const struct pf_layer *layer = &dense->layers[l];
    size_t n_columns = layer->n_columns, per_channel = n_columns / layer->in_channels;
    for (size_t k = 0; k < n_columns; k++) {
        bool outputs = kind == PF_SALIENCY_OUTPUT && l > 0;
        double square = outputs ? input_mean_square(dense, l, k / per_channel) : 1.0;
        for (size_t r = 0; r < layer->out_channels; r++) {
            double w = fabs((double)layer->weight[r * n_columns + k]);
            float value = (float)(outputs ? w * w * filter_scale(layer, r) * square : w);
            /* A weight that is there is worth something, or a layer could lose all of them. */
            worth[r * n_columns + k] = w > 0.0 ? fmaxf(value, FLT_MIN) : 0.0f;
        }
    }
}
