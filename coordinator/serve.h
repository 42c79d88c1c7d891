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

struct pf_coordinator_shell {
    const struct pf_coordinator_config *config;
    const struct pf_progress *progress;
    struct pf_coordinator_result *result;
    struct pf_run_id run_id;
    struct pf_wire_server *server;
    struct pf_store *store;
    struct pf_coordinator_session *session;
    struct pf_jobs *jobs;

    /* The current model: its file's bytes, and the frames of the chunks sent so far. */
    struct pf_buffer model;
    struct pf_hash model_hash;
    uint32_t n_chunks;
    struct pf_buffer *chunk_frames; /* [n_chunks], empty until first asked for */

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

/* Releases the frames of the model's chunks. */
void pf_coordinator_forget_frames(struct pf_coordinator_shell *self);

#endif
