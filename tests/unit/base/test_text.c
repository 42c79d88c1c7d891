/* Numbers as people type them: exactly a number in range, or a sentence that quotes the text. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "common/base/text.h"

static void whole_numbers_are_read_to_their_limits(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint64_t value;
    } good[] = {{"0", 0}, {"7", 7}, {"0010", 10}, {"18446744073709551615", UINT64_MAX}};
    for (size_t i = 0; i < PF_ARRAY_LENGTH(good); i++) {
        uint64_t value = 99;
        assert_int_equal(pf_text_u64("--n", good[i].text, 0, UINT64_MAX, &value, NULL), PF_OK);
        assert_true(value == good[i].value);
    }
}

static void anything_but_a_whole_number_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"",
                                      " ",
                                      " 1",
                                      "1 ",
                                      "+1",
                                      "-1",
                                      "-0",
                                      "1.0",
                                      "1e3",
                                      "0x1",
                                      "one",
                                      "1,2",
                                      "1\n",
                                      "--1",
                                      "99999999999999999999",
                                      "18446744073709551616"};
    for (size_t i = 0; i < PF_ARRAY_LENGTH(bad); i++) {
        uint64_t value = 99;
        struct pf_error err = {0};
        assert_int_equal(pf_text_u64("--n", bad[i], 0, UINT64_MAX, &value, &err), PF_INVALID);
        assert_int_equal(value, 99);
        assert_non_null(strstr(err.text, bad[i]));
    }
}

static void the_range_is_inclusive_and_named(void **state)
{
    (void)state;
    uint64_t value = 0;
    struct pf_error err;
    assert_int_equal(pf_text_u64("--alpha", "1", 1, 64, &value, &err), PF_OK);
    assert_int_equal(pf_text_u64("--alpha", "64", 1, 64, &value, &err), PF_OK);
    assert_int_equal(pf_text_u64("--alpha", "0", 1, 64, &value, &err), PF_INVALID);
    assert_string_equal(err.text, "--alpha: '0' is not a whole number from 1 to 64");
    assert_int_equal(pf_text_u64("--alpha", "65", 1, 64, &value, &err), PF_INVALID);
    assert_int_equal(value, 64);
}

static void decimals_are_read(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        double value;
    } good[] = {{"0", 0},       {"1.75", 1.75}, {".5", 0.5},   {"-2", -2},
                {"1e-3", 1e-3}, {"+4", 4},      {"1E2", 100.0}};
    for (size_t i = 0; i < PF_ARRAY_LENGTH(good); i++) {
        double value = 99;
        assert_int_equal(pf_text_double("--x", good[i].text, -1e9, 1e9, &value, NULL), PF_OK);
        assert_true(value == good[i].value);
    }
}

static void anything_but_a_finite_decimal_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"",     " ",     " 1",    "1 ",   "1,5", "nan", "inf",
                                      "-inf", "1e999", "1.2.3", "0.5x", "e5",  "\t2"};
    for (size_t i = 0; i < PF_ARRAY_LENGTH(bad); i++) {
        double value = 99;
        struct pf_error err = {0};
        assert_int_equal(pf_text_double("--x", bad[i], -1e9, 1e9, &value, &err), PF_INVALID);
        assert_true(value == 99);
        assert_non_null(strstr(err.text, bad[i]));
    }
    double value = 99;
    struct pf_error err;
    assert_int_equal(pf_text_double("--gamma", "1.76", 0, 1.75, &value, &err), PF_INVALID);
    assert_string_equal(err.text, "--gamma: '1.76' is not a number from 0 to 1.75");
    assert_int_equal(pf_text_double("--gamma", "1.75", 0, 1.75, &value, &err), PF_OK);
}

static void lists_are_read_in_order(void **state)
{
    (void)state;
    uint32_t values[4] = {0};
    size_t n = 0;
    assert_int_equal(pf_text_u32_list("--filters", "32,64,128", 1, 4096, values, 4, &n, NULL),
                     PF_OK);
    assert_int_equal(n, 3);
    assert_int_equal(values[0], 32);
    assert_int_equal(values[1], 64);
    assert_int_equal(values[2], 128);
    assert_int_equal(
        pf_text_u32_list("--filters", "4294967295", 0, UINT32_MAX, values, 1, &n, NULL), PF_OK);
    assert_int_equal(n, 1);
    assert_true(values[0] == UINT32_MAX);
}

static void broken_lists_are_refused_and_nothing_is_written(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "", ",", "1,", ",1", "1,,2", "1, 2", "1;2", "0,1", "1,65", "1,x", "1,2,3,4,5",
        /* longer than any number is, and a number only if cut short */
        "1,00000000000000000000002x", "00000000000000000000002000000000000000000000000000"};
    for (size_t i = 0; i < PF_ARRAY_LENGTH(bad); i++) {
        uint32_t values[4] = {7, 7, 7, 7};
        size_t n = 9;
        struct pf_error err = {0};
        assert_int_equal(pf_text_u32_list("--alpha", bad[i], 1, 64, values, 4, &n, &err),
                         PF_INVALID);
        assert_int_equal(n, 9);
        for (size_t k = 0; k < 4; k++) assert_int_equal(values[k], 7);
        assert_int_equal(strncmp(err.text, "--alpha: '", 10), 0);
    }
}

static void hexadecimal_is_lower_case_and_ended(void **state)
{
    (void)state;
    const uint8_t bytes[] = {0x00, 0x9f, 0xA0, 0xff};
    char out[9];
    memset(out, 'x', sizeof out);
    pf_text_hex(out, bytes, sizeof bytes);
    assert_string_equal(out, "009fa0ff");
    pf_text_hex(out, bytes, 0);
    assert_string_equal(out, "");
}

static void thousands_are_set_apart(void **state)
{
    (void)state;
    char out[32];
    assert_string_equal(pf_text_thousands(out, 0), "0");
    assert_string_equal(pf_text_thousands(out, 999), "999");
    assert_string_equal(pf_text_thousands(out, 1000), "1,000");
    assert_string_equal(pf_text_thousands(out, 30730001), "30,730,001");
    assert_string_equal(pf_text_thousands(out, UINT64_MAX), "18,446,744,073,709,551,615");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole_numbers_are_read_to_their_limits),
        cmocka_unit_test(anything_but_a_whole_number_is_refused),
        cmocka_unit_test(the_range_is_inclusive_and_named),
        cmocka_unit_test(decimals_are_read),
        cmocka_unit_test(anything_but_a_finite_decimal_is_refused),
        cmocka_unit_test(lists_are_read_in_order),
        cmocka_unit_test(broken_lists_are_refused_and_nothing_is_written),
        cmocka_unit_test(hexadecimal_is_lower_case_and_ended),
        cmocka_unit_test(thousands_are_set_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
