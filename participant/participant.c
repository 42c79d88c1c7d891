#include "participant/participant.h"

#include <stdio.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/memory.h"
#include "common/wire/wire.h"
#include "participant/ledger.h"
#include "participant/local_trainer.h"

/* The stop flag and the connection are looked at so often. */
#define LONGEST_WAIT_MS 250
/* A server that refuses the key for so long means it: some reconnections have been tried. */
#define REFUSED_FOR_MS 5000

struct shell {
    const struct pf_participant_config *config;
    struct pf_participant_summary *summary;
    struct pf_wire_client *client;
    struct pf_participant_session *session;
    struct pf_local_trainer *trainer;
    struct pf_ledger *ledger; /* NULL: none */
    bool ledger_failed;
    struct pf_pool *pool;     /* for masks; the trainer has its own */
    struct pf_buffer frame;   /* reused for sending */
    uint64_t connections;     /* seen so far */
    int64_t refused_since_ms; /* 0: not refused since the last connection */
    enum pf_status status;    /* why the shell itself stopped the session */
    char shown[64];           /* the last progress */
    size_t shown_done;
};

enum pf_status pf_participant_check_roster(const struct pf_roster *roster,
                                           const struct pf_identity *identity, struct pf_error *err)
{
    char fingerprint[17];
    size_t member = pf_roster_find(roster, identity->public.transport);
    if (member != SIZE_MAX && memcmp(roster->members[member].sign, identity->public.sign,
                                     sizeof identity->public.sign) == 0)
        return PF_OK;
    pf_identity_fingerprint(&identity->public, fingerprint);
    return pf_fail(err, PF_REFUSED,
                   "%s (fingerprint %s) is not on the roster of '%s', serial %llu; ask its "
                   "authority for a new roster with %s.pub (--roster)",
                   identity->public.name, fingerprint, roster->federation,
                   (unsigned long long)roster->serial, identity->public.name);
}

static void stop_with(struct shell *shell, enum pf_status status, const char *sentence)
{
    shell->status = status;
    pf_participant_session_stop(shell->session, sentence);
}

/* ---- actions -------------------------------------------------------------------------------- */

static void send_message(struct shell *shell, const struct pf_message *message)
{
    struct pf_error err = {0};
    /* What the ledger could not note must not leave: keys, or the consent to a sum. */
    if (shell->ledger_failed && message->kind != PF_MESSAGE_DECLINE) return;
    pf_buffer_reset(&shell->frame);
    enum pf_status status = pf_message_encode(message, &shell->frame, &err);
    if (status == PF_OK)
        status = pf_wire_client_send(shell->client, shell->frame.bytes, shell->frame.length, &err);
    /* Everything that matters is sent again by the session, so a lost frame only costs time. */
    if (status == PF_OK)
        shell->summary->bytes_sent += shell->frame.length;
    else
        pf_log(PF_LOG_DEBUG, "%s not sent: %s", pf_message_kind_name(message->kind), err.text);
}

static void recall(struct shell *shell, const struct pf_run_id *run_id)
{
    struct pf_error err = {0};
    struct pf_participation record;
    if (shell->ledger == NULL) return;
    enum pf_status status = pf_ledger_join(shell->ledger, run_id, shell->config->roster->federation,
                                           pf_clock_wall_ms(), &err);
    if (status == PF_OK) status = pf_ledger_newest(shell->ledger, run_id, &record, &err);
    if (status == PF_OK)
        pf_participant_session_recall(shell->session, &record);
    else if (status != PF_NOT_FOUND)
        stop_with(shell, status, err.text);
}

static void record(struct shell *shell, const struct pf_participation *participation)
{
    struct pf_error err = {0};
    if (shell->ledger == NULL) return;
    enum pf_status status = pf_ledger_record(shell->ledger, participation, &err);
    shell->ledger_failed = shell->ledger_failed || status != PF_OK;
    if (status != PF_OK && shell->status == PF_OK) stop_with(shell, status, err.text);
}

static void train(struct shell *shell, const struct pf_participant_action *action)
{
    struct pf_error err = {0};
    if (shell->status != PF_OK) return;
    enum pf_status status =
        pf_local_trainer_start(shell->trainer, action->train.job, action->train.round,
                               action->train.model, action->train.teacher, &action->train.order,
                               action->train.aggregation == PF_AGGREGATION_SECURE, &err);
    if (status != PF_OK)
        pf_participant_session_training_failed(shell->session, action->train.job,
                                               pf_local_trainer_public_sentence(status),
                                               pf_clock_monotonic_ms());
}

static void show_result(const struct pf_round_result *result)
{
    char accuracy[32] = "";
    if (result->accuracy_known)
        snprintf(accuracy, sizeof accuracy, ", accuracy %.2f %%", result->accuracy_percent);
    if (result->completed)
        pf_log(PF_LOG_INFO, "round %u: complete, %u updates%s", result->round, result->n_included,
               accuracy);
    else
        pf_log(PF_LOG_INFO, "round %u: abandoned: %s", result->round, result->text);
}

static void drain(struct shell *shell)
{
    struct pf_participant_action action;
    while (pf_participant_session_next_action(shell->session, &action)) {
        switch (action.kind) {
        case PF_PARTICIPANT_SEND: send_message(shell, &action.message); break;
        case PF_PARTICIPANT_RECALL: recall(shell, &action.run_id); break;
        case PF_PARTICIPANT_RECORD: record(shell, &action.record); break;
        case PF_PARTICIPANT_TRAIN: train(shell, &action); break;
        case PF_PARTICIPANT_CANCEL: pf_local_trainer_cancel(shell->trainer); break;
        case PF_PARTICIPANT_RESULT: show_result(&action.result); break;
        }
    }
}

/* ---- events --------------------------------------------------------------------------------- */

static void receive_frame(struct shell *shell, const struct pf_buffer *frame)
{
    struct pf_error err = {0};
    struct pf_message message;
    shell->summary->bytes_received += frame->length;
    if (pf_message_decode(frame->bytes, frame->length, &message, &err) != PF_OK) {
        pf_participant_session_malformed(shell->session);
        uint64_t n = pf_participant_session_counters(shell->session)->malformed;
        if (pf_log_worth(n))
            pf_log(PF_LOG_WARNING, "refused, malformed (%llu so far): %s", (unsigned long long)n,
                   err.text);
        return;
    }
    pf_participant_session_receive(shell->session, &message, pf_clock_monotonic_ms());
    drain(shell);
    pf_message_finish(&message);
}

static void poll_trainer(struct shell *shell)
{
    struct pf_local_trainer_result result;
    if (!pf_local_trainer_poll(shell->trainer, &result)) return;
    if (result.status == PF_OK) {
        pf_participant_session_trained(shell->session, result.job, &result.update,
                                       pf_clock_monotonic_ms());
    } else {
        pf_log(PF_LOG_WARNING, "training failed: %s", result.err.text);
        pf_participant_session_training_failed(shell->session, result.job,
                                               pf_local_trainer_public_sentence(result.status),
                                               pf_clock_monotonic_ms());
    }
    drain(shell);
}

static void refused_for_good(struct shell *shell, const char *state)
{
    char fingerprint[17], sentence[480];
    const struct pf_participant_config *config = shell->config;
    pf_identity_fingerprint(&config->identity->public, fingerprint);
    snprintf(sentence, sizeof sentence,
             "%s: %s; ours is %s (fingerprint %s), expected there is %s; compare the rosters of "
             "both sides (packfed inspect), or check --connect and --identity",
             config->endpoint, state, config->identity->public.name, fingerprint,
             config->roster->coordinator.name);
    stop_with(shell, PF_REFUSED, sentence);
}

static void watch_connection(struct shell *shell, int64_t now_ms)
{
    const char *state = pf_wire_client_state(shell->client);
    uint64_t connections = pf_wire_client_connections(shell->client);
    if (connections != shell->connections) pf_participant_session_connected(shell->session, now_ms);
    shell->connections = connections;
    if (strcmp(state, "connected") == 0) {
        shell->refused_since_ms = 0;
    } else if (strncmp(state, "refused", strlen("refused")) == 0) {
        if (shell->refused_since_ms == 0) shell->refused_since_ms = now_ms;
        if (now_ms - shell->refused_since_ms >= REFUSED_FOR_MS) refused_for_good(shell, state);
    }
    drain(shell);
}

/* Only what is new: a line that repeats itself tells nothing. */
static void show(struct shell *shell, const char *what, size_t done, size_t total,
                 const char *detail)
{
    if (strcmp(what, shell->shown) == 0 && done == shell->shown_done) return;
    snprintf(shell->shown, sizeof shell->shown, "%s", what);
    shell->shown_done = done;
    pf_progress_update(shell->config->progress, what, done, total, detail);
}

static void show_progress(struct shell *shell)
{
    struct pf_participant_view view;
    char what[64];
    size_t done = 0, total = 0;
    pf_participant_session_view(shell->session, &view);
    switch (view.phase) {
    case PF_PARTICIPANT_CONNECTING:
        show(shell, "connecting", 0, 1, shell->config->endpoint);
        return;
    case PF_PARTICIPANT_IDLE: /* told by the log line of the round's end */
    case PF_PARTICIPANT_DONE:
    case PF_PARTICIPANT_FAILED: return;
    case PF_PARTICIPANT_FETCHING:
        done = view.chunks_held;
        total = view.n_chunks;
        break;
    case PF_PARTICIPANT_TRAINING:
        if (!pf_local_trainer_steps(shell->trainer, &done, &total)) done = 0;
        break;
    default: break;
    }
    snprintf(what, sizeof what, "round %u/%u · %s", view.round, view.n_rounds,
             pf_participant_phase_name(view.phase));
    show(shell, what, done, PF_MAX(total, 1), "");
}

static void wake(void *client)
{
    pf_wire_client_wake(client);
}

static int wait_ms(const struct shell *shell)
{
    int64_t left = pf_participant_session_wake_ms(shell->session) - pf_clock_monotonic_ms();
    return (int)PF_MIN(PF_MAX(left, 0), LONGEST_WAIT_MS);
}

static bool over(const struct shell *shell)
{
    struct pf_participant_view view;
    pf_participant_session_view(shell->session, &view);
    return view.phase == PF_PARTICIPANT_DONE || view.phase == PF_PARTICIPANT_FAILED;
}

static enum pf_status loop(struct shell *shell, struct pf_error *err)
{
    PF_CLEANUP(pf_buffer_finish) struct pf_buffer frame = {0};
    while (!over(shell)) {
        if (pf_progress_stopped(shell->config->progress))
            stop_with(shell, PF_INTERRUPTED, "stopped as asked");
        enum pf_status status = pf_wire_client_receive(shell->client, wait_ms(shell), &frame, err);
        if (status == PF_OK)
            receive_frame(shell, &frame);
        else if (status != PF_TIMEOUT && status != PF_INTERRUPTED)
            return status;
        poll_trainer(shell);
        watch_connection(shell, pf_clock_monotonic_ms());
        pf_participant_session_tick(shell->session, pf_clock_monotonic_ms());
        drain(shell);
        show_progress(shell);
    }
    return PF_OK;
}

static enum pf_status conclude(const struct shell *shell, struct pf_error *err)
{
    struct pf_participant_view view;
    pf_participant_session_view(shell->session, &view);
    shell->summary->run_id = view.run_id;
    shell->summary->n_rounds = view.n_rounds;
    shell->summary->delivered = view.delivered;
    shell->summary->counters = *pf_participant_session_counters(shell->session);
    snprintf(shell->summary->sentence, sizeof shell->summary->sentence, "%s", view.sentence);
    if (view.phase == PF_PARTICIPANT_DONE) return PF_OK;
    return pf_fail(err, shell->status != PF_OK ? shell->status : PF_REFUSED, "%s", view.sentence);
}

static enum pf_status open_parts(struct shell *shell, struct pf_error *err)
{
    const struct pf_participant_config *config = shell->config;
    const struct pf_local_training training = {.dataset = config->dataset,
                                               .augmentation = config->augmentation,
                                               .activations = config->activations,
                                               .seed = config->seed};
    struct pf_participant_session_config session = config->session;
    session.policy.in_channels = config->dataset->n_channels;
    session.policy.in_height = config->dataset->height;
    session.policy.in_width = config->dataset->width;
    session.policy.n_classes = config->dataset->n_classes;
    session.roster = config->roster;
    session.self = (uint32_t)pf_roster_find(config->roster, config->identity->public.transport);
    session.sign_secret = config->identity->sign_secret;
    session.rounding_seed = config->seed;
    PF_TRY(pf_pool_create(config->n_threads, &shell->pool, err));
    session.pool = shell->pool;
    if (config->state_dir != NULL) PF_TRY(pf_ledger_open(config->state_dir, &shell->ledger, err));
    PF_TRY(pf_participant_session_create(&session, pf_clock_monotonic_ms(), &shell->session, err));
    PF_TRY(pf_wire_client_create(config->endpoint, config->identity,
                                 config->roster->coordinator.transport, &shell->client, err));
    return pf_local_trainer_create(&training, config->n_threads, wake, shell->client,
                                   &shell->trainer, err);
}

enum pf_status pf_participant_run(const struct pf_participant_config *config,
                                  struct pf_participant_summary *summary, struct pf_error *err)
{
    memset(summary, 0, sizeof *summary);
    struct shell shell = {.config = config, .summary = summary};
    enum pf_status status = pf_participant_check_roster(config->roster, config->identity, err);
    if (status == PF_OK) status = open_parts(&shell, err);
    if (status == PF_OK) status = loop(&shell, err);
    if (status == PF_OK) status = conclude(&shell, err);
    /* The trainer wakes the client, so it goes first. */
    pf_local_trainer_destroy(shell.trainer);
    pf_wire_client_destroy(shell.client);
    pf_participant_session_destroy(shell.session);
    pf_ledger_close(shell.ledger);
    pf_pool_destroy(shell.pool);
    pf_buffer_finish(&shell.frame);
    return status;
}
