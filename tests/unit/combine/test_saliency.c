/* What weights are worth, and what follows from it for pruning and grouping. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "tests/unit/combine/combine_fixture.h"

/* ---- the mean square after ReLU6 ----------------------------------------------------------- */

/* By the midpoint rule over ten deviations either way. */
static double integrated(double mean, double deviation)
{
    enum { N = 200000 };
    double sum = 0.0, step = 20.0 / N;
    for (size_t i = 0; i < N; i++) {
        double z = -10.0 + ((double)i + 0.5) * step;
        double x = fmin(fmax(mean + deviation * z, 0.0), 6.0);
        sum += x * x * exp(-0.5 * z * z) / sqrt(2.0 * M_PI) * step;
    }
    return sum;
}

static void the_mean_square_after_relu6_is_that_of_the_integral(void **state)
{
    (void)state;
    static const double means[] = {-8.0, -1.0, 0.0, 0.3, 2.5, 6.0, 9.0};
    static const double deviations[] = {0.01, 0.5, 1.0, 3.0, 20.0};
    for (size_t m = 0; m < PF_ARRAY_LENGTH(means); m++)
        for (size_t d = 0; d < PF_ARRAY_LENGTH(deviations); d++)
            assert_true(fabs(pf_relu6_mean_square(means[m], deviations[d]) -
                             integrated(means[m], deviations[d])) < 2e-4);
}

static void without_deviation_it_is_the_square_of_the_mean(void **state)
{
    (void)state;
    assert_true(pf_relu6_mean_square(-1.0, 0.0) == 0.0);
    assert_true(pf_relu6_mean_square(3.0, 0.0) == 9.0);
    assert_true(pf_relu6_mean_square(7.0, 0.0) == 36.0);
    assert_true(fabs(pf_relu6_mean_square(0.0, 1.0) - 0.5) < 1e-8); /* half of the variance */
}

/* ---- worth -------------------------------------------------------------------------------- */

static void magnitude_is_the_weight_without_its_sign(void **state)
{
    (void)state;
    PF_CLEANUP(pf_model_destroyp) struct pf_model *model = random_model(PF_LAYER_SHIFT, 1);
    float worth[12 * 12];
    pf_layer_worth(model, 4, PF_SALIENCY_MAGNITUDE, worth);
    for (size_t i = 0; i < PF_ARRAY_LENGTH(worth); i++)
        assert_true(worth[i] == fabsf(model->layers[4].weight[i]));
}

/* Layer 3 reads layer 2: 12 × 8, and for 3×3 convolutions 12 × 72. */
static void check_output_worth(enum pf_layer_kind kind)
{
    PF_CLEANUP(pf_model_destroyp) struct pf_model *model = random_model(kind, 2);
    const struct pf_layer *before = &model->layers[2], *layer = &model->layers[3];
    size_t per_channel = layer->n_columns / layer->in_channels;
    PF_CLEANUP(pf_freep) float *worth = PF_ALLOC(layer->n_weights, float);
    pf_layer_worth(model, 3, PF_SALIENCY_OUTPUT, worth);
    for (size_t r = 0; r < layer->out_channels; r++) {
        for (size_t k = 0; k < layer->n_columns; k++) {
            size_t c = k / per_channel;
            double w = (double)layer->weight[r * layer->n_columns + k];
            double folded = w * (double)layer->gamma[r] / sqrt((double)layer->variance[r] + 1e-5);
            double expected =
                folded * folded * integrated((double)before->beta[c], (double)before->gamma[c]);
            assert_true(fabs((double)worth[r * layer->n_columns + k] - expected) <
                        1e-3 * expected + 1e-7);
        }
    }
}

static void output_worth_is_what_the_normalised_output_loses(void **state)
{
    (void)state;
    check_output_worth(PF_LAYER_SHIFT);
    check_output_worth(PF_LAYER_CONV3X3);
}

static void worth_is_zero_exactly_where_the_weight_is(void **state)
{
    (void)state;
    PF_CLEANUP(pf_model_destroyp) struct pf_model *model = random_model(PF_LAYER_SHIFT, 3);
    for (size_t i = 0; i < 144; i += 5) model->layers[4].weight[i] = 0.0f;
    for (enum pf_saliency kind = 0; kind < PF_N_SALIENCIES; kind++) {
        float worth[144];
        pf_layer_worth(model, 4, kind, worth);
        for (size_t i = 0; i < 144; i++)
            assert_true((worth[i] == 0.0f) == (model->layers[4].weight[i] == 0.0f));
    }
}

/* ---- combining by it ----------------------------------------------------------------------- */

static struct pf_model *combine_by(const struct pf_model *model, enum pf_saliency saliency)
{
    const struct pf_combine_options options = {
        .alpha = {2, 8}, .gamma = 0.5, .density = {0.6, 0.3}, .saliency = saliency};
    struct pf_model *combined = NULL;
    struct pf_error err = {0};
    if (pf_model_combine(model, &options, &combined, NULL, &err) != PF_OK) fail_msg("%s", err.text);
    assert_int_equal(pf_model_validate(combined, NULL), PF_OK);
    return combined;
}

static size_t weights_of_column(const struct pf_packing *packing, uint32_t column)
{
    size_t n = 0;
    for (uint32_t i = 0; i < packing->n_weights; i++) n += packing->column[i] == column;
    return n;
}

/* A channel that batch norm holds far below 0 is always 0 after ReLU6: no weight that reads it does
 * anything, however large it is. */
static void what_reads_a_dead_channel_goes_first(void **state)
{
    (void)state;
    PF_CLEANUP(pf_model_destroyp) struct pf_model *model = random_model(PF_LAYER_SHIFT, 4);
    model->layers[3].beta[5] = -40.0f;
    for (size_t r = 0; r < 12; r++) model->layers[4].weight[r * 12 + 5] = 10.0f;
    PF_CLEANUP(pf_model_destroyp)
    struct pf_model *by_magnitude = combine_by(model, PF_SALIENCY_MAGNITUDE);
    PF_CLEANUP(pf_model_destroyp)
    struct pf_model *by_output = combine_by(model, PF_SALIENCY_OUTPUT);
    assert_int_equal(weights_of_column(by_magnitude->layers[4].packing, 5), 12);
    assert_int_equal(weights_of_column(by_output->layers[4].packing, 5), 0);
}

/* What stays is the weight itself, not what it is worth. */
static void the_survivors_are_weights_of_the_model(void **state)
{
    (void)state;
    PF_CLEANUP(pf_model_destroyp) struct pf_model *model = random_model(PF_LAYER_SHIFT, 5);
    PF_CLEANUP(pf_model_destroyp) struct pf_model *combined = combine_by(model, PF_SALIENCY_OUTPUT);
    const struct pf_layer *given = &model->layers[4], *layer = &combined->layers[4];
    float weights[144];
    pf_layer_dense_weights(layer, weights);
    size_t n = 0;
    for (size_t i = 0; i < 144; i++) {
        if (weights[i] == 0.0f) continue;
        assert_true(weights[i] == given->weight[i]);
        n++;
    }
    assert_int_equal(n, layer->n_weights);
}

/* Nothing is pruned here, so on each row the whole group competes. */
static void conflicts_are_decided_by_worth(void **state)
{
    (void)state;
    PF_CLEANUP(pf_model_destroyp) struct pf_model *model = random_model(PF_LAYER_SHIFT, 6);
    const struct pf_combine_options options = {.alpha = {8, 8},
                                               .gamma = 8.0,
                                               .density = {1.0, 1.0},
                                               .saliency = PF_SALIENCY_OUTPUT,
                                               .packer = {.effort = 0.01, .seed = 1}};
    PF_CLEANUP(pf_model_destroyp) struct pf_model *combined = NULL;
    assert_int_equal(pf_model_combine(model, &options, &combined, NULL, NULL), PF_OK);
    const struct pf_packing *packing = combined->layers[4].packing;
    assert_int_equal(packing->n_groups, 2);
    float worth[144];
    pf_layer_worth(model, 4, PF_SALIENCY_OUTPUT, worth);
    size_t n_unlike_magnitude = 0;
    for (size_t r = 0; r < 12; r++) {
        for (uint32_t i = packing->row_start[r]; i < packing->row_start[r + 1]; i++) {
            uint32_t kept = packing->column[i];
            for (uint32_t k = 0; k < 12; k++) {
                if (packing->group_of_column[k] != packing->group_of_column[kept]) continue;
                assert_true(worth[r * 12 + k] <= worth[r * 12 + kept]);
                n_unlike_magnitude += fabsf(model->layers[4].weight[r * 12 + k]) >
                                      fabsf(model->layers[4].weight[r * 12 + kept]);
            }
        }
    }
    assert_true(n_unlike_magnitude > 0);
}

/* What the layer before gives is 0 but for rounding; its readers keep their weights all the same.
 */
static void a_layer_whose_weights_are_worth_next_to_nothing_keeps_them(void **state)
{
    (void)state;
    PF_CLEANUP(pf_model_destroyp) struct pf_model *model = random_model(PF_LAYER_SHIFT, 7);
    for (size_t r = 0; r < 12; r++) {
        model->layers[3].gamma[r] = 0.01f;
        model->layers[3].beta[r] = -0.5f;
    }
    struct pf_combine_options options = {
        .alpha = {2, 8}, .gamma = 8.0, .density = {1.0, 1.0}, .saliency = PF_SALIENCY_OUTPUT};
    struct pf_combine_report report;
    PF_CLEANUP(pf_model_destroyp) struct pf_model *combined = NULL;
    assert_int_equal(pf_model_combine(model, &options, &combined, &report, NULL), PF_OK);
    assert_int_equal(report.layers[4].nonzeros_pruned, 144);
    assert_int_equal(combined->layers[4].n_weights, 2 * 12); /* one per row of two groups */
}

static void the_mean_square_is_never_beyond_what_can_be(void **state)
{
    (void)state;
    static const double means[] = {-1e30, -40.0, -9.0, -3.0, 0.0, 9.0, 1e30};
    static const double deviations[] = {1e-13, 1e-3, 1.0, 50.0, 1e30};
    for (size_t m = 0; m < PF_ARRAY_LENGTH(means); m++) {
        for (size_t d = 0; d < PF_ARRAY_LENGTH(deviations); d++) {
            double square = pf_relu6_mean_square(means[m], deviations[d]);
            assert_true(square >= 0.0 && square <= 36.0);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_mean_square_after_relu6_is_that_of_the_integral),
        cmocka_unit_test(without_deviation_it_is_the_square_of_the_mean),
        cmocka_unit_test(magnitude_is_the_weight_without_its_sign),
        cmocka_unit_test(output_worth_is_what_the_normalised_output_loses),
        cmocka_unit_test(worth_is_zero_exactly_where_the_weight_is),
        cmocka_unit_test(what_reads_a_dead_channel_goes_first),
        cmocka_unit_test(the_survivors_are_weights_of_the_model),
        cmocka_unit_test(conflicts_are_decided_by_worth),
        cmocka_unit_test(a_layer_whose_weights_are_worth_next_to_nothing_keeps_them),
        cmocka_unit_test(the_mean_square_is_never_beyond_what_can_be),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
