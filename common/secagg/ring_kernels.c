/* Packing and unpacking in plain loops over 16 lanes that compilers vectorise.  Compiled once per
 * instruction set, with PF_RING_TABLE naming the table it defines and PF_RING_NAME its name; see
 * ring_kernels.h for what each function does.
 *
 * Value i of a lane starts at bit `i·bits` of the lane, so at bit `shift` of word `w`, for all
 * lanes alike.  A shift by 32 is undefined, so the part from word w + 1 is shifted in two steps. */
#include "common/secagg/ring_kernels.h"

#include <endian.h>
#include <string.h>

#define WORD_BITS 32u
#define ROW_BYTES (PF_RING_LANES * 4u) /* word w of all lanes */

extern const struct pf_ring_kernels PF_RING_TABLE;

static inline uint32_t load(const uint8_t *row, size_t lane)
{
    uint32_t word;
    memcpy(&word, row + 4 * lane, sizeof word);
    return le32toh(word);
}

static inline void store(uint8_t *row, size_t lane, uint32_t word)
{
    word = htole32(word);
    memcpy(row + 4 * lane, &word, sizeof word);
}

/* Where a row lies in its lane. */
struct place {
    size_t word;
    unsigned shift;
};

static inline struct place place_of(size_t row, unsigned bits)
{
    return (struct place){row * bits / WORD_BITS, (unsigned)(row * bits % WORD_BITS)};
}

/* Word w of all lanes, or the last one: behind a block's end there is nothing to read, and where
 * the word is not needed its bits land above the value. */
static inline const uint8_t *row_or_last(const uint8_t *block, size_t w, unsigned bits)
{
    return block + (w < bits ? w : bits - 1) * ROW_BYTES;
}

#define NARROW_LOOP(OPERATOR)                                                              \
    for (size_t b = 0; b < n_blocks; b++)                                                  \
        for (size_t i = 0; i < PF_RING_ROWS; i++) {                                        \
            const uint8_t *block = packed + b * bits * ROW_BYTES;                          \
            const struct place at = place_of(i, bits);                                     \
            const uint8_t *low = block + at.word * ROW_BYTES;                              \
            const uint8_t *high = row_or_last(block, at.word + 1, bits);                   \
            const unsigned down = at.shift, up = WORD_BITS - 1 - at.shift;                 \
            uint32_t *row = values + b * PF_RING_ROWS * PF_RING_LANES + i * PF_RING_LANES; \
            for (size_t l = 0; l < PF_RING_LANES; l++)                                     \
                row[l] OPERATOR(load(low, l) >> down) | ((load(high, l) << 1) << up);      \
        }

static void add_narrow(uint32_t *restrict values, const uint8_t *restrict packed, size_t n_blocks,
                       unsigned bits)
{
    NARROW_LOOP(+=)
}

static void subtract_narrow(uint32_t *restrict values, const uint8_t *restrict packed,
                            size_t n_blocks, unsigned bits)
{
    NARROW_LOOP(-=)
}

/* A value of 33 to 64 bits covers two or three words. */
#define WIDE_LOOP(OPERATOR)                                                                \
    for (size_t b = 0; b < n_blocks; b++)                                                  \
        for (size_t i = 0; i < PF_RING_ROWS; i++) {                                        \
            const uint8_t *block = packed + b * bits * ROW_BYTES;                          \
            const struct place at = place_of(i, bits);                                     \
            const uint8_t *low = block + at.word * ROW_BYTES;                              \
            const uint8_t *high = low + ROW_BYTES;                                         \
            const uint8_t *top = row_or_last(block, at.word + 2, bits);                    \
            const unsigned down = at.shift, up = 2 * WORD_BITS - 1 - at.shift;             \
            uint64_t *row = values + b * PF_RING_ROWS * PF_RING_LANES + i * PF_RING_LANES; \
            for (size_t l = 0; l < PF_RING_LANES; l++) {                                   \
                uint64_t pair = load(low, l) | (uint64_t)load(high, l) << WORD_BITS;       \
                row[l] OPERATOR(pair >> down) | (((uint64_t)load(top, l) << 1) << up);     \
            }                                                                              \
        }

static void add_wide(uint64_t *restrict values, const uint8_t *restrict packed, size_t n_blocks,
                     unsigned bits)
{
    WIDE_LOOP(+=)
}

static void subtract_wide(uint64_t *restrict values, const uint8_t *restrict packed,
                          size_t n_blocks, unsigned bits)
{
    WIDE_LOOP(-=)
}

static void pack_narrow(uint8_t *restrict packed, const uint32_t *restrict values, size_t n_blocks,
                        unsigned bits)
{
    const uint32_t mask = UINT32_MAX >> (WORD_BITS - bits);
    memset(packed, 0, n_blocks * bits * ROW_BYTES);
    for (size_t b = 0; b < n_blocks; b++)
        for (size_t i = 0; i < PF_RING_ROWS; i++) {
            const struct place at = place_of(i, bits);
            const uint32_t *row = values + (b * PF_RING_ROWS + i) * PF_RING_LANES;
            uint8_t *low = packed + (b * bits + at.word) * ROW_BYTES, *high = low + ROW_BYTES;
            const unsigned up = at.shift, down = WORD_BITS - 1 - at.shift;
            for (size_t l = 0; l < PF_RING_LANES; l++)
                store(low, l, load(low, l) | (row[l] & mask) << up);
            if (at.shift + bits <= WORD_BITS) continue;
            for (size_t l = 0; l < PF_RING_LANES; l++)
                store(high, l, ((row[l] & mask) >> 1) >> down);
        }
}

static void pack_wide(uint8_t *restrict packed, const uint64_t *restrict values, size_t n_blocks,
                      unsigned bits)
{
    const uint64_t mask = UINT64_MAX >> (2 * WORD_BITS - bits);
    memset(packed, 0, n_blocks * bits * ROW_BYTES);
    for (size_t b = 0; b < n_blocks; b++)
        for (size_t i = 0; i < PF_RING_ROWS; i++) {
            const struct place at = place_of(i, bits);
            const uint64_t *row = values + (b * PF_RING_ROWS + i) * PF_RING_LANES;
            uint8_t *low = packed + (b * bits + at.word) * ROW_BYTES, *high = low + ROW_BYTES;
            uint8_t *top = high + ROW_BYTES;
            const unsigned up = at.shift;
            for (size_t l = 0; l < PF_RING_LANES; l++) {
                uint64_t pair = (row[l] & mask) << up;
                store(low, l, load(low, l) | (uint32_t)pair);
                store(high, l, (uint32_t)(pair >> WORD_BITS));
            }
            if (at.shift + bits <= 2 * WORD_BITS) continue; /* so that the shift is not 0 */
            for (size_t l = 0; l < PF_RING_LANES; l++)
                store(top, l, (uint32_t)((row[l] & mask) >> (2 * WORD_BITS - up)));
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
