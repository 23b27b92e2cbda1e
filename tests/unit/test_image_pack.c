/* SPDX-License-Identifier: Apache-2.0 */
/* oci/image/layer_pack: a directory of changes becomes a layer, of which layer_apply() makes the same directory again. */
#include "tests/unit/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "oci/image/layer_pack.h"
#include "tests/unit/image_fixture.h"

static int pack_setup(void **state)
{
	if (geteuid() == 0)
		return fixture_setup(state);
	*state = NULL;
	return 0;
}

static int pack_teardown(void **state)
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

static int pack(const struct fixture *f, struct error *err)
{
	_cleanup_close_ int out =
		openat(f->fd, "layer.tar", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	_cleanup_close_ int upper = openat(f->rootfs, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	assert_true(out >= 0 && upper >= 0);
	return layer_pack(upper, out, err);
}

static ssize_t read_block(void *data, const char **block, struct error *err _unused_)
{
	static char buf[65536];
	ssize_t n = read(*(int *)data, buf, sizeof(buf));

	assert_true(n >= 0);
	*block = buf;
	return n;
}

/* Packs T/root, and applies the layer to T/again, as to a layer of an overlay. */
static void pack_and_apply(struct fixture *f)
{
	_cleanup_close_ int in = -EBADF, again = -EBADF;
	struct layer_target target;
	struct error err = { 0 };

	if (pack(f, &err) != 0)
		fail_msg("%s", err.text);
	fixture_mkdir(f, "again");
	in = openat(f->fd, "layer.tar", O_RDONLY | O_CLOEXEC);
	again = openat(f->fd, "again", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	layer_target_init(&target, again, false);
	target.form = LAYER_OVERLAY;
	target.lower = LAYER_LOWER_UNKNOWN;
	if (layer_apply(&target, read_block, &in, &err) != 0 ||
	    layer_target_finish(&target, &err) != 0)
		fail_msg("%s", err.text);
	layer_target_free(&target);
}

static const char *full(const struct fixture *f, const char *path)
{
	static char text[512];

	snprintf(text, sizeof(text), "%s/%s", f->dir, path);
	return text;
}

static bool has_attribute(const struct fixture *f, const char *path, const char *name,
			  const char *value)
{
	char found[64];
	ssize_t n = lgetxattr(full(f, path), name, found, sizeof(found));

	return n == (ssize_t)strlen(value) && !memcmp(found, value, (size_t)n);
}

static void what_there_is_of_files_stays(void **state)
{
	struct fixture *f = *state;
	char long_name[NAME_MAX + 1] = "";
	struct stat st;

	if (!can_run(f))
		return;
	fixture_write(f, "root/file", "content");
	assert_int_equal(chown(full(f, "root/file"), 12, 3000000), 0);
	assert_int_equal(chmod(full(f, "root/file"), 04751), 0);
	assert_int_equal(setxattr(full(f, "root/file"), "user.name", "value", 5, 0), 0);
	assert_int_equal(
		utimensat(f->fd, "root/file", (struct timespec[]){ { 5, 0 }, { 7, 123456789 } }, 0),
		0);
	assert_int_equal(linkat(f->fd, "root/file", f->fd, "root/hard", 0), 0);
	assert_int_equal(symlinkat("/../\xff away", f->fd, "root/soft"), 0);
	assert_int_equal(mkfifoat(f->fd, "root/fifo", 0600), 0);
	assert_int_equal(mknodat(f->fd, "root/device", S_IFBLK | 0600, makedev(7, 300)), 0);
	fixture_mkdir(f, "root/dir");
	assert_int_equal(chmod(full(f, "root/dir"), 0700), 0);
	assert_int_equal(setxattr(full(f, "root/dir"), "trusted.mine", "x", 1, 0), 0);
	fixture_write(f, "root/dir/\xe4 \n*", "odd");
	memset(long_name, 'n', NAME_MAX);
	assert_int_equal(symlinkat("x", f->fd, "root/dir/link"), 0);
	assert_int_equal(mkdirat(f->rootfs, long_name, 0755), 0);
	fixture_write(f, "root/holes", "");
	assert_int_equal(truncate(full(f, "root/holes"), 1 << 30), 0);
	pack_and_apply(f);
	assert_string_equal(fixture_read(f, "again/file"), "content");
	st = fixture_stat(f, "again/file");
	assert_int_equal(st.st_uid, 12);
	assert_int_equal(st.st_gid, 3000000);
	assert_int_equal(st.st_mode & 07777, 04751);
	assert_int_equal(st.st_mtim.tv_sec, 7);
	assert_int_equal(st.st_mtim.tv_nsec, 123456789);
	assert_true(has_attribute(f, "again/file", "user.name", "value"));
	assert_int_equal(st.st_ino, fixture_stat(f, "again/hard").st_ino);
	assert_string_equal(fixture_read(f, "again/soft"), "/../\xff away");
	assert_true(S_ISFIFO(fixture_stat(f, "again/fifo").st_mode));
	assert_true(fixture_stat(f, "again/device").st_rdev == makedev(7, 300));
	assert_int_equal(fixture_stat(f, "again/dir").st_mode & 07777, 0700);
	assert_true(has_attribute(f, "again/dir", "trusted.mine", "x"));
	assert_string_equal(fixture_read(f, "again/dir/\xe4 \n*"), "odd");
	st = fixture_stat(f, "again/holes");
	assert_int_equal(st.st_size, 1 << 30);
	assert_true(st.st_blocks < 64);
	assert_true(fixture_stat(f, "layer.tar").st_size < 1 << 20);
}

static void what_is_gone_stays_gone(void **state)
{
	struct fixture *f = *state;

	if (!can_run(f))
		return;
	fixture_mkdir(f, "root/d");
	assert_int_equal(mknodat(f->fd, "root/d/gone", S_IFCHR, 0), 0);
	fixture_mkdir(f, "root/o");
	assert_int_equal(setxattr(full(f, "root/o"), "trusted.overlay.opaque", "y", 1, 0), 0);
	assert_int_equal(setxattr(full(f, "root/d"), "trusted.overlay.impure", "y", 1, 0), 0);
	fixture_write(f, "root/o/new", "new");
	pack_and_apply(f);
	assert_true(S_ISCHR(fixture_stat(f, "again/d/gone").st_mode));
	assert_true(has_attribute(f, "again/o", "trusted.overlay.opaque", "y"));
	assert_false(has_attribute(f, "again/d", "trusted.overlay.opaque", "y"));
	assert_false(has_attribute(f, "again/d", "trusted.overlay.impure", "y"));
	assert_string_equal(fixture_read(f, "again/o/new"), "new");
}

static void sockets_are_left_out(void **state)
{
	struct fixture *f = *state;
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	_cleanup_close_ int sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (!can_run(f))
		return;
	snprintf(addr.sun_path, sizeof(addr.sun_path), "/proc/self/fd/%d/socket", f->rootfs);
	assert_int_equal(bind(sock, (struct sockaddr *)&addr, sizeof(addr)), 0);
	fixture_write(f, "root/file", "content");
	pack_and_apply(f);
	assert_false(fixture_exists(f, "again/socket"));
	assert_true(fixture_exists(f, "again/file"));
}

/* What overlayfs would look for elsewhere must not become an empty directory, or an empty file. */
static void what_a_layer_cannot_say_is_refused(void **state)
{
	static const char *const names[] = { "trusted.overlay.redirect",
					     "trusted.overlay.metacopy" };
	struct fixture *f = *state;

	if (!can_run(f))
		return;
	fixture_mkdir(f, "root/d");
	for (size_t i = 0; i < 2; i++) {
		struct error err = { 0 };

		assert_int_equal(setxattr(full(f, "root/d"), names[i], "/e", 2, 0), 0);
		assert_int_equal(pack(f, &err), -ENOTSUP);
		assert_non_null(strstr(err.text, "`d`"));
		assert_int_equal(removexattr(full(f, "root/d"), names[i]), 0);
	}
}

/* In as many directories as a path has room for, and no more than layer_apply() takes. */
static void depth_is_bounded(void **state)
{
	struct fixture *f = *state;
	_cleanup_close_ int dir = -EBADF;
	struct error err = { 0 };

	if (!can_run(f))
		return;
	dir = fcntl(f->rootfs, F_DUPFD_CLOEXEC, 3);
	for (int i = 0; i < LAYER_DEPTH_MAX + 5; i++) {
		int next;

		assert_int_equal(mkdirat(dir, "d", 0755), 0);
		next = openat(dir, "d", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		close(dir);
		dir = next;
	}
	assert_int_equal(pack(f, &err), -ENAMETOOLONG);
}

#define test(name) cmocka_unit_test_setup_teardown(name, pack_setup, pack_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(what_there_is_of_files_stays),
		test(what_is_gone_stays_gone),
		test(sockets_are_left_out),
		test(what_a_layer_cannot_say_is_refused),
		test(depth_is_bounded),
	};

	return cmocka_run_group_tests_name("packing image layers", tests, NULL, NULL);
}
