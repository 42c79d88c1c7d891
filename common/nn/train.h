/* Training and evaluating a model, dense or packed, on a CPU.
 *
 * Same seed, same machine type → same bits, whatever the number of threads: a batch is cut into
 * a fixed number of shards, sums are taken in shard order, BLAS runs single-threaded in a shard. */
#ifndef PF_COMMON_NN_TRAIN_H
#define PF_COMMON_NN_TRAIN_H

#include "common/base/pool.h"
#include "common/base/progress.h"
#include "common/data/augment.h"
#include "common/data/dataset.h"
#include "common/model/model.h"
#include "common/nn/precision.h"

#define PF_MAX_BATCH 4096u
#define PF_MIN_DISTILL_TEMPERATURE 0.1
#define PF_MAX_DISTILL_TEMPERATURE 100.0
#define PF_DEFAULT_DISTILL_WEIGHT 0.9
#define PF_DEFAULT_DISTILL_TEMPERATURE 4.0

enum pf_schedule_kind {
    PF_SCHEDULE_CONSTANT,
    PF_SCHEDULE_COSINE, /* peak → 0 along half a cosine */
    PF_SCHEDULE_ONE_CYCLE, /* peak/25 → peak over the first 30 %, then → peak/10⁴; cosine pieces */
};

const char *pf_schedule_kind_name(
    enum pf_schedule_kind kind); /* "constant", "cosine", "one-cycle" */

/* Learning rate at `position` in [0, 1] of the schedule. */
double pf_schedule_rate(enum pf_schedule_kind kind, double peak, double position);

struct pf_train_options {
    uint32_t batch; /* images per step; the last, incomplete batch of an epoch is left out */
    double epochs;  /* passes over the data set; may be fractional */
    enum pf_schedule_kind schedule;
    double learning_rate; /* peak */
    /* The part of the schedule that this call covers: [0, 1] for a whole training; a federated
     * round covers its slice of the stage. */
    double schedule_begin, schedule_end;
    double momentum;
    bool nesterov;
    double weight_decay; /* on weights and the classifier's bias, not on batch norm */
    double l1;           /* on convolution weights */
    double label_smoothing;
    struct pf_augmentation augmentation;
    /* How the outputs of the convolutions are kept from the forward to the backward pass: they are
     * most of what training moves through memory.  Computed is in single precision. */
    enum pf_precision activations;
    uint64_t seed; /* shuffling and augmentation */
    /* FedProx: adds proximal · (w − anchor) to the gradient; 0 and NULL = off. */
    double proximal;
    const float *proximal_anchor; /* [n_trained] */
    /* Knowledge distillation (distill.h) from `teacher`, which takes the same images and knows the
     * same classes; NULL: off, and the other two say nothing. */
    const struct pf_model *teacher;
    double distill_weight;      /* λ in [0, 1]: of the teacher's word; 0 is as without */
    double distill_temperature; /* T */
};

/* Momentum .9 Nesterov, weight decay 5e-4, one-cycle to 0.2: as measured to be good on CIFAR-10.
 * Activations in half precision, which costs no accuracy (docs/performance.md).  λ 0.9 and T 4 for
 * who names a teacher. */
void pf_train_options_default(struct pf_train_options *options);

PF_NODISCARD enum pf_status pf_train_options_validate(const struct pf_train_options *self,
                                                      struct pf_error *err);

/* Trains `model` in place.  Images, and the teacher, must have the model's input shape and classes.
 * PF_CORRUPT when the loss or a parameter stops being finite, with the step and a way out;
 * PF_INTERRUPTED when progress->stop is set (the model is then a valid intermediate). */
PF_NODISCARD enum pf_status pf_train(struct pf_model *model, const struct pf_dataset *dataset,
                                     const struct pf_train_options *options, struct pf_pool *pool,
                                     const struct pf_progress *progress, struct pf_error *err);

struct pf_evaluation {
    size_t n_images;
    size_t n_correct;
    double loss;             /* mean cross-entropy, no smoothing */
    double accuracy_percent; /* 100 · n_correct / n_images */
};

/* Inference with running batch-norm statistics. */
PF_NODISCARD enum pf_status pf_evaluate(const struct pf_model *model,
                                        const struct pf_dataset *dataset, struct pf_pool *pool,
                                        const struct pf_progress *progress,
                                        struct pf_evaluation *evaluation, struct pf_error *err);

/* logits[n][n_classes] of images[n][channel][y][x]; inference with running statistics. */
PF_NODISCARD enum pf_status pf_infer(const struct pf_model *model, const uint8_t *images, size_t n,
                                     struct pf_pool *pool, float *logits, struct pf_error *err);

#endif
