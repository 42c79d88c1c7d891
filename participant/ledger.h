/* What this participant took part in, kept across restarts: SQLite, in a folder of its own.
 *
 * Its purpose are two rules.  "One model per round": an update for a second, different model of the
 * same round would let the coordinator subtract one from the other.  "One survivor set per round":
 * consenting to two would let it form two sums.  A participation is written
 * before the work on it begins.  One process uses a ledger at a time; a second one is refused. */
#ifndef PF_PARTICIPANT_LEDGER_H
#define PF_PARTICIPANT_LEDGER_H

#include "participant/session.h"

struct pf_ledger;

/* Opens or makes DIR/participant.db.  PF_IO: unwritable, or in use by another process; PF_CORRUPT:
 * not a ledger. */
PF_NODISCARD enum pf_status pf_ledger_open(const char *dir, struct pf_ledger **ledger,
                                           struct pf_error *err);
void pf_ledger_close(struct pf_ledger *self);
PF_DEFINE_CLEANUP(struct pf_ledger, pf_ledger_close)

/* Notes that the run was joined, if it was not before.  wall_ms: since 1970. */
PF_NODISCARD enum pf_status pf_ledger_join(struct pf_ledger *self, const struct pf_run_id *run_id,
                                           const char *federation, int64_t wall_ms,
                                           struct pf_error *err);

/* Inserts the round or updates its outcome and survivor set; durable on return.  PF_REFUSED, and
 * nothing written, when the round stands there with another model or another survivor set. */
PF_NODISCARD enum pf_status pf_ledger_record(struct pf_ledger *self,
                                             const struct pf_participation *record,
                                             struct pf_error *err);

/* The highest round of the run.  PF_NOT_FOUND when there is none. */
PF_NODISCARD enum pf_status pf_ledger_newest(struct pf_ledger *self, const struct pf_run_id *run_id,
                                             struct pf_participation *record, struct pf_error *err);

#endif
