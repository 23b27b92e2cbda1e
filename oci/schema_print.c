/* SPDX-License-Identifier: Apache-2.0 */
/* Printing structures by their descriptor tables; see schema.h. */
#include <string.h>

#include "oci/schema.h"

static void print_strings(const struct oci_strings *strings, struct json_writer *w)
{
	json_write_begin(w, '[');
	for (size_t i = 0; i < strings->len; i++)
		json_write_string(w, strings->items[i]);
	json_write_end(w, ']');
}

static void print_u32s(const struct oci_u32s *numbers, struct json_writer *w)
{
	json_write_begin(w, '[');
	for (size_t i = 0; i < numbers->len; i++)
		json_write_u64(w, numbers->items[i]);
	json_write_end(w, ']');
}

static void print_map(const struct oci_map *map, struct json_writer *w)
{
	json_write_begin(w, '{');
	for (size_t i = 0; i < map->len; i++)
		json_write_member(w, map->items[i].key, map->items[i].value);
	json_write_end(w, '}');
}

/* SCHEMA_ARRAY and SCHEMA_KEYED. */
static void print_array(const struct schema_member *m, const char *items, size_t len,
			struct json_writer *w)
{
	bool keyed = m->kind == SCHEMA_KEYED;

	json_write_begin(w, keyed ? '{' : '[');
	for (size_t i = 0; i < len; i++, items += m->size) {
		const char *key;

		if (keyed) {
			memcpy(&key, items, sizeof(key));
			json_write_key(w, key);
		}
		schema_print(m->table, items, w);
	}
	json_write_end(w, keyed ? '}' : ']');
}

/* Whether the field holds anything: plain numbers always do, others may be NULL or not set. */
static bool is_present(const struct schema_member *m, const void *field)
{
	const void *pointer;

	switch (m->kind) {
	case SCHEMA_ENUM:
	case SCHEMA_BOOL:
	case SCHEMA_U32:
	case SCHEMA_I64:
	case SCHEMA_U64:
		return true;
	case SCHEMA_OPT_BOOL:
	case SCHEMA_OPT_U16:
	case SCHEMA_OPT_I32:
	case SCHEMA_OPT_U32:
	case SCHEMA_OPT_I64:
	case SCHEMA_OPT_U64:
		return *(const bool *)field; /* set, the first field of each */
	default:
		memcpy(&pointer, field, sizeof(pointer)); /* so are items */
		return pointer;
	}
}

static void print_value(const struct schema_member *m, const void *field, struct json_writer *w)
{
	struct {
		const void *pointer;
		size_t len;
	} array;
	int index;

	switch (m->kind) {
	case SCHEMA_ENUM:
		memcpy(&index, field, sizeof(index));
		json_write_string(w, m->names[index]);
		break;
	case SCHEMA_BOOL:
		json_write_bool(w, *(const bool *)field);
		break;
	case SCHEMA_U32:
		json_write_u64(w, *(const uint32_t *)field);
		break;
	case SCHEMA_I64:
		json_write_i64(w, *(const int64_t *)field);
		break;
	case SCHEMA_U64:
		json_write_u64(w, *(const uint64_t *)field);
		break;
	case SCHEMA_OPT_BOOL:
		json_write_bool(w, ((const struct opt_bool *)field)->v);
		break;
	case SCHEMA_OPT_U16:
		json_write_u64(w, ((const struct opt_u16 *)field)->v);
		break;
	case SCHEMA_OPT_I32:
		json_write_i64(w, ((const struct opt_i32 *)field)->v);
		break;
	case SCHEMA_OPT_U32:
		json_write_u64(w, ((const struct opt_u32 *)field)->v);
		break;
	case SCHEMA_OPT_I64:
		json_write_i64(w, ((const struct opt_i64 *)field)->v);
		break;
	case SCHEMA_OPT_U64:
		json_write_u64(w, ((const struct opt_u64 *)field)->v);
		break;
	case SCHEMA_STRINGS:
		print_strings(field, w);
		break;
	case SCHEMA_U32S:
		print_u32s(field, w);
		break;
	case SCHEMA_MAP:
		print_map(field, w);
		break;
	case SCHEMA_STRING:
		memcpy(&array.pointer, field, sizeof(array.pointer));
		json_write_string(w, array.pointer);
		break;
	case SCHEMA_OBJECT:
		memcpy(&array.pointer, field, sizeof(array.pointer));
		schema_print(m->table, array.pointer, w);
		break;
	case SCHEMA_ARRAY:
	case SCHEMA_KEYED:
		memcpy(&array, field, sizeof(array));
		print_array(m, array.pointer, array.len, w);
		break;
	}
}

void schema_print(const struct schema *schema, const void *object, struct json_writer *w)
{
	json_write_begin(w, '{');
	for (size_t i = 0; i < schema->count; i++) {
		const struct schema_member *m = &schema->members[i];
		const void *field = (const char *)object + m->offset;

		if (m->alias || !is_present(m, field))
			continue;
		json_write_key(w, m->name);
		print_value(m, field, w);
	}
	json_write_end(w, '}');
}
