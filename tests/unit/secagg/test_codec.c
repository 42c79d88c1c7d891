#include <stdarg.h>
#include <stddef.h>

#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/secagg/codec.h"
#include "common/secagg/parameters.h"

enum { FIGURES = PF_FIGURE_N * PF_FIGURE_LIMBS, TRAINED = 700, STATISTICS = 37 };

static const size_t n_update = TRAINED + STATISTICS;

static struct pf_codec_config make_config(unsigned value_bits, uint32_t n, bool rotate)
{
    struct pf_codec_config config = {
        .value_bits = value_bits,
        .modulus_bits = pf_secagg_modulus_bits(value_bits, n),
        .n_participants = n,
        .weight_cap = 100,
        .length = {TRAINED, STATISTICS},
        .clip = {2, .5},
        .rotate = rotate,
        .seed = {1, 2, 3},
    };
    return config;
}

static struct pf_codec *make_codec(const struct pf_codec_config *config)
{
    struct pf_codec *codec = NULL;
    struct pf_error err = {0};
    if (pf_codec_create(config, &codec, &err) != PF_OK) fail_msg("%s", err.text);
    return codec;
}

static struct pf_ring *make_ring(const struct pf_codec *codec, const struct pf_codec_config *config)
{
    struct pf_ring *ring = NULL;
    assert_int_equal(pf_ring_create(pf_codec_ring_length(codec), config->modulus_bits, &ring, NULL),
                     PF_OK);
    return ring;
}

static void add_ring(struct pf_ring *sum, const struct pf_ring *ring)
{
    for (size_t i = 0; i < pf_ring_length(sum); i++)
        pf_ring_set(sum, i, (int64_t)(pf_ring_get(sum, i) + pf_ring_get(ring, i)));
}

static struct pf_random stream(uint64_t index)
{
    struct pf_random random;
    pf_random_init(&random, 7, "test codec", index);
    return random;
}

static void encode(const struct pf_codec *codec, const float *update, uint64_t examples,
                   uint64_t index, struct pf_ring *ring)
{
    uint64_t figures[PF_FIGURE_N] = {
        [PF_FIGURE_EXAMPLES] = examples, [PF_FIGURE_EVALUATED] = 9, [PF_FIGURE_CORRECT] = 4};
    struct pf_random rounding = stream(index);
    struct pf_error err = {0};
    if (pf_codec_encode(codec, update, figures, &rounding, ring, &err) != PF_OK)
        fail_msg("%s", err.text);
}

static double norm_of(const float *x, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += (double)x[i] * (double)x[i];
    return sqrt(sum);
}

/* Both segments normal, with the given fraction of their clip as norm. */
static void draw_update(uint64_t index, const struct pf_codec_config *config, double fraction,
                        float *update)
{
    struct pf_random random = stream(1000 + index);
    for (size_t s = 0; s < PF_CODEC_SEGMENTS; s++) {
        size_t n = config->length[s];
        for (size_t i = 0; i < n; i++) update[i] = (float)pf_random_normal(&random);
        double scale = fraction * config->clip[s] / norm_of(update, n);
        for (size_t i = 0; i < n; i++) update[i] = (float)(update[i] * scale);
        update += n;
    }
}

/* The step between integers, as codec.c states the ranges; m: the largest power of two in n. */
static double step_of(const struct pf_codec_config *config, size_t segment)
{
    double n = (double)config->length[segment], m = exp2(floor(log2(n)));
    double share = config->rotate ? (2 + config->value_bits / 4.0) / sqrt(m)
                                  : 8.0 * config->value_bits / sqrt(n);
    return config->clip[segment] * fmin(1, share) / (exp2(config->value_bits - 1) - 1);
}

/* A coordinate is off by less than a step; a rotation keeps the L2 norm of all errors. */
static void assert_close(const struct pf_codec_config *config, const double *expected,
                         const float *mean, double slack)
{
    for (size_t s = 0; s < PF_CODEC_SEGMENTS; s++) {
        size_t n = config->length[s];
        double step = step_of(config, s) * slack, squares = 0;
        double float_error = 1e-6 * config->clip[s];
        for (size_t i = 0; i < n; i++) {
            double off = (double)mean[i] - expected[i];
            if (!config->rotate) assert_true(fabs(off) < step + float_error);
            squares += off * off;
        }
        /* uniform errors of at most a step have a mean square of step²/6, at most step²/4 */
        assert_true(sqrt(squares / (double)n) < step * .55 + float_error);
        expected += n;
        mean += n;
    }
}

static void test_one_update_comes_back_within_a_step(void **state)
{
    (void)state;
    for (unsigned bits = PF_CODEC_MIN_VALUE_BITS; bits <= PF_CODEC_MAX_VALUE_BITS; bits++) {
        for (int rotate = 0; rotate < 2; rotate++) {
            struct pf_codec_config config = make_config(bits, 1, rotate);
            PF_CLEANUP(pf_codec_destroyp) struct pf_codec *codec = make_codec(&config);
            PF_CLEANUP(pf_ring_destroyp) struct pf_ring *ring = make_ring(codec, &config);
            float update[TRAINED + STATISTICS], mean[TRAINED + STATISTICS];
            double expected[TRAINED + STATISTICS];
            draw_update(bits, &config, .9, update);
            for (size_t i = 0; i < n_update; i++) expected[i] = (double)update[i];
            encode(codec, update, 100, bits, ring);
            uint64_t figures[PF_FIGURE_N];
            assert_int_equal(pf_codec_decode(codec, ring, 1, mean, figures, NULL), PF_OK);
            assert_close(&config, expected, mean, 1);
            assert_int_equal(figures[PF_FIGURE_CLIPPED], 0);
        }
    }
}

static void test_sums_decode_to_the_weighted_mean(void **state)
{
    (void)state;
    enum { N = 11 };
    for (unsigned bits = 8; bits <= 24; bits += 4) {
        for (int rotate = 0; rotate < 2; rotate++) {
            struct pf_codec_config config = make_config(bits, N, rotate);
            PF_CLEANUP(pf_codec_destroyp) struct pf_codec *codec = make_codec(&config);
            PF_CLEANUP(pf_ring_destroyp) struct pf_ring *sum = make_ring(codec, &config);
            PF_CLEANUP(pf_ring_destroyp) struct pf_ring *ring = make_ring(codec, &config);
            float update[TRAINED + STATISTICS], mean[TRAINED + STATISTICS];
            double expected[TRAINED + STATISTICS] = {0}, weights = 0;
            for (uint32_t p = 0; p < N; p++) {
                uint32_t weight = 10 + 9 * p; /* the last: 100 */
                draw_update(p, &config, .5, update);
                encode(codec, update, weight + (p == N - 1 ? 4000 : 0), p, ring); /* over the cap */
                add_ring(sum, ring);
                weights += weight;
                for (size_t i = 0; i < n_update; i++) expected[i] += weight * (double)update[i];
            }
            for (size_t i = 0; i < n_update; i++) expected[i] /= weights;
            uint64_t figures[PF_FIGURE_N];
            assert_int_equal(pf_codec_decode(codec, sum, N, mean, figures, NULL), PF_OK);
            assert_int_equal(figures[PF_FIGURE_EXAMPLES], (uint64_t)weights);
            /* N errors below a step each, over Σ weight/cap = 6.05 */
            assert_close(&config, expected, mean, N * config.weight_cap / weights);
        }
    }
}

/* The mean of T roundings of one coordinate has a standard deviation of at most step/2/√T: none of
 * 737 is off by more than five of those, but for a chance of 5e-4 (the streams are fixed). */
static void test_rounding_is_unbiased(void **state)
{
    (void)state;
    enum { T = 2000 };
    struct pf_codec_config config = make_config(8, 1, false);
    PF_CLEANUP(pf_codec_destroyp) struct pf_codec *codec = make_codec(&config);
    PF_CLEANUP(pf_ring_destroyp) struct pf_ring *ring = make_ring(codec, &config);
    float update[TRAINED + STATISTICS];
    double sums[TRAINED + STATISTICS] = {0};
    draw_update(0, &config, .9, update);
    for (uint64_t t = 0; t < T; t++) {
        encode(codec, update, 100, t, ring);
        for (size_t i = 0; i < n_update; i++)
            sums[i] += (double)pf_ring_get_signed(ring, FIGURES + i);
    }
    for (size_t i = 0; i < n_update; i++) {
        double exact = (double)update[i] / step_of(&config, i < TRAINED ? 0 : 1);
        assert_true(fabs(sums[i] / T - exact) < 5 * .5 / sqrt(T));
    }
}

static void test_zero_and_whole_steps_are_exact(void **state)
{
    (void)state;
    struct pf_codec_config config = make_config(8, 1, false);
    config.length[0] = 255;
    config.length[1] = 0;
    config.clip[0] = 127e3; /* 64/√255 > 1: the step is 1000 */
    PF_CLEANUP(pf_codec_destroyp) struct pf_codec *codec = make_codec(&config);
    PF_CLEANUP(pf_ring_destroyp) struct pf_ring *ring = make_ring(codec, &config);
    for (uint64_t t = 0; t < 20; t++) {
        float update[255] = {0};
        update[254] = 3000, update[0] = -7000;
        encode(codec, update, 100, t, ring);
        for (size_t i = 1; i < 254; i++) assert_int_equal(pf_ring_get(ring, FIGURES + i), 0);
        assert_true(pf_ring_get_signed(ring, FIGURES) == -7);
        assert_true(pf_ring_get_signed(ring, FIGURES + 254) == 3);
    }
}

static void test_figures_are_exact(void **state)
{
    (void)state;
    enum { N = 500 };
    struct pf_codec_config config = make_config(8, N, true);
    config.weight_cap = PF_MAX_WEIGHT_CAP;
    PF_CLEANUP(pf_codec_destroyp) struct pf_codec *codec = make_codec(&config);
    PF_CLEANUP(pf_ring_destroyp) struct pf_ring *sum = make_ring(codec, &config);
    PF_CLEANUP(pf_ring_destroyp) struct pf_ring *ring = make_ring(codec, &config);
    float update[TRAINED + STATISTICS] = {0};
    uint64_t expected[PF_FIGURE_N] = {0};
    for (uint32_t p = 0; p < N; p++) {
        uint64_t figures[PF_FIGURE_N] = {
            [PF_FIGURE_EXAMPLES] = 1 + p * 30011,
            [PF_FIGURE_EVALUATED] = UINT32_MAX,
            [PF_FIGURE_CORRECT] = UINT32_MAX - p,
            [PF_FIGURE_SATURATED] = 77, /* set by encode, not by the caller */
        };
        struct pf_random rounding = stream(p);
        assert_int_equal(pf_codec_encode(codec, update, figures, &rounding, ring, NULL), PF_OK);
        add_ring(sum, ring);
        for (size_t f = 0; f < PF_FIGURE_NORM_TRAINED; f++) expected[f] += figures[f];
    }
    float mean[TRAINED + STATISTICS];
    uint64_t figures[PF_FIGURE_N];
    assert_int_equal(pf_codec_decode(codec, sum, N, mean, figures, NULL), PF_OK);
    assert_memory_equal(figures, expected, sizeof figures);
}

static void assert_clipped(bool rotate, double excess)
{
    struct pf_codec_config config = make_config(24, 1, rotate);
    PF_CLEANUP(pf_codec_destroyp) struct pf_codec *codec = make_codec(&config);
    PF_CLEANUP(pf_ring_destroyp) struct pf_ring *ring = make_ring(codec, &config);
    float update[TRAINED + STATISTICS], mean[TRAINED + STATISTICS];
    double expected[TRAINED + STATISTICS];
    draw_update(3, &config, .25, update);
    for (size_t i = 0; i < n_update; i++) {
        if (i < TRAINED) update[i] = (float)(update[i] * 4 * excess);
        expected[i] = (double)update[i] / (i < TRAINED ? excess : 1);
    }
    encode(codec, update, 100, 3, ring);
    uint64_t figures[PF_FIGURE_N];
    assert_int_equal(pf_codec_decode(codec, ring, 1, mean, figures, NULL), PF_OK);
    assert_close(&config, expected, mean, 1);
    assert_true(fabs(norm_of(mean, TRAINED) - 2) < 1e-4);
    assert_true(fabs(norm_of(mean + TRAINED, STATISTICS) - .125) < 1e-4);
    assert_int_equal(figures[PF_FIGURE_CLIPPED], 1);
    assert_int_equal(figures[PF_FIGURE_NORM_TRAINED], (uint64_t)round(1024 * excess));
    assert_int_equal(figures[PF_FIGURE_NORM_STATISTICS], 256);
    assert_int_equal(figures[PF_FIGURE_SATURATED], 0);
}

static void test_updates_are_clipped_to_the_norm_of_their_segment(void **state)
{
    (void)state;
    for (int rotate = 0; rotate < 2; rotate++) {
        assert_clipped(rotate, 1.2);
        assert_clipped(rotate, 10);
    }
}

static void test_huge_norms_are_reported_as_the_most(void **state)
{
    (void)state;
    struct pf_codec_config config = make_config(16, 1, true);
    PF_CLEANUP(pf_codec_destroyp) struct pf_codec *codec = make_codec(&config);
    PF_CLEANUP(pf_ring_destroyp) struct pf_ring *ring = make_ring(codec, &config);
    float update[TRAINED + STATISTICS], mean[TRAINED + STATISTICS];
    for (size_t i = 0; i < n_update; i++) update[i] = 3e38f;
    encode(codec, update, UINT64_MAX, 1, ring);
    uint64_t figures[PF_FIGURE_N];
    assert_int_equal(pf_codec_decode(codec, ring, 1, mean, figures, NULL), PF_OK);
    assert_int_equal(figures[PF_FIGURE_NORM_TRAINED], 1u << 24);
    assert_int_equal(figures[PF_FIGURE_EXAMPLES], 100);
    assert_true(fabs(norm_of(mean, TRAINED) - 2) < .01);
}

/* One coordinate holds the whole norm of a long segment, so that it is clamped, with all weights
 * and all participants: the sums are ±n·largest, and come back with their signs. */
static void assert_extremes_do_not_wrap(unsigned bits, uint32_t n)
{
    enum { LONG = 70000 };
    struct pf_codec_config config = make_config(bits, n, false);
    config.length[0] = LONG;
    config.length[1] = 0;
    PF_CLEANUP(pf_codec_destroyp) struct pf_codec *codec = make_codec(&config);
    PF_CLEANUP(pf_ring_destroyp) struct pf_ring *ring = make_ring(codec, &config);
    PF_CLEANUP(pf_ring_destroyp) struct pf_ring *sum = make_ring(codec, &config);
    PF_CLEANUP(pf_freep) float *update = PF_ALLOC(LONG, float);
    PF_CLEANUP(pf_freep) float *mean = PF_ALLOC(LONG, float);
    assert_true(update != NULL && mean != NULL);
    update[3] = 3e38f;
    update[4] = -3e38f;
    encode(codec, update, UINT64_MAX, n, ring);
    int64_t largest = ((int64_t)1 << (bits - 1)) - 1;
    assert_true(pf_ring_get_signed(ring, FIGURES + 3) == largest);
    assert_true(pf_ring_get_signed(ring, FIGURES + 4) == -largest);
    for (uint32_t p = 0; p < n; p++) add_ring(sum, ring);
    assert_true(pf_ring_get_signed(sum, FIGURES + 3) == largest * n);
    assert_true(pf_ring_get_signed(sum, FIGURES + 4) == -largest * n);
    uint64_t figures[PF_FIGURE_N];
    assert_int_equal(pf_codec_decode(codec, sum, n, mean, figures, NULL), PF_OK);
    double range = step_of(&config, 0) * (double)largest;
    assert_true(fabs((double)mean[3] - range) < 1e-6);
    assert_true(fabs((double)mean[4] + range) < 1e-6);
    assert_int_equal(figures[PF_FIGURE_SATURATED], 2 * n);
}

/* At 32 bits a double has so few places left behind the point that the largest value, plus what is
 * nearly 1, is rounded up to the next integer.  The stream's first number is 1 − 174.5·2^−32. */
static void test_the_last_rounding_is_clamped_too(void **state)
{
    (void)state;
    struct pf_codec_config config = make_config(32, 2, false);
    struct pf_random random = stream(2510692);
    config.length[0] = 1;
    config.length[1] = 0;
    PF_CLEANUP(pf_codec_destroyp) struct pf_codec *codec = make_codec(&config);
    PF_CLEANUP(pf_ring_destroyp) struct pf_ring *ring = make_ring(codec, &config);
    const float update = 3e38f;
    const uint64_t figures[PF_FIGURE_N] = {[PF_FIGURE_EXAMPLES] = UINT32_MAX};
    assert_int_equal(pf_codec_encode(codec, &update, figures, &random, ring, NULL), PF_OK);
    assert_true(pf_ring_get_signed(ring, FIGURES) == INT32_MAX);
}

static void test_extreme_updates_never_wrap(void **state)
{
    (void)state;
    static const uint32_t sizes[] = {1, 2, 3, 8, 9};
    for (size_t i = 0; i < PF_ARRAY_LENGTH(sizes); i++) {
        assert_extremes_do_not_wrap(8, sizes[i]);
        assert_extremes_do_not_wrap(16, sizes[i]);
    }
}

static void test_a_rounding_stream_decides_the_encoding(void **state)
{
    (void)state;
    struct pf_codec_config config = make_config(12, 1, true);
    PF_CLEANUP(pf_codec_destroyp) struct pf_codec *codec = make_codec(&config);
    PF_CLEANUP(pf_ring_destroyp) struct pf_ring *first = make_ring(codec, &config);
    PF_CLEANUP(pf_ring_destroyp) struct pf_ring *again = make_ring(codec, &config);
    PF_CLEANUP(pf_ring_destroyp) struct pf_ring *other = make_ring(codec, &config);
    float update[TRAINED + STATISTICS];
    draw_update(0, &config, .9, update);
    encode(codec, update, 100, 1, first);
    for (size_t i = 0; i < pf_ring_length(again); i++) pf_ring_set(again, i, -1); /* overwritten */
    encode(codec, update, 100, 1, again);
    encode(codec, update, 100, 2, other);
    size_t differing = 0;
    for (size_t i = 0; i < pf_ring_length(first); i++) {
        assert_true(pf_ring_get(first, i) == pf_ring_get(again, i));
        differing += pf_ring_get(first, i) != pf_ring_get(other, i);
    }
    assert_true(differing > n_update / 5);
}

/* Consecutive numbers of one stream: two updates of one participant are rounded differently. */
static void test_a_stream_moves_on(void **state)
{
    (void)state;
    struct pf_codec_config config = make_config(12, 1, false);
    PF_CLEANUP(pf_codec_destroyp) struct pf_codec *codec = make_codec(&config);
    PF_CLEANUP(pf_ring_destroyp) struct pf_ring *first = make_ring(codec, &config);
    PF_CLEANUP(pf_ring_destroyp) struct pf_ring *second = make_ring(codec, &config);
    float update[TRAINED + STATISTICS];
    draw_update(0, &config, .9, update);
    struct pf_random rounding = stream(1);
    uint64_t figures[PF_FIGURE_N] = {[PF_FIGURE_EXAMPLES] = 1};
    assert_int_equal(pf_codec_encode(codec, update, figures, &rounding, first, NULL), PF_OK);
    assert_int_equal(pf_codec_encode(codec, update, figures, &rounding, second, NULL), PF_OK);
    size_t differing = 0;
    for (size_t i = 0; i < pf_ring_length(first); i++)
        differing += pf_ring_get(first, i) != pf_ring_get(second, i);
    assert_true(differing > n_update / 10);
}

/* No numbers are used twice within an update: of equal coordinates, those 1 … 4096 places apart
 * are rounded differently about as often as chance has it. */
static void test_coordinates_are_rounded_independently(void **state)
{
    (void)state;
    enum { LONG = 8192 };
    struct pf_codec_config config = make_config(8, 1, false);
    config.length[0] = LONG;
    PF_CLEANUP(pf_codec_destroyp) struct pf_codec *codec = make_codec(&config);
    PF_CLEANUP(pf_ring_destroyp) struct pf_ring *ring = make_ring(codec, &config);
    PF_CLEANUP(pf_freep) float *update = PF_ALLOC(LONG + STATISTICS, float);
    assert_non_null(update);
    for (size_t i = 0; i < LONG; i++) update[i] = (float)(.5 * step_of(&config, 0));
    encode(codec, update, 100, 1, ring);
    for (size_t apart = 1; apart <= LONG / 2; apart *= 2) {
        size_t differing = 0;
        for (size_t i = 0; i < LONG / 2; i++)
            differing += pf_ring_get(ring, FIGURES + i) != pf_ring_get(ring, FIGURES + i + apart);
        assert_in_range(differing, 2048 - 5 * 32, 2048 + 5 * 32); /* five standard deviations */
    }
}

static double decoded_error(bool rotate)
{
    enum { LONG = 20000 };
    struct pf_codec_config config = make_config(8, 1, rotate);
    config.length[0] = LONG;
    config.length[1] = 0;
    PF_CLEANUP(pf_codec_destroyp) struct pf_codec *codec = make_codec(&config);
    PF_CLEANUP(pf_ring_destroyp) struct pf_ring *ring = make_ring(codec, &config);
    PF_CLEANUP(pf_freep) float *update = PF_ALLOC(LONG, float);
    PF_CLEANUP(pf_freep) float *mean = PF_ALLOC(LONG, float);
    assert_true(update != NULL && mean != NULL);
    draw_update(1, &config, .1, update);
    for (size_t i = 0; i < LONG; i += 100) update[i] *= 50;
    double norm = norm_of(update, LONG);
    for (size_t i = 0; i < LONG; i++) update[i] = (float)(update[i] * (config.clip[0] / norm));
    encode(codec, update, 100, 1, ring);
    uint64_t figures[PF_FIGURE_N];
    assert_int_equal(pf_codec_decode(codec, ring, 1, mean, figures, NULL), PF_OK);
    for (size_t i = 0; i < LONG; i++) mean[i] -= update[i];
    return norm_of(mean, LONG) / config.clip[0];
}

static void test_rotation_helps_heavy_tails(void **state)
{
    (void)state;
    assert_true(decoded_error(true) < .06);
    assert_true(decoded_error(false) > 5 * decoded_error(true));
}

static void test_seeds_and_segments_have_rotations_of_their_own(void **state)
{
    (void)state;
    struct pf_codec_config config = make_config(16, 1, true);
    config.length[0] = config.length[1] = 64;
    config.clip[1] = config.clip[0];
    PF_CLEANUP(pf_codec_destroyp) struct pf_codec *codec = make_codec(&config);
    config.seed[31] ^= 1;
    PF_CLEANUP(pf_codec_destroyp) struct pf_codec *other = make_codec(&config);
    PF_CLEANUP(pf_ring_destroyp) struct pf_ring *ring = make_ring(codec, &config);
    PF_CLEANUP(pf_ring_destroyp) struct pf_ring *rotated = make_ring(codec, &config);
    float update[128];
    draw_update(0, &config, .9, update);
    memcpy(update + 64, update, 64 * sizeof *update);
    encode(codec, update, 100, 1, ring);
    encode(other, update, 100, 1, rotated);
    size_t equal_segments = 0, equal_seeds = 0;
    for (size_t i = 0; i < 64; i++) {
        int64_t q = pf_ring_get_signed(ring, FIGURES + i);
        equal_segments += llabs(q - pf_ring_get_signed(ring, FIGURES + 64 + i)) <= 1;
        equal_seeds += llabs(q - pf_ring_get_signed(rotated, FIGURES + i)) <= 1;
    }
    assert_true(equal_segments < 8);
    assert_true(equal_seeds < 8);
}

static void test_ring_length(void **state)
{
    (void)state;
    for (int rotate = 0; rotate < 2; rotate++) {
        struct pf_codec_config config = make_config(16, 10, rotate);
        PF_CLEANUP(pf_codec_destroyp) struct pf_codec *codec = make_codec(&config);
        assert_int_equal(pf_codec_ring_length(codec), FIGURES + n_update);
        assert_int_equal(pf_codec_ring_length_of(config.length, rotate), FIGURES + n_update);
        const size_t huge[PF_CODEC_SEGMENTS] = {SIZE_MAX / 2, SIZE_MAX / 2};
        assert_int_equal(pf_codec_ring_length_of(huge, rotate), 0);
    }
}

static void test_empty_segments_carry_figures_alone(void **state)
{
    (void)state;
    struct pf_codec_config config = make_config(16, 3, true);
    config.length[0] = config.length[1] = 0;
    PF_CLEANUP(pf_codec_destroyp) struct pf_codec *codec = make_codec(&config);
    PF_CLEANUP(pf_ring_destroyp) struct pf_ring *ring = make_ring(codec, &config);
    float none = 0;
    encode(codec, &none, 70, 1, ring);
    uint64_t figures[PF_FIGURE_N];
    assert_int_equal(pf_codec_decode(codec, ring, 1, &none, figures, NULL), PF_OK);
    assert_int_equal(figures[PF_FIGURE_EXAMPLES], 70);
    assert_int_equal(figures[PF_FIGURE_EVALUATED], 9);
    assert_int_equal(figures[PF_FIGURE_CORRECT], 4);
}

static void assert_config_refused(const struct pf_codec_config *config, const char *says)
{
    struct pf_codec *codec = NULL;
    struct pf_error err = {0};
    assert_int_equal(pf_codec_create(config, &codec, &err), PF_INVALID);
    assert_null(codec);
    if (strstr(err.text, says) == NULL) fail_msg("'%s' lacks '%s'", err.text, says);
}

static void test_a_modulus_that_could_wrap_is_refused(void **state)
{
    (void)state;
    struct pf_codec_config config = make_config(16, 500, true);
    config.modulus_bits = 20;
    assert_config_refused(&config, "500 participants × 32767 need 25 bits, the modulus has 20");
    for (uint32_t n = 1; n < 70; n++) {
        config = make_config(8, n, true);
        pf_codec_destroy(make_codec(&config));
        config.modulus_bits--;
        assert_config_refused(&config, "need");
    }
}

static void test_absurd_configurations_are_refused(void **state)
{
    (void)state;
    const double clips[] = {0, -1, NAN, INFINITY, 1e-31, 1e31};
    for (size_t i = 0; i < PF_ARRAY_LENGTH(clips); i++) {
        struct pf_codec_config config = make_config(16, 10, true);
        config.clip[i % 2] = clips[i];
        assert_config_refused(&config, "norm");
    }
    struct pf_codec_config config = make_config(16, 10, true);
    config.weight_cap = 0;
    assert_config_refused(&config, "cap of 0");
    config.weight_cap = PF_MAX_WEIGHT_CAP + 1;
    assert_config_refused(&config, "cap of 16777217");
    config = make_config(7, 10, true);
    assert_config_refused(&config, "7 bits");
    config = make_config(33, 10, true);
    assert_config_refused(&config, "33 bits");
    config = make_config(16, 10, true);
    config.n_participants = 0;
    assert_config_refused(&config, "0 participants");
    config = make_config(16, 10, true);
    config.modulus_bits = 65;
    assert_config_refused(&config, "65 bits");
    config = make_config(16, 10, true);
    config.length[0] = SIZE_MAX;
    assert_config_refused(&config, "overflow");
    config.length[0] = SIZE_MAX / 4;
    assert_config_refused(&config, "overflow");
}

static void test_updates_that_cannot_be_are_refused(void **state)
{
    (void)state;
    const float bad[] = {NAN, INFINITY, -INFINITY};
    struct pf_codec_config config = make_config(16, 10, true);
    PF_CLEANUP(pf_codec_destroyp) struct pf_codec *codec = make_codec(&config);
    PF_CLEANUP(pf_ring_destroyp) struct pf_ring *ring = make_ring(codec, &config);
    float update[TRAINED + STATISTICS] = {0};
    uint64_t figures[PF_FIGURE_N] = {[PF_FIGURE_EXAMPLES] = 1};
    struct pf_random rounding = stream(0);
    for (size_t i = 0; i < n_update; i += 46) { /* 736 is the last */
        struct pf_error err = {0};
        update[i] = bad[i % 3];
        assert_int_equal(pf_codec_encode(codec, update, figures, &rounding, ring, &err),
                         PF_INVALID);
        assert_non_null(strstr(err.text, i < TRAINED ? "segment 0" : "segment 1"));
        update[i] = 0;
    }
    assert_int_equal(pf_codec_encode(codec, update, figures, &rounding, ring, NULL), PF_OK);
    figures[PF_FIGURE_EXAMPLES] = 0;
    assert_int_equal(pf_codec_encode(codec, update, figures, &rounding, ring, NULL), PF_INVALID);
    figures[PF_FIGURE_EXAMPLES] = 1;
    for (size_t f = PF_FIGURE_EVALUATED; f <= PF_FIGURE_CORRECT; f++) {
        figures[f] = (uint64_t)1 << 32;
        assert_int_equal(pf_codec_encode(codec, update, figures, &rounding, ring, NULL),
                         PF_INVALID);
        figures[f] = 0;
    }
}

static void assert_sum_refused(const struct pf_codec *codec, const struct pf_ring *sum, uint32_t n,
                               enum pf_status status)
{
    float mean[TRAINED + STATISTICS];
    uint64_t figures[PF_FIGURE_N];
    memset(mean, 0x55, sizeof mean);
    memset(figures, 0x55, sizeof figures);
    assert_int_equal(pf_codec_decode(codec, sum, n, mean, figures, NULL), status);
    for (size_t i = 0; i < sizeof mean; i++)
        assert_int_equal(((const uint8_t *)mean)[i], 0x55); /* outputs only on success */
    for (size_t f = 0; f < PF_FIGURE_N; f++) assert_true(figures[f] == 0x5555555555555555);
}

/* Coordinate i of an honest sum of three, replaced. */
static void assert_replacement_refused(size_t i, int64_t value)
{
    struct pf_codec_config config = make_config(12, 6, true);
    PF_CLEANUP(pf_codec_destroyp) struct pf_codec *codec = make_codec(&config);
    PF_CLEANUP(pf_ring_destroyp) struct pf_ring *sum = make_ring(codec, &config);
    PF_CLEANUP(pf_ring_destroyp) struct pf_ring *ring = make_ring(codec, &config);
    float update[TRAINED + STATISTICS] = {0};
    for (uint64_t p = 0; p < 3; p++) {
        encode(codec, update, 20, p, ring);
        add_ring(sum, ring);
    }
    pf_ring_set(sum, i, value);
    assert_sum_refused(codec, sum, 3, PF_CORRUPT);
}

static void test_sums_that_cannot_be_honest_are_refused(void **state)
{
    (void)state;
    assert_replacement_refused(0, 0);   /* no examples */
    assert_replacement_refused(0, 2);   /* fewer than participants */
    assert_replacement_refused(0, 301); /* more than three caps */
    for (size_t i = 0; i < FIGURES; i++) {
        assert_replacement_refused(i, 3 * 255 + 1);
        assert_replacement_refused(i, -1);
    }
    assert_replacement_refused(FIGURES, 3 * 2047 + 1);
    assert_replacement_refused(FIGURES + n_update - 1, -3 * 2047 - 1);
}

static void test_sums_of_too_many_are_refused(void **state)
{
    (void)state;
    struct pf_codec_config config = make_config(16, 3, true);
    PF_CLEANUP(pf_codec_destroyp) struct pf_codec *codec = make_codec(&config);
    PF_CLEANUP(pf_ring_destroyp) struct pf_ring *ring = make_ring(codec, &config);
    float update[TRAINED + STATISTICS] = {0};
    encode(codec, update, 20, 1, ring);
    assert_sum_refused(codec, ring, 0, PF_INVALID);
    assert_sum_refused(codec, ring, 4, PF_INVALID);
}

static void test_figure_names(void **state)
{
    (void)state;
    assert_string_equal(pf_figure_name(PF_FIGURE_EXAMPLES), "examples");
    assert_string_equal(pf_figure_name(PF_FIGURE_SATURATED), "saturated");
    assert_string_equal(pf_figure_name(PF_FIGURE_N), "unknown");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_update_comes_back_within_a_step),
        cmocka_unit_test(test_sums_decode_to_the_weighted_mean),
        cmocka_unit_test(test_rounding_is_unbiased),
        cmocka_unit_test(test_zero_and_whole_steps_are_exact),
        cmocka_unit_test(test_figures_are_exact),
        cmocka_unit_test(test_updates_are_clipped_to_the_norm_of_their_segment),
        cmocka_unit_test(test_huge_norms_are_reported_as_the_most),
        cmocka_unit_test(test_extreme_updates_never_wrap),
        cmocka_unit_test(test_the_last_rounding_is_clamped_too),
        cmocka_unit_test(test_a_rounding_stream_decides_the_encoding),
        cmocka_unit_test(test_a_stream_moves_on),
        cmocka_unit_test(test_coordinates_are_rounded_independently),
        cmocka_unit_test(test_rotation_helps_heavy_tails),
        cmocka_unit_test(test_seeds_and_segments_have_rotations_of_their_own),
        cmocka_unit_test(test_ring_length),
        cmocka_unit_test(test_empty_segments_carry_figures_alone),
        cmocka_unit_test(test_a_modulus_that_could_wrap_is_refused),
        cmocka_unit_test(test_absurd_configurations_are_refused),
        cmocka_unit_test(test_updates_that_cannot_be_are_refused),
        cmocka_unit_test(test_sums_that_cannot_be_honest_are_refused),
        cmocka_unit_test(test_sums_of_too_many_are_refused),
        cmocka_unit_test(test_figure_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
