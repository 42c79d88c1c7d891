/* What a session's configuration must be like: whatever could not work, or could wrap, is refused
 * before the run, with the numbers. */
#include <math.h>

#include "coordinator/session_state.h"
#include "proto/message_check.h"

void pf_masking_order_default(struct pf_masking_order *order)
{
    *order = (struct pf_masking_order){
        .value_bits = 16, .weight_cap = 10000, .clip = {32.0, 32.0}, .rotate = true};
}

void pf_cs_fill_config(struct pf_coordinator_session_config *config)
{
    if (config->upload_budget_bytes == 0)
        config->upload_budget_bytes = PF_DEFAULT_UPLOAD_BUDGET_BYTES;
    if (config->upload_idle_ms == 0) config->upload_idle_ms = PF_DEFAULT_UPLOAD_IDLE_MS;
    if (config->key_timeout_ms == 0) config->key_timeout_ms = PF_DEFAULT_KEY_TIMEOUT_MS;
    if (config->unmask_timeout_ms == 0) config->unmask_timeout_ms = PF_DEFAULT_UNMASK_TIMEOUT_MS;
    if (config->adversary == 0) config->adversary = PF_SEMI_MALICIOUS;
    if (config->masking.value_bits == 0) pf_masking_order_default(&config->masking);
    /* An offer without distillation says nothing about it. */
    if (config->order.distill_weight == 0.0) config->order.distill_temperature = 0.0;
}

static enum pf_status check_times(const struct pf_coordinator_session_config *config,
                                  struct pf_error *err)
{
    const struct {
        const char *what;
        uint32_t ms, least;
    } times[] = {
        {"join timeout", config->join_timeout_ms, 1},
        {"round timeout", config->round_timeout_ms, 1},
        {"liveness limit", config->liveness_ms, 400}, /* four ALIVE intervals of 100 ms */
        {"gathering time", config->gather_ms, 0},
        {"timeout of the keys' steps", config->key_timeout_ms, 1},
        {"timeout of unmasking", config->unmask_timeout_ms, 1},
        {"limit of idle uploads", config->upload_idle_ms, 1},
    };
    for (size_t i = 0; i < PF_ARRAY_LENGTH(times); i++)
        if (times[i].ms < times[i].least || times[i].ms > PF_MAX_WAIT_MS)
            return pf_fail(err, PF_INVALID, "%s of %u ms is outside %u … %u", times[i].what,
                           times[i].ms, times[i].least, PF_MAX_WAIT_MS);
    return PF_OK;
}

/* An order that no offer may carry would fail at the first round. */
static enum pf_status check_order(const struct pf_coordinator_session_config *config,
                                  struct pf_error *err)
{
    struct pf_hash hash = {0};
    struct pf_message probe = {
        .kind = PF_MESSAGE_ROUND_OFFER,
        .run_id = config->run_id,
        .offer = {.round = 1,
                  .n_rounds = 1,
                  .stage = 1,
                  .n_stages = 1,
                  .cohort = 1,
                  .deadline_ms = 1,
                  .model_bytes = 1,
                  .n_chunks = 1,
                  .chunk_hashes = &hash,
                  .order = config->order},
    };
    if (config->aggregation == PF_AGGREGATION_SECURE) probe.offer.masking = config->masking;
    if (config->teacher != NULL) probe.offer.teacher = *config->teacher;
    return pf_message_check(&probe, PF_INVALID, err);
}

/* ---- secure aggregation ------------------------------------------------------------------- */

static struct pf_secagg_goal goal_of(const struct pf_coordinator_session_config *config, uint32_t n)
{
    return (struct pf_secagg_goal){
        .n = n,
        .corrupt = config->corrupt < 0 ? pf_secagg_default_corrupt(n) : config->corrupt,
        .dropouts = config->dropouts,
        .adversary = config->adversary,
    };
}

/* Whether cohorts of n make a complete graph whatever their dropouts. */
static bool is_complete(const struct pf_coordinator_session_config *config, uint32_t n)
{
    return config->graph == PF_GRAPH_COMPLETE ||
           (config->graph == 0 && n < PF_SECAGG_COMPLETE_BELOW);
}

double pf_cs_dropouts(const struct pf_coordinator_session_config *config)
{
    double least = config->dropouts;
    uint32_t last = (uint32_t)PF_MIN(config->n_members, (size_t)PF_SECAGG_MAX_COMPLETE);
    for (uint32_t n = config->min_cohort; n <= last; n++) {
        struct pf_secagg_goal goal = goal_of(config, n);
        struct pf_secagg_parameters parameters;
        goal.dropouts = 0;
        if (!is_complete(config, n) || pf_secagg_find_complete(&goal, &parameters, NULL) != PF_OK)
            continue;
        /* n − t of n may vanish; half of one more keeps ⌊δn⌋ at n − t in spite of rounding. */
        double bearable = ((double)(n - parameters.threshold) + 0.5) / (double)n;
        least = PF_MIN(least, bearable);
    }
    return least;
}

uint32_t pf_cs_enough_consents(const struct pf_coordinator_session_config *config,
                               const struct pf_secagg_parameters *parameters, uint32_t survivors)
{
    if (parameters->graph == PF_GRAPH_COMPLETE) return parameters->threshold;
    uint32_t dropouts = (uint32_t)(pf_cs_dropouts(config) * survivors);
    return PF_MAX(survivors - dropouts, parameters->threshold);
}

static enum pf_status check_cohort_of(const struct pf_coordinator_session_config *config,
                                      uint32_t n, const char *which, struct pf_error *err)
{
    struct pf_secagg_goal goal = goal_of(config, n);
    struct pf_secagg_parameters parameters;
    struct pf_error why;
    enum pf_status status;
    goal.dropouts = pf_cs_dropouts(config);
    switch ((int)config->graph) {
    case 0: status = pf_secagg_find(&goal, &parameters, &why); break;
    case PF_GRAPH_COMPLETE: status = pf_secagg_find_complete(&goal, &parameters, &why); break;
    case PF_GRAPH_HARARY: status = pf_secagg_find_regular(&goal, &parameters, &why); break;
    default: return pf_fail(err, PF_INVALID, "%d is no kind of graph", (int)config->graph);
    }
    if (status == PF_OK) return PF_OK;
    return pf_fail(err, status, "secure aggregation among %u participants (%s) cannot be: %s", n,
                   which, why.text);
}

/* The codec itself says whether sums could wrap. */
static enum pf_status check_codec(const struct pf_coordinator_session_config *config,
                                  struct pf_error *err)
{
    const struct pf_masking_order *masking = &config->masking;
    uint32_t n = (uint32_t)config->n_members;
    if (masking->value_bits < PF_CODEC_MIN_VALUE_BITS ||
        masking->value_bits > PF_CODEC_MAX_VALUE_BITS)
        return pf_fail(err, PF_INVALID, "%u bits a value are outside %u … %u", masking->value_bits,
                       PF_CODEC_MIN_VALUE_BITS, PF_CODEC_MAX_VALUE_BITS);
    for (size_t s = 0; s < PF_CODEC_SEGMENTS; s++)
        if (!(masking->clip[s] >= PF_MIN_CLIP && masking->clip[s] <= PF_MAX_CLIP))
            return pf_fail(err, PF_INVALID, "a clip norm of %g is outside %g … %g",
                           masking->clip[s], PF_MIN_CLIP, PF_MAX_CLIP);
    unsigned bits = pf_secagg_modulus_bits(masking->value_bits, n);
    if (bits > PF_RING_MAX_BITS)
        return pf_fail(err, PF_INVALID,
                       "sums of %u values of %u bits need %u bits, the most is %u: fewer "
                       "participants, or fewer bits a value",
                       n, masking->value_bits, bits, PF_RING_MAX_BITS);
    struct pf_codec_config probe = {
        .value_bits = masking->value_bits,
        .modulus_bits = bits,
        .n_participants = n,
        .weight_cap = masking->weight_cap,
        .length = {1, 1},
        .rotate = masking->rotate,
    };
    for (size_t s = 0; s < PF_CODEC_SEGMENTS; s++) probe.clip[s] = masking->clip[s];
    struct pf_codec *codec = NULL;
    enum pf_status status = pf_codec_create(&probe, &codec, err);
    pf_codec_destroy(codec);
    return status;
}

static enum pf_status check_secure(const struct pf_coordinator_session_config *config,
                                   struct pf_error *err)
{
    if (config->min_cohort < PF_MIN_SECURE_COHORT || config->quorum < PF_MIN_SECURE_COHORT)
        return pf_fail(err, PF_INVALID,
                       "a round of %u participants that counts with %u updates: a sum of fewer "
                       "than %u hides nothing; --aggregation plain or more participants",
                       config->min_cohort, config->quorum, PF_MIN_SECURE_COHORT);
    if (!(config->corrupt < 1))
        return pf_fail(err, PF_INVALID, "a fraction of %g corrupt participants is not below 1",
                       config->corrupt);
    if (!(config->dropouts >= 0 && config->dropouts < 1))
        return pf_fail(err, PF_INVALID, "a fraction of %g dropouts is outside 0 … 1",
                       config->dropouts);
    if (config->adversary != PF_SEMI_HONEST && config->adversary != PF_SEMI_MALICIOUS)
        return pf_fail(err, PF_INVALID, "%d is no kind of adversary", (int)config->adversary);
    PF_TRY(check_codec(config, err));
    PF_TRY(check_cohort_of(config, config->min_cohort, "the smallest cohort", err));
    return check_cohort_of(config, (uint32_t)config->n_members, "the whole roster", err);
}

enum pf_status pf_cs_check_config(const struct pf_coordinator_session_config *config,
                                  struct pf_error *err)
{
    if (config->aggregation != PF_AGGREGATION_PLAIN && config->aggregation != PF_AGGREGATION_SECURE)
        return pf_fail(err, PF_INVALID, "%d is no kind of aggregation", (int)config->aggregation);
    if (config->n_members == 0 || config->n_members > PF_MAX_COHORT)
        return pf_fail(err, PF_INVALID, "%zu members is outside 1…%u", config->n_members,
                       PF_MAX_COHORT);
    if (config->min_cohort == 0 || config->min_cohort > config->n_members)
        return pf_fail(err, PF_INVALID,
                       "a cohort of at least %u is not possible with %zu members on the roster",
                       config->min_cohort, config->n_members);
    if (config->quorum == 0 || config->quorum > config->min_cohort)
        return pf_fail(err, PF_INVALID, "a quorum of %u is outside 1…%u, the smallest cohort",
                       config->quorum, config->min_cohort);
    if (config->max_failed_rounds > PF_MAX_ABANDONED_ROUNDS)
        return pf_fail(err, PF_INVALID, "%u failed rounds in a row is above the limit of %u",
                       config->max_failed_rounds, PF_MAX_ABANDONED_ROUNDS);
    uint32_t rounds = pf_schedule_rounds(&config->schedule);
    if (config->schedule.n_stages == 0 || config->schedule.n_stages > PF_MAX_STAGES ||
        rounds == 0 || rounds > PF_MAX_ROUNDS)
        return pf_fail(err, PF_INVALID, "a schedule of %zu stages and %u rounds cannot be run",
                       config->schedule.n_stages, rounds);
    PF_TRY(check_times(config, err));
    PF_TRY(check_order(config, err));
    return config->aggregation == PF_AGGREGATION_SECURE ? check_secure(config, err) : PF_OK;
}
