/* The network of common/model/model.h once more, in double precision and from the definitions
 * alone: no tiles, no shared code with common/nn.  For tests. */
#ifndef PF_TESTS_UNIT_NN_NAIVE_NETWORK_H
#define PF_TESTS_UNIT_NN_NAIVE_NETWORK_H

#include "common/data/dataset.h"
#include "common/model/model.h"

/* Mean loss over all images of the set as one batch, with parameters[n_parameters] in place of the
 * model's.  batch_statistics: as in training; else the running ones.
 * statistics (may be NULL): [n_parameters − n_trained] mean and variance of the batch, laid out as
 * behind parameters[n_trained].  logits (may be NULL): [n_images][n_classes]. */
double naive_loss(const struct pf_model *model, const double *parameters,
                  const struct pf_dataset *dataset, double smoothing, bool batch_statistics,
                  double *statistics, double *logits);

/* A data set of noise, and a model whose parameters, shifts and input scaling are all random and
 * whose activations reach both ends of ReLU6.  alpha > 0: blocks packed, alpha columns to a
 * group, survivors at random places. */
struct pf_dataset *naive_dataset(const struct pf_network *network, size_t n_images, uint64_t seed);
struct pf_model *naive_model(const struct pf_network *network, uint32_t alpha, uint64_t seed);

#endif
