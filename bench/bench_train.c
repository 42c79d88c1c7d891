/* Images per second of training and inference, each run checked; one JSON line per measurement.
 *
 * Without --alpha dense and with α = 8 in all blocks, without --mode both training and inference.
 * fraction_of_peak: the multiply-adds of the weights that there are (forward; and for training
 * input gradient and weight gradient, as long) per second over what the processor can do on as many
 * threads, measured in the same run. */
#include <argp.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/peaks.h"
#include "bench/random_packing.h"
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
    const char *alphas, *mode; /* NULL: all */
    uint64_t batch, steps, threads;
    enum pf_precision activations;
    double peak_gflops;
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

static struct pf_model *make_model(const struct setting *s, const uint32_t *alphas)
{
    struct pf_error err;
    struct pf_model *dense = NULL, *model = NULL;
    struct pf_packing *packings[PF_MAX_LAYERS] = {NULL};
    struct pf_random random;
    MUST(pf_model_create(&s->network, NULL, &dense, &err));
    pf_random_init(&random, 1, "bench packing", 0);
    for (size_t l = 1; l + 1 < dense->n_layers; l++) {
        uint32_t alpha = pf_model_layer_alpha(dense, l, alphas);
        if (alpha > 1) packings[l] = pf_random_packing(&dense->layers[l], alpha, &random);
    }
    MUST(pf_model_create(&s->network, (const struct pf_packing *const *)packings, &model, &err));
    for (size_t l = 0; l < dense->n_layers; l++) pf_packing_destroy(packings[l]);
    pf_model_destroy(dense);
    pf_model_initialise(model, 1);
    return model;
}

/* Floating-point operations of one image. */
static double flops_of(const struct pf_model *model, bool training)
{
    double sum = 0.0;
    for (size_t l = 0; l < model->n_layers; l++) {
        const struct pf_layer *layer = &model->layers[l];
        double forward = 2.0 * (double)layer->n_weights * layer->out_height * layer->out_width;
        sum += training ? (l == 0 ? 2.0 : 3.0) * forward : forward;
    }
    return sum;
}

static void print_line(const struct setting *s, const struct pf_model *model, const char *alphas,
                       bool training, double images_per_s)
{
    double gflops = images_per_s * flops_of(model, training) / 1e9;
    printf("{\"bench\":\"train\",\"mode\":\"%s\",\"layer\":\"%s\",\"network\":\"%s\",\"layers\":\"%"
           "s\",\"alpha\":\"%s\",\"activations\":\"%s\",\"batch\":%" PRIu64 ",\"threads\":%" PRIu64
           ",\"kernels\":\"%s\",\"images_per_s\":%.0f,\"gflops\":%.1f,\"peak_gflops\":%.1f,"
           "\"fraction_of_peak\":%.3f}\n",
           training ? "train" : "infer", pf_layer_kind_name(s->network.block_kind), s->filters,
           s->layers, alphas, training ? pf_precision_name(s->activations) : "single", s->batch,
           s->threads, pf_kernels_best()->name, images_per_s, gflops, s->peak_gflops,
           gflops / s->peak_gflops);
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
    options.activations = s->activations;
    options.epochs = (double)(s->steps * s->batch) / (double)dataset->n_images;
    struct pf_progress progress = {.update = keep_loss, .context = loss};
    double begin = pf_clock_seconds();
    MUST(pf_train(model, dataset, &options, pool, &progress, &err));
    return pf_clock_seconds() - begin;
}

static void bench_training(const struct setting *s, struct pf_model *model, const char *alphas,
                           const struct pf_dataset *dataset, struct pf_pool *pool)
{
    double seconds[RUNS], loss = 0.0;
    for (size_t i = 0; i < RUNS; i++) seconds[i] = train_once(s, model, dataset, pool, &loss);
    qsort(seconds, RUNS, sizeof *seconds, compare_doubles);
    if (!(loss < log((double)s->network.n_classes))) {
        fprintf(stderr, "bench_train: after training the loss is %g: nothing was learnt\n", loss);
        exit(1);
    }
    print_line(s, model, alphas, true, (double)(s->steps * s->batch) / seconds[RUNS / 2]);
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

static void bench_inference(const struct setting *s, const struct pf_model *model,
                            const char *alphas, const struct pf_dataset *dataset,
                            struct pf_pool *pool)
{
    struct pf_error err;
    struct pf_evaluation evaluation;
    double seconds[RUNS];
    check_inference(model, dataset, pool);
    for (size_t i = 0; i < RUNS; i++) {
        double begin = pf_clock_seconds();
        MUST(pf_evaluate(model, dataset, pool, NULL, &evaluation, &err));
        seconds[i] = pf_clock_seconds() - begin;
    }
    qsort(seconds, RUNS, sizeof *seconds, compare_doubles);
    print_line(s, model, alphas, false, (double)dataset->n_images / seconds[RUNS / 2]);
}

static void bench(const struct setting *s, const char *alphas, const struct pf_dataset *dataset,
                  struct pf_pool *pool)
{
    struct pf_error err;
    size_t n;
    uint32_t alpha[PF_MAX_BLOCKS];
    MUST(pf_text_u32_list("--alpha", alphas, 1, PF_MAX_ALPHA, alpha, PF_MAX_BLOCKS, &n, &err));
    for (size_t b = n; b < s->network.n_blocks; b++) alpha[b] = alpha[n - 1];
    struct pf_model *model = make_model(s, alpha);
    if (s->mode == NULL || strcmp(s->mode, "infer") == 0)
        bench_inference(s, model, alphas, dataset, pool);
    if (s->mode == NULL || strcmp(s->mode, "train") == 0)
        bench_training(s, model, alphas, dataset, pool);
    pf_model_destroy(model);
}

static const struct argp_option options[] = {
    {"filters", 'f', "F,F,…", 0, "Filters per block (32,64,128)", 0},
    {"layers", 'l', "L,L,…", 0, "Layers per block (6,6,6)", 0},
    {"layer-type", 'k', "KIND", 0, "shift or conv3x3 (shift)", 0},
    {"alpha", 'a', "A,A,…", 0, "Columns per group, per block; 1: dense", 0},
    {"mode", 'm', "MODE", 0, "train or infer", 0},
    {"activations", 'p', "KIND", 0, "How training keeps them: half (default) or single", 0},
    {"batch", 'b', "N", 0, "Images per step (128)", 0},
    {"steps", 's', "N", 0, "Steps per run (24)", 0},
    {"threads", 't', "N", 0, "Threads (2)", 0},
    {0},
};

static void set_number(const char *what, const char *text, uint64_t max, uint64_t *number)
{
    struct pf_error err;
    MUST(pf_text_u64(what, text, 1, max, number, &err));
}

static error_t set_option(int key, char *value, struct argp_state *state)
{
    struct setting *s = state->input;
    switch (key) {
    case 'f': s->filters = value; break;
    case 'l': s->layers = value; break;
    case 'a': s->alphas = value; break;
    case 'm': s->mode = value; break;
    case 'b': set_number("--batch", value, PF_MAX_BATCH, &s->batch); break;
    case 's': set_number("--steps", value, 100000, &s->steps); break;
    case 't': set_number("--threads", value, 256, &s->threads); break;
    case 'p':
        if (pf_precision_of_name(value, &s->activations)) break;
        argp_error(state, "--activations is half or single");
        break;
    case 'k':
        if (strcmp(value, "shift") != 0 && strcmp(value, "conv3x3") != 0)
            argp_error(state, "--layer-type is shift or conv3x3");
        s->network.block_kind = value[0] == 'c' ? PF_LAYER_CONV3X3 : PF_LAYER_SHIFT;
        break;
    default: return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

static void make_network(struct setting *s)
{
    struct pf_error err;
    struct pf_network *net = &s->network;
    size_t n_filters, n_layers;
    MUST(pf_text_u32_list("--filters", s->filters, 1, PF_MAX_ROWS, net->filters, PF_MAX_BLOCKS,
                          &n_filters, &err));
    MUST(pf_text_u32_list("--layers", s->layers, 1, PF_MAX_LAYERS_PER_BLOCK, net->layers,
                          PF_MAX_BLOCKS, &n_layers, &err));
    net->n_blocks = (uint32_t)PF_MIN(n_filters, n_layers);
    for (uint32_t b = 0; b < net->n_blocks; b++) net->strides[b] = b == 0 ? 1 : 2;
    net->in_channels = 3;
    net->in_height = net->in_width = 32;
    net->n_classes = 10;
}

int main(int argc, char **argv)
{
    static const struct argp argp = {options, set_option, NULL, "Measures training and inference.",
                                     NULL,    NULL,       NULL};
    pf_blas_prepare(argv);
    struct pf_error err;
    struct setting s = {.network = {.block_kind = PF_LAYER_SHIFT},
                        .filters = "32,64,128",
                        .layers = "6,6,6",
                        .batch = 128,
                        .steps = 24,
                        .threads = 2};
    struct pf_train_options defaults;
    pf_train_options_default(&defaults);
    s.activations = defaults.activations;
    argp_parse(&argp, argc, argv, 0, NULL, &s);
    make_network(&s);
    PF_CLEANUP(pf_dataset_destroyp) struct pf_dataset *dataset = NULL;
    PF_CLEANUP(pf_pool_destroyp) struct pf_pool *pool = NULL;
    MUST(pf_dataset_synthetic(1, PF_SPLIT_TRAIN, 4096, &dataset, &err));
    MUST(pf_pool_create(s.threads, &pool, &err));
    s.peak_gflops = pf_peak_gflops(pool);
    const char *both[] = {"1,1,1", "8,8,8"};
    for (size_t i = 0; i < PF_ARRAY_LENGTH(both); i++)
        if (s.alphas == NULL || i == 0)
            bench(&s, s.alphas == NULL ? both[i] : s.alphas, dataset, pool);
    return 0;
}
