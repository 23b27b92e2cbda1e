/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two ways to resolve a path in a hostile root. Where everything exists, one openat2(2) does it.
 * Where something must be made, a walk with a stack of directory descriptors does the same in user
 * space: each component is opened with O_NOFOLLOW from the descriptor of its parent, ".." pops the
 * stack, a symbolic link's target is walked in its place. A rename by an attacker moves a directory
 * that we hold, never our way out of the root.
 */
#include "base/path.h"

#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>

#include "base/syscalls.h"

#define WALK_DEPTH    256 /* directories deep */
#define WALK_LINKS    40  /* symbolic links followed, as the kernel's MAXSYMLINKS */
#define OPENAT2_TRIES 64  /* openat2 answers EAGAIN while someone renames around it */

static int open_resolved(int root, const char *path, int flags, uint64_t resolve)
{
	struct open_how how = {
		.flags = (unsigned)flags | O_CLOEXEC | ((flags & O_PATH) ? 0 : O_NOCTTY),
		.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS | resolve,
	};

	for (int i = 0; i < OPENAT2_TRIES; i++) {
		int fd = sys_openat2(root, path, &how);

		if (fd >= 0)
			return fd;
		if (errno != EAGAIN && errno != EINTR)
			break;
	}
	return -errno;
}

int path_try_open_in_root(int root, const char *path, int flags)
{
	return open_resolved(root, path, flags, 0);
}

int path_open_in_root(int root, const char *path, int flags, struct error *err)
{
	int fd = path_try_open_in_root(root, path, flags);

	if (fd < 0)
		return error_errno(err, -fd, "open `%s` in the root file system", path);
	return fd;
}

struct walk {
	int fds[WALK_DEPTH]; /* fds[0] is the root and not ours */
	size_t depth;        /* of the current directory; 0: at the root */
	unsigned links;
	char rest[PATH_MAX]; /* what is still to be walked */
};

static void walk_end(struct walk *w)
{
	while (w->depth)
		close(w->fds[w->depth--]);
}

/* Takes the next component off w->rest. Returns false at the end. */
static bool walk_next(struct walk *w, char *name)
{
	size_t start = strspn(w->rest, "/");
	size_t len = strcspn(w->rest + start, "/");

	if (!len)
		return false;
	memcpy(name, w->rest + start, len);
	name[len] = '\0';
	memmove(w->rest, w->rest + start + len, strlen(w->rest + start + len) + 1);
	return true;
}

static bool walk_at_end(const struct walk *w)
{
	return w->rest[strspn(w->rest, "/")] == '\0';
}

/* Puts the target of the symbolic link fd in front of what is left. */
static int walk_link(struct walk *w, int fd)
{
	char target[PATH_MAX], joined[PATH_MAX];
	ssize_t n;

	if (++w->links > WALK_LINKS)
		return -ELOOP;
	n = readlinkat(fd, "", target, sizeof(target) - 1);
	if (n < 0)
		return -errno;
	target[n] = '\0';
	if (target[0] == '/')
		walk_end(w);
	if ((size_t)snprintf(joined, sizeof(joined), "%s/%s", target, w->rest) >= sizeof(joined))
		return -ENAMETOOLONG;
	memcpy(w->rest, joined, sizeof(joined));
	return 0;
}

enum walk_last { WALK_DIR, WALK_FILE, WALK_PARENT };

/* Opens name in dir without following a link; makes it where it is missing. */
static int walk_open(int dir, const char *name, bool as_file, mode_t mode)
{
	int fd = openat(dir, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);

	if (fd >= 0 || errno != ENOENT)
		return fd < 0 ? -errno : fd;
	if (as_file) {
		fd = openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode);
		if (fd >= 0)
			close(fd);
		else if (errno != EEXIST)
			return -errno;
	} else if (mkdirat(dir, name, mode) < 0 && errno != EEXIST) {
		return -errno;
	}
	fd = openat(dir, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

static int walk_run(struct walk *w, enum walk_last last, mode_t mode, char *last_name)
{
	char name[PATH_MAX];
	struct stat st;
	int r;

	while (walk_next(w, name)) {
		bool final = walk_at_end(w);
		_cleanup_close_ int fd = -EBADF;

		if (strlen(name) > NAME_MAX)
			return -ENAMETOOLONG;
		if (!strcmp(name, "."))
			continue;
		if (!strcmp(name, "..")) {
			if (w->depth)
				close(w->fds[w->depth--]);
			continue;
		}
		if (final && last == WALK_PARENT) {
			strcpy(last_name, name);
			return 0;
		}
		fd = walk_open(w->fds[w->depth], name, final && last == WALK_FILE,
			       last == WALK_FILE && !final ? 0755 : mode);
		if (fd < 0)
			return fd;
		if (fstat(fd, &st) < 0)
			return -errno;
		if (S_ISLNK(st.st_mode)) {
			r = walk_link(w, fd);
			if (r < 0)
				return r;
			continue;
		}
		if (final && last == WALK_FILE && S_ISDIR(st.st_mode))
			return -EISDIR;
		if (!S_ISDIR(st.st_mode) && !(final && last == WALK_FILE))
			return -ENOTDIR;
		if (w->depth + 1 >= WALK_DEPTH)
			return -ENAMETOOLONG;
		w->fds[++w->depth] = take_fd(&fd);
	}
	return last == WALK_PARENT ? -EISDIR : 0;
}

/* Walks path and returns an O_PATH descriptor of where it ended. */
static int walk_path(int root, const char *path, enum walk_last last, mode_t mode, char *name)
{
	struct walk w = { .fds = { root } };
	struct stat st;
	int fd, r;

	if (strlen(path) >= sizeof(w.rest))
		return -ENAMETOOLONG;
	strcpy(w.rest, path);
	r = walk_run(&w, last, mode, name);
	if (r < 0) {
		walk_end(&w);
		return r;
	}
	if (w.depth) {
		fd = w.fds[w.depth--];
		walk_end(&w);
	} else {
		fd = openat(root, ".", O_PATH | O_DIRECTORY | O_CLOEXEC);
		if (fd < 0)
			return -errno;
	}
	if (last == WALK_FILE && (fstat(fd, &st) < 0 || S_ISDIR(st.st_mode))) {
		close(fd);
		return -EISDIR;
	}
	return fd;
}

int path_make_dir_in_root(int root, const char *path, mode_t mode, struct error *err)
{
	int fd = path_try_open_in_root(root, path, O_PATH | O_DIRECTORY);

	if (fd == -ENOENT)
		fd = walk_path(root, path, WALK_DIR, mode, NULL);
	if (fd < 0)
		return error_errno(err, -fd, "make directory `%s` in the root file system", path);
	return fd;
}

int path_make_plain_dir_in_root(int root, const char *path, mode_t mode, struct error *err)
{
	int fd = open_resolved(root, path, O_PATH | O_DIRECTORY, RESOLVE_NO_SYMLINKS);

	if (fd == -ENOENT) {
		_cleanup_close_ int made = path_make_dir_in_root(root, path, mode, err);

		if (made < 0)
			return made;
		fd = open_resolved(root, path, O_PATH | O_DIRECTORY, RESOLVE_NO_SYMLINKS);
	}
	if (fd == -ELOOP)
		return error_set(
			err, ELOOP,
			"`%s` in the root file system is or leads through a symbolic link; "
			"refused, for the image could redirect the mount",
			path);
	if (fd < 0)
		return error_errno(err, -fd, "make directory `%s` in the root file system", path);
	return fd;
}

int path_make_file_in_root(int root, const char *path, mode_t mode, struct error *err)
{
	_cleanup_close_ int fd = path_try_open_in_root(root, path, O_PATH);
	struct stat st;

	if (fd == -ENOENT)
		fd = walk_path(root, path, WALK_FILE, mode, NULL);
	if (fd < 0)
		return error_errno(err, -fd, "make file `%s` in the root file system", path);
	if (fstat(fd, &st) < 0)
		return error_errno(err, errno, "stat `%s` in the root file system", path);
	if (S_ISDIR(st.st_mode))
		return error_errno(err, EISDIR, "make file `%s` in the root file system", path);
	return take_fd(&fd);
}

int path_make_parent_in_root(int root, const char *path, char *name, size_t size, struct error *err)
{
	char last[NAME_MAX + 1];
	int fd = walk_path(root, path, WALK_PARENT, 0755, last);

	if (fd < 0)
		return error_errno(err, -fd,
				   "make the parent directory of `%s` in the root file system",
				   path);
	if (strlen(last) >= size) {
		close(fd);
		return error_errno(err, ENAMETOOLONG, "`%s`", path);
	}
	strcpy(name, last);
	return fd;
}

int path_open_dir(const char *path, bool follow, struct error *err)
{
	int fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC | (follow ? 0 : O_NOFOLLOW));

	if (fd < 0)
		return error_errno(err, errno, "open directory `%s`", path);
	return fd;
}

struct path_of_fd path_of_fd(int fd)
{
	struct path_of_fd p;

	snprintf(p.s, sizeof(p.s), "/proc/self/fd/%d", fd);
	return p;
}
