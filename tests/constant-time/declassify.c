/* Where secrets turn into something public, or the other way round: the whole list.  The linker
 * puts these in the place of the functions they are named after (--wrap, see meson.build); none
 * does more than call it and say what of its result may be known.
 *
 * What is not here and decides a branch or an index is reported. */
#include <sodium.h>

#include "common/secagg/codec.h"
#include "participant/secagg_client.h"
#include "secret.h"

#define WRAP(function) extern __typeof__(function) __real_##function, __wrap_##function

/* ---- randomness ------------------------------------------------------------------------------ */

static const char *name(void)
{
    return "secrets that memcheck follows";
}

static void draw(void *bytes, size_t n)
{
    static uint8_t seed[randombytes_SEEDBYTES];
    sodium_increment(seed, sizeof seed);
    randombytes_buf_deterministic(bytes, n, seed);
    make_secret(bytes, n);
}

static uint32_t draw_u32(void)
{
    uint32_t word;
    draw(&word, sizeof word);
    return word;
}

void draw_secrets_only(void)
{
    static randombytes_implementation implementation = {
        .implementation_name = name, .random = draw_u32, .buf = draw};
    randombytes_set_implementation(&implementation);
}

/* ---- public by design ------------------------------------------------------------------------ */

/* A public key. */
WRAP(crypto_scalarmult_curve25519_base);
int __wrap_crypto_scalarmult_curve25519_base(unsigned char *q, const unsigned char *n)
{
    int status = __real_crypto_scalarmult_curve25519_base(q, n);
    make_public(q, crypto_scalarmult_curve25519_BYTES);
    make_public(&status, sizeof status);
    return status;
}

/* A signature. */
WRAP(crypto_sign_detached);
int __wrap_crypto_sign_detached(unsigned char *signature, unsigned long long *length,
                                const unsigned char *text, unsigned long long n,
                                const unsigned char *secret)
{
    int status = __real_crypto_sign_detached(signature, length, text, n, secret);
    make_public(signature, crypto_sign_BYTES);
    return status;
}

/* An advert is signed to be published, and with it the commitments to secrets that it holds. */
WRAP(pf_advert_sign);
void __wrap_pf_advert_sign(struct pf_advert *advert, const struct pf_digest *context,
                           const uint8_t sign_secret[64])
{
    __real_pf_advert_sign(advert, context, sign_secret);
    make_public(advert, sizeof *advert);
}

/* A member's part of the graph's randomness, when it is revealed. */
WRAP(pf_secagg_client_committed);
enum pf_status __wrap_pf_secagg_client_committed(struct pf_secagg_client *self,
                                                 const struct pf_committed *committed,
                                                 struct pf_reveal *reveal, enum pf_reason *reason,
                                                 struct pf_error *err)
{
    enum pf_status status = __real_pf_secagg_client_committed(self, committed, reveal, reason, err);
    if (status == PF_OK) make_public(reveal->randomness, sizeof reveal->randomness);
    return status;
}

/* A sealed box. */
WRAP(pf_share_seal);
void __wrap_pf_share_seal(const struct pf_share_key *key, uint32_t sender, uint32_t receiver,
                          const struct pf_share_pair *shares, uint8_t box[PF_SHARE_BOX_BYTES])
{
    __real_pf_share_seal(key, sender, receiver, shares, box);
    make_public(box, PF_SHARE_BOX_BYTES);
}

/* An update that has its masks: nothing else is packed. */
WRAP(pf_ring_pack);
void __wrap_pf_ring_pack(const struct pf_ring *self, uint8_t *packed)
{
    __real_pf_ring_pack(self, packed);
    make_public(packed, pf_ring_packed_size(pf_ring_length(self), pf_ring_bits(self)));
}

/* ---- verdicts -------------------------------------------------------------------------------- */

/* Whether a peer's key is of low order: a property of that key alone. */
WRAP(crypto_scalarmult_curve25519);
int __wrap_crypto_scalarmult_curve25519(unsigned char *q, const unsigned char *n,
                                        const unsigned char *p)
{
    int status = __real_crypto_scalarmult_curve25519(q, n, p);
    make_public(&status, sizeof status);
    return status;
}

/* Whether a box is authentic: the receiver says so to whoever delivered it. */
WRAP(crypto_aead_chacha20poly1305_ietf_decrypt);
int __wrap_crypto_aead_chacha20poly1305_ietf_decrypt(unsigned char *m, unsigned long long *length,
                                                     unsigned char *unused, const unsigned char *c,
                                                     unsigned long long n, const unsigned char *ad,
                                                     unsigned long long n_ad,
                                                     const unsigned char *nonce,
                                                     const unsigned char *key)
{
    int status = __real_crypto_aead_chacha20poly1305_ietf_decrypt(m, length, unused, c, n, ad, n_ad,
                                                                  nonce, key);
    make_public(&status, sizeof status);
    return status;
}

/* Whether a peer shared a number of the field; the same. */
WRAP(pf_scalar_valid);
bool __wrap_pf_scalar_valid(const struct pf_scalar *scalar)
{
    bool valid = __real_pf_scalar_valid(scalar);
    make_public(&valid, sizeof valid);
    return valid;
}

/* Whether a seed is the one that was committed to: the coordinator names those who gave wrong
 * shares.  How far two digests agree stays hidden. */
WRAP(pf_digest_equal);
bool __wrap_pf_digest_equal(const struct pf_digest *a, const struct pf_digest *b)
{
    bool equal = __real_pf_digest_equal(a, b);
    make_public(&equal, sizeof equal);
    return equal;
}

/* Whether a share lies on the polynomial that the others gave; the same. */
WRAP(pf_lagrange_agrees);
bool __wrap_pf_lagrange_agrees(const struct pf_lagrange *self, const struct pf_scalar *shares,
                               uint32_t x, const struct pf_scalar *share)
{
    bool agrees = __real_pf_lagrange_agrees(self, shares, x, share);
    make_public(&agrees, sizeof agrees);
    return agrees;
}

/* ---- the codec is outside -------------------------------------------------------------------- */

/* An update is clipped, rounded and clamped in floating point, with branches on its norm and its
 * values; so it becomes secret when it is integers, … */
WRAP(pf_codec_encode);
enum pf_status __wrap_pf_codec_encode(const struct pf_codec *self, const float *update,
                                      const uint64_t figures[PF_FIGURE_N],
                                      struct pf_random *rounding, struct pf_ring *ring,
                                      struct pf_error *err)
{
    enum pf_status status = __real_pf_codec_encode(self, update, figures, rounding, ring, err);
    for (size_t i = 0; i < pf_ring_length(ring); i++) {
        int64_t value = pf_ring_get_signed(ring, i);
        make_secret(&value, sizeof value);
        pf_ring_set(ring, i, value);
    }
    return status;
}

/* … and the sum, which the coordinator may know, ceases to be before it is decoded. */
WRAP(pf_codec_decode);
enum pf_status __wrap_pf_codec_decode(const struct pf_codec *self, const struct pf_ring *sum,
                                      uint32_t n_summed, float *mean, uint64_t figures[PF_FIGURE_N],
                                      struct pf_error *err)
{
    struct pf_ring *public = NULL;
    PF_TRY(pf_ring_create(pf_ring_length(sum), pf_ring_bits(sum), &public, err));
    for (size_t i = 0; i < pf_ring_length(sum); i++) {
        int64_t value = pf_ring_get_signed(sum, i);
        make_public(&value, sizeof value);
        pf_ring_set(public, i, value);
    }
    enum pf_status status = __real_pf_codec_decode(self, public, n_summed, mean, figures, err);
    pf_ring_destroy(public);
    return status;
}
