#include "common/combine/slot_search.h"

#include <math.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/combine/gain.h"

#define NO_SLOT UINT32_MAX
#define CONFLICT_UNIT 256 /* noise is finer than a conflict */

void pf_slot_search_finish(struct pf_slot_search *self)
{
    pf_free(self->worth);
    pf_free(self->slots);
    pf_free(self->shuffled);
    pf_free(self->slot);
    pf_free(self->taken);
    pf_free(self->largest);
    pf_free(self->covered);
    pf_free(self->gain);
    pf_free(self->noisy);
    pf_free(self->chosen);
    pf_assignment_finish(&self->assignment);
    *self = (struct pf_slot_search){0};
}

/* Relative to the largest, and at least 1: a weight that is there covers its row. */
static enum pf_status scale_worth(struct pf_slot_search *self, const float *worth,
                                  uint32_t n_columns, struct pf_error *err)
{
    const struct pf_columns *columns = self->columns;
    size_t n = (size_t)columns->n_rows * n_columns;
    self->worth = PF_ALLOC(columns->n * self->stride, int16_t);
    if (self->worth == NULL) return pf_no_memory(err, "grouping columns");
    double scale = (double)PF_MAX_WORTH / (double)pf_largest_worth(worth, n);
    for (size_t r = 0; r < columns->n_rows; r++) {
        for (size_t c = 0; c < columns->n; c++) {
            double w = fabs((double)worth[r * n_columns + columns->number[c]]);
            if (w == 0.0) continue;
            self->worth[c * self->stride + r] = (int16_t)fmax(1.0, floor(w * scale + 0.5));
        }
    }
    return PF_OK;
}

static enum pf_status allocate(struct pf_slot_search *self, struct pf_error *err)
{
    const struct pf_columns *columns = self->columns;
    size_t m = self->n_changed;
    self->slots = PF_ALLOC((size_t)self->n_groups * columns->alpha, uint32_t);
    self->shuffled = PF_ALLOC(self->n_groups, uint32_t);
    self->slot = PF_ALLOC(m, uint32_t);
    self->taken = PF_ALLOC(m, uint32_t);
    self->largest = PF_ALLOC(self->stride, int16_t);
    self->covered = PF_ALLOC(columns->n_words, uint64_t);
    self->gain = PF_ALLOC(m * m, int64_t);
    self->noisy = PF_ALLOC(m * m, int64_t);
    self->chosen = PF_ALLOC(m, uint32_t);
    if (self->slots == NULL || self->shuffled == NULL || self->slot == NULL ||
        self->taken == NULL || self->largest == NULL || self->covered == NULL ||
        self->gain == NULL || self->noisy == NULL || self->chosen == NULL)
        return pf_no_memory(err, "grouping columns");
    return pf_assignment_init(&self->assignment, m, err);
}

enum pf_status pf_slot_search_init(struct pf_slot_search *self, const struct pf_columns *columns,
                                   const float *worth, uint32_t n_columns, uint32_t n_groups,
                                   uint64_t seed, struct pf_error *err)
{
    *self = (struct pf_slot_search){
        .columns = columns,
        .n_groups = n_groups,
        .n_changed = PF_MIN(n_groups, PF_SLOTS_CHANGED),
        .stride = (columns->n_rows + PF_GAIN_ROWS - 1) / PF_GAIN_ROWS * PF_GAIN_ROWS,
    };
    pf_random_init(&self->random, seed, "slot search", n_groups);
    enum pf_status status = allocate(self, err);
    if (status == PF_OK && worth != NULL) status = scale_worth(self, worth, n_columns, err);
    if (status != PF_OK) pf_slot_search_finish(self);
    return status;
}

/* ---- where the columns are ---------------------------------------------------------------- */

static uint32_t *group_slots(const struct pf_slot_search *self, size_t group)
{
    return self->slots + group * self->columns->alpha;
}

static bool put(struct pf_slot_search *self, uint32_t column, size_t group)
{
    uint32_t *slots = group_slots(self, group);
    for (uint32_t s = 0; s < self->columns->alpha; s++) {
        if (slots[s] != self->columns->n) continue;
        slots[s] = column;
        return true;
    }
    return false;
}

void pf_slot_search_place(struct pf_slot_search *self, const uint32_t *group)
{
    uint32_t n = self->columns->n, next = 0;
    for (size_t i = 0; i < (size_t)self->n_groups * self->columns->alpha; i++) self->slots[i] = n;
    for (uint32_t g = 0; g < self->n_groups; g++) self->shuffled[g] = g;
    for (uint32_t c = 0; c < n; c++)
        if (group[c] < self->n_groups) put(self, c, group[c]);
    for (uint32_t c = 0; c < n; c++) {
        if (group[c] < self->n_groups) continue;
        while (!put(self, c, next)) next = (next + 1) % self->n_groups;
        next = (next + 1) % self->n_groups;
    }
}

void pf_slot_search_groups(const struct pf_slot_search *self, uint32_t *group)
{
    for (uint32_t g = 0; g < self->n_groups; g++)
        for (uint32_t s = 0; s < self->columns->alpha; s++)
            if (group_slots(self, g)[s] != self->columns->n) group[group_slots(self, g)[s]] = g;
}

/* ---- one step ----------------------------------------------------------------------------- */

/* What stays of a group when a slot is taken: the largest worth per row, and the rows covered.
 * Returns its conflicts. */
static size_t measure_rest(struct pf_slot_search *self, size_t group, uint32_t taken_slot)
{
    const struct pf_columns *columns = self->columns;
    size_t n_filled = 0;
    memset(self->largest, 0, self->stride * sizeof *self->largest);
    memset(self->covered, 0, columns->n_words * sizeof *self->covered);
    for (uint32_t s = 0; s < columns->alpha; s++) {
        uint32_t column = group_slots(self, group)[s];
        if (s == taken_slot || column == columns->n) continue;
        pf_column_cover(columns, column, self->covered);
        n_filled += columns->n_filled[column];
        if (self->worth == NULL) continue;
        const int16_t *worth = self->worth + column * self->stride;
        for (size_t r = 0; r < self->stride; r++)
            self->largest[r] = PF_MAX(self->largest[r], worth[r]);
    }
    return n_filled - pf_count_common(self->covered, self->covered, columns->n_words);
}

/* What `column` does for the group that was measured. */
static int64_t measure_gain(const struct pf_slot_search *self, size_t conflicts, uint32_t column)
{
    const struct pf_columns *columns = self->columns;
    bool empty = column == columns->n;
    if (!empty)
        conflicts +=
            pf_count_common(self->covered, pf_column_rows(columns, column), columns->n_words);
    bool fits = conflicts <= columns->conflict_limit;
    if (self->worth == NULL)
        return fits ? 0 : -CONFLICT_UNIT * (int64_t)(conflicts - columns->conflict_limit);
    if (!fits) return -PF_MAX_GAIN;
    return empty ? 0 : pf_gain(self->worth + column * self->stride, self->largest, self->stride);
}

/* The first n_changed of `shuffled` become a sample without repetition. */
static void sample_groups(struct pf_slot_search *self)
{
    if (self->n_changed == self->n_groups) return;
    for (uint32_t i = 0; i < self->n_changed; i++) {
        uint32_t j = i + pf_random_below(&self->random, self->n_groups - i);
        uint32_t group = self->shuffled[i];
        self->shuffled[i] = self->shuffled[j];
        self->shuffled[j] = group;
    }
}

static void measure_step(struct pf_slot_search *self)
{
    uint32_t m = self->n_changed;
    for (uint32_t i = 0; i < m; i++) {
        self->slot[i] = pf_random_below(&self->random, self->columns->alpha);
        self->taken[i] = group_slots(self, self->shuffled[i])[self->slot[i]];
    }
    for (uint32_t i = 0; i < m; i++) {
        size_t conflicts = measure_rest(self, self->shuffled[i], self->slot[i]);
        for (uint32_t j = 0; j < m; j++)
            self->gain[i * m + j] = measure_gain(self, conflicts, self->taken[j]);
    }
}

static const int64_t *add_noise(struct pf_slot_search *self, uint64_t noise)
{
    if (noise == 0) return self->gain;
    size_t n = (size_t)self->n_changed * self->n_changed;
    /* noise < 2^32, so a product with 32 bits of chance stays within 64. */
    for (size_t i = 0; i < n; i++)
        self->noisy[i] = self->gain[i] + (int64_t)(noise * pf_random_u32(&self->random) >> 32);
    return self->noisy;
}

bool pf_slot_search_step(struct pf_slot_search *self, uint64_t noise)
{
    uint32_t m = self->n_changed;
    int64_t before = 0, after = 0;
    sample_groups(self);
    measure_step(self);
    pf_assignment_solve(&self->assignment, add_noise(self, noise), m, self->chosen);
    for (uint32_t i = 0; i < m; i++) {
        before += self->gain[i * m + i];
        after += self->gain[i * m + self->chosen[i]];
        group_slots(self, self->shuffled[i])[self->slot[i]] = self->taken[self->chosen[i]];
    }
    return after > before;
}

/* ---- figures ------------------------------------------------------------------------------ */

uint64_t pf_slot_search_cost(const struct pf_slot_search *self)
{
    uint64_t m = self->n_changed, words = self->columns->n_words;
    uint64_t rows = self->worth != NULL ? self->stride / 8 : 0;
    uint64_t pair = words * PF_EFFORT_PER_WORD + rows + 5;
    return m * (m * pair + self->columns->alpha * (rows + words) + m * m);
}

int64_t pf_slot_search_kept(struct pf_slot_search *self)
{
    int64_t kept = 0;
    for (uint32_t g = 0; g < self->n_groups; g++) {
        measure_rest(self, g, NO_SLOT);
        for (size_t r = 0; r < self->stride; r++) kept += self->largest[r];
    }
    return kept;
}

size_t pf_slot_search_excess(struct pf_slot_search *self)
{
    size_t excess = 0, limit = self->columns->conflict_limit;
    for (uint32_t g = 0; g < self->n_groups; g++) {
        size_t conflicts = measure_rest(self, g, NO_SLOT);
        excess += conflicts > limit ? conflicts - limit : 0;
    }
    return excess;
}

double pf_slot_search_mean_worth(const struct pf_slot_search *self)
{
    size_t n = self->columns->n * self->stride;
    double sum = 0.0;
    for (size_t i = 0; i < n; i++) sum += (double)self->worth[i];
    return sum / (double)self->columns->n;
}
