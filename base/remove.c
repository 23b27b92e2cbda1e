/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Removal of a tree by descriptors. Whoever made the tree chooses its depth, so neither the C stack
 * nor a descriptor is spent on a level: the way down is kept as names with the identity of each
 * directory, and the way up is "..", which is believed only if it leads to the directory that we came from.
 */
#include "base/remove.h"

#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "base/path.h"
#include "base/strbuf.h"
#include "base/syscalls.h"

struct level {
	dev_t dev; /* the parent directory's identity */
	ino_t ino;
	size_t name; /* where in names its child's name starts */
};

struct removal {
	struct level *levels;
	size_t depth, cap;
	struct strbuf names; /* NUL-terminated names, one after the other */
	int dir;             /* the directory being emptied */
};

/* Opens a real directory on the same mount: a link or a mounted file system is never entered. */
static int open_dir(int dirfd, const char *name)
{
	struct open_how how = {
		.flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC,
		.resolve = RESOLVE_NO_XDEV | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS,
	};
	int fd = sys_openat2(dirfd, name, &how);

	if (fd < 0 && errno == EACCES) {
		/* A directory of our own without permission bits, from a user without CAP_DAC_OVERRIDE. */
		_cleanup_close_ int path = -EBADF;

		how.flags = O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
		path = sys_openat2(dirfd, name, &how);
		if (path < 0 || chmod(path_of_fd(path).s, 0700) < 0)
			return -EACCES;
		how.flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
		fd = sys_openat2(dirfd, name, &how);
	}
	return fd < 0 ? -errno : fd;
}

/* 0: gone, 1: a directory that is not empty. */
static int remove_one(int dir, const char *name)
{
	for (int retry = 0;; retry++) {
		if (unlinkat(dir, name, 0) == 0 || errno == ENOENT)
			return 0;
		if (errno == EISDIR || errno == EPERM) {
			if (unlinkat(dir, name, AT_REMOVEDIR) == 0 || errno == ENOENT)
				return 0;
			if (errno == ENOTEMPTY || errno == EEXIST)
				return 1;
			if (errno == ENOTDIR)
				errno = EPERM;
		}
		if (errno != EACCES)
			return -errno;
		if (retry || fchmod(dir, 0700) < 0)
			return -EACCES;
	}
}

static int descend(struct removal *r, const char *name)
{
	struct stat st;
	int fd;

	if (r->depth == r->cap) {
		size_t cap = r->cap ? r->cap * 2 : 32;
		struct level *more = reallocarray(r->levels, cap, sizeof(*more));

		if (!more)
			return -ENOMEM;
		r->levels = more;
		r->cap = cap;
	}
	if (fstat(r->dir, &st) < 0)
		return -errno;
	fd = open_dir(r->dir, name);
	if (fd < 0)
		return fd;
	r->levels[r->depth] = (struct level){ st.st_dev, st.st_ino, r->names.len };
	strbuf_add(&r->names, name, strlen(name) + 1);
	if (strbuf_failed(&r->names)) {
		close(fd);
		return -ENOMEM;
	}
	r->depth++;
	close(r->dir);
	r->dir = fd;
	return 0;
}

/* Goes back to the parent and removes the directory that is empty now. */
static int ascend(struct removal *r)
{
	const struct level *level = &r->levels[r->depth - 1];
	struct stat st;
	int fd = openat(r->dir, "..", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	/* Somebody moved the directory while we were in it: ".." is not a place that we were asked to empty. */
	if (fstat(fd, &st) < 0 || st.st_dev != level->dev || st.st_ino != level->ino) {
		close(fd);
		return -ESTALE;
	}
	close(r->dir);
	r->dir = fd;
	if (unlinkat(r->dir, r->names.data + level->name, AT_REMOVEDIR) < 0 && errno != ENOENT)
		return -errno;
	r->names.len = level->name;
	r->depth--;
	return 0;
}

/* Removes what can be removed at once; 1 after going down into a directory, 0 when all is gone. */
static int empty_dir(struct removal *r)
{
	_cleanup_closedir_ DIR *stream = NULL;
	int copy = openat(r->dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct dirent *entry;

	if (copy < 0)
		return -errno;
	stream = fdopendir(copy);
	if (!stream) {
		close(copy);
		return -ENOMEM;
	}
	for (;;) {
		int left;

		errno = 0;
		entry = readdir(stream);
		if (!entry)
			return -errno;
		if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, ".."))
			continue;
		left = remove_one(r->dir, entry->d_name);
		if (left < 0)
			return left;
		if (left) {
			left = descend(r, entry->d_name);
			return left < 0 ? left : 1;
		}
	}
}

static int remove_contents(struct removal *r)
{
	for (;;) {
		int left = empty_dir(r);

		if (left < 0)
			return left;
		if (left)
			continue;
		if (!r->depth)
			return 0;
		left = ascend(r);
		if (left < 0)
			return left;
	}
}

int path_remove_tree(int dirfd, const char *name, struct error *err)
{
	struct removal r = { .dir = -EBADF };
	int left = remove_one(dirfd, name);

	if (left > 0) {
		r.dir = open_dir(dirfd, name);
		left = r.dir < 0 ? r.dir : remove_contents(&r);
		if (!left && unlinkat(dirfd, name, AT_REMOVEDIR) < 0 && errno != ENOENT)
			left = -errno;
	}
	close_fd(&r.dir);
	free(r.levels);
	strbuf_free(&r.names);
	if (left < 0)
		return error_errno(err, -left, "remove `%s`", name);
	return 0;
}
