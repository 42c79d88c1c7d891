/* The inside of the federation in one process, for its own files.
 *
 * Functions that can run out of memory or find a property broken say so in self->trouble; whoever
 * goes on asks for it.  The first trouble stays. */
#ifndef PF_SIM_FEDERATION_IN_PROCESS_PARTS_H
#define PF_SIM_FEDERATION_IN_PROCESS_PARTS_H

#include "common/base/memory.h"
#include "common/base/pool.h"
#include "common/base/random.h"
#include "common/wire/roster.h"
#include "proto/model_file.h"
#include "sim/federation/event_queue.h"
#include "sim/federation/in_process.h"

struct pf_player {
    struct pf_participant_session *session; /* NULL: not running */
    uint8_t sign_secret[64];
    uint32_t life;
    bool gone;              /* for good */
    int64_t wake_at;        /* of its WAKE event in the queue; INT64_MAX: none */
    uint64_t up, down;      /* bytes */
    uint32_t receipt_round; /* the newest round that it has a receipt for */
    /* What it has recorded, whatever restarts: for the properties. */
    struct pf_participation known;
    struct pf_participation newest;
    bool remembers;   /* its ledger has `known` */
    bool has_teacher; /* in this life */
};

/* A model file that players fetch. */
struct pf_ip_file {
    struct pf_buffer bytes;
    struct pf_chunked_model named;  /* chunk_hashes is owned */
    struct pf_frame **chunk_frames; /* [n_chunks], made when first asked for */
};

struct pf_in_process {
    const struct pf_in_process_config *config;
    const struct pf_progress *progress;
    struct pf_in_process_result *result;
    struct pf_random random;
    int64_t now;
    struct pf_error trouble; /* PF_OK: none */
    struct pf_pool *pool;
    struct pf_event_queue events;
    struct pf_buffer scratch; /* one encoded frame */
    double began, shown;

    struct pf_roster *roster;
    struct pf_coordinator_session *coordinator;
    int64_t coordinator_wake;            /* as of its last event */
    struct pf_coordinator_action action; /* in hand: its frames are not all sent */
    size_t action_sent;                  /* members it was sent to */
    bool action_in_hand;
    bool ended;
    int64_t ended_at;

    struct pf_ip_file model;        /* as served now */
    struct pf_ip_file teacher;      /* empty without distillation */
    struct pf_model *teacher_model; /* NULL: none */
    size_t n_parameters, n_trained;
    uint64_t n_models;

    /* What the job in hand will say. */
    enum pf_status job_status;
    struct pf_error job_error;
    bool figures_known;
    uint64_t figures[PF_FIGURE_N];

    uint32_t n_rounds_known; /* length of the next lists */
    /* [round]: whose updates were counted, as far as receipts were given; bits NULL: nobody's. */
    struct pf_member_set *survivors;
    bool *applied, *completed; /* [round] */

    size_t n_players;
    struct pf_player *players;
    size_t n_over; /* the first of them, known to be over */

    uint32_t drop_round; /* that `drops` is for */
    uint8_t *drops;      /* [n_players]: enum pf_in_process_step, N_STEPS: stays */
};

/* Records a broken property; the first one counts. */
#define PF_IP_CHECK(self, condition, ...)                             \
    do {                                                              \
        if (!(condition) && (self)->trouble.status == PF_OK)          \
            (void)pf_fail(&(self)->trouble, PF_CORRUPT, __VA_ARGS__); \
    } while (0)
/* Where the reason for a failure is to be had: &self->trouble, or nowhere if there is one already.
 */
struct pf_error *pf_ip_error(struct pf_in_process *self);
static inline bool pf_ip_well(const struct pf_in_process *self)
{
    return self->trouble.status == PF_OK;
}

extern const struct pf_run_id pf_ip_run_id;

bool pf_ip_chance(struct pf_in_process *self, double probability);
int64_t pf_ip_between(struct pf_in_process *self, int64_t low, int64_t high);
void pf_ip_push(struct pf_in_process *self, struct pf_event event);
/* The step that a message belongs to. */
enum pf_in_process_step pf_ip_step_of(enum pf_message_kind kind);

/* in_process_line.c */

/* To the coordinator (kind TO_COORDINATOR) from a player, or to players. */
void pf_ip_send_up(struct pf_in_process *self, size_t player, const struct pf_message *message);
void pf_ip_send_down(struct pf_in_process *self, const struct pf_coordinator_action *action,
                     size_t begin, size_t end);
void pf_ip_send_chunk(struct pf_in_process *self, const struct pf_coordinator_action *action);
void pf_ip_file_finish(struct pf_ip_file *self); /* an all-zero struct is fine */

/* in_process_players.c */
enum pf_status pf_ip_create_players(struct pf_in_process *self, struct pf_error *err);
void pf_ip_destroy_players(struct pf_in_process *self);
void pf_ip_player_event(struct pf_in_process *self, const struct pf_event *event,
                        const struct pf_message *message);
bool pf_ip_players_over(struct pf_in_process *self);
void pf_ip_conclude_players(struct pf_in_process *self);

/* in_process_coordinator.c */
enum pf_status pf_ip_create_coordinator(struct pf_in_process *self, struct pf_error *err);
void pf_ip_destroy_coordinator(struct pf_in_process *self);
void pf_ip_coordinator_event(struct pf_in_process *self, const struct pf_event *event,
                             const struct pf_message *message);
/* Whether it has to wait until frames have arrived. */
bool pf_ip_line_full(const struct pf_in_process *self);
void pf_ip_tick_coordinator(struct pf_in_process *self);
/* Does what the coordinator asks for, as far as the line has room. */
void pf_ip_drain_coordinator(struct pf_in_process *self);

/* in_process_sums.c */

/* A participant's update of a round: values[n_parameters], the same at each call. */
void pf_ip_make_update(const struct pf_in_process *self, size_t player, uint32_t round,
                       float *values, uint64_t figures[PF_FIGURE_N]);
uint64_t pf_ip_rounding_seed(const struct pf_in_process *self, size_t player);
/* Takes the masks off and compares with the survivors' sum. */
void pf_ip_apply_secure(struct pf_in_process *self, struct pf_coordinator_action *action);
void pf_ip_apply_plain(struct pf_in_process *self, const struct pf_coordinator_action *action);
/* The set of a round; NULL: no memory (trouble says so). */
struct pf_member_set *pf_ip_round_set(struct pf_in_process *self, uint32_t round);
/* … of a round that has one. */
bool pf_ip_in_sum(const struct pf_in_process *self, uint32_t round, size_t player);

#endif
