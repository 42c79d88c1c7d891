/* A session driven by hand: four members, two stages of two rounds, updates of three chunks. */
#ifndef PF_TESTS_SESSION_FIXTURE_H
#define PF_TESTS_SESSION_FIXTURE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "coordinator/session_state.h"

enum { ALICE, BOB, CAROL, DAVE, N_MEMBERS };

#define N_PARAMETERS ((size_t)150000)
#define N_MODEL_CHUNKS 2u
#define N_UPDATE_CHUNKS 3u
#define JOIN_MS 10000
#define GATHER_MS 500
#define ROUND_MS 5000
#define LIVENESS_MS 2000
#define UPLOAD_IDLE_MS 3000

/* What the session asked for, added up as it is drained. */
struct asked {
    size_t n_combine, n_apply, n_rounds, n_events, n_chunks, n_teacher_chunks, n_finish;
    uint32_t combine_stage, apply_round;
    struct pf_sum *sum;             /* of the last APPLY */
    struct pf_unmasking *unmasking; /* … secure */
    struct pf_codec_config codec;   /* … */
    struct pf_round_record record;
    bool success;
    char sentence[PF_MAX_EVENT_BYTES];
    char events[16384];                         /* one per line */
    size_t sent[N_MEMBERS][PF_MESSAGE_N_KINDS]; /* counts */
    struct pf_refusal refusal[N_MEMBERS];       /* the last */
    struct pf_round_result result[N_MEMBERS];   /* the last */
    struct pf_round_offer offer[N_MEMBERS];     /* the last; both chunk_hashes are NULL */
    struct pf_welcome welcome[N_MEMBERS];       /* the last */
};

struct fixture {
    struct pf_coordinator_session_config config;
    struct pf_public_identity members[N_MEMBERS];
    struct pf_coordinator_session *session;
    struct asked asked;
    int64_t now;
    size_t n_parameters; /* N_PARAMETERS unless set */
    size_t n_statistics; /* of them; 0 unless set */
    /* Told of every message to a member; NULL unless set. */
    void (*deliver)(void *context, size_t member, const struct pf_message *message);
    void *deliver_context;
    struct pf_hash model_hash; /* of the model now served */
};

struct pf_coordinator_session_config fx_config(void);
/* Of config->members the names are replaced; NULL: all zero but for them. */
struct fixture *fx_create(const struct pf_coordinator_session_config *config);
void fx_destroy(struct fixture *self);

/* Events; each drains the actions. */
void fx_receive(struct fixture *self, size_t member, const struct pf_message *message);
void fx_tick(struct fixture *self, int64_t ms_later);
void fx_hello(struct fixture *self, size_t member);
void fx_hello_again(struct fixture *self, size_t member, bool returning);
void fx_alive(struct fixture *self, size_t member, uint32_t round);
void fx_request(struct fixture *self, size_t member, uint32_t chunk);
void fx_decline(struct fixture *self, size_t member, uint32_t round, const char *text);
/* One chunk of the update whose coordinates are all `value`, of weight 1. */
void fx_chunk(struct fixture *self, size_t member, uint32_t round, uint32_t chunk, float value);
/* All chunks, in order. */
void fx_update(struct fixture *self, size_t member, uint32_t round, float value);
void fx_job_done(struct fixture *self, double accuracy_percent);
void fx_job_failed(struct fixture *self, enum pf_status status, const char *sentence);

/* An UPDATE_CHUNK to tamper with; release with pf_message_finish. */
struct pf_message fx_chunk_message(const struct fixture *self, uint32_t round, uint32_t chunk,
                                   float value);

/* All members in, the first stage combined, round 1 offered. */
void fx_start(struct fixture *self);
/* Advances the clock as a driver would, waking at each deadline, until the run ends or `limit_ms`
 * has passed; finishes jobs at once.  Returns the time it took. */
int64_t fx_run_silent(struct fixture *self, int64_t limit_ms);

/* How many messages were refused under this name. */
uint64_t fx_refused(const struct fixture *self, enum pf_reason reason);
/* The message is answered by a refusal of that name, counted, and changes nothing. */
void fx_assert_refused(struct fixture *self, size_t member, const struct pf_message *message,
                       enum pf_reason reason);

/* Digest of everything a message can change, but for counters and actions. */
struct pf_hash fx_digest(const struct fixture *self);

#endif
