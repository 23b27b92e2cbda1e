/* SPDX-License-Identifier: Apache-2.0 */
/* The file server: attributes, owners, set-user-id bits, extended attributes, ACLs. */
#include "tests/unit/fs_client.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "microvm/fs_path.h"

#define ROOT FUSE_ROOT_ID

static void need_root(void)
{
	if (geteuid() != 0)
		skip();
}

static void attributes_are_changed(void **state)
{
	struct fs_client *c = *state;
	struct fuse_setattr_in in = { .valid = FATTR_MODE, .mode = 0741 };
	struct fuse_attr_out *out = (void *)c->answer.data;
	uint64_t node;
	struct stat st;

	fs_host_write(c, "file", "hello");
	node = fs_lookup(c, ROOT, "file");
	assert_int_equal(fs_setattr(c, node, &in), 0);
	assert_int_equal(out->attr.mode, S_IFREG | 0741);
	assert_int_equal(out->attr_valid, 1);
	in = (struct fuse_setattr_in){ .valid = FATTR_SIZE, .size = 3 };
	assert_int_equal(fs_setattr(c, node, &in), 0);
	assert_int_equal(out->attr.size, 3);
	in = (struct fuse_setattr_in){ .valid = FATTR_ATIME | FATTR_MTIME,
				       .atime = 1000,
				       .atimensec = 1,
				       .mtime = (uint64_t)-5,
				       .mtimensec = 999999999 };
	assert_int_equal(fs_setattr(c, node, &in), 0);
	fs_host_stat(c, "file", &st);
	assert_int_equal(st.st_mode, S_IFREG | 0741);
	assert_int_equal(st.st_size, 3);
	assert_int_equal(st.st_atim.tv_sec, 1000);
	assert_int_equal(st.st_atim.tv_nsec, 1);
	assert_int_equal(st.st_mtim.tv_sec, -5);
	assert_int_equal(st.st_mtim.tv_nsec, 999999999);
	in = (struct fuse_setattr_in){ .valid = FATTR_MTIME_NOW };
	assert_int_equal(fs_setattr(c, node, &in), 0);
	assert_true(out->attr.mtime > 1700000000);
	assert_int_equal(out->attr.atime, 1000);
	/* A nanosecond that would mean "now", or "leave it", to the host. */
	in = (struct fuse_setattr_in){ .valid = FATTR_MTIME, .mtimensec = UTIME_NOW };
	assert_int_equal(fs_setattr(c, node, &in), -EINVAL);
	in = (struct fuse_setattr_in){ .valid = FATTR_SIZE, .size = UINT64_MAX };
	assert_int_equal(fs_setattr(c, node, &in), -EFBIG);
	assert_int_equal(fs_setattr(c, ROOT, &in), -EISDIR);
	in = (struct fuse_setattr_in){ .valid = FATTR_SIZE | FATTR_FH, .fh = 99 };
	assert_int_equal(fs_setattr(c, node, &in), -EBADF);
}

/* An open file keeps its attributes within reach, whatever the host does to its name. */
static void an_open_file_has_attributes(void **state)
{
	struct fs_client *c = *state;
	uint64_t node, fh = fs_create(c, ROOT, "file", O_RDWR, 0600, &node);
	struct fuse_setattr_in in = { .valid = FATTR_SIZE | FATTR_FH, .fh = fh, .size = 77 };
	struct fuse_getattr_in get = { .getattr_flags = FUSE_GETATTR_FH, .fh = fh };
	struct stat st;

	assert_int_equal(fs_setattr(c, node, &in), 0);
	fs_host_stat(c, "file", &st);
	assert_int_equal(st.st_size, 77);
	assert_int_equal(fs_call(c, FUSE_GETATTR, node, &get, sizeof(get), NULL, NULL), 0);
	assert_int_equal(((struct fuse_attr_out *)c->answer.data)->attr.size, 77);
	get.fh++;
	assert_int_equal(fs_call(c, FUSE_GETATTR, node, &get, sizeof(get), NULL, NULL), -EBADF);
}

static void the_time_of_birth_is_told(void **state)
{
	struct {
		uint32_t flags, reserved;
		uint64_t fh;
		uint32_t sx_flags, sx_mask;
	} in = { 0 };
	struct fs_client *c = *state;
	struct statx stx;

	fs_host_write(c, "file", "hello");
	assert_int_equal(statx(c->tree, "file", 0, STATX_BASIC_STATS | STATX_BTIME, &stx), 0);
	assert_int_equal(fs_call(c, 52, fs_lookup(c, ROOT, "file"), &in, sizeof(in), NULL, NULL),
			 0);
	assert_int_equal(c->answered, 32 + 256);
	/* Behind what is FUSE's comes what statx(2) would say, but for attributes and device. */
	assert_memory_equal(c->answer.data + 32 + 16, &stx.stx_nlink, 12 + 2);
	assert_memory_equal(c->answer.data + 32 + 32, &stx.stx_ino, 24);
	assert_memory_equal(c->answer.data + 32 + 64, &stx.stx_atime, 4 * 16);
}

static void the_file_system_has_a_size(void **state)
{
	struct fs_client *c = *state;
	struct fuse_statfs_out *out = (void *)c->answer.data;
	struct statvfs st;

	assert_int_equal(fstatvfs(c->tree, &st), 0);
	assert_int_equal(fs_call(c, FUSE_STATFS, ROOT, NULL, 0, NULL, NULL), 0);
	assert_int_equal(out->st.blocks, st.f_blocks);
	assert_int_equal(out->st.namelen, st.f_namemax);
	assert_int_equal(out->st.frsize, st.f_frsize);
}

static void access_is_by_the_mode(void **state)
{
	struct fs_client *c = *state;
	struct fuse_access_in in = { .mask = R_OK };
	uint64_t node;
	struct stat st;

	fs_host_write(c, "file", "");
	assert_int_equal(fchmodat(c->tree, "file", 0640, 0), 0);
	fs_host_stat(c, "file", &st);
	node = fs_lookup(c, ROOT, "file");
	assert_int_equal(fs_call(c, FUSE_ACCESS, node, &in, sizeof(in), NULL, NULL), 0);
	c->uid = 12345;
	c->gid = st.st_gid;
	assert_int_equal(fs_call(c, FUSE_ACCESS, node, &in, sizeof(in), NULL, NULL), 0);
	in.mask = W_OK;
	assert_int_equal(fs_call(c, FUSE_ACCESS, node, &in, sizeof(in), NULL, NULL), -EACCES);
	c->gid = 12345;
	in.mask = R_OK;
	assert_int_equal(fs_call(c, FUSE_ACCESS, node, &in, sizeof(in), NULL, NULL), -EACCES);
	c->uid = 0;
	in.mask = X_OK;
	assert_int_equal(fs_call(c, FUSE_ACCESS, node, &in, sizeof(in), NULL, NULL), -EACCES);
}

/* ---- owners ------------------------------------------------------------------------------------- */

static void check_owner(struct fs_client *c, const char *name, uid_t uid, gid_t gid)
{
	struct stat st;

	fs_host_stat(c, name, &st);
	assert_int_equal(st.st_uid, uid);
	assert_int_equal(st.st_gid, gid);
}

static void files_belong_to_whom_the_request_comes_from(void **state)
{
	struct fs_client *c = *state;
	struct fuse_setattr_in in = { .valid = FATTR_UID, .uid = 77 };
	uint64_t node, dir;
	struct stat st;

	need_root();
	c->uid = 1234;
	c->gid = 5678;
	fs_create(c, ROOT, "file", O_RDWR, 0600, &node);
	fs_mkdir(c, ROOT, "dir", 0700);
	assert_int_equal(fs_mknod(c, ROOT, "fifo", S_IFIFO | 0600, 0), 0);
	assert_int_equal(fs_call(c, FUSE_SYMLINK, ROOT, NULL, 0, "link", "x"), 0);
	check_owner(c, "file", 1234, 5678);
	check_owner(c, "dir", 1234, 5678);
	check_owner(c, "fifo", 1234, 5678);
	check_owner(c, "link", 1234, 5678);
	/* The directory is another's, and closed: whether that matters, the guest decides. */
	c->uid = 4321;
	fs_create(c, fs_lookup(c, ROOT, "dir"), "file", O_RDWR, 0600, NULL);
	check_owner(c, "dir/file", 4321, 5678);
	c->uid = c->gid = 0;
	fs_mkdir(c, ROOT, "mine", 0755);
	check_owner(c, "mine", 0, 0);
	/* No such user. */
	c->uid = UINT32_MAX;
	assert_int_equal(fs_mknod(c, ROOT, "none", S_IFREG, 0), -EINVAL);
	c->uid = 0;
	c->gid = UINT32_MAX;
	assert_int_equal(fs_mknod(c, ROOT, "none", S_IFREG, 0), -EINVAL);
	c->gid = 0;
	assert_int_equal(fs_setattr(c, node, &in), 0);
	check_owner(c, "file", 77, 5678);
	in = (struct fuse_setattr_in){ .valid = FATTR_UID | FATTR_GID, .uid = UINT32_MAX };
	assert_int_equal(fs_setattr(c, node, &in), -EINVAL);
	/* What is made in a directory with S_ISGID has its group. */
	dir = fs_lookup(c, ROOT, "dir");
	assert_int_equal(fchmodat(c->tree, "dir", 02777, 0), 0);
	c->uid = 1;
	c->gid = 2;
	fs_mkdir(c, dir, "sub", 0755);
	fs_create(c, dir, "run", O_RDWR, 02755, NULL);
	check_owner(c, "dir/sub", 1, 5678);
	check_owner(c, "dir/run", 1, 5678);
	fs_host_stat(c, "dir/sub", &st);
	assert_int_equal(st.st_mode, S_IFDIR | 02755);
	/* The guest knows who is in the group, and has taken the bit away already where it had to. */
	fs_host_stat(c, "dir/run", &st);
	assert_int_equal(st.st_mode, S_IFREG | 02755);
}

static mode_t host_mode(struct fs_client *c)
{
	struct stat st;

	fs_host_stat(c, "file", &st);
	return st.st_mode & 07777;
}

static void set_ids(struct fs_client *c)
{
	assert_int_equal(fchmodat(c->tree, "file", 06755, 0), 0);
}

static void who_changes_a_file_takes_its_set_user_id(void **state)
{
	struct fs_client *c = *state;
	struct fuse_setattr_in in = { .valid = FATTR_SIZE };
	struct fuse_open_in open_in = { .flags = O_WRONLY | O_TRUNC };
	struct fuse_fallocate_in allocate = { .length = 100 };
	uint64_t node, fh;

	need_root();
	fs_host_write(c, "file", "hello");
	node = fs_lookup(c, ROOT, "file");
	fh = allocate.fh = fs_open(c, node, O_RDWR);
	set_ids(c);
	/* Somebody with CAP_FSETID. */
	assert_int_equal(fs_write(c, node, fh, 0, "x", 1, O_RDWR, 0), 1);
	assert_int_equal(fs_setattr(c, node, &in), 0);
	assert_int_equal(fs_call(c, FUSE_OPEN, node, &open_in, sizeof(open_in), NULL, NULL), 0);
	assert_int_equal(host_mode(c), 06755);
	/* Somebody without. */
	assert_int_equal(fs_write(c, node, fh, 0, "x", 1, O_RDWR, FUSE_WRITE_KILL_SUIDGID), 1);
	assert_int_equal(host_mode(c), 0755);
	set_ids(c);
	in.valid |= FATTR_KILL_SUIDGID;
	assert_int_equal(fs_setattr(c, node, &in), 0);
	assert_int_equal(host_mode(c), 0755);
	set_ids(c);
	open_in.open_flags = FUSE_OPEN_KILL_SUIDGID;
	assert_int_equal(fs_call(c, FUSE_OPEN, node, &open_in, sizeof(open_in), NULL, NULL), 0);
	assert_int_equal(host_mode(c), 0755);
	set_ids(c);
	if (fs_call(c, FUSE_FALLOCATE, node, &allocate, sizeof(allocate), NULL, NULL) == 0)
		assert_int_equal(host_mode(c), 0755);
	/* And the server has the capability again. */
	set_ids(c);
	assert_int_equal(fs_write(c, node, fh, 0, "x", 1, O_RDWR, 0), 1);
	assert_int_equal(host_mode(c), 06755);
	in = (struct fuse_setattr_in){ .valid = FATTR_UID, .uid = 5 };
	assert_int_equal(fs_setattr(c, node, &in), 0);
	assert_int_equal(host_mode(c), 0755);
}

/* ---- root of a user namespace -------------------------------------------------------------------- */

static void write_map(pid_t pid, const char *name, const char *text)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, name);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	close(fd);
}

/* In the child: 0, or the number of the step that went wrong. */
static int serve_in_namespace(struct fs_client *c)
{
	struct fs_config config;
	struct error err = { 0 };

	if (setresgid(0, 0, 0) < 0 || setresuid(0, 0, 0) < 0)
		return 1;
	fs_config_init(&config);
	config.root = fcntl(c->tree, F_DUPFD_CLOEXEC, 0);
	config.descriptors = fs_open_descriptors(-1, &err);
	c->fs = fs_new(&config, &err);
	if (!c->fs)
		return 2;
	if (fs_init(c, UINT32_MAX) != 0)
		return 3;
	c->uid = 1000;
	c->gid = 1001;
	if (fs_mknod(c, ROOT, "file", S_IFREG | 0600, 0) != 0)
		return 4;
	/* No such id in here. */
	c->uid = 70000;
	if (fs_mknod(c, ROOT, "none", S_IFREG | 0600, 0) != -EPERM)
		return 5;
	c->uid = 0;
	c->gid = 70000;
	if (fs_mknod(c, ROOT, "none", S_IFREG | 0600, 0) != -EPERM)
		return 6;
	c->gid = 0;
	return fs_mknod(c, ROOT, "mine", S_IFREG | 0600, 0) == 0 ? 0 : 7;
}

static void root_of_a_user_namespace_serves(void **state)
{
	struct fs_client *c = *state;
	int ready[2], go[2], status;
	char byte = 0;
	pid_t pid;

	need_root();
	assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
	assert_int_equal(pipe2(go, O_CLOEXEC), 0);
	assert_int_equal(fchown(c->tree, 100000, 100000), 0);
	pid = fork();
	if (pid == 0) {
		if (unshare(CLONE_NEWUSER) < 0)
			_exit(100);
		if (write(ready[1], "x", 1) != 1 || read(go[0], &byte, 1) != 1)
			_exit(101);
		_exit(serve_in_namespace(c));
	}
	close(ready[1]);
	if (read(ready[0], &byte, 1) == 1) {
		write_map(pid, "gid_map", "0 100000 65536");
		write_map(pid, "uid_map", "0 100000 65536");
		assert_int_equal(write(go[1], "x", 1), 1);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	close(ready[0]);
	close(go[0]);
	close(go[1]);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == 100)
		skip();
	assert_int_equal(WEXITSTATUS(status), 0);
	check_owner(c, "file", 101000, 101001);
	check_owner(c, "mine", 100000, 100000);
}

/* ---- extended attributes ------------------------------------------------------------------------ */

static void extended_attributes(void **state)
{
	struct fs_client *c = *state;
	struct fuse_getxattr_in list = { .size = 100 };
	uint64_t node, link;
	int r;

	fs_host_write(c, "file", "");
	node = fs_lookup(c, ROOT, "file");
	r = fs_setxattr(c, node, "user.test", "value", 5, 0);
	if (r == -EOPNOTSUPP)
		skip();
	assert_int_equal(r, 0);
	assert_int_equal(fs_getxattr(c, node, "user.test", 100), 0);
	assert_int_equal(c->answered, 5);
	assert_memory_equal(c->answer.data, "value", 5);
	assert_int_equal(fs_getxattr(c, node, "user.test", 0), 0);
	assert_int_equal(c->answered, sizeof(struct fuse_getxattr_out));
	assert_int_equal(((struct fuse_getxattr_out *)c->answer.data)->size, 5);
	assert_int_equal(fs_getxattr(c, node, "user.test", 4), -ERANGE);
	assert_int_equal(fs_getxattr(c, node, "user.none", 100), -ENODATA);
	assert_int_equal(fs_call(c, FUSE_LISTXATTR, node, &list, sizeof(list), NULL, NULL), 0);
	assert_int_equal(c->answered, sizeof("user.test"));
	assert_string_equal(c->answer.data, "user.test");
	assert_int_equal(fs_call(c, FUSE_REMOVEXATTR, node, NULL, 0, "user.test", NULL), 0);
	assert_int_equal(fs_getxattr(c, node, "user.test", 100), -ENODATA);
	assert_int_equal(fs_setxattr(c, node, "user.empty", "", 0, 0), 0);
	/* On a symbolic link itself, not on what it names. */
	assert_int_equal(symlinkat("file", c->tree, "link"), 0);
	link = fs_lookup(c, ROOT, "link");
	assert_int_equal(fs_getxattr(c, link, "user.empty", 0), -ENODATA);
	assert_int_equal(fs_setxattr(c, link, "user.test", "v", 1, 0), -EPERM);
	if (geteuid() == 0) {
		assert_int_equal(fs_setxattr(c, link, "trusted.test", "v", 1, 0), 0);
		assert_int_equal(fs_getxattr(c, link, "trusted.test", 0), 0);
		assert_int_equal(fs_getxattr(c, node, "trusted.test", 0), -ENODATA);
	}
}

/* A write takes a program's capabilities, whoever it is from (capabilities(7)). */
static void file_capabilities(void **state)
{
	/* VFS_CAP_REVISION_2 with the effective bit: CAP_NET_RAW. */
	static const uint32_t cap[5] = { 0x02000001, 1U << 13 };
	struct fs_client *c = *state;
	uint64_t node, fh = fs_create(c, ROOT, "file", O_RDWR, 0755, &node);

	need_root();
	assert_int_equal(fs_setxattr(c, node, "security.capability", cap, sizeof(cap), 0), 0);
	assert_int_equal(fs_getxattr(c, node, "security.capability", 100), 0);
	assert_memory_equal(c->answer.data, cap, sizeof(cap));
	assert_int_equal(fs_write(c, node, fh, 0, "x", 1, O_RDWR, 0), 1);
	assert_int_equal(fs_getxattr(c, node, "security.capability", 100), -ENODATA);
}

/* struct posix_acl_xattr_header and entries: owner rwx, user 7 rw, group r, mask and other as given. */
static size_t acl(uint8_t *out, uint16_t mask, uint16_t other)
{
	struct entry {
		uint16_t tag, perm;
		uint32_t id;
	} entries[] = {
		{ 0x01, 7, UINT32_MAX },     { 0x02, 6, 7 },
		{ 0x04, 4, UINT32_MAX },     { 0x10, mask, UINT32_MAX },
		{ 0x20, other, UINT32_MAX },
	};

	memcpy(out, &(uint32_t){ 2 }, 4);
	memcpy(out + 4, entries, sizeof(entries));
	return 4 + sizeof(entries);
}

static void access_control_lists(void **state)
{
	struct fs_client *c = *state;
	uint8_t value[64];
	size_t size = acl(value, 6, 0);
	uint64_t node, dir;
	struct stat st;
	int r;

	fs_host_write(c, "file", "");
	fs_host_write(c, "dir", NULL);
	node = fs_lookup(c, ROOT, "file");
	dir = fs_lookup(c, ROOT, "dir");
	r = fs_setxattr(c, node, "system.posix_acl_access", value, size, 0);
	if (r == -EOPNOTSUPP)
		skip();
	assert_int_equal(r, 0);
	/* The mode follows the list: the group's bits are the mask. */
	assert_int_equal(host_mode(c), 0760);
	assert_int_equal(fs_getxattr(c, node, "system.posix_acl_access", 100), 0);
	assert_memory_equal(c->answer.data, value, size);
	/* S_ISGID of a group that the sender is not in. */
	assert_int_equal(fchmodat(c->tree, "file", 02770, 0), 0);
	assert_int_equal(fs_setxattr(c, node, "system.posix_acl_access", value, size, 0), 0);
	assert_int_equal(host_mode(c), 02760);
	assert_int_equal(fs_setxattr(c, node, "system.posix_acl_access", value, size,
				     FUSE_SETXATTR_ACL_KILL_SGID),
			 0);
	assert_int_equal(host_mode(c), 0760);
	/* Where the directory has a default list, that is used and not the umask. */
	size = acl(value, 7, 5);
	assert_int_equal(fs_setxattr(c, dir, "system.posix_acl_default", value, size, 0), 0);
	c->umask = 077;
	fs_create(c, dir, "new", O_RDWR, 0666, NULL);
	fs_host_stat(c, "dir/new", &st);
	assert_int_equal(st.st_mode & 0777, 0664);
	fs_create(c, ROOT, "new", O_RDWR, 0666, NULL);
	fs_host_stat(c, "new", &st);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_int_equal(fs_setxattr(c, node, "system.posix_acl_access", "nonsense", 8, 0),
			 -EOPNOTSUPP);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		fs_test(attributes_are_changed),
		fs_test(an_open_file_has_attributes),
		fs_test(the_time_of_birth_is_told),
		fs_test(the_file_system_has_a_size),
		fs_test(access_is_by_the_mode),
		fs_test(files_belong_to_whom_the_request_comes_from),
		fs_test(who_changes_a_file_takes_its_set_user_id),
		fs_test(root_of_a_user_namespace_serves),
		fs_test(extended_attributes),
		fs_test(file_capabilities),
		fs_test(access_control_lists),
	};

	return cmocka_run_group_tests_name("fs_attr", tests, NULL, NULL);
}
