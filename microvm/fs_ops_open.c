/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Opening files. Only regular files are ever opened: a device, FIFO or socket is the guest kernel's to open, from the
 * node's type and device number, and on the host nothing happens. So a file is opened by the descriptor of a node whose
 * type is known, or it is made here.
 */
#include <fcntl.h>
#include <time.h>
#include <unistd.h>

#include "microvm/fs_path.h"
#include "microvm/fs_request.h"

/*
 * What goes to the host. Not O_APPEND: each write says whether it appends, and those from the page cache do not, whatever the file that
 * they come by was opened with. Not O_DIRECT: it asks for an alignment that the guest's buffers need not have.
 */
#define OPEN_FLAGS (O_ACCMODE | O_TRUNC | O_SYNC | O_DSYNC | O_NOATIME)

#define SETTLED_NS \
	INT64_C(1000000000) /* a change after that has another time, however coarse the clock */

static bool writes(uint32_t flags)
{
	return (flags & O_ACCMODE) != O_RDONLY || (flags & O_TRUNC);
}

/*
 * Whether the guest may keep what it has cached of the file: where its change time is what it was when it was opened last, and was
 * long ago even then, so that any change since would show.
 */
static bool unchanged_since_last(struct fs_node *node, int fd)
{
	int64_t before = node->opened, changed;
	struct timespec now;
	struct stat st;

	node->opened = 0;
	if (fstat(fd, &st) < 0 || clock_gettime(CLOCK_REALTIME, &now) < 0)
		return false;
	changed = (int64_t)st.st_ctim.tv_sec * 1000000000 + st.st_ctim.tv_nsec;
	if ((int64_t)now.tv_sec * 1000000000 + now.tv_nsec - changed > SETTLED_NS)
		node->opened = changed;
	return node->opened && node->opened == before;
}

/* The file fd (taken over) is open now: fills the answer. */
static int opened(struct fs_request *req, struct fs_node *node, int fd, uint32_t flags,
		  struct fuse_open_out *out)
{
	*out = (struct fuse_open_out){ 0 };
	if (unchanged_since_last(node, fd))
		out->open_flags |= FOPEN_KEEP_CACHE;
	/* Closing it writes nothing, so nobody has to be asked. */
	if ((flags & O_ACCMODE) == O_RDONLY)
		out->open_flags |= FOPEN_NOFLUSH;
	return fs_file_add(&req->fs->files, node, fd, &out->fh);
}

static int open_node(struct fs_request *req, struct fs_node *node, uint32_t flags,
		     uint32_t open_flags)
{
	struct fs *fs = req->fs;
	int path = fs_node_fd(&fs->nodes, node), fd;
	bool drop;

	if (path < 0)
		return path;
	if (!S_ISREG(node->type))
		return S_ISDIR(node->type) ? -EISDIR : S_ISLNK(node->type) ? -ELOOP : -ENXIO;
	if ((flags & O_ACCMODE) == O_ACCMODE)
		return -EINVAL;
	if (fs->read_only && writes(flags))
		return -EROFS;
	drop = (open_flags & FUSE_OPEN_KILL_SUIDGID) && fs_creds_drop_fsetid(path);
	fd = fs_reopen(fs->descriptors, path, (int)(flags & OPEN_FLAGS));
	/* A file that can only be appended to (chattr +a) cannot be opened in another way. */
	if (fd == -EPERM && (flags & O_APPEND))
		fd = fs_reopen(fs->descriptors, path, (int)(flags & (OPEN_FLAGS | O_APPEND)));
	if (drop)
		fs_creds_regain_fsetid();
	return fd;
}

int fs_do_open(struct fs_request *req)
{
	const struct fuse_open_in *in = req->arg;
	struct fuse_open_out out;
	int fd = open_node(req, req->node, in->flags, in->open_flags);

	if (fd < 0)
		return fd;
	fd = opened(req, req->node, fd, in->flags, &out);
	return fd < 0 ? fd : fs_answer(req, 0, &out, sizeof(out));
}

/* ---- making files ------------------------------------------------------------------------------- */

static int answer_made(struct fs_request *req, struct fs_node *node, const struct statx *stx,
		       int fd, uint32_t flags)
{
	struct fuse_entry_out entry;
	struct fuse_open_out out;
	int r = opened(req, node, fd, flags, &out);

	if (r < 0) {
		fs_node_forget(&req->fs->nodes, node, 1);
		return r;
	}
	fs_entry_fill(req->fs, node, stx, &entry);
	r = fs_answer(req, 0, &entry, sizeof(entry));
	return fs_answer(req, (size_t)r, &out, sizeof(out));
}

/* O_CREAT without O_EXCL where there is something already, which the guest did not know of. */
static int open_existing(struct fs_request *req, const struct fuse_create_in *in)
{
	struct fs_node *node;
	struct statx stx;
	int fd, r = fs_node_lookup(&req->fs->nodes, req->node, req->name, &node, &stx);

	if (r < 0)
		return r;
	fd = open_node(req, node, in->flags, in->open_flags);
	if (fd < 0) {
		fs_node_forget(&req->fs->nodes, node, 1);
		return fd;
	}
	if (in->flags & O_TRUNC)
		fs_stat_fd(fd, &stx);
	return answer_made(req, node, &stx, fd, in->flags);
}

/* A new file, open, with a name or (NULL) without. */
static int make_file(struct fs_request *req, const struct fuse_create_in *in, const char *name)
{
	struct fs *fs = req->fs;
	int flags = (int)(in->flags & (OPEN_FLAGS & ~(O_TRUNC | O_NOATIME)));
	int dir = fs_node_of(req), fd, r;

	if (dir < 0)
		return dir;
	if (!S_ISDIR(req->node->type))
		return -ENOTDIR;
	if ((in->flags & O_ACCMODE) == O_ACCMODE)
		return -EINVAL;
	if (fs->files.used == fs->files.count_max)
		return -ENFILE; /* before it is made */
	r = fs_creds_assume(&fs->creds, req->header.uid, req->header.gid, in->umask);
	if (r < 0)
		fd = r;
	else if (name)
		/* O_EXCL: what is there already may be a device, and opening it could do anything. */
		fd = fs_open_beneath(dir, name, flags | O_CREAT | O_EXCL, in->mode & 07777);
	else
		fd = fs_open_beneath(dir, ".", flags | O_TMPFILE | (int)(in->flags & O_EXCL),
				     in->mode & 07777);
	fs_creds_restore(&fs->creds);
	return fd;
}

static int adopt(struct fs_request *req, const struct fuse_create_in *in, const char *name, int fd)
{
	_cleanup_close_ int file = fd;
	struct fs *fs = req->fs;
	struct fs_node *node;
	struct statx stx;
	int path = fs_reopen(fs->descriptors, file, O_PATH), r;

	if (path < 0)
		return path;
	r = fs_node_adopt(&fs->nodes, req->node, name, path, &node, &stx);
	return r < 0 ? r : answer_made(req, node, &stx, take_fd(&file), in->flags);
}

int fs_do_create(struct fs_request *req)
{
	const struct fuse_create_in *in = req->arg;
	int fd = make_file(req, in, req->name);

	if (fd == -EEXIST && !(in->flags & O_EXCL))
		return open_existing(req, in);
	return fd < 0 ? fd : adopt(req, in, req->name, fd);
}

int fs_do_tmpfile(struct fs_request *req)
{
	const struct fuse_create_in *in = req->arg;
	int fd = (in->flags & O_ACCMODE) == O_RDONLY ? -EINVAL : make_file(req, in, NULL);

	return fd < 0 ? fd : adopt(req, in, NULL, fd);
}
