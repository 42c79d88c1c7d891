/* The inside of the participant's session, for its own files and for tests that compare states.
 *
 * Handlers check everything first and change state last; false means nothing changed. */
#ifndef PF_PARTICIPANT_SESSION_PARTS_H
#define PF_PARTICIPANT_SESSION_PARTS_H

#include "participant/secagg_client.h"
#include "participant/session.h"

/* One event queues at most the window's requests and a handful of others. */
#define PF_PARTICIPANT_MAX_ACTIONS 64u
#define PF_PARTICIPANT_MAX_WINDOW 32u
#define PF_PARTICIPANT_MAX_SENTENCE 512u
#define PF_PARTICIPANT_MAX_RUNS 16u /* joined in one life; what was done in each is kept */

struct pf_participant_session {
    struct pf_participant_session_config config;
    enum pf_participant_phase phase;

    bool joined;               /* `welcome` is the run we are in */
    struct pf_welcome welcome; /* its network and aggregation never change */
    int64_t heard_ms;          /* last accepted message; the start before the first */
    bool greeting;             /* HELLO was sent, WELCOME is awaited */
    int64_t hello_ms;          /* next HELLO while greeting */
    int64_t hello_delay_ms;
    int64_t alive_ms; /* next ALIVE */

    struct pf_participation last; /* the newest round that was tied to a model */
    /* The same of each run that was joined, as it was left: coming back must not make a second
     * model for a round possible. */
    struct pf_participation runs[PF_PARTICIPANT_MAX_RUNS];
    size_t n_runs;
    enum pf_reason declined_because;
    char declined_text[PF_MAX_REASON_BYTES];
    uint32_t over_round; /* the newest round whose end was told */
    uint32_t delivered;

    struct pf_round_offer offer; /* of the round at hand; chunk_hashes NULL */
    int64_t deadline_ms;
    struct pf_fetch teacher_fetch, fetch; /* FETCHING, in this order; zero: nothing to fetch */
    struct pf_model *teacher;             /* of the run, once it was fetched */
    struct pf_hash teacher_hash;
    struct pf_model *model; /* the last one fetched, kept in case it is offered again */
    struct pf_hash model_hash;
    uint64_t job;

    size_t update_length[PF_CODEC_SEGMENTS]; /* of the model in training: trained, statistics */
    struct pf_secagg_client *secagg;         /* of the round at hand; NULL when plain */
    struct pf_update trained;                /* MASKING */
    /* Answers that own memory: what queued actions point to. */
    struct pf_message shares_answer, unmask_answer;

    struct pf_buffer update; /* UPLOADING */
    uint32_t n_update_chunks;
    uint32_t upload_limit; /* chunks that may be sent: one before the grant, then all */
    uint32_t upload_next;  /* chunks from here on are still to be handed out as actions */
    int64_t upload_ms;     /* the next whole upload */
    int64_t upload_delay_ms;

    struct pf_participant_counters counters;
    char sentence[PF_PARTICIPANT_MAX_SENTENCE];

    struct pf_participant_action actions[PF_PARTICIPANT_MAX_ACTIONS]; /* ring */
    size_t first_action, n_actions;
};

/* The one place where the phase changes; asserts that the table allows it, and logs. */
void pf_ps_set_phase(struct pf_participant_session *self, enum pf_participant_phase phase);
bool pf_ps_ended(const struct pf_participant_session *self);
static inline bool pf_ps_working(const struct pf_participant_session *self)
{
    return self->phase == PF_PARTICIPANT_FETCHING || self->phase == PF_PARTICIPANT_TRAINING ||
           self->phase == PF_PARTICIPANT_MASKING || self->phase == PF_PARTICIPANT_UPLOADING ||
           self->phase == PF_PARTICIPANT_UNMASKING;
}

/* A zeroed action at the end of the queue. */
struct pf_participant_action *pf_ps_push(struct pf_participant_session *self,
                                         enum pf_participant_action_kind kind);
/* A message to fill in, its run id set. */
struct pf_message *pf_ps_send(struct pf_participant_session *self, enum pf_message_kind kind);
struct pf_message *pf_ps_decline(struct pf_participant_session *self, uint32_t round,
                                 enum pf_reason reason, const char *text);
/* Counts, logs, and returns false. */
bool pf_ps_refuse(struct pf_participant_session *self, enum pf_reason reason, const char *text);

/* out ← text without control characters: the coordinator's words may go to a terminal. */
void pf_ps_plain_text(char *out, size_t size, const char *text);

/* Says HELLO at the next tick, and again with back-off until WELCOME. */
void pf_ps_greet(struct pf_participant_session *self, int64_t now_ms);

/* Lets go of the model once the trainer has had it, when so configured. */
void pf_ps_forget_model(struct pf_participant_session *self);

/* Ends in `phase` (DONE or FAILED) with the sentence; drops a round at hand. */
void pf_ps_end(struct pf_participant_session *self, enum pf_participant_phase phase,
               const char *format, ...) PF_PRINTF(3, 4);

typedef bool pf_ps_handler(struct pf_participant_session *self, const struct pf_message *message,
                           int64_t now_ms);

/* session_models.c */
pf_ps_handler pf_ps_model_chunk;
/* Downloads of what the offer names and is not at hand; zero where nothing is to be fetched. */
PF_NODISCARD enum pf_status pf_ps_plan_fetches(const struct pf_participant_session *self,
                                               const struct pf_round_offer *offer,
                                               struct pf_fetch *teacher, struct pf_fetch *model,
                                               struct pf_error *err);
/* The download at work, or NULL when all is at hand. */
const struct pf_fetch *pf_ps_fetching(const struct pf_participant_session *self);
/* The connection is new: what was asked for is not in flight any more. */
void pf_ps_restart_fetches(struct pf_participant_session *self);
/* FETCHING: asks for more chunks, as many as may be in flight. */
void pf_ps_request_chunks(struct pf_participant_session *self, int64_t now_ms);
void pf_ps_finish_fetches(struct pf_participant_session *self);

/* local_round.c */
pf_ps_handler pf_ps_offer, pf_ps_grant, pf_ps_receipt, pf_ps_result, pf_ps_round_refusal;
/* To TRAINING with the models at hand. */
void pf_ps_start_training(struct pf_participant_session *self);
/* Leaves the round at hand for IDLE with this outcome. */
void pf_ps_leave_round(struct pf_participant_session *self, enum pf_outcome outcome);
/* Declines the round at hand and leaves it. */
void pf_ps_give_round_up(struct pf_participant_session *self, enum pf_reason reason,
                         const char *text);
void pf_ps_round_tick(struct pf_participant_session *self, int64_t now_ms);
int64_t pf_ps_round_wake_ms(const struct pf_participant_session *self);
/* The connection is new: ask and upload again at once. */
void pf_ps_round_resume(struct pf_participant_session *self, int64_t now_ms);
/* From TRAINING or MASKING to UPLOADING with what is in `update`. */
void pf_ps_start_upload(struct pf_participant_session *self, int64_t now_ms);
/* Notes the outcome and has it recorded. */
void pf_ps_set_outcome(struct pf_participant_session *self, enum pf_outcome outcome);

/* secure_round.c */
static inline bool pf_ps_secure(const struct pf_participant_session *self)
{
    return self->welcome.aggregation == PF_AGGREGATION_SECURE;
}
pf_ps_handler pf_ps_committed, pf_ps_key_list, pf_ps_delivery, pf_ps_survivors,
    pf_ps_unmask_request;
/* Step 0: keys for the offer at hand.  False when there is no memory for them. */
bool pf_ps_join_secure_round(struct pf_participant_session *self, struct pf_error *err);
/* Says it again: the coordinator may not have heard. */
void pf_ps_advertise(struct pf_participant_session *self);
/* Step 2: masks self->trained and uploads it, or waits in MASKING for the share boxes. */
void pf_ps_mask_update(struct pf_participant_session *self, int64_t now_ms);

/* The next chunk of an upload under way. */
bool pf_ps_next_upload(struct pf_participant_session *self, struct pf_participant_action *action);

#endif
