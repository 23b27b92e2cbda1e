/* SPDX-License-Identifier: Apache-2.0 */
/*
 * That a checkpoint was checked once, and is still what it was: to hash all of a machine's memory takes longer than to let it go on.
 *
 * The stamp is an extended attribute of manifest.sha256 which only root of the host can write: what that file says, and of every other
 * file, and of the directory, inode, size and time of the last change, which the kernel sets and nobody can set back. It counts only where none
 * but root can write to any of them. A copy of the directory has other inodes and times, and is checked anew.
 */
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include "base/file.h"
#include "base/strbuf.h"
#include "sandbox/manifest.h"

#define STAMP     "trusted.hull.verified"
#define STAMP_MAX 3072 /* bytes: what every file system has room for */

static bool add(struct strbuf *stamp, const struct stat *st)
{
	if (st->st_uid != 0 || (st->st_mode & (S_IWGRP | S_IWOTH)))
		return false;
	strbuf_addf(stamp, "%llx %llx %lld %lld.%09ld\n", (unsigned long long)st->st_dev,
		    (unsigned long long)st->st_ino, (long long)st->st_size,
		    (long long)st->st_ctim.tv_sec, st->st_ctim.tv_nsec);
	return true;
}

static bool add_file(struct strbuf *stamp, int dir, const char *name)
{
	struct stat st;

	return !strchr(name, '/') && fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
	       S_ISREG(st.st_mode) && add(stamp, &st);
}

/* false: it cannot have one. */
static bool make(int dir, const struct manifest *m, struct strbuf *stamp)
{
	char sum[MANIFEST_SHA256 + 8];
	struct stat st;

	/* What it builds on can change without it. */
	if (m->parent || fstat(dir, &st) < 0 || !add(stamp, &st) ||
	    file_read_small(dir, MANIFEST_SUM, sum, sizeof(sum), NULL) < 0)
		return false;
	strbuf_addf(stamp, "%s\n", sum);
	if (!add_file(stamp, dir, MANIFEST_NAME))
		return false;
	for (size_t i = 0; i < m->files.len; i++)
		if (!add_file(stamp, dir, m->files.items[i].name))
			return false;
	return !strbuf_failed(stamp) && stamp->len <= STAMP_MAX;
}

bool manifest_is_stamped(int dir, const struct manifest *m)
{
	_cleanup_close_ int fd =
		openat(dir, MANIFEST_SUM, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	_cleanup_strbuf_ struct strbuf stamp = { 0 };
	char found[STAMP_MAX + 1];
	ssize_t len = fd < 0 ? -1 : fgetxattr(fd, STAMP, found, sizeof(found));

	return len > 0 && make(dir, m, &stamp) && (size_t)len == stamp.len &&
	       !memcmp(found, stamp.data, stamp.len);
}

void manifest_stamp(int dir, const struct manifest *m)
{
	_cleanup_close_ int fd =
		openat(dir, MANIFEST_SUM, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	_cleanup_strbuf_ struct strbuf stamp = { 0 };

	if (fd >= 0 && make(dir, m, &stamp))
		fsetxattr(fd, STAMP, stamp.data, stamp.len, 0);
}
