/* The choice of a layer's scale. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>

#include "common/base/random.h"
#include "common/quant/scale.h"

#define N_ROWS 16u
#define N_COLUMNS 32u

struct matrix {
    float weights[N_ROWS * N_COLUMNS];
    double linear[N_ROWS], variance[N_COLUMNS];
};

/* Normal weights of one deviation, every row and column of equal say. */
static void matrix_init(struct matrix *self, double deviation, uint64_t seed)
{
    struct pf_random random;
    pf_random_init(&random, seed, "matrix", 0);
    for (size_t i = 0; i < N_ROWS * N_COLUMNS; i++)
        self->weights[i] = (float)(deviation * pf_random_normal(&random));
    for (size_t r = 0; r < N_ROWS; r++) self->linear[r] = 1.0;
    for (size_t k = 0; k < N_COLUMNS; k++) self->variance[k] = 1000.0;
}

static int choose(const struct matrix *self, int max_exponent)
{
    return pf_quant_choose_exponent(self->weights, N_ROWS, N_COLUMNS, self->linear, self->variance,
                                    max_exponent);
}

static double error_at(const struct matrix *self, int exponent)
{
    return pf_quant_scale_error(self->weights, N_ROWS, N_COLUMNS, self->linear, self->variance,
                                exponent);
}

static void test_weights_round_and_saturate(void **state)
{
    (void)state;
    assert_int_equal(pf_quant_round_weight(1.0f, 3), 8);
    assert_int_equal(pf_quant_round_weight(0.49f, 0), 0);
    assert_int_equal(pf_quant_round_weight(0.5f, 0), 1);
    assert_int_equal(pf_quant_round_weight(-0.5f, 0), -1);
    assert_int_equal(pf_quant_round_weight(127.4f, 0), 127);
    assert_int_equal(pf_quant_round_weight(1.0f, 7), 127);
    assert_int_equal(pf_quant_round_weight(-1e30f, 7), -127);
}

/* Against sums over a fine grid of the normal density. */
static void test_relu6_statistics_match_integration(void **state)
{
    (void)state;
    static const double cases[][2] = {{0, 1},   {1, 0.5}, {3, 2}, {-2, 1},   {7, 1},
                                      {5.5, 3}, {-6, .5}, {2, 0}, {12, 0.1}, {1, 1e-3}};
    for (size_t i = 0; i < PF_ARRAY_LENGTH(cases); i++) {
        double mean = cases[i][0], deviation = cases[i][1];
        double first = 0, second = 0, linear = 0, total = 0;
        for (int j = -8000; j <= 8000; j++) {
            double u = j / 1000.0, density = exp(-u * u / 2), z = mean + deviation * u;
            double a = fmax(0, fmin(6, z)) * 255 / 6;
            first += density * a;
            second += density * a * a;
            linear += density * (z > 0 && z < 6);
            total += density;
        }
        struct pf_quant_statistics s = pf_quant_relu6_statistics(mean, deviation);
        assert_true(fabs(s.mean - first / total) < 0.02);
        double variance = second / total - (first / total) * (first / total);
        assert_true(fabs(s.variance - variance) < 2.0);
        assert_true(fabs(s.linear - linear / total) < 2e-3);
    }
}

/* A stuck channel (variance 0 against epsilon) does not count as active. */
static void test_layer_statistics_follow_batch_norm(void **state)
{
    (void)state;
    float gamma[] = {1.0f, -2.0f, 1.0f}, beta[] = {0.5f, 1.0f, -1.0f};
    float mean[] = {9.0f, 9.0f, 9.0f}, variance[] = {4.0f, 0.25f, 0.0f};
    struct pf_layer layer = {
        .out_channels = 3, .gamma = gamma, .beta = beta, .mean = mean, .variance = variance};
    struct pf_quant_statistics s[3];
    pf_quant_layer_statistics(&layer, s);
    assert_true(fabs(s[0].mean - pf_quant_relu6_statistics(0.5, 1.0).mean) < 1e-3);
    assert_true(fabs(s[1].variance - pf_quant_relu6_statistics(1.0, 2.0).variance) < 0.2);
    assert_true(s[2].variance == 0.0 && s[2].linear == 0.0);
}

static void test_uniform_weights_take_the_scale_that_fits(void **state)
{
    (void)state;
    static struct matrix m;
    matrix_init(&m, 0.0, 1);
    for (size_t i = 0; i < N_ROWS * N_COLUMNS; i++)
        m.weights[i] = (float)((int)(i % 201) - 100) / 256.0f; /* −100 … 100 at 2^8 */
    assert_int_equal(choose(&m, 23), 8);
    assert_true(error_at(&m, 8) == 0.0);
}

static void test_the_choice_has_the_least_error(void **state)
{
    (void)state;
    static struct matrix m;
    for (uint64_t seed = 0; seed < 20; seed++) {
        matrix_init(&m, 0.02 * (double)(1 + seed * seed), seed);
        m.weights[seed] *= 30.0f;
        int best = choose(&m, 23);
        for (int e = best - 6; e <= best + 6; e++)
            assert_true(error_at(&m, best) <= error_at(&m, e));
    }
}

/* One weight eight times as large as fits the rest: finer is better although it saturates. */
static void test_an_outlier_is_saturated(void **state)
{
    (void)state;
    static struct matrix m;
    matrix_init(&m, 0.0, 1);
    for (size_t i = 0; i < N_ROWS * N_COLUMNS; i++)
        m.weights[i] = (float)((int)(i % 9) - 4) / 128.0f + 1.0f / 512.0f;
    m.weights[7] = 0.3f;
    m.variance[7] = 1.0; /* seldom driven */
    int fits = 8;        /* 0.3 · 2^8 = 77 */
    int chosen = choose(&m, 23);
    assert_true(chosen > fits);
    assert_int_equal(pf_quant_round_weight(m.weights[7], chosen), 127);
    m.variance[7] = 1e12; /* … unless it matters */
    assert_int_equal(choose(&m, 23), fits);
}

/* Rows that never lie inside ReLU6's range do not decide. */
static void test_rows_count_by_how_often_they_are_linear(void **state)
{
    (void)state;
    static struct matrix m;
    matrix_init(&m, 0.01, 2);
    for (size_t k = 0; k < N_COLUMNS; k++) m.weights[k] *= 50.0f;
    m.linear[0] = 0.0;
    int without = choose(&m, 23);
    m.linear[0] = 1.0;
    assert_true(choose(&m, 23) < without);
}

static void test_scales_stay_within_their_range(void **state)
{
    (void)state;
    static struct matrix m;
    matrix_init(&m, 0.0, 3);
    assert_int_equal(choose(&m, 23), 0); /* nothing to scale */
    matrix_init(&m, 1e-12, 3);
    assert_int_equal(choose(&m, 23), 23); /* tiny */
    assert_int_equal(choose(&m, 5), 5);
    matrix_init(&m, 1000.0, 3);
    assert_true(choose(&m, 23) < 0); /* too large for a scale of 1 */
    m.weights[0] = INFINITY;
    assert_true(choose(&m, 23) < 0);
}

/* A huge weight on a channel that is never active costs nothing and must not refuse the layer. */
static void test_a_dead_column_does_not_decide(void **state)
{
    (void)state;
    static struct matrix m;
    matrix_init(&m, 0.1, 4);
    int before = choose(&m, 23);
    for (size_t r = 0; r < N_ROWS; r++) m.weights[r * N_COLUMNS] = 300.0f;
    m.variance[0] = 0.0;
    assert_int_equal(choose(&m, 23), before);
    for (size_t k = 0; k < N_COLUMNS; k++) m.variance[k] = 0.0;
    assert_true(choose(&m, 23) >= 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_weights_round_and_saturate),
        cmocka_unit_test(test_relu6_statistics_match_integration),
        cmocka_unit_test(test_layer_statistics_follow_batch_norm),
        cmocka_unit_test(test_uniform_weights_take_the_scale_that_fits),
        cmocka_unit_test(test_the_choice_has_the_least_error),
        cmocka_unit_test(test_an_outlier_is_saturated),
        cmocka_unit_test(test_rows_count_by_how_often_they_are_linear),
        cmocka_unit_test(test_scales_stay_within_their_range),
        cmocka_unit_test(test_a_dead_column_does_not_decide),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
