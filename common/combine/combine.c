/* Combining a whole model: one step of Algorithm 1 without the retraining.
 *
 * Kung, McDanel, Zhang, ASPLOS 2019, arXiv 1811.04770.  Everything is decided on a dense copy of
 * the model, where a weight that was pruned earlier is a zero like any other: so it takes part in
 * nothing and cannot come back. */
#include "common/combine/combine.h"

#include <math.h>

#include "common/base/memory.h"
#include "common/combine/combine_layer.h"

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
    for (uint32_t b = 0; b < network->n_blocks; b++)
        PF_TRY(pf_packer_check_alpha(self->packer.packer, self->alpha[b], err));
    if ((size_t)self->saliency >= PF_N_SALIENCIES)
        return pf_fail(err, PF_INVALID, "combine: saliency %d is unknown", (int)self->saliency);
    if (!(self->tile_slack >= 0.0 && self->tile_slack <= 1.0))
        return pf_fail(err, PF_INVALID, "combine: a tile slack of %g is outside 0…1",
                       self->tile_slack);
    return pf_packer_options_validate(&self->packer, err);
}

/* ---- all layers --------------------------------------------------------------------------- */

struct packings {
    struct pf_packing *items[PF_MAX_LAYERS];
};

static void packings_finish(struct packings *self)
{
    for (size_t l = 0; l < PF_MAX_LAYERS; l++) pf_packing_destroy(self->items[l]);
}

static struct pf_layer_order order_for(const struct pf_model *model, size_t l,
                                       const struct pf_combine_options *options)
{
    struct pf_layer_order order = {
        .rule = {.alpha = pf_model_layer_alpha(model, l, options->alpha), .gamma = options->gamma},
        .options = options,
    };
    if (order.rule.alpha == 1) return order;
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
        struct pf_layer_order order = order_for(model, l, options);
        PF_TRY(pf_combine_layer(&model->layers[l], dense, l, &order, &packings.items[l],
                                &figures.layers[l], err));
    }
    PF_CLEANUP(pf_model_destroyp) struct pf_model *packed = NULL;
    PF_TRY(pf_model_pack(dense, (const struct pf_packing *const *)packings.items, &packed, err));
    PF_TRY(pf_model_switching(packed, &figures.as_grouped, err));
    if (options->permute_rows) {
        struct pf_model *permuted = NULL;
        PF_TRY(pf_model_permute_rows(packed, &permuted, err));
        pf_model_destroy(packed);
        packed = permuted;
    }
    PF_TRY(pf_model_switching(packed, &figures.as_combined, err));
    *combined = packed;
    packed = NULL;
    if (report != NULL) *report = figures;
    return PF_OK;
}
