/* Whether a data set is one that a model can see. */
#ifndef PF_COMMON_NN_DATASET_CHECK_H
#define PF_COMMON_NN_DATASET_CHECK_H

#include "common/data/dataset.h"
#include "common/model/model.h"

/* PF_INVALID when it has no images, or not the model's channels, size or number of classes. */
PF_NODISCARD enum pf_status pf_dataset_check(const struct pf_model *model,
                                             const struct pf_dataset *dataset,
                                             struct pf_error *err);

#endif
