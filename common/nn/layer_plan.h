/* A layer made ready for the kernels: which pixel every column of its filter matrix reads, and its
 * weights in the order the products want them.
 *
 * A column is an input channel seen through one of nine taps (shift by −1…1 per axis).  Pointwise
 * layers use the middle tap for every channel; shift layers one tap per channel; 3×3 convolutions
 * all nine, column = 9 · channel + tap.  The stride and the zero border are in the taps' tables.
 *
 * A plan points into the model, which must outlive it, and follows its weights only when told:
 * pf_layer_plan_refresh after every step. */
#ifndef PF_COMMON_NN_LAYER_PLAN_H
#define PF_COMMON_NN_LAYER_PLAN_H

#include <stdbool.h>

#include "common/model/model.h"
#include "common/nn/kernels.h"

/* A product's survivors, and which of the layer's weights they are. */
struct pf_survivors {
    struct pf_survivor_list list;
    uint32_t *weight; /* [n_weights] */
};

struct pf_layer_plan {
    const struct pf_layer *layer;
    size_t n_rows, n_columns;            /* N, K */
    size_t rows_padded, columns_padded;  /* to whole row blocks */
    size_t n_channels;                   /* C */
    size_t in_pixels, in_padded, in_run; /* per plane, see kernels.h */
    size_t out_pixels, out_padded, out_run;

    /* How much is worked on at once; see layer_plan.c. */
    size_t chunk_images; /* backward */
    size_t band_tiles;   /* of input columns */
    size_t dx_channels;  /* whose input gradient is in the workspace */

    uint16_t *out_mask;        /* [out_padded / 16] pixels that exist */
    uint8_t *tap_of_column;    /* [K] */
    struct pf_columns columns; /* as the kernels take them; the way back is over blocks of
                                * dx_channels' columns */

    /* Dense layers. */
    float *panels;      /* [rows_padded / 4][K][4] */
    float *back_panels; /* [columns_padded / 4][N][4], the transpose */

    /* Packed layers. */
    struct pf_survivors forward;  /* rows: filters; they multiply columns of the matrix */
    struct pf_survivors backward; /* rows: columns; they multiply filters */
    size_t n_quads;               /* of forward, see kernels.h */
};

/* layer->kind is not PF_LAYER_LINEAR. */
PF_NODISCARD enum pf_status pf_layer_plan_create(const struct pf_layer *layer,
                                                 struct pf_layer_plan **plan, struct pf_error *err);
void pf_layer_plan_destroy(struct pf_layer_plan *self);
PF_DEFINE_CLEANUP(struct pf_layer_plan, pf_layer_plan_destroy)

/* Takes over the layer's weights.  Without `backward` the transposes stay as they are. */
void pf_layer_plan_refresh(struct pf_layer_plan *self, bool backward);

/* Numbers that must be readable before and behind a block of planes: a group of which a tap shows
 * one pixel is read as a whole. */
#define PF_PLANE_GUARD (2 * PF_GROUP)

static inline size_t pf_round_up(size_t n, size_t unit)
{
    return (n + unit - 1) / unit * unit;
}

static inline size_t pf_tiles_of(size_t n_groups)
{
    return (n_groups + PF_GROUPS_PER_TILE - 1) / PF_GROUPS_PER_TILE;
}

/* One image of the layer's input from channel `first` on, of its output, and of the gradients of
 * the columns of dx_channels channels. */
static inline struct pf_blocks pf_input_blocks(const struct pf_layer_plan *plan, const void *image,
                                               enum pf_precision precision, size_t first)
{
    return (struct pf_blocks){pf_numbers_from(image, precision, first * plan->in_run), plan->in_run,
                              plan->n_channels * plan->in_run, precision};
}

static inline struct pf_blocks pf_output_blocks(const struct pf_layer_plan *plan, const void *image,
                                                enum pf_precision precision)
{
    return (struct pf_blocks){image, plan->out_run, plan->n_rows * plan->out_run, precision};
}

static inline struct pf_blocks pf_dx_blocks(const struct pf_layer_plan *plan, const float *image)
{
    size_t columns = pf_round_up(plan->dx_channels * plan->columns.taps_per_channel, PF_ROW_BLOCK);
    return (struct pf_blocks){image, plan->out_run, columns * plan->out_run, PF_SINGLE};
}

/* Floats of one image's. */
static inline size_t pf_dx_image_floats(const struct pf_layer_plan *plan)
{
    return plan->out_padded / plan->out_run * pf_dx_blocks(plan, NULL).stride;
}

#endif
