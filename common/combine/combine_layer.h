/* Combining one layer; only for combine.c. */
#ifndef PF_COMMON_COMBINE_LAYER_H
#define PF_COMMON_COMBINE_LAYER_H

#include "common/combine/combine.h"

/* What holds for one layer. */
struct pf_layer_order {
    struct pf_grouping_rule rule;
    size_t keep; /* weights after pruning by worth */
    const struct pf_combine_options *options;
};

/* Prunes the weights of layer l of `dense`, which is the dense form of `given`, and makes its
 * packing; *packing stays NULL for a layer that stays dense. */
PF_NODISCARD enum pf_status pf_combine_layer(const struct pf_layer *given, struct pf_model *dense,
                                             size_t l, const struct pf_layer_order *order,
                                             struct pf_packing **packing,
                                             struct pf_combine_layer *report, struct pf_error *err);

#endif
