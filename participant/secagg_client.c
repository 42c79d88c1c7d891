/* Life, step 0 and step 2 of the client; step 1 is in secagg_client_keys.c and _boxes.c, steps 3
 * and 4 in secagg_client_unmask.c. */
#include "participant/secagg_client.h"

#include <sodium.h>
#include <string.h>

#include "common/base/memory.h"
#include "participant/secagg_client_parts.h"
#include "proto/round_context.h"

const char *pf_secagg_step_name(enum pf_secagg_step step)
{
    static const char *const names[] = {
        [PF_SECAGG_ADVERTISED] = "advertised", [PF_SECAGG_REVEALED] = "revealed",
        [PF_SECAGG_SHARED] = "shared",         [PF_SECAGG_READY] = "ready",
        [PF_SECAGG_MASKED] = "masked",         [PF_SECAGG_CONSENTED] = "consented",
        [PF_SECAGG_UNMASKED] = "unmasked",
    };
    return (size_t)step < PF_ARRAY_LENGTH(names) ? names[step] : "unknown";
}

/* ---- shared with the other files ------------------------------------------------------------ */

struct pf_sc_neighbour *pf_sc_find(const struct pf_secagg_client *self, uint32_t member)
{
    size_t low = 0, high = self->n_neighbours;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (self->neighbours[middle].advert.member < member)
            low = middle + 1;
        else
            high = middle;
    }
    bool found = low < self->n_neighbours && self->neighbours[low].advert.member == member;
    return found ? &self->neighbours[low] : NULL;
}

void pf_sc_each(const struct pf_secagg_client *self, size_t n, pf_shard_function *function,
                void *context)
{
    if (self->config.pool != NULL)
        pf_pool_run(self->config.pool, n, function, context);
    else
        for (size_t i = 0; i < n; i++) function(context, i);
}

void pf_sc_hash_u32(crypto_generichash_state *state, uint32_t value)
{
    uint8_t bytes[4] = {(uint8_t)value, (uint8_t)(value >> 8), (uint8_t)(value >> 16),
                        (uint8_t)(value >> 24)};
    crypto_generichash_update(state, bytes, sizeof bytes);
}

void pf_sc_hash_set(crypto_generichash_state *state, const struct pf_member_set *set)
{
    pf_sc_hash_u32(state, set->n_members);
    if (set->n_members > 0)
        crypto_generichash_update(state, set->bits, pf_member_set_bytes(set->n_members));
}

const char *pf_sc_name(const struct pf_secagg_client *self, uint32_t member)
{
    return member < self->config.roster->n_members ? self->config.roster->members[member].name
                                                   : "nobody on the roster";
}

enum pf_status pf_sc_check_set(const struct pf_secagg_client *self, const struct pf_member_set *set,
                               const char *what, enum pf_reason *reason, struct pf_error *err)
{
    if (set->n_members != self->config.roster->n_members)
        return PF_SC_REFUSE(reason, PF_REASON_ROSTER, err,
                            "the %s is cut from %u members; the roster has %zu", what,
                            set->n_members, self->config.roster->n_members);
    if (!pf_member_set_has(set, self->config.self))
        return PF_SC_REFUSE(reason, PF_REASON_SELF_DROPPED, err,
                            "the %s is without %s, its receiver", what,
                            pf_sc_name(self, self->config.self));
    uint32_t n = pf_member_set_count(set);
    if (n < self->config.min_cohort)
        return PF_SC_REFUSE(reason, PF_REASON_COHORT_TOO_SMALL, err,
                            "a %s of %u is smaller than the minimum of %u (--min-cohort)", what, n,
                            self->config.min_cohort);
    return PF_OK;
}

/* ---- life -------------------------------------------------------------------------------------
 */

/* Everything but the channel key is used up once the update is masked. */
static void wipe_mask_secrets(struct pf_secagg_client *self)
{
    sodium_memzero(self->mask_secret, sizeof self->mask_secret);
    sodium_memzero(&self->self_seed, sizeof self->self_seed);
    sodium_memzero(&self->mask_seed, sizeof self->mask_seed);
    sodium_memzero(self->randomness, sizeof self->randomness);
}

static void draw_secrets(struct pf_secagg_client *self)
{
    struct pf_advert *advert = &self->advertise.advert;
    randombytes_buf(self->channel_secret, sizeof self->channel_secret);
    pf_scalar_random(&self->self_seed);
    pf_scalar_random(&self->mask_seed);
    randombytes_buf(self->randomness, sizeof self->randomness);
    pf_mask_secret(&self->mask_seed, self->mask_secret);

    self->advertise.round = self->config.round;
    advert->member = self->config.self;
    crypto_scalarmult_curve25519_base(advert->channel_key, self->channel_secret);
    crypto_scalarmult_curve25519_base(advert->mask_key, self->mask_secret);
    advert->self_commitment =
        pf_commit_self(&self->config.context, advert->member, &self->self_seed);
    advert->randomness_commitment =
        pf_commit_randomness(&self->config.context, advert->member, self->randomness);
    pf_advert_sign(advert, &self->config.context, self->config.sign_secret);
}

enum pf_status pf_secagg_client_create(const struct pf_secagg_client_config *config,
                                       struct pf_secagg_client **client, struct pf_error *err)
{
    if (config->self >= config->roster->n_members)
        return pf_fail(err, PF_INVALID, "member %u of a roster of %zu", config->self,
                       config->roster->n_members);
    struct pf_secagg_client *self = PF_ALLOC(1, struct pf_secagg_client);
    if (self == NULL) return pf_no_memory(err, "the keys of a round");
    self->config = *config;
    if (self->config.adversary == 0) self->config.adversary = PF_SEMI_MALICIOUS;
    draw_secrets(self);
    *client = self;
    return PF_OK;
}

void pf_secagg_client_destroy(struct pf_secagg_client *self)
{
    if (self == NULL) return;
    if (self->neighbours != NULL)
        sodium_memzero(self->neighbours, self->n_neighbours * sizeof *self->neighbours);
    if (self->given != NULL) sodium_memzero(self->given, self->n_given * sizeof *self->given);
    pf_free(self->neighbours);
    pf_free(self->given);
    pf_free(self->boxes);
    pf_member_set_finish(&self->cohort);
    pf_member_set_finish(&self->sharers);
    pf_member_set_finish(&self->survivors);
    sodium_memzero(self, sizeof *self);
    pf_free(self);
}

enum pf_secagg_step pf_secagg_client_step(const struct pf_secagg_client *self)
{
    return self->step;
}

/* ---- step 0 -----------------------------------------------------------------------------------
 */

void pf_secagg_client_advertise(const struct pf_secagg_client *self, struct pf_advertise *advertise)
{
    *advertise = self->advertise;
}

enum pf_status pf_secagg_client_committed(struct pf_secagg_client *self,
                                          const struct pf_committed *committed,
                                          struct pf_reveal *reveal, enum pf_reason *reason,
                                          struct pf_error *err)
{
    if (self->step == PF_SECAGG_ADVERTISED) {
        PF_TRY(pf_sc_check_set(self, &committed->cohort, "cohort", reason, err));
        if (committed->parameters.graph != PF_GRAPH_HARARY)
            return PF_SC_REFUSE(reason, PF_REASON_GRAPH, err,
                                "randomness is asked for, but no random graph is announced");
        self->committed = committed->digest;
        self->step = PF_SECAGG_REVEALED;
    } else if (self->step != PF_SECAGG_REVEALED) {
        return PF_SC_REFUSE(reason, PF_REASON_STEP, err, "COMMITTED comes after the key list");
    } else if (!pf_digest_equal(&self->committed, &committed->digest)) {
        /* What one revealed would be known when the other commitments are made. */
        return PF_SC_REFUSE(reason, PF_REASON_SECOND_LIST, err,
                            "a second, different cohort for one round");
    }
    *reveal = (struct pf_reveal){.round = self->config.round};
    memcpy(reveal->randomness, self->randomness, sizeof reveal->randomness);
    return PF_OK;
}

/* ---- step 2 -----------------------------------------------------------------------------------
 */

struct term_job {
    struct pf_secagg_client *self;
    struct pf_mask_term *terms; /* [1 + n_neighbours]; sign 0: none */
    enum pf_status *status;     /* [n_neighbours] */
};

static void make_term(void *context, size_t i)
{
    const struct term_job *job = context;
    const struct pf_secagg_client *self = job->self;
    const struct pf_sc_neighbour *peer = &self->neighbours[i];
    struct pf_mask_term *term = &job->terms[i];
    job->status[i] = PF_OK;
    term->sign = 0;
    if (!peer->shared) return;
    term->sign = self->config.self < peer->advert.member ? 1 : -1;
    job->status[i] = pf_pair_mask_key(self->config.self, peer->advert.member, self->mask_secret,
                                      self->advertise.advert.mask_key, peer->advert.mask_key,
                                      &self->config.context, &self->key_list, term->key, NULL);
}

/* Takes out the terms without a sign; returns how many are left. */
static size_t squeeze(struct pf_mask_term *terms, size_t n)
{
    size_t kept = 0;
    for (size_t i = 0; i < n; i++)
        if (terms[i].sign != 0) terms[kept++] = terms[i];
    return kept;
}

/* ring += PRG(b) + Σ ± PRG(s_ij) over the neighbours that shared. */
static enum pf_status add_masks(struct pf_secagg_client *self, struct pf_ring *ring,
                                enum pf_reason *reason, struct pf_error *err)
{
    size_t n = self->n_neighbours;
    struct pf_mask_term *terms = PF_ALLOC(n + 1, struct pf_mask_term);
    enum pf_status *status = PF_ALLOC(n + 1, enum pf_status);
    enum pf_status result = PF_OK;
    if (terms == NULL || status == NULL) {
        result = pf_no_memory(err, "the masks of an update");
    } else {
        struct term_job job = {self, terms, status};
        pf_sc_each(self, n, make_term, &job);
        for (size_t i = 0; i < n && result == PF_OK; i++)
            if (status[i] != PF_OK)
                result = PF_SC_REFUSE(reason, PF_REASON_SIGNATURE, err,
                                      "%s advertised a key that gives no secret",
                                      pf_sc_name(self, self->neighbours[i].advert.member));
    }
    if (result == PF_OK) {
        pf_self_mask_key(&self->self_seed, &self->config.context, terms[n].key);
        terms[n].sign = 1;
        pf_ring_add_masks(ring, terms, squeeze(terms, n + 1), self->config.pool);
    }
    if (terms != NULL) sodium_memzero(terms, (n + 1) * sizeof *terms);
    pf_free(terms);
    pf_free(status);
    return result;
}

static enum pf_status encode(const struct pf_secagg_client *self,
                             const size_t length[PF_CODEC_SEGMENTS], const float *update,
                             const uint64_t figures[PF_FIGURE_N], uint64_t rounding_seed,
                             struct pf_ring **ring, struct pf_error *err)
{
    const struct pf_masking_order *order = &self->config.masking;
    struct pf_codec_config config = {
        .value_bits = order->value_bits,
        .modulus_bits = pf_secagg_modulus_bits(order->value_bits, self->n_cohort),
        .n_participants = self->n_cohort,
        .weight_cap = order->weight_cap,
        .length = {length[0], length[1]},
        .clip = {order->clip[0], order->clip[1]},
        .rotate = order->rotate,
    };
    PF_CLEANUP(pf_codec_destroyp) struct pf_codec *codec = NULL;
    PF_CLEANUP(pf_ring_destroyp) struct pf_ring *made = NULL;
    struct pf_random rounding;
    memcpy(config.seed, self->config.rotation_seed, sizeof config.seed);
    pf_random_init(&rounding, rounding_seed, "stochastic rounding", self->config.round);
    PF_TRY(pf_codec_create(&config, &codec, err));
    PF_TRY(pf_ring_create(pf_codec_ring_length(codec), config.modulus_bits, &made, err));
    PF_TRY(pf_codec_encode(codec, update, figures, &rounding, made, err));
    *ring = made;
    made = NULL;
    return PF_OK;
}

enum pf_status pf_secagg_client_mask(struct pf_secagg_client *self,
                                     const size_t length[PF_CODEC_SEGMENTS], const float *update,
                                     const uint64_t figures[PF_FIGURE_N], uint64_t rounding_seed,
                                     struct pf_buffer *packed, enum pf_reason *reason,
                                     struct pf_error *err)
{
    if (self->step != PF_SECAGG_READY)
        return PF_SC_REFUSE(reason, PF_REASON_STEP, err, "an update to mask in step '%s'",
                            pf_secagg_step_name(self->step));
    PF_CLEANUP(pf_ring_destroyp) struct pf_ring *ring = NULL;
    PF_TRY(encode(self, length, update, figures, rounding_seed, &ring, err));
    size_t bytes = pf_ring_packed_size(pf_ring_length(ring), pf_ring_bits(ring));
    PF_TRY(pf_buffer_reserve(packed, bytes, err));
    PF_TRY(add_masks(self, ring, reason, err));
    pf_ring_pack(ring, packed->bytes + packed->length);
    packed->length += bytes;
    wipe_mask_secrets(self);
    self->step = PF_SECAGG_MASKED;
    return PF_OK;
}
