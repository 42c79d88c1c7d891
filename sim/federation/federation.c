#include "sim/federation/federation.h"

#include <limits.h>
#include <sched.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "common/base/file.h"
#include "common/base/log.h"
#include "common/base/memory.h"
#include "sim/federation/children.h"

#define PARTING_MS 10000 /* for participants to hear that the run is over */
#define MAX_ARGUMENTS 48u

struct federation {
    const struct pf_federation_config *config;
    struct pf_identity authority, coordinator;
    struct pf_identity *members; /* [n_participants] */
    struct pf_roster *roster;
    struct pf_children *children;
    const struct pf_progress *progress; /* of the caller */
    atomic_bool stop;                   /* the coordinator's */
    bool launched;
    struct pf_error trouble; /* why the run was stopped from here; PF_OK: it was not */
};

static void federation_finish(struct federation *self)
{
    pf_children_destroy(self->children);
    pf_roster_destroy(self->roster);
    for (size_t i = 0; self->members != NULL && i < self->config->n_participants; i++)
        pf_identity_finish(&self->members[i]);
    pf_free(self->members);
    pf_identity_finish(&self->coordinator);
    pf_identity_finish(&self->authority);
}

/* ---- identities --------------------------------------------------------------------------- */

static enum pf_status make_members(struct federation *self, struct pf_error *err)
{
    size_t n = self->config->n_participants;
    self->members = PF_ALLOC(n, struct pf_identity);
    PF_CLEANUP(pf_freep)
    struct pf_public_identity *public = PF_ALLOC(n, struct pf_public_identity);
    if (self->members == NULL || public == NULL) return pf_no_memory(err, "the participants' keys");
    for (size_t i = 0; i < n; i++) {
        char name[PF_MAX_NAME_BYTES];
        snprintf(name, sizeof name, "p%02zu", i + 1);
        PF_TRY(pf_identity_generate(name, &self->members[i], err));
        public[i] = self->members[i].public;
    }
    return pf_roster_create("local", 1, &self->coordinator.public, public, n, &self->roster, err);
}

static enum pf_status save_identity(const struct federation *self,
                                    const struct pf_identity *identity, struct pf_error *err)
{
    char stem[PATH_MAX];
    int n = snprintf(stem, sizeof stem, "%s/keys/%s", self->config->coordinator.run_folder,
                     identity->public.name);
    if (n < 0 || (size_t)n >= sizeof stem)
        return pf_fail(err, PF_INVALID, "%s: path too long", self->config->coordinator.run_folder);
    return pf_identity_save(identity, stem, err);
}

static enum pf_status save_keys(const struct federation *self, struct pf_error *err)
{
    char path[PATH_MAX];
    const char *folder = self->config->coordinator.run_folder;
    PF_TRY(pf_path_join(folder, "keys", path, sizeof path, err));
    PF_TRY(pf_folder_create(path, err));
    PF_TRY(pf_path_join(folder, "participants", path, sizeof path, err));
    PF_TRY(pf_folder_create(path, err));
    PF_TRY(save_identity(self, &self->authority, err));
    PF_TRY(save_identity(self, &self->coordinator, err));
    for (size_t i = 0; i < self->config->n_participants; i++)
        PF_TRY(save_identity(self, &self->members[i], err));
    PF_TRY(pf_path_join(folder, "roster.pf", path, sizeof path, err));
    return pf_roster_save(self->roster, &self->authority, path, err);
}

/* ---- participants ------------------------------------------------------------------------- */

/* A command line that owns its words. */
struct arguments {
    size_t n;
    const char *words[MAX_ARGUMENTS + 1];
    char text[8 * PATH_MAX];
    size_t used;
    bool overflow;
};

static void add(struct arguments *self, const char *format, ...) PF_PRINTF(2, 3);

static void add(struct arguments *self, const char *format, ...)
{
    size_t room = sizeof self->text - self->used;
    va_list list;
    va_start(list, format);
    int n = vsnprintf(self->text + self->used, room, format, list);
    va_end(list);
    if (n < 0 || (size_t)n >= room || self->n == MAX_ARGUMENTS) {
        self->overflow = true;
        return;
    }
    self->words[self->n++] = self->text + self->used;
    self->used += (size_t)n + 1;
}

static void add_data(struct arguments *self, const struct pf_federation_config *config, size_t part)
{
    static const char *const partitions[] = {
        [PF_PARTITION_IID] = "iid",
        [PF_PARTITION_DIRICHLET] = "dirichlet",
        [PF_PARTITION_FIRST] = "first",
    };
    add(self, "--data=%s", pf_data_kind_name(config->source.kind));
    if (config->source.dir != NULL) add(self, "--data-dir=%s", config->source.dir);
    if (config->source.synthetic_train > 0)
        add(self, "--synthetic-images=%zu", config->source.synthetic_train);
    add(self, "--partition=%s", partitions[config->partition.kind]);
    add(self, "--concentration=%.17g", config->partition.concentration);
    add(self, "--fraction=%.17g", config->partition.fraction);
    add(self, "--part=%zu/%zu", part + 1, config->n_participants);
    if (!config->augmentation) add(self, "--no-augmentation");
    add(self, "--activations=%s", pf_precision_name(config->activations));
}

/* Who launches a federation agrees, for its participants, to what its coordinator is told. */
static void add_policy(struct arguments *self, const struct pf_coordinator_config *config)
{
    if (config->aggregation == PF_AGGREGATION_PLAIN) add(self, "--allow-plain");
    if (config->corrupt >= 0) add(self, "--max-corrupt=%.17g", config->corrupt);
    if (config->adversary == PF_SEMI_HONEST) add(self, "--semi-honest");
}

static size_t threads_each(const struct pf_federation_config *config)
{
    if (config->threads_per_participant > 0) return config->threads_per_participant;
    cpu_set_t set;
    size_t cores = 1;
    if (sched_getaffinity(0, sizeof set, &set) == 0) cores = (size_t)CPU_COUNT(&set);
    return PF_MAX(cores / config->n_participants, 1);
}

static enum pf_status spawn_participant(struct federation *self, size_t index, const char *endpoint,
                                        struct pf_error *err)
{
    const struct pf_federation_config *config = self->config;
    const char *folder = config->coordinator.run_folder;
    const char *name = self->members[index].public.name;
    PF_CLEANUP(pf_freep) struct arguments *arguments = PF_ALLOC(1, struct arguments);
    if (arguments == NULL) return pf_no_memory(err, "a command line");
    add(arguments, "%s", config->program);
    add(arguments, "participant");
    add(arguments, "--identity=%s/keys/%s.key", folder, name);
    add(arguments, "--roster=%s/roster.pf", folder);
    add(arguments, "--authority=%s/keys/authority.pub", folder);
    add(arguments, "--connect=%s", endpoint);
    add_data(arguments, config, index);
    add(arguments, "--state=%s/participants/%s", folder, name);
    add_policy(arguments, &config->coordinator);
    add(arguments, "--threads=%zu", threads_each(config));
    add(arguments, "--seed=%llu", (unsigned long long)config->seed);
    char log_path[PATH_MAX];
    int n = snprintf(log_path, sizeof log_path, "%s/participants/%s.log", folder, name);
    if (arguments->overflow || n < 0 || (size_t)n >= sizeof log_path)
        return pf_fail(err, PF_INVALID, "%s: path too long", folder);
    return pf_children_spawn(self->children, name, arguments->words, log_path, err);
}

static enum pf_status launch(struct federation *self, const char *endpoint, struct pf_error *err)
{
    PF_TRY(save_keys(self, err));
    for (size_t i = 0; i < self->config->n_participants; i++)
        PF_TRY(spawn_participant(self, i, endpoint, err));
    return PF_OK;
}

/* ---- the run ------------------------------------------------------------------------------ */

static void stop_because(struct federation *self)
{
    pf_log(PF_LOG_ERROR, "%s", self->trouble.text);
    atomic_store(&self->stop, true);
}

static void on_listening(void *context, const char *endpoint)
{
    struct federation *self = context;
    if (launch(self, endpoint, &self->trouble) == PF_OK)
        self->launched = true;
    else
        stop_because(self);
}

/* Participants that have ended are not started again: without any, nothing is left to wait for. */
static void watch_participants(struct federation *self)
{
    pf_children_reap(self->children);
    if (!self->launched || atomic_load(&self->stop) || pf_children_running(self->children) > 0)
        return;
    (void)pf_fail(&self->trouble, PF_IO,
                  "all participants have ended before the run did; their logs say why: "
                  "%s/participants",
                  self->config->coordinator.run_folder);
    stop_because(self);
}

/* Every progress report is also a moment to look after the participants and the caller's wish. */
static void on_progress(void *context, const char *what, size_t done, size_t total,
                        const char *detail)
{
    struct federation *self = context;
    pf_progress_update(self->progress, what, done, total, detail);
    if (pf_progress_stopped(self->progress)) atomic_store(&self->stop, true);
    if (done < total) watch_participants(self); /* afterwards they are meant to end */
}

static enum pf_status check(const struct pf_federation_config *config, struct pf_error *err)
{
    if (config->n_participants == 0 || config->n_participants > PF_MAX_LOCAL_PARTICIPANTS)
        return pf_fail(err, PF_INVALID,
                       "%zu participants; give 1 to %u on one host (--participants)",
                       config->n_participants, PF_MAX_LOCAL_PARTICIPANTS);
    if (config->coordinator.aggregation == PF_AGGREGATION_SECURE &&
        config->n_participants < PF_MIN_SECURE_COHORT)
        return pf_fail(err, PF_INVALID,
                       "a sum of %zu hides nothing: give at least %u participants "
                       "(--participants), or --aggregation plain",
                       config->n_participants, PF_MIN_SECURE_COHORT);
    return PF_OK;
}

enum pf_status pf_federation_run(const struct pf_federation_config *config,
                                 const struct pf_progress *progress,
                                 struct pf_coordinator_result *result, struct pf_error *err)
{
    PF_TRY(check(config, err));
    PF_CLEANUP(federation_finish) struct federation self = {.config = config, .progress = progress};
    PF_TRY(pf_identity_generate("authority", &self.authority, err));
    PF_TRY(pf_identity_generate("coordinator", &self.coordinator, err));
    PF_TRY(make_members(&self, err));
    PF_TRY(pf_children_create(config->n_participants, &self.children, err));

    struct pf_coordinator_config coordinator = config->coordinator;
    coordinator.identity = &self.coordinator;
    coordinator.roster = self.roster;
    coordinator.listen = "tcp://127.0.0.1:0";
    coordinator.listening = on_listening;
    coordinator.listening_context = &self;
    const struct pf_progress watched = {
        .update = on_progress, .context = &self, .stop = &self.stop};
    enum pf_status status = pf_coordinator_run(&coordinator, &watched, result, err);
    if (status == PF_OK) (void)pf_children_wait(self.children, PARTING_MS);
    if (status != PF_OK && self.trouble.status != PF_OK)
        return pf_fail(err, self.trouble.status, "%s", self.trouble.text);
    return status;
}
