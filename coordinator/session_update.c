/* What members send.  A handler checks everything before it changes anything; what it refuses is
 * answered and counted under a named reason, and leaves the session as it was. */
#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "common/base/memory.h"
#include "coordinator/session_state.h"
#include "proto/model_file.h"

/* A message with the circumstances it came in. */
struct arrival {
    size_t member;
    const struct pf_message *message;
    int64_t now_ms;
};

typedef enum pf_status handler(struct pf_coordinator_session *self, const struct arrival *arrival,
                               struct pf_error *err);

/* A model is fetched once; a few times over is generosity to a poor connection. */
static uint32_t max_chunks_sent(const struct pf_coordinator_session *self)
{
    return 4 * self->model.n_chunks + 64;
}

static enum pf_status refuse(struct pf_coordinator_session *self, const struct arrival *arrival,
                             enum pf_reason reason, uint32_t round, struct pf_error *err,
                             const char *format, ...) PF_PRINTF(6, 7);

static enum pf_status refuse(struct pf_coordinator_session *self, const struct arrival *arrival,
                             enum pf_reason reason, uint32_t round, struct pf_error *err,
                             const char *format, ...)
{
    struct pf_message message = {.kind = PF_MESSAGE_REFUSAL,
                                 .refusal = {.reason = reason, .round = round}};
    va_list args;
    va_start(args, format);
    vsnprintf(message.refusal.text, sizeof message.refusal.text, format, args);
    va_end(args);
    pf_cs_trim(message.refusal.text);
    self->counters.refused[reason]++;
    pf_log(PF_LOG_DEBUG, "%s: %s refused (%s): %s", self->members[arrival->member].name,
           pf_message_kind_name(arrival->message->kind), pf_reason_name(reason),
           message.refusal.text);
    return pf_cs_send(self, arrival->member, &message, err);
}

/* An accepted message shows that its sender lives. */
static enum pf_status heard(struct pf_coordinator_session *self, const struct arrival *arrival,
                            struct pf_error *err)
{
    struct pf_member *member = &self->members[arrival->member];
    member->heard_ms = arrival->now_ms;
    if (member->present) return PF_OK;
    bool back = member->welcomed;
    member->welcomed = true;
    member->present = true;
    return pf_cs_event(self, PF_LOG_INFO, err, "%s %s (%u of %zu members)", member->name,
                       back ? "is back" : "has joined", pf_cs_count_present(self),
                       self->config.n_members);
}

/* ---- HELLO -------------------------------------------------------------------------------- */

static enum pf_status send_welcome(struct pf_coordinator_session *self, size_t member,
                                   struct pf_error *err)
{
    uint32_t interval = self->config.liveness_ms / 4;
    struct pf_message message = {
        .kind = PF_MESSAGE_WELCOME,
        .welcome = {.version = PF_PROTOCOL_VERSION,
                    .run_id = self->config.run_id,
                    .n_rounds = pf_schedule_rounds(&self->config.schedule),
                    .alive_interval_ms = PF_MAX(PF_MIN(interval, 600000u), 100u),
                    .aggregation = self->config.aggregation,
                    .network = self->config.network},
    };
    return pf_cs_send(self, member, &message, err);
}

static enum pf_status repeat_offer(struct pf_coordinator_session *self,
                                   const struct arrival *arrival, struct pf_error *err)
{
    struct pf_message offer;
    PF_TRY(pf_cs_offer(self, arrival->now_ms, &offer, err));
    return pf_cs_send(self, arrival->member, &offer, err);
}

static bool same_run(const struct pf_run_id *a, const struct pf_run_id *b)
{
    return memcmp(a->bytes, b->bytes, sizeof a->bytes) == 0;
}

static enum pf_status on_hello(struct pf_coordinator_session *self, const struct arrival *arrival,
                               struct pf_error *err)
{
    const struct pf_hello *hello = &arrival->message->hello;
    if (hello->version != PF_PROTOCOL_VERSION)
        return refuse(self, arrival, PF_REASON_VERSION, 0, err,
                      "protocol version %u, this coordinator speaks %u", hello->version,
                      PF_PROTOCOL_VERSION);
    if (hello->returning && !same_run(&hello->run_id, &self->config.run_id))
        return refuse(self, arrival, PF_REASON_WRONG_RUN, 0, err,
                      "the run you were in is not the one served here");
    struct pf_member *member = &self->members[arrival->member];
    enum pf_part part = self->phase == PF_COORDINATOR_COLLECTING ? member->part : PF_PART_NONE;
    PF_TRY(heard(self, arrival, err));
    PF_TRY(send_welcome(self, arrival->member, err));
    /* A HELLO repeated before the first answer came is no restart: nothing of this round is lost
     * yet.  Nor is that of a member whose line broke and who still knows the run.  One that took
     * up the offer and now knows nothing of it cannot go on. */
    if (part == PF_PART_ASKED) return repeat_offer(self, arrival, err);
    if (part == PF_PART_ACTIVE && !hello->returning)
        return pf_cs_drop(self, arrival->member, "restarted", NULL, err);
    return PF_OK;
}

/* ---- messages about a round --------------------------------------------------------------- */

static bool collecting(const struct pf_coordinator_session *self, uint32_t round)
{
    return self->phase == PF_COORDINATOR_COLLECTING && round == self->round;
}

static enum pf_status refuse_late(struct pf_coordinator_session *self,
                                  const struct arrival *arrival, uint32_t round,
                                  struct pf_error *err)
{
    const struct pf_member *member = &self->members[arrival->member];
    if (!collecting(self, round))
        return refuse(self, arrival, PF_REASON_LATE, round, err, "round %u is not open", round);
    if (member->part == PF_PART_DROPPED)
        return refuse(self, arrival, PF_REASON_LATE, round, err,
                      "you were dropped from round %u: %s", round, member->dropped_because);
    return refuse(self, arrival, PF_REASON_LATE, round, err, "you are not asked in round %u",
                  round);
}

static enum pf_status on_model_request(struct pf_coordinator_session *self,
                                       const struct arrival *arrival, struct pf_error *err)
{
    const struct pf_model_request *request = &arrival->message->request;
    struct pf_member *member = &self->members[arrival->member];
    if (self->phase != PF_COORDINATOR_COLLECTING || !pf_cs_pending(member))
        return refuse_late(self, arrival, self->round, err);
    if (!pf_hash_equal(&request->model_hash, &self->model.hash))
        return refuse(self, arrival, PF_REASON_MODEL_HASH, self->round, err,
                      "that is not the model of round %u", self->round);
    if (request->chunk >= self->model.n_chunks)
        return refuse(self, arrival, PF_REASON_MODEL_HASH, self->round, err,
                      "chunk %u of a model of %u chunks", request->chunk, self->model.n_chunks);
    if (member->chunks_sent >= max_chunks_sent(self))
        return refuse(self, arrival, PF_REASON_BUSY, self->round, err,
                      "%u chunks were sent in this round, more than enough for the model",
                      member->chunks_sent);
    size_t *members = PF_ALLOC(1, size_t);
    if (members == NULL) return pf_no_memory(err, "a chunk");
    struct pf_coordinator_action *action = pf_cs_push(self, PF_ACTION_SEND_CHUNK);
    if (action == NULL) {
        pf_free(members);
        return pf_no_memory(err, "a chunk");
    }
    members[0] = arrival->member;
    action->members = members;
    action->n_members = 1;
    action->chunk = request->chunk;
    member->chunks_sent++;
    member->part = PF_PART_ACTIVE;
    return heard(self, arrival, err);
}

static enum pf_status on_decline(struct pf_coordinator_session *self, const struct arrival *arrival,
                                 struct pf_error *err)
{
    const struct pf_refusal *decline = &arrival->message->refusal;
    if (!collecting(self, decline->round) || !pf_cs_pending(&self->members[arrival->member]))
        return refuse_late(self, arrival, decline->round, err);
    char detail[sizeof decline->text + 40];
    snprintf(detail, sizeof detail, "%s: %s", pf_reason_name((enum pf_reason)decline->reason),
             decline->text);
    /* A peer's words go to logs: no control characters. */
    for (char *c = detail; *c != '\0'; c++)
        if (*c < ' ' || *c > '~') *c = '?';
    PF_TRY(heard(self, arrival, err));
    return pf_cs_drop(self, arrival->member, "declined", detail, err);
}

static enum pf_status on_alive(struct pf_coordinator_session *self, const struct arrival *arrival,
                               struct pf_error *err)
{
    struct pf_member *member = &self->members[arrival->member];
    uint32_t round = arrival->message->alive.round;
    bool here = collecting(self, self->round) && pf_cs_pending(member);
    if (here && round == self->round) member->part = PF_PART_ACTIVE;
    PF_TRY(heard(self, arrival, err));
    struct pf_message answer = {.kind = PF_MESSAGE_ALIVE,
                                .alive = {.round = here ? self->round : 0}};
    return pf_cs_send(self, arrival->member, &answer, err);
}

/* ---- updates ------------------------------------------------------------------------------ */

static enum pf_status send_receipt(struct pf_coordinator_session *self, size_t member,
                                   uint32_t round, struct pf_error *err)
{
    struct pf_message message = {.kind = PF_MESSAGE_UPDATE_RECEIPT, .receipt = {.round = round}};
    return pf_cs_send(self, member, &message, err);
}

/* Every chunk is full but the last. */
static size_t chunk_length(const struct pf_coordinator_session *self, uint32_t chunk)
{
    size_t begin = (size_t)chunk * PF_CHUNK_BYTES;
    return PF_MIN(self->update_bytes - begin, (size_t)PF_CHUNK_BYTES);
}

static enum pf_status reserve_update(struct pf_coordinator_session *self, struct pf_member *member,
                                     struct pf_error *err)
{
    if (member->update != NULL) return PF_OK;
    uint8_t *update = PF_ALLOC(self->update_bytes, uint8_t);
    uint8_t *received = PF_ALLOC(self->n_update_chunks, uint8_t);
    if (update == NULL || received == NULL) {
        pf_free(update);
        pf_free(received);
        return pf_no_memory(err, "an update");
    }
    member->update = update;
    member->received = received;
    return PF_OK;
}

/* The update is whole: into the sum, or out of the round with its sender. */
static enum pf_status count_update(struct pf_coordinator_session *self,
                                   const struct arrival *arrival, struct pf_error *err)
{
    struct pf_member *member = &self->members[arrival->member];
    struct pf_error bad;
    enum pf_status status = pf_sum_add(self->sum, member->update, self->update_bytes, &bad);
    if (status == PF_NO_MEMORY) return pf_fail(err, status, "%s", bad.text);
    if (status != PF_OK) {
        PF_TRY(refuse(self, arrival, PF_REASON_UPDATE_INVALID, self->round, err, "%s", bad.text));
        return pf_cs_drop(self, arrival->member, "invalid update", bad.text, err);
    }
    pf_cs_forget_update(member);
    member->part = PF_PART_COUNTED;
    member->counted_round = self->round;
    return send_receipt(self, arrival->member, self->round, err);
}

/* What is wrong with a chunk of the current round, or PF_REASON_NONE. */
static enum pf_reason check_chunk(const struct pf_coordinator_session *self,
                                  const struct pf_chunk *chunk, char *text, size_t size)
{
    if (!pf_hash_equal(&chunk->model_hash, &self->model.hash)) {
        snprintf(text, size, "the update belongs to another model than that of round %u",
                 self->round);
        return PF_REASON_MODEL_HASH;
    }
    if (chunk->n_chunks != self->n_update_chunks || chunk->chunk >= self->n_update_chunks) {
        snprintf(text, size, "chunk %u of %u, but an update of this model has %u chunks",
                 chunk->chunk, chunk->n_chunks, self->n_update_chunks);
        return PF_REASON_UPDATE_INVALID;
    }
    if (chunk->length != chunk_length(self, chunk->chunk)) {
        snprintf(text, size, "chunk %u has %zu bytes, expected %zu", chunk->chunk, chunk->length,
                 chunk_length(self, chunk->chunk));
        return PF_REASON_UPDATE_INVALID;
    }
    return PF_REASON_NONE;
}

static enum pf_status on_update_chunk(struct pf_coordinator_session *self,
                                      const struct arrival *arrival, struct pf_error *err)
{
    const struct pf_chunk *chunk = &arrival->message->chunk;
    struct pf_member *member = &self->members[arrival->member];
    if (chunk->round != 0 && chunk->round == member->counted_round) {
        /* The receipt was lost: once more.  The update is not looked at again. */
        self->counters.repeated++;
        PF_TRY(heard(self, arrival, err));
        return send_receipt(self, arrival->member, chunk->round, err);
    }
    if (!collecting(self, chunk->round) || !pf_cs_pending(member))
        return refuse_late(self, arrival, chunk->round, err);
    char text[PF_MAX_REASON_BYTES];
    enum pf_reason reason = check_chunk(self, chunk, text, sizeof text);
    if (reason != PF_REASON_NONE)
        return refuse(self, arrival, reason, self->round, err, "%s", text);

    PF_TRY(reserve_update(self, member, err));
    PF_TRY(heard(self, arrival, err));
    member->part = PF_PART_ACTIVE;
    if (member->received[chunk->chunk]) {
        self->counters.repeated++;
        return PF_OK;
    }
    memcpy(member->update + (size_t)chunk->chunk * PF_CHUNK_BYTES, chunk->bytes, chunk->length);
    member->received[chunk->chunk] = 1;
    member->n_received++;
    return member->n_received == self->n_update_chunks ? count_update(self, arrival, err) : PF_OK;
}

/* ---- the entrance ------------------------------------------------------------------------- */

/* Kinds that members send; the others only travel the other way. */
static handler *const handlers[PF_MESSAGE_N_KINDS] = {
    [PF_MESSAGE_HELLO] = on_hello,
    [PF_MESSAGE_MODEL_REQUEST] = on_model_request,
    [PF_MESSAGE_UPDATE_CHUNK] = on_update_chunk,
    [PF_MESSAGE_DECLINE] = on_decline,
    [PF_MESSAGE_ALIVE] = on_alive,
};

static enum pf_status send_finished(struct pf_coordinator_session *self, size_t member,
                                    struct pf_error *err)
{
    bool success = self->phase == PF_COORDINATOR_DONE;
    struct pf_message message = {.kind = PF_MESSAGE_FINISHED, .finished = {.success = success}};
    snprintf(message.finished.text, sizeof message.finished.text, "%s",
             success ? "all rounds are done" : "the run has ended");
    return pf_cs_send(self, member, &message, err);
}

enum pf_status pf_coordinator_session_receive(struct pf_coordinator_session *self, size_t member,
                                              const struct pf_message *message, int64_t now_ms,
                                              struct pf_error *err)
{
    assert(member < self->config.n_members);
    const struct arrival arrival = {member, message, now_ms};
    handler *handle =
        (size_t)message->kind < PF_ARRAY_LENGTH(handlers) ? handlers[message->kind] : NULL;
    if (handle == NULL) {
        self->counters.unexpected++;
        return PF_OK;
    }
    if (pf_cs_ended(self)) return send_finished(self, member, err);
    if (message->kind != PF_MESSAGE_HELLO && !same_run(&message->run_id, &self->config.run_id))
        return refuse(self, &arrival, PF_REASON_WRONG_RUN, 0, err,
                      "this message belongs to another run");
    if (message->kind != PF_MESSAGE_HELLO && !self->members[member].welcomed)
        return refuse(self, &arrival, PF_REASON_WRONG_RUN, 0, err, "say HELLO first");
    PF_TRY(handle(self, &arrival, err));
    return pf_cs_proceed(self, now_ms, err);
}
