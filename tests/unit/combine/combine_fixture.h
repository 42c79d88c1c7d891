/* Random filter matrices and small networks for the tests of combine. */
#ifndef PF_TESTS_UNIT_COMBINE_FIXTURE_H
#define PF_TESTS_UNIT_COMBINE_FIXTURE_H

#include "common/base/memory.h"
#include "common/base/random.h"
#include "common/combine/combine.h"

/* weights[N][K], normally distributed, each present with probability `density`; owned. */
static inline float *random_matrix(uint64_t seed, uint32_t n_rows, uint32_t n_columns,
                                   double density)
{
    struct pf_random random;
    pf_random_init(&random, seed, "test matrix", 0);
    size_t n = (size_t)n_rows * n_columns;
    float *weights = PF_ALLOC(n, float);
    assert_non_null(weights);
    for (size_t i = 0; i < n; i++)
        if (pf_random_uniform(&random) < density) weights[i] = (float)pf_random_normal(&random);
    return weights;
}

static inline size_t count_nonzeros(const float *weights, size_t n)
{
    size_t nonzeros = 0;
    for (size_t i = 0; i < n; i++) nonzeros += weights[i] != 0.0f;
    return nonzeros;
}

/* Two blocks, 8 and 12 filters, two layers each, on 6 × 5 images of 3 channels; every parameter
 * differs from its neighbours so that a mix-up shows. */
static inline struct pf_model *random_model(enum pf_layer_kind kind, uint64_t seed)
{
    const struct pf_network network = {.block_kind = kind,
                                       .n_blocks = 2,
                                       .filters = {8, 12},
                                       .layers = {2, 2},
                                       .strides = {1, 2},
                                       .in_channels = 3,
                                       .in_height = 6,
                                       .in_width = 5,
                                       .n_classes = 4};
    struct pf_model *model = NULL;
    assert_int_equal(pf_model_create(&network, NULL, &model, NULL), PF_OK);
    pf_model_initialise(model, seed);
    struct pf_random random;
    pf_random_init(&random, seed, "test surroundings", 0);
    for (size_t c = 0; c < 3; c++) {
        model->input_mean[c] = (float)pf_random_uniform(&random);
        model->input_std[c] = (float)(0.5 + pf_random_uniform(&random));
    }
    for (size_t l = 0; l < model->n_layers; l++) {
        struct pf_layer *layer = &model->layers[l];
        for (size_t r = 0; r < layer->out_channels; r++) {
            if (layer->kind == PF_LAYER_LINEAR) {
                layer->bias[r] = (float)pf_random_normal(&random);
                continue;
            }
            layer->gamma[r] = (float)(0.5 + pf_random_uniform(&random));
            layer->beta[r] = (float)pf_random_uniform(&random);
            layer->mean[r] = (float)(0.2 * pf_random_normal(&random));
            layer->variance[r] = (float)(0.5 + pf_random_uniform(&random));
        }
    }
    return model;
}

#endif
