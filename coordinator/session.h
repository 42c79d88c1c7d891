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
 * A secure round (coordinator/secagg_server.h) has more steps, each with a deadline of its own:
 *
 *   WAITING ──▶ ADVERTISING ──▶ (REVEALING) ──▶ SHARING ──▶ COLLECTING ──▶ CONSENTING ──▶ UNMASKING
 *                                                                              ──▶ APPLYING
 *
 * Who misses a step before its update is counted is dropped from the round by name.  Once it is
 * counted it is a survivor: its update stays in the sum, whatever becomes of it, and the others
 * take its self mask off.  The message of the current step is sent again, ever more rarely, to
 * those who are awaited, and to whoever asks for it by repeating itself, so that what the network
 * loses costs a round some seconds and not its life.
 *
 * What peers can do to it is bounded: a member is known by the index of the key that
 * authenticated it and by nothing in a message; every wait has a deadline; updates in reassembly
 * share one budget, whatever the number of members; a message that is refused leaves the state as
 * it was and is counted under a named reason.  An update is counted once, whatever is repeated or
 * comes late.
 *
 * A round number is used once: a round that is abandoned is followed by the next number, so that
 * nothing meant for one attempt can be counted in another. */
#ifndef PF_COORDINATOR_SESSION_H
#define PF_COORDINATOR_SESSION_H

#include "common/base/log.h"
#include "common/combine/schedule.h"
#include "common/secagg/aggregate.h"
#include "common/secagg/codec.h"
#include "common/secagg/parameters.h"
#include "common/secagg/unmask.h"
#include "common/wire/identity.h"
#include "common/wire/roster.h"
#include "proto/message.h"

#define PF_MAX_EVENT_BYTES 384u
#define PF_MAX_ABANDONED_ROUNDS 1000u     /* in a row, before the run fails */
#define PF_MAX_WAIT_MS PF_MAX_DEADLINE_MS /* longest timeout that can be asked for */
#define PF_CONSENT_LINGER_MS 5000u        /* for the last consents, once there are enough */
#define PF_UNMASK_LINGER_MS 2000u         /* for the last answers, once there are enough */

/* What zero in the configuration stands for. */
#define PF_DEFAULT_KEY_TIMEOUT_MS 30000u
#define PF_DEFAULT_UNMASK_TIMEOUT_MS 30000u
#define PF_DEFAULT_UPLOAD_BUDGET_BYTES ((size_t)256 << 20)
#define PF_DEFAULT_UPLOAD_IDLE_MS 30000u
#define PF_DEFAULT_DROPOUTS \
    0.1 /* δ draws a regular graph; a complete one bears n − t whatever it is */

enum pf_coordinator_phase {
    PF_COORDINATOR_WAITING,     /* for members */
    PF_COORDINATOR_COMBINING,   /* a job prunes, groups and combines */
    PF_COORDINATOR_ADVERTISING, /* a secure round: fresh keys arrive; participants train */
    PF_COORDINATOR_REVEALING,   /* … the randomness of a regular graph */
    PF_COORDINATOR_SHARING,     /* … shares of the secrets, in boxes */
    PF_COORDINATOR_COLLECTING,  /* a round: participants train, updates arrive */
    PF_COORDINATOR_CONSENTING,  /* … signatures of the survivor set */
    PF_COORDINATOR_UNMASKING,   /* … shares that take the masks off the sum */
    PF_COORDINATOR_APPLYING,    /* a job takes the mean, steps and evaluates */
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
    const struct pf_public_identity *members; /* [n_members]; borrowed when secure: signatures */
    struct pf_network network;
    enum pf_aggregation aggregation;
    struct pf_schedule schedule;
    struct pf_training_order order; /* the schedule's slice is filled in round by round */
    /* The dense model to distil from, where order.distill_weight > 0; else NULL.  Borrowed. */
    const struct pf_chunked_model *teacher;
    uint32_t min_cohort;        /* members a round needs to start */
    uint32_t quorum;            /* updates a round needs to count; ≤ min_cohort */
    uint32_t max_failed_rounds; /* rounds abandoned in a row that the run survives */
    uint32_t join_timeout_ms;   /* longest wait for min_cohort members */
    uint32_t gather_ms;         /* before the first round: from min_cohort on, for the others */
    uint32_t round_timeout_ms;  /* from the offer to the last update */
    uint32_t liveness_ms;       /* a member silent for longer is not counted on */
    size_t upload_budget_bytes; /* of updates in reassembly, at least one; 0: the default */
    uint32_t upload_idle_ms;    /* an upload that stands still for so long makes room; 0: default */

    /* Secure aggregation alone. */
    uint8_t roster_hash[PF_HASH_BYTES];
    struct pf_masking_order masking; /* clip: of the first round; see fixed_clip */
    bool fixed_clip;                 /* else twice the last round's mean norm, within a stage */
    double corrupt;                  /* γ; below 0: pf_secagg_default_corrupt */
    double dropouts;                 /* δ */
    enum pf_adversary adversary;     /* 0: semi-malicious */
    enum pf_graph_kind graph;        /* 0: by size */
    uint32_t key_timeout_ms;    /* of ADVERTISING, REVEALING, SHARING each; at most a quarter of
                                   round_timeout_ms is used; 0: default */
    uint32_t unmask_timeout_ms; /* of CONSENTING and UNMASKING each; 0: default */
};

/* 16 bits, 10,000 examples, rotation, norms of 32 at a stage's begin. */
void pf_masking_order_default(struct pf_masking_order *order);

/* The model that rounds start from, as its encoding is cut into chunks. */
struct pf_served_model {
    struct pf_hash hash;
    uint64_t n_bytes;
    uint32_t n_chunks;
    struct pf_hash *chunk_hashes; /* [n_chunks]; owned */
    size_t n_parameters;
    size_t n_trained; /* ≤ n_parameters; the rest are statistics */
};

void pf_served_model_finish(struct pf_served_model *self);

struct pf_round_record {
    uint32_t round;                     /* from 1 */
    uint32_t stage;                     /* from 1 */
    int64_t started_ms, ended_ms;       /* on the driver's clock */
    uint32_t cohort, included, dropped; /* members */
    bool completed;                     /* false: abandoned */
    double accuracy_percent, loss;      /* of the new model; NaN when not evaluated */
    double clip[PF_CODEC_SEGMENTS];     /* secure: norms that updates were clipped to; else NaN */
    bool figures_known;                 /* secure and completed */
    uint64_t figures[PF_FIGURE_N];      /* … summed over the included */
    char text[PF_MAX_REASON_BYTES];     /* why abandoned, who was dropped; may be empty */
};

enum pf_coordinator_action_kind {
    PF_ACTION_SEND = 1,   /* `message` to members[n_members] */
    PF_ACTION_SEND_CHUNK, /* MODEL_CHUNK `chunk` of the current model, or with `teacher` of the
                             teacher, to members[0] */
    PF_ACTION_COMBINE,    /* start the job of stage `number` (from 0) */
    PF_ACTION_APPLY,      /* start the job of round `number` with `sum` or `unmasking`, `codec` */
    PF_ACTION_STORE_ROUND,
    PF_ACTION_EVENT,  /* log and store `text` at `level`; it concerns round `number`, 0: none */
    PF_ACTION_FINISH, /* the run is over: `success`, `text`; the last action of all */
};

struct pf_coordinator_action {
    enum pf_coordinator_action_kind kind;
    uint32_t number; /* a stage or a round, see above */
    uint32_t chunk;
    bool teacher;
    size_t n_members;
    size_t *members; /* [n_members]; owned */
    bool success;
    enum pf_log_level level;
    struct pf_sum *sum;             /* plain; owned; the driver may take it and leave NULL */
    struct pf_unmasking *unmasking; /* secure; likewise */
    struct pf_codec_config codec;   /* … to decode its sum with */
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
/* What the sum of a secure round says beside the mean; right before its job_done. */
void pf_coordinator_session_note_figures(struct pf_coordinator_session *self,
                                         const uint64_t figures[PF_FIGURE_N]);
/* The job of PF_ACTION_COMBINE or PF_ACTION_APPLY has made a new model (emptied).  Accuracy and
 * loss are NaN when not evaluated. */
PF_NODISCARD enum pf_status pf_coordinator_session_job_done(struct pf_coordinator_session *self,
                                                            int64_t now_ms,
                                                            struct pf_served_model *model,
                                                            double accuracy_percent, double loss,
                                                            struct pf_error *err);
/* It could not.  PF_REFUSED from APPLY abandons the round (the updates lead nowhere, or the masks
 * do not come off); anything else ends the run with the sentence. */
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
