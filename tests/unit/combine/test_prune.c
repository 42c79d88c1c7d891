#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "tests/unit/combine/combine_fixture.h"

static void keeps_the_largest_and_breaks_ties_by_index(void **state)
{
    (void)state;
    float weights[] = {0.5f, -2.0f, 0.5f, 0.0f, -0.5f, 1.0f};
    const float expected[] = {0.5f, -2.0f, 0.5f, 0.0f, 0.0f, 1.0f};
    assert_int_equal(pf_prune_magnitude(weights, 6, 4, NULL), PF_OK);
    assert_memory_equal(weights, expected, sizeof expected);
}

static void keeps_exactly_as_many_as_asked(void **state)
{
    (void)state;
    for (size_t keep = 0; keep <= 1001; keep += 77) {
        PF_CLEANUP(pf_freep) float *weights = random_matrix(keep, 20, 50, 1.0);
        PF_CLEANUP(pf_freep) float *given = random_matrix(keep, 20, 50, 1.0);
        assert_int_equal(pf_prune_magnitude(weights, 1000, keep, NULL), PF_OK);
        assert_int_equal(count_nonzeros(weights, 1000), PF_MIN(keep, 1000u));
        float smallest_kept = INFINITY, largest_lost = 0.0f;
        for (size_t i = 0; i < 1000; i++) {
            if (weights[i] == 0.0f) {
                largest_lost = fmaxf(largest_lost, fabsf(given[i]));
                continue;
            }
            assert_true(weights[i] == given[i]);
            smallest_kept = fminf(smallest_kept, fabsf(given[i]));
        }
        assert_true(smallest_kept >= largest_lost);
    }
}

static void separates_neighbouring_magnitudes(void **state)
{
    (void)state;
    float weights[] = {1.0f, nextafterf(1.0f, 2.0f), -nextafterf(1.0f, 0.0f), 1e-42f, -1e-44f};
    assert_int_equal(pf_prune_magnitude(weights, 5, 1, NULL), PF_OK);
    assert_true(weights[1] > 1.0f);
    assert_int_equal(count_nonzeros(weights, 5), 1);
    float tiny[] = {1e-44f, -1e-42f};
    assert_int_equal(pf_prune_magnitude(tiny, 2, 1, NULL), PF_OK);
    assert_true(tiny[0] == 0.0f && tiny[1] < 0.0f);
}

static void refuses_weights_that_are_not_finite(void **state)
{
    (void)state;
    float weights[] = {1.0f, NAN, 3.0f};
    struct pf_error err;
    assert_int_equal(pf_prune_magnitude(weights, 3, 1, &err), PF_INVALID);
    assert_non_null(strstr(err.text, "weight 1"));
    assert_true(weights[0] == 1.0f && weights[2] == 3.0f);
    weights[1] = -INFINITY;
    assert_int_equal(pf_prune_magnitude(weights, 3, 3, NULL), PF_INVALID);
}

static void a_conflict_leaves_the_largest_then_the_lowest_column(void **state)
{
    (void)state;
    float weights[3][4] = {{1, -2, 3, 0.5f}, {-1, 0, 1, 0}, {0, 0, 0, 7}};
    const float expected[3][4] = {{0, -2, 3, 0}, {-1, 0, 0, 0}, {0, 0, 0, 7}};
    uint32_t groups[] = {0, 1, 0, 1};
    struct pf_grouping grouping = {.n_columns = 4, .n_groups = 2, .group_of_column = groups};
    assert_int_equal(pf_prune_conflicts(&weights[0][0], 3, &grouping), 3);
    assert_memory_equal(weights, expected, sizeof expected);
}

/* The published code walks sections of 256 columns and uses the last one's row list for all, so
 * that conflicts of the others survive: here every group of a wide matrix has conflicts, in every
 * row, and groups are far more than one section of ours. */
static void no_conflict_survives_in_any_section(void **state)
{
    (void)state;
    enum { N_ROWS = 3, N_COLUMNS = 6000, N_GROUPS = 3000 };
    PF_CLEANUP(pf_freep) float *weights = random_matrix(1, N_ROWS, N_COLUMNS, 1.0);
    PF_CLEANUP(pf_freep) float *given = random_matrix(1, N_ROWS, N_COLUMNS, 1.0);
    PF_CLEANUP(pf_freep) uint32_t *groups = PF_ALLOC(N_COLUMNS, uint32_t);
    for (uint32_t k = 0; k < N_COLUMNS; k++) groups[k] = k % N_GROUPS;
    struct pf_grouping grouping = {
        .n_columns = N_COLUMNS, .n_groups = N_GROUPS, .group_of_column = groups};
    assert_int_equal(pf_prune_conflicts(weights, N_ROWS, &grouping), N_ROWS * N_GROUPS);
    for (size_t r = 0; r < N_ROWS; r++) {
        for (size_t g = 0; g < N_GROUPS; g++) {
            size_t a = r * N_COLUMNS + g, b = a + N_GROUPS;
            bool first = fabsf(given[a]) >= fabsf(given[b]);
            assert_true(weights[a] == (first ? given[a] : 0.0f));
            assert_true(weights[b] == (first ? 0.0f : given[b]));
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keeps_the_largest_and_breaks_ties_by_index),
        cmocka_unit_test(keeps_exactly_as_many_as_asked),
        cmocka_unit_test(separates_neighbouring_magnitudes),
        cmocka_unit_test(refuses_weights_that_are_not_finite),
        cmocka_unit_test(a_conflict_leaves_the_largest_then_the_lowest_column),
        cmocka_unit_test(no_conflict_survives_in_any_section),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
