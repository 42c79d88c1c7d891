/* What no grouping can beat: fewer groups than some set of columns needs, more weight than rows can
 * keep. */
#include <math.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/combine/columns.h"

/* ---- columns of which no two may meet ------------------------------------------------------ */

/* Words that the search for such a set may look at; beyond, a matrix does without this bound. */
#define MAX_PAIR_WORDS ((size_t)1 << 25)
#define MAX_SEARCH_WORDS ((size_t)1 << 24)

struct conflict_graph {
    uint32_t n;
    size_t n_words;
    uint64_t *edges;      /* [n][n_words]: bit j of row i: i and j may not share a group */
    uint64_t *candidates; /* scratch [n_words]: columns that may meet none of the set */
    size_t work_left;     /* words */
};

static void conflict_graph_finish(struct conflict_graph *self)
{
    pf_free(self->edges);
    pf_free(self->candidates);
}

static enum pf_status conflict_graph_init(struct conflict_graph *self,
                                          const struct pf_columns *columns, struct pf_error *err)
{
    self->n = columns->n;
    self->n_words = (columns->n + PF_WORD_BITS - 1) / PF_WORD_BITS;
    self->edges = PF_ALLOC(self->n * self->n_words, uint64_t);
    self->candidates = PF_ALLOC(self->n_words, uint64_t);
    self->work_left = MAX_SEARCH_WORDS;
    if (self->edges == NULL || self->candidates == NULL)
        return pf_no_memory(err, "bounding groups");
    for (size_t i = 0; i < self->n; i++) {
        for (size_t j = 0; j < self->n; j++) {
            uint64_t apart = i != j && pf_columns_conflict(columns, i, j);
            self->edges[i * self->n_words + j / PF_WORD_BITS] |= apart << j % PF_WORD_BITS;
        }
    }
    return PF_OK;
}

/* The candidate that leaves most candidates, or n when there is none. */
static uint32_t choose_candidate(struct conflict_graph *self)
{
    uint32_t chosen = self->n, most = 0;
    for (uint32_t j = 0; j < self->n; j++) {
        if ((self->candidates[j / PF_WORD_BITS] >> j % PF_WORD_BITS & 1) == 0) continue;
        uint32_t left =
            pf_count_common(self->candidates, self->edges + j * self->n_words, self->n_words);
        self->work_left -= PF_MIN(self->work_left, self->n_words);
        if (chosen < self->n && left <= most) continue;
        chosen = j;
        most = left;
    }
    return chosen;
}

/* A set of columns around `first` of which no two may meet. */
static uint32_t grow_set(struct conflict_graph *self, uint32_t first)
{
    memcpy(self->candidates, self->edges + first * self->n_words,
           self->n_words * sizeof *self->candidates);
    uint32_t size = 1;
    /* Any set grown so far is a bound, so the search may end anywhere. */
    for (uint32_t next; self->work_left > 0 && (next = choose_candidate(self)) < self->n; size++)
        for (size_t w = 0; w < self->n_words; w++)
            self->candidates[w] &= self->edges[next * self->n_words + w];
    return size;
}

static enum pf_status bound_by_set(const struct pf_columns *columns, uint32_t *bound,
                                   struct pf_error *err)
{
    size_t pairs = (size_t)columns->n * columns->n;
    if (pairs > MAX_PAIR_WORDS / columns->n_words) return PF_OK;
    PF_CLEANUP(conflict_graph_finish) struct conflict_graph graph = {0};
    PF_TRY(conflict_graph_init(&graph, columns, err));
    for (uint32_t first = 0; first < graph.n && graph.work_left > 0; first++)
        *bound = PF_MAX(*bound, grow_set(&graph, first));
    return PF_OK;
}

/* ---- all bounds --------------------------------------------------------------------------- */

enum pf_status pf_columns_bound(const struct pf_columns *columns, uint32_t *bound,
                                struct pf_error *err)
{
    size_t nonzeros = 0, n_filled_rows = 0;
    for (uint32_t c = 0; c < columns->n; c++) nonzeros += columns->n_filled[c];
    for (size_t w = 0; w < columns->n_words; w++) {
        uint64_t filled = 0;
        for (size_t c = 0; c < columns->n; c++) filled |= pf_column_rows(columns, c)[w];
        n_filled_rows += pf_count_common(&filled, &filled, 1);
    }
    size_t most_per_group = n_filled_rows + columns->conflict_limit;
    size_t by_columns = (columns->n + columns->alpha - 1) / columns->alpha;
    size_t by_nonzeros = most_per_group > 0 ? (nonzeros + most_per_group - 1) / most_per_group : 0;
    *bound = (uint32_t)PF_MAX(by_columns, by_nonzeros);
    return bound_by_set(columns, bound, err);
}

static int falling(const void *a, const void *b)
{
    const float *x = a, *y = b;
    return (*x < *y) - (*x > *y);
}

enum pf_status pf_kept_bound(const float *worth, size_t n_rows, size_t n_columns, size_t n_groups,
                             double *kept, struct pf_error *err)
{
    PF_CLEANUP(pf_freep) float *row = PF_ALLOC(n_columns, float);
    if (row == NULL) return pf_no_memory(err, "bounding groups");
    double all = 0.0, most = 0.0;
    for (size_t r = 0; r < n_rows; r++) {
        for (size_t k = 0; k < n_columns; k++) row[k] = fabsf(worth[r * n_columns + k]);
        qsort(row, n_columns, sizeof *row, falling);
        for (size_t k = 0; k < n_columns; k++) {
            all += (double)row[k];
            if (k < n_groups) most += (double)row[k];
        }
    }
    *kept = all > 0.0 ? most / all : 1.0;
    return PF_OK;
}

enum pf_status pf_fewest_groups(const float *worth, uint32_t n_rows, uint32_t n_columns,
                                const struct pf_grouping_rule *rule, uint32_t *n_groups,
                                struct pf_error *err)
{
    PF_TRY(pf_grouping_check(n_rows, n_columns, rule, err));
    PF_CLEANUP(pf_columns_finish) struct pf_columns columns = {0};
    PF_TRY(pf_columns_init(&columns, rule, worth, n_rows, n_columns, err));
    return pf_columns_bound(&columns, n_groups, err);
}

enum pf_status pf_group_bounds(const float *worth, uint32_t n_rows, uint32_t n_columns,
                               const struct pf_grouping_rule *rule, uint32_t n_groups,
                               struct pf_group_bounds *bounds, struct pf_error *err)
{
    struct pf_group_bounds found = {0};
    PF_TRY(pf_fewest_groups(worth, n_rows, n_columns, rule, &found.groups, err));
    PF_TRY(pf_kept_bound(worth, n_rows, n_columns, n_groups, &found.kept, err));
    *bounds = found;
    return PF_OK;
}
