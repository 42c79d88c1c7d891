/* One layer, forward and backward, over the whole images of one shard.
 *
 * Only the outputs y of the convolutions, before batch norm, are kept.  A pass rebuilds its input,
 * ReLU6(batch norm(y of the layer before)), shifted and strided, in tiles that stay in cache, a
 * chunk of images at a time and within it a band of tiles at a time.  All functions here write only
 * what their caller gave them and may run on several threads at once, one scratch each. */
#ifndef PF_COMMON_NN_LAYER_PASS_H
#define PF_COMMON_NN_LAYER_PASS_H

#include "common/nn/layer_plan.h"

/* What a pass works in; sized for every layer of a model. */
struct pf_scratch {
    float *block;    /* the one allocation */
    float *x;        /* [band tiles][columns_padded][64] */
    float *dy;       /* [chunk tiles][rows_padded][64] */
    float *dx;       /* [chunk images][blocks of dx_channels' columns], guards before and behind */
    float *sums;     /* [channels][2][16] */
    float *partial;  /* [n_quads][16], packed layers */
    float *row_sums; /* [rows][64] of a product in segments, packed layers */
};

/* plans[n]; training = false leaves out what only the backward pass needs. */
PF_NODISCARD enum pf_status pf_scratch_create(const struct pf_layer_plan *const *plans, size_t n,
                                              bool training, struct pf_scratch **scratch,
                                              struct pf_error *err);
void pf_scratch_destroy(struct pf_scratch *self);
PF_DEFINE_CLEANUP(struct pf_scratch, pf_scratch_destroy)

/* A layer's input: blocks [image][block][channel][in_run] with PF_PLANE_GUARD readable numbers
 * around, to be normalised and clamped; or bytes [image][channel][in_pixels], to be normalised
 * only. */
struct pf_layer_input {
    const void *planes;          /* NULL: bytes */
    enum pf_precision precision; /* of planes, and of what training keeps of all layers */
    const uint8_t *bytes;
    const struct pf_affine *norm; /* [channels] */
};

/* Σ y and Σ y² (forward) or Σ g and Σ g · (y − mean) (backward) of a channel. */
struct pf_channel_sums {
    double first, second;
};

/* Where a layer's output goes, and what is summed on the way. */
struct pf_layer_output {
    void *y;                        /* [image] blocks of N */
    enum pf_precision precision;    /* of y */
    bool stream;                    /* it is more than caches hold: write past them */
    const float *pivot;             /* [N]; with totals */
    struct pf_channel_sums *totals; /* NULL, or [N]: += sums of y, which is less the pivot then */
};

/* out.y ← the convolution, less out.pivot if there are totals. */
void pf_layer_forward(const struct pf_layer_plan *plan, const struct pf_kernels *kernels,
                      struct pf_scratch *scratch, struct pf_layer_input in, size_t n_images,
                      struct pf_layer_output out);

struct pf_layer_back {
    const float *g; /* [image] blocks of N, gradient behind batch norm, ReLU6's mask applied */
    const void *y;  /* [image] blocks of N, of the precision of `in` */
    const struct pf_affine_back *norm; /* [N] */
    struct pf_layer_input in;
    float *dw; /* [n_weights], overwritten */

    /* NULL for the first layer. */
    float *g_in;                       /* [image] blocks of C, as g of the layer before */
    const float *mean_in;              /* [C] */
    struct pf_channel_sums *totals_in; /* [C], increased */
};

void pf_layer_backward(const struct pf_layer_plan *plan, const struct pf_kernels *kernels,
                       struct pf_scratch *scratch, const struct pf_layer_back *back,
                       size_t n_images);

/* Adds sums[n][2][16] to totals[n] in lane order, and clears them. */
void pf_channel_sums_flush(struct pf_channel_sums *totals, float *sums, size_t n);

/* Private to the two passes. */

/* Pixels that go into single-precision sums before those are added to double ones. */
#define PF_SUMMED_PIXELS ((size_t)64 << 10)

/* The input from image `image` on. */
struct pf_layer_input pf_layer_input_from(const struct pf_layer_plan *plan,
                                          struct pf_layer_input in, size_t image);

/* scratch->x ← groups [first, first + n) of the columns of a chunk, first on a tile boundary.
 * Behind them, to the end of the tile, stands something finite. */
void pf_layer_columns(const struct pf_layer_plan *plan, const struct pf_kernels *kernels, float *x,
                      struct pf_layer_input in, size_t first, size_t n_groups);

/* A stretch of groups inside one image of a chunk. */
struct pf_stretch {
    size_t image, first, n;
};

/* The stretch that begins with group `group` of a chunk and ends before group `end`. */
static inline struct pf_stretch pf_stretch_at(const struct pf_layer_plan *plan, size_t group,
                                              size_t end)
{
    size_t per_image = plan->out_padded / PF_GROUP;
    size_t image = group / per_image, first = group % per_image;
    return (struct pf_stretch){image, first, PF_MIN(end - group, per_image - first)};
}

/* Moves on by a group, into the next image where one ends; n is left alone. */
static inline void pf_stretch_step(const struct pf_layer_plan *plan, struct pf_stretch *at)
{
    if (++at->first < plan->out_padded / PF_GROUP) return;
    at->first = 0;
    at->image++;
}

/* Range `range` of what products fetch: numbers[n], or nothing for NULL. */
void pf_ahead_set(struct pf_ahead *ahead, size_t range, const void *numbers,
                  enum pf_precision precision, size_t n);
/* All its lines over so many steps, evenly. */
void pf_ahead_spread(struct pf_ahead *ahead, size_t n_steps);

/* Steps, in the sense of struct pf_ahead, of one tile's product of n_rows by n_columns; a packed
 * one in segments takes them in each, and has then fetched early. */
static inline size_t pf_product_steps(const struct pf_layer_plan *plan, size_t n_rows,
                                      size_t n_columns)
{
    if (plan->layer->packing != NULL) return n_rows;
    return (n_rows + PF_ROW_BLOCK - 1) / PF_ROW_BLOCK *
           ((n_columns + PF_STEP_COLUMNS - 1) / PF_STEP_COLUMNS);
}

#endif
