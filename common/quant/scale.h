/* The power-of-two scale of a layer's weights.
 *
 * Rows of a filter matrix differ by their batch-norm factor γ/σ and share one scale, so the scale
 * that just fits the largest weight can leave most others a few levels.  A finer scale saturates
 * the few largest at ±127 and halves everybody else's rounding error.  The choice minimises the
 * expected squared error that quantised weights cause in the outputs,
 *
 *     error(e) = Σ_r linear_r · Σ_k (w'_rk − w_rk)² · Var x_k,    w' = clamp(round(w·2^e))·2^−e
 *
 * The other part of the error, Σ_k (w'_rk − w_rk)·E[x_k], is the same for every input: the bias
 * takes it back, so that a weight on a channel that hardly moves may saturate for nothing.
 * linear_r says how often row r lies inside the range (0, 6), where an error passes the ReLU6.
 * All of it comes from batch norm alone, without data: the output of a channel before ReLU6 is
 * taken as normal with mean β and deviation |γ|·√(σ²/(σ²+ε)), as in Nagel, van Baalen,
 * Blankevoort, Welling, "Data-Free Quantization through Weight Equalization and Bias Correction",
 * ICCV 2019, section 4.2. */
#ifndef PF_COMMON_QUANT_SCALE_H
#define PF_COMMON_QUANT_SCALE_H

#include <stddef.h>

#include "common/model/model.h"

#define PF_QUANT_MAX_WEIGHT 127  /* sign and magnitude; the cell itself holds up to 255 */
#define PF_QUANT_MAX_EXPONENT 23 /* the finest scale: weights of 2^−16 still keep 7 bits */
#define PF_QUANT_FINER_SCALES 10 /* exponents tried beyond the one that just fits */

/* What a channel looks like behind batch norm and ReLU6, in levels of 6/255. */
struct pf_quant_statistics {
    double mean;     /* E[x], 0…255 */
    double variance; /* Var x */
    double linear;   /* probability that the value before ReLU6 lies within (0, 6) */
};

/* Of a normal variable with the given mean and deviation ≥ 0, clipped to 0…6. */
struct pf_quant_statistics pf_quant_relu6_statistics(double mean, double deviation);

/* statistics[out_channels] of a convolution's output. */
void pf_quant_layer_statistics(const struct pf_layer *layer,
                               struct pf_quant_statistics *statistics);

/* w·2^exponent, rounded half away from zero and saturated to ±127. */
int16_t pf_quant_round_weight(float weight, int exponent);

/* error(exponent) as above for weights[n_rows][n_columns], linear[n_rows],
 * variance[n_columns]. */
double pf_quant_scale_error(const float *weights, size_t n_rows, size_t n_columns,
                            const double *linear, const double *variance, int exponent);

/* The exponent ≤ max_exponent with the least error, from the one that just fits the largest weight
 * to PF_QUANT_FINER_SCALES finer; equal errors go to the coarser, nonsaturating one.  Negative when
 * the weights are too large for a scale of 1.  All-zero weights give 0. */
int pf_quant_choose_exponent(const float *weights, size_t n_rows, size_t n_columns,
                             const double *linear, const double *variance, int max_exponent);

#endif
