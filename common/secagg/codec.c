/* Order of the steps: L2 norm → clip → times weight/cap → rotate → scale → round → clamp.  All but
 * the last two are linear, so clip, weight and scale are one factor, applied after the rotation.
 *
 * Range of a coordinate: what maps to the largest integer, for a segment of n coordinates,
 *
 *   rotated  R = clip·min(1, κ/√m), κ = 2 + value_bits/4, m = pf_rotation_block(n): an update of
 *            norm ≤ clip exceeds it in a coordinate with probability ≤ 2·exp(−κ²/2), whatever the
 *            update.  κ grows with the bits because a smaller step is spoilt by a smaller
 *            clamping error: 4, 5, 6 at 8, 12, 16 bits are close to the best there.
 *   plain    R = clip·min(1, 8·value_bits/√n): a coordinate may be 64 (8 bits) to 128 (16 bits)
 *            times the root mean square of an update of norm clip.  R = clip, which never clamps,
 *            would cost √n/64 times the error at 8 bits; a rule without rotation cannot be safe.
 *
 * Relative L2 error of the mean of 10 updates of 100,000 coordinates and norm = clip, drawn normal,
 * 1 % or 0.02 % of them 50 times as large; in brackets the clamped coordinates of all ten:
 *
 *                   8 bits          12 bits          16 bits
 *   plain, 1 %      2.0e-1  (0)     1.9e-2  (0)      1.6e-3  (0)
 *   plain, 0.02 %   2.2e-1 (17)     2.0e-2  (1)      1.6e-3  (0)
 *   rotated, both   1.6e-2  (2)     1.2e-3  (0)      9.2e-5  (0)
 *
 * Layout of the ring: figure f, limb l (8 bits, lowest first) at 4·f + l; then segment 0, then
 * segment 1. */
#include "common/secagg/codec.h"

#include <assert.h>
#include <math.h>
#include <sodium.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/secagg/parameters.h"
#include "common/secagg/rotation.h"

#define FIGURE_COORDINATES ((size_t)PF_FIGURE_N * PF_FIGURE_LIMBS)
/* Norms of floats and all products with them stay far from the ends of a double. */
#define MIN_CLIP 1e-30
#define MAX_CLIP 1e30
#define MAX_NORM_FIGURE 16777216.0
#define CHUNK ((size_t)1024) /* coordinates rounded at a time */

struct pf_codec {
    struct pf_codec_config config;
    double largest;                  /* 2^(value_bits−1) − 1 */
    double range[PF_CODEC_SEGMENTS]; /* what maps to it */
    size_t n;                        /* Σ length */
};

static const char *const figure_names[PF_FIGURE_N] = {
    [PF_FIGURE_EXAMPLES] = "examples",
    [PF_FIGURE_EVALUATED] = "evaluated",
    [PF_FIGURE_CORRECT] = "correct",
    [PF_FIGURE_NORM_TRAINED] = "norm_trained",
    [PF_FIGURE_NORM_STATISTICS] = "norm_statistics",
    [PF_FIGURE_CLIPPED] = "clipped",
    [PF_FIGURE_SATURATED] = "saturated",
};

const char *pf_figure_name(enum pf_figure figure)
{
    return (unsigned)figure < PF_FIGURE_N ? figure_names[figure] : "unknown";
}

size_t pf_codec_ring_length_of(const size_t length[PF_CODEC_SEGMENTS], bool rotate)
{
    (void)rotate; /* needs no padding */
    size_t n = FIGURE_COORDINATES;
    for (size_t s = 0; s < PF_CODEC_SEGMENTS; s++)
        if (!pf_size_add(n, length[s], &n)) return 0;
    return n;
}

static enum pf_status check_widths(const struct pf_codec_config *config, struct pf_error *err)
{
    if (config->value_bits < PF_CODEC_MIN_VALUE_BITS ||
        config->value_bits > PF_CODEC_MAX_VALUE_BITS)
        return pf_fail(err, PF_INVALID, "values of %u bits; must be %u to %u", config->value_bits,
                       PF_CODEC_MIN_VALUE_BITS, PF_CODEC_MAX_VALUE_BITS);
    if (config->n_participants == 0)
        return pf_fail(err, PF_INVALID, "a sum over 0 participants; at least 1 is needed");
    if (config->modulus_bits > PF_RING_MAX_BITS)
        return pf_fail(err, PF_INVALID, "a modulus of %u bits; must be at most %u",
                       config->modulus_bits, PF_RING_MAX_BITS);
    unsigned needed = pf_secagg_modulus_bits(config->value_bits, config->n_participants);
    if (config->modulus_bits < needed)
        return pf_fail(err, PF_INVALID, "%u participants × %llu need %u bits, the modulus has %u",
                       config->n_participants, (1ull << (config->value_bits - 1)) - 1, needed,
                       config->modulus_bits);
    return PF_OK;
}

static enum pf_status check_config(const struct pf_codec_config *config, struct pf_error *err)
{
    PF_TRY(check_widths(config, err));
    if (config->weight_cap == 0 || config->weight_cap > PF_MAX_WEIGHT_CAP)
        return pf_fail(err, PF_INVALID, "a weight cap of %u examples; must be 1 to %u",
                       config->weight_cap, PF_MAX_WEIGHT_CAP);
    for (size_t s = 0; s < PF_CODEC_SEGMENTS; s++)
        if (!(config->clip[s] >= MIN_CLIP && config->clip[s] <= MAX_CLIP))
            return pf_fail(err, PF_INVALID,
                           "segment %zu is clipped to a norm of %g; must be %g to %g", s,
                           config->clip[s], MIN_CLIP, MAX_CLIP);
    size_t bytes;
    size_t n = pf_codec_ring_length_of(config->length, config->rotate);
    if (n == 0 || !pf_size_mul(n, sizeof(double), &bytes))
        return pf_fail(err, PF_INVALID, "segments of %zu and %zu coordinates overflow",
                       config->length[0], config->length[1]);
    return PF_OK;
}

static double find_range(const struct pf_codec_config *config, size_t segment)
{
    double spread = sqrt((double)config->length[segment]), peak = 8.0 * config->value_bits;
    if (config->rotate) {
        spread = sqrt((double)pf_rotation_block(config->length[segment]));
        peak = 2 + config->value_bits / 4.0;
    }
    return peak < spread ? config->clip[segment] * peak / spread : config->clip[segment];
}

enum pf_status pf_codec_create(const struct pf_codec_config *config, struct pf_codec **codec,
                               struct pf_error *err)
{
    PF_TRY(check_config(config, err));
    struct pf_codec *self = PF_ALLOC(1, struct pf_codec);
    if (self == NULL) return pf_no_memory(err, "a codec");
    self->config = *config;
    self->largest = ldexp(1, (int)config->value_bits - 1) - 1;
    for (size_t s = 0; s < PF_CODEC_SEGMENTS; s++) {
        self->range[s] = find_range(config, s);
        self->n += config->length[s];
    }
    *codec = self;
    return PF_OK;
}

void pf_codec_destroy(struct pf_codec *self)
{
    pf_free(self);
}

size_t pf_codec_ring_length(const struct pf_codec *self)
{
    return FIGURE_COORDINATES + self->n;
}

/* Uniform 32-bit numbers in bulk: ChaCha20 under a key that the caller's stream gives. */
struct uniforms {
    uint8_t key[crypto_stream_chacha20_KEYBYTES];
    uint64_t block;
    uint8_t bytes[4 * CHUNK];
};

static void init_uniforms(struct uniforms *self, struct pf_random *random)
{
    for (size_t i = 0; i < sizeof self->key; i += 8) {
        uint64_t word = pf_random_u64(random);
        for (size_t j = 0; j < 8; j++) self->key[i + j] = (uint8_t)(word >> (8 * j));
    }
    self->block = 0;
}

static void refill(struct uniforms *self)
{
    static const uint8_t nonce[crypto_stream_chacha20_NONCEBYTES] = {0};
    memset(self->bytes, 0, sizeof self->bytes);
    crypto_stream_chacha20_xor_ic(self->bytes, self->bytes, sizeof self->bytes, nonce, self->block,
                                  self->key);
    self->block += sizeof self->bytes / 64;
}

/* Number i of the chunk, in (0, 1): the middles of 2^32 equal steps. */
static inline double uniform(const struct uniforms *self, size_t i)
{
    const uint8_t *b = self->bytes + 4 * i;
    uint32_t word =
        (uint32_t)b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
    return ((double)word + 0.5) * 0x1p-32;
}

/* x[n] as doubles; returns ‖x‖₂, which is not finite exactly when some x_i is not: the sum of
 * squares of floats is below 2^256·n, far from a double's end. */
static double widen(double *wide, const float *x, size_t n)
{
    double squares[4] = {0};
    for (size_t i = 0; i < n; i++) {
        wide[i] = (double)x[i];
        squares[i % 4] += wide[i] * wide[i];
    }
    return sqrt(squares[0] + squares[1] + (squares[2] + squares[3]));
}

/* ring[at …] ← ⌊x·factor + u⌋, clamped; E = x·factor.  Returns how many were clamped.
 * |x·factor| is at most √m·2^31/κ even where it will be clamped; it is clamped before it becomes an
 * integer all the same. */
static uint64_t round_into(struct pf_ring *ring, size_t at, const double *x, size_t n,
                           double factor, double largest, struct uniforms *uniforms)
{
    uint64_t saturated = 0;
    const int64_t limit = (int64_t)largest;
    const double offset = largest + 1; /* makes all positive, for which a cast is ⌊⌋ */
    for (size_t i = 0; i < n; i++) {
        if (i % CHUNK == 0) refill(uniforms);
        double v = x[i] * factor;
        saturated += fabs(v) > largest;
        v = v > largest ? largest : v;
        v = v < -largest ? -largest : v;
        int64_t q = (int64_t)(v + offset + uniform(uniforms, i % CHUNK)) - (limit + 1);
        pf_ring_set(ring, at + i, q > limit ? limit : q);
    }
    return saturated;
}

static enum pf_status check_figures(const uint64_t figures[PF_FIGURE_N], struct pf_error *err)
{
    if (figures[PF_FIGURE_EXAMPLES] == 0)
        return pf_fail(err, PF_INVALID, "an update of 0 examples cannot be weighted");
    for (size_t f = PF_FIGURE_EVALUATED; f <= PF_FIGURE_CORRECT; f++)
        if (figures[f] > UINT32_MAX)
            return pf_fail(err, PF_INVALID, "figure '%s' is %llu; must be below 2^32",
                           figure_names[f], (unsigned long long)figures[f]);
    return PF_OK;
}

static void put_figures(struct pf_ring *ring, const uint64_t figures[PF_FIGURE_N])
{
    for (size_t f = 0; f < PF_FIGURE_N; f++)
        for (size_t l = 0; l < PF_FIGURE_LIMBS; l++)
            pf_ring_set(ring, PF_FIGURE_LIMBS * f + l, (int64_t)(figures[f] >> (8 * l) & 0xff));
}

/* One segment; `own` gets its norm, whether it was clipped and how often it was clamped. */
static enum pf_status encode_segment(const struct pf_codec *self, size_t segment,
                                     const float *update, size_t at, double *work,
                                     struct uniforms *uniforms, struct pf_ring *ring,
                                     uint64_t own[PF_FIGURE_N], struct pf_error *err)
{
    const struct pf_codec_config *config = &self->config;
    size_t n = config->length[segment];
    double clip = config->clip[segment], norm = widen(work, update, n);
    if (!isfinite(norm))
        return pf_fail(err, PF_INVALID,
                       "segment %zu of the update has coordinates that are not finite: training "
                       "diverged",
                       segment);
    double factor = (double)own[PF_FIGURE_EXAMPLES] / config->weight_cap;
    if (norm > clip) {
        factor *= clip / norm;
        own[PF_FIGURE_CLIPPED] = 1;
    }
    own[PF_FIGURE_NORM_TRAINED + segment] =
        (uint64_t)round(fmin(PF_CODEC_NORM_UNIT * (norm / clip), MAX_NORM_FIGURE));
    if (config->rotate) pf_rotation_apply(work, n, config->seed, (uint32_t)segment);
    factor *= self->largest / self->range[segment];
    own[PF_FIGURE_SATURATED] += round_into(ring, at, work, n, factor, self->largest, uniforms);
    return PF_OK;
}

enum pf_status pf_codec_encode(const struct pf_codec *self, const float *update,
                               const uint64_t figures[PF_FIGURE_N], struct pf_random *rounding,
                               struct pf_ring *ring, struct pf_error *err)
{
    const struct pf_codec_config *config = &self->config;
    assert(pf_ring_length(ring) == pf_codec_ring_length(self));
    assert(pf_ring_bits(ring) == config->modulus_bits);
    PF_TRY(check_figures(figures, err));
    size_t longest = PF_MAX(config->length[0], config->length[1]);
    double *work = PF_ALLOC(longest, double);
    if (work == NULL) return pf_no_memory(err, "an encoded update");

    uint64_t own[PF_FIGURE_N] = {
        [PF_FIGURE_EXAMPLES] = PF_MIN(figures[PF_FIGURE_EXAMPLES], config->weight_cap),
        [PF_FIGURE_EVALUATED] = figures[PF_FIGURE_EVALUATED],
        [PF_FIGURE_CORRECT] = figures[PF_FIGURE_CORRECT],
    };
    struct uniforms uniforms;
    init_uniforms(&uniforms, rounding);
    enum pf_status status = PF_OK;
    size_t done = 0;
    for (size_t s = 0; s < PF_CODEC_SEGMENTS && status == PF_OK; s++) {
        status = encode_segment(self, s, update + done, FIGURE_COORDINATES + done, work, &uniforms,
                                ring, own, err);
        done += config->length[s];
    }
    own[PF_FIGURE_SATURATED] = PF_MIN(own[PF_FIGURE_SATURATED], UINT32_MAX);
    if (status == PF_OK) put_figures(ring, own);
    sodium_memzero(own, sizeof own);
    sodium_memzero(&uniforms, sizeof uniforms);
    sodium_memzero(work, longest * sizeof *work);
    pf_free(work);
    return status;
}

static enum pf_status take_figures(const struct pf_codec *self, const struct pf_ring *sum,
                                   uint32_t n_summed, uint64_t figures[PF_FIGURE_N],
                                   struct pf_error *err)
{
    for (size_t f = 0; f < PF_FIGURE_N; f++) {
        figures[f] = 0;
        for (size_t l = 0; l < PF_FIGURE_LIMBS; l++) {
            uint64_t limb = pf_ring_get(sum, PF_FIGURE_LIMBS * f + l);
            if (limb > (uint64_t)255 * n_summed)
                return pf_fail(err, PF_CORRUPT,
                               "figure '%s' of %u participants has a part of %llu, which they "
                               "cannot have sent: the masks did not come off",
                               figure_names[f], n_summed, (unsigned long long)limb);
            figures[f] += limb << (8 * l); /* ≤ (2^32 − 1)·n_summed < 2^64 */
        }
    }
    uint64_t examples = figures[PF_FIGURE_EXAMPLES];
    if (examples < n_summed || examples > (uint64_t)self->config.weight_cap * n_summed)
        return pf_fail(err, PF_CORRUPT,
                       "%u participants weigh %llu examples; 1 to %u each were possible", n_summed,
                       (unsigned long long)examples, self->config.weight_cap);
    return PF_OK;
}

static enum pf_status take_values(const struct pf_codec *self, const struct pf_ring *sum,
                                  uint32_t n_summed, double *values, struct pf_error *err)
{
    int64_t most = (int64_t)self->largest * n_summed; /* < 2^31·2^32 */
    for (size_t i = 0; i < self->n; i++) {
        int64_t value = pf_ring_get_signed(sum, FIGURE_COORDINATES + i);
        if (value > most || value < -most)
            return pf_fail(err, PF_CORRUPT,
                           "coordinate %zu of the sum is %lld, beyond ±%lld of %u participants: "
                           "the masks did not come off",
                           i, (long long)value, (long long)most, n_summed);
        values[i] = (double)value;
    }
    return PF_OK;
}

enum pf_status pf_codec_decode(const struct pf_codec *self, const struct pf_ring *sum,
                               uint32_t n_summed, float *mean, uint64_t figures[PF_FIGURE_N],
                               struct pf_error *err)
{
    const struct pf_codec_config *config = &self->config;
    assert(pf_ring_length(sum) == pf_codec_ring_length(self));
    assert(pf_ring_bits(sum) == config->modulus_bits);
    if (n_summed == 0 || n_summed > config->n_participants)
        return pf_fail(err, PF_INVALID, "a sum of %u updates; the codec is for 1 to %u", n_summed,
                       config->n_participants);
    uint64_t sums[PF_FIGURE_N];
    PF_TRY(take_figures(self, sum, n_summed, sums, err));
    PF_CLEANUP(pf_freep) double *values = PF_ALLOC(self->n, double);
    if (values == NULL) return pf_no_memory(err, "a decoded sum");
    PF_TRY(take_values(self, sum, n_summed, values, err));

    double weight = (double)sums[PF_FIGURE_EXAMPLES] / config->weight_cap;
    double *segment = values;
    for (size_t s = 0; s < PF_CODEC_SEGMENTS; s++) {
        size_t n = config->length[s];
        if (config->rotate) pf_rotation_invert(segment, n, config->seed, (uint32_t)s);
        double factor = self->range[s] / self->largest / weight;
        for (size_t i = 0; i < n; i++) *mean++ = (float)(segment[i] * factor);
        segment += n;
    }
    memcpy(figures, sums, sizeof sums);
    return PF_OK;
}
