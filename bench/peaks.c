#include "bench/peaks.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/peak_kernels.h"
#include "common/base/clock.h"
#include "common/base/memory.h"
#include "common/nn/kernels.h"

#define RUNS 7u
#define ROUNDS 1500000u                /* of multiply-adds: some milliseconds */
#define READ_FLOATS ((size_t)32 << 20) /* per thread: beyond any last-level cache's share */
#define SINKS 256u

extern const struct pf_peak_kernels pf_peak_generic;
#ifdef PF_KERNELS_X86
extern const struct pf_peak_kernels pf_peak_avx2;
extern const struct pf_peak_kernels pf_peak_avx512;
#endif

struct job {
    const struct pf_peak_kernels *kernels;
    const float *values; /* [threads][READ_FLOATS] */
    double flops[SINKS];
    float sinks[SINKS][16]; /* a line each */
};

/* The instruction set that the kernels of training use. */
static const struct pf_peak_kernels *best(void)
{
#ifdef PF_KERNELS_X86
    const struct pf_peak_kernels *all[] = {&pf_peak_avx512, &pf_peak_avx2};
    for (size_t i = 0; i < PF_ARRAY_LENGTH(all); i++)
        if (strcmp(all[i]->name, pf_kernels_best()->name) == 0) return all[i];
#endif
    return &pf_peak_generic;
}

static void multiply_add_shard(void *context, size_t shard)
{
    struct job *job = context;
    job->flops[shard] = job->kernels->multiply_add(ROUNDS, job->sinks[shard]);
}

static void read_shard(void *context, size_t shard)
{
    struct job *job = context;
    job->kernels->read(job->values + shard * READ_FLOATS, READ_FLOATS, job->sinks[shard]);
}

/* Shortest of a few runs. */
static double seconds_of(struct pf_pool *pool, pf_shard_function *function, struct job *job)
{
    double shortest = 1e9;
    for (size_t i = 0; i < RUNS; i++) {
        double begin = pf_clock_seconds();
        pf_pool_run(pool, pf_pool_n_threads(pool), function, job);
        shortest = PF_MIN(shortest, pf_clock_seconds() - begin);
    }
    return shortest;
}

double pf_peak_gflops(struct pf_pool *pool)
{
    struct job job = {.kernels = best()};
    double flops = 0.0, seconds = seconds_of(pool, multiply_add_shard, &job);
    for (size_t i = 0; i < pf_pool_n_threads(pool); i++) flops += job.flops[i];
    return flops / seconds / 1e9;
}

double pf_peak_read_gbps(struct pf_pool *pool)
{
    size_t n = pf_pool_n_threads(pool) * READ_FLOATS;
    float *values = aligned_alloc(64, n * sizeof *values);
    if (values == NULL) {
        fprintf(stderr, "peaks: no memory for %zu MiB\n", n * sizeof *values >> 20);
        exit(1);
    }
    memset(values, 0, n * sizeof *values);
    struct job job = {.kernels = best(), .values = values};
    double seconds = seconds_of(pool, read_shard, &job);
    free(values);
    return (double)(n * sizeof *values) / seconds / 1e9;
}
