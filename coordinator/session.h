/* One federated run as the coordinator sees it: a state machine without I/O.
 *
 * It owns no socket, thread, clock or file.  Its driver (the network shell, a simulation under a
 * virtual clock, a test) tells it what happened and when, then drains the list of actions and does
 * them in order.  Times are milliseconds of any clock that does not jump back.
 *
 *               enough members            job done              all updates, or the deadline
 *   WAITING ───────────────▶ COMBINING ─────────▶ WAITING ──▶ COLLECTING ──▶ APPLYING ──▶ WAITING …
 *      │ join deadline                                 ▲   too few │             │ last round
 *      ▼                                               └───────────┘             ▼
 *   FAILED ◀── a job failed, too many rounds abandoned, asked to stop          DONE
 *
 * What peers can do to it is bounded: a member is known by the index of the key that
 * authenticated it and by nothing in a message; every wait has a deadline; reassembly takes at
 * most one update per member; a message that is refused leaves the state as it was and is counted
 * under a named reason.  An update is counted once, whatever is repeated or comes late.
 *
 * A round number is used once: a round that is abandoned is followed by the next number, so that
 * nothing meant for one attempt can be counted in another. */
#ifndef PF_COORDINATOR_SESSION_H
#define PF_COORDINATOR_SESSION_H

#include "common/base/log.h"
#include "common/combine/schedule.h"
#include "common/secagg/aggregate.h"
#include "common/wire/identity.h"
#include "common/wire/roster.h"
#include "proto/message.h"

#define PF_MAX_EVENT_BYTES 384u
#define PF_MAX_ABANDONED_ROUNDS 1000u     /* in a row, before the run fails */
#define PF_MAX_WAIT_MS PF_MAX_DEADLINE_MS /* longest timeout that can be asked for */

enum pf_coordinator_phase {
    PF_COORDINATOR_WAITING,    /* for members */
    PF_COORDINATOR_COMBINING,  /* a job prunes, groups and combines */
    PF_COORDINATOR_COLLECTING, /* a round: participants train, updates arrive */
    PF_COORDINATOR_APPLYING,   /* a job takes the mean, steps and evaluates */
    PF_COORDINATOR_DONE,
    PF_COORDINATOR_FAILED,
    PF_COORDINATOR_N_PHASES,
};

const char *pf_coordinator_phase_name(enum pf_coordinator_phase phase); /* "waiting", … */

/* Whether the table of transitions has this one. */
bool pf_coordinator_phase_allowed(enum pf_coordinator_phase from, enum pf_coordinator_phase to);

struct pf_coordinator_session_config {
    struct pf_run_id run_id;
    size_t n_members;
    const struct pf_public_identity *members; /* [n_members]; names are copied */
    struct pf_network network;
    enum pf_aggregation aggregation;
    struct pf_schedule schedule;
    struct pf_training_order order; /* the schedule's slice is filled in round by round */
    uint32_t min_cohort;            /* members a round needs to start */
    uint32_t quorum;                /* updates a round needs to count; ≤ min_cohort */
    uint32_t max_failed_rounds;     /* rounds abandoned in a row that the run survives */
    uint32_t join_timeout_ms;       /* longest wait for min_cohort members */
    uint32_t gather_ms;             /* before the first round: from min_cohort on, for the others */
    uint32_t round_timeout_ms;      /* from the offer to the last update */
    uint32_t liveness_ms;           /* a member silent for longer is not counted on */
};

/* The model that rounds start from, as its encoding is cut into chunks. */
struct pf_served_model {
    struct pf_hash hash;
    uint64_t n_bytes;
    uint32_t n_chunks;
    struct pf_hash *chunk_hashes; /* [n_chunks]; owned */
    size_t n_parameters;
};

void pf_served_model_finish(struct pf_served_model *self);

struct pf_round_record {
    uint32_t round;                     /* from 1 */
    uint32_t stage;                     /* from 1 */
    int64_t started_ms, ended_ms;       /* on the driver's clock */
    uint32_t cohort, included, dropped; /* members */
    bool completed;                     /* false: abandoned */
    double accuracy_percent, loss;      /* of the new model; NaN when not evaluated */
    char text[PF_MAX_REASON_BYTES];     /* why abandoned, who was dropped; may be empty */
};

enum pf_coordinator_action_kind {
    PF_ACTION_SEND = 1,   /* `message` to members[n_members] */
    PF_ACTION_SEND_CHUNK, /* MODEL_CHUNK `chunk` of the current model to members[0] */
    PF_ACTION_COMBINE,    /* start the job of stage `number` (from 0) */
    PF_ACTION_APPLY,      /* start the job of round `number` with `sum` */
    PF_ACTION_STORE_ROUND,
    PF_ACTION_EVENT,  /* log and store `text` at `level`; it concerns round `number`, 0: none */
    PF_ACTION_FINISH, /* the run is over: `success`, `text`; the last action of all */
};

struct pf_coordinator_action {
    enum pf_coordinator_action_kind kind;
    uint32_t number; /* a stage or a round, see above */
    uint32_t chunk;
    size_t n_members;
    size_t *members; /* [n_members]; owned */
    bool success;
    enum pf_log_level level;
    struct pf_sum *sum; /* owned; the driver may take it and leave NULL */
    union {
        struct pf_message message; /* PF_ACTION_SEND; owned */
        struct pf_round_record record;
        char text[PF_MAX_EVENT_BYTES];
    };
};

void pf_coordinator_action_finish(struct pf_coordinator_action *self);

/* What was turned away, by name.  Not part of the state that a refused message leaves alone. */
struct pf_coordinator_counters {
    uint64_t refused[PF_REASON_N];
    uint64_t malformed;  /* frames that did not decode; counted by the driver's report */
    uint64_t unexpected; /* kinds that only a coordinator sends */
    uint64_t repeated;   /* chunks already held, updates already counted */
};

struct pf_coordinator_session;

/* PF_INVALID with a sentence when the configuration cannot be meant. */
PF_NODISCARD enum pf_status pf_coordinator_session_create(
    const struct pf_coordinator_session_config *config, int64_t now_ms,
    struct pf_coordinator_session **session, struct pf_error *err);
void pf_coordinator_session_destroy(struct pf_coordinator_session *self);
PF_DEFINE_CLEANUP(struct pf_coordinator_session, pf_coordinator_session_destroy)

/* Events.  They fail for want of memory alone, and the run cannot go on then.  After each, drain
 * the actions. */

/* A decoded message whose sender's key is that of members[member].  The message stays the
 * caller's, whatever comes of it. */
PF_NODISCARD enum pf_status pf_coordinator_session_receive(struct pf_coordinator_session *self,
                                                           size_t member,
                                                           const struct pf_message *message,
                                                           int64_t now_ms, struct pf_error *err);
/* A frame of a member that did not decode. */
void pf_coordinator_session_malformed(struct pf_coordinator_session *self, size_t member);
/* Time has passed; needed at pf_coordinator_session_wake_ms, harmless at any other moment. */
PF_NODISCARD enum pf_status pf_coordinator_session_tick(struct pf_coordinator_session *self,
                                                        int64_t now_ms, struct pf_error *err);
/* The job of PF_ACTION_COMBINE or PF_ACTION_APPLY has made a new model (emptied).  Accuracy and
 * loss are NaN when not evaluated. */
PF_NODISCARD enum pf_status pf_coordinator_session_job_done(struct pf_coordinator_session *self,
                                                            int64_t now_ms,
                                                            struct pf_served_model *model,
                                                            double accuracy_percent, double loss,
                                                            struct pf_error *err);
/* It could not.  PF_REFUSED from APPLY abandons the round (the updates lead nowhere); anything
 * else ends the run with the sentence. */
PF_NODISCARD enum pf_status pf_coordinator_session_job_failed(struct pf_coordinator_session *self,
                                                              int64_t now_ms, enum pf_status status,
                                                              const char *sentence,
                                                              struct pf_error *err);
/* Ends the run as failed, for a reason of the driver's: asked to stop, disk full. */
PF_NODISCARD enum pf_status pf_coordinator_session_stop(struct pf_coordinator_session *self,
                                                        int64_t now_ms, const char *sentence,
                                                        struct pf_error *err);

/* Moves the oldest action out; false when there is none.  The caller owns what it got. */
bool pf_coordinator_session_next_action(struct pf_coordinator_session *self,
                                        struct pf_coordinator_action *action);

/* When tick is needed next; INT64_MAX when only an event can change anything. */
int64_t pf_coordinator_session_wake_ms(const struct pf_coordinator_session *self);

/* How far the run is. */
struct pf_coordinator_view {
    enum pf_coordinator_phase phase;
    uint32_t round;     /* the current or last round's number; 0 before the first */
    uint32_t completed; /* rounds */
    uint32_t abandoned; /* rounds */
    uint32_t n_rounds;  /* planned */
    uint32_t stage;     /* from 1 */
    uint32_t n_stages;
    uint32_t present;         /* members heard of lately */
    uint32_t cohort, counted; /* of the current or last round: asked, updates in the sum */
    double accuracy_percent;  /* of the current model; NaN when unknown */
};

void pf_coordinator_session_view(const struct pf_coordinator_session *self,
                                 struct pf_coordinator_view *view);

/* "stage 1/3 · 7 of 10 updates · waiting for carol until 14s · accuracy 71.2 %"; returns out. */
const char *pf_coordinator_session_describe(const struct pf_coordinator_session *self,
                                            int64_t now_ms, char *out, size_t size);

const struct pf_coordinator_counters *pf_coordinator_session_counters(
    const struct pf_coordinator_session *self);

#endif
