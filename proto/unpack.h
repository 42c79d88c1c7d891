/* protobuf-c unpacking with a bound on the memory that hostile bytes can claim. */
#ifndef PF_PROTO_UNPACK_H
#define PF_PROTO_UNPACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <protobuf-c/protobuf-c.h>

#include "common/base/compiler.h"

/* What unpacking n bytes may allocate in total: packed varints and floats need at most four bytes
 * for each of theirs, structures and pointers of honest messages far less than the constant. */
#define PF_UNPACK_FACTOR 4u
#define PF_UNPACK_CONSTANT ((size_t)256 * 1024)

/* NULL when the bytes are no such message or would take more memory than that.  Release with
 * pf_unpacked_free. */
ProtobufCMessage *pf_unpack(const ProtobufCMessageDescriptor *descriptor, const uint8_t *bytes,
                            size_t length);

void pf_unpacked_free(ProtobufCMessage *message);
PF_DEFINE_CLEANUP(ProtobufCMessage, pf_unpacked_free)

#endif
