/* What a column adds to a group: the inner loop of the search for kept weight. */
#ifndef PF_COMMON_COMBINE_GAIN_H
#define PF_COMMON_COMBINE_GAIN_H

#include <stddef.h>
#include <stdint.h>

#define PF_GAIN_ROWS 8u        /* n_rows of pf_gain is a multiple */
#define PF_MAX_WORTH INT16_MAX /* worth lies in 0 … PF_MAX_WORTH */

/* Σ_r max(0, worth[r] − largest[r]) over n_rows ≤ 4096: below 2^15 · 2^12 = 2^27. */
uint32_t pf_gain(const int16_t *worth, const int16_t *largest, size_t n_rows);

/* The same, plainly. */
uint32_t pf_gain_ref(const int16_t *worth, const int16_t *largest, size_t n_rows);

#endif
