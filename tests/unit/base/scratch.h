/* A folder for the files of one test, removed with everything in it. */
#ifndef PF_TESTS_UNIT_BASE_SCRATCH_H
#define PF_TESTS_UNIT_BASE_SCRATCH_H

#include <ftw.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/file.h"

struct scratch {
    char folder[PATH_MAX / 2];
    char path[PATH_MAX]; /* of the last scratch_path */
};

static inline void scratch_create(struct scratch *self)
{
    const char *base = getenv("TMPDIR");
    snprintf(self->folder, sizeof self->folder, "%s/packfed-test-XXXXXX",
             base != NULL ? base : "/tmp");
    if (mkdtemp(self->folder) == NULL) abort();
}

static inline int scratch_remove_one(const char *path, const struct stat *st, int type,
                                     struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

static inline void scratch_destroy(struct scratch *self)
{
    nftw(self->folder, scratch_remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* folder/name; valid until the next call. */
static inline const char *scratch_path(struct scratch *self, const char *name)
{
    snprintf(self->path, sizeof self->path, "%s/%s", self->folder, name);
    return self->path;
}

static inline void scratch_write(struct scratch *self, const char *name, const void *bytes,
                                 size_t length)
{
    FILE *file = fopen(scratch_path(self, name), "wb");
    if (file == NULL || fwrite(bytes, 1, length, file) != length || fclose(file) != 0) abort();
}

#endif
