/* A participant on the network: drives the session with ZeroMQ, a trainer and a ledger.
 *
 * pf_participant_run blocks until the run is over; set progress->stop to end it within a second.
 * Nothing but the messages of proto/message.h leaves the process. */
#ifndef PF_PARTICIPANT_PARTICIPANT_H
#define PF_PARTICIPANT_PARTICIPANT_H

#include "common/base/progress.h"
#include "common/data/augment.h"
#include "common/nn/precision.h"
#include "common/wire/identity.h"
#include "common/wire/roster.h"
#include "participant/session.h"

struct pf_participant_config {
    const char *endpoint; /* tcp://HOST:PORT */
    const struct pf_identity *identity;
    const struct pf_roster *roster; /* verified */
    const struct pf_dataset *dataset;
    struct pf_augmentation augmentation;
    enum pf_precision activations; /* as in struct pf_train_options */
    uint64_t seed;
    size_t n_threads; /* 0: one per core */
    struct pf_participant_session_config session;
    const char *state_dir; /* of the ledger; NULL: none is kept */
    const struct pf_progress *progress;
};

struct pf_participant_summary {
    struct pf_run_id run_id;
    uint32_t n_rounds;  /* planned */
    uint32_t delivered; /* rounds whose update the coordinator has acknowledged */
    struct pf_participant_counters counters;
    uint64_t bytes_sent, bytes_received; /* of frames, before encryption */
    char sentence[512];                  /* how it ended */
};

/* PF_REFUSED, with the fingerprint and the way out, when the identity is not a member. */
PF_NODISCARD enum pf_status pf_participant_check_roster(const struct pf_roster *roster,
                                                        const struct pf_identity *identity,
                                                        struct pf_error *err);

/* PF_OK when the coordinator finished the run; PF_INTERRUPTED when asked to stop; PF_REFUSED,
 * PF_TIMEOUT or what else went wrong.  *summary is filled in any case. */
PF_NODISCARD enum pf_status pf_participant_run(const struct pf_participant_config *config,
                                               struct pf_participant_summary *summary,
                                               struct pf_error *err);

#endif
