/* A coordinator on a real socket, with members that speak the protocol but do not train. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <pthread.h>
#include <sodium.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/file.h"
#include "common/wire/wire.h"
#include "coordinator/coordinator.h"
#include "participant/secagg_client.h"
#include "proto/model_file.h"
#include "proto/round_context.h"
#include "tests/unit/coordinator/small_model.h"

#define N_MEMBERS 3

struct site {
    char folder[64], run[96];
    struct pf_identity coordinator, members[N_MEMBERS];
    struct pf_roster *roster;
    struct pf_model *model;
    struct pf_dataset *test_set;
    struct pf_coordinator_config config;
    struct pf_progress progress;
    atomic_bool stop;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    char endpoint[128]; /* empty until listening */
    /* of the coordinator's thread */
    pthread_t thread;
    struct pf_coordinator_result result;
    enum pf_status status;
    struct pf_error err;
};

static void listening(void *context, const char *endpoint)
{
    struct site *site = context;
    pthread_mutex_lock(&site->mutex);
    snprintf(site->endpoint, sizeof site->endpoint, "%s", endpoint);
    pthread_cond_broadcast(&site->changed);
    pthread_mutex_unlock(&site->mutex);
}

static void make_model(struct site *site)
{
    site->model = small_model();
    assert_int_equal(pf_dataset_synthetic(1, PF_SPLIT_TEST, 50, &site->test_set, NULL), PF_OK);
}

static void make_roster(struct site *site)
{
    const char *const names[N_MEMBERS] = {"alice", "bob", "carol"};
    struct pf_public_identity members[N_MEMBERS];
    assert_int_equal(pf_identity_generate("coordinator", &site->coordinator, NULL), PF_OK);
    for (size_t i = 0; i < N_MEMBERS; i++) {
        assert_int_equal(pf_identity_generate(names[i], &site->members[i], NULL), PF_OK);
        members[i] = site->members[i].public;
    }
    assert_int_equal(pf_roster_create("test", 1, &site->coordinator.public, members, N_MEMBERS,
                                      &site->roster, NULL),
                     PF_OK);
}

static int setup(void **state)
{
    struct site *site = calloc(1, sizeof *site);
    *state = site;
    snprintf(site->folder, sizeof site->folder, "/tmp/packfed-coordinator-XXXXXX");
    if (sodium_init() < 0 || mkdtemp(site->folder) == NULL) return 1;
    snprintf(site->run, sizeof site->run, "%s/run", site->folder);
    pthread_mutex_init(&site->mutex, NULL);
    pthread_cond_init(&site->changed, NULL);
    make_model(site);
    make_roster(site);
    pf_coordinator_config_default(&site->config);
    site->config.identity = &site->coordinator;
    site->config.roster = site->roster;
    site->config.listen = "tcp://127.0.0.1:0";
    site->config.run_folder = site->run;
    site->config.model = site->model;
    site->config.test_set = site->test_set;
    site->config.schedule.n_stages = 2;
    for (size_t s = 0; s < 2; s++)
        site->config.schedule.stages[s] = (struct pf_stage){
            .combine = {.alpha = {s == 0 ? 2 : 4}, .gamma = 1.75, .density = {s == 0 ? 0.6 : 0.3}},
            .rounds = 2,
            .schedule_end = 1};
    site->config.aggregation = PF_AGGREGATION_PLAIN;
    site->config.min_cohort = 2;
    site->config.quorum = 2;
    site->config.join_timeout_ms = 20000;
    site->config.gather_ms = 5000;
    site->config.round_timeout_ms = 20000;
    site->config.liveness_ms = 5000;
    site->config.n_threads = 1;
    site->config.listening = listening;
    site->config.listening_context = site;
    site->progress.stop = &site->stop;
    return 0;
}

static int teardown(void **state)
{
    struct site *site = *state;
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", site->folder);
    int status = system(command);
    pf_coordinator_result_finish(&site->result);
    pf_identity_finish(&site->coordinator);
    for (size_t i = 0; i < N_MEMBERS; i++) pf_identity_finish(&site->members[i]);
    pf_roster_destroy(site->roster);
    pf_model_destroy(site->model);
    pf_dataset_destroy(site->test_set);
    pthread_cond_destroy(&site->changed);
    pthread_mutex_destroy(&site->mutex);
    free(site);
    return status;
}

static void *run_coordinator(void *context)
{
    struct site *site = context;
    site->status = pf_coordinator_run(&site->config, &site->progress, &site->result, &site->err);
    listening(site, site->endpoint[0] != '\0' ? site->endpoint : "failed");
    return NULL;
}

static void start(struct site *site)
{
    assert_int_equal(pthread_create(&site->thread, NULL, run_coordinator, site), 0);
    pthread_mutex_lock(&site->mutex);
    while (site->endpoint[0] == '\0') pthread_cond_wait(&site->changed, &site->mutex);
    pthread_mutex_unlock(&site->mutex);
}

static enum pf_status finish(struct site *site)
{
    pthread_join(site->thread, NULL);
    return site->status;
}

/* ---- a member ----------------------------------------------------------------------------- */

struct puppet {
    const struct site *site;
    size_t index;
    uint32_t rounds_until_silence; /* then it says nothing more */
    pthread_t thread;
    struct pf_wire_client *wire;
    struct pf_run_id run_id;
    struct pf_round_offer offer; /* without chunk hashes */
    struct pf_buffer model;
    struct pf_secagg_client *client; /* of a secure round */
    bool model_held, boxes_held;     /* … both are needed for an update */
    size_t n_updates, n_receipts, n_results;
    bool finished, success;
};

static void say(struct puppet *self, struct pf_message *message)
{
    struct pf_buffer frame = {0};
    struct pf_error err = {0};
    message->run_id = self->run_id;
    if (pf_message_encode(message, &frame, &err) != PF_OK ||
        pf_wire_client_send(self->wire, frame.bytes, frame.length, &err) != PF_OK)
        fprintf(stderr, "a frame was not sent: %s\n", err.text);
    pf_buffer_finish(&frame);
}

static void ask_chunk(struct puppet *self, uint32_t chunk)
{
    struct pf_message request = {.kind = PF_MESSAGE_MODEL_REQUEST,
                                 .request = {.model_hash = self->offer.model_hash, .chunk = chunk}};
    say(self, &request);
}

static void send_bytes(struct puppet *self, struct pf_buffer *update)
{
    struct pf_message chunk = {.kind = PF_MESSAGE_UPDATE_CHUNK,
                               .chunk = {.round = self->offer.round,
                                         .model_hash = self->offer.model_hash,
                                         .n_chunks = 1,
                                         .bytes = update->bytes,
                                         .length = update->length}};
    say(self, &chunk);
    self->n_updates++;
}

/* Member i has i + 1 examples, 10 images to evaluate on, i of them right. */
static enum pf_status encode_update(struct puppet *self, const struct pf_model *model,
                                    const float *delta, struct pf_buffer *update)
{
    if (self->client == NULL)
        return pf_update_encode(PF_AGGREGATION_PLAIN, delta, model->n_parameters, 1, update, NULL);
    const size_t length[PF_CODEC_SEGMENTS] = {model->n_trained,
                                              model->n_parameters - model->n_trained};
    const uint64_t figures[PF_FIGURE_N] = {[PF_FIGURE_EXAMPLES] = self->index + 1,
                                           [PF_FIGURE_EVALUATED] = 10,
                                           [PF_FIGURE_CORRECT] = self->index};
    enum pf_reason reason;
    return pf_secagg_client_mask(self->client, length, delta, figures, 1, update, &reason, NULL);
}

/* An update of all zeros but a little more in every bias, as long as the model says. */
static void send_update(struct puppet *self)
{
    struct pf_model *model = NULL;
    struct pf_buffer update = {0};
    if (pf_model_decode("served", self->model.bytes, self->model.length, &model, NULL) != PF_OK)
        return;
    float *delta = calloc(model->n_parameters, sizeof *delta);
    delta[0] = (float)(self->index + 1);
    if (encode_update(self, model, delta, &update) == PF_OK) send_bytes(self, &update);
    pf_buffer_finish(&update);
    pf_model_destroy(model);
    free(delta);
}

static void on_chunk(struct puppet *self, const struct pf_chunk *chunk)
{
    if (pf_buffer_append(&self->model, chunk->bytes, chunk->length, NULL) != PF_OK) return;
    if (chunk->chunk + 1 < self->offer.n_chunks) {
        ask_chunk(self, chunk->chunk + 1);
        return;
    }
    self->model_held = true;
    if (self->client == NULL || self->boxes_held) send_update(self);
}

static void advertise(struct puppet *self, const struct pf_round_offer *offer)
{
    struct pf_secagg_client_config config = {
        .roster = self->site->roster,
        .self = (uint32_t)self->index,
        .sign_secret = self->site->members[self->index].sign_secret,
        .round = offer->round,
        .context = pf_round_context(&self->run_id, self->site->roster->hash, offer),
        .masking = offer->masking,
        .min_cohort = 3,
        .max_corrupt = -1,
    };
    struct pf_message message = {.kind = PF_MESSAGE_ADVERTISE};
    pf_secagg_client_destroy(self->client);
    self->client = NULL;
    if (offer->masking.value_bits == 0) return;
    pf_round_rotation_seed(offer, config.rotation_seed);
    if (pf_secagg_client_create(&config, &self->client, NULL) != PF_OK) return;
    pf_secagg_client_advertise(self->client, &message.advertise);
    say(self, &message);
}

/* Steps 1, 3 and 4. */
static void on_step(struct puppet *self, const struct pf_message *message)
{
    struct pf_message answer = {0};
    struct pf_digest digest;
    enum pf_reason reason;
    struct pf_error err = {0};
    enum pf_status status = PF_INVALID;
    if (message->kind == PF_MESSAGE_KEY_LIST) {
        answer.kind = PF_MESSAGE_SHARES;
        status = pf_secagg_client_key_list(self->client, &message->key_list, &answer.shares,
                                           &reason, &err);
    } else if (message->kind == PF_MESSAGE_SURVIVORS) {
        answer.kind = PF_MESSAGE_CONSENT;
        status = pf_secagg_client_survivors(self->client, &message->survivors, &answer.consent,
                                            &digest, &reason, &err);
    } else {
        answer.kind = PF_MESSAGE_UNMASK;
        status = pf_secagg_client_unmask(self->client, &message->unmask_request, &answer.unmask,
                                         &reason, &err);
    }
    if (status != PF_OK) {
        fprintf(stderr, "a member refuses: %s\n", err.text);
        return;
    }
    say(self, &answer);
    pf_message_finish(&answer);
}

static void on_delivery(struct puppet *self, const struct pf_message *message)
{
    enum pf_reason reason;
    if (self->boxes_held ||
        pf_secagg_client_delivery(self->client, &message->shares, &reason, NULL) != PF_OK)
        return;
    self->boxes_held = true;
    if (self->model_held) send_update(self);
}

static void on_message(struct puppet *self, const struct pf_message *message)
{
    switch (message->kind) {
    case PF_MESSAGE_WELCOME: self->run_id = message->welcome.run_id; break;
    case PF_MESSAGE_ROUND_OFFER:
        if (message->offer.round == self->offer.round) break;
        self->offer = message->offer;
        self->offer.chunk_hashes = NULL;
        self->model_held = self->boxes_held = false;
        pf_buffer_reset(&self->model);
        advertise(self, &message->offer);
        ask_chunk(self, 0);
        break;
    case PF_MESSAGE_KEY_LIST:
    case PF_MESSAGE_SURVIVORS:
    case PF_MESSAGE_UNMASK_REQUEST: on_step(self, message); break;
    case PF_MESSAGE_SHARE_DELIVERY: on_delivery(self, message); break;
    case PF_MESSAGE_MODEL_CHUNK: on_chunk(self, &message->chunk); break;
    case PF_MESSAGE_UPDATE_RECEIPT: self->n_receipts++; break;
    case PF_MESSAGE_ROUND_RESULT: self->n_results++; break;
    case PF_MESSAGE_FINISHED:
        self->finished = true;
        self->success = message->finished.success;
        break;
    default: break;
    }
}

static void *play(void *context)
{
    struct puppet *self = context;
    struct pf_buffer frame = {0};
    struct pf_message hello = {.kind = PF_MESSAGE_HELLO, .hello = {.version = PF_PROTOCOL_VERSION}};
    if (pf_wire_client_create(self->site->endpoint, &self->site->members[self->index],
                              self->site->coordinator.public.transport, &self->wire, NULL) != PF_OK)
        return NULL;
    say(self, &hello);
    double deadline = pf_clock_seconds() + 30;
    while (!self->finished && pf_clock_seconds() < deadline &&
           self->n_results < self->rounds_until_silence) {
        enum pf_status status = pf_wire_client_receive(self->wire, 1000, &frame, NULL);
        struct pf_message message = {0};
        if (status == PF_TIMEOUT && self->offer.round > 0) {
            struct pf_message alive = {.kind = PF_MESSAGE_ALIVE};
            say(self, &alive);
        }
        if (status != PF_OK) continue;
        struct pf_error err = {0};
        if (pf_message_decode(frame.bytes, frame.length, &message, &err) != PF_OK) {
            fprintf(stderr, "a coordinator's frame does not decode: %s\n", err.text);
            continue;
        }
        on_message(self, &message);
        pf_message_finish(&message);
    }
    pf_buffer_finish(&frame);
    pf_buffer_finish(&self->model);
    pf_secagg_client_destroy(self->client);
    pf_wire_client_destroy(self->wire);
    return NULL;
}

static void join_run(struct site *site, struct puppet *puppet, size_t index)
{
    *puppet = (struct puppet){.site = site, .index = index, .rounds_until_silence = UINT32_MAX};
    assert_int_equal(pthread_create(&puppet->thread, NULL, play, puppet), 0);
}

static int64_t query(const struct site *site, const char *sql)
{
    char path[128];
    sqlite3 *db = NULL;
    sqlite3_stmt *statement = NULL;
    snprintf(path, sizeof path, "%s/run.db", site->run);
    assert_int_equal(sqlite3_open_v2(path, &db, SQLITE_OPEN_READONLY, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &statement, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
    int64_t value = sqlite3_column_int64(statement, 0);
    sqlite3_finalize(statement);
    sqlite3_close(db);
    return value;
}

static struct pf_model *load(const struct site *site, const char *name)
{
    char path[128];
    struct pf_model *model = NULL;
    struct pf_error err = {0};
    snprintf(path, sizeof path, "%s/%s", site->run, name);
    if (pf_model_load(path, &model, &err) != PF_OK) fail_msg("%s", err.text);
    return model;
}

/* ---- tests -------------------------------------------------------------------------------- */

static void test_whole_run(void **state)
{
    struct site *site = *state;
    struct puppet puppets[N_MEMBERS];
    start(site);
    for (size_t i = 0; i < N_MEMBERS; i++) join_run(site, &puppets[i], i);
    for (size_t i = 0; i < N_MEMBERS; i++) pthread_join(puppets[i].thread, NULL);
    if (finish(site) != PF_OK) fail_msg("%s", site->err.text);
    for (size_t i = 0; i < N_MEMBERS; i++) {
        assert_true(puppets[i].finished && puppets[i].success);
        assert_int_equal(puppets[i].n_updates, 4);
        assert_int_equal(puppets[i].n_receipts, 4);
        assert_int_equal(puppets[i].n_results, 4);
    }
    const struct pf_coordinator_result *result = &site->result;
    assert_true(result->success);
    assert_int_equal(result->rounds_completed, 4);
    assert_int_equal(result->n_participants, 3);
    assert_int_equal(result->n_stages, 2);
    assert_true(result->stages[1].nonzeros < result->stages[0].nonzeros);
    assert_false(isnan(result->accuracy.dense) || isnan(result->accuracy.one_shot) ||
                 isnan(result->accuracy.combined) || isnan(result->accuracy.retrained));
    assert_true(result->upload_per_participant > 4 * 24);
    assert_true(result->download_per_participant > 4 * (double)result->nonzeros.packed);

    /* Two rounds after the last combining, each adding the mean of 1, 2 and 3. */
    PF_CLEANUP(pf_model_destroyp) struct pf_model *combined = load(site, "combined.pfm");
    PF_CLEANUP(pf_model_destroyp) struct pf_model *retrained = load(site, "retrained.pfm");
    PF_CLEANUP(pf_model_destroyp) struct pf_model *dense = load(site, "dense.pfm");
    assert_true(pf_model_same_shape(combined, retrained));
    assert_true(pf_model_same_shape(dense, site->model));
    assert_true(fabsf(retrained->parameters[0] - combined->parameters[0] - 4) < 1e-4f);
    assert_true(fabsf(retrained->parameters[1] - combined->parameters[1]) < 1e-6f);

    assert_int_equal(query(site, "SELECT count(*) FROM rounds WHERE included = 3"), 4);
    assert_int_equal(query(site, "SELECT count(*) FROM stages"), 2);
    assert_int_equal(query(site, "SELECT max(round) FROM checkpoints WHERE kind = 'model'"), 4);
    assert_true(query(site, "SELECT min(upload_bytes) FROM rounds") > 0);
    assert_int_equal(query(site, "SELECT count(*) FROM run WHERE key = 'outcome' AND value = "
                                 "'completed'"),
                     1);
    PF_CLEANUP(pf_buffer_finish) struct pf_buffer endpoint = {0};
    char path[128];
    snprintf(path, sizeof path, "%s/endpoint", site->run);
    assert_int_equal(pf_file_read(path, 256, &endpoint, NULL), PF_OK);
    assert_memory_equal(endpoint.bytes, site->endpoint, strlen(site->endpoint));
}

/* The default: the coordinator learns sums, and the store only those. */
static void test_whole_secure_run(void **state)
{
    struct site *site = *state;
    struct puppet puppets[N_MEMBERS];
    struct pf_coordinator_config usual;
    pf_coordinator_config_default(&usual);
    assert_int_equal(usual.aggregation, PF_AGGREGATION_SECURE);
    site->config.aggregation = PF_AGGREGATION_SECURE;
    site->config.masking.weight_cap = 3;
    site->config.min_cohort = site->config.quorum = 0; /* as many as a sum needs */
    start(site);
    for (size_t i = 0; i < N_MEMBERS; i++) join_run(site, &puppets[i], i);
    for (size_t i = 0; i < N_MEMBERS; i++) pthread_join(puppets[i].thread, NULL);
    if (finish(site) != PF_OK) fail_msg("%s", site->err.text);
    for (size_t i = 0; i < N_MEMBERS; i++) {
        assert_int_equal(puppets[i].n_updates, 4);
        assert_int_equal(puppets[i].n_receipts, 4);
    }
    assert_int_equal(site->result.rounds_completed, 4);
    assert_int_equal(site->result.aggregation, PF_AGGREGATION_SECURE);
    /* Two rounds after the last combining, each adding (1·1 + 2·2 + 3·3) ÷ 6 to one parameter. */
    PF_CLEANUP(pf_model_destroyp) struct pf_model *combined = load(site, "combined.pfm");
    PF_CLEANUP(pf_model_destroyp) struct pf_model *retrained = load(site, "retrained.pfm");
    assert_true(fabsf(retrained->parameters[0] - combined->parameters[0] - 2 * 14.0f / 6) < 0.05f);
    assert_true(fabsf(retrained->parameters[1] - combined->parameters[1]) < 0.05f);
    assert_int_equal(query(site, "SELECT count(*) FROM rounds WHERE included = 3 AND examples = 6 "
                                 "AND evaluated = 30 AND correct = 3 AND clip_trained > 0"),
                     4);
    /* Small norms let the clip sink by halves; each stage begins with a wide one again. */
    assert_int_equal(query(site, "SELECT count(*) FROM rounds WHERE clip_trained = 32.0 / (2 - "
                                 "round % 2) AND clip_statistics = clip_trained"),
                     4);
    assert_int_equal(
        query(site, "SELECT count(*) FROM run WHERE key = 'aggregation' AND value = 'secure'"), 1);
}

static void test_silent_member_does_not_hold_the_run(void **state)
{
    struct site *site = *state;
    struct puppet puppets[N_MEMBERS];
    site->config.liveness_ms = 1500;
    start(site);
    for (size_t i = 0; i < N_MEMBERS; i++) {
        join_run(site, &puppets[i], i);
        if (i == 2) puppets[i].rounds_until_silence = 1;
    }
    for (size_t i = 0; i < N_MEMBERS; i++) pthread_join(puppets[i].thread, NULL);
    if (finish(site) != PF_OK) fail_msg("%s", site->err.text);
    assert_int_equal(site->result.rounds_completed, 4);
    assert_int_equal(query(site, "SELECT count(*) FROM rounds WHERE included = 2 AND dropped = 1 "
                                 "AND round = 2"),
                     1);
    assert_int_equal(
        query(site, "SELECT count(*) FROM events WHERE text LIKE '%carol dropped: silent%'"), 1);
}

static void test_stopped_within_a_second(void **state)
{
    struct site *site = *state;
    struct puppet puppet;
    start(site);
    join_run(site, &puppet, 0);
    while (query(site, "SELECT count(*) FROM events WHERE text LIKE 'alice%'") == 0) sched_yield();
    double begin = pf_clock_seconds();
    atomic_store(&site->stop, true);
    assert_int_equal(finish(site), PF_INTERRUPTED);
    assert_true(pf_clock_seconds() - begin < 1.0);
    pthread_join(puppet.thread, NULL);
    assert_true(puppet.finished && !puppet.success);
    assert_non_null(strstr(site->err.text, "stopped on request after 0 of 4 rounds"));
    assert_int_equal(query(site, "SELECT count(*) FROM run WHERE key = 'outcome' AND value = "
                                 "'failed'"),
                     1);
}

static void test_nobody_comes(void **state)
{
    struct site *site = *state;
    site->config.join_timeout_ms = 200;
    start(site);
    assert_int_equal(finish(site), PF_TIMEOUT);
    assert_non_null(strstr(site->err.text, "missing: alice, bob and carol"));
    assert_false(site->result.success);
    assert_string_equal(site->result.sentence, site->err.text);
}

static enum pf_status run_now(struct site *site)
{
    pf_coordinator_result_finish(&site->result);
    return pf_coordinator_run(&site->config, NULL, &site->result, &site->err);
}

static void test_folder_in_use_is_left_alone(void **state)
{
    struct site *site = *state;
    char path[128];
    snprintf(path, sizeof path, "%s/mine", site->folder);
    assert_int_equal(pf_file_write(path, "keep", 4, 0644, NULL), PF_OK);
    site->config.run_folder = site->folder;
    assert_int_equal(run_now(site), PF_REFUSED);
    assert_non_null(strstr(site->err.text, "not empty"));
    PF_CLEANUP(pf_buffer_finish) struct pf_buffer bytes = {0};
    assert_int_equal(pf_file_read(path, 10, &bytes, NULL), PF_OK);
    site->config.run_folder = "/proc/no/run";
    assert_int_equal(run_now(site), PF_IO);
    assert_non_null(strstr(site->err.text, "/proc/no"));
    site->config.run_folder = path; /* a file */
    assert_int_equal(run_now(site), PF_IO);
    assert_non_null(strstr(site->err.text, path));
}

static void test_port_in_use_leaves_nothing(void **state)
{
    struct site *site = *state;
    const uint8_t allowed[1][32] = {{1}};
    struct pf_wire_server *other = NULL;
    assert_int_equal(
        pf_wire_server_create("tcp://127.0.0.1:0", &site->members[0], allowed, 1, &other, NULL),
        PF_OK);
    site->config.listen = pf_wire_server_endpoint(other);
    assert_int_equal(run_now(site), PF_IO);
    assert_non_null(strstr(site->err.text, "in use"));
    assert_false(pf_file_exists(site->run));
    pf_wire_server_destroy(other);
}

/* Nothing is made: no folder, no port. */
static void test_a_packed_teacher_is_refused(void **state)
{
    struct site *site = *state;
    const struct pf_combine_options options = {.alpha = {2}, .gamma = 1.75, .density = {0.6}};
    PF_CLEANUP(pf_model_destroyp) struct pf_model *packed = NULL;
    assert_int_equal(pf_model_combine(site->model, &options, &packed, NULL, NULL), PF_OK);
    site->config.model = packed;
    site->config.order.distill_weight = 0.5;
    site->config.order.distill_temperature = 4.0;
    assert_int_equal(run_now(site), PF_INVALID);
    assert_non_null(strstr(site->err.text, "--distill 0"));
    assert_false(pf_file_exists(site->run));
}

static void test_configurations_refused(void **state)
{
    struct site *site = *state;
    site->config.identity = &site->members[1];
    assert_int_equal(run_now(site), PF_REFUSED);
    assert_non_null(strstr(site->err.text, "'bob'"));
    site->config.identity = &site->coordinator;
    site->config.aggregation = (enum pf_aggregation)77;
    assert_int_equal(run_now(site), PF_INVALID);
    site->config.aggregation = PF_AGGREGATION_PLAIN;
    site->config.min_cohort = 4;
    assert_int_equal(run_now(site), PF_INVALID);
    assert_non_null(strstr(site->err.text, "3 members"));
    site->config.min_cohort = 2;
    site->config.aggregation = PF_AGGREGATION_SECURE;
    assert_int_equal(run_now(site), PF_INVALID);
    assert_non_null(strstr(site->err.text, "a sum of fewer than 3 hides nothing; --aggregation "
                                           "plain or more participants"));
    site->config.min_cohort = site->config.quorum = 3;
    site->config.masking.value_bits = 7;
    assert_int_equal(run_now(site), PF_INVALID);
    assert_non_null(strstr(site->err.text, "value_bits is 7"));
    site->config.masking.value_bits = 16;
    site->config.corrupt = 0.9;
    site->config.graph = PF_GRAPH_HARARY;
    assert_int_equal(run_now(site), PF_INVALID);
    assert_non_null(strstr(site->err.text, "secure aggregation among 3 participants"));
    site->config.aggregation = PF_AGGREGATION_PLAIN;
    site->config.schedule.stages[1].combine.gamma = (double)NAN;
    assert_int_equal(run_now(site), PF_INVALID);
    site->config.schedule.stages[1].combine.gamma = 1;
    site->test_set->height = 16;
    assert_int_equal(run_now(site), PF_INVALID);
    assert_non_null(strstr(site->err.text, "16×32×3"));
    assert_false(pf_file_exists(site->run));
}

int main(void)
{
#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_whole_run),
        TEST(test_whole_secure_run),
        TEST(test_silent_member_does_not_hold_the_run),
        TEST(test_stopped_within_a_second),
        TEST(test_nobody_comes),
        TEST(test_folder_in_use_is_left_alone),
        TEST(test_port_in_use_leaves_nothing),
        TEST(test_a_packed_teacher_is_refused),
        TEST(test_configurations_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
