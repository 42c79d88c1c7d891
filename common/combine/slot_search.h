/* Local search among groupings of a fixed number of groups.
 *
 * A group is a row of α slots, some of them empty.  One step takes one slot of each of up to
 * PF_SLOTS_CHANGED groups, with the column in it, and puts the columns back where they do best, all
 * at once: what a column does for a group is measured against the columns that stay, and which
 * column goes where is an assignment problem, solved exactly.  A swap is the special case of two
 * groups and a move that of an empty slot.  The columns as they were are one of the choices, so no
 * step does worse, unless it is told to: noise on what is measured, drawn anew for each step and
 * falling to nothing, lets the search leave places where no step is better (annealing).
 *
 * What is best depends on the aim:
 *   keep     most worth kept.  Groups are feasible and stay so.
 *   fit      fewest conflicts above the limit.  For a grouping that is not feasible yet.
 *
 * Worth is a 15-bit integer, relative to the largest: sums are exact in any order, and one
 * instruction of the baseline works on eight. */
#ifndef PF_COMMON_COMBINE_SLOT_SEARCH_H
#define PF_COMMON_COMBINE_SLOT_SEARCH_H

#include "common/base/random.h"
#include "common/combine/assignment.h"
#include "common/combine/columns.h"

#define PF_SLOTS_CHANGED 64u /* groups of a step, at most: the assignment costs their cube */

struct pf_slot_search {
    const struct pf_columns *columns;
    struct pf_random random;
    uint32_t n_groups, n_changed;
    size_t stride;      /* rows, rounded up to PF_GAIN_ROWS */
    int16_t *worth;     /* [n][stride] when the aim is to keep, NULL when it is to fit */
    uint32_t *slots;    /* [n_groups][alpha]: columns, n for an empty slot */
    uint32_t *shuffled; /* [n_groups] */

    /* Of the groups of one step. */
    uint32_t *slot;    /* [n_changed]: which was taken */
    uint32_t *taken;   /* [n_changed]: the column that was in it */
    int16_t *largest;  /* [stride]: of what is left of a group */
    uint64_t *covered; /* [n_words] */
    int64_t *gain;     /* [n_changed][n_changed]: of this group and that column */
    int64_t *noisy;    /* the same with noise */
    uint32_t *chosen;  /* [n_changed] */
    struct pf_assignment assignment;
};

/* worth[n_rows][n_columns] as the packer was given it, or NULL to fit.  No column is in a slot yet.
 * Needs n_groups · alpha ≥ columns->n. */
PF_NODISCARD enum pf_status pf_slot_search_init(struct pf_slot_search *self,
                                                const struct pf_columns *columns,
                                                const float *worth, uint32_t n_columns,
                                                uint32_t n_groups, uint64_t seed,
                                                struct pf_error *err);
void pf_slot_search_finish(struct pf_slot_search *self);

/* Places columns by group[n]; those of groups that do not exist, where there is room.  No group has
 * more than alpha. */
void pf_slot_search_place(struct pf_slot_search *self, const uint32_t *group);

/* group[n] ← where the columns are. */
void pf_slot_search_groups(const struct pf_slot_search *self, uint32_t *group);

/* One step; noise is at most this much per column, in units of worth or of conflicts · 256.  True
 * when it did better than leaving things as they were, by more than nothing. */
bool pf_slot_search_step(struct pf_slot_search *self, uint64_t noise);

/* Nominal nanoseconds of a step. */
uint64_t pf_slot_search_cost(const struct pf_slot_search *self);

/* Σ over groups of the worth kept; and the conflicts above the limit. */
int64_t pf_slot_search_kept(struct pf_slot_search *self);
size_t pf_slot_search_excess(struct pf_slot_search *self);

/* Mean of Σ worth of a column. */
double pf_slot_search_mean_worth(const struct pf_slot_search *self);

#endif
