/* Cuts off connections that send one message without end.
 *
 * libzmq counts whole messages against its queue limits, and a message of several parts is whole
 * only with its last part: an admitted peer that never sends it could fill all memory.  So the
 * guard watches, per accepted connection, what the kernel has received since a message last came
 * out of it, and shuts the connection down above PF_WIRE_MAX_PENDING_BYTES. */
#ifndef PF_COMMON_WIRE_WIRE_GUARD_H
#define PF_COMMON_WIRE_WIRE_GUARD_H

#include <zmq.h>

#include "common/base/error.h"

/* More than the chunks that may wait for us in queue and kernel. */
#define PF_WIRE_MAX_PENDING_BYTES ((uint64_t)64 << 20)
#define PF_WIRE_GUARD_MS 100 /* between two looks */

struct pf_wire_guard;

/* Watches what `socket` will accept.  Call before it is bound. */
PF_NODISCARD enum pf_status pf_wire_guard_create(void *context, void *socket,
                                                 struct pf_wire_guard **guard,
                                                 struct pf_error *err);
/* Before the context terminates. */
void pf_wire_guard_destroy(struct pf_wire_guard *self);
PF_DEFINE_CLEANUP(struct pf_wire_guard, pf_wire_guard_destroy)

/* A whole message came out of a connection. */
void pf_wire_guard_note(struct pf_wire_guard *self, zmq_msg_t *message);

/* Looks at all connections, at most every PF_WIRE_GUARD_MS; call so often.  Without memory for a
 * further connection that one goes unwatched until it is accepted again. */
void pf_wire_guard_look(struct pf_wire_guard *self);

#endif
