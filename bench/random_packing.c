#include "bench/random_packing.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/base/memory.h"

struct pf_packing *pf_random_packing(const struct pf_layer *layer, uint32_t alpha,
                                     struct pf_random *random)
{
    struct pf_error err;
    uint32_t rows = layer->out_channels, columns = layer->n_columns;
    uint32_t n_groups = (columns + alpha - 1) / alpha;
    float *w = PF_ALLOC((size_t)rows * columns, float);
    uint32_t *group = PF_ALLOC(columns, uint32_t);
    struct pf_packing *packing = NULL;
    if (w == NULL || group == NULL) {
        fprintf(stderr, "random packing: no memory\n");
        exit(1);
    }
    for (uint32_t k = 0; k < columns; k++) group[k] = k % n_groups;
    for (uint32_t r = 0; r < rows; r++)
        for (uint32_t g = 0; g < n_groups; g++) {
            uint32_t members = (columns - g + n_groups - 1) / n_groups;
            uint32_t k = g + n_groups * pf_random_below(random, members);
            w[(size_t)r * columns + k] = 1.0f;
        }
    if (pf_packing_from_dense(w, rows, columns, group, n_groups, alpha, 0.0f, &packing, &err) !=
        PF_OK) {
        fprintf(stderr, "random packing: %s\n", err.text);
        exit(1);
    }
    pf_free(w);
    pf_free(group);
    return packing;
}
