/* Log lines for people who run a service.  The sink is set once by a program; libraries only
 * write.  Secrets and private training figures never go here. */
#ifndef PF_COMMON_BASE_LOG_H
#define PF_COMMON_BASE_LOG_H

#include "common/base/compiler.h"

enum pf_log_level { PF_LOG_ERROR, PF_LOG_WARNING, PF_LOG_INFO, PF_LOG_DEBUG };

typedef void pf_log_sink(void *context, enum pf_log_level level, const char *text);

/* Lines above `level` are dropped.  Without a sink nothing is written.  Not thread-safe: call
 * before threads start.  The sink itself may be called from any thread. */
void pf_log_set_sink(pf_log_sink *sink, void *context, enum pf_log_level level);

void pf_log(enum pf_log_level level, const char *format, ...) PF_PRINTF(2, 3);

const char *pf_log_level_name(enum pf_log_level level);

#endif
