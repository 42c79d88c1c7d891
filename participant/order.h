/* From the coordinator's training order to the options of a local training. */
#ifndef PF_PARTICIPANT_ORDER_H
#define PF_PARTICIPANT_ORDER_H

#include "common/nn/train.h"
#include "proto/message.h"

/* The options that `order` asks for but the models that it concerns (anchor, teacher), with the
 * participant's own augmentation and seed.  The seed
 * of a training depends on (seed, round) alone.  A batch larger than n_images is cut to n_images
 * (n_images = 0: left alone). */
void pf_order_options(const struct pf_training_order *order, uint64_t seed, uint32_t round,
                      size_t n_images, const struct pf_augmentation *augmentation,
                      struct pf_train_options *options);

#endif
