#include "common/nn/dataset_check.h"

enum pf_status pf_dataset_check(const struct pf_model *model, const struct pf_dataset *dataset,
                                struct pf_error *err)
{
    const struct pf_network *net = &model->network;
    if (dataset->n_images == 0) return pf_fail(err, PF_INVALID, "the data set has no images");
    if (dataset->n_channels != net->in_channels || dataset->height != net->in_height ||
        dataset->width != net->in_width)
        return pf_fail(err, PF_INVALID,
                       "the data set's images are %u×%u×%u but the model takes %u×%u×%u",
                       dataset->height, dataset->width, dataset->n_channels, net->in_height,
                       net->in_width, net->in_channels);
    if (dataset->n_classes != net->n_classes)
        return pf_fail(err, PF_INVALID, "the data set has %u classes but the model %u",
                       dataset->n_classes, net->n_classes);
    return PF_OK;
}
