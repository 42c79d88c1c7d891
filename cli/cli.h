/* What the subcommands share: entry points, error output, progress, signals. */
#ifndef PF_CLI_CLI_H
#define PF_CLI_CLI_H

#include <argp.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/base/error.h"
#include "common/base/progress.h"

/* Exit codes of every command. */
enum { PF_EXIT_OK = 0, PF_EXIT_FAILURE = 1, PF_EXIT_USAGE = 2 };

int pf_cmd_federation(int argc, char **argv);
int pf_cmd_coordinator(int argc, char **argv);
int pf_cmd_participant(int argc, char **argv);
int pf_cmd_keygen(int argc, char **argv);
int pf_cmd_roster(int argc, char **argv);
int pf_cmd_pretrain(int argc, char **argv);
int pf_cmd_combine(int argc, char **argv);
int pf_cmd_evaluate(int argc, char **argv);
int pf_cmd_inspect(int argc, char **argv);

/* "packfed combine: <sentence>" on stderr; returns PF_EXIT_FAILURE. */
int pf_cli_fail(const char *command, const struct pf_error *err);

/* The same for a command line that cannot be meant; returns PF_EXIT_USAGE. */
int pf_cli_usage(const char *command, const struct pf_error *err);

/* A bar on a terminal, a plain line every few seconds otherwise; its stop flag is set by SIGINT
 * and SIGTERM, whose handlers this installs. */
const struct pf_progress *pf_cli_progress(bool quiet);

/* Log lines go to stderr from `level` (enum pf_log_level) up, and do not break the bar. */
void pf_cli_log_to_stderr(int level);

/* Starts libsodium and runs argp_parse; exits 2 on wrong usage, 0 after --help. */
void pf_cli_parse(const struct argp *argp, int argc, char **argv, void *input);

/* Values of options: the number, or a sentence that names the option and exit 2. */
uint64_t pf_cli_number(const struct argp_state *state, const char *option, const char *text,
                       uint64_t min, uint64_t max);
double pf_cli_real(const struct argp_state *state, const char *option, const char *text, double min,
                   double max);

/* An option a command cannot do without, as a person would type it: "--roster FILE". */
struct pf_cli_need {
    const char *value; /* NULL: not given, exit 2 */
    const char *option;
};
void pf_cli_check_needs(const struct argp_state *state, const struct pf_cli_need *needs, size_t n);

#endif
