#include "common/combine/assignment.h"

#include <string.h>

#include "common/base/memory.h"

/* Rows and columns are counted from 1 inside; 0 is the root that each path starts from. */

enum pf_status pf_assignment_init(struct pf_assignment *self, size_t max, struct pf_error *err)
{
    *self = (struct pf_assignment){.max = max};
    self->row_price = PF_ALLOC(max + 1, int64_t);
    self->column_price = PF_ALLOC(max + 1, int64_t);
    self->slack = PF_ALLOC(max + 1, int64_t);
    self->row_of = PF_ALLOC(max + 1, uint32_t);
    self->came_from = PF_ALLOC(max + 1, uint32_t);
    self->reached = PF_ALLOC(max + 1, bool);
    if (self->row_price == NULL || self->column_price == NULL || self->slack == NULL ||
        self->row_of == NULL || self->came_from == NULL || self->reached == NULL) {
        pf_assignment_finish(self);
        return pf_no_memory(err, "assigning columns");
    }
    return PF_OK;
}

void pf_assignment_finish(struct pf_assignment *self)
{
    pf_free(self->row_price);
    pf_free(self->column_price);
    pf_free(self->slack);
    pf_free(self->row_of);
    pf_free(self->came_from);
    pf_free(self->reached);
    *self = (struct pf_assignment){0};
}

/* Offers every unreached column a way through `column`; returns the one that is nearest then, and
 * *distance to it. */
static size_t relax(struct pf_assignment *self, const int64_t *gain, size_t n, size_t column,
                    int64_t *distance)
{
    size_t row = self->row_of[column], nearest = 0;
    const int64_t *gains = gain + (row - 1) * n;
    *distance = INT64_MAX;
    for (size_t j = 1; j <= n; j++) {
        if (self->reached[j]) continue;
        int64_t way = -gains[j - 1] - self->row_price[row] - self->column_price[j];
        if (way < self->slack[j]) {
            self->slack[j] = way;
            self->came_from[j] = (uint32_t)column;
        }
        if (self->slack[j] < *distance) {
            *distance = self->slack[j];
            nearest = j;
        }
    }
    return nearest;
}

static void reprice(struct pf_assignment *self, size_t n, int64_t distance)
{
    for (size_t j = 0; j <= n; j++) {
        if (self->reached[j]) {
            self->row_price[self->row_of[j]] += distance;
            self->column_price[j] -= distance;
        } else {
            self->slack[j] -= distance;
        }
    }
}

/* Gives `row` a column, moving others along the cheapest path to a free one. */
static void augment(struct pf_assignment *self, const int64_t *gain, size_t n, size_t row)
{
    for (size_t j = 0; j <= n; j++) {
        self->slack[j] = INT64_MAX;
        self->reached[j] = false;
    }
    size_t column = 0;
    self->row_of[0] = (uint32_t)row;
    do {
        self->reached[column] = true;
        int64_t distance;
        column = relax(self, gain, n, column, &distance);
        reprice(self, n, distance);
    } while (self->row_of[column] != 0);
    while (column != 0) {
        size_t before = self->came_from[column];
        self->row_of[column] = self->row_of[before];
        column = before;
    }
}

void pf_assignment_solve(struct pf_assignment *self, const int64_t *gain, size_t n,
                         uint32_t *chosen)
{
    memset(self->row_price, 0, (n + 1) * sizeof *self->row_price);
    memset(self->column_price, 0, (n + 1) * sizeof *self->column_price);
    memset(self->row_of, 0, (n + 1) * sizeof *self->row_of);
    for (size_t row = 1; row <= n; row++) augment(self, gain, n, row);
    for (size_t j = 1; j <= n; j++) chosen[self->row_of[j] - 1] = (uint32_t)(j - 1);
}
