/* Shamir's sharing: what was split comes back from any threshold of shares and from no fewer. */
#include "tests/testing.h"

#include <sodium.h>
#include <stdbool.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/base/random.h"
#include "common/secagg/shamir.h"

#define MAX_N 8u

static bool equal(const struct pf_scalar *a, const struct pf_scalar *b)
{
    return memcmp(a, b, sizeof *a) == 0;
}

static void split(const struct pf_scalar *secret, uint32_t threshold, const uint32_t *x, size_t n,
                  struct pf_scalar *shares)
{
    struct pf_error err = {0};
    if (pf_shamir_split(secret, threshold, x, n, shares, &err) != PF_OK) fail_msg("%s", err.text);
}

static struct pf_scalar combine(const uint32_t *x, const struct pf_scalar *shares, size_t n)
{
    struct pf_error err = {0};
    PF_CLEANUP(pf_lagrange_destroyp) struct pf_lagrange *lagrange = NULL;
    if (pf_lagrange_create(x, n, &lagrange, &err) != PF_OK) fail_msg("%s", err.text);
    struct pf_scalar secret;
    pf_lagrange_combine(lagrange, shares, &secret);
    return secret;
}

/* The shares whose bit is set in `subset`, combined. */
static struct pf_scalar combine_subset(const uint32_t *x, const struct pf_scalar *shares, size_t n,
                                       unsigned subset)
{
    uint32_t chosen_x[MAX_N];
    struct pf_scalar chosen[MAX_N];
    size_t m = 0;
    for (size_t i = 0; i < n; i++)
        if (subset >> i & 1u) {
            chosen_x[m] = x[i];
            chosen[m++] = shares[i];
        }
    return combine(chosen_x, chosen, m);
}

static void any_threshold_of_shares_gives_the_secret_and_fewer_do_not(void **state)
{
    (void)state;
    static const uint32_t x[MAX_N] = {3, 1, 10000, 7, 2, 4294967295u, 12, 5};
    for (uint32_t n = 1; n <= 6; n++)
        for (uint32_t threshold = 1; threshold <= n; threshold++) {
            struct pf_scalar secret, shares[MAX_N];
            pf_scalar_random(&secret);
            split(&secret, threshold, x, n, shares);
            for (unsigned subset = 1; subset < 1u << n; subset++) {
                struct pf_scalar got = combine_subset(x, shares, n, subset);
                bool enough = (uint32_t)__builtin_popcount(subset) >= threshold;
                assert_int_equal(equal(&got, &secret), enough);
            }
        }
}

static void many_shares_give_the_secret(void **state)
{
    (void)state;
    enum { N = 300, THRESHOLD = 200 };
    uint32_t x[N];
    static struct pf_scalar shares[N];
    for (uint32_t i = 0; i < N; i++) x[i] = i + 1;
    struct pf_random random;
    pf_random_init(&random, 1, "shamir", 0);
    pf_random_shuffle(&random, x, N);
    struct pf_scalar secret;
    pf_scalar_random(&secret);
    split(&secret, THRESHOLD, x, N, shares);
    struct pf_scalar got = combine(x + 50, shares + 50, THRESHOLD);
    assert_true(equal(&got, &secret));
    got = combine(x, shares, THRESHOLD - 1);
    assert_false(equal(&got, &secret));
}

static struct pf_scalar small(uint32_t value)
{
    struct pf_scalar scalar = {
        {(uint8_t)value, (uint8_t)(value >> 8), (uint8_t)(value >> 16), (uint8_t)(value >> 24)}};
    return scalar;
}

/* Π over the xs of T of (1 − x/x[j]): 1 at 0, 0 on T. */
static struct pf_scalar bump(const uint32_t *xs, size_t n, uint32_t at)
{
    struct pf_scalar product = small(1);
    for (size_t j = 0; j < n; j++) {
        struct pf_scalar a = small(xs[j]), b = small(at), inverse;
        crypto_core_ristretto255_scalar_sub(b.bytes, a.bytes, b.bytes);
        assert_int_equal(crypto_core_ristretto255_scalar_invert(inverse.bytes, a.bytes), 0);
        crypto_core_ristretto255_scalar_mul(b.bytes, b.bytes, inverse.bytes);
        crypto_core_ristretto255_scalar_mul(product.bytes, product.bytes, b.bytes);
    }
    return product;
}

/* For whatever other secret there is a polynomial of the same degree through the same t − 1
 * shares: the first one plus the difference of secrets times the bump over those shares. */
static void fewer_shares_fit_every_secret(void **state)
{
    (void)state;
    enum { N = 6, THRESHOLD = 4 };
    static const uint32_t x[N] = {1, 2, 3, 4, 5, 6};
    for (unsigned round = 0; round < 5; round++) {
        struct pf_scalar secret, other, difference, shares[N], others[N];
        pf_scalar_random(&secret);
        pf_scalar_random(&other);
        split(&secret, THRESHOLD, x, N, shares);
        crypto_core_ristretto255_scalar_sub(difference.bytes, other.bytes, secret.bytes);
        for (size_t i = 0; i < N; i++) {
            struct pf_scalar step = bump(x, THRESHOLD - 1, x[i]);
            crypto_core_ristretto255_scalar_mul(step.bytes, step.bytes, difference.bytes);
            crypto_core_ristretto255_scalar_add(others[i].bytes, shares[i].bytes, step.bytes);
            assert_int_equal(equal(&others[i], &shares[i]), i < THRESHOLD - 1);
        }
        for (unsigned subset = 1; subset < 1u << N; subset++) {
            if (__builtin_popcount(subset) < THRESHOLD) continue;
            struct pf_scalar got = combine_subset(x, others, N, subset);
            assert_true(equal(&got, &other));
        }
    }
}

/* coefficients[n] of the polynomial through the points: Newton's divided differences, expanded. */
static void interpolate(const uint32_t *x, const struct pf_scalar *y, size_t n,
                        struct pf_scalar *coefficients)
{
    struct pf_scalar difference[MAX_N], term;
    memcpy(difference, y, n * sizeof *y);
    for (size_t k = 1; k < n; k++)
        for (size_t i = n - 1; i >= k; i--) {
            struct pf_scalar distance = small(x[i] - x[i - k]);
            assert_int_equal(crypto_core_ristretto255_scalar_invert(distance.bytes, distance.bytes),
                             0);
            crypto_core_ristretto255_scalar_sub(term.bytes, difference[i].bytes,
                                                difference[i - 1].bytes);
            crypto_core_ristretto255_scalar_mul(difference[i].bytes, term.bytes, distance.bytes);
        }
    memset(coefficients, 0, n * sizeof *coefficients);
    for (size_t k = n; k-- > 0;) { /* times (z − x[k]), plus difference[k] */
        struct pf_scalar at = small(x[k]);
        for (size_t i = n; i-- > 0;) {
            crypto_core_ristretto255_scalar_mul(term.bytes, coefficients[i].bytes, at.bytes);
            struct pf_scalar lower = i > 0 ? coefficients[i - 1] : difference[k];
            crypto_core_ristretto255_scalar_sub(coefficients[i].bytes, lower.bytes, term.bytes);
        }
    }
}

/* What it draws is either the coefficients of a polynomial or its forward differences at 0. */
static void all_that_is_drawn_is_drawn_anew(void **state)
{
    (void)state;
    enum { T = 6, RUNS = 3 };
    static const uint32_t xs[2][T] = {{1, 2, 3, 4, 5, 6}, {1000, 2000, 3000, 4000, 5000, 6000}};
    const struct pf_scalar secret = small(77);
    struct pf_scalar drawn[2 * RUNS * 2 * T];
    size_t n = 0;
    for (size_t run = 0; run < 2 * RUNS; run++) {
        struct pf_scalar shares[T], values[T] = {secret};
        split(&secret, T, xs[run % 2], T, shares);
        interpolate(xs[run % 2], shares, T, &drawn[n]);
        assert_true(equal(&drawn[n], &secret));
        drawn[n] = shares[0]; /* once is enough */
        n += T;
        for (size_t i = 1; run % 2 == 0 && i < T; i++) values[i] = shares[i - 1];
        for (size_t k = 1; run % 2 == 0 && k < T; k++) {
            for (size_t i = T - 1; i >= k; i--)
                crypto_core_ristretto255_scalar_sub(values[i].bytes, values[i].bytes,
                                                    values[i - 1].bytes);
            drawn[n++] = values[k]; /* Δᵏp(0) */
        }
    }
    for (size_t a = 0; a < n; a++)
        for (size_t b = 0; b < a; b++) assert_false(equal(&drawn[a], &drawn[b]));
}

/* χ² of the lowest byte of the shares of one fixed secret: 255 degrees of freedom, σ = 22.6. */
static void a_share_is_uniform_whatever_the_secret(void **state)
{
    (void)state;
    enum { RUNS = 5120 };
    static const uint32_t x[3] = {1, 2, 3};
    const struct pf_scalar secrets[] = {small(0), small(1)};
    for (size_t s = 0; s < PF_ARRAY_LENGTH(secrets); s++) {
        unsigned count[3][256] = {{0}};
        for (unsigned run = 0; run < RUNS; run++) {
            struct pf_scalar shares[3];
            split(&secrets[s], 3, x, 3, shares);
            for (size_t i = 0; i < 3; i++) count[i][shares[i].bytes[0]]++;
        }
        for (size_t i = 0; i < 3; i++) {
            double chi = 0.0;
            for (size_t v = 0; v < 256; v++) {
                double off = (double)count[i][v] - RUNS / 256.0;
                chi += off * off / (RUNS / 256.0);
            }
            assert_true(chi > 255.0 - 8 * 22.6 && chi < 255.0 + 10 * 22.6);
        }
    }
}

static void threshold_one_shares_are_the_secret(void **state)
{
    (void)state;
    static const uint32_t x[3] = {1, 2, 9};
    struct pf_scalar secret, shares[3];
    pf_scalar_random(&secret);
    split(&secret, 1, x, 3, shares);
    for (size_t i = 0; i < 3; i++) assert_true(equal(&shares[i], &secret));
}

struct known {
    size_t n;
    uint32_t x[6];
    const char *shares[6], *secret; /* hexadecimal, little endian */
};

/* By tests/vectors/shamir.py. */
static const struct known known[] = {
    {3,
     {1u, 3u, 4u},
     {"0b00000000000000000000000000000000000000000000000000000000000000",
      "0d00000000000000000000000000000000000000000000000000000000000000",
      "0b00000000000000000000000000000000000000000000000000000000000000"},
     "0700000000000000000000000000000000000000000000000000000000000000"},
    {1,
     {1u},
     {"416cb6dadf36e1a4a79b1afafb0e2f21017b5468d9c79c52f97b765f0289670a"},
     "416cb6dadf36e1a4a79b1afafb0e2f21017b5468d9c79c52f97b765f0289670a"},
    {2,
     {2u, 1u},
     {"82382cb83679a0b61af4902923a26da84941246d085ddd30838c3075214a8800",
      "42e0a2d6a482992eaec712a122accfe00cf2d700b4474ec24c74680d8861d802"},
     "028819f5128c92a6419b941822b63119d0a28b945f32bf53165ca0a5ee782805"},
    {5,
     {5u, 1u, 4u, 2u, 9u},
     {"17828abf4f9b00d07b53280436942a9c7f1ba475fe36ab460ab02946642c8a0b",
      "47dad73418a257b34b1bda3ffaf4d72a2e26af09fba8d79dfd37945902a20e0e",
      "d5b36f849ba30ad47f319f004c08ce96c963f7454cfbd946c1186a979200890a",
      "1ea1466133a112d14afda3d8f4c41a37d87e50d039c791f1b65b1b8972083c01",
      "70219fdf5c5cd66d1852c7a26d77003ba7ba44e4657b66cacc86bdabc6f91304"},
     "428a7be1ff6dc0d9ca629153e49cdc69e8dc8eacf2993f2d7ef47367860c020b"},
    {6,
     {10000u, 9999u, 1u, 4294967295u, 4294967294u, 2147483648u},
     {"10bef3ca0b379a3c43cdbdd5ec49e611ea2d5bae955c5f3a19e6392cb9df8601",
      "57f8439555cdb56926278716986cc06629aeac925b173d0db955c6678d66e307",
      "18258388e20f83d32a6dca67b6030122eb9b4f1f31b02e571bed706efddea70a",
      "587b30ddfdd1e2d4afd7b5dbd3d2c25e7ad19129f8b9ac11acfa8ed893190b04",
      "d57d95e27e42dd2a4b84d0195171302367f934d96d2f19c2312fa0057076420b",
      "0560e838a01a885588ffe2fa2ee2573523d3c7877b96841cb708bf708fe3e806"},
     "3c4a23833958059e92af480e058ae310d40bfd7ef12cc83eb7d3f01c3986b70f"},
};

static struct pf_scalar from_hex(const char *hex)
{
    struct pf_scalar scalar;
    size_t length;
    assert_int_equal(
        sodium_hex2bin(scalar.bytes, PF_SCALAR_BYTES, hex, strlen(hex), NULL, &length, NULL), 0);
    assert_int_equal(length, PF_SCALAR_BYTES);
    return scalar;
}

static void known_answers(void **state)
{
    (void)state;
    for (size_t k = 0; k < PF_ARRAY_LENGTH(known); k++) {
        struct pf_scalar shares[6];
        for (size_t i = 0; i < known[k].n; i++) shares[i] = from_hex(known[k].shares[i]);
        struct pf_scalar got = combine(known[k].x, shares, known[k].n);
        struct pf_scalar secret = from_hex(known[k].secret);
        assert_memory_equal(&got, &secret, sizeof got);
    }
}

static void combine_may_write_over_its_shares(void **state)
{
    (void)state;
    static const uint32_t x[2] = {1, 2};
    struct pf_error err = {0};
    struct pf_scalar secret, shares[2];
    pf_scalar_random(&secret);
    split(&secret, 2, x, 2, shares);
    PF_CLEANUP(pf_lagrange_destroyp) struct pf_lagrange *lagrange = NULL;
    assert_int_equal(pf_lagrange_create(x, 2, &lagrange, &err), PF_OK);
    pf_lagrange_combine(lagrange, shares, &shares[0]);
    assert_true(equal(&shares[0], &secret));
}

static void refuse(uint32_t threshold, const uint32_t *x, size_t n)
{
    struct pf_scalar secret = small(1);
    struct pf_error err = {0};
    PF_CLEANUP(pf_freep) struct pf_scalar *shares = PF_ALLOC(n, struct pf_scalar);
    assert_non_null(shares);
    assert_int_equal(pf_shamir_split(&secret, threshold, x, n, shares, &err), PF_INVALID);
    assert_true(strlen(err.text) > 0);
    for (size_t i = 0; i < n; i++) assert_true(sodium_is_zero(shares[i].bytes, PF_SCALAR_BYTES));
}

static void refuse_xs(const uint32_t *x, size_t n)
{
    struct pf_lagrange *lagrange = NULL;
    struct pf_error err = {0};
    refuse(1, x, n);
    assert_int_equal(pf_lagrange_create(x, n, &lagrange, &err), PF_INVALID);
    assert_true(strlen(err.text) > 0);
    assert_null(lagrange);
}

static void what_cannot_be_shared_is_refused(void **state)
{
    (void)state;
    static uint32_t many[PF_MAX_SHARES + 1];
    for (uint32_t i = 0; i < PF_ARRAY_LENGTH(many); i++) many[i] = i + 1;
    refuse_xs(many, 0);
    refuse_xs(many, PF_MAX_SHARES + 1);
    refuse_xs((const uint32_t[]){1, 0, 2}, 3);
    refuse_xs((const uint32_t[]){0}, 1);
    refuse_xs((const uint32_t[]){4, 1, 4}, 3);
    refuse_xs((const uint32_t[]){1, 2, 3, 3}, 4);
    refuse(0, many, 3);
    refuse(4, many, 3);
}

static void most_shares_are_accepted(void **state)
{
    (void)state;
    static uint32_t many[PF_MAX_SHARES];
    for (uint32_t i = 0; i < PF_MAX_SHARES; i++) many[i] = i + 1;
    struct pf_scalar secret = small(77);
    PF_CLEANUP(pf_freep) struct pf_scalar *shares = PF_ALLOC(PF_MAX_SHARES, struct pf_scalar);
    split(&secret, 2, many, PF_MAX_SHARES, shares);
    struct pf_scalar got = combine(many + PF_MAX_SHARES - 2, shares + PF_MAX_SHARES - 2, 2);
    assert_true(equal(&got, &secret));
}

static void fits_only_the_same_xs_in_the_same_order(void **state)
{
    (void)state;
    struct pf_error err = {0};
    PF_CLEANUP(pf_lagrange_destroyp) struct pf_lagrange *lagrange = NULL;
    assert_int_equal(pf_lagrange_create((const uint32_t[]){5, 2, 8}, 3, &lagrange, &err), PF_OK);
    assert_true(pf_lagrange_fits(lagrange, (const uint32_t[]){5, 2, 8}, 3));
    assert_false(pf_lagrange_fits(lagrange, (const uint32_t[]){5, 2, 9}, 3));
    assert_false(pf_lagrange_fits(lagrange, (const uint32_t[]){2, 5, 8}, 3));
    assert_false(pf_lagrange_fits(lagrange, (const uint32_t[]){5, 2, 8}, 2));
    assert_false(pf_lagrange_fits(lagrange, (const uint32_t[]){5, 2, 8, 9}, 4));
}

static void shares_of_one_polynomial_agree_and_others_do_not(void **state)
{
    (void)state;
    enum { N = 9 };
    static const uint32_t x[N] = {3, 1, 10000, 7, 2, 4294967295u, 12, 5, 6};
    for (uint32_t threshold = 1; threshold < N; threshold++) {
        struct pf_scalar secret, shares[N];
        PF_CLEANUP(pf_lagrange_destroyp) struct pf_lagrange *lagrange = NULL;
        pf_scalar_random(&secret);
        split(&secret, threshold, x, N, shares);
        assert_int_equal(pf_lagrange_create(x, threshold, &lagrange, NULL), PF_OK);
        for (size_t i = 0; i < N; i++) { /* those it is made of, too */
            struct pf_scalar wrong = shares[i];
            assert_true(pf_lagrange_agrees(lagrange, shares, x[i], &shares[i]));
            wrong.bytes[i] ^= 1;
            assert_false(pf_lagrange_agrees(lagrange, shares, x[i], &wrong));
            if (threshold > 1) /* elsewhere */
                assert_false(pf_lagrange_agrees(lagrange, shares, x[i] + 20, &shares[i]));
        }
    }
}

static void valid_means_below_the_order(void **state)
{
    (void)state;
    /* ℓ = 2^252 + 27742317777372353535851937790883648493 */
    struct pf_scalar order =
        from_hex("edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010");
    struct pf_scalar below = order, above = order, most, zero = {{0}}, random;
    below.bytes[0]--;
    above.bytes[0]++;
    memset(&most, 0xff, sizeof most);
    assert_true(pf_scalar_valid(&zero));
    assert_true(pf_scalar_valid(&below));
    assert_false(pf_scalar_valid(&order));
    assert_false(pf_scalar_valid(&above));
    assert_false(pf_scalar_valid(&most));
    pf_scalar_random(&random);
    assert_true(pf_scalar_valid(&random));
    pf_scalar_wipe(&random);
    assert_true(equal(&random, &zero));
}

int main(void)
{
    if (sodium_init() < 0) return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_threshold_of_shares_gives_the_secret_and_fewer_do_not),
        cmocka_unit_test(many_shares_give_the_secret),
        cmocka_unit_test(fewer_shares_fit_every_secret),
        cmocka_unit_test(all_that_is_drawn_is_drawn_anew),
        cmocka_unit_test(a_share_is_uniform_whatever_the_secret),
        cmocka_unit_test(threshold_one_shares_are_the_secret),
        cmocka_unit_test(known_answers),
        cmocka_unit_test(combine_may_write_over_its_shares),
        cmocka_unit_test(what_cannot_be_shared_is_refused),
        cmocka_unit_test(most_shares_are_accepted),
        cmocka_unit_test(fits_only_the_same_xs_in_the_same_order),
        cmocka_unit_test(shares_of_one_polynomial_agree_and_others_do_not),
        cmocka_unit_test(valid_means_below_the_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
