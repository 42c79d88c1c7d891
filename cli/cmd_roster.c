/* packfed roster: signs and shows the list of who may take part. */
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "common/base/file.h"
#include "common/base/memory.h"
#include "common/base/text.h"
#include "common/wire/roster.h"

enum { KEY_JSON = 0x1000, KEY_FEDERATION, KEY_COORDINATOR, KEY_MEMBER, KEY_SERIAL };

struct roster_command {
    const char *authority;
    const char *federation;
    const char *coordinator;
    const char *out;
    const char *roster; /* of show */
    bool serial_given;
    uint64_t serial;
    bool json;
    size_t n_members;
    const char **members; /* files */
};

static void add_member(struct roster_command *self, const char *path, struct argp_state *state)
{
    if (self->n_members == PF_MAX_MEMBERS)
        argp_error(state, "more than %u members", PF_MAX_MEMBERS);
    self->members[self->n_members++] = path;
}

static void set_serial(struct roster_command *self, const char *arg, struct argp_state *state)
{
    struct pf_error err;
    if (pf_text_u64("--serial", arg, 0, UINT64_MAX, &self->serial, &err) != PF_OK)
        argp_error(state, "%s", err.text);
    self->serial_given = true;
}

static void set_federation(struct roster_command *self, const char *arg, struct argp_state *state)
{
    struct pf_error err;
    if (pf_name_check(arg, &err) != PF_OK) argp_error(state, "--federation: %s", err.text);
    self->federation = arg;
}

/* ---- output ------------------------------------------------------------------------------- */

static json_t *json_identity(const struct pf_public_identity *identity)
{
    char sign[65], transport[65], fingerprint[17];
    pf_text_hex(sign, identity->sign, sizeof identity->sign);
    pf_text_hex(transport, identity->transport, sizeof identity->transport);
    pf_identity_fingerprint(identity, fingerprint);
    return json_pack("{s:s,s:s,s:s,s:s}", "name", identity->name, "fingerprint", fingerprint,
                     "sign", sign, "transport", transport);
}

static void print_json(const char *path, const struct pf_roster *roster)
{
    char hash[2 * sizeof roster->hash + 1];
    pf_text_hex(hash, roster->hash, sizeof roster->hash);
    json_t *members = json_array();
    for (size_t i = 0; i < roster->n_members; i++)
        json_array_append_new(members, json_identity(&roster->members[i]));
    json_t *result =
        json_pack("{s:s,s:s,s:I,s:s,s:o,s:o}", "roster", path, "federation", roster->federation,
                  "serial", (json_int_t)roster->serial, "hash", hash, "coordinator",
                  json_identity(&roster->coordinator), "members", members);
    json_dumpf(result, stdout, JSON_INDENT(2));
    putchar('\n');
    json_decref(result);
}

static void print_identity(const char *role, const struct pf_public_identity *identity)
{
    char fingerprint[17];
    pf_identity_fingerprint(identity, fingerprint);
    printf("  %-11s  %s  %s\n", role, fingerprint, identity->name);
}

static void print_text(const char *path, const struct pf_roster *roster)
{
    char hash[2 * sizeof roster->hash + 1];
    pf_text_hex(hash, roster->hash, sizeof roster->hash);
    printf("%s: federation %s, serial %llu, %zu members, signature good\n", path,
           roster->federation, (unsigned long long)roster->serial, roster->n_members);
    printf("  hash %s\n", hash);
    print_identity("coordinator", &roster->coordinator);
    for (size_t i = 0; i < roster->n_members; i++) print_identity("member", &roster->members[i]);
}

static void print_roster(const char *path, const struct pf_roster *roster, bool json)
{
    if (json)
        print_json(path, roster);
    else
        print_text(path, roster);
}

/* ---- create ------------------------------------------------------------------------------- */

static error_t parse_create(int key, char *arg, struct argp_state *state)
{
    struct roster_command *self = state->input;
    switch (key) {
    case 'a': self->authority = arg; break;
    case 'o': self->out = arg; break;
    case KEY_FEDERATION: set_federation(self, arg, state); break;
    case KEY_COORDINATOR: self->coordinator = arg; break;
    case KEY_SERIAL: set_serial(self, arg, state); break;
    case KEY_JSON: self->json = true; break;
    case KEY_MEMBER:
    case ARGP_KEY_ARG: add_member(self, arg, state); break;
    case ARGP_KEY_END:
        if (self->authority == NULL) argp_error(state, "give --authority KEY, which signs");
        if (self->federation == NULL) argp_error(state, "give --federation NAME");
        if (self->coordinator == NULL) argp_error(state, "give --coordinator PUB");
        if (self->n_members == 0) argp_error(state, "name the members' public identities");
        if (self->out == NULL) argp_error(state, "give --out FILE for the roster");
        break;
    default: return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

/* The serial of a roster that is to be replaced must be lower: parties keep the highest. */
static enum pf_status choose_serial(const struct roster_command *self,
                                    const struct pf_public_identity *authority, uint64_t *serial,
                                    struct pf_error *err)
{
    *serial = self->serial_given ? self->serial : 1;
    if (!pf_file_exists(self->out)) return PF_OK;
    PF_CLEANUP(pf_roster_destroyp) struct pf_roster *old = NULL;
    PF_TRY(pf_roster_load(self->out, authority, &old, err));
    if (!self->serial_given && old->serial < UINT64_MAX) *serial = old->serial + 1;
    if (*serial > old->serial) return PF_OK;
    return pf_fail(err, PF_REFUSED, "%s: has serial %llu already: give a higher --serial",
                   self->out, (unsigned long long)old->serial);
}

static enum pf_status load_members(const struct roster_command *self,
                                   struct pf_public_identity *members, struct pf_error *err)
{
    for (size_t i = 0; i < self->n_members; i++)
        PF_TRY(pf_public_identity_load(self->members[i], &members[i], err));
    return PF_OK;
}

static enum pf_status create(const struct roster_command *self, struct pf_error *err)
{
    PF_CLEANUP(pf_identity_finish) struct pf_identity authority = {0};
    PF_CLEANUP(pf_roster_destroyp) struct pf_roster *roster = NULL;
    PF_CLEANUP(pf_freep)
    struct pf_public_identity *members = PF_ALLOC(self->n_members, struct pf_public_identity);
    if (members == NULL) return pf_no_memory(err, "a roster");
    struct pf_public_identity coordinator;
    uint64_t serial = 0;
    PF_TRY(pf_identity_load(self->authority, &authority, err));
    PF_TRY(pf_public_identity_load(self->coordinator, &coordinator, err));
    PF_TRY(load_members(self, members, err));
    PF_TRY(choose_serial(self, &authority.public, &serial, err));
    PF_TRY(pf_roster_create(self->federation, serial, &coordinator, members, self->n_members,
                            &roster, err));
    PF_TRY(pf_roster_save(roster, &authority, self->out, err));
    print_roster(self->out, roster, self->json);
    return PF_OK;
}

static int run_create(int argc, char **argv)
{
    static const struct argp_option options[] = {
        {"authority", 'a', "KEY", 0, "secret key of the authority, which signs", 0},
        {"federation", KEY_FEDERATION, "NAME", 0, "name of the federation", 0},
        {"coordinator", KEY_COORDINATOR, "PUB", 0, "public identity of the coordinator", 0},
        {"member", KEY_MEMBER, "PUB", 0, "public identity of a member; may be repeated", 0},
        {"serial", KEY_SERIAL, "N", 0, "higher replaces lower (1, or one more than --out has)", 0},
        {"out", 'o', "FILE", 0, "where to write the roster", 0},
        {"json", KEY_JSON, NULL, 0, "print the result as one JSON object", 0},
        {0},
    };
    static const struct argp argp = {
        .options = options,
        .parser = parse_create,
        .args_doc = "[PUB…]",
        .doc = "Signs the list of who may take part in a federation.  Members are named by "
               "--member or simply as arguments: members/*.pub",
    };
    struct roster_command self = {0};
    PF_CLEANUP(pf_freep) const char **members = PF_ALLOC(PF_MAX_MEMBERS, const char *);
    struct pf_error err;
    if (members == NULL) {
        pf_no_memory(&err, "a roster");
        return pf_cli_fail("roster create", &err);
    }
    self.members = members;
    pf_cli_parse(&argp, argc, argv, &self);
    return create(&self, &err) == PF_OK ? PF_EXIT_OK : pf_cli_fail("roster create", &err);
}

/* ---- show --------------------------------------------------------------------------------- */

static error_t parse_show(int key, char *arg, struct argp_state *state)
{
    struct roster_command *self = state->input;
    switch (key) {
    case 'a': self->authority = arg; break;
    case KEY_JSON: self->json = true; break;
    case ARGP_KEY_ARG:
        if (state->arg_num > 0) argp_error(state, "one roster at a time: what is '%s'?", arg);
        self->roster = arg;
        break;
    case ARGP_KEY_END:
        if (self->roster == NULL) argp_error(state, "name the roster file");
        if (self->authority == NULL)
            argp_error(state, "give --authority PUB, whose signature it must bear");
        break;
    default: return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

static enum pf_status show(const struct roster_command *self, struct pf_error *err)
{
    struct pf_public_identity authority;
    PF_CLEANUP(pf_roster_destroyp) struct pf_roster *roster = NULL;
    PF_TRY(pf_public_identity_load(self->authority, &authority, err));
    PF_TRY(pf_roster_load(self->roster, &authority, &roster, err));
    print_roster(self->roster, roster, self->json);
    return PF_OK;
}

static int run_show(int argc, char **argv)
{
    static const struct argp_option options[] = {
        {"authority", 'a', "PUB", 0, "public identity of the authority that must have signed", 0},
        {"json", KEY_JSON, NULL, 0, "print the result as one JSON object", 0},
        {0},
    };
    static const struct argp argp = {
        .options = options,
        .parser = parse_show,
        .args_doc = "ROSTER",
        .doc = "Checks a roster's signature and shows who is on it.",
    };
    struct roster_command self = {0};
    struct pf_error err;
    pf_cli_parse(&argp, argc, argv, &self);
    return show(&self, &err) == PF_OK ? PF_EXIT_OK : pf_cli_fail("roster show", &err);
}

int pf_cmd_roster(int argc, char **argv)
{
    static const char help[] = "usage: packfed roster create|show [OPTION…]\n"
                               "\n"
                               "  create   sign the list of who may take part\n"
                               "  show     check a roster's signature and show who is on it\n"
                               "\n"
                               "'packfed roster create --help' tells the options.\n";
    static char create_name[] = "roster create", show_name[] = "roster show";
    const char *what = argc > 1 ? argv[1] : "";
    if (strcmp(what, "create") == 0) {
        argv[1] = create_name;
        return run_create(argc - 1, argv + 1);
    }
    if (strcmp(what, "show") == 0) {
        argv[1] = show_name;
        return run_show(argc - 1, argv + 1);
    }
    bool asked = strcmp(what, "--help") == 0;
    fputs(help, asked ? stdout : stderr);
    return asked ? PF_EXIT_OK : PF_EXIT_USAGE;
}
