/* A whole federation on one host: keys and roster, a coordinator in this process, every
 * participant in a process of its own, real sockets between them on the loopback address.
 *
 * The participants are `packfed participant` with the arguments a person would type, so what runs
 * here is what runs on several hosts.  In the run folder, besides what the coordinator writes:
 * keys/ and roster.pf of the federation, participants/NAME.log. */
#ifndef PF_SIM_FEDERATION_FEDERATION_H
#define PF_SIM_FEDERATION_FEDERATION_H

#include "common/data/partition.h"
#include "common/nn/precision.h"
#include "coordinator/coordinator.h"

#define PF_MAX_LOCAL_PARTICIPANTS 256u

struct pf_federation_config {
    const char *program; /* the packfed binary */
    size_t n_participants;
    struct pf_data_source source;          /* what each participant loads */
    struct pf_partition_options partition; /* how it is cut; n_parts and seed are filled in */
    bool augmentation;                     /* random crops and flips at the participants */
    enum pf_precision activations;         /* of the participants' training */
    size_t threads_per_participant;        /* 0: the cores divided among them, at least 1 */
    uint64_t seed;
    /* Everything but identity, roster, listen and listening, which are filled in. */
    struct pf_coordinator_config coordinator;
};

/* Blocks until the run is over and no participant is left.  *result as of pf_coordinator_run. */
PF_NODISCARD enum pf_status pf_federation_run(const struct pf_federation_config *config,
                                              const struct pf_progress *progress,
                                              struct pf_coordinator_result *result,
                                              struct pf_error *err);

#endif
