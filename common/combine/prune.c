/* What is taken out of a filter matrix: the smallest weights, and the losers of conflicts. */
#include <math.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/combine/combine.h"

/* ---- magnitude ---------------------------------------------------------------------------- */

/* The bits of nonnegative floats order as the floats do, so the k-th largest magnitude is found by
 * counting: first the upper half of the bits, then the lower half within one upper value. */
#define HALF_BITS 16u
#define N_HALVES ((size_t)1 << HALF_BITS)
#define INFINITY_BITS 0x7f800000u

static uint32_t magnitude_bits(float weight)
{
    uint32_t bits;
    memcpy(&bits, &weight, sizeof bits);
    return bits & 0x7fffffffu;
}

/* The half in which the `rank`-th largest lies (from 1); *rank becomes its rank inside. */
static uint32_t find_half(const size_t *count, size_t *rank)
{
    size_t half = N_HALVES - 1;
    while (count[half] < *rank) *rank -= count[half--];
    return (uint32_t)half;
}

/* The bits of the `rank`-th largest magnitude, 1 ≤ rank ≤ n; *rank becomes its rank among equals.
 * count[N_HALVES] is scratch. */
static uint32_t find_magnitude(const float *weights, size_t n, size_t *rank, size_t *count)
{
    memset(count, 0, N_HALVES * sizeof *count);
    for (size_t i = 0; i < n; i++) count[magnitude_bits(weights[i]) >> HALF_BITS]++;
    uint32_t upper = find_half(count, rank);
    memset(count, 0, N_HALVES * sizeof *count);
    for (size_t i = 0; i < n; i++) {
        uint32_t bits = magnitude_bits(weights[i]);
        if (bits >> HALF_BITS == upper) count[bits & (N_HALVES - 1)]++;
    }
    return upper << HALF_BITS | find_half(count, rank);
}

enum pf_status pf_prune_magnitude(float *weights, size_t n, size_t keep, struct pf_error *err)
{
    for (size_t i = 0; i < n; i++)
        if (magnitude_bits(weights[i]) >= INFINITY_BITS)
            return pf_fail(err, PF_INVALID, "weight %zu is not finite: train with a lower rate", i);
    if (keep >= n) return PF_OK;
    if (keep == 0) {
        memset(weights, 0, n * sizeof *weights);
        return PF_OK;
    }
    PF_CLEANUP(pf_freep) size_t *count = PF_ALLOC(N_HALVES, size_t);
    if (count == NULL) return pf_no_memory(err, "pruning");
    size_t n_equal = keep;
    uint32_t threshold = find_magnitude(weights, n, &n_equal, count);
    for (size_t i = 0; i < n; i++) {
        uint32_t bits = magnitude_bits(weights[i]);
        if (bits > threshold) continue;
        if (bits == threshold && n_equal > 0)
            n_equal--;
        else
            weights[i] = 0.0f;
    }
    return PF_OK;
}

/* ---- conflicts ---------------------------------------------------------------------------- */

/* Groups are taken in sections so that the scratch has a fixed size; the whole matrix is walked
 * once per section, and nearly every layer fits into one. */
#define SECTION_GROUPS 1024u

/* One row, groups first … first + SECTION_GROUPS − 1. */
static size_t prune_row(float *row, const struct pf_grouping *grouping, uint32_t first)
{
    uint32_t best[SECTION_GROUPS]; /* column of the largest weight so far */
    uint32_t n = PF_MIN(grouping->n_groups - first, SECTION_GROUPS);
    for (uint32_t g = 0; g < n; g++) best[g] = UINT32_MAX;
    size_t n_pruned = 0;
    for (uint32_t k = 0; k < grouping->n_columns; k++) {
        uint32_t group = grouping->group_of_column[k];
        if (row[k] == 0.0f || group < first || group - first >= n) continue;
        uint32_t *winner = &best[group - first];
        if (*winner == UINT32_MAX) {
            *winner = k;
            continue;
        }
        uint32_t loser = k;
        if (fabsf(row[k]) > fabsf(row[*winner])) {
            loser = *winner;
            *winner = k;
        }
        row[loser] = 0.0f;
        n_pruned++;
    }
    return n_pruned;
}

size_t pf_prune_conflicts(float *weights, uint32_t n_rows, const struct pf_grouping *grouping)
{
    size_t n_pruned = 0;
    for (uint32_t first = 0; first < grouping->n_groups; first += SECTION_GROUPS)
        for (size_t r = 0; r < n_rows; r++)
            n_pruned += prune_row(weights + r * grouping->n_columns, grouping, first);
    return n_pruned;
}
