/* What a run came to: the figures of summary.json and of the table on the terminal.
 *
 * Unknown numbers are NaN here, null in the file, a dash in the table. */
#ifndef PF_SIM_FEDERATION_SUMMARY_H
#define PF_SIM_FEDERATION_SUMMARY_H

#include "common/base/buffer.h"
#include "common/model/model.h"
#include "common/secagg/aggregate.h"
#include "sim/array/evaluate.h"

struct pf_summary {
    uint64_t seed;
    const char *data; /* "cifar10"; NULL: no test set; borrowed */
    struct pf_network network;
    size_t participants;
    uint32_t rounds; /* completed */
    enum pf_aggregation aggregation;
    uint32_t update_bits; /* per coordinate before masking; 32 when plain */
    double distill;       /* weight of the dense model's word in the retraining; 0: none */
    struct {
        double dense, combined, retrained, array; /* percent of the test set */
    } accuracy;
    struct {
        size_t dense, packed;
    } nonzeros;
    const struct pf_array_report *array; /* NULL: not evaluated; borrowed */
    struct {
        double upload_per_participant, download_per_participant; /* mean over participants */
        double dense_update; /* one 32-bit float per parameter of the dense model */
    } bytes;
    double epsilon; /* NaN: no differential privacy */
    double seconds;
};

/* Writes summary.json; the keys are those of docs/ARCHITECTURE.md, "Run folder". */
PF_NODISCARD enum pf_status pf_summary_save(const struct pf_summary *self, const char *path,
                                            struct pf_error *err);

/* The same as JSON text, without a final newline. */
PF_NODISCARD enum pf_status pf_summary_json(const struct pf_summary *self, struct pf_buffer *text,
                                            struct pf_error *err);

/* The table for a terminal, UTF-8, at most 80 columns wide. */
PF_NODISCARD enum pf_status pf_summary_table(const struct pf_summary *self, struct pf_buffer *text,
                                             struct pf_error *err);

#endif
