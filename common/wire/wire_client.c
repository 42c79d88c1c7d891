/* The client's end: a DEALER behind CURVE.
 *
 * libzmq reconnects by itself when a connection breaks.  It gives up for good when the other end
 * refuses the key or breaks the protocol; then the connection is made anew here, with the same
 * back-off.  How things stand is read from the socket's monitor. */
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/memory.h"
#include "common/wire/wire.h"
#include "common/wire/wire_socket.h"

#define RECONNECT_MS 100
#define RECONNECT_MAX_MS 10000
#define MONITOR_ENDPOINT "inproc://packfed.monitor"

/* After a connection ends libzmq says at once that it will retry.  If not, it never will. */
#define RETRY_NOTICE_MS 200

enum connection_state { CONNECTING, CONNECTED, REFUSED };

struct pf_wire_client {
    void *context;
    void *socket;
    void *monitor;
    int wake_fd;
    char *endpoint;
    atomic_int state; /* enum connection_state; read from any thread */
    atomic_uint_fast64_t n_connections;
    int64_t reconnect_at_ms; /* 0: libzmq is at it */
    int backoff_ms;
};

static enum pf_status watch(struct pf_wire_client *self, struct pf_error *err)
{
    self->monitor = zmq_socket(self->context, ZMQ_PAIR);
    int linger = 0;
    if (self->monitor != NULL &&
        zmq_setsockopt(self->monitor, ZMQ_LINGER, &linger, sizeof linger) == 0 &&
        zmq_socket_monitor(self->socket, MONITOR_ENDPOINT, ZMQ_EVENT_ALL) == 0 &&
        zmq_connect(self->monitor, MONITOR_ENDPOINT) == 0)
        return PF_OK;
    return pf_fail(err, PF_IO, "cannot watch a connection: %s", zmq_strerror(zmq_errno()));
}

static enum pf_status open_socket(struct pf_wire_client *self, const struct pf_identity *identity,
                                  const uint8_t server_transport[32], struct pf_error *err)
{
    self->socket = zmq_socket(self->context, ZMQ_DEALER);
    if (self->socket == NULL)
        return pf_fail(err, PF_IO, "cannot create a socket: %s", zmq_strerror(zmq_errno()));
    PF_TRY(pf_socket_prepare(self->socket, self->endpoint, identity, err));
    PF_TRY(pf_socket_set_bytes(self->socket, ZMQ_CURVE_SERVERKEY, server_transport, 32,
                               "the server's key", err));
    PF_TRY(pf_socket_set_int(self->socket, ZMQ_SNDHWM, (int)PF_WIRE_CLIENT_FRAMES, "a queue length",
                             err));
    PF_TRY(pf_socket_set_int(self->socket, ZMQ_RECONNECT_IVL, RECONNECT_MS, "a back-off", err));
    PF_TRY(pf_socket_set_int(self->socket, ZMQ_RECONNECT_IVL_MAX, RECONNECT_MAX_MS, "a back-off",
                             err));
    PF_TRY(watch(self, err));
    if (zmq_connect(self->socket, self->endpoint) == 0) return PF_OK;
    return pf_fail(err, PF_INVALID, "%s: cannot connect there: %s", self->endpoint,
                   zmq_strerror(zmq_errno()));
}

enum pf_status pf_wire_client_create(const char *endpoint, const struct pf_identity *identity,
                                     const uint8_t server_transport[32],
                                     struct pf_wire_client **client, struct pf_error *err)
{
    PF_TRY(pf_endpoint_check(endpoint, 1, err));
    PF_CLEANUP(pf_wire_client_destroyp)
    struct pf_wire_client *self = PF_ALLOC(1, struct pf_wire_client);
    if (self == NULL) return pf_no_memory(err, "a client");
    self->wake_fd = -1;
    self->backoff_ms = RECONNECT_MS;
    self->endpoint = strdup(endpoint);
    self->context = zmq_ctx_new();
    if (self->endpoint == NULL || self->context == NULL) return pf_no_memory(err, "a client");
    PF_TRY(pf_wake_create(&self->wake_fd, err));
    PF_TRY(open_socket(self, identity, server_transport, err));
    *client = self;
    self = NULL;
    return PF_OK;
}

void pf_wire_client_destroy(struct pf_wire_client *self)
{
    if (self == NULL) return;
    if (self->socket != NULL) {
        int none = 0;
        /* Nobody is there to take what is queued. */
        if (atomic_load(&self->state) != CONNECTED)
            zmq_setsockopt(self->socket, ZMQ_LINGER, &none, sizeof none);
        zmq_socket_monitor(self->socket, NULL, 0);
        zmq_close(self->socket);
    }
    if (self->monitor != NULL) zmq_close(self->monitor);
    while (self->context != NULL && zmq_ctx_term(self->context) != 0 && zmq_errno() == EINTR) {
    }
    if (self->wake_fd >= 0) close(self->wake_fd);
    free(self->endpoint);
    pf_free(self);
}

const char *pf_wire_client_state(const struct pf_wire_client *self)
{
    switch ((enum connection_state)atomic_load(&self->state)) {
    case CONNECTING: break;
    case CONNECTED: return "connected";
    case REFUSED:
        return "refused by the server: this key is not on its roster, or its own key is not the "
               "expected one";
    }
    return "connecting";
}

uint64_t pf_wire_client_connections(const struct pf_wire_client *self)
{
    return atomic_load(&self->n_connections);
}

void pf_wire_client_wake(struct pf_wire_client *self)
{
    pf_wake_raise(self->wake_fd);
}

static void connected(struct pf_wire_client *self)
{
    atomic_store(&self->state, CONNECTED);
    atomic_fetch_add(&self->n_connections, 1);
    self->reconnect_at_ms = 0;
    self->backoff_ms = RECONNECT_MS;
    /* Tells the server which of our connections is the one to answer on. */
    (void)zmq_send(self->socket, "", 0, ZMQ_DONTWAIT);
}

static void note_event(struct pf_wire_client *self, uint16_t event)
{
    switch (event) {
    case ZMQ_EVENT_HANDSHAKE_SUCCEEDED: connected(self); break;
    case ZMQ_EVENT_HANDSHAKE_FAILED_AUTH:
    case ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL:
    case ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL: atomic_store(&self->state, REFUSED); break;
    case ZMQ_EVENT_CLOSED: /* the other end did not even take the call */
        atomic_store(&self->state, CONNECTING);
        break;
    case ZMQ_EVENT_DISCONNECTED:
        if (atomic_load(&self->state) == CONNECTED) atomic_store(&self->state, CONNECTING);
        self->reconnect_at_ms = pf_clock_monotonic_ms() + PF_MAX(self->backoff_ms, RETRY_NOTICE_MS);
        break;
    case ZMQ_EVENT_CONNECT_DELAYED:
    case ZMQ_EVENT_CONNECT_RETRIED: self->reconnect_at_ms = 0; break;
    default: break;
    }
}

static void read_events(struct pf_wire_client *self)
{
    for (;;) {
        zmq_msg_t message;
        zmq_msg_init(&message);
        int n = zmq_msg_recv(&message, self->monitor, ZMQ_DONTWAIT);
        uint16_t event = 0;
        if (n >= (int)sizeof event) memcpy(&event, zmq_msg_data(&message), sizeof event);
        zmq_msg_close(&message);
        if (n < 0) return;
        pf_socket_skip_parts(self->monitor); /* the address */
        note_event(self, event);
    }
}

static void reconnect(struct pf_wire_client *self)
{
    if (self->reconnect_at_ms == 0 || pf_clock_monotonic_ms() < self->reconnect_at_ms) return;
    self->reconnect_at_ms = 0;
    self->backoff_ms = PF_MIN(2 * self->backoff_ms, RECONNECT_MAX_MS);
    (void)zmq_disconnect(self->socket, self->endpoint); /* usually gone already */
    if (zmq_connect(self->socket, self->endpoint) != 0)
        self->reconnect_at_ms = pf_clock_monotonic_ms() + self->backoff_ms;
}

/* Takes one message if there is one; *counts: it is one for the caller. */
static enum pf_status take(struct pf_wire_client *self, bool *counts, struct pf_buffer *frame,
                           struct pf_error *err)
{
    *counts = false;
    zmq_msg_t content;
    zmq_msg_init(&content);
    enum pf_status status = PF_TIMEOUT;
    if (zmq_msg_recv(&content, self->socket, ZMQ_DONTWAIT) >= 0) {
        status = PF_OK;
        bool whole = !zmq_msg_more(&content);
        if (!whole) pf_socket_skip_parts(self->socket);
        size_t length = zmq_msg_size(&content);
        if (whole && length > 0 && length <= PF_WIRE_MAX_FRAME_BYTES) {
            pf_buffer_reset(frame);
            status = pf_buffer_append(frame, zmq_msg_data(&content), length, err);
            *counts = true;
        }
    }
    zmq_msg_close(&content);
    return status;
}

/* How long to sleep: until the deadline, or until it is time to connect again. */
static long sleep_ms(const struct pf_wire_client *self, int64_t deadline)
{
    long limit = -1;
    if (self->reconnect_at_ms != 0) limit = pf_poll_timeout(self->reconnect_at_ms, -1);
    return pf_poll_timeout(deadline, limit);
}

enum pf_status pf_wire_client_receive(struct pf_wire_client *self, int timeout_ms,
                                      struct pf_buffer *frame, struct pf_error *err)
{
    int64_t deadline = timeout_ms < 0 ? -1 : pf_clock_monotonic_ms() + timeout_ms;
    for (;;) {
        bool counts = false;
        read_events(self);
        reconnect(self);
        enum pf_status status = take(self, &counts, frame, err);
        if (counts || (status != PF_OK && status != PF_TIMEOUT)) return status;
        if (pf_wake_take(self->wake_fd)) return PF_TIMEOUT;
        if (deadline >= 0 && pf_clock_monotonic_ms() >= deadline) return PF_TIMEOUT;
        if (status == PF_OK) continue;
        zmq_pollitem_t items[] = {{.socket = self->socket, .events = ZMQ_POLLIN},
                                  {.socket = self->monitor, .events = ZMQ_POLLIN},
                                  {.fd = self->wake_fd, .events = ZMQ_POLLIN}};
        if (zmq_poll(items, 3, sleep_ms(self, deadline)) >= 0) continue;
        if (zmq_errno() == EINTR) return PF_TIMEOUT; /* a signal: the caller knows what it means */
        return pf_fail(err, PF_IO, "%s: %s", self->endpoint, zmq_strerror(zmq_errno()));
    }
}

enum pf_status pf_wire_client_send(struct pf_wire_client *self, const uint8_t *bytes, size_t length,
                                   struct pf_error *err)
{
    if (length == 0 || length > PF_WIRE_MAX_FRAME_BYTES)
        return pf_fail(err, PF_INVALID, "a frame of %zu bytes; 1 to %u can be sent", length,
                       PF_WIRE_MAX_FRAME_BYTES);
    if (zmq_send(self->socket, bytes, length, ZMQ_DONTWAIT) >= 0) return PF_OK;
    if (zmq_errno() == EAGAIN)
        return pf_fail(err, PF_IO, "%s: the frame cannot be queued (%s)", self->endpoint,
                       pf_wire_client_state(self));
    return pf_fail(err, PF_IO, "%s: %s", self->endpoint, zmq_strerror(zmq_errno()));
}
