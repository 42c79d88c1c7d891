#include "event_queue.h"

#include <stdbool.h>
#include <stdlib.h>

#include "common/base/memory.h"

static bool earlier(const struct event *a, const struct event *b)
{
    return a->at != b->at ? a->at < b->at : a->order < b->order;
}

static void swap(struct event *a, struct event *b)
{
    struct event kept = *a;
    *a = *b;
    *b = kept;
}

void event_queue_push(struct event_queue *self, struct event event)
{
    if (self->n == self->capacity) {
        self->capacity = self->capacity > 0 ? 2 * self->capacity : 64;
        self->events = pf_realloc(self->events, self->capacity, sizeof *self->events);
        if (self->events == NULL) abort();
    }
    event.order = self->order++;
    size_t i = self->n++;
    self->events[i] = event;
    for (; i > 0 && earlier(&self->events[i], &self->events[(i - 1) / 2]); i = (i - 1) / 2)
        swap(&self->events[i], &self->events[(i - 1) / 2]);
}

struct event event_queue_pop(struct event_queue *self)
{
    struct event first = self->events[0];
    self->events[0] = self->events[--self->n];
    for (size_t i = 0;;) {
        size_t least = i;
        for (size_t child = 2 * i + 1; child <= 2 * i + 2 && child < self->n; child++)
            if (earlier(&self->events[child], &self->events[least])) least = child;
        if (least == i) return first;
        swap(&self->events[i], &self->events[least]);
        i = least;
    }
}

int64_t event_queue_next_at(const struct event_queue *self)
{
    return self->n > 0 ? self->events[0].at : INT64_MAX;
}

void event_queue_finish(struct event_queue *self)
{
    for (size_t i = 0; i < self->n; i++) pf_buffer_finish(&self->events[i].frame);
    pf_free(self->events);
    *self = (struct event_queue){0};
}
