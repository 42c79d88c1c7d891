#include "tests/unit/nn/kernel_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/nn/half.h"

const struct pf_kernels *tables[4];
size_t n_tables;
struct pf_random source;

int list_tables(void **state)
{
    (void)state;
    n_tables = pf_kernels_list(tables, PF_ARRAY_LENGTH(tables));
    pf_random_init(&source, 7, "kernels", 0);
    return n_tables >= 2 ? 0 : -1;
}

float *noise(size_t n)
{
    float *values = PF_ALLOC(n, float);
    assert_non_null(values);
    for (size_t i = 0; i < n; i++) values[i] = 3.0f * (float)pf_random_normal(&source);
    return values;
}

void *noise_kept(size_t n, enum pf_precision precision)
{
    float *values = noise(n);
    if (precision == PF_SINGLE) return values;
    uint16_t *halves = PF_ALLOC(n, uint16_t);
    assert_non_null(halves);
    for (size_t i = 0; i < n; i++) halves[i] = pf_half_of_float(values[i]);
    pf_free(values);
    return halves;
}

float *copy_of(const float *values, size_t n)
{
    float *copy = PF_ALLOC(n, float);
    assert_non_null(copy);
    memcpy(copy, values, n * sizeof *copy);
    return copy;
}

void assert_close(const float *a, const float *b, size_t n, const char *table)
{
    for (size_t i = 0; i < n; i++)
        if (!(fabsf(a[i] - b[i]) <= 1e-4f * (1.0f + fabsf(b[i]))))
            fail_msg("%s: element %zu is %g, the plain twin says %g", table, i, (double)a[i],
                     (double)b[i]);
}

void assert_sums_close(const float *a, const float *b, size_t n, const char *table)
{
    for (size_t i = 0; i < n; i++)
        if (!(fabsf(a[i] - b[i]) <= 1e-3f * (1.0f + fabsf(b[i]))))
            fail_msg("%s: sum %zu is %g, the plain twin says %g", table, i, (double)a[i],
                     (double)b[i]);
}
