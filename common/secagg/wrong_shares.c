/* Syndromes, as in any decoder of Reed–Solomon codes.  Let c_i be the Lagrange coefficients at 0 of
 * all n xs.  For the right shares p(x_i), x^k·p(x) is 0 at 0 and of degree below n for k = 1 …
 * n − t, so that
 *
 *   S_k = Σ c_i · x_i^k · share_i
 *
 * is 0, and with wrong ones, each off by e_i, it is Σ (c_i·e_i) · x_i^k over the wrong ones alone:
 * a sequence with one recurrence, whose characteristic roots are their xs.  Berlekamp and Massey
 * [1] find the shortest recurrence; if it is no longer than half of the sequence, it is the only
 * one.
 *
 * Branches look at syndromes, which say of the wrong shares how wrong they are and nothing of the
 * secret.
 *
 * [1] J. L. Massey, Shift-register synthesis and BCH decoding, IEEE Trans. IT 15 (1969). */
#include "common/secagg/wrong_shares.h"

#include <assert.h>
#include <sodium.h>
#include <string.h>

#include "common/base/memory.h"

static void multiply(struct pf_scalar *z, const struct pf_scalar *a, const struct pf_scalar *b)
{
    crypto_core_ristretto255_scalar_mul(z->bytes, a->bytes, b->bytes);
}

static struct pf_scalar from_u32(uint32_t value)
{
    struct pf_scalar scalar = {{0}};
    for (size_t i = 0; i < sizeof value; i++) scalar.bytes[i] = (uint8_t)(value >> (8 * i));
    return scalar;
}

static bool is_zero(const struct pf_scalar *scalar)
{
    return sodium_is_zero(scalar->bytes, sizeof scalar->bytes);
}

/* Recurrences are polynomials c with c[0] = 1: Σ c[j]·S[k − j] = 0. */
struct decoder {
    size_t n_syndromes;          /* n − t */
    struct pf_scalar *scaled;    /* [n]: the shares times x^k */
    struct pf_scalar *syndromes; /* [n_syndromes]: S_1 … */
    struct pf_scalar *current;   /* [n_syndromes + 1] */
    struct pf_scalar *before;    /* [n_syndromes + 1]: before the last that was lengthened */
    struct pf_scalar *spare;     /* [n_syndromes + 1] */
    size_t length;               /* of the current recurrence */
};

static void decoder_finish(struct decoder *self, size_t n)
{
    if (self->scaled != NULL) sodium_memzero(self->scaled, n * sizeof *self->scaled);
    pf_free(self->scaled);
    pf_free(self->syndromes);
    pf_free(self->current);
    pf_free(self->before);
    pf_free(self->spare);
}

static enum pf_status decoder_init(struct decoder *self, size_t n, uint32_t threshold,
                                   struct pf_error *err)
{
    *self = (struct decoder){.n_syndromes = n - threshold};
    self->scaled = PF_ALLOC(n, struct pf_scalar);
    self->syndromes = PF_ALLOC(self->n_syndromes + 1, struct pf_scalar);
    self->current = PF_ALLOC(self->n_syndromes + 1, struct pf_scalar);
    self->before = PF_ALLOC(self->n_syndromes + 1, struct pf_scalar);
    self->spare = PF_ALLOC(self->n_syndromes + 1, struct pf_scalar);
    bool complete = self->scaled != NULL && self->syndromes != NULL && self->current != NULL &&
                    self->before != NULL && self->spare != NULL;
    return complete ? PF_OK : pf_no_memory(err, "looking for wrong shares");
}

static enum pf_status make_syndromes(struct decoder *self, const uint32_t *x,
                                     const struct pf_scalar *shares, size_t n, struct pf_error *err)
{
    PF_CLEANUP(pf_lagrange_destroyp) struct pf_lagrange *lagrange = NULL;
    PF_TRY(pf_lagrange_create(x, n, &lagrange, err));
    memcpy(self->scaled, shares, n * sizeof *shares);
    for (size_t k = 0; k < self->n_syndromes; k++) {
        for (size_t i = 0; i < n; i++) {
            const struct pf_scalar at = from_u32(x[i]);
            multiply(&self->scaled[i], &self->scaled[i], &at);
        }
        pf_lagrange_combine(lagrange, self->scaled, &self->syndromes[k]);
    }
    return PF_OK;
}

/* By how much the current recurrence misses S[k]. */
static struct pf_scalar discrepancy(const struct decoder *self, size_t k)
{
    struct pf_scalar sum = self->syndromes[k], term;
    for (size_t j = 1; j <= self->length; j++) {
        multiply(&term, &self->current[j], &self->syndromes[k - j]);
        crypto_core_ristretto255_scalar_add(sum.bytes, sum.bytes, term.bytes);
    }
    return sum;
}

/* current ← current − factor · z^shift · before. */
static void correct(struct decoder *self, const struct pf_scalar *factor, size_t shift)
{
    struct pf_scalar term;
    for (size_t j = 0; j + shift <= self->n_syndromes; j++) {
        struct pf_scalar *c = &self->current[j + shift];
        multiply(&term, factor, &self->before[j]);
        crypto_core_ristretto255_scalar_sub(c->bytes, c->bytes, term.bytes);
    }
}

/* Massey's algorithm; names in [1]: s, c(D), B(D), L, x, d, b. */
static void find_recurrence(struct decoder *self)
{
    struct pf_scalar inverse_before = from_u32(1); /* of the discrepancy that `before` had */
    size_t shift = 1;
    self->current[0] = self->before[0] = from_u32(1);
    for (size_t k = 0; k < self->n_syndromes; k++, shift++) {
        const struct pf_scalar missed = discrepancy(self, k);
        if (is_zero(&missed)) continue;
        const bool lengthen = 2 * self->length <= k;
        struct pf_scalar factor;
        multiply(&factor, &missed, &inverse_before);
        if (lengthen)
            memcpy(self->spare, self->current, (self->n_syndromes + 1) * sizeof *self->spare);
        correct(self, &factor, shift);
        if (!lengthen) continue;
        struct pf_scalar *before = self->before;
        self->before = self->spare;
        self->spare = before;
        self->length = k + 1 - self->length;
        int done = crypto_core_ristretto255_scalar_invert(inverse_before.bytes, missed.bytes);
        assert(done == 0); /* it is not 0 */
        (void)done;
        shift = 0; /* 1 at the next step */
    }
}

/* Whether x is a root of Σ current[j]·x^(length − j). */
static bool is_root(const struct decoder *self, uint32_t x)
{
    const struct pf_scalar at = from_u32(x);
    struct pf_scalar value = self->current[0];
    for (size_t j = 1; j <= self->length; j++) {
        multiply(&value, &value, &at);
        crypto_core_ristretto255_scalar_add(value.bytes, value.bytes, self->current[j].bytes);
    }
    return is_zero(&value);
}

static enum pf_status find_roots(const struct decoder *self, const uint32_t *x, size_t n,
                                 bool *wrong, struct pf_error *err)
{
    size_t n_roots = 0;
    if (2 * self->length <= self->n_syndromes)
        for (size_t i = 0; i < n; i++) n_roots += wrong[i] = is_root(self, x[i]);
    if (n_roots == self->length && 2 * self->length <= self->n_syndromes) return PF_OK;
    return pf_fail(err, PF_NOT_FOUND, "more than %zu of %zu shares are wrong",
                   self->n_syndromes / 2, n);
}

enum pf_status pf_shamir_find_wrong(const uint32_t *x, const struct pf_scalar *shares, size_t n,
                                    uint32_t threshold, bool *wrong, struct pf_error *err)
{
    assert(threshold >= 1 && threshold <= n);
    struct decoder decoder;
    PF_CLEANUP(pf_freep) bool *found = PF_ALLOC(n, bool);
    enum pf_status status = decoder_init(&decoder, n, threshold, err);
    if (status == PF_OK && found == NULL) status = pf_no_memory(err, "looking for wrong shares");
    if (status == PF_OK) status = make_syndromes(&decoder, x, shares, n, err);
    if (status == PF_OK) {
        find_recurrence(&decoder);
        status = find_roots(&decoder, x, n, found, err);
    }
    if (status == PF_OK) memcpy(wrong, found, n * sizeof *wrong);
    decoder_finish(&decoder, n);
    return status;
}
