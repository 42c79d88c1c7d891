#include "proto/printable.h"

#include <stdbool.h>
#include <string.h>

/* Length of the UTF-8 character at bytes[0 … length), or 0; shortest form only, no surrogates. */
static size_t decode_character(const uint8_t *bytes, size_t length, uint32_t *character)
{
    static const uint32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000};
    uint8_t lead = bytes[0];
    size_t n = lead < 0x80 ? 1 : lead < 0xC0 ? 0 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
    if (n == 0 || n > length || lead > 0xF4) return 0;
    uint32_t value = n == 1 ? lead : (uint32_t)(lead & (0x7F >> n));
    for (size_t i = 1; i < n; i++) {
        if ((bytes[i] & 0xC0) != 0x80) return 0;
        value = value << 6 | (bytes[i] & 0x3F);
    }
    if (value < smallest[n] || value > 0x10FFFF || (value >= 0xD800 && value <= 0xDFFF)) return 0;
    *character = value;
    return n;
}

static bool harmless(uint32_t c)
{
    bool control = c < 0x20 || (c >= 0x7F && c < 0xA0);
    bool reorders = c == 0x061C || (c >= 0x200B && c <= 0x200F) || (c >= 0x2028 && c <= 0x202E) ||
                    (c >= 0x2060 && c <= 0x206F) || c == 0xFEFF;
    return !control && !reorders;
}

void pf_printable(char *out, size_t size, const uint8_t *bytes, size_t length)
{
    size_t used = 0;
    for (size_t i = 0; i < length;) {
        uint32_t character = 0;
        size_t n = decode_character(bytes + i, length - i, &character);
        bool keep = n > 0 && harmless(character);
        size_t written = keep ? n : 1;
        if (written > size - 1 - used) break;
        if (keep)
            memcpy(out + used, bytes + i, n);
        else
            out[used] = '?';
        used += written;
        i += n > 0 ? n : 1;
    }
    out[used] = '\0';
}
