/* Everything rests on two tails of the hypergeometric distribution Hyp(n, marked, k): how many of
 * k neighbours drawn from n are among the `marked`, who are corrupt (t1) or gone (t2).
 *
 *   t1 = min t with Pr[corrupt neighbours > t] ≤ 2^−(σ+1)/n
 *   survivors = k − gone, hence
 *   t2 = min t with Pr[survivors ≤ t] ≥ 2^−η/n = k − min s with Pr[gone > s] < 2^−η/n
 *
 * so one function serves both: ≤ and < differ only where a tail meets its limit exactly.  ⌈(1−δ)n⌉
 * survivors are n − ⌊δn⌋, and ⌈(t1 + k − 1.25)/2⌉ is ⌊(t1 + k)/2⌋ for integers.
 *
 * Probabilities are taken relative to the mode's by the ratio of neighbouring terms and normalised
 * by their sum: no factorials, and a relative error near 10^−13, while exact rational arithmetic
 * agrees on every decision that was compared. */
#include "common/secagg/parameters.h"

#include <math.h>

#define NEGLIGIBLE 1e-40 /* of the mode's probability; the limits are above 2^−41/2^32 > 10^−22 */

struct hypergeometric {
    double n, marked, k;
};

/* Pr[x + 1] / Pr[x]; decreasing in x, 0 at the end of the support. */
static double next_ratio(const struct hypergeometric *h, double x)
{
    return (h->marked - x) / (x + 1) * ((h->k - x) / (h->n - h->marked - h->k + x + 1));
}

/* min t with Pr[X > t] ≤ limit. */
static uint32_t upper_quantile(const struct hypergeometric *h, double limit)
{
    double lowest = fmax(0, h->k + h->marked - h->n), highest = fmin(h->k, h->marked);
    double mode = floor((h->k + 1) * (h->marked + 1) / (h->n + 2));
    mode = fmin(fmax(mode, lowest), highest);

    double total = 1, weight = 1;
    for (double x = mode; x > lowest && weight > NEGLIGIBLE; x--) {
        weight /= next_ratio(h, x - 1);
        total += weight;
    }
    double top = mode;
    weight = 1;
    for (; top < highest && weight > NEGLIGIBLE; top++) {
        weight *= next_ratio(h, top);
        total += weight;
    }
    double t = top, tail = 0; /* tail = Pr[X > t]; from the top, small terms first */
    while (t > lowest && tail + weight <= limit * total) {
        tail += weight;
        weight /= next_ratio(h, t - 1);
        t--;
    }
    return (uint32_t)t;
}

/* ⌊fraction·n⌋, not one less where the product is a whole number but for its rounding: 0.29·100. */
static uint32_t count_of(double fraction, uint32_t n)
{
    return (uint32_t)floor(fraction * n + 1e-9);
}

/* The number that a threshold must exceed so that the coordinator and its own neighbours of a
 * participant do not learn both its secrets, but for 2^−(σ+1)/n. */
static uint32_t find_t1(uint32_t n, uint32_t corrupt, uint32_t k, enum pf_adversary adversary)
{
    struct hypergeometric h = {.n = n, .marked = corrupt, .k = k};
    uint32_t t1 = upper_quantile(&h, ldexp(1.0 / n, -(int)PF_SECAGG_SIGMA - 1));
    if (adversary == PF_SEMI_HONEST) return t1;
    return (uint32_t)(((uint64_t)t1 + k) / 2);
}

/* What a threshold may be at most so that dropouts leave enough shares, but for 2^−η/n. */
static uint32_t find_t2(uint32_t n, uint32_t dropped, uint32_t k)
{
    struct hypergeometric h = {.n = n, .marked = dropped, .k = k};
    return k - upper_quantile(&h, ldexp(1.0 / n, -(int)PF_SECAGG_ETA));
}

/* log2 of the bound on the chance that the graph without `lost` vertices falls apart, for growing
 * k; it never rises while lost ≤ n. */
struct connectivity {
    double n, lost;
    uint32_t k;
    double log_product; /* log2 Π_{i<k} (lost − i)/(n − i) */
};

static bool connected_at(struct connectivity *self, uint32_t k)
{
    for (; self->k < k && self->k < self->lost; self->k++)
        self->log_product += log2((self->lost - self->k) / (self->n - self->k));
    if (k > self->lost) return true; /* a factor is 0: to cut somebody off takes k others */
    double pairs = self->n * (self->n - k - 1) / 2;
    return pairs <= 0 || log2(pairs) + self->log_product < -(double)(PF_SECAGG_SIGMA + 1);
}

static enum pf_status check_goal(const struct pf_secagg_goal *goal, struct pf_error *err)
{
    if (goal->n < 2)
        return pf_fail(err, PF_INVALID,
                       "the sum of %u participants hides nobody; at least 2 are needed", goal->n);
    if (!(goal->corrupt >= 0 && goal->corrupt < 1))
        return pf_fail(err, PF_INVALID, "corrupt fraction %g is not within 0 ≤ γ < 1",
                       goal->corrupt);
    if (!(goal->dropouts >= 0 && goal->dropouts < 1))
        return pf_fail(err, PF_INVALID, "dropout fraction %g is not within 0 ≤ δ < 1",
                       goal->dropouts);
    if (goal->adversary != PF_SEMI_HONEST && goal->adversary != PF_SEMI_MALICIOUS)
        return pf_fail(err, PF_INVALID, "adversary %u is unknown", (unsigned)goal->adversary);
    return PF_OK;
}

enum pf_status pf_secagg_find_regular(const struct pf_secagg_goal *goal,
                                      struct pf_secagg_parameters *parameters, struct pf_error *err)
{
    PF_TRY(check_goal(goal, err));
    uint32_t n = goal->n, corrupt = count_of(goal->corrupt, n),
             dropped = count_of(goal->dropouts, n);
    struct connectivity bound = {.n = n, .lost = (double)corrupt + dropped};
    for (uint32_t k = 2; k < n; k += 2) {
        if (!connected_at(&bound, k)) continue;
        uint32_t threshold = PF_MAX(find_t1(n, corrupt, k, goal->adversary) + 1, 2u);
        if (threshold > find_t2(n, dropped, k)) continue;
        *parameters = (struct pf_secagg_parameters){
            .graph = PF_GRAPH_HARARY, .degree = k, .threshold = threshold};
        return PF_OK;
    }
    return pf_fail(err, PF_INVALID,
                   "no regular graph of %u participants withstands %u corrupt ones and %u dropouts "
                   "at once; allow for fewer of either",
                   n, corrupt, dropped);
}

/* The smallest threshold that protects among n who hold a share of everybody's secrets. */
static uint32_t complete_threshold(uint32_t n, uint32_t corrupt, enum pf_adversary adversary)
{
    uint64_t shown = adversary == PF_SEMI_HONEST ? n : (uint64_t)n + corrupt;
    uint32_t t = (uint32_t)(shown / 2) + 1;
    return PF_MAX(PF_MAX(t, corrupt + 1), 2u);
}

enum pf_status pf_secagg_find_complete(const struct pf_secagg_goal *goal,
                                       struct pf_secagg_parameters *parameters,
                                       struct pf_error *err)
{
    PF_TRY(check_goal(goal, err));
    uint32_t n = goal->n, corrupt = count_of(goal->corrupt, n),
             dropped = count_of(goal->dropouts, n);
    uint32_t t = complete_threshold(n, corrupt, goal->adversary);
    if (t > n || n - t < dropped)
        return pf_fail(err, PF_INVALID,
                       "%u dropouts of %u participants leave %u, but %u are needed against %u "
                       "corrupt ones; allow for fewer of either",
                       dropped, n, n - PF_MIN(dropped, n), t, corrupt);
    *parameters =
        (struct pf_secagg_parameters){.graph = PF_GRAPH_COMPLETE, .degree = n - 1, .threshold = t};
    return PF_OK;
}

enum pf_status pf_secagg_find(const struct pf_secagg_goal *goal,
                              struct pf_secagg_parameters *parameters, struct pf_error *err)
{
    if (goal->n < PF_SECAGG_COMPLETE_BELOW) return pf_secagg_find_complete(goal, parameters, err);
    enum pf_status status = pf_secagg_find_regular(goal, parameters, err);
    if (status == PF_INVALID && goal->n <= PF_SECAGG_MAX_COMPLETE)
        return pf_secagg_find_complete(goal, parameters, err);
    return status;
}

static enum pf_status check_complete(const struct pf_secagg_goal *goal, uint32_t corrupt,
                                     const struct pf_secagg_parameters *parameters,
                                     struct pf_error *err)
{
    uint32_t n = goal->n, needed = complete_threshold(n, corrupt, goal->adversary);
    if (parameters->degree != n - 1)
        return pf_fail(err, PF_REFUSED,
                       "the complete graph of %u participants has degree %u, not %u", n, n - 1,
                       parameters->degree);
    if (parameters->threshold < needed || parameters->threshold > n)
        return pf_fail(err, PF_REFUSED,
                       "threshold %u of %u participants does not protect against %u corrupt ones; "
                       "it must be within %u … %u",
                       parameters->threshold, n, corrupt, needed, n);
    return PF_OK;
}

static enum pf_status check_regular(const struct pf_secagg_goal *goal, uint32_t corrupt,
                                    const struct pf_secagg_parameters *parameters,
                                    struct pf_error *err)
{
    uint32_t n = goal->n, k = parameters->degree;
    if (k % 2 != 0 || k < 2 || k > n - 1)
        return pf_fail(err, PF_REFUSED,
                       "a regular graph of %u participants cannot have degree %u; it must be even "
                       "and within 2 … %u",
                       n, k, n - 1);
    struct connectivity bound = {.n = n, .lost = corrupt};
    if (!connected_at(&bound, k))
        return pf_fail(err, PF_REFUSED,
                       "degree %u among %u participants does not keep the honest together when %u "
                       "are corrupt; a larger degree is needed",
                       k, n, corrupt);
    uint32_t needed = PF_MAX(find_t1(n, corrupt, k, goal->adversary) + 1, 2u);
    if (parameters->threshold < needed || parameters->threshold > k)
        return pf_fail(err, PF_REFUSED,
                       "threshold %u of %u neighbours among %u participants does not protect "
                       "against %u corrupt ones; it must be within %u … %u",
                       parameters->threshold, k, n, corrupt, needed, k);
    return PF_OK;
}

enum pf_status pf_secagg_check(const struct pf_secagg_goal *goal,
                               const struct pf_secagg_parameters *parameters, struct pf_error *err)
{
    struct pf_secagg_goal own = *goal;
    own.dropouts = 0; /* not the participant's affair */
    PF_TRY(check_goal(&own, err));
    uint32_t corrupt = count_of(own.corrupt, own.n);
    switch (parameters->graph) {
    case PF_GRAPH_COMPLETE: return check_complete(&own, corrupt, parameters, err);
    case PF_GRAPH_HARARY: return check_regular(&own, corrupt, parameters, err);
    }
    return pf_fail(err, PF_REFUSED, "graph kind %u is unknown", (unsigned)parameters->graph);
}

unsigned pf_secagg_modulus_bits(unsigned value_bits, uint32_t n)
{
    unsigned bits = value_bits;
    for (uint64_t reach = 1; reach < n; reach *= 2) bits++;
    return bits;
}

double pf_secagg_default_corrupt(uint32_t n)
{
    return n < PF_SECAGG_COMPLETE_BELOW ? 0.2 : 0.05;
}
