/* What tests of kernels share: all tables this processor can run, and random content. */
#ifndef PF_TESTS_UNIT_NN_KERNEL_FIXTURE_H
#define PF_TESTS_UNIT_NN_KERNEL_FIXTURE_H

#include "common/base/random.h"
#include "common/nn/kernels.h"

enum { ROWS = 7 };

/* The reference first. */
extern const struct pf_kernels *tables[4];
extern size_t n_tables;
extern struct pf_random source;

/* A set-up function of cmocka's. */
int list_tables(void **state);

/* All of these belong to the caller. */
float *noise(size_t n);
/* As training keeps them. */
void *noise_kept(size_t n, enum pf_precision precision);
float *copy_of(const float *values, size_t n);

/* Fails with the table's name. */
void assert_close(const float *a, const float *b, size_t n, const char *table);
/* Of products that may be of thousands. */
void assert_sums_close(const float *a, const float *b, size_t n, const char *table);

#endif
