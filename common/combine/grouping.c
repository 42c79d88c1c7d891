/* Groupings: checking one against its matrix, and what it keeps. */
#include <math.h>

#include "common/base/memory.h"
#include "common/combine/packer.h"

void pf_grouping_finish(struct pf_grouping *self)
{
    pf_free(self->group_of_column);
    *self = (struct pf_grouping){0};
}

size_t pf_conflict_limit(double gamma, uint32_t n_rows)
{
    /* gamma · N ≤ 64 · 4096 and a double's product is off by less than 1e-10 there; the margin
     * makes 0.29 · 100 = 28.999… count as the 29 that was meant. */
    return (size_t)floor(gamma * n_rows + 1e-6);
}

enum pf_status pf_grouping_check(uint32_t n_rows, uint32_t n_columns,
                                 const struct pf_grouping_rule *rule, struct pf_error *err)
{
    if (n_rows == 0 || n_rows > PF_MAX_ROWS || n_columns == 0 || n_columns > PF_MAX_COLUMNS)
        return pf_fail(err, PF_INVALID, "combine: %u rows × %u columns is outside 1…%u × 1…%u",
                       n_rows, n_columns, PF_MAX_ROWS, PF_MAX_COLUMNS);
    if (rule->alpha == 0 || rule->alpha > PF_MAX_ALPHA)
        return pf_fail(err, PF_INVALID, "combine: alpha = %u is outside 1…%u", rule->alpha,
                       PF_MAX_ALPHA);
    if (!(rule->gamma >= 0.0 && rule->gamma <= (double)PF_MAX_ALPHA))
        return pf_fail(err, PF_INVALID, "combine: gamma = %g is outside 0…%u", rule->gamma,
                       PF_MAX_ALPHA);
    return PF_OK;
}

/* ---- checking ----------------------------------------------------------------------------- */

struct group_count {
    uint32_t n_columns;
    uint32_t last_row; /* the last row with a nonzero, plus 1 */
    size_t n_conflicts;
};

/* Counts columns and conflicts straight from the matrix, on purpose unlike the grouping does. */
static enum pf_status count_groups(const struct pf_grouping *self, const float *worth,
                                   uint32_t n_rows, struct group_count *counts,
                                   struct pf_error *err)
{
    PF_CLEANUP(pf_freep) bool *filled = PF_ALLOC(self->n_columns, bool);
    if (filled == NULL) return pf_no_memory(err, "checking groups");
    for (uint32_t r = 0; r < n_rows; r++) {
        for (uint32_t k = 0; k < self->n_columns; k++) {
            if (worth[(size_t)r * self->n_columns + k] == 0.0f) continue;
            filled[k] = true;
            if (self->group_of_column[k] >= self->n_groups) continue; /* refused below */
            struct group_count *count = &counts[self->group_of_column[k]];
            count->n_conflicts += count->last_row == r + 1;
            count->last_row = r + 1;
        }
    }
    for (uint32_t k = 0; k < self->n_columns; k++) {
        uint32_t group = self->group_of_column[k];
        if (!filled[k] && group != PF_NO_GROUP)
            return pf_fail(err, PF_INVALID, "grouping: column %u is empty but in group %u", k,
                           group);
        if (filled[k] && group >= self->n_groups)
            return pf_fail(err, PF_INVALID, "grouping: column %u has weights but none of %u groups",
                           k, self->n_groups);
        if (filled[k]) counts[group].n_columns++;
    }
    return PF_OK;
}

enum pf_status pf_grouping_validate(const struct pf_grouping *self, const float *worth,
                                    uint32_t n_rows, const struct pf_grouping_rule *rule,
                                    struct pf_error *err)
{
    PF_TRY(pf_grouping_check(n_rows, self->n_columns, rule, err));
    if (self->n_groups > self->n_columns)
        return pf_fail(err, PF_INVALID, "grouping: %u groups for %u columns", self->n_groups,
                       self->n_columns);
    PF_CLEANUP(pf_freep) struct group_count *counts = PF_ALLOC(self->n_groups, struct group_count);
    if (counts == NULL) return pf_no_memory(err, "checking groups");
    PF_TRY(count_groups(self, worth, n_rows, counts, err));
    size_t limit = pf_conflict_limit(rule->gamma, n_rows);
    for (uint32_t g = 0; g < self->n_groups; g++) {
        if (counts[g].n_columns == 0)
            return pf_fail(err, PF_INVALID, "grouping: group %u is empty", g);
        if (counts[g].n_columns > rule->alpha)
            return pf_fail(err, PF_INVALID, "grouping: group %u holds %u columns, alpha = %u", g,
                           counts[g].n_columns, rule->alpha);
        if (counts[g].n_conflicts > limit)
            return pf_fail(err, PF_INVALID,
                           "grouping: group %u has %zu conflicts, gamma = %g allows %zu", g,
                           counts[g].n_conflicts, rule->gamma, limit);
    }
    return PF_OK;
}

/* ---- what it keeps ------------------------------------------------------------------------ */

/* best[n_groups] is scratch; adds the row's worth to *all and that of its survivors to *kept. */
static void keep_row(const struct pf_grouping *self, const float *row, float *best, double *all,
                     double *kept)
{
    for (uint32_t g = 0; g < self->n_groups; g++) best[g] = 0.0f;
    for (uint32_t k = 0; k < self->n_columns; k++) {
        uint32_t group = self->group_of_column[k];
        float worth = fabsf(row[k]);
        *all += (double)worth;
        if (group != PF_NO_GROUP) best[group] = fmaxf(best[group], worth);
    }
    for (uint32_t g = 0; g < self->n_groups; g++) *kept += (double)best[g];
}

enum pf_status pf_grouping_kept(const struct pf_grouping *self, const float *worth, uint32_t n_rows,
                                double *share, struct pf_error *err)
{
    PF_CLEANUP(pf_freep) float *best = PF_ALLOC(self->n_groups, float);
    if (best == NULL) return pf_no_memory(err, "grouping columns");
    double all = 0.0, kept = 0.0;
    for (size_t r = 0; r < n_rows; r++)
        keep_row(self, worth + r * self->n_columns, best, &all, &kept);
    *share = all > 0.0 ? kept / all : 1.0;
    return PF_OK;
}
