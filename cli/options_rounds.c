/* The options of a federated run's rounds, for the commands that coordinate one. */
#include <errno.h>
#include <string.h>

#include "cli/options.h"

enum {
    KEY_MIN_COHORT = 0x3000,
    KEY_QUORUM,
    KEY_MAX_FAILED_ROUNDS,
    KEY_JOIN_TIMEOUT,
    KEY_GATHER,
    KEY_ROUND_TIMEOUT,
    KEY_LIVENESS,
    KEY_AGGREGATION,
    KEY_UPDATE_BITS,
    KEY_WEIGHT_CAP,
    KEY_CLIP_NORM,
    KEY_NO_ROTATION,
    KEY_MAX_CORRUPT,
    KEY_MAX_DROPOUT,
    KEY_SEMI_HONEST,
    KEY_GRAPH,
    KEY_KEY_TIMEOUT,
    KEY_UNMASK_TIMEOUT,
    KEY_SERVER_OPTIMISER,
    KEY_SERVER_LEARNING_RATE,
    KEY_SERVER_MOMENTUM,
    KEY_BATCH,
    KEY_LOCAL_EPOCHS,
    KEY_LEARNING_RATE,
    KEY_SCHEDULE,
    KEY_MOMENTUM,
    KEY_WEIGHT_DECAY,
    KEY_L1,
    KEY_LABEL_SMOOTHING,
    KEY_PROXIMAL,
    KEY_DISTILL,
    KEY_DISTILL_TEMPERATURE,
};

static const struct argp_option options[] = {
    {"min-cohort", KEY_MIN_COHORT, "N", 0,
     "participants a round needs to start (two thirds of the roster)", 0},
    {"quorum", KEY_QUORUM, "N", 0,
     "updates a round needs to count (two thirds of the smallest cohort)", 0},
    {"max-failed-rounds", KEY_MAX_FAILED_ROUNDS, "N", 0,
     "rounds in a row that may be abandoned (3)", 0},
    {"join-timeout", KEY_JOIN_TIMEOUT, "S", 0, "longest wait for participants (300)", 0},
    {"gather", KEY_GATHER, "S", 0,
     "before the first round: wait for the others once there are enough (10)", 0},
    {"round-timeout", KEY_ROUND_TIMEOUT, "S", 0, "longest time for a round (600)", 0},
    {"liveness", KEY_LIVENESS, "S", 0, "a participant silent for longer is dropped (30)", 0},
    {"aggregation", KEY_AGGREGATION, "KIND", 0,
     "secure (default): the coordinator learns sums alone; plain: it sees each update, for "
     "comparisons",
     0},
    {"update-bits", KEY_UPDATE_BITS, "N", 0,
     "bits per coordinate of an update before masking, 8 to 32 (16); the modulus is derived", 0},
    {"weight-cap", KEY_WEIGHT_CAP, "N", 0,
     "a participant with more examples counts as one with so many (10000)", 0},
    {"clip-norm", KEY_CLIP_NORM, "X", 0,
     "clip each update to this L2 norm in every round (from round to round twice the mean norm)",
     0},
    {"no-rotation", KEY_NO_ROTATION, NULL, 0, "round updates as they are, without a Hadamard turn",
     0},
    {"max-corrupt", KEY_MAX_CORRUPT, "X", 0,
     "share of a cohort that may side with the coordinator (0.2; from 100 participants on 0.05)",
     0},
    {"max-dropout", KEY_MAX_DROPOUT, "X", 0,
     "share of a cohort that may vanish without stopping a round (0.1); it decides how dense a "
     "regular graph is, a complete one bears what its threshold leaves",
     0},
    {"semi-honest", KEY_SEMI_HONEST, NULL, 0,
     "the coordinator is trusted to follow the protocol: smaller graphs, lower thresholds", 0},
    {"graph", KEY_GRAPH, "KIND", 0,
     "who masks with whom: complete, regular (by size: complete below 100 participants)", 0},
    {"key-timeout", KEY_KEY_TIMEOUT, "S", 0, "longest wait for keys and for shares (30)", 0},
    {"unmask-timeout", KEY_UNMASK_TIMEOUT, "S", 0, "… for consents and for unmasking (30)", 0},
    {"server-optimiser", KEY_SERVER_OPTIMISER, "KIND", 0, "fedavg (default), fedavgm or fedadam",
     0},
    {"server-learning-rate", KEY_SERVER_LEARNING_RATE, "X", 0,
     "step along the mean update (1; fedadam 0.01)", 0},
    {"server-momentum", KEY_SERVER_MOMENTUM, "X", 0, "of fedavgm and fedadam (0.9)", 0},
    {"batch", KEY_BATCH, "N", 0, "images per step (64)", 0},
    {"local-epochs", KEY_LOCAL_EPOCHS, "X", 0, "passes over a participant's data per round (1)", 0},
    {"learning-rate", KEY_LEARNING_RATE, "X", 0, "peak learning rate (0.08)", 0},
    {"schedule", KEY_SCHEDULE, "KIND", 0, "over a stage: constant, cosine (default) or one-cycle",
     0},
    {"momentum", KEY_MOMENTUM, "X", 0, "momentum of SGD (0.9)", 0},
    {"weight-decay", KEY_WEIGHT_DECAY, "X", 0, "L2 decay of weights (5e-4)", 0},
    {"l1", KEY_L1, "X", 0, "L1 penalty on convolution weights (0)", 0},
    {"label-smoothing", KEY_LABEL_SMOOTHING, "X", 0, "share of the target spread evenly (0)", 0},
    {"proximal", KEY_PROXIMAL, "X", 0, "FedProx: weight of the distance to the global model (0)",
     0},
    {"distill", KEY_DISTILL, "X", 0,
     "weight of what the dense model says of each image, 0 to 1 (0.9; 0: labels alone); "
     "participants "
     "fetch it once",
     0},
    {"distill-temperature", KEY_DISTILL_TEMPERATURE, "T", 0, "softens what it says, 0.1 to 100 (4)",
     0},
    {0},
};

static uint32_t seconds(const struct argp_state *state, const char *option, const char *text,
                        double min)
{
    return (uint32_t)(1000.0 * pf_cli_real(state, option, text, min, 604800));
}

static enum pf_schedule_kind schedule_kind(const struct argp_state *state, const char *text)
{
    for (unsigned kind = PF_SCHEDULE_CONSTANT; kind <= PF_SCHEDULE_ONE_CYCLE; kind++)
        if (strcmp(text, pf_schedule_kind_name((enum pf_schedule_kind)kind)) == 0)
            return (enum pf_schedule_kind)kind;
    argp_error(state, "--schedule: '%s' is none of constant, cosine, one-cycle", text);
    return PF_SCHEDULE_CONSTANT;
}

static enum pf_server_optimiser_kind optimiser_kind(const struct argp_state *state,
                                                    const char *text)
{
    for (unsigned kind = PF_FEDAVG; kind <= PF_FEDADAM; kind++)
        if (strcmp(text, pf_server_optimiser_name((enum pf_server_optimiser_kind)kind)) == 0)
            return (enum pf_server_optimiser_kind)kind;
    argp_error(state, "--server-optimiser: '%s' is none of fedavg, fedavgm, fedadam", text);
    return PF_FEDAVG;
}

static error_t parse_training(int key, const char *arg, const struct argp_state *state,
                              struct pf_training_order *order)
{
    switch (key) {
    case KEY_BATCH:
        order->batch = (uint32_t)pf_cli_number(state, "--batch", arg, 1, PF_MAX_BATCH);
        break;
    case KEY_LOCAL_EPOCHS:
        order->epochs = pf_cli_real(state, "--local-epochs", arg, 0.001, PF_MAX_ORDER_EPOCHS);
        break;
    case KEY_LEARNING_RATE:
        order->learning_rate = pf_cli_real(state, "--learning-rate", arg, 0, 100);
        break;
    case KEY_SCHEDULE: order->schedule = schedule_kind(state, arg); break;
    case KEY_MOMENTUM: order->momentum = pf_cli_real(state, "--momentum", arg, 0, 0.9999); break;
    case KEY_WEIGHT_DECAY:
        order->weight_decay = pf_cli_real(state, "--weight-decay", arg, 0, 1);
        break;
    case KEY_L1: order->l1 = pf_cli_real(state, "--l1", arg, 0, 1); break;
    case KEY_LABEL_SMOOTHING:
        order->label_smoothing = pf_cli_real(state, "--label-smoothing", arg, 0, 0.9);
        break;
    case KEY_PROXIMAL: order->proximal = pf_cli_real(state, "--proximal", arg, 0, 1000); break;
    case KEY_DISTILL_TEMPERATURE:
        order->distill_temperature =
            pf_cli_real(state, "--distill-temperature", arg, PF_MIN_ORDER_TEMPERATURE,
                        PF_MAX_ORDER_TEMPERATURE);
        break;
    default: return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

static enum pf_aggregation aggregation_kind(const struct argp_state *state, const char *text)
{
    if (strcmp(text, pf_aggregation_name(PF_AGGREGATION_SECURE)) == 0) return PF_AGGREGATION_SECURE;
    if (strcmp(text, pf_aggregation_name(PF_AGGREGATION_PLAIN)) != 0)
        argp_error(state, "--aggregation: '%s' is neither secure nor plain", text);
    return PF_AGGREGATION_PLAIN;
}

static enum pf_graph_kind graph_kind(const struct argp_state *state, const char *text)
{
    if (strcmp(text, pf_graph_name(PF_GRAPH_COMPLETE)) == 0) return PF_GRAPH_COMPLETE;
    if (strcmp(text, pf_graph_name(PF_GRAPH_HARARY)) != 0)
        argp_error(state, "--graph: '%s' is neither complete nor regular", text);
    return PF_GRAPH_HARARY;
}

static error_t parse_secure(int key, const char *arg, const struct argp_state *state,
                            struct pf_coordinator_config *config)
{
    struct pf_masking_order *masking = &config->masking;
    switch (key) {
    case KEY_AGGREGATION: config->aggregation = aggregation_kind(state, arg); break;
    case KEY_UPDATE_BITS:
        masking->value_bits = (uint32_t)pf_cli_number(
            state, "--update-bits", arg, PF_CODEC_MIN_VALUE_BITS, PF_CODEC_MAX_VALUE_BITS);
        break;
    case KEY_WEIGHT_CAP:
        masking->weight_cap =
            (uint32_t)pf_cli_number(state, "--weight-cap", arg, 1, PF_MAX_WEIGHT_CAP);
        break;
    case KEY_CLIP_NORM:
        for (size_t s = 0; s < PF_CODEC_SEGMENTS; s++)
            masking->clip[s] = pf_cli_real(state, "--clip-norm", arg, PF_MIN_CLIP, PF_MAX_CLIP);
        config->fixed_clip = true;
        break;
    case KEY_NO_ROTATION: masking->rotate = false; break;
    case KEY_MAX_CORRUPT:
        config->corrupt = pf_cli_real(state, "--max-corrupt", arg, 0, 0.99);
        break;
    case KEY_MAX_DROPOUT:
        config->dropouts = pf_cli_real(state, "--max-dropout", arg, 0, 0.99);
        break;
    case KEY_SEMI_HONEST: config->adversary = PF_SEMI_HONEST; break;
    case KEY_GRAPH: config->graph = graph_kind(state, arg); break;
    case KEY_KEY_TIMEOUT: config->key_timeout_ms = seconds(state, "--key-timeout", arg, 0.1); break;
    case KEY_UNMASK_TIMEOUT:
        config->unmask_timeout_ms = seconds(state, "--unmask-timeout", arg, 0.1);
        break;
    default: return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

/* What needs the whole line: the optimiser's own figures may come before its name. */
static void finish_rounds(const struct argp_state *state, struct pf_options_rounds *self)
{
    struct pf_coordinator_config *config = &self->config;
    uint32_t quorum = config->quorum, cohort = config->min_cohort;
    if (quorum > 0 && cohort > 0 && quorum > cohort)
        argp_error(state, "--quorum %u is more than --min-cohort %u", quorum, cohort);
    if (self->server_learning_rate > 0)
        config->optimiser.learning_rate = self->server_learning_rate;
    if (self->server_momentum >= 0) config->optimiser.momentum = self->server_momentum;
}

static error_t parse_rounds(int key, char *arg, struct argp_state *state)
{
    struct pf_options_rounds *self = state->input;
    struct pf_coordinator_config *config = &self->config;
    switch (key) {
    case ARGP_KEY_INIT:
        *self = (struct pf_options_rounds){.server_momentum = -1, .distill = -1};
        pf_coordinator_config_default(config);
        break;
    case ARGP_KEY_SUCCESS: finish_rounds(state, self); break;
    case KEY_MIN_COHORT:
        config->min_cohort = (uint32_t)pf_cli_number(state, "--min-cohort", arg, 1, PF_MAX_COHORT);
        break;
    case KEY_QUORUM:
        config->quorum = (uint32_t)pf_cli_number(state, "--quorum", arg, 1, PF_MAX_COHORT);
        break;
    case KEY_MAX_FAILED_ROUNDS:
        config->max_failed_rounds =
            (uint32_t)pf_cli_number(state, "--max-failed-rounds", arg, 0, 1000);
        break;
    case KEY_JOIN_TIMEOUT:
        config->join_timeout_ms = seconds(state, "--join-timeout", arg, 0.1);
        break;
    case KEY_GATHER: config->gather_ms = seconds(state, "--gather", arg, 0); break;
    case KEY_ROUND_TIMEOUT:
        config->round_timeout_ms = seconds(state, "--round-timeout", arg, 0.1);
        break;
    case KEY_LIVENESS: config->liveness_ms = seconds(state, "--liveness", arg, 0.4); break;
    case KEY_DISTILL:
        config->order.distill_weight = self->distill = pf_cli_real(state, "--distill", arg, 0, 1);
        break;
    case KEY_SERVER_OPTIMISER:
        pf_server_optimiser_default(optimiser_kind(state, arg), &config->optimiser);
        break;
    case KEY_SERVER_LEARNING_RATE:
        self->server_learning_rate = pf_cli_real(state, "--server-learning-rate", arg, 1e-9, 1000);
        break;
    case KEY_SERVER_MOMENTUM:
        self->server_momentum = pf_cli_real(state, "--server-momentum", arg, 0, 0.9999);
        break;
    default:
        if (parse_secure(key, arg, state, config) == 0) return 0;
        return parse_training(key, arg, state, &config->order);
    }
    return 0;
}

uint32_t pf_options_update_bits(const struct pf_options_rounds *self)
{
    return self->config.aggregation == PF_AGGREGATION_SECURE ? self->config.masking.value_bits : 32;
}

const struct argp pf_options_rounds_argp = {.options = options, .parser = parse_rounds};

void pf_options_fit_distillation(struct pf_options_rounds *self, const struct pf_model *model)
{
    if (self->distill < 0)
        self->config.order.distill_weight =
            pf_model_is_packed(model) ? 0.0 : PF_DEFAULT_DISTILL_WEIGHT;
}
