#include "common/combine/gain.h"

#ifdef __SSE2__
#include <emmintrin.h>
#endif

uint32_t pf_gain_ref(const int16_t *worth, const int16_t *largest, size_t n_rows)
{
    uint32_t sum = 0;
    for (size_t r = 0; r < n_rows; r++)
        if (worth[r] > largest[r]) sum += (uint32_t)(worth[r] - largest[r]);
    return sum;
}

#ifdef __SSE2__ /* the baseline of x86-64 has it */
uint32_t pf_gain(const int16_t *worth, const int16_t *largest, size_t n_rows)
{
    const __m128i ones = _mm_set1_epi16(1);
    __m128i sum = _mm_setzero_si128();
    for (size_t r = 0; r < n_rows; r += PF_GAIN_ROWS) {
        __m128i w = _mm_loadu_si128((const __m128i *)(const void *)(worth + r));
        __m128i l = _mm_loadu_si128((const __m128i *)(const void *)(largest + r));
        /* Neither is negative, so the unsigned difference that stops at 0 is the one meant. */
        sum = _mm_add_epi32(sum, _mm_madd_epi16(_mm_subs_epu16(w, l), ones));
    }
    sum = _mm_add_epi32(sum, _mm_shuffle_epi32(sum, 0x4e));
    sum = _mm_add_epi32(sum, _mm_shuffle_epi32(sum, 0xb1));
    return (uint32_t)_mm_cvtsi128_si32(sum);
}
#else
uint32_t pf_gain(const int16_t *worth, const int16_t *largest, size_t n_rows)
{
    return pf_gain_ref(worth, largest, n_rows);
}
#endif
