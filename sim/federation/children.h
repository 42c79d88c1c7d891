/* Child processes on this host: started, watched, and never left behind.
 *
 * A child gets its output in a log file and SIGTERM when this process dies. */
#ifndef PF_SIM_FEDERATION_CHILDREN_H
#define PF_SIM_FEDERATION_CHILDREN_H

#include <stddef.h>

#include "common/base/error.h"

struct pf_children;

PF_NODISCARD enum pf_status pf_children_create(size_t capacity, struct pf_children **children,
                                               struct pf_error *err);
/* Stops what still runs: SIGTERM, then SIGKILL after two seconds. */
void pf_children_destroy(struct pf_children *self);
PF_DEFINE_CLEANUP(struct pf_children, pf_children_destroy)

/* Runs argv[0] (a path; argv ends with NULL) with stdout and stderr appended to log_path. */
PF_NODISCARD enum pf_status pf_children_spawn(struct pf_children *self, const char *name,
                                              const char *const *argv, const char *log_path,
                                              struct pf_error *err);

/* Notes who has ended since the last call, and logs a warning for each that ended badly. */
void pf_children_reap(struct pf_children *self);

/* How many have not been seen to end. */
size_t pf_children_running(const struct pf_children *self);

/* Waits up to timeout_ms for all to end by themselves; returns how many still run. */
size_t pf_children_wait(struct pf_children *self, int timeout_ms);

#endif
