#include "coordinator/deadlines.h"

#include <assert.h>
#include <stdbool.h>

#include "common/base/memory.h"

enum pf_status pf_deadlines_create(size_t n_members, struct pf_deadlines *deadlines,
                                   struct pf_error *err)
{
    struct pf_deadlines made = {.heap = PF_ALLOC(n_members, struct pf_deadline),
                                .places = PF_ALLOC(n_members, uint32_t)};
    if (made.heap == NULL || made.places == NULL) {
        pf_deadlines_finish(&made);
        return pf_no_memory(err, "the deadlines of members");
    }
    *deadlines = made;
    return PF_OK;
}

void pf_deadlines_finish(struct pf_deadlines *self)
{
    pf_free(self->heap);
    pf_free(self->places);
    *self = (struct pf_deadlines){0};
}

static bool earlier(const struct pf_deadline *a, const struct pf_deadline *b)
{
    return a->at_ms != b->at_ms ? a->at_ms < b->at_ms : a->member < b->member;
}

static void put(struct pf_deadlines *self, size_t place, struct pf_deadline deadline)
{
    self->heap[place] = deadline;
    self->places[deadline.member] = (uint32_t)place + 1;
}

/* Where the deadline belongs if `place` is free: up past those later than it, … */
static void rise(struct pf_deadlines *self, size_t place, struct pf_deadline deadline)
{
    for (; place > 0 && earlier(&deadline, &self->heap[(place - 1) / 2]); place = (place - 1) / 2)
        put(self, place, self->heap[(place - 1) / 2]);
    put(self, place, deadline);
}

/* … or down past those earlier. */
static void settle(struct pf_deadlines *self, size_t place, struct pf_deadline deadline)
{
    for (;;) {
        size_t child = 2 * place + 1;
        if (child + 1 < self->n_due && earlier(&self->heap[child + 1], &self->heap[child])) child++;
        if (child >= self->n_due || !earlier(&self->heap[child], &deadline)) break;
        put(self, place, self->heap[child]);
        place = child;
    }
    rise(self, place, deadline);
}

void pf_deadlines_set(struct pf_deadlines *self, size_t member, int64_t at_ms)
{
    const struct pf_deadline deadline = {at_ms, (uint32_t)member};
    if (self->places[member] == 0)
        rise(self, self->n_due++, deadline);
    else
        settle(self, self->places[member] - 1, deadline);
}

void pf_deadlines_clear(struct pf_deadlines *self, size_t member)
{
    if (self->places[member] == 0) return;
    const size_t place = self->places[member] - 1;
    const struct pf_deadline last = self->heap[--self->n_due];
    self->places[member] = 0;
    if (last.member != member) settle(self, place, last);
}

int64_t pf_deadlines_next_ms(const struct pf_deadlines *self)
{
    return self->n_due > 0 ? self->heap[0].at_ms : INT64_MAX;
}

size_t pf_deadlines_first(const struct pf_deadlines *self)
{
    assert(self->n_due > 0);
    return self->heap[0].member;
}
