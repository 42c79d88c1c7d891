#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "tests/unit/combine/combine_fixture.h"

static enum pf_status group_published(const float *weights, uint32_t n_rows, uint32_t n_columns,
                                      uint32_t alpha, double gamma, struct pf_grouping *grouping,
                                      struct pf_error *err)
{
    const struct pf_packer_options options = {.packer = PF_PACKER_PUBLISHED};
    const struct pf_grouping_rule rule = {alpha, gamma};
    return pf_group_columns(weights, n_rows, n_columns, &rule, &options, grouping, err);
}

static enum pf_status validate(const struct pf_grouping *grouping, const float *weights,
                               uint32_t n_rows, uint32_t alpha, double gamma, struct pf_error *err)
{
    const struct pf_grouping_rule rule = {alpha, gamma};
    return pf_grouping_validate(grouping, weights, n_rows, &rule, err);
}

/* ---- worked by hand ----------------------------------------------------------------------- */

/* Column:                              0  1  2  3  4  5 */
static const float example[4][6] = {
    {1, 1, 0, 0, 0, 0}, {0, 1, 0, 1, 0, 1}, {0, 0, 1, 0, 0, 1}, {0, 0, 1, 0, 0, 1}};

static void expect_groups(const float *weights, uint32_t n_rows, uint32_t n_columns, uint32_t alpha,
                          double gamma, const uint32_t *expected)
{
    PF_CLEANUP(pf_grouping_finish) struct pf_grouping grouping = {0};
    assert_int_equal(group_published(weights, n_rows, n_columns, alpha, gamma, &grouping, NULL),
                     PF_OK);
    assert_int_equal(grouping.n_columns, n_columns);
    uint32_t n_groups = 0;
    for (uint32_t k = 0; k < n_columns; k++) {
        assert_int_equal(grouping.group_of_column[k], expected[k]);
        if (expected[k] != PF_NO_GROUP) n_groups = PF_MAX(n_groups, expected[k] + 1);
    }
    assert_int_equal(grouping.n_groups, n_groups);
}

static void without_conflicts_columns_must_be_disjoint(void **state)
{
    (void)state;
    /* Column 0 may take 2, 3 or 5; 5 fills all rows.  Then 1 takes 2, and 3 is left over. */
    const uint32_t expected[] = {0, 1, 1, 2, PF_NO_GROUP, 0};
    expect_groups(&example[0][0], 4, 6, 2, 0.0, expected);
    expect_groups(&example[0][0], 4, 6, 8, 0.0, expected);
}

static void conflicts_fill_a_group_up_to_alpha(void **state)
{
    (void)state;
    /* Two conflicts: 0 takes 5, then nobody adds a row and 1 is the lowest; 2 takes 3. */
    const uint32_t expected[] = {0, 0, 1, 1, PF_NO_GROUP, 0};
    expect_groups(&example[0][0], 4, 6, 3, 0.5, expected);
}

static void alpha_one_leaves_every_column_alone(void **state)
{
    (void)state;
    const uint32_t expected[] = {0, 1, 2, 3, PF_NO_GROUP, 4};
    expect_groups(&example[0][0], 4, 6, 1, 8.0, expected);
}

static void conflicts_count_with_multiplicity(void **state)
{
    (void)state;
    /* Three weights on one row are two conflicts, one too many for ⌊0.25 · 4⌋. */
    const float weights[4][3] = {{1, 1, 1}};
    const uint32_t expected[] = {0, 0, 1};
    expect_groups(&weights[0][0], 4, 3, 3, 0.25, expected);
}

static void empty_rows_count_for_the_limit(void **state)
{
    (void)state;
    const float weights[10][2] = {{1, 1}};
    const uint32_t together[] = {0, 0}, apart[] = {0, 1};
    expect_groups(&weights[0][0], 10, 2, 2, 0.1, together);
    expect_groups(&weights[0][0], 10, 2, 2, 0.09, apart);
}

static void the_limit_forgives_rounding(void **state)
{
    (void)state;
    assert_true(0.29 * 100.0 < 29.0);
    assert_int_equal(pf_conflict_limit(0.29, 100), 29);
    assert_int_equal(pf_conflict_limit(0.1, 30), 3);
    assert_int_equal(pf_conflict_limit(0.1, 29), 2);
    assert_int_equal(pf_conflict_limit(1.75, 96), 168);
    assert_int_equal(pf_conflict_limit(0.0, 4096), 0);
    for (uint32_t n = 1; n <= PF_MAX_ROWS; n++)
        for (uint32_t limit = 0; limit <= n; limit += 1 + n / 7)
            assert_int_equal(pf_conflict_limit((double)limit / n, n), limit);
}

static void a_matrix_of_zeros_has_no_groups(void **state)
{
    (void)state;
    const float weights[4] = {0};
    const uint32_t expected[] = {PF_NO_GROUP, PF_NO_GROUP};
    expect_groups(weights, 2, 2, 8, 1.0, expected);
}

/* ---- against the rule, written out literally ---------------------------------------------- */

/* filled[g][r]: nonzeros of group g on row r.  Groups are merged in place, the higher one closed.
 */
struct literal {
    uint32_t n_rows, n_groups;
    uint32_t n_members[64];
    uint32_t members[64][64];
    uint32_t filled[64][64];
};

static size_t literal_conflicts(const struct literal *self, uint32_t a, uint32_t b)
{
    size_t conflicts = 0;
    for (uint32_t r = 0; r < self->n_rows; r++) {
        uint32_t n = self->filled[a][r] + self->filled[b][r];
        conflicts += n > 1 ? n - 1 : 0;
    }
    return conflicts;
}

static uint32_t literal_empty_rows(const struct literal *self, uint32_t a, uint32_t b)
{
    uint32_t n = 0;
    for (uint32_t r = 0; r < self->n_rows; r++) n += self->filled[a][r] + self->filled[b][r] == 0;
    return n;
}

static void literal_merge(struct literal *self, uint32_t a, uint32_t b)
{
    for (uint32_t r = 0; r < self->n_rows; r++) self->filled[a][r] += self->filled[b][r];
    for (uint32_t i = 0; i < self->n_members[b]; i++)
        self->members[a][self->n_members[a]++] = self->members[b][i];
    self->n_groups--;
    for (uint32_t g = b; g < self->n_groups; g++) {
        memcpy(self->filled[g], self->filled[g + 1], sizeof self->filled[g]);
        memcpy(self->members[g], self->members[g + 1], sizeof self->members[g]);
        self->n_members[g] = self->n_members[g + 1];
    }
}

static bool literal_step(struct literal *self, uint32_t alpha, size_t limit)
{
    for (uint32_t a = 0; a < self->n_groups; a++) {
        uint32_t best = UINT32_MAX, fewest = UINT32_MAX;
        for (uint32_t b = 0; b < self->n_groups; b++) {
            if (b == a || self->n_members[a] + self->n_members[b] > alpha) continue;
            if (literal_conflicts(self, a, b) > limit) continue;
            if (literal_empty_rows(self, a, b) >= fewest) continue;
            fewest = literal_empty_rows(self, a, b);
            best = b;
        }
        if (best == UINT32_MAX) continue;
        /* A partner below would have taken this group when its own turn came. */
        assert_true(best > a);
        literal_merge(self, a, best);
        return true;
    }
    return false;
}

static void group_literally(const float *weights, uint32_t n_rows, uint32_t n_columns,
                            uint32_t alpha, size_t limit, uint32_t *group_of_column)
{
    PF_CLEANUP(pf_freep) struct literal *self = PF_ALLOC(1, struct literal);
    self->n_rows = n_rows;
    for (uint32_t k = 0; k < n_columns; k++) {
        group_of_column[k] = PF_NO_GROUP;
        uint32_t nonzeros = 0;
        for (uint32_t r = 0; r < n_rows; r++) {
            self->filled[self->n_groups][r] = weights[r * n_columns + k] != 0.0f;
            nonzeros += self->filled[self->n_groups][r];
        }
        if (nonzeros == 0) continue;
        self->members[self->n_groups][0] = k;
        self->n_members[self->n_groups++] = 1;
    }
    while (literal_step(self, alpha, limit)) {
    }
    for (uint32_t g = 0; g < self->n_groups; g++)
        for (uint32_t i = 0; i < self->n_members[g]; i++) group_of_column[self->members[g][i]] = g;
}

static void equals_the_rule_written_out(void **state)
{
    (void)state;
    static const uint32_t alphas[] = {1, 2, 3, 8, 64};
    static const double gammas[] = {0.0, 0.1, 0.5, 1.75, 64.0};
    for (uint64_t seed = 0; seed < 12; seed++) {
        uint32_t n_rows = 1 + (uint32_t)(seed * 17 % 63),
                 n_columns = 1 + (uint32_t)(seed * 23 % 60);
        double density = 0.04 + 0.06 * (double)seed;
        PF_CLEANUP(pf_freep) float *weights = random_matrix(seed, n_rows, n_columns, density);
        for (size_t a = 0; a < PF_ARRAY_LENGTH(alphas); a++) {
            for (size_t g = 0; g < PF_ARRAY_LENGTH(gammas); g++) {
                uint32_t expected[64];
                group_literally(weights, n_rows, n_columns, alphas[a],
                                pf_conflict_limit(gammas[g], n_rows), expected);
                expect_groups(weights, n_rows, n_columns, alphas[a], gammas[g], expected);
            }
        }
    }
}

/* ---- properties of any matrix ------------------------------------------------------------- */

/* One survivor per row and group, and it is the largest of what was there. */
static void expect_largest_survive(const float *given, const float *pruned, uint32_t n_rows,
                                   const struct pf_grouping *grouping)
{
    uint32_t n_columns = grouping->n_columns;
    for (size_t r = 0; r < n_rows; r++) {
        const float *before = given + r * n_columns, *after = pruned + r * n_columns;
        for (uint32_t g = 0; g < grouping->n_groups; g++) {
            float largest = 0.0f, kept = 0.0f;
            uint32_t n_before = 0, n_kept = 0;
            for (uint32_t k = 0; k < n_columns; k++) {
                if (grouping->group_of_column[k] != g) continue;
                largest = fmaxf(largest, fabsf(before[k]));
                n_before += before[k] != 0.0f;
                if (after[k] == 0.0f) continue;
                assert_true(after[k] == before[k]);
                kept = fabsf(after[k]);
                n_kept++;
            }
            assert_int_equal(n_kept, n_before > 0);
            assert_true(kept == largest);
        }
    }
}

static void check_properties(uint64_t seed, uint32_t n_rows, uint32_t n_columns, double density,
                             uint32_t alpha, double gamma)
{
    size_t n = (size_t)n_rows * n_columns;
    PF_CLEANUP(pf_freep) float *weights = random_matrix(seed, n_rows, n_columns, density);
    PF_CLEANUP(pf_freep) float *given = random_matrix(seed, n_rows, n_columns, density);
    PF_CLEANUP(pf_grouping_finish) struct pf_grouping grouping = {0}, again = {0};
    struct pf_error err = {0};
    assert_int_equal(group_published(weights, n_rows, n_columns, alpha, gamma, &grouping, &err),
                     PF_OK);
    assert_memory_equal(weights, given, n * sizeof *weights);
    if (validate(&grouping, weights, n_rows, alpha, gamma, &err) != PF_OK)
        fail_msg("seed %llu, alpha %u, gamma %g: %s", (unsigned long long)seed, alpha, gamma,
                 err.text);
    assert_int_equal(group_published(weights, n_rows, n_columns, alpha, gamma, &again, NULL),
                     PF_OK);
    assert_memory_equal(grouping.group_of_column, again.group_of_column,
                        n_columns * sizeof(uint32_t));
    size_t n_pruned = pf_prune_conflicts(weights, n_rows, &grouping);
    assert_int_equal(count_nonzeros(given, n) - count_nonzeros(weights, n), n_pruned);
    assert_true(n_pruned <= grouping.n_groups * pf_conflict_limit(gamma, n_rows));
    if (gamma == 0.0) assert_int_equal(n_pruned, 0);
    expect_largest_survive(given, weights, n_rows, &grouping);
}

static void every_grouping_is_valid_and_pruned_rightly(void **state)
{
    (void)state;
    static const uint32_t alphas[] = {1, 2, 5, 8, 64};
    static const double gammas[] = {0.0, 0.3, 1.75, 7.0};
    for (uint64_t seed = 0; seed < 6; seed++)
        for (size_t a = 0; a < PF_ARRAY_LENGTH(alphas); a++)
            for (size_t g = 0; g < PF_ARRAY_LENGTH(gammas); g++)
                check_properties(seed, 1 + (uint32_t)(seed * 37 % 150),
                                 1 + (uint32_t)(seed * 53 % 120), 0.03 + 0.07 * (double)seed,
                                 alphas[a], gammas[g]);
}

/* Wider than the 256-column sections of the published code. */
static void a_wide_matrix_is_grouped_as_a_whole(void **state)
{
    (void)state;
    check_properties(99, 64, 700, 0.16, 8, 1.75);
    /* Columns 0 … 299 fill row 0 and 300 … 599 row 1: at gamma 0 each finds its partner only on
     * the other side. */
    enum { HALF = 300 };
    PF_CLEANUP(pf_freep) float *weights = PF_ALLOC(2 * 2 * HALF, float);
    for (size_t k = 0; k < HALF; k++) weights[k] = weights[2 * HALF + HALF + k] = 1.0f;
    PF_CLEANUP(pf_grouping_finish) struct pf_grouping grouping = {0};
    assert_int_equal(group_published(weights, 2, 2 * HALF, 8, 0.0, &grouping, NULL), PF_OK);
    assert_int_equal(grouping.n_groups, HALF);
}

/* The layer that the paper shows: 96 × 94 at 16.2 % nonzeros, packed to 96 × 17 at 89.3 %.  As
 * 0.162 · 94 = 0.893 · 17, the 16.2 % are what conflict pruning left; 24.5 % of random weights at
 * gamma 0.5 come to as many. */
static void the_published_layer_packs_as_published(void **state)
{
    (void)state;
    const double cells = 96.0 * 94.0;
    PF_CLEANUP(pf_freep) float *weights = random_matrix(7, 96, 94, 0.245);
    PF_CLEANUP(pf_grouping_finish) struct pf_grouping grouping = {0};
    assert_int_equal(group_published(weights, 96, 94, 8, 0.5, &grouping, NULL), PF_OK);
    double before = (double)count_nonzeros(weights, (size_t)96 * 94) / cells;
    pf_prune_conflicts(weights, 96, &grouping);
    double after = (double)count_nonzeros(weights, (size_t)96 * 94) / cells;
    double utilisation = after * 94.0 / grouping.n_groups;
    print_message("96 x 94 at %.1f %%: %u columns, %.1f %% left, utilisation %.1f %%\n",
                  100.0 * before, grouping.n_groups, 100.0 * after, 100.0 * utilisation);
    assert_in_range(grouping.n_groups, 16, 18);
    assert_true(after > 0.15 && after < 0.175);
    assert_true(utilisation > 0.84 && utilisation < 0.95);
}

/* Group counts of the greedy rule at gamma 0, as measured elsewhere on 4 to 8 matrices.  A count
 * scatters by 2.4, 1.7 and 3.0 from matrix to matrix; the tolerance is three standard errors of the
 * difference between a mean of 4 and one of 16. */
static void needs_as_many_groups_as_known_for_random_matrices(void **state)
{
    (void)state;
    static const struct {
        uint32_t n_rows, n_columns;
        double density, groups, tolerance;
    } cases[] = {
        {96, 94, 0.16, 51.4, 4.1}, {128, 128, 0.10, 39.5, 2.9}, {256, 256, 0.10, 115.8, 5.1}};
    for (size_t i = 0; i < PF_ARRAY_LENGTH(cases); i++) {
        double sum = 0.0;
        for (uint64_t seed = 0; seed < 16; seed++) {
            uint32_t n_rows = cases[i].n_rows, n_columns = cases[i].n_columns;
            PF_CLEANUP(pf_freep)
            float *weights = random_matrix(seed, n_rows, n_columns, cases[i].density);
            PF_CLEANUP(pf_grouping_finish) struct pf_grouping grouping = {0};
            assert_int_equal(group_published(weights, n_rows, n_columns, 8, 0.0, &grouping, NULL),
                             PF_OK);
            sum += grouping.n_groups;
        }
        print_message("%u x %u at %.0f %%: %.1f groups, known %.1f\n", cases[i].n_rows,
                      cases[i].n_columns, 100.0 * cases[i].density, sum / 16.0, cases[i].groups);
        assert_true(fabs(sum / 16.0 - cases[i].groups) < cases[i].tolerance);
    }
}

/* ---- the validator ------------------------------------------------------------------------ */

static void refuses_broken_groupings(void **state)
{
    (void)state;
    static const struct {
        uint32_t groups[6];
        uint32_t n_groups, alpha;
        double gamma;
        const char *sentence;
    } cases[] = {
        {{0, 1, 1, 2, PF_NO_GROUP, PF_NO_GROUP}, 3, 2, 0.0, "column 5 has weights but none"},
        {{0, 1, 1, 3, PF_NO_GROUP, 0}, 3, 2, 0.0, "column 3 has weights but none"},
        {{0, 1, 1, 2, 2, 0}, 3, 2, 0.0, "column 4 is empty but in group 2"},
        {{0, 1, 1, 3, PF_NO_GROUP, 0}, 4, 2, 0.0, "group 2 is empty"},
        {{0, 1, 0, 2, PF_NO_GROUP, 0}, 3, 2, 8.0, "group 0 holds 3 columns"},
        {{0, 1, 1, 1, PF_NO_GROUP, 0}, 2, 3, 0.0, "group 1 has 1 conflicts"},
        {{0, 0, 1, 1, PF_NO_GROUP, 0}, 2, 3, 0.25, "group 0 has 2 conflicts"},
        {{0, 1, 1, 2, PF_NO_GROUP, 0}, 7, 2, 0.0, "7 groups for 6 columns"},
        {{0, 1, 1, 2, PF_NO_GROUP, 0}, 3, 0, 0.0, "alpha = 0"},
        {{0, 1, 1, 2, PF_NO_GROUP, 0}, 3, 2, -1.0, "gamma = -1"},
    };
    for (size_t i = 0; i < PF_ARRAY_LENGTH(cases); i++) {
        uint32_t groups[6];
        memcpy(groups, cases[i].groups, sizeof groups);
        struct pf_grouping grouping = {
            .n_columns = 6, .n_groups = cases[i].n_groups, .group_of_column = groups};
        struct pf_error err = {0};
        assert_int_equal(
            validate(&grouping, &example[0][0], 4, cases[i].alpha, cases[i].gamma, &err),
            PF_INVALID);
        if (strstr(err.text, cases[i].sentence) == NULL) fail_msg("case %zu says: %s", i, err.text);
    }
}

static void accepts_a_grouping_at_its_limits(void **state)
{
    (void)state;
    uint32_t groups[6] = {0, 0, 1, 1, PF_NO_GROUP, 0};
    struct pf_grouping grouping = {.n_columns = 6, .n_groups = 2, .group_of_column = groups};
    assert_int_equal(validate(&grouping, &example[0][0], 4, 3, 0.5, NULL), PF_OK);
}

static void refuses_rules_that_cannot_be_meant(void **state)
{
    (void)state;
    static const struct {
        uint32_t alpha;
        double gamma;
    } cases[] = {{0, 1.0}, {65, 1.0}, {8, -0.1}, {8, NAN}, {8, INFINITY}, {8, 64.5}};
    for (size_t i = 0; i < PF_ARRAY_LENGTH(cases); i++) {
        struct pf_grouping grouping = {0};
        assert_int_equal(
            group_published(&example[0][0], 4, 6, cases[i].alpha, cases[i].gamma, &grouping, NULL),
            PF_INVALID);
        assert_null(grouping.group_of_column);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_conflicts_columns_must_be_disjoint),
        cmocka_unit_test(conflicts_fill_a_group_up_to_alpha),
        cmocka_unit_test(alpha_one_leaves_every_column_alone),
        cmocka_unit_test(conflicts_count_with_multiplicity),
        cmocka_unit_test(empty_rows_count_for_the_limit),
        cmocka_unit_test(the_limit_forgives_rounding),
        cmocka_unit_test(a_matrix_of_zeros_has_no_groups),
        cmocka_unit_test(equals_the_rule_written_out),
        cmocka_unit_test(every_grouping_is_valid_and_pruned_rightly),
        cmocka_unit_test(a_wide_matrix_is_grouped_as_a_whole),
        cmocka_unit_test(the_published_layer_packs_as_published),
        cmocka_unit_test(needs_as_many_groups_as_known_for_random_matrices),
        cmocka_unit_test(refuses_broken_groupings),
        cmocka_unit_test(accepts_a_grouping_at_its_limits),
        cmocka_unit_test(refuses_rules_that_cannot_be_meant),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
