#include <stdarg.h>
#include <stddef.h>

#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdbool.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/base/random.h"
#include "common/secagg/graph.h"

static const struct {
    uint32_t n, k;
} shapes[] = {{3, 2}, {4, 2}, {5, 4}, {10, 8}, {11, 10}, {64, 6}, {100, 12}, {257, 40}};

static void draw_seed(uint64_t number, uint8_t seed[32])
{
    struct pf_random random;
    pf_random_init(&random, number, "test graph", 0);
    for (size_t i = 0; i < 32; i++) seed[i] = (uint8_t)pf_random_u32(&random);
}

static struct pf_graph *make_regular(uint32_t n, uint32_t k, uint64_t number)
{
    uint8_t seed[32];
    draw_seed(number, seed);
    struct pf_graph *graph = NULL;
    struct pf_error err = {0};
    assert_int_equal(pf_graph_create(PF_GRAPH_HARARY, n, k, seed, &graph, &err), PF_OK);
    return graph;
}

static void assert_ascending(const uint32_t *vertices, uint32_t k)
{
    for (uint32_t i = 1; i < k; i++) assert_true(vertices[i - 1] < vertices[i]);
}

/* Each vertex has k different neighbours, never itself, and the relation is symmetric. */
static void assert_simple_regular(const struct pf_graph *graph, uint32_t n, uint32_t k)
{
    uint32_t out[257];
    bool *joined = PF_ALLOC((size_t)n * n, bool);
    assert_non_null(joined);
    for (uint32_t v = 0; v < n; v++) {
        pf_graph_neighbours(graph, v, out);
        assert_ascending(out, k);
        for (uint32_t i = 0; i < k; i++) {
            assert_true(out[i] < n);
            assert_int_not_equal(out[i], v);
            joined[(size_t)v * n + out[i]] = true;
        }
    }
    for (uint32_t u = 0; u < n; u++) {
        for (uint32_t v = 0; v < n; v++) {
            assert_int_equal(joined[(size_t)u * n + v], joined[(size_t)v * n + u]);
            assert_int_equal(joined[(size_t)u * n + v], pf_graph_adjacent(graph, u, v));
        }
    }
    pf_free(joined);
}

static void test_regular_graph_is_regular_symmetric_and_without_loops(void **state)
{
    (void)state;
    for (size_t s = 0; s < PF_ARRAY_LENGTH(shapes); s++) {
        for (uint64_t seed = 0; seed < 3; seed++) {
            PF_CLEANUP(pf_graph_destroyp)
            struct pf_graph *graph = make_regular(shapes[s].n, shapes[s].k, seed);
            assert_simple_regular(graph, shapes[s].n, shapes[s].k);
        }
    }
}

static void test_complete_graph_joins_everybody(void **state)
{
    (void)state;
    for (uint32_t n = 2; n < 20; n++) {
        PF_CLEANUP(pf_graph_destroyp) struct pf_graph *graph = NULL;
        assert_int_equal(pf_graph_create(PF_GRAPH_COMPLETE, n, n - 1, NULL, &graph, NULL), PF_OK);
        assert_simple_regular(graph, n, n - 1);
    }
}

static uint32_t count_reached(const struct pf_graph *graph, uint32_t n)
{
    uint32_t queue[257], out[257], head = 0, tail = 0;
    bool seen[257] = {false};
    queue[tail++] = 0;
    seen[0] = true;
    while (head < tail) {
        memset(out, 0xff, sizeof out);
        pf_graph_neighbours(graph, queue[head++], out);
        for (uint32_t i = 0; i < 257 && out[i] != UINT32_MAX; i++) {
            if (seen[out[i]]) continue;
            seen[out[i]] = true;
            queue[tail++] = out[i];
        }
    }
    assert_true(tail <= n);
    return tail;
}

static void test_regular_graphs_are_connected(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 50; seed++) {
        for (size_t s = 0; s < PF_ARRAY_LENGTH(shapes); s++) {
            PF_CLEANUP(pf_graph_destroyp)
            struct pf_graph *graph = make_regular(shapes[s].n, shapes[s].k, seed);
            assert_int_equal(count_reached(graph, shapes[s].n), shapes[s].n);
        }
    }
}

static bool same_graph(const struct pf_graph *a, const struct pf_graph *b, uint32_t n)
{
    for (uint32_t u = 0; u < n; u++)
        for (uint32_t v = 0; v < n; v++)
            if (pf_graph_adjacent(a, u, v) != pf_graph_adjacent(b, u, v)) return false;
    return true;
}

static void test_the_seed_decides_the_graph(void **state)
{
    (void)state;
    PF_CLEANUP(pf_graph_destroyp) struct pf_graph *first = make_regular(100, 12, 1);
    PF_CLEANUP(pf_graph_destroyp) struct pf_graph *again = make_regular(100, 12, 1);
    PF_CLEANUP(pf_graph_destroyp) struct pf_graph *other = make_regular(100, 12, 2);
    assert_true(same_graph(first, again, 100));
    assert_false(same_graph(first, other, 100));
}

static void test_every_bit_of_the_seed_counts(void **state)
{
    (void)state;
    uint8_t seed[32] = {0};
    PF_CLEANUP(pf_graph_destroyp) struct pf_graph *zero = NULL;
    assert_int_equal(pf_graph_create(PF_GRAPH_HARARY, 64, 6, seed, &zero, NULL), PF_OK);
    for (size_t bit = 0; bit < 256; bit++) {
        seed[bit / 8] = (uint8_t)(1u << (bit % 8));
        PF_CLEANUP(pf_graph_destroyp) struct pf_graph *graph = NULL;
        assert_int_equal(pf_graph_create(PF_GRAPH_HARARY, 64, 6, seed, &graph, NULL), PF_OK);
        assert_false(same_graph(zero, graph, 64));
        seed[bit / 8] = 0;
    }
}

/* All machines must build the same graph from a seed: a change of these numbers is a change of
 * the protocol. */
static void test_known_graph(void **state)
{
    (void)state;
    uint8_t seed[32];
    for (size_t i = 0; i < 32; i++) seed[i] = (uint8_t)i;
    PF_CLEANUP(pf_graph_destroyp) struct pf_graph *graph = NULL;
    assert_int_equal(pf_graph_create(PF_GRAPH_HARARY, 12, 4, seed, &graph, NULL), PF_OK);
    uint32_t out[4];
    pf_graph_neighbours(graph, 0, out);
    const uint32_t of_0[4] = {3, 4, 8, 10};
    assert_memory_equal(out, of_0, sizeof of_0);
    pf_graph_neighbours(graph, 11, out);
    const uint32_t of_11[4] = {1, 2, 6, 7};
    assert_memory_equal(out, of_11, sizeof of_11);
}

/* Over many seeds every pair is joined equally often: 200·k/(n − 1) = 100 expected of 200 seeds;
 * the standard deviation is 7.1 and 36 pairs stay within 5 of them. */
static void test_pairs_are_joined_equally_often(void **state)
{
    (void)state;
    enum { N = 9, K = 4, SEEDS = 200 };
    uint32_t joined[N][N] = {{0}};
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        PF_CLEANUP(pf_graph_destroyp) struct pf_graph *graph = make_regular(N, K, seed);
        for (uint32_t u = 0; u < N; u++)
            for (uint32_t v = 0; v < N; v++) joined[u][v] += pf_graph_adjacent(graph, u, v);
    }
    for (uint32_t u = 0; u < N; u++)
        for (uint32_t v = 0; v < N; v++)
            if (u != v) assert_in_range(joined[u][v], 100 - 36, 100 + 36);
}

static void test_outsiders_are_adjacent_to_nobody(void **state)
{
    (void)state;
    PF_CLEANUP(pf_graph_destroyp) struct pf_graph *regular = make_regular(10, 4, 1);
    PF_CLEANUP(pf_graph_destroyp) struct pf_graph *complete = NULL;
    assert_int_equal(pf_graph_create(PF_GRAPH_COMPLETE, 10, 9, NULL, &complete, NULL), PF_OK);
    assert_false(pf_graph_adjacent(regular, 0, 10));
    assert_false(pf_graph_adjacent(regular, UINT32_MAX, 0));
    assert_false(pf_graph_adjacent(complete, 0, 10));
    assert_false(pf_graph_adjacent(complete, UINT32_MAX, 0));
}

static void test_impossible_graphs_are_refused(void **state)
{
    (void)state;
    static const struct {
        int kind;
        uint32_t n, k;
        bool seeded;
        const char *says;
    } cases[] = {
        {PF_GRAPH_HARARY, 10, 3, true, "degree 3"},
        {PF_GRAPH_HARARY, 10, 0, true, "degree 0"},
        {PF_GRAPH_HARARY, 10, 10, true, "degree 10"},
        {PF_GRAPH_HARARY, 2, 2, true, "degree 2"},
        {PF_GRAPH_HARARY, 10, UINT32_MAX - 1, true, "degree 4294967294"},
        {PF_GRAPH_HARARY, 10, 4, false, "seed"},
        {PF_GRAPH_COMPLETE, 10, 8, true, "degree 9, not 8"},
        {PF_GRAPH_COMPLETE, 1, 0, true, "1 participants"},
        {PF_GRAPH_HARARY, 0, 2, true, "0 participants"},
        {0, 10, 4, true, "kind 0"},
        {3, 10, 4, true, "kind 3"},
    };
    const uint8_t seed[32] = {1};
    for (size_t i = 0; i < PF_ARRAY_LENGTH(cases); i++) {
        struct pf_graph *graph = NULL;
        struct pf_error err = {0};
        assert_int_equal(pf_graph_create((enum pf_graph_kind)cases[i].kind, cases[i].n, cases[i].k,
                                         cases[i].seeded ? seed : NULL, &graph, &err),
                         PF_INVALID);
        assert_null(graph);
        assert_non_null(strstr(err.text, cases[i].says));
    }
}

static void test_names(void **state)
{
    (void)state;
    assert_string_equal(pf_graph_name(PF_GRAPH_COMPLETE), "complete");
    assert_string_equal(pf_graph_name(PF_GRAPH_HARARY), "regular");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_regular_graph_is_regular_symmetric_and_without_loops),
        cmocka_unit_test(test_complete_graph_joins_everybody),
        cmocka_unit_test(test_regular_graphs_are_connected),
        cmocka_unit_test(test_the_seed_decides_the_graph),
        cmocka_unit_test(test_every_bit_of_the_seed_counts),
        cmocka_unit_test(test_known_graph),
        cmocka_unit_test(test_pairs_are_joined_equally_often),
        cmocka_unit_test(test_outsiders_are_adjacent_to_nobody),
        cmocka_unit_test(test_impossible_graphs_are_refused),
        cmocka_unit_test(test_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
