#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/file.h"
#include "sim/federation/summary.h"
#include "tests/testing.h"

static struct pf_array_report *array_report(void)
{
    static struct pf_array_report report;
    pf_array_default(&report.array);
    report.uncombined_total = (struct pf_array_totals){800, 60, 900000, 0.125, 6000};
    report.combined_total = (struct pf_array_totals){100, 20, 300000, 0.95, 2000};
    report.energy_uj = NAN;
    report.evaluated = true;
    report.n_checked = 16;
    report.bit_exact = true;
    return &report;
}

static struct pf_summary example(void)
{
    return (struct pf_summary){
        .seed = 7,
        .data = "synthetic",
        .network = {.block_kind = PF_LAYER_SHIFT,
                    .n_blocks = 2,
                    .filters = {16, 32},
                    .layers = {3, 2},
                    .strides = {1, 2},
                    .in_channels = 3,
                    .in_height = 32,
                    .in_width = 32,
                    .n_classes = 10},
        .participants = 4,
        .rounds = 6,
        .aggregation = PF_AGGREGATION_PLAIN,
        .accuracy = {.dense = 82.25, .combined = 10.5, .retrained = 80, .array = 79.75},
        .nonzeros = {.dense = 118784, .packed = 19883},
        .array = array_report(),
        .bytes = {.upload_per_participant = 1234567,
                  .download_per_participant = 7654321,
                  .dense_update = 475136},
        .epsilon = NAN,
        .seconds = 12.5,
    };
}

static json_t *as_json(const struct pf_summary *summary)
{
    struct pf_buffer text = {0};
    assert_int_equal(pf_summary_json(summary, &text, NULL), PF_OK);
    json_t *json = json_loadb((const char *)text.bytes, text.length, 0, NULL);
    pf_buffer_finish(&text);
    assert_non_null(json);
    return json;
}

static void test_json_has_the_promised_keys(void **state)
{
    (void)state;
    struct pf_summary summary = example();
    json_t *json = as_json(&summary);
    long long seed, participants, rounds, dense, packed, columns, tiles, cycles, upload;
    const char *data, *aggregation;
    double accuracy, utilisation, latency, seconds;
    assert_int_equal(
        json_unpack(json,
                    "{s:I, s:s, s:{s:s, s:o}, s:I, s:I, s:s, s:{s:F, s:F, s:F, s:F}, s:{s:I, s:I},"
                    " s:{s:i, s:i, s:{s:I, s:I, s:I, s:F}, s:{s:F}}, s:{s:I, s:I, s:I}, s:F}",
                    "seed", &seed, "data", &data, "network", "layer_type", &(const char *){0},
                    "filters", &(json_t *){0}, "participants", &participants, "rounds", &rounds,
                    "aggregation", &aggregation, "accuracy_percent", "dense", &accuracy, "combined",
                    &(double){0}, "retrained", &(double){0}, "array", &(double){0}, "nonzeros",
                    "dense", &dense, "packed", &packed, "array", "rows", &(int){0}, "columns",
                    &(int){0}, "uncombined", "columns", &columns, "tiles", &tiles, "cycles",
                    &cycles, "utilisation", &utilisation, "combined", "latency_us", &latency,
                    "bytes", "upload_per_participant", &upload, "download_per_participant",
                    &(long long){0}, "dense_update", &(long long){0}, "seconds", &seconds),
        0);
    assert_int_equal(seed, 7);
    assert_string_equal(data, "synthetic");
    assert_string_equal(aggregation, "plain");
    assert_int_equal(participants, 4);
    assert_int_equal(rounds, 6);
    assert_true(accuracy == 82.25);
    assert_int_equal(dense, 118784);
    assert_int_equal(packed, 19883);
    assert_int_equal(columns, 800);
    assert_int_equal(tiles, 60);
    assert_int_equal(cycles, 900000);
    assert_true(utilisation == 0.125);
    assert_true(latency == 2000);
    assert_int_equal(upload, 1234567);
    assert_true(seconds == 12.5);
    json_decref(json);
}

static void test_unknown_figures_are_null(void **state)
{
    (void)state;
    struct pf_summary summary = example();
    summary.array = NULL;
    summary.accuracy.array = NAN;
    json_t *json = as_json(&summary);
    assert_true(json_is_null(json_object_get(json, "array")));
    assert_true(json_is_null(json_object_get(json, "epsilon")));
    assert_true(json_is_null(json_object_get(json_object_get(json, "accuracy_percent"), "array")));
    json_decref(json);
}

static void test_table_shows_every_figure(void **state)
{
    (void)state;
    struct pf_summary summary = example();
    struct pf_buffer text = {0};
    assert_int_equal(pf_summary_table(&summary, &text, NULL), PF_OK);
    assert_int_equal(pf_buffer_append(&text, "", 1, NULL), PF_OK);
    const char *table = (const char *)text.bytes;
    static const char *const figures[] = {
        "82.25 %", "10.50 %", "-71.75 points", "80.00 %",     "79.75 %",   "118,784", "19,883",
        "÷ 5.97",  "800",     "÷ 8.00",        "900,000",     "300,000",   "12.5 %",  "95.0 %",
        "× 7.60",  "1.23 MB", "475.1 kB",      "images: yes", "2000.0 µs", "plain"};
    for (size_t i = 0; i < PF_ARRAY_LENGTH(figures); i++)
        if (strstr(table, figures[i]) == NULL) fail_msg("no '%s' in\n%s", figures[i], table);
    pf_buffer_finish(&text);
}

static void test_distillation_is_told(void **state)
{
    (void)state;
    struct pf_summary summary = example();
    struct pf_buffer without = {0}, with = {0};
    json_t *json = as_json(&summary);
    assert_true(json_number_value(json_object_get(json, "distill")) == 0.0);
    json_decref(json);
    assert_int_equal(pf_summary_table(&summary, &without, NULL), PF_OK);
    summary.distill = 0.9;
    json = as_json(&summary);
    assert_true(json_number_value(json_object_get(json, "distill")) == 0.9);
    json_decref(json);
    assert_int_equal(pf_summary_table(&summary, &with, NULL), PF_OK);
    assert_non_null(memmem(with.bytes, with.length, "weight 0.9", 10));
    assert_null(memmem(without.bytes, without.length, "distilled", 9));
    pf_buffer_finish(&without);
    pf_buffer_finish(&with);
}

static void test_saving_into_a_missing_folder_is_a_sentence(void **state)
{
    (void)state;
    struct pf_summary summary = example();
    struct pf_error err = {0};
    assert_int_equal(pf_summary_save(&summary, "/nonexistent/summary.json", &err), PF_IO);
    assert_non_null(strstr(err.text, "/nonexistent/summary.json"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_json_has_the_promised_keys),
        cmocka_unit_test(test_unknown_figures_are_null),
        cmocka_unit_test(test_table_shows_every_figure),
        cmocka_unit_test(test_distillation_is_told),
        cmocka_unit_test(test_saving_into_a_missing_folder_is_a_sentence),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
