/* SPDX-License-Identifier: Apache-2.0 */
/* The file server: what it knows is saved, and another one, on the same tree or a copy of it, goes on from there. */
#include "tests/unit/fs_client.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/remove.h"
#include "microvm/fs_ghost.h"
#include "microvm/fs_path.h"
#include "microvm/fs_request.h"
#include "microvm/fs_state.h"

#define ROOT FUSE_ROOT_ID

/* ---- saving and loading ------------------------------------------------------------------------- */

static int new_state(void)
{
	int fd = memfd_create("state", MFD_CLOEXEC);

	assert_true(fd >= 0);
	return fd;
}

static int save(struct fs_client *c)
{
	struct error err = { 0 };
	int fd = new_state();

	if (fs_state_save(c->fs, fd, &err) < 0)
		fail_msg("%s", err.text);
	return fd;
}

static struct fs *new_server(struct fs_client *c)
{
	struct fs_config config;
	struct error err = { 0 };
	struct fs *fs;

	fs_config_init(&config);
	config.root = fcntl(c->tree, F_DUPFD_CLOEXEC, 0);
	config.descriptors = fs_open_descriptors(-1, &err);
	fs = fs_new(&config, &err);
	if (!fs)
		fail_msg("%s", err.text);
	return fs;
}

/* Another server in the place of the client's, on what T/tree is now. */
static int try_load(struct fs_client *c, int state, struct error *err)
{
	*err = (struct error){ 0 };
	fs_free(c->fs);
	close(c->tree);
	c->tree = openat(c->base, "tree", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(c->tree >= 0);
	c->fs = new_server(c);
	return fs_state_load(c->fs, state, err);
}

static void load(struct fs_client *c, int state)
{
	struct error err;

	if (try_load(c, state, &err) < 0)
		fail_msg("%s", err.text);
	close(state);
}

static void go_on(struct fs_client *c)
{
	load(c, save(c));
}

static void run(struct fs_client *c, const char *command)
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		if (fchdir(c->base) == 0)
			execl("/bin/sh", "sh", "-c", command, NULL);
		_exit(127);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

/* Each file in T/tree has another inode from now on. */
static void copy_tree(struct fs_client *c)
{
	run(c, "cp -a tree copy && mv tree old && mv copy tree");
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
		int state = save(c);

		if (copy)
			run(c, "rm -rf old && cp -a tree copy && mv tree old && mv copy tree");
		load(c, state);
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
	for (char i = 'a'; i <= 'z'; i++) {
		char path[] = "dir/?";

		path[4] = i;
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
		int saved = save(c);

		assert_int_equal(fstat(saved, &st), 0);
		assert_true(st.st_size < 100000);
		copy_tree(c);
		load(c, saved);
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
		run(c, "rm -r old && test -z \"$(ls -A tree)\"");
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
	run(c, "test \"$(cat tree/name)\" = text");
}

/* Another file has its name by now. */
static void a_replaced_file_lives_on(void **state)
{
	struct fs_client *c = *state;
	uint64_t node, fh = fs_create(c, ROOT, "file", O_RDWR, 0600, &node), other;

	assert_int_equal(fs_write(c, node, fh, 0, "old", 3, 0, 0), 3);
	run(c, "echo -n new >tree/other && mv tree/other tree/file");
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

	run(c, "mkdir lower upper work && echo -n text >lower/file");
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
	c->fs = new_server(c);
	assert_int_equal(fs_init(c, UINT64_C(0xffffffff)), 0);
	node = fs_lookup(c, ROOT, "file");
	fh = fs_open(c, node, O_RDONLY);
	assert_int_equal(fs_call(c, FUSE_UNLINK, ROOT, NULL, 0, "file", NULL), 0);
	saved = save(c);
	load(c, saved);
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

	run(c, "mkdir -p tree/var/log && echo x >tree/var/log/x");
	dir = fs_lookup(c, fs_lookup(c, ROOT, "var"), "log");
	file = fs_lookup(c, dir, "x");
	fs_open(c, file, O_RDONLY);
	saved = save(c);
	run(c, "mv tree/var/log/x tree/var/log/y");
	assert_int_equal(try_load(c, saved, &err), -ENOENT);
	assert_string_equal(err.text, "the open file `/var/log/x` is missing");
	/* What failed left nothing. */
	assert_int_equal(c->fs->nodes.count, 1);
	assert_int_equal(c->fs->files.used, 0);
	assert_int_equal(getattr(c, ROOT), -EIO);
	/* Another type, and a directory above. */
	run(c, "mkdir tree/var/log/x");
	assert_int_equal(try_load(c, saved, &err), -ENOENT);
	assert_string_equal(err.text, "the open file `/var/log/x` is missing");
	run(c, "mv tree/var tree/rav");
	assert_int_equal(try_load(c, saved, &err), -ENOENT);
	assert_string_equal(err.text, "the open file `/var/log/x` is missing");
	/* No link is followed. */
	run(c, "ln -s rav tree/var; rmdir tree/rav/log/x; mv tree/rav/log/y tree/rav/log/x");
	assert_int_equal(try_load(c, saved, &err), -ENOENT);
	run(c, "rm tree/var; mv tree/rav tree/var");
	load(c, saved);
	assert_int_equal(fs_lookup(c, dir, "x"), file);
}

static void what_is_only_known_may_be_gone(void **state)
{
	struct fs_client *c = *state;
	uint64_t gone, other, dir, below, kept, made;
	struct fuse_mkdir_in mkdir_in = { .mode = 0755 };
	struct fuse_entry_out entry;
	int saved;

	run(c, "cd tree && touch gone other made && mkdir -p dir/sub && touch dir/sub/file kept");
	gone = fs_lookup(c, ROOT, "gone");
	other = fs_lookup(c, ROOT, "other");
	dir = fs_lookup(c, ROOT, "dir");
	below = fs_lookup(c, fs_lookup(c, dir, "sub"), "file");
	kept = fs_lookup(c, ROOT, "kept");
	made = fs_lookup(c, ROOT, "made");
	saved = save(c);
	run(c, "cd tree && rm gone other made && ln -s kept other && mv dir rid");
	load(c, saved);
	assert_int_equal(getattr(c, gone), -ESTALE);
	assert_int_equal(getattr(c, other), -ESTALE);
	assert_int_equal(getattr(c, below), -ESTALE);
	assert_int_equal(getattr(c, kept), 0);
	/* And stays so, whatever gets the name later. */
	run(c, "cd tree && touch gone && mv rid dir");
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
	saved = save(c);
	run(c, "rmdir tree/new");
	load(c, saved);
	assert_int_equal(fs_call(c, FUSE_MKDIR, ROOT, &mkdir_in, sizeof(mkdir_in), "new", NULL), 0);
	assert_int_equal(getattr(c, entry.nodeid), -ESTALE);
}

static void what_was_not_looked_at_can_be_renamed(void **state)
{
	struct fs_client *c = *state;
	struct fuse_rename_in in = { .newdir = ROOT };
	uint64_t a, b, dir, file;

	run(c, "cd tree && echo -n a >a && echo -n b >b && mkdir dir && echo -n f >dir/f");
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

static void an_open_file_that_the_host_renamed_cannot_be_saved(void **state)
{
	struct fs_client *c = *state;
	struct error err = { 0 };
	uint64_t node, fh = fs_create(c, ROOT, "file", O_RDWR, 0600, &node);
	int fd = new_state();

	run(c, "mv tree/file tree/renamed");
	assert_int_equal(fs_state_save(c->fs, fd, &err), -EBUSY);
	assert_non_null(strstr(err.text, "`/file`"));
	/* The server goes on, and where it learns the name, it can. */
	assert_int_equal(fs_lookup(c, ROOT, "renamed"), node);
	close(fd);
	go_on(c);
	assert_int_equal(fs_write(c, node, fh, 0, "x", 1, 0, 0), 1);
	close(save(c));
}

static void many_nodes_are_quick(void **state)
{
	struct fs_client *c = *state;
	uint64_t nodes[1000], dir;

	run(c, "mkdir -p tree/a/b/c && cd tree/a/b/c && seq 0 999 | xargs touch");
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

/* ---- hostile files ------------------------------------------------------------------------------ */

/* Whatever came of it, the server goes on. */
static void load_bytes(struct fs_client *c, const uint8_t *bytes, size_t size)
{
	struct fuse_read_in in = { .size = 4096 };
	struct error err = { 0 };
	int fd = new_state(), r;

	assert_int_equal(pwrite(fd, bytes, size, 0), size);
	r = fs_state_load(c->fs, fd, &err);
	if (r < 0) {
		assert_int_equal(err.code, -r);
		assert_int_not_equal(err.text[0], 0);
		assert_int_equal(c->fs->nodes.count, 1);
		assert_int_equal(c->fs->files.used, 0);
	}
	for (uint64_t node = 1; node < 8; node++) {
		(void)getattr(c, node);
		(void)fs_call(c, FUSE_READDIR, node, &in, sizeof(in), NULL, NULL);
		fs_forget(c, node, 3);
	}
	close(fd);
	fd = new_state();
	(void)fs_state_save(c->fs, fd, &err);
	close(fd);
	fs_reset(c->fs);
}

/* A directory, a file in it that is open, one that has no name, a stale directory, and the root open. */
static size_t make_state(struct fs_client *c, uint8_t *bytes, size_t room)
{
	uint64_t dir, node, fh;
	struct fuse_attr attr;
	ssize_t size;
	int fd;

	run(c, "mkdir tree/dir tree/gone && echo -n hello >tree/dir/file");
	dir = fs_lookup(c, ROOT, "dir");
	fs_open(c, fs_lookup(c, dir, "file"), O_RDWR);
	fh = fs_create(c, ROOT, "nameless", O_RDWR, 0644, &node);
	assert_int_equal(fs_write(c, node, fh, 10, "text", 4, 0, 0), 4);
	(void)fs_setxattr(c, node, "user.a", "b", 1, 0);
	assert_int_equal(fs_call(c, FUSE_UNLINK, ROOT, NULL, 0, "nameless", NULL), 0);
	fs_opendir(c, ROOT);
	fs_opendir(c, fs_lookup(c, ROOT, "gone"));
	assert_int_equal(fs_call(c, FUSE_RMDIR, ROOT, NULL, 0, "gone", NULL), 0);
	fs_getattr(c, node, &attr);
	fd = save(c);
	size = pread(fd, bytes, room, 0);
	assert_true(size > 0 && (size_t)size < room);
	close(fd);
	fs_free(c->fs);
	c->fs = new_server(c);
	return (size_t)size;
}

static void a_state_that_is_cut_off_is_refused(void **state)
{
	struct fs_client *c = *state;
	uint8_t bytes[4096];
	size_t size = make_state(c, bytes, sizeof(bytes));
	struct error err = { 0 };

	for (size_t i = 0; i < size; i++) {
		int fd = new_state();

		assert_int_equal(pwrite(fd, bytes, i, 0), i);
		assert_int_equal(fs_state_load(c->fs, fd, &err), -EBADMSG);
		assert_int_equal(c->fs->nodes.count, 1);
		close(fd);
		load_bytes(c, bytes, i);
	}
	load_bytes(c, bytes, size);
}

static void a_state_with_other_bytes_does_no_harm(void **state)
{
	static const uint8_t values[] = { 0x01, 0x80, 0xff };
	struct fs_client *c = *state;
	uint8_t bytes[4096];
	size_t size = make_state(c, bytes, sizeof(bytes));

	for (size_t i = 0; i < size; i++)
		for (size_t k = 0; k < ARRAY_SIZE(values); k++) {
			bytes[i] ^= values[k];
			load_bytes(c, bytes, size);
			bytes[i] ^= values[k];
		}
	run(c, "test ! -e tree/nameless && test \"$(cat tree/dir/file)\" = hello");
}

/* ---- one thing wrong ---- */

struct crafted {
	struct fs_state_header header;
	struct fs_saved_node root;
	struct {
		struct fs_saved_node node;
		char name[8];
	} a, b;
	struct fs_saved_slot slots[2];
};

static struct crafted craft(void)
{
	struct crafted s = {
		.header = { .magic = FS_STATE_MAGIC,
			    .version = FS_STATE_VERSION,
			    .initialised = 1,
			    .next_id = 10,
			    .nodes = 3,
			    .slots = 2 },
		.root = { .id = 1, .nlookup = 1, .type = S_IFDIR, .kind = FS_SAVED_ROOT },
		.a = { { .id = 2,
			 .nlookup = 1,
			 .parent = 1,
			 .type = S_IFDIR,
			 .name_size = 8,
			 .kind = FS_SAVED_NAMED },
		       "director" },
		.b = { { .id = 3,
			 .nlookup = 1,
			 .parent = 2,
			 .type = S_IFREG,
			 .name_size = 8,
			 .kind = FS_SAVED_NAMED },
		       "the-file" },
		.slots = { { .node = 3, .flags = O_RDWR }, { .generation = 7 } },
	};

	return s;
}

static int try_crafted(struct fs_client *c, const struct crafted *s)
{
	struct error err = { 0 };
	int fd = new_state(), r;

	assert_int_equal(pwrite(fd, s, sizeof(*s), 0), sizeof(*s));
	r = fs_state_load(c->fs, fd, &err);
	close(fd);
	if (r == 0)
		fs_reset(c->fs);
	assert_int_equal(c->fs->nodes.count, 1);
	return r;
}

#define REFUSED(change)                                         \
	do {                                                    \
		struct crafted s = craft();                     \
		change;                                         \
		assert_int_equal(try_crafted(c, &s), -EBADMSG); \
	} while (0)

static void what_makes_no_sense_is_refused(void **state)
{
	struct fs_client *c = *state;
	struct crafted good = craft();

	run(c, "mkdir tree/director && touch tree/director/the-file");
	assert_int_equal(try_crafted(c, &good), 0);
	REFUSED(s.header.magic[0] = 'H');
	REFUSED(s.header.version++);
	REFUSED(s.header.next_id = 3);
	REFUSED(s.header.ghosts = 1);
	REFUSED(s.header.nodes = 0);
	REFUSED(s.root.id = 2);
	REFUSED(s.root.kind = FS_SAVED_NAMED);
	/* Twice the same number, the root's, one beyond the last. */
	REFUSED(s.b.node.id = 2);
	REFUSED(s.b.node.id = 1);
	REFUSED(s.b.node.id = 0);
	REFUSED(s.b.node.id = 10);
	/* Parents: none, itself, one that comes later (so that there could be a circle), a file. */
	REFUSED(s.b.node.parent = 0);
	REFUSED(s.b.node.parent = 3);
	REFUSED(s.a.node.parent = 2);
	REFUSED(s.a.node.parent = 3);
	REFUSED(s.a.node.type = S_IFREG);
	/* Names. */
	REFUSED(s.b.name[3] = '/');
	REFUSED(s.b.name[3] = '\0');
	REFUSED(s.b.node.name_size = 0);
	REFUSED(s.b.node.name_size = 300);
	REFUSED(s.b.node.kind = FS_SAVED_STALE);
	REFUSED(s.b.node.kind = FS_SAVED_KINDS);
	REFUSED(s.b.node.kind = FS_SAVED_ROOT);
	REFUSED(s.b.node.kind = FS_SAVED_GHOST);
	REFUSED(s.b.node.type = 0);
	REFUSED(s.b.node.type = S_IFREG | 0644);
	REFUSED(s.b.node.nlookup = UINT64_MAX);
	/* Open files. */
	REFUSED(s.slots[0].node = 9);
	REFUSED(s.slots[0].flags = O_ACCMODE);
	REFUSED(s.slots[0].position = UINT64_MAX);
	REFUSED(s.b.node.type = S_IFIFO);
	REFUSED(s.header.slots = 3);
	good.header.nodes = FS_NODES_MAX + 1;
	assert_int_equal(try_crafted(c, &good), -ENFILE);
	good = craft();
	good.header.slots = UINT32_MAX;
	assert_int_equal(try_crafted(c, &good), -ENFILE);
	/* Nothing is created or emptied by what a file says that it was opened with. */
	good = craft();
	run(c, "echo text >tree/director/the-file");
	good.slots[0].flags |= O_TRUNC | O_CREAT | O_EXCL;
	assert_int_equal(try_crafted(c, &good), 0);
	run(c, "test \"$(cat tree/director/the-file)\" = text");
	memcpy(good.b.name, "../../..", 8);
	assert_int_equal(try_crafted(c, &good), -EBADMSG);
}

static void a_read_only_server_opens_nothing_for_writing(void **state)
{
	struct fs_client *c = *state;
	struct crafted s = craft();

	run(c, "mkdir tree/director && touch tree/director/the-file");
	c->fs->read_only = true;
	assert_int_equal(try_crafted(c, &s), -EROFS);
	s.slots[0].flags = O_RDONLY;
	assert_int_equal(try_crafted(c, &s), 0);
}

static void the_state_is_a_regular_file(void **state)
{
	struct fs_client *c = *state;
	struct error err = { 0 };
	int fds[2];

	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	assert_int_equal(fs_state_save(c->fs, fds[1], &err), -EINVAL);
	assert_int_equal(fs_state_load(c->fs, fds[0], &err), -EINVAL);
	close(fds[0]);
	close(fds[1]);
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
		fs_test(an_open_file_that_the_host_renamed_cannot_be_saved),
		fs_test(many_nodes_are_quick),
		fs_test(a_state_that_is_cut_off_is_refused),
		fs_test(a_state_with_other_bytes_does_no_harm),
		fs_test(what_makes_no_sense_is_refused),
		fs_test(a_read_only_server_opens_nothing_for_writing),
		fs_test(the_state_is_a_regular_file),
	};

	return cmocka_run_group_tests_name("fs_state", tests, NULL, NULL);
}
