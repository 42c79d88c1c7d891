/* Checked sizes, aligned zeroed blocks, byte buffers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "common/base/buffer.h"
#include "common/base/memory.h"

static void products_and_sums_report_overflow(void **state)
{
    (void)state;
    size_t value = 0;
    assert_true(pf_size_mul(6, 7, &value));
    assert_int_equal(value, 42);
    assert_true(pf_size_mul(SIZE_MAX, 1, &value));
    assert_false(pf_size_mul(SIZE_MAX / 2 + 1, 2, &value));
    assert_false(pf_size_mul((size_t)1 << 32, (size_t)1 << 32, &value));
    assert_true(pf_size_add(SIZE_MAX - 1, 1, &value));
    assert_true(value == SIZE_MAX);
    assert_false(pf_size_add(SIZE_MAX, 1, &value));
}

static void blocks_are_zeroed_and_aligned(void **state)
{
    (void)state;
    for (size_t n = 0; n < 300; n += 7) {
        uint8_t *block = pf_alloc(n, 3);
        assert_non_null(block);
        assert_int_equal((uintptr_t)block % 64, 0);
        for (size_t i = 0; i < 3 * n; i++) assert_int_equal(block[i], 0);
        memset(block, 0xFF, 3 * n); /* so that the next one may get used memory */
        pf_free(block);
    }
}

static void overflowing_sizes_give_no_block(void **state)
{
    (void)state;
    assert_null(pf_alloc(SIZE_MAX, 2));
    assert_null(pf_alloc(SIZE_MAX, 1));
    assert_null(pf_alloc(1, SIZE_MAX - 62)); /* fits, but not once rounded up to the alignment */
    assert_null(pf_alloc(SIZE_MAX / 4 + 1, sizeof(float)));
    uint8_t *block = pf_alloc(4, 1);
    assert_null(pf_realloc(block, SIZE_MAX / 2, 3));
    block[3] = 1; /* still ours */
    pf_free(block);
}

static void resizing_keeps_the_bytes(void **state)
{
    (void)state;
    PF_CLEANUP(pf_freep) uint32_t *block = PF_ALLOC(4, uint32_t);
    for (uint32_t i = 0; i < 4; i++) block[i] = i * 11;
    block = pf_realloc(block, 4000, sizeof *block);
    assert_non_null(block);
    for (uint32_t i = 0; i < 4; i++) assert_int_equal(block[i], i * 11);
    block = pf_realloc(block, 0, sizeof *block);
    assert_non_null(block); /* empty, not gone */
}

static void a_buffer_grows_and_keeps_its_bytes(void **state)
{
    (void)state;
    PF_CLEANUP(pf_buffer_finish) struct pf_buffer buffer = {0};
    for (uint32_t i = 0; i < 3000; i++) {
        const uint8_t bytes[] = {(uint8_t)i, (uint8_t)(i >> 8), 0xA5};
        assert_int_equal(pf_buffer_append(&buffer, bytes, i % 4, NULL), PF_OK);
    }
    assert_int_equal(buffer.length, 3000 / 4 * (0 + 1 + 2 + 3));
    assert_true(buffer.capacity >= buffer.length);
    size_t at = 0;
    for (uint32_t i = 0; i < 3000; at += i % 4, i++) {
        if (i % 4 > 0) assert_int_equal(buffer.bytes[at], (uint8_t)i);
        if (i % 4 > 1) assert_int_equal(buffer.bytes[at + 1], (uint8_t)(i >> 8));
        if (i % 4 > 2) assert_int_equal(buffer.bytes[at + 2], 0xA5);
    }
}

static void reserved_room_is_used_without_moving(void **state)
{
    (void)state;
    PF_CLEANUP(pf_buffer_finish) struct pf_buffer buffer = {0};
    assert_int_equal(pf_buffer_append(&buffer, "ab", 2, NULL), PF_OK);
    assert_int_equal(pf_buffer_reserve(&buffer, 1000, NULL), PF_OK);
    assert_true(buffer.capacity >= 1002);
    assert_int_equal(buffer.length, 2);
    const uint8_t *before = buffer.bytes;
    for (int i = 0; i < 1000; i++) assert_int_equal(pf_buffer_append(&buffer, "c", 1, NULL), PF_OK);
    assert_ptr_equal(buffer.bytes, before);
    pf_buffer_reset(&buffer);
    assert_int_equal(buffer.length, 0);
    assert_ptr_equal(buffer.bytes, before);
}

static void an_overflowing_buffer_is_refused_and_intact(void **state)
{
    (void)state;
    PF_CLEANUP(pf_buffer_finish) struct pf_buffer buffer = {0};
    struct pf_error err;
    assert_int_equal(pf_buffer_append(&buffer, "abc", 3, NULL), PF_OK);
    assert_int_equal(pf_buffer_reserve(&buffer, SIZE_MAX - 2, &err), PF_NO_MEMORY);
    assert_int_equal(pf_buffer_append(&buffer, "x", SIZE_MAX, &err), PF_NO_MEMORY);
    assert_int_equal(buffer.length, 3);
    assert_memory_equal(buffer.bytes, "abc", 3);
}

static void an_empty_buffer_takes_nothing_and_finishes_twice(void **state)
{
    (void)state;
    struct pf_buffer buffer = {0};
    assert_int_equal(pf_buffer_append(&buffer, NULL, 0, NULL), PF_OK);
    pf_buffer_finish(&buffer);
    pf_buffer_finish(&buffer);
    assert_null(buffer.bytes);
    assert_int_equal(buffer.capacity, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(products_and_sums_report_overflow),
        cmocka_unit_test(blocks_are_zeroed_and_aligned),
        cmocka_unit_test(overflowing_sizes_give_no_block),
        cmocka_unit_test(resizing_keeps_the_bytes),
        cmocka_unit_test(a_buffer_grows_and_keeps_its_bytes),
        cmocka_unit_test(reserved_room_is_used_without_moving),
        cmocka_unit_test(an_overflowing_buffer_is_refused_and_intact),
        cmocka_unit_test(an_empty_buffer_takes_nothing_and_finishes_twice),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
