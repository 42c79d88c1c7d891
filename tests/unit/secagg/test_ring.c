/* Vectors modulo 2^b: the layout on the wire, sums, masks; every set of kernels against a reader
 * that knows nothing but the layout. */
#include "tests/testing.h"

#include <sodium.h>
#include <stdbool.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/base/random.h"
#include "common/secagg/ring.h"
#include "common/secagg/ring_kernels.h"

static const size_t lengths[] = {1, 511, 512, 513, 1500};

static struct pf_ring *create(size_t n, unsigned bits)
{
    struct pf_ring *ring = NULL;
    struct pf_error err = {0};
    if (pf_ring_create(n, bits, &ring, &err) != PF_OK) fail_msg("%s", err.text);
    return ring;
}

static uint8_t *allocate(size_t n)
{
    uint8_t *bytes = PF_ALLOC(n, uint8_t);
    assert_non_null(bytes);
    return bytes;
}

static uint64_t mask_of(unsigned bits)
{
    return UINT64_MAX >> (64 - bits);
}

static void fill(struct pf_ring *ring, uint64_t seed)
{
    struct pf_random random;
    pf_random_init(&random, seed, "ring", 0);
    for (size_t i = 0; i < pf_ring_length(ring); i++)
        pf_ring_set(ring, i, (int64_t)pf_random_u64(&random));
}

static void assert_equal(const struct pf_ring *a, const struct pf_ring *b)
{
    assert_int_equal(pf_ring_length(a), pf_ring_length(b));
    for (size_t i = 0; i < pf_ring_length(a); i++)
        assert_int_equal(pf_ring_get(a, i), pf_ring_get(b, i));
}

/* Coordinate c of a packed vector: its lane's words put one behind the other, then bit by bit. */
static uint64_t read_packed(const uint8_t *packed, size_t c, unsigned bits)
{
    const uint8_t *block = packed + c / 512 * (bits * 64);
    size_t i = c % 512 / 16, lane = c % 16;
    uint8_t stream[64 * 4];
    for (size_t w = 0; w < bits; w++) memcpy(stream + 4 * w, block + 4 * (16 * w + lane), 4);
    uint64_t value = 0;
    for (size_t k = bits; k-- > 0;) {
        size_t bit = i * bits + k;
        value = value << 1 | (uint64_t)(stream[bit / 8] >> (bit % 8) & 1);
    }
    return value;
}

static void sizes(void **state)
{
    (void)state;
    assert_int_equal(pf_ring_packed_size(0, 25), 0);
    assert_int_equal(pf_ring_packed_size(1, 25), 25 * 64);
    assert_int_equal(pf_ring_packed_size(512, 25), 25 * 64);
    assert_int_equal(pf_ring_packed_size(513, 8), 2 * 8 * 64);
    assert_int_equal(pf_ring_packed_size(100000, 25), 196 * 25 * 64);
    assert_int_equal(pf_ring_packed_size(512, 7), 0);
    assert_int_equal(pf_ring_packed_size(512, 65), 0);
    assert_int_equal(pf_ring_packed_size(SIZE_MAX, 64), 0);
}

static void create_refuses_what_is_out_of_range(void **state)
{
    (void)state;
    static const unsigned wrong[] = {0, 7, 65, 1000};
    for (size_t i = 0; i < PF_ARRAY_LENGTH(wrong); i++) {
        struct pf_ring *ring = NULL;
        struct pf_error err = {0};
        assert_int_equal(pf_ring_create(10, wrong[i], &ring, &err), PF_INVALID);
        assert_non_null(strstr(err.text, "8 to 64"));
        assert_null(ring);
    }
    struct pf_ring *ring = NULL;
    struct pf_error err = {0};
    assert_int_equal(pf_ring_create(SIZE_MAX, 64, &ring, &err), PF_NO_MEMORY);
    assert_null(ring);
}

static void an_empty_vector_is_one(void **state)
{
    (void)state;
    PF_CLEANUP(pf_ring_destroyp) struct pf_ring *ring = create(0, 25);
    struct pf_mask_term term = {.key = {1}, .sign = 1};
    uint8_t nothing[1] = {7};
    pf_ring_add_packed(ring, nothing);
    pf_ring_add_masks(ring, &term, 1, NULL);
    pf_ring_pack(ring, nothing);
    assert_int_equal(nothing[0], 7);
    assert_int_equal(pf_ring_length(ring), 0);
}

/* 8 bits by hand: value i of lane l is byte i%4 of word i/4. */
static void eight_bits_lie_where_the_header_says(void **state)
{
    (void)state;
    PF_CLEANUP(pf_ring_destroyp) struct pf_ring *ring = create(512, 8);
    uint8_t packed[512], expected[512];
    for (size_t i = 0; i < 32; i++)
        for (size_t l = 0; l < 16; l++) {
            pf_ring_set(ring, 16 * i + l, (int64_t)(31 * i + l));
            expected[4 * (16 * (i / 4) + l) + i % 4] = (uint8_t)(31 * i + l);
        }
    pf_ring_pack(ring, packed);
    assert_memory_equal(packed, expected, sizeof packed);
}

static void packing_follows_the_layout_and_comes_back(void **state)
{
    (void)state;
    for (unsigned bits = 8; bits <= 64; bits++)
        for (size_t k = 0; k < PF_ARRAY_LENGTH(lengths); k++) {
            const size_t n = lengths[k], size = pf_ring_packed_size(n, bits);
            PF_CLEANUP(pf_ring_destroyp) struct pf_ring *ring = create(n, bits);
            PF_CLEANUP(pf_ring_destroyp) struct pf_ring *back = create(n, bits);
            PF_CLEANUP(pf_freep) uint8_t *packed = allocate(size + 1);
            fill(ring, bits);
            memset(packed, 0xa5, size + 1);
            pf_ring_pack(ring, packed);
            assert_int_equal(packed[size], 0xa5);
            for (size_t c = 0; c < n; c++)
                assert_int_equal(read_packed(packed, c, bits), pf_ring_get(ring, c));
            for (size_t c = n; c < (n + 511) / 512 * 512; c++)
                assert_int_equal(read_packed(packed, c, bits), 0);
            pf_ring_add_packed(back, packed);
            assert_equal(back, ring);
        }
}

static void what_arrives_in_the_filling_is_ignored(void **state)
{
    (void)state;
    static const unsigned widths[] = {8, 25, 32, 33, 64};
    for (size_t k = 0; k < PF_ARRAY_LENGTH(widths); k++) {
        const unsigned bits = widths[k];
        const size_t n = 700, size = pf_ring_packed_size(n, bits);
        PF_CLEANUP(pf_ring_destroyp) struct pf_ring *ring = create(n, bits);
        PF_CLEANUP(pf_freep) uint8_t *packed = allocate(size);
        memset(packed, 0xff, size);
        pf_ring_add_packed(ring, packed);
        pf_ring_add_packed(ring, packed);
        memset(packed, 0, size);
        pf_ring_pack(ring, packed);
        for (size_t c = 0; c < 1024; c++)
            assert_int_equal(read_packed(packed, c, bits), c < n ? mask_of(bits) - 1 : 0);
    }
}

static void sums_wrap(void **state)
{
    (void)state;
    for (unsigned bits = 8; bits <= 64; bits++) {
        const size_t n = 513;
        PF_CLEANUP(pf_ring_destroyp) struct pf_ring *a = create(n, bits);
        PF_CLEANUP(pf_ring_destroyp) struct pf_ring *sum = create(n, bits);
        PF_CLEANUP(pf_freep) uint8_t *packed = allocate(pf_ring_packed_size(n, bits));
        fill(a, bits);
        pf_ring_set(a, 0, -1);
        pf_ring_pack(a, packed);
        for (unsigned i = 0; i < 5; i++) pf_ring_add_packed(sum, packed);
        for (size_t c = 0; c < n; c++)
            assert_int_equal(pf_ring_get(sum, c), 5 * pf_ring_get(a, c) & mask_of(bits));
        assert_int_equal(pf_ring_get(sum, 0), mask_of(bits) - 4);
    }
}

static void values_are_lifted_to_their_sign(void **state)
{
    (void)state;
    for (unsigned bits = 8; bits <= 64; bits++) {
        PF_CLEANUP(pf_ring_destroyp) struct pf_ring *ring = create(3, bits);
        const int64_t most = (int64_t)(mask_of(bits) >> 1), least = -most - 1;
        const int64_t values[] = {0, 1, -1, most, least, most - 1, least + 1};
        for (size_t i = 0; i < PF_ARRAY_LENGTH(values); i++) {
            pf_ring_set(ring, 1, values[i]);
            assert_int_equal(pf_ring_get_signed(ring, 1), values[i]);
            assert_int_equal(pf_ring_get(ring, 1), (uint64_t)values[i] & mask_of(bits));
        }
        pf_ring_set(ring, 1, (int64_t)((uint64_t)most + 1));
        assert_int_equal(pf_ring_get_signed(ring, 1), least);
        assert_int_equal(pf_ring_get(ring, 0), 0);
        assert_int_equal(pf_ring_get(ring, 2), 0);
    }
}

static void draw_terms(struct pf_mask_term *terms, size_t n, uint64_t seed)
{
    struct pf_random random;
    pf_random_init(&random, seed, "terms", 0);
    for (size_t t = 0; t < n; t++) {
        for (size_t k = 0; k < PF_MASK_KEY_BYTES; k++)
            terms[t].key[k] = (uint8_t)pf_random_u32(&random);
        terms[t].sign = pf_random_below(&random, 2) == 0 ? 1 : -1;
    }
}

/* One mask over zeros, packed, is the keystream itself, as far as the coordinates go. */
static void a_mask_is_the_keystream(void **state)
{
    (void)state;
    static const uint8_t nonce[crypto_stream_chacha20_NONCEBYTES];
    for (unsigned bits = 8; bits <= 64; bits += 7) {
        const size_t n = 512 * 21, size = pf_ring_packed_size(n, bits);
        PF_CLEANUP(pf_ring_destroyp) struct pf_ring *ring = create(n, bits);
        PF_CLEANUP(pf_freep) uint8_t *packed = allocate(size);
        PF_CLEANUP(pf_freep) uint8_t *keystream = allocate(size);
        struct pf_mask_term term;
        draw_terms(&term, 1, bits);
        term.sign = 1;
        pf_ring_add_masks(ring, &term, 1, NULL);
        pf_ring_pack(ring, packed);
        crypto_stream_chacha20(keystream, size, nonce, term.key);
        assert_memory_equal(packed, keystream, size);
    }
}

static void masks_equal_their_plain_twin(void **state)
{
    (void)state;
    enum { TERMS = 3 };
    for (unsigned bits = 8; bits <= 64; bits++) {
        /* Two shards and an unfinished block for some; one block, unfinished, for others. */
        const size_t n = bits % 8 == 1 ? 4096 + 700 : 300;
        struct pf_mask_term terms[TERMS];
        draw_terms(terms, TERMS, bits);
        PF_CLEANUP(pf_ring_destroyp) struct pf_ring *fast = create(n, bits);
        PF_CLEANUP(pf_ring_destroyp) struct pf_ring *plain = create(n, bits);
        fill(fast, bits);
        fill(plain, bits);
        pf_ring_add_masks(fast, terms, TERMS, NULL);
        pf_ring_add_masks_ref(plain, terms, TERMS);
        assert_equal(fast, plain);
    }
}

static void masks_cancel_to_the_bit(void **state)
{
    (void)state;
    enum { TERMS = 5, N = 9000 };
    for (unsigned bits = 8; bits <= 64; bits++) {
        struct pf_mask_term terms[TERMS];
        draw_terms(terms, TERMS, bits);
        PF_CLEANUP(pf_ring_destroyp) struct pf_ring *ring = create(N, bits);
        PF_CLEANUP(pf_ring_destroyp) struct pf_ring *before = create(N, bits);
        fill(ring, 1);
        fill(before, 1);
        pf_ring_add_masks(ring, terms, TERMS, NULL);
        size_t same = 0;
        for (size_t c = 0; c < N; c++) same += pf_ring_get(ring, c) == pf_ring_get(before, c);
        assert_true(same < N / 100);
        for (size_t t = 0; t < TERMS; t++) terms[t].sign = -terms[t].sign;
        pf_ring_add_masks(ring, terms, TERMS, NULL);
        assert_equal(ring, before);
    }
}

static void threads_do_not_change_the_sum(void **state)
{
    (void)state;
    enum { TERMS = 9, N = 30000 };
    static const unsigned widths[] = {17, 32, 40};
    for (size_t k = 0; k < PF_ARRAY_LENGTH(widths); k++) {
        struct pf_mask_term terms[TERMS];
        draw_terms(terms, TERMS, k);
        PF_CLEANUP(pf_ring_destroyp) struct pf_ring *alone = create(N, widths[k]);
        pf_ring_add_masks(alone, terms, TERMS, NULL);
        for (size_t n_threads = 1; n_threads <= 3; n_threads++) {
            struct pf_error err = {0};
            PF_CLEANUP(pf_pool_destroyp) struct pf_pool *pool = NULL;
            assert_int_equal(pf_pool_create(n_threads, &pool, &err), PF_OK);
            PF_CLEANUP(pf_ring_destroyp) struct pf_ring *ring = create(N, widths[k]);
            pf_ring_add_masks(ring, terms, TERMS, pool);
            assert_equal(ring, alone);
        }
    }
}

/* Three blocks at an odd address, by one set of kernels. */
enum { BLOCKS = 3, WORDS = BLOCKS * 512 };

static void check_narrow(const struct pf_ring_kernels *kernels, unsigned bits,
                         const uint8_t *packed)
{
    static uint32_t values[WORDS], before[WORDS];
    static uint8_t again[1 + WORDS * 4];
    randombytes_buf(values, sizeof values);
    memcpy(before, values, sizeof before);
    kernels->add_narrow(values, packed, BLOCKS, bits);
    for (size_t c = 0; c < WORDS; c++)
        assert_int_equal((values[c] - before[c]) & mask_of(bits), read_packed(packed, c, bits));
    kernels->subtract_narrow(values, packed, BLOCKS, bits);
    assert_memory_equal(values, before, sizeof values);
    memset(values, 0, sizeof values);
    kernels->add_narrow(values, packed, BLOCKS, bits);
    kernels->pack_narrow(again + 1, values, BLOCKS, bits);
    assert_memory_equal(again + 1, packed, BLOCKS * bits * 64);
}

static void check_wide(const struct pf_ring_kernels *kernels, unsigned bits, const uint8_t *packed)
{
    static uint64_t values[WORDS], before[WORDS];
    static uint8_t again[1 + WORDS * 8];
    randombytes_buf(values, sizeof values);
    memcpy(before, values, sizeof before);
    kernels->add_wide(values, packed, BLOCKS, bits);
    for (size_t c = 0; c < WORDS; c++)
        assert_int_equal((values[c] - before[c]) & mask_of(bits), read_packed(packed, c, bits));
    kernels->subtract_wide(values, packed, BLOCKS, bits);
    assert_memory_equal(values, before, sizeof values);
    memset(values, 0, sizeof values);
    kernels->add_wide(values, packed, BLOCKS, bits);
    kernels->pack_wide(again + 1, values, BLOCKS, bits);
    assert_memory_equal(again + 1, packed, BLOCKS * bits * 64);
}

static void all_kernels_follow_the_layout(void **state)
{
    (void)state;
    const struct pf_ring_kernels *tables[4];
    size_t n = pf_ring_kernels_list(tables, PF_ARRAY_LENGTH(tables));
    assert_true(n >= 1);
    for (size_t k = 0; k < n; k++)
        for (unsigned bits = 8; bits <= 64; bits++) {
            /* On the heap and no byte longer, so that the address sanitizer sees a read behind. */
            const size_t size = BLOCKS * bits * 64;
            PF_CLEANUP(pf_freep) uint8_t *packed = malloc(1 + size);
            assert_non_null(packed);
            randombytes_buf(packed, 1 + size);
            if (bits <= 32)
                check_narrow(tables[k], bits, packed + 1);
            else
                check_wide(tables[k], bits, packed + 1);
        }
}

int main(void)
{
    if (sodium_init() < 0) return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes),
        cmocka_unit_test(create_refuses_what_is_out_of_range),
        cmocka_unit_test(an_empty_vector_is_one),
        cmocka_unit_test(eight_bits_lie_where_the_header_says),
        cmocka_unit_test(packing_follows_the_layout_and_comes_back),
        cmocka_unit_test(what_arrives_in_the_filling_is_ignored),
        cmocka_unit_test(sums_wrap),
        cmocka_unit_test(values_are_lifted_to_their_sign),
        cmocka_unit_test(a_mask_is_the_keystream),
        cmocka_unit_test(masks_equal_their_plain_twin),
        cmocka_unit_test(masks_cancel_to_the_bit),
        cmocka_unit_test(threads_do_not_change_the_sum),
        cmocka_unit_test(all_kernels_follow_the_layout),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
