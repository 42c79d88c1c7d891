/* IDX files as MNIST has them: read exactly, and refused by name when anything is wrong. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "common/data/dataset.h"
#include "tests/unit/base/scratch.h"

#define IMAGES "train-images-idx3-ubyte"
#define LABELS "train-labels-idx1-ubyte"
#define COUNT 3
#define HEIGHT 2
#define WIDTH 4

/* A good pair of files in memory, for each test to spoil. */
struct files {
    struct scratch scratch;
    uint8_t images[16 + COUNT * HEIGHT * WIDTH];
    uint8_t labels[8 + COUNT];
};

static void put_word(uint8_t *out, uint32_t value)
{
    for (int i = 0; i < 4; i++) out[i] = (uint8_t)(value >> (24 - 8 * i));
}

static int set_up(void **state)
{
    static struct files files;
    memset(&files, 0, sizeof files);
    scratch_create(&files.scratch);
    const uint32_t words[] = {0x803, COUNT, HEIGHT, WIDTH};
    for (size_t i = 0; i < 4; i++) put_word(files.images + 4 * i, words[i]);
    for (size_t i = 16; i < sizeof files.images; i++) files.images[i] = (uint8_t)(i * 5);
    put_word(files.labels, 0x801);
    put_word(files.labels + 4, COUNT);
    memcpy(files.labels + 8, (const uint8_t[]){9, 0, 4}, COUNT);
    *state = &files;
    return 0;
}

static int tear_down(void **state)
{
    scratch_destroy(&((struct files *)*state)->scratch);
    return 0;
}

static void write_pair(struct files *files, const char *images, const char *labels)
{
    scratch_write(&files->scratch, images, files->images, sizeof files->images);
    scratch_write(&files->scratch, labels, files->labels, sizeof files->labels);
}

static void assert_reads(struct files *files, enum pf_data_split split)
{
    PF_CLEANUP(pf_dataset_destroyp) struct pf_dataset *dataset = NULL;
    struct pf_data_source source = {.kind = PF_DATA_IDX, .dir = files->scratch.folder};
    struct pf_error err = {0};
    if (pf_dataset_load(&source, split, &dataset, &err) != PF_OK) fail_msg("%s", err.text);
    assert_int_equal(dataset->n_images, COUNT);
    assert_int_equal(dataset->n_channels, 1);
    assert_int_equal(dataset->height, HEIGHT);
    assert_int_equal(dataset->width, WIDTH);
    assert_int_equal(dataset->n_classes, 10);
    assert_memory_equal(dataset->pixels, files->images + 16, COUNT * HEIGHT * WIDTH);
    assert_memory_equal(dataset->labels, files->labels + 8, COUNT);
}

static void assert_refused(struct files *files, enum pf_status status, const char *name,
                           const char *because)
{
    struct pf_dataset *dataset = NULL;
    struct pf_error err = {0};
    assert_int_equal(pf_dataset_load_idx(files->scratch.folder, PF_SPLIT_TRAIN, &dataset, &err),
                     status);
    assert_null(dataset);
    if (strstr(err.text, name) == NULL || strstr(err.text, because) == NULL)
        fail_msg("%s", err.text);
}

static void both_splits_and_both_spellings_are_read(void **state)
{
    struct files *files = *state;
    write_pair(files, IMAGES, LABELS);
    assert_reads(files, PF_SPLIT_TRAIN);
    write_pair(files, "t10k-images.idx3-ubyte", "t10k-labels-idx1-ubyte");
    assert_reads(files, PF_SPLIT_TEST);
}

static void a_missing_file_is_named(void **state)
{
    struct files *files = *state;
    assert_refused(files, PF_NOT_FOUND, IMAGES ": no such file", "gunzip");
    write_pair(files, IMAGES, LABELS);
    remove(scratch_path(&files->scratch, LABELS));
    assert_refused(files, PF_NOT_FOUND, LABELS ": no such file", "t10k-labels-idx1-ubyte");
}

static void foreign_magic_is_refused(void **state)
{
    struct files *files = *state;
    files->images[3] = 1; /* labels where images should be */
    write_pair(files, IMAGES, LABELS);
    assert_refused(files, PF_CORRUPT, IMAGES, "starts with 0x00000801, not with IDX's 0x00000803");
    files->images[3] = 3;
    files->labels[2] = 0x0d; /* floats */
    write_pair(files, IMAGES, LABELS);
    assert_refused(files, PF_CORRUPT, LABELS, "starts with 0x00000d01");
    files->labels[0] = 0x1f, files->labels[1] = 0x8b;
    write_pair(files, IMAGES, LABELS);
    assert_refused(files, PF_CORRUPT, LABELS, "is compressed; gunzip it");
}

static void a_wrong_length_is_refused(void **state)
{
    struct files *files = *state;
    write_pair(files, IMAGES, LABELS);
    scratch_write(&files->scratch, IMAGES, files->images, sizeof files->images - 1);
    assert_refused(files, PF_CORRUPT, IMAGES,
                   "39 bytes, but its header promises 3 items, 40 bytes");
    uint8_t longer[sizeof files->labels + 1] = {0};
    memcpy(longer, files->labels, sizeof files->labels);
    write_pair(files, IMAGES, LABELS);
    scratch_write(&files->scratch, LABELS, longer, sizeof longer);
    assert_refused(files, PF_CORRUPT, LABELS,
                   "12 bytes, but its header promises 3 items, 11 bytes");
    scratch_write(&files->scratch, LABELS, longer, 7);
    assert_refused(files, PF_CORRUPT, LABELS, "7 bytes are fewer than the 8");
    scratch_write(&files->scratch, IMAGES, longer, 0);
    assert_refused(files, PF_CORRUPT, IMAGES, "0 bytes are fewer than the 16");
}

static void counts_must_agree(void **state)
{
    struct files *files = *state;
    put_word(files->labels + 4, 2);
    write_pair(files, IMAGES, LABELS);
    assert_refused(files, PF_CORRUPT, LABELS, "2 labels for the 3 images");
}

static void a_label_above_nine_is_refused(void **state)
{
    struct files *files = *state;
    files->labels[9] = 10;
    write_pair(files, IMAGES, LABELS);
    assert_refused(files, PF_CORRUPT, LABELS, "label 1 is 10");
}

static void absurd_headers_are_refused_before_memory_is_taken(void **state)
{
    static const struct {
        size_t word;
        uint32_t value;
        const char *because;
    } bad[] = {{1, 0, "0 images"},
               {1, UINT32_MAX, "4294967295 images"},
               {1, (1u << 24) + 1, "16777217 images"},
               {1, 1u << 24, "header promises 16,777,216 items"},
               {2, 0, "images of 0 × 4"},
               {2, 257, "images of 257 × 4"},
               {3, 0, "images of 2 × 0"},
               {3, UINT32_MAX, "images of 2 × 4294967295"}};
    struct files *files = *state;
    for (size_t i = 0; i < PF_ARRAY_LENGTH(bad); i++) {
        uint8_t saved[16];
        memcpy(saved, files->images, sizeof saved);
        put_word(files->images + 4 * bad[i].word, bad[i].value);
        if (bad[i].word == 1) put_word(files->labels + 4, bad[i].value);
        write_pair(files, IMAGES, LABELS);
        assert_refused(files, PF_CORRUPT, IMAGES, bad[i].because);
        memcpy(files->images, saved, sizeof saved);
        put_word(files->labels + 4, COUNT);
    }
}

int main(void)
{
#define CASE(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(both_splits_and_both_spellings_are_read),
        CASE(a_missing_file_is_named),
        CASE(foreign_magic_is_refused),
        CASE(a_wrong_length_is_refused),
        CASE(counts_must_agree),
        CASE(a_label_above_nine_is_refused),
        CASE(absurd_headers_are_refused_before_memory_is_taken),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
