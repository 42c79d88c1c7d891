/* Updates in reassembly.
 *
 * An update of one chunk needs no memory of its own: it goes into the sum as it comes.  A longer
 * one is put together in a slot.  Its chunk 0 reserves one and is answered with UPDATE_GRANT; all
 * slots together keep to upload_budget_bytes (one there always is), so what the coordinator holds
 * does not grow with the number of members times the length of an update.  Without a free slot a
 * chunk is refused as BUSY, and its sender tries again; an upload that stands still for
 * upload_idle_ms gives its slot back and begins again at chunk 0. */
#include <stdio.h>
#include <string.h>

#include "common/base/memory.h"
#include "coordinator/session_state.h"
#include "proto/model_file.h"

void pf_cs_forget_update(struct pf_member *member)
{
    pf_free(member->received);
    pf_free(member->update);
    member->received = NULL;
    member->update = NULL;
    member->n_received = 0;
}

void pf_cs_set_update_bytes(struct pf_coordinator_session *self, size_t bytes)
{
    self->update_bytes = bytes;
    self->n_update_chunks = (uint32_t)((bytes + PF_CHUNK_BYTES - 1) / PF_CHUNK_BYTES);
}

void pf_cs_reclaim_slots(struct pf_coordinator_session *self, int64_t now_ms)
{
    while (pf_deadlines_next_ms(&self->stalls) <= now_ms) {
        size_t i = pf_deadlines_first(&self->stalls);
        struct pf_member *member = &self->members[i];
        pf_log(PF_LOG_DEBUG, "%s: its upload stood still at %u of %u chunks and lost its place",
               member->name, member->n_received, self->n_update_chunks);
        pf_cs_forget_update(member);
        pf_cs_recount(self, i);
    }
}

static uint32_t max_slots(const struct pf_coordinator_session *self)
{
    size_t n = self->config.upload_budget_bytes / self->update_bytes;
    return (uint32_t)PF_MAX(PF_MIN(n, (size_t)PF_MAX_COHORT), (size_t)1);
}

static enum pf_status send_receipt(struct pf_coordinator_session *self, size_t member,
                                   uint32_t round, struct pf_error *err)
{
    struct pf_message message = {.kind = PF_MESSAGE_UPDATE_RECEIPT, .receipt = {.round = round}};
    return pf_cs_send(self, member, &message, err);
}

static enum pf_status send_grant(struct pf_coordinator_session *self, size_t member,
                                 struct pf_error *err)
{
    struct pf_message message = {.kind = PF_MESSAGE_UPDATE_GRANT, .grant = {.round = self->round}};
    return pf_cs_send(self, member, &message, err);
}

/* Every chunk is full but the last. */
static size_t chunk_length(const struct pf_coordinator_session *self, uint32_t chunk)
{
    size_t begin = (size_t)chunk * PF_CHUNK_BYTES;
    return PF_MIN(self->update_bytes - begin, (size_t)PF_CHUNK_BYTES);
}

static enum pf_status reserve_slot(struct pf_coordinator_session *self, struct pf_member *member,
                                   struct pf_error *err)
{
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

static enum pf_status add_to_sum(struct pf_coordinator_session *self, size_t member,
                                 const uint8_t *update, enum pf_reason *reason,
                                 struct pf_error *err)
{
    *reason = PF_REASON_UPDATE_INVALID;
    return pf_cs_secure(self) ? pf_secagg_server_masked(self->secagg, (uint32_t)member, update,
                                                        self->update_bytes, reason, err)
                              : pf_sum_add(self->sum, update, self->update_bytes, err);
}

/* The update is whole: into the sum, or out of the round with its sender. */
static enum pf_status count_update(struct pf_coordinator_session *self,
                                   const struct pf_arrival *arrival, const uint8_t *update,
                                   struct pf_error *err)
{
    struct pf_member *member = &self->members[arrival->member];
    struct pf_error bad;
    enum pf_reason reason;
    enum pf_status status = add_to_sum(self, arrival->member, update, &reason, &bad);
    if (status == PF_NO_MEMORY) return pf_fail(err, status, "%s", bad.text);
    if (status != PF_OK) {
        PF_TRY(pf_cs_refuse(self, arrival, reason, self->round, err, "%s", bad.text));
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

/* The same for its place in memory. */
static enum pf_reason check_slot(const struct pf_coordinator_session *self, size_t member,
                                 const struct pf_chunk *chunk, char *text, size_t size)
{
    bool uploads = self->members[member].update != NULL;
    if (self->n_update_chunks == 1 || uploads) return PF_REASON_NONE;
    uint32_t n = pf_cs_count(self, PF_CLASS_UPLOADING);
    if (chunk->chunk != 0)
        snprintf(text, size,
                 "chunk %u before chunk 0 was granted, or after a long pause: begin "
                 "with chunk 0",
                 chunk->chunk);
    else if (n >= max_slots(self))
        snprintf(text, size, "%u updates are on their way, as many as there is room for", n);
    else
        return PF_REASON_NONE;
    return PF_REASON_BUSY;
}

static enum pf_status refuse_early(struct pf_coordinator_session *self,
                                   const struct pf_arrival *arrival, struct pf_error *err)
{
    return pf_cs_refuse(self, arrival, PF_REASON_STEP, self->round, err,
                        "round %u takes no updates while %s", self->round,
                        pf_coordinator_phase_name(self->phase));
}

static enum pf_status hold_chunk(struct pf_coordinator_session *self,
                                 const struct pf_arrival *arrival, struct pf_error *err)
{
    const struct pf_chunk *chunk = &arrival->message->chunk;
    struct pf_member *member = &self->members[arrival->member];
    if (member->update == NULL) PF_TRY(reserve_slot(self, member, err));
    PF_TRY(pf_cs_heard(self, arrival, err));
    member->part = PF_PART_ACTIVE;
    if (chunk->chunk == 0) PF_TRY(send_grant(self, arrival->member, err));
    if (member->received[chunk->chunk]) {
        self->counters.repeated++;
        return PF_OK;
    }
    member->chunk_ms = arrival->now_ms; /* repeats do not hold a slot */
    memcpy(member->update + (size_t)chunk->chunk * PF_CHUNK_BYTES, chunk->bytes, chunk->length);
    member->received[chunk->chunk] = 1;
    member->n_received++;
    if (member->n_received < self->n_update_chunks) return PF_OK;
    return count_update(self, arrival, member->update, err);
}

enum pf_status pf_cs_on_update_chunk(struct pf_coordinator_session *self,
                                     const struct pf_arrival *arrival, struct pf_error *err)
{
    const struct pf_chunk *chunk = &arrival->message->chunk;
    const struct pf_member *member = &self->members[arrival->member];
    if (chunk->round != 0 && chunk->round == member->counted_round) {
        /* The receipt was lost: once more.  The update is not looked at again. */
        self->counters.repeated++;
        PF_TRY(pf_cs_heard(self, arrival, err));
        return send_receipt(self, arrival->member, chunk->round, err);
    }
    if (!pf_cs_in_round(self) || chunk->round != self->round ||
        !pf_cs_pending(self, arrival->member))
        return pf_cs_refuse_late(self, arrival, chunk->round, err);
    if (self->phase != PF_COORDINATOR_COLLECTING) return refuse_early(self, arrival, err);
    char text[PF_MAX_REASON_BYTES];
    enum pf_reason reason = check_chunk(self, chunk, text, sizeof text);
    if (reason == PF_REASON_NONE)
        reason = check_slot(self, arrival->member, chunk, text, sizeof text);
    if (reason != PF_REASON_NONE)
        return pf_cs_refuse(self, arrival, reason, self->round, err, "%s", text);
    if (self->n_update_chunks > 1) return hold_chunk(self, arrival, err);
    PF_TRY(pf_cs_heard(self, arrival, err));
    return count_update(self, arrival, chunk->bytes, err);
}
