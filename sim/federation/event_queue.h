/* What will happen when, under a virtual clock: a heap of events by time, ties in the order of
 * their coming. */
#ifndef PF_SIM_FEDERATION_EVENT_QUEUE_H
#define PF_SIM_FEDERATION_EVENT_QUEUE_H

#include <stddef.h>
#include <stdint.h>

#include "common/base/error.h"

/* Bytes on their way, shared by all who get the same. */
struct pf_frame {
    size_t references;
    size_t length;
    uint8_t bytes[];
};

enum pf_event_kind {
    PF_EVENT_TO_COORDINATOR,
    PF_EVENT_TO_PLAYER,
    PF_EVENT_WAKE,
    PF_EVENT_TRAINED,
    PF_EVENT_JOB_ENDED,
    PF_EVENT_KILL,
    PF_EVENT_RESTART,
};

struct pf_event {
    int64_t at;
    uint64_t order; /* among events of one moment; set by _push */
    enum pf_event_kind kind;
    uint32_t player;
    uint32_t life; /* TRAINED: of the process that trains */
    uint32_t round;
    uint64_t job;
    struct pf_frame *frame; /* one reference; NULL: none */
};

struct pf_event_queue { /* all zero: empty */
    struct pf_event *events;
    size_t n, capacity;
    uint64_t order;
    size_t frame_bytes; /* on their way, a shared frame counted each time */
};

/* NULL: no memory. */
struct pf_frame *pf_frame_create(const uint8_t *bytes, size_t length);
void pf_frame_release(struct pf_frame *self);

/* Takes the frame's reference, also on failure. */
PF_NODISCARD enum pf_status pf_event_queue_push(struct pf_event_queue *self, struct pf_event event,
                                                struct pf_error *err);
/* The earliest; there must be one.  The caller releases its frame. */
struct pf_event pf_event_queue_pop(struct pf_event_queue *self);
/* INT64_MAX when empty. */
int64_t pf_event_queue_next_at(const struct pf_event_queue *self);
void pf_event_queue_finish(struct pf_event_queue *self);

#endif
