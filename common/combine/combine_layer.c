/* One layer: worth, pruning, grouping, whole tiles, conflicts. */
#include "common/combine/combine_layer.h"

#include <math.h>
#include <string.h>

#include "common/base/memory.h"

/* ---- figures for the report --------------------------------------------------------------- */

struct matrix_figures {
    size_t nonzeros;
    uint32_t n_filled_rows;
    uint32_t n_filled_columns;
    double magnitude; /* Σ|w| */
};

/* column_filled[n_columns] is scratch. */
static struct matrix_figures measure(const float *weights, uint32_t n_rows, uint32_t n_columns,
                                     bool *column_filled)
{
    struct matrix_figures figures = {0};
    for (size_t k = 0; k < n_columns; k++) column_filled[k] = false;
    for (size_t r = 0; r < n_rows; r++) {
        bool row_filled = false;
        for (size_t k = 0; k < n_columns; k++) {
            float weight = weights[r * n_columns + k];
            if (weight == 0.0f) continue;
            row_filled = column_filled[k] = true;
            figures.nonzeros++;
            figures.magnitude += (double)fabsf(weight);
        }
        figures.n_filled_rows += row_filled;
    }
    for (size_t k = 0; k < n_columns; k++) figures.n_filled_columns += column_filled[k];
    return figures;
}

static void report_layer(struct pf_combine_layer *report, const struct pf_layer *layer,
                         const struct pf_packing *packing, const struct matrix_figures *before,
                         const struct matrix_figures *after)
{
    uint32_t groups = packing != NULL ? packing->n_groups : before->n_filled_columns;
    double cells = (double)after->n_filled_rows * (double)groups;
    report->n_rows = layer->out_channels;
    report->n_columns = layer->n_columns;
    report->alpha = packing != NULL ? packing->alpha : 1;
    report->nonzeros_before = before->nonzeros;
    report->nonzeros_after = after->nonzeros;
    report->columns_before = before->n_filled_columns;
    report->groups = groups;
    if (report->groups_untiled == 0) report->groups_untiled = groups;
    report->nonempty_rows = after->n_filled_rows;
    report->utilisation = cells > 0.0 ? (double)after->nonzeros / cells : 0.0;
    report->weight_before = before->magnitude;
    report->weight_kept = before->magnitude > 0.0 ? after->magnitude / before->magnitude : 1.0;
}

/* ---- a matrix ----------------------------------------------------------------------------- */

/* A packing needs a weight: a matrix of zeros gets one at the first place it may have one. */
static enum pf_status pack_zeros(const struct pf_layer *given, float *weights,
                                 const struct pf_layer_order *order, struct pf_packing **packing,
                                 struct pf_error *err)
{
    PF_CLEANUP(pf_freep) uint32_t *group_of_column = PF_ALLOC(given->n_columns, uint32_t);
    if (group_of_column == NULL) return pf_no_memory(err, "combining");
    size_t place = 0;
    if (given->packing != NULL && given->packing->n_weights > 0) {
        size_t row = 0;
        while (given->packing->row_start[row + 1] == 0) row++;
        place = row * given->n_columns + given->packing->column[0];
    }
    weights[place] = 1.0f;
    enum pf_status status =
        pf_packing_from_dense(weights, given->out_channels, given->n_columns, group_of_column, 1,
                              order->rule.alpha, (float)order->rule.gamma, packing, err);
    weights[place] = 0.0f;
    return status;
}

/* A layer on its way: both matrices are [N][K], and a weight that is pruned is 0 in both. */
struct matrix {
    uint32_t n_rows, n_columns;
    float *weights;
    float *worth;
};

static size_t count_nonzeros(const float *values, size_t n)
{
    size_t nonzeros = 0;
    for (size_t i = 0; i < n; i++) nonzeros += values[i] != 0.0f;
    return nonzeros;
}

static enum pf_status group(const struct matrix *matrix, const struct pf_layer_order *order,
                            struct pf_grouping *grouping, struct pf_error *err)
{
    return pf_group_columns(matrix->worth, matrix->n_rows, matrix->n_columns, &order->rule,
                            &order->options->packer, grouping, err);
}

/* ---- whole tiles -------------------------------------------------------------------------- */

#define TILE_PROBES 5u /* halvings of how much is pruned */

static double sum_of(const float *values, size_t n)
{
    double sum = 0.0;
    for (size_t i = 0; i < n; i++) sum += (double)values[i];
    return sum;
}

/* The fewest weights, by falling worth, that hold 1 − slack of Σ worth. */
static enum pf_status least_to_keep(const struct matrix *matrix, double slack, float *scratch,
                                    size_t *least, struct pf_error *err)
{
    size_t n = (size_t)matrix->n_rows * matrix->n_columns,
           nonzeros = count_nonzeros(matrix->worth, n);
    double enough = (1.0 - slack) * sum_of(matrix->worth, n);
    size_t low = 0, high = nonzeros; /* high holds enough, low does not */
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        memcpy(scratch, matrix->worth, n * sizeof *scratch);
        PF_TRY(pf_prune_magnitude(scratch, n, middle, err));
        if (sum_of(scratch, n) >= enough)
            high = middle;
        else
            low = middle;
    }
    *least = high;
    return PF_OK;
}

/* Groups the matrix with only `keep` weights left.  *grouping and worth change only when it then
 * has at most `aim` groups. */
static enum pf_status try_keeping(const struct matrix *matrix, const struct pf_layer_order *order,
                                  size_t keep, uint32_t aim, float *pruned, bool *reached,
                                  struct pf_grouping *grouping, struct pf_error *err)
{
    size_t n = (size_t)matrix->n_rows * matrix->n_columns;
    struct matrix sparser = *matrix;
    sparser.worth = pruned;
    memcpy(pruned, matrix->worth, n * sizeof *pruned);
    PF_TRY(pf_prune_magnitude(pruned, n, keep, err));
    PF_CLEANUP(pf_grouping_finish) struct pf_grouping found = {0};
    PF_TRY(group(&sparser, order, &found, err));
    *reached = found.n_groups <= aim;
    if (!*reached) return PF_OK;
    struct pf_grouping before = *grouping;
    *grouping = found;
    found = before;
    return PF_OK;
}

/* Prunes further until the groups fill whole tiles, if the slack allows it; how much it takes is
 * found by halving, a few times, and each time the packer searches anew. */
static enum pf_status fill_tiles(struct matrix *matrix, const struct pf_layer_order *order,
                                 struct pf_grouping *grouping, struct pf_error *err)
{
    uint32_t width = order->options->tile_columns;
    if (width == 0 || grouping->n_groups <= width || grouping->n_groups % width == 0) return PF_OK;
    uint32_t aim = grouping->n_groups / width * width;
    size_t n = (size_t)matrix->n_rows * matrix->n_columns;
    PF_CLEANUP(pf_freep) float *pruned = PF_ALLOC(n, float);
    PF_CLEANUP(pf_freep) float *best = PF_ALLOC(n, float);
    if (pruned == NULL || best == NULL) return pf_no_memory(err, "combining");
    size_t low = 0,
           high = count_nonzeros(matrix->worth, n); /* low reaches the aim, high does not */
    PF_TRY(least_to_keep(matrix, order->options->tile_slack, pruned, &low, err));
    bool reached;
    PF_TRY(try_keeping(matrix, order, low, aim, best, &reached, grouping, err));
    if (!reached) return PF_OK;
    for (uint32_t i = 0; i < TILE_PROBES && high - low > 1; i++) {
        size_t middle = low + (high - low) / 2;
        PF_TRY(try_keeping(matrix, order, middle, aim, pruned, &reached, grouping, err));
        if (reached) memcpy(best, pruned, n * sizeof *best);
        *(reached ? &low : &high) = middle;
    }
    memcpy(matrix->worth, best, n * sizeof *best);
    return PF_OK;
}

/* ---- one layer ---------------------------------------------------------------------------- */

/* Prunes the matrix in place and makes its packing. */
static enum pf_status regroup(const struct pf_layer *given, struct matrix *matrix,
                              const struct pf_layer_order *order, struct pf_packing **packing,
                              struct pf_combine_layer *report, struct pf_error *err)
{
    uint32_t n_rows = matrix->n_rows, n_columns = matrix->n_columns;
    size_t n = (size_t)n_rows * n_columns;
    PF_TRY(pf_prune_magnitude(matrix->worth, n, order->keep, err));
    PF_CLEANUP(pf_grouping_finish) struct pf_grouping grouping = {0};
    report->nonzeros_pruned = count_nonzeros(matrix->worth, n);
    if (report->nonzeros_pruned > 0) {
        PF_TRY(group(matrix, order, &grouping, err));
        report->groups_untiled = grouping.n_groups;
        PF_TRY(fill_tiles(matrix, order, &grouping, err));
        report->nonzeros_pruned = count_nonzeros(matrix->worth, n);
        PF_TRY(pf_fewest_groups(matrix->worth, n_rows, n_columns, &order->rule,
                                &report->groups_bound, err));
        PF_TRY(pf_kept_bound(matrix->weights, n_rows, n_columns, grouping.n_groups,
                             &report->kept_bound, err));
        pf_prune_conflicts(matrix->worth, n_rows, &grouping);
    }
    for (size_t i = 0; i < n; i++)
        if (matrix->worth[i] == 0.0f) matrix->weights[i] = 0.0f;
    if (report->nonzeros_pruned == 0)
        return pack_zeros(given, matrix->weights, order, packing, err);
    return pf_packing_from_dense(matrix->weights, n_rows, n_columns, grouping.group_of_column,
                                 grouping.n_groups, order->rule.alpha, (float)order->rule.gamma,
                                 packing, err);
}

static bool may_keep_packing(const struct pf_layer *given, const struct pf_layer_order *order,
                             size_t nonzeros)
{
    if (given->packing == NULL) return false;
    return order->rule.alpha == 1 ||
           (order->options->keep_groups && given->packing->alpha == order->rule.alpha &&
            given->packing->gamma == (float)order->rule.gamma && nonzeros <= order->keep);
}

static enum pf_status regroup_layer(const struct pf_layer *given, struct pf_model *dense, size_t l,
                                    const struct pf_layer_order *order, struct pf_packing **packing,
                                    struct pf_combine_layer *report, struct pf_error *err)
{
    uint32_t n_rows = given->out_channels, n_columns = given->n_columns;
    PF_CLEANUP(pf_freep) float *worth = PF_ALLOC((size_t)n_rows * n_columns, float);
    if (worth == NULL) return pf_no_memory(err, "combining");
    pf_layer_worth(dense, l, order->options->saliency, worth);
    struct matrix matrix = {n_rows, n_columns, dense->layers[l].weight, worth};
    return regroup(given, &matrix, order, packing, report, err);
}

enum pf_status pf_combine_layer(const struct pf_layer *given, struct pf_model *dense, size_t l,
                                const struct pf_layer_order *order, struct pf_packing **packing,
                                struct pf_combine_layer *report, struct pf_error *err)
{
    uint32_t n_rows = given->out_channels, n_columns = given->n_columns;
    float *weights = dense->layers[l].weight;
    PF_CLEANUP(pf_freep) bool *column_filled = PF_ALLOC(n_columns, bool);
    if (column_filled == NULL) return pf_no_memory(err, "combining");
    struct matrix_figures before = measure(weights, n_rows, n_columns, column_filled);
    struct matrix_figures after = before;
    *report = (struct pf_combine_layer){.nonzeros_pruned = before.nonzeros, .kept_bound = 1.0};
    if (may_keep_packing(given, order, before.nonzeros)) {
        PF_TRY(pf_packing_clone(given->packing, packing, err));
    } else if (order->rule.alpha > 1) {
        PF_TRY(regroup_layer(given, dense, l, order, packing, report, err));
        after = measure(weights, n_rows, n_columns, column_filled);
    }
    report_layer(report, given, *packing, &before, &after);
    return PF_OK;
}
