/* Secrets decide no branch and no index: under memcheck, with all secrets undefined (secret.h), the
 * code that touches them runs and nothing is reported.  Run by test-constant-time.sh.
 *
 * It is the compiled code that is checked, of this compiler, these options and the instructions
 * that memcheck knows: for the ring that is SSE2 and AVX2, not AVX-512, which is compiled from the
 * same source.  Instructions whose time depends on their operands are not seen; whoever divides by
 * a secret is not found.
 *
 * Outside is the codec: it clips and rounds updates in floating point and branches on their values.
 * declassify.c has that and all else that is public. */
#include <stdarg.h>
#include <stddef.h>

#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>

#include "common/secagg/ring_kernels.h"
#include "secret.h"
#include "tests/unit/participant/mini_round.h"

#define OK(call) assert_int_equal((call), PF_OK)

static const struct pf_digest context = {{3}}, key_list = {{4}};

struct key_pair {
    uint8_t secret[32], public[32];
};

static void draw_pair(struct key_pair *pair)
{
    randombytes_buf(pair->secret, sizeof pair->secret);
    crypto_scalarmult_curve25519_base(pair->public, pair->secret);
}

static void draw_signer(uint8_t public[32], uint8_t secret[64])
{
    uint8_t seed[crypto_sign_SEEDBYTES];
    randombytes_buf(seed, sizeof seed);
    crypto_sign_seed_keypair(public, secret, seed);
    make_public(public, 32);
    make_public(secret + 32, 32); /* the public key again */
}

/* Compares what may be known once the comparison is all that is left to do. */
static void expect_equal(const void *a, const void *b, size_t n)
{
    assert_true(is_secret(a, n) && is_secret(b, n));
    int different = sodium_memcmp(a, b, n);
    make_public(&different, sizeof different);
    assert_int_equal(different, 0);
}

/* ---- the parts ------------------------------------------------------------------------------- */

static void split_and_combine(const uint32_t *x, size_t n, uint32_t threshold)
{
    struct pf_scalar secret, shares[16], combined;
    struct pf_lagrange *lagrange = NULL;
    pf_scalar_random(&secret);
    assert_true(is_secret(&secret, sizeof secret));
    OK(pf_shamir_split(&secret, threshold, x, n, shares, NULL));
    assert_true(is_secret(shares, n * sizeof *shares));
    OK(pf_lagrange_create(x + n - threshold, threshold, &lagrange, NULL));
    pf_lagrange_combine(lagrange, shares + n - threshold, &combined);
    expect_equal(&secret, &combined, sizeof secret);
    assert_true(pf_scalar_valid(&shares[0]));
    pf_lagrange_destroy(lagrange);
}

static void secrets_are_shared_and_combined(void **state)
{
    (void)state;
    static const uint32_t near[] = {1, 2, 3, 5, 6, 8, 9}, far[] = {70, 5000, 11, 900000, 4};
    split_and_combine(near, PF_ARRAY_LENGTH(near), 4); /* by differences */
    split_and_combine(far, PF_ARRAY_LENGTH(far), 3);   /* by Horner's rule */
    split_and_combine(near, 1, 1);
}

static void keys_are_derived_from_seeds(void **state)
{
    (void)state;
    struct pf_scalar seed;
    struct pf_digest commitment;
    uint8_t secret[32], key[PF_MASK_KEY_BYTES], randomness[PF_RANDOMNESS_BYTES];
    pf_scalar_random(&seed);
    randombytes_buf(randomness, sizeof randomness);
    pf_mask_secret(&seed, secret);
    pf_self_mask_key(&seed, &context, key);
    assert_true(is_secret(secret, sizeof secret) && is_secret(key, sizeof key));
    commitment = pf_commit_self(&context, 5, &seed);
    assert_true(is_secret(&commitment, sizeof commitment));
    commitment = pf_commit_randomness(&context, 5, randomness);
    assert_true(is_secret(&commitment, sizeof commitment));
}

static void keys_are_agreed(void **state)
{
    (void)state;
    static const uint8_t low_order[32] = {0};
    struct key_pair a, b;
    struct pf_share_key one, other;
    uint8_t mask[2][PF_MASK_KEY_BYTES];
    draw_pair(&a);
    draw_pair(&b);
    OK(pf_share_key_derive(a.secret, a.public, b.public, &context, &key_list, &one, NULL));
    OK(pf_share_key_derive(b.secret, b.public, a.public, &context, &key_list, &other, NULL));
    expect_equal(&one, &other, sizeof one);
    OK(pf_pair_mask_key(1, 2, a.secret, a.public, b.public, &context, &key_list, mask[0], NULL));
    OK(pf_pair_mask_key(2, 1, b.secret, b.public, a.public, &context, &key_list, mask[1], NULL));
    expect_equal(mask[0], mask[1], sizeof mask[0]);
    assert_int_equal(
        pf_pair_mask_key(1, 2, a.secret, a.public, low_order, &context, &key_list, mask[0], NULL),
        PF_REFUSED);
}

static void boxes_are_sealed_and_opened(void **state)
{
    (void)state;
    struct pf_share_key key;
    struct pf_share_pair sent, received;
    uint8_t box[PF_SHARE_BOX_BYTES];
    randombytes_buf(&key, sizeof key);
    pf_scalar_random(&sent.self);
    pf_scalar_random(&sent.mask);
    pf_share_seal(&key, 4, 9, &sent, box);
    OK(pf_share_open(&key, 4, 9, box, &received, NULL));
    expect_equal(&sent, &received, sizeof sent);
    assert_int_equal(pf_share_open(&key, 9, 4, box, &received, NULL), PF_REFUSED);
    memset(&sent.mask, 0xff, sizeof sent.mask); /* not in the field */
    make_secret(&sent.mask, sizeof sent.mask);
    pf_share_seal(&key, 4, 9, &sent, box);
    assert_int_equal(pf_share_open(&key, 4, 9, box, &received, NULL), PF_REFUSED);
}

static void adverts_and_consents_are_signed(void **state)
{
    (void)state;
    uint8_t public[32], secret[64], signature[PF_SIGNATURE_BYTES];
    struct pf_advert advert = {.member = 7};
    struct pf_member_set set;
    draw_signer(public, secret);
    assert_true(is_secret(secret, 32));
    pf_advert_sign(&advert, &context, secret);
    assert_true(pf_advert_verify(&advert, &context, public));
    OK(pf_member_set_create(9, &set, NULL));
    pf_member_set_add(&set, 7);
    pf_consent_sign(&context, &key_list, &set, secret, signature);
    assert_true(pf_consent_verify(&context, &key_list, &set, public, signature));
    pf_member_set_finish(&set);
}

/* ---- masks ----------------------------------------------------------------------------------- */

enum { COORDINATES = 5000 }; /* more than a shard, and no whole block */

static void draw_ring(struct pf_ring *ring)
{
    for (size_t i = 0; i < pf_ring_length(ring); i++) {
        int64_t value = (int64_t)i;
        make_secret(&value, sizeof value);
        pf_ring_set(ring, i, value);
    }
}

static void mask_and_pack(unsigned bits)
{
    struct pf_mask_term terms[3] = {{.sign = 1}, {.sign = -1}, {.sign = 1}};
    struct pf_ring *ring = NULL;
    static uint8_t packed[COORDINATES * 8 + PF_RING_BLOCK * 8];
    for (size_t t = 0; t < PF_ARRAY_LENGTH(terms); t++)
        randombytes_buf(terms[t].key, sizeof terms[t].key);
    OK(pf_ring_create(COORDINATES, bits, &ring, NULL));
    draw_ring(ring);
    pf_ring_add_masks(ring, terms, PF_ARRAY_LENGTH(terms), NULL);
    int64_t last = pf_ring_get_signed(ring, COORDINATES - 1);
    assert_true(is_secret(&last, 1));
    pf_ring_pack(ring, packed);
    assert_true(pf_ring_packed_size(COORDINATES, bits) <= sizeof packed);
    make_secret(packed, pf_ring_packed_size(COORDINATES, bits)); /* as a keystream is */
    pf_ring_add_packed(ring, packed);
    pf_ring_destroy(ring);
}

static void vectors_are_masked_and_packed(void **state)
{
    (void)state;
    static const unsigned bits[] = {8, 16, 21, 32, 33, 48, 64};
    for (size_t i = 0; i < PF_ARRAY_LENGTH(bits); i++) mask_and_pack(bits[i]);
}

static void every_kernel_that_runs_here(void **state)
{
    (void)state;
    const struct pf_ring_kernels *tables[3];
    static uint32_t narrow[2 * PF_RING_BLOCK];
    static uint64_t wide[2 * PF_RING_BLOCK];
    static uint8_t packed[2 * PF_RING_BLOCK * 8];
    size_t n = pf_ring_kernels_list(tables, PF_ARRAY_LENGTH(tables));
    for (size_t i = 0; i < n; i++) {
        make_secret(narrow, sizeof narrow);
        make_secret(wide, sizeof wide);
        make_secret(packed, sizeof packed);
        tables[i]->add_narrow(narrow, packed, 2, 21);
        tables[i]->subtract_narrow(narrow, packed, 2, 32);
        tables[i]->pack_narrow(packed, narrow, 2, 21);
        tables[i]->add_wide(wide, packed, 2, 37);
        tables[i]->subtract_wide(wide, packed, 2, 64);
        tables[i]->pack_wide(packed, wide, 2, 37);
        assert_true(is_secret(narrow, sizeof narrow) && is_secret(packed, 2 * 37 * 64));
    }
}

/* ---- whole rounds ---------------------------------------------------------------------------- */

/* The identity's secret key; its second half is the public key. */
static void hide_identity(struct pf_secagg_client_config *config)
{
    make_secret(config->sign_secret, 32);
}

static void expect_drawn_in_secret(const struct pf_secagg_client *client)
{
    assert_true(is_secret(client->channel_secret, sizeof client->channel_secret));
    assert_true(is_secret(client->mask_secret, sizeof client->mask_secret));
    assert_true(is_secret(&client->self_seed, sizeof client->self_seed));
    assert_true(is_secret(&client->mask_seed, sizeof client->mask_seed));
    assert_true(is_secret(client->randomness, sizeof client->randomness));
    assert_true(is_secret(client->config.sign_secret, 32));
}

static void expect_opened_in_secret(const struct pf_secagg_client *client)
{
    for (uint32_t i = 0; i < client->n_neighbours; i++) {
        const struct pf_sc_neighbour *peer = &client->neighbours[i];
        assert_true(is_secret(&peer->channel, sizeof peer->channel));
        if (peer->shared) assert_true(is_secret(&peer->shares, sizeof peer->shares));
    }
}

/* A round to its sum, which is right. */
static void play(struct mini_round *round, bool liar)
{
    for (uint32_t i = 0; i < round->config.n_cohort; i++)
        expect_drawn_in_secret(round->members[i].client);
    mini_to(round, MINI_READY);
    expect_opened_in_secret(round->members[0].client);
    mini_to(round, MINI_UNMASKED);
    struct pf_unmask *given = &round->members[0].unmask;
    for (uint32_t i = 0; i < given->n_shares; i++)
        assert_true(is_secret(&given->shares[i].share, sizeof given->shares[i].share));
    if (liar) given->shares[1].share.bytes[0] ^= 1;
    mini_expect_sum(round);
    mini_finish(round);
}

/* One drops out after its boxes and one after its update; with a liar, a wrong share is found and
 * done without. */
static void play_complete(bool liar)
{
    static struct mini_round round;
    struct mini_config config = {
        .n_members = 9, .n_cohort = 8, .played = MINI_NOBODY, .change = hide_identity};
    mini_init(&round, &config);
    round.members[1].last = MINI_SHARED;
    round.members[2].last = MINI_MASKED;
    play(&round, liar);
}

static void a_round_of_a_complete_graph(void **state)
{
    (void)state;
    play_complete(false);
}

static void a_round_with_a_wrong_share(void **state)
{
    (void)state;
    play_complete(true);
}

static void a_round_of_a_regular_graph(void **state)
{
    (void)state;
    static struct mini_round round;
    struct mini_config config = {.n_members = 20,
                                 .n_cohort = 20,
                                 .regular = true,
                                 .played = MINI_NOBODY,
                                 .change = hide_identity};
    mini_init(&round, &config);
    round.members[1].last = MINI_SHARED;
    play(&round, false);
}

/* Without an argument the tests; with one, the leak of that name. */
int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(secrets_are_shared_and_combined),
        cmocka_unit_test(keys_are_derived_from_seeds),
        cmocka_unit_test(keys_are_agreed),
        cmocka_unit_test(boxes_are_sealed_and_opened),
        cmocka_unit_test(adverts_and_consents_are_signed),
        cmocka_unit_test(vectors_are_masked_and_packed),
        cmocka_unit_test(every_kernel_that_runs_here),
        cmocka_unit_test(a_round_of_a_complete_graph),
        cmocka_unit_test(a_round_with_a_wrong_share),
        cmocka_unit_test(a_round_of_a_regular_graph),
    };
    if (!RUNNING_ON_VALGRIND) {
        fputs("nothing is seen without valgrind: run test-constant-time.sh\n", stderr);
        return 2;
    }
    if (sodium_init() < 0) return 2;
    draw_secrets_only();
    if (argc > 1) return leak(argv[1]) ? 0 : 2;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
