/* Column combining: prune, group columns, resolve conflicts, permute rows.
 *
 * Kung, McDanel, Zhang, ASPLOS 2019, arXiv 1811.04770: Algorithm 1 (training), 2 (grouping),
 * 3 (conflict pruning).  Terms: a filter matrix has N rows and K columns; a group joins at most
 * alpha columns; its conflicts are Σ_rows max(0, nonzeros − 1) and at most ⌊gamma · N⌋. */
#ifndef PF_COMMON_COMBINE_COMBINE_H
#define PF_COMMON_COMBINE_COMBINE_H

#include "common/model/model.h"

struct pf_grouping {
    uint32_t n_columns;
    uint32_t n_groups;
    uint32_t *group_of_column; /* [n_columns]; PF_NO_GROUP for columns without a nonzero */
};

void pf_grouping_finish(struct pf_grouping *self);

/* Keeps the `keep` weights of largest magnitude of weights[n], zeroes the others; ties go to the
 * lower index. */
PF_NODISCARD enum pf_status pf_prune_magnitude(float *weights, size_t n, size_t keep,
                                               struct pf_error *err);

/* The published rule: start each column alone; take the lowest-index group that has any feasible
 * partner; merge the feasible partner that leaves the fewest empty rows; repeat. */
PF_NODISCARD enum pf_status pf_group_columns(const float *weights, uint32_t n_rows,
                                             uint32_t n_columns, uint32_t alpha, double gamma,
                                             struct pf_grouping *grouping, struct pf_error *err);

/* Checks (alpha, gamma) of every group against the matrix it was made for. */
PF_NODISCARD enum pf_status pf_grouping_validate(const struct pf_grouping *self,
                                                 const float *weights, uint32_t n_rows,
                                                 uint32_t alpha, double gamma,
                                                 struct pf_error *err);

/* Per row and group only the weight of largest magnitude survives (ties: lowest column).
 * Returns the number of weights pruned. */
size_t pf_prune_conflicts(float *weights, uint32_t n_rows, const struct pf_grouping *grouping);

struct pf_combine_options {
    uint32_t alpha[PF_MAX_BLOCKS]; /* per block of the network; 1 = leave dense */
    double gamma;
    /* Density aimed at before grouping, per block: the share of N·K weights kept by magnitude.
     * A layer already sparser is not pruned. */
    double density[PF_MAX_BLOCKS];
    bool permute_rows; /* rows of a layer in the order in which the next layer's groups read them */
};

struct pf_combine_layer {
    uint32_t n_rows, n_columns;
    uint32_t alpha;
    size_t nonzeros_before;  /* as given */
    size_t nonzeros_pruned;  /* after magnitude pruning */
    size_t nonzeros_after;   /* after conflict pruning */
    uint32_t columns_before; /* nonempty columns before combining (of the matrix as given) */
    uint32_t groups;         /* combined columns; = columns_before when not combined */
    double utilisation;      /* nonzeros ÷ (nonempty rows × groups) */
    double weight_kept;      /* Σ|w| after ÷ before */
};

struct pf_combine_report {
    size_t n_layers;
    struct pf_combine_layer layers[PF_MAX_LAYERS];
};

PF_NODISCARD enum pf_status pf_combine_options_validate(const struct pf_combine_options *self,
                                                        const struct pf_network *network,
                                                        struct pf_error *err);

/* A new, packed model; `model` may be dense or packed (its zeros stay zero: weights lost once do
 * not revive).  report may be NULL. */
PF_NODISCARD enum pf_status pf_model_combine(const struct pf_model *model,
                                             const struct pf_combine_options *options,
                                             struct pf_model **combined,
                                             struct pf_combine_report *report,
                                             struct pf_error *err);

/* Permutes the rows of each layer so that the channels of each group of the following layer lie
 * side by side; renumbers columns, shifts, packings and the classifier to match.  The function of
 * the network is unchanged.  The rows of a layer are permuted together with its batch norm. */
PF_NODISCARD enum pf_status pf_model_permute_rows(const struct pf_model *model,
                                                  struct pf_model **permuted, struct pf_error *err);

#endif
