#include "sim/array/kernel.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

/* |w·x| ≤ 255·255 < 2^16, two of them < 2^17; the running sum wraps on purpose. */
void pf_array_kernel_ref(int32_t *acc, const uint32_t *x, const uint32_t *pair,
                         const uint32_t *weights, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const uint32_t *from = x + (size_t)pair[i] * PF_ARRAY_PANEL;
        int32_t low = (int16_t)(weights[i] & 0xffffu), high = (int16_t)(weights[i] >> 16);
        for (size_t p = 0; p < PF_ARRAY_PANEL; p++) {
            int32_t products = low * (int32_t)(from[p] & 0xffffu) + high * (int32_t)(from[p] >> 16);
            acc[p] = (int32_t)((uint32_t)acc[p] + (uint32_t)products);
        }
    }
}

#if defined(__x86_64__)

__attribute__((target("avx512bw"))) static void kernel_avx512(int32_t *acc, const uint32_t *x,
                                                              const uint32_t *pair,
                                                              const uint32_t *weights, size_t n)
{
    __m512i a0 = _mm512_loadu_si512(acc), a1 = _mm512_loadu_si512(acc + 16);
    __m512i a2 = _mm512_loadu_si512(acc + 32), a3 = _mm512_loadu_si512(acc + 48);
    for (size_t i = 0; i < n; i++) {
        const uint32_t *from = x + (size_t)pair[i] * PF_ARRAY_PANEL;
        __m512i w = _mm512_set1_epi32((int32_t)weights[i]);
        a0 = _mm512_add_epi32(a0, _mm512_madd_epi16(w, _mm512_load_si512(from)));
        a1 = _mm512_add_epi32(a1, _mm512_madd_epi16(w, _mm512_load_si512(from + 16)));
        a2 = _mm512_add_epi32(a2, _mm512_madd_epi16(w, _mm512_load_si512(from + 32)));
        a3 = _mm512_add_epi32(a3, _mm512_madd_epi16(w, _mm512_load_si512(from + 48)));
    }
    _mm512_storeu_si512(acc, a0);
    _mm512_storeu_si512(acc + 16, a1);
    _mm512_storeu_si512(acc + 32, a2);
    _mm512_storeu_si512(acc + 48, a3);
}

__attribute__((target("avx2"))) static void kernel_avx2(int32_t *acc, const uint32_t *x,
                                                        const uint32_t *pair,
                                                        const uint32_t *weights, size_t n)
{
    __m256i a[PF_ARRAY_PANEL / 8];
    for (size_t j = 0; j < PF_ARRAY_PANEL / 8; j++)
        a[j] = _mm256_loadu_si256((const __m256i *)(const void *)(acc + 8 * j));
    for (size_t i = 0; i < n; i++) {
        const uint32_t *from = x + (size_t)pair[i] * PF_ARRAY_PANEL;
        __m256i w = _mm256_set1_epi32((int32_t)weights[i]);
        for (size_t j = 0; j < PF_ARRAY_PANEL / 8; j++) {
            __m256i in = _mm256_load_si256((const __m256i *)(const void *)(from + 8 * j));
            a[j] = _mm256_add_epi32(a[j], _mm256_madd_epi16(w, in));
        }
    }
    for (size_t j = 0; j < PF_ARRAY_PANEL / 8; j++)
        _mm256_storeu_si256((__m256i *)(void *)(acc + 8 * j), a[j]);
}

size_t pf_array_kernel_list(pf_array_kernel *kernels[3])
{
    size_t n = 0;
    kernels[n++] = pf_array_kernel_ref;
    if (__builtin_cpu_supports("avx2")) kernels[n++] = kernel_avx2;
    if (__builtin_cpu_supports("avx512bw")) kernels[n++] = kernel_avx512;
    return n;
}

#else

size_t pf_array_kernel_list(pf_array_kernel *kernels[3])
{
    kernels[0] = pf_array_kernel_ref;
    return 1;
}

#endif

pf_array_kernel *pf_array_kernel_select(void)
{
    pf_array_kernel *kernels[3];
    return kernels[pf_array_kernel_list(kernels) - 1];
}
