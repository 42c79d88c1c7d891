/* Sums of weighted updates: what a participant sends and what the coordinator may learn.
 *
 * The vector has n coordinates (all parameters of the model: local − global) and travels times
 * the participant's weight (its example count), with the weight as one more coordinate.  The
 * coordinator adds up what arrives and divides sum by summed weight.
 *
 * PF_AGGREGATION_PLAIN: 32-bit floats, protected by the transport alone: the coordinator sees
 * each update.  For comparisons, and until the masked kind stands. */
#ifndef PF_COMMON_SECAGG_AGGREGATE_H
#define PF_COMMON_SECAGG_AGGREGATE_H

#include <stddef.h>
#include <stdint.h>

#include "common/base/buffer.h"
#include "common/base/error.h"
#include "common/secagg/codec.h"

enum pf_aggregation { PF_AGGREGATION_PLAIN = 1, PF_AGGREGATION_SECURE = 2 };

/* What a round of local training makes, before it is encoded: private. */
struct pf_update {
    float *values; /* [n]: local − global; owned, from pf_alloc */
    size_t n;
    uint64_t figures[PF_FIGURE_N]; /* EXAMPLES, EVALUATED, CORRECT are set */
};

void pf_update_finish(struct pf_update *self);

const char *pf_aggregation_name(enum pf_aggregation kind); /* "plain", "secure" */

/* Bytes of an encoded update of n coordinates. */
size_t pf_update_size(enum pf_aggregation kind, size_t n);

/* Appends the encoded update.  delta[n]; weight > 0.  PF_INVALID when a coordinate is not finite.
 */
PF_NODISCARD enum pf_status pf_update_encode(enum pf_aggregation kind, const float *delta, size_t n,
                                             double weight, struct pf_buffer *bytes,
                                             struct pf_error *err);

/* The running sum at the coordinator: one accumulator, whatever the number of participants. */
struct pf_sum;

PF_NODISCARD enum pf_status pf_sum_create(enum pf_aggregation kind, size_t n, struct pf_sum **sum,
                                          struct pf_error *err);
void pf_sum_destroy(struct pf_sum *self);
PF_DEFINE_CLEANUP(struct pf_sum, pf_sum_destroy)

/* Adds one encoded update, whole.  PF_CORRUPT when its length is wrong, PF_REFUSED when a
 * coordinate is not finite or the weight is not in (0, 2^32]; the sum is then unchanged. */
PF_NODISCARD enum pf_status pf_sum_add(struct pf_sum *self, const uint8_t *bytes, size_t length,
                                       struct pf_error *err);

size_t pf_sum_count(const struct pf_sum *self);
double pf_sum_weight(const struct pf_sum *self);

/* mean[n] = Σ weight·delta ÷ Σ weight.  PF_INVALID when nothing was added. */
PF_NODISCARD enum pf_status pf_sum_mean(const struct pf_sum *self, float *mean,
                                        struct pf_error *err);

#endif
