#include "common/base/text.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum pf_status pf_text_u64(const char *what, const char *text, uint64_t min, uint64_t max,
                           uint64_t *value, struct pf_error *err)
{
    char *end = NULL;
    errno = 0;
    unsigned long long number = strtoull(text, &end, 10);
    /* strtoull takes " -1"; a count typed by a person starts with a digit. */
    if (!isdigit((unsigned char)text[0]) || *end != '\0' || errno != 0 || number < min ||
        number > max)
        return pf_fail(err, PF_INVALID, "%s: '%s' is not a whole number from %llu to %llu", what,
                       text, (unsigned long long)min, (unsigned long long)max);
    *value = number;
    return PF_OK;
}

enum pf_status pf_text_double(const char *what, const char *text, double min, double max,
                              double *value, struct pf_error *err)
{
    char *end = NULL;
    errno = 0;
    double number = strtod(text, &end);
    /* strtod skips leading space. */
    if (end == text || isspace((unsigned char)text[0]) || *end != '\0' || !isfinite(number) ||
        number < min || number > max)
        return pf_fail(err, PF_INVALID, "%s: '%s' is not a number from %g to %g", what, text, min,
                       max);
    *value = number;
    return PF_OK;
}

enum pf_status pf_text_u32_list(const char *what, const char *text, uint32_t min, uint32_t max,
                                uint32_t *values, size_t capacity, size_t *n, struct pf_error *err)
{
    uint32_t parsed[64];
    size_t count = 0;
    if (capacity > PF_ARRAY_LENGTH(parsed)) capacity = PF_ARRAY_LENGTH(parsed);
    for (const char *item = text;;) {
        size_t length = strcspn(item, ",");
        char number[24];
        if (length >= sizeof number) /* cut short it could pass for another number */
            return pf_fail(err, PF_INVALID, "%s: '%s' is not a list of numbers from %u to %u", what,
                           text, min, max);
        memcpy(number, item, length);
        number[length] = '\0';
        uint64_t value = 0;
        PF_TRY(pf_text_u64(what, number, min, max, &value, err));
        if (count == capacity)
            return pf_fail(err, PF_INVALID, "%s: '%s' has more than %zu numbers", what, text,
                           capacity);
        parsed[count++] = (uint32_t)value;
        item += strcspn(item, ",");
        if (*item == '\0') break;
        item++;
    }
    memcpy(values, parsed, count * sizeof parsed[0]);
    *n = count;
    return PF_OK;
}

void pf_text_hex(char *out, const uint8_t *bytes, size_t length)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < length; i++) {
        out[2 * i] = digits[bytes[i] >> 4];
        out[2 * i + 1] = digits[bytes[i] & 15];
    }
    out[2 * length] = '\0';
}

const char *pf_text_thousands(char out[32], uint64_t value)
{
    char digits[24];
    int n = snprintf(digits, sizeof digits, "%llu", (unsigned long long)value);
    char *p = out;
    for (int i = 0; i < n; i++) {
        if (i > 0 && (n - i) % 3 == 0) *p++ = ',';
        *p++ = digits[i];
    }
    *p = '\0';
    return out;
}
