/* ChaCha20's key stream under nonce 0, of which masks are made.  Private to ring.c, its tests and
 * its benchmarks.
 *
 * libcrypto makes it, with the widest vectors that the processor has.  Where it cannot (no memory
 * for its context, or an openssl.cnf that leaves no ChaCha20), libsodium makes the same bytes more
 * slowly. So nothing here fails. */
#ifndef PF_COMMON_SECAGG_KEYSTREAM_H
#define PF_COMMON_SECAGG_KEYSTREAM_H

#include <stddef.h>
#include <stdint.h>

#define PF_KEYSTREAM_KEY_BYTES 32u
#define PF_KEYSTREAM_BLOCK 64u
#define PF_KEYSTREAM_MAX_BYTES 65536u /* at a time */

/* For one thread, and for any number of keys one after the other. */
struct pf_keystream {
    struct evp_cipher_ctx_st *context; /* libcrypto's; NULL: libsodium serves */
};

void pf_keystream_init(struct pf_keystream *self);
void pf_keystream_finish(struct pf_keystream *self); /* wipes, the stack below too */

/* out[length] ← the stream of `key` from block `first_block` on; length ≤ PF_KEYSTREAM_MAX_BYTES,
 * and no block beyond the 2^32-th. */
void pf_keystream_make(struct pf_keystream *self, const uint8_t key[PF_KEYSTREAM_KEY_BYTES],
                       uint64_t first_block, uint8_t *out, size_t length);
/* The plain twin: libsodium. */
void pf_keystream_make_ref(const uint8_t key[PF_KEYSTREAM_KEY_BYTES], uint64_t first_block,
                           uint8_t *out, size_t length);

#endif
