/* Row r of the array is a filter, column g a group.  In one clock cycle the cell (r, g) sees
 *     from below: one bit of each of alpha streams and the start pulse,
 *     from the left: one partial-sum bit per lane,
 * and at the edge that ends the cycle registers both: inputs on their way up, sums on their way
 * right.  Column g starts g cycles late and row r therefore r + g, so that a word's partial sum
 * meets its input in every cell. */
#include "sim/array/one_bit.h"

#include <assert.h>
#include <string.h>

#include "common/base/memory.h"

struct lane {
    uint8_t product; /* P: what is left of the product, < 256 since S < 512 */
    bool carry;      /* of the one-bit adder */
    bool sum;        /* registered sum bit, seen by the cell on the right */
};

struct cell {
    /* Held while a tile runs. */
    uint8_t magnitude;
    bool negative;
    uint8_t select;
    /* Registers. */
    bool x[PF_MAX_ALPHA];
    bool start;
    uint8_t lane; /* which lane takes the input bits */
    struct lane lanes[PF_ARRAY_MAX_LANES];
};

/* What stands on the wires into a cell, before the edge. */
struct wires {
    bool x[PF_MAX_ALPHA];
    bool start;
    bool sum[PF_ARRAY_MAX_LANES];
};

struct tile {
    const struct pf_array *array;
    const struct pf_array_matrix *matrix;
    uint32_t first_row, first_group;
    const uint8_t *x;
    size_t n_pixels;
    int32_t *accumulators;
    struct cell *cells; /* [H][W] */
    /* The collectors at the right edge, one per row and lane. */
    struct collector {
        bool busy;
        size_t pixel;
        uint32_t n_bits;
        uint32_t word;
    } * collectors;      /* [H][L] */
    size_t *n_started;   /* [H]: words begun */
    uint64_t n_finished; /* words complete, all rows */
};

static struct cell *cell_at(const struct tile *self, size_t row, size_t column)
{
    return &self->cells[row * self->array->columns + column];
}

static bool row_is_used(const struct tile *self, size_t row)
{
    return self->first_row + row < self->matrix->n_rows;
}

/* One edge of one cell. */
static void clock_cell(struct cell *cell, const struct wires *in, const struct pf_array *array)
{
    if (in->start) {
        cell->lane = (uint8_t)((cell->lane + 1u) % array->lanes);
        cell->lanes[cell->lane].product = 0;
        cell->lanes[cell->lane].carry = cell->negative; /* −m = ~m + 1: the one, serially */
    }
    for (uint32_t l = 0; l < array->lanes; l++) {
        struct lane *lane = &cell->lanes[l];
        bool x = l == cell->lane && in->x[cell->select];
        unsigned s = (x ? cell->magnitude : 0u) + lane->product; /* ≤ 255 + 255 */
        bool product_bit = (s & 1u) != 0;
        lane->product = (uint8_t)(s >> 1);
        unsigned total = (unsigned)(product_bit != cell->negative) + in->sum[l] + lane->carry;
        lane->sum = (total & 1u) != 0;
        lane->carry = total > 1;
    }
    memcpy(cell->x, in->x, array->alpha * sizeof in->x[0]);
    cell->start = in->start;
}

/* Bottom edge, column g, cycle t: pixel after pixel, least significant bit first; then zeros. */
static void feed_inputs(const struct tile *self, size_t g, uint64_t t, struct wires *in)
{
    memset(in, 0, sizeof *in);
    if (t < g) return;
    uint64_t pixel = (t - g) / self->array->input_bits;
    uint64_t bit = (t - g) % self->array->input_bits;
    if (pixel >= self->n_pixels) return;
    in->start = bit == 0;
    size_t group = self->first_group + g;
    if (group >= self->matrix->n_groups) return;
    for (size_t i = 0; i < self->matrix->alpha; i++) {
        uint32_t channel = self->matrix->channel[group * self->matrix->alpha + i];
        if (channel == PF_NO_CHANNEL || bit >= 8) continue;
        in->x[i] = (self->x[channel * self->n_pixels + pixel] >> bit & 1) != 0;
    }
}

/* Left edge, row r, cycle t: the word of pixel p occupies lane p mod L for A cycles. */
static void feed_partial_sums(const struct tile *self, size_t r, uint64_t t, struct wires *in)
{
    if (t < r || !row_is_used(self, r)) return;
    uint64_t now = (t - r) / self->array->input_bits; /* the word that is starting or being read */
    for (uint64_t back = 0; back < self->array->lanes && back <= now; back++) {
        uint64_t pixel = now - back;
        if (pixel >= self->n_pixels) continue;
        uint64_t bit = t - r - pixel * self->array->input_bits;
        uint32_t word =
            (uint32_t)self->accumulators[(self->first_row + r) * self->n_pixels + pixel];
        in->sum[pixel % self->array->lanes] = (word >> bit & 1) != 0;
    }
}

static void read_wires(const struct tile *self, size_t r, size_t g, uint64_t t, struct wires *in)
{
    if (r == 0) {
        feed_inputs(self, g, t, in);
    } else {
        const struct cell *below = cell_at(self, r - 1, g);
        memcpy(in->x, below->x, sizeof in->x);
        in->start = below->start;
    }
    memset(in->sum, 0, sizeof in->sum);
    if (g == 0) {
        feed_partial_sums(self, r, t, in);
    } else {
        const struct cell *left = cell_at(self, r, g - 1);
        for (uint32_t l = 0; l < self->array->lanes; l++) in->sum[l] = left->lanes[l].sum;
    }
}

/* All cells at one edge.  From the top right corner down, so that each cell still finds in its
 * neighbours what they held before the edge. */
static void clock_cells(struct tile *self, uint64_t t)
{
    for (size_t r = self->array->rows; r-- > 0;) {
        for (size_t g = self->array->columns; g-- > 0;) {
            struct wires in;
            read_wires(self, r, g, t, &in);
            clock_cell(cell_at(self, r, g), &in, self->array);
        }
    }
}

static void store_word(struct tile *self, size_t r, size_t pixel, uint32_t word)
{
    if (!row_is_used(self, r)) return;
    uint32_t sign = 1u << (self->array->accumulation_bits - 1);
    self->accumulators[(self->first_row + r) * self->n_pixels + pixel] =
        (int32_t)((word ^ sign) - sign);
}

/* Right edge, after the edge: a start pulse in the last column says that a word begins. */
static void collect(struct tile *self, size_t r)
{
    const struct pf_array *array = self->array;
    const struct cell *last = cell_at(self, r, array->columns - 1);
    struct collector *collectors = self->collectors + r * array->lanes;
    if (last->start)
        collectors[last->lane] = (struct collector){.busy = true, .pixel = self->n_started[r]++};
    for (uint32_t l = 0; l < array->lanes; l++) {
        struct collector *c = &collectors[l];
        if (!c->busy) continue;
        c->word |= (uint32_t)last->lanes[l].sum << c->n_bits;
        if (++c->n_bits < array->accumulation_bits) continue;
        store_word(self, r, c->pixel, c->word);
        c->busy = false;
        self->n_finished++;
    }
}

/* Holds the tile's weights; the lanes start with arbitrary content, which the start pulse clears.
 * Loading resets the lane counters. */
static void load_weights(struct tile *self)
{
    for (size_t r = 0; r < self->array->rows; r++) {
        for (size_t g = 0; g < self->array->columns; g++) {
            struct cell *cell = cell_at(self, r, g);
            cell->lane = (uint8_t)(self->array->lanes - 1);
            for (size_t l = 0; l < self->array->lanes; l++)
                cell->lanes[l] = (struct lane){.product = 0xA5, .carry = true, .sum = true};
            size_t row = self->first_row + r, group = self->first_group + g;
            if (row >= self->matrix->n_rows || group >= self->matrix->n_groups) continue;
            int16_t weight = self->matrix->weight[row * self->matrix->n_groups + group];
            cell->magnitude = (uint8_t)(weight < 0 ? -weight : weight);
            cell->negative = weight < 0;
            cell->select = self->matrix->select[row * self->matrix->n_groups + group];
        }
    }
}

enum pf_status pf_array_one_bit_tile(const struct pf_array *array,
                                     const struct pf_array_matrix *matrix, uint32_t first_row,
                                     uint32_t first_group, const uint8_t *x, size_t n_pixels,
                                     int32_t *accumulators, uint64_t *cycles, struct pf_error *err)
{
    assert(matrix->alpha <= array->alpha);
    PF_CLEANUP(pf_freep) void *cells = PF_ALLOC((size_t)array->rows * array->columns, struct cell);
    PF_CLEANUP(pf_freep)
    void *collectors = PF_ALLOC((size_t)array->rows * array->lanes, struct collector);
    PF_CLEANUP(pf_freep) void *n_started = PF_ALLOC(array->rows, size_t);
    if (cells == NULL || collectors == NULL || n_started == NULL)
        return pf_no_memory(err, "the one-bit model");
    struct tile tile = {.array = array,
                        .matrix = matrix,
                        .first_row = first_row,
                        .first_group = first_group,
                        .x = x,
                        .n_pixels = n_pixels,
                        .accumulators = accumulators,
                        .cells = cells,
                        .collectors = collectors,
                        .n_started = n_started};
    load_weights(&tile);
    uint64_t t = 0;
    for (; tile.n_finished < (uint64_t)array->rows * n_pixels; t++) {
        clock_cells(&tile, t);
        for (size_t r = 0; r < array->rows; r++) collect(&tile, r);
    }
    *cycles = t;
    return PF_OK;
}
