/* A model on the bit-serial systolic array: accuracy, tiles, cycles, utilisation.
 *
 * See docs/simulator.md for the cell, the timing and the definition of a cycle. */
#ifndef PF_SIM_ARRAY_EVALUATE_H
#define PF_SIM_ARRAY_EVALUATE_H

#include "common/quant/quant.h"
#include "sim/array/array.h"
#include "sim/array/energy.h"

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
    uint64_t columns, tiles, cycles;      /* summed over layers; cycles per image */
    double utilisation;                   /* Σ nonzeros ÷ Σ cells, over combinable layers */
    double latency_us;                    /* cycles ÷ clock, layer by layer */
    uint64_t load_cycles, compute_cycles; /* Σ over tiles; cycles is less than both together when
                                             double buffering hides loads */
};

struct pf_array_report {
    struct pf_array array;
    size_t n_layers;
    struct pf_array_layer combined[PF_MAX_LAYERS];
    struct pf_array_layer uncombined[PF_MAX_LAYERS]; /* the same weights, one column each (α = 1) */
    struct pf_array_totals combined_total, uncombined_total;
    struct pf_array_energy combined_energy, uncombined_energy; /* per image, an estimate */
    double energy_uj; /* per image, combined: combined_energy.total_uj */
    bool evaluated;   /* false: no data set was given */
    size_t n_images, n_correct;
    double accuracy_percent;
    size_t n_checked; /* images also run through the integer reference */
    bool bit_exact;   /* … and equal in every logit */
};

/* Two layouts of the same weights are counted.  combined: groups are array columns, a layer that
 * was not combined takes its K columns, the array is as given.  uncombined: each column that holds
 * a weight is an array column of its own, and the array's cells have one input (α = 1), so that
 * weights load over one wire.
 *
 * PF_INVALID with a sentence: an array that pf_array_validate refuses, fewer than 8 input bits,
 * accumulators too narrow for the model, a packing whose alpha exceeds the array's, a model that
 * cannot be lowered, a data set of another image size or with more classes.
 *
 * Lays the model out on the array, counts, and, when `dataset` is not NULL, classifies every
 * image with the functional engine, checking `n_checked` of them against the integer reference. */
PF_NODISCARD enum pf_status pf_array_evaluate(const struct pf_model *model,
                                              const struct pf_array *array,
                                              const struct pf_dataset *dataset, size_t n_checked,
                                              struct pf_pool *pool,
                                              const struct pf_progress *progress,
                                              struct pf_array_report *report, struct pf_error *err);

#endif
