/* SPDX-License-Identifier: Apache-2.0 */
/* JSON string escapes and the check of UTF-8 that they need; see json_escape.h. */
#include "base/json_escape.h"

#include <stdint.h>
#include <string.h>

#include "base/strbuf.h"

/* The length of the valid UTF-8 sequence at s, of at most len bytes; 0 where there is none. */
static size_t utf8_sequence(const unsigned char *s, size_t len)
{
	static const struct {
		unsigned char mask, lead;
		uint32_t least;
	} forms[] = { { 0x80, 0x00, 0 },
		      { 0xe0, 0xc0, 0x80 },
		      { 0xf0, 0xe0, 0x800 },
		      { 0xf8, 0xf0, 0x10000 } };
	uint32_t code;

	for (size_t n = 0; n < 4; n++) {
		if ((s[0] & forms[n].mask) != forms[n].lead)
			continue;
		if (n + 1 > len)
			return 0;
		code = s[0] & (uint32_t)(unsigned char)~forms[n].mask;
		for (size_t i = 1; i <= n; i++) {
			if ((s[i] & 0xc0) != 0x80)
				return 0;
			code = code << 6 | (s[i] & 0x3f);
		}
		if (code < forms[n].least || code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff))
			return 0;
		return n + 1;
	}
	return 0;
}

/* How many bytes from s on are ASCII; most text is nothing else, so eight are looked at together. */
static size_t ascii_prefix(const char *s, size_t len)
{
	size_t n = 0;
	uint64_t word;

	while (len - n >= sizeof(word)) {
		memcpy(&word, s + n, sizeof(word));
		if (word & 0x8080808080808080)
			break;
		n += sizeof(word);
	}
	while (n < len && !(s[n] & 0x80))
		n++;
	return n;
}

size_t utf8_valid_prefix(const char *s, size_t len)
{
	size_t done = 0;

	for (;;) {
		size_t n;

		done += ascii_prefix(s + done, len - done);
		if (done == len)
			return len;
		n = utf8_sequence((const unsigned char *)s + done, len - done);
		if (!n)
			return done;
		done += n;
	}
}

bool utf8_valid(const char *s, size_t len)
{
	return utf8_valid_prefix(s, len) == len;
}

/* How many bytes from s on stand for themselves in a JSON string. */
static size_t plain_prefix(const char *s, size_t len)
{
	size_t n = 0;

	while (n < len && s[n] >= 0x20 && s[n] < 0x7f && s[n] != '"' && s[n] != '\\')
		n++;
	return n;
}

void json_escape(struct strbuf *out, const char *s)
{
	size_t len = strlen(s);

	for (;;) {
		size_t n = plain_prefix(s, len);
		unsigned char c;

		strbuf_add(out, s, n);
		s += n;
		len -= n;
		if (!len)
			break;
		n = utf8_sequence((const unsigned char *)s, len);
		c = (unsigned char)*s;
		if (!n) {
			strbuf_adds(out, "\\ufffd");
			n = 1;
		} else if (c == '"' || c == '\\') {
			strbuf_addf(out, "\\%c", c);
		} else if (c == '\n') {
			strbuf_adds(out, "\\n");
		} else if (c == '\t') {
			strbuf_adds(out, "\\t");
		} else if (c < 0x20 || c == 0x7f) {
			strbuf_addf(out, "\\u%04x", c);
		} else {
			strbuf_add(out, s, n);
		}
		s += n;
		len -= n;
	}
}
