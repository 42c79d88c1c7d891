/* packfed participant: joins a federated run with a private part of the data. */
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "cli/options.h"
#include "common/base/log.h"
#include "common/base/random.h"
#include "common/base/text.h"
#include "participant/participant.h"

enum {
    KEY_IDENTITY = 0x3000,
    KEY_ROSTER,
    KEY_AUTHORITY,
    KEY_CONNECT,
    KEY_PART,
    KEY_PARTITION_SEED,
    KEY_NO_AUGMENTATION,
    KEY_ACTIVATIONS,
    KEY_MIN_COHORT,
    KEY_ALLOW_PLAIN,
    KEY_MAX_CORRUPT,
    KEY_SEMI_HONEST,
    KEY_MAX_EPOCHS,
    KEY_STATE,
    KEY_GIVE_UP,
    FIRST_SPECIAL_KEY = 0x1000000, /* argp's own, such as ARGP_KEY_END, begin here */
};

/* The options of a network pin it here: whoever gives one means all of them. */
struct pin {
    struct pf_options_network options;
    bool given;
};

struct participant_command {
    struct pf_options_common common;
    struct pf_options_data data;
    struct pf_options_partition partition;
    struct pin pin;
    const char *identity, *roster, *authority, *connect, *state;
    char own_state[PATH_MAX]; /* where --state is not given */
    size_t part;              /* from 0 */
    size_t n_parts;
    bool own_partition_seed;
    uint64_t partition_seed;
    /* Augmentation and activations are the participant's own affair; the rest is the order's. */
    struct pf_train_options train;
    struct pf_participant_session_config session;
};

/* ---- options ------------------------------------------------------------------------------ */

static const struct argp_option options[] = {
    {"identity", KEY_IDENTITY, "FILE", 0, "this participant's secret key, NAME.key", 0},
    {"roster", KEY_ROSTER, "FILE", 0, "who may take part, and who coordinates", 0},
    {"authority", KEY_AUTHORITY, "FILE", 0, "public key that must have signed the roster", 0},
    {"connect", KEY_CONNECT, "ENDPOINT", 0, "the coordinator, tcp://HOST:7700", 0},
    {"state", KEY_STATE, "DIR", 0,
     "the ledger's folder: what was joined and consented to, so that a restart cannot be talked "
     "into a second model or sum for one round (NAME.state beside the identity NAME.key)",
     0},
    {"give-up", KEY_GIVE_UP, "S", 0, "end after so long without a word from the coordinator (600)",
     0},
    {0, 0, NULL, 0, "The private part:", 1},
    {"part", KEY_PART, "I/N", 0, "part I of N of the training set, from 1 (1/1)", 0},
    {"partition-seed", KEY_PARTITION_SEED, "N", 0,
     "who holds what; the same for all participants (as --seed)", 0},
    {"no-augmentation", KEY_NO_AUGMENTATION, NULL, 0, "neither random crops nor flips", 0},
    {"activations", KEY_ACTIVATIONS, "KIND", 0, PF_ACTIVATIONS_HELP, 0},
    {0, 0, NULL, 0, "What to agree to:", 3},
    {"min-cohort", KEY_MIN_COHORT, "N", 0,
     "decline rounds and sums of fewer participants (3; 1 with --allow-plain, in a plain run)", 0},
    {"max-corrupt", KEY_MAX_CORRUPT, "X", 0,
     "decline thresholds that do not protect when this share of a cohort sides with the "
     "coordinator (0.2; from 100 participants on 0.05)",
     0},
    {"semi-honest", KEY_SEMI_HONEST, NULL, 0,
     "the coordinator is trusted to follow the protocol: accept lower thresholds", 0},
    {"allow-plain", KEY_ALLOW_PLAIN, NULL, 0,
     "join a run with plain aggregation too: its coordinator can read every update", 0},
    {"max-epochs", KEY_MAX_EPOCHS, "X", 0, "decline more local training than that per round (100)",
     0},
    {0},
};

static error_t parse_pin(int key, char *arg, struct argp_state *state)
{
    struct pin *self = state->input;
    state->input = &self->options;
    error_t result = pf_options_network_argp.parser(key, arg, state);
    state->input = self;
    if (key > 0 && key < FIRST_SPECIAL_KEY) self->given = true;
    return result;
}

static void parse_part(const struct argp_state *state, const char *text,
                       struct participant_command *self)
{
    char part[16];
    const char *slash = strchr(text, '/');
    size_t length = slash != NULL ? (size_t)(slash - text) : sizeof part;
    if (length >= sizeof part) argp_error(state, "--part: '%s' is not like 2/10", text);
    memcpy(part, text, length);
    part[length] = '\0';
    self->n_parts = (size_t)pf_cli_number(state, "--part I/N, the N", slash + 1, 1, PF_MAX_PARTS);
    self->part = (size_t)pf_cli_number(state, "--part I/N, the I", part, 1, self->n_parts) - 1;
}

static void check_given(const struct argp_state *state, const struct participant_command *self)
{
    const struct pf_cli_need needs[] = {
        {self->identity, "--identity NAME.key"},
        {self->roster, "--roster FILE"},
        {self->authority, "--authority NAME.pub"},
        {self->connect, "--connect tcp://HOST:PORT"},
    };
    pf_cli_check_needs(state, needs, PF_ARRAY_LENGTH(needs));
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct participant_command *self = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        pf_participant_session_config_default(&self->session);
        self->n_parts = 1;
        pf_train_options_default(&self->train);
        state->child_inputs[0] = &self->data;
        state->child_inputs[1] = &self->partition;
        state->child_inputs[2] = &self->pin;
        state->child_inputs[3] = &self->common;
        break;
    case KEY_IDENTITY: self->identity = arg; break;
    case KEY_ROSTER: self->roster = arg; break;
    case KEY_AUTHORITY: self->authority = arg; break;
    case KEY_CONNECT: self->connect = arg; break;
    case KEY_STATE: self->state = arg; break;
    case KEY_PART: parse_part(state, arg, self); break;
    case KEY_PARTITION_SEED:
        self->partition_seed = pf_cli_number(state, "--partition-seed", arg, 0, UINT64_MAX);
        self->own_partition_seed = true;
        break;
    case KEY_NO_AUGMENTATION: self->train.augmentation = (struct pf_augmentation){0}; break;
    case KEY_ACTIVATIONS: self->train.activations = pf_cli_activations(state, arg); break;
    case KEY_ALLOW_PLAIN: self->session.policy.allow_plain = true; break;
    case KEY_MAX_CORRUPT:
        self->session.policy.max_corrupt = pf_cli_real(state, "--max-corrupt", arg, 0, 0.99);
        break;
    case KEY_SEMI_HONEST: self->session.policy.adversary = PF_SEMI_HONEST; break;
    case KEY_MIN_COHORT:
        self->session.policy.min_cohort =
            (uint32_t)pf_cli_number(state, "--min-cohort", arg, 1, PF_MAX_COHORT);
        break;
    case KEY_MAX_EPOCHS:
        self->session.policy.max_epochs = pf_cli_real(state, "--max-epochs", arg, 1e-3, 1e6);
        break;
    case KEY_GIVE_UP:
        self->session.give_up_ms =
            (int64_t)(1000.0 * pf_cli_real(state, "--give-up", arg, 0.1, 604800));
        break;
    case ARGP_KEY_ARG: argp_error(state, "what is '%s'?", arg); break;
    case ARGP_KEY_END: check_given(state, self); break;
    default: return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

/* ---- the result --------------------------------------------------------------------------- */

static json_t *json_counters(const struct pf_participant_counters *counters)
{
    json_t *object = json_object();
    for (unsigned reason = 1; reason < PF_REASON_N; reason++)
        if (counters->refused[reason] > 0)
            json_object_set_new(object, pf_reason_name((enum pf_reason)reason),
                                json_integer((json_int_t)counters->refused[reason]));
    if (counters->malformed > 0)
        json_object_set_new(object, "malformed", json_integer((json_int_t)counters->malformed));
    return object;
}

static void print_json(const struct pf_participant_summary *summary, bool success)
{
    char run_id[2 * PF_RUN_ID_BYTES + 1];
    pf_text_hex(run_id, summary->run_id.bytes, sizeof summary->run_id.bytes);
    json_t *object =
        json_pack("{s:s,s:b,s:s,s:I,s:I,s:{s:I,s:I},s:o}", "run", run_id, "success", (int)success,
                  "sentence", summary->sentence, "rounds", (json_int_t)summary->n_rounds,
                  "delivered", (json_int_t)summary->delivered, "bytes", "sent",
                  (json_int_t)summary->bytes_sent, "received", (json_int_t)summary->bytes_received,
                  "refused", json_counters(&summary->counters));
    json_dumpf(object, stdout, JSON_INDENT(2));
    putchar('\n');
    json_decref(object);
}

static void print_text(const struct pf_participant_summary *summary)
{
    char text[32];
    printf("%s\n", summary->sentence);
    printf("%u updates delivered; %s bytes sent", summary->delivered,
           pf_text_thousands(text, summary->bytes_sent));
    printf(", %s received\n", pf_text_thousands(text, summary->bytes_received));
}

/* ---- the command -------------------------------------------------------------------------- */

/* What the command line names, in memory. */
struct inputs {
    struct pf_identity identity;
    struct pf_roster *roster;
    struct pf_dataset *part;
};

static void inputs_finish(struct inputs *self)
{
    pf_identity_finish(&self->identity);
    pf_roster_destroy(self->roster);
    pf_dataset_destroy(self->part);
}

static enum pf_status load_keys(const struct participant_command *self, struct inputs *inputs,
                                struct pf_error *err)
{
    struct pf_public_identity authority;
    PF_TRY(pf_identity_load(self->identity, &inputs->identity, err));
    PF_TRY(pf_public_identity_load(self->authority, &authority, err));
    PF_TRY(pf_roster_load(self->roster, &authority, &inputs->roster, err));
    return pf_participant_check_roster(inputs->roster, &inputs->identity, err);
}

/* The whole set is in memory only until the part is cut out. */
static enum pf_status load_part(struct participant_command *self, struct inputs *inputs,
                                struct pf_error *err)
{
    PF_CLEANUP(pf_dataset_destroyp) struct pf_dataset *whole_set = NULL;
    PF_CLEANUP(pf_partition_destroyp) struct pf_partition *partition = NULL;
    self->data.source.seed = self->common.seed;
    PF_TRY(pf_dataset_load(&self->data.source, PF_SPLIT_TRAIN, &whole_set, err));
    struct pf_partition_options *cut = &self->partition.partition;
    cut->n_parts = self->n_parts;
    cut->seed = self->own_partition_seed ? self->partition_seed : self->common.seed;
    if (cut->fraction <= 0) cut->fraction = 1.0 / (double)self->n_parts;
    PF_TRY(pf_partition_create(whole_set, cut, &partition, err));
    return pf_partition_take(partition, self->part, whole_set, &inputs->part, err);
}

/* NAME.key → NAME.state. */
static enum pf_status choose_state(struct participant_command *self, struct pf_error *err)
{
    if (self->state != NULL) return PF_OK;
    size_t length = strlen(self->identity);
    if (length > 4 && strcmp(self->identity + length - 4, ".key") == 0) length -= 4;
    int n = snprintf(self->own_state, sizeof self->own_state, "%.*s.state", (int)length,
                     self->identity);
    if (n < 0 || (size_t)n >= sizeof self->own_state)
        return pf_fail(err, PF_INVALID, "%s: path too long (--state)", self->identity);
    self->state = self->own_state;
    return PF_OK;
}

static void pin_network(struct participant_command *self, const struct pf_dataset *part)
{
    struct pf_participant_policy *policy = &self->session.policy;
    if (!self->pin.given) return;
    policy->pinned = true;
    policy->network = self->pin.options.network;
    policy->network.in_channels = part->n_channels;
    policy->network.in_height = part->height;
    policy->network.in_width = part->width;
    policy->network.n_classes = part->n_classes;
}

static int run(struct participant_command *self)
{
    PF_CLEANUP(inputs_finish) struct inputs inputs = {0};
    const struct pf_progress *progress = pf_cli_progress(self->common.quiet);
    struct pf_error err;
    if (load_keys(self, &inputs, &err) != PF_OK || choose_state(self, &err) != PF_OK ||
        load_part(self, &inputs, &err) != PF_OK)
        return pf_cli_fail("participant", &err);
    pin_network(self, inputs.part);

    /* Participants that are given the same --seed must not draw the same crops. */
    struct pf_random random;
    pf_random_init(&random, self->common.seed, "participant", self->part);
    const struct pf_participant_config config = {
        .endpoint = self->connect,
        .identity = &inputs.identity,
        .roster = inputs.roster,
        .dataset = inputs.part,
        .augmentation = self->train.augmentation,
        .activations = self->train.activations,
        .seed = pf_random_u64(&random),
        .n_threads = self->common.threads,
        .session = self->session,
        .state_dir = self->state,
        .progress = progress,
    };
    pf_log(PF_LOG_INFO, "%s holds %zu images (part %zu of %zu)", inputs.identity.public.name,
           inputs.part->n_images, self->part + 1, self->n_parts);
    struct pf_participant_summary summary;
    enum pf_status status = pf_participant_run(&config, &summary, &err);
    if (self->common.json && (status == PF_OK || summary.n_rounds > 0))
        print_json(&summary, status == PF_OK);
    else if (status == PF_OK)
        print_text(&summary);
    return status == PF_OK ? PF_EXIT_OK : pf_cli_fail("participant", &err);
}

int pf_cmd_participant(int argc, char **argv)
{
    static struct argp pin_argp;
    pin_argp = pf_options_network_argp;
    pin_argp.parser = parse_pin;
    const struct argp_child children[] = {
        {&pf_options_data_argp, 0, "Data:", 1},
        {&pf_options_partition_argp, 0, NULL, 1},
        {&pin_argp, 0, "Pinned architecture; any other is refused (none is pinned):", 4},
        {&pf_options_common_argp, 0, "Common:", 5},
        {0},
    };
    const struct argp argp = {
        .options = options,
        .parser = parse,
        .doc = "Joins a federated run with a private part of a data set: fetches the model of "
               "each round, trains it here, sends the change of its weights, masked so that the "
               "coordinator learns the sum over all participants and nothing else.  Images, loss "
               "and accuracy stay here.\v"
               "The first signal ends it within a second.  A participant that is started again "
               "joins the next round.",
        .children = children,
    };
    struct participant_command self = {0};
    pf_cli_parse(&argp, argc, argv, &self);
    pf_cli_log_to_stderr(self.common.verbose ? PF_LOG_DEBUG
                         : self.common.quiet ? PF_LOG_WARNING
                                             : PF_LOG_INFO);
    return run(&self);
}
