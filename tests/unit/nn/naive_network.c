#include "tests/unit/nn/naive_network.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/random.h"

static double relu6(double a)
{
    return a < 0.0 ? 0.0 : a > 6.0 ? 6.0 : a;
}

/* The weight of row r, column k of a layer; 0 where pruned. */
static double *dense_weights(const struct pf_model *model, const struct pf_layer *layer,
                             const double *parameters)
{
    const double *w = parameters + (layer->weight - model->parameters);
    size_t n = (size_t)layer->out_channels * layer->n_columns;
    double *out = calloc(n, sizeof *out);
    if (layer->packing == NULL) {
        memcpy(out, w, n * sizeof *out);
        return out;
    }
    for (size_t r = 0; r < layer->out_channels; r++)
        for (size_t i = layer->packing->row_start[r]; i < layer->packing->row_start[r + 1]; i++)
            out[r * layer->n_columns + layer->packing->column[i]] = w[i];
    return out;
}

static double pixel(const double *x, const struct pf_layer *layer, size_t c, long y, long column)
{
    if (y < 0 || y >= (long)layer->in_height || column < 0 || column >= (long)layer->in_width)
        return 0.0;
    return x[(c * layer->in_height + (size_t)y) * layer->in_width + (size_t)column];
}

/* What column k of the filter matrix sees at output (y, x). */
static double column_value(const double *in, const struct pf_layer *layer, size_t k, size_t y,
                           size_t x)
{
    long from_y = (long)(y * layer->stride), from_x = (long)(x * layer->stride);
    switch (layer->kind) {
    case PF_LAYER_SHIFT:
        return pixel(in, layer, k, from_y + layer->shift_y[k], from_x + layer->shift_x[k]);
    case PF_LAYER_CONV3X3:
        return pixel(in, layer, k / 9, from_y + (long)(k % 9 / 3) - 1, from_x + (long)(k % 3) - 1);
    default: return pixel(in, layer, k, from_y, from_x);
    }
}

static void convolve(const double *in, const struct pf_layer *layer, const double *w, double *out)
{
    size_t pixels = (size_t)layer->out_height * layer->out_width;
    for (size_t p = 0; p < pixels; p++) {
        for (size_t r = 0; r < layer->out_channels; r++) out[r * pixels + p] = 0.0;
        for (size_t k = 0; k < layer->n_columns; k++) {
            double v = column_value(in, layer, k, p / layer->out_width, p % layer->out_width);
            for (size_t r = 0; v != 0.0 && r < layer->out_channels; r++)
                out[r * pixels + p] += w[r * layer->n_columns + k] * v;
        }
    }
}

/* In place over y[n][rows][pixels]; the layer's mean and variance go to mean[rows] and
 * variance[rows] when they are of the batch and come from there otherwise. */
static void normalise(double *y, size_t n, size_t rows, size_t pixels, const double *gamma,
                      const double *beta, double *mean, double *variance, bool batch)
{
    double m = (double)(n * pixels);
    for (size_t r = 0; r < rows; r++) {
        double sum = 0.0, squares = 0.0;
        for (size_t i = 0; i < n; i++)
            for (size_t p = 0; p < pixels; p++) sum += y[(i * rows + r) * pixels + p] / m;
        if (batch) mean[r] = sum;
        for (size_t i = 0; i < n; i++)
            for (size_t p = 0; p < pixels; p++)
                squares += pow(y[(i * rows + r) * pixels + p] - mean[r], 2.0) / m;
        if (batch) variance[r] = squares;
        double inverse = 1.0 / sqrt(variance[r] + (double)PF_BATCH_NORM_EPSILON);
        for (size_t i = 0; i < n; i++)
            for (size_t p = 0; p < pixels; p++) {
                double *v = &y[(i * rows + r) * pixels + p];
                *v = relu6((*v - mean[r]) * inverse * gamma[r] + beta[r]);
            }
    }
}

static double *input_of(const struct pf_model *model, const struct pf_dataset *dataset)
{
    size_t pixels = (size_t)dataset->height * dataset->width;
    size_t n = dataset->n_images * pf_dataset_image_bytes(dataset);
    double *x = calloc(n, sizeof *x);
    for (size_t i = 0; i < n; i++) {
        size_t c = i / pixels % dataset->n_channels;
        x[i] = ((double)dataset->pixels[i] / 255.0 - (double)model->input_mean[c]) /
               (double)model->input_std[c];
    }
    return x;
}

static double classify(const struct pf_layer *linear, const double *w, const double *bias,
                       const double *x, size_t pixels, uint8_t label, double smoothing, double *out)
{
    size_t n = linear->out_channels;
    double total = 0.0, loss = 0.0, *logits = calloc(n, sizeof *logits);
    for (size_t m = 0; m < n; m++) {
        logits[m] = bias[m];
        for (size_t c = 0; c < linear->n_columns; c++)
            for (size_t p = 0; p < pixels; p++)
                logits[m] += w[m * linear->n_columns + c] * x[c * pixels + p] / (double)pixels;
        total += exp(logits[m]);
        if (out != NULL) out[m] = logits[m];
    }
    for (size_t m = 0; m < n; m++) {
        double target = smoothing / (double)n + (m == label ? 1.0 - smoothing : 0.0);
        loss -= target * (logits[m] - log(total));
    }
    free(logits);
    return loss;
}

double naive_loss(const struct pf_model *model, const double *parameters,
                  const struct pf_dataset *dataset, double smoothing, bool batch_statistics,
                  double *statistics, double *logits)
{
    size_t n = dataset->n_images, pixels = 0;
    double *x = input_of(model, dataset);
    double *state = calloc(model->n_parameters, sizeof *state);
    memcpy(state, parameters, model->n_parameters * sizeof *state);
    for (size_t l = 0; l + 1 < model->n_layers; l++) {
        const struct pf_layer *layer = &model->layers[l];
        size_t in = (size_t)layer->in_channels * layer->in_height * layer->in_width;
        pixels = (size_t)layer->out_height * layer->out_width;
        double *w = dense_weights(model, layer, state);
        double *y = calloc(n * layer->out_channels * pixels, sizeof *y);
        for (size_t i = 0; i < n; i++)
            convolve(x + i * in, layer, w, y + i * layer->out_channels * pixels);
        normalise(y, n, layer->out_channels, pixels, state + (layer->gamma - model->parameters),
                  state + (layer->beta - model->parameters),
                  state + (layer->mean - model->parameters),
                  state + (layer->variance - model->parameters), batch_statistics);
        free(w);
        free(x);
        x = y;
    }
    const struct pf_layer *linear = &model->layers[model->n_layers - 1];
    double loss = 0.0;
    for (size_t i = 0; i < n; i++)
        loss += classify(linear, state + (linear->weight - model->parameters),
                         state + (linear->bias - model->parameters),
                         x + i * linear->n_columns * pixels, pixels, dataset->labels[i], smoothing,
                         logits != NULL ? logits + i * linear->out_channels : NULL);
    if (statistics != NULL)
        memcpy(statistics, state + model->n_trained,
               (model->n_parameters - model->n_trained) * sizeof *state);
    free(x);
    free(state);
    return loss / (double)n;
}

struct pf_dataset *naive_dataset(const struct pf_network *network, size_t n_images, uint64_t seed)
{
    struct pf_dataset *dataset = NULL;
    if (pf_dataset_create(n_images, network->in_channels, network->in_height, network->in_width,
                          network->n_classes, &dataset, NULL) != PF_OK)
        abort();
    struct pf_random random;
    pf_random_init(&random, seed, "naive data", 0);
    for (size_t i = 0; i < n_images * pf_dataset_image_bytes(dataset); i++)
        dataset->pixels[i] = (uint8_t)pf_random_below(&random, 256);
    for (size_t i = 0; i < n_images; i++)
        dataset->labels[i] = (uint8_t)pf_random_below(&random, network->n_classes);
    return dataset;
}

/* Columns c, c + G, c + 2G, … share group c; each row keeps one of them, or none. */
static struct pf_packing *random_packing(const struct pf_layer *layer, uint32_t alpha,
                                         struct pf_random *random)
{
    uint32_t rows = layer->out_channels, columns = layer->n_columns;
    uint32_t n_groups = (columns + alpha - 1) / alpha;
    float *w = calloc((size_t)rows * columns, sizeof *w);
    uint32_t *group = calloc(columns, sizeof *group);
    for (uint32_t k = 0; k < columns; k++) group[k] = k % n_groups;
    for (uint32_t r = 0; r < rows; r++)
        for (uint32_t g = 0; g < n_groups; g++) {
            uint32_t k = g + n_groups * pf_random_below(random, alpha + 1);
            if (k < columns) w[(size_t)r * columns + k] = 1.0f;
        }
    struct pf_packing *packing = NULL;
    if (pf_packing_from_dense(w, rows, columns, group, n_groups, alpha, 0.0f, &packing, NULL) !=
        PF_OK)
        abort();
    free(w);
    free(group);
    return packing;
}

static struct pf_model *model_shape(const struct pf_network *network, uint32_t alpha, uint64_t seed)
{
    struct pf_model *dense = NULL, *model = NULL;
    if (pf_model_create(network, NULL, &dense, NULL) != PF_OK) abort();
    if (alpha == 0) return dense;
    struct pf_packing *packings[PF_MAX_LAYERS] = {NULL};
    struct pf_random random;
    pf_random_init(&random, seed, "naive packing", 0);
    for (size_t l = 1; l + 1 < dense->n_layers; l++)
        packings[l] = random_packing(&dense->layers[l], alpha, &random);
    if (pf_model_create(network, (const struct pf_packing *const *)packings, &model, NULL) != PF_OK)
        abort();
    for (size_t l = 0; l < dense->n_layers; l++) pf_packing_destroy(packings[l]);
    pf_model_destroy(dense);
    return model;
}

struct pf_model *naive_model(const struct pf_network *network, uint32_t alpha, uint64_t seed)
{
    struct pf_model *model = model_shape(network, alpha, seed);
    pf_model_initialise(model, seed);
    struct pf_random random;
    pf_random_init(&random, seed, "naive model", 0);
    for (size_t c = 0; c < network->in_channels; c++) {
        model->input_mean[c] = (float)pf_random_uniform(&random);
        model->input_std[c] = 0.5f + (float)pf_random_uniform(&random);
    }
    for (size_t l = 0; l < model->n_layers; l++) {
        struct pf_layer *layer = &model->layers[l];
        /* A filter near zero has a variance near batch norm's ε, where single precision cannot
         * follow the gradient. */
        for (size_t i = 0; i < layer->n_weights; i++)
            layer->weight[i] = copysignf(0.3f * fabsf(layer->weight[i]) + 0.2f, layer->weight[i]);
        for (size_t c = 0; layer->shift_y != NULL && c < layer->in_channels; c++) {
            layer->shift_y[c] = (int8_t)((int)(c / 3 % 3) - 1); /* all nine in turn */
            layer->shift_x[c] = (int8_t)((int)(c % 3) - 1);
        }
        for (size_t r = 0; r < layer->out_channels; r++) {
            if (layer->bias != NULL) layer->bias[r] = (float)pf_random_normal(&random);
            if (layer->gamma == NULL) continue;
            layer->gamma[r] = 1.0f + 3.0f * (float)pf_random_uniform(&random);
            layer->beta[r] = (float)pf_random_normal(&random) + 1.0f;
            layer->mean[r] = (float)pf_random_normal(&random);
            layer->variance[r] = 0.5f + (float)pf_random_uniform(&random);
        }
    }
    return model;
}
