/* The inside of the coordinator's session, for its own files and for tests that compare states.
 *
 * Functions here begin with pf_cs_.  Those that say so change the phase; handlers check everything
 * first and change state last. */
#ifndef PF_COORDINATOR_SESSION_STATE_H
#define PF_COORDINATOR_SESSION_STATE_H

#include "coordinator/session.h"

/* A member's part in the current round. */
enum pf_part {
    PF_PART_NONE,    /* not in the cohort */
    PF_PART_ASKED,   /* offered; nothing heard about this round yet */
    PF_PART_ACTIVE,  /* took up the offer */
    PF_PART_COUNTED, /* its update is in the sum */
    PF_PART_DROPPED,
};

struct pf_member {
    char name[PF_MAX_NAME_BYTES];
    bool welcomed; /* said HELLO to this process */
    bool present;  /* and was heard of within liveness_ms */
    int64_t heard_ms;
    enum pf_part part;
    const char *dropped_because; /* static text; PF_PART_DROPPED */
    uint32_t counted_round;      /* the last round its update was counted in; 0: none */
    uint32_t chunks_sent;        /* of the model, in this round */
    uint64_t n_malformed;        /* frames that could not be read */
    uint32_t n_received;         /* chunks of its update */
    uint8_t *received;           /* [n_update_chunks], 1: held; NULL before the first */
    uint8_t *update;             /* [update_bytes]; NULL before the first and once counted */
};

struct pf_coordinator_session {
    struct pf_coordinator_session_config config; /* .members is NULL */
    struct pf_member *members;                   /* [n_members] */
    enum pf_coordinator_phase phase;

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
    struct pf_sum *sum;
    size_t update_bytes; /* of one encoded update of this model */
    uint32_t n_update_chunks;

    int64_t join_deadline_ms; /* WAITING */
    bool gathered;            /* the wait before the first round is over */
    int64_t gather_until_ms;  /* 0: not begun */
    int64_t round_deadline_ms;

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
typedef bool pf_cs_pick(const struct pf_member *member);
PF_NODISCARD enum pf_status pf_cs_broadcast(struct pf_coordinator_session *self, pf_cs_pick *wanted,
                                            struct pf_message *message, struct pf_error *err);
PF_NODISCARD enum pf_status pf_cs_event(struct pf_coordinator_session *self,
                                        enum pf_log_level level, struct pf_error *err,
                                        const char *format, ...) PF_PRINTF(4, 5);

uint32_t pf_cs_count_present(const struct pf_coordinator_session *self);
uint32_t pf_cs_count_part(const struct pf_coordinator_session *self, enum pf_part part);
static inline bool pf_cs_pending(const struct pf_member *member)
{
    return member->part == PF_PART_ASKED || member->part == PF_PART_ACTIVE;
}

/* Names that `wanted` picks, "alice, bob and 3 more", into out[size]; returns out. */
const char *pf_cs_names(const struct pf_coordinator_session *self, pf_cs_pick *wanted, char *out,
                        size_t size);

/* Takes off what is left of a UTF-8 character that was cut at the end of a message's text. */
void pf_cs_trim(char *text);

/* session_run.c */

/* Moves on from WAITING when it can, and out of COLLECTING when the round is decided. */
PF_NODISCARD enum pf_status pf_cs_proceed(struct pf_coordinator_session *self, int64_t now_ms,
                                          struct pf_error *err);
/* To WAITING, with a new join deadline. */
void pf_cs_wait_for_members(struct pf_coordinator_session *self, int64_t now_ms);
/* To DONE or FAILED: tells everybody. */
PF_NODISCARD enum pf_status pf_cs_finish(struct pf_coordinator_session *self, bool success,
                                         const char *sentence, struct pf_error *err);

/* session_round.c */

/* To COLLECTING, with the members heard of lately. */
PF_NODISCARD enum pf_status pf_cs_start_round(struct pf_coordinator_session *self, int64_t now_ms,
                                              struct pf_error *err);
/* COLLECTING: on to APPLYING or back to WAITING once all is in, the time is up, or the quorum is
 * out of reach. */
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
/* The offer of the current round. */
PF_NODISCARD enum pf_status pf_cs_offer(const struct pf_coordinator_session *self, int64_t now_ms,
                                        struct pf_message *message, struct pf_error *err);
/* Forgets a member's partial update. */
void pf_cs_forget_update(struct pf_member *member);

#endif
