/* IDX files as MNIST and its successors use them [1]: big-endian 32-bit numbers, then bytes.
 *
 *   images  0x00000803, count, height, width, count · height · width pixels
 *   labels  0x00000801, count, count labels
 *
 * [1] http://yann.lecun.com/exdb/mnist/ */
#include <limits.h>
#include <string.h>

#include "common/base/file.h"
#include "common/base/text.h"
#include "common/data/data_file.h"
#include "common/data/dataset.h"
#include "common/model/model.h"

#define IMAGES_MAGIC 0x00000803u
#define LABELS_MAGIC 0x00000801u
#define N_CLASSES 10u
#define MAX_HEADER_WORDS 4u

static const char expected[] =
    "IDX data is train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte and "
    "t10k-labels-idx1-ubyte, unpacked (gunzip), as MNIST comes";

/* One open file behind its header. */
struct idx_file {
    char path[PATH_MAX];
    FILE *file;
    uint64_t length;
    uint32_t word[MAX_HEADER_WORDS]; /* magic, count, … */
};

static void close_idx(struct idx_file *self)
{
    pf_data_file_closep(&self->file);
}

/* dir/train-images-idx3-ubyte, or dir/train-images.idx3-ubyte where only that exists. */
static enum pf_status find_file(const char *dir, enum pf_data_split split, const char *what,
                                const char *kind, struct idx_file *self, struct pf_error *err)
{
    const char *prefix = split == PF_SPLIT_TRAIN ? "train" : "t10k";
    char name[64], dotted[PATH_MAX];
    snprintf(name, sizeof name, "%s-%s.%s-ubyte", prefix, what, kind);
    PF_TRY(pf_path_join(dir, name, dotted, sizeof dotted, err));
    snprintf(name, sizeof name, "%s-%s-%s-ubyte", prefix, what, kind);
    PF_TRY(pf_path_join(dir, name, self->path, sizeof self->path, err));
    if (!pf_file_exists(self->path) && pf_file_exists(dotted))
        memcpy(self->path, dotted, sizeof dotted);
    return PF_OK;
}

static enum pf_status read_header(struct idx_file *self, uint32_t magic, size_t n_words,
                                  struct pf_error *err)
{
    uint8_t bytes[4 * MAX_HEADER_WORDS];
    char length[32];
    PF_TRY(pf_data_file_open(self->path, expected, &self->file, &self->length, err));
    if (self->length < 4 * n_words)
        return pf_fail(err, PF_CORRUPT, "%s: %s bytes are fewer than the %zu of an IDX header",
                       self->path, pf_text_thousands(length, self->length), 4 * n_words);
    PF_TRY(pf_data_file_take(self->file, self->path, bytes, 4 * n_words, err));
    if (bytes[0] == 0x1f && bytes[1] == 0x8b)
        return pf_fail(err, PF_CORRUPT, "%s: is compressed; gunzip it", self->path);
    for (size_t i = 0; i < n_words; i++)
        self->word[i] = (uint32_t)bytes[4 * i] << 24 | (uint32_t)bytes[4 * i + 1] << 16 |
                        (uint32_t)bytes[4 * i + 2] << 8 | (uint32_t)bytes[4 * i + 3];
    if (self->word[0] != magic)
        return pf_fail(err, PF_CORRUPT, "%s: starts with 0x%08x, not with IDX's 0x%08x", self->path,
                       self->word[0], magic);
    return PF_OK;
}

/* The header's promise against the file's length, before memory is taken. */
static enum pf_status check_length(const struct idx_file *self, size_t n_words,
                                   uint64_t bytes_per_item, struct pf_error *err)
{
    /* count ≤ 2^24 and sides ≤ 2^8: below 2^40 */
    uint64_t promised = 4 * n_words + self->word[1] * bytes_per_item;
    char has[32], needs[32], count[32];
    if (self->length != promised)
        return pf_fail(err, PF_CORRUPT,
                       "%s: %s bytes, but its header promises %s items, %s bytes: cut short or "
                       "damaged",
                       self->path, pf_text_thousands(has, self->length),
                       pf_text_thousands(count, self->word[1]), pf_text_thousands(needs, promised));
    return PF_OK;
}

static enum pf_status check_images(const struct idx_file *self, struct pf_error *err)
{
    uint32_t count = self->word[1], height = self->word[2], width = self->word[3];
    if (count == 0 || count > PF_MAX_IMAGES)
        return pf_fail(err, PF_CORRUPT, "%s: %u images; 1 to %zu are supported", self->path, count,
                       PF_MAX_IMAGES);
    if (height == 0 || height > PF_MAX_IMAGE_SIDE || width == 0 || width > PF_MAX_IMAGE_SIDE)
        return pf_fail(err, PF_CORRUPT,
                       "%s: images of %u × %u; 1 to %u pixels a side are supported", self->path,
                       height, width, PF_MAX_IMAGE_SIDE);
    return check_length(self, 4, (uint64_t)height * width, err);
}

static enum pf_status check_labels(const struct idx_file *self, const struct idx_file *images,
                                   struct pf_error *err)
{
    if (self->word[1] != images->word[1])
        return pf_fail(err, PF_CORRUPT, "%s: %u labels for the %u images of %s", self->path,
                       self->word[1], images->word[1], images->path);
    return check_length(self, 2, 1, err);
}

static enum pf_status read_items(struct idx_file *images, struct idx_file *labels,
                                 struct pf_dataset *dataset, struct pf_error *err)
{
    size_t bytes = pf_dataset_image_bytes(dataset) * dataset->n_images;
    PF_TRY(pf_data_file_take(labels->file, labels->path, dataset->labels, dataset->n_images, err));
    for (size_t i = 0; i < dataset->n_images; i++)
        if (dataset->labels[i] >= N_CLASSES)
            return pf_fail(err, PF_CORRUPT, "%s: label %zu is %u; 0 to 9 are supported",
                           labels->path, i, dataset->labels[i]);
    return pf_data_file_take(images->file, images->path, dataset->pixels, bytes, err);
}

enum pf_status pf_dataset_load_idx(const char *dir, enum pf_data_split split,
                                   struct pf_dataset **dataset, struct pf_error *err)
{
    PF_CLEANUP(close_idx) struct idx_file images = {.file = NULL};
    PF_CLEANUP(close_idx) struct idx_file labels = {.file = NULL};
    PF_TRY(find_file(dir, split, "images", "idx3", &images, err));
    PF_TRY(find_file(dir, split, "labels", "idx1", &labels, err));
    PF_TRY(read_header(&images, IMAGES_MAGIC, 4, err));
    PF_TRY(read_header(&labels, LABELS_MAGIC, 2, err));
    PF_TRY(check_images(&images, err));
    PF_TRY(check_labels(&labels, &images, err));
    PF_CLEANUP(pf_dataset_destroyp) struct pf_dataset *self = NULL;
    PF_TRY(pf_dataset_create(images.word[1], 1, images.word[2], images.word[3], N_CLASSES, &self,
                             err));
    PF_TRY(read_items(&images, &labels, self, err));
    *dataset = self;
    self = NULL;
    return PF_OK;
}
