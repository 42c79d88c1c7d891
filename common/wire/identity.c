#include "common/wire/identity.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/file.h"
#include "common/base/text.h"
#include "common/wire/key_text.h"

#define SECRET_HEADING "packfed secret key 1"
#define PUBLIC_HEADING "packfed public identity 1"
#define MAX_KEY_FILE_BYTES 1024u

static_assert(crypto_sign_PUBLICKEYBYTES == 32 && crypto_sign_SECRETKEYBYTES == 64, "Ed25519");
static_assert(crypto_box_PUBLICKEYBYTES == 32 && crypto_box_SECRETKEYBYTES == 32, "Curve25519");

/* The text of a secret file, wiped at scope exit. */
struct secret_text {
    char text[MAX_KEY_FILE_BYTES];
    size_t length;
};

static void wipe_text(struct secret_text *self)
{
    sodium_memzero(self, sizeof *self);
}

static void wipe_identity(struct pf_identity *self)
{
    sodium_memzero(self, sizeof *self);
}

static enum pf_status start_sodium(struct pf_error *err)
{
    if (sodium_init() >= 0) return PF_OK;
    return pf_fail(err, PF_IO, "libsodium cannot start: the system gives no random numbers");
}

enum pf_status pf_name_check(const char *name, struct pf_error *err)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
    char alphabet[sizeof letters + 3];
    snprintf(alphabet, sizeof alphabet, "%s.-_", letters);
    size_t length = strlen(name);
    if (length == 0 || length >= PF_MAX_NAME_BYTES)
        return pf_fail(err, PF_INVALID, "a name has 1 to %u characters, not %zu",
                       PF_MAX_NAME_BYTES - 1, length);
    if (strspn(name, alphabet) != length || name[0] == '.' || name[0] == '-')
        return pf_fail(err, PF_INVALID,
                       "'%s' is not a name: letters, digits, '.', '-' and '_', beginning with "
                       "neither '.' nor '-'",
                       name);
    return PF_OK;
}

enum pf_status pf_identity_generate(const char *name, struct pf_identity *identity,
                                    struct pf_error *err)
{
    PF_TRY(start_sodium(err));
    PF_TRY(pf_name_check(name, err));
    memset(identity, 0, sizeof *identity);
    (void)sodium_mlock(identity, sizeof *identity); /* keeps it off the swap where it may */
    memcpy(identity->public.name, name, strlen(name));
    crypto_sign_keypair(identity->public.sign, identity->sign_secret);
    crypto_box_keypair(identity->public.transport, identity->transport_secret);
    return PF_OK;
}

void pf_identity_finish(struct pf_identity *self)
{
    (void)sodium_munlock(self, sizeof *self); /* wipes first */
}

static enum pf_status write_secret(const struct pf_identity *self, const char *path,
                                   struct pf_error *err)
{
    char sign[2 * sizeof self->sign_secret + 1];
    char transport[2 * sizeof self->transport_secret + 1];
    PF_CLEANUP(wipe_text) struct secret_text text = {0};
    sodium_bin2hex(sign, sizeof sign, self->sign_secret, sizeof self->sign_secret);
    sodium_bin2hex(transport, sizeof transport, self->transport_secret,
                   sizeof self->transport_secret);
    int n =
        snprintf(text.text, sizeof text.text, SECRET_HEADING "\nname %s\nsign %s\ntransport %s\n",
                 self->public.name, sign, transport);
    sodium_memzero(sign, sizeof sign);
    sodium_memzero(transport, sizeof transport);
    assert(n > 0 && (size_t)n < sizeof text.text);
    return pf_file_write(path, text.text, (size_t)n, 0600, err);
}

static enum pf_status write_public(const struct pf_public_identity *self, const char *path,
                                   struct pf_error *err)
{
    char sign[2 * sizeof self->sign + 1], transport[2 * sizeof self->transport + 1];
    char text[MAX_KEY_FILE_BYTES];
    pf_text_hex(sign, self->sign, sizeof self->sign);
    pf_text_hex(transport, self->transport, sizeof self->transport);
    int n = snprintf(text, sizeof text, PUBLIC_HEADING "\nname %s\nsign %s\ntransport %s\n",
                     self->name, sign, transport);
    assert(n > 0 && (size_t)n < sizeof text);
    return pf_file_write(path, text, (size_t)n, 0644, err);
}

static enum pf_status free_path(const char *stem, const char *suffix, char *path, size_t size,
                                struct pf_error *err)
{
    int n = snprintf(path, size, "%s%s", stem, suffix);
    if (n < 0 || (size_t)n >= size)
        return pf_fail(err, PF_INVALID, "%s%s: path too long", stem, suffix);
    struct stat st;
    if (lstat(path, &st) == 0)
        return pf_fail(err, PF_REFUSED,
                       "%s: exists already and keys are never overwritten: choose another name or "
                       "move it away",
                       path);
    return PF_OK;
}

enum pf_status pf_identity_save(const struct pf_identity *self, const char *stem,
                                struct pf_error *err)
{
    char secret_path[PATH_MAX], public_path[PATH_MAX];
    PF_TRY(free_path(stem, ".key", secret_path, sizeof secret_path, err));
    PF_TRY(free_path(stem, ".pub", public_path, sizeof public_path, err));
    PF_TRY(write_secret(self, secret_path, err));
    enum pf_status status = write_public(&self->public, public_path, err);
    if (status != PF_OK) (void)unlink(secret_path); /* half a pair is of no use */
    return status;
}

/* The permissions are those of the file that is read, whatever its name points to meanwhile. */
static enum pf_status check_private(int fd, const char *path, struct pf_error *err)
{
    struct stat st;
    if (fstat(fd, &st) != 0) return pf_fail_errno(err, PF_IO, "%s: cannot read", path);
    if (!S_ISREG(st.st_mode)) return pf_fail(err, PF_REFUSED, "%s: not a regular file", path);
    if (st.st_uid != geteuid())
        return pf_fail(err, PF_REFUSED,
                       "%s: belongs to user %u and not to the one running this (%u): run chown or "
                       "use that account",
                       path, (unsigned)st.st_uid, (unsigned)geteuid());
    if ((st.st_mode & (S_IRWXG | S_IRWXO)) != 0)
        return pf_fail(err, PF_REFUSED, "%s: others can read it (mode %04o): run chmod 600 %s",
                       path, (unsigned)(st.st_mode & 07777), path);
    return PF_OK;
}

/* Not pf_file_read: that one leaves copies in memory it has given back. */
static enum pf_status read_text(int fd, const char *path, struct secret_text *text,
                                struct pf_error *err)
{
    while (text->length < sizeof text->text) {
        ssize_t n = read(fd, text->text + text->length, sizeof text->text - text->length);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return pf_fail_errno(err, PF_IO, "%s: cannot read", path);
        if (n == 0) return PF_OK;
        text->length += (size_t)n;
    }
    return pf_fail(err, PF_CORRUPT, "%s: too large for a key", path);
}

static enum pf_status open_text(const char *path, bool private, struct secret_text *text,
                                struct pf_error *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a FIFO must not hang it */
    if (fd < 0)
        return pf_fail_errno(err, errno == ENOENT ? PF_NOT_FOUND : PF_IO, "%s: cannot open", path);
    enum pf_status status = private ? check_private(fd, path, err) : PF_OK;
    if (status == PF_OK) status = read_text(fd, path, text, err);
    close(fd);
    return status;
}

/* The public halves follow from the secret ones; those stored in the Ed25519 secret must agree. */
static enum pf_status derive_public(struct pf_identity *self, const char *path,
                                    struct pf_error *err)
{
    uint8_t seed[crypto_sign_SEEDBYTES], secret[crypto_sign_SECRETKEYBYTES];
    crypto_sign_ed25519_sk_to_seed(seed, self->sign_secret);
    crypto_sign_seed_keypair(self->public.sign, secret, seed);
    bool agree = sodium_memcmp(secret, self->sign_secret, sizeof secret) == 0;
    sodium_memzero(seed, sizeof seed);
    sodium_memzero(secret, sizeof secret);
    if (!agree) return pf_fail(err, PF_CORRUPT, "%s: damaged: its signing keys do not match", path);
    crypto_scalarmult_base(self->public.transport, self->transport_secret);
    return PF_OK;
}

static enum pf_status parse_secret(struct pf_key_text *from, struct pf_identity *to,
                                   struct pf_error *err)
{
    PF_TRY(pf_key_text_line(from, SECRET_HEADING, err));
    PF_TRY(pf_key_text_name(from, "name", to->public.name, err));
    PF_TRY(pf_key_text_hex(from, "sign", to->sign_secret, sizeof to->sign_secret, err));
    PF_TRY(
        pf_key_text_hex(from, "transport", to->transport_secret, sizeof to->transport_secret, err));
    PF_TRY(pf_key_text_done(from, err));
    return derive_public(to, from->path, err);
}

enum pf_status pf_identity_load(const char *key_path, struct pf_identity *identity,
                                struct pf_error *err)
{
    PF_TRY(start_sodium(err));
    PF_CLEANUP(wipe_text) struct secret_text text = {0};
    PF_TRY(open_text(key_path, true, &text, err));
    struct pf_key_text reader = {
        .path = key_path, .next = text.text, .end = text.text + text.length};
    PF_CLEANUP(wipe_identity) struct pf_identity parsed = {0};
    PF_TRY(parse_secret(&reader, &parsed, err));
    (void)sodium_mlock(identity, sizeof *identity);
    memcpy(identity, &parsed, sizeof parsed);
    return PF_OK;
}

/* Points of small order would let anybody sign, or make a secret everybody can compute. */
static enum pf_status check_points(const struct pf_public_identity *self, const char *path,
                                   struct pf_error *err)
{
    static const uint8_t scalar[crypto_scalarmult_SCALARBYTES] = {9};
    uint8_t product[crypto_scalarmult_BYTES];
    if (crypto_core_ed25519_is_valid_point(self->sign) == 1 &&
        crypto_scalarmult(product, scalar, self->transport) == 0)
        return PF_OK;
    return pf_fail(err, PF_CORRUPT, "%s: damaged: a key that no key pair can have", path);
}

enum pf_status pf_public_identity_load(const char *pub_path, struct pf_public_identity *identity,
                                       struct pf_error *err)
{
    PF_TRY(start_sodium(err));
    PF_CLEANUP(wipe_text) struct secret_text text = {0};
    PF_TRY(open_text(pub_path, false, &text, err));
    struct pf_key_text reader = {
        .path = pub_path, .next = text.text, .end = text.text + text.length};
    struct pf_public_identity parsed = {0};
    PF_TRY(pf_key_text_line(&reader, PUBLIC_HEADING, err));
    PF_TRY(pf_key_text_name(&reader, "name", parsed.name, err));
    PF_TRY(pf_key_text_hex(&reader, "sign", parsed.sign, sizeof parsed.sign, err));
    PF_TRY(pf_key_text_hex(&reader, "transport", parsed.transport, sizeof parsed.transport, err));
    PF_TRY(pf_key_text_done(&reader, err));
    PF_TRY(check_points(&parsed, pub_path, err));
    *identity = parsed;
    return PF_OK;
}

void pf_identity_fingerprint(const struct pf_public_identity *self, char out[17])
{
    uint8_t hash[crypto_generichash_BYTES];
    crypto_generichash_state state;
    crypto_generichash_init(&state, NULL, 0, sizeof hash);
    crypto_generichash_update(&state, self->sign, sizeof self->sign);
    crypto_generichash_update(&state, self->transport, sizeof self->transport);
    crypto_generichash_final(&state, hash, sizeof hash);
    pf_text_hex(out, hash, 8);
}
