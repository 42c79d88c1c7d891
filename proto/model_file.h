/* A model as bytes and as a file.
 *
 * Layout: "PFMODEL1" (8 bytes), length of the body (8 bytes, little endian), body (protobuf
 * `Model`), BLAKE2b-256 of everything before.  The encoding of a model is canonical: equal models
 * give equal bytes, and the hash of all bytes names the model. */
#ifndef PF_PROTO_MODEL_FILE_H
#define PF_PROTO_MODEL_FILE_H

#include "common/base/buffer.h"
#include "common/base/error.h"
#include "common/model/model.h"
#include "proto/message.h"

#define PF_MAX_MODEL_BYTES ((size_t)PF_CHUNK_BYTES * PF_MAX_CHUNKS)

PF_NODISCARD enum pf_status pf_model_encode(const struct pf_model *model, struct pf_buffer *bytes,
                                            struct pf_error *err);

/* Checks the frame, the hash, every limit and pf_model_validate.  `name` stands in sentences
 * ("dense.pfm: cut short: …", "dense.pfm: damaged: …"). */
PF_NODISCARD enum pf_status pf_model_decode(const char *name, const uint8_t *bytes, size_t length,
                                            struct pf_model **model, struct pf_error *err);

PF_NODISCARD enum pf_status pf_model_save(const struct pf_model *model, const char *path,
                                          struct pf_error *err);
PF_NODISCARD enum pf_status pf_model_load(const char *path, struct pf_model **model,
                                          struct pf_error *err);

/* BLAKE2b-256. */
struct pf_hash pf_hash_bytes(const void *bytes, size_t length);
bool pf_hash_equal(const struct pf_hash *a, const struct pf_hash *b);

#endif
