/* packfed coordinator: serves one federated run over the network. */

#include "cli/options.h"
#include "common/base/log.h"
#include "common/base/memory.h"
#include "coordinator/coordinator.h"
#include "proto/model_file.h"
#include "sim/federation/conclusion.h"

enum {
    KEY_IDENTITY = 0x2000,
    KEY_ROSTER,
    KEY_AUTHORITY,
    KEY_MODEL,
    KEY_LISTEN,
    KEY_NO_EVALUATION,
};

struct coordinator_command {
    struct pf_options_common common;
    struct pf_options_combine combine;
    struct pf_options_data data;
    struct pf_options_rounds rounds;
    struct pf_options_array array;
    const char *identity, *roster, *authority, *model, *listen, *out;
    bool no_evaluation;
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
    {0},
};

static void check_given(const struct argp_state *state, const struct coordinator_command *self)
{
    const struct pf_cli_need needs[] = {
        {self->identity, "--identity NAME.key"},
        {self->roster, "--roster FILE"},
        {self->authority, "--authority NAME.pub"},
        {self->model, "--model FILE"},
        {self->out, "--out DIR"},
    };
    pf_cli_check_needs(state, needs, PF_ARRAY_LENGTH(needs));
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct coordinator_command *self = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &self->rounds;
        state->child_inputs[1] = &self->combine;
        state->child_inputs[2] = &self->data;
        state->child_inputs[3] = &self->array;
        state->child_inputs[4] = &self->common;
        break;
    case KEY_IDENTITY: self->identity = arg; break;
    case KEY_ROSTER: self->roster = arg; break;
    case KEY_AUTHORITY: self->authority = arg; break;
    case KEY_MODEL: self->model = arg; break;
    case KEY_LISTEN: self->listen = arg; break;
    case 'o': self->out = arg; break;
    case KEY_NO_EVALUATION: self->no_evaluation = true; break;
    case ARGP_KEY_ARG: argp_error(state, "what is '%s'?", arg); break;
    case ARGP_KEY_END: check_given(state, self); break;
    default: return ARGP_ERR_UNKNOWN;
    }
    return 0;
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
    pf_options_complete(&self->combine, &self->common, &self->array);
    pf_options_fit_distillation(&self->rounds, inputs->model);
    PF_TRY(pf_options_fit_alpha(&self->combine.schedule, inputs->model->network.n_blocks, err));
    PF_TRY(pf_schedule_plan(&self->combine.schedule, &self->rounds.config.schedule, err));
    self->data.source.seed = self->common.seed;
    if (!self->no_evaluation)
        PF_TRY(pf_dataset_load(&self->data.source, PF_SPLIT_TEST, &inputs->test_set, err));
    return PF_OK;
}

static void fill_config(struct coordinator_command *self, const struct inputs *inputs)
{
    struct pf_coordinator_config *config = &self->rounds.config;
    config->identity = &inputs->identity;
    config->roster = inputs->roster;
    config->model = inputs->model;
    config->test_set = inputs->test_set;
    config->run_folder = self->out;
    if (self->listen != NULL) config->listen = self->listen;
    config->n_threads = self->common.threads;
    config->seed = self->common.seed;
}

static enum pf_status conclude(const struct coordinator_command *self, const struct inputs *inputs,
                               const struct pf_coordinator_result *result,
                               const struct pf_progress *progress, struct pf_error *err)
{
    PF_CLEANUP(pf_freep) struct pf_conclusion *conclusion = PF_ALLOC(1, struct pf_conclusion);
    if (conclusion == NULL) return pf_no_memory(err, "the summary");
    struct pf_conclusion_config config = {
        .run_folder = self->out,
        .result = result,
        .data = self->no_evaluation ? NULL : pf_data_kind_name(self->data.source.kind),
        .seed = self->common.seed,
        .n_participants = result->n_participants,
        .update_bits = pf_options_update_bits(&self->rounds),
        .distill = self->rounds.config.order.distill_weight,
        .array = self->array.array,
        .test_set = inputs->test_set,
        .n_checked = PF_CHECKED_IMAGES,
        .n_threads = self->common.threads,
        .seconds = result->seconds,
    };
    PF_TRY(pf_conclude(&config, progress, conclusion, err));
    return pf_cli_print_summary(&conclusion->summary, self->out, self->common.json, err);
}

static int run(struct coordinator_command *self)
{
    PF_CLEANUP(inputs_finish) struct inputs inputs = {0};
    PF_CLEANUP(pf_coordinator_result_finish) struct pf_coordinator_result result = {0};
    const struct pf_progress *progress = pf_cli_progress(self->common.quiet);
    struct pf_error err = {0};
    enum pf_status status = load_inputs(self, &inputs, &err);
    if (status == PF_INVALID) return pf_cli_usage("coordinator", &err);
    if (status != PF_OK) return pf_cli_fail("coordinator", &err);
    fill_config(self, &inputs);
    if (pf_coordinator_run(&self->rounds.config, progress, &result, &err) != PF_OK ||
        conclude(self, &inputs, &result, progress, &err) != PF_OK)
        return pf_cli_fail("coordinator", &err);
    return PF_EXIT_OK;
}

int pf_cmd_coordinator(int argc, char **argv)
{
    static const struct argp_child children[] = {
        {&pf_options_rounds_argp, 0, "Rounds and local training:", 1},
        {&pf_options_combine_argp, 0, "Column combining and its stages:", 2},
        {&pf_options_data_argp, 0, "Test set:", 3},
        {&pf_options_array_argp, 0, "Systolic array:", 4},
        {&pf_options_common_argp, 0, "General:", 5},
        {0},
    };
    static const struct argp argp = {
        .options = options,
        .parser = parse,
        .doc = "Serves one federated run: combines the model in stages and has the participants of "
               "the roster retrain it.  Writes run.db, dense.pfm, combined.pfm, retrained.pfm and "
               "summary.json into the run folder, and the address it listens on into its file "
               "'endpoint'.\v"
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
