/* Once a participant's client is destroyed, none of its secrets is left in the process: not on the
 * heap, freed or not, and not on the stacks of the threads that computed with them.
 *
 * The clients run on a thread of their own (and, once more, on a pool's); the test notes their
 * secrets from another, so that nothing it does covers up what they left on their stack. */
#include <stdarg.h>
#include <stddef.h>

#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>
#include <semaphore.h>
#include <sodium.h>
#include <string.h>

#include "common/base/memory.h"
#include "memory_scan.h"
#include "mini_round.h"

enum { N = 5, STACK_BYTES = 1 << 20, SCRUB_BYTES = 1 << 16 };

/* ---- the thread under test ------------------------------------------------------------------ */

static _Alignas(4096) uint8_t stack[STACK_BYTES];
static pthread_t thread;
static sem_t begin, done;
static void (*job)(void);
static struct mini_round m;
static struct mini_config config;
static enum mini_stage target;

static void *work(void *context)
{
    (void)context;
    for (;;) {
        while (sem_wait(&begin) != 0) continue;
        if (job == NULL) return NULL;
        job();
        sem_post(&done);
    }
}

static void there(void (*function)(void))
{
    job = function;
    sem_post(&begin);
    if (function == NULL) return;
    while (sem_wait(&done) != 0) continue;
}

static int start_thread(void **state)
{
    (void)state;
    pthread_attr_t attributes;
    if (sem_init(&begin, 0, 0) != 0 || sem_init(&done, 0, 0) != 0) return 1;
    pthread_attr_init(&attributes);
    int failed = pthread_attr_setstack(&attributes, stack, sizeof stack) != 0 ||
                 pthread_create(&thread, &attributes, work, NULL) != 0;
    pthread_attr_destroy(&attributes);
    return failed;
}

static int stop_thread(void **state)
{
    (void)state;
    there(NULL);
    pthread_join(thread, NULL);
    sem_destroy(&begin);
    return sem_destroy(&done);
}

static void init_round(void)
{
    mini_init(&m, &config);
    m.members[4].last = MINI_READY; /* so that shares of mask keys are asked for */
}

static void advance_round(void)
{
    mini_to(&m, target);
}

static void finish_round(void)
{
    mini_finish(&m);
}

/* ---- its secrets ---------------------------------------------------------------------------- */

static void note_agreed(const uint8_t secret[32], const uint8_t public[32], const char *what)
{
    uint8_t agreed[32];
    if (sodium_is_zero(secret, 32)) return;
    assert_int_equal(crypto_scalarmult_curve25519(agreed, secret, public), 0);
    scan_note(agreed, what);
    sodium_memzero(agreed, sizeof agreed);
}

static void note_mask_keys(const struct pf_secagg_client *client)
{
    const struct pf_digest *context = &client->config.context;
    uint8_t key[PF_MASK_KEY_BYTES];
    if (sodium_is_zero(client->mask_secret, sizeof client->mask_secret)) return;
    pf_self_mask_key(&client->self_seed, context, key);
    scan_note(key, "mask: key of the self mask");
    for (uint32_t i = 0; i < client->n_neighbours; i++) {
        const struct pf_advert *peer = &client->neighbours[i].advert;
        assert_int_equal(pf_pair_mask_key(client->config.self, peer->member, client->mask_secret,
                                          client->advertise.advert.mask_key, peer->mask_key,
                                          context, &client->key_list, key, NULL),
                         PF_OK);
        scan_note(key, "mask: key of a pairwise mask");
        note_agreed(client->mask_secret, peer->mask_key, "mask: secret agreed with a neighbour");
    }
    sodium_memzero(key, sizeof key);
}

static void note_client(const struct pf_secagg_client *client)
{
    scan_note_x25519(client->channel_secret, "channel secret");
    scan_note_x25519(client->mask_secret, "mask: secret");
    scan_note(client->self_seed.bytes, "mask: seed of the self mask");
    scan_note(client->mask_seed.bytes, "mask: seed of the mask key");
    scan_note(client->own.self.bytes, "share of one's own self mask");
    scan_note(client->own.mask.bytes, "share of one's own mask key");
    for (uint32_t i = 0; i < client->n_neighbours; i++) {
        const struct pf_sc_neighbour *peer = &client->neighbours[i];
        scan_note(peer->channel.bytes, "key of a neighbour's boxes");
        scan_note(peer->shares.self.bytes, "share of a neighbour's self mask");
        scan_note(peer->shares.mask.bytes, "share of a neighbour's mask key");
        note_agreed(client->channel_secret, peer->advert.channel_key,
                    "channel secret agreed with a neighbour");
    }
    note_mask_keys(client);
}

static void note_all(void)
{
    for (uint32_t i = 0; i < N; i++) note_client(m.members[i].client);
    sodium_stackzero(SCRUB_BYTES); /* of this thread: what it took to derive them */
}

/* A round up to the stage; secrets are noted after each step. */
static void run_to(enum mini_stage stage)
{
    scan_forget();
    there(init_round);
    note_all();
    for (target = MINI_REVEALED; target <= stage; target++) {
        there(advance_round);
        note_all();
    }
}

/* ---- tests ---------------------------------------------------------------------------------- */

static uint8_t *copy;

static void copy_on_the_heap(void)
{
    copy = pf_alloc(1, 256);
    assert_non_null(copy);
    memcpy(copy + 101, m.members[1].client->channel_secret, 32);
}

static void copy_on_the_stack(void)
{
    uint8_t frame[8192]; /* deep enough to outlive what is called next */
    memcpy(frame, m.members[1].client->self_seed.bytes, 32);
    __asm__ volatile("" : : "r"(frame) : "memory");
}

static void wipe_the_copy(void)
{
    sodium_memzero(copy, 256);
    pf_free(copy);
}

static void scrub_the_stack(void)
{
    sodium_stackzero(SCRUB_BYTES);
}

static void test_copies_on_heap_and_stack_are_found(void **state)
{
    (void)state;
    scan_require();
    config = (struct mini_config){.n_members = N, .n_cohort = N, .played = MINI_NOBODY};
    run_to(MINI_READY);
    assert_true(scan_count() > 100);
    assert_true(scan_memory("", false) > 50); /* in the clients themselves */
    there(copy_on_the_heap);
    there(finish_round);
    assert_int_equal(scan_memory("channel secret", false), 1);
    there(wipe_the_copy);
    assert_int_equal(scan_memory("channel secret", true), 0);

    run_to(MINI_READY);
    there(copy_on_the_stack);
    there(finish_round);
    assert_true(scan_memory("mask: seed of the self mask", false) >= 1);
    there(scrub_the_stack);
    assert_int_equal(scan_memory("mask: seed of the self mask", true), 0);
}

static void expect_nothing_left(struct pf_pool *pool)
{
    config =
        (struct mini_config){.n_members = N, .n_cohort = N, .pool = pool, .played = MINI_NOBODY};
    for (enum mini_stage stage = MINI_ADVERTISED; stage <= MINI_UNMASKED; stage++) {
        run_to(stage);
        there(finish_round);
        size_t left = scan_memory("", true);
        if (left > 0) print_error("%zu secrets left after stage %d\n", left, (int)stage);
        assert_int_equal(left, 0);
    }
}

static void test_nothing_is_left_of_a_destroyed_client(void **state)
{
    (void)state;
    scan_require();
    expect_nothing_left(NULL);
}

static void test_nothing_is_left_on_the_stacks_of_a_pool(void **state)
{
    (void)state;
    PF_CLEANUP(pf_pool_destroyp) struct pf_pool *pool = NULL;
    scan_require();
    assert_int_equal(pf_pool_create(3, &pool, NULL), PF_OK);
    expect_nothing_left(pool);
}

static struct pf_scalar secret, shares[3];
static uint32_t distance; /* between the xs: close ones and far ones are done differently */

static void split_secret(void)
{
    const uint32_t x[3] = {1, 1 + distance, 1 + 2 * distance};
    pf_scalar_random(&secret);
    assert_int_equal(pf_shamir_split(&secret, 3, x, 3, shares, NULL), PF_OK);
}

static void test_sharing_leaves_nothing_on_the_stack(void **state)
{
    (void)state;
    scan_require();
    for (distance = 1; distance <= 1000; distance += 999) {
        scan_forget();
        there(split_secret);
        scan_note(secret.bytes, "secret");
        for (size_t i = 0; i < 3; i++) scan_note(shares[i].bytes, "share");
        pf_scalar_wipe(&secret);
        sodium_memzero(shares, sizeof shares);
        assert_int_equal(scan_count(), 4);
        assert_int_equal(scan_memory("", true), 0);
    }
}

/* The one of each two shares that nobody is to have, when member 4 has vanished before masking. */
static void note_withheld(const struct pf_secagg_client *client)
{
    scan_note(client->own.mask.bytes, "never given: share of one's own mask key");
    for (uint32_t i = 0; i < client->n_neighbours; i++) {
        const struct pf_sc_neighbour *peer = &client->neighbours[i];
        if (peer->advert.member == 4)
            scan_note(peer->shares.self.bytes, "never given: share of a late one's self mask");
        else
            scan_note(peer->shares.mask.bytes, "never given: share of a survivor's mask key");
    }
}

/* Long before the client is destroyed: seeds go with the update, shares with the unmasking. */
static void test_secrets_that_are_used_up_are_gone_at_once(void **state)
{
    (void)state;
    scan_require();
    config = (struct mini_config){.n_members = N, .n_cohort = N, .played = MINI_NOBODY};
    run_to(MINI_READY);
    for (uint32_t i = 0; i < 4; i++) note_withheld(m.members[i].client);
    pf_secagg_client_destroy(m.members[4].client); /* it has not masked */
    m.members[4].client = NULL;
    target = MINI_MASKED;
    there(advance_round);
    assert_int_equal(scan_memory("mask:", true), 0);
    assert_true(scan_memory("never given:", false) >= 4 * 5);
    target = MINI_UNMASKED;
    there(advance_round);
    assert_int_equal(scan_memory("never given:", true), 0);
    there(finish_round);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, start_thread, stop_thread)

int main(int n_arguments, char **arguments)
{
    if (n_arguments > 0) scan_bind_symbols(arguments);
    const struct CMUnitTest tests[] = {
        TEST(test_copies_on_heap_and_stack_are_found),
        TEST(test_nothing_is_left_of_a_destroyed_client),
        TEST(test_nothing_is_left_on_the_stacks_of_a_pool),
        TEST(test_sharing_leaves_nothing_on_the_stack),
        TEST(test_secrets_that_are_used_up_are_gone_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
