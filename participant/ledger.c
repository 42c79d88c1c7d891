#include "participant/ledger.h"

#include <sqlite3.h>
#include <string.h>

#include "common/base/file.h"
#include "common/base/memory.h"

#define FORMAT_VERSION 2

static const char schema[] =
    "BEGIN;"
    "CREATE TABLE runs(run BLOB PRIMARY KEY, federation TEXT NOT NULL, joined_ms INTEGER NOT NULL)"
    " WITHOUT ROWID;"
    "CREATE TABLE rounds(run BLOB NOT NULL, round INTEGER NOT NULL, model BLOB NOT NULL,"
    " outcome INTEGER NOT NULL, survivors BLOB, PRIMARY KEY(run, round)) WITHOUT ROWID;"
    "PRAGMA user_version = 2;"
    "COMMIT;";

/* Format 1 knew plain rounds only. */
static const char migration_1_to_2[] = "BEGIN;"
                                       "ALTER TABLE rounds ADD COLUMN survivors BLOB;"
                                       "PRAGMA user_version = 2;"
                                       "COMMIT;";

struct pf_ledger {
    sqlite3 *db;
    char path[1024];
};

static enum pf_status fail(const struct pf_ledger *self, struct pf_error *err)
{
    int code = sqlite3_errcode(self->db) & 0xff;
    if (code == SQLITE_BUSY || code == SQLITE_LOCKED)
        return pf_fail(err, PF_IO, "%s: in use by another process (--state)", self->path);
    if (code == SQLITE_NOTADB || code == SQLITE_CORRUPT)
        return pf_fail(err, PF_CORRUPT, "%s: not a participant's ledger, or damaged: %s",
                       self->path, sqlite3_errmsg(self->db));
    return pf_fail(err, PF_IO, "%s: %s", self->path, sqlite3_errmsg(self->db));
}

static enum pf_status execute(struct pf_ledger *self, const char *sql, struct pf_error *err)
{
    return sqlite3_exec(self->db, sql, NULL, NULL, NULL) == SQLITE_OK ? PF_OK : fail(self, err);
}

static void finalize(sqlite3_stmt **statement)
{
    sqlite3_finalize(*statement);
}

static enum pf_status prepare(struct pf_ledger *self, const char *sql, sqlite3_stmt **statement,
                              struct pf_error *err)
{
    return sqlite3_prepare_v2(self->db, sql, -1, statement, NULL) == SQLITE_OK ? PF_OK
                                                                               : fail(self, err);
}

static enum pf_status read_version(struct pf_ledger *self, int *version, struct pf_error *err)
{
    PF_CLEANUP(finalize) sqlite3_stmt *statement = NULL;
    PF_TRY(prepare(self, "PRAGMA user_version", &statement, err));
    if (sqlite3_step(statement) != SQLITE_ROW) return fail(self, err);
    *version = sqlite3_column_int(statement, 0);
    return PF_OK;
}

static enum pf_status set_up(struct pf_ledger *self, struct pf_error *err)
{
    int version = 0;
    /* The exclusive lock keeps a second process out for as long as this one lives. */
    PF_TRY(execute(self,
                   "PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL;"
                   "PRAGMA synchronous = FULL; BEGIN IMMEDIATE; COMMIT;",
                   err));
    PF_TRY(read_version(self, &version, err));
    if (version == 0) return execute(self, schema, err);
    if (version == 1) return execute(self, migration_1_to_2, err);
    if (version != FORMAT_VERSION)
        return pf_fail(err, PF_CORRUPT, "%s: format %d; this program writes format %d", self->path,
                       version, FORMAT_VERSION);
    return PF_OK;
}

enum pf_status pf_ledger_open(const char *dir, struct pf_ledger **ledger, struct pf_error *err)
{
    PF_CLEANUP(pf_ledger_closep) struct pf_ledger *self = PF_ALLOC(1, struct pf_ledger);
    if (self == NULL) return pf_no_memory(err, "the ledger");
    PF_TRY(pf_folder_create(dir, err));
    PF_TRY(pf_path_join(dir, "participant.db", self->path, sizeof self->path, err));
    if (sqlite3_open(self->path, &self->db) != SQLITE_OK)
        return self->db != NULL ? fail(self, err) : pf_no_memory(err, "the ledger");
    PF_TRY(set_up(self, err));
    *ledger = self;
    self = NULL;
    return PF_OK;
}

void pf_ledger_close(struct pf_ledger *self)
{
    if (self == NULL) return;
    sqlite3_close(self->db);
    pf_free(self);
}

enum pf_status pf_ledger_join(struct pf_ledger *self, const struct pf_run_id *run_id,
                              const char *federation, int64_t wall_ms, struct pf_error *err)
{
    PF_CLEANUP(finalize) sqlite3_stmt *statement = NULL;
    PF_TRY(prepare(self, "INSERT OR IGNORE INTO runs VALUES(?, ?, ?)", &statement, err));
    sqlite3_bind_blob(statement, 1, run_id->bytes, sizeof run_id->bytes, SQLITE_STATIC);
    sqlite3_bind_text(statement, 2, federation, -1, SQLITE_STATIC);
    sqlite3_bind_int64(statement, 3, wall_ms);
    return sqlite3_step(statement) == SQLITE_DONE ? PF_OK : fail(self, err);
}

enum pf_status pf_ledger_record(struct pf_ledger *self, const struct pf_participation *record,
                                struct pf_error *err)
{
    PF_CLEANUP(finalize) sqlite3_stmt *statement = NULL;
    PF_TRY(prepare(self,
                   "INSERT INTO rounds VALUES(?, ?, ?, ?, ?) ON CONFLICT(run, round) DO UPDATE"
                   " SET outcome = excluded.outcome,"
                   " survivors = coalesce(survivors, excluded.survivors)"
                   " WHERE model = excluded.model AND (survivors IS NULL OR"
                   " excluded.survivors IS NULL OR survivors = excluded.survivors)",
                   &statement, err));
    sqlite3_bind_blob(statement, 1, record->run_id.bytes, sizeof record->run_id.bytes,
                      SQLITE_STATIC);
    sqlite3_bind_int64(statement, 2, record->round);
    sqlite3_bind_blob(statement, 3, record->model_hash.bytes, sizeof record->model_hash.bytes,
                      SQLITE_STATIC);
    sqlite3_bind_int(statement, 4, (int)record->outcome);
    if (record->consented)
        sqlite3_bind_blob(statement, 5, record->survivors.bytes, PF_DIGEST_BYTES, SQLITE_STATIC);
    if (sqlite3_step(statement) != SQLITE_DONE) return fail(self, err);
    if (sqlite3_changes(self->db) == 0)
        return pf_fail(err, PF_REFUSED,
                       "%s: round %u was joined with another model or survivor set before",
                       self->path, record->round);
    return PF_OK;
}

enum pf_status pf_ledger_newest(struct pf_ledger *self, const struct pf_run_id *run_id,
                                struct pf_participation *record, struct pf_error *err)
{
    PF_CLEANUP(finalize) sqlite3_stmt *statement = NULL;
    PF_TRY(prepare(self,
                   "SELECT round, model, outcome, survivors FROM rounds WHERE run = ?"
                   " ORDER BY round DESC LIMIT 1",
                   &statement, err));
    sqlite3_bind_blob(statement, 1, run_id->bytes, sizeof run_id->bytes, SQLITE_STATIC);
    int step = sqlite3_step(statement);
    if (step == SQLITE_DONE) return pf_fail(err, PF_NOT_FOUND, "%s: an unknown run", self->path);
    if (step != SQLITE_ROW) return fail(self, err);
    int64_t round = sqlite3_column_int64(statement, 0);
    int outcome = sqlite3_column_int(statement, 2);
    int consent_bytes = sqlite3_column_bytes(statement, 3);
    if (round < 1 || round > PF_MAX_ROUNDS || outcome <= PF_OUTCOME_NONE ||
        outcome >= PF_OUTCOME_N || sqlite3_column_bytes(statement, 1) != PF_HASH_BYTES ||
        (consent_bytes != 0 && consent_bytes != PF_DIGEST_BYTES))
        return pf_fail(err, PF_CORRUPT, "%s: damaged: a round that cannot be", self->path);
    record->run_id = *run_id;
    record->round = (uint32_t)round;
    record->outcome = (enum pf_outcome)outcome;
    memcpy(record->model_hash.bytes, sqlite3_column_blob(statement, 1), PF_HASH_BYTES);
    record->consented = consent_bytes != 0;
    record->survivors = (struct pf_digest){0};
    if (record->consented)
        memcpy(record->survivors.bytes, sqlite3_column_blob(statement, 3), PF_DIGEST_BYTES);
    return PF_OK;
}
