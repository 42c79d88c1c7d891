#include "sim/federation/summary.h"

#include <jansson.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/file.h"
#include "common/base/text.h"

/* ---- JSON --------------------------------------------------------------------------------- */

static json_t *real_or_null(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

static json_t *count_or_null(double value)
{
    return isfinite(value) ? json_integer((json_int_t)llround(value)) : json_null();
}

static json_t *list_of(const uint32_t *values, size_t n)
{
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++) json_array_append_new(list, json_integer(values[i]));
    return list;
}

static json_t *network_json(const struct pf_network *network)
{
    return json_pack(
        "{s:s, s:o, s:o, s:o, s:[iii], s:i}", "layer_type", pf_layer_kind_name(network->block_kind),
        "filters", list_of(network->filters, network->n_blocks), "layers",
        list_of(network->layers, network->n_blocks), "strides",
        list_of(network->strides, network->n_blocks), "input", (int)network->in_height,
        (int)network->in_width, (int)network->in_channels, "classes", (int)network->n_classes);
}

static json_t *totals_json(const struct pf_array_totals *totals)
{
    return json_pack("{s:I, s:I, s:I, s:f}", "columns", (json_int_t)totals->columns, "tiles",
                     (json_int_t)totals->tiles, "cycles", (json_int_t)totals->cycles, "utilisation",
                     totals->utilisation);
}

static json_t *array_json(const struct pf_array_report *report)
{
    if (report == NULL) return json_null();
    json_t *combined = totals_json(&report->combined_total);
    json_object_set_new(combined, "energy_uj", real_or_null(report->energy_uj));
    json_object_set_new(combined, "latency_us", real_or_null(report->combined_total.latency_us));
    return json_pack("{s:i, s:i, s:o, s:o, s:b, s:I}", "rows", (int)report->array.rows, "columns",
                     (int)report->array.columns, "uncombined",
                     totals_json(&report->uncombined_total), "combined", combined, "bit_exact",
                     (int)report->bit_exact, "images_checked", (json_int_t)report->n_checked);
}

static json_t *summary_json(const struct pf_summary *self)
{
    return json_pack(
        "{s:I, s:s?, s:o, s:I, s:I, s:s, s:{s:o, s:o, s:o, s:o}, s:{s:I, s:I}, s:o,"
        " s:{s:o, s:o, s:o}, s:o, s:o, s:I, s:f}",
        "seed", (json_int_t)self->seed, "data", self->data, "network", network_json(&self->network),
        "participants", (json_int_t)self->participants, "rounds", (json_int_t)self->rounds,
        "aggregation", pf_aggregation_name(self->aggregation), "accuracy_percent", "dense",
        real_or_null(self->accuracy.dense), "combined", real_or_null(self->accuracy.combined),
        "retrained", real_or_null(self->accuracy.retrained), "array",
        real_or_null(self->accuracy.array), "nonzeros", "dense", (json_int_t)self->nonzeros.dense,
        "packed", (json_int_t)self->nonzeros.packed, "array", array_json(self->array), "bytes",
        "upload_per_participant", count_or_null(self->bytes.upload_per_participant),
        "download_per_participant", count_or_null(self->bytes.download_per_participant),
        "dense_update", count_or_null(self->bytes.dense_update), "epsilon",
        real_or_null(self->epsilon), "seconds", real_or_null(self->seconds), "update_bits",
        (json_int_t)self->update_bits, "distill", self->distill);
}

enum pf_status pf_summary_json(const struct pf_summary *self, struct pf_buffer *text,
                               struct pf_error *err)
{
    json_t *json = summary_json(self);
    char *dump = json != NULL ? json_dumps(json, JSON_INDENT(2) | JSON_REAL_PRECISION(10)) : NULL;
    json_decref(json);
    if (dump == NULL) return pf_no_memory(err, "the summary");
    enum pf_status status = pf_buffer_append(text, dump, strlen(dump), err);
    free(dump);
    return status;
}

enum pf_status pf_summary_save(const struct pf_summary *self, const char *path,
                               struct pf_error *err)
{
    PF_CLEANUP(pf_buffer_finish) struct pf_buffer text = {0};
    PF_TRY(pf_summary_json(self, &text, err));
    PF_TRY(pf_buffer_append(&text, "\n", 1, err));
    return pf_file_write(path, text.bytes, text.length, 0644, err);
}

/* ---- table -------------------------------------------------------------------------------- */

/* Collects lines; the first failure sticks. */
struct page {
    struct pf_buffer *text;
    enum pf_status status;
    struct pf_error *err;
};

static void put(struct page *page, const char *format, ...) PF_PRINTF(2, 3);

static void put(struct page *page, const char *format, ...)
{
    char line[512];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(line, sizeof line, format, args);
    va_end(args);
    if (page->status != PF_OK || n < 0) return;
    size_t length = (size_t)n < sizeof line ? (size_t)n : sizeof line - 1;
    page->status = pf_buffer_append(page->text, line, length, page->err);
}

static const char *percent(char out[32], double value)
{
    if (isfinite(value))
        snprintf(out, 32, "%.2f %%", value);
    else
        snprintf(out, 32, "–");
    return out;
}

static const char *bytes_text(char out[32], double bytes)
{
    if (!isfinite(bytes))
        snprintf(out, 32, "–");
    else if (bytes < 1e6)
        snprintf(out, 32, "%.1f kB", bytes / 1e3);
    else
        snprintf(out, 32, "%.2f MB", bytes / 1e6);
    return out;
}

static void put_accuracy(struct page *page, const struct pf_summary *self)
{
    const struct {
        const char *name;
        double value;
    } rows[] = {{"dense", self->accuracy.dense},
                {"just combined", self->accuracy.combined},
                {"retrained", self->accuracy.retrained},
                {"8-bit on the array", self->accuracy.array}};
    put(page, "accuracy on the test set\n");
    for (size_t i = 0; i < PF_ARRAY_LENGTH(rows); i++) {
        char value[32];
        percent(value, rows[i].value);
        put(page, "  %-24s %10s", rows[i].name, value);
        if (i > 0 && isfinite(rows[i].value) && isfinite(self->accuracy.dense))
            put(page, "   %+.2f points", rows[i].value - self->accuracy.dense);
        put(page, "\n");
    }
}

static void put_ratio_row(struct page *page, const char *name, uint64_t before, uint64_t after)
{
    char a[32], b[32];
    put(page, "  %-24s %12s %12s", name, pf_text_thousands(a, before), pf_text_thousands(b, after));
    if (after > 0) put(page, "   ÷ %.2f", (double)before / (double)after);
    put(page, "\n");
}

static void put_array(struct page *page, const struct pf_summary *self)
{
    const struct pf_array_report *report = self->array;
    put(page, "\n%-26s %12s %12s\n", "nonzero weights", "dense", "packed");
    put_ratio_row(page, "convolutions, classifier", self->nonzeros.dense, self->nonzeros.packed);
    if (report == NULL) return;
    char title[64];
    snprintf(title, sizeof title, "array %u × %u, α = %u", report->array.rows,
             report->array.columns, report->array.alpha);
    /* × and α are two bytes each for one column */
    put(page, "\n%-28s %12s %12s\n", title, "uncombined", "combined");
    const struct pf_array_totals *a = &report->uncombined_total, *b = &report->combined_total;
    put_ratio_row(page, "columns", a->columns, b->columns);
    put_ratio_row(page, "tiles", a->tiles, b->tiles);
    put_ratio_row(page, "cycles per image", a->cycles, b->cycles);
    put(page, "  %-24s %10.1f %% %10.1f %%", "utilisation", 100 * a->utilisation,
        100 * b->utilisation);
    if (a->utilisation > 0) put(page, "   × %.2f", b->utilisation / a->utilisation);
    put(page, "\n  %-24s %9.1f µs %9.1f µs\n", "latency, layer by layer", a->latency_us,
        b->latency_us);
    if (isfinite(report->energy_uj))
        put(page, "  %-24s %12s %9.2f µJ\n", "energy per image", "", report->energy_uj);
    if (report->evaluated && report->n_checked > 0)
        put(page, "  bit-exact with the integer reference on %zu images: %s\n", report->n_checked,
            report->bit_exact ? "yes" : "NO");
}

static void put_transport(struct page *page, const struct pf_summary *self)
{
    char up[32], down[32], dense[32];
    put(page, "\nper participant, whole run\n");
    put(page, "  %-24s %12s   (a dense update: %s)\n", "sent",
        bytes_text(up, self->bytes.upload_per_participant),
        bytes_text(dense, self->bytes.dense_update));
    put(page, "  %-24s %12s\n", "received", bytes_text(down, self->bytes.download_per_participant));
    put(page, "  %-24s %12s   (%u bits per coordinate)\n", "aggregation",
        pf_aggregation_name(self->aggregation), self->update_bits);
}

enum pf_status pf_summary_table(const struct pf_summary *self, struct pf_buffer *text,
                                struct pf_error *err)
{
    struct page page = {.text = text, .err = err};
    char network[256];
    put(&page, "%s\n%s, %zu participants, %u rounds, seed %llu\n\n",
        pf_network_describe(&self->network, network, sizeof network),
        self->data != NULL ? self->data : "no test set", self->participants, self->rounds,
        (unsigned long long)self->seed);
    if (self->distill > 0)
        put(&page, "distilled from the dense model, weight %g\n\n", self->distill);
    put_accuracy(&page, self);
    put_array(&page, self);
    put_transport(&page, self);
    if (isfinite(self->seconds)) put(&page, "\n%.0f seconds\n", self->seconds);
    if (self->aggregation == PF_AGGREGATION_PLAIN)
        put(&page, "\nAggregation was plain: the coordinator saw each update.\n");
    return page.status;
}
