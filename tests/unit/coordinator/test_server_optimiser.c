/* Server optimisers against values worked out by hand. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "coordinator/server_optimiser.h"

#define N_TRAINED 2
#define N 3

static struct pf_server_optimiser *make(enum pf_server_optimiser_kind kind, double rate)
{
    struct pf_server_optimiser_options options;
    pf_server_optimiser_default(kind, &options);
    options.learning_rate = rate;
    struct pf_server_optimiser *optimiser = NULL;
    struct pf_error err;
    assert_int_equal(pf_server_optimiser_create(&options, N_TRAINED, N, &optimiser, &err), PF_OK);
    return optimiser;
}

static void assert_near(float value, double expected)
{
    if (fabs((double)value - expected) > 1e-6 * fmax(1, fabs(expected)))
        fail_msg("%.9g, expected %.9g", (double)value, expected);
}

static void test_fedavg(void **state)
{
    (void)state;
    PF_CLEANUP(pf_server_optimiser_destroyp)
    struct pf_server_optimiser *optimiser = make(PF_FEDAVG, 0.5);
    float w[N] = {1, 2, 3};
    const float mean[N] = {0.2f, -0.4f, 1};
    pf_server_optimiser_step(optimiser, w, mean);
    assert_near(w[0], 1.1);
    assert_near(w[1], 1.8);
    assert_near(w[2], 4); /* statistics: the mean itself, whatever the rate */
}

static void test_fedavgm(void **state)
{
    (void)state;
    PF_CLEANUP(pf_server_optimiser_destroyp)
    struct pf_server_optimiser *optimiser = make(PF_FEDAVGM, 1);
    float w[N] = {1, 2, 3};
    const float first[N] = {0.2f, -0.4f, 1}, second[N] = {0.1f, 0, -1};
    pf_server_optimiser_step(optimiser, w, first);
    assert_near(w[0], 1.2); /* m = .2 */
    assert_near(w[1], 1.6);
    pf_server_optimiser_step(optimiser, w, second);
    assert_near(w[0], 1.48); /* m = .9·.2 + .1 = .28 */
    assert_near(w[1], 1.24); /* m = .9·−.4 = −.36 */
    assert_near(w[2], 3);
}

static void test_fedadam(void **state)
{
    (void)state;
    PF_CLEANUP(pf_server_optimiser_destroyp)
    struct pf_server_optimiser *optimiser = make(PF_FEDADAM, 0.1);
    float w[N] = {1, 2, 3};
    const float mean[N] = {0.2f, 0, 0.5f};
    pf_server_optimiser_step(optimiser, w, mean);
    /* m = .02, v = .99·10⁻⁶ + .01·.04 = 4.0099·10⁻⁴, √v = .020024735, step .1·.02/.021024735 */
    assert_near(w[0], 1.0951260);
    assert_near(w[1], 2);
    assert_near(w[2], 3.5);
    pf_server_optimiser_step(optimiser, w, mean);
    /* m = .038, v = .99·4.0099·10⁻⁴ + 4·10⁻⁴ = 7.969801·10⁻⁴, √v = .028230836, step
     * .1·.038/.029230836 */
    assert_near(w[0], 1.0951260 + 0.1300003);
}

static struct pf_model *make_model(void)
{
    const struct pf_network network = {.block_kind = PF_LAYER_SHIFT,
                                       .n_blocks = 1,
                                       .filters = {2},
                                       .layers = {1},
                                       .strides = {1},
                                       .in_channels = 1,
                                       .in_height = 4,
                                       .in_width = 4,
                                       .n_classes = 2};
    struct pf_model *model = NULL;
    assert_int_equal(pf_model_create(&network, NULL, &model, NULL), PF_OK);
    return model;
}

static void test_a_round_takes_a_variance_down_to_a_sixteenth_at_most(void **state)
{
    (void)state;
    PF_CLEANUP(pf_model_destroyp) struct pf_model *model = make_model();
    struct pf_server_optimiser_options options;
    pf_server_optimiser_default(PF_FEDAVG, &options);
    PF_CLEANUP(pf_server_optimiser_destroyp) struct pf_server_optimiser *optimiser = NULL;
    assert_int_equal(pf_server_optimiser_create(&options, model->n_trained, model->n_parameters,
                                                &optimiser, NULL),
                     PF_OK);
    float mean[256];
    assert_true(model->n_parameters <= 256);
    for (size_t i = 0; i < model->n_parameters; i++) mean[i] = -2;
    assert_int_equal(pf_server_optimiser_apply(optimiser, model, mean, NULL), PF_OK);
    assert_near(model->layers[0].variance[0], 0.0625); /* not 1 − 2 */
    assert_near(model->layers[0].mean[0], -2);
    assert_near(model->layers[0].gamma[0], -1);
    for (size_t i = 0; i < model->n_parameters; i++) mean[i] = 0.5f - 0.0625f;
    assert_int_equal(pf_server_optimiser_apply(optimiser, model, mean, NULL), PF_OK);
    assert_near(model->layers[0].variance[0],
                0.5); /* upwards, and down to more than that, freely */
    for (size_t i = 0; i < model->n_parameters; i++) mean[i] = -0.4f;
    assert_int_equal(pf_server_optimiser_apply(optimiser, model, mean, NULL), PF_OK);
    assert_near(model->layers[0].variance[0], 0.1);
    assert_int_equal(pf_model_validate(model, NULL), PF_OK);
}

static void test_infinite_step_changes_nothing(void **state)
{
    (void)state;
    PF_CLEANUP(pf_model_destroyp) struct pf_model *model = make_model();
    struct pf_server_optimiser_options options;
    pf_server_optimiser_default(PF_FEDAVGM, &options);
    PF_CLEANUP(pf_server_optimiser_destroyp) struct pf_server_optimiser *optimiser = NULL;
    assert_int_equal(pf_server_optimiser_create(&options, model->n_trained, model->n_parameters,
                                                &optimiser, NULL),
                     PF_OK);
    float mean[256] = {0}, before[256];
    mean[0] = 1;
    assert_int_equal(pf_server_optimiser_apply(optimiser, model, mean, NULL), PF_OK);
    memcpy(before, model->parameters, model->n_parameters * sizeof(float));
    PF_CLEANUP(pf_buffer_finish) struct pf_buffer saved = {0};
    assert_int_equal(pf_server_optimiser_save(optimiser, &saved, NULL), PF_OK);

    struct pf_error err = {0};
    mean[1] = INFINITY;
    assert_int_equal(pf_server_optimiser_apply(optimiser, model, mean, &err), PF_REFUSED);
    assert_non_null(strstr(err.text, "parameter 1 infinite"));
    assert_memory_equal(before, model->parameters, model->n_parameters * sizeof(float));
    PF_CLEANUP(pf_buffer_finish) struct pf_buffer after = {0};
    assert_int_equal(pf_server_optimiser_save(optimiser, &after, NULL), PF_OK);
    assert_int_equal(saved.length, after.length);
    assert_memory_equal(saved.bytes, after.bytes, saved.length);
}

static void test_state_travels(void **state)
{
    (void)state;
    const enum pf_server_optimiser_kind kinds[] = {PF_FEDAVG, PF_FEDAVGM, PF_FEDADAM};
    const size_t lengths[] = {0, N_TRAINED * 4, 2 * N_TRAINED * 4};
    const float mean[N] = {0.2f, -0.4f, 1};
    for (size_t k = 0; k < 3; k++) {
        PF_CLEANUP(pf_server_optimiser_destroyp)
        struct pf_server_optimiser *one = make(kinds[k], 0.1);
        PF_CLEANUP(pf_server_optimiser_destroyp)
        struct pf_server_optimiser *two = make(kinds[k], 0.1);
        PF_CLEANUP(pf_buffer_finish) struct pf_buffer bytes = {0};
        float a[N] = {1, 2, 3}, b[N];
        pf_server_optimiser_step(one, a, mean);
        memcpy(b, a, sizeof a);
        assert_int_equal(pf_server_optimiser_save(one, &bytes, NULL), PF_OK);
        assert_int_equal(bytes.length, lengths[k]);
        assert_int_equal(pf_server_optimiser_restore(two, bytes.bytes, bytes.length, NULL), PF_OK);
        pf_server_optimiser_step(one, a, mean);
        pf_server_optimiser_step(two, b, mean);
        assert_memory_equal(a, b, sizeof a);
        const uint8_t odd[5] = {0};
        assert_int_equal(pf_server_optimiser_restore(two, odd, sizeof odd, NULL), PF_CORRUPT);
    }
}

static void test_bad_options(void **state)
{
    (void)state;
    struct pf_server_optimiser_options good, bad;
    pf_server_optimiser_default(PF_FEDADAM, &good);
    assert_int_equal(pf_server_optimiser_validate(&good, NULL), PF_OK);
    bad = good, bad.learning_rate = 0;
    assert_int_equal(pf_server_optimiser_validate(&bad, NULL), PF_INVALID);
    bad = good, bad.learning_rate = (double)NAN;
    assert_int_equal(pf_server_optimiser_validate(&bad, NULL), PF_INVALID);
    bad = good, bad.momentum = 1;
    assert_int_equal(pf_server_optimiser_validate(&bad, NULL), PF_INVALID);
    bad = good, bad.adaptivity = 0;
    assert_int_equal(pf_server_optimiser_validate(&bad, NULL), PF_INVALID);
    bad = good, bad.kind = (enum pf_server_optimiser_kind)9;
    assert_int_equal(pf_server_optimiser_validate(&bad, NULL), PF_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fedavg),
        cmocka_unit_test(test_fedavgm),
        cmocka_unit_test(test_fedadam),
        cmocka_unit_test(test_a_round_takes_a_variance_down_to_a_sixteenth_at_most),
        cmocka_unit_test(test_infinite_step_changes_nothing),
        cmocka_unit_test(test_state_travels),
        cmocka_unit_test(test_bad_options),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
