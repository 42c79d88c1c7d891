/* Models for the tests of quant and array: random weights, batch norm calibrated on random images,
 * and a plain float inference to compare with. */
#ifndef PF_TESTS_UNIT_QUANT_RANDOM_MODEL_H
#define PF_TESTS_UNIT_QUANT_RANDOM_MODEL_H

#include "common/data/dataset.h"
#include "common/model/model.h"

/* filters 8,12, layers 2,2, strides 1,2, 9 × 7 pixels of 3 channels, 5 classes. */
struct pf_network random_model_network(enum pf_layer_kind kind);

/* alpha = 1: dense; otherwise the block layers are packed by hand, groups of alpha columns that
 * lie n_groups apart. */
struct pf_model *random_model_create(const struct pf_network *network, uint32_t alpha,
                                     uint64_t seed);

/* Smooth random pictures of the network's shape, labels at random. */
struct pf_dataset *random_images(const struct pf_network *network, size_t n, uint64_t seed);

/* logits[n][n_classes], all in float, layer by layer.  With calibrate, every batch norm first takes
 * its statistics from these images. */
void float_infer(struct pf_model *model, const uint8_t *images, size_t n, float *logits,
                 bool calibrate);

#endif
