/* Step 1 of the client, first half: the key list and the boxes that are made.  The boxes received
 * are in secagg_client_boxes.c. */
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/memory.h"
#include "participant/secagg_client_parts.h"

static double corrupt_bound(const struct pf_secagg_client_config *config, uint32_t n)
{
    return config->max_corrupt < 0 ? pf_secagg_default_corrupt(n) : config->max_corrupt;
}

/* ---- what was seen before -----------------------------------------------------------------------
 */

static struct pf_digest digest_list(const struct pf_key_list *list)
{
    struct pf_digest digest;
    crypto_generichash_state state;
    crypto_generichash_init(&state, NULL, 0, sizeof digest.bytes);
    pf_sc_hash_set(&state, &list->cohort);
    pf_sc_hash_u32(&state, (uint32_t)list->parameters.graph);
    pf_sc_hash_u32(&state, list->parameters.degree);
    pf_sc_hash_u32(&state, list->parameters.threshold);
    pf_sc_hash_u32(&state, list->n_randomness);
    for (uint32_t i = 0; i < list->n_randomness; i++)
        crypto_generichash_update(&state, list->randomness[i], PF_RANDOMNESS_BYTES);
    pf_sc_hash_u32(&state, list->n_adverts);
    for (uint32_t i = 0; i < list->n_adverts; i++) {
        const struct pf_advert *advert = &list->adverts[i];
        pf_sc_hash_u32(&state, advert->member);
        crypto_generichash_update(&state, advert->channel_key, sizeof advert->channel_key);
        crypto_generichash_update(&state, advert->mask_key, sizeof advert->mask_key);
        crypto_generichash_update(&state, advert->self_commitment.bytes, PF_DIGEST_BYTES);
        crypto_generichash_update(&state, advert->randomness_commitment.bytes, PF_DIGEST_BYTES);
        crypto_generichash_update(&state, advert->signature, sizeof advert->signature);
    }
    crypto_generichash_final(&state, digest.bytes, sizeof digest.bytes);
    return digest;
}

/* ---- the key list -------------------------------------------------------------------------------
 */

/* What a list becomes; nothing of it is the client's before all of it is found to be good. */
struct draft {
    struct pf_digest key_list;
    uint32_t n_cohort;
    uint32_t *members; /* [n_cohort], ascending: vertex → member */
    uint32_t n_neighbours;
    struct pf_sc_neighbour *neighbours; /* [n_neighbours] */
    uint32_t n_x;
    uint32_t *x; /* [n_x]: neighbours' + 1, and one's own last when complete */
    struct pf_share_pair own;
    struct pf_share_box *boxes; /* [n_neighbours] */
};

static void draft_finish(struct draft *self)
{
    if (self->neighbours != NULL)
        sodium_memzero(self->neighbours, self->n_neighbours * sizeof *self->neighbours);
    sodium_memzero(&self->own, sizeof self->own);
    pf_free(self->members);
    pf_free(self->neighbours);
    pf_free(self->x);
    pf_free(self->boxes);
}

static enum pf_status check_parameters(const struct pf_secagg_client *self,
                                       const struct pf_key_list *list, uint32_t n_cohort,
                                       enum pf_reason *reason, struct pf_error *err)
{
    const struct pf_secagg_goal goal = {.n = n_cohort,
                                        .corrupt = corrupt_bound(&self->config, n_cohort),
                                        .adversary = self->config.adversary};
    bool random_graph = list->parameters.graph == PF_GRAPH_HARARY;
    if (random_graph != (self->step == PF_SECAGG_REVEALED))
        return PF_SC_REFUSE(reason, PF_REASON_STEP, err, "a %s graph in step '%s'",
                            pf_graph_name(list->parameters.graph), pf_secagg_step_name(self->step));
    *reason = PF_REASON_THRESHOLD;
    PF_TRY(pf_secagg_check(&goal, &list->parameters, err));
    unsigned bits = pf_secagg_modulus_bits(self->config.masking.value_bits, n_cohort);
    if (bits > PF_RING_MAX_BITS)
        return PF_SC_REFUSE(reason, PF_REASON_MODULUS, err,
                            "sums of %u values of %u bits need %u bits; %u are possible", n_cohort,
                            self->config.masking.value_bits, bits, PF_RING_MAX_BITS);
    return PF_OK;
}

static enum pf_status list_members(const struct pf_secagg_client *self,
                                   const struct pf_member_set *cohort, struct draft *draft,
                                   struct pf_error *err)
{
    draft->members = PF_ALLOC(draft->n_cohort, uint32_t);
    if (draft->members == NULL) return pf_no_memory(err, "a cohort");
    uint32_t n = 0;
    for (uint32_t i = 0; i < self->config.roster->n_members; i++)
        if (pf_member_set_has(cohort, i)) draft->members[n++] = i;
    return PF_OK;
}

/* HARARY: everybody's randomness is what was committed to before ours was given away. */
static enum pf_status check_randomness(const struct pf_secagg_client *self,
                                       const struct pf_key_list *list, const struct draft *draft,
                                       enum pf_reason *reason, struct pf_error *err)
{
    if (list->n_randomness != draft->n_cohort)
        return PF_SC_REFUSE(reason, PF_REASON_GRAPH, err, "randomness of %u for a cohort of %u",
                            list->n_randomness, draft->n_cohort);
    PF_CLEANUP(pf_freep)
    struct pf_digest *commitments = PF_ALLOC(draft->n_cohort, struct pf_digest);
    if (commitments == NULL) return pf_no_memory(err, "commitments");
    for (uint32_t i = 0; i < draft->n_cohort; i++) {
        commitments[i] =
            pf_commit_randomness(&self->config.context, draft->members[i], list->randomness[i]);
        if (draft->members[i] == self->config.self &&
            !pf_digest_equal(&commitments[i], &self->advertise.advert.randomness_commitment))
            return PF_SC_REFUSE(reason, PF_REASON_GRAPH, err,
                                "the list has other randomness in our name");
    }
    struct pf_digest digest =
        pf_cohort_digest(&self->config.context, &list->cohort, &list->parameters, commitments);
    if (!pf_digest_equal(&digest, &self->committed))
        return PF_SC_REFUSE(reason, PF_REASON_GRAPH, err,
                            "cohort, graph or randomness are not what was committed to");
    return PF_OK;
}

/* The members whose adverts the list must hold, in order. */
static enum pf_status expected_peers(const struct pf_secagg_client *self,
                                     const struct pf_key_list *list, const struct draft *draft,
                                     uint32_t *peers, struct pf_error *err)
{
    PF_CLEANUP(pf_graph_destroyp) struct pf_graph *graph = NULL;
    uint32_t vertex = 0;
    while (draft->members[vertex] != self->config.self) vertex++;
    PF_TRY(pf_graph_create(list->parameters.graph, draft->n_cohort, list->parameters.degree,
                           draft->key_list.bytes, &graph, err));
    pf_graph_neighbours(graph, vertex, peers);
    for (uint32_t i = 0; i < list->parameters.degree; i++) peers[i] = draft->members[peers[i]];
    return PF_OK;
}

static bool same_advert(const struct pf_advert *a, const struct pf_advert *b)
{
    return a->member == b->member &&
           memcmp(a->channel_key, b->channel_key, sizeof a->channel_key) == 0 &&
           memcmp(a->mask_key, b->mask_key, sizeof a->mask_key) == 0 &&
           pf_digest_equal(&a->self_commitment, &b->self_commitment) &&
           pf_digest_equal(&a->randomness_commitment, &b->randomness_commitment) &&
           memcmp(a->signature, b->signature, sizeof a->signature) == 0;
}

/* Takes the neighbours' adverts from the list: exactly those the graph gives, and, complete, our
 * own as we made it. */
static enum pf_status take_adverts(const struct pf_secagg_client *self,
                                   const struct pf_key_list *list, struct draft *draft,
                                   enum pf_reason *reason, struct pf_error *err)
{
    bool complete = list->parameters.graph == PF_GRAPH_COMPLETE;
    PF_CLEANUP(pf_freep) uint32_t *peers = PF_ALLOC(list->parameters.degree, uint32_t);
    draft->n_neighbours = list->parameters.degree;
    draft->neighbours = PF_ALLOC(draft->n_neighbours, struct pf_sc_neighbour);
    draft->boxes = PF_ALLOC(draft->n_neighbours, struct pf_share_box);
    if (peers == NULL || draft->neighbours == NULL || draft->boxes == NULL)
        return pf_no_memory(err, "the keys of the others");
    PF_TRY(expected_peers(self, list, draft, peers, err));
    uint32_t n = 0;
    for (uint32_t i = 0; i < list->n_adverts; i++) {
        const struct pf_advert *advert = &list->adverts[i];
        if (!pf_member_set_has(&list->cohort, advert->member))
            return PF_SC_REFUSE(reason, PF_REASON_ROSTER, err,
                                "keys of %s (%u), who is not in the cohort",
                                pf_sc_name(self, advert->member), advert->member);
        if (complete && advert->member == self->config.self) {
            if (!same_advert(advert, &self->advertise.advert))
                return PF_SC_REFUSE(reason, PF_REASON_SIGNATURE, err,
                                    "the list has other keys in our name");
            continue;
        }
        if (n == draft->n_neighbours || advert->member != peers[n])
            return PF_SC_REFUSE(reason, PF_REASON_GRAPH, err,
                                "keys of %s, where the graph has %s as the next neighbour",
                                pf_sc_name(self, advert->member),
                                n < draft->n_neighbours ? pf_sc_name(self, peers[n]) : "nobody");
        draft->neighbours[n++].advert = *advert;
    }
    if (n != draft->n_neighbours || list->n_adverts != n + complete)
        return PF_SC_REFUSE(reason, PF_REASON_GRAPH, err, "keys of %u neighbours; the graph has %u",
                            n, draft->n_neighbours);
    return PF_OK;
}

struct peer_job {
    const struct pf_secagg_client *self;
    struct draft *draft;
    enum pf_status *status; /* [n_neighbours]: PF_OK, PF_CORRUPT (signature), PF_REFUSED (key) */
};

/* Its mask key is used only when the update is masked, too late to do without it. */
static void greet_peer(void *context, size_t i)
{
    const struct peer_job *job = context;
    const struct pf_secagg_client_config *config = &job->self->config;
    struct pf_sc_neighbour *peer = &job->draft->neighbours[i];
    const uint8_t *sign = config->roster->members[peer->advert.member].sign;
    if (!pf_advert_verify(&peer->advert, &config->context, sign))
        job->status[i] = PF_CORRUPT;
    else if (!pf_public_key_serves(peer->advert.mask_key))
        job->status[i] = PF_REFUSED;
    else
        job->status[i] =
            pf_share_key_derive(job->self->channel_secret, job->self->advertise.advert.channel_key,
                                peer->advert.channel_key, &config->context, &job->draft->key_list,
                                &peer->channel, NULL);
}

static enum pf_status greet_peers(const struct pf_secagg_client *self, struct draft *draft,
                                  enum pf_reason *reason, struct pf_error *err)
{
    PF_CLEANUP(pf_freep) enum pf_status *status = PF_ALLOC(draft->n_neighbours, enum pf_status);
    if (status == NULL) return pf_no_memory(err, "the keys of the others");
    struct peer_job job = {self, draft, status};
    pf_sc_each(self, draft->n_neighbours, greet_peer, &job);
    for (uint32_t i = 0; i < draft->n_neighbours; i++) {
        const char *name = pf_sc_name(self, draft->neighbours[i].advert.member);
        if (status[i] == PF_CORRUPT)
            return PF_SC_REFUSE(reason, PF_REASON_SIGNATURE, err,
                                "the keys of %s are not signed by its identity for this round",
                                name);
        if (status[i] != PF_OK)
            return PF_SC_REFUSE(reason, PF_REASON_SIGNATURE, err,
                                "%s advertised a key that gives no secret", name);
    }
    return PF_OK;
}

static int compare_mask_keys(const void *a, const void *b)
{
    const struct pf_advert *const *x = a, *const *y = b;
    return memcmp((*x)->mask_key, (*y)->mask_key, sizeof(*x)->mask_key);
}

/* A corrupt member can advertise an honest one's public key without knowing its secret.  Our masks
 * with the two would be one and the same, and where we stand between them would cancel.  Bonawitz
 * et al. 2017, round 1, have the keys differ too. */
static enum pf_status check_keys_differ(const struct pf_secagg_client *self,
                                        const struct draft *draft, enum pf_reason *reason,
                                        struct pf_error *err)
{
    size_t n = (size_t)draft->n_neighbours + 1;
    PF_CLEANUP(pf_freep)
    const struct pf_advert **adverts = pf_alloc(n, sizeof(const struct pf_advert *));
    if (adverts == NULL) return pf_no_memory(err, "the keys of the others");
    for (size_t i = 0; i + 1 < n; i++) adverts[i] = &draft->neighbours[i].advert;
    adverts[n - 1] = &self->advertise.advert;
    qsort(adverts, n, sizeof(const struct pf_advert *), compare_mask_keys);
    for (size_t i = 1; i < n; i++)
        if (compare_mask_keys(&adverts[i - 1], &adverts[i]) == 0)
            return PF_SC_REFUSE(reason, PF_REASON_SIGNATURE, err,
                                "%s and %s advertised the same key: one of them has it from the "
                                "other",
                                pf_sc_name(self, adverts[i - 1]->member),
                                pf_sc_name(self, adverts[i]->member));
    return PF_OK;
}

/* ---- sharing ------------------------------------------------------------------------------------
 */

struct split_job {
    const struct pf_secagg_client *self;
    const struct draft *draft;
    uint32_t threshold;
    struct pf_scalar *shares[2]; /* [n_x] each */
    enum pf_status status[2];
    struct pf_error errors[2];
};

static void split_one(void *context, size_t which)
{
    struct split_job *job = context;
    const struct pf_scalar *secret = which == 0 ? &job->self->self_seed : &job->self->mask_seed;
    job->status[which] = pf_shamir_split(secret, job->threshold, job->draft->x, job->draft->n_x,
                                         job->shares[which], &job->errors[which]);
}

static void seal_boxes(const struct pf_secagg_client *self, struct draft *draft,
                       struct pf_scalar *const shares[2])
{
    struct pf_share_pair pair;
    for (uint32_t i = 0; i < draft->n_neighbours; i++) {
        uint32_t peer = draft->neighbours[i].advert.member;
        pair.self = shares[0][i]; /* not by a literal: its copy would not be wiped */
        pair.mask = shares[1][i];
        draft->boxes[i].peer = peer;
        pf_share_seal(&draft->neighbours[i].channel, self->config.self, peer, &pair,
                      draft->boxes[i].box);
    }
    if (draft->n_x > draft->n_neighbours) {
        draft->own.self = shares[0][draft->n_neighbours];
        draft->own.mask = shares[1][draft->n_neighbours];
    }
    sodium_memzero(&pair, sizeof pair);
}

static enum pf_status share_secrets(const struct pf_secagg_client *self,
                                    const struct pf_secagg_parameters *parameters,
                                    struct draft *draft, struct pf_error *err)
{
    draft->n_x = draft->n_neighbours + (parameters->graph == PF_GRAPH_COMPLETE);
    draft->x = PF_ALLOC(draft->n_x, uint32_t);
    size_t n = draft->n_x;
    struct split_job job = {.self = self, .draft = draft, .threshold = parameters->threshold};
    job.shares[0] = PF_ALLOC(n, struct pf_scalar);
    job.shares[1] = PF_ALLOC(n, struct pf_scalar);
    enum pf_status status = PF_OK;
    if (draft->x == NULL || job.shares[0] == NULL || job.shares[1] == NULL) {
        status = pf_no_memory(err, "shares");
    } else {
        for (uint32_t i = 0; i < draft->n_neighbours; i++)
            draft->x[i] = draft->neighbours[i].advert.member + 1;
        if (n > draft->n_neighbours) draft->x[n - 1] = self->config.self + 1;
        pf_sc_each(self, 2, split_one, &job);
        for (size_t i = 0; i < 2 && status == PF_OK; i++)
            if (job.status[i] != PF_OK)
                status = pf_fail(err, job.status[i], "%s", job.errors[i].text);
        if (status == PF_OK) seal_boxes(self, draft, job.shares);
    }
    for (size_t i = 0; i < 2; i++) {
        if (job.shares[i] != NULL) sodium_memzero(job.shares[i], n * sizeof *job.shares[i]);
        pf_free(job.shares[i]);
    }
    return status;
}

/* ---- step 1, first half
 * --------------------------------------------------------------------------- */

static enum pf_status answer_shares(const struct pf_secagg_client *self, struct pf_shares *shares,
                                    struct pf_error *err)
{
    struct pf_share_box *boxes = PF_ALLOC(self->n_neighbours, struct pf_share_box);
    if (boxes == NULL) return pf_no_memory(err, "share boxes");
    memcpy(boxes, self->boxes, self->n_neighbours * sizeof *boxes);
    *shares = (struct pf_shares){
        .round = self->config.round, .n_boxes = self->n_neighbours, .boxes = boxes};
    return PF_OK;
}

static enum pf_status draw_up(const struct pf_secagg_client *self, const struct pf_key_list *list,
                              struct draft *draft, enum pf_reason *reason, struct pf_error *err)
{
    draft->n_cohort = pf_member_set_count(&list->cohort);
    PF_TRY(check_parameters(self, list, draft->n_cohort, reason, err));
    PF_TRY(list_members(self, &list->cohort, draft, err));
    if (list->parameters.graph == PF_GRAPH_HARARY) {
        PF_TRY(check_randomness(self, list, draft, reason, err));
        draft->key_list =
            pf_key_list_digest(&self->committed, draft->n_cohort,
                               (const uint8_t(*)[PF_RANDOMNESS_BYTES])list->randomness, NULL);
    } else {
        struct pf_digest cohort =
            pf_cohort_digest(&self->config.context, &list->cohort, &list->parameters, NULL);
        if (list->n_adverts != draft->n_cohort)
            return PF_SC_REFUSE(reason, PF_REASON_GRAPH, err, "keys of %u for a cohort of %u",
                                list->n_adverts, draft->n_cohort);
        draft->key_list = pf_key_list_digest(&cohort, draft->n_cohort, NULL, list->adverts);
    }
    PF_TRY(take_adverts(self, list, draft, reason, err));
    PF_TRY(greet_peers(self, draft, reason, err));
    PF_TRY(check_keys_differ(self, draft, reason, err));
    return share_secrets(self, &list->parameters, draft, err);
}

enum pf_status pf_secagg_client_key_list(struct pf_secagg_client *self,
                                         const struct pf_key_list *list, struct pf_shares *shares,
                                         enum pf_reason *reason, struct pf_error *err)
{
    struct pf_digest seen = digest_list(list);
    if (self->step >= PF_SECAGG_SHARED) {
        if (!pf_digest_equal(&seen, &self->list_seen))
            return PF_SC_REFUSE(reason, PF_REASON_SECOND_LIST, err,
                                "a second, different key list for one round");
        return answer_shares(self, shares, err);
    }
    PF_CLEANUP(draft_finish) struct draft draft = {0};
    PF_TRY(pf_sc_check_set(self, &list->cohort, "cohort", reason, err));
    PF_TRY(draw_up(self, list, &draft, reason, err));
    struct pf_member_set cohort;
    PF_TRY(pf_member_set_copy(&list->cohort, &cohort, err));

    self->list_seen = seen;
    self->key_list = draft.key_list;
    self->parameters = list->parameters;
    self->cohort = cohort;
    self->n_cohort = draft.n_cohort;
    self->n_neighbours = draft.n_neighbours;
    self->neighbours = draft.neighbours;
    self->own = draft.own;
    self->boxes = draft.boxes;
    draft.neighbours = NULL;
    draft.boxes = NULL;
    self->step = PF_SECAGG_SHARED;
    return answer_shares(self, shares, err);
}
