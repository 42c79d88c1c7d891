#include "sim/federation/conclusion.h"

#include <limits.h>
#include <math.h>

#include "common/base/file.h"
#include "proto/model_file.h"

static enum pf_status run_on_array(const struct pf_conclusion_config *config,
                                   const struct pf_model *model, const struct pf_progress *progress,
                                   struct pf_array_report *report, struct pf_error *err)
{
    PF_CLEANUP(pf_pool_destroyp) struct pf_pool *pool = NULL;
    PF_TRY(pf_pool_create(config->n_threads, &pool, err));
    size_t n_checked = config->n_checked;
    if (config->test_set == NULL) n_checked = 0;
    if (config->test_set != NULL && n_checked > config->test_set->n_images)
        n_checked = config->test_set->n_images;
    return pf_array_evaluate(model, &config->array, config->test_set, n_checked, pool, progress,
                             report, err);
}

static void fill_in(const struct pf_conclusion_config *config, const struct pf_model *model,
                    struct pf_conclusion *conclusion)
{
    const struct pf_coordinator_result *result = config->result;
    struct pf_summary *summary = &conclusion->summary;
    *summary = (struct pf_summary){
        .seed = config->seed,
        .data = config->data,
        .network = model->network,
        .participants = config->n_participants,
        .rounds = result->rounds_completed,
        .aggregation = result->aggregation,
        .update_bits = config->update_bits,
        .distill = config->distill,
        .array = &conclusion->array,
        .epsilon = NAN,
        .seconds = config->seconds,
    };
    summary->accuracy.dense = result->accuracy.dense;
    summary->accuracy.combined = result->accuracy.one_shot;
    summary->accuracy.retrained = result->accuracy.retrained;
    summary->accuracy.array =
        conclusion->array.evaluated ? conclusion->array.accuracy_percent : NAN;
    summary->nonzeros.dense = result->nonzeros.dense;
    summary->nonzeros.packed = result->nonzeros.packed;
    summary->bytes.upload_per_participant = result->upload_per_participant;
    summary->bytes.download_per_participant = result->download_per_participant;
    summary->bytes.dense_update = (double)result->dense_update_bytes;
}

enum pf_status pf_conclude(const struct pf_conclusion_config *config,
                           const struct pf_progress *progress, struct pf_conclusion *conclusion,
                           struct pf_error *err)
{
    char path[PATH_MAX];
    PF_TRY(pf_path_join(config->run_folder, "retrained.pfm", path, sizeof path, err));
    PF_CLEANUP(pf_model_destroyp) struct pf_model *model = NULL;
    PF_TRY(pf_model_load(path, &model, err));
    PF_TRY(run_on_array(config, model, progress, &conclusion->array, err));
    fill_in(config, model, conclusion);
    PF_TRY(pf_path_join(config->run_folder, "summary.json", path, sizeof path, err));
    return pf_summary_save(&conclusion->summary, path, err);
}
