#include "common/nn/blas.h"

#include <cblas.h>
#include <stdbool.h>
#include <stdlib.h>
#include <unistd.h>

#define MARKER "PACKFED_BLAS_PREPARED"

/* The best kernels of OpenBLAS that this processor can run; NULL: let it choose. */
static const char *best_kernels(void)
{
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512cd") &&
        __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl"))
        return "SKYLAKEX";
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return "HASWELL";
#endif
    return NULL;
}

/* True when the variable was not there and now is. */
static bool set_default(const char *name, const char *value)
{
    return getenv(name) == NULL && setenv(name, value, 0) == 0;
}

void pf_blas_prepare(char **argv)
{
    if (getenv(MARKER) != NULL) {
        unsetenv(MARKER); /* children of this process decide for themselves */
        return;
    }
    bool changed = set_default("OPENBLAS_NUM_THREADS", "1");
    if (best_kernels() != NULL) changed |= set_default("OPENBLAS_CORETYPE", best_kernels());
    if (!changed || setenv(MARKER, "1", 1) != 0) return;
    execv("/proc/self/exe", argv);
    unsetenv(MARKER); /* no /proc: slower products, same results */
}

void pf_blas_single_threaded(void)
{
    openblas_set_num_threads(1);
}

const char *pf_blas_kernels(void)
{
    return openblas_get_corename();
}
