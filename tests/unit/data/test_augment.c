/* Crops and flips: every offset occurs, and each output is the shifted original pixel for pixel. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "common/data/augment.h"

#define N_CHANNELS 2
#define HEIGHT 6
#define WIDTH 5
#define IMAGE_BYTES (N_CHANNELS * HEIGHT * WIDTH)

/* Every pixel of every image has a value of its own, none of them 0, the padding's. */
static struct pf_dataset *probe(size_t n_images)
{
    struct pf_dataset *dataset = NULL;
    assert_int_equal(pf_dataset_create(n_images, N_CHANNELS, HEIGHT, WIDTH, 10, &dataset, NULL),
                     PF_OK);
    for (size_t i = 0; i < n_images * IMAGE_BYTES; i++)
        dataset->pixels[i] = (uint8_t)(1 + i % IMAGE_BYTES + i / IMAGE_BYTES * 7 % 100);
    for (size_t i = 0; i < n_images; i++) dataset->labels[i] = (uint8_t)(i % 10);
    return dataset;
}

/* The definition, pixel by pixel. */
static void expect(uint8_t *out, const uint8_t *in, int top, int left, bool flip)
{
    for (int c = 0; c < N_CHANNELS; c++)
        for (int y = 0; y < HEIGHT; y++)
            for (int x = 0; x < WIDTH; x++) {
                int row = y + top, column = (flip ? WIDTH - 1 - x : x) + left;
                bool inside = row >= 0 && row < HEIGHT && column >= 0 && column < WIDTH;
                out[(c * HEIGHT + y) * WIDTH + x] =
                    inside ? in[(c * HEIGHT + row) * WIDTH + column] : 0;
            }
}

/* The one (top, left, flip) whose picture `out` is, or −1. */
static int find_offset(const uint8_t *out, const uint8_t *in, int padding)
{
    int side = 2 * padding + 1;
    for (int k = 0; k < 2 * side * side; k++) {
        uint8_t expected[IMAGE_BYTES];
        expect(expected, in, k / 2 / side - padding, k / 2 % side - padding, k % 2 == 1);
        if (memcmp(out, expected, sizeof expected) == 0) return k;
    }
    return -1;
}

static void every_offset_and_flip_occurs_and_is_exact(void **state)
{
    (void)state;
    PF_CLEANUP(pf_dataset_destroyp) struct pf_dataset *dataset = probe(1);
    struct pf_augmentation augmentation = {.padding = 2, .flip = true};
    struct pf_random random;
    pf_random_init(&random, 3, "test", 0);
    int seen[50] = {0};
    for (int draw = 0; draw < 5000; draw++) {
        uint8_t out[IMAGE_BYTES];
        memset(out, 0xEE, sizeof out);
        pf_augment_image(out, dataset, 0, &augmentation, &random);
        int k = find_offset(out, dataset->pixels, 2);
        assert_true(k >= 0);
        seen[k]++;
    }
    /* 100 expected each; 5000 uniform draws stay within these bounds but once in 10^6. */
    for (int k = 0; k < 50; k++) assert_in_range(seen[k], 50, 150);
}

static void padding_beyond_the_image_gives_black(void **state)
{
    (void)state;
    PF_CLEANUP(pf_dataset_destroyp) struct pf_dataset *dataset = probe(1);
    struct pf_augmentation augmentation = {.padding = 9, .flip = true};
    struct pf_random random;
    pf_random_init(&random, 4, "test", 0);
    int black = 0;
    for (int draw = 0; draw < 2000; draw++) {
        uint8_t out[IMAGE_BYTES], nothing[IMAGE_BYTES] = {0};
        pf_augment_image(out, dataset, 0, &augmentation, &random);
        assert_true(find_offset(out, dataset->pixels, 9) >= 0);
        black += memcmp(out, nothing, sizeof out) == 0;
    }
    /* Visible: 11 of 19 rows and 9 of 19 columns; so 1 − 99/361 = 72.6 % black. */
    assert_in_range(black, 1352, 1552);
}

static void absurd_padding_counts_as_the_largest(void **state)
{
    (void)state;
    PF_CLEANUP(pf_dataset_destroyp) struct pf_dataset *dataset = probe(1);
    static const uint32_t absurd[] = {PF_MAX_PADDING + 1, 1u << 31, UINT32_MAX};
    for (size_t k = 0; k < PF_ARRAY_LENGTH(absurd); k++) {
        struct pf_augmentation largest = {.padding = PF_MAX_PADDING},
                               beyond = {.padding = absurd[k]};
        struct pf_random random, again;
        pf_random_init(&random, 7, "test", 0);
        again = random;
        int visible = 0;
        for (int draw = 0; draw < 20000; draw++) {
            uint8_t a[IMAGE_BYTES], b[IMAGE_BYTES], nothing[IMAGE_BYTES] = {0};
            pf_augment_image(a, dataset, 0, &largest, &random);
            pf_augment_image(b, dataset, 0, &beyond, &again);
            assert_memory_equal(a, b, sizeof a);
            visible += memcmp(a, nothing, sizeof a) != 0;
        }
        assert_true(visible > 0); /* 11 · 9 of 513 · 513 offsets: 7.5 expected */
    }
}

static void nothing_asked_copies_and_draws_nothing(void **state)
{
    (void)state;
    PF_CLEANUP(pf_dataset_destroyp) struct pf_dataset *dataset = probe(2);
    struct pf_augmentation none = {0};
    struct pf_random random, untouched;
    pf_random_init(&random, 5, "test", 0);
    untouched = random;
    uint8_t out[IMAGE_BYTES];
    pf_augment_image(out, dataset, 1, &none, &random);
    assert_memory_equal(out, dataset->pixels + IMAGE_BYTES, IMAGE_BYTES);
    assert_memory_equal(&random, &untouched, sizeof random);
    memset(out, 0, sizeof out);
    pf_augment_image(out, dataset, 1, NULL, NULL);
    assert_memory_equal(out, dataset->pixels + IMAGE_BYTES, IMAGE_BYTES);
}

static void a_batch_is_its_images_in_order(void **state)
{
    (void)state;
    PF_CLEANUP(pf_dataset_destroyp) struct pf_dataset *dataset = probe(12);
    const uint32_t indices[] = {11, 0, 3, 3, 7};
    const size_t n = PF_ARRAY_LENGTH(indices);
    struct pf_augmentation augmentation = {.padding = 1, .flip = true};
    struct pf_random random, again;
    pf_random_init(&random, 6, "test", 0);
    again = random;
    uint8_t images[PF_ARRAY_LENGTH(indices) * IMAGE_BYTES], labels[PF_ARRAY_LENGTH(indices)];
    pf_batch_gather(images, labels, dataset, indices, n, &augmentation, &random);
    for (size_t i = 0; i < n; i++) {
        uint8_t out[IMAGE_BYTES];
        pf_augment_image(out, dataset, indices[i], &augmentation, &again);
        assert_memory_equal(images + i * IMAGE_BYTES, out, IMAGE_BYTES);
        assert_int_equal(labels[i], indices[i] % 10);
    }
    assert_int_equal(pf_random_u64(&random), pf_random_u64(&again));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_offset_and_flip_occurs_and_is_exact),
        cmocka_unit_test(padding_beyond_the_image_gives_black),
        cmocka_unit_test(absurd_padding_counts_as_the_largest),
        cmocka_unit_test(nothing_asked_copies_and_draws_nothing),
        cmocka_unit_test(a_batch_is_its_images_in_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
