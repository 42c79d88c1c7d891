/* A model for tests that run whole jobs: as small as 32 × 32 images allow. */
#ifndef PF_TESTS_UNIT_COORDINATOR_SMALL_MODEL_H
#define PF_TESTS_UNIT_COORDINATOR_SMALL_MODEL_H

#include "common/model/model.h"

/* Two layers of 8 filters for the synthetic images, dense, initialised; the caller's. */
struct pf_model *small_model(void);

#endif
