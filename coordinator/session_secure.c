/* The steps of a secure round: who is awaited, when a step is over, what is sent and sent again.
 *
 *   ADVERTISING  over when all asked have advertised, or at the step's deadline
 *   REVEALING    over when all have revealed; without any one of them the round is lost
 *   SHARING      over when all have shared, or at the step's deadline
 *   COLLECTING   over when all updates are in, or at the round's deadline
 *   CONSENTING   over when all survivors have consented, PF_CONSENT_LINGER_MS after enough have, or
 *                at the step's deadline
 *   UNMASKING    over when all have answered, PF_UNMASK_LINGER_MS after there are enough answers,
 *                or at the step's deadline
 *
 * A survivor that is silent may come back and answer; it is waited for only as long as its answer
 * is needed. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "common/base/memory.h"
#include "coordinator/session_state.h"
#include "proto/round_context.h"

/* Messages of their own, some of them long (a key list of 10,000 is 170 kB), that one event may
 * make; the others are due at once, and the next tick makes more. */
#define TELL_BATCH 64u

static uint32_t key_timeout_ms(const struct pf_coordinator_session *self)
{
    /* The steps before the update must leave time for it, however short a round is. */
    return PF_MAX(PF_MIN(self->config.key_timeout_ms, self->config.round_timeout_ms / 4), 1u);
}

uint32_t pf_cs_alive_interval_ms(const struct pf_coordinator_session *self)
{
    uint32_t interval = self->config.liveness_ms / 4;
    return PF_MAX(PF_MIN(interval, PF_MAX_ALIVE_MS), PF_MIN_ALIVE_MS);
}

/* ---- sending ------------------------------------------------------------------------------ */

enum pf_status pf_cs_tell(struct pf_coordinator_session *self, size_t index, int64_t now_ms,
                          struct pf_error *err)
{
    struct pf_member *member = &self->members[index];
    struct pf_message message = {0};
    if (!pf_cs_awaited(self, index)) return PF_OK;
    if (self->phase == PF_COORDINATOR_ADVERTISING)
        PF_TRY(pf_cs_offer(self, now_ms, &message, err));
    else
        PF_TRY(pf_secagg_server_message(self->secagg, (uint32_t)index, &message, err));
    member->told_ms = now_ms;
    return pf_cs_send(self, index, &message, err);
}

enum pf_status pf_cs_tell_again(struct pf_coordinator_session *self, size_t index, int64_t now_ms,
                                struct pf_error *err)
{
    /* A small message must not be a way to make us send large ones without end. */
    int64_t gap = pf_cs_alive_interval_ms(self) / 4;
    return now_ms - self->members[index].told_ms < gap ? PF_OK
                                                       : pf_cs_tell(self, index, now_ms, err);
}

enum pf_status pf_cs_tell_due(struct pf_coordinator_session *self, int64_t now_ms,
                              struct pf_error *err)
{
    if (self->secagg == NULL) return PF_OK;
    for (size_t n = 0; n < TELL_BATCH && pf_deadlines_next_ms(&self->tellings) <= now_ms; n++) {
        size_t i = pf_deadlines_first(&self->tellings);
        struct pf_member *member = &self->members[i];
        PF_TRY(pf_cs_tell(self, i, now_ms, err));
        if (member->tell_gap_ms == 0)
            member->tell_gap_ms = pf_cs_alive_interval_ms(self);
        else if (self->phase == PF_COORDINATOR_COLLECTING)
            /* Updates take long, and most that are awaited have their boxes and are at work. */
            member->tell_gap_ms *= 2;
        member->tell_ms = now_ms + member->tell_gap_ms;
        pf_cs_recount(self, i);
    }
    return PF_OK;
}

/* Whether everybody gets the same. */
static bool for_all(const struct pf_coordinator_session *self)
{
    if (self->phase == PF_COORDINATOR_SHARING)
        return pf_secagg_server_parameters(self->secagg)->graph == PF_GRAPH_COMPLETE;
    return self->phase == PF_COORDINATOR_REVEALING || self->phase == PF_COORDINATOR_CONSENTING;
}

/* The first time after gap_ms; 0: now, and then at the usual gap. */
static void plan_telling(struct pf_coordinator_session *self, int64_t now_ms, int64_t gap_ms)
{
    for (size_t i = 0; i < self->config.n_members; i++) {
        struct pf_member *member = &self->members[i];
        member->told_ms = now_ms;
        member->tell_gap_ms = gap_ms;
        member->tell_ms = now_ms + gap_ms;
        pf_cs_recount(self, i);
    }
}

/* One message for all saves a copy of a long list for each.  Messages that differ are made in
 * batches, as the driver sends them. */
static enum pf_status tell_all(struct pf_coordinator_session *self, int64_t now_ms,
                               struct pf_error *err)
{
    if (!for_all(self)) {
        plan_telling(self, now_ms, 0);
        return pf_cs_tell_due(self, now_ms, err);
    }
    plan_telling(self, now_ms, pf_cs_alive_interval_ms(self));
    for (size_t i = 0; i < self->config.n_members; i++) {
        if (!pf_cs_awaited(self, i)) continue;
        struct pf_message message = {0};
        PF_TRY(pf_secagg_server_message(self->secagg, (uint32_t)i, &message, err));
        return pf_cs_broadcast(self, pf_cs_awaited, &message, err);
    }
    return PF_OK;
}

/* ---- from step to step -------------------------------------------------------------------- */

enum pf_status pf_cs_secure_begin(struct pf_coordinator_session *self,
                                  const struct pf_round_offer *offer, int64_t now_ms,
                                  struct pf_error *err)
{
    const struct pf_coordinator_session_config *config = &self->config;
    struct pf_secagg_server_config server = {
        .n_members = (uint32_t)config->n_members,
        .members = config->members,
        .round = self->round,
        .context = pf_round_context(&config->run_id, config->roster_hash, offer),
        .masking = offer->masking,
        .length = {self->model.n_trained, self->model.n_parameters - self->model.n_trained},
        .corrupt = config->corrupt,
        .dropouts = pf_cs_dropouts(config),
        .adversary = config->adversary,
        .graph = config->graph,
    };
    pf_round_rotation_seed(offer, server.rotation_seed);
    pf_secagg_server_destroy(self->secagg);
    self->secagg = NULL;
    PF_TRY(pf_secagg_server_create(&server, &self->secagg, err));
    pf_cs_set_phase(self, PF_COORDINATOR_ADVERTISING);
    self->step_deadline_ms = now_ms + key_timeout_ms(self);
    self->linger_ms = INT64_MAX;
    plan_telling(self, now_ms, pf_cs_alive_interval_ms(self));
    return PF_OK;
}

static enum pf_coordinator_phase phase_of(enum pf_secagg_phase phase)
{
    switch (phase) {
    case PF_SECAGG_ADVERTISING: return PF_COORDINATOR_ADVERTISING;
    case PF_SECAGG_REVEALING: return PF_COORDINATOR_REVEALING;
    case PF_SECAGG_SHARING: return PF_COORDINATOR_SHARING;
    case PF_SECAGG_MASKING: return PF_COORDINATOR_COLLECTING;
    case PF_SECAGG_CONSENTING: return PF_COORDINATOR_CONSENTING;
    case PF_SECAGG_UNMASKING: break;
    }
    return PF_COORDINATOR_UNMASKING;
}

/* Who shared, but has too few neighbours who did, is not in the sum. */
static bool pruned(const struct pf_coordinator_session *self, size_t member)
{
    return !pf_secagg_server_awaits(self->secagg, (uint32_t)member);
}

/* The machine has moved on: so does the session. */
static enum pf_status enter_step(struct pf_coordinator_session *self, int64_t now_ms,
                                 struct pf_error *err)
{
    enum pf_coordinator_phase phase = phase_of(pf_secagg_server_phase(self->secagg));
    pf_cs_set_phase(self, phase);
    bool late = phase == PF_COORDINATOR_CONSENTING || phase == PF_COORDINATOR_UNMASKING;
    self->step_deadline_ms =
        now_ms + (late ? self->config.unmask_timeout_ms : key_timeout_ms(self));
    self->linger_ms = INT64_MAX;
    if (phase == PF_COORDINATOR_COLLECTING) {
        pf_cs_set_update_bytes(self, pf_secagg_server_packed_bytes(self->secagg));
        PF_TRY(pf_cs_drop_late(self, pruned, "too few of its neighbours shared keys", err));
    }
    return tell_all(self, now_ms, err);
}

/* Those who delivered go on; if they are too few, the round is over. */
static enum pf_status advance(struct pf_coordinator_session *self, int64_t now_ms,
                              struct pf_error *err)
{
    struct pf_error why;
    enum pf_status status = pf_secagg_server_advance(self->secagg, &why);
    if (status == PF_NO_MEMORY) return pf_fail(err, status, "%s", why.text);
    if (status != PF_OK) return pf_cs_abandon_round(self, now_ms, why.text, err);
    return enter_step(self, now_ms, err);
}

static enum pf_status abandon_short(struct pf_coordinator_session *self, uint32_t have,
                                    const char *what, uint32_t needed, int64_t now_ms,
                                    struct pf_error *err)
{
    char names[160], why[PF_MAX_REASON_BYTES];
    snprintf(why, sizeof why, "%u %s of the %u needed; without %s", have, what, needed,
             pf_cs_names(self, pf_cs_dropped, names, sizeof names));
    return pf_cs_abandon_round(self, now_ms, why, err);
}

/* What the step waits for has not come from it. */
static bool lacking(const struct pf_coordinator_session *self, size_t member)
{
    return !pf_secagg_server_delivered(self->secagg, (uint32_t)member);
}

/* ADVERTISING and SHARING. */
static enum pf_status decide_keys(struct pf_coordinator_session *self, const char *what,
                                  const char *because, uint32_t needed, int64_t now_ms,
                                  struct pf_error *err)
{
    if (now_ms >= self->step_deadline_ms) PF_TRY(pf_cs_drop_late(self, lacking, because, err));
    uint32_t have = pf_cs_count(self, PF_CLASS_READY),
             waiting = pf_cs_count(self, PF_CLASS_AWAITED);
    if (have + waiting < needed) return abandon_short(self, have, what, needed, now_ms, err);
    return waiting > 0 ? PF_OK : advance(self, now_ms, err);
}

static enum pf_status decide_revealing(struct pf_coordinator_session *self, int64_t now_ms,
                                       struct pf_error *err)
{
    if (now_ms >= self->step_deadline_ms)
        PF_TRY(pf_cs_drop_late(self, lacking, "did not reveal its part of the graph", err));
    if (pf_cs_count(self, PF_CLASS_LOST_REVEAL) == 0)
        return pf_cs_count(self, PF_CLASS_AWAITED) > 0 ? PF_OK : advance(self, now_ms, err);
    char names[160], why[PF_MAX_REASON_BYTES];
    snprintf(why, sizeof why, "the graph cannot be drawn without the part of %s",
             pf_cs_names(self, pf_cs_lost_reveal, names, sizeof names));
    return pf_cs_abandon_round(self, now_ms, why, err);
}

static enum pf_status decide_updates(struct pf_coordinator_session *self, int64_t now_ms,
                                     struct pf_error *err)
{
    if (now_ms >= self->round_deadline_ms)
        PF_TRY(pf_cs_drop_late(self, pf_cs_pending, "no whole update by the deadline", err));
    uint32_t counted = pf_cs_count(self, PF_CLASS_COUNTED);
    uint32_t pending = pf_cs_count(self, PF_CLASS_PENDING);
    /* Fewer survivors than the threshold cannot give a secret back, whatever the quorum. */
    uint32_t needed = PF_MAX(self->config.quorum, pf_secagg_server_threshold(self->secagg));
    if (counted + pending < needed)
        return abandon_short(self, counted, "update(s)", needed, now_ms, err);
    return pending > 0 ? PF_OK : advance(self, now_ms, err);
}

static enum pf_status decide_consenting(struct pf_coordinator_session *self, int64_t now_ms,
                                        struct pf_error *err)
{
    if (now_ms >= self->step_deadline_ms || pf_cs_count(self, PF_CLASS_AWAITED) == 0)
        return advance(self, now_ms, err);
    uint32_t enough =
        pf_cs_enough_consents(&self->config, pf_secagg_server_parameters(self->secagg),
                              pf_cs_count(self, PF_CLASS_COUNTED));
    if (pf_cs_count(self, PF_CLASS_DELIVERED) < enough) return PF_OK;
    if (self->linger_ms == INT64_MAX) self->linger_ms = now_ms + PF_CONSENT_LINGER_MS;
    if (now_ms < self->linger_ms && pf_cs_count(self, PF_CLASS_AWAITED_NOW) > 0) return PF_OK;
    enum pf_status status = pf_secagg_server_advance(self->secagg, err);
    if (status == PF_OK) return enter_step(self, now_ms, err);
    if (status == PF_NO_MEMORY) return status;
    /* Some neighbourhood lacks consents after all; more may come until the deadline. */
    self->linger_ms = now_ms + PF_CONSENT_LINGER_MS;
    return PF_OK;
}

/* Everything the job needs, and the end of the machine. */
static enum pf_status start_apply(struct pf_coordinator_session *self, int64_t now_ms,
                                  struct pf_error *err)
{
    struct pf_error why;
    PF_CLEANUP(pf_unmasking_destroyp) struct pf_unmasking *unmasking = NULL;
    enum pf_status status = pf_secagg_server_take(self->secagg, &unmasking, &why);
    if (status == PF_NO_MEMORY) return pf_fail(err, status, "%s", why.text);
    if (status != PF_OK) return pf_cs_abandon_round(self, now_ms, why.text, err);
    struct pf_coordinator_action *action = pf_cs_push(self, PF_ACTION_APPLY);
    if (action == NULL) return pf_no_memory(err, "the end of a round");
    action->number = self->round;
    action->codec = *pf_secagg_server_codec(self->secagg);
    action->unmasking = unmasking;
    unmasking = NULL;
    pf_secagg_server_destroy(self->secagg);
    self->secagg = NULL;
    pf_cs_set_phase(self, PF_COORDINATOR_APPLYING);
    return PF_OK;
}

static enum pf_status decide_unmasking(struct pf_coordinator_session *self, int64_t now_ms,
                                       struct pf_error *err)
{
    bool enough = pf_secagg_server_can_unmask(self->secagg);
    if (enough && self->linger_ms == INT64_MAX) self->linger_ms = now_ms + PF_UNMASK_LINGER_MS;
    bool over = now_ms >= PF_MIN(self->step_deadline_ms, self->linger_ms) ||
                pf_cs_count(self, enough ? PF_CLASS_AWAITED_NOW : PF_CLASS_AWAITED) == 0;
    return over ? start_apply(self, now_ms, err) : PF_OK;
}

static enum pf_status decide_once(struct pf_coordinator_session *self, int64_t now_ms,
                                  struct pf_error *err)
{
    switch (self->phase) {
    case PF_COORDINATOR_ADVERTISING:
        return decide_keys(self, "member(s) with keys", "no keys by the step's deadline",
                           self->config.min_cohort, now_ms, err);
    case PF_COORDINATOR_REVEALING: return decide_revealing(self, now_ms, err);
    case PF_COORDINATOR_SHARING:
        return decide_keys(self, "member(s) that shared keys",
                           "no key shares by the step's deadline", self->config.quorum, now_ms,
                           err);
    case PF_COORDINATOR_COLLECTING: return decide_updates(self, now_ms, err);
    case PF_COORDINATOR_CONSENTING: return decide_consenting(self, now_ms, err);
    case PF_COORDINATOR_UNMASKING: return decide_unmasking(self, now_ms, err);
    default: return PF_OK;
    }
}

enum pf_status pf_cs_decide_step(struct pf_coordinator_session *self, int64_t now_ms,
                                 struct pf_error *err)
{
    /* Who was lost after delivering one step can decide the next as soon as it begins. */
    for (enum pf_coordinator_phase before = PF_COORDINATOR_N_PHASES;
         pf_cs_in_round(self) && self->phase != before;) {
        before = self->phase;
        PF_TRY(decide_once(self, now_ms, err));
    }
    return PF_OK;
}

enum pf_status pf_cs_lose_survivor(struct pf_coordinator_session *self, size_t index,
                                   const char *because, const char *detail, struct pf_error *err)
{
    struct pf_member *member = &self->members[index];
    if (member->gone) return PF_OK;
    member->gone = true;
    bool more = detail != NULL && detail[0] != '\0';
    return pf_cs_event(self, PF_LOG_WARNING, err,
                       "round %u: %s answers no more while %s: %s%s%s; its update stays counted",
                       self->round, member->name, pf_coordinator_phase_name(self->phase), because,
                       more ? ": " : "", more ? detail : "");
}

int64_t pf_cs_secure_wake_ms(const struct pf_coordinator_session *self)
{
    int64_t wake = pf_deadlines_next_ms(&self->tellings);
    if (self->secagg == NULL || !pf_cs_in_round(self)) return INT64_MAX;
    if (self->phase == PF_COORDINATOR_COLLECTING) return wake;
    return PF_MIN(wake, PF_MIN(self->step_deadline_ms, self->linger_ms));
}

/* ---- clipping ----------------------------------------------------------------------------- */

/* A member can tell any norm: beyond this, rounding would drown the updates of all. */
#define MAX_WIDENING 16

/* Twice the mean norm, so that a typical update is not clipped and an outlier is; the mean comes
 * out of the masked sum, so nobody's norm is seen.  Norms are told before clipping, so one round is
 * enough to find a clip that was too low; no more than a factor of four up, since a participant may
 * tell any norm.  In the spirit of G. Andrew et al., Differentially private learning with adaptive
 * clipping, NeurIPS 2021. */
void pf_cs_adapt_clip(struct pf_coordinator_session *self)
{
    const struct pf_round_record *record = &self->record;
    uint32_t n = pf_cs_count(self, PF_CLASS_COUNTED);
    if (self->config.fixed_clip || !record->figures_known || n == 0) return;
    const size_t length[PF_CODEC_SEGMENTS] = {self->model.n_trained,
                                              self->model.n_parameters - self->model.n_trained};
    for (size_t s = 0; s < PF_CODEC_SEGMENTS; s++) {
        if (length[s] == 0) continue;
        double units = (double)record->figures[PF_FIGURE_NORM_TRAINED + s] / n;
        double wanted = 2 * units / PF_CODEC_NORM_UNIT * self->clip[s];
        double clip = PF_MAX(PF_MIN(wanted, 4 * self->clip[s]), self->clip[s] / 2);
        clip = PF_MIN(clip, MAX_WIDENING * self->config.masking.clip[s]);
        self->clip[s] = PF_MAX(PF_MIN(clip, PF_MAX_CLIP), PF_MIN_CLIP);
        self->widest_clip[s] = PF_MAX(self->widest_clip[s], self->clip[s]);
    }
}

/* Norms fall with the learning rate over a stage and rise again at the next; a clip that followed
 * them down would cut the very updates that heal the combined model. */
void pf_cs_widen_clip(struct pf_coordinator_session *self)
{
    if (self->config.fixed_clip) return;
    for (size_t s = 0; s < PF_CODEC_SEGMENTS; s++)
        self->clip[s] = PF_MAX(self->config.masking.clip[s], self->widest_clip[s]);
}
