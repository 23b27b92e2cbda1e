/* SPDX-License-Identifier: Apache-2.0 */
/* Files by a descriptor and one name; see fs_path.h, openat2(2), proc(5). */
#include "microvm/fs_path.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/vfs.h>

#include "base/process.h"
#include "base/syscalls.h"

#define OPENAT2_TRIES 64 /* it answers EAGAIN, or EXDEV, while someone moves what it found */

int fs_open_descriptors(int proc, struct error *err)
{
	_cleanup_close_ int own = -EBADF;
	struct statfs st;
	int fd;

	if (proc < 0) {
		own = process_mount_procfs(NULL);
		if (own < 0)
			own = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
		proc = own;
	}
	if (proc < 0)
		return error_errno(err, errno, "open `/proc`");
	fd = openat(proc, "self/fd", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return error_errno(err, errno, "open `/proc/self/fd`");
	if (fstatfs(fd, &st) < 0 || st.f_type != PROC_SUPER_MAGIC) {
		close(fd);
		return error_set(err, EINVAL, "`/proc` is not a procfs");
	}
	return fd;
}

bool fs_name_valid(const char *name)
{
	size_t len = strnlen(name, NAME_MAX + 1);

	return len > 0 && len <= NAME_MAX && !strchr(name, '/') && strcmp(name, ".") != 0 &&
	       strcmp(name, "..") != 0;
}

int fs_open_beneath(int dir, const char *name, int flags, mode_t mode)
{
	struct open_how how = {
		.flags = (unsigned)(flags | O_NOFOLLOW | O_CLOEXEC),
		.mode = mode,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS,
	};

	for (int i = 0; i < OPENAT2_TRIES; i++) {
		int fd = sys_openat2(dir, name, &how);

		if (fd >= 0)
			return fd;
		if (errno != EAGAIN && errno != EXDEV && errno != EINTR)
			return -errno;
	}
	return -ENOENT;
}

int fs_reopen(int descriptors, int fd, int flags)
{
	int new = openat(descriptors, fs_fd_name(fd).s, flags | O_CLOEXEC | O_NOCTTY);

	return new < 0 ? -errno : new;
}

struct fs_fd_name fs_fd_name(int fd)
{
	struct fs_fd_name name;

	snprintf(name.s, sizeof(name.s), "%d", fd);
	return name;
}

int fs_stat_fd(int fd, struct statx *stx)
{
	return statx(fd, "", AT_EMPTY_PATH, FS_STATX, stx) < 0 ? -errno : 0;
}

int fs_stat_beneath(int dir, const char *name, struct statx *stx)
{
	return statx(dir, name, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT, FS_STATX, stx) < 0 ? -errno
											  : 0;
}
