/* SPDX-License-Identifier: Apache-2.0 */
/* oci/spec.h, oci/state.h, oci/features.h: what is printed. */
#include "tests/unit/unit.h"

#include <errno.h>
#include <unistd.h>

#include "oci/features.h"
#include "oci/json.h"
#include "oci/spec.h"
#include "oci/state.h"

/* ---- spec ------------------------------------------------------------------------------------- */

static struct oci_config *print_and_parse(const struct oci_config *config, struct arena *arena)
{
	struct oci_config *parsed = NULL;
	struct strbuf out = { 0 };
	struct error err = { 0 };

	assert_int_equal(oci_config_print(config, &out, &err), 0);
	if (oci_config_parse(out.data, out.len, arena, &parsed, &err) < 0)
		fail_msg("%s", err.text);
	strbuf_free(&out);
	return parsed;
}

static void expect_strings(const struct oci_strings *strings, const char *expected)
{
	struct strbuf joined = { 0 };

	for (size_t i = 0; i < strings->len; i++)
		strbuf_addf(&joined, "%s%s", i ? " " : "", strings->items[i]);
	assert_string_equal(joined.data ? joined.data : "", expected);
	strbuf_free(&joined);
}

static const struct oci_mount *find_mount(const struct oci_config *c, const char *destination)
{
	for (size_t i = 0; i < c->mounts.len; i++) {
		if (strcmp(c->mounts.items[i].destination, destination) == 0)
			return &c->mounts.items[i];
	}
	fail_msg("no mount on %s", destination);
	return NULL;
}

static void default_is_that_of_runc(void **state)
{
	static const char caps[] = "CAP_AUDIT_WRITE CAP_KILL CAP_NET_BIND_SERVICE";
	struct arena arena;
	struct oci_config *c;
	const struct oci_device_rule *rule;

	(void)state;
	arena_init(&arena, 0);
	c = oci_spec_default(&arena, false, NULL);
	assert_non_null(c);
	c = print_and_parse(c, &arena);
	assert_string_equal(c->oci_version, "1.3.0");
	assert_string_equal(c->hostname, "hull");
	assert_string_equal(c->root->path, "rootfs");
	assert_true(c->root->readonly.v);
	assert_true(c->process->terminal.v);
	assert_true(c->process->no_new_privileges.v);
	assert_true(c->process->user->uid.set && c->process->user->uid.v == 0);
	expect_strings(&c->process->args, "sh");
	expect_strings(&c->process->env,
		       "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "
		       "TERM=xterm");
	expect_strings(&c->process->capabilities->bounding, caps);
	expect_strings(&c->process->capabilities->effective, caps);
	expect_strings(&c->process->capabilities->permitted, caps);
	assert_null(c->process->capabilities->inheritable.items);
	assert_null(c->process->capabilities->ambient.items);
	assert_int_equal(c->process->rlimits.len, 1);
	assert_string_equal(c->process->rlimits.items[0].type, "RLIMIT_NOFILE");
	assert_int_equal(c->process->rlimits.items[0].soft, 1024);
	assert_int_equal(c->mounts.len, 7);
	assert_null(find_mount(c, "/proc")->options.items);
	expect_strings(&find_mount(c, "/dev/pts")->options,
		       "nosuid noexec newinstance ptmxmode=0666 mode=0620 gid=5");
	assert_string_equal(find_mount(c, "/sys")->type, "sysfs");
	assert_int_equal(c->linux_->namespaces.len, 6);
	assert_non_null(oci_namespace_find(c, OCI_NS_CGROUP));
	assert_non_null(oci_namespace_find(c, OCI_NS_NETWORK));
	assert_null(oci_namespace_find(c, OCI_NS_USER));
	rule = &c->linux_->resources->devices.items[0];
	assert_true(!rule->allow && !rule->type && strcmp(rule->access, "rwm") == 0);
	expect_strings(&c->linux_->readonly_paths,
		       "/proc/bus /proc/fs /proc/irq /proc/sys /proc/sysrq-trigger");
	assert_int_equal(c->linux_->masked_paths.len, 10);
	assert_null(c->linux_->uid_mappings.items);
	arena_free(&arena);
}

static void rootless_default_has_a_user_namespace(void **state)
{
	struct arena arena;
	struct oci_config *c;

	(void)state;
	arena_init(&arena, 0);
	c = oci_spec_default(&arena, true, NULL);
	assert_non_null(c);
	c = print_and_parse(c, &arena);
	assert_non_null(oci_namespace_find(c, OCI_NS_USER));
	assert_null(oci_namespace_find(c, OCI_NS_NETWORK));
	assert_null(c->linux_->resources);
	assert_int_equal(c->linux_->uid_mappings.items[0].container_id, 0);
	assert_int_equal(c->linux_->uid_mappings.items[0].host_id, geteuid());
	assert_int_equal(c->linux_->gid_mappings.items[0].host_id, getegid());
	assert_int_equal(c->linux_->gid_mappings.items[0].size, 1);
	expect_strings(&find_mount(c, "/dev/pts")->options,
		       "nosuid noexec newinstance ptmxmode=0666 mode=0620");
	assert_string_equal(find_mount(c, "/sys")->type, "none");
	assert_string_equal(find_mount(c, "/sys")->source, "/sys");
	expect_strings(&find_mount(c, "/sys")->options, "rbind nosuid noexec nodev ro");
	arena_free(&arena);
}

static void default_without_memory_is_an_error(void **state)
{
	(void)state;
	for (size_t limit = 1; limit < 4096; limit += 16) {
		struct error err = { 0 };
		struct arena arena;

		arena_init(&arena, limit);
		if (!oci_spec_default(&arena, limit % 32 == 1, &err))
			assert_int_equal(err.code, ENOMEM);
		arena_free(&arena);
	}
}

/* ---- state ------------------------------------------------------------------------------------ */

static void state_has_its_members_in_order(void **state)
{
	struct oci_map_entry entry = { "k", "v\"" };
	struct oci_map annotations = { &entry, 1 };
	struct oci_state s = {
		.oci_version = "1.3.0",
		.id = "a",
		.status = OCI_RUNNING,
		.pid = 42,
		.bundle = "/b",
		.rootfs = "/b/rootfs",
		.created = "2026-01-02T03:04:05.000000006Z",
		.owner = "",
		.annotations = &annotations,
	};
	struct strbuf out = { 0 };

	(void)state;
	assert_int_equal(oci_state_print(&s, false, &out, NULL), 0);
	assert_string_equal(
		out.data,
		"{\"ociVersion\":\"1.3.0\",\"id\":\"a\",\"status\":\"running\",\"pid\":42,"
		"\"bundle\":\"/b\",\"rootfs\":\"/b/rootfs\","
		"\"created\":\"2026-01-02T03:04:05.000000006Z\",\"owner\":\"\","
		"\"annotations\":{\"k\":\"v\\\"\"}}");
	strbuf_free(&out);
	s = (struct oci_state){
		.oci_version = "1.3.0", .id = "a", .status = OCI_STOPPED, .bundle = "/b"
	};
	assert_int_equal(oci_state_print(&s, true, &out, NULL), 0);
	assert_string_equal(out.data, "{\n"
				      "  \"ociVersion\": \"1.3.0\",\n"
				      "  \"id\": \"a\",\n"
				      "  \"status\": \"stopped\",\n"
				      "  \"pid\": 0,\n"
				      "  \"bundle\": \"/b\"\n"
				      "}");
	strbuf_free(&out);
	annotations.len = 0;
	s.annotations = &annotations;
	assert_int_equal(oci_state_print(&s, false, &out, NULL), 0);
	assert_null(strstr(out.data, "annotations"));
	strbuf_free(&out);
}

static void process_state_names_its_descriptor(void **state)
{
	const struct oci_process_state process = { .pid = 42,
						   .metadata = "a\"b",
						   .state = { .oci_version = OCI_VERSION,
							      .id = "id",
							      .status = OCI_CREATED,
							      .pid = 7,
							      .bundle = "/b" } };
	_cleanup_strbuf_ struct strbuf out = { 0 };

	(void)state;
	assert_int_equal(oci_process_state_print(&process, &out, NULL), 0);
	assert_string_equal(
		out.data,
		"{\"ociVersion\":\"1.3.0\",\"fds\":[\"seccompFd\"],\"pid\":42,"
		"\"metadata\":\"a\\\"b\",\"state\":{\"ociVersion\":\"1.3.0\",\"id\":\"id\","
		"\"status\":\"created\",\"pid\":7,\"bundle\":\"/b\"}}");
}

static void statuses_have_names(void **state)
{
	(void)state;
	assert_string_equal(oci_status_name(OCI_CREATING), "creating");
	assert_string_equal(oci_status_name(OCI_CREATED), "created");
	assert_string_equal(oci_status_name(OCI_STOPPED), "stopped");
	assert_string_equal(oci_status_name(OCI_PAUSED), "paused");
}

/* ---- features --------------------------------------------------------------------------------- */

static void features_are_printed_where_known(void **state)
{
	const char *hooks[] = { "prestart", "poststop" }, *unsafe[] = { "run.hull." };
	struct oci_map_entry annotation = { "run.hull.version", "0.1.0" };
	struct oci_features_cgroup cgroup = { .v1 = { true, true }, .rdma = { true, false } };
	struct oci_features_seccomp seccomp = { .enabled = { true, true } };
	struct oci_feature yes = { { true, true } };
	struct oci_features_intel_rdt rdt = { { true, false }, { true, false }, { true, false } };
	struct oci_features_memory_policy policy = { .modes = { hooks, 0 } };
	struct oci_features_mount_extensions extensions = { .idmap = &yes };
	struct oci_features_linux l = {
		.cgroup = &cgroup,
		.seccomp = &seccomp,
		.selinux = &yes,
		.intel_rdt = &rdt,
		.memory_policy = &policy,
		.mount_extensions = &extensions,
		.net_devices = &yes,
	};
	struct oci_features f = {
		.oci_version_min = "1.0.0",
		.oci_version_max = "1.3.0",
		.hooks = { hooks, 2 },
		.linux_ = &l,
		.annotations = { &annotation, 1 },
		.potentially_unsafe_config_annotations = { unsafe, 1 },
	};
	struct strbuf out = { 0 };
	struct json_value *root;
	struct arena arena;
	const struct json_value *linux_;

	(void)state;
	assert_int_equal(oci_features_print(&f, &out, NULL), 0);
	assert_int_equal(out.data[out.len - 1], '\n');
	arena_init(&arena, 0);
	assert_int_equal(json_parse(out.data, out.len, &arena, &root, NULL), 0);
	assert_string_equal(json_get_string(root, "ociVersionMin"), "1.0.0");
	assert_string_equal(json_get_string(root, "ociVersionMax"), "1.3.0");
	assert_string_equal(json_get(root, "hooks")->child->next->string, "poststop");
	assert_null(json_get(root, "mountOptions"));
	assert_string_equal(json_get_string(json_get(root, "annotations"), "run.hull.version"),
			    "0.1.0");
	assert_string_equal(json_get(root, "potentiallyUnsafeConfigAnnotations")->child->string,
			    "run.hull.");
	linux_ = json_get(root, "linux");
	assert_null(json_get(linux_, "namespaces"));
	assert_true(json_get(json_get(linux_, "cgroup"), "v1")->boolean);
	assert_null(json_get(json_get(linux_, "cgroup"), "v2"));
	assert_false(json_get(json_get(linux_, "cgroup"), "rdma")->boolean);
	assert_true(json_get(json_get(linux_, "seccomp"), "enabled")->boolean);
	assert_null(json_get(linux_, "apparmor"));
	assert_true(json_get(json_get(linux_, "selinux"), "enabled")->boolean);
	assert_false(json_get(json_get(linux_, "intelRdt"), "monitoring")->boolean);
	assert_int_equal(json_get(json_get(linux_, "memoryPolicy"), "modes")->children, 0);
	assert_true(json_get(json_get(json_get(linux_, "mountExtensions"), "idmap"), "enabled")
			    ->boolean);
	assert_true(json_get(json_get(linux_, "netDevices"), "enabled")->boolean);
	arena_free(&arena);
	strbuf_free(&out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(default_is_that_of_runc),
		cmocka_unit_test(rootless_default_has_a_user_namespace),
		cmocka_unit_test(default_without_memory_is_an_error),
		cmocka_unit_test(state_has_its_members_in_order),
		cmocka_unit_test(process_state_names_its_descriptor),
		cmocka_unit_test(statuses_have_names),
		cmocka_unit_test(features_are_printed_where_known),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
