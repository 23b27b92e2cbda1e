/* SPDX-License-Identifier: Apache-2.0 */
/* Random structures by tables; see generate.h. */
#include "tests/unit/generate.h"

#include "tests/unit/unit.h"

struct array {
	void *items;
	size_t len;
};

/* splitmix64: small, and every seed is as good as another. */
static uint64_t next_random(struct generator *g)
{
	uint64_t z = g->state += 0x9e3779b97f4a7c15;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return z ^ z >> 31;
}

uint64_t generate_number(struct generator *g, uint64_t below)
{
	return next_random(g) % below;
}

static size_t count_names(const char *const *names)
{
	size_t n = 0;

	while (names[n])
		n++;
	return n;
}

/* ---- making ----------------------------------------------------------------------------------- */

static const char *any_text(struct generator *g, bool may_be_empty)
{
	static const char *const pieces[] = { "a",  "Z",      "/",      " ",          "\"",   "\\",
					      "\n", "\t",     "\x01",   "\x7f",       "'",    "{",
					      ",",  "\u00e9", "\u20ac", "\U0001f600", "null", "0" };
	size_t count = generate_number(g, 8) + !may_be_empty;
	char *text = arena_alloc(g->arena, count * 8 + 1);

	assert_non_null(text);
	for (size_t i = 0; i < count; i++)
		strcat(text, pieces[generate_number(g, ARRAY_SIZE(pieces))]);
	return text;
}

static const char *any_string(struct generator *g, const struct schema_member *m)
{
	if (m->names)
		return m->names[generate_number(g, count_names(m->names))];
	if (m->format)
		return m->format->example;
	return any_text(g, !m->absent);
}

/* The ends of the range and their neighbours are likelier than chance would have them. */
static int64_t any_signed(struct generator *g, int64_t min, int64_t max)
{
	switch (generate_number(g, 4)) {
	case 0:
		return min;
	case 1:
		return max;
	default:
		return (int64_t)((uint64_t)min + next_random(g) % ((uint64_t)max - (uint64_t)min));
	}
}

static uint64_t any_unsigned(struct generator *g, uint64_t min, uint64_t max)
{
	switch (generate_number(g, 4)) {
	case 0:
		return min;
	case 1:
		return max;
	default:
		return min + next_random(g) % (max - min);
	}
}

static size_t any_length(struct generator *g, const struct schema_member *m)
{
	return generate_number(g, 4) + (m->not_empty && m->kind != SCHEMA_MAP);
}

/* A key that no other of the same object has. */
static const char *any_key(struct generator *g, size_t index)
{
	const char *key = arena_printf(g->arena, "%zu.%s", index, any_text(g, true));

	assert_non_null(key);
	return key;
}

static void *new_items(struct generator *g, size_t len, size_t size)
{
	void *items = arena_array(g->arena, len, size);

	assert_non_null(items);
	return items;
}

/* Makes the first member of an element differ from those of the elements before it. */
static void make_unique(struct generator *g, const struct schema_member *m, char *element,
			size_t index)
{
	const struct schema_member *first = &m->table->members[0];
	const char *name;
	int value = (int)index;

	if (first->kind == SCHEMA_ENUM) {
		memcpy(element + first->offset, &value, sizeof(value));
		return;
	}
	name = arena_printf(g->arena, "%s%c", first->format->example, 'A' + (int)index);
	assert_non_null(name);
	memcpy(element + first->offset, &name, sizeof(name));
}

static void generate_array(struct generator *g, const struct schema_member *m, struct array *array)
{
	array->len = any_length(g, m);
	array->items = new_items(g, array->len, m->size);
	for (size_t i = 0; i < array->len; i++) {
		char *element = (char *)array->items + i * m->size;

		if (m->kind == SCHEMA_KEYED) {
			const char *key = any_key(g, i);

			memcpy(element, &key, sizeof(key));
		}
		generate_object(g, m->table, element);
		if (m->unique)
			make_unique(g, m, element, i);
	}
}

static void generate_map(struct generator *g, struct oci_map *map)
{
	map->len = generate_number(g, 40); /* often more than json.c compares pair by pair */
	map->items = new_items(g, map->len, sizeof(*map->items));
	for (size_t i = 0; i < map->len; i++)
		map->items[i] = (struct oci_map_entry){ any_key(g, i), any_text(g, true) };
}

static void generate_strings(struct generator *g, const struct schema_member *m,
			     struct oci_strings *strings)
{
	strings->len = any_length(g, m);
	strings->items = new_items(g, strings->len, sizeof(*strings->items));
	for (size_t i = 0; i < strings->len; i++)
		strings->items[i] = any_string(g, m);
}

static void generate_u32s(struct generator *g, const struct schema_member *m,
			  struct oci_u32s *numbers)
{
	numbers->len = any_length(g, m);
	numbers->items = new_items(g, numbers->len, sizeof(*numbers->items));
	for (size_t i = 0; i < numbers->len; i++)
		numbers->items[i] = (uint32_t)any_unsigned(g, 0, m->ranged ? m->max : UINT32_MAX);
}

static void generate_number_member(struct generator *g, const struct schema_member *m, void *field)
{
	uint64_t min = m->ranged ? (uint64_t)m->min : 0;

#define MOST(limit)         (m->ranged ? m->max : (limit))
#define MOST_SIGNED(limit)  (m->ranged ? (int64_t)m->max : (limit))
#define LEAST_SIGNED(limit) (m->ranged ? m->min : (limit))
	switch (m->kind) {
	case SCHEMA_U32:
		*(uint32_t *)field = (uint32_t)any_unsigned(g, min, MOST(UINT32_MAX));
		break;
	case SCHEMA_I64:
		*(int64_t *)field = any_signed(g, LEAST_SIGNED(INT64_MIN), MOST_SIGNED(INT64_MAX));
		break;
	case SCHEMA_U64:
		*(uint64_t *)field = any_unsigned(g, min, MOST(UINT64_MAX));
		break;
	case SCHEMA_OPT_U16:
		*(struct opt_u16 *)field =
			(struct opt_u16){ true, (uint16_t)any_unsigned(g, min, MOST(UINT16_MAX)) };
		break;
	case SCHEMA_OPT_I32:
		*(struct opt_i32 *)field =
			(struct opt_i32){ true, (int32_t)any_signed(g, LEAST_SIGNED(INT32_MIN),
								    MOST_SIGNED(INT32_MAX)) };
		break;
	case SCHEMA_OPT_U32:
		*(struct opt_u32 *)field =
			(struct opt_u32){ true, (uint32_t)any_unsigned(g, min, MOST(UINT32_MAX)) };
		break;
	case SCHEMA_OPT_I64:
		*(struct opt_i64 *)field =
			(struct opt_i64){ true, any_signed(g, LEAST_SIGNED(INT64_MIN),
							   MOST_SIGNED(INT64_MAX)) };
		break;
	case SCHEMA_OPT_U64:
		*(struct opt_u64 *)field =
			(struct opt_u64){ true, any_unsigned(g, min, MOST(UINT64_MAX)) };
		break;
	default:
		fail_msg("member %s is of no known kind", m->name);
	}
}

static void generate_member(struct generator *g, const struct schema_member *m, void *field)
{
	struct array array;
	const char *s;
	void *object;
	int index;

	switch (m->kind) {
	case SCHEMA_STRING:
		s = any_string(g, m);
		memcpy(field, &s, sizeof(s));
		break;
	case SCHEMA_ENUM:
		index = (int)generate_number(g, count_names(m->names));
		memcpy(field, &index, sizeof(index));
		break;
	case SCHEMA_BOOL:
		*(bool *)field = generate_number(g, 2);
		break;
	case SCHEMA_OPT_BOOL:
		*(struct opt_bool *)field = (struct opt_bool){ true, generate_number(g, 2) };
		break;
	case SCHEMA_STRINGS:
		generate_strings(g, m, field);
		break;
	case SCHEMA_U32S:
		generate_u32s(g, m, field);
		break;
	case SCHEMA_MAP:
		generate_map(g, field);
		break;
	case SCHEMA_OBJECT:
		object = new_items(g, 1, m->size);
		generate_object(g, m->table, object);
		memcpy(field, &object, sizeof(object));
		break;
	case SCHEMA_ARRAY:
	case SCHEMA_KEYED:
		generate_array(g, m, &array);
		memcpy(field, &array, sizeof(array));
		break;
	default:
		generate_number_member(g, m, field);
	}
}

void generate_object(struct generator *g, const struct schema *schema, void *object)
{
	for (size_t i = 0; i < schema->count; i++) {
		const struct schema_member *m = &schema->members[i];

		if (!m->alias && (m->required || generate_number(g, 3)))
			generate_member(g, m, (char *)object + m->offset);
	}
}

/* ---- comparing -------------------------------------------------------------------------------- */

static bool same_strings(const char *a, const char *b)
{
	return a && b ? strcmp(a, b) == 0 : a == b;
}

static bool same_string_lists(const struct oci_strings *a, const struct oci_strings *b)
{
	for (size_t i = 0; i < a->len; i++) {
		if (!same_strings(a->items[i], b->items[i]))
			return false;
	}
	return true;
}

static bool same_maps(const struct oci_map *a, const struct oci_map *b)
{
	for (size_t i = 0; i < a->len; i++) {
		if (!same_strings(a->items[i].key, b->items[i].key) ||
		    !same_strings(a->items[i].value, b->items[i].value))
			return false;
	}
	return true;
}

static bool same_arrays(const struct schema_member *m, const char *a, const char *b, size_t len)
{
	for (size_t i = 0; i < len; i++, a += m->size, b += m->size) {
		const char *key_a, *key_b;

		memcpy(&key_a, a, sizeof(key_a));
		memcpy(&key_b, b, sizeof(key_b));
		if (m->kind == SCHEMA_KEYED && !same_strings(key_a, key_b))
			return false;
		if (!same_object(m->table, a, b))
			return false;
	}
	return true;
}

/* Numbers, set or not. The bytes between set and v are no part of the value. */
static bool same_numbers(enum schema_kind kind, const void *a, const void *b)
{
#define SAME(type)                                           \
	(((const type *)a)->set == ((const type *)b)->set && \
	 ((const type *)a)->v == ((const type *)b)->v)
	switch (kind) {
	case SCHEMA_OPT_BOOL:
		return SAME(struct opt_bool);
	case SCHEMA_OPT_U16:
		return SAME(struct opt_u16);
	case SCHEMA_OPT_I32:
		return SAME(struct opt_i32);
	case SCHEMA_OPT_U32:
		return SAME(struct opt_u32);
	case SCHEMA_OPT_I64:
		return SAME(struct opt_i64);
	case SCHEMA_OPT_U64:
		return SAME(struct opt_u64);
	case SCHEMA_BOOL:
		return *(const bool *)a == *(const bool *)b;
	case SCHEMA_ENUM:
	case SCHEMA_U32:
		return memcmp(a, b, 4) == 0;
	default:
		return memcmp(a, b, 8) == 0;
	}
}

static bool same_member(const struct schema_member *m, const void *a, const void *b)
{
	struct array list_a, list_b; /* a pointer is the first half of such a list */

	if (m->kind != SCHEMA_STRING && m->kind < SCHEMA_STRINGS)
		return same_numbers(m->kind, a, b);
	memcpy(&list_a, a,
	       m->kind == SCHEMA_STRING || m->kind == SCHEMA_OBJECT ? sizeof(void *)
								    : sizeof(list_a));
	memcpy(&list_b, b,
	       m->kind == SCHEMA_STRING || m->kind == SCHEMA_OBJECT ? sizeof(void *)
								    : sizeof(list_b));
	if (!list_a.items || !list_b.items)
		return list_a.items == list_b.items;
	if (m->kind == SCHEMA_STRING)
		return same_strings(list_a.items, list_b.items);
	if (m->kind == SCHEMA_OBJECT)
		return same_object(m->table, list_a.items, list_b.items);
	if (list_a.len != list_b.len)
		return false;
	if (m->kind == SCHEMA_STRINGS)
		return same_string_lists(a, b);
	if (m->kind == SCHEMA_U32S)
		return memcmp(list_a.items, list_b.items, list_a.len * sizeof(uint32_t)) == 0;
	if (m->kind == SCHEMA_MAP)
		return same_maps(a, b);
	return same_arrays(m, list_a.items, list_b.items, list_a.len);
}

bool same_object(const struct schema *schema, const void *a, const void *b)
{
	for (size_t i = 0; i < schema->count; i++) {
		const struct schema_member *m = &schema->members[i];

		if (!same_member(m, (const char *)a + m->offset, (const char *)b + m->offset)) {
			print_error("member %s differs\n", m->name);
			return false;
		}
	}
	return true;
}
