/* IEEE 754 half precision (binary16) in integers: 11 bits of significand, 2^-24 to 65504.  For
 * processors and reference code without instructions for it; bit for bit what F16C does. */
#ifndef PF_COMMON_NN_HALF_H
#define PF_COMMON_NN_HALF_H

#include <stdint.h>
#include <string.h>

static inline uint32_t pf_bits_of_float(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static inline float pf_float_of_bits(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* To nearest, ties to even; what is too large becomes infinite, what is no number stays none. */
static inline uint16_t pf_half_of_float(float value)
{
    const uint32_t smallest_normal = 0x38800000, infinity = 0x7f800000, rebias = 112u << 23;
    uint32_t bits = pf_bits_of_float(value), rest = bits & 0x7fffffff, half;
    if (rest > infinity) {
        half = 0x7e00 | (rest >> 13 & 0x3ff); /* quiet */
    } else if (rest < smallest_normal) {
        /* The last bit of 0.5 stands for 2^-24, as that of a subnormal half: adding rounds. */
        half = pf_bits_of_float(pf_float_of_bits(rest) + 0.5f) - pf_bits_of_float(0.5f);
    } else {
        rest += 0xfff + (rest >> 13 & 1); /* may carry into the exponent, as it should */
        half = rest - rebias >= 0x1f << 23 ? 0x7c00 : (rest - rebias) >> 13;
    }
    return (uint16_t)(bits >> 16 & 0x8000) | (uint16_t)half;
}

static inline float pf_float_of_half(uint16_t half)
{
    uint32_t sign = (uint32_t)(half & 0x8000) << 16, rest = half & 0x7fff, bits;
    if (rest < 0x400)
        bits = pf_bits_of_float((float)rest * 0x1p-24f);
    else if (rest < 0x7c00)
        bits = (rest << 13) + (112u << 23);
    else
        bits = 0x7f800000 | rest << 13 | (rest > 0x7c00 ? 0x400000 : 0);
    return pf_float_of_bits(sign | bits);
}

#endif
