/* One participant's side of the secure aggregation of one round: steps 0 to 4 as a state machine
 * without I/O.
 *
 *   ADVERTISED ─(COMMITTED ─▶ REVEALED)─ KEY_LIST ─▶ SHARED ─ SHARE_DELIVERY ─▶ READY ─ mask ─▶
 * MASKED ─ SURVIVORS ─▶ CONSENTED ─ UNMASK_REQUEST ─▶ UNMASKED
 *
 * It is made for one round, holds that round's secrets and is destroyed (wiped) with it; secrets
 * never outlive a process, so a participant that restarts is out of its round.  Each step checks
 * everything before it changes anything.  What is refused leaves the client byte for byte as it
 * was and gives a named reason.  A repeat of what was accepted gives the same answer again; a
 * different message for a step that was taken is refused: one key list, one delivery, one survivor
 * set and one unmasking per round, ever.
 *
 * What the participant promises itself is in docs/threat-model.md. */
#ifndef PF_PARTICIPANT_SECAGG_CLIENT_H
#define PF_PARTICIPANT_SECAGG_CLIENT_H

#include "common/base/pool.h"
#include "common/secagg/codec.h"
#include "common/secagg/protocol.h"
#include "common/wire/roster.h"
#include "proto/message.h"

enum pf_secagg_step {
    PF_SECAGG_ADVERTISED, /* step 0; keys are drawn */
    PF_SECAGG_REVEALED,   /* HARARY only */
    PF_SECAGG_SHARED,     /* step 1: boxes made */
    PF_SECAGG_READY,      /* boxes of the others held: an update can be masked */
    PF_SECAGG_MASKED,     /* step 2 */
    PF_SECAGG_CONSENTED,  /* step 3 */
    PF_SECAGG_UNMASKED,   /* step 4 */
};

const char *pf_secagg_step_name(enum pf_secagg_step step);

struct pf_secagg_client_config {
    const struct pf_roster *roster; /* borrowed for the client's life */
    uint32_t self;                  /* own index on it */
    const uint8_t *sign_secret;     /* [64]; borrowed */
    uint32_t round;
    struct pf_digest context; /* pf_round_context of the offer */
    struct pf_masking_order masking;
    uint8_t rotation_seed[32];   /* pf_round_rotation_seed of the offer */
    uint32_t min_cohort;         /* smallest cohort and survivor set accepted */
    double max_corrupt;          /* γ to be protected against; < 0: pf_secagg_default_corrupt */
    enum pf_adversary adversary; /* whom to be protected against; 0: PF_SEMI_MALICIOUS */
    struct pf_pool *pool;        /* for masks; NULL: the calling thread alone */
};

struct pf_secagg_client;

/* Draws keys and seeds. */
PF_NODISCARD enum pf_status pf_secagg_client_create(const struct pf_secagg_client_config *config,
                                                    struct pf_secagg_client **client,
                                                    struct pf_error *err);
void pf_secagg_client_destroy(struct pf_secagg_client *self); /* wipes */
PF_DEFINE_CLEANUP(struct pf_secagg_client, pf_secagg_client_destroy)

enum pf_secagg_step pf_secagg_client_step(const struct pf_secagg_client *self);

/* Step 0.  The same advert at each call. */
void pf_secagg_client_advertise(const struct pf_secagg_client *self,
                                struct pf_advertise *advertise);

/* The functions below: PF_OK and an answer (finish it with pf_message_finish of its kind);
 * PF_REFUSED with *reason; PF_NO_MEMORY. */

/* Step 0, HARARY: the cohort is fixed; gives away one's randomness. */
PF_NODISCARD enum pf_status pf_secagg_client_committed(struct pf_secagg_client *self,
                                                       const struct pf_committed *committed,
                                                       struct pf_reveal *reveal,
                                                       enum pf_reason *reason,
                                                       struct pf_error *err);
/* Step 1. */
PF_NODISCARD enum pf_status pf_secagg_client_key_list(struct pf_secagg_client *self,
                                                      const struct pf_key_list *list,
                                                      struct pf_shares *shares,
                                                      enum pf_reason *reason, struct pf_error *err);
PF_NODISCARD enum pf_status pf_secagg_client_delivery(struct pf_secagg_client *self,
                                                      const struct pf_shares *delivery,
                                                      enum pf_reason *reason, struct pf_error *err);

/* Step 2: encodes, masks and packs.  update[length[0] + length[1]]; figures as for
 * pf_codec_encode; the rounding follows from rounding_seed and the round.  Once: PF_INVALID for
 * values that cannot be encoded (the client is then as it was), PF_REFUSED with PF_REASON_STEP
 * before READY. */
PF_NODISCARD enum pf_status pf_secagg_client_mask(struct pf_secagg_client *self,
                                                  const size_t length[PF_CODEC_SEGMENTS],
                                                  const float *update,
                                                  const uint64_t figures[PF_FIGURE_N],
                                                  uint64_t rounding_seed, struct pf_buffer *packed,
                                                  enum pf_reason *reason, struct pf_error *err);

/* Step 3.  The first survivor set that is accepted is the only one: note `digest` durably before
 * the consent is sent. */
PF_NODISCARD enum pf_status pf_secagg_client_survivors(struct pf_secagg_client *self,
                                                       const struct pf_survivors *survivors,
                                                       struct pf_consent_message *consent,
                                                       struct pf_digest *digest,
                                                       enum pf_reason *reason,
                                                       struct pf_error *err);
/* Step 4. */
PF_NODISCARD enum pf_status pf_secagg_client_unmask(struct pf_secagg_client *self,
                                                    const struct pf_unmask_request *request,
                                                    struct pf_unmask *unmask,
                                                    enum pf_reason *reason, struct pf_error *err);

#endif
