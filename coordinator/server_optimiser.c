#include "coordinator/server_optimiser.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#include "common/base/memory.h"

struct pf_server_optimiser {
    struct pf_server_optimiser_options options;
    size_t n_trained;
    size_t n;
    float *first;  /* m[n_trained]; NULL for FedAvg */
    float *second; /* v[n_trained]; FedAdam only */
};

const char *pf_server_optimiser_name(enum pf_server_optimiser_kind kind)
{
    static const char *const names[] = {
        [PF_FEDAVG] = "fedavg", [PF_FEDAVGM] = "fedavgm", [PF_FEDADAM] = "fedadam"};
    const char *name = (size_t)kind < PF_ARRAY_LENGTH(names) ? names[kind] : NULL;
    return name != NULL ? name : "unknown";
}

void pf_server_optimiser_default(enum pf_server_optimiser_kind kind,
                                 struct pf_server_optimiser_options *options)
{
    *options = (struct pf_server_optimiser_options){
        .kind = kind,
        .learning_rate = kind == PF_FEDADAM ? 0.01 : 1.0,
        .momentum = 0.9,
        .second_moment = 0.99,
        .adaptivity = 1e-3,
    };
}

enum pf_status pf_server_optimiser_validate(const struct pf_server_optimiser_options *options,
                                            struct pf_error *err)
{
    if (options->kind < PF_FEDAVG || options->kind > PF_FEDADAM)
        return pf_fail(err, PF_INVALID, "server optimiser %d is unknown", (int)options->kind);
    if (!(options->learning_rate > 0 && options->learning_rate <= 1000))
        return pf_fail(err, PF_INVALID, "server learning rate %g is not above 0 and at most 1000",
                       options->learning_rate);
    if (!(options->momentum >= 0 && options->momentum < 1))
        return pf_fail(err, PF_INVALID, "server momentum %g is outside [0, 1)", options->momentum);
    if (!(options->second_moment >= 0 && options->second_moment < 1))
        return pf_fail(err, PF_INVALID, "server second-moment decay %g is outside [0, 1)",
                       options->second_moment);
    if (!(options->adaptivity > 0 && options->adaptivity <= 1))
        return pf_fail(err, PF_INVALID, "server adaptivity %g is outside (0, 1]",
                       options->adaptivity);
    return PF_OK;
}

enum pf_status pf_server_optimiser_create(const struct pf_server_optimiser_options *options,
                                          size_t n_trained, size_t n,
                                          struct pf_server_optimiser **optimiser,
                                          struct pf_error *err)
{
    assert(n_trained <= n);
    PF_TRY(pf_server_optimiser_validate(options, err));
    PF_CLEANUP(pf_server_optimiser_destroyp)
    struct pf_server_optimiser *self = PF_ALLOC(1, struct pf_server_optimiser);
    if (self == NULL) return pf_no_memory(err, "the server optimiser");
    *self = (struct pf_server_optimiser){.options = *options, .n_trained = n_trained, .n = n};
    if (options->kind != PF_FEDAVG && (self->first = PF_ALLOC(n_trained, float)) == NULL)
        return pf_no_memory(err, "the server optimiser's momentum");
    if (options->kind == PF_FEDADAM) {
        if ((self->second = PF_ALLOC(n_trained, float)) == NULL)
            return pf_no_memory(err, "the server optimiser's second moments");
        float start = (float)(options->adaptivity * options->adaptivity);
        for (size_t i = 0; i < n_trained; i++) self->second[i] = start;
    }
    *optimiser = self;
    self = NULL;
    return PF_OK;
}

void pf_server_optimiser_destroy(struct pf_server_optimiser *self)
{
    if (self == NULL) return;
    pf_free(self->first);
    pf_free(self->second);
    pf_free(self);
}

static void step_adam(struct pf_server_optimiser *self, float *parameters, const float *mean)
{
    const struct pf_server_optimiser_options *o = &self->options;
    for (size_t i = 0; i < self->n_trained; i++) {
        double delta = (double)mean[i];
        double m = o->momentum * (double)self->first[i] + (1 - o->momentum) * delta;
        double v =
            o->second_moment * (double)self->second[i] + (1 - o->second_moment) * delta * delta;
        self->first[i] = (float)m;
        self->second[i] = (float)v;
        parameters[i] =
            (float)((double)parameters[i] + o->learning_rate * m / (sqrt(v) + o->adaptivity));
    }
}

static void step_momentum(struct pf_server_optimiser *self, float *parameters, const float *mean)
{
    const struct pf_server_optimiser_options *o = &self->options;
    for (size_t i = 0; i < self->n_trained; i++) {
        double m = o->momentum * (double)self->first[i] + (double)mean[i];
        self->first[i] = (float)m;
        parameters[i] = (float)((double)parameters[i] + o->learning_rate * m);
    }
}

void pf_server_optimiser_step(struct pf_server_optimiser *self, float *parameters,
                              const float *mean)
{
    switch (self->options.kind) {
    case PF_FEDADAM: step_adam(self, parameters, mean); break;
    case PF_FEDAVGM: step_momentum(self, parameters, mean); break;
    case PF_FEDAVG:
        for (size_t i = 0; i < self->n_trained; i++)
            parameters[i] =
                (float)((double)parameters[i] + self->options.learning_rate * (double)mean[i]);
        break;
    }
    for (size_t i = self->n_trained; i < self->n; i++) parameters[i] += mean[i];
}

/* The most that one round takes a variance down: to this part of it.  A mean of variances is never
 * negative, but one of clipped and rounded updates can be; and a variance that is nothing beside
 * what clipping left wrong in the channel's mean would blow the channel up (the variance of a
 * filter that died goes to zero, and its mean with it, but not in step).  Too large a one only
 * damps. */
#define VARIANCE_FLOOR 0.0625f

static void clamp_variances(struct pf_model *model, const float *before)
{
    for (size_t l = 0; l < model->n_layers; l++) {
        struct pf_layer *layer = &model->layers[l];
        if (layer->variance == NULL) continue;
        const float *old = before + (layer->variance - model->parameters);
        for (size_t row = 0; row < layer->out_channels; row++)
            layer->variance[row] = PF_MAX(layer->variance[row], VARIANCE_FLOOR * old[row]);
    }
}

static size_t first_not_finite(const float *values, size_t n)
{
    size_t i = 0;
    while (i < n && isfinite(values[i])) i++;
    return i;
}

/* Floats of state: m and v. */
static size_t state_length(const struct pf_server_optimiser *self)
{
    return ((self->first != NULL) + (size_t)(self->second != NULL)) * self->n_trained;
}

static void copy_state(const struct pf_server_optimiser *self, float *out)
{
    if (self->first != NULL) memcpy(out, self->first, self->n_trained * sizeof(float));
    if (self->second != NULL)
        memcpy(out + self->n_trained, self->second, self->n_trained * sizeof(float));
}

static void take_state(struct pf_server_optimiser *self, const float *state)
{
    if (self->first != NULL) memcpy(self->first, state, self->n_trained * sizeof(float));
    if (self->second != NULL)
        memcpy(self->second, state + self->n_trained, self->n_trained * sizeof(float));
}

enum pf_status pf_server_optimiser_apply(struct pf_server_optimiser *self, struct pf_model *model,
                                         const float *mean, struct pf_error *err)
{
    assert(model->n_parameters == self->n && model->n_trained == self->n_trained);
    PF_CLEANUP(pf_freep) float *state = PF_ALLOC(state_length(self), float);
    PF_CLEANUP(pf_freep) float *parameters = PF_ALLOC(self->n, float);
    if (state == NULL || parameters == NULL) return pf_no_memory(err, "a step of the optimiser");
    copy_state(self, state);
    memcpy(parameters, model->parameters, self->n * sizeof(float));

    pf_server_optimiser_step(self, model->parameters, mean);
    clamp_variances(model, parameters);
    size_t bad = first_not_finite(model->parameters, self->n);
    if (bad == self->n) return PF_OK;
    take_state(self, state);
    memcpy(model->parameters, parameters, self->n * sizeof(float));
    return pf_fail(err, PF_REFUSED,
                   "the %s step makes parameter %zu infinite: an update was far too large, or the "
                   "server learning rate %g is",
                   pf_server_optimiser_name(self->options.kind), bad, self->options.learning_rate);
}

enum pf_status pf_server_optimiser_save(const struct pf_server_optimiser *self,
                                        struct pf_buffer *bytes, struct pf_error *err)
{
    size_t part = self->n_trained * sizeof(float);
    PF_TRY(pf_buffer_reserve(bytes, state_length(self) * sizeof(float), err));
    if (self->first != NULL) PF_TRY(pf_buffer_append(bytes, self->first, part, err));
    if (self->second != NULL) PF_TRY(pf_buffer_append(bytes, self->second, part, err));
    return PF_OK;
}

enum pf_status pf_server_optimiser_restore(struct pf_server_optimiser *self, const uint8_t *bytes,
                                           size_t length, struct pf_error *err)
{
    size_t expected = state_length(self) * sizeof(float);
    if (length != expected)
        return pf_fail(err, PF_CORRUPT, "optimiser state of %zu bytes, expected %zu for %s", length,
                       expected, pf_server_optimiser_name(self->options.kind));
    PF_CLEANUP(pf_freep) float *state = PF_ALLOC(state_length(self), float);
    if (state == NULL) return pf_no_memory(err, "the optimiser state");
    if (length > 0) memcpy(state, bytes, length);
    size_t bad = first_not_finite(state, state_length(self));
    if (bad < state_length(self))
        return pf_fail(err, PF_CORRUPT, "optimiser state: value %zu is not finite", bad);
    take_state(self, state);
    return PF_OK;
}
