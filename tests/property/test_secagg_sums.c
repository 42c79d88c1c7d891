/* The secure sum, client and server objects alone: whatever is repeated, reordered or late and
 * whoever drops out at whichever step, a round gives the plain integer sum of the survivors'
 * encoded updates, bit for bit, where the protocol promises one, and ends by a sentence where it
 * does not.
 *
 * test_secagg_sums [RUNS]: so many runs, 10,500 by default.  PF_SEED=n repeats run n alone. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/base/pool.h"
#include "common/wire/roster.h"
#include "coordinator/secagg_server.h"
#include "participant/secagg_client.h"
#include "proto/round_context.h"
#include "seeded_random.h"
#include "testing.h"

#define DEFAULT_RUNS 10500u
#define N_ROSTER 136u
#define MAX_LENGTH 40u
#define ROUND 7u

enum step { ADVERTISE, REVEAL, SHARE, MASK, CONSENT, UNMASK, N_STEPS, NEVER = N_STEPS };

static const char *const step_names[N_STEPS] = {"advertise", "reveal",  "share",
                                                "mask",      "consent", "unmask"};

/* Made once; read by all runs. */
static struct {
    struct pf_identity identities[N_ROSTER];
    struct pf_roster *roster;
} people;

static size_t n_runs = DEFAULT_RUNS;

struct result {
    struct pf_error complaint; /* PF_OK: none */
    struct pf_error ended;     /* why there is no sum; PF_OK: there is one */
    enum pf_graph_kind graph;
    unsigned bits;
    uint32_t n, n_survivors;
    uint32_t dropped[N_STEPS];
    uint32_t n_repeated, n_late, n_reordered;
};

struct client {
    struct pf_secagg_client *client; /* NULL: not asked */
    enum step drops_at;
    struct pf_message told[N_STEPS];   /* what the server had for it, … */
    struct pf_message answer[N_STEPS]; /* … and what it said */
    bool neighbours[N_ROSTER];         /* as its key list has them */
    struct pf_buffer masked;
    bool counted;
};

struct course {
    uint64_t seed;
    struct pf_random random;
    struct pf_digest context;
    struct pf_secagg_server_config config;
    struct pf_secagg_server *server;
    struct client clients[N_ROSTER];
    uint32_t n; /* asked */
    uint32_t order[N_ROSTER];
    double repeats, lates, reorders;
    uint32_t threshold; /* of the key list */
    struct result *result;
};

/* The first one counts. */
#define COMPLAIN(self, ...)                                             \
    ((self)->result->complaint.status == PF_OK                          \
         ? pf_fail(&(self)->result->complaint, PF_CORRUPT, __VA_ARGS__) \
         : PF_OK)

static bool chance(struct course *self, double probability)
{
    return pf_random_uniform(&self->random) < probability;
}

static uint32_t between(struct course *self, uint32_t low, uint32_t high)
{
    return low + pf_random_below(&self->random, high - low + 1);
}

/* ---- what is drawn --------------------------------------------------------------------------- */

/* Most cohorts are small, where a few dropouts decide, since a round costs n²; all sizes from 3 to
 * 64 have their turn, and some large ones, sparse, for the widest moduli. */
static uint32_t draw_size(struct course *self)
{
    if (self->seed % 300 == 7) return between(self, 65, 128);
    if (self->seed % 300 == 157) return between(self, 129, N_ROSTER);
    if (self->seed % 16 == 0) return 3 + (uint32_t)(self->seed / 16 * 23 % 62);
    return chance(self, 0.75) ? between(self, 2, 8) : between(self, 9, 20);
}

/* Both ends more often than what is between. */
static uint32_t draw_value_bits(struct course *self)
{
    if (self->n > 64 || chance(self, 0.15)) return PF_CODEC_MAX_VALUE_BITS;
    return chance(self, 0.2) ? PF_CODEC_MIN_VALUE_BITS
                             : between(self, PF_CODEC_MIN_VALUE_BITS, PF_CODEC_MAX_VALUE_BITS);
}

static void draw_config(struct course *self)
{
    struct pf_secagg_server_config *config = &self->config;
    *config = (struct pf_secagg_server_config){
        .n_members = N_ROSTER,
        .members = people.roster->members,
        .round = ROUND,
        .masking = {.value_bits = draw_value_bits(self),
                    .weight_cap = between(self, 1, 2000),
                    .rotate = chance(self, 0.5)},
        .length = {between(self, 3, MAX_LENGTH), between(self, 0, 8)},
        .adversary = chance(self, 0.5) ? PF_SEMI_HONEST : PF_SEMI_MALICIOUS,
        .graph = self->n <= 64 && chance(self, 0.5) ? PF_GRAPH_COMPLETE : PF_GRAPH_HARARY,
    };
    for (size_t s = 0; s < PF_CODEC_SEGMENTS; s++)
        config->masking.clip[s] = 0.1 + 4 * pf_random_uniform(&self->random);
    if (config->graph == PF_GRAPH_COMPLETE)
        config->corrupt = 0.1 * between(self, 0, 3);
    else if (self->n >= 5) /* so many neighbours may go; one dropout needs degree 4 */
        config->dropouts = PF_MIN(0.3, 1.01 * between(self, 1, 3) / self->n);
    for (size_t i = 0; i < sizeof self->context.bytes; i++)
        self->context.bytes[i] = (uint8_t)pf_random_u32(&self->random);
    config->context = self->context;
}

/* Who drops out where: nobody; a few anywhere; or many at one step. */
static void draw_dropouts(struct course *self)
{
    double each = chance(self, 0.3) ? 0 : chance(self, 0.7) ? 1.0 / self->n : 0.35;
    bool one_step = chance(self, 0.5);
    enum step common = (enum step)between(self, 0, N_STEPS - 1);
    for (uint32_t i = 0; i < self->n; i++) {
        struct client *client = &self->clients[self->order[i]];
        enum step step = one_step ? common : (enum step)between(self, 0, N_STEPS - 1);
        /* Regular graphs need everybody's randomness: a rare end. */
        if (step == REVEAL && !chance(self, 0.2)) step = MASK;
        client->drops_at = chance(self, each) ? step : NEVER;
    }
    self->repeats = chance(self, 0.5) ? 0.3 : 0;
    self->lates = 0.5;
    self->reorders = chance(self, 0.5) ? 0.3 : 0;
}

static void create_clients(struct course *self)
{
    for (uint32_t i = 0; i < self->n; i++) {
        uint32_t member = self->order[i];
        const struct pf_secagg_client_config config = {
            .roster = people.roster,
            .self = member,
            .sign_secret = people.identities[member].sign_secret,
            .round = ROUND,
            .context = self->context,
            .masking = self->config.masking,
            .min_cohort = 2,
            .max_corrupt = self->config.corrupt,
            .adversary = self->config.adversary,
        };
        if (pf_secagg_client_create(&config, &self->clients[member].client, NULL) != PF_OK) abort();
    }
}

static void begin(struct course *self)
{
    pf_random_init(&self->random, self->seed, "secure sums", 0);
    seeded_random_begin(self->seed);
    for (uint32_t i = 0; i < N_ROSTER; i++) self->order[i] = i;
    pf_random_shuffle(&self->random, self->order, N_ROSTER);
    self->n = draw_size(self);
    draw_config(self);
    draw_dropouts(self);
    create_clients(self);
    if (pf_secagg_server_create(&self->config, &self->server, NULL) != PF_OK) abort();
    self->result->n = self->n;
    self->result->graph = self->config.graph;
}

static void finish(struct course *self)
{
    for (uint32_t i = 0; i < N_ROSTER; i++) {
        pf_secagg_client_destroy(self->clients[i].client);
        for (size_t step = 0; step < N_STEPS; step++) {
            pf_message_finish(&self->clients[i].told[step]);
            pf_message_finish(&self->clients[i].answer[step]);
        }
        pf_buffer_finish(&self->clients[i].masked);
    }
    pf_secagg_server_destroy(self->server);
}

/* A participant's update: the same at each call. */
static void make_update(const struct course *self, uint32_t member, float *values,
                        uint64_t figures[PF_FIGURE_N])
{
    struct pf_random random;
    size_t n = self->config.length[0] + self->config.length[1];
    pf_random_init(&random, self->seed, "made-up update", member);
    /* Some updates are clipped, some clamped, some nearly nothing. */
    double scale = pow(10, 3 * pf_random_uniform(&random) - 2);
    for (size_t i = 0; i < n; i++) values[i] = (float)(scale * pf_random_normal(&random));
    memset(figures, 0, PF_FIGURE_N * sizeof *figures);
    figures[PF_FIGURE_EXAMPLES] = 1 + pf_random_below(&random, 3000);
    figures[PF_FIGURE_EVALUATED] = pf_random_u32(&random);
    figures[PF_FIGURE_CORRECT] = pf_random_u32(&random);
}

/* ---- the participants' steps ------------------------------------------------------------------
 */

static enum pf_status mask(struct course *self, uint32_t member, enum pf_reason *reason,
                           struct pf_error *err)
{
    struct client *client = &self->clients[member];
    float values[MAX_LENGTH + 8];
    uint64_t figures[PF_FIGURE_N];
    if (pf_secagg_client_step(client->client) != PF_SECAGG_READY) return PF_OK; /* a repeat */
    make_update(self, member, values, figures);
    return pf_secagg_client_mask(client->client, self->config.length, values, figures,
                                 self->seed + member, &client->masked, reason, err);
}

/* The client's answer to one of the server's messages; that to a delivery is its masked update. */
static enum pf_status react(struct course *self, uint32_t member, enum step step,
                            const struct pf_message *message, struct pf_message *made,
                            enum pf_reason *reason, struct pf_error *err)
{
    struct pf_secagg_client *client = self->clients[member].client;
    struct pf_digest digest;
    switch (step) {
    case ADVERTISE:
        made->kind = PF_MESSAGE_ADVERTISE;
        pf_secagg_client_advertise(client, &made->advertise);
        return PF_OK;
    case REVEAL:
        made->kind = PF_MESSAGE_REVEAL;
        return pf_secagg_client_committed(client, &message->committed, &made->reveal, reason, err);
    case SHARE:
        made->kind = PF_MESSAGE_SHARES;
        return pf_secagg_client_key_list(client, &message->key_list, &made->shares, reason, err);
    case MASK: return pf_secagg_client_delivery(client, &message->shares, reason, err);
    case CONSENT:
        made->kind = PF_MESSAGE_CONSENT;
        return pf_secagg_client_survivors(client, &message->survivors, &made->consent, &digest,
                                          reason, err);
    case UNMASK:
        made->kind = PF_MESSAGE_UNMASK;
        return pf_secagg_client_unmask(client, &message->unmask_request, &made->unmask, reason,
                                       err);
    case N_STEPS: break;
    }
    abort();
}

static void learn_neighbours(struct course *self, uint32_t member, const struct pf_key_list *list)
{
    self->threshold = list->parameters.threshold;
    for (uint32_t i = 0; i < list->n_adverts; i++)
        self->clients[member].neighbours[list->adverts[i].member] =
            list->adverts[i].member != member;
}

/* What the server has for the client now, and the client's answer; both are kept. */
static enum pf_status answer(struct course *self, uint32_t member, enum step step,
                             enum pf_reason *reason, struct pf_error *err)
{
    struct client *client = &self->clients[member];
    struct pf_message made = {0};
    pf_message_finish(&client->told[step]);
    if (step != ADVERTISE)
        PF_TRY(pf_secagg_server_message(self->server, member, &client->told[step], err));
    PF_TRY(react(self, member, step, &client->told[step], &made, reason, err));
    pf_message_finish(&client->answer[step]);
    client->answer[step] = made;
    if (step == SHARE) learn_neighbours(self, member, &client->told[step].key_list);
    return step == MASK ? mask(self, member, reason, err) : PF_OK;
}

static enum pf_status hand_in(struct course *self, uint32_t member, enum step step,
                              enum pf_reason *reason, struct pf_error *err)
{
    const struct client *client = &self->clients[member];
    const struct pf_message *message = &client->answer[step];
    switch (step) {
    case ADVERTISE:
        return pf_secagg_server_advertise(self->server, member, &message->advertise, reason, err);
    case REVEAL:
        return pf_secagg_server_reveal(self->server, member, &message->reveal, reason, err);
    case SHARE: return pf_secagg_server_shares(self->server, member, &message->shares, reason, err);
    case MASK:
        return pf_secagg_server_masked(self->server, member, client->masked.bytes,
                                       client->masked.length, reason, err);
    case CONSENT:
        return pf_secagg_server_consent(self->server, member, &message->consent, reason, err);
    case UNMASK:
        return pf_secagg_server_unmask(self->server, member, &message->unmask, reason, err);
    case N_STEPS: break;
    }
    abort();
}

/* Something of an earlier step comes once more: what the participant said, to the server, or what
 * it was told, to the participant.  It may be taken as a repeat or refused, and changes nothing. */
static void come_again(struct course *self, uint32_t member, enum step now, bool to_server)
{
    struct client *client = &self->clients[member];
    struct pf_error err = {0};
    enum pf_reason reason = PF_REASON_NONE;
    if (now == ADVERTISE || !chance(self, self->reorders)) return;
    enum step step = (enum step)between(self, ADVERTISE, now - 1);
    if (step == MASK ? client->masked.length == 0 : client->answer[step].kind == 0) return;
    PF_CLEANUP(pf_message_finish) struct pf_message made = {0};
    enum pf_status status =
        to_server ? hand_in(self, member, step, &reason, &err)
                  : react(self, member, step, &client->told[step], &made, &reason, &err);
    self->result->n_reordered++;
    if (status != PF_OK && status != PF_REFUSED)
        COMPLAIN(self, "member %u, %s again: %s: %s", member, step_names[step],
                 pf_status_name(status), err.text);
}

/* One participant's step, with whatever the line does to it. */
static void take_part(struct course *self, uint32_t member, enum step step)
{
    struct client *client = &self->clients[member];
    struct pf_error err = {0};
    enum pf_reason reason = PF_REASON_NONE;
    come_again(self, member, step, false);
    enum pf_status status = answer(self, member, step, &reason, &err);
    come_again(self, member, step, true);
    if (status == PF_OK) status = hand_in(self, member, step, &reason, &err);
    for (; status == PF_OK && chance(self, self->repeats); self->result->n_repeated++) {
        /* The step's message once more, and its answer. */
        if (step != UNMASK || chance(self, 0.5)) status = answer(self, member, step, &reason, &err);
        if (status == PF_OK) status = hand_in(self, member, step, &reason, &err);
    }
    if (status != PF_OK)
        COMPLAIN(self, "member %u, %s: %s: %s", member, step_names[step], pf_reason_name(reason),
                 err.text);
    if (step == MASK) client->counted = true;
    come_again(self, member, step, chance(self, 0.5));
}

/* All who are asked in this step, in whatever order; who drops out here does not answer. */
static void take_step(struct course *self, enum step step)
{
    pf_random_shuffle(&self->random, self->order, self->n);
    for (uint32_t i = 0; i < self->n; i++) {
        uint32_t member = self->order[i];
        struct client *client = &self->clients[member];
        if (client->drops_at < step) come_again(self, member, step, true);
        if (client->drops_at < step || !pf_secagg_server_awaits(self->server, member)) continue;
        if (client->drops_at != step) {
            take_part(self, member, step);
            continue;
        }
        self->result->dropped[step]++;
        /* Its masked update may be ready, and come when nobody waits for it any more. */
        enum pf_reason reason;
        if (step == MASK && chance(self, self->lates) &&
            answer(self, member, step, &reason, NULL) != PF_OK)
            COMPLAIN(self, "member %u cannot mask: %s", member, pf_reason_name(reason));
    }
}

static bool advance(struct course *self)
{
    struct pf_error err = {0};
    enum pf_status status = pf_secagg_server_advance(self->server, &err);
    if (status == PF_OK) return true;
    if (status != PF_REFUSED || err.text[0] == '\0')
        COMPLAIN(self, "a step ends with %s: %s", pf_status_name(status), err.text);
    self->result->ended = err;
    return false;
}

/* Masked updates that come after the survivors were named: refused, and in no sum. */
static void come_late(struct course *self)
{
    for (uint32_t member = 0; member < N_ROSTER; member++) {
        const struct client *client = &self->clients[member];
        enum pf_reason reason = PF_REASON_NONE;
        if (client->masked.length == 0 || client->counted) continue;
        self->result->n_late++;
        if (hand_in(self, member, MASK, &reason, NULL) != PF_REFUSED || reason != PF_REASON_LATE)
            COMPLAIN(self, "the late update of member %u is taken (%s)", member,
                     pf_reason_name(reason));
    }
}

/* ---- the sum ----------------------------------------------------------------------------------
 */

static void add_encoded(struct course *self, uint32_t member, const struct pf_codec *codec,
                        struct pf_ring *ring, int64_t *sums)
{
    float values[MAX_LENGTH + 8];
    uint64_t figures[PF_FIGURE_N];
    struct pf_random rounding;
    make_update(self, member, values, figures);
    pf_random_init(&rounding, self->seed + member, "stochastic rounding", ROUND);
    if (pf_codec_encode(codec, values, figures, &rounding, ring, NULL) != PF_OK) abort();
    for (size_t i = 0; i < pf_ring_length(ring); i++) sums[i] += pf_ring_get_signed(ring, i);
}

/* Plain integers that fit: the counts' limbs are not negative, coordinates have a sign. */
static void compare(struct course *self, const struct pf_ring *sum, const int64_t *sums)
{
    unsigned bits = pf_ring_bits(sum);
    for (size_t i = 0; i < pf_ring_length(sum); i++) {
        bool limb = i < (size_t)PF_FIGURE_N * PF_FIGURE_LIMBS;
        int64_t got = limb ? (int64_t)pf_ring_get(sum, i) : pf_ring_get_signed(sum, i);
        if (got != sums[i])
            COMPLAIN(self, "coordinate %zu of %u bits is %lld, the %u survivors' sum is %lld", i,
                     bits, (long long)got, self->result->n_survivors, (long long)sums[i]);
    }
}

static void check_sum(struct course *self, const struct pf_ring *sum)
{
    const struct pf_codec_config *config = pf_secagg_server_codec(self->server);
    PF_CLEANUP(pf_codec_destroyp) struct pf_codec *codec = NULL;
    PF_CLEANUP(pf_ring_destroyp) struct pf_ring *ring = NULL;
    if (pf_codec_create(config, &codec, NULL) != PF_OK ||
        pf_ring_create(pf_codec_ring_length(codec), config->modulus_bits, &ring, NULL) != PF_OK)
        abort();
    PF_CLEANUP(pf_freep) int64_t *sums = PF_ALLOC(pf_ring_length(ring), int64_t);
    if (sums == NULL) abort();
    for (uint32_t member = 0; member < N_ROSTER; member++) {
        if (!self->clients[member].counted) continue;
        add_encoded(self, member, codec, ring, sums);
        self->result->n_survivors++;
    }
    self->result->bits = config->modulus_bits;
    if (pf_ring_length(sum) != pf_ring_length(ring) || pf_ring_bits(sum) != pf_ring_bits(ring))
        COMPLAIN(self, "a sum of %zu coordinates", pf_ring_length(sum));
    else
        compare(self, sum, sums);
}

static void unmask(struct course *self)
{
    PF_CLEANUP(pf_unmasking_destroyp) struct pf_unmasking *unmasking = NULL;
    struct pf_error err = {0};
    enum pf_status status = pf_secagg_server_take(self->server, &unmasking, &err);
    if (status == PF_REFUSED) {
        self->result->ended = err;
        return;
    }
    if (status == PF_OK) status = pf_unmasking_run(unmasking, NULL, NULL, &err);
    if (status == PF_OK)
        check_sum(self, unmasking->sum);
    else
        COMPLAIN(self, "unmasking: %s", err.text);
}

static void run_course(struct course *self)
{
    take_step(self, ADVERTISE);
    if (!advance(self)) return;
    if (pf_secagg_server_phase(self->server) == PF_SECAGG_REVEALING) {
        take_step(self, REVEAL);
        if (!advance(self)) return;
    }
    take_step(self, SHARE);
    if (!advance(self)) return;
    take_step(self, MASK);
    if (!advance(self)) return;
    come_late(self);
    take_step(self, CONSENT);
    if (!advance(self)) return;
    take_step(self, UNMASK);
    come_late(self);
    unmask(self);
}

/* ---- whether a sum was due --------------------------------------------------------------------
 */

/* Members, as the tables of docs/protocol.md have them. */
struct group {
    bool has[N_ROSTER];
    uint32_t n;
};

static void take_out(struct group *self, uint32_t member)
{
    self->n -= self->has[member];
    self->has[member] = false;
}

/* Those of `self` who did not drop out at this step or before. */
static struct group who_stay(const struct course *self, struct group group, enum step step)
{
    for (uint32_t i = 0; i < N_ROSTER; i++)
        if (self->clients[i].drops_at <= step) take_out(&group, i);
    return group;
}

static uint32_t count_neighbours(const struct course *self, uint32_t member,
                                 const struct group *group)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < N_ROSTER; i++)
        n += group->has[i] && self->clients[member].neighbours[i];
    return n;
}

/* Whether t of those who hold its shares are in the group. */
static bool is_held(const struct course *self, uint32_t member, const struct group *group)
{
    bool own = self->config.graph == PF_GRAPH_COMPLETE && group->has[member];
    return count_neighbours(self, member, group) + own >= self->threshold;
}

/* Every secret that is needed for a sum over the survivors. */
static bool all_held(const struct course *self, const struct group *sharers,
                     const struct group *survivors, const struct group *group)
{
    for (uint32_t i = 0; i < N_ROSTER; i++)
        if (sharers->has[i] && (survivors->has[i] || count_neighbours(self, i, survivors) > 0) &&
            !is_held(self, i, group))
            return false;
    return true;
}

static bool parameters_exist(const struct course *self, uint32_t n)
{
    const struct pf_secagg_server_config *config = &self->config;
    const struct pf_secagg_goal goal = {.n = n,
                                        .corrupt = config->corrupt,
                                        .dropouts = config->dropouts,
                                        .adversary = config->adversary};
    struct pf_secagg_parameters found;
    return (config->graph == PF_GRAPH_COMPLETE ? pf_secagg_find_complete : pf_secagg_find_regular)(
               &goal, &found, NULL) == PF_OK;
}

/* From who dropped out where alone, and who is whose neighbour. */
static bool sum_is_due(const struct course *self)
{
    struct group cohort = {.n = self->n};
    for (uint32_t i = 0; i < self->n; i++) cohort.has[self->order[i]] = true;
    cohort = who_stay(self, cohort, ADVERTISE);
    struct group revealed = who_stay(self, cohort, REVEAL);
    if (cohort.n < 2 || !parameters_exist(self, cohort.n)) return false;
    if (self->config.graph != PF_GRAPH_COMPLETE && revealed.n < cohort.n) return false;

    struct group sharers = who_stay(self, revealed, SHARE);
    for (uint32_t i = 0; i < N_ROSTER; i++) /* until nobody has too few holders */
        if (sharers.has[i] && !is_held(self, i, &sharers)) {
            take_out(&sharers, i);
            i = UINT32_MAX; /* begins anew */
        }
    struct group survivors = who_stay(self, sharers, MASK);
    if (sharers.n < 2 || survivors.n < 2 || !all_held(self, &sharers, &survivors, &survivors))
        return false;

    const struct group consents = who_stay(self, survivors, CONSENT);
    struct group givers = consents;
    for (uint32_t i = 0; i < N_ROSTER; i++)
        if (!is_held(self, i, &consents)) take_out(&givers, i);
    struct group given = who_stay(self, givers, UNMASK);
    return all_held(self, &sharers, &survivors, &givers) &&
           all_held(self, &sharers, &survivors, &given);
}

static void run(struct result *result, uint64_t seed)
{
    struct course *self = PF_ALLOC(1, struct course);
    if (self == NULL) abort();
    self->seed = seed;
    self->result = result;
    begin(self);
    run_course(self);
    bool due = sum_is_due(self), given = result->ended.status == PF_OK;
    if (due && !given) COMPLAIN(self, "a sum was due: %s", result->ended.text);
    if (given && !due) COMPLAIN(self, "a sum that was not due");
    finish(self);
    pf_free(self);
}

/* ---- the runs ---------------------------------------------------------------------------------
 */

static void run_shard(void *context, size_t shard)
{
    struct result *results = context;
    run(&results[shard], shard + 1);
}

struct totals {
    size_t with_sum, ended;
    size_t graphs[3];                                               /* with a sum */
    size_t dropped_and_summed[N_STEPS], dropped_and_ended[N_STEPS]; /* runs with such dropouts */
    size_t repeated, late, reordered; /* runs with a sum that saw them */
    size_t sizes[N_ROSTER + 1];       /* all runs, by how many were asked */
    size_t bits[65];                  /* with a sum, by the modulus */
};

static void add_result(struct totals *totals, const struct result *result)
{
    bool summed = result->ended.status == PF_OK;
    for (size_t s = 0; s < N_STEPS; s++) {
        totals->dropped_and_summed[s] += summed && result->dropped[s] > 0;
        totals->dropped_and_ended[s] += !summed && result->dropped[s] > 0;
    }
    totals->ended += !summed;
    totals->sizes[result->n]++;
    if (!summed) return;
    totals->with_sum++;
    totals->graphs[result->graph]++;
    totals->repeated += result->n_repeated > 0;
    totals->late += result->n_late > 0;
    totals->reordered += result->n_reordered > 0;
    totals->bits[result->bits]++;
}

static size_t count_sizes(const struct totals *totals, uint32_t low, uint32_t high)
{
    size_t n = 0;
    for (uint32_t i = low; i <= high; i++) n += totals->sizes[i];
    return n;
}

static void print_totals(const struct totals *totals)
{
    print_message(
        "%zu runs: %zu sums (%zu complete, %zu regular graphs; %zu with repeats, %zu with late "
        "updates, %zu with earlier messages after later ones), %zu ended by name; %zu "
        "asked 2 to 8, %zu 9 to 20, %zu 21 to 64, %zu more\n",
        n_runs, totals->with_sum, totals->graphs[PF_GRAPH_COMPLETE],
        totals->graphs[PF_GRAPH_HARARY], totals->repeated, totals->late, totals->reordered,
        totals->ended, count_sizes(totals, 2, 8), count_sizes(totals, 9, 20),
        count_sizes(totals, 21, 64), count_sizes(totals, 65, N_ROSTER));
    for (size_t s = 0; s < N_STEPS; s++)
        print_message("  dropouts at %-9s %6zu runs with a sum, %6zu ended\n", step_names[s],
                      totals->dropped_and_summed[s], totals->dropped_and_ended[s]);
}

/* Each kind of course has to come often enough to say something. */
static void check_totals(const struct totals *totals)
{
    assert_true(totals->with_sum >= n_runs / 2);
    assert_true(totals->ended >= n_runs / 20);
    assert_true(totals->graphs[PF_GRAPH_COMPLETE] >= n_runs / 8);
    assert_true(totals->graphs[PF_GRAPH_HARARY] >= n_runs / 8);
    assert_true(totals->repeated >= n_runs / 8 && totals->late >= n_runs / 100);
    assert_true(totals->reordered >= n_runs / 8);
    assert_true(count_sizes(totals, 9, 20) >= n_runs / 8);
    assert_true(count_sizes(totals, 21, 64) >= n_runs / 40);
    for (size_t s = 0; s < N_STEPS; s++) {
        /* Without everybody's randomness there is no graph, hence no sum. */
        assert_true(s == REVEAL ? totals->dropped_and_summed[s] == 0
                                : totals->dropped_and_summed[s] >= n_runs / 50);
        assert_true(totals->dropped_and_ended[s] >= n_runs / 500);
    }
    if (n_runs < DEFAULT_RUNS) return;
    for (uint32_t n = 3; n <= 64; n++) assert_true(totals->sizes[n] >= 3);
    /* From the narrowest that two participants can have (8 bits and one more) to 32 bits and 8. */
    for (unsigned bits = 9; bits <= 40; bits++) assert_true(totals->bits[bits] > 0);
}

static void test_every_sum_is_the_plain_sum_of_the_survivors(void **state)
{
    (void)state;
    PF_CLEANUP(pf_pool_destroyp) struct pf_pool *pool = NULL;
    PF_CLEANUP(pf_freep) struct result *results = PF_ALLOC(n_runs, struct result);
    struct totals totals = {0};
    const char *wanted = getenv("PF_SEED");
    assert_non_null(results);
    if (wanted != NULL) {
        run(&results[0], strtoull(wanted, NULL, 10));
        print_message("PF_SEED=%s: %u asked, %s\n", wanted, results[0].n,
                      results[0].ended.status != PF_OK ? results[0].ended.text : "a sum");
    } else {
        assert_int_equal(pf_pool_create(0, &pool, NULL), PF_OK);
        pf_pool_run(pool, n_runs, run_shard, results);
    }
    size_t n_wrong = 0;
    for (size_t i = 0; i < n_runs; i++) {
        add_result(&totals, &results[i]);
        if (results[i].complaint.status != PF_OK && n_wrong++ < 5)
            print_error("PF_SEED=%zu: %s\n", i + 1, results[i].complaint.text);
    }
    assert_int_equal(n_wrong, 0);
    if (wanted != NULL) return;
    print_totals(&totals);
    check_totals(&totals);
}

static void make_people(void)
{
    struct pf_public_identity public[N_ROSTER], coordinator;
    struct pf_identity other;
    for (size_t i = 0; i < N_ROSTER; i++) {
        char name[16];
        snprintf(name, sizeof name, "p%03zu", i);
        if (pf_identity_generate(name, &people.identities[i], NULL) != PF_OK) abort();
        public[i] = people.identities[i].public;
    }
    if (pf_identity_generate("coordinator", &other, NULL) != PF_OK) abort();
    coordinator = other.public;
    pf_identity_finish(&other);
    if (pf_roster_create("test", 1, &coordinator, public, N_ROSTER, &people.roster, NULL) != PF_OK)
        abort();
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_sum_is_the_plain_sum_of_the_survivors),
    };
    if (argc > 1) n_runs = strtoull(argv[1], NULL, 10);
    if (n_runs == 0) return 2;
    seeded_random_install();
    make_people();
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    pf_roster_destroy(people.roster);
    return failed;
}
