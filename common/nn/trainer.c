#include "common/nn/trainer.h"

#include <string.h>

#include "common/base/memory.h"
#include "common/nn/arena.h"

#define MAX_SHARDS 16u
#define CACHED_BYTES ((size_t)24 << 20) /* about what a core finds in the last-level cache */
#define GUARD_BYTES (PF_PLANE_GUARD * sizeof(float)) /* as much for halves: whole lines */
#define MAX_GRADIENT_BYTES ((size_t)1 << 30)         /* of all shards together */

/* Shards are whole images; very large models get fewer, for each has a gradient of its own. */
static size_t count_shards(const struct pf_model *model, size_t batch)
{
    size_t n = MAX_GRADIENT_BYTES / (model->n_trained * sizeof(float));
    n = PF_MIN(n, MAX_SHARDS);
    n = PF_MIN(n, batch);
    return PF_MAX(n, 1);
}

void pf_input_norm(const struct pf_model *model, struct pf_affine *norm)
{
    for (size_t c = 0; c < model->network.in_channels; c++) {
        norm[c].scale = 1.0f / (255.0f * model->input_std[c]);
        norm[c].bias = -model->input_mean[c] / model->input_std[c];
    }
}

static enum pf_status make_plans(struct pf_trainer *self, struct pf_error *err)
{
    for (; self->n_plans + 1 < self->model->n_layers; self->n_plans++) {
        const struct pf_layer *layer = &self->model->layers[self->n_plans];
        PF_TRY(pf_layer_plan_create(layer, &self->plans[self->n_plans], err));
        self->max_channels =
            PF_MAX(self->max_channels, PF_MAX(layer->in_channels, layer->out_channels));
    }
    return PF_OK;
}

static enum pf_status make_norms(struct pf_trainer *self, struct pf_error *err)
{
    for (size_t l = 0; l < self->n_plans; l++) {
        struct pf_norm_state *norm = &self->norms[l];
        size_t n = self->plans[l]->n_rows;
        norm->forward = PF_ALLOC(n, struct pf_affine);
        norm->back = PF_ALLOC(n, struct pf_affine_back);
        norm->mean = PF_ALLOC(n, float);
        norm->inverse = PF_ALLOC(n, float);
        if (norm->forward == NULL || norm->back == NULL || norm->mean == NULL ||
            norm->inverse == NULL)
            return pf_no_memory(err, "batch norm");
    }
    return PF_OK;
}

/* Numbers of layer l's output for the whole batch. */
static size_t y_numbers(const struct pf_trainer *self, size_t l)
{
    const struct pf_layer_plan *plan = self->plans[l];
    return self->batch * plan->n_rows * plan->out_padded;
}

/* Their bytes, in whole cache lines. */
static size_t y_bytes(const struct pf_trainer *self, size_t l)
{
    return pf_round_up(y_numbers(self, l) * pf_number_bytes(self->options->activations), PF_LINE);
}

/* A layer's gradient becomes that of the layer before in place, image by image, while lines are in
 * cache; only where an image changes its size it moves to the other of two buffers.  Which of them
 * a layer has, and how many floats each needs. */
static void share_gradients(const struct pf_trainer *self, size_t *buffer, size_t floats[2])
{
    size_t current = 0;
    floats[0] = floats[1] = 0;
    for (size_t l = self->n_plans; l-- > 0;) {
        buffer[l] = current;
        floats[current] = PF_MAX(floats[current], y_numbers(self, l));
        if (l > 0 && y_numbers(self, l) != y_numbers(self, l - 1)) current = 1 - current;
    }
}

/* Nothing here need be zero: whatever is read outside of what was written is masked. */
static enum pf_status make_arena(struct pf_trainer *self, struct pf_error *err)
{
    size_t bytes = 0, buffer[PF_MAX_LAYERS], floats[2];
    /* ≤ 4,096 images · 4,096 channels · 65,536 pixels · 516 planes < 2^50 floats: no overflow. */
    for (size_t l = 0; l < self->n_plans; l++) bytes += y_bytes(self, l) + 2 * GUARD_BYTES;
    share_gradients(self, buffer, floats);
    bytes += (floats[0] + floats[1]) * sizeof(float);
    self->arena = pf_arena_take(bytes);
    self->streams = bytes > CACHED_BYTES;
    if (self->arena == NULL)
        return pf_fail(err, PF_NO_MEMORY,
                       "no memory for the %zu MiB of activations of a batch of %zu: train with "
                       "smaller batches (--batch)",
                       bytes >> 20, self->batch);
    char *place = self->arena;
    for (size_t l = 0; l < self->n_plans; l++) {
        self->y[l] = place + GUARD_BYTES;
        place += y_bytes(self, l) + 2 * GUARD_BYTES;
    }
    float *next = (float *)place;
    for (size_t l = 0; l < self->n_plans; l++)
        self->g[l] = buffer[l] == 0 ? next : next + floats[0];
    return PF_OK;
}

static enum pf_status make_buffers(struct pf_trainer *self, struct pf_error *err)
{
    const struct pf_layer *linear = &self->model->layers[self->n_plans];
    size_t image_bytes = pf_dataset_image_bytes(self->dataset);
    self->pooled = PF_ALLOC(self->batch * linear->n_columns, float);
    self->dpooled = PF_ALLOC(self->batch * linear->n_columns, float);
    self->logits = PF_ALLOC(self->batch * linear->out_channels, float);
    self->gradients = PF_ALLOC(self->n_shards * self->model->n_trained, float);
    self->totals = PF_ALLOC(self->n_shards * self->max_channels, struct pf_channel_sums);
    self->losses = PF_ALLOC(self->n_shards, double);
    self->order = PF_ALLOC(self->dataset->n_images, uint32_t);
    bool complete = self->pooled != NULL && self->dpooled != NULL && self->logits != NULL &&
                    self->gradients != NULL && self->totals != NULL && self->losses != NULL &&
                    self->order != NULL;
    for (size_t i = 0; i < 2; i++) {
        self->batches[i].images = PF_ALLOC(self->batch * image_bytes, uint8_t);
        self->batches[i].labels = PF_ALLOC(self->batch, uint8_t);
        complete &= self->batches[i].images != NULL && self->batches[i].labels != NULL;
    }
    return complete ? PF_OK : pf_no_memory(err, "a batch");
}

/* A teacher that has no say is not asked. */
static enum pf_status make_teacher(struct pf_trainer *self, struct pf_error *err)
{
    const struct pf_model *teacher = self->options->teacher;
    if (teacher == NULL || self->options->distill_weight <= 0.0) return PF_OK;
    self->teacher_logits = PF_ALLOC(self->batch * teacher->network.n_classes, float);
    if (self->teacher_logits == NULL) return pf_no_memory(err, "the teacher's logits");
    return pf_inference_create(teacher, pf_pool_n_threads(self->pool), &self->teacher, err);
}

enum pf_status pf_trainer_create(struct pf_model *model, const struct pf_dataset *dataset,
                                 const struct pf_train_options *options, struct pf_pool *pool,
                                 struct pf_trainer **trainer, struct pf_error *err)
{
    PF_CLEANUP(pf_trainer_destroyp) struct pf_trainer *self = PF_ALLOC(1, struct pf_trainer);
    if (self == NULL) return pf_no_memory(err, "a training run");
    self->model = model;
    self->dataset = dataset;
    self->options = options;
    self->pool = pool;
    self->kernels = pf_kernels_best();
    self->batch = PF_MIN(options->batch, dataset->n_images);
    self->n_shards = count_shards(model, self->batch);
    self->steps_per_epoch = dataset->n_images / self->batch;
    pf_input_norm(model, self->input_norm);
    PF_TRY(make_plans(self, err));
    PF_TRY(make_norms(self, err));
    PF_TRY(pf_scratch_slots_create((const struct pf_layer_plan *const *)self->plans, self->n_plans,
                                   true, pf_pool_n_threads(pool), &self->slots, err));
    PF_TRY(make_arena(self, err));
    PF_TRY(make_buffers(self, err));
    PF_TRY(make_teacher(self, err));
    PF_TRY(pf_sgd_init(&self->sgd, model, options, err));
    *trainer = self;
    self = NULL;
    return PF_OK;
}

void pf_trainer_destroy(struct pf_trainer *self)
{
    if (self == NULL) return;
    for (size_t l = 0; l < PF_MAX_LAYERS; l++) {
        pf_layer_plan_destroy(self->plans[l]);
        pf_free(self->norms[l].forward);
        pf_free(self->norms[l].back);
        pf_free(self->norms[l].mean);
        pf_free(self->norms[l].inverse);
    }
    for (size_t i = 0; i < 2; i++) {
        pf_free(self->batches[i].images);
        pf_free(self->batches[i].labels);
    }
    pf_scratch_slots_destroy(self->slots);
    pf_arena_give(self->arena);
    pf_free(self->pooled);
    pf_free(self->dpooled);
    pf_free(self->logits);
    pf_inference_destroy(self->teacher);
    pf_free(self->teacher_logits);
    pf_free(self->gradients);
    pf_free(self->totals);
    pf_free(self->losses);
    pf_free(self->order);
    pf_sgd_finish(&self->sgd);
    pf_free(self);
}

void pf_trainer_gather(struct pf_trainer *self, size_t step)
{
    uint64_t seed = self->options->seed;
    size_t epoch = step / self->steps_per_epoch, within = step % self->steps_per_epoch;
    struct pf_random random;
    if (within == 0) {
        for (uint32_t i = 0; i < self->dataset->n_images; i++) self->order[i] = i;
        pf_random_init(&random, seed, "shuffle", epoch);
        pf_random_shuffle(&random, self->order, self->dataset->n_images);
    }
    struct pf_batch *batch = &self->batches[step % 2];
    pf_random_init(&random, seed, "augmentation", step);
    pf_batch_gather(batch->images, batch->labels, self->dataset, self->order + within * self->batch,
                    self->batch, &self->options->augmentation, &random);
}
