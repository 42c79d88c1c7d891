/* One cell of the one-bit model against ordinary multiplication, exhaustively. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "sim/array/one_bit.h"
#include "tests/unit/array/random_layer.h"

#define N_INPUTS 256u

/* A matrix of one cell, on the stack. */
struct one_cell {
    int16_t weight;
    uint8_t select;
    uint32_t channel[8];
    struct pf_array_matrix matrix;
};

static void one_cell_init(struct one_cell *self, int weight, uint32_t alpha, uint8_t select)
{
    *self = (struct one_cell){.weight = (int16_t)weight, .select = select};
    for (uint32_t i = 0; i < alpha; i++) self->channel[i] = i;
    self->matrix = (struct pf_array_matrix){.n_rows = 1,
                                            .n_groups = 1,
                                            .n_channels = alpha,
                                            .alpha = alpha,
                                            .channel = self->channel,
                                            .weight = &self->weight,
                                            .select = &self->select};
}

static void run(const struct pf_array *array, const struct one_cell *cell, const uint8_t *x,
                size_t n_pixels, int32_t *sums)
{
    uint64_t cycles;
    struct pf_error err;
    assert_int_equal(
        pf_array_one_bit_tile(array, &cell->matrix, 0, 0, x, n_pixels, sums, &cycles, &err), PF_OK);
    assert_int_equal(cycles, array->input_bits * (n_pixels - 1) + array->accumulation_bits);
}

/* All 511 weights × 256 inputs, one after the other through the lanes, on random partial sums. */
static void test_every_weight_times_every_input(void **state)
{
    (void)state;
    struct pf_array array = small_array(1, 1, 1, 8, 32);
    struct pf_random random;
    pf_random_init(&random, 1, "cell", 0);
    for (int weight = -255; weight <= 255; weight++) {
        struct one_cell cell;
        one_cell_init(&cell, weight, 1, 0);
        uint8_t x[N_INPUTS];
        int32_t sums[N_INPUTS];
        uint32_t expected[N_INPUTS];
        for (size_t p = 0; p < N_INPUTS; p++) {
            x[p] = (uint8_t)(p * 77 + (size_t)(weight + 255)); /* 77 is odd: all 256 values */
            expected[p] = pf_random_u32(&random);
            sums[p] = (int32_t)expected[p];
            expected[p] += (uint32_t)(weight * x[p]);
        }
        run(&array, &cell, x, N_INPUTS, sums);
        for (size_t p = 0; p < N_INPUTS; p++) assert_int_equal((uint32_t)sums[p], expected[p]);
    }
}

/* Carries through the whole word: sums that just reach, leave or cross zero and the ends. */
static void test_carries_run_through_the_whole_word(void **state)
{
    (void)state;
    static const int32_t partials[] = {
        0,     -1,     1,        INT32_MAX,  INT32_MIN, 255 * 255, -255 * 255, -65026,
        65024, 0xffff, -0x10000, 0x7fff0000, 0xff,      -0x100,    0x55555555, -0x55555556};
    struct pf_array array = small_array(1, 1, 1, 8, 32);
    for (int sign = -1; sign <= 1; sign++) {
        struct one_cell cell;
        one_cell_init(&cell, 255 * sign, 1, 0);
        uint8_t x[PF_ARRAY_LENGTH(partials)];
        int32_t sums[PF_ARRAY_LENGTH(partials)];
        for (size_t p = 0; p < PF_ARRAY_LENGTH(partials); p++) {
            x[p] = p % 2 == 0 ? 255 : 1;
            sums[p] = partials[p];
        }
        run(&array, &cell, x, PF_ARRAY_LENGTH(partials), sums);
        for (size_t p = 0; p < PF_ARRAY_LENGTH(partials); p++)
            assert_int_equal((uint32_t)sums[p],
                             (uint32_t)partials[p] + (uint32_t)(255 * sign * x[p]));
    }
}

static void test_the_multiplexer_picks_one_of_eight_streams(void **state)
{
    (void)state;
    struct pf_array array = small_array(1, 1, 8, 8, 32);
    static const uint8_t x[8][3] = {{1, 2, 3},     {10, 20, 30}, {50, 60, 70},   {255, 0, 255},
                                    {0, 255, 128}, {7, 77, 177}, {99, 101, 103}, {200, 201, 202}};
    for (uint8_t select = 0; select < 8; select++) {
        struct one_cell cell;
        one_cell_init(&cell, -13, 8, select);
        int32_t sums[3] = {0, 5, -5};
        run(&array, &cell, &x[0][0], 3, sums);
        assert_int_equal(sums[0], -13 * x[select][0]);
        assert_int_equal(sums[1], 5 - 13 * x[select][1]);
        assert_int_equal(sums[2], -5 - 13 * x[select][2]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_weight_times_every_input),
        cmocka_unit_test(test_carries_run_through_the_whole_word),
        cmocka_unit_test(test_the_multiplexer_picks_one_of_eight_streams),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
