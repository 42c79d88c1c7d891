/* Column combining: prune, group columns, resolve conflicts, permute rows.
 *
 * Kung, McDanel, Zhang, ASPLOS 2019, arXiv 1811.04770: Algorithm 1 (training), 2 (grouping),
 * 3 (conflict pruning).  Terms: a filter matrix has N rows and K columns; a group joins at most
 * alpha columns; its conflicts are Σ_rows max(0, nonzeros − 1) and at most ⌊gamma · N⌋. */
#ifndef PF_COMMON_COMBINE_COMBINE_H
#define PF_COMMON_COMBINE_COMBINE_H

#include "common/combine/packer.h"

/* Keeps the `keep` weights of largest magnitude of weights[n], zeroes the others; ties go to the
 * lower index.  PF_INVALID, and nothing changed, when a weight is not finite. */
PF_NODISCARD enum pf_status pf_prune_magnitude(float *weights, size_t n, size_t keep,
                                               struct pf_error *err);

/* Per row and group of weights[N][K] only the weight of largest magnitude survives (ties: lowest
 * column).  Columns without a group are left alone.  Returns the number of weights pruned. */
size_t pf_prune_conflicts(float *weights, uint32_t n_rows, const struct pf_grouping *grouping);

/* What a weight is worth: which are pruned, which columns are grouped, which of a conflict
 * survives. docs/column-combining.md says what each gives. */
enum pf_saliency {
    PF_SALIENCY_MAGNITUDE, /* |w|.  Default. */
    PF_SALIENCY_OUTPUT, /* w² · γ²/(σ²+ε) of its filter · mean square of its input: what the layer's
                         * normalised output changes by without it.  The mean square follows from
                         * batch norm's parameters; no data is needed. */
};
#define PF_N_SALIENCIES 2u

const char *pf_saliency_name(enum pf_saliency kind); /* "magnitude", "output" */

/* worth[N][K] ≥ 0 of layer l of a dense model; 0 where the weight is 0. */
void pf_layer_worth(const struct pf_model *dense, size_t l, enum pf_saliency kind, float *worth);

/* Mean square of min(max(x, 0), 6) for x normal with this mean and deviation ≥ 0. */
double pf_relu6_mean_square(double mean, double deviation);

struct pf_combine_options {
    uint32_t alpha[PF_MAX_BLOCKS]; /* one per block of the network, 0 behind; 1 = leave as it is */
    double gamma;
    /* Density aimed at before grouping, per block: the share of N·K weights kept by magnitude, in
     * (0, 1].  A layer already sparser is not pruned.  The first layer of a block takes the
     * previous block's, as with alpha. */
    double density[PF_MAX_BLOCKS];
    /* A layer that is packed with the same alpha and gamma and has no more weights than its density
     * allows keeps its packing.  Otherwise, and always when false, layers are grouped from scratch,
     * which costs further weights in new conflicts. */
    bool keep_groups;
    bool permute_rows; /* rows of a layer in the order in which the next layer's groups read them */
    struct pf_packer_options packer;
    enum pf_saliency saliency;
    /* Columns W of the array's tiles.  Where the groups are a few more than a multiple of W, the
     * layer is pruned further until they are that multiple, if this costs at most tile_slack of
     * what pruning left (as Σ worth).  0 = any number of groups. */
    uint32_t tile_columns;
    double tile_slack;
};

struct pf_combine_layer {
    uint32_t n_rows, n_columns;
    uint32_t alpha;          /* of the packing; 1 for a layer without */
    size_t nonzeros_before;  /* as given */
    size_t nonzeros_pruned;  /* after pruning, for tiles too */
    size_t nonzeros_after;   /* after conflict pruning */
    uint32_t columns_before; /* nonempty columns before combining (of the matrix as given) */
    uint32_t groups;         /* combined columns; = columns_before when not combined */
    uint32_t nonempty_rows;  /* after */
    double utilisation;      /* nonzeros ÷ (nonempty rows × groups) */
    uint32_t groups_bound;   /* no packer could need fewer; 0 for a layer that was not grouped */
    uint32_t
        groups_untiled; /* before further pruning for tile_columns; = groups when there was none */
    double weight_before; /* Σ|w| as given */
    double weight_kept;   /* Σ|w| after ÷ before; 1 for a layer that was all zeros */
    double kept_bound;    /* Σ|w| that as many groups could keep of what was given, ÷ before */
};

/* What it takes to bring channels from where one array's rows leave them to where the groups of the
 * next one read them, over all combined layers. */
struct pf_switching {
    size_t n_channels; /* that combined layers read */
    size_t
        n_misplaced; /* of them: not where the next array reads them, or read by several groups */
    uint64_t n_switches; /* 2 × 2 switches of the networks that route any order, for the layers that
                          * need one */
};

struct pf_combine_report {
    size_t n_layers;
    struct pf_combine_layer layers[PF_MAX_LAYERS];
    struct pf_switching as_grouped;  /* with rows as they were */
    struct pf_switching as_combined; /* with rows as they are now; the same unless permute_rows */
};

/* PF_INVALID: alpha outside 1…PF_MAX_ALPHA or not one per block, gamma outside 0…PF_MAX_ALPHA or
 * NaN, density outside (0, 1], tile_slack outside 0…1, a packer's option beyond its limit,
 * `matching` with an alpha above 2. */
PF_NODISCARD enum pf_status pf_combine_options_validate(const struct pf_combine_options *self,
                                                        const struct pf_network *network,
                                                        struct pf_error *err);

/* A new, packed model; `model` may be dense or packed (its zeros stay zero: weights lost once do
 * not revive).  Layers whose alpha is 1 are neither pruned nor grouped and keep the packing they
 * have, if any.  A combined layer keeps at least its largest weight; one that was all zeros gets a
 * packing of a single weight of value 0, so that no packing is ever empty.  A surviving weight that
 * training brought to exactly 0 counts as pruned.  report may be NULL. */
PF_NODISCARD enum pf_status pf_model_combine(const struct pf_model *model,
                                             const struct pf_combine_options *options,
                                             struct pf_model **combined,
                                             struct pf_combine_report *report,
                                             struct pf_error *err);

/* Permutes the rows of each layer so that the channels of each group of the following layer lie
 * side by side; renumbers columns, shifts, packings and the classifier to match.  The function of
 * the network is unchanged, but for the order of floating-point sums.  The rows of a layer are
 * permuted together with its batch norm.
 *
 * Channels are ordered by their group, then as they were; those of no group come last.  A layer
 * followed by one without a packing, as the last convolution by the classifier, keeps its order.
 * In front of a 3×3 convolution a channel has nine columns, which may lie in nine groups: channels
 * then stand in the order in which the groups first name them, which keeps together what the first
 * of these groups holds and only what is left of later ones. */
PF_NODISCARD enum pf_status pf_model_permute_rows(const struct pf_model *model,
                                                  struct pf_model **permuted, struct pf_error *err);

/* The same with orders of the caller's: row r of layer l becomes what was row orders[l][r];
 * orders[l] = NULL leaves the layer, which the classifier's must be.  [n_layers] pointers.
 * PF_INVALID when an order is no permutation of the layer's rows. */
PF_NODISCARD enum pf_status pf_model_reorder_rows(const struct pf_model *model,
                                                  const uint32_t *const *orders,
                                                  struct pf_model **reordered,
                                                  struct pf_error *err);

PF_NODISCARD enum pf_status pf_model_switching(const struct pf_model *model,
                                               struct pf_switching *switching,
                                               struct pf_error *err);

#endif
