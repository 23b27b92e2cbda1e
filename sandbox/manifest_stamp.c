/* SPDX-License-Identifier: Apache-2.0 */
/*
 * That a checkpoint was checked once, and is still what it was: to hash all of a machine's memory takes longer than to let it go on.
 *
 * The stamp is an extended attribute of manifest.sha256 which only root of the host can write: what that file says, and of every other
 * file, and of the directory, inode, size and time of the last change, which the kernel sets and nobody can set back. It counts only where none
 * but root can open any of them for writing, and nothing changed while they were read: hull-vmm may still have one open that it wrote.
 * Not on a tmpfs, which notes no change by a mapping. A copy of the directory has other inodes and times, and is checked anew.
 */
#include <fcntl.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
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
static bool add_files(struct strbuf *stamp, int dir, const struct manifest *m)
{
	for (size_t i = 0; i < m->files.len; i++)
		if (!add_file(stamp, dir, m->files.items[i].name))
			return false;
	return !strbuf_failed(stamp);
}

static bool make(int dir, const struct manifest *m, const struct strbuf *files,
		 struct strbuf *stamp)
{
	char sum[MANIFEST_SHA256 + 8];
	struct statfs fs;
	struct stat st;

	/* What it builds on can change without it. */
	if (m->parent || fstatfs(dir, &fs) < 0 || fs.f_type == TMPFS_MAGIC || fstat(dir, &st) < 0 ||
	    !add(stamp, &st) || file_read_small(dir, MANIFEST_SUM, sum, sizeof(sum), NULL) < 0)
		return false;
	strbuf_addf(stamp, "%s\n", sum);
	if (!add_file(stamp, dir, MANIFEST_NAME))
		return false;
	strbuf_add(stamp, files->data, files->len);
	return !strbuf_failed(stamp) && stamp->len <= STAMP_MAX;
}

bool manifest_is_stamped(int dir, const struct manifest *m)
{
	_cleanup_close_ int fd =
		openat(dir, MANIFEST_SUM, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	_cleanup_strbuf_ struct strbuf stamp = { 0 }, files = { 0 };
	char found[STAMP_MAX + 1];
	ssize_t len = fd < 0 ? -1 : fgetxattr(fd, STAMP, found, sizeof(found));

	return len > 0 && add_files(&files, dir, m) && make(dir, m, &files, &stamp) &&
	       (size_t)len == stamp.len && !memcmp(found, stamp.data, stamp.len);
}

void manifest_stamp_begin(int dir, const struct manifest *m, struct strbuf *before)
{
	if (!add_files(before, dir, m))
		strbuf_free(before);
}

void manifest_stamp(int dir, const struct manifest *m, const struct strbuf *before)
{
	_cleanup_close_ int fd =
		openat(dir, MANIFEST_SUM, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	_cleanup_strbuf_ struct strbuf stamp = { 0 }, after = { 0 };

	if (fd >= 0 && before->len && add_files(&after, dir, m) && after.len == before->len &&
	    !memcmp(after.data, before->data, after.len) && make(dir, m, &after, &stamp))
		fsetxattr(fd, STAMP, stamp.data, stamp.len, 0);
}
