#include "common/secagg/protocol.h"

#include <assert.h>
#include <sodium.h>
#include <string.h>

/* ---- hashing --------------------------------------------------------------------------------- */

/* Every hash is BLAKE2b-256 over a label of 32 bytes, zero-padded, and then fields whose lengths
 * are fixed or stand before them: no two inputs of one label, and none of two labels, coincide.
 * Numbers are 32 bits, little endian.  Some inputs are secret, so the state is wiped. */
#define LABEL_BYTES 32u

struct hash {
    crypto_generichash_state state;
};

static void hash_bytes(struct hash *self, const void *bytes, size_t length)
{
    crypto_generichash_update(&self->state, bytes, length);
}

static void store_u32(uint8_t bytes[4], uint32_t value)
{
    for (unsigned i = 0; i < 4; i++) bytes[i] = (uint8_t)(value >> (8 * i));
}

static void hash_u32(struct hash *self, uint32_t value)
{
    uint8_t bytes[4];
    store_u32(bytes, value);
    hash_bytes(self, bytes, sizeof bytes);
}

static void hash_digest(struct hash *self, const struct pf_digest *digest)
{
    hash_bytes(self, digest->bytes, sizeof digest->bytes);
}

static void hash_set(struct hash *self, const struct pf_member_set *set)
{
    hash_u32(self, set->n_members);
    hash_bytes(self, set->bits, pf_member_set_bytes(set->n_members));
}

static void pad_label(const char *label, uint8_t padded[LABEL_BYTES])
{
    assert(strlen(label) < LABEL_BYTES);
    memset(padded, 0, LABEL_BYTES);
    for (size_t i = 0; label[i] != 0; i++) padded[i] = (uint8_t)label[i];
}

/* key: 32 bytes, or NULL. */
static void hash_begin(struct hash *self, const char *label, const uint8_t *key)
{
    uint8_t padded[LABEL_BYTES];
    pad_label(label, padded);
    crypto_generichash_init(&self->state, key, key != NULL ? 32 : 0, PF_DIGEST_BYTES);
    hash_bytes(self, padded, sizeof padded);
}

/* libsodium's frames keep copies of what they worked on; none reaches deeper. */
#define STACK_TRACES_BYTES 4096u

static void hash_end(struct hash *self, uint8_t out[PF_DIGEST_BYTES])
{
    crypto_generichash_final(&self->state, out, PF_DIGEST_BYTES);
    sodium_memzero(self, sizeof *self);
    sodium_stackzero(STACK_TRACES_BYTES);
}

static struct pf_digest hash_end_digest(struct hash *self)
{
    struct pf_digest digest;
    hash_end(self, digest.bytes);
    return digest;
}

bool pf_digest_equal(const struct pf_digest *a, const struct pf_digest *b)
{
    return sodium_memcmp(a->bytes, b->bytes, PF_DIGEST_BYTES) == 0;
}

struct pf_digest pf_member_set_digest(const struct pf_member_set *set)
{
    struct hash hash;
    hash_begin(&hash, "packfed member set 1", NULL);
    hash_set(&hash, set);
    return hash_end_digest(&hash);
}

/* ---- signatures ------------------------------------------------------------------------------ */

/* What is signed is the label again and the digest, so that an identity's signatures of different
 * kinds cannot be taken for one another. */
struct signed_text {
    uint8_t label[LABEL_BYTES];
    uint8_t digest[PF_DIGEST_BYTES];
};

static void sign(const char *label, const struct pf_digest *digest, const uint8_t secret[64],
                 uint8_t signature[PF_SIGNATURE_BYTES])
{
    struct signed_text text;
    pad_label(label, text.label);
    memcpy(text.digest, digest->bytes, sizeof text.digest);
    crypto_sign_detached(signature, NULL, (const uint8_t *)&text, sizeof text, secret);
}

static bool verify(const char *label, const struct pf_digest *digest, const uint8_t public[32],
                   const uint8_t signature[PF_SIGNATURE_BYTES])
{
    struct signed_text text;
    pad_label(label, text.label);
    memcpy(text.digest, digest->bytes, sizeof text.digest);
    return crypto_sign_verify_detached(signature, (const uint8_t *)&text, sizeof text, public) == 0;
}

/* ---- step 0: adverts and commitments --------------------------------------------------------- */

static const char advert_label[] = "packfed advert 1";

static void hash_advert(struct hash *hash, const struct pf_advert *advert)
{
    hash_u32(hash, advert->member);
    hash_bytes(hash, advert->channel_key, sizeof advert->channel_key);
    hash_bytes(hash, advert->mask_key, sizeof advert->mask_key);
    hash_digest(hash, &advert->self_commitment);
    hash_digest(hash, &advert->randomness_commitment);
}

static struct pf_digest advert_digest(const struct pf_advert *advert,
                                      const struct pf_digest *context)
{
    struct hash hash;
    hash_begin(&hash, advert_label, NULL);
    hash_digest(&hash, context);
    hash_advert(&hash, advert);
    return hash_end_digest(&hash);
}

void pf_advert_sign(struct pf_advert *advert, const struct pf_digest *context,
                    const uint8_t sign_secret[64])
{
    struct pf_digest digest = advert_digest(advert, context);
    sign(advert_label, &digest, sign_secret, advert->signature);
}

bool pf_advert_verify(const struct pf_advert *advert, const struct pf_digest *context,
                      const uint8_t sign_public[32])
{
    struct pf_digest digest = advert_digest(advert, context);
    return verify(advert_label, &digest, sign_public, advert->signature);
}

struct pf_digest pf_commit_self(const struct pf_digest *context, uint32_t member,
                                const struct pf_scalar *seed)
{
    struct hash hash;
    hash_begin(&hash, "packfed self commitment 1", NULL);
    hash_digest(&hash, context);
    hash_u32(&hash, member);
    hash_bytes(&hash, seed->bytes, sizeof seed->bytes);
    return hash_end_digest(&hash);
}

struct pf_digest pf_commit_randomness(const struct pf_digest *context, uint32_t member,
                                      const uint8_t randomness[PF_RANDOMNESS_BYTES])
{
    struct hash hash;
    hash_begin(&hash, "packfed graph commitment 1", NULL);
    hash_digest(&hash, context);
    hash_u32(&hash, member);
    hash_bytes(&hash, randomness, PF_RANDOMNESS_BYTES);
    return hash_end_digest(&hash);
}

struct pf_digest pf_cohort_digest(const struct pf_digest *context,
                                  const struct pf_member_set *cohort,
                                  const struct pf_secagg_parameters *parameters,
                                  const struct pf_digest *commitments)
{
    uint32_t n = commitments != NULL ? pf_member_set_count(cohort) : 0;
    struct hash hash;
    hash_begin(&hash, "packfed cohort 1", NULL);
    hash_digest(&hash, context);
    hash_u32(&hash, (uint32_t)parameters->graph);
    hash_u32(&hash, parameters->degree);
    hash_u32(&hash, parameters->threshold);
    hash_set(&hash, cohort);
    hash_u32(&hash, n);
    for (uint32_t i = 0; i < n; i++) hash_digest(&hash, &commitments[i]);
    return hash_end_digest(&hash);
}

/* The signatures are left out: whoever is given an advert checks its own. */
struct pf_digest pf_key_list_digest(const struct pf_digest *cohort, uint32_t n_cohort,
                                    const uint8_t (*randomness)[PF_RANDOMNESS_BYTES],
                                    const struct pf_advert *adverts)
{
    assert((randomness == NULL) != (adverts == NULL));
    struct hash hash;
    hash_begin(&hash, randomness != NULL ? "packfed graph 1" : "packfed key list 1", NULL);
    hash_digest(&hash, cohort);
    hash_u32(&hash, n_cohort);
    for (uint32_t i = 0; i < n_cohort; i++) {
        if (randomness != NULL)
            hash_bytes(&hash, randomness[i], PF_RANDOMNESS_BYTES);
        else
            hash_advert(&hash, &adverts[i]);
    }
    return hash_end_digest(&hash);
}

/* ---- keys of masks --------------------------------------------------------------------------- */

static_assert(PF_MASK_KEY_BYTES == PF_DIGEST_BYTES, "a mask key is one digest");
static_assert(crypto_scalarmult_curve25519_BYTES == 32, "X25519");

void pf_mask_secret(const struct pf_scalar *seed, uint8_t secret[32])
{
    struct hash hash;
    hash_begin(&hash, "packfed mask secret 1", NULL);
    hash_bytes(&hash, seed->bytes, sizeof seed->bytes);
    hash_end(&hash, secret);
}

void pf_self_mask_key(const struct pf_scalar *seed, const struct pf_digest *context,
                      uint8_t key[PF_MASK_KEY_BYTES])
{
    struct hash hash;
    hash_begin(&hash, "packfed self mask 1", seed->bytes);
    hash_digest(&hash, context);
    hash_end(&hash, key);
}

bool pf_public_key_serves(const uint8_t public[32])
{
    static const uint8_t any_secret[32] = {1};
    uint8_t agreed[crypto_scalarmult_curve25519_BYTES];
    return crypto_scalarmult_curve25519(agreed, any_secret, public) == 0;
}

/* Begins a hash whose key is what X25519 gives both; the caller adds its fields.  The keys stand in
 * ascending order, so that both sides come to the same. */
static enum pf_status hash_begin_agreed(struct hash *hash, const char *label,
                                        const uint8_t own_secret[32], const uint8_t own_public[32],
                                        const uint8_t peer_public[32], struct pf_error *err)
{
    uint8_t agreed[crypto_scalarmult_curve25519_BYTES];
    if (crypto_scalarmult_curve25519(agreed, own_secret, peer_public) != 0) {
        sodium_memzero(agreed, sizeof agreed);
        return pf_fail(err, PF_REFUSED,
                       "a peer's public key is of low order: it gives no secret with any key");
    }
    bool own_first = memcmp(own_public, peer_public, 32) <= 0;
    hash_begin(hash, label, agreed);
    sodium_memzero(agreed, sizeof agreed);
    hash_bytes(hash, own_first ? own_public : peer_public, 32);
    hash_bytes(hash, own_first ? peer_public : own_public, 32);
    return PF_OK;
}

enum pf_status pf_pair_mask_key(uint32_t own_member, uint32_t peer_member, const uint8_t secret[32],
                                const uint8_t own_public[32], const uint8_t peer_public[32],
                                const struct pf_digest *context, const struct pf_digest *key_list,
                                uint8_t key[PF_MASK_KEY_BYTES], struct pf_error *err)
{
    struct hash hash;
    PF_TRY(hash_begin_agreed(&hash, "packfed pair mask 1", secret, own_public, peer_public, err));
    hash_u32(&hash, PF_MIN(own_member, peer_member));
    hash_u32(&hash, PF_MAX(own_member, peer_member));
    hash_digest(&hash, context);
    hash_digest(&hash, key_list);
    hash_end(&hash, key);
    return PF_OK;
}

/* ---- step 1: share boxes --------------------------------------------------------------------- */

/* A share key belongs to one pair and one round, and the key of a box depends on who sends to whom,
 * so each key seals one box and the nonce can be zero. */
static const uint8_t no_nonce[crypto_aead_chacha20poly1305_ietf_NPUBBYTES];

static_assert(crypto_aead_chacha20poly1305_ietf_KEYBYTES == PF_DIGEST_BYTES, "a digest is a key");
static_assert(sizeof(struct pf_share_pair) + crypto_aead_chacha20poly1305_ietf_ABYTES ==
                  PF_SHARE_BOX_BYTES,
              "two scalars and the tag");

enum pf_status pf_share_key_derive(const uint8_t secret[32], const uint8_t own_public[32],
                                   const uint8_t peer_public[32], const struct pf_digest *context,
                                   const struct pf_digest *key_list, struct pf_share_key *key,
                                   struct pf_error *err)
{
    struct hash hash;
    PF_TRY(hash_begin_agreed(&hash, "packfed share key 1", secret, own_public, peer_public, err));
    hash_digest(&hash, context);
    hash_digest(&hash, key_list);
    hash_end(&hash, key->bytes);
    return PF_OK;
}

/* The associated data: sender, receiver and the index of the shares. */
struct box_header {
    uint8_t bytes[12];
};

static struct box_header make_header(uint32_t sender, uint32_t receiver)
{
    struct box_header header;
    store_u32(header.bytes, sender);
    store_u32(header.bytes + 4, receiver);
    store_u32(header.bytes + 8, receiver + 1);
    return header;
}

static void box_key(const struct pf_share_key *key, const struct box_header *header,
                    uint8_t out[PF_DIGEST_BYTES])
{
    struct hash hash;
    hash_begin(&hash, "packfed share box 1", key->bytes);
    hash_bytes(&hash, header->bytes, sizeof header->bytes);
    hash_end(&hash, out);
}

void pf_share_seal(const struct pf_share_key *key, uint32_t sender, uint32_t receiver,
                   const struct pf_share_pair *shares, uint8_t box[PF_SHARE_BOX_BYTES])
{
    uint8_t own_key[PF_DIGEST_BYTES];
    struct box_header header = make_header(sender, receiver);
    box_key(key, &header, own_key);
    crypto_aead_chacha20poly1305_ietf_encrypt(box, NULL, (const uint8_t *)shares, sizeof *shares,
                                              header.bytes, sizeof header.bytes, NULL, no_nonce,
                                              own_key);
    sodium_memzero(own_key, sizeof own_key);
}

enum pf_status pf_share_open(const struct pf_share_key *key, uint32_t sender, uint32_t receiver,
                             const uint8_t box[PF_SHARE_BOX_BYTES], struct pf_share_pair *shares,
                             struct pf_error *err)
{
    uint8_t own_key[PF_DIGEST_BYTES];
    struct pf_share_pair opened;
    struct box_header header = make_header(sender, receiver);
    box_key(key, &header, own_key);
    bool authentic = crypto_aead_chacha20poly1305_ietf_decrypt(
                         (uint8_t *)&opened, NULL, NULL, box, PF_SHARE_BOX_BYTES, header.bytes,
                         sizeof header.bytes, no_nonce, own_key) == 0;
    sodium_memzero(own_key, sizeof own_key);
    bool valid = authentic && pf_scalar_valid(&opened.self) && pf_scalar_valid(&opened.mask);
    if (valid) *shares = opened;
    sodium_memzero(&opened, sizeof opened);
    if (valid) return PF_OK;
    return pf_fail(err, PF_REFUSED,
                   authentic ? "member %u sealed no valid shares for member %u"
                             : "the box from member %u to member %u was not made by that sender "
                               "for that receiver in this round",
                   sender, receiver);
}

/* ---- step 3: consents ------------------------------------------------------------------------ */

static const char survivors_label[] = "packfed survivors 1";

static struct pf_digest survivors_digest(const struct pf_digest *context,
                                         const struct pf_digest *key_list,
                                         const struct pf_member_set *survivors)
{
    struct hash hash;
    hash_begin(&hash, survivors_label, NULL);
    hash_digest(&hash, context);
    hash_digest(&hash, key_list);
    hash_set(&hash, survivors);
    return hash_end_digest(&hash);
}

void pf_consent_sign(const struct pf_digest *context, const struct pf_digest *key_list,
                     const struct pf_member_set *survivors, const uint8_t sign_secret[64],
                     uint8_t signature[PF_SIGNATURE_BYTES])
{
    struct pf_digest digest = survivors_digest(context, key_list, survivors);
    sign(survivors_label, &digest, sign_secret, signature);
}

bool pf_consent_verify(const struct pf_digest *context, const struct pf_digest *key_list,
                       const struct pf_member_set *survivors, const uint8_t sign_public[32],
                       const uint8_t signature[PF_SIGNATURE_BYTES])
{
    struct pf_digest digest = survivors_digest(context, key_list, survivors);
    return verify(survivors_label, &digest, sign_public, signature);
}
