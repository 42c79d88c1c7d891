/* Packing and unpacking, vector by vector.  Compiled once per instruction set, with PF_RING_TABLE
 * naming the table it defines and PF_RING_NAME its name; see ring_kernels.h for what each function
 * does.
 *
 * Value i of a lane starts at bit `i·bits` of the lane, so at bit `shift` of word `w`, for all
 * lanes alike.  A shift by 32 is undefined, so the part from word w + 1 is shifted in two steps. */
#include "common/secagg/ring_kernels.h"

#include <endian.h>
#include <stdbool.h>
#include <string.h>

#include "common/base/compiler.h"

#if defined(__AVX512F__)
#define VECTOR_BYTES 64
#elif defined(__AVX2__)
#define VECTOR_BYTES 32
#else
#define VECTOR_BYTES 16
#endif
#define WORD_BITS 32u
#define ROW_BYTES ((size_t)PF_RING_LANES * 4) /* word w of all lanes */

/* As many lanes as fit into a vector: of 32 bits; of 64 bits and their 32-bit halves. */
typedef uint32_t narrow PF_VECTOR(VECTOR_BYTES);
typedef uint64_t wide PF_VECTOR(VECTOR_BYTES);
typedef uint32_t half PF_VECTOR(VECTOR_BYTES / 2);

#define NARROW_LANES (sizeof(narrow) / sizeof(uint32_t))
#define WIDE_LANES (sizeof(wide) / sizeof(uint64_t))

extern const struct pf_ring_kernels PF_RING_TABLE;

/* To or from little endian: nothing on most machines. */
static inline narrow swap_narrow(narrow a)
{
    if (htole32(1) != 1)
        for (size_t l = 0; l < NARROW_LANES; l++) a[l] = htole32(a[l]);
    return a;
}
static inline half swap_half(half a)
{
    if (htole32(1) != 1)
        for (size_t l = 0; l < WIDE_LANES; l++) a[l] = htole32(a[l]);
    return a;
}
static inline narrow load_narrow(const uint8_t *words)
{
    narrow a;
    memcpy(&a, words, sizeof a);
    return swap_narrow(a);
}
static inline void store_narrow(uint8_t *words, narrow a)
{
    a = swap_narrow(a);
    memcpy(words, &a, sizeof a);
}
static inline wide load_half(const uint8_t *words)
{
    half a;
    memcpy(&a, words, sizeof a);
    return __builtin_convertvector(swap_half(a), wide);
}
/* The lower 32 bits of each lane. */
static inline void store_half(uint8_t *words, wide a)
{
    half b = swap_half(__builtin_convertvector(a, half));
    memcpy(words, &b, sizeof b);
}

/* Shifts of all lanes alike.  AVX2 and AVX-512 shift by a vector of counts faster than by a number
 * (one micro-operation against two); SSE2 only knows the number. */
#if defined(__AVX2__)
typedef narrow narrow_count;
typedef wide wide_count;
#define SPREAD(type, count) ((type){0} + (count))
#else
typedef uint32_t narrow_count;
typedef uint64_t wide_count;
#define SPREAD(type, count) ((type)(count))
#endif

/* Where a row begins in a block, in bytes, and how far it is shifted there. */
struct narrow_row {
    narrow_count down, up;
    size_t low, high;
};
struct wide_row {
    wide_count down, up;
    size_t low, high, top;
};

/* Byte of word w, or of the last one: behind a block's end there is nothing to read, and where the
 * word is not needed its bits land above the value. */
static inline size_t word_or_last(size_t w, unsigned bits)
{
    return (w < bits ? w : bits - 1) * ROW_BYTES;
}

/* values += packed, or −=; inlined, so that the choice is made once. */
static inline void unpack_narrow(uint32_t *values, const uint8_t *packed, size_t n_blocks,
                                 unsigned bits, bool subtract)
{
    struct narrow_row rows[PF_RING_ROWS];
    for (size_t i = 0; i < PF_RING_ROWS; i++) {
        const size_t word = i * bits / WORD_BITS;
        const uint32_t shift = (uint32_t)(i * bits % WORD_BITS);
        rows[i].down = SPREAD(narrow_count, shift);
        rows[i].up = SPREAD(narrow_count, WORD_BITS - 1 - shift);
        rows[i].low = word * ROW_BYTES;
        rows[i].high = word_or_last(word + 1, bits);
    }
    for (size_t b = 0; b < n_blocks; b++, packed += bits * ROW_BYTES)
        for (size_t i = 0; i < PF_RING_ROWS; i++, values += PF_RING_LANES)
            for (size_t l = 0; l < PF_RING_LANES; l += NARROW_LANES) {
                narrow sum, a = load_narrow(packed + rows[i].low + 4 * l) >> rows[i].down;
                a |= (load_narrow(packed + rows[i].high + 4 * l) << 1) << rows[i].up;
                memcpy(&sum, values + l, sizeof sum);
                sum = subtract ? sum - a : sum + a;
                memcpy(values + l, &sum, sizeof sum);
            }
}

/* A value of 33 to 64 bits covers two or three words. */
static inline void unpack_wide(uint64_t *values, const uint8_t *packed, size_t n_blocks,
                               unsigned bits, bool subtract)
{
    struct wide_row rows[PF_RING_ROWS];
    for (size_t i = 0; i < PF_RING_ROWS; i++) {
        const size_t word = i * bits / WORD_BITS;
        const uint64_t shift = i * bits % WORD_BITS;
        rows[i].down = SPREAD(wide_count, shift);
        rows[i].up = SPREAD(wide_count, 2 * WORD_BITS - 1 - shift);
        rows[i].low = word * ROW_BYTES;
        rows[i].high = (word + 1) * ROW_BYTES;
        rows[i].top = word_or_last(word + 2, bits);
    }
    for (size_t b = 0; b < n_blocks; b++, packed += bits * ROW_BYTES)
        for (size_t i = 0; i < PF_RING_ROWS; i++, values += PF_RING_LANES)
            for (size_t l = 0; l < PF_RING_LANES; l += WIDE_LANES) {
                wide sum, a = load_half(packed + rows[i].low + 4 * l);
                a |= load_half(packed + rows[i].high + 4 * l) << WORD_BITS;
                a >>= rows[i].down;
                a |= (load_half(packed + rows[i].top + 4 * l) << 1) << rows[i].up;
                memcpy(&sum, values + l, sizeof sum);
                sum = subtract ? sum - a : sum + a;
                memcpy(values + l, &sum, sizeof sum);
            }
}

static void add_narrow(uint32_t *values, const uint8_t *packed, size_t n_blocks, unsigned bits)
{
    unpack_narrow(values, packed, n_blocks, bits, false);
}

static void subtract_narrow(uint32_t *values, const uint8_t *packed, size_t n_blocks, unsigned bits)
{
    unpack_narrow(values, packed, n_blocks, bits, true);
}

static void add_wide(uint64_t *values, const uint8_t *packed, size_t n_blocks, unsigned bits)
{
    unpack_wide(values, packed, n_blocks, bits, false);
}

static void subtract_wide(uint64_t *values, const uint8_t *packed, size_t n_blocks, unsigned bits)
{
    unpack_wide(values, packed, n_blocks, bits, true);
}

static void pack_narrow(uint8_t *packed, const uint32_t *values, size_t n_blocks, unsigned bits)
{
    const uint32_t mask = UINT32_MAX >> (WORD_BITS - bits);
    memset(packed, 0, n_blocks * bits * ROW_BYTES);
    for (size_t b = 0; b < n_blocks; b++, packed += bits * ROW_BYTES)
        for (size_t i = 0; i < PF_RING_ROWS; i++, values += PF_RING_LANES) {
            const unsigned up = (unsigned)(i * bits % WORD_BITS), down = WORD_BITS - 1 - up;
            uint8_t *low = packed + i * bits / WORD_BITS * ROW_BYTES, *high = low + ROW_BYTES;
            for (size_t l = 0; l < PF_RING_LANES; l += NARROW_LANES) {
                narrow a;
                memcpy(&a, values + l, sizeof a);
                a &= mask;
                store_narrow(low + 4 * l, load_narrow(low + 4 * l) | a << up);
                if (up + bits > WORD_BITS) store_narrow(high + 4 * l, (a >> 1) >> down);
            }
        }
}

static void pack_wide(uint8_t *packed, const uint64_t *values, size_t n_blocks, unsigned bits)
{
    const uint64_t mask = UINT64_MAX >> (2 * WORD_BITS - bits);
    memset(packed, 0, n_blocks * bits * ROW_BYTES);
    for (size_t b = 0; b < n_blocks; b++, packed += bits * ROW_BYTES)
        for (size_t i = 0; i < PF_RING_ROWS; i++, values += PF_RING_LANES) {
            const unsigned up = (unsigned)(i * bits % WORD_BITS), down = 2 * WORD_BITS - 1 - up;
            uint8_t *low = packed + i * bits / WORD_BITS * ROW_BYTES, *high = low + ROW_BYTES;
            for (size_t l = 0; l < PF_RING_LANES; l += WIDE_LANES) {
                wide a;
                memcpy(&a, values + l, sizeof a);
                a &= mask;
                store_half(low + 4 * l, load_half(low + 4 * l) | a << up);
                store_half(high + 4 * l, (a << up) >> WORD_BITS);
                if (up + bits > 2 * WORD_BITS)
                    store_half(high + ROW_BYTES + 4 * l, (a >> 1) >> down);
            }
        }
}

const struct pf_ring_kernels PF_RING_TABLE = {
    .name = PF_RING_NAME,
    .add_narrow = add_narrow,
    .subtract_narrow = subtract_narrow,
    .add_wide = add_wide,
    .subtract_wide = subtract_wide,
    .pack_narrow = pack_narrow,
    .pack_wide = pack_wide,
};
