/* The inside of the secure-aggregation client, for its own files and for tests that compare states.
 */
#ifndef PF_PARTICIPANT_SECAGG_CLIENT_PARTS_H
#define PF_PARTICIPANT_SECAGG_CLIENT_PARTS_H

#include <sodium.h>

#include "participant/secagg_client.h"

/* A participant we mask with and hold shares of. */
struct pf_sc_neighbour {
    struct pf_advert advert;
    struct pf_share_key channel;
    bool shared;                 /* its box is here: it is in U2 */
    struct pf_share_pair shares; /* ours of its seeds, once shared */
};

struct pf_secagg_client {
    struct pf_secagg_client_config config;
    enum pf_secagg_step step;

    /* Secrets of the round.  The seeds and the mask key go once the update is masked. */
    uint8_t channel_secret[32], mask_secret[32];
    struct pf_scalar self_seed, mask_seed;
    uint8_t randomness[PF_RANDOMNESS_BYTES];
    struct pf_advertise advertise;

    struct pf_digest committed; /* REVEALED: the cohort's digest that was committed to */

    /* From SHARED on. */
    struct pf_digest list_seen; /* of the whole message, to tell a repeat from a second list */
    struct pf_digest key_list;
    struct pf_secagg_parameters parameters;
    struct pf_member_set cohort; /* U1 */
    uint32_t n_cohort;
    uint32_t n_neighbours;
    struct pf_sc_neighbour *neighbours; /* [n_neighbours], ascending members */
    struct pf_share_pair own;           /* COMPLETE: the share of one's own secrets */
    struct pf_share_box *boxes;         /* [n_neighbours]: what we sent */

    /* From READY on. */
    struct pf_digest delivery_seen;
    struct pf_member_set sharers; /* U2 */

    /* From CONSENTED on. */
    struct pf_member_set survivors; /* U3 */
    uint8_t consent[PF_SIGNATURE_BYTES];

    /* From UNMASKED on. */
    struct pf_digest request_seen;
    uint32_t n_given;
    struct pf_given_share *given; /* [n_given] */
};

/* PF_REFUSED with the reason. */
#define PF_SC_REFUSE(reason_out, why, err, ...) \
    (*(reason_out) = (why), pf_fail((err), PF_REFUSED, __VA_ARGS__))

/* The neighbour with this index on the roster, or NULL. */
struct pf_sc_neighbour *pf_sc_find(const struct pf_secagg_client *self, uint32_t member);

/* Calls function(context, 0 … n − 1), on the pool if there is one. */
void pf_sc_each(const struct pf_secagg_client *self, size_t n, pf_shard_function *function,
                void *context);

/* Adds a field to a digest. */
void pf_sc_hash_u32(crypto_generichash_state *state, uint32_t value);
void pf_sc_hash_set(crypto_generichash_state *state, const struct pf_member_set *set);

const char *pf_sc_name(const struct pf_secagg_client *self, uint32_t member);

/* A cohort or survivor set that this participant agrees to be one of. */
PF_NODISCARD enum pf_status pf_sc_check_set(const struct pf_secagg_client *self,
                                            const struct pf_member_set *set, const char *what,
                                            enum pf_reason *reason, struct pf_error *err);

#endif
