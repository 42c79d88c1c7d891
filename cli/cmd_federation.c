/* packfed federation: the whole job on one host. */
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/in_process.h"
#include "cli/options.h"
#include "common/base/clock.h"
#include "common/base/file.h"
#include "common/base/log.h"
#include "common/base/memory.h"
#include "coordinator/run_folder.h"
#include "proto/model_file.h"
#include "sim/federation/conclusion.h"
#include "sim/federation/federation.h"

#define COMMAND "federation"
#define DEFAULT_PARTICIPANTS 4

enum {
    KEY_PARTICIPANTS = 0x2000,
    KEY_OUT,
    KEY_MODEL,
    KEY_PRETRAIN_EPOCHS,
    KEY_PRETRAIN_LEARNING_RATE,
    KEY_CHECK,
    KEY_NO_AUGMENTATION,
    KEY_ACTIVATIONS,
};

struct federation_options {
    struct pf_options_common common;
    struct pf_options_data data;
    struct pf_options_network network;
    struct pf_options_rounds rounds;
    struct pf_options_combine combine;
    struct pf_options_partition partition;
    struct pf_options_array array;
    struct pf_options_in_process in_process; /* listed here, used there */
    size_t participants;
    const char *out;
    const char *model;
    size_t n_checked;
    struct pf_train_options pretrain;
    bool no_augmentation;
};

static const struct argp_option own_options[] = {
    {0, 0, 0, 0, "The run:", 1},
    {"participants", KEY_PARTICIPANTS, "N", 0, "processes with private data (4)", 1},
    {"out", KEY_OUT, "DIR", 0, "run folder, new or empty (run)", 1},
    {"model", KEY_MODEL, "FILE", 0, "start from this dense model instead of pretraining", 1},
    {"pretrain-epochs", KEY_PRETRAIN_EPOCHS, "X", 0,
     "passes over the whole training set before combining (12)", 1},
    {"pretrain-learning-rate", KEY_PRETRAIN_LEARNING_RATE, "X", 0, "its peak learning rate (0.2)",
     1},
    {"check", KEY_CHECK, "N", 0,
     "test images compared with the integer reference, logit by logit (64)", 1},
    {"no-augmentation", KEY_NO_AUGMENTATION, NULL, 0, "neither random crops nor flips", 1},
    {"activations", KEY_ACTIVATIONS, "KIND", 0, PF_ACTIVATIONS_HELP, 1},
    {0},
};

static const struct argp_child children[] = {
    {&pf_options_data_argp, 0, "Data:", 3},
    {&pf_options_partition_argp, 0, NULL, 3},
    {&pf_options_network_argp, 0, "Network:", 4},
    {&pf_options_combine_argp, 0, "Column combining and its stages:", 5},
    {&pf_options_rounds_argp, 0, "Rounds, and retraining at the participants:", 6},
    {&pf_options_array_argp, 0, "Systolic array:", 7},
    {&pf_options_in_process_argp, 0, "Simulation in one process:", 8},
    {&pf_options_common_argp, 0, "General:", 9},
    {0},
};

static void set_defaults(struct federation_options *self)
{
    self->participants = DEFAULT_PARTICIPANTS;
    self->out = "run";
    self->n_checked = PF_CHECKED_IMAGES;
    pf_train_options_default(&self->pretrain);
}

static void set_child_inputs(struct federation_options *self, struct argp_state *state)
{
    void *inputs[] = {&self->data,   &self->partition, &self->network,    &self->combine,
                      &self->rounds, &self->array,     &self->in_process, &self->common};
    memcpy(state->child_inputs, inputs, sizeof inputs);
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct federation_options *self = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        set_defaults(self);
        set_child_inputs(self, state);
        break;
    case KEY_PARTICIPANTS:
        self->participants =
            (size_t)pf_cli_number(state, "--participants", arg, 1, PF_MAX_LOCAL_PARTICIPANTS);
        break;
    case KEY_OUT: self->out = arg; break;
    case KEY_MODEL: self->model = arg; break;
    case KEY_PRETRAIN_EPOCHS:
        self->pretrain.epochs = pf_cli_real(state, "--pretrain-epochs", arg, 1e-9, 1e5);
        break;
    case KEY_PRETRAIN_LEARNING_RATE:
        self->pretrain.learning_rate =
            pf_cli_real(state, "--pretrain-learning-rate", arg, 1e-9, 1e5);
        break;
    case KEY_CHECK:
        self->n_checked = (size_t)pf_cli_number(state, "--check", arg, 1, 1000000);
        break;
    case ARGP_KEY_END:
        if (self->in_process.first_given != NULL)
            argp_error(state, "%s goes with --in-process, written in full",
                       self->in_process.first_given);
        break;
    case ARGP_KEY_ARG: argp_error(state, "'%s' is not an option; --help lists them", arg); break;
    case KEY_NO_AUGMENTATION:
        self->no_augmentation = true;
        self->pretrain.augmentation = (struct pf_augmentation){0};
        break;
    case KEY_ACTIVATIONS: self->pretrain.activations = pf_cli_activations(state, arg); break;
    default: return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

static const struct argp argp = {
    .options = own_options,
    .parser = parse,
    .children = children,
    .doc = "Run the whole job on this host: pretrain a dense model (or load one), combine its "
           "columns, retrain at participants in their own processes, evaluate on the simulated "
           "bit-serial array, and write a run folder.\vEvery option has a default: 'packfed "
           "federation' alone takes a minute or two on two cores."};

/* ---- the job ------------------------------------------------------------------------------ */

/* What the steps hand on. */
struct job {
    struct federation_options options;
    const struct pf_progress *progress;
    struct pf_dataset *train, *test;
    struct pf_model *dense;
    double started;
    char program[PATH_MAX]; /* this binary, for the participants */
};

static void job_finish(struct job *self)
{
    pf_dataset_destroy(self->train);
    pf_dataset_destroy(self->test);
    pf_model_destroy(self->dense);
}

static enum pf_status load_data(struct job *self, struct pf_error *err)
{
    struct pf_data_source *source = &self->options.data.source;
    source->seed = self->options.common.seed;
    PF_TRY(pf_dataset_load(source, PF_SPLIT_TEST, &self->test, err));
    return pf_dataset_load(source, PF_SPLIT_TRAIN, &self->train, err);
}

static enum pf_status pretrain(struct job *self, struct pf_error *err)
{
    const struct federation_options *options = &self->options;
    struct pf_network network = options->network.network;
    PF_TRY(pf_options_network_for(&network, self->train, err));
    PF_TRY(pf_model_create(&network, NULL, &self->dense, err));
    pf_model_initialise(self->dense, options->common.seed);
    pf_dataset_statistics(self->train, self->dense->input_mean, self->dense->input_std);
    struct pf_train_options train = options->pretrain;
    train.seed = options->common.seed;
    PF_CLEANUP(pf_pool_destroyp) struct pf_pool *pool = NULL;
    PF_TRY(pf_pool_create(options->common.threads, &pool, err));
    return pf_train(self->dense, self->train, &train, pool, self->progress, err);
}

static enum pf_status prepare_model(struct job *self, struct pf_error *err)
{
    if (self->options.model == NULL) return pretrain(self, err);
    PF_TRY(pf_model_load(self->options.model, &self->dense, err));
    if (pf_model_is_packed(self->dense))
        return pf_fail(err, PF_INVALID, "%s is combined already: give a dense model (--model)",
                       self->options.model);
    return PF_OK;
}

static enum pf_status configure(struct job *self, struct pf_federation_config *config,
                                struct pf_error *err)
{
    struct federation_options *options = &self->options;
    *config = (struct pf_federation_config){
        .program = self->program,
        .n_participants = options->participants,
        .source = options->data.source,
        .partition = options->partition.partition,
        .augmentation = !options->no_augmentation,
        .activations = options->pretrain.activations,
        .seed = options->common.seed,
        .coordinator = options->rounds.config,
    };
    if (config->partition.fraction <= 0)
        config->partition.fraction = 1.0 / (double)options->participants;
    if (config->partition.fraction * (double)options->participants > 1.0 + 1e-9)
        return pf_fail(
            err, PF_INVALID,
            "%zu participants with a fraction of %g each are more than the whole training "
            "set: give a smaller --fraction or fewer --participants",
            options->participants, config->partition.fraction);
    pf_options_complete(&options->combine, &options->common, &options->array);
    PF_TRY(pf_schedule_plan(&options->combine.schedule, &config->coordinator.schedule, err));
    config->coordinator.run_folder = options->out;
    config->coordinator.model = self->dense;
    config->coordinator.test_set = self->test;
    config->coordinator.n_threads = options->common.threads;
    config->coordinator.seed = options->common.seed;
    return PF_OK;
}

static enum pf_status conclude(const struct job *self, const struct pf_coordinator_result *result,
                               struct pf_conclusion *conclusion, struct pf_error *err)
{
    struct pf_conclusion_config config = {
        .run_folder = self->options.out,
        .result = result,
        .data = pf_data_kind_name(self->options.data.source.kind),
        .seed = self->options.common.seed,
        .n_participants = self->options.participants,
        .update_bits = pf_options_update_bits(&self->options.rounds),
        .distill = self->options.rounds.config.order.distill_weight,
        .array = self->options.array.array,
        .test_set = self->test,
        .n_checked = self->options.n_checked,
        .n_threads = self->options.common.threads,
        .seconds = pf_clock_seconds() - self->started,
    };
    return pf_conclude(&config, self->progress, conclusion, err);
}

/* Everything that can be refused is refused before the long work. */
static enum pf_status check_early(struct job *self, struct pf_error *err)
{
    struct federation_options *options = &self->options;
    struct pf_schedule plan;
    PF_TRY(pf_run_folder_check(options->out, err));
    PF_TRY(pf_folder_create(options->out, err));
    if (access(options->out, W_OK) != 0)
        return pf_fail_errno(err, PF_IO, "%s: cannot write here (--out)", options->out);
    PF_TRY(pf_array_validate(&options->array.array, err));
    if (options->model == NULL) {
        PF_TRY(pf_options_fit_alpha(&options->combine.schedule, options->network.network.n_blocks,
                                    err));
        PF_TRY(pf_schedule_plan(&options->combine.schedule, &plan, err));
    }
    return PF_OK;
}

static enum pf_status find_program(struct job *self, struct pf_error *err)
{
    ssize_t n = readlink("/proc/self/exe", self->program, sizeof self->program - 1);
    if (n < 0) return pf_fail_errno(err, PF_IO, "/proc/self/exe: cannot find this program");
    self->program[n] = '\0';
    return PF_OK;
}

static enum pf_status run(struct job *self, struct pf_error *err)
{
    PF_TRY(find_program(self, err));
    PF_TRY(load_data(self, err));
    PF_TRY(prepare_model(self, err));
    PF_TRY(
        pf_options_fit_alpha(&self->options.combine.schedule, self->dense->network.n_blocks, err));
    pf_options_fit_distillation(&self->options.rounds, self->dense);
    struct pf_federation_config config;
    PF_TRY(configure(self, &config, err));
    PF_CLEANUP(pf_coordinator_result_finish) struct pf_coordinator_result result = {0};
    PF_TRY(pf_federation_run(&config, self->progress, &result, err));
    PF_CLEANUP(pf_freep) struct pf_conclusion *conclusion = PF_ALLOC(1, struct pf_conclusion);
    if (conclusion == NULL) return pf_no_memory(err, "the summary");
    PF_TRY(conclude(self, &result, conclusion, err));
    return pf_cli_print_summary(&conclusion->summary, self->options.out, self->options.common.json,
                                err);
}

int pf_cmd_federation(int argc, char **argv)
{
    if (pf_cli_is_in_process(argc, argv)) return pf_cmd_in_process(argc, argv);
    PF_CLEANUP(job_finish) struct job job = {.started = pf_clock_seconds()};
    pf_cli_parse(&argp, argc, argv, &job.options);
    pf_cli_log_to_stderr(job.options.common.quiet     ? PF_LOG_WARNING
                         : job.options.common.verbose ? PF_LOG_DEBUG
                                                      : PF_LOG_INFO);
    job.progress = pf_cli_progress(job.options.common.quiet);
    struct pf_error err = {0};
    enum pf_status status = check_early(&job, &err);
    if (status == PF_INVALID) return pf_cli_usage(COMMAND, &err);
    if (status != PF_OK || run(&job, &err) != PF_OK) return pf_cli_fail(COMMAND, &err);
    return PF_EXIT_OK;
}
