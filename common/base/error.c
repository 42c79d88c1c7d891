#include "common/base/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

PF_PRINTF(3, 0)
static void record(struct pf_error *err, enum pf_status status, const char *format, va_list args)
{
    if (err == NULL) return;
    /* The old text may be among the arguments, so it is overwritten only when complete. */
    char text[sizeof err->text];
    vsnprintf(text, sizeof text, format, args);
    err->status = status;
    memcpy(err->text, text, sizeof text);
}

enum pf_status pf_fail(struct pf_error *err, enum pf_status status, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    record(err, status, format, args);
    va_end(args);
    return status;
}

enum pf_status pf_fail_errno(struct pf_error *err, enum pf_status status, const char *format, ...)
{
    int number = errno;
    va_list args;
    va_start(args, format);
    record(err, status, format, args);
    va_end(args);
    if (err != NULL) {
        size_t length = strlen(err->text);
        snprintf(err->text + length, sizeof err->text - length, ": %s", strerror(number));
    }
    return status;
}

enum pf_status pf_no_memory(struct pf_error *err, const char *what)
{
    return pf_fail(err, PF_NO_MEMORY, "no memory for %s", what);
}

const char *pf_status_name(enum pf_status status)
{
    static const char *const names[] = {
        [PF_OK] = "ok",
        [PF_INVALID] = "invalid",
        [PF_CORRUPT] = "corrupt",
        [PF_REFUSED] = "refused",
        [PF_NOT_FOUND] = "not found",
        [PF_IO] = "input/output",
        [PF_NO_MEMORY] = "no memory",
        [PF_TIMEOUT] = "timeout",
        [PF_INTERRUPTED] = "interrupted",
    };
    return (size_t)status < PF_ARRAY_LENGTH(names) ? names[status] : "unknown";
}
