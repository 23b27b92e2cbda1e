/* SPDX-License-Identifier: Apache-2.0 */
/* The table of nodes, their names and reference counts; see fs_node.h. Their descriptors are in fs_node_fd.c. */
#include "microvm/fs_node.h"

#include <fcntl.h>
#include <linux/fuse.h>
#include <malloc.h>
#include <string.h>

#include "microvm/fs_node_fd.h"
#include "microvm/fs_path.h"

#define BUCKETS_MIN 64

/* ---- hash tables: by number, and by inode ------------------------------------------------------- */

static size_t id_bucket(const struct fs_nodes *nodes, uint64_t id)
{
	return (size_t)id & (nodes->buckets - 1); /* numbers are given one after the other */
}

static size_t inode_bucket(const struct fs_nodes *nodes, dev_t dev, uint64_t inode, uint32_t mount)
{
	uint64_t h = (inode ^ (uint64_t)dev << 17 ^ (uint64_t)mount << 40) * 0x9e3779b97f4a7c15;

	return (size_t)(h >> 32) & (nodes->buckets - 1);
}

static size_t name_bucket(const struct fs_nodes *nodes, const struct fs_node *dir, const char *name)
{
	uint64_t h = dir->id;

	for (; *name; name++)
		h = (h ^ (uint8_t)*name) * 0x100000001b3;
	return inode_bucket(nodes, 0, h, 0);
}

/* In the one table there are two kinds: by inode, and those whose inode is not known yet by their name. */
static struct fs_node **inode_head(const struct fs_nodes *nodes, const struct fs_node *node)
{
	return &nodes->by_inode[node->unknown
					? name_bucket(nodes, node->parent, node->name)
					: inode_bucket(nodes, node->dev, node->inode, node->mount)];
}

static void hash_inode(struct fs_nodes *nodes, struct fs_node *node)
{
	struct fs_node **head = inode_head(nodes, node);

	node->next_inode = *head;
	*head = node;
	node->hashed = true;
}

static void unhash_inode(struct fs_nodes *nodes, struct fs_node *node)
{
	struct fs_node **at;

	if (!node->hashed)
		return;
	at = inode_head(nodes, node);
	while (*at != node)
		at = &(*at)->next_inode;
	*at = node->next_inode;
	node->hashed = false;
}

static void hash_id(struct fs_nodes *nodes, struct fs_node *node)
{
	struct fs_node **head = &nodes->by_id[id_bucket(nodes, node->id)];

	node->next_id = *head;
	*head = node;
}

static void unhash_id(struct fs_nodes *nodes, struct fs_node *node)
{
	struct fs_node **at = &nodes->by_id[id_bucket(nodes, node->id)];

	while (*at != node)
		at = &(*at)->next_id;
	*at = node->next_id;
}

static int resize(struct fs_nodes *nodes, size_t buckets)
{
	struct fs_node **by_id = calloc(buckets, sizeof(struct fs_node *));
	struct fs_node **by_inode = calloc(buckets, sizeof(struct fs_node *));
	struct fs_node **old = nodes->by_id;
	size_t old_buckets = nodes->buckets;

	if (!by_id || !by_inode) {
		free(by_id);
		free(by_inode);
		return -ENOMEM;
	}
	free(nodes->by_inode);
	nodes->by_id = by_id;
	nodes->by_inode = by_inode;
	nodes->buckets = buckets;
	for (size_t i = 0; i < old_buckets; i++) {
		for (struct fs_node *node = old[i], *next; node; node = next) {
			next = node->next_id;
			hash_id(nodes, node);
			if (node->hashed)
				hash_inode(nodes, node);
		}
	}
	free(old);
	return 0;
}

static void shrink(struct fs_nodes *nodes)
{
	if (nodes->buckets <= BUCKETS_MIN || nodes->count > nodes->buckets / 8)
		return;
	resize(nodes, nodes->buckets / 4 > BUCKETS_MIN ? nodes->buckets / 4 : BUCKETS_MIN);
	/* A walk through a large tree is over: its memory goes back to the host. */
	malloc_trim(0);
}

/* ---- making and freeing ------------------------------------------------------------------------- */

static void identify(struct fs_node *node, const struct statx *stx)
{
	node->dev = fs_statx_dev(stx);
	node->inode = stx->stx_ino;
	node->mount = (uint32_t)stx->stx_mnt_id;
	node->type = stx->stx_mode & S_IFMT;
	node->born = fs_node_birth(stx);
}

/* The known node of the file with these attributes. A number that was used again makes the node that had it stale. */
static struct fs_node *find(struct fs_nodes *nodes, const struct statx *stx)
{
	struct fs_node *node = nodes->by_inode[inode_bucket(nodes, fs_statx_dev(stx), stx->stx_ino,
							    (uint32_t)stx->stx_mnt_id)];

	for (struct fs_node *next; node; node = next) {
		next = node->next_inode;
		if (node->unknown || node->dev != fs_statx_dev(stx) ||
		    node->inode != stx->stx_ino || node->mount != (uint32_t)stx->stx_mnt_id ||
		    node->type != (stx->stx_mode & S_IFMT))
			continue;
		/* An inode with a descriptor keeps its number. */
		if (node->fd >= 0 || fs_node_is(node, stx))
			return node;
		unhash_inode(nodes, node);
	}
	return NULL;
}

static struct fs_node *add(struct fs_nodes *nodes, uint64_t id)
{
	struct fs_node *node;

	if (nodes->count >= nodes->count_max)
		return NULL;
	if (nodes->count >= nodes->buckets)
		resize(nodes, nodes->buckets * 2); /* or the chains get longer */
	node = calloc(1, sizeof(*node));
	if (!node)
		return NULL;
	node->fd = -EBADF;
	node->id = id;
	hash_id(nodes, node);
	nodes->count++;
	return node;
}

static struct fs_node *make(struct fs_nodes *nodes, const struct statx *stx)
{
	struct fs_node *node = add(nodes, nodes->next_id);

	if (!node)
		return NULL;
	nodes->next_id++;
	identify(node, stx);
	hash_inode(nodes, node);
	return node;
}

/* Frees the node where nothing refers to it, and then its parent, which it referred to, and so on. */
static void release(struct fs_nodes *nodes, struct fs_node *node)
{
	while (node && node != nodes->root && !node->nlookup && !node->refs) {
		struct fs_node *parent = node->parent;

		fs_node_close(nodes, node);
		unhash_id(nodes, node);
		unhash_inode(nodes, node);
		free(node->name);
		free(node);
		nodes->count--;
		if (parent)
			parent->refs--;
		node = parent;
	}
}

int fs_nodes_open(struct fs_nodes *nodes, int root, size_t count_max, unsigned fds_max,
		  struct error *err)
{
	_cleanup_close_ int fd = root;
	struct statx stx;
	int r;

	*nodes = (struct fs_nodes){ .count_max = count_max, .next_id = FUSE_ROOT_ID };
	nodes->fds_max = fds_max > FS_NODE_FDS_MIN ? fds_max : FS_NODE_FDS_MIN;
	r = fs_stat_fd(fd, &stx);
	if (r == 0 && !S_ISDIR(stx.stx_mode))
		r = -ENOTDIR;
	if (r < 0)
		return error_errno(err, -r, "serve the tree of files");
	if (resize(nodes, BUCKETS_MIN) == 0)
		nodes->root = make(nodes, &stx);
	if (!nodes->root) {
		fs_nodes_close(nodes);
		return error_errno(err, ENOMEM, "serve the tree of files");
	}
	nodes->root->fd = take_fd(&fd);
	nodes->root->nlookup = 1;
	nodes->root->pinned = true; /* for ever, and not counted */
	return 0;
}

void fs_nodes_clear(struct fs_nodes *nodes)
{
	/* Those without children and then their parents, whatever order the table has them in: release() goes up. */
	for (size_t i = 0; i < nodes->buckets; i++) {
		for (struct fs_node *node = nodes->by_id[i]; node; node = node->next_id)
			if (node != nodes->root)
				node->nlookup = 0;
	}
	fs_nodes_sweep(nodes);
	if (nodes->buckets > BUCKETS_MIN)
		resize(nodes, BUCKETS_MIN);
	nodes->root->opened = 0;
	malloc_trim(0);
}

void fs_nodes_sweep(struct fs_nodes *nodes)
{
	for (size_t i = 0; i < nodes->buckets; i++) {
		struct fs_node *node = nodes->by_id[i];

		while (node) {
			if (node == nodes->root || node->nlookup || node->refs) {
				node = node->next_id;
				continue;
			}
			release(nodes, node);
			node = nodes->by_id[i]; /* its parents may have been in this chain, too */
		}
	}
}

void fs_nodes_close(struct fs_nodes *nodes)
{
	if (nodes->root) {
		fs_nodes_clear(nodes);
		close_fd(&nodes->root->fd);
		free(nodes->root);
	}
	free(nodes->by_id);
	free(nodes->by_inode);
	*nodes = (struct fs_nodes){ 0 };
}

struct fs_node *fs_node_find(const struct fs_nodes *nodes, uint64_t id)
{
	struct fs_node *node = nodes->by_id[id_bucket(nodes, id)];

	while (node && node->id != id)
		node = node->next_id;
	return node;
}

struct fs_node *fs_node_get(const struct fs_nodes *nodes, uint64_t id)
{
	struct fs_node *node = fs_node_find(nodes, id);

	return node && node->nlookup ? node : NULL;
}

/* ---- names -------------------------------------------------------------------------------------- */

static void take_name(struct fs_nodes *nodes, struct fs_node *node)
{
	struct fs_node *parent = node->parent;

	if (node->unknown)
		unhash_inode(nodes, node);
	node->unknown = false;
	free(node->name);
	node->name = NULL;
	node->parent = NULL;
	if (parent) {
		parent->refs--;
		release(nodes, parent);
	}
}

/*
 * What is in dir cannot be above it. Where the record says so, the host moved something: the record of whatever is directly beneath
 * node on the way up from dir is outdated, and is dropped, lest parents make a circle.
 */
static void break_circle(struct fs_nodes *nodes, const struct fs_node *node, struct fs_node *dir)
{
	for (struct fs_node *at = dir; at; at = at->parent) {
		if (at->parent != node)
			continue;
		take_name(nodes, at);
		fs_node_pin(nodes, at);
		return;
	}
}

/* The caller holds node and dir. */
static int give_name(struct fs_nodes *nodes, struct fs_node *node, struct fs_node *dir,
		     const char *name)
{
	char *copy;

	if (node == nodes->root || node == dir ||
	    (node->parent == dir && strcmp(node->name, name) == 0))
		return 0;
	copy = strdup(name);
	if (!copy)
		return -ENOMEM;
	if (S_ISDIR(node->type) && node->refs)
		break_circle(nodes, node, dir);
	dir->refs++;
	take_name(nodes, node);
	node->parent = dir;
	node->name = copy;
	node->foreign = node->dev != dir->dev;
	fs_node_unpin(nodes, node);
	return 0;
}

void fs_node_lose_name(struct fs_nodes *nodes, struct fs_node *node)
{
	take_name(nodes, node);
}

/* ---- nodes that were restored ------------------------------------------------------------------- */

struct fs_node *fs_node_restore(struct fs_nodes *nodes, uint64_t id, mode_t type,
				struct fs_node *parent, const char *name)
{
	char *copy = name ? strdup(name) : NULL;
	struct fs_node *node = name && !copy ? NULL : add(nodes, id);

	if (!node) {
		free(copy);
		return NULL;
	}
	node->type = type;
	if (!copy)
		return node;
	node->name = copy;
	node->parent = parent;
	parent->refs++;
	node->unknown = true;
	hash_inode(nodes, node);
	return node;
}

void fs_node_identify(struct fs_nodes *nodes, struct fs_node *node, const struct statx *stx)
{
	unhash_inode(nodes, node);
	node->unknown = false;
	identify(node, stx);
	if (node->parent)
		node->foreign = node->dev != node->parent->dev;
	hash_inode(nodes, node);
}

int fs_node_give(struct fs_nodes *nodes, struct fs_node *node, int fd)
{
	_cleanup_close_ int path = fd;
	struct statx stx;
	int r = fs_stat_fd(path, &stx);

	if (r < 0)
		return r;
	fs_node_identify(nodes, node, &stx);
	fs_node_install(nodes, node, take_fd(&path));
	fs_node_pin(nodes, node);
	return 0;
}

struct fs_node_path fs_node_path(const struct fs_node *node)
{
	struct fs_node_path path = { { 0 } };
	size_t at = sizeof(path.s) - 1;

	if (!node->name)
		path.s[--at] = '/';
	for (; node->name; node = node->parent) {
		size_t len = strlen(node->name);

		if (len + 1 > at)
			break;
		at -= len;
		memcpy(path.s + at, node->name, len);
		path.s[--at] = '/';
	}
	memmove(path.s, path.s + at, sizeof(path.s) - at);
	return path;
}

/* Of those that have not been looked at yet. */
static struct fs_node *find_unknown(const struct fs_nodes *nodes, const struct fs_node *dir,
				    const char *name)
{
	struct fs_node *node = nodes->by_inode[name_bucket(nodes, dir, name)];

	while (node && !(node->unknown && node->parent == dir && strcmp(node->name, name) == 0))
		node = node->next_inode;
	return node;
}

void fs_node_made(struct fs_nodes *nodes, struct fs_node *dir, const char *name)
{
	struct fs_node *node;

	while ((node = find_unknown(nodes, dir, name)))
		take_name(nodes, node);
}

/* ---- finding ------------------------------------------------------------------------------------ */

/* The known node of what is called name in dir and has these attributes. */
static struct fs_node *find_named(struct fs_nodes *nodes, struct fs_node *dir, const char *name,
				  const struct statx *stx)
{
	struct fs_node *node = find_unknown(nodes, dir, name);

	if (!node)
		return find(nodes, stx);
	if (node->type == (stx->stx_mode & S_IFMT)) {
		fs_node_identify(nodes, node, stx);
		return node;
	}
	fs_node_made(nodes, dir, name);
	return find(nodes, stx);
}

/* The attributes of name in dir. */
static int look(struct fs_nodes *nodes, struct fs_node *dir, int dir_fd, const char *name,
		struct statx *stx)
{
	int r = fs_stat_beneath(dir_fd, name, stx);

	if (r == -ENOENT)
		fs_node_made(nodes, dir, name); /* or what is made later would be taken for it */
	return r;
}

static int count_lookup(struct fs_nodes *nodes, struct fs_node *node, struct fs_node *dir,
			const char *name)
{
	int r;

	node->nlookup++;
	r = name ? give_name(nodes, node, dir, name) : 0;
	if (r < 0) {
		node->nlookup--;
		release(nodes, node);
	}
	return r;
}

int fs_node_adopt(struct fs_nodes *nodes, struct fs_node *dir, const char *name, int fd,
		  struct fs_node **found, struct statx *stx)
{
	_cleanup_close_ int path = fd;
	struct fs_node *node;
	int r = fs_stat_fd(path, stx);

	if (r < 0)
		return r;
	if (name)
		fs_node_made(nodes, dir, name);
	node = find(nodes, stx);
	if (!node) {
		node = make(nodes, stx);
		if (!node)
			return -ENOMEM;
		node->foreign = node->dev != dir->dev;
	}
	if (node->fd < 0)
		fs_node_install(nodes, node, take_fd(&path));
	if (!name && !node->name)
		fs_node_pin(nodes, node);
	r = count_lookup(nodes, node, dir, name);
	if (r < 0)
		return r;
	*found = node;
	return 0;
}

int fs_node_lookup(struct fs_nodes *nodes, struct fs_node *dir, const char *name,
		   struct fs_node **found, struct statx *stx)
{
	int dir_fd = fs_node_fd(nodes, dir), fd, r;

	if (dir_fd < 0)
		return dir_fd;
	if (!S_ISDIR(dir->type))
		return -ENOTDIR;
	/* Mostly the guest asks again for what it knows. */
	r = look(nodes, dir, dir_fd, name, stx);
	if (r < 0)
		return r;
	*found = find_named(nodes, dir, name, stx);
	if (*found)
		return count_lookup(nodes, *found, dir, name);
	fd = fs_open_beneath(dir_fd, name, O_PATH, 0);
	if (fd < 0)
		return fd;
	return fs_node_adopt(nodes, dir, name, fd, found, stx);
}

void fs_node_forget(struct fs_nodes *nodes, struct fs_node *node, uint64_t count)
{
	if (node == nodes->root)
		return;
	node->nlookup = count < node->nlookup ? node->nlookup - count : 0;
	release(nodes, node);
	shrink(nodes);
}

void fs_node_hold(struct fs_node *node)
{
	node->refs++;
}

void fs_node_put(struct fs_nodes *nodes, struct fs_node *node)
{
	node->refs--;
	release(nodes, node);
}

/* ---- names that go away ------------------------------------------------------------------------- */

struct fs_node *fs_node_peek(struct fs_nodes *nodes, struct fs_node *dir, const char *name)
{
	int dir_fd = fs_node_fd(nodes, dir), fd;
	struct fs_node *node;
	struct statx stx;

	if (dir_fd < 0 || look(nodes, dir, dir_fd, name, &stx) < 0)
		return NULL;
	node = find_named(nodes, dir, name, &stx);
	if (!node || node->fd >= 0)
		return node;
	fd = fs_open_beneath(dir_fd, name, O_PATH, 0);
	if (fd < 0)
		return NULL;
	if (fs_stat_fd(fd, &stx) < 0 || !fs_node_is(node, &stx)) {
		close(fd);
		return NULL;
	}
	fs_node_install(nodes, node, fd);
	return node;
}

void fs_node_renamed(struct fs_nodes *nodes, struct fs_node *node, struct fs_node *dir,
		     const char *name)
{
	if (!node)
		return;
	fs_node_hold(node);
	if (give_name(nodes, node, dir, name) < 0) {
		/* Without memory: it has no name rather than a wrong one. */
		take_name(nodes, node);
		fs_node_pin(nodes, node);
	}
	fs_node_put(nodes, node);
}

void fs_node_unnamed(struct fs_nodes *nodes, struct fs_node *node, const struct fs_node *dir,
		     const char *name)
{
	if (!node || node->parent != dir || strcmp(node->name, name) != 0)
		return;
	take_name(nodes, node);
	fs_node_pin(nodes, node);
}
