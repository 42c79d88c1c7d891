/* packfed combine: prunes and combines a model in one step, without retraining. */
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "cli/combine_sweep.h"
#include "cli/combine_table.h"
#include "cli/options.h"
#include "proto/model_file.h"

enum { KEY_SWEEP = 0x2000 };

struct combine_command {
    struct pf_options_common common;
    struct pf_options_combine combine;
    struct pf_options_array array;
    struct pf_options_data data;
    struct pf_sweep sweep;
    const char *model;
    const char *out;
};

/* The model, or a further axis of the sweep: --sweep alpha=1,2 gamma=0,.5 */
static void parse_word(struct combine_command *self, struct argp_state *state, const char *word)
{
    if (self->sweep.wanted && strchr(word, '=') != NULL) {
        pf_sweep_parse(&self->sweep, state, word);
        return;
    }
    if (self->model != NULL) argp_error(state, "one model at a time: what is '%s'?", word);
    self->model = word;
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct combine_command *self = state->input;
    switch (key) {
    case ARGP_KEY_INIT: {
        void *inputs[] = {&self->combine, &self->array, &self->data, &self->common};
        memcpy(state->child_inputs, inputs, sizeof inputs);
        break;
    }
    case 'o': self->out = arg; break;
    case KEY_SWEEP: pf_sweep_parse(&self->sweep, state, arg); break;
    case ARGP_KEY_ARG: parse_word(self, state, arg); break;
    case ARGP_KEY_END:
        if (self->model == NULL) argp_error(state, "name the model file to combine");
        break;
    default: return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

/* ---- the command -------------------------------------------------------------------------- */

/* Only a sweep may leave --packer matching without an α that it can do. */
static enum pf_status check_swept_alpha(struct combine_command *self, struct pf_error *err)
{
    struct pf_schedule_options *schedule = &self->combine.schedule;
    const struct pf_sweep_axis *alpha = &self->sweep.alpha;
    for (size_t i = 0; i < alpha->n; i++)
        PF_TRY(pf_packer_check_alpha(schedule->packer.packer, (uint32_t)alpha->values[i], err));
    uint32_t largest = 1;
    for (uint32_t b = 0; b < schedule->n_blocks; b++) {
        if (schedule->alpha[b] > 1 && alpha->n > 0) schedule->alpha[b] = 2;
        bool differs = largest > 1 && schedule->alpha[b] > 1 && schedule->alpha[b] != largest;
        if (self->sweep.wanted && differs)
            return pf_fail(err, PF_INVALID,
                           "--sweep has one α for all combined blocks: name it with alpha=LIST, or "
                           "give --alpha one number beside the 1s");
        largest = PF_MAX(largest, schedule->alpha[b]);
    }
    if (self->sweep.wanted && largest == 1)
        return pf_fail(err, PF_INVALID,
                       "--alpha leaves every block dense: there is nothing to sweep");
    return PF_OK;
}

/* What the last stage of the schedule does. */
static enum pf_status plan_last_stage(struct combine_command *self, const struct pf_model *model,
                                      struct pf_combine_options *options, struct pf_error *err)
{
    PF_TRY(pf_options_fit_alpha(&self->combine.schedule, model->network.n_blocks, err));
    PF_TRY(check_swept_alpha(self, err));
    pf_options_complete(&self->combine, &self->common, &self->array);
    PF_TRY(pf_schedule_plan_last(&self->combine.schedule, options, err));
    return pf_combine_options_validate(options, &model->network, err);
}

static void print_result(const struct combine_command *self, const struct pf_model *model,
                         const struct pf_combine_report *report, double accuracy_percent)
{
    const struct pf_array *array = &self->array.array;
    if (self->common.json) {
        json_t *result =
            json_pack("{s:s,s:s?,s:s,s:f,s:{s:I,s:I}}", "model", self->model, "out", self->out,
                      "packer", pf_packer_name(self->combine.schedule.packer.packer), "gamma",
                      self->combine.schedule.gamma, "array", "rows", (json_int_t)array->rows,
                      "columns", (json_int_t)array->columns);
        json_object_update_new(result, pf_combine_json(model, report, array));
        json_object_set_new(result, "accuracy_percent",
                            isnan(accuracy_percent) ? json_null() : json_real(accuracy_percent));
        json_dumpf(result, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(10));
        putchar('\n');
        json_decref(result);
        return;
    }
    pf_combine_print_table(model, report, array);
    if (!isnan(accuracy_percent))
        printf("Accuracy without retraining: %.2f %%.\n", accuracy_percent);
    if (self->out != NULL)
        printf("The combined model is %s.\n", self->out);
    else
        puts("The combined model was not written (--out FILE).");
}

static enum pf_status load_test_set(const struct combine_command *self,
                                    struct pf_dataset **test_set, struct pf_error *err)
{
    if (!self->data.given) return PF_OK;
    struct pf_data_source source = self->data.source;
    source.seed = self->common.seed;
    return pf_dataset_load(&source, PF_SPLIT_TEST, test_set, err);
}

static enum pf_status combine_and_print(const struct combine_command *self,
                                        const struct pf_model *model,
                                        const struct pf_combine_options *options,
                                        const struct pf_dataset *test_set,
                                        const struct pf_progress *progress, struct pf_error *err)
{
    PF_CLEANUP(pf_model_destroyp) struct pf_model *combined = NULL;
    struct pf_combine_report report;
    double accuracy_percent;
    PF_TRY(pf_model_combine(model, options, &combined, &report, err));
    if (self->out != NULL) PF_TRY(pf_model_save(combined, self->out, err));
    PF_TRY(pf_combine_accuracy(combined, test_set, self->common.threads, progress,
                               &accuracy_percent, err));
    print_result(self, combined, &report, accuracy_percent);
    return PF_OK;
}

static enum pf_status run(const struct combine_command *self, const struct pf_model *model,
                          const struct pf_combine_options *options, struct pf_error *err)
{
    const struct pf_progress *progress = pf_cli_progress(self->common.quiet);
    PF_CLEANUP(pf_dataset_destroyp) struct pf_dataset *test_set = NULL;
    PF_TRY(load_test_set(self, &test_set, err));
    if (!self->sweep.wanted)
        return combine_and_print(self, model, options, test_set, progress, err);
    const struct pf_sweep_config config = {.model = model,
                                           .model_path = self->model,
                                           .schedule = &self->combine.schedule,
                                           .array = &self->array.array,
                                           .test_set = test_set,
                                           .out = self->out,
                                           .n_threads = self->common.threads,
                                           .json = self->common.json,
                                           .progress = progress};
    return pf_sweep_run(&self->sweep, &config, err);
}

int pf_cmd_combine(int argc, char **argv)
{
    static const struct argp_option options[] = {
        {"out", 'o', "FILE", 0,
         "where to write the combined model, or the table of a sweep as CSV; without it the "
         "printed table is all",
         0},
        {"sweep", KEY_SWEEP, "alpha=LIST gamma=LIST density=LIST", 0,
         "combine with each of these, one line each, as in --sweep alpha=1,2,4,8 gamma=0,.5; an "
         "axis not named stays as the other options say",
         0},
        {0},
    };
    static const struct argp_child children[] = {
        {&pf_options_combine_argp, 0, "Combining:", 1},
        {&pf_options_array_argp, 0, "Array to count tiles for:", 2},
        {&pf_options_data_argp, 0, "Data to measure accuracy on (none unless --data is given):", 3},
        {&pf_options_common_argp, 0, "Common:", 4},
        {0},
    };
    static const struct argp argp = {
        .options = options,
        .parser = parse,
        .args_doc = "MODEL",
        .doc = "Prunes a model, groups its columns, resolves their conflicts and puts the filters "
               "in the order in which the next layer reads them, all in one step: the last stage "
               "of the schedule.  Prints what became of each layer, and what no packer could "
               "beat.\v"
               "Nothing is retrained, so accuracy falls to little; 'packfed federation' and "
               "'packfed coordinator' combine in stages and retrain in between.",
        .children = children,
    };
    struct combine_command self = {0};
    pf_cli_parse(&argp, argc, argv, &self);

    struct pf_error err;
    PF_CLEANUP(pf_model_destroyp) struct pf_model *model = NULL;
    if (pf_model_load(self.model, &model, &err) != PF_OK) return pf_cli_fail("combine", &err);
    struct pf_combine_options order;
    if (plan_last_stage(&self, model, &order, &err) != PF_OK) return pf_cli_usage("combine", &err);
    if (run(&self, model, &order, &err) != PF_OK) return pf_cli_fail("combine", &err);
    if (fflush(stdout) != 0 || ferror(stdout)) {
        (void)pf_fail_errno(&err, PF_IO, "the table could not be written to standard output");
        return pf_cli_fail("combine", &err);
    }
    return PF_EXIT_OK;
}
