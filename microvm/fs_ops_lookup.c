/* SPDX-License-Identifier: Apache-2.0 */
/* Finding files, forgetting them, and their attributes; see fs_request.h. */
#include <fcntl.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "microvm/fs_path.h"
#include "microvm/fs_request.h"

int fs_do_lookup(struct fs_request *req)
{
	struct fs *fs = req->fs;
	struct fs_node *node;
	struct statx stx;
	int r = fs_node_lookup(&fs->nodes, req->node, req->name, &node, &stx);

	if (r == -ENOENT && fs->cache_ms) {
		/* Node 0: there is none, and that may be believed for a while, too. */
		struct fuse_entry_out none = {
			.entry_valid = fs->cache_ms / 1000,
			.entry_valid_nsec = fs->cache_ms % 1000 * 1000000,
		};

		return fs_answer(req, 0, &none, sizeof(none));
	}
	return r < 0 ? r : fs_answer_entry(req, node, &stx);
}

int fs_do_forget(struct fs_request *req)
{
	const struct fuse_forget_in *in = req->arg;

	fs_node_forget(&req->fs->nodes, req->node, in->nlookup);
	return 0;
}

int fs_do_batch_forget(struct fs_request *req)
{
	const struct fuse_batch_forget_in *in = req->arg;
	const struct fuse_forget_one *one = req->rest;

	if (req->rest_size != in->count * sizeof(*one))
		return -EINVAL;
	for (uint32_t i = 0; i < in->count; i++) {
		struct fs_node *node = fs_node_get(&req->fs->nodes, one[i].nodeid);

		if (node)
			fs_node_forget(&req->fs->nodes, node, one[i].nlookup);
	}
	return 0;
}

/* What a request is about: an open file, where it names one, or the node. */
static int subject(struct fs_request *req, bool open, uint64_t fh)
{
	struct fs_file *file;

	if (!open)
		return fs_node_of(req);
	file = fs_file_get(&req->fs->files, fh, req->header.nodeid);
	return file ? file->fd : -EBADF;
}

int fs_do_getattr(struct fs_request *req)
{
	const struct fuse_getattr_in *in = req->arg;
	int fd = subject(req, in->getattr_flags & FUSE_GETATTR_FH, in->fh);

	return fd < 0 ? fd : fs_answer_attr(req, fd);
}

int fs_do_statx(struct fs_request *req)
{
	const struct fs_statx_in *in = req->arg;
	int fd = subject(req, in->getattr_flags & FUSE_GETATTR_FH, in->fh);

	return fd < 0 ? fd : fs_answer_statx(req, fd);
}

/* ---- setattr ------------------------------------------------------------------------------------ */

static int set_owner(const struct fuse_setattr_in *in, int fd)
{
	uid_t uid = in->valid & FATTR_UID ? in->uid : (uid_t)-1;
	gid_t gid = in->valid & FATTR_GID ? in->gid : (gid_t)-1;

	/* -1 would mean: leave it alone. */
	if (((in->valid & FATTR_UID) && uid == (uid_t)-1) ||
	    ((in->valid & FATTR_GID) && gid == (gid_t)-1))
		return -EINVAL;
	return fchownat(fd, "", uid, gid, AT_EMPTY_PATH) < 0 ? -errno : 0;
}

static int set_mode(struct fs_request *req, const struct fuse_setattr_in *in, int fd)
{
	mode_t mode = in->mode & 07777;

	/* fchmod(2) does not take O_PATH descriptors, but their names. */
	return fchmodat(req->fs->descriptors, fs_fd_name(fd).s, mode, 0) < 0 ? -errno : 0;
}

/* fd: of the open file, or (O_PATH) of the node. */
static int set_size(struct fs_request *req, const struct fuse_setattr_in *in, int fd)
{
	_cleanup_close_ int opened = -EBADF;
	struct fs *fs = req->fs;
	bool drop;
	int r;

	if (!S_ISREG(req->node->type))
		return S_ISDIR(req->node->type) ? -EISDIR : -EINVAL;
	if (in->size > INT64_MAX)
		return -EFBIG;
	if (!(in->valid & FATTR_FH)) {
		fd = opened = fs_reopen(fs->descriptors, fd, O_WRONLY);
		if (opened < 0)
			return opened;
	}
	drop = (in->valid & FATTR_KILL_SUIDGID) && fs_creds_drop_fsetid(fd);
	r = ftruncate(fd, (off_t)in->size) < 0 ? -errno : 0;
	if (drop)
		fs_creds_regain_fsetid();
	return r;
}

static struct timespec time_to_set(uint32_t valid, uint32_t set, uint32_t now, uint64_t sec,
				   uint32_t nsec)
{
	if (valid & now)
		return (struct timespec){ .tv_nsec = UTIME_NOW };
	if (!(valid & set))
		return (struct timespec){ .tv_nsec = UTIME_OMIT };
	return (struct timespec){ .tv_sec = (time_t)sec, .tv_nsec = (long)nsec };
}

static int set_times(const struct fuse_setattr_in *in, int fd)
{
	struct timespec times[2] = {
		time_to_set(in->valid, FATTR_ATIME, FATTR_ATIME_NOW, in->atime, in->atimensec),
		time_to_set(in->valid, FATTR_MTIME, FATTR_MTIME_NOW, in->mtime, in->mtimensec),
	};

	if (((in->valid & FATTR_ATIME) && in->atimensec >= 1000000000) ||
	    ((in->valid & FATTR_MTIME) && in->mtimensec >= 1000000000))
		return -EINVAL;
	return utimensat(fd, "", times, AT_EMPTY_PATH) < 0 ? -errno : 0;
}

/* In this order: a new owner takes S_ISUID from the mode, a new size sets the times. */
int fs_do_setattr(struct fs_request *req)
{
	const struct fuse_setattr_in *in = req->arg;
	int fd = subject(req, in->valid & FATTR_FH, in->fh), r = 0;

	if (fd < 0)
		return fd;
	if (in->valid & (FATTR_UID | FATTR_GID))
		r = set_owner(in, fd);
	if (r == 0 && (in->valid & FATTR_MODE))
		r = set_mode(req, in, fd);
	if (r == 0 && (in->valid & FATTR_SIZE))
		r = set_size(req, in, fd);
	if (r == 0 && (in->valid & (FATTR_ATIME | FATTR_MTIME | FATTR_ATIME_NOW | FATTR_MTIME_NOW)))
		r = set_times(in, fd);
	return r < 0 ? r : fs_answer_attr(req, fd);
}

/* ---- others ------------------------------------------------------------------------------------- */

int fs_do_readlink(struct fs_request *req)
{
	size_t room = req->room < FS_OUT_MAX ? req->room : FS_OUT_MAX;
	int fd = fs_node_of(req);
	ssize_t n;

	if (fd < 0)
		return fd;
	if (!S_ISLNK(req->node->type) || !room)
		return -EINVAL;
	n = readlinkat(fd, "", (char *)req->fs->out, room);
	return n < 0 ? -errno : (int)n;
}

/*
 * A kernel with default_permissions, as virtio-fs has it, does not ask. What the mode says is the answer: neither groups nor
 * ACLs of whoever asks are known here.
 */
int fs_do_access(struct fs_request *req)
{
	const struct fuse_access_in *in = req->arg;
	int fd = fs_node_of(req);
	uint32_t granted;
	struct statx stx;
	int r;

	if (fd < 0)
		return fd;
	r = fs_stat_fd(fd, &stx);
	if (r < 0)
		return r;
	if (req->header.uid == 0)
		granted = R_OK | W_OK | (S_ISDIR(stx.stx_mode) || (stx.stx_mode & 0111) ? X_OK : 0);
	else if (req->header.uid == stx.stx_uid)
		granted = stx.stx_mode >> 6;
	else if (req->header.gid == stx.stx_gid)
		granted = stx.stx_mode >> 3;
	else
		granted = stx.stx_mode;
	return in->mask & 7 & ~granted ? -EACCES : 0;
}

int fs_do_statfs(struct fs_request *req)
{
	struct fuse_statfs_out out = { 0 };
	int fd = fs_node_of(req);
	struct statfs st;

	if (fd < 0)
		return fd;
	if (fstatfs(fd, &st) < 0)
		return -errno;
	out.st = (struct fuse_kstatfs){
		.blocks = st.f_blocks,
		.bfree = st.f_bfree,
		.bavail = st.f_bavail,
		.files = st.f_files,
		.ffree = st.f_ffree,
		.bsize = (uint32_t)st.f_bsize,
		.namelen = (uint32_t)st.f_namelen,
		.frsize = (uint32_t)st.f_frsize,
	};
	return fs_answer(req, 0, &out, sizeof(out));
}
