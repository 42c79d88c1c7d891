/* Unmasking: masked sums made by hand from protocol.h come back as the plain integer sums, a wrong
 * share is found where spare shares exist, and refused by name where not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <sodium.h>
#include <stdio.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/base/random.h"
#include "common/secagg/unmask.h"

#define MAX_PARTIES 80u
#define LENGTH 700u /* more than a block */
#define BITS 22u

struct party {
    struct pf_advert advert;
    struct pf_scalar self_seed, mask_seed;
    uint8_t mask_secret[32];
    struct pf_scalar self_shares[MAX_PARTIES], mask_shares[MAX_PARTIES]; /* by holder */
};

/* n parties with the roster indices 3·i + 1, all neighbours of each other unless `sparse`, where
 * i and j mask with each other if i + j is even.  All hold shares of all. */
struct world {
    uint32_t n, threshold;
    bool sparse;
    struct pf_digest context, key_list;
    struct party *parties;
    int64_t plain[LENGTH]; /* Σ x of the survivors */
};

static uint32_t member_of(uint32_t i)
{
    return 3 * i + 1;
}

static bool are_neighbours(const struct world *world, uint32_t i, uint32_t j)
{
    return i != j && (!world->sparse || (i + j) % 2 == 0);
}

static int64_t value_of(uint32_t i, size_t coordinate)
{
    struct pf_random random;
    pf_random_init(&random, i, "test values", coordinate);
    return (int64_t)pf_random_below(&random, 20001) - 10000;
}

static void make_party(const struct world *world, uint32_t i)
{
    struct party *party = &world->parties[i];
    uint32_t x[MAX_PARTIES];
    for (uint32_t j = 0; j < world->n; j++) x[j] = member_of(j) + 1;
    pf_scalar_random(&party->self_seed);
    pf_scalar_random(&party->mask_seed);
    pf_mask_secret(&party->mask_seed, party->mask_secret);
    party->advert.member = member_of(i);
    crypto_scalarmult_curve25519_base(party->advert.mask_key, party->mask_secret);
    party->advert.self_commitment =
        pf_commit_self(&world->context, member_of(i), &party->self_seed);
    assert_int_equal(
        pf_shamir_split(&party->self_seed, world->threshold, x, world->n, party->self_shares, NULL),
        PF_OK);
    assert_int_equal(
        pf_shamir_split(&party->mask_seed, world->threshold, x, world->n, party->mask_shares, NULL),
        PF_OK);
}

static void make_world(struct world *world, uint32_t n, uint32_t threshold, bool sparse)
{
    *world = (struct world){.n = n, .threshold = threshold, .sparse = sparse};
    memset(world->context.bytes, 1, sizeof world->context.bytes);
    memset(world->key_list.bytes, 2, sizeof world->key_list.bytes);
    world->parties = PF_ALLOC(n, struct party);
    assert_non_null(world->parties);
    for (uint32_t i = 0; i < n; i++) make_party(world, i);
}

/* Step 2 as the document has it, one mask after the other. */
static void add_masked(const struct world *world, uint32_t i, struct pf_ring *sum)
{
    const struct party *party = &world->parties[i];
    PF_CLEANUP(pf_ring_destroyp) struct pf_ring *y = NULL;
    assert_int_equal(pf_ring_create(LENGTH, BITS, &y, NULL), PF_OK);
    for (size_t c = 0; c < LENGTH; c++) pf_ring_set(y, c, value_of(i, c));
    struct pf_mask_term term = {.sign = 1};
    pf_self_mask_key(&party->self_seed, &world->context, term.key);
    pf_ring_add_masks_ref(y, &term, 1);
    for (uint32_t j = 0; j < world->n; j++) {
        if (!are_neighbours(world, i, j)) continue;
        assert_int_equal(pf_pair_mask_key(member_of(i), member_of(j), party->mask_secret,
                                          party->advert.mask_key, world->parties[j].advert.mask_key,
                                          &world->context, &world->key_list, term.key, NULL),
                         PF_OK);
        term.sign = i < j ? 1 : -1;
        pf_ring_add_masks_ref(y, &term, 1);
    }
    uint8_t *packed = PF_ALLOC(pf_ring_packed_size(LENGTH, BITS), uint8_t);
    assert_non_null(packed);
    pf_ring_pack(y, packed);
    pf_ring_add_packed(sum, packed);
    pf_free(packed);
}

static void fill_target(const struct world *world, const bool *dropped, uint32_t i,
                        uint32_t n_shares, struct pf_unmask_target *target)
{
    const struct party *party = &world->parties[i];
    const struct pf_scalar *shares = dropped[i] ? party->mask_shares : party->self_shares;
    target->advert = party->advert;
    target->dropped = dropped[i];
    target->x = PF_ALLOC(n_shares, uint32_t);
    target->shares = PF_ALLOC(n_shares, struct pf_scalar);
    target->neighbours = PF_ALLOC(world->n, uint32_t);
    assert_true(target->x != NULL && target->shares != NULL && target->neighbours != NULL);
    target->n_shares = n_shares;
    for (uint32_t holder = 0; holder < n_shares; holder++) {
        target->x[holder] = member_of(holder) + 1;
        target->shares[holder] = shares[holder];
    }
    for (uint32_t j = 0; dropped[i] && j < world->n; j++)
        if (!dropped[j] && are_neighbours(world, i, j))
            target->neighbours[target->n_neighbours++] = j;
}

/* Everybody's shares of `n_shares` holders, the masked sum of those who did not drop. */
static struct pf_unmasking *make_unmasking(struct world *world, const bool *dropped,
                                           uint32_t n_shares)
{
    struct pf_unmasking *unmasking = PF_ALLOC(1, struct pf_unmasking);
    assert_non_null(unmasking);
    unmasking->context = world->context;
    unmasking->key_list = world->key_list;
    unmasking->threshold = world->threshold;
    unmasking->n_targets = world->n;
    unmasking->targets = PF_ALLOC(world->n, struct pf_unmask_target);
    assert_non_null(unmasking->targets);
    assert_int_equal(pf_ring_create(LENGTH, BITS, &unmasking->sum, NULL), PF_OK);
    memset(world->plain, 0, sizeof world->plain);
    for (uint32_t i = 0; i < world->n; i++) {
        fill_target(world, dropped, i, n_shares, &unmasking->targets[i]);
        if (dropped[i]) continue;
        unmasking->n_survivors++;
        add_masked(world, i, unmasking->sum);
        for (size_t c = 0; c < LENGTH; c++) world->plain[c] += value_of(i, c);
    }
    return unmasking;
}

static size_t n_wrong(const struct world *world, const struct pf_ring *sum)
{
    size_t wrong = 0;
    for (size_t c = 0; c < LENGTH; c++) wrong += pf_ring_get_signed(sum, c) != world->plain[c];
    return wrong;
}

static void expect_sum(struct world *world, struct pf_unmasking *unmasking, struct pf_pool *pool)
{
    struct pf_error err = {0};
    if (pf_unmasking_run(unmasking, pool, NULL, &err) != PF_OK) fail_msg("%s", err.text);
    assert_int_equal(n_wrong(world, unmasking->sum), 0);
    pf_unmasking_destroy(unmasking);
}

static void masks_come_off_with_any_who_drop(void **state)
{
    (void)state;
    struct world world;
    make_world(&world, 6, 3, false);
    for (unsigned pattern = 0; pattern < 1u << 6; pattern++) {
        bool dropped[6];
        unsigned survivors = 0;
        for (unsigned i = 0; i < 6; i++) {
            dropped[i] = (pattern >> i & 1) != 0;
            survivors += !dropped[i];
        }
        if (survivors < 3) continue;
        struct pf_unmasking *unmasking = make_unmasking(&world, dropped, 6);
        assert_int_not_equal(n_wrong(&world, unmasking->sum), 0); /* it was masked */
        expect_sum(&world, unmasking, NULL);
    }
    pf_free(world.parties);
}

static void sparse_graphs_and_pools_give_the_same_sum(void **state)
{
    (void)state;
    struct world world;
    PF_CLEANUP(pf_pool_destroyp) struct pf_pool *pool = NULL;
    bool dropped[MAX_PARTIES] = {false};
    assert_int_equal(pf_pool_create(3, &pool, NULL), PF_OK);
    make_world(&world, MAX_PARTIES, 4, true); /* several shards of seeds and of terms */
    for (uint32_t i = 3; i < MAX_PARTIES; i += 5) dropped[i] = true;
    expect_sum(&world, make_unmasking(&world, dropped, 4), pool);
    expect_sum(&world, make_unmasking(&world, dropped, 9), NULL);
    pf_free(world.parties);
}

static void more_terms_than_a_batch_come_off(void **state)
{
    (void)state;
    /* Half of 80 dropped with 40 survivors each: 1,600 + 40 terms; so use the same neighbours
     * several times over and check that each time takes off another mask. */
    struct world world;
    bool dropped[MAX_PARTIES] = {false};
    make_world(&world, MAX_PARTIES, 3, false);
    for (uint32_t i = 0; i < MAX_PARTIES / 2; i++) dropped[i] = true;
    struct pf_unmasking *unmasking = make_unmasking(&world, dropped, 3);
    for (uint32_t i = 0; i < MAX_PARTIES / 2; i++) {
        struct pf_unmask_target *target = &unmasking->targets[i];
        uint32_t n = target->n_neighbours;
        uint32_t *three = PF_ALLOC((size_t)n * 3, uint32_t);
        assert_non_null(three);
        for (uint32_t k = 0; k < 3 * n; k++) three[k] = target->neighbours[k % n];
        pf_free(target->neighbours);
        target->neighbours = three;
        target->n_neighbours = 3 * n;
    }
    /* What is taken off twice too often is put on beforehand: the masks of two more sums. */
    for (uint32_t i = 0; i < MAX_PARTIES / 2; i++)
        for (uint32_t j = MAX_PARTIES / 2; j < MAX_PARTIES; j++) {
            struct pf_mask_term term[2];
            const struct party *party = &world.parties[i];
            assert_int_equal(pf_pair_mask_key(member_of(i), member_of(j), party->mask_secret,
                                              party->advert.mask_key,
                                              world.parties[j].advert.mask_key, &world.context,
                                              &world.key_list, term[0].key, NULL),
                             PF_OK);
            term[0].sign = -1; /* j has subtracted it: i < j */
            term[1] = term[0];
            pf_ring_add_masks(unmasking->sum, term, 2, NULL);
        }
    expect_sum(&world, unmasking, NULL);
    pf_free(world.parties);
}

static void spoil(struct pf_unmask_target *target, uint32_t share)
{
    pf_scalar_random(&target->shares[share]);
}

static void one_liar_is_found_where_a_spare_share_exists(void **state)
{
    (void)state;
    struct world world;
    bool dropped[6] = {false, true, false, false, false, true};
    make_world(&world, 6, 4, false);
    for (uint32_t liar = 0; liar < 5; liar++) {
        struct pf_unmasking *unmasking = make_unmasking(&world, dropped, 5);
        for (uint32_t i = 0; i < 6; i++) spoil(&unmasking->targets[i], liar);
        expect_sum(&world, unmasking, NULL);
    }
    pf_free(world.parties);
}

static void several_liars_are_found_where_enough_spare_shares_exist(void **state)
{
    (void)state;
    struct world world;
    bool dropped[10] = {false, false, true};
    make_world(&world, 10, 5, false);
    struct pf_unmasking *unmasking = make_unmasking(&world, dropped, 9);
    for (uint32_t i = 0; i < 10; i++) {
        spoil(&unmasking->targets[i], 0);
        spoil(&unmasking->targets[i], 3);
        spoil(&unmasking->targets[i], 6);
    }
    expect_sum(&world, unmasking, NULL);
    pf_free(world.parties);
}

static void each_target_is_searched_for_itself(void **state)
{
    (void)state;
    struct world world;
    bool dropped[6] = {false, true};
    make_world(&world, 6, 4, false);
    struct pf_unmasking *unmasking = make_unmasking(&world, dropped, 6);
    for (uint32_t i = 0; i < 6; i++) spoil(&unmasking->targets[i], i % 5);
    expect_sum(&world, unmasking, NULL);
    pf_free(world.parties);
}

static void wrong_shares_without_spare_ones_are_refused_by_name(void **state)
{
    (void)state;
    struct world world;
    bool dropped[5] = {false, false, false, true, false};
    make_world(&world, 5, 4, false);
    struct pf_error err = {0};
    struct pf_unmasking *unmasking = make_unmasking(&world, dropped, 4);
    spoil(&unmasking->targets[2], 1);
    assert_int_equal(pf_unmasking_run(unmasking, NULL, NULL, &err), PF_REFUSED);
    assert_non_null(strstr(err.text, "member 7: no 4 of 4 shares"));
    assert_non_null(strstr(err.text, "self mask"));
    assert_non_null(strstr(err.text, "members 1, 4, 7, 10 "));
    pf_unmasking_destroy(unmasking);

    unmasking = make_unmasking(&world, dropped, 5); /* one spare for two liars */
    spoil(&unmasking->targets[3], 0);
    spoil(&unmasking->targets[3], 4);
    assert_int_equal(pf_unmasking_run(unmasking, NULL, NULL, &err), PF_REFUSED);
    assert_non_null(strstr(err.text, "member 10: no 4 of 5 shares"));
    assert_non_null(strstr(err.text, "mask key"));
    pf_unmasking_destroy(unmasking);
    pf_free(world.parties);
}

static void a_seed_that_was_not_advertised_is_refused(void **state)
{
    (void)state;
    struct world world;
    bool dropped[4] = {false, false, true, false};
    struct pf_error err = {0};
    make_world(&world, 4, 3, false);
    struct pf_unmasking *unmasking = make_unmasking(&world, dropped, 4);
    unmasking->targets[2].advert.mask_key[0] ^= 1;
    assert_int_equal(pf_unmasking_run(unmasking, NULL, NULL, &err), PF_REFUSED);
    assert_non_null(strstr(err.text, "member 7"));
    pf_unmasking_destroy(unmasking);
    unmasking = make_unmasking(&world, dropped, 4);
    unmasking->targets[1].advert.self_commitment.bytes[31] ^= 1;
    assert_int_equal(pf_unmasking_run(unmasking, NULL, NULL, &err), PF_REFUSED);
    assert_non_null(strstr(err.text, "member 4"));
    pf_unmasking_destroy(unmasking);
    pf_free(world.parties);
}

static void a_neighbour_without_a_mask_key_is_refused(void **state)
{
    (void)state;
    struct world world;
    bool dropped[4] = {false, false, true, false};
    struct pf_error err = {0};
    make_world(&world, 4, 3, false);
    struct pf_unmasking *unmasking = make_unmasking(&world, dropped, 4);
    memset(unmasking->targets[1].advert.mask_key, 0, 32);
    assert_int_equal(pf_unmasking_run(unmasking, NULL, NULL, &err), PF_REFUSED);
    assert_non_null(strstr(err.text, "member 7 dropped"));
    pf_unmasking_destroy(unmasking);
    pf_free(world.parties);
}

static void long_lists_of_names_are_cut(void **state)
{
    (void)state;
    struct world world;
    bool dropped[MAX_PARTIES] = {false};
    struct pf_error err = {0};
    make_world(&world, MAX_PARTIES, MAX_PARTIES, false);
    struct pf_unmasking *unmasking = make_unmasking(&world, dropped, MAX_PARTIES);
    for (uint32_t i = 0; i < MAX_PARTIES; i++) spoil(&unmasking->targets[i], 3);
    assert_int_equal(pf_unmasking_run(unmasking, NULL, NULL, &err), PF_REFUSED);
    assert_non_null(strstr(err.text, "members 1, 4, 7, 10, "));
    assert_non_null(strstr(err.text, " … (seeds lost of: 1, 4, "));
    assert_string_equal(err.text + strlen(err.text) - strlen(" …)"), " …)");
    pf_unmasking_destroy(unmasking);
    pf_free(world.parties);
}

static void half_built_objects_can_be_destroyed(void **state)
{
    (void)state;
    pf_unmasking_destroy(NULL);
    struct pf_unmasking *unmasking = PF_ALLOC(1, struct pf_unmasking);
    unmasking->n_targets = 2;
    pf_unmasking_destroy(unmasking);
    unmasking = PF_ALLOC(1, struct pf_unmasking);
    unmasking->n_targets = 2;
    unmasking->targets = PF_ALLOC(2, struct pf_unmask_target);
    unmasking->targets[1].x = PF_ALLOC(3, uint32_t);
    pf_unmasking_destroy(unmasking);
}

int main(void)
{
    if (sodium_init() < 0) return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(masks_come_off_with_any_who_drop),
        cmocka_unit_test(sparse_graphs_and_pools_give_the_same_sum),
        cmocka_unit_test(more_terms_than_a_batch_come_off),
        cmocka_unit_test(one_liar_is_found_where_a_spare_share_exists),
        cmocka_unit_test(several_liars_are_found_where_enough_spare_shares_exist),
        cmocka_unit_test(each_target_is_searched_for_itself),
        cmocka_unit_test(wrong_shares_without_spare_ones_are_refused_by_name),
        cmocka_unit_test(a_seed_that_was_not_advertised_is_refused),
        cmocka_unit_test(a_neighbour_without_a_mask_key_is_refused),
        cmocka_unit_test(long_lists_of_names_are_cut),
        cmocka_unit_test(half_built_objects_can_be_destroyed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
