/* The two loops that peaks.c times, one pair per instruction set. */
#ifndef PF_BENCH_PEAK_KERNELS_H
#define PF_BENCH_PEAK_KERNELS_H

#include <stddef.h>

struct pf_peak_kernels {
    const char *name; /* as in struct pf_kernels */
    /* Floating-point operations of n rounds of fused multiply-adds in registers. */
    double (*multiply_add)(size_t n, float *sink);
    /* Reads values[n], n a multiple of 64, aligned to 64 bytes. */
    void (*read)(const float *values, size_t n, float *sink);
};

#endif
