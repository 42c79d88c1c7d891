/* packfed inspect: says what a file or folder is.
 *
 * Each kind of thing is described by one JSON object; --json prints it as it is, otherwise it is
 * written out for people: a line per member, a table for a list of objects. */
#include <jansson.h>
#include <limits.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/cli.h"
#include "common/base/file.h"
#include "common/base/text.h"
#include "common/wire/roster.h"
#include "proto/model_file.h"
#include "proto/printable.h"

enum { KEY_JSON = 0x1000 };

#define LAST_ROUNDS "10"
#define LAST_EVENTS "5"
#define MAX_TABLE_COLUMNS 16u
#define MAX_SUMMARY_BYTES ((size_t)1 << 20)

struct inspect_command {
    const char *path;
    bool json;
};

static json_t *json_hex(const uint8_t *bytes, size_t length)
{
    char hex[129];
    pf_text_hex(hex, bytes, PF_MIN(length, (size_t)64));
    return json_string(hex);
}

/* ---- models ------------------------------------------------------------------------------- */

static json_t *describe_layer(const struct pf_layer *layer, size_t l)
{
    size_t nonzeros = 0;
    for (size_t i = 0; i < layer->n_weights; i++) nonzeros += layer->weight[i] != 0.0f;
    double cells = (double)layer->out_channels * (double)layer->n_columns;
    const struct pf_packing *packing = layer->packing;
    return json_pack("{s:I,s:s,s:I,s:I,s:o,s:o,s:I,s:f,s:o}", "layer", (json_int_t)l, "kind",
                     pf_layer_kind_name(layer->kind), "rows", (json_int_t)layer->out_channels,
                     "columns", (json_int_t)layer->n_columns, "groups",
                     packing != NULL ? json_integer(packing->n_groups) : json_null(), "alpha",
                     packing != NULL ? json_integer(packing->alpha) : json_null(), "nonzeros",
                     (json_int_t)nonzeros, "density", (double)nonzeros / cells, "utilisation",
                     packing != NULL ? json_real(pf_packing_utilisation(packing)) : json_null());
}

static enum pf_status describe_model(const char *path, json_t **result, struct pf_error *err)
{
    PF_CLEANUP(pf_buffer_finish) struct pf_buffer bytes = {0};
    PF_CLEANUP(pf_model_destroyp) struct pf_model *model = NULL;
    PF_TRY(pf_file_read(path, PF_MAX_MODEL_BYTES, &bytes, err));
    PF_TRY(pf_model_decode(path, bytes.bytes, bytes.length, &model, err));
    struct pf_hash hash = pf_hash_bytes(bytes.bytes, bytes.length);
    char network[256];
    pf_network_describe(&model->network, network, sizeof network);
    json_t *layers = json_array();
    for (size_t l = 0; l < model->n_layers; l++)
        json_array_append_new(layers, describe_layer(&model->layers[l], l));
    *result =
        json_pack("{s:s,s:s,s:s,s:o,s:I,s:b,s:I,s:I,s:I,s:o}", "type", "model", "file", path,
                  "network", network, "hash", json_hex(hash.bytes, sizeof hash.bytes), "bytes",
                  (json_int_t)bytes.length, "packed", (int)pf_model_is_packed(model), "parameters",
                  (json_int_t)model->n_parameters, "trained", (json_int_t)model->n_trained,
                  "nonzeros", (json_int_t)pf_model_nonzeros(model), "layers", layers);
    return PF_OK;
}

/* ---- keys and rosters --------------------------------------------------------------------- */

static json_t *describe_public(const struct pf_public_identity *identity)
{
    char fingerprint[17];
    pf_identity_fingerprint(identity, fingerprint);
    return json_pack("{s:s,s:s,s:o,s:o}", "name", identity->name, "fingerprint", fingerprint,
                     "sign", json_hex(identity->sign, sizeof identity->sign), "transport",
                     json_hex(identity->transport, sizeof identity->transport));
}

static json_t *describe_identity(const char *type, const char *path,
                                 const struct pf_public_identity *identity)
{
    json_t *result = json_pack("{s:s,s:s}", "type", type, "file", path);
    json_t *members = describe_public(identity);
    json_object_update(result, members);
    json_decref(members);
    return result;
}

static enum pf_status describe_key(const char *path, json_t **result, struct pf_error *err)
{
    PF_CLEANUP(pf_identity_finish) struct pf_identity identity = {0};
    PF_TRY(pf_identity_load(path, &identity, err));
    *result = describe_identity("secret key", path, &identity.public); /* no secret is shown */
    return PF_OK;
}

static enum pf_status describe_pub(const char *path, json_t **result, struct pf_error *err)
{
    struct pf_public_identity identity;
    PF_TRY(pf_public_identity_load(path, &identity, err));
    *result = describe_identity("public identity", path, &identity);
    return PF_OK;
}

/* The keys themselves: packfed roster show --json. */
static json_t *describe_member(const struct pf_public_identity *identity)
{
    char fingerprint[17];
    pf_identity_fingerprint(identity, fingerprint);
    return json_pack("{s:s,s:s}", "fingerprint", fingerprint, "name", identity->name);
}

static enum pf_status describe_roster(const char *path, json_t **result, struct pf_error *err)
{
    PF_CLEANUP(pf_roster_destroyp) struct pf_roster *roster = NULL;
    uint8_t signer[32];
    PF_TRY(pf_roster_peek(path, signer, &roster, err));
    json_t *members = json_array();
    for (size_t i = 0; i < roster->n_members; i++)
        json_array_append_new(members, describe_member(&roster->members[i]));
    *result = json_pack("{s:s,s:s,s:s,s:I,s:o,s:o,s:s,s:o,s:o}", "type", "roster", "file", path,
                        "federation", roster->federation, "serial", (json_int_t)roster->serial,
                        "hash", json_hex(roster->hash, sizeof roster->hash), "signed_by",
                        json_hex(signer, sizeof signer), "signature",
                        "good; whether to trust the signer: packfed roster show --authority",
                        "coordinator", describe_public(&roster->coordinator), "members", members);
    return PF_OK;
}

/* ---- run folders -------------------------------------------------------------------------- */

static json_t *column_value(sqlite3_stmt *row, int column)
{
    switch (sqlite3_column_type(row, column)) {
    case SQLITE_INTEGER: return json_integer(sqlite3_column_int64(row, column));
    case SQLITE_FLOAT: return json_real(sqlite3_column_double(row, column));
    case SQLITE_TEXT: {
        json_t *text = json_string((const char *)sqlite3_column_text(row, column));
        return text != NULL ? text : json_null(); /* not UTF-8 */
    }
    default: return json_null();
    }
}

/* The rows of a query, as objects. */
static enum pf_status query(sqlite3 *db, const char *path, const char *sql, json_t **rows,
                            struct pf_error *err)
{
    sqlite3_stmt *statement = NULL;
    if (sqlite3_prepare_v2(db, sql, -1, &statement, NULL) != SQLITE_OK)
        return pf_fail(err, PF_CORRUPT, "%s: not the record of a run: %s", path,
                       sqlite3_errmsg(db));
    json_t *list = json_array();
    int step = sqlite3_step(statement);
    for (; step == SQLITE_ROW; step = sqlite3_step(statement)) {
        json_t *row = json_object();
        for (int c = 0; c < sqlite3_column_count(statement); c++)
            json_object_set_new(row, sqlite3_column_name(statement, c), column_value(statement, c));
        json_array_append_new(list, row);
    }
    sqlite3_finalize(statement);
    if (step != SQLITE_DONE) {
        json_decref(list);
        return pf_fail(err, PF_IO, "%s: %s", path, sqlite3_errmsg(db));
    }
    *rows = list;
    return PF_OK;
}

static void close_database(sqlite3 **db)
{
    sqlite3_close(*db);
}

/* The members of table `run` as one object. */
static json_t *object_of(json_t *pairs)
{
    json_t *object = json_object(), *pair;
    size_t i;
    json_array_foreach(pairs, i, pair) json_object_set(
        object, json_string_value(json_object_get(pair, "key")), json_object_get(pair, "value"));
    json_decref(pairs);
    return object;
}

/* What a secure sum tells beside the mean: how the model did on the participants' own images, and
 * how many updates were clipped to which norm. */
#define PRIVATE_COLUMNS \
    "round(100.0 * correct / evaluated, 2) AS private_percent, clip_trained AS clip, clipped, "
#define ROUNDS_SQL(more)                                                                           \
    "SELECT * FROM (SELECT round, stage, cohort, included, dropped, accuracy_percent, loss, " more \
    "seconds, upload_bytes, outcome FROM rounds ORDER BY round DESC LIMIT " LAST_ROUNDS            \
    ") ORDER BY round"

/* Records of the first format have no columns for them, plain runs have nothing in them. */
static enum pf_status knows_sums(sqlite3 *db, const char *path, bool *secure, struct pf_error *err)
{
    json_t *rows = NULL;
    PF_TRY(query(db, path,
                 "SELECT 1 FROM run, pragma_table_info('rounds') WHERE key = 'aggregation' AND "
                 "value = 'secure' AND name = 'clip_trained'",
                 &rows, err));
    *secure = json_array_size(rows) > 0;
    json_decref(rows);
    return PF_OK;
}

static enum pf_status describe_database(const char *path, json_t *result, struct pf_error *err)
{
    PF_CLEANUP(close_database) sqlite3 *db = NULL;
    if (sqlite3_open_v2(path, &db, SQLITE_OPEN_READONLY, NULL) != SQLITE_OK)
        return pf_fail(err, PF_IO, "%s: %s", path, db != NULL ? sqlite3_errmsg(db) : "no memory");
    sqlite3_busy_timeout(db, 2000);
    bool secure = false;
    PF_TRY(knows_sums(db, path, &secure, err));
    const struct {
        const char *name, *sql;
    } tables[] = {
        {"stages", "SELECT stage, rounds, groups, nonzeros, accuracy_percent, loss FROM stages "
                   "ORDER BY stage"},
        {"last_rounds", secure ? ROUNDS_SQL(PRIVATE_COLUMNS) : ROUNDS_SQL("")},
        {"last_events", "SELECT round, level, text FROM (SELECT * FROM events ORDER BY id DESC "
                        "LIMIT " LAST_EVENTS ") ORDER BY id"},
    };
    json_t *rows = NULL;
    PF_TRY(query(db, path, "SELECT key, value FROM run ORDER BY key", &rows, err));
    json_object_set_new(result, "run", object_of(rows));
    for (size_t i = 0; i < PF_ARRAY_LENGTH(tables); i++) {
        PF_TRY(query(db, path, tables[i].sql, &rows, err));
        json_object_set_new(result, tables[i].name, rows);
    }
    return PF_OK;
}

static enum pf_status describe_summary(const char *path, json_t *result, struct pf_error *err)
{
    PF_CLEANUP(pf_buffer_finish) struct pf_buffer text = {0};
    PF_TRY(pf_file_read(path, MAX_SUMMARY_BYTES, &text, err));
    json_error_t reason;
    json_t *summary = json_loadb((const char *)text.bytes, text.length, 0, &reason);
    if (summary == NULL)
        return pf_fail(err, PF_CORRUPT, "%s: line %d: %s", path, reason.line, reason.text);
    json_object_set_new(result, "summary", summary);
    return PF_OK;
}

static enum pf_status fill_folder(const char *path, json_t *result, struct pf_error *err)
{
    char database[PATH_MAX], summary[PATH_MAX];
    PF_TRY(pf_path_join(path, "run.db", database, sizeof database, err));
    PF_TRY(pf_path_join(path, "summary.json", summary, sizeof summary, err));
    bool has_database = pf_file_exists(database), has_summary = pf_file_exists(summary);
    if (!has_database && !has_summary)
        return pf_fail(err, PF_NOT_FOUND,
                       "%s: no run folder: it holds neither run.db nor summary.json", path);
    if (has_summary) PF_TRY(describe_summary(summary, result, err));
    return has_database ? describe_database(database, result, err) : PF_OK;
}

static enum pf_status describe_folder(const char *path, json_t **result, struct pf_error *err)
{
    json_t *object = json_pack("{s:s,s:s}", "type", "run folder", "folder", path);
    enum pf_status status = fill_folder(path, object, err);
    if (status == PF_OK)
        *result = object;
    else
        json_decref(object);
    return status;
}

/* ---- which is it -------------------------------------------------------------------------- */

static enum pf_status describe_file(const char *path, json_t **result, struct pf_error *err)
{
    static const struct {
        const char *start;
        enum pf_status (*describe)(const char *path, json_t **result, struct pf_error *err);
    } kinds[] = {
        {"PFMODEL1", describe_model},
        {"packfed secret key ", describe_key},
        {"packfed public identity ", describe_pub},
        {"packfed roster ", describe_roster},
    };
    FILE *file = fopen(path, "rbe");
    if (file == NULL) return pf_fail_errno(err, PF_NOT_FOUND, "%s: cannot open", path);
    char start[32] = {0};
    size_t length = fread(start, 1, sizeof start, file);
    fclose(file);
    for (size_t i = 0; i < PF_ARRAY_LENGTH(kinds); i++) {
        size_t expected = strlen(kinds[i].start);
        if (length >= expected && memcmp(start, kinds[i].start, expected) == 0)
            return kinds[i].describe(path, result, err);
    }
    return pf_fail(err, PF_CORRUPT, "%s: neither a model, a key, a public identity nor a roster",
                   path);
}

static enum pf_status describe(const char *path, json_t **result, struct pf_error *err)
{
    struct stat st;
    if (stat(path, &st) == 0 && S_ISDIR(st.st_mode)) return describe_folder(path, result, err);
    return describe_file(path, result, err);
}

/* ---- for people --------------------------------------------------------------------------- */

/* Text of a plain value into out; shares to four digits, counts with thousands. */
static const char *plain(const json_t *value, char *out, size_t size)
{
    char digits[32];
    if (json_is_string(value))
        pf_printable(out, size, (const uint8_t *)json_string_value(value),
                     json_string_length(value));
    else if (json_is_integer(value) && json_integer_value(value) >= 0)
        snprintf(out, size, "%s", pf_text_thousands(digits, (uint64_t)json_integer_value(value)));
    else if (json_is_number(value))
        snprintf(out, size, "%.4g", json_number_value(value));
    else if (json_is_boolean(value))
        snprintf(out, size, "%s", json_is_true(value) ? "yes" : "no");
    else
        snprintf(out, size, "–");
    return out;
}

/* Bytes of UTF-8 that begin a character: what counts for alignment. */
static int width_of(const char *text)
{
    int width = 0;
    for (; *text != '\0'; text++) width += ((unsigned char)*text & 0xC0) != 0x80;
    return width;
}

/* Words to the left, numbers to the right. */
static void print_padded(const char *text, int width, bool left)
{
    int missing = PF_MAX(width - width_of(text), 0);
    printf("  %*s%s%*s", left ? 0 : missing, "", text, left ? missing : 0, "");
}

/* Widens widths[*n_columns] to what the row holds. */
static void measure_row(const json_t *row, int *widths, size_t *n_columns)
{
    const char *key;
    json_t *value;
    char text[512];
    size_t c = 0;
    json_object_foreach((json_t *)row, key, value)
    {
        int width = PF_MAX(width_of(key), width_of(plain(value, text, sizeof text)));
        if (c == MAX_TABLE_COLUMNS) break;
        if (c == *n_columns) widths[(*n_columns)++] = 0;
        widths[c] = PF_MAX(widths[c], width);
        c++;
    }
}

static void print_row(const json_t *row, const int *widths, size_t n_columns, bool heading)
{
    const char *key;
    json_t *value;
    char text[512];
    size_t c = 0;
    json_object_foreach((json_t *)row, key, value)
    {
        if (c == n_columns) break;
        const char *cell = heading ? key : plain(value, text, sizeof text);
        print_padded(cell, widths[c++], json_is_string(value));
    }
    putchar('\n');
}

/* All rows have the same members. */
static void print_table(const json_t *rows)
{
    int widths[MAX_TABLE_COLUMNS];
    size_t n_columns = 0, i;
    json_t *row;
    json_array_foreach(rows, i, row) measure_row(row, widths, &n_columns);
    print_row(json_array_get(rows, 0), widths, n_columns, true);
    json_array_foreach(rows, i, row) print_row(row, widths, n_columns, false);
}

static bool is_list_of_objects(const json_t *value)
{
    return json_is_array(value) && json_is_object(json_array_get(value, 0));
}

static void print_list(const json_t *list)
{
    size_t i;
    json_t *item;
    char text[64];
    json_array_foreach(list, i, item)
        printf("%s%s", i > 0 ? ", " : "", plain(item, text, sizeof text));
    putchar('\n');
}

static void print_object(const json_t *object, int depth)
{
    const char *key;
    json_t *value;
    char text[512], name[64];
    json_object_foreach((json_t *)object, key, value)
    {
        pf_printable(name, sizeof name, (const uint8_t *)key, strlen(key));
        if (is_list_of_objects(value)) {
            printf("\n%*s%s\n", 2 * depth, "", name);
            print_table(value);
        } else if (json_is_object(value)) {
            printf("%*s%s\n", 2 * depth, "", name);
            print_object(value, depth + 1);
        } else {
            printf("%*s%-*s ", 2 * depth, "", PF_MAX(26 - 2 * depth, 1), name);
            if (json_is_array(value))
                print_list(value);
            else
                printf("%s\n", plain(value, text, sizeof text));
        }
    }
}

/* ---- the command -------------------------------------------------------------------------- */

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct inspect_command *self = state->input;
    switch (key) {
    case KEY_JSON: self->json = true; break;
    case ARGP_KEY_ARG:
        if (state->arg_num > 0) argp_error(state, "one thing at a time: what is '%s'?", arg);
        self->path = arg;
        break;
    case ARGP_KEY_END:
        if (self->path == NULL) argp_error(state, "name a file or a run folder");
        break;
    default: return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

int pf_cmd_inspect(int argc, char **argv)
{
    static const struct argp_option options[] = {
        {"json", KEY_JSON, NULL, 0, "print the result as one JSON object", 0},
        {0},
    };
    static const struct argp argp = {
        .options = options,
        .parser = parse,
        .args_doc = "FILE|FOLDER",
        .doc = "Says what a model, a key, a public identity, a roster or a run folder is and holds."
               "  Secrets are not shown.",
    };
    struct inspect_command self = {0};
    struct pf_error err;
    pf_cli_parse(&argp, argc, argv, &self);
    json_t *result = NULL;
    if (describe(self.path, &result, &err) != PF_OK) return pf_cli_fail("inspect", &err);
    if (self.json) {
        json_dumpf(result, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(10));
        putchar('\n');
    } else {
        print_object(result, 0);
    }
    json_decref(result);
    return PF_EXIT_OK;
}
