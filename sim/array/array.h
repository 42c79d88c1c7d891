/* The array's parameters and its timing, in closed form.
 *
 * A cycle count runs from the first input bit entering the array to the last output bit leaving
 * it, both included.  docs/simulator.md derives the formulas; sim/array/one_bit.c counts. */
#ifndef PF_SIM_ARRAY_ARRAY_H
#define PF_SIM_ARRAY_ARRAY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/error.h"

#define PF_ARRAY_MAX_SIDE 4096u
#define PF_ARRAY_MAX_INPUT_BITS 32u
#define PF_ARRAY_MAX_ACCUMULATION_BITS 32u
#define PF_ARRAY_MAX_LANES 32u
#define PF_ARRAY_WEIGHT_BITS 8u /* magnitude; cells hold 0…255 and a sign */
#define PF_ARRAY_MAX_CLOCK_MHZ 100000.0

struct pf_array {
    uint32_t rows, columns;     /* H, W: 32 × 32 */
    uint32_t alpha;             /* inputs of a cell's multiplexer: 8 */
    uint32_t input_bits;        /* b: 8 */
    uint32_t accumulation_bits; /* A: 32 */
    uint32_t lanes;             /* L = A/b: 4 */
    bool double_buffering;
    double clock_mhz; /* 150 */
};

void pf_array_default(struct pf_array *array);
PF_NODISCARD enum pf_status pf_array_validate(const struct pf_array *self, struct pf_error *err);

/* Weights enter over the alpha input wires of each column, row by row: ⌈8/alpha⌉·H. */
uint64_t pf_array_load_cycles(const struct pf_array *self);

/* b·(P − 1) + A + W + H − 2; n_pixels > 0.  All H × W cells take part, whatever they hold. */
uint64_t pf_array_compute_cycles(const struct pf_array *self, uint64_t n_pixels);

/* ⌈N/H⌉·⌈G/W⌉ */
uint64_t pf_array_tiles(const struct pf_array *self, uint32_t n_rows, uint32_t n_columns);

/* Tiles run one after the other.  With double buffering the weights of a tile load while the
 * previous tile computes, so that only what outlasts it is waited for. */
struct pf_array_schedule {
    uint64_t previous_compute; /* of the last tile added; 0 at the start */
    uint64_t cycles;
};

/* Adds n_tiles tiles of n_pixels pixels each. */
void pf_array_schedule_add(struct pf_array_schedule *self, const struct pf_array *array,
                           uint64_t n_tiles, uint64_t n_pixels);

#endif
