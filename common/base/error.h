/* Status codes and the sentence that goes with them.
 *
 * A function that can fail returns enum pf_status and takes a struct pf_error last.  The status
 * decides what a program does next; the text is for a person and names the thing and the way out.
 * `err` may be NULL where nobody reads the sentence.  Outputs are written only on PF_OK. */
#ifndef PF_COMMON_BASE_ERROR_H
#define PF_COMMON_BASE_ERROR_H

#include "common/base/compiler.h"

enum pf_status {
    PF_OK = 0,
    PF_INVALID,   /* an argument or option that cannot be meant */
    PF_CORRUPT,   /* foreign bytes (file, message) that break their format or a limit */
    PF_REFUSED,   /* well-formed, but not allowed: wrong key, not on the roster, bad permissions */
    PF_NOT_FOUND, /* the named file or object does not exist */
    PF_IO,        /* the operating system refused: disk full, unwritable, port in use */
    PF_NO_MEMORY,
    PF_TIMEOUT,     /* nothing arrived in time; not an error by itself */
    PF_INTERRUPTED, /* asked to stop */
};

struct pf_error {
    enum pf_status status;
    char text[512];
};

/* Records the sentence and returns `status`, so that `return pf_fail(...)` reads well. */
enum pf_status pf_fail(struct pf_error *err, enum pf_status status, const char *format, ...)
    PF_PRINTF(3, 4);

/* As pf_fail, with ": " and strerror(errno) behind the sentence. */
enum pf_status pf_fail_errno(struct pf_error *err, enum pf_status status, const char *format, ...)
    PF_PRINTF(3, 4);

/* "no memory for `what`" */
enum pf_status pf_no_memory(struct pf_error *err, const char *what);

/* A word for logs and JSON: "ok", "invalid", "corrupt", … */
const char *pf_status_name(enum pf_status status);

/* Forwards a failure to the caller, its sentence untouched. */
#define PF_TRY(call)                                        \
    do {                                                    \
        enum pf_status pf_try_status_ = (call);             \
        if (pf_try_status_ != PF_OK) return pf_try_status_; \
    } while (0)

#endif
