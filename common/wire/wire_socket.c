#include "common/wire/wire_socket.h"

#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/text.h"
#include "common/wire/wire.h"

#define HEARTBEAT_MS 2000
#define SILENCE_MS 6000
#define LINGER_MS 2000
#define STALLED_MS                                                                 \
    30000 /* a peer that takes nothing for so long is cut off, and its queue freed \
           */

/* Frames that may wait for us per connection; then TCP holds the peer back. */
#define RECEIVE_FRAMES 64
#define HANDSHAKE_MS 10000 /* an unauthenticated connection lives no longer */

#define MAX_HOST_BYTES 255u /* of a name in DNS; an address is shorter */

/* A CURVE message is its plain text and 33 bytes: command name, nonce, MAC, flags. */
#define CURVE_BYTES 33u

enum pf_status pf_socket_set_bytes(void *socket, int option, const void *bytes, size_t length,
                                   const char *what, struct pf_error *err)
{
    if (zmq_setsockopt(socket, option, bytes, length) == 0) return PF_OK;
    return pf_fail(err, PF_IO, "libzmq does not take %s: %s", what, zmq_strerror(zmq_errno()));
}

enum pf_status pf_socket_set_int(void *socket, int option, int value, const char *what,
                                 struct pf_error *err)
{
    return pf_socket_set_bytes(socket, option, &value, sizeof value, what, err);
}

enum pf_status pf_socket_prepare(void *socket, const char *endpoint,
                                 const struct pf_identity *identity, struct pf_error *err)
{
    static const struct {
        int option, value;
        const char *what;
    } settings[] = {
        {ZMQ_LINGER, LINGER_MS, "linger"},
        {ZMQ_SNDTIMEO, 0, "no wait for queues"},
        {ZMQ_RCVHWM, RECEIVE_FRAMES, "the length of its queues"},
        {ZMQ_TCP_MAXRT, STALLED_MS, "an end to connections that stand still"},
        {ZMQ_HEARTBEAT_IVL, HEARTBEAT_MS, "heartbeats"},
        {ZMQ_HEARTBEAT_TTL, SILENCE_MS, "heartbeats"},
        {ZMQ_HEARTBEAT_TIMEOUT, SILENCE_MS, "heartbeats"},
        {ZMQ_HANDSHAKE_IVL, HANDSHAKE_MS, "a time to shake hands"},
    };
    for (size_t i = 0; i < PF_ARRAY_LENGTH(settings); i++)
        PF_TRY(pf_socket_set_int(socket, settings[i].option, settings[i].value, settings[i].what,
                                 err));
    int64_t limit = PF_WIRE_MAX_FRAME_BYTES + CURVE_BYTES;
    PF_TRY(
        pf_socket_set_bytes(socket, ZMQ_MAXMSGSIZE, &limit, sizeof limit, "a message limit", err));
    PF_TRY(pf_socket_set_int(socket, ZMQ_IPV6, strchr(endpoint, '[') != NULL, "IPv6", err));
    PF_TRY(pf_socket_set_bytes(socket, ZMQ_CURVE_PUBLICKEY, identity->public.transport, 32,
                               "its public key", err));
    return pf_socket_set_bytes(socket, ZMQ_CURVE_SECRETKEY, identity->transport_secret, 32,
                               "its secret key", err);
}

/* Something, and a colon in it only between brackets. */
static bool is_host(const char *host, size_t length)
{
    if (length == 0 || length > MAX_HOST_BYTES) return false;
    if (host[0] == '[') return length > 2 && host[length - 1] == ']';
    return memchr(host, ':', length) == NULL;
}

enum pf_status pf_endpoint_check(const char *endpoint, uint64_t min_port, struct pf_error *err)
{
    static const char start[] = "tcp://";
    const char *host = endpoint + strlen(start);
    const char *colon = strrchr(endpoint, ':');
    if (strncmp(endpoint, start, strlen(start)) != 0 || colon < host ||
        !is_host(host, (size_t)(colon - host)))
        return pf_fail(err, PF_INVALID,
                       "%.300s: not an address like tcp://127.0.0.1:7700 or tcp://[::1]:7700",
                       endpoint);
    uint64_t port;
    struct pf_error detail;
    if (pf_text_u64("the port", colon + 1, min_port, 65535, &port, &detail) == PF_OK) return PF_OK;
    return pf_fail(err, PF_INVALID, "%s: %s", endpoint, detail.text);
}

void pf_socket_skip_parts(void *socket)
{
    int more = 0;
    size_t size = sizeof more;
    while (zmq_getsockopt(socket, ZMQ_RCVMORE, &more, &size) == 0 && more) {
        zmq_msg_t part;
        zmq_msg_init(&part);
        int n = zmq_msg_recv(&part, socket, ZMQ_DONTWAIT);
        zmq_msg_close(&part);
        if (n < 0) return;
    }
}

enum pf_status pf_wake_create(int *fd, struct pf_error *err)
{
    int created = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (created < 0) return pf_fail_errno(err, PF_IO, "cannot create an event");
    *fd = created;
    return PF_OK;
}

void pf_wake_raise(int fd)
{
    uint64_t one = 1;
    /* Fails only when raised 2^64 − 2 times already, and then it is up anyway. */
    ssize_t written = write(fd, &one, sizeof one);
    (void)written;
}

bool pf_wake_take(int fd)
{
    uint64_t count;
    return read(fd, &count, sizeof count) == sizeof count;
}

long pf_poll_timeout(int64_t deadline_ms, long limit)
{
    if (deadline_ms < 0) return limit;
    int64_t left = deadline_ms - pf_clock_monotonic_ms();
    if (left < 0) left = 0;
    return limit >= 0 && left > limit ? limit : (long)left;
}
