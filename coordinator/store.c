#include "coordinator/store.h"

#include <assert.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>

#include "common/base/memory.h"

enum statement {
    PUT,
    GET,
    STAGE,
    ROUND,
    EVENT,
    CHECKPOINT,
    FORGET_CHECKPOINTS,
    LAST_CHECKPOINT,
    N_STATEMENTS,
};

static const char *const sql[N_STATEMENTS] = {
    [PUT] = "INSERT INTO run(key, value) VALUES(?1, ?2) "
            "ON CONFLICT(key) DO UPDATE SET value = excluded.value",
    [GET] = "SELECT value FROM run WHERE key = ?1",
    [STAGE] = "INSERT OR REPLACE INTO stages(stage, started_ms, seconds, rounds, nonzeros, groups, "
              "accuracy_percent, loss) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    [ROUND] =
        "INSERT OR REPLACE INTO rounds(round, stage, started_ms, seconds, cohort, included, "
        "dropped, outcome, accuracy_percent, loss, upload_bytes, download_bytes, "
        "clip_trained, clip_statistics, examples, evaluated, correct, clipped) VALUES(?1, ?2, "
        "?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18)",
    [EVENT] = "INSERT INTO events(at_ms, round, level, text) VALUES(?1, ?2, ?3, ?4)",
    [CHECKPOINT] = "INSERT INTO checkpoints(round, kind, hash, bytes) VALUES(?1, ?2, ?3, ?4)",
    [FORGET_CHECKPOINTS] = "DELETE FROM checkpoints WHERE kind = ?1 AND id NOT IN (SELECT id FROM "
                           "checkpoints WHERE kind = ?1 ORDER BY id DESC LIMIT ?2)",
    [LAST_CHECKPOINT] = "SELECT round, hash, bytes FROM checkpoints WHERE kind = ?1 "
                        "ORDER BY id DESC LIMIT 1",
};

static const char *const schema =
    "BEGIN;"
    "CREATE TABLE run(key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE stages(stage INTEGER PRIMARY KEY, started_ms INTEGER NOT NULL, "
    "  seconds REAL NOT NULL, rounds INTEGER NOT NULL, nonzeros INTEGER NOT NULL, "
    "  groups INTEGER NOT NULL, accuracy_percent REAL, loss REAL);"
    "CREATE TABLE rounds(round INTEGER PRIMARY KEY, stage INTEGER NOT NULL, "
    "  started_ms INTEGER NOT NULL, seconds REAL NOT NULL, cohort INTEGER NOT NULL, "
    "  included INTEGER NOT NULL, dropped INTEGER NOT NULL, outcome TEXT NOT NULL, "
    "  accuracy_percent REAL, loss REAL, upload_bytes INTEGER NOT NULL, "
    "  download_bytes INTEGER NOT NULL, clip_trained REAL, clip_statistics REAL, "
    "  examples INTEGER, evaluated INTEGER, correct INTEGER, clipped INTEGER);"
    "CREATE TABLE events(id INTEGER PRIMARY KEY, at_ms INTEGER NOT NULL, round INTEGER NOT NULL, "
    "  level TEXT NOT NULL, text TEXT NOT NULL);"
    "CREATE TABLE checkpoints(id INTEGER PRIMARY KEY AUTOINCREMENT, round INTEGER NOT NULL, "
    "  kind TEXT NOT NULL, hash BLOB NOT NULL, bytes BLOB NOT NULL);"
    "PRAGMA user_version = 2;"
    "COMMIT;";

/* Schema 1 knew no secure rounds. */
static const char *const from_1_to_2 = "BEGIN IMMEDIATE;"
                                       "ALTER TABLE rounds ADD COLUMN clip_trained REAL;"
                                       "ALTER TABLE rounds ADD COLUMN clip_statistics REAL;"
                                       "ALTER TABLE rounds ADD COLUMN examples INTEGER;"
                                       "ALTER TABLE rounds ADD COLUMN evaluated INTEGER;"
                                       "ALTER TABLE rounds ADD COLUMN correct INTEGER;"
                                       "ALTER TABLE rounds ADD COLUMN clipped INTEGER;"
                                       "PRAGMA user_version = 2;"
                                       "COMMIT;";

struct pf_store {
    char *path;
    sqlite3 *db;
    sqlite3_stmt *statements[N_STATEMENTS];
};

static enum pf_status fail(const struct pf_store *self, struct pf_error *err)
{
    int code = self->db != NULL ? sqlite3_errcode(self->db) : SQLITE_NOMEM;
    const char *reason = self->db != NULL ? sqlite3_errmsg(self->db) : "no memory";
    switch (code) {
    case SQLITE_FULL:
        return pf_fail(err, PF_IO, "%s: the disk is full; make room for the run folder",
                       self->path);
    case SQLITE_READONLY:
    case SQLITE_CANTOPEN:
    case SQLITE_PERM:
        return pf_fail(err, PF_IO, "%s: cannot be written (%s); check the folder's permissions",
                       self->path, reason);
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return pf_fail(err, PF_IO, "%s: another process is using this run", self->path);
    case SQLITE_NOTADB:
    case SQLITE_CORRUPT:
        return pf_fail(err, PF_CORRUPT, "%s: damaged, or not the store of a run: %s", self->path,
                       reason);
    case SQLITE_NOMEM: return pf_fail(err, PF_NO_MEMORY, "%s: no memory", self->path);
    default: return pf_fail(err, PF_IO, "%s: %s", self->path, reason);
    }
}

static enum pf_status execute(struct pf_store *self, const char *text, struct pf_error *err)
{
    return sqlite3_exec(self->db, text, NULL, NULL, NULL) == SQLITE_OK ? PF_OK : fail(self, err);
}

/* Column 0 of a statement that gives one number. */
static enum pf_status query_number(struct pf_store *self, const char *text, int *value,
                                   struct pf_error *err)
{
    sqlite3_stmt *statement = NULL;
    bool ok = sqlite3_prepare_v2(self->db, text, -1, &statement, NULL) == SQLITE_OK &&
              sqlite3_step(statement) == SQLITE_ROW;
    if (ok) *value = sqlite3_column_int(statement, 0);
    enum pf_status status = ok ? PF_OK : fail(self, err);
    (void)sqlite3_finalize(statement);
    return status;
}

/* A file that somebody else's tables are in stays as it is. */
static enum pf_status ensure_schema(struct pf_store *self, struct pf_error *err)
{
    int version = 0, n_tables = 0;
    PF_TRY(query_number(self, "PRAGMA user_version", &version, err));
    PF_TRY(query_number(self, "SELECT count(*) FROM sqlite_schema", &n_tables, err));
    if (version == 0 && n_tables == 0) return execute(self, schema, err);
    if (version == PF_STORE_SCHEMA) return PF_OK;
    if (version == 1) return execute(self, from_1_to_2, err);
    return pf_fail(err, PF_CORRUPT, "%s: store of version %d, this program knows %d", self->path,
                   version, PF_STORE_SCHEMA);
}

static enum pf_status prepare(struct pf_store *self, struct pf_error *err)
{
    PF_TRY(execute(self,
                   "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; "
                   "PRAGMA foreign_keys = ON; PRAGMA busy_timeout = 2000;",
                   err));
    PF_TRY(ensure_schema(self, err));
    for (size_t i = 0; i < N_STATEMENTS; i++)
        if (sqlite3_prepare_v3(self->db, sql[i], -1, SQLITE_PREPARE_PERSISTENT,
                               &self->statements[i], NULL) != SQLITE_OK)
            return fail(self, err);
    return PF_OK;
}

enum pf_status pf_store_open(const char *path, struct pf_store **store, struct pf_error *err)
{
    PF_CLEANUP(pf_store_closep) struct pf_store *self = PF_ALLOC(1, struct pf_store);
    if (self == NULL) return pf_no_memory(err, "the store");
    self->path = strdup(path);
    if (self->path == NULL) return pf_no_memory(err, "the store");
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX;
    if (sqlite3_open_v2(path, &self->db, flags, NULL) != SQLITE_OK) return fail(self, err);
    PF_TRY(prepare(self, err));
    *store = self;
    self = NULL;
    return PF_OK;
}

void pf_store_close(struct pf_store *self)
{
    if (self == NULL) return;
    for (size_t i = 0; i < N_STATEMENTS; i++) (void)sqlite3_finalize(self->statements[i]);
    (void)sqlite3_close(self->db);
    pf_free(self->path);
    pf_free(self);
}

enum pf_status pf_store_begin(struct pf_store *self, struct pf_error *err)
{
    if (sqlite3_get_autocommit(self->db) == 0) PF_TRY(execute(self, "ROLLBACK", err));
    return execute(self, "BEGIN IMMEDIATE", err);
}

enum pf_status pf_store_commit(struct pf_store *self, struct pf_error *err)
{
    return execute(self, "COMMIT", err);
}

/* Bindings cannot fail but for memory, and the step reports that. */
static void bind_text(sqlite3_stmt *statement, int index, const char *text)
{
    (void)sqlite3_bind_text(statement, index, text, -1, SQLITE_STATIC);
}

static void bind_u64(sqlite3_stmt *statement, int index, uint64_t value)
{
    (void)sqlite3_bind_int64(statement, index, (sqlite3_int64)PF_MIN(value, (uint64_t)INT64_MAX));
}

static void bind_i64(sqlite3_stmt *statement, int index, int64_t value)
{
    (void)sqlite3_bind_int64(statement, index, value);
}

/* SQLite makes NaN a NULL. */
static void bind_real(sqlite3_stmt *statement, int index, double value)
{
    (void)sqlite3_bind_double(statement, index, value);
}

/* Runs a statement that gives no row, and clears it for the next use. */
static enum pf_status run(struct pf_store *self, sqlite3_stmt *statement, struct pf_error *err)
{
    enum pf_status status = sqlite3_step(statement) == SQLITE_DONE ? PF_OK : fail(self, err);
    (void)sqlite3_reset(statement);
    (void)sqlite3_clear_bindings(statement);
    return status;
}

enum pf_status pf_store_put(struct pf_store *self, const char *key, const char *value,
                            struct pf_error *err)
{
    sqlite3_stmt *s = self->statements[PUT];
    bind_text(s, 1, key);
    bind_text(s, 2, value);
    return run(self, s, err);
}

enum pf_status pf_store_get(struct pf_store *self, const char *key, struct pf_buffer *value,
                            struct pf_error *err)
{
    sqlite3_stmt *s = self->statements[GET];
    bind_text(s, 1, key);
    int step = sqlite3_step(s);
    enum pf_status status;
    if (step == SQLITE_ROW)
        status = pf_buffer_append(value, sqlite3_column_text(s, 0),
                                  (size_t)sqlite3_column_bytes(s, 0), err);
    else if (step == SQLITE_DONE)
        status = pf_fail(err, PF_NOT_FOUND, "%s: knows no '%s'", self->path, key);
    else
        status = fail(self, err);
    (void)sqlite3_reset(s);
    (void)sqlite3_clear_bindings(s);
    return status;
}

enum pf_status pf_store_stage(struct pf_store *self, const struct pf_stored_stage *stage,
                              struct pf_error *err)
{
    sqlite3_stmt *s = self->statements[STAGE];
    bind_u64(s, 1, stage->stage);
    bind_i64(s, 2, stage->started_ms);
    bind_real(s, 3, stage->seconds);
    bind_u64(s, 4, stage->rounds);
    bind_u64(s, 5, stage->nonzeros);
    bind_u64(s, 6, stage->groups);
    bind_real(s, 7, stage->accuracy_percent);
    bind_real(s, 8, stage->loss);
    return run(self, s, err);
}

enum pf_status pf_store_round(struct pf_store *self, const struct pf_stored_round *round,
                              struct pf_error *err)
{
    sqlite3_stmt *s = self->statements[ROUND];
    bind_u64(s, 1, round->round);
    bind_u64(s, 2, round->stage);
    bind_i64(s, 3, round->started_ms);
    bind_real(s, 4, round->seconds);
    bind_u64(s, 5, round->cohort);
    bind_u64(s, 6, round->included);
    bind_u64(s, 7, round->dropped);
    bind_text(s, 8, round->outcome);
    bind_real(s, 9, round->accuracy_percent);
    bind_real(s, 10, round->loss);
    bind_u64(s, 11, round->upload_bytes);
    bind_u64(s, 12, round->download_bytes);
    bind_real(s, 13, round->clip_trained);
    bind_real(s, 14, round->clip_statistics);
    if (round->figures_known) { /* else NULL: nothing is bound */
        bind_u64(s, 15, round->examples);
        bind_u64(s, 16, round->evaluated);
        bind_u64(s, 17, round->correct);
        bind_u64(s, 18, round->clipped);
    }
    return run(self, s, err);
}

enum pf_status pf_store_event(struct pf_store *self, int64_t at_ms, uint32_t round,
                              enum pf_log_level level, const char *text, struct pf_error *err)
{
    sqlite3_stmt *s = self->statements[EVENT];
    bind_i64(s, 1, at_ms);
    bind_u64(s, 2, round);
    bind_text(s, 3, pf_log_level_name(level));
    bind_text(s, 4, text);
    return run(self, s, err);
}

enum pf_status pf_store_checkpoint(struct pf_store *self, uint32_t round, const char *kind,
                                   const struct pf_hash *hash, const void *bytes, size_t length,
                                   struct pf_error *err)
{
    sqlite3_stmt *s = self->statements[CHECKPOINT];
    bind_u64(s, 1, round);
    bind_text(s, 2, kind);
    (void)sqlite3_bind_blob(s, 3, hash->bytes, (int)sizeof hash->bytes, SQLITE_STATIC);
    /* A zero-length blob, not NULL, for an empty state. */
    (void)sqlite3_bind_blob64(s, 4, length > 0 ? bytes : "", length, SQLITE_STATIC);
    PF_TRY(run(self, s, err));
    s = self->statements[FORGET_CHECKPOINTS];
    bind_text(s, 1, kind);
    bind_u64(s, 2, PF_STORE_CHECKPOINTS);
    return run(self, s, err);
}

/* The row of LAST_CHECKPOINT that the statement stands on. */
static enum pf_status take_checkpoint(const struct pf_store *self, sqlite3_stmt *s, uint32_t *round,
                                      struct pf_hash *hash, struct pf_buffer *bytes,
                                      struct pf_error *err)
{
    sqlite3_int64 number = sqlite3_column_int64(s, 0);
    const void *stored = sqlite3_column_blob(s, 1);
    if (number < 0 || number > PF_MAX_ROUNDS || stored == NULL ||
        sqlite3_column_bytes(s, 1) != (int)sizeof hash->bytes)
        return pf_fail(err, PF_CORRUPT, "%s: a checkpoint is damaged", self->path);
    const void *blob = sqlite3_column_blob(s, 2);
    size_t length = (size_t)sqlite3_column_bytes(s, 2);
    if (length > 0) PF_TRY(pf_buffer_append(bytes, blob, length, err));
    *round = (uint32_t)number;
    memcpy(hash->bytes, stored, sizeof hash->bytes);
    return PF_OK;
}

enum pf_status pf_store_last_checkpoint(struct pf_store *self, const char *kind, uint32_t *round,
                                        struct pf_hash *hash, struct pf_buffer *bytes,
                                        struct pf_error *err)
{
    sqlite3_stmt *s = self->statements[LAST_CHECKPOINT];
    bind_text(s, 1, kind);
    int step = sqlite3_step(s);
    enum pf_status status;
    if (step == SQLITE_ROW)
        status = take_checkpoint(self, s, round, hash, bytes, err);
    else if (step == SQLITE_DONE)
        status = pf_fail(err, PF_NOT_FOUND, "%s: no checkpoint of kind %s", self->path, kind);
    else
        status = fail(self, err);
    (void)sqlite3_reset(s);
    (void)sqlite3_clear_bindings(s);
    return status;
}
