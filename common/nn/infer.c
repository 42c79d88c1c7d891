/* Logits and accuracy of many images, in shards of a fixed number of them. */
#include <string.h>

#include "common/base/memory.h"
#include "common/nn/classifier.h"
#include "common/nn/dataset_check.h"
#include "common/nn/inference.h"
#include "common/nn/train.h"

#define IMAGES_PER_SHARD 32u
#define SHARDS_PER_RUN 32u /* between two looks at the stop flag */

/* One run of images over the pool. */
struct run {
    const struct pf_inference *inference;
    size_t image_bytes, n_classes;
    const uint8_t *images;
    size_t n_images;
    float *logits;         /* [n_images][M] */
    const uint8_t *labels; /* NULL, or count against these: */
    struct {
        size_t n_correct;
        double loss;
    } tallies[SHARDS_PER_RUN];
};

static void tally(struct run *self, size_t shard, size_t first, size_t end)
{
    for (size_t i = first; i < end; i++) {
        const float *row = self->logits + i * self->n_classes;
        size_t best = 0;
        for (size_t m = 1; m < self->n_classes; m++)
            if (row[m] > row[best]) best = m;
        self->tallies[shard].n_correct += best == self->labels[i];
        self->tallies[shard].loss +=
            pf_cross_entropy(row, self->n_classes, self->labels[i], 0.0, NULL);
    }
}

static void infer_shard(void *context, size_t shard)
{
    struct run *self = context;
    size_t first = shard * IMAGES_PER_SHARD;
    size_t end = PF_MIN(first + IMAGES_PER_SHARD, self->n_images);
    pf_inference_logits(self->inference, self->images + first * self->image_bytes, end - first,
                        self->logits + first * self->n_classes);
    if (self->labels != NULL) tally(self, shard, first, end);
}

static size_t count_shards(size_t n_images)
{
    return (n_images + IMAGES_PER_SHARD - 1) / IMAGES_PER_SHARD;
}

static size_t image_bytes(const struct pf_network *network)
{
    return (size_t)network->in_channels * network->in_height * network->in_width;
}

enum pf_status pf_infer(const struct pf_model *model, const uint8_t *images, size_t n,
                        struct pf_pool *pool, float *logits, struct pf_error *err)
{
    PF_CLEANUP(pf_inference_destroyp) struct pf_inference *inference = NULL;
    PF_TRY(pf_inference_create(model, pf_pool_n_threads(pool), &inference, err));
    struct run run = {.inference = inference,
                      .image_bytes = image_bytes(&model->network),
                      .n_classes = model->network.n_classes,
                      .images = images,
                      .n_images = n,
                      .logits = logits};
    pf_pool_run(pool, count_shards(n), infer_shard, &run);
    return PF_OK;
}

/* A run of images from `first` on; returns how many. */
static size_t evaluate_run(struct run *self, const struct pf_dataset *dataset, size_t first,
                           struct pf_pool *pool, struct pf_evaluation *sum)
{
    size_t n = PF_MIN((size_t)IMAGES_PER_SHARD * SHARDS_PER_RUN, dataset->n_images - first);
    memset(self->tallies, 0, sizeof self->tallies);
    self->images = dataset->pixels + first * self->image_bytes;
    self->labels = dataset->labels + first;
    self->n_images = n;
    pf_pool_run(pool, count_shards(n), infer_shard, self);
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
    PF_CLEANUP(pf_inference_destroyp) struct pf_inference *inference = NULL;
    PF_TRY(pf_inference_create(model, pf_pool_n_threads(pool), &inference, err));
    struct run run = {.inference = inference,
                      .image_bytes = image_bytes(&model->network),
                      .n_classes = model->network.n_classes};
    size_t logits = (size_t)IMAGES_PER_SHARD * SHARDS_PER_RUN * run.n_classes;
    PF_CLEANUP(pf_freep) float *buffer = run.logits = PF_ALLOC(logits, float);
    if (buffer == NULL) return pf_no_memory(err, "an evaluation");
    struct pf_evaluation sum = {.n_images = dataset->n_images};
    for (size_t i = 0; i < dataset->n_images;) {
        if (pf_progress_stopped(progress))
            return pf_fail(err, PF_INTERRUPTED, "evaluation stopped after %zu of %zu images", i,
                           dataset->n_images);
        i += evaluate_run(&run, dataset, i, pool, &sum);
        pf_progress_update(progress, "evaluating", i, dataset->n_images, "");
    }
    sum.loss /= (double)sum.n_images;
    sum.accuracy_percent = 100.0 * (double)sum.n_correct / (double)sum.n_images;
    *evaluation = sum;
    return PF_OK;
}
