/* The end of a network: global average pool, linear classifier, loss.  Small matrices of images ×
 * channels and images × classes; the products are OpenBLAS's. */
#ifndef PF_COMMON_NN_CLASSIFIER_H
#define PF_COMMON_NN_CLASSIFIER_H

#include "common/nn/layer_pass.h"

/* pooled[n][C] ← mean over pixels of ReLU6(batch norm(y)); `last` is the last convolution. */
void pf_pool_forward(const struct pf_layer_plan *last, const struct pf_kernels *kernels,
                     const void *y, enum pf_precision precision, const struct pf_affine *norm,
                     size_t n_images, float *pooled);

/* logits[n][M] ← pooled[n][C] Wᵀ + bias. */
void pf_linear_forward(const struct pf_layer *linear, const float *pooled, size_t n_images,
                       float *logits);

/* Cross-entropy of one image against its label, mixed with the uniform distribution in the
 * proportion `smoothing`.  gradient (may be NULL, may be logits) ← d loss / d logits. */
double pf_cross_entropy(const float *logits, size_t n_classes, uint8_t label, double smoothing,
                        float *gradient);

/* dw[M][C], db[M] ← sums over images; dpooled[n][C] ← gradient. */
void pf_linear_backward(const struct pf_layer *linear, const float *pooled, const float *dlogits,
                        size_t n_images, float *dw, float *db, float *dpooled);

/* g[n][C][padded] and totals[C] of the last convolution from dpooled[n][C], which it divides by
 * the number of pixels; see layer_pass.h. */
void pf_pool_backward(const struct pf_layer_plan *last, const struct pf_kernels *kernels,
                      struct pf_scratch *scratch, const void *y, enum pf_precision precision,
                      const struct pf_affine *norm, const float *mean, size_t n_images,
                      float *dpooled, float *g, struct pf_channel_sums *totals);

#endif
