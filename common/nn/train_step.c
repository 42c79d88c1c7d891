#include <math.h>
#include <string.h>

#include "common/nn/classifier.h"
#include "common/nn/distill.h"
#include "common/nn/trainer.h"

#define STATISTICS_MOMENTUM 0.1

/* What the shards of one phase share. */
struct phase {
    struct pf_trainer *trainer;
    size_t step;
    size_t layer;
    double rate;
};

/* Images [first, first + n) of the batch. */
struct share {
    size_t first, n;
};

/* Every phase goes through the batch in the direction opposite to the one before: what that left
 * in cache last is used first.  `turn` counts phases. */
static struct share share_of(const struct pf_trainer *t, size_t shard, size_t turn)
{
    if (turn % 2 != 0) shard = t->n_shards - 1 - shard;
    size_t begin = shard * t->batch / t->n_shards, end = (shard + 1) * t->batch / t->n_shards;
    return (struct share){begin, end - begin};
}

/* The output of layer l from image `first` on. */
static void *output_of(const struct pf_trainer *t, size_t l, size_t first)
{
    const struct pf_layer_plan *plan = t->plans[l];
    size_t numbers = first * plan->n_rows * plan->out_padded;
    return (char *)t->y[l] + numbers * pf_number_bytes(t->options->activations);
}

/* The input of layer l from image `first` on. */
static struct pf_layer_input input_of(const struct pf_trainer *t, size_t step, size_t l,
                                      size_t first)
{
    if (l == 0) {
        const uint8_t *images = t->batches[step % 2].images;
        return (struct pf_layer_input){.bytes = images + first * pf_dataset_image_bytes(t->dataset),
                                       .precision = t->options->activations,
                                       .norm = t->input_norm};
    }
    return (struct pf_layer_input){.planes = output_of(t, l - 1, first),
                                   .precision = t->options->activations,
                                   .norm = t->norms[l - 1].forward};
}

static struct pf_channel_sums *clear_totals(const struct pf_trainer *t, size_t shard)
{
    struct pf_channel_sums *totals = t->totals + shard * t->max_channels;
    memset(totals, 0, t->max_channels * sizeof *totals);
    return totals;
}

static struct pf_channel_sums sum_totals(const struct pf_trainer *t, size_t channel)
{
    struct pf_channel_sums sum = {0.0, 0.0};
    for (size_t s = 0; s < t->n_shards; s++) {
        sum.first += t->totals[s * t->max_channels + channel].first;
        sum.second += t->totals[s * t->max_channels + channel].second;
    }
    return sum;
}

static void refresh_layer(void *context, size_t layer)
{
    const struct phase *phase = context;
    pf_layer_plan_refresh(phase->trainer->plans[layer], true);
}

static void forward_shard(void *context, size_t shard)
{
    const struct phase *phase = context;
    struct pf_trainer *t = phase->trainer;
    if (shard == t->n_shards) { /* beside the first layer: the next batch */
        pf_trainer_gather(t, phase->step + 1);
        return;
    }
    const struct pf_layer_plan *plan = t->plans[phase->layer];
    struct share share = share_of(t, shard, phase->layer);
    size_t slot;
    struct pf_scratch *scratch = pf_scratch_slots_take(t->slots, &slot);
    struct pf_layer_output out = {
        .y = output_of(t, phase->layer, share.first),
        .precision = t->options->activations,
        .stream = t->streams,
        .pivot = plan->layer->mean,
        .totals = clear_totals(t, shard),
    };
    pf_layer_forward(plan, t->kernels, scratch, input_of(t, phase->step, phase->layer, share.first),
                     share.n, out);
    pf_scratch_slots_give(t->slots, slot);
}

/* Batch statistics from the shards' sums.  The layer's output is less its running mean, which
 * follows only now: numbers around 0 are those that halves hold best. */
static void finish_forward(struct pf_trainer *t, size_t l)
{
    const struct pf_layer *layer = t->plans[l]->layer;
    struct pf_norm_state *norm = &t->norms[l];
    double n = (double)(t->batch * t->plans[l]->out_pixels);
    for (size_t r = 0; r < layer->out_channels; r++) {
        struct pf_channel_sums sum = sum_totals(t, r);
        double shifted = sum.first / n;
        double variance = fmax(sum.second / n - shifted * shifted, 0.0);
        double inverse = 1.0 / sqrt(variance + (double)PF_BATCH_NORM_EPSILON);
        double scale = (double)layer->gamma[r] * inverse;
        norm->mean[r] = (float)shifted;
        norm->inverse[r] = (float)inverse;
        norm->forward[r].scale = (float)scale;
        norm->forward[r].bias = (float)((double)layer->beta[r] - shifted * scale);
        layer->mean[r] += (float)(STATISTICS_MOMENTUM * shifted);
        layer->variance[r] +=
            (float)(STATISTICS_MOMENTUM * (variance - (double)layer->variance[r]));
    }
}

/* A shard's gradient of a layer's weights. */
static float *gradient_of(const struct pf_trainer *t, size_t shard, const float *parameters)
{
    return t->gradients + shard * t->model->n_trained + (parameters - t->model->parameters);
}

/* The teacher looks at the images that the student is about to see, augmented as they are. */
static void teacher_shard(void *context, size_t shard)
{
    const struct phase *phase = context;
    struct pf_trainer *t = phase->trainer;
    struct share share = share_of(t, shard, 0);
    const uint8_t *images = t->batches[phase->step % 2].images;
    pf_inference_logits(t->teacher, images + share.first * pf_dataset_image_bytes(t->dataset),
                        share.n,
                        t->teacher_logits + share.first * t->options->teacher->network.n_classes);
}

/* Σ loss over the images of a share; logits ← the gradient of the batch's mean loss. */
static double share_loss(const struct pf_trainer *t, size_t step, struct share share, float *logits)
{
    size_t n_classes = t->model->network.n_classes;
    const uint8_t *labels = t->batches[step % 2].labels + share.first;
    double sum = 0.0;
    for (size_t i = 0; i < share.n; i++) {
        float *row = logits + i * n_classes;
        if (t->teacher == NULL)
            sum += pf_cross_entropy(row, n_classes, labels[i], t->options->label_smoothing, row);
        else
            sum += pf_distilled_loss(row, t->teacher_logits + (share.first + i) * n_classes,
                                     n_classes, labels[i], t->options);
        for (size_t m = 0; m < n_classes; m++) row[m] /= (float)t->batch;
    }
    return sum;
}

static void classifier_shard(void *context, size_t shard)
{
    const struct phase *phase = context;
    struct pf_trainer *t = phase->trainer;
    size_t last = t->n_plans - 1;
    const struct pf_layer_plan *plan = t->plans[last];
    const struct pf_layer *linear = &t->model->layers[t->n_plans];
    struct share share = share_of(t, shard, t->n_plans);
    size_t planes = share.first * plan->n_rows;
    float *pooled = t->pooled + planes, *logits = t->logits + share.first * linear->out_channels;
    const void *y = output_of(t, last, share.first);
    enum pf_precision precision = t->options->activations;
    pf_pool_forward(plan, t->kernels, y, precision, t->norms[last].forward, share.n, pooled);
    pf_linear_forward(linear, pooled, share.n, logits);
    t->losses[shard] = share_loss(t, phase->step, share, logits);
    pf_linear_backward(linear, pooled, logits, share.n, gradient_of(t, shard, linear->weight),
                       gradient_of(t, shard, linear->bias), t->dpooled + planes);
    size_t slot;
    struct pf_scratch *scratch = pf_scratch_slots_take(t->slots, &slot);
    pf_pool_backward(plan, t->kernels, scratch, y, precision, t->norms[last].forward,
                     t->norms[last].mean, share.n, t->dpooled + planes,
                     t->g[last] + planes * plan->out_padded, clear_totals(t, shard));
    pf_scratch_slots_give(t->slots, slot);
}

/* Gradients of batch norm's parameters, and its input gradient as a · g + b · y + c. */
static void finish_backward(struct pf_trainer *t, size_t l)
{
    const struct pf_layer *layer = t->plans[l]->layer;
    const struct pf_norm_state *norm = &t->norms[l];
    double n = (double)(t->batch * t->plans[l]->out_pixels);
    float *dgamma = gradient_of(t, 0, layer->gamma), *dbeta = gradient_of(t, 0, layer->beta);
    for (size_t r = 0; r < layer->out_channels; r++) {
        struct pf_channel_sums sum = sum_totals(t, r);
        double inverse = (double)norm->inverse[r], a = (double)layer->gamma[r] * inverse;
        double b = -a * inverse * inverse * sum.second / n;
        dgamma[r] = (float)(inverse * sum.second);
        dbeta[r] = (float)sum.first;
        norm->back[r].a = (float)a;
        norm->back[r].b = (float)b;
        norm->back[r].c = (float)(-a * sum.first / n - b * (double)norm->mean[r]);
    }
}

static void backward_shard(void *context, size_t shard)
{
    const struct phase *phase = context;
    struct pf_trainer *t = phase->trainer;
    size_t l = phase->layer;
    const struct pf_layer_plan *plan = t->plans[l];
    struct share share = share_of(t, shard, l);
    size_t out = share.first * plan->n_rows * plan->out_padded;
    struct pf_layer_back back = {
        .g = t->g[l] + out,
        .y = output_of(t, l, share.first),
        .norm = t->norms[l].back,
        .in = input_of(t, phase->step, l, share.first),
        .dw = gradient_of(t, shard, plan->layer->weight),
    };
    if (l > 0) {
        back.g_in = t->g[l - 1] + share.first * plan->layer->in_channels * plan->in_padded;
        back.mean_in = t->norms[l - 1].mean;
        back.totals_in = clear_totals(t, shard);
    }
    size_t slot;
    struct pf_scratch *scratch = pf_scratch_slots_take(t->slots, &slot);
    pf_layer_backward(plan, t->kernels, scratch, &back, share.n);
    pf_scratch_slots_give(t->slots, slot);
}

static void update_range(void *context, size_t range)
{
    const struct phase *phase = context;
    struct pf_trainer *t = phase->trainer;
    pf_sgd_step(&t->sgd, range, t->gradients, t->n_shards, phase->rate);
}

static double mean_loss(const struct pf_trainer *t)
{
    double sum = 0.0;
    for (size_t s = 0; s < t->n_shards; s++) sum += t->losses[s];
    return sum / (double)t->batch;
}

bool pf_trainer_step(struct pf_trainer *self, size_t step, double rate, double *loss)
{
    struct phase phase = {self, step, 0, rate};
    pf_pool_run(self->pool, self->n_plans, refresh_layer, &phase);
    if (self->teacher != NULL) pf_pool_run(self->pool, self->n_shards, teacher_shard, &phase);
    for (size_t l = 0; l < self->n_plans; l++) {
        phase.layer = l;
        pf_pool_run(self->pool, self->n_shards + (l == 0), forward_shard, &phase);
        finish_forward(self, l);
    }
    pf_pool_run(self->pool, self->n_shards, classifier_shard, &phase);
    finish_backward(self, self->n_plans - 1);
    for (size_t l = self->n_plans; l-- > 0;) {
        phase.layer = l;
        pf_pool_run(self->pool, self->n_shards, backward_shard, &phase);
        if (l > 0) finish_backward(self, l - 1);
    }
    *loss = mean_loss(self);
    if (!isfinite(*loss)) return false; /* the parameters are not worth changing */
    pf_pool_run(self->pool, self->sgd.n_ranges, update_range, &phase);
    bool finite = true;
    for (size_t i = 0; i < self->sgd.n_ranges; i++) finite &= self->sgd.finite[i];
    return finite;
}
