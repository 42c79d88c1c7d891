/* A small federation under some weather, in the simulator of sim/federation/in_process.h: two to
 * six participants, four rounds in two stages, cohort and quorum drawn from the seed. */
#ifndef PF_TESTS_PROPERTY_WORLD_H
#define PF_TESTS_PROPERTY_WORLD_H

#include "sim/federation/in_process.h"

#define WORLD_MAX_PLAYERS 6u
#define WORLD_ROUNDS 4u /* planned, in two stages */
#define WORLD_LIMIT_MS 7200000

struct weather {
    enum pf_aggregation aggregation;
    struct pf_in_process_faults faults;
    enum pf_graph_kind graph;           /* 0: by size */
    double dropouts_borne;              /* δ of the coordinator */
    bool large_model;                   /* several chunks */
    bool distils;                       /* from a teacher as large as the model */
    bool eager;                         /* every member and every update is waited for */
    size_t least_players, most_players; /* 0: 2 (secure: 3), WORLD_MAX_PLAYERS */
};

/* Runs to the end.  NULL, or what went wrong: a broken property, named. */
const char *world_run(uint64_t seed, const struct weather *weather,
                      struct pf_in_process_result *result);

#endif
