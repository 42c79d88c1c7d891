/* A model on the bit-serial systolic array: accuracy, tiles, cycles, utilisation.
 *
 * See docs/simulator.md for the cell, the timing and the definition of a cycle. */
#ifndef PF_SIM_ARRAY_EVALUATE_H
#define PF_SIM_ARRAY_EVALUATE_H

#include "common/quant/quant.h"

struct pf_array {
    uint32_t rows, columns;     /* H, W: 32 × 32 */
    uint32_t alpha;             /* inputs of a cell's multiplexer: 8 */
    uint32_t input_bits;        /* b: 8 */
    uint32_t accumulation_bits; /* A: 32 */
    uint32_t lanes;             /* L = A/b: 4 */
    bool double_buffering;
    double clock_mhz; /* 150 */
};

void pf_array_default(struct pf_array *array);
PF_NODISCARD enum pf_status pf_array_validate(const struct pf_array *self, struct pf_error *err);

struct pf_array_layer {
    uint32_t n_rows, n_columns; /* N, K */
    uint64_t n_pixels;          /* P */
    uint32_t columns;           /* array columns: groups, or K for an uncombined layer */
    uint64_t tiles;
    uint64_t nonzeros;
    uint64_t load_cycles, compute_cycles, cycles; /* per image */
    double utilisation;                           /* nonzeros ÷ (nonempty rows × columns) */
};

struct pf_array_totals {
    uint64_t columns, tiles, cycles; /* summed over layers; cycles per image */
    double utilisation;              /* Σ nonzeros ÷ Σ cells, over combinable layers */
    double latency_us;               /* cycles ÷ clock, layer by layer */
};

struct pf_array_report {
    struct pf_array array;
    size_t n_layers;
    struct pf_array_layer combined[PF_MAX_LAYERS];
    struct pf_array_layer uncombined[PF_MAX_LAYERS]; /* the same weights, one column each (α = 1) */
    struct pf_array_totals combined_total, uncombined_total;
    double energy_uj; /* per image, combined; NaN when unknown */
    bool evaluated;   /* false: no data set was given */
    size_t n_images, n_correct;
    double accuracy_percent;
    size_t n_checked; /* images also run through the integer reference */
    bool bit_exact;   /* … and equal in every logit */
};

/* Lays the model out on the array, counts, and, when `dataset` is not NULL, classifies every
 * image with the functional engine, checking `n_checked` of them against the integer reference. */
PF_NODISCARD enum pf_status pf_array_evaluate(const struct pf_model *model,
                                              const struct pf_array *array,
                                              const struct pf_dataset *dataset, size_t n_checked,
                                              struct pf_pool *pool,
                                              const struct pf_progress *progress,
                                              struct pf_array_report *report, struct pf_error *err);

#endif
