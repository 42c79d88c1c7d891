/* Vertices, blossoms and what is matched with what.
 *
 * A node is a vertex, 0 … n − 1, or a blossom, n and above: an odd cycle of at least three nodes.
 * Every vertex lies in one outermost node.  A node is matched as a whole: through one vertex of its
 * own, its base, with one outside, its mate.  Within a blossom the node that holds the base is
 * matched with nobody else and the others in pairs along the cycle.  So base and mate are kept for
 * outermost nodes alone; those inside follow from them when the blossom is opened, and a path that
 * is augmented through a blossom, however deep, changes two numbers of it. */
#ifndef PF_COMMON_COMBINE_BLOSSOMS_H
#define PF_COMMON_COMBINE_BLOSSOMS_H

#include <stddef.h>
#include <stdint.h>

#include "common/base/error.h"

struct pf_node {
    uint32_t base, mate; /* outermost: vertices; a mate of PF_UNMATCHED leaves the base alone */
    /* Its vertices: from head along `after` to tail. */
    uint32_t head, tail;
    /* In a blossom: the neighbours in the cycle, and the vertices of this node at the edges that
     * lead to them. */
    uint32_t next, previous;
    uint32_t toward_next, toward_previous;
    uint32_t child; /* a blossom's: where its cycle begins */
};

struct pf_blossoms {
    size_t n;              /* vertices */
    struct pf_node *nodes; /* [n + n/2] */
    uint32_t *outermost;   /* [n]: the node that a vertex lies in */
    uint32_t *after;  /* [n]: the next vertex of a node; behind its tail another node's, or none */
    uint32_t *unused; /* [n/2], the first n_unused: numbers for blossoms to come */
    size_t n_unused;
};

/* n vertices, none matched.  To be finished even when it fails. */
PF_NODISCARD enum pf_status pf_blossoms_init(struct pf_blossoms *self, size_t n,
                                             struct pf_error *err);
void pf_blossoms_finish(struct pf_blossoms *self);

/* for (v = nodes[node].head; v != pf_blossoms_end(…, node); v = after[v]) */
static inline uint32_t pf_blossoms_end(const struct pf_blossoms *self, size_t node)
{
    return self->after[self->nodes[node].tail];
}

/* Matches the outermost node of one vertex with that of the other. */
void pf_blossoms_match(struct pf_blossoms *self, uint32_t vertex, uint32_t other);

/* Lets the outermost node of `next` follow that of `vertex` in the cycle to be closed. */
void pf_blossoms_link(struct pf_blossoms *self, uint32_t vertex, uint32_t next);

/* Makes a blossom of the linked cycle that begins with `first`, the node that holds the base.  Its
 * head is the head of `first`.  Returns its number. */
uint32_t pf_blossoms_close(struct pf_blossoms *self, uint32_t first);

/* Makes the nodes of an outermost blossom outermost, and matches them.  Its number is free then. */
void pf_blossoms_open(struct pf_blossoms *self, uint32_t blossom);

#endif
