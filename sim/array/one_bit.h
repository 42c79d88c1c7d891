/* The naive one-bit model: every register of every cell, one clock edge at a time.
 *
 * It exists to be right, not fast: the other engines and the closed formulas are held against it.
 * Written from the description of the cell alone; shares no arithmetic with the other engines. */
#ifndef PF_SIM_ARRAY_ONE_BIT_H
#define PF_SIM_ARRAY_ONE_BIT_H

#include "sim/array/array.h"
#include "sim/array/matrix.h"

/* Runs the tile whose lower left cell is (first_row, first_group) of `matrix` on x[K][n_pixels].
 * accumulators[N][n_pixels]: rows of the tile enter as initial partial sums and leave as sums,
 * modulo 2^A, sign extended.  *cycles is counted, not computed.  PF_NO_MEMORY. */
PF_NODISCARD enum pf_status pf_array_one_bit_tile(const struct pf_array *array,
                                                  const struct pf_array_matrix *matrix,
                                                  uint32_t first_row, uint32_t first_group,
                                                  const uint8_t *x, size_t n_pixels,
                                                  int32_t *accumulators, uint64_t *cycles,
                                                  struct pf_error *err);

#endif
