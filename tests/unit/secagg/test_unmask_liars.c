/* What members that give wrong shares can cost the coordinator: the work is counted, not timed.  It
 * grows with their number, not with that of the seeds, has an end, and stops when asked to. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <sodium.h>
#include <stdio.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/secagg/unmask.h"

enum { N = 200, T = 121, SPARE = N - T, LENGTH = 40, BITS = 16 };

/* Nobody dropped and all updates are zero, so that what is left in the end is 0. */
static struct pf_unmasking *unmasking;
static struct pf_error err;

/* Target i's shares are with `n_holders` from i·stride on, around the circle of n. */
static void deal(struct pf_unmask_target *target, uint32_t i, uint32_t n, uint32_t n_holders,
                 uint32_t stride)
{
    struct pf_scalar seed;
    struct pf_mask_term term = {.sign = 1};
    pf_scalar_random(&seed);
    target->advert.member = i;
    target->advert.self_commitment = pf_commit_self(&unmasking->context, i, &seed);
    target->n_shares = n_holders;
    target->x = PF_ALLOC(n_holders, uint32_t);
    target->shares = PF_ALLOC(n_holders, struct pf_scalar);
    assert_true(target->x != NULL && target->shares != NULL);
    for (uint32_t k = 0; k < n_holders; k++) target->x[k] = (i * stride + k) % n + 1;
    assert_int_equal(
        pf_shamir_split(&seed, unmasking->threshold, target->x, n_holders, target->shares, NULL),
        PF_OK);
    pf_self_mask_key(&seed, &unmasking->context, term.key);
    pf_ring_add_masks(unmasking->sum, &term, 1, NULL);
}

static void make(uint32_t n, uint32_t threshold, uint32_t n_holders, uint32_t stride)
{
    unmasking = PF_ALLOC(1, struct pf_unmasking);
    assert_non_null(unmasking);
    unmasking->threshold = threshold;
    unmasking->n_targets = unmasking->n_survivors = n;
    unmasking->targets = PF_ALLOC(n, struct pf_unmask_target);
    assert_non_null(unmasking->targets);
    assert_int_equal(pf_ring_create(LENGTH, BITS, &unmasking->sum, NULL), PF_OK);
    for (uint32_t i = 0; i < n; i++) deal(&unmasking->targets[i], i, n, n_holders, stride);
}

static void make_complete(void)
{
    make(N, T, N, 0);
}

/* The member's share of the target's secret is a wrong one. */
static void lie(uint32_t member, uint32_t target)
{
    for (uint32_t k = 0; k < unmasking->targets[target].n_shares; k++)
        if (unmasking->targets[target].x[k] == member + 1)
            pf_scalar_random(&unmasking->targets[target].shares[k]);
}

static void lie_always(uint32_t member)
{
    for (uint32_t target = 0; target < unmasking->n_targets; target++) lie(member, target);
}

static const struct pf_unmask_effort *run_well(struct pf_pool *pool)
{
    if (pf_unmasking_run(unmasking, pool, NULL, &err) != PF_OK) fail_msg("%s", err.text);
    for (size_t c = 0; c < LENGTH; c++) assert_int_equal(pf_ring_get(unmasking->sum, c), 0);
    return &unmasking->effort;
}

static int clear(void **state)
{
    (void)state;
    pf_unmasking_destroy(unmasking);
    unmasking = NULL;
    return 0;
}

static void nothing_is_searched_where_nobody_lies(void **state)
{
    (void)state;
    make_complete();
    const struct pf_unmask_effort *effort = run_well(NULL);
    assert_int_equal(effort->n_tried + effort->n_searches + effort->n_liars, 0);
    assert_string_equal(effort->liars, "");
}

static void liars_are_searched_for_once_and_named(void **state)
{
    (void)state;
    PF_CLEANUP(pf_pool_destroyp) struct pf_pool *pool = NULL;
    assert_int_equal(pf_pool_create(3, &pool, NULL), PF_OK);
    for (unsigned pass = 0; pass < 2; pass++) {
        make_complete();
        lie_always(3);
        lie_always(57);
        const struct pf_unmask_effort *effort = run_well(pass > 0 ? pool : NULL);
        assert_int_equal(effort->n_searches, 1);
        assert_int_equal(effort->n_liars, 2);
        assert_string_equal(effort->liars, "3, 57");
        assert_true(effort->n_tried <= N + 1); /* each seed once more */
        clear(state);
    }
}

static void rotating_liars_cost_no_more_than_one_search_each(void **state)
{
    (void)state;
    make_complete();
    for (uint32_t target = 0; target < N; target++)
        for (uint32_t k = 0; k < 2; k++) lie(5 * ((target + 3 * k) % 10), target);
    const struct pf_unmask_effort *effort = run_well(NULL);
    assert_true(effort->n_searches <= 10);
    assert_int_equal(effort->n_liars, 10);
    assert_string_equal(effort->liars, "0, 5, 10, 15, 20, 25, 30, 35, 40, 45");
    assert_true(effort->n_tried <= N + 10);
}

static void half_of_the_spare_shares_may_be_wrong(void **state)
{
    (void)state;
    make_complete();
    for (uint32_t i = 0; i < SPARE / 2; i++) lie_always(2 * i + 1);
    assert_int_equal(run_well(NULL)->n_searches, 1);
    assert_int_equal(unmasking->effort.n_liars, SPARE / 2);
}

/* Beyond that shares are left out, and what is told once serves all seeds. */
static void some_more_are_found_by_leaving_shares_out(void **state)
{
    (void)state;
    make_complete();
    for (uint32_t i = 0; i < SPARE / 2 + 1; i++) lie_always(4 * i + 3);
    assert_true(run_well(NULL)->n_searches < 110); /* most of the budget is left */
    assert_int_equal(unmasking->effort.n_liars, SPARE / 2 + 1);
}

static void liars_in_a_sparse_graph_are_searched_for_once(void **state)
{
    (void)state;
    make(N, 11, 20, 1);
    lie_always(40);
    lie_always(41);
    lie_always(100);
    assert_true(run_well(NULL)->n_searches <= 3);
    assert_int_equal(unmasking->effort.n_liars, 3);
    assert_true(unmasking->effort.n_tried <= 3 * 20 + 3);
}

/* Owners that deal wrong shares make givers look like liars, all of them in the end. */
static void dealers_cannot_hide_the_liars_behind_others(void **state)
{
    (void)state;
    make_complete();
    const uint32_t each = SPARE / 2 - 2; /* with the two liars no more than can be mended */
    for (uint32_t i = 0; i < 8; i++)
        for (uint32_t k = 0; k < each; k++) lie((i * each + k) % N, i);
    lie_always(60);
    lie_always(61);
    const struct pf_unmask_effort *effort = run_well(NULL);
    assert_int_equal(effort->n_liars, N);
    assert_true(effort->n_searches <= 40);
}

static void nonsense(uint32_t target)
{
    for (uint32_t member = 0; member < unmasking->n_targets; member++) lie(member, target);
}

static void searches_have_an_end(void **state)
{
    (void)state;
    make(30, 16, 30, 0);
    for (uint32_t target = 4; target < 30; target++) nonsense(target);
    assert_int_equal(pf_unmasking_run(unmasking, NULL, NULL, &err), PF_REFUSED);
    assert_non_null(strstr(err.text, "member 4: no 16 of 30 shares"));
    assert_non_null(strstr(err.text, "(seeds lost of: 4, 5, 6"));
    assert_in_range(unmasking->effort.n_searches, 400, 512); /* for all seeds together */
    assert_int_equal(unmasking->effort.n_liars, 0);
}

/* ---- stopping -------------------------------------------------------------------------------- */

static atomic_bool stop;
static size_t stop_at;

static void watch(void *context, const char *what, size_t done, size_t total, const char *detail)
{
    (void)context, (void)what, (void)total, (void)detail;
    if (done == stop_at) atomic_store(&stop, true);
}

static void a_search_stops_when_asked(void **state)
{
    (void)state;
    const struct pf_progress progress = {.update = watch, .stop = &stop};
    make(30, 16, 30, 0);
    for (uint32_t target = 4; target < 30; target++) nonsense(target);
    const size_t places[] = {1, 2, 30, 100}; /* the first pass, and the second */
    for (size_t i = 0; i < PF_ARRAY_LENGTH(places); i++) {
        atomic_store(&stop, false);
        stop_at = places[i];
        assert_int_equal(pf_unmasking_run(unmasking, NULL, &progress, &err), PF_INTERRUPTED);
        assert_int_equal(unmasking->effort.n_searches, stop_at);
    }
}

static void nothing_begins_once_it_is_to_stop(void **state)
{
    (void)state;
    const struct pf_progress progress = {.stop = &stop};
    make(30, 16, 30, 0);
    atomic_store(&stop, true);
    uint64_t masked = pf_ring_get(unmasking->sum, 0);
    assert_int_equal(pf_unmasking_run(unmasking, NULL, &progress, &err), PF_INTERRUPTED);
    assert_int_equal(pf_ring_get(unmasking->sum, 0), masked);
}

#define TEST(name) cmocka_unit_test_teardown(name, clear)

int main(void)
{
    if (sodium_init() < 0) return 1;
    const struct CMUnitTest tests[] = {
        TEST(nothing_is_searched_where_nobody_lies),
        TEST(liars_are_searched_for_once_and_named),
        TEST(rotating_liars_cost_no_more_than_one_search_each),
        TEST(half_of_the_spare_shares_may_be_wrong),
        TEST(some_more_are_found_by_leaving_shares_out),
        TEST(liars_in_a_sparse_graph_are_searched_for_once),
        TEST(dealers_cannot_hide_the_liars_behind_others),
        TEST(searches_have_an_end),
        TEST(a_search_stops_when_asked),
        TEST(nothing_begins_once_it_is_to_stop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
