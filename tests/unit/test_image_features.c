/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oci/image/layer: what else a tar can say of a file: times of all kinds, sparse files in each of their
 * formats, access control lists, and many entries.
 */
#include "tests/unit/unit.h"

#include <fcntl.h>
#include <limits.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "tests/unit/image_fixture.h"

static void apply_ok(struct fixture *f, struct strbuf *tar)
{
	struct error err = { 0 };

	if (fixture_apply(f, tar, &err) != 0)
		fail_msg("%s", err.text);
}

static void pax(struct strbuf *tar, const char *key, const char *value)
{
	tar_add_pax(tar, key, value, strlen(value));
}

/* One pax header of several records: pairs of key and value, then NULL. */
static void pax_records(struct strbuf *tar, const char *const *pairs)
{
	_cleanup_strbuf_ struct strbuf records = { 0 };

	for (; *pairs; pairs += 2) {
		/* All of 10 to 99 bytes, the two digits of the length included. */
		size_t len = strlen(pairs[0]) + strlen(pairs[1]) + 5;

		assert_true(len >= 10 && len < 100);
		strbuf_addf(&records, "%zu %s=%s\n", len, pairs[0], pairs[1]);
	}
	tar_put(tar, .name = "PaxHeaders/x", .type = 'x', .data = records.data, .len = records.len);
}

/* ---- times -------------------------------------------------------------------------------- */

static void times_are_exact(void **state)
{
	static const struct {
		const char *text;
		time_t seconds;
		long nanoseconds;
	} cases[] = {
		{ "1000000000.123456789", 1000000000, 123456789 },
		{ "0", 0, 0 },
		{ "4102444800.5", 4102444800, 500000000 },
		{ "-1", -1, 0 },
		{ "-86400", -86400, 0 },
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct strbuf tar = { 0 };
		static const char types[] = "052";

		for (const char *type = types; *type; type++) {
			char name[] = { 'x', *type, '\0' };

			pax(&tar, "mtime", cases[i].text);
			tar_put(&tar, .name = name, .type = *type,
				.link = *type == '2' ? "nowhere" : NULL);
		}
		apply_ok(f, &tar);
		for (const char *type = types; *type; type++) {
			char path[] = "root/x?";
			struct stat st;

			path[6] = *type;
			st = fixture_stat(f, path);
			assert_int_equal(st.st_mtim.tv_sec, cases[i].seconds);
			assert_int_equal(st.st_mtim.tv_nsec, cases[i].nanoseconds);
		}
	}
}

/* More directories than are kept open, each changed again later, in an order that suits no cache. */
static void directories_keep_their_times(void **state)
{
	struct fixture *f = *state;
	struct strbuf tar = { 0 };
	char name[64];

	for (int i = 0; i < 300; i++) {
		snprintf(name, sizeof(name), "d%d/sub", i);
		tar_put(&tar, .name = name, .type = '5', .mtime = 2000 + i);
		name[strlen(name) - 4] = '\0';
		tar_put(&tar, .name = name, .type = '5', .mtime = 1000 + i);
	}
	for (int round = 0; round < 2; round++) {
		for (int i = 0; i < 300; i++) {
			int n = i * 7 % 300;

			snprintf(name, sizeof(name), "d%d/f%d", n, round);
			tar_put(&tar, .name = name, .data = "x");
			snprintf(name, sizeof(name), "d%d/sub/f%d", n, round);
			tar_put(&tar, .name = name, .data = "x");
		}
	}
	tar_put(&tar, .name = ".", .type = '5', .mtime = 55);
	apply_ok(f, &tar);
	for (int i = 0; i < 300; i++) {
		snprintf(name, sizeof(name), "root/d%d", i);
		assert_int_equal(fixture_stat(f, name).st_mtime, 1000 + i);
		strcat(name, "/sub");
		assert_int_equal(fixture_stat(f, name).st_mtime, 2000 + i);
		strcat(name, "/f1");
		assert_int_equal(fixture_stat(f, name).st_size, 1);
	}
	assert_int_equal(fixture_stat(f, "root").st_mtime, 55);
}

/* Whiteouts take things out of directories that stay: their times stay, too. */
static void whiteouts_change_no_times(void **state)
{
	struct fixture *f = *state;
	struct strbuf tar = { 0 };

	tar_put(&tar, .name = "a", .type = '5', .mtime = 1);
	tar_put(&tar, .name = "a/b", .type = '5', .mtime = 2);
	tar_put(&tar, .name = "a/b/c", .type = '5', .mtime = 3);
	tar_put(&tar, .name = "a/b/c/old", .data = "x");
	tar_put(&tar, .name = "a/b/old", .data = "x");
	apply_ok(f, &tar);
	tar_put(&tar, .name = "a/b/c/new", .data = "y");
	tar_put(&tar, .name = "a/.wh..wh..opq");
	apply_ok(f, &tar);
	assert_false(fixture_exists(f, "root/a/b/c/old"));
	assert_false(fixture_exists(f, "root/a/b/old"));
	assert_true(fixture_exists(f, "root/a/b/c/new"));
	assert_int_equal(fixture_stat(f, "root/a").st_mtime, 1);
	assert_int_equal(fixture_stat(f, "root/a/b").st_mtime, 2);
	assert_int_equal(fixture_stat(f, "root/a/b/c").st_mtime, 3);
}

/* An entry may remove the directory that others were put into, and that is open still. */
static void removed_directories_are_forgotten(void **state)
{
	struct fixture *f = *state;
	struct strbuf tar = { 0 };

	tar_put(&tar, .name = "a/b/c/x", .data = "1");
	tar_put(&tar, .name = "a", .data = "a file now");
	tar_put(&tar, .name = "a", .type = '5', .mtime = 9);
	tar_put(&tar, .name = "a/b/y", .data = "2");
	tar_put(&tar, .name = "ab", .type = '5', .mtime = 10);
	tar_put(&tar, .name = "ab/z", .data = "3");
	apply_ok(f, &tar);
	assert_false(fixture_exists(f, "root/a/b/c"));
	assert_string_equal(fixture_read(f, "root/a/b/y"), "2");
	assert_int_equal(fixture_stat(f, "root/ab").st_mtime, 10);
	/* A link to what it replaces is an error and not a link into nothing. */
	tar_put(&tar, .name = "d/f", .data = "1");
	tar_put(&tar, .name = "d", .type = '1', .link = "d/f");
	assert_true(fixture_apply(f, &tar, NULL) < 0);
}

/* ---- sparse files ------------------------------------------------------------------------- */

#define HOLE 1048576

static void check_sparse(struct fixture *f)
{
	struct stat st = fixture_stat(f, "root/sparse");
	_cleanup_close_ int fd = openat(f->fd, "root/sparse", O_RDONLY | O_CLOEXEC);
	char buf[4];

	assert_int_equal(st.st_size, 2 * HOLE);
	assert_true(st.st_blocks * 512 < HOLE / 2);
	assert_int_equal(pread(fd, buf, 4, HOLE), 4);
	assert_memory_equal(buf, "data", 4);
	assert_int_equal(pread(fd, buf, 4, 0), 4);
	assert_memory_equal(buf, "\0\0\0\0", 4);
	assert_int_equal(unlinkat(f->fd, "root/sparse", 0), 0);
}

/* GNU tar's formats in pax: 0.0, 0.1 and 1.0 (its manual, "Storing Sparse Files"). */
static void sparse_files_keep_their_holes(void **state)
{
	static const char *const v00[] = { "GNU.sparse.size",
					   "2097152",
					   "GNU.sparse.numblocks",
					   "1",
					   "GNU.sparse.offset",
					   "1048576",
					   "GNU.sparse.numbytes",
					   "4",
					   NULL };
	static const char *const v01[] = { "GNU.sparse.size",
					   "2097152",
					   "GNU.sparse.numblocks",
					   "1",
					   "GNU.sparse.name",
					   "sparse",
					   "GNU.sparse.map",
					   "1048576,4",
					   NULL };
	static const char *const v10[] = { "GNU.sparse.major",
					   "1",
					   "GNU.sparse.minor",
					   "0",
					   "GNU.sparse.name",
					   "sparse",
					   "GNU.sparse.realsize",
					   "2097152",
					   NULL };
	struct fixture *f = *state;
	struct strbuf tar = { 0 };
	char data[1024] = "1\n1048576\n4\n";

	pax_records(&tar, v00);
	tar_put(&tar, .name = "sparse", .data = "data");
	apply_ok(f, &tar);
	check_sparse(f);
	pax_records(&tar, v01);
	tar_put(&tar, .name = "GNUSparseFile.0/sparse", .data = "data");
	apply_ok(f, &tar);
	check_sparse(f);
	pax_records(&tar, v10);
	strcpy(data + 512, "data");
	tar_put(&tar, .name = "GNUSparseFile.0/sparse", .data = data, .len = 516);
	apply_ok(f, &tar);
	check_sparse(f);
}

static void lying_sparse_maps_are_refused(void **state)
{
	static const char *const maps[] = { "9223372036854775807,9223372036854775807", "0,99999",
					    "1048576,99999999999", "-5,4" };
	struct fixture *f = *state;

	for (size_t i = 0; i < ARRAY_SIZE(maps); i++) {
		struct strbuf tar = { 0 };
		struct error err = { 0 };
		struct stat st;

		pax_records(&tar, (const char *const[]){ "GNU.sparse.size", "2097152",
							 "GNU.sparse.map", maps[i], NULL });
		tar_put(&tar, .name = "sparse", .data = "data");
		/* Refused, or no larger than it says. */
		if (fixture_apply(f, &tar, &err) < 0)
			continue;
		st = fixture_stat(f, "root/sparse");
		assert_true(st.st_size <= 2097152);
	}
}

/* ---- access control lists ----------------------------------------------------------------- */

static ssize_t get_xattr(const struct fixture *f, const char *path, const char *name, char *value,
			 size_t size)
{
	char full[400];

	snprintf(full, sizeof(full), "%s/%s", f->dir, path);
	return getxattr(full, name, value, size);
}

static void lists_of_access_come_as_text_too(void **state)
{
	static const char access[] = "\2\0\0\0"
				     "\1\0\6\0\377\377\377\377"
				     "\2\0\4\0\5\0\0\0"
				     "\2\0\6\0\11\0\0\0"
				     "\4\0\0\0\377\377\377\377"
				     "\20\0\6\0\377\377\377\377"
				     "\40\0\0\0\377\377\377\377";
	struct fixture *f = *state;
	struct strbuf tar = { 0 };
	char value[128];

	pax(&tar, "SCHILY.acl.access",
	    "user::rw-,user:nine:rw-:9,user:five:r--:5,group::---,mask::rw-,other::---");
	tar_put(&tar, .name = "f", .data = "x", .mode = 0660);
	pax(&tar, "SCHILY.acl.default",
	    "user::rwx,user:five:r--:5,group::r-x,mask::r-x,other::---");
	tar_put(&tar, .name = "d", .type = '5', .mode = 0750);
	/* What is made in there does not inherit: the layer says all there is. */
	tar_put(&tar, .name = "d/f", .data = "x", .mode = 0644);
	tar_put(&tar, .name = "d/sub", .type = '5', .mode = 0755);
	tar_put(&tar, .name = "d/sub/f", .data = "x", .mode = 0600);
	apply_ok(f, &tar);
	if (get_xattr(f, "root/d", "system.posix_acl_default", value, sizeof(value)) < 0) {
		print_message("skipped: no access control lists here\n");
		skip();
	}
	assert_int_equal(get_xattr(f, "root/f", "system.posix_acl_access", value, sizeof(value)),
			 sizeof(access) - 1);
	assert_memory_equal(value, access, sizeof(access) - 1);
	assert_int_equal(fixture_stat(f, "root/f").st_mode, S_IFREG | 0660);
	assert_int_equal(get_xattr(f, "root/d/f", "system.posix_acl_access", NULL, 0), -1);
	assert_int_equal(get_xattr(f, "root/d/sub", "system.posix_acl_default", NULL, 0), -1);
	assert_int_equal(get_xattr(f, "root/d/sub", "system.posix_acl_access", NULL, 0), -1);
	assert_int_equal(get_xattr(f, "root/d/sub/f", "system.posix_acl_access", NULL, 0), -1);
	assert_int_equal(fixture_stat(f, "root/d/f").st_mode, S_IFREG | 0644);
	assert_int_equal(fixture_stat(f, "root/d/sub").st_mode, S_IFDIR | 0755);
	/* And in a later layer, for which the directory is opened anew. */
	tar_put(&tar, .name = "d/later", .data = "x", .mode = 0664);
	apply_ok(f, &tar);
	assert_int_equal(get_xattr(f, "root/d/later", "system.posix_acl_access", NULL, 0), -1);
	assert_int_equal(fixture_stat(f, "root/d/later").st_mode, S_IFREG | 0664);
}

/* ---- modes and owners that the directory would give --------------------------------------- */

static void nothing_is_inherited_from_the_directory(void **state)
{
	struct fixture *f = *state;
	struct strbuf tar = { 0 };
	struct stat st;

	if (geteuid() != 0) {
		print_message("skipped: needs root\n");
		skip();
	}
	tar_put(&tar, .name = "d", .type = '5', .mode = 02775, .gid = 7);
	tar_put(&tar, .name = "d/f", .data = "x", .mode = 0666);
	tar_put(&tar, .name = "d/sub", .type = '5', .mode = 0777);
	tar_put(&tar, .name = "d/l", .type = '2', .link = "f");
	apply_ok(f, &tar);
	st = fixture_stat(f, "root/d");
	assert_int_equal(st.st_mode, S_IFDIR | 02775);
	assert_int_equal(st.st_gid, 7);
	st = fixture_stat(f, "root/d/f");
	assert_int_equal(st.st_mode, S_IFREG | 0666);
	assert_int_equal(st.st_gid, 0);
	st = fixture_stat(f, "root/d/sub");
	assert_int_equal(st.st_mode, S_IFDIR | 0777);
	assert_int_equal(st.st_gid, 0);
	assert_int_equal(fixture_stat(f, "root/d/l").st_gid, 0);
}

/* ---- sizes -------------------------------------------------------------------------------- */

static void names_reach_their_limits(void **state)
{
	struct fixture *f = *state;
	struct strbuf tar = { 0 };
	char name[PATH_MAX + 8] = "", path[PATH_MAX + 16];
	struct error err = { 0 };

	memset(name, 'n', NAME_MAX);
	pax(&tar, "path", name);
	tar_put(&tar, .name = "x", .data = "x");
	apply_ok(f, &tar);
	snprintf(path, sizeof(path), "root/%s", name);
	assert_int_equal(fixture_stat(f, path).st_size, 1);
	strcat(name, "n");
	pax(&tar, "path", name);
	tar_put(&tar, .name = "x", .data = "x");
	assert_int_equal(fixture_apply(f, &tar, &err), -ENAMETOOLONG);
	/* Fifteen components of the full length, and a file in there. */
	name[0] = '\0';
	for (int i = 0; i < 15; i++) {
		memset(name + strlen(name), 'd', NAME_MAX);
		name[(size_t)(i + 1) * (NAME_MAX + 1) - 1] = '/';
		name[(size_t)(i + 1) * (NAME_MAX + 1)] = '\0';
	}
	strcat(name, "f");
	pax(&tar, "path", name);
	tar_put(&tar, .name = "x", .data = "deep");
	apply_ok(f, &tar);
	snprintf(path, sizeof(path), "root/%s", name);
	assert_int_equal(fixture_stat(f, path).st_size, 4);
	memset(name + strlen(name), 'd', 255);
	pax(&tar, "path", name);
	tar_put(&tar, .name = "x", .data = "x");
	assert_int_equal(fixture_apply(f, &tar, &err), -ENAMETOOLONG);
	assert_non_null(strstr(err.text, "File name too long"));
}

#define test(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(times_are_exact),
		test(directories_keep_their_times),
		test(whiteouts_change_no_times),
		test(removed_directories_are_forgotten),
		test(sparse_files_keep_their_holes),
		test(lying_sparse_maps_are_refused),
		test(lists_of_access_come_as_text_too),
		test(nothing_is_inherited_from_the_directory),
		test(names_reach_their_limits),
	};

	return cmocka_run_group_tests_name("features of layers", tests, NULL, NULL);
}
