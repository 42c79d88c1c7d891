/* The server's end: a ROUTER behind CURVE and ZAP.
 *
 * Who sent a frame is the User-Id that the ZAP handler gave to its connection.  Where a reply goes
 * is the routing id of that key's newest connection.  libzmq makes routing ids for peers that do
 * not choose one: five bytes, a zero and a number that counts up, so that of two connections of a
 * key the newer is known.  A peer that chose its own is not listened to: there is no reason to do
 * so but to be taken for somebody else. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/memory.h"
#include "common/wire/wire.h"
#include "common/wire/wire_guard.h"
#include "common/wire/wire_socket.h"
#include "common/wire/zap.h"

#define BACKLOG 1024
#define ROUTING_ID_BYTES 5u

struct route {
    bool known;
    uint32_t number; /* of the routing id */
};

struct pf_wire_server {
    void *context;
    void *socket;
    struct pf_zap *zap;
    struct pf_wire_guard *guard;
    int wake_fd;
    size_t n_peers;
    struct route *routes; /* [n_peers] */
    char endpoint[256];
};

static enum pf_status bind_failed(const char *endpoint, int number, struct pf_error *err)
{
    if (number == EADDRINUSE)
        return pf_fail(err, PF_IO,
                       "%s: port in use: stop the other program or choose another port (--listen)",
                       endpoint);
    return pf_fail(err, PF_IO, "%s: cannot listen there: %s (--listen)", endpoint,
                   zmq_strerror(number));
}

static enum pf_status listen_on(struct pf_wire_server *self, const char *endpoint,
                                const struct pf_identity *identity, struct pf_error *err)
{
    self->socket = zmq_socket(self->context, ZMQ_ROUTER);
    if (self->socket == NULL)
        return pf_fail(err, PF_IO, "cannot create a socket: %s", zmq_strerror(zmq_errno()));
    PF_TRY(pf_socket_prepare(self->socket, endpoint, identity, err));
    PF_TRY(pf_socket_set_int(self->socket, ZMQ_CURVE_SERVER, 1, "CURVE", err));
    PF_TRY(pf_socket_set_bytes(self->socket, ZMQ_ZAP_DOMAIN, PF_ZAP_DOMAIN, strlen(PF_ZAP_DOMAIN),
                               "a ZAP domain", err));
    PF_TRY(
        pf_socket_set_int(self->socket, ZMQ_ZAP_ENFORCE_DOMAIN, 1, "an enforced ZAP domain", err));
    PF_TRY(pf_socket_set_int(self->socket, ZMQ_ROUTER_MANDATORY, 1, "mandatory routing", err));
    PF_TRY(pf_socket_set_int(self->socket, ZMQ_SNDHWM, (int)PF_WIRE_SERVER_FRAMES, "a queue length",
                             err));
    PF_TRY(pf_socket_set_int(self->socket, ZMQ_BACKLOG, BACKLOG, "a backlog", err));
    PF_TRY(pf_wire_guard_create(self->context, self->socket, &self->guard, err));
    if (zmq_bind(self->socket, endpoint) != 0) return bind_failed(endpoint, zmq_errno(), err);
    size_t size = sizeof self->endpoint;
    if (zmq_getsockopt(self->socket, ZMQ_LAST_ENDPOINT, self->endpoint, &size) == 0) return PF_OK;
    return pf_fail(err, PF_IO, "%s: %s", endpoint, zmq_strerror(zmq_errno()));
}

enum pf_status pf_wire_server_create(const char *endpoint, const struct pf_identity *identity,
                                     const uint8_t (*allowed)[32], size_t n_allowed,
                                     struct pf_wire_server **server, struct pf_error *err)
{
    PF_TRY(pf_endpoint_check(endpoint, 0, err));
    PF_CLEANUP(pf_wire_server_destroyp)
    struct pf_wire_server *self = PF_ALLOC(1, struct pf_wire_server);
    if (self == NULL) return pf_no_memory(err, "a server");
    self->wake_fd = -1;
    self->n_peers = n_allowed;
    self->routes = PF_ALLOC(n_allowed, struct route);
    self->context = zmq_ctx_new();
    if (self->routes == NULL || self->context == NULL) return pf_no_memory(err, "a server");
    PF_TRY(pf_wake_create(&self->wake_fd, err));
    /* First the guard, then the door. */
    PF_TRY(pf_zap_create(self->context, allowed, n_allowed, &self->zap, err));
    PF_TRY(listen_on(self, endpoint, identity, err));
    *server = self;
    self = NULL;
    return PF_OK;
}

void pf_wire_server_destroy(struct pf_wire_server *self)
{
    if (self == NULL) return;
    pf_wire_guard_destroy(self->guard);
    if (self->socket != NULL) zmq_close(self->socket);
    /* Ends the ZAP thread's wait, then waits for that thread's socket and for the linger time. */
    while (self->context != NULL && zmq_ctx_term(self->context) != 0 && zmq_errno() == EINTR) {
    }
    pf_zap_destroy(self->zap);
    if (self->wake_fd >= 0) close(self->wake_fd);
    pf_free(self->routes);
    pf_free(self);
}

const char *pf_wire_server_endpoint(const struct pf_wire_server *self)
{
    return self->endpoint;
}

uint64_t pf_wire_server_refused(const struct pf_wire_server *self)
{
    return pf_zap_refused(self->zap);
}

void pf_wire_server_wake(struct pf_wire_server *self)
{
    pf_wake_raise(self->wake_fd);
}

static void write_routing_id(uint8_t id[ROUTING_ID_BYTES], uint32_t number)
{
    id[0] = 0;
    for (size_t i = 0; i < 4; i++) id[1 + i] = (uint8_t)(number >> (24 - 8 * i));
}

static bool read_routing_id(zmq_msg_t *id, uint32_t *number)
{
    const uint8_t *bytes = zmq_msg_data(id);
    if (zmq_msg_size(id) != ROUTING_ID_BYTES || bytes[0] != 0) return false;
    *number =
        (uint32_t)bytes[1] << 24 | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[3] << 8 | bytes[4];
    return true;
}

/* False when a newer connection of the same key has been heard already. */
static bool update_route(struct route *route, uint32_t number)
{
    /* Numbers wrap round: the difference, read as signed, tells which came later. */
    if (route->known && (int32_t)(number - route->number) < 0) return false;
    *route = (struct route){.known = true, .number = number};
    return true;
}

/* Whether the message counts, and whose it is. */
static bool identify(struct pf_wire_server *self, zmq_msg_t *id, zmq_msg_t *content, size_t *peer)
{
    uint32_t number = 0;
    size_t found = pf_zap_find_user(self->zap, zmq_msg_gets(content, "User-Id"));
    if (found == SIZE_MAX || !read_routing_id(id, &number)) return false;
    if (!update_route(&self->routes[found], number)) return false;
    *peer = found;
    return true;
}

/* Takes one message if there is one.  PF_TIMEOUT: nothing there; *counts: it is one for the
 * caller.  A client announces a new connection by an empty one. */
static enum pf_status take(struct pf_wire_server *self, bool *counts, size_t *peer,
                           struct pf_buffer *frame, struct pf_error *err)
{
    *counts = false;
    zmq_msg_t id, content;
    zmq_msg_init(&id);
    zmq_msg_init(&content);
    enum pf_status status = PF_TIMEOUT;
    if (zmq_msg_recv(&id, self->socket, ZMQ_DONTWAIT) >= 0) {
        status = PF_OK;
        pf_wire_guard_note(self->guard, &id);
        bool whole = zmq_msg_more(&id) && zmq_msg_recv(&content, self->socket, ZMQ_DONTWAIT) >= 0 &&
                     !zmq_msg_more(&content);
        if (!whole) pf_socket_skip_parts(self->socket);
        size_t length = zmq_msg_size(&content), sender = 0;
        if (whole && identify(self, &id, &content, &sender) && length > 0 &&
            length <= PF_WIRE_MAX_FRAME_BYTES) {
            pf_buffer_reset(frame);
            status = pf_buffer_append(frame, zmq_msg_data(&content), length, err);
            *peer = sender;
            *counts = true;
        }
    }
    zmq_msg_close(&id);
    zmq_msg_close(&content);
    return status;
}

enum pf_status pf_wire_server_receive(struct pf_wire_server *self, int timeout_ms, size_t *peer,
                                      struct pf_buffer *frame, struct pf_error *err)
{
    int64_t deadline = timeout_ms < 0 ? -1 : pf_clock_monotonic_ms() + timeout_ms;
    for (;;) {
        bool counts = false;
        pf_wire_guard_look(self->guard);
        enum pf_status status = take(self, &counts, peer, frame, err);
        if (counts || (status != PF_OK && status != PF_TIMEOUT)) return status;
        if (pf_wake_take(self->wake_fd)) return PF_TIMEOUT;
        if (deadline >= 0 && pf_clock_monotonic_ms() >= deadline) return PF_TIMEOUT;
        if (status == PF_OK) continue; /* something was dropped: look for the next */
        zmq_pollitem_t items[] = {{.socket = self->socket, .events = ZMQ_POLLIN},
                                  {.fd = self->wake_fd, .events = ZMQ_POLLIN}};
        if (zmq_poll(items, 2, pf_poll_timeout(deadline, PF_WIRE_GUARD_MS)) >= 0) continue;
        if (zmq_errno() == EINTR) return PF_TIMEOUT; /* a signal: the caller knows what it means */
        return pf_fail(err, PF_IO, "%s: %s", self->endpoint, zmq_strerror(zmq_errno()));
    }
}

enum pf_status pf_wire_server_send(struct pf_wire_server *self, size_t peer, const uint8_t *bytes,
                                   size_t length, struct pf_error *err)
{
    if (length == 0 || length > PF_WIRE_MAX_FRAME_BYTES)
        return pf_fail(err, PF_INVALID, "a frame of %zu bytes; 1 to %u can be sent", length,
                       PF_WIRE_MAX_FRAME_BYTES);
    if (peer >= self->n_peers || !self->routes[peer].known)
        return pf_fail(err, PF_NOT_FOUND, "peer %zu is not connected", peer);
    uint8_t id[ROUTING_ID_BYTES];
    write_routing_id(id, self->routes[peer].number);
    if (zmq_send(self->socket, id, sizeof id, ZMQ_SNDMORE | ZMQ_DONTWAIT) >= 0 &&
        zmq_send(self->socket, bytes, length, ZMQ_DONTWAIT) >= 0)
        return PF_OK;
    if (zmq_errno() ==
        EHOSTUNREACH) /* the route stays: a late frame of an older one is still late */
        return pf_fail(err, PF_NOT_FOUND, "peer %zu is not connected", peer);
    if (zmq_errno() == EAGAIN)
        return pf_fail(err, PF_IO, "peer %zu does not read: its queue of %u frames is full", peer,
                       PF_WIRE_SERVER_FRAMES);
    return pf_fail(err, PF_IO, "peer %zu: %s", peer, zmq_strerror(zmq_errno()));
}
