/* One secure round, participants and coordinator in this process, each side's work timed apart; one
 * JSON line per measurement.
 *
 *   bench_secagg_round [N [DIMENSION]]
 *
 * All N participants are real: they advertise, share, mask, consent and unmask.  Some are timed on
 * one thread, some with a pool of two, and the median is given.  30 % vanish after sharing, which
 * is the dear case for the coordinator: for each of them its pairwise masks with all surviving
 * neighbours have to be made again; in one line ("lost": "after masking") they vanish after their
 * update, which stays in the sum.  The coordinator's part is replayed from the participants'
 * messages RUNS times; the sum is compared with the plain sum of the integers.
 *
 * The floor is the ChaCha20 keystream that the masks consist of, over the rate of the library that
 * makes them (common/secagg/keystream.h), measured beside it; messages are encoded for their sizes,
 * outside the timing. */
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/memory.h"
#include "common/secagg/keystream.h"
#include "coordinator/secagg_server.h"
#include "participant/secagg_client.h"
#include "proto/round_context.h"

enum { RUNS = 5, TIMED = 9, PIECE = 22400, PIECES = 64, MASKS = 64 };

static void die(const char *what)
{
    fprintf(stderr, "bench_secagg_round: %s\n", what);
    exit(1);
}

#define DO(call)                                    \
    do {                                            \
        if ((call) != PF_OK) die(scene_error.text); \
    } while (0)

static struct pf_error scene_error;

/* What a participant said, kept for the coordinator's replays, and what it took. */
struct member {
    struct pf_identity identity;
    struct pf_secagg_client *client;
    struct pf_message advertise, reveal, shares, consent, unmask;
    struct pf_buffer masked;
    double seconds;
    size_t sent, received;
};

struct scene {
    uint32_t n, n_stay; /* all, and those who do not vanish */
    bool late;          /* they vanish after masking, not before */
    size_t length[PF_CODEC_SEGMENTS];
    enum pf_graph_kind graph;
    struct pf_secagg_goal goal;
    struct pf_secagg_server_config server;
    struct pf_roster *roster;
    struct member *members; /* [n] */
    struct pf_pool *pool;   /* of two threads */
};

/* ---- small helpers ----------------------------------------------------------------------------
 */

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values, size_t n)
{
    qsort(values, n, sizeof *values, compare_doubles);
    return values[n / 2];
}

static size_t frame_bytes(struct pf_message *message)
{
    struct pf_buffer bytes = {0};
    memset(message->run_id.bytes, 7, sizeof message->run_id.bytes);
    DO(pf_message_encode(message, &bytes, &scene_error));
    size_t length = bytes.length;
    pf_buffer_finish(&bytes);
    return length;
}

static void make_keystream(void *context, size_t piece)
{
    static const uint8_t key[PF_KEYSTREAM_KEY_BYTES] = {1};
    uint8_t bytes[PIECE];
    struct pf_keystream keystream;
    (void)context;
    pf_keystream_init(&keystream);
    for (size_t i = 0; i < MASKS; i++)
        pf_keystream_make(&keystream, key, piece * (PIECE / PF_KEYSTREAM_BLOCK), bytes,
                          sizeof bytes);
    pf_keystream_finish(&keystream);
}

/* Bytes per second of keystream that nothing is done with, in pieces as long as those of the masks.
 */
static double keystream_rate(struct pf_pool *pool, size_t n_threads)
{
    double rates[RUNS];
    for (size_t run = 0; run < RUNS; run++) {
        double begin = pf_clock_seconds();
        if (n_threads > 1)
            pf_pool_run(pool, PIECES, make_keystream, NULL);
        else
            for (size_t piece = 0; piece < PIECES; piece++) make_keystream(NULL, piece);
        rates[run] = (double)PIECES * MASKS * PIECE / (pf_clock_seconds() - begin);
    }
    return median(rates, RUNS);
}

static void make_update(const struct scene *scene, uint32_t member, float *update)
{
    struct pf_random random;
    pf_random_init(&random, 5, "bench update", member);
    for (size_t i = 0; i < scene->length[0]; i++)
        update[i] = (float)(pf_random_uniform(&random) - 0.5) * 0.01f;
}

static const uint64_t figures[PF_FIGURE_N] = {
    [PF_FIGURE_EXAMPLES] = 5000, [PF_FIGURE_EVALUATED] = 512, [PF_FIGURE_CORRECT] = 300};

/* Whether the member's message of this step comes. */
static bool comes(const struct scene *scene, enum pf_secagg_phase phase, uint32_t member)
{
    enum pf_secagg_phase first_missed = scene->late ? PF_SECAGG_CONSENTING : PF_SECAGG_MASKING;
    return phase < first_missed || member < scene->n_stay;
}

/* ---- the cast ---------------------------------------------------------------------------------
 */

static void make_roster(struct scene *scene)
{
    struct pf_public_identity coordinator = {.name = "coordinator"};
    struct pf_public_identity *public = PF_ALLOC(scene->n, struct pf_public_identity);
    scene->members = PF_ALLOC(scene->n, struct member);
    if (public == NULL || scene->members == NULL) die("no memory");
    for (uint32_t i = 0; i < scene->n; i++) {
        char name[16];
        snprintf(name, sizeof name, "p%05u", i);
        DO(pf_identity_generate(name, &scene->members[i].identity, &scene_error));
        public[i] = scene->members[i].identity.public;
    }
    randombytes_buf(coordinator.sign, sizeof coordinator.sign);
    randombytes_buf(coordinator.transport, sizeof coordinator.transport);
    DO(pf_roster_create("bench", 1, &coordinator, public, scene->n, &scene->roster, &scene_error));
    pf_free(public);
}

static void configure(struct scene *scene)
{
    scene->server = (struct pf_secagg_server_config){
        .n_members = scene->n,
        .members = scene->roster->members,
        .round = 1,
        .masking = {.value_bits = 16, .weight_cap = 10000, .clip = {4.0, 4.0}, .rotate = true},
        .length = {scene->length[0], scene->length[1]},
        .corrupt = scene->goal.corrupt,
        .dropouts = scene->goal.dropouts,
        .adversary = scene->goal.adversary,
        .graph = scene->graph,
    };
    memset(scene->server.context.bytes, 3, sizeof scene->server.context.bytes);
}

static struct pf_secagg_client *make_client(struct scene *scene, uint32_t i)
{
    /* The first are timed alone, the next with the pool. */
    const struct pf_secagg_client_config config = {
        .roster = scene->roster,
        .self = i,
        .sign_secret = scene->members[i].identity.sign_secret,
        .round = 1,
        .context = scene->server.context,
        .masking = scene->server.masking,
        .min_cohort = 3,
        .max_corrupt = scene->goal.corrupt,
        .adversary = scene->goal.adversary,
        .pool = i < TIMED ? NULL : scene->pool,
    };
    struct pf_secagg_client *client = NULL;
    DO(pf_secagg_client_create(&config, &client, &scene_error));
    return client;
}

/* ---- the round --------------------------------------------------------------------------------
 */

static void advertise_all(struct scene *scene, struct pf_secagg_server *server)
{
    enum pf_reason reason;
    for (uint32_t i = 0; i < scene->n; i++) {
        struct member *member = &scene->members[i];
        double begin = pf_clock_seconds();
        member->client = make_client(scene, i);
        member->advertise.kind = PF_MESSAGE_ADVERTISE;
        pf_secagg_client_advertise(member->client, &member->advertise.advertise);
        member->seconds += pf_clock_seconds() - begin;
        member->sent += frame_bytes(&member->advertise);
        DO(pf_secagg_server_advertise(server, i, &member->advertise.advertise, &reason,
                                      &scene_error));
    }
    DO(pf_secagg_server_advance(server, &scene_error));
}

/* One step: the server's message to a member, the member's answer back.  False: no answer. */
static bool answer(struct scene *scene, uint32_t i, const struct pf_message *message)
{
    struct member *member = &scene->members[i];
    enum pf_reason reason = PF_REASON_NONE;
    struct pf_digest digest;
    double begin = pf_clock_seconds();
    switch (message->kind) {
    case PF_MESSAGE_COMMITTED:
        member->reveal.kind = PF_MESSAGE_REVEAL;
        DO(pf_secagg_client_committed(member->client, &message->committed, &member->reveal.reveal,
                                      &reason, &scene_error));
        break;
    case PF_MESSAGE_KEY_LIST:
        member->shares.kind = PF_MESSAGE_SHARES;
        DO(pf_secagg_client_key_list(member->client, &message->key_list, &member->shares.shares,
                                     &reason, &scene_error));
        break;
    case PF_MESSAGE_SHARE_DELIVERY:
        DO(pf_secagg_client_delivery(member->client, &message->shares, &reason, &scene_error));
        break;
    case PF_MESSAGE_SURVIVORS:
        member->consent.kind = PF_MESSAGE_CONSENT;
        DO(pf_secagg_client_survivors(member->client, &message->survivors, &member->consent.consent,
                                      &digest, &reason, &scene_error));
        break;
    case PF_MESSAGE_UNMASK_REQUEST:
        member->unmask.kind = PF_MESSAGE_UNMASK;
        DO(pf_secagg_client_unmask(member->client, &message->unmask_request, &member->unmask.unmask,
                                   &reason, &scene_error));
        break;
    default: die("an unknown message");
    }
    member->seconds += pf_clock_seconds() - begin;
    return message->kind != PF_MESSAGE_SHARE_DELIVERY;
}

static void take_answer(struct scene *scene, struct pf_secagg_server *server, uint32_t i)
{
    struct member *member = &scene->members[i];
    enum pf_reason reason;
    switch (pf_secagg_server_phase(server)) {
    case PF_SECAGG_REVEALING:
        DO(pf_secagg_server_reveal(server, i, &member->reveal.reveal, &reason, &scene_error));
        break;
    case PF_SECAGG_SHARING:
        DO(pf_secagg_server_shares(server, i, &member->shares.shares, &reason, &scene_error));
        break;
    case PF_SECAGG_CONSENTING:
        DO(pf_secagg_server_consent(server, i, &member->consent.consent, &reason, &scene_error));
        break;
    case PF_SECAGG_UNMASKING:
        DO(pf_secagg_server_unmask(server, i, &member->unmask.unmask, &reason, &scene_error));
        break;
    default: die("an answer in a wrong phase");
    }
}

static void play_step(struct scene *scene, struct pf_secagg_server *server)
{
    for (uint32_t i = 0; i < scene->n; i++) {
        enum pf_secagg_phase phase = pf_secagg_server_phase(server);
        bool there = comes(scene, phase, i) || phase == PF_SECAGG_MASKING;
        if (!pf_secagg_server_awaits(server, i) || !there) continue;
        struct pf_message message = {0};
        DO(pf_secagg_server_message(server, i, &message, &scene_error));
        scene->members[i].received += frame_bytes(&message);
        if (answer(scene, i, &message)) take_answer(scene, server, i);
        pf_message_finish(&message);
    }
}

static void mask_all(struct scene *scene, struct pf_secagg_server *server)
{
    PF_CLEANUP(pf_freep) float *update = PF_ALLOC(scene->length[0], float);
    if (update == NULL) die("no memory");
    enum pf_reason reason;
    for (uint32_t i = 0; i < scene->n; i++) {
        struct member *member = &scene->members[i];
        if (!comes(scene, PF_SECAGG_MASKING, i)) continue;
        make_update(scene, i, update);
        double begin = pf_clock_seconds();
        DO(pf_secagg_client_mask(member->client, scene->length, update, figures, i, &member->masked,
                                 &reason, &scene_error));
        member->seconds += pf_clock_seconds() - begin;
        member->sent += member->masked.length;
        DO(pf_secagg_server_masked(server, i, member->masked.bytes, member->masked.length, &reason,
                                   &scene_error));
    }
}

static void count_answers(struct scene *scene)
{
    for (uint32_t i = 0; i < scene->n; i++) {
        struct member *member = &scene->members[i];
        struct pf_message *answers[] = {&member->reveal, &member->shares, &member->consent,
                                        &member->unmask};
        for (size_t k = 0; k < PF_ARRAY_LENGTH(answers); k++)
            if (answers[k]->kind != 0) member->sent += frame_bytes(answers[k]);
    }
}

/* All participants, once. */
static struct pf_secagg_server *play(struct scene *scene)
{
    struct pf_secagg_server *server = NULL;
    DO(pf_secagg_server_create(&scene->server, &server, &scene_error));
    advertise_all(scene, server);
    if (pf_secagg_server_phase(server) == PF_SECAGG_REVEALING) {
        play_step(scene, server);
        DO(pf_secagg_server_advance(server, &scene_error));
    }
    play_step(scene, server); /* shares */
    DO(pf_secagg_server_advance(server, &scene_error));
    play_step(scene, server); /* delivery */
    mask_all(scene, server);
    DO(pf_secagg_server_advance(server, &scene_error));
    play_step(scene, server); /* consents */
    DO(pf_secagg_server_advance(server, &scene_error));
    play_step(scene, server); /* unmasking */
    count_answers(scene);
    return server;
}

/* ---- the coordinator's part again ---------------------------------------------------------------
 */

static void replay_step(struct scene *scene, struct pf_secagg_server *server)
{
    for (uint32_t i = 0; i < scene->n; i++) {
        if (!pf_secagg_server_awaits(server, i)) continue;
        struct pf_message message = {0};
        DO(pf_secagg_server_message(server, i, &message, &scene_error));
        pf_message_finish(&message);
        enum pf_secagg_phase phase = pf_secagg_server_phase(server);
        if (!comes(scene, phase, i)) continue;
        if (phase != PF_SECAGG_MASKING) {
            take_answer(scene, server, i);
        } else {
            enum pf_reason reason;
            DO(pf_secagg_server_masked(server, i, scene->members[i].masked.bytes,
                                       scene->members[i].masked.length, &reason, &scene_error));
        }
    }
}

/* Seconds of one replay; *unmasking holds the sum. */
static double replay(struct scene *scene, struct pf_unmasking **unmasking, double *unmask_seconds)
{
    enum pf_reason reason;
    struct pf_secagg_server *server = NULL;
    double begin = pf_clock_seconds();
    DO(pf_secagg_server_create(&scene->server, &server, &scene_error));
    for (uint32_t i = 0; i < scene->n; i++)
        DO(pf_secagg_server_advertise(server, i, &scene->members[i].advertise.advertise, &reason,
                                      &scene_error));
    do {
        DO(pf_secagg_server_advance(server, &scene_error));
        replay_step(scene, server);
    } while (pf_secagg_server_phase(server) != PF_SECAGG_UNMASKING);
    DO(pf_secagg_server_take(server, unmasking, &scene_error));
    double middle = pf_clock_seconds();
    DO(pf_unmasking_run(*unmasking, scene->pool, NULL, &scene_error));
    double end = pf_clock_seconds();
    *unmask_seconds = end - middle;
    pf_secagg_server_destroy(server);
    return end - begin;
}

/* Σ of the survivors' integers, made without any mask. */
static struct pf_ring *plain_sum(struct scene *scene, const struct pf_codec_config *config)
{
    struct pf_codec *codec = NULL;
    struct pf_ring *sum = NULL, *one = NULL;
    DO(pf_codec_create(config, &codec, &scene_error));
    size_t n = pf_codec_ring_length(codec);
    DO(pf_ring_create(n, config->modulus_bits, &sum, &scene_error));
    DO(pf_ring_create(n, config->modulus_bits, &one, &scene_error));
    float *update = PF_ALLOC(scene->length[0], float);
    uint8_t *packed = PF_ALLOC(pf_ring_packed_size(n, config->modulus_bits), uint8_t);
    if (update == NULL || packed == NULL) die("no memory");
    for (uint32_t i = 0; i < scene->n; i++) {
        if (!comes(scene, PF_SECAGG_MASKING, i)) continue;
        struct pf_random rounding;
        pf_random_init(&rounding, i, "stochastic rounding", 1);
        make_update(scene, i, update);
        DO(pf_codec_encode(codec, update, figures, &rounding, one, &scene_error));
        pf_ring_pack(one, packed);
        pf_ring_add_packed(sum, packed);
    }
    pf_free(update);
    pf_free(packed);
    pf_ring_destroy(one);
    pf_codec_destroy(codec);
    return sum;
}

static void check_sum(struct scene *scene, const struct pf_codec_config *config,
                      const struct pf_unmasking *unmasking)
{
    struct pf_ring *expected = plain_sum(scene, config);
    for (size_t i = 0; i < pf_ring_length(expected); i++)
        if (pf_ring_get(expected, i) != pf_ring_get(unmasking->sum, i))
            die("the sum is not the plain sum");
    pf_ring_destroy(expected);
}

/* ---- lines --------------------------------------------------------------------------------------
 */

static void print_head(const struct scene *scene, const char *bench,
                       const struct pf_secagg_parameters *parameters,
                       const struct pf_codec_config *codec)
{
    printf("{\"bench\":\"%s\",\"participants\":%u,\"graph\":\"%s\",\"adversary\":\"%s\","
           "\"corrupt\":%g,\"dropouts\":%g,\"degree\":%u,\"threshold\":%u,\"dimension\":%zu,"
           "\"bits\":%u,",
           bench, scene->n, pf_graph_name(parameters->graph),
           scene->goal.adversary == PF_SEMI_HONEST ? "semi-honest" : "semi-malicious",
           scene->goal.corrupt, scene->goal.dropouts, parameters->degree, parameters->threshold,
           scene->length[0], codec->modulus_bits);
}

static void print_client(const struct scene *scene, const struct pf_secagg_parameters *parameters,
                         const struct pf_codec_config *codec, size_t packed, double rate,
                         size_t threads)
{
    double times[TIMED];
    size_t first = threads == 1 ? 0 : TIMED, sent = 0, received = 0;
    for (size_t i = 0; i < TIMED; i++) {
        times[i] = scene->members[first + i].seconds;
        sent = PF_MAX(sent, scene->members[first + i].sent);
        received = PF_MAX(received, scene->members[first + i].received);
    }
    double ms = 1e3 * median(times, TIMED);
    double floor = 1e3 * (double)packed * (parameters->degree + 1) / rate;
    print_head(scene, "secagg_client", parameters, codec);
    printf("\"threads\":%zu,\"ms\":%.2f,\"floor_ms\":%.2f,\"ratio\":%.2f,\"upload_bytes\":%zu,"
           "\"download_bytes\":%zu}\n",
           threads, ms, floor, ms / floor, sent, received);
}

static double count_terms(const struct pf_unmasking *unmasking)
{
    double n = 0;
    for (uint32_t i = 0; i < unmasking->n_targets; i++)
        n += unmasking->targets[i].dropped ? unmasking->targets[i].n_neighbours : 1;
    return n;
}

static void bench_server(struct scene *scene, const struct pf_secagg_parameters *parameters,
                         const struct pf_codec_config *codec, size_t packed, double rate)
{
    double times[RUNS], unmask[RUNS], terms = 0;
    for (size_t run = 0; run < RUNS; run++) {
        struct pf_unmasking *unmasking = NULL;
        times[run] = replay(scene, &unmasking, &unmask[run]);
        terms = count_terms(unmasking);
        if (run == 0) check_sum(scene, codec, unmasking);
        pf_unmasking_destroy(unmasking);
    }
    double seconds = median(times, RUNS), floor = terms * (double)packed / rate;
    print_head(scene, "secagg_server", parameters, codec);
    printf("\"threads\":2,\"lost\":\"%s "
           "masking\",\"stay\":%u,\"masks\":%.0f,\"seconds\":%.3f,\"unmask_seconds\":%.3f,"
           "\"floor_seconds\":%.3f,\"ratio\":%.2f}\n",
           scene->late ? "after" : "before", scene->n_stay, terms, seconds, median(unmask, RUNS),
           floor, seconds / floor);
    fflush(stdout);
}

static void scene_finish(struct scene *scene)
{
    for (uint32_t i = 0; i < scene->n; i++) {
        struct member *member = &scene->members[i];
        pf_secagg_client_destroy(member->client);
        pf_message_finish(&member->shares);
        pf_message_finish(&member->unmask);
        pf_buffer_finish(&member->masked);
        pf_identity_finish(&member->identity);
    }
    pf_free(scene->members);
    pf_roster_destroy(scene->roster);
    pf_pool_destroy(scene->pool);
}

static void bench_round(uint32_t n, size_t dimension, enum pf_graph_kind graph,
                        struct pf_secagg_goal goal, double lost, bool late)
{
    struct scene scene = {.n = n,
                          .n_stay = n - (uint32_t)(lost * n),
                          .late = late,
                          .length = {dimension, 0},
                          .graph = graph,
                          .goal = goal};
    DO(pf_pool_create(2, &scene.pool, &scene_error));
    make_roster(&scene);
    configure(&scene);
    struct pf_secagg_server *server = play(&scene);
    const struct pf_secagg_parameters parameters = *pf_secagg_server_parameters(server);
    const struct pf_codec_config codec = *pf_secagg_server_codec(server);
    size_t packed = pf_secagg_server_packed_bytes(server);
    pf_secagg_server_destroy(server);
    double rates[2] = {keystream_rate(scene.pool, 1), keystream_rate(scene.pool, 2)};
    for (size_t threads = 1; threads <= 2 && !late; threads++)
        print_client(&scene, &parameters, &codec, packed, rates[threads - 1], threads);
    fflush(stdout);
    bench_server(&scene, &parameters, &codec, packed, rates[1]);
    scene_finish(&scene);
}

int main(int argc, char **argv)
{
    if (sodium_init() < 0) die("libsodium cannot start");
    long n = argc > 1 ? strtol(argv[1], NULL, 10) : 500;
    long dimension = argc > 2 ? strtol(argv[2], NULL, 10) : 100000;
    if (n < 2 * TIMED + 4 || n > (long)PF_SECAGG_MAX_COMPLETE || dimension < 1 ||
        dimension > 10000000)
        die("usage: bench_secagg_round [22…2000 participants [dimension]]");
    uint32_t participants = (uint32_t)n;
    size_t d = (size_t)dimension;
    bench_round(participants, d, PF_GRAPH_COMPLETE,
                (struct pf_secagg_goal){participants, 0.2, 0.3, PF_SEMI_MALICIOUS}, 0.3, false);
    bench_round(participants, d, PF_GRAPH_COMPLETE,
                (struct pf_secagg_goal){participants, 0.2, 0.3, PF_SEMI_MALICIOUS}, 0.3, true);
    bench_round(participants, d, PF_GRAPH_HARARY,
                (struct pf_secagg_goal){participants, 0.05, 0.3, PF_SEMI_HONEST}, 0.3, false);
    bench_round(participants, d, PF_GRAPH_HARARY,
                (struct pf_secagg_goal){participants, 0.05, 0.3, PF_SEMI_MALICIOUS}, 0.3, false);
    bench_round(participants, d, PF_GRAPH_HARARY,
                (struct pf_secagg_goal){participants, 0.05, 0.3, PF_SEMI_MALICIOUS}, 0.3, true);
    bench_round(participants, d, PF_GRAPH_HARARY,
                (struct pf_secagg_goal){participants, 0.05, 0.05, PF_SEMI_MALICIOUS}, 0.05, false);
    return 0;
}
