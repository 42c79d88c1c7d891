/* Sets of members: the plain half of protocol.h. */
#include <assert.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/secagg/protocol.h"

/* Bits at and above n_members are zero always, so that equal sets have equal bytes. */

enum pf_status pf_member_set_create(uint32_t n_members, struct pf_member_set *set,
                                    struct pf_error *err)
{
    uint8_t *bits = PF_ALLOC(pf_member_set_bytes(n_members), uint8_t);
    if (bits == NULL) return pf_no_memory(err, "a set of members");
    *set = (struct pf_member_set){.n_members = n_members, .bits = bits};
    return PF_OK;
}

enum pf_status pf_member_set_copy(const struct pf_member_set *from, struct pf_member_set *set,
                                  struct pf_error *err)
{
    struct pf_member_set copy = {0};
    PF_TRY(pf_member_set_create(from->n_members, &copy, err));
    if (from->bits != NULL && copy.bits != NULL)
        memcpy(copy.bits, from->bits, pf_member_set_bytes(from->n_members));
    *set = copy;
    return PF_OK;
}

void pf_member_set_finish(struct pf_member_set *self)
{
    if (self == NULL) return;
    pf_free(self->bits);
    *self = (struct pf_member_set){0};
}

bool pf_member_set_has(const struct pf_member_set *self, uint32_t member)
{
    return member < self->n_members && (self->bits[member / 8] >> (member % 8) & 1) != 0;
}

void pf_member_set_add(struct pf_member_set *self, uint32_t member)
{
    assert(member < self->n_members);
    self->bits[member / 8] = (uint8_t)(self->bits[member / 8] | 1u << (member % 8));
}

void pf_member_set_remove(struct pf_member_set *self, uint32_t member)
{
    assert(member < self->n_members);
    self->bits[member / 8] = (uint8_t)(self->bits[member / 8] & ~(1u << (member % 8)));
}

uint32_t pf_member_set_count(const struct pf_member_set *self)
{
    uint32_t count = 0;
    for (size_t i = 0; i < pf_member_set_bytes(self->n_members); i++)
        count += (uint32_t)__builtin_popcount(self->bits[i]);
    return count;
}

bool pf_member_set_equal(const struct pf_member_set *a, const struct pf_member_set *b)
{
    return a->n_members == b->n_members &&
           (a->n_members == 0 || memcmp(a->bits, b->bits, pf_member_set_bytes(a->n_members)) == 0);
}

bool pf_member_set_within(const struct pf_member_set *inner, const struct pf_member_set *outer)
{
    for (uint32_t member = 0; member < inner->n_members; member++)
        if (pf_member_set_has(inner, member) && !pf_member_set_has(outer, member)) return false;
    return true;
}
