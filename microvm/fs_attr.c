/* SPDX-License-Identifier: Apache-2.0 */
/* Attributes of files, as FUSE tells them; see fs_request.h. */
#include <string.h>

#include "microvm/fs_path.h"
#include "microvm/fs_request.h"

/* As the guest's kernel packs a device number into 32 bits (new_encode_dev()). */
static uint32_t device_number(const struct statx *stx)
{
	return (stx->stx_rdev_minor & 0xff) | stx->stx_rdev_major << 8 |
	       (stx->stx_rdev_minor & ~0xffU) << 12;
}

/*
 * The guest has one device for each of its file systems, and begins a new one at a directory (FUSE_ATTR_SUBMOUNT). What is no
 * directory and of another device than its directory (a file that is mounted; layers of overlayfs) is told from others with the
 * same number by its device.
 */
static uint64_t inode_number(const struct fs_node *node, const struct statx *stx)
{
	uint64_t ino = stx->stx_ino;

	if (node->foreign && !S_ISDIR(node->type))
		ino ^= (uint64_t)node->dev * 0x9e3779b97f4a7c15 & ~UINT64_C(0xffffffffff);
	return ino;
}

void fs_attr_fill(const struct fs *fs, const struct fs_node *node, const struct statx *stx,
		  struct fuse_attr *attr)
{
	*attr = (struct fuse_attr){
		.ino = inode_number(node, stx),
		.size = stx->stx_size,
		.blocks = stx->stx_blocks,
		.atime = (uint64_t)stx->stx_atime.tv_sec,
		.mtime = (uint64_t)stx->stx_mtime.tv_sec,
		.ctime = (uint64_t)stx->stx_ctime.tv_sec,
		.atimensec = stx->stx_atime.tv_nsec,
		.mtimensec = stx->stx_mtime.tv_nsec,
		.ctimensec = stx->stx_ctime.tv_nsec,
		.mode = stx->stx_mode,
		.nlink = stx->stx_nlink,
		.uid = stx->stx_uid,
		.gid = stx->stx_gid,
		.rdev = device_number(stx),
		.blksize = stx->stx_blksize,
	};
	if (node->foreign && S_ISDIR(node->type) && fs_has(fs, FUSE_SUBMOUNTS))
		attr->flags |= FUSE_ATTR_SUBMOUNT;
}

void fs_entry_fill(const struct fs *fs, const struct fs_node *node, const struct statx *stx,
		   struct fuse_entry_out *entry)
{
	*entry = (struct fuse_entry_out){
		.nodeid = node->id,
		.entry_valid = fs->cache_ms / 1000,
		.attr_valid = fs->cache_ms / 1000,
		.entry_valid_nsec = fs->cache_ms % 1000 * 1000000,
		.attr_valid_nsec = fs->cache_ms % 1000 * 1000000,
	};
	fs_attr_fill(fs, node, stx, &entry->attr);
}

int fs_answer_entry(struct fs_request *req, const struct fs_node *node, const struct statx *stx)
{
	struct fuse_entry_out out;

	fs_entry_fill(req->fs, node, stx, &out);
	return fs_answer(req, 0, &out, sizeof(out));
}

int fs_answer_attr(struct fs_request *req, int fd)
{
	struct fuse_attr_out out = {
		.attr_valid = req->fs->cache_ms / 1000,
		.attr_valid_nsec = req->fs->cache_ms % 1000 * 1000000,
	};
	struct statx stx;
	int r = fs_stat_fd(fd, &stx);

	if (r < 0)
		return r;
	fs_attr_fill(req->fs, req->node, &stx, &out.attr);
	return fs_answer(req, 0, &out, sizeof(out));
}

static struct fs_sx_time sx_time(struct statx_timestamp time)
{
	return (struct fs_sx_time){ .sec = time.tv_sec, .nsec = time.tv_nsec };
}

int fs_answer_statx(struct fs_request *req, int fd)
{
	struct fs_statx_out out = {
		.attr_valid = req->fs->cache_ms / 1000,
		.attr_valid_nsec = req->fs->cache_ms % 1000 * 1000000,
	};
	struct statx stx;
	int r = fs_stat_fd(fd, &stx);

	if (r < 0)
		return r;
	out.mask = stx.stx_mask & (STATX_BASIC_STATS | STATX_BTIME);
	out.blksize = stx.stx_blksize;
	out.nlink = stx.stx_nlink;
	out.uid = stx.stx_uid;
	out.gid = stx.stx_gid;
	out.mode = stx.stx_mode;
	out.ino = inode_number(req->node, &stx);
	out.size = stx.stx_size;
	out.blocks = stx.stx_blocks;
	out.atime = sx_time(stx.stx_atime);
	out.btime = sx_time(stx.stx_btime);
	out.ctime = sx_time(stx.stx_ctime);
	out.mtime = sx_time(stx.stx_mtime);
	out.rdev_major = stx.stx_rdev_major;
	out.rdev_minor = stx.stx_rdev_minor;
	return fs_answer(req, 0, &out, sizeof(out));
}
