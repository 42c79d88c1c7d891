/* Random streams: the very numbers for a seed, and that they are spread as they should be.
 *
 * Every statistical bound is five standard deviations wide or more; with fixed seeds a test either
 * always passes or never does. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/random.h"

#define N_DRAWS 40000

static struct pf_random stream(uint64_t seed)
{
    struct pf_random random;
    pf_random_init(&random, seed, "test_random", 0);
    return random;
}

/* Keystream of ChaCha20 under BLAKE2b-256(seed, index, label), worked out by an implementation of
 * both that shares nothing with libsodium (Python's hashlib and RFC 8439's quarter round). */
static void the_numbers_of_a_seed_never_change(void **state)
{
    (void)state;
    static const struct {
        uint64_t seed;
        const char *label;
        uint64_t index;
        uint64_t draws[5]; /* number 0, 1, 63, 64, 1023: within, at and beyond a refill */
    } known[] = {
        {0,
         "",
         0,
         {0xe847b8c521ee81d0, 0xa12d80244a4763ce, 0xf06c9bcbb9800aaf, 0x800d3e401e8ef604,
          0xa77dd208db0208ac}},
        {1,
         "augmentation",
         0,
         {0xbae6a16ed72f2467, 0xea7a0bb2e1518726, 0x92858f579594925e, 0x5c168be1fa0bfaa7,
          0x02be60f23b280a57}},
        {1,
         "augmentation",
         1,
         {0x99df268235a366d6, 0x2317b5cfc41db2d4, 0x43f27a8d21d67b4d, 0x0d15f5ef765b0243,
          0x7c37fe3c241868a4}},
        {UINT64_MAX,
         "weights",
         UINT64_MAX,
         {0x745ddc78f18eabba, 0xaf1c7ea8b34d591a, 0x67d56b4c9fc68437, 0x3407d5ec28a55d28,
          0x32b43d154c77145d}},
    };
    static const size_t positions[] = {0, 1, 63, 64, 1023};
    for (size_t k = 0; k < sizeof known / sizeof known[0]; k++) {
        struct pf_random random;
        pf_random_init(&random, known[k].seed, known[k].label, known[k].index);
        size_t next = 0;
        for (size_t i = 0; i <= 1023; i++) {
            uint64_t value = pf_random_u64(&random);
            if (i == positions[next]) assert_true(value == known[k].draws[next++]);
        }
        assert_int_equal(next, 5);
    }
}

static void check_close(double value, double expected)
{
    if (!(fabs(value - expected) < 1e-12 * fabs(expected))) fail_msg("%.17g", value);
}

/* As above, every kind of draw from one stream in turn: each takes as many bytes as it always
 * has. */
static void every_kind_of_draw_never_changes(void **state)
{
    (void)state;
    struct pf_random random;
    pf_random_init(&random, 7, "mixed", 3);
    assert_true(pf_random_u32(&random) == 3388565282u);
    assert_true(pf_random_u64(&random) == 12127695378627567759u);
    assert_int_equal(pf_random_below(&random, 10), 4);
    assert_int_equal(pf_random_below(&random, 1000), 267);
    assert_true(pf_random_below(&random, 3u << 30) == 2724284938u);
    assert_true(pf_random_uniform(&random) == 0.2516749885305458);
    check_close(pf_random_normal(&random), -0.6469730346894266);
    check_close(pf_random_normal(&random), 0.6791316192321692);
    check_close(pf_random_gamma(&random, 0.5), 0.5232833985666933);
    check_close(pf_random_gamma(&random, 4.0), 5.251048429091804);
    uint32_t items[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9};
    const uint32_t shuffled[] = {3, 9, 2, 4, 1, 5, 0, 8, 7, 6};
    pf_random_shuffle(&random, items, 10);
    assert_memory_equal(items, shuffled, sizeof items);
    uint64_t last = 0; /* 180 bytes are gone: the refill throws away four that are left over */
    for (int i = 0; i < 100; i++) last = pf_random_u64(&random);
    assert_true(last == 9113041239570057961u);
}

static void a_copied_stream_goes_on_alike(void **state)
{
    (void)state;
    struct pf_random a = stream(1);
    for (int i = 0; i < 100; i++) (void)pf_random_u32(&a);
    struct pf_random b = a;
    for (int i = 0; i < 300; i++) {
        assert_int_equal(pf_random_u32(&a), pf_random_u32(&b));
        assert_true(pf_random_normal(&a) == pf_random_normal(&b));
    }
}

static void labels_and_indices_give_other_streams(void **state)
{
    (void)state;
    struct pf_random base, other;
    pf_random_init(&base, 1, "a", 0);
    uint64_t first = pf_random_u64(&base);
    pf_random_init(&other, 1, "b", 0);
    assert_true(pf_random_u64(&other) != first);
    pf_random_init(&other, 1, "a", 1);
    assert_true(pf_random_u64(&other) != first);
    pf_random_init(&other, 2, "a", 0);
    assert_true(pf_random_u64(&other) != first);
}

/* Σ (count − expected)² ÷ expected, at most five standard deviations above its mean. */
static void check_even(const size_t *count, size_t n_bins, double expected)
{
    double sum = 0;
    for (size_t i = 0; i < n_bins; i++) {
        double d = (double)count[i] - expected;
        sum += d * d / expected;
    }
    double freedom = (double)n_bins - 1.0;
    if (sum > freedom + 5.0 * sqrt(2.0 * freedom)) fail_msg("chi-square %g of %g", sum, freedom);
}

static void every_byte_of_a_draw_is_even(void **state)
{
    (void)state;
    static size_t count[8][256];
    struct pf_random random = stream(2);
    for (int i = 0; i < N_DRAWS; i++) {
        uint64_t value = pf_random_u64(&random);
        for (int b = 0; b < 8; b++) count[b][value >> (8 * b) & 255]++;
    }
    for (int b = 0; b < 8; b++) check_even(count[b], 256, N_DRAWS / 256.0);
}

static void bounded_draws_are_even_and_inside(void **state)
{
    (void)state;
    static const uint32_t bounds[] = {1, 2, 3, 10, 100};
    for (size_t k = 0; k < 5; k++) {
        size_t count[100] = {0};
        struct pf_random random = stream(3 + k);
        for (int i = 0; i < N_DRAWS; i++) {
            uint32_t value = pf_random_below(&random, bounds[k]);
            assert_true(value < bounds[k]);
            count[value]++;
        }
        if (bounds[k] > 1) check_even(count, bounds[k], (double)N_DRAWS / bounds[k]);
    }
}

/* Of 2^32 values 3·2^30 classes: a draw without rejection favours a third of them, by remainder
 * (first quarter) or by multiplication (multiples of three). */
static void bounded_draws_have_no_bias(void **state)
{
    (void)state;
    const uint32_t bound = 3u << 30;
    size_t thirds[3] = {0}, remainders[3] = {0};
    struct pf_random random = stream(9);
    for (int i = 0; i < N_DRAWS; i++) {
        uint32_t value = pf_random_below(&random, bound);
        assert_true(value < bound);
        thirds[value >> 30]++;
        remainders[value % 3]++;
    }
    check_even(thirds, 3, N_DRAWS / 3.0);
    check_even(remainders, 3, N_DRAWS / 3.0);
}

static void uniforms_fill_zero_to_one(void **state)
{
    (void)state;
    size_t count[50] = {0};
    struct pf_random random = stream(10);
    for (int i = 0; i < N_DRAWS; i++) {
        double u = pf_random_uniform(&random);
        assert_true(u >= 0.0 && u < 1.0);
        count[(size_t)(u * 50.0)]++;
    }
    check_even(count, 50, N_DRAWS / 50.0);
}

static void check_near(double value, double expected, double deviation)
{
    if (!(fabs(value - expected) < 5.0 * deviation))
        fail_msg("%g is not %g ± %g", value, expected, 5.0 * deviation);
}

static void normals_have_the_moments_of_the_normal(void **state)
{
    (void)state;
    struct pf_random random = stream(11);
    double sum[5] = {0}, product = 0, previous = 0, outside = 0;
    for (int i = 0; i < N_DRAWS; i++) {
        double x = pf_random_normal(&random);
        assert_true(isfinite(x));
        for (int k = 1; k <= 4; k++) sum[k] += pow(x, k) / N_DRAWS;
        product += x * previous / N_DRAWS;
        outside += fabs(x) > 1.959964;
        previous = x;
    }
    const double root = sqrt(N_DRAWS);
    check_near(sum[1], 0.0, 1.0 / root);
    check_near(sum[2], 1.0, sqrt(2.0) / root);  /* E x⁴ − 1 */
    check_near(sum[3], 0.0, sqrt(15.0) / root); /* E x⁶ */
    check_near(sum[4], 3.0, sqrt(96.0) / root); /* E x⁸ − 9 */
    check_near(product, 0.0, 1.0 / root);       /* neighbours do not know of each other */
    check_near(outside / N_DRAWS, 0.05, sqrt(0.05 * 0.95) / root);
}

static void gammas_have_the_moments_of_their_shape(void **state)
{
    (void)state;
    static const double shapes[] = {0.05, 0.3, 1.0, 1.5, 7.0, 120.0};
    for (size_t k = 0; k < 6; k++) {
        const double a = shapes[k];
        struct pf_random random = stream(12 + k);
        double sum = 0, squares = 0;
        for (int i = 0; i < N_DRAWS; i++) {
            double x = pf_random_gamma(&random, a);
            assert_true(isfinite(x) && x >= 0.0);
            sum += x / N_DRAWS;
            squares += (x - a) * (x - a) / N_DRAWS;
        }
        check_near(sum, a, sqrt(a / N_DRAWS));
        check_near(squares, a, sqrt((2 * a * a + 6 * a) / N_DRAWS)); /* fourth moment 3a² + 6a */
    }
}

static void a_tiny_shape_gives_numbers_all_the_same(void **state)
{
    (void)state;
    struct pf_random random = stream(30);
    for (int i = 0; i < 100; i++) {
        double x = pf_random_gamma(&random, 1e-9);
        assert_true(isfinite(x) && x >= 0.0);
    }
}

static void shuffles_reach_every_order_evenly(void **state)
{
    (void)state;
    size_t count[24] = {0};
    struct pf_random random = stream(40);
    for (int i = 0; i < N_DRAWS; i++) {
        uint32_t items[4] = {0, 1, 2, 3};
        pf_random_shuffle(&random, items, 4);
        assert_int_equal(1u << items[0] | 1u << items[1] | 1u << items[2] | 1u << items[3], 15);
        size_t order = 0; /* Lehmer code: 0 … 23 */
        for (size_t a = 0; a < 4; a++) {
            size_t smaller = 0;
            for (size_t b = a + 1; b < 4; b++) smaller += items[b] < items[a];
            order = order * (4 - a) + smaller;
        }
        count[order]++;
    }
    check_even(count, 24, N_DRAWS / 24.0);
    pf_random_shuffle(&random, NULL, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_numbers_of_a_seed_never_change),
        cmocka_unit_test(every_kind_of_draw_never_changes),
        cmocka_unit_test(a_copied_stream_goes_on_alike),
        cmocka_unit_test(labels_and_indices_give_other_streams),
        cmocka_unit_test(every_byte_of_a_draw_is_even),
        cmocka_unit_test(bounded_draws_are_even_and_inside),
        cmocka_unit_test(bounded_draws_have_no_bias),
        cmocka_unit_test(uniforms_fill_zero_to_one),
        cmocka_unit_test(normals_have_the_moments_of_the_normal),
        cmocka_unit_test(gammas_have_the_moments_of_their_shape),
        cmocka_unit_test(a_tiny_shape_gives_numbers_all_the_same),
        cmocka_unit_test(shuffles_reach_every_order_evenly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
