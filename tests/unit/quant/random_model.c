#include "tests/unit/quant/random_model.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/base/random.h"

struct pf_network random_model_network(enum pf_layer_kind kind)
{
    return (struct pf_network){.block_kind = kind,
                               .n_blocks = 2,
                               .filters = {8, 12},
                               .layers = {2, 2},
                               .strides = {1, 2},
                               .in_channels = 3,
                               .in_height = 9,
                               .in_width = 7,
                               .n_classes = 5};
}

struct pf_dataset *random_images(const struct pf_network *network, size_t n, uint64_t seed)
{
    struct pf_dataset *dataset = NULL;
    struct pf_error err;
    assert_int_equal(pf_dataset_create(n, network->in_channels, network->in_height,
                                       network->in_width, network->n_classes, &dataset, &err),
                     PF_OK);
    struct pf_random random;
    pf_random_init(&random, seed, "images", 0);
    size_t n_planes = n * network->in_channels;
    for (size_t plane = 0; plane < n_planes; plane++) {
        double phase = 6.3 * pf_random_uniform(&random), slope = pf_random_normal(&random);
        for (size_t y = 0; y < network->in_height; y++) {
            for (size_t x = 0; x < network->in_width; x++) {
                double v = 128 + 90 * sin(phase + slope * (double)y + 0.7 * (double)x) +
                           20 * pf_random_normal(&random);
                dataset->pixels[(plane * network->in_height + y) * network->in_width + x] =
                    (uint8_t)fmax(0.0, fmin(255.0, v));
            }
        }
    }
    for (size_t i = 0; i < n; i++)
        dataset->labels[i] = (uint8_t)pf_random_below(&random, network->n_classes);
    return dataset;
}

/* One survivor per row and group of columns k ≡ g mod n_groups. */
static struct pf_packing *pack_by_hand(const struct pf_layer *layer, uint32_t alpha,
                                       struct pf_random *random)
{
    uint32_t n_groups = (layer->n_columns + alpha - 1) / alpha;
    float *weights = PF_ALLOC((size_t)layer->out_channels * layer->n_columns, float);
    uint32_t *group = PF_ALLOC(layer->n_columns, uint32_t);
    assert_true(weights != NULL && group != NULL);
    for (uint32_t k = 0; k < layer->n_columns; k++) group[k] = k % n_groups;
    for (size_t r = 0; r < layer->out_channels; r++) {
        for (uint32_t g = 0; g < n_groups; g++) {
            uint32_t k = g + n_groups * pf_random_below(random, alpha);
            if (k < layer->n_columns && pf_random_below(random, 10) > 0)
                weights[r * layer->n_columns + k] = 1.0f;
        }
    }
    struct pf_packing *packing = NULL;
    struct pf_error err;
    assert_int_equal(pf_packing_from_dense(weights, layer->out_channels, layer->n_columns, group,
                                           n_groups, alpha, 0.0f, &packing, &err),
                     PF_OK);
    pf_free(weights);
    pf_free(group);
    return packing;
}

struct pf_model *random_model_create(const struct pf_network *network, uint32_t alpha,
                                     uint64_t seed)
{
    struct pf_error err;
    struct pf_model *dense = NULL, *model = NULL;
    assert_int_equal(pf_model_create(network, NULL, &dense, &err), PF_OK);
    struct pf_packing *packings[PF_MAX_LAYERS] = {NULL};
    struct pf_random random;
    pf_random_init(&random, seed, "packings", 0);
    for (size_t l = 1; alpha > 1 && l + 1 < dense->n_layers; l++)
        packings[l] = pack_by_hand(&dense->layers[l], alpha, &random);
    assert_int_equal(
        pf_model_create(network, (const struct pf_packing *const *)packings, &model, &err), PF_OK);
    pf_model_initialise(model, seed);
    for (size_t l = 0; l < model->n_layers; l++) {
        struct pf_layer *layer = &model->layers[l];
        for (size_t r = 0; r < layer->out_channels; r++) {
            if (layer->kind == PF_LAYER_LINEAR) {
                layer->bias[r] = (float)(0.2 * pf_random_normal(&random));
                continue;
            }
            layer->gamma[r] = (float)(0.6 + pf_random_uniform(&random));
            layer->beta[r] = (float)(0.8 + 0.5 * pf_random_normal(&random));
        }
        pf_packing_destroy(packings[l]);
    }
    for (size_t c = 0; c < network->in_channels; c++) {
        model->input_mean[c] = 0.45f + 0.02f * (float)c;
        model->input_std[c] = 0.25f - 0.01f * (float)c;
    }
    pf_model_destroy(dense);
    struct pf_dataset *images = random_images(network, 20, seed);
    float logits[20 * PF_MAX_CLASSES];
    float_infer(model, images->pixels, images->n_images, logits, true);
    pf_dataset_destroy(images);
    return model;
}

/* One weight's contribution to out[out_height][out_width]. */
static void add_column(float *out, const float *in, const struct pf_layer *layer, size_t k,
                       float weight)
{
    size_t channel = layer->kind == PF_LAYER_CONV3X3 ? k / 9 : k;
    int dy = 0, dx = 0;
    if (layer->kind == PF_LAYER_CONV3X3) {
        dy = (int)(k / 3 % 3) - 1;
        dx = (int)(k % 3) - 1;
    } else if (layer->kind == PF_LAYER_SHIFT) {
        dy = layer->shift_y[k];
        dx = layer->shift_x[k];
    }
    int height = (int)layer->in_height, width = (int)layer->in_width;
    for (int y = 0; y < (int)layer->out_height; y++) {
        for (int x = 0; x < (int)layer->out_width; x++) {
            int row = y * (int)layer->stride + dy, column = x * (int)layer->stride + dx;
            if (row < 0 || row >= height || column < 0 || column >= width) continue;
            out[y * (int)layer->out_width + x] +=
                weight * in[((int)channel * height + row) * width + column];
        }
    }
}

static void take_statistics(struct pf_layer *layer, const float *out, size_t n, size_t n_pixels)
{
    for (size_t r = 0; r < layer->out_channels; r++) {
        double sum = 0, squares = 0;
        for (size_t i = 0; i < n; i++) {
            for (size_t p = 0; p < n_pixels; p++) {
                double v = (double)out[(i * layer->out_channels + r) * n_pixels + p];
                sum += v;
                squares += v * v;
            }
        }
        double mean = sum / (double)(n * n_pixels);
        layer->mean[r] = (float)mean;
        layer->variance[r] = (float)fmax(squares / (double)(n * n_pixels) - mean * mean, 0.0);
    }
}

static void batch_norm_relu6(const struct pf_layer *layer, float *out, size_t n, size_t n_pixels)
{
    for (size_t i = 0; i < n * layer->out_channels * n_pixels; i++) {
        size_t r = i / n_pixels % layer->out_channels;
        float z = (out[i] - layer->mean[r]) / sqrtf(layer->variance[r] + PF_BATCH_NORM_EPSILON) *
                      layer->gamma[r] +
                  layer->beta[r];
        out[i] = z < 0 ? 0 : z > 6 ? 6 : z;
    }
}

static float *average_pool(const float *in, size_t n_planes, size_t n_pixels)
{
    float *out = PF_ALLOC(n_planes, float);
    assert_non_null(out);
    for (size_t i = 0; i < n_planes * n_pixels; i++) out[i / n_pixels] += in[i] / (float)n_pixels;
    return out;
}

static float *run_layer(const struct pf_layer *layer, const float *in, size_t n)
{
    size_t n_in = (size_t)layer->in_channels * layer->in_height * layer->in_width;
    size_t n_pixels = (size_t)layer->out_height * layer->out_width;
    float *weights = PF_ALLOC((size_t)layer->out_channels * layer->n_columns, float);
    float *out = PF_ALLOC(n * layer->out_channels * n_pixels, float);
    assert_true(weights != NULL && out != NULL);
    pf_layer_dense_weights(layer, weights);
    for (size_t i = 0; i < n; i++)
        for (size_t r = 0; r < layer->out_channels; r++)
            for (size_t k = 0; k < layer->n_columns; k++)
                add_column(out + (i * layer->out_channels + r) * n_pixels, in + i * n_in, layer, k,
                           weights[r * layer->n_columns + k]);
    pf_free(weights);
    return out;
}

void float_infer(struct pf_model *model, const uint8_t *images, size_t n, float *logits,
                 bool calibrate)
{
    const struct pf_network *net = &model->network;
    size_t n_plane = (size_t)net->in_height * net->in_width;
    float *in = PF_ALLOC(n * net->in_channels * n_plane, float);
    assert_non_null(in);
    for (size_t i = 0; i < n * net->in_channels * n_plane; i++) {
        size_t c = i / n_plane % net->in_channels;
        in[i] = ((float)images[i] / 255.0f - model->input_mean[c]) / model->input_std[c];
    }
    for (size_t l = 0; l < model->n_layers; l++) {
        struct pf_layer *layer = &model->layers[l];
        size_t n_pixels = (size_t)layer->out_height * layer->out_width;
        if (layer->kind == PF_LAYER_LINEAR) {
            const struct pf_layer *last = &model->layers[l - 1];
            float *pooled = average_pool(in, n * last->out_channels,
                                         (size_t)last->out_height * last->out_width);
            pf_free(in);
            in = pooled;
        }
        float *out = run_layer(layer, in, n);
        pf_free(in);
        in = out;
        if (layer->kind == PF_LAYER_LINEAR) break;
        if (calibrate) take_statistics(layer, out, n, n_pixels);
        batch_norm_relu6(layer, out, n, n_pixels);
    }
    const struct pf_layer *classifier = &model->layers[model->n_layers - 1];
    for (size_t i = 0; i < n * net->n_classes; i++)
        logits[i] = in[i] + classifier->bias[i % net->n_classes];
    pf_free(in);
}
