/* The ends of the phases: who goes on, and whether enough do for the round to be ended. */
#include <string.h>

#include "common/base/memory.h"
#include "coordinator/secagg_server_parts.h"
#include "proto/round_context.h"

static enum pf_status replace_set(struct pf_member_set *set, const struct pf_member_set *by,
                                  struct pf_error *err)
{
    struct pf_member_set copy;
    PF_TRY(pf_member_set_copy(by, &copy, err));
    pf_member_set_finish(set);
    *set = copy;
    return PF_OK;
}

/* ---- ADVERTISING → REVEALING or SHARING ------------------------------------------------------ */

static enum pf_status choose_parameters(struct pf_secagg_server *self, uint32_t n,
                                        struct pf_error *err)
{
    const struct pf_secagg_server_config *config = &self->config;
    const struct pf_secagg_goal goal = {
        .n = n,
        .corrupt = config->corrupt < 0 ? pf_secagg_default_corrupt(n) : config->corrupt,
        .dropouts = config->dropouts,
        .adversary = config->adversary,
    };
    struct pf_secagg_parameters found;
    struct pf_error why = {0};
    enum pf_status status;
    if (config->graph == PF_GRAPH_COMPLETE)
        status = pf_secagg_find_complete(&goal, &found, &why);
    else if (config->graph == PF_GRAPH_HARARY)
        status = pf_secagg_find_regular(&goal, &found, &why);
    else
        status = pf_secagg_find(&goal, &found, &why);
    if (status != PF_OK)
        return pf_fail(err, status == PF_INVALID ? PF_REFUSED : status, "%s", why.text);
    if (found.graph == PF_GRAPH_COMPLETE && n > PF_SECAGG_MAX_COMPLETE)
        return pf_fail(err, PF_REFUSED,
                       "%u participants are too many for a complete graph; the limit is %u, a "
                       "regular graph has none",
                       n, PF_SECAGG_MAX_COMPLETE);
    self->parameters = found;
    return PF_OK;
}

static enum pf_status number_cohort(struct pf_secagg_server *self, uint32_t n, struct pf_error *err)
{
    uint32_t *members = PF_ALLOC(n, uint32_t);
    uint32_t *vertices = PF_ALLOC(self->config.n_members, uint32_t);
    if (members == NULL || vertices == NULL) {
        pf_free(members);
        pf_free(vertices);
        return pf_no_memory(err, "a cohort");
    }
    uint32_t vertex = 0;
    for (uint32_t member = 0; member < self->config.n_members; member++) {
        vertices[member] = PF_SS_NO_VERTEX;
        if (!pf_member_set_has(&self->delivered[PF_SECAGG_ADVERTISING], member)) continue;
        members[vertex] = member;
        vertices[member] = vertex++;
    }
    pf_free(self->members);
    pf_free(self->vertices);
    pf_free(self->boxes); /* of an attempt that had no memory, for another cohort */
    self->boxes = NULL;
    self->members = members;
    self->vertices = vertices;
    self->n_cohort = n;
    return PF_OK;
}

static enum pf_status digest_cohort(struct pf_secagg_server *self, struct pf_error *err)
{
    PF_CLEANUP(pf_freep)
    struct pf_digest *commitments = PF_ALLOC(self->n_cohort, struct pf_digest);
    if (commitments == NULL) return pf_no_memory(err, "commitments");
    for (uint32_t i = 0; i < self->n_cohort; i++)
        commitments[i] = self->adverts[self->members[i]].randomness_commitment;
    self->cohort_digest =
        pf_cohort_digest(&self->config.context, &self->delivered[PF_SECAGG_ADVERTISING],
                         &self->parameters, pf_ss_complete(self) ? NULL : commitments);
    return PF_OK;
}

/* ---- … → SHARING ----------------------------------------------------------------------------- */

static enum pf_status digest_keys(struct pf_secagg_server *self, struct pf_error *err)
{
    size_t n = self->n_cohort;
    PF_CLEANUP(pf_freep) struct pf_advert *adverts = PF_ALLOC(n, struct pf_advert);
    PF_CLEANUP(pf_freep)
    uint8_t(*randomness)[PF_RANDOMNESS_BYTES] = pf_alloc(n, sizeof *randomness);
    if (adverts == NULL || randomness == NULL) return pf_no_memory(err, "a key list");
    for (uint32_t i = 0; i < n; i++) {
        adverts[i] = self->adverts[self->members[i]];
        memcpy(randomness[i], self->randomness[self->members[i]], sizeof randomness[i]);
    }
    if (pf_ss_complete(self))
        self->key_list = pf_key_list_digest(&self->cohort_digest, self->n_cohort, NULL, adverts);
    else
        self->key_list =
            pf_key_list_digest(&self->cohort_digest, self->n_cohort,
                               (const uint8_t(*)[PF_RANDOMNESS_BYTES])randomness, NULL);
    return PF_OK;
}

static enum pf_status draw_graph(struct pf_secagg_server *self, struct pf_error *err)
{
    PF_CLEANUP(pf_graph_destroyp) struct pf_graph *graph = NULL;
    uint32_t k = self->parameters.degree;
    PF_TRY(pf_graph_create(self->parameters.graph, self->n_cohort, k,
                           pf_ss_complete(self) ? NULL : self->key_list.bytes, &graph, err));
    uint32_t *neighbours = pf_alloc((size_t)self->n_cohort * k, sizeof *neighbours);
    if (neighbours == NULL) return pf_no_memory(err, "the graph of a cohort");
    for (uint32_t vertex = 0; vertex < self->n_cohort; vertex++) {
        uint32_t *row = neighbours + (size_t)vertex * k;
        pf_graph_neighbours(graph, vertex, row);
        for (uint32_t i = 0; i < k; i++) row[i] = self->members[row[i]];
    }
    pf_free(self->neighbours);
    self->neighbours = neighbours;
    return PF_OK;
}

static enum pf_status fix_codec(struct pf_secagg_server *self, struct pf_error *err)
{
    const struct pf_masking_order *order = &self->config.masking;
    struct pf_codec_config codec = {
        .value_bits = order->value_bits,
        .modulus_bits = pf_secagg_modulus_bits(order->value_bits, self->n_cohort),
        .n_participants = self->n_cohort,
        .weight_cap = order->weight_cap,
        .length = {self->config.length[0], self->config.length[1]},
        .clip = {order->clip[0], order->clip[1]},
        .rotate = order->rotate,
    };
    memcpy(codec.seed, self->config.rotation_seed, sizeof codec.seed);
    size_t length = pf_codec_ring_length_of(codec.length, codec.rotate);
    size_t bytes = pf_ring_packed_size(length, codec.modulus_bits);
    if (length == 0 || bytes == 0)
        return pf_fail(err, PF_REFUSED, "updates of %zu + %zu coordinates at %u bits have no size",
                       codec.length[0], codec.length[1], codec.modulus_bits);
    self->codec = codec;
    self->packed_bytes = bytes;
    return PF_OK;
}

static enum pf_status begin_sharing(struct pf_secagg_server *self, struct pf_error *err)
{
    PF_TRY(digest_keys(self, err));
    PF_TRY(draw_graph(self, err));
    PF_TRY(fix_codec(self, err));
    if (self->boxes == NULL) self->boxes = pf_alloc(self->n_cohort, sizeof(void *));
    if (self->boxes == NULL) return pf_no_memory(err, "share boxes");
    PF_TRY(replace_set(&self->awaited[PF_SECAGG_SHARING], &self->delivered[PF_SECAGG_ADVERTISING],
                       err));
    self->phase = PF_SECAGG_SHARING;
    return PF_OK;
}

static enum pf_status end_advertising(struct pf_secagg_server *self, struct pf_error *err)
{
    const struct pf_member_set *cohort = &self->delivered[PF_SECAGG_ADVERTISING];
    uint32_t n = pf_member_set_count(cohort);
    if (n < 2)
        return pf_fail(err, PF_REFUSED, "%u advertised keys; a sum of fewer than 2 hides nothing",
                       n);
    PF_TRY(choose_parameters(self, n, err));
    PF_TRY(number_cohort(self, n, err));
    PF_TRY(digest_cohort(self, err));
    if (pf_ss_complete(self)) return begin_sharing(self, err);
    PF_TRY(replace_set(&self->awaited[PF_SECAGG_REVEALING], cohort, err));
    self->phase = PF_SECAGG_REVEALING;
    return PF_OK;
}

static enum pf_status end_revealing(struct pf_secagg_server *self, struct pf_error *err)
{
    uint32_t revealed = pf_member_set_count(&self->delivered[PF_SECAGG_REVEALING]);
    for (uint32_t i = 0; i < self->n_cohort; i++)
        if (!pf_member_set_has(&self->delivered[PF_SECAGG_REVEALING], self->members[i]))
            return pf_fail(err, PF_REFUSED,
                           "%s has not revealed its part of the graph's randomness (%u of %u "
                           "have); the graph needs all",
                           pf_ss_name(self, self->members[i]), revealed, self->n_cohort);
    return begin_sharing(self, err);
}

/* ---- SHARING → MASKING ----------------------------------------------------------------------- */

/* Takes out who has too few holders of its shares, until nobody has. */
static void prune_sharers(const struct pf_secagg_server *self, struct pf_member_set *sharers)
{
    for (bool changed = true; changed;) {
        changed = false;
        for (uint32_t vertex = 0; vertex < self->n_cohort; vertex++) {
            uint32_t member = self->members[vertex];
            if (!pf_member_set_has(sharers, member) ||
                pf_ss_count_holders(self, vertex, sharers) >= self->parameters.threshold)
                continue;
            pf_member_set_remove(sharers, member);
            changed = true;
        }
    }
}

static enum pf_status end_sharing(struct pf_secagg_server *self, struct pf_error *err)
{
    struct pf_member_set *sharers = &self->awaited[PF_SECAGG_MASKING];
    PF_TRY(replace_set(sharers, &self->delivered[PF_SECAGG_SHARING], err));
    uint32_t shared = pf_member_set_count(sharers);
    prune_sharers(self, sharers);
    uint32_t n = pf_member_set_count(sharers);
    if (n < 2)
        return pf_fail(err, PF_REFUSED,
                       "%u of %u shared their secrets; %u of them have the %u holders that the "
                       "threshold asks for",
                       shared, self->n_cohort, n, self->parameters.threshold);
    pf_ring_destroy(self->sum);
    self->sum = NULL;
    PF_TRY(pf_ring_create(pf_codec_ring_length_of(self->codec.length, self->codec.rotate),
                          self->codec.modulus_bits, &self->sum, err));
    self->phase = PF_SECAGG_MASKING;
    return PF_OK;
}

/* ---- MASKING → CONSENTING → UNMASKING -------------------------------------------------------- */

/* Each secret that has to come back must have a threshold of holders in `givers`. */
static enum pf_status check_targets(const struct pf_secagg_server *self,
                                    const struct pf_member_set *survivors,
                                    const struct pf_member_set *givers, const char *what,
                                    struct pf_error *err)
{
    const struct pf_member_set *sharers = &self->awaited[PF_SECAGG_MASKING];
    uint32_t n_lacking = 0, first = 0, has = 0;
    for (uint32_t vertex = self->n_cohort; vertex-- > 0;) {
        uint32_t member = self->members[vertex];
        if (!pf_member_set_has(sharers, member)) continue;
        bool needed = pf_member_set_has(survivors, member) ||
                      pf_ss_count_neighbours(self, vertex, survivors) > 0;
        uint32_t holders = pf_ss_count_holders(self, vertex, givers);
        if (!needed || holders >= self->parameters.threshold) continue;
        n_lacking++;
        first = member;
        has = holders;
    }
    if (n_lacking == 0) return PF_OK;
    return pf_fail(
        err, PF_REFUSED,
        "%u of %u %s; of those who hold shares of %s (and of %u others) only %u did, the "
        "threshold is %u",
        pf_member_set_count(givers), pf_member_set_count(sharers), what, pf_ss_name(self, first),
        n_lacking - 1, has, self->parameters.threshold);
}

static enum pf_status end_masking(struct pf_secagg_server *self, struct pf_error *err)
{
    const struct pf_member_set *survivors = &self->delivered[PF_SECAGG_MASKING];
    uint32_t n = pf_member_set_count(survivors);
    if (n < 2)
        return pf_fail(err, PF_REFUSED,
                       "%u masked updates came; a sum of fewer than 2 hides nothing", n);
    PF_TRY(check_targets(self, survivors, survivors, "delivered a masked update", err));
    PF_TRY(replace_set(&self->awaited[PF_SECAGG_CONSENTING], survivors, err));
    self->phase = PF_SECAGG_CONSENTING;
    return PF_OK;
}

/* Who can be shown a threshold of consents, without which nobody gives shares. */
static void select_givers(const struct pf_secagg_server *self, struct pf_member_set *givers)
{
    const struct pf_member_set *consented = &self->delivered[PF_SECAGG_CONSENTING];
    for (uint32_t vertex = 0; vertex < self->n_cohort; vertex++) {
        uint32_t member = self->members[vertex];
        if (pf_member_set_has(consented, member) &&
            pf_ss_count_holders(self, vertex, consented) >= self->parameters.threshold)
            pf_member_set_add(givers, member);
    }
}

static enum pf_status create_tallies(struct pf_secagg_server *self, struct pf_error *err)
{
    if (self->given == NULL) self->given = pf_alloc(self->n_cohort, sizeof(void *));
    if (self->n_given == NULL) self->n_given = PF_ALLOC(self->n_cohort, uint32_t);
    if (self->given == NULL || self->n_given == NULL) return pf_no_memory(err, "shares");
    self->n_short = 0;
    for (uint32_t vertex = 0; vertex < self->n_cohort; vertex++)
        self->n_short += pf_ss_is_target(self, self->members[vertex]);
    return PF_OK;
}

static enum pf_status end_consenting(struct pf_secagg_server *self, struct pf_error *err)
{
    struct pf_member_set givers;
    PF_TRY(pf_member_set_create(self->config.n_members, &givers, err));
    select_givers(self, &givers);
    enum pf_status status =
        check_targets(self, &self->awaited[PF_SECAGG_CONSENTING], &givers,
                      "consented to the survivor set, with enough consents of others", err);
    if (status == PF_OK) status = create_tallies(self, err);
    if (status == PF_OK) status = replace_set(&self->awaited[PF_SECAGG_UNMASKING], &givers, err);
    if (status == PF_OK) self->phase = PF_SECAGG_UNMASKING;
    pf_member_set_finish(&givers);
    return status;
}

enum pf_status pf_secagg_server_advance(struct pf_secagg_server *self, struct pf_error *err)
{
    switch (self->phase) {
    case PF_SECAGG_ADVERTISING: return end_advertising(self, err);
    case PF_SECAGG_REVEALING: return end_revealing(self, err);
    case PF_SECAGG_SHARING: return end_sharing(self, err);
    case PF_SECAGG_MASKING: return end_masking(self, err);
    case PF_SECAGG_CONSENTING: return end_consenting(self, err);
    case PF_SECAGG_UNMASKING: break;
    }
    return pf_fail(err, PF_INVALID,
                   "unmasking is the last step; it ends when the shares are taken");
}
