/* The products of one layer alone; one JSON line per layer and product.
 *
 * A layer is N filters over K columns, on 1,024 pixels: forward y = W x, weight gradient
 * dW = dy xᵀ, input gradient dx = Wᵀ dy.  Dense ones beside OpenBLAS: the reason why convolutions
 * do not go through sgemm; packed ones, at the surviving weights, beside the plain kernels, which
 * check them.  GFLOP/s count the weights that there are; fraction_of_peak is measured in the same
 * run. */
#include <cblas.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "bench/peaks.h"
#include "bench/random_packing.h"
#include "common/base/memory.h"
#include "common/base/random.h"
#include "common/nn/blas.h"
#include "common/nn/kernels.h"
#include "common/nn/layer_plan.h"

#define PIXELS 1024u
#define TILES (PIXELS / PF_TILE)
#define RUNS 15u
#define SECONDS_PER_RUN 0.01
#define ALPHA 8u

static double peak_gflops; /* of one thread */

#define MUST(call)                                             \
    do {                                                       \
        if ((call) != PF_OK) {                                 \
            fprintf(stderr, "bench_products: %s\n", err.text); \
            exit(1);                                           \
        }                                                      \
    } while (0)

struct layer {
    size_t n_rows, n_columns; /* multiples of 4 */
    float *w, *panels;        /* [N][K]; [N / 4][K][4] */
    float *x, *x_tiles;       /* [K][P]; [tile][K][64] */
    float *dy, *dy_tiles;     /* [N][P]; [tile][N][64] */
    float *y, *y_blas, *dw, *dw_blas;
};

static float *noise(size_t n, uint64_t seed)
{
    float *values = PF_ALLOC(n, float);
    if (values == NULL) exit(1);
    struct pf_random random;
    pf_random_init(&random, seed, "bench products", 0);
    for (size_t i = 0; i < n; i++) values[i] = (float)pf_random_normal(&random);
    return values;
}

static float *tiles_of(const float *rows, size_t n_rows)
{
    float *tiles = PF_ALLOC(n_rows * PIXELS, float);
    if (tiles == NULL) exit(1);
    for (size_t t = 0; t < TILES; t++)
        for (size_t r = 0; r < n_rows; r++)
            memcpy(tiles + (t * n_rows + r) * PF_TILE, rows + r * PIXELS + t * PF_TILE,
                   PF_TILE * sizeof *tiles);
    return tiles;
}

static struct layer make_layer(size_t n_rows, size_t n_columns)
{
    struct layer layer = {n_rows, n_columns};
    layer.w = noise(n_rows * n_columns, 1);
    layer.panels = noise(n_rows * n_columns, 1);
    for (size_t r = 0; r < n_rows; r++)
        for (size_t k = 0; k < n_columns; k++)
            layer.panels[(r / 4 * n_columns + k) * 4 + r % 4] = layer.w[r * n_columns + k];
    layer.x = noise(n_columns * PIXELS, 2);
    layer.x_tiles = tiles_of(layer.x, n_columns);
    layer.dy = noise(n_rows * PIXELS, 3);
    layer.dy_tiles = tiles_of(layer.dy, n_rows);
    layer.y = noise(n_rows * PIXELS, 4);
    layer.y_blas = noise(n_rows * PIXELS, 4);
    layer.dw = PF_ALLOC(n_rows * n_columns, float);
    layer.dw_blas = PF_ALLOC(n_rows * n_columns, float);
    if (layer.dw == NULL || layer.dw_blas == NULL) exit(1);
    return layer;
}

static void free_layer(struct layer *layer)
{
    float *all[] = {layer->w,        layer->panels, layer->x,      layer->x_tiles, layer->dy,
                    layer->dy_tiles, layer->y,      layer->y_blas, layer->dw,      layer->dw_blas};
    for (size_t i = 0; i < PF_ARRAY_LENGTH(all); i++) pf_free(all[i]);
}

/* Tile t of row-major rows, or of tiles. */
static struct pf_sink sink_of(float *values, size_t row_stride, size_t tile_stride, size_t t)
{
    return (struct pf_sink){.values = values + t * tile_stride,
                            .row_stride = row_stride,
                            .n_groups = PF_GROUPS_PER_TILE,
                            .offset = {0, PF_GROUP, 2 * PF_GROUP, 3 * PF_GROUP}};
}

static void forward_ours(const void *work)
{
    const struct layer *layer = work;
    struct pf_ahead none = {.ranges = {{0}}};
    for (size_t t = 0; t < TILES; t++) {
        struct pf_sink sink = sink_of(layer->y, PIXELS, PF_TILE, t);
        pf_kernels_best()->product(&sink, layer->panels,
                                   layer->x_tiles + t * layer->n_columns * PF_TILE, layer->n_rows,
                                   layer->n_columns, &none);
    }
}

static void forward_blas(const void *work)
{
    const struct layer *layer = work;
    int n = (int)layer->n_rows, k = (int)layer->n_columns, p = PIXELS;
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, n, p, k, 1.0f, layer->w, k, layer->x, p,
                0.0f, layer->y_blas, p);
}

static void weights_ours(const void *work)
{
    const struct layer *layer = work;
    struct pf_ahead none = {.ranges = {{0}}};
    memset(layer->dw, 0, layer->n_rows * layer->n_columns * sizeof *layer->dw);
    pf_kernels_best()->product_weights(layer->dw, layer->n_rows, layer->n_columns, layer->dy_tiles,
                                       layer->n_rows * PF_TILE, layer->x_tiles,
                                       layer->n_columns * PF_TILE, TILES, &none);
}

static void weights_blas(const void *work)
{
    const struct layer *layer = work;
    int n = (int)layer->n_rows, k = (int)layer->n_columns, p = PIXELS;
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, n, k, p, 1.0f, layer->dy, p, layer->x, p,
                0.0f, layer->dw_blas, k);
}

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Of this thread alone: company on the machine disturbs it less than the wall's. */
static double cpu_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* Median GFLOP/s of calls of `flops` operations each. */
static double measure_calls(const void *work, void (*call)(const void *work), double flops)
{
    double rates[RUNS];
    call(work);
    for (size_t i = 0; i < RUNS; i++) {
        double begin = cpu_seconds(), n = 0.0;
        do {
            call(work);
            n += 1.0;
        } while (cpu_seconds() - begin < SECONDS_PER_RUN);
        rates[i] = n * flops / (cpu_seconds() - begin) / 1e9;
    }
    qsort(rates, RUNS, sizeof *rates, compare_doubles);
    return rates[RUNS / 2];
}

static double measure(const struct layer *layer, void (*product)(const void *layer))
{
    return measure_calls(layer, product, 2.0 * (double)(layer->n_rows * layer->n_columns * PIXELS));
}

static void check(const char *what, const float *a, const float *b, size_t n, float tolerance)
{
    for (size_t i = 0; i < n; i++)
        if (!(fabsf(a[i] - b[i]) < tolerance)) {
            fprintf(stderr, "bench_products: %s: element %zu is %g, OpenBLAS says %g\n", what, i,
                    (double)a[i], (double)b[i]);
            exit(1);
        }
}

static void print_line(const struct layer *layer, const char *what, double ours, double blas)
{
    printf("{\"bench\":\"products\",\"product\":\"%s\",\"rows\":%zu,\"columns\":%zu,\"pixels\":%u,"
           "\"kernels\":\"%s\",\"gflops\":%.0f,\"fraction_of_peak\":%.2f,\"openblas\":\"%s\","
           "\"openblas_gflops\":%.0f}\n",
           what, layer->n_rows, layer->n_columns, PIXELS, pf_kernels_best()->name, ours,
           ours / peak_gflops, pf_blas_kernels(), blas);
    fflush(stdout);
}

static void bench_dense(size_t n_rows, size_t n_columns)
{
    struct layer layer = make_layer(n_rows, n_columns);
    double ours = measure(&layer, forward_ours), blas = measure(&layer, forward_blas);
    check("forward", layer.y, layer.y_blas, layer.n_rows * PIXELS, 0.01f);
    print_line(&layer, "forward", ours, blas);
    ours = measure(&layer, weights_ours);
    blas = measure(&layer, weights_blas);
    check("weights", layer.dw, layer.dw_blas, layer.n_rows * layer.n_columns, 0.01f);
    print_line(&layer, "weights", ours, blas);
    free_layer(&layer);
}

/* ---- packed ----------------------------------------------------------------------------- */

struct packed {
    const struct pf_kernels *kernels;
    struct pf_layer_plan *plan;
    size_t n; /* filters and columns */
    float *x, *dy, *y, *dx, *partial, *row_sums;
};

static struct packed make_packed(const struct pf_kernels *kernels, struct pf_layer_plan *plan)
{
    struct packed packed = {.kernels = kernels, .plan = plan, .n = plan->n_rows};
    packed.x = noise(packed.n * PIXELS, 2);
    packed.dy = noise(packed.n * PIXELS, 3);
    packed.y = noise(packed.n * PIXELS, 4);
    packed.dx = noise(packed.n * PIXELS, 4);
    packed.partial = PF_ALLOC(plan->n_quads * PF_GROUP, float);
    packed.row_sums = PF_ALLOC(packed.n * PF_TILE, float);
    if (packed.partial == NULL || packed.row_sums == NULL) exit(1);
    return packed;
}

static void free_packed(struct packed *packed)
{
    float *all[] = {packed->x,  packed->dy,      packed->y,
                    packed->dx, packed->partial, packed->row_sums};
    for (size_t i = 0; i < PF_ARRAY_LENGTH(all); i++) pf_free(all[i]);
}

static void packed_product(const struct packed *p, const struct pf_survivor_list *list,
                           const float *from, float *to)
{
    struct pf_ahead none = {.ranges = {{0}}};
    for (size_t t = 0, step = p->n * PF_TILE; t < TILES; t++) {
        struct pf_sink sink = sink_of(to, PF_TILE, step, t);
        p->kernels->packed(&sink, list, 0, p->n, from + t * step, p->row_sums, &none);
    }
}

static void packed_forward(const void *work)
{
    const struct packed *p = work;
    packed_product(p, &p->plan->forward.list, p->x, p->y);
}

static void packed_back(const void *work)
{
    const struct packed *p = work;
    packed_product(p, &p->plan->backward.list, p->dy, p->dx);
}

static void packed_weights(const void *work)
{
    const struct packed *p = work;
    struct pf_ahead none = {.ranges = {{0}}};
    size_t step = p->n * PF_TILE;
    memset(p->partial, 0, p->plan->n_quads * PF_GROUP * sizeof *p->partial);
    p->kernels->packed_weights(p->partial, &p->plan->forward.list, p->dy, step, p->x, step, TILES,
                               &none);
}

/* partial[4 · quad + i] ← the sum of the quad's i-th survivor, from its lanes. */
static void fold_quads(float *partial, size_t n_quads)
{
    for (size_t q = 0; q < n_quads; q++) {
        float sums[PF_QUAD];
        for (size_t i = 0; i < PF_QUAD; i++) sums[i] = pf_quad_sum(partial + q * PF_GROUP, i);
        memcpy(partial + q * PF_QUAD, sums, sizeof sums);
    }
}

static void print_packed(const char *what, size_t n, size_t n_weights, double gflops)
{
    printf("{\"bench\":\"products\",\"product\":\"%s\",\"rows\":%zu,\"columns\":%zu,\"alpha\":%u,"
           "\"nonzeros\":%zu,\"pixels\":%u,\"kernels\":\"%s\",\"gflops\":%.0f,"
           "\"fraction_of_peak\":%.2f}\n",
           what, n, n, ALPHA, n_weights, PIXELS, pf_kernels_best()->name, gflops,
           gflops / peak_gflops);
    fflush(stdout);
}

/* The plan of a packed layer of n filters over n channels. */
static void bench_packed(size_t n)
{
    struct pf_error err;
    struct pf_network network = {PF_LAYER_SHIFT, 1, {(uint32_t)n}, {1}, {1}, 3, 32, 32, 10};
    struct pf_model *dense = NULL, *model = NULL;
    struct pf_packing *packings[PF_MAX_LAYERS] = {NULL};
    struct pf_layer_plan *plan = NULL;
    struct pf_random random;
    pf_random_init(&random, 1, "bench packing", 0);
    MUST(pf_model_create(&network, NULL, &dense, &err));
    packings[1] = pf_random_packing(&dense->layers[1], ALPHA, &random);
    MUST(pf_model_create(&network, (const struct pf_packing *const *)packings, &model, &err));
    pf_model_initialise(model, 1);
    MUST(pf_layer_plan_create(&model->layers[1], &plan, &err));
    pf_layer_plan_refresh(plan, true);

    struct packed fast = make_packed(pf_kernels_best(), plan);
    struct packed plain = make_packed(&pf_kernels_reference, plan);
    size_t n_weights = model->layers[1].n_weights;
    double flops = 2.0 * (double)n_weights * PIXELS;
    print_packed("packed forward", n, n_weights, measure_calls(&fast, packed_forward, flops));
    print_packed("packed input gradient", n, n_weights, measure_calls(&fast, packed_back, flops));
    print_packed("packed weights", n, n_weights, measure_calls(&fast, packed_weights, flops));
    packed_forward(&plain);
    packed_back(&plain);
    packed_weights(&plain);
    check("packed forward", fast.y, plain.y, n * PIXELS, 0.01f);
    check("packed input gradient", fast.dx, plain.dx, n * PIXELS, 0.01f);
    fold_quads(fast.partial, plan->n_quads);
    fold_quads(plain.partial, plan->n_quads);
    check("packed weights", fast.partial, plain.partial, plan->n_quads * PF_QUAD, 0.01f);

    free_packed(&fast);
    free_packed(&plain);
    pf_layer_plan_destroy(plan);
    pf_packing_destroy(packings[1]);
    pf_model_destroy(dense);
    pf_model_destroy(model);
}

int main(int argc, char **argv)
{
    (void)argc;
    pf_blas_prepare(argv);
    struct pf_error err;
    PF_CLEANUP(pf_pool_destroyp) struct pf_pool *pool = NULL;
    MUST(pf_pool_create(1, &pool, &err));
    peak_gflops = pf_peak_gflops(pool);
    printf("{\"bench\":\"peaks\",\"threads\":1,\"gflops\":%.1f,\"read_gbps\":%.1f}\n", peak_gflops,
           pf_peak_read_gbps(pool));
    const size_t dense[][2] = {{32, 32}, {64, 64}, {128, 128}, {32, 288}, {128, 1152}, {512, 512}};
    for (size_t i = 0; i < PF_ARRAY_LENGTH(dense); i++) bench_dense(dense[i][0], dense[i][1]);
    const size_t packed[] = {32, 64, 128, 256, 512};
    for (size_t i = 0; i < PF_ARRAY_LENGTH(packed); i++) bench_packed(packed[i]);
    return 0;
}
