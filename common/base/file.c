#include "common/base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static enum pf_status read_all(int fd, const char *path, size_t limit, struct pf_buffer *bytes,
                               struct pf_error *err)
{
    size_t start = bytes->length;
    for (;;) {
        PF_TRY(pf_buffer_reserve(bytes, 65536, err));
        ssize_t n = read(fd, bytes->bytes + bytes->length, bytes->capacity - bytes->length);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return pf_fail_errno(err, PF_IO, "%s: cannot read", path);
        if (n == 0) return PF_OK;
        bytes->length += (size_t)n;
        if (bytes->length - start > limit)
            return pf_fail(err, PF_CORRUPT, "%s: larger than %zu bytes, the limit for such a file",
                           path, limit);
    }
}

enum pf_status pf_file_read(const char *path, size_t limit, struct pf_buffer *bytes,
                            struct pf_error *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return pf_fail_errno(err, errno == ENOENT ? PF_NOT_FOUND : PF_IO, "%s: cannot open", path);
    size_t start = bytes->length;
    enum pf_status status = read_all(fd, path, limit, bytes, err);
    if (status != PF_OK) bytes->length = start;
    close(fd);
    return status;
}

static enum pf_status write_all(int fd, const char *path, const uint8_t *bytes, size_t length,
                                struct pf_error *err)
{
    while (length > 0) {
        ssize_t n = write(fd, bytes, length);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return pf_fail_errno(err, PF_IO, "%s: cannot write", path);
        bytes += n;
        length -= (size_t)n;
    }
    if (fsync(fd) != 0) return pf_fail_errno(err, PF_IO, "%s: cannot write to disk", path);
    return PF_OK;
}

/* The rename is durable only when the folder is on disk too. */
static void sync_folder(const char *path)
{
    char folder[PATH_MAX];
    snprintf(folder, sizeof folder, "%s", path);
    char *slash = strrchr(folder, '/');
    if (slash == folder) slash++;
    if (slash != NULL) *slash = '\0';
    int fd = open(slash != NULL ? folder : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return;
    (void)fsync(fd);
    close(fd);
}

enum pf_status pf_file_write(const char *path, const void *bytes, size_t length, mode_t mode,
                             struct pf_error *err)
{
    char temporary[PATH_MAX];
    int n = snprintf(temporary, sizeof temporary, "%s.XXXXXX", path);
    if (n < 0 || (size_t)n >= sizeof temporary)
        return pf_fail(err, PF_INVALID, "%s: path too long", path);
    int fd = mkostemp(temporary, O_CLOEXEC);
    if (fd < 0) return pf_fail_errno(err, PF_IO, "%s: cannot create", path);
    enum pf_status status = write_all(fd, path, bytes, length, err);
    if (status == PF_OK && fchmod(fd, mode) != 0)
        status = pf_fail_errno(err, PF_IO, "%s: cannot set permissions", path);
    if (close(fd) != 0 && status == PF_OK)
        status = pf_fail_errno(err, PF_IO, "%s: cannot write", path);
    if (status == PF_OK && rename(temporary, path) != 0)
        status = pf_fail_errno(err, PF_IO, "%s: cannot replace", path);
    if (status != PF_OK) {
        (void)unlink(temporary);
        return status;
    }
    sync_folder(path);
    return PF_OK;
}

bool pf_file_exists(const char *path)
{
    return access(path, F_OK) == 0;
}

enum pf_status pf_folder_create(const char *path, struct pf_error *err)
{
    char partial[PATH_MAX];
    size_t length = strlen(path);
    if (length == 0 || length >= sizeof partial)
        return pf_fail(err, PF_INVALID, "'%s' cannot name a folder", path);
    memcpy(partial, path, length + 1);
    for (size_t i = 1; i <= length; i++) {
        if (partial[i] != '/' && partial[i] != '\0') continue;
        char saved = partial[i];
        partial[i] = '\0';
        if (mkdir(partial, 0777) != 0 && errno != EEXIST)
            return pf_fail_errno(err, PF_IO, "%s: cannot create the folder %s", path, partial);
        partial[i] = saved;
    }
    struct stat st;
    if (stat(path, &st) != 0 || !S_ISDIR(st.st_mode))
        return pf_fail(err, PF_IO, "%s: exists and is not a folder", path);
    return PF_OK;
}

enum pf_status pf_path_join(const char *dir, const char *name, char *out, size_t size,
                            struct pf_error *err)
{
    int n = snprintf(out, size, "%s/%s", dir, name);
    if (n < 0 || (size_t)n >= size)
        return pf_fail(err, PF_INVALID, "%s/%s: path too long", dir, name);
    return PF_OK;
}
