/* Row permutation: filters in the order in which the next layer's array reads their channels.
 *
 * Kung, McDanel, Zhang, ASPLOS 2019, arXiv 1811.04770: with the channels of a group side by side
 * the outputs of one array enter the next as they leave, without a switchbox.  Permuting the rows
 * of layer l renames the channels between l and l + 1, so columns and shifts of l + 1 are renamed
 * too; group numbers stay, and with them the order of survivors within a row. */
#include <string.h>

#include "common/base/memory.h"
#include "common/combine/combine.h"

/* How the rows and columns of one layer are renumbered. */
struct renumbering {
    uint32_t *outputs; /* [out_channels]: row r holds what was row outputs[r] */
    uint32_t *renamed; /* [n_columns]: what was column k is column renamed[k] */
    struct pf_packing *packing;
};

struct permutation {
    struct renumbering layers[PF_MAX_LAYERS];
};

static void permutation_finish(struct permutation *self)
{
    for (size_t l = 0; l < PF_MAX_LAYERS; l++) {
        pf_free(self->layers[l].outputs);
        pf_free(self->layers[l].renamed);
        pf_packing_destroy(self->layers[l].packing);
    }
}

/* The order of the channels that enter layer l. */
static const uint32_t *inputs_of(const struct permutation *self, size_t l)
{
    static const uint32_t image[PF_MAX_INPUT_CHANNELS] = {0, 1, 2, 3};
    return l == 0 ? image : self->layers[l - 1].outputs;
}

/* renamed[k] ← the new number of what was column k. */
static void rename_columns(const struct pf_layer *layer, const uint32_t *inputs, uint32_t *renamed)
{
    uint32_t per_channel = layer->n_columns / layer->in_channels;
    for (uint32_t i = 0; i < layer->in_channels; i++)
        for (uint32_t j = 0; j < per_channel; j++)
            renamed[inputs[i] * per_channel + j] = i * per_channel + j;
}

static enum pf_status permute_packing(const struct pf_packing *from, struct renumbering *self,
                                      struct pf_error *err)
{
    PF_TRY(pf_packing_create(from->n_rows, from->n_columns, from->n_groups, from->alpha,
                             from->gamma, from->n_weights, &self->packing, err));
    struct pf_packing *to = self->packing;
    for (uint32_t k = 0; k < from->n_columns; k++)
        to->group_of_column[self->renamed[k]] = from->group_of_column[k];
    uint32_t n = 0;
    for (uint32_t r = 0; r < to->n_rows; r++) {
        uint32_t old = self->outputs[r];
        for (uint32_t i = from->row_start[old]; i < from->row_start[old + 1]; i++)
            to->column[n++] = self->renamed[from->column[i]];
        to->row_start[r + 1] = n;
    }
    return PF_OK;
}

/* mine->outputs ← order, or the rows as they are when order is NULL. */
static enum pf_status take_order(const uint32_t *order, uint32_t n_rows, size_t l,
                                 uint32_t *outputs, struct pf_error *err)
{
    PF_CLEANUP(pf_freep) bool *taken = PF_ALLOC(n_rows, bool);
    if (taken == NULL) return pf_no_memory(err, "permuting rows");
    for (uint32_t r = 0; r < n_rows; r++) {
        uint32_t row = order != NULL ? order[r] : r;
        if (row >= n_rows || taken[row])
            return pf_fail(
                err, PF_INVALID,
                "the order of layer %zu is no permutation of its %u rows: place %u names "
                "row %u",
                l, n_rows, r, row);
        taken[row] = true;
        outputs[r] = row;
    }
    return PF_OK;
}

/* Layers are planned in ascending order: the columns follow from the rows of the layer before. */
static enum pf_status plan_layer(const struct pf_model *model, size_t l, const uint32_t *order,
                                 struct permutation *self, struct pf_error *err)
{
    const struct pf_layer *layer = &model->layers[l];
    if (order != NULL && layer->kind == PF_LAYER_LINEAR)
        return pf_fail(err, PF_INVALID, "the rows of layer %zu are the classes and stay", l);
    struct renumbering *mine = &self->layers[l];
    mine->outputs = PF_ALLOC(layer->out_channels, uint32_t);
    mine->renamed = PF_ALLOC(layer->n_columns, uint32_t);
    if (mine->outputs == NULL || mine->renamed == NULL) return pf_no_memory(err, "permuting rows");
    PF_TRY(take_order(order, layer->out_channels, l, mine->outputs, err));
    rename_columns(layer, inputs_of(self, l), mine->renamed);
    if (layer->packing != NULL) PF_TRY(permute_packing(layer->packing, mine, err));
    return PF_OK;
}

static void permute_weights(struct pf_layer *to, const struct pf_layer *from,
                            const uint32_t *outputs, const uint32_t *renamed)
{
    float *next = to->weight;
    for (uint32_t r = 0; r < to->out_channels; r++) {
        if (from->packing != NULL) {
            const uint32_t *row_start = from->packing->row_start + outputs[r];
            size_t n = row_start[1] - row_start[0];
            memcpy(next, from->weight + row_start[0], n * sizeof *next);
            next += n;
            continue;
        }
        const float *row = from->weight + (size_t)outputs[r] * from->n_columns;
        for (uint32_t k = 0; k < from->n_columns; k++) next[renamed[k]] = row[k];
        next += to->n_columns;
    }
}

/* The parameters of one value per row, and the shifts of one value per input channel. */
static void permute_surroundings(struct pf_layer *to, const struct pf_layer *from,
                                 const uint32_t *outputs, const uint32_t *inputs)
{
    for (uint32_t c = 0; to->shift_y != NULL && c < to->in_channels; c++) {
        to->shift_y[c] = from->shift_y[inputs[c]];
        to->shift_x[c] = from->shift_x[inputs[c]];
    }
    for (uint32_t r = 0; r < to->out_channels; r++) {
        if (to->kind == PF_LAYER_LINEAR) {
            to->bias[r] = from->bias[outputs[r]];
            continue;
        }
        to->gamma[r] = from->gamma[outputs[r]];
        to->beta[r] = from->beta[outputs[r]];
        to->mean[r] = from->mean[outputs[r]];
        to->variance[r] = from->variance[outputs[r]];
    }
}

enum pf_status pf_model_reorder_rows(const struct pf_model *model, const uint32_t *const *orders,
                                     struct pf_model **reordered, struct pf_error *err)
{
    PF_CLEANUP(permutation_finish) struct permutation permutation = {0};
    const struct pf_packing *packings[PF_MAX_LAYERS] = {0};
    for (size_t l = 0; l < model->n_layers; l++) {
        PF_TRY(plan_layer(model, l, orders[l], &permutation, err));
        packings[l] = permutation.layers[l].packing;
    }
    struct pf_model *result = NULL;
    PF_TRY(pf_model_create(&model->network, packings, &result, err));
    memcpy(result->input_mean, model->input_mean, sizeof result->input_mean);
    memcpy(result->input_std, model->input_std, sizeof result->input_std);
    for (size_t l = 0; l < model->n_layers; l++) {
        const struct renumbering *layer = &permutation.layers[l];
        permute_weights(&result->layers[l], &model->layers[l], layer->outputs, layer->renamed);
        permute_surroundings(&result->layers[l], &model->layers[l], layer->outputs,
                             inputs_of(&permutation, l));
    }
    *reordered = result;
    return PF_OK;
}

/* ---- which order -------------------------------------------------------------------------- */

/* Fills order[in_channels] for the channels that enter the packed layer `next`. */
static enum pf_status order_channels(const struct pf_layer *next, uint32_t *order,
                                     struct pf_error *err)
{
    const struct pf_packing *packing = next->packing;
    uint32_t n_channels = next->in_channels;
    uint32_t per_channel = next->n_columns / n_channels;
    /* A channel goes where the lowest of its columns' groups is; sorting by counting keeps the
     * channels of one group as they were. */
    size_t n_places = (size_t)packing->n_groups + 1; /* the last one: no group */
    PF_CLEANUP(pf_freep) uint32_t *lowest = PF_ALLOC(n_channels, uint32_t);
    PF_CLEANUP(pf_freep) uint32_t *start = PF_ALLOC(n_places + 1, uint32_t);
    if (lowest == NULL || start == NULL) return pf_no_memory(err, "permuting rows");
    for (uint32_t c = 0; c < n_channels; c++) {
        lowest[c] = packing->n_groups;
        for (uint32_t k = c * per_channel; k < (c + 1) * per_channel; k++)
            lowest[c] = PF_MIN(lowest[c], packing->group_of_column[k]);
        start[lowest[c] + 1]++;
    }
    for (size_t g = 0; g < n_places; g++) start[g + 1] += start[g];
    for (uint32_t c = 0; c < n_channels; c++) order[start[lowest[c]]++] = c;
    return PF_OK;
}

/* ---- what lies between arrays ------------------------------------------------------------- */

/* A Beneš network of 2 × 2 switches brings n inputs into any order (V. E. Beneš, 1965). */
static uint64_t switches_for(uint32_t n_channels)
{
    uint64_t width = 2, stages = 1;
    while (width < n_channels) {
        width *= 2;
        stages += 2;
    }
    return width / 2 * stages;
}

/* Channels of the packed layer `next` that do not come in the order in which its groups read them,
 * or that several groups read. */
static enum pf_status count_misplaced(const struct pf_layer *next, size_t *n_misplaced,
                                      struct pf_error *err)
{
    uint32_t per_channel = next->n_columns / next->in_channels;
    PF_CLEANUP(pf_freep) uint32_t *order = PF_ALLOC(next->in_channels, uint32_t);
    if (order == NULL) return pf_no_memory(err, "permuting rows");
    PF_TRY(order_channels(next, order, err));
    for (uint32_t c = 0; c < next->in_channels; c++) {
        const uint32_t *groups = next->packing->group_of_column + (size_t)c * per_channel;
        bool split = false;
        for (uint32_t k = 1; k < per_channel; k++) split |= groups[k] != groups[0];
        *n_misplaced += order[c] != c || split;
    }
    return PF_OK;
}

enum pf_status pf_model_switching(const struct pf_model *model, struct pf_switching *switching,
                                  struct pf_error *err)
{
    struct pf_switching sum = {0};
    for (size_t l = 1; l < model->n_layers; l++) {
        const struct pf_layer *next = &model->layers[l];
        if (next->packing == NULL) continue;
        size_t n_misplaced = 0;
        PF_TRY(count_misplaced(next, &n_misplaced, err));
        sum.n_channels += next->in_channels;
        sum.n_misplaced += n_misplaced;
        if (n_misplaced > 0) sum.n_switches += switches_for(next->in_channels);
    }
    *switching = sum;
    return PF_OK;
}

/* ---- all layers --------------------------------------------------------------------------- */

struct orders {
    uint32_t *items[PF_MAX_LAYERS]; /* NULL: as they are */
};

static void orders_finish(struct orders *self)
{
    for (size_t l = 0; l < PF_MAX_LAYERS; l++) pf_free(self->items[l]);
}

enum pf_status pf_model_permute_rows(const struct pf_model *model, struct pf_model **permuted,
                                     struct pf_error *err)
{
    PF_CLEANUP(orders_finish) struct orders orders = {0};
    for (size_t l = 0; l + 1 < model->n_layers; l++) {
        const struct pf_layer *next = &model->layers[l + 1];
        if (next->packing == NULL) continue;
        orders.items[l] = PF_ALLOC(next->in_channels, uint32_t);
        if (orders.items[l] == NULL) return pf_no_memory(err, "permuting rows");
        PF_TRY(order_channels(next, orders.items[l], err));
    }
    return pf_model_reorder_rows(model, (const uint32_t *const *)orders.items, permuted, err);
}
