/* The run folder and the mapping from the session's records to the store. */
#ifndef PF_COORDINATOR_RUN_FOLDER_H
#define PF_COORDINATOR_RUN_FOLDER_H

#include "common/base/buffer.h"
#include "coordinator/coordinator.h"
#include "coordinator/jobs.h"
#include "coordinator/session.h"
#include "coordinator/store.h"

/* PF_REFUSED when `path` holds anything, PF_IO when it is no folder.  Makes nothing. */
PF_NODISCARD enum pf_status pf_run_folder_check(const char *path, struct pf_error *err);

/* Makes folder, store and dense.pfm. */
PF_NODISCARD enum pf_status pf_run_folder_create(const struct pf_coordinator_config *config,
                                                 const struct pf_run_id *run_id,
                                                 struct pf_store **store, struct pf_error *err);

/* Writes folder/name in one step. */
PF_NODISCARD enum pf_status pf_run_folder_write(const char *folder, const char *name,
                                                const void *bytes, size_t length,
                                                struct pf_error *err);

/* Inside a transaction of the caller's. */
PF_NODISCARD enum pf_status pf_run_store_round(struct pf_store *store,
                                               const struct pf_round_record *record,
                                               uint64_t upload_bytes, uint64_t download_bytes,
                                               struct pf_error *err);
PF_NODISCARD enum pf_status pf_run_store_stage(struct pf_store *store,
                                               const struct pf_job_result *result, uint32_t rounds,
                                               struct pf_error *err);
PF_NODISCARD enum pf_status pf_run_store_model(struct pf_store *store, uint32_t round,
                                               const struct pf_job_result *result,
                                               struct pf_error *err);
/* How the run ended, and its figures. */
PF_NODISCARD enum pf_status pf_run_store_end(struct pf_store *store,
                                             const struct pf_coordinator_result *result,
                                             const struct pf_coordinator_counters *counters,
                                             uint64_t strangers, struct pf_error *err);

/* Groups of the layers that were combined (alpha > 1). */
size_t pf_report_groups(const struct pf_combine_report *report);

#endif
