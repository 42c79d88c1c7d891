/* run.db: what the coordinator knows of a run, on disk.
 *
 * SQLite in WAL mode with synchronous=FULL.  Calls between begin and commit are one transaction;
 * a call outside of one is a transaction by itself.  One thread uses a store at a time.
 *
 *   run(key, value)            id, seed, federation, network, when it began, how it ended …
 *   stages(stage, …)           each combining: accuracy right after it, groups, nonzeros
 *   rounds(round, …)           each round, abandoned ones too; what the secure sum says of all
 *                              participants together
 *   events(at_ms, …)           what happened, in sentences
 *   checkpoints(round, kind, hash, bytes)   the last few models and optimiser states
 *
 * Every failure is PF_IO with the file's name and SQLite's reason ("disk full: …"), or PF_CORRUPT
 * for a file that is not such a store. */
#ifndef PF_COORDINATOR_STORE_H
#define PF_COORDINATOR_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/buffer.h"
#include "common/base/error.h"
#include "common/base/log.h"
#include "proto/message.h"

#define PF_STORE_SCHEMA 2
#define PF_STORE_CHECKPOINTS 3 /* kept of each kind */

struct pf_store;

/* Makes the file, or opens the one of an earlier process; one of schema 1 is brought up to date.
 * PF_CORRUPT for any other schema. */
PF_NODISCARD enum pf_status pf_store_open(const char *path, struct pf_store **store,
                                          struct pf_error *err);
void pf_store_close(struct pf_store *self);
PF_DEFINE_CLEANUP(struct pf_store, pf_store_close)

/* A transaction that a failure left open is rolled back first. */
PF_NODISCARD enum pf_status pf_store_begin(struct pf_store *self, struct pf_error *err);
PF_NODISCARD enum pf_status pf_store_commit(struct pf_store *self, struct pf_error *err);

/* Replaces an older value of the key. */
PF_NODISCARD enum pf_status pf_store_put(struct pf_store *self, const char *key, const char *value,
                                         struct pf_error *err);
/* Appends the value to `value` (no final zero); PF_NOT_FOUND when the key was never put. */
PF_NODISCARD enum pf_status pf_store_get(struct pf_store *self, const char *key,
                                         struct pf_buffer *value, struct pf_error *err);

struct pf_stored_stage {
    uint32_t stage;     /* from 1 */
    int64_t started_ms; /* of the wall clock, as everywhere here */
    double seconds;
    uint32_t rounds; /* planned */
    size_t nonzeros;
    size_t groups;                 /* summed over the combined layers */
    double accuracy_percent, loss; /* right after combining; NaN is stored as NULL */
};

PF_NODISCARD enum pf_status pf_store_stage(struct pf_store *self,
                                           const struct pf_stored_stage *stage,
                                           struct pf_error *err);

struct pf_stored_round {
    uint32_t round, stage; /* from 1 */
    int64_t started_ms;
    double seconds;
    uint32_t cohort, included, dropped;
    const char *outcome; /* "completed", or why it was abandoned */
    double accuracy_percent, loss;
    uint64_t upload_bytes, download_bytes; /* of all members, since the round before */
    /* Of a secure round: the norms that updates were clipped to; NaN is stored as NULL. */
    double clip_trained, clip_statistics;
    /* … and of a completed one: sums over the included; no participant's own figure is ever here.
     * Stored as NULL when unknown. */
    bool figures_known;
    uint64_t examples, evaluated, correct, clipped;
};

PF_NODISCARD enum pf_status pf_store_round(struct pf_store *self,
                                           const struct pf_stored_round *round,
                                           struct pf_error *err);

PF_NODISCARD enum pf_status pf_store_event(struct pf_store *self, int64_t at_ms, uint32_t round,
                                           enum pf_log_level level, const char *text,
                                           struct pf_error *err);

/* Keeps the newest PF_STORE_CHECKPOINTS of the kind ("model", "optimiser"). */
PF_NODISCARD enum pf_status pf_store_checkpoint(struct pf_store *self, uint32_t round,
                                                const char *kind, const struct pf_hash *hash,
                                                const void *bytes, size_t length,
                                                struct pf_error *err);

/* The newest checkpoint of the kind; PF_NOT_FOUND when there is none.  Appends to `bytes`. */
PF_NODISCARD enum pf_status pf_store_last_checkpoint(struct pf_store *self, const char *kind,
                                                     uint32_t *round, struct pf_hash *hash,
                                                     struct pf_buffer *bytes, struct pf_error *err);

#endif
