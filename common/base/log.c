#include "common/base/log.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

static struct {
    pf_log_sink *sink;
    void *context;
    enum pf_log_level level;
} target;

void pf_log_set_sink(pf_log_sink *sink, void *context, enum pf_log_level level)
{
    target.sink = sink;
    target.context = context;
    target.level = level;
}

void pf_log(enum pf_log_level level, const char *format, ...)
{
    if (target.sink == NULL || level > target.level) return;
    char text[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    target.sink(target.context, level, text);
}

const char *pf_log_level_name(enum pf_log_level level)
{
    static const char *const names[] = {"error", "warning", "info", "debug"};
    return (size_t)level < PF_ARRAY_LENGTH(names) ? names[level] : "?";
}
