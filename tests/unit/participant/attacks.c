#include "attacks.h"

#include <stdarg.h>
#include <stddef.h>

#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#define UNTOUCHED 0xa5

struct watch {
    const struct pf_secagg_client *client;
    struct mini_state state;
    enum pf_reason reason;
    struct pf_error err;
};

static struct watch watch(const struct mini_round *round, uint32_t member)
{
    struct watch self = {.client = round->members[member].client};
    mini_keep(self.client, &self.state);
    return self;
}

static void conclude(struct watch *self, enum pf_status status, enum pf_reason reason,
                     const void *answer, size_t length)
{
    uint8_t untouched[sizeof(struct pf_consent_message)];
    memset(untouched, UNTOUCHED, sizeof untouched);
    if (status != PF_REFUSED || self->reason != reason)
        print_error("expected \"%s\", got \"%s\": %s\n", pf_reason_name(reason),
                    pf_reason_name(self->reason), self->err.text);
    assert_int_equal(status, PF_REFUSED);
    assert_int_equal(self->reason, reason);
    assert_true(self->err.text[0] != '\0');
    assert_true(length <= sizeof untouched);
    assert_memory_equal(answer, untouched, length);
    mini_expect_unchanged(self->client, &self->state);
}

void refuses_committed(struct mini_round *round, uint32_t member,
                       const struct pf_committed *committed, enum pf_reason reason)
{
    struct watch seen = watch(round, member);
    struct pf_reveal answer;
    memset(&answer, UNTOUCHED, sizeof answer);
    enum pf_status status = pf_secagg_client_committed(round->members[member].client, committed,
                                                       &answer, &seen.reason, &seen.err);
    conclude(&seen, status, reason, &answer, sizeof answer);
}

void refuses_list(struct mini_round *round, uint32_t member, const struct pf_key_list *list,
                  enum pf_reason reason)
{
    struct watch seen = watch(round, member);
    struct pf_shares answer;
    memset(&answer, UNTOUCHED, sizeof answer);
    enum pf_status status = pf_secagg_client_key_list(round->members[member].client, list, &answer,
                                                      &seen.reason, &seen.err);
    conclude(&seen, status, reason, &answer, sizeof answer);
}

void refuses_delivery(struct mini_round *round, uint32_t member, const struct pf_shares *delivery,
                      enum pf_reason reason)
{
    struct watch seen = watch(round, member);
    enum pf_status status =
        pf_secagg_client_delivery(round->members[member].client, delivery, &seen.reason, &seen.err);
    conclude(&seen, status, reason, NULL, 0);
}

void refuses_mask(struct mini_round *round, uint32_t member, enum pf_reason reason)
{
    struct watch seen = watch(round, member);
    struct mini_member *one = &round->members[member];
    struct pf_buffer packed = {0};
    enum pf_status status =
        pf_secagg_client_mask(one->client, round->config.length, one->update, one->figures, 1,
                              &packed, &seen.reason, &seen.err);
    conclude(&seen, status, reason, NULL, 0);
    assert_int_equal(packed.length, 0);
    pf_buffer_finish(&packed);
}

void refuses_survivors(struct mini_round *round, uint32_t member,
                       const struct pf_survivors *survivors, enum pf_reason reason)
{
    struct watch seen = watch(round, member);
    struct pf_consent_message answer;
    struct pf_digest digest;
    memset(&answer, UNTOUCHED, sizeof answer);
    enum pf_status status = pf_secagg_client_survivors(round->members[member].client, survivors,
                                                       &answer, &digest, &seen.reason, &seen.err);
    conclude(&seen, status, reason, &answer, sizeof answer);
}

void refuses_request(struct mini_round *round, uint32_t member,
                     const struct pf_unmask_request *request, enum pf_reason reason)
{
    struct watch seen = watch(round, member);
    struct pf_unmask answer;
    memset(&answer, UNTOUCHED, sizeof answer);
    enum pf_status status = pf_secagg_client_unmask(round->members[member].client, request, &answer,
                                                    &seen.reason, &seen.err);
    conclude(&seen, status, reason, &answer, sizeof answer);
}
