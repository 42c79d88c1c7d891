/* What a secure round is bound to: see common/secagg/protocol.h. */
#ifndef PF_PROTO_ROUND_CONTEXT_H
#define PF_PROTO_ROUND_CONTEXT_H

#include "proto/message.h"

/* BLAKE2b over run, the roster's hash and everything in the offer but its deadline, which shrinks
 * when the offer is repeated. */
struct pf_digest pf_round_context(const struct pf_run_id *run_id, const uint8_t roster_hash[32],
                                  const struct pf_round_offer *offer);

/* The public seed of a round's rotation.  Of model and round alone, not of the run and its keys, so
 * that a run that is repeated with the same seeds comes to the same model, bit for bit. */
void pf_round_rotation_seed(const struct pf_round_offer *offer, uint8_t seed[32]);

#endif
