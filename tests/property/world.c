#include "world.h"

#include <string.h>

#include "common/base/random.h"
#include "seeded_random.h"

static uint32_t between(struct pf_random *random, uint32_t low, uint32_t high)
{
    return low + pf_random_below(random, high - low + 1);
}

static void plan_coordinator(struct pf_random *random, const struct weather *weather, uint32_t n,
                             struct pf_coordinator_session_config *config)
{
    bool secure = weather->aggregation == PF_AGGREGATION_SECURE;
    uint32_t least = secure ? PF_MIN_SECURE_COHORT : 1;
    if (weather->graph == PF_GRAPH_HARARY) least = PF_MAX(n - n / 4, 7u); /* smaller: no graph */
    config->aggregation = weather->aggregation;
    config->schedule = (struct pf_schedule){.n_stages = 2};
    for (size_t s = 0; s < 2; s++)
        config->schedule.stages[s] = (struct pf_stage){
            .rounds = WORLD_ROUNDS / 2, .combine = {.alpha = {2}}, .schedule_end = 1};
    config->min_cohort = weather->eager ? n : between(random, least, n);
    config->quorum = weather->eager ? n : between(random, least, config->min_cohort);
    config->join_timeout_ms = 60000;
    config->gather_ms = 1000;
    config->round_timeout_ms = 30000;
    config->liveness_ms = 4000;
    config->key_timeout_ms = 6000;
    config->unmask_timeout_ms = 8000;
    config->corrupt = 0;
    config->dropouts = weather->dropouts_borne;
    config->graph = weather->graph;
    config->masking.value_bits = between(random, 8, 32);
    if (weather->distils) {
        config->order.distill_weight = 0.9;
        config->order.distill_temperature = 4.0;
    }
    config->masking.rotate = between(random, 0, 1) == 1;
}

static void plan_participant(const struct pf_in_process_config *config,
                             struct pf_participant_session_config *participant)
{
    participant->give_up_ms = 120000;
    participant->fetch.timeout_first_ms = 500;
    participant->fetch.timeout_last_ms = 8000;
    participant->upload_first_ms = 1000;
    participant->upload_last_ms = 8000;
    participant->deadline_grace_ms = 5000;
    participant->unmask_grace_ms = 20000;
    participant->policy.pinned = true;
    participant->policy.network = config->network;
    participant->policy.allow_plain = true;
    participant->policy.max_corrupt = 0;
}

const char *world_run(uint64_t seed, const struct weather *weather,
                      struct pf_in_process_result *result)
{
    static struct pf_error err;
    struct pf_in_process_config config;
    struct pf_random random;
    bool secure = weather->aggregation == PF_AGGREGATION_SECURE;
    size_t least = weather->least_players > 0 ? weather->least_players : secure ? 3 : 2;
    size_t most = weather->most_players > 0 ? weather->most_players : WORLD_MAX_PLAYERS;
    pf_random_init(&random, seed, "world", 0);
    seeded_random_begin(seed);
    uint32_t n = between(&random, (uint32_t)least, (uint32_t)most);
    pf_in_process_config_default(n, &config);
    config.seed = seed;
    config.n_threads = 1;
    config.faults = weather->faults;
    config.network = (struct pf_network){.block_kind = PF_LAYER_SHIFT,
                                         .n_blocks = 1,
                                         .filters = {weather->large_model ? 300 : 4},
                                         .layers = {1},
                                         .strides = {1},
                                         .in_channels = 1,
                                         .in_height = 4,
                                         .in_width = 4,
                                         .n_classes = 2};
    config.training_min_ms = 50;
    config.training_max_ms = 6000;
    config.limit_ms = WORLD_LIMIT_MS;
    config.distinct_weights = n <= 20;
    plan_coordinator(&random, weather, n, &config.coordinator);
    plan_participant(&config, &config.participant);
    err = (struct pf_error){0};
    return pf_in_process_run(&config, NULL, result, &err) == PF_OK ? NULL : err.text;
}
