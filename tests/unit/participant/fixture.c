#include "fixture.h"

#include <stdarg.h>
#include <stddef.h>

#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "common/base/memory.h"

static const struct pf_network network = {
    .block_kind = PF_LAYER_SHIFT,
    .n_blocks = 1,
    .filters = {512}, /* 512 · 512 weights: five chunks */
    .layers = {1},
    .strides = {1},
    .in_channels = 1,
    .in_height = 4,
    .in_width = 4,
    .n_classes = 3,
};

void serve_bytes(struct served *self, const void *bytes, size_t length)
{
    pf_buffer_reset(&self->bytes);
    assert_int_equal(pf_buffer_append(&self->bytes, bytes, length, NULL), PF_OK);
    self->hash = pf_hash_bytes(bytes, length);
    self->n_chunks = (uint32_t)((length - 1) / PF_CHUNK_BYTES + 1);
    assert_true(self->n_chunks <= FIXTURE_MAX_CHUNKS);
    for (uint32_t i = 0; i < self->n_chunks; i++) {
        size_t offset = (size_t)i * PF_CHUNK_BYTES;
        self->chunk_hashes[i] = pf_hash_bytes(self->bytes.bytes + offset,
                                              PF_MIN(length - offset, (size_t)PF_CHUNK_BYTES));
    }
}

void serve_model(struct served *self, const struct pf_network *shape, uint64_t seed)
{
    PF_CLEANUP(pf_model_destroyp) struct pf_model *model = NULL;
    PF_CLEANUP(pf_buffer_finish) struct pf_buffer bytes = {0};
    struct pf_error err = {0};
    assert_int_equal(pf_model_create(shape, NULL, &model, &err), PF_OK);
    pf_model_initialise(model, seed);
    assert_int_equal(pf_model_encode(model, &bytes, &err), PF_OK);
    serve_bytes(self, bytes.bytes, bytes.length);
    self->n_parameters = model->n_parameters;
}

void fixture_init(struct fixture *self, void (*change)(struct pf_participant_session_config *))
{
    memset(self, 0, sizeof *self);
    struct pf_participant_session_config config;
    pf_participant_session_config_default(&config);
    config.policy.allow_plain = true;
    if (change != NULL) change(&config);
    self->now = 1000000;
    self->network = network;
    memset(&self->run_id, 0x5a, sizeof self->run_id);
    serve_model(&self->model, &self->network, 1);
    struct pf_error err = {0};
    assert_int_equal(pf_participant_session_create(&config, self->now, &self->session, &err),
                     PF_OK);
}

void fixture_finish(struct fixture *self)
{
    pf_participant_session_destroy(self->session);
    pf_buffer_finish(&self->model.bytes);
}

static void drain(struct fixture *self)
{
    struct pf_participant_action action;
    self->n_sent = self->n_records = self->n_trains = self->n_cancels = 0;
    self->n_results = self->n_recalls = 0;
    for (size_t at = 0; pf_participant_session_next_action(self->session, &action); at++) {
        switch (action.kind) {
        case PF_PARTICIPANT_SEND:
            assert_true(self->n_sent < FIXTURE_MAX_SENT);
            self->sent_at[self->n_sent] = at;
            self->sent[self->n_sent++] = action.message;
            break;
        case PF_PARTICIPANT_RECALL: self->n_recalls++; break;
        case PF_PARTICIPANT_RECORD:
            assert_true(self->n_records < PF_ARRAY_LENGTH(self->records));
            self->records_at[self->n_records] = at;
            self->records[self->n_records++] = action.record;
            break;
        case PF_PARTICIPANT_TRAIN:
            self->n_trains++;
            self->job = action.train.job;
            self->order = action.train.order;
            self->teacher = action.train.teacher;
            assert_non_null(action.train.model);
            break;
        case PF_PARTICIPANT_CANCEL: self->n_cancels++; break;
        case PF_PARTICIPANT_RESULT: self->n_results++; break;
        }
    }
}

bool give(struct fixture *self, const struct pf_message *message)
{
    bool accepted = pf_participant_session_receive(self->session, message, self->now);
    drain(self);
    return accepted;
}

void tick(struct fixture *self, int64_t ms_later)
{
    self->now += ms_later;
    pf_participant_session_tick(self->session, self->now);
    drain(self);
}

bool tick_until_sent(struct fixture *self, enum pf_message_kind kind, int64_t within_ms)
{
    int64_t until = self->now + within_ms;
    for (;;) {
        int64_t wake = pf_participant_session_wake_ms(self->session);
        if (wake > until) return false;
        tick(self, PF_MAX(wake - self->now, 0));
        if (n_sent(self, kind) > 0) return true;
    }
}

void trained(struct fixture *self, uint64_t job, size_t n_parameters)
{
    struct pf_update update = {.values = PF_ALLOC(n_parameters, float), .n = n_parameters};
    assert_non_null(update.values);
    for (size_t i = 0; i < n_parameters; i++) update.values[i] = (float)i;
    update.figures[PF_FIGURE_EXAMPLES] = 7;
    trained_to(self, job, &update);
}

void trained_to(struct fixture *self, uint64_t job, struct pf_update *update)
{
    pf_participant_session_trained(self->session, job, update, self->now);
    assert_null(update->values);
    drain(self);
}

void training_failed(struct fixture *self, uint64_t job)
{
    pf_participant_session_training_failed(self->session, job, "the training diverged", self->now);
    drain(self);
}

static struct pf_message message(const struct fixture *self, enum pf_message_kind kind)
{
    struct pf_message made;
    memset(&made, 0, sizeof made);
    made.kind = kind;
    made.run_id = self->run_id;
    return made;
}

struct pf_message welcome(const struct fixture *self)
{
    struct pf_message made = message(self, PF_MESSAGE_WELCOME);
    made.welcome = (struct pf_welcome){.version = PF_PROTOCOL_VERSION,
                                       .n_rounds = 10,
                                       .alive_interval_ms = 2000,
                                       .aggregation = PF_AGGREGATION_PLAIN,
                                       .network = self->network};
    return made;
}

struct pf_message offer(struct fixture *self, uint32_t round, struct served *model)
{
    struct pf_message made = message(self, PF_MESSAGE_ROUND_OFFER);
    made.offer = (struct pf_round_offer){
        .round = round,
        .n_rounds = 10,
        .stage = 1,
        .n_stages = 1,
        .cohort = 5,
        .deadline_ms = 300000,
        .model_hash = model->hash,
        .model_bytes = model->bytes.length,
        .n_chunks = model->n_chunks,
        .chunk_hashes = model->chunk_hashes,
        .order = {.batch = 8, .epochs = 1.0, .learning_rate = 0.1, .schedule_end = 1.0},
    };
    return made;
}

struct pf_message teaching_offer(struct fixture *self, uint32_t round, struct served *model,
                                 struct served *teacher)
{
    struct pf_message made = offer(self, round, model);
    made.offer.order.distill_weight = 0.9;
    made.offer.order.distill_temperature = 4.0;
    made.offer.teacher = (struct pf_chunked_model){.hash = teacher->hash,
                                                   .n_bytes = teacher->bytes.length,
                                                   .n_chunks = teacher->n_chunks,
                                                   .chunk_hashes = teacher->chunk_hashes};
    return made;
}

struct pf_message chunk(struct fixture *self, struct served *model, uint32_t index)
{
    struct pf_message made = message(self, PF_MESSAGE_MODEL_CHUNK);
    size_t offset = (size_t)index * PF_CHUNK_BYTES;
    made.chunk =
        (struct pf_chunk){.model_hash = model->hash,
                          .chunk = index,
                          .n_chunks = model->n_chunks,
                          .bytes = model->bytes.bytes + offset,
                          .length = PF_MIN(model->bytes.length - offset, (size_t)PF_CHUNK_BYTES)};
    return made;
}

struct pf_message receipt(const struct fixture *self, uint32_t round)
{
    struct pf_message made = message(self, PF_MESSAGE_UPDATE_RECEIPT);
    made.receipt.round = round;
    return made;
}

struct pf_message grant(const struct fixture *self, uint32_t round)
{
    struct pf_message made = message(self, PF_MESSAGE_UPDATE_GRANT);
    made.grant.round = round;
    return made;
}

struct pf_message result(const struct fixture *self, uint32_t round)
{
    struct pf_message made = message(self, PF_MESSAGE_ROUND_RESULT);
    made.result = (struct pf_round_result){.round = round, .completed = true, .n_included = 5};
    return made;
}

struct pf_message refusal(const struct fixture *self, enum pf_reason reason, uint32_t round)
{
    struct pf_message made = message(self, PF_MESSAGE_REFUSAL);
    made.refusal = (struct pf_refusal){.reason = (uint32_t)reason, .round = round, .text = "no"};
    return made;
}

struct pf_message finished(const struct fixture *self, bool success)
{
    struct pf_message made = message(self, PF_MESSAGE_FINISHED);
    made.finished = (struct pf_finished){.success = success, .text = "all \x1b[2Jdone"};
    return made;
}

struct pf_message alive(const struct fixture *self)
{
    return message(self, PF_MESSAGE_ALIVE);
}

void to_idle(struct fixture *self)
{
    struct pf_message hello_answer = welcome(self);
    tick(self, 0);
    assert_true(give(self, &hello_answer));
    assert_int_equal(phase(self), PF_PARTICIPANT_IDLE);
}

void to_fetching(struct fixture *self, uint32_t round)
{
    if (phase(self) == PF_PARTICIPANT_CONNECTING) to_idle(self);
    struct pf_message made = offer(self, round, &self->model);
    assert_true(give(self, &made));
    assert_int_equal(phase(self), PF_PARTICIPANT_FETCHING);
}

void to_training(struct fixture *self, uint32_t round)
{
    to_fetching(self, round);
    for (uint32_t i = 0; i < self->model.n_chunks; i++) {
        struct pf_message made = chunk(self, &self->model, i);
        assert_true(give(self, &made));
    }
    assert_int_equal(phase(self), PF_PARTICIPANT_TRAINING);
}

void to_uploading(struct fixture *self, uint32_t round)
{
    to_training(self, round);
    trained(self, self->job, self->model.n_parameters);
    assert_int_equal(phase(self), PF_PARTICIPANT_UPLOADING);
}

enum pf_participant_phase phase(const struct fixture *self)
{
    struct pf_participant_view view;
    pf_participant_session_view(self->session, &view);
    return view.phase;
}

size_t n_sent(const struct fixture *self, enum pf_message_kind kind)
{
    size_t n = 0;
    for (size_t i = 0; i < self->n_sent; i++) n += self->sent[i].kind == kind;
    return n;
}

bool declined(const struct fixture *self, enum pf_reason reason, uint32_t round)
{
    if (n_sent(self, PF_MESSAGE_DECLINE) != 1) return false;
    for (size_t i = 0; i < self->n_sent; i++)
        if (self->sent[i].kind == PF_MESSAGE_DECLINE)
            return self->sent[i].refusal.reason == (uint32_t)reason &&
                   self->sent[i].refusal.round == round && self->sent[i].refusal.text[0] != '\0' &&
                   memcmp(&self->sent[i].run_id, &self->run_id, sizeof self->run_id) == 0;
    return false;
}

static void inside(const struct fixture *self, struct pf_participant_session *copy,
                   struct pf_hash *bytes)
{
    memcpy(copy, self->session, sizeof *copy);
    memset(&copy->counters, 0, sizeof copy->counters);
    memset(copy->actions, 0, sizeof copy->actions);
    copy->first_action = copy->n_actions = 0;
    const struct pf_fetch *fetches[2] = {&self->session->fetch, &self->session->teacher_fetch};
    struct pf_hash parts[4];
    for (size_t i = 0; i < 2; i++) {
        parts[2 * i] = pf_hash_bytes(fetches[i]->bytes, fetches[i]->length);
        parts[2 * i + 1] =
            pf_hash_bytes(fetches[i]->chunks, fetches[i]->n_chunks * sizeof *fetches[i]->chunks);
    }
    *bytes = pf_hash_bytes(parts, sizeof parts);
}

void keep(struct fixture *self)
{
    inside(self, &self->kept, &self->kept_bytes);
}

bool unchanged(struct fixture *self)
{
    static struct pf_participant_session now;
    struct pf_hash bytes;
    inside(self, &now, &bytes);
    return memcmp(&now, &self->kept, sizeof now) == 0 && pf_hash_equal(&bytes, &self->kept_bytes);
}
