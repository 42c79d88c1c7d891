/* Reads the body of a model file.
 *
 * The order matters: protobuf-c first turns the bytes into counted arrays of bounded size; then
 * every count is compared with what the network asks for; only then is memory of the model's size
 * allocated, which by that time is known to be no more than the file already holds. */
#include <assert.h>
#include <string.h>

#include "common/base/memory.h"
#include "proto/model_codec.h"
#include "proto/network_codec.h"
#include "proto/unpack.h"

/* What the walk through the network's layers has found. */
struct expected {
    const Packfed__Model *from;
    size_t n_parameters;
    struct pf_packing *packings[PF_MAX_LAYERS]; /* owned */
};

static void finish_expected(struct expected *self)
{
    for (size_t l = 0; l < PF_MAX_LAYERS; l++) pf_packing_destroy(self->packings[l]);
}

static enum pf_status decode_packing(const Packfed__Packing *from, size_t l,
                                     struct pf_packing **packing, struct pf_error *err)
{
    if (from->n_rows > PF_MAX_ROWS || from->n_columns > PF_MAX_COLUMNS ||
        from->n_group_of_column != from->n_columns || from->n_row_length != from->n_rows)
        return pf_fail(err, PF_CORRUPT,
                       "layer %zu: a packing of %u × %u with %zu groups and %zu row lengths", l,
                       from->n_rows, from->n_columns, from->n_group_of_column, from->n_row_length);
    if (from->n_column > (size_t)from->n_rows * from->n_columns)
        return pf_fail(err, PF_CORRUPT, "layer %zu: a packing of %u × %u with %zu survivors", l,
                       from->n_rows, from->n_columns, from->n_column);
    PF_CLEANUP(pf_packing_destroyp) struct pf_packing *self = NULL;
    PF_TRY(pf_packing_create(from->n_rows, from->n_columns, from->n_groups, from->alpha,
                             from->gamma, (uint32_t)from->n_column, &self, err));
    for (size_t k = 0; k < from->n_columns; k++)
        self->group_of_column[k] = from->group_of_column[k] - 1; /* 0 wraps to PF_NO_GROUP */
    for (size_t r = 0; r < from->n_rows; r++) {
        if (from->row_length[r] > self->n_weights - self->row_start[r])
            return pf_fail(err, PF_CORRUPT,
                           "layer %zu: the rows of its packing hold more than %u "
                           "survivors",
                           l, self->n_weights);
        self->row_start[r + 1] = self->row_start[r] + from->row_length[r];
    }
    if (from->n_column > 0) memcpy(self->column, from->column, from->n_column * sizeof(uint32_t));
    PF_TRY(pf_packing_validate(self, err));
    *packing = self;
    self = NULL;
    return PF_OK;
}

/* Checks one layer of N × K cells behind in_channels channels and counts its parameters. */
static enum pf_status expect_layer(struct expected *self, size_t l, enum pf_layer_kind kind,
                                   uint32_t in_channels, uint32_t n_rows, struct pf_error *err)
{
    const Packfed__Layer *from = self->from->layers[l];
    size_t n_shifts = kind == PF_LAYER_SHIFT ? in_channels : 0;
    if (from->shift.len != n_shifts)
        return pf_fail(err, PF_CORRUPT, "layer %zu: shifts of %zu channels instead of %zu", l,
                       from->shift.len, n_shifts);
    size_t n_columns = kind == PF_LAYER_CONV3X3 ? (size_t)9 * in_channels : in_channels;
    size_t n_weights = n_rows * n_columns;
    if (from->packing != NULL) {
        if (kind == PF_LAYER_POINTWISE || kind == PF_LAYER_LINEAR)
            return pf_fail(err, PF_CORRUPT, "layer %zu: stays dense and takes no packing", l);
        PF_TRY(decode_packing(from->packing, l, &self->packings[l], err));
        assert(self->packings[l] != NULL);
        if (self->packings[l]->n_rows != n_rows || self->packings[l]->n_columns != n_columns)
            return pf_fail(err, PF_CORRUPT, "layer %zu: is %u × %zu but its packing %u × %u", l,
                           n_rows, n_columns, self->packings[l]->n_rows,
                           self->packings[l]->n_columns);
        n_weights = self->packings[l]->n_weights;
    }
    /* Each term ≤ 4096 · 36864 + 4 · 4096, at most 514 of them: no overflow in 64 bits. */
    self->n_parameters += n_weights + (kind == PF_LAYER_LINEAR ? 1u : 4u) * (size_t)n_rows;
    return PF_OK;
}

static enum pf_status expect_model(struct expected *self, const struct pf_network *network,
                                   struct pf_error *err)
{
    const Packfed__Model *from = self->from;
    if (from->n_input_mean != network->in_channels || from->n_input_std != network->in_channels)
        return pf_fail(err, PF_CORRUPT, "%zu input means and %zu deviations for %u channels",
                       from->n_input_mean, from->n_input_std, network->in_channels);
    if (from->n_layers != pf_network_n_layers(network))
        return pf_fail(err, PF_CORRUPT, "%zu layers instead of %zu", from->n_layers,
                       pf_network_n_layers(network));
    size_t l = 0;
    uint32_t channels = network->filters[0];
    PF_TRY(expect_layer(self, l++, PF_LAYER_POINTWISE, network->in_channels, channels, err));
    for (uint32_t b = 0; b < network->n_blocks; b++)
        for (uint32_t i = 0; i < network->layers[b]; i++) {
            PF_TRY(
                expect_layer(self, l++, network->block_kind, channels, network->filters[b], err));
            channels = network->filters[b];
        }
    PF_TRY(expect_layer(self, l++, PF_LAYER_LINEAR, channels, network->n_classes, err));
    if (from->n_parameters != self->n_parameters || self->n_parameters > PF_MAX_PARAMETERS)
        return pf_fail(err, PF_CORRUPT, "%zu parameters instead of %zu, at most %zu",
                       from->n_parameters, self->n_parameters, PF_MAX_PARAMETERS);
    return PF_OK;
}

static void fill_model(struct pf_model *to, const Packfed__Model *from)
{
    memcpy(to->input_mean, from->input_mean, from->n_input_mean * sizeof(float));
    memcpy(to->input_std, from->input_std, from->n_input_std * sizeof(float));
    memcpy(to->parameters, from->parameters, from->n_parameters * sizeof(float));
    for (size_t l = 0; l < to->n_layers; l++) {
        struct pf_layer *layer = &to->layers[l];
        const uint8_t *shift = from->layers[l]->shift.data;
        /* 0 … 255 fit an int8_t so divided; pf_model_validate refuses what is above 8. */
        for (size_t c = 0; layer->shift_y != NULL && c < layer->in_channels; c++) {
            layer->shift_y[c] = (int8_t)(shift[c] / 3 - 1);
            layer->shift_x[c] = (int8_t)(shift[c] % 3 - 1);
        }
    }
}

static enum pf_status decode(const uint8_t *bytes, size_t length, struct pf_model **model,
                             struct pf_error *err)
{
    PF_CLEANUP(pf_unpacked_freep)
    ProtobufCMessage *message = pf_unpack(&packfed__model__descriptor, bytes, length);
    if (message == NULL) return pf_fail(err, PF_CORRUPT, "the body is not a model message");
    const Packfed__Model *from = (const Packfed__Model *)message;
    struct pf_network network;
    PF_TRY(pf_network_from_proto(from->network, &network, err));
    PF_CLEANUP(finish_expected) struct expected expected = {.from = from};
    PF_TRY(expect_model(&expected, &network, err));
    PF_CLEANUP(pf_model_destroyp) struct pf_model *self = NULL;
    PF_TRY(
        pf_model_create(&network, (const struct pf_packing *const *)expected.packings, &self, err));
    if (self->n_parameters != from->n_parameters)
        return pf_fail(err, PF_CORRUPT, "%zu parameters instead of %zu", from->n_parameters,
                       self->n_parameters);
    fill_model(self, from);
    PF_TRY(pf_model_validate(self, err));
    *model = self;
    self = NULL;
    return PF_OK;
}

/* One model, one sequence of bytes: otherwise a hash would not name it. */
static enum pf_status check_canonical(const struct pf_model *model, const uint8_t *bytes,
                                      size_t length, struct pf_error *err)
{
    PF_CLEANUP(pf_buffer_finish) struct pf_buffer again = {0};
    PF_TRY(pf_model_body_encode(model, &again, err));
    if (again.length != length || memcmp(again.bytes, bytes, length) != 0)
        return pf_fail(err, PF_CORRUPT, "the body is not in the canonical encoding");
    return PF_OK;
}

enum pf_status pf_model_body_decode(const uint8_t *bytes, size_t length, struct pf_model **model,
                                    struct pf_error *err)
{
    PF_CLEANUP(pf_model_destroyp) struct pf_model *self = NULL;
    enum pf_status status = decode(bytes, length, &self, err);
    if (status == PF_OK) status = check_canonical(self, bytes, length, err);
    if (status == PF_INVALID) { /* broken rules of a model are broken bytes here */
        status = PF_CORRUPT;
        if (err != NULL) err->status = status;
    }
    if (status != PF_OK) return status;
    *model = self;
    self = NULL;
    return PF_OK;
}
