/* CIFAR-10, binary version: files of 3,073-byte records, one label byte and then 32 × 32 pixels
 * of red, of green and of blue, row by row [1].
 *
 * [1] https://www.cs.toronto.edu/~kriz/cifar.html */
#include <limits.h>
#include <string.h>

#include "common/base/file.h"
#include "common/base/text.h"
#include "common/data/data_file.h"
#include "common/data/dataset.h"

#define SIDE 32u
#define N_CHANNELS 3u
#define N_CLASSES 10u
#define IMAGE_BYTES (N_CHANNELS * SIDE * SIDE)
#define RECORD_BYTES (1u + IMAGE_BYTES)
#define MAX_FILES 5u
#define SUBFOLDER "cifar-10-batches-bin"

static const char *const train_names[] = {"data_batch_1.bin", "data_batch_2.bin",
                                          "data_batch_3.bin", "data_batch_4.bin",
                                          "data_batch_5.bin"};
static const char *const test_names[] = {"test_batch.bin"};

static const char expected[] =
    "CIFAR-10 is data_batch_1.bin to data_batch_5.bin and test_batch.bin, in that folder or in "
    "its " SUBFOLDER "; unpack https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz there";

struct batch_files {
    size_t n;
    char path[MAX_FILES][PATH_MAX];
    size_t n_images[MAX_FILES];
};

/* The folder itself when it holds the first file, else the one the archive unpacks to. */
static enum pf_status find_files(const char *dir, enum pf_data_split split,
                                 struct batch_files *files, struct pf_error *err)
{
    const char *const *names = split == PF_SPLIT_TRAIN ? train_names : test_names;
    files->n = split == PF_SPLIT_TRAIN ? PF_ARRAY_LENGTH(train_names) : PF_ARRAY_LENGTH(test_names);
    char nested[PATH_MAX], first[PATH_MAX];
    PF_TRY(pf_path_join(dir, SUBFOLDER, nested, sizeof nested, err));
    PF_TRY(pf_path_join(nested, names[0], first, sizeof first, err));
    const char *folder = pf_file_exists(first) ? nested : dir;
    PF_TRY(pf_path_join(dir, names[0], first, sizeof first, err));
    if (pf_file_exists(first)) folder = dir;
    for (size_t i = 0; i < files->n; i++)
        PF_TRY(pf_path_join(folder, names[i], files->path[i], sizeof files->path[i], err));
    return PF_OK;
}

static enum pf_status count_images(const char *path, uint64_t length, size_t *n_images,
                                   struct pf_error *err)
{
    char bytes[32], limit[32];
    if (length == 0) return pf_fail(err, PF_CORRUPT, "%s: is empty", path);
    if (length % RECORD_BYTES != 0)
        return pf_fail(err, PF_CORRUPT,
                       "%s: %s bytes is not a whole number of 3,073-byte records: cut short or not "
                       "CIFAR-10's binary layout",
                       path, pf_text_thousands(bytes, length));
    if (length / RECORD_BYTES > PF_MAX_IMAGES)
        return pf_fail(err, PF_CORRUPT, "%s: %s images, more than the %s supported", path,
                       pf_text_thousands(bytes, length / RECORD_BYTES),
                       pf_text_thousands(limit, PF_MAX_IMAGES));
    *n_images = (size_t)(length / RECORD_BYTES);
    return PF_OK;
}

/* Looks at every file before memory is taken for any. */
static enum pf_status measure_files(struct batch_files *files, size_t *n_images,
                                    struct pf_error *err)
{
    *n_images = 0;
    for (size_t i = 0; i < files->n; i++) {
        PF_CLEANUP(pf_data_file_closep) FILE *file = NULL;
        uint64_t length = 0;
        PF_TRY(pf_data_file_open(files->path[i], expected, &file, &length, err));
        PF_TRY(count_images(files->path[i], length, &files->n_images[i], err));
        *n_images += files->n_images[i];
    }
    char total[32], limit[32];
    if (*n_images > PF_MAX_IMAGES)
        return pf_fail(err, PF_CORRUPT,
                       "%s and the files beside it: %s images, more than the %s "
                       "supported",
                       files->path[0], pf_text_thousands(total, *n_images),
                       pf_text_thousands(limit, PF_MAX_IMAGES));
    return PF_OK;
}

static enum pf_status read_file(const char *path, size_t n_images, uint8_t *pixels, uint8_t *labels,
                                struct pf_error *err)
{
    PF_CLEANUP(pf_data_file_closep) FILE *file = NULL;
    uint64_t length = 0;
    PF_TRY(pf_data_file_open(path, expected, &file, &length, err));
    for (size_t i = 0; i < n_images; i++) {
        PF_TRY(pf_data_file_take(file, path, &labels[i], 1, err));
        if (labels[i] >= N_CLASSES)
            return pf_fail(err, PF_CORRUPT,
                           "%s: record %zu has label %u, above 9: damaged or not CIFAR-10's binary "
                           "layout",
                           path, i, labels[i]);
        PF_TRY(pf_data_file_take(file, path, pixels + i * IMAGE_BYTES, IMAGE_BYTES, err));
    }
    return PF_OK;
}

enum pf_status pf_dataset_load_cifar10(const char *dir, enum pf_data_split split,
                                       struct pf_dataset **dataset, struct pf_error *err)
{
    struct batch_files files;
    size_t n_images = 0;
    PF_TRY(find_files(dir, split, &files, err));
    PF_TRY(measure_files(&files, &n_images, err));
    PF_CLEANUP(pf_dataset_destroyp) struct pf_dataset *self = NULL;
    PF_TRY(pf_dataset_create(n_images, N_CHANNELS, SIDE, SIDE, N_CLASSES, &self, err));
    size_t done = 0;
    for (size_t i = 0; i < files.n; i++) {
        PF_TRY(read_file(files.path[i], files.n_images[i], self->pixels + done * IMAGE_BYTES,
                         self->labels + done, err));
        done += files.n_images[i];
    }
    *dataset = self;
    self = NULL;
    return PF_OK;
}
