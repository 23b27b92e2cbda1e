/* SPDX-License-Identifier: Apache-2.0 */
/* Reading and printing config.json and parts of it, through the descriptor tables; see config.h. */
#include "oci/config.h"

#include <string.h>

#include "base/file.h"
#include "oci/json.h"
#include "oci/tables.h"

/* Parses a text as the schema says; *object is its structure in the arena. */
static int parse(const struct schema *schema, const char *json, size_t len, struct arena *arena,
		 void **object, struct error *err)
{
	struct json_value *root;
	void *filled;
	int r;

	if (len > OCI_CONFIG_MAX)
		return error_set(err, EFBIG, "%zu bytes of JSON, more than the limit of %zu", len,
				 OCI_CONFIG_MAX);
	r = json_parse(json, len, arena, &root, err);
	if (r < 0)
		return r;
	filled = arena_alloc(arena, schema->size);
	if (!filled)
		return error_set(err, ENOMEM, "out of memory");
	r = schema_parse(schema, root, arena, filled, err);
	if (r == 0)
		*object = filled;
	return r;
}

int oci_config_parse(const char *json, size_t len, struct arena *arena, struct oci_config **config,
		     struct error *err)
{
	void *object = NULL;
	int r = parse(&oci_config_schema, json, len, arena, &object, err);

	if (r == 0)
		*config = object;
	return r;
}

int oci_process_parse(const char *json, size_t len, struct arena *arena,
		      struct oci_process **process, struct error *err)
{
	void *object = NULL;
	int r = parse(&oci_process_schema, json, len, arena, &object, err);

	if (r == 0)
		*process = object;
	return r;
}

int oci_resources_parse(const char *json, size_t len, struct arena *arena,
			struct oci_resources **resources, struct error *err)
{
	void *object = NULL;
	int r = parse(&oci_resources_schema, json, len, arena, &object, err);

	if (r == 0)
		*resources = object;
	return r;
}

int oci_mounts_parse(const char *json, size_t len, struct arena *arena, struct oci_mounts *mounts,
		     struct error *err)
{
	struct json_value top = { .type = JSON_OBJECT, .children = 1 };
	struct oci_config *filled = arena_alloc(arena, oci_mounts_schema.size);
	int r;

	if (!filled)
		return error_set(err, ENOMEM, "out of memory");
	if (len > OCI_CONFIG_MAX)
		return error_set(err, EFBIG, "%zu bytes of JSON, more than the limit of %zu", len,
				 OCI_CONFIG_MAX);
	r = json_parse(json, len, arena, &top.child, err);
	if (r < 0)
		return r;
	/* As if it were a configuration with nothing else in it, so that messages have their path. */
	top.child->key = "mounts";
	r = schema_parse(&oci_mounts_schema, &top, arena, filled, err);
	if (r == 0)
		*mounts = filled->mounts;
	return r;
}

int oci_config_load(int dirfd, const char *path, struct arena *arena, struct oci_config **config,
		    char **json, size_t *json_len, struct error *err)
{
	_cleanup_free_ char *text = NULL;
	ssize_t len = file_read(dirfd, path, OCI_CONFIG_MAX, &text, err);
	int r;

	if (len < 0)
		return (int)len;
	r = oci_config_parse(text, (size_t)len, arena, config, err);
	if (r < 0) {
		error_wrap(err, "%s", path);
		return r;
	}
	if (json)
		*json = take_ptr(text);
	if (json_len)
		*json_len = (size_t)len;
	return 0;
}

int oci_config_print(const struct oci_config *config, struct strbuf *out, struct error *err)
{
	struct json_writer w;

	json_write_init(&w, out, 4);
	schema_print(&oci_config_schema, config, &w);
	strbuf_addc(out, '\n');
	return strbuf_failed(out) ? error_errno(err, ENOMEM, "print a configuration") : 0;
}

static int print_line(const struct schema *schema, const void *object, struct strbuf *out,
		      struct error *err)
{
	struct json_writer w;

	json_write_init(&w, out, 0);
	schema_print(schema, object, &w);
	return strbuf_failed(out) ? error_errno(err, ENOMEM, "print JSON") : 0;
}

int oci_process_print(const struct oci_process *process, struct strbuf *out, struct error *err)
{
	return print_line(&oci_process_schema, process, out, err);
}

int oci_resources_print(const struct oci_resources *resources, struct strbuf *out,
			struct error *err)
{
	return print_line(&oci_resources_schema, resources, out, err);
}

int oci_mounts_print(const struct oci_mounts *mounts, struct strbuf *out, struct error *err)
{
	struct oci_config config = { .mounts = *mounts };
	_cleanup_strbuf_ struct strbuf object = { 0 };
	int r = print_line(&oci_mounts_schema, &config, &object, err);
	const char *list = r == 0 ? memchr(object.data, '[', object.len) : NULL;
	const char *end = r == 0 ? memrchr(object.data, ']', object.len) : NULL;

	/* As it is read: without the object around it. */
	if (r == 0)
		strbuf_add(out, list ? list : "[]", list ? (size_t)(end - list) + 1 : 2);
	return r == 0 && strbuf_failed(out) ? error_errno(err, ENOMEM, "print the mounts") : r;
}

const char *oci_annotation(const struct oci_config *config, const char *key)
{
	const struct oci_map *map = &config->annotations;

	for (size_t i = 0; i < map->len; i++) {
		if (strcmp(map->items[i].key, key) == 0)
			return map->items[i].value;
	}
	return NULL;
}

const struct oci_namespace *oci_namespace_find(const struct oci_config *config,
					       enum oci_namespace_type type)
{
	const struct oci_namespaces *list = config->linux_ ? &config->linux_->namespaces : NULL;

	for (size_t i = 0; list && i < list->len; i++) {
		if (list->items[i].type == (int)type)
			return &list->items[i];
	}
	return NULL;
}

const char *oci_namespace_name(enum oci_namespace_type type)
{
	return oci_namespace_names[type];
}

const char *oci_namespace_file(enum oci_namespace_type type)
{
	switch (type) {
	case OCI_NS_NETWORK:
		return "net";
	case OCI_NS_MOUNT:
		return "mnt";
	default:
		return oci_namespace_names[type];
	}
}
