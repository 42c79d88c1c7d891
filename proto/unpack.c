#include "proto/unpack.h"

#include <stdlib.h>

#include "common/base/memory.h"

/* Counts what is handed out and never credits what comes back: a bound, not an account. */
static void *limited_alloc(void *context, size_t size)
{
    size_t *left = context;
    if (size > *left) return NULL;
    *left -= size;
    return malloc(size > 0 ? size : 1);
}

static void limited_free(void *context, void *block)
{
    (void)context;
    free(block);
}

ProtobufCMessage *pf_unpack(const ProtobufCMessageDescriptor *descriptor, const uint8_t *bytes,
                            size_t length)
{
    size_t left;
    if (!pf_size_mul(length, PF_UNPACK_FACTOR, &left) ||
        !pf_size_add(left, PF_UNPACK_CONSTANT, &left))
        return NULL;
    ProtobufCAllocator allocator = {
        .alloc = limited_alloc, .free = limited_free, .allocator_data = &left};
    return protobuf_c_message_unpack(descriptor, &allocator, length, bytes);
}

void pf_unpacked_free(ProtobufCMessage *message)
{
    /* limited_alloc hands out malloc's blocks, so that the default allocator may take them. */
    if (message != NULL) protobuf_c_message_free_unpacked(message, NULL);
}
