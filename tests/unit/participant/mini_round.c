#include "mini_round.h"

#include <stdarg.h>
#include <stddef.h>

#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/base/random.h"
#include "common/secagg/unmask.h"
#include "proto/round_context.h"

#define OK(call) assert_int_equal((call), PF_OK)

/* ---- members -------------------------------------------------------------------------------- */

static void sign_pair(uint32_t member, uint8_t public[32], uint8_t secret[64])
{
    uint8_t seed[crypto_sign_SEEDBYTES] = {1, (uint8_t)member, (uint8_t)(member >> 8)};
    crypto_sign_seed_keypair(public, secret, seed);
}

void mini_sign_secret(uint32_t member, uint8_t secret[64])
{
    uint8_t public[32];
    sign_pair(member, public, secret);
}

void mini_roster(uint32_t n_members, struct pf_roster **roster)
{
    static struct pf_public_identity members[MINI_MAX_MEMBERS + 1];
    struct pf_error err = {0};
    assert_true(n_members <= MINI_MAX_MEMBERS && sodium_init() >= 0);
    for (uint32_t i = 0; i <= n_members; i++) {
        uint8_t secret[64];
        snprintf(members[i].name, sizeof members[i].name, "member-%03u", i);
        sign_pair(i, members[i].sign, secret);
        memset(members[i].transport, 0x20 + (int)(i % 128), sizeof members[i].transport);
        members[i].transport[0] = (uint8_t)i;
    }
    OK(pf_roster_create("mini", 1, &members[n_members], members, n_members, roster, &err));
}

static void make_update(struct mini_round *self, uint32_t member)
{
    struct mini_member *one = &self->members[member];
    struct pf_random random;
    size_t n = self->config.length[0] + self->config.length[1];
    one->update = PF_ALLOC(n, float);
    assert_non_null(one->update);
    pf_random_init(&random, member, "update", 0);
    for (size_t i = 0; i < n; i++) one->update[i] = 0.05f * (float)pf_random_normal(&random);
    one->figures[PF_FIGURE_EXAMPLES] = 50 + member % 50;
    one->figures[PF_FIGURE_EVALUATED] = 1000 + member;
    one->figures[PF_FIGURE_CORRECT] = 300 + 2 * member;
}

/* ---- life ----------------------------------------------------------------------------------- */

static void fill_in(struct mini_round *self, const struct mini_config *config)
{
    self->config = *config;
    if (self->config.round == 0) self->config.round = 1;
    if (self->config.length[0] + self->config.length[1] == 0) {
        self->config.length[0] = 300;
        self->config.length[1] = 20;
    }
    if (self->config.masking.value_bits == 0)
        self->config.masking = (struct pf_masking_order){
            .value_bits = 16, .weight_cap = 100, .clip = {4.0, 4.0}, .rotate = true};
    memset(&self->run_id, 0x52, sizeof self->run_id);
    self->offer = (struct pf_round_offer){.round = self->config.round,
                                          .n_rounds = 10,
                                          .stage = 1,
                                          .n_stages = 1,
                                          .cohort = config->n_cohort,
                                          .deadline_ms = 60000,
                                          .model_bytes = 1000,
                                          .n_chunks = 1,
                                          .masking = self->config.masking};
    memset(&self->offer.model_hash, config->model, sizeof self->offer.model_hash);
    if (config->offer != NULL) {
        self->offer = *config->offer;
        self->config.masking = self->offer.masking;
        self->config.round = self->offer.round;
    }
    if (config->run_id != NULL) self->run_id = *config->run_id;
}

static void make_client(struct mini_round *self, uint32_t member)
{
    struct mini_member *one = &self->members[member];
    struct pf_secagg_client_config config = {.roster = self->roster,
                                             .self = member,
                                             .sign_secret = one->sign_secret,
                                             .round = self->config.round,
                                             .context = self->context,
                                             .masking = self->config.masking,
                                             .min_cohort = 3,
                                             .max_corrupt = -1,
                                             .pool = self->config.pool};
    struct pf_advertise advertise;
    struct pf_error err = {0};
    pf_round_rotation_seed(&self->offer, config.rotation_seed);
    if (self->config.change != NULL) self->config.change(&config);
    OK(pf_secagg_client_create(&config, &one->client, &err));
    pf_secagg_client_advertise(one->client, &advertise);
    assert_int_equal(advertise.round, self->config.round);
    one->advert = advertise.advert;
}

void mini_init(struct mini_round *self, const struct mini_config *config)
{
    memset(self, 0, sizeof *self);
    fill_in(self, config);
    mini_roster(config->n_members, &self->roster);
    self->context = pf_round_context(&self->run_id, self->roster->hash, &self->offer);
    struct pf_secagg_goal goal = {.n = config->n_cohort,
                                  .corrupt = pf_secagg_default_corrupt(config->n_cohort),
                                  .dropouts = 0.05,
                                  .adversary = PF_SEMI_MALICIOUS};
    struct pf_error err = {0};
    OK(config->regular ? pf_secagg_find_regular(&goal, &self->parameters, &err)
                       : pf_secagg_find_complete(&goal, &self->parameters, &err));
    for (uint32_t i = 0; i < config->n_members; i++) {
        mini_sign_secret(i, self->members[i].sign_secret);
        self->members[i].last = MINI_UNMASKED;
        if (i >= config->n_cohort) continue;
        make_update(self, i);
        if (i != config->played) make_client(self, i);
    }
}

void mini_finish(struct mini_round *self)
{
    for (uint32_t i = 0; i < self->config.n_members; i++) {
        struct mini_member *one = &self->members[i];
        struct pf_message shares = {.kind = PF_MESSAGE_SHARES, .shares = one->shares};
        struct pf_message unmask = {.kind = PF_MESSAGE_UNMASK, .unmask = one->unmask};
        pf_secagg_client_destroy(one->client);
        pf_free(one->update);
        pf_message_finish(&shares);
        pf_message_finish(&unmask);
        pf_buffer_finish(&one->masked);
    }
    pf_roster_destroy(self->roster);
    sodium_memzero(self, sizeof *self);
}

bool mini_takes_part(const struct mini_round *self, uint32_t member, enum mini_stage stage)
{
    return member < self->config.n_cohort && self->members[member].last >= stage;
}

uint32_t mini_neighbours(const struct mini_round *self, uint32_t member, uint32_t *neighbours)
{
    PF_CLEANUP(pf_graph_destroyp) struct pf_graph *graph = NULL;
    OK(pf_graph_create(self->parameters.graph, self->config.n_cohort, self->parameters.degree,
                       self->key_list.bytes, &graph, NULL));
    pf_graph_neighbours(graph, member, neighbours); /* vertex and member are the same */
    return self->parameters.degree;
}

/* ---- the coordinator's messages -------------------------------------------------------------- */

void mini_set(const struct mini_round *self, enum mini_stage stage, struct pf_member_set *set)
{
    OK(pf_member_set_create(self->config.n_members, set, NULL));
    for (uint32_t i = 0; i < self->config.n_cohort; i++)
        if (mini_takes_part(self, i, stage)) pf_member_set_add(set, i);
}

static struct pf_digest cohort_digest(const struct mini_round *self)
{
    struct pf_digest commitments[MINI_MAX_MEMBERS];
    struct pf_member_set cohort;
    for (uint32_t i = 0; i < self->config.n_cohort; i++)
        commitments[i] = self->members[i].advert.randomness_commitment;
    mini_set(self, MINI_ADVERTISED, &cohort);
    struct pf_digest digest = pf_cohort_digest(&self->context, &cohort, &self->parameters,
                                               self->config.regular ? commitments : NULL);
    pf_member_set_finish(&cohort);
    return digest;
}

void mini_close_list(struct mini_round *self)
{
    struct pf_digest cohort = cohort_digest(self);
    uint8_t randomness[MINI_MAX_MEMBERS][PF_RANDOMNESS_BYTES];
    struct pf_advert adverts[MINI_MAX_MEMBERS];
    uint32_t n = self->config.n_cohort;
    for (uint32_t i = 0; i < n; i++) {
        memcpy(randomness[i], self->members[i].randomness, PF_RANDOMNESS_BYTES);
        adverts[i] = self->members[i].advert;
    }
    self->key_list = self->config.regular
                         ? pf_key_list_digest(
                               &cohort, n, (const uint8_t(*)[PF_RANDOMNESS_BYTES])randomness, NULL)
                         : pf_key_list_digest(&cohort, n, NULL, adverts);
}

struct pf_message mini_committed(const struct mini_round *self)
{
    struct pf_message message = {.kind = PF_MESSAGE_COMMITTED, .run_id = self->run_id};
    message.committed = (struct pf_committed){
        .round = self->config.round, .parameters = self->parameters, .digest = cohort_digest(self)};
    mini_set(self, MINI_ADVERTISED, &message.committed.cohort);
    return message;
}

struct pf_message mini_key_list(const struct mini_round *self, uint32_t member)
{
    struct pf_message message = {.kind = PF_MESSAGE_KEY_LIST, .run_id = self->run_id};
    struct pf_key_list *list = &message.key_list;
    uint32_t peers[MINI_MAX_MEMBERS];
    *list = (struct pf_key_list){.round = self->config.round, .parameters = self->parameters};
    mini_set(self, MINI_ADVERTISED, &list->cohort);
    list->n_adverts = self->config.n_cohort;
    for (uint32_t i = 0; i < list->n_adverts; i++) peers[i] = i;
    if (self->config.regular) {
        list->n_adverts = mini_neighbours(self, member, peers);
        list->n_randomness = self->config.n_cohort;
        list->randomness = pf_alloc(list->n_randomness, PF_RANDOMNESS_BYTES);
        assert_non_null(list->randomness);
        for (uint32_t i = 0; i < list->n_randomness; i++)
            memcpy(list->randomness[i], self->members[i].randomness, PF_RANDOMNESS_BYTES);
    }
    list->adverts = PF_ALLOC(list->n_adverts, struct pf_advert);
    assert_non_null(list->adverts);
    for (uint32_t i = 0; i < list->n_adverts; i++)
        list->adverts[i] = self->members[peers[i]].advert;
    return message;
}

/* The box that one member sent to another; NULL when there is none. */
static const struct pf_share_box *find_box(const struct mini_round *self, uint32_t from,
                                           uint32_t to)
{
    const struct pf_shares *sent = &self->members[from].shares;
    for (uint32_t i = 0; i < sent->n_boxes; i++)
        if (sent->boxes[i].peer == to) return &sent->boxes[i];
    return NULL;
}

struct pf_message mini_delivery(const struct mini_round *self, uint32_t member)
{
    struct pf_message message = {.kind = PF_MESSAGE_SHARE_DELIVERY, .run_id = self->run_id};
    struct pf_shares *delivery = &message.shares;
    *delivery = (struct pf_shares){.round = self->config.round,
                                   .boxes = PF_ALLOC(self->config.n_cohort, struct pf_share_box)};
    assert_non_null(delivery->boxes);
    mini_set(self, MINI_SHARED, &delivery->sharers);
    for (uint32_t i = 0; i < self->config.n_cohort; i++) {
        const struct pf_share_box *box = find_box(self, i, member);
        if (box == NULL) continue;
        delivery->boxes[delivery->n_boxes] = *box;
        delivery->boxes[delivery->n_boxes++].peer = i;
    }
    return message;
}

struct pf_message mini_survivors(const struct mini_round *self)
{
    struct pf_message message = {.kind = PF_MESSAGE_SURVIVORS, .run_id = self->run_id};
    message.survivors.round = self->config.round;
    mini_set(self, MINI_MASKED, &message.survivors.survivors);
    return message;
}

struct pf_message mini_request(const struct mini_round *self, uint32_t member)
{
    struct pf_message message = {.kind = PF_MESSAGE_UNMASK_REQUEST, .run_id = self->run_id};
    struct pf_unmask_request *request = &message.unmask_request;
    uint32_t peers[MINI_MAX_MEMBERS], n = self->config.n_cohort;
    *request = (struct pf_unmask_request){.round = self->config.round,
                                          .survivors = PF_ALLOC(n, uint32_t),
                                          .dropped = PF_ALLOC(n, uint32_t),
                                          .consents = PF_ALLOC(n, struct pf_consent)};
    assert_true(request->survivors != NULL && request->dropped != NULL &&
                request->consents != NULL);
    for (uint32_t i = 0; i < n; i++) peers[i] = i;
    if (self->config.regular) n = mini_neighbours(self, member, peers);
    for (uint32_t i = 0; i < n; i++) {
        uint32_t peer = peers[i];
        if (mini_takes_part(self, peer, MINI_MASKED))
            request->survivors[request->n_survivors++] = peer;
        else if (mini_takes_part(self, peer, MINI_SHARED))
            request->dropped[request->n_dropped++] = peer;
        if (mini_takes_part(self, peer, MINI_CONSENTED))
            request->consents[request->n_consents++] = self->members[peer].consent;
    }
    return message;
}

/* ---- the steps ------------------------------------------------------------------------------ */

static void take_step(struct mini_round *self, uint32_t member, enum mini_stage stage)
{
    struct mini_member *one = &self->members[member];
    struct pf_message message = {0};
    struct pf_reveal reveal;
    struct pf_consent_message consent;
    enum pf_reason reason = PF_REASON_NONE;
    struct pf_error err = {0};
    enum pf_status status = PF_OK;
    switch (stage) {
    case MINI_ADVERTISED: break;
    case MINI_REVEALED:
        message = mini_committed(self);
        status =
            pf_secagg_client_committed(one->client, &message.committed, &reveal, &reason, &err);
        memcpy(one->randomness, reveal.randomness, PF_RANDOMNESS_BYTES);
        break;
    case MINI_SHARED:
        message = mini_key_list(self, member);
        status =
            pf_secagg_client_key_list(one->client, &message.key_list, &one->shares, &reason, &err);
        break;
    case MINI_READY:
        message = mini_delivery(self, member);
        status = pf_secagg_client_delivery(one->client, &message.shares, &reason, &err);
        break;
    case MINI_MASKED:
        status = pf_secagg_client_mask(one->client, self->config.length, one->update, one->figures,
                                       member, &one->masked, &reason, &err);
        break;
    case MINI_CONSENTED:
        message = mini_survivors(self);
        status = pf_secagg_client_survivors(one->client, &message.survivors, &consent,
                                            &one->set_digest, &reason, &err);
        one->consent = consent.consent;
        break;
    case MINI_UNMASKED:
        message = mini_request(self, member);
        status = pf_secagg_client_unmask(one->client, &message.unmask_request, &one->unmask,
                                         &reason, &err);
        break;
    }
    if (status != PF_OK) print_error("member %u, stage %d: %s\n", member, (int)stage, err.text);
    OK(status);
    pf_message_finish(&message);
}

void mini_to(struct mini_round *self, enum mini_stage stage)
{
    while (self->stage < stage) {
        self->stage++;
        bool nothing = self->stage == MINI_REVEALED && !self->config.regular;
        for (uint32_t i = 0; i < self->config.n_cohort && !nothing; i++)
            if (mini_takes_part(self, i, self->stage) && self->members[i].client != NULL)
                take_step(self, i, self->stage);
        if (self->stage == MINI_REVEALED) mini_close_list(self);
    }
}

/* ---- the sum -------------------------------------------------------------------------------- */

static struct pf_codec_config codec_config(const struct mini_round *self)
{
    const struct pf_masking_order *order = &self->config.masking;
    struct pf_codec_config config = {
        .value_bits = order->value_bits,
        .modulus_bits = pf_secagg_modulus_bits(order->value_bits, self->config.n_cohort),
        .n_participants = self->config.n_cohort,
        .weight_cap = order->weight_cap,
        .length = {self->config.length[0], self->config.length[1]},
        .clip = {order->clip[0], order->clip[1]},
        .rotate = order->rotate};
    pf_round_rotation_seed(&self->offer, config.seed);
    return config;
}

static void add_shares(const struct mini_round *self, uint32_t owner,
                       struct pf_unmask_target *target)
{
    target->x = PF_ALLOC(self->config.n_cohort, uint32_t);
    target->shares = PF_ALLOC(self->config.n_cohort, struct pf_scalar);
    assert_true(target->x != NULL && target->shares != NULL);
    for (uint32_t i = 0; i < self->config.n_cohort; i++) {
        const struct pf_unmask *unmask = &self->members[i].unmask;
        for (uint32_t s = 0; s < unmask->n_shares; s++) {
            if (unmask->shares[s].member != owner) continue;
            assert_int_equal(unmask->shares[s].dropped, target->dropped);
            target->x[target->n_shares] = i + 1;
            target->shares[target->n_shares++] = unmask->shares[s].share;
        }
    }
}

static void add_neighbours(const struct mini_round *self, uint32_t member,
                           const uint32_t *target_of, struct pf_unmask_target *target)
{
    uint32_t peers[MINI_MAX_MEMBERS], n = mini_neighbours(self, member, peers);
    target->neighbours = PF_ALLOC(n, uint32_t);
    assert_non_null(target->neighbours);
    for (uint32_t i = 0; i < n; i++)
        if (mini_takes_part(self, peers[i], MINI_MASKED))
            target->neighbours[target->n_neighbours++] = target_of[peers[i]];
}

enum pf_status mini_sum(const struct mini_round *self, float *mean, uint64_t figures[PF_FIGURE_N],
                        struct pf_error *err)
{
    PF_CLEANUP(pf_unmasking_destroyp)
    struct pf_unmasking *unmasking = PF_ALLOC(1, struct pf_unmasking);
    PF_CLEANUP(pf_codec_destroyp) struct pf_codec *codec = NULL;
    struct pf_codec_config config = codec_config(self);
    uint32_t target_of[MINI_MAX_MEMBERS] = {0}, n = self->config.n_cohort;
    assert_non_null(unmasking);
    OK(pf_codec_create(&config, &codec, err));
    OK(pf_ring_create(pf_codec_ring_length(codec), config.modulus_bits, &unmasking->sum, err));
    unmasking->context = self->context;
    unmasking->key_list = self->key_list;
    unmasking->threshold = self->parameters.threshold;
    unmasking->targets = PF_ALLOC(n, struct pf_unmask_target);
    assert_non_null(unmasking->targets);
    for (uint32_t i = 0; i < n; i++)
        if (mini_takes_part(self, i, MINI_SHARED)) target_of[i] = unmasking->n_targets++;
    for (uint32_t i = 0; i < n; i++) {
        if (!mini_takes_part(self, i, MINI_SHARED)) continue;
        struct pf_unmask_target *target = &unmasking->targets[target_of[i]];
        target->advert = self->members[i].advert;
        target->dropped = !mini_takes_part(self, i, MINI_MASKED);
        add_shares(self, i, target);
        add_neighbours(self, i, target_of, target);
        if (target->dropped) continue;
        unmasking->n_survivors++;
        assert_int_equal(self->members[i].masked.length,
                         pf_ring_packed_size(pf_codec_ring_length(codec), config.modulus_bits));
        pf_ring_add_packed(unmasking->sum, self->members[i].masked.bytes);
    }
    PF_TRY(pf_unmasking_run(unmasking, NULL, NULL, err));
    return pf_codec_decode(codec, unmasking->sum, unmasking->n_survivors, mean, figures, err);
}

void mini_expect_sum(struct mini_round *self)
{
    size_t n = self->config.length[0] + self->config.length[1];
    PF_CLEANUP(pf_freep) float *mean = PF_ALLOC(n, float);
    PF_CLEANUP(pf_freep) double *expected = PF_ALLOC(n, double);
    uint64_t figures[PF_FIGURE_N], summed[PF_FIGURE_N] = {0};
    struct pf_error err = {0};
    assert_true(mean != NULL && expected != NULL);
    mini_to(self, MINI_UNMASKED);
    enum pf_status status = mini_sum(self, mean, figures, &err);
    if (status != PF_OK) print_error("%s\n", err.text);
    OK(status);
    for (uint32_t i = 0; i < self->config.n_cohort; i++) {
        const struct mini_member *one = &self->members[i];
        if (!mini_takes_part(self, i, MINI_MASKED)) continue;
        for (size_t f = 0; f < PF_FIGURE_N; f++) summed[f] += one->figures[f];
        for (size_t c = 0; c < n; c++)
            expected[c] += (double)one->figures[PF_FIGURE_EXAMPLES] * (double)one->update[c];
    }
    assert_int_equal(figures[PF_FIGURE_EXAMPLES], summed[PF_FIGURE_EXAMPLES]);
    assert_int_equal(figures[PF_FIGURE_EVALUATED], summed[PF_FIGURE_EVALUATED]);
    assert_int_equal(figures[PF_FIGURE_CORRECT], summed[PF_FIGURE_CORRECT]);
    for (size_t c = 0; c < n; c++)
        assert_true(fabs((double)mean[c] - expected[c] / (double)summed[PF_FIGURE_EXAMPLES]) <
                    1e-3);
}

/* ---- states --------------------------------------------------------------------------------- */

static void note(struct mini_state *state, const void *bytes, size_t length)
{
    if (bytes != NULL) OK(pf_buffer_append(&state->bytes, bytes, length, NULL));
}

static void describe(const struct pf_secagg_client *client, struct mini_state *state)
{
    const struct pf_member_set *sets[] = {&client->cohort, &client->sharers, &client->survivors};
    *state = (struct mini_state){0};
    note(state, client, sizeof *client);
    note(state, client->neighbours, client->n_neighbours * sizeof *client->neighbours);
    note(state, client->boxes, client->n_neighbours * sizeof *client->boxes);
    note(state, client->given, client->n_given * sizeof *client->given);
    for (size_t i = 0; i < PF_ARRAY_LENGTH(sets); i++)
        note(state, sets[i]->bits, pf_member_set_bytes(sets[i]->n_members));
}

void mini_keep(const struct pf_secagg_client *client, struct mini_state *state)
{
    describe(client, state);
}

void mini_expect_unchanged(const struct pf_secagg_client *client, struct mini_state *state)
{
    struct mini_state now;
    describe(client, &now);
    assert_int_equal(now.bytes.length, state->bytes.length);
    assert_memory_equal(now.bytes.bytes, state->bytes.bytes, now.bytes.length);
    sodium_memzero(now.bytes.bytes, now.bytes.length);
    sodium_memzero(state->bytes.bytes, state->bytes.length);
    pf_buffer_finish(&now.bytes);
    pf_buffer_finish(&state->bytes);
}
