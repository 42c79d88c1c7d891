/* What `packfed combine` prints of a combined model. */
#ifndef PF_CLI_COMBINE_TABLE_H
#define PF_CLI_COMBINE_TABLE_H

#include <jansson.h>

#include "common/combine/combine.h"
#include "common/nn/train.h"
#include "sim/array/array.h"

/* The figures of one layer, or of several together. */
struct pf_combine_row {
    size_t nonzeros_before, nonzeros_after;
    uint64_t columns_before, columns_after, columns_bound; /* bound: 0 when nothing was grouped */
    uint64_t tiles_before, tiles_after;
    double cells;
    double weight_before, weight_after, weight_bound; /* Σ|w| */
};

struct pf_combine_row pf_combine_row_of(const struct pf_combine_layer *layer,
                                        const struct pf_array *array);

/* Over the layers with included[l], or over all when that is NULL. */
struct pf_combine_row pf_combine_total(const struct pf_combine_report *report,
                                       const struct pf_array *array, const bool *included);

double pf_combine_row_utilisation(const struct pf_combine_row *row);
double pf_combine_row_kept(const struct pf_combine_row *row); /* share of Σ|w| */

/* On the test set; NaN without one (NULL). */
PF_NODISCARD enum pf_status pf_combine_accuracy(const struct pf_model *combined,
                                                const struct pf_dataset *test_set, size_t n_threads,
                                                const struct pf_progress *progress,
                                                double *accuracy_percent, struct pf_error *err);

/* The table on stdout, with what it says of tiles and switches below. */
void pf_combine_print_table(const struct pf_model *model, const struct pf_combine_report *report,
                            const struct pf_array *array);

/* The same as an object: layers, combined_layers, all_layers, switching. */
json_t *pf_combine_json(const struct pf_model *model, const struct pf_combine_report *report,
                        const struct pf_array *array);

#endif
