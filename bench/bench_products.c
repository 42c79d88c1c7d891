/* The products of one layer, by our kernels and by OpenBLAS: the reason why convolutions do not go
 * through sgemm.  Each result is checked against the other; one JSON line per layer and product.
 *
 * A layer is N filters over K columns, on 1,024 pixels: forward y = W x, weight gradient
 * dW = dy xᵀ. */
#include <cblas.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/base/memory.h"
#include "common/base/random.h"
#include "common/nn/blas.h"
#include "common/nn/kernels.h"

#define PIXELS 1024u
#define TILES (PIXELS / PF_TILE)
#define RUNS 15u
#define SECONDS_PER_RUN 0.01

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

static void forward_ours(const struct layer *layer)
{
    struct pf_ahead none = {.ranges = {{0}}};
    for (size_t t = 0; t < TILES; t++)
        pf_kernels_best()->product(layer->y + t * PF_TILE, PIXELS, layer->panels,
                                   layer->x_tiles + t * layer->n_columns * PF_TILE, layer->n_rows,
                                   layer->n_columns, &none);
}

static void forward_blas(const struct layer *layer)
{
    int n = (int)layer->n_rows, k = (int)layer->n_columns, p = PIXELS;
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, n, p, k, 1.0f, layer->w, k, layer->x, p,
                0.0f, layer->y_blas, p);
}

static void weights_ours(const struct layer *layer)
{
    struct pf_ahead none = {.ranges = {{0}}};
    memset(layer->dw, 0, layer->n_rows * layer->n_columns * sizeof *layer->dw);
    pf_kernels_best()->product_weights(layer->dw, layer->n_rows, layer->n_columns, layer->dy_tiles,
                                       layer->n_rows * PF_TILE, layer->x_tiles,
                                       layer->n_columns * PF_TILE, TILES, &none);
}

static void weights_blas(const struct layer *layer)
{
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

/* Median GFLOP/s. */
static double measure(const struct layer *layer, void (*product)(const struct layer *))
{
    double rates[RUNS];
    double flops = 2.0 * (double)(layer->n_rows * layer->n_columns * PIXELS);
    product(layer);
    for (size_t i = 0; i < RUNS; i++) {
        double begin = cpu_seconds(), n = 0.0;
        do {
            product(layer);
            n += 1.0;
        } while (cpu_seconds() - begin < SECONDS_PER_RUN);
        rates[i] = n * flops / (cpu_seconds() - begin) / 1e9;
    }
    qsort(rates, RUNS, sizeof *rates, compare_doubles);
    return rates[RUNS / 2];
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
           "\"kernels\":\"%s\",\"gflops\":%.0f,\"openblas\":\"%s\",\"openblas_gflops\":%.0f}\n",
           what, layer->n_rows, layer->n_columns, PIXELS, pf_kernels_best()->name, ours,
           pf_blas_kernels(), blas);
    fflush(stdout);
}

int main(int argc, char **argv)
{
    (void)argc;
    pf_blas_prepare(argv);
    const size_t shapes[][2] = {{32, 32}, {64, 64}, {128, 128}, {32, 288}, {128, 1152}, {512, 512}};
    for (size_t i = 0; i < PF_ARRAY_LENGTH(shapes); i++) {
        struct layer layer = make_layer(shapes[i][0], shapes[i][1]);
        double ours = measure(&layer, forward_ours), blas = measure(&layer, forward_blas);
        check("forward", layer.y, layer.y_blas, layer.n_rows * PIXELS, 0.01f);
        print_line(&layer, "forward", ours, blas);
        ours = measure(&layer, weights_ours);
        blas = measure(&layer, weights_blas);
        check("weights", layer.dw, layer.dw_blas, layer.n_rows * layer.n_columns, 0.01f);
        print_line(&layer, "weights", ours, blas);
        free_layer(&layer);
    }
    return 0;
}
