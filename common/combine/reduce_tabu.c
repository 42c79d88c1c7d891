/* One group fewer, by tabu search, where no conflicts are allowed.
 *
 * Without conflicts two columns may share a group or not, and grouping is colouring a graph with
 * classes of at most α.  A partial colouring with k groups leaves some columns unplaced; a step
 * puts one of them into a group and takes out of it what conflicts with it, one more when the group
 * was full.  Of all such steps the one that takes out fewest is made; what was taken out may not
 * come back into that group for some steps [1].  When nothing is unplaced, k was enough.
 *
 * [1] Bloechliger, Zufferey, A graph coloring heuristic using partial solutions and a reactive tabu
 *     scheme, Computers & Operations Research 35, 2008. */
#include <string.h>

#include "common/base/memory.h"
#include "common/base/random.h"
#include "common/combine/columns.h"

/* The search keeps a byte per pair of columns and nine per column and group. */
#define MAX_COLUMNS 2048u

struct tabu {
    const struct pf_columns *columns;
    struct pf_effort *effort;
    struct pf_random random;
    uint32_t n, k;
    const uint8_t *apart; /* [n][n]: these two may not share a group */
    uint32_t *members;    /* [k][alpha] */
    uint32_t *size;       /* [k] */
    uint8_t *n_apart;     /* [k][n]: members of the group that may not share it with this column */
    uint64_t *free_again; /* [k][n]: the step from which the column may enter the group */
    uint32_t *unplaced;   /* [n_unplaced] */
    uint32_t n_unplaced, fewest;
    uint64_t step;
};

struct move {
    uint32_t place, group; /* unplaced[place] enters the group */
    uint32_t n_out;
};

static void tabu_finish(struct tabu *self)
{
    pf_free(self->members);
    pf_free(self->size);
    pf_free(self->n_apart);
    pf_free(self->free_again);
    pf_free(self->unplaced);
}

static enum pf_status tabu_init(struct tabu *self, uint32_t max_groups, struct pf_error *err)
{
    size_t n = self->n;
    self->size = PF_ALLOC(max_groups, uint32_t);
    self->members = PF_ALLOC((size_t)max_groups * self->columns->alpha, uint32_t);
    self->n_apart = PF_ALLOC(n * max_groups, uint8_t);
    self->free_again = PF_ALLOC(n * max_groups, uint64_t);
    self->unplaced = PF_ALLOC(n, uint32_t);
    if (self->size == NULL || self->members == NULL || self->n_apart == NULL ||
        self->free_again == NULL || self->unplaced == NULL)
        return pf_no_memory(err, "grouping columns");
    return PF_OK;
}

enum pf_status pf_columns_apart(const struct pf_columns *columns, uint8_t **apart,
                                struct pf_error *err)
{
    size_t n = columns->n;
    *apart = NULL;
    if (columns->conflict_limit > 0 || n > MAX_COLUMNS) return PF_OK;
    uint8_t *table = PF_ALLOC(n * n, uint8_t);
    if (table == NULL) return pf_no_memory(err, "grouping columns");
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < n; j++)
            table[i * n + j] = i != j && pf_columns_conflict(columns, i, j);
    *apart = table;
    return PF_OK;
}

static void put(struct tabu *self, uint32_t column, uint32_t group)
{
    self->members[group * self->columns->alpha + self->size[group]++] = column;
    const uint8_t *apart = self->apart + (size_t)column * self->n;
    uint8_t *n_apart = self->n_apart + (size_t)group * self->n;
    for (size_t j = 0; j < self->n; j++) n_apart[j] = (uint8_t)(n_apart[j] + apart[j]);
}

/* The column may not come back for longer, the more columns are unplaced. */
static void take_out(struct tabu *self, uint32_t group, uint32_t place)
{
    uint32_t *members = self->members + group * self->columns->alpha;
    uint32_t column = members[place];
    members[place] = members[--self->size[group]];
    const uint8_t *apart = self->apart + (size_t)column * self->n;
    uint8_t *n_apart = self->n_apart + (size_t)group * self->n;
    for (size_t j = 0; j < self->n; j++) n_apart[j] = (uint8_t)(n_apart[j] - apart[j]);
    self->free_again[(size_t)group * self->n + column] =
        self->step + 1 + self->n_unplaced * 3 / 5 + pf_random_below(&self->random, 10);
    self->unplaced[self->n_unplaced++] = column;
}

/* Starts with k groups; the columns of any further one are unplaced. */
static void tabu_start(struct tabu *self, uint32_t k, const uint32_t *group)
{
    self->k = k;
    self->n_unplaced = 0;
    self->step = 0;
    memset(self->size, 0, k * sizeof *self->size);
    memset(self->n_apart, 0, (size_t)self->n * k * sizeof *self->n_apart);
    memset(self->free_again, 0, (size_t)self->n * k * sizeof *self->free_again);
    for (uint32_t c = 0; c < self->n; c++) {
        if (group[c] < k)
            put(self, c, group[c]);
        else
            self->unplaced[self->n_unplaced++] = c;
    }
    self->fewest = self->n_unplaced;
}

/* The move that takes out fewest, ties by chance; false when all are forbidden.  A move that leaves
 * fewer unplaced than ever before is never forbidden. */
static bool choose_move(struct tabu *self, struct move *chosen)
{
    uint32_t n_ties = 0;
    chosen->n_out = UINT32_MAX;
    for (uint32_t i = 0; i < self->n_unplaced; i++) {
        size_t at = self->unplaced[i];
        for (uint32_t g = 0; g < self->k; g++, at += self->n) {
            uint32_t n_out = self->n_apart[at];
            n_out += self->size[g] - n_out == self->columns->alpha;
            if (n_out > chosen->n_out) continue;
            bool record = self->n_unplaced - 1 + n_out < self->fewest;
            if (self->free_again[at] > self->step && !record) continue;
            n_ties = n_out < chosen->n_out ? 1 : n_ties + 1;
            if (n_ties > 1 && pf_random_below(&self->random, n_ties) > 0) continue;
            *chosen = (struct move){i, g, n_out};
        }
    }
    self->effort->spent += (uint64_t)self->n_unplaced * self->k * 2;
    return n_ties > 0;
}

static void make_move(struct tabu *self, const struct move *move)
{
    uint32_t column = self->unplaced[move->place];
    self->unplaced[move->place] = self->unplaced[--self->n_unplaced];
    const uint8_t *apart = self->apart + (size_t)column * self->n;
    const uint32_t *members = self->members + move->group * self->columns->alpha;
    for (uint32_t i = self->size[move->group]; i-- > 0;)
        if (apart[members[i]]) take_out(self, move->group, i);
    if (self->size[move->group] == self->columns->alpha)
        take_out(self, move->group, pf_random_below(&self->random, self->columns->alpha));
    put(self, column, move->group);
    self->effort->spent += (move->n_out + 1) * (uint64_t)(self->n / 8 + 20);
    self->fewest = PF_MIN(self->fewest, self->n_unplaced);
}

/* True when every column found a place in k groups. */
static bool search(struct tabu *self)
{
    while (self->n_unplaced > 0 && self->effort->spent < self->effort->limit) {
        struct move move;
        self->step++;
        if (choose_move(self, &move)) make_move(self, &move);
    }
    return self->n_unplaced == 0;
}

enum pf_status pf_reduce_by_tabu(const struct pf_columns *columns, const uint8_t *apart,
                                 uint32_t enough, uint64_t seed, struct pf_effort *effort,
                                 uint32_t *group, uint32_t *n_groups, struct pf_error *err)
{
    if (*n_groups <= enough) return PF_OK;
    PF_CLEANUP(tabu_finish)
    struct tabu self = {.columns = columns, .effort = effort, .n = columns->n, .apart = apart};
    pf_random_init(&self.random, seed, "tabu packer", 0);
    PF_TRY(tabu_init(&self, *n_groups - 1, err));
    while (*n_groups > enough) {
        tabu_start(&self, *n_groups - 1, group);
        if (!search(&self)) break;
        --*n_groups;
        for (uint32_t g = 0; g < self.k; g++)
            for (uint32_t i = 0; i < self.size[g]; i++)
                group[self.members[g * columns->alpha + i]] = g;
    }
    return PF_OK;
}
