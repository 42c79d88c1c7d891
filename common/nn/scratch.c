#include "common/base/memory.h"
#include "common/nn/layer_pass.h"

#define CHUNK_PIXELS 1024u
#define BAND_BYTES ((size_t)512 << 10)  /* a part of a second-level cache */
#define BLOCK_BYTES ((size_t)256 << 10) /* likewise */
#define MIN_BAND_TILES 4u

size_t pf_layer_chunk_images(const struct pf_layer_plan *plan)
{
    size_t n = CHUNK_PIXELS / plan->out_padded;
    return n > 0 ? n : 1;
}

static size_t chunk_tiles(const struct pf_layer_plan *plan)
{
    return pf_tiles_of(pf_layer_chunk_images(plan) * plan->out_padded / PF_GROUP);
}

size_t pf_layer_band_tiles(const struct pf_layer_plan *plan)
{
    size_t n = BAND_BYTES / (plan->columns_padded * PF_TILE * sizeof(float));
    n = PF_MAX(n, MIN_BAND_TILES);
    return PF_MIN(n, chunk_tiles(plan));
}

size_t pf_layer_dx_stride(const struct pf_layer_plan *plan)
{
    /* An odd number of tiles spreads the rows over the sets of a cache. */
    return (chunk_tiles(plan) | 1) * PF_TILE;
}

size_t pf_layer_block_channels(const struct pf_layer_plan *plan)
{
    size_t row_bytes = pf_layer_dx_stride(plan) * sizeof(float) * plan->columns.taps_per_channel;
    size_t n = BLOCK_BYTES / row_bytes / PF_ROW_BLOCK * PF_ROW_BLOCK;
    return PF_MAX(n, PF_ROW_BLOCK);
}

/* Floats of each member of a scratch, the largest over the layers. */
struct sizes {
    size_t x, dy, dx, tile, sums, partial;
};

static void grow(struct sizes *s, const struct pf_layer_plan *plan, bool training)
{
    size_t channels = PF_MAX(plan->n_rows, plan->n_channels);
    s->x = PF_MAX(s->x, pf_layer_band_tiles(plan) * plan->columns_padded * PF_TILE);
    s->tile = PF_MAX(s->tile, plan->rows_padded * PF_TILE);
    s->sums = PF_MAX(s->sums, channels * 2 * PF_GROUP);
    if (!training) return;
    s->dy = PF_MAX(s->dy, chunk_tiles(plan) * plan->rows_padded * PF_TILE);
    s->dx = PF_MAX(s->dx, pf_layer_block_channels(plan) * plan->columns.taps_per_channel *
                                  pf_layer_dx_stride(plan) +
                              2 * PF_PLANE_GUARD);
    if (plan->layer->packing != NULL)
        s->partial = PF_MAX(s->partial, plan->layer->n_weights * PF_GROUP);
}

/* Cuts `floats` off the block, in whole cache lines. */
static float *cut(float **next, size_t floats)
{
    float *place = *next;
    *next += pf_round_up(floats, PF_GROUP);
    return place;
}

enum pf_status pf_scratch_create(const struct pf_layer_plan *const *plans, size_t n, bool training,
                                 struct pf_scratch **scratch, struct pf_error *err)
{
    struct sizes s = {0};
    for (size_t i = 0; i < n; i++) grow(&s, plans[i], training);
    PF_CLEANUP(pf_scratch_destroyp) struct pf_scratch *self = PF_ALLOC(1, struct pf_scratch);
    if (self == NULL) return pf_no_memory(err, "the workspace of a thread");
    /* Each term is bounded by the limits of a network (common/model/model.h): no overflow. */
    self->block = PF_ALLOC(s.x + s.dy + s.dx + s.tile + s.sums + s.partial + 6 * PF_GROUP, float);
    if (self->block == NULL) return pf_no_memory(err, "the workspace of a thread");
    float *next = self->block;
    self->x = cut(&next, s.x);
    self->dy = cut(&next, s.dy);
    self->dx = cut(&next, s.dx) + PF_PLANE_GUARD;
    self->tile = cut(&next, s.tile);
    self->sums = cut(&next, s.sums);
    self->partial = cut(&next, s.partial);
    *scratch = self;
    self = NULL;
    return PF_OK;
}

void pf_scratch_destroy(struct pf_scratch *self)
{
    if (self == NULL) return;
    pf_free(self->block);
    pf_free(self);
}
