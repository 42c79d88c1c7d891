/* The coordinator's heavy work, on one worker thread so that the network thread stays responsive.
 *
 * The worker owns the current model, the server optimiser and a pool.  Jobs run one after the
 * other, in the order they were asked for; `ready` is called from the worker when a result waits,
 * and any thread may then take it.  Results own what they hold.
 *
 *   BASELINE  accuracy of the model as given; and of that model combined at once with the options
 *             of the last stage, the figure that retraining in stages has to beat
 *   COMBINE   current model → combined model, evaluated, encoded; a fresh optimiser
 *   APPLY     mean of a sum → one optimiser step on the current model, evaluated, encoded; the sum
 *             of a secure round has its masks taken off and is decoded first */
#ifndef PF_COORDINATOR_JOBS_H
#define PF_COORDINATOR_JOBS_H

#include "common/base/buffer.h"
#include "common/combine/schedule.h"
#include "common/data/dataset.h"
#include "common/nn/train.h"
#include "common/secagg/aggregate.h"
#include "common/secagg/codec.h"
#include "common/secagg/unmask.h"
#include "coordinator/server_optimiser.h"
#include "coordinator/session.h"

enum pf_job_kind { PF_JOB_BASELINE = 1, PF_JOB_COMBINE, PF_JOB_APPLY };

struct pf_job_result {
    enum pf_job_kind kind;
    uint32_t number;       /* stage from 0 (COMBINE), round (APPLY) */
    enum pf_status status; /* what follows is set when PF_OK */
    struct pf_error error;
    double seconds;
    double accuracy_percent, loss; /* NaN without a test set */
    double accuracy_one_shot;      /* BASELINE; NaN without a test set */
    struct pf_served_model served; /* COMBINE, APPLY */
    struct pf_buffer bytes;        /* … the model file's bytes */
    struct pf_buffer optimiser;    /* … state, for a checkpoint */
    size_t nonzeros;
    struct pf_combine_report report; /* COMBINE */
    bool figures_known;              /* APPLY of a secure round */
    uint64_t figures[PF_FIGURE_N];   /* … sums over n_included participants */
    uint32_t n_included;             /* APPLY */
};

void pf_job_result_destroy(struct pf_job_result *self);
PF_DEFINE_CLEANUP(struct pf_job_result, pf_job_result_destroy)

struct pf_jobs_config {
    const struct pf_model *model;       /* cloned */
    const struct pf_dataset *test_set;  /* NULL: no evaluation; borrowed until destroy */
    const struct pf_schedule *schedule; /* borrowed until destroy */
    struct pf_server_optimiser_options optimiser;
    size_t n_threads; /* of the pool; 0: one per core */
    void (*ready)(void *context);
    void *context;
};

struct pf_jobs;

PF_NODISCARD enum pf_status pf_jobs_create(const struct pf_jobs_config *config,
                                           struct pf_jobs **jobs, struct pf_error *err);
/* Asks a running job to stop and waits for it; results not taken are lost. */
void pf_jobs_destroy(struct pf_jobs *self);
PF_DEFINE_CLEANUP(struct pf_jobs, pf_jobs_destroy)

/* At most one BASELINE and one other job may wait or run at a time. */
PF_NODISCARD enum pf_status pf_jobs_baseline(struct pf_jobs *self, struct pf_error *err);
PF_NODISCARD enum pf_status pf_jobs_combine(struct pf_jobs *self, uint32_t stage,
                                            struct pf_error *err);
/* Takes *sum and nulls it. */
PF_NODISCARD enum pf_status pf_jobs_apply(struct pf_jobs *self, uint32_t round, struct pf_sum **sum,
                                          struct pf_error *err);

/* Takes *unmasking and nulls it.  The result is PF_REFUSED when the masks do not come off: the
 * model is then as it was. */
PF_NODISCARD enum pf_status pf_jobs_apply_secure(struct pf_jobs *self, uint32_t round,
                                                 struct pf_unmasking **unmasking,
                                                 const struct pf_codec_config *codec,
                                                 struct pf_error *err);

/* The oldest result, now the caller's, or NULL. */
struct pf_job_result *pf_jobs_take(struct pf_jobs *self);

/* A model file's bytes cut into chunks: hash, size, count, and chunk hashes, which the caller owns.
 */
PF_NODISCARD enum pf_status pf_chunked_model_describe(const struct pf_buffer *bytes,
                                                      struct pf_chunked_model *model,
                                                      struct pf_error *err);
/* The same of a round's model. */
PF_NODISCARD enum pf_status pf_served_model_describe(const struct pf_buffer *bytes,
                                                     size_t n_trained, size_t n_parameters,
                                                     struct pf_served_model *model,
                                                     struct pf_error *err);

#endif
