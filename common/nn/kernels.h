/* The inner loops of training and inference, as one table of functions per instruction set.
 *
 * Pixels are worked on in groups of 16 and tiles of 64.  A plane (one channel of one image) is
 * padded to whole groups; its padding lanes are masked, so that they never reach a sum.  Two
 * layouts occur:
 *
 *   planes  [channel][pixel]        whole images, as they stay in memory
 *   tiles   [tile][row][64 pixels]  what a product reads: a tile of all rows fits a cache, and
 *                                   rows never share cache sets by accident of a power of two
 *
 * Rows of tiles are padded to a multiple of 4 (PF_ROW_BLOCK).  Every function has a plain twin in
 * pf_kernels_reference; tests/unit/nn/test_kernels.c holds all tables against it. */
#ifndef PF_COMMON_NN_KERNELS_H
#define PF_COMMON_NN_KERNELS_H

#include <stddef.h>
#include <stdint.h>

#define PF_GROUP 16u          /* pixels */
#define PF_TILE 64u           /* pixels */
#define PF_GROUPS_PER_TILE 4u /* PF_TILE / PF_GROUP */
#define PF_ROW_BLOCK 4u
#define PF_RELU_LIMIT 6.0f

/* A plane seen through a shift and a stride.  Its value at pixel p is
 * values[index != NULL ? index[p] : p] where bit p % 16 of mask[p / 16] is set, else 0.
 * All places named by index or reached by p must be readable, masked or not. */
struct pf_view {
    const float *values;
    const int32_t *index;
    const uint16_t *mask;
};

/* One weight of a packed layer and the row of the tile it multiplies. */
struct pf_survivor {
    float weight;
    uint32_t row;
};

/* A stretch of one row across tiles: group i lies at row[(i / 4) · tile_stride + (i % 4) · 16]. */
struct pf_tile_row {
    float *row;         /* this row in tile 0 */
    size_t tile_stride; /* floats from one tile to the next */
    size_t first;       /* the group to begin with */
};

/* Coefficients of batch norm seen from one channel: forward scale · y + bias; backward
 * a · g + b · y + c. */
struct pf_affine {
    float scale, bias;
};
struct pf_affine_back {
    float a, b, c;
};

struct pf_kernels {
    const char *name; /* "avx512", "avx2", "generic", "reference" */

    /* to ← min(max(scale · view + bias, 0), 6) where the view's mask is set, else 0. */
    void (*activate)(struct pf_tile_row to, struct pf_view from, size_t n_groups,
                     struct pf_affine norm);

    /* to ← a · g + b · y + c where mask is set, else 0. */
    void (*normalise_back)(struct pf_tile_row to, const float *g, const float *y,
                           const uint16_t *mask, size_t n_groups, struct pf_affine_back norm);

    /* g ← (sum of the views) where 0 < scale · y + bias < 6, else 0.  Adds g to sums[0][16] and
     * g · (y − mean) to sums[1][16], lane by lane. */
    void (*activate_back)(float *g, const struct pf_view *views, size_t n_views, const float *y,
                          size_t n_groups, struct pf_affine norm, float mean, float *sums);

    /* The sum of min(max(scale · y + bias, 0), 6) where mask is set. */
    float (*pool)(const float *y, const uint16_t *mask, size_t n_groups, struct pf_affine norm);

    /* y[n_rows] planes of stride y_stride ← n_groups groups of tile rows (row stride PF_TILE).
     * sums != NULL: per row [2][16], lane by lane, += d and += d² with d = value − pivot[row],
     * masked lanes left out. */
    void (*emit)(float *y, size_t y_stride, const float *tile, size_t n_rows, size_t n_groups,
                 const uint16_t *mask, const float *pivot, float *sums);

    /* out[n_rows][64], row stride out_stride, = W x for one tile.  panels[n_rows / 4][K][4];
     * x[K][64].  n_rows is a multiple of 4. */
    void (*product)(float *out, size_t out_stride, const float *panels, const float *x,
                    size_t n_rows, size_t n_columns);

    /* dw[n_rows][n_columns] += Σ over all pixels of dy[row] · x[column].  Tiles of dy and x have
     * their rows padded to multiples of 4; strides are floats from tile to tile. */
    void (*product_weights)(float *dw, size_t n_rows, size_t n_columns, const float *dy,
                            size_t dy_stride, const float *x, size_t x_stride, size_t n_tiles);

    /* out[row][64] = Σ over survivors i in [start[row], start[row + 1]) of weight · x[i.row]. */
    void (*packed)(float *out, size_t out_stride, const uint32_t *start,
                   const struct pf_survivor *survivors, const float *x, size_t n_rows);

    /* partial[survivor][16], lane by lane, += dy[row] · x[survivor's row] over all pixels. */
    void (*packed_weights)(float *partial, const uint32_t *start,
                           const struct pf_survivor *survivors, size_t n_rows, const float *dy,
                           size_t dy_stride, const float *x, size_t x_stride, size_t n_tiles);
};

/* The plain twins. */
extern const struct pf_kernels pf_kernels_reference;

/* The widest table this processor can run. */
const struct pf_kernels *pf_kernels_best(void);

/* All tables this processor can run, the reference first; returns how many, at most capacity. */
size_t pf_kernels_list(const struct pf_kernels **tables, size_t capacity);

static inline float *pf_tile_row_group(struct pf_tile_row to, size_t group)
{
    size_t i = to.first + group;
    return to.row + i / PF_GROUPS_PER_TILE * to.tile_stride + i % PF_GROUPS_PER_TILE * PF_GROUP;
}

#endif
