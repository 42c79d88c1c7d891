/* packfed evaluate: lowers a model to 8 bits, lays it out on the bit-serial array and says what it
 * costs and how well it does there. */
#include <jansson.h>
#include <stdio.h>

#include "cli/options.h"
#include "common/base/text.h"
#include "proto/model_file.h"

#define CYCLE_DEFINITION \
    "first input bit entering the array to last output bit leaving it, both included"

struct evaluate_command {
    struct pf_options_common common;
    struct pf_options_data data;
    struct pf_options_array array;
    const char *path;
    uint64_t n_checked;
    bool no_accuracy;
};

/* Everything that is printed. */
struct findings {
    const struct evaluate_command *command;
    struct pf_model *model;
    char hash[2 * PF_HASH_BYTES + 1];
    struct pf_evaluation floats; /* when report.evaluated */
    struct pf_array_report report;
};

enum { KEY_CHECK = 0x2000, KEY_NO_ACCURACY };

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct evaluate_command *self = state->input;
    struct pf_error err;
    switch (key) {
    case ARGP_KEY_INIT:
        self->n_checked = 8;
        state->child_inputs[0] = &self->data;
        state->child_inputs[1] = &self->array;
        state->child_inputs[2] = &self->common;
        break;
    case KEY_CHECK:
        if (pf_text_u64("--check", arg, 0, PF_MAX_IMAGES, &self->n_checked, &err) != PF_OK)
            argp_error(state, "%s", err.text);
        break;
    case KEY_NO_ACCURACY: self->no_accuracy = true; break;
    case ARGP_KEY_ARG:
        if (state->arg_num > 0) argp_error(state, "one model at a time: what is '%s'?", arg);
        self->path = arg;
        break;
    case ARGP_KEY_END:
        if (self->path == NULL) argp_error(state, "name the model file to evaluate");
        break;
    default: return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

/* ---- as a table --------------------------------------------------------------------------- */

static void print_header(const struct findings *self)
{
    const struct pf_array *a = &self->report.array;
    char text[256];
    printf("model    %s\n", self->command->path);
    printf("hash     %s\n", self->hash);
    printf("network  %s\n", pf_network_describe(&self->model->network, text, sizeof text));
    printf("array    %u × %u cells, alpha %u, b = %u input bits, A = %u accumulation bits, "
           "L = %u lanes, %g MHz%s\n",
           a->rows, a->columns, a->alpha, a->input_bits, a->accumulation_bits, a->lanes,
           a->clock_mhz, a->double_buffering ? ", double buffering" : "");
    printf("weights  sign and magnitude, |w| ≤ 127; activations 0…255 over 0…6\n");
    printf("a cycle count runs from the " CYCLE_DEFINITION "\n\n");
}

static double density(const struct pf_array_layer *layer)
{
    return (double)layer->nonzeros / ((double)layer->n_rows * (double)layer->n_columns);
}

static void print_layers(const struct findings *self)
{
    printf("                                                columns         tiles   "
           "     cycles an image          utilised\n");
    printf("layer kind         N × K × P       density  apart → packed  apart → packed "
           "     load     compute    apart    packed\n");
    for (size_t l = 0; l < self->report.n_layers; l++) {
        const struct pf_array_layer *after = &self->report.combined[l];
        const struct pf_array_layer *before = &self->report.uncombined[l];
        char load[32], compute[32];
        printf("%5zu %-9s %4u × %4u × %-5zu %5.1f %%  %5u → %-5u  %5lu → %-5lu  %9s %11s  "
               "%5.1f %%   %5.1f %%\n",
               l, pf_layer_kind_name(self->model->layers[l].kind), after->n_rows, after->n_columns,
               (size_t)after->n_pixels, 100.0 * density(after), before->columns, after->columns,
               (unsigned long)before->tiles, (unsigned long)after->tiles,
               pf_text_thousands(load, after->load_cycles),
               pf_text_thousands(compute, after->compute_cycles), 100.0 * before->utilisation,
               100.0 * after->utilisation);
    }
}

static void print_figure(const char *name, double before, double after, int decimals)
{
    printf("%-22s %14.*f %14.*f", name, decimals, before, decimals, after);
    if (before > 0.0)
        printf(" %9.3f\n", after / before);
    else
        printf(" %9s\n", "—");
}

static void print_totals(const struct findings *self)
{
    const struct pf_array_totals *before = &self->report.uncombined_total;
    const struct pf_array_totals *after = &self->report.combined_total;
    printf("\nper image                   uncombined       combined     ratio\n");
    print_figure("array columns", (double)before->columns, (double)after->columns, 0);
    print_figure("tiles", (double)before->tiles, (double)after->tiles, 0);
    print_figure("cycles", (double)before->cycles, (double)after->cycles, 0);
    print_figure("  loading", (double)before->load_cycles, (double)after->load_cycles, 0);
    print_figure("  computing", (double)before->compute_cycles, (double)after->compute_cycles, 0);
    print_figure("latency, µs", before->latency_us, after->latency_us, 1);
    print_figure("images a second", 1e6 / before->latency_us, 1e6 / after->latency_us, 1);
    print_figure("utilised, %", 100.0 * before->utilisation, 100.0 * after->utilisation, 1);
    print_figure("energy (estimate), µJ", self->report.uncombined_energy.total_uj,
                 self->report.combined_energy.total_uj, 1);
    printf("\nUncombined: the same weights, one array column for each that has any, on cells of "
           "one input.\nUtilisation counts the layers that can be combined.  Energy: events × "
           "published constants of\nmixed technology, an order of magnitude "
           "(docs/simulator.md).\n");
}

static void print_accuracy(const struct findings *self)
{
    const struct pf_array_report *report = &self->report;
    if (!report->evaluated) return;
    printf("\naccuracy on %zu images of %s: %.2f %% in float, %.2f %% on the array\n",
           report->n_images, pf_data_kind_name(self->command->data.source.kind),
           self->floats.accuracy_percent, report->accuracy_percent);
    if (report->n_checked == 0)
        printf("bit-exact: not checked (--check)\n");
    else
        printf("bit-exact: %s, %zu images against the integer reference, every logit\n",
               report->bit_exact ? "yes" : "NO", report->n_checked);
}

/* ---- as JSON ------------------------------------------------------------------------------ */

static json_t *json_count(uint64_t value)
{
    return json_integer((json_int_t)value);
}

static json_t *json_layout(const struct pf_array_layer *layer)
{
    return json_pack("{s:o,s:o,s:o,s:o,s:o,s:f}", "columns", json_count(layer->columns), "tiles",
                     json_count(layer->tiles), "load_cycles", json_count(layer->load_cycles),
                     "compute_cycles", json_count(layer->compute_cycles), "cycles",
                     json_count(layer->cycles), "utilisation", layer->utilisation);
}

static json_t *json_total(const struct pf_array_totals *total, const struct pf_array_energy *energy)
{
    return json_pack("{s:o,s:o,s:o,s:o,s:o,s:f,s:f,s:f,s:{s:f,s:f,s:f}}", "columns",
                     json_count(total->columns), "tiles", json_count(total->tiles), "cycles",
                     json_count(total->cycles), "load_cycles", json_count(total->load_cycles),
                     "compute_cycles", json_count(total->compute_cycles), "utilisation",
                     total->utilisation, "latency_us", total->latency_us, "energy_uj",
                     energy->total_uj, "energy_parts_uj", "cells", energy->cells_uj, "leakage",
                     energy->leakage_uj, "memory", energy->memory_uj);
}

static json_t *json_layers(const struct findings *self)
{
    json_t *layers = json_array();
    for (size_t l = 0; l < self->report.n_layers; l++) {
        const struct pf_array_layer *layer = &self->report.combined[l];
        json_array_append_new(
            layers,
            json_pack("{s:o,s:s,s:o,s:o,s:o,s:o,s:f,s:o,s:o}", "layer", json_count(l), "kind",
                      pf_layer_kind_name(self->model->layers[l].kind), "n_rows",
                      json_count(layer->n_rows), "n_columns", json_count(layer->n_columns),
                      "n_pixels", json_count(layer->n_pixels), "nonzeros",
                      json_count(layer->nonzeros), "density", density(layer), "uncombined",
                      json_layout(&self->report.uncombined[l]), "combined", json_layout(layer)));
    }
    return layers;
}

static json_t *json_array_of(const struct pf_array *a)
{
    return json_pack("{s:o,s:o,s:o,s:o,s:o,s:o,s:f,s:b}", "rows", json_count(a->rows), "columns",
                     json_count(a->columns), "alpha", json_count(a->alpha), "input_bits",
                     json_count(a->input_bits), "accumulation_bits",
                     json_count(a->accumulation_bits), "lanes", json_count(a->lanes), "clock_mhz",
                     a->clock_mhz, "double_buffering", a->double_buffering);
}

static void print_json(const struct findings *self)
{
    const struct pf_array_report *report = &self->report;
    json_t *result =
        json_pack("{s:s,s:s,s:s,s:o,s:o,s:o,s:o}", "model", self->command->path, "model_hash",
                  self->hash, "cycle_definition", CYCLE_DEFINITION, "array",
                  json_array_of(&report->array), "layers", json_layers(self), "uncombined",
                  json_total(&report->uncombined_total, &report->uncombined_energy), "combined",
                  json_total(&report->combined_total, &report->combined_energy));
    json_t *accuracy = json_null(), *bit_exact = json_null(), *data = json_null();
    if (report->evaluated) {
        accuracy = json_pack("{s:f,s:f}", "float", self->floats.accuracy_percent, "array",
                             report->accuracy_percent);
        data = json_string(pf_data_kind_name(self->command->data.source.kind));
        if (report->n_checked > 0) bit_exact = json_boolean(report->bit_exact);
    }
    json_object_set_new(result, "data", data);
    json_object_set_new(result, "n_images", json_count(report->n_images));
    json_object_set_new(result, "accuracy_percent", accuracy);
    json_object_set_new(result, "n_checked", json_count(report->n_checked));
    json_object_set_new(result, "bit_exact", bit_exact);
    json_dumpf(result, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(10));
    putchar('\n');
    json_decref(result);
}

/* ---- the command -------------------------------------------------------------------------- */

static enum pf_status name_model(struct findings *self, struct pf_error *err)
{
    PF_CLEANUP(pf_buffer_finish) struct pf_buffer bytes = {0};
    PF_TRY(pf_model_encode(self->model, &bytes, err));
    struct pf_hash hash = pf_hash_bytes(bytes.bytes, bytes.length);
    pf_text_hex(self->hash, hash.bytes, sizeof hash.bytes);
    return PF_OK;
}

static enum pf_status evaluate(struct evaluate_command *command, struct findings *self,
                               struct pf_error *err)
{
    const struct pf_progress *progress = pf_cli_progress(command->common.quiet);
    PF_TRY(name_model(self, err));
    PF_CLEANUP(pf_pool_destroyp) struct pf_pool *pool = NULL;
    PF_TRY(pf_pool_create(command->common.threads, &pool, err));
    if (command->no_accuracy)
        return pf_array_evaluate(self->model, &command->array.array, NULL, 0, pool, progress,
                                 &self->report, err);
    PF_CLEANUP(pf_dataset_destroyp) struct pf_dataset *dataset = NULL;
    command->data.source.seed = command->common.seed;
    PF_TRY(pf_dataset_load(&command->data.source, PF_SPLIT_TEST, &dataset, err));
    /* The array first: what it refuses is not worth waiting for the float network. */
    PF_TRY(pf_array_evaluate(self->model, &command->array.array, dataset, command->n_checked, pool,
                             progress, &self->report, err));
    return pf_evaluate(self->model, dataset, pool, progress, &self->floats, err);
}

static const struct argp_option options[] = {
    {"check", KEY_CHECK, "N", 0,
     "compare so many images with the integer reference, logit by logit (8)", 0},
    {"no-accuracy", KEY_NO_ACCURACY, NULL, 0, "lay out and count only; needs no data", 0},
    {0},
};

int pf_cmd_evaluate(int argc, char **argv)
{
    static const struct argp_child children[] = {
        {&pf_options_data_argp, 0, "Data, of which the test images are classified:", 1},
        {&pf_options_array_argp, 0, "Array:", 2},
        {&pf_options_common_argp, 0, "Common:", 3},
        {0},
    };
    static const struct argp argp = {
        .options = options,
        .parser = parse,
        .args_doc = "MODEL",
        .doc = "Lowers a model to 8 bits and runs it on the simulated bit-serial systolic array: "
               "tiles, cycles, utilisation, latency, an estimate of energy, and accuracy, combined "
               "against uncombined.\v"
               "Synthetic data comes from --seed: give the one the model was trained with.  Exits "
               "1 when the array and the integer reference disagree.",
        .children = children,
    };
    struct evaluate_command command = {0};
    pf_cli_parse(&argp, argc, argv, &command);

    struct pf_error err;
    static struct findings findings; /* the report is too large for a stack */
    PF_CLEANUP(pf_model_destroyp) struct pf_model *model = NULL;
    if (pf_model_load(command.path, &model, &err) != PF_OK) return pf_cli_fail("evaluate", &err);
    findings = (struct findings){.command = &command, .model = model};
    if (evaluate(&command, &findings, &err) != PF_OK) return pf_cli_fail("evaluate", &err);
    if (command.common.json) {
        print_json(&findings);
    } else {
        print_header(&findings);
        print_layers(&findings);
        print_totals(&findings);
        print_accuracy(&findings);
    }
    bool disagrees = findings.report.n_checked > 0 && !findings.report.bit_exact;
    return disagrees ? PF_EXIT_FAILURE : PF_EXIT_OK;
}
