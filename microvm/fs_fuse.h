/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A directory tree of the host as a file system, by FUSE requests (linux/fuse.h, protocol 7.31 and later) that a guest's kernel
 * sends. It knows nothing of queues: a request is a list of buffers, and so is the room for its answer.
 *
 * The guest is hostile, and may change the buffers while they are read. Header, arguments and names are copied once and checked; only
 * a file's data goes straight between the guest's buffers and the file. A request that is malformed is answered with EINVAL, an
 * unknown one with ENOSYS, one that must not be answered (FORGET) is dropped; nothing that a guest sends ends the server. What a
 * guest can make the server hold is bounded: nodes, their descriptors, open files.
 *
 * Consistency: guest and host share the files, so data is written through (no FUSE_WRITEBACK_CACHE), and the guest asks again for names
 * and attributes after cache_ms, which by default is a second. One time for the whole tree: what is the guest's alone
 * today may be written by an engine's `cp` tomorrow. When a file is opened the guest keeps what it has cached of its content
 * only if the file did not change since it was opened last; and it drops it where its size or time of change differ. POSIX and BSD
 * locks are the guest's own: other machines do not see them.
 */
#ifndef HULL_MICROVM_FS_FUSE_H
#define HULL_MICROVM_FS_FUSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/error.h"

#define FS_IOV_MAX    256 /* buffers of a request, and of an answer */
#define FS_MAX_PAGES  256 /* data of one READ or WRITE, in pages of 4 KiB */
#define FS_CACHE_MS   1000
#define FS_NODES_MAX  1000000 /* about 200 bytes each, with its name */
#define FS_FDS_MAX    8192    /* nodes with a descriptor */
#define FS_FILES_MAX  65536   /* open files */
#define FS_FDS_NEEDED 64      /* what the server needs besides */

struct fs_config {
	int root;        /* directory, any descriptor of it */
	int descriptors; /* of fs_open_descriptors() (fs_path.h), by this very process */
	bool read_only;  /* nothing is changed, whatever the mounts in the tree would allow */
	unsigned cache_ms;
	unsigned nodes_max, fds_max, files_max;
};

struct fs;

/* The above limits, as far as the process's RLIMIT_NOFILE allows them; root and descriptors are left to the caller. */
void fs_config_init(struct fs_config *config);

/*
 * Takes the descriptors of config over, also on an error. The calling thread alone uses the result: its securebits are changed
 * (fs_creds.h), each request may change its umask and its working directory.
 */
struct fs *fs_new(const struct fs_config *config, struct error *err);
void fs_free(struct fs *fs);

/* Forgets all of the guest: nodes, open files, what was negotiated. */
void fs_reset(struct fs *fs);

/* Serves one request. Returns the bytes that were written to out; 0 where there is no answer. */
size_t fs_handle(struct fs *fs, const struct iovec *in, unsigned in_count, const struct iovec *out,
		 unsigned out_count);

#endif
