/* Between the files that decode messages. */
#ifndef PF_PROTO_MESSAGE_DECODE_H
#define PF_PROTO_MESSAGE_DECODE_H

#include "proto/message.h"
#include "proto/packfed.pb-c.h"

/* The field's bytes into out[expected]; exactly so many. */
PF_NODISCARD enum pf_status pf_copy_exact(const char *field, const ProtobufCBinaryData *from,
                                          uint8_t *out, size_t expected, struct pf_error *err);

/* The kinds ADVERTISE … UNMASK.  *to is all zero but for kind and run; on failure the caller
 * finishes it. */
PF_NODISCARD enum pf_status pf_message_read_secagg(const Packfed__Envelope *from,
                                                   struct pf_message *to, struct pf_error *err);

#endif
