/* The download of one model, chunk by chunk, without I/O.
 *
 * A few chunks are asked for at a time; each is checked against its own hash from the offer, so a
 * forged or damaged one costs a second request and nothing else.  A chunk that does not come is
 * asked for again after a time that doubles with every try. */
#ifndef PF_PARTICIPANT_FETCH_H
#define PF_PARTICIPANT_FETCH_H

#include "proto/message.h"

struct pf_fetch_options {
    uint32_t window; /* chunks in flight, ≥ 1 */
    int64_t timeout_first_ms;
    int64_t timeout_last_ms;
};

struct pf_fetch_chunk {
    struct pf_hash hash;
    int64_t expires_at; /* of the request in flight */
    uint8_t tries;      /* 0: not asked for since the last restart */
    bool held;
};

struct pf_fetch {
    struct pf_fetch_options options;
    struct pf_hash model_hash;
    size_t length;  /* bytes of the model */
    uint8_t *bytes; /* [length] */
    uint32_t n_chunks;
    uint32_t n_held;
    struct pf_fetch_chunk *chunks; /* [n_chunks] */
};

/* The offer that names the model has passed pf_participant_policy_offer: its sizes agree. */
PF_NODISCARD enum pf_status pf_fetch_init(struct pf_fetch *self,
                                          const struct pf_chunked_model *model,
                                          const struct pf_fetch_options *options,
                                          struct pf_error *err);
void pf_fetch_finish(struct pf_fetch *self); /* an all-zero struct is fine */

/* True, and the request is taken to be sent, when a further chunk should be asked for now. */
bool pf_fetch_next(struct pf_fetch *self, int64_t now_ms, uint32_t *chunk);

/* When pf_fetch_next will have something to ask for again; INT64_MAX when all chunks are held. */
int64_t pf_fetch_wake_at(const struct pf_fetch *self);

/* Forgets what is in flight (the connection was lost), keeps what is held. */
void pf_fetch_restart(struct pf_fetch *self);

/* PF_OK also for a chunk that is held already.  PF_REFUSED, and nothing changed, for another
 * model's chunk, a wrong position or length, or bytes that do not have the offered hash. */
PF_NODISCARD enum pf_status pf_fetch_take(struct pf_fetch *self, const struct pf_chunk *chunk,
                                          struct pf_error *err);

static inline bool pf_fetch_complete(const struct pf_fetch *self)
{
    return self->n_held == self->n_chunks;
}

#endif
