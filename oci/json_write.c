/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writing JSON, piece by piece, into a strbuf: the half of json.h that needs no library. The writer
 * puts the commas, line breaks and blanks; failure to allocate is the strbuf's to remember.
 */
#include <inttypes.h>
#include <stdio.h>

#include "base/json_escape.h"
#include "oci/json.h"

void json_write_init(struct json_writer *w, struct strbuf *out, unsigned indent)
{
	*w = (struct json_writer){ .out = out, .indent = indent, .first = true };
}

static void new_line(struct json_writer *w)
{
	if (!w->indent)
		return;
	strbuf_addc(w->out, '\n');
	for (unsigned i = 0; i < w->indent * w->depth; i++)
		strbuf_addc(w->out, ' ');
}

/* What stands between the last piece and the next key or value. */
static void next(struct json_writer *w)
{
	if (w->after_key) {
		w->after_key = false;
		return;
	}
	if (!w->first)
		strbuf_addc(w->out, ',');
	if (w->depth)
		new_line(w);
	w->first = false;
}

void json_write_begin(struct json_writer *w, char bracket)
{
	next(w);
	strbuf_addc(w->out, bracket);
	w->depth++;
	w->first = true;
}

void json_write_end(struct json_writer *w, char bracket)
{
	bool empty = w->first;

	w->depth--;
	if (!empty)
		new_line(w);
	strbuf_addc(w->out, bracket);
	w->first = false;
}

static void quoted(struct json_writer *w, const char *s)
{
	strbuf_addc(w->out, '"');
	json_escape(w->out, s);
	strbuf_addc(w->out, '"');
}

void json_write_key(struct json_writer *w, const char *key)
{
	next(w);
	quoted(w, key);
	strbuf_adds(w->out, w->indent ? ": " : ":");
	w->after_key = true;
}

void json_write_string(struct json_writer *w, const char *s)
{
	next(w);
	quoted(w, s);
}

void json_write_bool(struct json_writer *w, bool v)
{
	next(w);
	strbuf_adds(w->out, v ? "true" : "false");
}

void json_write_u64(struct json_writer *w, uint64_t v)
{
	next(w);
	strbuf_addf(w->out, "%" PRIu64, v);
}

void json_write_i64(struct json_writer *w, int64_t v)
{
	next(w);
	strbuf_addf(w->out, "%" PRId64, v);
}

void json_write_hundredths(struct json_writer *w, uint64_t v)
{
	unsigned rest = (unsigned)(v % 100);

	next(w);
	strbuf_addf(w->out, "%" PRIu64, v / 100);
	if (rest)
		strbuf_addf(w->out, rest % 10 ? ".%02u" : ".%u", rest % 10 ? rest : rest / 10);
}

void json_write_null(struct json_writer *w)
{
	next(w);
	strbuf_adds(w->out, "null");
}

void json_write_member(struct json_writer *w, const char *key, const char *s)
{
	json_write_key(w, key);
	json_write_string(w, s);
}
