/* Partitions: disjoint whatever the options, sized as promised, each kind as its rule says. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/random.h"
#include "common/data/partition.h"

/* One-pixel images whose labels are drawn with the given weights. */
static struct pf_dataset *labelled(size_t n_images, uint32_t n_classes, bool skewed, uint64_t seed)
{
    struct pf_dataset *dataset = NULL;
    struct pf_random random;
    pf_random_init(&random, seed, "labels", 0);
    assert_int_equal(pf_dataset_create(n_images, 1, 1, 1, n_classes, &dataset, NULL), PF_OK);
    for (size_t i = 0; i < n_images; i++) {
        uint32_t label = pf_random_below(&random, n_classes);
        if (skewed) label = PF_MIN(label, pf_random_below(&random, n_classes));
        dataset->labels[i] = (uint8_t)label;
        dataset->pixels[i] = (uint8_t)i;
    }
    return dataset;
}

/* Images 0, 1, 2, … of classes 0, 1, …, 9, 0, 1, … */
static struct pf_dataset *balanced(size_t n_images)
{
    struct pf_dataset *dataset = labelled(n_images, 10, false, 0);
    for (size_t i = 0; i < n_images; i++) dataset->labels[i] = (uint8_t)(i % 10);
    return dataset;
}

static struct pf_partition *create(const struct pf_dataset *dataset,
                                   const struct pf_partition_options *options)
{
    struct pf_partition *partition = NULL;
    struct pf_error err = {0};
    if (pf_partition_create(dataset, options, &partition, &err) != PF_OK) fail_msg("%s", err.text);
    assert_int_equal(partition->n_parts, options->n_parts);
    assert_int_equal(partition->start[0], 0);
    return partition;
}

static size_t part_size(const struct pf_partition *partition, size_t part)
{
    return partition->start[part + 1] - partition->start[part];
}

static size_t part_count(const struct pf_partition *partition, size_t part,
                         const struct pf_dataset *dataset, uint32_t label)
{
    size_t n = 0;
    for (size_t i = partition->start[part]; i < partition->start[part + 1]; i++)
        n += dataset->labels[partition->indices[i]] == label;
    return n;
}

static void check_disjoint_and_nonempty(const struct pf_partition *partition,
                                        const struct pf_dataset *dataset)
{
    uint8_t *owners = calloc(dataset->n_images, 1);
    assert_non_null(owners);
    for (size_t p = 0; p < partition->n_parts; p++) {
        assert_true(partition->start[p + 1] > partition->start[p]);
        for (size_t i = partition->start[p]; i < partition->start[p + 1]; i++) {
            assert_true(partition->indices[i] < dataset->n_images);
            assert_int_equal(owners[partition->indices[i]]++, 0);
        }
    }
    free(owners);
}

static void parts_are_disjoint_whatever_the_options(void **state)
{
    (void)state;
    struct pf_random random;
    pf_random_init(&random, 20, "test_partition", 0);
    size_t n_made = 0;
    for (uint64_t trial = 0; trial < 600; trial++) {
        size_t n_images = 1 + pf_random_below(&random, 700);
        uint32_t n_classes = 1 + pf_random_below(&random, 12);
        PF_CLEANUP(pf_dataset_destroyp)
        struct pf_dataset *dataset = labelled(n_images, n_classes, trial % 2 == 1, trial);
        struct pf_partition_options options = {
            .kind = (enum pf_partition_kind)(trial % 3),
            .n_parts = 1 + pf_random_below(&random, 30),
            .concentration = pow(10.0, 4.0 * pf_random_uniform(&random) - 2.0),
            .seed = trial};
        double share = trial % 5 == 0 ? 1.0 : pf_random_uniform(&random);
        options.fraction = (1.0 - share * 0.5) / (double)options.n_parts;
        PF_CLEANUP(pf_partition_destroyp) struct pf_partition *partition = NULL;
        struct pf_error err = {0};
        enum pf_status status = pf_partition_create(dataset, &options, &partition, &err);
        if (status != PF_OK) { /* too few images for so many parts */
            assert_int_equal(status, PF_INVALID);
            assert_null(partition);
            continue;
        }
        n_made++;
        check_disjoint_and_nonempty(partition, dataset);
    }
    assert_true(n_made > 400);
}

static void iid_parts_are_equal_and_stratified(void **state)
{
    (void)state;
    PF_CLEANUP(pf_dataset_destroyp) struct pf_dataset *dataset = labelled(2000, 10, true, 1);
    const struct pf_partition_options options = {
        .kind = PF_PARTITION_IID, .n_parts = 7, .fraction = 0.1, .seed = 5};
    PF_CLEANUP(pf_partition_destroyp) struct pf_partition *partition = create(dataset, &options);
    for (uint32_t c = 0; c < 10; c++) {
        double n = 0;
        for (size_t i = 0; i < 2000; i++) n += dataset->labels[i] == c;
        for (size_t p = 0; p < 7; p++)
            assert_true(fabs((double)part_count(partition, p, dataset, c) - 0.1 * n) < 2.0);
    }
    for (size_t p = 0; p < 7; p++) assert_int_equal(part_size(partition, p), 200);
    check_disjoint_and_nonempty(partition, dataset);
}

static void iid_parts_can_use_every_image(void **state)
{
    (void)state;
    PF_CLEANUP(pf_dataset_destroyp) struct pf_dataset *dataset = labelled(300, 10, true, 1);
    const struct pf_partition_options options = {
        .kind = PF_PARTITION_IID, .n_parts = 3, .fraction = 1.0 / 3.0, .seed = 5};
    PF_CLEANUP(pf_partition_destroyp) struct pf_partition *partition = create(dataset, &options);
    assert_int_equal(partition->start[3], 300);
    check_disjoint_and_nonempty(partition, dataset);
}

static void the_seed_alone_decides(void **state)
{
    (void)state;
    PF_CLEANUP(pf_dataset_destroyp) struct pf_dataset *dataset = balanced(500);
    for (int kind = PF_PARTITION_IID; kind <= PF_PARTITION_FIRST; kind++) {
        struct pf_partition_options options = {.kind = (enum pf_partition_kind)kind,
                                               .n_parts = 4,
                                               .fraction = 0.2,
                                               .concentration = 0.5,
                                               .seed = 5};
        PF_CLEANUP(pf_partition_destroyp) struct pf_partition *a = create(dataset, &options);
        PF_CLEANUP(pf_partition_destroyp) struct pf_partition *b = create(dataset, &options);
        options.seed = 6;
        PF_CLEANUP(pf_partition_destroyp) struct pf_partition *other = create(dataset, &options);
        assert_memory_equal(a->start, b->start, 5 * sizeof *a->start);
        assert_memory_equal(a->indices, b->indices, a->start[4] * sizeof *a->indices);
        bool same = memcmp(a->indices, other->indices, a->start[4] * sizeof *a->indices) == 0;
        assert_int_equal(same, kind == PF_PARTITION_FIRST); /* the published rule has no chance */
    }
}

static void first_takes_the_published_slices(void **state)
{
    (void)state;
    PF_CLEANUP(pf_dataset_destroyp) struct pf_dataset *dataset = balanced(1000);
    const struct pf_partition_options options = {
        .kind = PF_PARTITION_FIRST, .n_parts = 3, .fraction = 0.29};
    PF_CLEANUP(pf_partition_destroyp) struct pf_partition *partition = create(dataset, &options);
    for (size_t p = 0; p < 3; p++) {
        /* ⌊.29 · 100⌋ = 29 of each class; image k of class c is number 10 k + c. */
        assert_int_equal(part_size(partition, p), 290);
        bool mine[1000] = {false};
        for (size_t i = partition->start[p]; i < partition->start[p + 1]; i++)
            mine[partition->indices[i]] = true;
        for (size_t k = 0; k < 100; k++)
            for (size_t c = 0; c < 10; c++)
                assert_int_equal(mine[10 * k + c], k >= 29 * p && k < 29 * (p + 1));
    }
}

static void first_rounds_within_each_class(void **state)
{
    (void)state;
    PF_CLEANUP(pf_dataset_destroyp) struct pf_dataset *dataset = labelled(30, 3, false, 1);
    /* 4 images of class 0, 25 of class 1, 1 of class 2: ⌊.3 · n⌋ = 1, 7, 0 */
    for (size_t i = 0; i < 30; i++) dataset->labels[i] = i < 4 ? 0 : i < 29 ? 1 : 2;
    const struct pf_partition_options options = {
        .kind = PF_PARTITION_FIRST, .n_parts = 2, .fraction = 0.3};
    PF_CLEANUP(pf_partition_destroyp) struct pf_partition *partition = create(dataset, &options);
    for (size_t p = 0; p < 2; p++) {
        assert_int_equal(part_size(partition, p), 8);
        assert_int_equal(partition->indices[partition->start[p]], p);
        for (size_t k = 0; k < 7; k++)
            assert_int_equal(partition->indices[partition->start[p] + 1 + k], 4 + 7 * p + k);
    }
}

/* Mean over parts and classes of (share of the class − 1/parts)². */
static double share_variance(const struct pf_dataset *dataset, double concentration)
{
    const struct pf_partition_options options = {.kind = PF_PARTITION_DIRICHLET,
                                                 .n_parts = 5,
                                                 .fraction = 0.2,
                                                 .concentration = concentration,
                                                 .seed = 3};
    PF_CLEANUP(pf_partition_destroyp) struct pf_partition *partition = create(dataset, &options);
    assert_int_equal(partition->start[5], dataset->n_images);
    check_disjoint_and_nonempty(partition, dataset);
    double per_class = (double)dataset->n_images / dataset->n_classes, sum = 0;
    for (size_t p = 0; p < 5; p++)
        for (uint32_t c = 0; c < dataset->n_classes; c++) {
            double d = (double)part_count(partition, p, dataset, c) / per_class - 0.2;
            sum += d * d;
        }
    return sum / (5.0 * dataset->n_classes);
}

static void dirichlet_shares_vary_as_the_concentration_says(void **state)
{
    (void)state;
    PF_CLEANUP(pf_dataset_destroyp) struct pf_dataset *dataset = labelled(40000, 200, false, 0);
    for (size_t i = 0; i < 40000; i++) dataset->labels[i] = (uint8_t)(i % 200);
    /* Var = (1/n)(1 − 1/n) ÷ (n·a + 1) for n parts: .16 ÷ (5 a + 1).  200 classes: ±15 %. */
    static const double concentrations[] = {0.1, 1.0, 10.0};
    for (size_t i = 0; i < 3; i++) {
        double expected = 0.16 / (5.0 * concentrations[i] + 1.0);
        double found = share_variance(dataset, concentrations[i]);
        assert_true(fabs(found / expected - 1.0) < 0.15);
    }
    assert_true(share_variance(dataset, 1e6) < 1e-4); /* the limit is an even spread */
}

static void dirichlet_totals_are_exact_and_take_classes_evenly(void **state)
{
    (void)state;
    PF_CLEANUP(pf_dataset_destroyp) struct pf_dataset *dataset = balanced(1000);
    const struct pf_partition_options options = {.kind = PF_PARTITION_DIRICHLET,
                                                 .n_parts = 3,
                                                 .fraction = 0.111,
                                                 .concentration = 0.3,
                                                 .seed = 3};
    PF_CLEANUP(pf_partition_destroyp) struct pf_partition *partition = create(dataset, &options);
    assert_int_equal(partition->start[3], 333);
    for (uint32_t c = 0; c < 10; c++) {
        size_t n = 0;
        for (size_t p = 0; p < 3; p++) n += part_count(partition, p, dataset, c);
        assert_in_range(n, 33, 34);
    }
}

static void assert_refused(const struct pf_dataset *dataset, struct pf_partition_options options,
                           const char *because)
{
    struct pf_partition *partition = NULL;
    struct pf_error err = {0};
    assert_int_equal(pf_partition_create(dataset, &options, &partition, &err), PF_INVALID);
    assert_null(partition);
    if (strstr(err.text, because) == NULL) fail_msg("%s", err.text);
}

static void impossible_partitions_are_refused_with_the_numbers(void **state)
{
    (void)state;
    PF_CLEANUP(pf_dataset_destroyp) struct pf_dataset *dataset = balanced(100);
    struct pf_partition_options good = {
        .kind = PF_PARTITION_IID, .n_parts = 4, .fraction = 0.2, .concentration = 1};
    for (int kind = 0; kind < 3; kind++) {
        struct pf_partition_options options = good;
        options.kind = (enum pf_partition_kind)kind;
        options.fraction = 0.26;
        assert_refused(dataset, options, "4 parts of 0.26 each are 1.04 of the data set");
        options.fraction = 0;
        assert_refused(dataset, options, "a fraction of 0 per part");
        options.fraction = -0.1;
        assert_refused(dataset, options, "a fraction of -0.1 per part");
        options.fraction = NAN;
        assert_refused(dataset, options, "per part");
        options.fraction = INFINITY;
        assert_refused(dataset, options, "per part");
        options.fraction = 0.2, options.n_parts = 0;
        assert_refused(dataset, options, "0 parts; 1 to 10000");
        options.n_parts = PF_MAX_PARTS + 1;
        assert_refused(dataset, options, "10001 parts; 1 to 10000");
        options.n_parts = SIZE_MAX;
        assert_refused(dataset, options, "1 to 10000");
        options.n_parts = 4, options.fraction = 0.002;
        assert_refused(dataset, options, "take a larger fraction or fewer parts");
    }
    good.kind = (enum pf_partition_kind)9;
    assert_refused(dataset, good, "none of iid, dirichlet and first");
    good.kind = PF_PARTITION_DIRICHLET, good.concentration = 0;
    assert_refused(dataset, good, "a concentration of 0");
    good.concentration = NAN;
    assert_refused(dataset, good, "a concentration of");
    /* Ten classes cannot reach forty parts when each class goes to one part. */
    good.n_parts = 40, good.fraction = 0.025, good.concentration = 1e-9;
    assert_refused(dataset, good, "left one of 40 parts without any of 100 images");
}

static void taking_a_part_gives_its_images(void **state)
{
    (void)state;
    PF_CLEANUP(pf_dataset_destroyp) struct pf_dataset *dataset = balanced(200);
    const struct pf_partition_options options = {
        .kind = PF_PARTITION_IID, .n_parts = 4, .fraction = 0.25, .seed = 2};
    PF_CLEANUP(pf_partition_destroyp) struct pf_partition *partition = create(dataset, &options);
    PF_CLEANUP(pf_dataset_destroyp) struct pf_dataset *part = NULL;
    struct pf_error err;
    assert_int_equal(pf_partition_take(partition, 3, dataset, &part, &err), PF_OK);
    assert_int_equal(part->n_images, 50);
    for (size_t i = 0; i < 50; i++) {
        uint32_t image = partition->indices[partition->start[3] + i];
        assert_int_equal(part->pixels[i], dataset->pixels[image]);
        assert_int_equal(part->labels[i], dataset->labels[image]);
    }
    struct pf_dataset *none = NULL;
    assert_int_equal(pf_partition_take(partition, 4, dataset, &none, &err), PF_INVALID);
    assert_string_equal(err.text, "partition: part 4 of 4; the first is 0");
    assert_null(none);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parts_are_disjoint_whatever_the_options),
        cmocka_unit_test(iid_parts_are_equal_and_stratified),
        cmocka_unit_test(iid_parts_can_use_every_image),
        cmocka_unit_test(the_seed_alone_decides),
        cmocka_unit_test(first_takes_the_published_slices),
        cmocka_unit_test(first_rounds_within_each_class),
        cmocka_unit_test(dirichlet_shares_vary_as_the_concentration_says),
        cmocka_unit_test(dirichlet_totals_are_exact_and_take_classes_evenly),
        cmocka_unit_test(impossible_partitions_are_refused_with_the_numbers),
        cmocka_unit_test(taking_a_part_gives_its_images),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
