/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The files that the guest knows: a node for each, which it names by a number (nodeid) and holds by a count (nlookup) until it forgets
 * it. A node is what was found, not its name: it is known by device, inode and mount, and held by an O_PATH descriptor.
 *
 * Descriptors are few and nodes are many, so the least recently used give theirs up, and get it again by their name beneath
 * their parent, which may have to get its own again first. What is found then must be what it was (also by its time of birth, since
 * inode numbers are used again), else the node is stale (-ESTALE). What has no name any more keeps its descriptor, as long as
 * those do not take more than a quarter of all.
 *
 * A node that was restored (fs_state.h) is known by its name and type alone until it is looked at: then it becomes what has that name now,
 * or, where nothing of the type has, stale for ever.
 */
#ifndef HULL_MICROVM_FS_NODE_H
#define HULL_MICROVM_FS_NODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

#include "base/error.h"

#define FS_NODE_FDS_MIN 8

struct fs_node {
	uint64_t id;
	uint64_t
		nlookup; /* how often the guest was told of it, less what it forgot; 0: it does not know it */
	uint32_t refs; /* children and open files: while there are any, the node stays */
	int fd;        /* O_PATH; -EBADF: given up */

	dev_t dev;
	uint64_t inode;
	uint32_t mount; /* STATX_MNT_ID: the same file may be here read-only, and there not */
	mode_t type;    /* S_IFMT of its mode; an inode never changes it */
	int64_t born;   /* STATX_BTIME in nanoseconds, or 0 */

	bool hashed;  /* found by its inode; not where that is another file's by now */
	bool pinned;  /* keeps its descriptor */
	bool foreign; /* of another device than its directory */
	bool unknown; /* restored, and not looked at since: it is whatever of its type has its name, in whose bucket it is (hashed) */
	uint32_t mark; /* fs_state_save.c's */

	int64_t opened; /* its change time when the guest opened it last, where that was long before; else 0 (fs_ops_open.c) */

	struct fs_node *parent; /* where it was seen last; NULL: the root, or there is no name */
	char *name;
	struct fs_node *next_id, *next_inode; /* in the hash tables */
	struct fs_node *older, *newer; /* in the order of use, while fd is open and not pinned */
};

struct fs_nodes {
	struct fs_node *root;
	struct fs_node **by_id, **by_inode; /* buckets each: a power of two */
	size_t buckets, count, count_max;
	uint64_t next_id;
	struct fs_node *newest, *oldest;
	unsigned fds, fds_max, pinned;
};

/* Begins with the directory root (taken over, also on an error) as node 1 (FUSE_ROOT_ID). fds_max: at least FS_NODE_FDS_MIN. */
int fs_nodes_open(struct fs_nodes *nodes, int root, size_t count_max, unsigned fds_max,
		  struct error *err);
/* Forgets all but the root. No file may refer to a node. */
void fs_nodes_clear(struct fs_nodes *nodes);
void fs_nodes_close(struct fs_nodes *nodes);

/* The node that the guest calls id, or NULL. */
struct fs_node *fs_node_get(const struct fs_nodes *nodes, uint64_t id);

/*
 * The node's descriptor, or -ESTALE and the like. It stays open at least until this was called for three more nodes; no caller closes
 * it.
 */
int fs_node_fd(struct fs_nodes *nodes, struct fs_node *node);

/* Looks name (valid) up in the directory dir: the node, counted once more for the guest, and its attributes. */
int fs_node_lookup(struct fs_nodes *nodes, struct fs_node *dir, const char *name,
		   struct fs_node **found, struct statx *stx);

/*
 * The node of what the O_PATH descriptor fd (taken over, also on an error) is of, counted like by fs_node_lookup(). It
 * was just made in dir; name NULL: without a name.
 */
int fs_node_adopt(struct fs_nodes *nodes, struct fs_node *dir, const char *name, int fd,
		  struct fs_node **found, struct statx *stx);

/* The guest forgets the node count times, and it is freed where that was all. */
void fs_node_forget(struct fs_nodes *nodes, struct fs_node *node, uint64_t count);

/* An open file refers to the node, and does no longer. */
void fs_node_hold(struct fs_node *node);
void fs_node_put(struct fs_nodes *nodes, struct fs_node *node);

/*
 * The node that is called name in dir, where the guest knows it, with its descriptor open: asked before the name is taken from it. NULL where
 * there is none.
 */
struct fs_node *fs_node_peek(struct fs_nodes *nodes, struct fs_node *dir, const char *name);

/* The node of fs_node_peek(dir, name) (or NULL) has another name by now, or lost this one. */
void fs_node_renamed(struct fs_nodes *nodes, struct fs_node *node, struct fs_node *dir,
		     const char *name);
void fs_node_unnamed(struct fs_nodes *nodes, struct fs_node *node, const struct fs_node *dir,
		     const char *name);

/* Something was just made as name in dir: a restored node that is to be found by this name is another file's, and stale. */
void fs_node_made(struct fs_nodes *nodes, struct fs_node *dir, const char *name);

/* ---- for fs_state_*.c ---------------------------------------------------------------------------- */

/* The node of this number, also one that the guest does not know any more. */
struct fs_node *fs_node_find(const struct fs_nodes *nodes, uint64_t id);

/*
 * A node as it was saved. With a parent and a name: it is found by them when it is looked at first. Without: it is stale, unless
 * fs_node_give() gives it a file. NULL: there are too many, or there is no memory.
 */
struct fs_node *fs_node_restore(struct fs_nodes *nodes, uint64_t id, mode_t type,
				struct fs_node *parent, const char *name);
/* The O_PATH descriptor (taken over) of a node without a name. */
int fs_node_give(struct fs_nodes *nodes, struct fs_node *node, int fd);
/* Where the node was seen last, for messages: cut off at the front where that is long. */
struct fs_node_path {
	char s[512];
};
struct fs_node_path fs_node_path(const struct fs_node *node);
/* Frees what neither the guest knows nor anything refers to. */
void fs_nodes_sweep(struct fs_nodes *nodes);

#endif
