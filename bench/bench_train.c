/* Images per second of training and inference, dense and packed, each run checked.
 *
 * bench_train [filters layers batch steps threads alpha]; one JSON line per measurement. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/memory.h"
#include "common/base/random.h"
#include "common/base/text.h"
#include "common/nn/blas.h"
#include "common/nn/kernels.h"
#include "common/nn/train.h"

#define RUNS 5u

struct setting {
    struct pf_network network;
    const char *filters, *layers;
    enum pf_layer_kind kind;
    uint64_t batch, steps, threads, alpha;
};

static void stop_with(const struct pf_error *err)
{
    fprintf(stderr, "bench_train: %s\n", err->text);
    exit(1);
}

#define MUST(call)                            \
    do {                                      \
        if ((call) != PF_OK) stop_with(&err); \
    } while (0)

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Column k in group k mod G; every row keeps one random column of every group. */
static struct pf_packing *random_packing(const struct pf_layer *layer, uint32_t alpha,
                                         struct pf_random *random)
{
    struct pf_error err;
    uint32_t rows = layer->out_channels, columns = layer->n_columns;
    uint32_t n_groups = (columns + alpha - 1) / alpha;
    float *w = PF_ALLOC((size_t)rows * columns, float);
    uint32_t *group = PF_ALLOC(columns, uint32_t);
    struct pf_packing *packing = NULL;
    if (w == NULL || group == NULL) exit(1);
    for (uint32_t k = 0; k < columns; k++) group[k] = k % n_groups;
    for (uint32_t r = 0; r < rows; r++)
        for (uint32_t g = 0; g < n_groups; g++) {
            uint32_t members = (columns - g + n_groups - 1) / n_groups;
            uint32_t k = g + n_groups * pf_random_below(random, members);
            w[(size_t)r * columns + k] = 1.0f;
        }
    MUST(pf_packing_from_dense(w, rows, columns, group, n_groups, alpha, 0.0f, &packing, &err));
    pf_free(w);
    pf_free(group);
    return packing;
}

static struct pf_model *make_model(const struct setting *s, uint32_t alpha)
{
    struct pf_error err;
    struct pf_model *dense = NULL, *model = NULL;
    MUST(pf_model_create(&s->network, NULL, &dense, &err));
    if (alpha > 1) {
        struct pf_packing *packings[PF_MAX_LAYERS] = {NULL};
        struct pf_random random;
        pf_random_init(&random, 1, "bench packing", 0);
        for (size_t l = 1; l + 1 < dense->n_layers; l++)
            packings[l] = random_packing(&dense->layers[l], alpha, &random);
        MUST(
            pf_model_create(&s->network, (const struct pf_packing *const *)packings, &model, &err));
        for (size_t l = 0; l < dense->n_layers; l++) pf_packing_destroy(packings[l]);
        pf_model_destroy(dense);
    } else {
        model = dense;
    }
    pf_model_initialise(model, 1);
    return model;
}

static void print_line(const struct setting *s, const char *what, uint32_t alpha,
                       double images_per_s)
{
    char alphas[64] = "";
    for (uint32_t b = 0; b < s->network.n_blocks; b++)
        snprintf(alphas + strlen(alphas), sizeof alphas - strlen(alphas), b > 0 ? ",%u" : "%u",
                 alpha);
    printf("{\"bench\":\"train\",\"mode\":\"%s\",\"layer\":\"%s\",\"network\":\"%s\",\"layers\":\"%"
           "s\","
           "\"alpha\":\"%s\",\"batch\":%" PRIu64 ",\"threads\":%" PRIu64
           ",\"kernels\":\"%s\",\"images_per_s\":%.0f}\n",
           what, pf_layer_kind_name(s->kind), s->filters, s->layers, alphas, s->batch, s->threads,
           pf_kernels_best()->name, images_per_s);
    fflush(stdout);
}

/* Progress says "loss 1.23, …"; the last one is kept. */
static void keep_loss(void *context, const char *what, size_t done, size_t total,
                      const char *detail)
{
    (void)what;
    (void)done;
    (void)total;
    if (strncmp(detail, "loss ", 5) == 0) *(double *)context = strtod(detail + 5, NULL);
}

/* One whole call, workspace and all. */
static double train_once(const struct setting *s, struct pf_model *model,
                         const struct pf_dataset *dataset, struct pf_pool *pool, double *loss)
{
    struct pf_error err;
    struct pf_train_options options;
    pf_train_options_default(&options);
    options.batch = (uint32_t)s->batch;
    options.epochs = (double)(s->steps * s->batch) / (double)dataset->n_images;
    struct pf_progress progress = {.update = keep_loss, .context = loss};
    double begin = pf_clock_seconds();
    MUST(pf_train(model, dataset, &options, pool, &progress, &err));
    return pf_clock_seconds() - begin;
}

static void bench_training(const struct setting *s, uint32_t alpha,
                           const struct pf_dataset *dataset, struct pf_pool *pool)
{
    double seconds[RUNS], loss = 0.0;
    struct pf_model *model = make_model(s, alpha);
    for (size_t i = 0; i < RUNS; i++) seconds[i] = train_once(s, model, dataset, pool, &loss);
    qsort(seconds, RUNS, sizeof *seconds, compare_doubles);
    if (!(loss < log((double)s->network.n_classes))) {
        fprintf(stderr, "bench_train: after training the loss is %g: nothing was learnt\n", loss);
        exit(1);
    }
    print_line(s, "train", alpha, (double)(s->steps * s->batch) / seconds[RUNS / 2]);
    pf_model_destroy(model);
}

/* The packed model and the same function with zeros must agree. */
static void check_inference(const struct pf_model *model, const struct pf_dataset *dataset,
                            struct pf_pool *pool)
{
    struct pf_error err;
    struct pf_model *dense = NULL;
    size_t n = PF_MIN(dataset->n_images, 64), m = model->network.n_classes;
    float *a = PF_ALLOC(n * m, float), *b = PF_ALLOC(n * m, float);
    if (a == NULL || b == NULL) exit(1);
    MUST(pf_model_densify(model, &dense, &err));
    MUST(pf_infer(model, dataset->pixels, n, pool, a, &err));
    MUST(pf_infer(dense, dataset->pixels, n, pool, b, &err));
    for (size_t i = 0; i < n * m; i++)
        if (!(fabsf(a[i] - b[i]) <= 1e-3f * (1.0f + fabsf(b[i])))) {
            fprintf(stderr, "bench_train: logit %zu is %g packed, %g dense\n", i, (double)a[i],
                    (double)b[i]);
            exit(1);
        }
    pf_model_destroy(dense);
    pf_free(a);
    pf_free(b);
}

static void bench_inference(const struct setting *s, uint32_t alpha,
                            const struct pf_dataset *dataset, struct pf_pool *pool)
{
    struct pf_error err;
    struct pf_model *model = make_model(s, alpha);
    struct pf_evaluation evaluation;
    double seconds[RUNS];
    check_inference(model, dataset, pool);
    for (size_t i = 0; i < RUNS; i++) {
        double begin = pf_clock_seconds();
        MUST(pf_evaluate(model, dataset, pool, NULL, &evaluation, &err));
        seconds[i] = pf_clock_seconds() - begin;
    }
    qsort(seconds, RUNS, sizeof *seconds, compare_doubles);
    print_line(s, "infer", alpha, (double)dataset->n_images / seconds[RUNS / 2]);
    pf_model_destroy(model);
}

static void read_arguments(struct setting *s, int argc, char **argv)
{
    struct pf_error err;
    size_t n_filters, n_layers;
    if (argc > 1) s->filters = argv[1];
    if (argc > 2) s->layers = argv[2];
    if (argc > 3) MUST(pf_text_u64("batch", argv[3], 1, PF_MAX_BATCH, &s->batch, &err));
    if (argc > 4) MUST(pf_text_u64("steps", argv[4], 1, 100000, &s->steps, &err));
    if (argc > 5) MUST(pf_text_u64("threads", argv[5], 1, 256, &s->threads, &err));
    if (argc > 6) MUST(pf_text_u64("alpha", argv[6], 1, PF_MAX_ALPHA, &s->alpha, &err));
    if (argc > 7 && strcmp(argv[7], "conv3x3") == 0) s->kind = PF_LAYER_CONV3X3;
    struct pf_network *net = &s->network;
    MUST(pf_text_u32_list("filters", s->filters, 1, PF_MAX_ROWS, net->filters, PF_MAX_BLOCKS,
                          &n_filters, &err));
    MUST(pf_text_u32_list("layers", s->layers, 1, PF_MAX_LAYERS_PER_BLOCK, net->layers,
                          PF_MAX_BLOCKS, &n_layers, &err));
    net->n_blocks = (uint32_t)PF_MIN(n_filters, n_layers);
    for (uint32_t b = 0; b < net->n_blocks; b++) net->strides[b] = b == 0 ? 1 : 2;
    net->block_kind = s->kind;
    net->in_channels = 3;
    net->in_height = net->in_width = 32;
    net->n_classes = 10;
}

int main(int argc, char **argv)
{
    pf_blas_prepare(argv);
    struct pf_error err;
    struct setting s = {.filters = "32,64,128",
                        .layers = "6,6,6",
                        .kind = PF_LAYER_SHIFT,
                        .batch = 128,
                        .steps = 24,
                        .threads = 2,
                        .alpha = 8};
    read_arguments(&s, argc, argv);
    PF_CLEANUP(pf_dataset_destroyp) struct pf_dataset *dataset = NULL;
    PF_CLEANUP(pf_pool_destroyp) struct pf_pool *pool = NULL;
    MUST(pf_dataset_synthetic(1, PF_SPLIT_TRAIN, 4096, &dataset, &err));
    MUST(pf_pool_create(s.threads, &pool, &err));
    bench_training(&s, 1, dataset, pool);
    bench_training(&s, (uint32_t)s.alpha, dataset, pool);
    bench_inference(&s, 1, dataset, pool);
    bench_inference(&s, (uint32_t)s.alpha, dataset, pool);
    return 0;
}
