#include "common/nn/train.h"

#include <math.h>
#include <stdio.h>

#include "common/base/clock.h"
#include "common/nn/blas.h"
#include "common/nn/dataset_check.h"
#include "common/nn/distill.h"
#include "common/nn/trainer.h"

#define UPDATE_SECONDS 0.5

/* When progress was last told, and the loss since then. */
struct report {
    double since;
    size_t first_step;
    double loss;
};

static void report_step(struct report *self, const struct pf_progress *progress,
                        const struct pf_trainer *trainer, size_t done, size_t total, double loss)
{
    double seconds = pf_clock_seconds() - self->since;
    self->loss += loss;
    if (seconds < UPDATE_SECONDS && done < total) return;
    double steps = (double)(done - self->first_step);
    char detail[64];
    snprintf(detail, sizeof detail, "loss %.3f, %.0f images/s", self->loss / steps,
             steps * (double)trainer->batch / seconds);
    pf_progress_update(progress, "training", done, total, detail);
    *self = (struct report){pf_clock_seconds(), done, 0.0};
}

static size_t count_steps(const struct pf_trainer *trainer)
{
    double images = trainer->options->epochs * (double)trainer->dataset->n_images;
    double steps = floor(images / (double)trainer->batch + 1e-9);
    return steps < 1.0 ? 1 : (size_t)steps; /* ≤ 1e6 · 2^24 < 2^53 */
}

static enum pf_status run(struct pf_trainer *trainer, const struct pf_progress *progress,
                          struct pf_error *err)
{
    const struct pf_train_options *options = trainer->options;
    size_t n_steps = count_steps(trainer);
    struct report report = {pf_clock_seconds(), 0, 0.0};
    pf_trainer_gather(trainer, 0);
    for (size_t step = 0; step < n_steps; step++) {
        if (pf_progress_stopped(progress))
            return pf_fail(err, PF_INTERRUPTED, "training stopped after %zu of %zu steps", step,
                           n_steps);
        double position =
            options->schedule_begin +
            (options->schedule_end - options->schedule_begin) * (double)step / (double)n_steps;
        double rate = pf_schedule_rate(options->schedule, options->learning_rate, position), loss;
        if (!pf_trainer_step(trainer, step, rate, &loss))
            return pf_fail(err, PF_CORRUPT,
                           "training: the loss or a weight is no longer finite at step %zu of %zu "
                           "(learning rate %g): train with a smaller learning rate "
                           "(--learning-rate)%s, from the model as it was before",
                           step + 1, n_steps, rate,
                           options->activations == PF_HALF
                               ? ", or with --activations single if outputs beyond 65,504, which "
                                 "half precision does not hold, are meant"
                               : "");
        report_step(&report, progress, trainer, step + 1, n_steps, loss);
    }
    return PF_OK;
}

enum pf_status pf_train(struct pf_model *model, const struct pf_dataset *dataset,
                        const struct pf_train_options *options, struct pf_pool *pool,
                        const struct pf_progress *progress, struct pf_error *err)
{
    PF_TRY(pf_train_options_validate(options, err));
    PF_TRY(pf_dataset_check(model, dataset, err));
    if (options->teacher != NULL) PF_TRY(pf_teacher_check(options->teacher, model, err));
    pf_blas_single_threaded();
    PF_CLEANUP(pf_trainer_destroyp) struct pf_trainer *trainer = NULL;
    PF_TRY(pf_trainer_create(model, dataset, options, pool, &trainer, err));
    return run(trainer, progress, err);
}
