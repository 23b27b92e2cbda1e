/* SPDX-License-Identifier: Apache-2.0 */
/* Escaping of a string for JSON output, for the log and for oci/json.h alike (RFC 8259 section 7). */
#ifndef HULL_BASE_JSON_ESCAPE_H
#define HULL_BASE_JSON_ESCAPE_H

#include <stdbool.h>
#include <stddef.h>

struct strbuf;

/*
 * Adds s, without quotes around it, so that it may stand between quotes in JSON. Bytes that are not
 * valid UTF-8 become U+FFFD, so that what is printed can always be parsed.
 */
void json_escape(struct strbuf *out, const char *s);

/* Whether len bytes are valid UTF-8 (RFC 3629: no overlong forms, no surrogates, up to U+10FFFF). */
bool utf8_valid(const char *s, size_t len);

/* How many of the len bytes are valid UTF-8 from the start on: len where all are. */
size_t utf8_valid_prefix(const char *s, size_t len);

#endif
