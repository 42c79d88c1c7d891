/* A data set through a network on the array, spot-checked against the integer reference. */
#ifndef PF_SIM_ARRAY_CLASSIFY_H
#define PF_SIM_ARRAY_CLASSIFY_H

#include "sim/array/evaluate.h"
#include "sim/array/network.h"

/* Fills in the report's evaluated, n_images, n_correct, accuracy_percent, n_checked, bit_exact; the
 * images have the network's shape.  PF_INTERRUPTED when progress->stop is set, PF_NO_MEMORY. */
PF_NODISCARD enum pf_status pf_array_classify(const struct pf_array_network *network,
                                              const struct pf_dataset *dataset, size_t n_checked,
                                              struct pf_pool *pool,
                                              const struct pf_progress *progress,
                                              struct pf_array_report *report, struct pf_error *err);

#endif
