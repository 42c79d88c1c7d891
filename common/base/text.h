/* Reading numbers that people type, strictly: the whole text or an error that quotes it. */
#ifndef PF_COMMON_BASE_TEXT_H
#define PF_COMMON_BASE_TEXT_H

#include <stddef.h>
#include <stdint.h>

#include "common/base/error.h"

/* `what` names the option in the sentence: "--alpha: '0' is not a whole number from 1 to 64". */
PF_NODISCARD enum pf_status pf_text_u64(const char *what, const char *text, uint64_t min,
                                        uint64_t max, uint64_t *value, struct pf_error *err);
PF_NODISCARD enum pf_status pf_text_double(const char *what, const char *text, double min,
                                           double max, double *value, struct pf_error *err);

/* "32,64,128" into values[capacity]. */
PF_NODISCARD enum pf_status pf_text_u32_list(const char *what, const char *text, uint32_t min,
                                             uint32_t max, uint32_t *values, size_t capacity,
                                             size_t *n, struct pf_error *err);

/* Lower-case hexadecimal; out has room for 2 · length + 1. */
void pf_text_hex(char *out, const uint8_t *bytes, size_t length);

/* "1234567" → "1,234,567"; returns out. */
const char *pf_text_thousands(char out[32], uint64_t value);

#endif
