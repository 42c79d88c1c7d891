#include "sim/array/matrix.h"

#include <string.h>

#include "common/base/memory.h"

static enum pf_status create(uint32_t n_rows, uint32_t n_groups, uint32_t n_channels,
                             uint32_t alpha, struct pf_array_matrix **matrix, struct pf_error *err)
{
    struct pf_array_matrix *self = PF_ALLOC(1, struct pf_array_matrix);
    if (self == NULL) return pf_no_memory(err, "a matrix of the array");
    *self = (struct pf_array_matrix){
        .n_rows = n_rows, .n_groups = n_groups, .n_channels = n_channels, .alpha = alpha};
    size_t n_cells = (size_t)n_rows * n_groups, n_streams = (size_t)n_groups * alpha;
    self->channel = PF_ALLOC(n_streams, uint32_t);
    self->weight = PF_ALLOC(n_cells, int16_t);
    self->select = PF_ALLOC(n_cells, uint8_t);
    if (self->channel == NULL || self->weight == NULL || self->select == NULL) {
        pf_array_matrix_destroy(self);
        return pf_no_memory(err, "a matrix of the array");
    }
    for (size_t i = 0; i < n_streams; i++) self->channel[i] = PF_NO_CHANNEL;
    *matrix = self;
    return PF_OK;
}

void pf_array_matrix_destroy(struct pf_array_matrix *self)
{
    if (self == NULL) return;
    pf_free(self->channel);
    pf_free(self->weight);
    pf_free(self->select);
    pf_free(self);
}

static enum pf_status check_weight(int16_t weight, size_t row, size_t column, struct pf_error *err)
{
    if (weight < -255 || weight > 255)
        return pf_fail(err, PF_INVALID,
                       "array: the weight %d in row %zu, column %zu does not fit a cell (±255)",
                       weight, row, column);
    return PF_OK;
}

/* Gives the columns of each group its streams in ascending order; stream[K] says which. */
static void assign_streams(struct pf_array_matrix *self, const struct pf_packing *packing,
                           uint8_t *stream)
{
    for (uint32_t k = 0; k < packing->n_columns; k++) {
        uint32_t group = packing->group_of_column[k];
        if (group == PF_NO_GROUP) continue;
        uint32_t *channels = self->channel + (size_t)group * self->alpha;
        uint8_t i = 0;
        while (channels[i] != PF_NO_CHANNEL) i++; /* a valid packing fills at most alpha */
        channels[i] = k;
        stream[k] = i;
    }
}

enum pf_status pf_array_matrix_pack(const int16_t *weights, const struct pf_packing *packing,
                                    struct pf_array_matrix **matrix, struct pf_error *err)
{
    PF_TRY(pf_packing_validate(packing, err));
    PF_CLEANUP(pf_array_matrix_destroyp) struct pf_array_matrix *self = NULL;
    PF_TRY(
        create(packing->n_rows, packing->n_groups, packing->n_columns, packing->alpha, &self, err));
    PF_CLEANUP(pf_freep) uint8_t *stream = PF_ALLOC(packing->n_columns, uint8_t);
    if (stream == NULL) return pf_no_memory(err, "a matrix of the array");
    assign_streams(self, packing, stream);
    for (size_t r = 0; r < packing->n_rows; r++) {
        const int16_t *row = weights + r * packing->n_columns;
        size_t n_nonzero = 0, n_placed = 0;
        for (size_t k = 0; k < packing->n_columns; k++) n_nonzero += row[k] != 0;
        for (uint32_t i = packing->row_start[r]; i < packing->row_start[r + 1]; i++) {
            uint32_t k = packing->column[i];
            size_t cell = r * self->n_groups + pf_packing_group(packing, i);
            PF_TRY(check_weight(row[k], r, k, err));
            self->weight[cell] = row[k];
            self->select[cell] = stream[k];
            n_placed += row[k] != 0;
        }
        if (n_placed != n_nonzero)
            return pf_fail(err, PF_INVALID,
                           "array: row %zu has %zu weights but its packing keeps %zu of them", r,
                           n_nonzero, n_placed);
    }
    *matrix = self;
    self = NULL;
    return PF_OK;
}

enum pf_status pf_array_matrix_dense(const int16_t *weights, uint32_t n_rows, uint32_t n_columns,
                                     struct pf_array_matrix **matrix, struct pf_error *err)
{
    PF_CLEANUP(pf_array_matrix_destroyp) struct pf_array_matrix *self = NULL;
    PF_TRY(create(n_rows, n_columns, n_columns, 1, &self, err));
    for (uint32_t k = 0; k < n_columns; k++) self->channel[k] = k;
    for (size_t r = 0; r < n_rows; r++) {
        for (size_t k = 0; k < n_columns; k++) {
            PF_TRY(check_weight(weights[r * n_columns + k], r, k, err));
            self->weight[r * n_columns + k] = weights[r * n_columns + k];
        }
    }
    *matrix = self;
    self = NULL;
    return PF_OK;
}

void pf_array_matrix_unpack(const struct pf_array_matrix *self, int16_t *weights)
{
    memset(weights, 0, (size_t)self->n_rows * self->n_channels * sizeof *weights);
    for (size_t r = 0; r < self->n_rows; r++) {
        for (size_t g = 0; g < self->n_groups; g++) {
            size_t cell = r * self->n_groups + g;
            uint32_t k = self->channel[g * self->alpha + self->select[cell]];
            if (self->weight[cell] != 0) weights[r * self->n_channels + k] = self->weight[cell];
        }
    }
}
