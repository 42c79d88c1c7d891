/* Log lines for people who run a service.  The sink is set once by a program; libraries only
 * write.  Secrets and private training figures never go here. */
#ifndef PF_COMMON_BASE_LOG_H
#define PF_COMMON_BASE_LOG_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/compiler.h"

enum pf_log_level { PF_LOG_ERROR, PF_LOG_WARNING, PF_LOG_INFO, PF_LOG_DEBUG };

typedef void pf_log_sink(void *context, enum pf_log_level level, const char *text);

/* Lines above `level` are dropped.  Without a sink nothing is written.  Not thread-safe: call
 * before threads start.  The sink itself may be called from any thread. */
void pf_log_set_sink(pf_log_sink *sink, void *context, enum pf_log_level level);

void pf_log(enum pf_log_level level, const char *format, ...) PF_PRINTF(2, 3);

/* Whether the count-th occurrence (from 1) of what a peer can cause at will is worth a line: the
 * 1st, 2nd, 4th, 8th …, so that no flood fills a disk. */
static inline bool pf_log_worth(uint64_t count)
{
    return (count & (count - 1)) == 0;
}

const char *pf_log_level_name(enum pf_log_level level);

#endif
