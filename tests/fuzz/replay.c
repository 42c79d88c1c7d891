/* Runs a fuzz harness on every file of a folder, and on seeded mutants of each.
 *
 *   replay FOLDER [MUTANTS [SEED]]
 */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/file.h"
#include "common/base/random.h"
#include "fuzz.h"

#define MAX_INPUT_BYTES ((size_t)1 << 20)

/* In a block of exactly its length, so that the address sanitizer sees where it ends. */
static void run(const uint8_t *bytes, size_t length)
{
    uint8_t *exact = malloc(length > 0 ? length : 1);
    if (exact == NULL) abort();
    if (length > 0) memcpy(exact, bytes, length);
    LLVMFuzzerTestOneInput(exact, length);
    free(exact);
}

static size_t mutate(struct pf_random *random, uint8_t *bytes, size_t length)
{
    uint32_t size = (uint32_t)length;
    for (uint32_t n = pf_random_below(random, 4); n < 4; n++) {
        uint32_t at = pf_random_below(random, size);
        uint32_t from = pf_random_below(random, size);
        uint32_t span = pf_random_below(random, size - (at > from ? at : from)) + 1;
        switch (pf_random_below(random, 4)) {
        case 0: bytes[at] ^= (uint8_t)(1u << pf_random_below(random, 8)); break;
        case 1: bytes[at] = (uint8_t)pf_random_u32(random); break;
        case 2: bytes[at] = 0xff; break;
        default: memmove(bytes + at, bytes + from, span); break;
        }
    }
    return pf_random_below(random, 4) == 0 ? pf_random_below(random, size + 1) : length;
}

static size_t replay(const char *path, size_t n_mutants, uint64_t seed, size_t file)
{
    struct pf_buffer original = {0}, mutant = {0};
    struct pf_error err;
    struct pf_random random;
    if (pf_file_read(path, MAX_INPUT_BYTES, &original, &err) != PF_OK) {
        fprintf(stderr, "%s\n", err.text);
        exit(1);
    }
    run(original.bytes, original.length);
    pf_random_init(&random, seed, "mutants", file);
    for (size_t i = 0; i < n_mutants && original.length > 0; i++) {
        pf_buffer_reset(&mutant);
        if (pf_buffer_append(&mutant, original.bytes, original.length, &err) != PF_OK) exit(1);
        run(mutant.bytes, mutate(&random, mutant.bytes, mutant.length));
    }
    pf_buffer_finish(&original);
    pf_buffer_finish(&mutant);
    return 1 + n_mutants;
}

static int visible(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

int main(int argc, char **argv)
{
    if (argc < 2) return 2;
    size_t n_mutants = argc > 2 ? strtoul(argv[2], NULL, 10) : 0;
    uint64_t seed = argc > 3 ? strtoull(argv[3], NULL, 10) : 1;
    struct dirent **entries = NULL;
    int n_files = scandir(argv[1], &entries, visible, alphasort);
    size_t n_runs = 0;
    for (int i = 0; i < n_files; i++) {
        char path[4096];
        snprintf(path, sizeof path, "%s/%s", argv[1], entries[i]->d_name);
        n_runs += replay(path, n_mutants, seed, (size_t)i);
        free(entries[i]);
    }
    free(entries);
    printf("%d files, %zu inputs, seed %llu\n", n_files, n_runs, (unsigned long long)seed);
    return n_files > 0 ? 0 : 1;
}
