/* Searches this process's writable memory for 32-byte secrets: heap, freed heap, stacks of all
 * threads, static data.
 *
 * The secrets are kept scrambled, so that keeping them is no finding.  Whoever notes them must not
 * leave copies either: scan_note reads 8 bytes at a time, and what it takes to derive a secret has
 * to be done, and wiped, on the stack of a thread that is not under test. */
#ifndef PF_TESTS_UNIT_PARTICIPANT_MEMORY_SCAN_H
#define PF_TESTS_UNIT_PARTICIPANT_MEMORY_SCAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SCAN_MAX_SECRETS 8192u

/* `what` is kept, not copied.  32 zero bytes are not noted. */
void scan_note(const uint8_t secret[32], const char *what);
/* As an X25519 secret, also in the form in which the multiplication uses it. */
void scan_note_x25519(const uint8_t secret[32], const char *what);
size_t scan_count(void);
void scan_forget(void);

/* Skips the test, with a line that says why, where this cannot work: in a build that keeps locals
 * elsewhere than on the stack, or where memory cannot be read. */
void scan_require(void);
/* To be called first in main.  Symbols that are bound at their first call save all registers on the
 * stack then, whatever is in them; so this starts the program anew with all bound at the start. */
void scan_bind_symbols(char **arguments);

/* Whether memory can be read at all here. */
bool scan_possible(void);
/* How often a secret was found, of those whose `what` begins so; `show` prints the places. */
size_t scan_memory(const char *what, bool show);

#endif
