#include "seeded_random.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/random.h"

static _Thread_local struct pf_random stream;

static const char *name(void)
{
    return "seeded for tests";
}

static uint32_t draw(void)
{
    return pf_random_u32(&stream);
}

static void fill(void *const out, const size_t length)
{
    uint8_t *bytes = out;
    for (size_t i = 0; i < length; i += 8) {
        uint64_t word = pf_random_u64(&stream);
        memcpy(bytes + i, &word, length - i < 8 ? length - i : 8);
    }
}

void seeded_random_install(void)
{
    static randombytes_implementation seeded = {
        .implementation_name = name, .random = draw, .buf = fill};
    seeded_random_begin(0);
    if (randombytes_set_implementation(&seeded) != 0 || sodium_init() < 0) abort();
}

void seeded_random_begin(uint64_t seed)
{
    pf_random_init(&stream, seed, "test randomness", 0);
}
