/* SPDX-License-Identifier: Apache-2.0 */
/* sandbox/resctrl: classes and monitoring groups, on ordinary directories in the place of the kernel's. */
#include "tests/unit/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "sandbox/resctrl.h"

struct fixture {
	int root, state;
	char root_path[256], state_path[256];
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	f->root = unit_make_dir(f->root_path, sizeof(f->root_path));
	f->state = unit_make_dir(f->state_path, sizeof(f->state_path));
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	unit_remove_dir(f->root, f->root_path);
	unit_remove_dir(f->state, f->state_path);
	free(f);
	return 0;
}

static void put(int dir, const char *path, const char *text)
{
	_cleanup_close_ int fd = openat(dir, path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	assert_true(fd >= 0);
	assert_int_equal(file_write_all(fd, text, strlen(text)), 0);
}

static void expect_file(int dir, const char *path, const char *text)
{
	_cleanup_free_ char *found = NULL;

	assert_true(file_read(dir, path, 4096, &found, NULL) >= 0);
	assert_string_equal(found, text);
}

static bool exists(int dir, const char *path)
{
	return faccessat(dir, path, F_OK, 0) == 0;
}

/* What the kernel puts into a new class. */
static void make_class(int root, const char *name, const char *schemata)
{
	char path[64];

	assert_true(mkdirat(root, name, 0755) == 0 || errno == EEXIST);
	snprintf(path, sizeof(path), "%s/schemata", name);
	put(root, path, schemata);
	snprintf(path, sizeof(path), "%s/tasks", name);
	put(root, path, "");
	snprintf(path, sizeof(path), "%s/mon_groups", name);
	assert_int_equal(mkdirat(root, path, 0755), 0);
}

/* The kernel removes a class with its files. */
static void empty_class(int root, const char *name)
{
	static const char *const files[] = { "schemata", "tasks" };
	char path[64];

	for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
		snprintf(path, sizeof(path), "%s/%s", name, files[i]);
		assert_int_equal(unlinkat(root, path, 0), 0);
	}
	snprintf(path, sizeof(path), "%s/mon_groups", name);
	assert_int_equal(unlinkat(root, path, AT_REMOVEDIR), 0);
}

static void the_mount_is_found(void **state)
{
	char path[64];

	(void)state;
	assert_int_equal(resctrl_find_mount("", path, sizeof(path)), -ENOENT);
	assert_int_equal(resctrl_find_mount("36 35 0:30 / /sys rw - sysfs resctrl rw\nx\n", path,
					    sizeof(path)),
			 -ENOENT);
	assert_int_equal(
		resctrl_find_mount(
			"36 35 0:30 / /sys rw,nosuid shared:1 - sysfs sysfs rw\n"
			"37 36 0:31 /sub /bind rw - resctrl none rw\n"
			"38 36 0:31 / /sys/fs/resctrl rw shared:2 master:1 - resctrl none rw\n",
			path, sizeof(path)),
		0);
	assert_string_equal(path, "/sys/fs/resctrl");
}

static void names_that_are_none(void **state)
{
	static const char *const wrong[] = { ".",        "..",  "info", "mon_groups",
					     "mon_data", "a/b", "/a",   "a\nb" };
	struct oci_intel_rdt rdt = { .clos_id = NULL };
	struct error err = { 0 };

	(void)state;
	assert_int_equal(resctrl_check(NULL, &err), 0);
	assert_int_equal(resctrl_check(&rdt, &err), 0);
	rdt.clos_id = "/";
	assert_int_equal(resctrl_check(&rdt, &err), 0);
	rdt.clos_id = "guaranteed";
	assert_int_equal(resctrl_check(&rdt, &err), 0);
	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
		rdt.clos_id = wrong[i];
		assert_int_equal(resctrl_check(&rdt, &err), -EINVAL);
		assert_non_null(strstr(err.text, "/linux/intelRdt/closID: "));
	}
}

static void a_class_of_its_own(void **state)
{
	static const char *lines[] = { "L2:0=f", "MB:0=30" };
	const struct oci_intel_rdt rdt = { .l3_cache_schema = "L3:0=f0\nMB:0=10\n",
					   .mem_bw_schema = "MB:0=20",
					   .enable_monitoring = { true, true } };
	struct oci_intel_rdt with_lines = rdt;
	struct fixture *f = *state;
	struct error err = { 0 };
	bool made;

	assert_int_equal(resctrl_make_group(f->root, &rdt, "id", f->state, &made, &err), 0);
	assert_true(made);
	expect_file(f->state, "resctrl", "monitor id/mon_groups/id\nown id\n");
	make_class(f->root, "id", "");
	assert_int_equal(resctrl_configure(f->root, &rdt, "id", made, &err), 0);
	expect_file(f->root, "id/schemata", "L3:0=f0\nMB:0=20\n");
	with_lines.schemata = (struct oci_strings){ lines, 2 };
	put(f->root, "id/schemata", "");
	with_lines.l3_cache_schema = with_lines.mem_bw_schema = NULL;
	assert_int_equal(resctrl_configure(f->root, &with_lines, "id", made, &err), 0);
	expect_file(f->root, "id/schemata", "L2:0=f\nMB:0=30\n");
	assert_int_equal(resctrl_make_monitor(f->root, &rdt, "id", &err), 0);
	put(f->root, "id/mon_groups/id/tasks", "");
	assert_int_equal(resctrl_enter(f->root, &rdt, "id", 42, &err), 0);
	expect_file(f->root, "id/tasks", "42\n");
	expect_file(f->root, "id/mon_groups/id/tasks", "42\n");

	unlinkat(f->root, "id/mon_groups/id/tasks", 0);
	assert_true(resctrl_noted(f->state));
	assert_int_equal(resctrl_destroy(f->root, f->state, &err), -ENOTEMPTY); /* files of ours */
	assert_false(exists(f->root, "id/mon_groups/id"));
	assert_true(resctrl_noted(f->state));
	empty_class(f->root, "id");
	assert_int_equal(resctrl_destroy(f->root, f->state, &err), 0);
	assert_false(exists(f->root, "id"));
	assert_false(resctrl_noted(f->state));
	assert_int_equal(resctrl_destroy(f->root, f->state, &err), 0);
}

/* What has the container's name and is not ours is neither used nor removed. */
static void what_is_there_is_left(void **state)
{
	const struct oci_intel_rdt own = { .clos_id = NULL };
	const struct oci_intel_rdt monitored = { .clos_id = "/",
						 .enable_monitoring = { true, true } };
	struct fixture *f = *state;
	struct error err = { 0 };

	make_class(f->root, "id", "");
	assert_int_equal(mkdirat(f->root, "mon_groups", 0755), 0);
	assert_int_equal(mkdirat(f->root, "mon_groups/id", 0755), 0);
	assert_int_equal(resctrl_make(f->root, &own, "id", f->state, &err), -EEXIST);
	assert_int_equal(resctrl_make(f->root, &monitored, "id", f->state, &err), -EEXIST);
	assert_false(resctrl_noted(f->state));
	assert_int_equal(resctrl_destroy(f->root, f->state, &err), 0);
	assert_true(exists(f->root, "id"));
	assert_true(exists(f->root, "mon_groups/id"));
}

static void a_shared_class(void **state)
{
	struct oci_intel_rdt rdt = { .clos_id = "gold", .enable_monitoring = { true, true } };
	struct fixture *f = *state;
	struct error err = { 0 };

	assert_int_equal(resctrl_make(f->root, &rdt, "id", f->state, &err), -ENOENT);
	assert_non_null(strstr(err.text, "/linux/intelRdt/closID: there is no class `gold`"));
	assert_false(resctrl_noted(f->state));
	make_class(f->root, "gold", "    L3:0=00f0;1=0ff\n    MB:0= 20;1=100\n");
	assert_int_equal(resctrl_make(f->root, &rdt, "id", f->state, &err), 0);
	expect_file(f->state, "resctrl", "monitor gold/mon_groups/id\n");
	assert_true(exists(f->root, "gold/mon_groups/id"));
	assert_int_equal(resctrl_destroy(f->root, f->state, &err), 0);
	assert_false(exists(f->root, "gold/mon_groups/id"));
	assert_true(exists(f->root, "gold"));
}

static void check_existing(struct fixture *f, const char *l3, const char *mb, int code)
{
	const struct oci_intel_rdt rdt = { .clos_id = "gold",
					   .l3_cache_schema = l3,
					   .mem_bw_schema = mb };
	struct error err = { 0 };

	assert_int_equal(resctrl_make(f->root, &rdt, "id", f->state, &err), code);
	expect_file(f->root, "gold/schemata", "    L3:0=00f0;1=0ff\n    MB:0=20;1=100\n");
}

static void a_shared_class_must_be_as_written(void **state)
{
	static const char *lines[] = { "L3:0=1" };
	struct oci_intel_rdt rdt = { .clos_id = "gold", .schemata = { lines, 1 } };
	struct fixture *f = *state;
	struct error err = { 0 };

	make_class(f->root, "gold", "    L3:0=00f0;1=0ff\n    MB:0=20;1=100\n");
	check_existing(f, "L3:0=f0;1=FF", NULL, 0);
	check_existing(f, "L3:1=ff", "MB:0=20", 0);
	check_existing(f, "L3:0=f", NULL, -EINVAL);
	check_existing(f, "L3:2=f0", NULL, -EINVAL);
	check_existing(f, "L2:0=f0", NULL, -EINVAL);
	check_existing(f, "L3:0", NULL, -EINVAL);
	check_existing(f, NULL, "MB:1=10", -EINVAL);
	/* schemata is written, whatever is there (config-linux.md). */
	put(f->root, "gold/schemata", "");
	assert_int_equal(resctrl_make(f->root, &rdt, "id", f->state, &err), 0);
	expect_file(f->root, "gold/schemata", "L3:0=1\n");
	assert_int_equal(resctrl_destroy(f->root, f->state, &err), 0);
	assert_true(exists(f->root, "gold"));
}

/* What an update asks for is written to the container's class, whoever made it, and to no other. */
static void an_update(void **state)
{
	struct oci_intel_rdt own = { .l3_cache_schema = "L3:0=f\nMB:0=10",
				     .mem_bw_schema = "MB:0=20" };
	struct oci_intel_rdt shared = { .clos_id = "gold", .mem_bw_schema = "MB:0=30" };
	struct oci_intel_rdt none = { .clos_id = "gold" }, missing = { .clos_id = "silver" };
	struct fixture *f = *state;
	struct error err = { 0 };

	make_class(f->root, "id", "");
	make_class(f->root, "gold", "");
	assert_int_equal(resctrl_update(f->root, &own, "id", &err), 0);
	expect_file(f->root, "id/schemata", "L3:0=f\nMB:0=20\n");
	expect_file(f->root, "gold/schemata", "");
	assert_int_equal(resctrl_update(f->root, &shared, "id", &err), 0);
	expect_file(f->root, "gold/schemata", "MB:0=30\n");
	assert_int_equal(resctrl_update(f->root, &none, "id", &err), 0);
	expect_file(f->root, "gold/schemata", "MB:0=30\n");
	assert_int_equal(resctrl_update(f->root, &missing, "id", &err), -ENOENT);
	assert_non_null(strstr(err.text, "open the class `silver`"));
}

/* A class with a closID that hull made goes with the container, unless others are in it. */
static void a_shared_class_that_was_made(void **state)
{
	static const char *lines[] = { "L3:0=1" };
	struct oci_intel_rdt rdt = { .clos_id = "gold", .schemata = { lines, 1 } };
	struct fixture *f = *state;
	struct error err = { 0 };
	char pid[16];
	bool made;

	assert_int_equal(resctrl_make_group(f->root, &rdt, "id", f->state, &made, &err), 0);
	assert_true(made);
	expect_file(f->state, "resctrl", "shared gold\n");
	make_class(f->root, "gold", "");
	snprintf(pid, sizeof(pid), "%d\n", getpid());
	put(f->root, "gold/tasks", pid);
	assert_int_equal(resctrl_destroy(f->root, f->state, &err), 0);
	assert_true(exists(f->root, "gold"));
	assert_false(resctrl_noted(f->state));

	put(f->state, "resctrl", "shared gold\n");
	empty_class(f->root, "gold");
	assert_int_equal(resctrl_destroy(f->root, f->state, &err), 0);
	assert_false(exists(f->root, "gold"));
}

static void the_default_class(void **state)
{
	const struct oci_intel_rdt rdt = { .clos_id = "/", .enable_monitoring = { true, true } };
	struct fixture *f = *state;
	struct error err = { 0 };

	put(f->root, "tasks", "");
	assert_int_equal(mkdirat(f->root, "mon_groups", 0755), 0);
	assert_int_equal(resctrl_make(f->root, &rdt, "id", f->state, &err), 0);
	put(f->root, "mon_groups/id/tasks", "");
	assert_int_equal(resctrl_enter(f->root, &rdt, "id", 7, &err), 0);
	expect_file(f->root, "tasks", "7\n");
	expect_file(f->root, "mon_groups/id/tasks", "7\n");
	unlinkat(f->root, "mon_groups/id/tasks", 0);
	assert_int_equal(resctrl_destroy(f->root, f->state, &err), 0);
	assert_false(exists(f->root, "mon_groups/id"));
}

/* Killed at any point: what was noted and not made is no error, and a note that was cut short means nothing. */
static void creation_that_was_cut_short(void **state)
{
	const struct oci_intel_rdt rdt = { .enable_monitoring = { true, true } };
	struct fixture *f = *state;
	struct error err = { 0 };

	put(f->state, "resctrl", "monitor id/mon_groups/id\nown id\n");
	assert_int_equal(resctrl_destroy(f->root, f->state, &err), 0);
	put(f->state, "resctrl", "moni");
	assert_int_equal(resctrl_destroy(f->root, f->state, &err), 0);
	put(f->state, "resctrl", "own id\n");
	assert_int_equal(resctrl_destroy(-1, f->state, &err), 0); /* no longer mounted */
	assert_false(resctrl_noted(f->state));
	/* The class was made, its monitoring was not to be had. */
	assert_int_equal(resctrl_make(f->root, &rdt, "id", f->state, &err), -ENOENT);
	assert_non_null(strstr(err.text, "/linux/intelRdt/enableMonitoring: "));
	assert_int_equal(resctrl_destroy(f->root, f->state, &err), 0);
	assert_false(exists(f->root, "id"));
}

/* The kernel's reason is in the message. */
static void schemata_that_the_kernel_refuses(void **state)
{
	const struct oci_intel_rdt rdt = { .l3_cache_schema = "L3:0=0" };
	struct fixture *f = *state;
	struct error err = { 0 };

	assert_int_equal(mkdirat(f->root, "info", 0755), 0);
	put(f->root, "info/last_cmd_status", "Mask 0 has non-consecutive 1-bits\n");
	assert_int_equal(resctrl_make(f->root, &rdt, "id", f->state, &err), -ENOENT);
	assert_non_null(strstr(err.text, "`id`: Mask 0 has non-consecutive 1-bits"));
	assert_int_equal(resctrl_destroy(f->root, f->state, &err), 0);
	assert_false(exists(f->root, "id"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_mount_is_found),
		cmocka_unit_test(names_that_are_none),
		cmocka_unit_test_setup_teardown(a_class_of_its_own, setup, teardown),
		cmocka_unit_test_setup_teardown(what_is_there_is_left, setup, teardown),
		cmocka_unit_test_setup_teardown(a_shared_class, setup, teardown),
		cmocka_unit_test_setup_teardown(a_shared_class_must_be_as_written, setup, teardown),
		cmocka_unit_test_setup_teardown(an_update, setup, teardown),
		cmocka_unit_test_setup_teardown(a_shared_class_that_was_made, setup, teardown),
		cmocka_unit_test_setup_teardown(the_default_class, setup, teardown),
		cmocka_unit_test_setup_teardown(creation_that_was_cut_short, setup, teardown),
		cmocka_unit_test_setup_teardown(schemata_that_the_kernel_refuses, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
