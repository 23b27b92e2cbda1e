/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading directories. The guest's position in one is the host's (d_off of getdents64(2)), so that it stays right while entries
 * come and go. Entries are read in small blocks; what does not fit into an answer is kept for the next one, since to go back is
 * slow on some file systems (overlayfs counts) and skips entries on others (tmpfs before Linux 6.6).
 */
#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "microvm/fs_path.h"
#include "microvm/fs_request.h"

#define BLOCK_SIZE \
	4096 /* of getdents64(2), and so the most that is kept; an entry takes at most 280 bytes */

int fs_do_opendir(struct fs_request *req)
{
	const struct fuse_open_in *in = req->arg;
	struct fuse_open_out out = { 0 };
	int fd = fs_node_of(req);

	if (fd < 0)
		return fd;
	if (!S_ISDIR(req->node->type))
		return -ENOTDIR;
	fd = fs_open_beneath(fd, ".", O_RDONLY | O_DIRECTORY | (int)(in->flags & O_NOATIME), 0);
	if (fd >= 0)
		fd = fs_file_add(&req->fs->files, req->node, fd, &out.fh);
	return fd < 0 ? fd : fs_answer(req, 0, &out, sizeof(out));
}

/* An answer as it grows. */
struct listing {
	struct fs_request *req;
	size_t used, size;
	bool plus; /* each entry with what LOOKUP would say */
};

static bool is_dot(const char *name)
{
	return name[0] == '.' && (!name[1] || (name[1] == '.' && !name[2]));
}

static void fill_dirent(const struct fs_request *req, const struct dirent64 *entry,
			struct fuse_dirent *dirent)
{
	*dirent = (struct fuse_dirent){
		.ino = entry->d_ino,
		.off = (uint64_t)entry->d_off,
		.namelen = (uint32_t)strlen(entry->d_name),
		.type = entry->d_type,
	};
	/* What is above the tree is not the guest's to know. */
	if (req->header.nodeid == FUSE_ROOT_ID && strcmp(entry->d_name, "..") == 0)
		dirent->ino = req->node->inode;
}

/* Whether there was room. */
static bool add(struct listing *list, const struct dirent64 *entry)
{
	struct fs *fs = list->req->fs;
	uint8_t *at = fs->out + list->used;
	struct fuse_entry_out known = { 0 };
	struct fuse_dirent dirent;
	size_t head = list->plus ? sizeof(known) : 0, size, end;
	struct fs_node *node;
	struct statx stx;
	int r = -EINVAL;

	fill_dirent(list->req, entry, &dirent);
	end = head + FUSE_NAME_OFFSET + dirent.namelen;
	size = FUSE_DIRENT_ALIGN(end);
	if (list->used + size > list->size)
		return false;
	if (list->plus && !is_dot(entry->d_name))
		r = fs_node_lookup(&fs->nodes, list->req->node, entry->d_name, &node, &stx);
	if (r == -ENOENT)
		return true; /* gone meanwhile */
	/* What cannot be found now is listed all the same (node 0): the guest asks when it needs it. */
	if (r == 0) {
		fs_entry_fill(fs, node, &stx, &known);
		dirent.ino = known.attr.ino;
	}
	memcpy(at, &known, head);
	memcpy(at + head, &dirent, FUSE_NAME_OFFSET);
	memcpy(at + head + FUSE_NAME_OFFSET, entry->d_name, dirent.namelen);
	memset(at + end, 0, size - end);
	list->used += size;
	return true;
}

/* Adds the entries of a block, moves the file's position behind them, and returns how many bytes of the block that were. */
static size_t add_block(struct listing *list, struct fs_file *file, const uint8_t *block,
			size_t size)
{
	size_t at = 0;

	while (at < size) {
		const struct dirent64 *entry = (const struct dirent64 *)(block + at);

		if (!add(list, entry))
			break;
		file->position = (uint64_t)entry->d_off;
		at += entry->d_reclen;
	}
	return at;
}

/* Goes to where the guest wants to read on, which mostly is where it stopped. */
static int go_to(struct fs_request *req, struct fs_file *file, uint64_t offset)
{
	if (offset == file->position)
		return 0;
	fs_file_keep(&req->fs->files, file, NULL, 0);
	if (offset > INT64_MAX || lseek(file->fd, (off_t)offset, SEEK_SET) < 0)
		return -EINVAL;
	file->position = offset;
	return 0;
}

/* Keeps what did not fit, or where it cannot, goes back to it. */
static int keep(struct fs_request *req, struct fs_file *file, const uint8_t *rest, size_t size)
{
	if (fs_file_keep(&req->fs->files, file, rest, (uint32_t)size) == 0)
		return 0;
	return lseek(file->fd, (off_t)file->position, SEEK_SET) < 0 ? -errno : 0;
}

static int read_dir(struct fs_request *req, bool plus)
{
	const struct fuse_read_in *in = req->arg;
	struct fs_file *file = fs_file_of(req, in->fh, S_IFDIR);
	struct listing list = { .req = req, .size = in->size, .plus = plus };
	uint64_t block[BLOCK_SIZE / sizeof(uint64_t)];
	int r;

	if (!file)
		return -EBADF;
	req->node = file->node;
	if (list.size > req->room)
		list.size = req->room;
	if (list.size > FS_OUT_MAX)
		list.size = FS_OUT_MAX;
	r = go_to(req, file, in->offset);
	if (r < 0)
		return r;
	if (file->rest) {
		size_t taken = add_block(&list, file, file->rest, file->rest_size);

		r = keep(req, file, file->rest + taken, file->rest_size - taken);
		if (r < 0 || file->rest)
			return list.used ? (int)list.used : r < 0 ? r : -EINVAL;
	}
	for (;;) {
		ssize_t n = getdents64(file->fd, block, sizeof(block));
		size_t taken;

		if (n <= 0)
			return n == 0 || list.used ? (int)list.used : -errno;
		taken = add_block(&list, file, (const uint8_t *)block, (size_t)n);
		if (taken == (size_t)n)
			continue;
		r = keep(req, file, (const uint8_t *)block + taken, (size_t)n - taken);
		/* Not even one: what the guest offers is too small for a name. */
		return list.used ? (int)list.used : r < 0 ? r : -EINVAL;
	}
}

int fs_do_readdir(struct fs_request *req)
{
	return read_dir(req, false);
}

int fs_do_readdirplus(struct fs_request *req)
{
	return read_dir(req, true);
}

/* Also what others have written there: only the whole file system can be synchronised. */
int fs_do_syncfs(struct fs_request *req)
{
	_cleanup_close_ int dir = -EBADF;
	int fd = fs_node_of(req);

	if (fd < 0)
		return fd;
	if (!S_ISDIR(req->node->type))
		return -ENOTDIR;
	dir = fs_open_beneath(fd, ".", O_RDONLY | O_DIRECTORY, 0);
	if (dir < 0)
		return dir;
	return syncfs(dir) < 0 ? -errno : 0;
}
