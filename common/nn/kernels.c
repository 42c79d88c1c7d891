#include "common/nn/kernels.h"

#ifdef PF_KERNELS_X86
#include <cpuid.h>
#include <stdatomic.h>
#endif

extern const struct pf_kernels pf_kernels_generic;
#ifdef PF_KERNELS_X86
extern const struct pf_kernels pf_kernels_avx2;
extern const struct pf_kernels pf_kernels_avx512;

/* clang 14 does not know it by name.  Asked once: in a virtual machine CPUID takes microseconds. */
static bool has_f16c(void)
{
    static atomic_int known; /* 0: not yet; 1: no; 2: yes */
    int answer = atomic_load_explicit(&known, memory_order_relaxed);
    if (answer == 0) {
        unsigned a, b, c, d;
        answer = __get_cpuid(1, &a, &b, &c, &d) != 0 && (c & bit_F16C) != 0 ? 2 : 1;
        atomic_store_explicit(&known, answer, memory_order_relaxed);
    }
    return answer == 2;
}
#endif

size_t pf_kernels_list(const struct pf_kernels **tables, size_t capacity)
{
    const struct pf_kernels *all[4] = {&pf_kernels_reference, &pf_kernels_generic};
    size_t n = 2;
#ifdef PF_KERNELS_X86
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c())
        all[n++] = &pf_kernels_avx2;
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl"))
        all[n++] = &pf_kernels_avx512;
#endif
    if (n > capacity) n = capacity;
    for (size_t i = 0; i < n; i++) tables[i] = all[i];
    return n;
}

const struct pf_kernels *pf_kernels_best(void)
{
    const struct pf_kernels *tables[4];
    size_t n = pf_kernels_list(tables, 4);
    return tables[n - 1];
}
