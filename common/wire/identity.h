/* Who is who: key pairs of a participant, a coordinator or an authority, and their files.
 *
 * NAME.key (0600) holds the secrets, NAME.pub what others may know.  Both are short text files
 * whose first line says what they are; see docs/ARCHITECTURE.md, "Files".  A secret file that
 * group or others can read is refused.  Secrets are wiped when released. */
#ifndef PF_COMMON_WIRE_IDENTITY_H
#define PF_COMMON_WIRE_IDENTITY_H

#include <stddef.h>
#include <stdint.h>

#include "common/base/error.h"

#define PF_MAX_NAME_BYTES 64u /* with the final zero; letters, digits, '.', '-', '_' */

struct pf_public_identity {
    char name[PF_MAX_NAME_BYTES];
    uint8_t sign[32];      /* Ed25519 */
    uint8_t transport[32]; /* Curve25519, for ZeroMQ CURVE */
};

struct pf_identity {
    struct pf_public_identity public;
    uint8_t sign_secret[64];
    uint8_t transport_secret[32];
};

PF_NODISCARD enum pf_status pf_identity_generate(const char *name, struct pf_identity *identity,
                                                 struct pf_error *err);
void pf_identity_finish(struct pf_identity *self); /* wipes; for PF_CLEANUP too */

/* Writes STEM.key (0600) and STEM.pub; refuses to overwrite either. */
PF_NODISCARD enum pf_status pf_identity_save(const struct pf_identity *self, const char *stem,
                                             struct pf_error *err);
/* PF_REFUSED when group or others have any permission, or the file is somebody else's. */
PF_NODISCARD enum pf_status pf_identity_load(const char *key_path, struct pf_identity *identity,
                                             struct pf_error *err);
/* PF_CORRUPT also for keys that are no points of their curves. */
PF_NODISCARD enum pf_status pf_public_identity_load(const char *pub_path,
                                                    struct pf_public_identity *identity,
                                                    struct pf_error *err);

/* 1 to 63 characters of the alphabet above, not beginning with '.' or '-' (names become file names
 * and options).  PF_INVALID. */
PF_NODISCARD enum pf_status pf_name_check(const char *name, struct pf_error *err);

/* First 16 hex digits of BLAKE2b over both public keys, for people. */
void pf_identity_fingerprint(const struct pf_public_identity *self, char out[17]);

#endif
