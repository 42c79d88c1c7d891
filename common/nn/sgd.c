#include "common/nn/sgd.h"

#include <string.h>

#include "common/base/memory.h"

#define RANGE 2048u /* parameters of a range, at most */

/* Appends parameters[begin … begin + n) in pieces; with ranges == NULL only counts them. */
static size_t cut(struct pf_sgd_range *ranges, size_t n_ranges, struct pf_sgd_range whole)
{
    for (size_t i = 0; i < whole.n; i += RANGE) {
        struct pf_sgd_range piece = whole;
        piece.begin += i;
        piece.n = PF_MIN(RANGE, whole.n - i);
        if (ranges != NULL) ranges[n_ranges] = piece;
        n_ranges++;
    }
    return n_ranges;
}

static size_t cut_model(struct pf_sgd_range *ranges, const struct pf_model *model)
{
    size_t n = 0;
    for (size_t l = 0; l < model->n_layers; l++) {
        const struct pf_layer *layer = &model->layers[l];
        bool linear = layer->kind == PF_LAYER_LINEAR;
        size_t begin = (size_t)(layer->weight - model->parameters);
        n = cut(ranges, n, (struct pf_sgd_range){begin, layer->n_weights, true, !linear});
        begin += layer->n_weights; /* bias, or gamma and beta */
        n = cut(ranges, n,
                (struct pf_sgd_range){begin, (linear ? 1u : 2u) * (size_t)layer->out_channels,
                                      linear, false});
    }
    return n;
}

enum pf_status pf_sgd_init(struct pf_sgd *self, struct pf_model *model,
                           const struct pf_train_options *options, struct pf_error *err)
{
    *self = (struct pf_sgd){.options = options,
                            .n_trained = model->n_trained,
                            .parameters = model->parameters,
                            .n_ranges = cut_model(NULL, model)};
    self->velocity = PF_ALLOC(model->n_trained, float);
    self->ranges = PF_ALLOC(self->n_ranges, struct pf_sgd_range);
    self->finite = PF_ALLOC(self->n_ranges, bool);
    if (self->velocity == NULL || self->ranges == NULL || self->finite == NULL) {
        pf_sgd_finish(self);
        return pf_no_memory(err, "the optimiser's state");
    }
    cut_model(self->ranges, model);
    return PF_OK;
}

void pf_sgd_finish(struct pf_sgd *self)
{
    pf_free(self->velocity);
    pf_free(self->ranges);
    pf_free(self->finite);
    *self = (struct pf_sgd){0};
}

static void penalise(const struct pf_sgd *self, const struct pf_sgd_range *range, float *d)
{
    const struct pf_train_options *options = self->options;
    const float *w = self->parameters + range->begin;
    float decay = range->decays ? (float)options->weight_decay : 0.0f;
    float l1 = range->sparse ? (float)options->l1 : 0.0f;
    for (size_t i = 0; i < range->n; i++) {
        float sign = (float)(w[i] > 0.0f) - (float)(w[i] < 0.0f);
        d[i] += decay * w[i] + l1 * sign;
    }
    if (options->proximal == 0.0) return;
    const float *anchor = options->proximal_anchor + range->begin;
    float pull = (float)options->proximal;
    for (size_t i = 0; i < range->n; i++) d[i] += pull * (w[i] - anchor[i]);
}

void pf_sgd_step(struct pf_sgd *self, size_t range_index, const float *gradients, size_t n_parts,
                 double rate)
{
    const struct pf_sgd_range *range = &self->ranges[range_index];
    float d[RANGE];
    memcpy(d, gradients + range->begin, range->n * sizeof *d);
    for (size_t part = 1; part < n_parts; part++) {
        const float *g = gradients + part * self->n_trained + range->begin;
        for (size_t i = 0; i < range->n; i++) d[i] += g[i];
    }
    penalise(self, range, d);
    float *w = self->parameters + range->begin, *v = self->velocity + range->begin;
    float momentum = (float)self->options->momentum, lr = (float)rate, check = 0.0f;
    float ahead = self->options->nesterov ? 1.0f : 0.0f, carried = ahead > 0.0f ? momentum : 1.0f;
    for (size_t i = 0; i < range->n; i++) {
        v[i] = momentum * v[i] + d[i];
        w[i] -= lr * (ahead * d[i] + carried * v[i]);
        check += w[i] * 0.0f; /* stays zero as long as all are finite */
    }
    self->finite[range_index] = check == 0.0f;
}
