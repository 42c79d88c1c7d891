/* What members send, but for the steps of secure rounds (session_step.c) and updates
 * (session_upload.c).  A handler checks everything before it changes anything; what it refuses is
 * answered and counted under a named reason, and leaves the session as it was. */
#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "common/base/memory.h"
#include "coordinator/session_state.h"
#include "proto/model_file.h"

/* Of one member within an ALIVE interval; the back-off of HELLO (participant/session.h) stays below
 * that. */
#define MAX_HELLOS 8u

/* Model and teacher are fetched once; a few times over is generosity to a poor connection. */
static uint32_t max_chunks_sent(const struct pf_coordinator_session *self)
{
    const struct pf_chunked_model *teacher = self->config.teacher;
    return 4 * (self->model.n_chunks + (teacher != NULL ? teacher->n_chunks : 0)) + 64;
}

enum pf_status pf_cs_refuse(struct pf_coordinator_session *self, const struct pf_arrival *arrival,
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

enum pf_status pf_cs_heard(struct pf_coordinator_session *self, const struct pf_arrival *arrival,
                           struct pf_error *err)
{
    struct pf_member *member = &self->members[arrival->member];
    member->heard_ms = arrival->now_ms;
    if (member->present) return PF_OK;
    bool back = member->welcomed;
    member->welcomed = true;
    member->present = true;
    pf_cs_recount(self, arrival->member);
    return pf_cs_event(self, PF_LOG_INFO, err, "%s %s (%u of %zu members)", member->name,
                       back ? "is back" : "has joined", pf_cs_count(self, PF_CLASS_PRESENT),
                       self->config.n_members);
}

/* ---- HELLO -------------------------------------------------------------------------------- */

static enum pf_status send_welcome(struct pf_coordinator_session *self, size_t member,
                                   struct pf_error *err)
{
    struct pf_message message = {
        .kind = PF_MESSAGE_WELCOME,
        .welcome = {.version = PF_PROTOCOL_VERSION,
                    .run_id = self->config.run_id,
                    .n_rounds = pf_schedule_rounds(&self->config.schedule),
                    .alive_interval_ms = pf_cs_alive_interval_ms(self),
                    .aggregation = self->config.aggregation,
                    .network = self->config.network},
    };
    return pf_cs_send(self, member, &message, err);
}

static enum pf_status repeat_offer(struct pf_coordinator_session *self,
                                   const struct pf_arrival *arrival, struct pf_error *err)
{
    struct pf_message offer;
    PF_TRY(pf_cs_offer(self, arrival->now_ms, &offer, err));
    return pf_cs_send(self, arrival->member, &offer, err);
}

/* Offers and the messages of steps can be long, HELLO is short: whoever says it without end gets
 * WELCOME alone.  What a member lacks all the same is told again in time. */
static bool greets_too_often(const struct pf_coordinator_session *self, struct pf_member *member,
                             int64_t now_ms)
{
    if (now_ms - member->hello_ms >= pf_cs_alive_interval_ms(self)) {
        member->hello_ms = now_ms;
        member->n_hellos = 0;
    }
    return ++member->n_hellos > MAX_HELLOS;
}

static bool same_run(const struct pf_run_id *a, const struct pf_run_id *b)
{
    return memcmp(a->bytes, b->bytes, sizeof a->bytes) == 0;
}

static enum pf_status on_hello(struct pf_coordinator_session *self,
                               const struct pf_arrival *arrival, struct pf_error *err)
{
    const struct pf_hello *hello = &arrival->message->hello;
    if (hello->version != PF_PROTOCOL_VERSION)
        return pf_cs_refuse(self, arrival, PF_REASON_VERSION, 0, err,
                            "protocol version %u, this coordinator speaks %u", hello->version,
                            PF_PROTOCOL_VERSION);
    if (hello->returning && !same_run(&hello->run_id, &self->config.run_id))
        return pf_cs_refuse(self, arrival, PF_REASON_WRONG_RUN, 0, err,
                            "the run you were in is not the one served here");
    struct pf_member *member = &self->members[arrival->member];
    enum pf_part part = pf_cs_in_round(self) ? member->part : PF_PART_NONE;
    bool often = greets_too_often(self, member, arrival->now_ms);
    PF_TRY(pf_cs_heard(self, arrival, err));
    PF_TRY(send_welcome(self, arrival->member, err));
    /* A HELLO repeated before the first answer came is no restart: nothing of this round is lost
     * yet.  Nor is that of a member whose line broke and who still knows the run.  One that took
     * up the offer and now knows nothing of it cannot go on: in a secure round its secrets are
     * gone, so not even a counted one can answer what is still to come. */
    if (part == PF_PART_ASKED) return often ? PF_OK : repeat_offer(self, arrival, err);
    if (hello->returning)
        return often ? PF_OK : pf_cs_tell(self, arrival->member, arrival->now_ms, err);
    if (part == PF_PART_ACTIVE) return pf_cs_drop(self, arrival->member, "restarted", NULL, err);
    if (part == PF_PART_COUNTED && pf_cs_secure(self))
        return pf_cs_lose_survivor(self, arrival->member, "restarted", NULL, err);
    return PF_OK;
}

/* ---- messages about a round --------------------------------------------------------------- */

static bool is_open(const struct pf_coordinator_session *self, uint32_t round)
{
    return pf_cs_in_round(self) && round == self->round;
}

enum pf_status pf_cs_refuse_late(struct pf_coordinator_session *self,
                                 const struct pf_arrival *arrival, uint32_t round,
                                 struct pf_error *err)
{
    const struct pf_member *member = &self->members[arrival->member];
    if (!is_open(self, round))
        return pf_cs_refuse(self, arrival, PF_REASON_LATE, round, err, "round %u is not open",
                            round);
    if (member->part == PF_PART_DROPPED)
        return pf_cs_refuse(self, arrival, PF_REASON_LATE, round, err,
                            "you were dropped from round %u: %s", round, member->dropped_because);
    if (member->part == PF_PART_COUNTED)
        return pf_cs_refuse(self, arrival, PF_REASON_LATE, round, err,
                            "your update is counted in round %u", round);
    return pf_cs_refuse(self, arrival, PF_REASON_LATE, round, err, "you are not asked in round %u",
                        round);
}

static bool is_teacher(const struct pf_coordinator_session *self, const struct pf_hash *hash)
{
    return self->config.teacher != NULL && pf_hash_equal(hash, &self->config.teacher->hash);
}

static enum pf_status send_chunk(struct pf_coordinator_session *self, size_t member, uint32_t chunk,
                                 bool teacher, struct pf_error *err)
{
    size_t *members = PF_ALLOC(1, size_t);
    if (members == NULL) return pf_no_memory(err, "a chunk");
    struct pf_coordinator_action *action = pf_cs_push(self, PF_ACTION_SEND_CHUNK);
    if (action == NULL) {
        pf_free(members);
        return pf_no_memory(err, "a chunk");
    }
    members[0] = member;
    action->members = members;
    action->n_members = 1;
    action->chunk = chunk;
    action->teacher = teacher;
    return PF_OK;
}

static enum pf_status on_model_request(struct pf_coordinator_session *self,
                                       const struct pf_arrival *arrival, struct pf_error *err)
{
    const struct pf_model_request *request = &arrival->message->request;
    struct pf_member *member = &self->members[arrival->member];
    if (!pf_cs_in_round(self) || !pf_cs_pending(self, arrival->member))
        return pf_cs_refuse_late(self, arrival, self->round, err);
    bool teacher = is_teacher(self, &request->model_hash);
    if (!teacher && !pf_hash_equal(&request->model_hash, &self->model.hash))
        return pf_cs_refuse(self, arrival, PF_REASON_MODEL_HASH, self->round, err,
                            "that is not the model of round %u", self->round);
    uint32_t n_chunks = teacher ? self->config.teacher->n_chunks : self->model.n_chunks;
    if (request->chunk >= n_chunks)
        return pf_cs_refuse(self, arrival, PF_REASON_MODEL_HASH, self->round, err,
                            "chunk %u of a model of %u chunks", request->chunk, n_chunks);
    if (member->chunks_sent >= max_chunks_sent(self))
        return pf_cs_refuse(self, arrival, PF_REASON_BUSY, self->round, err,
                            "%u chunks were sent in this round, more than enough for the model",
                            member->chunks_sent);
    PF_TRY(send_chunk(self, arrival->member, request->chunk, teacher, err));
    member->chunks_sent++;
    member->part = PF_PART_ACTIVE;
    return pf_cs_heard(self, arrival, err);
}

/* The reason in words.  A peer's words go to logs: no control characters. */
static void read_decline(const struct pf_refusal *decline, char *detail, size_t size)
{
    snprintf(detail, size, "%s: %s", pf_reason_name((enum pf_reason)decline->reason),
             decline->text);
    for (char *c = detail; *c != '\0'; c++)
        if (*c < ' ' || *c > '~') *c = '?';
}

/* Out of the current round, as far as it still can be. */
static enum pf_status take_out(struct pf_coordinator_session *self, size_t member,
                               const char *because, const char *detail, struct pf_error *err)
{
    if (!pf_cs_in_round(self)) return PF_OK;
    if (pf_cs_pending(self, member)) return pf_cs_drop(self, member, because, detail, err);
    if (pf_cs_secure(self) && self->members[member].part == PF_PART_COUNTED)
        return pf_cs_lose_survivor(self, member, because, detail, err);
    return PF_OK;
}

/* Round 0: the whole run is declined, and not asked about again. */
static enum pf_status on_run_declined(struct pf_coordinator_session *self,
                                      const struct pf_arrival *arrival, const char *detail,
                                      struct pf_error *err)
{
    struct pf_member *member = &self->members[arrival->member];
    PF_TRY(pf_cs_heard(self, arrival, err));
    if (member->left) {
        self->counters.repeated++;
        return PF_OK;
    }
    member->left = true;
    PF_TRY(pf_cs_event(self, PF_LOG_WARNING, err, "%s takes no part in this run: declined: %s",
                       member->name, detail));
    return take_out(self, arrival->member, "declined the run", NULL, err);
}

static enum pf_status on_decline(struct pf_coordinator_session *self,
                                 const struct pf_arrival *arrival, struct pf_error *err)
{
    const struct pf_refusal *decline = &arrival->message->refusal;
    char detail[sizeof decline->text + 40];
    read_decline(decline, detail, sizeof detail);
    if (decline->round == 0) return on_run_declined(self, arrival, detail, err);
    bool survivor = pf_cs_secure(self) && self->members[arrival->member].part == PF_PART_COUNTED;
    if (!is_open(self, decline->round) || !(pf_cs_pending(self, arrival->member) || survivor))
        return pf_cs_refuse_late(self, arrival, decline->round, err);
    PF_TRY(pf_cs_heard(self, arrival, err));
    return take_out(self, arrival->member, "declined", detail, err);
}

static enum pf_status on_alive(struct pf_coordinator_session *self,
                               const struct pf_arrival *arrival, struct pf_error *err)
{
    struct pf_member *member = &self->members[arrival->member];
    uint32_t round = arrival->message->alive.round;
    bool survivor = pf_cs_secure(self) && member->part == PF_PART_COUNTED && !member->gone;
    bool here = pf_cs_in_round(self) && (pf_cs_pending(self, arrival->member) || survivor);
    if (here && !survivor && round == self->round) member->part = PF_PART_ACTIVE;
    PF_TRY(pf_cs_heard(self, arrival, err));
    struct pf_message answer = {.kind = PF_MESSAGE_ALIVE,
                                .alive = {.round = here ? self->round : 0}};
    PF_TRY(pf_cs_send(self, arrival->member, &answer, err));
    /* While updates are awaited, one that trains lacks nothing yet. */
    if (self->phase == PF_COORDINATOR_COLLECTING && arrival->message->alive.training) return PF_OK;
    return pf_cs_tell_again(self, arrival->member, arrival->now_ms, err);
}

/* ---- the entrance ------------------------------------------------------------------------- */

/* Kinds that members send; the others only travel the other way. */
static pf_cs_handler *const handlers[PF_MESSAGE_N_KINDS] = {
    [PF_MESSAGE_HELLO] = on_hello,
    [PF_MESSAGE_MODEL_REQUEST] = on_model_request,
    [PF_MESSAGE_UPDATE_CHUNK] = pf_cs_on_update_chunk,
    [PF_MESSAGE_DECLINE] = on_decline,
    [PF_MESSAGE_ALIVE] = on_alive,
    [PF_MESSAGE_ADVERTISE] = pf_cs_on_step,
    [PF_MESSAGE_REVEAL] = pf_cs_on_step,
    [PF_MESSAGE_SHARES] = pf_cs_on_step,
    [PF_MESSAGE_CONSENT] = pf_cs_on_step,
    [PF_MESSAGE_UNMASK] = pf_cs_on_step,
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
    const struct pf_arrival arrival = {member, message, now_ms};
    pf_cs_handler *handle =
        (size_t)message->kind < PF_ARRAY_LENGTH(handlers) ? handlers[message->kind] : NULL;
    if (handle == NULL) {
        self->counters.unexpected++;
        return PF_OK;
    }
    if (pf_cs_ended(self)) return send_finished(self, member, err);
    if (message->kind != PF_MESSAGE_HELLO && !same_run(&message->run_id, &self->config.run_id))
        return pf_cs_refuse(self, &arrival, PF_REASON_WRONG_RUN, 0, err,
                            "this message belongs to another run");
    if (message->kind != PF_MESSAGE_HELLO && !self->members[member].welcomed)
        return pf_cs_refuse(self, &arrival, PF_REASON_WRONG_RUN, 0, err, "say HELLO first");
    PF_TRY(handle(self, &arrival, err));
    pf_cs_recount(self, member);
    return pf_cs_proceed(self, now_ms, err);
}
