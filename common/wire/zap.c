#include "common/wire/zap.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sodium.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <zmq.h>

#include "common/base/memory.h"
#include "common/base/text.h"

/* Frames of a request, RFC 27: version, request id, domain, address, identity, mechanism, and the
 * credentials, which are one frame for CURVE. */
enum { VERSION, REQUEST_ID, DOMAIN, ADDRESS, IDENTITY, MECHANISM, CREDENTIALS, N_FRAMES };

struct entry {
    uint8_t key[32];
    size_t index;
};

struct pf_zap {
    struct entry *entries; /* [n_entries], sorted by key; constant once the thread runs */
    size_t n_entries;
    void *socket; /* the thread's */
    pthread_t thread;
    bool running;
    atomic_uint_fast64_t refused;
};

static int compare_entries(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    return memcmp(x->key, y->key, sizeof x->key);
}

size_t pf_zap_find(const struct pf_zap *self, const uint8_t key[32])
{
    struct entry wanted = {0};
    memcpy(wanted.key, key, sizeof wanted.key);
    const struct entry *found =
        bsearch(&wanted, self->entries, self->n_entries, sizeof wanted, compare_entries);
    return found != NULL ? found->index : SIZE_MAX;
}

size_t pf_zap_find_user(const struct pf_zap *self, const char *user_id)
{
    uint8_t key[32];
    size_t length = 0;
    if (user_id == NULL || strlen(user_id) != 2 * sizeof key ||
        sodium_hex2bin(key, sizeof key, user_id, 2 * sizeof key, NULL, &length, NULL) != 0 ||
        length != sizeof key)
        return SIZE_MAX;
    return pf_zap_find(self, key);
}

uint64_t pf_zap_refused(const struct pf_zap *self)
{
    return atomic_load(&self->refused);
}

static bool frame_is(zmq_msg_t *frame, const char *text)
{
    return zmq_msg_size(frame) == strlen(text) &&
           memcmp(zmq_msg_data(frame), text, strlen(text)) == 0;
}

/* Takes one request; false when the context ends.  Surplus frames are dropped, n counts all. */
static bool receive_request(void *socket, zmq_msg_t frames[N_FRAMES], size_t *n)
{
    *n = 0;
    for (bool more = true; more; (*n)++) {
        zmq_msg_t surplus;
        zmq_msg_t *frame = *n < N_FRAMES ? &frames[*n] : &surplus;
        if (frame == &surplus) zmq_msg_init(frame);
        int received;
        do {
            received = zmq_msg_recv(frame, socket, 0);
        } while (received < 0 && zmq_errno() == EINTR);
        more = received >= 0 && zmq_msg_more(frame);
        if (frame == &surplus) zmq_msg_close(frame);
        if (received < 0) return false;
    }
    return true;
}

static void send_reply(void *socket, zmq_msg_t *request_id, bool admit, const char *user_id)
{
    const char *parts[] = {admit ? "200" : "400", admit ? "OK" : "not on the roster",
                           admit ? user_id : "", ""};
    zmq_send(socket, "1.0", 3, ZMQ_SNDMORE);
    zmq_send(socket, zmq_msg_data(request_id), zmq_msg_size(request_id), ZMQ_SNDMORE);
    for (size_t i = 0; i < PF_ARRAY_LENGTH(parts); i++) {
        int flags = i + 1 < PF_ARRAY_LENGTH(parts) ? ZMQ_SNDMORE : 0;
        zmq_send(socket, parts[i], strlen(parts[i]), flags);
    }
}

static void answer(struct pf_zap *self, zmq_msg_t frames[N_FRAMES], size_t n)
{
    bool admit = n == N_FRAMES && frame_is(&frames[VERSION], "1.0") &&
                 frame_is(&frames[DOMAIN], PF_ZAP_DOMAIN) &&
                 frame_is(&frames[MECHANISM], "CURVE") && zmq_msg_size(&frames[CREDENTIALS]) == 32;
    char user_id[65] = "";
    if (admit) {
        const uint8_t *key = zmq_msg_data(&frames[CREDENTIALS]);
        admit = pf_zap_find(self, key) != SIZE_MAX;
        pf_text_hex(user_id, key, 32);
    }
    if (!admit) atomic_fetch_add(&self->refused, 1);
    send_reply(self->socket, &frames[REQUEST_ID], admit, user_id);
}

static void *run(void *context)
{
    struct pf_zap *self = context;
    bool going = true;
    while (going) {
        zmq_msg_t frames[N_FRAMES];
        size_t n = 0;
        for (size_t i = 0; i < N_FRAMES; i++) zmq_msg_init(&frames[i]);
        going = receive_request(self->socket, frames, &n);
        if (going) answer(self, frames, n);
        for (size_t i = 0; i < N_FRAMES; i++) zmq_msg_close(&frames[i]);
    }
    zmq_close(self->socket);
    return NULL;
}

static enum pf_status copy_keys(struct pf_zap *self, const uint8_t (*allowed)[32], size_t n_allowed,
                                struct pf_error *err)
{
    self->entries = PF_ALLOC(n_allowed, struct entry);
    if (self->entries == NULL) return pf_no_memory(err, "the list of keys");
    self->n_entries = n_allowed;
    for (size_t i = 0; i < n_allowed; i++) {
        memcpy(self->entries[i].key, allowed[i], sizeof self->entries[i].key);
        self->entries[i].index = i;
    }
    qsort(self->entries, n_allowed, sizeof *self->entries, compare_entries);
    for (size_t i = 1; i < n_allowed; i++)
        if (compare_entries(&self->entries[i - 1], &self->entries[i]) == 0)
            return pf_fail(err, PF_INVALID, "the same transport key is allowed twice");
    return PF_OK;
}

/* Signals are for the program's own threads. */
static bool start_thread(struct pf_zap *self)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    self->running = pthread_create(&self->thread, NULL, run, self) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return self->running;
}

static enum pf_status start(struct pf_zap *self, void *context, struct pf_error *err)
{
    self->socket = zmq_socket(context, ZMQ_REP);
    if (self->socket == NULL)
        return pf_fail(err, PF_IO, "cannot create a socket: %s", zmq_strerror(zmq_errno()));
    int linger = 0;
    bool ready = zmq_setsockopt(self->socket, ZMQ_LINGER, &linger, sizeof linger) == 0 &&
                 zmq_bind(self->socket, "inproc://zeromq.zap.01") == 0;
    int number = ready ? EAGAIN : zmq_errno();
    if (ready && start_thread(self)) return PF_OK;
    zmq_close(self->socket);
    return pf_fail(err, PF_IO, "cannot start the access control: %s", zmq_strerror(number));
}

enum pf_status pf_zap_create(void *context, const uint8_t (*allowed)[32], size_t n_allowed,
                             struct pf_zap **zap, struct pf_error *err)
{
    PF_CLEANUP(pf_zap_destroyp) struct pf_zap *self = PF_ALLOC(1, struct pf_zap);
    if (self == NULL) return pf_no_memory(err, "access control");
    PF_TRY(copy_keys(self, allowed, n_allowed, err));
    PF_TRY(start(self, context, err));
    *zap = self;
    self = NULL;
    return PF_OK;
}

void pf_zap_destroy(struct pf_zap *self)
{
    if (self == NULL) return;
    if (self->running) pthread_join(self->thread, NULL);
    pf_free(self->entries);
    pf_free(self);
}
