/* The three schedules of pruning; docs/column-combining.md compares them. */
#include "common/combine/schedule.h"

#include <math.h>

const char *pf_stage_schedule_name(enum pf_stage_schedule kind)
{
    switch (kind) {
    case PF_STAGES_RISING_ALPHA: return "rising-alpha";
    case PF_STAGES_PUBLISHED: return "published";
    case PF_STAGES_PAPER: return "paper";
    }
    return "unknown";
}

void pf_schedule_options_default(struct pf_schedule_options *options)
{
    *options = (struct pf_schedule_options){.kind = PF_STAGES_RISING_ALPHA,
                                            .gamma = 1.75,
                                            .rounds = 30,
                                            .n_events = 10,
                                            .beta = 0.2,
                                            .target_density = 0.2,
                                            .permute_rows = true,
                                            .tile_slack = 0.02};
    pf_packer_options_default(&options->packer);
}

static enum pf_status check_common(const struct pf_schedule_options *self, struct pf_error *err)
{
    if (self->n_blocks == 0 || self->n_blocks > PF_MAX_BLOCKS)
        return pf_fail(err, PF_INVALID, "schedule: %u blocks; give 1 to %u alphas", self->n_blocks,
                       PF_MAX_BLOCKS);
    for (uint32_t b = 0; b < self->n_blocks; b++)
        if (self->alpha[b] == 0 || self->alpha[b] > PF_MAX_ALPHA)
            return pf_fail(err, PF_INVALID, "schedule: alpha = %u of block %u is outside 1…%u",
                           self->alpha[b], b + 1, PF_MAX_ALPHA);
    for (uint32_t b = 0; b < self->n_blocks; b++)
        PF_TRY(pf_packer_check_alpha(self->packer.packer, self->alpha[b], err));
    if (!(self->gamma >= 0.0 && self->gamma <= (double)PF_MAX_ALPHA))
        return pf_fail(err, PF_INVALID, "schedule: gamma = %g is outside 0…%u", self->gamma,
                       PF_MAX_ALPHA);
    if (self->rounds == 0) return pf_fail(err, PF_INVALID, "schedule: give at least one round");
    return PF_OK;
}

static enum pf_status check_kind(const struct pf_schedule_options *self, struct pf_error *err)
{
    switch (self->kind) {
    case PF_STAGES_RISING_ALPHA:
        if (!(self->density_factor >= 0.0 && isfinite(self->density_factor)))
            return pf_fail(err, PF_INVALID, "schedule: density factor %g is below 0",
                           self->density_factor);
        return PF_OK;
    case PF_STAGES_PUBLISHED:
        if (self->n_events == 0 || self->n_events > PF_MAX_STAGES)
            return pf_fail(err, PF_INVALID, "schedule: %u events; give 1 to %u", self->n_events,
                           PF_MAX_STAGES);
        return PF_OK;
    case PF_STAGES_PAPER:
        if (!(self->beta > 0.0 && self->beta < 1.0))
            return pf_fail(err, PF_INVALID, "schedule: beta = %g is not between 0 and 1",
                           self->beta);
        if (!(self->target_density > 0.0 && self->target_density <= 1.0))
            return pf_fail(err, PF_INVALID,
                           "schedule: target density %g is not above 0 and at most 1",
                           self->target_density);
        return PF_OK;
    }
    return pf_fail(err, PF_INVALID, "schedule: kind %d is unknown", (int)self->kind);
}

static uint32_t largest_alpha(const struct pf_schedule_options *options)
{
    uint32_t largest = 1;
    for (uint32_t b = 0; b < options->n_blocks; b++) largest = PF_MAX(largest, options->alpha[b]);
    return largest;
}

/* A stage at the target α that prunes nothing, over the whole of its learning-rate schedule. */
static struct pf_stage *add_stage(struct pf_schedule *self,
                                  const struct pf_schedule_options *options)
{
    struct pf_stage *stage = &self->stages[self->n_stages++];
    *stage = (struct pf_stage){.combine = {.gamma = options->gamma,
                                           .packer = options->packer,
                                           .saliency = options->saliency,
                                           .tile_columns = options->tile_columns,
                                           .tile_slack = options->tile_slack},
                               .schedule_end = 1.0};
    for (uint32_t b = 0; b < options->n_blocks; b++) {
        stage->combine.alpha[b] = options->alpha[b];
        stage->combine.density[b] = 1.0;
    }
    return stage;
}

static enum pf_status too_few_rounds(const struct pf_schedule_options *options, size_t n_stages,
                                     struct pf_error *err)
{
    return pf_fail(err, PF_INVALID,
                   "schedule: %u rounds for %zu %s stages; give at least one round per stage",
                   options->rounds, n_stages, pf_stage_schedule_name(options->kind));
}

/* Cuts the rounds into `n_parts` equal parts, one per stage; the last stage has what is left. */
static void share_rounds(struct pf_schedule *self, uint32_t rounds, size_t n_parts)
{
    uint32_t part = PF_MAX((uint32_t)(rounds / n_parts), 1u);
    for (size_t i = 0; i < self->n_stages; i++) {
        self->stages[i].rounds = i + 1 < self->n_stages ? part : rounds;
        rounds -= part;
    }
}

/* ---- rising α ----------------------------------------------------------------------------- */

/* Weights to keep before grouping, as a multiple of what the cells of groups of α columns hold.  A
 * group may have γ conflicts per row, so (1 + γ) would just fit if all groups were alike; a fifth
 * less leaves the packer a choice, and still fills nearly every cell. */
static double density_factor(const struct pf_schedule_options *options)
{
    return options->density_factor > 0.0 ? options->density_factor : 0.8 * (1.0 + options->gamma);
}

/* The stages on the way take a tenth of the rounds each.  Measured on CIFAR-10 with a tenth of it
 * and 30 rounds: 78.4 % where all stages had 10, 78.8 where the last had 18, 79.3 where it had 24.
 */
#define RISING_PARTS 10u

static enum pf_status plan_rising(const struct pf_schedule_options *options,
                                  struct pf_schedule *self, struct pf_error *err)
{
    uint32_t largest = largest_alpha(options);
    for (uint32_t cap = 2;; cap *= 2) {
        struct pf_combine_options *combine = &add_stage(self, options)->combine;
        /* A block that reached its α has nothing to gain from being grouped anew. */
        combine->keep_groups = true;
        for (uint32_t b = 0; b < options->n_blocks; b++) {
            combine->alpha[b] = PF_MIN(options->alpha[b], cap);
            if (combine->alpha[b] > 1)
                combine->density[b] = fmin(1.0, density_factor(options) / combine->alpha[b]);
        }
        if (cap >= largest) break;
    }
    if (options->rounds < self->n_stages) return too_few_rounds(options, self->n_stages, err);
    share_rounds(self, options->rounds, PF_MAX(self->n_stages, (size_t)RISING_PARTS));
    return PF_OK;
}

/* ---- the published training code ---------------------------------------------------------- */

static void plan_published(const struct pf_schedule_options *options, struct pf_schedule *self)
{
    uint32_t pruning_rounds = PF_MAX(options->rounds / 2, 1u);
    uint32_t n = PF_MIN(options->n_events, pruning_rounds);
    uint32_t begin = 0;
    for (uint32_t i = 1; i <= n; i++) {
        struct pf_stage *stage = add_stage(self, options);
        double rate = 0.8 * (1.0 - pow(1.0 - (double)i / n, 3.0));
        for (uint32_t b = 0; b < options->n_blocks; b++)
            stage->combine.density[b] = 1.0 - rate * (1.0 - 1.0 / options->alpha[b]);
        /* At most 64 events in at most 2^31 rounds: no overflow in 64 bits. */
        uint32_t end = i < n ? (uint32_t)((uint64_t)i * pruning_rounds / n) : options->rounds;
        stage->rounds = end - begin;
        stage->schedule_begin = (double)begin / options->rounds;
        stage->schedule_end = (double)end / options->rounds;
        begin = end;
    }
}

/* ---- Algorithm 1 -------------------------------------------------------------------------- */

static enum pf_status plan_paper(const struct pf_schedule_options *options,
                                 struct pf_schedule *self, struct pf_error *err)
{
    double density = 1.0, beta = options->beta;
    while (self->n_stages == 0 || density > options->target_density) {
        if (self->n_stages == PF_MAX_STAGES)
            return pf_fail(err, PF_INVALID,
                           "schedule: beta = %g, shrinking by a tenth each time, still leaves "
                           "density %.3f after %u stages, above %g; raise beta or the target",
                           options->beta, density, PF_MAX_STAGES, options->target_density);
        density *= 1.0 - beta;
        beta *= 0.9;
        struct pf_combine_options *combine = &add_stage(self, options)->combine;
        for (uint32_t b = 0; b < options->n_blocks; b++)
            if (combine->alpha[b] > 1) combine->density[b] = density;
    }
    if (options->rounds < self->n_stages) return too_few_rounds(options, self->n_stages, err);
    /* The part beyond one per stage is the final training, which the last stage takes. */
    share_rounds(self, options->rounds, self->n_stages + 1);
    return PF_OK;
}

/* ---- all of them -------------------------------------------------------------------------- */

static enum pf_status plan_kind(const struct pf_schedule_options *options, struct pf_schedule *self,
                                struct pf_error *err)
{
    switch (options->kind) {
    case PF_STAGES_RISING_ALPHA: return plan_rising(options, self, err);
    case PF_STAGES_PUBLISHED: plan_published(options, self); return PF_OK;
    case PF_STAGES_PAPER: return plan_paper(options, self, err);
    }
    return pf_fail(err, PF_INVALID, "schedule: kind %d is unknown", (int)options->kind);
}

enum pf_status pf_schedule_plan(const struct pf_schedule_options *options,
                                struct pf_schedule *schedule, struct pf_error *err)
{
    PF_TRY(check_common(options, err));
    PF_TRY(check_kind(options, err));
    struct pf_schedule plan = {0};
    if (largest_alpha(options) == 1) {
        add_stage(&plan, options)->rounds = options->rounds;
    } else {
        PF_TRY(plan_kind(options, &plan, err));
        plan.stages[plan.n_stages - 1].combine.permute_rows = options->permute_rows;
    }
    *schedule = plan;
    return PF_OK;
}

enum pf_status pf_schedule_plan_last(const struct pf_schedule_options *options,
                                     struct pf_combine_options *combine, struct pf_error *err)
{
    struct pf_schedule_options at_once = *options;
    struct pf_schedule schedule;
    at_once.rounds = 4 * PF_MAX_STAGES; /* enough for any number of stages */
    PF_TRY(pf_schedule_plan(&at_once, &schedule, err));
    *combine = schedule.stages[schedule.n_stages - 1].combine;
    return PF_OK;
}

uint32_t pf_schedule_rounds(const struct pf_schedule *self)
{
    uint32_t rounds = 0;
    for (size_t i = 0; i < self->n_stages; i++) rounds += self->stages[i].rounds;
    return rounds;
}
