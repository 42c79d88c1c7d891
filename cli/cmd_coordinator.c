/* packfed coordinator: serves one federated run over the network. */
#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "cli/options.h"
#include "common/base/log.h"
#include "common/base/text.h"
#include "coordinator/coordinator.h"
#include "proto/model_file.h"

enum {
    KEY_IDENTITY = 0x2000,
    KEY_ROSTER,
    KEY_AUTHORITY,
    KEY_MODEL,
    KEY_LISTEN,
    KEY_NO_EVALUATION,
    KEY_MIN_COHORT,
    KEY_QUORUM,
    KEY_MAX_FAILED_ROUNDS,
    KEY_JOIN_TIMEOUT,
    KEY_GATHER,
    KEY_ROUND_TIMEOUT,
    KEY_LIVENESS,
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
};

struct coordinator_command {
    struct pf_options_common common;
    struct pf_options_combine combine;
    struct pf_options_data data;
    struct pf_coordinator_config config;
    const char *identity, *roster, *authority, *model;
    bool no_evaluation;
    /* 0: the default of the kind, which may be chosen later on the line */
    double server_learning_rate;
    double server_momentum; /* < 0: likewise */
};

/* ---- options ------------------------------------------------------------------------------ */

static const struct argp_option options[] = {
    {"identity", KEY_IDENTITY, "FILE", 0, "the coordinator's secret key, NAME.key", 0},
    {"roster", KEY_ROSTER, "FILE", 0, "who may take part", 0},
    {"authority", KEY_AUTHORITY, "FILE", 0, "public key that must have signed the roster", 0},
    {"model", KEY_MODEL, "FILE", 0, "the pretrained model to combine and retrain", 0},
    {"listen", KEY_LISTEN, "ENDPOINT", 0, "where to serve (tcp://0.0.0.0:7700)", 0},
    {"out", 'o', "DIR", 0, "run folder; must be absent or empty", 0},
    {"no-evaluation", KEY_NO_EVALUATION, NULL, 0, "there is no test set here", 0},
    {0, 0, NULL, 0, "Rounds:", 1},
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
    {"server-optimiser", KEY_SERVER_OPTIMISER, "KIND", 0, "fedavg (default), fedavgm or fedadam",
     0},
    {"server-learning-rate", KEY_SERVER_LEARNING_RATE, "X", 0,
     "step along the mean update (1; fedadam 0.01)", 0},
    {"server-momentum", KEY_SERVER_MOMENTUM, "X", 0, "of fedavgm and fedadam (0.9)", 0},
    {0, 0, NULL, 0, "Local training:", 2},
    {"batch", KEY_BATCH, "N", 0, "images per step (64)", 0},
    {"local-epochs", KEY_LOCAL_EPOCHS, "X", 0, "passes over a participant's data per round (1)", 0},
    {"learning-rate", KEY_LEARNING_RATE, "X", 0, "peak learning rate (0.05)", 0},
    {"schedule", KEY_SCHEDULE, "KIND", 0, "over a stage: constant, cosine (default) or one-cycle",
     0},
    {"momentum", KEY_MOMENTUM, "X", 0, "momentum of SGD (0.9)", 0},
    {"weight-decay", KEY_WEIGHT_DECAY, "X", 0, "L2 decay of weights (5e-4)", 0},
    {"l1", KEY_L1, "X", 0, "L1 penalty on convolution weights (0)", 0},
    {"label-smoothing", KEY_LABEL_SMOOTHING, "X", 0, "share of the target spread evenly (0)", 0},
    {"proximal", KEY_PROXIMAL, "X", 0, "FedProx: weight of the distance to the global model (0)",
     0},
    {0},
};

static double real(const struct argp_state *state, const char *option, const char *text, double min,
                   double max)
{
    struct pf_error err;
    double value = min;
    if (pf_text_double(option, text, min, max, &value, &err) != PF_OK)
        argp_error(state, "%s", err.text);
    return value;
}

static uint32_t whole(const struct argp_state *state, const char *option, const char *text,
                      uint32_t min, uint32_t max)
{
    struct pf_error err;
    uint64_t value = min;
    if (pf_text_u64(option, text, min, max, &value, &err) != PF_OK)
        argp_error(state, "%s", err.text);
    return (uint32_t)value;
}

static uint32_t seconds(const struct argp_state *state, const char *option, const char *text,
                        double min)
{
    return (uint32_t)(1000.0 * real(state, option, text, min, 604800));
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
    case KEY_BATCH: order->batch = whole(state, "--batch", arg, 1, PF_MAX_BATCH); break;
    case KEY_LOCAL_EPOCHS:
        order->epochs = real(state, "--local-epochs", arg, 0.001, PF_MAX_ORDER_EPOCHS);
        break;
    case KEY_LEARNING_RATE:
        order->learning_rate = real(state, "--learning-rate", arg, 0, 100);
        break;
    case KEY_SCHEDULE: order->schedule = schedule_kind(state, arg); break;
    case KEY_MOMENTUM: order->momentum = real(state, "--momentum", arg, 0, 0.9999); break;
    case KEY_WEIGHT_DECAY: order->weight_decay = real(state, "--weight-decay", arg, 0, 1); break;
    case KEY_L1: order->l1 = real(state, "--l1", arg, 0, 1); break;
    case KEY_LABEL_SMOOTHING:
        order->label_smoothing = real(state, "--label-smoothing", arg, 0, 0.9);
        break;
    case KEY_PROXIMAL: order->proximal = real(state, "--proximal", arg, 0, 1000); break;
    default: return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

static error_t parse_rounds(int key, const char *arg, const struct argp_state *state,
                            struct coordinator_command *self)
{
    struct pf_coordinator_config *config = &self->config;
    switch (key) {
    case KEY_MIN_COHORT:
        config->min_cohort = whole(state, "--min-cohort", arg, 1, PF_MAX_COHORT);
        break;
    case KEY_QUORUM: config->quorum = whole(state, "--quorum", arg, 1, PF_MAX_COHORT); break;
    case KEY_MAX_FAILED_ROUNDS:
        config->max_failed_rounds = whole(state, "--max-failed-rounds", arg, 0, 1000);
        break;
    case KEY_JOIN_TIMEOUT:
        config->join_timeout_ms = seconds(state, "--join-timeout", arg, 0.1);
        break;
    case KEY_GATHER: config->gather_ms = seconds(state, "--gather", arg, 0); break;
    case KEY_ROUND_TIMEOUT:
        config->round_timeout_ms = seconds(state, "--round-timeout", arg, 0.1);
        break;
    case KEY_LIVENESS: config->liveness_ms = seconds(state, "--liveness", arg, 0.4); break;
    case KEY_SERVER_OPTIMISER:
        pf_server_optimiser_default(optimiser_kind(state, arg), &config->optimiser);
        break;
    case KEY_SERVER_LEARNING_RATE:
        self->server_learning_rate = real(state, "--server-learning-rate", arg, 1e-9, 1000);
        break;
    case KEY_SERVER_MOMENTUM:
        self->server_momentum = real(state, "--server-momentum", arg, 0, 0.9999);
        break;
    default: return parse_training(key, arg, state, &config->order);
    }
    return 0;
}

static void check_given(const struct argp_state *state, const struct coordinator_command *self)
{
    const struct {
        const char *value, *option;
    } needed[] = {
        {self->identity, "--identity NAME.key"},   {self->roster, "--roster FILE"},
        {self->authority, "--authority NAME.pub"}, {self->model, "--model FILE"},
        {self->config.run_folder, "--out DIR"},
    };
    for (size_t i = 0; i < PF_ARRAY_LENGTH(needed); i++)
        if (needed[i].value == NULL) argp_error(state, "give %s", needed[i].option);
    uint32_t quorum = self->config.quorum, cohort = self->config.min_cohort;
    if (quorum > 0 && cohort > 0 && quorum > cohort)
        argp_error(state, "--quorum %u is more than --min-cohort %u", quorum, cohort);
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct coordinator_command *self = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        pf_coordinator_config_default(&self->config);
        self->server_momentum = -1;
        state->child_inputs[0] = &self->combine;
        state->child_inputs[1] = &self->data;
        state->child_inputs[2] = &self->common;
        break;
    case KEY_IDENTITY: self->identity = arg; break;
    case KEY_ROSTER: self->roster = arg; break;
    case KEY_AUTHORITY: self->authority = arg; break;
    case KEY_MODEL: self->model = arg; break;
    case KEY_LISTEN: self->config.listen = arg; break;
    case 'o': self->config.run_folder = arg; break;
    case KEY_NO_EVALUATION: self->no_evaluation = true; break;
    case ARGP_KEY_ARG: argp_error(state, "what is '%s'?", arg); break;
    case ARGP_KEY_END: check_given(state, self); break;
    default: return parse_rounds(key, arg, state, self);
    }
    return 0;
}

/* ---- the result --------------------------------------------------------------------------- */

static json_t *json_number(double value)
{
    return isnan(value) ? json_null() : json_real(value);
}

static json_t *json_stages(const struct pf_coordinator_result *result)
{
    json_t *stages = json_array();
    for (size_t s = 0; s < result->n_stages; s++) {
        const struct pf_coordinator_stage *stage = &result->stages[s];
        json_array_append_new(stages,
                              json_pack("{s:I,s:I,s:o}", "rounds", (json_int_t)stage->rounds,
                                        "nonzeros", (json_int_t)stage->nonzeros, "combined",
                                        json_number(stage->accuracy_percent)));
    }
    return stages;
}

static void print_json(const struct coordinator_command *self,
                       const struct pf_coordinator_result *result)
{
    char run_id[2 * PF_RUN_ID_BYTES + 1];
    pf_text_hex(run_id, result->run_id.bytes, sizeof result->run_id.bytes);
    json_t *object = json_pack(
        "{s:s,s:b,s:s,s:s,s:s,s:I,s:I,s:I,s:{s:o,s:o,s:o,s:o},s:{s:I,s:I},s:{s:o,s:o,s:I},s:o,s:f}",
        "run", run_id, "success", (int)result->success, "sentence", result->sentence, "out",
        self->config.run_folder, "aggregation", pf_aggregation_name(result->aggregation),
        "participants", (json_int_t)result->n_participants, "rounds",
        (json_int_t)result->rounds_completed, "rounds_abandoned",
        (json_int_t)result->rounds_abandoned, "accuracy_percent", "dense",
        json_number(result->accuracy.dense), "one_shot", json_number(result->accuracy.one_shot),
        "combined", json_number(result->accuracy.combined), "retrained",
        json_number(result->accuracy.retrained), "nonzeros", "dense",
        (json_int_t)result->nonzeros.dense, "packed", (json_int_t)result->nonzeros.packed, "bytes",
        "upload_per_participant", json_number(result->upload_per_participant),
        "download_per_participant", json_number(result->download_per_participant), "dense_update",
        (json_int_t)result->dense_update_bytes, "stages", json_stages(result), "seconds",
        result->seconds);
    json_dumpf(object, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(10));
    putchar('\n');
    json_decref(object);
}

static void print_accuracy(const char *what, double percent)
{
    if (isnan(percent))
        printf("  %-34s –\n", what);
    else
        printf("  %-34s %6.2f %%\n", what, percent);
}

static void print_table(const struct coordinator_command *self,
                        const struct pf_coordinator_result *result)
{
    char text[32];
    printf("%u rounds with %zu participants, %s aggregation, %.1f s\n", result->rounds_completed,
           result->n_participants, pf_aggregation_name(result->aggregation), result->seconds);
    if (result->rounds_abandoned > 0)
        printf("%u further rounds were abandoned\n", result->rounds_abandoned);
    printf("accuracy on the test set\n");
    print_accuracy("dense, as given", result->accuracy.dense);
    print_accuracy("just combined, in one step", result->accuracy.one_shot);
    print_accuracy("combined in stages, last combining", result->accuracy.combined);
    print_accuracy("retrained", result->accuracy.retrained);
    printf("nonzeros %s", pf_text_thousands(text, result->nonzeros.dense));
    printf(" → %s\n", pf_text_thousands(text, result->nonzeros.packed));
    if (result->n_participants > 0) {
        printf("bytes per participant: %s up",
               pf_text_thousands(text, (uint64_t)result->upload_per_participant));
        printf(", %s down", pf_text_thousands(text, (uint64_t)result->download_per_participant));
        printf(" (one dense update: %s)\n", pf_text_thousands(text, result->dense_update_bytes));
    }
    printf("the run is in %s\n", self->config.run_folder);
}

/* ---- the command -------------------------------------------------------------------------- */

/* What the command line names, in memory. */
struct inputs {
    struct pf_identity identity;
    struct pf_roster *roster;
    struct pf_model *model;
    struct pf_dataset *test_set;
};

static void inputs_finish(struct inputs *self)
{
    pf_identity_finish(&self->identity);
    pf_roster_destroy(self->roster);
    pf_model_destroy(self->model);
    pf_dataset_destroy(self->test_set);
}

static enum pf_status load_keys(const struct coordinator_command *self, struct inputs *inputs,
                                struct pf_error *err)
{
    struct pf_public_identity authority;
    PF_TRY(pf_identity_load(self->identity, &inputs->identity, err));
    PF_TRY(pf_public_identity_load(self->authority, &authority, err));
    PF_TRY(pf_roster_load(self->roster, &authority, &inputs->roster, err));
    if (pf_coordinator_is_named(&inputs->identity, inputs->roster)) return PF_OK;
    return pf_fail(err, PF_REFUSED,
                   "%s: is the key of '%s', but %s names '%s' as coordinator (--identity)",
                   self->identity, inputs->identity.public.name, self->roster,
                   inputs->roster->coordinator.name);
}

static enum pf_status load_inputs(struct coordinator_command *self, struct inputs *inputs,
                                  struct pf_error *err)
{
    PF_TRY(load_keys(self, inputs, err));
    PF_TRY(pf_model_load(self->model, &inputs->model, err));
    PF_TRY(pf_options_fit_alpha(&self->combine.schedule, inputs->model->network.n_blocks, err));
    PF_TRY(pf_schedule_plan(&self->combine.schedule, &self->config.schedule, err));
    self->data.source.seed = self->common.seed;
    if (!self->no_evaluation)
        PF_TRY(pf_dataset_load(&self->data.source, PF_SPLIT_TEST, &inputs->test_set, err));
    return PF_OK;
}

static void fill_config(struct coordinator_command *self, const struct inputs *inputs)
{
    struct pf_coordinator_config *config = &self->config;
    config->identity = &inputs->identity;
    config->roster = inputs->roster;
    config->model = inputs->model;
    config->test_set = inputs->test_set;
    config->n_threads = self->common.threads;
    config->seed = self->common.seed;
    if (self->server_learning_rate > 0)
        config->optimiser.learning_rate = self->server_learning_rate;
    if (self->server_momentum >= 0) config->optimiser.momentum = self->server_momentum;
}

static int run(struct coordinator_command *self)
{
    PF_CLEANUP(inputs_finish) struct inputs inputs = {0};
    const struct pf_progress *progress = pf_cli_progress(self->common.quiet);
    struct pf_coordinator_result result;
    struct pf_error err;
    if (load_inputs(self, &inputs, &err) != PF_OK) return pf_cli_fail("coordinator", &err);
    fill_config(self, &inputs);
    enum pf_status status = pf_coordinator_run(&self->config, progress, &result, &err);
    if (status == PF_OK && self->common.json) print_json(self, &result);
    if (status == PF_OK && !self->common.json) print_table(self, &result);
    pf_coordinator_result_finish(&result);
    return status == PF_OK ? PF_EXIT_OK : pf_cli_fail("coordinator", &err);
}

int pf_cmd_coordinator(int argc, char **argv)
{
    static const struct argp_child children[] = {
        {&pf_options_combine_argp, 0, "Combining:", 3},
        {&pf_options_data_argp, 0, "Test set:", 4},
        {&pf_options_common_argp, 0, "Common:", 5},
        {0},
    };
    static const struct argp argp = {
        .options = options,
        .parser = parse,
        .doc = "Serves one federated run: combines the model in stages and has the participants of "
               "the roster retrain it.  Writes run.db, dense.pfm, combined.pfm and retrained.pfm "
               "into the run folder, and the address it listens on into its file 'endpoint'.\v"
               "The first signal ends the run: the participants are told, the folder is kept.",
        .children = children,
    };
    struct coordinator_command self = {0};
    pf_cli_parse(&argp, argc, argv, &self);
    pf_cli_log_to_stderr(self.common.verbose ? PF_LOG_DEBUG
                         : self.common.quiet ? PF_LOG_WARNING
                                             : PF_LOG_INFO);
    return run(&self);
}
