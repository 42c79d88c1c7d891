/* Fewest groups, then most weight kept.
 *
 * The number of groups comes from the packers before: the published rule, iterated first fit, and
 * what slot_search.h can fit into fewer.  At that number it then looks for the columns that lose
 * least to conflicts.  Should the published rule have needed no more groups and kept more weight,
 * its grouping stands. */
#include <math.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/combine/slot_search.h"

/* Noise begins at this share of a mean column's worth and is gone when COOLED of the steps are made
 * (measured: twice and half of either keep less). */
#define FIRST_NOISE 0.1
#define COOLED 0.9

/* Noise of the search for fewer groups: an eighth of a conflict. */
#define FIT_NOISE 32u

/* More steps than this for each slot of a group gain nothing to speak of. */
#define STEPS_PER_SLOT 1000u

/* ---- fewer groups ------------------------------------------------------------------------- */

/* Whether the columns fit into one group fewer than `group` names; if so, *n_groups and group
 * become that. */
static enum pf_status fit_one_fewer(const struct pf_columns *columns, uint64_t seed,
                                    struct pf_effort *effort, uint32_t *group, uint32_t *n_groups,
                                    bool *fits, struct pf_error *err)
{
    PF_CLEANUP(pf_slot_search_finish) struct pf_slot_search search = {0};
    PF_TRY(pf_slot_search_init(&search, columns, NULL, 0, *n_groups - 1, seed, err));
    pf_slot_search_place(&search, group);
    uint64_t cost = pf_slot_search_cost(&search) + (uint64_t)columns->n * columns->n_words;
    size_t excess = pf_slot_search_excess(&search);
    while (excess > 0 && effort->spent < effort->limit) {
        pf_slot_search_step(&search, FIT_NOISE);
        excess = pf_slot_search_excess(&search);
        effort->spent += cost;
    }
    *fits = excess == 0;
    if (!*fits) return PF_OK;
    pf_slot_search_groups(&search, group);
    --*n_groups;
    return PF_OK;
}

static enum pf_status fit_into_fewer(const struct pf_columns *columns, uint32_t enough,
                                     uint64_t seed, struct pf_effort *effort, uint32_t *group,
                                     uint32_t *n_groups, struct pf_error *err)
{
    for (bool fits = true; fits && *n_groups > enough;)
        PF_TRY(fit_one_fewer(columns, seed, effort, group, n_groups, &fits, err));
    return PF_OK;
}

/* ---- more weight -------------------------------------------------------------------------- */

static void anneal(struct pf_slot_search *search, const struct pf_effort *effort)
{
    uint64_t left = effort->limit - PF_MIN(effort->spent, effort->limit);
    uint64_t most = (uint64_t)STEPS_PER_SLOT * search->columns->alpha;
    uint64_t n_steps = PF_MIN(most, left / pf_slot_search_cost(search));
    double noise = FIRST_NOISE * pf_slot_search_mean_worth(search);
    for (uint64_t i = 0; i < n_steps; i++) {
        double warmth = 1.0 - (double)i / ((double)n_steps * COOLED);
        pf_slot_search_step(search, (uint64_t)fmax(0.0, noise * warmth));
    }
}

static enum pf_status keep_most(const struct pf_columns *columns, const float *worth,
                                uint32_t n_columns, uint64_t seed, const struct pf_effort *effort,
                                const uint32_t *published, uint32_t *group, uint32_t n_groups,
                                struct pf_error *err)
{
    PF_CLEANUP(pf_slot_search_finish) struct pf_slot_search search = {0};
    PF_TRY(pf_slot_search_init(&search, columns, worth, n_columns, n_groups, seed, err));
    int64_t kept_before = 0;
    if (published != NULL) {
        pf_slot_search_place(&search, published);
        kept_before = pf_slot_search_kept(&search);
    }
    pf_slot_search_place(&search, group);
    anneal(&search, effort);
    pf_slot_search_groups(&search, group);
    if (pf_slot_search_kept(&search) < kept_before)
        memcpy(group, published, columns->n * sizeof *group);
    return PF_OK;
}

/* A quarter of the effort goes into first fit, a quarter into fitting what is left over, and what
 * these leave into weight.  Without conflicts there is no weight to lose. */
static enum pf_status take_fewest(const struct pf_columns *columns, uint64_t seed,
                                  struct pf_effort *effort, uint32_t *group, uint32_t *n_groups,
                                  struct pf_error *err)
{
    uint64_t limit = effort->limit;
    uint32_t enough = 0;
    PF_TRY(pf_columns_bound(columns, &enough, err));
    effort->limit = columns->conflict_limit == 0 ? limit : limit / 4;
    PF_TRY(pf_reduce_groups(columns, enough, seed, effort, group, n_groups, err));
    effort->limit = limit / 2;
    PF_TRY(fit_into_fewer(columns, enough, seed, effort, group, n_groups, err));
    effort->limit = limit;
    return PF_OK;
}

enum pf_status pf_pack_kept_weight(const struct pf_columns *columns, const float *worth,
                                   uint32_t n_columns, const struct pf_packer_options *options,
                                   uint32_t *group, uint32_t *n_groups, struct pf_error *err)
{
    struct pf_effort effort = {.limit = (uint64_t)(options->effort * 1e9)};
    PF_CLEANUP(pf_freep) uint32_t *published = PF_ALLOC(columns->n, uint32_t);
    if (published == NULL) return pf_no_memory(err, "grouping columns");
    PF_TRY(pf_pack_published(columns, worth, n_columns, options, group, n_groups, err));
    memcpy(published, group, columns->n * sizeof *group);
    uint32_t n_published = *n_groups;
    PF_TRY(take_fewest(columns, options->seed, &effort, group, n_groups, err));
    if (columns->conflict_limit == 0) return PF_OK;
    return keep_most(columns, worth, n_columns, options->seed, &effort,
                     *n_groups == n_published ? published : NULL, group, *n_groups, err);
}
