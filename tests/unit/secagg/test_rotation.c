#include <stdarg.h>
#include <stddef.h>

#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/base/random.h"
#include "common/secagg/rotation.h"

static const uint8_t seed[32] = {9, 8, 7};
static const size_t lengths[] = {1, 2, 3, 4, 5, 7, 8, 15, 16, 31, 33, 64, 100, 127};

static void test_block_is_the_largest_power_of_two(void **state)
{
    (void)state;
    assert_int_equal(pf_rotation_block(0), 0);
    for (size_t n = 1; n < 5000; n++) {
        size_t block = pf_rotation_block(n);
        assert_int_equal(block & (block - 1), 0);
        assert_true(block <= n && 2 * block > n);
    }
    assert_true(pf_rotation_block(SIZE_MAX) == SIZE_MAX / 2 + 1);
}

/* The rotated unit vectors are orthonormal. */
static void test_rotation_is_orthonormal(void **state)
{
    (void)state;
    for (size_t l = 0; l < PF_ARRAY_LENGTH(lengths); l++) {
        size_t n = lengths[l];
        double columns[127][127] = {{0}};
        for (size_t j = 0; j < n; j++) {
            columns[j][j] = 1;
            pf_rotation_apply(columns[j], n, seed, 0);
        }
        for (size_t j = 0; j < n; j++) {
            for (size_t k = 0; k < n; k++) {
                double product = 0;
                for (size_t i = 0; i < n; i++) product += columns[j][i] * columns[k][i];
                assert_true(fabs(product - (j == k)) < 1e-12);
            }
        }
    }
}

static void draw(double *x, size_t n)
{
    struct pf_random random;
    pf_random_init(&random, n, "test rotation", 0);
    for (size_t i = 0; i < n; i++) x[i] = pf_random_normal(&random);
}

static void test_inverse_undoes_the_rotation(void **state)
{
    (void)state;
    static const size_t long_ones[] = {1000, 4096, 4097, 8191, 20000};
    for (size_t l = 0; l < PF_ARRAY_LENGTH(lengths) + PF_ARRAY_LENGTH(long_ones); l++) {
        size_t n =
            l < PF_ARRAY_LENGTH(lengths) ? lengths[l] : long_ones[l - PF_ARRAY_LENGTH(lengths)];
        double *x = PF_ALLOC(n, double), *y = PF_ALLOC(n, double);
        assert_true(x != NULL && y != NULL);
        draw(x, n);
        memcpy(y, x, n * sizeof *x);
        pf_rotation_apply(y, n, seed, 1);
        double moved = 0;
        for (size_t i = 0; i < n; i++) moved += fabs(y[i] - x[i]);
        assert_true(n < 3 || moved > .1 * (double)n);
        pf_rotation_invert(y, n, seed, 1);
        for (size_t i = 0; i < n; i++) assert_true(fabs(y[i] - x[i]) < 1e-12);
        pf_free(x);
        pf_free(y);
    }
}

/* A single coordinate becomes ±1/√n in a block of its own: the transform is Hadamard's. */
static void test_powers_of_two_spread_evenly(void **state)
{
    (void)state;
    for (size_t n = 1; n <= 4096; n *= 2) {
        double x[4096] = {0};
        x[n / 3] = 1;
        pf_rotation_apply(x, n, seed, 0);
        for (size_t i = 0; i < n; i++) assert_true(fabs(fabs(x[i]) - 1 / sqrt((double)n)) < 1e-12);
    }
}

/* Nothing of norm 1 exceeds 6/√block, wherever it was: 2·exp(−18) for each of 10^5 results. */
static void test_what_few_coordinates_hold_is_spread_over_all(void **state)
{
    (void)state;
    enum { N = 5000 };
    static const size_t places[] = {0, 900, 904, 2500, 4095, 4096, N - 1};
    for (size_t p = 0; p < PF_ARRAY_LENGTH(places); p++) {
        double single[N] = {0}, several[N] = {0};
        single[places[p]] = 1;
        for (size_t i = 0; i < 25; i++) several[(places[p] + i) % N] = i % 2 ? .2 : -.2;
        pf_rotation_apply(single, N, seed, 0);
        pf_rotation_apply(several, N, seed, 0);
        for (size_t i = 0; i < N; i++) {
            assert_true(fabs(single[i]) < 6.0 / 64);
            assert_true(fabs(several[i]) < 6.0 / 64);
        }
    }
}

/* A change of these is a change of the protocol: all parties must rotate alike. */
static void test_known_rotation(void **state)
{
    (void)state;
    double x[6] = {1, 2, 3, 4, 5, 6};
    pf_rotation_apply(x, 6, seed, 1);
    static const double expected[6] = {3, 1, -2.5, -6.5, -3.5, 4.5};
    for (size_t i = 0; i < 6; i++) assert_true(fabs(x[i] - expected[i]) < 1e-12);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_block_is_the_largest_power_of_two),
        cmocka_unit_test(test_rotation_is_orthonormal),
        cmocka_unit_test(test_inverse_undoes_the_rotation),
        cmocka_unit_test(test_powers_of_two_spread_evenly),
        cmocka_unit_test(test_what_few_coordinates_hold_is_spread_over_all),
        cmocka_unit_test(test_known_rotation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
