/* Fuzzes the body of a model file, under a frame and checksum that are always right: it is
 * refused, or is a valid model in its one encoding. */
#include <stdlib.h>
#include <string.h>

#include "common/base/buffer.h"
#include "fuzz.h"
#include "proto/model_file.h"

static void append(struct pf_buffer *buffer, const void *bytes, size_t length)
{
    if (pf_buffer_append(buffer, bytes, length, NULL) != PF_OK) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *body, size_t length)
{
    struct pf_buffer bytes = {0}, again = {0};
    uint8_t header[16] = "PFMODEL1";
    for (size_t i = 0; i < 8; i++) header[8 + i] = (uint8_t)((uint64_t)length >> (8 * i));
    append(&bytes, header, sizeof header);
    append(&bytes, body, length);
    struct pf_hash hash = pf_hash_bytes(bytes.bytes, bytes.length);
    append(&bytes, hash.bytes, sizeof hash.bytes);
    struct pf_model *model = NULL;
    if (pf_model_decode("fuzz", bytes.bytes, bytes.length, &model, NULL) == PF_OK) {
        if (pf_model_encode(model, &again, NULL) != PF_OK) abort();
        if (again.length != bytes.length || memcmp(again.bytes, bytes.bytes, bytes.length) != 0)
            abort();
    }
    pf_model_destroy(model);
    pf_buffer_finish(&again);
    pf_buffer_finish(&bytes);
    return 0;
}
