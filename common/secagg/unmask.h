/* The end of a secure round at the coordinator: shares → seeds → masks → Σ x.
 *
 * A plain object that can be handed to a worker thread.  It knows the key list, the survivors, the
 * dropped, the shares that were given and the masked sum Σ y_i; pf_unmasking_run takes the masks
 * off.  Reconstructed seeds are checked against what their owners advertised, so a wrong share
 * cannot turn the sum into noise unnoticed. */
#ifndef PF_COMMON_SECAGG_UNMASK_H
#define PF_COMMON_SECAGG_UNMASK_H

#include "common/base/progress.h"
#include "common/secagg/protocol.h"

/* One participant whose secret has to come back. */
struct pf_unmask_target {
    struct pf_advert advert;
    bool dropped;             /* false: its self mask goes; true: its pairwise masks do */
    uint32_t n_neighbours;    /* survivors it shares a mask with; used when dropped */
    uint32_t *neighbours;     /* [n_neighbours]: indices into targets; owned */
    uint32_t n_shares;        /* at least the threshold */
    uint32_t *x;              /* [n_shares]; owned */
    struct pf_scalar *shares; /* [n_shares]; owned, wiped */
};

/* What wrong shares cost: nothing where nobody lies. */
struct pf_unmask_effort {
    uint32_t n_tried;    /* subsets of shares, beyond the first of each seed */
    uint32_t n_searches; /* for the wrong ones among some shares */
    uint32_t n_liars;    /* whose shares did not fit the others' */
    char liars[96];      /* … "3, 17", as many as fit */
};

struct pf_unmasking {
    struct pf_digest context, key_list;
    uint32_t threshold;
    uint32_t n_targets;
    struct pf_unmask_target *targets; /* [n_targets]; owned; survivors and dropped, by member */
    struct pf_ring *sum;              /* masked; owned */
    uint32_t n_survivors;
    struct pf_unmask_effort effort; /* after a run */
};

void pf_unmasking_destroy(struct pf_unmasking *self); /* wipes shares */
PF_DEFINE_CLEANUP(struct pf_unmasking, pf_unmasking_destroy)

/* self->sum ← Σ x_i over the survivors.  Up to half of a seed's spare shares (those above the
 * threshold) may be wrong; more are often found too.  PF_REFUSED, naming members by index, when a
 * seed cannot be had: the search for wrong shares has a limit for the whole round.  The sum is then
 * of no use, as after PF_INTERRUPTED.  pool NULL: this thread alone.  The progress, which may be
 * NULL, is told of each search. */
PF_NODISCARD enum pf_status pf_unmasking_run(struct pf_unmasking *self, struct pf_pool *pool,
                                             const struct pf_progress *progress,
                                             struct pf_error *err);

#endif
