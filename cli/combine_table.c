#include "cli/combine_table.h"

#include <math.h>
#include <stdio.h>

#include "common/base/text.h"

/* ---- figures ------------------------------------------------------------------------------ */

static uint64_t count_tiles(uint32_t n_rows, uint32_t n_columns, const struct pf_array *array)
{
    return (uint64_t)((n_rows + array->rows - 1) / array->rows) *
           ((n_columns + array->columns - 1) / array->columns);
}

struct pf_combine_row pf_combine_row_of(const struct pf_combine_layer *layer,
                                        const struct pf_array *array)
{
    return (struct pf_combine_row){
        .nonzeros_before = layer->nonzeros_before,
        .nonzeros_after = layer->nonzeros_after,
        .columns_before = layer->columns_before,
        .columns_after = layer->groups,
        .columns_bound = layer->groups_bound,
        .tiles_before = count_tiles(layer->n_rows, layer->columns_before, array),
        .tiles_after = count_tiles(layer->n_rows, layer->groups, array),
        .cells = (double)layer->nonempty_rows * (double)layer->groups,
        .weight_before = layer->weight_before,
        .weight_after = layer->weight_before * layer->weight_kept,
        .weight_bound = layer->weight_before * layer->kept_bound,
    };
}

struct pf_combine_row pf_combine_total(const struct pf_combine_report *report,
                                       const struct pf_array *array, const bool *included)
{
    struct pf_combine_row total = {0};
    bool bounded = true; /* not where a layer kept the groups it had */
    for (size_t l = 0; l < report->n_layers; l++) {
        if (included != NULL && !included[l]) continue;
        struct pf_combine_row row = pf_combine_row_of(&report->layers[l], array);
        total.nonzeros_before += row.nonzeros_before;
        total.nonzeros_after += row.nonzeros_after;
        total.columns_before += row.columns_before;
        total.columns_after += row.columns_after;
        /* A layer that is not combined has the columns it has. */
        bounded &= report->layers[l].alpha == 1 || row.columns_bound > 0;
        total.columns_bound += row.columns_bound > 0 ? row.columns_bound : row.columns_after;
        total.tiles_before += row.tiles_before;
        total.tiles_after += row.tiles_after;
        total.cells += row.cells;
        total.weight_before += row.weight_before;
        total.weight_after += row.weight_after;
        total.weight_bound += row.weight_bound;
    }
    if (!bounded) total.columns_bound = 0;
    return total;
}

static struct pf_combine_row combined_total(const struct pf_combine_report *report,
                                            const struct pf_array *array)
{
    bool combined[PF_MAX_LAYERS];
    for (size_t l = 0; l < report->n_layers; l++) combined[l] = report->layers[l].alpha > 1;
    return pf_combine_total(report, array, combined);
}

double pf_combine_row_utilisation(const struct pf_combine_row *row)
{
    return row->cells > 0.0 ? (double)row->nonzeros_after / row->cells : 0.0;
}

static double share(double part, double whole)
{
    return whole > 0.0 ? part / whole : 1.0;
}

double pf_combine_row_kept(const struct pf_combine_row *row)
{
    return share(row->weight_after, row->weight_before);
}

enum pf_status pf_combine_accuracy(const struct pf_model *combined,
                                   const struct pf_dataset *test_set, size_t n_threads,
                                   const struct pf_progress *progress, double *accuracy_percent,
                                   struct pf_error *err)
{
    *accuracy_percent = (double)NAN;
    if (test_set == NULL) return PF_OK;
    PF_CLEANUP(pf_pool_destroyp) struct pf_pool *pool = NULL;
    struct pf_evaluation evaluation;
    PF_TRY(pf_pool_create(n_threads, &pool, err));
    PF_TRY(pf_evaluate(combined, test_set, pool, progress, &evaluation, err));
    *accuracy_percent = evaluation.accuracy_percent;
    return PF_OK;
}

/* ---- as a table --------------------------------------------------------------------------- */

static void print_row(const struct pf_combine_row *row)
{
    char before[32], after[32], bound[32] = "";
    printf(" %11s → %-10s", pf_text_thousands(before, row->nonzeros_before),
           pf_text_thousands(after, row->nonzeros_after));
    printf(" %6s → %-6s", pf_text_thousands(before, row->columns_before),
           pf_text_thousands(after, row->columns_after));
    if (row->columns_bound > 0) pf_text_thousands(bound, row->columns_bound);
    printf(" %6s", bound);
    printf(" %5s → %-5s", pf_text_thousands(before, row->tiles_before),
           pf_text_thousands(after, row->tiles_after));
    printf(" %6.1f %%  %6.1f %%", 100.0 * pf_combine_row_utilisation(row),
           100.0 * pf_combine_row_kept(row));
    if (row->columns_bound > 0)
        printf("  %6.1f %%", 100.0 * share(row->weight_bound, row->weight_before));
    putchar('\n');
}

static void print_total(const char *name, const struct pf_combine_row *row)
{
    printf("%-31s", name);
    print_row(row);
}

static void print_tiled(const struct pf_combine_report *report, const struct pf_array *array)
{
    for (size_t l = 0; l < report->n_layers; l++) {
        const struct pf_combine_layer *layer = &report->layers[l];
        if (layer->groups_untiled == layer->groups) continue;
        printf("Layer %zu was pruned a little further: %u columns instead of %u, %u tiles instead "
               "of %u.\n",
               l, layer->groups, layer->groups_untiled,
               (unsigned)count_tiles(layer->n_rows, layer->groups, array),
               (unsigned)count_tiles(layer->n_rows, layer->groups_untiled, array));
    }
}

static void print_switching(const struct pf_combine_report *report)
{
    const struct pf_switching *before = &report->as_grouped, *now = &report->as_combined;
    char channels[32], misplaced[32], switches[32];
    if (now->n_channels == 0) return;
    pf_text_thousands(channels, now->n_channels);
    if (now->n_misplaced == 0)
        printf("Between arrays: all %s channels leave one in the order in which the next reads "
               "them.\n",
               channels);
    else
        printf("Between arrays: %s of %s channels do not leave one where the next reads them; %s "
               "2 × 2 switches.\n",
               pf_text_thousands(misplaced, now->n_misplaced), channels,
               pf_text_thousands(switches, now->n_switches));
    if (before->n_misplaced == now->n_misplaced) return;
    printf("                Without the row permutation %s of them would not: %s 2 × 2 switches.\n",
           pf_text_thousands(misplaced, before->n_misplaced),
           pf_text_thousands(switches, before->n_switches));
}

void pf_combine_print_table(const struct pf_model *model, const struct pf_combine_report *report,
                            const struct pf_array *array)
{
    printf("layer  kind          N × K    α         nonzeros            columns   at least"
           "   tiles     utilised  |w| kept   at most\n");
    for (size_t l = 0; l < report->n_layers; l++) {
        const struct pf_combine_layer *layer = &report->layers[l];
        struct pf_combine_row row = pf_combine_row_of(layer, array);
        printf("%5zu  %-9s %4u × %-5u %2u", l, pf_layer_kind_name(model->layers[l].kind),
               layer->n_rows, layer->n_columns, layer->alpha);
        print_row(&row);
    }
    struct pf_combine_row combined = combined_total(report, array);
    struct pf_combine_row all = pf_combine_total(report, array, NULL);
    print_total("combined layers", &combined);
    print_total("all layers", &all);
    printf("\nTiles of %u × %u.\n", array->rows, array->columns);
    print_tiled(report, array);
    print_switching(report);
}

/* ---- as JSON ------------------------------------------------------------------------------ */

static json_t *json_row(const struct pf_combine_row *row)
{
    return json_pack(
        "{s:{s:I,s:I},s:{s:I,s:I,s:I},s:{s:I,s:I},s:f,s:f,s:f}", "nonzeros", "before",
        (json_int_t)row->nonzeros_before, "after", (json_int_t)row->nonzeros_after, "columns",
        "before", (json_int_t)row->columns_before, "after", (json_int_t)row->columns_after, "bound",
        (json_int_t)row->columns_bound, "tiles", "before", (json_int_t)row->tiles_before, "after",
        (json_int_t)row->tiles_after, "utilisation", pf_combine_row_utilisation(row), "weight_kept",
        pf_combine_row_kept(row), "weight_bound", share(row->weight_bound, row->weight_before));
}

static json_t *json_layers(const struct pf_model *model, const struct pf_combine_report *report,
                           const struct pf_array *array)
{
    json_t *layers = json_array();
    for (size_t l = 0; l < report->n_layers; l++) {
        const struct pf_combine_layer *layer = &report->layers[l];
        struct pf_combine_row row = pf_combine_row_of(layer, array);
        json_t *item = json_row(&row);
        json_object_set_new(item, "layer", json_integer((json_int_t)l));
        json_object_set_new(item, "kind", json_string(pf_layer_kind_name(model->layers[l].kind)));
        json_object_set_new(item, "n_rows", json_integer(layer->n_rows));
        json_object_set_new(item, "n_columns", json_integer(layer->n_columns));
        json_object_set_new(item, "alpha", json_integer(layer->alpha));
        json_object_set_new(item, "columns_untiled", json_integer(layer->groups_untiled));
        json_array_append_new(layers, item);
    }
    return layers;
}

static json_t *json_switching(const struct pf_switching *switching)
{
    return json_pack("{s:I,s:I,s:I}", "channels", (json_int_t)switching->n_channels, "misplaced",
                     (json_int_t)switching->n_misplaced, "switches",
                     (json_int_t)switching->n_switches);
}

json_t *pf_combine_json(const struct pf_model *model, const struct pf_combine_report *report,
                        const struct pf_array *array)
{
    struct pf_combine_row combined = combined_total(report, array);
    struct pf_combine_row all = pf_combine_total(report, array, NULL);
    return json_pack("{s:o,s:o,s:o,s:{s:o,s:o}}", "layers", json_layers(model, report, array),
                     "combined_layers", json_row(&combined), "all_layers", json_row(&all),
                     "switching", "as_grouped", json_switching(&report->as_grouped), "as_combined",
                     json_switching(&report->as_combined));
}
