/* Secrets are memory whose contents memcheck takes for undefined [1]: it follows them through
 * every computation and reports a branch that depends on them, or an address.  What is public is
 * defined again, at a named place.
 *
 * [1] A. Langley, ctgrind, 2010. */
#ifndef PF_TESTS_CONSTANT_TIME_SECRET_H
#define PF_TESTS_CONSTANT_TIME_SECRET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <valgrind/memcheck.h>

static inline void make_secret(const void *bytes, size_t n)
{
    (void)VALGRIND_MAKE_MEM_UNDEFINED(bytes, n);
}

static inline void make_public(const void *bytes, size_t n)
{
    (void)VALGRIND_MAKE_MEM_DEFINED(bytes, n);
}

/* Whether each of the bytes still is, in some of its bits: a test whose secrets were lost on the
 * way would find nothing. */
static inline bool is_secret(const void *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint8_t undefined = 0;
        if (VALGRIND_GET_VBITS((const uint8_t *)bytes + i, &undefined, 1) != 1) return false;
        if (undefined == 0) return false;
    }
    return n > 0;
}

/* From here on all that libsodium draws is secret from the start, and the same in each run. */
void draw_secrets_only(void);

/* Each leaks a secret on purpose; false: no such leak. */
bool leak(const char *which);

#endif
