/* Which columns share a group: the rule of the published training code of [1].
 *
 *   start each column alone; take the lowest-index group that has any feasible partner; merge the
 *   feasible partner that leaves the fewest empty rows (ties: the lowest index); repeat.
 *
 * A merged group stands where the lower of the two stood.  A group without a feasible partner never
 * gets one again: merging elsewhere makes partners only larger and their rows only fuller.  So
 * when a group's turn comes, every group below it is finished and every group above it is still a
 * single column, and the rule becomes: fill one group after the other, each time with the feasible
 * free column that covers most rows not yet covered.
 *
 * Rows of a column are a bitset.  For a group A, which may itself hold conflicts, and a column j
 *   conflicts(A ∪ {j}) = nnz(A) + nnz(j) − |rows(A) ∪ rows(j)| = conflicts(A) + |rows(A) ∩ rows(j)|
 * so one count of common rows decides feasibility and coverage.  Both only get worse as A grows,
 * hence a candidate that is once infeasible for A is dropped until the next group.
 *
 * [1] Kung, McDanel, Zhang, Packing Sparse Convolutional Neural Networks for Efficient Systolic
 *     Array Implementations, ASPLOS 2019, arXiv 1811.04770, Algorithm 2. */
#include <math.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/combine/combine.h"

#define WORD_BITS 64u

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

static enum pf_status check_rule(uint32_t alpha, double gamma, struct pf_error *err)
{
    if (alpha == 0 || alpha > PF_MAX_ALPHA)
        return pf_fail(err, PF_INVALID, "combine: alpha = %u is outside 1…%u", alpha, PF_MAX_ALPHA);
    if (!(gamma >= 0.0 && gamma <= (double)PF_MAX_ALPHA))
        return pf_fail(err, PF_INVALID, "combine: gamma = %g is outside 0…%u", gamma, PF_MAX_ALPHA);
    return PF_OK;
}

static enum pf_status check_size(uint32_t n_rows, uint32_t n_columns, struct pf_error *err)
{
    if (n_rows == 0 || n_rows > PF_MAX_ROWS || n_columns == 0 || n_columns > PF_MAX_COLUMNS)
        return pf_fail(err, PF_INVALID, "combine: %u rows × %u columns is outside 1…%u × 1…%u",
                       n_rows, n_columns, PF_MAX_ROWS, PF_MAX_COLUMNS);
    return PF_OK;
}

/* ---- the columns as bitsets --------------------------------------------------------------- */

struct columns {
    size_t n_words;     /* per column */
    uint64_t *rows;     /* [n_columns][n_words]: bit r % 64 of word r / 64 is row r */
    uint32_t *n_filled; /* [n_columns]: nonzeros */
    uint32_t *free;     /* [n_free]: columns without a group, ascending */
    size_t n_free;
    uint32_t *candidates; /* scratch: free columns still feasible for the group being filled */
    uint64_t *covered;    /* scratch [n_words]: rows of the group being filled */
};

static void columns_finish(struct columns *self)
{
    pf_free(self->rows);
    pf_free(self->n_filled);
    pf_free(self->free);
    pf_free(self->candidates);
    pf_free(self->covered);
}

static enum pf_status columns_init(struct columns *self, const float *weights, uint32_t n_rows,
                                   uint32_t n_columns, struct pf_error *err)
{
    /* 64 words · 36864 columns: no overflow. */
    self->n_words = (n_rows + WORD_BITS - 1) / WORD_BITS;
    self->rows = PF_ALLOC(self->n_words * n_columns, uint64_t);
    self->n_filled = PF_ALLOC(n_columns, uint32_t);
    self->free = PF_ALLOC(n_columns, uint32_t);
    self->candidates = PF_ALLOC(n_columns, uint32_t);
    self->covered = PF_ALLOC(self->n_words, uint64_t);
    if (self->rows == NULL || self->n_filled == NULL || self->free == NULL ||
        self->candidates == NULL || self->covered == NULL)
        return pf_no_memory(err, "grouping columns");
    for (size_t r = 0; r < n_rows; r++) {
        for (size_t k = 0; k < n_columns; k++) {
            uint64_t filled = weights[r * n_columns + k] != 0.0f;
            self->rows[k * self->n_words + r / WORD_BITS] |= filled << r % WORD_BITS;
            self->n_filled[k] += (uint32_t)filled;
        }
    }
    for (uint32_t k = 0; k < n_columns; k++)
        if (self->n_filled[k] > 0) self->free[self->n_free++] = k;
    return PF_OK;
}

/* Bits set in a & b.  Written out because the baseline instruction set has no bit count; in this
 * form compilers work on several words at once. */
static uint32_t count_common(const uint64_t *a, const uint64_t *b, size_t n_words)
{
    uint64_t sum = 0;
    for (size_t w = 0; w < n_words; w++) {
        uint64_t x = a[w] & b[w];
        x -= x >> 1 & 0x5555555555555555u;
        x = (x & 0x3333333333333333u) + (x >> 2 & 0x3333333333333333u);
        x = (x + (x >> 4)) & 0x0f0f0f0f0f0f0f0fu;
        x += x >> 8;
        x += x >> 16;
        x += x >> 32;
        sum += x & 0x7f;
    }
    return (uint32_t)sum;
}

/* ---- the rule ----------------------------------------------------------------------------- */

/* Drops what has become infeasible from candidates[*n] and returns the place of the one that covers
 * most further rows, or SIZE_MAX.  *common: the conflicts it adds. */
static size_t choose_partner(struct columns *self, size_t *n, size_t conflicts_left, size_t *common)
{
    size_t kept = 0, chosen = SIZE_MAX;
    uint32_t most_gained = 0;
    for (size_t i = 0; i < *n; i++) {
        uint32_t k = self->candidates[i];
        uint32_t shared =
            count_common(self->covered, self->rows + k * self->n_words, self->n_words);
        if (shared > conflicts_left) continue;
        uint32_t gained = self->n_filled[k] - shared;
        if (chosen == SIZE_MAX || gained > most_gained) {
            chosen = kept;
            most_gained = gained;
            *common = shared;
        }
        self->candidates[kept++] = k;
    }
    *n = kept;
    return chosen;
}

static void add_column(struct columns *self, uint32_t column, uint32_t group,
                       uint32_t *group_of_column)
{
    const uint64_t *rows = self->rows + column * self->n_words;
    for (size_t w = 0; w < self->n_words; w++) self->covered[w] |= rows[w];
    group_of_column[column] = group;
}

/* Fills `group`, starting from the first free column. */
static void fill_group(struct columns *self, uint32_t group, uint32_t alpha, size_t conflicts_left,
                       uint32_t *group_of_column)
{
    memset(self->covered, 0, self->n_words * sizeof *self->covered);
    add_column(self, self->free[0], group, group_of_column);
    size_t n = self->n_free - 1;
    memcpy(self->candidates, self->free + 1, n * sizeof *self->candidates);
    for (uint32_t size = 1; size < alpha; size++) {
        size_t common = 0;
        size_t chosen = choose_partner(self, &n, conflicts_left, &common);
        if (chosen == SIZE_MAX) break;
        conflicts_left -= common;
        add_column(self, self->candidates[chosen], group, group_of_column);
        n--;
        memmove(self->candidates + chosen, self->candidates + chosen + 1,
                (n - chosen) * sizeof *self->candidates);
    }
    size_t n_free = 0;
    for (size_t i = 0; i < self->n_free; i++)
        if (group_of_column[self->free[i]] == PF_NO_GROUP) self->free[n_free++] = self->free[i];
    self->n_free = n_free;
}

enum pf_status pf_group_columns(const float *weights, uint32_t n_rows, uint32_t n_columns,
                                uint32_t alpha, double gamma, struct pf_grouping *grouping,
                                struct pf_error *err)
{
    PF_TRY(check_size(n_rows, n_columns, err));
    PF_TRY(check_rule(alpha, gamma, err));
    PF_CLEANUP(columns_finish) struct columns columns = {0};
    PF_TRY(columns_init(&columns, weights, n_rows, n_columns, err));
    uint32_t *group_of_column = PF_ALLOC(n_columns, uint32_t);
    if (group_of_column == NULL) return pf_no_memory(err, "grouping columns");
    for (uint32_t k = 0; k < n_columns; k++) group_of_column[k] = PF_NO_GROUP;
    uint32_t n_groups = 0;
    while (columns.n_free > 0)
        fill_group(&columns, n_groups++, alpha, pf_conflict_limit(gamma, n_rows), group_of_column);
    *grouping = (struct pf_grouping){
        .n_columns = n_columns, .n_groups = n_groups, .group_of_column = group_of_column};
    return PF_OK;
}

/* ---- checking ----------------------------------------------------------------------------- */

struct group_count {
    uint32_t n_columns;
    uint32_t last_row; /* the last row with a nonzero, plus 1 */
    size_t n_conflicts;
};

/* Counts columns and conflicts straight from the matrix, on purpose unlike the grouping does. */
static enum pf_status count_groups(const struct pf_grouping *self, const float *weights,
                                   uint32_t n_rows, struct group_count *counts,
                                   struct pf_error *err)
{
    PF_CLEANUP(pf_freep) bool *filled = PF_ALLOC(self->n_columns, bool);
    if (filled == NULL) return pf_no_memory(err, "checking groups");
    for (uint32_t r = 0; r < n_rows; r++) {
        for (uint32_t k = 0; k < self->n_columns; k++) {
            if (weights[(size_t)r * self->n_columns + k] == 0.0f) continue;
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

enum pf_status pf_grouping_validate(const struct pf_grouping *self, const float *weights,
                                    uint32_t n_rows, uint32_t alpha, double gamma,
                                    struct pf_error *err)
{
    PF_TRY(check_size(n_rows, self->n_columns, err));
    PF_TRY(check_rule(alpha, gamma, err));
    if (self->n_groups > self->n_columns)
        return pf_fail(err, PF_INVALID, "grouping: %u groups for %u columns", self->n_groups,
                       self->n_columns);
    PF_CLEANUP(pf_freep) struct group_count *counts = PF_ALLOC(self->n_groups, struct group_count);
    if (counts == NULL) return pf_no_memory(err, "checking groups");
    PF_TRY(count_groups(self, weights, n_rows, counts, err));
    size_t limit = pf_conflict_limit(gamma, n_rows);
    for (uint32_t g = 0; g < self->n_groups; g++) {
        if (counts[g].n_columns == 0)
            return pf_fail(err, PF_INVALID, "grouping: group %u is empty", g);
        if (counts[g].n_columns > alpha)
            return pf_fail(err, PF_INVALID, "grouping: group %u holds %u columns, alpha = %u", g,
                           counts[g].n_columns, alpha);
        if (counts[g].n_conflicts > limit)
            return pf_fail(err, PF_INVALID,
                           "grouping: group %u has %zu conflicts, gamma = %g allows %zu", g,
                           counts[g].n_conflicts, gamma, limit);
    }
    return PF_OK;
}
