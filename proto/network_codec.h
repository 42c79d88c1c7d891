/* struct pf_network to and from its protobuf message; shared by model files and WELCOME. */
#ifndef PF_PROTO_NETWORK_CODEC_H
#define PF_PROTO_NETWORK_CODEC_H

#include "common/base/error.h"
#include "common/model/model.h"
#include "proto/packfed.pb-c.h"

/* `to` borrows the lists of `from`, which must outlive it; protobuf-c takes them as not const but
 * only reads them. */
void pf_network_to_proto(const struct pf_network *from, Packfed__Network *to);

/* Every limit of pf_network_validate; PF_CORRUPT.  `from` may be NULL (absent). */
PF_NODISCARD enum pf_status pf_network_from_proto(const Packfed__Network *from,
                                                  struct pf_network *to, struct pf_error *err);

#endif
