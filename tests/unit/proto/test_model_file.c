/* Model files: what is saved is read back, and nothing else is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/memory.h"
#include "proto/model_file.h"
#include "proto/packfed.pb-c.h"

static const struct pf_network small_network = {
    .block_kind = PF_LAYER_SHIFT,
    .n_blocks = 1,
    .filters = {4},
    .layers = {2},
    .strides = {1},
    .in_channels = 1,
    .in_height = 4,
    .in_width = 4,
    .n_classes = 2,
};

/* Layer 1 packed (columns 0 and 2 share a group, 1 alone, 3 empty), the rest dense. */
static struct pf_model *small_model(void)
{
    static const float weights[4][4] = {{1, 2, 0, 0}, {0, 3, 4, 0}, {0, 0, 0, 0}, {5, 0, 0, 0}};
    static const uint32_t groups[4] = {0, 1, 0, 2};
    struct pf_packing *packing = NULL;
    assert_int_equal(
        pf_packing_from_dense(&weights[0][0], 4, 4, groups, 3, 2, 1.75f, &packing, NULL), PF_OK);
    const struct pf_packing *packings[4] = {NULL, packing, NULL, NULL};
    struct pf_model *model = NULL;
    assert_int_equal(pf_model_create(&small_network, packings, &model, NULL), PF_OK);
    pf_packing_destroy(packing);
    pf_model_initialise(model, 7);
    model->input_mean[0] = 0.5f;
    model->input_std[0] = 0.25f;
    return model;
}

static struct pf_buffer encoded(const struct pf_model *model)
{
    struct pf_buffer bytes = {0};
    struct pf_error err = {0};
    if (pf_model_encode(model, &bytes, &err) != PF_OK) fail_msg("%s", err.text);
    return bytes;
}

static void assert_models_equal(const struct pf_model *a, const struct pf_model *b)
{
    assert_true(pf_model_same_shape(a, b));
    assert_int_equal(a->n_parameters, b->n_parameters);
    assert_memory_equal(a->parameters, b->parameters, a->n_parameters * sizeof(float));
    assert_memory_equal(a->input_mean, b->input_mean, sizeof a->input_mean);
    assert_memory_equal(a->input_std, b->input_std, sizeof a->input_std);
    for (size_t l = 0; l < a->n_layers; l++)
        if (a->layers[l].packing != NULL)
            assert_true(a->layers[l].packing->gamma == b->layers[l].packing->gamma);
}

static void check_round_trip(const struct pf_model *model)
{
    struct pf_buffer bytes = encoded(model), again;
    struct pf_model *decoded = NULL;
    struct pf_error err = {0};
    if (pf_model_decode("m", bytes.bytes, bytes.length, &decoded, &err) != PF_OK)
        fail_msg("%s", err.text);
    assert_models_equal(model, decoded);
    again = encoded(decoded);
    assert_int_equal(bytes.length, again.length);
    assert_memory_equal(bytes.bytes, again.bytes, bytes.length);
    pf_model_destroy(decoded);
    pf_buffer_finish(&bytes);
    pf_buffer_finish(&again);
}

static void round_trips_packed_and_dense(void **state)
{
    (void)state;
    struct pf_model *packed = small_model(), *dense = NULL, *conv = NULL;
    check_round_trip(packed);
    assert_int_equal(pf_model_densify(packed, &dense, NULL), PF_OK);
    check_round_trip(dense);
    struct pf_network network = small_network;
    network.block_kind = PF_LAYER_CONV3X3;
    assert_int_equal(pf_model_create(&network, NULL, &conv, NULL), PF_OK);
    pf_model_initialise(conv, 1);
    check_round_trip(conv);
    pf_model_destroy(packed);
    pf_model_destroy(dense);
    pf_model_destroy(conv);
}

static void round_trips_the_deepest_network(void **state)
{
    (void)state;
    struct pf_network network = small_network;
    network.n_blocks = PF_MAX_BLOCKS;
    for (size_t b = 0; b < PF_MAX_BLOCKS; b++) {
        network.filters[b] = 1;
        network.layers[b] = PF_MAX_LAYERS_PER_BLOCK;
        network.strides[b] = 1;
    }
    struct pf_model *model = NULL;
    assert_int_equal(pf_model_create(&network, NULL, &model, NULL), PF_OK);
    check_round_trip(model);
    pf_model_destroy(model);
}

static void appends_behind_what_is_there(void **state)
{
    (void)state;
    struct pf_model *model = small_model(), *decoded = NULL;
    struct pf_buffer bytes = {0};
    assert_int_equal(pf_buffer_append(&bytes, "abc", 3, NULL), PF_OK);
    assert_int_equal(pf_model_encode(model, &bytes, NULL), PF_OK);
    assert_int_equal(pf_model_decode("m", bytes.bytes + 3, bytes.length - 3, &decoded, NULL),
                     PF_OK);
    model->parameters[0] = INFINITY;
    size_t length = bytes.length;
    assert_int_equal(pf_model_encode(model, &bytes, NULL), PF_INVALID);
    assert_int_equal(bytes.length, length);
    pf_model_destroy(decoded);
    pf_model_destroy(model);
    pf_buffer_finish(&bytes);
}

/* Refused with a sentence that names the model, output untouched. */
static void assert_refused(const uint8_t *bytes, size_t length, const char *words)
{
    struct pf_model *untouched = (struct pf_model *)(uintptr_t)1, *model = untouched;
    struct pf_error err = {0};
    /* An exact copy, so that the address sanitizer sees a read past the end. */
    uint8_t *copy = malloc(length > 0 ? length : 1);
    if (length > 0) memcpy(copy, bytes, length);
    enum pf_status status = pf_model_decode("m.pfm", copy, length, &model, &err);
    free(copy);
    assert_int_equal(status, PF_CORRUPT);
    assert_int_equal(err.status, PF_CORRUPT);
    assert_ptr_equal(model, untouched);
    assert_memory_equal(err.text, "m.pfm: ", 7);
    if (strstr(err.text, words) == NULL) fail_msg("'%s' lacks '%s'", err.text, words);
}

static void refuses_every_truncation(void **state)
{
    (void)state;
    struct pf_model *model = small_model();
    struct pf_buffer bytes = encoded(model);
    for (size_t length = 0; length < bytes.length; length++)
        assert_refused(bytes.bytes, length, length == 0 || length < 8 ? "" : "cut short");
    assert_refused(bytes.bytes, bytes.length / 2, "cut short");
    assert_int_equal(pf_buffer_append(&bytes, "x", 1, NULL), PF_OK);
    assert_refused(bytes.bytes, bytes.length, "1 bytes follow");
    pf_buffer_finish(&bytes);
    pf_model_destroy(model);
}

static void refuses_every_flipped_bit(void **state)
{
    (void)state;
    struct pf_model *model = small_model();
    struct pf_buffer bytes = encoded(model);
    for (size_t i = 0; i < bytes.length; i++)
        for (unsigned bit = 0; bit < 8; bit++) {
            bytes.bytes[i] ^= (uint8_t)(1u << bit);
            assert_refused(bytes.bytes, bytes.length, i < 16 ? "" : "checksum does not match");
            bytes.bytes[i] ^= (uint8_t)(1u << bit);
        }
    pf_buffer_finish(&bytes);
    pf_model_destroy(model);
}

/* ---- Hostile bodies under a correct frame and checksum ---- */

static struct pf_buffer framed(const uint8_t *body, size_t length)
{
    struct pf_buffer bytes = {0};
    uint8_t header[16] = "PFMODEL1";
    for (size_t i = 0; i < 8; i++) header[8 + i] = (uint8_t)((uint64_t)length >> (8 * i));
    assert_int_equal(pf_buffer_append(&bytes, header, sizeof header, NULL), PF_OK);
    assert_int_equal(pf_buffer_append(&bytes, body, length, NULL), PF_OK);
    struct pf_hash hash = pf_hash_bytes(bytes.bytes, bytes.length);
    assert_int_equal(pf_buffer_append(&bytes, hash.bytes, sizeof hash.bytes, NULL), PF_OK);
    return bytes;
}

/* The small model as protobuf, to be damaged by `edit`, framed, and refused. */
static void assert_edit_refused(void (*edit)(Packfed__Model *), const char *words)
{
    struct pf_model *model = small_model();
    struct pf_buffer good = encoded(model);
    Packfed__Model *message = packfed__model__unpack(NULL, good.length - 16 - 32, good.bytes + 16);
    assert_non_null(message);
    edit(message);
    size_t length = packfed__model__get_packed_size(message);
    uint8_t *body = malloc(length);
    packfed__model__pack(message, body);
    struct pf_buffer bad = framed(body, length);
    assert_refused(bad.bytes, bad.length, words);
    free(body);
    packfed__model__free_unpacked(message, NULL);
    pf_buffer_finish(&bad);
    pf_buffer_finish(&good);
    pf_model_destroy(model);
}

static void edit_nothing_but_filters(Packfed__Model *m)
{
    m->network->filters[0] = 4097;
}
static void edit_huge_layers(Packfed__Model *m)
{
    m->network->layers[0] = UINT32_MAX;
}
static void edit_huge_network(Packfed__Model *m)
{
    m->network->filters[0] = 4096;
}
static void edit_wide_first_layer(Packfed__Model *m)
{
    m->network->in_channels = 4; /* plausible, but the parameters are those of one channel */
}
static void edit_kind(Packfed__Model *m)
{
    m->network->block_kind = 4;
}
static void edit_classes(Packfed__Model *m)
{
    m->network->n_classes = 1001;
}
static void edit_fewer_strides(Packfed__Model *m)
{
    m->network->n_strides = 0;
}
static void edit_no_blocks(Packfed__Model *m)
{
    m->network->n_filters = m->network->n_layers = m->network->n_strides = 0;
}
static void edit_fewer_layers(Packfed__Model *m)
{
    packfed__layer__free_unpacked(m->layers[--m->n_layers], NULL);
}
static void edit_fewer_means(Packfed__Model *m)
{
    m->n_input_mean = 0;
}
static void edit_zero_deviation(Packfed__Model *m)
{
    m->input_std[0] = 0.0f;
}
static void edit_fewer_parameters(Packfed__Model *m)
{
    m->n_parameters--;
}
static void edit_nan(Packfed__Model *m)
{
    m->parameters[3] = NAN;
}
static void edit_infinity(Packfed__Model *m)
{
    m->parameters[m->n_parameters - 1] = INFINITY;
}
static void edit_variance(Packfed__Model *m)
{
    m->parameters[m->n_parameters - 1] = -1.0f;
}
static void edit_shift(Packfed__Model *m)
{
    m->layers[1]->shift.data[2] = 9;
}
static void edit_fewer_shifts(Packfed__Model *m)
{
    m->layers[1]->shift.len = 3;
}
static void edit_rows(Packfed__Model *m)
{
    m->layers[1]->packing->n_rows = 5;
}
static void edit_huge_packing(Packfed__Model *m)
{
    m->layers[1]->packing->n_rows = UINT32_MAX;
    m->layers[1]->packing->n_columns = UINT32_MAX;
}
static void edit_huge_groups(Packfed__Model *m)
{
    m->layers[1]->packing->n_groups = UINT32_MAX;
}
static void edit_group(Packfed__Model *m)
{
    m->layers[1]->packing->group_of_column[0] = 4;
}
static void edit_alpha(Packfed__Model *m)
{
    m->layers[1]->packing->alpha = 1;
}
static void edit_no_alpha(Packfed__Model *m)
{
    m->layers[1]->packing->alpha = 0;
}
static void edit_gamma(Packfed__Model *m)
{
    m->layers[1]->packing->gamma = NAN;
}
static void edit_empty_group(Packfed__Model *m)
{
    m->layers[1]->packing->n_groups = 3;
}
static void edit_conflict(Packfed__Model *m)
{
    m->layers[1]->packing->column[1] = 2;
}
static void edit_column(Packfed__Model *m)
{
    m->layers[1]->packing->column[0] = 4;
}
static void edit_ungrouped(Packfed__Model *m)
{
    m->layers[1]->packing->column[4] = 3;
}
static void edit_long_row(Packfed__Model *m)
{
    m->layers[1]->packing->row_length[0] = UINT32_MAX; /* the sum wraps round to the right one */
    m->layers[1]->packing->row_length[1] += 3;
}
static void edit_short_row(Packfed__Model *m)
{
    m->layers[1]->packing->row_length[3] = 0;
}
static void edit_fewer_columns(Packfed__Model *m)
{
    m->layers[1]->packing->n_column--;
}
static void edit_pack_classifier(Packfed__Model *m)
{
    m->layers[3]->packing = m->layers[1]->packing;
    m->layers[1]->packing = NULL;
}
static void edit_packing_of_other_shape(Packfed__Model *m)
{
    Packfed__Packing *p = m->layers[1]->packing;
    p->n_rows = 3;
    p->n_row_length = 3;
    p->row_length[2] = p->row_length[3];
}
static void edit_no_network(Packfed__Model *m)
{
    packfed__network__free_unpacked(m->network, NULL);
    m->network = NULL;
}

static void refuses_broken_rules_under_a_good_checksum(void **state)
{
    (void)state;
    static const struct {
        void (*edit)(Packfed__Model *);
        const char *words;
    } cases[] = {
        {edit_nothing_but_filters, "4097 filters"},
        {edit_huge_layers, "4294967295 layers"},
        {edit_huge_network, "layer 1: shifts of 4 channels instead of 4096"},
        {edit_wide_first_layer, "1 input means"},
        {edit_kind, "layer type 4"},
        {edit_classes, "1001 classes"},
        {edit_fewer_strides, "0 strides"},
        {edit_no_blocks, "0 blocks"},
        {edit_fewer_layers, "3 layers instead of 4"},
        {edit_fewer_means, "0 input means"},
        {edit_zero_deviation, "input channel 0"},
        {edit_fewer_parameters, "parameters instead of"},
        {edit_nan, "parameter 3 of the model is not finite"},
        {edit_infinity, "not a usable model"},
        {edit_variance, "negative variance"},
        {edit_shift, "shifts channel 2 by more than a pixel"},
        {edit_fewer_shifts, "3 channels instead of 4"},
        {edit_rows, "4 row lengths"},
        {edit_huge_packing, "a packing of 4294967295 × 4294967295"},
        {edit_huge_groups, "4294967295 groups"},
        {edit_group, "column 0 is in group 3 of 2"},
        {edit_alpha, "group 0 holds more than alpha = 1"},
        {edit_no_alpha, "alpha = 0"},
        {edit_gamma, "gamma"},
        {edit_empty_group, "group 2 is empty"},
        {edit_conflict, "two survivors in group 0"},
        {edit_column, "column 4 of 4"},
        {edit_ungrouped, "column 3, which has no group"},
        {edit_long_row, "hold more than 5 survivors"},
        {edit_short_row, "survivors"},
        {edit_fewer_columns, "survivors"},
        {edit_pack_classifier, "stays dense"},
        {edit_packing_of_other_shape, "is 4 × 4 but its packing 3 × 4"},
        {edit_no_network, "network: absent"},
    };
    for (size_t i = 0; i < PF_ARRAY_LENGTH(cases); i++)
        assert_edit_refused(cases[i].edit, cases[i].words);
}

static void refuses_other_encodings_of_the_same_model(void **state)
{
    (void)state;
    struct pf_model *model = small_model();
    struct pf_buffer good = encoded(model);
    uint8_t body[4096] = {0};
    size_t length = good.length - 48;
    memcpy(body, good.bytes + 16, length);
    struct pf_buffer same = framed(body, length);
    assert_memory_equal(same.bytes, good.bytes, good.length);
    body[length] = 0x78; /* field 15, varint, unknown */
    body[length + 1] = 1;
    struct pf_buffer bad = framed(body, length + 2);
    assert_refused(bad.bytes, bad.length, "canonical");
    pf_buffer_finish(&bad);
    pf_buffer_finish(&same);
    pf_buffer_finish(&good);
    pf_model_destroy(model);
}

static void refuses_bodies_that_inflate(void **state)
{
    (void)state;
    size_t length = 2 * 200000; /* two bytes each: an empty layer, about 100 bytes unpacked */
    uint8_t *body = malloc(length);
    for (size_t i = 0; i < length; i += 2) {
        body[i] = 0x22;
        body[i + 1] = 0;
    }
    struct pf_buffer bad = framed(body, length);
    assert_refused(bad.bytes, bad.length, "not a model message");
    free(body);
    pf_buffer_finish(&bad);
    bad = framed((const uint8_t *)"", 0);
    assert_refused(bad.bytes, bad.length, "network: absent");
    pf_buffer_finish(&bad);
}

/* Bodies with random bytes under a good checksum: refused or a valid model, never a crash. */
static void survives_random_damage(void **state)
{
    (void)state;
    struct pf_model *model = small_model();
    struct pf_buffer good = encoded(model);
    size_t length = good.length - 48, n_refused = 0;
    srand(1);
    for (size_t i = 0; i < 4000; i++) {
        uint8_t *body = malloc(length);
        memcpy(body, good.bytes + 16, length);
        for (int flips = rand() % 4; flips >= 0; flips--)
            body[(size_t)rand() % length] = (uint8_t)rand();
        struct pf_buffer bad = framed(body, rand() % 8 == 0 ? (size_t)rand() % length : length);
        struct pf_model *decoded = NULL;
        if (pf_model_decode("m", bad.bytes, bad.length, &decoded, NULL) == PF_OK)
            assert_int_equal(pf_model_validate(decoded, NULL), PF_OK);
        else
            n_refused++;
        pf_model_destroy(decoded);
        free(body);
        pf_buffer_finish(&bad);
    }
    assert_true(n_refused > 100);
    pf_buffer_finish(&good);
    pf_model_destroy(model);
}

static void saves_and_loads(void **state)
{
    (void)state;
    char folder[] = "/tmp/packfed-model-XXXXXX", path[64];
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/m.pfm", folder);
    struct pf_model *model = small_model(), *loaded = NULL;
    struct pf_error err = {0};
    assert_int_equal(pf_model_load(path, &loaded, &err), PF_NOT_FOUND);
    assert_int_equal(pf_model_save(model, path, &err), PF_OK);
    assert_int_equal(pf_model_load(path, &loaded, &err), PF_OK);
    assert_models_equal(model, loaded);
    model->parameters[0] = NAN;
    assert_int_equal(pf_model_save(model, path, &err), PF_INVALID);
    assert_non_null(strstr(err.text, "m.pfm: not saved: parameter 0"));
    pf_model_destroy(model);
    pf_model_destroy(loaded);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rmdir(folder), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(round_trips_packed_and_dense),
        cmocka_unit_test(round_trips_the_deepest_network),
        cmocka_unit_test(appends_behind_what_is_there),
        cmocka_unit_test(refuses_every_truncation),
        cmocka_unit_test(refuses_every_flipped_bit),
        cmocka_unit_test(refuses_broken_rules_under_a_good_checksum),
        cmocka_unit_test(refuses_other_encodings_of_the_same_model),
        cmocka_unit_test(refuses_bodies_that_inflate),
        cmocka_unit_test(survives_random_damage),
        cmocka_unit_test(saves_and_loads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
