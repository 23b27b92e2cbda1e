/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Paths beneath a root file system that an attacker owns. Every function here takes an open
 * descriptor of the root and resolves the path as if that were "/": absolute paths and symbolic
 * links stay inside, ".." stops at the root, magic links are refused. The result is a descriptor of
 * the very object that was checked; nothing is ever looked up twice by name.
 *
 * Sources: openat2(2) RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS; CVE-2021-30465, CVE-2024-45310 and
 * CVE-2019-18837 show what happens otherwise.
 */
#ifndef HULL_BASE_PATH_H
#define HULL_BASE_PATH_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/error.h"

/* Opens an existing path with flags (O_PATH, O_RDONLY, …; O_CLOEXEC is added). Returns the descriptor. */
int path_open_in_root(int root, const char *path, int flags, struct error *err);

/* As path_open_in_root() with a bare negative errno and no message, for callers that expect absence. */
int path_try_open_in_root(int root, const char *path, int flags);

/*
 * Makes the directories of path that do not exist (mode, subject to umask) and returns an O_PATH
 * descriptor of the last. Symbolic links on the way are followed inside the root, dangling ones, too:
 * what they point to is made.
 */
int path_make_dir_in_root(int root, const char *path, mode_t mode, struct error *err);

/*
 * As path_make_dir_in_root(), but no component may be a symbolic link (-ELOOP): for /dev, /proc and
 * /sys, whose place must be what it seems (CVE-2023-27561, CVE-2026-41579).
 */
int path_make_plain_dir_in_root(int root, const char *path, mode_t mode, struct error *err);

/*
 * As path_make_dir_in_root(), but the last component is a regular file, made empty where it does
 * not exist. Returns an O_PATH descriptor of whatever is there, except a directory.
 */
int path_make_file_in_root(int root, const char *path, mode_t mode, struct error *err);

/*
 * Opens the parent directory of path, making missing directories (0755), and copies path's last
 * component to name (of size bytes, at least NAME_MAX + 1), which is neither "." nor "..".
 */
int path_make_parent_in_root(int root, const char *path, char *name, size_t size,
			     struct error *err);

/*
 * Opens the directory at an absolute or relative path of the host's, for work beneath it. The last
 * component may be a symbolic link only if follow. Returns an O_PATH descriptor.
 */
int path_open_dir(const char *path, bool follow, struct error *err);

/* The path "/proc/self/fd/N" that names an open descriptor, for calls that take only paths. */
struct path_of_fd {
	char s[32];
};
struct path_of_fd path_of_fd(int fd);

#endif
