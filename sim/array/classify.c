#include "sim/array/classify.h"

#include <string.h>

#include "common/base/memory.h"

#define IMAGES_PER_SHARD 8u
#define SHARDS_PER_STEP 32u /* between two looks at the stop flag */

/* Work shared by the shards of one evaluation. */
struct run {
    const struct pf_array_network *network;
    const struct pf_dataset *dataset;
    size_t n_checked;
    size_t first_shard;
    struct shard_result {
        enum pf_status status;
        struct pf_error error;
        size_t n_correct;
        bool differs; /* from the integer reference */
    } results[SHARDS_PER_STEP];
};

/* Index of the largest logit; the first of equals. */
static size_t best_class(const int32_t *logits, size_t n)
{
    size_t best = 0;
    for (size_t i = 1; i < n; i++)
        if (logits[i] > logits[best]) best = i;
    return best;
}

static enum pf_status run_images(const struct run *run, size_t first, size_t last,
                                 struct shard_result *result, struct pf_error *err)
{
    const struct pf_quant_model *lowered = run->network->lowered;
    size_t n_classes = lowered->model->network.n_classes;
    size_t image_bytes = pf_dataset_image_bytes(run->dataset);
    PF_CLEANUP(pf_array_scratch_finish) struct pf_array_scratch scratch = {0};
    PF_TRY(pf_array_scratch_init(&scratch, run->network, err));
    for (size_t i = first; i < last; i++) {
        int32_t logits[PF_MAX_CLASSES], expected[PF_MAX_CLASSES];
        const uint8_t *image = run->dataset->pixels + i * image_bytes;
        pf_array_network_infer(run->network, &scratch, image, logits);
        result->n_correct += best_class(logits, n_classes) == run->dataset->labels[i];
        if (i >= run->n_checked) continue;
        PF_TRY(pf_quant_infer(lowered, image, expected, err));
        result->differs |= memcmp(logits, expected, n_classes * sizeof *logits) != 0;
    }
    return PF_OK;
}

static void run_shard(void *context, size_t shard)
{
    struct run *run = context;
    struct shard_result *result = &run->results[shard];
    size_t first = (run->first_shard + shard) * IMAGES_PER_SHARD;
    size_t last = PF_MIN(first + IMAGES_PER_SHARD, run->dataset->n_images);
    *result = (struct shard_result){0};
    result->status = run_images(run, first, last, result, &result->error);
}

static enum pf_status run_all(struct run *run, struct pf_pool *pool,
                              const struct pf_progress *progress, struct pf_array_report *report,
                              struct pf_error *err)
{
    size_t n_images = run->dataset->n_images;
    size_t n_shards = (n_images + IMAGES_PER_SHARD - 1) / IMAGES_PER_SHARD;
    report->bit_exact = run->n_checked > 0;
    for (size_t done = 0; done < n_shards; done += SHARDS_PER_STEP) {
        if (pf_progress_stopped(progress))
            return pf_fail(err, PF_INTERRUPTED, "stopped after %zu of %zu images",
                           done * IMAGES_PER_SHARD, n_images);
        size_t n = PF_MIN(n_shards - done, SHARDS_PER_STEP);
        run->first_shard = done;
        pf_pool_run(pool, n, run_shard, run);
        for (size_t i = 0; i < n; i++) {
            const struct shard_result *result = &run->results[i];
            if (result->status != PF_OK)
                return pf_fail(err, result->status, "%s", result->error.text);
            report->n_correct += result->n_correct;
            if (result->differs) report->bit_exact = false;
        }
        pf_progress_update(progress, "array", PF_MIN((done + n) * IMAGES_PER_SHARD, n_images),
                           n_images, "images");
    }
    report->evaluated = true;
    report->n_images = n_images;
    report->n_checked = run->n_checked;
    report->accuracy_percent = 100.0 * (double)report->n_correct / (double)n_images;
    return PF_OK;
}

enum pf_status pf_array_classify(const struct pf_array_network *network,
                                 const struct pf_dataset *dataset, size_t n_checked,
                                 struct pf_pool *pool, const struct pf_progress *progress,
                                 struct pf_array_report *report, struct pf_error *err)
{
    PF_CLEANUP(pf_freep) struct run *run = PF_ALLOC(1, struct run);
    if (run == NULL) return pf_no_memory(err, "running a network on the array");
    run->network = network;
    run->dataset = dataset;
    run->n_checked = PF_MIN(n_checked, dataset->n_images);
    return run_all(run, pool, progress, report, err);
}
