/* The alternating tree: who is outer, who is inner, and what happens next.
 *
 * Prices change with every tick, but those of a side alike.  What is kept of a vertex's price is
 * the price plus side · clock, of a blossom's the price less side · clock.  That rests while the
 * owner stays on its side, and tells at which clock the price or a slack is 0:
 *
 *   POOR     price[v] of an outer v.
 *   REACHED  reached[v] + price[v] of v outside, where reached[v] is the least of
 *            price[u] − 2 weight[u][v] over all outer u.
 *   MET      half of reach[v] + price[v], of an outer node's row reach and an outer v of another
 *            node, where reach[v] is the least over the u of the node alone.
 *   FREE     the price of an inner blossom.
 *
 * reached and reach are kept for every v, whatever its side, as sides change.
 *
 * Time.  To look for an event costs O(n), and there are O(n): a tree gains nodes, closes blossoms
 * and opens those that it found, which are fewer than n/2.  A vertex becomes outer once and looks
 * around in O(n); a node's row is merged into a blossom's once, in O(n); to move the vertices of
 * a node from side to side costs O(n).  That is O(n²) for a tree.
 *
 * Ranges.  Let W = PF_MAX_MATCHING_WEIGHT.  Prices of vertices are 0 … 2 W, blossoms' 0 … W and the
 * clock 0 … W (matching.c).  What is kept of a price is within ±3 W, distances from −2 W to 3 W,
 * the sum of a distance and a price within ±6 W < 2^47. */
#include "common/combine/alternating_tree.h"

#include <assert.h>

#include "common/base/memory.h"
#include "common/combine/matching.h"

/* Later than any clock; 2^63 is far, even when it is doubled or prices are added. */
#define NEVER ((int64_t)1 << 60)

static int64_t largest_weight(const struct pf_tree *self, size_t v)
{
    int64_t largest = 0;
    for (size_t j = 0; j < self->n; j++)
        if (j != v) largest = PF_MAX(largest, self->weight[v * self->n + j]);
    return largest;
}

enum pf_status pf_tree_init(struct pf_tree *self, const int64_t *weight, size_t n,
                            struct pf_error *err)
{
    self->weight = weight;
    self->n = n;
    PF_TRY(pf_blossoms_init(&self->blossoms, n, err));
    self->branches = PF_ALLOC(n + n / 2, struct pf_branch);
    self->side = PF_ALLOC(n, int8_t);
    self->price = PF_ALLOC(n, int64_t);
    self->reach = PF_ALLOC(n * n, int64_t);
    self->reached = PF_ALLOC(n, int64_t);
    self->met = PF_ALLOC(n, int64_t);
    if (self->branches == NULL || self->side == NULL || self->price == NULL ||
        self->reach == NULL || self->reached == NULL || self->met == NULL)
        return pf_no_memory(err, "matching");
    for (size_t v = 0; v < n; v++) self->price[v] = largest_weight(self, v);
    return PF_OK;
}

void pf_tree_finish(struct pf_tree *self)
{
    pf_blossoms_finish(&self->blossoms);
    pf_free(self->branches);
    pf_free(self->side);
    pf_free(self->price);
    pf_free(self->reach);
    pf_free(self->reached);
    pf_free(self->met);
}

/* ---- sides -------------------------------------------------------------------------------- */

static void set_side(struct pf_tree *self, uint32_t node, enum pf_side side)
{
    struct pf_branch *branch = &self->branches[node];
    branch->price -= (side - branch->side) * self->clock;
    branch->side = side;
    uint32_t end = pf_blossoms_end(&self->blossoms, node);
    for (uint32_t v = self->blossoms.nodes[node].head; v != end; v = self->blossoms.after[v]) {
        self->price[v] += (side - self->side[v]) * self->clock;
        self->side[v] = (int8_t)side;
    }
}

/* Stops the price of a node that goes into a blossom; those of its vertices move on with that. */
static void rest(struct pf_tree *self, uint32_t node)
{
    struct pf_branch *branch = &self->branches[node];
    branch->price += branch->side * self->clock;
    branch->side = PF_OUTSIDE;
}

/* reach[i] ← min(reach[i], price − 2 weight[i]), and the same of reached. */
static void look(int64_t *reach, int64_t *reached, const int64_t *weight, size_t n, int64_t price)
{
    for (size_t i = 0; i < n; i++) {
        int64_t distance = price - 2 * weight[i];
        reach[i] = PF_MIN(reach[i], distance);
        reached[i] = PF_MIN(reached[i], distance);
    }
}

/* The vertices of an outer node look around; what they see goes to the row of `head`. */
static void look_around(struct pf_tree *self, uint32_t node, uint32_t head)
{
    int64_t *reach = self->reach + head * self->n, *reached = self->reached;
    uint32_t end = pf_blossoms_end(&self->blossoms, node);
    for (uint32_t v = self->blossoms.nodes[node].head; v != end; v = self->blossoms.after[v]) {
        const int64_t *weight = self->weight + v * self->n;
        size_t behind = (size_t)v + 1; /* the diagonal is not read */
        look(reach, reached, weight, v, self->price[v]);
        look(reach + behind, reached + behind, weight + behind, self->n - behind, self->price[v]);
        if (self->price[v] < self->price[self->poorest]) self->poorest = v;
    }
}

/* When the node meets one of those that are outer by now.  One that gets outer later looks back. */
static void set_met(struct pf_tree *self, uint32_t node)
{
    uint32_t head = self->blossoms.nodes[node].head;
    const int64_t *reach = self->reach + head * self->n;
    int64_t twice = 2 * NEVER;
    for (uint32_t v = 0; v < self->n; v++)
        if (self->side[v] == PF_OUTER && pf_tree_outermost(self, v) != node)
            twice = PF_MIN(twice, reach[v] + self->price[v]);
    self->met[head] = twice / 2;
}

static void make_outer(struct pf_tree *self, uint32_t node)
{
    uint32_t head = self->blossoms.nodes[node].head;
    int64_t *reach = self->reach + head * self->n;
    for (size_t v = 0; v < self->n; v++) reach[v] = NEVER;
    set_side(self, node, PF_OUTER);
    look_around(self, node, head);
    set_met(self, node);
}

void pf_tree_plant(struct pf_tree *self, uint32_t root)
{
    self->clock = 0;
    self->poorest = root;
    for (size_t v = 0; v < self->n; v++) self->reached[v] = self->met[v] = NEVER;
    make_outer(self, pf_tree_outermost(self, root));
}

void pf_tree_grow(struct pf_tree *self, uint32_t from, uint32_t to)
{
    uint32_t inner = pf_tree_outermost(self, to);
    self->branches[inner].from = from;
    self->branches[inner].to = to;
    set_side(self, inner, PF_INNER);
    make_outer(self, pf_tree_outermost(self, self->blossoms.nodes[inner].mate));
}

void pf_tree_fell(struct pf_tree *self)
{
    for (uint32_t v = 0; v < self->n; v++)
        if (self->side[v] != PF_OUTSIDE) set_side(self, pf_tree_outermost(self, v), PF_OUTSIDE);
}

/* ---- events ------------------------------------------------------------------------------- */

static void sooner(struct pf_tree_event *next, int64_t when, enum pf_tree_event_kind kind,
                   uint32_t who)
{
    if (when < next->when) *next = (struct pf_tree_event){when, kind, who};
}

struct pf_tree_event pf_tree_next(const struct pf_tree *self)
{
    struct pf_tree_event next = {self->price[self->poorest], PF_TREE_POOR, self->poorest};
    for (uint32_t v = 0; v < self->n; v++) {
        if (self->side[v] == PF_OUTSIDE)
            sooner(&next, self->reached[v] + self->price[v], PF_TREE_REACHED, v);
        else
            sooner(&next, self->met[v], PF_TREE_MET, v);
    }
    for (uint32_t b = (uint32_t)self->n; b < self->n + self->n / 2; b++)
        if (self->branches[b].side == PF_INNER)
            sooner(&next, self->branches[b].price, PF_TREE_FREE, b);
    /* Nothing is overdue, or a slack would be below 0. */
    assert(next.when >= self->clock);
    return next;
}

uint32_t pf_tree_reached_from(const struct pf_tree *self, uint32_t vertex)
{
    const int64_t *weight = self->weight + vertex * self->n;
    uint32_t u = 0;
    while (self->side[u] != PF_OUTER || self->price[u] - 2 * weight[u] != self->reached[vertex])
        u++;
    return u;
}

/* The edge by which the node of `head` meets another: from a vertex of its own to one of the
 * other's. */
static void find_meeting(const struct pf_tree *self, uint32_t head, uint32_t *own, uint32_t *other)
{
    const struct pf_blossoms *blossoms = &self->blossoms;
    const int64_t *reach = self->reach + head * self->n;
    uint32_t node = pf_tree_outermost(self, head), v = 0, u = head;
    while (self->side[v] != PF_OUTER || pf_tree_outermost(self, v) == node ||
           reach[v] + self->price[v] != 2 * self->met[head])
        v++;
    while (self->price[u] - 2 * self->weight[v * self->n + u] != reach[v]) u = blossoms->after[u];
    *own = u;
    *other = v;
}

/* ---- blossoms ----------------------------------------------------------------------------- */

/* The outer node above an outer one, or PF_UNMATCHED above the root. */
static uint32_t outer_above(const struct pf_tree *self, uint32_t node)
{
    uint32_t mate = self->blossoms.nodes[node].mate;
    if (mate == PF_UNMATCHED) return PF_UNMATCHED;
    return pf_tree_outermost(self, self->branches[pf_tree_outermost(self, mate)].from);
}

/* An inner node has one node below, its mate, so that paths to the root join at outer ones. */
static uint32_t common_ancestor(struct pf_tree *self, uint32_t node, uint32_t other)
{
    for (uint32_t c = node; c != PF_UNMATCHED; c = outer_above(self, c))
        self->branches[c].marked = true;
    while (!self->branches[other].marked) other = outer_above(self, other);
    for (uint32_t c = node; c != PF_UNMATCHED; c = outer_above(self, c))
        self->branches[c].marked = false;
    return other;
}

/* Links the path from an outer node up to its ancestor: away from it when `down`, else towards. */
static void link_path(struct pf_tree *self, uint32_t node, uint32_t ancestor, bool down)
{
    struct pf_blossoms *blossoms = &self->blossoms;
    while (node != ancestor) {
        uint32_t base = blossoms->nodes[node].base, mate = blossoms->nodes[node].mate;
        const struct pf_branch *inner = &self->branches[pf_tree_outermost(self, mate)];
        if (down) {
            pf_blossoms_link(blossoms, inner->from, inner->to);
            pf_blossoms_link(blossoms, mate, base);
        } else {
            pf_blossoms_link(blossoms, base, mate);
            pf_blossoms_link(blossoms, inner->to, inner->from);
        }
        node = pf_tree_outermost(self, inner->from);
    }
}

/* Takes what a node of the cycle reaches into the row of `head`. */
static void absorb(struct pf_tree *self, uint32_t node, uint32_t head)
{
    if (self->branches[node].side == PF_INNER) {
        set_side(self, node, PF_OUTER);
        look_around(self, node, head);
    } else {
        uint32_t own = self->blossoms.nodes[node].head;
        int64_t *reach = self->reach + head * self->n;
        const int64_t *absorbed = self->reach + own * self->n;
        for (size_t v = 0; v < self->n; v++) reach[v] = PF_MIN(reach[v], absorbed[v]);
        self->met[own] = NEVER;
    }
    rest(self, node);
}

void pf_tree_fold(struct pf_tree *self, uint32_t head)
{
    struct pf_blossoms *blossoms = &self->blossoms;
    uint32_t own, other;
    find_meeting(self, head, &own, &other);
    uint32_t node = pf_tree_outermost(self, own), met = pf_tree_outermost(self, other);
    uint32_t ancestor = common_ancestor(self, node, met);
    link_path(self, node, ancestor, true);
    pf_blossoms_link(blossoms, own, other);
    link_path(self, met, ancestor, false);

    uint32_t row = blossoms->nodes[ancestor].head; /* the blossom's head, too */
    rest(self, ancestor);
    for (uint32_t c = blossoms->nodes[ancestor].next; c != ancestor; c = blossoms->nodes[c].next)
        absorb(self, c, row);
    uint32_t blossom = pf_blossoms_close(blossoms, ancestor);
    self->branches[blossom] = (struct pf_branch){.side = PF_OUTSIDE};
    set_side(self, blossom, PF_OUTER);
    set_met(self, blossom);
    self->n_closed++;
}

void pf_tree_unfold(struct pf_tree *self, uint32_t blossom)
{
    struct pf_blossoms *blossoms = &self->blossoms;
    struct pf_node *nodes = blossoms->nodes;
    uint32_t from = self->branches[blossom].from, to = self->branches[blossom].to;
    uint32_t base = nodes[blossom].base;
    set_side(self, blossom, PF_OUTSIDE);
    pf_blossoms_open(blossoms, blossom);

    /* From where the tree came in along the matched edge, and so on the even way, to the base. */
    uint32_t node = pf_tree_outermost(self, to), last = pf_tree_outermost(self, base);
    bool onward = pf_tree_outermost(self, nodes[node].mate) == nodes[node].next;
    while (node != last) {
        pf_tree_grow(self, from, to);
        uint32_t outer = onward ? nodes[node].next : nodes[node].previous;
        node = onward ? nodes[outer].next : nodes[outer].previous;
        from = onward ? nodes[outer].toward_next : nodes[outer].toward_previous;
        to = onward ? nodes[node].toward_previous : nodes[node].toward_next;
    }
    self->branches[last].from = from;
    self->branches[last].to = to;
    set_side(self, last, PF_INNER);
}
