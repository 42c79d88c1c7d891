/* One valid message of every kind, for tests. */
#ifndef PF_TESTS_SAMPLE_MESSAGES_H
#define PF_TESTS_SAMPLE_MESSAGES_H

#include "proto/message.h"

/* Fills *message with a valid message; owned memory is released with pf_message_finish. */
void pf_sample_message(enum pf_message_kind kind, struct pf_message *message);

/* The same for the kinds ADVERTISE … UNMASK: kind and run are set already.  Roster of 11, cohort
 * {0, 2, 3, 7, 10}. */
void pf_sample_secagg_message(struct pf_message *message);

#endif
