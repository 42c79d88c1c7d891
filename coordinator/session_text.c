/* The session in words: names of members, how far the run is. */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "coordinator/session_state.h"

/* Appends to out[size]; what does not fit is cut. */
static void append(char *out, size_t size, const char *format, ...) PF_PRINTF(3, 4);
static void append(char *out, size_t size, const char *format, ...)
{
    size_t length = strlen(out);
    va_list args;
    va_start(args, format);
    vsnprintf(out + length, size - length, format, args);
    va_end(args);
}

/* One by one: for words alone. */
static uint32_t count_picked(const struct pf_coordinator_session *self, pf_cs_pick *wanted)
{
    uint32_t n = 0;
    for (size_t i = 0; i < self->config.n_members; i++) n += wanted(self, i);
    return n;
}

const char *pf_cs_names(const struct pf_coordinator_session *self, pf_cs_pick *wanted, char *out,
                        size_t size)
{
    enum { N_NAMED = 4 };
    size_t n = count_picked(self, wanted);
    size_t n_named = n > N_NAMED ? N_NAMED - 1 : n;
    size_t named = 0;
    out[0] = '\0';
    for (size_t i = 0; i < self->config.n_members && named < n_named; i++) {
        if (!wanted(self, i)) continue;
        named++;
        const char *joint = named == 1 ? "" : named == n ? " and " : ", ";
        append(out, size, "%s%s", joint, self->members[i].name);
    }
    if (n > n_named) append(out, size, " and %zu more", n - n_named);
    if (n == 0) append(out, size, "nobody");
    return out;
}

void pf_cs_trim(char *text)
{
    size_t length = strlen(text);
    size_t start = length;
    while (start > 0 && ((unsigned char)text[start - 1] & 0xC0) == 0x80) start--;
    if (start == 0) return;
    unsigned char lead = (unsigned char)text[start - 1];
    size_t expected = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : lead >= 0xC0 ? 2 : 1;
    if (length - start + 1 < expected) text[start - 1] = '\0';
}

void pf_coordinator_session_view(const struct pf_coordinator_session *self,
                                 struct pf_coordinator_view *view)
{
    size_t n_stages = self->config.schedule.n_stages;
    *view = (struct pf_coordinator_view){
        .phase = self->phase,
        .round = self->round,
        .completed = self->completed,
        .abandoned = self->abandoned,
        .n_rounds = pf_schedule_rounds(&self->config.schedule),
        .stage = (uint32_t)PF_MIN(self->stage + 1, n_stages),
        .n_stages = (uint32_t)n_stages,
        .present = pf_cs_count(self, PF_CLASS_PRESENT),
        .cohort = self->record.cohort,
        .counted = pf_cs_count(self, PF_CLASS_COUNTED),
        .accuracy_percent = self->accuracy_percent,
    };
}

static bool absent(const struct pf_coordinator_session *self, size_t member)
{
    return !self->members[member].present && !self->members[member].left;
}

/* What a step of a secure round waits for. */
static const char *step_noun(enum pf_coordinator_phase phase)
{
    switch (phase) {
    case PF_COORDINATOR_ADVERTISING: return "keys";
    case PF_COORDINATOR_REVEALING: return "parts of the graph";
    case PF_COORDINATOR_SHARING: return "key shares";
    case PF_COORDINATOR_CONSENTING: return "consents";
    case PF_COORDINATOR_UNMASKING: return "answers";
    default: return "updates";
    }
}

static bool delivered(const struct pf_coordinator_session *self, size_t member)
{
    return pf_secagg_server_awaits(self->secagg, (uint32_t)member) &&
           pf_secagg_server_delivered(self->secagg, (uint32_t)member);
}

static bool expected(const struct pf_coordinator_session *self, size_t member)
{
    return self->members[member].part != PF_PART_NONE &&
           pf_secagg_server_awaits(self->secagg, (uint32_t)member);
}

static void describe_step(const struct pf_coordinator_session *self, int64_t now_ms, char *out,
                          size_t size)
{
    char names[3 * PF_MAX_NAME_BYTES + 64];
    append(out, size, " · %s: %u of %u %s · waiting for %s until %llds",
           pf_coordinator_phase_name(self->phase), count_picked(self, delivered),
           count_picked(self, expected), step_noun(self->phase),
           pf_cs_names(self, pf_cs_awaited_now, names, sizeof names),
           (long long)(PF_MAX(self->step_deadline_ms - now_ms, 0) / 1000));
}

const char *pf_coordinator_session_describe(const struct pf_coordinator_session *self,
                                            int64_t now_ms, char *out, size_t size)
{
    struct pf_coordinator_view view;
    char names[3 * PF_MAX_NAME_BYTES + 64];
    pf_coordinator_session_view(self, &view);
    out[0] = '\0';
    append(out, size, "stage %u/%u", view.stage, view.n_stages);
    switch (self->phase) {
    case PF_COORDINATOR_WAITING:
        append(out, size, " · %u of %zu members · waiting for %s until %llds", view.present,
               self->config.n_members, pf_cs_names(self, absent, names, sizeof names),
               (long long)(PF_MAX(self->join_deadline_ms - now_ms, 0) / 1000));
        break;
    case PF_COORDINATOR_COLLECTING:
        append(out, size, " · %u of %u updates · waiting for %s until %llds", view.counted,
               view.cohort, pf_cs_names(self, pf_cs_pending, names, sizeof names),
               (long long)(PF_MAX(self->round_deadline_ms - now_ms, 0) / 1000));
        break;
    case PF_COORDINATOR_ADVERTISING:
    case PF_COORDINATOR_REVEALING:
    case PF_COORDINATOR_SHARING:
    case PF_COORDINATOR_CONSENTING:
    case PF_COORDINATOR_UNMASKING: describe_step(self, now_ms, out, size); break;
    default: append(out, size, " · %s", pf_coordinator_phase_name(self->phase)); break;
    }
    if (view.abandoned > 0) append(out, size, " · %u abandoned", view.abandoned);
    if (!isnan(view.accuracy_percent))
        append(out, size, " · accuracy %.1f %%", view.accuracy_percent);
    return out;
}
