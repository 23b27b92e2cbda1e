/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading JSON: yajl finds the tokens, the callbacks here hang them into a tree. What yajl is lax
 * about (UTF-8, lone surrogates, NUL, members that repeat, depth) is checked here, because two
 * readers of one text that disagree about it are how a check in front of hull is walked around.
 *
 * Start time is the product: every string of a text goes into one block as long as the text, a
 * node is one allocation from the arena, and the checks of the text run over whole words.
 */
#include "oci/json.h"

#include <string.h>
#include <yajl/yajl_parse.h>

#include "base/json_escape.h"
#include "base/number.h"

/* Up to this many members, repeated ones are found by comparing each with those before it. */
#define FEW_MEMBERS 24

struct parser {
	struct arena *arena;
	char *strings; /* where the next string goes; the block cannot run out, see add_string() */
	struct json_value *root;
	const char *key; /* of the value to come */
	struct json_value *open[JSON_DEPTH];
	struct json_value *last[JSON_DEPTH]; /* the last child of each */
	unsigned depth;
	size_t values;
	int code; /* why a callback stopped yajl: an errno, and the message */
	char why[160];
};

static int stop(struct parser *p, int code, const char *why)
{
	p->code = code;
	snprintf(p->why, sizeof(p->why), "%s", why);
	return 0;
}

static int stop_repeated(struct parser *p, const char *key)
{
	p->code = EINVAL;
	snprintf(p->why, sizeof(p->why), "member \"%.100s\" appears twice in one object", key);
	return 0;
}

/*
 * A string in the text has two quotes and a number is followed by another byte or the end, so each
 * takes no more room here, with its NUL, than there: len + 1 bytes are enough for all.
 */
static const char *add_string(struct parser *p, const void *s, size_t len)
{
	char *copy = p->strings;

	memcpy(copy, s, len);
	copy[len] = '\0';
	p->strings += len + 1;
	return copy;
}

static struct json_value *add_value(struct parser *p, enum json_type type)
{
	struct json_value *v;

	if (++p->values > JSON_VALUES) {
		stop(p, EINVAL, "too many values in one text");
		return NULL;
	}
	v = arena_new(p->arena, struct json_value);
	if (!v) {
		stop(p, ENOMEM, "out of memory");
		return NULL;
	}
	v->type = type;
	v->key = p->key;
	p->key = NULL;
	if (!p->depth) {
		p->root = v;
		return v;
	}
	if (p->last[p->depth - 1])
		p->last[p->depth - 1]->next = v;
	else
		p->open[p->depth - 1]->child = v;
	p->last[p->depth - 1] = v;
	p->open[p->depth - 1]->children++;
	return v;
}

/* ---- what yajl calls; 0 stops it -------------------------------------------------------------- */

static int on_null(void *ctx)
{
	return add_value(ctx, JSON_NULL) != NULL;
}

static int on_boolean(void *ctx, int boolean)
{
	struct json_value *v = add_value(ctx, JSON_BOOL);

	if (v)
		v->boolean = boolean;
	return v != NULL;
}

static int on_number(void *ctx, const char *s, size_t len)
{
	struct json_value *v = add_value(ctx, JSON_NUMBER);

	if (v)
		v->string = add_string(ctx, s, len);
	return v != NULL;
}

static int on_string(void *ctx, const unsigned char *s, size_t len)
{
	struct json_value *v;

	if (memchr(s, '\0', len))
		return stop(ctx, EINVAL, "a NUL in a string");
	v = add_value(ctx, JSON_STRING);
	if (v)
		v->string = add_string(ctx, s, len);
	return v != NULL;
}

static int on_key(void *ctx, const unsigned char *s, size_t len)
{
	struct parser *p = ctx;
	const struct json_value *object = p->open[p->depth - 1];

	if (memchr(s, '\0', len))
		return stop(p, EINVAL, "a NUL in the name of a member");
	p->key = add_string(p, s, len);
	if (object->children >= FEW_MEMBERS)
		return 1; /* on_end_map() looks through many at once */
	for (const struct json_value *v = object->child; v; v = v->next) {
		if (strcmp(v->key, p->key) == 0)
			return stop_repeated(p, p->key);
	}
	return 1;
}

static int begin(struct parser *p, enum json_type type)
{
	struct json_value *v;

	if (p->depth == JSON_DEPTH)
		return stop(p, EINVAL, "nested deeper than 64 levels");
	v = add_value(p, type);
	if (!v)
		return 0;
	p->open[p->depth] = v;
	p->last[p->depth] = NULL;
	p->depth++;
	return 1;
}

static int on_start_map(void *ctx)
{
	return begin(ctx, JSON_OBJECT);
}

static int on_start_array(void *ctx)
{
	return begin(ctx, JSON_ARRAY);
}

static int compare_keys(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Sorting, unlike a hash table, cannot be made quadratic by who chose the names. */
static int check_many_members(struct parser *p, const struct json_value *object)
{
	_cleanup_free_ const char **keys = calloc(object->children, sizeof(*keys));
	size_t n = 0;

	if (!keys)
		return stop(p, ENOMEM, "out of memory");
	for (const struct json_value *v = object->child; v; v = v->next)
		keys[n++] = v->key;
	qsort(keys, n, sizeof(*keys), compare_keys);
	for (size_t i = 1; i < n; i++) {
		if (strcmp(keys[i - 1], keys[i]) == 0)
			return stop_repeated(p, keys[i]);
	}
	return 1;
}

static int on_end_map(void *ctx)
{
	struct parser *p = ctx;
	const struct json_value *object = p->open[--p->depth];

	return object->children > FEW_MEMBERS ? check_many_members(p, object) : 1;
}

static int on_end_array(void *ctx)
{
	struct parser *p = ctx;

	p->depth--;
	return 1;
}

static const yajl_callbacks callbacks = {
	.yajl_null = on_null,
	.yajl_boolean = on_boolean,
	.yajl_number = on_number,
	.yajl_string = on_string,
	.yajl_start_map = on_start_map,
	.yajl_map_key = on_key,
	.yajl_end_map = on_end_map,
	.yajl_start_array = on_start_array,
	.yajl_end_array = on_end_array,
};

/* ---- checks of the text that yajl does not make ----------------------------------------------- */

/* Fills the message with the place: lines and bytes of a line, counted from 1. */
static int fail_at(const char *text, size_t offset, int code, const char *why, struct error *err)
{
	size_t line = 1, start = 0;

	for (const char *nl; (nl = memchr(text + start, '\n', offset - start));) {
		line++;
		start = (size_t)(nl - text) + 1;
	}
	return error_set(err, code, "invalid JSON at line %zu, column %zu: %s", line,
			 offset - start + 1, why);
}

/* The value of the four hexadecimal digits of \uXXXX at s; -1 where it is not one. */
static int unicode_escape(const char *s, const char *end)
{
	int code = 0;

	if (end - s < 6 || s[0] != '\\' || s[1] != 'u')
		return -1;
	for (int i = 2; i < 6; i++) {
		int digit = s[i] >= '0' && s[i] <= '9' ? s[i] - '0'
			    : (s[i] | 0x20) >= 'a' && (s[i] | 0x20) <= 'f'
				    ? (s[i] | 0x20) - 'a' + 10
				    : -1;

		if (digit < 0)
			return -1;
		code = code << 4 | digit;
	}
	return code;
}

/*
 * Finds the first escape that is half of a surrogate pair; NULL where there is none. yajl would
 * read a question mark, or bytes that are not UTF-8. Other bad escapes are left for yajl to refuse.
 */
static const char *lone_surrogate(const char *text, size_t len)
{
	const char *end = text + len, *s = text;

	while ((s = memchr(s, '\\', (size_t)(end - s)))) {
		int code = unicode_escape(s, end);

		if (code >= 0xd800 && code <= 0xdfff) {
			int low = unicode_escape(s + 6, end);

			if (code >= 0xdc00 || low < 0xdc00 || low > 0xdfff)
				return s;
			s += 12;
		} else {
			s += end - s > 1 ? 2 : 1; /* the second of "\\" begins nothing */
		}
	}
	return NULL;
}

static int check_text(const char *text, size_t len, struct error *err)
{
	size_t valid = utf8_valid_prefix(text, len);
	const char *lone;

	if (valid < len)
		return fail_at(text, valid, EINVAL, "not valid UTF-8", err);
	lone = lone_surrogate(text, len);
	if (lone)
		return fail_at(text, (size_t)(lone - text), EINVAL,
			       "half of a surrogate pair in a string", err);
	return 0;
}

/* ---- json_parse() ----------------------------------------------------------------------------- */

static int fail_in_yajl(yajl_handle yajl, const char *text, size_t len, size_t offset,
			struct error *err)
{
	unsigned char *why = yajl_get_error(yajl, 0, (const unsigned char *)text, len);
	int r;

	if (why)
		why[strcspn((char *)why, "\n")] = '\0';
	r = fail_at(text, offset, EINVAL, why ? (char *)why : "malformed", err);
	if (why)
		yajl_free_error(yajl, why);
	return r;
}

static int parse_with(yajl_handle yajl, struct parser *p, const char *text, size_t len,
		      struct error *err)
{
	yajl_status status = yajl_parse(yajl, (const unsigned char *)text, len);
	size_t offset = yajl_get_bytes_consumed(yajl);

	if (status == yajl_status_ok) {
		status = yajl_complete_parse(yajl);
		offset = len;
	} else if (status == yajl_status_error && offset) {
		offset--; /* the byte that yajl objects to counts as consumed */
	}
	if (status == yajl_status_client_canceled)
		return fail_at(text, offset, p->code, p->why, err);
	if (status != yajl_status_ok)
		return fail_in_yajl(yajl, text, len, offset, err);
	return 0;
}

int json_parse(const char *text, size_t len, struct arena *arena, struct json_value **root,
	       struct error *err)
{
	struct parser p = { .arena = arena };
	yajl_handle yajl;
	int r;

	r = check_text(text, len, err);
	if (r < 0)
		return r;
	p.strings = len < SIZE_MAX ? arena_alloc(arena, len + 1) : NULL;
	yajl = p.strings ? yajl_alloc(&callbacks, NULL, &p) : NULL;
	if (!yajl)
		return error_errno(err, ENOMEM, "read JSON");
	/* Done for the whole text already, and more strictly. */
	yajl_config(yajl, yajl_dont_validate_strings, 1);
	r = parse_with(yajl, &p, text, len, err);
	yajl_free(yajl);
	if (r == 0)
		*root = p.root;
	return r;
}

/* ---- using the tree --------------------------------------------------------------------------- */

const struct json_value *json_get(const struct json_value *object, const char *key)
{
	if (!object || object->type != JSON_OBJECT)
		return NULL;
	for (const struct json_value *v = object->child; v; v = v->next) {
		if (strcmp(v->key, key) == 0)
			return v;
	}
	return NULL;
}

const char *json_get_string(const struct json_value *object, const char *key)
{
	const struct json_value *v = json_get(object, key);

	return v && v->type == JSON_STRING ? v->string : NULL;
}

const char *json_type_name(enum json_type type)
{
	static const char *const names[] = {
		[JSON_NULL] = "null",       [JSON_BOOL] = "a boolean", [JSON_NUMBER] = "a number",
		[JSON_STRING] = "a string", [JSON_ARRAY] = "an array", [JSON_OBJECT] = "an object",
	};

	return names[type];
}

bool json_u64(const struct json_value *value, uint64_t max, uint64_t *out)
{
	const char *s = value->string;

	if (value->type != JSON_NUMBER)
		return false;
	if (strcmp(s, "-0") == 0) /* an integer, and zero, by JSON Schema */
		s++;
	return parse_u64(s, max, out);
}

bool json_i64(const struct json_value *value, int64_t min, int64_t max, int64_t *out)
{
	int64_t v;

	if (value->type != JSON_NUMBER || !parse_i64(value->string, &v) || v < min || v > max)
		return false;
	*out = v;
	return true;
}
