/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tmpcopyup: a tmpfs gets a copy of the directory that it will cover. What is copied is the image's, so it is hostile:
 * every entry is opened from its directory's descriptor without following a link, and a file is read only where it is the
 * regular file that was looked at. Nothing is written but in the tmpfs, which nobody else can reach yet, and whose own limits
 * bound how much. Holes stay holes, so a file of a terabyte without content costs nothing.
 */
#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#include "base/strbuf.h"
#include "namespaces/mount_options.h"
#include "namespaces/rootfs.h"

#define COPY_DEPTH  128  /* directories within directories: two descriptors each */
#define HARD_LINKS  1024 /* files with several names that are remembered; more become copies */
#define CHUNK       (128 * 1024)
#define XATTR_NAMES 65536 /* the kernel's limit of a list (XATTR_LIST_MAX) */
#define XATTR_VALUE 65536 /* and of a value (XATTR_SIZE_MAX) */

struct hard_link {
	dev_t device;
	ino_t inode;
	char *path; /* of the copy, from the tmpfs' root: made by us, without links */
};

struct copy {
	int top;         /* the tmpfs' root */
	uint64_t device; /* of the file system that is copied: what is mounted in it is not */
	struct hard_link links[HARD_LINKS];
	size_t link_count;
	char *names, *value, *chunk; /* buffers */
};

/* ---- what a file has beside its content -------------------------------------------------------- */

/* Without privilege, or where the tmpfs knows no such thing, it is left out: ids that are not mapped, trusted attributes. */
static bool is_tolerable(int code)
{
	return code == EPERM || code == EACCES || code == EINVAL || code == ENOTSUP;
}

static int copy_xattrs(struct copy *c, int from, int to, const char *name, struct error *err)
{
	ssize_t len = flistxattr(from, c->names, XATTR_NAMES);

	if (len < 0)
		return is_tolerable(errno)
			       ? 0
			       : error_errno(err, errno, "list the attributes of `%s`", name);
	for (const char *attr = c->names; attr < c->names + len; attr += strlen(attr) + 1) {
		ssize_t n = fgetxattr(from, attr, c->value, XATTR_VALUE);

		if (n < 0 || fsetxattr(to, attr, c->value, (size_t)n, 0) == 0)
			continue; /* removed in the meantime, or done */
		if (!is_tolerable(errno))
			return error_errno(err, errno, "set the attribute `%s` of `%s`", attr,
					   name);
	}
	return 0;
}

/* Owner, mode, attributes, times, in this order: a change of the owner takes set-user-id bits and capabilities away. */
static int copy_metadata(struct copy *c, int from, int to, const struct stat *st, const char *name,
			 struct error *err)
{
	struct timespec times[2] = { st->st_atim, st->st_mtim };
	mode_t mode = st->st_mode & 07777;
	int r;

	/* A file of somebody who has no id here must not become a program that runs as us. */
	if (fchown(to, st->st_uid, st->st_gid) < 0) {
		if (!is_tolerable(errno))
			return error_errno(err, errno, "set the owner of `%s`", name);
		mode &= ~(mode_t)(S_ISUID | S_ISGID);
	}
	if (fchmod(to, mode) < 0)
		return error_errno(err, errno, "set the mode of `%s`", name);
	r = copy_xattrs(c, from, to, name, err);
	if (r == 0 && futimens(to, times) < 0)
		r = error_errno(err, errno, "set the times of `%s`", name);
	return r;
}

/* ---- regular files ------------------------------------------------------------------------------ */

static int copy_range(struct copy *c, int from, int to, off_t start, off_t end)
{
	while (start < end) {
		size_t want = end - start < CHUNK ? (size_t)(end - start) : CHUNK;
		ssize_t n = pread(from, c->chunk, want, start), done = 0;

		if (n <= 0)
			return n < 0 ? -errno : 0; /* it shrank */
		while (done < n) {
			ssize_t w = pwrite(to, c->chunk + done, (size_t)(n - done), start + done);

			if (w < 0)
				return -errno;
			done += w;
		}
		start += n;
	}
	return 0;
}

static int copy_content(struct copy *c, int from, int to, off_t size)
{
	off_t data = 0, hole;
	int r = 0;

	if (ftruncate(to, size) < 0)
		return -errno;
	while (r == 0 && data < size) {
		data = lseek(from, data, SEEK_DATA);
		if (data < 0)
			return errno == ENXIO ? 0 : -errno; /* nothing but a hole is left */
		hole = lseek(from, data, SEEK_HOLE);
		if (hole < 0)
			return -errno;
		r = copy_range(c, from, to, data, hole < size ? hole : size);
		data = hole;
	}
	return r;
}

static const struct hard_link *find_link(const struct copy *c, const struct stat *st)
{
	for (size_t i = 0; i < c->link_count; i++)
		if (c->links[i].inode == st->st_ino && c->links[i].device == st->st_dev)
			return &c->links[i];
	return NULL;
}

static void remember_link(struct copy *c, const struct stat *st, const char *path)
{
	char *copy = c->link_count < HARD_LINKS ? strdup(path) : NULL;

	if (copy)
		c->links[c->link_count++] = (struct hard_link){ st->st_dev, st->st_ino, copy };
}

static int copy_file(struct copy *c, int from_dir, int to_dir, const char *name,
		     const struct stat *seen, const char *path, struct error *err)
{
	_cleanup_close_ int from = -EBADF, to = -EBADF;
	const struct hard_link *link = seen->st_nlink > 1 ? find_link(c, seen) : NULL;
	struct stat st;
	int r;

	if (link) {
		if (linkat(c->top, link->path, to_dir, name, 0) < 0)
			return error_errno(err, errno, "link `%s`", path);
		return 0;
	}
	from = openat(from_dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (from < 0 || fstat(from, &st) < 0)
		return error_errno(err, errno, "open `%s`", path);
	/* Whoever else reaches the image may have put a device, or another file, in its place. */
	if (!S_ISREG(st.st_mode) || st.st_ino != seen->st_ino || st.st_dev != seen->st_dev)
		return error_set(err, EAGAIN, "`%s` changed while it was copied", path);
	to = openat(to_dir, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (to < 0)
		return error_errno(err, errno, "make `%s`", path);
	r = copy_content(c, from, to, st.st_size);
	if (r < 0)
		return error_errno(err, -r, "copy `%s`", path);
	if (st.st_nlink > 1)
		remember_link(c, &st, path);
	return copy_metadata(c, from, to, &st, path, err);
}

/* ---- links, devices, directories ------------------------------------------------------------------ */

/* Owner and times of what cannot be opened. */
static int copy_outside(int to_dir, const char *name, const struct stat *st, const char *path,
			struct error *err)
{
	struct timespec times[2] = { st->st_atim, st->st_mtim };

	if (fchownat(to_dir, name, st->st_uid, st->st_gid, AT_SYMLINK_NOFOLLOW) < 0 &&
	    !is_tolerable(errno))
		return error_errno(err, errno, "set the owner of `%s`", path);
	if (!S_ISLNK(st->st_mode) && fchmodat(to_dir, name, st->st_mode & 07777, 0) < 0)
		return error_errno(err, errno, "set the mode of `%s`", path);
	if (utimensat(to_dir, name, times, AT_SYMLINK_NOFOLLOW) < 0)
		return error_errno(err, errno, "set the times of `%s`", path);
	return 0;
}

static int copy_symlink(struct copy *c, int from_dir, int to_dir, const char *name,
			const struct stat *st, const char *path, struct error *err)
{
	ssize_t n = readlinkat(from_dir, name, c->chunk, CHUNK - 1);

	if (n < 0)
		return error_errno(err, errno, "read the link `%s`", path);
	c->chunk[n] = '\0';
	if (symlinkat(c->chunk, to_dir, name) < 0)
		return error_errno(err, errno, "link `%s`", path);
	return copy_outside(to_dir, name, st, path, err);
}

static int copy_special(int to_dir, const char *name, const struct stat *st, const char *path,
			struct error *err)
{
	if (mknodat(to_dir, name, (st->st_mode & S_IFMT) | 0600, st->st_rdev) < 0)
		/* In a user namespace nobody makes devices. */
		return is_tolerable(errno) ? 0 : error_errno(err, errno, "make `%s`", path);
	return copy_outside(to_dir, name, st, path, err);
}

static int copy_dir(struct copy *c, int from, int to, const char *path, unsigned depth,
		    struct error *err);

static int copy_subdir(struct copy *c, int from_dir, int to_dir, const char *name, const char *path,
		       unsigned depth, struct error *err)
{
	_cleanup_close_ int from = -EBADF, to = -EBADF;
	struct stat st;
	int r = 0;

	from = openat(from_dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (from < 0 || fstat(from, &st) < 0)
		return error_errno(err, errno, "open `%s`", path);
	if (mkdirat(to_dir, name, 0700) < 0)
		return error_errno(err, errno, "make directory `%s`", path);
	to = openat(to_dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (to < 0)
		return error_errno(err, errno, "open `%s`", path);
	if (st.st_dev == c->device)
		r = copy_dir(c, from, to, path, depth + 1, err);
	return r < 0 ? r : copy_metadata(c, from, to, &st, path, err);
}

static int copy_entry(struct copy *c, int from, int to, const char *name, const char *path,
		      unsigned depth, struct error *err)
{
	struct stat st;

	if (fstatat(from, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : error_errno(err, errno, "stat `%s`", path);
	if (S_ISDIR(st.st_mode))
		return copy_subdir(c, from, to, name, path, depth, err);
	if (st.st_dev != c->device)
		return 0; /* mounted on a file */
	if (S_ISREG(st.st_mode))
		return copy_file(c, from, to, name, &st, path, err);
	if (S_ISLNK(st.st_mode))
		return copy_symlink(c, from, to, name, &st, path, err);
	return copy_special(to, name, &st, path, err);
}

/* The entries of one directory; path: its own from the top, "" there. */
static int copy_dir(struct copy *c, int from, int to, const char *path, unsigned depth,
		    struct error *err)
{
	_cleanup_closedir_ DIR *stream = NULL;
	struct dirent *entry;
	int own, r = 0;

	if (depth > COPY_DEPTH)
		return error_set(err, ELOOP, "`%.200s`: more than %d directories deep", path,
				 COPY_DEPTH);
	own = fcntl(from, F_DUPFD_CLOEXEC, 3);
	stream = own < 0 ? NULL : fdopendir(own);
	if (!stream) {
		close_fd(&own);
		return error_errno(err, errno, "read `%s`", path);
	}
	while (r == 0 && (errno = 0, entry = readdir(stream))) {
		_cleanup_strbuf_ struct strbuf below = { 0 };

		if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, ".."))
			continue;
		strbuf_addf(&below, "%s%s%s", path, *path ? "/" : "", entry->d_name);
		r = strbuf_failed(&below)
			    ? error_errno(err, ENOMEM, "copy `%s`", path)
			    : copy_entry(c, from, to, entry->d_name, below.data, depth, err);
	}
	return r == 0 && errno ? error_errno(err, errno, "read `%s`", path) : r;
}

/* ---- the top ---------------------------------------------------------------------------------------- */

static bool has_owner(const struct mount_options *opts)
{
	for (size_t i = 0; i < opts->data_count; i++)
		if (!strncmp(opts->data[i], "uid=", 4) || !strncmp(opts->data[i], "gid=", 4))
			return true;
	return false;
}

static int copy_top(struct copy *c, int from, int to, const struct mount_options *opts,
		    struct error *err)
{
	struct timespec times[2];
	struct stat st;
	int r;

	if (fstat(from, &st) < 0)
		return error_errno(err, errno, "stat the directory");
	c->top = to;
	c->device = st.st_dev;
	r = copy_dir(c, from, to, "", 0, err);
	if (r < 0)
		return r;
	if (!has_owner(opts) && fchown(to, st.st_uid, st.st_gid) < 0 && !is_tolerable(errno))
		return error_errno(err, errno, "set the owner");
	r = copy_xattrs(c, from, to, "", err);
	times[0] = st.st_atim;
	times[1] = st.st_mtim;
	if (r == 0 && futimens(to, times) < 0)
		r = error_errno(err, errno, "set the times");
	return r;
}

int mount_copy_up(int from, int to, const struct mount_options *opts, struct error *err)
{
	/* The descriptors that come here are only handles (O_PATH). */
	_cleanup_close_ int source = openat(from, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	_cleanup_close_ int dest = openat(to, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct copy *c = calloc(1, sizeof(*c));
	int r;

	if (source < 0 || dest < 0) {
		free(c);
		return error_errno(err, errno, "open the directory");
	}
	if (c) {
		c->names = malloc(XATTR_NAMES);
		c->value = malloc(XATTR_VALUE);
		c->chunk = malloc(CHUNK);
	}
	r = c && c->names && c->value && c->chunk ? copy_top(c, source, dest, opts, err)
						  : error_errno(err, ENOMEM, "copy");
	for (size_t i = 0; c && i < c->link_count; i++)
		free(c->links[i].path);
	if (c) {
		free(c->names);
		free(c->value);
		free(c->chunk);
	}
	free(c);
	return r;
}
