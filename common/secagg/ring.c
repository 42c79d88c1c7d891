#include "common/secagg/ring.h"

#include <assert.h>
#include <sodium.h>
#include <stdbool.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/secagg/keystream.h"
#include "common/secagg/ring_kernels.h"

#define NARROW_BITS 32u
/* Blocks of a shard, at most: their words and the mask over them stay in the second-level cache,
 * most of them in the first, and libcrypto's overhead per key (65 ns, and what it takes for its
 * vectors to be full) is small beside them.  Measured at 20 to 30 bits: within 4 % of the best; 8
 * and 32 too. */
#define SHARD_BLOCKS 16u
#define BLOCK_BYTES(bits) ((size_t)(bits)*64u)

static_assert(PF_MASK_KEY_BYTES == PF_KEYSTREAM_KEY_BYTES, "a mask's key is ChaCha20's");
static_assert(SHARD_BLOCKS * BLOCK_BYTES(PF_RING_MAX_BITS) <= PF_KEYSTREAM_MAX_BYTES,
              "a shard's part of a mask is made in one go");
static_assert(PF_RING_LANES * PF_RING_ROWS == PF_RING_BLOCK, "lanes fill a block");

extern const struct pf_ring_kernels pf_ring_kernels_generic;
#ifdef PF_RING_X86
extern const struct pf_ring_kernels pf_ring_kernels_avx2;
extern const struct pf_ring_kernels pf_ring_kernels_avx512;
#endif

/* Whole blocks of words as ring_kernels.h has them; one of the pointers is NULL. */
struct pf_ring {
    size_t n, n_blocks;
    unsigned bits;
    uint32_t *narrow; /* [n_blocks][512], bits ≤ 32 */
    uint64_t *wide;   /* [n_blocks][512], bits > 32 */
    const struct pf_ring_kernels *kernels;
};

size_t pf_ring_kernels_list(const struct pf_ring_kernels **tables, size_t capacity)
{
    const struct pf_ring_kernels *all[3] = {&pf_ring_kernels_generic};
    size_t n = 1;
#ifdef PF_RING_X86
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2")) all[n++] = &pf_ring_kernels_avx2;
    if (__builtin_cpu_supports("avx512f")) all[n++] = &pf_ring_kernels_avx512;
#endif
    if (n > capacity) n = capacity;
    for (size_t i = 0; i < n; i++) tables[i] = all[i];
    return n;
}

static const struct pf_ring_kernels *best_kernels(void)
{
    const struct pf_ring_kernels *tables[3];
    size_t n = pf_ring_kernels_list(tables, PF_ARRAY_LENGTH(tables));
    return tables[n - 1];
}

static bool bits_fit(unsigned bits)
{
    return bits >= PF_RING_MIN_BITS && bits <= PF_RING_MAX_BITS;
}

static size_t count_blocks(size_t n)
{
    return n / PF_RING_BLOCK + (n % PF_RING_BLOCK != 0);
}

size_t pf_ring_packed_size(size_t n, unsigned bits)
{
    size_t size;
    if (!bits_fit(bits) || !pf_size_mul(count_blocks(n), BLOCK_BYTES(bits), &size)) return 0;
    return size;
}

static size_t word_bytes(const struct pf_ring *self)
{
    return self->bits <= NARROW_BITS ? sizeof *self->narrow : sizeof *self->wide;
}

static void *words(const struct pf_ring *self)
{
    return self->bits <= NARROW_BITS ? (void *)self->narrow : (void *)self->wide;
}

enum pf_status pf_ring_create(size_t n, unsigned bits, struct pf_ring **ring, struct pf_error *err)
{
    if (!bits_fit(bits))
        return pf_fail(err, PF_INVALID, "vectors of %u bits per coordinate; must be %u to %u", bits,
                       PF_RING_MIN_BITS, PF_RING_MAX_BITS);
    struct pf_ring *self = PF_ALLOC(1, struct pf_ring);
    if (self == NULL) return pf_no_memory(err, "a vector to be masked");
    *self = (struct pf_ring){
        .n = n, .n_blocks = count_blocks(n), .bits = bits, .kernels = best_kernels()};
    void *values = pf_alloc(self->n_blocks, PF_RING_BLOCK * word_bytes(self));
    if (values == NULL) {
        pf_free(self);
        return pf_no_memory(err, "a vector to be masked");
    }
    if (bits <= NARROW_BITS)
        self->narrow = values;
    else
        self->wide = values;
    *ring = self;
    return PF_OK;
}

void pf_ring_destroy(struct pf_ring *self)
{
    if (self == NULL) return;
    sodium_memzero(words(self), self->n_blocks * PF_RING_BLOCK * word_bytes(self));
    pf_free(words(self));
    pf_free(self);
}

size_t pf_ring_length(const struct pf_ring *self)
{
    return self->n;
}

unsigned pf_ring_bits(const struct pf_ring *self)
{
    return self->bits;
}

void pf_ring_set(struct pf_ring *self, size_t i, int64_t value)
{
    assert(i < self->n);
    if (self->bits <= NARROW_BITS)
        self->narrow[i] = (uint32_t)value;
    else
        self->wide[i] = (uint64_t)value;
}

uint64_t pf_ring_get(const struct pf_ring *self, size_t i)
{
    assert(i < self->n);
    uint64_t word = self->bits <= NARROW_BITS ? self->narrow[i] : self->wide[i];
    return word & (UINT64_MAX >> (64 - self->bits));
}

int64_t pf_ring_get_signed(const struct pf_ring *self, size_t i)
{
    const uint64_t sign = UINT64_C(1) << (self->bits - 1);
    return (int64_t)((pf_ring_get(self, i) ^ sign) - sign);
}

/* n_blocks blocks from `first` on += sign · packed. */
static void accumulate(struct pf_ring *self, size_t first, size_t n_blocks, const uint8_t *packed,
                       int sign)
{
    const struct pf_ring_kernels *kernels = self->kernels;
    if (self->bits <= NARROW_BITS)
        (sign > 0 ? kernels->add_narrow : kernels->subtract_narrow)(
            self->narrow + first * PF_RING_BLOCK, packed, n_blocks, self->bits);
    else
        (sign > 0 ? kernels->add_wide : kernels->subtract_wide)(self->wide + first * PF_RING_BLOCK,
                                                                packed, n_blocks, self->bits);
}

/* What was added behind the last coordinate goes: the filling is always zero. */
static void clear_filling(struct pf_ring *self)
{
    const size_t end = self->n_blocks * PF_RING_BLOCK, size = word_bytes(self);
    if (end > self->n) memset((uint8_t *)words(self) + self->n * size, 0, (end - self->n) * size);
}

void pf_ring_add_packed(struct pf_ring *self, const uint8_t *packed)
{
    accumulate(self, 0, self->n_blocks, packed, +1);
    clear_filling(self);
}

void pf_ring_pack(const struct pf_ring *self, uint8_t *packed)
{
    if (self->bits <= NARROW_BITS)
        self->kernels->pack_narrow(packed, self->narrow, self->n_blocks, self->bits);
    else
        self->kernels->pack_wide(packed, self->wide, self->n_blocks, self->bits);
}

struct masks_job {
    struct pf_ring *ring;
    const struct pf_mask_term *terms;
    size_t n_terms, n_shards;
};

/* All masks over one piece of the vector. */
static void add_masks_to_piece(void *context, size_t shard)
{
    const struct masks_job *job = context;
    const unsigned bits = job->ring->bits;
    /* n_blocks · n_shards < 2^64: a block has 512 words in memory, so n_blocks < 2^53. */
    const size_t first = job->ring->n_blocks * shard / job->n_shards;
    const size_t n_blocks = job->ring->n_blocks * (shard + 1) / job->n_shards - first;
    uint8_t mask[SHARD_BLOCKS * BLOCK_BYTES(PF_RING_MAX_BITS)];
    struct pf_keystream keystream;
    pf_keystream_init(&keystream);
    for (size_t t = 0; t < job->n_terms; t++) {
        assert(job->terms[t].sign == 1 || job->terms[t].sign == -1);
        pf_keystream_make(&keystream, job->terms[t].key, (uint64_t)first * bits, mask,
                          n_blocks * BLOCK_BYTES(bits));
        accumulate(job->ring, first, n_blocks, mask, job->terms[t].sign);
    }
    pf_keystream_finish(&keystream);
    sodium_memzero(mask, n_blocks * BLOCK_BYTES(bits));
}

/* As many for each thread; the sum does not depend on where the vector is cut. */
static size_t count_shards(const struct pf_ring *self, size_t n_threads)
{
    size_t n = self->n_blocks / SHARD_BLOCKS + (self->n_blocks % SHARD_BLOCKS != 0);
    return (n + n_threads - 1) / n_threads * n_threads;
}

void pf_ring_add_masks(struct pf_ring *self, const struct pf_mask_term *terms, size_t n_terms,
                       struct pf_pool *pool)
{
    const size_t n_threads = pool != NULL ? pf_pool_n_threads(pool) : 1;
    struct masks_job job = {self, terms, n_terms, count_shards(self, n_threads)};
    if (pool != NULL)
        pf_pool_run(pool, job.n_shards, add_masks_to_piece, &job);
    else
        for (size_t shard = 0; shard < job.n_shards; shard++) add_masks_to_piece(&job, shard);
    clear_filling(self);
}

/* Value i of lane l of a packed block, bit by bit. */
static uint64_t read_value(const uint8_t *block, size_t i, size_t lane, unsigned bits)
{
    uint64_t value = 0;
    for (size_t k = 0; k < bits; k++) {
        size_t bit = i * bits + k, word = bit / 32;
        size_t byte = 4 * (PF_RING_LANES * word + lane) + bit % 32 / 8;
        value |= (uint64_t)(block[byte] >> (bit % 8) & 1) << k;
    }
    return value;
}

void pf_ring_add_masks_ref(struct pf_ring *self, const struct pf_mask_term *terms, size_t n_terms)
{
    uint8_t block[BLOCK_BYTES(PF_RING_MAX_BITS)];
    for (size_t t = 0; t < n_terms; t++)
        for (size_t c = 0; c < self->n; c++) {
            size_t within = c % PF_RING_BLOCK;
            if (within == 0)
                pf_keystream_make_ref(terms[t].key, c / PF_RING_BLOCK * self->bits, block,
                                      BLOCK_BYTES(self->bits));
            uint64_t mask =
                read_value(block, within / PF_RING_LANES, within % PF_RING_LANES, self->bits);
            uint64_t sum = pf_ring_get(self, c);
            sum = terms[t].sign > 0 ? sum + mask : sum - mask;
            pf_ring_set(self, c, (int64_t)sum);
        }
    sodium_memzero(block, sizeof block);
}
