/* What a federation in one process came to, as a table and as JSON. */
#include <jansson.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/text.h"
#include "sim/federation/in_process.h"

static bool is_secure(const struct pf_in_process_config *config)
{
    return config->coordinator.aggregation == PF_AGGREGATION_SECURE;
}

/* ---- JSON ------------------------------------------------------------------------------------ */

static json_t *count(uint64_t value)
{
    return json_integer((json_int_t)value);
}

static json_t *refusals_json(const uint64_t refused[PF_REASON_N])
{
    json_t *object = json_object();
    for (size_t i = 0; i < PF_REASON_N; i++)
        if (refused[i] > 0)
            json_object_set_new(object, pf_reason_name((enum pf_reason)i), count(refused[i]));
    return object;
}

static json_t *steps_json(const struct pf_in_process_result *result)
{
    json_t *object = json_object();
    double n = (double)result->n_participants;
    for (size_t s = 0; s < PF_IN_PROCESS_N_STEPS; s++) {
        const struct pf_in_process_step_figures *step = &result->steps[s];
        json_object_set_new(object, pf_in_process_step_name((enum pf_in_process_step)s),
                            json_pack("{s:o, s:f, s:f, s:f, s:f}", "dropouts",
                                      count(step->dropouts), "upload_per_participant",
                                      (double)step->up_bytes / n, "download_per_participant",
                                      (double)step->down_bytes / n, "participant_seconds",
                                      step->participant_seconds, "coordinator_seconds",
                                      step->coordinator_seconds));
    }
    return object;
}

static json_t *secure_json(const struct pf_in_process_config *config,
                           const struct pf_in_process_result *result)
{
    if (!is_secure(config) || result->parameters.degree == 0) return json_null();
    return json_pack("{s:s, s:o, s:o, s:o, s:o}", "graph", pf_graph_name(result->parameters.graph),
                     "degree", count(result->parameters.degree), "threshold",
                     count(result->parameters.threshold), "update_bits",
                     count(config->coordinator.masking.value_bits), "modulus_bits",
                     count(result->modulus_bits));
}

static json_t *counters_json(const struct pf_in_process_result *result)
{
    const struct pf_coordinator_counters *theirs = &result->coordinator;
    const struct pf_participant_counters *ours = &result->participants;
    return json_pack(
        "{s:{s:o, s:o, s:o, s:o}, s:{s:o, s:o, s:o, s:o, s:o}}", "coordinator", "refused",
        refusals_json(theirs->refused), "malformed", count(theirs->malformed), "unexpected",
        count(theirs->unexpected), "repeated", count(theirs->repeated), "participants", "refused",
        refusals_json(ours->refused), "malformed", count(ours->malformed), "unexpected",
        count(ours->unexpected), "repeated", count(ours->repeated), "stale", count(ours->stale));
}

enum pf_status pf_in_process_json(const struct pf_in_process_config *config,
                                  const struct pf_in_process_result *result, struct pf_buffer *text,
                                  struct pf_error *err)
{
    char fingerprint[17];
    snprintf(fingerprint, sizeof fingerprint, "%016llx", (unsigned long long)result->fingerprint);
    json_t *json = json_pack(
        "{s:b, s:s, s:o, s:o, s:o, s:s, s:o, s:{s:o, s:o}, s:o, s:o, s:s, s:{s:o, s:o}, s:o,"
        " s:{s:f, s:f, s:f, s:f}, s:o, s:f, s:f, s:f, s:f, s:o, s:o}",
        "success", (int)result->success, "sentence", result->sentence, "seed", count(config->seed),
        "participants", count(result->n_participants), "dimension", count(result->dimension),
        "aggregation", pf_aggregation_name(config->coordinator.aggregation), "secure",
        secure_json(config, result), "rounds", "completed", count(result->rounds_completed),
        "abandoned", count(result->rounds_abandoned), "updates_counted",
        count(result->updates_counted), "sums_compared", count(result->sums_verified),
        "fingerprint", fingerprint, "participants_ended", "done", count(result->participants_done),
        "failed", count(result->participants_failed), "steps", steps_json(result), "bytes",
        "upload_mean", result->up_mean, "upload_max", result->up_max, "download_mean",
        result->down_mean, "download_max", result->down_max, "counters", counters_json(result),
        "unmask_seconds", result->unmask_seconds, "compare_seconds", result->verify_seconds,
        "seconds", result->seconds, "virtual_seconds", (double)result->duration_ms / 1000, "frames",
        count(result->frames), "peak_bytes", count(result->peak_bytes));
    char *dump = json != NULL ? json_dumps(json, JSON_INDENT(2) | JSON_REAL_PRECISION(10)) : NULL;
    json_decref(json);
    if (dump == NULL) return pf_no_memory(err, "the report");
    enum pf_status status = pf_buffer_append(text, dump, strlen(dump), err);
    free(dump);
    return status;
}

/* ---- table ----------------------------------------------------------------------------------- */

/* Collects lines; the first failure sticks. */
struct page {
    struct pf_buffer *text;
    enum pf_status status;
    struct pf_error *err;
};

static void put(struct page *page, const char *format, ...) PF_PRINTF(2, 3);

static void put(struct page *page, const char *format, ...)
{
    char line[768];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(line, sizeof line, format, args);
    va_end(args);
    if (page->status != PF_OK || n < 0) return;
    size_t length = (size_t)n < sizeof line ? (size_t)n : sizeof line - 1;
    page->status = pf_buffer_append(page->text, line, length, page->err);
}

static const char *bytes_text(char out[32], double bytes)
{
    if (bytes < 1e3)
        snprintf(out, 32, "%.0f B", bytes);
    else if (bytes < 1e6)
        snprintf(out, 32, "%.1f kB", bytes / 1e3);
    else
        snprintf(out, 32, "%.2f MB", bytes / 1e6);
    return out;
}

static void put_head(struct page *page, const struct pf_in_process_config *config,
                     const struct pf_in_process_result *result)
{
    char participants[32], dimension[32], updates[32];
    put(page, "%s participants in one process, %s parameters, seed %llu\n",
        pf_text_thousands(participants, result->n_participants),
        pf_text_thousands(dimension, result->dimension), (unsigned long long)config->seed);
    if (!is_secure(config))
        put(page, "plain sums: the coordinator sees each update\n");
    else if (result->parameters.degree > 0)
        put(page, "secure sums: %s graph, degree %u, threshold %u; %u-bit values modulo 2^%u\n",
            pf_graph_name(result->parameters.graph), result->parameters.degree,
            result->parameters.threshold, config->coordinator.masking.value_bits,
            result->modulus_bits);
    put(page, "%s: %s\n", result->success ? "done" : "FAILED", result->sentence);
    put(page, "rounds completed %u, abandoned %u; updates in sums %s\n", result->rounds_completed,
        result->rounds_abandoned, pf_text_thousands(updates, result->updates_counted));
    if (result->sums_verified > 0)
        put(page, "sums equal to the plain ones, bit for bit: %u of %u\n", result->sums_verified,
            result->rounds_completed);
    else
        put(page, "sums were not compared with the plain ones\n");
}

static void put_steps(struct page *page, const struct pf_in_process_config *config,
                      const struct pf_in_process_result *result)
{
    double n = (double)result->n_participants;
    put(page, "\n%-10s %9s %12s %12s %15s %13s\n", "step", "dropouts", "up each", "down each",
        "participant ms", "coordinator s");
    for (size_t s = 0; s < PF_IN_PROCESS_N_STEPS; s++) {
        const struct pf_in_process_step_figures *step = &result->steps[s];
        char up[32], down[32];
        const char *name = pf_in_process_step_name((enum pf_in_process_step)s);
        if (step->up_bytes + step->down_bytes == 0) continue;
        if (s == PF_IN_PROCESS_ADVERTISE && !is_secure(config)) name = "offer";
        put(page, "%-10s %9llu %12s %12s %15.3f %13.3f\n", name, (unsigned long long)step->dropouts,
            bytes_text(up, (double)step->up_bytes / n),
            bytes_text(down, (double)step->down_bytes / n), 1e3 * step->participant_seconds / n,
            step->coordinator_seconds);
    }
    char up[32], down[32];
    put(page, "%-10s %9s %12s %12s\n", "mean", "", bytes_text(up, result->up_mean),
        bytes_text(down, result->down_mean));
    put(page, "%-10s %9s %12s %12s\n", "largest", "", bytes_text(up, result->up_max),
        bytes_text(down, result->down_max));
    if (is_secure(config))
        put(page, "taking masks off: %.2f s of the coordinator's worker\n", result->unmask_seconds);
}

static void put_refusals(struct page *page, const char *who, const uint64_t refused[PF_REASON_N],
                         uint64_t malformed, uint64_t repeated)
{
    put(page, "%s: %llu repeats known already", who, (unsigned long long)repeated);
    if (malformed > 0) put(page, ", %llu unreadable", (unsigned long long)malformed);
    uint64_t n = 0;
    for (size_t i = 0; i < PF_REASON_N; i++) {
        n += refused[i];
        if (refused[i] > 0)
            put(page, ", %s %llu", pf_reason_name((enum pf_reason)i),
                (unsigned long long)refused[i]);
    }
    put(page, n > 0 ? "\n" : ", nothing refused\n");
}

enum pf_status pf_in_process_table(const struct pf_in_process_config *config,
                                   const struct pf_in_process_result *result,
                                   struct pf_buffer *text, struct pf_error *err)
{
    struct page page = {.text = text, .err = err};
    char frames[32], peak[32];
    put_head(&page, config, result);
    put_steps(&page, config, result);
    put(&page, "\nturned away\n");
    put_refusals(&page, "  at the coordinator", result->coordinator.refused,
                 result->coordinator.malformed, result->coordinator.repeated);
    put_refusals(&page, "  at participants", result->participants.refused,
                 result->participants.malformed, result->participants.repeated);
    put(&page,
        "\n%s frames in %.1f virtual seconds; %.1f s here (%.1f s comparing sums), peak memory "
        "%s\n",
        pf_text_thousands(frames, result->frames), (double)result->duration_ms / 1e3,
        result->seconds, result->verify_seconds, bytes_text(peak, (double)result->peak_bytes));
    return page.status;
}
