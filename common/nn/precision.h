/* How numbers are kept that stay in memory from one pass to another. */
#ifndef PF_COMMON_NN_PRECISION_H
#define PF_COMMON_NN_PRECISION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Half precision (common/nn/half.h) is half of what memory has to move; whatever is computed with
 * it is single. */
enum pf_precision {
    PF_SINGLE, /* float */
    PF_HALF,   /* uint16_t */
};

static inline size_t pf_number_bytes(enum pf_precision precision)
{
    return precision == PF_HALF ? sizeof(uint16_t) : sizeof(float);
}

static inline const char *pf_precision_name(enum pf_precision precision)
{
    return precision == PF_HALF ? "half" : "single";
}

/* False: there is none of that name. */
static inline bool pf_precision_of_name(const char *name, enum pf_precision *precision)
{
    *precision = strcmp(name, "half") == 0 ? PF_HALF : PF_SINGLE;
    return strcmp(name, pf_precision_name(*precision)) == 0;
}

/* n numbers further on. */
static inline const void *pf_numbers_from(const void *numbers, enum pf_precision precision,
                                          size_t n)
{
    return (const char *)numbers + n * pf_number_bytes(precision);
}

#endif
