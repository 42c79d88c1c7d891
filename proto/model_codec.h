/* The body of a model file: struct pf_model to and from the protobuf message `Model`. */
#ifndef PF_PROTO_MODEL_CODEC_H
#define PF_PROTO_MODEL_CODEC_H

#include "common/base/buffer.h"
#include "common/base/error.h"
#include "common/model/model.h"

/* Appends the body. */
PF_NODISCARD enum pf_status pf_model_body_encode(const struct pf_model *model,
                                                 struct pf_buffer *bytes, struct pf_error *err);

/* Checks everything; what is allocated on the way is bounded by a small multiple of `length`.
 * PF_CORRUPT with the rule that is broken. */
PF_NODISCARD enum pf_status pf_model_body_decode(const uint8_t *bytes, size_t length,
                                                 struct pf_model **model, struct pf_error *err);

#endif
