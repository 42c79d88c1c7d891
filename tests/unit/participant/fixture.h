/* A coordinator played by hand: a model cut into chunks, messages, and a drained session. */
#ifndef PF_TESTS_UNIT_PARTICIPANT_FIXTURE_H
#define PF_TESTS_UNIT_PARTICIPANT_FIXTURE_H

#include "participant/session.h"
#include "participant/session_parts.h"
#include "proto/model_file.h"

#define FIXTURE_MAX_CHUNKS 16u
#define FIXTURE_MAX_SENT 256u

/* A model file, or any bytes, as an offer names them. */
struct served {
    struct pf_buffer bytes;
    size_t n_parameters;
    struct pf_hash hash;
    uint32_t n_chunks;
    struct pf_hash chunk_hashes[FIXTURE_MAX_CHUNKS];
};

struct fixture {
    struct pf_participant_session *session;
    int64_t now;
    struct pf_run_id run_id;
    struct pf_network network;
    struct served model;
    /* What the last event made the session do. */
    struct pf_message sent[FIXTURE_MAX_SENT]; /* chunk bytes are borrowed */
    size_t n_sent;
    size_t sent_at[FIXTURE_MAX_SENT]; /* which action of the event each was */
    struct pf_participation records[8];
    size_t records_at[8];
    size_t n_records;
    size_t n_trains, n_cancels, n_results, n_recalls;
    uint64_t job;
    struct pf_training_order order;
    const struct pf_model *teacher; /* of the last TRAIN; the session's */
    /* The inside, from fixture_keep. */
    struct pf_participant_session kept;
    struct pf_hash kept_bytes;
};

/* A network whose model has some chunks, and a session with the default configuration but for
 * what `change` does; not yet welcomed. */
void fixture_init(struct fixture *self, void (*change)(struct pf_participant_session_config *));
void fixture_finish(struct fixture *self);
void serve_bytes(struct served *self, const void *bytes, size_t length);
void serve_model(struct served *self, const struct pf_network *network, uint64_t seed);

/* Events; each drains the session into the fields above. */
bool give(struct fixture *self, const struct pf_message *message);
void tick(struct fixture *self, int64_t ms_later);
/* Ticks at every wake-up until the session sends a message of `kind`; false when it does not
 * within so many ms. */
bool tick_until_sent(struct fixture *self, enum pf_message_kind kind, int64_t within_ms);
void trained(struct fixture *self, uint64_t job, size_t n_parameters);
void trained_to(struct fixture *self, uint64_t job, struct pf_update *update); /* taken */
void training_failed(struct fixture *self, uint64_t job);

/* Messages of the coordinator. */
struct pf_message welcome(const struct fixture *self);
struct pf_message offer(struct fixture *self, uint32_t round, struct served *model);
/* … that asks to distil. */
struct pf_message teaching_offer(struct fixture *self, uint32_t round, struct served *model,
                                 struct served *teacher);
struct pf_message chunk(struct fixture *self, struct served *model, uint32_t index);
struct pf_message receipt(const struct fixture *self, uint32_t round);
struct pf_message grant(const struct fixture *self, uint32_t round);
struct pf_message result(const struct fixture *self, uint32_t round);
struct pf_message refusal(const struct fixture *self, enum pf_reason reason, uint32_t round);
struct pf_message finished(const struct fixture *self, bool success);
struct pf_message alive(const struct fixture *self);

/* Brings the session to a phase by proper means, in round `round`. */
void to_idle(struct fixture *self);
void to_fetching(struct fixture *self, uint32_t round);
void to_training(struct fixture *self, uint32_t round);
void to_uploading(struct fixture *self, uint32_t round);

enum pf_participant_phase phase(const struct fixture *self);
/* Messages of the kind among those of the last event. */
size_t n_sent(const struct fixture *self, enum pf_message_kind kind);
/* The last event's only DECLINE gave this reason for this round. */
bool declined(const struct fixture *self, enum pf_reason reason, uint32_t round);

/* Remembers the session's inside; unchanged says whether it is the same, byte for byte, but for
 * the counters and the queue. */
void keep(struct fixture *self);
bool unchanged(struct fixture *self);

#endif
