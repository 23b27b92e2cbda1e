/* SPDX-License-Identifier: Apache-2.0 */
/* The file server: what it knows is saved, and another one, on the same tree or a copy of it, goes on from there. */
#include "tests/unit/fs_state_client.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mount.h>
#include <unistd.h>

#include "microvm/fs_request.h"
#include "microvm/fs_state.h"

#define ROOT FUSE_ROOT_ID

static void go_on(struct fs_client *c)
{
	fs_load(c, fs_save(c));
}

/* Each file in T/tree has another inode from now on. */
static void copy_tree(struct fs_client *c)
{
	fs_host_run(c, "cp -a tree copy && mv tree old && mv copy tree");
}

static int getattr(struct fs_client *c, uint64_t node)
{
	struct fuse_getattr_in in = { 0 };

	return fs_call(c, FUSE_GETATTR, node, &in, sizeof(in), NULL, NULL);
}

static void assert_content(struct fs_client *c, uint64_t node, uint64_t fh, const char *text)
{
	assert_int_equal(fs_read(c, node, fh, 0, 4096), strlen(text));
	assert_memory_equal(c->answer.data, text, strlen(text));
}

static uint64_t inode_of(struct fs_client *c, const char *name)
{
	struct stat st;

	fs_host_stat(c, name, &st);
	return st.st_ino;
}

/* ---- what goes on ------------------------------------------------------------------------------- */

static void check_open_files(struct fs_client *c, bool copy)
{
	uint64_t dir, file, other, fh, read_fh, closed;
	struct fuse_attr attr;
	struct fuse_open_out out;

	fs_host_write(c, "dir", NULL);
	fs_host_write(c, "dir/file", "hello");
	fs_host_write(c, "dir/other", "others");
	dir = fs_lookup(c, ROOT, "dir");
	file = fs_lookup(c, dir, "file");
	other = fs_lookup(c, dir, "other");
	closed = fs_open(c, other, O_RDONLY);
	fh = fs_open(c, file, O_RDWR);
	read_fh = fs_open(c, file, O_RDONLY);
	fs_release(c, other, closed);
	for (int i = 0; i < 2; i++) {
		int state = fs_save(c);

		if (copy)
			fs_host_run(c,
				    "rm -rf old && cp -a tree copy && mv tree old && mv copy tree");
		fs_load(c, state);
		assert_content(c, file, fh, i ? "HELLO, world" : "hello");
		assert_int_equal(fs_write(c, file, read_fh, 0, "x", 1, 0, 0), -EBADF);
		assert_int_equal(fs_read(c, other, closed, 0, 10), -EBADF);
		assert_int_equal(fs_write(c, file, fh, 0, "HELLO, world", 12, 0, 0), 12);
		assert_content(c, file, read_fh, "HELLO, world");
		/* The same nodes by the same names, with the inodes that they have now. */
		assert_int_equal(fs_lookup(c, ROOT, "dir"), dir);
		assert_int_equal(fs_lookup(c, dir, "file"), file);
		fs_getattr(c, file, &attr);
		assert_int_equal(attr.ino, inode_of(c, "dir/file"));
		if (i)
			assert_int_equal(fs_lookup(c, dir, "other"), other);
		fs_getattr(c, other, &attr);
		assert_int_equal(attr.ino, inode_of(c, "dir/other"));
	}
	/* A number that was used once does not come again. */
	assert_int_equal(fs_try_open(c, other, O_RDONLY, &out), 0);
	assert_int_not_equal(out.fh, closed);
	fs_release(c, file, fh);
	fs_release(c, file, read_fh);
	fs_host_write(c, "new", "");
	assert_true(fs_lookup(c, ROOT, "new") > other);
}

static void open_files_go_on(void **state)
{
	check_open_files(*state, false);
}

static void open_files_go_on_in_a_copy(void **state)
{
	check_open_files(*state, true);
}

static void lookups_are_counted_on(void **state)
{
	struct fs_client *c = *state;
	uint64_t node;

	fs_host_write(c, "file", "");
	node = fs_lookup(c, ROOT, "file");
	fs_lookup(c, ROOT, "file");
	go_on(c);
	fs_lookup(c, ROOT, "file");
	fs_forget(c, node, 2);
	assert_int_equal(getattr(c, node), 0);
	fs_forget(c, node, 1);
	assert_int_equal(getattr(c, node), -ESTALE);
	assert_int_equal(c->fs->nodes.count, 1);
	/* It begins anew as any other does. */
	assert_int_equal(fs_init(c, 0), 0);
	assert_int_equal(getattr(c, ROOT), 0);
}

static void a_server_that_nobody_used_has_a_state(void **state)
{
	struct fs_client *c = *state;

	fs_reset(c->fs);
	go_on(c);
	assert_int_equal(getattr(c, ROOT), -EIO);
	assert_int_equal(fs_init(c, 0), 0);
	assert_int_equal(getattr(c, ROOT), 0);
}

/* Names of the directory from offset on; where it ends. */
static uint64_t list(struct fs_client *c, uint64_t node, uint64_t fh, uint64_t offset,
		     uint32_t size, char names[256])
{
	struct fuse_read_in in = { .fh = fh, .offset = offset, .size = size };

	assert_int_equal(fs_call(c, FUSE_READDIR, node, &in, sizeof(in), NULL, NULL), 0);
	for (size_t at = 0; at < c->answered;) {
		struct fuse_dirent entry;

		memcpy(&entry, c->answer.data + at, FUSE_NAME_OFFSET);
		if (c->answer.data[at + FUSE_NAME_OFFSET] != '.')
			names[c->answer.data[at + FUSE_NAME_OFFSET]]++;
		offset = entry.off;
		at += FUSE_DIRENT_ALIGN(FUSE_NAME_OFFSET + entry.namelen);
	}
	return offset;
}

static void directories_are_read_on(void **state)
{
	struct fs_client *c = *state;
	char names[256] = { 0 }, name[] = "?";
	uint64_t dir, fh, root_fh, offset;

	fs_host_write(c, "dir", NULL);
	for (int i = 'a'; i <= 'z'; i++) {
		char path[] = "dir/?";

		path[4] = (char)i;
		fs_host_write(c, path, "");
	}
	dir = fs_lookup(c, ROOT, "dir");
	fh = fs_opendir(c, dir);
	root_fh = fs_opendir(c, ROOT);
	offset = list(c, dir, fh, 0, 300, names);
	go_on(c);
	for (int i = 0; i < 3; i++)
		offset = list(c, dir, fh, offset, 300, names);
	go_on(c);
	list(c, dir, fh, offset, 4096, names);
	for (name[0] = 'a'; name[0] <= 'z'; name[0]++)
		assert_int_equal(names[(int)name[0]], 1);
	list(c, ROOT, root_fh, 0, 4096, names);
	assert_int_equal(names['d'], 2);
	fs_release(c, dir, fh);
	fs_release(c, ROOT, root_fh);
}

/* ---- files without a name ----------------------------------------------------------------------- */

#define FAR (UINT64_C(3) << 30)

static void a_removed_file_lives_on(void **state)
{
	struct fs_client *c = *state;
	struct timespec times[2] = { { .tv_sec = 1000, .tv_nsec = 5 },
				     { .tv_sec = 2000, .tv_nsec = 7 } };
	uint64_t node, fh, again;
	struct fuse_attr attr;
	struct stat st;
	bool has_xattr;
	int fd;

	fh = fs_create(c, ROOT, "file", O_RDWR, 0600, &node);
	again = fs_open(c, node, O_RDONLY);
	assert_int_equal(fs_write(c, node, fh, 0, "begin", 5, 0, 0), 5);
	assert_int_equal(fs_write(c, node, fh, FAR, "end", 3, 0, 0), 3);
	has_xattr = fs_setxattr(c, node, "user.test", "value", 5, 0) == 0;
	fd = openat(c->tree, "file", O_RDONLY | O_CLOEXEC);
	assert_int_equal(fchmod(fd, 04751), 0);
	assert_int_equal(futimens(fd, times), 0);
	close(fd);
	assert_int_equal(fs_call(c, FUSE_UNLINK, ROOT, NULL, 0, "file", NULL), 0);
	for (int i = 0; i < 2; i++) {
		int saved = fs_save(c);

		assert_int_equal(fstat(saved, &st), 0);
		assert_true(st.st_size < 100000);
		copy_tree(c);
		fs_load(c, saved);
		fs_getattr(c, node, &attr);
		assert_int_equal(attr.nlink, 0);
		assert_int_equal(attr.mode, S_IFREG | 04751);
		assert_int_equal(attr.size, FAR + 3);
		assert_int_equal(attr.mtime, 2000);
		assert_int_equal(attr.mtimensec, 7);
		assert_true(attr.blocks < 2048);
		assert_int_equal(fs_read(c, node, fh, FAR - 1, 10), 4);
		assert_memory_equal(c->answer.data, "\0end", 4);
		assert_int_equal(fs_read(c, node, again, 0, 6), 6);
		assert_memory_equal(c->answer.data, "begin", 6);
		if (has_xattr) {
			assert_int_equal(fs_getxattr(c, node, "user.test", 100), 0);
			assert_int_equal(c->answered, 5);
			assert_memory_equal(c->answer.data, "value", 5);
		}
		fs_host_run(c, "rm -r old && test -z \"$(ls -A tree)\"");
	}
	/* One file, however often it is open. */
	assert_int_equal(fs_write(c, node, fh, 0, "BEGIN", 5, 0, 0), 5);
	assert_int_equal(fs_read(c, node, again, 0, 5), 5);
	assert_memory_equal(c->answer.data, "BEGIN", 5);
	fs_release(c, node, fh);
	fs_release(c, node, again);
	fs_forget(c, node, 1);
	assert_int_equal(c->fs->nodes.count, 1);
}

static void a_file_that_never_had_a_name_lives_on(void **state)
{
	struct fs_client *c = *state;
	struct fuse_create_in in = { .flags = O_RDWR, .mode = S_IFREG | 0644 };
	struct fuse_link_in link = { 0 };
	struct fuse_entry_out entry;
	struct fuse_open_out out;
	int r = fs_call(c, FUSE_TMPFILE, ROOT, &in, sizeof(in), "/", NULL);

	if (r == -EOPNOTSUPP)
		skip();
	assert_int_equal(r, 0);
	memcpy(&entry, c->answer.data, sizeof(entry));
	memcpy(&out, c->answer.data + sizeof(entry), sizeof(out));
	assert_int_equal(fs_write(c, entry.nodeid, out.fh, 0, "text", 4, 0, 0), 4);
	go_on(c);
	assert_content(c, entry.nodeid, out.fh, "text");
	link.oldnodeid = entry.nodeid;
	assert_int_equal(fs_call(c, FUSE_LINK, ROOT, &link, sizeof(link), "name", NULL), 0);
	go_on(c);
	assert_content(c, entry.nodeid, out.fh, "text");
	fs_host_run(c, "test \"$(cat tree/name)\" = text");
}

/* Another file has its name by now. */
static void a_replaced_file_lives_on(void **state)
{
	struct fs_client *c = *state;
	uint64_t node, fh = fs_create(c, ROOT, "file", O_RDWR, 0600, &node), other;

	assert_int_equal(fs_write(c, node, fh, 0, "old", 3, 0, 0), 3);
	fs_host_run(c, "echo -n new >tree/other && mv tree/other tree/file");
	go_on(c);
	assert_content(c, node, fh, "old");
	other = fs_lookup(c, ROOT, "file");
	assert_int_not_equal(other, node);
	assert_content(c, other, fs_open(c, other, O_RDONLY), "new");
}

/* There, a file of the lower layer keeps its link when it is removed. */
static void a_file_that_an_overlay_removed_lives_on(void **state)
{
	struct fs_client *c = *state;
	uint64_t node, fh;
	char options[512];
	int r = -1, saved;

	fs_host_run(c, "mkdir lower upper work && echo -n text >lower/file");
	snprintf(options, sizeof(options), "lowerdir=%s/lower,upperdir=%s/upper,workdir=%s/work",
		 c->path, c->path, c->path);
	if (chdir(c->path) == 0)
		r = mount("overlay", "tree", "overlay", 0, options);
	if (r < 0)
		skip();
	close(c->tree);
	c->tree = openat(c->base, "tree", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	/* It lives as long as somebody has it open. */
	assert_int_equal(umount2("tree", MNT_DETACH), 0);
	assert_int_equal(chdir("/"), 0);
	fs_free(c->fs);
	c->fs = fs_new_server(c);
	assert_int_equal(fs_init(c, UINT64_C(0xffffffff)), 0);
	node = fs_lookup(c, ROOT, "file");
	fh = fs_open(c, node, O_RDONLY);
	assert_int_equal(fs_call(c, FUSE_UNLINK, ROOT, NULL, 0, "file", NULL), 0);
	saved = fs_save(c);
	fs_load(c, saved);
	assert_content(c, node, fh, "text");
}

static void a_removed_directory_is_stale(void **state)
{
	struct fs_client *c = *state;
	uint64_t dir = fs_mkdir(c, ROOT, "dir", 0755), fh = fs_opendir(c, dir);
	struct fuse_read_in in = { .fh = fh, .size = 4096 };

	assert_int_equal(fs_call(c, FUSE_RMDIR, ROOT, NULL, 0, "dir", NULL), 0);
	for (int i = 0; i < 2; i++) {
		go_on(c);
		assert_int_equal(getattr(c, dir), -ESTALE);
		assert_int_equal(fs_call(c, FUSE_READDIR, dir, &in, sizeof(in), NULL, NULL),
				 -EBADF);
	}
	fs_release(c, dir, fh);
	fs_forget(c, dir, 1);
	assert_int_equal(c->fs->nodes.count, 1);
}

/* ---- what is not there any more ----------------------------------------------------------------- */

static void an_open_file_that_is_missing_is_an_error(void **state)
{
	struct fs_client *c = *state;
	struct error err;
	uint64_t dir, file;
	int saved;

	fs_host_run(c, "mkdir -p tree/var/log && echo x >tree/var/log/x");
	dir = fs_lookup(c, fs_lookup(c, ROOT, "var"), "log");
	file = fs_lookup(c, dir, "x");
	fs_open(c, file, O_RDONLY);
	saved = fs_save(c);
	fs_host_run(c, "mv tree/var/log/x tree/var/log/y");
	assert_int_equal(fs_try_load(c, saved, &err), -ENOENT);
	assert_string_equal(err.text, "the open file `/var/log/x` is missing");
	/* What failed left nothing. */
	assert_int_equal(c->fs->nodes.count, 1);
	assert_int_equal(c->fs->files.used, 0);
	assert_int_equal(getattr(c, ROOT), -EIO);
	/* Another type, and a directory above. */
	fs_host_run(c, "mkdir tree/var/log/x");
	assert_int_equal(fs_try_load(c, saved, &err), -ENOENT);
	assert_string_equal(err.text, "the open file `/var/log/x` is missing");
	fs_host_run(c, "mv tree/var tree/rav");
	assert_int_equal(fs_try_load(c, saved, &err), -ENOENT);
	assert_string_equal(err.text, "the open file `/var/log/x` is missing");
	/* No link is followed. */
	fs_host_run(c,
		    "ln -s rav tree/var; rmdir tree/rav/log/x; mv tree/rav/log/y tree/rav/log/x");
	assert_int_equal(fs_try_load(c, saved, &err), -ENOENT);
	fs_host_run(c, "rm tree/var; mv tree/rav tree/var");
	fs_load(c, saved);
	assert_int_equal(fs_lookup(c, dir, "x"), file);
}

static void what_is_only_known_may_be_gone(void **state)
{
	struct fs_client *c = *state;
	uint64_t gone, other, dir, below, kept, made;
	struct fuse_mkdir_in mkdir_in = { .mode = 0755 };
	struct fuse_entry_out entry;
	int saved;

	fs_host_run(
		c,
		"cd tree && touch gone other made && mkdir -p dir/sub && touch dir/sub/file kept");
	gone = fs_lookup(c, ROOT, "gone");
	other = fs_lookup(c, ROOT, "other");
	dir = fs_lookup(c, ROOT, "dir");
	below = fs_lookup(c, fs_lookup(c, dir, "sub"), "file");
	kept = fs_lookup(c, ROOT, "kept");
	made = fs_lookup(c, ROOT, "made");
	saved = fs_save(c);
	fs_host_run(c, "cd tree && rm gone other made && ln -s kept other && mv dir rid");
	fs_load(c, saved);
	assert_int_equal(getattr(c, gone), -ESTALE);
	assert_int_equal(getattr(c, other), -ESTALE);
	assert_int_equal(getattr(c, below), -ESTALE);
	assert_int_equal(getattr(c, kept), 0);
	/* And stays so, whatever gets the name later. */
	fs_host_run(c, "cd tree && touch gone && mv rid dir");
	assert_int_equal(getattr(c, gone), -ESTALE);
	assert_int_not_equal(fs_lookup(c, ROOT, "gone"), gone);
	assert_int_equal(getattr(c, below), -ESTALE);
	assert_int_not_equal(fs_lookup(c, ROOT, "other"), other);
	/* A new file is not taken for the one that was known by its name. */
	fs_create(c, ROOT, "made", O_RDWR, 0644, &gone);
	assert_int_not_equal(gone, made);
	assert_int_equal(getattr(c, made), -ESTALE);
	assert_int_equal(fs_call(c, FUSE_MKDIR, ROOT, &mkdir_in, sizeof(mkdir_in), "new", NULL), 0);
	memcpy(&entry, c->answer.data, sizeof(entry));
	saved = fs_save(c);
	fs_host_run(c, "rmdir tree/new");
	fs_load(c, saved);
	assert_int_equal(fs_call(c, FUSE_MKDIR, ROOT, &mkdir_in, sizeof(mkdir_in), "new", NULL), 0);
	assert_int_equal(getattr(c, entry.nodeid), -ESTALE);
}

static void what_was_not_looked_at_can_be_renamed(void **state)
{
	struct fs_client *c = *state;
	struct fuse_rename_in in = { .newdir = ROOT };
	uint64_t a, b, dir, file;

	fs_host_run(c, "cd tree && echo -n a >a && echo -n b >b && mkdir dir && echo -n f >dir/f");
	a = fs_lookup(c, ROOT, "a");
	b = fs_lookup(c, ROOT, "b");
	dir = fs_lookup(c, ROOT, "dir");
	file = fs_lookup(c, dir, "f");
	go_on(c);
	assert_int_equal(fs_call(c, FUSE_RENAME, ROOT, &in, sizeof(in), "a", "b"), 0);
	assert_int_equal(fs_call(c, FUSE_RENAME, ROOT, &in, sizeof(in), "dir", "moved"), 0);
	assert_content(c, a, fs_open(c, a, O_RDONLY), "a");
	assert_content(c, file, fs_open(c, file, O_RDONLY), "f");
	/* The replaced one lives on with the guest alone. */
	assert_content(c, b, fs_open(c, b, O_RDONLY), "b");
	go_on(c);
	assert_int_equal(fs_lookup(c, ROOT, "b"), a);
	assert_int_equal(fs_lookup(c, fs_lookup(c, ROOT, "moved"), "f"), file);
	assert_content(c, b, fs_open(c, b, O_RDONLY), "b");
}

static void what_the_host_renamed_is_found(void **state)
{
	struct fs_client *c = *state;
	uint64_t node, fh = fs_create(c, ROOT, "file", O_RDWR, 0600, &node), dir, dir_fh;
	uint64_t known = fs_mkdir(c, ROOT, "known", 0755);

	dir = fs_mkdir(c, ROOT, "dir", 0755);
	dir_fh = fs_opendir(c, dir);
	fs_host_run(
		c,
		"mkdir -p tree/a/b && mv tree/file tree/a/b/new && mv tree/dir tree/known/moved");
	for (int i = 0; i < 2; i++) {
		go_on(c);
		assert_int_equal(fs_write(c, node, fh, 0, "x", 1, 0, 0), 1);
		fs_host_run(c, "test \"$(cat tree/a/b/new)\" = x");
		assert_int_equal(fs_lookup(c, known, "moved"), dir);
		assert_int_equal(getattr(c, dir), 0);
	}
	/* What was found on the way is not held for longer. */
	fs_release(c, node, fh);
	fs_forget(c, node, 1);
	fs_release(c, dir, dir_fh);
	fs_forget(c, dir, 3);
	fs_forget(c, known, 1);
	assert_int_equal(c->fs->nodes.count, 1);
}

static void an_open_file_with_an_unknown_name_cannot_be_saved(void **state)
{
	struct fs_client *c = *state;
	struct error err = { 0 };
	uint64_t node, fh = fs_create(c, ROOT, "file", O_RDWR, 0600, &node);
	int fd = fs_new_state();

	fs_host_run(c, "ln tree/file tree/other && rm tree/file");
	assert_int_equal(fs_state_save(c->fs, fd, &err), -EBUSY);
	assert_non_null(strstr(err.text, "`/file`"));
	close(fd);
	/* The server goes on, and where it learns the name, it can. */
	assert_int_equal(fs_lookup(c, ROOT, "other"), node);
	go_on(c);
	assert_int_equal(fs_write(c, node, fh, 0, "x", 1, 0, 0), 1);
	/* The same by the guest. */
	fs_host_run(c, "ln tree/other tree/third");
	assert_int_equal(fs_call(c, FUSE_UNLINK, ROOT, NULL, 0, "other", NULL), 0);
	fd = fs_new_state();
	assert_int_equal(fs_state_save(c->fs, fd, &err), -EBUSY);
	assert_non_null(strstr(err.text, "inode"));
	close(fd);
}

static void many_nodes_are_quick(void **state)
{
	struct fs_client *c = *state;
	uint64_t nodes[1000], dir;

	fs_host_run(c, "mkdir -p tree/a/b/c && cd tree/a/b/c && seq 0 999 | xargs touch");
	dir = fs_lookup(c, fs_lookup(c, fs_lookup(c, ROOT, "a"), "b"), "c");
	for (int i = 0; i < 1000; i++) {
		char name[16];

		snprintf(name, sizeof(name), "%d", i);
		nodes[i] = fs_lookup(c, dir, name);
	}
	go_on(c);
	/* None was opened that is not open. */
	assert_int_equal(c->fs->nodes.fds, 0);
	assert_int_equal(c->fs->nodes.count, 1004);
	for (int i = 0; i < 1000; i++)
		assert_int_equal(getattr(c, nodes[i]), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		fs_test(open_files_go_on),
		fs_test(open_files_go_on_in_a_copy),
		fs_test(lookups_are_counted_on),
		fs_test(a_server_that_nobody_used_has_a_state),
		fs_test(directories_are_read_on),
		fs_test(a_removed_file_lives_on),
		fs_test(a_file_that_never_had_a_name_lives_on),
		fs_test(a_replaced_file_lives_on),
		fs_test(a_file_that_an_overlay_removed_lives_on),
		fs_test(a_removed_directory_is_stale),
		fs_test(an_open_file_that_is_missing_is_an_error),
		fs_test(what_is_only_known_may_be_gone),
		fs_test(what_was_not_looked_at_can_be_renamed),
		fs_test(what_the_host_renamed_is_found),
		fs_test(an_open_file_with_an_unknown_name_cannot_be_saved),
		fs_test(many_nodes_are_quick),
	};

	return cmocka_run_group_tests_name("fs_state", tests, NULL, NULL);
}
