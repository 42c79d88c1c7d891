/* Every kernel this processor runs gives the bits of the reference. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/base/random.h"
#include "sim/array/kernel.h"

#define N_PAIRS 37u

static uint32_t draw_halves(struct pf_random *random, uint32_t bound, int32_t offset)
{
    uint32_t low = pf_random_below(random, bound) + (uint32_t)offset;
    uint32_t high = pf_random_below(random, bound) + (uint32_t)offset;
    return (low & 0xffffu) | high << 16;
}

static void test_kernels_agree_and_match_products(void **state)
{
    (void)state;
    uint32_t *x = PF_ALLOC((size_t)N_PAIRS * PF_ARRAY_PANEL, uint32_t);
    assert_non_null(x);
    pf_array_kernel *kernels[3];
    size_t n_kernels = pf_array_kernel_list(kernels);
    assert_ptr_equal(kernels[n_kernels - 1], pf_array_kernel_select());
    for (uint64_t run = 0; run < 50; run++) {
        struct pf_random random;
        pf_random_init(&random, 5, "kernel", run);
        uint32_t pair[N_PAIRS], weights[N_PAIRS];
        int32_t initial[PF_ARRAY_PANEL];
        for (size_t i = 0; i < (size_t)N_PAIRS * PF_ARRAY_PANEL; i++)
            x[i] = draw_halves(&random, 256, 0);
        size_t n = pf_random_below(&random, N_PAIRS + 1);
        for (size_t i = 0; i < n; i++) {
            pair[i] = pf_random_below(&random, N_PAIRS);
            weights[i] = run == 0 ? 0xff01ff01u : draw_halves(&random, 511, -255); /* 0: all −255 */
        }
        for (size_t p = 0; p < PF_ARRAY_PANEL; p++) initial[p] = (int32_t)pf_random_u32(&random);
        for (size_t kernel = 0; kernel < n_kernels; kernel++) {
            int32_t acc[PF_ARRAY_PANEL];
            memcpy(acc, initial, sizeof acc);
            kernels[kernel](acc, x, pair, weights, n);
            for (size_t p = 0; p < PF_ARRAY_PANEL; p++) {
                int64_t sum = initial[p];
                for (size_t i = 0; i < n; i++) {
                    uint32_t in = x[pair[i] * PF_ARRAY_PANEL + p];
                    sum += (int64_t)(int16_t)(weights[i] & 0xffffu) * (in & 0xffffu);
                    sum += (int64_t)(int16_t)(weights[i] >> 16) * (in >> 16);
                }
                assert_int_equal((uint32_t)acc[p], (uint32_t)sum);
            }
        }
    }
    pf_free(x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_kernels_agree_and_match_products)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
