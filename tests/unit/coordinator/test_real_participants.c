/* Participants as they run, against a coordinator as it runs: where they distil, and where a ledger
 * cannot be written, so that what it could not note does not leave.  The coordinator's own records
 * tell what came. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <sodium.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/file.h"
#include "coordinator/coordinator.h"
#include "participant/ledger.h"
#include "participant/participant.h"
#include "proto/model_file.h"
#include "tests/unit/coordinator/small_model.h"

#define N 3

struct member {
    char state_dir[128];
    struct pf_identity identity;
    pthread_t thread;
    enum pf_status status;
    struct pf_participant_summary summary;
};

static struct site {
    char folder[64], run[96], endpoint[128];
    struct pf_identity coordinator;
    struct member members[N];
    struct pf_roster *roster;
    struct pf_model *model;
    struct pf_dataset *images;
    struct pf_coordinator_config config;
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    enum pf_status status;
    struct pf_error err;
} site;

static void listening(void *context, const char *endpoint)
{
    (void)context;
    pthread_mutex_lock(&site.mutex);
    snprintf(site.endpoint, sizeof site.endpoint, "%s", endpoint);
    pthread_cond_broadcast(&site.changed);
    pthread_mutex_unlock(&site.mutex);
}

static void make_people(void)
{
    const char *const names[N] = {"alice", "bob", "carol"};
    struct pf_public_identity public[N];
    assert_int_equal(pf_identity_generate("coordinator", &site.coordinator, NULL), PF_OK);
    for (size_t i = 0; i < N; i++) {
        struct member *member = &site.members[i];
        snprintf(member->state_dir, sizeof member->state_dir, "%s/%s.state", site.folder, names[i]);
        assert_int_equal(pf_identity_generate(names[i], &member->identity, NULL), PF_OK);
        public[i] = member->identity.public;
    }
    assert_int_equal(
        pf_roster_create("test", 1, &site.coordinator.public, public, N, &site.roster, NULL),
        PF_OK);
}

static void make_model(void)
{
    site.model = small_model();
    assert_int_equal(pf_dataset_synthetic(1, PF_SPLIT_TRAIN, 40, &site.images, NULL), PF_OK);
}

static int set_up(void **state)
{
    (void)state;
    site = (struct site){.folder = "/tmp/packfed-participants-XXXXXX"};
    if (sodium_init() < 0 || mkdtemp(site.folder) == NULL) return 1;
    snprintf(site.run, sizeof site.run, "%s/run", site.folder);
    pthread_mutex_init(&site.mutex, NULL);
    pthread_cond_init(&site.changed, NULL);
    make_people();
    make_model();
    struct pf_coordinator_config *config = &site.config;
    pf_coordinator_config_default(config);
    config->identity = &site.coordinator;
    config->roster = site.roster;
    config->listen = "tcp://127.0.0.1:0";
    config->run_folder = site.run;
    config->model = site.model;
    config->schedule.n_stages = 1;
    config->schedule.stages[0] = (struct pf_stage){
        .combine = {.alpha = {2}, .gamma = 1.75, .density = {0.6}}, .rounds = 1, .schedule_end = 1};
    config->min_cohort = config->quorum = N;
    config->max_failed_rounds = 1;
    config->key_timeout_ms = config->unmask_timeout_ms = 4000;
    config->round_timeout_ms = 60000;
    config->n_threads = 1;
    config->listening = listening;
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", site.folder);
    pf_identity_finish(&site.coordinator);
    for (size_t i = 0; i < N; i++) pf_identity_finish(&site.members[i].identity);
    pf_roster_destroy(site.roster);
    pf_model_destroy(site.model);
    pf_dataset_destroy(site.images);
    pthread_cond_destroy(&site.changed);
    pthread_mutex_destroy(&site.mutex);
    return system(command);
}

/* A ledger on which this fails, as on a disk that is full. */
static void spoil_ledger(const struct member *member, const char *when)
{
    char path[160], sql[256];
    struct pf_ledger *ledger = NULL;
    sqlite3 *db = NULL;
    assert_int_equal(pf_ledger_open(member->state_dir, &ledger, NULL), PF_OK);
    pf_ledger_close(ledger);
    snprintf(path, sizeof path, "%s/participant.db", member->state_dir);
    snprintf(sql, sizeof sql,
             "CREATE TRIGGER spoilt BEFORE INSERT ON rounds WHEN %s "
             "BEGIN SELECT RAISE(ABORT, 'the disk is full'); END",
             when);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
}

static void *coordinate(void *context)
{
    struct pf_coordinator_result result;
    (void)context;
    site.status = pf_coordinator_run(&site.config, NULL, &result, &site.err);
    pf_coordinator_result_finish(&result);
    listening(NULL, site.endpoint[0] != '\0' ? site.endpoint : "failed");
    return NULL;
}

static void *take_part(void *context)
{
    struct member *member = context;
    struct pf_participant_config config = {
        .endpoint = site.endpoint,
        .identity = &member->identity,
        .roster = site.roster,
        .dataset = site.images,
        .seed = 5,
        .n_threads = 1,
        .state_dir = member->state_dir,
    };
    pf_participant_session_config_default(&config.session);
    member->status = pf_participant_run(&config, &member->summary, NULL);
    return NULL;
}

static void run_all(void)
{
    assert_int_equal(pthread_create(&site.thread, NULL, coordinate, NULL), 0);
    pthread_mutex_lock(&site.mutex);
    while (site.endpoint[0] == '\0') pthread_cond_wait(&site.changed, &site.mutex);
    pthread_mutex_unlock(&site.mutex);
    for (size_t i = 0; i < N; i++)
        assert_int_equal(pthread_create(&site.members[i].thread, NULL, take_part, &site.members[i]),
                         0);
    for (size_t i = 0; i < N; i++) pthread_join(site.members[i].thread, NULL);
    pthread_join(site.thread, NULL);
}

static int64_t count_events(const char *like)
{
    char path[128];
    sqlite3 *db = NULL;
    sqlite3_stmt *statement = NULL;
    snprintf(path, sizeof path, "%s/run.db", site.run);
    assert_int_equal(sqlite3_open_v2(path, &db, SQLITE_OPEN_READONLY, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db, "SELECT count(*) FROM events WHERE text LIKE ?", -1,
                                        &statement, NULL),
                     SQLITE_OK);
    sqlite3_bind_text(statement, 1, like, -1, SQLITE_STATIC);
    assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
    int64_t n = sqlite3_column_int64(statement, 0);
    sqlite3_finalize(statement);
    sqlite3_close(db);
    return n;
}

static void test_with_ledgers_the_round_is_done(void **state)
{
    (void)state;
    run_all();
    if (site.status != PF_OK) fail_msg("%s", site.err.text);
    for (size_t i = 0; i < N; i++) {
        assert_int_equal(site.members[i].status, PF_OK);
        assert_int_equal(site.members[i].summary.delivered, 1);
    }
}

/* The model that a run of its own makes. */
static struct pf_buffer retrained(const char *name, double weight)
{
    char path[160];
    struct pf_buffer bytes = {0};
    snprintf(site.run, sizeof site.run, "%s/%s", site.folder, name);
    site.endpoint[0] = '\0';
    site.config.order.distill_weight = weight;
    site.config.order.distill_temperature = 4.0;
    run_all();
    if (site.status != PF_OK) fail_msg("%s", site.err.text);
    snprintf(path, sizeof path, "%s/retrained.pfm", site.run);
    assert_int_equal(pf_file_read(path, PF_MAX_MODEL_BYTES, &bytes, NULL), PF_OK);
    return bytes;
}

static void test_distillation_decides_the_model_bit_for_bit(void **state)
{
    (void)state;
    site.config.schedule.stages[0].rounds = 2;
    struct pf_buffer without = retrained("without", 0.0);
    struct pf_buffer with = retrained("with", 0.9);
    struct pf_buffer again = retrained("again", 0.9);
    assert_int_equal(with.length, again.length);
    assert_memory_equal(with.bytes, again.bytes, with.length);
    assert_int_equal(with.length, without.length);
    assert_memory_not_equal(with.bytes, without.bytes, with.length);
    pf_buffer_finish(&without);
    pf_buffer_finish(&with);
    pf_buffer_finish(&again);
}

static void expect_ledger_errors(void)
{
    assert_int_not_equal(site.status, PF_OK);
    for (size_t i = 0; i < N; i++) {
        assert_int_equal(site.members[i].status, PF_IO);
        assert_non_null(strstr(site.members[i].summary.sentence, "the disk is full"));
    }
}

/* HELLOs and the DECLINE are shorter than one advert. */
static void test_without_a_ledger_no_keys_leave(void **state)
{
    (void)state;
    for (size_t i = 0; i < N; i++) spoil_ledger(&site.members[i], "1");
    run_all();
    expect_ledger_errors();
    assert_int_equal(count_events("round 1 is abandoned: 0 member(s) with keys of the 3 needed%"),
                     1);
    for (size_t i = 0; i < N; i++) assert_true(site.members[i].summary.bytes_sent < 196);
}

static void test_without_a_ledger_no_consent_leaves(void **state)
{
    (void)state;
    for (size_t i = 0; i < N; i++) spoil_ledger(&site.members[i], "NEW.survivors IS NOT NULL");
    run_all();
    expect_ledger_errors();
    assert_int_equal(count_events("round 1 is abandoned: 0 of 3 consented to the survivor set%"),
                     1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_with_ledgers_the_round_is_done),
        TEST(test_distillation_decides_the_model_bit_for_bit),
        TEST(test_without_a_ledger_no_keys_leave),
        TEST(test_without_a_ledger_no_consent_leaves),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
