/* A packing: which columns of a filter matrix share a group, and which weights survive.
 *
 * Filter matrix: n_rows filters × n_columns inputs (C for 1×1; C·9 for 3×3, column = c·9 + 3·y +
 * x). The columns of one group are laid into one column of the array; on each row at most one of
 * them may have a weight there.  Terms of Kung, McDanel, Zhang, ASPLOS 2019 (arXiv 1811.04770),
 * section 3.
 *
 * The survivors are kept in compressed rows.  Within a row they stand by ascending group, which by
 * the packing rule is a strict order.  The weights themselves live in the model, in the same order.
 *
 * Rules, checked by pf_packing_validate:
 *   1. sizes within the limits below, alpha ≥ 1, row_start ascending from 0 to n_weights;
 *   2. every column belongs to one group < n_groups or to none (PF_NO_GROUP: nothing survives in
 * it);
 *   3. no group holds more than alpha columns, and no group is empty;
 *   4. within a row the groups of the survivors strictly ascend: one survivor per row and group. */
#ifndef PF_COMMON_MODEL_PACKING_H
#define PF_COMMON_MODEL_PACKING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/error.h"

#define PF_NO_GROUP UINT32_MAX
#define PF_MAX_ROWS 4096u     /* filters of a layer */
#define PF_MAX_COLUMNS 36864u /* 4096 channels · 3 · 3 */
#define PF_MAX_ALPHA 64u

struct pf_packing {
    uint32_t n_rows;
    uint32_t n_columns;
    uint32_t n_groups;
    uint32_t alpha;
    float gamma; /* as used when grouping; for the record */
    uint32_t n_weights;
    uint32_t *group_of_column; /* [n_columns] */
    uint32_t *row_start;       /* [n_rows + 1] */
    uint32_t *column;          /* [n_weights] */
};

/* All arrays zeroed except group_of_column, which is all PF_NO_GROUP. */
PF_NODISCARD enum pf_status pf_packing_create(uint32_t n_rows, uint32_t n_columns,
                                              uint32_t n_groups, uint32_t alpha, float gamma,
                                              uint32_t n_weights, struct pf_packing **packing,
                                              struct pf_error *err);
PF_NODISCARD enum pf_status pf_packing_clone(const struct pf_packing *self,
                                             struct pf_packing **copy, struct pf_error *err);
void pf_packing_destroy(struct pf_packing *self);
PF_DEFINE_CLEANUP(struct pf_packing, pf_packing_destroy)

/* The packing that keeps exactly the nonzeros of weights[n_rows][n_columns] in the given groups.
 * PF_INVALID when two nonzeros of a row share a group or a rule above is broken.  Columns without
 * a nonzero become PF_NO_GROUP, groups left empty are closed up. */
PF_NODISCARD enum pf_status pf_packing_from_dense(const float *weights, uint32_t n_rows,
                                                  uint32_t n_columns,
                                                  const uint32_t *group_of_column,
                                                  uint32_t n_groups, uint32_t alpha, float gamma,
                                                  struct pf_packing **packing,
                                                  struct pf_error *err);

/* Checks every rule; the sentence says which one is broken and where.  Safe on hostile content as
 * long as the arrays have the lengths their counts promise. */
PF_NODISCARD enum pf_status pf_packing_validate(const struct pf_packing *self,
                                                struct pf_error *err);

/* Same shape, groups and survivors. */
bool pf_packing_equal(const struct pf_packing *a, const struct pf_packing *b);

static inline uint32_t pf_packing_group(const struct pf_packing *self, uint32_t survivor)
{
    return self->group_of_column[self->column[survivor]];
}

/* Rows that hold at least one survivor. */
uint32_t pf_packing_nonempty_rows(const struct pf_packing *self);

/* Survivors ÷ (nonempty rows × groups); 0 when there are none. */
double pf_packing_utilisation(const struct pf_packing *self);

#endif
