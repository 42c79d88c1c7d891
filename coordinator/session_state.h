/* The inside of the coordinator's session, for its own files and for tests that compare states.
 *
 * Functions here begin with pf_cs_.  Those that say so change the phase; handlers check everything
 * first and change state last. */
#ifndef PF_COORDINATOR_SESSION_STATE_H
#define PF_COORDINATOR_SESSION_STATE_H

#include "coordinator/deadlines.h"
#include "coordinator/secagg_server.h"
#include "coordinator/session.h"

/* A member's part in the current round. */
enum pf_part {
    PF_PART_NONE,    /* not in the cohort */
    PF_PART_ASKED,   /* offered; nothing heard about this round yet */
    PF_PART_ACTIVE,  /* took up the offer */
    PF_PART_COUNTED, /* its update is in the sum, for good */
    PF_PART_DROPPED,
};

/* What members are counted by; one can be of several. */
enum pf_class {
    PF_CLASS_LEFT,        /* declined the whole run */
    PF_CLASS_PRESENT,     /* heard of lately, and has not left */
    PF_CLASS_PENDING,     /* in the round, and its update is not counted yet */
    PF_CLASS_COUNTED,     /* its update is */
    PF_CLASS_DROPPED,     /* out of the round */
    PF_CLASS_UPLOADING,   /* holds a slot */
    PF_CLASS_DELIVERED,   /* what the current step of a secure round waits for */
    PF_CLASS_READY,       /* … and is pending */
    PF_CLASS_LOST_REVEAL, /* the graph needs its part, and it will not come */
    PF_CLASS_AWAITED,     /* the current step still waits for something of it */
    PF_CLASS_AWAITED_NOW, /* … and it was heard of lately */
    PF_CLASS_N,
};

struct pf_member {
    char name[PF_MAX_NAME_BYTES];
    bool welcomed; /* said HELLO to this process */
    bool present;  /* and was heard of within liveness_ms */
    int64_t heard_ms;
    enum pf_part part;
    const char *dropped_because; /* static text; PF_PART_DROPPED */
    uint32_t counted_round;      /* the last round its update was counted in; 0: none */
    bool left;                   /* declined the whole run: never asked again */
    bool gone;                   /* counted, and will not answer the steps after that */
    int64_t told_ms, tell_ms;    /* the step's message: last sent, to be sent again */
    int64_t tell_gap_ms;
    uint32_t chunks_sent; /* of model and teacher, in this round */
    int64_t hello_ms;     /* when the first of these came: */
    uint32_t n_hellos;    /* … within one ALIVE interval */
    uint64_t n_malformed; /* frames that could not be read */
    bool is[PF_CLASS_N];  /* as counted in n_of; see pf_cs_recount */
    /* Its update in reassembly: a slot; see session_upload.c. */
    int64_t chunk_ms;    /* when the last chunk came */
    uint32_t n_received; /* chunks */
    uint8_t *received;   /* [n_update_chunks], 1: held; NULL without a slot */
    uint8_t *update;     /* [update_bytes]; NULL without a slot */
};

struct pf_coordinator_session {
    struct pf_coordinator_session_config config; /* zeros are filled in */
    struct pf_member *members;                   /* [n_members] */
    enum pf_coordinator_phase phase;

    /* Follows from the rest; see pf_cs_recount. */
    uint32_t n_of[PF_CLASS_N];    /* members of each class */
    struct pf_deadlines silences; /* of those heard of: when they were not for too long */
    struct pf_deadlines stalls;   /* of those that upload: when that stood still for too long */
    struct pf_deadlines tellings; /* of those awaited now: when they are told again */

    size_t stage;           /* from 0; n_stages at the end */
    bool stage_combined;    /* the model of this stage is made */
    uint32_t stage_rounds;  /* completed in this stage */
    uint32_t completed;     /* rounds, over all stages */
    uint32_t abandoned;     /* rounds, over all stages */
    uint32_t failed_in_row; /* abandoned since the last completed one */
    struct pf_served_model model;
    double accuracy_percent;

    uint32_t round; /* the number in use; unique per attempt */
    struct pf_round_record record;
    struct pf_sum *sum;                    /* plain */
    struct pf_secagg_server *secagg;       /* secure: from the offer to APPLYING */
    double clip[PF_CODEC_SEGMENTS];        /* … of the current or next round */
    double widest_clip[PF_CODEC_SEGMENTS]; /* … of any round yet */
    size_t update_bytes;                   /* of one encoded update of this model */
    uint32_t n_update_chunks;

    int64_t join_deadline_ms; /* WAITING */
    bool gathered;            /* the wait before the first round is over */
    int64_t gather_until_ms;  /* 0: not begun */
    int64_t round_deadline_ms;
    int64_t step_deadline_ms; /* secure, in every step but COLLECTING */
    int64_t linger_ms;        /* CONSENTING, UNMASKING: there is enough, and no more waiting from
                                 then on; INT64_MAX before */

    struct pf_coordinator_counters counters;
    struct pf_coordinator_action *actions; /* [n_actions], the first `drained` moved out */
    size_t n_actions, drained, capacity;
};

/* The one place where the phase changes; asserts that the table allows it. */
void pf_cs_set_phase(struct pf_coordinator_session *self, enum pf_coordinator_phase phase);
bool pf_cs_ended(const struct pf_coordinator_session *self);

/* Room for one more action, zeroed, or NULL. */
struct pf_coordinator_action *pf_cs_push(struct pf_coordinator_session *self,
                                         enum pf_coordinator_action_kind kind);
/* Sends to one member; consumes *message, also on failure. */
PF_NODISCARD enum pf_status pf_cs_send(struct pf_coordinator_session *self, size_t member,
                                       struct pf_message *message, struct pf_error *err);
/* … to every member that `wanted` picks; nothing at all when it picks none. */
typedef bool pf_cs_pick(const struct pf_coordinator_session *self, size_t member);
PF_NODISCARD enum pf_status pf_cs_broadcast(struct pf_coordinator_session *self, pf_cs_pick *wanted,
                                            struct pf_message *message, struct pf_error *err);
PF_NODISCARD enum pf_status pf_cs_event(struct pf_coordinator_session *self,
                                        enum pf_log_level level, struct pf_error *err,
                                        const char *format, ...) PF_PRINTF(4, 5);

static inline bool pf_cs_secure(const struct pf_coordinator_session *self)
{
    return self->config.aggregation == PF_AGGREGATION_SECURE;
}
/* From the offer to the last message that a round needs of its members. */
static inline bool pf_cs_in_round(const struct pf_coordinator_session *self)
{
    return self->phase >= PF_COORDINATOR_ADVERTISING && self->phase <= PF_COORDINATOR_UNMASKING;
}
/* ALIVE is due so often, and so is the repeat of a step's message. */
uint32_t pf_cs_alive_interval_ms(const struct pf_coordinator_session *self);

/* Names that `wanted` picks, "alice, bob and 3 more", into out[size]; returns out. */
const char *pf_cs_names(const struct pf_coordinator_session *self, pf_cs_pick *wanted, char *out,
                        size_t size);

/* Takes off what is left of a UTF-8 character that was cut at the end of a message's text. */
void pf_cs_trim(char *text);

/* session_members.c */

/* Brings counts and deadlines up to date with a member; after whatever may have changed for it.
 * A change of phase recounts all, and a message its sender. */
void pf_cs_recount(struct pf_coordinator_session *self, size_t member);
void pf_cs_recount_all(struct pf_coordinator_session *self);
/* How many members are of the class. */
uint32_t pf_cs_count(const struct pf_coordinator_session *self, enum pf_class class);
/* The classes of that name. */
pf_cs_pick pf_cs_pending, pf_cs_dropped, pf_cs_lost_reveal, pf_cs_awaited, pf_cs_awaited_now;

/* session_check.c */

/* Zeros become what they stand for. */
void pf_cs_fill_config(struct pf_coordinator_session_config *config);
PF_NODISCARD enum pf_status pf_cs_check_config(const struct pf_coordinator_session_config *config,
                                               struct pf_error *err);
/* δ, lowered where complete graphs of the sizes possible here would not bear it. */
double pf_cs_dropouts(const struct pf_coordinator_session_config *config);
/* Consents that promise that the round can be ended: in a complete graph the threshold; in a
 * regular one all but the dropouts that it was drawn for. */
uint32_t pf_cs_enough_consents(const struct pf_coordinator_session_config *config,
                               const struct pf_secagg_parameters *parameters, uint32_t survivors);

/* session_run.c */

/* Moves on from WAITING when it can, and in a round when its step is decided. */
PF_NODISCARD enum pf_status pf_cs_proceed(struct pf_coordinator_session *self, int64_t now_ms,
                                          struct pf_error *err);
/* To WAITING, with a new join deadline. */
void pf_cs_wait_for_members(struct pf_coordinator_session *self, int64_t now_ms);
/* To DONE or FAILED: tells everybody. */
PF_NODISCARD enum pf_status pf_cs_finish(struct pf_coordinator_session *self, bool success,
                                         const char *sentence, struct pf_error *err);

/* session_round.c */

/* To COLLECTING or ADVERTISING, with the members heard of lately. */
PF_NODISCARD enum pf_status pf_cs_start_round(struct pf_coordinator_session *self, int64_t now_ms,
                                              struct pf_error *err);
/* In a round: on to the next step, to APPLYING or back to WAITING once all is in, the time is up,
 * or the quorum is out of reach. */
PF_NODISCARD enum pf_status pf_cs_decide_round(struct pf_coordinator_session *self, int64_t now_ms,
                                               struct pf_error *err);
/* To WAITING, or to FAILED when it was one too many. */
PF_NODISCARD enum pf_status pf_cs_abandon_round(struct pf_coordinator_session *self, int64_t now_ms,
                                                const char *why, struct pf_error *err);
/* Counts, stores and tells; the phase stays APPLYING. */
PF_NODISCARD enum pf_status pf_cs_complete_round(struct pf_coordinator_session *self,
                                                 int64_t now_ms, double accuracy_percent,
                                                 double loss, struct pf_error *err);
/* Takes a pending member out of the round; `because` is static text ("silent"). */
PF_NODISCARD enum pf_status pf_cs_drop(struct pf_coordinator_session *self, size_t member,
                                       const char *because, const char *detail,
                                       struct pf_error *err);
/* Takes all pending members out that `missing` picks, too. */
PF_NODISCARD enum pf_status pf_cs_drop_late(struct pf_coordinator_session *self,
                                            pf_cs_pick *missing, const char *because,
                                            struct pf_error *err);
/* The offer of the current round. */
PF_NODISCARD enum pf_status pf_cs_offer(const struct pf_coordinator_session *self, int64_t now_ms,
                                        struct pf_message *message, struct pf_error *err);

/* session_secure.c */

/* ADVERTISING: the machine behind the round that `offer` describes. */
PF_NODISCARD enum pf_status pf_cs_secure_begin(struct pf_coordinator_session *self,
                                               const struct pf_round_offer *offer, int64_t now_ms,
                                               struct pf_error *err);
/* As pf_cs_decide_round, in a secure round. */
PF_NODISCARD enum pf_status pf_cs_decide_step(struct pf_coordinator_session *self, int64_t now_ms,
                                              struct pf_error *err);
/* Sends the step's message again: now, to a member that asks for it … */
PF_NODISCARD enum pf_status pf_cs_tell(struct pf_coordinator_session *self, size_t member,
                                       int64_t now_ms, struct pf_error *err);
/* … unless it was sent a moment ago … */
PF_NODISCARD enum pf_status pf_cs_tell_again(struct pf_coordinator_session *self, size_t member,
                                             int64_t now_ms, struct pf_error *err);
/* … to those whose time has come. */
PF_NODISCARD enum pf_status pf_cs_tell_due(struct pf_coordinator_session *self, int64_t now_ms,
                                           struct pf_error *err);
/* A counted member that will not answer any more: it stays counted. */
PF_NODISCARD enum pf_status pf_cs_lose_survivor(struct pf_coordinator_session *self, size_t member,
                                                const char *because, const char *detail,
                                                struct pf_error *err);
int64_t pf_cs_secure_wake_ms(const struct pf_coordinator_session *self);
/* The clip norms of the next round, from the mean norms of this one. */
void pf_cs_adapt_clip(struct pf_coordinator_session *self);
/* … of a stage's first round: combining has cut the model, so its updates are the largest. */
void pf_cs_widen_clip(struct pf_coordinator_session *self);

/* session_update.c and the files of messages beside it */

/* A message with the circumstances it came in. */
struct pf_arrival {
    size_t member;
    const struct pf_message *message;
    int64_t now_ms;
};

typedef enum pf_status pf_cs_handler(struct pf_coordinator_session *self,
                                     const struct pf_arrival *arrival, struct pf_error *err);

PF_NODISCARD enum pf_status pf_cs_refuse(struct pf_coordinator_session *self,
                                         const struct pf_arrival *arrival, enum pf_reason reason,
                                         uint32_t round, struct pf_error *err, const char *format,
                                         ...) PF_PRINTF(6, 7);
/* The message is about a round, or a part in it, that its sender has not. */
PF_NODISCARD enum pf_status pf_cs_refuse_late(struct pf_coordinator_session *self,
                                              const struct pf_arrival *arrival, uint32_t round,
                                              struct pf_error *err);
/* An accepted message shows that its sender lives. */
PF_NODISCARD enum pf_status pf_cs_heard(struct pf_coordinator_session *self,
                                        const struct pf_arrival *arrival, struct pf_error *err);

/* session_upload.c */
pf_cs_handler pf_cs_on_update_chunk;
/* Forgets a member's partial update; its slot is free once it is recounted. */
void pf_cs_forget_update(struct pf_member *member);
/* Takes back the slots of uploads that stand still. */
void pf_cs_reclaim_slots(struct pf_coordinator_session *self, int64_t now_ms);
void pf_cs_set_update_bytes(struct pf_coordinator_session *self, size_t bytes);

/* session_step.c: ADVERTISE, REVEAL, SHARES, CONSENT, UNMASK. */
pf_cs_handler pf_cs_on_step;

#endif
