/* A filter matrix as the array holds it: one weight and one multiplexer setting per cell.
 *
 * Column g of the array carries up to alpha streams; channel[g][i] names the column of the
 * unpacked matrix whose input stream i is.  A cell without a weight holds 0. */
#ifndef PF_SIM_ARRAY_MATRIX_H
#define PF_SIM_ARRAY_MATRIX_H

#include <stddef.h>
#include <stdint.h>

#include "common/base/error.h"
#include "common/model/packing.h"

#define PF_NO_CHANNEL UINT32_MAX /* a stream that carries zeros */

struct pf_array_matrix {
    uint32_t n_rows;     /* N */
    uint32_t n_groups;   /* G: array columns */
    uint32_t n_channels; /* K: columns of the unpacked matrix, rows of x */
    uint32_t alpha;
    uint32_t *channel; /* [G][alpha] */
    int16_t *weight;   /* [N][G], −255…255 */
    uint8_t *select;   /* [N][G], < alpha */
};

/* weights[N][K] under a valid packing.  PF_INVALID when a weight lies outside ±255, or is nonzero
 * where nothing survives. */
PF_NODISCARD enum pf_status pf_array_matrix_pack(const int16_t *weights,
                                                 const struct pf_packing *packing,
                                                 struct pf_array_matrix **matrix,
                                                 struct pf_error *err);

/* One array column per column of weights[n_rows][n_columns]; alpha = 1. */
PF_NODISCARD enum pf_status pf_array_matrix_dense(const int16_t *weights, uint32_t n_rows,
                                                  uint32_t n_columns,
                                                  struct pf_array_matrix **matrix,
                                                  struct pf_error *err);

/* weights[N][K] ← the cells, back in their columns. */
void pf_array_matrix_unpack(const struct pf_array_matrix *self, int16_t *weights);

void pf_array_matrix_destroy(struct pf_array_matrix *self);
PF_DEFINE_CLEANUP(struct pf_array_matrix, pf_array_matrix_destroy)

#endif
