#include "common/combine/columns.h"

#include <math.h>
#include <string.h>

#include "common/base/memory.h"

/* ---- columns ------------------------------------------------------------------------------ */

void pf_columns_finish(struct pf_columns *self)
{
    pf_free(self->rows);
    pf_free(self->n_filled);
    pf_free(self->number);
    *self = (struct pf_columns){0};
}

/* Columns close up over those that turn out empty: bit by bit into place self->n, which is kept
 * when anything was there. */
static void take_column(struct pf_columns *self, const float *worth, uint32_t n_columns, uint32_t k)
{
    uint64_t *rows = self->rows + self->n * self->n_words;
    uint32_t n_filled = 0;
    for (size_t r = 0; r < self->n_rows; r++) {
        uint64_t filled = worth[r * n_columns + k] != 0.0f;
        rows[r / PF_WORD_BITS] |= filled << r % PF_WORD_BITS;
        n_filled += (uint32_t)filled;
    }
    if (n_filled == 0) return;
    self->n_filled[self->n] = n_filled;
    self->number[self->n++] = k;
}

enum pf_status pf_columns_init(struct pf_columns *self, const struct pf_grouping_rule *rule,
                               const float *worth, uint32_t n_rows, uint32_t n_columns,
                               struct pf_error *err)
{
    *self = (struct pf_columns){.n_rows = n_rows,
                                .alpha = rule->alpha,
                                .conflict_limit = pf_conflict_limit(rule->gamma, n_rows),
                                .n_words = (n_rows + PF_WORD_BITS - 1) / PF_WORD_BITS};
    /* 64 words · 36864 columns: no overflow. */
    self->rows = PF_ALLOC(self->n_words * n_columns, uint64_t);
    self->n_filled = PF_ALLOC(n_columns, uint32_t);
    self->number = PF_ALLOC(n_columns, uint32_t);
    if (self->rows == NULL || self->n_filled == NULL || self->number == NULL) {
        pf_columns_finish(self);
        return pf_no_memory(err, "grouping columns");
    }
    for (uint32_t k = 0; k < n_columns; k++) take_column(self, worth, n_columns, k);
    return PF_OK;
}

float pf_largest_worth(const float *worth, size_t n)
{
    float most = 0.0f;
    for (size_t i = 0; i < n; i++) most = fmaxf(most, fabsf(worth[i]));
    return most;
}

/* ---- groups that grow --------------------------------------------------------------------- */

enum pf_status pf_open_groups_init(struct pf_open_groups *self, const struct pf_columns *columns,
                                   struct pf_error *err)
{
    *self = (struct pf_open_groups){.columns = columns};
    self->covered = PF_ALLOC(columns->n * columns->n_words, uint64_t);
    self->n_members = PF_ALLOC(columns->n, uint32_t);
    self->conflicts = PF_ALLOC(columns->n, uint32_t);
    if (self->covered == NULL || self->n_members == NULL || self->conflicts == NULL) {
        pf_open_groups_finish(self);
        return pf_no_memory(err, "grouping columns");
    }
    return PF_OK;
}

void pf_open_groups_finish(struct pf_open_groups *self)
{
    pf_free(self->covered);
    pf_free(self->n_members);
    pf_free(self->conflicts);
    *self = (struct pf_open_groups){0};
}

void pf_open_groups_clear(struct pf_open_groups *self)
{
    memset(self->covered, 0, self->n * self->columns->n_words * sizeof *self->covered);
    memset(self->n_members, 0, self->n * sizeof *self->n_members);
    memset(self->conflicts, 0, self->n * sizeof *self->conflicts);
    self->n = 0;
}

bool pf_open_groups_admit(const struct pf_open_groups *self, uint32_t group, uint32_t column,
                          uint32_t *shared)
{
    const struct pf_columns *columns = self->columns;
    const uint64_t *covered = self->covered + group * columns->n_words;
    const uint64_t *rows = pf_column_rows(columns, column);
    if (self->n_members[group] == columns->alpha) return false;
    if (columns->conflict_limit == 0) { /* no need to count */
        *shared = 0;
        for (size_t w = 0; w < columns->n_words; w++)
            if ((covered[w] & rows[w]) != 0) return false;
        return true;
    }
    *shared = pf_count_common(covered, rows, columns->n_words);
    return self->conflicts[group] + *shared <= columns->conflict_limit;
}

uint64_t pf_open_groups_admit_cost(const struct pf_open_groups *self)
{
    bool counts = self->columns->conflict_limit > 0;
    return counts ? self->columns->n_words * PF_EFFORT_PER_WORD : 3;
}

void pf_open_groups_join(struct pf_open_groups *self, uint32_t group, uint32_t column,
                         uint32_t shared)
{
    pf_column_cover(self->columns, column, self->covered + group * self->columns->n_words);
    self->n_members[group]++;
    self->conflicts[group] += shared;
    if (group == self->n) self->n++;
}
