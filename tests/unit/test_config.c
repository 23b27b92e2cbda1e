/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oci/config.h: what is read into which field, the limits, parts and files, and that whatever a
 * configuration may say survives printing and parsing.
 */
#include "tests/unit/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "oci/config.h"
#include "oci/tables.h"
#include "tests/unit/config_text.h"
#include "tests/unit/generate.h"

/* ---- the tables ------------------------------------------------------------------------------- */

static void check_member(const struct schema *schema, size_t i)
{
	const struct schema_member *m = &schema->members[i];
	bool nested = m->kind >= SCHEMA_OBJECT;

	assert_true(m->offset < schema->size);
	assert_true(nested ? m->table && m->size == m->table->size : !m->table);
	assert_true(m->kind != SCHEMA_ENUM || m->names);
	assert_true(!m->alias || (i && m->offset == schema->members[i - 1].offset));
	assert_false(m->alias && m->required);
	assert_true(!m->ranged || m->kind != SCHEMA_OPT_BOOL);
	assert_true(!m->format || m->format->valid(m->format->example));
	if (m->unique)
		assert_true(m->kind == SCHEMA_ARRAY && m->table->members[0].required &&
			    m->table->members[0].kind <= SCHEMA_ENUM);
	for (size_t j = 0; j < i; j++)
		assert_string_not_equal(m->name, schema->members[j].name);
}

static void check_table(const struct schema *schema)
{
	assert_true(schema->count && schema->count <= 64);
	for (size_t i = 0; i < schema->count; i++) {
		check_member(schema, i);
		if (schema->members[i].table)
			check_table(schema->members[i].table);
	}
}

static void tables_are_sound(void **state)
{
	(void)state;
	check_table(&oci_config_schema);
}

/* ---- what is read ----------------------------------------------------------------------------- */

static void members_reach_their_fields(void **state)
{
	struct arena arena;
	struct oci_config *c = must_parse(
		"'root': {'path': 'rootfs', 'readonly': true}, 'hostname': 'h', 'domainname': 'd',"
		"'mounts': [{'destination': '/proc', 'type': 'proc', 'source': 'proc',"
		"            'options': ['nosuid', 'ro'],"
		"            'uidMappings': [{'containerID': 1, 'hostID': 2, 'size': 3}]}],"
		"'process': {'terminal': false, 'cwd': '/', 'args': ['sh', '-c', ''],"
		"            'user': {'uid': 1000, 'gid': 100, 'umask': 63, 'additionalGids': [5, 6]},"
		"            'oomScoreAdj': -1000,"
		"            'rlimits': [{'type': 'RLIMIT_NOFILE', 'soft': 1,"
		"                         'hard': 18446744073709551615}]},"
		"'hooks': {'poststop': [{'path': '/bin/true', 'timeout': 5}]},"
		"'annotations': {'run.hull.sandbox': 'microvm', 'empty': ''},"
		"'linux': {'namespaces': [{'type': 'pid'}, {'type': 'network', 'path': '/run/n'}],"
		"          'netDevices': {'eth0': {'name': 'c0'}, 'eth1': {}},"
		"          'resources': {'memory': {'limit': -1, 'swap': 9223372036854775807},"
		"                        'pids': {'limit': 0},"
		"                        'rdma': {'mlx5_1': {'hcaHandles': 3}},"
		"                        'unified': {'memory.high': '1'}},"
		"          'timeOffsets': {'boottime': {'secs': -1, 'nanosecs': 999999999}}},"
		"'vm': {'kernel': {'path': '/k'}, 'hwConfig': {'vcpus': 2, 'irqs': [1]}}",
		&arena);
	const struct oci_process *p = c->process;
	const struct oci_linux *l = c->linux_;

	(void)state;
	assert_string_equal(c->oci_version, "1.2.0");
	assert_string_equal(c->root->path, "rootfs");
	assert_true(c->root->readonly.set && c->root->readonly.v);
	assert_string_equal(c->hostname, "h");
	assert_string_equal(c->domainname, "d");
	assert_int_equal(c->mounts.len, 1);
	assert_string_equal(c->mounts.items[0].options.items[1], "ro");
	assert_int_equal(c->mounts.items[0].uid_mappings.items[0].container_id, 1);
	assert_int_equal(c->mounts.items[0].uid_mappings.items[0].host_id, 2);
	assert_int_equal(c->mounts.items[0].uid_mappings.items[0].size, 3);
	assert_null(c->mounts.items[0].gid_mappings.items);
	assert_true(p->terminal.set && !p->terminal.v);
	assert_int_equal(p->args.len, 3);
	assert_string_equal(p->args.items[2], "");
	assert_int_equal(p->user->uid.v, 1000);
	assert_int_equal(p->user->umask.v, 63);
	assert_int_equal(p->user->additional_gids.items[1], 6);
	assert_int_equal(p->oom_score_adj.v, -1000);
	assert_int_equal(p->rlimits.items[0].soft, 1);
	assert_true(p->rlimits.items[0].hard == UINT64_MAX);
	assert_false(p->no_new_privileges.set);
	assert_null(p->capabilities);
	assert_int_equal(c->hooks->poststop.items[0].timeout.v, 5);
	assert_string_equal(oci_annotation(c, "run.hull.sandbox"), "microvm");
	assert_string_equal(oci_annotation(c, "empty"), "");
	assert_null(oci_annotation(c, "other"));
	assert_non_null(oci_namespace_find(c, OCI_NS_PID));
	assert_null(oci_namespace_find(c, OCI_NS_PID)->path);
	assert_string_equal(oci_namespace_find(c, OCI_NS_NETWORK)->path, "/run/n");
	assert_null(oci_namespace_find(c, OCI_NS_USER));
	assert_string_equal(l->net_devices.items[0].key, "eth0");
	assert_string_equal(l->net_devices.items[0].name, "c0");
	assert_string_equal(l->net_devices.items[1].key, "eth1");
	assert_null(l->net_devices.items[1].name);
	assert_true(l->resources->memory->limit.v == -1);
	assert_true(l->resources->memory->swap.v == INT64_MAX);
	assert_true(l->resources->pids->limit == 0);
	assert_string_equal(l->resources->rdma.items[0].key, "mlx5_1");
	assert_int_equal(l->resources->rdma.items[0].hca_handles.v, 3);
	assert_string_equal(l->resources->unified.items[0].value, "1");
	assert_true(l->time_offsets->boottime->secs.v == -1);
	assert_null(l->time_offsets->monotonic);
	assert_int_equal(c->vm->hw_config->vcpus.v, 2);
	assert_int_equal(c->vm->hw_config->irqs.items[0], 1);
	arena_free(&arena);
}

static void namespaces_have_names_and_files(void **state)
{
	(void)state;
	assert_string_equal(oci_namespace_name(OCI_NS_NETWORK), "network");
	assert_string_equal(oci_namespace_file(OCI_NS_NETWORK), "net");
	assert_string_equal(oci_namespace_file(OCI_NS_MOUNT), "mnt");
	assert_string_equal(oci_namespace_file(OCI_NS_TIME), "time");
	for (int i = 0; i < OCI_NS_COUNT; i++)
		assert_non_null(oci_namespace_name((enum oci_namespace_type)i));
}

static void absence_is_not_emptiness(void **state)
{
	struct arena arena;
	struct oci_config *c = must_parse("'mounts': [], 'annotations': {}, 'linux': {}", &arena);

	(void)state;
	assert_non_null(c->mounts.items);
	assert_int_equal(c->mounts.len, 0);
	assert_non_null(c->annotations.items);
	assert_null(c->linux_->namespaces.items);
	assert_null(c->process);
	assert_null(oci_namespace_find(c, OCI_NS_PID));
	arena_free(&arena);
	c = must_parse("'x': 1", &arena);
	assert_null(c->mounts.items);
	assert_null(oci_namespace_find(c, OCI_NS_PID));
	assert_null(oci_annotation(c, "x"));
	arena_free(&arena);
}

/* What Go programs write for strings and structures that they hold by value and leave empty. */
static void what_go_writes_for_nothing_is_absent(void **state)
{
	struct arena arena;
	struct oci_config *c =
		must_parse("'linux': {'namespaces': [{'type': 'uts', 'path': ''}],"
			   "          'netDevices': {'eth0': {'name': ''}},"
			   "          'resources': {'devices': [{'allow': false, 'type': ''}]}},"
			   "'vm': {'hypervisor': {'path': ''}, 'kernel': {'path': '/k'},"
			   "       'image': {'path': '', 'format': ''}}",
			   &arena);

	(void)state;
	assert_null(c->linux_->namespaces.items[0].path);
	assert_null(c->linux_->net_devices.items[0].name);
	assert_null(c->linux_->resources->devices.items[0].type);
	assert_null(c->vm->hypervisor);
	assert_null(c->vm->image);
	arena_free(&arena);
	must_refuse("'vm': {'kernel': {'path': '/k'}, 'image': {'path': '', 'format': 'raw'}}",
		    "/vm/image/path: expected an absolute path, found \"\"");
	must_refuse("'vm': {'kernel': {'path': '/k'}, 'image': {'path': ''}}",
		    "/vm/image/path: expected an absolute path, found \"\"");
	must_refuse(
		"'vm': {'kernel': {'path': '/k'}, 'hypervisor': {'path': '', 'parameters': [1]}}",
		"/vm/hypervisor/path: expected an absolute path, found \"\"");
}

static void hwconfig_has_two_spellings(void **state)
{
	struct arena arena;
	struct oci_config *c =
		must_parse("'vm': {'kernel': {'path': '/k'}, 'hwconfig': {'memory': 7}}", &arena);
	struct strbuf out = { 0 };

	(void)state;
	assert_true(c->vm->hw_config->memory.v == 7);
	assert_int_equal(oci_config_print(c, &out, NULL), 0);
	assert_non_null(strstr(out.data, "\"hwConfig\": {"));
	assert_null(strstr(out.data, "hwconfig"));
	strbuf_free(&out);
	arena_free(&arena);
	must_refuse("'vm': {'kernel': {'path': '/k'}, 'hwconfig': {}, 'hwConfig': {}}",
		    "/vm/hwConfig: given twice, in two spellings");
}

/* podman passes st_mode with the type of file (8630 is S_IFCHR | 0666). */
static void file_mode_is_permission_bits(void **state)
{
	struct arena arena;
	struct oci_config *c = must_parse(
		"'linux': {'devices': ["
		"{'path': '/dev/a', 'type': 'c', 'major': 1, 'minor': 3, 'fileMode': 8630},"
		"{'path': '/dev/b', 'type': 'p', 'fileMode': 511},"
		"{'path': '/dev/c', 'type': 'b', 'major': 1, 'minor': 3, 'fileMode': 25008}]}",
		&arena);

	(void)state;
	assert_int_equal(c->linux_->devices.items[0].file_mode.v, 0666);
	assert_int_equal(c->linux_->devices.items[1].file_mode.v, 0777);
	assert_int_equal(c->linux_->devices.items[2].file_mode.v, 0660);
	arena_free(&arena);
	must_refuse("'linux': {'devices': [{'path': '/a', 'type': 'p', 'fileMode': 8630}]}",
		    "/linux/devices/0/fileMode: 8630 is out of range (0 to 511)");
	must_refuse("'linux': {'devices': [{'path': '/a', 'type': 'p', 'fileMode': 512}]}",
		    "/linux/devices/0/fileMode: 512 is out of range (0 to 511)");
}

/* ---- limits ----------------------------------------------------------------------------------- */

static void size_has_a_limit(void **state)
{
	static const char text[] = "{\"ociVersion\": \"1.0.0\"}";
	char *json = malloc(OCI_CONFIG_MAX + 1);
	struct oci_config *config;
	struct error err = { 0 };
	struct arena arena;

	(void)state;
	assert_non_null(json);
	memset(json, ' ', OCI_CONFIG_MAX + 1);
	snprintf(json, OCI_CONFIG_MAX, "%s", text);
	json[strlen(text)] = ' ';
	arena_init(&arena, 0);
	assert_int_equal(oci_config_parse(json, OCI_CONFIG_MAX + 1, &arena, &config, &err), -EFBIG);
	assert_string_equal(err.text, "16777217 bytes of JSON, more than the limit of 16777216");
	assert_int_equal(arena.used, 0);
	assert_int_equal(oci_config_parse(json, OCI_CONFIG_MAX, &arena, &config, &err), 0);
	arena_free(&arena);
	free(json);
}

static void hostile_arrays_are_not_quadratic(void **state)
{
	size_t size = (size_t)4 << 20, len;
	char *json = malloc(size);
	struct oci_config *config;
	struct error err = { 0 };
	struct arena arena;

	(void)state;
	assert_non_null(json);
	len = (size_t)sprintf(json,
			      "{\"ociVersion\":\"1.0.0\",\"process\":{\"cwd\":\"/\",\"rlimits\":[");
	for (int i = 0; i < 60000; i++)
		len += (size_t)sprintf(json + len,
				       "%s{\"type\":\"RLIMIT_%c%c%c%c\",\"hard\":1,\"soft\":1}",
				       i ? "," : "", 'A' + i % 26, 'A' + i / 26 % 26,
				       'A' + i / 676 % 26, 'A' + i / 17576 % 26);
	len += (size_t)sprintf(json + len, "]}}");
	arena_init(&arena, 0);
	assert_int_equal(oci_config_parse(json, len, &arena, &config, &err), -EINVAL);
	assert_string_equal(err.text, "/process/rlimits: more than 256 entries");
	arena_free(&arena);
	free(json);
}

static void memory_runs_out_without_harm(void **state)
{
	_cleanup_free_ char *json = json_of(
		"{'ociVersion': '1.0.0', ",
		"'process': {'cwd': '/', 'args': ['a', 'b'], 'user': {'additionalGids': [1]}},"
		"'mounts': [{'destination': '/a'}], 'annotations': {'a': 'b'}",
		"}");

	(void)state;
	for (size_t limit = 1; limit < 8192; limit += 31) {
		struct oci_config *config;
		struct error err = { 0 };
		struct arena arena;
		int r;

		arena_init(&arena, limit);
		r = oci_config_parse(json, strlen(json), &arena, &config, &err);
		assert_true(r == 0 || (r == -ENOMEM && err.code == ENOMEM && err.text[0]));
		arena_free(&arena);
	}
}

/* ---- parts and files -------------------------------------------------------------------------- */

static void parts_are_parsed_alone(void **state)
{
	static const char process[] = "{\"cwd\": \"/\", \"args\": [\"id\"]}";
	static const char resources[] = "{\"memory\": {\"limit\": 5}}";
	struct oci_process *p;
	struct oci_resources *r;
	struct error err = { 0 };
	struct arena arena;

	(void)state;
	arena_init(&arena, 0);
	assert_int_equal(oci_process_parse(process, strlen(process), &arena, &p, &err), 0);
	assert_string_equal(p->args.items[0], "id");
	assert_int_equal(oci_process_parse("{}", 2, &arena, &p, &err), -EINVAL);
	assert_string_equal(err.text, "/cwd: missing, but required");
	assert_int_equal(oci_resources_parse(resources, strlen(resources), &arena, &r, &err), 0);
	assert_true(r->memory->limit.v == 5);
	assert_int_equal(oci_resources_parse("{\"cpu\": 1}", 10, &arena, &r, &err), -EINVAL);
	assert_string_equal(err.text, "/cpu: expected an object, found a number");
	arena_free(&arena);
}

static void write_file(int dir, const char *name, const char *text)
{
	int fd = openat(dir, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	close(fd);
}

static void files_are_loaded(void **state)
{
	static const char good[] = "{\"ociVersion\": \"1.0.0\", \"hostname\": \"h\"}\n";
	struct oci_config *config;
	struct error err = { 0 };
	struct arena arena;
	char path[256], *json = NULL;
	size_t len = 0;
	int dir = unit_make_dir(path, sizeof(path));

	(void)state;
	arena_init(&arena, 0);
	assert_int_equal(oci_config_load(dir, "config.json", &arena, &config, NULL, NULL, &err),
			 -ENOENT);
	write_file(dir, "config.json", good);
	assert_int_equal(oci_config_load(dir, "config.json", &arena, &config, &json, &len, &err),
			 0);
	assert_string_equal(config->hostname, "h");
	assert_string_equal(json, good);
	assert_int_equal(len, strlen(good));
	free(json);
	assert_int_equal(oci_config_load(dir, "config.json", &arena, &config, NULL, NULL, &err), 0);
	write_file(dir, "config.json", "{\"ociVersion\": \"7\"}");
	assert_int_equal(oci_config_load(dir, "config.json", &arena, &config, &json, &len, &err),
			 -EINVAL);
	assert_string_equal(err.text, "config.json: /ociVersion: expected a version 1.x.y, "
				      "found \"7\"");
	arena_free(&arena);
	unit_remove_dir(dir, path);
}

/* ---- printing --------------------------------------------------------------------------------- */

/* What the checks of single tables demand beyond what the tables say. */
static void mend(struct oci_config *config)
{
	if (!config->linux_)
		return;
	for (size_t i = 0; i < config->linux_->devices.len; i++) {
		struct oci_device *d = &config->linux_->devices.items[i];

		d->file_mode.v &= 0777;
		if (d->type[0] != 'p')
			d->major.set = d->minor.set = true;
	}
}

static void round_trip(uint64_t seed)
{
	struct strbuf first = { 0 }, second = { 0 };
	struct oci_config *parsed = NULL;
	struct error err = { 0 };
	struct arena arena;
	struct generator g = { seed, &arena };
	struct oci_config *made;

	arena_init(&arena, 0);
	made = arena_new(&arena, struct oci_config);
	assert_non_null(made);
	generate_object(&g, &oci_config_schema, made);
	mend(made);
	assert_int_equal(oci_config_print(made, &first, &err), 0);
	if (oci_config_parse(first.data, first.len, &arena, &parsed, &err) < 0)
		fail_msg("seed %llu: %s\n%s", (unsigned long long)seed, err.text, first.data);
	if (!same_object(&oci_config_schema, made, parsed))
		fail_msg("seed %llu: not the same\n%s", (unsigned long long)seed, first.data);
	assert_int_equal(oci_config_print(parsed, &second, &err), 0);
	if (strcmp(first.data, second.data) != 0)
		fail_msg("seed %llu: printed differently", (unsigned long long)seed);
	strbuf_free(&first);
	strbuf_free(&second);
	arena_free(&arena);
}

static void whatever_is_valid_survives_printing(void **state)
{
	const char *seed = getenv("HULL_SEED"); /* to repeat a failure alone */

	(void)state;
	if (seed) {
		round_trip(strtoull(seed, NULL, 10));
		return;
	}
	for (uint64_t i = 1; i <= 2000; i++)
		round_trip(i);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(tables_are_sound),
		cmocka_unit_test(members_reach_their_fields),
		cmocka_unit_test(namespaces_have_names_and_files),
		cmocka_unit_test(absence_is_not_emptiness),
		cmocka_unit_test(what_go_writes_for_nothing_is_absent),
		cmocka_unit_test(hwconfig_has_two_spellings),
		cmocka_unit_test(file_mode_is_permission_bits),
		cmocka_unit_test(size_has_a_limit),
		cmocka_unit_test(hostile_arrays_are_not_quadratic),
		cmocka_unit_test(memory_runs_out_without_harm),
		cmocka_unit_test(parts_are_parsed_alone),
		cmocka_unit_test(files_are_loaded),
		cmocka_unit_test(whatever_is_valid_survives_printing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
