/* The nodes of a matching: cycles become blossoms and blossoms cycles again. */
#include "common/combine/blossoms.h"

#include <assert.h>

#include "common/base/memory.h"
#include "common/combine/matching.h"

enum pf_status pf_blossoms_init(struct pf_blossoms *self, size_t n, struct pf_error *err)
{
    /* Where m blossoms of three or more nodes each hold n vertices, joining every one takes at
     * least 2 m from the number of outermost nodes, of which one remains: m ≤ (n − 1)/2. */
    size_t n_blossoms = n / 2;
    self->n = n;
    self->nodes = PF_ALLOC(n + n_blossoms, struct pf_node);
    self->outermost = PF_ALLOC(n, uint32_t);
    self->after = PF_ALLOC(n, uint32_t);
    self->unused = PF_ALLOC(n_blossoms, uint32_t);
    if (self->nodes == NULL || self->outermost == NULL || self->after == NULL ||
        self->unused == NULL)
        return pf_no_memory(err, "matching");
    for (uint32_t v = 0; v < n; v++) {
        self->nodes[v] = (struct pf_node){.base = v, .mate = PF_UNMATCHED, .head = v, .tail = v};
        self->outermost[v] = v;
        self->after[v] = PF_UNMATCHED;
    }
    self->n_unused = n_blossoms;
    for (size_t i = 0; i < n_blossoms; i++) self->unused[i] = (uint32_t)(n + n_blossoms - 1 - i);
    return PF_OK;
}

void pf_blossoms_finish(struct pf_blossoms *self)
{
    pf_free(self->nodes);
    pf_free(self->outermost);
    pf_free(self->after);
    pf_free(self->unused);
}

static struct pf_node *node_of(struct pf_blossoms *self, uint32_t vertex)
{
    return &self->nodes[self->outermost[vertex]];
}

void pf_blossoms_match(struct pf_blossoms *self, uint32_t vertex, uint32_t other)
{
    struct pf_node *node = node_of(self, vertex), *mate = node_of(self, other);
    node->base = mate->mate = vertex;
    node->mate = mate->base = other;
}

void pf_blossoms_link(struct pf_blossoms *self, uint32_t vertex, uint32_t next)
{
    struct pf_node *node = node_of(self, vertex), *follower = node_of(self, next);
    node->next = self->outermost[next];
    node->toward_next = vertex;
    follower->previous = self->outermost[vertex];
    follower->toward_previous = next;
}

static void set_outermost(struct pf_blossoms *self, uint32_t node, uint32_t outermost)
{
    for (uint32_t v = self->nodes[node].head; v != pf_blossoms_end(self, node); v = self->after[v])
        self->outermost[v] = outermost;
}

/* Strings the vertices of the cycle behind each other.  Those of each node stay side by side, so
 * that head and tail hold for the nodes inside, too, and still do when the blossom is opened. */
static uint32_t join_vertices(struct pf_blossoms *self, uint32_t first)
{
    uint32_t tail = self->nodes[first].tail;
    for (uint32_t c = self->nodes[first].next; c != first; c = self->nodes[c].next) {
        self->after[tail] = self->nodes[c].head;
        tail = self->nodes[c].tail;
    }
    self->after[tail] = PF_UNMATCHED;
    return tail;
}

uint32_t pf_blossoms_close(struct pf_blossoms *self, uint32_t first)
{
    assert(self->n_unused > 0);
    uint32_t blossom = self->unused[--self->n_unused];
    const struct pf_node *base = &self->nodes[first];
    self->nodes[blossom] = (struct pf_node){.base = base->base,
                                            .mate = base->mate,
                                            .head = base->head,
                                            .tail = join_vertices(self, first),
                                            .child = first};
    set_outermost(self, blossom, blossom);
    return blossom;
}

void pf_blossoms_open(struct pf_blossoms *self, uint32_t blossom)
{
    const struct pf_node opened = self->nodes[blossom];
    self->unused[self->n_unused++] = blossom;
    uint32_t child = opened.child;
    do {
        set_outermost(self, child, child);
        child = self->nodes[child].next;
    } while (child != opened.child);

    uint32_t holder = self->outermost[opened.base];
    self->nodes[holder].base = opened.base;
    self->nodes[holder].mate = opened.mate;
    uint32_t c = self->nodes[holder].next;
    while (c != holder) {
        uint32_t mate = self->nodes[c].next;
        pf_blossoms_match(self, self->nodes[c].toward_next, self->nodes[mate].toward_previous);
        c = self->nodes[mate].next;
    }
}
