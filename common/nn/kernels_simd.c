/* The kernels in vector form.  Compiled once per instruction set, with PF_KERNELS_TABLE naming
 * the table it defines and PF_KERNELS_NAME its name; see kernels.h for what each function does. */
#include "common/nn/kernels.h"

#include "common/base/compiler.h"
#include "common/nn/simd.h"

extern const struct pf_kernels PF_KERNELS_TABLE;

#define UNROLL _Pragma("GCC unroll 4")

/* Groups from `group` on that lie in one tile, at most n. */
static PF_INLINE size_t groups_in_tile(struct pf_tiles to, size_t group, size_t n)
{
    size_t room = PF_GROUPS_PER_TILE - (to.first + group) % PF_GROUPS_PER_TILE;
    return n < room ? n : room;
}

#define VECTORS_PER_GROUP (PF_GROUP / LANES)

/* Calls function(precision, …) with a constant. */
#define BY_PRECISION(precision, function, ...) \
    do {                                       \
        if ((precision) == PF_HALF)            \
            function(PF_HALF, __VA_ARGS__);    \
        else                                   \
            function(PF_SINGLE, __VA_ARGS__);  \
    } while (0)

/* Numbers [i, i + LANES). */
static PF_INLINE vec load_numbers(enum pf_precision precision, const void *numbers, size_t i)
{
    if (precision == PF_HALF) return v_load_half((const uint16_t *)numbers + i);
    return v_load((const float *)numbers + i);
}

/* Vector v of what group g of a tile sees of a channel; lanes that see nothing are undefined.
 * `index`: of the group, mixed views.  Twice only floats are seen. */
static PF_INLINE vec see(enum pf_precision precision, enum pf_view_kind kind,
                         const struct pf_sight *sight, const int32_t *index, const void *channel,
                         size_t g, size_t v)
{
    const uint16_t *halves = channel;
    const float *floats = channel;
    const size_t lane = v * LANES;
    ptrdiff_t from = sight->from[2 * g];
    if (kind == PF_EVERY_SECOND) {
        const ptrdiff_t next = sight->from[2 * g + 1];
        from = (lane < 8 ? from : next) + (ptrdiff_t)(2 * (lane % 8));
        return precision == PF_HALF ? v_load_second_half(halves + from, halves + next)
                                    : v_load_second(floats + from, floats + next);
    }
    if (kind == PF_TWICE) return v_load_twice(floats + from + lane / 2);
    if (kind == PF_MIXED && from == PF_SCATTERED)
        return precision == PF_HALF ? v_gather_half(halves, index + lane)
                                    : v_gather(floats, index + lane);
    from += (ptrdiff_t)lane;
    return precision == PF_HALF ? v_load_half(halves + from) : v_load(floats + from);
}

static PF_INLINE lanes seen(const struct pf_sight *sight, size_t g, size_t v)
{
    return v_lanes((unsigned)sight->mask[g] >> v * LANES);
}

/* Of group g of a tile through a tap; NULL unless mixed. */
static PF_INLINE const int32_t *index_of(const struct pf_view *view, enum pf_view_kind kind,
                                         size_t tap, size_t tile, size_t g)
{
    if (kind != PF_MIXED) return NULL;
    return view->index + (tap * view->n_groups + tile * PF_GROUPS_PER_TILE + g) * PF_GROUP;
}

/* Groups [g, g + n_groups) of a tile of all columns; `out` is where row 0 has them.  Channel after
 * channel: their memory is read in one stretch. */
static PF_INLINE void activate_groups(size_t n_groups, enum pf_precision precision,
                                      enum pf_view_kind kind, float *out,
                                      const struct pf_columns *columns, struct pf_blocks y,
                                      size_t tile, size_t g, const struct pf_affine *norm)
{
    const struct pf_view view = columns->forward;
    const struct pf_sight *sights = view.sights + tile * PF_TAPS;
    const uint8_t *tap = columns->tap, *end = tap + columns->n;
    const size_t taps = columns->taps_per_channel, step = y.run * pf_number_bytes(precision);
    const vec limit = v_set1(PF_RELU_LIMIT);
    for (const char *channel = y.values; tap < end; channel += step, norm++) {
        const vec scale = v_set1(norm->scale), bias = v_set1(norm->bias);
        for (size_t t = 0; t < taps; t++, tap++, out += PF_TILE) {
            const struct pf_sight *sight = &sights[*tap];
            UNROLL for (size_t i = 0; i < n_groups; i++)
                UNROLL for (size_t v = 0; v < VECTORS_PER_GROUP; v++)
            {
                const int32_t *index = index_of(&view, kind, *tap, tile, g + i);
                vec a = see(precision, kind, sight, index, channel, g + i, v);
                a = v_clamp_keep(v_fma(a, scale, bias), limit, seen(sight, g + i, v));
                v_store(out + i * PF_GROUP + v * LANES, a);
            }
        }
    }
}

typedef void activate_tile(float *out, const struct pf_columns *columns, struct pf_blocks y,
                           size_t tile, const struct pf_affine *norm);

/* A whole tile in the usual cases; each in a function of its own, or gcc runs out of registers. */
#define ACTIVATE_WHOLE(name, precision, kind)                                                      \
    static PF_NOINLINE void name(float *out, const struct pf_columns *columns, struct pf_blocks y, \
                                 size_t tile, const struct pf_affine *norm)                        \
    {                                                                                              \
        activate_groups(PF_GROUPS_PER_TILE, precision, kind, out, columns, y, tile, 0, norm);      \
    }

ACTIVATE_WHOLE(activate_rows_single, PF_SINGLE, PF_IN_ROWS)
ACTIVATE_WHOLE(activate_rows_half, PF_HALF, PF_IN_ROWS)
ACTIVATE_WHOLE(activate_second_single, PF_SINGLE, PF_EVERY_SECOND)
ACTIVATE_WHOLE(activate_second_half, PF_HALF, PF_EVERY_SECOND)
ACTIVATE_WHOLE(activate_mixed_single, PF_SINGLE, PF_MIXED)
ACTIVATE_WHOLE(activate_mixed_half, PF_HALF, PF_MIXED)

static activate_tile *activate_whole(enum pf_precision precision, enum pf_view_kind kind)
{
    bool half = precision == PF_HALF;
    switch (kind) {
    case PF_IN_ROWS: return half ? activate_rows_half : activate_rows_single;
    case PF_EVERY_SECOND: return half ? activate_second_half : activate_second_single;
    default: return half ? activate_mixed_half : activate_mixed_single;
    }
}

static PF_NOINLINE void activate_part(size_t n_groups, float *out, const struct pf_columns *columns,
                                      struct pf_blocks y, size_t tile, size_t g,
                                      const struct pf_affine *norm)
{
    activate_groups(n_groups, y.precision, columns->forward.kind, out, columns, y, tile, g, norm);
}

static void activate(struct pf_tiles to, const struct pf_columns *columns, struct pf_blocks y,
                     size_t first, size_t n_groups, const struct pf_affine *norm)
{
    activate_tile *whole = activate_whole(y.precision, columns->forward.kind);
    size_t n;
    for (size_t i = 0; i < n_groups; i += n) {
        float *out = pf_tile_group(to, 0, i);
        size_t tile = (first + i) / PF_GROUPS_PER_TILE, g = (first + i) % PF_GROUPS_PER_TILE;
        n = groups_in_tile(to, i, n_groups - i);
        if (n == PF_GROUPS_PER_TILE)
            whole(out, columns, y, tile, norm);
        else
            activate_part(n, out, columns, y, tile, g, norm);
    }
}

/* Rows of n_groups groups, the first at group `first` of g and y; out is where row 0 has them. */
static PF_INLINE void normalise_groups(size_t n_groups, enum pf_precision precision, float *out,
                                       struct pf_blocks g, struct pf_blocks y, size_t first,
                                       size_t n_rows, const uint16_t *mask,
                                       const struct pf_affine_back *norm)
{
    const float *g_first = (const float *)g.values + pf_block_group(g, first);
    const size_t y_first = pf_block_group(y, first);
    lanes real[PF_GROUPS_PER_TILE * VECTORS_PER_GROUP] = {0};
    UNROLL for (size_t i = 0; i < n_groups * VECTORS_PER_GROUP; i++) real[i] =
        v_lanes((unsigned)mask[first + i / VECTORS_PER_GROUP] >> i % VECTORS_PER_GROUP * LANES);
    for (size_t r = 0; r < n_rows; r++) {
        const vec a = v_set1(norm[r].a), b = v_set1(norm[r].b), c = v_set1(norm[r].c);
        const float *g_r = g_first + r * g.run;
        const void *y_r = pf_numbers_from(y.values, precision, y_first + r * y.run);
        UNROLL for (size_t i = 0; i < n_groups * VECTORS_PER_GROUP; i++)
        {
            vec dy = v_fma(load_numbers(precision, y_r, i * LANES), b, c);
            dy = v_fma(v_load(g_r + i * LANES), a, dy);
            v_store(out + r * PF_TILE + i * LANES, v_keep(dy, real[i]));
        }
    }
}

static PF_NOINLINE void normalise_whole_half(float *out, struct pf_blocks g, struct pf_blocks y,
                                             size_t first, size_t n_rows, const uint16_t *mask,
                                             const struct pf_affine_back *norm)
{
    normalise_groups(PF_GROUPS_PER_TILE, PF_HALF, out, g, y, first, n_rows, mask, norm);
}

static PF_NOINLINE void normalise_any(size_t n_groups, float *out, struct pf_blocks g,
                                      struct pf_blocks y, size_t first, size_t n_rows,
                                      const uint16_t *mask, const struct pf_affine_back *norm)
{
    if (n_groups == PF_GROUPS_PER_TILE && y.precision == PF_SINGLE)
        normalise_groups(PF_GROUPS_PER_TILE, PF_SINGLE, out, g, y, first, n_rows, mask, norm);
    else
        normalise_groups(n_groups, y.precision, out, g, y, first, n_rows, mask, norm);
}

static void normalise_back(struct pf_tiles to, size_t n_rows, struct pf_blocks g,
                           struct pf_blocks y, const uint16_t *mask, size_t n_groups,
                           const struct pf_affine_back *norm)
{
    size_t n;
    for (size_t i = 0; i < n_groups; i += n) {
        float *out = pf_tile_group(to, 0, i);
        n = groups_in_tile(to, i, n_groups - i);
        if (n == PF_GROUPS_PER_TILE && y.precision == PF_HALF)
            normalise_whole_half(out, g, y, i, n_rows, mask, norm);
        else
            normalise_any(n, out, g, y, i, n_rows, mask, norm);
    }
}

/* Coefficients of one channel on its way back. */
struct back_norm {
    struct pf_affine affine;
    float mean;
};

/* One vector behind ReLU6: g ← total where y passed it, and the sums of both. */
static PF_INLINE void back_vector(float *g, vec total, lanes chosen, vec y, struct back_norm norm,
                                  vec *sum, vec *sum_y)
{
    const vec scale = v_set1(norm.affine.scale), bias = v_set1(norm.affine.bias);
    total = v_keep(total, v_inside(chosen, v_fma(y, scale, bias), v_set1(PF_RELU_LIMIT)));
    v_store(g, total);
    *sum = v_add(*sum, total);
    *sum_y = v_fma(total, v_sub(y, v_set1(norm.mean)), *sum_y);
}

/* sums[2][16] += the sums of one of the vectors of a group. */
static PF_INLINE void put_sums(float *sums, size_t v, vec sum, vec sum_y)
{
    float *lane = sums + v * LANES;
    v_store(lane, v_add(v_load(lane), sum));
    v_store(lane + PF_GROUP, v_add(v_load(lane + PF_GROUP), sum_y));
}

/* What activate_back works on, at one block of n_groups. */
struct way_back {
    float *g;
    size_t n_channels;
    const struct pf_view *view;
    size_t tile;
    const uint8_t *tap; /* of the first channel's first column */
    size_t taps;        /* columns per channel */
    const float *dx;
    size_t dx_run;
    const void *y;
    size_t run; /* of g and y */
    const struct pf_affine *norm;
    const float *mean;
    float *sums;
};

/* What a column gives back to group i.  `sights`: the tile's. */
static PF_INLINE vec column_back(enum pf_view_kind kind, const struct way_back *way,
                                 const struct pf_sight *sight, size_t t, size_t i, size_t v)
{
    const int32_t *index = index_of(way->view, kind, way->tap[t], way->tile, i);
    return see(PF_SINGLE, kind, sight, index, way->dx + t * way->dx_run, i, v);
}

/* The sum of what a channel's columns give back to a vector. */
static PF_INLINE vec columns_back(enum pf_view_kind kind, const struct way_back *way,
                                  const struct pf_sight *sights, size_t i, size_t v)
{
    vec total = v_zero();
    for (size_t t = 0; t < way->taps; t++) {
        const struct pf_sight *sight = &sights[way->tap[t]];
        total = v_add(total, v_keep(column_back(kind, way, sight, t, i, v), seen(sight, i, v)));
    }
    return total;
}

static PF_INLINE void back_block(size_t n_groups, enum pf_precision precision,
                                 enum pf_view_kind kind, bool one_tap, struct way_back way)
{
    const struct pf_sight *sights = way.view->sights + way.tile * PF_TAPS;
    for (size_t c = 0; c < way.n_channels; c++) {
        const struct back_norm norm = {way.norm[c], way.mean[c]};
        const struct pf_sight *sight = &sights[*way.tap];
        float *sums = way.sums + c * 2 * PF_GROUP;
        UNROLL for (size_t v = 0; v < VECTORS_PER_GROUP; v++)
        {
            vec sum = v_zero(), sum_y = v_zero();
            UNROLL for (size_t i = 0; i < n_groups; i++)
            {
                size_t p = i * PF_GROUP + v * LANES;
                vec dx = one_tap ? column_back(kind, &way, sight, 0, i, v)
                                 : columns_back(kind, &way, sights, i, v);
                back_vector(way.g + p, dx, one_tap ? seen(sight, i, v) : v_lanes(~0u),
                            load_numbers(precision, way.y, p), norm, &sum, &sum_y);
            }
            put_sums(sums, v, sum, sum_y);
        }
        way.tap += way.taps;
        way.dx += way.taps * way.dx_run;
        way.g += way.run;
        way.y = pf_numbers_from(way.y, precision, way.run);
    }
}

typedef void back_whole(struct way_back way);

/* A block of 64 pixels of a layer of one column per channel, in the usual cases. */
#define BACK_WHOLE(name, precision, kind)                           \
    static PF_NOINLINE void name(struct way_back way)               \
    {                                                               \
        back_block(PF_GROUPS_PER_TILE, precision, kind, true, way); \
    }

BACK_WHOLE(back_rows_single, PF_SINGLE, PF_IN_ROWS)
BACK_WHOLE(back_rows_half, PF_HALF, PF_IN_ROWS)
BACK_WHOLE(back_twice_single, PF_SINGLE, PF_TWICE)
BACK_WHOLE(back_twice_half, PF_HALF, PF_TWICE)

/* NULL: not one of them. */
static back_whole *find_back_whole(enum pf_precision precision, enum pf_view_kind kind)
{
    bool half = precision == PF_HALF;
    switch (kind) {
    case PF_IN_ROWS: return half ? back_rows_half : back_rows_single;
    case PF_TWICE: return half ? back_twice_half : back_twice_single;
    default: return NULL;
    }
}

static PF_NOINLINE void back_any(size_t n_groups, enum pf_precision precision, struct way_back way)
{
    back_block(n_groups, precision, way.view->kind, way.taps == 1, way);
}

static void activate_back(float *g, size_t n_channels, const struct pf_columns *columns,
                          size_t first_column, struct pf_blocks dx, struct pf_blocks y,
                          size_t n_groups, const struct pf_affine *norm, const float *mean,
                          float *sums)
{
    size_t n = y.run / PF_GROUP;
    back_whole *whole = n == PF_GROUPS_PER_TILE && columns->taps_per_channel == 1
                            ? find_back_whole(y.precision, columns->back.kind)
                            : NULL;
    for (size_t first = 0; first < n_groups; first += n) {
        size_t at = pf_block_group(y, first);
        const struct way_back way = {.g = g + at,
                                     .n_channels = n_channels,
                                     .view = &columns->back,
                                     .tile = first / PF_GROUPS_PER_TILE,
                                     .tap = columns->tap + first_column,
                                     .taps = columns->taps_per_channel,
                                     .dx = dx.values,
                                     .dx_run = dx.run,
                                     .y = pf_numbers_from(y.values, y.precision, at),
                                     .run = y.run,
                                     .norm = norm,
                                     .mean = mean,
                                     .sums = sums};
        if (whole != NULL)
            whole(way);
        else
            back_any(n, y.precision, way);
    }
}

static PF_INLINE vec pool_groups(enum pf_precision precision, size_t n_groups, const void *y,
                                 const uint16_t *mask, struct pf_affine norm)
{
    const vec scale = v_set1(norm.scale), bias = v_set1(norm.bias);
    const vec limit = v_set1(PF_RELU_LIMIT);
    vec sum = v_zero();
    for (size_t i = 0; i < n_groups; i++) UNROLL for (unsigned j = 0; j < PF_GROUP; j += LANES)
        {
            vec a = v_fma(load_numbers(precision, y, i * PF_GROUP + j), scale, bias);
            sum = v_add(sum, v_keep(v_clamp(a, limit), v_lanes((unsigned)mask[i] >> j)));
        }
    return sum;
}

static PF_INLINE void pool_channels(enum pf_precision precision, float *pooled, size_t n_channels,
                                    struct pf_blocks y, const uint16_t *mask, size_t n_groups,
                                    const struct pf_affine *norm, float factor)
{
    size_t n = y.run / PF_GROUP;
    for (size_t c = 0; c < n_channels; c++) {
        vec sum = v_zero();
        for (size_t first = 0; first < n_groups; first += n) {
            size_t at = pf_block_group(y, first) + c * y.run;
            sum = v_add(sum, pool_groups(precision, n, pf_numbers_from(y.values, precision, at),
                                         mask + first, norm[c]));
        }
        pooled[c] = factor * v_sum(sum);
    }
}

static void pool(float *pooled, size_t n_channels, struct pf_blocks y, const uint16_t *mask,
                 size_t n_groups, const struct pf_affine *norm, float factor)
{
    BY_PRECISION(y.precision, pool_channels, pooled, n_channels, y, mask, n_groups, norm, factor);
}

static PF_INLINE void pool_back_groups(enum pf_precision precision, float *g, const void *y,
                                       size_t n_groups, const uint16_t *mask, float value,
                                       struct back_norm norm, float *sums)
{
    for (unsigned v = 0; v < VECTORS_PER_GROUP; v++) {
        vec sum = v_zero(), sum_y = v_zero();
        for (size_t i = 0; i < n_groups; i++) {
            size_t p = i * PF_GROUP + v * LANES;
            back_vector(g + p, v_set1(value), v_lanes((unsigned)mask[i] >> v * LANES),
                        load_numbers(precision, y, p), norm, &sum, &sum_y);
        }
        put_sums(sums, v, sum, sum_y);
    }
}

static PF_INLINE void pool_back_channels(enum pf_precision precision, float *g, size_t n_channels,
                                         const float *value, struct pf_blocks y,
                                         const uint16_t *mask, size_t n_groups,
                                         const struct pf_affine *norm, const float *mean,
                                         float *sums)
{
    size_t n = y.run / PF_GROUP;
    for (size_t first = 0; first < n_groups; first += n)
        for (size_t c = 0; c < n_channels; c++) {
            size_t at = pf_block_group(y, first) + c * y.run;
            pool_back_groups(precision, g + at, pf_numbers_from(y.values, precision, at), n,
                             mask + first, value[c], (struct back_norm){norm[c], mean[c]},
                             sums + c * 2 * PF_GROUP);
        }
}

static void pool_back(float *g, size_t n_channels, const float *value, struct pf_blocks y,
                      const uint16_t *mask, size_t n_groups, const struct pf_affine *norm,
                      const float *mean, float *sums)
{
    BY_PRECISION(y.precision, pool_back_channels, g, n_channels, value, y, mask, n_groups, norm,
                 mean, sums);
}

/* What is known of a sink when a product is compiled. */
struct sink_kind {
    bool whole; /* all four groups exist, and with sums also all their pixels */
    bool summed, stream;
    enum pf_precision precision;
};

static PF_INLINE struct sink_kind kind_of(const struct pf_sink *to)
{
    bool whole = to->n_groups == PF_GROUPS_PER_TILE;
    for (size_t i = 0; to->pivot != NULL && i < to->n_groups; i++)
        whole = whole && to->mask[i] == 0xffff;
    return (struct sink_kind){whole, to->pivot != NULL, to->stream, to->precision};
}

/* The kinds that training lives of; and whatever else there is. */
#define PLAIN ((struct sink_kind){true, false, false, PF_SINGLE})       /* back */
#define STREAM_SINGLE ((struct sink_kind){true, true, true, PF_SINGLE}) /* forward */
#define STREAM_HALF ((struct sink_kind){true, true, true, PF_HALF})

static PF_INLINE bool same_kind(struct sink_kind a, struct sink_kind b)
{
    return a.whole == b.whole && a.summed == b.summed && a.stream == b.stream &&
           a.precision == b.precision;
}

static PF_INLINE void put_numbers(struct sink_kind kind, void *numbers, ptrdiff_t i, vec a)
{
    if (kind.precision == PF_HALF) {
        uint16_t *out = (uint16_t *)numbers + i;
        kind.stream ? v_stream_half(out, a) : v_store_half(out, a);
    } else {
        float *out = (float *)numbers + i;
        kind.stream ? v_stream(out, a) : v_store(out, a);
    }
}

/* What a row's accumulators begin with. */
static PF_INLINE vec row_begin(struct sink_kind kind, const struct pf_sink *to, size_t row)
{
    return kind.summed ? v_set1(-to->pivot[row]) : v_zero();
}

/* Vectors acc[n] of one row of a product, the first at pixel `first` of the tile. */
static PF_INLINE void sink_row(struct sink_kind kind, const struct pf_sink *to, size_t row,
                               size_t first, const vec *acc, size_t n)
{
    UNROLL for (size_t j = 0; j < n; j++)
    {
        size_t group = (first + j * LANES) / PF_GROUP, lane = (first + j * LANES) % PF_GROUP;
        if (!kind.whole && group >= to->n_groups) break;
        put_numbers(kind, to->values, (ptrdiff_t)(row * to->row_stride + lane) + to->offset[group],
                    acc[j]);
    }
    if (!kind.summed) return;
    float *sums = to->sums + row * 2 * PF_GROUP;
    UNROLL for (size_t set = 0; set < VECTORS_PER_GROUP && set < n; set++)
    {
        size_t lane = (first + set * LANES) % PF_GROUP;
        vec sum = v_load(sums + lane), squares = v_load(sums + PF_GROUP + lane);
        UNROLL for (size_t j = set; j < n; j += VECTORS_PER_GROUP)
        {
            size_t group = (first + j * LANES) / PF_GROUP;
            if (!kind.whole && group >= to->n_groups) break;
            vec a =
                kind.whole ? acc[j] : v_keep(acc[j], v_lanes((unsigned)to->mask[group] >> lane));
            sum = v_add(sum, a);
            squares = v_fma(a, a, squares);
        }
        v_store(sums + lane, sum);
        v_store(sums + PF_GROUP + lane, squares);
    }
}

static void stream_end(void)
{
    v_stream_end();
}

static PF_INLINE void fetch_lines(const char *next, size_t n)
{
    for (const char *end = next + n * PF_LINE; next < end; next += PF_LINE)
        __builtin_prefetch(next, 0, 2);
}

/* One step's lines where the first range has fewer: what it has, and the rest of the next. */
static PF_NOINLINE void fetch_across(struct pf_ahead *ahead)
{
    size_t left = ahead->pace;
    while (left > 0) {
        size_t n = ahead->ranges[0].n_lines < left ? ahead->ranges[0].n_lines : left;
        fetch_lines(ahead->ranges[0].next, n);
        ahead->ranges[0].next += n * PF_LINE;
        ahead->ranges[0].n_lines -= n;
        left -= n;
        if (left == 0) return;
        for (size_t r = 0; r + 1 < PF_AHEAD_RANGES; r++) ahead->ranges[r] = ahead->ranges[r + 1];
        ahead->ranges[PF_AHEAD_RANGES - 1].n_lines = 0;
        bool empty = true;
        for (size_t r = 0; r < PF_AHEAD_RANGES; r++) empty &= ahead->ranges[r].n_lines == 0;
        if (empty) left = ahead->pace = 0;
    }
}

/* One step's lines. */
static PF_INLINE void fetch_ahead(struct pf_ahead *ahead)
{
    size_t n = ahead->pace;
    const char *next = ahead->ranges[0].next;
    if (ahead->ranges[0].n_lines < n) {
        fetch_across(ahead);
        return;
    }
    ahead->ranges[0].n_lines -= n;
    ahead->ranges[0].next = next + n * PF_LINE;
    fetch_lines(next, n);
}

/* 4 rows × VECTORS_PER_BLOCK vectors of output stay in registers while k runs. */
static PF_INLINE void product_block(struct sink_kind kind, const struct pf_sink *to, size_t row,
                                    size_t n_rows, size_t first, const float *panel, const float *x,
                                    size_t n_columns, struct pf_ahead *ahead)
{
    vec acc[PF_ROW_BLOCK][VECTORS_PER_BLOCK];
    UNROLL for (size_t i = 0; i < PF_ROW_BLOCK; i++)
    {
        const vec begin = row_begin(kind, to, i < n_rows ? row + i : row);
        UNROLL for (size_t j = 0; j < VECTORS_PER_BLOCK; j++) acc[i][j] = begin;
    }
    for (size_t begin = 0; begin < n_columns; begin += PF_STEP_COLUMNS) {
        size_t end = begin + PF_STEP_COLUMNS < n_columns ? begin + PF_STEP_COLUMNS : n_columns;
        fetch_ahead(ahead);
        for (size_t k = begin; k < end; k++) {
            vec x_k[VECTORS_PER_BLOCK];
            UNROLL for (size_t j = 0; j < VECTORS_PER_BLOCK; j++) x_k[j] =
                v_load(x + k * PF_TILE + j * LANES);
            UNROLL for (size_t i = 0; i < PF_ROW_BLOCK; i++)
            {
                vec w = v_set1(panel[k * PF_ROW_BLOCK + i]);
                UNROLL for (size_t j = 0; j < VECTORS_PER_BLOCK; j++) acc[i][j] =
                    v_fma(w, x_k[j], acc[i][j]);
            }
        }
    }
    UNROLL for (size_t i = 0; i < PF_ROW_BLOCK; i++)
    {
        if (i == n_rows) break;
        sink_row(kind, to, row + i, first, acc[i], VECTORS_PER_BLOCK);
    }
}

static PF_INLINE void product_rows(struct sink_kind kind, const struct pf_sink *to,
                                   const float *panels, const float *x, size_t n_rows,
                                   size_t n_columns, struct pf_ahead *ahead)
{
    for (size_t r = 0; r < n_rows; r += PF_ROW_BLOCK) {
        size_t n = n_rows - r < PF_ROW_BLOCK ? n_rows - r : PF_ROW_BLOCK;
        for (size_t p = 0; p < PF_TILE; p += VECTORS_PER_BLOCK * LANES)
            product_block(kind, to, r, n, p, panels + r * n_columns, x + p, n_columns, ahead);
    }
}

/* A sink is copied: no store can change the copy, so that it stays in registers. */
#define PRODUCT_OF_KIND(name, kind)                                                             \
    static PF_NOINLINE void name(const struct pf_sink *to, const float *panels, const float *x, \
                                 size_t n_rows, size_t n_columns, struct pf_ahead *ahead)       \
    {                                                                                           \
        const struct pf_sink sink = *to;                                                        \
        product_rows(kind, &sink, panels, x, n_rows, n_columns, ahead);                         \
    }

PRODUCT_OF_KIND(product_plain, PLAIN)
PRODUCT_OF_KIND(product_stream_single, STREAM_SINGLE)
PRODUCT_OF_KIND(product_stream_half, STREAM_HALF)
PRODUCT_OF_KIND(product_any, kind_of(to))

static void product(const struct pf_sink *to, const float *panels, const float *x, size_t n_rows,
                    size_t n_columns, struct pf_ahead *ahead)
{
    const struct sink_kind kind = kind_of(to);
    (same_kind(kind, PLAIN)           ? product_plain
     : same_kind(kind, STREAM_SINGLE) ? product_stream_single
     : same_kind(kind, STREAM_HALF)   ? product_stream_half
                                      : product_any)(to, panels, x, n_rows, n_columns, ahead);
}

/* Rows × columns of dw whose vector sums stay in registers. */
#define WEIGHT_ROWS 4u
#define WEIGHT_COLUMNS (LANES / WEIGHT_ROWS)

static PF_INLINE void weights_block(float *sums, const float *dy, size_t dy_stride, const float *x,
                                    size_t x_stride, size_t n_tiles)
{
    vec acc[WEIGHT_ROWS * WEIGHT_COLUMNS];
    UNROLL for (size_t i = 0; i < WEIGHT_ROWS; i++)
        UNROLL for (size_t j = 0; j < WEIGHT_COLUMNS; j++) acc[i * WEIGHT_COLUMNS + j] = v_zero();
    for (size_t t = 0; t < n_tiles; t++) {
        UNROLL for (size_t p = 0; p < PF_TILE; p += LANES)
        {
            vec x_p[WEIGHT_COLUMNS];
            UNROLL for (size_t j = 0; j < WEIGHT_COLUMNS; j++) x_p[j] =
                v_load(x + t * x_stride + j * PF_TILE + p);
            UNROLL for (size_t i = 0; i < WEIGHT_ROWS; i++)
            {
                vec dy_p = v_load(dy + t * dy_stride + i * PF_TILE + p);
                UNROLL for (size_t j = 0; j < WEIGHT_COLUMNS; j++) acc[i * WEIGHT_COLUMNS + j] =
                    v_fma(dy_p, x_p[j], acc[i * WEIGHT_COLUMNS + j]);
            }
        }
    }
    v_sums(sums, acc);
}

/* Columns of x kept in the first cache while all rows of dy pass: 16 · 512 pixels = 32 KiB. */
#define COLUMNS_PER_PASS 16u
#define TILES_PER_PASS 8u

static void weights_pass(float *dw, size_t n_rows, size_t n_columns, size_t first, const float *dy,
                         size_t dy_stride, const float *x, size_t x_stride, size_t n_tiles,
                         struct pf_ahead *ahead)
{
    size_t last = first + COLUMNS_PER_PASS < n_columns ? first + COLUMNS_PER_PASS : n_columns;
    for (size_t r = 0; r < n_rows; r += WEIGHT_ROWS) {
        for (size_t k = first; k < last; k += WEIGHT_COLUMNS) {
            float sums[WEIGHT_ROWS * WEIGHT_COLUMNS];
            fetch_ahead(ahead);
            weights_block(sums, dy + r * PF_TILE, dy_stride, x + k * PF_TILE, x_stride, n_tiles);
            for (size_t i = 0; i < WEIGHT_ROWS && r + i < n_rows; i++)
                for (size_t j = 0; j < WEIGHT_COLUMNS && k + j < n_columns; j++)
                    dw[(r + i) * n_columns + k + j] += sums[i * WEIGHT_COLUMNS + j];
        }
    }
}

static void product_weights(float *dw, size_t n_rows, size_t n_columns, const float *dy,
                            size_t dy_stride, const float *x, size_t x_stride, size_t n_tiles,
                            struct pf_ahead *ahead)
{
    for (size_t t = 0; t < n_tiles; t += TILES_PER_PASS) {
        size_t n = n_tiles - t < TILES_PER_PASS ? n_tiles - t : TILES_PER_PASS;
        for (size_t k = 0; k < n_columns; k += COLUMNS_PER_PASS)
            weights_pass(dw, n_rows, n_columns, k, dy + t * dy_stride, dy_stride, x + t * x_stride,
                         x_stride, n, ahead);
    }
}

#define VECTORS_PER_TILE (PF_TILE / LANES < 4u ? PF_TILE / LANES : 4u)

/* A survivor's weight, and the row of x that it multiplies.  One load of a general register for
 * both, since the load units are what packed products wait for. */
static PF_INLINE vec survivor_weight(const struct pf_survivor *survivor, const float *x,
                                     const float **row)
{
    const bool little = __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__;
    uint64_t both;
    memcpy(&both, survivor, sizeof both);
    uint32_t first = (uint32_t)both, second = (uint32_t)(both >> 32);
    *row = x + (size_t)(little ? second : first) * PF_TILE;
    return v_set1_bits(little ? first : second);
}

/* A row's survivors in one segment.  What there is of the sum stands in `sums` before all but the
 * first segment, and after all but the last. */
static PF_INLINE void packed_row(struct sink_kind kind, const struct pf_sink *to, size_t row,
                                 const struct pf_survivor *survivors, size_t n, const float *x,
                                 bool first, bool last, float *sums)
{
    for (size_t p = 0; p < PF_TILE; p += VECTORS_PER_TILE * LANES) {
        const vec begin = row_begin(kind, to, row);
        vec acc[VECTORS_PER_TILE];
        UNROLL for (size_t j = 0; j < VECTORS_PER_TILE; j++) acc[j] =
            first ? begin : v_load(sums + p + j * LANES);
        for (const struct pf_survivor *s = survivors; s < survivors + n; s++) {
            const float *x_s;
            vec w = survivor_weight(s, x + p, &x_s);
            UNROLL for (size_t j = 0; j < VECTORS_PER_TILE; j++) acc[j] =
                v_fma(w, v_load(x_s + j * LANES), acc[j]);
        }
        if (last)
            sink_row(kind, to, row, p, acc, VECTORS_PER_TILE);
        else
            UNROLL for (size_t j = 0; j < VECTORS_PER_TILE; j++)
                v_store(sums + p + j * LANES, acc[j]);
    }
}

static PF_INLINE void packed_segment(struct sink_kind kind, const struct pf_sink *to,
                                     const uint32_t *start, const struct pf_survivor *survivors,
                                     size_t n_rows, const float *x, bool first, bool last,
                                     float *sums, struct pf_ahead *ahead)
{
    for (size_t r = 0; r < n_rows; r++) {
        fetch_ahead(ahead);
        packed_row(kind, to, r, survivors + start[r], start[r + 1] - start[r], x, first, last,
                   last && first ? NULL : sums + r * PF_TILE);
    }
}

/* All segments but the last. */
static PF_NOINLINE void packed_begin(const struct pf_sink *to, const struct pf_survivor_list *list,
                                     size_t first_row, size_t n_rows, const float *x, float *sums,
                                     struct pf_ahead *ahead)
{
    const struct pf_sink sink = *to;
    const struct sink_kind kind = kind_of(to);
    for (size_t s = 0; s + 1 < list->n_segments; s++)
        packed_segment(kind, &sink, list->start + s * (list->n_rows + 1) + first_row,
                       list->survivors, n_rows, x, s == 0, false, sums, ahead);
}

#define PACKED_OF_KIND(name, kind)                                                              \
    static PF_NOINLINE void name(const struct pf_sink *to, const uint32_t *start,               \
                                 const struct pf_survivor *survivors, size_t n_rows,            \
                                 const float *x, float *sums, struct pf_ahead *ahead)           \
    {                                                                                           \
        const struct pf_sink sink = *to;                                                        \
        if (sums == NULL)                                                                       \
            packed_segment(kind, &sink, start, survivors, n_rows, x, true, true, NULL, ahead);  \
        else                                                                                    \
            packed_segment(kind, &sink, start, survivors, n_rows, x, false, true, sums, ahead); \
    }

PACKED_OF_KIND(packed_plain, PLAIN)
PACKED_OF_KIND(packed_stream_single, STREAM_SINGLE)
PACKED_OF_KIND(packed_stream_half, STREAM_HALF)
PACKED_OF_KIND(packed_any, kind_of(to))

static void packed(const struct pf_sink *to, const struct pf_survivor_list *list, size_t first,
                   size_t n_rows, const float *x, float *sums, struct pf_ahead *ahead)
{
    const struct sink_kind kind = kind_of(to);
    const uint32_t *start = list->start + (list->n_segments - 1) * (list->n_rows + 1) + first;
    if (list->n_segments > 1)
        packed_begin(to, list, first, n_rows, x, sums, ahead);
    else
        sums = NULL;
    (same_kind(kind, PLAIN)           ? packed_plain
     : same_kind(kind, STREAM_SINGLE) ? packed_stream_single
     : same_kind(kind, STREAM_HALF)
         ? packed_stream_half
         : packed_any)(to, start, list->survivors, n_rows, x, sums, ahead);
}

/* n ≤ 4 survivors of a row, VECTORS_PER_TILE vectors of pixels: sums += the lanes of their
 * products, transposed and added up so that one vector holds all four.  Sums of their own would be
 * as much to load and store as the rows. */
static PF_INLINE void packed_weights_quad(float *sums, const struct pf_survivor *survivors,
                                          size_t n, const vec *dy, const float *x)
{
    vec acc[PF_QUAD];
    UNROLL for (size_t i = 0; i < PF_QUAD; i++)
    {
        acc[i] = v_zero();
        if (i >= n) continue;
        const float *row = x + (size_t)survivors[i].row * PF_TILE;
        UNROLL for (size_t j = 0; j < VECTORS_PER_TILE; j++) acc[i] =
            v_fma(dy[j], v_load(row + j * LANES), acc[i]);
    }
    v_store(sums, v_add(v_load(sums), v_sum_quad(acc)));
}

static PF_INLINE void packed_weights_row(float *sums, const struct pf_survivor *survivors, size_t n,
                                         const float *dy, const float *x)
{
    vec dy_p[VECTORS_PER_TILE];
    UNROLL for (size_t j = 0; j < VECTORS_PER_TILE; j++) dy_p[j] = v_load(dy + j * LANES);
    for (; n >= PF_QUAD; n -= PF_QUAD, survivors += PF_QUAD, sums += PF_GROUP)
        packed_weights_quad(sums, survivors, PF_QUAD, dy_p, x);
    if (n > 0) packed_weights_quad(sums, survivors, n, dy_p, x);
}

/* One segment and tile; returns the partial sums behind the segment's. */
static float *packed_weights_segment(float *sums, const uint32_t *start,
                                     const struct pf_survivor *survivors, size_t n_rows,
                                     const float *dy, const float *x, struct pf_ahead *ahead)
{
    for (size_t r = 0; r < n_rows; r++) {
        size_t n = start[r + 1] - start[r];
        fetch_ahead(ahead);
        for (size_t p = 0; p < PF_TILE; p += VECTORS_PER_TILE * LANES)
            packed_weights_row(sums, survivors + start[r], n, dy + r * PF_TILE + p, x + p);
        sums += pf_quads(n) * PF_GROUP;
    }
    return sums;
}

static void packed_weights(float *partial, const struct pf_survivor_list *list, const float *dy,
                           size_t dy_stride, const float *x, size_t x_stride, size_t n_tiles,
                           struct pf_ahead *ahead)
{
    for (; n_tiles > 0; n_tiles--, dy += dy_stride, x += x_stride) {
        float *sums = partial;
        for (size_t s = 0; s < list->n_segments; s++)
            sums = packed_weights_segment(sums, list->start + s * (list->n_rows + 1),
                                          list->survivors, list->n_rows, dy, x, ahead);
    }
}

const struct pf_kernels PF_KERNELS_TABLE = {
    .name = PF_KERNELS_NAME,
    .activate = activate,
    .normalise_back = normalise_back,
    .activate_back = activate_back,
    .pool = pool,
    .pool_back = pool_back,
    .product = product,
    .product_weights = product_weights,
    .packed = packed,
    .packed_weights = packed_weights,
    .stream_end = stream_end,
};
