#include "participant/policy.h"

#include "participant/order.h"
#include "proto/model_file.h"

#define MAX_PROXIMAL 1e3

void pf_participant_policy_default(struct pf_participant_policy *policy)
{
    *policy = (struct pf_participant_policy){
        .max_corrupt = -1.0,
        .adversary = PF_SEMI_MALICIOUS,
        .max_epochs = 100.0,
        .max_model_bytes = PF_MAX_MODEL_BYTES,
    };
}

enum pf_status pf_participant_policy_network(const struct pf_participant_policy *self,
                                             const struct pf_network *network, struct pf_error *err)
{
    char theirs[160], ours[160];
    if (self->pinned && !pf_network_equal(&self->network, network))
        return pf_fail(err, PF_REFUSED,
                       "the run trains %s; this participant pins %s (--filters, --layers, "
                       "--strides, --layer-type)",
                       pf_network_describe(network, theirs, sizeof theirs),
                       pf_network_describe(&self->network, ours, sizeof ours));
    if (self->in_channels != 0 &&
        (self->in_channels != network->in_channels || self->in_height != network->in_height ||
         self->in_width != network->in_width || self->n_classes != network->n_classes))
        return pf_fail(err, PF_REFUSED,
                       "the run trains %s; the images here are %u×%u×%u in %u classes (--data)",
                       pf_network_describe(network, theirs, sizeof theirs), self->in_height,
                       self->in_width, self->in_channels, self->n_classes);
    return PF_OK;
}

static enum pf_status check_distillation(const struct pf_training_order *order,
                                         struct pf_error *err)
{
    double weight = order->distill_weight, temperature = order->distill_temperature;
    if (!(weight >= 0.0 && weight <= 1.0))
        return pf_fail(err, PF_REFUSED, "asked to distil with a weight of %g, not 0 to 1", weight);
    if (weight == 0.0 ||
        (temperature >= PF_MIN_DISTILL_TEMPERATURE && temperature <= PF_MAX_DISTILL_TEMPERATURE))
        return PF_OK;
    return pf_fail(err, PF_REFUSED, "asked to distil at a temperature of %g, not %g to %g",
                   temperature, PF_MIN_DISTILL_TEMPERATURE, PF_MAX_DISTILL_TEMPERATURE);
}

static enum pf_status check_order(const struct pf_participant_policy *self,
                                  const struct pf_training_order *order, struct pf_error *err)
{
    struct pf_train_options options;
    struct pf_error detail = {0};
    if (!(order->epochs > 0.0 && order->epochs <= self->max_epochs))
        return pf_fail(err, PF_REFUSED,
                       "asked for %g epochs of training; this participant gives "
                       "up to %g",
                       order->epochs, self->max_epochs);
    if (!(order->proximal >= 0.0 && order->proximal <= MAX_PROXIMAL))
        return pf_fail(err, PF_REFUSED, "asked for a proximal weight of %g, not 0 to %g",
                       order->proximal, MAX_PROXIMAL);
    PF_TRY(check_distillation(order, err));
    pf_order_options(order, 0, 0, 0, &(struct pf_augmentation){0}, &options);
    if (pf_train_options_validate(&options, &detail) != PF_OK)
        return pf_fail(err, PF_REFUSED, "absurd training order: %s", detail.text);
    return PF_OK;
}

uint32_t pf_participant_policy_min_cohort(const struct pf_participant_policy *self,
                                          enum pf_aggregation aggregation)
{
    return PF_MAX(self->min_cohort,
                  aggregation == PF_AGGREGATION_SECURE ? PF_MIN_SECURE_COHORT : 1u);
}

/* what: "model" or "teacher" */
static enum pf_status check_size(const struct pf_participant_policy *self, const char *what,
                                 uint64_t n_bytes, uint32_t n_chunks, struct pf_error *err)
{
    if (n_bytes == 0 || n_bytes > self->max_model_bytes)
        return pf_fail(err, PF_REFUSED,
                       "a %s of %llu bytes; this participant takes 1 to %llu bytes", what,
                       (unsigned long long)n_bytes, (unsigned long long)self->max_model_bytes);
    uint64_t chunks = (n_bytes - 1) / PF_CHUNK_BYTES + 1;
    if (chunks > PF_MAX_CHUNKS || n_chunks != chunks)
        return pf_fail(err, PF_REFUSED, "a %s of %llu bytes in %u chunks, not %llu", what,
                       (unsigned long long)n_bytes, n_chunks, (unsigned long long)chunks);
    return PF_OK;
}

enum pf_status pf_participant_policy_offer(const struct pf_participant_policy *self,
                                           enum pf_aggregation aggregation,
                                           const struct pf_round_offer *offer,
                                           enum pf_reason *reason, struct pf_error *err)
{
    *reason = PF_REASON_COHORT_TOO_SMALL;
    uint32_t min_cohort = pf_participant_policy_min_cohort(self, aggregation);
    if (offer->cohort < min_cohort)
        return pf_fail(err, PF_REFUSED, "a cohort of %u is smaller than the minimum of %u",
                       offer->cohort, min_cohort);
    *reason = PF_REASON_POLICY;
    if ((offer->masking.value_bits > 0) != (aggregation == PF_AGGREGATION_SECURE))
        return pf_fail(err, PF_REFUSED, "the offer does not fit %s aggregation",
                       pf_aggregation_name(aggregation));
    PF_TRY(check_size(self, "model", offer->model_bytes, offer->n_chunks, err));
    PF_TRY(check_order(self, &offer->order, err));
    if (offer->order.distill_weight > 0.0)
        PF_TRY(check_size(self, "teacher", offer->teacher.n_bytes, offer->teacher.n_chunks, err));
    *reason = PF_REASON_NONE;
    return PF_OK;
}
