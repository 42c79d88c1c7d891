/* packfed pretrain: trains a dense model on a data set. */
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/options.h"
#include "common/base/clock.h"
#include "common/base/text.h"
#include "proto/model_file.h"

#define COMMAND "pretrain"

enum { KEY_OUT = 0x2000, KEY_MODEL, KEY_TEACHER, KEY_DISTILL, KEY_DISTILL_TEMPERATURE };

struct pretrain_options {
    struct pf_options_common common;
    struct pf_options_data data;
    struct pf_options_network network;
    struct pf_options_train train;
    const char *out, *model, *teacher;
    const char *needs_teacher; /* an option that says nothing without one */
};

static const struct argp_option own_options[] = {
    {"out", KEY_OUT, "FILE", 0, "where the model goes (dense.pfm)", 1},
    {"model", KEY_MODEL, "FILE", 0,
     "go on from this model, dense or packed, instead of from chance; the network is its own", 1},
    {"teacher", KEY_TEACHER, "FILE", 0, "learn from this model too (distillation)", 1},
    {"distill", KEY_DISTILL, "X", 0, "weight of what the teacher says, 0 to 1 (0.9)", 1},
    {"distill-temperature", KEY_DISTILL_TEMPERATURE, "T", 0,
     "softens what teacher and student say, 0.1 to 100 (4)", 1},
    {0},
};

static const struct argp_child children[] = {
    {&pf_options_data_argp, 0, "Data:", 2},
    {&pf_options_network_argp, 0, "Network:", 3},
    {&pf_options_train_argp, 0, "Training:", 4},
    {&pf_options_common_argp, 0, "General:", 5},
    {0},
};

static error_t parse_distillation(int key, char *arg, const struct argp_state *state,
                                  struct pretrain_options *self)
{
    struct pf_train_options *train = &self->train.train;
    switch (key) {
    case KEY_TEACHER: self->teacher = arg; break;
    case KEY_DISTILL:
        self->needs_teacher = "--distill";
        train->distill_weight = pf_cli_real(state, "--distill", arg, 0, 1);
        break;
    case KEY_DISTILL_TEMPERATURE:
        self->needs_teacher = "--distill-temperature";
        train->distill_temperature =
            pf_cli_real(state, "--distill-temperature", arg, PF_MIN_DISTILL_TEMPERATURE,
                        PF_MAX_DISTILL_TEMPERATURE);
        break;
    default: return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct pretrain_options *self = state->input;
    switch (key) {
    case ARGP_KEY_INIT: {
        void *inputs[] = {&self->data, &self->network, &self->train, &self->common};
        memcpy(state->child_inputs, inputs, sizeof inputs);
        self->out = "dense.pfm";
        break;
    }
    case KEY_OUT: self->out = arg; break;
    case KEY_MODEL: self->model = arg; break;
    case ARGP_KEY_ARG: argp_error(state, "'%s' is not an option; --help lists them", arg); break;
    case ARGP_KEY_END:
        if (self->needs_teacher != NULL && self->teacher == NULL)
            argp_error(state, "%s is about a --teacher", self->needs_teacher);
        break;
    default: return parse_distillation(key, arg, state, self);
    }
    return 0;
}

static const struct argp argp = {
    .options = own_options,
    .parser = parse,
    .children = children,
    .doc = "Train a network, dense unless --model is packed, on a data set and write it as a model "
           "file.\vThe same seed gives "
           "the same model, whatever the number of threads."};

struct result {
    struct pf_evaluation evaluation;
    struct pf_hash hash;
    size_t n_parameters;
    double seconds;
};

/* The model given, or one drawn from the seed for the images at hand. */
static enum pf_status begin_model(const struct pretrain_options *options,
                                  const struct pf_dataset *training, struct pf_model **model,
                                  struct pf_error *err)
{
    if (options->model != NULL) return pf_model_load(options->model, model, err);
    struct pf_network network = options->network.network;
    PF_TRY(pf_options_network_for(&network, training, err));
    PF_TRY(pf_model_create(&network, NULL, model, err));
    pf_model_initialise(*model, options->common.seed);
    pf_dataset_statistics(training, (*model)->input_mean, (*model)->input_std);
    return PF_OK;
}

static enum pf_status train(const struct pretrain_options *options,
                            const struct pf_progress *progress, struct result *result,
                            struct pf_error *err)
{
    double started = pf_clock_seconds();
    struct pf_data_source source = options->data.source;
    source.seed = options->common.seed;
    PF_CLEANUP(pf_dataset_destroyp) struct pf_dataset *training = NULL;
    PF_CLEANUP(pf_dataset_destroyp) struct pf_dataset *test = NULL;
    PF_TRY(pf_dataset_load(&source, PF_SPLIT_TEST, &test, err));
    PF_TRY(pf_dataset_load(&source, PF_SPLIT_TRAIN, &training, err));

    PF_CLEANUP(pf_model_destroyp) struct pf_model *model = NULL;
    PF_TRY(begin_model(options, training, &model, err));

    struct pf_train_options train_options = options->train.train;
    train_options.seed = options->common.seed;
    PF_CLEANUP(pf_model_destroyp) struct pf_model *teacher = NULL;
    if (options->teacher != NULL) PF_TRY(pf_model_load(options->teacher, &teacher, err));
    train_options.teacher = teacher;
    PF_CLEANUP(pf_pool_destroyp) struct pf_pool *pool = NULL;
    PF_TRY(pf_pool_create(options->common.threads, &pool, err));
    PF_TRY(pf_train(model, training, &train_options, pool, progress, err));
    PF_TRY(pf_evaluate(model, test, pool, progress, &result->evaluation, err));
    PF_TRY(pf_model_save(model, options->out, err));

    PF_CLEANUP(pf_buffer_finish) struct pf_buffer bytes = {0};
    PF_TRY(pf_model_encode(model, &bytes, err));
    result->hash = pf_hash_bytes(bytes.bytes, bytes.length);
    result->n_parameters = model->n_parameters;
    result->seconds = pf_clock_seconds() - started;
    return PF_OK;
}

static void print_result(const struct pretrain_options *options, const struct result *result)
{
    char hash[2 * PF_HASH_BYTES + 1];
    pf_text_hex(hash, result->hash.bytes, PF_HASH_BYTES);
    if (options->common.json) {
        json_t *json = json_pack(
            "{s:s, s:f, s:f, s:I, s:I, s:s, s:f, s:f}", "model", options->out, "accuracy_percent",
            result->evaluation.accuracy_percent, "loss", result->evaluation.loss, "test_images",
            (json_int_t)result->evaluation.n_images, "parameters", (json_int_t)result->n_parameters,
            "hash", hash, "seconds", result->seconds, "distill",
            options->teacher != NULL ? options->train.train.distill_weight : 0.0);
        json_dumpf(json, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(10));
        putchar('\n');
        json_decref(json);
        return;
    }
    printf("%s: accuracy %.2f %% (%zu of %zu test images), loss %.4f, %zu parameters, %.1f s\n",
           options->out, result->evaluation.accuracy_percent, result->evaluation.n_correct,
           result->evaluation.n_images, result->evaluation.loss, result->n_parameters,
           result->seconds);
    printf("hash %s\n", hash);
}

int pf_cmd_pretrain(int argc, char **argv)
{
    struct pretrain_options options = {0};
    pf_cli_parse(&argp, argc, argv, &options);
    const struct pf_progress *progress = pf_cli_progress(options.common.quiet);
    struct result result = {0};
    struct pf_error err = {0};
    if (train(&options, progress, &result, &err) != PF_OK) return pf_cli_fail(COMMAND, &err);
    print_result(&options, &result);
    return PF_EXIT_OK;
}
