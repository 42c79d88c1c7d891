/* Secure aggregation beside its floors; one JSON line per measurement.
 *
 * Masks: 500 terms of 100,000 coordinates are what one participant among 501 adds to its vector,
 * and what the coordinator takes off for one dropout among as many.  The floor is the time that
 * libcrypto, which makes the masks (common/secagg/keystream.h), needs for as many bytes of
 * keystream in pieces as long as theirs, to do nothing with them. */
#include <sodium.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/memory.h"
#include "common/base/random.h"
#include "common/secagg/keystream.h"
#include "common/secagg/ring.h"

#define RUNS 11u

static void die(const char *what)
{
    fprintf(stderr, "bench_secagg: %s\n", what);
    exit(1);
}

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double values[RUNS])
{
    qsort(values, RUNS, sizeof *values, compare_doubles);
    return values[RUNS / 2];
}

enum { D = 100000, BITS = 25, TERMS = 500, CHECKED = 1024, PIECE = 22400 };

struct masks {
    struct pf_mask_term terms[TERMS];
    struct pf_ring *ring;
    struct pf_pool *pool;
    size_t n_bytes; /* of keystream per term */
};

static struct pf_ring *make_ring(size_t n)
{
    struct pf_ring *ring = NULL;
    struct pf_error err = {0};
    if (pf_ring_create(n, BITS, &ring, &err) != PF_OK) die(err.text);
    return ring;
}

/* All terms' keystream of one piece of the vector. */
static void make_keystream(void *context, size_t piece)
{
    const struct masks *self = context;
    uint8_t bytes[PIECE];
    const size_t begin = piece * PIECE, length = PF_MIN(PIECE, self->n_bytes - begin);
    struct pf_keystream keystream;
    pf_keystream_init(&keystream);
    for (size_t t = 0; t < TERMS; t++)
        pf_keystream_make(&keystream, self->terms[t].key, begin / PF_KEYSTREAM_BLOCK, bytes,
                          length);
    pf_keystream_finish(&keystream);
}

static double time_floor(struct masks *self)
{
    double begin = pf_clock_seconds();
    pf_pool_run(self->pool, (self->n_bytes + PIECE - 1) / PIECE, make_keystream, self);
    return pf_clock_seconds() - begin;
}

static double time_masks(struct masks *self)
{
    double begin = pf_clock_seconds();
    pf_ring_add_masks(self->ring, self->terms, TERMS, self->pool);
    return pf_clock_seconds() - begin;
}

/* The first coordinates hold n_sums times what the plain twin adds up. */
static void check_masks(const struct masks *self, uint64_t n_sums)
{
    PF_CLEANUP(pf_ring_destroyp) struct pf_ring *plain = make_ring(CHECKED);
    pf_ring_add_masks_ref(plain, self->terms, TERMS);
    for (size_t i = 0; i < CHECKED; i++)
        if (pf_ring_get(self->ring, i) != (n_sums * pf_ring_get(plain, i) & ((1u << BITS) - 1)))
            die("masks differ from their plain twin");
}

static void bench_masks(size_t n_threads)
{
    struct masks *self = PF_ALLOC(1, struct masks);
    struct pf_error err = {0};
    if (self == NULL || pf_pool_create(n_threads, &self->pool, &err) != PF_OK) die("no memory");
    struct pf_random random;
    pf_random_init(&random, 1, "bench masks", 0);
    for (size_t t = 0; t < TERMS; t++) {
        for (size_t k = 0; k < PF_MASK_KEY_BYTES; k++)
            self->terms[t].key[k] = (uint8_t)pf_random_u32(&random);
        self->terms[t].sign = t % 2 == 0 ? 1 : -1;
    }
    self->ring = make_ring(D);
    self->n_bytes = pf_ring_packed_size(D, BITS);
    double floors[RUNS], times[RUNS];
    (void)time_floor(self);
    (void)time_masks(self);
    for (size_t i = 0; i < RUNS; i++) {
        floors[i] = time_floor(self);
        times[i] = time_masks(self);
    }
    check_masks(self, RUNS + 1);
    double floor = median(floors), time = median(times);
    printf("{\"bench\":\"masks\",\"d\":%d,\"bits\":%d,\"terms\":%d,\"threads\":%zu,\"ms\":%.1f,"
           "\"floor_ms\":%.1f,\"ratio\":%.2f}\n",
           D, BITS, TERMS, n_threads, 1e3 * time, 1e3 * floor, time / floor);
    fflush(stdout);
    pf_ring_destroy(self->ring);
    pf_pool_destroy(self->pool);
    pf_free(self);
}

int main(void)
{
    if (sodium_init() < 0) die("libsodium cannot start");
    bench_masks(1);
    bench_masks(2);
    return 0;
}
