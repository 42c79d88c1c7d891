/* The secure aggregation within the participant's session: messages in, answers and records out.
 * What is agreed to and what is refused is decided in secagg_client*.c. */
#include <string.h>

#include "common/base/log.h"
#include "common/base/memory.h"
#include "participant/session_parts.h"
#include "proto/model_file.h"
#include "proto/round_context.h"

static struct pf_secagg_client_config client_config(const struct pf_participant_session *self)
{
    const struct pf_participant_session_config *config = &self->config;
    return (struct pf_secagg_client_config){
        .roster = config->roster,
        .self = config->self,
        .sign_secret = config->sign_secret,
        .round = self->offer.round,
        .context = pf_round_context(&self->welcome.run_id, config->roster->hash, &self->offer),
        .masking = self->offer.masking,
        .min_cohort = pf_participant_policy_min_cohort(&config->policy, PF_AGGREGATION_SECURE),
        .max_corrupt = config->policy.max_corrupt,
        .adversary = config->policy.adversary,
        .pool = config->pool,
    };
}

void pf_ps_advertise(struct pf_participant_session *self)
{
    if (self->secagg == NULL || pf_secagg_client_step(self->secagg) != PF_SECAGG_ADVERTISED) return;
    struct pf_message *message = pf_ps_send(self, PF_MESSAGE_ADVERTISE);
    pf_secagg_client_advertise(self->secagg, &message->advertise);
}

bool pf_ps_join_secure_round(struct pf_participant_session *self, struct pf_error *err)
{
    struct pf_secagg_client_config config = client_config(self);
    pf_round_rotation_seed(&self->offer, config.rotation_seed);
    if (pf_secagg_client_create(&config, &self->secagg, err) != PF_OK) return false;
    pf_ps_advertise(self);
    return true;
}

/* A message about the round at hand, which is a secure one. */
static bool at_hand(struct pf_participant_session *self, uint32_t round)
{
    if (self->secagg != NULL && round == self->last.round) return true;
    self->counters.stale++;
    return false;
}

/* Steps 0 and 1 decide whether this round is one to take part in: what is refused ends it here, and
 * its secrets with it. */
static bool refuse_setup(struct pf_participant_session *self, enum pf_status status,
                         enum pf_reason reason, const char *text)
{
    if (status != PF_REFUSED) reason = PF_REASON_TRAINING_FAILED;
    pf_ps_give_round_up(self, reason, text);
    return false;
}

/* Once the update is masked, a refusal changes nothing: what is right may still come. */
static bool refuse_step(struct pf_participant_session *self, enum pf_status status,
                        enum pf_reason reason, const char *text)
{
    if (status != PF_REFUSED) reason = PF_REASON_TRAINING_FAILED;
    pf_ps_decline(self, self->last.round, reason, text);
    return pf_ps_refuse(self, reason, text);
}

/* A list or boxes that are not to be agreed to; second ones come too late to change anything once
 * the update is masked. */
static bool refuse_list(struct pf_participant_session *self, enum pf_secagg_step before,
                        enum pf_status status, enum pf_reason reason, const char *text)
{
    return before >= PF_SECAGG_MASKED ? refuse_step(self, status, reason, text)
                                      : refuse_setup(self, status, reason, text);
}

/* A step that is behind us already. */
static void note_repeat(struct pf_participant_session *self, enum pf_secagg_step before)
{
    self->counters.repeated += pf_secagg_client_step(self->secagg) == before;
}

bool pf_ps_committed(struct pf_participant_session *self, const struct pf_message *message,
                     int64_t now_ms)
{
    (void)now_ms;
    if (!at_hand(self, message->committed.round)) return false;
    struct pf_error err = {0};
    struct pf_reveal reveal;
    enum pf_reason reason = PF_REASON_NONE;
    enum pf_secagg_step before = pf_secagg_client_step(self->secagg);
    enum pf_status status =
        pf_secagg_client_committed(self->secagg, &message->committed, &reveal, &reason, &err);
    if (status == PF_REFUSED && reason == PF_REASON_STEP) {
        self->counters.stale++; /* the list has come since */
        return false;
    }
    if (status != PF_OK) return refuse_setup(self, status, reason, err.text);
    note_repeat(self, before);
    pf_ps_send(self, PF_MESSAGE_REVEAL)->reveal = reveal;
    return true;
}

bool pf_ps_key_list(struct pf_participant_session *self, const struct pf_message *message,
                    int64_t now_ms)
{
    (void)now_ms;
    if (!at_hand(self, message->key_list.round)) return false;
    struct pf_error err = {0};
    struct pf_shares shares = {0};
    enum pf_reason reason = PF_REASON_NONE;
    enum pf_secagg_step before = pf_secagg_client_step(self->secagg);
    enum pf_status status =
        pf_secagg_client_key_list(self->secagg, &message->key_list, &shares, &reason, &err);
    if (status != PF_OK) return refuse_list(self, before, status, reason, err.text);
    note_repeat(self, before);
    pf_message_finish(&self->shares_answer);
    struct pf_message *answer = pf_ps_send(self, PF_MESSAGE_SHARES);
    answer->shares = shares;
    self->shares_answer = *answer;
    return true;
}

static void give_update_up(struct pf_participant_session *self, enum pf_status status,
                           enum pf_reason reason, const char *sentence)
{
    /* PF_INVALID names a value of the update: not for others to read. */
    bool diverged = status == PF_INVALID;
    if (status != PF_REFUSED) reason = PF_REASON_TRAINING_FAILED;
    if (diverged) pf_log(PF_LOG_WARNING, "round %u: %s", self->last.round, sentence);
    pf_ps_give_round_up(self, reason, diverged ? "the local training diverged" : sentence);
}

void pf_ps_mask_update(struct pf_participant_session *self, int64_t now_ms)
{
    if (pf_secagg_client_step(self->secagg) != PF_SECAGG_READY) {
        pf_ps_set_phase(self, PF_PARTICIPANT_MASKING);
        return;
    }
    struct pf_error err = {0};
    enum pf_reason reason = PF_REASON_NONE;
    enum pf_status status = pf_secagg_client_mask(
        self->secagg, self->update_length, self->trained.values, self->trained.figures,
        self->config.rounding_seed, &self->update, &reason, &err);
    pf_update_finish(&self->trained);
    if (status == PF_OK && self->update.length > PF_MAX_MODEL_BYTES)
        status = pf_fail(&err, PF_NO_MEMORY, "a masked update of %zu bytes is too long to send",
                         self->update.length);
    if (status == PF_OK)
        pf_ps_start_upload(self, now_ms);
    else
        give_update_up(self, status, reason, err.text);
}

bool pf_ps_delivery(struct pf_participant_session *self, const struct pf_message *message,
                    int64_t now_ms)
{
    if (!at_hand(self, message->shares.round)) return false;
    struct pf_error err = {0};
    enum pf_reason reason = PF_REASON_NONE;
    enum pf_secagg_step before = pf_secagg_client_step(self->secagg);
    enum pf_status status =
        pf_secagg_client_delivery(self->secagg, &message->shares, &reason, &err);
    if (status != PF_OK) return refuse_list(self, before, status, reason, err.text);
    note_repeat(self, before);
    if (self->phase == PF_PARTICIPANT_MASKING) pf_ps_mask_update(self, now_ms);
    return true;
}

bool pf_ps_survivors(struct pf_participant_session *self, const struct pf_message *message,
                     int64_t now_ms)
{
    if (!at_hand(self, message->survivors.round)) return false;
    struct pf_error err = {0};
    struct pf_consent_message consent;
    struct pf_digest digest;
    enum pf_reason reason = PF_REASON_NONE;
    enum pf_secagg_step before = pf_secagg_client_step(self->secagg);
    enum pf_status status = pf_secagg_client_survivors(self->secagg, &message->survivors, &consent,
                                                       &digest, &reason, &err);
    if (status != PF_OK) return refuse_step(self, status, reason, err.text);
    if (self->phase == PF_PARTICIPANT_UPLOADING) {
        /* The receipt was lost: being named says as much. */
        const struct pf_message receipt = {.receipt = {.round = self->last.round}};
        (void)pf_ps_receipt(self, &receipt, now_ms);
    }
    note_repeat(self, before);
    if (before != PF_SECAGG_CONSENTED && before != PF_SECAGG_UNMASKED) {
        self->last.consented = true;
        self->last.survivors = digest;
        pf_ps_set_outcome(self, PF_OUTCOME_JOINED); /* recorded before the consent leaves */
    }
    pf_ps_send(self, PF_MESSAGE_CONSENT)->consent = consent;
    return true;
}

bool pf_ps_unmask_request(struct pf_participant_session *self, const struct pf_message *message,
                          int64_t now_ms)
{
    (void)now_ms;
    if (!at_hand(self, message->unmask_request.round)) return false;
    struct pf_error err = {0};
    struct pf_unmask unmask = {0};
    enum pf_reason reason = PF_REASON_NONE;
    enum pf_secagg_step before = pf_secagg_client_step(self->secagg);
    enum pf_status status =
        pf_secagg_client_unmask(self->secagg, &message->unmask_request, &unmask, &reason, &err);
    if (status != PF_OK) return refuse_step(self, status, reason, err.text);
    note_repeat(self, before);
    pf_message_finish(&self->unmask_answer);
    struct pf_message *answer = pf_ps_send(self, PF_MESSAGE_UNMASK);
    answer->unmask = unmask;
    self->unmask_answer = *answer;
    return true;
}
