/* packfed: one program, git-style subcommands. */
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "common/nn/blas.h"

struct command {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *summary;
};

static const struct command commands[] = {
    {"federation", pf_cmd_federation, "run the whole job on this host: the place to start"},
    {"coordinator", pf_cmd_coordinator, "serve one federated run over the network"},
    {"participant", pf_cmd_participant, "join a run with private data"},
    {"keygen", pf_cmd_keygen, "make an identity: a secret key and its public half"},
    {"roster", pf_cmd_roster, "sign, check and show the list of who may take part"},
    {"pretrain", pf_cmd_pretrain, "train a dense model"},
    {"combine", pf_cmd_combine, "prune a model and combine its columns"},
    {"evaluate", pf_cmd_evaluate, "run a model on the simulated bit-serial systolic array"},
    {"inspect", pf_cmd_inspect, "say what a model, key, roster or run folder is"},
};

static void print_help(FILE *out)
{
    fputs("usage: packfed COMMAND [OPTION…]\n"
          "\n"
          "Federated retraining of column-combined neural networks for systolic arrays.\n"
          "\n",
          out);
    for (size_t i = 0; i < PF_ARRAY_LENGTH(commands); i++)
        fprintf(out, "  %-12s %s\n", commands[i].name, commands[i].summary);
    fputs("\n"
          "'packfed COMMAND --help' tells the options of a command.  Results go to stdout,\n"
          "progress to stderr; exit status 0: done, 1: failed, 2: wrong usage.\n",
          out);
}

int main(int argc, char **argv)
{
    pf_blas_prepare(argv);
    if (argc < 2) {
        print_help(stderr);
        return PF_EXIT_USAGE;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "help") == 0) {
        print_help(stdout);
        return PF_EXIT_OK;
    }
    if (strcmp(argv[1], "--version") == 0) {
        puts("packfed " PF_VERSION);
        return PF_EXIT_OK;
    }
    for (size_t i = 0; i < PF_ARRAY_LENGTH(commands); i++)
        if (strcmp(argv[1], commands[i].name) == 0) return commands[i].run(argc - 1, argv + 1);
    fprintf(stderr, "packfed: '%s' is no command; 'packfed --help' lists them\n", argv[1]);
    return PF_EXIT_USAGE;
}
