#include "common/base/clock.h"

#include <time.h>

static struct timespec now(clockid_t clock)
{
    struct timespec t = {0};
    clock_gettime(clock, &t);
    return t;
}

int64_t pf_clock_monotonic_ms(void)
{
    struct timespec t = now(CLOCK_MONOTONIC);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

double pf_clock_seconds(void)
{
    struct timespec t = now(CLOCK_MONOTONIC);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

int64_t pf_clock_wall_ms(void)
{
    struct timespec t = now(CLOCK_REALTIME);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}
