#include "participant/order.h"

void pf_order_options(const struct pf_training_order *order, uint64_t seed, uint32_t round,
                      size_t n_images, const struct pf_augmentation *augmentation,
                      struct pf_train_options *options)
{
    struct pf_random random;
    pf_random_init(&random, seed, "local training", round);
    pf_train_options_default(options);
    options->batch = order->batch;
    if (n_images > 0 && n_images < order->batch) options->batch = (uint32_t)n_images;
    options->epochs = order->epochs;
    options->schedule = (enum pf_schedule_kind)order->schedule;
    options->learning_rate = order->learning_rate;
    options->schedule_begin = order->schedule_begin;
    options->schedule_end = order->schedule_end;
    options->momentum = order->momentum;
    options->nesterov = order->nesterov;
    options->weight_decay = order->weight_decay;
    options->l1 = order->l1;
    options->label_smoothing = order->label_smoothing;
    options->distill_weight = order->distill_weight;
    options->distill_temperature = order->distill_temperature;
    options->augmentation = *augmentation;
    options->seed = pf_random_u64(&random);
}
