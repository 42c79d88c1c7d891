/* Batches for training: gathered, and optionally cropped with padding and flipped. */
#ifndef PF_COMMON_DATA_AUGMENT_H
#define PF_COMMON_DATA_AUGMENT_H

#include <stdbool.h>

#include "common/base/random.h"
#include "common/data/dataset.h"

#define PF_MAX_PADDING 256u /* a larger padding counts as this */

struct pf_augmentation {
    uint32_t padding; /* random crop from the image padded by so many black pixels; 0 = none */
    bool flip;        /* left–right, with probability one half */
};

/* out[channel][y][x] of one image under one draw; out has pf_dataset_image_bytes bytes.  Without
 * an augmentation or a stream (NULL) the image is copied as it is.  A crop draws its row offset,
 * then its column offset; a flip draws after them; what is off draws nothing. */
void pf_augment_image(uint8_t *out, const struct pf_dataset *dataset, size_t image,
                      const struct pf_augmentation *augmentation, struct pf_random *random);

/* images[n][channel][y][x] and labels[n] of the named images (indices < n_images); consumes
 * `random` in image order. */
void pf_batch_gather(uint8_t *images, uint8_t *labels, const struct pf_dataset *dataset,
                     const uint32_t *indices, size_t n, const struct pf_augmentation *augmentation,
                     struct pf_random *random);

#endif
