/* Fewest groups, by iterated first fit.
 *
 * First fit over the columns of one group after another never needs more groups than there were:
 * by induction the columns of the first i groups fit into i groups, for those of the i-th fit into
 * one that no earlier group's columns had to open, and part of a feasible group is feasible.  So
 * taking groups in another order each time wanders among groupings without ever losing one [2];
 * an order by chance or by size escapes where a fixed one would circle.
 *
 * [2] Culberson, Luo, Exploring the k-colorable landscape with Iterated Greedy, DIMACS 1996. */
#include <string.h>

#include "common/base/memory.h"
#include "common/base/random.h"
#include "common/combine/columns.h"

#define N_TURNS 10u

struct iteration {
    const struct pf_columns *columns;
    struct pf_random random;
    struct pf_open_groups groups;
    struct pf_effort *effort;
    uint32_t *group;
    uint32_t *order; /* [n]: columns, group by group */
    uint32_t *rank;  /* [n]: the groups in the order of their turn */
    uint32_t *begin; /* [n]: where a group's columns begin in order */
    uint32_t *size;  /* [n]: columns of a group */
};

static void iteration_finish(struct iteration *self)
{
    pf_open_groups_finish(&self->groups);
    pf_free(self->order);
    pf_free(self->rank);
    pf_free(self->begin);
    pf_free(self->size);
}

static enum pf_status iteration_init(struct iteration *self, struct pf_error *err)
{
    uint32_t n = self->columns->n;
    self->order = PF_ALLOC(n, uint32_t);
    self->rank = PF_ALLOC(n, uint32_t);
    self->begin = PF_ALLOC(n, uint32_t);
    self->size = PF_ALLOC(n, uint32_t);
    if (self->order == NULL || self->rank == NULL || self->begin == NULL || self->size == NULL)
        return pf_no_memory(err, "grouping columns");
    return pf_open_groups_init(&self->groups, self->columns, err);
}

/* rank ← the groups by falling key, ties as they are, by insertion. */
static void sort_falling(uint32_t *rank, uint32_t n, const uint32_t *key)
{
    for (uint32_t i = 1; i < n; i++) {
        uint32_t group = rank[i], j = i;
        for (; j > 0 && key[rank[j - 1]] < key[group]; j--) rank[j] = rank[j - 1];
        rank[j] = group;
    }
}

/* Half the turns go backwards, the others by falling size or by chance. */
static void rank_groups(struct iteration *self, uint32_t n_groups)
{
    for (uint32_t g = 0; g < n_groups; g++) self->rank[g] = n_groups - 1 - g;
    uint32_t way = pf_random_below(&self->random, 10);
    if (way < 5) return;
    if (way < 7)
        sort_falling(self->rank, n_groups, self->size);
    else
        pf_random_shuffle(&self->random, self->rank, n_groups);
}

/* order ← the columns, those of rank[0] first. */
static void order_columns(struct iteration *self, uint32_t n_groups)
{
    memset(self->size, 0, n_groups * sizeof *self->size);
    for (uint32_t c = 0; c < self->columns->n; c++) self->size[self->group[c]]++;
    rank_groups(self, n_groups);
    uint32_t next = 0;
    for (uint32_t i = 0; i < n_groups; i++) {
        self->begin[self->rank[i]] = next;
        next += self->size[self->rank[i]];
    }
    for (uint32_t c = 0; c < self->columns->n; c++) self->order[self->begin[self->group[c]]++] = c;
}

static void first_fit(struct iteration *self)
{
    struct pf_open_groups *groups = &self->groups;
    uint64_t cost = pf_open_groups_admit_cost(groups);
    pf_open_groups_clear(groups);
    for (uint32_t i = 0; i < self->columns->n; i++) {
        uint32_t column = self->order[i], g = 0, shared = 0;
        while (g < groups->n && !pf_open_groups_admit(groups, g, column, &shared)) g++;
        if (g == groups->n) shared = 0;
        pf_open_groups_join(groups, g, column, shared);
        self->group[column] = g;
        self->effort->spent += (g + 1) * cost;
    }
}

static enum pf_status reduce_by_first_fit(const struct pf_columns *columns, uint32_t enough,
                                          uint64_t seed, struct pf_effort *effort, uint32_t *group,
                                          uint32_t *n_groups, struct pf_error *err)
{
    PF_CLEANUP(iteration_finish)
    struct iteration self = {.columns = columns, .effort = effort, .group = group};
    pf_random_init(&self.random, seed, "iterated packer", 0);
    PF_TRY(iteration_init(&self, err));
    uint32_t n = *n_groups;
    /* A pass asks each column of half the groups, more or less; one that is beyond the effort is
     * not begun. */
    uint64_t pass = (uint64_t)columns->n * n / 2 * pf_open_groups_admit_cost(&self.groups);
    while (n > enough && effort->spent + pass <= effort->limit) {
        order_columns(&self, n);
        first_fit(&self);
        n = self.groups.n;
    }
    *n_groups = n;
    return PF_OK;
}

/* First fit wanders, tabu search digs: turn by turn they get further than either alone. */
enum pf_status pf_reduce_groups(const struct pf_columns *columns, uint32_t enough, uint64_t seed,
                                struct pf_effort *effort, uint32_t *group, uint32_t *n_groups,
                                struct pf_error *err)
{
    uint64_t begin = effort->spent, limit = effort->limit;
    uint64_t whole = limit - PF_MIN(begin, limit);
    PF_CLEANUP(pf_freep) uint8_t *apart = NULL;
    if (*n_groups <= enough || begin >= limit) return PF_OK;
    PF_TRY(pf_columns_apart(columns, &apart, err));
    for (uint64_t turn = 0; turn < 2 * N_TURNS; turn++) {
        effort->limit = begin + whole * (turn + 1) / (2 * N_TURNS);
        if (turn % 2 == 0)
            PF_TRY(reduce_by_first_fit(columns, enough, seed + turn, effort, group, n_groups, err));
        else if (apart != NULL)
            PF_TRY(pf_reduce_by_tabu(columns, apart, enough, seed + turn, effort, group, n_groups,
                                     err));
    }
    effort->limit = limit;
    return PF_OK;
}

enum pf_status pf_pack_iterated(const struct pf_columns *columns, const float *worth,
                                uint32_t n_columns, const struct pf_packer_options *options,
                                uint32_t *group, uint32_t *n_groups, struct pf_error *err)
{
    struct pf_effort effort = {.limit = (uint64_t)(options->effort * 1e9)};
    uint32_t enough = 0;
    PF_TRY(pf_columns_bound(columns, &enough, err));
    PF_TRY(pf_pack_published(columns, worth, n_columns, options, group, n_groups, err));
    return pf_reduce_groups(columns, enough, options->seed, &effort, group, n_groups, err);
}
