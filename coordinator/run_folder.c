#include "coordinator/run_folder.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/file.h"
#include "common/base/text.h"
#include "proto/model_file.h"

enum pf_status pf_run_folder_check(const char *path, struct pf_error *err)
{
    DIR *dir = opendir(path);
    if (dir == NULL && errno == ENOENT) return PF_OK;
    if (dir == NULL) return pf_fail_errno(err, PF_IO, "%s: cannot be used as run folder", path);
    bool empty = true;
    for (struct dirent *entry; empty && (entry = readdir(dir)) != NULL;)
        empty = strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0;
    closedir(dir);
    if (empty) return PF_OK;
    return pf_fail(err, PF_REFUSED,
                   "%s: not empty; a run is written to a folder of its own (--out)", path);
}

enum pf_status pf_run_folder_write(const char *folder, const char *name, const void *bytes,
                                   size_t length, struct pf_error *err)
{
    char path[PATH_MAX];
    PF_TRY(pf_path_join(folder, name, path, sizeof path, err));
    return pf_file_write(path, bytes, length, 0644, err);
}

static enum pf_status put_number(struct pf_store *store, const char *key, double value,
                                 struct pf_error *err)
{
    char text[40];
    if (isnan(value)) return PF_OK;
    snprintf(text, sizeof text, "%.15g", value);
    return pf_store_put(store, key, text, err);
}

static enum pf_status put_hex(struct pf_store *store, const char *key, const uint8_t *bytes,
                              size_t length, struct pf_error *err)
{
    char text[2 * PF_HASH_BYTES + 1];
    pf_text_hex(text, bytes, length);
    return pf_store_put(store, key, text, err);
}

static enum pf_status describe_secure(struct pf_store *store,
                                      const struct pf_coordinator_config *config,
                                      struct pf_error *err)
{
    if (config->aggregation != PF_AGGREGATION_SECURE) return PF_OK;
    PF_TRY(put_number(store, "value_bits", config->masking.value_bits, err));
    PF_TRY(put_number(store, "weight_cap", config->masking.weight_cap, err));
    PF_TRY(pf_store_put(store, "rotate", config->masking.rotate ? "yes" : "no", err));
    PF_TRY(pf_store_put(store, "clip", config->fixed_clip ? "fixed" : "adaptive", err));
    PF_TRY(put_number(store, "corrupt", config->corrupt, err)); /* below 0: by the cohort's size */
    return put_number(store, "dropouts", config->dropouts, err);
}

static enum pf_status describe_distillation(struct pf_store *store,
                                            const struct pf_training_order *order,
                                            struct pf_error *err)
{
    PF_TRY(put_number(store, "distill_weight", order->distill_weight, err));
    if (order->distill_weight <= 0.0) return PF_OK;
    return put_number(store, "distill_temperature", order->distill_temperature, err);
}

static enum pf_status describe_run(struct pf_store *store,
                                   const struct pf_coordinator_config *config,
                                   const struct pf_run_id *run_id, struct pf_error *err)
{
    char network[256], seed[24];
    pf_network_describe(&config->model->network, network, sizeof network);
    snprintf(seed, sizeof seed, "%llu", (unsigned long long)config->seed);
    PF_TRY(put_hex(store, "run_id", run_id->bytes, sizeof run_id->bytes, err));
    PF_TRY(put_hex(store, "roster_hash", config->roster->hash, sizeof config->roster->hash, err));
    PF_TRY(pf_store_put(store, "program", "packfed " PF_VERSION, err));
    PF_TRY(pf_store_put(store, "federation", config->roster->federation, err));
    PF_TRY(pf_store_put(store, "network", network, err));
    PF_TRY(pf_store_put(store, "seed", seed, err));
    PF_TRY(pf_store_put(store, "aggregation", pf_aggregation_name(config->aggregation), err));
    PF_TRY(pf_store_put(store, "server_optimiser", pf_server_optimiser_name(config->optimiser.kind),
                        err));
    PF_TRY(put_number(store, "server_learning_rate", config->optimiser.learning_rate, err));
    PF_TRY(put_number(store, "members", (double)config->roster->n_members, err));
    PF_TRY(put_number(store, "rounds_planned", pf_schedule_rounds(&config->schedule), err));
    PF_TRY(put_number(store, "stages_planned", (double)config->schedule.n_stages, err));
    PF_TRY(put_number(store, "min_cohort", config->min_cohort, err));
    PF_TRY(put_number(store, "quorum", config->quorum, err));
    PF_TRY(put_number(store, "local_epochs", config->order.epochs, err));
    PF_TRY(put_number(store, "learning_rate", config->order.learning_rate, err));
    PF_TRY(describe_distillation(store, &config->order, err));
    PF_TRY(describe_secure(store, config, err));
    return put_number(store, "started_ms", (double)pf_clock_wall_ms(), err);
}

enum pf_status pf_run_folder_create(const struct pf_coordinator_config *config,
                                    const struct pf_run_id *run_id, struct pf_store **store,
                                    struct pf_error *err)
{
    char path[PATH_MAX];
    PF_TRY(pf_folder_create(config->run_folder, err));
    PF_TRY(pf_path_join(config->run_folder, "dense.pfm", path, sizeof path, err));
    PF_TRY(pf_model_save(config->model, path, err));
    PF_TRY(pf_path_join(config->run_folder, "run.db", path, sizeof path, err));
    PF_CLEANUP(pf_store_closep) struct pf_store *made = NULL;
    PF_TRY(pf_store_open(path, &made, err));
    PF_TRY(pf_store_begin(made, err));
    PF_TRY(describe_run(made, config, run_id, err));
    PF_TRY(pf_store_commit(made, err));
    *store = made;
    made = NULL;
    return PF_OK;
}

enum pf_status pf_run_store_round(struct pf_store *store, const struct pf_round_record *record,
                                  uint64_t upload_bytes, uint64_t download_bytes,
                                  struct pf_error *err)
{
    int64_t lasted_ms = record->ended_ms - record->started_ms;
    const struct pf_stored_round row = {
        .round = record->round,
        .stage = record->stage,
        .started_ms = pf_clock_wall_ms() - lasted_ms,
        .seconds = (double)lasted_ms / 1000.0,
        .cohort = record->cohort,
        .included = record->included,
        .dropped = record->dropped,
        .outcome = record->completed ? "completed" : record->text,
        .accuracy_percent = record->accuracy_percent,
        .loss = record->loss,
        .upload_bytes = upload_bytes,
        .download_bytes = download_bytes,
        .clip_trained = record->clip[0],
        .clip_statistics = record->clip[1],
        .figures_known = record->figures_known,
        .examples = record->figures[PF_FIGURE_EXAMPLES],
        .evaluated = record->figures[PF_FIGURE_EVALUATED],
        .correct = record->figures[PF_FIGURE_CORRECT],
        .clipped = record->figures[PF_FIGURE_CLIPPED],
    };
    return pf_store_round(store, &row, err);
}

size_t pf_report_groups(const struct pf_combine_report *report)
{
    size_t groups = 0;
    for (size_t l = 0; l < report->n_layers; l++)
        if (report->layers[l].alpha > 1) groups += report->layers[l].groups;
    return groups;
}

enum pf_status pf_run_store_stage(struct pf_store *store, const struct pf_job_result *result,
                                  uint32_t rounds, struct pf_error *err)
{
    const struct pf_stored_stage row = {
        .stage = result->number + 1,
        .started_ms = pf_clock_wall_ms() - (int64_t)(result->seconds * 1000.0),
        .seconds = result->seconds,
        .rounds = rounds,
        .nonzeros = result->nonzeros,
        .groups = pf_report_groups(&result->report),
        .accuracy_percent = result->accuracy_percent,
        .loss = result->loss,
    };
    return pf_store_stage(store, &row, err);
}

enum pf_status pf_run_store_model(struct pf_store *store, uint32_t round,
                                  const struct pf_job_result *result, struct pf_error *err)
{
    struct pf_hash hash = pf_hash_bytes(result->optimiser.bytes, result->optimiser.length);
    PF_TRY(pf_store_checkpoint(store, round, "model", &result->served.hash, result->bytes.bytes,
                               result->bytes.length, err));
    return pf_store_checkpoint(store, round, "optimiser", &hash, result->optimiser.bytes,
                               result->optimiser.length, err);
}

static enum pf_status store_counters(struct pf_store *store,
                                     const struct pf_coordinator_counters *counters,
                                     uint64_t strangers, struct pf_error *err)
{
    for (unsigned reason = 1; reason < PF_REASON_N; reason++) {
        char key[80];
        snprintf(key, sizeof key, "refused: %s", pf_reason_name((enum pf_reason)reason));
        if (counters->refused[reason] > 0)
            PF_TRY(put_number(store, key, (double)counters->refused[reason], err));
    }
    PF_TRY(put_number(store, "malformed", (double)counters->malformed, err));
    PF_TRY(put_number(store, "unexpected", (double)counters->unexpected, err));
    PF_TRY(put_number(store, "repeated", (double)counters->repeated, err));
    return put_number(store, "strangers", (double)strangers, err);
}

enum pf_status pf_run_store_end(struct pf_store *store, const struct pf_coordinator_result *result,
                                const struct pf_coordinator_counters *counters, uint64_t strangers,
                                struct pf_error *err)
{
    PF_TRY(pf_store_begin(store, err));
    PF_TRY(pf_store_put(store, "outcome", result->success ? "completed" : "failed", err));
    PF_TRY(pf_store_put(store, "sentence", result->sentence, err));
    PF_TRY(put_number(store, "seconds", result->seconds, err));
    PF_TRY(put_number(store, "rounds_completed", result->rounds_completed, err));
    PF_TRY(put_number(store, "rounds_abandoned", result->rounds_abandoned, err));
    PF_TRY(put_number(store, "accuracy_dense", result->accuracy.dense, err));
    PF_TRY(put_number(store, "accuracy_one_shot", result->accuracy.one_shot, err));
    PF_TRY(put_number(store, "accuracy_combined", result->accuracy.combined, err));
    PF_TRY(put_number(store, "accuracy_retrained", result->accuracy.retrained, err));
    PF_TRY(put_number(store, "upload_per_participant", result->upload_per_participant, err));
    PF_TRY(put_number(store, "download_per_participant", result->download_per_participant, err));
    PF_TRY(store_counters(store, counters, strangers, err));
    return pf_store_commit(store, err);
}
