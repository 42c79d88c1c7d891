/* run.db: what goes in comes out, also for another process; every failure has a sentence. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/file.h"
#include "coordinator/store.h"

struct place {
    char folder[64];
    char path[96];
    struct pf_store *store;
};

static int setup(void **state)
{
    struct place *place = calloc(1, sizeof *place);
    snprintf(place->folder, sizeof place->folder, "/tmp/packfed-store-XXXXXX");
    if (mkdtemp(place->folder) == NULL) return 1;
    snprintf(place->path, sizeof place->path, "%s/run.db", place->folder);
    *state = place;
    return pf_store_open(place->path, &place->store, NULL) == PF_OK ? 0 : 1;
}

static int teardown(void **state)
{
    struct place *place = *state;
    char command[128];
    pf_store_close(place->store);
    snprintf(command, sizeof command, "rm -rf '%s'", place->folder);
    int status = system(command);
    free(place);
    return status;
}

/* The first column of the first row, as text, through a connection of its own. */
static void assert_query(const struct place *place, const char *sql, const char *expected)
{
    sqlite3 *db = NULL;
    sqlite3_stmt *statement = NULL;
    assert_int_equal(sqlite3_open(place->path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &statement, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
    const char *text = (const char *)sqlite3_column_text(statement, 0);
    assert_string_equal(text != NULL ? text : "NULL", expected);
    sqlite3_finalize(statement);
    sqlite3_close(db);
}

static void test_settings(void **state)
{
    struct place *place = *state;
    assert_query(place, "PRAGMA journal_mode", "wal");
    assert_query(place, "PRAGMA user_version", "2");
    assert_int_equal(pf_store_put(place->store, "seed", "7", NULL), PF_OK);
    assert_int_equal(pf_store_put(place->store, "seed", "8", NULL), PF_OK);
    assert_query(place, "SELECT value FROM run WHERE key = 'seed'", "8");
    PF_CLEANUP(pf_buffer_finish) struct pf_buffer value = {0};
    assert_int_equal(pf_store_get(place->store, "seed", &value, NULL), PF_OK);
    assert_int_equal(value.length, 1);
    assert_int_equal(value.bytes[0], '8');
    struct pf_error err = {0};
    assert_int_equal(pf_store_get(place->store, "colour", &value, &err), PF_NOT_FOUND);
    assert_non_null(strstr(err.text, "colour"));
}

static void test_rows(void **state)
{
    struct place *place = *state;
    const struct pf_stored_round round = {.round = 3,
                                          .stage = 2,
                                          .started_ms = 1700000000000,
                                          .seconds = 1.5,
                                          .cohort = 10,
                                          .included = 8,
                                          .dropped = 2,
                                          .outcome = "completed",
                                          .accuracy_percent = 71.25,
                                          .loss = (double)NAN,
                                          .upload_bytes = 1ull << 40,
                                          .download_bytes = 5,
                                          .clip_trained = 4.5,
                                          .clip_statistics = (double)NAN,
                                          .figures_known = true,
                                          .examples = 50000,
                                          .evaluated = 49000,
                                          .correct = 35000,
                                          .clipped = 3};
    const struct pf_stored_stage stage = {.stage = 2,
                                          .rounds = 4,
                                          .nonzeros = 1234,
                                          .groups = 17,
                                          .accuracy_percent = (double)NAN,
                                          .loss = 0.5};
    assert_int_equal(pf_store_round(place->store, &round, NULL), PF_OK);
    assert_int_equal(pf_store_stage(place->store, &stage, NULL), PF_OK);
    assert_int_equal(pf_store_event(place->store, 99, 3, PF_LOG_WARNING, "carol; DROP TABLE", NULL),
                     PF_OK);
    assert_query(place, "SELECT accuracy_percent FROM rounds WHERE round = 3", "71.25");
    assert_query(place, "SELECT loss FROM rounds", "NULL"); /* not-a-number is no number */
    assert_query(place, "SELECT upload_bytes FROM rounds", "1099511627776");
    assert_query(place, "SELECT outcome FROM rounds WHERE included = 8 AND dropped = 2",
                 "completed");
    assert_query(place, "SELECT clip_trained FROM rounds WHERE clip_statistics IS NULL", "4.5");
    assert_query(place,
                 "SELECT correct FROM rounds WHERE examples = 50000 AND evaluated = 49000 AND "
                 "clipped = 3",
                 "35000");
    assert_query(place, "SELECT accuracy_percent FROM stages WHERE groups = 17", "NULL");
    assert_query(place, "SELECT text FROM events WHERE level = 'warning' AND round = 3",
                 "carol; DROP TABLE");
}

/* What nobody knows is not nought. */
static void test_unknown_figures(void **state)
{
    struct place *place = *state;
    const struct pf_stored_round round = {.round = 1,
                                          .stage = 1,
                                          .outcome = "completed",
                                          .clip_trained = (double)NAN,
                                          .clip_statistics = (double)NAN};
    assert_int_equal(pf_store_round(place->store, &round, NULL), PF_OK);
    assert_query(place,
                 "SELECT count(*) FROM rounds WHERE examples IS NULL AND evaluated IS NULL AND "
                 "correct IS NULL AND clipped IS NULL AND clip_trained IS NULL",
                 "1");
}

/* A store of schema 1, with a round in it. */
static const char *const schema_1 =
    "CREATE TABLE run(key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE stages(stage INTEGER PRIMARY KEY, started_ms INTEGER NOT NULL, "
    "  seconds REAL NOT NULL, rounds INTEGER NOT NULL, nonzeros INTEGER NOT NULL, "
    "  groups INTEGER NOT NULL, accuracy_percent REAL, loss REAL);"
    "CREATE TABLE rounds(round INTEGER PRIMARY KEY, stage INTEGER NOT NULL, "
    "  started_ms INTEGER NOT NULL, seconds REAL NOT NULL, cohort INTEGER NOT NULL, "
    "  included INTEGER NOT NULL, dropped INTEGER NOT NULL, outcome TEXT NOT NULL, "
    "  accuracy_percent REAL, loss REAL, upload_bytes INTEGER NOT NULL, "
    "  download_bytes INTEGER NOT NULL);"
    "CREATE TABLE events(id INTEGER PRIMARY KEY, at_ms INTEGER NOT NULL, round INTEGER NOT NULL, "
    "  level TEXT NOT NULL, text TEXT NOT NULL);"
    "CREATE TABLE checkpoints(id INTEGER PRIMARY KEY AUTOINCREMENT, round INTEGER NOT NULL, "
    "  kind TEXT NOT NULL, hash BLOB NOT NULL, bytes BLOB NOT NULL);"
    "INSERT INTO rounds VALUES(1, 1, 5, 2.5, 10, 9, 1, 'completed', 70.5, 0.9, 100, 200);"
    "PRAGMA user_version = 1;";

static void test_schema_1_is_brought_up_to_date(void **state)
{
    struct place *place = *state;
    char path[96];
    snprintf(path, sizeof path, "%s/old.db", place->folder);
    sqlite3 *db = NULL;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, schema_1, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
    for (int twice = 0; twice < 2; twice++) {
        PF_CLEANUP(pf_store_closep) struct pf_store *store = NULL;
        const struct pf_stored_round round = {
            .round = 2, .stage = 1, .outcome = "completed", .figures_known = true, .examples = 77};
        struct pf_error err = {0};
        if (pf_store_open(path, &store, &err) != PF_OK) fail_msg("%s", err.text);
        assert_int_equal(pf_store_round(store, &round, NULL), PF_OK);
    }
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    sqlite3_stmt *statement = NULL;
    const char *const sql = "SELECT (SELECT user_version FROM pragma_user_version), "
                            "(SELECT examples FROM rounds WHERE round = 2), "
                            "(SELECT included FROM rounds WHERE round = 1 AND examples IS NULL)";
    assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &statement, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
    assert_int_equal(sqlite3_column_int(statement, 0), 2);
    assert_int_equal(sqlite3_column_int(statement, 1), 77);
    assert_int_equal(sqlite3_column_int(statement, 2), 9);
    sqlite3_finalize(statement);
    sqlite3_close(db);
}

static void test_transaction(void **state)
{
    struct place *place = *state;
    assert_int_equal(pf_store_begin(place->store, NULL), PF_OK);
    assert_int_equal(pf_store_put(place->store, "a", "1", NULL), PF_OK);
    assert_query(place, "SELECT count(*) FROM run", "0");
    assert_int_equal(pf_store_commit(place->store, NULL), PF_OK);
    assert_query(place, "SELECT count(*) FROM run", "1");
    /* One that a failure left open does not get in by the next commit. */
    assert_int_equal(pf_store_begin(place->store, NULL), PF_OK);
    assert_int_equal(pf_store_put(place->store, "b", "1", NULL), PF_OK);
    assert_int_equal(pf_store_begin(place->store, NULL), PF_OK);
    assert_int_equal(pf_store_commit(place->store, NULL), PF_OK);
    assert_query(place, "SELECT count(*) FROM run", "1");
}

static void test_last_checkpoints_are_kept(void **state)
{
    struct place *place = *state;
    for (uint8_t round = 1; round <= 6; round++) {
        struct pf_hash hash = {{round}};
        uint8_t bytes[100];
        memset(bytes, round, sizeof bytes);
        assert_int_equal(
            pf_store_checkpoint(place->store, round, "model", &hash, bytes, sizeof bytes, NULL),
            PF_OK);
        assert_int_equal(
            pf_store_checkpoint(place->store, round, "optimiser", &hash, NULL, 0, NULL), PF_OK);
    }
    assert_query(place, "SELECT count(*) FROM checkpoints WHERE kind = 'model'", "3");
    assert_query(place, "SELECT min(round) FROM checkpoints", "4");
    pf_store_close(place->store);
    place->store = NULL;
    assert_int_equal(pf_store_open(place->path, &place->store, NULL), PF_OK);
    PF_CLEANUP(pf_buffer_finish) struct pf_buffer bytes = {0};
    struct pf_hash hash;
    uint32_t round = 0;
    assert_int_equal(pf_store_last_checkpoint(place->store, "model", &round, &hash, &bytes, NULL),
                     PF_OK);
    assert_int_equal(round, 6);
    assert_int_equal(hash.bytes[0], 6);
    assert_int_equal(bytes.length, 100);
    assert_int_equal(bytes.bytes[99], 6);
    pf_buffer_reset(&bytes);
    assert_int_equal(
        pf_store_last_checkpoint(place->store, "optimiser", &round, &hash, &bytes, NULL), PF_OK);
    assert_int_equal(bytes.length, 0);
    assert_int_equal(pf_store_last_checkpoint(place->store, "other", &round, &hash, &bytes, NULL),
                     PF_NOT_FOUND);
}

static void test_places_that_cannot_be(void **state)
{
    struct place *place = *state;
    struct pf_store *store = NULL;
    struct pf_error err = {0};
    assert_int_equal(pf_store_open("/proc/no/run.db", &store, &err), PF_IO);
    assert_non_null(strstr(err.text, "/proc/no/run.db: cannot be written"));

    char path[96];
    snprintf(path, sizeof path, "%s/other", place->folder);
    char text[4096];
    memset(text, 'x', sizeof text);
    assert_int_equal(pf_file_write(path, text, sizeof text, 0644, NULL), PF_OK);
    assert_int_equal(pf_store_open(path, &store, &err), PF_CORRUPT);
    assert_non_null(strstr(err.text, "damaged, or not the store of a run"));

    /* Another schema is left alone. */
    sqlite3 *db = NULL;
    assert_int_equal(sqlite3_open(place->path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "PRAGMA user_version = 9", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
    assert_int_equal(pf_store_open(place->path, &store, &err), PF_CORRUPT);
    assert_non_null(strstr(err.text, "version 9"));
    assert_null(store);
}

/* In a child process, which alone is limited: writing beyond a size fails as on a full disk. */
static int store_beyond_limit(const char *path)
{
    static uint8_t bytes[1 << 20];
    const struct rlimit limit = {65536, 65536};
    struct pf_store *store = NULL;
    struct pf_hash hash = {{1}};
    struct pf_error err = {0};
    signal(SIGXFSZ, SIG_IGN);
    if (setrlimit(RLIMIT_FSIZE, &limit) != 0) return 1;
    if (pf_store_open(path, &store, &err) != PF_OK) return 2;
    enum pf_status status =
        pf_store_checkpoint(store, 1, "model", &hash, bytes, sizeof bytes, &err);
    if (status != PF_IO) return 3;
    return strstr(err.text, path) != NULL ? 0 : 4;
}

static void test_full_disk(void **state)
{
    struct place *place = *state;
    assert_int_equal(pf_store_put(place->store, "a", "1", NULL), PF_OK);
    pf_store_close(place->store);
    place->store = NULL;
    pid_t child = fork();
    if (child == 0) _exit(store_beyond_limit(place->path));
    int status = -1;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    /* What was there is still there. */
    assert_query(place, "SELECT value FROM run WHERE key = 'a'", "1");
    assert_query(place, "SELECT count(*) FROM checkpoints", "0");
}

int main(void)
{
#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_settings),
        TEST(test_rows),
        TEST(test_unknown_figures),
        TEST(test_schema_1_is_brought_up_to_date),
        TEST(test_transaction),
        TEST(test_last_checkpoints_are_kept),
        TEST(test_places_that_cannot_be),
        TEST(test_full_disk),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
