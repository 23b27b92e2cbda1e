/* SPDX-License-Identifier: Apache-2.0 */
/* The file server: finding, making, linking, renaming and removing files. */
#include "tests/unit/fs_client.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define ROOT FUSE_ROOT_ID

static void a_name_leads_to_one_node(void **state)
{
	struct fs_client *c = *state;
	struct fuse_entry_out entry, again;
	struct stat st;

	fs_host_write(c, "file", "hello");
	fs_host_stat(c, "file", &st);
	assert_int_equal(fs_try_lookup(c, ROOT, "file", &entry), 0);
	assert_int_equal(entry.attr.ino, st.st_ino);
	assert_int_equal(entry.attr.size, 5);
	assert_int_equal(entry.attr.mode, S_IFREG | 0644);
	assert_int_equal(entry.attr.nlink, 1);
	assert_int_equal(entry.attr.mtime, st.st_mtim.tv_sec);
	assert_int_equal(entry.attr.mtimensec, st.st_mtim.tv_nsec);
	/* A second, at most, until the host's changes show. */
	assert_int_equal(entry.entry_valid, 1);
	assert_int_equal(entry.attr_valid, 1);
	assert_int_equal(entry.entry_valid_nsec + entry.attr_valid_nsec, 0);
	assert_int_equal(fs_try_lookup(c, ROOT, "file", &again), 0);
	assert_int_equal(again.nodeid, entry.nodeid);
	/* Another name of the same file. */
	assert_int_equal(linkat(c->tree, "file", c->tree, "other", 0), 0);
	assert_int_equal(fs_lookup(c, ROOT, "other"), entry.nodeid);
	/* It is forgotten after as many as were counted, and is another one then. */
	fs_forget(c, entry.nodeid, 2);
	assert_int_equal(fs_lookup(c, ROOT, "file"), entry.nodeid);
	fs_forget(c, entry.nodeid, 2);
	assert_int_not_equal(fs_lookup(c, ROOT, "file"), entry.nodeid);
}

static void what_is_not_there_is_not_there_for_a_while(void **state)
{
	struct fs_client *c = *state;
	struct fuse_entry_out entry;

	assert_int_equal(fs_call(c, FUSE_LOOKUP, ROOT, NULL, 0, "none", NULL), 0);
	memcpy(&entry, c->answer.data, sizeof(entry));
	assert_int_equal(entry.nodeid, 0);
	assert_int_equal(entry.entry_valid, 1);
	fs_host_write(c, "file", "");
	assert_int_equal(fs_try_lookup(c, fs_lookup(c, ROOT, "file"), "x", &entry), -ENOTDIR);
}

static void many_are_forgotten_at_once(void **state)
{
	struct fs_client *c = *state;
	struct {
		struct fuse_batch_forget_in in;
		struct fuse_forget_one one[3];
	} batch = { .in.count = 3 };
	struct fuse_getattr_in in = { 0 };

	fs_host_write(c, "a", "");
	fs_host_write(c, "b", "");
	batch.one[0] = (struct fuse_forget_one){ fs_lookup(c, ROOT, "a"), 1 };
	batch.one[1] = (struct fuse_forget_one){ UINT64_MAX, 7 };
	batch.one[2] = (struct fuse_forget_one){ fs_lookup(c, ROOT, "b"), UINT64_MAX };
	assert_int_equal(fs_call(c, FUSE_BATCH_FORGET, 0, &batch, sizeof(batch), NULL, NULL),
			 FS_NO_ANSWER);
	for (int i = 0; i < 3; i += 2)
		assert_int_equal(
			fs_call(c, FUSE_GETATTR, batch.one[i].nodeid, &in, sizeof(in), NULL, NULL),
			-ESTALE);
	/* The root stays, whatever the guest says. */
	fs_forget(c, ROOT, UINT64_MAX);
	fs_getattr(c, ROOT, &(struct fuse_attr){ 0 });
}

static void directories_are_made_and_removed(void **state)
{
	struct fs_client *c = *state;
	uint64_t a, b;
	struct stat st;

	c->umask = 022;
	a = fs_mkdir(c, ROOT, "a", 0777);
	fs_host_stat(c, "a", &st);
	assert_int_equal(st.st_mode, S_IFDIR | 0755);
	b = fs_mkdir(c, a, "b", 01777);
	c->umask = 0;
	fs_mkdir(c, b, "c", 02770); /* as mkdir(2) has it, without S_ISGID */
	fs_host_stat(c, "a/b/c", &st);
	assert_int_equal(st.st_mode, S_IFDIR | 0770);
	assert_int_equal(fs_call(c, FUSE_RMDIR, ROOT, NULL, 0, "a", NULL), -ENOTEMPTY);
	assert_int_equal(fs_call(c, FUSE_UNLINK, a, NULL, 0, "b", NULL), -EISDIR);
	assert_int_equal(fs_call(c, FUSE_RMDIR, b, NULL, 0, "c", NULL), 0);
	assert_int_equal(fs_call(c, FUSE_RMDIR, a, NULL, 0, "b", NULL), 0);
	assert_int_equal(fs_call(c, FUSE_RMDIR, ROOT, NULL, 0, "a", NULL), 0);
	assert_int_equal(faccessat(c->tree, "a", F_OK, 0), -1);
	assert_int_equal(fs_call(c, FUSE_MKDIR, b, &(struct fuse_mkdir_in){ 0755, 0 },
				 sizeof(struct fuse_mkdir_in), "x", NULL),
			 -ENOENT);
}

static void special_files_are_made_and_never_opened(void **state)
{
	static const mode_t types[] = { S_IFIFO, S_IFSOCK, S_IFCHR, S_IFBLK };
	struct fs_client *c = *state;
	struct fuse_entry_out entry;
	struct fuse_open_out out;
	struct stat st;

	for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
		/* Device 1:0x1ff as the kernel packs it: the upper bits of the minor number lie above the major. */
		int r = fs_mknod(c, ROOT, "node", types[i] | 0640, 0x1001ff);

		if (r == -EPERM && i >= 2)
			continue; /* without CAP_MKNOD */
		assert_int_equal(r, 0);
		fs_host_stat(c, "node", &st);
		assert_int_equal(st.st_mode, types[i] | 0640);
		assert_int_equal(fs_try_lookup(c, ROOT, "node", &entry), 0);
		if (i >= 2) {
			assert_int_equal(st.st_rdev, makedev(1, 0x1ff));
			assert_int_equal(entry.attr.rdev, 0x1001ff);
		}
		/* An open(2) of the FIFO on the host would never return. */
		assert_int_equal(fs_try_open(c, entry.nodeid, O_RDONLY, &out), -ENXIO);
		assert_int_equal(fs_try_open(c, entry.nodeid, O_WRONLY, &out), -ENXIO);
		assert_int_equal(
			fs_try_create(c, ROOT, "node", O_WRONLY | O_TRUNC, 0600, &entry, &out),
			-ENXIO);
		assert_int_equal(
			fs_try_create(c, ROOT, "node", O_WRONLY | O_EXCL, 0600, &entry, &out),
			-EEXIST);
		assert_int_equal(fs_call(c, FUSE_UNLINK, ROOT, NULL, 0, "node", NULL), 0);
	}
	assert_int_equal(fs_mknod(c, ROOT, "plain", S_IFREG | 04711, 0), 0);
	fs_host_stat(c, "plain", &st);
	assert_int_equal(st.st_mode, S_IFREG | 04711);
	assert_int_equal(fs_mknod(c, ROOT, "plain", S_IFREG | 0600, 0), -EEXIST);
	assert_int_equal(fs_mknod(c, ROOT, "dir", S_IFDIR | 0755, 0), -EPERM);
}

static void a_symbolic_link_is_only_text(void **state)
{
	struct fs_client *c = *state;
	struct fuse_entry_out entry;
	struct fuse_open_out out;
	char target[4097];

	memset(target, 't', 4095);
	target[4095] = '\0';
	assert_int_equal(fs_call(c, FUSE_SYMLINK, ROOT, NULL, 0, "link", "/etc/../.."), 0);
	assert_int_equal(fs_try_lookup(c, ROOT, "link", &entry), 0);
	assert_int_equal(entry.attr.mode & S_IFMT, S_IFLNK);
	assert_int_equal(fs_call(c, FUSE_READLINK, entry.nodeid, NULL, 0, NULL, NULL), 0);
	assert_int_equal(c->answered, 10);
	assert_memory_equal(c->answer.data, "/etc/../..", 10);
	assert_int_equal(fs_try_lookup(c, entry.nodeid, "etc", &entry), -ENOTDIR);
	assert_int_equal(fs_try_open(c, fs_lookup(c, ROOT, "link"), O_RDONLY, &out), -ELOOP);
	assert_int_equal(fs_try_create(c, ROOT, "link", O_WRONLY, 0600, &entry, &out), -ELOOP);
	assert_int_equal(fs_call(c, FUSE_READLINK, ROOT, NULL, 0, NULL, NULL), -EINVAL);
	/* As long as one can be, and longer. */
	assert_int_equal(fs_call(c, FUSE_SYMLINK, ROOT, NULL, 0, "long", target), 0);
	assert_int_equal(fs_call(c, FUSE_READLINK, fs_lookup(c, ROOT, "long"), NULL, 0, NULL, NULL),
			 0);
	assert_int_equal(c->answered, 4095);
	strcpy(target + 4095, "t");
	assert_int_equal(fs_call(c, FUSE_SYMLINK, ROOT, NULL, 0, "longer", target), -ENAMETOOLONG);
	assert_int_equal(fs_call(c, FUSE_SYMLINK, ROOT, NULL, 0, "empty", ""), -EINVAL);
}

static void a_file_gets_more_names(void **state)
{
	struct fs_client *c = *state;
	struct fuse_link_in in;
	struct stat st;

	fs_host_write(c, "file", "x");
	fs_host_write(c, "dir", NULL);
	in.oldnodeid = fs_lookup(c, ROOT, "file");
	assert_int_equal(
		fs_call(c, FUSE_LINK, fs_lookup(c, ROOT, "dir"), &in, sizeof(in), "again", NULL),
		0);
	assert_int_equal(((struct fuse_entry_out *)c->answer.data)->nodeid, in.oldnodeid);
	fs_host_stat(c, "dir/again", &st);
	assert_int_equal(st.st_nlink, 2);
	/* Of a symbolic link itself. */
	assert_int_equal(fs_call(c, FUSE_SYMLINK, ROOT, NULL, 0, "link", "file"), 0);
	in.oldnodeid = fs_lookup(c, ROOT, "link");
	assert_int_equal(fs_call(c, FUSE_LINK, ROOT, &in, sizeof(in), "link2", NULL), 0);
	fs_host_stat(c, "link2", &st);
	assert_int_equal(st.st_mode & S_IFMT, S_IFLNK);
	in.oldnodeid = fs_lookup(c, ROOT, "dir");
	assert_int_equal(fs_call(c, FUSE_LINK, ROOT, &in, sizeof(in), "dir2", NULL), -EPERM);
	in.oldnodeid = 4711;
	assert_int_equal(fs_call(c, FUSE_LINK, ROOT, &in, sizeof(in), "none", NULL), -ESTALE);
}

static int rename2(struct fs_client *c, uint64_t from, const char *name, uint64_t to,
		   const char *second, uint32_t flags)
{
	struct fuse_rename2_in in = { .newdir = to, .flags = flags };

	return fs_call(c, FUSE_RENAME2, from, &in, sizeof(in), name, second);
}

static void files_are_renamed(void **state)
{
	struct fs_client *c = *state;
	struct fuse_rename_in in;
	uint64_t a, b, dir;

	fs_host_write(c, "a", "a");
	fs_host_write(c, "b", "b");
	fs_host_write(c, "dir", NULL);
	a = fs_lookup(c, ROOT, "a");
	b = fs_lookup(c, ROOT, "b");
	in.newdir = dir = fs_lookup(c, ROOT, "dir");
	assert_int_equal(fs_call(c, FUSE_RENAME, ROOT, &in, sizeof(in), "a", "A"), 0);
	assert_int_equal(fs_lookup(c, dir, "A"), a);
	assert_int_equal(rename2(c, dir, "A", ROOT, "b", RENAME_NOREPLACE), -EEXIST);
	assert_int_equal(rename2(c, dir, "A", ROOT, "b", RENAME_EXCHANGE), 0);
	assert_int_equal(fs_lookup(c, ROOT, "b"), a);
	assert_int_equal(fs_lookup(c, dir, "A"), b);
	/* Onto another: that one has no name any more, and is there as long as it is known. */
	assert_int_equal(rename2(c, dir, "A", ROOT, "b", 0), 0);
	assert_int_equal(fs_lookup(c, ROOT, "b"), b);
	fs_getattr(c, a, &(struct fuse_attr){ 0 });
	/* A directory into itself, a flag that nobody knows, and a directory that is none. */
	assert_int_equal(rename2(c, ROOT, "dir", dir, "x", 0), -EINVAL);
	assert_int_equal(rename2(c, ROOT, "b", dir, "x", 0x80), -EINVAL);
	assert_int_equal(rename2(c, ROOT, "b", b, "x", 0), -ENOTDIR);
	assert_int_equal(rename2(c, ROOT, "b", 4711, "x", 0), -ESTALE);
	assert_int_equal(rename2(c, ROOT, "none", dir, "x", 0), -ENOENT);
}

static void a_removed_file_lives_as_long_as_it_is_open(void **state)
{
	struct fs_client *c = *state;
	uint64_t node, fh = fs_create(c, ROOT, "file", O_RDWR, 0600, &node);
	struct fuse_attr attr;

	assert_int_equal(fs_write(c, node, fh, 0, "abc", 3, O_RDWR, 0), 3);
	assert_int_equal(fs_call(c, FUSE_UNLINK, ROOT, NULL, 0, "file", NULL), 0);
	fs_getattr(c, node, &attr);
	assert_int_equal(attr.nlink, 0);
	assert_int_equal(fs_read(c, node, fh, 0, 10), 3);
	/* It has not that name any more: another file may have it. */
	fs_host_write(c, "file", "other");
	assert_int_not_equal(fs_lookup(c, ROOT, "file"), node);
	fs_getattr(c, node, &attr);
	assert_int_equal(attr.size, 3);
	/* Renamed while it is open. */
	fh = fs_create(c, ROOT, "one", O_RDWR, 0600, &node);
	assert_int_equal(rename2(c, ROOT, "one", ROOT, "two", 0), 0);
	assert_int_equal(fs_write(c, node, fh, 0, "xyz", 3, O_RDWR, 0), 3);
	fs_release(c, node, fh);
	assert_int_equal(fs_lookup(c, ROOT, "two"), node);
	fs_getattr(c, node, &attr);
	assert_int_equal(attr.size, 3);
}

static void a_file_without_a_name_gets_one(void **state)
{
	struct fs_client *c = *state;
	struct fuse_create_in in = { .flags = O_RDWR, .mode = S_IFREG | 0640 };
	struct fuse_entry_out entry;
	struct fuse_open_out out;
	struct fuse_link_in link;
	struct stat st;

	/* "/" is what the kernel says here. */
	assert_int_equal(fs_call(c, FUSE_TMPFILE, ROOT, &in, sizeof(in), "/", NULL), 0);
	memcpy(&entry, c->answer.data, sizeof(entry));
	memcpy(&out, c->answer.data + sizeof(entry), sizeof(out));
	assert_int_equal(entry.attr.nlink, 0);
	assert_int_equal(fs_write(c, entry.nodeid, out.fh, 0, "abc", 3, O_RDWR, 0), 3);
	link.oldnodeid = entry.nodeid;
	assert_int_equal(fs_call(c, FUSE_LINK, ROOT, &link, sizeof(link), "named", NULL), 0);
	fs_host_stat(c, "named", &st);
	assert_int_equal(st.st_size, 3);
	assert_int_equal(st.st_mode, S_IFREG | 0640);
	assert_int_equal(fs_lookup(c, ROOT, "named"), entry.nodeid);
	in.flags = O_RDONLY;
	assert_int_equal(fs_call(c, FUSE_TMPFILE, ROOT, &in, sizeof(in), "/", NULL), -EINVAL);
}

/* The host moves a directory under what was below it: the server's record must not become a circle. */
static void directories_turned_inside_out(void **state)
{
	struct fs_client *c = *state;
	uint64_t a, b;

	fs_host_write(c, "a", NULL);
	fs_host_write(c, "a/b", NULL);
	a = fs_lookup(c, ROOT, "a");
	b = fs_lookup(c, a, "b");
	assert_int_equal(renameat(c->tree, "a/b", c->tree, "b"), 0);
	assert_int_equal(renameat(c->tree, "a", c->tree, "b/a"), 0);
	assert_int_equal(fs_lookup(c, b, "a"), a);
	/* Two that held one another would never be freed. */
	fs_forget(c, a, 2);
	fs_getattr(c, b, &(struct fuse_attr){ 0 });
	fs_forget(c, b, 1);
	assert_int_not_equal(fs_lookup(c, ROOT, "b"), b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		fs_test(a_name_leads_to_one_node),
		fs_test(what_is_not_there_is_not_there_for_a_while),
		fs_test(many_are_forgotten_at_once),
		fs_test(directories_are_made_and_removed),
		fs_test(special_files_are_made_and_never_opened),
		fs_test(a_symbolic_link_is_only_text),
		fs_test(a_file_gets_more_names),
		fs_test(files_are_renamed),
		fs_test(a_removed_file_lives_as_long_as_it_is_open),
		fs_test(a_file_without_a_name_gets_one),
		fs_test(directories_turned_inside_out),
	};

	return cmocka_run_group_tests_name("fs_names", tests, NULL, NULL);
}
