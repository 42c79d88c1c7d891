/* Opening one file of a data set: for the loaders of this folder. */
#ifndef PF_COMMON_DATA_DATA_FILE_H
#define PF_COMMON_DATA_DATA_FILE_H

#include <stdint.h>
#include <stdio.h>

#include "common/base/error.h"

/* Opens a regular file for reading and tells its length.  A missing file is PF_NOT_FOUND, and
 * `expected` then says what should be there and where it comes from. */
PF_NODISCARD enum pf_status pf_data_file_open(const char *path, const char *expected, FILE **file,
                                              uint64_t *length, struct pf_error *err);

/* Exactly length bytes into `bytes`; PF_IO when the file ends earlier or cannot be read. */
PF_NODISCARD enum pf_status pf_data_file_take(FILE *file, const char *path, void *bytes,
                                              size_t length, struct pf_error *err);

/* PF_CLEANUP(pf_data_file_closep) FILE *file = NULL; */
static inline PF_UNUSED void pf_data_file_closep(FILE **file)
{
    if (*file != NULL) fclose(*file);
    *file = NULL;
}

#endif
