/* Who masks with whom, and who holds whose shares.
 *
 * COMPLETE: everybody with everybody.  HARARY: a k-regular graph on a ring that is shuffled by
 * a seed which no single party chose; v is joined with the k/2 next on either side of the ring
 * (Bell et al. 2020 [1], algorithm 1).  Vertices are positions 0 … n − 1 in the round's cohort.
 *
 * [1] J. Bell et al., Secure single-server aggregation with (poly)logarithmic overhead, CCS 2020.
 */
#ifndef PF_COMMON_SECAGG_GRAPH_H
#define PF_COMMON_SECAGG_GRAPH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/error.h"

enum pf_graph_kind { PF_GRAPH_COMPLETE = 1, PF_GRAPH_HARARY = 2 };

const char *pf_graph_name(enum pf_graph_kind kind); /* "complete", "regular" */

struct pf_graph;

/* HARARY: k even, 2 ≤ k ≤ n − 1.  COMPLETE: k = n − 1, seed unused (NULL).  PF_INVALID. */
PF_NODISCARD enum pf_status pf_graph_create(enum pf_graph_kind kind, uint32_t n, uint32_t k,
                                            const uint8_t seed[32], struct pf_graph **graph,
                                            struct pf_error *err);
void pf_graph_destroy(struct pf_graph *self);
PF_DEFINE_CLEANUP(struct pf_graph, pf_graph_destroy)

/* out[k], ascending, without v itself. */
void pf_graph_neighbours(const struct pf_graph *self, uint32_t v, uint32_t *out);
bool pf_graph_adjacent(const struct pf_graph *self, uint32_t u, uint32_t v);

#endif
