/* One participant's side of a federated run: a state machine without I/O.
 *
 * It owns no socket, thread, clock or file.  Its driver (the network shell, a simulation under a
 * virtual clock, a test) tells it what happened and when, and after every event drains the
 * actions and does them in order.  Times are milliseconds of any clock that does not jump back.
 *
 *   CONNECTING ──WELCOME──▶ IDLE ──offer──▶ FETCHING ──model──▶ TRAINING ──update──▶ UPLOADING
 *       ▲                    ▲                 │                   │                    │
 *       └─ run unknown ──────┴── declined, over, too late ─────────┴──── receipt ───────┘
 *
 * In a secure round steps 0 and 1 of the aggregation (secagg_client.h) run beside FETCHING and
 * TRAINING; an update that is ready before the others' share boxes waits in MASKING; after the
 * receipt comes UNMASKING, steps 3 and 4, until the round's result.
 *
 * and from anywhere to DONE (FINISHED) or FAILED (no word for give_up_ms, a run it must not take
 * part in, the driver's wish).  HELLO is repeated with back-off until WELCOME, and again whenever
 * the coordinator has been silent for a while; the work at hand goes on meanwhile.
 *
 * FETCHING brings what the offer names and is not at hand: the teacher, where there is one to
 * distil from, then the round's model.  The teacher is kept for the run, so it comes first: a line
 * too slow for one round has it in the next.  A run has one teacher.
 *
 * A round is tied to the first model offered for it: a second model for the same round is
 * declined, also after a restart when the driver answers RECALL from a ledger.  A secure round is
 * joined once: its secrets end with the process, and a second set of keys for one round would let
 * the coordinator form two sums.  A message that is
 * refused leaves the session as it was and is counted under a named reason. */
#ifndef PF_PARTICIPANT_SESSION_H
#define PF_PARTICIPANT_SESSION_H

#include "common/base/buffer.h"
#include "common/wire/roster.h"
#include "participant/fetch.h"
#include "participant/policy.h"
#include "proto/message.h"

enum pf_participant_phase {
    PF_PARTICIPANT_CONNECTING, /* not in a run */
    PF_PARTICIPANT_IDLE,       /* in a run, between rounds */
    PF_PARTICIPANT_FETCHING,   /* the teacher, the model */
    PF_PARTICIPANT_TRAINING,
    PF_PARTICIPANT_MASKING,   /* the update waits for the others' share boxes; secure only */
    PF_PARTICIPANT_UPLOADING, /* until the receipt */
    PF_PARTICIPANT_UNMASKING, /* until the round's result; secure only */
    PF_PARTICIPANT_DONE,
    PF_PARTICIPANT_FAILED,
    PF_PARTICIPANT_N_PHASES,
};

const char *pf_participant_phase_name(enum pf_participant_phase phase); /* "connecting", … */

/* Whether the table of transitions has this one. */
bool pf_participant_phase_allowed(enum pf_participant_phase from, enum pf_participant_phase to);

struct pf_participant_session_config {
    struct pf_participant_policy policy;
    /* For secure rounds; borrowed for the session's life.  roster NULL: such runs are refused. */
    const struct pf_roster *roster;
    uint32_t self;              /* own index on it */
    const uint8_t *sign_secret; /* [64] */
    struct pf_pool *pool;       /* for masks; NULL: the calling thread */
    uint64_t rounding_seed;     /* of stochastic rounding */
    bool forget_model; /* keep no round's model between rounds: thousands of sessions in memory */
    struct pf_fetch_options fetch;
    int64_t hello_first_ms, hello_last_ms;   /* back-off of HELLO */
    int64_t upload_first_ms, upload_last_ms; /* back-off of whole uploads */
    int64_t upload_bytes_per_s; /* slowest line counted on: an upload gets this much more time */
    int64_t deadline_grace_ms;  /* a round is given up so long after its deadline */
    int64_t unmask_grace_ms;    /* … and after the receipt of a masked update */
    int64_t give_up_ms;         /* without any word from the coordinator */
};

/* Window 4, time-outs of seconds, give up after ten minutes; pf_participant_policy_default. */
void pf_participant_session_config_default(struct pf_participant_session_config *config);

/* What became of a round here. */
enum pf_outcome {
    PF_OUTCOME_NONE = 0,
    PF_OUTCOME_JOINED,    /* at work on it */
    PF_OUTCOME_DELIVERED, /* the coordinator has the update */
    PF_OUTCOME_DECLINED,
    PF_OUTCOME_DROPPED, /* over, late, or interrupted; may be taken up again with the same model */
    PF_OUTCOME_N,
};

const char *pf_outcome_name(enum pf_outcome outcome); /* "joined", "delivered", … */

/* For the ledger: one per round, the newest outcome counts. */
struct pf_participation {
    struct pf_run_id run_id;
    uint32_t round;
    struct pf_hash model_hash;
    enum pf_outcome outcome;
    /* The survivor set whose sum was consented to; consenting to another one is for ever refused.
     */
    bool consented;
    struct pf_digest survivors;
};

enum pf_participant_action_kind {
    PF_PARTICIPANT_SEND = 1, /* `message` to the coordinator */
    PF_PARTICIPANT_RECALL,   /* a run was joined: call _recall with what is known of run_id */
    PF_PARTICIPANT_RECORD,   /* keep `record`, durably, before the next action */
    PF_PARTICIPANT_TRAIN,    /* start job `train.job`; answer with _trained or _training_failed */
    PF_PARTICIPANT_CANCEL,   /* the last job's result is no longer wanted */
    PF_PARTICIPANT_RESULT,   /* what the coordinator says of a round, for people */
};

struct pf_participant_action {
    enum pf_participant_action_kind kind;
    union {
        struct pf_message message;
        struct pf_run_id run_id;
        struct pf_participation record;
        struct {
            uint64_t job; /* counts up */
            uint32_t round;
            enum pf_aggregation aggregation;
            const struct pf_model *model;   /* global; clone what the training needs */
            const struct pf_model *teacher; /* likewise; NULL: no distillation */
            struct pf_training_order order;
        } train;
        struct pf_round_result result;
    };
};

/* What was turned away, by name.  Not part of the state that a refused message leaves alone. */
struct pf_participant_counters {
    uint64_t refused[PF_REASON_N];
    uint64_t malformed;  /* frames that did not decode */
    uint64_t unexpected; /* kinds or phases in which a message has no meaning */
    uint64_t repeated;   /* accepted, but known already */
    uint64_t stale;      /* of a round that is over */
};

struct pf_participant_session;

PF_NODISCARD enum pf_status pf_participant_session_create(
    const struct pf_participant_session_config *config, int64_t now_ms,
    struct pf_participant_session **session, struct pf_error *err);
void pf_participant_session_destroy(struct pf_participant_session *self);
PF_DEFINE_CLEANUP(struct pf_participant_session, pf_participant_session_destroy)

/* Events.  None can fail: want of memory declines the round at hand.  Drain the actions after
 * each. */

/* A decoded message from the coordinator; it stays the caller's.  False when refused or without
 * meaning now: the session is then as it was, but for a DECLINE to send and a counter. */
bool pf_participant_session_receive(struct pf_participant_session *self,
                                    const struct pf_message *message, int64_t now_ms);
/* A frame that did not decode. */
void pf_participant_session_malformed(struct pf_participant_session *self);
/* Time has passed; needed at pf_participant_session_wake_ms, harmless at any other moment. */
void pf_participant_session_tick(struct pf_participant_session *self, int64_t now_ms);
/* The connection came up (again): say HELLO now instead of after the back-off. */
void pf_participant_session_connected(struct pf_participant_session *self, int64_t now_ms);
/* The answer to RECALL: the newest round of the run that a ledger knows. */
void pf_participant_session_recall(struct pf_participant_session *self,
                                   const struct pf_participation *record);
/* Job `job` made this update (taken; left empty).  Ignored when it was cancelled. */
void pf_participant_session_trained(struct pf_participant_session *self, uint64_t job,
                                    struct pf_update *update, int64_t now_ms);
/* … or could not; `sentence` goes to the coordinator: no private figures in it. */
void pf_participant_session_training_failed(struct pf_participant_session *self, uint64_t job,
                                            const char *sentence, int64_t now_ms);
/* Ends as FAILED with the driver's sentence; a round at hand is declined first, so that the
 * coordinator need not wait for it. */
void pf_participant_session_stop(struct pf_participant_session *self, const char *sentence);

/* The oldest action; false when there is none.  What it points to stays the session's and is
 * valid until the next call with this session. */
bool pf_participant_session_next_action(struct pf_participant_session *self,
                                        struct pf_participant_action *action);

/* When tick is needed next; INT64_MAX when over. */
int64_t pf_participant_session_wake_ms(const struct pf_participant_session *self);

struct pf_participant_view {
    enum pf_participant_phase phase;
    struct pf_run_id run_id; /* zero when in none */
    uint32_t round;          /* at hand or last; 0 before the first */
    uint32_t n_rounds;
    struct pf_participation last;   /* round and outcome */
    uint32_t chunks_held, n_chunks; /* of what is being fetched */
    uint32_t delivered;             /* rounds */
    int64_t heard_ms;               /* last word from the coordinator */
    const char *sentence; /* DONE, FAILED: how it ended; otherwise the last refusal or "" */
};

/* Pointers are valid until the next call with this session. */
void pf_participant_session_view(const struct pf_participant_session *self,
                                 struct pf_participant_view *view);

const struct pf_participant_counters *pf_participant_session_counters(
    const struct pf_participant_session *self);

#endif
