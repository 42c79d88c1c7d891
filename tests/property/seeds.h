/* Many runs of one weather; a failing seed is printed.  PF_SEED=n runs that seed alone. */
#ifndef PF_TESTS_PROPERTY_SEEDS_H
#define PF_TESTS_PROPERTY_SEEDS_H

#include "world.h"

struct totals {
    size_t n_runs, n_success;
    uint64_t completed, abandoned, failed_players, refused, verified;
    uint64_t refusals[PF_REASON_N];                  /* by both sides */
    uint64_t dropouts[PF_IN_PROCESS_N_STEPS];        /* by step */
    uint64_t completed_after[PF_IN_PROCESS_N_STEPS]; /* runs with such dropouts and a sum */
};

/* Fails the test when a property is broken. */
void run_seed(const char *name, uint64_t seed, const struct weather *weather,
              struct pf_in_process_result *result);
struct totals run_seeds(const char *name, size_t n_seeds, const struct weather *weather);
/* Whether PF_SEED asks for one seed: what is expected of many does not hold then. */
bool one_seed(void);
/* Messages that were turned away, by anybody, under whatever name. */
uint64_t count_refused(const struct pf_in_process_result *result);
/* Fails unless both took the same course. */
void assert_same_course(const struct pf_in_process_result *a, const struct pf_in_process_result *b);

#endif
