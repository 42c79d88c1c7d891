/* The limits on what messages say, in one place for the sender and the receiver. */
#ifndef PF_PROTO_MESSAGE_CHECK_H
#define PF_PROTO_MESSAGE_CHECK_H

#include "proto/message.h"

/* `status` is what a broken limit means here: PF_INVALID for a sender, PF_CORRUPT for a receiver.
 * The sentence begins with the message's kind. */
PF_NODISCARD enum pf_status pf_message_check(const struct pf_message *self, enum pf_status status,
                                             struct pf_error *err);

/* ---- Between the files of the check ---- */

/* Where a limit is broken, and what that means to the caller. */
struct pf_limit {
    const char *kind;
    enum pf_status status;
    struct pf_error *err;
};

PF_NODISCARD enum pf_status pf_limit_whole(const struct pf_limit *limit, const char *field,
                                           uint64_t value, uint64_t min, uint64_t max);
/* Not-a-number is refused too. */
PF_NODISCARD enum pf_status pf_limit_number(const struct pf_limit *limit, const char *field,
                                            double value, double min, double max);
/* The kinds ADVERTISE … UNMASK. */
PF_NODISCARD enum pf_status pf_message_check_secagg(const struct pf_limit *limit,
                                                    const struct pf_message *self);

#endif
