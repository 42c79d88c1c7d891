/* Local training: from the global model to an update.
 *
 * pf_local_update is the computation; struct pf_local_trainer runs it on a thread of its own, with
 * its own pool, so that the network thread keeps answering.  What the training sees of the private
 * images (loss, accuracy) never leaves this module; the update is all that does. */
#ifndef PF_PARTICIPANT_LOCAL_TRAINER_H
#define PF_PARTICIPANT_LOCAL_TRAINER_H

#include "common/base/buffer.h"
#include "common/nn/train.h"
#include "common/secagg/aggregate.h"
#include "proto/message.h"

struct pf_local_training {
    const struct pf_dataset *dataset; /* borrowed; the participant's own part */
    struct pf_augmentation augmentation;
    enum pf_precision activations;
    uint64_t seed; /* a round's shuffling and augmentation follow from (seed, round) alone */
};

/* Images of the own part on which the model of a secure round is evaluated before the training; the
 * count of those classified rightly leaves only within the masked sum. */
#define PF_EVALUATED_IMAGES 512u

/* Trains a copy of `global` as ordered; `teacher`: to distil from, where that is ordered.  *update:
 * local − global over all n_parameters, and as figures the number of images and, with `evaluate`,
 * how `global` does on some of them.  PF_CORRUPT when it diverges, PF_INTERRUPTED on
 * progress->stop. */
PF_NODISCARD enum pf_status pf_local_update(const struct pf_local_training *self,
                                            const struct pf_model *global,
                                            const struct pf_model *teacher, uint32_t round,
                                            const struct pf_training_order *order, bool evaluate,
                                            struct pf_pool *pool,
                                            const struct pf_progress *progress,
                                            struct pf_update *update, struct pf_error *err);

struct pf_local_trainer;

/* Called on the training thread when a result waits. */
typedef void pf_local_trainer_wake(void *context);

/* n_threads as for pf_pool_create. */
PF_NODISCARD enum pf_status pf_local_trainer_create(const struct pf_local_training *training,
                                                    size_t n_threads, pf_local_trainer_wake *wake,
                                                    void *context,
                                                    struct pf_local_trainer **trainer,
                                                    struct pf_error *err);
/* Cancels and waits for the step at hand. */
void pf_local_trainer_destroy(struct pf_local_trainer *self);
PF_DEFINE_CLEANUP(struct pf_local_trainer, pf_local_trainer_destroy)

/* Starts a job in the place of any other; the models are copied.  Does not wait. */
PF_NODISCARD enum pf_status pf_local_trainer_start(struct pf_local_trainer *self, uint64_t job,
                                                   uint32_t round, const struct pf_model *global,
                                                   const struct pf_model *teacher,
                                                   const struct pf_training_order *order,
                                                   bool evaluate, struct pf_error *err);

/* No result of the current job will come any more.  Does not wait. */
void pf_local_trainer_cancel(struct pf_local_trainer *self);

struct pf_local_trainer_result {
    uint64_t job;
    enum pf_status status;
    struct pf_update update; /* owned by the receiver; empty unless PF_OK */
    struct pf_error err;     /* for this participant's own log */
};

/* True when a job has ended; the result is then moved out. */
bool pf_local_trainer_poll(struct pf_local_trainer *self, struct pf_local_trainer_result *result);

/* Steps of the running job; false when none is running or it has not begun. */
bool pf_local_trainer_steps(struct pf_local_trainer *self, size_t *done, size_t *total);

/* What the coordinator may be told of a failed training: no figures. */
const char *pf_local_trainer_public_sentence(enum pf_status status);

#endif
