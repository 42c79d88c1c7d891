/* One training run's workspace, and the steps through it.
 *
 * A step is a row of phases with a barrier after each: the teacher where there is one, forward per
 * layer, the classifier, backward per layer, the update.  In a phase, shards (whole images of the
 * batch) run on the pool's threads and write only their own results; between phases the caller's
 * thread sums those in shard order. The number of shards depends on the batch and the model alone,
 * so results do not depend on the number of threads. */
#ifndef PF_COMMON_NN_TRAINER_H
#define PF_COMMON_NN_TRAINER_H

#include "common/nn/inference.h"
#include "common/nn/layer_pass.h"
#include "common/nn/scratch_slots.h"
#include "common/nn/sgd.h"
#include "common/nn/train.h"

/* Batch norm of one layer in the current step; all [N]. */
struct pf_norm_state {
    struct pf_affine *forward;
    struct pf_affine_back *back;
    float *mean;    /* of the layer's output in the batch, which is less the running mean */
    float *inverse; /* 1 / √(variance + ε) */
};

struct pf_batch {
    uint8_t *images; /* [batch][channel][pixel] */
    uint8_t *labels; /* [batch] */
};

struct pf_trainer {
    struct pf_model *model;
    const struct pf_dataset *dataset;
    const struct pf_train_options *options;
    struct pf_pool *pool;
    const struct pf_kernels *kernels;
    size_t batch, n_shards;
    size_t steps_per_epoch;

    size_t n_plans; /* the convolutions: layers[0 … n_plans) */
    struct pf_layer_plan *plans[PF_MAX_LAYERS];
    struct pf_norm_state norms[PF_MAX_LAYERS];
    struct pf_affine input_norm[PF_MAX_INPUT_CHANNELS];
    struct pf_scratch_slots *slots;

    bool streams;            /* the activations are more than caches hold */
    void *arena;             /* the activations and their gradients */
    void *y[PF_MAX_LAYERS];  /* [batch][N][out_padded] in options->activations, guards around */
    float *g[PF_MAX_LAYERS]; /* [batch][N][out_padded] gradient of layer l; two buffers in turn */
    float *pooled, *dpooled; /* [batch][C] */
    float *logits;           /* [batch][M], then their gradient */
    struct pf_inference *teacher;   /* NULL: no distillation */
    float *teacher_logits;          /* [batch][M] */
    float *gradients;               /* [n_shards][n_trained] */
    struct pf_channel_sums *totals; /* [n_shards][max_channels] */
    size_t max_channels;
    double *losses; /* [n_shards], sums over images */
    struct pf_sgd sgd;

    struct pf_batch batches[2]; /* the current one is batches[step % 2] */
    uint32_t *order;            /* [n_images] of the epoch being gathered */
};

/* dataset: at least one image of the model's shape. */
PF_NODISCARD enum pf_status pf_trainer_create(struct pf_model *model,
                                              const struct pf_dataset *dataset,
                                              const struct pf_train_options *options,
                                              struct pf_pool *pool, struct pf_trainer **trainer,
                                              struct pf_error *err);
void pf_trainer_destroy(struct pf_trainer *self);
PF_DEFINE_CLEANUP(struct pf_trainer, pf_trainer_destroy)

/* Gathers the batch of `step`; steps in ascending order, each once. */
void pf_trainer_gather(struct pf_trainer *self, size_t step);

/* Trains on the gathered batch of `step` while gathering that of `step` + 1.  *loss: mean over the
 * batch.  False when a parameter is no longer finite. */
bool pf_trainer_step(struct pf_trainer *self, size_t step, double rate, double *loss);

/* The input channels' p ↦ (p / 255 − mean) / std. */
void pf_input_norm(const struct pf_model *model, struct pf_affine *norm);

#endif
