/* What the tests of messages have in common. */
#ifndef PF_TESTS_MESSAGE_HELPERS_H
#define PF_TESTS_MESSAGE_HELPERS_H

#include "proto/message.h"
#include "proto/packfed.pb-c.h"

struct pf_buffer encoded(const struct pf_message *message);
struct pf_message decoded(const struct pf_buffer *frame);

#define SAME(field) assert_true(a->field == b->field)
#define SAME_BYTES(field) assert_memory_equal(&a->field, &b->field, sizeof a->field)

/* Of the kinds ADVERTISE … UNMASK. */
void assert_secagg_equal(const struct pf_message *a, const struct pf_message *b);

/* The bytes are refused with a sentence that has these words, and the message stays as it was. */
void assert_refused(const uint8_t *bytes, size_t length, const char *words);

/* The sample of the kind is refused once its parsed frame was edited. */
typedef void edit_function(Packfed__Envelope *e);
void assert_edit_refused(enum pf_message_kind kind, edit_function *edit, const char *words);

#define EDIT(name, change)                        \
    static void edit_##name(Packfed__Envelope *e) \
    {                                             \
        change;                                   \
    }

#endif
