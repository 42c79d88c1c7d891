/* The products of every kernel table this processor can run against the plain twins, on random
 * content with odd counts, offsets and masks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/nn/half.h"
#include "tests/unit/nn/kernel_fixture.h"

/* The sinks that occur, and those with groups that are missing, scattered or partly masked. */
enum { SINK_ROW = 4 * PF_GROUP, SINK_NUMBERS = ROWS * SINK_ROW + 2 * PF_GROUP };

static const uint16_t odd_mask[PF_GROUPS_PER_TILE] = {0xffff, 0x8001, 0xffff, 0x7ffe};

static const struct sink_case {
    bool summed, stream, odd;
} sinks[] = {{false, false, false}, {true, true, false}, {true, false, false},
             {true, false, true},   {true, true, true},  {false, false, true}};

static struct pf_sink make_sink(const struct sink_case *c, void *values,
                                enum pf_precision precision, const float *pivot, float *sums)
{
    struct pf_sink sink = {.values = values,
                           .precision = precision,
                           .row_stride = SINK_ROW,
                           .n_groups = PF_GROUPS_PER_TILE,
                           .offset = {0, PF_GROUP, 2 * PF_GROUP, 3 * PF_GROUP},
                           .mask = {0xffff, 0xffff, 0xffff, 0xffff},
                           .pivot = c->summed ? pivot : NULL,
                           .sums = sums,
                           .stream = c->stream};
    if (!c->odd) return sink;
    sink.n_groups = 3; /* in another order, with borders */
    sink.offset[0] = 4 * PF_GROUP;
    sink.offset[2] = 0;
    for (size_t i = 0; i < sink.n_groups; i++) sink.mask[i] = odd_mask[i];
    return sink;
}

/* Halves: the last bit may differ, where sums that differ in theirs round to either side. */
static void assert_numbers_close(const void *a, const void *b, enum pf_precision precision,
                                 size_t n, const char *table)
{
    if (precision == PF_SINGLE) {
        assert_close(a, b, n, table);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        float got = pf_float_of_half(((const uint16_t *)a)[i]);
        float expected = pf_float_of_half(((const uint16_t *)b)[i]);
        if (!(fabsf(got - expected) <= 1e-4f + 1e-3f * fabsf(expected)))
            fail_msg("%s: half %zu is %g, the plain twin says %g", table, i, (double)got,
                     (double)expected);
    }
}

/* What every table but the reference makes of a product, against the reference. */
typedef void run_function(const struct pf_kernels *kernels, const struct pf_sink *to,
                          const void *work);

static void check_sink(run_function *run, const void *work, const struct sink_case *c,
                       enum pf_precision precision)
{
    /* On the heap, which aligns to lines: streams need that. */
    size_t bytes = SINK_NUMBERS * pf_number_bytes(precision);
    void *before = noise_kept(SINK_NUMBERS, precision), *got = noise_kept(SINK_NUMBERS, precision);
    void *expected = noise_kept(SINK_NUMBERS, precision);
    float *pivot = noise(ROWS), sums[ROWS * 2 * PF_GROUP] = {0};
    memcpy(expected, before, bytes);
    struct pf_sink sink = make_sink(c, expected, precision, pivot, sums);
    run(tables[0], &sink, work);
    assert_true(memcmp(expected, before, bytes) != 0);
    for (size_t t = 1; t < n_tables; t++) {
        float got_sums[ROWS * 2 * PF_GROUP] = {0};
        memcpy(got, before, bytes);
        sink = make_sink(c, got, precision, pivot, got_sums);
        run(tables[t], &sink, work);
        tables[t]->stream_end();
        assert_numbers_close(got, expected, precision, SINK_NUMBERS, tables[t]->name);
        assert_sums_close(got_sums, sums, ROWS * 2 * PF_GROUP, tables[t]->name);
    }
    pf_free(before);
    pf_free(pivot);
    pf_free(got);
    pf_free(expected);
}

static void check_product(run_function *run, const void *work)
{
    for (size_t i = 0; i < PF_ARRAY_LENGTH(sinks); i++) {
        check_sink(run, work, &sinks[i], PF_SINGLE);
        check_sink(run, work, &sinks[i], PF_HALF);
    }
}

/* 70 columns: more than are worked on between two fetches. */
enum { COLUMNS = 70, COLUMNS_PADDED = 72, ROWS_PADDED = 8, TILES = 11 };

struct dense_work {
    const float *panels, *x;
};

static void run_product(const struct pf_kernels *kernels, const struct pf_sink *to,
                        const void *work)
{
    const struct dense_work *dense = work;
    char memory[3 * PF_LINE];
    struct pf_ahead ahead = {.ranges = {{memory, 1}, {memory + PF_LINE, 2}}, .pace = 2};
    kernels->product(to, dense->panels, dense->x, ROWS, COLUMNS, &ahead);
    if (kernels != tables[0]) /* which fetches nothing */
        assert_int_equal(ahead.ranges[0].n_lines + ahead.ranges[1].n_lines, 0);
}

static void test_product_equals_its_twin(void **state)
{
    (void)state;
    float *panels = noise(ROWS_PADDED * COLUMNS), *x = noise(COLUMNS_PADDED * PF_TILE);
    check_product(run_product, &(struct dense_work){panels, x});
    pf_free(panels);
    pf_free(x);
}

static void test_product_weights_equals_its_twin(void **state)
{
    (void)state;
    size_t dy_stride = ROWS_PADDED * PF_TILE, x_stride = COLUMNS_PADDED * PF_TILE;
    float *dy = noise(TILES * dy_stride), *x = noise(TILES * x_stride);
    float *before = noise(ROWS * COLUMNS), *expected = copy_of(before, ROWS * COLUMNS);
    struct pf_ahead none = {.ranges = {{NULL, 0}}};
    tables[0]->product_weights(expected, ROWS, COLUMNS, dy, dy_stride, x, x_stride, TILES, &none);
    for (size_t t = 1; t < n_tables; t++) {
        float *got = copy_of(before, ROWS * COLUMNS);
        tables[t]->product_weights(got, ROWS, COLUMNS, dy, dy_stride, x, x_stride, TILES, &none);
        for (size_t i = 0; i < ROWS * COLUMNS; i++) /* sums of 704 products of about 9 */
            if (!(fabsf(got[i] - expected[i]) < 5e-3f))
                fail_msg("%s: weight %zu is %g, the plain twin says %g", tables[t]->name, i,
                         (double)got[i], (double)expected[i]);
        pf_free(got);
    }
    pf_free(dy);
    pf_free(x);
    pf_free(before);
    pf_free(expected);
}

/* Rows of 0, 1, 2, … survivors in each segment. */
enum { MAX_SEGMENTS = 3, MAX_SURVIVORS = MAX_SEGMENTS * ROWS * ROWS };
struct random_list {
    struct pf_survivor_list list;
    uint32_t start[MAX_SEGMENTS * (ROWS + 1)];
    struct pf_survivor survivors[MAX_SURVIVORS];
    size_t n, n_quads;
};

static void random_survivors(struct random_list *self, size_t n_segments)
{
    *self = (struct random_list){.list = {.n_rows = ROWS, .n_segments = n_segments}};
    self->list.start = self->start;
    self->list.survivors = self->survivors;
    for (size_t s = 0; s < n_segments; s++) {
        uint32_t *start = self->start + s * (ROWS + 1);
        for (uint32_t r = 0; r < ROWS; r++) {
            start[r] = (uint32_t)self->n;
            for (uint32_t i = 0; i < r; i++)
                self->survivors[self->n++] = (struct pf_survivor){
                    (float)pf_random_normal(&source), pf_random_below(&source, COLUMNS)};
            self->n_quads += pf_quads(r);
        }
        start[ROWS] = (uint32_t)self->n;
    }
}

struct packed_work {
    const struct pf_survivor_list *list;
    size_t first;
    const float *x;
};

static void run_packed(const struct pf_kernels *kernels, const struct pf_sink *to, const void *work)
{
    const struct packed_work *packed = work;
    struct pf_ahead none = {.ranges = {{NULL, 0}}};
    float *sums = noise(ROWS * PF_TILE);
    kernels->packed(to, packed->list, packed->first, ROWS - packed->first, packed->x,
                    packed->list->n_segments > 1 ? sums : NULL, &none);
    pf_free(sums);
}

static void test_packed_equals_its_twin(void **state)
{
    (void)state;
    float *x = noise(COLUMNS * PF_TILE);
    for (size_t n_segments = 1; n_segments <= MAX_SEGMENTS; n_segments++) {
        struct random_list random;
        random_survivors(&random, n_segments);
        check_product(run_packed, &(struct packed_work){&random.list, 0, x});
        check_product(run_packed, &(struct packed_work){&random.list, 4, x});
    }
    pf_free(x);
}

/* A product of one weight of 1 shows how every number is rounded. */
static void test_halves_are_rounded_alike(void **state)
{
    (void)state;
    enum { ROUNDS = 4000 };
    uint32_t start[] = {0, 1};
    struct pf_survivor one = {1.0f, 0};
    const struct pf_survivor_list list = {1, 1, start, &one};
    float x[PF_TILE];
    uint16_t *got = PF_ALLOC(PF_TILE, uint16_t);
    assert_non_null(got);
    for (size_t round = 0; round < ROUNDS; round++) {
        for (size_t i = 0; i < PF_TILE; i++) { /* around what is halfway between two halves */
            uint32_t half = pf_random_below(&source, 0x7c01), sign = pf_random_below(&source, 2);
            float middle = pf_float_of_half((uint16_t)half);
            middle += (pf_float_of_half((uint16_t)(half + 1)) - middle) / 2.0f;
            x[i] = pf_float_of_bits((pf_bits_of_float(middle) + pf_random_below(&source, 3) - 1) ^
                                    sign << 31);
        }
        for (size_t t = 0; t < n_tables; t++) {
            struct pf_sink sink = {.values = got,
                                   .precision = PF_HALF,
                                   .n_groups = PF_GROUPS_PER_TILE,
                                   .offset = {0, PF_GROUP, 2 * PF_GROUP, 3 * PF_GROUP}};
            struct pf_ahead none = {.ranges = {{NULL, 0}}};
            tables[t]->packed(&sink, &list, 0, 1, x, NULL, &none);
            for (size_t i = 0; i < PF_TILE; i++)
                if (isnan(x[i]) ? !isnan(pf_float_of_half(got[i]))
                                : got[i] != pf_half_of_float(x[i]))
                    fail_msg("%s: %a becomes %x, not %x", tables[t]->name, (double)x[i], got[i],
                             pf_half_of_float(x[i]));
        }
    }
    pf_free(got);
}

/* The sums of the survivors, from the lanes of their quads. */
static void sums_of_quads(float *sums, const float *partial, const struct pf_survivor_list *list)
{
    for (size_t s = 0; s < list->n_segments; s++)
        for (size_t r = 0; r < list->n_rows; r++) {
            const uint32_t *start = pf_segment_start(list, s) + r;
            size_t n = start[1] - start[0];
            for (size_t i = 0; i < n; i++, sums++) {
                *sums = 0.0f;
                for (size_t lane = i % PF_QUAD; lane < PF_GROUP; lane += PF_QUAD)
                    *sums += partial[i / PF_QUAD * PF_GROUP + lane];
            }
            partial += pf_quads(n) * PF_GROUP;
        }
}

static void check_packed_weights(size_t n_segments)
{
    struct random_list random;
    random_survivors(&random, n_segments);
    size_t dy_stride = ROWS_PADDED * PF_TILE, x_stride = COLUMNS_PADDED * PF_TILE;
    size_t n_partial = random.n_quads * PF_GROUP;
    float *dy = noise(TILES * dy_stride), *x = noise(TILES * x_stride);
    float *before = noise(n_partial), *partial = copy_of(before, n_partial);
    float expected[MAX_SURVIVORS], got[MAX_SURVIVORS];
    struct pf_ahead none = {.ranges = {{NULL, 0}}};
    for (size_t t = 0; t < n_tables; t++) {
        memcpy(partial, before, n_partial * sizeof *partial);
        tables[t]->packed_weights(partial, &random.list, dy, dy_stride, x, x_stride, TILES, &none);
        sums_of_quads(t == 0 ? expected : got, partial, &random.list);
        for (size_t i = 0; t > 0 && i < random.n; i++) /* of 704 products of about 9 */
            if (!(fabsf(got[i] - expected[i]) < 5e-3f))
                fail_msg("%s: weight %zu is %g, the plain twin says %g", tables[t]->name, i,
                         (double)got[i], (double)expected[i]);
    }
    pf_free(dy);
    pf_free(x);
    pf_free(before);
    pf_free(partial);
}

static void test_packed_weights_equals_its_twin(void **state)
{
    (void)state;
    for (size_t n_segments = 1; n_segments <= MAX_SEGMENTS; n_segments++)
        check_packed_weights(n_segments);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_product_equals_its_twin),
        cmocka_unit_test(test_product_weights_equals_its_twin),
        cmocka_unit_test(test_packed_equals_its_twin),
        cmocka_unit_test(test_halves_are_rounded_alike),
        cmocka_unit_test(test_packed_weights_equals_its_twin),
    };
    return cmocka_run_group_tests(tests, list_tables, NULL);
}
