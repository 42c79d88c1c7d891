/* The inner loops of training and inference, as one table of functions per instruction set.
 *
 * Pixels are worked on in groups of 16 and tiles of 64.  The plane of a channel is padded, to whole
 * groups up to 64 pixels and to whole tiles beyond; its padding lanes are masked, so that they
 * never reach a sum.  Two layouts occur:
 *
 *   blocks  [block][channel][run]   images, as they stay in memory
 *   tiles   [tile][row][64 pixels]  what a product reads
 *
 * A run is 64 pixels, or the whole of a smaller plane.
 * Both keep all channels of a few pixels together: what is worked on at once is one stretch of
 * memory, which caches and prefetchers like, and rows never share cache sets by accident of a power
 * of two, as the planes of images do.
 *
 * Rows of tiles are padded to a multiple of 4 (PF_ROW_BLOCK).  A function works on one image, or on
 * tiles.  Every one has a plain twin in pf_kernels_reference; tests/unit/nn/test_kernel_passes.c
 * and test_kernel_products.c hold all tables against it. */
#ifndef PF_COMMON_NN_KERNELS_H
#define PF_COMMON_NN_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/nn/precision.h"

#define PF_GROUP 16u          /* pixels */
#define PF_TILE 64u           /* pixels */
#define PF_GROUPS_PER_TILE 4u /* PF_TILE / PF_GROUP */
#define PF_ROW_BLOCK 4u
#define PF_TAPS 9u
#define PF_QUAD 4u /* survivors */
#define PF_RELU_LIMIT 6.0f

/* How the pixels of one plane see those of another through one of the nine taps: shifted by −1…1
 * per axis, then strided.  Pixel p of a tile sees, where bit p % 16 of mask[p / 16] is set, a value
 * of its channel, and else nothing (0).  With i = p % 8 and f = from[p / 8] it is the one at
 *
 *   PF_IN_ROWS       f + i; both halves of a group in one row: from[2g + 1] = from[2g] + 8
 *   PF_EVERY_SECOND  f + 2 i: forward through a stride of 2
 *   PF_TWICE         f + i / 2, from[2g + 1] = from[2g] + 4: back through a stride of 2
 *   PF_MIXED         as in rows, or at the view's index where from[2g] is PF_SCATTERED
 *
 * numbers from its channel's first.  What is named is readable, masked or not, and up to 16 numbers
 * behind it. */
enum pf_view_kind { PF_IN_ROWS, PF_EVERY_SECOND, PF_TWICE, PF_MIXED };
#define PF_SCATTERED INT32_MIN
struct pf_sight {
    int32_t from[2 * PF_GROUPS_PER_TILE];
    uint16_t mask[PF_GROUPS_PER_TILE];
};

/* All tiles of a plane through all taps.  An input pixel is seen by at most one output pixel
 * through a tap, so there are views in both directions. */
struct pf_view {
    enum pf_view_kind kind;
    size_t n_groups;         /* of the plane that sees */
    struct pf_sight *sights; /* [tiles][PF_TAPS] */
    int32_t *index;          /* [PF_TAPS][n_groups · 16]; NULL unless mixed */
};

/* The columns of a filter matrix: column k is channel k / taps_per_channel through tap[k]. */
struct pf_columns {
    size_t n;
    size_t taps_per_channel; /* 1 or PF_TAPS */
    const uint8_t *tap;      /* [n] */
    struct pf_view forward;  /* of output pixels upon the input's blocks */
    struct pf_view back;     /* of input pixels upon the blocks of the columns' gradients */
};

/* Blocks of one image, beginning with some channel: group g of the i-th channel from there lies at
 * values[g / (run / 16) · stride + i · run + g % (run / 16) · 16]. */
struct pf_blocks {
    const void *values; /* float, or uint16_t for halves; only y is ever kept in halves */
    size_t run;         /* 16, 32, 48 or 64 pixels */
    size_t stride;      /* numbers from one block to the next */
    enum pf_precision precision;
};

/* A place in tiles: group i of row r lies at
 * values[(first + i) / 4 · stride + r · 64 + (first + i) % 4 · 16]. */
struct pf_tiles {
    float *values;
    size_t stride; /* floats from one tile to the next */
    size_t first;
};

/* Where the rows of a product go: group i of row r at values + r · row_stride + offset[i], for the
 * n_groups ≤ 4 groups of the tile that exist.  With pivot: every row less pivot[row], and per row
 * [2][16], lane by lane, sums += these values and += their squares, masked lanes left out, before
 * values are rounded to halves.  stream: past the caches; every group is then aligned to its own
 * size, and stream_end comes before another thread may look. */
struct pf_sink {
    void *values; /* float, or uint16_t for halves */
    enum pf_precision precision;
    size_t row_stride; /* in numbers, as offset */
    size_t n_groups;
    ptrdiff_t offset[PF_GROUPS_PER_TILE];
    uint16_t mask[PF_GROUPS_PER_TILE];
    const float *pivot; /* NULL: 0, and no sums */
    float *sums;
    bool stream;
};

/* One weight of a packed layer and the row of the tile it multiplies; 8 bytes without a gap. */
struct pf_survivor {
    float weight;
    uint32_t row;
};

/* The survivors of a product W x: first those of all rows of W that multiply the first segment of
 * x's rows, and so on; start[s · (n_rows + 1) + r] is the first one of row r in segment s, and
 * start[s · (n_rows + 1) + n_rows] is where the segment ends.  Several segments are for an x that
 * does not fit the first cache: one of them does. */
struct pf_survivor_list {
    size_t n_rows; /* of W */
    size_t n_segments;
    uint32_t *start; /* [n_segments][n_rows + 1] */
    struct pf_survivor *survivors;
};

/* Coefficients of batch norm for one channel: forward scale · y + bias; backward
 * a · g + b · y + c. */
struct pf_affine {
    float scale, bias;
};
struct pf_affine_back {
    float a, b, c;
};

static inline size_t pf_quads(size_t n_survivors)
{
    return (n_survivors + PF_QUAD - 1) / PF_QUAD;
}

/* The i-th survivor's sum, of the lanes of its row's quads in a segment (packed_weights below). */
static inline float pf_quad_sum(const float *quads, size_t i)
{
    const float *lane = quads + i / PF_QUAD * PF_GROUP + i % PF_QUAD;
    float sum = 0.0f;
    for (size_t j = 0; j < PF_GROUP; j += PF_QUAD) sum += lane[j];
    return sum;
}

/* [n_rows + 1] of one segment. */
static inline uint32_t *pf_segment_start(const struct pf_survivor_list *list, size_t segment)
{
    return list->start + segment * (list->n_rows + 1);
}

/* Memory that will be read soon.  Products have time to spare for the memory bus: at each of their
 * steps (packed: a row; dense: a block of weights) they fetch up to `pace` lines, from the first
 * range on, and leave in `ranges`, moved to the front, what they did not get to.  A processor can
 * wait for a few lines at once only, so the pace should be even.  Only a matter of speed. */
#define PF_LINE 64u
#define PF_AHEAD_RANGES 3u
#define PF_STEP_COLUMNS 32u /* of a dense block: about as long as the lines of a step take */
struct pf_ahead {
    struct {
        const char *next;
        size_t n_lines;
    } ranges[PF_AHEAD_RANGES];
    size_t pace;
};

struct pf_kernels {
    const char *name; /* "avx512", "avx2", "generic", "reference" */

    /* Groups [first, first + n_groups) of every column of an image: what the column sees of
     * min(max(norm[channel].scale · y + norm[channel].bias, 0), 6).  Tiles of an image that has
     * several come to lie in tiles: first ≡ to.first modulo 4. */
    void (*activate)(struct pf_tiles to, const struct pf_columns *columns, struct pf_blocks y,
                     size_t first, size_t n_groups, const struct pf_affine *norm);

    /* row r ← norm[r].a · g + norm[r].b · y + norm[r].c where mask is set, else 0; a whole image.
     */
    void (*normalise_back)(struct pf_tiles to, size_t n_rows, struct pf_blocks g,
                           struct pf_blocks y, const uint16_t *mask, size_t n_groups,
                           const struct pf_affine_back *norm);

    /* The way back through activate, of n_channels channels beginning with the one of
     * first_column: g (in blocks as y) ← the sum of what the channel's columns give back of dx,
     * where 0 < scale · y + bias < 6, else 0.  dx, y, norm, mean and sums begin with that channel.
     * Per channel, lane by lane, sums[0][16] += g and sums[1][16] += g · (y − mean). */
    void (*activate_back)(float *g, size_t n_channels, const struct pf_columns *columns,
                          size_t first_column, struct pf_blocks dx, struct pf_blocks y,
                          size_t n_groups, const struct pf_affine *norm, const float *mean,
                          float *sums);

    /* pooled[c] ← scale · the sum of min(max(norm · y, 0), 6) where mask is set. */
    void (*pool)(float *pooled, size_t n_channels, struct pf_blocks y, const uint16_t *mask,
                 size_t n_groups, const struct pf_affine *norm, float scale);

    /* g (in blocks as y) ← value[c] where mask is set and 0 < scale · y + bias < 6, else 0; sums as
     * above. */
    void (*pool_back)(float *g, size_t n_channels, const float *value, struct pf_blocks y,
                      const uint16_t *mask, size_t n_groups, const struct pf_affine *norm,
                      const float *mean, float *sums);

    /* W x for one tile.  panels[⌈n_rows / 4⌉][K][4]; x[K][64]. */
    void (*product)(const struct pf_sink *to, const float *panels, const float *x, size_t n_rows,
                    size_t n_columns, struct pf_ahead *ahead);

    /* dw[n_rows][n_columns] += Σ over all pixels of dy[row] · x[column].  Tiles of dy and x have
     * their rows padded to multiples of 4; strides are floats from tile to tile. */
    void (*product_weights)(float *dw, size_t n_rows, size_t n_columns, const float *dy,
                            size_t dy_stride, const float *x, size_t x_stride, size_t n_tiles,
                            struct pf_ahead *ahead);

    /* Rows [first, first + n_rows) of W, the first of them row 0 of the sink: Σ over their
     * survivors of weight · x[survivor's row], one tile.  sums [n_rows][64]: what there is of them
     * between two segments; NULL if there is one only. */
    void (*packed)(const struct pf_sink *to, const struct pf_survivor_list *list, size_t first,
                   size_t n_rows, const float *x, float *sums, struct pf_ahead *ahead);

    /* The survivors of each row in a segment are taken in quads, the last one filled up; quads are
     * counted through the list.  Lanes i, i + 4, … of partial[quad][16] together += dy[row] ·
     * x[row of the quad's i-th survivor] over all pixels. */
    void (*packed_weights)(float *partial, const struct pf_survivor_list *list, const float *dy,
                           size_t dy_stride, const float *x, size_t x_stride, size_t n_tiles,
                           struct pf_ahead *ahead);

    /* What was streamed can be seen by other threads from here on. */
    void (*stream_end)(void);
};

/* The plain twins. */
extern const struct pf_kernels pf_kernels_reference;

/* The widest table this processor can run. */
const struct pf_kernels *pf_kernels_best(void);

/* All tables this processor can run, the reference first; returns how many, at most capacity. */
size_t pf_kernels_list(const struct pf_kernels **tables, size_t capacity);

/* Where group `group` of the first channel stands, in numbers from values. */
static inline size_t pf_block_group(struct pf_blocks blocks, size_t group)
{
    size_t per_block = blocks.run / PF_GROUP;
    return group / per_block * blocks.stride + group % per_block * PF_GROUP;
}

static inline float *pf_tile_group(struct pf_tiles tiles, size_t row, size_t group)
{
    size_t i = tiles.first + group;
    return tiles.values + i / PF_GROUPS_PER_TILE * tiles.stride + row * PF_TILE +
           i % PF_GROUPS_PER_TILE * PF_GROUP;
}

#endif
