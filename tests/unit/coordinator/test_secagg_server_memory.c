/* What the coordinator is given to take the masks off, and what it makes of it, is gone when they
 * are off: shares, seeds, secrets and keys of masks.  On the heap, freed or not, and on the stack
 * of the thread that worked with them. */
#include <stdarg.h>
#include <stddef.h>

#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>
#include <sodium.h>
#include <string.h>

#include "common/base/memory.h"
#include "secagg_fixture.h"
#include "tests/unit/participant/memory_scan.h"

enum { N = 24, LATE = 6, LIAR = 2, STACK_BYTES = 1 << 20, SCRUB_BYTES = 1 << 17 };

static _Alignas(4096) uint8_t stack[STACK_BYTES];
static struct fixture *fx;
static enum pf_status status;

static void note_seeds(const struct party *party, bool survives)
{
    const struct pf_digest *context = &fx->config.context;
    uint8_t key[32];
    if (survives) {
        scan_note(party->self_seed.bytes, "self seed");
        pf_self_mask_key(&party->self_seed, context, key);
        scan_note(key, "key of a self mask");
        return;
    }
    scan_note(party->mask_seed.bytes, "mask seed");
    scan_note_x25519(party->mask_secret, "mask secret");
    for (uint32_t i = 0; i < party->n_peers; i++) {
        assert_int_equal(pf_pair_mask_key(party->advert.member, party->peers[i], party->mask_secret,
                                          party->advert.mask_key, party->adverts[i].mask_key,
                                          context, &party->key_list, key, NULL),
                         PF_OK);
        scan_note(key, "key of a pairwise mask");
    }
}

/* What this party gives the coordinator. */
static void note_shares(const struct party *party)
{
    scan_note(party->own.self.bytes, "share");
    for (uint32_t i = 0; i < party->n_peers; i++)
        scan_note(party->peers[i] == LATE ? party->held[i].mask.bytes : party->held[i].self.bytes,
                  "share");
}

/* All that the participants know is forgotten, so that what is found is the coordinator's. */
static void forget_parties(void)
{
    for (uint32_t i = 0; i < N; i++) {
        struct party *party = &fx->parties[i];
        sodium_memzero(party->mask_secret, sizeof party->mask_secret);
        pf_scalar_wipe(&party->self_seed);
        pf_scalar_wipe(&party->mask_seed);
        sodium_memzero(&party->own, sizeof party->own);
        sodium_memzero(party->held, sizeof party->held);
    }
    sodium_stackzero(SCRUB_BYTES);
}

/* Everybody shares, one does not mask, and one of the others lies about all shares if `lies`. */
static void prepare(bool lies)
{
    scan_forget();
    fx = fixture_create(N, PF_GRAPH_COMPLETE);
    fixture_reach(fx, PF_SECAGG_MASKING);
    fixture_phase(fx, BIT(LATE));
    fixture_phase(fx, BIT(LATE));
    struct party *liar = &fx->parties[LIAR];
    for (uint32_t i = 0; lies && i < liar->n_peers; i++) {
        pf_scalar_random(&liar->held[i].self);
        pf_scalar_random(&liar->held[i].mask);
    }
    for (uint32_t i = 0; i < N; i++) {
        note_seeds(&fx->parties[i], i != LATE);
        if (i != LATE) note_shares(&fx->parties[i]);
    }
    fixture_phase(fx, BIT(LATE));
    forget_parties();
}

static void *take_run_and_destroy(void *context)
{
    struct pf_unmasking *unmasking = NULL;
    (void)context;
    status = pf_secagg_server_take(fx->server, &unmasking, NULL);
    if (status == PF_OK) status = pf_unmasking_run(unmasking, NULL, NULL, NULL);
    pf_unmasking_destroy(unmasking);
    return NULL;
}

static void work_on_a_stack_that_stays(void)
{
    pthread_t thread;
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    assert_int_equal(pthread_attr_setstack(&attributes, stack, sizeof stack), 0);
    assert_int_equal(pthread_create(&thread, &attributes, take_run_and_destroy, NULL), 0);
    pthread_join(thread, NULL);
    pthread_attr_destroy(&attributes);
    assert_int_equal(status, PF_OK);
}

static void nothing_is_left_once_the_masks_are_off(void **state)
{
    (void)state;
    scan_require();
    for (unsigned lies = 0; lies < 2; lies++) {
        prepare(lies > 0);
        assert_true(scan_memory("share", false) >= (N - 1) * (N - 1)); /* the server's */
        assert_int_equal(scan_memory("self seed", true), 0);
        work_on_a_stack_that_stays();
        assert_int_equal(scan_memory("", true), 0);
        fixture_destroy(fx);
    }
}

static void nothing_is_left_of_a_server_that_ends_before(void **state)
{
    (void)state;
    scan_require();
    prepare(false);
    fixture_destroy(fx);
    assert_int_equal(scan_memory("", true), 0);
}

int main(int n_arguments, char **arguments)
{
    if (n_arguments > 0) scan_bind_symbols(arguments);
    if (sodium_init() < 0) return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_left_once_the_masks_are_off),
        cmocka_unit_test(nothing_is_left_of_a_server_that_ends_before),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
