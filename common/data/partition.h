/* Who holds which images.  Every kind gives disjoint parts, decided by the seed alone, so that
 * each of N participants can work out its own part from the whole set. */
#ifndef PF_COMMON_DATA_PARTITION_H
#define PF_COMMON_DATA_PARTITION_H

#include "common/data/dataset.h"

#define PF_MAX_PARTS 10000u

enum pf_partition_kind {
    PF_PARTITION_IID,       /* shuffled, each class spread evenly */
    PF_PARTITION_DIRICHLET, /* per class, shares drawn from Dirichlet(concentration) */
    PF_PARTITION_FIRST, /* part i takes images [i·⌊r·n⌋, (i+1)·⌊r·n⌋) of each class in order */
};

struct pf_partition_options {
    enum pf_partition_kind kind;
    size_t n_parts;
    double fraction;      /* of the whole set per part, 0 < r; n_parts · fraction ≤ 1 */
    double concentration; /* Dirichlet's a > 0 */
    uint64_t seed;
};

struct pf_partition {
    size_t n_parts;
    size_t *start;     /* [n_parts + 1] into indices */
    uint32_t *indices; /* image numbers, part by part; no number twice */
};

/* PF_INVALID, with the numbers, when parts would overlap (n_parts · fraction > 1) or one would be
 * empty.  Dirichlet parts have unequal sizes whose total is ⌊n_parts · fraction · n_images⌋. */
PF_NODISCARD enum pf_status pf_partition_create(const struct pf_dataset *dataset,
                                                const struct pf_partition_options *options,
                                                struct pf_partition **partition,
                                                struct pf_error *err);
void pf_partition_destroy(struct pf_partition *self);
PF_DEFINE_CLEANUP(struct pf_partition, pf_partition_destroy)

/* The images of one part. */
PF_NODISCARD enum pf_status pf_partition_take(const struct pf_partition *self, size_t part,
                                              const struct pf_dataset *dataset,
                                              struct pf_dataset **subset, struct pf_error *err);

#endif
