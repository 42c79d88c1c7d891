#include <stdarg.h>
#include <stddef.h>

#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/base/random.h"
#include "common/secagg/aggregate.h"

enum { N = 37, UPDATES = 9 };

static void encode(const float *delta, size_t n, double weight, struct pf_buffer *bytes)
{
    struct pf_error err = {0};
    assert_int_equal(pf_update_encode(PF_AGGREGATION_PLAIN, delta, n, weight, bytes, &err), PF_OK);
}

static void draw(struct pf_random *random, float *delta)
{
    for (size_t i = 0; i < N; i++)
        delta[i] = (float)(pf_random_normal(random) * pow(10.0, (double)(i % 12) - 9.0));
}

static void test_layout(void **state)
{
    (void)state;
    PF_CLEANUP(pf_buffer_finish) struct pf_buffer bytes = {0};
    struct pf_error err = {0};
    assert_int_equal(pf_buffer_append(&bytes, "x", 1, &err), PF_OK);
    encode((float[]){1.0f, -2.0f}, 2, 1.0, &bytes);
    static const uint8_t expected[] = {'x', 'P',  'F',  'U', '1', 1,    0,    0, 0, 2, 0,
                                       0,   0,    0,    0,   0,   0,    0,    0, 0, 0, 0,
                                       0,   0xf0, 0x3f, 0,   0,   0x80, 0x3f, 0, 0, 0, 0xc0};
    assert_int_equal(bytes.length, sizeof(expected));
    assert_int_equal(bytes.length - 1, pf_update_size(PF_AGGREGATION_PLAIN, 2));
    assert_memory_equal(bytes.bytes, expected, sizeof(expected));
}

static void test_mean_is_the_weighted_mean(void **state)
{
    (void)state;
    struct pf_random random;
    pf_random_init(&random, 1, "test aggregate", 0);
    PF_CLEANUP(pf_sum_destroyp) struct pf_sum *sum = NULL;
    struct pf_error err = {0};
    assert_int_equal(pf_sum_create(PF_AGGREGATION_PLAIN, N, &sum, &err), PF_OK);
    double expected[N] = {0}, weights = 0;
    for (size_t u = 0; u < UPDATES; u++) {
        PF_CLEANUP(pf_buffer_finish) struct pf_buffer bytes = {0};
        float delta[N];
        double weight = (double)(1 + pf_random_below(&random, 5000));
        draw(&random, delta);
        encode(delta, N, weight, &bytes);
        assert_int_equal(pf_sum_add(sum, bytes.bytes, bytes.length, &err), PF_OK);
        for (size_t i = 0; i < N; i++) expected[i] += weight * (double)delta[i];
        weights += weight;
    }
    float mean[N];
    assert_int_equal(pf_sum_mean(sum, mean, &err), PF_OK);
    assert_int_equal(pf_sum_count(sum), UPDATES);
    assert_true(pf_sum_weight(sum) == weights);
    for (size_t i = 0; i < N; i++)
        assert_true(fabs((double)mean[i] - expected[i] / weights) <=
                    1e-6 * fabs(expected[i] / weights) + 1e-17);
}

static void test_order_does_not_matter_bit_for_bit(void **state)
{
    (void)state;
    struct pf_random random;
    pf_random_init(&random, 2, "test aggregate", 0);
    struct pf_buffer updates[UPDATES] = {0};
    uint32_t order[UPDATES];
    /* Large updates come in pairs that cancel; only the last, small one is left.  A sum of floats
     * or doubles would show the order in which the large ones rounded. */
    float delta[N];
    double weight = 0;
    for (uint32_t u = 0; u < UPDATES; u++) {
        bool second = u % 2 == 1, last = u == UPDATES - 1;
        if (!second) draw(&random, delta);
        if (!second) weight = 0.1 + pf_random_uniform(&random) * 1e4;
        for (size_t i = 0; i < N; i++) {
            if (second) delta[i] = -delta[i];
            if (!second) delta[i] *= last ? 1e-3f : 1e4f;
        }
        encode(delta, N, weight, &updates[u]);
        order[u] = u;
    }
    float first[N];
    double first_weight = 0;
    for (size_t trial = 0; trial < 20; trial++) {
        PF_CLEANUP(pf_sum_destroyp) struct pf_sum *sum = NULL;
        struct pf_error err = {0};
        float mean[N];
        assert_int_equal(pf_sum_create(PF_AGGREGATION_PLAIN, N, &sum, &err), PF_OK);
        for (size_t u = 0; u < UPDATES; u++) {
            struct pf_buffer *bytes = &updates[order[u]];
            assert_int_equal(pf_sum_add(sum, bytes->bytes, bytes->length, &err), PF_OK);
        }
        assert_int_equal(pf_sum_mean(sum, mean, &err), PF_OK);
        if (trial == 0) {
            memcpy(first, mean, sizeof(mean));
            first_weight = pf_sum_weight(sum);
        }
        assert_memory_equal(mean, first, sizeof(mean));
        assert_true(pf_sum_weight(sum) == first_weight);
        pf_random_shuffle(&random, order, UPDATES);
    }
    for (size_t u = 0; u < UPDATES; u++) pf_buffer_finish(&updates[u]);
}

/* Adds `bytes` as given; expects `status` and a sum that did not move. */
static void refuse(const uint8_t *bytes, size_t length, enum pf_status status)
{
    PF_CLEANUP(pf_sum_destroyp) struct pf_sum *sum = NULL;
    PF_CLEANUP(pf_buffer_finish) struct pf_buffer good = {0};
    struct pf_error err = {0};
    float before[2], after[2];
    encode((float[]){0.25f, 3.0f}, 2, 5.0, &good);
    assert_int_equal(pf_sum_create(PF_AGGREGATION_PLAIN, 2, &sum, &err), PF_OK);
    assert_int_equal(pf_sum_add(sum, good.bytes, good.length, &err), PF_OK);
    assert_int_equal(pf_sum_mean(sum, before, &err), PF_OK);
    err.text[0] = '\0';
    assert_int_equal(pf_sum_add(sum, bytes, length, &err), status);
    assert_true(err.text[0] != '\0');
    assert_int_equal(pf_sum_count(sum), 1);
    assert_true(pf_sum_weight(sum) == 5.0);
    assert_int_equal(pf_sum_mean(sum, after, &err), PF_OK);
    assert_memory_equal(before, after, sizeof(before));
}

static void test_forged_updates_are_refused_and_change_nothing(void **state)
{
    (void)state;
    PF_CLEANUP(pf_buffer_finish) struct pf_buffer good = {0};
    encode((float[]){1.0f, -2.0f}, 2, 3.0, &good);
    uint8_t forged[64];
    size_t length = good.length;
    assert_true(length <= sizeof(forged) - 1);
    memcpy(forged, good.bytes, length);
    forged[length] = 0;
    for (size_t l = 0; l < length; l++) refuse(forged, l, PF_CORRUPT);
    refuse(forged, length + 1, PF_CORRUPT);
    for (size_t i = 0; i < 16; i++) { /* magic, kind, n */
        forged[i] ^= 0x40;
        refuse(forged, length, PF_CORRUPT);
        forged[i] ^= 0x40;
    }
    static const double weights[] = {0.0, -1.0, NAN, INFINITY, 4294967297.0, 1e-300};
    for (size_t i = 0; i < PF_ARRAY_LENGTH(weights); i++) {
        memcpy(forged, good.bytes, length);
        memcpy(forged + 16, &weights[i], 8);
        refuse(forged, length, PF_REFUSED);
    }
    static const float deltas[] = {NAN, INFINITY, -INFINITY, 3e38f, -1e16f};
    for (size_t i = 0; i < PF_ARRAY_LENGTH(deltas); i++) {
        memcpy(forged, good.bytes, length);
        memcpy(forged + 28, &deltas[i], 4); /* the last: the first is fine and must not be added */
        refuse(forged, length, PF_REFUSED);
    }
}

static void test_encode_refuses_what_cannot_be_summed(void **state)
{
    (void)state;
    PF_CLEANUP(pf_buffer_finish) struct pf_buffer bytes = {0};
    struct pf_error err = {0};
    static const float deltas[] = {NAN, INFINITY, -INFINITY, 3e38f};
    for (size_t i = 0; i < PF_ARRAY_LENGTH(deltas); i++)
        assert_int_equal(pf_update_encode(PF_AGGREGATION_PLAIN, &deltas[i], 1, 1.0, &bytes, &err),
                         PF_INVALID);
    static const double weights[] = {0.0, -1.0, NAN, INFINITY, 4294967297.0};
    for (size_t i = 0; i < PF_ARRAY_LENGTH(weights); i++)
        assert_int_equal(
            pf_update_encode(PF_AGGREGATION_PLAIN, (float[]){1.0f}, 1, weights[i], &bytes, &err),
            PF_INVALID);
    assert_int_equal(bytes.length, 0);
}

static void test_secure_is_refused_by_a_sentence(void **state)
{
    (void)state;
    PF_CLEANUP(pf_buffer_finish) struct pf_buffer bytes = {0};
    struct pf_error err = {0};
    struct pf_sum *sum = NULL;
    assert_int_equal(pf_sum_create(PF_AGGREGATION_SECURE, 2, &sum, &err), PF_INVALID);
    assert_null(sum);
    assert_non_null(strstr(err.text, "not part of this build"));
    assert_int_equal(pf_update_encode(PF_AGGREGATION_SECURE, (float[]){1.0f}, 1, 1.0, &bytes, &err),
                     PF_INVALID);
}

static void test_extremes_neither_wrap_nor_vanish(void **state)
{
    (void)state;
    PF_CLEANUP(pf_sum_destroyp) struct pf_sum *sum = NULL;
    PF_CLEANUP(pf_buffer_finish) struct pf_buffer bytes = {0};
    struct pf_error err = {0};
    encode((float[]){200000.0f, 1e-12f}, 2, 4294967296.0, &bytes);
    assert_int_equal(pf_sum_create(PF_AGGREGATION_PLAIN, 2, &sum, &err), PF_OK);
    for (size_t i = 0; i < 1000; i++)
        assert_int_equal(pf_sum_add(sum, bytes.bytes, bytes.length, &err), PF_OK);
    float mean[2];
    assert_int_equal(pf_sum_mean(sum, mean, &err), PF_OK);
    assert_true(mean[0] == 200000.0f);
    assert_true(mean[1] == 1e-12f);
}

static void test_mean_of_nothing_is_refused(void **state)
{
    (void)state;
    PF_CLEANUP(pf_sum_destroyp) struct pf_sum *sum = NULL;
    struct pf_error err = {0};
    float mean[1] = {7.0f};
    assert_int_equal(pf_sum_create(PF_AGGREGATION_PLAIN, 1, &sum, &err), PF_OK);
    assert_int_equal(pf_sum_mean(sum, mean, &err), PF_INVALID);
    assert_true(mean[0] == 7.0f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_layout),
        cmocka_unit_test(test_mean_is_the_weighted_mean),
        cmocka_unit_test(test_order_does_not_matter_bit_for_bit),
        cmocka_unit_test(test_forged_updates_are_refused_and_change_nothing),
        cmocka_unit_test(test_encode_refuses_what_cannot_be_summed),
        cmocka_unit_test(test_secure_is_refused_by_a_sentence),
        cmocka_unit_test(test_extremes_neither_wrap_nor_vanish),
        cmocka_unit_test(test_mean_of_nothing_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
