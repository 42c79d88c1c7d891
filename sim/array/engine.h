/* The engines behind one interface: a packed matrix on one layer's input, tile by tile.
 *
 * All give the same accumulators and the same cycles; the tests hold them together. */
#ifndef PF_SIM_ARRAY_ENGINE_H
#define PF_SIM_ARRAY_ENGINE_H

#include "sim/array/array.h"
#include "sim/array/matrix.h"

enum pf_array_engine {
    PF_ENGINE_REFERENCE,  /* integer products of the unpacked matrix; cycles by formula */
    PF_ENGINE_ONE_BIT,    /* every register, cycles counted */
    PF_ENGINE_FUNCTIONAL, /* lists of weights, vector instructions; cycles by formula */
};

struct pf_array_cycles {
    uint64_t tiles;
    uint64_t load;    /* Σ over tiles, hidden or not */
    uint64_t compute; /* Σ over tiles */
};

/* accumulators[N][P] += matrix · x[K][P] modulo 2^A, sign extended; on entry they hold the bias or
 * the partial sums so far.  Tiles across the columns hand their sums on as the next tile's
 * partial sums.  PF_INVALID when the matrix's groups need more inputs than the array's cells
 * have, P is 0, or an input does not fit b bits. */
PF_NODISCARD enum pf_status pf_array_run(enum pf_array_engine engine, const struct pf_array *array,
                                         const struct pf_array_matrix *matrix, const uint8_t *x,
                                         size_t n_pixels, int32_t *accumulators,
                                         struct pf_array_cycles *cycles, struct pf_error *err);

#endif
