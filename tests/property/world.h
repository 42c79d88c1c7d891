/* A federation in one process under a virtual clock: one coordinator's session, some
 * participants' sessions, and a network between them that loses, repeats, reorders and damages
 * frames, all from a seed.  Training is made up: a participant's update follows from its number
 * and the round, and its weight is 2^number, so that a sum tells who is in it and how often. */
#ifndef PF_TESTS_PROPERTY_WORLD_H
#define PF_TESTS_PROPERTY_WORLD_H

#include "coordinator/session.h"
#include "participant/session.h"

#define WORLD_MAX_PLAYERS 6u
#define WORLD_MAX_ROUNDS 128u
#define WORLD_ROUNDS 4u /* planned, in two stages */
#define WORLD_LIMIT_MS 7200000

struct weather {
    double lost, repeated, late, damaged; /* probabilities per frame */
    double training_fails, job_fails;     /* per training; per coordinator's job */
    double kills_per_minute;              /* per participant, in the first two minutes */
    double killed_for_good;               /* of the kills */
    bool ledger;                          /* participants keep one across restarts */
    bool coordinator_leaves;              /* soon after the end of the run */
    bool large_model;                     /* several chunks */
};

struct world_outcome {
    bool success; /* the coordinator's */
    uint32_t rounds_completed, rounds_abandoned;
    uint32_t updates_counted; /* over all completed rounds */
    uint32_t n_players;
    uint32_t players_done;   /* heard that the run went well */
    uint32_t players_failed; /* ended with a sentence */
    uint64_t refused;        /* messages, by anybody */
    uint64_t frames;
    int64_t duration_ms;  /* virtual */
    uint64_t fingerprint; /* of all sums; the same seed gives the same */
};

/* Runs to the end.  NULL, or what went wrong: a broken property, named. */
const char *world_run(uint64_t seed, const struct weather *weather, struct world_outcome *outcome);

#endif
