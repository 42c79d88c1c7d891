/* Combining a whole model: one step of Algorithm 1 without the retraining.
 *
 * Kung, McDanel, Zhang, ASPLOS 2019, arXiv 1811.04770.  Everything is decided on a dense copy of
 * the model, where a weight that was pruned earlier is a zero like any other: so it takes part in
 * nothing and cannot come back. */
#include "common/combine/combine.h"

#include <math.h>

#include "common/base/memory.h"

enum pf_status pf_combine_options_validate(const struct pf_combine_options *self,
                                           const struct pf_network *network, struct pf_error *err)
{
    uint32_t n_alphas = 0;
    while (n_alphas < PF_MAX_BLOCKS && self->alpha[n_alphas] != 0) n_alphas++;
    for (uint32_t b = n_alphas; b < PF_MAX_BLOCKS; b++)
        if (self->alpha[b] != 0)
            return pf_fail(err, PF_INVALID, "combine: alpha of block %u is 0; 1 leaves it dense",
                           n_alphas + 1);
    if (n_alphas != network->n_blocks)
        return pf_fail(err, PF_INVALID,
                       "combine: %u alphas for a network of %u blocks; give one per block",
                       n_alphas, network->n_blocks);
    if (!(self->gamma >= 0.0 && self->gamma <= (double)PF_MAX_ALPHA))
        return pf_fail(err, PF_INVALID, "combine: gamma = %g is outside 0…%u", self->gamma,
                       PF_MAX_ALPHA);
    for (uint32_t b = 0; b < network->n_blocks; b++) {
        if (self->alpha[b] > PF_MAX_ALPHA)
            return pf_fail(err, PF_INVALID, "combine: alpha = %u of block %u is outside 1…%u",
                           self->alpha[b], b + 1, PF_MAX_ALPHA);
        if (!(self->density[b] > 0.0 && self->density[b] <= 1.0))
            return pf_fail(err, PF_INVALID,
                           "combine: density = %g of block %u is not above 0 and at most 1",
                           self->density[b], b + 1);
    }
    return PF_OK;
}

/* ---- figures for the report --------------------------------------------------------------- */

struct matrix_figures {
    size_t nonzeros;
    uint32_t n_filled_rows;
    uint32_t n_filled_columns;
    double magnitude; /* Σ|w| */
};

/* column_filled[n_columns] is scratch. */
static struct matrix_figures measure(const float *weights, uint32_t n_rows, uint32_t n_columns,
                                     bool *column_filled)
{
    struct matrix_figures figures = {0};
    for (size_t k = 0; k < n_columns; k++) column_filled[k] = false;
    for (size_t r = 0; r < n_rows; r++) {
        bool row_filled = false;
        for (size_t k = 0; k < n_columns; k++) {
            float weight = weights[r * n_columns + k];
            if (weight == 0.0f) continue;
            row_filled = column_filled[k] = true;
            figures.nonzeros++;
            figures.magnitude += (double)fabsf(weight);
        }
        figures.n_filled_rows += row_filled;
    }
    for (size_t k = 0; k < n_columns; k++) figures.n_filled_columns += column_filled[k];
    return figures;
}

static void report_layer(struct pf_combine_layer *report, const struct pf_layer *layer,
                         const struct pf_packing *packing, const struct matrix_figures *before,
                         size_t nonzeros_pruned, const struct matrix_figures *after)
{
    uint32_t groups = packing != NULL ? packing->n_groups : before->n_filled_columns;
    double cells = (double)after->n_filled_rows * (double)groups;
    *report = (struct pf_combine_layer){
        .n_rows = layer->out_channels,
        .n_columns = layer->n_columns,
        .alpha = packing != NULL ? packing->alpha : 1,
        .nonzeros_before = before->nonzeros,
        .nonzeros_pruned = nonzeros_pruned,
        .nonzeros_after = after->nonzeros,
        .columns_before = before->n_filled_columns,
        .groups = groups,
        .nonempty_rows = after->n_filled_rows,
        .utilisation = cells > 0.0 ? (double)after->nonzeros / cells : 0.0,
        .weight_before = before->magnitude,
        .weight_kept = before->magnitude > 0.0 ? after->magnitude / before->magnitude : 1.0};
}

/* ---- one layer ---------------------------------------------------------------------------- */

/* What holds for one layer. */
struct layer_order {
    uint32_t alpha;
    double gamma;
    size_t keep; /* weights after pruning by magnitude */
    bool keep_groups;
};

/* A packing needs a weight: a matrix of zeros gets one at the first place it may have one. */
static enum pf_status pack_zeros(const struct pf_layer *given, float *weights,
                                 const struct layer_order *order, struct pf_packing **packing,
                                 struct pf_error *err)
{
    PF_CLEANUP(pf_freep) uint32_t *group_of_column = PF_ALLOC(given->n_columns, uint32_t);
    if (group_of_column == NULL) return pf_no_memory(err, "combining");
    size_t place = 0;
    if (given->packing != NULL && given->packing->n_weights > 0) {
        size_t row = 0;
        while (given->packing->row_start[row + 1] == 0) row++;
        place = row * given->n_columns + given->packing->column[0];
    }
    weights[place] = 1.0f;
    enum pf_status status =
        pf_packing_from_dense(weights, given->out_channels, given->n_columns, group_of_column, 1,
                              order->alpha, (float)order->gamma, packing, err);
    weights[place] = 0.0f;
    return status;
}

/* Prunes weights[N][K] of the layer in place and makes its packing. */
static enum pf_status regroup(const struct pf_layer *given, float *weights,
                              const struct layer_order *order, struct pf_packing **packing,
                              size_t *nonzeros_pruned, struct pf_error *err)
{
    uint32_t n_rows = given->out_channels, n_columns = given->n_columns;
    size_t n = (size_t)n_rows * n_columns;
    PF_TRY(pf_prune_magnitude(weights, n, order->keep, err));
    *nonzeros_pruned = 0;
    for (size_t i = 0; i < n; i++) *nonzeros_pruned += weights[i] != 0.0f;
    if (*nonzeros_pruned == 0) return pack_zeros(given, weights, order, packing, err);
    PF_CLEANUP(pf_grouping_finish) struct pf_grouping grouping = {0};
    PF_TRY(
        pf_group_columns(weights, n_rows, n_columns, order->alpha, order->gamma, &grouping, err));
    pf_prune_conflicts(weights, n_rows, &grouping);
    return pf_packing_from_dense(weights, n_rows, n_columns, grouping.group_of_column,
                                 grouping.n_groups, order->alpha, (float)order->gamma, packing,
                                 err);
}

static bool may_keep_packing(const struct pf_layer *given, const struct layer_order *order,
                             size_t nonzeros)
{
    if (given->packing == NULL) return false;
    return order->alpha == 1 ||
           (order->keep_groups && given->packing->alpha == order->alpha &&
            given->packing->gamma == (float)order->gamma && nonzeros <= order->keep);
}

/* `weights` is the dense form of `given` and is pruned in place; *packing stays NULL for a layer
 * that stays dense. */
static enum pf_status combine_layer(const struct pf_layer *given, float *weights,
                                    const struct layer_order *order, struct pf_packing **packing,
                                    struct pf_combine_layer *report, struct pf_error *err)
{
    uint32_t n_rows = given->out_channels, n_columns = given->n_columns;
    PF_CLEANUP(pf_freep) bool *column_filled = PF_ALLOC(n_columns, bool);
    if (column_filled == NULL) return pf_no_memory(err, "combining");
    struct matrix_figures before = measure(weights, n_rows, n_columns, column_filled);
    struct matrix_figures after = before;
    size_t nonzeros_pruned = before.nonzeros;
    if (may_keep_packing(given, order, before.nonzeros)) {
        PF_TRY(pf_packing_clone(given->packing, packing, err));
    } else if (order->alpha > 1) {
        PF_TRY(regroup(given, weights, order, packing, &nonzeros_pruned, err));
        after = measure(weights, n_rows, n_columns, column_filled);
    }
    report_layer(report, given, *packing, &before, nonzeros_pruned, &after);
    return PF_OK;
}

/* ---- all layers --------------------------------------------------------------------------- */

struct packings {
    struct pf_packing *items[PF_MAX_LAYERS];
};

static void packings_finish(struct packings *self)
{
    for (size_t l = 0; l < PF_MAX_LAYERS; l++) pf_packing_destroy(self->items[l]);
}

static struct layer_order order_for(const struct pf_model *model, size_t l,
                                    const struct pf_combine_options *options)
{
    struct layer_order order = {.alpha = pf_model_layer_alpha(model, l, options->alpha),
                                .gamma = options->gamma,
                                .keep_groups = options->keep_groups};
    if (order.alpha == 1) return order;
    /* Which block's α a layer takes is known to the model; asked with the blocks' numbers in the
     * place of their α it answers with the block, whose density then holds. */
    static const uint32_t numbers[PF_MAX_BLOCKS] = {0, 1, 2, 3, 4, 5, 6, 7};
    double density = options->density[pf_model_layer_alpha(model, l, numbers)];
    const struct pf_layer *layer = &model->layers[l];
    double aim = density * (double)layer->out_channels * (double)layer->n_columns;
    order.keep = (size_t)llround(aim);
    if (order.keep == 0) order.keep = 1;
    return order;
}

enum pf_status pf_model_combine(const struct pf_model *model,
                                const struct pf_combine_options *options,
                                struct pf_model **combined, struct pf_combine_report *report,
                                struct pf_error *err)
{
    PF_TRY(pf_combine_options_validate(options, &model->network, err));
    PF_TRY(pf_model_validate(model, err));
    PF_CLEANUP(pf_model_destroyp) struct pf_model *dense = NULL;
    PF_TRY(pf_model_densify(model, &dense, err));
    PF_CLEANUP(packings_finish) struct packings packings = {0};
    struct pf_combine_report figures = {.n_layers = model->n_layers};
    for (size_t l = 0; l < model->n_layers; l++) {
        struct layer_order order = order_for(model, l, options);
        PF_TRY(combine_layer(&model->layers[l], dense->layers[l].weight, &order, &packings.items[l],
                             &figures.layers[l], err));
    }
    PF_CLEANUP(pf_model_destroyp) struct pf_model *packed = NULL;
    PF_TRY(pf_model_pack(dense, (const struct pf_packing *const *)packings.items, &packed, err));
    if (options->permute_rows) {
        struct pf_model *permuted = NULL;
        PF_TRY(pf_model_permute_rows(packed, &permuted, err));
        pf_model_destroy(packed);
        packed = permuted;
    }
    *combined = packed;
    packed = NULL;
    if (report != NULL) *report = figures;
    return PF_OK;
}
