/* SPDX-License-Identifier: Apache-2.0 */
/* The file that a file server's state is in (fs_state.h), written or read from its beginning to its end. */
#ifndef HULL_MICROVM_FS_STATE_FILE_H
#define HULL_MICROVM_FS_STATE_FILE_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"

#define FS_STATE_BUFFER 65536

struct fs_state_file {
	int fd;           /* the caller's */
	off_t at;         /* where in the file the buffer begins */
	size_t used;      /* bytes in the buffer */
	size_t next;      /* reading: the next of them */
	struct error err; /* the first; nothing more is done after it */
	uint8_t buffer[FS_STATE_BUFFER];
};

/* One for a regular file, to be freed; NULL with the error. */
struct fs_state_file *fs_state_file_new(int fd, struct error *err);

void fs_state_put(struct fs_state_file *f, const void *data, size_t size);
/* size bytes of the file from, from offset on. Where that has fewer, zeroes. */
void fs_state_put_file(struct fs_state_file *f, int from, off_t offset, uint64_t size);
/* Writes what is in the buffer, and passes the error on. */
int fs_state_finish(struct fs_state_file *f, struct error *err);

/* -EBADMSG where the file has no more. */
int fs_state_get(struct fs_state_file *f, void *data, size_t size);
/* The next size bytes to offset in the file to. */
int fs_state_get_file(struct fs_state_file *f, int to, off_t offset, uint64_t size);

#endif
