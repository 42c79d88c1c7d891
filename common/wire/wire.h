/* Authenticated, encrypted message transport: ZeroMQ ROUTER and DEALER under CURVE.
 *
 * The server admits only the transport keys it was given (ZAP, with the domain enforced, so that a
 * dead handler admits nobody), and reports each message with the index of the key that
 * authenticated it, never with a routing id the peer chose.  A key that connects twice: the newer
 * connection replaces the older.  Frames above the limit are cut off by the transport.  Queues
 * are bounded; a peer that does not read loses its own messages, nobody else's.
 *
 * One thread uses a server or client at a time; wake() may be called from any thread. */
#ifndef PF_COMMON_WIRE_WIRE_H
#define PF_COMMON_WIRE_WIRE_H

#include <stddef.h>
#include <stdint.h>

#include "common/base/buffer.h"
#include "common/base/error.h"
#include "common/wire/identity.h"

#define PF_WIRE_MAX_FRAME_BYTES 1048576u

/* Frames queued for a peer.  A client holds a whole update (PF_MAX_CHUNKS); a server answers what
 * was asked for, a few chunks at a time, and must not hoard for a peer that does not read. */
#define PF_WIRE_CLIENT_FRAMES 4096u
#define PF_WIRE_SERVER_FRAMES 64u

struct pf_wire_server;

/* endpoint: "tcp://0.0.0.0:7700" or "tcp://127.0.0.1:0" (any free port).  allowed[n_allowed]:
 * transport public keys.  PF_IO: "tcp://0.0.0.0:7700: port in use: …(--listen)". */
PF_NODISCARD enum pf_status pf_wire_server_create(const char *endpoint,
                                                  const struct pf_identity *identity,
                                                  const uint8_t (*allowed)[32], size_t n_allowed,
                                                  struct pf_wire_server **server,
                                                  struct pf_error *err);
void pf_wire_server_destroy(struct pf_wire_server *self); /* waits ≤ 2 s for queued messages */
PF_DEFINE_CLEANUP(struct pf_wire_server, pf_wire_server_destroy)

/* "tcp://127.0.0.1:45123", with the port in fact bound. */
const char *pf_wire_server_endpoint(const struct pf_wire_server *self);

/* Waits up to timeout_ms (−1: for ever) for a message.  PF_TIMEOUT when none came or wake() was
 * called.  *peer indexes `allowed`; the frame replaces the content of `frame`. */
PF_NODISCARD enum pf_status pf_wire_server_receive(struct pf_wire_server *self, int timeout_ms,
                                                   size_t *peer, struct pf_buffer *frame,
                                                   struct pf_error *err);

/* Queues a frame for a peer, to its newest connection.  PF_NOT_FOUND when it is not connected
 * (known to be gone, or never seen), PF_IO when its queue is full; nothing blocks.  That a peer has
 * gone shows only after receive has taken everything it sent. */
PF_NODISCARD enum pf_status pf_wire_server_send(struct pf_wire_server *self, size_t peer,
                                                const uint8_t *bytes, size_t length,
                                                struct pf_error *err);

/* Makes a receive in another thread return. */
void pf_wire_server_wake(struct pf_wire_server *self);

/* Handshakes refused since the start because the key is not on the allow-list. */
uint64_t pf_wire_server_refused(const struct pf_wire_server *self);

struct pf_wire_client;

/* Connects in the background and reconnects with back-off (0.1 s doubling to 10 s). */
PF_NODISCARD enum pf_status pf_wire_client_create(const char *endpoint,
                                                  const struct pf_identity *identity,
                                                  const uint8_t server_transport[32],
                                                  struct pf_wire_client **client,
                                                  struct pf_error *err);
void pf_wire_client_destroy(struct pf_wire_client *self);
PF_DEFINE_CLEANUP(struct pf_wire_client, pf_wire_client_destroy)

/* As the server's.  Also watches the connection: a client that does not receive does not notice
 * that it was refused, and does not try again. */
PF_NODISCARD enum pf_status pf_wire_client_receive(struct pf_wire_client *self, int timeout_ms,
                                                   struct pf_buffer *frame, struct pf_error *err);
/* Queues a frame, connected or not.  PF_IO when the queue is full or the server has refused us. */
PF_NODISCARD enum pf_status pf_wire_client_send(struct pf_wire_client *self, const uint8_t *bytes,
                                                size_t length, struct pf_error *err);
void pf_wire_client_wake(struct pf_wire_client *self);

/* How often the connection has come up.  It changes when the server may have lost what was sent:
 * say hello again then.  Brought up to date by receive. */
uint64_t pf_wire_client_connections(const struct pf_wire_client *self);

/* Why the connection is not up, for people: "connected", "connecting", or "refused by the server:
 * this key is not on its roster, or its own key is not the expected one". */
const char *pf_wire_client_state(const struct pf_wire_client *self);

#endif
