/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Giving names to files, and taking them: what is made belongs to whom the request comes from. A name is one component, which
 * none of these calls follows where it is a symbolic link; no other path is ever given to the kernel.
 */
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "microvm/fs_path.h"
#include "microvm/fs_request.h"

/* The directory that the request is about, or a negative errno. */
static int directory(struct fs_request *req, struct fs_node *node)
{
	return S_ISDIR(node->type) ? fs_node_fd(&req->fs->nodes, node) : -ENOTDIR;
}

/* What was just made as req->name in the request's directory, for the guest. */
static int answer_name(struct fs_request *req)
{
	struct fs_node *node;
	struct statx stx;
	int r;

	fs_node_made(&req->fs->nodes, req->node, req->name);
	r = fs_node_lookup(&req->fs->nodes, req->node, req->name, &node, &stx);
	return r < 0 ? r : fs_answer_entry(req, node, &stx);
}

static dev_t device(uint32_t number)
{
	return makedev((number & 0xfff00) >> 8, (number & 0xff) | ((number >> 12) & 0xfff00));
}

int fs_do_mknod(struct fs_request *req)
{
	const struct fuse_mknod_in *in = req->arg;
	int dir = directory(req, req->node), r;

	if (dir < 0)
		return dir;
	r = fs_creds_assume(&req->fs->creds, req->header.uid, req->header.gid, in->umask);
	if (r == 0 && mknodat(dir, req->name, in->mode & (S_IFMT | 07777), device(in->rdev)) < 0)
		r = -errno;
	fs_creds_restore(&req->fs->creds);
	return r < 0 ? r : answer_name(req);
}

int fs_do_mkdir(struct fs_request *req)
{
	const struct fuse_mkdir_in *in = req->arg;
	int dir = directory(req, req->node), r;

	if (dir < 0)
		return dir;
	r = fs_creds_assume(&req->fs->creds, req->header.uid, req->header.gid, in->umask);
	if (r == 0 && mkdirat(dir, req->name, in->mode & 07777) < 0)
		r = -errno;
	fs_creds_restore(&req->fs->creds);
	return r < 0 ? r : answer_name(req);
}

int fs_do_symlink(struct fs_request *req)
{
	int dir = directory(req, req->node), r;

	if (dir < 0)
		return dir;
	r = fs_creds_assume(&req->fs->creds, req->header.uid, req->header.gid, 0);
	if (r == 0 && symlinkat(req->second, dir, req->name) < 0)
		r = -errno;
	fs_creds_restore(&req->fs->creds);
	return r < 0 ? r : answer_name(req);
}

int fs_do_link(struct fs_request *req)
{
	const struct fuse_link_in *in = req->arg;
	struct fs *fs = req->fs;
	struct fs_node *old = fs_node_get(&fs->nodes, in->oldnodeid);
	int fd = old ? fs_node_fd(&fs->nodes, old) : -ESTALE, dir;

	if (fd < 0)
		return fd;
	dir = directory(req, req->node);
	if (dir < 0)
		return dir;
	/* What is followed is the link in /proc, to the file itself, also where that is a symbolic link. */
	if (linkat(fs->descriptors, fs_fd_name(fd).s, dir, req->name, AT_SYMLINK_FOLLOW) < 0)
		return -errno;
	return answer_name(req);
}

/* ---- taking names away -------------------------------------------------------------------------- */

static int remove_name(struct fs_request *req, int flags)
{
	struct fs *fs = req->fs;
	struct fs_node *node;
	int dir = directory(req, req->node);

	if (dir < 0)
		return dir;
	node = fs_node_peek(&fs->nodes, req->node, req->name);
	dir = fs_node_of(req);
	if (dir < 0)
		return dir;
	if (unlinkat(dir, req->name, flags) < 0)
		return -errno;
	fs_node_unnamed(&fs->nodes, node, req->node, req->name);
	return 0;
}

int fs_do_unlink(struct fs_request *req)
{
	return remove_name(req, 0);
}

int fs_do_rmdir(struct fs_request *req)
{
	return remove_name(req, AT_REMOVEDIR);
}

static int change_name(struct fs_request *req, uint64_t to_id, unsigned flags)
{
	struct fs_nodes *nodes = &req->fs->nodes;
	struct fs_node *to = fs_node_get(nodes, to_id), *moved, *replaced;
	int from_fd, to_fd;

	if (!to)
		return -ESTALE;
	if (flags & ~(unsigned)(RENAME_NOREPLACE | RENAME_EXCHANGE | RENAME_WHITEOUT))
		return -EINVAL;
	if (!S_ISDIR(to->type) || !S_ISDIR(req->node->type))
		return -ENOTDIR;
	moved = fs_node_peek(nodes, req->node, req->name);
	replaced = fs_node_peek(nodes, to, req->second);
	from_fd = fs_node_of(req);
	to_fd = fs_node_fd(nodes, to);
	if (from_fd < 0 || to_fd < 0)
		return from_fd < 0 ? from_fd : to_fd;
	if (renameat2(from_fd, req->name, to_fd, req->second, flags) < 0)
		return -errno;
	/* Two names of one file: nothing was changed (rename(2)). */
	if (moved && moved == replaced)
		return 0;
	if (flags & RENAME_EXCHANGE)
		fs_node_renamed(nodes, replaced, req->node, req->name);
	else
		fs_node_unnamed(nodes, replaced, to, req->second);
	fs_node_renamed(nodes, moved, to, req->second);
	return 0;
}

int fs_do_rename(struct fs_request *req)
{
	const struct fuse_rename_in *in = req->arg;

	return change_name(req, in->newdir, 0);
}

int fs_do_rename2(struct fs_request *req)
{
	const struct fuse_rename2_in *in = req->arg;

	return change_name(req, in->newdir, in->flags);
}
