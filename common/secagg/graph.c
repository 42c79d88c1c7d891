/* The ring is a permutation of 0 … n − 1: Fisher–Yates, its numbers the ChaCha20 keystream under
 * BLAKE2b(seed), so that all who know the seed build the same graph.
 *
 *   order[p]     the vertex at place p of the ring
 *   position[v]  the place of vertex v
 *
 * u and v are adjacent when their places are at most k/2 apart around the ring; nothing of size
 * n·k is stored. */
#include "common/secagg/graph.h"

#include <assert.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/base/random.h"

struct pf_graph {
    enum pf_graph_kind kind;
    uint32_t n, k;
    uint32_t *order, *position; /* [n]; HARARY only */
};

const char *pf_graph_name(enum pf_graph_kind kind)
{
    switch (kind) {
    case PF_GRAPH_COMPLETE: return "complete";
    case PF_GRAPH_HARARY: return "regular";
    }
    return "unknown";
}

static enum pf_status check_shape(enum pf_graph_kind kind, uint32_t n, uint32_t k,
                                  const uint8_t *seed, struct pf_error *err)
{
    if (kind != PF_GRAPH_COMPLETE && kind != PF_GRAPH_HARARY)
        return pf_fail(err, PF_INVALID, "graph kind %u is unknown", (unsigned)kind);
    if (n < 2)
        return pf_fail(err, PF_INVALID, "a graph of %u participants hides nobody; 2 are needed", n);
    if (kind == PF_GRAPH_COMPLETE && k != n - 1)
        return pf_fail(err, PF_INVALID,
                       "the complete graph of %u participants has degree %u, not %u", n, n - 1, k);
    if (kind == PF_GRAPH_COMPLETE) return PF_OK;
    if (k % 2 != 0 || k < 2 || k > n - 1)
        return pf_fail(err, PF_INVALID,
                       "a regular graph of %u participants cannot have degree %u; it must be even "
                       "and within 2 … %u",
                       n, k, n - 1);
    if (seed == NULL)
        return pf_fail(err, PF_INVALID, "a regular graph of %u participants needs a seed", n);
    return PF_OK;
}

static void shuffle_ring(uint32_t *order, uint32_t n, const uint8_t seed[32])
{
    static const char label[] = "packfed graph ring";
    struct pf_random stream = {.used = sizeof stream.bytes};
    crypto_generichash(stream.key, sizeof stream.key, (const uint8_t *)label, sizeof label - 1,
                       seed, 32);
    for (uint32_t i = 0; i < n; i++) order[i] = i;
    pf_random_shuffle(&stream, order, n);
}

enum pf_status pf_graph_create(enum pf_graph_kind kind, uint32_t n, uint32_t k,
                               const uint8_t seed[32], struct pf_graph **graph,
                               struct pf_error *err)
{
    PF_TRY(check_shape(kind, n, k, seed, err));
    PF_CLEANUP(pf_graph_destroyp) struct pf_graph *self = PF_ALLOC(1, struct pf_graph);
    if (self == NULL) return pf_no_memory(err, "a graph");
    self->kind = kind;
    self->n = n;
    self->k = k;
    if (kind == PF_GRAPH_HARARY) {
        self->order = PF_ALLOC(n, uint32_t);
        self->position = PF_ALLOC(n, uint32_t);
        if (self->order == NULL || self->position == NULL) return pf_no_memory(err, "a graph");
        shuffle_ring(self->order, n, seed);
        for (uint32_t p = 0; p < n; p++) self->position[self->order[p]] = p;
    }
    *graph = self;
    self = NULL;
    return PF_OK;
}

void pf_graph_destroy(struct pf_graph *self)
{
    if (self == NULL) return;
    pf_free(self->order);
    pf_free(self->position);
    pf_free(self);
}

static int compare_vertices(const void *a, const void *b)
{
    uint32_t u = *(const uint32_t *)a, v = *(const uint32_t *)b;
    return (u > v) - (u < v);
}

void pf_graph_neighbours(const struct pf_graph *self, uint32_t v, uint32_t *out)
{
    assert(v < self->n);
    if (self->kind == PF_GRAPH_COMPLETE) {
        for (uint32_t i = 0; i < self->k; i++) out[i] = i < v ? i : i + 1;
        return;
    }
    uint64_t n = self->n, place = self->position[v];
    for (uint32_t i = 0; i < self->k / 2; i++) {
        out[2 * i] = self->order[(place + i + 1) % n];
        out[2 * i + 1] = self->order[(place + n - i - 1) % n];
    }
    qsort(out, self->k, sizeof *out, compare_vertices);
}

bool pf_graph_adjacent(const struct pf_graph *self, uint32_t u, uint32_t v)
{
    if (u >= self->n || v >= self->n || u == v) return false;
    if (self->kind == PF_GRAPH_COMPLETE) return true;
    uint32_t a = self->position[u], b = self->position[v];
    uint32_t apart = a > b ? a - b : b - a;
    return PF_MIN(apart, self->n - apart) <= self->k / 2;
}
