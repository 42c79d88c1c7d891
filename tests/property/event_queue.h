/* What will happen when: a heap of events by virtual time, ties in the order of their coming. */
#ifndef PF_TESTS_PROPERTY_EVENT_QUEUE_H
#define PF_TESTS_PROPERTY_EVENT_QUEUE_H

#include "common/base/buffer.h"

enum event_kind { TO_COORDINATOR, TO_PLAYER, TRAINED, JOB_ENDED, KILL, RESTART };

struct event {
    int64_t at;
    uint64_t order; /* among events of one moment */
    enum event_kind kind;
    size_t player;
    uint32_t life; /* TRAINED: of the process that trains */
    uint64_t job;
    uint32_t round;
    struct pf_buffer frame;
};

struct event_queue { /* all zero: empty */
    struct event *events;
    size_t n, capacity;
    uint64_t order;
};

/* Takes the frame. */
void event_queue_push(struct event_queue *self, struct event event);
/* The earliest; there must be one.  The caller owns its frame. */
struct event event_queue_pop(struct event_queue *self);
/* INT64_MAX when empty. */
int64_t event_queue_next_at(const struct event_queue *self);
void event_queue_finish(struct event_queue *self);

#endif
