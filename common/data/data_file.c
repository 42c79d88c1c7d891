#include "common/data/data_file.h"

#include <errno.h>
#include <sys/stat.h>

enum pf_status pf_data_file_open(const char *path, const char *expected, FILE **file,
                                 uint64_t *length, struct pf_error *err)
{
    /* stat first: opening a pipe would wait for a writer. */
    struct stat st;
    if (stat(path, &st) != 0) {
        if (errno == ENOENT || errno == ENOTDIR)
            return pf_fail(err, PF_NOT_FOUND, "%s: no such file; %s", path, expected);
        return pf_fail_errno(err, PF_IO, "%s: cannot open", path);
    }
    if (!S_ISREG(st.st_mode)) return pf_fail(err, PF_IO, "%s: is not a regular file", path);
    FILE *opened = fopen(path, "rbe");
    if (opened == NULL) return pf_fail_errno(err, PF_IO, "%s: cannot open", path);
    *file = opened;
    *length = (uint64_t)st.st_size;
    return PF_OK;
}

enum pf_status pf_data_file_take(FILE *file, const char *path, void *bytes, size_t length,
                                 struct pf_error *err)
{
    if (fread(bytes, 1, length, file) == length) return PF_OK;
    if (ferror(file)) return pf_fail_errno(err, PF_IO, "%s: cannot read", path);
    return pf_fail(err, PF_IO, "%s: became shorter while it was read", path);
}
