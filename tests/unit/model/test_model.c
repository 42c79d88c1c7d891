/* Models: shapes and limits, where parameters lie, packing and back, deep copies, validation. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "common/model/model.h"

static const struct pf_network shift_network = {.block_kind = PF_LAYER_SHIFT,
                                                .n_blocks = 2,
                                                .filters = {6, 8},
                                                .layers = {2, 3},
                                                .strides = {1, 2},
                                                .in_channels = 3,
                                                .in_height = 7,
                                                .in_width = 5,
                                                .n_classes = 4};

static struct pf_model *create(const struct pf_network *network,
                               const struct pf_packing *const *packings)
{
    struct pf_model *model = NULL;
    struct pf_error err = {0};
    if (pf_model_create(network, packings, &model, &err) != PF_OK) fail_msg("%s", err.text);
    return model;
}

/* Initialised, with nothing left at its default. */
static struct pf_model *example(uint64_t seed)
{
    struct pf_model *model = create(&shift_network, NULL);
    pf_model_initialise(model, seed);
    for (size_t c = 0; c < 3; c++) {
        model->input_mean[c] = 0.25f * (float)(c + 1);
        model->input_std[c] = 0.5f + (float)c;
    }
    for (size_t i = model->n_parameters, k = 0; k < 40; k++)
        model->parameters[i - 1 - k] = 0.5f + (float)k; /* batch-norm statistics */
    for (size_t l = 0; l < model->n_layers; l++)
        for (size_t i = 0; model->layers[l].beta != NULL && i < model->layers[l].out_channels; i++)
            model->layers[l].beta[i] = (float)(l + i);
    for (size_t i = 0; i < 4; i++) model->layers[model->n_layers - 1].bias[i] = (float)i - 1.5f;
    return model;
}

static void check_layer(const struct pf_layer *layer, enum pf_layer_kind kind, uint32_t in,
                        uint32_t out, uint32_t columns, uint32_t height, uint32_t width,
                        uint32_t stride)
{
    assert_int_equal(layer->kind, kind);
    assert_int_equal(layer->in_channels, in);
    assert_int_equal(layer->out_channels, out);
    assert_int_equal(layer->n_columns, columns);
    assert_int_equal(layer->in_height, height);
    assert_int_equal(layer->in_width, width);
    assert_int_equal(layer->stride, stride);
    assert_int_equal(layer->out_height, (height + stride - 1) / stride);
    assert_int_equal(layer->out_width, (width + stride - 1) / stride);
    assert_int_equal(layer->n_weights, out * columns);
    assert_int_equal(layer->shift_y != NULL, kind == PF_LAYER_SHIFT);
    assert_int_equal(layer->shift_x != NULL, kind == PF_LAYER_SHIFT);
    assert_int_equal(layer->bias != NULL, kind == PF_LAYER_LINEAR);
    assert_int_equal(layer->gamma != NULL, kind != PF_LAYER_LINEAR);
    assert_int_equal(layer->variance != NULL, kind != PF_LAYER_LINEAR);
}

static void layers_have_the_shapes_of_the_network(void **state)
{
    (void)state;
    PF_CLEANUP(pf_model_destroyp) struct pf_model *model = create(&shift_network, NULL);
    assert_int_equal(model->n_layers, 7);
    assert_int_equal(pf_network_n_layers(&shift_network), 7);
    const struct pf_layer *layer = model->layers;
    check_layer(&layer[0], PF_LAYER_POINTWISE, 3, 6, 3, 7, 5, 1);
    check_layer(&layer[1], PF_LAYER_SHIFT, 6, 6, 6, 7, 5, 1);
    check_layer(&layer[2], PF_LAYER_SHIFT, 6, 6, 6, 7, 5, 1);
    check_layer(&layer[3], PF_LAYER_SHIFT, 6, 8, 6, 7, 5, 2);
    check_layer(&layer[4], PF_LAYER_SHIFT, 8, 8, 8, 4, 3, 1); /* ⌈7/2⌉ × ⌈5/2⌉ */
    check_layer(&layer[5], PF_LAYER_SHIFT, 8, 8, 8, 4, 3, 1);
    check_layer(&layer[6], PF_LAYER_LINEAR, 8, 4, 8, 1, 1, 1);
    struct pf_network conv = shift_network;
    conv.block_kind = PF_LAYER_CONV3X3;
    PF_CLEANUP(pf_model_destroyp) struct pf_model *other = create(&conv, NULL);
    check_layer(&other->layers[3], PF_LAYER_CONV3X3, 6, 8, 54, 7, 5, 2);
}

static void parameters_lie_as_the_header_says(void **state)
{
    (void)state;
    PF_CLEANUP(pf_model_destroyp) struct pf_model *model = create(&shift_network, NULL);
    const float *next = model->parameters;
    for (size_t l = 0; l < model->n_layers; l++) {
        const struct pf_layer *layer = &model->layers[l];
        assert_ptr_equal(layer->weight, next);
        next += layer->n_weights;
        assert_ptr_equal(layer->kind == PF_LAYER_LINEAR ? layer->bias : layer->gamma, next);
        next += layer->out_channels;
        if (layer->kind == PF_LAYER_LINEAR) continue;
        assert_ptr_equal(layer->beta, next);
        next += layer->out_channels;
    }
    assert_int_equal(next - model->parameters, model->n_trained);
    for (size_t l = 0; l + 1 < model->n_layers; l++) {
        const struct pf_layer *layer = &model->layers[l];
        assert_ptr_equal(layer->mean, next);
        assert_ptr_equal(layer->variance, next + layer->out_channels);
        next += 2 * layer->out_channels;
    }
    assert_int_equal(next - model->parameters, model->n_parameters);
    /* 18 + 2·36 + 48 + 2·64 + 32 weights, 4 biases, 2·(3·6 + 3·8) scales and shifts, as many
     * statistics */
    assert_int_equal(model->n_trained, 298 + 4 + 84);
    assert_int_equal(model->n_parameters, 298 + 4 + 84 + 84);
}

static void a_new_model_is_neutral(void **state)
{
    (void)state;
    PF_CLEANUP(pf_model_destroyp) struct pf_model *model = create(&shift_network, NULL);
    assert_int_equal(pf_model_nonzeros(model), 0);
    assert_false(pf_model_is_packed(model));
    assert_int_equal(pf_model_validate(model, NULL), PF_OK);
    for (size_t c = 0; c < 3; c++) {
        assert_true(model->input_mean[c] == 0.0f);
        assert_true(model->input_std[c] == 1.0f);
    }
    for (size_t l = 0; l + 1 < model->n_layers; l++)
        for (size_t i = 0; i < model->layers[l].out_channels; i++) {
            assert_true(model->layers[l].gamma[i] == 1.0f);
            assert_true(model->layers[l].variance[i] == 1.0f);
            assert_true(model->layers[l].beta[i] == 0.0f);
            assert_true(model->layers[l].mean[i] == 0.0f);
        }
}

static void assert_network_refused(struct pf_network network, const char *because)
{
    struct pf_model *model = NULL;
    struct pf_error err = {0};
    assert_int_equal(pf_network_validate(&network, &err), PF_INVALID);
    if (strstr(err.text, because) == NULL) fail_msg("'%s' in place of '%s'", err.text, because);
    assert_int_equal(pf_model_create(&network, NULL, &model, NULL), PF_INVALID);
    assert_null(model);
}

#define REFUSED(field, value, because)             \
    do {                                           \
        struct pf_network spoilt = shift_network;  \
        spoilt.field = (value);                    \
        assert_network_refused(spoilt, (because)); \
    } while (0)

static void networks_beyond_a_limit_are_refused(void **state)
{
    (void)state;
    REFUSED(block_kind, PF_LAYER_POINTWISE, "layer type 1 is neither shift nor conv3x3");
    REFUSED(block_kind, PF_LAYER_LINEAR, "layer type 4");
    REFUSED(block_kind, (enum pf_layer_kind)0, "layer type 0");
    REFUSED(block_kind, (enum pf_layer_kind)99, "layer type 99");
    REFUSED(n_blocks, 0, "0 blocks");
    REFUSED(n_blocks, PF_MAX_BLOCKS + 1, "9 blocks");
    REFUSED(n_blocks, UINT32_MAX, "4294967295 blocks");
    REFUSED(n_blocks, 3, "block 3 has 0 filters");
    REFUSED(filters[1], 0, "block 2 has 0 filters");
    REFUSED(filters[0], PF_MAX_ROWS + 1, "block 1 has 4097 filters");
    REFUSED(layers[1], 0, "block 2 has 0 layers");
    REFUSED(layers[0], PF_MAX_LAYERS_PER_BLOCK + 1, "block 1 has 65 layers");
    REFUSED(strides[1], 0, "block 2 has stride 0");
    REFUSED(strides[0], 3, "block 1 has stride 3");
    REFUSED(in_channels, 0, "0 input channels");
    REFUSED(in_channels, PF_MAX_INPUT_CHANNELS + 1, "5 input channels");
    REFUSED(in_height, 0, "images of 0 × 5");
    REFUSED(in_height, PF_MAX_IMAGE_SIDE + 1, "images of 257 × 5");
    REFUSED(in_width, 0, "images of 7 × 0");
    REFUSED(in_width, UINT32_MAX, "images of 7 × 4294967295");
    REFUSED(n_classes, 1, "1 classes");
    REFUSED(n_classes, PF_MAX_CLASSES + 1, "1001 classes");
}

static void a_network_of_too_many_parameters_is_refused(void **state)
{
    (void)state;
    struct pf_network network = shift_network;
    network.filters[0] = network.filters[1] = 4096;
    network.layers[0] = network.layers[1] = 64;
    struct pf_model *model = NULL;
    struct pf_error err = {0};
    assert_int_equal(pf_network_validate(&network, NULL), PF_OK); /* each number is fine */
    assert_int_equal(pf_model_create(&network, NULL, &model, &err), PF_INVALID);
    assert_non_null(strstr(err.text, "more than 67108864 parameters"));
    assert_null(model);
}

static void the_largest_depth_is_accepted(void **state)
{
    (void)state;
    struct pf_network network = shift_network;
    network.n_blocks = PF_MAX_BLOCKS;
    for (size_t b = 0; b < PF_MAX_BLOCKS; b++) {
        network.filters[b] = 1;
        network.layers[b] = PF_MAX_LAYERS_PER_BLOCK;
        network.strides[b] = 2;
    }
    PF_CLEANUP(pf_model_destroyp) struct pf_model *model = create(&network, NULL);
    assert_int_equal(model->n_layers, PF_MAX_LAYERS);
    assert_int_equal(model->layers[PF_MAX_LAYERS - 2].out_height, 1); /* 7 halved to the end */
    PF_CLEANUP(pf_model_destroyp) struct pf_model *copy = NULL;
    assert_int_equal(pf_model_clone(model, &copy, NULL), PF_OK);
    assert_true(pf_model_same_shape(model, copy));
}

static void networks_are_described_and_compared(void **state)
{
    (void)state;
    char text[200], small[8];
    assert_string_equal(pf_network_describe(&shift_network, text, sizeof text),
                        "shift 6,8 × 2,3 strides 1,2, 7×5×3 → 4");
    assert_int_equal(strlen(pf_network_describe(&shift_network, small, sizeof small)), 7);
    struct pf_network same = shift_network;
    same.filters[2] = 77; /* beyond n_blocks: means nothing */
    assert_true(pf_network_equal(&shift_network, &same));
    same.strides[1] = 1;
    assert_false(pf_network_equal(&shift_network, &same));
    same = shift_network, same.n_classes = 5;
    assert_false(pf_network_equal(&shift_network, &same));
    assert_string_equal(pf_layer_kind_name(PF_LAYER_CONV3X3), "conv3x3");
    assert_string_equal(pf_layer_kind_name((enum pf_layer_kind)0), "unknown");
}

static void initial_weights_follow_from_the_seed(void **state)
{
    (void)state;
    PF_CLEANUP(pf_model_destroyp) struct pf_model *a = example(1);
    PF_CLEANUP(pf_model_destroyp) struct pf_model *b = example(1);
    PF_CLEANUP(pf_model_destroyp) struct pf_model *c = example(2);
    assert_memory_equal(a->parameters, b->parameters, a->n_parameters * sizeof(float));
    assert_true(pf_model_same_shape(a, b));
    assert_memory_not_equal(a->parameters, c->parameters, a->n_parameters * sizeof(float));
    assert_false(pf_model_same_shape(a, c)); /* other shifts */
}

/* He: variance 2 ÷ fan-in before ReLU, 1 ÷ fan-in for the classifier; shifts (.3, .4, .3). */
static void initial_weights_and_shifts_are_spread_as_promised(void **state)
{
    (void)state;
    struct pf_network network = shift_network;
    network.filters[0] = network.filters[1] = 100;
    network.n_classes = 100;
    PF_CLEANUP(pf_model_destroyp) struct pf_model *model = create(&network, NULL);
    pf_model_initialise(model, 3);
    size_t count[3] = {0}, n_shifts = 0;
    for (size_t l = 1; l < model->n_layers; l++) {
        const struct pf_layer *layer = &model->layers[l];
        double squares = 0, n = (double)layer->n_weights;
        for (size_t i = 0; i < layer->n_weights; i++)
            squares += (double)layer->weight[i] * (double)layer->weight[i] / n;
        double expected = (layer->kind == PF_LAYER_LINEAR ? 1.0 : 2.0) / layer->n_columns;
        assert_true(fabs(squares / expected - 1.0) < 5.0 * sqrt(2.0 / n));
        for (size_t c = 0; layer->shift_y != NULL && c < layer->in_channels; c++, n_shifts += 2) {
            assert_in_range(layer->shift_y[c] + 1, 0, 2);
            assert_in_range(layer->shift_x[c] + 1, 0, 2);
            count[layer->shift_y[c] + 1]++;
            count[layer->shift_x[c] + 1]++;
        }
    }
    static const double share[] = {0.3, 0.4, 0.3};
    for (size_t i = 0; i < 3; i++) {
        double n = (double)n_shifts;
        double deviation = sqrt(n * share[i] * (1.0 - share[i]));
        assert_true(fabs((double)count[i] - n * share[i]) < 5.0 * deviation);
    }
}

/* Layers 2 and 4 packed: groups of neighbouring columns, weight (r, k) kept where the row's turn
 * falls on the column. */
static struct pf_packing *striped(const struct pf_layer *layer, uint32_t alpha)
{
    uint32_t n = layer->out_channels, columns = layer->n_columns;
    float *weights = calloc((size_t)n * columns, sizeof *weights);
    uint32_t *groups = calloc(columns, sizeof *groups);
    assert_non_null(weights);
    assert_non_null(groups);
    for (uint32_t k = 0; k < columns; k++) groups[k] = k / alpha;
    for (uint32_t r = 0; r < n; r++)
        for (uint32_t k = r % alpha; k < columns; k += alpha) weights[r * columns + k] = 1;
    struct pf_packing *packing = NULL;
    assert_int_equal(pf_packing_from_dense(weights, n, columns, groups,
                                           (columns + alpha - 1) / alpha, alpha, 0.5f, &packing,
                                           NULL),
                     PF_OK);
    free(weights);
    free(groups);
    return packing;
}

static struct pf_model *packed_example(const struct pf_model *dense)
{
    const struct pf_packing *packings[PF_MAX_LAYERS] = {NULL};
    PF_CLEANUP(pf_packing_destroyp) struct pf_packing *second = striped(&dense->layers[2], 3);
    PF_CLEANUP(pf_packing_destroyp) struct pf_packing *fourth = striped(&dense->layers[4], 4);
    packings[2] = second;
    packings[4] = fourth;
    struct pf_model *packed = NULL;
    struct pf_error err = {0};
    if (pf_model_pack(dense, packings, &packed, &err) != PF_OK) fail_msg("%s", err.text);
    return packed;
}

static void assert_same_surroundings(const struct pf_model *a, const struct pf_model *b)
{
    assert_memory_equal(a->input_mean, b->input_mean, sizeof a->input_mean);
    assert_memory_equal(a->input_std, b->input_std, sizeof a->input_std);
    for (size_t l = 0; l < a->n_layers; l++) {
        const struct pf_layer *x = &a->layers[l], *y = &b->layers[l];
        size_t bytes = x->out_channels * sizeof(float);
        if (x->bias != NULL) assert_memory_equal(x->bias, y->bias, bytes);
        if (x->shift_y != NULL) assert_memory_equal(x->shift_y, y->shift_y, x->in_channels);
        if (x->shift_x != NULL) assert_memory_equal(x->shift_x, y->shift_x, x->in_channels);
        if (x->gamma == NULL) continue;
        assert_memory_equal(x->gamma, y->gamma, bytes);
        assert_memory_equal(x->beta, y->beta, bytes);
        assert_memory_equal(x->mean, y->mean, bytes);
        assert_memory_equal(x->variance, y->variance, bytes);
    }
}

static void packing_keeps_survivors_and_densifying_restores_zeros(void **state)
{
    (void)state;
    PF_CLEANUP(pf_model_destroyp) struct pf_model *dense = example(4);
    PF_CLEANUP(pf_model_destroyp) struct pf_model *packed = packed_example(dense);
    PF_CLEANUP(pf_model_destroyp) struct pf_model *back = NULL;
    assert_int_equal(pf_model_densify(packed, &back, NULL), PF_OK);
    assert_true(pf_model_is_packed(packed));
    assert_false(pf_model_is_packed(back));
    assert_int_equal(packed->layers[2].n_weights, 6 * 2);
    assert_int_equal(packed->layers[4].n_weights, 8 * 2);
    assert_int_equal(pf_model_nonzeros(packed), 298 - 36 - 64 + 12 + 16);
    assert_int_equal(pf_model_nonzeros(back), pf_model_nonzeros(packed));
    assert_same_surroundings(dense, packed);
    assert_same_surroundings(dense, back);
    for (size_t l = 0; l < dense->n_layers; l++) {
        const struct pf_layer *layer = &dense->layers[l];
        uint32_t alpha = l == 2 ? 3 : l == 4 ? 4 : 1;
        for (size_t i = 0; i < layer->n_weights; i++) {
            size_t row = i / layer->n_columns, column = i % layer->n_columns;
            float expected = column % alpha == row % alpha ? layer->weight[i] : 0.0f;
            assert_true(back->layers[l].weight[i] == expected);
        }
    }
}

static void packing_again_gives_the_same_model(void **state)
{
    (void)state;
    PF_CLEANUP(pf_model_destroyp) struct pf_model *dense = example(4);
    PF_CLEANUP(pf_model_destroyp) struct pf_model *packed = packed_example(dense);
    PF_CLEANUP(pf_model_destroyp) struct pf_model *back = NULL;
    assert_int_equal(pf_model_densify(packed, &back, NULL), PF_OK);
    PF_CLEANUP(pf_model_destroyp) struct pf_model *again = packed_example(back);
    assert_true(pf_model_same_shape(packed, again));
    assert_int_equal(packed->n_parameters, again->n_parameters);
    assert_memory_equal(packed->parameters, again->parameters,
                        packed->n_parameters * sizeof(float));
    struct pf_model *twice = NULL;
    struct pf_error err = {0};
    assert_int_equal(pf_model_pack(packed, NULL, &twice, &err), PF_INVALID);
    assert_string_equal(err.text, "layer 2 is packed already: densify first");
    assert_null(twice);
}

static void packings_that_do_not_belong_are_refused(void **state)
{
    (void)state;
    PF_CLEANUP(pf_model_destroyp) struct pf_model *dense = example(4);
    PF_CLEANUP(pf_packing_destroyp) struct pf_packing *packing = striped(&dense->layers[2], 3);
    struct pf_model *model = NULL;
    struct pf_error err = {0};
    static const struct {
        size_t layer;
        const char *because;
    } wrong[] = {{0, "layer 0 (pointwise) stays dense"},
                 {6, "layer 6 (linear) stays dense"},
                 {4, "layer 4 is 8 × 8 but its packing 6 × 6"},
                 {3, "layer 3 is 8 × 6 but its packing 6 × 6"}};
    for (size_t i = 0; i < PF_ARRAY_LENGTH(wrong); i++) {
        const struct pf_packing *packings[7] = {NULL};
        packings[wrong[i].layer] = packing;
        assert_int_equal(pf_model_create(&shift_network, packings, &model, &err), PF_INVALID);
        assert_non_null(strstr(err.text, wrong[i].because));
        assert_int_equal(pf_model_pack(dense, packings, &model, &err), PF_INVALID);
    }
    PF_CLEANUP(pf_packing_destroyp) struct pf_packing *wide = striped(&dense->layers[4], 3);
    const struct pf_packing *packings[7] = {NULL, NULL, packing, wide};
    assert_int_equal(pf_model_create(&shift_network, packings, &model, &err), PF_INVALID);
    assert_non_null(strstr(err.text, "layer 3 is 8 × 6 but its packing 8 × 8"));
    packing->alpha = 0;
    assert_int_equal(pf_model_create(&shift_network, packings, &model, &err), PF_INVALID);
    assert_non_null(strstr(err.text, "alpha = 0"));
    assert_null(model);
}

static void a_clone_is_equal_and_deep(void **state)
{
    (void)state;
    PF_CLEANUP(pf_model_destroyp) struct pf_model *dense = example(5);
    struct pf_model *packed = packed_example(dense);
    PF_CLEANUP(pf_model_destroyp) struct pf_model *copy = NULL;
    assert_int_equal(pf_model_clone(packed, &copy, NULL), PF_OK);
    assert_true(pf_model_same_shape(packed, copy));
    assert_same_surroundings(packed, copy);
    assert_memory_equal(packed->parameters, copy->parameters, copy->n_parameters * sizeof(float));
    /* Spoil and release the original: the copy must not notice. */
    float weight = copy->layers[2].weight[0];
    int8_t shift = copy->layers[1].shift_y[0];
    for (size_t i = 0; i < packed->n_parameters; i++) packed->parameters[i] = NAN;
    packed->layers[1].shift_y[0] = 7;
    packed->layers[2].packing->column[0] = UINT32_MAX;
    packed->layers[4].packing->group_of_column[0] = 99;
    pf_model_destroy(packed);
    assert_true(copy->layers[2].weight[0] == weight);
    assert_int_equal(copy->layers[1].shift_y[0], shift);
    struct pf_error err = {0};
    if (pf_model_validate(copy, &err) != PF_OK) fail_msg("%s", err.text);
}

static void shape_is_network_packing_and_shifts(void **state)
{
    (void)state;
    PF_CLEANUP(pf_model_destroyp) struct pf_model *dense = example(5);
    PF_CLEANUP(pf_model_destroyp) struct pf_model *a = packed_example(dense);
    PF_CLEANUP(pf_model_destroyp) struct pf_model *b = packed_example(dense);
    assert_true(pf_model_same_shape(a, b));
    assert_false(pf_model_same_shape(a, dense));
    assert_false(pf_model_same_shape(dense, a));
    b->parameters[0] += 1.0f;
    b->input_mean[0] += 1.0f;
    assert_true(pf_model_same_shape(a, b));
    b->layers[5].shift_x[7] = b->layers[5].shift_x[7] == 0;
    assert_false(pf_model_same_shape(a, b));
    b->layers[5].shift_x[7] = a->layers[5].shift_x[7];
    b->layers[4].packing->column[3] ^= 1;
    assert_false(pf_model_same_shape(a, b));
    b->layers[4].packing->column[3] ^= 1;
    assert_true(pf_model_same_shape(a, b));
    b->network.n_classes++;
    assert_false(pf_model_same_shape(a, b));
}

static void assert_invalid(struct pf_model *model, const char *because)
{
    struct pf_error err = {0};
    assert_int_equal(pf_model_validate(model, &err), PF_INVALID);
    if (strstr(err.text, because) == NULL) fail_msg("'%s' in place of '%s'", err.text, because);
}

static void every_broken_model_is_refused(void **state)
{
    (void)state;
    PF_CLEANUP(pf_model_destroyp) struct pf_model *dense = example(6);
    PF_CLEANUP(pf_model_destroyp) struct pf_model *model = packed_example(dense);
    static const float not_finite[] = {NAN, INFINITY, -INFINITY};
    assert_int_equal(pf_model_validate(model, NULL), PF_OK);
    for (size_t i = 0; i < model->n_trained; i++) {
        float saved = model->parameters[i];
        model->parameters[i] = not_finite[i % 3];
        assert_invalid(model, "is not finite");
        model->parameters[i] = saved;
    }
    model->layers[3].mean[2] = NAN;
    assert_invalid(model, "is not finite");
    model->layers[3].mean[2] = 0;
    model->layers[3].variance[2] = -1e-6f;
    assert_invalid(model, "layer 3 has a negative variance in row 2");
    model->layers[3].variance[2] = NAN;
    assert_invalid(model, "layer 3");
    model->layers[3].variance[2] = 0; /* a dead channel is allowed */
    assert_int_equal(pf_model_validate(model, NULL), PF_OK);
    model->layers[5].shift_y[3] = 2;
    assert_invalid(model, "layer 5 shifts channel 3 by more than a pixel");
    model->layers[5].shift_y[3] = -2;
    assert_invalid(model, "layer 5 shifts channel 3");
    model->layers[5].shift_y[3] = -1, model->layers[5].shift_x[0] = INT8_MIN;
    assert_invalid(model, "layer 5 shifts channel 0");
    model->layers[5].shift_x[0] = 2;
    assert_invalid(model, "layer 5 shifts channel 0");
    model->layers[5].shift_x[0] = 1;
    model->layers[4].packing->column[0] = 77;
    assert_invalid(model, "packing: row 0 names column 77 of 8");
    model->layers[4].packing->column[0] = 0;
    static const float bad_std[] = {0.0f, -1.0f, NAN, INFINITY};
    for (size_t i = 0; i < PF_ARRAY_LENGTH(bad_std); i++) {
        model->input_std[1] = bad_std[i];
        assert_invalid(model, "input channel 1 has no usable mean and deviation");
    }
    model->input_std[1] = 1.0f, model->input_mean[2] = NAN;
    assert_invalid(model, "input channel 2");
    model->input_mean[2] = 0, model->network.n_classes = 0;
    assert_invalid(model, "0 classes");
    model->network.n_classes = 4;
    assert_int_equal(pf_model_validate(model, NULL), PF_OK);
}

static void alpha_follows_the_block_before_at_its_first_layer(void **state)
{
    (void)state;
    PF_CLEANUP(pf_model_destroyp) struct pf_model *model = create(&shift_network, NULL);
    static const uint32_t alpha[] = {4, 8}, expected[] = {1, 4, 4, 4, 8, 8, 1};
    for (size_t l = 0; l < 7; l++)
        assert_int_equal(pf_model_layer_alpha(model, l, alpha), expected[l]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(layers_have_the_shapes_of_the_network),
        cmocka_unit_test(parameters_lie_as_the_header_says),
        cmocka_unit_test(a_new_model_is_neutral),
        cmocka_unit_test(networks_beyond_a_limit_are_refused),
        cmocka_unit_test(a_network_of_too_many_parameters_is_refused),
        cmocka_unit_test(the_largest_depth_is_accepted),
        cmocka_unit_test(networks_are_described_and_compared),
        cmocka_unit_test(initial_weights_follow_from_the_seed),
        cmocka_unit_test(initial_weights_and_shifts_are_spread_as_promised),
        cmocka_unit_test(packing_keeps_survivors_and_densifying_restores_zeros),
        cmocka_unit_test(packing_again_gives_the_same_model),
        cmocka_unit_test(packings_that_do_not_belong_are_refused),
        cmocka_unit_test(a_clone_is_equal_and_deep),
        cmocka_unit_test(shape_is_network_packing_and_shifts),
        cmocka_unit_test(every_broken_model_is_refused),
        cmocka_unit_test(alpha_follows_the_block_before_at_its_first_layer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
