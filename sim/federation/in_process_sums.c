/* Updates that are made up, and the sums that must come of them. */
#include <string.h>

#include "common/base/clock.h"
#include "sim/federation/in_process_parts.h"

#define FIGURE_COORDINATES ((size_t)PF_FIGURE_N * PF_FIGURE_LIMBS)
#define MOST_EXAMPLES 2000u

void pf_ip_make_update(const struct pf_in_process *self, size_t player, uint32_t round,
                       float *values, uint64_t figures[PF_FIGURE_N])
{
    struct pf_random random;
    pf_random_init(&random, self->config->seed, "made-up update",
                   player * (PF_MAX_ROUNDS + 1ull) + round);
    for (size_t i = 0; i < self->n_parameters; i++)
        values[i] = i % 64 == 0 ? (float)pf_random_normal(&random) : values[i - 1] * 0.9f;
    memset(figures, 0, PF_FIGURE_N * sizeof *figures);
    figures[PF_FIGURE_EXAMPLES] = self->config->distinct_weights
                                      ? UINT64_C(1) << player
                                      : 1 + pf_random_below(&random, MOST_EXAMPLES);
    figures[PF_FIGURE_EVALUATED] = 1 + pf_random_below(&random, MOST_EXAMPLES);
    figures[PF_FIGURE_CORRECT] =
        pf_random_below(&random, (uint32_t)figures[PF_FIGURE_EVALUATED] + 1);
}

uint64_t pf_ip_rounding_seed(const struct pf_in_process *self, size_t player)
{
    struct pf_random random;
    pf_random_init(&random, self->config->seed, "rounding seeds", player);
    return pf_random_u64(&random);
}

/* ---- who is in a sum ------------------------------------------------------------------------- */

static enum pf_status grow_rounds(struct pf_in_process *self, uint32_t round, struct pf_error *err)
{
    uint32_t n = PF_MAX(2 * self->n_rounds_known, round + 16);
    size_t old = self->n_rounds_known;
    struct pf_member_set *sets = pf_realloc(self->survivors, n, sizeof *sets);
    if (sets != NULL) self->survivors = sets;
    bool *applied = pf_realloc(self->applied, n, sizeof *applied);
    if (applied != NULL) self->applied = applied;
    bool *completed = pf_realloc(self->completed, n, sizeof *completed);
    if (completed != NULL) self->completed = completed;
    if (sets == NULL || applied == NULL || completed == NULL)
        return pf_no_memory(err, "the rounds of a simulation");
    memset(sets + old, 0, (n - old) * sizeof *sets);
    memset(applied + old, 0, (n - old) * sizeof *applied);
    memset(completed + old, 0, (n - old) * sizeof *completed);
    self->n_rounds_known = n;
    return PF_OK;
}

struct pf_member_set *pf_ip_round_set(struct pf_in_process *self, uint32_t round)
{
    if (round >= self->n_rounds_known && grow_rounds(self, round, pf_ip_error(self)) != PF_OK)
        return NULL;
    struct pf_member_set *set = &self->survivors[round];
    if (set->bits == NULL &&
        pf_member_set_create((uint32_t)self->n_players, set, pf_ip_error(self)) != PF_OK)
        return NULL;
    return set;
}

bool pf_ip_in_sum(const struct pf_in_process *self, uint32_t round, size_t player)
{
    return round < self->n_rounds_known && self->survivors[round].bits != NULL &&
           pf_member_set_has(&self->survivors[round], (uint32_t)player);
}

static void note_fingerprint(struct pf_in_process *self, const void *sum, size_t length)
{
    struct pf_hash hash = pf_hash_bytes(sum, length);
    for (size_t i = 0; i < 8; i++)
        self->result->fingerprint = self->result->fingerprint * 257 + hash.bytes[i];
    self->result->sums_verified++;
}

/* ---- secure ---------------------------------------------------------------------------------- */

/* One worker's part of Σ x: every n_workers-th survivor. */
struct worker {
    struct pf_error error;
    int64_t *sums; /* [ring length] */
    uint64_t figures[PF_FIGURE_N];
};

struct check {
    const struct pf_in_process *self;
    const struct pf_codec_config *config;
    uint32_t round;
    const uint32_t *survivors;
    uint32_t n_survivors;
    size_t n_workers;
    struct worker *workers;
};

static enum pf_status sum_part(const struct check *check, size_t index, struct pf_error *err)
{
    const struct pf_in_process *self = check->self;
    struct worker *worker = &check->workers[index];
    PF_CLEANUP(pf_codec_destroyp) struct pf_codec *codec = NULL;
    PF_CLEANUP(pf_ring_destroyp) struct pf_ring *ring = NULL;
    PF_TRY(pf_codec_create(check->config, &codec, err));
    size_t length = pf_codec_ring_length(codec);
    PF_TRY(pf_ring_create(length, check->config->modulus_bits, &ring, err));
    PF_CLEANUP(pf_freep) float *values = PF_ALLOC(self->n_parameters, float);
    worker->sums = PF_ALLOC(length, int64_t);
    if (values == NULL || worker->sums == NULL) return pf_no_memory(err, "a sum to compare with");
    for (size_t i = index; i < check->n_survivors; i += check->n_workers) {
        uint64_t figures[PF_FIGURE_N];
        struct pf_random rounding;
        uint32_t player = check->survivors[i];
        pf_ip_make_update(self, player, check->round, values, figures);
        pf_random_init(&rounding, pf_ip_rounding_seed(self, player), "stochastic rounding",
                       check->round);
        PF_TRY(pf_codec_encode(codec, values, figures, &rounding, ring, err));
        for (size_t k = 0; k < length; k++) worker->sums[k] += pf_ring_get_signed(ring, k);
        for (size_t f = PF_FIGURE_EVALUATED; f <= PF_FIGURE_CORRECT; f++)
            worker->figures[f] += figures[f];
        worker->figures[PF_FIGURE_EXAMPLES] +=
            PF_MIN(figures[PF_FIGURE_EXAMPLES], (uint64_t)check->config->weight_cap);
    }
    return PF_OK;
}

static void sum_shard(void *context, size_t index)
{
    const struct check *check = context;
    (void)sum_part(check, index, &check->workers[index].error);
}

/* Plain integers: the counts' limbs are not negative, coordinates have a sign. */
static void compare(struct pf_in_process *self, const struct check *check,
                    const struct pf_ring *sum)
{
    int64_t *total = check->workers[0].sums;
    size_t length = pf_ring_length(sum);
    for (size_t w = 1; w < check->n_workers; w++)
        for (size_t k = 0; k < length; k++) total[k] += check->workers[w].sums[k];
    for (size_t k = 0; k < length; k++) {
        int64_t got =
            k < FIGURE_COORDINATES ? (int64_t)pf_ring_get(sum, k) : pf_ring_get_signed(sum, k);
        PF_IP_CHECK(self, got == total[k],
                    "round %u: coordinate %zu of the sum is %lld, that of its %u updates %lld",
                    check->round, k, (long long)got, check->n_survivors, (long long)total[k]);
    }
    for (size_t f = PF_FIGURE_EXAMPLES; f <= PF_FIGURE_CORRECT; f++) {
        uint64_t figure = 0;
        for (size_t w = 0; w < check->n_workers; w++) figure += check->workers[w].figures[f];
        PF_IP_CHECK(self, self->figures[f] == figure, "round %u: %s sum to %llu, not %llu",
                    check->round, pf_figure_name((enum pf_figure)f),
                    (unsigned long long)self->figures[f], (unsigned long long)figure);
    }
    if (pf_ip_well(self)) note_fingerprint(self, total, length * sizeof *total);
}

static void check_secure(struct pf_in_process *self, struct check *check, const struct pf_ring *sum)
{
    check->n_workers = PF_MIN(pf_pool_n_threads(self->pool), (size_t)check->n_survivors);
    check->workers = PF_ALLOC(check->n_workers, struct worker);
    if (check->workers == NULL) {
        (void)pf_no_memory(pf_ip_error(self), "sums to compare with");
        return;
    }
    pf_pool_run(self->pool, check->n_workers, sum_shard, check);
    for (size_t w = 0; w < check->n_workers; w++)
        if (check->workers[w].error.status != PF_OK)
            (void)pf_fail(pf_ip_error(self), check->workers[w].error.status, "%s",
                          check->workers[w].error.text);
    if (pf_ip_well(self)) compare(self, check, sum);
    for (size_t w = 0; w < check->n_workers; w++) pf_free(check->workers[w].sums);
    pf_free(check->workers);
}

/* The survivors are those who got receipts, and the set that the participants consented to. */
static uint32_t list_survivors(struct pf_in_process *self, uint32_t round,
                               const struct pf_unmasking *unmasking, uint32_t *list)
{
    uint32_t n = 0;
    const struct pf_member_set *set = &self->survivors[round];
    for (uint32_t i = 0; i < unmasking->n_targets; i++) {
        if (unmasking->targets[i].dropped) continue;
        list[n++] = unmasking->targets[i].advert.member;
        PF_IP_CHECK(self, pf_member_set_has(set, list[n - 1]),
                    "round %u: the sum has player %u, who got no receipt", round, list[n - 1]);
    }
    PF_IP_CHECK(self, n == pf_member_set_count(set) && n == unmasking->n_survivors,
                "round %u: %u receipts were given, the sum has %u updates", round,
                pf_member_set_count(set), n);
    struct pf_digest digest = pf_member_set_digest(set);
    for (size_t i = 0; i < self->n_players; i++) {
        const struct pf_participation *newest = &self->players[i].newest;
        if (newest->round == round && newest->consented)
            PF_IP_CHECK(self, pf_digest_equal(&newest->survivors, &digest),
                        "player %zu consented to another set than that of round %u's sum", i,
                        round);
    }
    return n;
}

/* What the coordinator's worker does: masks off, figures and mean. */
static enum pf_status unmask(struct pf_in_process *self, struct pf_coordinator_action *action,
                             struct pf_error *err)
{
    struct pf_unmasking *unmasking = action->unmasking;
    PF_CLEANUP(pf_codec_destroyp) struct pf_codec *codec = NULL;
    PF_CLEANUP(pf_freep) float *mean = PF_ALLOC(self->n_parameters, float);
    if (mean == NULL) return pf_no_memory(err, "a mean");
    PF_TRY(pf_unmasking_run(unmasking, self->pool, NULL, err));
    PF_TRY(pf_codec_create(&action->codec, &codec, err));
    enum pf_status status =
        pf_codec_decode(codec, unmasking->sum, unmasking->n_survivors, mean, self->figures, err);
    self->figures_known = status == PF_OK;
    /* Sums that cannot be: the round's loss, as in the worker. */
    return status == PF_CORRUPT ? PF_REFUSED : status;
}

void pf_ip_apply_secure(struct pf_in_process *self, struct pf_coordinator_action *action)
{
    bool damaged = self->config->faults.damaged > 0;
    double began = pf_clock_seconds();
    enum pf_status status = unmask(self, action, &self->job_error);
    self->job_error.status = status;
    self->result->modulus_bits = action->codec.modulus_bits;
    self->result->unmask_seconds += pf_clock_seconds() - began;
    PF_IP_CHECK(self, status == PF_OK || damaged, "round %u: unmasking: %s", action->number,
                self->job_error.text);
    if (status != PF_OK || damaged) return;
    began = pf_clock_seconds();
    PF_CLEANUP(pf_freep) uint32_t *list = PF_ALLOC(action->unmasking->n_targets, uint32_t);
    if (list == NULL) {
        (void)pf_no_memory(pf_ip_error(self), "survivors");
        return;
    }
    struct check check = {.self = self,
                          .config = &action->codec,
                          .round = action->number,
                          .survivors = list,
                          .n_survivors =
                              list_survivors(self, action->number, action->unmasking, list)};
    if (self->config->verify) check_secure(self, &check, action->unmasking->sum);
    self->result->verify_seconds += pf_clock_seconds() - began;
}

/* ---- plain ----------------------------------------------------------------------------------- */

static enum pf_status add_plain(struct pf_in_process *self, size_t player, uint32_t round,
                                float *values, struct pf_sum *sum, struct pf_error *err)
{
    PF_CLEANUP(pf_buffer_finish) struct pf_buffer update = {0};
    uint64_t figures[PF_FIGURE_N];
    pf_ip_make_update(self, player, round, values, figures);
    PF_TRY(pf_update_encode(PF_AGGREGATION_PLAIN, values, self->n_parameters,
                            (double)figures[PF_FIGURE_EXAMPLES], &update, err));
    return pf_sum_add(sum, update.bytes, update.length, err);
}

/* In the opposite order: the sum must not depend on it. */
static enum pf_status check_plain(struct pf_in_process *self, uint32_t round,
                                  const struct pf_sum *sum, struct pf_error *err)
{
    size_t n = self->n_parameters;
    PF_CLEANUP(pf_sum_destroyp) struct pf_sum *expected = NULL;
    PF_CLEANUP(pf_freep) float *means = PF_ALLOC(2 * n, float);
    if (means == NULL) return pf_no_memory(err, "a sum to compare with");
    PF_TRY(pf_sum_create(PF_AGGREGATION_PLAIN, n, &expected, err));
    for (size_t i = self->n_players; i-- > 0;)
        if (pf_ip_in_sum(self, round, i)) PF_TRY(add_plain(self, i, round, means, expected, err));
    PF_IP_CHECK(self,
                pf_sum_count(sum) == pf_sum_count(expected) &&
                    pf_sum_weight(sum) == pf_sum_weight(expected),
                "round %u: %zu updates of weight %.17g, where %zu receipts are for a weight of "
                "%.17g",
                round, pf_sum_count(sum), pf_sum_weight(sum), pf_sum_count(expected),
                pf_sum_weight(expected));
    if (!pf_ip_well(self)) return PF_OK;
    PF_TRY(pf_sum_mean(sum, means, err));
    PF_TRY(pf_sum_mean(expected, means + n, err));
    PF_IP_CHECK(self, memcmp(means, means + n, n * sizeof *means) == 0,
                "round %u: the mean is not that of its %zu updates", round, pf_sum_count(sum));
    if (pf_ip_well(self)) note_fingerprint(self, means, n * sizeof *means);
    return PF_OK;
}

void pf_ip_apply_plain(struct pf_in_process *self, const struct pf_coordinator_action *action)
{
    if (!self->config->verify || self->config->faults.damaged > 0) return;
    double began = pf_clock_seconds();
    struct pf_error err = {0};
    if (check_plain(self, action->number, action->sum, &err) != PF_OK)
        (void)pf_fail(pf_ip_error(self), err.status, "%s", err.text);
    self->result->verify_seconds += pf_clock_seconds() - began;
}
