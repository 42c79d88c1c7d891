/* The plain kind of aggregation: encoded updates, and their sum in fixed point.
 *
 * An encoded update, little endian:
 *
 *   offset  bytes
 *        0      4  "PFU1"
 *        4      4  kind (1: plain)
 *        8      8  n, the number of coordinates
 *       16      8  weight, IEEE double
 *       24    4·n  local − global, IEEE floats
 *
 * The sum must not depend on the order in which participants finish: the same seed has to give
 * the same model, bit for bit.  Addition of floats is not associative, so each weight·delta is
 * rounded once, alone, to a multiple of 2^-60, and the multiples are added as 128-bit integers.
 * The common factor cancels in Σ weight·delta ÷ Σ weight.
 *
 *   |weight·delta| < 2^50 (refused above)  ⇒  |term| ≤ 2^110
 *   weight ≤ 2^32                          ⇒  term ≤ 2^92
 *   at most 2^16 terms                     ⇒  |sum| ≤ 2^126 < 2^127
 *
 * Rounding costs at most 2^-61 per term: for a whole example it is far below a float's own step. */
#include "common/secagg/aggregate.h"

#include <math.h>
#include <sodium.h>
#include <stdbool.h>
#include <string.h>

#include "common/base/memory.h"

#define HEADER_BYTES ((size_t)24)
#define MAX_WEIGHT 4294967296.0 /* 2^32 */
#define MAX_TERM 0x1p50
#define GRID 0x1p60
#define MAX_SUMMANDS ((size_t)1 << 16)

static const uint8_t magic[4] = {'P', 'F', 'U', '1'};

__extension__ typedef __int128 fixed;

struct pf_sum {
    size_t n;
    size_t count;
    fixed weight;
    fixed *coordinates; /* [n] */
};

void pf_update_finish(struct pf_update *self)
{
    if (self->values != NULL) sodium_memzero(self->values, self->n * sizeof *self->values);
    pf_free(self->values);
    sodium_memzero(self, sizeof *self);
}

const char *pf_aggregation_name(enum pf_aggregation kind)
{
    switch (kind) {
    case PF_AGGREGATION_PLAIN: return "plain";
    case PF_AGGREGATION_SECURE: return "secure";
    }
    return "unknown";
}

static enum pf_status check_kind(enum pf_aggregation kind, struct pf_error *err)
{
    if (kind == PF_AGGREGATION_PLAIN) return PF_OK;
    if (kind == PF_AGGREGATION_SECURE)
        return pf_fail(err, PF_INVALID,
                       "secure aggregation is not part of this build; use plain aggregation");
    return pf_fail(err, PF_INVALID, "aggregation kind %u is unknown", (unsigned)kind);
}

size_t pf_update_size(enum pf_aggregation kind, size_t n)
{
    size_t bytes;
    if (kind != PF_AGGREGATION_PLAIN) return 0;
    if (!pf_size_mul(n, 4, &bytes) || !pf_size_add(bytes, HEADER_BYTES, &bytes)) return 0;
    return bytes;
}

static void put_u32(uint8_t *out, uint32_t value)
{
    for (size_t i = 0; i < 4; i++) out[i] = (uint8_t)(value >> (8 * i));
}

static uint32_t get_u32(const uint8_t *in)
{
    return (uint32_t)in[0] | (uint32_t)in[1] << 8 | (uint32_t)in[2] << 16 | (uint32_t)in[3] << 24;
}

static void put_u64(uint8_t *out, uint64_t value)
{
    put_u32(out, (uint32_t)value);
    put_u32(out + 4, (uint32_t)(value >> 32));
}

static uint64_t get_u64(const uint8_t *in)
{
    return (uint64_t)get_u32(in) | (uint64_t)get_u32(in + 4) << 32;
}

static float get_float(const uint8_t *in)
{
    uint32_t bits = get_u32(in);
    float value;
    memcpy(&value, &bits, sizeof(value));
    return value;
}

static double get_double(const uint8_t *in)
{
    uint64_t bits = get_u64(in);
    double value;
    memcpy(&value, &bits, sizeof(value));
    return value;
}

/* A weight that rounds to nothing would make the mean a division by zero. */
static bool weight_fits(double weight)
{
    return weight >= 1.0 / GRID && weight <= MAX_WEIGHT; /* false for NaN */
}

/* False for NaN and infinities too. */
static bool term_fits(float delta, double weight)
{
    return fabs((double)delta * weight) < MAX_TERM;
}

/* Nearest multiple of the grid; the scaling is a power of two and loses nothing. */
static fixed to_fixed(double value)
{
    return (fixed)nearbyint(value * GRID);
}

enum pf_status pf_update_encode(enum pf_aggregation kind, const float *delta, size_t n,
                                double weight, struct pf_buffer *bytes, struct pf_error *err)
{
    PF_TRY(check_kind(kind, err));
    if (!weight_fits(weight))
        return pf_fail(err, PF_INVALID, "update: weight %g is not in (0, 2^32]", weight);
    for (size_t i = 0; i < n; i++)
        if (!term_fits(delta[i], weight))
            return pf_fail(err, PF_INVALID,
                           "update: coordinate %zu is %g: not finite, or too large for weight %g",
                           i, (double)delta[i], weight);
    size_t length = pf_update_size(kind, n);
    if (length == 0) return pf_fail(err, PF_INVALID, "update: %zu coordinates are too many", n);
    PF_TRY(pf_buffer_reserve(bytes, length, err));

    uint8_t *out = bytes->bytes + bytes->length;
    uint64_t weight_bits;
    memcpy(&weight_bits, &weight, sizeof(weight_bits));
    memcpy(out, magic, sizeof(magic));
    put_u32(out + 4, (uint32_t)kind);
    put_u64(out + 8, n);
    put_u64(out + 16, weight_bits);
    for (size_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, &delta[i], sizeof(bits));
        put_u32(out + HEADER_BYTES + 4 * i, bits);
    }
    bytes->length += length;
    return PF_OK;
}

enum pf_status pf_sum_create(enum pf_aggregation kind, size_t n, struct pf_sum **sum,
                             struct pf_error *err)
{
    PF_TRY(check_kind(kind, err));
    PF_CLEANUP(pf_sum_destroyp) struct pf_sum *self = PF_ALLOC(1, struct pf_sum);
    if (self == NULL) return pf_no_memory(err, "the sum of updates");
    self->n = n;
    self->coordinates = PF_ALLOC(n, fixed);
    if (self->coordinates == NULL) return pf_no_memory(err, "the sum of updates");
    *sum = self;
    self = NULL;
    return PF_OK;
}

void pf_sum_destroy(struct pf_sum *self)
{
    if (self == NULL) return;
    pf_free(self->coordinates);
    pf_free(self);
}

static enum pf_status check_header(const struct pf_sum *self, const uint8_t *bytes, size_t length,
                                   struct pf_error *err)
{
    size_t expected = pf_update_size(PF_AGGREGATION_PLAIN, self->n);
    if (length != expected)
        return pf_fail(err, PF_CORRUPT, "update: %zu bytes, expected %zu for %zu coordinates",
                       length, expected, self->n);
    if (memcmp(bytes, magic, sizeof(magic)) != 0)
        return pf_fail(err, PF_CORRUPT, "update: does not begin with PFU1");
    if (get_u32(bytes + 4) != PF_AGGREGATION_PLAIN)
        return pf_fail(err, PF_CORRUPT, "update: kind %u, expected %u (plain)", get_u32(bytes + 4),
                       (unsigned)PF_AGGREGATION_PLAIN);
    if (get_u64(bytes + 8) != self->n)
        return pf_fail(err, PF_CORRUPT, "update: says %llu coordinates, expected %zu",
                       (unsigned long long)get_u64(bytes + 8), self->n);
    return PF_OK;
}

enum pf_status pf_sum_add(struct pf_sum *self, const uint8_t *bytes, size_t length,
                          struct pf_error *err)
{
    PF_TRY(check_header(self, bytes, length, err));
    if (self->count >= MAX_SUMMANDS)
        return pf_fail(err, PF_REFUSED, "update: the sum already holds %zu updates", self->count);
    double weight = get_double(bytes + 16);
    if (!weight_fits(weight))
        return pf_fail(err, PF_REFUSED, "update: weight %g is not in (0, 2^32]", weight);

    /* Everything is checked before anything is added: a refused update changes nothing. */
    const uint8_t *coordinates = bytes + HEADER_BYTES;
    for (size_t i = 0; i < self->n; i++) {
        float delta = get_float(coordinates + 4 * i);
        if (!term_fits(delta, weight))
            return pf_fail(err, PF_REFUSED,
                           "update: coordinate %zu is %g: not finite, or too large for weight %g",
                           i, (double)delta, weight);
    }
    for (size_t i = 0; i < self->n; i++)
        self->coordinates[i] += to_fixed((double)get_float(coordinates + 4 * i) * weight);
    self->weight += to_fixed(weight);
    self->count++;
    return PF_OK;
}

size_t pf_sum_count(const struct pf_sum *self)
{
    return self->count;
}

double pf_sum_weight(const struct pf_sum *self)
{
    return (double)self->weight / GRID;
}

enum pf_status pf_sum_mean(const struct pf_sum *self, float *mean, struct pf_error *err)
{
    if (self->count == 0)
        return pf_fail(err, PF_INVALID, "the mean of no update at all is not defined");
    double weight = (double)self->weight;
    for (size_t i = 0; i < self->n; i++) mean[i] = (float)((double)self->coordinates[i] / weight);
    return PF_OK;
}
