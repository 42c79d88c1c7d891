/* The functional engine: the cells of a packed matrix as lists of weights per filter, computed
 * in ordinary integers.  Its cycle counts are the closed formulas of sim/array/array.h. */
#ifndef PF_SIM_ARRAY_FUNCTIONAL_H
#define PF_SIM_ARRAY_FUNCTIONAL_H

#include "sim/array/kernel.h"
#include "sim/array/matrix.h"

struct pf_array_functional {
    uint32_t n_rows;
    uint32_t n_slots;    /* channels that some cell uses */
    uint32_t *channel;   /* [n_slots], ascending; slots 2j and 2j + 1 form pair j */
    uint32_t *row_start; /* [n_rows + 1] into pair and weights */
    uint32_t *pair;      /* ascending within a row */
    uint32_t *weights;   /* two int16: of slot 2j in the low half, of slot 2j + 1 in the high */
};

PF_NODISCARD enum pf_status pf_array_functional_create(const struct pf_array_matrix *matrix,
                                                       struct pf_array_functional **functional,
                                                       struct pf_error *err);
void pf_array_functional_destroy(struct pf_array_functional *self);
PF_DEFINE_CLEANUP(struct pf_array_functional, pf_array_functional_destroy)

static inline size_t pf_array_functional_n_pairs(const struct pf_array_functional *self)
{
    return ((size_t)self->n_slots + 1) / 2;
}

static inline size_t pf_array_n_panels(size_t n_pixels)
{
    return (n_pixels + PF_ARRAY_PANEL - 1) / PF_ARRAY_PANEL;
}

/* panels[n_panels][n_pairs][64] of one pair from its two channels' pixels, each padded to
 * n_panels · 64; `odd` NULL: zeros. */
void pf_array_fill_pair(uint32_t *panels, size_t n_pairs, size_t pair, const uint8_t *even,
                        const uint8_t *odd, size_t n_panels);

#endif
