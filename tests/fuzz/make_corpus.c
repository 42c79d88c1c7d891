/* Writes the corpus: one frame per kind of message, and bodies of small models.
 *
 *   make_corpus tests/fuzz/corpus
 */
#include <stdio.h>
#include <stdlib.h>

#include "common/base/file.h"
#include "common/base/memory.h"
#include "proto/model_file.h"
#include "sample_messages.h"

#define HEADER_BYTES 16u

static void write_file(const char *root, const char *name, const void *bytes, size_t length)
{
    char path[4096];
    struct pf_error err;
    snprintf(path, sizeof path, "%s/%s", root, name);
    if (pf_file_write(path, bytes, length, 0644, &err) == PF_OK) return;
    fprintf(stderr, "%s\n", err.text);
    exit(1);
}

static void write_frame(const char *root, const struct pf_message *message, const char *suffix)
{
    struct pf_buffer frame = {0};
    char name[64];
    if (pf_message_encode(message, &frame, NULL) != PF_OK) exit(1);
    snprintf(name, sizeof name, "message/%s%s", pf_message_kind_name(message->kind), suffix);
    write_file(root, name, frame.bytes, frame.length);
    pf_buffer_finish(&frame);
}

static void write_message(const char *root, enum pf_message_kind kind)
{
    struct pf_message message;
    pf_sample_message(kind, &message);
    write_frame(root, &message, "");
    if (kind == PF_MESSAGE_ROUND_OFFER) {
        pf_free(message.offer.teacher.chunk_hashes);
        message.offer.teacher = (struct pf_chunked_model){0};
        message.offer.order.distill_weight = message.offer.order.distill_temperature = 0.0;
        write_frame(root, &message, "_NO_TEACHER");
    }
    pf_message_finish(&message);
}

static void write_model(const char *root, const char *name, const struct pf_model *model)
{
    struct pf_buffer bytes = {0};
    if (pf_model_encode(model, &bytes, NULL) != PF_OK) exit(1);
    write_file(root, name, bytes.bytes + HEADER_BYTES, bytes.length - HEADER_BYTES - PF_HASH_BYTES);
    pf_buffer_finish(&bytes);
}

static void write_models(const char *root)
{
    static const float weights[4][4] = {{1, 2, 0, 0}, {0, 3, 4, 0}, {0, 0, 0, 0}, {5, 0, 0, 0}};
    static const uint32_t groups[4] = {0, 1, 0, 2};
    struct pf_network network = {.block_kind = PF_LAYER_SHIFT,
                                 .n_blocks = 1,
                                 .filters = {4},
                                 .layers = {2},
                                 .strides = {1},
                                 .in_channels = 1,
                                 .in_height = 4,
                                 .in_width = 4,
                                 .n_classes = 2};
    struct pf_packing *packing = NULL;
    struct pf_model *packed = NULL, *dense = NULL;
    if (pf_packing_from_dense(&weights[0][0], 4, 4, groups, 3, 2, 1.75f, &packing, NULL) != PF_OK)
        exit(1);
    const struct pf_packing *packings[4] = {NULL, packing, NULL, NULL};
    if (pf_model_create(&network, packings, &packed, NULL) != PF_OK) exit(1);
    network.block_kind = PF_LAYER_CONV3X3;
    network.filters[0] = 1;
    if (pf_model_create(&network, NULL, &dense, NULL) != PF_OK) exit(1);
    pf_model_initialise(packed, 1);
    pf_model_initialise(dense, 1);
    write_model(root, "model/packed-shift", packed);
    write_model(root, "model/dense-conv3x3", dense);
    pf_packing_destroy(packing);
    pf_model_destroy(packed);
    pf_model_destroy(dense);
}

int main(int argc, char **argv)
{
    if (argc != 2) return 2;
    for (int kind = PF_MESSAGE_HELLO; kind < PF_MESSAGE_N_KINDS; kind++)
        write_message(argv[1], (enum pf_message_kind)kind);
    write_models(argv[1]);
    return 0;
}
