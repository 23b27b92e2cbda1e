/* SPDX-License-Identifier: Apache-2.0 */
/* The file server: few descriptors for many nodes, bounds of what a guest can have it hold, and read-only trees. */
#include "tests/unit/fs_client.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/mount.h>
#include <unistd.h>

#include "base/syscalls.h"

#define ROOT FUSE_ROOT_ID

static unsigned open_descriptors(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned count = 0;

	assert_non_null(dir);
	while (readdir(dir))
		count++;
	closedir(dir);
	return count;
}

static int few_setup(void **state)
{
	struct fs_config config;

	fs_config_init(&config);
	config.fds_max = 8;
	config.nodes_max = 2000;
	config.files_max = 4;
	*state = fs_client_open(&config);
	return 0;
}

static int getattr(struct fs_client *c, uint64_t node)
{
	struct fuse_getattr_in in = { 0 };

	return fs_call(c, FUSE_GETATTR, node, &in, sizeof(in), NULL, NULL);
}

/* ---- descriptors -------------------------------------------------------------------------------- */

#define WIDTH 10 /* files and directories in each directory, three deep */

struct tree {
	uint64_t a[WIDTH], b[WIDTH][WIDTH], file[WIDTH][WIDTH][WIDTH], ino[WIDTH][WIDTH][WIDTH];
};

static void make_tree(struct fs_client *c, struct tree *t)
{
	char path[64], name[16];
	struct stat st;

	for (int i = 0; i < WIDTH; i++) {
		snprintf(path, sizeof(path), "%d", i);
		fs_host_write(c, path, NULL);
		t->a[i] = fs_lookup(c, ROOT, path);
		for (int j = 0; j < WIDTH; j++) {
			snprintf(path, sizeof(path), "%d/%d", i, j);
			snprintf(name, sizeof(name), "%d", j);
			fs_host_write(c, path, NULL);
			t->b[i][j] = fs_lookup(c, t->a[i], name);
			for (int k = 0; k < WIDTH; k++) {
				snprintf(path, sizeof(path), "%d/%d/%d", i, j, k);
				snprintf(name, sizeof(name), "%d", k);
				fs_host_write(c, path, "x");
				fs_host_stat(c, path, &st);
				t->file[i][j][k] = fs_lookup(c, t->b[i][j], name);
				t->ino[i][j][k] = st.st_ino;
			}
		}
	}
}

/* In an order that jumps about. */
static void check_tree(struct fs_client *c, const struct tree *t)
{
	struct fuse_attr attr;

	for (int n = 0; n < WIDTH * WIDTH * WIDTH; n++) {
		int x = n * 377 % (WIDTH * WIDTH * WIDTH);
		int i = x / WIDTH / WIDTH, j = x / WIDTH % WIDTH, k = x % WIDTH;

		fs_getattr(c, t->file[i][j][k], &attr);
		assert_int_equal(attr.ino, t->ino[i][j][k]);
	}
}

static void few_descriptors_do_for_many_nodes(void **state)
{
	struct fs_client *c = *state;
	_cleanup_free_ struct tree *t = calloc(1, sizeof(*t));
	struct fuse_rename2_in in = { .newdir = ROOT };
	unsigned before = open_descriptors();

	make_tree(c, t);
	assert_true(open_descriptors() <= before + 8);
	check_tree(c, t);
	assert_true(open_descriptors() <= before + 8);
	/* The guest renames a directory above, and exchanges two: all is found where it is now. */
	assert_int_equal(fs_call(c, FUSE_RENAME2, ROOT, &in, sizeof(in), "3", "three"), 0);
	in = (struct fuse_rename2_in){ .newdir = t->a[5], .flags = 2 /* RENAME_EXCHANGE */ };
	assert_int_equal(fs_call(c, FUSE_RENAME2, t->a[4], &in, sizeof(in), "7", "8"), 0);
	check_tree(c, t);
	/* What the guest forgot is kept as long as something is known beneath it. */
	fs_forget(c, t->a[6], 1);
	fs_forget(c, t->b[6][1], 1);
	assert_int_equal(getattr(c, t->a[6]), -ESTALE);
	check_tree(c, t);
	assert_int_equal(fs_lookup(c, ROOT, "6"), t->a[6]);
}

/* Has so many others use a descriptor that nobody else keeps one. */
static void evict_all(struct fs_client *c)
{
	char name[32];

	for (int i = 0; i < 20; i++) {
		snprintf(name, sizeof(name), "evict%d", i);
		fs_host_write(c, name, "");
		assert_int_equal(getattr(c, fs_lookup(c, ROOT, name)), 0);
	}
}

static void what_is_found_again_must_be_the_same(void **state)
{
	struct fs_client *c = *state;
	uint64_t moved, replaced, dir, inside, swapped;

	fs_host_write(c, "moved", "");
	fs_host_write(c, "replaced", "");
	fs_host_write(c, "dir", NULL);
	fs_host_write(c, "dir/file", "");
	fs_host_write(c, "swapped", "");
	moved = fs_lookup(c, ROOT, "moved");
	replaced = fs_lookup(c, ROOT, "replaced");
	dir = fs_lookup(c, ROOT, "dir");
	inside = fs_lookup(c, dir, "file");
	swapped = fs_lookup(c, ROOT, "swapped");
	evict_all(c);
	assert_int_equal(renameat(c->tree, "moved", c->tree, "elsewhere"), 0);
	fs_host_write(c, "new", "");
	assert_int_equal(renameat(c->tree, "new", c->tree, "replaced"), 0);
	/* A link to a directory outside that has a file of that name, where there was a directory. */
	assert_int_equal(renameat(c->tree, "dir", c->tree, "away"), 0);
	assert_int_equal(symlinkat("away", c->tree, "dir"), 0);
	assert_int_equal(unlinkat(c->tree, "swapped", 0), 0);
	fs_host_write(c, "swapped", NULL);
	assert_int_equal(getattr(c, moved), -ESTALE);
	assert_int_equal(getattr(c, replaced), -ESTALE);
	assert_int_equal(getattr(c, inside), -ESTALE);
	assert_int_equal(getattr(c, swapped), -ESTALE);
	/* The guest looks again, and what did not change but its name is what it was. */
	assert_int_equal(fs_lookup(c, ROOT, "elsewhere"), moved);
	assert_int_equal(getattr(c, moved), 0);
	assert_int_equal(fs_lookup(c, ROOT, "away"), dir);
	assert_int_equal(getattr(c, inside), 0);
	assert_int_not_equal(fs_lookup(c, ROOT, "replaced"), replaced);
	assert_int_not_equal(fs_lookup(c, ROOT, "swapped"), swapped);
}

/* An inode number that is used again (at once, on most file systems) is not the same file. */
static void a_reused_inode_number_is_another_file(void **state)
{
	struct fs_client *c = *state;
	struct stat before, after;
	uint64_t node;

	fs_host_write(c, "file", "");
	fs_host_stat(c, "file", &before);
	node = fs_lookup(c, ROOT, "file");
	evict_all(c);
	assert_int_equal(unlinkat(c->tree, "file", 0), 0);
	fs_host_write(c, "file", "");
	fs_host_stat(c, "file", &after);
	if (before.st_ino != after.st_ino)
		skip();
	assert_int_equal(getattr(c, node), -ESTALE);
	assert_int_not_equal(fs_lookup(c, ROOT, "file"), node);
	assert_int_equal(getattr(c, node), -ESTALE);
}

static void what_lost_its_name_keeps_its_descriptor(void **state)
{
	struct fs_client *c = *state;
	uint64_t one, two, three;

	fs_host_write(c, "one", "");
	fs_host_write(c, "two", "");
	fs_host_write(c, "three", "");
	one = fs_lookup(c, ROOT, "one");
	two = fs_lookup(c, ROOT, "two");
	three = fs_lookup(c, ROOT, "three");
	evict_all(c);
	assert_int_equal(fs_call(c, FUSE_UNLINK, ROOT, NULL, 0, "one", NULL), 0);
	/* By the host, too, where there is a descriptor at that time. */
	assert_int_equal(getattr(c, two), 0);
	assert_int_equal(unlinkat(c->tree, "two", 0), 0);
	evict_all(c);
	assert_int_equal(getattr(c, one), 0);
	assert_int_equal(getattr(c, two), 0);
	/* A quarter of the descriptors, and no more. */
	assert_int_equal(fs_call(c, FUSE_UNLINK, ROOT, NULL, 0, "three", NULL), 0);
	evict_all(c);
	assert_int_equal(getattr(c, three), -ESTALE);
	fs_forget(c, one, 1);
	fs_forget(c, two, 1);
	fs_host_write(c, "four", "");
	three = fs_lookup(c, ROOT, "four");
	assert_int_equal(fs_call(c, FUSE_UNLINK, ROOT, NULL, 0, "four", NULL), 0);
	evict_all(c);
	assert_int_equal(getattr(c, three), 0);
}

static void deep_directories_are_found_again(void **state)
{
	enum { DEPTH = 300 };
	struct fs_client *c = *state;
	uint64_t nodes[DEPTH], dir = ROOT;
	unsigned before = open_descriptors();

	for (int i = 0; i < DEPTH; i++)
		nodes[i] = dir = fs_mkdir(c, dir, "d", 0755);
	evict_all(c);
	for (int i = DEPTH; i-- > 0;)
		assert_int_equal(getattr(c, nodes[i]), 0);
	evict_all(c);
	fs_mkdir(c, nodes[DEPTH - 1], "last", 0755);
	assert_true(open_descriptors() <= before + 8);
	/* One of them is another's by now: all beneath it is gone. */
	evict_all(c);
	assert_int_equal(renameat(c->tree, "d/d/d", c->tree, "away"), 0);
	assert_int_equal(mkdirat(c->tree, "d/d/d", 0755), 0);
	assert_int_equal(getattr(c, nodes[1]), 0);
	assert_int_equal(getattr(c, nodes[2]), -ESTALE);
	assert_int_equal(getattr(c, nodes[DEPTH - 1]), -ESTALE);
}

/* ---- bounds ------------------------------------------------------------------------------------- */

static void open_files_are_bounded(void **state)
{
	struct fs_client *c = *state;
	uint64_t node, fh = fs_create(c, ROOT, "file", O_RDWR, 0600, &node);
	struct fuse_open_in in = { 0 };
	struct fuse_entry_out entry;
	struct fuse_open_out out;

	for (int i = 0; i < 3; i++)
		fs_open(c, node, O_RDONLY);
	assert_int_equal(fs_try_open(c, node, O_RDONLY, &out), -ENFILE);
	assert_int_equal(fs_try_create(c, ROOT, "new", O_RDWR, 0600, &entry, &out), -ENFILE);
	assert_int_equal(faccessat(c->tree, "new", F_OK, 0), -1);
	assert_int_equal(fs_call(c, FUSE_OPENDIR, ROOT, &in, sizeof(in), NULL, NULL), -ENFILE);
	fs_release(c, node, fh);
	fs_open(c, node, O_RDONLY);
	assert_int_equal(fs_try_open(c, node, O_RDONLY, &out), -ENFILE);
}

static void nodes_are_bounded(void **state)
{
	struct fs_client *c = *state;
	struct fuse_read_in in = { .size = 4096 };
	struct fuse_entry_out entry = { 0 };
	uint64_t first = 0;
	char name[32];
	int known = 1; /* the root */

	for (;; known++) {
		snprintf(name, sizeof(name), "f%d", known);
		fs_host_write(c, name, "");
		if (fs_try_lookup(c, ROOT, name, &entry) < 0)
			break;
		if (!first)
			first = entry.nodeid;
	}
	assert_int_equal(known, 2000);
	assert_int_equal(fs_try_lookup(c, ROOT, name, &entry), -ENOMEM);
	/* A directory is listed all the same. */
	in.fh = fs_opendir(c, ROOT);
	assert_int_equal(fs_call(c, FUSE_READDIRPLUS, ROOT, &in, sizeof(in), NULL, NULL), 0);
	assert_true(c->answered > 1000);
	/* What it just told of was counted once more, so: as often as necessary. */
	fs_forget(c, first, UINT64_MAX);
	assert_int_equal(fs_try_lookup(c, ROOT, name, &entry), 0);
	fs_reset(c->fs);
	assert_int_equal(fs_init(c, UINT32_MAX), 0);
	assert_int_equal(fs_try_lookup(c, ROOT, "f1", &entry), 0);
}

/* ---- read-only ---------------------------------------------------------------------------------- */

static int read_only_setup(void **state)
{
	struct fs_config config;

	fs_config_init(&config);
	config.read_only = true;
	*state = fs_client_open(&config);
	return 0;
}

static void a_read_only_server_changes_nothing(void **state)
{
	static const uint32_t changing[] = { FUSE_SETATTR,   FUSE_SYMLINK,     FUSE_MKNOD,
					     FUSE_MKDIR,     FUSE_UNLINK,      FUSE_RMDIR,
					     FUSE_RENAME,    FUSE_LINK,        FUSE_WRITE,
					     FUSE_SETXATTR,  FUSE_REMOVEXATTR, FUSE_CREATE,
					     FUSE_FALLOCATE, FUSE_RENAME2,     FUSE_COPY_FILE_RANGE,
					     FUSE_TMPFILE };
	static const uint8_t zeros[128];
	struct fs_client *c = *state;
	struct fuse_open_out out;
	uint64_t node;

	fs_host_write(c, "file", "hello");
	node = fs_lookup(c, ROOT, "file");
	for (size_t i = 0; i < ARRAY_SIZE(changing); i++)
		assert_int_equal(fs_call(c, changing[i], ROOT, zeros, sizeof(zeros), NULL, NULL),
				 -EROFS);
	assert_int_equal(fs_try_open(c, node, O_RDWR, &out), -EROFS);
	assert_int_equal(fs_try_open(c, node, O_WRONLY, &out), -EROFS);
	assert_int_equal(fs_try_open(c, node, O_RDONLY | O_TRUNC, &out), -EROFS);
	assert_int_equal(fs_read(c, node, fs_open(c, node, O_RDONLY), 0, 10), 5);
}

/* Two mounts of one tree, one of them read-only: the same files, but not the same nodes. */
static void a_read_only_mount_is_the_hosts_to_enforce(void **state)
{
	struct fs_client *c = *state;
	struct mount_attr attr = { .attr_set = MOUNT_ATTR_RDONLY };
	struct fuse_entry_out rw = { 0 }, ro = { 0 }, entry = { 0 };
	struct fuse_open_out out;
	int mount;

	fs_host_write(c, "rw", NULL);
	fs_host_write(c, "rw/file", "hello");
	fs_host_write(c, "ro", NULL);
	mount = open_tree(c->tree, "rw", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
	if (mount < 0)
		skip();
	assert_int_equal(mount_setattr(mount, "", AT_EMPTY_PATH, &attr, sizeof(attr)), 0);
	assert_int_equal(move_mount(mount, "", c->tree, "ro", MOVE_MOUNT_F_EMPTY_PATH), 0);
	close(mount);
	assert_int_equal(fs_try_lookup(c, fs_lookup(c, ROOT, "ro"), "file", &ro), 0);
	assert_int_equal(fs_try_lookup(c, fs_lookup(c, ROOT, "rw"), "file", &rw), 0);
	assert_int_not_equal(ro.nodeid, rw.nodeid);
	assert_int_equal(ro.attr.ino, rw.attr.ino);
	assert_int_equal(fs_try_open(c, ro.nodeid, O_WRONLY, &out), -EROFS);
	assert_int_equal(fs_try_open(c, rw.nodeid, O_WRONLY, &out), 0);
	assert_int_equal(
		fs_try_create(c, fs_lookup(c, ROOT, "ro"), "new", O_WRONLY, 0600, &entry, &out),
		-EROFS);
	assert_int_equal(fs_call(c, FUSE_UNLINK, fs_lookup(c, ROOT, "ro"), NULL, 0, "file", NULL),
			 -EROFS);
	fs_reset(c->fs);
	assert_int_equal(fchdir(c->tree), 0);
	assert_int_equal(umount2("ro", MNT_DETACH), 0);
}

/* Another file system within the tree is another one in the guest, too. */
static void a_submount_is_told(void **state)
{
	struct fs_client *c = *state;
	struct fuse_entry_out entry = { 0 };
	struct stat st;
	int fs, mount;

	fs_host_write(c, "sub", NULL);
	fs_host_write(c, "plain", NULL);
	fs = fsopen("tmpfs", FSOPEN_CLOEXEC);
	if (fs < 0 || fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		skip();
	mount = fsmount(fs, FSMOUNT_CLOEXEC, 0);
	assert_int_equal(mkdirat(mount, "dir", 0755), 0);
	assert_int_equal(move_mount(mount, "", c->tree, "sub", MOVE_MOUNT_F_EMPTY_PATH), 0);
	assert_int_equal(fs_try_lookup(c, ROOT, "plain", &entry), 0);
	assert_int_equal(entry.attr.flags, 0);
	assert_int_equal(fs_try_lookup(c, ROOT, "sub", &entry), 0);
	fs_host_stat(c, "sub", &st);
	assert_int_equal(entry.attr.ino, st.st_ino);
	assert_int_equal(entry.attr.flags, FUSE_ATTR_SUBMOUNT);
	assert_int_equal(fs_try_lookup(c, entry.nodeid, "dir", &entry), 0);
	assert_int_equal(entry.attr.flags, 0);
	fs_reset(c->fs);
	close(fs);
	close(mount);
	assert_int_equal(fchdir(c->tree), 0);
	assert_int_equal(umount2("sub", MNT_DETACH), 0);
}

#define few_test(f) cmocka_unit_test_setup_teardown(f, few_setup, fs_client_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		few_test(few_descriptors_do_for_many_nodes),
		few_test(what_is_found_again_must_be_the_same),
		few_test(a_reused_inode_number_is_another_file),
		few_test(what_lost_its_name_keeps_its_descriptor),
		few_test(deep_directories_are_found_again),
		few_test(open_files_are_bounded),
		few_test(nodes_are_bounded),
		cmocka_unit_test_setup_teardown(a_read_only_server_changes_nothing, read_only_setup,
						fs_client_teardown),
		fs_test(a_read_only_mount_is_the_hosts_to_enforce),
		fs_test(a_submount_is_told),
	};

	/* Mounts of the tests are nobody else's. */
	if (geteuid() == 0 &&
	    (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0))
		return 1;
	return cmocka_run_group_tests_name("fs_limits", tests, NULL, NULL);
}
