/* Signed words, commitments, keys and boxes: each is bound to every input it should be. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <sodium.h>
#include <string.h>

#include "common/secagg/protocol.h"

static struct pf_digest digest_of(uint8_t fill)
{
    struct pf_digest digest;
    memset(digest.bytes, fill, sizeof digest.bytes);
    return digest;
}

static struct pf_member_set set_of(uint32_t n_members, const uint32_t *members, size_t n)
{
    struct pf_member_set set;
    assert_int_equal(pf_member_set_create(n_members, &set, NULL), PF_OK);
    for (size_t i = 0; i < n; i++) pf_member_set_add(&set, members[i]);
    return set;
}

/* ---- member sets ----------------------------------------------------------------------------- */

static void sets_hold_what_was_added(void **state)
{
    (void)state;
    struct pf_member_set set = set_of(19, (const uint32_t[]){0, 7, 8, 18}, 4);
    for (uint32_t i = 0; i < 40; i++)
        assert_int_equal(pf_member_set_has(&set, i), i == 0 || i == 7 || i == 8 || i == 18);
    assert_int_equal(pf_member_set_count(&set), 4);
    pf_member_set_add(&set, 8);
    assert_int_equal(pf_member_set_count(&set), 4);
    pf_member_set_remove(&set, 8);
    pf_member_set_remove(&set, 3);
    assert_false(pf_member_set_has(&set, 8));
    assert_int_equal(pf_member_set_count(&set), 3);
    assert_int_equal(set.bits[0], 0x81); /* bit i%8 of byte i/8, as on the wire */
    assert_int_equal(set.bits[1], 0);
    assert_int_equal(set.bits[2], 4);
    pf_member_set_finish(&set);
    assert_null(set.bits);
    pf_member_set_finish(&set);
}

static void sets_compare_by_members_and_size(void **state)
{
    (void)state;
    struct pf_member_set a = set_of(12, (const uint32_t[]){1, 11}, 2), b, empty = {0};
    struct pf_member_set wider = set_of(13, (const uint32_t[]){1, 11}, 2);
    assert_int_equal(pf_member_set_copy(&a, &b, NULL), PF_OK);
    assert_true(pf_member_set_equal(&a, &b));
    assert_true(pf_member_set_within(&a, &b));
    assert_false(pf_member_set_equal(&a, &wider));
    pf_member_set_add(&b, 5);
    assert_false(pf_member_set_equal(&a, &b));
    assert_true(pf_member_set_within(&a, &b));
    assert_false(pf_member_set_within(&b, &a));
    assert_true(pf_member_set_within(&empty, &a));
    assert_true(pf_member_set_equal(&empty, &empty));
    assert_int_equal(pf_member_set_count(&empty), 0);
    pf_member_set_finish(&a);
    pf_member_set_finish(&b);
    pf_member_set_finish(&wider);
}

static void set_digests_tell_sets_apart(void **state)
{
    (void)state;
    struct pf_member_set a = set_of(12, (const uint32_t[]){1, 11}, 2);
    struct pf_member_set b = set_of(12, (const uint32_t[]){1, 10}, 2);
    struct pf_member_set wider = set_of(13, (const uint32_t[]){1, 11}, 2);
    struct pf_digest of_a = pf_member_set_digest(&a), of_b = pf_member_set_digest(&b);
    struct pf_digest of_wider = pf_member_set_digest(&wider);
    assert_false(pf_digest_equal(&of_a, &of_b));
    assert_false(pf_digest_equal(&of_a, &of_wider));
    of_b = pf_member_set_digest(&a);
    assert_true(pf_digest_equal(&of_a, &of_b));
    pf_member_set_finish(&a);
    pf_member_set_finish(&b);
    pf_member_set_finish(&wider);
}

/* ---- adverts and commitments ----------------------------------------------------------------- */

static void adverts_are_bound_to_context_and_every_field(void **state)
{
    (void)state;
    uint8_t public[32], secret[64], other[32], other_secret[64];
    crypto_sign_keypair(public, secret);
    crypto_sign_keypair(other, other_secret);
    struct pf_digest context = digest_of(1), another = digest_of(2);
    struct pf_advert advert = {.member = 3};
    randombytes_buf(advert.channel_key, 32);
    randombytes_buf(advert.mask_key, 32);
    pf_advert_sign(&advert, &context, secret);
    assert_true(pf_advert_verify(&advert, &context, public));
    assert_false(pf_advert_verify(&advert, &another, public));
    assert_false(pf_advert_verify(&advert, &context, other));
    uint8_t *const fields[] = {(uint8_t *)&advert.member,
                               advert.channel_key,
                               advert.mask_key,
                               advert.self_commitment.bytes,
                               advert.randomness_commitment.bytes,
                               advert.signature};
    for (size_t i = 0; i < PF_ARRAY_LENGTH(fields); i++) {
        fields[i][0] ^= 1;
        assert_false(pf_advert_verify(&advert, &context, public));
        fields[i][0] ^= 1;
    }
    assert_true(pf_advert_verify(&advert, &context, public));
}

static void signatures_of_one_kind_are_none_of_another(void **state)
{
    (void)state;
    uint8_t public[32], secret[64], signature[PF_SIGNATURE_BYTES];
    crypto_sign_keypair(public, secret);
    struct pf_digest context = digest_of(1), list = digest_of(2);
    struct pf_member_set set = set_of(4, (const uint32_t[]){0}, 1);
    struct pf_advert advert = {.member = 0};
    pf_consent_sign(&context, &list, &set, secret, signature);
    memcpy(advert.signature, signature, sizeof signature);
    assert_false(pf_advert_verify(&advert, &context, public));
    pf_advert_sign(&advert, &context, secret);
    assert_false(pf_consent_verify(&context, &list, &set, public, advert.signature));
    pf_member_set_finish(&set);
}

static void commitments_are_bound_to_their_inputs(void **state)
{
    (void)state;
    struct pf_digest context = digest_of(1), another = digest_of(2);
    struct pf_scalar seed;
    uint8_t randomness[PF_RANDOMNESS_BYTES] = {9};
    pf_scalar_random(&seed);
    struct pf_digest a = pf_commit_self(&context, 1, &seed);
    struct pf_digest r = pf_commit_randomness(&context, 1, randomness);
    struct pf_digest again = pf_commit_self(&context, 1, &seed);
    assert_true(pf_digest_equal(&a, &again));
    struct pf_digest others[] = {
        pf_commit_self(&another, 1, &seed),
        pf_commit_self(&context, 2, &seed),
        pf_commit_randomness(&another, 1, randomness),
        pf_commit_randomness(&context, 2, randomness),
    };
    seed.bytes[0] ^= 1;
    randomness[15] ^= 1;
    struct pf_digest changed = pf_commit_self(&context, 1, &seed);
    struct pf_digest changed_r = pf_commit_randomness(&context, 1, randomness);
    for (size_t i = 0; i < PF_ARRAY_LENGTH(others); i++) {
        assert_false(pf_digest_equal(&others[i], &a));
        assert_false(pf_digest_equal(&others[i], &r));
    }
    assert_false(pf_digest_equal(&changed, &a));
    assert_false(pf_digest_equal(&changed_r, &r));
}

static void cohort_digest_is_bound_to_all_parts(void **state)
{
    (void)state;
    struct pf_digest context = digest_of(1), another = digest_of(2);
    struct pf_digest commitments[2] = {digest_of(3), digest_of(4)};
    struct pf_member_set set = set_of(9, (const uint32_t[]){2, 8}, 2);
    struct pf_member_set other = set_of(9, (const uint32_t[]){2, 7}, 2);
    struct pf_secagg_parameters p = {PF_GRAPH_HARARY, 4, 3}, q;
    struct pf_digest base = pf_cohort_digest(&context, &set, &p, commitments);
    struct pf_digest d[8];
    size_t n = 0;
    d[n++] = pf_cohort_digest(&another, &set, &p, commitments);
    d[n++] = pf_cohort_digest(&context, &other, &p, commitments);
    d[n++] = pf_cohort_digest(&context, &set, &p, NULL);
    q = p, q.graph = PF_GRAPH_COMPLETE;
    d[n++] = pf_cohort_digest(&context, &set, &q, commitments);
    q = p, q.degree = 6;
    d[n++] = pf_cohort_digest(&context, &set, &q, commitments);
    q = p, q.threshold = 2;
    d[n++] = pf_cohort_digest(&context, &set, &q, commitments);
    commitments[1] = digest_of(5);
    d[n++] = pf_cohort_digest(&context, &set, &p, commitments);
    for (size_t i = 0; i < n; i++) assert_false(pf_digest_equal(&d[i], &base));
    pf_member_set_finish(&set);
    pf_member_set_finish(&other);
}

static void key_list_digest_covers_everybody(void **state)
{
    (void)state;
    struct pf_digest cohort = digest_of(1), another = digest_of(2);
    uint8_t randomness[2][PF_RANDOMNESS_BYTES] = {{1}, {2}};
    struct pf_advert adverts[2] = {{.member = 1}, {.member = 4}};
    const uint8_t(*r)[PF_RANDOMNESS_BYTES] = (const uint8_t(*)[PF_RANDOMNESS_BYTES])randomness;
    struct pf_digest of_r = pf_key_list_digest(&cohort, 2, r, NULL);
    struct pf_digest of_a = pf_key_list_digest(&cohort, 2, NULL, adverts);
    assert_false(pf_digest_equal(&of_r, &of_a));
    struct pf_digest changed = pf_key_list_digest(&another, 2, r, NULL);
    assert_false(pf_digest_equal(&changed, &of_r));
    changed = pf_key_list_digest(&cohort, 1, r, NULL);
    assert_false(pf_digest_equal(&changed, &of_r));
    randomness[1][15] = 1;
    changed = pf_key_list_digest(&cohort, 2, r, NULL);
    assert_false(pf_digest_equal(&changed, &of_r));
    adverts[1].mask_key[31] = 1;
    changed = pf_key_list_digest(&cohort, 2, NULL, adverts);
    assert_false(pf_digest_equal(&changed, &of_a));
}

/* ---- keys and boxes -------------------------------------------------------------------------- */

struct key_pair {
    uint8_t secret[32], public[32];
};

static struct key_pair make_pair(void)
{
    struct key_pair pair;
    crypto_box_keypair(pair.public, pair.secret);
    return pair;
}

static void mask_keys_agree_on_both_sides_and_nowhere_else(void **state)
{
    (void)state;
    struct key_pair a = make_pair(), b = make_pair(), c = make_pair();
    struct pf_digest context = digest_of(1), list = digest_of(2), another = digest_of(3);
    uint8_t ab[32], ba[32], other[32];
    assert_int_equal(
        pf_pair_mask_key(1, 2, a.secret, a.public, b.public, &context, &list, ab, NULL), PF_OK);
    assert_int_equal(
        pf_pair_mask_key(2, 1, b.secret, b.public, a.public, &context, &list, ba, NULL), PF_OK);
    assert_memory_equal(ab, ba, 32);
    assert_int_equal(
        pf_pair_mask_key(1, 2, a.secret, a.public, c.public, &context, &list, other, NULL), PF_OK);
    assert_memory_not_equal(ab, other, 32);
    assert_int_equal(
        pf_pair_mask_key(1, 2, a.secret, a.public, b.public, &another, &list, other, NULL), PF_OK);
    assert_memory_not_equal(ab, other, 32);
    assert_int_equal(
        pf_pair_mask_key(1, 2, a.secret, a.public, b.public, &context, &another, other, NULL),
        PF_OK);
    assert_memory_not_equal(ab, other, 32);
    /* What the two agree on, known to nobody else: another secret, all that is public as it was. */
    assert_int_equal(
        pf_pair_mask_key(1, 2, c.secret, a.public, b.public, &context, &list, other, NULL), PF_OK);
    assert_memory_not_equal(ab, other, 32);
    /* A third member with the second's key. */
    assert_int_equal(
        pf_pair_mask_key(1, 3, a.secret, a.public, b.public, &context, &list, other, NULL), PF_OK);
    assert_memory_not_equal(ab, other, 32);
    struct pf_share_key share_key; /* the same keys for another purpose */
    assert_int_equal(
        pf_share_key_derive(a.secret, a.public, b.public, &context, &list, &share_key, NULL),
        PF_OK);
    assert_memory_not_equal(ab, share_key.bytes, 32);
}

static void keys_without_a_secret_are_refused(void **state)
{
    (void)state;
    struct key_pair a = make_pair();
    struct pf_digest context = digest_of(1), list = digest_of(2);
    uint8_t key[32], low_order[2][32] = {{0}, {1}};
    struct pf_share_key share_key;
    struct pf_error err = {0};
    assert_true(pf_public_key_serves(a.public));
    for (size_t i = 0; i < 2; i++) {
        assert_false(pf_public_key_serves(low_order[i]));
        assert_int_equal(
            pf_pair_mask_key(1, 2, a.secret, a.public, low_order[i], &context, &list, key, &err),
            PF_REFUSED);
        assert_non_null(strstr(err.text, "low order"));
        assert_int_equal(pf_share_key_derive(a.secret, a.public, low_order[i], &context, &list,
                                             &share_key, NULL),
                         PF_REFUSED);
    }
}

static void seeds_give_different_keys_for_different_ends(void **state)
{
    (void)state;
    struct pf_digest context = digest_of(1), another = digest_of(2);
    struct pf_scalar seed;
    uint8_t secret[32], key[32], other[32];
    pf_scalar_random(&seed);
    pf_mask_secret(&seed, secret);
    pf_self_mask_key(&seed, &context, key);
    pf_self_mask_key(&seed, &another, other);
    struct pf_scalar another_seed = seed;
    uint8_t of_another[32];
    another_seed.bytes[31] ^= 1;
    pf_self_mask_key(&another_seed, &context, of_another);
    assert_memory_not_equal(key, of_another, 32);
    struct pf_digest commitment = pf_commit_self(&context, 0, &seed);
    assert_memory_not_equal(key, other, 32); /* no mask serves two rounds */
    assert_memory_not_equal(key, secret, 32);
    assert_memory_not_equal(key, commitment.bytes, 32);
    assert_memory_not_equal(secret, seed.bytes, 32);
    seed.bytes[0] ^= 1;
    pf_mask_secret(&seed, other);
    assert_memory_not_equal(secret, other, 32);
}

static struct pf_share_key share_key_of(const struct key_pair *own, const struct key_pair *peer,
                                        uint8_t context, uint8_t list)
{
    struct pf_digest c = digest_of(context), l = digest_of(list);
    struct pf_share_key key;
    assert_int_equal(
        pf_share_key_derive(own->secret, own->public, peer->public, &c, &l, &key, NULL), PF_OK);
    return key;
}

/* tests/vectors/secagg_keys.py */
static void known_answers(void **state)
{
    (void)state;
    static const char *const known[] = {
        "b59c54c1c99f7cac31b1536edd823e4ace027c14cfdeea57faee712092415293",
        "5f359cc3d37096918d60b64e15bface56ca1f55889a29a2998180c3fb5d1b69c",
        "aa866fac73072b133b9524436aa0c1351b9e67a71b61f11e307611589cd46b37",
        "836ba6bc85c5a8af2e7b43cb668755abbe3063b7267101daad9e203a16f970f7"};
    struct pf_digest context = digest_of(1), list = digest_of(2);
    struct pf_scalar seed = {{0}};
    struct key_pair one, two;
    struct pf_share_key share_key;
    uint8_t keys[4][32];
    memset(seed.bytes, 7, 31);
    for (uint8_t i = 0; i < 32; i++) {
        one.secret[i] = i;
        two.secret[i] = (uint8_t)(100 + i);
    }
    crypto_scalarmult_curve25519_base(one.public, one.secret);
    crypto_scalarmult_curve25519_base(two.public, two.secret);
    pf_mask_secret(&seed, keys[0]);
    pf_self_mask_key(&seed, &context, keys[1]);
    assert_int_equal(
        pf_pair_mask_key(9, 3, two.secret, two.public, one.public, &context, &list, keys[2], NULL),
        PF_OK);
    assert_int_equal(
        pf_share_key_derive(one.secret, one.public, two.public, &context, &list, &share_key, NULL),
        PF_OK);
    memcpy(keys[3], share_key.bytes, 32);
    for (size_t i = 0; i < 4; i++) {
        char hex[65];
        sodium_bin2hex(hex, sizeof hex, keys[i], 32);
        assert_string_equal(hex, known[i]);
    }
}

static void boxes_open_where_they_belong_and_nowhere_else(void **state)
{
    (void)state;
    struct key_pair a = make_pair(), b = make_pair(), c = make_pair();
    struct pf_share_key ab = share_key_of(&a, &b, 1, 2), ba = share_key_of(&b, &a, 1, 2);
    /* The last: all that is public as it was, without either's secret. */
    struct key_pair guess = b;
    memcpy(guess.secret, c.secret, sizeof guess.secret);
    struct pf_share_key wrong[] = {share_key_of(&b, &a, 9, 2), share_key_of(&b, &a, 1, 9),
                                   share_key_of(&c, &a, 1, 2), share_key_of(&guess, &a, 1, 2)};
    struct pf_share_pair pair, opened = {0};
    uint8_t box[PF_SHARE_BOX_BYTES], back[PF_SHARE_BOX_BYTES];
    pf_scalar_random(&pair.self);
    pf_scalar_random(&pair.mask);
    pf_share_seal(&ab, 5, 7, &pair, box);
    assert_int_equal(pf_share_open(&ba, 5, 7, box, &opened, NULL), PF_OK);
    assert_memory_equal(&opened, &pair, sizeof pair);

    const struct pf_share_pair before = opened;
    struct pf_error err = {0};
    for (size_t i = 0; i < PF_ARRAY_LENGTH(wrong); i++)
        assert_int_equal(pf_share_open(&wrong[i], 5, 7, box, &opened, NULL), PF_REFUSED);
    assert_int_equal(pf_share_open(&ba, 7, 5, box, &opened, &err), PF_REFUSED); /* reflected */
    assert_non_null(strstr(err.text, "member 7 to member 5"));
    assert_int_equal(pf_share_open(&ba, 5, 8, box, &opened, NULL), PF_REFUSED);
    assert_int_equal(pf_share_open(&ba, 6, 7, box, &opened, NULL), PF_REFUSED);
    for (size_t i = 0; i < sizeof box; i++) {
        box[i] ^= 0x10;
        assert_int_equal(pf_share_open(&ba, 5, 7, box, &opened, NULL), PF_REFUSED);
        box[i] ^= 0x10;
    }
    assert_memory_equal(&opened, &before, sizeof opened);

    /* The two directions have keystreams of their own: the nonce is zero. */
    pf_share_seal(&ba, 7, 5, &pair, back);
    assert_memory_not_equal(box, back, 64);
}

static void boxes_with_no_scalars_are_refused(void **state)
{
    (void)state;
    struct key_pair a = make_pair(), b = make_pair();
    struct pf_share_key ab = share_key_of(&a, &b, 1, 2);
    struct pf_share_pair pair, opened;
    struct pf_error err = {0};
    uint8_t box[PF_SHARE_BOX_BYTES];
    for (int which = 0; which < 2; which++) {
        pf_scalar_random(&pair.self);
        pf_scalar_random(&pair.mask);
        memset(which == 0 ? pair.self.bytes : pair.mask.bytes, 0xff, PF_SCALAR_BYTES);
        pf_share_seal(&ab, 5, 7, &pair, box);
        assert_int_equal(pf_share_open(&ab, 5, 7, box, &opened, &err), PF_REFUSED);
        assert_non_null(strstr(err.text, "member 5 sealed no valid shares"));
    }
}

static void consents_are_bound_to_everything(void **state)
{
    (void)state;
    uint8_t public[32], secret[64], signature[PF_SIGNATURE_BYTES];
    crypto_sign_keypair(public, secret);
    struct pf_digest context = digest_of(1), list = digest_of(2), other = digest_of(3);
    struct pf_member_set set = set_of(10, (const uint32_t[]){0, 9}, 2);
    pf_consent_sign(&context, &list, &set, secret, signature);
    assert_true(pf_consent_verify(&context, &list, &set, public, signature));
    assert_false(pf_consent_verify(&other, &list, &set, public, signature));
    assert_false(pf_consent_verify(&context, &other, &set, public, signature));
    pf_member_set_add(&set, 4);
    assert_false(pf_consent_verify(&context, &list, &set, public, signature));
    pf_member_set_remove(&set, 4);
    signature[0] ^= 1;
    assert_false(pf_consent_verify(&context, &list, &set, public, signature));
    pf_member_set_finish(&set);
}

int main(void)
{
    if (sodium_init() < 0) return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sets_hold_what_was_added),
        cmocka_unit_test(sets_compare_by_members_and_size),
        cmocka_unit_test(set_digests_tell_sets_apart),
        cmocka_unit_test(adverts_are_bound_to_context_and_every_field),
        cmocka_unit_test(signatures_of_one_kind_are_none_of_another),
        cmocka_unit_test(commitments_are_bound_to_their_inputs),
        cmocka_unit_test(cohort_digest_is_bound_to_all_parts),
        cmocka_unit_test(key_list_digest_covers_everybody),
        cmocka_unit_test(mask_keys_agree_on_both_sides_and_nowhere_else),
        cmocka_unit_test(keys_without_a_secret_are_refused),
        cmocka_unit_test(seeds_give_different_keys_for_different_ends),
        cmocka_unit_test(known_answers),
        cmocka_unit_test(boxes_open_where_they_belong_and_nowhere_else),
        cmocka_unit_test(boxes_with_no_scalars_are_refused),
        cmocka_unit_test(consents_are_bound_to_everything),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
