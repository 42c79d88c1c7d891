/* A message as protobuf-c sees it, between the files that encode. */
#ifndef PF_PROTO_MESSAGE_VIEW_H
#define PF_PROTO_MESSAGE_VIEW_H

#include "proto/message.h"
#include "proto/packfed.pb-c.h"

#define PF_VIEW_MAX_LISTS 3u /* of records, in one message */

/* Everything is borrowed from the pf_message or lies here, and protobuf-c only reads what it
 * packs.  Lists are packed into buffers of the view. */
struct pf_message_view {
    Packfed__Envelope envelope;
    Packfed__Network network;
    Packfed__TrainingOrder order;
    Packfed__MaskingOrder masking;
    Packfed__Teacher teacher;
    Packfed__MemberSet set;
    Packfed__GraphParameters parameters;
    union {
        Packfed__Hello hello;
        Packfed__Welcome welcome;
        Packfed__Refusal refusal;
        Packfed__RoundOffer offer;
        Packfed__ModelRequest request;
        Packfed__Chunk chunk;
        Packfed__UpdateReceipt receipt;
        Packfed__Alive alive;
        Packfed__RoundResult result;
        Packfed__Finished finished;
        Packfed__Advertise advertise;
        Packfed__Committed committed;
        Packfed__Reveal reveal;
        Packfed__KeyList key_list;
        Packfed__Shares shares;
        Packfed__UpdateGrant grant;
        Packfed__Survivors survivors;
        Packfed__Consent consent;
        Packfed__UnmaskRequest unmask_request;
        Packfed__Unmask unmask;
    };
    struct pf_buffer lists[PF_VIEW_MAX_LISTS]; /* owned */
    size_t n_lists;
};

static inline ProtobufCBinaryData pf_borrow(const void *bytes, size_t length)
{
    return (ProtobufCBinaryData){.len = length, .data = (uint8_t *)bytes};
}

/* The kinds ADVERTISE … UNMASK, which pf_message_check has passed. */
PF_NODISCARD enum pf_status pf_message_view_secagg(struct pf_message_view *self,
                                                   const struct pf_message *from,
                                                   struct pf_error *err);
/* Wipes the lists: they may hold shares. */
void pf_message_view_finish(struct pf_message_view *self);

#endif
