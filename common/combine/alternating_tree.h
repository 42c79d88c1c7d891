/* The alternating tree that a matching is augmented by, and the prices while it grows.
 *
 * matching.c explains it.  plant; then next, and what the event asks for, at the tree's clock moved
 * to the event's; after the last event fell.  The matching itself is in `blossoms`, which the tree
 * changes in closing and opening blossoms only. */
#ifndef PF_COMMON_COMBINE_ALTERNATING_TREE_H
#define PF_COMMON_COMBINE_ALTERNATING_TREE_H

#include <stdbool.h>

#include "common/combine/blossoms.h"

/* By how much the price of a vertex falls per tick, and that of a blossom rises. */
enum pf_side { PF_INNER = -1, PF_OUTSIDE = 0, PF_OUTER = 1 };

/* What a node is to the tree. */
struct pf_branch {
    enum pf_side side; /* of nodes inside a blossom PF_OUTSIDE, as their prices rest */
    bool marked;       /* on the way up, while an ancestor is looked for */
    uint32_t from, to; /* inner: the tight edge from an outer vertex to one of its own */
    int64_t price;     /* a blossom's: less side · clock */
};

struct pf_tree {
    const int64_t *weight; /* [n][n] */
    size_t n;
    struct pf_blossoms blossoms;
    size_t n_closed; /* blossoms so far */
    int64_t clock;
    struct pf_branch *branches; /* per node */
    int8_t *side;               /* [n]: that of the outermost node */
    int64_t *price;             /* [n]: of the vertex, plus side · clock */
    int64_t *reach;             /* [n][n]: at its head's row, an outer node's */
    int64_t *reached;           /* [n]: the least of any outer node's reach[v] */
    int64_t *met;     /* [n]: at its head, when an outer node meets another; elsewhere never */
    uint32_t poorest; /* of the outer vertices */
};

enum pf_tree_event_kind { PF_TREE_POOR, PF_TREE_REACHED, PF_TREE_MET, PF_TREE_FREE };

struct pf_tree_event {
    int64_t when;
    enum pf_tree_event_kind kind;
    uint32_t who; /* POOR, REACHED: the vertex; MET: the head of an outer node; FREE: the blossom */
};

/* No tree, nobody matched, every vertex at its largest weight; finish it even when this fails. */
PF_NODISCARD enum pf_status pf_tree_init(struct pf_tree *self, const int64_t *weight, size_t n,
                                         struct pf_error *err);
void pf_tree_finish(struct pf_tree *self);

static inline uint32_t pf_tree_outermost(const struct pf_tree *self, uint32_t vertex)
{
    return self->blossoms.outermost[vertex];
}

/* At clock 0 an outer node, the root. */
void pf_tree_plant(struct pf_tree *self, uint32_t root);

/* The first of what happens next, POOR before all else at the same time. */
struct pf_tree_event pf_tree_next(const struct pf_tree *self);

/* REACHED: the outer vertex whose edge got tight. */
uint32_t pf_tree_reached_from(const struct pf_tree *self, uint32_t vertex);

/* REACHED: the matched node of `to` gets inner by the tight edge from → to, and its mate outer. */
void pf_tree_grow(struct pf_tree *self, uint32_t from, uint32_t to);

/* MET: the two outer nodes and the paths to their common ancestor become a blossom. */
void pf_tree_fold(struct pf_tree *self, uint32_t head);

/* FREE: what lay in the blossom is inner, outer or outside. */
void pf_tree_unfold(struct pf_tree *self, uint32_t blossom);

/* All are outside, at what they cost by now. */
void pf_tree_fell(struct pf_tree *self);

#endif
