#include "common/nn/inference.h"

#include <math.h>

#include "common/base/memory.h"
#include "common/nn/blas.h"
#include "common/nn/classifier.h"
#include "common/nn/scratch_slots.h"
#include "common/nn/trainer.h"

#define MAX_PASS_IMAGES 32u
#define PASS_PIXELS 4096u /* of the input: images that go through the layers together */

struct pf_inference {
    const struct pf_model *model;
    const struct pf_kernels *kernels;
    size_t n_plans;
    struct pf_layer_plan *plans[PF_MAX_LAYERS];
    struct pf_affine *norms[PF_MAX_LAYERS];
    struct pf_affine input_norm[PF_MAX_INPUT_CHANNELS];
    struct pf_scratch_slots *slots;
    size_t images_per_pass;
    size_t plane_floats; /* of one of a slot's two buffers, guards included */
    size_t slot_floats;
    float *buffers; /* [n_threads][slot_floats]: two of planes, pooled */
};

void pf_inference_destroy(struct pf_inference *self)
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

static enum pf_status fold(struct pf_inference *self, size_t l, struct pf_error *err)
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

static enum pf_status make_buffers(struct pf_inference *self, size_t n_threads,
                                   struct pf_error *err)
{
    const struct pf_layer *linear = &self->model->layers[self->n_plans];
    size_t input = self->plans[0]->in_padded, largest = 0;
    self->images_per_pass = PF_MAX(PASS_PIXELS / input, 1);
    self->images_per_pass = PF_MIN(self->images_per_pass, MAX_PASS_IMAGES);
    for (size_t l = 0; l < self->n_plans; l++)
        largest = PF_MAX(largest, self->plans[l]->n_rows * self->plans[l]->out_padded);
    self->plane_floats =
        pf_round_up(self->images_per_pass * largest + 2 * PF_PLANE_GUARD, PF_GROUP);
    self->slot_floats =
        pf_round_up(2 * self->plane_floats + self->images_per_pass * linear->n_columns, PF_GROUP);
    self->buffers = PF_ALLOC(n_threads * self->slot_floats, float);
    return self->buffers != NULL ? PF_OK : pf_no_memory(err, "inference");
}

enum pf_status pf_inference_create(const struct pf_model *model, size_t n_threads,
                                   struct pf_inference **inference, struct pf_error *err)
{
    PF_CLEANUP(pf_inference_destroyp) struct pf_inference *self = PF_ALLOC(1, struct pf_inference);
    if (self == NULL) return pf_no_memory(err, "inference");
    pf_blas_single_threaded();
    self->model = model;
    self->kernels = pf_kernels_best();
    pf_input_norm(model, self->input_norm);
    for (; self->n_plans + 1 < model->n_layers; self->n_plans++)
        PF_TRY(fold(self, self->n_plans, err));
    PF_TRY(pf_scratch_slots_create((const struct pf_layer_plan *const *)self->plans, self->n_plans,
                                   false, n_threads, &self->slots, err));
    PF_TRY(make_buffers(self, n_threads, err));
    *inference = self;
    self = NULL;
    return PF_OK;
}

/* As pf_inference_logits, of at most images_per_pass; buffer: a slot's. */
static void pass(const struct pf_inference *self, struct pf_scratch *scratch, float *buffer,
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

void pf_inference_logits(const struct pf_inference *self, const uint8_t *images, size_t n,
                         float *logits)
{
    size_t image_bytes = (size_t)self->plans[0]->in_pixels * self->model->network.in_channels;
    size_t slot;
    struct pf_scratch *scratch = pf_scratch_slots_take(self->slots, &slot);
    float *buffer = self->buffers + slot * self->slot_floats;
    for (size_t i = 0; i < n; i += self->images_per_pass)
        pass(self, scratch, buffer, images + i * image_bytes, PF_MIN(self->images_per_pass, n - i),
             logits + i * self->model->network.n_classes);
    pf_scratch_slots_give(self->slots, slot);
}
