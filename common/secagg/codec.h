/* Updates as integers that can be summed modulo 2^b, and back.
 *
 * Encoding, per segment (the trained parameters; the batch-norm statistics): clip to an L2 norm,
 * times weight/weight_cap, optionally rotate (see rotation.h), scale, round stochastically
 * (unbiased), clamp to ±(2^(value_bits−1) − 1).  Rotation spreads what a few coordinates hold over
 * all of them, so that the range can be a few standard deviations instead of the largest value
 * possible; codec.c has the ranges and what they cost.  Rotate unless coordinates must stay apart.
 *
 * Before the segments stand counts (figures): each as PF_FIGURE_LIMBS coordinates of 8 bits, so
 * that their sums are exact and cannot wrap.  Source: Suresh et al. 2017 (rotation); Kairouz et al.
 * 2021, section 4 (order of the steps).
 *
 * Every party must use the same configuration; it is part of what the mask keys are bound to. */
#ifndef PF_COMMON_SECAGG_CODEC_H
#define PF_COMMON_SECAGG_CODEC_H

#include <stdbool.h>

#include "common/base/random.h"
#include "common/secagg/ring.h"

#define PF_CODEC_SEGMENTS 2u
#define PF_CODEC_MIN_VALUE_BITS 8u /* a limb's sum has to fit too */
#define PF_CODEC_MAX_VALUE_BITS 32u
#define PF_FIGURE_LIMBS 4u
#define PF_MAX_WEIGHT_CAP 16777216u
#define PF_CODEC_NORM_UNIT 1024.0 /* norms travel as round(1024·norm/clip), cut at 2^24 */

/* What else is summed; each below 2^32 per participant.  None leaves a participant in clear. */
enum pf_figure {
    PF_FIGURE_EXAMPLES,     /* the weight: min(examples, weight_cap) */
    PF_FIGURE_EVALUATED,    /* own images on which the received model was evaluated */
    PF_FIGURE_CORRECT,      /* … and classified rightly */
    PF_FIGURE_NORM_TRAINED, /* L2 norm before clipping, in units of clip/1024; set by encode */
    PF_FIGURE_NORM_STATISTICS,
    PF_FIGURE_CLIPPED,   /* 1: some segment was clipped; set by encode */
    PF_FIGURE_SATURATED, /* coordinates that were clamped; set by encode */
    PF_FIGURE_N,
};

const char *pf_figure_name(enum pf_figure figure); /* "examples", … */

struct pf_codec_config {
    unsigned value_bits;   /* per coordinate, sign included */
    unsigned modulus_bits; /* of the ring; ≥ pf_secagg_modulus_bits(value_bits, n_participants) */
    uint32_t n_participants; /* at most so many are ever summed */
    uint32_t weight_cap;     /* 1 … PF_MAX_WEIGHT_CAP; more examples count as this many */
    size_t length[PF_CODEC_SEGMENTS]; /* coordinates; may be 0 */
    double clip[PF_CODEC_SEGMENTS];   /* L2 norm; finite, > 0 */
    bool rotate;
    uint8_t seed[32]; /* of the rotation; public, the round's own */
};

struct pf_codec;

/* PF_INVALID with the numbers when sums could wrap: "500 participants × 32767 need 25 bits, the
 * modulus has 20". */
PF_NODISCARD enum pf_status pf_codec_create(const struct pf_codec_config *config,
                                            struct pf_codec **codec, struct pf_error *err);
void pf_codec_destroy(struct pf_codec *self);
PF_DEFINE_CLEANUP(struct pf_codec, pf_codec_destroy)

/* Coordinates of an encoded update, figures included; rotation adds none. */
size_t pf_codec_ring_length(const struct pf_codec *self);
/* The same without a codec, for sizes that must be known early; 0 on overflow. */
size_t pf_codec_ring_length_of(const size_t length[PF_CODEC_SEGMENTS], bool rotate);

/* ring (of pf_codec_ring_length and modulus_bits; overwritten) ← encoded update[Σ length].
 * figures: EXAMPLES (> 0), EVALUATED and CORRECT are read.  `rounding` is the participant's own
 * stream.  PF_INVALID, ring unspecified, for coordinates that are not finite or no examples. */
PF_NODISCARD enum pf_status pf_codec_encode(const struct pf_codec *self, const float *update,
                                            const uint64_t figures[PF_FIGURE_N],
                                            struct pf_random *rounding, struct pf_ring *ring,
                                            struct pf_error *err);

/* mean[Σ length] = Σ weight·update ÷ Σ weight and the sums of all figures.  PF_CORRUPT when the
 * sums cannot be those of honest encodings (no examples, a limb out of range): unmasking failed. */
PF_NODISCARD enum pf_status pf_codec_decode(const struct pf_codec *self, const struct pf_ring *sum,
                                            uint32_t n_summed, float *mean,
                                            uint64_t figures[PF_FIGURE_N], struct pf_error *err);

#endif
