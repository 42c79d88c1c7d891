/* The optimiser against its formula, the schedules at their corners, the options' limits. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/base/random.h"
#include "common/nn/sgd.h"
#include "tests/unit/nn/naive_network.h"

/* Wide enough for a layer of more weights than a range. */
static const struct pf_network network = {PF_LAYER_CONV3X3, 1, {20}, {1}, {1}, 3, 4, 4, 5};

/* Which penalties a parameter takes, from the layout of the model alone. */
static void kind_of(const struct pf_model *model, size_t i, bool *decays, bool *sparse)
{
    *decays = *sparse = false;
    for (size_t l = 0; l < model->n_layers; l++) {
        const struct pf_layer *layer = &model->layers[l];
        const float *p = &model->parameters[i];
        bool weight = p >= layer->weight && p < layer->weight + layer->n_weights;
        bool bias =
            layer->bias != NULL && p >= layer->bias && p < layer->bias + layer->out_channels;
        *decays |= weight || bias;
        *sparse |= weight && layer->kind != PF_LAYER_LINEAR;
    }
}

static void check_steps(struct pf_train_options options, bool anchored)
{
    enum { PARTS = 3, STEPS = 3 };
    struct pf_model *model = naive_model(&network, 0, 1);
    size_t n = model->n_trained;
    float *gradients = PF_ALLOC(PARTS * n, float), *anchor = PF_ALLOC(n, float);
    double *w = PF_ALLOC(n, double), *v = PF_ALLOC(n, double);
    struct pf_random random;
    pf_random_init(&random, 1, "sgd test", 0);
    for (size_t i = 0; i < n; i++) {
        w[i] = (double)model->parameters[i];
        anchor[i] = (float)pf_random_normal(&random);
    }
    if (anchored) options.proximal_anchor = anchor;
    struct pf_sgd sgd;
    assert_int_equal(pf_sgd_init(&sgd, model, &options, NULL), PF_OK);
    for (size_t step = 0; step < STEPS; step++) {
        double rate = 0.1 / (double)(step + 1);
        for (size_t i = 0; i < PARTS * n; i++) gradients[i] = (float)pf_random_normal(&random);
        for (size_t r = 0; r < sgd.n_ranges; r++) {
            pf_sgd_step(&sgd, r, gradients, PARTS, rate);
            assert_true(sgd.finite[r]);
        }
        for (size_t i = 0; i < n; i++) {
            bool decays, sparse;
            kind_of(model, i, &decays, &sparse);
            double d = 0.0;
            for (size_t part = 0; part < PARTS; part++) d += (double)gradients[part * n + i];
            if (decays) d += options.weight_decay * w[i];
            if (sparse) d += options.l1 * (double)((w[i] > 0.0) - (w[i] < 0.0));
            d += options.proximal * (w[i] - (double)anchor[i]);
            v[i] = options.momentum * v[i] + d;
            w[i] -= rate * (options.nesterov ? d + options.momentum * v[i] : v[i]);
        }
    }
    for (size_t i = 0; i < n; i++)
        if (!(fabs((double)model->parameters[i] - w[i]) < 1e-5))
            fail_msg("parameter %zu: %.7f, expected %.7f", i, (double)model->parameters[i], w[i]);
    pf_sgd_finish(&sgd);
    pf_free(gradients);
    pf_free(anchor);
    pf_free(w);
    pf_free(v);
    pf_model_destroy(model);
}

static void test_steps_follow_the_formula(void **state)
{
    (void)state;
    check_steps((struct pf_train_options){.momentum = 0.0}, false);
    check_steps((struct pf_train_options){.momentum = 0.9, .weight_decay = 0.01}, false);
    check_steps((struct pf_train_options){.momentum = 0.9, .nesterov = true, .l1 = 0.02}, false);
    check_steps((struct pf_train_options){.momentum = 0.5, .weight_decay = 0.01, .proximal = 0.3},
                true);
}

static void test_a_weight_that_is_not_finite_is_noticed(void **state)
{
    (void)state;
    struct pf_model *model = naive_model(&network, 0, 1);
    struct pf_train_options options = {.momentum = 0.9};
    float *gradients = PF_ALLOC(model->n_trained, float);
    gradients[model->n_trained - 1] = NAN;
    struct pf_sgd sgd;
    assert_int_equal(pf_sgd_init(&sgd, model, &options, NULL), PF_OK);
    for (size_t r = 0; r < sgd.n_ranges; r++) {
        pf_sgd_step(&sgd, r, gradients, 1, 0.1);
        assert_true(sgd.finite[r] == (r + 1 < sgd.n_ranges));
    }
    pf_sgd_finish(&sgd);
    pf_free(gradients);
    pf_model_destroy(model);
}

static void test_schedules_pass_their_corners(void **state)
{
    (void)state;
    const double peak = 0.5, tolerance = 1e-12;
    assert_true(fabs(pf_schedule_rate(PF_SCHEDULE_CONSTANT, peak, 0.7) - peak) < tolerance);
    assert_true(fabs(pf_schedule_rate(PF_SCHEDULE_COSINE, peak, 0.0) - peak) < tolerance);
    assert_true(fabs(pf_schedule_rate(PF_SCHEDULE_COSINE, peak, 0.5) - peak / 2) < tolerance);
    assert_true(fabs(pf_schedule_rate(PF_SCHEDULE_COSINE, peak, 1.0)) < tolerance);
    assert_true(fabs(pf_schedule_rate(PF_SCHEDULE_ONE_CYCLE, peak, 0.0) - peak / 25) < tolerance);
    assert_true(fabs(pf_schedule_rate(PF_SCHEDULE_ONE_CYCLE, peak, 0.15) - 0.52 * peak) <
                tolerance);
    assert_true(fabs(pf_schedule_rate(PF_SCHEDULE_ONE_CYCLE, peak, 0.3) - peak) < tolerance);
    assert_true(fabs(pf_schedule_rate(PF_SCHEDULE_ONE_CYCLE, peak, 1.0) - peak / 1e4) < tolerance);
    assert_string_equal(pf_schedule_kind_name(PF_SCHEDULE_ONE_CYCLE), "one-cycle");
}

static void test_options_out_of_range_are_refused_by_name(void **state)
{
    (void)state;
    struct pf_train_options good, bad;
    struct pf_error err = {0};
    pf_train_options_default(&good);
    assert_int_equal(pf_train_options_validate(&good, &err), PF_OK);
#define REFUSED(member, value, word)                                         \
    do {                                                                     \
        bad = good;                                                          \
        bad.member = value;                                                  \
        assert_int_equal(pf_train_options_validate(&bad, &err), PF_INVALID); \
        assert_non_null(strstr(err.text, word));                             \
    } while (0)
    REFUSED(batch, 0, "batch");
    REFUSED(batch, PF_MAX_BATCH + 1, "batch");
    REFUSED(epochs, -1.0, "epochs");
    REFUSED(epochs, NAN, "epochs");
    REFUSED(learning_rate, INFINITY, "learning rate");
    REFUSED(schedule_end, 1.5, "schedule");
    REFUSED(momentum, 1.0, "momentum");
    REFUSED(weight_decay, -1e-9, "weight decay");
    REFUSED(l1, 2.0, "L1");
    REFUSED(label_smoothing, 1.0, "smoothing");
    REFUSED(proximal, 0.1, "proximal");
#undef REFUSED
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_steps_follow_the_formula),
        cmocka_unit_test(test_a_weight_that_is_not_finite_is_noticed),
        cmocka_unit_test(test_schedules_pass_their_corners),
        cmocka_unit_test(test_options_out_of_range_are_refused_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
