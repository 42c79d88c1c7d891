/* Text from a peer, made safe for a terminal and a log. */
#ifndef PF_PROTO_PRINTABLE_H
#define PF_PROTO_PRINTABLE_H

#include <stddef.h>
#include <stdint.h>

/* Copies bytes[length] to out[size] as zero-terminated UTF-8, cut at a character when it does not
 * fit.  Bytes that are not UTF-8, control characters (escape sequences begin with one) and the
 * invisible ones that reorder text become '?'.  size ≥ 1. */
void pf_printable(char *out, size_t size, const uint8_t *bytes, size_t length);

#endif
