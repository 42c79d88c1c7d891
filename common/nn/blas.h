/* OpenBLAS on its best kernels and on one thread.
 *
 * OpenBLAS 0.3.21 goes by the processor's model and takes those it does not know for something
 * old: a Xeon of 2023 gets SSE3 kernels, a quarter as fast as AVX-512 ones.  It reads
 * OPENBLAS_CORETYPE when the library loads, so a program must set it, by what CPUID offers, and
 * start itself anew.  Parallelism is ours (common/base/pool.h): every product runs on the thread
 * that calls it. */
#ifndef PF_COMMON_NN_BLAS_H
#define PF_COMMON_NN_BLAS_H

/* Call first in main, before threads and output.  Sets OPENBLAS_NUM_THREADS=1 and
 * OPENBLAS_CORETYPE=SKYLAKEX (with AVX-512) or HASWELL (with AVX2), each only if the user has not,
 * and executes /proc/self/exe again with `argv` when that changed anything.  A marker in the
 * environment makes sure that this happens once; where it cannot be done the program goes on as it
 * is. */
void pf_blas_prepare(char **argv);

/* For libraries: one thread per product from here on, whatever the environment says. */
void pf_blas_single_threaded(void);

/* The kernels OpenBLAS chose ("SkylakeX"), for benchmarks. */
const char *pf_blas_kernels(void);

#endif
