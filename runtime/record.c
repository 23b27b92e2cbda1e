/* SPDX-License-Identifier: Apache-2.0 */
/* Writing and reading state.json; see record.h. */
#include "runtime/record.h"

#include <string.h>

#include "base/file.h"
#include "oci/json.h"

#define RECORD_MAX   \
	(20 * 1024 * \
	 1024) /* bytes; annotations are most of it, and a configuration's are at most 16 MiB */

static void write_bool(struct json_writer *w, const char *key, bool value)
{
	json_write_key(w, key);
	json_write_bool(w, value);
}

static void write_u64(struct json_writer *w, const char *key, uint64_t value)
{
	json_write_key(w, key);
	json_write_u64(w, value);
}

int record_write(int dir, const struct record *record, struct error *err)
{
	_cleanup_strbuf_ struct strbuf out = { 0 };
	struct json_writer w;

	json_write_init(&w, &out, 1);
	json_write_begin(&w, '{');
	write_u64(&w, "format", RECORD_FORMAT);
	json_write_member(&w, "ociVersion", record->oci_version);
	json_write_member(&w, "id", record->id);
	json_write_member(&w, "sandbox", sandbox_kind_name(record->kind));
	write_u64(&w, "pid", (uint64_t)record->pid);
	write_u64(&w, "startTime", record->start_time);
	if (record->file_server) {
		write_u64(&w, "fileServer", (uint64_t)record->file_server);
		write_u64(&w, "fileServerStartTime", record->file_server_start);
	}
	json_write_member(&w, "bundle", record->bundle);
	json_write_member(&w, "rootfs", record->rootfs);
	if (record->owns_bundle)
		write_bool(&w, "ownsBundle", true);
	if (record->layer && record->layer[0])
		json_write_member(&w, "layer", record->layer);
	json_write_member(&w, "created", record->created);
	write_u64(&w, "owner", record->owner);
	json_write_member(&w, "cgroupPath", record->cgroup_path);
	if (record->scope.unit[0]) {
		json_write_member(&w, "systemdScope", record->scope.unit);
		write_bool(&w, "systemdUser", record->scope.user);
	}
	write_bool(&w, "started", record->started);
	write_bool(&w, "paused", record->paused);
	write_bool(&w, "noNewKeyring", record->no_new_keyring);
	json_write_key(&w, "annotations");
	json_write_begin(&w, '{');
	for (size_t i = 0; i < record->annotations.len; i++)
		json_write_member(&w, record->annotations.items[i].key,
				  record->annotations.items[i].value);
	json_write_end(&w, '}');
	json_write_end(&w, '}');
	if (strbuf_failed(&out))
		return error_errno(err, ENOMEM, "write the state");
	if (file_replace(dir, "state.json", out.data, out.len, 0600, err) < 0)
		return error_wrap(err, "save the state of container `%s`", record->id);
	return 0;
}

static uint64_t get_u64(const struct json_value *object, const char *key)
{
	const struct json_value *v = json_get(object, key);
	uint64_t number = 0;

	return v && json_u64(v, UINT64_MAX, &number) ? number : 0;
}

static bool get_bool(const struct json_value *object, const char *key)
{
	const struct json_value *v = json_get(object, key);

	return v && v->type == JSON_BOOL && v->boolean;
}

static const char *get_string(const struct json_value *object, const char *key)
{
	const char *s = json_get_string(object, key);

	return s ? s : "";
}

static int read_annotations(const struct json_value *object, struct arena *arena,
			    struct oci_map *map)
{
	const struct json_value *annotations = json_get(object, "annotations");

	if (!annotations || annotations->type != JSON_OBJECT || !annotations->children)
		return 0;
	map->items = arena_array(arena, annotations->children, sizeof(*map->items));
	if (!map->items)
		return -ENOMEM;
	for (const struct json_value *v = annotations->child; v; v = v->next)
		if (v->type == JSON_STRING)
			map->items[map->len++] = (struct oci_map_entry){ v->key, v->string };
	return 0;
}

int record_read(int dir, struct arena *arena, struct record *record, struct error *err)
{
	_cleanup_free_ char *text = NULL;
	struct json_value *root;
	ssize_t len = file_read(dir, "state.json", RECORD_MAX, &text, err);
	int r;

	if (len < 0)
		return (int)len;
	r = json_parse(text, (size_t)len, arena, &root, err);
	if (r < 0)
		return error_wrap(err, "`state.json`");
	if (root->type != JSON_OBJECT || get_u64(root, "format") != RECORD_FORMAT)
		return error_set(err, EINVAL,
				 "`state.json` is not of this version of hull (format %d)",
				 RECORD_FORMAT);
	*record = (struct record){
		.oci_version = get_string(root, "ociVersion"),
		.id = get_string(root, "id"),
		.kind = strcmp(get_string(root, "sandbox"), "microvm") ? SANDBOX_CONTAINER
								       : SANDBOX_MICROVM,
		.pid = (pid_t)get_u64(root, "pid"),
		.start_time = get_u64(root, "startTime"),
		.file_server = (pid_t)get_u64(root, "fileServer"),
		.file_server_start = get_u64(root, "fileServerStartTime"),
		.bundle = get_string(root, "bundle"),
		.rootfs = get_string(root, "rootfs"),
		.owns_bundle = get_bool(root, "ownsBundle"),
		.layer = get_string(root, "layer"),
		.created = get_string(root, "created"),
		.owner = (uid_t)get_u64(root, "owner"),
		.cgroup_path = get_string(root, "cgroupPath"),
		.started = get_bool(root, "started"),
		.paused = get_bool(root, "paused"),
		.no_new_keyring = get_bool(root, "noNewKeyring"),
	};
	snprintf(record->scope.unit, sizeof(record->scope.unit), "%s",
		 get_string(root, "systemdScope"));
	record->scope.user = get_bool(root, "systemdUser");
	return read_annotations(root, arena, &record->annotations) < 0
		       ? error_errno(err, ENOMEM, "`state.json`")
		       : 0;
}
