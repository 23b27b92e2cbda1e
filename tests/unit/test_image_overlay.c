/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oci/image/layer in overlay form: what a layer becomes in a directory of its own, and that a mount of all of them shows the
 * tree that flat unpacking makes.
 */
#include "tests/unit/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "tests/unit/image_fixture.h"

static int overlay_setup(void **state)
{
	if (geteuid() == 0)
		return fixture_setup(state);
	*state = NULL;
	return 0;
}

static int overlay_teardown(void **state)
{
	return *state ? fixture_teardown(state) : 0;
}

/* Whether trusted.* attributes can be set here. */
static bool can_run(const struct fixture *f)
{
	if (f && setxattr(f->dir, "trusted.hull-test", "1", 1, 0) == 0)
		return true;
	print_message("skipped: needs root, and a file system with trusted attributes\n");
	skip();
	return false;
}

static int apply_over(struct fixture *f, struct strbuf *tar, int lower, struct error *err)
{
	struct layer_target target;

	layer_target_init(&target, f->rootfs, false);
	target.form = LAYER_OVERLAY;
	target.lower = lower;
	return fixture_apply_to(&target, tar, err);
}

static void over_ok(struct fixture *f, struct strbuf *tar, int lower)
{
	struct error err = { 0 };

	if (apply_over(f, tar, lower, &err) != 0)
		fail_msg("%s", err.text);
}

static void over_fails(struct fixture *f, struct strbuf *tar, int lower, int code)
{
	struct error err = { 0 };

	assert_int_equal(apply_over(f, tar, lower, &err), -code);
	assert_true(err.text[0]);
}

static bool is_whiteout(const struct fixture *f, const char *path)
{
	struct stat st = fixture_stat(f, path);

	return S_ISCHR(st.st_mode) && st.st_rdev == makedev(0, 0);
}

static bool is_opaque(const struct fixture *f, const char *path)
{
	char full[400], value[4];

	snprintf(full, sizeof(full), "%s/%s", f->dir, path);
	return getxattr(full, "trusted.overlay.opaque", value, sizeof(value)) == 1 &&
	       value[0] == 'y';
}

static void whiteouts_become_devices_and_attributes(void **state)
{
	struct fixture *f = *state;
	struct strbuf tar = { 0 };

	if (!can_run(f))
		return;
	tar_put(&tar, .name = "d", .type = '5', .mtime = 7);
	tar_put(&tar, .name = "d/.wh.gone");
	tar_put(&tar, .name = "o", .type = '5', .mtime = 8);
	tar_put(&tar, .name = "o/new", .data = "new");
	tar_put(&tar, .name = "o/.wh..wh..opq");
	tar_put(&tar, .name = ".wh..wh.plnk", .data = "aufs");
	over_ok(f, &tar, LAYER_LOWER_UNKNOWN);
	assert_true(is_whiteout(f, "root/d/gone"));
	assert_int_equal(fixture_stat(f, "root/d").st_mtime, 7);
	assert_true(is_opaque(f, "root/o"));
	assert_int_equal(fixture_stat(f, "root/o").st_mtime, 8);
	assert_string_equal(fixture_read(f, "root/o/new"), "new");
	assert_false(is_opaque(f, "root/d"));
	assert_false(fixture_exists(f, "root/.wh..wh.plnk"));
}

/* A whiteout and an entry of one name: in both orders the lower one is hidden and the new one is there. */
static void whiteouts_and_entries_of_one_name(void **state)
{
	struct fixture *f = *state;
	struct strbuf tar = { 0 };

	if (!can_run(f))
		return;
	tar_put(&tar, .name = ".wh.d1");
	tar_put(&tar, .name = "d1", .type = '5', .mode = 0711);
	tar_put(&tar, .name = "d2", .type = '5', .mode = 0711);
	tar_put(&tar, .name = ".wh.d2");
	tar_put(&tar, .name = ".wh.f1");
	tar_put(&tar, .name = "f1", .data = "1");
	tar_put(&tar, .name = "f2", .data = "2");
	tar_put(&tar, .name = ".wh.f2");
	tar_put(&tar, .name = ".wh.implied");
	tar_put(&tar, .name = "implied/x", .data = "3");
	over_ok(f, &tar, LAYER_LOWER_UNKNOWN);
	assert_true(is_opaque(f, "root/d1"));
	assert_true(is_opaque(f, "root/d2"));
	assert_int_equal(fixture_stat(f, "root/d1").st_mode, S_IFDIR | 0711);
	assert_string_equal(fixture_read(f, "root/f1"), "1");
	assert_string_equal(fixture_read(f, "root/f2"), "2");
	assert_true(is_opaque(f, "root/implied"));
	assert_string_equal(fixture_read(f, "root/implied/x"), "3");
}

static void a_layer_makes_no_whiteouts_by_other_means(void **state)
{
	struct fixture *f = *state;
	struct strbuf tar = { 0 };

	if (!can_run(f))
		return;
	tar_put(&tar, .name = "null", .type = '3', .major = 0, .minor = 0);
	tar_add_pax(&tar, "SCHILY.xattr.trusted.overlay.opaque", "y", 1);
	tar_put(&tar, .name = "d", .type = '5');
	tar_add_pax(&tar, "SCHILY.xattr.trusted.overlay.redirect", "/etc", 4);
	tar_put(&tar, .name = "e", .type = '5');
	over_ok(f, &tar, LAYER_LOWER_UNKNOWN);
	assert_false(fixture_exists(f, "root/null"));
	assert_false(is_opaque(f, "root/d"));
	/* In the lowest layer nothing is hidden. */
	tar_put(&tar, .name = ".wh.x");
	tar_put(&tar, .name = ".wh..wh..opq");
	over_ok(f, &tar, LAYER_LOWER_NONE);
	assert_false(fixture_exists(f, "root/x"));
	assert_false(is_opaque(f, "root"));
}

static void what_depends_on_lower_layers_is_refused(void **state)
{
	struct fixture *f = *state;
	struct strbuf tar = { 0 };

	if (!can_run(f))
		return;
	tar_put(&tar, .name = "implied/file", .data = "x");
	over_fails(f, &tar, LAYER_LOWER_UNKNOWN, EXDEV);
	tar_put(&tar, .name = "link", .type = '1', .link = "lower");
	over_fails(f, &tar, LAYER_LOWER_UNKNOWN, EXDEV);
	tar_put(&tar, .name = "implied/.wh.x");
	over_fails(f, &tar, LAYER_LOWER_UNKNOWN, EXDEV);
	/* The lowest layer depends on nothing: what is not there is not there. */
	tar_put(&tar, .name = "implied/file", .data = "x");
	over_ok(f, &tar, LAYER_LOWER_NONE);
	assert_int_equal(fixture_stat(f, "root/implied").st_mode, S_IFDIR | 0755);
	tar_put(&tar, .name = "link", .type = '1', .link = "lower");
	over_fails(f, &tar, LAYER_LOWER_NONE, ENOENT);
}

/* T/lower: what the layers beneath look like. */
static int make_lower(struct fixture *f)
{
	char path[400];
	struct timespec times[2] = { { 5, 0 }, { 6, 7 } };
	int lower;

	fixture_mkdir(f, "lower");
	fixture_mkdir(f, "lower/usr");
	fixture_mkdir(f, "lower/usr/lib");
	fixture_mkdir(f, "lower/hidden");
	fixture_mkdir(f, "lower/hidden/sub");
	assert_int_equal(symlinkat("/usr/lib", f->fd, "lower/lib"), 0);
	fixture_write(f, "lower/usr/file", "lower");
	snprintf(path, sizeof(path), "%s/lower/usr/file", f->dir);
	assert_int_equal(setxattr(path, "trusted.note", "n", 1, 0), 0);
	assert_int_equal(fchownat(f->fd, "lower/usr/file", 3, 4, 0), 0);
	assert_int_equal(fchmodat(f->fd, "lower/usr/file", 04711, 0), 0);
	assert_int_equal(fchownat(f->fd, "lower/usr/lib", 1, 2, 0), 0);
	assert_int_equal(fchmodat(f->fd, "lower/usr/lib", 0750, 0), 0);
	assert_int_equal(utimensat(f->fd, "lower/usr/lib", times, 0), 0);
	lower = openat(f->fd, "lower", O_PATH | O_DIRECTORY | O_CLOEXEC);
	assert_true(lower >= 0);
	return lower;
}

static void what_is_beneath_is_copied_up(void **state)
{
	struct fixture *f = *state;
	struct strbuf tar = { 0 };
	_cleanup_close_ int lower = -EBADF;
	char path[400];
	struct stat st;

	if (!can_run(f))
		return;
	lower = make_lower(f);
	tar_put(&tar, .name = "lib/new", .data = "new"); /* through a link of the lower layer's */
	tar_put(&tar, .name = "link", .type = '1', .link = "usr/file");
	tar_put(&tar, .name = "hidden", .type = '5', .mode = 0700);
	tar_put(&tar, .name = "hidden/.wh..wh..opq");
	tar_put(&tar, .name = "hidden/sub/x", .data = "x"); /* not the lower layer's sub */
	over_ok(f, &tar, lower);
	assert_string_equal(fixture_read(f, "root/usr/lib/new"), "new");
	assert_false(fixture_exists(f, "root/lib"));
	st = fixture_stat(f, "root/usr/lib");
	assert_int_equal(st.st_mode, S_IFDIR | 0750);
	assert_int_equal(st.st_uid, 1);
	assert_int_equal(st.st_gid, 2);
	assert_int_equal(st.st_mtime, 6);
	assert_int_equal(st.st_mtim.tv_nsec, 7);
	st = fixture_stat(f, "root/link");
	assert_int_equal(st.st_ino, fixture_stat(f, "root/usr/file").st_ino);
	assert_int_equal(st.st_mode, S_IFREG | 04711);
	assert_int_equal(st.st_uid, 3);
	assert_string_equal(fixture_read(f, "root/link"), "lower");
	snprintf(path, sizeof(path), "%s/root/link", f->dir);
	assert_int_equal(getxattr(path, "trusted.note", NULL, 0), 1);
	assert_int_equal(fixture_stat(f, "root/hidden/sub").st_mode, S_IFDIR | 0755);
	assert_string_equal(fixture_read(f, "lower/usr/file"), "lower");
	assert_int_equal(fixture_stat(f, "lower/usr/file").st_nlink, 1);
}

static void lower_links_lead_nowhere_else(void **state)
{
	struct fixture *f = *state;
	struct strbuf tar = { 0 };
	_cleanup_close_ int lower = -EBADF;
	char target[300];

	if (!can_run(f))
		return;
	lower = make_lower(f);
	snprintf(target, sizeof(target), "%s/outside", f->dir);
	assert_int_equal(symlinkat(target, f->fd, "lower/abs"), 0);
	assert_int_equal(symlinkat("../outside", f->fd, "lower/rel"), 0);
	tar_put(&tar, .name = "abs/file", .data = "hacked");
	tar_put(&tar, .name = "rel/file", .data = "hacked");
	over_ok(f, &tar, lower);
	assert_string_equal(fixture_read(f, "root/outside/file"), "hacked");
	tar_put(&tar, .name = "h", .type = '1', .link = "rel/../../outside/file");
	over_fails(f, &tar, lower, EINVAL);
	/* A link to the symbolic link itself. */
	tar_put(&tar, .name = "h", .type = '1', .link = "rel");
	over_ok(f, &tar, lower);
	assert_string_equal(fixture_read(f, "root/h"), "../outside");
	assert_string_equal(fixture_read(f, "root/rel"), "../outside");
}

/* The kernel is of one mind with us: a mount of two layers shows what flat unpacking makes. */
static void overlayfs_shows_the_same(void **state)
{
	struct fixture *f = *state;
	struct strbuf tar = { 0 };
	char options[900], merged[300];

	if (!can_run(f))
		return;
	fixture_mkdir(f, "below");
	fixture_mkdir(f, "below/o");
	fixture_mkdir(f, "below/d");
	fixture_mkdir(f, "below/r");
	fixture_write(f, "below/o/old", "1");
	fixture_write(f, "below/d/gone", "1");
	fixture_write(f, "below/d/stays", "1");
	fixture_write(f, "below/r/old", "1");
	fixture_mkdir(f, "merged");
	tar_put(&tar, .name = "o", .type = '5');
	tar_put(&tar, .name = "o/new", .data = "2");
	tar_put(&tar, .name = "o/.wh..wh..opq");
	tar_put(&tar, .name = "d", .type = '5');
	tar_put(&tar, .name = "d/.wh.gone");
	tar_put(&tar, .name = ".wh.r");
	tar_put(&tar, .name = "r/new", .data = "2");
	over_ok(f, &tar, LAYER_LOWER_UNKNOWN);
	snprintf(options, sizeof(options), "lowerdir=%s/root:%s/below", f->dir, f->dir);
	snprintf(merged, sizeof(merged), "%s/merged", f->dir);
	if (mount("overlay", merged, "overlay", MS_RDONLY, options) < 0) {
		print_message("skipped: no overlay here: %s\n", strerror(errno));
		skip();
	}
	assert_false(fixture_exists(f, "merged/o/old"));
	assert_true(fixture_exists(f, "merged/o/new"));
	assert_false(fixture_exists(f, "merged/d/gone"));
	assert_true(fixture_exists(f, "merged/d/stays"));
	assert_false(fixture_exists(f, "merged/r/old"));
	assert_true(fixture_exists(f, "merged/r/new"));
	assert_int_equal(umount(merged), 0);
}

#define test(name) cmocka_unit_test_setup_teardown(name, overlay_setup, overlay_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(whiteouts_become_devices_and_attributes),
		test(whiteouts_and_entries_of_one_name),
		test(a_layer_makes_no_whiteouts_by_other_means),
		test(what_depends_on_lower_layers_is_refused),
		test(what_is_beneath_is_copied_up),
		test(lower_links_lead_nowhere_else),
		test(overlayfs_shows_the_same),
	};

	return cmocka_run_group_tests_name("image layers of overlays", tests, NULL, NULL);
}
