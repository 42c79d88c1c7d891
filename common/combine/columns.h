/* The columns of a filter matrix as packers see them: bitsets of rows, and the rule they obey.
 *
 * Only columns with a nonzero are here, in ascending order; `number` names them in the matrix.  For
 * columns a and b conflicts(A ∪ {j}) = conflicts(A) + |rows(A) ∩ rows(j)|, where rows(A) is what
 * any column of the group A fills: so a packer needs a count of common bits and nothing else.
 *
 * Conflicts never fall when a column joins, hence a subset of a feasible group is feasible. */
#ifndef PF_COMMON_COMBINE_COLUMNS_H
#define PF_COMMON_COMBINE_COLUMNS_H

#include "common/combine/packer.h"

#define PF_WORD_BITS 64u

struct pf_columns {
    uint32_t n_rows;
    uint32_t n; /* columns with a nonzero */
    uint32_t alpha;
    size_t conflict_limit; /* of a group */
    size_t n_words;        /* per column */
    uint64_t *rows;        /* [n][n_words]: bit r % 64 of word r / 64 is row r */
    uint32_t *n_filled;    /* [n]: nonzeros */
    uint32_t *number;      /* [n]: column of the matrix */
};

/* The matrix is worth[n_rows][n_columns]; sizes, alpha and gamma within their limits. */
PF_NODISCARD enum pf_status pf_columns_init(struct pf_columns *self,
                                            const struct pf_grouping_rule *rule, const float *worth,
                                            uint32_t n_rows, uint32_t n_columns,
                                            struct pf_error *err);
void pf_columns_finish(struct pf_columns *self);

static inline const uint64_t *pf_column_rows(const struct pf_columns *self, size_t column)
{
    return self->rows + column * self->n_words;
}

/* Bits set in a & b.  Written out because the baseline instruction set has no bit count; in this
 * form compilers work on several words at once. */
static inline uint32_t pf_count_common(const uint64_t *a, const uint64_t *b, size_t n_words)
{
    uint64_t sum = 0;
    for (size_t w = 0; w < n_words; w++) {
        uint64_t x = a[w] & b[w];
        x -= x >> 1 & 0x5555555555555555u;
        x = (x & 0x3333333333333333u) + (x >> 2 & 0x3333333333333333u);
        x = (x + (x >> 4)) & 0x0f0f0f0f0f0f0f0fu;
        x += x >> 8;
        x += x >> 16;
        x += x >> 32;
        sum += x & 0x7f;
    }
    return (uint32_t)sum;
}

/* Whether two columns alone have more conflicts than a group may have. */
static inline bool pf_columns_conflict(const struct pf_columns *self, size_t a, size_t b)
{
    return pf_count_common(pf_column_rows(self, a), pf_column_rows(self, b), self->n_words) >
           self->conflict_limit;
}

/* covered[n_words] ← with the rows of the column. */
static inline void pf_column_cover(const struct pf_columns *self, size_t column, uint64_t *covered)
{
    const uint64_t *rows = pf_column_rows(self, column);
    for (size_t w = 0; w < self->n_words; w++) covered[w] |= rows[w];
}

/* The largest |worth| of n. */
float pf_largest_worth(const float *worth, size_t n);

/* Nominal nanoseconds that a search may spend.  They count work, not time: the same search does the
 * same steps on every machine. */
struct pf_effort {
    uint64_t spent, limit;
};

#define PF_EFFORT_PER_WORD 3u /* pf_count_common */

/* Groups that grow: what a greedy packer asks of each. */
struct pf_open_groups {
    const struct pf_columns *columns;
    uint32_t n;          /* groups so far */
    uint64_t *covered;   /* [columns->n][n_words]: rows that any member fills */
    uint32_t *n_members; /* [columns->n] */
    uint32_t *conflicts; /* [columns->n] */
};

PF_NODISCARD enum pf_status pf_open_groups_init(struct pf_open_groups *self,
                                                const struct pf_columns *columns,
                                                struct pf_error *err);
void pf_open_groups_finish(struct pf_open_groups *self);
void pf_open_groups_clear(struct pf_open_groups *self);

/* Whether `column` may join `group`; *shared: the conflicts that it adds. */
bool pf_open_groups_admit(const struct pf_open_groups *self, uint32_t group, uint32_t column,
                          uint32_t *shared);

/* Nominal nanoseconds of asking that. */
uint64_t pf_open_groups_admit_cost(const struct pf_open_groups *self);

/* group may be self->n, which opens it. */
void pf_open_groups_join(struct pf_open_groups *self, uint32_t group, uint32_t column,
                         uint32_t shared);

/* How one packer sorts columns into groups: group[columns->n] ← 0 … *n_groups − 1, in any order,
 * each feasible; a search may leave some empty. */
typedef enum pf_status pf_packer_function(const struct pf_columns *columns, const float *worth,
                                          uint32_t n_columns,
                                          const struct pf_packer_options *options, uint32_t *group,
                                          uint32_t *n_groups, struct pf_error *err);

pf_packer_function pf_pack_published, pf_pack_dense_first, pf_pack_iterated, pf_pack_kept_weight,
    pf_pack_matching;

/* Fewer groups by first fit over groups reordered, from a grouping that is feasible.  Stops at
 * `enough` groups, or when the effort is spent. */
PF_NODISCARD enum pf_status pf_reduce_groups(const struct pf_columns *columns, uint32_t enough,
                                             uint64_t seed, struct pf_effort *effort,
                                             uint32_t *group, uint32_t *n_groups,
                                             struct pf_error *err);

/* apart[n][n] ← 1 where two columns conflict; NULL when conflicts are allowed, or for so many
 * columns that tabu search is out of the question. */
PF_NODISCARD enum pf_status pf_columns_apart(const struct pf_columns *columns, uint8_t **apart,
                                             struct pf_error *err);

/* Fewer groups by tabu search, where no conflicts are allowed. */
PF_NODISCARD enum pf_status pf_reduce_by_tabu(const struct pf_columns *columns,
                                              const uint8_t *apart, uint32_t enough, uint64_t seed,
                                              struct pf_effort *effort, uint32_t *group,
                                              uint32_t *n_groups, struct pf_error *err);

/* *bound: what no grouping can have less of; see pf_group_bounds. */
PF_NODISCARD enum pf_status pf_columns_bound(const struct pf_columns *columns, uint32_t *bound,
                                             struct pf_error *err);

#endif
