/* What the coordinator does with the mean update of a round.
 *
 * Reddi et al., Adaptive Federated Optimization, ICLR 2021 (arXiv 2003.00295), algorithm 2: the
 * mean of the participants' (local − global) is taken for a pseudo-gradient step.
 *
 *   FedAvg    w ← w + η·Δ
 *   FedAvgM   m ← β₁·m + Δ;                w ← w + η·m
 *   FedAdam   m ← β₁·m + (1 − β₁)·Δ;  v ← β₂·v + (1 − β₂)·Δ²;  w ← w + η·m / (√v + τ)
 *
 * with m = 0 and v = τ² at first and no bias correction, as in the paper.  Only the trained part
 * of the vector takes such steps: the batch-norm statistics behind it are plain means over the
 * participants' data and are averaged (w ← w + Δ) whatever the kind, variances kept ≥ 0.
 *
 * The state belongs to one shape of model: combining makes a new model, and a new optimiser. */
#ifndef PF_COORDINATOR_SERVER_OPTIMISER_H
#define PF_COORDINATOR_SERVER_OPTIMISER_H

#include <stddef.h>

#include "common/base/buffer.h"
#include "common/base/error.h"
#include "common/model/model.h"

enum pf_server_optimiser_kind { PF_FEDAVG = 1, PF_FEDAVGM, PF_FEDADAM };

struct pf_server_optimiser_options {
    enum pf_server_optimiser_kind kind;
    double learning_rate; /* η > 0 */
    double momentum;      /* β₁ in [0, 1) */
    double second_moment; /* β₂ in [0, 1) */
    double adaptivity;    /* τ > 0 */
};

struct pf_server_optimiser;

const char *pf_server_optimiser_name(enum pf_server_optimiser_kind kind); /* "fedavg", … */

/* η = 1 for FedAvg and FedAvgM, 0.01 for FedAdam; β₁ = .9, β₂ = .99, τ = 10⁻³. */
void pf_server_optimiser_default(enum pf_server_optimiser_kind kind,
                                 struct pf_server_optimiser_options *options);
PF_NODISCARD enum pf_status pf_server_optimiser_validate(
    const struct pf_server_optimiser_options *options, struct pf_error *err);

/* For vectors of n coordinates of which the first n_trained take optimiser steps. */
PF_NODISCARD enum pf_status pf_server_optimiser_create(
    const struct pf_server_optimiser_options *options, size_t n_trained, size_t n,
    struct pf_server_optimiser **optimiser, struct pf_error *err);
void pf_server_optimiser_destroy(struct pf_server_optimiser *self);
PF_DEFINE_CLEANUP(struct pf_server_optimiser, pf_server_optimiser_destroy)

/* parameters[n] ← one step along mean[n]. */
void pf_server_optimiser_step(struct pf_server_optimiser *self, float *parameters,
                              const float *mean);

/* The step on a model, variances clamped.  PF_REFUSED, model and state unchanged, when a parameter
 * would stop being finite; `model` must have the n of the optimiser. */
PF_NODISCARD enum pf_status pf_server_optimiser_apply(struct pf_server_optimiser *self,
                                                      struct pf_model *model, const float *mean,
                                                      struct pf_error *err);

/* Appends the state (m, then v, as floats of this machine; nothing for FedAvg) for a checkpoint. */
PF_NODISCARD enum pf_status pf_server_optimiser_save(const struct pf_server_optimiser *self,
                                                     struct pf_buffer *bytes, struct pf_error *err);

/* Takes a saved state; PF_CORRUPT when its length is not that of this optimiser. */
PF_NODISCARD enum pf_status pf_server_optimiser_restore(struct pf_server_optimiser *self,
                                                        const uint8_t *bytes, size_t length,
                                                        struct pf_error *err);

#endif
