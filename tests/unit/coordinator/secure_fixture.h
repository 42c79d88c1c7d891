/* A session driven by hand, with members that take part in secure rounds: real keys, shares, masks
 * and consents (participant/secagg_client.h), real frames, but no training.  A member's update is
 * its number + 1 in every coordinate, its weight 10 · (its number + 1). */
#ifndef PF_TESTS_SECURE_FIXTURE_H
#define PF_TESTS_SECURE_FIXTURE_H

#include "participant/secagg_client.h"
#include "session_fixture.h"

#define SX_SMALL ((size_t)40) /* parameters: an update of one chunk */
#define MAX_FRAMES 64u
#define KEY_MS 3000
#define UNMASK_MS 6000

struct player {
    struct pf_identity identity;
    struct pf_secagg_client *client; /* of the round of the last offer */
    struct pf_round_offer offer;     /* without chunk hashes */
    struct pf_buffer packed;         /* its masked update */
    struct pf_buffer inbox[MAX_FRAMES];
    size_t n_frames;
    bool deaf;                     /* what is sent to it is lost */
    enum pf_message_kind stops_at; /* does not react to this kind; 0: reacts to all */
};

struct secure_fixture {
    struct fixture *fx;
    struct player players[N_MEMBERS];
    struct pf_roster *roster;
    uint64_t figures[PF_FIGURE_N]; /* of the last sx_apply */
    float *mean;                   /* … [n_parameters] */
    bool tolerant;                 /* members may refuse; what they refuse is not answered */
};

/* A clip norm and weights with which sums are nearly exact. */
struct pf_coordinator_session_config sx_config(void);
/* The same with a 2-regular graph: the four in a ring. */
struct pf_coordinator_session_config sx_ring_config(void);
struct secure_fixture *sx_create(const struct pf_coordinator_session_config *config,
                                 size_t n_parameters);
void sx_destroy(struct secure_fixture *self);
/* Another one in its place. */
void sx_renew(struct secure_fixture **self, const struct pf_coordinator_session_config *config,
              size_t n_parameters);

/* All members in, the first stage combined, round 1 offered; nobody has reacted yet. */
void sx_start(struct secure_fixture *self);
/* Members read what they were sent and answer, until nothing more comes; no time passes. */
void sx_settle(struct secure_fixture *self);
/* The same until the session is in this phase, whose messages are then still unread. */
void sx_settle_until(struct secure_fixture *self, enum pf_coordinator_phase phase);
/* A restart: it knows nothing of the round any more, and says HELLO. */
void sx_restart(struct secure_fixture *self, size_t member);
/* What was sent to it and not read yet is lost. */
void sx_lose(struct secure_fixture *self, size_t member);
/* One member reads one frame and answers; false when it has none. */
bool sx_step(struct secure_fixture *self, size_t member);
/* The worker's part: masks off, decoded; then the job is done. */
void sx_apply(struct secure_fixture *self);
/* … and the mean is this, of so many. */
void sx_assert_mean(struct secure_fixture *self, double expected, uint32_t included);
/* Of weights 10, 20, 30, 40 and coordinates 1, 2, 3, 4. */
#define SX_MEAN_OF_ALL 3.0
#define SX_MEAN_WITHOUT_DAVE (14.0 / 6.0)

/* Time passes while some members say ALIVE and all read and answer, until the phase changes, the
 * round is over or so much has passed; returns how much. */
int64_t sx_pass(struct secure_fixture *self, int64_t ms, const bool alive[N_MEMBERS]);
extern const bool sx_all_alive[N_MEMBERS], sx_all_but_dave[N_MEMBERS];

enum pf_coordinator_phase sx_phase(const struct secure_fixture *self);
/* Whether some event says so. */
bool sx_said(const struct secure_fixture *self, const char *text);
/* A message of an earlier step, once more. */
void sx_repeat_advertise(struct secure_fixture *self, size_t member);

#endif
