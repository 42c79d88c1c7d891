/* A model made ready to be asked for logits: a few images at a time through all layers, in
 * workspaces that do not grow with the number of images.  Batch norm, with running statistics, is
 * folded into one multiply-add that the next layer applies as it reads.
 *
 * It follows the model as it was when this was made; the model must outlive it. */
#ifndef PF_COMMON_NN_INFERENCE_H
#define PF_COMMON_NN_INFERENCE_H

#include "common/base/error.h"
#include "common/model/model.h"

struct pf_inference;

/* n_threads: how many may ask at the same time. */
PF_NODISCARD enum pf_status pf_inference_create(const struct pf_model *model, size_t n_threads,
                                                struct pf_inference **inference,
                                                struct pf_error *err);
void pf_inference_destroy(struct pf_inference *self);
PF_DEFINE_CLEANUP(struct pf_inference, pf_inference_destroy)

/* logits[n][n_classes] of images[n][channel][y][x], on the calling thread.  The same images in one
 * call give the same bits, whatever runs beside it; cut into other calls they may differ in the
 * last. */
void pf_inference_logits(const struct pf_inference *self, const uint8_t *images, size_t n,
                         float *logits);

#endif
