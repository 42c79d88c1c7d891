#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "common/base/memory.h"
#include "common/base/random.h"
#include "common/combine/matching_prices.h"

/* ---- graphs ------------------------------------------------------------------------------- */

struct graph {
    size_t n;
    int64_t *weight; /* [n][n] */
};

static void graph_finish(struct graph *self)
{
    pf_free(self->weight);
}

/* No edges, and a diagonal that shows when it is read. */
static struct graph empty_graph(size_t n)
{
    struct graph graph = {n, PF_ALLOC(n * n, int64_t)};
    assert_non_null(graph.weight);
    for (size_t i = 0; i < n; i++) graph.weight[i * n + i] = INT64_MAX;
    return graph;
}

static void set_edge(struct graph *self, size_t i, size_t j, int64_t weight)
{
    self->weight[i * self->n + j] = self->weight[j * self->n + i] = weight;
}

static int64_t weight_of(const struct graph *self, size_t i, size_t j)
{
    return self->weight[i * self->n + j];
}

static int64_t random_weight(struct pf_random *random, int64_t largest)
{
    return (int64_t)(pf_random_u64(random) % (uint64_t)largest) + 1;
}

static struct graph random_graph(struct pf_random *random, size_t n, double density,
                                 int64_t smallest, int64_t largest)
{
    struct graph graph = empty_graph(n);
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < i; j++)
            if (pf_random_uniform(random) < density)
                set_edge(&graph, i, j,
                         smallest - 1 + random_weight(random, largest - smallest + 1));
    return graph;
}

static struct graph shuffled(struct pf_random *random, const struct graph *graph)
{
    uint32_t name[PF_MAX_MATCHING_VERTICES];
    for (size_t i = 0; i < graph->n; i++) name[i] = (uint32_t)i;
    pf_random_shuffle(random, name, graph->n);
    struct graph result = empty_graph(graph->n);
    for (size_t i = 0; i < graph->n; i++)
        for (size_t j = 0; j < i; j++) set_edge(&result, name[i], name[j], weight_of(graph, i, j));
    return result;
}

/* ---- what a matching has to be ------------------------------------------------------------ */

struct solution {
    int64_t weight;
    size_t n_closed, n_opened;                    /* blossoms */
    size_t depth;                                 /* of blossoms with a price in each other */
    int64_t nested[PF_MAX_MATCHING_VERTICES / 2]; /* prices of the deepest, outermost first */
};

/* Pairs are mutual and edges; returns their weight. */
static int64_t weigh(const struct graph *graph, const uint32_t *partner)
{
    int64_t weight = 0;
    for (size_t i = 0; i < graph->n; i++) {
        if (partner[i] == PF_UNMATCHED) continue;
        assert_true(partner[i] < graph->n && partner[i] != i);
        assert_int_equal(partner[partner[i]], i);
        assert_true(weight_of(graph, i, partner[i]) > 0);
        if (partner[i] < i) weight += weight_of(graph, i, partner[i]);
    }
    return weight;
}

/* The slack of every pair is at least 0; matching_prices.h. */
static void check_slack(const struct graph *graph, const struct pf_matching_prices *prices)
{
    size_t n = graph->n;
    PF_CLEANUP(pf_freep) int64_t *slack = PF_ALLOC(n * n, int64_t);
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < i; j++)
            slack[i * n + j] = prices->price[i] + prices->price[j] - 2 * weight_of(graph, i, j);
    for (size_t s = 0; s < prices->n_sets; s++) {
        const struct pf_odd_set *set = &prices->sets[s];
        for (size_t a = set->begin; a < set->end; a++)
            for (size_t b = set->begin; b < set->end; b++)
                slack[prices->order[a] * n + prices->order[b]] += 2 * set->price;
    }
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < i; j++) assert_true(slack[i * n + j] >= 0);
}

/* That the prices bound every matching by what they sum up to; returns twice the bound. */
static int64_t check_prices(const struct graph *graph, const struct pf_matching_prices *prices)
{
    int64_t twice = 0;
    PF_CLEANUP(pf_freep) bool *named = PF_ALLOC(graph->n, bool);
    for (size_t i = 0; i < graph->n; i++) {
        assert_true(prices->price[i] >= 0);
        assert_false(named[prices->order[i]]);
        named[prices->order[i]] = true;
        twice += prices->price[i];
    }
    for (size_t s = 0; s < prices->n_sets; s++) {
        const struct pf_odd_set *set = &prices->sets[s];
        assert_true(set->price >= 0 && set->begin < set->end && set->end <= graph->n);
        uint32_t size = set->end - set->begin;
        assert_true(size >= 3 && size % 2 == 1);
        twice += set->price * (size - 1);
    }
    check_slack(graph, prices);
    return twice;
}

/* The prices of the sets around the vertex that most of them hold. */
static void note_nesting(const struct pf_matching_prices *prices, size_t n,
                         struct solution *solution)
{
    for (size_t i = 0; i < n; i++) {
        int64_t around[PF_MAX_MATCHING_VERTICES / 2];
        uint32_t size[PF_MAX_MATCHING_VERTICES / 2];
        size_t depth = 0;
        for (size_t s = 0; s < prices->n_sets; s++) {
            const struct pf_odd_set *set = &prices->sets[s];
            if (i < set->begin || i >= set->end || set->price == 0) continue;
            size_t at = depth++;
            for (; at > 0 && size[at - 1] < set->end - set->begin; at--) {
                size[at] = size[at - 1];
                around[at] = around[at - 1];
            }
            size[at] = set->end - set->begin;
            around[at] = set->price;
        }
        if (depth <= solution->depth) continue;
        solution->depth = depth;
        memcpy(solution->nested, around, depth * sizeof *around);
    }
}

/* Matches twice, without prices and with, and checks the matching and its proof. */
static struct solution solve(const struct graph *graph)
{
    uint32_t partner[PF_MAX_MATCHING_VERTICES], again[PF_MAX_MATCHING_VERTICES];
    PF_CLEANUP(pf_matching_prices_finish) struct pf_matching_prices prices = {0};
    assert_int_equal(pf_match_pairs(graph->weight, graph->n, partner, NULL), PF_OK);
    assert_int_equal(pf_match_pairs_with_prices(graph->weight, graph->n, again, &prices, NULL),
                     PF_OK);
    assert_memory_equal(partner, again, graph->n * sizeof *partner);
    struct solution solution = {.weight = weigh(graph, partner),
                                .n_closed = prices.n_closed,
                                .n_opened = prices.n_closed - prices.n_sets};
    assert_true(2 * solution.weight == check_prices(graph, &prices));
    note_nesting(&prices, graph->n, &solution);
    return solution;
}

/* Over all sets of vertices: the heaviest matching within. */
static int64_t heaviest_of_all(const struct graph *graph)
{
    size_t n = graph->n;
    PF_CLEANUP(pf_freep) int64_t *heaviest = PF_ALLOC((size_t)1 << n, int64_t);
    for (size_t set = 1; set < (size_t)1 << n; set++) {
        size_t i = (size_t)__builtin_ctzll(set), others = set & (set - 1);
        heaviest[set] = heaviest[others];
        for (size_t rest = others; rest != 0; rest &= rest - 1) {
            size_t j = (size_t)__builtin_ctzll(rest);
            int64_t weight = weight_of(graph, i, j) + heaviest[others ^ (size_t)1 << j];
            heaviest[set] = PF_MAX(heaviest[set], weight);
        }
    }
    return heaviest[((size_t)1 << n) - 1];
}

static struct solution solve_small(const struct graph *graph)
{
    struct solution solution = solve(graph);
    int64_t heaviest = heaviest_of_all(graph);
    if (solution.weight != heaviest)
        fail_msg("%zu vertices: weight %jd, heaviest %jd", graph->n, (intmax_t)solution.weight,
                 (intmax_t)heaviest);
    return solution;
}

/* ---- small graphs ------------------------------------------------------------------------- */

static void nobody_is_matched_without_edges(void **state)
{
    (void)state;
    uint32_t partner[14];
    for (size_t n = 0; n <= PF_ARRAY_LENGTH(partner); n++) {
        PF_CLEANUP(graph_finish) struct graph graph = empty_graph(n);
        assert_int_equal(pf_match_pairs(graph.weight, n, partner, NULL), PF_OK);
        for (size_t i = 0; i < n; i++) assert_int_equal(partner[i], PF_UNMATCHED);
        assert_int_equal(solve(&graph).weight, 0);
    }
}

static void weight_counts_and_not_the_number_of_pairs(void **state)
{
    (void)state;
    PF_CLEANUP(graph_finish) struct graph path = empty_graph(4);
    uint32_t partner[4];
    static const uint32_t middle[] = {PF_UNMATCHED, 2, 1, PF_UNMATCHED}, ends[] = {1, 0, 3, 2};
    set_edge(&path, 0, 1, 5);
    set_edge(&path, 1, 2, 11);
    set_edge(&path, 2, 3, 5);
    assert_int_equal(pf_match_pairs(path.weight, 4, partner, NULL), PF_OK);
    assert_memory_equal(partner, middle, sizeof middle);
    set_edge(&path, 1, 2, 9);
    assert_int_equal(pf_match_pairs(path.weight, 4, partner, NULL), PF_OK);
    assert_memory_equal(partner, ends, sizeof ends);
}

static void equals_exhaustive_search(void **state)
{
    (void)state;
    static const int64_t ranges[][2] = {{1, 1},
                                        {1, 2},
                                        {1, 3},
                                        {4, 6},
                                        {1, 12},
                                        {90, 110},
                                        {1, 1000000},
                                        {1, PF_MAX_MATCHING_WEIGHT},
                                        {PF_MAX_MATCHING_WEIGHT - 3, PF_MAX_MATCHING_WEIGHT}};
    size_t n_closed = 0, n_opened = 0;
    for (uint64_t seed = 0; seed < 6000; seed++) {
        struct pf_random random;
        pf_random_init(&random, seed, "small graph", 0);
        size_t n = seed % 10 == 0 ? 11 + pf_random_below(&random, 4) : pf_random_below(&random, 11);
        const int64_t *range = ranges[pf_random_below(&random, PF_ARRAY_LENGTH(ranges))];
        double density = 0.15 + pf_random_uniform(&random);
        PF_CLEANUP(graph_finish)
        struct graph graph = random_graph(&random, n, density, range[0], range[1]);
        struct solution solution = solve_small(&graph);
        n_closed += solution.n_closed;
        n_opened += solution.n_opened;
    }
    print_message("%zu blossoms, %zu opened again\n", n_closed, n_opened);
    assert_true(n_closed > 5000 && n_opened > 250);
}

/* ---- blossoms in blossoms ----------------------------------------------------------------- */

enum { MAX_DEPTH = 12, MAX_ONION = 1 + 4 * MAX_DEPTH };

/* The first n vertices alone. */
static struct graph cut(const struct graph *graph, size_t n)
{
    struct graph result = empty_graph(n);
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < i; j++) set_edge(&result, i, j, weight_of(graph, i, j));
    return result;
}

/* `depth` cycles of three or five nodes, of which all but one are new vertices, and that one is the
 * cycle before, met by two edges at random vertices; the edges of cycle d weigh weight[d].  Behind
 * them n_more vertices without edges. */
static struct graph onion(struct pf_random *random, const int64_t *weight, size_t depth,
                          size_t n_more)
{
    PF_CLEANUP(graph_finish) struct graph graph = empty_graph(MAX_ONION + n_more);
    uint32_t n = 1;
    for (size_t d = 0; d < depth; d++) {
        uint32_t first = n, last = n + 1 + 2 * pf_random_below(random, 2);
        set_edge(&graph, pf_random_below(random, n), first, weight[d]);
        for (size_t i = first; i < last; i++) set_edge(&graph, i, i + 1, weight[d]);
        set_edge(&graph, pf_random_below(random, n), last, weight[d]);
        n = last + 1;
    }
    return cut(&graph, n + n_more);
}

/* As above, the cycles but little lighter from one to the next. */
static struct graph dense_onion(struct pf_random *random, size_t depth, size_t n_more)
{
    int64_t weight[MAX_DEPTH];
    for (size_t d = 0; d < depth; d++) weight[d] = 1000 - 10 * (int64_t)d;
    return onion(random, weight, depth, n_more);
}

/* Whichever vertex of an onion is left alone, the rest weighs the same.  So no vertex may have a
 * price, and the blossoms around an edge of cycle d have to cost weight[d] together. */
static void onions_have_a_priced_blossom_per_cycle(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 300; seed++) {
        struct pf_random random;
        pf_random_init(&random, seed, "onion", 0);
        size_t depth = 1 + seed % MAX_DEPTH;
        int64_t weight[MAX_DEPTH];
        for (size_t d = depth; d-- > 0;)
            weight[d] = random_weight(&random, 50) + (d + 1 < depth ? weight[d + 1] : 0);
        PF_CLEANUP(graph_finish) struct graph ordered = onion(&random, weight, depth, 0);
        PF_CLEANUP(graph_finish) struct graph graph = shuffled(&random, &ordered);
        struct solution solution = graph.n <= 14 ? solve_small(&graph) : solve(&graph);
        assert_int_equal(solution.depth, depth);
        for (size_t d = 0; d < depth; d++) {
            int64_t outside = d + 1 < depth ? weight[d + 1] : 0;
            assert_true(solution.nested[depth - 1 - d] == weight[d] - outside);
        }
    }
}

/* Two more vertices pull at an onion by edges that weigh too little to matter before it is closed
 * and too much to leave their vertices alone.  So it gets inner between the two, and is opened. */
static void pulling_at_an_onion_opens_it(void **state)
{
    (void)state;
    size_t n_opened = 0, n_as_deep = 0;
    for (uint64_t seed = 0; seed < 300; seed++) {
        struct pf_random random;
        pf_random_init(&random, seed, "pulled onion", 0);
        size_t depth = 1 + seed % MAX_DEPTH;
        PF_CLEANUP(graph_finish) struct graph graph = dense_onion(&random, depth, 2);
        uint32_t n = (uint32_t)graph.n - 2, at = pf_random_below(&random, n);
        uint32_t other = (at + 1 + pf_random_below(&random, n - 1)) % n;
        set_edge(&graph, n, at, 500 + random_weight(&random, 300));
        set_edge(&graph, n + 1, other, 500 + random_weight(&random, 300));
        struct solution solution = n <= 12 ? solve_small(&graph) : solve(&graph);
        assert_true(solution.n_closed >= depth);
        n_opened += solution.n_opened;
        n_as_deep += solution.n_opened >= depth;
    }
    print_message("%zu blossoms opened, in %zu onions as many as cycles\n", n_opened, n_as_deep);
    assert_true(n_as_deep > 100);
}

static void copy_edges(struct graph *self, size_t begin, const struct graph *from)
{
    for (size_t i = 0; i < from->n; i++)
        for (size_t j = 0; j < i; j++) set_edge(self, begin + i, begin + j, weight_of(from, i, j));
}

/* Onions of one to four cycles and as many edges between them, lighter on the whole, as vertices.
 */
static void onions_joined_at_random_have_a_proof(void **state)
{
    (void)state;
    size_t n_opened = 0, depth = 0;
    for (uint64_t seed = 0; seed < 150; seed++) {
        struct pf_random random;
        pf_random_init(&random, seed, "onions", 0);
        uint32_t n = 20 + pf_random_below(&random, 100);
        PF_CLEANUP(graph_finish) struct graph ordered = empty_graph(n);
        for (size_t begin = 0; begin + 1 + 4 * 4 <= n;) {
            size_t cycles = 1 + pf_random_below(&random, 4);
            PF_CLEANUP(graph_finish) struct graph added = dense_onion(&random, cycles, 0);
            copy_edges(&ordered, begin, &added);
            begin += added.n;
        }
        for (size_t e = 0; e < n; e++) {
            size_t i = pf_random_below(&random, n), j = pf_random_below(&random, n);
            if (i != j && weight_of(&ordered, i, j) == 0)
                set_edge(&ordered, i, j, 500 + random_weight(&random, 500));
        }
        PF_CLEANUP(graph_finish) struct graph graph = shuffled(&random, &ordered);
        struct solution solution = solve(&graph);
        n_opened += solution.n_opened;
        depth = PF_MAX(depth, solution.depth);
    }
    print_message("%zu blossoms opened, %zu deep\n", n_opened, depth);
    assert_true(n_opened > 100 && depth >= 3);
}

/* ---- larger graphs ------------------------------------------------------------------------ */

static void larger_graphs_have_a_proof(void **state)
{
    (void)state;
    static const struct {
        double density;
        int64_t smallest, largest;
    } kinds[] = {{1.0, 1, 3},      {1.0, 1, 1000},
                 {1.0, 900, 1000}, {1.0, 1, PF_MAX_MATCHING_WEIGHT},
                 {0.3, 1, 50},     {0.05, 1, 4},
                 {0.02, 1, 1},     {0.05, PF_MAX_MATCHING_WEIGHT / 2, PF_MAX_MATCHING_WEIGHT},
                 {0.03, 10, 12}};
    size_t n_closed = 0, n_opened = 0, depth = 0;
    for (uint64_t seed = 0; seed < 90; seed++) {
        struct pf_random random;
        pf_random_init(&random, seed, "large graph", 0);
        size_t n = 60 + pf_random_below(&random, 141), kind = seed % PF_ARRAY_LENGTH(kinds);
        PF_CLEANUP(graph_finish)
        struct graph graph = random_graph(&random, n, kinds[kind].density, kinds[kind].smallest,
                                          kinds[kind].largest);
        struct solution solution = solve(&graph);
        n_closed += solution.n_closed;
        n_opened += solution.n_opened;
        depth = PF_MAX(depth, solution.depth);
    }
    print_message("%zu blossoms, %zu opened again, %zu deep\n", n_closed, n_opened, depth);
    assert_true(n_closed > 1000 && n_opened > 500 && depth >= 3);
}

/* Points in a square; weight falls with the square of their distance, to none at `range`:
 * neighbours form triangles everywhere. */
static struct graph random_points(struct pf_random *random, size_t n, int64_t side, int64_t range)
{
    int64_t x[PF_MAX_MATCHING_VERTICES], y[PF_MAX_MATCHING_VERTICES];
    struct graph graph = empty_graph(n);
    for (size_t i = 0; i < n; i++) {
        x[i] = random_weight(random, side);
        y[i] = random_weight(random, side);
        for (size_t j = 0; j < i; j++) {
            int64_t across = x[i] - x[j], along = y[i] - y[j];
            set_edge(&graph, i, j, PF_MAX(range * range - across * across - along * along, 0));
        }
    }
    return graph;
}

static void points_in_a_square_have_a_proof(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 20; seed++) {
        struct pf_random random;
        pf_random_init(&random, seed, "points", 0);
        size_t n = 60 + pf_random_below(&random, 141);
        int64_t side = seed % 2 == 0 ? 12 : 1 << 20;
        PF_CLEANUP(graph_finish)
        struct graph graph = random_points(&random, n, side, seed % 4 < 2 ? side : side / 4);
        solve(&graph);
    }
}

static void as_many_vertices_and_as_much_weight_as_allowed(void **state)
{
    (void)state;
    struct pf_random random;
    pf_random_init(&random, 3, "largest graph", 0);
    PF_CLEANUP(graph_finish)
    struct graph graph = random_graph(&random, PF_MAX_MATCHING_VERTICES, 0.01,
                                      PF_MAX_MATCHING_WEIGHT - 1000, PF_MAX_MATCHING_WEIGHT);
    struct solution sparse = solve(&graph);
    print_message("%zu blossoms, %zu opened again\n", sparse.n_closed, sparse.n_opened);
    assert_true(sparse.n_opened > 500);
    for (size_t i = 0; i < graph.n; i++)
        for (size_t j = 0; j < i; j++) set_edge(&graph, i, j, PF_MAX_MATCHING_WEIGHT);
    assert_true(solve(&graph).weight == PF_MAX_MATCHING_VERTICES / 2 * PF_MAX_MATCHING_WEIGHT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nobody_is_matched_without_edges),
        cmocka_unit_test(weight_counts_and_not_the_number_of_pairs),
        cmocka_unit_test(equals_exhaustive_search),
        cmocka_unit_test(onions_have_a_priced_blossom_per_cycle),
        cmocka_unit_test(pulling_at_an_onion_opens_it),
        cmocka_unit_test(onions_joined_at_random_have_a_proof),
        cmocka_unit_test(larger_graphs_have_a_proof),
        cmocka_unit_test(points_in_a_square_have_a_proof),
        cmocka_unit_test(as_many_vertices_and_as_much_weight_as_allowed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
