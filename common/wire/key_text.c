#include "common/wire/key_text.h"

#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>

#include "common/base/text.h"

/* One value of a line: bytes up to a space or the end of the line. */
struct field {
    const char *text;
    size_t length;
};

static enum pf_status broken(const struct pf_key_text *self, const char *what, struct pf_error *err)
{
    return pf_fail(err, PF_CORRUPT, "%s: line %u: %s", self->path, self->line, what);
}

/* Takes "<word> " at the start of a line, which must have an end; the line is then counted. */
static enum pf_status take_word(struct pf_key_text *self, const char *word, struct pf_error *err)
{
    self->line++;
    size_t length = strlen(word);
    size_t left = (size_t)(self->end - self->next);
    if (memchr(self->next, '\n', left) == NULL)
        return broken(self, "cut short: the line has no end", err);
    if (left <= length || memcmp(self->next, word, length) != 0 || self->next[length] != ' ') {
        char what[64];
        snprintf(what, sizeof what, "expected '%s'", word);
        return broken(self, what, err);
    }
    self->next += length + 1;
    return PF_OK;
}

/* Takes the value before the character `end`; take_word has found an end of line. */
static enum pf_status take_field(struct pf_key_text *self, char end, struct field *field,
                                 struct pf_error *err)
{
    const char *stop = self->next;
    while (*stop != ' ' && *stop != '\n') stop++;
    if (*stop != end) return broken(self, end == '\n' ? "too long" : "too short", err);
    *field = (struct field){self->next, (size_t)(stop - self->next)};
    self->next = stop + 1;
    return PF_OK;
}

/* Lower-case only, so that there is one way to write a key.  Constant time in the value. */
static enum pf_status parse_hex(const struct pf_key_text *self, struct field field, uint8_t *out,
                                size_t length, struct pf_error *err)
{
    size_t written = 0;
    for (size_t i = 0; i < field.length; i++)
        if (field.text[i] >= 'A' && field.text[i] <= 'F') return broken(self, "upper case", err);
    if (field.length != 2 * length ||
        sodium_hex2bin(out, length, field.text, field.length, NULL, &written, NULL) != 0 ||
        written != length) {
        char what[64];
        snprintf(what, sizeof what, "expected %zu hexadecimal digits", 2 * length);
        return broken(self, what, err);
    }
    return PF_OK;
}

static enum pf_status parse_name(const struct pf_key_text *self, struct field field,
                                 char name[PF_MAX_NAME_BYTES], struct pf_error *err)
{
    char copy[PF_MAX_NAME_BYTES] = {0};
    struct pf_error inner = {0};
    if (field.length >= sizeof copy) return broken(self, "the name is too long", err);
    memcpy(copy, field.text, field.length);
    if (strlen(copy) != field.length || pf_name_check(copy, &inner) != PF_OK)
        return broken(self, "the name has characters that no name may have", err);
    memcpy(name, copy, sizeof copy);
    return PF_OK;
}

enum pf_status pf_key_text_hex(struct pf_key_text *self, const char *word, uint8_t *out,
                               size_t length, struct pf_error *err)
{
    struct field field = {"", 0};
    PF_TRY(take_word(self, word, err));
    PF_TRY(take_field(self, '\n', &field, err));
    return parse_hex(self, field, out, length, err);
}

enum pf_status pf_key_text_name(struct pf_key_text *self, const char *word,
                                char name[PF_MAX_NAME_BYTES], struct pf_error *err)
{
    struct field field = {"", 0};
    PF_TRY(take_word(self, word, err));
    PF_TRY(take_field(self, '\n', &field, err));
    return parse_name(self, field, name, err);
}

enum pf_status pf_key_text_u64(struct pf_key_text *self, const char *word, uint64_t *value,
                               struct pf_error *err)
{
    struct field field = {"", 0};
    PF_TRY(take_word(self, word, err));
    PF_TRY(take_field(self, '\n', &field, err));
    char digits[24] = {0}, again[24];
    if (field.length >= sizeof digits) return broken(self, "the number is too long", err);
    memcpy(digits, field.text, field.length);
    uint64_t number = 0;
    if (pf_text_u64("", digits, 0, UINT64_MAX, &number, NULL) != PF_OK)
        return broken(self, "expected a whole number", err);
    snprintf(again, sizeof again, "%" PRIu64, number);
    if (strcmp(again, digits) != 0) return broken(self, "expected a number without zeros", err);
    *value = number;
    return PF_OK;
}

enum pf_status pf_key_text_identity(struct pf_key_text *self, const char *word,
                                    struct pf_public_identity *identity, struct pf_error *err)
{
    struct field name = {"", 0}, sign = {"", 0}, transport = {"", 0};
    PF_TRY(take_word(self, word, err));
    PF_TRY(take_field(self, ' ', &name, err));
    PF_TRY(take_field(self, ' ', &sign, err));
    PF_TRY(take_field(self, '\n', &transport, err));
    struct pf_public_identity parsed = {0};
    PF_TRY(parse_name(self, name, parsed.name, err));
    PF_TRY(parse_hex(self, sign, parsed.sign, sizeof parsed.sign, err));
    PF_TRY(parse_hex(self, transport, parsed.transport, sizeof parsed.transport, err));
    *identity = parsed;
    return PF_OK;
}

enum pf_status pf_key_text_line(struct pf_key_text *self, const char *line, struct pf_error *err)
{
    self->line++;
    size_t length = strlen(line);
    if ((size_t)(self->end - self->next) <= length || memcmp(self->next, line, length) != 0 ||
        self->next[length] != '\n')
        return pf_fail(err, PF_CORRUPT, "%s: not a file that begins with '%s'", self->path, line);
    self->next += length + 1;
    return PF_OK;
}

enum pf_status pf_key_text_done(const struct pf_key_text *self, struct pf_error *err)
{
    if (self->next == self->end) return PF_OK;
    return pf_fail(err, PF_CORRUPT, "%s: more follows after line %u, where it should end",
                   self->path, self->line);
}
