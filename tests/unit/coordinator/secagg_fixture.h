/* A secure round in a test: the server and a plain participant of its own, written from protocol.h
 * and the protocol's text alone.  It checks what it is told and asserts. */
#ifndef PF_TESTS_SECAGG_FIXTURE_H
#define PF_TESTS_SECAGG_FIXTURE_H

#include "coordinator/secagg_server.h"

#define MAX_PARTIES 48u
#define ROUND 7u

#define BIT(member) (UINT64_C(1) << (member))
#define ALL(n) (BIT(n) - 1)

/* `call` (which uses &reason and &err) is refused for this reason, in these words. */
#define EXPECT_REFUSED(call, why, words)                          \
    do {                                                          \
        enum pf_reason reason = PF_REASON_NONE;                   \
        struct pf_error err = {0};                                \
        assert_int_equal((call), PF_REFUSED);                     \
        if (reason != (why) || strstr(err.text, (words)) == NULL) \
            fail_msg("%s: %s", pf_reason_name(reason), err.text); \
    } while (0)

#define EXPECT_OK(call)                                                            \
    do {                                                                           \
        enum pf_reason reason = PF_REASON_NONE;                                    \
        struct pf_error err = {0};                                                 \
        if ((call) != PF_OK) fail_msg("%s: %s", pf_reason_name(reason), err.text); \
    } while (0)

struct party {
    uint8_t sign_secret[64], channel_secret[32], mask_secret[32];
    struct pf_scalar self_seed, mask_seed;
    uint8_t randomness[PF_RANDOMNESS_BYTES];
    struct pf_advert advert;
    struct pf_secagg_parameters parameters;
    struct pf_digest key_list;
    uint32_t n_peers;
    uint32_t peers[MAX_PARTIES]; /* ascending */
    struct pf_advert adverts[MAX_PARTIES];
    struct pf_share_key keys[MAX_PARTIES];
    struct pf_share_pair own;
    bool shared[MAX_PARTIES];
    struct pf_share_pair held[MAX_PARTIES];
    struct pf_member_set survivors;
};

struct fixture {
    uint32_t n;
    struct pf_public_identity identities[MAX_PARTIES];
    struct pf_secagg_server_config config;
    struct pf_secagg_server *server;
    struct party parties[MAX_PARTIES];
};

/* graph 0: by size.  Corrupt 0.2, dropouts 0.25; HARARY: 0.05 and 0.2 (n = 40: k = 20, t = 12). */
struct fixture *fixture_create(uint32_t n, enum pf_graph_kind graph);
void fixture_destroy(struct fixture *self);

/* The server's message to one member, through the wire and back; it must be of this kind. */
struct pf_message fixture_message(const struct fixture *self, uint32_t member,
                                  enum pf_message_kind kind);

/* The answers of one member, from what the server tells it.  The caller finishes them. */
struct pf_advertise fixture_advertise(const struct fixture *self, uint32_t member);
struct pf_reveal fixture_reveal(struct fixture *self, uint32_t member);
struct pf_shares fixture_shares(struct fixture *self, uint32_t member);
uint8_t *fixture_masked(struct fixture *self, uint32_t member); /* packed_bytes; pf_free */
struct pf_consent_message fixture_consent(struct fixture *self, uint32_t member);
struct pf_unmask fixture_unmask(struct fixture *self, uint32_t member);
void fixture_free_shares(struct pf_shares *shares);
void fixture_free_unmask(struct pf_unmask *unmask);

/* The whole of the current step of one member: the server must accept it. */
void fixture_step(struct fixture *self, uint32_t member);
/* Advances; fails the test when it cannot be. */
void fixture_advance(struct fixture *self);
/* The current step of everybody awaited who is not in `absent` (a bit per member); then advances.
 */
void fixture_phase(struct fixture *self, uint64_t absent);
/* Phases until `phase` is reached. */
void fixture_reach(struct fixture *self, enum pf_secagg_phase phase);

/* Takes, unmasks and compares with the sum of the values of those in `survivors`. */
void fixture_expect_sum(struct fixture *self, uint64_t survivors);

#endif
