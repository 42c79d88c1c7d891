#include <math.h>

#include "common/nn/train.h"

const char *pf_schedule_kind_name(enum pf_schedule_kind kind)
{
    switch (kind) {
    case PF_SCHEDULE_CONSTANT: return "constant";
    case PF_SCHEDULE_COSINE: return "cosine";
    case PF_SCHEDULE_ONE_CYCLE: return "one-cycle";
    }
    return "unknown";
}

/* From `from` at t = 0 to `to` at t = 1 along half a cosine. */
static double cosine_piece(double from, double to, double t)
{
    return to + (from - to) * 0.5 * (1.0 + cos(M_PI * t));
}

double pf_schedule_rate(enum pf_schedule_kind kind, double peak, double position)
{
    const double warm = 0.3;
    switch (kind) {
    case PF_SCHEDULE_CONSTANT: return peak;
    case PF_SCHEDULE_COSINE: return cosine_piece(peak, 0.0, position);
    case PF_SCHEDULE_ONE_CYCLE:
        if (position < warm) return cosine_piece(peak / 25.0, peak, position / warm);
        return cosine_piece(peak, peak / 1e4, (position - warm) / (1.0 - warm));
    }
    return peak;
}

void pf_train_options_default(struct pf_train_options *options)
{
    *options = (struct pf_train_options){
        .batch = 128,
        .epochs = 12.0,
        .schedule = PF_SCHEDULE_ONE_CYCLE,
        .learning_rate = 0.2,
        .schedule_begin = 0.0,
        .schedule_end = 1.0,
        .momentum = 0.9,
        .nesterov = true,
        .weight_decay = 5e-4,
        .augmentation = {.padding = 4, .flip = true},
        .activations = PF_HALF,
        .seed = 1,
        .distill_weight = PF_DEFAULT_DISTILL_WEIGHT,
        .distill_temperature = PF_DEFAULT_DISTILL_TEMPERATURE,
    };
}

static enum pf_status within(const char *what, double value, double min, double max,
                             struct pf_error *err)
{
    if (isfinite(value) && value >= min && value <= max) return PF_OK;
    return pf_fail(err, PF_INVALID, "training: %s is %g; give %g to %g", what, value, min, max);
}

static enum pf_status check_distillation(const struct pf_train_options *self, struct pf_error *err)
{
    if (self->teacher == NULL) return PF_OK;
    PF_TRY(within("the weight of distillation", self->distill_weight, 0.0, 1.0, err));
    return within("the temperature of distillation", self->distill_temperature,
                  PF_MIN_DISTILL_TEMPERATURE, PF_MAX_DISTILL_TEMPERATURE, err);
}

enum pf_status pf_train_options_validate(const struct pf_train_options *self, struct pf_error *err)
{
    if (self->batch == 0 || self->batch > PF_MAX_BATCH)
        return pf_fail(err, PF_INVALID, "training: batches of %u images; give 1 to %u", self->batch,
                       PF_MAX_BATCH);
    if (self->schedule < PF_SCHEDULE_CONSTANT || self->schedule > PF_SCHEDULE_ONE_CYCLE)
        return pf_fail(err, PF_INVALID, "training: schedule %d is not known", (int)self->schedule);
    PF_TRY(within("the number of epochs", self->epochs, 0.0, 1e6, err));
    PF_TRY(within("the learning rate", self->learning_rate, 0.0, 1e3, err));
    PF_TRY(within("the begin of the schedule", self->schedule_begin, 0.0, 1.0, err));
    PF_TRY(within("the end of the schedule", self->schedule_end, self->schedule_begin, 1.0, err));
    PF_TRY(within("momentum", self->momentum, 0.0, 0.9999, err));
    PF_TRY(within("weight decay", self->weight_decay, 0.0, 1.0, err));
    PF_TRY(within("the L1 penalty", self->l1, 0.0, 1.0, err));
    PF_TRY(within("label smoothing", self->label_smoothing, 0.0, 0.9999, err));
    PF_TRY(within("the proximal term", self->proximal, 0.0, 1e3, err));
    if (self->proximal > 0.0 && self->proximal_anchor == NULL)
        return pf_fail(err, PF_INVALID, "training: a proximal term needs the weights it pulls to");
    PF_TRY(check_distillation(self, err));
    if (self->activations != PF_SINGLE && self->activations != PF_HALF)
        return pf_fail(err, PF_INVALID, "training: activations of kind %d are not known",
                       (int)self->activations);
    if (self->augmentation.padding > PF_MAX_IMAGE_SIDE)
        return pf_fail(err, PF_INVALID, "training: padding of %u pixels; give at most %u",
                       self->augmentation.padding, PF_MAX_IMAGE_SIDE);
    return PF_OK;
}
