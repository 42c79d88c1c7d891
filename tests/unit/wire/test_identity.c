/* Key files: what is saved is read back; secrets are private, whole and never overwritten. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/wire/identity.h"
#include "scratch.h"

static void make(const char *stem, struct pf_identity *identity)
{
    struct pf_error err = {0};
    if (pf_identity_generate("alice", identity, &err) != PF_OK ||
        pf_identity_save(identity, pf_scratch(stem), &err) != PF_OK)
        fail_msg("%s", err.text);
}

static unsigned mode_of(const char *name)
{
    struct stat st;
    assert_int_equal(stat(pf_scratch(name), &st), 0);
    return st.st_mode & 07777;
}

static void saved_identities_are_read_back(void **state)
{
    (void)state;
    struct pf_identity made, loaded;
    struct pf_public_identity public;
    make("a", &made);
    assert_int_equal(mode_of("a.key"), 0600);
    assert_int_equal(mode_of("a.pub"), 0644);
    assert_int_equal(pf_identity_load(pf_scratch("a.key"), &loaded, NULL), PF_OK);
    assert_string_equal(loaded.public.name, "alice");
    assert_memory_equal(&loaded, &made, sizeof made);
    assert_int_equal(pf_public_identity_load(pf_scratch("a.pub"), &public, NULL), PF_OK);
    assert_memory_equal(&public, &made.public, sizeof public);
    /* The secrets are nowhere in the public file. */
    char hex[129];
    sodium_bin2hex(hex, sizeof hex, made.sign_secret, 32);
    assert_null(strstr(pf_scratch_read("a.pub", NULL), hex));
    assert_non_null(strstr(pf_scratch_read("a.key", NULL), hex));
    sodium_bin2hex(hex, sizeof hex, made.transport_secret, 32);
    assert_null(strstr(pf_scratch_read("a.pub", NULL), hex));
    pf_identity_finish(&made);
    pf_identity_finish(&loaded);
}

static void finish_wipes(void **state)
{
    (void)state;
    struct pf_identity identity;
    assert_int_equal(pf_identity_generate("alice", &identity, NULL), PF_OK);
    assert_false(sodium_is_zero(identity.sign_secret, sizeof identity.sign_secret));
    pf_identity_finish(&identity);
    assert_true(sodium_is_zero((const uint8_t *)&identity, sizeof identity));
}

static void keys_differ_and_work(void **state)
{
    (void)state;
    struct pf_identity a, b;
    make("a", &a);
    make("b", &b);
    assert_memory_not_equal(a.public.sign, b.public.sign, 32);
    assert_memory_not_equal(a.public.transport, b.public.transport, 32);
    uint8_t signature[crypto_sign_BYTES], ab[32], ba[32];
    crypto_sign_detached(signature, NULL, (const uint8_t *)"text", 4, a.sign_secret);
    assert_int_equal(
        crypto_sign_verify_detached(signature, (const uint8_t *)"text", 4, a.public.sign), 0);
    assert_int_equal(crypto_scalarmult(ab, a.transport_secret, b.public.transport), 0);
    assert_int_equal(crypto_scalarmult(ba, b.transport_secret, a.public.transport), 0);
    assert_memory_equal(ab, ba, 32);
    char one[17], two[17];
    pf_identity_fingerprint(&a.public, one);
    pf_identity_fingerprint(&b.public, two);
    assert_int_equal(strlen(one), 16);
    assert_string_not_equal(one, two);
}

static void files_are_never_overwritten(void **state)
{
    (void)state;
    struct pf_identity first, second;
    struct pf_error err = {0};
    make("a", &first);
    assert_int_equal(pf_identity_generate("bob", &second, NULL), PF_OK);
    assert_int_equal(pf_identity_save(&second, pf_scratch("a"), &err), PF_REFUSED);
    assert_non_null(strstr(err.text, "a.key: exists already"));
    assert_int_equal(unlink(pf_scratch("a.key")), 0);
    assert_int_equal(pf_identity_save(&second, pf_scratch("a"), &err), PF_REFUSED);
    assert_non_null(strstr(err.text, "a.pub: exists already"));
    assert_int_equal(access(pf_scratch("a.key"), F_OK), -1);
    struct pf_public_identity public;
    assert_int_equal(pf_public_identity_load(pf_scratch("a.pub"), &public, NULL), PF_OK);
    assert_memory_equal(&public, &first.public, sizeof public);
}

static void secrets_that_others_can_read_are_refused(void **state)
{
    (void)state;
    struct pf_identity made, loaded;
    struct pf_error err = {0};
    make("a", &made);
    static const unsigned modes[] = {0644, 0640, 0604, 0620, 0601, 0610, 0602};
    for (size_t i = 0; i < PF_ARRAY_LENGTH(modes); i++) {
        char words[32];
        assert_int_equal(chmod(pf_scratch("a.key"), modes[i]), 0);
        assert_int_equal(pf_identity_load(pf_scratch("a.key"), &loaded, &err), PF_REFUSED);
        snprintf(words, sizeof words, "(mode %04o)", modes[i]);
        assert_non_null(strstr(err.text, words));
        assert_non_null(strstr(err.text, ": run chmod 600 /tmp/"));
    }
    assert_int_equal(chmod(pf_scratch("a.key"), 0400), 0);
    assert_int_equal(pf_identity_load(pf_scratch("a.key"), &loaded, &err), PF_OK);
    if (geteuid() == 0) { /* only root can give a file away */
        assert_int_equal(chown(pf_scratch("a.key"), 12345, (gid_t)-1), 0);
        assert_int_equal(pf_identity_load(pf_scratch("a.key"), &loaded, &err), PF_REFUSED);
        assert_non_null(strstr(err.text, "belongs to user 12345"));
    }
    assert_int_equal(pf_identity_load(pf_scratch("none.key"), &loaded, &err), PF_NOT_FOUND);
    assert_int_equal(mkdir(pf_scratch(".d"), 0700), 0);
    assert_int_equal(pf_identity_load(pf_scratch(".d"), &loaded, &err), PF_REFUSED);
    assert_int_equal(rmdir(pf_scratch(".d")), 0);
}

/* Every cut, and a line too many. */
static void damaged_files_are_refused(void **state)
{
    (void)state;
    struct pf_identity made, loaded, untouched;
    struct pf_public_identity public;
    struct pf_error err = {0};
    make("a", &made);
    memset(&loaded, 0xA5, sizeof loaded);
    memcpy(&untouched, &loaded, sizeof loaded);
    for (int secret = 0; secret <= 1; secret++) {
        char text[1024];
        size_t length = 0;
        memcpy(text, pf_scratch_read(secret ? "a.key" : "a.pub", &length), sizeof text);
        for (size_t cut = 0; cut < length; cut++) {
            pf_scratch_write("cut", text, cut, 0600);
            enum pf_status status = secret
                                        ? pf_identity_load(pf_scratch("cut"), &loaded, &err)
                                        : pf_public_identity_load(pf_scratch("cut"), &public, &err);
            assert_int_equal(status, PF_CORRUPT);
            assert_non_null(strstr(err.text, "/cut: "));
        }
        text[length] = '\n';
        pf_scratch_write("cut", text, length + 1, 0600);
        assert_int_equal(secret ? pf_identity_load(pf_scratch("cut"), &loaded, &err)
                                : pf_public_identity_load(pf_scratch("cut"), &public, &err),
                         PF_CORRUPT);
    }
    assert_memory_equal(&loaded, &untouched, sizeof loaded);
}

static void changed_signing_keys_are_noticed(void **state)
{
    (void)state;
    struct pf_identity made, loaded;
    struct pf_error err = {0};
    make("a", &made);
    char text[1024];
    size_t length = 0;
    memcpy(text, pf_scratch_read("a.key", &length), sizeof text);
    size_t start = (size_t)(strstr(text, "\nsign ") + 6 - text);
    for (size_t i = start; i < start + 128; i++) {
        char saved = text[i];
        text[i] = saved == '0' ? '1' : '0';
        pf_scratch_write("bad", text, length, 0600);
        assert_int_equal(pf_identity_load(pf_scratch("bad"), &loaded, &err), PF_CORRUPT);
        assert_non_null(strstr(err.text, "do not match"));
        text[i] = saved;
    }
    text[start] = 'g';
    pf_scratch_write("bad", text, length, 0600);
    assert_int_equal(pf_identity_load(pf_scratch("bad"), &loaded, &err), PF_CORRUPT);
    assert_non_null(strstr(err.text, "line 3: expected 128 hexadecimal digits"));
    /* A public file where a secret one belongs, and the other way round. */
    assert_int_equal(chmod(pf_scratch("a.pub"), 0600), 0);
    assert_int_equal(pf_identity_load(pf_scratch("a.pub"), &loaded, &err), PF_CORRUPT);
    assert_non_null(strstr(err.text, "packfed secret key 1"));
    assert_int_equal(pf_public_identity_load(pf_scratch("a.key"), &loaded.public, &err),
                     PF_CORRUPT);
}

static void keys_of_small_order_are_refused(void **state)
{
    (void)state;
    struct pf_identity made;
    struct pf_public_identity public;
    struct pf_error err = {0};
    make("a", &made);
    char text[1024], zeros[65];
    size_t length = 0;
    memset(zeros, '0', 64);
    memcpy(text, pf_scratch_read("a.pub", &length), sizeof text);
    memcpy(strstr(text, "transport ") + 10, zeros, 64);
    pf_scratch_write("bad", text, length, 0644);
    assert_int_equal(pf_public_identity_load(pf_scratch("bad"), &public, &err), PF_CORRUPT);
    memcpy(text, pf_scratch_read("a.pub", &length), sizeof text);
    zeros[1] = '1'; /* the neutral element: 01 00 … */
    memcpy(strstr(text, "sign ") + 5, zeros, 64);
    pf_scratch_write("bad", text, length, 0644);
    assert_int_equal(pf_public_identity_load(pf_scratch("bad"), &public, &err), PF_CORRUPT);
    assert_non_null(strstr(err.text, "no key pair can have"));
}

static void names_are_checked(void **state)
{
    (void)state;
    static const char *const good[] = {"a", "Alice", "lab-3.site_2", "_x", "0"};
    static const char *const bad[] = {"", ".", "..", "-x", "a b", "a/b", "a\n", "ä", "a\x1b"};
    struct pf_identity identity;
    struct pf_error err = {0};
    for (size_t i = 0; i < PF_ARRAY_LENGTH(good); i++)
        assert_int_equal(pf_identity_generate(good[i], &identity, NULL), PF_OK);
    for (size_t i = 0; i < PF_ARRAY_LENGTH(bad); i++)
        assert_int_equal(pf_identity_generate(bad[i], &identity, &err), PF_INVALID);
    char name[PF_MAX_NAME_BYTES + 1] = {0};
    memset(name, 'x', PF_MAX_NAME_BYTES - 1);
    assert_int_equal(pf_identity_generate(name, &identity, NULL), PF_OK);
    name[PF_MAX_NAME_BYTES - 1] = 'x';
    assert_int_equal(pf_identity_generate(name, &identity, &err), PF_INVALID);
    pf_identity_finish(&identity);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, pf_scratch_setup, pf_scratch_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(saved_identities_are_read_back),
        TEST(finish_wipes),
        TEST(keys_differ_and_work),
        TEST(files_are_never_overwritten),
        TEST(secrets_that_others_can_read_are_refused),
        TEST(damaged_files_are_refused),
        TEST(changed_signing_keys_are_noticed),
        TEST(keys_of_small_order_are_refused),
        TEST(names_are_checked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
