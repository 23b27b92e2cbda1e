/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How the file server reaches a file: always one name beneath the descriptor of a directory, never a path, and never through
 * a symbolic link. So whoever renames or replaces things in the tree meanwhile, guest or host, cannot lead it elsewhere
 * (CVE-2026-47243 was a server that could be led).
 *
 * What is found is held by an O_PATH descriptor, which opens nothing: a device or FIFO on the host is not touched. Only after its
 * type was looked at, it is opened for reading or writing, as the very same inode, by its name in /proc/self/fd.
 */
#ifndef HULL_MICROVM_FS_PATH_H
#define HULL_MICROVM_FS_PATH_H

#include <stdbool.h>
#include <sys/stat.h>

#include "base/error.h"

/* What a node is known by, and its attributes. */
#define FS_STATX (STATX_BASIC_STATS | STATX_BTIME | STATX_MNT_ID)

/*
 * An O_PATH descriptor of /proc/self/fd of the calling process, of no use to another: in the procfs proc is the root of, or (-1) in
 * one that is mounted nowhere and shows only processes (subset=pid), or where the caller may not mount that, in its own /proc.
 */
int fs_open_descriptors(int proc, struct error *err);

/* Whether name is one that a directory can have: 1 to 255 bytes, no '/', neither "." nor "..". */
bool fs_name_valid(const char *name);

/* Opens name in the directory dir (O_CLOEXEC and O_NOFOLLOW are added; a symbolic link itself with O_PATH). A negative errno. */
int fs_open_beneath(int dir, const char *name, int flags, mode_t mode);

/* Opens what the descriptor fd is of once more, with flags; descriptors: of fs_open_descriptors(). A negative errno. */
int fs_reopen(int descriptors, int fd, int flags);

/* The name of the descriptor fd in /proc/self/fd, for calls that take a descriptor of that and a name. */
struct fs_fd_name {
	char s[12];
};
struct fs_fd_name fs_fd_name(int fd);

/* statx(2) with FS_STATX, of the descriptor itself or of a name in a directory, without following it. 0 or a negative errno. */
int fs_stat_fd(int fd, struct statx *stx);
int fs_stat_beneath(int dir, const char *name, struct statx *stx);

/* st_dev, and STATX_MNT_ID or 0. */
static inline dev_t fs_statx_dev(const struct statx *stx)
{
	return (dev_t)stx->stx_dev_major << 32 | stx->stx_dev_minor;
}

#endif
