/* Writes the body of a model file.  protobuf-c writes fields by ascending number and leaves out
 * defaults, so that equal models give equal bytes. */
#include <string.h>

#include "common/base/memory.h"
#include "proto/model_codec.h"
#include "proto/network_codec.h"

/* The protobuf view of one layer; arrays that differ from ours lie in `numbers` and `shift`. */
struct layer_view {
    Packfed__Layer layer;
    Packfed__Packing packing;
};

struct model_view {
    Packfed__Model model;
    Packfed__Network network;
    struct layer_view *views;
    Packfed__Layer **layers;
    uint32_t *numbers; /* groups and row lengths of all packings, one after the other */
    uint8_t *shifts;   /* coded shifts of all layers */
};

static void finish_view(struct model_view *self)
{
    pf_free(self->views);
    pf_free(self->layers);
    pf_free(self->numbers);
    pf_free(self->shifts);
}

static void fill_packing(const struct pf_packing *from, Packfed__Packing *to, uint32_t **numbers)
{
    packfed__packing__init(to);
    to->n_rows = from->n_rows;
    to->n_columns = from->n_columns;
    to->n_groups = from->n_groups;
    to->alpha = from->alpha;
    to->gamma = from->gamma;
    to->n_group_of_column = from->n_columns;
    to->group_of_column = *numbers;
    for (size_t k = 0; k < from->n_columns; k++)
        *(*numbers)++ = from->group_of_column[k] + 1; /* PF_NO_GROUP wraps to 0 */
    to->n_row_length = from->n_rows;
    to->row_length = *numbers;
    for (size_t r = 0; r < from->n_rows; r++)
        *(*numbers)++ = from->row_start[r + 1] - from->row_start[r];
    to->n_column = from->n_weights;
    to->column = from->column;
}

static void fill_shifts(const struct pf_layer *from, Packfed__Layer *to, uint8_t **shifts)
{
    to->shift.len = from->in_channels;
    to->shift.data = *shifts;
    for (size_t c = 0; c < from->in_channels; c++)
        *(*shifts)++ = (uint8_t)(3 * (from->shift_y[c] + 1) + from->shift_x[c] + 1);
}

static enum pf_status allocate_view(const struct pf_model *model, struct model_view *self,
                                    struct pf_error *err)
{
    size_t n_numbers = 0, n_shifts = 0; /* at most 514 layers of limited size: no overflow */
    for (size_t l = 0; l < model->n_layers; l++) {
        const struct pf_layer *layer = &model->layers[l];
        if (layer->packing != NULL)
            n_numbers += (size_t)layer->packing->n_columns + layer->packing->n_rows;
        if (layer->shift_y != NULL) n_shifts += layer->in_channels;
    }
    self->views = PF_ALLOC(model->n_layers, struct layer_view);
    self->layers = PF_ALLOC(model->n_layers, Packfed__Layer *);
    self->numbers = PF_ALLOC(n_numbers, uint32_t);
    self->shifts = PF_ALLOC(n_shifts, uint8_t);
    if (self->views == NULL || self->layers == NULL || self->numbers == NULL ||
        self->shifts == NULL)
        return pf_no_memory(err, "the encoding of a model");
    return PF_OK;
}

static enum pf_status init_view(const struct pf_model *model, struct model_view *self,
                                struct pf_error *err)
{
    PF_TRY(allocate_view(model, self, err));
    uint32_t *numbers = self->numbers;
    uint8_t *shifts = self->shifts;
    for (size_t l = 0; l < model->n_layers; l++) {
        const struct pf_layer *from = &model->layers[l];
        struct layer_view *view = &self->views[l];
        packfed__layer__init(&view->layer);
        if (from->shift_y != NULL) fill_shifts(from, &view->layer, &shifts);
        if (from->packing != NULL) {
            fill_packing(from->packing, &view->packing, &numbers);
            view->layer.packing = &view->packing;
        }
        self->layers[l] = &view->layer;
    }
    pf_network_to_proto(&model->network, &self->network);
    packfed__model__init(&self->model);
    self->model.network = &self->network;
    /* protobuf-c only reads what it packs. */
    self->model.n_input_mean = self->model.n_input_std = model->network.in_channels;
    self->model.input_mean = (float *)model->input_mean;
    self->model.input_std = (float *)model->input_std;
    self->model.n_layers = model->n_layers;
    self->model.layers = self->layers;
    self->model.n_parameters = model->n_parameters;
    self->model.parameters = model->parameters;
    return PF_OK;
}

enum pf_status pf_model_body_encode(const struct pf_model *model, struct pf_buffer *bytes,
                                    struct pf_error *err)
{
    PF_CLEANUP(finish_view) struct model_view view = {0};
    PF_TRY(init_view(model, &view, err));
    size_t length = packfed__model__get_packed_size(&view.model);
    PF_TRY(pf_buffer_reserve(bytes, length, err));
    bytes->length += packfed__model__pack(&view.model, bytes->bytes + bytes->length);
    return PF_OK;
}
