#include "common/model/model.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/base/random.h"

const char *pf_layer_kind_name(enum pf_layer_kind kind)
{
    switch (kind) {
    case PF_LAYER_POINTWISE: return "pointwise";
    case PF_LAYER_SHIFT: return "shift";
    case PF_LAYER_CONV3X3: return "conv3x3";
    case PF_LAYER_LINEAR: return "linear";
    }
    return "unknown";
}

static enum pf_status validate_block(const struct pf_network *self, uint32_t b,
                                     struct pf_error *err)
{
    if (self->filters[b] == 0 || self->filters[b] > PF_MAX_ROWS)
        return pf_fail(err, PF_INVALID, "network: block %u has %u filters; give 1 to %u", b + 1,
                       self->filters[b], PF_MAX_ROWS);
    if (self->layers[b] == 0 || self->layers[b] > PF_MAX_LAYERS_PER_BLOCK)
        return pf_fail(err, PF_INVALID, "network: block %u has %u layers; give 1 to %u", b + 1,
                       self->layers[b], PF_MAX_LAYERS_PER_BLOCK);
    if (self->strides[b] != 1 && self->strides[b] != 2)
        return pf_fail(err, PF_INVALID, "network: block %u has stride %u; give 1 or 2", b + 1,
                       self->strides[b]);
    return PF_OK;
}

enum pf_status pf_network_validate(const struct pf_network *self, struct pf_error *err)
{
    if (self->block_kind != PF_LAYER_SHIFT && self->block_kind != PF_LAYER_CONV3X3)
        return pf_fail(err, PF_INVALID, "network: layer type %d is neither shift nor conv3x3",
                       (int)self->block_kind);
    if (self->n_blocks == 0 || self->n_blocks > PF_MAX_BLOCKS)
        return pf_fail(err, PF_INVALID, "network: %u blocks; give 1 to %u", self->n_blocks,
                       PF_MAX_BLOCKS);
    for (uint32_t b = 0; b < self->n_blocks; b++) PF_TRY(validate_block(self, b, err));
    if (self->in_channels == 0 || self->in_channels > PF_MAX_INPUT_CHANNELS)
        return pf_fail(err, PF_INVALID, "network: %u input channels; 1 to %u are supported",
                       self->in_channels, PF_MAX_INPUT_CHANNELS);
    if (self->in_height == 0 || self->in_height > PF_MAX_IMAGE_SIDE || self->in_width == 0 ||
        self->in_width > PF_MAX_IMAGE_SIDE)
        return pf_fail(err, PF_INVALID, "network: images of %u × %u; 1 to %u pixels a side",
                       self->in_height, self->in_width, PF_MAX_IMAGE_SIDE);
    if (self->n_classes < 2 || self->n_classes > PF_MAX_CLASSES)
        return pf_fail(err, PF_INVALID, "network: %u classes; 2 to %u are supported",
                       self->n_classes, PF_MAX_CLASSES);
    return PF_OK;
}

bool pf_network_equal(const struct pf_network *a, const struct pf_network *b)
{
    bool equal = a->block_kind == b->block_kind && a->n_blocks == b->n_blocks &&
                 a->in_channels == b->in_channels && a->in_height == b->in_height &&
                 a->in_width == b->in_width && a->n_classes == b->n_classes;
    for (uint32_t i = 0; equal && i < a->n_blocks; i++)
        equal = a->filters[i] == b->filters[i] && a->layers[i] == b->layers[i] &&
                a->strides[i] == b->strides[i];
    return equal;
}

static void describe_list(char *out, size_t size, const uint32_t *values, uint32_t n)
{
    size_t used = 0;
    for (uint32_t i = 0; i < n && used < size; i++)
        used += (size_t)snprintf(out + used, size - used, i > 0 ? ",%u" : "%u", values[i]);
}

const char *pf_network_describe(const struct pf_network *self, char *out, size_t size)
{
    char filters[96], layers[96], strides[96];
    describe_list(filters, sizeof filters, self->filters, self->n_blocks);
    describe_list(layers, sizeof layers, self->layers, self->n_blocks);
    describe_list(strides, sizeof strides, self->strides, self->n_blocks);
    snprintf(out, size, "%s %s × %s strides %s, %u×%u×%u → %u",
             pf_layer_kind_name(self->block_kind), filters, layers, strides, self->in_height,
             self->in_width, self->in_channels, self->n_classes);
    return out;
}

size_t pf_network_n_layers(const struct pf_network *network)
{
    size_t n = 2;
    for (uint32_t b = 0; b < network->n_blocks; b++) n += network->layers[b];
    return n;
}

/* Fills in kinds and sizes of all layers. */
static void lay_out(struct pf_model *self)
{
    const struct pf_network *net = &self->network;
    size_t l = 0;
    uint32_t channels = net->filters[0], height = net->in_height, width = net->in_width;
    self->layers[l++] = (struct pf_layer){.kind = PF_LAYER_POINTWISE,
                                          .in_channels = net->in_channels,
                                          .out_channels = channels,
                                          .n_columns = net->in_channels,
                                          .in_height = height,
                                          .in_width = width,
                                          .out_height = height,
                                          .out_width = width,
                                          .stride = 1};
    for (uint32_t b = 0; b < net->n_blocks; b++) {
        for (uint32_t i = 0; i < net->layers[b]; i++) {
            uint32_t stride = i == 0 ? net->strides[b] : 1;
            struct pf_layer *layer = &self->layers[l++];
            *layer = (struct pf_layer){
                .kind = net->block_kind,
                .block = b,
                .first_of_block = i == 0,
                .in_channels = channels,
                .out_channels = net->filters[b],
                .n_columns = net->block_kind == PF_LAYER_CONV3X3 ? 9 * channels : channels,
                .in_height = height,
                .in_width = width,
                .out_height = (height + stride - 1) / stride,
                .out_width = (width + stride - 1) / stride,
                .stride = stride};
            channels = layer->out_channels;
            height = layer->out_height;
            width = layer->out_width;
        }
    }
    self->layers[l++] = (struct pf_layer){.kind = PF_LAYER_LINEAR,
                                          .block = net->n_blocks - 1,
                                          .in_channels = channels,
                                          .out_channels = net->n_classes,
                                          .n_columns = channels,
                                          .in_height = 1,
                                          .in_width = 1,
                                          .out_height = 1,
                                          .out_width = 1,
                                          .stride = 1};
}

static enum pf_status adopt_packing(struct pf_layer *layer, size_t l,
                                    const struct pf_packing *packing, struct pf_error *err)
{
    if (layer->kind != PF_LAYER_SHIFT && layer->kind != PF_LAYER_CONV3X3)
        return pf_fail(err, PF_INVALID, "layer %zu (%s) stays dense and takes no packing", l,
                       pf_layer_kind_name(layer->kind));
    if (packing->n_rows != layer->out_channels || packing->n_columns != layer->n_columns)
        return pf_fail(err, PF_INVALID, "layer %zu is %u × %u but its packing %u × %u", l,
                       layer->out_channels, layer->n_columns, packing->n_rows, packing->n_columns);
    PF_TRY(pf_packing_validate(packing, err));
    return pf_packing_clone(packing, &layer->packing, err);
}

static enum pf_status add_parameters(size_t *total, size_t n, struct pf_error *err)
{
    *total += n; /* each n ≤ 4096 · 36864 and at most 514 layers: no overflow in 64 bits */
    if (*total > PF_MAX_PARAMETERS)
        return pf_fail(err, PF_INVALID, "network: more than %zu parameters; use fewer filters",
                       PF_MAX_PARAMETERS);
    return PF_OK;
}

/* Gives the layers their places in one array. */
static enum pf_status allocate_parameters(struct pf_model *self, struct pf_error *err)
{
    size_t total = 0;
    for (size_t l = 0; l < self->n_layers; l++) {
        struct pf_layer *layer = &self->layers[l];
        size_t n = layer->out_channels;
        layer->n_weights =
            layer->packing != NULL ? layer->packing->n_weights : n * layer->n_columns;
        PF_TRY(add_parameters(&total, layer->n_weights + 4 * n, err));
    }
    self->parameters = PF_ALLOC(total, float);
    if (self->parameters == NULL) return pf_no_memory(err, "the parameters of a model");
    float *next = self->parameters;
    for (size_t l = 0; l < self->n_layers; l++) {
        struct pf_layer *layer = &self->layers[l];
        layer->weight = next;
        next += layer->n_weights;
        if (layer->kind == PF_LAYER_LINEAR) {
            layer->bias = next;
            next += layer->out_channels;
        } else {
            layer->gamma = next;
            layer->beta = next + layer->out_channels;
            next += 2 * (size_t)layer->out_channels;
        }
    }
    self->n_trained = (size_t)(next - self->parameters);
    for (size_t l = 0; l < self->n_layers; l++) {
        struct pf_layer *layer = &self->layers[l];
        if (layer->kind == PF_LAYER_LINEAR) continue;
        layer->mean = next;
        layer->variance = next + layer->out_channels;
        next += 2 * (size_t)layer->out_channels;
        for (size_t i = 0; i < layer->out_channels; i++)
            layer->gamma[i] = layer->variance[i] = 1.0f;
    }
    self->n_parameters = (size_t)(next - self->parameters);
    return PF_OK;
}

static enum pf_status allocate_shifts(struct pf_model *self, struct pf_error *err)
{
    for (size_t l = 0; l < self->n_layers; l++) {
        struct pf_layer *layer = &self->layers[l];
        if (layer->kind != PF_LAYER_SHIFT) continue;
        layer->shift_y = PF_ALLOC(layer->in_channels, int8_t);
        layer->shift_x = PF_ALLOC(layer->in_channels, int8_t);
        if (layer->shift_y == NULL || layer->shift_x == NULL)
            return pf_no_memory(err, "the shifts of a layer");
    }
    return PF_OK;
}

enum pf_status pf_model_create(const struct pf_network *network,
                               const struct pf_packing *const *packings, struct pf_model **model,
                               struct pf_error *err)
{
    PF_TRY(pf_network_validate(network, err));
    PF_CLEANUP(pf_model_destroyp) struct pf_model *self = PF_ALLOC(1, struct pf_model);
    if (self == NULL) return pf_no_memory(err, "a model");
    self->network = *network;
    for (size_t c = 0; c < PF_MAX_INPUT_CHANNELS; c++) self->input_std[c] = 1.0f;
    self->n_layers = pf_network_n_layers(network);
    self->layers = PF_ALLOC(self->n_layers, struct pf_layer);
    if (self->layers == NULL) return pf_no_memory(err, "the layers of a model");
    lay_out(self);
    for (size_t l = 0; packings != NULL && l < self->n_layers; l++)
        if (packings[l] != NULL) PF_TRY(adopt_packing(&self->layers[l], l, packings[l], err));
    PF_TRY(allocate_shifts(self, err));
    PF_TRY(allocate_parameters(self, err));
    *model = self;
    self = NULL;
    return PF_OK;
}

void pf_model_destroy(struct pf_model *self)
{
    if (self == NULL) return;
    for (size_t l = 0; self->layers != NULL && l < self->n_layers; l++) {
        pf_packing_destroy(self->layers[l].packing);
        pf_free(self->layers[l].shift_y);
        pf_free(self->layers[l].shift_x);
    }
    pf_free(self->layers);
    pf_free(self->parameters);
    pf_free(self);
}

/* Everything but weights: input scaling, shifts, biases, batch norm. */
static void copy_surroundings(struct pf_model *to, const struct pf_model *from)
{
    memcpy(to->input_mean, from->input_mean, sizeof to->input_mean);
    memcpy(to->input_std, from->input_std, sizeof to->input_std);
    for (size_t l = 0; l < to->n_layers; l++) {
        struct pf_layer *a = &to->layers[l];
        const struct pf_layer *b = &from->layers[l];
        size_t bytes = a->out_channels * sizeof(float);
        if (a->shift_y != NULL) {
            memcpy(a->shift_y, b->shift_y, a->in_channels);
            memcpy(a->shift_x, b->shift_x, a->in_channels);
        }
        if (a->kind == PF_LAYER_LINEAR) {
            memcpy(a->bias, b->bias, bytes);
            continue;
        }
        memcpy(a->gamma, b->gamma, bytes);
        memcpy(a->beta, b->beta, bytes);
        memcpy(a->mean, b->mean, bytes);
        memcpy(a->variance, b->variance, bytes);
    }
}

/* out receives one pointer per layer; n_layers ≤ PF_MAX_LAYERS. */
static void list_packings(const struct pf_model *self, const struct pf_packing **out)
{
    for (size_t l = 0; l < self->n_layers; l++) out[l] = self->layers[l].packing;
}

enum pf_status pf_model_clone(const struct pf_model *self, struct pf_model **copy,
                              struct pf_error *err)
{
    const struct pf_packing *packings[PF_MAX_LAYERS];
    list_packings(self, packings);
    struct pf_model *clone = NULL;
    PF_TRY(pf_model_create(&self->network, packings, &clone, err));
    copy_surroundings(clone, self);
    memcpy(clone->parameters, self->parameters, self->n_parameters * sizeof(float));
    *copy = clone;
    return PF_OK;
}

static int8_t draw_shift(struct pf_random *random)
{
    double u = pf_random_uniform(random);
    return u < 0.3 ? -1 : u < 0.7 ? 0 : 1;
}

void pf_model_initialise(struct pf_model *self, uint64_t seed)
{
    for (size_t l = 0; l < self->n_layers; l++) {
        struct pf_layer *layer = &self->layers[l];
        struct pf_random random;
        pf_random_init(&random, seed, "weights", l);
        double fan = layer->kind == PF_LAYER_LINEAR ? (double)layer->n_columns
                                                    : (double)layer->n_columns / 2.0;
        double scale = 1.0 / sqrt(fan);
        for (size_t i = 0; i < layer->n_weights; i++)
            layer->weight[i] = (float)(scale * pf_random_normal(&random));
        if (layer->kind != PF_LAYER_SHIFT) continue;
        pf_random_init(&random, seed, "shifts", l);
        for (size_t c = 0; c < layer->in_channels; c++) {
            layer->shift_y[c] = draw_shift(&random);
            layer->shift_x[c] = draw_shift(&random);
        }
    }
}

void pf_layer_dense_weights(const struct pf_layer *layer, float *out)
{
    const struct pf_packing *packing = layer->packing;
    size_t n = (size_t)layer->out_channels * layer->n_columns;
    if (packing == NULL) {
        memcpy(out, layer->weight, n * sizeof *out);
        return;
    }
    memset(out, 0, n * sizeof *out);
    for (size_t r = 0; r < packing->n_rows; r++)
        for (uint32_t i = packing->row_start[r]; i < packing->row_start[r + 1]; i++)
            out[r * packing->n_columns + packing->column[i]] = layer->weight[i];
}

enum pf_status pf_model_densify(const struct pf_model *self, struct pf_model **dense,
                                struct pf_error *err)
{
    struct pf_model *result = NULL;
    PF_TRY(pf_model_create(&self->network, NULL, &result, err));
    copy_surroundings(result, self);
    for (size_t l = 0; l < self->n_layers; l++)
        pf_layer_dense_weights(&self->layers[l], result->layers[l].weight);
    *dense = result;
    return PF_OK;
}

enum pf_status pf_model_pack(const struct pf_model *dense, const struct pf_packing *const *packings,
                             struct pf_model **packed, struct pf_error *err)
{
    for (size_t l = 0; l < dense->n_layers; l++)
        if (dense->layers[l].packing != NULL)
            return pf_fail(err, PF_INVALID, "layer %zu is packed already: densify first", l);
    struct pf_model *result = NULL;
    PF_TRY(pf_model_create(&dense->network, packings, &result, err));
    copy_surroundings(result, dense);
    for (size_t l = 0; l < dense->n_layers; l++) {
        const struct pf_layer *from = &dense->layers[l];
        struct pf_layer *to = &result->layers[l];
        const struct pf_packing *packing = to->packing;
        if (packing == NULL) {
            memcpy(to->weight, from->weight, from->n_weights * sizeof(float));
            continue;
        }
        for (size_t r = 0; r < packing->n_rows; r++)
            for (uint32_t i = packing->row_start[r]; i < packing->row_start[r + 1]; i++)
                to->weight[i] = from->weight[r * packing->n_columns + packing->column[i]];
    }
    *packed = result;
    return PF_OK;
}

bool pf_model_same_shape(const struct pf_model *a, const struct pf_model *b)
{
    if (!pf_network_equal(&a->network, &b->network)) return false;
    for (size_t l = 0; l < a->n_layers; l++) {
        const struct pf_layer *x = &a->layers[l], *y = &b->layers[l];
        if ((x->packing == NULL) != (y->packing == NULL)) return false;
        if (x->packing != NULL && !pf_packing_equal(x->packing, y->packing)) return false;
        if (x->shift_y != NULL && (memcmp(x->shift_y, y->shift_y, x->in_channels) != 0 ||
                                   memcmp(x->shift_x, y->shift_x, x->in_channels) != 0))
            return false;
    }
    return true;
}

static enum pf_status validate_layer(const struct pf_layer *layer, size_t l, struct pf_error *err)
{
    if (layer->packing != NULL) PF_TRY(pf_packing_validate(layer->packing, err));
    for (size_t c = 0; layer->shift_y != NULL && c < layer->in_channels; c++)
        if (layer->shift_y[c] < -1 || layer->shift_y[c] > 1 || layer->shift_x[c] < -1 ||
            layer->shift_x[c] > 1)
            return pf_fail(err, PF_INVALID, "layer %zu shifts channel %zu by more than a pixel", l,
                           c);
    for (size_t i = 0; layer->variance != NULL && i < layer->out_channels; i++)
        if (!(layer->variance[i] >= 0.0f))
            return pf_fail(err, PF_INVALID, "layer %zu has a negative variance in row %zu", l, i);
    return PF_OK;
}

enum pf_status pf_model_validate(const struct pf_model *self, struct pf_error *err)
{
    PF_TRY(pf_network_validate(&self->network, err));
    for (size_t l = 0; l < self->n_layers; l++) PF_TRY(validate_layer(&self->layers[l], l, err));
    for (size_t i = 0; i < self->n_parameters; i++)
        if (!isfinite(self->parameters[i]))
            return pf_fail(err, PF_INVALID, "parameter %zu of the model is not finite", i);
    for (size_t c = 0; c < self->network.in_channels; c++)
        if (!isfinite(self->input_mean[c]) || !isfinite(self->input_std[c]) ||
            !(self->input_std[c] > 0.0f))
            return pf_fail(err, PF_INVALID, "input channel %zu has no usable mean and deviation",
                           c);
    return PF_OK;
}

bool pf_model_is_packed(const struct pf_model *self)
{
    for (size_t l = 0; l < self->n_layers; l++)
        if (self->layers[l].packing != NULL) return true;
    return false;
}

size_t pf_model_nonzeros(const struct pf_model *self)
{
    size_t n = 0;
    for (size_t l = 0; l < self->n_layers; l++)
        for (size_t i = 0; i < self->layers[l].n_weights; i++)
            n += self->layers[l].weight[i] != 0.0f;
    return n;
}

uint32_t pf_model_layer_alpha(const struct pf_model *self, size_t layer, const uint32_t *alpha)
{
    const struct pf_layer *l = &self->layers[layer];
    if (l->kind == PF_LAYER_POINTWISE || l->kind == PF_LAYER_LINEAR) return 1;
    return alpha[l->first_of_block && l->block > 0 ? l->block - 1 : l->block];
}
