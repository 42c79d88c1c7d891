/* Packings: every rule, broken one at a time, is refused with its own sentence. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/random.h"
#include "common/model/packing.h"

/* 3 rows × 5 columns, alpha 2: group 0 = {0, 3}, group 1 = {1, 4}, column 2 in no group.
 *   row 0: columns 0, 4    row 1: nothing    row 2: columns 3, 1 */
static struct pf_packing *example(void)
{
    struct pf_packing *packing = NULL;
    assert_int_equal(pf_packing_create(3, 5, 2, 2, 1.75f, 4, &packing, NULL), PF_OK);
    memcpy(packing->group_of_column, (const uint32_t[]){0, 1, PF_NO_GROUP, 0, 1},
           5 * sizeof(uint32_t));
    memcpy(packing->row_start, (const uint32_t[]){0, 2, 2, 4}, 4 * sizeof(uint32_t));
    memcpy(packing->column, (const uint32_t[]){0, 4, 3, 1}, 4 * sizeof(uint32_t));
    return packing;
}

static void assert_refused(const struct pf_packing *packing, const char *because)
{
    struct pf_error err = {0};
    assert_int_equal(pf_packing_validate(packing, &err), PF_INVALID);
    if (strstr(err.text, because) == NULL) fail_msg("'%s' in place of '%s'", err.text, because);
    assert_int_equal(pf_packing_validate(packing, NULL), PF_INVALID);
}

static void a_sound_packing_is_accepted(void **state)
{
    (void)state;
    PF_CLEANUP(pf_packing_destroyp) struct pf_packing *packing = example();
    struct pf_error err = {0};
    if (pf_packing_validate(packing, &err) != PF_OK) fail_msg("%s", err.text);
    assert_int_equal(pf_packing_group(packing, 0), 0);
    assert_int_equal(pf_packing_group(packing, 1), 1);
    assert_int_equal(pf_packing_nonempty_rows(packing), 2);
    assert_true(pf_packing_utilisation(packing) == 1.0); /* 4 of 2 rows × 2 groups */
    packing->alpha = PF_MAX_ALPHA;
    packing->gamma = 0;
    assert_int_equal(pf_packing_validate(packing, NULL), PF_OK);
}

static void utilisation_counts_rows_in_use(void **state)
{
    (void)state;
    PF_CLEANUP(pf_packing_destroyp) struct pf_packing *packing = example();
    memcpy(packing->row_start, (const uint32_t[]){0, 2, 3, 4}, 4 * sizeof(uint32_t));
    assert_int_equal(pf_packing_nonempty_rows(packing), 3);
    assert_true(fabs(pf_packing_utilisation(packing) - 4.0 / 6.0) < 1e-12);
    PF_CLEANUP(pf_packing_destroyp) struct pf_packing *empty = NULL;
    assert_int_equal(pf_packing_create(3, 5, 0, 2, 0, 0, &empty, NULL), PF_OK);
    assert_int_equal(pf_packing_validate(empty, NULL), PF_OK);
    assert_int_equal(pf_packing_nonempty_rows(empty), 0);
    assert_true(pf_packing_utilisation(empty) == 0.0);
}

/* Every single-field spoiling of the example that breaks a rule. */
static void every_rule_broken_alone_is_refused(void **state)
{
    (void)state;
    static const struct {
        enum { ROWS, COLUMNS, GROUPS, ALPHA, N_WEIGHTS, GROUP_OF, ROW_START, COLUMN } field;
        size_t at;
        uint32_t value;
        const char *because;
    } broken[] = {
        /* 1: sizes, alpha, row_start */
        {ROWS, 0, 0, "packing: 0 rows × 5 columns"},
        {ROWS, 0, PF_MAX_ROWS + 1, "packing: 4097 rows × 5 columns"},
        {COLUMNS, 0, 0, "packing: 3 rows × 0 columns"},
        {COLUMNS, 0, PF_MAX_COLUMNS + 1, "packing: 3 rows × 36865 columns"},
        {ALPHA, 0, 0, "alpha = 0"},
        {ALPHA, 0, PF_MAX_ALPHA + 1, "alpha = 65"},
        {ALPHA, 0, UINT32_MAX, "alpha = 4294967295"},
        {ROW_START, 0, 1, "rows span survivors 1 to 4 of 4"},
        {ROW_START, 3, 3, "rows span survivors 0 to 3 of 4"},
        {ROW_START, 3, 5, "rows span survivors 0 to 5 of 4"},
        {N_WEIGHTS, 0, 3, "rows span survivors 0 to 4 of 3"},
        {ROW_START, 2, 1, "row 1 spans survivors 2 to 1 of 4"},
        {ROW_START, 2, UINT32_MAX, "row 1 spans survivors 2 to 4294967295 of 4"},
        /* 2: columns and groups */
        {GROUPS, 0, 6, "6 groups for 5 columns"},
        {GROUPS, 0, UINT32_MAX, "4294967295 groups for 5 columns"},
        {GROUP_OF, 4, 2, "column 4 is in group 2 of 2"},
        {GROUP_OF, 0, UINT32_MAX - 1, "column 0 is in group 4294967294 of 2"},
        {GROUP_OF, 4, PF_NO_GROUP, "row 0 uses column 4, which has no group"},
        {COLUMN, 1, 5, "row 0 names column 5 of 5"},
        {COLUMN, 3, UINT32_MAX, "row 2 names column 4294967295 of 5"},
        {COLUMN, 3, 2, "row 2 uses column 2, which has no group"},
        /* 3: group sizes */
        {GROUP_OF, 2, 0, "group 0 holds more than alpha = 2"},
        {ALPHA, 0, 1, "holds more than alpha = 1"},
        {GROUPS, 0, 3, "group 2 is empty"},
        /* 4: one survivor per row and group, ascending */
        {COLUMN, 1, 3, "row 0 has two survivors in group 0"},
        {COLUMN, 1, 0, "row 0 has two survivors in group 0"},
        {COLUMN, 2, 4, "row 2 has two survivors in group 1"},
    };
    for (size_t i = 0; i < PF_ARRAY_LENGTH(broken); i++) {
        PF_CLEANUP(pf_packing_destroyp) struct pf_packing *packing = example();
        switch (broken[i].field) {
        case ROWS: packing->n_rows = broken[i].value; break;
        case COLUMNS: packing->n_columns = broken[i].value; break;
        case GROUPS: packing->n_groups = broken[i].value; break;
        case ALPHA: packing->alpha = broken[i].value; break;
        case N_WEIGHTS: packing->n_weights = broken[i].value; break;
        case GROUP_OF: packing->group_of_column[broken[i].at] = broken[i].value; break;
        case ROW_START: packing->row_start[broken[i].at] = broken[i].value; break;
        case COLUMN: packing->column[broken[i].at] = broken[i].value; break;
        }
        assert_refused(packing, broken[i].because);
    }
}

static void groups_out_of_order_within_a_row_are_refused(void **state)
{
    (void)state;
    PF_CLEANUP(pf_packing_destroyp) struct pf_packing *packing = example();
    memcpy(packing->column, (const uint32_t[]){4, 0, 3, 1}, 4 * sizeof(uint32_t));
    assert_refused(packing, "groups out of order");
}

static void an_unusable_gamma_is_refused(void **state)
{
    (void)state;
    static const float gammas[] = {-0.1f, 64.5f, NAN, INFINITY, -INFINITY};
    PF_CLEANUP(pf_packing_destroyp) struct pf_packing *packing = example();
    for (size_t i = 0; i < PF_ARRAY_LENGTH(gammas); i++) {
        packing->gamma = gammas[i];
        assert_refused(packing, "gamma = ");
    }
}

static void absurd_sizes_are_refused_at_creation(void **state)
{
    (void)state;
    static const struct {
        uint32_t n_rows, n_columns, n_weights;
    } bad[] = {{0, 5, 0},
               {5, 0, 0},
               {PF_MAX_ROWS + 1, 5, 0},
               {5, PF_MAX_COLUMNS + 1, 0},
               {UINT32_MAX, UINT32_MAX, UINT32_MAX},
               {3, 5, 16}};
    for (size_t i = 0; i < PF_ARRAY_LENGTH(bad); i++) {
        struct pf_packing *packing = NULL;
        struct pf_error err = {0};
        assert_int_equal(pf_packing_create(bad[i].n_rows, bad[i].n_columns, 1, 1, 0,
                                           bad[i].n_weights, &packing, &err),
                         PF_INVALID);
        assert_null(packing);
        assert_int_equal(strncmp(err.text, "packing: ", 9), 0);
    }
    pf_packing_destroy(NULL);
}

static void a_new_packing_has_no_groups(void **state)
{
    (void)state;
    PF_CLEANUP(pf_packing_destroyp) struct pf_packing *packing = NULL;
    assert_int_equal(pf_packing_create(2, 3, 1, 1, 0.5f, 2, &packing, NULL), PF_OK);
    for (size_t k = 0; k < 3; k++) assert_true(packing->group_of_column[k] == PF_NO_GROUP);
    for (size_t r = 0; r < 3; r++) assert_int_equal(packing->row_start[r], 0);
}

static void a_clone_is_equal_and_deep(void **state)
{
    (void)state;
    PF_CLEANUP(pf_packing_destroyp) struct pf_packing *packing = example();
    PF_CLEANUP(pf_packing_destroyp) struct pf_packing *copy = NULL;
    assert_int_equal(pf_packing_clone(packing, &copy, NULL), PF_OK);
    assert_true(pf_packing_equal(packing, copy));
    assert_float_equal(copy->gamma, 1.75f, 0);
    copy->column[3] = 4;
    assert_false(pf_packing_equal(packing, copy));
    assert_int_equal(packing->column[3], 1);
    copy->column[3] = 1, copy->row_start[1] = 1;
    assert_false(pf_packing_equal(packing, copy));
    copy->row_start[1] = 2, copy->group_of_column[2] = 0;
    assert_false(pf_packing_equal(packing, copy));
    assert_true(packing->group_of_column[2] == PF_NO_GROUP);
    copy->group_of_column[2] = PF_NO_GROUP, copy->alpha = 3;
    assert_false(pf_packing_equal(packing, copy));
    copy->alpha = 2, copy->n_rows = 2;
    assert_false(pf_packing_equal(packing, copy));
}

static void dense_weights_become_their_packing(void **state)
{
    (void)state;
    const float weights[3][5] = {{1, 0, 0, 0, -2}, {0, 0, 0, 0, 0}, {0, 3, 0, 4, 0}};
    const uint32_t groups[] = {0, 1, PF_NO_GROUP, 0, 1};
    PF_CLEANUP(pf_packing_destroyp) struct pf_packing *expected = example();
    PF_CLEANUP(pf_packing_destroyp) struct pf_packing *packing = NULL;
    assert_int_equal(pf_packing_from_dense(weights[0], 3, 5, groups, 2, 2, 1.75f, &packing, NULL),
                     PF_OK);
    assert_true(pf_packing_equal(packing, expected));
}

static void unused_columns_and_groups_are_dropped(void **state)
{
    (void)state;
    /* Column 1 has no weight; so group 0 = {1} vanishes and 1, 2 become 0, 1. */
    const float weights[2][4] = {{0, 0, 5, 1}, {2, 0, 0, 0}};
    const uint32_t groups[] = {2, 0, 2, 1};
    PF_CLEANUP(pf_packing_destroyp) struct pf_packing *packing = NULL;
    assert_int_equal(pf_packing_from_dense(weights[0], 2, 4, groups, 3, 2, 0, &packing, NULL),
                     PF_OK);
    assert_int_equal(packing->n_groups, 2);
    const uint32_t expected[] = {1, PF_NO_GROUP, 1, 0};
    assert_memory_equal(packing->group_of_column, expected, sizeof expected);
    const uint32_t columns[] = {3, 2, 0}; /* row 0: group 0 before group 1 */
    assert_memory_equal(packing->column, columns, sizeof columns);
}

static void dense_weights_that_break_a_rule_are_refused(void **state)
{
    (void)state;
    const float conflict[1][3] = {{1, 2, 0}};
    const float wide[3][3] = {{1, 0, 0}, {0, 1, 0}, {0, 0, 1}};
    const uint32_t one[] = {0, 0, 0}, none[] = {0, PF_NO_GROUP, 0}, beyond[] = {0, 7, 0};
    struct pf_packing *packing = NULL;
    struct pf_error err;
    assert_int_equal(pf_packing_from_dense(conflict[0], 1, 3, one, 1, 3, 0, &packing, &err),
                     PF_INVALID);
    assert_non_null(strstr(err.text, "row 0 has two survivors in group 0"));
    assert_int_equal(pf_packing_from_dense(wide[0], 3, 3, one, 1, 2, 0, &packing, &err),
                     PF_INVALID);
    assert_non_null(strstr(err.text, "more than alpha = 2"));
    assert_int_equal(pf_packing_from_dense(conflict[0], 1, 3, none, 1, 2, 0, &packing, &err),
                     PF_INVALID);
    assert_non_null(strstr(err.text, "column 1 has weights but belongs to no group"));
    assert_int_equal(pf_packing_from_dense(conflict[0], 1, 3, beyond, 2, 2, 0, &packing, &err),
                     PF_INVALID);
    assert_int_equal(pf_packing_from_dense(wide[0], 3, 3, one, 1, 0, 0, &packing, &err),
                     PF_INVALID);
    assert_non_null(strstr(err.text, "alpha = 0"));
    assert_null(packing);
}

/* A random sparse matrix without conflicts, its groups, and back. */
static void check_round_trip(struct pf_random *random)
{
    enum { MAX_SIDE = 40 };
    float weights[MAX_SIDE * MAX_SIDE] = {0}, back[MAX_SIDE * MAX_SIDE] = {0};
    uint32_t groups[MAX_SIDE];
    const uint32_t rows = 1 + pf_random_below(random, MAX_SIDE);
    const uint32_t columns = 1 + pf_random_below(random, MAX_SIDE);
    const uint32_t alpha = 1 + pf_random_below(random, 8);
    const uint32_t n_groups = (columns + alpha - 1) / alpha;
    for (uint32_t k = 0; k < columns; k++) groups[k] = k % n_groups;
    for (uint32_t r = 0; r < rows; r++)
        for (uint32_t g = 0; g < n_groups; g++) {
            uint32_t k = g + n_groups * pf_random_below(random, alpha);
            if (k < columns && pf_random_below(random, 3) > 0)
                weights[r * columns + k] = (float)pf_random_normal(random);
        }
    PF_CLEANUP(pf_packing_destroyp) struct pf_packing *packing = NULL;
    struct pf_error err = {0};
    if (pf_packing_from_dense(weights, rows, columns, groups, n_groups, alpha, 1, &packing, &err) !=
        PF_OK)
        fail_msg("%s", err.text);
    assert_int_equal(pf_packing_validate(packing, &err), PF_OK);
    for (uint32_t r = 0; r < rows; r++)
        for (uint32_t i = packing->row_start[r]; i < packing->row_start[r + 1]; i++)
            back[r * columns + packing->column[i]] = weights[r * columns + packing->column[i]];
    assert_memory_equal(weights, back, sizeof weights); /* all nonzeros survive */
    for (uint32_t i = 0; i < packing->n_weights; i++)
        assert_true(pf_packing_group(packing, i) < packing->n_groups);
}

static void random_matrices_survive_packing(void **state)
{
    (void)state;
    struct pf_random random;
    pf_random_init(&random, 50, "test_packing", 0);
    for (int trial = 0; trial < 300; trial++) check_round_trip(&random);
}

/* The validator is the gate for foreign bytes: on random spoilings it answers, and what it
 * accepts does keep the rules. */
static void random_spoilings_never_pass_with_a_broken_rule(void **state)
{
    (void)state;
    struct pf_random random;
    pf_random_init(&random, 51, "test_packing", 0);
    int n_accepted = 0;
    for (int trial = 0; trial < 20000; trial++) {
        PF_CLEANUP(pf_packing_destroyp) struct pf_packing *packing = example();
        static const uint32_t values[] = {0, 1, 2, 3, 4, 5, 6, PF_NO_GROUP, PF_NO_GROUP - 1};
        for (uint32_t n = 1 + pf_random_below(&random, 3); n > 0; n--) {
            uint32_t value = values[pf_random_below(&random, PF_ARRAY_LENGTH(values))];
            uint32_t at = pf_random_below(&random, 13);
            if (at < 5)
                packing->group_of_column[at] = value;
            else if (at < 9)
                packing->row_start[at - 5] = value;
            else
                packing->column[at - 9] = value;
        }
        if (pf_packing_validate(packing, NULL) != PF_OK) continue;
        n_accepted++;
        size_t n = 0, held[2] = {0};
        for (uint32_t k = 0; k < 5; k++)
            if (packing->group_of_column[k] != PF_NO_GROUP) held[packing->group_of_column[k]]++;
        assert_true(held[0] >= 1 && held[0] <= 2 && held[1] >= 1 && held[1] <= 2);
        for (uint32_t r = 0; r < 3; r++) {
            bool used[2] = {false};
            for (uint32_t i = packing->row_start[r]; i < packing->row_start[r + 1]; i++, n++) {
                uint32_t group = pf_packing_group(packing, i);
                assert_false(used[group]);
                used[group] = true;
            }
        }
        assert_int_equal(n, 4);
    }
    assert_true(n_accepted > 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_sound_packing_is_accepted),
        cmocka_unit_test(utilisation_counts_rows_in_use),
        cmocka_unit_test(every_rule_broken_alone_is_refused),
        cmocka_unit_test(groups_out_of_order_within_a_row_are_refused),
        cmocka_unit_test(an_unusable_gamma_is_refused),
        cmocka_unit_test(absurd_sizes_are_refused_at_creation),
        cmocka_unit_test(a_new_packing_has_no_groups),
        cmocka_unit_test(a_clone_is_equal_and_deep),
        cmocka_unit_test(dense_weights_become_their_packing),
        cmocka_unit_test(unused_columns_and_groups_are_dropped),
        cmocka_unit_test(dense_weights_that_break_a_rule_are_refused),
        cmocka_unit_test(random_matrices_survive_packing),
        cmocka_unit_test(random_spoilings_never_pass_with_a_broken_rule),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
