#include "cli/cli.h"

#include <pthread.h>
#include <signal.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/text.h"

#define BAR_CELLS 24
#define BAR_INTERVAL_S 0.1
#define LINE_INTERVAL_S 5.0

static atomic_bool stop_requested;

/* Guards everything below: progress comes from workers, log lines from any thread. */
static pthread_mutex_t terminal = PTHREAD_MUTEX_INITIALIZER;
static struct {
    bool quiet;
    bool bar_shown;
    double last_update;
    char last_what[64];
} display;

static void on_signal(int number)
{
    /* A second signal means now. */
    if (atomic_exchange(&stop_requested, true)) _exit(128 + number);
}

static void install_signal_handlers(void)
{
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* a file too large is a failed write, with a sentence */
}

int pf_cli_fail(const char *command, const struct pf_error *err)
{
    pthread_mutex_lock(&terminal);
    if (display.bar_shown) fputs("\r\033[K", stderr);
    display.bar_shown = false;
    fprintf(stderr, "packfed %s: %s\n", command, err->text);
    pthread_mutex_unlock(&terminal);
    return PF_EXIT_FAILURE;
}

int pf_cli_usage(const char *command, const struct pf_error *err)
{
    (void)pf_cli_fail(command, err);
    return PF_EXIT_USAGE;
}

static void draw_bar(const char *what, size_t done, size_t total, const char *detail)
{
    size_t cells = total > 0 ? done * BAR_CELLS / total : 0;
    char bar[3 * BAR_CELLS + 1] = "";
    for (size_t i = 0; i < BAR_CELLS; i++) strcat(bar, i < cells ? "━" : "─");
    struct winsize size = {0};
    int width = ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
    int room = width - BAR_CELLS - 28;
    fprintf(stderr, "\r\033[K%-14s %s %zu/%zu  %.*s", what, bar, done, total, room > 0 ? room : 0,
            detail != NULL ? detail : "");
    fflush(stderr);
    display.bar_shown = done < total;
    if (!display.bar_shown) fputc('\n', stderr);
}

static void on_update(void *context, const char *what, size_t done, size_t total,
                      const char *detail)
{
    (void)context;
    pthread_mutex_lock(&terminal);
    bool terminal_output = isatty(STDERR_FILENO) != 0;
    bool fresh = strcmp(display.last_what, what) != 0;
    double now = pf_clock_seconds();
    double interval = terminal_output ? BAR_INTERVAL_S : LINE_INTERVAL_S;
    if (!display.quiet && (fresh || done == total || now - display.last_update >= interval)) {
        display.last_update = now;
        snprintf(display.last_what, sizeof display.last_what, "%s", what);
        if (terminal_output)
            draw_bar(what, done, total, detail);
        else
            fprintf(stderr, "%s %zu/%zu  %s\n", what, done, total, detail != NULL ? detail : "");
    }
    pthread_mutex_unlock(&terminal);
}

const struct pf_progress *pf_cli_progress(bool quiet)
{
    static const struct pf_progress progress = {.update = on_update, .stop = &stop_requested};
    display.quiet = quiet;
    install_signal_handlers();
    return &progress;
}

static void log_sink(void *context, enum pf_log_level level, const char *text)
{
    (void)context;
    pthread_mutex_lock(&terminal);
    if (display.bar_shown) fputs("\r\033[K", stderr);
    display.bar_shown = false;
    if (level == PF_LOG_INFO)
        fprintf(stderr, "%s\n", text);
    else
        fprintf(stderr, "%s: %s\n", pf_log_level_name(level), text);
    pthread_mutex_unlock(&terminal);
}

void pf_cli_log_to_stderr(int level)
{
    pf_log_set_sink(log_sink, NULL, (enum pf_log_level)level);
}

void pf_cli_parse(const struct argp *argp, int argc, char **argv, void *input)
{
    if (sodium_init() < 0) {
        fputs("packfed: libsodium does not start on this machine\n", stderr);
        exit(PF_EXIT_FAILURE);
    }
    static char name[64];
    snprintf(name, sizeof name, "packfed %s", argv[0]);
    argv[0] = name;
    argp_err_exit_status = PF_EXIT_USAGE;
    argp_parse(argp, argc, argv, 0, NULL, input);
}

uint64_t pf_cli_number(const struct argp_state *state, const char *option, const char *text,
                       uint64_t min, uint64_t max)
{
    struct pf_error err;
    uint64_t value = min;
    if (pf_text_u64(option, text, min, max, &value, &err) != PF_OK)
        argp_error(state, "%s", err.text);
    return value;
}

double pf_cli_real(const struct argp_state *state, const char *option, const char *text, double min,
                   double max)
{
    struct pf_error err;
    double value = min;
    if (pf_text_double(option, text, min, max, &value, &err) != PF_OK)
        argp_error(state, "%s", err.text);
    return value;
}

void pf_cli_check_needs(const struct argp_state *state, const struct pf_cli_need *needs, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (needs[i].value == NULL) argp_error(state, "give %s", needs[i].option);
}
