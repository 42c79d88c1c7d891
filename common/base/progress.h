/* How libraries tell the caller how far long work has come, and how the caller asks it to stop.
 *
 * Libraries never print.  `update` may be NULL; `stop` may be NULL; a worker reads *stop between
 * steps and returns PF_INTERRUPTED soon after it becomes nonzero. */
#ifndef PF_COMMON_BASE_PROGRESS_H
#define PF_COMMON_BASE_PROGRESS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

struct pf_progress {
    /* `what`: the activity ("pretraining"); done of total steps; `detail`: a short free text. */
    void (*update)(void *context, const char *what, size_t done, size_t total, const char *detail);
    void *context;
    const atomic_bool *stop;
};

static inline void pf_progress_update(const struct pf_progress *self, const char *what, size_t done,
                                      size_t total, const char *detail)
{
    if (self != NULL && self->update != NULL)
        self->update(self->context, what, done, total, detail);
}

static inline bool pf_progress_stopped(const struct pf_progress *self)
{
    return self != NULL && self->stop != NULL && atomic_load(self->stop);
}

#endif
