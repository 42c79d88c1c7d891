#include "cli/combine_sweep.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "cli/combine_table.h"
#include "common/base/clock.h"
#include "common/base/file.h"
#include "common/base/text.h"

/* ---- the axes ----------------------------------------------------------------------------- */

/* "0,.25,.5" into the axis. */
static void parse_values(const struct argp_state *state, const char *name, const char *text,
                         double min, double max, bool whole, struct pf_sweep_axis *axis)
{
    axis->n = 0;
    for (const char *next = text; next != NULL;) {
        char word[32] = "";
        const char *comma = strchr(next, ',');
        size_t length = comma != NULL ? (size_t)(comma - next) : strlen(next);
        if (axis->n == PF_MAX_SWEEP_VALUES)
            argp_error(state, "--sweep: %s has more than %u values", name, PF_MAX_SWEEP_VALUES);
        if (length >= sizeof word)
            argp_error(state, "--sweep: '%s' is no list of numbers for %s", text, name);
        memcpy(word, next, length);
        double value = whole
                           ? (double)pf_cli_number(state, name, word, (uint64_t)min, (uint64_t)max)
                           : pf_cli_real(state, name, word, min, max);
        axis->values[axis->n++] = value;
        next = comma != NULL ? comma + 1 : NULL;
    }
}

void pf_sweep_parse(struct pf_sweep *self, const struct argp_state *state, const char *text)
{
    self->wanted = true;
    if (strncmp(text, "alpha=", 6) == 0)
        parse_values(state, "alpha", text + 6, 1, PF_MAX_ALPHA, true, &self->alpha);
    else if (strncmp(text, "gamma=", 6) == 0)
        parse_values(state, "gamma", text + 6, 0, PF_MAX_ALPHA, false, &self->gamma);
    else if (strncmp(text, "density=", 8) == 0)
        parse_values(state, "density", text + 8, 1e-6, 1, false, &self->density);
    else
        argp_error(state, "--sweep: '%s' is none of alpha=LIST, gamma=LIST, density=LIST", text);
}

/* ---- one combination ---------------------------------------------------------------------- */

struct point {
    uint32_t alpha;
    double gamma, density;
    struct pf_combine_row row; /* of the layers that may be combined */
    double accuracy_percent;   /* NaN: not measured */
    double seconds;            /* of combining */
};

/* The last stage of the schedule with the α, γ and density of the point.  Blocks whose α is 1 stay
 * dense. */
static enum pf_status plan(const struct pf_sweep_config *config, const struct pf_sweep *sweep,
                           struct point *point, struct pf_combine_options *options,
                           struct pf_error *err)
{
    struct pf_schedule_options wanted = *config->schedule;
    if (sweep->gamma.n > 0) wanted.gamma = point->gamma;
    for (uint32_t b = 0; b < wanted.n_blocks; b++)
        if (wanted.alpha[b] > 1 && sweep->alpha.n > 0) wanted.alpha[b] = point->alpha;
    PF_TRY(pf_schedule_plan_last(&wanted, options, err));
    for (uint32_t b = 0; b < wanted.n_blocks; b++) {
        if (wanted.alpha[b] > 1 && sweep->density.n > 0) options->density[b] = point->density;
        if (config->schedule->alpha[b] == 1) continue;
        point->alpha = wanted.alpha[b];
        point->density = options->density[b];
    }
    point->gamma = wanted.gamma;
    return PF_OK;
}

static enum pf_status measure(const struct pf_sweep_config *config, const struct pf_sweep *sweep,
                              struct point *point, struct pf_error *err)
{
    struct pf_combine_options options;
    PF_TRY(plan(config, sweep, point, &options, err));
    PF_CLEANUP(pf_model_destroyp) struct pf_model *combined = NULL;
    struct pf_combine_report report;
    double started = pf_clock_seconds();
    PF_TRY(pf_model_combine(config->model, &options, &combined, &report, err));
    point->seconds = pf_clock_seconds() - started;
    bool included[PF_MAX_LAYERS];
    for (size_t l = 0; l < report.n_layers; l++)
        included[l] = pf_model_layer_alpha(config->model, l, config->schedule->alpha) > 1;
    point->row = pf_combine_total(&report, config->array, included);
    const struct pf_progress only_stop = {.stop = config->progress != NULL ? config->progress->stop
                                                                           : NULL};
    return pf_combine_accuracy(combined, config->test_set, config->n_threads, &only_stop,
                               &point->accuracy_percent, err);
}

/* ---- as a table, as CSV, as JSON ----------------------------------------------------------- */

static void print_heading(const struct pf_sweep_config *config)
{
    printf(" α      γ  density   columns   at least    tiles   utilised   |w| kept%s\n",
           config->test_set != NULL ? "   accuracy" : "");
}

static void print_point(const struct pf_sweep_config *config, const struct point *point)
{
    char columns[32], bound[32], tiles[32];
    printf("%2u  %5.3g  %6.1f %%  %8s   %8s  %7s  %7.1f %%  %7.1f %%", point->alpha, point->gamma,
           100.0 * point->density, pf_text_thousands(columns, point->row.columns_after),
           pf_text_thousands(bound, point->row.columns_bound),
           pf_text_thousands(tiles, point->row.tiles_after),
           100.0 * pf_combine_row_utilisation(&point->row),
           100.0 * pf_combine_row_kept(&point->row));
    if (config->test_set != NULL) printf("  %7.2f %%", point->accuracy_percent);
    putchar('\n');
    fflush(stdout);
}

static enum pf_status append(struct pf_buffer *csv, const char *text, struct pf_error *err)
{
    return pf_buffer_append(csv, text, strlen(text), err);
}

static enum pf_status append_point(struct pf_buffer *csv, const struct point *point,
                                   struct pf_error *err)
{
    char line[256], accuracy[32] = "";
    const struct pf_combine_row *row = &point->row;
    if (!isnan(point->accuracy_percent))
        snprintf(accuracy, sizeof accuracy, "%.4f", point->accuracy_percent);
    snprintf(line, sizeof line, "%u,%g,%g,%llu,%llu,%llu,%llu,%llu,%zu,%.6f,%.6f,%s,%.3f\n",
             point->alpha, point->gamma, point->density, (unsigned long long)row->columns_before,
             (unsigned long long)row->columns_after, (unsigned long long)row->columns_bound,
             (unsigned long long)row->tiles_before, (unsigned long long)row->tiles_after,
             row->nonzeros_after, pf_combine_row_utilisation(row), pf_combine_row_kept(row),
             accuracy, point->seconds);
    return append(csv, line, err);
}

static json_t *json_point(const struct point *point)
{
    const struct pf_combine_row *row = &point->row;
    json_t *accuracy =
        isnan(point->accuracy_percent) ? json_null() : json_real(point->accuracy_percent);
    return json_pack(
        "{s:I,s:f,s:f,s:I,s:I,s:I,s:I,s:I,s:I,s:f,s:f,s:o,s:f}", "alpha", (json_int_t)point->alpha,
        "gamma", point->gamma, "density", point->density, "columns_before",
        (json_int_t)row->columns_before, "columns", (json_int_t)row->columns_after, "columns_bound",
        (json_int_t)row->columns_bound, "tiles_before", (json_int_t)row->tiles_before, "tiles",
        (json_int_t)row->tiles_after, "nonzeros", (json_int_t)row->nonzeros_after, "utilisation",
        pf_combine_row_utilisation(row), "weight_kept", pf_combine_row_kept(row),
        "accuracy_percent", accuracy, "seconds", point->seconds);
}

/* ---- all of them -------------------------------------------------------------------------- */

static const char csv_heading[] =
    "alpha,gamma,density,columns_before,columns,columns_bound,tiles_before,tiles,nonzeros,"
    "utilisation,weight_kept,accuracy_percent,seconds\n";

static size_t axis_length(const struct pf_sweep_axis *axis)
{
    return PF_MAX(axis->n, (size_t)1);
}

/* Point i of the grid; density runs fastest.  What an axis without values has, the plan says. */
static struct point point_of(const struct pf_sweep *sweep, size_t i)
{
    size_t d = i % axis_length(&sweep->density);
    size_t g = i / axis_length(&sweep->density) % axis_length(&sweep->gamma);
    size_t a = i / axis_length(&sweep->density) / axis_length(&sweep->gamma);
    struct point point = {.alpha = 1, .density = 1.0};
    if (sweep->alpha.n > 0) point.alpha = (uint32_t)sweep->alpha.values[a];
    if (sweep->gamma.n > 0) point.gamma = sweep->gamma.values[g];
    if (sweep->density.n > 0) point.density = sweep->density.values[d];
    return point;
}

/* The table so far goes to the file after each line: whoever stops a long sweep has what was done.
 */
static enum pf_status take_point(const struct pf_sweep *sweep, const struct pf_sweep_config *config,
                                 size_t i, struct pf_buffer *csv, json_t *points,
                                 struct pf_error *err)
{
    struct point point = point_of(sweep, i);
    PF_TRY(measure(config, sweep, &point, err));
    PF_TRY(append_point(csv, &point, err));
    if (config->out != NULL) PF_TRY(pf_file_write(config->out, csv->bytes, csv->length, 0666, err));
    if (config->json)
        json_array_append_new(points, json_point(&point));
    else
        print_point(config, &point);
    return PF_OK;
}

enum pf_status pf_sweep_run(const struct pf_sweep *self, const struct pf_sweep_config *config,
                            struct pf_error *err)
{
    PF_CLEANUP(pf_buffer_finish) struct pf_buffer csv = {0};
    PF_TRY(append(&csv, csv_heading, err));
    json_t *points = json_array();
    size_t n = axis_length(&self->alpha) * axis_length(&self->gamma) * axis_length(&self->density);
    enum pf_status status = PF_OK;
    if (!config->json) print_heading(config);
    for (size_t i = 0; i < n && status == PF_OK; i++) {
        pf_progress_update(config->progress, "sweeping", i, n, "");
        status = pf_progress_stopped(config->progress)
                     ? pf_fail(err, PF_INTERRUPTED, "stopped after %zu of %zu combinations", i, n)
                     : take_point(self, config, i, &csv, points, err);
    }
    if (config->json && status == PF_OK) {
        json_t *result = json_pack("{s:s,s:O}", "model", config->model_path, "points", points);
        json_dumpf(result, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(10));
        putchar('\n');
        json_decref(result);
    }
    json_decref(points);
    return status;
}
