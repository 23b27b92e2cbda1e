/* SPDX-License-Identifier: Apache-2.0 */
/* Reading and writing open files; see fs_request.h. */
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <sys/stat.h>
#include <unistd.h>

#include "microvm/fs_iov.h"
#include "microvm/fs_request.h"

#define COPY_MAX \
	(16U << 20) /* bytes at once: others wait meanwhile. The guest asks for the rest. */

int fs_do_read(struct fs_request *req)
{
	const struct fuse_read_in *in = req->arg;
	struct fs_file *file = fs_file_of(req, in->fh, S_IFREG);
	size_t size = in->size < req->room ? in->size : req->room;
	unsigned count;
	ssize_t n;

	if (!file)
		return -EBADF;
	if (in->offset > INT64_MAX)
		return -EINVAL;
	if (size > FS_MAX_PAGES * 4096)
		size = FS_MAX_PAGES * 4096;
	count = fs_iov_slice(req->out, req->out_count, sizeof(struct fuse_out_header), size,
			     req->fs->data);
	n = preadv(file->fd, req->fs->data, (int)count, (off_t)in->offset);
	req->direct = true;
	return n < 0 ? -errno : (int)n;
}

static int write_flags(const struct fuse_write_in *in)
{
	int flags = 0;

	/* What comes from the page cache has its place, also in a file that was opened with O_APPEND. */
	if ((in->flags & O_APPEND) && !(in->write_flags & FUSE_WRITE_CACHE))
		flags |= RWF_APPEND;
	if ((in->flags & O_SYNC) == O_SYNC)
		flags |= RWF_SYNC;
	else if (in->flags & O_DSYNC)
		flags |= RWF_DSYNC;
	return flags;
}

int fs_do_write(struct fs_request *req)
{
	const struct fuse_write_in *in = req->arg;
	struct fs_file *file = fs_file_of(req, in->fh, S_IFREG);
	struct fuse_write_out out = { 0 };
	struct fs *fs = req->fs;
	unsigned count;
	bool drop;
	ssize_t n;

	if (!file)
		return -EBADF;
	if (in->size != req->data_size || in->size > FS_MAX_PAGES * 4096 || in->offset > INT64_MAX)
		return -EINVAL;
	count = fs_iov_slice(req->in, req->in_count, sizeof(req->header) + sizeof(*in), in->size,
			     fs->data);
	drop = (in->write_flags & FUSE_WRITE_KILL_SUIDGID) && fs_creds_drop_fsetid(file->fd);
	n = pwritev2(file->fd, fs->data, (int)count, (off_t)in->offset, write_flags(in));
	if (n < 0)
		n = -errno;
	if (drop)
		fs_creds_regain_fsetid();
	if (n < 0)
		return (int)n;
	out.size = (uint32_t)n;
	return fs_answer(req, 0, &out, sizeof(out));
}

/* A close(2) in the guest: some file systems (NFS, quotas) say only then that a write failed. */
int fs_do_flush(struct fs_request *req)
{
	const struct fuse_flush_in *in = req->arg;
	struct fs_file *file = fs_file_of(req, in->fh, S_IFREG);
	int fd;

	if (!file)
		return -EBADF;
	fd = fcntl(file->fd, F_DUPFD_CLOEXEC, 0);
	return fd < 0 || close(fd) < 0 ? -errno : 0;
}

int fs_do_release(struct fs_request *req)
{
	const struct fuse_release_in *in = req->arg;
	struct fs_file *file = fs_file_get(&req->fs->files, in->fh, req->header.nodeid);

	if (!file)
		return -EBADF;
	fs_file_close(&req->fs->files, &req->fs->nodes, file);
	return 0;
}

int fs_do_fsync(struct fs_request *req)
{
	const struct fuse_fsync_in *in = req->arg;
	struct fs_file *file = fs_file_get(&req->fs->files, in->fh, req->header.nodeid);

	if (!file)
		return -EBADF;
	return (in->fsync_flags & FUSE_FSYNC_FDATASYNC ? fdatasync : fsync)(file->fd) < 0 ? -errno
											  : 0;
}

int fs_do_fallocate(struct fs_request *req)
{
	const uint32_t modes = FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE;
	const struct fuse_fallocate_in *in = req->arg;
	struct fs_file *file = fs_file_of(req, in->fh, S_IFREG);
	bool drop;
	int r;

	if (!file)
		return -EBADF;
	if (in->mode & ~modes)
		return -EOPNOTSUPP;
	if (in->offset > INT64_MAX || in->length > INT64_MAX)
		return -EINVAL;
	/* The request does not say whether its sender has CAP_FSETID: as if it had not. */
	drop = fs_creds_drop_fsetid(file->fd);
	r = fallocate(file->fd, (int)in->mode, (off_t)in->offset, (off_t)in->length) < 0 ? -errno
											 : 0;
	if (drop)
		fs_creds_regain_fsetid();
	return r;
}

int fs_do_lseek(struct fs_request *req)
{
	const struct fuse_lseek_in *in = req->arg;
	struct fs_file *file = fs_file_of(req, in->fh, S_IFREG);
	struct fuse_lseek_out out;
	off_t at;

	if (!file)
		return -EBADF;
	if ((in->whence != SEEK_DATA && in->whence != SEEK_HOLE) || in->offset > INT64_MAX)
		return -EINVAL;
	at = lseek(file->fd, (off_t)in->offset, (int)in->whence);
	if (at < 0)
		return -errno;
	out.offset = (uint64_t)at;
	return fs_answer(req, 0, &out, sizeof(out));
}

int fs_do_copy_file_range(struct fs_request *req)
{
	const struct fuse_copy_file_range_in *in = req->arg;
	struct fs_file *from = fs_file_of(req, in->fh_in, S_IFREG);
	struct fs_file *to = fs_file_get(&req->fs->files, in->fh_out, in->nodeid_out);
	off_t from_offset = (off_t)in->off_in, to_offset = (off_t)in->off_out;
	struct fuse_write_out out = { 0 };
	bool drop;
	ssize_t n;

	if (!from || !to || !S_ISREG(to->node->type))
		return -EBADF;
	if (in->flags || in->off_in > INT64_MAX || in->off_out > INT64_MAX)
		return -EINVAL;
	drop = fs_creds_drop_fsetid(to->fd); /* as in fs_do_fallocate() */
	n = copy_file_range(from->fd, &from_offset, to->fd, &to_offset,
			    in->len < COPY_MAX ? (size_t)in->len : COPY_MAX, 0);
	if (n < 0)
		n = -errno;
	if (drop)
		fs_creds_regain_fsetid();
	if (n < 0)
		return (int)n;
	out.size = (uint32_t)n;
	return fs_answer(req, 0, &out, sizeof(out));
}
