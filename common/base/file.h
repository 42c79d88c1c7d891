/* Whole files: read with a limit, written so that a crash leaves the old file or the new one. */
#ifndef PF_COMMON_BASE_FILE_H
#define PF_COMMON_BASE_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "common/base/buffer.h"
#include "common/base/error.h"

/* Appends the file's bytes to `bytes`.  PF_NOT_FOUND, PF_IO, or PF_CORRUPT above `limit` bytes. */
PF_NODISCARD enum pf_status pf_file_read(const char *path, size_t limit, struct pf_buffer *bytes,
                                         struct pf_error *err);

/* Writes a temporary file beside `path`, syncs it and renames it over `path`, with `mode`. */
PF_NODISCARD enum pf_status pf_file_write(const char *path, const void *bytes, size_t length,
                                          mode_t mode, struct pf_error *err);

bool pf_file_exists(const char *path);

/* Creates a folder and its parents; an existing folder is fine. */
PF_NODISCARD enum pf_status pf_folder_create(const char *path, struct pf_error *err);

/* dir + "/" + name into out[size]; PF_INVALID when it does not fit. */
PF_NODISCARD enum pf_status pf_path_join(const char *dir, const char *name, char *out, size_t size,
                                         struct pf_error *err);

#endif
