/* α = 2, exactly: pairs of columns are the edges of a graph, and of all matchings with most pairs
 * the one that loses least weight is taken.
 *
 * A pair loses on each row the smaller of its two weights.  With a weight of edge = BONUS − loss
 * and BONUS above any sum of losses, one more pair is worth more than any loss, and a
 * maximum-weight matching is what is asked for. */
#include <math.h>

#include "common/base/memory.h"
#include "common/combine/columns.h"
#include "common/combine/matching.h"

/* Losses are integers, of a matrix's largest weight = UNIT; a pair loses at most 2^12 rows · 2^18 =
 * 2^30 and all pairs of at most 2^10 columns together at most 2^39. */
#define UNIT 262144.0
#define BONUS ((int64_t)1 << 40)

static int64_t loss_of(const float *worth, uint32_t n_rows, uint32_t n_columns, uint32_t a,
                       uint32_t b, double scale)
{
    int64_t loss = 0;
    for (size_t r = 0; r < n_rows; r++) {
        float smaller = fminf(fabsf(worth[r * n_columns + a]), fabsf(worth[r * n_columns + b]));
        loss += (int64_t)((double)smaller * scale + 0.5);
    }
    return loss;
}

static void weigh_pairs(const struct pf_columns *columns, const float *worth, uint32_t n_columns,
                        int64_t *weight)
{
    size_t n = columns->n;
    double scale = UNIT / (double)pf_largest_worth(worth, (size_t)columns->n_rows * n_columns);
    for (size_t i = 0; i < n; i++) {
        for (size_t j = 0; j < i; j++) {
            if (pf_columns_conflict(columns, i, j)) continue;
            weight[i * n + j] = weight[j * n + i] =
                BONUS - loss_of(worth, columns->n_rows, n_columns, columns->number[i],
                                columns->number[j], scale);
        }
    }
}

static uint32_t number_pairs(const uint32_t *partner, uint32_t n, uint32_t *group)
{
    uint32_t n_groups = 0;
    for (uint32_t c = 0; c < n; c++) {
        bool second = partner[c] != PF_UNMATCHED && partner[c] < c;
        group[c] = second ? group[partner[c]] : n_groups++;
    }
    return n_groups;
}

enum pf_status pf_pack_matching(const struct pf_columns *columns, const float *worth,
                                uint32_t n_columns, const struct pf_packer_options *options,
                                uint32_t *group, uint32_t *n_groups, struct pf_error *err)
{
    (void)options;
    if (columns->n > PF_MAX_MATCHING_COLUMNS)
        return pf_fail(
            err, PF_INVALID,
            "combine: %u columns are too many for the packer 'matching', which takes %u; "
            "take 'kept-weight'",
            columns->n, PF_MAX_MATCHING_COLUMNS);
    size_t n = columns->n;
    PF_CLEANUP(pf_freep) int64_t *weight = PF_ALLOC(n * n, int64_t);
    PF_CLEANUP(pf_freep) uint32_t *partner = PF_ALLOC(n, uint32_t);
    if (weight == NULL || partner == NULL) return pf_no_memory(err, "grouping columns");
    if (columns->alpha == 2) weigh_pairs(columns, worth, n_columns, weight);
    PF_TRY(pf_match_pairs(weight, n, partner, err));
    *n_groups = number_pairs(partner, columns->n, group);
    return PF_OK;
}
