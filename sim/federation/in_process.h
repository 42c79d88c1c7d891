/* A whole federation in one process, without sockets, threads or training: the sessions of both
 * roles exactly as they run on a network, under a virtual clock, with a line between them that
 * loses, repeats, delays and damages frames, and with participants that vanish and come back.
 *
 * Updates are made up: a participant's follows from the seed, its number and the round.  So for
 * every round that completes, the sum that the coordinator got is checked against the plain sum of
 * the survivors' updates: coordinate by coordinate, bit for bit.  Other properties that are watched
 * all along: a round is applied once; a receipt means that the update is in the sum, or that the
 * round is abandoned; all who consent in a round consent to one survivor set, that of the sum; a
 * round has one model at each participant, whatever restarts; a teacher, where participants distil,
 * is fetched once in a life and is the run's; nobody asks to be woken without end; everything ends,
 * each with a sentence.
 *
 * Frames are really encoded and decoded, so bytes are those of the wire (without CURVE's).  The
 * coordinator's jobs are replaced: combining and applying give an arbitrary model, but unmasking is
 * the real one.
 *
 * The course follows from the seed, but for what the fresh keys of each round decide: which
 * neighbours a regular graph gives to whom. */
#ifndef PF_SIM_FEDERATION_IN_PROCESS_H
#define PF_SIM_FEDERATION_IN_PROCESS_H

#include "common/base/progress.h"
#include "coordinator/session.h"
#include "participant/session.h"

#define PF_MAX_IN_PROCESS_PARTICIPANTS 10000u

/* Steps of a round, for dropouts and for what is measured. */
enum pf_in_process_step {
    PF_IN_PROCESS_JOIN,      /* HELLO, ALIVE and what else is beside the rounds */
    PF_IN_PROCESS_MODEL,     /* its chunks */
    PF_IN_PROCESS_ADVERTISE, /* the steps of docs/protocol.md; the offer is of this one */
    PF_IN_PROCESS_REVEAL,
    PF_IN_PROCESS_SHARE,
    PF_IN_PROCESS_MASK,
    PF_IN_PROCESS_CONSENT,
    PF_IN_PROCESS_UNMASK,
    PF_IN_PROCESS_N_STEPS,
};

const char *pf_in_process_step_name(enum pf_in_process_step step); /* "join", "model", … */

#define PF_IN_PROCESS_ANYWHERE PF_IN_PROCESS_N_STEPS

struct pf_in_process_faults {
    double lost, repeated, late, damaged; /* probabilities per frame; late: by up to 8 s */
    double training_fails, job_fails;     /* per training; per coordinator's job */
    /* In each round ⌊dropouts·n⌋ participants vanish right before they would send their message of
     * the step `drop_at`: ADVERTISE … UNMASK, or, ANYWHERE, each of them but REVEAL, without whose
     * messages there is no graph. */
    double dropouts;
    enum pf_in_process_step drop_at;
    double kills_per_minute; /* per participant, in the first two minutes, at any moment */
    double killed_for_good;  /* of the kills and dropouts; the others restart within 20 s */
    bool ledger;             /* participants keep one across restarts */
    bool coordinator_leaves; /* two seconds after the end of the run */
};

struct pf_in_process_config {
    size_t n_participants;
    uint64_t seed;
    /* run_id, members, n_members, network and roster_hash are filled in. */
    struct pf_coordinator_session_config coordinator;
    /* For each; roster, self, sign_secret, pool and rounding_seed are filled in. */
    struct pf_participant_session_config participant;
    struct pf_network network;
    struct pf_in_process_faults faults;
    int64_t training_min_ms, training_max_ms; /* virtual */
    int64_t job_min_ms, job_max_ms;
    int64_t pickup_ms;     /* offers reach participants spread over so long */
    int64_t limit_ms;      /* virtual; no run may take longer */
    size_t n_threads;      /* of masks and checks; 0: one per core */
    bool distinct_weights; /* participant i has 2^i examples; n_participants ≤ 20 */
    bool verify;           /* compare the sums; damaged frames turn it off */
};

struct pf_in_process_step_figures {
    double participant_seconds,
        coordinator_seconds; /* of this process, all participants together */
    uint64_t up_bytes, down_bytes;
    uint64_t dropouts; /* participants that vanished here, summed over the rounds */
};

struct pf_in_process_result {
    bool success;       /* the coordinator's run */
    char sentence[384]; /* how it ended */
    size_t n_participants, dimension;
    uint32_t rounds_completed, rounds_abandoned;
    uint64_t updates_counted; /* over all completed rounds */
    uint32_t sums_verified;
    struct pf_secagg_parameters parameters; /* of the last key list; zero when plain */
    unsigned modulus_bits;                  /* of the last secure sum */
    size_t participants_done;               /* heard that the run went well */
    size_t participants_failed;             /* ended with a sentence */
    struct pf_in_process_step_figures steps[PF_IN_PROCESS_N_STEPS];
    double up_mean, up_max, down_mean, down_max; /* bytes per participant, whole run */
    double unmask_seconds, verify_seconds, seconds;
    uint64_t frames; /* sent */
    uint64_t teacher_chunks_sent;
    uint32_t teacher_chunks; /* of one teacher; 0 without distillation */
    int64_t duration_ms;     /* virtual */
    uint64_t fingerprint;    /* of all sums; the same seed gives the same */
    struct pf_coordinator_counters coordinator;
    struct pf_participant_counters participants; /* over all of them and their lives */
    size_t peak_bytes;                           /* of the process, so far */
};

/* A network with about `dimension` parameters.  PF_INVALID for dimensions out of reach. */
PF_NODISCARD enum pf_status pf_in_process_network(size_t dimension, struct pf_network *network,
                                                  struct pf_error *err);

/* Whatever the coordinator and the participants do when left alone: no faults, secure aggregation,
 * one round, times as on a network. */
void pf_in_process_config_default(size_t n_participants, struct pf_in_process_config *config);

/* PF_OK when the run has ended, well or not, and no property was broken.  PF_CORRUPT: one was, and
 * the sentence says which.  PF_INVALID: the configuration cannot be meant.  *result is filled in as
 * far as it came. */
PF_NODISCARD enum pf_status pf_in_process_run(const struct pf_in_process_config *config,
                                              const struct pf_progress *progress,
                                              struct pf_in_process_result *result,
                                              struct pf_error *err);

/* Everything in *result: a table for a terminal, one JSON object without a final newline. */
PF_NODISCARD enum pf_status pf_in_process_table(const struct pf_in_process_config *config,
                                                const struct pf_in_process_result *result,
                                                struct pf_buffer *text, struct pf_error *err);
PF_NODISCARD enum pf_status pf_in_process_json(const struct pf_in_process_config *config,
                                               const struct pf_in_process_result *result,
                                               struct pf_buffer *text, struct pf_error *err);

#endif
