#include <stdarg.h>
#include <stddef.h>

#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <string.h>

#include "common/secagg/parameters.h"

__extension__ typedef unsigned __int128 wide;

static struct pf_secagg_goal make_goal(uint32_t n, double corrupt, double dropouts,
                                       enum pf_adversary adversary)
{
    return (struct pf_secagg_goal){
        .n = n, .corrupt = corrupt, .dropouts = dropouts, .adversary = adversary};
}

/* Bell et al. 2020, their values for σ = 40, η = 20; computed with exact fractions too. */
static void test_regular_parameters_of_the_paper(void **state)
{
    (void)state;
    static const struct {
        uint32_t n;
        double corrupt, dropouts;
        enum pf_adversary adversary;
        uint32_t k, t;
    } rows[] = {
        {10, .33, .33, PF_SEMI_HONEST, 8, 4},        {100, .05, .05, PF_SEMI_HONEST, 12, 6},
        {100, .33, .33, PF_SEMI_HONEST, 68, 34},     {1000, .05, .05, PF_SEMI_HONEST, 30, 17},
        {1000, .33, .33, PF_SEMI_HONEST, 286, 150},  {10000, .05, .05, PF_SEMI_HONEST, 34, 20},
        {100, .05, .05, PF_SEMI_MALICIOUS, 16, 11},  {1000, .05, .05, PF_SEMI_MALICIOUS, 52, 37},
        {1000, .3, .3, PF_SEMI_MALICIOUS, 872, 584},
    };
    for (size_t i = 0; i < PF_ARRAY_LENGTH(rows); i++) {
        struct pf_secagg_goal goal =
            make_goal(rows[i].n, rows[i].corrupt, rows[i].dropouts, rows[i].adversary);
        struct pf_secagg_parameters found = {0};
        assert_int_equal(pf_secagg_find_regular(&goal, &found, NULL), PF_OK);
        assert_int_equal(found.graph, PF_GRAPH_HARARY);
        assert_int_equal(found.degree, rows[i].k);
        assert_int_equal(found.threshold, rows[i].t);
    }
}

/* The formulas of the header in exact integers, for n ≤ 60: C(60, 30) < 2^57. */

static wide choose(uint32_t n, uint32_t k)
{
    if (k > n) return 0;
    wide product = 1;
    for (uint32_t i = 0; i < k; i++) product = product * (n - i) / (i + 1);
    return product;
}

static wide ways(uint32_t n, uint32_t marked, uint32_t k, uint32_t x)
{
    return choose(marked, x) * choose(n - marked, k - x);
}

static uint32_t exact_t1(uint32_t n, uint32_t corrupt, uint32_t k, enum pf_adversary adversary)
{
    wide tail = 0; /* ways to have more than t */
    uint32_t t = k;
    for (; t > 0; t--) {
        tail += ways(n, corrupt, k, t);
        if (((tail * n) << (PF_SECAGG_SIGMA + 1)) > choose(n, k)) break;
    }
    /* ⌈(t + k − 1.25)/2⌉ = ⌈(4t + 4k − 5)/8⌉ */
    return adversary == PF_SEMI_HONEST ? t : (4 * t + 4 * k - 5 + 7) / 8;
}

static uint32_t exact_t2(uint32_t n, uint32_t alive, uint32_t k)
{
    wide mass = 0;
    for (uint32_t t = 0; t < k; t++) {
        mass += ways(n, alive, k, t);
        if (((mass * n) << PF_SECAGG_ETA) >= choose(n, k)) return t;
    }
    return k;
}

static bool exactly_connected(uint32_t n, uint32_t lost, uint32_t k)
{
    wide pairs = (wide)n * (n - k - 1);
    return ((pairs * choose(lost, k)) << PF_SECAGG_SIGMA) < choose(n, k);
}

/* The smallest k with its threshold; false when none serves. */
static bool exact_regular(uint32_t n, uint32_t corrupt, uint32_t dropped,
                          enum pf_adversary adversary, uint32_t *k, uint32_t *t)
{
    for (*k = 2; *k < n; *k += 2) {
        if (!exactly_connected(n, corrupt + dropped, *k)) continue;
        *t = exact_t1(n, corrupt, *k, adversary) + 1;
        if (*t < 2) *t = 2;
        if (*t <= exact_t2(n, n - dropped, *k)) return true;
    }
    return false;
}

static void compare_with_exact(uint32_t n, uint32_t corrupt, uint32_t dropped,
                               enum pf_adversary adversary, unsigned *served, unsigned *refused)
{
    uint32_t k, t;
    struct pf_secagg_goal goal = make_goal(n, (double)corrupt / n, (double)dropped / n, adversary);
    struct pf_secagg_parameters found = {0};
    enum pf_status status = pf_secagg_find_regular(&goal, &found, NULL);
    if (!exact_regular(n, corrupt, dropped, adversary, &k, &t)) {
        assert_int_equal(status, PF_INVALID);
        ++*refused;
        return;
    }
    assert_int_equal(status, PF_OK);
    assert_int_equal(found.degree, k);
    assert_int_equal(found.threshold, t);
    ++*served;
}

static void test_found_parameters_equal_exact_arithmetic(void **state)
{
    (void)state;
    unsigned served = 0, refused = 0;
    for (uint32_t n = 4; n <= 60; n += 7) {
        for (uint32_t corrupt = 0; corrupt < n / 2; corrupt += 3) {
            for (uint32_t dropped = 0; dropped < n / 2; dropped += 2) {
                compare_with_exact(n, corrupt, dropped, PF_SEMI_HONEST, &served, &refused);
                compare_with_exact(n, corrupt, dropped, PF_SEMI_MALICIOUS, &served, &refused);
            }
        }
    }
    assert_true(served > 400);
    assert_true(refused > 40);
}

static enum pf_status check(const struct pf_secagg_goal *goal, enum pf_graph_kind graph,
                            uint32_t degree, uint32_t threshold)
{
    struct pf_secagg_parameters parameters = {
        .graph = graph, .degree = degree, .threshold = threshold};
    return pf_secagg_check(goal, &parameters, NULL);
}

/* Which thresholds a participant accepts for each degree, against exact integers. */
static void test_checked_thresholds_equal_exact_arithmetic(void **state)
{
    (void)state;
    for (uint32_t n = 5; n <= 60; n += 11) {
        for (uint32_t corrupt = 0; corrupt < n / 2; corrupt += 4) {
            struct pf_secagg_goal goal = make_goal(n, (double)corrupt / n, .4, PF_SEMI_MALICIOUS);
            for (int adversary = PF_SEMI_HONEST; adversary <= PF_SEMI_MALICIOUS; adversary++) {
                goal.adversary = (enum pf_adversary)adversary;
                for (uint32_t k = 2; k < n; k += 2) {
                    uint32_t t1 = exact_t1(n, corrupt, k, goal.adversary);
                    bool connected = exactly_connected(n, corrupt, k);
                    for (uint32_t t = 0; t <= k + 1; t++) {
                        bool sound = connected && t > t1 && t >= 2 && t <= k;
                        assert_int_equal(check(&goal, PF_GRAPH_HARARY, k, t),
                                         sound ? PF_OK : PF_REFUSED);
                    }
                }
            }
        }
    }
}

static void test_found_parameters_pass_the_check_and_less_does_not(void **state)
{
    (void)state;
    static const uint32_t sizes[] = {2, 3, 10, 99, 100, 101, 500, 1000, 2000, 10000};
    static const double fractions[] = {0, .01, .05, .1, .2, .29};
    for (size_t i = 0; i < PF_ARRAY_LENGTH(sizes); i++) {
        for (size_t j = 0; j < PF_ARRAY_LENGTH(fractions); j++) {
            for (int adversary = PF_SEMI_HONEST; adversary <= PF_SEMI_MALICIOUS; adversary++) {
                struct pf_secagg_goal goal =
                    make_goal(sizes[i], fractions[j], .1, (enum pf_adversary)adversary);
                struct pf_secagg_parameters p = {0};
                assert_int_equal(pf_secagg_find(&goal, &p, NULL), PF_OK);
                assert_int_equal(p.graph, sizes[i] < 100 ? PF_GRAPH_COMPLETE : PF_GRAPH_HARARY);
                assert_int_equal(check(&goal, p.graph, p.degree, p.threshold), PF_OK);
                assert_int_equal(check(&goal, p.graph, p.degree, p.threshold - 1), PF_REFUSED);
                assert_int_equal(check(&goal, p.graph, p.degree, p.degree + 2), PF_REFUSED);
                assert_int_equal(check(&goal, p.graph, p.degree - 1, p.threshold), PF_REFUSED);
            }
        }
    }
}

/* Two neighbours fewer: where the threshold is then too low or too high, or the graph may fall
 * apart, the check says so. */
static void test_a_smaller_degree_is_refused(void **state)
{
    (void)state;
    struct pf_secagg_goal goal = make_goal(100, .05, .05, PF_SEMI_MALICIOUS);
    assert_int_equal(check(&goal, PF_GRAPH_HARARY, 16, 11), PF_OK);
    assert_int_equal(check(&goal, PF_GRAPH_HARARY, 10, 11), PF_REFUSED);
    assert_int_equal(check(&goal, PF_GRAPH_HARARY, 4, 4), PF_REFUSED); /* 5 corrupt may surround */
    goal = make_goal(10, .2, .3, PF_SEMI_MALICIOUS);
    assert_int_equal(check(&goal, PF_GRAPH_COMPLETE, 9, 7), PF_OK);
    assert_int_equal(check(&goal, PF_GRAPH_COMPLETE, 7, 7), PF_REFUSED);
    goal = make_goal(1000, .33, .33, PF_SEMI_HONEST);
    assert_int_equal(check(&goal, PF_GRAPH_HARARY, 286, 150), PF_OK);
    assert_int_equal(check(&goal, PF_GRAPH_HARARY, 22, 22), PF_REFUSED);
    assert_int_equal(check(&goal, PF_GRAPH_HARARY, 285, 150), PF_REFUSED);
    assert_int_equal(check(&goal, PF_GRAPH_HARARY, 1000, 700), PF_REFUSED);
    assert_int_equal(check(&goal, PF_GRAPH_HARARY, 0, 0), PF_REFUSED);
    assert_int_equal(check(&goal, (enum pf_graph_kind)3, 286, 150), PF_REFUSED);
}

static void test_dropouts_are_not_the_participants_affair(void **state)
{
    (void)state;
    const double dropouts[] = {0, .99, -1, NAN};
    for (size_t i = 0; i < PF_ARRAY_LENGTH(dropouts); i++) {
        struct pf_secagg_goal goal = make_goal(100, .05, dropouts[i], PF_SEMI_MALICIOUS);
        assert_int_equal(check(&goal, PF_GRAPH_HARARY, 16, 11), PF_OK);
        assert_int_equal(check(&goal, PF_GRAPH_HARARY, 16, 10), PF_REFUSED);
    }
}

static void test_complete_graph_of_ten(void **state)
{
    (void)state;
    struct pf_secagg_goal goal = make_goal(10, .2, .3, PF_SEMI_MALICIOUS);
    struct pf_secagg_parameters found = {0};
    struct pf_error err = {0};
    assert_int_equal(pf_secagg_find_complete(&goal, &found, &err), PF_OK);
    assert_int_equal(found.graph, PF_GRAPH_COMPLETE);
    assert_int_equal(found.degree, 9);
    assert_int_equal(found.threshold, 7);
    goal.dropouts = .4;
    found.threshold = 0;
    assert_int_equal(pf_secagg_find_complete(&goal, &found, &err), PF_INVALID);
    assert_int_equal(found.threshold, 0);
    assert_non_null(strstr(err.text, "4 dropouts of 10 participants leave 6, but 7 are needed"));
}

/* 2t > n + f (active), 2t > n and t > f (semi-honest), and t is the smallest such, at least 2. */
static void test_complete_thresholds_are_the_smallest_sound_ones(void **state)
{
    (void)state;
    for (uint32_t n = 2; n < 100; n++) {
        for (uint32_t f = 0; f < n; f++) {
            struct pf_secagg_goal goal = make_goal(n, (double)f / n, 0, PF_SEMI_MALICIOUS);
            for (uint32_t t = 0; t <= n + 1; t++) {
                bool active = 2 * t > n + f && t >= 2 && t <= n;
                bool passive = 2 * t > n && t > f && t >= 2 && t <= n;
                goal.adversary = PF_SEMI_MALICIOUS;
                assert_int_equal(check(&goal, PF_GRAPH_COMPLETE, n - 1, t) == PF_OK, active);
                goal.adversary = PF_SEMI_HONEST;
                assert_int_equal(check(&goal, PF_GRAPH_COMPLETE, n - 1, t) == PF_OK, passive);
            }
        }
    }
}

/* 0.29·100 is 28.999…96 in binary; 29 are meant. */
static void test_whole_products_are_not_rounded_down(void **state)
{
    (void)state;
    struct pf_secagg_goal goal = make_goal(100, .29, 0, PF_SEMI_MALICIOUS);
    assert_int_equal(check(&goal, PF_GRAPH_COMPLETE, 99, 65), PF_OK);
    assert_int_equal(check(&goal, PF_GRAPH_COMPLETE, 99, 64), PF_REFUSED); /* right for 28 */
    goal = make_goal(100, 0, .29, PF_SEMI_MALICIOUS);
    struct pf_error err = {0};
    struct pf_secagg_parameters found = {0};
    goal.corrupt = .45;
    assert_int_equal(pf_secagg_find_complete(&goal, &found, &err), PF_INVALID);
    assert_non_null(strstr(err.text, "29 dropouts of 100"));
}

static void test_cohorts_between_fall_back_to_complete(void **state)
{
    (void)state;
    struct pf_secagg_goal goal = make_goal(102, .4, .295, PF_SEMI_MALICIOUS);
    struct pf_secagg_parameters found = {0};
    struct pf_error err = {0};
    assert_int_equal(pf_secagg_find_regular(&goal, &found, &err), PF_INVALID);
    assert_non_null(strstr(err.text, "102 participants"));
    assert_non_null(strstr(err.text, "40 corrupt"));
    assert_non_null(strstr(err.text, "30 dropouts"));
    assert_int_equal(pf_secagg_find(&goal, &found, &err), PF_OK);
    assert_int_equal(found.graph, PF_GRAPH_COMPLETE);
    assert_int_equal(found.degree, 101);
    assert_int_equal(found.threshold, 72);
    goal.n = PF_SECAGG_MAX_COMPLETE + 1;
    goal.dropouts = .5;
    assert_int_equal(pf_secagg_find(&goal, &found, &err), PF_INVALID);
}

static void test_goals_without_sense_are_refused(void **state)
{
    (void)state;
    const struct pf_secagg_goal goals[] = {
        make_goal(0, .1, .1, PF_SEMI_HONEST),        make_goal(1, 0, 0, PF_SEMI_HONEST),
        make_goal(10, -.1, .1, PF_SEMI_HONEST),      make_goal(10, 1, .1, PF_SEMI_HONEST),
        make_goal(10, .1, -.1, PF_SEMI_HONEST),      make_goal(10, .1, 1, PF_SEMI_HONEST),
        make_goal(10, NAN, .1, PF_SEMI_HONEST),      make_goal(10, .1, NAN, PF_SEMI_HONEST),
        make_goal(10, .1, .1, (enum pf_adversary)0), make_goal(10, .1, .1, (enum pf_adversary)3),
    };
    for (size_t i = 0; i < PF_ARRAY_LENGTH(goals); i++) {
        struct pf_secagg_parameters found = {0};
        struct pf_error err = {0};
        assert_int_equal(pf_secagg_find(&goals[i], &found, &err), PF_INVALID);
        assert_int_equal(pf_secagg_find_regular(&goals[i], &found, &err), PF_INVALID);
        assert_int_equal(pf_secagg_find_complete(&goals[i], &found, &err), PF_INVALID);
        assert_true(strlen(err.text) > 0);
    }
}

static void test_modulus_bits(void **state)
{
    (void)state;
    assert_int_equal(pf_secagg_modulus_bits(16, 500), 25);
    assert_int_equal(pf_secagg_modulus_bits(16, 1), 16);
    assert_int_equal(pf_secagg_modulus_bits(16, 10), 20);
    for (unsigned k = 1; k < 32; k++) {
        uint32_t n = (uint32_t)1 << k;
        assert_int_equal(pf_secagg_modulus_bits(12, n), 12 + k);
        assert_int_equal(pf_secagg_modulus_bits(12, n + 1), 12 + k + 1);
        /* the sum of the largest values stays within the signed range */
        uint64_t most = (uint64_t)n * ((1u << 11) - 1);
        assert_true(most < (uint64_t)1 << (12 + k - 1));
    }
    assert_int_equal(pf_secagg_modulus_bits(32, UINT32_MAX), 64);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_regular_parameters_of_the_paper),
        cmocka_unit_test(test_found_parameters_equal_exact_arithmetic),
        cmocka_unit_test(test_checked_thresholds_equal_exact_arithmetic),
        cmocka_unit_test(test_found_parameters_pass_the_check_and_less_does_not),
        cmocka_unit_test(test_a_smaller_degree_is_refused),
        cmocka_unit_test(test_dropouts_are_not_the_participants_affair),
        cmocka_unit_test(test_complete_graph_of_ten),
        cmocka_unit_test(test_complete_thresholds_are_the_smallest_sound_ones),
        cmocka_unit_test(test_whole_products_are_not_rounded_down),
        cmocka_unit_test(test_cohorts_between_fall_back_to_complete),
        cmocka_unit_test(test_goals_without_sense_are_refused),
        cmocka_unit_test(test_modulus_bits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
