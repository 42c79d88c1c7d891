/* Maximum-weight matching in a general graph: Edmonds' blossoms with prices [1], [2].
 *
 * A matching is heaviest when prices prove it (matching_prices.h).  Three things hold throughout:
 *
 *   1. No price is below 0, and no slack, which of vertices i and j is price[i] + price[j] − 2
 *      weight[i][j], plus 2 for every 1 that the blossoms cost that hold both.
 *   2. Matched pairs and the edges of blossoms' cycles are tight: of slack 0.
 *   3. A blossom is full: of its vertices all but one are in pairs within it.
 *
 * What remains to be had is that no vertex that is alone has a price.  At first all are alone, and
 * each costs its largest weight.  One after the other, unless matched meanwhile, becomes the root
 * of an alternating tree: root ── inner ══ outer ── inner ══ outer … with edges that are tight and
 * by turns unmatched and matched.  The root and what is reached by a matched edge is outer.  Along
 * the path from the root to an outer node matched and unmatched can be swapped, which leaves a
 * vertex of that node alone instead of the root.
 *
 * A clock runs, and with every tick outer vertices get cheaper by 1, inner ones dearer by 1, outer
 * blossoms dearer by 1 and inner ones cheaper by 1.  This leaves the tree tight and the slack in
 * blossoms as it is, until one of four things happens:
 *
 *   POOR     An outer vertex costs nothing.  It may be left alone: swap up to it; done.
 *   REACHED  An edge from an outer vertex to a node outside the tree gets tight.  If that is alone,
 *            match the two and swap up to the outer one; done.  Else it is inner from now on, and
 *            its mate outer.
 *   MET      An edge between two outer nodes gets tight.  With the paths from their common ancestor
 *            it is an odd cycle: an outer blossom, at a price of 0.
 *   FREE     An inner blossom costs nothing, and must not get cheaper.  It is opened.  On its cycle
 *            two ways lead from where the tree came in to the base; the nodes on the even one are
 *            inner and outer by turns, those on the other are matched with each other and leave the
 *            tree.
 *
 * Whole numbers.  A tight edge between nodes says price[i] + price[j] = 2 weight: both prices are
 * odd or both even.  Such edges join the nodes of a tree, and once joined the vertices of a
 * blossom, whose prices change alike ever after.  So the prices of a tree are all odd or all even,
 * the slack between two of its outer nodes is even, and as it falls by 2 per tick it is 0 at a
 * tick.
 *
 * Ranges.  Let W = PF_MAX_MATCHING_WEIGHT.  A matched pair is tight, and no term of its slack but
 * the weight is below 0: a matched vertex costs at most 2 W, and a blossom, which holds a pair, at
 * most W.  A vertex alone from the beginning costs at most W, one that was left alone nothing.
 * Roots are of the former kind and outer as long as their tree stands, so no clock passes W.
 *
 * Pairs without an edge count as edges of weight 0.  These are tight only between vertices that
 * cost nothing, of which one is outer, and POOR, which comes first, ends the search: nobody is
 * matched along them.
 *
 * Time.  At most n trees, each O(n²) (alternating_tree.c): O(n³).
 *
 * Departure: [2] grows trees from all lone vertices at once, which then share one price.  One tree
 * at a time has no edges between trees, and ends after few steps while many vertices are alone.
 *
 * [1] Edmonds, Maximum matching and a polyhedron with 0,1-vertices, J. Res. NBS 69B, 1965.
 * [2] Galil, Efficient algorithms for finding maximum matching in graphs, ACM Computing Surveys
 *     18(1), 1986. */
#include "common/combine/matching.h"

#include <assert.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/combine/alternating_tree.h"
#include "common/combine/matching_prices.h"

/* Gives the outer node of `vertex` another mate, or none, and swaps the path from there up to the
 * root. */
static void swap_up(struct pf_tree *tree, uint32_t vertex, uint32_t mate)
{
    for (;;) {
        struct pf_node *outer = &tree->blossoms.nodes[pf_tree_outermost(tree, vertex)];
        uint32_t left = outer->mate;
        outer->base = vertex;
        outer->mate = mate;
        if (left == PF_UNMATCHED) return;
        uint32_t inner = pf_tree_outermost(tree, left);
        vertex = tree->branches[inner].from;
        mate = tree->branches[inner].to;
        tree->blossoms.nodes[inner].base = mate;
        tree->blossoms.nodes[inner].mate = vertex;
    }
}

/* True when the vertex was alone, and the search is over. */
static bool reach(struct pf_tree *tree, uint32_t vertex)
{
    uint32_t from = pf_tree_reached_from(tree, vertex);
    struct pf_node *node = &tree->blossoms.nodes[pf_tree_outermost(tree, vertex)];
    if (node->mate != PF_UNMATCHED) {
        pf_tree_grow(tree, from, vertex);
        return false;
    }
    node->base = vertex;
    node->mate = from;
    swap_up(tree, from, vertex);
    return true;
}

/* True when the search is over. */
static bool happen(struct pf_tree *tree, const struct pf_tree_event *event)
{
    switch (event->kind) {
    case PF_TREE_POOR: swap_up(tree, event->who, PF_UNMATCHED); return true;
    case PF_TREE_REACHED: return reach(tree, event->who);
    case PF_TREE_MET: pf_tree_fold(tree, event->who); return false;
    case PF_TREE_FREE: pf_tree_unfold(tree, event->who); return false;
    }
    return true;
}

/* A vertex that is alone at a price gets a mate, or another one is left alone at none. */
static void search_from(struct pf_tree *tree, uint32_t root)
{
    bool over = false;
    pf_tree_plant(tree, root);
    while (!over) {
        struct pf_tree_event event = pf_tree_next(tree);
        tree->clock = event.when;
        over = happen(tree, &event);
    }
    pf_tree_fell(tree);
}

/* A blossom that is alone was left so, at a base that costs nothing; roots are vertices. */
static void search(struct pf_tree *tree)
{
    for (uint32_t v = 0; v < tree->n; v++) {
        const struct pf_node *node = &tree->blossoms.nodes[pf_tree_outermost(tree, v)];
        if (node->mate == PF_UNMATCHED && tree->price[node->base] > 0) search_from(tree, v);
    }
}

/* Opens all blossoms, from the outermost to the innermost. */
static void match_inside(struct pf_blossoms *self)
{
    for (uint32_t v = 0; v < self->n; v++)
        while (self->outermost[v] >= self->n) pf_blossoms_open(self, self->outermost[v]);
}

/* ---- proof -------------------------------------------------------------------------------- */

void pf_matching_prices_finish(struct pf_matching_prices *self)
{
    pf_free(self->price);
    pf_free(self->order);
    pf_free(self->sets);
}

/* The vertices of an outermost node one after another; place[v] ← where in the order v is. */
static void put_in_order(const struct pf_blossoms *blossoms, uint32_t *order, uint32_t *place)
{
    uint32_t n = 0;
    for (uint32_t v = 0; v < blossoms->n; v++) {
        uint32_t node = blossoms->outermost[v];
        if (blossoms->nodes[node].head != v) continue;
        for (uint32_t w = v; w != pf_blossoms_end(blossoms, node); w = blossoms->after[w]) {
            place[w] = n;
            order[n++] = w;
        }
    }
}

static enum pf_status give_prices(const struct pf_tree *tree, struct pf_matching_prices *prices,
                                  struct pf_error *err)
{
    const struct pf_blossoms *blossoms = &tree->blossoms;
    size_t n = tree->n;
    PF_CLEANUP(pf_freep) uint32_t *place = PF_ALLOC(n, uint32_t);
    PF_CLEANUP(pf_freep) bool *unused = PF_ALLOC(n + n / 2, bool);
    prices->price = PF_ALLOC(n, int64_t);
    prices->order = PF_ALLOC(n, uint32_t);
    prices->sets = PF_ALLOC(n / 2, struct pf_odd_set);
    if (place == NULL || unused == NULL || prices->price == NULL || prices->order == NULL ||
        prices->sets == NULL)
        return pf_no_memory(err, "prices of a matching");
    if (n > 0) memcpy(prices->price, tree->price, n * sizeof *prices->price);
    put_in_order(blossoms, prices->order, place);
    for (size_t i = 0; i < blossoms->n_unused; i++) unused[blossoms->unused[i]] = true;
    for (size_t b = n; b < n + n / 2; b++) {
        if (unused[b]) continue;
        const struct pf_node *node = &blossoms->nodes[b];
        prices->sets[prices->n_sets++] =
            (struct pf_odd_set){place[node->head], place[node->tail] + 1, tree->branches[b].price};
    }
    prices->n_closed = tree->n_closed;
    return PF_OK;
}

enum pf_status pf_match_pairs_with_prices(const int64_t *weight, size_t n, uint32_t *partner,
                                          struct pf_matching_prices *prices, struct pf_error *err)
{
    PF_CLEANUP(pf_tree_finish) struct pf_tree tree = {0};
    assert(n <= PF_MAX_MATCHING_VERTICES);
    PF_TRY(pf_tree_init(&tree, weight, n, err));
    search(&tree);
    if (prices != NULL) PF_TRY(give_prices(&tree, prices, err));
    match_inside(&tree.blossoms);
    for (size_t v = 0; v < n; v++) partner[v] = tree.blossoms.nodes[v].mate;
    return PF_OK;
}

enum pf_status pf_match_pairs(const int64_t *weight, size_t n, uint32_t *partner,
                              struct pf_error *err)
{
    return pf_match_pairs_with_prices(weight, n, partner, NULL, err);
}
