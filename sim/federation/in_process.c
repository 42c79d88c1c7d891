/* Life of the federation in one process, and the course of its time. */
#include "sim/federation/in_process.h"

#include <math.h>
#include <string.h>
#include <sys/resource.h>

#include "common/base/clock.h"
#include "sim/federation/in_process_parts.h"

#define SHOW_EVERY_S 0.25
#define LOOK_EVERY 64u /* events between looks at the clock and the stop flag */

const char *pf_in_process_step_name(enum pf_in_process_step step)
{
    static const char *const names[PF_IN_PROCESS_N_STEPS] = {
        [PF_IN_PROCESS_JOIN] = "join",           [PF_IN_PROCESS_MODEL] = "model",
        [PF_IN_PROCESS_ADVERTISE] = "advertise", [PF_IN_PROCESS_REVEAL] = "reveal",
        [PF_IN_PROCESS_SHARE] = "share",         [PF_IN_PROCESS_MASK] = "mask",
        [PF_IN_PROCESS_CONSENT] = "consent",     [PF_IN_PROCESS_UNMASK] = "unmask",
    };
    return (size_t)step < PF_IN_PROCESS_N_STEPS ? names[step] : "any";
}

/* ---- shared with the other files ------------------------------------------------------------- */

struct pf_error *pf_ip_error(struct pf_in_process *self)
{
    return pf_ip_well(self) ? &self->trouble : NULL;
}

bool pf_ip_chance(struct pf_in_process *self, double probability)
{
    return pf_random_uniform(&self->random) < probability;
}

int64_t pf_ip_between(struct pf_in_process *self, int64_t low, int64_t high)
{
    return high > low ? low + pf_random_below(&self->random, (uint32_t)(high - low) + 1) : low;
}

void pf_ip_push(struct pf_in_process *self, struct pf_event event)
{
    struct pf_error err = {0};
    if (pf_event_queue_push(&self->events, event, &err) != PF_OK)
        (void)pf_no_memory(pf_ip_error(self), "the events of a simulation");
}

/* ---- configuration --------------------------------------------------------------------------- */

void pf_in_process_config_default(size_t n_participants, struct pf_in_process_config *config)
{
    *config = (struct pf_in_process_config){
        .n_participants = n_participants,
        .training_min_ms = 180000,
        .training_max_ms = 300000,
        .job_min_ms = 20,
        .job_max_ms = 3000,
        .limit_ms = PF_MAX_DEADLINE_MS,
        .verify = true,
        .faults = {.drop_at = PF_IN_PROCESS_ANYWHERE},
    };
    pf_participant_session_config_default(&config->participant);
    config->participant.forget_model = true;
    config->coordinator = (struct pf_coordinator_session_config){
        .aggregation = PF_AGGREGATION_SECURE,
        .schedule = {.n_stages = 1, .stages = {{.rounds = 1, .schedule_end = 1}}},
        .order = {.batch = 64, .epochs = 1, .learning_rate = 0.1, .schedule_end = 1},
        .max_failed_rounds = 3,
        .join_timeout_ms = 300000,
        .gather_ms = 10000,
        .round_timeout_ms = 600000,
        .liveness_ms = 30000,
        .corrupt = -1,
        .dropouts = PF_DEFAULT_DROPOUTS,
    };
    pf_masking_order_default(&config->coordinator.masking);
}

static enum pf_status check_config(const struct pf_in_process_config *config, struct pf_error *err)
{
    size_t n = config->n_participants;
    if (n == 0 || n > PF_MAX_IN_PROCESS_PARTICIPANTS)
        return pf_fail(err, PF_INVALID, "%zu participants; give 1 to %u", n,
                       PF_MAX_IN_PROCESS_PARTICIPANTS);
    if (config->distinct_weights && n > 20)
        return pf_fail(err, PF_INVALID, "weights 2^i are for at most 20 participants, not %zu", n);
    if (config->training_min_ms < 1 || config->training_max_ms < config->training_min_ms ||
        config->job_max_ms < config->job_min_ms || config->training_max_ms > PF_MAX_DEADLINE_MS)
        return pf_fail(err, PF_INVALID, "times of training or jobs cannot be meant");
    return PF_OK;
}

static size_t count_parameters(const struct pf_network *network)
{
    struct pf_model *model = NULL;
    if (pf_model_create(network, NULL, &model, NULL) != PF_OK) return 0;
    size_t n = model->n_parameters;
    pf_model_destroy(model);
    return n;
}

enum pf_status pf_in_process_network(size_t dimension, struct pf_network *network,
                                     struct pf_error *err)
{
    *network = (struct pf_network){.block_kind = PF_LAYER_SHIFT,
                                   .n_blocks = 1,
                                   .filters = {1},
                                   .layers = {1},
                                   .strides = {1},
                                   .in_channels = 1,
                                   .in_height = 4,
                                   .in_width = 4,
                                   .n_classes = 2};
    size_t least = count_parameters(network);
    if (dimension < least || dimension > PF_MAX_PARAMETERS / 2)
        return pf_fail(err, PF_INVALID, "%zu parameters; give %zu to %zu (--dimension)", dimension,
                       least, PF_MAX_PARAMETERS / 2);
    /* One square layer of f filters: about f² parameters; classes fill up what is left. */
    network->filters[0] = (uint32_t)PF_MAX(sqrt((double)dimension), 1.0);
    while (network->filters[0] > 1 && count_parameters(network) > dimension) network->filters[0]--;
    size_t base = count_parameters(network), per_class = network->filters[0] + 1;
    network->n_classes += (uint32_t)PF_MIN((dimension - base) / per_class,
                                           (size_t)PF_MAX_CLASSES - network->n_classes);
    return PF_OK;
}

/* ---- the course of time ---------------------------------------------------------------------- */

static void on_frame(struct pf_in_process *self, const struct pf_event *event, double began)
{
    struct pf_message message = {0};
    struct pf_error err = {0};
    struct pf_in_process_result *result = self->result;
    bool readable =
        pf_message_decode(event->frame->bytes, event->frame->length, &message, &err) == PF_OK;
    PF_IP_CHECK(self, readable || self->config->faults.damaged > 0, "cannot be decoded: %s",
                err.text);
    enum pf_in_process_step step = readable ? pf_ip_step_of(message.kind) : PF_IN_PROCESS_JOIN;
    if (event->kind == PF_EVENT_TO_PLAYER) {
        pf_ip_player_event(self, event, readable ? &message : NULL);
        result->steps[step].participant_seconds += pf_clock_seconds() - began;
    } else {
        pf_ip_coordinator_event(self, event, readable ? &message : NULL);
        result->steps[step].coordinator_seconds += pf_clock_seconds() - began;
    }
    pf_message_finish(&message);
}

static void on_event(struct pf_in_process *self, struct pf_event *event)
{
    double began = pf_clock_seconds();
    switch (event->kind) {
    case PF_EVENT_TO_COORDINATOR:
    case PF_EVENT_TO_PLAYER: on_frame(self, event, began); break;
    case PF_EVENT_JOB_ENDED: pf_ip_coordinator_event(self, event, NULL); break;
    case PF_EVENT_TRAINED:
    case PF_EVENT_WAKE:
    case PF_EVENT_KILL:
    case PF_EVENT_RESTART: {
        enum pf_in_process_step step =
            event->kind == PF_EVENT_TRAINED ? PF_IN_PROCESS_MASK : PF_IN_PROCESS_JOIN;
        pf_ip_player_event(self, event, NULL);
        self->result->steps[step].participant_seconds += pf_clock_seconds() - began;
        break;
    }
    }
    pf_frame_release(event->frame);
}

static void show(struct pf_in_process *self)
{
    double now = pf_clock_seconds();
    if (self->progress == NULL || now - self->shown < SHOW_EVERY_S) return;
    self->shown = now;
    char detail[512];
    struct pf_coordinator_view view;
    pf_coordinator_session_view(self->coordinator, &view);
    pf_coordinator_session_describe(self->coordinator, self->now, detail, sizeof detail);
    pf_progress_update(self->progress, "round", view.completed, view.n_rounds, detail);
    if (pf_progress_stopped(self->progress))
        (void)pf_fail(pf_ip_error(self), PF_INTERRUPTED, "stopped on request after %u of %u rounds",
                      view.completed, view.n_rounds);
}

static bool all_over(struct pf_in_process *self)
{
    return self->ended && !self->action_in_hand && pf_ip_players_over(self);
}

static void run(struct pf_in_process *self)
{
    for (size_t step = 0; pf_ip_well(self) && !all_over(self); step++) {
        int64_t next = pf_event_queue_next_at(&self->events);
        if (!pf_ip_line_full(self)) next = PF_MIN(next, self->coordinator_wake);
        self->now = PF_MAX(next, self->now);
        PF_IP_CHECK(self, self->now < self->config->limit_ms, "no end after %lld virtual ms",
                    (long long)self->config->limit_ms);
        if (!pf_ip_well(self)) return;
        if (pf_event_queue_next_at(&self->events) <= self->now) {
            struct pf_event event = pf_event_queue_pop(&self->events);
            on_event(self, &event);
        }
        pf_ip_drain_coordinator(self);
        pf_ip_tick_coordinator(self);
        if (step % LOOK_EVERY == 0) show(self);
    }
}

/* ---- life ------------------------------------------------------------------------------------ */

static void finish(struct pf_in_process *self)
{
    pf_ip_destroy_players(self);
    pf_ip_destroy_coordinator(self);
    pf_event_queue_finish(&self->events);
    pf_buffer_finish(&self->scratch);
    for (uint32_t i = 0; i < self->n_rounds_known; i++) pf_member_set_finish(&self->survivors[i]);
    pf_free(self->survivors);
    pf_free(self->applied);
    pf_free(self->completed);
    pf_pool_destroy(self->pool);
    pf_free(self);
}

static enum pf_status set_up(struct pf_in_process *self, struct pf_error *err)
{
    PF_TRY(check_config(self->config, err));
    pf_random_init(&self->random, self->config->seed, "federation in one process", 0);
    PF_TRY(pf_pool_create(self->config->n_threads, &self->pool, err));
    PF_TRY(pf_ip_create_players(self, err));
    PF_TRY(pf_ip_create_coordinator(self, err));
    self->result->n_participants = self->n_players;
    self->result->dimension = count_parameters(&self->config->network);
    return PF_OK;
}

static void conclude(struct pf_in_process *self)
{
    struct pf_in_process_result *result = self->result;
    struct rusage usage;
    pf_ip_conclude_players(self);
    result->coordinator = *pf_coordinator_session_counters(self->coordinator);
    result->duration_ms = self->now;
    result->seconds = pf_clock_seconds() - self->began;
    uint32_t planned = pf_schedule_rounds(&self->config->coordinator.schedule);
    PF_IP_CHECK(self, !result->success || result->rounds_completed == planned,
                "success after %u rounds of %u", result->rounds_completed, planned);
    if (getrusage(RUSAGE_SELF, &usage) == 0) result->peak_bytes = (size_t)usage.ru_maxrss * 1024;
}

enum pf_status pf_in_process_run(const struct pf_in_process_config *config,
                                 const struct pf_progress *progress,
                                 struct pf_in_process_result *result, struct pf_error *err)
{
    struct pf_in_process *self = PF_ALLOC(1, struct pf_in_process);
    if (self == NULL) return pf_no_memory(err, "a simulation");
    *result = (struct pf_in_process_result){0};
    self->config = config;
    self->progress = progress;
    self->result = result;
    self->began = pf_clock_seconds();
    enum pf_status status = set_up(self, err);
    if (status == PF_OK) {
        run(self);
        conclude(self);
        status = self->trouble.status;
        if (status != PF_OK) status = pf_fail(err, status, "%s", self->trouble.text);
    }
    finish(self);
    return status;
}
