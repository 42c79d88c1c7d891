/* Reading the small text files of keys and rosters, strictly: the expected line or a sentence. */
#ifndef PF_COMMON_WIRE_KEY_TEXT_H
#define PF_COMMON_WIRE_KEY_TEXT_H

#include <stddef.h>
#include <stdint.h>

#include "common/wire/identity.h"

/* The text that is still to be read, and the file it is from. */
struct pf_key_text {
    const char *path;
    const char *next;
    const char *end;
    unsigned line;
};

/* These take the next line, which must be "<word> <value>\n". */
PF_NODISCARD enum pf_status pf_key_text_hex(struct pf_key_text *self, const char *word,
                                            uint8_t *out, size_t length, struct pf_error *err);
PF_NODISCARD enum pf_status pf_key_text_name(struct pf_key_text *self, const char *word,
                                             char name[PF_MAX_NAME_BYTES], struct pf_error *err);
PF_NODISCARD enum pf_status pf_key_text_u64(struct pf_key_text *self, const char *word,
                                            uint64_t *value, struct pf_error *err);

/* "<word> NAME SIGN TRANSPORT\n", the public keys in hex. */
PF_NODISCARD enum pf_status pf_key_text_identity(struct pf_key_text *self, const char *word,
                                                 struct pf_public_identity *identity,
                                                 struct pf_error *err);

/* The next line must be `line`, without its end of line. */
PF_NODISCARD enum pf_status pf_key_text_line(struct pf_key_text *self, const char *line,
                                             struct pf_error *err);

/* Nothing may follow. */
PF_NODISCARD enum pf_status pf_key_text_done(const struct pf_key_text *self, struct pf_error *err);

#endif
