#include "common/model/packing.h"

#include <string.h>

#include "common/base/memory.h"

enum pf_status pf_packing_create(uint32_t n_rows, uint32_t n_columns, uint32_t n_groups,
                                 uint32_t alpha, float gamma, uint32_t n_weights,
                                 struct pf_packing **packing, struct pf_error *err)
{
    if (n_rows == 0 || n_rows > PF_MAX_ROWS || n_columns == 0 || n_columns > PF_MAX_COLUMNS)
        return pf_fail(err, PF_INVALID, "packing: %u rows × %u columns is outside 1…%u × 1…%u",
                       n_rows, n_columns, PF_MAX_ROWS, PF_MAX_COLUMNS);
    if ((uint64_t)n_weights > (uint64_t)n_rows * n_columns)
        return pf_fail(err, PF_INVALID, "packing: %u survivors in %u × %u cells", n_weights, n_rows,
                       n_columns);
    struct pf_packing *self = PF_ALLOC(1, struct pf_packing);
    if (self == NULL) return pf_no_memory(err, "a packing");
    *self = (struct pf_packing){.n_rows = n_rows,
                                .n_columns = n_columns,
                                .n_groups = n_groups,
                                .alpha = alpha,
                                .gamma = gamma,
                                .n_weights = n_weights};
    self->group_of_column = PF_ALLOC(n_columns, uint32_t);
    self->row_start = PF_ALLOC((size_t)n_rows + 1, uint32_t);
    self->column = PF_ALLOC(n_weights, uint32_t);
    if (self->group_of_column == NULL || self->row_start == NULL || self->column == NULL) {
        pf_packing_destroy(self);
        return pf_no_memory(err, "a packing");
    }
    for (uint32_t k = 0; k < n_columns; k++) self->group_of_column[k] = PF_NO_GROUP;
    *packing = self;
    return PF_OK;
}

enum pf_status pf_packing_clone(const struct pf_packing *self, struct pf_packing **copy,
                                struct pf_error *err)
{
    struct pf_packing *clone = NULL;
    PF_TRY(pf_packing_create(self->n_rows, self->n_columns, self->n_groups, self->alpha,
                             self->gamma, self->n_weights, &clone, err));
    memcpy(clone->group_of_column, self->group_of_column, self->n_columns * sizeof(uint32_t));
    memcpy(clone->row_start, self->row_start, ((size_t)self->n_rows + 1) * sizeof(uint32_t));
    memcpy(clone->column, self->column, self->n_weights * sizeof(uint32_t));
    *copy = clone;
    return PF_OK;
}

void pf_packing_destroy(struct pf_packing *self)
{
    if (self == NULL) return;
    pf_free(self->group_of_column);
    pf_free(self->row_start);
    pf_free(self->column);
    pf_free(self);
}

/* Renumbers the groups that still hold a column with survivors, in ascending order. */
static enum pf_status close_up_groups(struct pf_packing *self, const uint32_t *group_of_column,
                                      uint32_t n_groups, const bool *column_used,
                                      struct pf_error *err)
{
    PF_CLEANUP(pf_freep) uint32_t *renumbered = PF_ALLOC(n_groups, uint32_t);
    if (renumbered == NULL) return pf_no_memory(err, "a packing");
    for (uint32_t k = 0; k < self->n_columns; k++)
        if (column_used[k]) renumbered[group_of_column[k]] = 1;
    uint32_t n_used = 0;
    for (uint32_t g = 0; g < n_groups; g++)
        renumbered[g] = renumbered[g] != 0 ? n_used++ : PF_NO_GROUP;
    for (uint32_t k = 0; k < self->n_columns; k++)
        self->group_of_column[k] = column_used[k] ? renumbered[group_of_column[k]] : PF_NO_GROUP;
    self->n_groups = n_used;
    return PF_OK;
}

/* Orders the survivors of a row by group; rows are short, so insertion does. */
static void sort_row(struct pf_packing *self, uint32_t row)
{
    for (uint32_t i = self->row_start[row] + 1; i < self->row_start[row + 1]; i++) {
        uint32_t column = self->column[i];
        uint32_t group = self->group_of_column[column];
        uint32_t j = i;
        for (; j > self->row_start[row] && pf_packing_group(self, j - 1) > group; j--)
            self->column[j] = self->column[j - 1];
        self->column[j] = column;
    }
}

enum pf_status pf_packing_from_dense(const float *weights, uint32_t n_rows, uint32_t n_columns,
                                     const uint32_t *group_of_column, uint32_t n_groups,
                                     uint32_t alpha, float gamma, struct pf_packing **packing,
                                     struct pf_error *err)
{
    PF_CLEANUP(pf_freep) bool *column_used = PF_ALLOC(n_columns, bool);
    if (column_used == NULL) return pf_no_memory(err, "a packing");
    uint32_t n_weights = 0;
    for (size_t r = 0; r < n_rows; r++) {
        for (size_t k = 0; k < n_columns; k++) {
            if (weights[r * n_columns + k] == 0.0f) continue;
            if (group_of_column[k] >= n_groups)
                return pf_fail(err, PF_INVALID,
                               "packing: column %zu has weights but belongs to no group", k);
            column_used[k] = true;
            n_weights++;
        }
    }
    PF_CLEANUP(pf_packing_destroyp) struct pf_packing *self = NULL;
    PF_TRY(pf_packing_create(n_rows, n_columns, n_groups, alpha, gamma, n_weights, &self, err));
    PF_TRY(close_up_groups(self, group_of_column, n_groups, column_used, err));
    uint32_t n = 0;
    for (uint32_t r = 0; r < n_rows; r++) {
        for (uint32_t k = 0; k < n_columns; k++)
            if (weights[(size_t)r * n_columns + k] != 0.0f) self->column[n++] = k;
        self->row_start[r + 1] = n;
        sort_row(self, r);
    }
    PF_TRY(pf_packing_validate(self, err));
    *packing = self;
    self = NULL;
    return PF_OK;
}

static enum pf_status validate_groups(const struct pf_packing *self, struct pf_error *err)
{
    if (self->n_groups > self->n_columns)
        return pf_fail(err, PF_INVALID, "packing: %u groups for %u columns", self->n_groups,
                       self->n_columns);
    PF_CLEANUP(pf_freep) uint32_t *size = PF_ALLOC(self->n_groups, uint32_t);
    if (size == NULL) return pf_no_memory(err, "a packing");
    for (uint32_t k = 0; k < self->n_columns; k++) {
        uint32_t group = self->group_of_column[k];
        if (group == PF_NO_GROUP) continue;
        if (group >= self->n_groups)
            return pf_fail(err, PF_INVALID, "packing: column %u is in group %u of %u", k, group,
                           self->n_groups);
        if (++size[group] > self->alpha)
            return pf_fail(err, PF_INVALID, "packing: group %u holds more than alpha = %u columns",
                           group, self->alpha);
    }
    for (uint32_t g = 0; g < self->n_groups; g++)
        if (size[g] == 0) return pf_fail(err, PF_INVALID, "packing: group %u is empty", g);
    return PF_OK;
}

static enum pf_status validate_row(const struct pf_packing *self, uint32_t row,
                                   struct pf_error *err)
{
    uint32_t begin = self->row_start[row];
    uint32_t end = self->row_start[row + 1];
    if (begin > end || end > self->n_weights)
        return pf_fail(err, PF_INVALID, "packing: row %u spans survivors %u to %u of %u", row,
                       begin, end, self->n_weights);
    uint32_t previous = PF_NO_GROUP;
    for (uint32_t i = begin; i < end; i++) {
        uint32_t column = self->column[i];
        if (column >= self->n_columns)
            return pf_fail(err, PF_INVALID, "packing: row %u names column %u of %u", row, column,
                           self->n_columns);
        uint32_t group = self->group_of_column[column];
        if (group == PF_NO_GROUP)
            return pf_fail(err, PF_INVALID, "packing: row %u uses column %u, which has no group",
                           row, column);
        if (previous != PF_NO_GROUP && group <= previous)
            return pf_fail(err, PF_INVALID,
                           "packing: row %u has two survivors in group %u or groups out of order",
                           row, group);
        previous = group;
    }
    return PF_OK;
}

enum pf_status pf_packing_validate(const struct pf_packing *self, struct pf_error *err)
{
    if (self->n_rows == 0 || self->n_rows > PF_MAX_ROWS || self->n_columns == 0 ||
        self->n_columns > PF_MAX_COLUMNS)
        return pf_fail(err, PF_INVALID, "packing: %u rows × %u columns is outside 1…%u × 1…%u",
                       self->n_rows, self->n_columns, PF_MAX_ROWS, PF_MAX_COLUMNS);
    if (self->alpha == 0 || self->alpha > PF_MAX_ALPHA)
        return pf_fail(err, PF_INVALID, "packing: alpha = %u is outside 1…%u", self->alpha,
                       PF_MAX_ALPHA);
    if (!(self->gamma >= 0.0f && self->gamma <= (float)PF_MAX_ALPHA))
        return pf_fail(err, PF_INVALID, "packing: gamma = %g is outside 0…%u", (double)self->gamma,
                       PF_MAX_ALPHA);
    PF_TRY(validate_groups(self, err));
    if (self->row_start[0] != 0 || self->row_start[self->n_rows] != self->n_weights)
        return pf_fail(err, PF_INVALID, "packing: rows span survivors %u to %u of %u",
                       self->row_start[0], self->row_start[self->n_rows], self->n_weights);
    for (uint32_t r = 0; r < self->n_rows; r++) PF_TRY(validate_row(self, r, err));
    return PF_OK;
}

bool pf_packing_equal(const struct pf_packing *a, const struct pf_packing *b)
{
    return a->n_rows == b->n_rows && a->n_columns == b->n_columns && a->n_groups == b->n_groups &&
           a->alpha == b->alpha && a->n_weights == b->n_weights &&
           memcmp(a->group_of_column, b->group_of_column, a->n_columns * sizeof(uint32_t)) == 0 &&
           memcmp(a->row_start, b->row_start, ((size_t)a->n_rows + 1) * sizeof(uint32_t)) == 0 &&
           memcmp(a->column, b->column, a->n_weights * sizeof(uint32_t)) == 0;
}

uint32_t pf_packing_nonempty_rows(const struct pf_packing *self)
{
    uint32_t n = 0;
    for (uint32_t r = 0; r < self->n_rows; r++) n += self->row_start[r + 1] > self->row_start[r];
    return n;
}

double pf_packing_utilisation(const struct pf_packing *self)
{
    double cells = (double)pf_packing_nonempty_rows(self) * (double)self->n_groups;
    return cells > 0 ? (double)self->n_weights / cells : 0.0;
}
