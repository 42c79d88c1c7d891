#include "common/secagg/rotation.h"

#include <math.h>
#include <sodium.h>

#include "common/base/random.h"

size_t pf_rotation_block(size_t n)
{
    size_t block = n > 0;
    while (block <= n / 2 && block > 0) block *= 2;
    return block;
}

/* x ← D x/√block, the signs being the bits of a stream of (seed, segment, pass). */
static void scale_with_signs(double *x, size_t block, const uint8_t seed[32], uint32_t segment,
                             uint8_t pass)
{
    static const char label[] = "packfed rotation signs";
    struct pf_random stream = {.used = sizeof stream.bytes};
    uint8_t which[5] = {(uint8_t)segment, (uint8_t)(segment >> 8), (uint8_t)(segment >> 16),
                        (uint8_t)(segment >> 24), pass};
    crypto_generichash_state state;
    crypto_generichash_init(&state, seed, 32, sizeof stream.key);
    crypto_generichash_update(&state, (const uint8_t *)label, sizeof label - 1);
    crypto_generichash_update(&state, which, sizeof which);
    crypto_generichash_final(&state, stream.key, sizeof stream.key);

    double scale = 1 / sqrt((double)block);
    const double signs[2] = {scale, -scale};
    for (size_t i = 0; i < block; i += 64) {
        uint64_t bits = pf_random_u64(&stream);
        size_t n = block - i < 64 ? block - i : 64;
        for (size_t j = 0; j < n; j++) x[i + j] *= signs[bits >> j & 1];
    }
}

/* Two stages at once: a, b, c, d [n] ← their sums and differences by twos and by fours. */
static void join_quarters(double *restrict a, double *restrict b, double *restrict c,
                          double *restrict d, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        double ab = a[i] + b[i], a_b = a[i] - b[i];
        double cd = c[i] + d[i], c_d = c[i] - d[i];
        a[i] = ab + cd;
        b[i] = a_b + c_d;
        c[i] = ab - cd;
        d[i] = a_b - c_d;
    }
}

/* The Hadamard transform without its factor 1/√n.  Quarters are finished one after the other, so
 * that all but the first stages work in a cache, whichever its size. */
static void transform(double *x, size_t n)
{
    if (n < 2) return;
    if (n == 2) {
        double a = x[0], b = x[1];
        x[0] = a + b;
        x[1] = a - b;
        return;
    }
    size_t quarter = n / 4;
    join_quarters(x, x + quarter, x + 2 * quarter, x + 3 * quarter, quarter);
    if (quarter == 1) return;
    for (size_t i = 0; i < n; i += quarter) transform(x + i, quarter);
}

void pf_rotation_apply(double *x, size_t n, const uint8_t seed[32], uint32_t segment)
{
    size_t block = pf_rotation_block(n);
    scale_with_signs(x, block, seed, segment, 0);
    transform(x, block);
    if (block == n) return;
    scale_with_signs(x + n - block, block, seed, segment, 1);
    transform(x + n - block, block);
}

/* H is its own inverse up to the factor, D its own inverse: the same steps from last to first. */
void pf_rotation_invert(double *x, size_t n, const uint8_t seed[32], uint32_t segment)
{
    size_t block = pf_rotation_block(n);
    if (block != n) {
        transform(x + n - block, block);
        scale_with_signs(x + n - block, block, seed, segment, 1);
    }
    transform(x, block);
    scale_with_signs(x, block, seed, segment, 0);
}
