/* Who is due when, held against a plain list. */
#include "tests/testing.h"

#include <string.h>

#include "common/base/memory.h"
#include "common/base/random.h"
#include "coordinator/deadlines.h"

enum { N = 40, STEPS = 20000 };

static struct pf_deadlines create(void)
{
    struct pf_deadlines deadlines;
    assert_int_equal(pf_deadlines_create(N, &deadlines, NULL), PF_OK);
    return deadlines;
}

/* The lowest of those who are due first; N: nobody is. */
static size_t find_first(const int64_t at[N])
{
    size_t first = N;
    for (size_t i = 0; i < N; i++)
        if (at[i] < INT64_MAX && (first == N || at[i] < at[first])) first = i;
    return first;
}

static void assert_first(const struct pf_deadlines *deadlines, const int64_t at[N])
{
    size_t first = find_first(at);
    assert_int_equal(pf_deadlines_next_ms(deadlines), first == N ? INT64_MAX : at[first]);
    if (first < N) assert_int_equal(pf_deadlines_first(deadlines), first);
}

static void it_is_a_plain_list_that_is_sorted(void **state)
{
    (void)state;
    struct pf_deadlines deadlines = create();
    struct pf_random random;
    int64_t at[N];
    for (size_t i = 0; i < N; i++) at[i] = INT64_MAX;
    pf_random_init(&random, 1, "deadlines", 0);
    for (size_t step = 0; step < STEPS; step++) {
        /* Few moments, so that many are due at the same; now and then the list runs empty. */
        bool clears = pf_random_below(&random, 10) < (step / 200 % 2 == 0 ? 3 : 8);
        size_t member = pf_random_below(&random, N);
        at[member] = clears ? INT64_MAX : (int64_t)pf_random_below(&random, 12) - 6;
        if (clears)
            pf_deadlines_clear(&deadlines, member);
        else
            pf_deadlines_set(&deadlines, member, at[member]);
        assert_first(&deadlines, at);
    }
    pf_deadlines_finish(&deadlines);
}

static void all_come_out_in_order(void **state)
{
    (void)state;
    struct pf_deadlines deadlines = create();
    int64_t at[N];
    for (size_t i = 0; i < N; i++) {
        at[i] = (int64_t)(i * 7 % 5);
        pf_deadlines_set(&deadlines, i, at[i]);
    }
    for (size_t n = 0; n < N; n++) {
        assert_first(&deadlines, at);
        size_t first = pf_deadlines_first(&deadlines);
        pf_deadlines_clear(&deadlines, first);
        at[first] = INT64_MAX;
    }
    assert_first(&deadlines, at);
    pf_deadlines_finish(&deadlines);
}

static void finishing_nothing_is_harmless(void **state)
{
    (void)state;
    struct pf_deadlines deadlines = {0};
    pf_deadlines_finish(&deadlines);
    assert_int_equal(pf_deadlines_next_ms(&deadlines), INT64_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_is_a_plain_list_that_is_sorted),
        cmocka_unit_test(all_come_out_in_order),
        cmocka_unit_test(finishing_nothing_is_harmless),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
