/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The files and directories that the guest has open. It names them by a number (fh), which is only good together with the node that was
 * opened, and never names another file once it is closed.
 */
#ifndef HULL_MICROVM_FS_FILE_H
#define HULL_MICROVM_FS_FILE_H

#include "microvm/fs_node.h"

struct fs_file {
	int fd;               /* -EBADF: free */
	uint32_t generation;  /* of the slot: the upper half of fh */
	struct fs_node *node; /* held */
	/* A directory's entries are read in blocks, and may not all fit into an answer. */
	uint64_t position;  /* behind the last entry that the guest was given */
	uint8_t *rest;      /* what follows it in the block, as of getdents64(2), or NULL */
	uint32_t rest_size; /* bytes */
	uint32_t next_free;
};

struct fs_files {
	struct fs_file *slots;
	uint32_t size, used, first_free;
	uint32_t count_max;
	uint32_t rests; /* how many of them hold a rest */
};

void fs_files_open(struct fs_files *files, uint32_t count_max);
/* Closes all. */
void fs_files_clear(struct fs_files *files, struct fs_nodes *nodes);

/* An open file of the node; takes fd over, also on an error. fh is its number. -ENFILE where there are too many. */
int fs_file_add(struct fs_files *files, struct fs_node *node, int fd, uint64_t *fh);

/*
 * For fs_state_load.c: an empty table of size slots (-ENFILE where those are too many), each of which is restored once. node NULL: it is
 * free. fd is taken over.
 */
int fs_files_reserve(struct fs_files *files, uint32_t size);
void fs_file_restore(struct fs_files *files, uint32_t slot, uint32_t generation,
		     struct fs_node *node, int fd);

/* The file fh, where it is one of the node with the number id; else NULL. Good until the next fs_file_add(). */
struct fs_file *fs_file_get(const struct fs_files *files, uint64_t fh, uint64_t id);

void fs_file_close(struct fs_files *files, struct fs_nodes *nodes, struct fs_file *file);

/* Keeps size bytes of a directory's block for the next answer, or (size 0) drops what was kept. -ENOMEM: it must be read again. */
int fs_file_keep(struct fs_files *files, struct fs_file *file, const void *rest, uint32_t size);

#endif
