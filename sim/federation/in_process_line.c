/* The line between the coordinator and the participants: frames made, counted, lost, repeated,
 * delayed and damaged. */
#include <string.h>

#include "sim/federation/in_process_parts.h"

#define LATENCY_MS 10
#define UNSTEADY_MS 40 /* longest usual latency where frames may be late */
#define LATE_MS 8000

enum pf_in_process_step pf_ip_step_of(enum pf_message_kind kind)
{
    switch (kind) {
    case PF_MESSAGE_MODEL_REQUEST:
    case PF_MESSAGE_MODEL_CHUNK: return PF_IN_PROCESS_MODEL;
    case PF_MESSAGE_ROUND_OFFER: /* a secure round's is answered with keys */
    case PF_MESSAGE_ADVERTISE: return PF_IN_PROCESS_ADVERTISE;
    case PF_MESSAGE_COMMITTED:
    case PF_MESSAGE_REVEAL: return PF_IN_PROCESS_REVEAL;
    case PF_MESSAGE_KEY_LIST:
    case PF_MESSAGE_SHARES: return PF_IN_PROCESS_SHARE;
    case PF_MESSAGE_SHARE_DELIVERY:
    case PF_MESSAGE_UPDATE_CHUNK:
    case PF_MESSAGE_UPDATE_GRANT:
    case PF_MESSAGE_UPDATE_RECEIPT: return PF_IN_PROCESS_MASK;
    case PF_MESSAGE_SURVIVORS:
    case PF_MESSAGE_CONSENT: return PF_IN_PROCESS_CONSENT;
    case PF_MESSAGE_UNMASK_REQUEST:
    case PF_MESSAGE_UNMASK: return PF_IN_PROCESS_UNMASK;
    default: return PF_IN_PROCESS_JOIN;
    }
}

/* Takes a copy when the frame is damaged on its way. */
static struct pf_frame *damage(struct pf_in_process *self, struct pf_frame *frame)
{
    struct pf_frame *copy = pf_frame_create(frame->bytes, frame->length);
    pf_frame_release(frame);
    if (copy == NULL) (void)pf_no_memory(pf_ip_error(self), "a frame");
    if (copy == NULL || copy->length == 0) return copy;
    copy->bytes[pf_random_below(&self->random, (uint32_t)copy->length)] ^=
        (uint8_t)(1u << pf_random_below(&self->random, 8));
    return copy;
}

static void deliver(struct pf_in_process *self, enum pf_event_kind kind, size_t player,
                    struct pf_frame *frame, int64_t later_ms)
{
    const struct pf_in_process_faults *faults = &self->config->faults;
    int64_t latency = faults->late > 0 ? pf_ip_between(self, 1, UNSTEADY_MS) : LATENCY_MS;
    if (pf_ip_chance(self, faults->late)) latency += pf_ip_between(self, 1, LATE_MS);
    frame->references++;
    if (pf_ip_chance(self, faults->damaged)) frame = damage(self, frame);
    if (frame == NULL) return;
    pf_ip_push(self, (struct pf_event){.at = self->now + later_ms + latency,
                                       .kind = kind,
                                       .player = (uint32_t)player,
                                       .frame = frame});
}

static void transmit(struct pf_in_process *self, enum pf_event_kind kind, size_t player,
                     struct pf_frame *frame, int64_t later_ms)
{
    self->result->frames++;
    if (!pf_ip_chance(self, self->config->faults.lost))
        deliver(self, kind, player, frame, later_ms);
    if (pf_ip_chance(self, self->config->faults.repeated))
        deliver(self, kind, player, frame, later_ms);
}

/* One reference, the caller's; NULL after trouble. */
static struct pf_frame *encode(struct pf_in_process *self, const struct pf_message *message)
{
    struct pf_error err = {0};
    pf_buffer_reset(&self->scratch);
    enum pf_status status = pf_message_encode(message, &self->scratch, &err);
    PF_IP_CHECK(self, status == PF_OK, "%s cannot be encoded: %s",
                pf_message_kind_name(message->kind), err.text);
    if (status != PF_OK) return NULL;
    PF_IP_CHECK(self, self->scratch.length <= PF_MAX_MESSAGE_BYTES,
                "%s of %zu bytes: longer than a frame may be", pf_message_kind_name(message->kind),
                self->scratch.length);
    struct pf_frame *frame = pf_frame_create(self->scratch.bytes, self->scratch.length);
    if (frame == NULL) (void)pf_no_memory(pf_ip_error(self), "a frame");
    return frame;
}

void pf_ip_send_up(struct pf_in_process *self, size_t player, const struct pf_message *message)
{
    struct pf_frame *frame = encode(self, message);
    if (frame == NULL) return;
    self->players[player].up += frame->length;
    self->result->steps[pf_ip_step_of(message->kind)].up_bytes += frame->length;
    transmit(self, PF_EVENT_TO_COORDINATOR, player, frame, 0);
    pf_frame_release(frame);
}

static void count_down(struct pf_in_process *self, size_t player, enum pf_message_kind kind,
                       size_t bytes)
{
    self->players[player].down += bytes;
    self->result->steps[pf_ip_step_of(kind)].down_bytes += bytes;
}

void pf_ip_send_down(struct pf_in_process *self, const struct pf_coordinator_action *action,
                     size_t begin, size_t end)
{
    const struct pf_message *message = &action->message;
    int64_t spread = message->kind == PF_MESSAGE_ROUND_OFFER ? self->config->pickup_ms : 0;
    struct pf_frame *frame = encode(self, message);
    if (frame == NULL) return;
    for (size_t i = begin; i < end; i++) {
        size_t player = action->members[i];
        count_down(self, player, message->kind, frame->length);
        transmit(self, PF_EVENT_TO_PLAYER, player, frame,
                 spread > 0 ? pf_ip_between(self, 0, spread) : 0);
    }
    pf_frame_release(frame);
}

static struct pf_frame *make_chunk(struct pf_in_process *self, const struct pf_ip_file *file,
                                   uint32_t chunk)
{
    size_t offset = (size_t)chunk * PF_CHUNK_BYTES;
    const struct pf_message message = {
        .kind = PF_MESSAGE_MODEL_CHUNK,
        .run_id = pf_ip_run_id,
        .chunk = {.model_hash = file->named.hash,
                  .chunk = chunk,
                  .n_chunks = file->named.n_chunks,
                  .bytes = file->bytes.bytes + offset,
                  .length = PF_MIN(file->bytes.length - offset, (size_t)PF_CHUNK_BYTES)}};
    return encode(self, &message);
}

/* All get the same bytes, made once. */
void pf_ip_send_chunk(struct pf_in_process *self, const struct pf_coordinator_action *action)
{
    size_t player = action->members[0];
    struct pf_ip_file *file = action->teacher ? &self->teacher : &self->model;
    if (file->chunk_frames == NULL)
        file->chunk_frames = PF_ALLOC(file->named.n_chunks, struct pf_frame *);
    if (file->chunk_frames == NULL) {
        (void)pf_no_memory(pf_ip_error(self), "the chunks of a model");
        return;
    }
    struct pf_frame **frame = &file->chunk_frames[action->chunk];
    if (*frame == NULL) *frame = make_chunk(self, file, action->chunk);
    if (*frame == NULL) return;
    self->result->teacher_chunks_sent += action->teacher;
    count_down(self, player, PF_MESSAGE_MODEL_CHUNK, (*frame)->length);
    transmit(self, PF_EVENT_TO_PLAYER, player, *frame, 0);
}

void pf_ip_file_finish(struct pf_ip_file *self)
{
    for (uint32_t i = 0; self->chunk_frames != NULL && i < self->named.n_chunks; i++)
        pf_frame_release(self->chunk_frames[i]);
    pf_free(self->chunk_frames);
    pf_free(self->named.chunk_hashes);
    pf_buffer_finish(&self->bytes);
    *self = (struct pf_ip_file){0};
}
