#include "common/base/random.h"

#include <assert.h>
#include <math.h>
#include <sodium.h>
#include <string.h>

void pf_random_init(struct pf_random *self, uint64_t seed, const char *label, uint64_t index)
{
    uint8_t numbers[16];
    for (size_t i = 0; i < 8; i++) {
        numbers[i] = (uint8_t)(seed >> (8 * i));
        numbers[8 + i] = (uint8_t)(index >> (8 * i));
    }
    crypto_generichash_state state;
    crypto_generichash_init(&state, NULL, 0, sizeof self->key);
    crypto_generichash_update(&state, numbers, sizeof numbers);
    crypto_generichash_update(&state, (const uint8_t *)label, strlen(label));
    crypto_generichash_final(&state, self->key, sizeof self->key);
    self->block = 0;
    self->used = sizeof self->bytes;
}

static void take(struct pf_random *self, void *out, size_t length)
{
    static const uint8_t nonce[crypto_stream_chacha20_NONCEBYTES] = {0};
    if (sizeof self->bytes - self->used < length) {
        memset(self->bytes, 0, sizeof self->bytes);
        crypto_stream_chacha20_xor_ic(self->bytes, self->bytes, sizeof self->bytes, nonce,
                                      self->block, self->key);
        self->block += sizeof self->bytes / 64;
        self->used = 0;
    }
    memcpy(out, self->bytes + self->used, length);
    self->used += length;
}

uint64_t pf_random_u64(struct pf_random *self)
{
    uint8_t b[8];
    take(self, b, sizeof b);
    uint64_t value = 0;
    for (size_t i = 0; i < 8; i++) value |= (uint64_t)b[i] << (8 * i);
    return value;
}

uint32_t pf_random_u32(struct pf_random *self)
{
    uint8_t b[4];
    take(self, b, sizeof b);
    return (uint32_t)b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
}

uint32_t pf_random_below(struct pf_random *self, uint32_t bound)
{
    assert(bound > 0);
    /* Lemire 2019: multiply, and redraw the few values that would make low results likelier. */
    uint64_t product = (uint64_t)pf_random_u32(self) * bound;
    if ((uint32_t)product < bound) {
        uint32_t threshold = -bound % bound;
        while ((uint32_t)product < threshold) product = (uint64_t)pf_random_u32(self) * bound;
    }
    return (uint32_t)(product >> 32);
}

double pf_random_uniform(struct pf_random *self)
{
    return (double)(pf_random_u64(self) >> 11) * 0x1p-53;
}

double pf_random_normal(struct pf_random *self)
{
    /* Box–Muller; the second value is dropped so that a stream has no hidden state. */
    double u = 1.0 - pf_random_uniform(self);
    double v = pf_random_uniform(self);
    return sqrt(-2.0 * log(u)) * cos(2.0 * 3.14159265358979323846 * v);
}

double pf_random_gamma(struct pf_random *self, double shape)
{
    assert(shape > 0);
    if (shape < 1.0) {
        double u = 1.0 - pf_random_uniform(self);
        return pf_random_gamma(self, shape + 1.0) * pow(u, 1.0 / shape);
    }
    double d = shape - 1.0 / 3.0;
    double c = 1.0 / sqrt(9.0 * d);
    for (;;) {
        double x = pf_random_normal(self);
        double v = 1.0 + c * x;
        if (v <= 0.0) continue;
        v = v * v * v;
        double u = 1.0 - pf_random_uniform(self);
        if (log(u) < 0.5 * x * x + d - d * v + d * log(v)) return d * v;
    }
}

void pf_random_shuffle(struct pf_random *self, uint32_t *items, size_t n)
{
    assert(n <= UINT32_MAX);
    for (size_t i = n; i > 1; i--) {
        size_t j = pf_random_below(self, (uint32_t)i);
        uint32_t item = items[i - 1];
        items[i - 1] = items[j];
        items[j] = item;
    }
}
