/* The roster: only what the pinned authority signed, exactly as it signed it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/wire/roster.h"
#include "scratch.h"

#define N_MEMBERS 4

static struct pf_identity authority, coordinator;
static struct pf_public_identity members[N_MEMBERS];

static struct pf_public_identity member(const char *name)
{
    struct pf_identity identity;
    assert_int_equal(pf_identity_generate(name, &identity, NULL), PF_OK);
    struct pf_public_identity public = identity.public;
    pf_identity_finish(&identity);
    return public;
}

static int setup(void **state)
{
    static const char *const names[N_MEMBERS] = {"dave", "alice", "carol", "bob"};
    assert_int_equal(pf_identity_generate("authority", &authority, NULL), PF_OK);
    assert_int_equal(pf_identity_generate("coordinator", &coordinator, NULL), PF_OK);
    for (size_t i = 0; i < N_MEMBERS; i++) members[i] = member(names[i]);
    return pf_scratch_setup(state);
}

static struct pf_roster *create(void)
{
    struct pf_roster *roster = NULL;
    struct pf_error err = {0};
    if (pf_roster_create("trial", 3, &coordinator.public, members, N_MEMBERS, &roster, &err) !=
        PF_OK)
        fail_msg("%s", err.text);
    return roster;
}

static void save(void)
{
    struct pf_roster *roster = create();
    assert_int_equal(pf_roster_save(roster, &authority, pf_scratch("r.pf"), NULL), PF_OK);
    pf_roster_destroy(roster);
}

static void a_saved_roster_is_read_back_sorted(void **state)
{
    (void)state;
    save();
    struct pf_roster *made = create(), *loaded = NULL;
    struct pf_error err = {0};
    if (pf_roster_load(pf_scratch("r.pf"), &authority.public, &loaded, &err) != PF_OK)
        fail_msg("%s", err.text);
    assert_string_equal(loaded->federation, "trial");
    assert_int_equal(loaded->serial, 3);
    assert_memory_equal(&loaded->coordinator, &coordinator.public, sizeof coordinator.public);
    assert_int_equal(loaded->n_members, N_MEMBERS);
    static const size_t order[N_MEMBERS] = {1, 3, 2, 0};
    for (size_t i = 0; i < N_MEMBERS; i++) {
        const struct pf_public_identity *expected = &members[order[i]];
        assert_memory_equal(&loaded->members[i], expected, sizeof *expected);
        assert_int_equal(pf_roster_find(loaded, expected->transport), i);
    }
    assert_int_equal(pf_roster_find(loaded, coordinator.public.transport), SIZE_MAX);
    assert_int_equal(pf_roster_find(loaded, members[0].sign), SIZE_MAX);
    assert_memory_equal(loaded->hash, made->hash, sizeof made->hash);
    pf_roster_destroy(made);
    pf_roster_destroy(loaded);
}

static void another_authority_is_refused_by_name(void **state)
{
    (void)state;
    struct pf_public_identity other = member("other");
    struct pf_roster *loaded = NULL;
    struct pf_error err = {0};
    char expected[9], actual[9], words[80];
    save();
    assert_int_equal(pf_roster_load(pf_scratch("r.pf"), &other, &loaded, &err), PF_REFUSED);
    sodium_bin2hex(actual, sizeof actual, authority.public.sign, 4);
    sodium_bin2hex(expected, sizeof expected, other.sign, 4);
    snprintf(words, sizeof words, "/r.pf: signed by %s…, expected %s… (--authority)", actual,
             expected);
    assert_non_null(strstr(err.text, words));
    assert_null(loaded);
    uint8_t signer[32];
    assert_int_equal(pf_roster_peek(pf_scratch("r.pf"), signer, &loaded, &err), PF_OK);
    assert_memory_equal(signer, authority.public.sign, 32);
    pf_roster_destroy(loaded);
}

/* The coordinator writes itself a roster and claims that the authority signed it. */
static void a_forged_signature_is_refused(void **state)
{
    (void)state;
    struct pf_roster *roster = create(), *loaded = NULL;
    struct pf_identity forger = coordinator;
    struct pf_error err = {0};
    memcpy(forger.public.sign, authority.public.sign, 32);
    assert_int_equal(pf_roster_save(roster, &forger, pf_scratch("r.pf"), NULL), PF_OK);
    assert_int_equal(pf_roster_load(pf_scratch("r.pf"), &authority.public, &loaded, &err),
                     PF_CORRUPT);
    assert_non_null(strstr(err.text, "changed after it was signed"));
    uint8_t signer[32];
    assert_int_equal(pf_roster_peek(pf_scratch("r.pf"), signer, &loaded, &err), PF_CORRUPT);
    pf_roster_destroy(roster);
}

static void every_cut_and_every_changed_byte_is_refused(void **state)
{
    (void)state;
    save();
    struct pf_roster *loaded = NULL;
    struct pf_error err = {0};
    size_t length = 0;
    char *original = pf_scratch_read("r.pf", &length), *text = malloc(length + 1);
    memcpy(text, original, length);
    for (size_t cut = 0; cut < length; cut++) {
        pf_scratch_write("bad", text, cut, 0644);
        assert_int_equal(pf_roster_load(pf_scratch("bad"), &authority.public, &loaded, &err),
                         PF_CORRUPT);
    }
    for (size_t i = 0; i < length; i++) {
        text[i] ^= 1;
        pf_scratch_write("bad", text, length, 0644);
        enum pf_status status = pf_roster_load(pf_scratch("bad"), &authority.public, &loaded, &err);
        assert_true(status == PF_CORRUPT || status == PF_REFUSED);
        text[i] ^= 1;
    }
    text[length] = '\n';
    pf_scratch_write("bad", text, length + 1, 0644);
    assert_int_equal(pf_roster_load(pf_scratch("bad"), &authority.public, &loaded, &err),
                     PF_CORRUPT);
    assert_null(loaded);
    free(text);
}

/* Signs text as the authority does, whatever it says. */
static void write_signed(const char *content)
{
    uint8_t signature[crypto_sign_BYTES];
    char key[65], hex[129], text[8192];
    crypto_sign_detached(signature, NULL, (const uint8_t *)content, strlen(content),
                         authority.sign_secret);
    sodium_bin2hex(key, sizeof key, authority.public.sign, 32);
    sodium_bin2hex(hex, sizeof hex, signature, sizeof signature);
    int n = snprintf(text, sizeof text, "%sauthority %s\nsignature %s\n", content, key, hex);
    pf_scratch_write("s.pf", text, (size_t)n, 0644);
}

static void line(char *out, size_t size, const char *word, const struct pf_public_identity *who)
{
    char sign[65], transport[65];
    sodium_bin2hex(sign, sizeof sign, who->sign, 32);
    sodium_bin2hex(transport, sizeof transport, who->transport, 32);
    snprintf(out, size, "%s %s %s %s\n", word, who->name, sign, transport);
}

static void expect_signed(const char *content, enum pf_status expected, const char *words)
{
    struct pf_roster *loaded = NULL;
    struct pf_error err = {0};
    write_signed(content);
    enum pf_status status = pf_roster_load(pf_scratch("s.pf"), &authority.public, &loaded, &err);
    if (status != expected || strstr(err.text, words) == NULL)
        fail_msg("%s: '%s' lacks '%s'", pf_status_name(status), err.text, words);
    pf_roster_destroy(loaded);
}

static void signed_nonsense_is_refused(void **state)
{
    (void)state;
    char c[256], a[256], b[256], text[2048];
    line(c, sizeof c, "coordinator", &coordinator.public);
    line(a, sizeof a, "member", &members[1]); /* alice */
    line(b, sizeof b, "member", &members[3]); /* bob */
#define HEAD "packfed roster 1\nfederation trial\nserial 3\n"
    snprintf(text, sizeof text, HEAD "%s%s%s", c, a, b);
    expect_signed(text, PF_OK, "");
    snprintf(text, sizeof text, HEAD "%s%s%s", c, b, a);
    expect_signed(text, PF_CORRUPT, "not sorted");
    snprintf(text, sizeof text, HEAD "%s%s%s", c, a, a);
    expect_signed(text, PF_CORRUPT, "the name alice is there twice");
    snprintf(text, sizeof text, HEAD "%s", c);
    expect_signed(text, PF_CORRUPT, "0 members");
    snprintf(text, sizeof text, HEAD "%s%s%s", a, c, b);
    expect_signed(text, PF_CORRUPT, "line 4: expected 'coordinator'");
    snprintf(text, sizeof text, HEAD "%s%sextra\n", c, a);
    expect_signed(text, PF_CORRUPT, "line 6: expected 'member'");
    snprintf(text, sizeof text, "packfed roster 1\nfederation trial\nserial 03\n%s%s", c, a);
    expect_signed(text, PF_CORRUPT, "line 3");
    snprintf(text, sizeof text,
             "packfed roster 1\nfederation trial\nserial 18446744073709551616\n%s%s", c, a);
    expect_signed(text, PF_CORRUPT, "line 3");
    snprintf(text, sizeof text, "packfed roster 1\nfederation a b\nserial 3\n%s%s", c, a);
    expect_signed(text, PF_CORRUPT, "line 2: too long");
    snprintf(text, sizeof text, "packfed roster 2\nfederation trial\nserial 3\n%s%s", c, a);
    expect_signed(text, PF_CORRUPT, "not a packfed roster");
    *strchr(a + 7, ' ') = '\n';
    snprintf(text, sizeof text, HEAD "%s%s", c, a);
    expect_signed(text, PF_CORRUPT, "line 5: too short");
}

static void expect_create(const struct pf_public_identity *list, size_t n, const char *words)
{
    struct pf_roster *roster = NULL;
    struct pf_error err = {0};
    assert_int_equal(pf_roster_create("trial", 1, &coordinator.public, list, n, &roster, &err),
                     PF_INVALID);
    if (strstr(err.text, words) == NULL) fail_msg("'%s' lacks '%s'", err.text, words);
    assert_null(roster);
}

static void names_and_keys_are_unique(void **state)
{
    (void)state;
    struct pf_public_identity list[2] = {members[0], members[1]};
    expect_create(list, 0, "0 members");
    expect_create(list, PF_MAX_MEMBERS + 1, "10001 members");
    snprintf(list[1].name, sizeof list[1].name, "dave");
    expect_create(list, 2, "the name dave is there twice");
    list[1] = members[1];
    memcpy(list[1].sign, members[0].sign, 32);
    expect_create(list, 2, "have the same key");
    list[1] = members[1];
    memcpy(list[1].transport, members[0].transport, 32);
    expect_create(list, 2, "have the same key");
    list[1] = members[1];
    memcpy(list[1].transport, coordinator.public.transport, 32);
    expect_create(list, 2, "have the same key");
    list[1] = coordinator.public;
    expect_create(list, 2, "the name coordinator is there twice");
    list[1] = members[1];
    list[1].name[0] = '/';
    expect_create(list, 2, "is not a name");
}

static void the_largest_roster_can_be_read(void **state)
{
    (void)state;
    struct pf_public_identity *many = calloc(PF_MAX_MEMBERS, sizeof *many);
    for (size_t i = 0; i < PF_MAX_MEMBERS; i++) {
        snprintf(many[i].name, sizeof many[i].name,
                 "participant-with-a-rather-long-name-for-one-so-small-%09zu", i);
        randombytes_buf(many[i].sign, 32);
        randombytes_buf(many[i].transport, 32);
    }
    struct pf_roster *roster = NULL, *loaded = NULL;
    struct pf_error err = {0};
    assert_int_equal(pf_roster_create("trial", UINT64_MAX, &coordinator.public, many,
                                      PF_MAX_MEMBERS, &roster, &err),
                     PF_OK);
    assert_int_equal(pf_roster_save(roster, &authority, pf_scratch("r.pf"), &err), PF_OK);
    if (pf_roster_load(pf_scratch("r.pf"), &authority.public, &loaded, &err) != PF_OK)
        fail_msg("%s", err.text);
    assert_int_equal(loaded->n_members, PF_MAX_MEMBERS);
    assert_true(loaded->serial == UINT64_MAX);
    pf_roster_destroy(roster);
    pf_roster_destroy(loaded);
    free(many);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, pf_scratch_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_saved_roster_is_read_back_sorted), TEST(another_authority_is_refused_by_name),
        TEST(a_forged_signature_is_refused),      TEST(every_cut_and_every_changed_byte_is_refused),
        TEST(signed_nonsense_is_refused),         TEST(names_and_keys_are_unique),
        TEST(the_largest_roster_can_be_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
