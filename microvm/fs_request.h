/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A request on its way through the file server, for fs_*.c only. fs_fuse.c copies and checks its form by a table; an
 * operation (fs_ops_*.c) sees what is well-formed and returns the length of its answer, or a negative errno for the guest.
 */
#ifndef HULL_MICROVM_FS_REQUEST_H
#define HULL_MICROVM_FS_REQUEST_H

#include <linux/fuse.h>

#include "microvm/fs_creds.h"
#include "microvm/fs_file.h"
#include "microvm/fs_fuse.h"
#include "microvm/fs_node.h"

/* The longest argument is an extended attribute with its name, the longest answer one, or a part of a directory. */
#define FS_IN_MAX  (size_t)(66 * 1024)
#define FS_OUT_MAX (size_t)(64 * 1024)

/* Protocol 7.39: what linux/fuse.h of older systems lacks. */
#define FS_FUSE_MINOR     39
#define FS_FUSE_MINOR_MIN 31
#define FS_FUSE_STATX     52

struct fs_statx_in {
	uint32_t getattr_flags, reserved;
	uint64_t fh;
	uint32_t sx_flags, sx_mask;
};

struct fs_sx_time {
	int64_t sec;
	uint32_t nsec;
	int32_t reserved;
};

struct fs_statx_out {
	uint64_t attr_valid;
	uint32_t attr_valid_nsec, flags;
	uint64_t spare[2];
	uint32_t mask, blksize;
	uint64_t attributes;
	uint32_t nlink, uid, gid;
	uint16_t mode, spare0;
	uint64_t ino, size, blocks, attributes_mask;
	struct fs_sx_time atime, btime, ctime, mtime;
	uint32_t rdev_major, rdev_minor, dev_major, dev_minor;
	uint64_t spare2[14];
};

struct fs {
	struct fs_nodes nodes;
	struct fs_files files;
	struct fs_creds creds;
	int descriptors;
	bool read_only;
	unsigned cache_ms;
	bool initialised;
	uint64_t features; /* FUSE_… of INIT that both sides know */
	uint8_t *in, *out; /* of FS_IN_MAX, FS_OUT_MAX bytes */
	struct iovec data[FS_IOV_MAX];
};

struct fs_request {
	struct fs *fs;
	struct fuse_in_header header;
	struct fs_node *node;      /* header.nodeid's; NULL where the operation has none */
	const void *arg;           /* the fixed part, of the size that the table says */
	const char *name, *second; /* strings that follow; NULL where there are none */
	const void *rest;          /* what follows them */
	size_t rest_size;
	const struct iovec *in, *out;
	unsigned in_count, out_count;
	size_t data_size; /* WRITE: bytes of data behind arg, in the guest's buffers */
	size_t room;      /* bytes of the guest's buffers for the answer, without its header */
	bool direct;      /* the answer is in the guest's buffers already */
};

typedef int fs_operation(struct fs_request *req);

fs_operation fs_do_init, fs_do_destroy;
fs_operation fs_do_lookup, fs_do_forget, fs_do_batch_forget, fs_do_getattr, fs_do_setattr,
	fs_do_readlink, fs_do_access, fs_do_statfs, fs_do_statx;
fs_operation fs_do_open, fs_do_create, fs_do_tmpfile;
fs_operation fs_do_read, fs_do_write, fs_do_flush, fs_do_release, fs_do_fsync, fs_do_fallocate,
	fs_do_lseek, fs_do_copy_file_range;
fs_operation fs_do_opendir, fs_do_readdir, fs_do_readdirplus, fs_do_syncfs;
fs_operation fs_do_mknod, fs_do_mkdir, fs_do_symlink, fs_do_unlink, fs_do_rmdir, fs_do_rename,
	fs_do_rename2, fs_do_link;
fs_operation fs_do_setxattr, fs_do_getxattr, fs_do_listxattr, fs_do_removexattr;

/* Puts a struct of an answer at offset; what comes before it is there already. Returns the answer's length by now. */
int fs_answer(struct fs_request *req, size_t offset, const void *answer, size_t size);

static inline bool fs_has(const struct fs *fs, uint64_t feature)
{
	return (fs->features & feature) != 0;
}

/* ---- attributes (fs_attr.c) ---------------------------------------------------------------------- */

void fs_attr_fill(const struct fs *fs, const struct fs_node *node, const struct statx *stx,
		  struct fuse_attr *attr);
void fs_entry_fill(const struct fs *fs, const struct fs_node *node, const struct statx *stx,
		   struct fuse_entry_out *entry);

/* The answers of those operations that are about a name, and about attributes. */
int fs_answer_entry(struct fs_request *req, const struct fs_node *node, const struct statx *stx);
int fs_answer_attr(struct fs_request *req, int fd);
int fs_answer_statx(struct fs_request *req, int fd);

/* The descriptor of the node's, or a negative errno. */
static inline int fs_node_of(struct fs_request *req)
{
	return fs_node_fd(&req->fs->nodes, req->node);
}

/* The open file fh of the request's node, of this type (S_IFMT), or NULL. */
static inline struct fs_file *fs_file_of(struct fs_request *req, uint64_t fh, mode_t type)
{
	struct fs_file *file = fs_file_get(&req->fs->files, fh, req->header.nodeid);

	return file && file->node->type == type ? file : NULL;
}

#endif
