#include "common/data/dataset.h"

#include <math.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/model/model.h"

#define DEFAULT_SYNTHETIC_TRAIN 8000u
#define DEFAULT_SYNTHETIC_TEST 2000u
#define MAX_LABELS 256u /* labels are bytes */

const char *pf_data_kind_name(enum pf_data_kind kind)
{
    switch (kind) {
    case PF_DATA_SYNTHETIC: return "synthetic";
    case PF_DATA_CIFAR10: return "cifar10";
    case PF_DATA_IDX: return "idx";
    }
    return "unknown";
}

static enum pf_status check_shape(size_t n_images, uint32_t n_channels, uint32_t height,
                                  uint32_t width, uint32_t n_classes, struct pf_error *err)
{
    if (n_images == 0 || n_images > PF_MAX_IMAGES)
        return pf_fail(err, PF_INVALID, "data set: %zu images; 1 to %zu are supported", n_images,
                       PF_MAX_IMAGES);
    if (n_channels == 0 || n_channels > PF_MAX_INPUT_CHANNELS)
        return pf_fail(err, PF_INVALID, "data set: %u channels; 1 to %u are supported", n_channels,
                       PF_MAX_INPUT_CHANNELS);
    if (height == 0 || height > PF_MAX_IMAGE_SIDE || width == 0 || width > PF_MAX_IMAGE_SIDE)
        return pf_fail(err, PF_INVALID, "data set: images of %u × %u; 1 to %u pixels a side",
                       height, width, PF_MAX_IMAGE_SIDE);
    if (n_classes == 0 || n_classes > MAX_LABELS)
        return pf_fail(err, PF_INVALID, "data set: %u classes; 1 to %u are supported", n_classes,
                       MAX_LABELS);
    return PF_OK;
}

enum pf_status pf_dataset_create(size_t n_images, uint32_t n_channels, uint32_t height,
                                 uint32_t width, uint32_t n_classes, struct pf_dataset **dataset,
                                 struct pf_error *err)
{
    PF_TRY(check_shape(n_images, n_channels, height, width, n_classes, err));
    PF_CLEANUP(pf_dataset_destroyp) struct pf_dataset *self = PF_ALLOC(1, struct pf_dataset);
    if (self == NULL) return pf_no_memory(err, "a data set");
    *self = (struct pf_dataset){.n_images = n_images,
                                .n_channels = n_channels,
                                .height = height,
                                .width = width,
                                .n_classes = n_classes};
    self->pixels = pf_alloc(n_images, pf_dataset_image_bytes(self));
    self->labels = PF_ALLOC(n_images, uint8_t);
    if (self->pixels == NULL || self->labels == NULL)
        return pf_no_memory(err, "the images of a data set");
    *dataset = self;
    self = NULL;
    return PF_OK;
}

void pf_dataset_destroy(struct pf_dataset *self)
{
    if (self == NULL) return;
    pf_free(self->pixels);
    pf_free(self->labels);
    pf_free(self);
}

static enum pf_status load_synthetic(const struct pf_data_source *source, enum pf_data_split split,
                                     struct pf_dataset **dataset, struct pf_error *err)
{
    size_t n = split == PF_SPLIT_TRAIN ? source->synthetic_train : source->synthetic_test;
    if (n == 0) n = split == PF_SPLIT_TRAIN ? DEFAULT_SYNTHETIC_TRAIN : DEFAULT_SYNTHETIC_TEST;
    return pf_dataset_synthetic(source->seed, split, n, dataset, err);
}

enum pf_status pf_dataset_load(const struct pf_data_source *source, enum pf_data_split split,
                               struct pf_dataset **dataset, struct pf_error *err)
{
    if (source->kind == PF_DATA_SYNTHETIC) return load_synthetic(source, split, dataset, err);
    if (source->kind != PF_DATA_CIFAR10 && source->kind != PF_DATA_IDX)
        return pf_fail(err, PF_INVALID, "data set: kind %d is none of synthetic, cifar10 and idx",
                       (int)source->kind);
    if (source->dir == NULL || source->dir[0] == '\0')
        return pf_fail(err, PF_INVALID, "%s data: name the folder of its files (--data-dir)",
                       pf_data_kind_name(source->kind));
    return source->kind == PF_DATA_CIFAR10
               ? pf_dataset_load_cifar10(source->dir, split, dataset, err)
               : pf_dataset_load_idx(source->dir, split, dataset, err);
}

enum pf_status pf_dataset_subset(const struct pf_dataset *self, const uint32_t *indices, size_t n,
                                 struct pf_dataset **subset, struct pf_error *err)
{
    for (size_t i = 0; i < n; i++)
        if (indices[i] >= self->n_images)
            return pf_fail(err, PF_INVALID, "data set: image %u of a set of %zu", indices[i],
                           self->n_images);
    struct pf_dataset *result = NULL;
    PF_TRY(pf_dataset_create(n, self->n_channels, self->height, self->width, self->n_classes,
                             &result, err));
    size_t bytes = pf_dataset_image_bytes(self);
    for (size_t i = 0; i < n; i++) {
        memcpy(result->pixels + i * bytes, self->pixels + indices[i] * bytes, bytes);
        result->labels[i] = self->labels[indices[i]];
    }
    *subset = result;
    return PF_OK;
}

/* Sums of p and p² over one plane; at most 2^16 pixels, so below 2^24 and 2^32. */
static void add_plane(const uint8_t *plane, size_t n_pixels, uint64_t *sum, uint64_t *squares)
{
    uint32_t s = 0;
    uint64_t q = 0;
    for (size_t i = 0; i < n_pixels; i++) {
        s += plane[i];
        q += (uint32_t)plane[i] * plane[i];
    }
    *sum += s;
    *squares += q;
}

void pf_dataset_statistics(const struct pf_dataset *self, float *mean, float *std)
{
    /* Exact: 2^24 images of 2^16 pixels give p² sums below 2^56. */
    uint64_t sum[PF_MAX_INPUT_CHANNELS] = {0}, squares[PF_MAX_INPUT_CHANNELS] = {0};
    size_t plane = (size_t)self->height * self->width;
    for (size_t i = 0; i < self->n_images; i++)
        for (size_t c = 0; c < self->n_channels; c++)
            add_plane(self->pixels + (i * self->n_channels + c) * plane, plane, &sum[c],
                      &squares[c]);
    double n = (double)self->n_images * (double)plane;
    for (size_t c = 0; c < self->n_channels; c++) {
        double m = (double)sum[c] / n;
        double variance = (double)squares[c] / n - m * m;
        mean[c] = (float)(m / 255.0);
        std[c] = (float)(sqrt(fmax(variance, 1.0)) / 255.0);
    }
}
