/* packfed federation --in-process: thousands of participants, made-up updates, no network. */
#include "cli/in_process.h"

#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/options.h"
#include "common/base/log.h"

#define COMMAND "federation --in-process"
#define DEFAULT_PARTICIPANTS 100
#define DEFAULT_DIMENSION 10000

/* ---- options ----------------------------------------------------------------------------------
 */

enum {
    KEY_IN_PROCESS = 0x4000,
    KEY_DIMENSION,
    KEY_DROPOUTS,
    KEY_DROP_AT,
    KEY_LOSS,
    KEY_REPEATS,
    KEY_LATE,
    KEY_NO_VERIFY,
    KEY_PARTICIPANTS = 0x4100,
    KEY_ROUNDS,
};

static const struct argp_option in_process_options[] = {
    {"in-process", KEY_IN_PROCESS, NULL, 0,
     "the sessions alone, with made-up updates: no network, no training, no model; each sum is "
     "compared with the plain one ('--in-process --help' lists what goes with it)",
     0},
    {"dimension", KEY_DIMENSION, "N", 0, "parameters of the made-up model, about (10000)", 0},
    {"dropouts", KEY_DROPOUTS, "X", 0, "fraction of the participants that a round loses (0)", 0},
    {"drop-at", KEY_DROP_AT, "STEP", 0,
     "… right before their message of: advertise, reveal, share, mask, consent, unmask, any (any: "
     "each of them but reveal)",
     0},
    {"loss", KEY_LOSS, "X", 0, "fraction of frames that are lost (0)", 0},
    {"repeats", KEY_REPEATS, "X", 0, "… that come twice (0)", 0},
    {"late", KEY_LATE, "X", 0, "… that come up to 8 s later, out of order (0)", 0},
    {"no-verify", KEY_NO_VERIFY, NULL, 0, "do not compare the sums", 0},
    {0},
};

static enum pf_in_process_step step_named(const struct argp_state *state, const char *text)
{
    for (unsigned step = PF_IN_PROCESS_ADVERTISE; step <= PF_IN_PROCESS_ANYWHERE; step++)
        if (strcmp(text, pf_in_process_step_name((enum pf_in_process_step)step)) == 0)
            return (enum pf_in_process_step)step;
    argp_error(state,
               "--drop-at: '%s' is none of advertise, reveal, share, mask, consent, unmask, any",
               text);
    return PF_IN_PROCESS_ANYWHERE;
}

static void note_given(struct pf_options_in_process *self, const char *option)
{
    if (self->first_given == NULL) self->first_given = option;
}

static error_t parse_in_process(int key, char *arg, struct argp_state *state)
{
    struct pf_options_in_process *self = state->input;
    struct pf_in_process_faults *faults = &self->faults;
    switch (key) {
    case ARGP_KEY_INIT:
        *self = (struct pf_options_in_process){.dimension = DEFAULT_DIMENSION};
        break;
    case KEY_IN_PROCESS: note_given(self, "--in-process"); break;
    case KEY_DIMENSION:
        note_given(self, "--dimension");
        self->dimension =
            (size_t)pf_cli_number(state, "--dimension", arg, 1, PF_MAX_PARAMETERS / 2);
        break;
    case KEY_DROPOUTS:
        note_given(self, "--dropouts");
        faults->dropouts = pf_cli_real(state, "--dropouts", arg, 0, 1);
        break;
    case KEY_DROP_AT:
        note_given(self, "--drop-at");
        faults->drop_at = step_named(state, arg);
        break;
    case KEY_LOSS:
        note_given(self, "--loss");
        faults->lost = pf_cli_real(state, "--loss", arg, 0, 1);
        break;
    case KEY_REPEATS:
        note_given(self, "--repeats");
        faults->repeated = pf_cli_real(state, "--repeats", arg, 0, 1);
        break;
    case KEY_LATE:
        note_given(self, "--late");
        faults->late = pf_cli_real(state, "--late", arg, 0, 1);
        break;
    case KEY_NO_VERIFY:
        note_given(self, "--no-verify");
        self->no_verify = true;
        break;
    default: return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

const struct argp pf_options_in_process_argp = {.options = in_process_options,
                                                .parser = parse_in_process};

/* ---- the command line -------------------------------------------------------------------------
 */

struct options {
    struct pf_options_common common;
    struct pf_options_rounds rounds;
    struct pf_options_in_process in_process;
    size_t participants;
    uint32_t n_rounds;
};

static const struct argp_option own_options[] = {
    {0, 0, 0, 0, "The run:", 1},
    {"participants", KEY_PARTICIPANTS, "N", 0, "up to 10000 (100)", 1},
    {"rounds", KEY_ROUNDS, "R", 0, "rounds to complete (1)", 1},
    {0},
};

static const struct argp_child children[] = {
    {&pf_options_in_process_argp, 0, "What is made up, and what goes wrong:", 2},
    {&pf_options_rounds_argp, 0, "Rounds (orders to train are given and not followed):", 3},
    {&pf_options_common_argp, 0, "General:", 4},
    {0},
};

/* What cannot be meant together. */
static void check_options(const struct argp_state *state, const struct options *self)
{
    const struct pf_in_process_faults *faults = &self->in_process.faults;
    const struct pf_coordinator_config *config = &self->rounds.config;
    enum pf_in_process_step step = faults->drop_at;
    bool plain = config->aggregation == PF_AGGREGATION_PLAIN;
    bool complete = config->graph == PF_GRAPH_COMPLETE ||
                    (config->graph == 0 && self->participants < PF_SECAGG_COMPLETE_BELOW);
    if (step != 0 && faults->dropouts <= 0)
        argp_error(state, "--drop-at says where; --dropouts says how many");
    if (plain && step != 0 && step != PF_IN_PROCESS_MASK && step != PF_IN_PROCESS_ANYWHERE)
        argp_error(state, "--drop-at %s: rounds with --aggregation plain have no such step",
                   pf_in_process_step_name(step));
    if (plain && config->graph != 0)
        argp_error(state, "--graph: --aggregation plain masks nothing");
    if (complete && step == PF_IN_PROCESS_REVEAL)
        argp_error(state,
                   "--drop-at reveal: complete graphs need no randomness (--graph regular, "
                   "or %u participants)",
                   PF_SECAGG_COMPLETE_BELOW);
    if (config->min_cohort > self->participants)
        argp_error(state, "--min-cohort %u is more than --participants %zu", config->min_cohort,
                   self->participants);
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct options *self = state->input;
    switch (key) {
    case ARGP_KEY_INIT: {
        void *inputs[] = {&self->in_process, &self->rounds, &self->common};
        memcpy(state->child_inputs, inputs, sizeof inputs);
        self->participants = DEFAULT_PARTICIPANTS;
        self->n_rounds = 1;
        break;
    }
    case KEY_PARTICIPANTS:
        self->participants =
            (size_t)pf_cli_number(state, "--participants", arg, 1, PF_MAX_IN_PROCESS_PARTICIPANTS);
        break;
    case KEY_ROUNDS:
        self->n_rounds = (uint32_t)pf_cli_number(state, "--rounds", arg, 1, 10000);
        break;
    case ARGP_KEY_ARG: argp_error(state, "'%s' is not an option; --help lists them", arg); break;
    case ARGP_KEY_END: check_options(state, self); break;
    default: return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

static const struct argp argp = {
    .options = own_options,
    .parser = parse,
    .children = children,
    .doc =
        "Run the sessions of a coordinator and of up to 10000 participants in this process, "
        "under a virtual clock: updates are made up, frames are really encoded, nothing goes "
        "over a network.  Each completed round's sum is compared with the plain sum of its "
        "updates, bit for bit.\vExit status 1: the run failed, or a sum is not what it must be."};

bool pf_cli_is_in_process(int argc, char **argv)
{
    for (int i = 1; i < argc; i++)
        if (strcmp(argv[i], "--in-process") == 0) return true;
    return false;
}

/* ---- the run ----------------------------------------------------------------------------------
 */

/* Two thirds, as `packfed coordinator` takes. */
static uint32_t two_thirds(uint32_t n, bool secure)
{
    return PF_MIN(PF_MAX((2 * n + 2) / 3, secure ? PF_MIN_SECURE_COHORT : 1), n);
}

static void configure_coordinator(const struct options *options,
                                  struct pf_coordinator_session_config *session)
{
    const struct pf_coordinator_config *config = &options->rounds.config;
    bool secure = config->aggregation == PF_AGGREGATION_SECURE;
    uint32_t n = (uint32_t)options->participants;
    session->aggregation = config->aggregation;
    session->schedule = (struct pf_schedule){
        .n_stages = 1, .stages = {{.rounds = options->n_rounds, .schedule_end = 1}}};
    session->order = config->order;
    session->min_cohort = config->min_cohort > 0 ? config->min_cohort : two_thirds(n, secure);
    session->quorum = config->quorum > 0 ? config->quorum : two_thirds(session->min_cohort, secure);
    session->max_failed_rounds = config->max_failed_rounds;
    session->join_timeout_ms = config->join_timeout_ms;
    session->gather_ms = config->gather_ms;
    session->round_timeout_ms = config->round_timeout_ms;
    session->liveness_ms = config->liveness_ms;
    session->upload_budget_bytes = config->upload_budget_bytes;
    session->upload_idle_ms = config->upload_idle_ms;
    session->masking = config->masking;
    session->fixed_clip = config->fixed_clip;
    session->corrupt = config->corrupt;
    session->dropouts = config->dropouts;
    session->adversary = config->adversary;
    session->graph = config->graph;
    session->key_timeout_ms = config->key_timeout_ms;
    session->unmask_timeout_ms = config->unmask_timeout_ms;
}

/* Virtual times, so that only a few models and updates exist at a time: offers are picked up one
 * after the other, and training ends one after the other, once the keys' steps are over at the
 * latest. */
static void configure_times(const struct options *options, struct pf_in_process_config *config)
{
    const struct pf_coordinator_session_config *session = &config->coordinator;
    int64_t n = (int64_t)options->participants, round_ms = session->round_timeout_ms;
    int64_t key_ms = PF_MIN((int64_t)session->key_timeout_ms, round_ms / 4);
    bool calm = config->faults.lost <= 0 && config->faults.late <= 0 &&
                (config->faults.dropouts <= 0 || config->faults.drop_at >= PF_IN_PROCESS_MASK) &&
                config->faults.drop_at != PF_IN_PROCESS_ANYWHERE;
    config->pickup_ms = PF_MIN(n, key_ms / 2);
    int64_t begin = config->pickup_ms + (calm ? 5000 : 3 * key_ms);
    config->training_min_ms = PF_MAX(PF_MIN(begin, round_ms / 2), 1);
    config->training_max_ms =
        PF_MAX(PF_MIN(begin + 1000 + 20 * n, round_ms * 9 / 10), config->training_min_ms);
    config->limit_ms = INT64_MAX / 2; /* every wait of the sessions has an end of its own */
}

static enum pf_status configure(const struct options *options, struct pf_in_process_config *config,
                                struct pf_error *err)
{
    pf_in_process_config_default(options->participants, config);
    config->seed = options->common.seed;
    config->n_threads = options->common.threads;
    config->faults = options->in_process.faults;
    if (config->faults.drop_at == 0) config->faults.drop_at = PF_IN_PROCESS_ANYWHERE;
    config->verify = !options->in_process.no_verify;
    configure_coordinator(options, &config->coordinator);
    configure_times(options, config);
    /* Who simulates a federation agrees, for its participants, to what its coordinator is told. */
    config->participant.policy.allow_plain = true;
    config->participant.policy.max_corrupt = config->coordinator.corrupt;
    config->participant.policy.adversary = config->coordinator.adversary;
    return pf_in_process_network(options->in_process.dimension, &config->network, err);
}

static enum pf_status print_report(const struct options *options,
                                   const struct pf_in_process_config *config,
                                   const struct pf_in_process_result *result, struct pf_error *err)
{
    PF_CLEANUP(pf_buffer_finish) struct pf_buffer text = {0};
    if (options->common.json)
        PF_TRY(pf_in_process_json(config, result, &text, err));
    else
        PF_TRY(pf_in_process_table(config, result, &text, err));
    printf("%.*s%s", (int)text.length, (const char *)text.bytes, options->common.json ? "\n" : "");
    if (fflush(stdout) != 0) return pf_fail_errno(err, PF_IO, "cannot write the report");
    return PF_OK;
}

static enum pf_status run(const struct options *options, struct pf_error *err)
{
    struct pf_in_process_config config;
    struct pf_in_process_result result = {0};
    PF_TRY(configure(options, &config, err));
    PF_TRY(pf_in_process_run(&config, pf_cli_progress(options->common.quiet), &result, err));
    PF_TRY(print_report(options, &config, &result, err));
    return result.success ? PF_OK : pf_fail(err, PF_TIMEOUT, "%s", result.sentence);
}

int pf_cmd_in_process(int argc, char **argv)
{
    struct options options;
    struct pf_error err = {0};
    pf_cli_parse(&argp, argc, argv, &options);
    /* A line for each of thousands of dropouts is for those who ask. */
    pf_cli_log_to_stderr(options.common.verbose ? PF_LOG_DEBUG : PF_LOG_ERROR);
    enum pf_status status = run(&options, &err);
    if (status == PF_INVALID) return pf_cli_usage(COMMAND, &err);
    return status == PF_OK ? PF_EXIT_OK : pf_cli_fail(COMMAND, &err);
}
