/* packfed keygen: a new identity. */
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "common/base/file.h"
#include "common/base/text.h"
#include "common/wire/identity.h"

enum { KEY_JSON = 0x1000 };

struct keygen_command {
    const char *name;
    const char *out;
    bool json;
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct keygen_command *self = state->input;
    struct pf_error err;
    switch (key) {
    case 'n':
        if (pf_name_check(arg, &err) != PF_OK) argp_error(state, "--name: %s", err.text);
        self->name = arg;
        break;
    case 'o': self->out = arg; break;
    case KEY_JSON: self->json = true; break;
    case ARGP_KEY_ARG: argp_error(state, "what is '%s'?  Names go behind --name", arg); break;
    case ARGP_KEY_END:
        if (self->name == NULL) argp_error(state, "give --name NAME");
        break;
    default: return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

static void print_text(const struct keygen_command *self, const struct pf_public_identity *public,
                       const char *fingerprint)
{
    printf("%s.key  keep it secret and where it is\n", self->out);
    printf("%s.pub  give it to the federation's authority\n", self->out);
    printf("%s, fingerprint %s\n", public->name, fingerprint);
}

static void print_json(const struct keygen_command *self, const struct pf_public_identity *public,
                       const char *fingerprint)
{
    char sign[65], transport[65];
    pf_text_hex(sign, public->sign, sizeof public->sign);
    pf_text_hex(transport, public->transport, sizeof public->transport);
    json_t *result =
        json_pack("{s:s,s:o,s:o,s:s,s:s,s:s}", "name", public->name, "key",
                  json_sprintf("%s.key", self->out), "pub", json_sprintf("%s.pub", self->out),
                  "fingerprint", fingerprint, "sign", sign, "transport", transport);
    json_dumpf(result, stdout, JSON_INDENT(2));
    putchar('\n');
    json_decref(result);
}

/* "keys/alice" wants a folder "keys". */
static enum pf_status make_folder(const char *stem, struct pf_error *err)
{
    char folder[PATH_MAX];
    const char *slash = strrchr(stem, '/');
    size_t length = slash != NULL ? (size_t)(slash - stem) : 0;
    if (length == 0 || length >= sizeof folder) return PF_OK;
    memcpy(folder, stem, length);
    folder[length] = '\0';
    return pf_folder_create(folder, err);
}

int pf_cmd_keygen(int argc, char **argv)
{
    static const struct argp_option options[] = {
        {"name", 'n', "NAME", 0, "who it is for: letters, digits, '.', '-' and '_'", 0},
        {"out", 'o', "STEM", 0, "write STEM.key and STEM.pub (NAME)", 0},
        {"json", KEY_JSON, NULL, 0, "print the result as one JSON object", 0},
        {0},
    };
    static const struct argp argp = {
        .options = options,
        .parser = parse,
        .doc = "Makes an identity, for a participant, a coordinator or a federation's authority: "
               "a secret key (STEM.key, readable by you alone) and its public half (STEM.pub).\v"
               "Keys come from the system's random numbers; there is no seed.  Existing files are "
               "never overwritten.",
    };
    struct keygen_command self = {0};
    pf_cli_parse(&argp, argc, argv, &self);
    if (self.out == NULL) self.out = self.name;

    struct pf_error err;
    PF_CLEANUP(pf_identity_finish) struct pf_identity identity = {0};
    if (pf_identity_generate(self.name, &identity, &err) != PF_OK ||
        make_folder(self.out, &err) != PF_OK ||
        pf_identity_save(&identity, self.out, &err) != PF_OK)
        return pf_cli_fail("keygen", &err);
    char fingerprint[17];
    pf_identity_fingerprint(&identity.public, fingerprint);
    if (self.json)
        print_json(&self, &identity.public, fingerprint);
    else
        print_text(&self, &identity.public, fingerprint);
    return PF_EXIT_OK;
}
