/* CIFAR-10's binary batches: read exactly, and refused by name when anything is wrong. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "common/data/dataset.h"
#include "tests/unit/base/scratch.h"

#define RECORD 3073
#define N_FILES 5

static const char *const names[] = {"data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin",
                                    "data_batch_4.bin", "data_batch_5.bin"};

/* File f holds f + 1 records; record i of it has label (f + i) % 10 and a pattern of its own. */
static void fill_record(uint8_t *record, size_t f, size_t i)
{
    record[0] = (uint8_t)((f + i) % 10);
    for (size_t j = 0; j < RECORD - 1; j++) record[1 + j] = (uint8_t)(j * 7 + f * 31 + i * 3);
}

static void write_batch(struct scratch *scratch, const char *folder, size_t f, const char *name)
{
    uint8_t bytes[N_FILES * RECORD];
    char path[64];
    for (size_t i = 0; i <= f; i++) fill_record(bytes + i * RECORD, f, i);
    snprintf(path, sizeof path, "%s%s", folder, name);
    scratch_write(scratch, path, bytes, (f + 1) * RECORD);
}

static void write_all(struct scratch *scratch, const char *folder)
{
    for (size_t f = 0; f < N_FILES; f++) write_batch(scratch, folder, f, names[f]);
    write_batch(scratch, folder, 1, "test_batch.bin");
}

static int set_up(void **state)
{
    static struct scratch scratch;
    scratch_create(&scratch);
    *state = &scratch;
    return 0;
}

static int tear_down(void **state)
{
    scratch_destroy(*state);
    return 0;
}

static void check_images(const struct pf_dataset *dataset)
{
    assert_int_equal(dataset->n_images, 1 + 2 + 3 + 4 + 5);
    assert_int_equal(dataset->n_channels, 3);
    assert_int_equal(dataset->height, 32);
    assert_int_equal(dataset->width, 32);
    assert_int_equal(dataset->n_classes, 10);
    size_t n = 0;
    for (size_t f = 0; f < N_FILES; f++)
        for (size_t i = 0; i <= f; i++, n++) {
            uint8_t record[RECORD];
            fill_record(record, f, i);
            assert_int_equal(dataset->labels[n], record[0]);
            assert_memory_equal(dataset->pixels + n * 3072, record + 1, 3072);
        }
}

static void batches_are_read_in_order(void **state)
{
    PF_CLEANUP(pf_dataset_destroyp) struct pf_dataset *train = NULL;
    PF_CLEANUP(pf_dataset_destroyp) struct pf_dataset *test = NULL;
    struct scratch *scratch = *state;
    write_all(scratch, "");
    struct pf_data_source source = {.kind = PF_DATA_CIFAR10, .dir = scratch->folder};
    assert_int_equal(pf_dataset_load(&source, PF_SPLIT_TRAIN, &train, NULL), PF_OK);
    check_images(train);
    assert_int_equal(pf_dataset_load(&source, PF_SPLIT_TEST, &test, NULL), PF_OK);
    assert_int_equal(test->n_images, 2);
    assert_int_equal(test->labels[1], 2);
}

static void the_archives_own_folder_is_found(void **state)
{
    PF_CLEANUP(pf_dataset_destroyp) struct pf_dataset *train = NULL;
    struct scratch *scratch = *state;
    assert_int_equal(pf_folder_create(scratch_path(scratch, "cifar-10-batches-bin"), NULL), PF_OK);
    write_all(scratch, "cifar-10-batches-bin/");
    assert_int_equal(pf_dataset_load_cifar10(scratch->folder, PF_SPLIT_TRAIN, &train, NULL), PF_OK);
    check_images(train);
}

static void assert_refused(struct scratch *scratch, enum pf_data_split split, enum pf_status status,
                           const char *name, const char *because)
{
    struct pf_dataset *dataset = NULL;
    struct pf_error err = {0};
    assert_int_equal(pf_dataset_load_cifar10(scratch->folder, split, &dataset, &err), status);
    assert_null(dataset);
    if (strstr(err.text, name) == NULL || strstr(err.text, because) == NULL)
        fail_msg("%s", err.text);
}

static void a_missing_file_is_named_with_where_to_get_it(void **state)
{
    struct scratch *scratch = *state;
    assert_refused(scratch, PF_SPLIT_TEST, PF_NOT_FOUND, "/test_batch.bin: no such file",
                   "cifar-10-binary.tar.gz");
    write_all(scratch, "");
    remove(scratch_path(scratch, "data_batch_4.bin"));
    assert_refused(scratch, PF_SPLIT_TRAIN, PF_NOT_FOUND, "/data_batch_4.bin: no such file",
                   "cifar-10-binary.tar.gz");
}

static void a_wrong_length_is_refused(void **state)
{
    struct scratch *scratch = *state;
    static uint8_t bytes[2 * RECORD + 1];
    write_all(scratch, "");
    scratch_write(scratch, "data_batch_2.bin", bytes, 2 * RECORD + 1);
    assert_refused(scratch, PF_SPLIT_TRAIN, PF_CORRUPT, "data_batch_2.bin",
                   "6,147 bytes is not a whole number of 3,073-byte records: cut short or not "
                   "CIFAR-10's binary layout");
    scratch_write(scratch, "data_batch_2.bin", bytes, 2 * RECORD - 1);
    assert_refused(scratch, PF_SPLIT_TRAIN, PF_CORRUPT, "data_batch_2.bin", "6,145 bytes");
    scratch_write(scratch, "data_batch_2.bin", bytes, 0);
    assert_refused(scratch, PF_SPLIT_TRAIN, PF_CORRUPT, "data_batch_2.bin", "is empty");
}

static void a_label_above_nine_is_refused(void **state)
{
    struct scratch *scratch = *state;
    uint8_t bytes[3 * RECORD] = {0};
    write_all(scratch, "");
    bytes[2 * RECORD] = 10;
    scratch_write(scratch, "data_batch_3.bin", bytes, sizeof bytes);
    assert_refused(scratch, PF_SPLIT_TRAIN, PF_CORRUPT, "data_batch_3.bin",
                   "record 2 has label 10");
}

static void an_absurdly_large_file_is_refused_without_reading(void **state)
{
    struct scratch *scratch = *state;
    write_all(scratch, "");
    /* A hole: no disk is used. */
    const char *path = scratch_path(scratch, "data_batch_1.bin");
    if (truncate(path, (off_t)RECORD * (off_t)(PF_MAX_IMAGES + 1)) != 0) skip();
    assert_refused(scratch, PF_SPLIT_TRAIN, PF_CORRUPT, "data_batch_1.bin",
                   "16,777,217 images, more than the 16,777,216 supported");
    /* Each file within the limit, the five together not. */
    if (truncate(path, (off_t)RECORD * (off_t)PF_MAX_IMAGES) != 0) skip();
    assert_refused(scratch, PF_SPLIT_TRAIN, PF_CORRUPT, "data_batch_1.bin", "16,777,230 images");
}

static void a_folder_in_place_of_a_file_is_refused(void **state)
{
    struct scratch *scratch = *state;
    write_all(scratch, "");
    remove(scratch_path(scratch, "data_batch_1.bin"));
    assert_int_equal(pf_folder_create(scratch_path(scratch, "data_batch_1.bin"), NULL), PF_OK);
    assert_refused(scratch, PF_SPLIT_TRAIN, PF_IO, "data_batch_1.bin", "not a regular file");
}

int main(void)
{
#define CASE(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(batches_are_read_in_order),
        CASE(the_archives_own_folder_is_found),
        CASE(a_missing_file_is_named_with_where_to_get_it),
        CASE(a_wrong_length_is_refused),
        CASE(a_label_above_nine_is_refused),
        CASE(an_absurdly_large_file_is_refused_without_reading),
        CASE(a_folder_in_place_of_a_file_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
