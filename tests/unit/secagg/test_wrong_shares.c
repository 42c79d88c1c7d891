/* Wrong shares are told apart from right ones up to half of the spare ones, however they were made;
 * more are not found, and never taken for right by chance. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <sodium.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/base/random.h"
#include "common/secagg/wrong_shares.h"

#define MAX_N 60u

static struct pf_random rng;
static size_t n;
static uint32_t threshold;
static uint32_t x[MAX_N];
static struct pf_scalar secret, shares[MAX_N];
static bool lies[MAX_N], found[MAX_N];

/* n shares at random xs in random order. */
static void deal(size_t n_shares, uint32_t t)
{
    uint32_t candidates[3 * MAX_N];
    for (uint32_t i = 0; i < 3 * MAX_N; i++) candidates[i] = i + 1;
    pf_random_shuffle(&rng, candidates, 3 * MAX_N);
    n = n_shares;
    threshold = t;
    memcpy(x, candidates, n * sizeof *x);
    memset(lies, 0, sizeof lies);
    pf_scalar_random(&secret);
    assert_int_equal(pf_shamir_split(&secret, threshold, x, n, shares, NULL), PF_OK);
}

/* Ways to lie. */
enum lie { RANDOM, NEARLY, ZERO, ANOTHER_POLYNOMIAL, SWAPPED, N_LIES };

/* `n_liars` of them lie, by all means differently than the truth. */
static void spoil(size_t n_liars, enum lie how)
{
    struct pf_scalar other, others[MAX_N];
    uint32_t order[MAX_N];
    pf_scalar_random(&other);
    assert_int_equal(pf_shamir_split(&other, threshold, x, n, others, NULL), PF_OK);
    for (uint32_t i = 0; i < n; i++) order[i] = i;
    pf_random_shuffle(&rng, order, n);
    const struct pf_scalar first = shares[order[0]];
    for (size_t k = 0; k < n_liars; k++) {
        struct pf_scalar *share = &shares[order[k]];
        lies[order[k]] = true;
        switch (how) {
        case RANDOM: pf_scalar_random(share); break;
        case NEARLY: share->bytes[0] ^= 1; break;
        case ZERO: memset(share, 0, sizeof *share); break;
        case ANOTHER_POLYNOMIAL: *share = others[order[k]]; break;
        case SWAPPED: *share = k + 1 < n_liars ? shares[order[k + 1]] : first; break;
        case N_LIES: fail();
        }
    }
}

static enum pf_status find(void)
{
    memset(found, 0xff, sizeof found);
    return pf_shamir_find_wrong(x, shares, n, threshold, found, NULL);
}

static void up_to_half_of_the_spare_ones_are_found(void **state)
{
    (void)state;
    for (unsigned run = 0; run < 300; run++) {
        uint32_t t = 1 + pf_random_below(&rng, MAX_N - 1);
        size_t most = t + pf_random_below(&rng, MAX_N - t + 1);
        size_t n_liars =
            run % 3 == 0 ? (most - t) / 2 : pf_random_below(&rng, (uint32_t)((most - t) / 2) + 1);
        enum lie how = (enum lie)(run % N_LIES);
        if (how == SWAPPED && (n_liars == 1 || t == 1)) continue; /* no lie */
        deal(most, t);
        spoil(n_liars, how);
        if (find() != PF_OK || memcmp(found, lies, n * sizeof *lies) != 0)
            fail_msg("run %u: n = %zu, t = %u, %zu wrong", run, n, t, n_liars);
    }
}

static void more_are_not_found_and_nothing_is_written(void **state)
{
    (void)state;
    for (unsigned run = 0; run < 100; run++) {
        uint32_t t = 1 + pf_random_below(&rng, 20);
        size_t spare = 1 + pf_random_below(&rng, 30), n_liars = spare / 2 + 1 + run % 2;
        if (n_liars > t + spare) continue;
        deal(t + spare, t);
        spoil(n_liars, RANDOM);
        assert_int_equal(find(), PF_NOT_FOUND);
        for (size_t i = 0; i < n; i++) assert_int_equal(((const uint8_t *)found)[i], 0xff);
    }
}

static void liars_who_agree_win_only_with_more_than_half_of_the_spare_ones(void **state)
{
    (void)state;
    deal(30, 10);
    spoil(10, ANOTHER_POLYNOMIAL); /* 20 others are twice the threshold */
    assert_int_equal(find(), PF_OK);
    assert_memory_equal(found, lies, n * sizeof *lies);
    deal(30, 10);
    spoil(20, ANOTHER_POLYNOMIAL); /* a word nearer to another secret: its commitment tells */
    assert_int_equal(find(), PF_OK);
    for (size_t i = 0; i < n; i++) assert_int_equal(found[i], !lies[i]);
}

static void without_spare_ones_nothing_is_said(void **state)
{
    (void)state;
    deal(12, 12);
    spoil(3, RANDOM);
    assert_int_equal(find(), PF_OK);
    for (size_t i = 0; i < n; i++) assert_false(found[i]);
}

static void bad_positions_are_refused(void **state)
{
    (void)state;
    struct pf_error err = {0};
    deal(9, 4);
    x[3] = 0;
    assert_int_equal(pf_shamir_find_wrong(x, shares, n, threshold, found, &err), PF_INVALID);
    x[3] = x[4];
    assert_int_equal(pf_shamir_find_wrong(x, shares, n, threshold, found, &err), PF_INVALID);
}

int main(void)
{
    if (sodium_init() < 0) return 1;
    pf_random_init(&rng, 5, "wrong shares", 0);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(up_to_half_of_the_spare_ones_are_found),
        cmocka_unit_test(more_are_not_found_and_nothing_is_written),
        cmocka_unit_test(liars_who_agree_win_only_with_more_than_half_of_the_spare_ones),
        cmocka_unit_test(without_spare_ones_nothing_is_said),
        cmocka_unit_test(bad_positions_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
