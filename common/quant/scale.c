#include "common/quant/scale.h"

#include <math.h>

#define LEVELS_PER_UNIT (255.0 / 6.0)

static double normal_density(double u)
{
    return exp(-0.5 * u * u) / sqrt(2.0 * M_PI);
}

static double normal_below(double u)
{
    return 0.5 * erfc(-u / sqrt(2.0));
}

struct pf_quant_statistics pf_quant_relu6_statistics(double mean, double deviation)
{
    double first, second, linear;
    if (deviation > 1e-9) {
        /* z = m + s·u: ∫u φ = φ(a) − φ(b), ∫u² φ = Φ(b) − Φ(a) + a φ(a) − b φ(b). */
        double a = -mean / deviation, b = (6.0 - mean) / deviation;
        double above = normal_below(-b);
        linear = normal_below(b) - normal_below(a);
        double u1 = normal_density(a) - normal_density(b);
        double u2 = linear + a * normal_density(a) - b * normal_density(b);
        first = mean * linear + deviation * u1 + 6.0 * above;
        second = mean * mean * linear + 2.0 * mean * deviation * u1 + deviation * deviation * u2 +
                 36.0 * above;
    } else {
        first = mean < 0.0 ? 0.0 : mean > 6.0 ? 6.0 : mean;
        second = first * first;
        linear = mean > 0.0 && mean < 6.0;
    }
    /* Far outside the range the differences above may cancel to a tiny negative. */
    return (struct pf_quant_statistics){.mean = fmax(first, 0.0) * LEVELS_PER_UNIT,
                                        .variance = fmax(second - first * first, 0.0) *
                                                    LEVELS_PER_UNIT * LEVELS_PER_UNIT,
                                        .linear = fmax(linear, 0.0)};
}

void pf_quant_layer_statistics(const struct pf_layer *layer, struct pf_quant_statistics *statistics)
{
    for (size_t r = 0; r < layer->out_channels; r++) {
        double variance = (double)layer->variance[r];
        double kept = variance / (variance + (double)PF_BATCH_NORM_EPSILON);
        statistics[r] = pf_quant_relu6_statistics((double)layer->beta[r],
                                                  fabs((double)layer->gamma[r]) * sqrt(kept));
    }
}

int16_t pf_quant_round_weight(float weight, int exponent)
{
    double scaled = round(ldexp((double)weight, exponent));
    return (int16_t)fmax(-PF_QUANT_MAX_WEIGHT, fmin(PF_QUANT_MAX_WEIGHT, scaled));
}

double pf_quant_scale_error(const float *weights, size_t n_rows, size_t n_columns,
                            const double *linear, const double *variance, int exponent)
{
    double total = 0.0;
    for (size_t r = 0; r < n_rows; r++) {
        double row = 0.0;
        for (size_t k = 0; k < n_columns; k++) {
            float weight = weights[r * n_columns + k];
            if (weight == 0.0f) continue;
            double kept = ldexp((double)pf_quant_round_weight(weight, exponent), -exponent);
            double difference = kept - (double)weight;
            row += difference * difference * variance[k];
        }
        total += linear[r] * row;
    }
    return total;
}

int pf_quant_choose_exponent(const float *weights, size_t n_rows, size_t n_columns,
                             const double *linear, const double *variance, int max_exponent)
{
    double largest = 0.0;
    for (size_t i = 0; i < n_rows * n_columns; i++)
        largest = fmax(largest, fabs((double)weights[i]));
    if (largest == 0.0) return 0;
    if (!isfinite(largest)) return -128; /* folding left the range of a float */
    int fits;
    frexp((PF_QUANT_MAX_WEIGHT + 0.499) / largest, &fits);
    fits -= 1; /* largest · 2^fits ≤ 127.499 < largest · 2^(fits + 1) */
    if (fits > max_exponent) fits = max_exponent;

    int best = fits;
    double least = pf_quant_scale_error(weights, n_rows, n_columns, linear, variance, fits);
    for (int e = fits + 1; e <= fits + PF_QUANT_FINER_SCALES && e <= max_exponent; e++) {
        double error = pf_quant_scale_error(weights, n_rows, n_columns, linear, variance, e);
        /* Below 0 a scale cannot be built, so there even equal is better. */
        if (error > least || (error == least && e > 0)) continue;
        least = error;
        best = e;
    }
    return best;
}
