/* Taking the masks off.  From step 2 of the protocol (Bonawitz et al. 2017, section 4),
 *   Σ y_i = Σ x_i + Σ PRG(b_i) + Σ over pairs of a survivor s and a dropped d of ±PRG(s_sd),
 * + where s < d by roster index, since s alone has added it; pairs of two survivors cancel.
 *
 * First every seed is rebuilt and checked, then the keys of the masks are derived and used in
 * batches, so that no more than TERMS_PER_BATCH of them are ever in memory. */
#include "common/secagg/unmask.h"

#include <assert.h>
#include <sodium.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/base/random.h"

#define TARGETS_PER_SHARD 32u
#define TERMS_PER_BATCH 4096u
#define TERMS_PER_SHARD 64u
/* Subsets of the shares that are tried for one seed.  One wrong share in n is found by n − t
 * exchanges per share at most; several are found by chance, if they are few. */
#define MAX_SUBSETS 1024u

struct run {
    const struct pf_unmasking *unmasking;
    struct pf_scalar *seeds;    /* [n_targets] */
    enum pf_status *status;     /* [n_targets] of the seeds */
    atomic_bool lost;           /* a seed that cannot be had */
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
    pf_free(self->status);
    pf_free(self->first_term);
    pf_free(self->terms);
}

static void run_shards(struct pf_pool *pool, size_t n_shards, pf_shard_function *function,
                       void *context)
{
    if (pool != NULL)
        pf_pool_run(pool, n_shards, function, context);
    else
        for (size_t shard = 0; shard < n_shards; shard++) function(context, shard);
}

/* ---- seeds ----------------------------------------------------------------------------------- */

/* Looks for shares that give a seed.  In a complete graph everybody's shares lie at the same xs, so
 * the subset that served last is tried first, with its coefficients; whoever gave a wrong share of
 * one secret is then left out for the others too. */
struct finder {
    uint32_t threshold;
    struct pf_lagrange *lagrange; /* of the last subset tried */
    bool have_good;
    uint32_t *good_x;         /* [threshold]: the subset that served last */
    uint32_t *x;              /* [threshold]: the subset that is tried */
    uint32_t *pick;           /* [threshold]: its positions among the target's shares */
    uint32_t *order;          /* [PF_MAX_SHARES] */
    struct pf_scalar *shares; /* [threshold] */
};

static void finder_finish(struct finder *self)
{
    if (self->shares != NULL) sodium_memzero(self->shares, self->threshold * sizeof *self->shares);
    pf_lagrange_destroy(self->lagrange);
    pf_free(self->good_x);
    pf_free(self->x);
    pf_free(self->pick);
    pf_free(self->order);
    pf_free(self->shares);
}

static enum pf_status finder_init(struct finder *self, uint32_t threshold)
{
    *self = (struct finder){.threshold = threshold};
    self->good_x = PF_ALLOC(threshold, uint32_t);
    self->x = PF_ALLOC(threshold, uint32_t);
    self->pick = PF_ALLOC(threshold, uint32_t);
    self->order = PF_ALLOC(PF_MAX_SHARES, uint32_t);
    self->shares = PF_ALLOC(threshold, struct pf_scalar);
    bool complete = self->good_x != NULL && self->x != NULL && self->pick != NULL &&
                    self->order != NULL && self->shares != NULL;
    return complete ? PF_OK : PF_NO_MEMORY;
}

/* Whether the seed is the one its owner advertised. */
static bool seed_is_advertised(const struct pf_unmasking *unmasking,
                               const struct pf_unmask_target *target, const struct pf_scalar *seed)
{
    if (!target->dropped) {
        struct pf_digest digest = pf_commit_self(&unmasking->context, target->advert.member, seed);
        return pf_digest_equal(&digest, &target->advert.self_commitment);
    }
    uint8_t secret[32], public[32];
    pf_mask_secret(seed, secret);
    bool same = crypto_scalarmult_curve25519_base(public, secret) == 0 &&
                memcmp(public, target->advert.mask_key, sizeof public) == 0;
    sodium_memzero(secret, sizeof secret);
    return same;
}

/* Tries the shares at self->pick.  PF_REFUSED: the seed is not the advertised one. */
static enum pf_status try_subset(struct finder *self, const struct pf_unmasking *unmasking,
                                 const struct pf_unmask_target *target, struct pf_scalar *seed)
{
    for (uint32_t i = 0; i < self->threshold; i++) {
        self->x[i] = target->x[self->pick[i]];
        self->shares[i] = target->shares[self->pick[i]];
    }
    if (self->lagrange == NULL || !pf_lagrange_fits(self->lagrange, self->x, self->threshold)) {
        pf_lagrange_destroy(self->lagrange);
        self->lagrange = NULL;
        PF_TRY(pf_lagrange_create(self->x, self->threshold, &self->lagrange, NULL));
    }
    pf_lagrange_combine(self->lagrange, self->shares, seed);
    if (!seed_is_advertised(unmasking, target, seed)) {
        pf_scalar_wipe(seed);
        return PF_REFUSED;
    }
    memcpy(self->good_x, self->x, self->threshold * sizeof *self->good_x);
    self->have_good = true;
    return PF_OK;
}

/* self->pick ← where the target has the subset that served last; false if it has not all of it. */
static bool pick_good(struct finder *self, const struct pf_unmask_target *target)
{
    if (!self->have_good) return false;
    uint32_t at = 0; /* targets mostly list the same xs in the same order */
    for (uint32_t i = 0; i < self->threshold; i++) {
        uint32_t looked = 0;
        while (looked < target->n_shares && target->x[at] != self->good_x[i]) {
            at = (at + 1) % target->n_shares;
            looked++;
        }
        if (looked == target->n_shares) return false;
        self->pick[i] = at;
        at = (at + 1) % target->n_shares;
    }
    return true;
}

static void pick_first(struct finder *self)
{
    for (uint32_t i = 0; i < self->threshold; i++) self->pick[i] = i;
}

/* Some share of the first `threshold` is wrong: exchange each for each spare one, then try subsets
 * at random, which finds two or three wrong ones. */
static enum pf_status search_subsets(struct finder *self, const struct pf_unmasking *unmasking,
                                     const struct pf_unmask_target *target, struct pf_scalar *seed)
{
    uint32_t tries = 0;
    for (uint32_t spare = self->threshold; spare < target->n_shares; spare++)
        for (uint32_t out = 0; out < self->threshold && tries < MAX_SUBSETS / 2; out++, tries++) {
            pick_first(self);
            self->pick[out] = spare;
            enum pf_status status = try_subset(self, unmasking, target, seed);
            if (status != PF_REFUSED) return status;
        }
    if (target->n_shares == self->threshold) return PF_REFUSED;
    struct pf_random random;
    pf_random_init(&random, target->advert.member, "packfed subsets of shares", 0);
    for (uint32_t i = 0; i < target->n_shares; i++) self->order[i] = i;
    for (; tries < MAX_SUBSETS; tries++) {
        pf_random_shuffle(&random, self->order, target->n_shares);
        memcpy(self->pick, self->order, self->threshold * sizeof *self->pick);
        enum pf_status status = try_subset(self, unmasking, target, seed);
        if (status != PF_REFUSED) return status;
    }
    return PF_REFUSED;
}

static enum pf_status find_seed(struct finder *self, const struct pf_unmasking *unmasking,
                                const struct pf_unmask_target *target, bool search,
                                struct pf_scalar *seed)
{
    assert(target->n_shares >= self->threshold && target->n_shares <= PF_MAX_SHARES);
    if (pick_good(self, target)) {
        enum pf_status status = try_subset(self, unmasking, target, seed);
        if (status != PF_REFUSED) return status;
    }
    pick_first(self);
    enum pf_status status = try_subset(self, unmasking, target, seed);
    return status == PF_REFUSED && search ? search_subsets(self, unmasking, target, seed) : status;
}

static void find_seeds_shard(void *context, size_t shard)
{
    struct run *run = context;
    size_t begin = shard * TARGETS_PER_SHARD;
    size_t end = PF_MIN(begin + TARGETS_PER_SHARD, n_targets(run));
    struct finder finder;
    enum pf_status ready = finder_init(&finder, run->unmasking->threshold);
    for (size_t i = begin; i < end; i++) {
        /* One lost seed loses the round: no long search for the others then. */
        bool search = !atomic_load(&run->lost);
        run->status[i] = ready;
        if (ready == PF_OK)
            run->status[i] = find_seed(&finder, run->unmasking, &run->unmasking->targets[i], search,
                                       &run->seeds[i]);
        if (run->status[i] == PF_REFUSED) atomic_store(&run->lost, true);
    }
    finder_finish(&finder);
}

/* Appends ", 17" (or "17" first) while there is room. */
static void list_member(char *list, size_t size, uint32_t member)
{
    size_t used = strlen(list);
    char word[16];
    int length = snprintf(word, sizeof word, "%s%u", used > 0 ? ", " : "", member);
    if (used + (size_t)length + sizeof " …" <= size)
        memcpy(list + used, word, (size_t)length + 1);
    else if (used < 4 || memcmp(list + used - 3, "…", 3) != 0)
        memcpy(list + used, " …", sizeof " …");
}

static enum pf_status refuse_seed(const struct run *run, size_t lost, struct pf_error *err)
{
    const struct pf_unmask_target *target = &run->unmasking->targets[lost];
    char givers[160] = "", owners[96] = "";
    for (uint32_t i = 0; i < target->n_shares; i++)
        list_member(givers, sizeof givers, target->x[i] - 1);
    for (size_t i = lost; i < n_targets(run); i++)
        if (run->status[i] == PF_REFUSED)
            list_member(owners, sizeof owners, run->unmasking->targets[i].advert.member);
    return pf_fail(err, PF_REFUSED,
                   "member %u: no %u of %u shares tried give the %s it advertised; wrong ones came "
                   "from it or from members %s (seeds lost of: %s)",
                   target->advert.member, run->unmasking->threshold, target->n_shares,
                   target->dropped ? "mask key" : "self mask", givers, owners);
}

static enum pf_status find_seeds(struct run *run, struct pf_pool *pool, struct pf_error *err)
{
    size_t n_shards = (n_targets(run) + TARGETS_PER_SHARD - 1) / TARGETS_PER_SHARD;
    run_shards(pool, n_shards, find_seeds_shard, run);
    for (size_t i = 0; i < n_targets(run); i++) {
        if (run->status[i] == PF_REFUSED) return refuse_seed(run, i, err);
        if (run->status[i] == PF_NO_MEMORY) return pf_no_memory(err, "rebuilding seeds");
        if (run->status[i] != PF_OK)
            return pf_fail(err, run->status[i], "member %u: its shares cannot be combined",
                           run->unmasking->targets[i].advert.member);
    }
    return PF_OK;
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

static enum pf_status remove_masks(struct run *run, struct pf_pool *pool, struct pf_error *err)
{
    size_t total = run->first_term[n_targets(run)];
    for (run->batch_begin = 0; run->batch_begin < total; run->batch_begin = run->batch_end) {
        run->batch_end = PF_MIN(run->batch_begin + TERMS_PER_BATCH, total);
        size_t n = run->batch_end - run->batch_begin;
        run_shards(pool, (n + TERMS_PER_SHARD - 1) / TERMS_PER_SHARD, derive_terms_shard, run);
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
    run->status = PF_ALLOC(n, enum pf_status);
    run->first_term = PF_ALLOC(n + 1, size_t);
    run->terms = PF_ALLOC(TERMS_PER_BATCH, struct pf_mask_term);
    bool complete =
        run->seeds != NULL && run->status != NULL && run->first_term != NULL && run->terms != NULL;
    return complete ? PF_OK : pf_no_memory(err, "unmasking");
}

enum pf_status pf_unmasking_run(struct pf_unmasking *self, struct pf_pool *pool,
                                struct pf_error *err)
{
    PF_CLEANUP(run_finish) struct run run;
    PF_TRY(run_init(&run, self, err));
    PF_TRY(find_seeds(&run, pool, err));
    count_terms(&run);
    return remove_masks(&run, pool, err);
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
