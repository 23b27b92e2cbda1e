/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The engine behind the descriptor tables; see schema.h. Parsing walks the members that the text
 * has, not those that the table has: a configuration names a tenth of what it could.
 */
#include "oci/schema.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define PATH_TEXT   512 /* bytes of a path in a message; a longer one is cut */
#define QUOTE_TEXT  80  /* bytes of a foreign string in a message */
#define UNIQUE_MOST 256 /* elements of an array that is checked for equal ones, pair by pair */

struct parse {
	struct arena *arena;
	struct error *err;
};

/* The shape of every array in oci/config.h. Written by memcpy: the item types differ. */
struct array {
	void *items;
	size_t len;
};

static void store_array(void *field, void *items, size_t len)
{
	struct array a = { items, len };

	memcpy(field, &a, sizeof(a));
}

static const char *load_string(const void *field)
{
	const char *s;

	memcpy(&s, field, sizeof(s));
	return s;
}

/* ---- messages --------------------------------------------------------------------------------- */

/* Text from the file, cut and on one line, so that it cannot fake or flood a log. */
static const char *quote(const char *s, char buf[QUOTE_TEXT])
{
	size_t n = 0;

	while (n < QUOTE_TEXT - 4 && s[n]) {
		unsigned char c = (unsigned char)s[n];

		buf[n++] = c < 0x20 || c == 0x7f ? '?' : (char)c;
	}
	if (s[n]) {
		while (n && (s[n] & 0xc0) == 0x80) /* not through the middle of a character */
			n--;
		memcpy(buf + n, "...", 4);
	} else {
		buf[n] = '\0';
	}
	return buf;
}

static size_t path_text(const struct schema_path *path, char *buf, size_t size)
{
	char name[QUOTE_TEXT];
	size_t len;
	int n;

	if (!path)
		return 0;
	len = path_text(path->parent, buf, size);
	if (len >= size)
		return len;
	if (path->name)
		n = snprintf(buf + len, size - len, "/%s", quote(path->name, name));
	else
		n = snprintf(buf + len, size - len, "/%zu", path->index);
	return len + (size_t)n;
}

int schema_fail(const struct schema_path *path, struct error *err, const char *fmt, ...)
{
	char where[PATH_TEXT] = "/", text[ERROR_TEXT_MAX];
	va_list ap;

	path_text(path, where, sizeof(where));
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	return error_set(err, EINVAL, "%s: %s", where, text);
}

static int wrong_type(struct parse *p, const struct schema_path *path, const char *expected,
		      const struct json_value *v)
{
	return schema_fail(path, p->err, "expected %s, found %s", expected,
			   json_type_name(v->type));
}

static int no_memory(struct parse *p)
{
	return error_set(p->err, ENOMEM, "out of memory");
}

static int wrong_name(struct parse *p, const struct schema_path *path, const char *const *names,
		      const char *found)
{
	char list[ERROR_TEXT_MAX / 2] = "", buf[QUOTE_TEXT];
	size_t len = 0;

	for (size_t i = 0; names[i] && len < sizeof(list); i++)
		len += (size_t)snprintf(list + len, sizeof(list) - len, "%s%s", i ? ", " : "",
					names[i]);
	return schema_fail(path, p->err, "\"%s\" is not one of %s", quote(found, buf), list);
}

/* ---- strings and numbers ---------------------------------------------------------------------- */

static int check_string(struct parse *p, const struct schema_member *m, const char *s,
			const struct schema_path *path)
{
	char buf[QUOTE_TEXT];

	if (m->format && !m->format->valid(s))
		return schema_fail(path, p->err, "expected %s, found \"%s\"", m->format->expected,
				   quote(s, buf));
	if (!m->names)
		return 0;
	for (int i = 0; m->names[i]; i++) {
		if (strcmp(m->names[i], s) == 0)
			return i;
	}
	return wrong_name(p, path, m->names, s);
}

/* Returns the index of the string in the member's names, where it has names. */
static int parse_string(struct parse *p, const struct schema_member *m, const struct json_value *v,
			const char **s, const struct schema_path *path)
{
	if (v->type != JSON_STRING)
		return wrong_type(p, path, "a string", v);
	*s = v->string;
	return check_string(p, m, v->string, path);
}

static int wrong_integer(struct parse *p, const struct json_value *v, int64_t min, uint64_t max,
			 const struct schema_path *path)
{
	const char *digits;
	char buf[QUOTE_TEXT];

	if (v->type != JSON_NUMBER)
		return wrong_type(p, path, "an integer", v);
	digits = v->string + (v->string[0] == '-');
	if (digits[strspn(digits, "0123456789")])
		return schema_fail(path, p->err, "expected an integer, found %s",
				   quote(v->string, buf));
	return schema_fail(path, p->err, "%s is out of range (%" PRId64 " to %" PRIu64 ")",
			   quote(v->string, buf), min, max);
}

/* Integers of all kinds come as 64 bits; a negative one in two's complement. */
static int parse_integer(struct parse *p, const struct schema_member *m, const struct json_value *v,
			 uint64_t *bits, const struct schema_path *path)
{
	static const struct {
		int64_t min;
		uint64_t max;
	} ranges[] = {
		[SCHEMA_U32] = { 0, UINT32_MAX },
		[SCHEMA_I64] = { INT64_MIN, INT64_MAX },
		[SCHEMA_U64] = { 0, UINT64_MAX },
		[SCHEMA_OPT_U16] = { 0, UINT16_MAX },
		[SCHEMA_OPT_I32] = { INT32_MIN, INT32_MAX },
		[SCHEMA_OPT_U32] = { 0, UINT32_MAX },
		[SCHEMA_OPT_I64] = { INT64_MIN, INT64_MAX },
		[SCHEMA_OPT_U64] = { 0, UINT64_MAX },
		[SCHEMA_U32S] = { 0, UINT32_MAX },
	};
	int64_t min = m->ranged ? m->min : ranges[m->kind].min, number;
	uint64_t max = m->ranged ? m->max : ranges[m->kind].max;

	if (min >= 0) {
		if (!json_u64(v, max, bits) || *bits < (uint64_t)min)
			return wrong_integer(p, v, min, max, path);
		return 0;
	}
	if (!json_i64(v, min, (int64_t)max, &number))
		return wrong_integer(p, v, min, max, path);
	*bits = (uint64_t)number;
	return 0;
}

static int parse_number(struct parse *p, const struct schema_member *m, const struct json_value *v,
			void *field, const struct schema_path *path)
{
	uint64_t bits = 0;
	int r = parse_integer(p, m, v, &bits, path);

	if (r < 0)
		return r;
	switch (m->kind) {
	case SCHEMA_U32:
		*(uint32_t *)field = (uint32_t)bits;
		break;
	case SCHEMA_I64:
		*(int64_t *)field = (int64_t)bits;
		break;
	case SCHEMA_U64:
		*(uint64_t *)field = bits;
		break;
	case SCHEMA_OPT_U16:
		*(struct opt_u16 *)field = (struct opt_u16){ true, (uint16_t)bits };
		break;
	case SCHEMA_OPT_I32:
		*(struct opt_i32 *)field = (struct opt_i32){ true, (int32_t)bits };
		break;
	case SCHEMA_OPT_U32:
		*(struct opt_u32 *)field = (struct opt_u32){ true, (uint32_t)bits };
		break;
	case SCHEMA_OPT_I64:
		*(struct opt_i64 *)field = (struct opt_i64){ true, (int64_t)bits };
		break;
	default:
		*(struct opt_u64 *)field = (struct opt_u64){ true, bits };
		break;
	}
	return 0;
}

static int parse_bool(struct parse *p, const struct schema_member *m, const struct json_value *v,
		      void *field, const struct schema_path *path)
{
	if (v->type != JSON_BOOL)
		return wrong_type(p, path, "a boolean", v);
	if (m->kind == SCHEMA_BOOL)
		*(bool *)field = v->boolean;
	else
		*(struct opt_bool *)field = (struct opt_bool){ true, v->boolean };
	return 0;
}

/* ---- arrays and maps -------------------------------------------------------------------------- */

static int parse_strings(struct parse *p, const struct schema_member *m, const struct json_value *v,
			 struct oci_strings *strings, const struct schema_path *path)
{
	struct schema_path here = { .parent = path };

	if (v->type != JSON_ARRAY)
		return wrong_type(p, path, "an array of strings", v);
	strings->items = arena_array(p->arena, v->children, sizeof(*strings->items));
	if (!strings->items)
		return no_memory(p);
	for (const struct json_value *e = v->child; e; e = e->next, here.index++) {
		int r = parse_string(p, m, e, &strings->items[here.index], &here);

		if (r < 0)
			return r;
	}
	strings->len = v->children;
	return 0;
}

static int parse_u32s(struct parse *p, const struct schema_member *m, const struct json_value *v,
		      struct oci_u32s *numbers, const struct schema_path *path)
{
	struct schema_path here = { .parent = path };

	if (v->type != JSON_ARRAY)
		return wrong_type(p, path, "an array of integers", v);
	numbers->items = arena_array(p->arena, v->children, sizeof(*numbers->items));
	if (!numbers->items)
		return no_memory(p);
	for (const struct json_value *e = v->child; e; e = e->next, here.index++) {
		uint64_t bits = 0;
		int r = parse_integer(p, m, e, &bits, &here);

		if (r < 0)
			return r;
		numbers->items[here.index] = (uint32_t)bits;
	}
	numbers->len = v->children;
	return 0;
}

static int check_key(struct parse *p, const struct schema_member *m, const char *key,
		     const struct schema_path *path)
{
	if (m->not_empty && !*key)
		return schema_fail(path, p->err, "the name of a member is empty");
	return 0;
}

static int parse_map(struct parse *p, const struct schema_member *m, const struct json_value *v,
		     struct oci_map *map, const struct schema_path *path)
{
	struct schema_path here = { .parent = path };

	if (v->type != JSON_OBJECT)
		return wrong_type(p, path, "an object", v);
	map->items = arena_array(p->arena, v->children, sizeof(*map->items));
	if (!map->items)
		return no_memory(p);
	for (const struct json_value *e = v->child; e; e = e->next) {
		struct oci_map_entry *entry = &map->items[map->len];
		int r = check_key(p, m, e->key, path);

		if (r < 0)
			return r;
		here.name = entry->key = e->key;
		r = parse_string(p, m, e, &entry->value, &here);
		if (r < 0)
			return r;
		map->len++;
	}
	return 0;
}

/* The string by which the elements of a `unique` array differ. */
static const char *unique_name(const struct schema *table, const char *element)
{
	const struct schema_member *first = &table->members[0];
	int index;

	if (first->kind == SCHEMA_STRING)
		return load_string(element + first->offset);
	memcpy(&index, element + first->offset, sizeof(index));
	return first->names[index];
}

static int check_unique(struct parse *p, const struct schema_member *m, const char *items,
			size_t len, const struct schema_path *path)
{
	if (len > UNIQUE_MOST)
		return schema_fail(path, p->err, "more than %d entries", UNIQUE_MOST);
	for (size_t i = 1; i < len; i++) {
		const char *name = unique_name(m->table, items + i * m->size);

		for (size_t j = 0; j < i; j++) {
			struct schema_path element = { .parent = path, .index = i };
			struct schema_path here = { &element, m->table->members[0].name, 0 };
			char buf[QUOTE_TEXT];

			if (strcmp(name, unique_name(m->table, items + j * m->size)) == 0)
				return schema_fail(&here, p->err, "\"%s\" appears twice",
						   quote(name, buf));
		}
	}
	return 0;
}

static int parse_object(struct parse *p, const struct schema *schema, const struct json_value *v,
			void *object, const struct schema_path *path);

/* SCHEMA_ARRAY and SCHEMA_KEYED. */
static int parse_array(struct parse *p, const struct schema_member *m, const struct json_value *v,
		       void *field, const struct schema_path *path)
{
	bool keyed = m->kind == SCHEMA_KEYED;
	struct schema_path here = { .parent = path };
	char *items;
	int r;

	if (v->type != (keyed ? JSON_OBJECT : JSON_ARRAY))
		return wrong_type(p, path, keyed ? "an object" : "an array", v);
	items = arena_array(p->arena, v->children, m->size);
	if (!items)
		return no_memory(p);
	for (const struct json_value *e = v->child; e; e = e->next, here.index++) {
		char *item = items + here.index * m->size;

		if (keyed) {
			r = check_key(p, m, e->key, path);
			if (r < 0)
				return r;
			here.name = e->key;
			memcpy(item, &e->key, sizeof(e->key));
		}
		r = parse_object(p, m->table, e, item, &here);
		if (r < 0)
			return r;
	}
	store_array(field, items, v->children);
	return m->unique ? check_unique(p, m, items, v->children, path) : 0;
}

static int parse_pointer(struct parse *p, const struct schema_member *m, const struct json_value *v,
			 void *field, const struct schema_path *path)
{
	void *object = arena_alloc(p->arena, m->size);

	if (!object)
		return no_memory(p);
	memcpy(field, &object, sizeof(object));
	return parse_object(p, m->table, v, object, path);
}

/* ---- objects ---------------------------------------------------------------------------------- */

static int parse_member(struct parse *p, const struct schema_member *m, const struct json_value *v,
			void *field, const struct schema_path *path)
{
	const char *s = NULL;
	int r;

	switch (m->kind) {
	case SCHEMA_STRING:
		r = parse_string(p, m, v, &s, path);
		memcpy(field, &s, sizeof(s));
		return r;
	case SCHEMA_ENUM:
		r = parse_string(p, m, v, &s, path);
		memcpy(field, &r, sizeof(r));
		return r;
	case SCHEMA_BOOL:
	case SCHEMA_OPT_BOOL:
		return parse_bool(p, m, v, field, path);
	case SCHEMA_STRINGS:
		return parse_strings(p, m, v, field, path);
	case SCHEMA_U32S:
		return parse_u32s(p, m, v, field, path);
	case SCHEMA_MAP:
		return parse_map(p, m, v, field, path);
	case SCHEMA_OBJECT:
		return parse_pointer(p, m, v, field, path);
	case SCHEMA_ARRAY:
	case SCHEMA_KEYED:
		return parse_array(p, m, v, field, path);
	default:
		return parse_number(p, m, v, field, path);
	}
}

static int parse_and_check(struct parse *p, const struct schema_member *m,
			   const struct json_value *v, void *field, const struct schema_path *path)
{
	int r = parse_member(p, m, v, field, path);

	if (r < 0)
		return r;
	if (m->not_empty && v->type == JSON_ARRAY && !v->children)
		return schema_fail(path, p->err, "expected at least one entry");
	return m->check ? m->check(field, path, p->err) : 0;
}

/*
 * The index of a member, or count. A program writes its members in one order, so the search begins
 * where the last one ended and mostly ends there, too.
 */
static size_t find_member(const struct schema *schema, const char *name, size_t begin)
{
	for (size_t n = 0; n < schema->count; n++) {
		size_t i = begin + n < schema->count ? begin + n : begin + n - schema->count;
		const char *candidate = schema->members[i].name;

		if (candidate[0] == name[0] && strcmp(candidate, name) == 0)
			return i;
	}
	return schema->count;
}

static int check_required(struct parse *p, const struct schema *schema, uint64_t seen,
			  const struct schema_path *path)
{
	for (size_t i = 0; i < schema->count; i++) {
		struct schema_path here = { path, schema->members[i].name, 0 };

		if (schema->members[i].required && !(seen & UINT64_C(1) << i))
			return schema_fail(&here, p->err, "missing, but required");
	}
	return 0;
}

static int parse_object(struct parse *p, const struct schema *schema, const struct json_value *v,
			void *object, const struct schema_path *path)
{
	uint64_t seen = 0;
	size_t next = 0;

	if (v->type != JSON_OBJECT)
		return wrong_type(p, path, "an object", v);
	for (const struct json_value *e = v->child; e; e = e->next) {
		size_t i = find_member(schema, e->key, next);
		const struct schema_member *m = &schema->members[i];
		struct schema_path here = { path, e->key, 0 };
		uint64_t bit;
		int r;

		if (i == schema->count)
			continue;
		next = i + 1;
		if (m->absent && m->absent(e))
			continue;
		bit = UINT64_C(1) << i >> m->alias; /* an alias is the member before it */
		if (seen & bit)
			return schema_fail(&here, p->err, "given twice, in two spellings");
		seen |= bit;
		r = parse_and_check(p, m, e, (char *)object + m->offset, &here);
		if (r < 0)
			return r;
	}
	return check_required(p, schema, seen, path);
}

int schema_parse(const struct schema *schema, const struct json_value *value, struct arena *arena,
		 void *object, struct error *err)
{
	struct parse p = { arena, err };

	return parse_object(&p, schema, value, object, NULL);
}
