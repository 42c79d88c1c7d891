/* The limits on what messages say, in one place for the sender and the receiver. */
#ifndef PF_PROTO_MESSAGE_CHECK_H
#define PF_PROTO_MESSAGE_CHECK_H

#include "proto/message.h"

/* `status` is what a broken limit means here: PF_INVALID for a sender, PF_CORRUPT for a receiver.
 * The sentence begins with the message's kind. */
PF_NODISCARD enum pf_status pf_message_check(const struct pf_message *self, enum pf_status status,
                                             struct pf_error *err);

#endif
