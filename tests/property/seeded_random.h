/* libsodium's randomness from a seed, a stream of its own for each thread: so that a failing run of
 * a randomised test, keys and all, can be repeated.  For tests alone. */
#ifndef PF_TESTS_PROPERTY_SEEDED_RANDOM_H
#define PF_TESTS_PROPERTY_SEEDED_RANDOM_H

#include <stdint.h>

/* Once, before anything else of libsodium; starts it. */
void seeded_random_install(void);
/* From here on this thread's randomness follows from the seed. */
void seeded_random_begin(uint64_t seed);

#endif
