/* The parts of the search for kept weight: gains, assignments, steps between groups. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "common/combine/gain.h"
#include "common/combine/slot_search.h"
#include "tests/unit/combine/combine_fixture.h"

/* ---- gains -------------------------------------------------------------------------------- */

static void gains_equal_the_plain_sum(void **state)
{
    (void)state;
    enum { MOST = 4096 };
    PF_CLEANUP(pf_freep) int16_t *worth = PF_ALLOC(MOST, int16_t);
    PF_CLEANUP(pf_freep) int16_t *largest = PF_ALLOC(MOST, int16_t);
    struct pf_random random;
    pf_random_init(&random, 1, "gains", 0);
    for (size_t n = 0; n <= MOST; n += n < 64 ? PF_GAIN_ROWS : 448) {
        for (size_t r = 0; r < n; r++) {
            worth[r] = (int16_t)pf_random_below(&random, PF_MAX_WORTH + 1);
            largest[r] = (int16_t)pf_random_below(&random, PF_MAX_WORTH + 1);
        }
        assert_int_equal(pf_gain(worth, largest, n), pf_gain_ref(worth, largest, n));
    }
    /* The largest sum there is. */
    for (size_t r = 0; r < MOST; r++) {
        worth[r] = PF_MAX_WORTH;
        largest[r] = 0;
    }
    assert_int_equal(pf_gain(worth, largest, MOST), (uint32_t)PF_MAX_WORTH * MOST);
}

/* ---- assignments -------------------------------------------------------------------------- */

enum { MOST_ROWS = 7 };

/* The largest sum over all ways to give rows from `row` on the columns not in `taken`. */
static int64_t best_of_all(const int64_t *gain, size_t n, size_t row, uint32_t taken)
{
    if (row == n) return 0;
    int64_t best = INT64_MIN;
    for (size_t j = 0; j < n; j++) {
        if ((taken >> j & 1) != 0) continue;
        int64_t sum = gain[row * n + j] + best_of_all(gain, n, row + 1, taken | 1u << j);
        best = PF_MAX(best, sum);
    }
    return best;
}

static void check_assignment(struct pf_assignment *solver, struct pf_random *random, size_t n,
                             uint32_t range, bool extremes)
{
    int64_t gain[MOST_ROWS * MOST_ROWS];
    for (size_t i = 0; i < n * n; i++) {
        gain[i] = (int64_t)pf_random_below(random, range) - range / 2;
        if (extremes && pf_random_below(random, 3) == 0) gain[i] = -PF_MAX_GAIN;
        if (extremes && pf_random_below(random, 9) == 0) gain[i] = PF_MAX_GAIN;
    }
    uint32_t chosen[MOST_ROWS], taken = 0;
    pf_assignment_solve(solver, gain, n, chosen);
    int64_t sum = 0;
    for (size_t i = 0; i < n; i++) {
        assert_true(chosen[i] < n && (taken >> chosen[i] & 1) == 0);
        taken |= 1u << chosen[i];
        sum += gain[i * n + chosen[i]];
    }
    assert_true(sum == best_of_all(gain, n, 0, 0));
}

static void assignments_are_the_best_of_all(void **state)
{
    (void)state;
    PF_CLEANUP(pf_assignment_finish) struct pf_assignment solver = {0};
    assert_int_equal(pf_assignment_init(&solver, MOST_ROWS, NULL), PF_OK);
    struct pf_random random;
    pf_random_init(&random, 2, "assignments", 0);
    for (size_t n = 1; n <= MOST_ROWS; n++)
        for (size_t i = 0; i < 60; i++)
            check_assignment(&solver, &random, n, i % 2 == 0 ? 4 : 1000000, i % 3 == 0);
}

/* ---- steps -------------------------------------------------------------------------------- */

struct matrix {
    float *worth;
    struct pf_columns columns;
    uint32_t *group; /* published */
    uint32_t n_groups;
};

static void matrix_finish(struct matrix *self)
{
    pf_free(self->worth);
    pf_free(self->group);
    pf_columns_finish(&self->columns);
}

static struct matrix published_matrix(uint64_t seed, uint32_t n, double density,
                                      struct pf_grouping_rule rule)
{
    struct matrix self = {.worth = random_matrix(seed, n, n, density)};
    assert_int_equal(pf_columns_init(&self.columns, &rule, self.worth, n, n, NULL), PF_OK);
    self.group = PF_ALLOC(n, uint32_t);
    assert_non_null(self.group);
    assert_int_equal(
        pf_pack_published(&self.columns, self.worth, n, NULL, self.group, &self.n_groups, NULL),
        PF_OK);
    return self;
}

static void a_step_without_noise_never_keeps_less_and_stays_feasible(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 4; seed++) {
        PF_CLEANUP(matrix_finish)
        struct matrix matrix = published_matrix(seed, 48, 0.2, (struct pf_grouping_rule){6, 0.5});
        PF_CLEANUP(pf_slot_search_finish) struct pf_slot_search search = {0};
        assert_int_equal(pf_slot_search_init(&search, &matrix.columns, matrix.worth, 48,
                                             matrix.n_groups, seed, NULL),
                         PF_OK);
        pf_slot_search_place(&search, matrix.group);
        int64_t first = pf_slot_search_kept(&search), kept = first;
        for (size_t i = 0; i < 200; i++) {
            bool better = pf_slot_search_step(&search, 0);
            int64_t now = pf_slot_search_kept(&search);
            assert_true(better ? now > kept : now == kept);
            assert_int_equal(pf_slot_search_excess(&search), 0);
            kept = now;
        }
        assert_true(kept > first);
    }
}

static void noise_does_not_break_the_rule_either(void **state)
{
    (void)state;
    PF_CLEANUP(matrix_finish)
    struct matrix matrix = published_matrix(9, 48, 0.2, (struct pf_grouping_rule){6, 0.5});
    PF_CLEANUP(pf_slot_search_finish) struct pf_slot_search search = {0};
    assert_int_equal(
        pf_slot_search_init(&search, &matrix.columns, matrix.worth, 48, matrix.n_groups, 1, NULL),
        PF_OK);
    pf_slot_search_place(&search, matrix.group);
    int64_t least = pf_slot_search_kept(&search);
    const int64_t first = least;
    for (size_t i = 0; i < 200; i++) {
        pf_slot_search_step(&search, UINT32_MAX);
        assert_int_equal(pf_slot_search_excess(&search), 0);
        least = PF_MIN(least, pf_slot_search_kept(&search));
    }
    assert_true(least < first); /* so much noise does make it worse */
}

static void columns_of_a_dissolved_group_find_places_and_all_keep_one(void **state)
{
    (void)state;
    PF_CLEANUP(matrix_finish)
    struct matrix matrix = published_matrix(4, 64, 0.1, (struct pf_grouping_rule){8, 1.0});
    assert_int_equal(matrix.n_groups, 8);
    for (uint32_t c = 0; c < 64; c++) matrix.group[c] = c % 9; /* the ninth does not exist */
    PF_CLEANUP(pf_slot_search_finish) struct pf_slot_search search = {0};
    assert_int_equal(pf_slot_search_init(&search, &matrix.columns, NULL, 0, 8, 1, NULL), PF_OK);
    pf_slot_search_place(&search, matrix.group);
    for (size_t i = 0; i < 50; i++) pf_slot_search_step(&search, 32);
    uint32_t group[64], size[8] = {0};
    for (size_t c = 0; c < 64; c++) group[c] = UINT32_MAX;
    pf_slot_search_groups(&search, group);
    for (size_t c = 0; c < 64; c++) {
        assert_true(group[c] < 8);
        size[group[c]]++;
    }
    for (size_t g = 0; g < 8; g++) assert_int_equal(size[g], 8);
}

static void the_excess_of_a_grouping_that_does_not_fit_falls(void **state)
{
    (void)state;
    PF_CLEANUP(matrix_finish)
    struct matrix matrix = published_matrix(6, 64, 0.3, (struct pf_grouping_rule){8, 1.5});
    for (uint32_t c = 0; c < 64; c++) matrix.group[c] = c / 8;
    PF_CLEANUP(pf_slot_search_finish) struct pf_slot_search search = {0};
    assert_int_equal(pf_slot_search_init(&search, &matrix.columns, NULL, 0, 8, 1, NULL), PF_OK);
    pf_slot_search_place(&search, matrix.group);
    size_t first = pf_slot_search_excess(&search), excess = first;
    assert_true(first > 0);
    for (size_t i = 0; i < 300; i++) {
        pf_slot_search_step(&search, 0);
        assert_true(pf_slot_search_excess(&search) <= excess);
        excess = pf_slot_search_excess(&search);
    }
    assert_true(excess < first);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gains_equal_the_plain_sum),
        cmocka_unit_test(assignments_are_the_best_of_all),
        cmocka_unit_test(a_step_without_noise_never_keeps_less_and_stays_feasible),
        cmocka_unit_test(noise_does_not_break_the_rule_either),
        cmocka_unit_test(columns_of_a_dissolved_group_find_places_and_all_keep_one),
        cmocka_unit_test(the_excess_of_a_grouping_that_does_not_fit_falls),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
