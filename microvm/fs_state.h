/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the file server knows of its guest, to a file and back, so that another server goes on where this one was: the numbers of
 * nodes and open files stay good. The tree itself is not in the file; it is the same, or a copy, and may have other inodes.
 *
 *	struct fs_state_header
 *	nodes		parents before their children: struct fs_saved_node, and its name
 *	ghosts		files that have no name any more, whole: struct fs_saved_ghost, extended attributes, extents (fs_ghost.h)
 *	slots		of the table of open files: struct fs_saved_slot
 *
 * A node is saved by its name, and what of its type has that name in the tree later is the node's file: at once where the guest has it open, else
 * when it is looked at (fs_node.h). Of two names of one file the guest may find two nodes then. A regular file that has no name any more (unlinked
 * while it was open, O_TMPFILE) is in the file itself; directories and others without a name are stale afterwards.
 *
 * Numbers are the processor's own. Who reads takes nothing on trust: each number is checked, and nothing is reached but by a valid
 * name beneath a node, as if the guest had said it.
 */
#ifndef HULL_MICROVM_FS_STATE_H
#define HULL_MICROVM_FS_STATE_H

#include <stdint.h>

#include "base/error.h"

#define FS_STATE_MAGIC   "hull-fs"
#define FS_STATE_VERSION 1u

struct fs;

struct fs_state_header {
	char magic[8];
	uint32_t version;
	uint32_t initialised;
	uint64_t features;
	uint64_t next_id;
	uint32_t nodes, ghosts, slots;
	uint32_t reserved; /* 0 */
};

enum fs_saved_kind {
	FS_SAVED_ROOT,  /* the first, and no other */
	FS_SAVED_NAMED, /* has a parent and a name */
	FS_SAVED_GHOST,
	FS_SAVED_STALE,
	FS_SAVED_KINDS
};

struct fs_saved_node {
	uint64_t id, nlookup;
	uint64_t parent; /* 0: none */
	int64_t opened;
	uint32_t type; /* S_IFMT of its mode */
	uint16_t name_size;
	uint8_t kind, foreign;
};

struct fs_saved_slot {
	uint64_t node; /* 0: free */
	uint64_t position;
	uint32_t generation;
	uint32_t flags; /* F_GETFL */
};

/*
 * Writes the state to fd, an empty regular file. It stays the caller's. -EBUSY where the guest has a file open that has other names than the
 * one by which it was found, which is gone. To the guest, fs is as it was.
 */
int fs_state_save(struct fs *fs, int fd, struct error *err);

/*
 * Reads the state into fs, which is new. fd stays the caller's. An error says which open file is missing in the tree, or what is wrong with the file;
 * fs is as new then.
 */
int fs_state_load(struct fs *fs, int fd, struct error *err);

#endif
