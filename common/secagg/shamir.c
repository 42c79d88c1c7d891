#include "common/secagg/shamir.h"

#include <assert.h>
#include <sodium.h>
#include <stdbool.h>
#include <string.h>

#include "common/base/memory.h"

/* libsodium's frames keep copies of what they worked on; none reaches deeper. */
#define STACK_TRACES_BYTES 4096u

static_assert(PF_SCALAR_BYTES == crypto_core_ristretto255_SCALARBYTES,
              "a scalar is libsodium's scalar");

struct pf_lagrange {
    size_t n;
    uint32_t *x;                    /* [n] */
    struct pf_scalar *coefficients; /* [n]; public, as the xs are */
};

static void multiply(struct pf_scalar *z, const struct pf_scalar *a, const struct pf_scalar *b)
{
    crypto_core_ristretto255_scalar_mul(z->bytes, a->bytes, b->bytes);
}

static void add(struct pf_scalar *z, const struct pf_scalar *a, const struct pf_scalar *b)
{
    crypto_core_ristretto255_scalar_add(z->bytes, a->bytes, b->bytes);
}

static struct pf_scalar from_u64(uint64_t value)
{
    struct pf_scalar scalar = {{0}};
    for (size_t i = 0; i < sizeof value; i++) scalar.bytes[i] = (uint8_t)(value >> (8 * i));
    return scalar;
}

void pf_scalar_random(struct pf_scalar *scalar)
{
    /* Leaves out 0, which nobody will ever draw. */
    crypto_core_ristretto255_scalar_random(scalar->bytes);
}

void pf_scalar_wipe(struct pf_scalar *scalar)
{
    sodium_memzero(scalar, sizeof *scalar);
}

bool pf_scalar_valid(const struct pf_scalar *scalar)
{
    uint8_t wide[crypto_core_ristretto255_NONREDUCEDSCALARBYTES] = {0};
    struct pf_scalar reduced;
    memcpy(wide, scalar->bytes, PF_SCALAR_BYTES);
    crypto_core_ristretto255_scalar_reduce(reduced.bytes, wide);
    bool valid = sodium_memcmp(reduced.bytes, scalar->bytes, PF_SCALAR_BYTES) == 0;
    sodium_memzero(wide, sizeof wide);
    pf_scalar_wipe(&reduced);
    return valid;
}

static enum pf_status check_xs(const uint32_t *x, size_t n, struct pf_error *err)
{
    if (n < 1 || n > PF_MAX_SHARES)
        return pf_fail(err, PF_INVALID, "secret sharing: %zu shares; must be 1 to %u", n,
                       PF_MAX_SHARES);
    for (size_t i = 0; i < n; i++) {
        if (x[i] == 0)
            return pf_fail(err, PF_INVALID,
                           "secret sharing: share %zu lies at x = 0, where the secret is", i);
        /* At most 5·10^7 comparisons, little beside the n·threshold products they precede. */
        for (size_t j = 0; j < i; j++)
            if (x[j] == x[i])
                return pf_fail(err, PF_INVALID,
                               "secret sharing: shares %zu and %zu both lie at x = %u", j, i, x[i]);
    }
    return PF_OK;
}

/* Horner's rule.  value = Σ coefficient[k]·x^k. */
static void evaluate(struct pf_scalar *value, const struct pf_scalar *coefficients,
                     uint32_t n_coefficients, uint32_t x)
{
    const struct pf_scalar at = from_u64(x);
    *value = coefficients[n_coefficients - 1];
    for (uint32_t k = n_coefficients - 1; k-- > 0;) {
        multiply(value, value, &at);
        add(value, value, &coefficients[k]);
    }
}

static void split_by_horner(const struct pf_scalar *coefficients, uint32_t threshold,
                            const uint32_t *x, size_t n, struct pf_scalar *shares)
{
    for (size_t i = 0; i < n; i++) evaluate(&shares[i], coefficients, threshold, x[i]);
}

/* The same numbers taken as the forward differences of the polynomial at 0: p(0), Δp(0), Δ²p(0), …
 * determine a polynomial of that degree as coefficients do, one to one, so that random differences
 * give a random polynomial too.  A step from x to x + 1 is threshold − 1 additions (Newton), which
 * is less than half of Horner's rule where the xs lie close to each other.  Overwrites the
 * differences.  place[x] − 1 is where the share at x belongs, 0: nowhere. */
static void split_by_differences(struct pf_scalar *differences, uint32_t threshold,
                                 const uint32_t *place, uint32_t max_x, struct pf_scalar *shares)
{
    for (uint32_t x = 1; x <= max_x; x++) {
        for (uint32_t k = 0; k + 1 < threshold; k++)
            add(&differences[k], &differences[k], &differences[k + 1]);
        if (place[x] != 0) shares[place[x] - 1] = differences[0];
    }
}

/* A product costs about as much as an addition, so Horner's rule two per coefficient and share. */
static enum pf_status evaluate_all(struct pf_scalar *numbers, uint32_t threshold, const uint32_t *x,
                                   size_t n, struct pf_scalar *shares, struct pf_error *err)
{
    uint32_t max_x = 0;
    for (size_t i = 0; i < n; i++) max_x = PF_MAX(max_x, x[i]);
    if (max_x > 2 * n) {
        split_by_horner(numbers, threshold, x, n, shares);
        return PF_OK;
    }
    uint32_t *place = PF_ALLOC((size_t)max_x + 1, uint32_t);
    if (place == NULL) return pf_no_memory(err, "shares");
    for (size_t i = 0; i < n; i++) place[x[i]] = (uint32_t)i + 1;
    split_by_differences(numbers, threshold, place, max_x, shares);
    pf_free(place);
    return PF_OK;
}

enum pf_status pf_shamir_split(const struct pf_scalar *secret, uint32_t threshold,
                               const uint32_t *x, size_t n, struct pf_scalar *shares,
                               struct pf_error *err)
{
    PF_TRY(check_xs(x, n, err));
    if (threshold < 1 || threshold > n)
        return pf_fail(err, PF_INVALID,
                       "secret sharing: threshold %u of %zu shares; must be 1 to the number of "
                       "shares",
                       threshold, n);
    struct pf_scalar *numbers = PF_ALLOC(threshold, struct pf_scalar);
    if (numbers == NULL) return pf_no_memory(err, "a polynomial");
    numbers[0] = *secret;
    for (uint32_t k = 1; k < threshold; k++) pf_scalar_random(&numbers[k]);
    enum pf_status status = evaluate_all(numbers, threshold, x, n, shares, err);
    sodium_memzero(numbers, threshold * sizeof *numbers);
    sodium_stackzero(STACK_TRACES_BYTES);
    pf_free(numbers);
    return status;
}

/* x[i] · Π_{j≠i} (x[j] − x[i]).  The differences are small, so that several of them, multiplied as
 * plain integers, cost one product of scalars; the xs are public, so that branches may see them. */
static struct pf_scalar denominator(const uint32_t *x, size_t n, size_t i)
{
    struct pf_scalar product = from_u64(1);
    uint64_t small = x[i];
    bool negative = false;
    for (size_t j = 0; j < n; j++) {
        if (j == i) continue;
        negative ^= x[j] < x[i];
        uint64_t distance = x[j] < x[i] ? x[i] - x[j] : x[j] - x[i], more;
        if (__builtin_mul_overflow(small, distance, &more)) {
            const struct pf_scalar factor = from_u64(small);
            multiply(&product, &product, &factor);
            more = distance;
        }
        small = more;
    }
    const struct pf_scalar factor = from_u64(small);
    multiply(&product, &product, &factor);
    if (negative) crypto_core_ristretto255_scalar_negate(product.bytes, product.bytes);
    return product;
}

/* coefficient[i] = Π x[j] ÷ denominator[i], with one inversion for all: of the product of all
 * denominators, from which the inverses are peeled off one by one (Montgomery 1987, section
 * 10.3.1).  An inversion costs 250 products. */
static void make_coefficients(struct pf_lagrange *self, const struct pf_scalar *denominators)
{
    const size_t n = self->n;
    struct pf_scalar *c = self->coefficients;
    struct pf_scalar inverse, all_x = from_u64(1);
    c[0] = denominators[0];
    for (size_t i = 1; i < n; i++) multiply(&c[i], &c[i - 1], &denominators[i]);
    for (size_t i = 0; i < n; i++) {
        const struct pf_scalar at = from_u64(self->x[i]);
        multiply(&all_x, &all_x, &at);
    }
    /* The xs are distinct, not 0 and below 2^32 < ℓ, a prime: no factor is 0. */
    int done = crypto_core_ristretto255_scalar_invert(inverse.bytes, c[n - 1].bytes);
    assert(done == 0);
    (void)done;
    multiply(&inverse, &inverse, &all_x);
    for (size_t i = n - 1; i > 0; i--) {
        multiply(&c[i], &inverse, &c[i - 1]);
        multiply(&inverse, &inverse, &denominators[i]);
    }
    c[0] = inverse;
}

enum pf_status pf_lagrange_create(const uint32_t *x, size_t n, struct pf_lagrange **lagrange,
                                  struct pf_error *err)
{
    PF_TRY(check_xs(x, n, err));
    PF_CLEANUP(pf_lagrange_destroyp) struct pf_lagrange *self = PF_ALLOC(1, struct pf_lagrange);
    PF_CLEANUP(pf_freep) struct pf_scalar *denominators = PF_ALLOC(n, struct pf_scalar);
    if (self == NULL || denominators == NULL) return pf_no_memory(err, "Lagrange coefficients");
    self->n = n;
    self->x = PF_ALLOC(n, uint32_t);
    self->coefficients = PF_ALLOC(n, struct pf_scalar);
    if (self->x == NULL || self->coefficients == NULL)
        return pf_no_memory(err, "Lagrange coefficients");
    memcpy(self->x, x, n * sizeof *x);
    for (size_t i = 0; i < n; i++) denominators[i] = denominator(x, n, i);
    make_coefficients(self, denominators);
    *lagrange = self;
    self = NULL;
    return PF_OK;
}

void pf_lagrange_destroy(struct pf_lagrange *self)
{
    if (self == NULL) return;
    pf_free(self->x);
    pf_free(self->coefficients);
    pf_free(self);
}

bool pf_lagrange_fits(const struct pf_lagrange *self, const uint32_t *x, size_t n)
{
    return n == self->n && memcmp(x, self->x, n * sizeof *x) == 0;
}

void pf_lagrange_combine(const struct pf_lagrange *self, const struct pf_scalar *shares,
                         struct pf_scalar *secret)
{
    struct pf_scalar sum = {{0}}, term;
    for (size_t i = 0; i < self->n; i++) {
        multiply(&term, &self->coefficients[i], &shares[i]);
        add(&sum, &sum, &term);
    }
    *secret = sum;
    pf_scalar_wipe(&sum);
    pf_scalar_wipe(&term);
    sodium_stackzero(STACK_TRACES_BYTES);
}

/* With w_i = 1/Π_{j≠i} (x_i − x_j), the polynomial takes the value y at x if and only if
 * Σ w_i·(y_i − y)/(x − x_i) = 0 (the barycentric form).  w_i is coefficient[i]·x[i], but for a
 * factor that all have; fractions are added as fractions, so that nothing is inverted. */
bool pf_lagrange_agrees(const struct pf_lagrange *self, const struct pf_scalar *shares, uint32_t x,
                        const struct pf_scalar *share)
{
    const struct pf_scalar at = from_u64(x);
    struct pf_scalar above = from_u64(0), below = from_u64(1), term, distance;
    for (size_t i = 0; i < self->n; i++) {
        const struct pf_scalar there = from_u64(self->x[i]);
        crypto_core_ristretto255_scalar_sub(distance.bytes, at.bytes, there.bytes);
        crypto_core_ristretto255_scalar_sub(term.bytes, shares[i].bytes, share->bytes);
        multiply(&term, &term, &self->coefficients[i]);
        multiply(&term, &term, &there);
        multiply(&term, &term, &below);
        multiply(&above, &above, &distance);
        add(&above, &above, &term);
        multiply(&below, &below, &distance);
    }
    bool agrees = sodium_is_zero(above.bytes, sizeof above.bytes);
    pf_scalar_wipe(&above);
    pf_scalar_wipe(&term);
    sodium_stackzero(STACK_TRACES_BYTES);
    return agrees;
}
