/* Time, for shells and programs only: sessions are told the time by their caller. */
#ifndef PF_COMMON_BASE_CLOCK_H
#define PF_COMMON_BASE_CLOCK_H

#include <stdint.h>

/* Milliseconds of a clock that never jumps; its zero means nothing. */
int64_t pf_clock_monotonic_ms(void);

/* The same clock in seconds, for measuring. */
double pf_clock_seconds(void);

/* Milliseconds since 1970-01-01 UTC. */
int64_t pf_clock_wall_ms(void);

#endif
