/* Taking the masks off.  From step 2 of the protocol (Bonawitz et al. 2017, section 4),
 *   Σ y_i = Σ x_i + Σ PRG(b_i) + Σ over pairs of a survivor s and a dropped d of ±PRG(s_sd),
 * + where s < d by roster index, since s alone has added it; pairs of two survivors cancel.
 *
 * First every seed is rebuilt and checked (unmask_seeds.c), then the keys of the masks are derived
 * and used in batches, so that no more than TERMS_PER_BATCH of them are ever in memory. */
#include "common/secagg/unmask.h"

#include <sodium.h>

#include "common/base/memory.h"
#include "common/secagg/unmask_seeds.h"

#define TERMS_PER_BATCH 4096u
#define TERMS_PER_SHARD 64u
/* Of masks between two looks at whether to stop: tenths of a second. */
#define BYTES_PER_BATCH (UINT64_C(1) << 30)
struct run {
    const struct pf_unmasking *unmasking;
    struct pf_scalar *seeds;    /* [n_targets] */
    size_t *first_term;         /* [n_targets + 1] */
    struct pf_mask_term *terms; /* [TERMS_PER_BATCH]: batch_begin … batch_end − 1 */
    size_t batch_begin, batch_end;
};

static size_t n_targets(const struct run *self)
{
    return self->unmasking->n_targets;
}

static void run_finish(struct run *self)
{
    if (self->seeds != NULL) sodium_memzero(self->seeds, n_targets(self) * sizeof *self->seeds);
    if (self->terms != NULL) sodium_memzero(self->terms, TERMS_PER_BATCH * sizeof *self->terms);
    pf_free(self->seeds);
    pf_free(self->first_term);
    pf_free(self->terms);
}

/* ---- masks ----------------------------------------------------------------------------------- */

static void count_terms(struct run *run)
{
    for (size_t i = 0; i < n_targets(run); i++) {
        const struct pf_unmask_target *target = &run->unmasking->targets[i];
        run->first_term[i + 1] = run->first_term[i] + (target->dropped ? target->n_neighbours : 1);
    }
}

/* The target that a term belongs to. */
static size_t target_of_term(const struct run *run, size_t term)
{
    size_t low = 0, high = n_targets(run); /* first_term[low] ≤ term < first_term[high] */
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (run->first_term[middle] <= term)
            low = middle;
        else
            high = middle;
    }
    return low;
}

/* What takes off the mask between the dropped target and one survivor; sign 0 if there is no key.
 */
static void pair_term(const struct pf_unmasking *unmasking, const struct pf_unmask_target *dropped,
                      const uint8_t secret[32], uint32_t neighbour, struct pf_mask_term *term)
{
    const struct pf_advert *survivor = &unmasking->targets[dropped->neighbours[neighbour]].advert;
    enum pf_status status = pf_pair_mask_key(
        dropped->advert.member, survivor->member, secret, dropped->advert.mask_key,
        survivor->mask_key, &unmasking->context, &unmasking->key_list, term->key, NULL);
    if (status != PF_OK)
        term->sign = 0;
    else
        term->sign = survivor->member < dropped->advert.member ? -1 : 1;
}

static void derive_terms_shard(void *context, size_t shard)
{
    struct run *run = context;
    size_t begin = run->batch_begin + shard * TERMS_PER_SHARD;
    size_t end = PF_MIN(begin + TERMS_PER_SHARD, run->batch_end);
    for (size_t term = begin; term < end;) {
        size_t owner = target_of_term(run, term);
        size_t owner_end = PF_MIN(run->first_term[owner + 1], end);
        const struct pf_unmask_target *target = &run->unmasking->targets[owner];
        uint8_t secret[32];
        pf_mask_secret(&run->seeds[owner], secret);
        for (; term < owner_end; term++) {
            struct pf_mask_term *out = &run->terms[term - run->batch_begin];
            if (target->dropped) {
                pair_term(run->unmasking, target, secret, (uint32_t)(term - run->first_term[owner]),
                          out);
            } else {
                pf_self_mask_key(&run->seeds[owner], &run->unmasking->context, out->key);
                out->sign = -1;
            }
        }
        sodium_memzero(secret, sizeof secret);
    }
}

static size_t batch_length(const struct pf_ring *sum)
{
    size_t bytes = pf_ring_packed_size(pf_ring_length(sum), pf_ring_bits(sum));
    return PF_MIN(PF_MAX(BYTES_PER_BATCH / PF_MAX(bytes, 1), TERMS_PER_SHARD), TERMS_PER_BATCH);
}

static enum pf_status remove_masks(struct run *run, struct pf_pool *pool,
                                   const struct pf_progress *progress, struct pf_error *err)
{
    size_t total = run->first_term[n_targets(run)], length = batch_length(run->unmasking->sum);
    for (run->batch_begin = 0; run->batch_begin < total; run->batch_begin = run->batch_end) {
        if (pf_progress_stopped(progress))
            return pf_fail(err, PF_INTERRUPTED, "stopped while masks were taken off");
        run->batch_end = PF_MIN(run->batch_begin + length, total);
        size_t n = run->batch_end - run->batch_begin;
        pf_unmasking_shards(pool, (n + TERMS_PER_SHARD - 1) / TERMS_PER_SHARD, derive_terms_shard,
                            run);
        for (size_t i = 0; i < n; i++)
            if (run->terms[i].sign == 0)
                return pf_fail(err, PF_REFUSED,
                               "member %u dropped and one of its neighbours has no mask key",
                               run->unmasking->targets[target_of_term(run, run->batch_begin + i)]
                                   .advert.member);
        pf_ring_add_masks(run->unmasking->sum, run->terms, n, pool);
    }
    return PF_OK;
}

static enum pf_status run_init(struct run *run, const struct pf_unmasking *unmasking,
                               struct pf_error *err)
{
    size_t n = unmasking->n_targets;
    *run = (struct run){.unmasking = unmasking};
    run->seeds = PF_ALLOC(n, struct pf_scalar);
    run->first_term = PF_ALLOC(n + 1, size_t);
    run->terms = PF_ALLOC(TERMS_PER_BATCH, struct pf_mask_term);
    bool complete = run->seeds != NULL && run->first_term != NULL && run->terms != NULL;
    return complete ? PF_OK : pf_no_memory(err, "unmasking");
}

enum pf_status pf_unmasking_run(struct pf_unmasking *self, struct pf_pool *pool,
                                const struct pf_progress *progress, struct pf_error *err)
{
    PF_CLEANUP(run_finish) struct run run;
    PF_TRY(run_init(&run, self, err));
    PF_TRY(pf_unmasking_find_seeds(self, pool, progress, run.seeds, err));
    count_terms(&run);
    return remove_masks(&run, pool, progress, err);
}

void pf_unmasking_destroy(struct pf_unmasking *self)
{
    if (self == NULL) return;
    for (uint32_t i = 0; self->targets != NULL && i < self->n_targets; i++) {
        struct pf_unmask_target *target = &self->targets[i];
        if (target->shares != NULL)
            sodium_memzero(target->shares, target->n_shares * sizeof *target->shares);
        pf_free(target->neighbours);
        pf_free(target->x);
        pf_free(target->shares);
    }
    pf_free(self->targets);
    pf_ring_destroy(self->sum);
    pf_free(self);
}
