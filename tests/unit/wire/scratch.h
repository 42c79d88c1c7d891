/* A folder for one test's files, removed with all that is in it. */
#ifndef PF_TESTS_SCRATCH_H
#define PF_TESTS_SCRATCH_H

#include <stddef.h>

/* cmocka fixtures. */
int pf_scratch_setup(void **state);
int pf_scratch_teardown(void **state);

/* The path of `name` in the folder; four at a time. */
const char *pf_scratch(const char *name);

/* A whole small file as zero-terminated text; valid until the next call. */
char *pf_scratch_read(const char *name, size_t *length);
void pf_scratch_write(const char *name, const void *bytes, size_t length, unsigned mode);

#endif
