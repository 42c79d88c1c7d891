/* packfed combine: prunes and combines a model in one step, without retraining. */
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "cli/options.h"
#include "common/base/text.h"
#include "proto/model_file.h"

struct combine_command {
    struct pf_options_common common;
    struct pf_options_combine combine;
    struct pf_options_array array;
    const char *model;
    const char *out;
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct combine_command *self = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &self->combine;
        state->child_inputs[1] = &self->array;
        state->child_inputs[2] = &self->common;
        break;
    case 'o': self->out = arg; break;
    case ARGP_KEY_ARG:
        if (state->arg_num > 0) argp_error(state, "one model at a time: what is '%s'?", arg);
        self->model = arg;
        break;
    case ARGP_KEY_END:
        if (self->model == NULL) argp_error(state, "name the model file to combine");
        break;
    default: return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

/* ---- figures ------------------------------------------------------------------------------ */

struct row {
    size_t nonzeros_before, nonzeros_after;
    uint64_t columns_before, columns_after;
    uint64_t tiles_before, tiles_after;
    double cells;
    double weight_before, weight_after; /* Σ|w| */
};

static uint64_t count_tiles(uint32_t n_rows, uint32_t n_columns, const struct pf_array *array)
{
    return (uint64_t)((n_rows + array->rows - 1) / array->rows) *
           ((n_columns + array->columns - 1) / array->columns);
}

static struct row row_of(const struct pf_combine_layer *layer, const struct pf_array *array)
{
    return (struct row){
        .nonzeros_before = layer->nonzeros_before,
        .nonzeros_after = layer->nonzeros_after,
        .columns_before = layer->columns_before,
        .columns_after = layer->groups,
        .tiles_before = count_tiles(layer->n_rows, layer->columns_before, array),
        .tiles_after = count_tiles(layer->n_rows, layer->groups, array),
        .cells = (double)layer->nonempty_rows * (double)layer->groups,
        .weight_before = layer->weight_before,
        .weight_after = layer->weight_before * layer->weight_kept,
    };
}

/* Over all layers, or over the combined ones. */
static struct row total_of(const struct pf_combine_report *report, const struct pf_array *array,
                           bool combined_only)
{
    struct row total = {0};
    for (size_t l = 0; l < report->n_layers; l++) {
        if (combined_only && report->layers[l].alpha == 1) continue;
        struct row row = row_of(&report->layers[l], array);
        total.nonzeros_before += row.nonzeros_before;
        total.nonzeros_after += row.nonzeros_after;
        total.columns_before += row.columns_before;
        total.columns_after += row.columns_after;
        total.tiles_before += row.tiles_before;
        total.tiles_after += row.tiles_after;
        total.cells += row.cells;
        total.weight_before += row.weight_before;
        total.weight_after += row.weight_after;
    }
    return total;
}

static double utilisation(const struct row *row)
{
    return row->cells > 0.0 ? (double)row->nonzeros_after / row->cells : 0.0;
}

static double weight_kept(const struct row *row)
{
    return row->weight_before > 0.0 ? row->weight_after / row->weight_before : 1.0;
}

/* ---- as a table --------------------------------------------------------------------------- */

static void print_row(const struct row *row)
{
    char before[32], after[32];
    printf(" %11s → %-10s", pf_text_thousands(before, row->nonzeros_before),
           pf_text_thousands(after, row->nonzeros_after));
    printf(" %6s → %-6s", pf_text_thousands(before, row->columns_before),
           pf_text_thousands(after, row->columns_after));
    printf(" %5s → %-5s", pf_text_thousands(before, row->tiles_before),
           pf_text_thousands(after, row->tiles_after));
    printf(" %6.1f %%   %6.1f %%\n", 100.0 * utilisation(row), 100.0 * weight_kept(row));
}

static void print_total(const char *name, const struct row *row)
{
    printf("%-31s", name);
    print_row(row);
}

static void print_table(const struct combine_command *self, const struct pf_model *model,
                        const struct pf_combine_report *report)
{
    const struct pf_array *array = &self->array.array;
    printf("layer  kind          N × K    α"
           "         nonzeros            columns           tiles     utilised   |w| kept\n");
    for (size_t l = 0; l < report->n_layers; l++) {
        const struct pf_combine_layer *layer = &report->layers[l];
        struct row row = row_of(layer, array);
        printf("%5zu  %-9s %4u × %-5u %2u", l, pf_layer_kind_name(model->layers[l].kind),
               layer->n_rows, layer->n_columns, layer->alpha);
        print_row(&row);
    }
    struct row combined = total_of(report, array, true), all = total_of(report, array, false);
    print_total("combined layers", &combined);
    print_total("all layers", &all);
    printf("\nTiles of %u × %u.", array->rows, array->columns);
    if (self->out != NULL)
        printf("  The combined model is %s.\n", self->out);
    else
        puts("  The combined model was not written (--out FILE).");
}

/* ---- as JSON ------------------------------------------------------------------------------ */

static json_t *json_row(const struct row *row)
{
    return json_pack("{s:{s:I,s:I},s:{s:I,s:I},s:{s:I,s:I},s:f,s:f}", "nonzeros", "before",
                     (json_int_t)row->nonzeros_before, "after", (json_int_t)row->nonzeros_after,
                     "columns", "before", (json_int_t)row->columns_before, "after",
                     (json_int_t)row->columns_after, "tiles", "before",
                     (json_int_t)row->tiles_before, "after", (json_int_t)row->tiles_after,
                     "utilisation", utilisation(row), "weight_kept", weight_kept(row));
}

static json_t *json_layers(const struct pf_model *model, const struct pf_combine_report *report,
                           const struct pf_array *array)
{
    json_t *layers = json_array();
    for (size_t l = 0; l < report->n_layers; l++) {
        const struct pf_combine_layer *layer = &report->layers[l];
        struct row row = row_of(layer, array);
        json_t *item = json_row(&row);
        json_object_set_new(item, "layer", json_integer((json_int_t)l));
        json_object_set_new(item, "kind", json_string(pf_layer_kind_name(model->layers[l].kind)));
        json_object_set_new(item, "n_rows", json_integer(layer->n_rows));
        json_object_set_new(item, "n_columns", json_integer(layer->n_columns));
        json_object_set_new(item, "alpha", json_integer(layer->alpha));
        json_array_append_new(layers, item);
    }
    return layers;
}

static void print_json(const struct combine_command *self, const struct pf_model *model,
                       const struct pf_combine_report *report)
{
    const struct pf_array *array = &self->array.array;
    struct row combined = total_of(report, array, true), all = total_of(report, array, false);
    json_t *result = json_pack(
        "{s:s,s:s?,s:f,s:{s:I,s:I},s:o,s:o,s:o}", "model", self->model, "out", self->out, "gamma",
        self->combine.schedule.gamma, "array", "rows", (json_int_t)array->rows, "columns",
        (json_int_t)array->columns, "layers", json_layers(model, report, array), "combined_layers",
        json_row(&combined), "all_layers", json_row(&all));
    json_dumpf(result, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(10));
    putchar('\n');
    json_decref(result);
}

/* ---- the command -------------------------------------------------------------------------- */

/* What the last stage of the schedule does.  A schedule is asked for with rounds enough for any
 * number of stages: there is no retraining here. */
static enum pf_status plan_last_stage(struct combine_command *self, const struct pf_model *model,
                                      struct pf_combine_options *options, struct pf_error *err)
{
    struct pf_schedule schedule;
    PF_TRY(pf_options_fit_alpha(&self->combine.schedule, model->network.n_blocks, err));
    self->combine.schedule.rounds = 4 * PF_MAX_STAGES;
    PF_TRY(pf_schedule_plan(&self->combine.schedule, &schedule, err));
    *options = schedule.stages[schedule.n_stages - 1].combine;
    return PF_OK;
}

static enum pf_status combine_and_print(const struct combine_command *self,
                                        const struct pf_model *model,
                                        const struct pf_combine_options *options,
                                        struct pf_error *err)
{
    PF_CLEANUP(pf_model_destroyp) struct pf_model *combined = NULL;
    struct pf_combine_report report;
    PF_TRY(pf_model_combine(model, options, &combined, &report, err));
    if (self->out != NULL) PF_TRY(pf_model_save(combined, self->out, err));
    if (self->common.json)
        print_json(self, combined, &report);
    else
        print_table(self, combined, &report);
    return PF_OK;
}

int pf_cmd_combine(int argc, char **argv)
{
    static const struct argp_option options[] = {
        {"out", 'o', "FILE", 0, "where to write the combined model; without it the table is all",
         0},
        {0},
    };
    static const struct argp_child children[] = {
        {&pf_options_combine_argp, 0, "Combining:", 1},
        {&pf_options_array_argp, 0, "Array to count tiles for:", 2},
        {&pf_options_common_argp, 0, "Common:", 3},
        {0},
    };
    static const struct argp argp = {
        .options = options,
        .parser = parse,
        .args_doc = "MODEL",
        .doc = "Prunes a model, groups its columns, resolves their conflicts and puts the filters "
               "in the order in which the next layer reads them, all in one step: the last stage "
               "of the schedule.  Prints what became of each layer.\v"
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
    if (combine_and_print(&self, model, &order, &err) != PF_OK) return pf_cli_fail("combine", &err);
    return PF_EXIT_OK;
}
