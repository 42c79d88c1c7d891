/* When to prune how much: a list of stages, each "combine, then retrain for some rounds". */
#ifndef PF_COMMON_COMBINE_SCHEDULE_H
#define PF_COMMON_COMBINE_SCHEDULE_H

#include "common/combine/combine.h"

#define PF_MAX_STAGES 64u

enum pf_stage_schedule {
    PF_STAGES_RISING_ALPHA, /* α ← min(α, 2), min(α, 4), … target; density to 0.8·(1 + γ)/α of the
                             * stage); the learning rate restarts at each stage.  Default. */
    PF_STAGES_PUBLISHED, /* the authors' code: n events over the first half of the rounds, event
                          * i prunes 0.8·(1 − (1 − i/n)³)·(1 − 1/α), regroups from scratch; one
                          * learning-rate cycle over all */
    PF_STAGES_PAPER,     /* Algorithm 1: prune the smallest β of what is left, group, retrain;
                          * β ← 0.9·β until nonzeros ≤ ρ; then final rounds */
};

struct pf_schedule_options {
    enum pf_stage_schedule kind;
    uint32_t n_blocks;
    uint32_t alpha[PF_MAX_BLOCKS]; /* target */
    double gamma;
    uint32_t rounds;       /* in total, over all stages */
    uint32_t n_events;     /* published: 10 */
    double beta;           /* paper: 0.2 */
    double target_density; /* paper: ρ as a share of the combinable weights */
    double density_factor; /* rising-alpha: prune to this ÷ α; 0: 0.8 · (1 + gamma) */
    bool permute_rows;     /* after the last combining */
    /* As in struct pf_combine_options, for every stage. */
    struct pf_packer_options packer;
    enum pf_saliency saliency;
    uint32_t tile_columns;
    double tile_slack;
};

struct pf_stage {
    struct pf_combine_options combine;
    uint32_t rounds;
    /* The slice of the learning-rate schedule that the stage covers. */
    double schedule_begin, schedule_end;
};

struct pf_schedule {
    size_t n_stages;
    struct pf_stage stages[PF_MAX_STAGES];
};

const char *pf_stage_schedule_name(enum pf_stage_schedule kind); /* "rising-alpha", … */

/* Defaults for everything but n_blocks, alpha. */
void pf_schedule_options_default(struct pf_schedule_options *options);

/* PF_INVALID with a sentence when an option of the kind chosen is out of range, when there are
 * fewer rounds than stages, or when beta is too small ever to reach the target density.
 *
 * rising-alpha: every stage but the last takes a tenth of the rounds and at least one, the last the
 *   rest.
 * published: event i comes after ⌊(i − 1)·(rounds/2)/n⌋ rounds, the first one at once, since the
 *   model that comes in is trained; with fewer than n rounds in the first half there are as many
 *   events as rounds; the last stage lasts to the end.
 * paper: density_i = Π_{j<i} (1 − beta·0.9^j), down to the first at or below the target; the rounds
 *   are shared evenly among the stages and the final training, which belongs to the last stage.
 *   Every stage runs through a learning-rate schedule of its own.
 * When every alpha is 1: one stage that combines nothing.
 * Densities are shares of all weights: what conflicts cost comes off the next pruning. */
PF_NODISCARD enum pf_status pf_schedule_plan(const struct pf_schedule_options *options,
                                             struct pf_schedule *schedule, struct pf_error *err);

/* What the last stage combines, whatever rounds the options have: for combining at once, without
 * retraining. */
PF_NODISCARD enum pf_status pf_schedule_plan_last(const struct pf_schedule_options *options,
                                                  struct pf_combine_options *combine,
                                                  struct pf_error *err);

uint32_t pf_schedule_rounds(const struct pf_schedule *self);

#endif
