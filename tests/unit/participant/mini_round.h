/* An honest coordinator in miniature: it takes real clients (participant/secagg_client.h) through
 * steps 0 to 4 of one secure round, in memory.  A test takes them to a stage, has its own version
 * of the next message refused, and then lets the honest round go on to its sum.
 *
 * The identities follow from the member's index alone, so that two rounds have the same members. */
#ifndef PF_TESTS_UNIT_PARTICIPANT_MINI_ROUND_H
#define PF_TESTS_UNIT_PARTICIPANT_MINI_ROUND_H

#include "participant/secagg_client.h"
#include "participant/secagg_client_parts.h"

#define MINI_MAX_MEMBERS 128u
#define MINI_NOBODY UINT32_MAX

enum mini_stage {
    MINI_ADVERTISED,
    MINI_REVEALED, /* nothing when complete */
    MINI_SHARED,
    MINI_READY,
    MINI_MASKED,
    MINI_CONSENTED,
    MINI_UNMASKED,
};

struct mini_config {
    uint32_t n_members; /* of the roster */
    uint32_t n_cohort;  /* members 0 … n_cohort − 1 are asked */
    bool regular;
    uint32_t round;                     /* 0: 1 */
    uint8_t model;                      /* which */
    size_t length[PF_CODEC_SEGMENTS];   /* 0, 0: 300, 20 */
    struct pf_masking_order masking;    /* value_bits 0: 16 bits, rotated */
    const struct pf_round_offer *offer; /* of a session; else one is made up */
    const struct pf_run_id *run_id;
    struct pf_pool *pool;
    uint32_t played; /* this member is the test's to play; MINI_NOBODY: none */
    void (*change)(struct pf_secagg_client_config *); /* of every client's configuration */
};

struct mini_member {
    uint8_t sign_secret[64];
    enum mini_stage last;            /* it takes this step and vanishes; UNMASKED at first */
    struct pf_secagg_client *client; /* NULL: not in the cohort, or the test plays it */
    float *update;                   /* [Σ length] */
    uint64_t figures[PF_FIGURE_N];
    /* What it sent. */
    struct pf_advert advert;
    uint8_t randomness[PF_RANDOMNESS_BYTES];
    struct pf_shares shares;
    struct pf_buffer masked;
    struct pf_consent consent;
    struct pf_digest set_digest;
    struct pf_unmask unmask;
};

struct mini_round {
    struct mini_config config;
    struct pf_roster *roster;
    struct pf_run_id run_id;
    struct pf_round_offer offer;
    struct pf_digest context;
    struct pf_secagg_parameters parameters;
    enum mini_stage stage;
    struct pf_digest key_list;
    struct mini_member members[MINI_MAX_MEMBERS];
};

/* What a test needs to be a roster's member itself; before mini_init. */
void mini_roster(uint32_t n_members, struct pf_roster **roster);
void mini_sign_secret(uint32_t member, uint8_t secret[64]);

void mini_init(struct mini_round *self, const struct mini_config *config);
void mini_finish(struct mini_round *self);

/* Everybody takes all steps up to and including this one; whatever is refused fails the test. */
void mini_to(struct mini_round *self, enum mini_stage stage);

/* The key list's digest, and so the graph, from the adverts and the randomness as they are now. */
void mini_close_list(struct mini_round *self);

/* Those who take part in a stage: their `last` is not before it. */
bool mini_takes_part(const struct mini_round *self, uint32_t member, enum mini_stage stage);
/* The member's neighbours in the graph, ascending; returns how many.  From REVEALED on. */
uint32_t mini_neighbours(const struct mini_round *self, uint32_t member, uint32_t *neighbours);

/* The honest messages to a member, for tests to spoil; released with pf_message_finish. */
struct pf_message mini_committed(const struct mini_round *self);
struct pf_message mini_key_list(const struct mini_round *self, uint32_t member);
struct pf_message mini_delivery(const struct mini_round *self, uint32_t member);
struct pf_message mini_survivors(const struct mini_round *self);
struct pf_message mini_request(const struct mini_round *self, uint32_t member);
void mini_set(const struct mini_round *self, enum mini_stage stage, struct pf_member_set *set);

/* The sum's mean[Σ length] and figures, from what was sent; after UNMASKED. */
enum pf_status mini_sum(const struct mini_round *self, float *mean, uint64_t figures[PF_FIGURE_N],
                        struct pf_error *err);
/* Takes the honest round to its end and asserts that the sum is that of the survivors. */
void mini_expect_sum(struct mini_round *self);

/* The client's inside, byte for byte. */
struct mini_state {
    struct pf_buffer bytes;
};
void mini_keep(const struct pf_secagg_client *client, struct mini_state *state);
/* Asserts that nothing has changed; releases the state. */
void mini_expect_unchanged(const struct pf_secagg_client *client, struct mini_state *state);

#endif
