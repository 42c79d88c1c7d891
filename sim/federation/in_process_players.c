/* The participants: their sessions, when they wake, vanish and come back, and what they record. */
#include <sodium.h>
#include <stdio.h>
#include <string.h>

#include "sim/federation/in_process_parts.h"

#define RESTART_MS 20000
#define KILLS_UNTIL_MS 120000
#define MOST_KILLS 8u
#define DROPPED 0x80u /* beside the step: it has vanished there already */

/* ---- life ------------------------------------------------------------------------------------ */

static void plan_wake(struct pf_in_process *self, size_t index)
{
    struct pf_player *player = &self->players[index];
    if (player->session == NULL) return;
    int64_t wake = PF_MAX(pf_participant_session_wake_ms(player->session), self->now);
    if (wake >= player->wake_at) return;
    player->wake_at = wake;
    pf_ip_push(self,
               (struct pf_event){.at = wake, .kind = PF_EVENT_WAKE, .player = (uint32_t)index});
}

static void start_player(struct pf_in_process *self, size_t index)
{
    struct pf_player *player = &self->players[index];
    struct pf_participant_session_config config = self->config->participant;
    config.roster = self->roster;
    config.self = (uint32_t)index;
    config.sign_secret = player->sign_secret;
    config.pool = self->pool != NULL && pf_pool_n_threads(self->pool) > 1 ? self->pool : NULL;
    config.rounding_seed = pf_ip_rounding_seed(self, index);
    if (pf_participant_session_create(&config, self->now, &player->session, pf_ip_error(self)) !=
        PF_OK)
        return;
    player->life++;
    player->has_teacher = false;
    plan_wake(self, index);
}

static bool session_over(const struct pf_participant_session *session,
                         struct pf_participant_view *view)
{
    pf_participant_session_view(session, view);
    return view->phase == PF_PARTICIPANT_DONE || view->phase == PF_PARTICIPANT_FAILED;
}

static void end_player(struct pf_in_process *self, struct pf_player *player)
{
    const struct pf_participant_counters *counters =
        pf_participant_session_counters(player->session);
    struct pf_participant_counters *total = &self->result->participants;
    for (size_t i = 0; i < PF_REASON_N; i++) total->refused[i] += counters->refused[i];
    total->malformed += counters->malformed;
    total->unexpected += counters->unexpected;
    total->repeated += counters->repeated;
    total->stale += counters->stale;
    pf_participant_session_destroy(player->session);
    player->session = NULL;
}

static void vanish(struct pf_in_process *self, size_t index)
{
    struct pf_player *player = &self->players[index];
    end_player(self, player);
    if (!self->config->faults.ledger) player->remembers = false;
    if (pf_ip_chance(self, self->config->faults.killed_for_good))
        player->gone = true;
    else
        pf_ip_push(self, (struct pf_event){.at = self->now + pf_ip_between(self, 0, RESTART_MS),
                                           .kind = PF_EVENT_RESTART,
                                           .player = (uint32_t)index});
}

static void on_kill(struct pf_in_process *self, size_t index)
{
    struct pf_participant_view view;
    struct pf_player *player = &self->players[index];
    if (player->session != NULL && !session_over(player->session, &view)) vanish(self, index);
}

/* ---- dropouts -------------------------------------------------------------------------------- */

static enum pf_in_process_step draw_step(struct pf_in_process *self, struct pf_random *random)
{
    static const enum pf_in_process_step anywhere[] = {PF_IN_PROCESS_ADVERTISE, PF_IN_PROCESS_SHARE,
                                                       PF_IN_PROCESS_MASK, PF_IN_PROCESS_CONSENT,
                                                       PF_IN_PROCESS_UNMASK};
    enum pf_in_process_step step = self->config->faults.drop_at;
    if (self->config->coordinator.aggregation == PF_AGGREGATION_PLAIN) return PF_IN_PROCESS_MASK;
    return step == PF_IN_PROCESS_ANYWHERE
               ? anywhere[pf_random_below(random, PF_ARRAY_LENGTH(anywhere))]
               : step;
}

/* Who vanishes in this round, and before which message. */
static void plan_dropouts(struct pf_in_process *self, uint32_t round)
{
    struct pf_random random;
    size_t n = self->n_players;
    PF_CLEANUP(pf_freep) uint32_t *order = PF_ALLOC(n, uint32_t);
    self->drop_round = round;
    memset(self->drops, PF_IN_PROCESS_N_STEPS, n);
    if (order == NULL) {
        (void)pf_no_memory(pf_ip_error(self), "dropouts");
        return;
    }
    for (size_t i = 0; i < n; i++) order[i] = (uint32_t)i;
    pf_random_init(&random, self->config->seed, "dropouts", round);
    pf_random_shuffle(&random, order, n);
    size_t n_drops = (size_t)(self->config->faults.dropouts * (double)n + 1e-9);
    for (size_t i = 0; i < n_drops; i++) self->drops[order[i]] = (uint8_t)draw_step(self, &random);
}

static uint32_t round_of(const struct pf_message *message)
{
    switch (message->kind) {
    case PF_MESSAGE_ADVERTISE: return message->advertise.round;
    case PF_MESSAGE_REVEAL: return message->reveal.round;
    case PF_MESSAGE_SHARES: return message->shares.round;
    case PF_MESSAGE_UPDATE_CHUNK: return message->chunk.round;
    case PF_MESSAGE_CONSENT: return message->consent.round;
    case PF_MESSAGE_UNMASK: return message->unmask.round;
    default: return 0;
    }
}

/* Whether its owner is to vanish instead of sending this. */
static bool drops_out(struct pf_in_process *self, size_t index, const struct pf_message *message)
{
    uint32_t round = round_of(message);
    if (self->config->faults.dropouts <= 0 || round == 0) return false;
    if (round > self->drop_round) plan_dropouts(self, round);
    enum pf_in_process_step step = pf_ip_step_of(message->kind);
    if (round != self->drop_round || (self->drops[index] & ~DROPPED) != (unsigned)step)
        return false;
    /* It may come back, try again, and vanish again. */
    if ((self->drops[index] & DROPPED) == 0) self->result->steps[step].dropouts++;
    self->drops[index] |= DROPPED;
    return true;
}

/* ---- what they record ------------------------------------------------------------------------ */

static void note_record(struct pf_in_process *self, size_t index,
                        const struct pf_participation *record)
{
    struct pf_player *player = &self->players[index];
    struct pf_participation *newest = &player->newest;
    bool same = newest->round == record->round;
    PF_IP_CHECK(self, record->round > 0, "player %zu records round 0", index);
    player->known = *record;
    player->remembers = true;
    if (record->round < newest->round) return;
    /* Without damage on the line a round has one model and one survivor set, whatever restarts. */
    if (same && self->config->faults.damaged <= 0) {
        PF_IP_CHECK(self, pf_hash_equal(&newest->model_hash, &record->model_hash),
                    "player %zu joined round %u with two models", index, record->round);
        PF_IP_CHECK(self,
                    !newest->consented || !record->consented ||
                        pf_digest_equal(&newest->survivors, &record->survivors),
                    "player %zu consented to two survivor sets in round %u", index, record->round);
    }
    struct pf_participation before = *newest;
    *newest = *record;
    if (same && before.consented) {
        newest->consented = true;
        newest->survivors = before.survivors;
    }
}

static void note_receipt(struct pf_in_process *self, size_t index, uint32_t round)
{
    struct pf_player *player = &self->players[index];
    if (self->config->faults.damaged > 0) return;
    player->receipt_round = PF_MAX(player->receipt_round, round);
    if (round < self->n_rounds_known && self->completed[round])
        PF_IP_CHECK(self, pf_ip_in_sum(self, round, index),
                    "player %zu has a receipt for round %u, whose sum is without it", index, round);
}

/* A teacher is asked for until it is held, and then never again. */
static void note_request(struct pf_in_process *self, size_t index, const struct pf_message *message)
{
    if (message->kind != PF_MESSAGE_MODEL_REQUEST || self->teacher_model == NULL) return;
    if (self->config->faults.damaged > 0) return; /* it may have taken the run for another */
    PF_IP_CHECK(self,
                !self->players[index].has_teacher ||
                    !pf_hash_equal(&message->request.model_hash, &self->teacher.named.hash),
                "player %zu asks for the teacher that it has", index);
}

static void note_teacher(struct pf_in_process *self, size_t index, const struct pf_model *teacher)
{
    const struct pf_model *expected = self->teacher_model;
    self->players[index].has_teacher = teacher != NULL;
    if (self->config->faults.damaged > 0) return; /* an order may have come without */
    PF_IP_CHECK(self,
                (teacher != NULL) == (expected != NULL) &&
                    (teacher == NULL || memcmp(teacher->parameters, expected->parameters,
                                               expected->n_parameters * sizeof(float)) == 0),
                "player %zu trains with another teacher than the run's", index);
}

/* ---- actions --------------------------------------------------------------------------------- */

static void start_training(struct pf_in_process *self, size_t index,
                           const struct pf_participant_action *action)
{
    const struct pf_in_process_config *config = self->config;
    pf_ip_push(self,
               (struct pf_event){.at = self->now + pf_ip_between(self, config->training_min_ms,
                                                                 config->training_max_ms),
                                 .kind = PF_EVENT_TRAINED,
                                 .player = (uint32_t)index,
                                 .life = self->players[index].life,
                                 .job = action->train.job,
                                 .round = action->train.round});
}

static void drain_player(struct pf_in_process *self, size_t index)
{
    struct pf_player *player = &self->players[index];
    struct pf_participant_action action;
    bool trains = false;
    while (pf_participant_session_next_action(player->session, &action)) {
        switch (action.kind) {
        case PF_PARTICIPANT_SEND:
            if (drops_out(self, index, &action.message)) {
                vanish(self, index);
                return;
            }
            note_request(self, index, &action.message);
            pf_ip_send_up(self, index, &action.message);
            break;
        case PF_PARTICIPANT_RECALL:
            if (player->remembers) pf_participant_session_recall(player->session, &player->known);
            break;
        case PF_PARTICIPANT_RECORD: note_record(self, index, &action.record); break;
        case PF_PARTICIPANT_TRAIN:
            note_teacher(self, index, action.train.teacher);
            start_training(self, index, &action);
            trains = true;
            break;
        case PF_PARTICIPANT_CANCEL: /* the result comes nevertheless, and must be ignored */
        case PF_PARTICIPANT_RESULT: break;
        }
    }
    /* Lets go of the model now, where it may: thousands train at the same time. */
    if (trains) {
        pf_participant_session_tick(player->session, self->now);
        drain_player(self, index);
        return;
    }
    plan_wake(self, index);
}

/* ---- events ---------------------------------------------------------------------------------- */

static void on_wake(struct pf_in_process *self, size_t index, int64_t at)
{
    struct pf_player *player = &self->players[index];
    if (at != player->wake_at) return; /* it was woken earlier */
    player->wake_at = INT64_MAX;
    if (player->session == NULL) return;
    if (pf_participant_session_wake_ms(player->session) <= self->now) {
        pf_participant_session_tick(player->session, self->now);
        drain_player(self, index);
        PF_IP_CHECK(self,
                    player->session == NULL ||
                        pf_participant_session_wake_ms(player->session) > self->now,
                    "player %zu wants to be woken without end", index);
    }
    plan_wake(self, index);
}

static void on_trained(struct pf_in_process *self, const struct pf_event *event)
{
    struct pf_player *player = &self->players[event->player];
    if (player->session == NULL || player->life != event->life) return;
    struct pf_update update = {0};
    if (pf_ip_chance(self, self->config->faults.training_fails)) {
        pf_participant_session_training_failed(player->session, event->job, "made-up failure",
                                               self->now);
    } else {
        update.values = PF_ALLOC(self->n_parameters, float);
        update.n = self->n_parameters;
        if (update.values == NULL) {
            (void)pf_no_memory(pf_ip_error(self), "an update");
            return;
        }
        pf_ip_make_update(self, event->player, event->round, update.values, update.figures);
        pf_participant_session_trained(player->session, event->job, &update, self->now);
    }
    drain_player(self, event->player);
}

static void on_message(struct pf_in_process *self, size_t index, const struct pf_message *message)
{
    struct pf_player *player = &self->players[index];
    if (player->session == NULL) return;
    if (message == NULL) {
        pf_participant_session_malformed(player->session);
    } else {
        if (message->kind == PF_MESSAGE_UPDATE_RECEIPT)
            note_receipt(self, index, message->receipt.round);
        pf_participant_session_receive(player->session, message, self->now);
    }
    drain_player(self, index);
}

void pf_ip_player_event(struct pf_in_process *self, const struct pf_event *event,
                        const struct pf_message *message)
{
    switch (event->kind) {
    case PF_EVENT_TO_PLAYER: on_message(self, event->player, message); break;
    case PF_EVENT_WAKE: on_wake(self, event->player, event->at); break;
    case PF_EVENT_TRAINED: on_trained(self, event); break;
    case PF_EVENT_KILL: on_kill(self, event->player); break;
    case PF_EVENT_RESTART: start_player(self, event->player); break;
    case PF_EVENT_TO_COORDINATOR:
    case PF_EVENT_JOB_ENDED: break;
    }
}

/* ---- beginning and end ----------------------------------------------------------------------- */

/* Identities follow from the seed, since the roster's hash enters the rotation of updates.  They
 * protect nothing here; the keys of a round are drawn as always. */
static void make_identity(const struct pf_in_process *self, const char *name, size_t index,
                          struct pf_public_identity *public, uint8_t sign_secret[64])
{
    struct pf_random random;
    uint8_t seeds[2][32], transport_secret[32];
    pf_random_init(&random, self->config->seed, "simulated identities", index);
    for (size_t i = 0; i < sizeof seeds; i++)
        seeds[i / 32][i % 32] = (uint8_t)pf_random_u32(&random);
    *public = (struct pf_public_identity){0};
    snprintf(public->name, sizeof public->name, "%s", name);
    crypto_sign_seed_keypair(public->sign, sign_secret, seeds[0]);
    crypto_box_seed_keypair(public->transport, transport_secret, seeds[1]);
}

static enum pf_status make_roster(struct pf_in_process *self, struct pf_error *err)
{
    size_t n = self->n_players;
    PF_CLEANUP(pf_freep)
    struct pf_public_identity *public = PF_ALLOC(n, struct pf_public_identity);
    if (public == NULL) return pf_no_memory(err, "the participants' keys");
    for (size_t i = 0; i < n; i++) {
        char name[PF_MAX_NAME_BYTES];
        snprintf(name, sizeof name, "p%05zu", i + 1); /* the roster sorts by name */
        make_identity(self, name, i, &public[i], self -> players[i].sign_secret);
    }
    struct pf_public_identity coordinator;
    uint8_t coordinator_secret[64];
    make_identity(self, "coordinator", n, &coordinator, coordinator_secret);
    return pf_roster_create("in-process", 1, &coordinator, public, n, &self->roster, err);
}

static void plan_kills(struct pf_in_process *self, size_t index)
{
    double expected = KILLS_UNTIL_MS / 60000.0 * self->config->faults.kills_per_minute;
    for (size_t k = 0; k < MOST_KILLS; k++)
        if (pf_ip_chance(self, expected / MOST_KILLS))
            pf_ip_push(self, (struct pf_event){.at = pf_ip_between(self, 100, KILLS_UNTIL_MS),
                                               .kind = PF_EVENT_KILL,
                                               .player = (uint32_t)index});
}

enum pf_status pf_ip_create_players(struct pf_in_process *self, struct pf_error *err)
{
    size_t n = self->config->n_participants;
    self->players = PF_ALLOC(n, struct pf_player);
    self->drops = PF_ALLOC(n, uint8_t);
    if (self->players == NULL || self->drops == NULL) return pf_no_memory(err, "participants");
    self->n_players = n;
    PF_TRY(make_roster(self, err));
    for (size_t i = 0; i < n && pf_ip_well(self); i++) {
        self->players[i].wake_at = INT64_MAX;
        start_player(self, i);
        plan_kills(self, i);
    }
    return PF_OK;
}

void pf_ip_destroy_players(struct pf_in_process *self)
{
    for (size_t i = 0; i < self->n_players; i++)
        pf_participant_session_destroy(self->players[i].session);
    if (self->players != NULL)
        sodium_memzero(self->players, self->n_players * sizeof *self->players);
    pf_free(self->players);
    pf_free(self->drops);
    pf_roster_destroy(self->roster);
}

static bool player_over(const struct pf_player *player)
{
    struct pf_participant_view view;
    return player->gone || (player->session != NULL && session_over(player->session, &view));
}

bool pf_ip_players_over(struct pf_in_process *self)
{
    /* Who is over stays so, and need not be looked at again. */
    while (self->n_over < self->n_players && player_over(&self->players[self->n_over]))
        self->n_over++;
    return self->n_over == self->n_players;
}

void pf_ip_conclude_players(struct pf_in_process *self)
{
    struct pf_in_process_result *result = self->result;
    for (size_t i = 0; i < self->n_players; i++) {
        struct pf_player *player = &self->players[i];
        result->up_mean += (double)player->up / (double)self->n_players;
        result->down_mean += (double)player->down / (double)self->n_players;
        result->up_max = PF_MAX(result->up_max, (double)player->up);
        result->down_max = PF_MAX(result->down_max, (double)player->down);
        if (player->session == NULL) continue;
        struct pf_participant_view view;
        if (session_over(player->session, &view))
            PF_IP_CHECK(self, view.sentence[0] != '\0', "player %zu ends without a sentence", i);
        result->participants_done += view.phase == PF_PARTICIPANT_DONE;
        result->participants_failed += view.phase == PF_PARTICIPANT_FAILED;
        end_player(self, player);
    }
}
