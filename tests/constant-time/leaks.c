/* Leaks on purpose: memcheck must report each of them, or the silence about the rest means nothing.
 * Two are the plain mistakes; the others show that a secret is followed through libsodium and
 * through our own arithmetic to what is made of it. */
#include <sodium.h>
#include <stdio.h>
#include <string.h>

#include "common/base/compiler.h"
#include "common/secagg/protocol.h"
#include "secret.h"

static volatile uint8_t seen;

static void leak_by_branch(const uint8_t *secret)
{
    if ((secret[0] & 1) != 0) puts("odd");
}

static void leak_by_memcmp(void)
{
    static const struct pf_scalar zero;
    struct pf_scalar secret;
    pf_scalar_random(&secret);
    if (memcmp(secret.bytes, zero.bytes, sizeof zero.bytes) == 0) puts("equal");
}

static void leak_by_index(void)
{
    static volatile uint8_t table[256];
    struct pf_scalar secret;
    pf_scalar_random(&secret);
    seen = table[secret.bytes[0]];
}

static void leak_share(void)
{
    static const uint32_t x[] = {1, 2, 3};
    struct pf_scalar secret, shares[3];
    pf_scalar_random(&secret);
    if (pf_shamir_split(&secret, 2, x, 3, shares, NULL) == PF_OK) leak_by_branch(shares[2].bytes);
}

static void derive(struct pf_share_key *key)
{
    uint8_t secret[32], own[32], peer_secret[32] = {1}, peer[32];
    const struct pf_digest context = {{2}};
    randombytes_buf(secret, sizeof secret);
    crypto_scalarmult_curve25519_base(own, secret);
    crypto_scalarmult_curve25519_base(peer, peer_secret);
    if (pf_share_key_derive(secret, own, peer, &context, &context, key, NULL) != PF_OK)
        puts("refused");
}

static void leak_key(void)
{
    struct pf_share_key key;
    derive(&key);
    leak_by_branch(key.bytes);
}

static void leak_opened_share(void)
{
    struct pf_share_key key;
    struct pf_share_pair pair;
    uint8_t box[PF_SHARE_BOX_BYTES];
    derive(&key);
    pf_scalar_random(&pair.self);
    pf_scalar_random(&pair.mask);
    pf_share_seal(&key, 1, 2, &pair, box);
    if (pf_share_open(&key, 1, 2, box, &pair, NULL) == PF_OK) leak_by_branch(pair.mask.bytes);
}

static void leak_mask(void)
{
    struct pf_mask_term term = {.sign = 1};
    struct pf_ring *ring;
    randombytes_buf(term.key, sizeof term.key);
    if (pf_ring_create(600, 21, &ring, NULL) != PF_OK) return;
    pf_ring_add_masks(ring, &term, 1, NULL);
    if (pf_ring_get_signed(ring, 599) < 0) puts("negative");
    pf_ring_destroy(ring);
}

static const struct {
    const char *name;
    void (*leak)(void);
} leaks[] = {
    {"memcmp", leak_by_memcmp}, {"index", leak_by_index},   {"share", leak_share},
    {"key", leak_key},          {"box", leak_opened_share}, {"mask", leak_mask},
};

bool leak(const char *which)
{
    for (size_t i = 0; i < PF_ARRAY_LENGTH(leaks); i++) {
        if (strcmp(which, leaks[i].name) != 0) continue;
        leaks[i].leak();
        return true;
    }
    return false;
}
