/* packfed federation --in-process: its options, which `packfed federation` lists too, and itself.
 */
#ifndef PF_CLI_IN_PROCESS_H
#define PF_CLI_IN_PROCESS_H

#include <argp.h>

#include "sim/federation/in_process.h"

struct pf_options_in_process {
    struct pf_in_process_faults faults;
    size_t dimension;
    bool no_verify;
    const char *first_given; /* NULL: none of these options */
};
extern const struct argp pf_options_in_process_argp;

/* Whether the command line has --in-process. */
bool pf_cli_is_in_process(int argc, char **argv);
int pf_cmd_in_process(int argc, char **argv);

#endif
