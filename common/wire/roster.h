/* The signed list of who may take part.
 *
 * An authority, whose key stays offline, signs: the federation's name, a serial number, the
 * coordinator's public identity and those of the members.  Coordinator and participants pin the
 * authority's public key, so neither can invent a member. */
#ifndef PF_COMMON_WIRE_ROSTER_H
#define PF_COMMON_WIRE_ROSTER_H

#include "common/wire/identity.h"

#define PF_MAX_MEMBERS 10000u

struct pf_roster {
    char federation[PF_MAX_NAME_BYTES];
    uint64_t serial; /* higher replaces lower */
    struct pf_public_identity coordinator;
    size_t n_members;
    struct pf_public_identity *members; /* sorted by name; names and keys unique */
    uint8_t hash[32];                   /* BLAKE2b-256 of the signed content */
};

/* Signs; members are copied and sorted.  PF_INVALID for none, too many, or a name or key twice. */
PF_NODISCARD enum pf_status pf_roster_create(const char *federation, uint64_t serial,
                                             const struct pf_public_identity *coordinator,
                                             const struct pf_public_identity *members,
                                             size_t n_members, struct pf_roster **roster,
                                             struct pf_error *err);
void pf_roster_destroy(struct pf_roster *self);
PF_DEFINE_CLEANUP(struct pf_roster, pf_roster_destroy)

PF_NODISCARD enum pf_status pf_roster_save(const struct pf_roster *self,
                                           const struct pf_identity *authority, const char *path,
                                           struct pf_error *err);

/* Verifies the signature by `authority`: "roster.pf: signed by 3f9a…, expected 77c1…
 * (--authority)". */
PF_NODISCARD enum pf_status pf_roster_load(const char *path,
                                           const struct pf_public_identity *authority,
                                           struct pf_roster **roster, struct pf_error *err);

/* For showing a roster without a pinned key: who signed it by its own account.  The signature must
 * be that signer's; whether to trust the signer is open.  Never let a party join by this. */
PF_NODISCARD enum pf_status pf_roster_peek(const char *path, uint8_t signer[32],
                                           struct pf_roster **roster, struct pf_error *err);

/* Index of the member with this transport key, or SIZE_MAX. */
size_t pf_roster_find(const struct pf_roster *self, const uint8_t transport[32]);

#endif
