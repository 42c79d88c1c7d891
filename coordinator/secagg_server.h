/* The coordinator's side of the secure aggregation of one round: steps 0 to 4 as a state machine
 * without I/O.
 *
 *   ADVERTISING ─(REVEALING)─ SHARING ─ MASKING ─ CONSENTING ─ UNMASKING
 *
 * The session tells it what came from which member and when a step's waiting is over, and asks it
 * for the messages of the next step.  It checks what an honest coordinator can check (signatures,
 * cohort, boxes, consents, shares), so that one participant's nonsense cannot spoil the round of
 * the others.  What is refused changes nothing and gives a named reason; repeats are accepted and
 * change nothing.  Who does not deliver a step by its end is out of the steps after it.
 *
 * Memory: adverts and consents per member, boxes per edge of the graph, one accumulator. */
#ifndef PF_COORDINATOR_SECAGG_SERVER_H
#define PF_COORDINATOR_SECAGG_SERVER_H

#include "common/secagg/codec.h"
#include "common/secagg/unmask.h"
#include "common/wire/identity.h"
#include "proto/message.h"

enum pf_secagg_phase {
    PF_SECAGG_ADVERTISING, /* step 0 */
    PF_SECAGG_REVEALING,   /* HARARY only */
    PF_SECAGG_SHARING,     /* step 1 */
    PF_SECAGG_MASKING,     /* step 2 */
    PF_SECAGG_CONSENTING,  /* step 3 */
    PF_SECAGG_UNMASKING,   /* step 4 */
};

struct pf_secagg_server_config {
    uint32_t n_members;                       /* of the roster */
    const struct pf_public_identity *members; /* [n_members]; borrowed */
    uint32_t round;
    struct pf_digest context; /* pf_round_context of the offer */
    struct pf_masking_order masking;
    uint8_t rotation_seed[32];        /* pf_round_rotation_seed of the offer */
    size_t length[PF_CODEC_SEGMENTS]; /* coordinates of an update of this round's model */
    double corrupt, dropouts;         /* γ, δ; corrupt < 0: pf_secagg_default... for the size */
    enum pf_adversary adversary;
    enum pf_graph_kind graph; /* 0: by size */
};

struct pf_secagg_server;

PF_NODISCARD enum pf_status pf_secagg_server_create(const struct pf_secagg_server_config *config,
                                                    struct pf_secagg_server **server,
                                                    struct pf_error *err);
void pf_secagg_server_destroy(struct pf_secagg_server *self);
PF_DEFINE_CLEANUP(struct pf_secagg_server, pf_secagg_server_destroy)

enum pf_secagg_phase pf_secagg_server_phase(const struct pf_secagg_server *self);

/* Whether this member has delivered the current phase's message. */
bool pf_secagg_server_delivered(const struct pf_secagg_server *self, uint32_t member);
/* Whether the current phase waits for this member: it delivered the phase before. */
bool pf_secagg_server_awaits(const struct pf_secagg_server *self, uint32_t member);
uint32_t pf_secagg_server_threshold(const struct pf_secagg_server *self); /* 0 before the list */
const struct pf_secagg_parameters *pf_secagg_server_parameters(const struct pf_secagg_server *self);

/* What came.  PF_OK: noted (or known already); PF_REFUSED with *reason; PF_NO_MEMORY. */
PF_NODISCARD enum pf_status pf_secagg_server_advertise(struct pf_secagg_server *self,
                                                       uint32_t member,
                                                       const struct pf_advertise *message,
                                                       enum pf_reason *reason,
                                                       struct pf_error *err);
PF_NODISCARD enum pf_status pf_secagg_server_reveal(struct pf_secagg_server *self, uint32_t member,
                                                    const struct pf_reveal *message,
                                                    enum pf_reason *reason, struct pf_error *err);
PF_NODISCARD enum pf_status pf_secagg_server_shares(struct pf_secagg_server *self, uint32_t member,
                                                    const struct pf_shares *message,
                                                    enum pf_reason *reason, struct pf_error *err);
/* One whole packed masked vector of pf_secagg_server_packed_bytes; added to the accumulator at once
 * and not kept.  Once per member. */
PF_NODISCARD enum pf_status pf_secagg_server_masked(struct pf_secagg_server *self, uint32_t member,
                                                    const uint8_t *packed, size_t length,
                                                    enum pf_reason *reason, struct pf_error *err);
PF_NODISCARD enum pf_status pf_secagg_server_consent(struct pf_secagg_server *self, uint32_t member,
                                                     const struct pf_consent_message *message,
                                                     enum pf_reason *reason, struct pf_error *err);
PF_NODISCARD enum pf_status pf_secagg_server_unmask(struct pf_secagg_server *self, uint32_t member,
                                                    const struct pf_unmask *message,
                                                    enum pf_reason *reason, struct pf_error *err);

/* ADVERTISING: the member has left before the cohort is fixed; it is not one of it.  Later it is
 * too late, and the steps go on without it. */
void pf_secagg_server_withdraw(struct pf_secagg_server *self, uint32_t member);

/* The end of a phase: those who delivered it go on.  PF_REFUSED, with the numbers, when they are
 * too few to end the round: it is over then.
 *   ADVERTISING → REVEALING or, complete, SHARING; REVEALING → SHARING, only if all have revealed
 * (a coordinator that chooses who reveals would choose the graph); SHARING → MASKING; MASKING →
 *   CONSENTING; CONSENTING → UNMASKING. */
PF_NODISCARD enum pf_status pf_secagg_server_advance(struct pf_secagg_server *self,
                                                     struct pf_error *err);

/* The current phase's message to one member that it awaits, as often as asked for.  The caller
 * finishes it. REVEALING: COMMITTED; SHARING: KEY_LIST; MASKING: SHARE_DELIVERY; CONSENTING:
 * SURVIVORS; UNMASKING: UNMASK_REQUEST.  In ADVERTISING there is none: PF_INVALID. */
PF_NODISCARD enum pf_status pf_secagg_server_message(const struct pf_secagg_server *self,
                                                     uint32_t member, struct pf_message *message,
                                                     struct pf_error *err);

/* Bytes of a masked update; known from SHARING on (the modulus follows from the cohort). */
size_t pf_secagg_server_packed_bytes(const struct pf_secagg_server *self);
/* For decoding Σ x; known from SHARING on. */
const struct pf_codec_config *pf_secagg_server_codec(const struct pf_secagg_server *self);

/* UNMASKING: whether every secret that is needed has a threshold of shares. */
bool pf_secagg_server_can_unmask(const struct pf_secagg_server *self);
/* Moves out all that the worker needs.  PF_REFUSED, naming members, when not _can_unmask. */
PF_NODISCARD enum pf_status pf_secagg_server_take(struct pf_secagg_server *self,
                                                  struct pf_unmasking **unmasking,
                                                  struct pf_error *err);

#endif
