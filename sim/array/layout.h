/* Where a model's weights stand on the array, and what that costs: the counting half of the
 * report. */
#ifndef PF_SIM_ARRAY_LAYOUT_H
#define PF_SIM_ARRAY_LAYOUT_H

#include "sim/array/evaluate.h"

/* Fills in array, n_layers, the layers and totals of both layouts, and energy.  The array has been
 * validated and its alpha suffices. */
PF_NODISCARD enum pf_status pf_array_lay_out(const struct pf_model *model,
                                             const struct pf_array *array,
                                             struct pf_array_report *report, struct pf_error *err);

#endif
