/* Inference: a few images at a time through all layers, in workspaces that do not grow with the
 * data set.  Batch norm is folded into one multiply-add that the next layer applies as it reads. */
#include <math.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/nn/blas.h"
#include "common/nn/classifier.h"
#include "common/nn/dataset_check.h"
#include "common/nn/scratch_slots.h"
#include "common/nn/train.h"
#include "common/nn/trainer.h"

#define IMAGES_PER_SHARD 32u
#define SHARDS_PER_RUN 32u /* between two looks at the stop flag */
#define PASS_PIXELS 4096u  /* of the input: images that go through the layers together */

struct inference {
    const struct pf_model *model;
    const struct pf_kernels *kernels;
    struct pf_pool *pool;
    size_t n_plans;
    struct pf_layer_plan *plans[PF_MAX_LAYERS];
    struct pf_affine *norms[PF_MAX_LAYERS];
    struct pf_affine input_norm[PF_MAX_INPUT_CHANNELS];
    struct pf_scratch_slots *slots;
    size_t images_per_pass;
    size_t plane_floats; /* of one of a slot's two buffers, guards included */
    size_t slot_floats;
    float *buffers; /* [n_threads][slot_floats]: two of planes, pooled, logits */

    /* The current run. */
    const uint8_t *images;
    size_t n_images;
    float *logits;         /* [n_images][M], or NULL: … */
    const uint8_t *labels; /* … count against these */
    struct {
        size_t n_correct;
        double loss;
    } tallies[SHARDS_PER_RUN];
};

static void inference_destroy(struct inference *self)
{
    if (self == NULL) return;
    for (size_t l = 0; l < PF_MAX_LAYERS; l++) {
        pf_layer_plan_destroy(self->plans[l]);
        pf_free(self->norms[l]);
    }
    pf_scratch_slots_destroy(self->slots);
    pf_free(self->buffers);
    pf_free(self);
}
PF_DEFINE_CLEANUP(struct inference, inference_destroy)

static enum pf_status fold(struct inference *self, size_t l, struct pf_error *err)
{
    const struct pf_layer *layer = &self->model->layers[l];
    PF_TRY(pf_layer_plan_create(layer, &self->plans[l], err));
    pf_layer_plan_refresh(self->plans[l], false);
    self->norms[l] = PF_ALLOC(layer->out_channels, struct pf_affine);
    if (self->norms[l] == NULL) return pf_no_memory(err, "batch norm");
    for (size_t r = 0; r < layer->out_channels; r++) {
        double scale = (double)layer->gamma[r] /
                       sqrt((double)layer->variance[r] + (double)PF_BATCH_NORM_EPSILON);
        self->norms[l][r].scale = (float)scale;
        self->norms[l][r].bias = (float)((double)layer->beta[r] - (double)layer->mean[r] * scale);
    }
    return PF_OK;
}

static enum pf_status make_buffers(struct inference *self, struct pf_error *err)
{
    const struct pf_layer *linear = &self->model->layers[self->n_plans];
    size_t input = self->plans[0]->in_padded, largest = 0;
    self->images_per_pass = PF_MAX(PASS_PIXELS / input, 1);
    self->images_per_pass = PF_MIN(self->images_per_pass, IMAGES_PER_SHARD);
    for (size_t l = 0; l < self->n_plans; l++)
        largest = PF_MAX(largest, self->plans[l]->n_rows * self->plans[l]->out_padded);
    self->plane_floats =
        pf_round_up(self->images_per_pass * largest + 2 * PF_PLANE_GUARD, PF_GROUP);
    self->slot_floats = pf_round_up(
        2 * self->plane_floats + self->images_per_pass * (linear->n_columns + linear->out_channels),
        PF_GROUP);
    self->buffers = PF_ALLOC(pf_pool_n_threads(self->pool) * self->slot_floats, float);
    return self->buffers != NULL ? PF_OK : pf_no_memory(err, "inference");
}

static enum pf_status inference_create(const struct pf_model *model, struct pf_pool *pool,
                                       struct inference **inference, struct pf_error *err)
{
    PF_CLEANUP(inference_destroyp) struct inference *self = PF_ALLOC(1, struct inference);
    if (self == NULL) return pf_no_memory(err, "inference");
    pf_blas_single_threaded();
    self->model = model;
    self->kernels = pf_kernels_best();
    self->pool = pool;
    pf_input_norm(model, self->input_norm);
    for (; self->n_plans + 1 < model->n_layers; self->n_plans++)
        PF_TRY(fold(self, self->n_plans, err));
    PF_TRY(pf_scratch_slots_create((const struct pf_layer_plan *const *)self->plans, self->n_plans,
                                   false, pf_pool_n_threads(pool), &self->slots, err));
    PF_TRY(make_buffers(self, err));
    *inference = self;
    self = NULL;
    return PF_OK;
}

/* logits[n][M] of images[n]; buffer: a slot's. */
static void infer_pass(const struct inference *self, struct pf_scratch *scratch, float *buffer,
                       const uint8_t *images, size_t n, float *logits)
{
    float *planes[2] = {buffer + PF_PLANE_GUARD, buffer + self->plane_floats + PF_PLANE_GUARD};
    struct pf_layer_input in = {.bytes = images, .norm = self->input_norm};
    for (size_t l = 0; l < self->n_plans; l++) {
        pf_layer_forward(self->plans[l], self->kernels, scratch, in, n,
                         (struct pf_layer_output){.y = planes[l % 2]});
        in = (struct pf_layer_input){.planes = planes[l % 2], .norm = self->norms[l]};
    }
    float *pooled = buffer + 2 * self->plane_floats;
    pf_pool_forward(self->plans[self->n_plans - 1], self->kernels, in.planes, PF_SINGLE, in.norm, n,
                    pooled);
    pf_linear_forward(&self->model->layers[self->n_plans], pooled, n, logits);
}

static void tally(struct inference *self, size_t shard, const float *logits, size_t first, size_t n)
{
    size_t n_classes = self->model->network.n_classes;
    for (size_t i = 0; i < n; i++) {
        const float *row = logits + i * n_classes;
        size_t best = 0;
        for (size_t m = 1; m < n_classes; m++)
            if (row[m] > row[best]) best = m;
        self->tallies[shard].n_correct += best == self->labels[first + i];
        self->tallies[shard].loss +=
            pf_cross_entropy(row, n_classes, self->labels[first + i], 0.0, NULL);
    }
}

static void infer_shard(void *context, size_t shard)
{
    struct inference *self = context;
    const struct pf_layer *linear = &self->model->layers[self->n_plans];
    size_t image_bytes = (size_t)self->plans[0]->in_pixels * self->model->network.in_channels;
    size_t begin = shard * IMAGES_PER_SHARD;
    size_t end = PF_MIN(begin + IMAGES_PER_SHARD, self->n_images), slot;
    struct pf_scratch *scratch = pf_scratch_slots_take(self->slots, &slot);
    float *buffer = self->buffers + slot * self->slot_floats;
    float *own = buffer + 2 * self->plane_floats + self->images_per_pass * linear->n_columns;
    for (size_t i = begin; i < end; i += self->images_per_pass) {
        size_t n = PF_MIN(self->images_per_pass, end - i);
        float *logits = self->logits != NULL ? self->logits + i * linear->out_channels : own;
        infer_pass(self, scratch, buffer, self->images + i * image_bytes, n, logits);
        if (self->labels != NULL) tally(self, shard, logits, i, n);
    }
    pf_scratch_slots_give(self->slots, slot);
}

static size_t count_shards(size_t n_images)
{
    return (n_images + IMAGES_PER_SHARD - 1) / IMAGES_PER_SHARD;
}

enum pf_status pf_infer(const struct pf_model *model, const uint8_t *images, size_t n,
                        struct pf_pool *pool, float *logits, struct pf_error *err)
{
    PF_CLEANUP(inference_destroyp) struct inference *self = NULL;
    PF_TRY(inference_create(model, pool, &self, err));
    self->images = images;
    self->n_images = n;
    self->logits = logits;
    pf_pool_run(pool, count_shards(n), infer_shard, self);
    return PF_OK;
}

/* A run of images from `first` on; returns how many. */
static size_t evaluate_run(struct inference *self, const struct pf_dataset *dataset, size_t first,
                           struct pf_evaluation *sum)
{
    size_t n = PF_MIN((size_t)IMAGES_PER_SHARD * SHARDS_PER_RUN, dataset->n_images - first);
    memset(self->tallies, 0, sizeof self->tallies);
    self->images = dataset->pixels + first * pf_dataset_image_bytes(dataset);
    self->labels = dataset->labels + first;
    self->n_images = n;
    pf_pool_run(self->pool, count_shards(n), infer_shard, self);
    for (size_t s = 0; s < count_shards(n); s++) {
        sum->n_correct += self->tallies[s].n_correct;
        sum->loss += self->tallies[s].loss;
    }
    return n;
}

enum pf_status pf_evaluate(const struct pf_model *model, const struct pf_dataset *dataset,
                           struct pf_pool *pool, const struct pf_progress *progress,
                           struct pf_evaluation *evaluation, struct pf_error *err)
{
    PF_TRY(pf_dataset_check(model, dataset, err));
    PF_CLEANUP(inference_destroyp) struct inference *self = NULL;
    PF_TRY(inference_create(model, pool, &self, err));
    struct pf_evaluation sum = {.n_images = dataset->n_images};
    for (size_t i = 0; i < dataset->n_images;) {
        if (pf_progress_stopped(progress))
            return pf_fail(err, PF_INTERRUPTED, "evaluation stopped after %zu of %zu images", i,
                           dataset->n_images);
        i += evaluate_run(self, dataset, i, &sum);
        pf_progress_update(progress, "evaluating", i, dataset->n_images, "");
    }
    sum.loss /= (double)sum.n_images;
    sum.accuracy_percent = 100.0 * (double)sum.n_correct / (double)sum.n_images;
    *evaluation = sum;
    return PF_OK;
}
