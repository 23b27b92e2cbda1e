/* SPDX-License-Identifier: Apache-2.0 */
/* Writing what the file server knows; see fs_state.h. */
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "microvm/fs_ghost.h"
#include "microvm/fs_path.h"
#include "microvm/fs_request.h"
#include "microvm/fs_state.h"

struct item {
	struct fs_node *node;
	int fd; /* any of its file, where there is one: an open one, or the node's; else -EBADF */
	bool open;
	uint8_t kind; /* enum fs_saved_kind */
};

struct saver {
	struct fs *fs;
	struct fs_state_file *f;
	struct item *items; /* parents first; node->mark says which */
	size_t count;
	uint32_t ghosts;
	const struct fs_node *directory; /* of the last ghost's device */
};

/* ---- names -------------------------------------------------------------------------------------- */

/* Whether the file that fd is of is where its node says. */
static bool is_in_place(struct fs *fs, const struct fs_node *node, int fd)
{
	struct statx is, found;
	int dir = node->name ? fs_node_fd(&fs->nodes, node->parent) : -ESTALE;

	return dir >= 0 && fs_stat_fd(fd, &is) == 0 &&
	       fs_stat_beneath(dir, node->name, &found) == 0 && is.stx_ino == found.stx_ino &&
	       fs_statx_dev(&is) == fs_statx_dev(&found) && is.stx_mnt_id == found.stx_mnt_id;
}

/* Where the kernel says that the file is; "" where it does not fit. */
static void read_path(const struct fs *fs, int fd, char path[PATH_MAX])
{
	ssize_t n = readlinkat(fs->descriptors, fs_fd_name(fd).s, path, PATH_MAX - 1);

	path[n > 0 ? n : 0] = '\0';
}

/*
 * The host may have renamed what the guest has open. The kernel's path is no more than a hint: its names are looked up one after the other, as
 * if the guest had asked, and where that leads to the very file, the node has a name again.
 */
static void find_name(struct fs *fs, int fd)
{
	struct fs_node *dir = fs->nodes.root, *found;
	char root[PATH_MAX], path[PATH_MAX], *at, *name;
	struct statx stx;
	size_t len;

	read_path(fs, dir->fd, root);
	read_path(fs, fd, path);
	len = strcmp(root, "/") == 0 ? 0 : strlen(root);
	if (root[0] != '/' || strncmp(path, root, len) != 0 || path[len] != '/')
		return;
	at = path + len + 1;
	while ((name = strsep(&at, "/"))) {
		if (!fs_name_valid(name) || fs_node_lookup(&fs->nodes, dir, name, &found, &stx) < 0)
			break;
		/* Its parent stays as long as the child does. */
		fs_node_forget(&fs->nodes, dir, 1);
		dir = found;
	}
	fs_node_forget(&fs->nodes, dir, 1);
}

static void find_names(struct fs *fs)
{
	for (uint32_t i = 0; i < fs->files.size; i++) {
		const struct fs_file *file = &fs->files.slots[i];

		if (file->fd >= 0 && file->node != fs->nodes.root &&
		    !is_in_place(fs, file->node, file->fd))
			find_name(fs, file->fd);
	}
}

/* ---- order -------------------------------------------------------------------------------------- */

/* The node behind those that are above it and not there yet. */
static void add_with_parents(struct saver *s, struct fs_node *node)
{
	size_t missing = 0, at;

	for (struct fs_node *up = node; up && !up->mark; up = up->parent)
		missing++;
	at = s->count += missing;
	for (struct fs_node *up = node; up && !up->mark; up = up->parent) {
		s->items[--at] = (struct item){ .node = up, .fd = up->fd };
		up->mark = (uint32_t)at + 1;
	}
}

static int order(struct saver *s)
{
	struct fs_nodes *nodes = &s->fs->nodes;

	s->items = calloc(nodes->count, sizeof(*s->items));
	if (!s->items)
		return error_errno(&s->f->err, ENOMEM, "the state");
	for (size_t i = 0; i < nodes->buckets; i++)
		for (struct fs_node *node = nodes->by_id[i]; node; node = node->next_id)
			node->mark = 0;
	add_with_parents(s, nodes->root);
	for (size_t i = 0; i < nodes->buckets; i++)
		for (struct fs_node *node = nodes->by_id[i]; node; node = node->next_id)
			add_with_parents(s, node);
	for (uint32_t i = 0; i < s->fs->files.size; i++) {
		const struct fs_file *file = &s->fs->files.slots[i];
		struct item *item;

		if (file->fd < 0)
			continue;
		item = &s->items[file->node->mark - 1];
		item->fd = file->fd;
		item->open = true;
	}
	return 0;
}

/* ---- what can be found again -------------------------------------------------------------------- */

static bool can_be_read(const struct fs *fs, int fd)
{
	_cleanup_close_ int own = fs_reopen(fs->descriptors, fd, O_RDONLY);

	return own >= 0;
}

static int classify_open(struct saver *s, struct item *item)
{
	const struct fs_node *node = item->node;

	if (is_in_place(s->fs, node, item->fd)) {
		item->kind = FS_SAVED_NAMED;
	} else if (!S_ISREG(node->type)) {
		item->kind = FS_SAVED_STALE;
	} else if (fs_ghost_is(s->fs, item->fd)) {
		item->kind = FS_SAVED_GHOST;
	} else if (node->name) {
		return error_set(&s->f->err, EBUSY,
				 "the open file `%s` has lost this name, and is known by no other",
				 fs_node_path(node).s);
	} else {
		return error_set(
			&s->f->err, EBUSY,
			"an open file (inode %llu) has lost its name, and is known by no other",
			(unsigned long long)node->inode);
	}
	return 0;
}

static int classify(struct saver *s, struct item *item)
{
	const struct fs_node *node = item->node;
	struct statx stx;

	item->kind = FS_SAVED_NAMED;
	if (node == s->fs->nodes.root)
		item->kind = FS_SAVED_ROOT;
	else if (item->open)
		return classify_open(s, item);
	else if (S_ISREG(node->type) && node->fd >= 0 &&
		 (node->name ? fs_stat_fd(node->fd, &stx) == 0 && stx.stx_nlink == 0
			     : fs_ghost_is(s->fs, node->fd)) &&
		 can_be_read(s->fs, node->fd))
		item->kind = FS_SAVED_GHOST;
	else if (!node->name)
		item->kind = FS_SAVED_STALE;
	return 0;
}

static int classify_all(struct saver *s)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < s->count; i++) {
		r = classify(s, &s->items[i]);
		s->ghosts += r == 0 && s->items[i].kind == FS_SAVED_GHOST;
	}
	return r;
}

/* ---- writing ------------------------------------------------------------------------------------ */

static void put_node(struct saver *s, const struct item *item)
{
	const struct fs_node *node = item->node;
	struct fs_saved_node saved = {
		.id = node->id,
		.nlookup = node->nlookup,
		.opened = node->opened,
		.type = node->type,
		.kind = item->kind,
		.foreign = node->foreign,
	};

	if (item->kind == FS_SAVED_NAMED) {
		saved.parent = node->parent->id;
		saved.name_size = (uint16_t)strlen(node->name);
	}
	fs_state_put(s->f, &saved, sizeof(saved));
	fs_state_put(s->f, node->name, saved.name_size);
}

/* A directory on the device, where a file can be made that is of no other. */
static const struct fs_node *directory_on(struct saver *s, dev_t dev)
{
	if (s->directory && s->directory->dev == dev)
		return s->directory;
	for (size_t i = 0; i < s->count; i++) {
		const struct item *item = &s->items[i];

		if (S_ISDIR(item->node->type) && item->kind <= FS_SAVED_NAMED &&
		    item->node->dev == dev)
			return s->directory = item->node;
	}
	return s->fs->nodes.root;
}

static int put_ghosts(struct saver *s)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < s->count; i++) {
		struct item *item = &s->items[i];
		struct statx stx;

		if (item->kind != FS_SAVED_GHOST)
			continue;
		/* A node's may have been given up meanwhile. */
		if (!item->open)
			item->fd = item->node->fd;
		r = item->fd < 0 ? -EBADF : fs_stat_fd(item->fd, &stx);
		if (r < 0)
			return error_errno(&s->f->err, -r, "read a file without a name");
		r = fs_ghost_save(s->fs, s->f, item->node, item->fd,
				  directory_on(s, fs_statx_dev(&stx)));
	}
	return r;
}

static void put_slots(struct saver *s)
{
	for (uint32_t i = 0; i < s->fs->files.size; i++) {
		const struct fs_file *file = &s->fs->files.slots[i];
		struct fs_saved_slot saved = { .generation = file->generation };

		if (file->fd >= 0) {
			saved.node = file->node->id;
			saved.position = file->position;
			saved.flags = (uint32_t)fcntl(file->fd, F_GETFL);
		}
		fs_state_put(s->f, &saved, sizeof(saved));
	}
}

static int put_all(struct saver *s)
{
	const struct fs_state_header header = {
		.magic = FS_STATE_MAGIC,
		.version = FS_STATE_VERSION,
		.initialised = s->fs->initialised,
		.features = s->fs->features,
		.next_id = s->fs->nodes.next_id,
		.nodes = (uint32_t)s->count,
		.ghosts = s->ghosts,
		.slots = s->fs->files.size,
	};
	int r;

	fs_state_put(s->f, &header, sizeof(header));
	for (size_t i = 0; i < s->count; i++)
		put_node(s, &s->items[i]);
	r = put_ghosts(s);
	if (r == 0)
		put_slots(s);
	return r;
}

int fs_state_save(struct fs *fs, int fd, struct error *err)
{
	struct saver s = { .fs = fs, .f = fs_state_file_new(fd, err) };
	int r;

	if (!s.f)
		return error_negative(err ? err->code : EINVAL);
	find_names(fs);
	r = order(&s);
	if (r == 0)
		r = classify_all(&s);
	if (r == 0)
		put_all(&s);
	r = fs_state_finish(s.f, err);
	free(s.items);
	free(s.f);
	return r;
}
