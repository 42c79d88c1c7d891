/* Server and client over real sockets on the loopback: who gets in, who gets what. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zmq.h>

#include "common/base/clock.h"
#include "common/wire/wire.h"

#define DEADLINE_MS 10000
#define N_CLIENTS 3

/* A server, N_CLIENTS keys it admits, and one it does not. */
struct scene {
    struct pf_identity server_key;
    struct pf_identity keys[N_CLIENTS];
    struct pf_identity stranger;
    struct pf_wire_server *server;
    struct pf_buffer frame;
};

static struct scene scene;

static struct pf_identity make_key(const char *name)
{
    struct pf_identity key;
    assert_int_equal(pf_identity_generate(name, &key, NULL), PF_OK);
    return key;
}

static int setup(void **state)
{
    (void)state;
    struct pf_error err = {0};
    uint8_t allowed[N_CLIENTS][32];
    memset(&scene, 0, sizeof scene);
    scene.server_key = make_key("coordinator");
    scene.stranger = make_key("stranger");
    for (size_t i = 0; i < N_CLIENTS; i++) {
        scene.keys[i] = make_key("member");
        memcpy(allowed[i], scene.keys[i].public.transport, 32);
    }
    if (pf_wire_server_create("tcp://127.0.0.1:0", &scene.server_key, (const uint8_t(*)[32])allowed,
                              N_CLIENTS, &scene.server, &err) != PF_OK)
        fail_msg("%s", err.text);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    pf_wire_server_destroy(scene.server);
    pf_buffer_finish(&scene.frame);
    return 0;
}

static struct pf_wire_client *connect_as(const struct pf_identity *key)
{
    struct pf_wire_client *client = NULL;
    struct pf_error err = {0};
    if (pf_wire_client_create(pf_wire_server_endpoint(scene.server), key,
                              scene.server_key.public.transport, &client, &err) != PF_OK)
        fail_msg("%s", err.text);
    return client;
}

static void say(struct pf_wire_client *client, const char *text)
{
    struct pf_error err = {0};
    if (pf_wire_client_send(client, (const uint8_t *)text, strlen(text), &err) != PF_OK)
        fail_msg("%s", err.text);
}

static void assert_frame(const char *text)
{
    assert_int_equal(scene.frame.length, strlen(text));
    assert_memory_equal(scene.frame.bytes, text, strlen(text));
}

/* The next frame at the server, within the deadline. */
static void expect_at_server(size_t peer, const char *text)
{
    size_t from = SIZE_MAX;
    assert_int_equal(pf_wire_server_receive(scene.server, DEADLINE_MS, &from, &scene.frame, NULL),
                     PF_OK);
    assert_frame(text);
    assert_int_equal(from, peer);
}

static void expect_at_client(struct pf_wire_client *client, const char *text)
{
    assert_int_equal(pf_wire_client_receive(client, DEADLINE_MS, &scene.frame, NULL), PF_OK);
    assert_frame(text);
}

static void answer(size_t peer, const char *text)
{
    struct pf_error err = {0};
    if (pf_wire_server_send(scene.server, peer, (const uint8_t *)text, strlen(text), &err) != PF_OK)
        fail_msg("%s", err.text);
}

/* Lets the client work until its state begins with the word. */
static void await_state(struct pf_wire_client *client, const char *word)
{
    int64_t deadline = pf_clock_monotonic_ms() + DEADLINE_MS;
    while (strncmp(pf_wire_client_state(client), word, strlen(word)) != 0) {
        if (pf_clock_monotonic_ms() > deadline) fail_msg("still %s", pf_wire_client_state(client));
        assert_int_equal(pf_wire_client_receive(client, 10, &scene.frame, NULL), PF_TIMEOUT);
    }
}

static void three_clients_exchange_frames(void **state)
{
    (void)state;
    struct pf_wire_client *clients[N_CLIENTS];
    char text[32];
    for (size_t i = 0; i < N_CLIENTS; i++) {
        clients[i] = connect_as(&scene.keys[i]);
        snprintf(text, sizeof text, "hello from %zu", i);
        say(clients[i], text);
        expect_at_server(i, text);
    }
    for (size_t i = 0; i < N_CLIENTS; i++) {
        snprintf(text, sizeof text, "welcome %zu", i);
        answer(i, text);
    }
    for (size_t i = 0; i < N_CLIENTS; i++) {
        snprintf(text, sizeof text, "welcome %zu", i);
        expect_at_client(clients[i], text);
        assert_string_equal(pf_wire_client_state(clients[i]), "connected");
        assert_int_equal(pf_wire_client_connections(clients[i]), 1);
        pf_wire_client_destroy(clients[i]);
    }
    assert_int_equal(pf_wire_server_refused(scene.server), 0);
}

static void frames_keep_their_order_and_bytes(void **state)
{
    (void)state;
    struct pf_wire_client *client = connect_as(&scene.keys[1]);
    uint8_t *large = malloc(PF_WIRE_MAX_FRAME_BYTES);
    for (size_t i = 0; i < PF_WIRE_MAX_FRAME_BYTES; i++) large[i] = (uint8_t)(i * 31 >> 4);
    say(client, "first");
    assert_int_equal(pf_wire_client_send(client, large, PF_WIRE_MAX_FRAME_BYTES, NULL), PF_OK);
    say(client, "last");
    expect_at_server(1, "first");
    size_t peer;
    assert_int_equal(pf_wire_server_receive(scene.server, DEADLINE_MS, &peer, &scene.frame, NULL),
                     PF_OK);
    assert_int_equal(scene.frame.length, PF_WIRE_MAX_FRAME_BYTES);
    assert_memory_equal(scene.frame.bytes, large, PF_WIRE_MAX_FRAME_BYTES);
    expect_at_server(1, "last");
    assert_int_equal(pf_wire_server_send(scene.server, 1, large, PF_WIRE_MAX_FRAME_BYTES, NULL),
                     PF_OK);
    assert_int_equal(pf_wire_client_receive(client, DEADLINE_MS, &scene.frame, NULL), PF_OK);
    assert_int_equal(scene.frame.length, PF_WIRE_MAX_FRAME_BYTES);
    free(large);
    pf_wire_client_destroy(client);
}

static void a_key_that_is_not_listed_is_refused(void **state)
{
    (void)state;
    struct pf_wire_client *stranger = connect_as(&scene.stranger);
    say(stranger, "let me in");
    await_state(stranger, "refused by the server: this key is not on its roster");
    assert_true(pf_wire_server_refused(scene.server) >= 1);
    /* It keeps trying, with growing pauses. */
    int64_t deadline = pf_clock_monotonic_ms() + DEADLINE_MS;
    while (pf_wire_server_refused(scene.server) < 3) {
        assert_true(pf_clock_monotonic_ms() < deadline);
        assert_int_equal(pf_wire_client_receive(stranger, 10, &scene.frame, NULL), PF_TIMEOUT);
    }
    assert_int_equal(pf_wire_client_connections(stranger), 0);
    /* Whatever it said would have arrived before this. */
    struct pf_wire_client *member = connect_as(&scene.keys[0]);
    say(member, "mine");
    expect_at_server(0, "mine");
    pf_wire_client_destroy(stranger);
    pf_wire_client_destroy(member);
}

static void a_client_with_the_wrong_server_key_never_connects(void **state)
{
    (void)state;
    struct pf_wire_client *client = NULL;
    assert_int_equal(pf_wire_client_create(pf_wire_server_endpoint(scene.server), &scene.keys[0],
                                           scene.stranger.public.transport, &client, NULL),
                     PF_OK);
    say(client, "are you who I think?");
    await_state(client, "refused");
    assert_int_equal(pf_wire_client_connections(client), 0);
    struct pf_wire_client *member = connect_as(&scene.keys[1]);
    say(member, "mine");
    expect_at_server(1, "mine");
    pf_wire_client_destroy(client);
    pf_wire_client_destroy(member);
}

static void a_refused_client_gets_in_when_the_server_changes(void **state)
{
    (void)state;
    char endpoint[64];
    snprintf(endpoint, sizeof endpoint, "%s", pf_wire_server_endpoint(scene.server));
    struct pf_wire_client *client = connect_as(&scene.stranger);
    await_state(client, "refused");
    pf_wire_server_destroy(scene.server);
    scene.server = NULL;
    uint8_t allowed[1][32];
    memcpy(allowed[0], scene.stranger.public.transport, 32);
    struct pf_error err = {0};
    if (pf_wire_server_create(endpoint, &scene.server_key, (const uint8_t(*)[32])allowed, 1,
                              &scene.server, &err) != PF_OK)
        fail_msg("%s", err.text);
    await_state(client, "connected");
    say(client, "at last");
    expect_at_server(0, "at last");
    pf_wire_client_destroy(client);
}

static void a_client_survives_a_restart_of_the_server(void **state)
{
    (void)state;
    char endpoint[64];
    snprintf(endpoint, sizeof endpoint, "%s", pf_wire_server_endpoint(scene.server));
    struct pf_wire_client *client = connect_as(&scene.keys[2]);
    say(client, "one");
    expect_at_server(2, "one");
    pf_wire_server_destroy(scene.server);
    scene.server = NULL;
    await_state(client, "connecting");
    uint8_t allowed[1][32];
    memcpy(allowed[0], scene.keys[2].public.transport, 32);
    struct pf_error err = {0};
    if (pf_wire_server_create(endpoint, &scene.server_key, (const uint8_t(*)[32])allowed, 1,
                              &scene.server, &err) != PF_OK)
        fail_msg("%s", err.text);
    await_state(client, "connected");
    assert_int_equal(pf_wire_client_connections(client), 2);
    /* Without the client having said anything, the server can reach it. */
    int64_t deadline = pf_clock_monotonic_ms() + DEADLINE_MS;
    size_t peer;
    while (pf_wire_server_send(scene.server, 0, (const uint8_t *)"again", 5, NULL) != PF_OK) {
        assert_true(pf_clock_monotonic_ms() < deadline);
        assert_int_equal(pf_wire_server_receive(scene.server, 10, &peer, &scene.frame, NULL),
                         PF_TIMEOUT);
    }
    expect_at_client(client, "again");
    pf_wire_client_destroy(client);
}

static void the_newer_connection_of_a_key_replaces_the_older(void **state)
{
    (void)state;
    struct pf_wire_client *older = connect_as(&scene.keys[0]);
    say(older, "older");
    expect_at_server(0, "older");
    struct pf_wire_client *newer = connect_as(&scene.keys[0]);
    say(newer, "newer");
    expect_at_server(0, "newer");
    answer(0, "to the newer");
    expect_at_client(newer, "to the newer");
    /* The older one is not heard any more and cannot take the route back. */
    say(older, "still here");
    struct pf_wire_client *other = connect_as(&scene.keys[1]);
    int64_t deadline = pf_clock_monotonic_ms() + 300;
    size_t peer;
    while (pf_clock_monotonic_ms() < deadline)
        assert_int_equal(pf_wire_server_receive(scene.server, 20, &peer, &scene.frame, NULL),
                         PF_TIMEOUT);
    say(other, "me");
    expect_at_server(1, "me");
    answer(0, "newer again");
    expect_at_client(newer, "newer again");
    assert_int_equal(pf_wire_client_receive(older, 0, &scene.frame, NULL), PF_TIMEOUT);
    pf_wire_client_destroy(older);
    pf_wire_client_destroy(newer);
    pf_wire_client_destroy(other);
}

/* ---- A member that does not use our client ---- */

struct raw {
    void *context, *socket;
};

/* Waits until the server has let the socket in. */
static void raw_await(void *context, void *socket)
{
    int wait = DEADLINE_MS;
    assert_int_equal(
        zmq_socket_monitor(socket, "inproc://raw.monitor", ZMQ_EVENT_HANDSHAKE_SUCCEEDED), 0);
    void *monitor = zmq_socket(context, ZMQ_PAIR);
    zmq_setsockopt(monitor, ZMQ_RCVTIMEO, &wait, sizeof wait);
    assert_int_equal(zmq_connect(monitor, "inproc://raw.monitor"), 0);
    assert_int_equal(zmq_connect(socket, pf_wire_server_endpoint(scene.server)), 0);
    char event[8];
    assert_int_equal(zmq_recv(monitor, event, sizeof event, 0), 6);
    zmq_socket_monitor(socket, NULL, 0);
    zmq_close(monitor);
}

static struct raw raw_connect(const struct pf_identity *key, const void *routing_id, size_t length)
{
    struct raw raw = {.context = zmq_ctx_new()};
    raw.socket = zmq_socket(raw.context, ZMQ_DEALER);
    int linger = 0, wait = DEADLINE_MS;
    zmq_setsockopt(raw.socket, ZMQ_LINGER, &linger, sizeof linger);
    zmq_setsockopt(raw.socket, ZMQ_SNDTIMEO, &wait, sizeof wait);
    zmq_setsockopt(raw.socket, ZMQ_CURVE_PUBLICKEY, key->public.transport, 32);
    zmq_setsockopt(raw.socket, ZMQ_CURVE_SECRETKEY, key->transport_secret, 32);
    zmq_setsockopt(raw.socket, ZMQ_CURVE_SERVERKEY, scene.server_key.public.transport, 32);
    if (length > 0)
        assert_int_equal(zmq_setsockopt(raw.socket, ZMQ_ROUTING_ID, routing_id, length), 0);
    raw_await(raw.context, raw.socket);
    return raw;
}

static void raw_close(struct raw *raw)
{
    zmq_close(raw->socket);
    zmq_ctx_term(raw->context);
}

static void a_chosen_routing_id_gains_nothing(void **state)
{
    (void)state;
    struct pf_wire_client *victim = connect_as(&scene.keys[0]);
    say(victim, "I am 0");
    expect_at_server(0, "I am 0");
    /* Names itself after the victim's key, in the form in which ZAP reports it, and shorter. */
    static const char *const ids[] = {"0", "member", "packfed"};
    struct raw raws[PF_ARRAY_LENGTH(ids)];
    for (size_t i = 0; i < PF_ARRAY_LENGTH(ids); i++) {
        raws[i] = raw_connect(&scene.keys[1], ids[i], strlen(ids[i]));
        assert_int_equal(zmq_send(raws[i].socket, "I am 0 too", 10, 0), 10);
    }
    /* With a routing id of the server's making, what it says is under its own key. */
    struct raw plain = raw_connect(&scene.keys[1], NULL, 0);
    assert_int_equal(zmq_send(plain.socket, "plain", 5, 0), 5);
    expect_at_server(1, "plain");
    size_t peer;
    assert_int_equal(pf_wire_server_receive(scene.server, 50, &peer, &scene.frame, NULL),
                     PF_TIMEOUT);
    answer(0, "to 0");
    answer(1, "to 1");
    expect_at_client(victim, "to 0");
    char text[8] = {0};
    int wait = DEADLINE_MS;
    zmq_setsockopt(plain.socket, ZMQ_RCVTIMEO, &wait, sizeof wait);
    assert_int_equal(zmq_recv(plain.socket, text, sizeof text, 0), 4);
    assert_string_equal(text, "to 1");
    for (size_t i = 0; i < PF_ARRAY_LENGTH(ids); i++) {
        assert_int_equal(zmq_recv(raws[i].socket, text, sizeof text, ZMQ_DONTWAIT), -1);
        raw_close(&raws[i]);
    }
    raw_close(&plain);
    pf_wire_client_destroy(victim);
}

static void frames_above_the_limit_hurt_only_their_sender(void **state)
{
    (void)state;
    struct pf_wire_client *member = connect_as(&scene.keys[0]);
    say(member, "before");
    expect_at_server(0, "before");
    struct raw raw = raw_connect(&scene.keys[1], NULL, 0);
    size_t length = PF_WIRE_MAX_FRAME_BYTES + 4096;
    uint8_t *bytes = calloc(1, length);
    assert_int_equal(zmq_send(raw.socket, bytes, length, 0), (int)length);
    assert_int_equal(zmq_send(raw.socket, bytes, PF_WIRE_MAX_FRAME_BYTES + 1, 0),
                     (int)PF_WIRE_MAX_FRAME_BYTES + 1);
    say(member, "after");
    expect_at_server(0, "after");
    /* A client of ours does not even try. */
    struct pf_error err = {0};
    assert_int_equal(pf_wire_client_send(member, bytes, PF_WIRE_MAX_FRAME_BYTES + 1, &err),
                     PF_INVALID);
    assert_int_equal(pf_wire_server_send(scene.server, 0, bytes, PF_WIRE_MAX_FRAME_BYTES + 1, &err),
                     PF_INVALID);
    assert_int_equal(pf_wire_server_send(scene.server, 0, bytes, 0, &err), PF_INVALID);
    free(bytes);
    raw_close(&raw);
    pf_wire_client_destroy(member);
}

static void messages_of_several_parts_are_dropped(void **state)
{
    (void)state;
    struct raw raw = raw_connect(&scene.keys[1], NULL, 0);
    assert_int_equal(zmq_send(raw.socket, "a", 1, ZMQ_SNDMORE), 1);
    /* Looks like a routing id and a content of its own. */
    assert_int_equal(zmq_send(raw.socket, "\0\1\2\3\4", 5, ZMQ_SNDMORE), 5);
    assert_int_equal(zmq_send(raw.socket, "c", 1, 0), 1);
    assert_int_equal(zmq_send(raw.socket, "", 0, 0), 0);
    assert_int_equal(zmq_send(raw.socket, "whole", 5, 0), 5);
    expect_at_server(1, "whole");
    raw_close(&raw);
}

/* libzmq keeps the parts of a message until its last one, whatever the limits on its queues. */
static void a_message_without_end_is_cut_off(void **state)
{
    (void)state;
    static const uint8_t part[1 << 20];
    struct raw raw = raw_connect(&scene.keys[1], NULL, 0);
    struct pf_wire_client *other = connect_as(&scene.keys[0]);
    assert_int_equal(zmq_socket_monitor(raw.socket, "inproc://raw.end", ZMQ_EVENT_DISCONNECTED), 0);
    void *monitor = zmq_socket(raw.context, ZMQ_PAIR);
    assert_int_equal(zmq_connect(monitor, "inproc://raw.end"), 0);
    for (size_t i = 0; i < 256; i++)
        assert_true(zmq_send(raw.socket, part, sizeof part, ZMQ_SNDMORE) > 0);
    assert_int_equal(zmq_send(raw.socket, "end", 3, 0),
                     3); /* a libzmq peer sends whole ones only */
    size_t peer;
    bool cut = false;
    int64_t deadline = pf_clock_monotonic_ms() + DEADLINE_MS;
    while (!cut && pf_clock_monotonic_ms() < deadline) {
        assert_int_equal(pf_wire_server_receive(scene.server, 20, &peer, &scene.frame, NULL),
                         PF_TIMEOUT);
        char event[8];
        cut = zmq_recv(monitor, event, sizeof event, ZMQ_DONTWAIT) > 0;
    }
    assert_true(cut);
    zmq_socket_monitor(raw.socket, NULL, 0);
    zmq_close(monitor);
    raw_close(&raw);
    say(other, "still here");
    expect_at_server(0, "still here");
    pf_wire_client_destroy(other);
}

static void sending_to_an_absent_peer_says_so(void **state)
{
    (void)state;
    struct pf_error err = {0};
    const uint8_t byte = 1;
    assert_int_equal(pf_wire_server_send(scene.server, 2, &byte, 1, &err), PF_NOT_FOUND);
    assert_string_equal(err.text, "peer 2 is not connected");
    assert_int_equal(pf_wire_server_send(scene.server, N_CLIENTS, &byte, 1, &err), PF_NOT_FOUND);
    struct pf_wire_client *client = connect_as(&scene.keys[2]);
    say(client, "hello");
    expect_at_server(2, "hello");
    pf_wire_client_destroy(client);
    int64_t deadline = pf_clock_monotonic_ms() + DEADLINE_MS;
    size_t peer;
    while (pf_wire_server_send(scene.server, 2, &byte, 1, &err) != PF_NOT_FOUND) {
        assert_true(pf_clock_monotonic_ms() < deadline);
        /* A connection lasts until what it brought has been read. */
        assert_int_equal(pf_wire_server_receive(scene.server, 5, &peer, &scene.frame, NULL),
                         PF_TIMEOUT);
    }
}

static void a_peer_that_does_not_read_fills_only_its_own_queue(void **state)
{
    (void)state;
    struct raw lazy = raw_connect(&scene.keys[0], NULL, 0);
    struct pf_wire_client *busy = connect_as(&scene.keys[1]);
    assert_int_equal(zmq_send(lazy.socket, "zzz", 3, 0), 3);
    expect_at_server(0, "zzz");
    say(busy, "here");
    expect_at_server(1, "here");
    static const uint8_t bytes[16384];
    enum pf_status status = PF_OK;
    struct pf_error err = {0};
    size_t n_sent = 0;
    for (; n_sent < 16384 && status == PF_OK; n_sent++)
        status = pf_wire_server_send(scene.server, 0, bytes, sizeof bytes, &err);
    assert_int_equal(status, PF_IO);
    /* What the server hoards, beside the 1000 frames of the peer's own libzmq and what is in the
     * kernel's buffers. */
    assert_true(n_sent < 1000 + 1000 + PF_WIRE_SERVER_FRAMES);
    assert_non_null(strstr(err.text, "peer 0 does not read"));
    answer(1, "you are fine");
    expect_at_client(busy, "you are fine");
    raw_close(&lazy);
    pf_wire_client_destroy(busy);
}

static void *wake_server(void *unused)
{
    (void)unused;
    pf_wire_server_wake(scene.server);
    return NULL;
}

static void *wake_client(void *client)
{
    pf_wire_client_wake(client);
    return NULL;
}

static void wake_ends_a_receive(void **state)
{
    (void)state;
    pthread_t thread;
    size_t peer;
    assert_int_equal(pthread_create(&thread, NULL, wake_server, NULL), 0);
    assert_int_equal(pf_wire_server_receive(scene.server, -1, &peer, &scene.frame, NULL),
                     PF_TIMEOUT);
    pthread_join(thread, NULL);
    struct pf_wire_client *client = connect_as(&scene.keys[0]);
    assert_int_equal(pthread_create(&thread, NULL, wake_client, client), 0);
    assert_int_equal(pf_wire_client_receive(client, -1, &scene.frame, NULL), PF_TIMEOUT);
    pthread_join(thread, NULL);
    /* A raised flag is lowered by the receive that it ends. */
    int64_t start = pf_clock_monotonic_ms();
    assert_int_equal(pf_wire_server_receive(scene.server, 60, &peer, &scene.frame, NULL),
                     PF_TIMEOUT);
    assert_true(pf_clock_monotonic_ms() - start >= 60);
    pf_wire_client_destroy(client);
}

static void bad_addresses_are_named(void **state)
{
    (void)state;
    struct pf_error err = {0};
    struct pf_wire_server *second = NULL;
    struct pf_wire_client *client = NULL;
    const char *endpoint = pf_wire_server_endpoint(scene.server);
    assert_int_equal(pf_wire_server_create(endpoint, &scene.server_key, NULL, 0, &second, &err),
                     PF_IO);
    assert_memory_equal(err.text, endpoint, strlen(endpoint));
    assert_non_null(strstr(err.text, ": port in use: "));
    assert_non_null(strstr(err.text, "(--listen)"));
    static const char *const bad[] = {"",           "tcp://",    "7700",           "inproc://x:1",
                                      "tcp://:",    "tcp://a:",  "tcp://a:65536",  "tcp://a:-1",
                                      "tcp://a:7x", "tcp://a:*", "tcp://::1:7700", "tcp://[]:7700"};
    for (size_t i = 0; i < PF_ARRAY_LENGTH(bad); i++) {
        assert_int_equal(pf_wire_server_create(bad[i], &scene.server_key, NULL, 0, &second, &err),
                         PF_INVALID);
        assert_int_equal(pf_wire_client_create(bad[i], &scene.keys[0],
                                               scene.server_key.public.transport, &client, &err),
                         PF_INVALID);
    }
    /* Any free port can be listened on, but not called. */
    assert_int_equal(pf_wire_client_create("tcp://127.0.0.1:0", &scene.keys[0],
                                           scene.server_key.public.transport, &client, &err),
                     PF_INVALID);
    assert_non_null(strstr(err.text, "the port: '0'"));
    uint8_t twice[2][32] = {{1}, {1}};
    assert_int_equal(pf_wire_server_create("tcp://127.0.0.1:0", &scene.server_key,
                                           (const uint8_t(*)[32])twice, 2, &second, &err),
                     PF_INVALID);
    assert_null(second);
    assert_null(client);
}

#define WIRE_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WIRE_TEST(three_clients_exchange_frames),
        WIRE_TEST(frames_keep_their_order_and_bytes),
        WIRE_TEST(a_key_that_is_not_listed_is_refused),
        WIRE_TEST(a_client_with_the_wrong_server_key_never_connects),
        WIRE_TEST(a_refused_client_gets_in_when_the_server_changes),
        WIRE_TEST(a_client_survives_a_restart_of_the_server),
        WIRE_TEST(the_newer_connection_of_a_key_replaces_the_older),
        WIRE_TEST(a_chosen_routing_id_gains_nothing),
        WIRE_TEST(frames_above_the_limit_hurt_only_their_sender),
        WIRE_TEST(messages_of_several_parts_are_dropped),
        WIRE_TEST(a_message_without_end_is_cut_off),
        WIRE_TEST(sending_to_an_absent_peer_says_so),
        WIRE_TEST(a_peer_that_does_not_read_fills_only_its_own_queue),
        WIRE_TEST(wake_ends_a_receive),
        WIRE_TEST(bad_addresses_are_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
