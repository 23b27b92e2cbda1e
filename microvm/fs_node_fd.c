/* SPDX-License-Identifier: Apache-2.0 */
/* Who of the nodes has a descriptor; see fs_node.h. */
#include "microvm/fs_node_fd.h"

#include <fcntl.h>

#include "microvm/fs_path.h"

int64_t fs_node_birth(const struct statx *stx)
{
	if (!(stx->stx_mask & STATX_BTIME))
		return 0;
	return (int64_t)((uint64_t)stx->stx_btime.tv_sec * 1000000000 + stx->stx_btime.tv_nsec);
}

bool fs_node_is(const struct fs_node *node, const struct statx *stx)
{
	return node->dev == fs_statx_dev(stx) && node->inode == stx->stx_ino &&
	       node->mount == (uint32_t)stx->stx_mnt_id && node->type == (stx->stx_mode & S_IFMT) &&
	       node->born == fs_node_birth(stx);
}

/* ---- the order of use --------------------------------------------------------------------------- */

static void enqueue(struct fs_nodes *nodes, struct fs_node *node)
{
	node->newer = NULL;
	node->older = nodes->newest;
	if (nodes->newest)
		nodes->newest->newer = node;
	else
		nodes->oldest = node;
	nodes->newest = node;
}

static void dequeue(struct fs_nodes *nodes, struct fs_node *node)
{
	*(node->newer ? &node->newer->older : &nodes->newest) = node->older;
	*(node->older ? &node->older->newer : &nodes->oldest) = node->newer;
	node->newer = node->older = NULL;
}

void fs_node_pin(struct fs_nodes *nodes, struct fs_node *node)
{
	if (node->fd < 0 || node->pinned || nodes->pinned >= nodes->fds_max / 4)
		return;
	dequeue(nodes, node);
	node->pinned = true;
	nodes->pinned++;
}

void fs_node_unpin(struct fs_nodes *nodes, struct fs_node *node)
{
	if (!node->pinned)
		return;
	node->pinned = false;
	nodes->pinned--;
	enqueue(nodes, node);
}

void fs_node_close(struct fs_nodes *nodes, struct fs_node *node)
{
	if (node->fd < 0)
		return;
	fs_node_unpin(nodes, node);
	dequeue(nodes, node);
	close_fd(&node->fd);
	nodes->fds--;
}

/*
 * The node's birth is what it is now, not what it was: that of a file on overlayfs changes when it is copied up. And what the host
 * removed without our knowledge is pinned, as long as there is room for that.
 */
static void give_up(struct fs_nodes *nodes, struct fs_node *node)
{
	struct statx stx;

	if (fs_stat_fd(node->fd, &stx) == 0) {
		if (stx.stx_nlink == 0)
			fs_node_pin(nodes, node);
		if (node->pinned)
			return;
		node->born = fs_node_birth(&stx);
	}
	fs_node_close(nodes, node);
}

void fs_node_install(struct fs_nodes *nodes, struct fs_node *node, int fd)
{
	node->fd = fd;
	nodes->fds++;
	enqueue(nodes, node);
	while (nodes->fds > nodes->fds_max && nodes->oldest != node)
		give_up(nodes, nodes->oldest);
}

/* ---- getting one again -------------------------------------------------------------------------- */

static int open_known(int parent, const struct fs_node *node, struct statx *stx)
{
	_cleanup_close_ int fd = fs_open_beneath(parent, node->name, O_PATH, 0);

	if (fd == -ENOENT || fd == -ENOTDIR)
		return -ESTALE;
	if (fd < 0)
		return fd;
	if (fs_stat_fd(fd, stx) < 0)
		return -ESTALE;
	if (node->unknown ? node->type != (stx->stx_mode & S_IFMT) : !fs_node_is(node, stx))
		return -ESTALE;
	return take_fd(&fd);
}

static int open_again(struct fs_nodes *nodes, int parent, struct fs_node *node)
{
	struct statx stx;
	int fd = open_known(parent, node, &stx);

	if (node->unknown && fd >= 0)
		fs_node_identify(nodes, node, &stx);
	else if (node->unknown && fd == -ESTALE)
		fs_node_lose_name(nodes, node); /* what gets the name later is another file */
	return fd;
}

/*
 * Up to a parent that has a descriptor, and down again. A node without one is in no order of use, so its link can note the way
 * down. Only the last parent keeps what was opened: its other children are likely to be asked for next, and more would push out what
 * the caller uses now.
 */
static int get_again(struct fs_nodes *nodes, struct fs_node *node)
{
	_cleanup_close_ int passing = -EBADF;
	struct fs_node *at = node, *down;
	int fd;

	while (at->name && at->parent->fd < 0) {
		at->parent->older = at;
		at = at->parent;
	}
	if (!at->name)
		return -ESTALE;
	fd = fs_node_fd(nodes, at->parent);
	for (;; at = down) {
		down = at == node ? NULL : at->older;
		fd = open_again(nodes, fd, at);
		close_fd(&passing);
		if (fd < 0)
			return fd;
		if (down && down != node) {
			passing = fd;
			continue;
		}
		fs_node_install(nodes, at, fd);
		if (!down)
			return fd;
	}
}

int fs_node_fd(struct fs_nodes *nodes, struct fs_node *node)
{
	if (node->fd < 0)
		return get_again(nodes, node);
	if (!node->pinned && nodes->newest != node) {
		dequeue(nodes, node);
		enqueue(nodes, node);
	}
	return node->fd;
}
