/* OpenBLAS on its best kernels and on one thread.
 *
 * OpenBLAS 0.3.21 does not know newer AMD processors and falls back to AVX2 kernels on machines
 * with AVX-512.  It reads OPENBLAS_CORETYPE when the library loads, so a program must set it and
 * start itself anew.  Parallelism is ours (common/base/pool.h): every product runs on the thread
 * that calls it. */
#ifndef PF_COMMON_NN_BLAS_H
#define PF_COMMON_NN_BLAS_H

/* Call first in main, before threads and output.  Sets OPENBLAS_NUM_THREADS=1 and, where CPUID
 * shows AVX-512, OPENBLAS_CORETYPE=SKYLAKEX — each only if the user has not set it — and executes
 * /proc/self/exe again with `argv` when that changed anything.  A marker in the environment makes
 * sure that this happens once; where it cannot be done the program goes on as it is. */
void pf_blas_prepare(char **argv);

/* For libraries: one thread per product from here on, whatever the environment says. */
void pf_blas_single_threaded(void);

/* The kernels OpenBLAS chose ("SkylakeX"), for benchmarks. */
const char *pf_blas_kernels(void);

#endif
