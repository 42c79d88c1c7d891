/* Compiled once per instruction set, like common/nn/kernels_simd.c. */
#include "bench/peak_kernels.h"

#include "common/nn/simd.h"

extern const struct pf_peak_kernels PF_PEAK_TABLE;

/* Independent sums: more than two units of latency four or five can have under way. */
#define SUMS 12u
#define READ_STEP 64u /* floats */

static double multiply_add(size_t n, float *sink)
{
    vec sums[SUMS];
    const vec factor = v_set1(0.999f), term = v_set1(0.01f);
    for (size_t j = 0; j < SUMS; j++) sums[j] = v_set1((float)j);
    for (size_t i = 0; i < n; i++)
        _Pragma("GCC unroll 12") for (size_t j = 0; j < SUMS; j++) sums[j] =
            v_fma(sums[j], factor, term);
    for (size_t j = 0; j < SUMS; j++) *sink += v_sum(sums[j]);
    return 2.0 * (double)LANES * (double)SUMS * (double)n;
}

static void read(const float *values, size_t n, float *sink)
{
    vec sums[READ_STEP / LANES];
    for (size_t j = 0; j < READ_STEP / LANES; j++) sums[j] = v_zero();
    for (size_t i = 0; i < n; i += READ_STEP)
        _Pragma("GCC unroll 16") for (size_t j = 0; j < READ_STEP / LANES; j++) sums[j] =
            v_add(sums[j], v_load(values + i + j * LANES));
    for (size_t j = 0; j < READ_STEP / LANES; j++) *sink += v_sum(sums[j]);
}

const struct pf_peak_kernels PF_PEAK_TABLE = {PF_KERNELS_NAME, multiply_add, read};
