/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Descriptor tables: what an object of a specification looks like in JSON and in C. One entry a
 * member: its JSON name, the field that holds it, and what is demanded of it. The same table
 * parses, checks and prints, so the three cannot drift apart.
 *
 * An entry is written with one of the macros below; the kind of a simple member follows from the C
 * type of its field, so a table that does not fit its structure does not compile:
 *
 *	static const struct schema_member root_members[] = {
 *		MEMBER(struct oci_root, path, "path", .required = true),
 *		MEMBER(struct oci_root, readonly, "readonly"),
 *	};
 *	static const struct schema root_schema = SCHEMA(struct oci_root, root_members);
 *
 * Unknown members are ignored. A null is a value of the wrong type, as in the specification's JSON
 * schemas: its Go types leave out what is nil. What was absent reads as zero: NULL, no items,
 * set == false.
 */
#ifndef HULL_OCI_SCHEMA_H
#define HULL_OCI_SCHEMA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "oci/config.h"
#include "oci/json.h"

enum schema_kind {
	SCHEMA_STRING,   /* const char * */
	SCHEMA_ENUM,     /* int: the index of the string in names */
	SCHEMA_BOOL,     /* bool, always printed; so are the next three */
	SCHEMA_U32,      /* uint32_t */
	SCHEMA_I64,      /* int64_t */
	SCHEMA_U64,      /* uint64_t */
	SCHEMA_OPT_BOOL, /* struct opt_bool, and so on */
	SCHEMA_OPT_U16,
	SCHEMA_OPT_I32,
	SCHEMA_OPT_U32,
	SCHEMA_OPT_I64,
	SCHEMA_OPT_U64,
	SCHEMA_STRINGS, /* struct oci_strings: an array of strings */
	SCHEMA_U32S,    /* struct oci_u32s: an array of integers */
	SCHEMA_MAP,     /* struct oci_map: an object whose values are strings */
	SCHEMA_OBJECT,  /* a pointer to a structure that table describes */
	SCHEMA_ARRAY,   /* items and len of such structures */
	SCHEMA_KEYED,   /* the same as an object; a structure's first field is the member's name */
};

/* A form that a string must have. */
struct schema_format {
	const char *expected; /* for the message: "an absolute path" */
	const char *example;  /* a string that is valid; tests write it */
	bool (*valid)(const char *s);
};

/* Where in the text a check stands; schema_fail() prints it as /mounts/3/destination. */
struct schema_path {
	const struct schema_path *parent; /* NULL: the whole value */
	const char *name;                 /* a member; NULL: the element `index` of an array */
	size_t index;
};

struct schema {
	const struct schema_member *members; /* best in the order of Go's writers, see schema.c */
	size_t count;                        /* at most 64 */
	size_t size;                         /* of the structure */
};

struct schema_member {
	const char *name;
	enum schema_kind kind;
	bool required;
	bool alias;     /* another spelling of the member in front of it; never printed */
	bool ranged;    /* a number must be from min to max; otherwise its type is the range */
	bool not_empty; /* an array must have an element; the member names of an object are not "" */
	bool unique; /* no two elements of an array are equal in the first member of their table */
	size_t offset;
	int64_t min;
	uint64_t max;
	const char *const *names; /* what a string, or each of an array, may be; ends NULL */
	const struct schema_format *format; /* what form it must have */
	const struct schema *table;         /* of an object, or of each element of an array */
	size_t size;                        /* of the table's structure; must be table->size */

	/* Whether a value that is there means that the member is absent. */
	bool (*absent)(const struct json_value *value);

	/* A check that the above cannot say, of the field when it was filled. It may adjust it. */
	int (*check)(void *field, const struct schema_path *path, struct error *err);
};

/* clang-format off */
#define SCHEMA_KIND_OF(field)				\
	_Generic((field),				\
		const char *: SCHEMA_STRING,		\
		int: SCHEMA_ENUM,			\
		bool: SCHEMA_BOOL,			\
		uint32_t: SCHEMA_U32,			\
		int64_t: SCHEMA_I64,			\
		uint64_t: SCHEMA_U64,			\
		struct opt_bool: SCHEMA_OPT_BOOL,	\
		struct opt_u16: SCHEMA_OPT_U16,		\
		struct opt_i32: SCHEMA_OPT_I32,		\
		struct opt_u32: SCHEMA_OPT_U32,		\
		struct opt_i64: SCHEMA_OPT_I64,		\
		struct opt_u64: SCHEMA_OPT_U64,		\
		struct oci_strings: SCHEMA_STRINGS,	\
		struct oci_u32s: SCHEMA_U32S,		\
		struct oci_map: SCHEMA_MAP)
/* clang-format on */

#define SCHEMA_FIELD(type, field) (((type *)0)->field)

/* A member whose kind follows from the type of its field. */
#define MEMBER(type, field, json, ...)                                           \
	{                                                                        \
		.name = json, .kind = SCHEMA_KIND_OF(SCHEMA_FIELD(type, field)), \
		.offset = offsetof(type, field), __VA_ARGS__                     \
	}

/* A pointer to a structure. */
#define OBJECT(type, field, json, schema_of_it, ...)                                              \
	{                                                                                         \
		.name = json, .kind = SCHEMA_OBJECT, .offset = offsetof(type, field),             \
		.table = &(schema_of_it), .size = sizeof(*SCHEMA_FIELD(type, field)), __VA_ARGS__ \
	}

/* An array of structures, and an object of structures whose first field is their name. */
#define ARRAY(type, field, json, schema_of_it, ...)                                         \
	{                                                                                   \
		.name = json, .kind = SCHEMA_ARRAY, .offset = offsetof(type, field),        \
		.table = &(schema_of_it), .size = sizeof(*SCHEMA_FIELD(type, field.items)), \
		__VA_ARGS__                                                                 \
	}
#define KEYED(type, field, json, schema_of_it, ...)                                         \
	{                                                                                   \
		.name = json, .kind = SCHEMA_KEYED, .offset = offsetof(type, field),        \
		.table = &(schema_of_it), .size = sizeof(*SCHEMA_FIELD(type, field.items)), \
		__VA_ARGS__                                                                 \
	}

#define SCHEMA(type, table_members)                                             \
	{                                                                       \
		.members = (table_members), .count = ARRAY_SIZE(table_members), \
		.size = sizeof(type)                                            \
	}

/*
 * Fills the zeroed structure from a tree. Strings are the tree's own, so both must live in the same
 * arena. -EINVAL with the JSON path in front of the message, -ENOMEM.
 */
int schema_parse(const struct schema *schema, const struct json_value *value, struct arena *arena,
		 void *object, struct error *err);

/* Writes the structure as a JSON object, its members in the order of the table. */
void schema_print(const struct schema *schema, const void *object, struct json_writer *w);

/* Sets -EINVAL with "<path>: <message>"; for checks of tables. */
int schema_fail(const struct schema_path *path, struct error *err, const char *fmt, ...)
	_printf_(3, 4);

#endif
