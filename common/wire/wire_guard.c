#include "common/wire/wire_guard.h"

/* Not netinet/tcp.h: its struct tcp_info ends before the byte counts. */
#include <linux/tcp.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/memory.h"
#include "common/wire/wire_socket.h"

#define MONITOR_ENDPOINT "inproc://packfed.guard"

/* An accepted connection; libzmq owns the descriptor and may close it at any time. */
struct connection {
    bool open;
    bool delivered; /* a message since the last look */
    uint64_t mark;  /* bytes received by the last look at which one had been delivered */
};

struct pf_wire_guard {
    void *socket, *monitor;
    struct connection *connections; /* [n], by descriptor */
    size_t n;
    int64_t look_ms;
};

enum pf_status pf_wire_guard_create(void *context, void *socket, struct pf_wire_guard **guard,
                                    struct pf_error *err)
{
    PF_CLEANUP(pf_wire_guard_destroyp)
    struct pf_wire_guard *self = PF_ALLOC(1, struct pf_wire_guard);
    if (self == NULL) return pf_no_memory(err, "the guard of a server");
    self->socket = socket;
    self->monitor = zmq_socket(context, ZMQ_PAIR);
    int none = 0; /* no limit: a full queue of events would hold libzmq up */
    if (self->monitor == NULL ||
        zmq_setsockopt(self->monitor, ZMQ_LINGER, &none, sizeof none) != 0 ||
        zmq_setsockopt(self->monitor, ZMQ_RCVHWM, &none, sizeof none) != 0 ||
        zmq_socket_monitor(socket, MONITOR_ENDPOINT, ZMQ_EVENT_ACCEPTED) != 0 ||
        zmq_connect(self->monitor, MONITOR_ENDPOINT) != 0)
        return pf_fail(err, PF_IO, "cannot watch connections: %s", zmq_strerror(zmq_errno()));
    *guard = self;
    self = NULL;
    return PF_OK;
}

void pf_wire_guard_destroy(struct pf_wire_guard *self)
{
    if (self == NULL) return;
    zmq_socket_monitor(self->socket, NULL, 0);
    if (self->monitor != NULL) zmq_close(self->monitor);
    pf_free(self->connections);
    pf_free(self);
}

static void accepted(struct pf_wire_guard *self, size_t fd)
{
    if (fd >= self->n) {
        size_t n = fd < 32 ? 64 : 2 * fd; /* the PF_MAX of sys/socket.h is another */
        void *grown = pf_realloc(self->connections, n, sizeof *self->connections);
        if (grown == NULL) return;
        self->connections = grown;
        memset(self->connections + self->n, 0, (n - self->n) * sizeof *self->connections);
        self->n = n;
    }
    self->connections[fd] = (struct connection){.open = true};
}

/* An event is 16 bits of number and 32 of value, here the descriptor; its second part the address.
 */
static void read_events(struct pf_wire_guard *self)
{
    for (;;) {
        uint8_t event[6];
        int n = zmq_recv(self->monitor, event, sizeof event, ZMQ_DONTWAIT);
        if (n < 0) return;
        int32_t fd = -1;
        if (n == (int)sizeof event) memcpy(&fd, event + 2, sizeof fd);
        pf_socket_skip_parts(self->monitor);
        if (fd >= 0) accepted(self, (size_t)fd);
    }
}

void pf_wire_guard_note(struct pf_wire_guard *self, zmq_msg_t *message)
{
    int fd = zmq_msg_get(message, ZMQ_SRCFD);
    if (fd >= 0 && (size_t)fd < self->n) self->connections[fd].delivered = true;
}

static void look_at(struct connection *connection, int fd)
{
    struct tcp_info info = {0};
    socklen_t size = sizeof info;
    if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) != 0) {
        connection->open = false; /* closed; what has the number now is no connection */
        return;
    }
    uint64_t received = info.tcpi_bytes_received;
    bool anew = connection->delivered || received < connection->mark;
    connection->delivered = false;
    if (anew) connection->mark = received;
    if (received - connection->mark <= PF_WIRE_MAX_PENDING_BYTES) return;
    pf_log(PF_LOG_WARNING, "a connection is cut off: a message without end");
    (void)shutdown(fd, SHUT_RDWR);
    connection->open = false;
}

void pf_wire_guard_look(struct pf_wire_guard *self)
{
    int64_t now = pf_clock_monotonic_ms();
    if (now < self->look_ms) return;
    self->look_ms = now + PF_WIRE_GUARD_MS;
    read_events(self);
    for (size_t fd = 0; fd < self->n; fd++)
        if (self->connections[fd].open) look_at(&self->connections[fd], (int)fd);
}
