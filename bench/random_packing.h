/* Packed networks of random content, for measuring. */
#ifndef PF_BENCH_RANDOM_PACKING_H
#define PF_BENCH_RANDOM_PACKING_H

#include "common/base/random.h"
#include "common/model/model.h"

/* Column k in group k mod G, G = ⌈K / α⌉; every row keeps one random column of every group.  Exits
 * the program when there is no memory. */
struct pf_packing *pf_random_packing(const struct pf_layer *layer, uint32_t alpha,
                                     struct pf_random *random);

#endif
