/* Messages of a coordinator that cheats: each is refused for the named reason, with a sentence, no
 * answer, and a client that is byte for byte what it was. */
#ifndef PF_TESTS_UNIT_PARTICIPANT_ATTACKS_H
#define PF_TESTS_UNIT_PARTICIPANT_ATTACKS_H

#include "mini_round.h"

void refuses_committed(struct mini_round *round, uint32_t member,
                       const struct pf_committed *committed, enum pf_reason reason);
void refuses_list(struct mini_round *round, uint32_t member, const struct pf_key_list *list,
                  enum pf_reason reason);
void refuses_delivery(struct mini_round *round, uint32_t member, const struct pf_shares *delivery,
                      enum pf_reason reason);
void refuses_mask(struct mini_round *round, uint32_t member, enum pf_reason reason);
void refuses_survivors(struct mini_round *round, uint32_t member,
                       const struct pf_survivors *survivors, enum pf_reason reason);
void refuses_request(struct mini_round *round, uint32_t member,
                     const struct pf_unmask_request *request, enum pf_reason reason);

#endif
