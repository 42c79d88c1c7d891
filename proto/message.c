#include "proto/message.h"

#include <sodium.h>

#include "common/base/memory.h"

const char *pf_message_kind_name(enum pf_message_kind kind)
{
    static const char *const names[] = {
        [PF_MESSAGE_HELLO] = "HELLO",
        [PF_MESSAGE_WELCOME] = "WELCOME",
        [PF_MESSAGE_REFUSAL] = "REFUSAL",
        [PF_MESSAGE_ROUND_OFFER] = "ROUND_OFFER",
        [PF_MESSAGE_MODEL_REQUEST] = "MODEL_REQUEST",
        [PF_MESSAGE_MODEL_CHUNK] = "MODEL_CHUNK",
        [PF_MESSAGE_UPDATE_CHUNK] = "UPDATE_CHUNK",
        [PF_MESSAGE_UPDATE_RECEIPT] = "UPDATE_RECEIPT",
        [PF_MESSAGE_DECLINE] = "DECLINE",
        [PF_MESSAGE_ALIVE] = "ALIVE",
        [PF_MESSAGE_ROUND_RESULT] = "ROUND_RESULT",
        [PF_MESSAGE_FINISHED] = "FINISHED",
        [PF_MESSAGE_ADVERTISE] = "ADVERTISE",
        [PF_MESSAGE_COMMITTED] = "COMMITTED",
        [PF_MESSAGE_REVEAL] = "REVEAL",
        [PF_MESSAGE_KEY_LIST] = "KEY_LIST",
        [PF_MESSAGE_SHARES] = "SHARES",
        [PF_MESSAGE_SHARE_DELIVERY] = "SHARE_DELIVERY",
        [PF_MESSAGE_UPDATE_GRANT] = "UPDATE_GRANT",
        [PF_MESSAGE_SURVIVORS] = "SURVIVORS",
        [PF_MESSAGE_CONSENT] = "CONSENT",
        [PF_MESSAGE_UNMASK_REQUEST] = "UNMASK_REQUEST",
        [PF_MESSAGE_UNMASK] = "UNMASK",
    };
    bool known = (size_t)kind < PF_ARRAY_LENGTH(names) && names[kind] != NULL;
    return known ? names[kind] : "unknown";
}

const char *pf_reason_name(enum pf_reason reason)
{
    static const char *const names[] = {
        [PF_REASON_NONE] = "none",
        [PF_REASON_VERSION] = "version",
        [PF_REASON_WRONG_RUN] = "wrong run",
        [PF_REASON_ARCHITECTURE] = "architecture",
        [PF_REASON_PACKING] = "packing",
        [PF_REASON_COHORT_TOO_SMALL] = "cohort too small",
        [PF_REASON_MODEL_HASH] = "model hash",
        [PF_REASON_TRAINING_FAILED] = "training failed",
        [PF_REASON_UPDATE_INVALID] = "update invalid",
        [PF_REASON_LATE] = "late",
        [PF_REASON_BUSY] = "busy",
        [PF_REASON_POLICY] = "policy",
        [PF_REASON_STEP] = "step",
        [PF_REASON_SIGNATURE] = "signature",
        [PF_REASON_ROSTER] = "roster",
        [PF_REASON_THRESHOLD] = "threshold",
        [PF_REASON_GRAPH] = "graph",
        [PF_REASON_MODULUS] = "modulus",
        [PF_REASON_SECOND_LIST] = "second list",
        [PF_REASON_SHARE_BOX] = "share box",
        [PF_REASON_SURVIVOR_SET] = "survivor set",
        [PF_REASON_TOO_FEW] = "too few",
        [PF_REASON_BOTH_SHARES] = "both shares",
        [PF_REASON_REPEATED_PEER] = "repeated peer",
        [PF_REASON_UNKNOWN_PEER] = "unknown peer",
        [PF_REASON_SELF_DROPPED] = "self dropped",
    };
    return (size_t)reason < PF_ARRAY_LENGTH(names) ? names[reason] : "unknown";
}

static void finish_unmask_request(struct pf_unmask_request *self)
{
    pf_free(self->survivors);
    pf_free(self->dropped);
    pf_free(self->consents);
}

static void finish_unmask(struct pf_unmask *self)
{
    if (self->shares != NULL) sodium_memzero(self->shares, self->n_shares * sizeof self->shares[0]);
    pf_free(self->shares);
}

void pf_message_finish(struct pf_message *self)
{
    switch (self->kind) {
    case PF_MESSAGE_ROUND_OFFER:
        pf_free(self->offer.chunk_hashes);
        pf_free(self->offer.teacher.chunk_hashes);
        break;
    case PF_MESSAGE_MODEL_CHUNK:
    case PF_MESSAGE_UPDATE_CHUNK: pf_free(self->chunk.bytes); break;
    case PF_MESSAGE_COMMITTED: pf_member_set_finish(&self->committed.cohort); break;
    case PF_MESSAGE_KEY_LIST:
        pf_member_set_finish(&self->key_list.cohort);
        pf_free(self->key_list.randomness);
        pf_free(self->key_list.adverts);
        break;
    case PF_MESSAGE_SHARES:
    case PF_MESSAGE_SHARE_DELIVERY:
        pf_member_set_finish(&self->shares.sharers);
        pf_free(self->shares.boxes);
        break;
    case PF_MESSAGE_SURVIVORS: pf_member_set_finish(&self->survivors.survivors); break;
    case PF_MESSAGE_UNMASK_REQUEST: finish_unmask_request(&self->unmask_request); break;
    case PF_MESSAGE_UNMASK: finish_unmask(&self->unmask); break;
    default: break;
    }
    *self = (struct pf_message){0};
}
