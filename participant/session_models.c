/* What an offer names, in the participant's session: the run's teacher and the round's model are
 * fetched, checked and kept. */
#include "participant/session_parts.h"
#include "proto/model_file.h"

static bool is_network_of_run(const struct pf_participant_session *self,
                              const struct pf_model *model)
{
    return pf_network_equal(&model->network, &self->welcome.network);
}

static bool has_teacher(const struct pf_participant_session *self, const struct pf_hash *hash)
{
    return self->teacher != NULL && pf_hash_equal(&self->teacher_hash, hash);
}

static bool has_model(const struct pf_participant_session *self, const struct pf_hash *hash)
{
    return self->model != NULL && pf_hash_equal(&self->model_hash, hash) &&
           is_network_of_run(self, self->model);
}

enum pf_status pf_ps_plan_fetches(const struct pf_participant_session *self,
                                  const struct pf_round_offer *offer, struct pf_fetch *teacher,
                                  struct pf_fetch *model, struct pf_error *err)
{
    const struct pf_chunked_model offered = {.hash = offer->model_hash,
                                             .n_bytes = offer->model_bytes,
                                             .n_chunks = offer->n_chunks,
                                             .chunk_hashes = offer->chunk_hashes};
    const struct pf_fetch_options *options = &self->config.fetch;
    PF_CLEANUP(pf_fetch_finish) struct pf_fetch first = {0};
    if (offer->order.distill_weight > 0.0 && !has_teacher(self, &offer->teacher.hash))
        PF_TRY(pf_fetch_init(&first, &offer->teacher, options, err));
    *model = (struct pf_fetch){0};
    if (!has_model(self, &offer->model_hash)) PF_TRY(pf_fetch_init(model, &offered, options, err));
    *teacher = first;
    first = (struct pf_fetch){0};
    return PF_OK;
}

/* The teacher's first: it is kept, the model only until there is a new one. */
static struct pf_fetch *at_work(struct pf_participant_session *self)
{
    if (self->teacher_fetch.n_chunks > 0) return &self->teacher_fetch;
    return self->fetch.n_chunks > 0 ? &self->fetch : NULL;
}

const struct pf_fetch *pf_ps_fetching(const struct pf_participant_session *self)
{
    return at_work((struct pf_participant_session *)self);
}

void pf_ps_restart_fetches(struct pf_participant_session *self)
{
    pf_fetch_restart(&self->teacher_fetch);
    pf_fetch_restart(&self->fetch);
}

void pf_ps_finish_fetches(struct pf_participant_session *self)
{
    pf_fetch_finish(&self->teacher_fetch);
    pf_fetch_finish(&self->fetch);
}

void pf_ps_request_chunks(struct pf_participant_session *self, int64_t now_ms)
{
    struct pf_fetch *fetch = at_work(self);
    uint32_t chunk;
    while (pf_fetch_next(fetch, now_ms, &chunk)) {
        struct pf_message *message = pf_ps_send(self, PF_MESSAGE_MODEL_REQUEST);
        message->request.model_hash = fetch->model_hash;
        message->request.chunk = chunk;
    }
}

/* ---- checks -------------------------------------------------------------------------------- */

static enum pf_status check_network(const struct pf_participant_session *self, const char *what,
                                    const struct pf_model *model, struct pf_error *err)
{
    if (!is_network_of_run(self, model))
        return pf_fail(err, PF_REFUSED, "the %s has another network than the run", what);
    return pf_participant_policy_network(&self->config.policy, &model->network, err);
}

static enum pf_status check_model(const struct pf_participant_session *self,
                                  const struct pf_model *model, enum pf_reason *reason,
                                  struct pf_error *err)
{
    *reason = PF_REASON_ARCHITECTURE;
    PF_TRY(check_network(self, "model", model, err));
    *reason = PF_REASON_POLICY;
    const size_t length[PF_CODEC_SEGMENTS] = {model->n_trained,
                                              model->n_parameters - model->n_trained};
    size_t bytes = pf_ps_secure(self)
                       ? pf_ring_packed_size(pf_codec_ring_length_of(length, true), 64)
                       : pf_update_size(PF_AGGREGATION_PLAIN, model->n_parameters);
    if (bytes == 0 || bytes > PF_MAX_MODEL_BYTES)
        return pf_fail(err, PF_REFUSED, "an update of %zu parameters is too long to send",
                       model->n_parameters);
    return PF_OK;
}

static enum pf_status check_teacher(const struct pf_participant_session *self,
                                    const struct pf_model *teacher, enum pf_reason *reason,
                                    struct pf_error *err)
{
    *reason = PF_REASON_ARCHITECTURE;
    PF_TRY(check_network(self, "teacher", teacher, err));
    *reason = PF_REASON_PACKING;
    if (pf_model_is_packed(teacher))
        return pf_fail(err, PF_REFUSED, "the teacher is packed; it must be a dense model");
    return PF_OK;
}

/* The model that the bytes of a finished download are.  PF_REFUSED with *reason. */
static enum pf_status assemble(const struct pf_participant_session *self,
                               const struct pf_fetch *fetch, struct pf_model **model,
                               enum pf_reason *reason, struct pf_error *err)
{
    bool teacher = fetch == &self->teacher_fetch;
    PF_CLEANUP(pf_model_destroyp) struct pf_model *made = NULL;
    struct pf_hash hash = pf_hash_bytes(fetch->bytes, fetch->length);
    *reason = PF_REASON_MODEL_HASH;
    if (!pf_hash_equal(&hash, &fetch->model_hash))
        return pf_fail(err, PF_REFUSED, "the assembled %s does not have the offered hash",
                       teacher ? "teacher" : "model");
    *reason = PF_REASON_PACKING;
    PF_TRY(pf_model_decode(teacher ? "the offered teacher" : "the offered model", fetch->bytes,
                           fetch->length, &made, err));
    PF_TRY(teacher ? check_teacher(self, made, reason, err) : check_model(self, made, reason, err));
    *model = made;
    made = NULL;
    return PF_OK;
}

/* ---- chunks -------------------------------------------------------------------------------- */

static void keep(struct pf_participant_session *self, const struct pf_fetch *fetch,
                 struct pf_model *model)
{
    bool teacher = fetch == &self->teacher_fetch;
    struct pf_model **place = teacher ? &self->teacher : &self->model;
    pf_model_destroy(*place);
    *place = model;
    *(teacher ? &self->teacher_hash : &self->model_hash) = fetch->model_hash;
}

static void finish_fetch(struct pf_participant_session *self, struct pf_fetch *fetch,
                         int64_t now_ms)
{
    struct pf_error err = {0};
    struct pf_model *model = NULL;
    enum pf_reason reason;
    if (assemble(self, fetch, &model, &reason, &err) != PF_OK) {
        pf_ps_give_round_up(self, reason, err.text);
        return;
    }
    keep(self, fetch, model);
    pf_fetch_finish(fetch);
    if (at_work(self) != NULL)
        pf_ps_request_chunks(self, now_ms);
    else
        pf_ps_start_training(self);
}

/* Whether the chunk is of something that needs none any more. */
static bool is_stale(const struct pf_participant_session *self, const struct pf_chunk *chunk)
{
    if (self->phase != PF_PARTICIPANT_FETCHING) return true;
    if (pf_hash_equal(&chunk->model_hash, &pf_ps_fetching(self)->model_hash)) return false;
    return has_teacher(self, &chunk->model_hash);
}

bool pf_ps_model_chunk(struct pf_participant_session *self, const struct pf_message *message,
                       int64_t now_ms)
{
    struct pf_error err = {0};
    if (is_stale(self, &message->chunk)) {
        self->counters.stale++;
        return false;
    }
    struct pf_fetch *fetch = at_work(self);
    uint32_t held = fetch->n_held;
    if (pf_fetch_take(fetch, &message->chunk, &err) != PF_OK)
        return pf_ps_refuse(self, PF_REASON_MODEL_HASH, err.text);
    if (fetch->n_held == held) self->counters.repeated++;
    if (pf_fetch_complete(fetch))
        finish_fetch(self, fetch, now_ms);
    else
        pf_ps_request_chunks(self, now_ms);
    return true;
}
