#include "memory_scan.h"

#include <stdarg.h>
#include <stddef.h>

#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SCRAMBLE UINT64_C(0x9d3c5a17e4b86f21)
#define WINDOW_BYTES 65536u
/* Larger mappings are the shadow of a sanitizer: no data of the program's. */
#define MAX_MAPPING (UINT64_C(1) << 30)

struct secret {
    uint64_t words[4]; /* scrambled */
    const char *what;
    uint32_t next; /* with the same first two bytes; index + 1 */
};

static struct secret secrets[SCAN_MAX_SECRETS];
static size_t n_secrets;
static uint32_t heads[65536]; /* by the first two bytes of the first word; index + 1 */
static uint8_t window[WINDOW_BYTES + 32];
static char maps[1 << 20];
static bool show_places;

static uint64_t load(const uint8_t *bytes)
{
    uint64_t word;
    memcpy(&word, bytes, sizeof word);
    return word;
}

static void note(const uint64_t scrambled[4], const char *what)
{
    bool zero = true;
    for (size_t i = 0; i < 4; i++) zero = zero && scrambled[i] == SCRAMBLE;
    if (zero) return;
    assert_true(n_secrets < SCAN_MAX_SECRETS);
    struct secret *secret = &secrets[n_secrets++];
    for (size_t i = 0; i < 4; i++) secret->words[i] = scrambled[i];
    uint32_t *head = &heads[(scrambled[0] ^ SCRAMBLE) & 0xffff];
    secret->what = what;
    secret->next = *head;
    *head = (uint32_t)n_secrets;
}

void scan_note(const uint8_t secret[32], const char *what)
{
    volatile uint64_t words[4]; /* not gathered into one wide register */
    for (size_t i = 0; i < 4; i++) words[i] = load(secret + 8 * i) ^ SCRAMBLE;
    const uint64_t scrambled[4] = {words[0], words[1], words[2], words[3]};
    note(scrambled, what);
}

void scan_note_x25519(const uint8_t secret[32], const char *what)
{
    volatile uint64_t words[4];
    scan_note(secret, what);
    for (size_t i = 0; i < 4; i++) words[i] = load(secret + 8 * i) ^ SCRAMBLE;
    /* Clamping (RFC 7748, section 5) of scrambled words: set or clear, then scramble that bit. */
    const uint64_t low = 7, top = UINT64_C(3) << 62, set = UINT64_C(1) << 62;
    if (words[0] == SCRAMBLE && words[1] == SCRAMBLE) return;
    const uint64_t clamped[4] = {(words[0] & ~low) | (SCRAMBLE & low), words[1], words[2],
                                 (words[3] & ~top) | ((SCRAMBLE ^ set) & top)};
    note(clamped, what);
}

size_t scan_count(void)
{
    return n_secrets;
}

void scan_forget(void)
{
    memset(secrets, 0, sizeof secrets);
    memset(heads, 0, sizeof heads);
    n_secrets = 0;
}

/* The secret that begins here, or NULL. */
static const struct secret *match(const uint8_t *bytes)
{
    for (uint32_t at = heads[load(bytes) & 0xffff]; at != 0; at = secrets[at - 1].next) {
        const struct secret *secret = &secrets[at - 1];
        bool same = true;
        for (size_t i = 0; i < 4 && same; i++)
            same = (load(bytes + 8 * i) ^ SCRAMBLE) == secret->words[i];
        if (same) return secret;
    }
    return NULL;
}

/* Millions of bytes: without the sanitizers' checks. */
__attribute__((no_sanitize("address", "undefined"))) static size_t scan_window(size_t length,
                                                                               uint64_t address,
                                                                               const char *what,
                                                                               const char *line)
{
    size_t found = 0;
    for (size_t i = 0; i + 32 <= length; i++) {
        if (heads[window[i] | (uint32_t)window[i + 1] << 8] == 0) continue;
        const struct secret *secret = match(window + i);
        if (secret == NULL || strncmp(secret->what, what, strlen(what)) != 0) continue;
        if (show_places)
            print_error("%s at %llx, in %.60s\n", secret->what, (unsigned long long)(address + i),
                        line);
        found++;
    }
    return found;
}

/* Whether any page of this range exists: the rest is nothing but holes.  Without the table, all do.
 */
static bool exists(uint64_t address, size_t length)
{
    static int table = -1;
    uint64_t entries[WINDOW_BYTES / 4096 + 2], page = (uint64_t)sysconf(_SC_PAGESIZE);
    if (table < 0) table = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
    size_t n = (size_t)((address + length - 1) / page - address / page + 1);
    if (table < 0 || n > sizeof entries / sizeof *entries ||
        pread(table, entries, n * sizeof *entries, (off_t)(address / page * sizeof *entries)) !=
            (ssize_t)(n * sizeof *entries))
        return true;
    for (size_t i = 0; i < n; i++)
        if ((entries[i] >> 62) != 0) return true; /* present, or swapped out */
    return false;
}

static size_t scan_mapping(int memory, uint64_t begin, uint64_t end, const char *what,
                           const char *line)
{
    const uint64_t own = (uint64_t)(uintptr_t)window;
    size_t found = 0;
    for (uint64_t at = begin; at < end; at += WINDOW_BYTES) {
        size_t wanted = end - at < sizeof window ? (size_t)(end - at) : sizeof window;
        if (at < own + sizeof window && own < at + wanted) continue; /* what is being looked at */
        if (!exists(at, wanted)) continue;
        ssize_t got = pread(memory, window, wanted, (off_t)at);
        bool zero = got > 0 && window[0] == 0 && memcmp(window, window + 1, (size_t)got - 1) == 0;
        if (got > 0 && !zero) found += scan_window((size_t)got, at, what, line);
    }
    return found;
}

static size_t read_maps(void)
{
    int file = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
    size_t length = 0;
    ssize_t got = 0;
    if (file < 0) return 0;
    while (length < sizeof maps - 1 &&
           (got = read(file, maps + length, sizeof maps - 1 - length)) > 0)
        length += (size_t)got;
    close(file);
    maps[length] = '\0';
    return length;
}

bool scan_possible(void)
{
    static const char known[] = "known";
    char copy[sizeof known] = "";
    int memory = open("/proc/self/mem", O_RDONLY | O_CLOEXEC);
    if (memory < 0 || read_maps() == 0) return false;
    ssize_t got = pread(memory, copy, sizeof copy, (off_t)(uintptr_t)known);
    close(memory);
    return got == (ssize_t)sizeof copy && memcmp(copy, known, sizeof copy) == 0;
}

size_t scan_memory(const char *what, bool show)
{
    size_t found = 0;
    show_places = show;
    int memory = open("/proc/self/mem", O_RDONLY | O_CLOEXEC);
    assert_true(memory >= 0 && read_maps() > 0);
    for (char *line = maps, *next; *line != '\0'; line = next) {
        char *rest;
        next = strchr(line, '\n');
        next = next != NULL ? next + 1 : line + strlen(line);
        if (next > line) next[-1] = '\0';
        uint64_t begin = strtoull(line, &rest, 16), end = strtoull(rest + 1, &rest, 16);
        if (strncmp(rest, " rw", 3) == 0 && end - begin <= MAX_MAPPING)
            found += scan_mapping(memory, begin, end, what, line);
    }
    close(memory);
    return found;
}

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ADDRESS_SANITIZER
#endif
#elif defined(__SANITIZE_ADDRESS__)
#define ADDRESS_SANITIZER
#endif

/* Address sanitizers that look for uses after return put locals into blocks of their own, which
 * wiping the stack does not reach. */
#ifdef ADDRESS_SANITIZER
void *__asan_get_current_fake_stack(void);

static bool locals_are_on_the_stack(void)
{
    return __asan_get_current_fake_stack() == NULL;
}
#else
static bool locals_are_on_the_stack(void)
{
    return true;
}
#endif

void scan_require(void)
{
    if (!locals_are_on_the_stack()) {
        print_message("locals are not on the stack in this build\n");
        skip();
    }
    if (scan_possible()) return;
    print_message("/proc/self/mem cannot be read here\n");
    skip();
}

void scan_bind_symbols(char **arguments)
{
    if (getenv("LD_BIND_NOW") != NULL || setenv("LD_BIND_NOW", "1", 1) != 0) return;
    execv("/proc/self/exe", arguments);
}
