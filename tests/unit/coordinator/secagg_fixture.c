#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <sodium.h>
#include <stdio.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/base/random.h"
#include "common/secagg/graph.h"
#include "secagg_fixture.h"

/* ---- life ------------------------------------------------------------------------------------ */

static void make_party(struct fixture *self, uint32_t member)
{
    struct party *party = &self->parties[member];
    struct pf_advert *advert = &party->advert;
    const struct pf_digest *context = &self->config.context;
    snprintf(self->identities[member].name, sizeof self->identities[member].name, "party-%u",
             member);
    crypto_sign_keypair(self->identities[member].sign, party->sign_secret);
    randombytes_buf(party->channel_secret, 32);
    struct pf_random random; /* the graph is the same at every run */
    pf_random_init(&random, member, "test randomness", self->n);
    for (size_t i = 0; i < PF_RANDOMNESS_BYTES; i++)
        party->randomness[i] = (uint8_t)pf_random_u32(&random);
    pf_scalar_random(&party->self_seed);
    pf_scalar_random(&party->mask_seed);
    pf_mask_secret(&party->mask_seed, party->mask_secret);
    advert->member = member;
    crypto_scalarmult_curve25519_base(advert->channel_key, party->channel_secret);
    crypto_scalarmult_curve25519_base(advert->mask_key, party->mask_secret);
    advert->self_commitment = pf_commit_self(context, member, &party->self_seed);
    advert->randomness_commitment = pf_commit_randomness(context, member, party->randomness);
    pf_advert_sign(advert, context, party->sign_secret);
}

struct fixture *fixture_create(uint32_t n, enum pf_graph_kind graph)
{
    struct fixture *self = PF_ALLOC(1, struct fixture);
    struct pf_error err = {0};
    bool regular = graph == PF_GRAPH_HARARY;
    assert_non_null(self);
    self->n = n;
    self->config = (struct pf_secagg_server_config){
        .n_members = n,
        .members = self->identities,
        .round = ROUND,
        .masking = {.value_bits = 16, .weight_cap = 1000, .clip = {1, 1}},
        .length = {600, 30},
        .corrupt = regular ? 0.05 : 0.2,
        /* generous, so that tests can choose who drops */
        .dropouts = regular ? 0.2 : 0.25,
        .adversary = PF_SEMI_MALICIOUS,
        .graph = graph,
    };
    memset(self->config.context.bytes, 0x5a, PF_DIGEST_BYTES);
    for (uint32_t i = 0; i < n; i++) make_party(self, i);
    if (pf_secagg_server_create(&self->config, &self->server, &err) != PF_OK)
        fail_msg("%s", err.text);
    return self;
}

void fixture_destroy(struct fixture *self)
{
    pf_secagg_server_destroy(self->server);
    for (uint32_t i = 0; i < self->n; i++) pf_member_set_finish(&self->parties[i].survivors);
    pf_free(self);
}

/* ---- the plain participant ------------------------------------------------------------------- */

struct pf_message fixture_message(const struct fixture *self, uint32_t member,
                                  enum pf_message_kind kind)
{
    struct pf_message made = {0}, message = {0};
    struct pf_error err = {0};
    PF_CLEANUP(pf_buffer_finish) struct pf_buffer frame = {0};
    if (pf_secagg_server_message(self->server, member, &made, &err) != PF_OK)
        fail_msg("%s", err.text);
    memset(made.run_id.bytes, 3, sizeof made.run_id.bytes);
    if (pf_message_encode(&made, &frame, &err) != PF_OK) fail_msg("%s", err.text);
    pf_message_finish(&made);
    if (pf_message_decode(frame.bytes, frame.length, &message, &err) != PF_OK)
        fail_msg("%s", err.text);
    assert_int_equal(message.kind, kind);
    return message;
}

struct pf_advertise fixture_advertise(const struct fixture *self, uint32_t member)
{
    return (struct pf_advertise){.round = ROUND, .advert = self->parties[member].advert};
}

struct pf_reveal fixture_reveal(struct fixture *self, uint32_t member)
{
    struct pf_reveal reveal = {.round = ROUND};
    struct pf_message message = fixture_message(self, member, PF_MESSAGE_COMMITTED);
    assert_int_equal(message.committed.parameters.graph, PF_GRAPH_HARARY);
    assert_true(pf_member_set_has(&message.committed.cohort, member));
    memcpy(reveal.randomness, self->parties[member].randomness, PF_RANDOMNESS_BYTES);
    pf_message_finish(&message);
    return reveal;
}

/* The digest of the list and the neighbours that follow from it, all worked out anew. */
static void read_list(struct fixture *self, uint32_t member, const struct pf_key_list *list)
{
    struct party *party = &self->parties[member];
    bool complete = list->parameters.graph == PF_GRAPH_COMPLETE;
    uint32_t members[MAX_PARTIES], n = 0, own = 0;
    struct pf_digest commitments[MAX_PARTIES];
    assert_int_equal(list->round, ROUND);
    for (uint32_t i = 0; i < self->n; i++) {
        if (!pf_member_set_has(&list->cohort, i)) continue;
        if (i == member) own = n;
        commitments[n] = self->parties[i].advert.randomness_commitment;
        members[n++] = i;
    }
    assert_int_equal(list->n_randomness, complete ? 0 : n);
    for (uint32_t i = 0; i < list->n_randomness; i++)
        assert_memory_equal(list->randomness[i], self->parties[members[i]].randomness,
                            PF_RANDOMNESS_BYTES);
    struct pf_digest cohort = pf_cohort_digest(&self->config.context, &list->cohort,
                                               &list->parameters, complete ? NULL : commitments);
    party->key_list = pf_key_list_digest(
        &cohort, n, complete ? NULL : (const uint8_t(*)[PF_RANDOMNESS_BYTES])list->randomness,
        complete ? list->adverts : NULL);
    party->parameters = list->parameters;
    party->n_peers = list->parameters.degree;
    PF_CLEANUP(pf_graph_destroyp) struct pf_graph *graph = NULL;
    assert_int_equal(pf_graph_create(list->parameters.graph, n, list->parameters.degree,
                                     complete ? NULL : party->key_list.bytes, &graph, NULL),
                     PF_OK);
    pf_graph_neighbours(graph, own, party->peers);
    for (uint32_t i = 0; i < party->n_peers; i++) party->peers[i] = members[party->peers[i]];
}

static void read_adverts(struct fixture *self, uint32_t member, const struct pf_key_list *list)
{
    struct party *party = &self->parties[member];
    uint32_t n = 0;
    for (uint32_t i = 0; i < list->n_adverts; i++) {
        const struct pf_advert *advert = &list->adverts[i];
        assert_true(
            pf_advert_verify(advert, &self->config.context, self->identities[advert->member].sign));
        if (advert->member == member) continue;
        assert_int_equal(advert->member, party->peers[n]);
        party->adverts[n] = *advert;
        assert_int_equal(pf_share_key_derive(party->channel_secret, party->advert.channel_key,
                                             advert->channel_key, &self->config.context,
                                             &party->key_list, &party->keys[n], NULL),
                         PF_OK);
        n++;
    }
    assert_int_equal(n, party->n_peers);
}

struct pf_shares fixture_shares(struct fixture *self, uint32_t member)
{
    struct party *party = &self->parties[member];
    struct pf_message message = fixture_message(self, member, PF_MESSAGE_KEY_LIST);
    struct pf_scalar of_self[MAX_PARTIES], of_mask[MAX_PARTIES];
    uint32_t x[MAX_PARTIES], n = 0;
    read_list(self, member, &message.key_list);
    read_adverts(self, member, &message.key_list);
    pf_message_finish(&message);
    for (; n < party->n_peers; n++) x[n] = party->peers[n] + 1;
    if (party->parameters.graph == PF_GRAPH_COMPLETE) x[n++] = member + 1;
    uint32_t t = party->parameters.threshold;
    assert_int_equal(pf_shamir_split(&party->self_seed, t, x, n, of_self, NULL), PF_OK);
    assert_int_equal(pf_shamir_split(&party->mask_seed, t, x, n, of_mask, NULL), PF_OK);
    struct pf_shares shares = {.round = ROUND, .n_boxes = party->n_peers};
    shares.boxes = PF_ALLOC(party->n_peers, struct pf_share_box);
    assert_non_null(shares.boxes);
    for (uint32_t i = 0; i < party->n_peers; i++) {
        struct pf_share_pair pair = {of_self[i], of_mask[i]};
        shares.boxes[i].peer = party->peers[i];
        pf_share_seal(&party->keys[i], member, party->peers[i], &pair, shares.boxes[i].box);
    }
    party->own = (struct pf_share_pair){of_self[n - 1], of_mask[n - 1]};
    return shares;
}

static void read_delivery(struct fixture *self, uint32_t member)
{
    struct party *party = &self->parties[member];
    struct pf_message message = fixture_message(self, member, PF_MESSAGE_SHARE_DELIVERY);
    const struct pf_shares *delivery = &message.shares;
    uint32_t next = 0;
    assert_true(pf_member_set_has(&delivery->sharers, member));
    for (uint32_t i = 0; i < party->n_peers; i++) {
        party->shared[i] = pf_member_set_has(&delivery->sharers, party->peers[i]);
        if (!party->shared[i]) continue;
        assert_true(next < delivery->n_boxes);
        assert_int_equal(delivery->boxes[next].peer, party->peers[i]);
        assert_int_equal(pf_share_open(&party->keys[i], party->peers[i], member,
                                       delivery->boxes[next++].box, &party->held[i], NULL),
                         PF_OK);
    }
    assert_int_equal(next, delivery->n_boxes);
    pf_message_finish(&message);
}

static int64_t value_of(uint32_t member, size_t coordinate)
{
    struct pf_random random;
    pf_random_init(&random, member, "test values", coordinate);
    return (int64_t)pf_random_below(&random, 65535) - 32767;
}

uint8_t *fixture_masked(struct fixture *self, uint32_t member)
{
    struct party *party = &self->parties[member];
    const struct pf_codec_config *codec = pf_secagg_server_codec(self->server);
    size_t length = pf_codec_ring_length_of(codec->length, codec->rotate);
    PF_CLEANUP(pf_ring_destroyp) struct pf_ring *y = NULL;
    struct pf_mask_term terms[MAX_PARTIES];
    size_t n = 0;
    read_delivery(self, member);
    assert_int_equal(pf_ring_create(length, codec->modulus_bits, &y, NULL), PF_OK);
    for (size_t c = 0; c < length; c++) pf_ring_set(y, c, value_of(member, c));
    pf_self_mask_key(&party->self_seed, &self->config.context, terms[n].key);
    terms[n++].sign = 1;
    for (uint32_t i = 0; i < party->n_peers; i++) {
        if (!party->shared[i]) continue;
        assert_int_equal(pf_pair_mask_key(member, party->peers[i], party->mask_secret,
                                          party->advert.mask_key, party->adverts[i].mask_key,
                                          &self->config.context, &party->key_list, terms[n].key,
                                          NULL),
                         PF_OK);
        terms[n++].sign = member < party->peers[i] ? 1 : -1;
    }
    pf_ring_add_masks(y, terms, n, NULL);
    assert_int_equal(pf_ring_packed_size(length, codec->modulus_bits),
                     pf_secagg_server_packed_bytes(self->server));
    uint8_t *packed = PF_ALLOC(pf_secagg_server_packed_bytes(self->server), uint8_t);
    assert_non_null(packed);
    pf_ring_pack(y, packed);
    return packed;
}

struct pf_consent_message fixture_consent(struct fixture *self, uint32_t member)
{
    struct party *party = &self->parties[member];
    struct pf_message message = fixture_message(self, member, PF_MESSAGE_SURVIVORS);
    struct pf_consent_message consent = {.round = ROUND, .consent = {.member = member}};
    pf_consent_sign(&self->config.context, &party->key_list, &message.survivors.survivors,
                    party->sign_secret, consent.consent.signature);
    pf_member_set_finish(&party->survivors);
    assert_int_equal(pf_member_set_copy(&message.survivors.survivors, &party->survivors, NULL),
                     PF_OK);
    pf_message_finish(&message);
    return consent;
}

/* Enough consents, each of another survivor whose shares this member holds. */
static void check_consents(const struct fixture *self, uint32_t member,
                           const struct pf_unmask_request *request)
{
    const struct party *party = &self->parties[member];
    assert_true(request->n_consents >= party->parameters.threshold);
    for (uint32_t i = 0; i < request->n_consents; i++) {
        const struct pf_consent *consent = &request->consents[i];
        if (i > 0) assert_true(consent->member > request->consents[i - 1].member);
        bool known = consent->member == member && party->parameters.graph == PF_GRAPH_COMPLETE;
        for (uint32_t j = 0; j < party->n_peers; j++) known |= party->peers[j] == consent->member;
        assert_true(known);
        assert_true(pf_consent_verify(&self->config.context, &party->key_list, &party->survivors,
                                      self->identities[consent->member].sign, consent->signature));
    }
}

static struct pf_given_share give(const struct fixture *self, uint32_t member, uint32_t owner)
{
    const struct party *party = &self->parties[member];
    bool dropped = !pf_member_set_has(&party->survivors, owner);
    const struct pf_share_pair *pair = owner == member ? &party->own : NULL;
    for (uint32_t i = 0; i < party->n_peers; i++)
        if (party->peers[i] == owner && party->shared[i]) pair = &party->held[i];
    if (pair == NULL) fail_msg("%u is asked for shares of %u", member, owner);
    return (struct pf_given_share){owner, dropped, dropped ? pair->mask : pair->self};
}

struct pf_unmask fixture_unmask(struct fixture *self, uint32_t member)
{
    const struct party *party = &self->parties[member];
    struct pf_message message = fixture_message(self, member, PF_MESSAGE_UNMASK_REQUEST);
    const struct pf_unmask_request *request = &message.unmask_request;
    struct pf_unmask unmask = {.round = ROUND};
    check_consents(self, member, request);
    unmask.shares =
        PF_ALLOC((size_t)request->n_survivors + request->n_dropped, struct pf_given_share);
    assert_non_null(unmask.shares);
    for (uint32_t i = 0; i < request->n_survivors; i++) {
        assert_true(pf_member_set_has(&party->survivors, request->survivors[i]));
        unmask.shares[unmask.n_shares++] = give(self, member, request->survivors[i]);
    }
    for (uint32_t i = 0; i < request->n_dropped; i++) {
        assert_false(pf_member_set_has(&party->survivors, request->dropped[i]));
        unmask.shares[unmask.n_shares++] = give(self, member, request->dropped[i]);
    }
    uint32_t expected = party->parameters.graph == PF_GRAPH_COMPLETE;
    for (uint32_t i = 0; i < party->n_peers; i++) expected += party->shared[i];
    assert_int_equal(unmask.n_shares, expected); /* everybody whose shares it holds */
    pf_message_finish(&message);
    return unmask;
}

void fixture_free_shares(struct pf_shares *shares)
{
    pf_free(shares->boxes);
}

void fixture_free_unmask(struct pf_unmask *unmask)
{
    if (unmask->shares != NULL)
        sodium_memzero(unmask->shares, unmask->n_shares * sizeof *unmask->shares);
    pf_free(unmask->shares);
}

/* ---- steps ----------------------------------------------------------------------------------- */

static enum pf_status take_step(struct fixture *self, uint32_t member, enum pf_reason *reason,
                                struct pf_error *err)
{
    struct pf_secagg_server *server = self->server;
    enum pf_status status = PF_INVALID;
    switch (pf_secagg_server_phase(server)) {
    case PF_SECAGG_ADVERTISING: {
        struct pf_advertise advertise = fixture_advertise(self, member);
        return pf_secagg_server_advertise(server, member, &advertise, reason, err);
    }
    case PF_SECAGG_REVEALING: {
        struct pf_reveal reveal = fixture_reveal(self, member);
        return pf_secagg_server_reveal(server, member, &reveal, reason, err);
    }
    case PF_SECAGG_SHARING: {
        struct pf_shares shares = fixture_shares(self, member);
        status = pf_secagg_server_shares(server, member, &shares, reason, err);
        fixture_free_shares(&shares);
        return status;
    }
    case PF_SECAGG_MASKING: {
        uint8_t *packed = fixture_masked(self, member);
        size_t length = pf_secagg_server_packed_bytes(server);
        status = pf_secagg_server_masked(server, member, packed, length, reason, err);
        pf_free(packed);
        return status;
    }
    case PF_SECAGG_CONSENTING: {
        struct pf_consent_message consent = fixture_consent(self, member);
        return pf_secagg_server_consent(server, member, &consent, reason, err);
    }
    case PF_SECAGG_UNMASKING: {
        struct pf_unmask unmask = fixture_unmask(self, member);
        status = pf_secagg_server_unmask(server, member, &unmask, reason, err);
        fixture_free_unmask(&unmask);
        return status;
    }
    }
    return status;
}

void fixture_step(struct fixture *self, uint32_t member)
{
    struct pf_error err = {0};
    enum pf_reason reason = PF_REASON_NONE;
    assert_true(pf_secagg_server_awaits(self->server, member));
    assert_false(pf_secagg_server_delivered(self->server, member));
    if (take_step(self, member, &reason, &err) != PF_OK)
        fail_msg("%s: %s", pf_reason_name(reason), err.text);
    assert_true(pf_secagg_server_delivered(self->server, member));
}

void fixture_advance(struct fixture *self)
{
    struct pf_error err = {0};
    if (pf_secagg_server_advance(self->server, &err) != PF_OK) fail_msg("%s", err.text);
}

void fixture_phase(struct fixture *self, uint64_t absent)
{
    for (uint32_t i = 0; i < self->n; i++)
        if ((absent >> i & 1) == 0 && pf_secagg_server_awaits(self->server, i))
            fixture_step(self, i);
    if (pf_secagg_server_phase(self->server) != PF_SECAGG_UNMASKING) fixture_advance(self);
}

void fixture_reach(struct fixture *self, enum pf_secagg_phase phase)
{
    while (pf_secagg_server_phase(self->server) < phase) fixture_phase(self, 0);
    assert_int_equal(pf_secagg_server_phase(self->server), phase);
}

void fixture_expect_sum(struct fixture *self, uint64_t survivors)
{
    PF_CLEANUP(pf_unmasking_destroyp) struct pf_unmasking *unmasking = NULL;
    struct pf_error err = {0};
    assert_true(pf_secagg_server_can_unmask(self->server));
    if (pf_secagg_server_take(self->server, &unmasking, &err) != PF_OK) fail_msg("%s", err.text);
    if (pf_unmasking_run(unmasking, NULL, NULL, &err) != PF_OK) fail_msg("%s", err.text);
    assert_int_equal(unmasking->n_survivors, __builtin_popcountll(survivors));
    for (size_t c = 0; c < pf_ring_length(unmasking->sum); c++) {
        int64_t plain = 0;
        for (uint32_t i = 0; i < self->n; i++)
            if (survivors >> i & 1) plain += value_of(i, c);
        if (pf_ring_get_signed(unmasking->sum, c) != plain)
            fail_msg("coordinate %zu is %lld, not %lld", c,
                     (long long)pf_ring_get_signed(unmasking->sum, c), (long long)plain);
    }
}
