/* What a participant agrees to.
 *
 * The checks are pure: they read a message and the policy, and name the reason of a refusal for
 * the DECLINE that goes back. */
#ifndef PF_PARTICIPANT_POLICY_H
#define PF_PARTICIPANT_POLICY_H

#include "proto/message.h"

struct pf_participant_policy {
    /* Refuse rounds and sums of fewer participants; never fewer than PF_MIN_SECURE_COHORT, plain 1.
     */
    uint32_t min_cohort;
    bool allow_plain;   /* send updates that the coordinator can read */
    double max_corrupt; /* γ to be protected against in a secure round; < 0: by cohort size */
    enum pf_adversary adversary; /* … and whom */
    bool pinned;                 /* accept `network` only */
    struct pf_network network;
    /* Shape of the participant's own images; in_channels = 0: not checked. */
    uint32_t in_channels, in_height, in_width, n_classes;
    double max_epochs;        /* of local training in one round */
    uint64_t max_model_bytes; /* of a round's model, and of a teacher */
};

/* Secure aggregation alone, nothing pinned, 100 epochs, PF_MAX_MODEL_BYTES. */
void pf_participant_policy_default(struct pf_participant_policy *policy);

/* The smallest cohort that is accepted. */
uint32_t pf_participant_policy_min_cohort(const struct pf_participant_policy *self,
                                          enum pf_aggregation aggregation);

/* PF_REFUSED, with both networks in the sentence, when the policy rules `network` out. */
PF_NODISCARD enum pf_status pf_participant_policy_network(const struct pf_participant_policy *self,
                                                          const struct pf_network *network,
                                                          struct pf_error *err);

/* PF_REFUSED with *reason set when the offer is absurd or against the policy. */
PF_NODISCARD enum pf_status pf_participant_policy_offer(const struct pf_participant_policy *self,
                                                        enum pf_aggregation aggregation,
                                                        const struct pf_round_offer *offer,
                                                        enum pf_reason *reason,
                                                        struct pf_error *err);

#endif
