/* The inside of the secure-aggregation server, for its own files.
 *
 * A *vertex* is a position in the cohort, whose members are in ascending order; graph, boxes and
 * shares go by vertices, sets and messages by members.  Each phase has the set it awaits and the
 * set that delivered it; U1 … U4 of Bonawitz et al. are awaited[SHARING], awaited[MASKING],
 * awaited[CONSENTING] and awaited[UNMASKING]. */
#ifndef PF_COORDINATOR_SECAGG_SERVER_PARTS_H
#define PF_COORDINATOR_SECAGG_SERVER_PARTS_H

#include "common/secagg/graph.h"
#include "coordinator/secagg_server.h"

#define PF_SS_PHASES 6u
#define PF_SS_NO_VERTEX UINT32_MAX

struct pf_secagg_server {
    struct pf_secagg_server_config config;
    enum pf_secagg_phase phase;
    struct pf_member_set awaited[PF_SS_PHASES], delivered[PF_SS_PHASES];
    struct pf_advert *adverts; /* [n_members]; of those who advertised */
    uint64_t *key_heads;       /* [n_members]: how their mask keys begin, to be looked through */
    uint8_t (*randomness)[PF_RANDOMNESS_BYTES]; /* [n_members]; of those who revealed */
    uint8_t (*consents)[PF_SIGNATURE_BYTES];    /* [n_members]; of those who consented */

    /* From the end of ADVERTISING on. */
    struct pf_secagg_parameters parameters;
    struct pf_digest cohort_digest;
    uint32_t n_cohort;
    uint32_t *members;  /* [n_cohort]: vertex → member */
    uint32_t *vertices; /* [n_members]: member → vertex or PF_SS_NO_VERTEX */

    /* From SHARING on. */
    struct pf_digest key_list;
    uint32_t *neighbours; /* [n_cohort][degree]: members, ascending */
    struct pf_codec_config codec;
    size_t packed_bytes;
    uint8_t (**boxes)[PF_SHARE_BOX_BYTES]; /* [n_cohort] → [degree] or NULL */

    /* From MASKING on. */
    struct pf_ring *sum;

    /* In UNMASKING.  A giver's shares stand where its neighbours do; with COMPLETE its share of
     * itself is the last. */
    struct pf_scalar **given; /* [n_cohort] → [degree + 1] or NULL */
    uint32_t *n_given;        /* [n_cohort]: shares of this vertex's secret that have come */
    uint32_t n_short;         /* targets with fewer than the threshold */
    bool taken;
};

/* PF_REFUSED with the reason. */
#define PF_SS_REFUSE(reason_out, why, err, ...) \
    (*(reason_out) = (why), pf_fail((err), PF_REFUSED, __VA_ARGS__))

static inline bool pf_ss_complete(const struct pf_secagg_server *self)
{
    return self->parameters.graph == PF_GRAPH_COMPLETE;
}

/* [degree], members in ascending order. */
static inline const uint32_t *pf_ss_neighbours(const struct pf_secagg_server *self, uint32_t vertex)
{
    return self->neighbours + (size_t)vertex * self->parameters.degree;
}

const char *pf_ss_name(const struct pf_secagg_server *self, uint32_t member);
const char *pf_ss_phase_name(enum pf_secagg_phase phase);

/* Where `member` stands among the neighbours of `vertex`; degree if it is none of them. */
uint32_t pf_ss_find_neighbour(const struct pf_secagg_server *self, uint32_t vertex,
                              uint32_t member);
/* How many neighbours of `vertex` are in the set. */
uint32_t pf_ss_count_neighbours(const struct pf_secagg_server *self, uint32_t vertex,
                                const struct pf_member_set *set);
/* How many of the set hold a share of this vertex's secrets: as above, oneself too if complete. */
uint32_t pf_ss_count_holders(const struct pf_secagg_server *self, uint32_t vertex,
                             const struct pf_member_set *set);
/* Whether a secret of this member has to come back: a survivor's self mask always, a dropped
 * sharer's mask key if it has a surviving neighbour. */
bool pf_ss_is_target(const struct pf_secagg_server *self, uint32_t member);

/* Whether this member's message of this phase can be one: new, or a repeat of what was delivered,
 * also of an earlier phase, whose answer may have been lost. */
PF_NODISCARD enum pf_status pf_ss_admit(const struct pf_secagg_server *self, uint32_t member,
                                        uint32_t round, enum pf_secagg_phase phase, bool *repeat,
                                        enum pf_reason *reason, struct pf_error *err);
/* A repeat is fine if it is one. */
PF_NODISCARD enum pf_status pf_ss_judge_repeat(const struct pf_secagg_server *self, uint32_t member,
                                               bool same, enum pf_reason *reason,
                                               struct pf_error *err);

#endif
