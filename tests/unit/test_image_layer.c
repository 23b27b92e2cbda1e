/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oci/image/layer: what a layer may do to a root file system, and what it may not do to anything
 * else. Each test's teardown checks that T/outside is as it was.
 */
#include "tests/unit/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/remove.h"
#include "oci/image/layer_internal.h"
#include "tests/unit/image_fixture.h"

#define LONG_NAME_20 "abcdefghijklmnopqrst"

static void apply_ok(struct fixture *f, struct strbuf *tar)
{
	struct error err = { 0 };

	if (fixture_apply(f, tar, &err) != 0)
		fail_msg("%s", err.text);
}

static void apply_fails(struct fixture *f, struct strbuf *tar, const char *message)
{
	struct error err = { 0 };

	assert_true(fixture_apply(f, tar, &err) < 0);
	if (!strstr(err.text, message))
		fail_msg("`%s` is not in `%s`", message, err.text);
}

static bool need_root(void)
{
	if (geteuid() == 0)
		return true;
	print_message("skipped: needs root\n");
	skip();
	return false;
}

/* ---- names -------------------------------------------------------------------------------- */

static void names_are_cleaned(void **state)
{
	static const struct {
		const char *in, *out;
	} cases[] = {
		{ "a", "a" },         { "a/", "a" },    { "/a//b/", "a/b" },
		{ "./a/./b", "a/b" }, { ".", "" },      { "./", "" },
		{ "/", "" },          { "///", "" },    { "..a/b..", "..a/b.." },
		{ ".../x", ".../x" }, { "./././", "" }, { "a/.", "a" },
	};
	static const char *const refused[] = { "..",  "../x", "a/..", "a/../b",
					       "/..", "./..", "a//.." };
	char out[PATH_MAX];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		assert_int_equal(layer_clean_name(cases[i].in, out, sizeof(out), NULL), 0);
		assert_string_equal(out, cases[i].out);
	}
	for (size_t i = 0; i < ARRAY_SIZE(refused); i++)
		assert_int_equal(layer_clean_name(refused[i], out, sizeof(out), NULL), -EINVAL);
}

static void long_and_deep_names_are_refused(void **state)
{
	char name[2 * PATH_MAX] = "", out[PATH_MAX];

	(void)state;
	memset(name, 'a', 256);
	assert_int_equal(layer_clean_name(name, out, sizeof(out), NULL), -ENAMETOOLONG);
	name[255] = '\0';
	assert_int_equal(layer_clean_name(name, out, sizeof(out), NULL), 0);
	name[0] = '\0';
	for (int i = 0; i <= LAYER_DEPTH_MAX; i++)
		strcat(name, "a/");
	assert_int_equal(layer_clean_name(name, out, sizeof(out), NULL), -ENAMETOOLONG);
	name[0] = '\0';
	for (int i = 0; i < 300; i++)
		strcat(name, LONG_NAME_20 "/");
	assert_int_equal(layer_clean_name(name, out, sizeof(out), NULL), -ENAMETOOLONG);
}

static void whiteouts_are_known_by_name(void **state)
{
	static const struct {
		const char *name;
		enum layer_whiteout kind;
	} cases[] = {
		{ "a", LAYER_NO_WHITEOUT },
		{ "a/b.wh.c", LAYER_NO_WHITEOUT },
		{ ".wha", LAYER_NO_WHITEOUT },
		{ ".wh", LAYER_NO_WHITEOUT },
		{ ".wh.a", LAYER_WHITEOUT },
		{ "x/.wh.a", LAYER_WHITEOUT },
		{ "x/.wh....", LAYER_WHITEOUT }, /* of `...`, a name like others */
		{ ".wh..wh..opq", LAYER_WHITEOUT_OPAQUE },
		{ "x/.wh..wh..opq", LAYER_WHITEOUT_OPAQUE },
		{ "x/.wh..wh.aufs", LAYER_WHITEOUT_IGNORED },
		{ ".wh..wh.plnk/1.2", LAYER_WHITEOUT_IGNORED },
		{ ".wh.", LAYER_WHITEOUT_BAD },
		{ ".wh..", LAYER_WHITEOUT_BAD },
		{ ".wh...", LAYER_WHITEOUT_BAD },
		{ "x/.wh...", LAYER_WHITEOUT_BAD },
		{ ".wh.a/b", LAYER_WHITEOUT_BAD },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		if (layer_whiteout_kind(cases[i].name) != cases[i].kind)
			fail_msg("%s", cases[i].name);
}

/* ---- what layers do ----------------------------------------------------------------------- */

static void files_get_content_mode_and_times(void **state)
{
	struct fixture *f = *state;
	struct strbuf tar = { 0 };
	struct stat st;

	tar_put(&tar, .name = "./", .type = '5', .mode = 0750, .mtime = 11);
	tar_put(&tar, .name = "./d/", .type = '5', .mode = 0711, .mtime = 1000000);
	tar_put(&tar, .name = "./d/f", .data = "hello", .mode = 0640, .mtime = 2000000);
	tar_put(&tar, .name = "./d/l", .type = '2', .link = "/no/where", .mtime = 3000000);
	tar_put(&tar, .name = "./d/p", .type = '6', .mode = 0622, .mtime = 4000000);
	tar_put(&tar, .name = "./empty", .mode = 04755);
	apply_ok(f, &tar);
	assert_string_equal(fixture_read(f, "root/d/f"), "hello");
	assert_string_equal(fixture_read(f, "root/d/l"), "/no/where");
	st = fixture_stat(f, "root/d/f");
	assert_int_equal(st.st_mode, S_IFREG | 0640);
	assert_int_equal(st.st_mtime, 2000000);
	assert_int_equal(fixture_stat(f, "root/d/l").st_mtime, 3000000);
	st = fixture_stat(f, "root/d/p");
	assert_int_equal(st.st_mode, S_IFIFO | 0622);
	assert_int_equal(st.st_mtime, 4000000);
	st = fixture_stat(f, "root/d");
	assert_int_equal(st.st_mode, S_IFDIR | 0711);
	assert_int_equal(st.st_mtime, 1000000);
	st = fixture_stat(f, "root");
	assert_int_equal(st.st_mode, S_IFDIR | 0750);
	assert_int_equal(st.st_mtime, 11);
	assert_int_equal(fixture_stat(f, "root/empty").st_mode, S_IFREG | 04755);
}

static void owners_survive_with_the_setuid_bit(void **state)
{
	struct fixture *f = *state;
	struct strbuf tar = { 0 };
	struct stat st;

	if (!need_root())
		return;
	tar_put(&tar, .name = "s", .data = "x", .mode = 06755, .uid = 12, .gid = 34);
	tar_put(&tar, .name = "l", .type = '2', .link = "s", .uid = 56, .gid = 78);
	tar_put(&tar, .name = "null", .type = '3', .mode = 0666, .major = 1, .minor = 3);
	tar_put(&tar, .name = "blk", .type = '4', .mode = 0660, .major = 7, .minor = 200, .gid = 6);
	apply_ok(f, &tar);
	st = fixture_stat(f, "root/s");
	assert_int_equal(st.st_mode, S_IFREG | 06755);
	assert_int_equal(st.st_uid, 12);
	assert_int_equal(st.st_gid, 34);
	assert_int_equal(fixture_stat(f, "root/l").st_uid, 56);
	assert_int_equal(fixture_stat(f, "root/null").st_mode, S_IFCHR | 0666);
	assert_int_equal(fixture_stat(f, "root/null").st_rdev, makedev(1, 3));
	assert_int_equal(fixture_stat(f, "root/blk").st_mode, S_IFBLK | 0660);
	assert_int_equal(fixture_stat(f, "root/blk").st_rdev, makedev(7, 200));
	/* And what is left of a file's capabilities and owner when they come together. */
	tar_add_pax(&tar, "uid", "4294967295", 10);
	tar_put(&tar, .name = "bad", .data = "x");
	apply_fails(f, &tar, "out of range");
}

static void xattrs_are_set_and_orders_to_overlays_are_not(void **state)
{
	static const char acl[] = "\2\0\0\0"
				  "\1\0\6\0\377\377\377\377"   /* the owner: rw */
				  "\2\0\4\0\5\0\0\0"           /* user 5: r */
				  "\4\0\0\0\377\377\377\377"   /* the group: nothing */
				  "\20\0\4\0\377\377\377\377"  /* mask: r */
				  "\40\0\0\0\377\377\377\377"; /* others: nothing */
	static const char cap[] = "\1\0\0\2\0\4\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
	struct fixture *f = *state;
	struct strbuf tar = { 0 };
	char path[300], value[64];

	if (!need_root())
		return;
	snprintf(path, sizeof(path), "%s/root/f", f->dir);
	if (setxattr(f->dir, "user.probe", "1", 1, 0) < 0) {
		print_message("skipped: no extended attributes here\n");
		skip();
	}
	tar_add_pax(&tar, "SCHILY.xattr.user.hello", "a\0b", 3);
	tar_put(&tar, .name = "f", .data = "x", .uid = 7);
	apply_ok(f, &tar);
	assert_int_equal(getxattr(path, "user.hello", value, sizeof(value)), 3);
	tar_add_pax(&tar, "SCHILY.xattr.security.capability", cap, 20);
	tar_put(&tar, .name = "f", .data = "x", .uid = 7);
	apply_ok(f, &tar);
	assert_int_equal(getxattr(path, "security.capability", value, sizeof(value)), 20);
	assert_int_equal(getxattr(path, "user.hello", value, sizeof(value)), -1);
	tar_add_pax(&tar, "SCHILY.xattr.trusted.overlay.redirect", "/etc", 4);
	tar_put(&tar, .name = "f", .data = "x");
	apply_ok(f, &tar);
	assert_int_equal(listxattr(path, value, sizeof(value)), 0);
	/* A list as layers of Go's tools have it: user 5 may read, though the group may not. */
	tar_add_pax(&tar, "SCHILY.xattr.system.posix_acl_access", acl, sizeof(acl) - 1);
	tar_put(&tar, .name = "f", .data = "x", .mode = 0640);
	apply_ok(f, &tar);
	assert_int_equal(getxattr(path, "system.posix_acl_access", value, sizeof(value)), 44);
	assert_memory_equal(value, acl, 44);
	assert_int_equal(fixture_stat(f, "root/f").st_mode, S_IFREG | 0640);
	/* A directory that stays loses those that the entry does not have. */
	snprintf(path, sizeof(path), "%s/root/d", f->dir);
	tar_add_pax(&tar, "SCHILY.xattr.user.old", "1", 1);
	tar_put(&tar, .name = "d", .type = '5');
	apply_ok(f, &tar);
	assert_int_equal(getxattr(path, "user.old", value, sizeof(value)), 1);
	tar_add_pax(&tar, "SCHILY.xattr.user.new", "1", 1);
	tar_put(&tar, .name = "d", .type = '5');
	apply_ok(f, &tar);
	assert_int_equal(getxattr(path, "user.old", value, sizeof(value)), -1);
	assert_int_equal(getxattr(path, "user.new", value, sizeof(value)), 1);
}

static void a_directory_that_stays_gets_new_attributes_only(void **state)
{
	struct fixture *f = *state;
	struct strbuf tar = { 0 };
	struct stat st;

	tar_put(&tar, .name = "d", .type = '5', .mode = 0700, .mtime = 5);
	tar_put(&tar, .name = "d/old", .data = "old");
	apply_ok(f, &tar);
	tar_put(&tar, .name = "d", .type = '5', .mode = 0751, .mtime = 6);
	tar_put(&tar, .name = "d/new", .data = "new");
	apply_ok(f, &tar);
	st = fixture_stat(f, "root/d");
	assert_int_equal(st.st_mode, S_IFDIR | 0751);
	assert_int_equal(st.st_mtime, 6);
	assert_string_equal(fixture_read(f, "root/d/old"), "old");
	/* Without an entry of its own it keeps its time, though something is put into it. */
	tar_put(&tar, .name = "d/more/x", .data = "x");
	apply_ok(f, &tar);
	assert_int_equal(fixture_stat(f, "root/d").st_mtime, 6);
	assert_int_equal(fixture_stat(f, "root/d/more").st_mode, S_IFDIR | 0755);
}

static void kinds_replace_one_another(void **state)
{
	struct fixture *f = *state;
	struct strbuf tar = { 0 };

	tar_put(&tar, .name = "a/b/c", .data = "1");
	tar_put(&tar, .name = "file", .data = "2");
	tar_put(&tar, .name = "link", .type = '2', .link = "a");
	apply_ok(f, &tar);
	tar_put(&tar, .name = "a", .data = "now a file");
	tar_put(&tar, .name = "file", .type = '5');
	tar_put(&tar, .name = "file/x", .data = "3");
	tar_put(&tar, .name = "link", .type = '5');
	apply_ok(f, &tar);
	assert_string_equal(fixture_read(f, "root/a"), "now a file");
	assert_string_equal(fixture_read(f, "root/file/x"), "3");
	assert_true(S_ISDIR(fixture_stat(f, "root/link").st_mode));
}

static void names_are_bytes(void **state)
{
	static const char *const names[] = {
		"caf\xc3\xa9",  /* UTF-8, composed */
		"cafe\xcc\x81", /* UTF-8, decomposed */
		"caf\xe9",      /* Latin-1 */
		"\xe6\x97\xa5", /* not in Latin-1 */
		"new\nline",
	};
	struct fixture *f = *state;
	struct strbuf tar = { 0 };
	char path[64];

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		tar_put(&tar, .name = names[i], .data = "plain");
		tar_add_pax(&tar, "path", names[i], strlen(names[i]));
		tar_put(&tar, .name = "ascii", .data = "pax");
	}
	apply_ok(f, &tar);
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		snprintf(path, sizeof(path), "root/%s", names[i]);
		assert_string_equal(fixture_read(f, path), "pax");
	}
	assert_false(fixture_exists(f, "root/ascii"));
}

static void whiteouts_remove_what_is_below(void **state)
{
	struct fixture *f = *state;
	struct strbuf tar = { 0 };

	tar_put(&tar, .name = "a/b/c/bar", .data = "1");
	tar_put(&tar, .name = "a/f", .data = "1");
	tar_put(&tar, .name = "keep/x", .data = "1");
	tar_put(&tar, .name = "l", .type = '2', .link = "keep");
	apply_ok(f, &tar);
	tar_put(&tar, .name = "a/.wh.b");
	tar_put(&tar, .name = "a/.wh.f");
	tar_put(&tar, .name = "a/.wh.absent");
	tar_put(&tar, .name = "nowhere/.wh.x");
	tar_put(&tar, .name = "keep/x/.wh.y"); /* a file as directory */
	tar_put(&tar, .name = ".wh.l");
	apply_ok(f, &tar);
	assert_false(fixture_exists(f, "root/a/b"));
	assert_false(fixture_exists(f, "root/a/f"));
	assert_true(fixture_exists(f, "root/a"));
	assert_false(fixture_exists(f, "root/nowhere"));
	assert_false(fixture_exists(f, "root/l"));
	assert_string_equal(fixture_read(f, "root/keep/x"), "1");
}

/* layer.md: the opaque whiteout counts first, wherever in the layer it stands. */
static void whiteouts_spare_their_own_layer(void **state)
{
	struct fixture *f = *state;

	for (int late = 0; late < 2; late++) {
		struct strbuf tar = { 0 };

		tar_put(&tar, .name = "a/b/c/bar", .data = "1");
		tar_put(&tar, .name = "w", .data = "1");
		tar_put(&tar, .name = "e/old", .data = "1");
		apply_ok(f, &tar);
		if (!late) {
			tar_put(&tar, .name = "a/.wh..wh..opq");
			tar_put(&tar, .name = ".wh.w");
			tar_put(&tar, .name = ".wh.e");
		}
		tar_put(&tar, .name = "a/b", .type = '5');
		tar_put(&tar, .name = "a/b/c/foo", .data = "2");
		tar_put(&tar, .name = "w", .data = "2");
		tar_put(&tar, .name = "e", .type = '5', .mtime = 9);
		if (late) {
			tar_put(&tar, .name = "a/.wh..wh..opq");
			tar_put(&tar, .name = ".wh.w");
			tar_put(&tar, .name = ".wh.e");
		}
		apply_ok(f, &tar);
		assert_string_equal(fixture_read(f, "root/a/b/c/foo"), "2");
		assert_false(fixture_exists(f, "root/a/b/c/bar"));
		assert_string_equal(fixture_read(f, "root/w"), "2");
		assert_false(fixture_exists(f, "root/e/old"));
		assert_int_equal(fixture_stat(f, "root/e").st_mtime, 9);
	}
}

static void whiteouts_and_links(void **state)
{
	struct fixture *f = *state;
	struct strbuf tar = { 0 };

	tar_put(&tar, .name = "usr/lib/x", .data = "1");
	tar_put(&tar, .name = "usr/lib/y", .data = "1");
	tar_put(&tar, .name = "lib", .type = '2', .link = "/usr/lib");
	tar_put(&tar, .name = "h1", .data = "linked");
	apply_ok(f, &tar);
	/* Through the link: in the directory where it leads, and what came through it in this layer stays. */
	tar_put(&tar, .name = "lib/new", .data = "2");
	tar_put(&tar, .name = "usr/lib/.wh..wh..opq");
	/* A new link to a lower file outlives the lower name. */
	tar_put(&tar, .name = "h2", .type = '1', .link = "h1");
	tar_put(&tar, .name = ".wh.h1");
	apply_ok(f, &tar);
	assert_true(S_ISLNK(fixture_stat(f, "root/lib").st_mode));
	assert_false(fixture_exists(f, "root/usr/lib/x"));
	assert_string_equal(fixture_read(f, "root/usr/lib/new"), "2");
	assert_false(fixture_exists(f, "root/h1"));
	assert_string_equal(fixture_read(f, "root/h2"), "linked");
	/* An opaque root. */
	tar_put(&tar, .name = ".wh..wh..opq");
	apply_ok(f, &tar);
	assert_int_equal(fixture_stat(f, "root").st_nlink, 2);
}

/* ---- hostile layers ----------------------------------------------------------------------- */

static void names_that_leave_are_refused(void **state)
{
	static const char *const names[] = { "../outside/file", "a/../../outside/file",
					     "/../outside/x", "..", "./../x" };
	struct fixture *f = *state;

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		struct strbuf tar = { 0 };

		tar_put(&tar, .name = names[i], .data = "hacked");
		apply_fails(f, &tar, "has `..`");
	}
}

static void absolute_names_stay_inside(void **state)
{
	struct fixture *f = *state;
	struct strbuf tar = { 0 };
	char name[100];

	assert_true(snprintf(name, sizeof(name), "%s/x", f->dir) < (int)sizeof(name));
	tar_put(&tar, .name = name, .data = "in");
	tar_put(&tar, .name = "/etc/hull-test-passwd", .data = "in");
	apply_ok(f, &tar);
	assert_false(fixture_exists(f, "x"));
	assert_string_equal(fixture_read(f, "root/etc/hull-test-passwd"), "in");
}

/* Writing through a link that an earlier entry made: as the parent, and as the file itself. */
static void links_lead_nowhere_else(void **state)
{
	static const char *const up[] = { "../outside", "../../../../../../../outside" };
	struct fixture *f = *state;
	struct strbuf tar = { 0 };
	char target[100];

	assert_true(snprintf(target, sizeof(target), "%s/outside", f->dir) < (int)sizeof(target));
	tar_put(&tar, .name = "abs", .type = '2', .link = target);
	tar_put(&tar, .name = "abs/file", .data = "hacked");
	for (size_t i = 0; i < ARRAY_SIZE(up); i++) {
		tar_put(&tar, .name = "rel", .type = '2', .link = up[i]);
		tar_put(&tar, .name = "rel/file", .data = "hacked");
		tar_put(&tar, .name = "rel/.wh.file");
		tar_put(&tar, .name = "rel/.wh..wh..opq");
	}
	tar_put(&tar, .name = "direct", .type = '2', .link = "../outside/file");
	tar_put(&tar, .name = "direct", .data = "mine");
	tar_put(&tar, .name = "dir", .type = '2', .link = "../outside");
	tar_put(&tar, .name = "dir", .type = '5', .mode = 0777, .mtime = 1);
	tar_put(&tar, .name = "magic", .type = '2', .link = "/proc/self/root/tmp");
	tar_put(&tar, .name = "magic/hull-test-escape", .data = "hacked");
	apply_ok(f, &tar);
	assert_string_equal(fixture_read(f, "root/outside/file"), "hacked");
	assert_string_equal(fixture_read(f, "root/direct"), "mine");
	assert_true(S_ISDIR(fixture_stat(f, "root/dir").st_mode));
	assert_true(fixture_exists(f, "root/proc/self/root/tmp/hull-test-escape"));
	assert_int_not_equal(access("/tmp/hull-test-escape", F_OK), 0);
}

static void loops_of_links_end(void **state)
{
	struct fixture *f = *state;
	struct strbuf tar = { 0 };

	tar_put(&tar, .name = "a", .type = '2', .link = "b");
	tar_put(&tar, .name = "b", .type = '2', .link = "a");
	tar_put(&tar, .name = "a/x", .data = "1");
	apply_fails(f, &tar, "Too many levels of symbolic links");
}

static void hard_links_do_not_leave(void **state)
{
	struct fixture *f = *state;
	struct strbuf tar = { 0 };
	char target[100];

	tar_put(&tar, .name = "l", .type = '2', .link = "../outside");
	tar_put(&tar, .name = "h", .type = '1', .link = "l/file");
	apply_fails(f, &tar, "hard link");
	tar_put(&tar, .name = "h", .type = '1', .link = "../outside/file");
	apply_fails(f, &tar, "has `..`");
	assert_true(snprintf(target, sizeof(target), "%s/outside/file", f->dir) < 100);
	tar_put(&tar, .name = "h", .type = '1', .link = target);
	apply_fails(f, &tar, "hard link");
	tar_put(&tar, .name = "h", .type = '1', .link = "/etc/passwd");
	apply_fails(f, &tar, "hard link");
	/* A link to the symbolic link itself, not to what it names. */
	tar_put(&tar, .name = "s", .type = '2', .link = target);
	tar_put(&tar, .name = "h", .type = '1', .link = "s");
	tar_put(&tar, .name = "h", .data = "mine");
	apply_ok(f, &tar);
	assert_string_equal(fixture_read(f, "root/h"), "mine");
	assert_true(S_ISLNK(fixture_stat(f, "root/s").st_mode));
	tar_put(&tar, .name = "d", .type = '5');
	tar_put(&tar, .name = "h", .type = '1', .link = "d");
	apply_fails(f, &tar, "a directory");
}

static void a_file_is_replaced_not_written_to(void **state)
{
	struct fixture *f = *state;
	struct strbuf tar = { 0 };

	tar_put(&tar, .name = "a", .data = "lower", .mode = 0600);
	tar_put(&tar, .name = "b", .type = '1', .link = "a");
	tar_put(&tar, .name = "a", .data = "changed", .mode = 0644);
	tar_put(&tar, .name = "self", .data = "self");
	tar_put(&tar, .name = "self", .type = '1', .link = "./self");
	apply_ok(f, &tar);
	assert_string_equal(fixture_read(f, "root/b"), "lower");
	assert_int_equal(fixture_stat(f, "root/b").st_mode, S_IFREG | 0600);
	assert_string_equal(fixture_read(f, "root/a"), "changed");
	assert_string_equal(fixture_read(f, "root/self"), "self");
	tar_put(&tar, .name = "c", .type = '1', .link = "b");
	apply_ok(f, &tar);
	assert_int_equal(fixture_stat(f, "root/c").st_nlink, 2);
}

static void bad_whiteouts_are_refused(void **state)
{
	static const char *const names[] = { ".wh.",    ".wh..",    ".wh...", "d/.wh.",
					     "d/.wh..", "d/.wh...", ".wh.d/x" };
	struct fixture *f = *state;

	fixture_mkdir(f, "root/d");
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		struct strbuf tar = { 0 };

		tar_put(&tar, .name = names[i]);
		apply_fails(f, &tar, "not a valid whiteout");
	}
	assert_true(fixture_exists(f, "root/d"));
}

static void a_whiteout_removes_links_and_not_what_they_name(void **state)
{
	struct fixture *f = *state;
	struct strbuf tar = { 0 };
	char target[100];

	assert_true(snprintf(target, sizeof(target), "%s/outside", f->dir) < (int)sizeof(target));
	assert_int_equal(symlinkat(target, f->fd, "root/l"), 0);
	fixture_mkdir(f, "root/d");
	assert_int_equal(symlinkat(target, f->fd, "root/d/l"), 0);
	tar_put(&tar, .name = ".wh.l");
	tar_put(&tar, .name = ".wh.d");
	apply_ok(f, &tar);
	assert_int_equal(fixture_stat(f, "root").st_nlink, 2);
}

static void the_root_stays_a_directory(void **state)
{
	static const char *const names[] = { ".", "/", "./" };
	struct fixture *f = *state;

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		struct strbuf tar = { 0 };

		tar_put(&tar, .name = names[i], .type = '2', .link = "../outside");
		tar_put(&tar, .name = "file", .data = "hacked");
		apply_fails(f, &tar, "the root itself");
		tar_put(&tar, .name = names[i], .type = '1', .link = "file");
		apply_fails(f, &tar, "the root itself");
	}
}

static void a_directory_replaced_by_a_link_leads_inside(void **state)
{
	struct fixture *f = *state;
	struct strbuf tar = { 0 };
	struct stat st = fixture_stat(f, "outside");

	tar_put(&tar, .name = "a", .type = '5', .mode = 0777, .mtime = 7);
	tar_put(&tar, .name = "a/x", .data = "1");
	tar_put(&tar, .name = "a", .type = '2', .link = "../outside");
	tar_put(&tar, .name = "a/y", .data = "2");
	apply_ok(f, &tar);
	assert_string_equal(fixture_read(f, "root/outside/y"), "2");
	assert_false(fixture_exists(f, "outside/y"));
	/* The times remembered for the directory do not go where the link leads. */
	assert_int_equal(fixture_stat(f, "outside").st_mtime, st.st_mtime);
}

static void what_is_no_directory_holds_nothing(void **state)
{
	static const char types[] = { '0', '6', '3' };
	struct fixture *f = *state;

	for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
		struct strbuf tar = { 0 };

		if (types[i] == '3' && geteuid() != 0)
			continue;
		tar_put(&tar, .name = "node", .type = types[i], .major = 1, .minor = 3);
		tar_put(&tar, .name = "node/x", .data = "1");
		apply_fails(f, &tar, "Not a directory");
	}
}

static void damaged_streams_are_refused(void **state)
{
	struct fixture *f = *state;
	struct strbuf tar = { 0 };

	strbuf_adds(&tar, "this is no tar at all, though it is long enough to be looked at");
	apply_fails(f, &tar, "damaged layer");
	tar_put(&tar, .name = "huge", .data = "x", .size_text = "77777777777");
	apply_fails(f, &tar, "damaged layer");
	tar_add_pax(&tar, "size", "9223372036854775807", 19);
	tar_put(&tar, .name = "huge", .data = "x");
	apply_fails(f, &tar, "damaged layer");
	tar_add_pax(&tar, "size", "99999999999999999999999", 23);
	tar_put(&tar, .name = "huge", .data = "x");
	apply_fails(f, &tar, "damaged layer");
	/* A pax header that says to be larger than everything. */
	tar_put(&tar, .name = "x", .type = 'x', .data = "999999999 path=a\n",
		.size_text = "77777777777");
	apply_fails(f, &tar, "damaged layer");
	tar_put(&tar, .name = "L", .type = 'L', .data = "a", .size_text = "37777777777");
	apply_fails(f, &tar, "damaged layer");
}

static void a_tar_may_end_without_padding(void **state)
{
	struct fixture *f = *state;
	struct strbuf tar = { 0 };
	struct error err = { 0 };

	tar_put(&tar, .name = "a", .data = "content");
	tar_put(&tar, .name = "b", .data = "content");
	tar.len -= 512 - strlen("content");
	assert_int_equal(fixture_apply_as_is(f, &tar, &err), 0);
	assert_string_equal(fixture_read(f, "root/b"), "content");
	/* More than padding is missing. */
	tar_put(&tar, .name = "c", .data = "content", .size_text = "00000010000");
	assert_true(fixture_apply_as_is(f, &tar, &err) < 0);
	tar_put(&tar, .name = "d", .data = "content");
	tar.len -= 600;
	assert_true(fixture_apply_as_is(f, &tar, &err) < 0);
	assert_int_equal(fixture_apply_as_is(f, &tar, &err),
			 0); /* nothing at all is an empty layer */
}

static void trees_through_links_do_not_get_too_deep(void **state)
{
	struct fixture *f = *state;
	struct strbuf tar = { 0 };
	char deep[100] = "", link[32], name[100];

	for (int i = 0; i < 30; i++)
		strcat(deep, "d/");
	tar_put(&tar, .name = deep, .type = '5');
	tar_put(&tar, .name = "l0", .type = '2', .link = deep);
	for (int i = 0; i < 10; i++) {
		char target[100];

		snprintf(name, sizeof(name), "l%d/%.64s", i, deep);
		tar_put(&tar, .name = name, .type = '5');
		snprintf(link, sizeof(link), "l%d", i + 1);
		snprintf(target, sizeof(target), "l%d/%.64s", i, deep);
		tar_put(&tar, .name = link, .type = '2', .link = target);
	}
	apply_fails(f, &tar, "too deep");
}

/* ---- base/remove -------------------------------------------------------------------------- */

static void a_tree_is_removed_without_following(void **state)
{
	struct fixture *f = *state;
	struct error err = { 0 };
	int dir = openat(f->fd, "root", O_PATH | O_CLOEXEC), start = dir;

	assert_int_equal(symlinkat("../outside", f->fd, "root/link"), 0);
	/* Deeper than PATH_MAX and than there are descriptors. */
	for (int i = 0; i < 3000; i++) {
		int next;

		assert_int_equal(mkdirat(dir, "d", 0700), 0);
		if (i % 100 == 0)
			assert_int_equal(symlinkat("/etc", dir, "l"), 0);
		next = openat(dir, "d", O_PATH | O_CLOEXEC);
		assert_true(next >= 0);
		if (dir != start)
			close(dir);
		dir = next;
	}
	close(dir);
	close(start);
	if (path_remove_tree(f->fd, "root", &err) != 0)
		fail_msg("%s", err.text);
	assert_false(fixture_exists(f, "root"));
	assert_int_equal(path_remove_tree(f->fd, "root", &err), 0);
	assert_int_equal(symlinkat("outside", f->fd, "l"), 0);
	assert_int_equal(path_remove_tree(f->fd, "l", &err), 0);
	assert_false(fixture_exists(f, "l"));
}

#define test(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names_are_cleaned),
		cmocka_unit_test(long_and_deep_names_are_refused),
		cmocka_unit_test(whiteouts_are_known_by_name),
		test(files_get_content_mode_and_times),
		test(owners_survive_with_the_setuid_bit),
		test(xattrs_are_set_and_orders_to_overlays_are_not),
		test(a_directory_that_stays_gets_new_attributes_only),
		test(kinds_replace_one_another),
		test(names_are_bytes),
		test(whiteouts_remove_what_is_below),
		test(whiteouts_spare_their_own_layer),
		test(whiteouts_and_links),
		test(names_that_leave_are_refused),
		test(absolute_names_stay_inside),
		test(links_lead_nowhere_else),
		test(loops_of_links_end),
		test(hard_links_do_not_leave),
		test(a_file_is_replaced_not_written_to),
		test(bad_whiteouts_are_refused),
		test(a_whiteout_removes_links_and_not_what_they_name),
		test(the_root_stays_a_directory),
		test(a_directory_replaced_by_a_link_leads_inside),
		test(what_is_no_directory_holds_nothing),
		test(damaged_streams_are_refused),
		test(a_tar_may_end_without_padding),
		test(trees_through_links_do_not_get_too_deep),
		test(a_tree_is_removed_without_following),
	};

	return cmocka_run_group_tests_name("image layers", tests, NULL, NULL);
}
