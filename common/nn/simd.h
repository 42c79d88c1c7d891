/* The little vector arithmetic the kernels need, at the width of whatever instruction set this
 * translation unit is compiled for: AVX-512, AVX2 with FMA and F16C, or four floats of any machine.
 *
 * Private to kernels_simd.c and to the benchmarks that measure peaks, which are compiled once per
 * width. */
#ifndef PF_COMMON_NN_SIMD_H
#define PF_COMMON_NN_SIMD_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__AVX512F__)
#include <immintrin.h>

#define LANES 16u
#define VECTORS_PER_BLOCK 4u /* 4 rows × 4 vectors of accumulators: 16 of 32 registers */
typedef __m512 vec;
typedef __mmask16 lanes; /* a choice of them */

static inline vec v_load(const float *p)
{
    return _mm512_loadu_ps(p);
}
static inline void v_store(float *p, vec a)
{
    _mm512_storeu_ps(p, a);
}
/* Past the caches; p aligned to the vector.  v_stream_end before another thread may look. */
static inline void v_stream(float *p, vec a)
{
    _mm512_stream_ps(p, a);
}
static inline void v_stream_end(void)
{
    _mm_sfence();
}
static inline vec v_load_half(const uint16_t *p)
{
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p));
}
static inline void v_store_half(uint16_t *p, vec a)
{
    _mm256_storeu_si256((__m256i *)p, _mm512_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT));
}
static inline void v_stream_half(uint16_t *p, vec a)
{
    _mm256_stream_si256((__m256i *)p, _mm512_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT));
}
static inline vec v_set1(float a)
{
    return _mm512_set1_ps(a);
}
/* Of the float with these bits: from a general register, which keeps the load units free. */
static inline vec v_set1_bits(uint32_t bits)
{
    return _mm512_castsi512_ps(_mm512_set1_epi32((int32_t)bits));
}
static inline vec v_add(vec a, vec b)
{
    return _mm512_add_ps(a, b);
}
static inline vec v_sub(vec a, vec b)
{
    return _mm512_sub_ps(a, b);
}
static inline vec v_fma(vec a, vec b, vec c)
{
    return _mm512_fmadd_ps(a, b, c);
}
static inline lanes v_lanes(unsigned bits)
{
    return (lanes)bits;
}
/* Zero in the other lanes. */
static inline vec v_keep(vec a, lanes chosen)
{
    return _mm512_maskz_mov_ps(chosen, a);
}
static inline vec v_load_keep(const float *p, lanes chosen)
{
    return _mm512_maskz_loadu_ps(chosen, p);
}
/* min(max(a, 0), high), high > 0, as integers: they are ordered like floats that are not negative,
 * negative ones have their sign bit set, and processors have more units for integers. */
static inline vec v_clamp(vec a, vec high)
{
    __m512i b = _mm512_max_epi32(_mm512_castps_si512(a), _mm512_setzero_si512());
    return _mm512_castsi512_ps(_mm512_min_epi32(b, _mm512_castps_si512(high)));
}
static inline vec v_clamp_keep(vec a, vec high, lanes chosen)
{
    __m512i b = _mm512_max_epi32(_mm512_castps_si512(a), _mm512_setzero_si512());
    return _mm512_castsi512_ps(_mm512_maskz_min_epi32(chosen, b, _mm512_castps_si512(high)));
}
/* Those of the chosen lanes with 0 < a < high.  As integers again, without sign: one less than 0 is
 * then the largest, and what is negative or no number is above what is not. */
static inline lanes v_inside(lanes chosen, vec a, vec high)
{
    const __m512i one = _mm512_set1_epi32(1);
    return _mm512_mask_cmplt_epu32_mask(chosen, _mm512_sub_epi32(_mm512_castps_si512(a), one),
                                        _mm512_sub_epi32(_mm512_castps_si512(high), one));
}
static inline vec v_gather(const float *base, const int32_t *index)
{
    return _mm512_i32gather_ps(_mm512_loadu_si512(index), base, 4);
}
/* Reads the half behind each as well. */
static inline vec v_gather_half(const uint16_t *base, const int32_t *index)
{
    __m512i pairs = _mm512_i32gather_epi32(_mm512_loadu_si512(index), base, 2);
    return _mm512_cvtph_ps(_mm512_cvtepi32_epi16(pairs));
}
static inline float v_sum(vec a)
{
    return _mm512_reduce_add_ps(a);
}
/* Every second number from a and from b: 8 of each. */
static inline vec v_load_second(const float *a, const float *b)
{
    const __m512i even =
        _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    return _mm512_permutex2var_ps(_mm512_loadu_ps(a), even, _mm512_loadu_ps(b));
}
static inline vec v_load_second_half(const uint16_t *a, const uint16_t *b)
{
    __m512i pairs =
        _mm512_inserti64x4(_mm512_castsi256_si512(_mm256_loadu_si256((const __m256i *)a)),
                           _mm256_loadu_si256((const __m256i *)b), 1);
    return _mm512_cvtph_ps(_mm512_cvtepi32_epi16(pairs));
}
/* Every number twice: 8 of them. */
static inline vec v_load_twice(const float *p)
{
    const __m512i twice = _mm512_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7);
    return _mm512_permutexvar_ps(twice, _mm512_castps256_ps512(_mm256_loadu_ps(p)));
}
/* A vector whose lanes i, i + 4, … add up to the sum of a[i], of 4 vectors. */
static inline vec v_sum_quad(const vec *a)
{
    __m512d low = _mm512_castps_pd(
        _mm512_add_ps(_mm512_unpacklo_ps(a[0], a[1]), _mm512_unpackhi_ps(a[0], a[1])));
    __m512d high = _mm512_castps_pd(
        _mm512_add_ps(_mm512_unpacklo_ps(a[2], a[3]), _mm512_unpackhi_ps(a[2], a[3])));
    return _mm512_add_ps(_mm512_castpd_ps(_mm512_unpacklo_pd(low, high)),
                         _mm512_castpd_ps(_mm512_unpackhi_pd(low, high)));
}
/* out[16] ← the sums of 16 vectors; halving with transposes costs a third of 16 sums. */
static inline void v_sums(float *out, const vec *a)
{
    vec quarter[4], half[2];
    for (unsigned i = 0; i < 4; i++) quarter[i] = v_sum_quad(a + 4 * i);
    for (unsigned i = 0; i < 2; i++)
        half[i] = _mm512_add_ps(_mm512_shuffle_f32x4(quarter[2 * i], quarter[2 * i + 1], 0x88),
                                _mm512_shuffle_f32x4(quarter[2 * i], quarter[2 * i + 1], 0xdd));
    v_store(out, _mm512_add_ps(_mm512_shuffle_f32x4(half[0], half[1], 0x88),
                               _mm512_shuffle_f32x4(half[0], half[1], 0xdd)));
}

#elif defined(__AVX2__) && defined(__FMA__) && defined(__F16C__)
#include <immintrin.h>

#define LANES 8u
#define VECTORS_PER_BLOCK 2u /* 4 rows × 2 vectors: 8 of 16 registers */
typedef __m256 vec;
typedef __m256 lanes; /* all bits of a chosen one */

static inline vec v_load(const float *p)
{
    return _mm256_loadu_ps(p);
}
static inline void v_store(float *p, vec a)
{
    _mm256_storeu_ps(p, a);
}
static inline void v_stream(float *p, vec a)
{
    _mm256_stream_ps(p, a);
}
static inline void v_stream_end(void)
{
    _mm_sfence();
}
static inline vec v_load_half(const uint16_t *p)
{
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p));
}
static inline void v_store_half(uint16_t *p, vec a)
{
    _mm_storeu_si128((__m128i *)p, _mm256_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT));
}
static inline void v_stream_half(uint16_t *p, vec a)
{
    _mm_stream_si128((__m128i *)p, _mm256_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT));
}
static inline vec v_set1(float a)
{
    return _mm256_set1_ps(a);
}
static inline vec v_set1_bits(uint32_t bits)
{
    return _mm256_castsi256_ps(_mm256_set1_epi32((int32_t)bits));
}
static inline vec v_add(vec a, vec b)
{
    return _mm256_add_ps(a, b);
}
static inline vec v_sub(vec a, vec b)
{
    return _mm256_sub_ps(a, b);
}
static inline vec v_fma(vec a, vec b, vec c)
{
    return _mm256_fmadd_ps(a, b, c);
}
static inline lanes v_lanes(unsigned bits)
{
    const __m256i lane = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
    __m256i chosen = _mm256_and_si256(_mm256_set1_epi32((int)bits), lane);
    return _mm256_castsi256_ps(_mm256_cmpeq_epi32(chosen, lane));
}
static inline vec v_keep(vec a, lanes chosen)
{
    return _mm256_and_ps(a, chosen);
}
static inline vec v_load_keep(const float *p, lanes chosen)
{
    return v_keep(v_load(p), chosen);
}
static inline vec v_clamp(vec a, vec high)
{
    __m256i b = _mm256_max_epi32(_mm256_castps_si256(a), _mm256_setzero_si256());
    return _mm256_castsi256_ps(_mm256_min_epi32(b, _mm256_castps_si256(high)));
}
static inline lanes v_inside(lanes chosen, vec a, vec high)
{
    __m256 above = _mm256_cmp_ps(a, _mm256_setzero_ps(), _CMP_GT_OQ);
    return _mm256_and_ps(_mm256_and_ps(chosen, above), _mm256_cmp_ps(a, high, _CMP_LT_OQ));
}
static inline vec v_gather(const float *base, const int32_t *index)
{
    return _mm256_i32gather_ps(base, _mm256_loadu_si256((const __m256i *)index), 4);
}
/* The first halves of 8 pairs. */
static inline vec v_first_halves(__m256i pairs)
{
    __m256i halves = _mm256_and_si256(pairs, _mm256_set1_epi32(0xffff));
    halves = _mm256_permute4x64_epi64(_mm256_packus_epi32(halves, halves), 0x08);
    return _mm256_cvtph_ps(_mm256_castsi256_si128(halves));
}
/* Reads the half behind each as well. */
static inline vec v_gather_half(const uint16_t *base, const int32_t *index)
{
    return v_first_halves(
        _mm256_i32gather_epi32((const int *)base, _mm256_loadu_si256((const __m256i *)index), 2));
}
/* Every second number from a: 8 of them, b is of no use. */
static inline vec v_load_second(const float *a, const float *b)
{
    (void)b;
    __m256 even = _mm256_shuffle_ps(_mm256_loadu_ps(a), _mm256_loadu_ps(a + 8), 0x88);
    return _mm256_castpd_ps(_mm256_permute4x64_pd(_mm256_castps_pd(even), 0xd8));
}
static inline vec v_load_second_half(const uint16_t *a, const uint16_t *b)
{
    (void)b;
    return v_first_halves(_mm256_loadu_si256((const __m256i *)a));
}
static inline vec v_load_twice(const float *p)
{
    const __m256i twice = _mm256_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3);
    return _mm256_permutevar8x32_ps(_mm256_castps128_ps256(_mm_loadu_ps(p)), twice);
}
static inline float v_sum(vec a)
{
    __m128 b = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    b = _mm_add_ps(b, _mm_movehl_ps(b, b));
    return _mm_cvtss_f32(_mm_add_ss(b, _mm_movehdup_ps(b)));
}
/* A vector whose lanes i and i + 4 add up to the sum of a[i], of 4 vectors. */
static inline vec v_sum_quad(const vec *a)
{
    return _mm256_hadd_ps(_mm256_hadd_ps(a[0], a[1]), _mm256_hadd_ps(a[2], a[3]));
}
/* out[8] ← the sums of 8 vectors. */
static inline void v_sums(float *out, const vec *a)
{
    vec low = v_sum_quad(a), high = v_sum_quad(a + 4);
    v_store(out, _mm256_add_ps(_mm256_permute2f128_ps(low, high, 0x20),
                               _mm256_permute2f128_ps(low, high, 0x31)));
}

#else
#include "common/nn/half.h"

#define LANES 4u
#define VECTORS_PER_BLOCK 2u
typedef float vec __attribute__((vector_size(16)));
typedef int32_t ivec __attribute__((vector_size(16)));
typedef ivec lanes;

static inline vec v_load(const float *p)
{
    vec a;
    memcpy(&a, p, sizeof a);
    return a;
}
static inline void v_store(float *p, vec a)
{
    memcpy(p, &a, sizeof a);
}
static inline void v_stream(float *p, vec a)
{
    v_store(p, a);
}
static inline void v_stream_end(void) {}
static inline vec v_load_half(const uint16_t *p)
{
    return (vec){pf_float_of_half(p[0]), pf_float_of_half(p[1]), pf_float_of_half(p[2]),
                 pf_float_of_half(p[3])};
}
static inline void v_store_half(uint16_t *p, vec a)
{
    for (unsigned i = 0; i < 4; i++) p[i] = pf_half_of_float(a[i]);
}
static inline void v_stream_half(uint16_t *p, vec a)
{
    v_store_half(p, a);
}
static inline vec v_set1(float a)
{
    return (vec){a, a, a, a};
}
static inline vec v_set1_bits(uint32_t bits)
{
    return v_set1(pf_float_of_bits(bits));
}
static inline vec v_add(vec a, vec b)
{
    return a + b;
}
static inline vec v_sub(vec a, vec b)
{
    return a - b;
}
static inline vec v_fma(vec a, vec b, vec c)
{
    return a * b + c;
}
static inline lanes v_lanes(unsigned bits)
{
    const ivec lane = {1, 2, 4, 8};
    int32_t b = (int32_t)bits;
    return (lanes)(((ivec){b, b, b, b} & lane) == lane);
}
static inline vec v_keep(vec a, lanes chosen)
{
    return (vec)((ivec)a & chosen);
}
static inline vec v_load_keep(const float *p, lanes chosen)
{
    return v_keep(v_load(p), chosen);
}
static inline vec v_clamp(vec a, vec high)
{
    ivec b = (ivec)a & (ivec)((ivec)a > (ivec){0, 0, 0, 0});
    ivec below = (ivec)(b < (ivec)high);
    return (vec)((below & b) | (~below & (ivec)high));
}
static inline lanes v_inside(lanes chosen, vec a, vec high)
{
    return chosen & (ivec)(a > (vec){0.0f, 0.0f, 0.0f, 0.0f}) & (ivec)(a < high);
}
static inline vec v_gather(const float *base, const int32_t *index)
{
    return (vec){base[index[0]], base[index[1]], base[index[2]], base[index[3]]};
}
static inline vec v_gather_half(const uint16_t *base, const int32_t *index)
{
    return (vec){pf_float_of_half(base[index[0]]), pf_float_of_half(base[index[1]]),
                 pf_float_of_half(base[index[2]]), pf_float_of_half(base[index[3]])};
}
static inline vec v_load_second(const float *a, const float *b)
{
    (void)b;
    return (vec){a[0], a[2], a[4], a[6]};
}
static inline vec v_load_second_half(const uint16_t *a, const uint16_t *b)
{
    (void)b;
    return (vec){pf_float_of_half(a[0]), pf_float_of_half(a[2]), pf_float_of_half(a[4]),
                 pf_float_of_half(a[6])};
}
static inline vec v_load_twice(const float *p)
{
    return (vec){p[0], p[0], p[1], p[1]};
}
static inline float v_sum(vec a)
{
    return (a[0] + a[2]) + (a[1] + a[3]);
}
/* The sums of 4 vectors. */
static inline vec v_sum_quad(const vec *a)
{
    return (vec){v_sum(a[0]), v_sum(a[1]), v_sum(a[2]), v_sum(a[3])};
}
/* out[4] ← the sums of 4 vectors. */
static inline void v_sums(float *out, const vec *a)
{
    v_store(out, v_sum_quad(a));
}

#endif

#if !defined(__AVX512F__)
static inline vec v_clamp_keep(vec a, vec high, lanes chosen)
{
    return v_keep(v_clamp(a, high), chosen);
}
#endif

static inline vec v_zero(void)
{
    return v_set1(0.0f);
}

#endif
