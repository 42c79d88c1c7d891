/* Every seed from the first shares that were given, in parallel; that is all, unless somebody lies.
 *
 * Seeds that do not come out so are mended one after the other, in the order of the targets, so
 * that what one of them tells of the liars helps with the next, and the pool changes nothing:
 *
 *   trust   t shares of those who were wrong least often so far;
 *   decode  if these do not do, the wrong shares are found (wrong_shares.h), up to half of the
 * spare ones; their givers are remembered; guess   at last, seeds with more wrong shares than that:
 * some shares are left out, and the wrong ones sought among the rest.
 *
 * A decoding that names somebody for the first time is progress, and there are only so many
 * members; all others are paid from one budget per round.  So the work grows with the number of
 * liars. */
#include "common/secagg/unmask_seeds.h"

#include <assert.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/base/random.h"
#include "common/secagg/wrong_shares.h"

#define TARGETS_PER_SHARD 32u
/* Of searches that tell nothing new: some seconds in all.  A search among n shares costs about n²,
 * 0.2 µs each, and so much more that there are never above 512. */
#define SEARCH_BUDGET (UINT64_C(1) << 25)
#define SEARCH_BASE_COST (UINT64_C(1) << 16)

/* ---- one subset ------------------------------------------------------------------------------ */

/* Combines t shares; in a complete graph everybody's lie at the same xs, so that the coefficients
 * are made once. */
struct finder {
    const struct pf_unmasking *unmasking;
    uint32_t threshold;
    struct pf_lagrange *lagrange; /* of the last subset tried */
    uint32_t *pick;               /* [threshold]: the subset, positions among the target's shares */
    uint32_t *x;                  /* [threshold] */
    struct pf_scalar *shares;     /* [threshold] */
};

static void finder_finish(struct finder *self)
{
    if (self->shares != NULL) sodium_memzero(self->shares, self->threshold * sizeof *self->shares);
    pf_lagrange_destroy(self->lagrange);
    pf_free(self->pick);
    pf_free(self->x);
    pf_free(self->shares);
}

static enum pf_status finder_init(struct finder *self, const struct pf_unmasking *unmasking)
{
    uint32_t threshold = unmasking->threshold;
    *self = (struct finder){.unmasking = unmasking, .threshold = threshold};
    self->pick = PF_ALLOC(threshold, uint32_t);
    self->x = PF_ALLOC(threshold, uint32_t);
    self->shares = PF_ALLOC(threshold, struct pf_scalar);
    bool complete = self->pick != NULL && self->x != NULL && self->shares != NULL;
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
static enum pf_status try_subset(struct finder *self, const struct pf_unmask_target *target,
                                 struct pf_scalar *seed)
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
    if (seed_is_advertised(self->unmasking, target, seed)) return PF_OK;
    pf_scalar_wipe(seed);
    return PF_REFUSED;
}

/* ---- the first shares of all ----------------------------------------------------------------- */

struct seeds {
    struct pf_unmasking *unmasking;
    const struct pf_progress *progress;
    struct pf_scalar *found; /* [n_targets] */
    enum pf_status *status;  /* [n_targets] */
};

static enum pf_status try_first(struct finder *finder, const struct pf_unmask_target *target,
                                struct pf_scalar *seed)
{
    assert(target->n_shares >= finder->threshold && target->n_shares <= PF_MAX_SHARES);
    for (uint32_t i = 0; i < finder->threshold; i++) finder->pick[i] = i;
    return try_subset(finder, target, seed);
}

static void try_first_shard(void *context, size_t shard)
{
    struct seeds *self = context;
    size_t begin = shard * TARGETS_PER_SHARD;
    size_t end = PF_MIN(begin + TARGETS_PER_SHARD, self->unmasking->n_targets);
    struct finder finder;
    enum pf_status ready = finder_init(&finder, self->unmasking);
    for (size_t i = begin; i < end; i++) {
        if (ready == PF_OK && pf_progress_stopped(self->progress)) ready = PF_INTERRUPTED;
        self->status[i] = ready == PF_OK
                              ? try_first(&finder, &self->unmasking->targets[i], &self->found[i])
                              : ready;
    }
    finder_finish(&finder);
}

/* ---- mending --------------------------------------------------------------------------------- */

struct search {
    struct seeds *seeds;
    struct pf_unmasking *unmasking;
    struct finder finder;
    uint32_t max_x;
    uint32_t *lies; /* [max_x + 1]: how often the share of who is at x was found to be wrong */
    uint64_t budget;
    struct pf_random random;
    /* The shares that are looked at, all or those not left out. */
    uint32_t n_rest;
    uint32_t *rest;           /* [max n_shares]: positions among the target's */
    uint32_t *x;              /* … */
    struct pf_scalar *shares; /* … */
    bool *wrong;              /* … */
    uint32_t max_shares;
};

static void search_finish(struct search *self)
{
    finder_finish(&self->finder);
    if (self->shares != NULL) sodium_memzero(self->shares, self->max_shares * sizeof *self->shares);
    pf_free(self->lies);
    pf_free(self->rest);
    pf_free(self->x);
    pf_free(self->shares);
    pf_free(self->wrong);
}

static enum pf_status search_init(struct search *self, struct seeds *seeds)
{
    struct pf_unmasking *unmasking = seeds->unmasking;
    *self = (struct search){.seeds = seeds, .unmasking = unmasking, .budget = SEARCH_BUDGET};
    for (uint32_t i = 0; i < unmasking->n_targets; i++) {
        const struct pf_unmask_target *target = &unmasking->targets[i];
        self->max_shares = PF_MAX(self->max_shares, target->n_shares);
        for (uint32_t k = 0; k < target->n_shares; k++)
            self->max_x = PF_MAX(self->max_x, target->x[k]);
    }
    self->lies = PF_ALLOC((size_t)self->max_x + 1, uint32_t);
    self->rest = PF_ALLOC(self->max_shares, uint32_t);
    self->x = PF_ALLOC(self->max_shares, uint32_t);
    self->shares = PF_ALLOC(self->max_shares, struct pf_scalar);
    self->wrong = PF_ALLOC(self->max_shares, bool);
    pf_random_init(&self->random, 0, "packfed subsets of shares", 0);
    bool complete = self->lies != NULL && self->rest != NULL && self->x != NULL &&
                    self->shares != NULL && self->wrong != NULL;
    return complete ? finder_init(&self->finder, unmasking) : PF_NO_MEMORY;
}

/* The shares of those who were wrong least often, in the order of the shares. */
static enum pf_status try_trusted(struct search *self, const struct pf_unmask_target *target,
                                  struct pf_scalar *seed)
{
    uint32_t n = 0;
    for (uint32_t lies = 0; n < self->finder.threshold; lies++)
        for (uint32_t i = 0; i < target->n_shares && n < self->finder.threshold; i++)
            if (self->lies[target->x[i]] == lies) self->finder.pick[n++] = i;
    self->unmasking->effort.n_tried++;
    return try_subset(&self->finder, target, seed);
}

/* Finds the wrong ones among self->rest and tries the others. */
static enum pf_status decode_rest(struct search *self, const struct pf_unmask_target *target,
                                  struct pf_scalar *seed)
{
    for (uint32_t i = 0; i < self->n_rest; i++) {
        self->x[i] = target->x[self->rest[i]];
        self->shares[i] = target->shares[self->rest[i]];
    }
    enum pf_status status = pf_shamir_find_wrong(self->x, self->shares, self->n_rest,
                                                 self->finder.threshold, self->wrong, NULL);
    if (status != PF_OK) return status == PF_NOT_FOUND ? PF_REFUSED : status;
    uint32_t n = 0;
    for (uint32_t i = 0; n < self->finder.threshold; i++)
        if (!self->wrong[i]) self->finder.pick[n++] = self->rest[i];
    self->unmasking->effort.n_tried++;
    return try_subset(&self->finder, target, seed);
}

/* After a success: notes whose shares do not lie on the polynomial that it gave, and returns how
 * many were never noted before.  This puts givers in an order and is no verdict: an owner can deal
 * wrong shares, and liars who outnumber half of the spare shares can pass for the others. */
static uint32_t note_liars(struct search *self, const struct pf_unmask_target *target)
{
    uint32_t n_new = 0;
    for (uint32_t i = 0; i < target->n_shares; i++)
        if (!pf_lagrange_agrees(self->finder.lagrange, self->finder.shares, target->x[i],
                                &target->shares[i]))
            n_new += self->lies[target->x[i]]++ == 0;
    self->unmasking->effort.n_liars += n_new;
    return n_new;
}

/* One search among self->rest.  PF_REFUSED: nothing found, or the budget is spent. */
static enum pf_status search_rest(struct search *self, const struct pf_unmask_target *target,
                                  struct pf_scalar *seed)
{
    uint64_t cost = SEARCH_BASE_COST + (uint64_t)self->n_rest * self->n_rest;
    struct pf_unmask_effort *effort = &self->unmasking->effort;
    if (cost > self->budget) return PF_REFUSED;
    effort->n_searches++;
    pf_progress_update(self->seeds->progress, "looking for wrong shares", effort->n_searches, 0,
                       "");
    if (pf_progress_stopped(self->seeds->progress)) return PF_INTERRUPTED;
    enum pf_status status = decode_rest(self, target, seed);
    if (status != PF_OK || note_liars(self, target) == 0) self->budget -= cost;
    return status;
}

static enum pf_status decode(struct search *self, const struct pf_unmask_target *target,
                             struct pf_scalar *seed)
{
    if (target->n_shares < self->finder.threshold + 2) return PF_REFUSED; /* nothing to find */
    self->n_rest = target->n_shares;
    for (uint32_t i = 0; i < self->n_rest; i++) self->rest[i] = i;
    return search_rest(self, target, seed);
}

/* self->rest ← all but `n_out` of them, at random. */
static void leave_out(struct search *self, const struct pf_unmask_target *target, uint32_t n_out)
{
    for (uint32_t i = 0; i < target->n_shares; i++) self->rest[i] = i;
    pf_random_shuffle(&self->random, self->rest, target->n_shares);
    self->n_rest = target->n_shares - n_out;
}

static void leave_one_out(struct search *self, const struct pf_unmask_target *target, uint32_t out)
{
    self->n_rest = 0;
    for (uint32_t i = 0; i < target->n_shares; i++)
        if (i != out) self->rest[self->n_rest++] = i;
}

/* A wrong share left out is one less to be found, though it costs a spare one: each in its turn,
 * which is all that can be done with one spare share, then several at random. */
static enum pf_status guess(struct search *self, const struct pf_unmask_target *target,
                            struct pf_scalar *seed)
{
    uint32_t spare = target->n_shares - self->finder.threshold;
    for (uint32_t out = 0; spare > 0 && out < target->n_shares; out++) {
        leave_one_out(self, target, out);
        enum pf_status status = search_rest(self, target, seed);
        if (status != PF_REFUSED) return status;
    }
    while (spare > 1 &&
           self->budget > SEARCH_BASE_COST + (uint64_t)target->n_shares * target->n_shares) {
        leave_out(self, target, 2 + pf_random_below(&self->random, spare - 1));
        enum pf_status status = search_rest(self, target, seed);
        if (status != PF_REFUSED) return status;
    }
    return PF_REFUSED;
}

/* In the first pass decoding alone, and no more of it in vain than leaves most of the budget for
 * the second. */
static enum pf_status mend(struct search *self, const struct pf_unmask_target *target, bool last,
                           struct pf_scalar *seed)
{
    if (pf_progress_stopped(self->seeds->progress)) return PF_INTERRUPTED;
    enum pf_status status = try_trusted(self, target, seed);
    if (status == PF_REFUSED && (last || self->budget > SEARCH_BUDGET / 4 * 3))
        status = decode(self, target, seed);
    return status == PF_REFUSED && last ? guess(self, target, seed) : status;
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

static void name_liars(struct search *self)
{
    struct pf_unmask_effort *effort = &self->unmasking->effort;
    for (uint32_t x = 1; x <= self->max_x; x++)
        if (self->lies[x] > 0) list_member(effort->liars, sizeof effort->liars, x - 1);
}

/* Those with many liars come last, when the others have told who they are. */
static enum pf_status mend_all(struct seeds *seeds)
{
    struct search search;
    enum pf_status status = search_init(&search, seeds);
    for (unsigned pass = 0; pass < 2; pass++)
        for (uint32_t i = 0; i < seeds->unmasking->n_targets && status == PF_OK; i++) {
            const struct pf_unmask_target *target = &seeds->unmasking->targets[i];
            if (seeds->status[i] != PF_REFUSED) continue;
            seeds->status[i] = mend(&search, target, pass > 0, &seeds->found[i]);
            if (seeds->status[i] != PF_REFUSED) status = seeds->status[i];
        }
    if (status == PF_OK) name_liars(&search);
    search_finish(&search);
    return status;
}

/* ---- the verdict ----------------------------------------------------------------------------- */

static enum pf_status refuse_seed(const struct seeds *self, size_t lost, struct pf_error *err)
{
    const struct pf_unmasking *unmasking = self->unmasking;
    const struct pf_unmask_target *target = &unmasking->targets[lost];
    char givers[160] = "", owners[96] = "";
    for (uint32_t i = 0; i < target->n_shares; i++)
        list_member(givers, sizeof givers, target->x[i] - 1);
    for (size_t i = lost; i < unmasking->n_targets; i++)
        if (self->status[i] == PF_REFUSED)
            list_member(owners, sizeof owners, unmasking->targets[i].advert.member);
    return pf_fail(err, PF_REFUSED,
                   "member %u: no %u of %u shares tried give the %s it advertised; wrong ones came "
                   "from it or from members %s (seeds lost of: %s)",
                   target->advert.member, unmasking->threshold, target->n_shares,
                   target->dropped ? "mask key" : "self mask", givers, owners);
}

/* What ended it early, PF_OK: nothing; refused seeds are not meant. */
static enum pf_status first_failure(const struct seeds *self)
{
    for (uint32_t i = 0; i < self->unmasking->n_targets; i++)
        if (self->status[i] != PF_OK && self->status[i] != PF_REFUSED) return self->status[i];
    return PF_OK;
}

static size_t first_refused(const struct seeds *self)
{
    size_t i = 0;
    while (i < self->unmasking->n_targets && self->status[i] != PF_REFUSED) i++;
    return i;
}

static enum pf_status find_all(struct seeds *self, struct pf_pool *pool, struct pf_error *err)
{
    const size_t n = self->unmasking->n_targets;
    pf_unmasking_shards(pool, (n + TARGETS_PER_SHARD - 1) / TARGETS_PER_SHARD, try_first_shard,
                        self);
    enum pf_status status = first_failure(self);
    if (status == PF_OK && first_refused(self) < n) status = mend_all(self);
    if (status == PF_NO_MEMORY) return pf_no_memory(err, "rebuilding seeds");
    if (status != PF_OK)
        return pf_fail(err, status,
                       status == PF_INTERRUPTED ? "stopped while seeds were rebuilt"
                                                : "shares cannot be combined");
    return first_refused(self) < n ? refuse_seed(self, first_refused(self), err) : PF_OK;
}

enum pf_status pf_unmasking_find_seeds(struct pf_unmasking *self, struct pf_pool *pool,
                                       const struct pf_progress *progress, struct pf_scalar *seeds,
                                       struct pf_error *err)
{
    PF_CLEANUP(pf_freep) enum pf_status *status = PF_ALLOC(self->n_targets, enum pf_status);
    if (status == NULL) return pf_no_memory(err, "unmasking");
    struct seeds all = {.unmasking = self, .progress = progress, .found = seeds, .status = status};
    self->effort = (struct pf_unmask_effort){0};
    return find_all(&all, pool, err);
}
