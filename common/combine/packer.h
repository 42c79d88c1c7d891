/* Packers: which columns of a filter matrix share a group.
 *
 * A group joins at most α columns and has at most ⌊γ·N⌋ conflicts.  Of what obeys that, few groups
 * are good, for they are columns of the array, and so is much weight kept, for on each row of a
 * group only the weight that is worth most survives.  All packers give the same grouping for the
 * same matrix, rule and options on every machine.
 *
 * [1] Kung, McDanel, Zhang, ASPLOS 2019, arXiv 1811.04770, Algorithm 2.
 * docs/column-combining.md compares the packers and says what each does. */
#ifndef PF_COMMON_COMBINE_PACKER_H
#define PF_COMMON_COMBINE_PACKER_H

#include "common/model/model.h"

enum pf_packer {
    PF_PACKER_KEPT_WEIGHT, /* fewest groups found, then most worth kept: local search.  Default. */
    PF_PACKER_PUBLISHED,   /* the rule of the authors' code */
    PF_PACKER_DENSE_FIRST, /* densest column first, into the group that becomes densest [1] */
    PF_PACKER_ITERATED,    /* fewest groups found: first fit, again and again */
    PF_PACKER_MATCHING,    /* α = 2: fewest pairs and singles, then most worth kept, exactly */
};
#define PF_N_PACKERS 5u

/* Columns of a layer that `matching` takes, at most: its work grows with their cube. */
#define PF_MAX_MATCHING_COLUMNS 1024u

#define PF_MAX_PACKER_EFFORT 3600.0

const char *pf_packer_name(enum pf_packer packer); /* "kept-weight", "published", … */

struct pf_packer_options {
    enum pf_packer packer;
    /* How long `iterated` and `kept-weight` search, per layer: seconds of one core of the kind that
     * docs/performance.md names, counted in operations, so that no clock decides the result. */
    double effort;
    uint64_t seed; /* of the search */
};

void pf_packer_options_default(struct pf_packer_options *options);
PF_NODISCARD enum pf_status pf_packer_options_validate(const struct pf_packer_options *self,
                                                       struct pf_error *err);

/* PF_INVALID when the packer cannot make groups of up to alpha columns: `matching` makes pairs. */
PF_NODISCARD enum pf_status pf_packer_check_alpha(enum pf_packer packer, uint32_t alpha,
                                                  struct pf_error *err);

struct pf_grouping_rule {
    uint32_t alpha;
    double gamma;
};

struct pf_grouping {
    uint32_t n_columns;
    uint32_t n_groups;
    uint32_t *group_of_column; /* [n_columns]; PF_NO_GROUP for columns without a nonzero */
};

void pf_grouping_finish(struct pf_grouping *self);

/* ⌊gamma · N⌋: the conflicts a group may have.  N counts all rows, empty ones too.  A product that
 * rounding left less than 1e-6 below a whole number counts as that number (0.29 · 100 is 29). */
size_t pf_conflict_limit(double gamma, uint32_t n_rows);

/* PF_INVALID when a size, alpha or gamma is beyond its limit. */
PF_NODISCARD enum pf_status pf_grouping_check(uint32_t n_rows, uint32_t n_columns,
                                              const struct pf_grouping_rule *rule,
                                              struct pf_error *err);

/* Groups the columns of a matrix.  worth[N][K]: what losing a weight costs, as its magnitude; of
 * any sign, 0 where there is none.  Columns without a nonzero get no group.  Groups are numbered by
 * their lowest column.  The caller releases *grouping with pf_grouping_finish. */
PF_NODISCARD enum pf_status pf_group_columns(const float *worth, uint32_t n_rows,
                                             uint32_t n_columns,
                                             const struct pf_grouping_rule *rule,
                                             const struct pf_packer_options *options,
                                             struct pf_grouping *grouping, struct pf_error *err);

/* Checks a grouping against the matrix it was made for, before its conflicts are pruned: every
 * column with a nonzero in one group and no other column in any, no group empty, none with more
 * than alpha columns or more conflicts than gamma allows.  PF_INVALID says which and where. */
PF_NODISCARD enum pf_status pf_grouping_validate(const struct pf_grouping *self, const float *worth,
                                                 uint32_t n_rows,
                                                 const struct pf_grouping_rule *rule,
                                                 struct pf_error *err);

/* What no grouping can beat. */
struct pf_group_bounds {
    /* The largest of: ⌈K'/α⌉ for K' nonempty columns; ⌈nonzeros / (N' + ⌊γN⌋)⌉ for N' nonempty
     * rows; the columns of a set of which no two may meet (found greedily). */
    uint32_t groups;
    /* Share of Σ worth that `n_groups` groups can keep: each row's n_groups largest. */
    double kept;
};

PF_NODISCARD enum pf_status pf_group_bounds(const float *worth, uint32_t n_rows, uint32_t n_columns,
                                            const struct pf_grouping_rule *rule, uint32_t n_groups,
                                            struct pf_group_bounds *bounds, struct pf_error *err);

/* *n_groups ← pf_group_bounds' groups alone. */
PF_NODISCARD enum pf_status pf_fewest_groups(const float *worth, uint32_t n_rows,
                                             uint32_t n_columns,
                                             const struct pf_grouping_rule *rule,
                                             uint32_t *n_groups, struct pf_error *err);

/* *kept ← the share of Σ|worth| that each row's n_groups largest hold. */
PF_NODISCARD enum pf_status pf_kept_bound(const float *worth, size_t n_rows, size_t n_columns,
                                          size_t n_groups, double *kept, struct pf_error *err);

/* *share ← Σ over rows and groups of the largest worth ÷ Σ worth; 1 for a matrix of zeros. */
PF_NODISCARD enum pf_status pf_grouping_kept(const struct pf_grouping *self, const float *worth,
                                             uint32_t n_rows, double *share, struct pf_error *err);

#endif
