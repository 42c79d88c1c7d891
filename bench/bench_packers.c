/* What the packers find on random matrices, and how long they take; one JSON line per matrix and
 * packer.
 *
 * Groups, bounds and kept weight are means over SEEDS matrices, milliseconds the median.  Ratios
 * are to the published rule on the same matrices in the same run; `worse` counts the matrices on
 * which it did better.  The validator checks every grouping. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/base/memory.h"
#include "common/base/random.h"
#include "common/combine/packer.h"

#define SEEDS 8u

#define MUST(call)                                            \
    do {                                                      \
        if ((call) != PF_OK) {                                \
            fprintf(stderr, "bench_packers: %s\n", err.text); \
            exit(1);                                          \
        }                                                     \
    } while (0)

struct instance {
    const char *what;
    uint32_t n_rows, n_columns;
    double density;
    double spread; /* columns' densities lie in density · (1 ± spread) */
    struct pf_grouping_rule rule;
};

struct outcome {
    double groups, kept, groups_bound, kept_bound, milliseconds;
};

/* Gaussian weights. */
static float *random_matrix(const struct instance *instance, uint64_t seed)
{
    size_t n_rows = instance->n_rows, n_columns = instance->n_columns;
    float *weights = PF_ALLOC(n_rows * n_columns, float);
    if (weights == NULL) exit(1);
    struct pf_random random;
    pf_random_init(&random, seed, "bench packers", 0);
    for (size_t k = 0; k < n_columns; k++) {
        double uneven = 1.0 + instance->spread * (2.0 * pf_random_uniform(&random) - 1.0);
        for (size_t r = 0; r < n_rows; r++)
            if (pf_random_uniform(&random) < instance->density * uneven)
                weights[r * n_columns + k] = (float)pf_random_normal(&random);
    }
    return weights;
}

static double milliseconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return 1e3 * (double)now.tv_sec + 1e-6 * (double)now.tv_nsec;
}

static struct outcome pack(const struct instance *instance, enum pf_packer packer, uint64_t seed)
{
    struct pf_error err = {0};
    struct pf_packer_options options;
    pf_packer_options_default(&options);
    options.packer = packer;
    PF_CLEANUP(pf_freep) float *weights = random_matrix(instance, seed);
    PF_CLEANUP(pf_grouping_finish) struct pf_grouping grouping = {0};
    double begin = milliseconds();
    MUST(pf_group_columns(weights, instance->n_rows, instance->n_columns, &instance->rule, &options,
                          &grouping, &err));
    struct outcome outcome = {.groups = grouping.n_groups, .milliseconds = milliseconds() - begin};
    struct pf_group_bounds bounds;
    MUST(pf_grouping_validate(&grouping, weights, instance->n_rows, &instance->rule, &err));
    MUST(pf_grouping_kept(&grouping, weights, instance->n_rows, &outcome.kept, &err));
    MUST(pf_group_bounds(weights, instance->n_rows, instance->n_columns, &instance->rule,
                         grouping.n_groups, &bounds, &err));
    outcome.groups_bound = bounds.groups;
    outcome.kept_bound = bounds.kept;
    return outcome;
}

static int ascending(const void *a, const void *b)
{
    const double *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

static struct outcome mean_of(const struct outcome *outcomes)
{
    struct outcome mean = {0};
    double times[SEEDS];
    for (size_t i = 0; i < SEEDS; i++) {
        mean.groups += outcomes[i].groups / SEEDS;
        mean.kept += outcomes[i].kept / SEEDS;
        mean.groups_bound += outcomes[i].groups_bound / SEEDS;
        mean.kept_bound += outcomes[i].kept_bound / SEEDS;
        times[i] = outcomes[i].milliseconds;
    }
    qsort(times, SEEDS, sizeof *times, ascending);
    mean.milliseconds = (times[SEEDS / 2 - 1] + times[SEEDS / 2]) / 2.0;
    return mean;
}

/* More groups than the published rule, or as many and less weight. */
static unsigned count_worse(const struct outcome *outcomes, const struct outcome *published)
{
    unsigned worse = 0;
    for (size_t i = 0; i < SEEDS; i++)
        worse += outcomes[i].groups > published[i].groups ||
                 (outcomes[i].groups == published[i].groups &&
                  outcomes[i].kept < published[i].kept - 1e-4);
    return worse;
}

static void measure(const struct instance *instance)
{
    static const enum pf_packer packers[] = {PF_PACKER_PUBLISHED, PF_PACKER_DENSE_FIRST,
                                             PF_PACKER_ITERATED, PF_PACKER_KEPT_WEIGHT,
                                             PF_PACKER_MATCHING};
    struct outcome outcomes[SEEDS] = {0}, published[SEEDS] = {0};
    for (size_t p = 0; p < PF_ARRAY_LENGTH(packers); p++) {
        if (pf_packer_check_alpha(packers[p], instance->rule.alpha, NULL) != PF_OK) continue;
        for (size_t i = 0; i < SEEDS; i++) outcomes[i] = pack(instance, packers[p], i);
        if (p == 0)
            for (size_t i = 0; i < SEEDS; i++) published[i] = outcomes[i];
        struct outcome mean = mean_of(outcomes), base = mean_of(published);
        printf("{\"bench\":\"packers\",\"what\":\"%s\",\"rows\":%u,\"columns\":%u,\"density\":%g,"
               "\"alpha\":%u,\"gamma\":%g,\"packer\":\"%s\",\"groups\":%.3f,\"at_least\":%.3f,"
               "\"kept\":%.4f,\"at_most\":%.4f,\"groups_ratio\":%.3f,\"kept_ratio\":%.3f,"
               "\"worse\":%u,\"milliseconds\":%.3f}\n",
               instance->what, instance->n_rows, instance->n_columns, instance->density,
               instance->rule.alpha, instance->rule.gamma, pf_packer_name(packers[p]), mean.groups,
               mean.groups_bound, mean.kept, mean.kept_bound, mean.groups / base.groups,
               mean.kept / base.kept, count_worse(outcomes, published), mean.milliseconds);
        fflush(stdout);
    }
}

/* A line of 0 and 1 per row. */
static int print_matrix(char **words)
{
    const struct instance instance = {.n_rows = (uint32_t)atoi(words[0]),
                                      .n_columns = (uint32_t)atoi(words[1]),
                                      .density = atof(words[2])};
    PF_CLEANUP(pf_freep) float *weights = random_matrix(&instance, (uint64_t)atoi(words[3]));
    for (size_t r = 0; r < instance.n_rows; r++) {
        for (size_t k = 0; k < instance.n_columns; k++)
            putchar(weights[r * instance.n_columns + k] != 0.0f ? '1' : '0');
        putchar('\n');
    }
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 6 && strcmp(argv[1], "--matrix") == 0) return print_matrix(argv + 2);
    static const struct instance instances[] = {
        {"no conflicts", 96, 94, 0.16, 0.0, {8, 0.0}},
        {"no conflicts", 128, 128, 0.10, 0.0, {8, 0.0}},
        {"no conflicts", 256, 256, 0.10, 0.0, {8, 0.0}},
        {"groups of 8", 128, 128, 0.10, 0.75, {8, 8.0}},
        {"groups of 8", 128, 128, 0.16, 0.75, {8, 8.0}},
        {"groups of 8", 128, 128, 0.30, 0.75, {8, 8.0}},
        {"pairs", 128, 128, 0.60, 0.25, {2, 1.75}},
        {"few conflicts", 96, 94, 0.24, 0.0, {8, 0.5}},
        {"few conflicts", 256, 256, 0.20, 0.0, {8, 0.5}},
        {"wide", 512, 512, 0.10, 0.75, {8, 1.75}},
        {"wide", 512, 512, 0.20, 0.75, {8, 1.75}},
        {"wide", 512, 512, 0.30, 0.75, {8, 1.75}},
        {"wide", 512, 512, 0.30, 0.75, {8, 0.5}},
    };
    for (size_t i = 0; i < PF_ARRAY_LENGTH(instances); i++) measure(&instances[i]);
    return 0;
}
