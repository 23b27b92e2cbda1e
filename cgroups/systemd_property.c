/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests to systemd, and properties from annotations. A value there is in GVariant's text format,
 * of which the part that properties of units have is read: strings, booleans, numbers, and arrays of
 * these. It comes from config.json, so all of it is checked here, before systemd hears of it.
 *
 * Source: docs.gtk.org/glib/gvariant-text.html.
 */
#include <inttypes.h>
#include <string.h>

#include "base/number.h"
#include "cgroups/systemd.h"

static void add_field(struct strbuf *request, const char *text)
{
	strbuf_add(request, text, strlen(text) + 1);
}

void systemd_request_begin(struct strbuf *request, const char *verb,
			   const struct systemd_scope *scope)
{
	add_field(request, verb);
	add_field(request, scope->user ? "user" : "system");
	add_field(request, scope->unit);
}

void systemd_request_add(struct strbuf *request, const char *name, const char *type,
			 const char *value)
{
	add_field(request, name);
	add_field(request, type);
	add_field(request, "1");
	add_field(request, value);
}

void systemd_request_add_array(struct strbuf *request, const char *name, const char *type,
			       size_t count, const char *values, size_t len)
{
	char number[24];

	snprintf(number, sizeof(number), "%zu", count);
	add_field(request, name);
	add_field(request, type);
	add_field(request, number);
	strbuf_add(request, values, len);
}

/* ---- values ------------------------------------------------------------------------------- */

/* A text being read, and what was found in it. */
struct parser {
	const char *p;
	const char *why;    /* what is wrong; NULL: nothing */
	char type;          /* of the value or of the array's elements; 0: not known yet */
	bool typed;         /* it was named, and is not just what the first value looks like */
	struct strbuf text; /* the values, each with a NUL */
	size_t count;
};

static const struct {
	const char *name;
	char type;
	int64_t min;
	uint64_t max;
} types[] = {
	{ "byte", 'y', 0, UINT8_MAX },    { "int16", 'n', INT16_MIN, INT16_MAX },
	{ "uint16", 'q', 0, UINT16_MAX }, { "int32", 'i', INT32_MIN, INT32_MAX },
	{ "uint32", 'u', 0, UINT32_MAX }, { "int64", 'x', INT64_MIN, INT64_MAX },
	{ "uint64", 't', 0, UINT64_MAX }, { "double", 'd', 0, 0 },
	{ "boolean", 'b', 0, 0 },         { "string", 's', 0, 0 },
	{ "objectpath", 'o', 0, 0 },
};

static bool fail(struct parser *p, const char *why)
{
	if (!p->why)
		p->why = why;
	return false;
}

static void skip_blanks(struct parser *p)
{
	p->p += strspn(p->p, " \t\n");
}

static bool take_char(struct parser *p, char c)
{
	skip_blanks(p);
	if (*p->p != c)
		return false;
	p->p++;
	return true;
}

static bool is_number(char type)
{
	return strchr("ynqiuxtd", type) != NULL;
}

/* All values have one type; a number takes any type of numbers that was named for it or for another. */
static bool set_type(struct parser *p, char type, bool named)
{
	if (p->type && p->type != type &&
	    (!is_number(p->type) || !is_number(type) || (named && p->typed)))
		return fail(p, "values of different types");
	if (!p->type || named)
		p->type = type;
	p->typed = p->typed || named;
	return true;
}

static bool parse_string(struct parser *p)
{
	static const char escapes[] = "a\ab\bf\fn\nr\rt\tv\v\\\\''\"\"";
	char quote = *p->p++;

	for (; *p->p && *p->p != quote; p->p++) {
		char c = *p->p;

		if (c == '\\') {
			const char *e;

			c = *++p->p;
			for (e = escapes; *e && *e != c; e += 2)
				;
			if (!c || !*e)
				return fail(p, "an escape sequence that is not known");
			c = e[1];
		}
		strbuf_addc(&p->text, c);
	}
	if (*p->p++ != quote)
		return fail(p, "a string without an end");
	strbuf_addc(&p->text, '\0');
	return p->type == 'o' || set_type(p, 's', true);
}

/* A number or a word up to the next separator. */
static size_t word_length(const char *text)
{
	return strcspn(text, " \t\n,[]()'\"{}<>");
}

static bool parse_number(struct parser *p, size_t len)
{
	char word[64], *end = word;
	bool whole = !memchr(p->p, '.', len);

	if (len >= sizeof(word))
		return fail(p, "a number that is too long");
	memcpy(word, p->p, len);
	word[len] = '\0';
	if (!whole)
		strtod(word, &end);
	if (word[strspn(word, "-.0123456789")] || (!whole && (end == word || *end)))
		return fail(p, "a word that means nothing here");
	if (!set_type(p, whole ? 'i' : 'd', false))
		return false;
	strbuf_add(&p->text, word, len + 1);
	p->p += len;
	return true;
}

/* "uint64" in front of a value. */
static bool parse_type(struct parser *p)
{
	size_t len = word_length(p->p);

	for (size_t i = 0; i < ARRAY_SIZE(types); i++)
		if (len == strlen(types[i].name) && !strncmp(p->p, types[i].name, len)) {
			p->p += len;
			skip_blanks(p);
			return set_type(p, types[i].type, true);
		}
	return true;
}

static bool parse_scalar(struct parser *p)
{
	size_t len;

	skip_blanks(p);
	if (!parse_type(p))
		return false;
	if (*p->p == '\'' || *p->p == '"')
		return parse_string(p) && ++p->count;
	len = word_length(p->p);
	if ((len == 4 && !strncmp(p->p, "true", 4)) || (len == 5 && !strncmp(p->p, "false", 5))) {
		strbuf_add(&p->text, *p->p == 't' ? "1" : "0", 2);
		p->p += len;
		return set_type(p, 'b', true) && ++p->count;
	}
	if (!len)
		return fail(p, "no value");
	return parse_number(p, len) && ++p->count;
}

/* "@as" */
static bool parse_annotation(struct parser *p, bool *array)
{
	p->p++;
	*array = *p->p == 'a';
	if (*array)
		p->p++;
	for (size_t i = 0; i < ARRAY_SIZE(types); i++)
		if (*p->p == types[i].type && word_length(p->p) == 1) {
			p->p++;
			return set_type(p, types[i].type, true);
		}
	return fail(p, "a type that no property has");
}

static bool parse_array(struct parser *p)
{
	p->p++;
	if (take_char(p, ']'))
		return p->type || fail(p, "an empty array without a type, as `@as []`");
	do {
		if (p->count == SYSTEMD_PROPERTY_ELEMENTS)
			return fail(p, "an array that is too long");
		if (!parse_scalar(p))
			return false;
	} while (take_char(p, ','));
	return take_char(p, ']') || fail(p, "an array without an end");
}

/* Numbers must be of their type, which is known only after all of them were read. */
static bool check_values(struct parser *p)
{
	const char *value = p->text.data;

	for (size_t n = 0; n < p->count && !strbuf_failed(&p->text);
	     n++, value += strlen(value) + 1) {
		bool number = value[strspn(value, "-.0123456789")] == '\0' && *value;
		uint64_t u;
		int64_t i;

		for (size_t t = 0; t < ARRAY_SIZE(types); t++) {
			if (types[t].type != p->type || !is_number(p->type) || p->type == 'd')
				continue;
			if (*value == '-' ? !parse_i64(value, &i) || i < types[t].min
					  : !parse_u64(value, types[t].max, &u))
				return fail(p, "a number that is out of the range of its type");
		}
		if (p->type == 'd' && !number)
			return fail(p, "a value that is no number");
	}
	return !strbuf_failed(&p->text) || fail(p, "too much");
}

static bool parse_value(struct parser *p, bool *array)
{
	bool wanted = false;

	skip_blanks(p);
	if (*p->p == '@' && !parse_annotation(p, &wanted))
		return false;
	skip_blanks(p);
	*array = *p->p == '[';
	if (wanted && !*array)
		return fail(p, "no array after the type of one");
	if (!(*array ? parse_array(p) : parse_scalar(p)))
		return false;
	skip_blanks(p);
	return !*p->p || fail(p, "something after the value") ? check_values(p) : false;
}

/* ---- annotations -------------------------------------------------------------------------- */

/* systemd's D-Bus properties are in microseconds, where unit files have "…Sec". */
static bool seconds_to_usec(struct parser *p, bool array, char usec[32])
{
	double seconds;

	if (array || !is_number(p->type))
		return fail(p, "no number of seconds");
	seconds = strtod(p->text.data, NULL);
	if (!(seconds >= 0 && seconds < 1e12))
		return fail(p, "a number of seconds that is out of range");
	snprintf(usec, 32, "%" PRIu64, (uint64_t)(seconds * 1e6 + 0.5));
	return true;
}

static bool is_name(const char *name)
{
	static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
	size_t len = strlen(name);

	return len >= 3 && len <= 64 && strspn(name, letters) == len;
}

/* What makes the scope the container's is hull's own business. */
static bool is_reserved(const char *name)
{
	static const char *const reserved[] = { "PIDs", "Slice", "Delegate", "Controller",
						"ControlGroup" };

	for (size_t i = 0; i < ARRAY_SIZE(reserved); i++)
		if (!strcmp(name, reserved[i]))
			return true;
	return false;
}

static void add_parsed(struct strbuf *request, const char *name, const struct parser *p, bool array)
{
	const char type[3] = { array ? 'a' : p->type, array ? p->type : '\0', '\0' };

	systemd_request_add_array(request, name, type, p->count, p->text.data, p->text.len);
}

int systemd_request_add_annotation(struct strbuf *request, const char *key, const char *value,
				   struct error *err)
{
	const char *name = key + strlen(SYSTEMD_PROPERTY);
	struct parser p = { .p = value };
	char usec[32], renamed[72];
	size_t len = strlen(name);
	bool array = false, ok;

	if (!is_name(name))
		return error_set(err, EINVAL,
				 "/annotations/%.128s: the name of a systemd property has only "
				 "letters, and three of them at least",
				 key);
	if (is_reserved(name))
		return error_set(err, EINVAL, "/annotations/%s: is set by hull itself; remove it",
				 key);
	ok = parse_value(&p, &array);
	if (ok && len > 3 && !strcmp(name + len - 3, "Sec") && name[len - 4] >= 'a' &&
	    name[len - 4] <= 'z') {
		snprintf(renamed, sizeof(renamed), "%.*sUSec", (int)len - 3, name);
		ok = seconds_to_usec(&p, array, usec);
		if (ok)
			systemd_request_add(request, renamed, "t", usec);
	} else if (ok) {
		add_parsed(request, name, &p, array);
	}
	strbuf_free(&p.text);
	return ok ? 0
		  : error_set(err, EINVAL,
			      "/annotations/%s: `%.128s` is not a value as `'text'`, `true`, "
			      "`uint64 5` or `['a', 'b']`: %s",
			      key, value, p.why);
}
