/* Both libraries have the cipher as Bernstein wrote it: a block counter of 64 bits, then a nonce of
 * 64 bits.  libcrypto takes both as an "IV" of 16 bytes, each half little-endian.  With fewer than
 * 2^32 blocks and nonce 0, RFC 8439's counter of 32 bits and nonce of 96 give the same stream. */
#include "common/secagg/keystream.h"

#include <assert.h>
#include <openssl/evp.h>
#include <sodium.h>
#include <stdbool.h>
#include <string.h>

static_assert(PF_KEYSTREAM_KEY_BYTES == crypto_stream_chacha20_KEYBYTES, "ChaCha20's key");

/* libcrypto's frames keep copies of what they worked on; none reaches deeper. */
#define STACK_TRACES_BYTES 4096u

void pf_keystream_init(struct pf_keystream *self)
{
    self->context = EVP_CIPHER_CTX_new();
    if (self->context != NULL &&
        EVP_EncryptInit_ex(self->context, EVP_chacha20(), NULL, NULL, NULL) == 1)
        return;
    EVP_CIPHER_CTX_free(self->context);
    self->context = NULL;
}

void pf_keystream_finish(struct pf_keystream *self)
{
    EVP_CIPHER_CTX_free(self->context); /* wipes key and state */
    self->context = NULL;
    sodium_stackzero(STACK_TRACES_BYTES);
}

static bool make_with_libcrypto(EVP_CIPHER_CTX *context, const uint8_t *key, uint64_t first_block,
                                uint8_t *out, size_t length)
{
    /* Reading zeros takes less time than writing them to `out` first. */
    static const uint8_t zeros[PF_KEYSTREAM_MAX_BYTES];
    uint8_t counter[16] = {0};
    int made = 0;
    for (size_t i = 0; i < sizeof first_block; i++) counter[i] = (uint8_t)(first_block >> (8 * i));
    return EVP_EncryptInit_ex(context, NULL, NULL, key, counter) == 1 &&
           EVP_EncryptUpdate(context, out, &made, zeros, (int)length) == 1 && made == (int)length;
}

void pf_keystream_make(struct pf_keystream *self, const uint8_t key[PF_KEYSTREAM_KEY_BYTES],
                       uint64_t first_block, uint8_t *out, size_t length)
{
    /* So that nobody has to know what a library does when 32 bits of its counter are used up: 2^32
     * blocks are a mask of 256 GiB, and the longest (PF_MAX_PARAMETERS coordinates of
     * PF_RING_MAX_BITS; a peer cannot make it longer) has 2^26 · 64 / 8 bytes, 2^23 blocks. */
    const uint64_t n_blocks = length / PF_KEYSTREAM_BLOCK + (length % PF_KEYSTREAM_BLOCK != 0);
    assert(length <= PF_KEYSTREAM_MAX_BYTES && first_block <= UINT32_MAX);
    assert(first_block + n_blocks <= UINT64_C(1) << 32);
    if (self->context == NULL || !make_with_libcrypto(self->context, key, first_block, out, length))
        pf_keystream_make_ref(key, first_block, out, length);
}

void pf_keystream_make_ref(const uint8_t key[PF_KEYSTREAM_KEY_BYTES], uint64_t first_block,
                           uint8_t *out, size_t length)
{
    static const uint8_t nonce[crypto_stream_chacha20_NONCEBYTES] = {0};
    memset(out, 0, length);
    crypto_stream_chacha20_xor_ic(out, out, length, nonce, first_block, key);
}
