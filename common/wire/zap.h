/* The ZAP handler of one ZeroMQ context: admits the CURVE keys on a list and nobody else.
 *
 * It runs its own thread, which libzmq's io threads ask about every handshake (ZeroMQ RFC 27).  A
 * key that is admitted becomes the connection's User-Id, in hex: what the peer says about itself
 * plays no part. */
#ifndef PF_COMMON_WIRE_ZAP_H
#define PF_COMMON_WIRE_ZAP_H

#include <stddef.h>
#include <stdint.h>

#include "common/base/error.h"

#define PF_ZAP_DOMAIN "packfed"

struct pf_zap;

/* Binds inproc://zeromq.zap.01 in `context` and starts answering.  Keys are copied; PF_INVALID when
 * one is there twice. */
PF_NODISCARD enum pf_status pf_zap_create(void *context, const uint8_t (*allowed)[32],
                                          size_t n_allowed, struct pf_zap **zap,
                                          struct pf_error *err);

/* Call while the context terminates or afterwards (zmq_ctx_shutdown ends the thread). */
void pf_zap_destroy(struct pf_zap *self);
PF_DEFINE_CLEANUP(struct pf_zap, pf_zap_destroy)

/* Index of the key in the list given to create, or SIZE_MAX. */
size_t pf_zap_find(const struct pf_zap *self, const uint8_t key[32]);

/* The same for a connection's User-Id; NULL is nobody. */
size_t pf_zap_find_user(const struct pf_zap *self, const char *user_id);

/* How many handshakes were turned away. */
uint64_t pf_zap_refused(const struct pf_zap *self);

#endif
