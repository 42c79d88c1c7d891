/* What this machine can do, measured in the same run as what is compared with it. */
#ifndef PF_BENCH_PEAKS_H
#define PF_BENCH_PEAKS_H

#include <stddef.h>

#include "common/base/pool.h"

/* GFLOP/s of fused multiply-adds in single precision, operands in registers, on all threads of the
 * pool at the widest instruction set; best of a few. */
double pf_peak_gflops(struct pf_pool *pool);

/* GB/s that all threads of the pool together read from memory beyond the caches; best of a few. */
double pf_peak_read_gbps(struct pf_pool *pool);

#endif
