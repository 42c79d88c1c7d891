#include "world.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/base/random.h"
#include "event_queue.h"
#include "proto/model_file.h"

#define MAX_STEPS 400000u

struct player {
    struct pf_participant_session *session; /* NULL: not running */
    uint32_t life;
    bool gone; /* for good */
    struct pf_participation known;
    bool delivered[WORLD_MAX_ROUNDS];
    bool tied[WORLD_MAX_ROUNDS];
    struct pf_hash model_of[WORLD_MAX_ROUNDS];
};

struct world {
    const struct weather *weather;
    uint64_t seed;
    struct pf_random random;
    int64_t now;
    struct event_queue events;

    struct pf_coordinator_session *coordinator;
    struct pf_network network;
    struct pf_buffer model; /* as served now */
    size_t n_parameters;
    uint64_t n_models;
    bool ended;
    int64_t ended_at;
    uint64_t set_of_round[WORLD_MAX_ROUNDS]; /* bit i: player i's update was in the sum; 0: none */

    size_t n_players;
    struct player players[WORLD_MAX_PLAYERS];
    struct world_outcome outcome;
    char complaint[768]; /* the first broken property */
};

#define CHECK(world, condition, ...)                                             \
    do {                                                                         \
        if (!(condition) && (world)->complaint[0] == '\0')                       \
            snprintf((world)->complaint, sizeof(world)->complaint, __VA_ARGS__); \
    } while (0)

static bool chance(struct world *self, double probability)
{
    return pf_random_uniform(&self->random) < probability;
}

static int64_t between(struct world *self, uint32_t low, uint32_t high)
{
    return low + pf_random_below(&self->random, high - low + 1);
}

/* ---- the network ---------------------------------------------------------------------------- */

static void deliver_later(struct world *self, enum event_kind kind, size_t player,
                          const struct pf_buffer *frame)
{
    struct event event = {.at = self->now + 10, .kind = kind, .player = player};
    if (self->weather->late > 0) event.at = self->now + between(self, 1, 40);
    if (chance(self, self->weather->late)) event.at += between(self, 1, 8000);
    if (pf_buffer_append(&event.frame, frame->bytes, frame->length, NULL) != PF_OK) abort();
    if (chance(self, self->weather->damaged))
        event.frame.bytes[pf_random_below(&self->random, (uint32_t)frame->length)] ^=
            (uint8_t)(1u << pf_random_below(&self->random, 8));
    event_queue_push(&self->events, event);
}

static void transmit(struct world *self, enum event_kind kind, size_t player,
                     const struct pf_message *message)
{
    PF_CLEANUP(pf_buffer_finish) struct pf_buffer frame = {0};
    struct pf_error err = {0};
    CHECK(self, pf_message_encode(message, &frame, &err) == PF_OK, "%s cannot be encoded: %s",
          pf_message_kind_name(message->kind), err.text);
    if (frame.length == 0) return;
    self->outcome.frames++;
    if (!chance(self, self->weather->lost)) deliver_later(self, kind, player, &frame);
    if (chance(self, self->weather->repeated)) deliver_later(self, kind, player, &frame);
}

/* ---- participants --------------------------------------------------------------------------- */

static void make_update(const struct world *self, size_t player, uint32_t round,
                        struct pf_update *update)
{
    struct pf_random random;
    float *delta = PF_ALLOC(self->n_parameters, float);
    if (delta == NULL) abort();
    pf_random_init(&random, self->seed, "made-up update", player * WORLD_MAX_ROUNDS + round);
    for (size_t i = 0; i < self->n_parameters; i++)
        delta[i] = i % 64 == 0 ? (float)pf_random_normal(&random) : delta[i - 1] * 0.9f;
    *update = (struct pf_update){.values = delta,
                                 .n = self->n_parameters,
                                 .figures = {[PF_FIGURE_EXAMPLES] = UINT64_C(1) << player}};
}

static void note_record(struct world *self, size_t index, const struct pf_participation *record)
{
    struct player *player = &self->players[index];
    uint32_t round = record->round;
    CHECK(self, round > 0 && round < WORLD_MAX_ROUNDS, "a record of round %u", round);
    if (round >= WORLD_MAX_ROUNDS) return;
    if (round >= player->known.round) player->known = *record;
    /* Without damage on the line a round has one model, whatever restarts. */
    CHECK(self,
          self->weather->damaged > 0 || !player->tied[round] ||
              pf_hash_equal(&player->model_of[round], &record->model_hash),
          "player %zu joined round %u with two models", index, round);
    player->tied[round] = true;
    player->model_of[round] = record->model_hash;
    if (record->outcome == PF_OUTCOME_DELIVERED) player->delivered[round] = true;
}

static void drain_player(struct world *self, size_t index)
{
    struct player *player = &self->players[index];
    struct pf_participant_action action;
    while (pf_participant_session_next_action(player->session, &action)) {
        switch (action.kind) {
        case PF_PARTICIPANT_SEND: transmit(self, TO_COORDINATOR, index, &action.message); break;
        case PF_PARTICIPANT_RECALL:
            if (self->weather->ledger && player->known.round > 0)
                pf_participant_session_recall(player->session, &player->known);
            break;
        case PF_PARTICIPANT_RECORD: note_record(self, index, &action.record); break;
        case PF_PARTICIPANT_TRAIN:
            event_queue_push(&self->events,
                             (struct event){.at = self->now + between(self, 50, 6000),
                                            .kind = TRAINED,
                                            .player = index,
                                            .life = player->life,
                                            .job = action.train.job,
                                            .round = action.train.round});
            break;
        case PF_PARTICIPANT_CANCEL: /* the result comes nevertheless, and must be ignored */
        case PF_PARTICIPANT_RESULT: break;
        }
    }
}

static void start_player(struct world *self, size_t index)
{
    struct pf_participant_session_config config;
    pf_participant_session_config_default(&config);
    config.give_up_ms = 120000;
    config.fetch.timeout_first_ms = 500;
    config.fetch.timeout_last_ms = 8000;
    config.upload_first_ms = 1000;
    config.upload_last_ms = 8000;
    config.deadline_grace_ms = 5000;
    config.policy.allow_plain = true;
    config.policy.pinned = true;
    config.policy.network = self->network;
    if (pf_participant_session_create(&config, self->now, &self->players[index].session, NULL) !=
        PF_OK)
        abort();
    self->players[index].life++;
}

static bool player_over(const struct player *player, struct pf_participant_view *view)
{
    pf_participant_session_view(player->session, view);
    return view->phase == PF_PARTICIPANT_DONE || view->phase == PF_PARTICIPANT_FAILED;
}

static void count_refused(struct world *self, const uint64_t refused[PF_REASON_N], uint64_t others)
{
    for (size_t i = 0; i < PF_REASON_N; i++) self->outcome.refused += refused[i];
    self->outcome.refused += others;
}

static void end_player(struct world *self, size_t index)
{
    const struct pf_participant_counters *counters =
        pf_participant_session_counters(self->players[index].session);
    count_refused(self, counters->refused, counters->malformed + counters->unexpected);
    pf_participant_session_destroy(self->players[index].session);
    self->players[index].session = NULL;
}

static void on_kill(struct world *self, size_t index)
{
    struct player *player = &self->players[index];
    struct pf_participant_view view;
    if (player->session == NULL || player_over(player, &view)) return;
    end_player(self, index);
    if (!self->weather->ledger) memset(&player->known, 0, sizeof player->known);
    if (chance(self, self->weather->killed_for_good))
        player->gone = true;
    else
        event_queue_push(&self->events, (struct event){.at = self->now + between(self, 0, 20000),
                                                       .kind = RESTART,
                                                       .player = index});
}

static void on_trained(struct world *self, const struct event *event)
{
    struct player *player = &self->players[event->player];
    if (player->session == NULL || player->life != event->life) return;
    if (chance(self, self->weather->training_fails)) {
        pf_participant_session_training_failed(player->session, event->job, "made-up failure",
                                               self->now);
    } else {
        struct pf_update update;
        make_update(self, event->player, event->round, &update);
        pf_participant_session_trained(player->session, event->job, &update, self->now);
    }
    drain_player(self, event->player);
}

/* ---- the coordinator ------------------------------------------------------------------------ */

static void make_model(struct world *self, struct pf_served_model *served)
{
    PF_CLEANUP(pf_model_destroyp) struct pf_model *model = NULL;
    pf_buffer_reset(&self->model);
    if (pf_model_create(&self->network, NULL, &model, NULL) != PF_OK) abort();
    pf_model_initialise(model, self->n_models++);
    if (pf_model_encode(model, &self->model, NULL) != PF_OK) abort();
    self->n_parameters = model->n_parameters;
    size_t length = self->model.length;
    *served = (struct pf_served_model){
        .hash = pf_hash_bytes(self->model.bytes, length),
        .n_bytes = length,
        .n_chunks = (uint32_t)((length - 1) / PF_CHUNK_BYTES + 1),
        .n_parameters = model->n_parameters,
    };
    served->chunk_hashes = PF_ALLOC(served->n_chunks, struct pf_hash);
    if (served->chunk_hashes == NULL) abort();
    for (size_t i = 0; i < served->n_chunks; i++)
        served->chunk_hashes[i] =
            pf_hash_bytes(self->model.bytes + i * PF_CHUNK_BYTES,
                          PF_MIN(length - i * PF_CHUNK_BYTES, (size_t)PF_CHUNK_BYTES));
}

static void send_chunk(struct world *self, const struct pf_coordinator_action *action,
                       const struct pf_run_id *run_id)
{
    size_t offset = (size_t)action->chunk * PF_CHUNK_BYTES;
    const struct pf_message message = {
        .kind = PF_MESSAGE_MODEL_CHUNK,
        .run_id = *run_id,
        .chunk = {.model_hash = pf_hash_bytes(self->model.bytes, self->model.length),
                  .chunk = action->chunk,
                  .n_chunks = (uint32_t)((self->model.length - 1) / PF_CHUNK_BYTES + 1),
                  .bytes = self->model.bytes + offset,
                  .length = PF_MIN(self->model.length - offset, (size_t)PF_CHUNK_BYTES)}};
    transmit(self, TO_PLAYER, action->members[0], &message);
}

/* The sum is that of its members' updates for this round, each once. */
static void check_sum(struct world *self, uint32_t round, const struct pf_sum *sum)
{
    uint64_t set = (uint64_t)pf_sum_weight(sum);
    CHECK(self, round < WORLD_MAX_ROUNDS && self->set_of_round[round] == 0,
          "round %u is applied twice", round);
    CHECK(self, (double)set == pf_sum_weight(sum) && set >> self->n_players == 0 && set != 0,
          "round %u: a sum of weight %g", round, pf_sum_weight(sum));
    CHECK(self, (size_t)__builtin_popcountll(set) == pf_sum_count(sum),
          "round %u: %zu updates of weight %llx: one is counted twice", round, pf_sum_count(sum),
          (unsigned long long)set);
    if (self->complaint[0] != '\0') return;
    self->set_of_round[round] = set;

    PF_CLEANUP(pf_sum_destroyp) struct pf_sum *expected = NULL;
    PF_CLEANUP(pf_freep) float *means = PF_ALLOC(2 * self->n_parameters, float);
    if (means == NULL ||
        pf_sum_create(PF_AGGREGATION_PLAIN, self->n_parameters, &expected, NULL) != PF_OK)
        abort();
    for (size_t i = self->n_players; i-- > 0;) {
        PF_CLEANUP(pf_update_finish) struct pf_update update = {0};
        PF_CLEANUP(pf_buffer_finish) struct pf_buffer bytes = {0};
        if ((set >> i & 1) == 0) continue;
        make_update(self, i, round, &update);
        if (pf_update_encode(PF_AGGREGATION_PLAIN, update.values, update.n,
                             (double)update.figures[PF_FIGURE_EXAMPLES], &bytes, NULL) != PF_OK ||
            pf_sum_add(expected, bytes.bytes, bytes.length, NULL) != PF_OK)
            abort();
    }
    if (pf_sum_mean(sum, means, NULL) != PF_OK ||
        pf_sum_mean(expected, means + self->n_parameters, NULL) != PF_OK)
        abort();
    CHECK(self, memcmp(means, means + self->n_parameters, self->n_parameters * sizeof *means) == 0,
          "round %u: the sum is not that of updates %llx", round, (unsigned long long)set);
    struct pf_hash hash = pf_hash_bytes(means, self->n_parameters * sizeof *means);
    for (size_t i = 0; i < 8; i++)
        self->outcome.fingerprint = self->outcome.fingerprint * 257 + hash.bytes[i];
}

static void note_round(struct world *self, const struct pf_round_record *record)
{
    uint64_t set = record->round < WORLD_MAX_ROUNDS ? self->set_of_round[record->round] : 0;
    if (!record->completed) {
        self->outcome.rounds_abandoned++;
        return;
    }
    self->outcome.rounds_completed++;
    self->outcome.updates_counted += record->included;
    CHECK(self,
          self->weather->damaged > 0 || record->included == (uint32_t)__builtin_popcountll(set),
          "round %u is said to include %u updates, the sum has %llx", record->round,
          record->included, (unsigned long long)set);
}

static void start_job(struct world *self, uint32_t round)
{
    event_queue_push(&self->events, (struct event){.at = self->now + between(self, 20, 3000),
                                                   .kind = JOB_ENDED,
                                                   .round = round});
}

static void drain_coordinator(struct world *self)
{
    static const struct pf_run_id run_id = {{42}};
    struct pf_coordinator_action action;
    while (pf_coordinator_session_next_action(self->coordinator, &action)) {
        switch (action.kind) {
        case PF_ACTION_SEND:
            for (size_t i = 0; i < action.n_members; i++)
                transmit(self, TO_PLAYER, action.members[i], &action.message);
            break;
        case PF_ACTION_SEND_CHUNK: send_chunk(self, &action, &run_id); break;
        case PF_ACTION_COMBINE: start_job(self, 0); break;
        case PF_ACTION_APPLY:
            if (self->weather->damaged <= 0) check_sum(self, action.number, action.sum);
            start_job(self, action.number);
            break;
        case PF_ACTION_STORE_ROUND: note_round(self, &action.record); break;
        case PF_ACTION_EVENT: break;
        case PF_ACTION_FINISH:
            self->ended = true;
            self->ended_at = self->now;
            self->outcome.success = action.success;
            CHECK(self, action.text[0] != '\0', "the run ends without a sentence");
            break;
        }
        pf_coordinator_action_finish(&action);
    }
}

static void on_job_ended(struct world *self, const struct event *event)
{
    struct pf_error err = {0};
    enum pf_status status;
    if (event->round > 0 && chance(self, self->weather->job_fails)) {
        status = pf_coordinator_session_job_failed(self->coordinator, self->now, PF_REFUSED,
                                                   "made-up failure", &err);
    } else {
        struct pf_served_model served;
        make_model(self, &served);
        status =
            pf_coordinator_session_job_done(self->coordinator, self->now, &served, 50.0, 1.0, &err);
        pf_served_model_finish(&served);
    }
    CHECK(self, status == PF_OK, "job: %s", err.text);
    drain_coordinator(self);
}

static void start_coordinator(struct world *self)
{
    struct pf_public_identity members[WORLD_MAX_PLAYERS] = {0};
    for (size_t i = 0; i < self->n_players; i++)
        snprintf(members[i].name, sizeof members[i].name, "player-%zu", i);
    struct pf_coordinator_session_config config = {
        .run_id = {{42}},
        .n_members = self->n_players,
        .members = members,
        .network = self->network,
        .aggregation = PF_AGGREGATION_PLAIN,
        .schedule = {.n_stages = 2},
        .order = {.batch = 8, .epochs = 1, .learning_rate = 0.1, .schedule_end = 1},
        .min_cohort = (uint32_t)between(self, 1, (uint32_t)self->n_players),
        .max_failed_rounds = 3,
        .join_timeout_ms = 60000,
        .gather_ms = 1000,
        .round_timeout_ms = 30000,
        .liveness_ms = 4000,
    };
    config.quorum = (uint32_t)between(self, 1, config.min_cohort);
    for (size_t s = 0; s < 2; s++)
        config.schedule.stages[s] = (struct pf_stage){
            .rounds = WORLD_ROUNDS / 2, .combine = {.alpha = {2}}, .schedule_end = 1};
    struct pf_error err = {0};
    CHECK(self,
          pf_coordinator_session_create(&config, self->now, &self->coordinator, &err) == PF_OK,
          "no coordinator: %s", err.text);
}

/* ---- the course of time --------------------------------------------------------------------- */

static void on_frame(struct world *self, const struct event *event)
{
    struct pf_message message = {0};
    struct pf_error err = {0};
    struct pf_participant_session *player = self->players[event->player].session;
    bool readable =
        pf_message_decode(event->frame.bytes, event->frame.length, &message, &err) == PF_OK;
    CHECK(self, readable || self->weather->damaged > 0, "cannot be decoded: %s", err.text);
    if (event->kind == TO_PLAYER) {
        if (player != NULL && readable)
            pf_participant_session_receive(player, &message, self->now);
        else if (player != NULL)
            pf_participant_session_malformed(player);
        if (player != NULL) drain_player(self, event->player);
    } else if (!(self->ended && self->weather->coordinator_leaves &&
                 self->now > self->ended_at + 2000)) {
        if (readable)
            CHECK(self,
                  pf_coordinator_session_receive(self->coordinator, event->player, &message,
                                                 self->now, &err) == PF_OK,
                  "coordinator: %s", err.text);
        else
            pf_coordinator_session_malformed(self->coordinator, event->player);
        drain_coordinator(self);
    }
    pf_message_finish(&message);
}

static void on_event(struct world *self, struct event *event)
{
    switch (event->kind) {
    case TO_COORDINATOR:
    case TO_PLAYER: on_frame(self, event); break;
    case TRAINED: on_trained(self, event); break;
    case JOB_ENDED: on_job_ended(self, event); break;
    case KILL: on_kill(self, event->player); break;
    case RESTART: start_player(self, event->player); break;
    }
    pf_buffer_finish(&event->frame);
}

static void tick_all(struct world *self)
{
    struct pf_error err = {0};
    if (pf_coordinator_session_wake_ms(self->coordinator) <= self->now) {
        CHECK(self, pf_coordinator_session_tick(self->coordinator, self->now, &err) == PF_OK,
              "coordinator: %s", err.text);
        drain_coordinator(self);
        CHECK(self, pf_coordinator_session_wake_ms(self->coordinator) > self->now,
              "the coordinator wants to be woken without end");
    }
    for (size_t i = 0; i < self->n_players; i++) {
        struct pf_participant_session *session = self->players[i].session;
        if (session == NULL || pf_participant_session_wake_ms(session) > self->now) continue;
        pf_participant_session_tick(session, self->now);
        drain_player(self, i);
        CHECK(self, pf_participant_session_wake_ms(session) > self->now,
              "player %zu wants to be woken without end", i);
    }
}

static int64_t next_moment(const struct world *self)
{
    int64_t next = pf_coordinator_session_wake_ms(self->coordinator);
    next = PF_MIN(next, event_queue_next_at(&self->events));
    for (size_t i = 0; i < self->n_players; i++)
        if (self->players[i].session != NULL)
            next = PF_MIN(next, pf_participant_session_wake_ms(self->players[i].session));
    return PF_MAX(next, self->now);
}

static bool all_over(const struct world *self)
{
    struct pf_participant_view view;
    for (size_t i = 0; i < self->n_players; i++) {
        const struct player *player = &self->players[i];
        if (player->gone) continue;
        if (player->session == NULL || !player_over(player, &view)) return false;
    }
    return self->ended;
}

static void run(struct world *self)
{
    for (size_t step = 0; !all_over(self) && self->complaint[0] == '\0'; step++) {
        self->now = next_moment(self);
        CHECK(self, self->now < WORLD_LIMIT_MS, "no end after %lld virtual ms",
              (long long)self->now);
        CHECK(self, step < MAX_STEPS, "no end after %zu steps", step);
        if (event_queue_next_at(&self->events) <= self->now) {
            struct event event = event_queue_pop(&self->events);
            on_event(self, &event);
        }
        tick_all(self);
    }
}

static void conclude(struct world *self)
{
    for (size_t i = 0; i < self->n_players; i++) {
        struct player *player = &self->players[i];
        for (uint32_t r = 0; r < WORLD_MAX_ROUNDS && self->weather->damaged <= 0; r++)
            CHECK(self,
                  !player->delivered[r] || self->set_of_round[r] == 0 ||
                      (self->set_of_round[r] >> i & 1) == 1,
                  "player %zu has a receipt for round %u, whose sum is without it", i, r);
        if (player->session == NULL) continue;
        struct pf_participant_view view;
        if (!player_over(player, &view)) continue;
        CHECK(self, view.sentence[0] != '\0', "player %zu ends without a sentence", i);
        self->outcome.players_done += view.phase == PF_PARTICIPANT_DONE;
        self->outcome.players_failed += view.phase == PF_PARTICIPANT_FAILED;
        end_player(self, i);
    }
    const struct pf_coordinator_counters *counters =
        pf_coordinator_session_counters(self->coordinator);
    count_refused(self, counters->refused, counters->malformed + counters->unexpected);
    CHECK(self, !self->outcome.success || self->outcome.rounds_completed == WORLD_ROUNDS,
          "success after %u rounds of %u", self->outcome.rounds_completed, WORLD_ROUNDS);
    self->outcome.n_players = (uint32_t)self->n_players;
    self->outcome.duration_ms = self->now;
}

static void set_up(struct world *self)
{
    pf_random_init(&self->random, self->seed, "world", 0);
    self->network = (struct pf_network){.block_kind = PF_LAYER_SHIFT,
                                        .n_blocks = 1,
                                        .filters = {self->weather->large_model ? 300 : 4},
                                        .layers = {1},
                                        .strides = {1},
                                        .in_channels = 1,
                                        .in_height = 4,
                                        .in_width = 4,
                                        .n_classes = 2};
    self->n_players = (size_t)between(self, 2, WORLD_MAX_PLAYERS);
    start_coordinator(self);
    for (size_t i = 0; i < self->n_players; i++) {
        start_player(self, i);
        double expected = 2.0 * self->weather->kills_per_minute;
        for (size_t k = 0; k < 8; k++)
            if (chance(self, expected / 8.0))
                event_queue_push(
                    &self->events,
                    (struct event){.at = between(self, 100, 120000), .kind = KILL, .player = i});
    }
}

const char *world_run(uint64_t seed, const struct weather *weather, struct world_outcome *outcome)
{
    static char complaint[768];
    struct world *self = PF_ALLOC(1, struct world);
    if (self == NULL) return "no memory";
    self->seed = seed;
    self->weather = weather;
    set_up(self);
    if (self->complaint[0] == '\0') run(self);
    conclude(self);
    *outcome = self->outcome;
    memcpy(complaint, self->complaint, sizeof complaint);
    event_queue_finish(&self->events);
    for (size_t i = 0; i < self->n_players; i++)
        pf_participant_session_destroy(self->players[i].session);
    pf_coordinator_session_destroy(self->coordinator);
    pf_buffer_finish(&self->model);
    pf_free(self);
    return complaint[0] != '\0' ? complaint : NULL;
}
