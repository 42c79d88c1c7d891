#include "common/nn/distill.h"

#include <math.h>

#include "common/nn/classifier.h"

enum pf_status pf_teacher_check(const struct pf_model *teacher, const struct pf_model *student,
                                struct pf_error *err)
{
    const struct pf_network *t = &teacher->network, *s = &student->network;
    if (t->in_channels != s->in_channels || t->in_height != s->in_height ||
        t->in_width != s->in_width)
        return pf_fail(
            err, PF_INVALID,
            "the teacher takes images of %u×%u×%u but the model that is trained %u×%u×%u",
            t->in_height, t->in_width, t->in_channels, s->in_height, s->in_width, s->in_channels);
    if (t->n_classes != s->n_classes)
        return pf_fail(err, PF_INVALID,
                       "the teacher knows %u classes but the model that is trained %u",
                       t->n_classes, s->n_classes);
    return PF_OK;
}

/* log Σ exp(logits / T) */
static double log_sum(const float *logits, size_t n_classes, double temperature)
{
    double largest = (double)logits[0], sum = 0.0;
    for (size_t m = 1; m < n_classes; m++) largest = fmax(largest, (double)logits[m]);
    for (size_t m = 0; m < n_classes; m++) sum += exp(((double)logits[m] - largest) / temperature);
    return largest / temperature + log(sum);
}

double pf_distillation(const float *logits, const float *teacher, size_t n_classes,
                       double temperature, float *gradient)
{
    double student_sum = log_sum(logits, n_classes, temperature);
    double teacher_sum = log_sum(teacher, n_classes, temperature);
    double divergence = 0.0;
    for (size_t m = 0; m < n_classes; m++) {
        double log_q = (double)logits[m] / temperature - student_sum;
        double log_p = (double)teacher[m] / temperature - teacher_sum;
        double p = exp(log_p);
        if (p > 0.0) divergence += p * (log_p - log_q); /* 0 · log 0 is 0 */
        if (gradient != NULL) gradient[m] = (float)(temperature * (exp(log_q) - p));
    }
    return temperature * temperature * divergence;
}

double pf_distilled_loss(float *logits, float *teacher, size_t n_classes, uint8_t label,
                         const struct pf_train_options *options)
{
    double weight = options->distill_weight;
    double soft =
        pf_distillation(logits, teacher, n_classes, options->distill_temperature, teacher);
    double hard = pf_cross_entropy(logits, n_classes, label, options->label_smoothing, logits);
    for (size_t m = 0; m < n_classes; m++)
        logits[m] = (float)((1.0 - weight) * (double)logits[m] + weight * (double)teacher[m]);
    return (1.0 - weight) * hard + weight * soft;
}
