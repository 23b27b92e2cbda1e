/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Going through a cgroup and those below it. A container that may write to its cgroup can make a
 * tree of any depth and width to exhaust whoever walks it. So one directory is open at a time, the
 * way back up is "..", which in cgroupfs always leads to the parent, and the number of steps is
 * bounded.
 */
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "cgroups/internal.h"

#define STEPS_MAX (1 << 20)

#define DIRECTORY_FLAGS (O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW)

void cgroup_backoff(unsigned *delay_us)
{
	struct timespec delay = { .tv_nsec = *delay_us * 1000L };

	nanosleep(&delay, NULL);
	*delay_us = *delay_us > 10000 ? 20000 : *delay_us * 2;
}

/* cgroupfs counts directories in st_nlink, so a leaf is known without listing its fifty files. */
static bool is_leaf(int dir)
{
	struct stat st;

	return fstat(dir, &st) == 0 && st.st_nlink == 2;
}

/* Opens the directory name under dir as a stream; the stream owns the descriptor. */
static DIR *open_stream(int dir, const char *name)
{
	_cleanup_close_ int fd = openat(dir, name, DIRECTORY_FLAGS);
	DIR *stream = fd < 0 ? NULL : fdopendir(fd);

	if (stream)
		take_fd(&fd);
	return stream;
}

/* The next entry that is a directory; NULL at the end. */
static struct dirent *next_directory(DIR *stream)
{
	struct dirent *entry;

	while ((entry = readdir(stream)))
		if (entry->d_type == DT_DIR && strcmp(entry->d_name, ".") != 0 &&
		    strcmp(entry->d_name, "..") != 0)
			return entry;
	return NULL;
}

/* Where the walk goes on in each directory above the present one. */
struct trail {
	long *offsets;
	size_t depth, cap;
};

static void trail_free(struct trail *trail)
{
	free(trail->offsets);
}

static bool trail_push(struct trail *trail, long offset)
{
	if (trail->depth == trail->cap) {
		size_t cap = trail->cap ? trail->cap * 2 : 16;
		long *more = reallocarray(trail->offsets, cap, sizeof(*more));

		if (!more)
			return false;
		trail->offsets = more;
		trail->cap = cap;
	}
	trail->offsets[trail->depth++] = offset;
	return true;
}

static int walk_error(const char *full, int code, struct error *err)
{
	return error_errno(err, code, "cgroup: go through `%s`", full);
}

int cgroup_walk(const char *full, int (*visit)(int dir, void *arg, struct error *err), void *arg,
		struct error *err)
{
	__attribute__((cleanup(trail_free))) struct trail trail = { 0 };
	_cleanup_closedir_ DIR *stream = open_stream(AT_FDCWD, full);
	int r;

	if (!stream)
		return errno == ENOENT ? 0 : walk_error(full, errno, err);
	r = visit(dirfd(stream), arg, err);
	if (r || is_leaf(dirfd(stream)))
		return r;
	for (int steps = 0; steps < STEPS_MAX; steps++) {
		struct dirent *entry = next_directory(stream);
		DIR *next = open_stream(dirfd(stream), entry ? entry->d_name : "..");

		if (!entry && trail.depth == 0) {
			if (next)
				closedir(next);
			return 0;
		}
		if (!next) {
			if (entry && errno == ENOENT) /* it was removed meanwhile */
				continue;
			return walk_error(full, errno, err);
		}
		if (!entry) {
			seekdir(next, trail.offsets[--trail.depth]);
			closedir(stream);
			stream = next;
			continue;
		}
		if (!trail_push(&trail, telldir(stream))) {
			closedir(next);
			return walk_error(full, ENOMEM, err);
		}
		closedir(stream);
		stream = next;
		r = visit(dirfd(stream), arg, err);
		if (r)
			return r;
	}
	return walk_error(full, E2BIG, err);
}

/*
 * Removes the directories in dir. The first that has some of its own is opened in *below: 1; dir is
 * now without: 0. The one with the inode number from was emptied just before; if it still cannot be
 * removed, processes are in it: -EBUSY.
 */
static int remove_children(int dir, ino_t from, int *below)
{
	_cleanup_closedir_ DIR *stream = open_stream(dir, ".");
	struct dirent *entry;

	if (!stream)
		return -errno;
	while ((entry = next_directory(stream))) {
		if (unlinkat(dir, entry->d_name, AT_REMOVEDIR) == 0 || errno == ENOENT)
			continue;
		if (errno != EBUSY && errno != ENOTEMPTY)
			return -errno;
		if (entry->d_ino == from)
			return -EBUSY;
		*below = openat(dir, entry->d_name, DIRECTORY_FLAGS);
		if (*below >= 0)
			return 1;
		if (errno != ENOENT)
			return -errno;
	}
	return 0;
}

/* Removes all below top, depth first. */
static int remove_below(int top)
{
	_cleanup_close_ int dir = openat(top, ".", DIRECTORY_FLAGS);
	size_t depth = 0;
	ino_t from = 0;

	if (dir < 0)
		return -errno;
	for (int steps = 0; steps < STEPS_MAX; steps++) {
		int next = -EBADF, r = remove_children(dir, from, &next);
		struct stat st;

		if (r < 0)
			return r;
		if (r > 0) {
			depth++;
			from = 0;
		} else {
			if (depth == 0)
				return 0;
			depth--;
			if (fstat(dir, &st) < 0)
				return -errno;
			from = st.st_ino;
			next = openat(dir, "..", DIRECTORY_FLAGS);
			if (next < 0)
				return -errno;
		}
		close(dir);
		dir = next;
	}
	return -E2BIG;
}

int cgroup_remove_tree(const char *full)
{
	_cleanup_close_ int dir = -EBADF;
	int r;

	if (rmdir(full) == 0 || errno == ENOENT)
		return 0;
	if (errno != EBUSY && errno != ENOTEMPTY)
		return -errno;
	dir = open(full, DIRECTORY_FLAGS);
	if (dir < 0)
		return errno == ENOENT ? 0 : -errno;
	if (is_leaf(dir))
		return -EBUSY;
	r = remove_below(dir);
	if (r < 0)
		return r;
	return rmdir(full) == 0 || errno == ENOENT ? 0 : -errno;
}
