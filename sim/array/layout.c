#include "sim/array/layout.h"

#include "common/base/memory.h"

/* What of a filter matrix decides its layout; counted on the float weights, whose zeros are what
 * pruning left out. */
struct shape {
    uint64_t nonzeros;
    uint32_t nonempty_rows, nonempty_columns;
};

static enum pf_status measure(const struct pf_layer *layer, struct shape *shape,
                              struct pf_error *err)
{
    size_t n_rows = layer->out_channels, n_columns = layer->n_columns;
    PF_CLEANUP(pf_freep) float *weights = PF_ALLOC(n_rows * n_columns, float);
    PF_CLEANUP(pf_freep) bool *column_used = PF_ALLOC(n_columns, bool);
    if (weights == NULL || column_used == NULL) return pf_no_memory(err, "laying out a layer");
    pf_layer_dense_weights(layer, weights);
    *shape = (struct shape){0};
    for (size_t r = 0; r < n_rows; r++) {
        uint64_t before = shape->nonzeros;
        for (size_t k = 0; k < n_columns; k++) {
            if (weights[r * n_columns + k] == 0.0f) continue;
            shape->nonzeros++;
            if (!column_used[k]) shape->nonempty_columns++;
            column_used[k] = true;
        }
        shape->nonempty_rows += shape->nonzeros > before;
    }
    return PF_OK;
}

/* One layout of the whole model while it is being added up. */
struct tally {
    struct pf_array array;
    struct pf_array_schedule schedule;
    struct pf_array_events events;
    struct pf_array_totals *total;
    uint64_t combinable_nonzeros, combinable_cells;
};

static void add_layer(struct tally *self, const struct pf_layer *layer, const struct shape *shape,
                      uint32_t columns, uint32_t streams, struct pf_array_layer *out)
{
    uint64_t n_pixels = (uint64_t)layer->out_height * layer->out_width;
    uint64_t cells = (uint64_t)shape->nonempty_rows * columns;
    uint64_t before = self->schedule.cycles;
    uint64_t tiles = pf_array_tiles(&self->array, layer->out_channels, columns);
    pf_array_schedule_add(&self->schedule, &self->array, tiles, n_pixels);
    *out = (struct pf_array_layer){
        .n_rows = layer->out_channels,
        .n_columns = layer->n_columns,
        .n_pixels = n_pixels,
        .columns = columns,
        .tiles = tiles,
        .nonzeros = shape->nonzeros,
        .load_cycles = tiles * pf_array_load_cycles(&self->array),
        .compute_cycles = tiles * pf_array_compute_cycles(&self->array, n_pixels),
        .cycles = self->schedule.cycles - before,
        .utilisation = cells > 0 ? (double)shape->nonzeros / (double)cells : 0.0};
    pf_array_events_add(&self->events, &self->array, layer->out_channels, columns, streams,
                        n_pixels);
    self->total->columns += columns;
    self->total->tiles += tiles;
    self->total->cycles += out->cycles;
    self->total->load_cycles += out->load_cycles;
    self->total->compute_cycles += out->compute_cycles;
    if (layer->kind != PF_LAYER_SHIFT && layer->kind != PF_LAYER_CONV3X3) return;
    self->combinable_nonzeros += shape->nonzeros;
    self->combinable_cells += cells;
}

static struct pf_array_energy finish(struct tally *self)
{
    if (self->combinable_cells > 0)
        self->total->utilisation =
            (double)self->combinable_nonzeros / (double)self->combinable_cells;
    self->total->latency_us = (double)self->total->cycles / self->array.clock_mhz;
    self->events.cell_cycles =
        self->total->cycles * self->array.rows * self->array.columns; /* no clock gating */
    return pf_array_energy_of(&self->events, &self->array);
}

/* Columns of the unpacked matrix that enter the array at all. */
static uint32_t count_streams(const struct pf_packing *packing)
{
    uint32_t n = 0;
    for (uint32_t k = 0; k < packing->n_columns; k++)
        n += packing->group_of_column[k] != PF_NO_GROUP;
    return n;
}

enum pf_status pf_array_lay_out(const struct pf_model *model, const struct pf_array *array,
                                struct pf_array_report *report, struct pf_error *err)
{
    report->array = *array;
    report->n_layers = model->n_layers;
    struct tally combined = {.array = *array, .total = &report->combined_total};
    struct tally uncombined = {.array = *array, .total = &report->uncombined_total};
    uncombined.array.alpha = 1;
    for (size_t l = 0; l < model->n_layers; l++) {
        const struct pf_layer *layer = &model->layers[l];
        const struct pf_packing *packing = layer->packing;
        struct shape shape;
        PF_TRY(measure(layer, &shape, err));
        add_layer(&combined, layer, &shape, packing != NULL ? packing->n_groups : layer->n_columns,
                  packing != NULL ? count_streams(packing) : layer->n_columns,
                  &report->combined[l]);
        add_layer(&uncombined, layer, &shape, shape.nonempty_columns, shape.nonempty_columns,
                  &report->uncombined[l]);
    }
    report->combined_energy = finish(&combined);
    report->uncombined_energy = finish(&uncombined);
    report->energy_uj = report->combined_energy.total_uj;
    return PF_OK;
}
