/* Labelled images in memory, and where they come from.
 *
 * Pixels are kept as stored: unsigned bytes, planes channel by channel.  A data set is immutable
 * once made and may be shared between threads. */
#ifndef PF_COMMON_DATA_DATASET_H
#define PF_COMMON_DATA_DATASET_H

#include <stddef.h>
#include <stdint.h>

#include "common/base/error.h"

#define PF_MAX_IMAGES ((size_t)1 << 24)

struct pf_dataset {
    size_t n_images;
    uint32_t n_channels, height, width;
    uint32_t n_classes;
    uint8_t *pixels; /* [n_images][n_channels][height][width] */
    uint8_t *labels; /* [n_images], < n_classes */
};

enum pf_data_kind { PF_DATA_SYNTHETIC, PF_DATA_CIFAR10, PF_DATA_IDX };
enum pf_data_split { PF_SPLIT_TRAIN, PF_SPLIT_TEST };

/* What --data, --data-dir, --data-images say. */
struct pf_data_source {
    enum pf_data_kind kind;
    const char *dir;        /* cifar10 and idx; NULL otherwise */
    uint64_t seed;          /* synthetic */
    size_t synthetic_train; /* images; 0 = 8,000 */
    size_t synthetic_test;  /* images; 0 = 2,000 */
};

const char *pf_data_kind_name(enum pf_data_kind kind); /* "synthetic", "cifar10", "idx" */

/* All black, all of class 0, for the caller to fill.  PF_INVALID outside 1 … PF_MAX_IMAGES images,
 * the model's limits on channels and sides, 1 … 256 classes. */
PF_NODISCARD enum pf_status pf_dataset_create(size_t n_images, uint32_t n_channels, uint32_t height,
                                              uint32_t width, uint32_t n_classes,
                                              struct pf_dataset **dataset, struct pf_error *err);
void pf_dataset_destroy(struct pf_dataset *self);
PF_DEFINE_CLEANUP(struct pf_dataset, pf_dataset_destroy)

static inline size_t pf_dataset_image_bytes(const struct pf_dataset *self)
{
    return (size_t)self->n_channels * self->height * self->width;
}

/* Dispatches on source->kind. */
PF_NODISCARD enum pf_status pf_dataset_load(const struct pf_data_source *source,
                                            enum pf_data_split split, struct pf_dataset **dataset,
                                            struct pf_error *err);

/* cifar10: data_batch_1.bin … data_batch_5.bin or test_batch.bin in `dir` or in
 * dir/cifar-10-batches-bin; each any whole number (> 0) of 3,073-byte records. */
PF_NODISCARD enum pf_status pf_dataset_load_cifar10(const char *dir, enum pf_data_split split,
                                                    struct pf_dataset **dataset,
                                                    struct pf_error *err);

/* idx: train-images-idx3-ubyte + train-labels-idx1-ubyte, or t10k-… for the test split (MNIST's
 * names; a '.' in place of the last '-' is accepted too).  Images of 1 channel. */
PF_NODISCARD enum pf_status pf_dataset_load_idx(const char *dir, enum pf_data_split split,
                                                struct pf_dataset **dataset, struct pf_error *err);

/* 32×32×3, ten classes, from the seed alone: train and test come from the same classes.  The first
 * n images are the same however many are asked for. */
PF_NODISCARD enum pf_status pf_dataset_synthetic(uint64_t seed, enum pf_data_split split,
                                                 size_t n_images, struct pf_dataset **dataset,
                                                 struct pf_error *err);

/* A copy of the named images, in that order.  PF_INVALID for a number that is not in the set, or
 * for none at all. */
PF_NODISCARD enum pf_status pf_dataset_subset(const struct pf_dataset *self,
                                              const uint32_t *indices, size_t n,
                                              struct pf_dataset **subset, struct pf_error *err);

/* Mean and standard deviation of each channel of p / 255; std at least 1/255. */
void pf_dataset_statistics(const struct pf_dataset *self, float *mean, float *std);

#endif
