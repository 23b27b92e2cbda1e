/* SPDX-License-Identifier: Apache-2.0 */
/*
 * JSON, read into a tree and written from calls. This is the only header that stands between hull
 * and the JSON library (yajl): replacing the library means replacing json.c.
 *
 * Limits, all checked while reading, for input is hostile: nesting depth JSON_DEPTH, JSON_VALUES
 * values in all, valid UTF-8 (also behind \u escapes), no NUL in strings, one value and nothing
 * after it, no member twice in one object (last-one-wins invites smuggling).
 */
#ifndef HULL_OCI_JSON_H
#define HULL_OCI_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/strbuf.h"

#define JSON_DEPTH  64
#define JSON_VALUES ((size_t)1 << 20) /* a text of a million empty arrays is no configuration */

enum json_type { JSON_NULL, JSON_BOOL, JSON_NUMBER, JSON_STRING, JSON_ARRAY, JSON_OBJECT };

struct json_value {
	enum json_type type;
	bool boolean;       /* JSON_BOOL */
	const char *string; /* JSON_STRING: NUL-terminated; JSON_NUMBER: the number's own text */
	const char *key;    /* the member's name where the parent is an object */
	struct json_value *child; /* JSON_ARRAY, JSON_OBJECT: the first element */
	struct json_value *next;  /* the next element of the same parent */
	size_t children;          /* how many there are */
};

/* Reads one JSON text into a tree in the arena. -EINVAL with line and column in the message, -ENOMEM. */
int json_parse(const char *text, size_t len, struct arena *arena, struct json_value **root,
	       struct error *err);

/* The member of an object, or NULL. */
const struct json_value *json_get(const struct json_value *object, const char *key);

/* The string of a member of type string, or NULL. */
const char *json_get_string(const struct json_value *object, const char *key);

/* "an object", "a string", …: for messages. */
const char *json_type_name(enum json_type type);

/* Numbers exactly: false where the text is not an integer in range (1.0 and 1e3 are not integers). */
bool json_u64(const struct json_value *value, uint64_t max, uint64_t *out);
bool json_i64(const struct json_value *value, int64_t min, int64_t max, int64_t *out);

/* A writer: begin, members and elements, end. indent: blanks a level; 0: one line. */
struct json_writer {
	struct strbuf *out;
	unsigned indent;
	unsigned depth;
	bool first;     /* nothing was written yet at this level */
	bool after_key; /* the next value belongs to a key just written */
};

void json_write_init(struct json_writer *w, struct strbuf *out, unsigned indent);
void json_write_begin(struct json_writer *w, char bracket); /* '{' or '[' */
void json_write_end(struct json_writer *w, char bracket);   /* '}' or ']' */
void json_write_key(struct json_writer *w, const char *key);
void json_write_string(struct json_writer *w, const char *s);
void json_write_bool(struct json_writer *w, bool v);
void json_write_u64(struct json_writer *w, uint64_t v);
void json_write_i64(struct json_writer *w, int64_t v);
void json_write_hundredths(struct json_writer *w, uint64_t v); /* 150: 1.5 */
void json_write_null(struct json_writer *w);
/* A member at once. */
void json_write_member(struct json_writer *w, const char *key, const char *s);

#endif
