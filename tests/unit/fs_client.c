/* SPDX-License-Identifier: Apache-2.0 */
/* A FUSE client for unit tests; see fs_client.h. */
#include "tests/unit/fs_client.h"

#include <fcntl.h>
#include <unistd.h>

#include "microvm/fs_path.h"

struct fs_client *fs_client_open(const struct fs_config *limits)
{
	struct fs_client *c = calloc(1, sizeof(*c));
	struct fs_config config = *limits;
	struct error err = { 0 };

	assert_non_null(c);
	c->base = unit_make_dir(c->path, sizeof(c->path));
	assert_int_equal(mkdirat(c->base, "outside", 0755), 0);
	assert_int_equal(mkdirat(c->base, "tree", 0755), 0);
	c->tree = openat(c->base, "tree", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(c->tree >= 0);
	config.root = fcntl(c->tree, F_DUPFD_CLOEXEC, 0);
	config.descriptors = fs_open_descriptors(-1, &err);
	c->fs = fs_new(&config, &err);
	if (!c->fs)
		fail_msg("%s", err.text);
	assert_int_equal(fs_init(c, UINT64_C(0xffffffff)), 0);
	return c;
}

void fs_client_close(struct fs_client *c)
{
	fs_free(c->fs);
	close(c->tree);
	assert_int_equal(chdir("/"), 0);
	unit_remove_dir(c->base, c->path);
	free(c);
}

int fs_client_setup(void **state)
{
	struct fs_config config;

	fs_config_init(&config);
	*state = fs_client_open(&config);
	return 0;
}

int fs_client_teardown(void **state)
{
	fs_client_close(*state);
	return 0;
}

/* ---- requests ----------------------------------------------------------------------------------- */

size_t fs_begin(struct fs_client *c, uint32_t opcode, uint64_t node)
{
	struct fuse_in_header header = { .opcode = opcode,
					 .unique = ++c->unique,
					 .nodeid = node,
					 .uid = c->uid,
					 .gid = c->gid,
					 .pid = 1 };

	return fs_add(c, 0, &header, sizeof(header));
}

size_t fs_add(struct fs_client *c, size_t at, const void *data, size_t len)
{
	assert_true(len <= sizeof(c->request) - at);
	memcpy(c->request + at, data, len);
	memcpy(c->request, &(uint32_t){ (uint32_t)(at + len) }, sizeof(uint32_t));
	return at + len;
}

/* Three pieces, of which the first ends inside a header. */
static unsigned cut(void *data, size_t len, size_t first, size_t second, struct iovec *iov)
{
	uint8_t *at = data;

	if (first > len)
		first = len;
	if (second > len - first)
		second = len - first;
	iov[0] = (struct iovec){ at, first };
	iov[1] = (struct iovec){ at + first, second };
	iov[2] = (struct iovec){ at + first + second, len - first - second };
	return 3;
}

int fs_send(struct fs_client *c, size_t len)
{
	size_t room = c->room ? c->room : sizeof(c->answer), n;
	struct iovec in[3], out[3];

	n = fs_handle(c->fs, in, cut(c->request, len, 23, 29, in), out,
		      cut(&c->answer, room, 11, 37, out));
	if (n == 0)
		return FS_NO_ANSWER;
	assert_true(n >= sizeof(c->answer.header) && n <= room);
	assert_int_equal(c->answer.header.len, n);
	assert_int_equal(c->answer.header.unique, c->unique);
	assert_true(c->answer.header.error <= 0 && c->answer.header.error > -512);
	c->answered = n - sizeof(c->answer.header);
	if (c->answer.header.error)
		assert_int_equal(c->answered, 0);
	return c->answer.header.error;
}

int fs_call(struct fs_client *c, uint32_t opcode, uint64_t node, const void *arg, size_t arg_size,
	    const char *name, const char *second)
{
	size_t len = fs_begin(c, opcode, node);

	if (arg)
		len = fs_add(c, len, arg, arg_size);
	if (name)
		len = fs_add(c, len, name, strlen(name) + 1);
	if (second)
		len = fs_add(c, len, second, strlen(second) + 1);
	return fs_send(c, len);
}

int fs_init(struct fs_client *c, uint64_t flags)
{
	struct fuse_init_in in = { .major = FUSE_KERNEL_VERSION,
				   .minor = 41,
				   .max_readahead = 131072,
				   .flags = (uint32_t)flags,
				   .flags2 = (uint32_t)(flags >> 32) };

	return fs_call(c, FUSE_INIT, 0, &in, sizeof(in), NULL, NULL);
}

/* ---- operations --------------------------------------------------------------------------------- */

static void take(struct fs_client *c, size_t offset, void *to, size_t size)
{
	assert_true(c->answered >= offset + size);
	memcpy(to, c->answer.data + offset, size);
}

int fs_try_lookup(struct fs_client *c, uint64_t dir, const char *name, struct fuse_entry_out *entry)
{
	int r = fs_call(c, FUSE_LOOKUP, dir, NULL, 0, name, NULL);

	if (r < 0)
		return r;
	take(c, 0, entry, sizeof(*entry));
	return entry->nodeid ? 0 : -ENOENT;
}

uint64_t fs_lookup(struct fs_client *c, uint64_t dir, const char *name)
{
	struct fuse_entry_out entry = { 0 };

	assert_int_equal(fs_try_lookup(c, dir, name, &entry), 0);
	return entry.nodeid;
}

void fs_forget(struct fs_client *c, uint64_t node, uint64_t count)
{
	struct fuse_forget_in in = { .nlookup = count };

	assert_int_equal(fs_call(c, FUSE_FORGET, node, &in, sizeof(in), NULL, NULL), FS_NO_ANSWER);
}

void fs_getattr(struct fs_client *c, uint64_t node, struct fuse_attr *attr)
{
	struct fuse_getattr_in in = { 0 };
	struct fuse_attr_out out = { 0 };

	assert_int_equal(fs_call(c, FUSE_GETATTR, node, &in, sizeof(in), NULL, NULL), 0);
	take(c, 0, &out, sizeof(out));
	*attr = out.attr;
}

int fs_setattr(struct fs_client *c, uint64_t node, const struct fuse_setattr_in *in)
{
	return fs_call(c, FUSE_SETATTR, node, in, sizeof(*in), NULL, NULL);
}

int fs_try_open(struct fs_client *c, uint64_t node, uint32_t flags, struct fuse_open_out *out)
{
	struct fuse_open_in in = { .flags = flags };
	int r = fs_call(c, FUSE_OPEN, node, &in, sizeof(in), NULL, NULL);

	if (r == 0)
		take(c, 0, out, sizeof(*out));
	return r;
}

uint64_t fs_open(struct fs_client *c, uint64_t node, uint32_t flags)
{
	struct fuse_open_out out = { 0 };

	assert_int_equal(fs_try_open(c, node, flags, &out), 0);
	return out.fh;
}

uint64_t fs_opendir(struct fs_client *c, uint64_t node)
{
	struct fuse_open_in in = { 0 };
	struct fuse_open_out out = { 0 };

	assert_int_equal(fs_call(c, FUSE_OPENDIR, node, &in, sizeof(in), NULL, NULL), 0);
	take(c, 0, &out, sizeof(out));
	return out.fh;
}

int fs_try_create(struct fs_client *c, uint64_t dir, const char *name, uint32_t flags, mode_t mode,
		  struct fuse_entry_out *entry, struct fuse_open_out *out)
{
	struct fuse_create_in in = { .flags = flags, .mode = S_IFREG | mode, .umask = c->umask };
	int r = fs_call(c, FUSE_CREATE, dir, &in, sizeof(in), name, NULL);

	if (r == 0) {
		take(c, 0, entry, sizeof(*entry));
		take(c, sizeof(*entry), out, sizeof(*out));
	}
	return r;
}

uint64_t fs_create(struct fs_client *c, uint64_t dir, const char *name, uint32_t flags, mode_t mode,
		   uint64_t *node)
{
	struct fuse_entry_out entry = { 0 };
	struct fuse_open_out out = { 0 };

	assert_int_equal(fs_try_create(c, dir, name, flags, mode, &entry, &out), 0);
	if (node)
		*node = entry.nodeid;
	return out.fh;
}

void fs_release(struct fs_client *c, uint64_t node, uint64_t fh)
{
	struct fuse_release_in in = { .fh = fh };

	assert_int_equal(fs_call(c, FUSE_RELEASE, node, &in, sizeof(in), NULL, NULL), 0);
}

uint64_t fs_mkdir(struct fs_client *c, uint64_t dir, const char *name, mode_t mode)
{
	struct fuse_mkdir_in in = { .mode = mode, .umask = c->umask };
	struct fuse_entry_out entry = { 0 };

	assert_int_equal(fs_call(c, FUSE_MKDIR, dir, &in, sizeof(in), name, NULL), 0);
	take(c, 0, &entry, sizeof(entry));
	return entry.nodeid;
}

int fs_mknod(struct fs_client *c, uint64_t dir, const char *name, mode_t mode, uint32_t rdev)
{
	struct fuse_mknod_in in = { .mode = mode, .rdev = rdev, .umask = c->umask };

	return fs_call(c, FUSE_MKNOD, dir, &in, sizeof(in), name, NULL);
}

int fs_read(struct fs_client *c, uint64_t node, uint64_t fh, uint64_t offset, uint32_t size)
{
	struct fuse_read_in in = { .fh = fh, .offset = offset, .size = size };
	int r = fs_call(c, FUSE_READ, node, &in, sizeof(in), NULL, NULL);

	return r < 0 ? r : (int)c->answered;
}

int fs_write(struct fs_client *c, uint64_t node, uint64_t fh, uint64_t offset, const void *data,
	     uint32_t size, uint32_t flags, uint32_t write_flags)
{
	struct fuse_write_in in = {
		.fh = fh, .offset = offset, .size = size, .write_flags = write_flags, .flags = flags
	};
	struct fuse_write_out out = { 0 };
	size_t len = fs_begin(c, FUSE_WRITE, node);
	int r;

	len = fs_add(c, len, &in, sizeof(in));
	len = fs_add(c, len, data, size);
	r = fs_send(c, len);
	if (r < 0)
		return r;
	take(c, 0, &out, sizeof(out));
	return (int)out.size;
}

int fs_setxattr(struct fs_client *c, uint64_t node, const char *name, const void *value,
		size_t size, uint32_t flags)
{
	struct fuse_setxattr_in in = { .size = (uint32_t)size, .setxattr_flags = flags };
	size_t len = fs_begin(c, FUSE_SETXATTR, node);

	len = fs_add(c, len, &in, sizeof(in));
	len = fs_add(c, len, name, strlen(name) + 1);
	len = fs_add(c, len, value, size);
	return fs_send(c, len);
}

int fs_getxattr(struct fs_client *c, uint64_t node, const char *name, uint32_t size)
{
	struct fuse_getxattr_in in = { .size = size };

	return fs_call(c, FUSE_GETXATTR, node, &in, sizeof(in), name, NULL);
}

/* ---- the host ----------------------------------------------------------------------------------- */

void fs_host_write(struct fs_client *c, const char *name, const char *text)
{
	int fd;

	if (!text) {
		assert_int_equal(mkdirat(c->tree, name, 0755), 0);
		return;
	}
	fd = openat(c->tree, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	close(fd);
}

void fs_host_stat(struct fs_client *c, const char *name, struct stat *st)
{
	assert_int_equal(fstatat(c->tree, name, st, AT_SYMLINK_NOFOLLOW), 0);
}
