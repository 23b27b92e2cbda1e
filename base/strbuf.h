/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A string that grows. Failure to allocate is remembered and reported once, at the end, so that a
 * writer of many pieces checks only strbuf_failed().
 */
#ifndef HULL_BASE_STRBUF_H
#define HULL_BASE_STRBUF_H

#include <stdbool.h>
#include <stddef.h>

struct strbuf {
	char *data; /* NUL-terminated once anything was added */
	size_t len; /* bytes without the NUL */
	size_t cap;
	bool failed;
};

void strbuf_add(struct strbuf *sb, const void *data, size_t len);
void strbuf_adds(struct strbuf *sb, const char *s);
void strbuf_addc(struct strbuf *sb, char c);
void strbuf_addf(struct strbuf *sb, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void strbuf_free(struct strbuf *sb);

static inline bool strbuf_failed(const struct strbuf *sb)
{
	return sb->failed;
}

#define _cleanup_strbuf_ __attribute__((cleanup(strbuf_free)))

#endif
