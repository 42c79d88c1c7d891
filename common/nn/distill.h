/* Knowledge distillation: a student learns from the labels and from what a trained teacher takes
 * each image for [1].  With the student's logits z, the teacher's t and a temperature T,
 *
 *     loss = (1 − λ) · cross-entropy(z, label) + λ · T² · KL(softmax(t / T) ‖ softmax(z / T)).
 *
 * A high temperature shows which wrong classes the teacher nearly took.  The gradient of the second
 * term shrinks as 1 / T²; the factor keeps its share what λ says, whatever T is.
 *
 * [1] G. Hinton, O. Vinyals, J. Dean, Distilling the knowledge in a neural network, 2015,
 * arXiv 1503.02531. */
#ifndef PF_COMMON_NN_DISTILL_H
#define PF_COMMON_NN_DISTILL_H

#include "common/model/model.h"
#include "common/nn/train.h"

/* PF_INVALID when the two do not see the same images and classes. */
PF_NODISCARD enum pf_status pf_teacher_check(const struct pf_model *teacher,
                                             const struct pf_model *student, struct pf_error *err);

/* T² · KL of one image.  gradient (may be NULL, may be either of the logits) ← d / d logits,
 * T · (softmax(z / T) − softmax(t / T)). */
double pf_distillation(const float *logits, const float *teacher, size_t n_classes,
                       double temperature, float *gradient);

/* The whole loss of one image, with options' λ, T and label smoothing; logits ← its gradient, and
 * the teacher's are overwritten. */
double pf_distilled_loss(float *logits, float *teacher, size_t n_classes, uint8_t label,
                         const struct pf_train_options *options);

#endif
