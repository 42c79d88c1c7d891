/* Option groups that several commands take, as argp children.
 *
 * A command lists them in its `children` with the struct to fill as child input (set in its
 * parser at ARGP_KEY_INIT: state->child_inputs[i] = &options->data).  Each group fills in its
 * defaults at its own ARGP_KEY_INIT and exits 2 with a sentence on a value that cannot be meant. */
#ifndef PF_CLI_OPTIONS_H
#define PF_CLI_OPTIONS_H

#include "cli/cli.h"
#include "common/combine/schedule.h"
#include "common/data/dataset.h"
#include "common/data/partition.h"
#include "common/nn/train.h"
#include "coordinator/coordinator.h"
#include "sim/array/evaluate.h"
#include "sim/federation/summary.h"

/* --seed N  --threads N  --json  --quiet  --verbose */
struct pf_options_common {
    uint64_t seed;
    size_t threads; /* 0: one per core */
    bool json;
    bool quiet;
    bool verbose;
};
extern const struct argp pf_options_common_argp;

/* --data synthetic|cifar10|idx|mnist  --data-dir DIR  --synthetic-images N */
struct pf_options_data {
    struct pf_data_source source; /* .seed is left 0: take it from common.seed */
    bool given;                   /* --data was on the line */
};
extern const struct argp pf_options_data_argp;

/* --filters  --layers  --strides  --layer-type; image size and classes come from the data */
struct pf_options_network {
    struct pf_network network;
};
extern const struct argp pf_options_network_argp;

/* Takes image size and classes from the data, then validates the network. */
PF_NODISCARD enum pf_status pf_options_network_for(struct pf_network *network,
                                                   const struct pf_dataset *dataset,
                                                   struct pf_error *err);

/* --batch --epochs --learning-rate --schedule --momentum --no-nesterov --weight-decay --l1
 * --label-smoothing --no-augmentation --activations */
struct pf_options_train {
    struct pf_train_options train;
};
extern const struct argp pf_options_train_argp;

#define PF_ACTIVATIONS_HELP                                                                \
    "how the layers' outputs are kept for the way back: half (default; as fast as memory " \
    "allows) or single precision"
/* The value of --activations, or exit 2. */
enum pf_precision pf_cli_activations(const struct argp_state *state, const char *text);

/* Cohort, quorum, deadlines, server optimiser, and how participants train: --min-cohort --quorum
 * --round-timeout … --batch --local-epochs --learning-rate … */
struct pf_options_rounds {
    /* Filled in: min_cohort, quorum, max_failed_rounds, the timeouts, optimiser, order. */
    struct pf_coordinator_config config;
    /* 0 and < 0: the default of the optimiser, which may be named later on the line */
    double server_learning_rate;
    double server_momentum;
    double distill; /* < 0: not given */
};
extern const struct argp pf_options_rounds_argp;

/* The weight of distillation where --distill was not given: PF_DEFAULT_DISTILL_WEIGHT, but 0 for a
 * model that is packed and so cannot teach. */
void pf_options_fit_distillation(struct pf_options_rounds *self, const struct pf_model *model);

/* Bits per coordinate of an update before masking; 32 when plain. */
uint32_t pf_options_update_bits(const struct pf_options_rounds *self);

/* --alpha 1,4,8  --gamma 1.75  --packer NAME  --saliency KIND  --rounds N  --density-factor X
 * --stages rising-alpha|published|paper  --no-row-permutation … */
struct pf_options_combine {
    struct pf_schedule_options schedule; /* n_blocks: how many numbers --alpha had */
};
extern const struct argp pf_options_combine_argp;

/* Gives every block α = 8 when --alpha was not given; PF_INVALID when the numbers do not match. */
PF_NODISCARD enum pf_status pf_options_fit_alpha(struct pf_schedule_options *self,
                                                 uint32_t n_blocks, struct pf_error *err);

struct pf_options_array;
/* What combining takes from other groups: the seed, and the width of a tile. */
void pf_options_complete(struct pf_options_combine *self, const struct pf_options_common *common,
                         const struct pf_options_array *array);

/* --array 32x32  --array-alpha 8  --clock 150  --double-buffering */
struct pf_options_array {
    struct pf_array array;
};
extern const struct argp pf_options_array_argp;

/* --partition iid|dirichlet|first  --concentration A  --fraction R (0 when not given) */
struct pf_options_partition {
    struct pf_partition_options partition; /* n_parts and seed are the command's business */
};
extern const struct argp pf_options_partition_argp;

/* Test images that are compared with the integer reference unless told otherwise. */
#define PF_CHECKED_IMAGES 64u

/* A run's table on stdout, or with `json` its summary; `folder` is where the run was written. */
PF_NODISCARD enum pf_status pf_cli_print_summary(const struct pf_summary *summary,
                                                 const char *folder, bool json,
                                                 struct pf_error *err);

#endif
