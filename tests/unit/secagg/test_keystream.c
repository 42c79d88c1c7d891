/* The key stream that masks are made of: libcrypto's against libsodium's and RFC 8439's, also where
 * 32 bits of the block counter run out; and without a context, as when there was no memory for it.
 */
#include "tests/testing.h"

#include <string.h>

#include "common/base/memory.h"
#include "common/base/random.h"
#include "common/secagg/keystream.h"

enum { LONGEST = PF_KEYSTREAM_MAX_BYTES };

static uint8_t made[LONGEST + 2], expected[LONGEST];

static void draw_key(struct pf_random *random, uint8_t key[PF_KEYSTREAM_KEY_BYTES])
{
    for (size_t i = 0; i < PF_KEYSTREAM_KEY_BYTES; i++) key[i] = (uint8_t)pf_random_u32(random);
}

static void expect_same(struct pf_keystream *keystream, const uint8_t *key, uint64_t first_block,
                        size_t length)
{
    memset(made, 0xA5, sizeof made);
    pf_keystream_make(keystream, key, first_block, made + 1, length);
    pf_keystream_make_ref(key, first_block, expected, length);
    assert_memory_equal(made + 1, expected, length);
    assert_int_equal(made[0], 0xA5);
    assert_int_equal(made[length + 1], 0xA5);
}

/* RFC 8439, A.1, test vectors 1 and 2: key and nonce 0, blocks 0 and 1. */
static void the_stream_is_that_of_rfc_8439(void **state)
{
    (void)state;
    static const uint8_t key[PF_KEYSTREAM_KEY_BYTES];
    static const uint8_t block_0[] = {0x76, 0xb8, 0xe0, 0xad, 0xa0, 0xf1, 0x3d, 0x90,
                                      0x40, 0x5d, 0x6a, 0xe5, 0x53, 0x86, 0xbd, 0x28};
    static const uint8_t block_1[] = {0x9f, 0x07, 0xe7, 0xbe, 0x55, 0x51, 0x38, 0x7a,
                                      0x98, 0xba, 0x97, 0x7c, 0x73, 0x2d, 0x08, 0x0d};
    struct pf_keystream keystream;
    pf_keystream_init(&keystream);
    pf_keystream_make(&keystream, key, 0, made, 128);
    assert_memory_equal(made, block_0, sizeof block_0);
    assert_memory_equal(made + 64, block_1, sizeof block_1);
    pf_keystream_make(&keystream, key, 1, made, 64);
    assert_memory_equal(made, block_1, sizeof block_1);
    pf_keystream_finish(&keystream);
}

static void it_is_libsodiums_at_any_place_and_length(void **state)
{
    (void)state;
    static const uint64_t places[] = {0, 1, 400, 1u << 23, UINT32_MAX - 2048};
    static const size_t lengths[] = {0, 1, 63, 64, 65, 511, 512, 1600, 4160, 22400, LONGEST};
    struct pf_keystream keystream;
    struct pf_random random;
    uint8_t key[PF_KEYSTREAM_KEY_BYTES];
    pf_random_init(&random, 1, "keystream", 0);
    pf_keystream_init(&keystream);
    assert_non_null(keystream.context); /* else nothing is compared here */
    for (size_t p = 0; p < PF_ARRAY_LENGTH(places); p++)
        for (size_t l = 0; l < PF_ARRAY_LENGTH(lengths); l++) {
            draw_key(&random, key);
            expect_same(&keystream, key, places[p], lengths[l]);
        }
    pf_keystream_finish(&keystream);
}

/* The last blocks that may be asked for, up to the very last. */
static void it_is_libsodiums_up_to_the_end_of_a_32_bit_counter(void **state)
{
    (void)state;
    struct pf_keystream keystream;
    struct pf_random random;
    uint8_t key[PF_KEYSTREAM_KEY_BYTES];
    pf_random_init(&random, 2, "keystream", 0);
    draw_key(&random, key);
    pf_keystream_init(&keystream);
    for (uint64_t n_blocks = 1; n_blocks <= 40; n_blocks++)
        expect_same(&keystream, key, (UINT64_C(1) << 32) - n_blocks, n_blocks * 64);
    expect_same(&keystream, key, (UINT64_C(1) << 32) - LONGEST / 64, LONGEST);
    pf_keystream_finish(&keystream);
}

static void without_a_context_the_stream_is_the_same(void **state)
{
    (void)state;
    struct pf_keystream keystream = {0};
    struct pf_random random;
    uint8_t key[PF_KEYSTREAM_KEY_BYTES];
    pf_random_init(&random, 3, "keystream", 0);
    draw_key(&random, key);
    expect_same(&keystream, key, 25, 22400);
    pf_keystream_finish(&keystream);
    assert_null(keystream.context);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_stream_is_that_of_rfc_8439),
        cmocka_unit_test(it_is_libsodiums_at_any_place_and_length),
        cmocka_unit_test(it_is_libsodiums_up_to_the_end_of_a_32_bit_counter),
        cmocka_unit_test(without_a_context_the_stream_is_the_same),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
