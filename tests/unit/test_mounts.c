/* SPDX-License-Identifier: Apache-2.0 */
/* namespaces/: mount options and the mappings of idmapped mounts, as far as they are text. */
#include "tests/unit/unit.h"

#include <sys/mount.h>

#include "base/syscalls.h"
#include "namespaces/mount_options.h"
#include "namespaces/rootfs.h"

static int parse(struct mount_options *opts, const char *type, const char *const *options,
		 struct error *err)
{
	struct oci_mount m = { .destination = "/x", .type = type };

	m.options.items = (const char **)(uintptr_t)options;
	while (options[m.options.len])
		m.options.len++;
	return mount_options_parse(opts, &m, 3, err);
}

#define PARSE(opts, type, ...) parse(opts, type, (const char *const[]){ __VA_ARGS__, NULL }, &err)

static void names_are_sorted_for_the_search(void **state)
{
	const char *name, *last = "";

	(void)state;
	for (size_t i = 0; (name = mount_option_name(i)); i++) {
		assert_true(strcmp(last, name) < 0);
		last = name;
	}
}

static void every_option_is_known(void **state)
{
	struct error err = { 0 };
	struct mount_options opts;
	const char *name;

	(void)state;
	for (size_t i = 0; (name = mount_option_name(i)); i++) {
		const char *const options[] = { name, NULL };

		error_clear(&err);
		if (parse(&opts, "tmpfs", options, &err) == 0)
			assert_int_equal(opts.data_count, 0);
		else /* those for bind mounts only */
			assert_non_null(strstr(err.text, "/mounts/3/options: "));
	}
}

static void the_last_option_wins(void **state)
{
	struct error err = { 0 };
	struct mount_options o;

	(void)state;
	assert_int_equal(PARSE(&o, "tmpfs", "ro", "nosuid", "rw", "noatime", "strictatime"), 0);
	assert_int_equal(o.attr_set, MOUNT_ATTR_NOSUID | MOUNT_ATTR_STRICTATIME);
	assert_true(o.attr_clear & MOUNT_ATTR_RDONLY);
	assert_false(o.read_only);
	assert_int_equal(PARSE(&o, "bind", "rro", "rw", "rnosymfollow", "rsymfollow"), 0);
	assert_int_equal(o.rattr_set, MOUNT_ATTR_RDONLY);
	assert_int_equal(o.attr_set, 0);
	assert_true(o.rattr_clear & MOUNT_ATTR_NOSYMFOLLOW);
}

static void superblock_flags_come_once(void **state)
{
	struct error err = { 0 };
	struct mount_options o;

	(void)state;
	assert_int_equal(PARSE(&o, "tmpfs", "sync", "lazytime", "async", "sync", "mand", "nomand",
			       "dirsync", "nolazytime", "lazytime", "sync", "silent", "iversion"),
			 0);
	assert_int_equal(o.sb_flag_count, 7);
	assert_string_equal(o.sb_flags[6], "sync");
	assert_int_equal(o.legacy_flags,
			 MS_SYNCHRONOUS | MS_DIRSYNC | MS_LAZYTIME | MS_SILENT | MS_I_VERSION);
}

static void idmap_options(void **state)
{
	struct oci_id_mapping map = { 0, 1000, 1 };
	struct oci_mount m = { .destination = "/x",
			       .type = "bind",
			       .uid_mappings = { &map, 1 },
			       .gid_mappings = { &map, 1 } };
	struct error err = { 0 };
	struct mount_options o;

	(void)state;
	assert_int_equal(mount_options_parse(&o, &m, 0, &err), 0);
	assert_int_equal(o.idmap, IDMAP_TOP); /* implied */
	m.gid_mappings.len = 0;
	assert_int_equal(mount_options_parse(&o, &m, 0, &err), -EINVAL);
	assert_int_equal(PARSE(&o, "bind", "ridmap=uids=1-2-3;gids=4-5-6"), 0);
	assert_int_equal(o.idmap, IDMAP_RECURSIVE);
	assert_string_equal(o.idmap_spec, "uids=1-2-3;gids=4-5-6");
	assert_int_equal(PARSE(&o, "bind", "rsize=1", "r", "idmapx"), 0);
	assert_int_equal(o.idmap, IDMAP_NONE);
	assert_int_equal(o.data_count, 3);
}

static void ranges_of_idmap(void **state)
{
	/* The example of crun's manual. */
	struct oci_id_mapping maps[] = { { 0, 0, 1 }, { 1, 2, 1000 } };
	struct oci_linux l = { .uid_mappings = { maps, 2 }, .gid_mappings = { maps, 2 } };
	static const char *const wrong[] = { "",
					     "uids=",
					     "uids=1-2-3",
					     "uids=1-2-3;gids=",
					     "uids=1-2-3;gids=1-2-3;",
					     "uids=1-2-3;gids=1-2-3;uids=1-2-3",
					     "uids=1-2-3-4;gids=1-2-3",
					     "uids=1--3;gids=1-2-3",
					     "uids=-1-2-3;gids=1-2-3",
					     "uids=1-2-0;gids=1-2-3",
					     "uids=4294967295-0-1;gids=1-2-3",
					     "uids=@0-0-2;gids=1-2-3",
					     "uids=@0-1-1001;gids=1-2-3",
					     "uids=@0-1001-1;gids=1-2-3",
					     "uids=@;gids=1-2-3",
					     "x=1" };
	struct oci_id_mappings uids, gids;
	struct arena arena = { 0 };
	struct error err = { 0 };

	(void)state;
	assert_int_equal(mount_parse_idmap("uids=@1-3-10#20-21-5;gids=0-100-10", &l, &arena, &uids,
					   &gids, &err),
			 0);
	assert_int_equal(uids.len, 2);
	assert_int_equal(uids.items[0].container_id, 1);
	assert_int_equal(uids.items[0].host_id, 4);
	assert_int_equal(uids.items[0].size, 10);
	assert_int_equal(uids.items[1].host_id, 21);
	assert_int_equal(gids.items[0].host_id, 100);
	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++)
		assert_int_equal(mount_parse_idmap(wrong[i], &l, &arena, &uids, &gids, &err),
				 -EINVAL);
	arena_free(&arena);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names_are_sorted_for_the_search),
		cmocka_unit_test(every_option_is_known),
		cmocka_unit_test(the_last_option_wins),
		cmocka_unit_test(superblock_flags_come_once),
		cmocka_unit_test(idmap_options),
		cmocka_unit_test(ranges_of_idmap),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
