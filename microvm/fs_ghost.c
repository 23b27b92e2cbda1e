/* SPDX-License-Identifier: Apache-2.0 */
/* See fs_ghost.h. */
#include "microvm/fs_ghost.h"

#include <fcntl.h>
#include <linux/limits.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "microvm/fs_path.h"
#include "microvm/fs_request.h"

#define NAME_TRIES 1000

/* ---- saving ------------------------------------------------------------------------------------- */

/* What the kernel says of a descriptor whose name was removed. */
static bool lost_its_name(const struct fs *fs, int fd)
{
	static const char mark[] = " (deleted)";
	const size_t size = sizeof(mark) - 1;
	char text[PATH_MAX];
	ssize_t n = readlinkat(fs->descriptors, fs_fd_name(fd).s, text, sizeof(text));

	return n > (ssize_t)size && memcmp(text + n - size, mark, size) == 0;
}

/* On overlayfs, a file of a lower layer keeps its link there when it is removed. */
bool fs_ghost_is(const struct fs *fs, int fd)
{
	struct statfs st;
	struct statx stx;

	if (fs_stat_fd(fd, &stx) < 0)
		return false;
	if (stx.stx_nlink == 0)
		return true;
	return stx.stx_nlink == 1 && fstatfs(fd, &st) == 0 && st.f_type == OVERLAYFS_SUPER_MAGIC &&
	       lost_its_name(fs, fd);
}

static void put_extents(struct fs_state_file *f, int fd, uint64_t size)
{
	struct fs_saved_extent extent = { 0 };
	off_t at = 0;

	while (!f->err.code && (uint64_t)at < size) {
		off_t start = lseek(fd, at, SEEK_DATA), end;

		if (start < 0 || (uint64_t)start >= size)
			break; /* ENXIO: only a hole is left */
		end = lseek(fd, start, SEEK_HOLE);
		if (end <= start || (uint64_t)end > size)
			end = (off_t)size;
		extent = (struct fs_saved_extent){ (uint64_t)start, (uint64_t)(end - start) };
		fs_state_put(f, &extent, sizeof(extent));
		fs_state_put_file(f, fd, start, extent.size);
		at = end;
	}
	extent = (struct fs_saved_extent){ 0 };
	fs_state_put(f, &extent, sizeof(extent));
}

/* Those that can be read; the buffers of requests and answers hold their names and values. */
static void put_xattrs(struct fs *fs, struct fs_state_file *f, int fd)
{
	const struct fs_fd_name name = fs_fd_name(fd);
	struct fs_saved_xattr xattr;
	ssize_t size = -1;

	if (fchdir(fs->descriptors) == 0)
		size = listxattr(name.s, (char *)fs->out, FS_OUT_MAX);
	for (ssize_t at = 0; at < size;) {
		const char *key = (const char *)fs->out + at;
		size_t len = strnlen(key, (size_t)(size - at));
		ssize_t n = getxattr(name.s, key, fs->in, XATTR_SIZE_MAX);

		at += (ssize_t)len + 1;
		if (n < 0 || !len || len > XATTR_NAME_MAX)
			continue;
		xattr = (struct fs_saved_xattr){ (uint32_t)len, (uint32_t)n };
		fs_state_put(f, &xattr, sizeof(xattr));
		fs_state_put(f, key, len);
		fs_state_put(f, fs->in, (size_t)n);
	}
	xattr = (struct fs_saved_xattr){ 0 };
	fs_state_put(f, &xattr, sizeof(xattr));
}

int fs_ghost_save(struct fs *fs, struct fs_state_file *f, const struct fs_node *node, int fd,
		  const struct fs_node *directory)
{
	_cleanup_close_ int own = fs_reopen(fs->descriptors, fd, O_RDONLY);
	struct fs_saved_ghost ghost = { .node = node->id, .directory = directory->id };
	struct statx stx;
	int r = own < 0 ? own : fs_stat_fd(own, &stx);

	if (r < 0)
		return error_errno(&f->err, -r, "read an open file that has no name any more");
	ghost.mode = stx.stx_mode & 07777;
	ghost.uid = stx.stx_uid;
	ghost.gid = stx.stx_gid;
	ghost.size = stx.stx_size;
	ghost.atime = stx.stx_atime.tv_sec;
	ghost.atime_nsec = stx.stx_atime.tv_nsec;
	ghost.mtime = stx.stx_mtime.tv_sec;
	ghost.mtime_nsec = stx.stx_mtime.tv_nsec;
	fs_state_put(f, &ghost, sizeof(ghost));
	put_extents(f, own, ghost.size);
	put_xattrs(fs, f, own);
	return f->err.code ? error_negative(f->err.code) : 0;
}

/* ---- making them again -------------------------------------------------------------------------- */

/* Where a file system has no O_TMPFILE: under a name that goes away at once. */
static int make_and_remove(int dir)
{
	char name[32];

	for (unsigned i = 0; i < NAME_TRIES; i++) {
		int fd;

		snprintf(name, sizeof(name), ".hull-nameless-%u", i);
		fd = fs_open_beneath(dir, name, O_RDWR | O_CREAT | O_EXCL, 0600);
		if (fd == -EEXIST)
			continue;
		if (fd >= 0 && unlinkat(dir, name, 0) < 0) {
			int r = -errno;

			close(fd);
			return r;
		}
		return fd;
	}
	return -EEXIST;
}

static int make_nameless(int dir)
{
	int fd = fs_open_beneath(dir, ".", O_RDWR | O_TMPFILE, 0600);

	return fd == -EOPNOTSUPP || fd == -EISDIR ? make_and_remove(dir) : fd;
}

/* On the file system that it was on, or else on that of the root. */
static int make(struct fs *fs, const struct fs_saved_ghost *saved)
{
	struct fs_node *dir = fs_node_find(&fs->nodes, saved->directory);
	int fd = dir && S_ISDIR(dir->type) ? fs_node_fd(&fs->nodes, dir) : -ENOENT;

	if (fd >= 0)
		fd = make_nameless(fd);
	return fd < 0 && dir != fs->nodes.root ? make_nameless(fs->nodes.root->fd) : fd;
}

static int bad_state(struct fs_state_file *f)
{
	return error_set(&f->err, EBADMSG,
			 "the state of the file server has a file that makes no sense");
}

static int get_extents(struct fs_state_file *f, int fd, uint64_t size)
{
	struct fs_saved_extent extent;
	uint64_t at = 0;
	int r;

	if (size > INT64_MAX)
		return bad_state(f);
	for (;;) {
		r = fs_state_get(f, &extent, sizeof(extent));
		if (r < 0 || !extent.size)
			break;
		if (extent.offset < at || extent.offset > size ||
		    extent.size > size - extent.offset)
			return bad_state(f);
		r = fs_state_get_file(f, fd, (off_t)extent.offset, extent.size);
		if (r < 0)
			break;
		at = extent.offset + extent.size;
	}
	if (r == 0 && ftruncate(fd, (off_t)size) < 0)
		r = error_errno(&f->err, errno, "make a file without a name again");
	return r;
}

static int get_xattrs(struct fs *fs, struct fs_state_file *f, int fd)
{
	const struct fs_fd_name name = fs_fd_name(fd);
	struct fs_saved_xattr xattr;
	char key[XATTR_NAME_MAX + 1];
	int r = fchdir(fs->descriptors) < 0
			? error_errno(&f->err, errno, "make a file without a name again")
			: 0;

	while (r == 0) {
		r = fs_state_get(f, &xattr, sizeof(xattr));
		if (r < 0 || !xattr.name_size)
			break;
		if (xattr.name_size > XATTR_NAME_MAX || xattr.value_size > XATTR_SIZE_MAX)
			return bad_state(f);
		r = fs_state_get(f, key, xattr.name_size);
		if (r == 0)
			r = fs_state_get(f, fs->in, xattr.value_size);
		key[xattr.name_size] = '\0';
		/* What this file system or this server cannot keep is lost, as with `cp`. */
		if (r == 0 && setxattr(name.s, key, fs->in, xattr.value_size, 0) < 0 &&
		    errno != EOPNOTSUPP && errno != EPERM)
			r = error_errno(&f->err, errno,
					"set an attribute of a file without a name");
	}
	return r;
}

/* A new owner takes set-user-ID bits, writing file capabilities: so in this order. */
static int fill(struct fs *fs, struct fs_state_file *f, const struct fs_saved_ghost *saved, int fd)
{
	const struct timespec times[2] = {
		{ .tv_sec = (time_t)saved->atime, .tv_nsec = saved->atime_nsec },
		{ .tv_sec = (time_t)saved->mtime, .tv_nsec = saved->mtime_nsec },
	};
	int r;

	if (saved->uid == (uid_t)-1 || saved->gid == (gid_t)-1 || saved->mode & ~07777U ||
	    saved->atime_nsec >= 1000000000 || saved->mtime_nsec >= 1000000000)
		return bad_state(f);
	r = get_extents(f, fd, saved->size);
	if (r < 0)
		return r;
	if (fchownat(fd, "", saved->uid, saved->gid, AT_EMPTY_PATH) < 0)
		return error_errno(&f->err, errno, "give a file without a name to user %u",
				   saved->uid);
	if (fchmodat(fs->descriptors, fs_fd_name(fd).s, saved->mode, 0) < 0)
		return error_errno(&f->err, errno, "set the mode of a file without a name");
	r = get_xattrs(fs, f, fd);
	if (r == 0 && utimensat(fd, "", times, AT_EMPTY_PATH) < 0)
		r = error_errno(&f->err, errno, "set the times of a file without a name");
	return r;
}

int fs_ghost_load(struct fs *fs, struct fs_state_file *f, const struct fs_saved_ghost *saved,
		  struct fs_node *node)
{
	_cleanup_close_ int fd = make(fs, saved);
	int r = fd < 0 ? error_errno(&f->err, -fd,
				     "make a file again that is open and has no name any more")
		       : fill(fs, f, saved, fd);
	int path;

	if (r < 0)
		return r;
	path = fs_reopen(fs->descriptors, fd, O_PATH);
	r = path < 0 ? path : fs_node_give(&fs->nodes, node, path);
	return r < 0 ? error_errno(&f->err, -r, "make a file without a name again") : 0;
}
