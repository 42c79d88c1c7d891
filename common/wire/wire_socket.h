/* What the server's and the client's ZeroMQ sockets have in common. */
#ifndef PF_COMMON_WIRE_WIRE_SOCKET_H
#define PF_COMMON_WIRE_WIRE_SOCKET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <zmq.h>

#include "common/base/error.h"
#include "common/wire/identity.h"

/* Debian's zmq.h names it among drafts only, its library takes it always. */
#ifndef ZMQ_ZAP_ENFORCE_DOMAIN
#define ZMQ_ZAP_ENFORCE_DOMAIN 93
#endif

PF_NODISCARD enum pf_status pf_socket_set_int(void *socket, int option, int value, const char *what,
                                              struct pf_error *err);
PF_NODISCARD enum pf_status pf_socket_set_bytes(void *socket, int option, const void *bytes,
                                                size_t length, const char *what,
                                                struct pf_error *err);

/* Own key pair, size limit, heartbeats, linger, time to shake hands, IPv6 where the endpoint is. */
PF_NODISCARD enum pf_status pf_socket_prepare(void *socket, const char *endpoint,
                                              const struct pf_identity *identity,
                                              struct pf_error *err);

/* PF_INVALID unless "tcp://host:port" with a port from min_port on; an IPv6 host is in brackets.
 * libzmq itself takes 99999 for 34463 and waits for ever for port 0 to answer. */
PF_NODISCARD enum pf_status pf_endpoint_check(const char *endpoint, uint64_t min_port,
                                              struct pf_error *err);

/* Throws away the rest of a message of several parts. */
void pf_socket_skip_parts(void *socket);

/* A flag that any thread may raise and a poll sees: an eventfd. */
PF_NODISCARD enum pf_status pf_wake_create(int *fd, struct pf_error *err);
void pf_wake_raise(int fd);
bool pf_wake_take(int fd); /* was it raised? lowers it */

/* The milliseconds left until deadline_ms (−1: none), at most `limit` unless that is −1. */
long pf_poll_timeout(int64_t deadline_ms, long limit);

#endif
