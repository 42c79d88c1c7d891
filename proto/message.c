#include "proto/message.h"

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
    };
    return (size_t)reason < PF_ARRAY_LENGTH(names) ? names[reason] : "unknown";
}

void pf_message_finish(struct pf_message *self)
{
    switch (self->kind) {
    case PF_MESSAGE_ROUND_OFFER: pf_free(self->offer.chunk_hashes); break;
    case PF_MESSAGE_MODEL_CHUNK:
    case PF_MESSAGE_UPDATE_CHUNK: pf_free(self->chunk.bytes); break;
    default: break;
    }
    *self = (struct pf_message){0};
}
