/* Data sets in memory, the dispatch on the kind of data, and the built-in scenes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/data/dataset.h"

static void shapes_beyond_the_limits_are_refused(void **state)
{
    (void)state;
    static const struct {
        size_t n_images;
        uint32_t n_channels, height, width, n_classes;
    } bad[] = {{0, 3, 8, 8, 10},
               {PF_MAX_IMAGES + 1, 1, 1, 1, 10},
               {SIZE_MAX, 4, 256, 256, 10},
               {1, 0, 8, 8, 10},
               {1, 5, 8, 8, 10},
               {1, 3, 0, 8, 10},
               {1, 3, 257, 8, 10},
               {1, 3, 8, 0, 10},
               {1, 3, 8, 257, 10},
               {1, 3, 8, 8, 0},
               {1, 3, 8, 8, 257},
               {1, UINT32_MAX, 8, 8, 10},
               {1, 3, UINT32_MAX, UINT32_MAX, 10}};
    for (size_t i = 0; i < PF_ARRAY_LENGTH(bad); i++) {
        struct pf_dataset *dataset = NULL;
        struct pf_error err = {0};
        assert_int_equal(pf_dataset_create(bad[i].n_images, bad[i].n_channels, bad[i].height,
                                           bad[i].width, bad[i].n_classes, &dataset, &err),
                         PF_INVALID);
        assert_null(dataset);
        assert_non_null(strstr(err.text, "data set: "));
    }
    pf_dataset_destroy(NULL);
}

static void a_subset_is_a_copy_in_the_order_named(void **state)
{
    (void)state;
    PF_CLEANUP(pf_dataset_destroyp) struct pf_dataset *dataset = NULL;
    PF_CLEANUP(pf_dataset_destroyp) struct pf_dataset *subset = NULL;
    assert_int_equal(pf_dataset_create(5, 2, 3, 4, 7, &dataset, NULL), PF_OK);
    for (size_t i = 0; i < 5 * 24; i++) dataset->pixels[i] = (uint8_t)i;
    for (size_t i = 0; i < 5; i++) dataset->labels[i] = (uint8_t)(i + 1);
    const uint32_t indices[] = {4, 0, 4};
    assert_int_equal(pf_dataset_subset(dataset, indices, 3, &subset, NULL), PF_OK);
    assert_int_equal(subset->n_images, 3);
    assert_int_equal(subset->n_channels, 2);
    assert_int_equal(subset->height, 3);
    assert_int_equal(subset->width, 4);
    assert_int_equal(subset->n_classes, 7);
    for (size_t i = 0; i < 3; i++) {
        assert_memory_equal(subset->pixels + 24 * i, dataset->pixels + 24 * indices[i], 24);
        assert_int_equal(subset->labels[i], indices[i] + 1);
    }
    dataset->pixels[0] = 99; /* a copy: the subset keeps its 0 */
    assert_int_equal(subset->pixels[24], 0);
}

static void a_subset_of_strangers_or_of_nothing_is_refused(void **state)
{
    (void)state;
    PF_CLEANUP(pf_dataset_destroyp) struct pf_dataset *dataset = NULL;
    struct pf_dataset *subset = NULL;
    struct pf_error err;
    assert_int_equal(pf_dataset_create(5, 1, 2, 2, 2, &dataset, NULL), PF_OK);
    const uint32_t indices[] = {0, 5};
    assert_int_equal(pf_dataset_subset(dataset, indices, 2, &subset, &err), PF_INVALID);
    assert_string_equal(err.text, "data set: image 5 of a set of 5");
    assert_int_equal(pf_dataset_subset(dataset, indices, 0, &subset, &err), PF_INVALID);
    assert_null(subset);
}

static void statistics_are_those_of_the_pixels(void **state)
{
    (void)state;
    PF_CLEANUP(pf_dataset_destroyp) struct pf_dataset *dataset = NULL;
    assert_int_equal(pf_dataset_create(2, 3, 1, 2, 2, &dataset, NULL), PF_OK);
    /* channel 0: 0, 255, 0, 255; channel 1: all 51; channel 2: 10, 20, 30, 40 */
    const uint8_t pixels[] = {0, 255, 51, 51, 10, 20, 0, 255, 51, 51, 30, 40};
    memcpy(dataset->pixels, pixels, sizeof pixels);
    float mean[3], std[3];
    pf_dataset_statistics(dataset, mean, std);
    assert_float_equal(mean[0], 0.5f, 1e-6f);
    assert_float_equal(std[0], 0.5f, 1e-6f);
    assert_float_equal(mean[1], 0.2f, 1e-6f);
    assert_float_equal(std[1], 1.0f / 255.0f, 1e-7f); /* the least: nobody divides by zero */
    assert_float_equal(mean[2], 25.0f / 255.0f, 1e-6f);
    assert_float_equal(std[2], sqrtf(125.0f) / 255.0f, 1e-6f);
}

static void statistics_of_the_largest_planes_do_not_overflow(void **state)
{
    (void)state;
    PF_CLEANUP(pf_dataset_destroyp) struct pf_dataset *dataset = NULL;
    assert_int_equal(pf_dataset_create(3, 1, 256, 256, 2, &dataset, NULL), PF_OK);
    memset(dataset->pixels, 255, (size_t)3 * 256 * 256);
    float mean, std;
    pf_dataset_statistics(dataset, &mean, &std);
    assert_float_equal(mean, 1.0f, 1e-7f);
    assert_float_equal(std, 1.0f / 255.0f, 1e-7f);
}

static void sources_are_dispatched_and_need_their_folder(void **state)
{
    (void)state;
    PF_CLEANUP(pf_dataset_destroyp) struct pf_dataset *dataset = NULL;
    struct pf_error err;
    struct pf_data_source source = {.kind = PF_DATA_CIFAR10};
    assert_int_equal(pf_dataset_load(&source, PF_SPLIT_TRAIN, &dataset, &err), PF_INVALID);
    assert_non_null(strstr(err.text, "--data-dir"));
    source = (struct pf_data_source){.kind = PF_DATA_IDX, .dir = ""};
    assert_int_equal(pf_dataset_load(&source, PF_SPLIT_TEST, &dataset, &err), PF_INVALID);
    source.kind = (enum pf_data_kind)77;
    assert_int_equal(pf_dataset_load(&source, PF_SPLIT_TEST, &dataset, &err), PF_INVALID);
    assert_null(dataset);
    source = (struct pf_data_source){.kind = PF_DATA_SYNTHETIC, .seed = 1, .synthetic_test = 30};
    assert_int_equal(pf_dataset_load(&source, PF_SPLIT_TEST, &dataset, &err), PF_OK);
    assert_int_equal(dataset->n_images, 30);
    assert_string_equal(pf_data_kind_name(PF_DATA_SYNTHETIC), "synthetic");
    assert_string_equal(pf_data_kind_name(PF_DATA_CIFAR10), "cifar10");
    assert_string_equal(pf_data_kind_name(PF_DATA_IDX), "idx");
}

static struct pf_dataset *scenes(uint64_t seed, enum pf_data_split split, size_t n)
{
    struct pf_dataset *dataset = NULL;
    assert_int_equal(pf_dataset_synthetic(seed, split, n, &dataset, NULL), PF_OK);
    assert_int_equal(dataset->n_images, n);
    assert_int_equal(pf_dataset_image_bytes(dataset), 3072);
    assert_int_equal(dataset->n_classes, 10);
    return dataset;
}

static void scenes_follow_from_the_seed_and_split_alone(void **state)
{
    (void)state;
    PF_CLEANUP(pf_dataset_destroyp) struct pf_dataset *a = scenes(7, PF_SPLIT_TRAIN, 40);
    PF_CLEANUP(pf_dataset_destroyp) struct pf_dataset *b = scenes(7, PF_SPLIT_TRAIN, 25);
    PF_CLEANUP(pf_dataset_destroyp) struct pf_dataset *test = scenes(7, PF_SPLIT_TEST, 25);
    PF_CLEANUP(pf_dataset_destroyp) struct pf_dataset *other = scenes(8, PF_SPLIT_TRAIN, 25);
    assert_memory_equal(a->pixels, b->pixels, 25 * 3072); /* and a longer set starts the same */
    assert_memory_equal(a->labels, b->labels, 25);
    assert_memory_not_equal(b->pixels, test->pixels, 3072);
    assert_memory_not_equal(b->pixels, other->pixels, 3072);
}

static void every_ten_scenes_hold_each_class_once(void **state)
{
    (void)state;
    PF_CLEANUP(pf_dataset_destroyp) struct pf_dataset *dataset = scenes(1, PF_SPLIT_TEST, 60);
    for (size_t i = 0; i < 60; i += 10) {
        unsigned seen = 0;
        for (size_t j = i; j < i + 10; j++) seen |= 1u << dataset->labels[j];
        assert_int_equal(seen, 1023);
    }
    assert_memory_not_equal(dataset->labels, dataset->labels + 10, 10); /* in varying order */
}

#define N_TRAIN 1500u
#define N_TEST 500u

/* Percent right when a test image takes the class whose mean features are nearest. */
static double nearest_mean_percent(const float *train, const uint8_t *train_labels,
                                   const float *test, const uint8_t *test_labels, size_t n_features)
{
    float *mean = calloc(10 * n_features, sizeof *mean);
    assert_non_null(mean);
    for (size_t i = 0; i < N_TRAIN; i++)
        for (size_t j = 0; j < n_features; j++) /* classes are equally frequent */
            mean[train_labels[i] * n_features + j] += train[i * n_features + j] / (N_TRAIN / 10.0f);
    size_t right = 0;
    for (size_t i = 0; i < N_TEST; i++) {
        float least = INFINITY;
        size_t best = 0;
        for (size_t c = 0; c < 10; c++) {
            float distance = 0;
            for (size_t j = 0; j < n_features; j++) {
                float d = test[i * n_features + j] - mean[c * n_features + j];
                distance += d * d;
            }
            if (distance < least) least = distance, best = c;
        }
        right += best == test_labels[i];
    }
    free(mean);
    return 100.0 * (double)right / N_TEST;
}

static float *pixels_of(const struct pf_dataset *dataset)
{
    size_t n = dataset->n_images * 3072;
    float *out = malloc(n * sizeof *out);
    assert_non_null(out);
    for (size_t i = 0; i < n; i++) out[i] = dataset->pixels[i];
    return out;
}

static float *mean_colours_of(const struct pf_dataset *dataset)
{
    float *out = calloc(dataset->n_images * 3, sizeof *out);
    assert_non_null(out);
    for (size_t i = 0; i < dataset->n_images * 3072; i++)
        out[i / 1024] += (float)dataset->pixels[i] / 1024.0f;
    return out;
}

static void scenes_need_more_than_colour_or_a_template(void **state)
{
    (void)state;
    PF_CLEANUP(pf_dataset_destroyp) struct pf_dataset *train = scenes(1, PF_SPLIT_TRAIN, N_TRAIN);
    PF_CLEANUP(pf_dataset_destroyp) struct pf_dataset *test = scenes(1, PF_SPLIT_TEST, N_TEST);
    float *x = mean_colours_of(train), *y = mean_colours_of(test);
    assert_true(nearest_mean_percent(x, train->labels, y, test->labels, 3) < 20.0);
    free(x), free(y);
    x = pixels_of(train), y = pixels_of(test);
    double percent = nearest_mean_percent(x, train->labels, y, test->labels, 3072);
    free(x), free(y);
    assert_true(percent < 45.0);
    assert_true(percent > 13.0); /* yet train and test do show the same classes */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shapes_beyond_the_limits_are_refused),
        cmocka_unit_test(a_subset_is_a_copy_in_the_order_named),
        cmocka_unit_test(a_subset_of_strangers_or_of_nothing_is_refused),
        cmocka_unit_test(statistics_are_those_of_the_pixels),
        cmocka_unit_test(statistics_of_the_largest_planes_do_not_overflow),
        cmocka_unit_test(sources_are_dispatched_and_need_their_folder),
        cmocka_unit_test(scenes_follow_from_the_seed_and_split_alone),
        cmocka_unit_test(every_ten_scenes_hold_each_class_once),
        cmocka_unit_test(scenes_need_more_than_colour_or_a_template),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
