#include <stdarg.h>
#include <stddef.h>

#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/file.h"
#include "participant/ledger.h"

static char dir[64], path[128];
static struct pf_error err;

static int set_up(void **state)
{
    (void)state;
    snprintf(dir, sizeof dir, "/tmp/packfed-ledger-XXXXXX");
    if (mkdtemp(dir) == NULL) return 1;
    snprintf(path, sizeof path, "%s/participant.db", dir);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    static const char *const suffixes[] = {"", "-wal", "-shm", "-journal"};
    for (size_t i = 0; i < PF_ARRAY_LENGTH(suffixes); i++) {
        char name[160];
        snprintf(name, sizeof name, "%s%s", path, suffixes[i]);
        unlink(name);
    }
    return rmdir(dir);
}

static struct pf_ledger *open_ledger(void)
{
    struct pf_ledger *ledger = NULL;
    assert_int_equal(pf_ledger_open(dir, &ledger, &err), PF_OK);
    return ledger;
}

static struct pf_participation participation(uint32_t round, uint8_t model, enum pf_outcome outcome)
{
    struct pf_participation record = {.round = round, .outcome = outcome};
    memset(&record.run_id, 7, sizeof record.run_id);
    memset(&record.model_hash, model, sizeof record.model_hash);
    return record;
}

/* Field by field: padding is nobody's. */
static void assert_same(const struct pf_participation *a, const struct pf_participation *b)
{
    assert_memory_equal(&a->run_id, &b->run_id, sizeof a->run_id);
    assert_memory_equal(&a->model_hash, &b->model_hash, sizeof a->model_hash);
    assert_memory_equal(&a->survivors, &b->survivors, sizeof a->survivors);
    assert_int_equal(a->round, b->round);
    assert_int_equal(a->outcome, b->outcome);
    assert_int_equal(a->consented, b->consented);
}

static void test_the_newest_round_survives_a_restart(void **state)
{
    (void)state;
    const struct pf_participation first = participation(1, 1, PF_OUTCOME_DELIVERED);
    const struct pf_participation second = participation(2, 2, PF_OUTCOME_JOINED);
    struct pf_participation found;
    struct pf_ledger *ledger = open_ledger();
    assert_int_equal(pf_ledger_newest(ledger, &first.run_id, &found, &err), PF_NOT_FOUND);
    assert_int_equal(pf_ledger_join(ledger, &first.run_id, "federation", 1, &err), PF_OK);
    assert_int_equal(pf_ledger_join(ledger, &first.run_id, "federation", 2, &err), PF_OK);
    assert_int_equal(pf_ledger_record(ledger, &second, &err), PF_OK);
    assert_int_equal(pf_ledger_record(ledger, &first, &err), PF_OK);
    pf_ledger_close(ledger);

    ledger = open_ledger();
    assert_int_equal(pf_ledger_newest(ledger, &first.run_id, &found, &err), PF_OK);
    assert_same(&found, &second);
    struct pf_run_id other = {.bytes = {1}};
    assert_int_equal(pf_ledger_newest(ledger, &other, &found, &err), PF_NOT_FOUND);
    pf_ledger_close(ledger);
}

static void test_a_round_keeps_its_first_model(void **state)
{
    (void)state;
    PF_CLEANUP(pf_ledger_closep) struct pf_ledger *ledger = open_ledger();
    const struct pf_participation joined = participation(3, 1, PF_OUTCOME_JOINED);
    const struct pf_participation delivered = participation(3, 1, PF_OUTCOME_DELIVERED);
    const struct pf_participation other = participation(3, 2, PF_OUTCOME_JOINED);
    struct pf_participation found;
    assert_int_equal(pf_ledger_record(ledger, &joined, &err), PF_OK);
    assert_int_equal(pf_ledger_record(ledger, &other, &err), PF_REFUSED);
    assert_non_null(strstr(err.text, "round 3"));
    assert_int_equal(pf_ledger_record(ledger, &delivered, &err), PF_OK);
    assert_int_equal(pf_ledger_newest(ledger, &joined.run_id, &found, &err), PF_OK);
    assert_same(&found, &delivered);
}

static void test_a_round_keeps_its_first_survivor_set(void **state)
{
    (void)state;
    PF_CLEANUP(pf_ledger_closep) struct pf_ledger *ledger = open_ledger();
    const struct pf_participation joined = participation(3, 1, PF_OUTCOME_JOINED);
    struct pf_participation consented = joined, other, delivered, found;
    consented.consented = true;
    memset(&consented.survivors, 0x31, sizeof consented.survivors);
    other = delivered = consented;
    memset(&other.survivors, 0x32, sizeof other.survivors);
    delivered.outcome = PF_OUTCOME_DELIVERED;
    assert_int_equal(pf_ledger_record(ledger, &joined, &err), PF_OK);
    assert_int_equal(pf_ledger_record(ledger, &consented, &err), PF_OK);
    assert_int_equal(pf_ledger_record(ledger, &other, &err), PF_REFUSED);
    assert_non_null(strstr(err.text, "survivor set"));
    assert_int_equal(pf_ledger_newest(ledger, &joined.run_id, &found, &err), PF_OK);
    assert_same(&found, &consented);
    assert_int_equal(pf_ledger_record(ledger, &delivered, &err), PF_OK);

    /* Also after a restart, and by way of a record that names no set. */
    pf_ledger_close(ledger);
    ledger = open_ledger();
    assert_int_equal(pf_ledger_record(ledger, &other, &err), PF_REFUSED);
    assert_int_equal(pf_ledger_record(ledger, &joined, &err), PF_OK);
    assert_int_equal(pf_ledger_record(ledger, &other, &err), PF_REFUSED);
    assert_int_equal(pf_ledger_newest(ledger, &joined.run_id, &found, &err), PF_OK);
    assert_true(found.consented);
    assert_memory_equal(&found.survivors, &consented.survivors, sizeof found.survivors);
}

/* What a program before this one wrote. */
static void write_format_1(void)
{
    static const char old[] =
        "CREATE TABLE runs(run BLOB PRIMARY KEY, federation TEXT NOT NULL,"
        " joined_ms INTEGER NOT NULL) WITHOUT ROWID;"
        "CREATE TABLE rounds(run BLOB NOT NULL, round INTEGER NOT NULL, model BLOB NOT NULL,"
        " outcome INTEGER NOT NULL, PRIMARY KEY(run, round)) WITHOUT ROWID;"
        "INSERT INTO rounds VALUES(x'07070707070707070707070707070707', 4,"
        " x'0101010101010101010101010101010101010101010101010101010101010101', 1);"
        "PRAGMA user_version = 1;";
    sqlite3 *db = NULL;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, old, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
}

static void test_a_ledger_of_format_1_is_taken_over(void **state)
{
    (void)state;
    write_format_1();
    PF_CLEANUP(pf_ledger_closep) struct pf_ledger *ledger = open_ledger();
    const struct pf_participation old = participation(4, 1, PF_OUTCOME_JOINED);
    struct pf_participation consented = old, found;
    consented.consented = true;
    assert_int_equal(pf_ledger_newest(ledger, &old.run_id, &found, &err), PF_OK);
    assert_same(&found, &old);
    assert_int_equal(pf_ledger_record(ledger, &consented, &err), PF_OK);
    assert_int_equal(pf_ledger_newest(ledger, &old.run_id, &found, &err), PF_OK);
    assert_true(found.consented);
}

static void test_a_second_process_is_kept_out(void **state)
{
    (void)state;
    struct pf_ledger *first = open_ledger();
    struct pf_ledger *second = NULL;
    assert_int_equal(pf_ledger_open(dir, &second, &err), PF_IO);
    assert_null(second);
    assert_non_null(strstr(err.text, "--state"));
    pf_ledger_close(first);
}

static void test_a_file_that_is_no_ledger_is_refused(void **state)
{
    (void)state;
    struct pf_ledger *ledger = NULL;
    char text[4096];
    memset(text, 'x', sizeof text);
    assert_int_equal(pf_file_write(path, text, sizeof text, 0600, &err), PF_OK);
    assert_int_equal(pf_ledger_open(dir, &ledger, &err), PF_CORRUPT);
    assert_null(ledger);
    assert_non_null(strstr(err.text, path));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_the_newest_round_survives_a_restart),
        TEST(test_a_round_keeps_its_first_model),
        TEST(test_a_round_keeps_its_first_survivor_set),
        TEST(test_a_ledger_of_format_1_is_taken_over),
        TEST(test_a_second_process_is_kept_out),
        TEST(test_a_file_that_is_no_ledger_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
