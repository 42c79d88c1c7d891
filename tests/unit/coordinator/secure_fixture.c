#include "secure_fixture.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include <math.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>

#include "common/base/memory.h"
#include "proto/round_context.h"

struct pf_coordinator_session_config sx_config(void)
{
    struct pf_coordinator_session_config config = fx_config();
    config.aggregation = PF_AGGREGATION_SECURE;
    config.min_cohort = 3;
    config.quorum = 3;
    config.round_timeout_ms = 4 * KEY_MS;
    config.key_timeout_ms = KEY_MS;
    config.unmask_timeout_ms = UNMASK_MS;
    config.corrupt = -1;
    config.dropouts = PF_DEFAULT_DROPOUTS;
    pf_masking_order_default(&config.masking);
    config.masking.weight_cap = 40;
    config.masking.clip[0] = config.masking.clip[1] = 100;
    return config;
}

struct pf_coordinator_session_config sx_ring_config(void)
{
    struct pf_coordinator_session_config config = sx_config();
    config.graph = PF_GRAPH_HARARY;
    config.corrupt = config.dropouts = 0;
    return config;
}

static void deliver(void *context, size_t member, const struct pf_message *message)
{
    struct secure_fixture *self = context;
    struct player *player = &self->players[member];
    struct pf_error err = {0};
    if (player->deaf) return;
    if (player->n_frames == MAX_FRAMES && self->tolerant) return; /* lost */
    assert_true(player->n_frames < MAX_FRAMES);
    struct pf_buffer frame = {0};
    if (pf_message_encode(message, &frame, &err) != PF_OK) fail_msg("%s", err.text);
    player->inbox[player->n_frames++] = frame;
}

struct secure_fixture *sx_create(const struct pf_coordinator_session_config *config,
                                 size_t n_parameters)
{
    static const char *const names[N_MEMBERS] = {"alice", "bob", "carol", "dave"};
    struct secure_fixture *self = PF_ALLOC(1, struct secure_fixture);
    struct pf_coordinator_session_config with_members = *config;
    struct pf_public_identity members[N_MEMBERS];
    struct pf_identity coordinator;
    assert_non_null(self);
    assert_true(sodium_init() >= 0);
    assert_int_equal(pf_identity_generate("coordinator", &coordinator, NULL), PF_OK);
    for (size_t i = 0; i < N_MEMBERS; i++) {
        assert_int_equal(pf_identity_generate(names[i], &self->players[i].identity, NULL), PF_OK);
        members[i] = self->players[i].identity.public;
    }
    assert_int_equal(
        pf_roster_create("test", 1, &coordinator.public, members, N_MEMBERS, &self->roster, NULL),
        PF_OK);
    pf_identity_finish(&coordinator);
    with_members.members = members;
    memcpy(with_members.roster_hash, self->roster->hash, sizeof self->roster->hash);
    self->fx = fx_create(&with_members);
    self->fx->n_parameters = n_parameters;
    self->fx->n_statistics = n_parameters / 4;
    self->fx->deliver = deliver;
    self->fx->deliver_context = self;
    self->mean = PF_ALLOC(n_parameters, float);
    assert_non_null(self->mean);
    return self;
}

void sx_lose(struct secure_fixture *self, size_t member)
{
    struct player *player = &self->players[member];
    for (size_t i = 0; i < player->n_frames; i++) pf_buffer_finish(&player->inbox[i]);
    player->n_frames = 0;
}

void sx_destroy(struct secure_fixture *self)
{
    for (size_t i = 0; i < N_MEMBERS; i++) {
        sx_lose(self, i);
        pf_secagg_client_destroy(self->players[i].client);
        pf_buffer_finish(&self->players[i].packed);
        pf_identity_finish(&self->players[i].identity);
    }
    pf_roster_destroy(self->roster);
    fx_destroy(self->fx);
    pf_free(self->mean);
    pf_free(self);
}

void sx_renew(struct secure_fixture **self, const struct pf_coordinator_session_config *config,
              size_t n_parameters)
{
    sx_destroy(*self);
    *self = sx_create(config, n_parameters);
}

/* ---- a member ----------------------------------------------------------------------------- */

static void say(struct secure_fixture *self, size_t member, struct pf_message *message)
{
    message->run_id = self->fx->config.run_id;
    fx_receive(self->fx, member, message);
    pf_message_finish(message);
}

static void must(enum pf_status status, const struct pf_error *err)
{
    if (status != PF_OK) fail_msg("a member refuses: %s", err->text);
}

/* Whether the member accepted what it got. */
static bool accepted(const struct secure_fixture *self, enum pf_status status,
                     const struct pf_error *err)
{
    if (!self->tolerant || status != PF_REFUSED) must(status, err);
    return status == PF_OK;
}

void sx_repeat_advertise(struct secure_fixture *self, size_t member)
{
    struct pf_message answer = {.kind = PF_MESSAGE_ADVERTISE};
    pf_secagg_client_advertise(self->players[member].client, &answer.advertise);
    say(self, member, &answer);
}

static void on_offer(struct secure_fixture *self, size_t member, const struct pf_message *message)
{
    struct player *player = &self->players[member];
    struct pf_error err = {0};
    if (player->client == NULL || player->offer.round != message->offer.round) {
        pf_secagg_client_destroy(player->client);
        player->client = NULL;
        player->offer = message->offer;
        player->offer.chunk_hashes = NULL;
        pf_buffer_reset(&player->packed);
        struct pf_secagg_client_config config = {
            .roster = self->roster,
            .self = (uint32_t)member,
            .sign_secret = player->identity.sign_secret,
            .round = message->offer.round,
            .context = pf_round_context(&message->run_id, self->roster->hash, &message->offer),
            .masking = message->offer.masking,
            .min_cohort = 2,
            .max_corrupt = self->fx->config.corrupt,
        };
        pf_round_rotation_seed(&message->offer, config.rotation_seed);
        must(pf_secagg_client_create(&config, &player->client, &err), &err);
    }
    sx_repeat_advertise(self, member);
}

static void send_chunk(struct secure_fixture *self, size_t member, uint32_t chunk)
{
    const struct pf_buffer *packed = &self->players[member].packed;
    size_t begin = (size_t)chunk * PF_CHUNK_BYTES;
    struct pf_message message = {
        .kind = PF_MESSAGE_UPDATE_CHUNK,
        .run_id = self->fx->config.run_id,
        .chunk = {.round = self->players[member].offer.round,
                  .model_hash = self->players[member].offer.model_hash,
                  .chunk = chunk,
                  .n_chunks = (uint32_t)((packed->length + PF_CHUNK_BYTES - 1) / PF_CHUNK_BYTES),
                  .bytes = packed->bytes + begin,
                  .length = PF_MIN(packed->length - begin, (size_t)PF_CHUNK_BYTES)}};
    fx_receive(self->fx, member, &message);
}

static void mask(struct secure_fixture *self, size_t member)
{
    struct player *player = &self->players[member];
    size_t n = self->fx->n_parameters;
    const size_t length[PF_CODEC_SEGMENTS] = {n - self->fx->n_statistics, self->fx->n_statistics};
    const uint64_t figures[PF_FIGURE_N] = {[PF_FIGURE_EXAMPLES] = 10 * (member + 1),
                                           [PF_FIGURE_EVALUATED] = 100,
                                           [PF_FIGURE_CORRECT] = 50 + member};
    float *update = PF_ALLOC(n, float);
    enum pf_reason reason;
    struct pf_error err = {0};
    assert_non_null(update);
    for (size_t i = 0; i < n; i++) update[i] = (float)(member + 1);
    must(pf_secagg_client_mask(player->client, length, update, figures, 7 + member, &player->packed,
                               &reason, &err),
         &err);
    pf_free(update);
}

static void on_step(struct secure_fixture *self, size_t member, const struct pf_message *message)
{
    struct pf_secagg_client *client = self->players[member].client;
    struct pf_message answer = {0};
    struct pf_digest digest;
    enum pf_reason reason;
    struct pf_error err = {0};
    enum pf_status status;
    switch (message->kind) {
    case PF_MESSAGE_COMMITTED:
        answer.kind = PF_MESSAGE_REVEAL;
        status =
            pf_secagg_client_committed(client, &message->committed, &answer.reveal, &reason, &err);
        break;
    case PF_MESSAGE_KEY_LIST:
        answer.kind = PF_MESSAGE_SHARES;
        status =
            pf_secagg_client_key_list(client, &message->key_list, &answer.shares, &reason, &err);
        break;
    case PF_MESSAGE_SURVIVORS:
        answer.kind = PF_MESSAGE_CONSENT;
        status = pf_secagg_client_survivors(client, &message->survivors, &answer.consent, &digest,
                                            &reason, &err);
        break;
    default:
        answer.kind = PF_MESSAGE_UNMASK;
        status = pf_secagg_client_unmask(client, &message->unmask_request, &answer.unmask, &reason,
                                         &err);
    }
    if (accepted(self, status, &err)) say(self, member, &answer);
}

static void react(struct secure_fixture *self, size_t member, const struct pf_message *message)
{
    struct player *player = &self->players[member];
    enum pf_reason reason;
    struct pf_error err = {0};
    switch (message->kind) {
    case PF_MESSAGE_ROUND_OFFER: on_offer(self, member, message); break;
    case PF_MESSAGE_SHARE_DELIVERY:
        if (!accepted(self,
                      pf_secagg_client_delivery(player->client, &message->shares, &reason, &err),
                      &err))
            break;
        if (player->packed.length == 0) mask(self, member);
        send_chunk(self, member, 0);
        break;
    case PF_MESSAGE_UPDATE_GRANT:
        for (uint32_t k = 1; k * (size_t)PF_CHUNK_BYTES < player->packed.length; k++)
            send_chunk(self, member, k);
        break;
    case PF_MESSAGE_COMMITTED:
    case PF_MESSAGE_KEY_LIST:
    case PF_MESSAGE_SURVIVORS:
    case PF_MESSAGE_UNMASK_REQUEST: on_step(self, member, message); break;
    default: break;
    }
}

bool sx_step(struct secure_fixture *self, size_t member)
{
    struct player *player = &self->players[member];
    if (player->n_frames == 0) return false;
    struct pf_buffer frame = player->inbox[0];
    player->n_frames--;
    memmove(player->inbox, player->inbox + 1, player->n_frames * sizeof frame);
    struct pf_message message = {0};
    struct pf_error err = {0};
    must(pf_message_decode(frame.bytes, frame.length, &message, &err), &err);
    /* One that restarted knows no round before the next offer. */
    bool knows = player->client != NULL || message.kind == PF_MESSAGE_ROUND_OFFER;
    if (message.kind != player->stops_at && knows) react(self, member, &message);
    pf_message_finish(&message);
    pf_buffer_finish(&frame);
    return true;
}

void sx_settle_until(struct secure_fixture *self, enum pf_coordinator_phase phase)
{
    bool any = true;
    while (any && self->fx->session->phase != phase) {
        any = false;
        for (size_t i = 0; i < N_MEMBERS && self->fx->session->phase != phase; i++)
            any = sx_step(self, i) || any;
    }
    if (phase != PF_COORDINATOR_N_PHASES) assert_int_equal(self->fx->session->phase, phase);
}

void sx_settle(struct secure_fixture *self)
{
    sx_settle_until(self, PF_COORDINATOR_N_PHASES);
}

/* ---- the course --------------------------------------------------------------------------- */

void sx_start(struct secure_fixture *self)
{
    fx_start(self->fx);
}

void sx_restart(struct secure_fixture *self, size_t member)
{
    sx_lose(self, member);
    pf_secagg_client_destroy(self->players[member].client);
    self->players[member].client = NULL;
    fx_hello(self->fx, member);
}

void sx_apply(struct secure_fixture *self)
{
    struct fixture *fx = self->fx;
    struct pf_error err = {0};
    PF_CLEANUP(pf_codec_destroyp) struct pf_codec *codec = NULL;
    assert_int_equal(fx->session->phase, PF_COORDINATOR_APPLYING);
    assert_non_null(fx->asked.unmasking);
    must(pf_codec_create(&fx->asked.codec, &codec, &err), &err);
    must(pf_unmasking_run(fx->asked.unmasking, NULL, NULL, &err), &err);
    must(pf_codec_decode(codec, fx->asked.unmasking->sum, fx->asked.unmasking->n_survivors,
                         self->mean, self->figures, &err),
         &err);
    pf_coordinator_session_note_figures(fx->session, self->figures);
    fx_job_done(fx, 60);
}

void sx_assert_mean(struct secure_fixture *self, double expected, uint32_t included)
{
    sx_apply(self);
    for (size_t i = 0; i < self->fx->n_parameters; i++)
        assert_true(fabs(self->mean[i] - expected) < 0.05);
    assert_true(self->fx->asked.record.completed);
    assert_int_equal(self->fx->asked.record.included, included);
}

enum pf_coordinator_phase sx_phase(const struct secure_fixture *self)
{
    return self->fx->session->phase;
}

bool sx_said(const struct secure_fixture *self, const char *text)
{
    return strstr(self->fx->asked.events, text) != NULL;
}

const bool sx_all_alive[N_MEMBERS] = {true, true, true, true};
const bool sx_all_but_dave[N_MEMBERS] = {true, true, true, false};

int64_t sx_pass(struct secure_fixture *self, int64_t ms, const bool alive[N_MEMBERS])
{
    struct fixture *fx = self->fx;
    enum pf_coordinator_phase phase = sx_phase(self);
    size_t n_rounds = fx->asked.n_rounds;
    int64_t begin = fx->now;
    while (fx->now - begin < ms && sx_phase(self) == phase && n_rounds == fx->asked.n_rounds) {
        int64_t left = pf_coordinator_session_wake_ms(fx->session) - fx->now;
        fx_tick(fx, PF_MAX(PF_MIN(left, 250), 1));
        for (size_t i = 0; i < N_MEMBERS; i++)
            if (alive[i]) fx_alive(fx, i, 0);
        sx_settle(self);
    }
    return fx->now - begin;
}
