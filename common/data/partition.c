/* All kinds start from one list of image numbers per class.
 *
 * IID and Dirichlet first line up the whole set so that every stretch of the line holds the classes
 * in proportion.  IID cuts the line into equal lengths.  Dirichlet takes the line's beginning and
 * deals each class's images out by shares drawn for that class alone, as Hsu, Qi and Brown do [1],
 * but over the parts instead of over the classes, so that no image is dealt twice.
 *
 * [1] Measuring the Effects of Non-Identical Data Distribution for Federated Visual
 *     Classification, arXiv 1909.06335. */
#include "common/data/partition.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/base/random.h"

#define MAX_CLASSES 256u
#define MAX_DRAWS 100u /* of a Dirichlet partition in which no part is empty */

/* Image numbers by class: class c owns image[start[c] … start[c + 1]), ascending until shuffled. */
struct class_lists {
    size_t n_classes;
    size_t start[MAX_CLASSES + 1];
    uint32_t *image;
};

static void finish_class_lists(struct class_lists *self)
{
    pf_free(self->image);
    self->image = NULL;
}

static enum pf_status list_classes(struct class_lists *self, const struct pf_dataset *dataset,
                                   struct pf_error *err)
{
    self->n_classes = dataset->n_classes;
    self->image = PF_ALLOC(dataset->n_images, uint32_t);
    if (self->image == NULL) return pf_no_memory(err, "a partition");
    for (size_t i = 0; i < dataset->n_images; i++) self->start[dataset->labels[i] + 1u]++;
    for (size_t c = 0; c < self->n_classes; c++) self->start[c + 1] += self->start[c];
    size_t next[MAX_CLASSES];
    memcpy(next, self->start, sizeof next);
    for (size_t i = 0; i < dataset->n_images; i++)
        self->image[next[dataset->labels[i]]++] = (uint32_t)i;
    return PF_OK;
}

static size_t class_size(const struct class_lists *self, size_t c)
{
    return self->start[c + 1] - self->start[c];
}

static void shuffle_classes(struct class_lists *self, uint64_t seed)
{
    for (size_t c = 0; c < self->n_classes; c++) {
        struct pf_random random;
        pf_random_init(&random, seed, "partition", c);
        pf_random_shuffle(&random, self->image + self->start[c], class_size(self, c));
    }
}

/* The class that lags behind most when `taken` of each stand in the line: the smallest
 * (taken + 1/2) / size.  Exact: both products stay below 2^50. */
static size_t most_behind(const struct class_lists *lists, const size_t *taken)
{
    size_t best = MAX_CLASSES;
    for (size_t c = 0; c < lists->n_classes; c++) {
        if (taken[c] == class_size(lists, c)) continue;
        if (best == MAX_CLASSES || (2 * taken[c] + 1) * class_size(lists, best) <
                                       (2 * taken[best] + 1) * class_size(lists, c))
            best = c;
    }
    return best;
}

/* line[n] ← the first n images of the line (NULL: not wanted); taken[c] ← how many of them are of
 * class c. */
static void line_up(const struct class_lists *lists, size_t n, uint32_t *line, size_t *taken)
{
    for (size_t c = 0; c < lists->n_classes; c++) taken[c] = 0;
    for (size_t i = 0; i < n; i++) {
        size_t c = most_behind(lists, taken);
        if (line != NULL) line[i] = lists->image[lists->start[c] + taken[c]];
        taken[c]++;
    }
}

/* ⌊share · n⌋, forgiving that a decimal fraction has no exact binary form: .29 of 100 is 29. */
static size_t share_of(double share, size_t n)
{
    size_t result = (size_t)floor(share * (double)n * (1.0 + 1e-12));
    return PF_MIN(result, n);
}

static enum pf_status create_parts(size_t n_parts, size_t n_images, struct pf_partition **partition,
                                   struct pf_error *err)
{
    struct pf_partition *self = PF_ALLOC(1, struct pf_partition);
    if (self == NULL) return pf_no_memory(err, "a partition");
    self->n_parts = n_parts;
    self->start = PF_ALLOC(n_parts + 1, size_t);
    self->indices = PF_ALLOC(n_images, uint32_t);
    if (self->start == NULL || self->indices == NULL) {
        pf_partition_destroy(self);
        return pf_no_memory(err, "a partition");
    }
    *partition = self;
    return PF_OK;
}

static enum pf_status part_iid(struct class_lists *lists,
                               const struct pf_partition_options *options, size_t n_images,
                               struct pf_partition **partition, struct pf_error *err)
{
    size_t n = PF_MIN(share_of(options->fraction, n_images), n_images / options->n_parts);
    if (n == 0)
        return pf_fail(err, PF_INVALID,
                       "partition: %g of %zu images for each of %zu parts is less than one image: "
                       "take a larger fraction or fewer parts",
                       options->fraction, n_images, options->n_parts);
    shuffle_classes(lists, options->seed);
    struct pf_partition *self = NULL;
    PF_TRY(create_parts(options->n_parts, options->n_parts * n, &self, err));
    size_t taken[MAX_CLASSES];
    line_up(lists, options->n_parts * n, self->indices, taken);
    for (size_t i = 0; i <= options->n_parts; i++) self->start[i] = i * n;
    *partition = self;
    return PF_OK;
}

static enum pf_status part_first(const struct class_lists *lists,
                                 const struct pf_partition_options *options,
                                 struct pf_partition **partition, struct pf_error *err)
{
    size_t quota[MAX_CLASSES], total = 0;
    for (size_t c = 0; c < lists->n_classes; c++) {
        size_t n = class_size(lists, c);
        quota[c] = PF_MIN(share_of(options->fraction, n), n / options->n_parts);
        total += quota[c];
    }
    if (total == 0)
        return pf_fail(err, PF_INVALID,
                       "partition: %g of the images of each class is less than one image for each "
                       "of %zu parts: take a larger fraction or fewer parts",
                       options->fraction, options->n_parts);
    struct pf_partition *self = NULL;
    PF_TRY(create_parts(options->n_parts, options->n_parts * total, &self, err));
    uint32_t *next = self->indices;
    for (size_t i = 0; i < options->n_parts; i++) {
        for (size_t c = 0; c < lists->n_classes; c++) {
            if (quota[c] == 0) continue;
            memcpy(next, lists->image + lists->start[c] + i * quota[c], quota[c] * sizeof *next);
            next += quota[c];
        }
        self->start[i + 1] = self->start[i] + total;
    }
    *partition = self;
    return PF_OK;
}

/* share[n_parts] ~ Dirichlet(concentration). */
static void draw_shares(struct pf_random *random, double concentration, double *share,
                        size_t n_parts)
{
    double sum = 0;
    for (size_t i = 0; i < n_parts; i++) sum += share[i] = pf_random_gamma(random, concentration);
    /* All gammas underflow only where Dirichlet has long become "one part takes all". */
    if (!(sum > 0)) share[pf_random_below(random, (uint32_t)n_parts)] = sum = 1;
    for (size_t i = 0; i < n_parts; i++) share[i] /= sum;
}

/* count[part · n_classes + class]; true when no part is empty. */
static bool draw_counts(const struct pf_partition_options *options, uint64_t draw,
                        const size_t *taken, size_t n_classes, double *share, uint32_t *count)
{
    struct pf_random random;
    pf_random_init(&random, options->seed, "partition shares", draw);
    for (size_t c = 0; c < n_classes; c++) {
        draw_shares(&random, options->concentration, share, options->n_parts);
        double cumulated = 0;
        size_t dealt = 0;
        for (size_t i = 0; i < options->n_parts; i++) {
            cumulated += share[i];
            size_t until = (size_t)llround(fmin(cumulated, 1.0) * (double)taken[c]);
            if (i + 1 == options->n_parts) until = taken[c];
            count[i * n_classes + c] = (uint32_t)(until - dealt);
            dealt = until;
        }
    }
    for (size_t i = 0; i < options->n_parts; i++) {
        size_t n = 0;
        for (size_t c = 0; c < n_classes; c++) n += count[i * n_classes + c];
        if (n == 0) return false;
    }
    return true;
}

static enum pf_status deal_counts(const struct class_lists *lists, const uint32_t *count,
                                  size_t n_parts, size_t total, struct pf_partition **partition,
                                  struct pf_error *err)
{
    struct pf_partition *self = NULL;
    PF_TRY(create_parts(n_parts, total, &self, err));
    size_t taken[MAX_CLASSES] = {0}, n = 0;
    for (size_t i = 0; i < n_parts; i++) {
        for (size_t c = 0; c < lists->n_classes; c++) {
            size_t more = count[i * lists->n_classes + c];
            if (more == 0) continue;
            memcpy(self->indices + n, lists->image + lists->start[c] + taken[c],
                   more * sizeof *self->indices);
            taken[c] += more;
            n += more;
        }
        self->start[i + 1] = n;
    }
    *partition = self;
    return PF_OK;
}

static enum pf_status part_dirichlet(struct class_lists *lists,
                                     const struct pf_partition_options *options, size_t n_images,
                                     struct pf_partition **partition, struct pf_error *err)
{
    size_t n_parts = options->n_parts;
    size_t total = share_of((double)n_parts * options->fraction, n_images);
    if (total < n_parts)
        return pf_fail(err, PF_INVALID,
                       "partition: %zu · %g of %zu images are too few for %zu parts: take a larger "
                       "fraction or fewer parts",
                       n_parts, options->fraction, n_images, n_parts);
    PF_CLEANUP(pf_freep) double *share = PF_ALLOC(n_parts, double);
    PF_CLEANUP(pf_freep) uint32_t *count = PF_ALLOC(n_parts * lists->n_classes, uint32_t);
    if (share == NULL || count == NULL) return pf_no_memory(err, "a partition");
    shuffle_classes(lists, options->seed);
    size_t taken[MAX_CLASSES];
    line_up(lists, total, NULL, taken);
    for (uint64_t draw = 0; draw < MAX_DRAWS; draw++)
        if (draw_counts(options, draw, taken, lists->n_classes, share, count))
            return deal_counts(lists, count, n_parts, total, partition, err);
    return pf_fail(err, PF_INVALID,
                   "partition: Dirichlet(%g) left one of %zu parts without any of %zu images in "
                   "each of %u draws: take a larger concentration or fewer parts",
                   options->concentration, n_parts, total, MAX_DRAWS);
}

static enum pf_status check_options(const struct pf_partition_options *options,
                                    struct pf_error *err)
{
    double whole = (double)options->n_parts * options->fraction;
    if (options->n_parts == 0 || options->n_parts > PF_MAX_PARTS)
        return pf_fail(err, PF_INVALID, "partition: %zu parts; 1 to %u are supported",
                       options->n_parts, PF_MAX_PARTS);
    if (!(options->fraction > 0.0) || !isfinite(options->fraction))
        return pf_fail(err, PF_INVALID, "partition: a fraction of %g per part; give more than 0",
                       options->fraction);
    if (whole > 1.0 + 1e-9)
        return pf_fail(err, PF_INVALID,
                       "partition: %zu parts of %g each are %g of the data set, so they would "
                       "overlap: take fewer parts or at most %g",
                       options->n_parts, options->fraction, whole, 1.0 / (double)options->n_parts);
    if (options->kind == PF_PARTITION_DIRICHLET &&
        (!(options->concentration > 0.0) || !isfinite(options->concentration)))
        return pf_fail(err, PF_INVALID, "partition: a concentration of %g; give more than 0",
                       options->concentration);
    return PF_OK;
}

enum pf_status pf_partition_create(const struct pf_dataset *dataset,
                                   const struct pf_partition_options *options,
                                   struct pf_partition **partition, struct pf_error *err)
{
    PF_TRY(check_options(options, err));
    PF_CLEANUP(finish_class_lists) struct class_lists lists = {0};
    PF_TRY(list_classes(&lists, dataset, err));
    switch (options->kind) {
    case PF_PARTITION_IID: return part_iid(&lists, options, dataset->n_images, partition, err);
    case PF_PARTITION_DIRICHLET:
        return part_dirichlet(&lists, options, dataset->n_images, partition, err);
    case PF_PARTITION_FIRST: return part_first(&lists, options, partition, err);
    }
    return pf_fail(err, PF_INVALID, "partition: kind %d is none of iid, dirichlet and first",
                   (int)options->kind);
}

void pf_partition_destroy(struct pf_partition *self)
{
    if (self == NULL) return;
    pf_free(self->start);
    pf_free(self->indices);
    pf_free(self);
}

enum pf_status pf_partition_take(const struct pf_partition *self, size_t part,
                                 const struct pf_dataset *dataset, struct pf_dataset **subset,
                                 struct pf_error *err)
{
    if (part >= self->n_parts)
        return pf_fail(err, PF_INVALID, "partition: part %zu of %zu; the first is 0", part,
                       self->n_parts);
    return pf_dataset_subset(dataset, self->indices + self->start[part],
                             self->start[part + 1] - self->start[part], subset, err);
}
