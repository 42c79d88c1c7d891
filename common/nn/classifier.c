#include "common/nn/classifier.h"

#include <cblas.h>
#include <math.h>
#include <string.h>

void pf_pool_forward(const struct pf_layer_plan *last, const struct pf_kernels *kernels,
                     const void *y, enum pf_precision precision, const struct pf_affine *norm,
                     size_t n_images, float *pooled)
{
    float scale = 1.0f / (float)last->out_pixels;
    for (size_t i = 0; i < n_images; i++) {
        const void *image = pf_numbers_from(y, precision, i * last->n_rows * last->out_padded);
        kernels->pool(pooled + i * last->n_rows, last->n_rows,
                      pf_output_blocks(last, image, precision), last->out_mask,
                      last->out_padded / PF_GROUP, norm, scale);
    }
}

void pf_linear_forward(const struct pf_layer *linear, const float *pooled, size_t n_images,
                       float *logits)
{
    int n = (int)n_images, m = (int)linear->out_channels, c = (int)linear->n_columns;
    for (size_t i = 0; i < n_images; i++)
        memcpy(logits + i * linear->out_channels, linear->bias,
               linear->out_channels * sizeof *logits);
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, n, m, c, 1.0f, pooled, c, linear->weight,
                c, 1.0f, logits, m);
}

double pf_cross_entropy(const float *logits, size_t n_classes, uint8_t label, double smoothing,
                        float *gradient)
{
    double largest = (double)logits[0], sum = 0.0, mean = 0.0;
    for (size_t m = 1; m < n_classes; m++) largest = fmax(largest, (double)logits[m]);
    for (size_t m = 0; m < n_classes; m++) {
        sum += exp((double)logits[m] - largest);
        mean += (double)logits[m] / (double)n_classes;
    }
    double log_sum = largest + log(sum);
    double loss = log_sum - (1.0 - smoothing) * (double)logits[label] - smoothing * mean;
    for (size_t m = 0; gradient != NULL && m < n_classes; m++) {
        double target = smoothing / (double)n_classes + (m == label ? 1.0 - smoothing : 0.0);
        gradient[m] = (float)(exp((double)logits[m] - log_sum) - target);
    }
    return loss;
}

void pf_linear_backward(const struct pf_layer *linear, const float *pooled, const float *dlogits,
                        size_t n_images, float *dw, float *db, float *dpooled)
{
    int n = (int)n_images, m = (int)linear->out_channels, c = (int)linear->n_columns;
    cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, m, c, n, 1.0f, dlogits, m, pooled, c, 0.0f,
                dw, c);
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, n, c, m, 1.0f, dlogits, m,
                linear->weight, c, 0.0f, dpooled, c);
    for (size_t j = 0; j < linear->out_channels; j++) {
        db[j] = 0.0f;
        for (size_t i = 0; i < n_images; i++) db[j] += dlogits[i * linear->out_channels + j];
    }
}

void pf_pool_backward(const struct pf_layer_plan *last, const struct pf_kernels *kernels,
                      struct pf_scratch *scratch, const void *y, enum pf_precision precision,
                      const struct pf_affine *norm, const float *mean, size_t n_images,
                      float *dpooled, float *g, struct pf_channel_sums *totals)
{
    memset(scratch->sums, 0, last->n_rows * 2 * PF_GROUP * sizeof *scratch->sums);
    for (size_t i = 0; i < n_images; i++) {
        size_t image = i * last->n_rows * last->out_padded;
        float *value = dpooled + i * last->n_rows;
        for (size_t c = 0; c < last->n_rows; c++) value[c] /= (float)last->out_pixels;
        struct pf_blocks blocks =
            pf_output_blocks(last, pf_numbers_from(y, precision, image), precision);
        kernels->pool_back(g + image, last->n_rows, value, blocks, last->out_mask,
                           last->out_padded / PF_GROUP, norm, mean, scratch->sums);
    }
    pf_channel_sums_flush(totals, scratch->sums, last->n_rows);
}
