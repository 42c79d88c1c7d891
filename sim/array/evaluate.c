#include "sim/array/evaluate.h"

#include <inttypes.h>

#include "common/base/memory.h"
#include "sim/array/classify.h"
#include "sim/array/layout.h"

static enum pf_status check_array(const struct pf_quant_model *lowered,
                                  const struct pf_array *array, struct pf_error *err)
{
    if (array->input_bits < 8)
        return pf_fail(err, PF_INVALID,
                       "array: %u input bits, but activations have 8; give 8 or more",
                       array->input_bits);
    for (size_t l = 0; l < lowered->n_layers; l++) {
        const struct pf_quant_layer *layer = &lowered->layers[l];
        if (layer->packing != NULL && layer->packing->alpha > array->alpha)
            return pf_fail(err, PF_INVALID,
                           "layer %zu joins up to %u columns but the array's cells choose among "
                           "%u; give the array alpha = %u, or combine with a smaller alpha",
                           l, layer->packing->alpha, array->alpha, layer->packing->alpha);
        if (layer->max_magnitude >= (int64_t)1 << (array->accumulation_bits - 1))
            return pf_fail(err, PF_INVALID,
                           "layer %zu: sums of up to %" PRId64 " do not fit accumulators of %u "
                           "bits; give the array more accumulation bits",
                           l, layer->max_magnitude, array->accumulation_bits);
    }
    return PF_OK;
}

static enum pf_status check_dataset(const struct pf_model *model, const struct pf_dataset *dataset,
                                    struct pf_error *err)
{
    const struct pf_network *net = &model->network;
    if (dataset->n_channels != net->in_channels || dataset->height != net->in_height ||
        dataset->width != net->in_width)
        return pf_fail(err, PF_INVALID,
                       "the images are %u×%u×%u but the model takes %u×%u×%u; give the data the "
                       "model was trained on",
                       dataset->height, dataset->width, dataset->n_channels, net->in_height,
                       net->in_width, net->in_channels);
    if (dataset->n_classes > net->n_classes)
        return pf_fail(err, PF_INVALID, "the data has %u classes but the model knows %u",
                       dataset->n_classes, net->n_classes);
    if (dataset->n_images == 0) return pf_fail(err, PF_INVALID, "the data set has no images");
    return PF_OK;
}

enum pf_status pf_array_evaluate(const struct pf_model *model, const struct pf_array *array,
                                 const struct pf_dataset *dataset, size_t n_checked,
                                 struct pf_pool *pool, const struct pf_progress *progress,
                                 struct pf_array_report *report, struct pf_error *err)
{
    PF_TRY(pf_array_validate(array, err));
    if (dataset != NULL) PF_TRY(check_dataset(model, dataset, err));
    PF_CLEANUP(pf_quant_destroyp) struct pf_quant_model *lowered = NULL;
    PF_TRY(pf_quant_lower(model, &lowered, err));
    PF_TRY(check_array(lowered, array, err));
    PF_CLEANUP(pf_freep) struct pf_array_report *result = PF_ALLOC(1, struct pf_array_report);
    if (result == NULL) return pf_no_memory(err, "the array's report");
    PF_TRY(pf_array_lay_out(model, array, result, err));
    if (dataset != NULL) {
        PF_CLEANUP(pf_array_network_destroyp) struct pf_array_network *network = NULL;
        PF_TRY(pf_array_network_create(lowered, &network, err));
        PF_TRY(pf_array_classify(network, dataset, n_checked, pool, progress, result, err));
    }
    *report = *result;
    return PF_OK;
}
