/* The end of a run: the retrained model on the array, and summary.json in the run folder. */
#ifndef PF_SIM_FEDERATION_CONCLUSION_H
#define PF_SIM_FEDERATION_CONCLUSION_H

#include "coordinator/coordinator.h"
#include "sim/federation/summary.h"

struct pf_conclusion_config {
    const char *run_folder; /* holds retrained.pfm; gets summary.json */
    const struct pf_coordinator_result *result;
    const char *data; /* "cifar10"; NULL: no test set */
    uint64_t seed;
    size_t n_participants;
    uint32_t update_bits; /* before masking; 32 when plain */
    double distill;       /* weight; 0: none */
    struct pf_array array;
    const struct pf_dataset *test_set; /* NULL: accuracy on the array stays unknown */
    size_t n_checked;                  /* test images compared with the integer reference */
    size_t n_threads;
    double seconds; /* of the whole job */
};

struct pf_conclusion {
    struct pf_summary summary;
    struct pf_array_report array; /* summary.array points here */
};

/* `conclusion` must stay where it is: its summary points into it. */
PF_NODISCARD enum pf_status pf_conclude(const struct pf_conclusion_config *config,
                                        const struct pf_progress *progress,
                                        struct pf_conclusion *conclusion, struct pf_error *err);

#endif
