#include "sim/array/functional.h"

#include "common/base/memory.h"

#define NO_SLOT UINT32_MAX

void pf_array_functional_destroy(struct pf_array_functional *self)
{
    if (self == NULL) return;
    pf_free(self->channel);
    pf_free(self->row_start);
    pf_free(self->pair);
    pf_free(self->weights);
    pf_free(self);
}

static uint32_t channel_of_cell(const struct pf_array_matrix *matrix, size_t row, size_t group)
{
    return matrix->channel[group * matrix->alpha + matrix->select[row * matrix->n_groups + group]];
}

/* slot[K] ← the slot of each channel that some cell uses; returns the number of weights. */
static size_t number_slots(struct pf_array_functional *self, const struct pf_array_matrix *matrix,
                           uint32_t *slot)
{
    size_t n_weights = 0;
    for (uint32_t k = 0; k < matrix->n_channels; k++) slot[k] = NO_SLOT;
    for (size_t r = 0; r < matrix->n_rows; r++) {
        for (size_t g = 0; g < matrix->n_groups; g++) {
            if (matrix->weight[r * matrix->n_groups + g] == 0) continue;
            slot[channel_of_cell(matrix, r, g)] = 0;
            n_weights++;
        }
    }
    for (uint32_t k = 0; k < matrix->n_channels; k++) {
        if (slot[k] == NO_SLOT) continue;
        slot[k] = self->n_slots;
        self->channel[self->n_slots++] = k;
    }
    return n_weights;
}

/* Appends the pairs of one row; row[n_slots] is scratch. */
static void list_row(struct pf_array_functional *self, const struct pf_array_matrix *matrix,
                     size_t r, const uint32_t *slot, int16_t *row)
{
    for (size_t s = 0; s < self->n_slots; s++) row[s] = 0;
    for (size_t g = 0; g < matrix->n_groups; g++) {
        int16_t weight = matrix->weight[r * matrix->n_groups + g];
        if (weight != 0) row[slot[channel_of_cell(matrix, r, g)]] = weight;
    }
    uint32_t n = self->row_start[r];
    for (uint32_t s = 0; s < self->n_slots; s += 2) {
        int16_t odd = s + 1 < self->n_slots ? row[s + 1] : 0;
        if (row[s] == 0 && odd == 0) continue;
        self->pair[n] = s / 2;
        self->weights[n++] = (uint16_t)row[s] | (uint32_t)(uint16_t)odd << 16;
    }
    self->row_start[r + 1] = n;
}

enum pf_status pf_array_functional_create(const struct pf_array_matrix *matrix,
                                          struct pf_array_functional **functional,
                                          struct pf_error *err)
{
    PF_CLEANUP(pf_array_functional_destroyp)
    struct pf_array_functional *self = PF_ALLOC(1, struct pf_array_functional);
    PF_CLEANUP(pf_freep) uint32_t *slot = PF_ALLOC(matrix->n_channels, uint32_t);
    PF_CLEANUP(pf_freep) int16_t *row = PF_ALLOC(matrix->n_channels, int16_t);
    if (self == NULL || slot == NULL || row == NULL)
        return pf_no_memory(err, "the functional engine");
    self->n_rows = matrix->n_rows;
    self->channel = PF_ALLOC(matrix->n_channels, uint32_t);
    self->row_start = PF_ALLOC((size_t)matrix->n_rows + 1, uint32_t);
    if (self->channel == NULL || self->row_start == NULL)
        return pf_no_memory(err, "the functional engine");
    size_t n_weights = number_slots(self, matrix, slot);
    self->pair = PF_ALLOC(n_weights, uint32_t);
    self->weights = PF_ALLOC(n_weights, uint32_t);
    if (self->pair == NULL || self->weights == NULL)
        return pf_no_memory(err, "the functional engine");
    for (size_t r = 0; r < matrix->n_rows; r++) list_row(self, matrix, r, slot, row);
    *functional = self;
    self = NULL;
    return PF_OK;
}

void pf_array_fill_pair(uint32_t *panels, size_t n_pairs, size_t pair, const uint8_t *even,
                        const uint8_t *odd, size_t n_panels)
{
    for (size_t t = 0; t < n_panels; t++) {
        uint32_t *to = panels + (t * n_pairs + pair) * PF_ARRAY_PANEL;
        const uint8_t *low = even + t * PF_ARRAY_PANEL;
        if (odd == NULL) {
            for (size_t p = 0; p < PF_ARRAY_PANEL; p++) to[p] = low[p];
            continue;
        }
        const uint8_t *high = odd + t * PF_ARRAY_PANEL;
        for (size_t p = 0; p < PF_ARRAY_PANEL; p++) to[p] = low[p] | (uint32_t)high[p] << 16;
    }
}
