/* The coordinator of one federated run: the network shell around session, jobs and store.
 *
 * pf_coordinator_run blocks until the run is over.  It holds no global state: several may run in
 * one process, each in its own thread.  It prints nothing; progress and log lines go to the
 * caller's sinks.
 *
 * Run folder (made when absent; refused when it holds anything):
 *   endpoint       the address in fact bound, one line; appears once members can connect
 *   run.db         see store.h
 *   dense.pfm      the model as given
 *   combined.pfm   right after the last combining, before its retraining
 *   retrained.pfm  the final model; only of a run that succeeded */
#ifndef PF_COORDINATOR_COORDINATOR_H
#define PF_COORDINATOR_COORDINATOR_H

#include "common/base/progress.h"
#include "common/combine/schedule.h"
#include "common/data/dataset.h"
#include "common/secagg/parameters.h"
#include "common/wire/identity.h"
#include "common/wire/roster.h"
#include "coordinator/server_optimiser.h"
#include "proto/message.h"

/* Everything is borrowed for the duration of the run. */
struct pf_coordinator_config {
    const struct pf_identity *identity; /* must be the coordinator that the roster names */
    const struct pf_roster *roster;
    const char *listen;     /* "tcp://0.0.0.0:7700"; port 0: any free one */
    const char *run_folder; /* absent or empty */
    const struct pf_model *model;
    const struct pf_dataset *test_set; /* NULL: no evaluation */
    struct pf_schedule schedule;
    /* schedule_begin and _end are filled in per round; distill_weight > 0: from `model`, which must
     * be dense then. */
    struct pf_training_order order;
    struct pf_server_optimiser_options optimiser;
    enum pf_aggregation aggregation;
    uint32_t min_cohort;        /* 0: two thirds of the roster; at least 3 when secure */
    uint32_t quorum;            /* 0: two thirds of min_cohort; at least 3 when secure */
    uint32_t max_failed_rounds; /* in a row */
    uint32_t join_timeout_ms, gather_ms, round_timeout_ms, liveness_ms;
    size_t upload_budget_bytes; /* of updates in reassembly */
    uint32_t upload_idle_ms;    /* an upload that stands still for so long makes room */
    /* Secure aggregation; see pf_coordinator_session_config. */
    struct pf_masking_order masking;
    bool fixed_clip;
    double corrupt, dropouts; /* γ, below 0: by the cohort's size; δ */
    enum pf_adversary adversary;
    enum pf_graph_kind graph; /* 0: by the cohort's size */
    uint32_t key_timeout_ms, unmask_timeout_ms;
    size_t n_threads; /* of the worker; 0: one per core */
    uint64_t seed;    /* for the record: nothing here is random */
    /* Called once members can connect; may be NULL. */
    void (*listening)(void *context, const char *endpoint);
    void *listening_context;
};

/* FedAvg, secure aggregation of 16-bit values against a semi-malicious coordinator, one local epoch
 * a round, a cosine from 0.08 over each stage, no distillation (at T = 4 for who gives it weight),
 * three failed rounds, five minutes to join, ten minutes a round, thirty seconds of silence, for
 * keys and for unmasking. */
void pf_coordinator_config_default(struct pf_coordinator_config *config);

struct pf_coordinator_stage {
    uint32_t rounds;         /* planned */
    double accuracy_percent; /* right after combining, before retraining; NaN: not evaluated */
    size_t nonzeros;
    struct pf_combine_report report;
};

struct pf_coordinator_result {
    struct pf_run_id run_id;
    bool success;
    char sentence[512]; /* how it ended */
    uint32_t rounds_completed, rounds_abandoned;
    enum pf_aggregation aggregation;
    size_t n_participants; /* members that joined */
    struct {
        double dense;    /* the model as given */
        double one_shot; /* … combined at once with the last stage's options, never retrained */
        double combined; /* right after the last combining that was done */
        double retrained;
    } accuracy; /* percent of the test set; NaN: unknown */
    double loss_retrained;
    struct {
        size_t dense, packed;
    } nonzeros;
    /* Bytes of frames, mean over the members that joined; NaN when none did. */
    double upload_per_participant, download_per_participant;
    uint64_t dense_update_bytes; /* one 32-bit float per parameter of the model as given */
    double seconds;
    size_t n_stages;                     /* that were combined */
    struct pf_coordinator_stage *stages; /* [n_stages]; owned */
};

void pf_coordinator_result_finish(struct pf_coordinator_result *self);

/* Whether the roster names this identity as its coordinator. */
bool pf_coordinator_is_named(const struct pf_identity *identity, const struct pf_roster *roster);

/* PF_OK when all rounds were done.  One that lost too many members is PF_TIMEOUT, one that
 * was asked to stop PF_INTERRUPTED; anything else failed before or beside the protocol: bad
 * configuration, folder, port, disk, memory.  *result is filled as far as the run came; finish it
 * in every case. */
PF_NODISCARD enum pf_status pf_coordinator_run(const struct pf_coordinator_config *config,
                                               const struct pf_progress *progress,
                                               struct pf_coordinator_result *result,
                                               struct pf_error *err);

#endif
