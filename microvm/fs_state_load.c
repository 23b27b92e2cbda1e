/* SPDX-License-Identifier: Apache-2.0 */
/* Reading what another file server knew; see fs_state.h. */
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "microvm/fs_ghost.h"
#include "microvm/fs_path.h"
#include "microvm/fs_request.h"
#include "microvm/fs_state.h"

/* Of what a file was opened with. Nothing that would change it now. */
#define REOPEN_FLAGS (O_ACCMODE | O_SYNC | O_DSYNC | O_NOATIME | O_APPEND)

struct loader {
	struct fs *fs;
	struct fs_state_file *f;
	struct fs_state_header header;
	uint32_t ghosts; /* nodes that wait for their file; node->mark is 1 */
};

static int bad_state(struct loader *l, const char *what)
{
	return error_set(&l->f->err, EBADMSG, "the state of the file server has %s", what);
}

static int too_much(struct loader *l, const char *what)
{
	return error_set(&l->f->err, ENFILE,
			 "the state of the file server has more %s than this one may have", what);
}

static int get_header(struct loader *l)
{
	struct fs_state_header *h = &l->header;
	int r = fs_state_get(l->f, h, sizeof(*h));

	if (r < 0)
		return r;
	if (memcmp(h->magic, FS_STATE_MAGIC, sizeof(h->magic)) != 0)
		return error_set(&l->f->err, EBADMSG, "this is no state of a file server");
	if (h->version != FS_STATE_VERSION)
		return error_set(&l->f->err, EBADMSG,
				 "the state is of another version of the file server (%u)",
				 h->version);
	if (h->initialised > 1 || h->features > UINT32_MAX || !h->nodes || h->ghosts > h->nodes ||
	    h->next_id <= FUSE_ROOT_ID || h->next_id > INT64_MAX)
		return bad_state(l, "a header that makes no sense");
	if (h->nodes > l->fs->nodes.count_max)
		return too_much(l, "files that are known");
	if (h->slots > l->fs->files.count_max)
		return too_much(l, "open files");
	return 0;
}

/* ---- nodes -------------------------------------------------------------------------------------- */

static bool is_type(uint32_t type)
{
	return type == S_IFREG || type == S_IFDIR || type == S_IFLNK || type == S_IFIFO ||
	       type == S_IFSOCK || type == S_IFCHR || type == S_IFBLK;
}

static bool is_possible(const struct loader *l, const struct fs_saved_node *saved)
{
	if (saved->id <= FUSE_ROOT_ID || saved->id >= l->header.next_id ||
	    saved->nlookup > INT64_MAX || saved->foreign > 1 || !is_type(saved->type) ||
	    saved->kind <= FS_SAVED_ROOT || saved->kind >= FS_SAVED_KINDS ||
	    (saved->kind == FS_SAVED_GHOST && saved->type != S_IFREG))
		return false;
	if (saved->kind != FS_SAVED_NAMED)
		return !saved->parent && !saved->name_size;
	return saved->name_size <= NAME_MAX;
}

static int get_root(struct loader *l)
{
	struct fs_saved_node saved;
	int r = fs_state_get(l->f, &saved, sizeof(saved));

	if (r < 0)
		return r;
	if (saved.id != FUSE_ROOT_ID || saved.kind != FS_SAVED_ROOT || saved.name_size)
		return bad_state(l, "no root");
	l->fs->nodes.root->opened = saved.opened;
	return 0;
}

/* That its parent is there already makes a circle impossible. */
static int get_node(struct loader *l)
{
	struct fs_nodes *nodes = &l->fs->nodes;
	struct fs_node *parent = NULL, *node;
	struct fs_saved_node saved;
	char name[NAME_MAX + 1] = "";
	int r = fs_state_get(l->f, &saved, sizeof(saved));

	if (r < 0)
		return r;
	if (!is_possible(l, &saved) || fs_node_find(nodes, saved.id))
		return bad_state(l, "a node that makes no sense");
	r = fs_state_get(l->f, name, saved.name_size);
	if (r < 0)
		return r;
	if (saved.kind == FS_SAVED_NAMED) {
		parent = fs_node_find(nodes, saved.parent);
		if (!parent || !S_ISDIR(parent->type) || strlen(name) != saved.name_size ||
		    !fs_name_valid(name))
			return bad_state(l, "a node whose name makes no sense");
	}
	node = fs_node_restore(nodes, saved.id, saved.type, parent, parent ? name : NULL);
	if (!node)
		return error_errno(&l->f->err, ENOMEM, "the state");
	node->nlookup = saved.nlookup;
	node->opened = saved.opened;
	node->foreign = saved.foreign;
	node->mark = saved.kind == FS_SAVED_GHOST;
	l->ghosts += node->mark;
	return 0;
}

static int get_nodes(struct loader *l)
{
	int r = get_root(l);

	for (uint32_t i = 1; r == 0 && i < l->header.nodes; i++)
		r = get_node(l);
	if (r == 0 && l->ghosts != l->header.ghosts)
		return bad_state(l, "files without a name that are missing");
	return r;
}

static int get_ghost(struct loader *l)
{
	struct fs_saved_ghost saved;
	struct fs_node *node;
	int r = fs_state_get(l->f, &saved, sizeof(saved));

	if (r < 0)
		return r;
	node = fs_node_find(&l->fs->nodes, saved.node);
	if (!node || node == l->fs->nodes.root || !node->mark)
		return bad_state(l, "a file without a name that nobody knows");
	node->mark = 0;
	return fs_ghost_load(l->fs, l->f, &saved, node);
}

/* ---- open files --------------------------------------------------------------------------------- */

static int reopen_file(struct loader *l, int path, int flags)
{
	int fd = fs_reopen(l->fs->descriptors, path, flags);

	/* For others' files that takes a privilege. */
	return fd == -EPERM && (flags & O_NOATIME)
		       ? fs_reopen(l->fs->descriptors, path, flags & ~O_NOATIME)
		       : fd;
}

/* A stream that does not find its place begins anew: some names come twice then, none is missing. */
static int reopen_dir(int path, uint64_t position)
{
	int fd = fs_open_beneath(path, ".", O_RDONLY | O_DIRECTORY, 0);

	if (fd >= 0 && position && lseek(fd, (off_t)position, SEEK_SET) < 0)
		lseek(fd, 0, SEEK_SET);
	return fd;
}

static int open_again(struct loader *l, struct fs_node *node, const struct fs_saved_slot *saved)
{
	/* Before it may lose its name. */
	const struct fs_node_path path = fs_node_path(node);
	const char *kind = S_ISDIR(node->type) ? "directory" : "file";
	int flags = (int)saved->flags & REOPEN_FLAGS;
	int fd = fs_node_fd(&l->fs->nodes, node);

	if (fd == -ESTALE)
		return error_set(&l->f->err, ENOENT, "the open %s `%s` is missing", kind, path.s);
	if (fd >= 0)
		fd = S_ISDIR(node->type) ? reopen_dir(fd, saved->position)
					 : reopen_file(l, fd, flags);
	return fd < 0 ? error_errno(&l->f->err, -fd, "open the %s `%s` again", kind, path.s) : fd;
}

static int open_slot(struct loader *l, struct fs_node *node, const struct fs_saved_slot *saved)
{
	bool writes = (saved->flags & O_ACCMODE) != O_RDONLY;
	int fd;

	if (!S_ISREG(node->type) && !S_ISDIR(node->type))
		return bad_state(l, "an open file of a wrong type");
	if ((saved->flags & O_ACCMODE) == O_ACCMODE || saved->position > INT64_MAX)
		return bad_state(l, "an open file that makes no sense");
	if (S_ISREG(node->type) && writes && l->fs->read_only)
		return error_set(&l->f->err, EROFS,
				 "the file `%s` is open for writing, and the tree is read-only",
				 fs_node_path(node).s);
	/* A directory that was removed: its number must be good for closing it. Nothing can be read by this (O_PATH). */
	if (S_ISDIR(node->type) && !node->name && node != l->fs->nodes.root) {
		fd = fs_open_beneath(l->fs->nodes.root->fd, ".", O_PATH | O_DIRECTORY, 0);
		return fd < 0 ? error_errno(&l->f->err, -fd, "open a directory again") : fd;
	}
	return open_again(l, node, saved);
}

static int get_slot(struct loader *l, uint32_t slot)
{
	struct fs_saved_slot saved;
	struct fs_node *node = NULL;
	int fd = -EBADF, r = fs_state_get(l->f, &saved, sizeof(saved));

	if (r < 0)
		return r;
	if (saved.node) {
		node = fs_node_find(&l->fs->nodes, saved.node);
		if (!node)
			return bad_state(l, "an open file that nobody knows");
		fd = open_slot(l, node, &saved);
		if (fd < 0)
			return fd;
	}
	fs_file_restore(&l->fs->files, slot, saved.generation, node, fd);
	if (node && S_ISDIR(node->type))
		l->fs->files.slots[slot].position = saved.position;
	return 0;
}

static int get_slots(struct loader *l)
{
	int r = fs_files_reserve(&l->fs->files, l->header.slots);

	if (r < 0)
		return error_errno(&l->f->err, -r, "the state");
	for (uint32_t i = 0; r == 0 && i < l->header.slots; i++)
		r = get_slot(l, i);
	return r;
}

/* ---- all ---------------------------------------------------------------------------------------- */

static int load(struct loader *l)
{
	int r = get_header(l);

	if (r == 0)
		r = get_nodes(l);
	for (uint32_t i = 0; r == 0 && i < l->header.ghosts; i++)
		r = get_ghost(l);
	if (r == 0)
		r = get_slots(l);
	if (r < 0)
		return r;
	fs_nodes_sweep(&l->fs->nodes);
	l->fs->nodes.next_id = l->header.next_id;
	l->fs->initialised = l->header.initialised;
	l->fs->features = l->header.features;
	return 0;
}

int fs_state_load(struct fs *fs, int fd, struct error *err)
{
	struct loader l = { .fs = fs, .f = fs_state_file_new(fd, err) };
	int r;

	if (!l.f)
		return error_negative(err ? err->code : EINVAL);
	r = load(&l);
	if (r < 0) {
		fs_reset(fs);
		if (err)
			*err = l.f->err;
	}
	free(l.f);
	return r;
}
