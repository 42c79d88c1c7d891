/* Option groups; see options.h.  Keys above 0xff have no short form. */
#include "cli/options.h"

#include <math.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/base/text.h"

enum {
    KEY_SEED = 0x1000,
    KEY_THREADS,
    KEY_JSON,
    KEY_DATA,
    KEY_DATA_DIR,
    KEY_SYNTHETIC_IMAGES,
    KEY_FILTERS,
    KEY_LAYERS,
    KEY_STRIDES,
    KEY_LAYER_TYPE,
    KEY_BATCH,
    KEY_EPOCHS,
    KEY_LEARNING_RATE,
    KEY_SCHEDULE,
    KEY_MOMENTUM,
    KEY_NO_NESTEROV,
    KEY_WEIGHT_DECAY,
    KEY_L1,
    KEY_LABEL_SMOOTHING,
    KEY_NO_AUGMENTATION,
    KEY_ACTIVATIONS,
    KEY_ALPHA,
    KEY_GAMMA,
    KEY_STAGES,
    KEY_ROUNDS,
    KEY_DENSITY_FACTOR,
    KEY_TARGET_DENSITY,
    KEY_BETA,
    KEY_EVENTS,
    KEY_NO_ROW_PERMUTATION,
    KEY_PACKER,
    KEY_PACKER_EFFORT,
    KEY_SALIENCY,
    KEY_TILE_SLACK,
    KEY_ARRAY,
    KEY_ARRAY_ALPHA,
    KEY_CLOCK,
    KEY_DOUBLE_BUFFERING,
    KEY_PARTITION,
    KEY_CONCENTRATION,
    KEY_FRACTION,
};

static uint32_t list(const struct argp_state *state, const char *option, const char *text,
                     uint32_t min, uint32_t max, uint32_t values[PF_MAX_BLOCKS])
{
    struct pf_error err;
    size_t n = 0;
    if (pf_text_u32_list(option, text, min, max, values, PF_MAX_BLOCKS, &n, &err) != PF_OK)
        argp_error(state, "%s", err.text);
    return (uint32_t)n;
}

/* The index of `text` among names[n], or exit 2 with all of them. */
static size_t choice(const struct argp_state *state, const char *option, const char *text,
                     const char *const *names, size_t n)
{
    char known[128] = "";
    for (size_t i = 0; i < n; i++) {
        if (strcmp(text, names[i]) == 0) return i;
        size_t used = strlen(known);
        snprintf(known + used, sizeof known - used, "%s%s", i > 0 ? ", " : "", names[i]);
    }
    argp_error(state, "%s: '%s' is none of %s", option, text, known);
    return 0;
}

/* ---- common ------------------------------------------------------------------------------- */

static const struct argp_option common_options[] = {
    {"seed", KEY_SEED, "N", 0, "seed of everything random; same seed, same result (1)", 0},
    {"threads", KEY_THREADS, "N", 0, "threads to use; the result does not depend on it (all cores)",
     0},
    {"json", KEY_JSON, NULL, 0, "print the result as one JSON object", 0},
    {"quiet", 'q', NULL, 0, "no progress on stderr", 0},
    {"verbose", 'v', NULL, 0, "more log lines on stderr", 0},
    {0},
};

static error_t parse_common(int key, char *arg, struct argp_state *state)
{
    struct pf_options_common *self = state->input;
    switch (key) {
    case ARGP_KEY_INIT: *self = (struct pf_options_common){.seed = 1}; break;
    case KEY_SEED: self->seed = pf_cli_number(state, "--seed", arg, 0, UINT64_MAX); break;
    case KEY_THREADS: self->threads = (size_t)pf_cli_number(state, "--threads", arg, 1, 256); break;
    case KEY_JSON: self->json = true; break;
    case 'q': self->quiet = true; break;
    case 'v': self->verbose = true; break;
    default: return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

const struct argp pf_options_common_argp = {.options = common_options, .parser = parse_common};

/* ---- data --------------------------------------------------------------------------------- */

static const struct argp_option data_options[] = {
    {"data", KEY_DATA, "KIND", 0, "synthetic (default), cifar10, or idx (MNIST's format)", 0},
    {"data-dir", KEY_DATA_DIR, "DIR", 0, "folder with the files of cifar10 or idx", 0},
    {"synthetic-images", KEY_SYNTHETIC_IMAGES, "N", 0,
     "training images of the synthetic set; a quarter more for the test (8000)", 0},
    {0},
};

static error_t parse_data(int key, char *arg, struct argp_state *state)
{
    static const char *const names[] = {"synthetic", "cifar10", "idx", "mnist"};
    static const enum pf_data_kind kinds[] = {PF_DATA_SYNTHETIC, PF_DATA_CIFAR10, PF_DATA_IDX,
                                              PF_DATA_IDX};
    struct pf_options_data *self = state->input;
    switch (key) {
    case ARGP_KEY_INIT: *self = (struct pf_options_data){0}; break;
    case KEY_DATA:
        self->source.kind = kinds[choice(state, "--data", arg, names, PF_ARRAY_LENGTH(names))];
        self->given = true;
        break;
    case KEY_DATA_DIR: self->source.dir = arg; break;
    case KEY_SYNTHETIC_IMAGES:
        self->source.synthetic_train =
            (size_t)pf_cli_number(state, "--synthetic-images", arg, 100, 1000000);
        self->source.synthetic_test = self->source.synthetic_train / 4;
        break;
    case ARGP_KEY_SUCCESS:
        if (self->source.kind != PF_DATA_SYNTHETIC && self->source.dir == NULL)
            argp_error(state, "--data %s needs --data-dir DIR, the folder that holds its files",
                       pf_data_kind_name(self->source.kind));
        break;
    default: return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

const struct argp pf_options_data_argp = {.options = data_options, .parser = parse_data};

/* ---- network ------------------------------------------------------------------------------ */

static const struct argp_option network_options[] = {
    {"filters", KEY_FILTERS, "LIST", 0, "filters of each block (16,32,64)", 0},
    {"layers", KEY_LAYERS, "LIST", 0, "layers of each block (3,3,3)", 0},
    {"strides", KEY_STRIDES, "LIST", 0, "stride of each block's first layer (1,2,2)", 0},
    {"layer-type", KEY_LAYER_TYPE, "KIND", 0, "shift (default) or conv3x3", 0},
    {0},
};

static void network_defaults(struct pf_network *network)
{
    *network = (struct pf_network){.block_kind = PF_LAYER_SHIFT,
                                   .n_blocks = 3,
                                   .filters = {16, 32, 64},
                                   .layers = {3, 3, 3},
                                   .strides = {1, 2, 2}};
}

/* The block count is that of --filters; --layers and --strides must agree with it. */
struct network_lengths {
    uint32_t filters, layers, strides;
};

static void check_network(const struct argp_state *state, struct pf_network *network,
                          const struct network_lengths *given)
{
    uint32_t blocks = given->filters > 0 ? given->filters : 3;
    uint32_t layers = given->layers > 0 ? given->layers : 3;
    uint32_t strides = given->strides > 0 ? given->strides : 3;
    if (layers != blocks || strides != blocks)
        argp_error(state,
                   "--filters names %u blocks, --layers %u and --strides %u: give as many of each",
                   blocks, layers, strides);
    network->n_blocks = blocks;
}

static error_t parse_network(int key, char *arg, struct argp_state *state)
{
    static const char *const names[] = {"shift", "conv3x3"};
    struct pf_options_network *self = state->input;
    struct network_lengths *given = state->hook;
    switch (key) {
    case ARGP_KEY_INIT:
        network_defaults(&self->network);
        state->hook = PF_ALLOC(1, struct network_lengths);
        if (state->hook == NULL) return ENOMEM;
        break;
    case KEY_FILTERS:
        given->filters = list(state, "--filters", arg, 1, PF_MAX_ROWS, self->network.filters);
        break;
    case KEY_LAYERS:
        given->layers =
            list(state, "--layers", arg, 1, PF_MAX_LAYERS_PER_BLOCK, self->network.layers);
        break;
    case KEY_STRIDES:
        given->strides = list(state, "--strides", arg, 1, 2, self->network.strides);
        break;
    case KEY_LAYER_TYPE:
        self->network.block_kind =
            choice(state, "--layer-type", arg, names, 2) == 0 ? PF_LAYER_SHIFT : PF_LAYER_CONV3X3;
        break;
    case ARGP_KEY_SUCCESS: check_network(state, &self->network, given); break;
    case ARGP_KEY_FINI: pf_free(given); break;
    default: return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

const struct argp pf_options_network_argp = {.options = network_options, .parser = parse_network};

enum pf_status pf_options_network_for(struct pf_network *network, const struct pf_dataset *dataset,
                                      struct pf_error *err)
{
    network->in_channels = dataset->n_channels;
    network->in_height = dataset->height;
    network->in_width = dataset->width;
    network->n_classes = dataset->n_classes;
    return pf_network_validate(network, err);
}

/* ---- training ----------------------------------------------------------------------------- */

static const struct argp_option train_options[] = {
    {"epochs", KEY_EPOCHS, "X", 0, "passes over the data (12)", 0},
    {"batch", KEY_BATCH, "N", 0, "images per step (128)", 0},
    {"learning-rate", KEY_LEARNING_RATE, "X", 0, "peak learning rate (0.2)", 0},
    {"schedule", KEY_SCHEDULE, "KIND", 0, "constant, cosine or one-cycle (default)", 0},
    {"momentum", KEY_MOMENTUM, "X", 0, "momentum of SGD (0.9)", 0},
    {"no-nesterov", KEY_NO_NESTEROV, NULL, 0, "plain momentum", 0},
    {"weight-decay", KEY_WEIGHT_DECAY, "X", 0, "L2 decay of weights (5e-4)", 0},
    {"l1", KEY_L1, "X", 0, "L1 penalty on convolution weights (0)", 0},
    {"label-smoothing", KEY_LABEL_SMOOTHING, "X", 0,
     "share of the target spread over all classes (0)", 0},
    {"no-augmentation", KEY_NO_AUGMENTATION, NULL, 0, "neither random crops nor flips", 0},
    {"activations", KEY_ACTIVATIONS, "KIND", 0, PF_ACTIVATIONS_HELP, 0},
    {0},
};

enum pf_precision pf_cli_activations(const struct argp_state *state, const char *text)
{
    const char *const names[] = {pf_precision_name(PF_SINGLE), pf_precision_name(PF_HALF)};
    return (enum pf_precision)choice(state, "--activations", text, names, 2);
}

static error_t parse_train(int key, char *arg, struct argp_state *state)
{
    static const char *const schedules[] = {"constant", "cosine", "one-cycle"};
    struct pf_train_options *train = &((struct pf_options_train *)state->input)->train;
    switch (key) {
    case ARGP_KEY_INIT: pf_train_options_default(train); break;
    case KEY_BATCH:
        train->batch = (uint32_t)pf_cli_number(state, "--batch", arg, 1, PF_MAX_BATCH);
        break;
    case KEY_EPOCHS: train->epochs = pf_cli_real(state, "--epochs", arg, 0.001, 100000); break;
    case KEY_LEARNING_RATE:
        train->learning_rate = pf_cli_real(state, "--learning-rate", arg, 0, 100);
        break;
    case KEY_SCHEDULE:
        train->schedule = (enum pf_schedule_kind)choice(state, "--schedule", arg, schedules, 3);
        break;
    case KEY_MOMENTUM: train->momentum = pf_cli_real(state, "--momentum", arg, 0, 0.9999); break;
    case KEY_NO_NESTEROV: train->nesterov = false; break;
    case KEY_WEIGHT_DECAY:
        train->weight_decay = pf_cli_real(state, "--weight-decay", arg, 0, 1);
        break;
    case KEY_L1: train->l1 = pf_cli_real(state, "--l1", arg, 0, 1); break;
    case KEY_LABEL_SMOOTHING:
        train->label_smoothing = pf_cli_real(state, "--label-smoothing", arg, 0, 0.9);
        break;
    case KEY_NO_AUGMENTATION: train->augmentation = (struct pf_augmentation){0}; break;
    case KEY_ACTIVATIONS: train->activations = pf_cli_activations(state, arg); break;
    default: return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

const struct argp pf_options_train_argp = {.options = train_options, .parser = parse_train};

/* ---- combining ---------------------------------------------------------------------------- */

static const struct argp_option combine_options[] = {
    {"alpha", KEY_ALPHA, "LIST", 0,
     "columns per group, one per block; 1 leaves a block dense (8,8,8)", 0},
    {"gamma", KEY_GAMMA, "X", 0, "conflicts per row allowed on average in a group (1.75)", 0},
    {"packer", KEY_PACKER, "NAME", 0,
     "how columns are grouped: kept-weight (default), published, dense-first, iterated, or "
     "matching "
     "(α = 2)",
     0},
    {"packer-effort", KEY_PACKER_EFFORT, "X", 0,
     "how long kept-weight and iterated search, in nominal seconds per layer; counted in steps, so "
     "the result is the same on every machine (0.25)",
     0},
    {"saliency", KEY_SALIENCY, "KIND", 0,
     "what a weight is worth when pruning and grouping: magnitude (default), or output, its effect "
     "on the layer's output",
     0},
    {"tile-slack", KEY_TILE_SLACK, "X", 0,
     "where groups are a few more than a multiple of the array's columns: prune up to this share "
     "of the weight to make them the multiple; 0 = never (0.02)",
     0},
    {"stages", KEY_STAGES, "KIND", 0, "rising-alpha (default), published or paper", 0},
    {"rounds", KEY_ROUNDS, "N", 0, "retraining rounds over all stages", 0},
    {"density-factor", KEY_DENSITY_FACTOR, "X", 0,
     "rising-alpha: prune to X/α of the weights before grouping (0.8 · (1 + γ))", 0},
    {"events", KEY_EVENTS, "N", 0, "published: pruning events (10)", 0},
    {"beta", KEY_BETA, "X", 0, "paper: share of the weights pruned at the first step (0.2)", 0},
    {"target-density", KEY_TARGET_DENSITY, "X", 0, "paper: share of the weights to end with", 0},
    {"no-row-permutation", KEY_NO_ROW_PERMUTATION, NULL, 0,
     "keep the order of filters (costs a switchbox between layers)", 0},
    {0},
};

static enum pf_packer packer(const struct argp_state *state, const char *text)
{
    const char *names[PF_N_PACKERS];
    for (size_t i = 0; i < PF_N_PACKERS; i++) names[i] = pf_packer_name((enum pf_packer)i);
    return (enum pf_packer)choice(state, "--packer", text, names, PF_N_PACKERS);
}

static enum pf_saliency saliency(const struct argp_state *state, const char *text)
{
    const char *names[PF_N_SALIENCIES];
    for (size_t i = 0; i < PF_N_SALIENCIES; i++) names[i] = pf_saliency_name((enum pf_saliency)i);
    return (enum pf_saliency)choice(state, "--saliency", text, names, PF_N_SALIENCIES);
}

static error_t parse_combine(int key, char *arg, struct argp_state *state)
{
    static const char *const kinds[] = {"rising-alpha", "published", "paper"};
    struct pf_schedule_options *self = &((struct pf_options_combine *)state->input)->schedule;
    switch (key) {
    case ARGP_KEY_INIT:
        pf_schedule_options_default(self);
        self->n_blocks = 0;
        break;
    case KEY_ALPHA:
        self->n_blocks = list(state, "--alpha", arg, 1, PF_MAX_ALPHA, self->alpha);
        break;
    case KEY_GAMMA: self->gamma = pf_cli_real(state, "--gamma", arg, 0, PF_MAX_ALPHA); break;
    case KEY_STAGES:
        self->kind = (enum pf_stage_schedule)choice(state, "--stages", arg, kinds, 3);
        break;
    case KEY_ROUNDS:
        self->rounds = (uint32_t)pf_cli_number(state, "--rounds", arg, 1, 1000000);
        break;
    case KEY_DENSITY_FACTOR:
        self->density_factor = pf_cli_real(state, "--density-factor", arg, 0.01, PF_MAX_ALPHA);
        break;
    case KEY_EVENTS: self->n_events = (uint32_t)pf_cli_number(state, "--events", arg, 1, 50); break;
    case KEY_BETA: self->beta = pf_cli_real(state, "--beta", arg, 0.001, 0.999); break;
    case KEY_TARGET_DENSITY:
        self->target_density = pf_cli_real(state, "--target-density", arg, 0.001, 1);
        break;
    case KEY_NO_ROW_PERMUTATION: self->permute_rows = false; break;
    case KEY_PACKER: self->packer.packer = packer(state, arg); break;
    case KEY_PACKER_EFFORT:
        self->packer.effort = pf_cli_real(state, "--packer-effort", arg, 0, PF_MAX_PACKER_EFFORT);
        break;
    case KEY_SALIENCY: self->saliency = saliency(state, arg); break;
    case KEY_TILE_SLACK: self->tile_slack = pf_cli_real(state, "--tile-slack", arg, 0, 1); break;
    default: return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

const struct argp pf_options_combine_argp = {.options = combine_options, .parser = parse_combine};

enum pf_status pf_options_fit_alpha(struct pf_schedule_options *self, uint32_t n_blocks,
                                    struct pf_error *err)
{
    if (self->n_blocks == 0) {
        for (uint32_t b = 0; b < n_blocks; b++) self->alpha[b] = 8;
        self->n_blocks = n_blocks;
    }
    if (self->n_blocks != n_blocks)
        return pf_fail(err, PF_INVALID, "--alpha has %u numbers but the network %u blocks",
                       self->n_blocks, n_blocks);
    return PF_OK;
}

void pf_options_complete(struct pf_options_combine *self, const struct pf_options_common *common,
                         const struct pf_options_array *array)
{
    self->schedule.packer.seed = common->seed;
    self->schedule.tile_columns = array->array.columns;
}

/* ---- array -------------------------------------------------------------------------------- */

static const struct argp_option array_options[] = {
    {"array", KEY_ARRAY, "HxW", 0, "rows × columns of the systolic array (32x32)", 0},
    {"array-alpha", KEY_ARRAY_ALPHA, "N", 0, "inputs of a cell's multiplexer (8)", 0},
    {"clock", KEY_CLOCK, "MHZ", 0, "clock of the array (150)", 0},
    {"double-buffering", KEY_DOUBLE_BUFFERING, NULL, 0, "load weights behind the previous tile", 0},
    {0},
};

static void parse_array_size(const struct argp_state *state, const char *arg,
                             struct pf_array *array)
{
    char rows[16] = "";
    const char *x = strchr(arg, 'x');
    if (x == NULL || (size_t)(x - arg) >= sizeof rows)
        argp_error(state, "--array: '%s' is no size; give rows and columns, as in 32x32", arg);
    memcpy(rows, arg, (size_t)(x - arg));
    array->rows = (uint32_t)pf_cli_number(state, "--array", rows, 1, 4096);
    array->columns = (uint32_t)pf_cli_number(state, "--array", x + 1, 1, 4096);
}

static error_t parse_array(int key, char *arg, struct argp_state *state)
{
    struct pf_array *array = &((struct pf_options_array *)state->input)->array;
    switch (key) {
    case ARGP_KEY_INIT: pf_array_default(array); break;
    case KEY_ARRAY: parse_array_size(state, arg, array); break;
    case KEY_ARRAY_ALPHA:
        array->alpha = (uint32_t)pf_cli_number(state, "--array-alpha", arg, 1, PF_MAX_ALPHA);
        break;
    case KEY_CLOCK: array->clock_mhz = pf_cli_real(state, "--clock", arg, 0.001, 100000); break;
    case KEY_DOUBLE_BUFFERING: array->double_buffering = true; break;
    default: return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

const struct argp pf_options_array_argp = {.options = array_options, .parser = parse_array};

/* ---- partition ---------------------------------------------------------------------------- */

static const struct argp_option partition_options[] = {
    {"partition", KEY_PARTITION, "KIND", 0,
     "who holds what: iid (default), dirichlet, or first (the first images of each class)", 0},
    {"concentration", KEY_CONCENTRATION, "A", 0,
     "of the Dirichlet partition; smaller is more "
     "uneven (0.5)",
     0},
    {"fraction", KEY_FRACTION, "R", 0, "share of the whole training set that one participant holds",
     0},
    {0},
};

static error_t parse_partition(int key, char *arg, struct argp_state *state)
{
    static const char *const kinds[] = {"iid", "dirichlet", "first"};
    struct pf_partition_options *self = &((struct pf_options_partition *)state->input)->partition;
    switch (key) {
    case ARGP_KEY_INIT:
        *self = (struct pf_partition_options){.kind = PF_PARTITION_IID, .concentration = 0.5};
        break;
    case KEY_PARTITION:
        self->kind = (enum pf_partition_kind)choice(state, "--partition", arg, kinds, 3);
        break;
    case KEY_CONCENTRATION:
        self->concentration = pf_cli_real(state, "--concentration", arg, 0.001, 100000);
        break;
    case KEY_FRACTION: self->fraction = pf_cli_real(state, "--fraction", arg, 1e-6, 1); break;
    default: return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

const struct argp pf_options_partition_argp = {.options = partition_options,
                                               .parser = parse_partition};

/* ---- results ------------------------------------------------------------------------------ */

enum pf_status pf_cli_print_summary(const struct pf_summary *summary, const char *folder, bool json,
                                    struct pf_error *err)
{
    PF_CLEANUP(pf_buffer_finish) struct pf_buffer text = {0};
    if (json)
        PF_TRY(pf_summary_json(summary, &text, err));
    else
        PF_TRY(pf_summary_table(summary, &text, err));
    printf("%.*s\n", (int)text.length, (const char *)text.bytes);
    if (!json) printf("run folder: %s\n", folder);
    return PF_OK;
}
