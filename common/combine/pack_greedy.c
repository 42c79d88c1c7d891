/* The two greedy packers: the rule of the published training code of [1], and the paper's.
 *
 * published:
 *   start each column alone; take the lowest-index group that has any feasible partner; merge the
 *   feasible partner that leaves the fewest empty rows (ties: the lowest index); repeat.
 * A merged group stands where the lower of the two stood.  A group without a feasible partner never
 * gets one again: merging elsewhere makes partners only larger and their rows only fuller.  So
 * when a group's turn comes, every group below it is finished and every group above it is still a
 * single column, and the rule becomes: fill one group after the other, each time with the feasible
 * free column that covers most rows not yet covered.  Both feasibility and coverage only get worse
 * as a group grows, hence a candidate that is once infeasible is dropped until the next group.
 *
 * dense-first, Algorithm 2 of the paper: columns by falling density, like large items first in bin
 * packing; each goes where the combined column becomes densest, or into a group of its own.
 *
 * [1] Kung, McDanel, Zhang, Packing Sparse Convolutional Neural Networks for Efficient Systolic
 *     Array Implementations, ASPLOS 2019, arXiv 1811.04770. */
#include <string.h>

#include "common/base/memory.h"
#include "common/combine/columns.h"

/* ---- published ---------------------------------------------------------------------------- */

struct filling {
    const struct pf_columns *columns;
    uint32_t *group;
    uint32_t *free; /* [n_free]: columns without a group, ascending */
    size_t n_free;
    uint32_t *candidates; /* scratch: free columns still feasible for the group being filled */
    uint64_t *covered;    /* scratch [n_words]: rows of the group being filled */
};

/* Drops what has become infeasible from candidates[*n] and returns the place of the one that covers
 * most further rows, or SIZE_MAX.  *common: the conflicts it adds. */
static size_t choose_partner(struct filling *self, size_t *n, size_t conflicts_left, size_t *common)
{
    size_t kept = 0, chosen = SIZE_MAX;
    uint32_t most_gained = 0;
    for (size_t i = 0; i < *n; i++) {
        uint32_t c = self->candidates[i];
        uint32_t shared = pf_count_common(self->covered, pf_column_rows(self->columns, c),
                                          self->columns->n_words);
        if (shared > conflicts_left) continue;
        uint32_t gained = self->columns->n_filled[c] - shared;
        if (chosen == SIZE_MAX || gained > most_gained) {
            chosen = kept;
            most_gained = gained;
            *common = shared;
        }
        self->candidates[kept++] = c;
    }
    *n = kept;
    return chosen;
}

static void add_column(struct filling *self, uint32_t column, uint32_t group)
{
    pf_column_cover(self->columns, column, self->covered);
    self->group[column] = group;
}

/* Fills `group`, starting from the first free column. */
static void fill_group(struct filling *self, uint32_t group)
{
    size_t conflicts_left = self->columns->conflict_limit, n = self->n_free - 1;
    memset(self->covered, 0, self->columns->n_words * sizeof *self->covered);
    add_column(self, self->free[0], group);
    memcpy(self->candidates, self->free + 1, n * sizeof *self->candidates);
    for (uint32_t size = 1; size < self->columns->alpha; size++) {
        size_t common = 0;
        size_t chosen = choose_partner(self, &n, conflicts_left, &common);
        if (chosen == SIZE_MAX) break;
        conflicts_left -= common;
        add_column(self, self->candidates[chosen], group);
        n--;
        memmove(self->candidates + chosen, self->candidates + chosen + 1,
                (n - chosen) * sizeof *self->candidates);
    }
    size_t n_free = 0;
    for (size_t i = 0; i < self->n_free; i++)
        if (self->group[self->free[i]] == PF_NO_GROUP) self->free[n_free++] = self->free[i];
    self->n_free = n_free;
}

enum pf_status pf_pack_published(const struct pf_columns *columns, const float *worth,
                                 uint32_t n_columns, const struct pf_packer_options *options,
                                 uint32_t *group, uint32_t *n_groups, struct pf_error *err)
{
    (void)worth;
    (void)n_columns;
    (void)options;
    PF_CLEANUP(pf_freep) uint32_t *free = PF_ALLOC(columns->n, uint32_t);
    PF_CLEANUP(pf_freep) uint32_t *candidates = PF_ALLOC(columns->n, uint32_t);
    PF_CLEANUP(pf_freep) uint64_t *covered = PF_ALLOC(columns->n_words, uint64_t);
    if (free == NULL || candidates == NULL || covered == NULL)
        return pf_no_memory(err, "grouping columns");
    struct filling filling = {columns, group, free, columns->n, candidates, covered};
    for (uint32_t c = 0; c < columns->n; c++) {
        free[c] = c;
        group[c] = PF_NO_GROUP;
    }
    uint32_t n = 0;
    while (filling.n_free > 0) fill_group(&filling, n++);
    *n_groups = n;
    return PF_OK;
}

/* ---- dense first -------------------------------------------------------------------------- */

/* order[n] ← columns by falling count of nonzeros, ties by rising number: sorted by counting. */
static enum pf_status densest_first(const struct pf_columns *columns, uint32_t *order,
                                    struct pf_error *err)
{
    PF_CLEANUP(pf_freep) uint32_t *next = PF_ALLOC(columns->n_rows + 1, uint32_t);
    if (next == NULL) return pf_no_memory(err, "grouping columns");
    for (uint32_t c = 0; c < columns->n; c++) next[columns->n_rows - columns->n_filled[c]]++;
    uint32_t begin = 0;
    for (uint32_t i = 0; i <= columns->n_rows; i++) {
        uint32_t count = next[i];
        next[i] = begin;
        begin += count;
    }
    for (uint32_t c = 0; c < columns->n; c++)
        order[next[columns->n_rows - columns->n_filled[c]]++] = c;
    return PF_OK;
}

/* The column joins the group whose combined column becomes densest; rows covered are members'
 * nonzeros less conflicts, so the group counts them itself. */
static uint32_t place_densest(struct pf_open_groups *groups, uint32_t *n_covered, uint32_t column)
{
    uint32_t chosen = groups->n, chosen_shared = 0, most = 0;
    for (uint32_t g = 0; g < groups->n; g++) {
        uint32_t shared;
        if (!pf_open_groups_admit(groups, g, column, &shared)) continue;
        uint32_t covered = n_covered[g] + groups->columns->n_filled[column] - shared;
        if (chosen < groups->n && covered <= most) continue;
        chosen = g;
        chosen_shared = shared;
        most = covered;
    }
    n_covered[chosen] += groups->columns->n_filled[column] - chosen_shared;
    pf_open_groups_join(groups, chosen, column, chosen_shared);
    return chosen;
}

enum pf_status pf_pack_dense_first(const struct pf_columns *columns, const float *worth,
                                   uint32_t n_columns, const struct pf_packer_options *options,
                                   uint32_t *group, uint32_t *n_groups, struct pf_error *err)
{
    (void)worth;
    (void)n_columns;
    (void)options;
    PF_CLEANUP(pf_freep) uint32_t *order = PF_ALLOC(columns->n, uint32_t);
    PF_CLEANUP(pf_freep) uint32_t *n_covered = PF_ALLOC(columns->n, uint32_t);
    if (order == NULL || n_covered == NULL) return pf_no_memory(err, "grouping columns");
    PF_CLEANUP(pf_open_groups_finish) struct pf_open_groups groups = {0};
    PF_TRY(pf_open_groups_init(&groups, columns, err));
    PF_TRY(densest_first(columns, order, err));
    for (uint32_t i = 0; i < columns->n; i++)
        group[order[i]] = place_densest(&groups, n_covered, order[i]);
    *n_groups = groups.n;
    return PF_OK;
}
