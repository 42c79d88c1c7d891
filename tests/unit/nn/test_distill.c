/* Distillation: the loss and its gradient, and what training with a teacher promises. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/nn/distill.h"
#include "common/nn/train.h"
#include "common/nn/trainer.h"
#include "tests/unit/nn/naive_network.h"

static const struct pf_network small = {PF_LAYER_SHIFT, 2, {8, 12}, {2, 2}, {1, 2}, 3, 10, 9, 4};
static const struct pf_network wider = {PF_LAYER_CONV3X3, 1, {9}, {2}, {2}, 3, 10, 9, 4};

static struct pf_train_options options_with(const struct pf_model *teacher, double weight,
                                            double temperature)
{
    return (struct pf_train_options){.batch = 23,
                                     .epochs = 2.0,
                                     .schedule = PF_SCHEDULE_COSINE,
                                     .learning_rate = 0.05,
                                     .schedule_end = 1.0,
                                     .momentum = 0.9,
                                     .weight_decay = 1e-3,
                                     .label_smoothing = 0.1,
                                     .augmentation = {.padding = 2, .flip = true},
                                     .seed = 3,
                                     .teacher = teacher,
                                     .distill_weight = weight,
                                     .distill_temperature = temperature};
}

static enum pf_status try_train(struct pf_model *model, const struct pf_dataset *dataset,
                                const struct pf_train_options *options, size_t n_threads,
                                struct pf_error *err)
{
    struct pf_pool *pool = NULL;
    assert_int_equal(pf_pool_create(n_threads, &pool, NULL), PF_OK);
    enum pf_status status = pf_train(model, dataset, options, pool, NULL, err);
    pf_pool_destroy(pool);
    return status;
}

/* A copy of `model`, trained. */
static struct pf_model *trained(const struct pf_model *model, const struct pf_dataset *dataset,
                                const struct pf_train_options *options, size_t n_threads)
{
    struct pf_model *copy = NULL;
    struct pf_error err = {0};
    assert_int_equal(pf_model_clone(model, &copy, NULL), PF_OK);
    if (try_train(copy, dataset, options, n_threads, &err) != PF_OK) fail_msg("%s", err.text);
    return copy;
}

static bool same_parameters(const struct pf_model *a, const struct pf_model *b)
{
    return memcmp(a->parameters, b->parameters, a->n_parameters * sizeof(float)) == 0;
}

/* ---- the loss of one image ----------------------------------------------------------------- */

#define CLASSES 5u

static const float student_logits[CLASSES] = {0.3f, -1.2f, 2.5f, 0.0f, 1.1f};
static const float teacher_logits[CLASSES] = {1.9f, -0.4f, -3.0f, 0.7f, 0.2f};

static void softmax(const double *logits, size_t n, double temperature, double *out)
{
    double sum = 0.0;
    for (size_t m = 0; m < n; m++) sum += out[m] = exp(logits[m] / temperature);
    for (size_t m = 0; m < n; m++) out[m] /= sum;
}

/* T² · KL from the definition. */
static double soft_loss(const double *logits, const double *teacher, size_t n, double temperature)
{
    double p[16], q[16], sum = 0.0;
    assert_true(n <= 16);
    softmax(teacher, n, temperature, p);
    softmax(logits, n, temperature, q);
    for (size_t m = 0; m < n; m++) sum += p[m] * log(p[m] / q[m]);
    return temperature * temperature * sum;
}

static void test_the_loss_is_its_definition_and_the_gradient_its_slope(void **state)
{
    (void)state;
    const double temperatures[] = {0.5, 1.0, 4.0, 20.0}, h = 1e-5;
    double z[CLASSES], t[CLASSES];
    for (size_t m = 0; m < CLASSES; m++) {
        z[m] = (double)student_logits[m];
        t[m] = (double)teacher_logits[m];
    }
    for (size_t i = 0; i < PF_ARRAY_LENGTH(temperatures); i++) {
        double temperature = temperatures[i];
        float gradient[CLASSES];
        double loss =
            pf_distillation(student_logits, teacher_logits, CLASSES, temperature, gradient);
        assert_true(fabs(loss - soft_loss(z, t, CLASSES, temperature)) < 1e-9 * (1.0 + loss));
        for (size_t m = 0; m < CLASSES; m++) {
            double at = z[m];
            z[m] = at + h;
            double above = soft_loss(z, t, CLASSES, temperature);
            z[m] = at - h;
            double below = soft_loss(z, t, CLASSES, temperature);
            z[m] = at;
            double slope = (above - below) / (2.0 * h);
            if (fabs((double)gradient[m] - slope) > 1e-5 * (1.0 + fabs(slope)))
                fail_msg("T = %g, class %zu: %g, expected %g", temperature, m, (double)gradient[m],
                         slope);
        }
    }
}

/* [1] 2.1: for a high T the loss becomes half the mean square of the differences between centred
 * logits.  It does so only with the factor T². */
static void test_a_high_temperature_compares_logits(void **state)
{
    (void)state;
    double mean = 0.0, square = 0.0;
    for (size_t m = 0; m < CLASSES; m++)
        mean += (double)(student_logits[m] - teacher_logits[m]) / CLASSES;
    for (size_t m = 0; m < CLASSES; m++)
        square += pow((double)(student_logits[m] - teacher_logits[m]) - mean, 2.0) / CLASSES;
    double loss =
        pf_distillation(student_logits, teacher_logits, CLASSES, PF_MAX_DISTILL_TEMPERATURE, NULL);
    assert_true(fabs(loss - square / 2.0) < 0.03 * square / 2.0);
}

static void test_a_student_like_its_teacher_has_no_loss(void **state)
{
    (void)state;
    for (double temperature = PF_MIN_DISTILL_TEMPERATURE; temperature <= 100.0; temperature *= 3) {
        float gradient[CLASSES];
        assert_true(
            pf_distillation(student_logits, student_logits, CLASSES, temperature, gradient) == 0.0);
        for (size_t m = 0; m < CLASSES; m++) assert_true(gradient[m] == 0.0f);
    }
}

/* Far apart: probabilities of 0 on either side. */
static void test_certain_teachers_give_finite_numbers(void **state)
{
    (void)state;
    const float certain[2] = {3e4f, -3e4f}, opposite[2] = {-3e4f, 3e4f};
    float gradient[2];
    double loss = pf_distillation(opposite, certain, 2, PF_MIN_DISTILL_TEMPERATURE, gradient);
    assert_true(isfinite(loss) && loss > 0.0);
    assert_true(fabs((double)gradient[0] + PF_MIN_DISTILL_TEMPERATURE) < 1e-6);
    assert_true(fabs((double)gradient[1] - PF_MIN_DISTILL_TEMPERATURE) < 1e-6);
}

/* ---- a step of training against finite differences ------------------------------------------ */

struct setting {
    struct pf_network network, teacher;
    uint32_t alpha, teacher_alpha; /* 0: dense */
    double weight, temperature;
};

static double *widened(const struct pf_model *model)
{
    double *parameters = calloc(model->n_parameters, sizeof *parameters);
    for (size_t i = 0; i < model->n_parameters; i++) parameters[i] = (double)model->parameters[i];
    return parameters;
}

struct distilled {
    const struct setting *setting;
    const struct pf_model *model;
    const struct pf_dataset *dataset;
    double *teacher_logits, *logits; /* [n_images][n_classes] */
};

static double loss_at(const struct distilled *self, const double *parameters)
{
    const struct setting *s = self->setting;
    size_t n = self->dataset->n_images, classes = s->network.n_classes;
    double hard = naive_loss(self->model, parameters, self->dataset, 0.1, true, NULL, self->logits);
    double soft = 0.0;
    for (size_t i = 0; i < n; i++)
        soft += soft_loss(self->logits + i * classes, self->teacher_logits + i * classes, classes,
                          s->temperature);
    return (1.0 - s->weight) * hard + s->weight * soft / (double)n;
}

static void check_gradients(const struct distilled *self, const struct pf_model *after)
{
    const double h = 1e-7; /* small: ReLU6 has corners */
    double *parameters = widened(self->model), largest = 0.0;
    for (size_t i = 0; i < self->model->n_trained; i++) {
        double w = parameters[i];
        parameters[i] = w + h;
        double above = loss_at(self, parameters);
        parameters[i] = w - h;
        double below = loss_at(self, parameters);
        parameters[i] = w;
        double expected = (above - below) / (2.0 * h);
        double got = (double)self->model->parameters[i] - (double)after->parameters[i];
        if (fabs(got - expected) > 2e-6 + 2e-4 * fabs(expected))
            fail_msg("parameter %zu: gradient %.8f, expected %.8f", i, got, expected);
        largest = fmax(largest, fabs(expected));
    }
    assert_true(largest > 1e-3); /* there was something to get wrong */
    free(parameters);
}

static void check(const struct setting *s)
{
    enum { N_IMAGES = 5 };
    struct pf_model *model = naive_model(&s->network, s->alpha, 11);
    struct pf_model *teacher = naive_model(&s->teacher, s->teacher_alpha, 13);
    struct pf_dataset *dataset = naive_dataset(&s->network, N_IMAGES, 12);
    double *parameters = widened(teacher);
    struct distilled self = {
        .setting = s,
        .model = model,
        .dataset = dataset,
        .teacher_logits = calloc((size_t)N_IMAGES * s->network.n_classes, sizeof(double)),
        .logits = calloc((size_t)N_IMAGES * s->network.n_classes, sizeof(double))};
    naive_loss(teacher, parameters, dataset, 0.0, false, NULL, self.teacher_logits);
    /* One plain step at rate 1: what a parameter loses is its gradient. */
    const struct pf_train_options options = {.batch = N_IMAGES,
                                             .epochs = 1.0,
                                             .schedule = PF_SCHEDULE_CONSTANT,
                                             .learning_rate = 1.0,
                                             .schedule_end = 1.0,
                                             .label_smoothing = 0.1,
                                             .teacher = teacher,
                                             .distill_weight = s->weight,
                                             .distill_temperature = s->temperature};
    struct pf_model *after = trained(model, dataset, &options, 2);
    check_gradients(&self, after);
    free(self.teacher_logits);
    free(self.logits);
    free(parameters);
    pf_model_destroy(after);
    pf_dataset_destroy(dataset);
    pf_model_destroy(teacher);
    pf_model_destroy(model);
}

static void test_the_gradient_is_that_of_the_distilled_loss(void **state)
{
    (void)state;
    const struct pf_network student = {PF_LAYER_SHIFT, 2, {6, 8}, {1, 1}, {1, 2}, 3, 7, 6, 4};
    const struct pf_network other = {PF_LAYER_CONV3X3, 1, {5}, {2}, {2}, 3, 7, 6, 4};
    check(&(struct setting){student, student, 0, 0, 0.7, 4.0});
    check(&(struct setting){student, student, 4, 0, 0.9, 4.0});
    check(&(struct setting){student, other, 4, 0, 1.0, 1.0});
    check(&(struct setting){student, student, 0, 4, 0.3, 0.5});
}

/* ---- training ------------------------------------------------------------------------------ */

static void test_without_weight_a_teacher_changes_no_bit(void **state)
{
    (void)state;
    struct pf_dataset *dataset = naive_dataset(&small, 50, 1);
    struct pf_model *model = naive_model(&small, 4, 2), *teacher = naive_model(&small, 0, 5);
    struct pf_train_options with = options_with(teacher, 0.0, 4.0);
    struct pf_train_options without = options_with(NULL, 0.9, 4.0);
    struct pf_train_options distilled = options_with(teacher, 0.9, 4.0);
    struct pf_model *a = trained(model, dataset, &with, 2);
    struct pf_model *b = trained(model, dataset, &without, 2);
    struct pf_model *c = trained(model, dataset, &distilled, 2);
    assert_true(same_parameters(a, b));
    assert_false(same_parameters(a, c));
    pf_model_destroy(a);
    pf_model_destroy(b);
    pf_model_destroy(c);
    pf_model_destroy(teacher);
    pf_model_destroy(model);
    pf_dataset_destroy(dataset);
}

static void test_with_all_the_weight_labels_have_no_say(void **state)
{
    (void)state;
    struct pf_dataset *dataset = naive_dataset(&small, 50, 1);
    struct pf_model *model = naive_model(&small, 0, 2), *teacher = naive_model(&wider, 0, 5);
    struct pf_train_options options = options_with(teacher, 1.0, 4.0);
    struct pf_model *a = trained(model, dataset, &options, 2);
    for (size_t i = 0; i < dataset->n_images; i++) dataset->labels[i] = 3;
    struct pf_model *b = trained(model, dataset, &options, 2);
    assert_true(same_parameters(a, b));
    pf_model_destroy(a);
    pf_model_destroy(b);
    pf_model_destroy(teacher);
    pf_model_destroy(model);
    pf_dataset_destroy(dataset);
}

static void test_same_bits_with_any_number_of_threads(void **state)
{
    (void)state;
    struct pf_dataset *dataset = naive_dataset(&small, 70, 1);
    struct pf_model *model = naive_model(&small, 4, 2);
    const struct pf_network *networks[] = {&small, &wider};
    for (size_t i = 0; i < 4; i++) {
        struct pf_model *teacher = naive_model(networks[i % 2], 0, 5);
        struct pf_train_options options = options_with(teacher, 0.9, 4.0);
        options.activations = i < 2 ? PF_SINGLE : PF_HALF;
        struct pf_model *one = trained(model, dataset, &options, 1);
        struct pf_model *two = trained(model, dataset, &options, 2);
        struct pf_model *five = trained(model, dataset, &options, 5);
        assert_true(same_parameters(one, two));
        assert_true(same_parameters(one, five));
        pf_model_destroy(one);
        pf_model_destroy(two);
        pf_model_destroy(five);
        pf_model_destroy(teacher);
    }
    pf_model_destroy(model);
    pf_dataset_destroy(dataset);
}

/* How far one step at rate 1 moves the trained parameters. */
static double step_length(const struct pf_model *model, const struct pf_dataset *dataset,
                          struct pf_train_options options)
{
    options.learning_rate = 1.0;
    struct pf_model *after = trained(model, dataset, &options, 2);
    double sum = 0.0;
    for (size_t i = 0; i < model->n_trained; i++)
        sum += pow((double)after->parameters[i] - (double)model->parameters[i], 2.0);
    pf_model_destroy(after);
    return sqrt(sum);
}

/* A teacher that is the student with the batch's own statistics says just what the student says of
 * the batch, augmented as it is: there is nothing to learn. */
static void test_the_teacher_sees_the_very_batch_and_uses_running_statistics(void **state)
{
    (void)state;
    struct pf_dataset *dataset = naive_dataset(&small, 23, 1);
    struct pf_model *model = naive_model(&small, 0, 2), *teacher = NULL;
    struct pf_train_options options = options_with(NULL, 0.0, 0.0);
    options.epochs = 1.0;
    options.momentum = options.weight_decay = options.learning_rate = 0.0;
    /* A step moves running statistics a tenth of the way to the batch's. */
    struct pf_model *moved = trained(model, dataset, &options, 1);
    assert_int_equal(pf_model_clone(model, &teacher, NULL), PF_OK);
    for (size_t i = model->n_trained; i < model->n_parameters; i++)
        teacher->parameters[i] =
            10.0f * (moved->parameters[i] - model->parameters[i]) + model->parameters[i];
    options.distill_weight = 1.0;
    options.distill_temperature = 4.0;
    options.teacher = teacher;
    double same = step_length(model, dataset, options);
    options.teacher = model; /* its statistics are others */
    double other = step_length(model, dataset, options);
    assert_true(other > 1e-2);
    if (same > 1e-3 * other) fail_msg("a step of %g, others are of %g", same, other);
    pf_model_destroy(moved);
    pf_model_destroy(teacher);
    pf_model_destroy(model);
    pf_dataset_destroy(dataset);
}

static void test_the_distilled_loss_falls(void **state)
{
    (void)state;
    enum { N = 40, STEPS = 60 };
    struct pf_dataset *dataset = naive_dataset(&small, N, 1);
    struct pf_model *model = naive_model(&small, 4, 2), *teacher = naive_model(&small, 0, 5);
    struct pf_train_options options = options_with(teacher, 1.0, 4.0);
    struct pf_pool *pool = NULL;
    struct pf_trainer *trainer = NULL;
    options.batch = N;
    options.augmentation = (struct pf_augmentation){0};
    assert_int_equal(pf_pool_create(2, &pool, NULL), PF_OK);
    assert_int_equal(pf_trainer_create(model, dataset, &options, pool, &trainer, NULL), PF_OK);
    double losses[STEPS];
    pf_trainer_gather(trainer, 0);
    for (size_t step = 0; step < STEPS; step++)
        assert_true(pf_trainer_step(trainer, step, 0.02, &losses[step]));
    assert_true(losses[0] > 0.0);
    if (!(losses[STEPS - 1] < 0.5 * losses[0]))
        fail_msg("from %g to %g", losses[0], losses[STEPS - 1]);
    pf_trainer_destroy(trainer);
    pf_pool_destroy(pool);
    pf_model_destroy(model);
    pf_model_destroy(teacher);
    pf_dataset_destroy(dataset);
}

/* ---- refusals ------------------------------------------------------------------------------ */

static void test_weights_and_temperatures_have_limits(void **state)
{
    (void)state;
    struct pf_model *teacher = naive_model(&small, 0, 5);
    const struct {
        double weight, temperature;
        const char *what; /* NULL: fine */
    } cases[] = {
        {0.0, 4.0, NULL},
        {1.0, PF_MIN_DISTILL_TEMPERATURE, NULL},
        {0.9, PF_MAX_DISTILL_TEMPERATURE, NULL},
        {-1e-9, 4.0, "weight"},
        {1.0 + 1e-9, 4.0, "weight"},
        {(double)NAN, 4.0, "weight"},
        {0.9, 0.0, "temperature"},
        {0.9, -4.0, "temperature"},
        {0.9, 0.99 * PF_MIN_DISTILL_TEMPERATURE, "temperature"},
        {0.9, 1.01 * PF_MAX_DISTILL_TEMPERATURE, "temperature"},
        {0.9, (double)INFINITY, "temperature"},
        {0.9, (double)NAN, "temperature"},
    };
    for (size_t i = 0; i < PF_ARRAY_LENGTH(cases); i++) {
        struct pf_error err = {0};
        struct pf_train_options options =
            options_with(teacher, cases[i].weight, cases[i].temperature);
        enum pf_status status = pf_train_options_validate(&options, &err);
        assert_int_equal(status, cases[i].what == NULL ? PF_OK : PF_INVALID);
        if (cases[i].what != NULL) assert_non_null(strstr(err.text, cases[i].what));
        options.teacher = NULL; /* then nobody asks */
        assert_int_equal(pf_train_options_validate(&options, NULL), PF_OK);
    }
    struct pf_train_options standard;
    pf_train_options_default(&standard);
    assert_null(standard.teacher);
    assert_true(standard.distill_weight == 0.9 && standard.distill_temperature == 4.0);
    pf_model_destroy(teacher);
}

static void test_a_teacher_of_other_images_or_classes_is_refused(void **state)
{
    (void)state;
    struct pf_dataset *dataset = naive_dataset(&small, 10, 1);
    struct pf_model *model = naive_model(&small, 0, 2);
    struct pf_network wide = small, classes = small;
    wide.in_width++;
    classes.n_classes++;
    struct pf_model *teachers[] = {naive_model(&wide, 0, 5), naive_model(&classes, 0, 5)};
    const char *const words[] = {"10×10×3", "5 classes"};
    for (size_t i = 0; i < PF_ARRAY_LENGTH(teachers); i++) {
        struct pf_error err = {0};
        struct pf_train_options options = options_with(teachers[i], 0.9, 4.0);
        assert_int_equal(try_train(model, dataset, &options, 1, &err), PF_INVALID);
        assert_non_null(strstr(err.text, "teacher"));
        assert_non_null(strstr(err.text, words[i]));
        pf_model_destroy(teachers[i]);
    }
    pf_model_destroy(model);
    pf_dataset_destroy(dataset);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_loss_is_its_definition_and_the_gradient_its_slope),
        cmocka_unit_test(test_a_high_temperature_compares_logits),
        cmocka_unit_test(test_a_student_like_its_teacher_has_no_loss),
        cmocka_unit_test(test_certain_teachers_give_finite_numbers),
        cmocka_unit_test(test_the_gradient_is_that_of_the_distilled_loss),
        cmocka_unit_test(test_without_weight_a_teacher_changes_no_bit),
        cmocka_unit_test(test_with_all_the_weight_labels_have_no_say),
        cmocka_unit_test(test_same_bits_with_any_number_of_threads),
        cmocka_unit_test(test_the_teacher_sees_the_very_batch_and_uses_running_statistics),
        cmocka_unit_test(test_the_distilled_loss_falls),
        cmocka_unit_test(test_weights_and_temperatures_have_limits),
        cmocka_unit_test(test_a_teacher_of_other_images_or_classes_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
