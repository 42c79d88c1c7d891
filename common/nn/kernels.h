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
 * Rows of tiles are padded to a multiple of 4 (PF_ROW_BLOCK).  A function works on one image, or on
 * tiles.  Every one has a plain twin in pf_kernels_reference; tests/unit/nn/test_kernels.c holds
 * all tables against it. */
#ifndef PF_COMMON_NN_KERNELS_H
#define PF_COMMON_NN_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PF_GROUP 16u          /* pixels */
#define PF_TILE 64u           /* pixels */
#define PF_GROUPS_PER_TILE 4u /* PF_TILE / PF_GROUP */
#define PF_ROW_BLOCK 4u
#define PF_TAPS 9u
#define PF_RELU_LIMIT 6.0f

/* One of the nine ways to look at a plane: shifted by −1…1 per axis, then strided.  Output pixel p
 * sees input pixel index[p], or p + offset when index is NULL, where bit p % 16 of mask[p / 16] is
 * set, and else nothing (0).  An input pixel is seen by at most one output pixel: back_index[q], or
 * q − offset, where back_mask says so.  What is named or reached must be readable, masked or not.
 */
struct pf_tap {
    ptrdiff_t offset;
    int32_t *index;      /* [output pixels, padded]; NULL for stride 1 */
    int32_t *back_index; /* [input pixels, padded]; NULL for stride 1 */
    uint16_t *mask;      /* [padded output pixels / 16] */
    uint16_t *back_mask; /* [padded input pixels / 16] */
};

/* The columns of a filter matrix: column k is channel k / taps_per_channel through taps[tap[k]]. */
struct pf_columns {
    size_t n;
    size_t taps_per_channel; /* 1 or PF_TAPS */
    const uint8_t *tap;      /* [n] */
    const struct pf_tap *taps;
};

/* Planes of one image: values[channel · stride + pixel]. */
struct pf_planes {
    const float *values;
    size_t stride;
};

/* A place in tiles: group i of row r lies at
 * values[(first + i) / 4 · stride + r · 64 + (first + i) % 4 · 16]. */
struct pf_tiles {
    float *values;
    size_t stride; /* floats from one tile to the next */
    size_t first;
};

/* One weight of a packed layer and the row of the tile it multiplies. */
struct pf_survivor {
    float weight;
    uint32_t row;
};

/* Coefficients of batch norm for one channel: forward scale · y + bias; backward
 * a · g + b · y + c. */
struct pf_affine {
    float scale, bias;
};
struct pf_affine_back {
    float a, b, c;
};

/* Memory that will be read soon.  Products have time to spare for the memory bus: they fetch these
 * lines while they compute, from the first range on, and leave in `ranges` what they did not get
 * to.  Only a matter of speed. */
#define PF_LINE 64u
#define PF_AHEAD_RANGES 2u
struct pf_ahead {
    struct {
        const char *next;
        size_t n_lines;
    } ranges[PF_AHEAD_RANGES];
};

struct pf_kernels {
    const char *name; /* "avx512", "avx2", "generic", "reference" */

    /* Groups [first, first + n_groups) of every column of an image: what the column sees of
     * min(max(norm[channel].scale · y + norm[channel].bias, 0), 6). */
    void (*activate)(struct pf_tiles to, const struct pf_columns *columns, struct pf_planes y,
                     size_t first, size_t n_groups, const struct pf_affine *norm);

    /* row r ← norm[r].a · g + norm[r].b · y + norm[r].c where mask is set, else 0. */
    void (*normalise_back)(struct pf_tiles to, size_t n_rows, struct pf_planes g,
                           struct pf_planes y, const uint16_t *mask, size_t n_groups,
                           const struct pf_affine_back *norm);

    /* The way back through activate, of n_channels channels beginning with the one of
     * first_column: g ← the sum of what the channel's columns give back of dx, where
     * 0 < scale · y + bias < 6, else 0.  dx, y, norm, mean and sums begin with that channel.
     * Per channel, lane by lane, sums[0][16] += g and sums[1][16] += g · (y − mean). */
    void (*activate_back)(float *g, size_t n_channels, const struct pf_columns *columns,
                          size_t first_column, struct pf_planes dx, struct pf_planes y,
                          size_t n_groups, const struct pf_affine *norm, const float *mean,
                          float *sums);

    /* pooled[c] ← scale · the sum of min(max(norm · y, 0), 6) where mask is set. */
    void (*pool)(float *pooled, size_t n_channels, struct pf_planes y, const uint16_t *mask,
                 size_t n_groups, const struct pf_affine *norm, float scale);

    /* g ← value[c] where mask is set and 0 < scale · y + bias < 6, else 0; sums as above. */
    void (*pool_back)(float *g, size_t n_channels, const float *value, struct pf_planes y,
                      const uint16_t *mask, size_t n_groups, const struct pf_affine *norm,
                      const float *mean, float *sums);

    /* y[n_rows] planes of stride y_stride ← n_groups groups of tile rows (row stride PF_TILE).
     * sums != NULL: per row [2][16], lane by lane, += d and += d² with d = value − pivot[row],
     * masked lanes left out; y, aligned to 64 bytes, may then go past the caches (stream). */
    void (*emit)(float *y, size_t y_stride, const float *tile, size_t n_rows, size_t n_groups,
                 const uint16_t *mask, const float *pivot, float *sums, bool stream);

    /* out[n_rows][64], row stride out_stride, = W x for one tile.  panels[n_rows / 4][K][4];
     * x[K][64].  n_rows is a multiple of 4. */
    void (*product)(float *out, size_t out_stride, const float *panels, const float *x,
                    size_t n_rows, size_t n_columns, struct pf_ahead *ahead);

    /* dw[n_rows][n_columns] += Σ over all pixels of dy[row] · x[column].  Tiles of dy and x have
     * their rows padded to multiples of 4; strides are floats from tile to tile. */
    void (*product_weights)(float *dw, size_t n_rows, size_t n_columns, const float *dy,
                            size_t dy_stride, const float *x, size_t x_stride, size_t n_tiles,
                            struct pf_ahead *ahead);

    /* out[row][64] = Σ over survivors i in [start[row], start[row + 1]) of weight · x[i.row]. */
    void (*packed)(float *out, size_t out_stride, const uint32_t *start,
                   const struct pf_survivor *survivors, const float *x, size_t n_rows,
                   struct pf_ahead *ahead);

    /* partial[survivor][16], lane by lane, += dy[row] · x[survivor's row] over all pixels. */
    void (*packed_weights)(float *partial, const uint32_t *start,
                           const struct pf_survivor *survivors, size_t n_rows, const float *dy,
                           size_t dy_stride, const float *x, size_t x_stride, size_t n_tiles,
                           struct pf_ahead *ahead);
};

/* The plain twins. */
extern const struct pf_kernels pf_kernels_reference;

/* The widest table this processor can run. */
const struct pf_kernels *pf_kernels_best(void);

/* All tables this processor can run, the reference first; returns how many, at most capacity. */
size_t pf_kernels_list(const struct pf_kernels **tables, size_t capacity);

static inline float *pf_tile_group(struct pf_tiles tiles, size_t row, size_t group)
{
    size_t i = tiles.first + group;
    return tiles.values + i / PF_GROUPS_PER_TILE * tiles.stride + row * PF_TILE +
           i % PF_GROUPS_PER_TILE * PF_GROUP;
}

#endif
