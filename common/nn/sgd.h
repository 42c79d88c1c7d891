/* Stochastic gradient descent over the flat parameters of a model, with momentum.
 *
 *   d = gradient + decay · w + l1 · sign(w) + proximal · (w − anchor)
 *   v ← momentum · v + d;   w ← w − rate · (nesterov ? d + momentum · v : v)
 *
 * with decay on weights and the classifier's bias, l1 on convolution weights, and the proximal
 * term (FedProx, arXiv 1812.06127) on everything. */
#ifndef PF_COMMON_NN_SGD_H
#define PF_COMMON_NN_SGD_H

#include "common/nn/train.h"

/* Parameters that are treated alike, few enough for one shard. */
struct pf_sgd_range {
    size_t begin, n;
    bool decays, sparse;
};

struct pf_sgd {
    const struct pf_train_options *options;
    size_t n_trained;
    float *parameters;
    float *velocity; /* [n_trained] */
    size_t n_ranges;
    struct pf_sgd_range *ranges;
    bool *finite; /* [n_ranges] what the last step saw */
};

PF_NODISCARD enum pf_status pf_sgd_init(struct pf_sgd *self, struct pf_model *model,
                                        const struct pf_train_options *options,
                                        struct pf_error *err);
void pf_sgd_finish(struct pf_sgd *self);

/* One range of one step; the gradient is the sum of gradients[n_parts][n_trained], in order. */
void pf_sgd_step(struct pf_sgd *self, size_t range, const float *gradients, size_t n_parts,
                 double rate);

#endif
