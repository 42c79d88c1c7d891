/* `packfed combine --sweep`: what α, γ and density do to a model, as one table. */
#ifndef PF_CLI_COMBINE_SWEEP_H
#define PF_CLI_COMBINE_SWEEP_H

#include "cli/options.h"

#define PF_MAX_SWEEP_VALUES 32u

struct pf_sweep_axis {
    size_t n;
    double values[PF_MAX_SWEEP_VALUES];
};

/* An axis that is not given has one value, that of the options. */
struct pf_sweep {
    bool wanted;
    struct pf_sweep_axis alpha, gamma, density;
};

/* "alpha=1,2,4,8", "gamma=0,.5", "density=.16" into the sweep; exits 2 on anything else. */
void pf_sweep_parse(struct pf_sweep *self, const struct argp_state *state, const char *text);

struct pf_sweep_config {
    const struct pf_model *model;
    const char *model_path;
    const struct pf_schedule_options *schedule; /* of what is not swept; its last stage is done */
    const struct pf_array *array;
    const struct pf_dataset *test_set; /* NULL: no accuracy */
    const char *out;                   /* NULL, or where the table goes as CSV */
    size_t n_threads;
    bool json;
    const struct pf_progress *progress;
};

/* One line per combination, on stdout as they come and in `out`: what `packfed combine` does with
 * that α and γ, and to that density where one is given.  Every block has the same α, but for blocks
 * that the schedule leaves dense. */
PF_NODISCARD enum pf_status pf_sweep_run(const struct pf_sweep *self,
                                         const struct pf_sweep_config *config,
                                         struct pf_error *err);

#endif
