/* The inside of the network shell: what one running coordinator holds, and its loop. */
#ifndef PF_COORDINATOR_SERVE_H
#define PF_COORDINATOR_SERVE_H

#include "common/wire/wire.h"
#include "coordinator/coordinator.h"
#include "coordinator/jobs.h"
#include "coordinator/session.h"
#include "coordinator/store.h"

struct pf_coordinator_traffic {
    bool joined;
    uint64_t upload_bytes, download_bytes;
};

/* A model file that members fetch: its bytes, and the frames of the chunks sent so far. */
struct pf_served_file {
    struct pf_buffer bytes;
    struct pf_hash hash;
    uint32_t n_chunks;
    struct pf_buffer *frames; /* [n_chunks], empty until first asked for */
};

struct pf_coordinator_shell {
    const struct pf_coordinator_config *config;
    const struct pf_progress *progress;
    struct pf_coordinator_result *result;
    struct pf_run_id run_id;
    struct pf_wire_server *server;
    struct pf_store *store;
    struct pf_coordinator_session *session;
    struct pf_jobs *jobs;

    struct pf_served_file model;             /* the current one */
    struct pf_served_file teacher;           /* empty without distillation */
    struct pf_chunked_model offered_teacher; /* as offers name it; its chunk_hashes are owned */

    struct pf_coordinator_traffic *traffic; /* [n_members] */
    struct pf_coordinator_traffic total,
        total_last_round;            /* of all members; as of the last stored round */
    struct pf_buffer received, sent; /* frames, reused */
    int64_t progress_ms;
    bool finished;
    enum pf_status outcome;
};

/* Until the session says that the run is over, or something fails that it cannot mend. */
PF_NODISCARD enum pf_status pf_coordinator_serve(struct pf_coordinator_shell *self,
                                                 struct pf_error *err);

/* After a failure: tells the members, stores nothing. */
void pf_coordinator_say_goodbye(struct pf_coordinator_shell *self, const char *sentence);

/* Serves a copy of these bytes in the place of what was there. */
PF_NODISCARD enum pf_status pf_served_file_set(struct pf_served_file *self,
                                               const struct pf_buffer *bytes, struct pf_hash hash,
                                               uint32_t n_chunks, struct pf_error *err);
void pf_served_file_finish(struct pf_served_file *self); /* an all-zero struct is fine */

#endif
