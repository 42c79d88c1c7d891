/* Whole models on the array: the functional engine against the integer reference, the report's
 * counts by hand, refusals. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdatomic.h>
#include <string.h>

#include "common/base/memory.h"
#include "sim/array/classify.h"
#include "tests/unit/quant/random_model.h"

static struct pf_array_report report; /* too large for a stack */

static struct pf_pool *create_pool(size_t n_threads)
{
    struct pf_pool *pool = NULL;
    assert_int_equal(pf_pool_create(n_threads, &pool, NULL), PF_OK);
    return pool;
}

static void check_network(const struct pf_network *network, uint32_t alpha, uint64_t seed)
{
    enum { N = 6 };
    struct pf_model *model = random_model_create(network, alpha, seed);
    struct pf_dataset *images = random_images(network, N, seed + 50);
    struct pf_quant_model *lowered = NULL;
    struct pf_array_network *on_array = NULL;
    struct pf_array_scratch scratch;
    assert_int_equal(pf_quant_lower(model, &lowered, NULL), PF_OK);
    assert_int_equal(pf_array_network_create(lowered, &on_array, NULL), PF_OK);
    assert_int_equal(pf_array_scratch_init(&scratch, on_array, NULL), PF_OK);
    for (size_t i = 0; i < N; i++) {
        const uint8_t *image = images->pixels + i * pf_dataset_image_bytes(images);
        int32_t expected[PF_MAX_CLASSES], logits[PF_MAX_CLASSES];
        assert_int_equal(pf_quant_infer(lowered, image, expected, NULL), PF_OK);
        pf_array_network_infer(on_array, &scratch, image, logits);
        for (size_t c = 0; c < network->n_classes; c++) assert_int_equal(logits[c], expected[c]);
    }
    pf_array_scratch_finish(&scratch);
    pf_array_network_destroy(on_array);
    pf_quant_destroy(lowered);
    pf_dataset_destroy(images);
    pf_model_destroy(model);
}

static void test_the_functional_engine_equals_the_reference_in_every_logit(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 2; seed++) {
        for (uint32_t alpha = 1; alpha <= 4; alpha *= 2) {
            struct pf_network shift = random_model_network(PF_LAYER_SHIFT);
            struct pf_network conv = random_model_network(PF_LAYER_CONV3X3);
            check_network(&shift, alpha, seed);
            check_network(&conv, alpha, seed);
        }
    }
    /* Thin and small pictures, more than one panel of 64 pixels, an odd number of channels. */
    struct pf_network odd = random_model_network(PF_LAYER_SHIFT);
    odd.filters[0] = 7;
    odd.in_channels = 1;
    odd.in_height = 1;
    odd.in_width = 13;
    check_network(&odd, 1, 1);
    odd.in_height = 17;
    odd.in_width = 1;
    check_network(&odd, 2, 1);
    odd.in_height = 12;
    odd.in_width = 16;
    check_network(&odd, 2, 1);
    odd.strides[0] = 2;
    check_network(&odd, 1, 1);
}

/* A model of known counts: 8 filters on 4 × 4, two layers packed with alpha 2. */
static struct pf_model *countable_model(struct pf_network *network)
{
    *network = random_model_network(PF_LAYER_SHIFT);
    network->n_blocks = 1;
    network->filters[0] = 8;
    network->layers[0] = 1;
    network->in_height = network->in_width = 4;
    return random_model_create(network, 2, 3);
}

static uint32_t nonempty_columns(const struct pf_packing *packing)
{
    uint32_t n = 0;
    for (uint32_t k = 0; k < packing->n_columns; k++)
        n += packing->group_of_column[k] != PF_NO_GROUP;
    return n;
}

static void test_counts_of_both_layouts_by_hand(void **state)
{
    (void)state;
    struct pf_network network;
    struct pf_model *model = countable_model(&network);
    struct pf_array array;
    pf_array_default(&array);
    array.rows = 4;
    array.columns = 2;
    array.alpha = 2;
    struct pf_error err;
    assert_int_equal(pf_array_evaluate(model, &array, NULL, 0, NULL, NULL, &report, &err), PF_OK);
    assert_int_equal(report.n_layers, 3);
    assert_false(report.evaluated);
    assert_false(report.bit_exact);

    /* First convolution, 8 × 3 over 16 pixels: ⌈8/4⌉·⌈3/2⌉ tiles, dense in both layouts. */
    const struct pf_array_layer *first = &report.combined[0];
    uint64_t compute = 8 * 15 + 32 + 2 + 4 - 2;
    assert_int_equal(first->n_rows, 8);
    assert_int_equal(first->n_columns, 3);
    assert_int_equal(first->n_pixels, 16);
    assert_int_equal(first->columns, 3);
    assert_int_equal(first->tiles, 4);
    assert_int_equal(first->nonzeros, 24);
    assert_int_equal(first->load_cycles, 4 * 4 * 4); /* ⌈8/2⌉ cycles a row */
    assert_int_equal(first->compute_cycles, 4 * compute);
    assert_int_equal(first->cycles, 4 * (16 + compute));
    assert_true(first->utilisation == 1.0);
    assert_int_equal(report.uncombined[0].columns, 3);
    assert_int_equal(report.uncombined[0].load_cycles, 4 * 8 * 4); /* one wire */

    /* The packed layer, 8 × 8 in 4 groups. */
    const struct pf_packing *packing = model->layers[1].packing;
    const struct pf_array_layer *packed = &report.combined[1];
    assert_int_equal(packing->n_groups, 4);
    assert_int_equal(packed->columns, 4);
    assert_int_equal(packed->tiles, 2 * 2);
    assert_int_equal(packed->nonzeros, packing->n_weights);
    assert_true(fabs(packed->utilisation - pf_packing_utilisation(packing)) < 1e-12);
    uint32_t nonempty = nonempty_columns(packing);
    const struct pf_array_layer *apart = &report.uncombined[1];
    assert_int_equal(apart->columns, nonempty);
    assert_int_equal(apart->tiles, 2 * ((nonempty + 1) / 2));
    assert_int_equal(apart->nonzeros, packing->n_weights);
    assert_true(fabs(apart->utilisation -
                     packing->n_weights / ((double)pf_packing_nonempty_rows(packing) * nonempty)) <
                1e-12);

    /* The classifier, 5 × 8 over one pixel. */
    const struct pf_array_layer *last = &report.combined[2];
    assert_int_equal(last->n_pixels, 1);
    assert_int_equal(last->tiles, 2 * 4);
    assert_int_equal(last->compute_cycles, 8 * (32 + 2 + 4 - 2));

    const struct pf_array_totals *total = &report.combined_total;
    assert_int_equal(total->columns, 3 + 4 + 8);
    assert_int_equal(total->tiles, 4 + 4 + 8);
    assert_int_equal(total->cycles, first->cycles + packed->cycles + last->cycles);
    assert_int_equal(total->load_cycles + total->compute_cycles, total->cycles);
    assert_true(fabs(total->latency_us - (double)total->cycles / 150.0) < 1e-9);
    assert_true(fabs(total->utilisation - packed->utilisation) < 1e-12); /* combinable alone */
    pf_model_destroy(model);
}

static void test_energy_of_the_counted_events(void **state)
{
    (void)state;
    struct pf_network network;
    struct pf_model *model = countable_model(&network);
    struct pf_array array;
    pf_array_default(&array);
    assert_int_equal(pf_array_evaluate(model, &array, NULL, 0, NULL, NULL, &report, NULL), PF_OK);
    double cell_cycles = 32.0 * 32.0 * (double)report.combined_total.cycles;
    const struct pf_array_energy *energy = &report.combined_energy;
    assert_true(fabs(energy->cells_uj - cell_cycles * 0.26675e-6) < 1e-9);
    assert_true(fabs(energy->leakage_uj - cell_cycles / 150e6 * 25.9) < 1e-9);
    /* Three layers of one tile each.  Weights; 3, up to 8 and 8 streams; outputs 8·16, 8·16, 5. */
    double outputs = 128 + 128 + 5, streams = nonempty_columns(model->layers[1].packing);
    double bits = 3 * 1024 * 8 + (3 * 16 + streams * 16 + 8) * 8 + outputs * 32 + outputs * 8;
    assert_true(fabs(energy->memory_uj - bits * 10.0 / 64.0 * 1e-6) < 1e-9);
    assert_true(fabs(energy->total_uj - energy->cells_uj - energy->leakage_uj - energy->memory_uj) <
                1e-12);
    assert_true(report.energy_uj == energy->total_uj);

    struct pf_array_events events = {0}; /* 70 columns on 32: two handovers, each out and in */
    pf_array_events_add(&events, &array, 5, 70, 70, 10);
    assert_int_equal(events.partial_bits, 5 * 10 * 32 * (1 + 2 * 2));
    pf_model_destroy(model);
}

static void test_accuracy_counts_the_labels_the_reference_predicts(void **state)
{
    (void)state;
    struct pf_network network = random_model_network(PF_LAYER_SHIFT);
    struct pf_model *model = random_model_create(&network, 4, 9);
    struct pf_dataset *images = random_images(&network, 300, 77);
    struct pf_quant_model *lowered = NULL;
    assert_int_equal(pf_quant_lower(model, &lowered, NULL), PF_OK);
    size_t n_correct = 0;
    for (size_t i = 0; i < images->n_images; i++) {
        int32_t logits[PF_MAX_CLASSES];
        size_t best = 0;
        assert_int_equal(pf_quant_infer(lowered,
                                        images->pixels + i * pf_dataset_image_bytes(images), logits,
                                        NULL),
                         PF_OK);
        for (size_t c = 1; c < network.n_classes; c++)
            if (logits[c] > logits[best]) best = c;
        n_correct += images->labels[i] == best;
    }
    struct pf_array array;
    pf_array_default(&array);
    for (size_t n_threads = 1; n_threads <= 3; n_threads += 2) {
        struct pf_pool *pool = create_pool(n_threads);
        struct pf_error err;
        assert_int_equal(pf_array_evaluate(model, &array, images, 20, pool, NULL, &report, &err),
                         PF_OK);
        assert_true(report.evaluated && report.bit_exact);
        assert_int_equal(report.n_images, 300);
        assert_int_equal(report.n_checked, 20);
        assert_int_equal(report.n_correct, n_correct);
        assert_true(fabs(report.accuracy_percent - (double)n_correct / 3.0) < 1e-9);
        assert_int_equal(
            pf_array_evaluate(model, &array, images, 1000000, pool, NULL, &report, &err), PF_OK);
        assert_int_equal(report.n_checked, 300);
        assert_int_equal(pf_array_evaluate(model, &array, images, 0, pool, NULL, &report, &err),
                         PF_OK);
        assert_int_equal(report.n_correct, n_correct);
        assert_false(report.bit_exact); /* nothing was checked */
        pf_pool_destroy(pool);
    }
    pf_quant_destroy(lowered);
    pf_dataset_destroy(images);
    pf_model_destroy(model);
}

/* One weight off by one in the functional engine alone: the reference must notice. */
static void test_an_engine_that_differs_is_not_bit_exact(void **state)
{
    (void)state;
    struct pf_network network = random_model_network(PF_LAYER_SHIFT);
    struct pf_model *model = random_model_create(&network, 4, 9);
    struct pf_dataset *images = random_images(&network, 12, 77);
    struct pf_quant_model *lowered = NULL;
    struct pf_array_network *on_array = NULL;
    struct pf_pool *pool = create_pool(2);
    assert_int_equal(pf_quant_lower(model, &lowered, NULL), PF_OK);
    assert_int_equal(pf_array_network_create(lowered, &on_array, NULL), PF_OK);
    struct pf_array_functional *classifier = on_array->layers[on_array->lowered->n_layers - 1];
    for (int wrong = 0; wrong < 2; wrong++) {
        report = (struct pf_array_report){0};
        assert_int_equal(pf_array_classify(on_array, images, 12, pool, NULL, &report, NULL), PF_OK);
        assert_int_equal(report.bit_exact, wrong == 0);
        classifier->weights[0] ^= 1u;
    }
    pf_pool_destroy(pool);
    pf_array_network_destroy(on_array);
    pf_quant_destroy(lowered);
    pf_dataset_destroy(images);
    pf_model_destroy(model);
}

static void test_double_buffering_saves_cycles(void **state)
{
    (void)state;
    struct pf_network network = random_model_network(PF_LAYER_SHIFT);
    struct pf_model *model = random_model_create(&network, 4, 9);
    struct pf_array array;
    pf_array_default(&array);
    assert_int_equal(pf_array_evaluate(model, &array, NULL, 0, NULL, NULL, &report, NULL), PF_OK);
    uint64_t without = report.combined_total.cycles, load = report.combined_total.load_cycles;
    array.double_buffering = true;
    assert_int_equal(pf_array_evaluate(model, &array, NULL, 0, NULL, NULL, &report, NULL), PF_OK);
    /* Loads of 32 cycles hide behind every tile but the first has none before it. */
    assert_int_equal(report.combined_total.cycles, without - load + 32);
    pf_model_destroy(model);
}

static void assert_refused(const struct pf_model *model, const struct pf_array *array,
                           const struct pf_dataset *images, const char *part)
{
    struct pf_pool *pool = create_pool(1);
    struct pf_error err;
    report.n_layers = 12345;
    assert_int_equal(pf_array_evaluate(model, array, images, 0, pool, NULL, &report, &err),
                     PF_INVALID);
    if (strstr(err.text, part) == NULL) fail_msg("'%s' does not say '%s'", err.text, part);
    assert_int_equal(report.n_layers, 12345); /* written on success alone */
    pf_pool_destroy(pool);
}

static void test_what_does_not_fit_is_refused_by_a_sentence(void **state)
{
    (void)state;
    struct pf_network network = random_model_network(PF_LAYER_SHIFT);
    struct pf_model *model = random_model_create(&network, 4, 9);
    struct pf_array array;
    pf_array_default(&array);
    array.alpha = 2;
    assert_refused(model, &array, NULL, "layer 1 joins up to 4 columns");
    pf_array_default(&array);
    array.columns = 0;
    assert_refused(model, &array, NULL, "32 × 0 cells");
    pf_array_default(&array);
    array.input_bits = 4;
    array.lanes = 8;
    assert_refused(model, &array, NULL, "activations have 8");
    pf_array_default(&array);
    array.accumulation_bits = 16;
    array.lanes = 2;
    assert_refused(model, &array, NULL, "do not fit accumulators of 16 bits");

    pf_array_default(&array);
    struct pf_network other = network;
    other.in_width++;
    struct pf_dataset *images = random_images(&other, 3, 1);
    assert_refused(model, &array, images, "the images are 9×8×3 but the model takes 9×7×3");
    pf_dataset_destroy(images);
    other = network;
    other.n_classes = 6;
    images = random_images(&other, 3, 1);
    assert_refused(model, &array, images, "6 classes");
    images->n_images = 0;
    images->n_classes = 5;
    assert_refused(model, &array, images, "no images");
    pf_dataset_destroy(images);

    model->layers[1].weight[0] = 1e9f;
    assert_refused(model, &array, NULL, "layer 1");
    pf_model_destroy(model);
}

static void test_a_stop_request_interrupts(void **state)
{
    (void)state;
    struct pf_network network = random_model_network(PF_LAYER_SHIFT);
    struct pf_model *model = random_model_create(&network, 1, 9);
    struct pf_dataset *images = random_images(&network, 10, 77);
    struct pf_array array;
    pf_array_default(&array);
    atomic_bool stop = true;
    struct pf_progress progress = {.stop = &stop};
    struct pf_pool *pool = create_pool(1);
    assert_int_equal(pf_array_evaluate(model, &array, images, 0, pool, &progress, &report, NULL),
                     PF_INTERRUPTED);
    pf_pool_destroy(pool);
    pf_dataset_destroy(images);
    pf_model_destroy(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_functional_engine_equals_the_reference_in_every_logit),
        cmocka_unit_test(test_counts_of_both_layouts_by_hand),
        cmocka_unit_test(test_energy_of_the_counted_events),
        cmocka_unit_test(test_accuracy_counts_the_labels_the_reference_predicts),
        cmocka_unit_test(test_an_engine_that_differs_is_not_bit_exact),
        cmocka_unit_test(test_double_buffering_saves_cycles),
        cmocka_unit_test(test_what_does_not_fit_is_refused_by_a_sentence),
        cmocka_unit_test(test_a_stop_request_interrupts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
