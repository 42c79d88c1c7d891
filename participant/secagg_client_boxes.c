/* Step 1 of the client, second half: the boxes that are received. */
#include <sodium.h>
#include <string.h>

#include "common/base/memory.h"
#include "participant/secagg_client_parts.h"

static struct pf_digest digest_delivery(const struct pf_shares *delivery)
{
    struct pf_digest digest;
    crypto_generichash_state state;
    crypto_generichash_init(&state, NULL, 0, sizeof digest.bytes);
    pf_sc_hash_set(&state, &delivery->sharers);
    pf_sc_hash_u32(&state, delivery->n_boxes);
    for (uint32_t i = 0; i < delivery->n_boxes; i++) {
        pf_sc_hash_u32(&state, delivery->boxes[i].peer);
        crypto_generichash_update(&state, delivery->boxes[i].box, PF_SHARE_BOX_BYTES);
    }
    crypto_generichash_final(&state, digest.bytes, sizeof digest.bytes);
    return digest;
}

struct open_job {
    const struct pf_secagg_client *self;
    const struct pf_shares *delivery;
    struct pf_share_pair *opened; /* [n_boxes] */
    enum pf_status *status;       /* [n_boxes] */
};

static void open_one(void *context, size_t i)
{
    const struct open_job *job = context;
    const struct pf_share_box *box = &job->delivery->boxes[i];
    const struct pf_sc_neighbour *peer = pf_sc_find(job->self, box->peer);
    job->status[i] = pf_share_open(&peer->channel, box->peer, job->self->config.self, box->box,
                                   &job->opened[i], NULL);
}

/* Boxes of exactly those neighbours who are among the sharers. */
static enum pf_status check_senders(const struct pf_secagg_client *self,
                                    const struct pf_shares *delivery, enum pf_reason *reason,
                                    struct pf_error *err)
{
    uint32_t next = 0;
    for (uint32_t i = 0; i < self->n_neighbours; i++) {
        uint32_t member = self->neighbours[i].advert.member;
        bool here = next < delivery->n_boxes && delivery->boxes[next].peer == member;
        if (here != pf_member_set_has(&delivery->sharers, member))
            return PF_SC_REFUSE(reason, PF_REASON_SHARE_BOX, err, "%s of %s, who %s",
                                here ? "a box" : "no box", pf_sc_name(self, member),
                                here ? "is not said to have shared" : "is said to have shared");
        next += here;
    }
    if (next != delivery->n_boxes)
        return PF_SC_REFUSE(reason, PF_REASON_UNKNOWN_PEER, err,
                            "a box of %s (%u), who is no neighbour or out of order",
                            pf_sc_name(self, delivery->boxes[next].peer),
                            delivery->boxes[next].peer);
    uint32_t holders = next + (self->parameters.graph == PF_GRAPH_COMPLETE);
    if (holders < self->parameters.threshold)
        return PF_SC_REFUSE(reason, PF_REASON_TOO_FEW, err,
                            "%u hold shares of each other here; the threshold is %u", holders,
                            self->parameters.threshold);
    return PF_OK;
}

static enum pf_status open_boxes(const struct pf_secagg_client *self,
                                 const struct pf_shares *delivery, struct pf_share_pair *opened,
                                 enum pf_reason *reason, struct pf_error *err)
{
    PF_CLEANUP(pf_freep) enum pf_status *status = PF_ALLOC(delivery->n_boxes, enum pf_status);
    if (status == NULL) return pf_no_memory(err, "share boxes");
    struct open_job job = {self, delivery, opened, status};
    pf_sc_each(self, delivery->n_boxes, open_one, &job);
    for (uint32_t i = 0; i < delivery->n_boxes; i++)
        if (status[i] != PF_OK)
            return PF_SC_REFUSE(reason, PF_REASON_SHARE_BOX, err,
                                "the box in the name of %s was not made by it for us in this round",
                                pf_sc_name(self, delivery->boxes[i].peer));
    return PF_OK;
}

static enum pf_status take_delivery(struct pf_secagg_client *self, const struct pf_shares *delivery,
                                    struct pf_share_pair *opened, enum pf_reason *reason,
                                    struct pf_error *err)
{
    struct pf_member_set sharers;
    PF_TRY(open_boxes(self, delivery, opened, reason, err));
    PF_TRY(pf_member_set_copy(&delivery->sharers, &sharers, err));
    self->sharers = sharers;
    for (uint32_t i = 0; i < delivery->n_boxes; i++) {
        struct pf_sc_neighbour *peer = pf_sc_find(self, delivery->boxes[i].peer);
        peer->shared = true;
        peer->shares = opened[i];
    }
    self->step = PF_SECAGG_READY;
    return PF_OK;
}

enum pf_status pf_secagg_client_delivery(struct pf_secagg_client *self,
                                         const struct pf_shares *delivery, enum pf_reason *reason,
                                         struct pf_error *err)
{
    struct pf_digest seen = digest_delivery(delivery);
    if (self->step < PF_SECAGG_SHARED)
        return PF_SC_REFUSE(reason, PF_REASON_STEP, err, "share boxes before the key list");
    if (self->step > PF_SECAGG_SHARED) {
        if (pf_digest_equal(&seen, &self->delivery_seen)) return PF_OK;
        return PF_SC_REFUSE(reason, PF_REASON_SECOND_LIST, err,
                            "a second, different delivery of share boxes for one round");
    }
    PF_TRY(pf_sc_check_set(self, &delivery->sharers, "set of sharers", reason, err));
    if (!pf_member_set_within(&delivery->sharers, &self->cohort))
        return PF_SC_REFUSE(reason, PF_REASON_ROSTER, err, "sharers who are not in the cohort");
    PF_TRY(check_senders(self, delivery, reason, err));
    struct pf_share_pair *opened = PF_ALLOC(delivery->n_boxes, struct pf_share_pair);
    if (opened == NULL) return pf_no_memory(err, "share boxes");
    enum pf_status status = take_delivery(self, delivery, opened, reason, err);
    if (status == PF_OK) self->delivery_seen = seen;
    sodium_memzero(opened, delivery->n_boxes * sizeof *opened);
    pf_free(opened);
    return status;
}
