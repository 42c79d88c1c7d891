#include "common/base/memory.h"
#include "common/nn/layer_pass.h"

static size_t chunk_tiles(const struct pf_layer_plan *plan)
{
    return pf_tiles_of(plan->chunk_images * plan->out_padded / PF_GROUP);
}

/* Floats of each member of a scratch, the largest over the layers. */
struct sizes {
    size_t x, dy, dx, sums, partial, row_sums;
};

static void grow(struct sizes *s, const struct pf_layer_plan *plan, bool training)
{
    size_t channels = PF_MAX(plan->n_rows, plan->n_channels);
    s->x = PF_MAX(s->x, plan->band_tiles * plan->columns_padded * PF_TILE);
    s->sums = PF_MAX(s->sums, channels * 2 * PF_GROUP);
    if (plan->forward.list.n_segments > 1)
        s->row_sums = PF_MAX(s->row_sums, plan->rows_padded * PF_TILE);
    if (!training) return;
    if (plan->backward.list.n_segments > 1)
        s->row_sums = PF_MAX(s->row_sums, plan->columns_padded * PF_TILE);
    s->dy = PF_MAX(s->dy, chunk_tiles(plan) * plan->rows_padded * PF_TILE);
    s->dx = PF_MAX(s->dx, plan->chunk_images * pf_dx_image_floats(plan) + 2 * PF_PLANE_GUARD);
    s->partial = PF_MAX(s->partial, plan->n_quads * PF_GROUP);
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
    self->block =
        PF_ALLOC(s.x + s.dy + s.dx + s.sums + s.partial + s.row_sums + 6 * PF_GROUP, float);
    if (self->block == NULL) return pf_no_memory(err, "the workspace of a thread");
    float *next = self->block;
    self->x = cut(&next, s.x);
    self->dy = cut(&next, s.dy);
    self->dx = cut(&next, s.dx) + PF_PLANE_GUARD;
    self->sums = cut(&next, s.sums);
    self->partial = cut(&next, s.partial);
    self->row_sums = cut(&next, s.row_sums);
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
