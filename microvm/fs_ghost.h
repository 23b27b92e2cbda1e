/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Regular files that have no name any more, but that the guest knows or has open: nobody will find them in the tree, so they are saved whole
 * (fs_state.h) and made again, without a name. Holes stay holes.
 *
 *	struct fs_saved_ghost
 *	struct fs_saved_extent, and its bytes; the last has size 0
 *	struct fs_saved_xattr, name and value; the last has name_size 0
 */
#ifndef HULL_MICROVM_FS_GHOST_H
#define HULL_MICROVM_FS_GHOST_H

#include <stdbool.h>
#include <stdint.h>

#include "microvm/fs_state_file.h"

struct fs;
struct fs_node;

struct fs_saved_ghost {
	uint64_t node;
	uint64_t directory; /* node of one on the same file system */
	uint32_t mode, uid, gid;
	uint32_t atime_nsec, mtime_nsec;
	uint32_t reserved; /* 0 */
	int64_t atime, mtime;
	uint64_t size;
};

struct fs_saved_extent {
	uint64_t offset, size;
};

struct fs_saved_xattr {
	uint32_t name_size, value_size;
};

/* Whether the file fd is of has lost its name, and that was its last. */
bool fs_ghost_is(const struct fs *fs, int fd);

/* fd: any of the file. directory: where it may be made again. An error goes to f->err. */
int fs_ghost_save(struct fs *fs, struct fs_state_file *f, const struct fs_node *node, int fd,
		  const struct fs_node *directory);

/* Makes one again, of which the record was read, and gives it to its node. */
int fs_ghost_load(struct fs *fs, struct fs_state_file *f, const struct fs_saved_ghost *saved,
		  struct fs_node *node);

#endif
