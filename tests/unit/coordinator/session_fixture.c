#include "session_fixture.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <setjmp.h>

#include <cmocka.h>

#include "common/base/memory.h"
#include "proto/model_file.h"

static const char *const names[N_MEMBERS] = {"alice", "bob", "carol", "dave"};

struct pf_coordinator_session_config fx_config(void)
{
    struct pf_coordinator_session_config config = {
        .run_id = {{7}},
        .n_members = N_MEMBERS,
        .network = {.block_kind = PF_LAYER_SHIFT,
                    .n_blocks = 1,
                    .filters = {4},
                    .layers = {1},
                    .strides = {1},
                    .in_channels = 1,
                    .in_height = 4,
                    .in_width = 4,
                    .n_classes = 2},
        .aggregation = PF_AGGREGATION_PLAIN,
        .schedule = {.n_stages = 2},
        .order = {.batch = 8, .epochs = 1, .learning_rate = 0.1, .schedule_end = 1},
        .min_cohort = 3,
        .quorum = 2,
        .max_failed_rounds = 2,
        .join_timeout_ms = JOIN_MS,
        .gather_ms = GATHER_MS,
        .round_timeout_ms = ROUND_MS,
        .liveness_ms = LIVENESS_MS,
        .upload_idle_ms = UPLOAD_IDLE_MS,
    };
    for (size_t s = 0; s < 2; s++)
        config.schedule.stages[s] =
            (struct pf_stage){.combine = {.alpha = {2}}, .rounds = 2, .schedule_end = 0.8};
    return config;
}

static void note_event(struct asked *asked, const char *text)
{
    size_t used = strlen(asked->events);
    snprintf(asked->events + used, sizeof asked->events - used, "%s\n", text);
    asked->n_events++;
}

static void note_message(struct fixture *self, size_t member, const struct pf_message *message)
{
    struct asked *asked = &self->asked;
    if (self->deliver != NULL) self->deliver(self->deliver_context, member, message);
    asked->sent[member][message->kind]++;
    switch (message->kind) {
    case PF_MESSAGE_REFUSAL: asked->refusal[member] = message->refusal; break;
    case PF_MESSAGE_ROUND_RESULT: asked->result[member] = message->result; break;
    case PF_MESSAGE_WELCOME: asked->welcome[member] = message->welcome; break;
    case PF_MESSAGE_ROUND_OFFER:
        asked->offer[member] = message->offer;
        asked->offer[member].chunk_hashes = asked->offer[member].teacher.chunk_hashes = NULL;
        break;
    default: break;
    }
}

static void note_action(struct fixture *self, struct pf_coordinator_action *action)
{
    struct asked *asked = &self->asked;
    /* Nothing comes after the end but answers to late messages. */
    if (asked->n_finish > 0) assert_int_equal(action->kind, PF_ACTION_SEND);
    switch (action->kind) {
    case PF_ACTION_SEND:
        for (size_t i = 0; i < action->n_members; i++)
            note_message(self, action->members[i], &action->message);
        break;
    case PF_ACTION_SEND_CHUNK:
        asked->n_chunks += !action->teacher;
        asked->n_teacher_chunks += action->teacher;
        break;
    case PF_ACTION_COMBINE:
        asked->n_combine++;
        asked->combine_stage = action->number;
        break;
    case PF_ACTION_APPLY:
        asked->n_apply++;
        asked->apply_round = action->number;
        pf_sum_destroy(asked->sum);
        asked->sum = action->sum;
        action->sum = NULL;
        pf_unmasking_destroy(asked->unmasking);
        asked->unmasking = action->unmasking;
        action->unmasking = NULL;
        asked->codec = action->codec;
        break;
    case PF_ACTION_STORE_ROUND:
        asked->n_rounds++;
        asked->record = action->record;
        break;
    case PF_ACTION_EVENT: note_event(asked, action->text); break;
    case PF_ACTION_FINISH:
        asked->n_finish++;
        asked->success = action->success;
        memcpy(asked->sentence, action->text, sizeof asked->sentence);
        break;
    }
}

static int64_t due_ms(const struct pf_deadlines *deadlines, size_t member)
{
    uint32_t place = deadlines->places[member];
    return place > 0 ? deadlines->heap[place - 1].at_ms : INT64_MAX;
}

struct member_counts {
    bool is[PF_CLASS_N];
    int64_t silence_ms, stall_ms, telling_ms;
};

static void note_counts(const struct pf_coordinator_session *session,
                        struct member_counts counts[N_MEMBERS])
{
    for (size_t i = 0; i < N_MEMBERS; i++) {
        memcpy(counts[i].is, session->members[i].is, sizeof counts[i].is);
        counts[i].silence_ms = due_ms(&session->silences, i);
        counts[i].stall_ms = due_ms(&session->stalls, i);
        counts[i].telling_ms = due_ms(&session->tellings, i);
    }
}

/* Whatever has changed was recounted: doing it again for all changes nothing. */
static void assert_counts_hold(struct pf_coordinator_session *session)
{
    struct member_counts kept[N_MEMBERS], anew[N_MEMBERS];
    uint32_t n_of[PF_CLASS_N] = {0};
    memset(kept, 0, sizeof kept);
    memset(anew, 0, sizeof anew);
    note_counts(session, kept);
    pf_cs_recount_all(session);
    note_counts(session, anew);
    assert_memory_equal(kept, anew, sizeof kept);
    for (size_t i = 0; i < N_MEMBERS; i++)
        for (size_t class = 0; class < PF_CLASS_N; class ++) n_of[class] += anew[i].is[class];
    assert_memory_equal(session->n_of, n_of, sizeof n_of);
}

static void drain(struct fixture *self)
{
    struct pf_coordinator_action action;
    assert_counts_hold(self->session);
    while (pf_coordinator_session_next_action(self->session, &action)) {
        note_action(self, &action);
        pf_coordinator_action_finish(&action);
    }
}

struct fixture *fx_create(const struct pf_coordinator_session_config *config)
{
    struct fixture *self = PF_ALLOC(1, struct fixture);
    assert_non_null(self);
    if (config->members != NULL) memcpy(self->members, config->members, sizeof self->members);
    for (size_t i = 0; i < N_MEMBERS; i++)
        snprintf(self->members[i].name, sizeof self->members[i].name, "%s", names[i]);
    self->config = *config;
    self->config.members = self->members;
    self->now = 1000;
    self->n_parameters = N_PARAMETERS;
    struct pf_error err;
    assert_int_equal(pf_coordinator_session_create(&self->config, self->now, &self->session, &err),
                     PF_OK);
    return self;
}

void fx_destroy(struct fixture *self)
{
    pf_coordinator_session_destroy(self->session);
    pf_sum_destroy(self->asked.sum);
    pf_unmasking_destroy(self->asked.unmasking);
    pf_free(self);
}

void fx_receive(struct fixture *self, size_t member, const struct pf_message *message)
{
    struct pf_error err;
    assert_int_equal(
        pf_coordinator_session_receive(self->session, member, message, self->now, &err), PF_OK);
    drain(self);
}

void fx_tick(struct fixture *self, int64_t ms_later)
{
    struct pf_error err;
    self->now += ms_later;
    assert_int_equal(pf_coordinator_session_tick(self->session, self->now, &err), PF_OK);
    drain(self);
}

void fx_hello_again(struct fixture *self, size_t member, bool returning)
{
    struct pf_message message = {.kind = PF_MESSAGE_HELLO,
                                 .hello = {.version = PF_PROTOCOL_VERSION, .returning = returning}};
    if (returning) message.hello.run_id = self->config.run_id;
    fx_receive(self, member, &message);
}

void fx_hello(struct fixture *self, size_t member)
{
    fx_hello_again(self, member, false);
}

void fx_alive(struct fixture *self, size_t member, uint32_t round)
{
    struct pf_message message = {.kind = PF_MESSAGE_ALIVE,
                                 .run_id = self->config.run_id,
                                 .alive = {.round = round, .training = round > 0}};
    fx_receive(self, member, &message);
}

void fx_request(struct fixture *self, size_t member, uint32_t chunk)
{
    struct pf_message message = {.kind = PF_MESSAGE_MODEL_REQUEST,
                                 .run_id = self->config.run_id,
                                 .request = {.model_hash = self->model_hash, .chunk = chunk}};
    fx_receive(self, member, &message);
}

void fx_decline(struct fixture *self, size_t member, uint32_t round, const char *text)
{
    struct pf_message message = {.kind = PF_MESSAGE_DECLINE,
                                 .run_id = self->config.run_id,
                                 .refusal = {.reason = PF_REASON_POLICY, .round = round}};
    snprintf(message.refusal.text, sizeof message.refusal.text, "%s", text);
    fx_receive(self, member, &message);
}

static struct pf_buffer encode_update(size_t n, float value)
{
    struct pf_buffer bytes = {0};
    float *delta = PF_ALLOC(n, float);
    assert_non_null(delta);
    for (size_t i = 0; i < n; i++) delta[i] = value;
    assert_int_equal(pf_update_encode(PF_AGGREGATION_PLAIN, delta, n, 1.0, &bytes, NULL), PF_OK);
    pf_free(delta);
    return bytes;
}

struct pf_message fx_chunk_message(const struct fixture *self, uint32_t round, uint32_t chunk,
                                   float value)
{
    struct pf_buffer update = encode_update(self->n_parameters, value);
    size_t begin = (size_t)chunk * PF_CHUNK_BYTES;
    assert_true(begin < update.length);
    struct pf_message message = {
        .kind = PF_MESSAGE_UPDATE_CHUNK,
        .run_id = self->config.run_id,
        .chunk = {.round = round,
                  .model_hash = self->model_hash,
                  .chunk = chunk,
                  .n_chunks = (uint32_t)((update.length + PF_CHUNK_BYTES - 1) / PF_CHUNK_BYTES),
                  .length = PF_MIN(update.length - begin, (size_t)PF_CHUNK_BYTES)},
    };
    message.chunk.bytes = PF_ALLOC(message.chunk.length, uint8_t);
    assert_non_null(message.chunk.bytes);
    memcpy(message.chunk.bytes, update.bytes + begin, message.chunk.length);
    pf_buffer_finish(&update);
    return message;
}

void fx_chunk(struct fixture *self, size_t member, uint32_t round, uint32_t chunk, float value)
{
    struct pf_message message = fx_chunk_message(self, round, chunk, value);
    fx_receive(self, member, &message);
    pf_message_finish(&message);
}

void fx_update(struct fixture *self, size_t member, uint32_t round, float value)
{
    for (uint32_t k = 0; k < N_UPDATE_CHUNKS; k++) fx_chunk(self, member, round, k, value);
}

void fx_job_done(struct fixture *self, double accuracy_percent)
{
    struct pf_served_model model = {.n_bytes = (uint64_t)PF_CHUNK_BYTES + 10,
                                    .n_chunks = N_MODEL_CHUNKS,
                                    .n_parameters = self->n_parameters,
                                    .n_trained = self->n_parameters - self->n_statistics};
    self->model_hash.bytes[0]++;
    model.hash = self->model_hash;
    model.chunk_hashes = PF_ALLOC(N_MODEL_CHUNKS, struct pf_hash);
    assert_non_null(model.chunk_hashes);
    struct pf_error err;
    assert_int_equal(pf_coordinator_session_job_done(self->session, self->now, &model,
                                                     accuracy_percent, 0.5, &err),
                     PF_OK);
    assert_null(model.chunk_hashes);
    drain(self);
}

void fx_job_failed(struct fixture *self, enum pf_status status, const char *sentence)
{
    struct pf_error err;
    assert_int_equal(
        pf_coordinator_session_job_failed(self->session, self->now, status, sentence, &err), PF_OK);
    drain(self);
}

void fx_start(struct fixture *self)
{
    for (size_t i = 0; i < N_MEMBERS; i++) fx_hello(self, i);
    assert_int_equal(self->session->phase, PF_COORDINATOR_COMBINING);
    fx_job_done(self, 50);
    assert_int_equal(self->session->phase, self->config.aggregation == PF_AGGREGATION_SECURE
                                               ? PF_COORDINATOR_ADVERTISING
                                               : PF_COORDINATOR_COLLECTING);
}

int64_t fx_run_silent(struct fixture *self, int64_t limit_ms)
{
    int64_t begin = self->now;
    while (!pf_cs_ended(self->session) && self->now - begin < limit_ms) {
        enum pf_coordinator_phase phase = self->session->phase;
        if (phase == PF_COORDINATOR_COMBINING || phase == PF_COORDINATOR_APPLYING) {
            fx_job_done(self, 50);
            continue;
        }
        int64_t wake = pf_coordinator_session_wake_ms(self->session);
        assert_true(wake < INT64_MAX);
        fx_tick(self, PF_MAX(wake - self->now, 1));
    }
    return self->now - begin;
}

struct pf_hash fx_digest(const struct fixture *self)
{
    struct pf_buffer bytes = {0};
    struct pf_coordinator_session copy;
    memcpy(&copy, self->session, sizeof copy);
    memset(&copy.counters, 0, sizeof copy.counters);
    copy.actions = NULL;
    copy.n_actions = copy.drained = copy.capacity = 0;
    double weight = copy.sum != NULL ? pf_sum_weight(copy.sum) : 0;
    assert_int_equal(pf_buffer_append(&bytes, &copy, sizeof copy, NULL), PF_OK);
    assert_int_equal(pf_buffer_append(&bytes, &weight, sizeof weight, NULL), PF_OK);
    for (size_t i = 0; i < N_MEMBERS; i++) {
        const struct pf_member *member = &self->session->members[i];
        assert_int_equal(pf_buffer_append(&bytes, member, sizeof *member, NULL), PF_OK);
        if (member->update == NULL) continue;
        assert_int_equal(pf_buffer_append(&bytes, member->update, copy.update_bytes, NULL), PF_OK);
        assert_int_equal(pf_buffer_append(&bytes, member->received, copy.n_update_chunks, NULL),
                         PF_OK);
    }
    struct pf_hash hash = pf_hash_bytes(bytes.bytes, bytes.length);
    pf_buffer_finish(&bytes);
    return hash;
}

uint64_t fx_refused(const struct fixture *self, enum pf_reason reason)
{
    return pf_coordinator_session_counters(self->session)->refused[reason];
}

void fx_assert_refused(struct fixture *fx, size_t member, const struct pf_message *message,
                       enum pf_reason reason)
{
    struct pf_hash before = fx_digest(fx);
    uint64_t counted = fx_refused(fx, reason);
    size_t sent = fx->asked.sent[member][PF_MESSAGE_REFUSAL];
    fx->now += 7; /* not even the time of the last sign of life may move */
    fx_receive(fx, member, message);
    assert_int_equal(fx->asked.sent[member][PF_MESSAGE_REFUSAL], sent + 1);
    assert_int_equal(fx->asked.refusal[member].reason, reason);
    assert_true(strlen(fx->asked.refusal[member].text) > 0);
    assert_int_equal(fx_refused(fx, reason), counted + 1);
    struct pf_hash after = fx_digest(fx);
    assert_memory_equal(&before, &after, sizeof before);
}
