/* What participants and coordinator of a secure round have in common: the words they sign and the
 * keys they derive.
 *
 * Step numbers and names follow Bonawitz et al. 2017 [1]; docs/protocol.md tells the whole.
 * Everything is bound to one *context*: BLAKE2b over run, round, H(model), H(roster) and the whole
 * offer.  A party that was told something else has another context, and then neither its
 * signatures verify nor its masks cancel.  From step 1 on everything is bound to the *key list*
 * too: who takes part with which keys, which graph, which threshold.
 *
 * Primitives: X25519, Ed25519, BLAKE2b, ChaCha20-Poly1305 (IETF), all libsodium's.
 *
 * [1] K. Bonawitz et al., Practical secure aggregation for privacy-preserving machine learning,
 *     CCS 2017. */
#ifndef PF_COMMON_SECAGG_PROTOCOL_H
#define PF_COMMON_SECAGG_PROTOCOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/buffer.h"
#include "common/base/error.h"
#include "common/secagg/parameters.h"
#include "common/secagg/ring.h"
#include "common/secagg/shamir.h"

#define PF_DIGEST_BYTES 32u
#define PF_SIGNATURE_BYTES 64u
#define PF_RANDOMNESS_BYTES 16u
/* Two scalars and the tag.  No nonce: each key seals one box. */
#define PF_SHARE_BOX_BYTES (2u * PF_SCALAR_BYTES + 16u)

struct pf_digest {
    uint8_t bytes[PF_DIGEST_BYTES];
};

bool pf_digest_equal(const struct pf_digest *a, const struct pf_digest *b);

/* A set of members, by their index on the roster. */
struct pf_member_set {
    uint32_t n_members; /* of the roster */
    uint8_t *bits;      /* [(n_members + 7)/8], bit i%8 of byte i/8; owned */
};

PF_NODISCARD enum pf_status pf_member_set_create(uint32_t n_members, struct pf_member_set *set,
                                                 struct pf_error *err);
PF_NODISCARD enum pf_status pf_member_set_copy(const struct pf_member_set *from,
                                               struct pf_member_set *set, struct pf_error *err);
void pf_member_set_finish(struct pf_member_set *self);
bool pf_member_set_has(const struct pf_member_set *self, uint32_t member); /* false if outside */
void pf_member_set_add(struct pf_member_set *self, uint32_t member);
void pf_member_set_remove(struct pf_member_set *self, uint32_t member);
uint32_t pf_member_set_count(const struct pf_member_set *self);
bool pf_member_set_equal(const struct pf_member_set *a, const struct pf_member_set *b);
bool pf_member_set_within(const struct pf_member_set *inner, const struct pf_member_set *outer);
static inline size_t pf_member_set_bytes(uint32_t n_members)
{
    return ((size_t)n_members + 7) / 8;
}

/* Step 0: the public keys of one participant for one round. */
struct pf_advert {
    uint32_t member;                        /* index on the roster */
    uint8_t channel_key[32];                /* X25519, c: for share boxes */
    uint8_t mask_key[32];                   /* X25519, s: for pairwise masks */
    struct pf_digest self_commitment;       /* of the self-mask seed b */
    struct pf_digest randomness_commitment; /* of its part of the graph's randomness */
    uint8_t signature[PF_SIGNATURE_BYTES];  /* Ed25519 by the member's identity */
};

void pf_advert_sign(struct pf_advert *advert, const struct pf_digest *context,
                    const uint8_t sign_secret[64]);
bool pf_advert_verify(const struct pf_advert *advert, const struct pf_digest *context,
                      const uint8_t sign_public[32]);

struct pf_digest pf_commit_self(const struct pf_digest *context, uint32_t member,
                                const struct pf_scalar *seed);
struct pf_digest pf_commit_randomness(const struct pf_digest *context, uint32_t member,
                                      const uint8_t randomness[PF_RANDOMNESS_BYTES]);

/* The mask key pair that follows from a shared seed: secret = BLAKE2b(seed). */
void pf_mask_secret(const struct pf_scalar *seed, uint8_t secret[32]);

/* Digest of who is in the cohort, graph kind, degree, threshold and, HARARY, all commitments to
 * randomness in the order of members.  commitments[count of cohort], NULL when complete. */
struct pf_digest pf_cohort_digest(const struct pf_digest *context,
                                  const struct pf_member_set *cohort,
                                  const struct pf_secagg_parameters *parameters,
                                  const struct pf_digest *commitments);

/* Digest that everything from step 1 on is bound to.  HARARY: from the cohort's digest and all
 * randomness; its bytes are the graph's seed.  COMPLETE: from the cohort's digest and all adverts
 * in the order of members.  One of randomness and adverts is NULL. */
struct pf_digest pf_key_list_digest(const struct pf_digest *cohort, uint32_t n_cohort,
                                    const uint8_t (*randomness)[PF_RANDOMNESS_BYTES],
                                    const struct pf_advert *adverts);

/* False for the few X25519 keys (of low order) that give no secret, whoever uses them. */
bool pf_public_key_serves(const uint8_t public[32]);

/* Key of the mask between two members: BLAKE2b(X25519(secret, peer), both keys, both indices,
 * context, list).  The indices keep a member that advertises somebody else's key from having the
 * same mask with a third, with the opposite sign.  PF_REFUSED when the peer's key is one of the few
 * that give no secret. */
PF_NODISCARD enum pf_status pf_pair_mask_key(uint32_t own_member, uint32_t peer_member,
                                             const uint8_t secret[32], const uint8_t own_public[32],
                                             const uint8_t peer_public[32],
                                             const struct pf_digest *context,
                                             const struct pf_digest *key_list,
                                             uint8_t key[PF_MASK_KEY_BYTES], struct pf_error *err);
void pf_self_mask_key(const struct pf_scalar *seed, const struct pf_digest *context,
                      uint8_t key[PF_MASK_KEY_BYTES]);

/* Step 1: the two shares that `sender` makes for `receiver`.  x, the share's index, is the
 * receiver's index on the roster + 1. */
struct pf_share_pair {
    struct pf_scalar self; /* of the self-mask seed */
    struct pf_scalar mask; /* of the mask key's seed */
};

/* What two members seal boxes with: BLAKE2b(X25519(secret, peer), both keys, context, list).  One
 * Diffie–Hellman per pair serves both directions; each box has a key of its own under it.
 * PF_REFUSED when the peer's key is one of the few that give no secret. */
struct pf_share_key {
    uint8_t bytes[32];
};

PF_NODISCARD enum pf_status pf_share_key_derive(const uint8_t secret[32],
                                                const uint8_t own_public[32],
                                                const uint8_t peer_public[32],
                                                const struct pf_digest *context,
                                                const struct pf_digest *key_list,
                                                struct pf_share_key *key, struct pf_error *err);

/* The box of `sender` for `receiver`; context and key list are pinned by the key, the two indices
 * and x by the associated data. */
void pf_share_seal(const struct pf_share_key *key, uint32_t sender, uint32_t receiver,
                   const struct pf_share_pair *shares, uint8_t box[PF_SHARE_BOX_BYTES]);
/* PF_REFUSED when the box is not what that sender made for that receiver in this round. */
PF_NODISCARD enum pf_status pf_share_open(const struct pf_share_key *key, uint32_t sender,
                                          uint32_t receiver, const uint8_t box[PF_SHARE_BOX_BYTES],
                                          struct pf_share_pair *shares, struct pf_error *err);

/* Step 3: the consent to one survivor set. */
void pf_consent_sign(const struct pf_digest *context, const struct pf_digest *key_list,
                     const struct pf_member_set *survivors, const uint8_t sign_secret[64],
                     uint8_t signature[PF_SIGNATURE_BYTES]);
bool pf_consent_verify(const struct pf_digest *context, const struct pf_digest *key_list,
                       const struct pf_member_set *survivors, const uint8_t sign_public[32],
                       const uint8_t signature[PF_SIGNATURE_BYTES]);
/* BLAKE2b of the set, for the ledger. */
struct pf_digest pf_member_set_digest(const struct pf_member_set *set);

/* Step 4: one share given to the coordinator. */
struct pf_given_share {
    uint32_t member; /* whose secret it is a share of */
    bool dropped;    /* false: of the self-mask seed; true: of the mask key's seed */
    struct pf_scalar share;
};

#endif
