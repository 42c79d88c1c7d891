/* The roster file: lines of text, then who signed them and the signature.
 *
 *   packfed roster 1                        ┐
 *   federation NAME                         │
 *   serial N                                │ signed (Ed25519), and hashed
 *   coordinator NAME SIGN TRANSPORT         │
 *   member NAME SIGN TRANSPORT  (sorted)    ┘
 *   authority SIGN
 *   signature SIGNATURE
 *
 * The first line separates this use of the authority's key from any other. */
#include "common/wire/roster.h"

#include <assert.h>
#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/file.h"
#include "common/base/memory.h"
#include "common/base/text.h"
#include "common/wire/key_text.h"

#define HEADING "packfed roster 1"
#define MAX_ROSTER_BYTES ((size_t)4 * 1024 * 1024) /* 10,000 members of at most 206 bytes fit */

void pf_roster_destroy(struct pf_roster *self)
{
    if (self == NULL) return;
    pf_free(self->members);
    pf_free(self);
}

static int compare_names(const void *a, const void *b)
{
    const struct pf_public_identity *x = a, *y = b;
    return strcmp(x->name, y->name);
}

static int compare_sign(const void *a, const void *b)
{
    const struct pf_public_identity *x = a, *y = b;
    return memcmp(x->sign, y->sign, sizeof x->sign);
}

static int compare_transport(const void *a, const void *b)
{
    const struct pf_public_identity *x = a, *y = b;
    return memcmp(x->transport, y->transport, sizeof x->transport);
}

/* everybody[n] gets sorted by what `compare` looks at; equal neighbours are refused. */
static enum pf_status check_unique(struct pf_public_identity *everybody, size_t n,
                                   int (*compare)(const void *, const void *), struct pf_error *err)
{
    qsort(everybody, n, sizeof *everybody, compare);
    for (size_t i = 1; i < n; i++)
        if (compare(&everybody[i - 1], &everybody[i]) == 0)
            return pf_fail(err, PF_INVALID, "roster: %s and %s have the same key",
                           everybody[i - 1].name, everybody[i].name);
    return PF_OK;
}

/* Names (members sorted already) and keys, the coordinator's among them. */
static enum pf_status check_everybody(const struct pf_roster *self, struct pf_error *err)
{
    PF_TRY(pf_name_check(self->federation, err));
    PF_TRY(pf_name_check(self->coordinator.name, err));
    for (size_t i = 0; i < self->n_members; i++) {
        const char *name = self->members[i].name;
        PF_TRY(pf_name_check(name, err));
        bool twice = i > 0 && strcmp(self->members[i - 1].name, name) == 0;
        if (twice || strcmp(self->coordinator.name, name) == 0)
            return pf_fail(err, PF_INVALID, "roster: the name %s is there twice", name);
    }
    PF_CLEANUP(pf_freep)
    struct pf_public_identity *everybody = PF_ALLOC(self->n_members + 1, struct pf_public_identity);
    if (everybody == NULL) return pf_no_memory(err, "a roster");
    memcpy(everybody, self->members, self->n_members * sizeof *everybody);
    everybody[self->n_members] = self->coordinator;
    PF_TRY(check_unique(everybody, self->n_members + 1, compare_sign, err));
    return check_unique(everybody, self->n_members + 1, compare_transport, err);
}

static enum pf_status append_identity(struct pf_buffer *text, const char *word,
                                      const struct pf_public_identity *identity,
                                      struct pf_error *err)
{
    char line[PF_MAX_NAME_BYTES + 192], sign[65], transport[65];
    pf_text_hex(sign, identity->sign, sizeof identity->sign);
    pf_text_hex(transport, identity->transport, sizeof identity->transport);
    int n = snprintf(line, sizeof line, "%s %s %s %s\n", word, identity->name, sign, transport);
    return pf_buffer_append(text, line, (size_t)n, err);
}

/* Appends the signed part. */
static enum pf_status write_content(const struct pf_roster *self, struct pf_buffer *text,
                                    struct pf_error *err)
{
    char head[PF_MAX_NAME_BYTES + 96];
    int n = snprintf(head, sizeof head, HEADING "\nfederation %s\nserial %" PRIu64 "\n",
                     self->federation, self->serial);
    PF_TRY(pf_buffer_append(text, head, (size_t)n, err));
    PF_TRY(append_identity(text, "coordinator", &self->coordinator, err));
    for (size_t i = 0; i < self->n_members; i++)
        PF_TRY(append_identity(text, "member", &self->members[i], err));
    return PF_OK;
}

static enum pf_status create(const char *federation, uint64_t serial,
                             const struct pf_public_identity *coordinator,
                             const struct pf_public_identity *members, size_t n_members,
                             struct pf_roster **roster, struct pf_error *err)
{
    if (n_members == 0 || n_members > PF_MAX_MEMBERS)
        return pf_fail(err, PF_INVALID, "roster: %zu members; give 1 to %u", n_members,
                       PF_MAX_MEMBERS);
    PF_TRY(pf_name_check(federation, err));
    PF_CLEANUP(pf_roster_destroyp) struct pf_roster *self = PF_ALLOC(1, struct pf_roster);
    if (self == NULL) return pf_no_memory(err, "a roster");
    self->members = PF_ALLOC(n_members, struct pf_public_identity);
    if (self->members == NULL) return pf_no_memory(err, "a roster");
    memcpy(self->federation, federation, strlen(federation));
    self->serial = serial;
    self->coordinator = *coordinator;
    self->n_members = n_members;
    memcpy(self->members, members, n_members * sizeof *members);
    qsort(self->members, n_members, sizeof *members, compare_names);
    PF_TRY(check_everybody(self, err));
    PF_CLEANUP(pf_buffer_finish) struct pf_buffer content = {0};
    PF_TRY(write_content(self, &content, err));
    crypto_generichash(self->hash, sizeof self->hash, content.bytes, content.length, NULL, 0);
    *roster = self;
    self = NULL;
    return PF_OK;
}

enum pf_status pf_roster_create(const char *federation, uint64_t serial,
                                const struct pf_public_identity *coordinator,
                                const struct pf_public_identity *members, size_t n_members,
                                struct pf_roster **roster, struct pf_error *err)
{
    if (sodium_init() < 0) return pf_fail(err, PF_IO, "libsodium cannot start");
    return create(federation, serial, coordinator, members, n_members, roster, err);
}

enum pf_status pf_roster_save(const struct pf_roster *self, const struct pf_identity *authority,
                              const char *path, struct pf_error *err)
{
    PF_CLEANUP(pf_buffer_finish) struct pf_buffer text = {0};
    PF_TRY(write_content(self, &text, err));
    uint8_t signature[crypto_sign_BYTES];
    crypto_sign_detached(signature, NULL, text.bytes, text.length, authority->sign_secret);
    char key_hex[65], signature_hex[2 * sizeof signature + 1], tail[256];
    pf_text_hex(key_hex, authority->public.sign, sizeof authority->public.sign);
    pf_text_hex(signature_hex, signature, sizeof signature);
    int n = snprintf(tail, sizeof tail, "authority %s\nsignature %s\n", key_hex, signature_hex);
    PF_TRY(pf_buffer_append(&text, tail, (size_t)n, err));
    return pf_file_write(path, text.bytes, text.length, 0644, err);
}

/* Finds the line "authority …", which ends the signed content; NULL when there is none. */
static const char *find_authority(const struct pf_buffer *text)
{
    static const char start[] = "\nauthority ";
    const char *found = memmem(text->bytes, text->length, start, strlen(start));
    return found != NULL ? found + 1 : NULL;
}

/* What stands below the content. */
struct seal {
    size_t content_length;
    uint8_t signer[32];
    uint8_t signature[crypto_sign_BYTES];
};

static enum pf_status parse_seal(const char *path, const struct pf_buffer *text, struct seal *seal,
                                 struct pf_error *err)
{
    const char *begin = (const char *)text->bytes;
    size_t heading = strlen(HEADING "\n");
    if (text->length < heading || memcmp(begin, HEADING "\n", heading) != 0)
        return pf_fail(err, PF_CORRUPT, "%s: not a packfed roster", path);
    const char *split = find_authority(text);
    if (split == NULL) return pf_fail(err, PF_CORRUPT, "%s: cut short: no signature", path);
    struct pf_key_text reader = {.path = path, .next = split, .end = begin + text->length};
    for (const char *p = begin; p < split; p++) reader.line += *p == '\n';
    PF_TRY(pf_key_text_hex(&reader, "authority", seal->signer, sizeof seal->signer, err));
    PF_TRY(pf_key_text_hex(&reader, "signature", seal->signature, sizeof seal->signature, err));
    seal->content_length = (size_t)(split - begin);
    return pf_key_text_done(&reader, err);
}

static enum pf_status check_signer(const char *path, const uint8_t signer[32],
                                   const uint8_t expected[32], struct pf_error *err)
{
    if (memcmp(signer, expected, 32) == 0) return PF_OK;
    char actual_hex[9], expected_hex[9];
    pf_text_hex(actual_hex, signer, 4);
    pf_text_hex(expected_hex, expected, 4);
    return pf_fail(err, PF_REFUSED, "%s: signed by %s…, expected %s… (--authority)", path,
                   actual_hex, expected_hex);
}

/* Checks who signed the text, and that it is what was signed.  authority NULL: anybody may. */
static enum pf_status verify(const char *path, const struct pf_buffer *text,
                             const uint8_t authority[32], struct seal *seal, struct pf_error *err)
{
    PF_TRY(parse_seal(path, text, seal, err));
    if (authority != NULL) PF_TRY(check_signer(path, seal->signer, authority, err));
    if (crypto_sign_verify_detached(seal->signature, text->bytes, seal->content_length,
                                    seal->signer) != 0)
        return pf_fail(err, PF_CORRUPT, "%s: damaged, or changed after it was signed", path);
    return PF_OK;
}

static enum pf_status parse_members(struct pf_key_text *reader, struct pf_public_identity **members,
                                    size_t *n_members, struct pf_error *err)
{
    size_t n = 0;
    for (const char *p = reader->next; p < reader->end; p++) n += *p == '\n';
    if (n > PF_MAX_MEMBERS)
        return pf_fail(err, PF_CORRUPT, "%s: %zu members, more than the limit of %u", reader->path,
                       n, PF_MAX_MEMBERS);
    *members = PF_ALLOC(n, struct pf_public_identity);
    if (*members == NULL) return pf_no_memory(err, "a roster");
    for (size_t i = 0; i < n; i++)
        PF_TRY(pf_key_text_identity(reader, "member", &(*members)[i], err));
    *n_members = n;
    return PF_OK;
}

static enum pf_status parse_content(const char *path, const struct pf_buffer *content,
                                    struct pf_roster **roster, struct pf_error *err)
{
    const char *begin = (const char *)content->bytes;
    struct pf_key_text reader = {.path = path, .next = begin, .end = begin + content->length};
    char federation[PF_MAX_NAME_BYTES];
    uint64_t serial = 0;
    struct pf_public_identity coordinator = {0};
    PF_CLEANUP(pf_freep) struct pf_public_identity *members = NULL;
    size_t n_members = 0;
    PF_TRY(pf_key_text_line(&reader, HEADING, err));
    PF_TRY(pf_key_text_name(&reader, "federation", federation, err));
    PF_TRY(pf_key_text_u64(&reader, "serial", &serial, err));
    PF_TRY(pf_key_text_identity(&reader, "coordinator", &coordinator, err));
    PF_TRY(parse_members(&reader, &members, &n_members, err));
    PF_TRY(pf_key_text_done(&reader, err));
    struct pf_error inner = {0};
    PF_CLEANUP(pf_roster_destroyp) struct pf_roster *self = NULL;
    enum pf_status status =
        create(federation, serial, &coordinator, members, n_members, &self, &inner);
    if (status == PF_INVALID) status = PF_CORRUPT;
    if (status != PF_OK) return pf_fail(err, status, "%s: %s", path, inner.text);
    assert(self != NULL);
    uint8_t hash[sizeof self->hash];
    crypto_generichash(hash, sizeof hash, content->bytes, content->length, NULL, 0);
    if (memcmp(hash, self->hash, sizeof hash) != 0)
        return pf_fail(err, PF_CORRUPT, "%s: its members are not sorted by name", path);
    *roster = self;
    self = NULL;
    return PF_OK;
}

static enum pf_status load(const char *path, const uint8_t authority[32], uint8_t signer[32],
                           struct pf_roster **roster, struct pf_error *err)
{
    if (sodium_init() < 0) return pf_fail(err, PF_IO, "libsodium cannot start");
    PF_CLEANUP(pf_buffer_finish) struct pf_buffer text = {0};
    struct seal seal = {0};
    PF_TRY(pf_file_read(path, MAX_ROSTER_BYTES, &text, err));
    PF_TRY(verify(path, &text, authority, &seal, err));
    text.length = seal.content_length;
    PF_TRY(parse_content(path, &text, roster, err));
    memcpy(signer, seal.signer, sizeof seal.signer);
    return PF_OK;
}

enum pf_status pf_roster_load(const char *path, const struct pf_public_identity *authority,
                              struct pf_roster **roster, struct pf_error *err)
{
    uint8_t signer[32];
    return load(path, authority->sign, signer, roster, err);
}

enum pf_status pf_roster_peek(const char *path, uint8_t signer[32], struct pf_roster **roster,
                              struct pf_error *err)
{
    return load(path, NULL, signer, roster, err);
}

size_t pf_roster_find(const struct pf_roster *self, const uint8_t transport[32])
{
    for (size_t i = 0; i < self->n_members; i++)
        if (memcmp(self->members[i].transport, transport, 32) == 0) return i;
    return SIZE_MAX;
}
