#include "sim/federation/event_queue.h"

#include <stdbool.h>
#include <string.h>

#include "common/base/memory.h"

struct pf_frame *pf_frame_create(const uint8_t *bytes, size_t length)
{
    size_t size;
    if (!pf_size_add(sizeof(struct pf_frame), length, &size)) return NULL;
    struct pf_frame *frame = malloc(size); /* not pf_alloc: thousands of small ones are in flight */
    if (frame == NULL) return NULL;
    frame->references = 1;
    frame->length = length;
    memcpy(frame->bytes, bytes, length);
    return frame;
}

void pf_frame_release(struct pf_frame *self)
{
    if (self != NULL && --self->references == 0) free(self);
}

static bool earlier(const struct pf_event *a, const struct pf_event *b)
{
    return a->at != b->at ? a->at < b->at : a->order < b->order;
}

static void swap(struct pf_event *a, struct pf_event *b)
{
    struct pf_event kept = *a;
    *a = *b;
    *b = kept;
}

enum pf_status pf_event_queue_push(struct pf_event_queue *self, struct pf_event event,
                                   struct pf_error *err)
{
    if (self->n == self->capacity) {
        size_t capacity = self->capacity > 0 ? 2 * self->capacity : 64;
        struct pf_event *grown = pf_realloc(self->events, capacity, sizeof *self->events);
        if (grown == NULL) {
            pf_frame_release(event.frame);
            return pf_no_memory(err, "the events of a simulation");
        }
        self->events = grown;
        self->capacity = capacity;
    }
    event.order = self->order++;
    if (event.frame != NULL) self->frame_bytes += event.frame->length;
    size_t i = self->n++;
    self->events[i] = event;
    for (; i > 0 && earlier(&self->events[i], &self->events[(i - 1) / 2]); i = (i - 1) / 2)
        swap(&self->events[i], &self->events[(i - 1) / 2]);
    return PF_OK;
}

struct pf_event pf_event_queue_pop(struct pf_event_queue *self)
{
    struct pf_event first = self->events[0];
    self->events[0] = self->events[--self->n];
    if (first.frame != NULL) self->frame_bytes -= first.frame->length;
    for (size_t i = 0;;) {
        size_t least = i;
        for (size_t child = 2 * i + 1; child <= 2 * i + 2 && child < self->n; child++)
            if (earlier(&self->events[child], &self->events[least])) least = child;
        if (least == i) return first;
        swap(&self->events[i], &self->events[least]);
        i = least;
    }
}

int64_t pf_event_queue_next_at(const struct pf_event_queue *self)
{
    return self->n > 0 ? self->events[0].at : INT64_MAX;
}

void pf_event_queue_finish(struct pf_event_queue *self)
{
    for (size_t i = 0; i < self->n; i++) pf_frame_release(self->events[i].frame);
    pf_free(self->events);
    *self = (struct pf_event_queue){0};
}
