/* Setup and end of a coordinator; its loop is in serve.c. */
#include "coordinator/coordinator.h"

#include <math.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/memory.h"
#include "coordinator/run_folder.h"
#include "coordinator/serve.h"
#include "proto/model_file.h"

void pf_coordinator_config_default(struct pf_coordinator_config *config)
{
    *config = (struct pf_coordinator_config){
        .listen = "tcp://0.0.0.0:7700",
        .order = {.batch = 64,
                  .epochs = 1,
                  .schedule = PF_SCHEDULE_COSINE,
                  .learning_rate = 0.08,
                  .schedule_end = 1,
                  .momentum = 0.9,
                  .nesterov = true,
                  .weight_decay = 5e-4,
                  .distill_temperature = PF_DEFAULT_DISTILL_TEMPERATURE},
        .aggregation = PF_AGGREGATION_SECURE,
        .max_failed_rounds = 3,
        .join_timeout_ms = 300000,
        .gather_ms = 10000,
        .round_timeout_ms = 600000,
        .liveness_ms = 30000,
        .upload_budget_bytes = PF_DEFAULT_UPLOAD_BUDGET_BYTES,
        .upload_idle_ms = PF_DEFAULT_UPLOAD_IDLE_MS,
        .corrupt = -1,
        .dropouts = PF_DEFAULT_DROPOUTS,
        .adversary = PF_SEMI_MALICIOUS,
        .key_timeout_ms = PF_DEFAULT_KEY_TIMEOUT_MS,
        .unmask_timeout_ms = PF_DEFAULT_UNMASK_TIMEOUT_MS,
    };
    pf_masking_order_default(&config->masking);
    pf_server_optimiser_default(PF_FEDAVG, &config->optimiser);
}

bool pf_coordinator_is_named(const struct pf_identity *identity, const struct pf_roster *roster)
{
    const struct pf_public_identity *named = &roster->coordinator;
    return memcmp(identity->public.transport, named->transport, sizeof named->transport) == 0 &&
           memcmp(identity->public.sign, named->sign, sizeof named->sign) == 0;
}

static enum pf_status check_test_set(const struct pf_coordinator_config *config,
                                     struct pf_error *err)
{
    const struct pf_dataset *set = config->test_set;
    const struct pf_network *network = &config->model->network;
    if (set == NULL) return PF_OK;
    if (set->n_channels == network->in_channels && set->height == network->in_height &&
        set->width == network->in_width && set->n_classes == network->n_classes)
        return PF_OK;
    return pf_fail(err, PF_INVALID,
                   "the test set has %u×%u×%u images of %u classes, the model takes %u×%u×%u of %u "
                   "(--data, or --no-evaluation)",
                   set->height, set->width, set->n_channels, set->n_classes, network->in_height,
                   network->in_width, network->in_channels, network->n_classes);
}

/* All that can be known to be wrong before anything is made or opened. */
static enum pf_status check_config(const struct pf_coordinator_config *config, struct pf_error *err)
{
    if (!pf_coordinator_is_named(config->identity, config->roster))
        return pf_fail(err, PF_REFUSED,
                       "the key of '%s' is not that of the coordinator '%s' that the roster of "
                       "'%s' names",
                       config->identity->public.name, config->roster->coordinator.name,
                       config->roster->federation);
    PF_TRY(check_test_set(config, err));
    PF_TRY(pf_server_optimiser_validate(&config->optimiser, err));
    for (size_t s = 0; s < config->schedule.n_stages && s < PF_MAX_STAGES; s++)
        PF_TRY(pf_combine_options_validate(&config->schedule.stages[s].combine,
                                           &config->model->network, err));
    return pf_run_folder_check(config->run_folder, err);
}

/* What distillation needs is known before anything is made: the model as given, dense. */
static enum pf_status prepare_teacher(struct pf_coordinator_shell *self, struct pf_error *err)
{
    if (self->config->order.distill_weight <= 0.0) return PF_OK;
    PF_CLEANUP(pf_buffer_finish) struct pf_buffer bytes = {0};
    if (pf_model_is_packed(self->config->model))
        return pf_fail(err, PF_INVALID,
                       "the model is packed, and distillation is from a dense one: start from the "
                       "dense model, or without distillation (--distill 0)");
    PF_TRY(pf_model_encode(self->config->model, &bytes, err));
    PF_TRY(pf_chunked_model_describe(&bytes, &self->offered_teacher, err));
    return pf_served_file_set(&self->teacher, &bytes, self->offered_teacher.hash,
                              self->offered_teacher.n_chunks, err);
}

static enum pf_status create_session(struct pf_coordinator_shell *self, struct pf_error *err)
{
    const struct pf_coordinator_config *config = self->config;
    uint32_t n = (uint32_t)config->roster->n_members;
    uint32_t least = config->aggregation == PF_AGGREGATION_SECURE ? PF_MIN_SECURE_COHORT : 1;
    uint32_t min_cohort =
        config->min_cohort > 0 ? config->min_cohort : PF_MIN(PF_MAX((2 * n + 2) / 3, least), n);
    uint32_t quorum = config->quorum > 0
                          ? config->quorum
                          : PF_MIN(PF_MAX((2 * min_cohort + 2) / 3, least), min_cohort);
    struct pf_coordinator_session_config session = {
        .run_id = self->run_id,
        .n_members = config->roster->n_members,
        .members = config->roster->members,
        .network = config->model->network,
        .aggregation = config->aggregation,
        .schedule = config->schedule,
        .order = config->order,
        .teacher = config->order.distill_weight > 0.0 ? &self->offered_teacher : NULL,
        .min_cohort = min_cohort,
        .quorum = quorum,
        .max_failed_rounds = config->max_failed_rounds,
        .join_timeout_ms = config->join_timeout_ms,
        .gather_ms = config->gather_ms,
        .round_timeout_ms = config->round_timeout_ms,
        .liveness_ms = config->liveness_ms,
        .upload_budget_bytes = config->upload_budget_bytes,
        .upload_idle_ms = config->upload_idle_ms,
        .masking = config->masking,
        .fixed_clip = config->fixed_clip,
        .corrupt = config->corrupt,
        .dropouts = config->dropouts,
        .adversary = config->adversary,
        .graph = config->graph,
        .key_timeout_ms = config->key_timeout_ms,
        .unmask_timeout_ms = config->unmask_timeout_ms,
    };
    memcpy(session.roster_hash, config->roster->hash, sizeof session.roster_hash);
    return pf_coordinator_session_create(&session, pf_clock_monotonic_ms(), &self->session, err);
}

static enum pf_status listen_for_members(struct pf_coordinator_shell *self, struct pf_error *err)
{
    const struct pf_roster *roster = self->config->roster;
    PF_CLEANUP(pf_freep) uint8_t(*allowed)[32] = pf_alloc(roster->n_members, sizeof *allowed);
    if (allowed == NULL) return pf_no_memory(err, "the members' keys");
    for (size_t i = 0; i < roster->n_members; i++)
        memcpy(allowed[i], roster->members[i].transport, sizeof allowed[i]);
    return pf_wire_server_create(self->config->listen, self->config->identity,
                                 (const uint8_t(*)[32])allowed, roster->n_members, &self->server,
                                 err);
}

static void wake(void *context)
{
    pf_wire_server_wake(context);
}

static enum pf_status create_jobs(struct pf_coordinator_shell *self, struct pf_error *err)
{
    const struct pf_jobs_config config = {
        .model = self->config->model,
        .test_set = self->config->test_set,
        .schedule = &self->config->schedule,
        .optimiser = self->config->optimiser,
        .n_threads = self->config->n_threads,
        .ready = wake,
        .context = self->server,
    };
    PF_TRY(pf_jobs_create(&config, &self->jobs, err));
    return pf_jobs_baseline(self->jobs, err);
}

static enum pf_status announce(struct pf_coordinator_shell *self, struct pf_error *err)
{
    const char *endpoint = pf_wire_server_endpoint(self->server);
    char line[512];
    int length = snprintf(line, sizeof line, "%s\n", endpoint);
    PF_TRY(pf_run_folder_write(self->config->run_folder, "endpoint", line, (size_t)length, err));
    pf_log(PF_LOG_INFO, "listening on %s", endpoint);
    if (self->config->listening != NULL)
        self->config->listening(self->config->listening_context, endpoint);
    return PF_OK;
}

/* The port is bound before the folder is made: a port in use leaves nothing behind. */
static enum pf_status set_up(struct pf_coordinator_shell *self, struct pf_error *err)
{
    size_t n = self->config->roster->n_members;
    PF_TRY(check_config(self->config, err));
    randombytes_buf(self->run_id.bytes, sizeof self->run_id.bytes);
    self->result->run_id = self->run_id;
    self->traffic = PF_ALLOC(n, struct pf_coordinator_traffic);
    self->result->stages = PF_ALLOC(self->config->schedule.n_stages, struct pf_coordinator_stage);
    if (self->traffic == NULL || self->result->stages == NULL) return pf_no_memory(err, "the run");
    PF_TRY(prepare_teacher(self, err));
    PF_TRY(create_session(self, err));
    PF_TRY(listen_for_members(self, err));
    PF_TRY(pf_run_folder_create(self->config, &self->run_id, &self->store, err));
    PF_TRY(create_jobs(self, err));
    return announce(self, err);
}

static void fill_traffic(struct pf_coordinator_shell *self)
{
    struct pf_coordinator_result *result = self->result;
    double up = 0, down = 0;
    for (size_t i = 0; i < self->config->roster->n_members; i++) {
        if (!self->traffic[i].joined) continue;
        result->n_participants++;
        up += (double)self->traffic[i].upload_bytes;
        down += (double)self->traffic[i].download_bytes;
    }
    if (result->n_participants == 0) return;
    result->upload_per_participant = up / (double)result->n_participants;
    result->download_per_participant = down / (double)result->n_participants;
}

static enum pf_status conclude(struct pf_coordinator_shell *self, double started,
                               struct pf_error *err)
{
    struct pf_coordinator_result *result = self->result;
    struct pf_coordinator_view view;
    pf_coordinator_session_view(self->session, &view);
    result->rounds_completed = view.completed;
    result->rounds_abandoned = view.abandoned;
    result->seconds = pf_clock_seconds() - started;
    fill_traffic(self);
    if (result->success)
        PF_TRY(pf_run_folder_write(self->config->run_folder, "retrained.pfm",
                                   self->model.bytes.bytes, self->model.bytes.length, err));
    return pf_run_store_end(self->store, result, pf_coordinator_session_counters(self->session),
                            pf_wire_server_refused(self->server), err);
}

static void shell_finish(struct pf_coordinator_shell *self)
{
    /* The worker wakes the server, so it goes first; the server then waits for its last words. */
    pf_jobs_destroy(self->jobs);
    pf_wire_server_destroy(self->server);
    pf_coordinator_session_destroy(self->session);
    pf_store_close(self->store);
    pf_served_file_finish(&self->model);
    pf_served_file_finish(&self->teacher);
    pf_free(self->offered_teacher.chunk_hashes);
    pf_buffer_finish(&self->received);
    pf_buffer_finish(&self->sent);
    pf_free(self->traffic);
}

static void result_init(struct pf_coordinator_result *result,
                        const struct pf_coordinator_config *config)
{
    const double unknown = (double)NAN;
    *result = (struct pf_coordinator_result){
        .aggregation = config->aggregation,
        .accuracy = {unknown, unknown, unknown, unknown},
        .loss_retrained = unknown,
        .nonzeros = {.dense = pf_model_nonzeros(config->model)},
        .upload_per_participant = unknown,
        .download_per_participant = unknown,
        .dense_update_bytes = (uint64_t)config->model->n_parameters * sizeof(float),
    };
}

void pf_coordinator_result_finish(struct pf_coordinator_result *self)
{
    pf_free(self->stages);
    *self = (struct pf_coordinator_result){0};
}

enum pf_status pf_coordinator_run(const struct pf_coordinator_config *config,
                                  const struct pf_progress *progress,
                                  struct pf_coordinator_result *result, struct pf_error *err)
{
    double started = pf_clock_seconds();
    struct pf_error reason = {0};
    result_init(result, config);
    PF_CLEANUP(shell_finish)
    struct pf_coordinator_shell shell = {.config = config, .progress = progress, .result = result};
    PF_TRY(set_up(&shell, err));
    enum pf_status status = pf_coordinator_serve(&shell, &reason);
    if (status != PF_OK) {
        pf_coordinator_say_goodbye(&shell, reason.text);
        (void)conclude(&shell, started, NULL);
        return pf_fail(err, status, "%s", reason.text);
    }
    PF_TRY(conclude(&shell, started, err));
    return result->success ? PF_OK : pf_fail(err, shell.outcome, "%s", result->sentence);
}
